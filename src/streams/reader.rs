//! The reader: what a coroutine reads a stream by.
//!
//! ```text
//!   owned reads      home ──take──► Vec             one copy, or none
//!   borrowing reads  home ══swap══► lent ──► &[u8]  no copy; the protocol feeds home meanwhile
//!   all of them      kernel ──try_read──► home, or straight to where it is wanted
//!   must wait        lent ══back══► home, then wait until the protocol says that bytes came
//! ```

use std::fmt;
use std::rc::Rc;

use crate::buffer::ReadBuffer;
use crate::contract::{EofKind, Transport};
use crate::error::{ConnError, ReadError};
use crate::task::spend_budget;

use super::feed::StreamFeed;
use super::read::{Attempt, Read};
use super::search::{Separators, check_separators};
use super::state::{DEFAULT_LIMIT, Method, StreamState, User};

/// Reads a stream of bytes, asynchronously.
///
/// [`open_connection`](crate::open_connection) and
/// [`start_server`](crate::start_server) hand it out. Its reads take `&mut self`, so that
/// two of them at once are a compile error, where asyncio raises.
///
/// Three kinds of reads: those of asyncio, which return vectors; those that lend a slice
/// of the reader's buffer (`fill_buf`, `peek`, `readline_ref`, `readuntil_ref`); and those
/// that fill the caller's memory (`read_into`, `readexactly_into`). The latter two
/// allocate nothing.
///
/// Dropping the reader discards what still comes; the writer goes on. On a pipe, which has
/// no writer at this end, dropping the reader closes.
///
/// # Cancel safety
/// Every read is cancel safe: it removes bytes only in the poll that returns them, and
/// the next read sees those that a dropped one did not return (D15).
///
/// # asyncio
/// `asyncio.StreamReader`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{StreamReader, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut reader = StreamReader::new();
///     reader.feed_data(b"first\nsecond\n");
///     reader.feed_eof();
///     assert_eq!(reader.readline().await?, b"first\n");
///     assert_eq!(reader.read_all().await?, b"second\n");
///     assert!(reader.at_eof());
///     io::Result::Ok(())
/// })
/// # }
/// ```
///
/// A second read while one waits does not compile:
/// ```compile_fail,E0499
/// // RDR-38, as users meet it.
/// # async fn doc(mut reader: millstream::StreamReader) {
/// let one = reader.readline();
/// let other = reader.readline();
/// one.await;
/// other.await;
/// # }
/// ```
pub struct StreamReader {
    /// All that can be kept there: a task that serves a connection commonly has room for its
    /// reader twice, as what it was called with, and as what it uses.
    pub(super) state: Rc<StreamState>,
    /// Bytes that were lent to a borrowing read, and those behind them.
    ///
    /// Invariant: they come before those at home; empty while a read waits.
    pub(super) lent: ReadBuffer,
}

/// What comes first when bytes are buffered and the connection failed (D14).
///
/// # asyncio
/// Always `ErrorFirst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ErrorPolicy {
    /// The error, in every read; [`StreamReader::take_buffered`] has the bytes.
    #[default]
    ErrorFirst,
    /// The bytes, as far as they satisfy the read; the error when more are needed.
    DataFirst,
}

/// What `readline` does with a line longer than the limit.
///
/// # asyncio
/// Always `DropBuffer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OverlongPolicy {
    /// Drops the line if its newline is there, else all that is buffered: what comes of
    /// the line later is taken for a line.
    #[default]
    DropBuffer,
    /// Drops the line to its newline, also what comes of it later: one long line costs
    /// one error (D16). A read of another kind takes what comes of it, and ends this.
    DiscardLine,
    /// Drops nothing: the next `readline` meets the same line.
    Keep,
}

impl Default for StreamReader {
    fn default() -> Self {
        StreamReader::new()
    }
}

impl StreamReader {
    /// Makes a reader with the default limit of 64 KiB.
    #[must_use]
    pub fn new() -> StreamReader {
        StreamReader::on(StreamState::new(DEFAULT_LIMIT))
    }

    /// Makes a reader with a limit in bytes.
    ///
    /// The limit bounds what may come before a separator; buffering twice as much pauses
    /// the transport.
    ///
    /// # Errors
    /// [`ReadError::InvalidInput`] if the limit is zero.
    ///
    /// # asyncio
    /// `StreamReader(limit=…)`; a negative limit can't be written:
    /// ```compile_fail,E0600
    /// // RDR-08
    /// let reader = millstream::StreamReader::with_limit(-1);
    /// ```
    pub fn with_limit(limit: usize) -> Result<StreamReader, ReadError> {
        check_limit(limit)?;
        Ok(StreamReader::on(StreamState::new(limit)))
    }

