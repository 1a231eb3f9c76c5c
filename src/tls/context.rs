//! Contexts: what is trusted, and who we are.
//!
//! ```text
//!   TlsClientContext  trusts: the system's roots, or some certificates; may be somebody
//!   TlsServerContext  is somebody: a certificate and its key; may ask who the client is
//!        └──► a rustls configuration, shared by all connections of the context
//! ```
//!
//! asyncio: `ssl.SSLContext`, one class for both sides, and `ssl.create_default_context`.

mod client;
mod server;
mod pem;
mod trust;

pub use client::{TlsClientBuilder, TlsClientContext};
pub use server::{TlsServerBuilder, TlsServerContext};

use std::io;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

/// What closing a TLS connection waits for.
///
/// # asyncio
/// `Strict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ShutdownMode {
    /// For the peer's `close_notify`, as long as `ssl_shutdown_timeout` allows; if it does
    /// not come, but all of ours was sent, the end is a clean one (D21).
    #[default]
    Lenient,
    /// For nothing: our `close_notify` is sent, and the connection closed.
    OneWay,
    /// For the peer's `close_notify`; that it does not come is an error, `TimedOut`.
    Strict,
}

/// The provider that is used unless another is given: ring. Handed over explicitly, so
/// that what is installed for the process, or not, makes no difference.
fn default_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// What both builders have.
#[derive(Debug, Clone, Default)]
struct Common {
    provider: Option<Arc<CryptoProvider>>,
    versions: Option<Vec<&'static SupportedProtocolVersion>>,
    alpn: Vec<Vec<u8>>,
}

impl Common {
    fn provider(&self) -> Arc<CryptoProvider> {
        self.provider.clone().unwrap_or_else(default_provider)
    }

    fn versions(&self) -> &[&'static SupportedProtocolVersion] {
        self.versions.as_deref().unwrap_or(rustls::DEFAULT_VERSIONS)
    }
}
