//! The patience of a writer: how long `drain` and `flush` wait while nothing leaves.
//!
//! ```text
//!   waits ──bytes left──► waits on ──bytes left──► done
//!   limit ├─────────────► begins anew ├──────────► no timer any more
//! ```
//!
//! A transport tells when its buffer is empty enough, not each time that something leaves
//! it. So a writer that waits looks, some times within the limit, how much is queued.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::TimedOut;
use crate::event_loop::running_loop;
use crate::time::Alarm;

use super::writer::StreamWriter;

/// How often within its limit a writer looks whether something has left: it gives up a
/// quarter of the limit too late at the most, and costs four timers in that time.
const LOOKS: u32 = 4;

/// How long a writer waits while nothing leaves.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum WriterPatience {
    #[default]
    Endless,
    Limit(Duration),
    /// The limit has passed, and nothing has been drained since.
    Lost(Duration),
}

impl StreamWriter {
    /// Sets how long [`drain`](Self::drain) and [`flush`](Self::flush) wait while nothing
    /// leaves; `None`, as it is at first, is for ever.
    ///
    /// The limit begins anew whenever the system takes something of what is queued, be it a
    /// single byte: it is for peers that are gone or stuck, not for slow ones. How long a
    /// whole wait may take, is [`timeout`](crate::timeout) around it. Four times within the
    /// limit it is looked whether something has left, so it is met to a quarter. It goes for
    /// those of [`copy`](crate::copy), too.
    ///
    /// Who waits too long is told `TimedOut`. The connection stays open, what is queued stays
    /// so, and one may wait again. But a writer that is dropped then aborts the connection
    /// instead of closing it: closing would wait for the very peer that was given up. The
    /// end of a connection has its own limit: [`close_with_timeout`](Self::close_with_timeout).
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
    ///     let ((_reader, writer), (_peer_reader, peer)) = memory_stream_pair(1024);
    ///     peer.transport().pause_reading();
    ///     writer.set_write_timeout(Some(Duration::from_millis(1)));
    ///     writer.write(vec![0; 1 << 20]);
    ///     let stalled = writer.flush().await;
    ///     assert_eq!(stalled.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_write_timeout(&self, limit: Option<Duration>) {
        self.state
            .set_writer_patience(limit.map_or(WriterPatience::Endless, WriterPatience::Limit));
    }

    /// Returns how long `drain` and `flush` wait while nothing leaves.
    #[must_use]
    pub fn write_timeout(&self) -> Option<Duration> {
        match self.state.writer_patience() {
            WriterPatience::Endless => None,
            WriterPatience::Limit(limit) | WriterPatience::Lost(limit) => Some(limit),
        }
    }

    /// Says whether the peer was given up.
    pub(super) fn has_lost_patience(&self) -> bool {
        matches!(self.state.writer_patience(), WriterPatience::Lost(_))
    }

    /// Awaits what waits for bytes to leave, as long as some do.
    pub(super) async fn patiently(
        &self,
        waiting: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        match self.write_timeout() {
            None => waiting.await,
            Some(limit) => self.while_something_leaves(limit, pin!(waiting)).await,
        }
    }

    /// In a box, so that those who set no limit have no room for it in their tasks.
    fn while_something_leaves<'a>(
        &'a self,
        limit: Duration,
        mut waiting: Pin<&'a mut dyn Future<Output = io::Result<()>>>,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + 'a>> {
        let mut watch = Watch::begin(self, limit);
        Box::pin(poll_fn(move |cx| {
            if let Poll::Ready(done) = waiting.as_mut().poll(cx) {
                self.settle(WriterPatience::Limit);
                return Poll::Ready(done);
            }
            ready!(watch.poll(self, cx));
            self.settle(WriterPatience::Lost);
            Poll::Ready(Err(TimedOut.into()))
        }))
    }

    /// The limit that is set now may be another than when the wait began.
    fn settle(&self, how: fn(Duration) -> WriterPatience) {
        let settled = self.write_timeout().map_or(WriterPatience::Endless, how);
        self.state.set_writer_patience(settled);
    }

    fn queued(&self) -> usize {
        self.transport().get_write_buffer_size()
    }
}

/// Looks now and then whether something has left.
struct Watch {
    limit: Duration,
    /// How much was queued when it was looked last.
    queued: usize,
    /// When the limit passes, unless something leaves.
    deadline: Duration,
    next_look: Duration,
    alarm: Alarm,
}

impl Watch {
    fn begin(writer: &StreamWriter, limit: Duration) -> Watch {
        let handle = running_loop();
        Watch {
            limit,
            queued: writer.queued(),
            deadline: handle.deadline(limit),
            next_look: handle.deadline(limit / LOOKS),
            alarm: Alarm::default(),
        }
    }

    /// Ready when nothing has left within the limit.
    fn poll(&mut self, writer: &StreamWriter, cx: &mut Context<'_>) -> Poll<()> {
        let handle = running_loop();
        loop {
            ready!(self.alarm.poll(Some(self.next_look), cx));
            // If it is more, another task wrote: something may have left as well.
            if writer.queued() != self.queued {
                self.queued = writer.queued();
                self.deadline = handle.deadline(self.limit);
            } else if handle.time() >= self.deadline {
                return Poll::Ready(());
            }
            // Later than now, also if a quarter of the limit is nothing.
            let pause = (self.limit / LOOKS).max(Duration::from_nanos(1));
            self.next_look = handle.deadline(pause);
        }
    }
}