    pub(super) fn on(state: Rc<StreamState>) -> StreamReader {
        StreamReader {
            state,
            lent: ReadBuffer::default(),
        }
    }

    // ── owned reads, as asyncio has them ────────────────────────────────────────

    /// Reads up to `n` bytes: those that are there, or the first that come.
    ///
    /// Never waits to fill `n`. Returns an empty vector at the end of the stream, and at
    /// once for `n == 0`.
    ///
    /// # Errors
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// `StreamReader.read(n)`; `read(-1)` is [`read_all`](Self::read_all):
    /// ```compile_fail,E0600
    /// # async fn doc(mut reader: millstream::StreamReader) {
    /// let everything = reader.read(-1).await;
    /// # }
    /// ```
    #[inline]
    pub fn read(&mut self, n: usize) -> impl Future<Output = Result<Vec<u8>, ReadError>> {
        Read::new(self, Method::Read, OwnedBytes { most: n }, as_it_is)
    }

    /// Reads everything up to the end of the stream. Not bounded by the limit.
    ///
    /// # Errors
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`]. asyncio's loses what it has collected.
    ///
    /// # asyncio
    /// `StreamReader.read(-1)`.
    pub async fn read_all(&mut self) -> Result<Vec<u8>, ReadError> {
        self.read_all_limited(usize::MAX).await
    }

    /// Reads everything up to the end of the stream, if that is `max` bytes at the most.
    ///
    /// # Errors
    /// [`ReadError::LimitOverrun`] as soon as more have come; they stay in the buffer.
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn read_all_limited(&mut self, max: usize) -> Result<Vec<u8>, ReadError> {
        let attempt = |reader: &mut StreamReader| reader.try_read_all(max);
        Read::new(self, Method::ReadAll, attempt, as_it_is).await
    }

    /// Reads exactly `n` bytes. Not bounded by the limit.
    ///
    /// # Errors
    /// [`ReadError::Incomplete`] if the stream ends first, with the bytes that had come.
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// `StreamReader.readexactly`; a negative `n` can't be written:
    /// ```compile_fail,E0600
    /// # async fn doc(mut reader: millstream::StreamReader) {
    /// let body = reader.readexactly(-1).await; // RDR-31
    /// # }
    /// ```
    #[inline]
    pub fn readexactly(&mut self, n: usize) -> impl Future<Output = Result<Vec<u8>, ReadError>> {
        let attempt = move |reader: &mut StreamReader| reader.try_readexactly(n);
        Read::new(self, Method::Readexactly, attempt, as_it_is)
    }

    /// Reads up to and including the next `b'\n'`.
    ///
    /// At the end of the stream, returns what is left, without a newline; an empty vector
    /// means the end was already reached.
    ///
    /// # Errors
    /// [`ReadError::LineTooLong`] if no newline comes within the limit (64 KiB unless
    /// set); what is dropped with it, [`OverlongPolicy`] decides.
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is consumed until a whole line is.
    ///
    /// # asyncio
    /// `StreamReader.readline`, which raises `ValueError` for the limit.
    #[inline]
    pub fn readline(&mut self) -> impl Future<Output = Result<Vec<u8>, ReadError>> {
        Read::new(self, Method::Readline, OwnedLine, owned)
    }

    /// Does what [`readline`](Self::readline) does, with another limit for this call.
    ///
    /// # Errors
    /// As `readline`; [`ReadError::InvalidInput`] if the limit is zero.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is consumed until a whole line is.
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn readline_limited(&mut self, limit: usize) -> Result<Vec<u8>, ReadError> {
        check_limit(limit)?;
        let attempt = |reader: &mut StreamReader| reader.try_readline(limit);
        Read::new(self, Method::Readline, attempt, owned).await
    }

