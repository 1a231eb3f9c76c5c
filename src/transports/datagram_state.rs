//! The state of an endpoint for datagrams: what is queued, what is paused, how it ends.
//!
//! A machine without I/O, as `connection_state.rs` is one for streams; it is smaller, for
//! datagrams have no half-close, no partial sends and no step's end to leave at.
//!
//! ```text
//!   phase   Open ──close, datagrams queued──► Closing ──all sent──► Lost
//!             └──close, nothing queued─────────────────────────────▲
//!             └──abort, a failing callback──────────────────────────┘
//! ```

use std::collections::VecDeque;

use crate::address::Address;
use crate::contract::WriteLimitsError;

use super::water_marks::WaterMarks;

/// Bytes that each queued datagram counts for beside its own. asyncio's number, so that
/// empty ones count, too.
const HEADER: usize = 8;

/// Datagrams sent to a closed endpoint from which on each is warned of. asyncio's number.
const DROPPED_WARNED: u32 = 5;

/// All that is known of an endpoint, but for its socket and its protocol.
pub(super) struct DatagramState {
    phase: Phase,
    queue: VecDeque<Datagram>,
    /// Invariant: the bytes in `queue`, with [`HEADER`] more for each.
    size: usize,
    marks: WaterMarks,
    dropped: u32,
}

/// How far the endpoint is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// `close` was called, and datagrams are still to be sent.
    Closing,
    /// `connection_lost` is queued or over.
    Lost,
}

/// What is to be sent.
pub(super) struct Datagram {
    pub(super) data: Vec<u8>,
    /// `None`: the socket is connected.
    pub(super) address: Option<Address>,
}

/// What is to be done with a datagram.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Fate {
    SendNow,
    Queue,
    /// It comes too late; from the fifth time on with a warning.
    Drop {
        warn: bool,
    },
}

impl DatagramState {
    pub(super) fn new() -> DatagramState {
        DatagramState {
            phase: Phase::Open,
            queue: VecDeque::new(),
            size: 0,
            marks: WaterMarks::new(),
            dropped: 0,
        }
    }

    /// Says what is to be done with a datagram that `sendto` brings.
    pub(super) fn admit(&mut self) -> Fate {
        if self.phase != Phase::Open {
            self.dropped = self.dropped.saturating_add(1);
            let warn = self.dropped >= DROPPED_WARNED;
            return Fate::Drop { warn };
        }
        if self.queue.is_empty() {
            Fate::SendNow
        } else {
            Fate::Queue
        }
    }

    pub(super) fn queue(&mut self, datagram: Datagram) {
        self.size += datagram.data.len() + HEADER;
        self.queue.push_back(datagram);
        self.marks.grew(self.size);
    }

    /// Returns the datagram to be sent next.
    pub(super) fn first(&self) -> Option<&Datagram> {
        self.queue.front()
    }

    /// The first datagram was sent, or given up.
    pub(super) fn remove_first(&mut self) {
        if let Some(datagram) = self.queue.pop_front() {
            self.size -= datagram.data.len() + HEADER;
            self.marks.shrank(self.size);
        }
    }

    /// Returns true if the endpoint was to be closed and all is sent: it is lost now.
    pub(super) fn is_all_sent_and_closed(&mut self) -> bool {
        let over = self.phase == Phase::Closing && self.queue.is_empty();
        if over {
            self.phase = Phase::Lost;
        }
        over
    }

    pub(super) fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// Closes at once. Returns false if the endpoint is lost already.
    pub(super) fn force_close(&mut self) -> bool {
        if self.phase == Phase::Lost {
            return false;
        }
        self.queue.clear();
        self.size = 0;
        self.phase = Phase::Lost;
        true
    }

    pub(super) fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    pub(super) fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_paused(&self) -> bool {
        self.marks.is_paused()
    }

    pub(super) fn limits(&self) -> (usize, usize) {
        self.marks.limits()
    }

    pub(super) fn set_limits(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        self.marks.set(high, low, self.size)
    }
}
