//! The patience of a reader: how long a read waits for the next bytes.
//!
//! ```text
//!   read waits ──bytes──► waits on for more ──bytes──► the result
//!   limit      ├────────► begins anew       ├────────► no timer any more
//! ```
//!
//! Always true: a timer is set only while a read waits. A reader without a limit has nothing
//! of this, and asks for it only when it must wait.

use std::mem::replace;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::event_loop::running_loop;
use crate::time::Alarm;

use super::reader::StreamReader;

/// The time limit of a reader's waits.
pub(super) struct Patience {
    limit: Duration,
    /// When the wait that was begun last is over.
    deadline: Duration,
    alarm: Alarm,
}

impl StreamReader {
    /// Sets how long a read waits for the next bytes; `None`, as it is at first, is for
    /// ever.
    ///
    /// The limit begins anew whenever something comes, be it a single byte: it is for
    /// peers that are gone or stuck, not for slow ones. How long a whole read may take, is
    /// [`timeout`](crate::timeout) around it. What no read waits for has no limit: neither
    /// the time between reads, nor bytes that are there. It goes for all reads, those of
    /// [`copy`](crate::copy) too.
    ///
    /// A read that finds nothing within the limit gives
    /// [`ReadError::TimedOut`](crate::ReadError::TimedOut), of the kind `TimedOut`, and
    /// consumes nothing; the connection stays open, and may be read on. A writer has a limit
    /// of its own: [`set_write_timeout`](crate::StreamWriter::set_write_timeout).
    ///
    /// # asyncio
    /// No counterpart. The name is that of `std::net::TcpStream`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::{memory_stream_pair, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let ((mut reader, _writer), (_peer_reader, peer)) = memory_stream_pair(1024);
    ///     reader.set_read_timeout(Some(Duration::from_millis(1)));
    ///     peer.write("half a li");
    ///     let idle = reader.readline().await.map_err(io::Error::from);
    ///     assert_eq!(idle.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    ///     peer.write("ne\n");
    ///     assert_eq!(reader.readline().await?, b"half a line\n");
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) {
        let patience = limit.map(|limit| {
            Box::new(Patience {
                limit,
                deadline: Duration::MAX,
                alarm: Alarm::default(),
            })
        });
        let earlier = replace(&mut self.state.habits_mut().patience, patience);
        drop(earlier);
    }

    /// Returns how long a read waits for the next bytes.
    #[must_use]
    pub fn read_timeout(&self) -> Option<Duration> {
        (self.state).habit(|habits| habits.patience.as_ref().map(|patience| patience.limit))
    }

    /// A read begins to wait, or waits for more.
    #[inline]
    pub(super) fn begin_patience(&mut self) {
        self.with_patience(|patience| {
            patience.deadline = running_loop().deadline(patience.limit);
        });
    }

    /// Says whether the wait has taken too long.
    #[inline]
    pub(super) fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled =
            self.with_patience(|patience| patience.alarm.poll(Some(patience.deadline), cx));
        polled.unwrap_or(Poll::Pending)
    }

    /// No read waits any more.
    #[inline]
    pub(super) fn end_patience(&mut self) {
        self.with_patience(|patience| patience.alarm = Alarm::default());
    }

    /// Does something with the patience, if there is a limit: out of its cell, since it may
    /// concern wakers (R3).
    #[inline]
    fn with_patience<T>(&mut self, act: impl FnOnce(&mut Patience) -> T) -> Option<T> {
        match self.state.has_habits() {
            true => self.with_patience_if_any(act),
            false => None,
        }
    }

    #[cold]
    fn with_patience_if_any<T>(&mut self, act: impl FnOnce(&mut Patience) -> T) -> Option<T> {
        if !self.state.habit(|habits| habits.patience.is_some()) {
            return None;
        }
        let mut patience = self.state.habits_mut().patience.take()?;
        let result = act(&mut patience);
        self.state.habits_mut().patience = Some(patience);
        Some(result)
    }
}
