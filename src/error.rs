//! The errors: what can go wrong, as plain values that can be kept, cloned and asked.
//!
//! Layer 0. Above: everything. Below: `std::io::Error`.
//!
//! ```text
//!   ConnError         why a connection ended; told by reads, drain and wait_closed
//!   ReadError         why one read failed; holds the two documented ones below
//!     IncompleteReadError, LimitOverrunError
//!   CopyError         why copying both ways ended early, and how far it had come
//!   LoopError         what can't be asked of a loop in its state
//!   JoinError         why a task has no result;  Cancelled, one of its reasons
//!   Interrupted       Ctrl-C ended `run`
//!   TimedOut          a deadline passed first
//!   ExceptionContext  what nobody awaits, and so goes to the exception handler
//! ```
//!
//! Always true: each converts into [`io::Error`], so that `?` works in a function that
//! returns `io::Result`, and keeps its kind on the way.
//!
//! asyncio: `asyncio.exceptions`, and the context dictionary of
//! `call_exception_handler`.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a connection ended: an [`io::Error`] that can be told many times.
///
/// One error ends a connection; its reader, every pending `drain` and `wait_closed`
/// are all told the same. Cloning is cheap, and kind and system error code stay.
///
/// # asyncio
/// The exception object that `connection_lost` receives.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::ConnError;
///
/// let error = ConnError::from(io::Error::from(io::ErrorKind::ConnectionReset));
/// let told_again = error.clone();
/// assert_eq!(told_again.kind(), io::ErrorKind::ConnectionReset);
/// ```
#[derive(Clone)]
pub struct ConnError(Arc<io::Error>);

impl ConnError {
    /// Returns what kind of error it is.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.0.kind()
    }

    /// Returns the system's error number, if the system reported this error.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.raw_os_error()
    }

    /// Returns the error itself.
    #[must_use]
    pub fn as_io_error(&self) -> &io::Error {
        &self.0
    }

    /// Says whether the peer or the network caused it, as against a bug in a callback.
    pub(crate) fn is_from_the_system(&self) -> bool {
        self.raw_os_error().is_some() || self.kind() != io::ErrorKind::Other
    }
}

impl From<io::Error> for ConnError {
    fn from(error: io::Error) -> Self {
        // One that was told before is taken out again rather than wrapped twice.
        let told_before = error.get_ref().and_then(|e| e.downcast_ref::<ConnError>());
        match told_before {
            Some(original) => original.clone(),
            None => ConnError(Arc::new(error)),
        }
    }
}

impl From<io::ErrorKind> for ConnError {
    fn from(kind: io::ErrorKind) -> Self {
        ConnError::from(io::Error::from(kind))
    }
}

impl From<ConnError> for io::Error {
    fn from(error: ConnError) -> Self {
        match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error),
        }
    }
}

impl fmt::Debug for ConnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ConnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for ConnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The end of the stream came before the bytes that a read needs.
///
/// # asyncio
/// `IncompleteReadError`, with the same two attributes and the same text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncompleteReadError {
    /// What had come by then; it is no longer in the reader's buffer.
    pub partial: Vec<u8>,
    /// How many bytes were asked for; `None` where a separator was looked for.
    pub expected: Option<usize>,
}

impl fmt::Display for IncompleteReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.partial.len();
        match self.expected {
            Some(n) => write!(f, "{len} bytes read on a total of {n} expected bytes"),
            None => write!(f, "{len} bytes read on a total of undefined expected bytes"),
        }
    }
}

impl Error for IncompleteReadError {}

/// No separator within the reader's limit; the bytes are still in its buffer.
///
/// # asyncio
/// `LimitOverrunError`, with the same attribute and the same text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOverrunError {
    /// Which of the two it was: no separator yet, or one that came too late.
    pub message: &'static str,
    /// How many bytes, from the front of the buffer, are known to hold no separator.
    pub consumed: usize,
}

impl fmt::Display for LimitOverrunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Error for LimitOverrunError {}

