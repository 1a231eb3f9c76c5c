//! What a handshake agreed upon, as extra information of the transport.

use rustls::pki_types::CertificateDer;
use rustls::{Connection, ProtocolVersion};

use crate::contract::{ExtraInfoKey, ExtraInfoRequest};

/// Asks for the certificates that the peer presented, its own first: `peercert`.
///
/// `None` if it presented none, as most clients, and without TLS.
///
/// # asyncio
/// `get_extra_info('peercert')` is a dictionary of the first one's fields; here they are
/// all there, in DER, for a library that parses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCertificates;

impl ExtraInfoKey for PeerCertificates {
    type Value = Vec<CertificateDer<'static>>;
    const NAME: &'static str = "peercert";
}

/// Asks for the cipher in use: `cipher`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cipher;

impl ExtraInfoKey for Cipher {
    type Value = CipherInfo;
    const NAME: &'static str = "cipher";
}

/// A cipher: what asyncio gives as a triple.
///
/// # asyncio
/// `(name, version, bits)`; OpenSSL's names of TLS 1.2's ciphers differ from the
/// registry's, which stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CipherInfo {
    /// The cipher suite's name in IANA's registry.
    pub name: &'static str,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Bits of the secret key.
    pub bits: u16,
}

/// Asks for the protocol that was agreed upon by ALPN, such as `h2`.
///
/// # asyncio
/// `get_extra_info('ssl_object').selected_alpn_protocol()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlpnProtocol;

impl ExtraInfoKey for AlpnProtocol {
    type Value = Vec<u8>;
    const NAME: &'static str = "alpn_protocol";
}

/// Asks for the version of TLS: `TLSv1.2` or `TLSv1.3`. `None` without TLS.
///
/// # asyncio
/// `get_extra_info('ssl_object').version()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersion;

impl ExtraInfoKey for TlsVersion {
    type Value = &'static str;
    const NAME: &'static str = "tls_version";
}

/// Asks a server's connection for the name that the client asked for (SNI).
///
/// # asyncio
/// What `sni_callback` of an `SSLContext` is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerName;

impl ExtraInfoKey for ServerName {
    type Value = String;
    const NAME: &'static str = "server_name";
}

/// What a handshake agreed upon; kept for as long as the transport's handles are.
#[derive(Default)]
pub(super) struct TlsInfo {
    peer_certificates: Option<Box<[CertificateDer<'static>]>>,
    cipher: Option<CipherInfo>,
    alpn: Option<Box<[u8]>>,
    version: Option<&'static str>,
    server_name: Option<Box<str>>,
}

impl TlsInfo {
    pub(super) fn of(connection: &Connection) -> TlsInfo {
        let version = connection.protocol_version().map(version_name);
        let suite = connection.negotiated_cipher_suite();
        let suite_name = suite.and_then(|suite| suite.suite().as_str());
        TlsInfo {
            peer_certificates: connection.peer_certificates().map(Box::from),
            cipher: suite_name.zip(version).map(|(name, version)| CipherInfo {
                name: registered_name(name),
                version,
                bits: secret_bits(name),
            }),
            alpn: connection.alpn_protocol().map(Box::from),
            version,
            server_name: match connection {
                Connection::Server(server) => server.server_name().map(Box::from),
                Connection::Client(_) => None,
            },
        }
    }

    pub(super) fn version(&self) -> Option<&'static str> {
        self.version
    }

    pub(super) fn answer(&self, request: &mut ExtraInfoRequest<'_>) {
        request
            .answer::<PeerCertificates>(|| self.peer_certificates.as_deref().map(<[_]>::to_vec))
            .answer::<Cipher>(|| self.cipher)
            .answer::<AlpnProtocol>(|| self.alpn.as_deref().map(<[u8]>::to_vec))
            .answer::<TlsVersion>(|| self.version)
            .answer::<ServerName>(|| self.server_name.as_deref().map(str::to_owned));
    }
}

pub(super) const TLS_1_3: &str = "TLSv1.3";

/// The names that asyncio gives.
fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => TLS_1_3,
        _ => "unknown",
    }
}

/// rustls marks the suites of TLS 1.3 with a prefix of its own.
fn registered_name(name: &'static str) -> &'static str {
    match name {
        "TLS13_AES_128_GCM_SHA256" => "TLS_AES_128_GCM_SHA256",
        "TLS13_AES_256_GCM_SHA384" => "TLS_AES_256_GCM_SHA384",
        "TLS13_CHACHA20_POLY1305_SHA256" => "TLS_CHACHA20_POLY1305_SHA256",
        "TLS13_AES_128_CCM_SHA256" => "TLS_AES_128_CCM_SHA256",
        "TLS13_AES_128_CCM_8_SHA256" => "TLS_AES_128_CCM_8_SHA256",
        other => other,
    }
}

/// The names say it: all ciphers have 256 bits but for those with a 128 in them.
fn secret_bits(name: &str) -> u16 {
    if name.contains("_128_") { 128 } else { 256 }
}
