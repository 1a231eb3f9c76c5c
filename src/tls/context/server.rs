//! The server's context.

use std::fmt;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::contract::Protocol;
use crate::event_loop::LoopHandle;

use super::super::engine::Engine;
use super::super::protocol::TlsProtocol;
use super::super::settings::{Ending, TlsSettings, TlsTimeouts};
use super::super::state::App;
use super::super::transport::{OnHandshake, TlsOpening, TlsTransport};
use super::{Common, ShutdownMode, invalid, pem};

/// Who a server is, and whom it lets in: made once, and shared by its connections.
///
/// A ready rustls configuration converts into a context, for all that a builder does not
/// offer: certificates chosen by the name that the client asks for, say.
///
/// Cloning is cheap, and shares the sessions that can be resumed.
///
/// # asyncio
/// `ssl.SSLContext`, as `ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)` and
/// `load_cert_chain` make it.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{StreamReader, StreamWriter, TlsServerContext, run, start_server};
///
/// async fn greet(_reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     writer.write(b"hello, in secret\n");
///     writer.aclose().await
/// }
///
/// # fn main() -> io::Result<()> {
/// let context = TlsServerContext::from_pem_files("cert.pem", "key.pem")?;
/// run(async {
///     let server = start_server(greet, "127.0.0.1", 8443).tls(context).await?;
///     server.serve_forever().await
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct TlsServerContext {
    config: Arc<ServerConfig>,
    ending: Ending,
}

impl TlsServerContext {
    /// Makes a context of two PEM texts: a chain of certificates, the server's own first,
    /// and its private key.
    ///
    /// # Errors
    /// `InvalidData` if there is none in it; `InvalidInput` if the two don't match.
    ///
    /// # asyncio
    /// `SSLContext.load_cert_chain`, which takes files.
    pub fn from_pem(
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> io::Result<TlsServerContext> {
        TlsServerContext::builder(chain, key)?.build()
    }

    /// Makes a context of two PEM files: see [`from_pem`](Self::from_pem).
    ///
    /// # Errors
    /// If a file can't be read; as `from_pem`.
    ///
    /// # asyncio
    /// `SSLContext.load_cert_chain`.
    pub fn from_pem_files(
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> io::Result<TlsServerContext> {
        TlsServerContext::from_pem(pem::read(chain.as_ref())?, pem::read(key.as_ref())?)
    }

    /// Begins a context with the PEM texts that [`from_pem`](Self::from_pem) takes.
    ///
    /// # Errors
    /// `InvalidData` if there is none in it.
    pub fn builder(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> io::Result<TlsServerBuilder> {
        Ok(TlsServerBuilder {
            common: Common::default(),
            chain: pem::certificates(chain.as_ref())?,
            key: pem::private_key(key.as_ref())?,
            client_roots: Vec::new(),
            client_optional: false,
        })
    }

    /// Sets what closing waits for: [`ShutdownMode::Lenient`] unless set.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn shutdown_mode(mut self, mode: ShutdownMode) -> Self {
        self.ending.shutdown_mode = mode;
        self
    }

    /// Has a connection that ends without the peer's `close_notify` end with an error,
    /// `UnexpectedEof` (D22). Otherwise only [`EofKind`](crate::EofKind) tells.
    ///
    /// # asyncio
    /// No counterpart: it can't tell the two apart.
    #[must_use]
    pub fn require_close_notify(mut self, on: bool) -> Self {
        self.ending.requires_close_notify = on;
        self
    }

    /// Has `write_eof` supported on TLS 1.3, as a `close_notify` behind which reading goes
    /// on; and a connection whose peer does so stay open for writing.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn half_close(mut self, on: bool) -> Self {
        self.ending.half_close = on;
        self
    }

    /// Makes the two ends of a connection that was accepted.
    pub(crate) fn accept(
        &self,
        handle: &LoopHandle,
        timeouts: TlsTimeouts,
        protocol: Box<dyn Protocol>,
        on_handshake: OnHandshake,
    ) -> io::Result<(Rc<TlsTransport>, TlsProtocol)> {
        let opening = TlsOpening {
            engine: self.engine()?,
            settings: self.settings(timeouts),
            protocol,
            app: App::Unmet,
            undecrypted: Vec::new(),
            on_handshake: Some(on_handshake),
        };
        Ok(TlsTransport::open(handle, opening))
    }

    pub(in crate::tls) fn engine(&self) -> io::Result<Engine> {
        Engine::server(self.config.clone()).map_err(invalid)
    }

    pub(crate) fn settings(&self, timeouts: TlsTimeouts) -> TlsSettings {
        TlsSettings {
            timeouts,
            ending: self.ending,
        }
    }
}

impl From<Arc<ServerConfig>> for TlsServerContext {
    fn from(config: Arc<ServerConfig>) -> Self {
        TlsServerContext {
            config,
            ending: Ending::default(),
        }
    }
}

impl From<ServerConfig> for TlsServerContext {
    fn from(config: ServerConfig) -> Self {
        TlsServerContext::from(Arc::new(config))
    }
}

impl fmt::Debug for TlsServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServerContext")
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

/// A [`TlsServerContext`] to be.
#[derive(Debug)]
#[must_use = "a context is made by build()"]
pub struct TlsServerBuilder {
    common: Common,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_roots: Vec<CertificateDer<'static>>,
    client_optional: bool,
}

impl TlsServerBuilder {
    /// Asks clients for a certificate that one of these authorities signed, a PEM text,
    /// and lets nobody else in.
    ///
    /// # Errors
    /// `InvalidData` if there is none in it.
    ///
    /// # asyncio
    /// `SSLContext.load_verify_locations`, with `verify_mode = ssl.CERT_REQUIRED`.
    pub fn client_roots_pem(mut self, pem: impl AsRef<[u8]>) -> io::Result<Self> {
        self.client_roots.extend(pem::certificates(pem.as_ref())?);
        Ok(self)
    }

