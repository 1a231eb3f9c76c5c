//! The patience of a writer: how long `drain` and `flush` wait while nothing leaves.
//!
//! ```text
//!   waits ──bytes left──► waits on ──bytes left──► done
//!   limit ├─────────────► begins anew ├──────────► no timer any more
//! ```
//!
//! A transport tells when its buffer is empty enough, not each time that something leaves
//! it. So a writer that waits looks, some times within the limit, how much is queued.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use crate::error::TimedOut;
use crate::event_loop::running_loop;
use crate::time::timeout;

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
            // In a box, so that those who set no limit have no room for it in their tasks.
            Some(limit) => Box::pin(self.while_something_leaves(limit, pin!(waiting))).await,
        }
    }

    async fn while_something_leaves(
        &self,
        limit: Duration,
        mut waiting: Pin<&mut dyn Future<Output = io::Result<()>>>,
    ) -> io::Result<()> {
        let mut queued = self.queued();
        let mut deadline = running_loop().deadline(limit);
        loop {
            if let Ok(done) = timeout(limit / LOOKS, waiting.as_mut()).await {
                self.settle(WriterPatience::Limit);
                return done;
            }
            // If it is more, another task wrote: something may have left as well.
            if self.queued() != queued {
                queued = self.queued();
                deadline = running_loop().deadline(limit);
            } else if running_loop().time() >= deadline {
                self.settle(WriterPatience::Lost);
                return Err(TimedOut.into());
            }
        }
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