/// Why a read failed.
///
/// # asyncio
/// The exceptions that the methods of `StreamReader` raise; `ValueError` is
/// [`LineTooLong`](ReadError::LineTooLong) or [`InvalidInput`](ReadError::InvalidInput).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReadError {
    /// The connection ended with this error.
    Connection(ConnError),
    /// The end of the stream came first.
    Incomplete(IncompleteReadError),
    /// No separator within the limit; nothing was consumed.
    LimitOverrun(LimitOverrunError),
    /// `readline` found no newline within the limit.
    LineTooLong {
        /// Which of the two it was: no newline yet, or one that came too late.
        message: &'static str,
        /// How many bytes were dropped with the line.
        dropped: usize,
    },
    /// Nothing came within the reader's time limit; nothing was consumed.
    TimedOut,
    /// The call itself was wrong.
    InvalidInput(Cow<'static, str>),
}

impl ReadError {
    /// Returns the kind of the [`io::Error`] that this converts into.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            ReadError::Connection(error) => error.kind(),
            ReadError::Incomplete(_) => io::ErrorKind::UnexpectedEof,
            ReadError::LimitOverrun(_) | ReadError::LineTooLong { .. } => {
                io::ErrorKind::InvalidData
            }
            ReadError::TimedOut => io::ErrorKind::TimedOut,
            ReadError::InvalidInput(_) => io::ErrorKind::InvalidInput,
        }
    }

    /// Returns the system's error number, if the system reported this error.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            ReadError::Connection(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Connection(error) => error.fmt(f),
            ReadError::Incomplete(error) => error.fmt(f),
            ReadError::LimitOverrun(error) => error.fmt(f),
            ReadError::LineTooLong { message, .. } => f.write_str(message),
            ReadError::TimedOut => TimedOut.fmt(f),
            ReadError::InvalidInput(message) => f.write_str(message),
        }
    }
}

impl Error for ReadError {}

impl From<ConnError> for ReadError {
    fn from(error: ConnError) -> Self {
        ReadError::Connection(error)
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Connection(error) => error.into(),
            other => io::Error::new(other.kind(), other),
        }
    }
}

impl From<IncompleteReadError> for io::Error {
    fn from(error: IncompleteReadError) -> Self {
        ReadError::Incomplete(error).into()
    }
}

impl From<LimitOverrunError> for io::Error {
    fn from(error: LimitOverrunError) -> Self {
        ReadError::LimitOverrun(error).into()
    }
}

/// Why [`copy_bidirectional`](crate::copy_bidirectional) ended early, and how far it had
/// come.
///
/// As an [`io::Error`] it is the error alone: take the counts before `?` does that.
///
/// # asyncio
/// No counterpart.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyError {
    /// How many bytes from the first stream had been handed to the second's writer.
    pub a_to_b: u64,
    /// How many bytes from the second stream had been handed to the first's writer.
    pub b_to_a: u64,
    /// What a read or a write failed with.
    pub error: ConnError,
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CopyError {
            a_to_b,
            b_to_a,
            error,
        } = self;
        write!(
            f,
            "{error}, after {a_to_b} bytes one way and {b_to_a} bytes the other"
        )
    }
}

impl Error for CopyError {}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        error.error.into()
    }
}

/// What can't be asked of a loop in the state it is in.
///
/// # asyncio
/// `RuntimeError` with the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoopError {
    /// The loop was closed.
    Closed,
    /// The loop is running, and was told to run.
    AlreadyRunning,
    /// Another loop runs on this thread.
    AnotherIsRunning,
    /// The loop is running, and was told to close.
    CloseWhileRunning,
    /// `stop` came before the future was complete.
    StoppedEarly,
    /// No loop runs on this thread.
    NoneRunning,
    /// [`run`](crate::run) was called inside a running loop.
    RunInsideLoop,
    /// The pool of threads no longer takes work.
    ExecutorShutDown,
}

