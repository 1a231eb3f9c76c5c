//! What the tests of TLS share: certificates made on the spot, contexts, and pairs.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream::rustls::pki_types::pem::PemObject;
use millstream::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use millstream::{
    LoopHandle, Protocol, TlsClientContext, TlsServerContext, Transport, memory_transport_pair,
    rustls,
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
    pair: Pair,
    one_protocol: Box<dyn Protocol>,
    other_protocol: Box<dyn Protocol>,
) -> io::Result<Pair> {
    encrypt_with(handle, client_context(), pair, one_protocol, other_protocol)
}

/// Does what `encrypt` does, with a context of the client's own.
pub(crate) fn encrypt_with(
    handle: &LoopHandle,
    context: TlsClientContext,
    (one, other): Pair,
    one_protocol: Box<dyn Protocol>,
    other_protocol: Box<dyn Protocol>,
) -> io::Result<Pair> {
    let client = handle
        .start_tls(&one, context)
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

/// A peer that drives rustls by hand on a blocking socket, in a thread of its own.
pub(crate) struct Peer {
    pub(crate) tls: rustls::Connection,
    pub(crate) socket: TcpStream,
}

impl Peer {
    /// Connects as a client.
    pub(crate) fn connect(port: u16) -> io::Result<Peer> {
        Peer::connect_with(port, &[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    pub(crate) fn connect_with(
        port: u16,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> io::Result<Peer> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority().pem.as_bytes()) {
            let certificate = certificate.expect("we have made it");
            roots.add(certificate).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = NAME.try_into().map_err(io::Error::other)?;
        let tls = rustls::ClientConnection::new(Arc::new(config), name);
        Peer::on(tls.map_err(io::Error::other)?.into(), socket)
    }

    /// Accepts as a server.
    pub(crate) fn accept(listener: &TcpListener) -> io::Result<Peer> {
        let (socket, _) = listener.accept()?;
        Peer::serve(socket)
    }

    pub(crate) fn serve(socket: TcpStream) -> io::Result<Peer> {
        let Identity { chain, key } = identity();
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain.map_err(io::Error::other)?, key)
            .map_err(io::Error::other)?;
        let tls = rustls::ServerConnection::new(Arc::new(config));
        Peer::on(tls.map_err(io::Error::other)?.into(), socket)
    }

    fn on(tls: rustls::Connection, socket: TcpStream) -> io::Result<Peer> {
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        socket.set_nodelay(true)?;
        Ok(Peer { tls, socket })
    }

    pub(crate) fn handshake(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.socket)?;
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    pub(crate) fn sends(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.flush()
    }

    /// The records of what would be sent.
    pub(crate) fn records(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.tls.writer().write_all(bytes)?;
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records)?;
        }
        Ok(records)
    }

    /// Receives until this many bytes have come.
    pub(crate) fn expects(&mut self, n: usize) -> io::Result<Vec<u8>> {
        let mut got = vec![0; n];
        let mut filled = 0;
        while filled < n {
            match self.tls.reader().read(&mut got[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receives()?,
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }

    fn receives(&mut self) -> io::Result<()> {
        self.tls.read_tls(&mut self.socket)?;
        self.tls.process_new_packets().map_err(io::Error::other)?;
        Ok(())
    }

    /// Receives to the end, and says whether that was a `close_notify`.
    pub(crate) fn expects_end(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut got = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.tls.reader().read(&mut buffer) {
                Ok(0) => return Ok((got, true)),
                Ok(read) => got.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receives()?,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok((got, false));
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn closes(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush()
    }
}
