//! The state of a TLS connection: how far it is, what is queued, who is paused.
//!
//! A machine without I/O and without cryptography: it is asked, and it is told. Nothing
//! in here calls anybody (R3).
//!
//! ```text
//!   phase   Handshake ──verified──► Wrapped ──close──► Flushing ──all encrypted──► Shutdown
//!             │                       │                   │                           │
//!             └──────────── abort, error, timeout, loss ──┴──────► Unwrapped ◄────────┘
//!   app     Unmet ──connection_made──► Met ──eof_received──► Ended     (then connection_lost)
//!   input   Flowing ◄──► Paused         what the app wants; the engine stops, not the socket
//!   output  Open ──write_eof──► Ending ──close_notify──► Ended     (TLS 1.3, on request)
//!   peer    Open ──► Closed by its close_notify | Gone without one (D22)
//! ```

use crate::buffer::{BufferPool, WriteBuffer};
use crate::contract::{EofKind, WriteLimitsError, WritePolicy};

/// Bytes at which writing is paused, unless set. asyncio's number.
const HIGH_WATER: usize = 512 * 1024;

/// Bytes of ciphertext that wait to be decrypted at which the socket is no longer read.
/// asyncio's number.
const READ_HIGH_WATER: usize = 256 * 1024;

/// Bytes at which the socket is read again.
const READ_LOW_WATER: usize = 64 * 1024;

/// Writes to a closed connection from which on each is warned of. asyncio's number.
const DROPPED_WRITES_WARNED: u32 = 5;

/// What was called after `write_eof`.
const WRITE_AFTER_EOF: &str = "Cannot call write() after write_eof()";
const WRITELINES_AFTER_EOF: &str = "Cannot call writelines() after write_eof()";

/// All that is known of a TLS connection, but for its keys, its transport and its protocol.
pub(super) struct TlsState {
    phase: Phase,
    app: App,
    input: Input,
    output: Output,
    peer: Peer,
    /// What was written and not encrypted yet.
    unencrypted: WriteBuffer,
    high: usize,
    low: usize,
    /// What is true: as much as `high` was queued, and more than `low` has been since.
    writing_paused: bool,
    /// The transport below was told to receive no more.
    raw_paused: bool,
    policy: WritePolicy,
    /// The end of the running step will encrypt (D28).
    at_step_end: bool,
    dropped_writes: u32,
    misuse: Option<&'static str>,
    discarded: bool,
}

/// How far the connection is on its way: the states of asyncio's `SSLProtocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The handshake runs, or is about to.
    Handshake,
    /// Bytes go both ways.
    Wrapped,
    /// `close` was called; what was written is being encrypted and sent.
    Flushing,
    /// Our `close_notify` is on its way; the peer's is waited for.
    Shutdown,
    /// It is over: the transport below is being closed by force, or is lost.
    Unwrapped,
}

/// What the app's protocol knows of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum App {
    /// Nothing: it learns of a handshake only when that succeeded.
    Unmet,
    Met,
    /// It was told that the peer sends no more.
    Ended,
}

/// Whether the app wants bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Flowing,
    Paused,
}

/// Whether the peer was told that no more comes, while reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    /// `write_eof` was called, and bytes are still to be encrypted.
    Ending,
    Ended,
}

/// Whether the peer sends more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Open,
    /// It said so: `close_notify`.
    Closed,
    /// The bytes below ended without that word (D22).
    Gone,
}

/// What is to be done with a write.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Admission {
    /// There is nothing in it.
    Empty,
    /// It comes too late; from the fifth time on with a warning.
    Dropped { warn: bool },
    /// It comes after `write_eof` (D27).
    Misused(&'static str),
    /// It may be queued, or encrypted behind what is queued.
    Admitted,
}

/// Which of the two it was, for the misuse message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Write,
    WriteLines,
}

/// What the socket below is to be told about reading.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Intake {
    Unchanged,
    Pause,
    Resume,
}

