//! The settings of a TLS connection that are no matter of trust: how long, and for what.

use std::fmt;
use std::io;
use std::time::Duration;

use super::context::ShutdownMode;

/// How long a handshake may take, unless set. asyncio's number.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long closing may take, unless set. asyncio's number.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection does apart from encrypting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsSettings {
    pub(super) timeouts: TlsTimeouts,
    pub(super) ending: Ending,
}

/// How a context has its connections end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ending {
    pub(super) shutdown_mode: ShutdownMode,
    pub(super) requires_close_notify: bool,
    pub(super) half_close: bool,
}

/// How long the two ends of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TlsTimeouts {
    pub(super) handshake: Duration,
    pub(super) shutdown: Duration,
}

impl TlsTimeouts {
    /// Takes what was set.
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub(crate) fn new(
        handshake: Option<Duration>,
        shutdown: Option<Duration>,
    ) -> io::Result<TlsTimeouts> {
        Ok(TlsTimeouts {
            handshake: checked("ssl_handshake_timeout", handshake, HANDSHAKE_TIMEOUT)?,
            shutdown: checked("ssl_shutdown_timeout", shutdown, SHUTDOWN_TIMEOUT)?,
        })
    }
}

fn checked(name: &str, set: Option<Duration>, default: Duration) -> io::Result<Duration> {
    match set {
        None => Ok(default),
        Some(Duration::ZERO) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{name} should be a positive number, got {}",
                Seconds(Duration::ZERO)
            ),
        )),
        Some(set) => Ok(set),
    }
}

/// A duration in seconds, without a fraction where there is none.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}