impl fmt::Display for LoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LoopError::Closed => "Event loop is closed",
            LoopError::AlreadyRunning => "This event loop is already running",
            LoopError::AnotherIsRunning => {
                "Cannot run the event loop while another loop is running"
            }
            LoopError::CloseWhileRunning => "Cannot close a running event loop",
            LoopError::StoppedEarly => "Event loop stopped before Future completed.",
            LoopError::NoneRunning => "no running event loop",
            LoopError::RunInsideLoop => {
                "millstream::run() cannot be called from a running event loop"
            }
            LoopError::ExecutorShutDown => "Executor shutdown has been called",
        })
    }
}

impl Error for LoopError {}

impl From<LoopError> for io::Error {
    fn from(error: LoopError) -> Self {
        io::Error::other(error)
    }
}

/// What was awaited was cancelled.
///
/// As an [`io::Error`] it has the kind `Other`, not `Interrupted`, which many callers
/// take as a call to try again. [`Cancelled::is`] recognises it there.
///
/// # asyncio
/// `CancelledError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled;

impl Cancelled {
    /// Says whether an [`io::Error`] came from a cancellation.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|e| {
            e.is::<Cancelled>() || matches!(e.downcast_ref(), Some(JoinError::Cancelled))
        })
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl Error for Cancelled {}

impl From<Cancelled> for io::Error {
    fn from(error: Cancelled) -> Self {
        io::Error::other(error)
    }
}

/// Ctrl-C (SIGINT) ended [`run`](crate::run), after the clean-up.
///
/// As an [`io::Error`] it has the kind `Interrupted`. So may have what `main` failed with;
/// [`Interrupted::is`] tells the two apart.
///
/// # asyncio
/// `KeyboardInterrupt`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::Interrupted;
///
/// let error = io::Error::from(Interrupted);
/// assert!(Interrupted::is(&error));
/// assert!(!Interrupted::is(&io::ErrorKind::Interrupted.into()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl Interrupted {
    /// Says whether an [`io::Error`] came from Ctrl-C.
    #[must_use]
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|e| e.is::<Interrupted>())
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Interrupted {}

impl From<Interrupted> for io::Error {
    fn from(error: Interrupted) -> Self {
        io::Error::new(io::ErrorKind::Interrupted, error)
    }
}

/// Why a task has no result.
///
/// # asyncio
/// What awaiting a `Task` raises. A panic takes the place of the exception.
#[derive(Debug)]
#[non_exhaustive]
pub enum JoinError {
    /// The task was cancelled, or its loop was closed.
    Cancelled,
    /// The task panicked.
    Panicked(PanicPayload),
}

impl JoinError {
    /// Says whether the task was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, JoinError::Cancelled)
    }

    /// Says whether the task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self, JoinError::Panicked(_))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::Cancelled => f.write_str("task was cancelled"),
            JoinError::Panicked(payload) => write!(f, "task panicked: {payload}"),
        }
    }
}

impl Error for JoinError {}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        io::Error::other(error)
    }
}

/// What a panic was raised with.
///
/// Shows the message if it was a string, as `panic!` makes it.
pub struct PanicPayload(Payload);

/// A payload, told apart when it is caught: so its message can be lent.
enum Payload {
    Literal(&'static str),
    Text(String),
    /// In a lock that nobody ever waits for: what a panic is raised with need not be
    /// `Sync`, and an error that is not fits into few error types.
    Other(Mutex<Box<dyn Any + Send>>),
}

impl PanicPayload {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> PanicPayload {
        let payload = match payload.downcast::<&'static str>() {
            Ok(literal) => return PanicPayload(Payload::Literal(*literal)),
            Err(other) => other,
        };
        PanicPayload(match payload.downcast::<String>() {
            Ok(text) => Payload::Text(*text),
            Err(other) => Payload::Other(Mutex::new(other)),
        })
    }

    /// Returns the payload, for [`std::panic::resume_unwind`] or a downcast.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Any + Send> {
        match self.0 {
            Payload::Literal(literal) => Box::new(literal),
            Payload::Text(text) => Box::new(text),
            Payload::Other(other) => other.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Returns the message, if the panic was raised with a string.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match &self.0 {
            Payload::Literal(literal) => Some(literal),
            Payload::Text(text) => Some(text),
            Payload::Other(_) => None,
        }
    }
}

