//! What the tests of TLS share: certificates made on the spot, contexts, and pairs.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::io;
use std::rc::Rc;
use std::sync::OnceLock;

use millstream::{
    LoopHandle, Protocol, TlsClientContext, TlsServerContext, Transport, memory_transport_pair,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The name that the right certificate bears.
pub(crate) const NAME: &str = "mill.test";

/// An authority, and what it has signed.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("ring makes keys");
        let pem = params.self_signed(&key).expect("it signs itself").pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Signs for these names.
    pub(crate) fn signs(&self, names: &[&str]) -> Identity {
        self.signs_with(names, |_| {})
    }

    pub(crate) fn signs_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().expect("ring makes keys");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs");
        Identity {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The authority that the tests' clients trust.
pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new("millstream's tests"))
}

/// The certificate of the tests' servers.
pub(crate) fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| authority().signs(&[NAME, "localhost", "127.0.0.1"]))
}

pub(crate) fn server_context() -> TlsServerContext {
    let Identity { chain, key } = identity();
    TlsServerContext::from_pem(chain, key).expect("the certificate is a right one")
}

pub(crate) fn client_context() -> TlsClientContext {
    let trusting = TlsClientContext::builder().trust_pem(&authority().pem);
    let built = trusting.and_then(|builder| builder.build());
    built.expect("the authority is a right one")
}

/// Two transports that are each other's peer.
pub(crate) type Pair = (Rc<dyn Transport>, Rc<dyn Transport>);

/// A protocol that waits for another to take its place.
pub(crate) struct Nobody;

impl Protocol for Nobody {}

/// Puts TLS on a pair of transports, and runs the loop until both handshakes are over:
/// the first is the client.
pub(crate) fn encrypt(
    handle: &LoopHandle,
    (one, other): Pair,
    one_protocol: Box<dyn Protocol>,
    other_protocol: Box<dyn Protocol>,
) -> io::Result<Pair> {
    let client = handle
        .start_tls(&one, client_context())
        .server_hostname(NAME)
        .protocol(one_protocol)
        .tell_connection_made(true);
    let server = handle
        .start_tls(&other, server_context())
        .protocol(other_protocol)
        .tell_connection_made(true);
    let client = handle.create_task(client.into_future());
    let server = handle.create_task(server.into_future());
    handle.run_until_complete(async {
        let client = client.await.map_err(io::Error::from)??;
        let server = server.await.map_err(io::Error::from)??;
        io::Result::Ok((client, server))
    })?
}

/// A pair in memory, with this many bytes on the way at the most, and TLS on it.
pub(crate) fn memory_pair(
    handle: &LoopHandle,
    one: Box<dyn Protocol>,
    other: Box<dyn Protocol>,
    capacity: usize,
) -> io::Result<Pair> {
    let raw = memory_transport_pair(handle, Nobody, Nobody, capacity);
    encrypt(handle, raw, one, other)
}
