//! Reads that pull: from the kernel to where the bytes are to lie, in the read's own step.
//!
//! ```text
//!   nobody waits   recv ──► the loop's buffer ──copy──► home
//!   a read waits   ReadInto::Later ──► the read is woken
//!                    few bytes    recv ──► the loop's buffer ──copy──► its result, the rest home
//!                    many bytes   recv ──► its caller's slice, or a vector that comes home
//! ```
//!
//! What comes while a read waits is left in the kernel: the protocol only wakes the read, which
//! receives it in its own step. So the bytes, and all that is known of the connection, are in the
//! cache when your code gets them; when many connections are ready at once, those of the first
//! would be pushed out by those of the last. What comes while nobody waits, or behind bytes that
//! are unread, the protocol feeds.
//!
//! Few bytes pass through the buffer that the connections share, since a copy of them costs next
//! to nothing. Once the last bytes of a stream were many ([`Expected`]), the copy would take as
//! long as the kernel's own: they are received into memory from the pool that is to be theirs. A
//! read into its caller's memory needs neither, unless that is small.
//!
//! In a bulk of bytes, the next read needs no wait before that: while its step has budget left
//! for as many as are expected, it looks into the kernel at once (R9).
//!
//! Always true: only a read that waits has bytes left to it, and only while none are unread.
//! If it is dropped before it pulls, they are offered again, and the protocol feeds them (S4).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::buffer::MAX_RECEIVE;
use crate::contract::Transport;
use crate::error::ReadError;
use crate::task::yield_now;

use super::attempts::incomplete;
use super::reader::StreamReader;
use super::state::{Method, StreamState};

impl StreamReader {
    /// Fills `buffer`, for a reader whose bytes are all at home.
    pub(super) async fn fill_exactly(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        let expected = buffer.len();
        let mut filling = Filling {
            reader: self,
            buffer,
            filled: 0,
        };
        let mut pulled = 0;
        while !filling.rest().is_empty() {
            if let Some(n) = filling.take() {
                pulled += n;
                if pulled >= MAX_RECEIVE {
                    pulled = 0;
                    filling
                        .reader
                        .yield_between_pulls(Method::ReadexactlyInto)
                        .await?; // R9
                }
            } else if filling.reader.is_at_the_end()? {
                let partial = filling.give_up();
                return Err(incomplete(partial, Some(expected)));
            } else {
                filling.reader.wait_to_pull(Method::ReadexactlyInto).await?;
            }
        }
        filling.filled = 0; // they are the caller's now
        Ok(())
    }

    /// Waits until there is something to pull, or something was fed; not longer than the
    /// reader's limit.
    pub(super) async fn wait_to_pull(&mut self, method: Method) -> Result<(), ReadError> {
        self.begin_patience();
        let mut pull = Pull::begin(self, method)?;
        let waiting = Waiting(self);
        poll_fn(|cx| match Pin::new(&mut pull).poll(cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => waiting
                .0
                .poll_patience(cx)
                .map(|()| Err(ReadError::TimedOut)),
        })
        .await
    }

    /// Lets the others have a turn, and has what comes in it left to the read that pulls:
    /// nobody waits at that moment, and the protocol would feed it into the buffer.
    async fn yield_between_pulls(&self, method: Method) -> Result<(), ReadError> {
        let mut pulling = Pull::begin(self, method)?;
        yield_now().await;
        pulling.is_followed_by_a_read();
        Ok(())
    }

    /// Awaits something else while what comes is left to the pull that follows.
    ///
    /// Unless bytes are unread, which keep their place before those: what comes is fed
    /// behind them then.
    pub(super) async fn leave_to_us_while<F: Future>(
        &self,
        other: F,
    ) -> Result<F::Output, ReadError> {
        if self.state().unread() > 0 {
            return Ok(other.await);
        }
        let pulling = Pull::begin(self, Method::Copy)?;
        let output = other.await;
        drop(pulling);
        Ok(output)
    }

    /// Takes buffered bytes, or pulls what the kernel has, into `buffer`.
    pub(super) fn take_into(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let unread = self.state().unread();
        if unread == 0 {
            return self.pull(buffer);
        }
        let n = unread.min(buffer.len());
        self.state()
            .at_home(|home| buffer[..n].copy_from_slice(&home.unread()[..n]));
        self.end_discarding(n);
        self.drop_home(n);
        Some(n)
    }
}

impl StreamReader {
    /// Says whether a read may pull: because bytes were left to it while it waited, or because
    /// many may be there (a read before its first wait knows no more than that).
    #[inline]
    pub(super) fn may_pull(&self, room: usize) -> bool {
        let state = self.state();
        if !(state.end_wait_if_over() || state.may_pull_at_once(room)) {
            return false;
        }
        let may_pull = state.unread() == 0;
        if !may_pull {
            self.offer_again(); // they come behind what somebody else fed
        }
        may_pull
    }

    /// Nobody pulls the bytes that were left to a read.
    #[cold]
    pub(super) fn offer_again(&self) {
        if let Some(transport) = self.transport() {
            offer_again(transport);
        }
    }

