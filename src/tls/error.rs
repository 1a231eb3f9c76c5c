//! What goes wrong with TLS, as values that can be asked for the reason.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::error::ConnError;

use super::settings::Seconds;

/// Why TLS failed on a connection: in its handshake, or with a byte that came later.
///
/// It comes inside of an [`io::Error`] of the kind `InvalidData`; [`TlsError::of`] finds
/// it there. The message names the reason: `invalid peer certificate: certificate not
/// valid for name "…"`.
///
/// # asyncio
/// `ssl.SSLError` and `ssl.SSLCertVerificationError`.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{TlsError, open_connection, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     match open_connection("expired.example", 443).tls(true).await {
///         Err(error) if TlsError::of(&error).is_some_and(TlsError::is_about_certificate) => {
///             println!("the server's certificate: {error}");
///         }
///         _ => {}
///     }
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct TlsError {
    stage: Stage,
    error: rustls::Error,
}

/// When it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Data,
}

impl TlsError {
    pub(super) fn in_handshake(error: rustls::Error) -> ConnError {
        TlsError::wrap(Stage::Handshake, error)
    }

    pub(super) fn in_data(error: rustls::Error) -> ConnError {
        TlsError::wrap(Stage::Data, error)
    }

    fn wrap(stage: Stage, error: rustls::Error) -> ConnError {
        let error = TlsError { stage, error };
        ConnError::from(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Returns the TLS error inside of an [`io::Error`], if there is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&TlsError> {
        let told = error.get_ref()?;
        match told.downcast_ref::<ConnError>() {
            Some(shared) => shared.as_io_error().get_ref()?.downcast_ref(),
            None => told.downcast_ref(),
        }
    }

    /// Returns what rustls says.
    #[must_use]
    pub fn rustls_error(&self) -> &rustls::Error {
        &self.error
    }

    /// Says whether we refused the peer's certificate: for its name, its date, or for who
    /// signed it.
    #[must_use]
    pub fn is_about_certificate(&self) -> bool {
        matches!(
            self.error,
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_)
                | rustls::Error::NoCertificatesPresented
        )
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match (self.stage, self.is_about_certificate()) {
            (Stage::Handshake, true) => "SSL handshake failed on verifying the certificate",
            (Stage::Handshake, false) => "SSL handshake failed",
            (Stage::Data, _) => "SSL error in data received",
        };
        write!(f, "{message}: {}", self.error)
    }
}

/// As it displays: what `main` returns is printed in this way.
impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Bytes had come in plaintext before TLS began, and nobody had read them (D23).
///
/// Somebody on the way may have put them there: what a server says before TLS must not be
/// taken for what it says in secret. It comes inside of an [`io::Error`] of the kind
/// `InvalidData`; [`PlaintextBuffered::is`] recognises it there.
///
/// # asyncio
/// No counterpart: such bytes are lost, or believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaintextBuffered {
    /// How many there are.
    pub bytes: usize,
}

impl PlaintextBuffered {
    /// Says whether an [`io::Error`] is this one.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error
            .get_ref()
            .is_some_and(|error| error.is::<PlaintextBuffered>())
    }
}

impl fmt::Display for PlaintextBuffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "start_tls with {} bytes of plaintext in the reader: read them before, or say what \
             becomes of them with buffered()",
            self.bytes
        )
    }
}

impl Error for PlaintextBuffered {}

impl From<PlaintextBuffered> for io::Error {
    fn from(error: PlaintextBuffered) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The handshake took too long.
pub(super) fn handshake_timed_out(patience: Duration) -> ConnError {
    let seconds = Seconds(patience);
    let text =
        format!("SSL handshake is taking longer than {seconds} seconds: aborting the connection");
    io::Error::new(io::ErrorKind::ConnectionAborted, text).into()
}

/// D20: somebody closed or aborted the connection before its handshake was over.
pub(super) fn handshake_aborted() -> ConnError {
    let text = "the connection was closed before its SSL handshake was complete";
    io::Error::new(io::ErrorKind::ConnectionAborted, text).into()
}

/// The peer left in the middle of the handshake.
pub(super) fn peer_left_handshake() -> ConnError {
    let text = "the peer closed the connection before the SSL handshake was complete";
    io::Error::new(io::ErrorKind::ConnectionReset, text).into()
}

/// The peer did not answer our `close_notify`, or did not take what was written.
pub(super) fn shutdown_timed_out() -> ConnError {
    io::Error::new(io::ErrorKind::TimedOut, "SSL shutdown timed out").into()
}

/// D22: the bytes ended without the peer's word.
pub(super) fn truncated() -> ConnError {
    let text = "the peer closed the connection without a close_notify: bytes may be missing";
    io::Error::new(io::ErrorKind::UnexpectedEof, text).into()
}
