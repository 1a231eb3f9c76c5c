//! The writer: what a coroutine writes a stream by.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::contract::{ExtraInfoKey, Transport};
use crate::error::{ConnError, TimedOut};
use crate::event_loop::{get_running_loop, running_loop};
use crate::step::has_budget;
use crate::task::{spend_budget, yield_now};
use crate::time::timeout_at;
use crate::waits::{WaitsOn, What, noting};

use super::flow_control::connection_lost;
use super::reader::StreamReader;
use super::state::{StreamState, User};

/// Writes a stream of bytes, asynchronously.
///
/// Writing never waits: [`write`](Self::write) queues, and what a task's step wrote leaves
/// together when the step ends (D28). [`drain`](Self::drain) waits while too much is
/// queued, and tells what went wrong. The methods take `&self`, so that tasks may share a
/// writer by `Rc`.
///
/// Dropping the writer closes the connection, once what it wrote has been sent: so
/// `let (reader, _) = open_connection(…)` closes at once.
///
/// # asyncio
/// `asyncio.StreamWriter`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{StreamReader, StreamWriter};
///
/// async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     while let Some(line) = reader.next_line().await? {
///         writer.write(&line);
///         writer.drain().await?;
///     }
///     writer.aclose().await
/// }
/// ```
pub struct StreamWriter {
    /// Invariant: it has a transport.
    pub(super) state: Rc<StreamState>,
}

impl StreamWriter {
    /// Makes the writer that belongs to `reader`, on its transport.
    ///
    /// The reader, and writers that were made for it before, use this one from now on.
    ///
    /// # asyncio
    /// `StreamWriter(transport, protocol, reader, loop)`.
    #[must_use]
    pub fn new(transport: Rc<dyn Transport>, reader: &StreamReader) -> StreamWriter {
        let state = reader.state().clone();
        state.set_transport(transport, User::Both);
        StreamWriter { state }
    }

    // ── writing ─────────────────────────────────────────────────────────────────

    /// Queues bytes to be sent. Never waits; what goes wrong, [`drain`](Self::drain) tells.
    ///
    /// # asyncio
    /// `StreamWriter.write`, which sends at once; so does
    /// [`WritePolicy::Immediate`](crate::WritePolicy::Immediate) here.
    pub fn write(&self, data: impl AsRef<[u8]>) {
        self.transport().write(data.as_ref());
    }

