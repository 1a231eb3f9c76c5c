//! The client's context.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::super::engine::Engine;
use super::super::settings::{Ending, TlsSettings, TlsTimeouts};
use super::trust::Verifier;
use super::{Common, ShutdownMode, invalid, pem};

/// What a client trusts, and who it is: made once, and shared by its connections.
///
/// [`new`](Self::new) trusts what the system trusts; [`builder`](Self::builder) takes
/// certificates to trust instead. A ready rustls configuration converts into a context,
/// for all that a builder does not offer.
///
/// Cloning is cheap, and shares the sessions that can be resumed.
///
/// # asyncio
/// `ssl.SSLContext`, as `ssl.create_default_context()` makes it.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{TlsClientContext, open_connection, run};
///
/// # fn main() -> io::Result<()> {
/// // A private service, whose certificate lies in a file.
/// let context = TlsClientContext::builder()
///     .trust_file("service.pem")?
///     .build()?;
/// run(async {
///     let (reader, writer) = open_connection("10.0.0.7", 8443)
///         .tls(context)
///         .server_hostname("service.internal")
///         .await?;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct TlsClientContext {
    config: Arc<ClientConfig>,
    /// The same, without a look at the server's name. `None` for a ready configuration,
    /// which keeps its own verifier.
    nameless: Option<Arc<ClientConfig>>,
    ending: Ending,
}

impl TlsClientContext {
    /// Makes a context that trusts what the system trusts, and looks at names.
    ///
    /// The system's certificates are read from their files: make it once, and clone it.
    ///
    /// # Errors
    /// If the system's certificates can't be read, or there are none.
    ///
    /// # asyncio
    /// `ssl.create_default_context()`.
    pub fn new() -> io::Result<TlsClientContext> {
        TlsClientContext::builder().build()
    }

    /// Begins a context: without further calls, that of [`new`](Self::new).
    pub fn builder() -> TlsClientBuilder {
        TlsClientBuilder::default()
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
    /// Peers that speak TLS in the way of earlier versions, asyncio's among them, answer a
    /// `close_notify` by closing.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn half_close(mut self, on: bool) -> Self {
        self.ending.half_close = on;
        self
    }

    /// The context of `tls(true)`, made when it is first asked for.
    pub(crate) fn system() -> io::Result<TlsClientContext> {
        static SYSTEM: OnceLock<TlsClientContext> = OnceLock::new();
        if let Some(context) = SYSTEM.get() {
            return Ok(context.clone());
        }
        let made = TlsClientContext::new()?;
        Ok(SYSTEM.get_or_init(|| made).clone())
    }

    /// Makes the engine of a connection to a server of this name. `""`: any name will do.
    ///
    /// # Errors
    /// `InvalidInput` if that is no name, or if the name must be looked at.
    pub(in crate::tls) fn engine(&self, server_hostname: &str) -> io::Result<Engine> {
        let (config, name) = if server_hostname.is_empty() {
            let config = self.nameless.clone().ok_or_else(|| {
                invalid(
                    "server_hostname is empty, and a context made of a rustls configuration \
                     has a verifier of its own, which wants a name",
                )
            })?;
            // Of no consequence: it is neither sent nor looked at.
            (config, ServerName::from(Ipv4Addr::UNSPECIFIED))
        } else {
            let name = ServerName::try_from(server_hostname.to_owned()).map_err(|_| {
                invalid(format!(
                    "server_hostname {server_hostname:?} is neither a DNS name nor an IP address"
                ))
            })?;
            (self.config.clone(), name)
        };
        Engine::client(config, name).map_err(invalid)
    }

    pub(crate) fn settings(&self, timeouts: TlsTimeouts) -> TlsSettings {
        TlsSettings {
            timeouts,
            ending: self.ending,
        }
    }
}

impl From<Arc<ClientConfig>> for TlsClientContext {
    fn from(config: Arc<ClientConfig>) -> Self {
        TlsClientContext {
            config,
            nameless: None,
            ending: Ending::default(),
        }
    }
}

impl From<ClientConfig> for TlsClientContext {
    fn from(config: ClientConfig) -> Self {
        TlsClientContext::from(Arc::new(config))
    }
}

impl fmt::Debug for TlsClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClientContext")
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