    /// Returns the next line, or `None` at the end of the stream.
    ///
    /// # Errors
    /// As [`readline`](Self::readline).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is consumed until a whole line is.
    ///
    /// # asyncio
    /// `async for line in reader`.
    ///
    /// # Examples
    /// ```
    /// # use std::io;
    /// # use millstream::{ReadError, StreamReader};
    /// # async fn doc(mut reader: StreamReader) -> Result<(), ReadError> {
    /// while let Some(line) = reader.next_line().await? {
    ///     println!("{} bytes", line.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn next_line(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, ReadError>> {
        Read::new(self, Method::Readline, OwnedLine, unless_empty)
    }

    /// Reads up to and including the next separator.
    ///
    /// Of several separators, the one counts whose match ends first; of two that end
    /// together, the shorter.
    ///
    /// # Errors
    /// [`ReadError::LimitOverrun`] if more than the limit (64 KiB unless set) comes
    /// before the separator; the bytes stay in the buffer. [`ReadError::Incomplete`] if
    /// the stream ends first, with the bytes that had come.
    /// [`ReadError::InvalidInput`] for no separator, or an empty one.
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// `StreamReader.readuntil`; without a default separator.
    pub async fn readuntil(&mut self, separators: impl Separators) -> Result<Vec<u8>, ReadError> {
        check_separators(&separators)?;
        let limit = self.limit();
        let attempt = |reader: &mut StreamReader| reader.try_readuntil(&separators, limit);
        Read::new(self, Method::Readuntil, attempt, owned).await
    }

    /// Does what [`readuntil`](Self::readuntil) does, with another limit for this call.
    ///
    /// # Errors
    /// As `readuntil`; [`ReadError::InvalidInput`] if the limit is zero, too.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn readuntil_limited(
        &mut self,
        separators: impl Separators,
        limit: usize,
    ) -> Result<Vec<u8>, ReadError> {
        check_separators(&separators)?;
        check_limit(limit)?;
        let attempt = |reader: &mut StreamReader| reader.try_readuntil(&separators, limit);
        Read::new(self, Method::Readuntil, attempt, owned).await
    }

    // ── borrowing reads ─────────────────────────────────────────────────────────

    /// Lends the unread bytes, at least one, but at the end of the stream.
    ///
    /// They stay unread: [`consume`](Self::consume) takes them.
    ///
    /// # Errors
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: it consumes nothing.
    ///
    /// # asyncio
    /// No counterpart; `std::io::BufRead::fill_buf` is the model.
    ///
    /// # Examples
    /// ```
    /// # use std::io;
    /// # use millstream::{StreamReader, run};
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let mut reader = StreamReader::new();
    ///     reader.feed_data(b"abc");
    ///     assert_eq!(reader.fill_buf().await?, b"abc");
    ///     reader.consume(2);
    ///     assert_eq!(reader.fill_buf().await?, b"c");
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    #[inline]
    pub fn fill_buf(&mut self) -> impl Future<Output = Result<&[u8], ReadError>> {
        let attempt = |reader: &mut StreamReader| reader.try_fill(1);
        Read::new(self, Method::FillBuf, attempt, all_lent)
    }

    /// Takes `n` bytes off those that [`fill_buf`](Self::fill_buf) or
    /// [`peek`](Self::peek) lent.
    ///
    /// # Panics
    /// If fewer are unread.
    pub fn consume(&mut self, n: usize) {
        let unread = self.state().unread();
        assert!(n <= unread, "consume({n}) of {unread} unread bytes");
        let from_lent = n.min(self.lent.len());
        self.lent.consume(from_lent);
        if n > from_lent {
            self.consume_home(n - from_lent);
        }
        self.end_discarding(n);
        self.after_consuming(n);
    }

    /// Lends the first `n` unread bytes; fewer only at the end of the stream.
    ///
    /// They stay unread. Not bounded by the limit.
    ///
    /// # Errors
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: it consumes nothing.
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn peek(&mut self, n: usize) -> Result<&[u8], ReadError> {
        let attempt = |reader: &mut StreamReader| reader.try_fill(n);
        let lent = Read::new(self, Method::Peek, attempt, all_lent).await?;
        Ok(&lent[..n.min(lent.len())])
    }

    /// Reads a line as [`readline`](Self::readline) does, and lends it.
    ///
    /// The line is consumed; its bytes stay readable until the next call.
    ///
    /// # Errors
    /// As `readline`.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is consumed until a whole line is.
    ///
    /// # asyncio
    /// No counterpart.
    #[inline]
    pub fn readline_ref(&mut self) -> impl Future<Output = Result<&[u8], ReadError>> {
        Read::new(
            self,
            Method::ReadlineRef,
            LentLine,
            StreamReader::just_consumed,
        )
    }

    /// Reads up to a separator as [`readuntil`](Self::readuntil) does, and lends it.
    ///
    /// What is lent is consumed; its bytes stay readable until the next call.
    ///
    /// # Errors
    /// As `readuntil`.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn readuntil_ref(&mut self, separators: impl Separators) -> Result<&[u8], ReadError> {
        check_separators(&separators)?;
        let limit = self.limit();
        let attempt = |reader: &mut StreamReader| reader.try_lend_record(&separators, limit);
        Read::new(
            self,
            Method::ReaduntilRef,
            attempt,
            StreamReader::just_consumed,
        )
        .await
    }

    /// Lends all unread bytes, without waiting for more, whatever has happened.
    ///
    /// # asyncio
    /// No counterpart; programs look into `StreamReader._buffer`.
    #[must_use]
    pub fn buffered(&mut self) -> &[u8] {
        self.bring_home();
        self.lend();
        self.lent.unread()
    }

    /// Takes all unread bytes, without waiting for more, also after an error.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn take_buffered(&mut self) -> Vec<u8> {
        self.bring_home();
        self.take_home(self.state().unread())
    }

    // ── reads into the caller's memory ──────────────────────────────────────────

    /// Reads up to `buffer.len()` bytes into `buffer`, and returns how many.
    ///
    /// Buffered bytes come first; if there are none, the kernel's go straight to the
    /// caller. Zero means the end of the stream, or an empty buffer.
    ///
    /// # Errors
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: see [`StreamReader`].
    ///
    /// # asyncio
    /// No counterpart.
    #[inline]
    pub fn read_into(
        &mut self,
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<usize, ReadError>> {
        Read::new(self, Method::ReadInto, CallersBytes { buffer }, as_it_is)
    }

    /// Fills `buffer`. Large bodies go from the kernel straight to the caller.
    ///
    /// # Errors
    /// [`ReadError::Incomplete`] if the stream ends first, with the bytes that had come.
    /// [`ReadError::Connection`] with the error that the connection was lost with.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped half-way, it puts what it had taken back into the reader.
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn readexactly_into(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        spend_budget().await;
        self.check_error_first()?;
        self.bring_home();
        self.fill_exactly(buffer).await
    }

    // ── state and settings ──────────────────────────────────────────────────────

    /// Says whether the stream has ended and all of it was read.
    ///
    /// # asyncio
    /// `StreamReader.at_eof`.
    #[must_use]
    pub fn at_eof(&self) -> bool {
        self.state().eof().is_some() && self.state().unread() == 0
    }

    /// Says how the stream ended, if it has.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn eof_kind(&self) -> Option<EofKind> {
        self.state().eof()
    }

    /// Returns the error that the connection was lost with, if it was.
    ///
    /// # asyncio
    /// `StreamReader.exception`.
    #[must_use]
    pub fn exception(&self) -> Option<ConnError> {
        self.state().exception()
    }

    /// Returns the limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.state().limit()
    }

    /// Sets the limit, in bytes.
    ///
    /// # Errors
    /// [`ReadError::InvalidInput`] if it is zero.
    ///
    /// # asyncio
    /// No counterpart: the limit is an argument of the constructor.
    pub fn set_limit(&mut self, limit: usize) -> Result<(), ReadError> {
        check_limit(limit)?;
        self.state().set_limit(limit, self.transport());
        Ok(())
    }

    /// Sets what comes first when bytes are buffered and the connection failed.
    pub fn set_error_policy(&mut self, policy: ErrorPolicy) {
        self.state.habits_mut().error_policy = policy;
    }

    /// Sets what `readline` does with a line longer than the limit.
    pub fn set_overlong_policy(&mut self, policy: OverlongPolicy) {
        let mut habits = self.state.habits_mut();
        habits.overlong_policy = policy;
        habits.discarding_line &= policy == OverlongPolicy::DiscardLine;
    }

    // ── the feeding side ────────────────────────────────────────────────────────

    /// Returns what a protocol feeds this reader by, also while a read waits.
    ///
    /// # asyncio
    /// The reader itself, whose `feed_data` may be called at any time.
    #[must_use]
    pub fn feeder(&self) -> StreamFeed {
        StreamFeed::new(self.state.clone())
    }

    /// Adds bytes, as [`StreamFeed::feed_data`] does.
    ///
    /// # asyncio
    /// `StreamReader.feed_data`.
    pub fn feed_data(&self, data: &[u8]) {
        self.feeder().feed_data(data);
    }

    /// Ends the stream, as [`StreamFeed::feed_eof`] does.
    ///
    /// # asyncio
    /// `StreamReader.feed_eof`.
    pub fn feed_eof(&self) {
        self.state().feed_eof(EofKind::Clean);
    }

    /// Has all reads fail, as [`StreamFeed::set_exception`] does.
    ///
    /// # asyncio
    /// `StreamReader.set_exception`.
    pub fn set_exception(&self, error: impl Into<ConnError>) {
        self.state().set_exception(error.into());
    }

    /// Sets the transport that is paused while too much is unread.
    ///
    /// # Panics
    /// With `Transport already set` if there is one.
    ///
    /// # asyncio
    /// `StreamReader.set_transport`.
    pub fn set_transport(&self, transport: Rc<dyn Transport>) {
        assert!(self.transport().is_none(), "Transport already set");
        self.state.set_transport(transport, User::Both);
    }

    // ── what the other files of this layer use ──────────────────────────────────

    pub(super) fn state(&self) -> &Rc<StreamState> {
        &self.state
    }

    /// While a read waits, all unread bytes are at home.
    pub(super) fn debug_assert_all_at_home(&self) {
        debug_assert!(self.lent.is_empty(), "lent bytes must come home first");
    }

    #[inline]
    pub(super) fn transport(&self) -> Option<&dyn Transport> {
        self.state.readers_transport().map(|transport| &**transport)
    }

    #[inline]
    pub(super) fn error_policy(&self) -> ErrorPolicy {
        self.state.habit(|habits| habits.error_policy)
    }

    /// Says whether a line that was too long is not over yet (D16).
    #[inline]
    pub(super) fn is_discarding_line(&self) -> bool {
        self.state.habit(|habits| habits.discarding_line)
    }

    /// S1: a stored error comes before everything else, unless the policy says otherwise.
    #[inline]
    pub(super) fn check_error_first(&self) -> Result<(), ReadError> {
        match self.error_policy() {
            ErrorPolicy::ErrorFirst => self.check_error(),
            ErrorPolicy::DataFirst => Ok(()),
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let transport = self.transport();
        self.state().abandon(transport);
        if let Some(transport) = transport.filter(|transport| !transport.can_write()) {
            transport.close(); // nobody else could use it
        }
    }
}

