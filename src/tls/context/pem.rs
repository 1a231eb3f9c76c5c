//! PEM: certificates and keys as they lie in files.

use std::fs;
use std::io;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Reads a file whole; the error names it.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Parses all certificates in a text, of which there is one at least.
pub(super) fn certificates(pem: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match parsed {
        Ok(certificates) if certificates.is_empty() => Err(unusable(
            "no certificate in the PEM text: a block \"BEGIN CERTIFICATE\" was expected",
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(format!("the certificates can't be read: {error}"))),
    }
}

/// Parses the private key in a text: PKCS#8, PKCS#1 or SEC1, not encrypted.
pub(super) fn private_key(pem: &[u8]) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| unusable(format!("the private key can't be read: {error}")))
}

fn unusable(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