/// A [`TlsClientContext`] to be.
#[derive(Debug, Default)]
#[must_use = "a context is made by build()"]
pub struct TlsClientBuilder {
    common: Common,
    system_roots: bool,
    trusted: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl TlsClientBuilder {
    /// Trusts the certificates of a PEM text, instead of the system's: authorities, for
    /// whom they sign, and servers, for themselves.
    ///
    /// # Errors
    /// `InvalidData` if there is none in it.
    ///
    /// # asyncio
    /// `SSLContext.load_verify_locations(cadata=…)`.
    pub fn trust_pem(mut self, pem: impl AsRef<[u8]>) -> io::Result<Self> {
        self.trusted.extend(pem::certificates(pem.as_ref())?);
        Ok(self)
    }

    /// Trusts the certificates of a PEM file, as [`trust_pem`](Self::trust_pem) does.
    ///
    /// # Errors
    /// If the file can't be read; as `trust_pem`.
    ///
    /// # asyncio
    /// `SSLContext.load_verify_locations(cafile=…)`.
    pub fn trust_file(self, path: impl AsRef<Path>) -> io::Result<Self> {
        self.trust_pem(pem::read(path.as_ref())?)
    }

    /// Trusts one certificate in DER, as [`trust_pem`](Self::trust_pem) does.
    pub fn trust(mut self, certificate: CertificateDer<'static>) -> Self {
        self.trusted.push(certificate);
        self
    }

    /// Trusts the system's authorities, also beside certificates that are given.
    ///
    /// # asyncio
    /// `SSLContext.load_default_certs()`.
    pub fn system_roots(mut self) -> Self {
        self.system_roots = true;
        self
    }

    /// Says who the client is, to servers that ask: a chain of certificates, its own
    /// first, and its private key, both PEM texts.
    ///
    /// # Errors
    /// `InvalidData` if there is none in it.
    ///
    /// # asyncio
    /// `SSLContext.load_cert_chain`.
    pub fn client_cert_pem(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> io::Result<Self> {
        let chain = pem::certificates(chain.as_ref())?;
        self.identity = Some((chain, pem::private_key(key.as_ref())?));
        Ok(self)
    }

    /// Says who the client is, with two PEM files: see
    /// [`client_cert_pem`](Self::client_cert_pem).
    ///
    /// # Errors
    /// If a file can't be read; as `client_cert_pem`.
    pub fn client_cert_files(
        self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> io::Result<Self> {
        let (chain, key) = (pem::read(chain.as_ref())?, pem::read(key.as_ref())?);
        self.client_cert_pem(chain, key)
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

    /// Offers these versions of TLS: 1.2 and 1.3 unless set.
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
    /// If the system's certificates are to be trusted, and can't be read or there are
    /// none; `InvalidInput` if a certificate, a key or the versions are of no use.
    pub fn build(self) -> io::Result<TlsClientContext> {
        let mut roots = RootCertStore::empty();
        if self.system_roots || self.trusted.is_empty() {
            add_system_roots(&mut roots)?;
        }
        for certificate in &self.trusted {
            roots.add(certificate.clone()).map_err(invalid)?;
        }
        let provider = self.common.provider();
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(invalid)?;
        let verifier = |checks_name| {
            Arc::new(Verifier {
                webpki: webpki.clone(),
                trusted: self.trusted.clone(),
                checks_name,
            })
        };
        let begun = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.common.versions())
            .map_err(invalid)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(true));
        let mut config = match self.identity {
            Some((chain, key)) => begun.with_client_auth_cert(chain, key).map_err(invalid)?,
            None => begun.with_no_client_auth(),
        };
        config.alpn_protocols = self.common.alpn;
        let mut nameless = config.clone();
        nameless
            .dangerous()
            .set_certificate_verifier(verifier(false));
        nameless.enable_sni = false;
        // Sessions are kept by name, and all these servers would share one.
        nameless.resumption = Resumption::disabled();
        Ok(TlsClientContext {
            config: Arc::new(config),
            nameless: Some(Arc::new(nameless)),
            ending: Ending::default(),
        })
    }
}

fn add_system_roots(roots: &mut RootCertStore) -> io::Result<()> {
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "the system's certificates were not found ({}): install them, or say what to \
             trust with TlsClientContext::builder()",
            match reasons.is_empty() {
                true => "there are none".to_owned(),
                false => reasons.join("; "),
            }
        ),
    ))
}