impl fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PanicPayload({self})")
    }
}

impl fmt::Display for PanicPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().unwrap_or("a payload that is no string"))
    }
}

/// A deadline passed before what was awaited was complete.
///
/// # asyncio
/// `TimeoutError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl Error for TimedOut {}

impl From<TimedOut> for io::Error {
    fn from(error: TimedOut) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, error)
    }
}

/// Says whether a connect that gave this error is still under way, and not over.
pub(crate) fn connect_goes_on(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || error.raw_os_error() == Some(EINPROGRESS)
}

/// "Operation now in progress", for which the standard library has no stable kind. Each
/// system fixes the number for good.
const EINPROGRESS: i32 = match () {
    () if !cfg!(any(target_os = "linux", target_os = "android")) => 36,
    () if cfg!(any(target_arch = "mips", target_arch = "mips64")) => 150,
    () if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) => 36,
    () => 115,
};

/// A failure that nobody awaits, as the exception handler receives it.
///
/// Every part but the message may be missing. Parts are texts: the things themselves
/// may be gone by the time somebody reads them.
///
/// # asyncio
/// The context dictionary of `loop.call_exception_handler`.
///
/// # Examples
/// ```
/// use millstream::ExceptionContext;
///
/// let context = ExceptionContext::new("the mill stopped").exception("no water");
/// assert_eq!(context.to_string(), "the mill stopped\nexception: no water");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExceptionContext {
    /// What happened.
    pub message: Cow<'static, str>,
    /// The error or the panic behind it.
    pub exception: Option<String>,
    /// The callback that failed.
    pub handle: Option<String>,
    /// The protocol that was involved.
    pub protocol: Option<String>,
    /// The socket that was involved.
    pub socket: Option<String>,
    /// The task that failed.
    pub task: Option<String>,
    /// The transport that was involved.
    pub transport: Option<String>,
}

impl ExceptionContext {
    /// Makes a context that has only a message.
    pub fn new(message: impl Into<Cow<'static, str>>) -> ExceptionContext {
        ExceptionContext {
            message: message.into(),
            exception: None,
            handle: None,
            protocol: None,
            socket: None,
            task: None,
            transport: None,
        }
    }

    /// Adds the error or the panic behind it.
    #[must_use]
    pub fn exception(mut self, exception: impl fmt::Display) -> Self {
        set(&mut self.exception, &exception);
        self
    }

    /// Adds the callback that failed.
    #[must_use]
    pub fn handle(mut self, handle: impl fmt::Display) -> Self {
        set(&mut self.handle, &handle);
        self
    }

    /// Adds the protocol that was involved.
    #[must_use]
    pub fn protocol(mut self, protocol: impl fmt::Display) -> Self {
        set(&mut self.protocol, &protocol);
        self
    }

    /// Adds the socket that was involved.
    #[must_use]
    pub fn socket(mut self, socket: impl fmt::Display) -> Self {
        set(&mut self.socket, &socket);
        self
    }

    /// Adds the task that failed.
    #[must_use]
    pub fn task(mut self, task: impl fmt::Display) -> Self {
        set(&mut self.task, &task);
        self
    }

    /// Adds the transport that was involved.
    #[must_use]
    pub fn transport(mut self, transport: impl fmt::Display) -> Self {
        set(&mut self.transport, &transport);
        self
    }
}

/// Sets a part of a context. Neither generic nor inlined, so that it is compiled once.
#[inline(never)]
fn set(part: &mut Option<String>, what: &dyn fmt::Display) {
    *part = Some(what.to_string());
}

/// The message, then a line `key: value` for each part that is there, sorted by key.
impl fmt::Display for ExceptionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let parts = [
            ("exception", &self.exception),
            ("handle", &self.handle),
            ("protocol", &self.protocol),
            ("socket", &self.socket),
            ("task", &self.task),
            ("transport", &self.transport),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                write!(f, "\n{key}: {value}")?;
            }
        }
        Ok(())
    }
}