    /// Lets clients in, too, that have no certificate; one that they have must be right.
    ///
    /// # asyncio
    /// `verify_mode = ssl.CERT_OPTIONAL`.
    pub fn client_cert_optional(mut self) -> Self {
        self.client_optional = true;
        self
    }

    /// Offers protocols by ALPN, the preferred first: `["h2", "http/1.1"]`.
    ///
    /// # asyncio
    /// `SSLContext.set_alpn_protocols`.
    pub fn alpn<I>(mut self, protocols: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.common.alpn = protocols.into_iter().map(|p| p.as_ref().to_vec()).collect();
        self
    }

    /// Accepts these versions of TLS: 1.2 and 1.3 unless set.
    ///
    /// # asyncio
    /// `SSLContext.minimum_version` and `maximum_version`.
    pub fn versions(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.common.versions = Some(versions.to_vec());
        self
    }

    /// Uses this cryptography: ring unless set.
    pub fn provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.common.provider = Some(provider);
        self
    }

    /// Makes the context.
    ///
    /// # Errors
    /// `InvalidInput` if key and certificate don't match, or if a certificate or the
    /// versions are of no use.
    pub fn build(self) -> io::Result<TlsServerContext> {
        let provider = self.common.provider();
        let begun = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.common.versions())
            .map_err(invalid)?;
        let begun = if self.client_roots.is_empty() {
            begun.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in self.client_roots {
                roots.add(certificate).map_err(invalid)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match self.client_optional {
                true => verifier.allow_unauthenticated(),
                false => verifier,
            };
            begun.with_client_cert_verifier(verifier.build().map_err(invalid)?)
        };
        let mut config = begun
            .with_single_cert(self.chain, self.key)
            .map_err(invalid)?;
        config.alpn_protocols = self.common.alpn;
        Ok(TlsServerContext {
            config: Arc::new(config),
            ending: Ending::default(),
        })
    }
}