/// Shows how much is buffered, never what: it may be secret.
impl fmt::Debug for StreamReader {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamReader {} bytes", self.state().unread())?;
        if self.state().eof().is_some() {
            f.write_str(" eof")?;
        }
        write!(f, " limit={}", self.limit())?;
        if let Some(error) = self.exception() {
            write!(f, " exception={error:?}")?;
        }
        if let Some(transport) = self.transport() {
            write!(f, " transport={transport:?}")?;
        }
        if self.state().is_paused() {
            f.write_str(" paused")?;
        }
        f.write_str(">")
    }
}

/// The attempt of `read`.
struct OwnedBytes {
    most: usize,
}

impl Attempt for OwnedBytes {
    type Found = Vec<u8>;
    const PULLS: bool = true;

    #[inline]
    fn find(&mut self, reader: &mut StreamReader) -> Result<Option<Vec<u8>>, ReadError> {
        reader.try_read(self.most)
    }
}

/// The attempt of `read_into`.
struct CallersBytes<'b> {
    buffer: &'b mut [u8],
}

impl Attempt for CallersBytes<'_> {
    type Found = usize;
    const PULLS: bool = true;

    #[inline]
    fn find(&mut self, reader: &mut StreamReader) -> Result<Option<usize>, ReadError> {
        reader.try_read_into(self.buffer)
    }
}