    /// Queues bytes without copying them.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn write_owned(&self, data: Vec<u8>) {
        self.transport().write_owned(data);
    }

    /// Queues several pieces as one write, sent with one vectored system call.
    ///
    /// # asyncio
    /// `StreamWriter.writelines`.
    pub fn writelines<I>(&self, pieces: I)
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let pieces: Vec<I::Item> = pieces.into_iter().collect();
        let slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p.as_ref())).collect();
        self.transport().writelines(&slices);
    }

    /// Waits until it is reasonable to write on, and tells what went wrong.
    ///
    /// Returns at once unless more than the high-water mark (64 KiB unless set) is
    /// queued; then it waits until the low-water mark (16 KiB) is reached. This is
    /// back-pressure, not delivery: see [`flush`](Self::flush).
    ///
    /// # Errors
    /// What the connection was lost with. `ConnectionReset` with `Connection lost` after
    /// a close. `InvalidInput` after a write that came after `write_eof` (D27). `TimedOut`
    /// if nothing leaves within the limit that [`set_write_timeout`](Self::set_write_timeout)
    /// set.
    ///
    /// # Cancel safety
    /// Cancel safe: what was written stays queued.
    ///
    /// # asyncio
    /// `StreamWriter.drain`. It errs where asyncio's returns though bytes were thrown
    /// away (D17).
    #[inline]
    pub fn drain(&self) -> impl Future<Output = io::Result<()>> {
        Drain {
            writer: self,
            rest: None,
        }
    }

    #[inline]
    fn may_write_on(&self) -> bool {
        self.state.may_write_on() && self.transport().is_open_to_writes()
    }

    /// What a drain does that has to wait, or something to tell.
    async fn drain_or_fail(&self) -> io::Result<()> {
        spend_budget().await;
        self.check()?;
        if self.transport().is_closing() {
            // So that a loop of write and drain meets the loss that is queued.
            yield_now().await;
            self.check()?;
        }
        let state = &self.state;
        let drained = state.flow().drain_on(&**self.transport(), state.source());
        self.patiently(drained).await
    }

    /// Waits until everything that was written has been handed to the kernel.
    ///
    /// # Errors
    /// What the connection was lost with; `ConnectionReset` with `Connection lost` if
    /// bytes that had been written were thrown away. `InvalidInput` after a write that
    /// came after `write_eof` (D27). `TimedOut` as [`drain`](Self::drain).
    ///
    /// # Cancel safety
    /// Cancel safe: what was written stays queued.
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn flush(&self) -> io::Result<()> {
        if has_budget() {
            self.transport().flush();
            if self.transport().get_write_buffer_size() == 0 {
                return self.check_flushed();
            }
        }
        // In a box, as in `drain`.
        Box::pin(self.flush_or_fail()).await
    }

    async fn flush_or_fail(&self) -> io::Result<()> {
        spend_budget().await;
        self.transport().flush();
        let flushed = std::future::poll_fn(|cx| self.transport().poll_flushed(cx));
        let flush = WaitsOn::numbered(What::Flush, self.state.source());
        self.patiently(async {
            noting(flush, flushed).await;
            self.check_flushed()
        })
        .await
    }

    fn check_flushed(&self) -> io::Result<()> {
        self.check()?;
        if self.transport().has_discarded() {
            return Err(connection_lost());
        }
        Ok(())
    }

    /// Tells the peer, once what was written has been sent, that no more will come.
    ///
    /// Reading goes on.
    ///
    /// # Errors
    /// `Unsupported` if the transport can't.
    ///
    /// # asyncio
    /// `StreamWriter.write_eof`.
    pub fn write_eof(&self) -> io::Result<()> {
        if !self.can_write_eof() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this transport cannot end writing without closing: see can_write_eof()",
            ));
        }
        self.transport().write_eof();
        Ok(())
    }

    /// Says whether [`write_eof`](Self::write_eof) is supported.
    ///
    /// # asyncio
    /// `StreamWriter.can_write_eof`.
    #[must_use]
    pub fn can_write_eof(&self) -> bool {
        self.transport().can_write_eof()
    }

    // ── closing ─────────────────────────────────────────────────────────────────

    /// Closes the stream, once what was written has been sent. Does not wait; again has
    /// no effect.
    ///
    /// Bytes that were received stay readable; no more are received.
    ///
    /// # asyncio
    /// `StreamWriter.close`.
    pub fn close(&self) {
        self.transport().close();
    }

    /// Says whether the stream is closed or about to be.
    ///
    /// # asyncio
    /// `StreamWriter.is_closing`.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.transport().is_closing()
    }

    /// Waits until the connection is over. Does not close.
    ///
    /// When it returns, the socket is closed.
    ///
    /// # Errors
    /// What the connection was lost with, each time it is called. `InvalidInput` after a
    /// write that came after `write_eof` (D27).
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    ///
    /// # asyncio
    /// `StreamWriter.wait_closed`.
    pub fn wait_closed(&self) -> impl Future<Output = io::Result<()>> {
        Box::pin(self.end()) // in a box, as in `drain`: it is awaited once
    }

    async fn end(&self) -> io::Result<()> {
        let error = self.state.flow().close_of(self.state.source()).await;
        match error {
            Some(error) => Err(error.into()),
            None => self.check_misuse(),
        }
    }

    /// Waits until the connection is over, and says why: `None` after a clean end.
    ///
    /// Reads nothing, so that it can stand beside a read in a `select`.
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn closed(&self) -> Option<ConnError> {
        self.state.flow().close_of(self.state.source()).await
    }

    /// Closes, and waits until the connection is over.
    ///
    /// # Errors
    /// As [`wait_closed`](Self::wait_closed).
    ///
    /// # Cancel safety
    /// Cancel safe: the connection goes on closing.
    ///
    /// # asyncio
    /// No counterpart: `close()`, then `await wait_closed()`.
    pub fn aclose(&self) -> impl Future<Output = io::Result<()>> {
        Box::pin(async {
            self.close();
            self.end().await
        })
    }

    /// Closes, and aborts if that takes longer than `patience`.
    ///
    /// # Errors
    /// `TimedOut` if it had to abort: bytes that were queued are lost then. Else as
    /// [`wait_closed`](Self::wait_closed).
    ///
    /// # Cancel safety
    /// Dropped, it leaves the connection closing, without a time limit.
    ///
    /// # asyncio
    /// No counterpart: `close()` has no time limit.
    pub async fn close_with_timeout(&self, patience: Duration) -> io::Result<()> {
        self.close_by(running_loop().deadline(patience)).await
    }

    /// Closes, and aborts if bytes are left at the deadline. Without any, the end is only
    /// a turn away.
    async fn close_by(&self, deadline: Duration) -> io::Result<()> {
        self.close();
        if let Ok(closed) = timeout_at(deadline, self.wait_closed()).await {
            return closed;
        }
        if self.transport().get_write_buffer_size() == 0 {
            return self.wait_closed().await;
        }
        self.transport().abort();
        self.wait_closed().await?;
        Err(TimedOut.into())
    }

    /// Flushes, tells the peer that no more comes, discards what it still sends until its
    /// end or until `patience` is over, and closes.
    ///
    /// Closing while unread bytes lie in the kernel makes a reset, which may erase our
    /// last bytes at the peer: this avoids it.
    ///
    /// # Errors
    /// As [`close_with_timeout`](Self::close_with_timeout).
    ///
    /// # Cancel safety
    /// Dropped, it leaves the connection open; what was received is discarded.
    ///
    /// # asyncio
    /// No counterpart.
    pub async fn close_lingering(
        &self,
        reader: StreamReader,
        patience: Duration,
    ) -> io::Result<()> {
        let mut reader = reader;
        let lingering = async {
            self.flush().await?;
            if self.can_write_eof() {
                self.write_eof()?;
            }
            loop {
                let n = reader.fill_buf().await?.len();
                if n == 0 {
                    return io::Result::Ok(());
                }
                reader.consume(n);
            }
        };
        let deadline = running_loop().deadline(patience);
        // Whether the peer ended, failed or dawdled: it is over, and closing tells how.
        let _ = timeout_at(deadline, lingering).await;
        self.close_by(deadline).await
    }

    // ── what else there is to know ──────────────────────────────────────────────

    /// Returns extra information, such as the peer's address for
    /// [`PeerName`](crate::PeerName); `None` if the transport has none.
    ///
    /// # asyncio
    /// `StreamWriter.get_extra_info`.
    #[must_use]
    pub fn get_extra_info<K: ExtraInfoKey>(&self, key: K) -> Option<K::Value> {
        self.transport().get_extra_info(key)
    }

    /// Returns the transport.
    ///
    /// # asyncio
    /// The attribute `StreamWriter.transport`.
    #[must_use]
    #[inline]
    pub fn transport(&self) -> &Rc<dyn Transport> {
        self.state
            .writers_transport()
            .expect("a writer is made with a transport")
    }

    /// Tells the error that the reader was told, and a misuse (D27).
    #[inline]
    fn check(&self) -> io::Result<()> {
        match self.state.exception() {
            Some(error) => Err(error.into()),
            None => self.check_misuse(),
        }
    }

    #[inline]
    fn check_misuse(&self) -> io::Result<()> {
        match self.transport().misuse() {
            Some(misuse) => Err(io::Error::new(io::ErrorKind::InvalidInput, misuse)),
            None => Ok(()),
        }
    }
}

