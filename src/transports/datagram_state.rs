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
    /// They pause writing; whether that was told, the protocol's cell knows (R4).
    paused: bool,
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
            marks: WaterMarks::default(),
            paused: false,
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
        self.paused |= self.marks.pause_at(self.size);
    }

    /// Returns the datagram to be sent next.
    pub(super) fn first(&self) -> Option<&Datagram> {
        self.queue.front()
    }

    /// The first datagram was sent, or given up.
    pub(super) fn remove_first(&mut self) {
        if let Some(datagram) = self.queue.pop_front() {
            self.size -= datagram.data.len() + HEADER;
            self.paused &= !self.marks.resume_at(self.size);
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
        self.paused
    }

    pub(super) fn limits(&self) -> (usize, usize) {
        self.marks.limits()
    }

    pub(super) fn set_limits(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        self.marks = WaterMarks::new(high, low)?;
        self.paused |= self.marks.pause_at(self.size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(len: usize) -> Datagram {
        Datagram {
            data: vec![0; len],
            address: None,
        }
    }

    #[test]
    fn each_datagram_counts_for_eight_bytes_more() {
        let mut state = DatagramState::new();
        assert_eq!(state.admit(), Fate::SendNow);
        state.queue(of(0));
        state.queue(of(100));
        assert_eq!(state.size(), 116);
        assert_eq!(state.admit(), Fate::Queue, "it would overtake");
        state.remove_first();
        assert_eq!(state.size(), 108);
        state.remove_first();
        state.remove_first();
        assert_eq!((state.size(), state.admit()), (0, Fate::SendNow));
    }

    #[test]
    fn writing_is_paused_strictly_above_the_mark() {
        let mut state = DatagramState::new();
        assert!(state.set_limits(Some(100), Some(10)).is_ok());
        state.queue(of(92));
        assert!(!state.is_paused());
        state.queue(of(0));
        assert!(state.is_paused());
        state.remove_first();
        assert!(!state.is_paused(), "8 bytes are below the low mark");
        assert!(state.set_limits(Some(1), Some(2)).is_err());
        assert_eq!(state.limits(), (10, 100));
    }

    #[test]
    fn a_close_waits_for_the_queue_and_an_abort_does_not() {
        let mut state = DatagramState::new();
        state.queue(of(1));
        state.close();
        assert!(state.is_closing() && !state.is_all_sent_and_closed());
        state.remove_first();
        assert!(state.is_all_sent_and_closed());
        assert!(!state.is_all_sent_and_closed(), "it is lost once");
        assert!(!state.force_close());

        let mut state = DatagramState::new();
        state.queue(of(1));
        assert!(state.force_close());
        assert!(state.is_lost() && state.size() == 0);
    }

    #[test]
    fn the_fifth_datagram_that_comes_too_late_is_warned_of() {
        let mut state = DatagramState::new();
        state.close();
        let warned: Vec<Fate> = (0..6).map(|_| state.admit()).collect();
        let expected = [false, false, false, false, true, true].map(|warn| Fate::Drop { warn });
        assert_eq!(warned, expected);
    }
}