/// The attempt of `readline`, which finds where the line ends at home.
struct OwnedLine;

impl Attempt for OwnedLine {
    type Found = usize;

    #[inline]
    fn at_hand(&mut self, reader: &mut StreamReader) -> Option<usize> {
        reader.line_at_home()
    }

    fn find(&mut self, reader: &mut StreamReader) -> Result<Option<usize>, ReadError> {
        reader.try_readline(reader.limit())
    }
}

/// The attempt of `readline_ref`, which consumes a line in what is lent.
struct LentLine;

impl Attempt for LentLine {
    type Found = usize;

    #[inline]
    fn at_hand(&mut self, reader: &mut StreamReader) -> Option<usize> {
        reader.line_in_lent()
    }

    fn find(&mut self, reader: &mut StreamReader) -> Result<Option<usize>, ReadError> {
        reader.try_lend_line(reader.limit())
    }
}

/// What was found is the result.
#[inline]
fn as_it_is<T>(_reader: &mut StreamReader, found: T) -> T {
    found
}

/// As many bytes as were found are the result.
#[inline]
fn owned(reader: &mut StreamReader, n: usize) -> Vec<u8> {
    reader.take_boxed(n).into_vec()
}

/// An empty line is the end of the stream.
#[inline]
fn unless_empty(reader: &mut StreamReader, n: usize) -> Option<Vec<u8>> {
    (n > 0).then(|| owned(reader, n))
}

/// What was lent is the result.
#[inline]
fn all_lent(reader: &mut StreamReader, (): ()) -> &[u8] {
    reader.lent.unread()
}

fn check_limit(limit: usize) -> Result<(), ReadError> {
    if limit == 0 {
        return Err(ReadError::InvalidInput("Limit cannot be <= 0".into()));
    }
    Ok(())
}