impl TlsState {
    /// `app` says whether the protocol was told `connection_made` before, in plaintext.
    pub(super) fn new(app: App) -> TlsState {
        TlsState {
            phase: Phase::Handshake,
            app,
            input: Input::Flowing,
            output: Output::Open,
            peer: Peer::Open,
            unencrypted: WriteBuffer::default(),
            high: HIGH_WATER,
            low: HIGH_WATER / 4,
            writing_paused: false,
            raw_paused: false,
            policy: WritePolicy::default(),
            at_step_end: false,
            dropped_writes: 0,
            misuse: None,
            discarded: false,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn app(&self) -> App {
        self.app
    }

    // ── writing ─────────────────────────────────────────────────────────────────

    /// Says what is to be done with a write of `len` bytes.
    pub(super) fn admit(&mut self, call: Call, len: usize) -> Admission {
        if self.output != Output::Open && !self.is_closing() {
            let misuse = match call {
                Call::Write => WRITE_AFTER_EOF,
                Call::WriteLines => WRITELINES_AFTER_EOF,
            };
            self.misuse.get_or_insert(misuse);
            return Admission::Misused(misuse);
        }
        if len == 0 {
            return Admission::Empty;
        }
        if self.is_closing() {
            self.dropped_writes = self.dropped_writes.saturating_add(1);
            self.discarded = true;
            let warn = self.dropped_writes >= DROPPED_WRITES_WARNED;
            return Admission::Dropped { warn };
        }
        Admission::Admitted
    }

    pub(super) fn queue(&mut self, bytes: &[u8], pool: &BufferPool) {
        self.unencrypted.push(bytes, pool);
    }

    pub(super) fn queue_owned(&mut self, bytes: Vec<u8>, pool: &BufferPool) {
        self.unencrypted.push_owned(bytes, pool);
    }

    /// Says whether what was queued is to be encrypted now, and not when the step ends.
    pub(super) fn leaves_at_once(&self, in_step: bool, below: usize) -> bool {
        !in_step || self.policy == WritePolicy::Immediate || self.queued(below) >= self.high
    }

    /// Returns true if the end of the step is to be asked for.
    pub(super) fn wants_step_end(&mut self) -> bool {
        !std::mem::replace(&mut self.at_step_end, true)
    }

    pub(super) fn step_ended(&mut self) {
        self.at_step_end = false;
    }

    /// Takes the queue out, to be encrypted without a borrow of the state (R3).
    pub(super) fn take_unencrypted(&mut self) -> WriteBuffer {
        std::mem::take(&mut self.unencrypted)
    }

    pub(super) fn put_unencrypted(&mut self, rest: WriteBuffer) {
        debug_assert!(self.unencrypted.is_empty(), "written while it was taken");
        self.unencrypted = rest;
    }

    pub(super) fn unencrypted(&self) -> usize {
        self.unencrypted.len()
    }

    /// How much the app has written that the kernel has not: what is queued here, and
    /// the `below` bytes that the transport below holds.
    pub(super) fn queued(&self, below: usize) -> usize {
        self.unencrypted.len() + below
    }

    /// Something was queued: is that enough? At the mark, not only above it, as in asyncio.
    pub(super) fn grew(&mut self, below: usize) {
        if self.queued(below) >= self.high.max(1) {
            self.writing_paused = true;
        }
    }

    /// Something was sent: is there room again?
    pub(super) fn shrank(&mut self, below: usize) {
        if self.queued(below) <= self.low {
            self.writing_paused = false;
        }
    }

    /// Holds what is queued against marks that were just set: a higher one resumes
    /// nobody.
    pub(super) fn set_write_limits(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
        below: usize,
    ) -> Result<(), WriteLimitsError> {
        let high = high.unwrap_or_else(|| match low {
            Some(low) => low.saturating_mul(4),
            None => HIGH_WATER,
        });
        let low = low.unwrap_or(high / 4);
        if high < low {
            return Err(WriteLimitsError { high, low });
        }
        self.high = high;
        self.low = low;
        self.grew(below);
        Ok(())
    }

    pub(super) fn write_limits(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    pub(super) fn set_write_policy(&mut self, policy: WritePolicy) {
        self.policy = policy;
    }

    /// What the protocol is to be told about writing; nothing once it is over by force.
    pub(super) fn is_writing_paused(&self) -> Option<bool> {
        match (self.writing_paused, self.phase) {
            // The bytes that are gone resume nobody.
            (true, Phase::Unwrapped) => None,
            (paused, _) => Some(paused),
        }
    }

    pub(super) fn misuse(&self) -> Option<&'static str> {
        self.misuse
    }

    pub(super) fn has_discarded(&self) -> bool {
        self.discarded
    }

    /// No more will be written, though reading goes on. Without effect when closing.
    pub(super) fn end_output(&mut self) {
        if !self.is_closing() && self.output == Output::Open {
            self.output = Output::Ending;
        }
    }

    /// Returns true if it is time for our `close_notify`: nothing is left to be encrypted
    /// before it. It is counted as sent then.
    pub(super) fn is_to_notify(&mut self) -> bool {
        if !self.unencrypted.is_empty() {
            return false;
        }
        match (self.phase, self.output) {
            (Phase::Flushing, output) => {
                self.phase = Phase::Shutdown;
                self.output = Output::Ended;
                output != Output::Ended
            }
            (Phase::Wrapped, Output::Ending) => {
                self.output = Output::Ended;
                true
            }
            _ => false,
        }
    }

    // ── reading ─────────────────────────────────────────────────────────────────

    pub(super) fn is_reading(&self) -> bool {
        !self.is_closing() && self.input == Input::Flowing && self.app != App::Ended
    }

    pub(super) fn pause_reading(&mut self) {
        if self.is_reading() {
            self.input = Input::Paused;
        }
    }

    /// Returns true if reading was paused and no longer is.
    pub(super) fn resume_reading(&mut self) -> bool {
        let may = !self.is_closing() && self.app != App::Ended;
        let resumed = may && self.input == Input::Paused;
        if resumed {
            self.input = Input::Flowing;
        }
        resumed
    }

    /// Says what the `undecrypted` bytes that lie here mean for the socket.
    pub(super) fn weigh_input(&mut self, undecrypted: usize) -> Intake {
        if undecrypted >= READ_HIGH_WATER && !self.raw_paused {
            self.raw_paused = true;
            Intake::Pause
        } else if undecrypted <= READ_LOW_WATER && self.raw_paused {
            self.raw_paused = false;
            Intake::Resume
        } else {
            Intake::Unchanged
        }
    }

    /// The peer said that it sends no more.
    pub(super) fn peer_closed(&mut self) {
        self.peer = Peer::Closed;
    }

    /// The bytes below have ended.
    pub(super) fn raw_ended(&mut self) {
        if self.peer == Peer::Open {
            self.peer = Peer::Gone;
        }
    }

    /// How the peer's bytes ended, once they have.
    pub(super) fn peer_end(&self) -> Option<EofKind> {
        match self.peer {
            Peer::Open => None,
            Peer::Closed => Some(EofKind::Clean),
            Peer::Gone => Some(EofKind::Truncated),
        }
    }

    // ── beginning and ending ────────────────────────────────────────────────────

    /// The handshake has succeeded. Returns what the app knew before.
    pub(super) fn wrap(&mut self) -> App {
        debug_assert_eq!(self.phase, Phase::Handshake, "a second handshake");
        self.phase = Phase::Wrapped;
        let before = self.app;
        if before == App::Unmet {
            self.app = App::Met;
        }
        before
    }

    /// The app is about to be told the end of the peer's bytes.
    pub(super) fn tell_end(&mut self) {
        self.app = App::Ended;
    }

    pub(super) fn is_closing(&self) -> bool {
        !matches!(self.phase, Phase::Handshake | Phase::Wrapped)
    }

    /// Begins to close. Returns false if there is nothing to begin.
    pub(super) fn close(&mut self) -> bool {
        let begins = self.phase == Phase::Wrapped;
        if begins {
            self.phase = Phase::Flushing;
        }
        begins
    }

    /// Says whether the transport below is to be closed: our part is done, and so is the
    /// peer's, or it is not waited for.
    pub(super) fn is_done(&self, waits_for_peer: bool) -> bool {
        self.phase == Phase::Shutdown && (self.peer != Peer::Open || !waits_for_peer)
    }

    /// Ends at once. Returns false if it is over already.
    pub(super) fn unwrap(&mut self) -> bool {
        self.discarded |= self.unencrypted.clear() > 0;
        let ends = self.phase != Phase::Unwrapped;
        self.phase = Phase::Unwrapped;
        ends
    }
}

#[cfg(test)]
mod tests;