    /// Pulls what the kernel has.
    fn pull(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let transport = self.transport()?;
        let pulled = match buffer.len() > OFTEN_FILLED {
            true => {
                let pulled = transport.try_read(buffer).ok()?;
                self.state().was_pulled(pulled);
                pulled
            }
            false => self.pull_into_few(transport, buffer)?,
        };
        self.end_discarding(pulled);
        Some(pulled)
    }

    /// A small buffer is often as long as what comes. A receive that fills it can't tell
    /// whether there is more (R6), and the next one would only learn that there isn't. So it is
    /// received where there is room for more, and copied.
    fn pull_into_few(&self, transport: &dyn Transport, buffer: &mut [u8]) -> Option<usize> {
        let mut taken = 0;
        let room = buffer.len() + SPARE;
        let pulled = self.state().pull_few(transport, room, |bytes| {
            taken = bytes.len().min(buffer.len());
            buffer[..taken].copy_from_slice(&bytes[..taken]);
            taken
        });
        pulled.then_some(taken)
    }

    /// Pulls up to `n` bytes into a vector of their own, if few are expected; others home.
    pub(super) fn pull_owned(&mut self, n: usize) -> Option<Vec<u8>> {
        if self.state().expects_many() {
            self.state().pull_home();
            return None;
        }
        let mut taken = Vec::new();
        let transport = self.transport()?;
        self.state().pull_few(transport, MAX_RECEIVE, |bytes| {
            taken = bytes[..n.min(bytes.len())].to_vec();
            taken.len()
        });
        self.end_discarding(taken.len());
        (!taken.is_empty()).then_some(taken)
    }
}

/// Bytes up to which the buffer of a pull is taken to be as long as a message.
///
/// 1 KiB: longer ones are mostly made for whatever may come, and rarely filled.
const OFTEN_FILLED: usize = 1024;

/// Bytes that are offered behind what is expected.
const SPARE: usize = 64;

/// How many bytes the next receive may bring, judged by the last one: a power of two, by its
/// exponent; zero if few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Expected(u8);

impl Expected {
    /// What is expected after so many bytes. They double when they fill what was expected.
    #[inline]
    pub(super) fn after(n: usize) -> Expected {
        match n < MANY {
            true => Expected(0),
            false => Expected(n.next_power_of_two().trailing_zeros() as u8),
        }
    }

    #[inline]
    pub(super) fn are_many(self) -> bool {
        self.0 > 0
    }

    /// Bytes of memory to receive them into: some more, so that the receive is short.
    pub(super) fn room(self) -> usize {
        ((1 << self.0) + SPARE).min(MOST_EXPECTED)
    }
}

/// Bytes from which they are many: to copy them costs more than to be woken first.
///
/// 4 KiB: as of a write that isn't copied, but leaves at once.
pub(super) const MANY: usize = 4 * 1024;

/// The most that is expected, in bytes.
///
/// 120 KiB: no more than the pool keeps of one, and less than twice the default limit, so that one
/// receive pauses no transport. Also less than what glibc has mapped, since a mapping's
/// vector begins where receiving is slow (`buffer/receive_buffer.rs` says why).
const MOST_EXPECTED: usize = 120 * 1024;

/// A caller's buffer that is being filled. Dropped half-way, it puts back what it took.
struct Filling<'a> {
    reader: &'a mut StreamReader,
    buffer: &'a mut [u8],
    filled: usize,
}

impl Filling<'_> {
    fn rest(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    fn take(&mut self) -> Option<usize> {
        let n = self.reader.take_into(&mut self.buffer[self.filled..])?;
        self.filled += n;
        Some(n)
    }

    /// Returns what was taken, which is the caller's then.
    fn give_up(&mut self) -> Vec<u8> {
        let partial = self.buffer[..self.filled].to_vec();
        self.filled = 0;
        partial
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.filled > 0 {
            let taken = &self.buffer[..self.filled];
            let state = self.reader.state();
            state.at_home(|home| home.prepend(taken));
            state.put_back(taken.len());
        }
    }
}

/// A reader whose read waits.
struct Waiting<'a>(&'a mut StreamReader);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.end_patience();
    }
}

/// Waits until there is something to pull from the transport, or something was fed.
pub(super) struct Pull {
    state: Rc<StreamState>,
    /// Bytes may have been left to a read that pulls, and none follows so far.
    left: bool,
}

impl Pull {
    /// # Errors
    /// If another read waits already.
    pub(super) fn begin(reader: &StreamReader, method: Method) -> Result<Pull, ReadError> {
        reader.debug_assert_all_at_home();
        let state = reader.state().clone();
        state.begin_wait(method, reader.transport())?;
        Ok(Pull { state, left: true })
    }
}

impl Pull {
    /// A `try_read` follows, which takes the left bytes itself.
    fn is_followed_by_a_read(&mut self) {
        self.left = false;
    }
}

impl Future for Pull {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.state.poll_wait(cx));
        self.is_followed_by_a_read();
        Poll::Ready(())
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.state.end_wait();
        let transport = self.state.readers_transport();
        if let Some(transport) = transport.filter(|_| self.left) {
            offer_again(&**transport);
        }
    }
}

/// Nobody pulls the bytes that were left to a puller: the protocol is asked again.
pub(super) fn offer_again(transport: &dyn Transport) {
    // Nothing to read into: this only takes back that they were left.
    let _ = transport.try_read(&mut []);
}