/// The future of [`StreamWriter::drain`].
///
/// Written by hand: so what happens nearly always becomes a part of the task that awaits
/// it, and is a few compares. What is rare is in a box, for each task that serves a stream
/// has room for the largest future that it awaits.
struct Drain<'a> {
    writer: &'a StreamWriter,
    /// In two boxes, of which the outer one is smaller: see [`Rest`].
    rest: Option<Box<Rest<'a>>>,
}

/// What is left to be awaited. As a pointer it takes two words.
type Rest<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>;

impl Future for Drain<'_> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let drain = self.get_mut();
        if drain.rest.is_none() && drain.writer.may_write_on() && has_budget() {
            return Poll::Ready(Ok(()));
        }
        drain.poll_rest(cx)
    }
}

impl Drain<'_> {
    #[cold]
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writer = self.writer;
        let rest = self
            .rest
            .get_or_insert_with(|| Box::new(Box::pin(writer.drain_or_fail())));
        (**rest).as_mut().poll(cx)
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if self.has_lost_patience() {
            self.transport().abort();
            return;
        }
        if self.transport().is_closing() {
            return;
        }
        if get_running_loop().is_ok_and(|handle| handle.get_debug()) {
            log::warn!("unclosed {self:?}");
        }
        self.transport().close();
    }
}

impl fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<StreamWriter transport={:?}>", self.transport())
    }
}
