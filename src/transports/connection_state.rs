//! The state of a connection: what was written, what is paused, how it ends.
//!
//! A machine without I/O. It is asked, it answers what must be done, and it is told how
//! that went; nothing in here sends, receives or calls. So each of its rules is tested
//! without a socket.
//!
//! ```text
//!   phase   Open ──close, bytes queued──► Closing ──all sent──► Lost
//!             └──close, nothing queued────────────────────────────▲
//!             └──abort, error──────────────────────────────────────┘
//!   input   Flowing ◄──► Paused          ──► Ended (the peer's end was seen: D5)
//!   output  Open ──write_eof──► Ending ──all sent──► Ended          None: only reads
//!   sender  Nobody ◄─► StepEnd | NextTurn | Writable: who sends what is queued
//! ```

use std::io::{self, IoSlice};
use std::rc::Rc;

use crate::buffer::{BufferPool, WriteBuffer};
use crate::contract::{WriteLimitsError, WritePolicy};
use crate::waiters::WakerSet;

use super::water_marks::WaterMarks;

/// Bytes from which a write leaves at once, together with what is queued (D28).
///
/// 4 KiB: from there on copying costs more than the system call that waiting might spare.
const LARGE_WRITE: usize = 4 * 1024;

/// Writes to a lost connection from which on each is warned of. asyncio's number.
const DROPPED_WRITES_WARNED: u8 = 5;

/// All that is known of a connection, but for its socket and its protocol.
#[repr(C)]
pub(crate) struct ConnectionState {
    phase: Phase,
    input: Input,
    output: Output,
    sender: Sender,
    /// What is true: the buffer grew above the high mark, and has not shrunk to the low one
    /// since. What the protocol was told, its cell knows (R4).
    writing_paused: bool,
    policy: WritePolicy,
    misuse: Option<Misuse>,
    discarded: bool,
    rare: Option<Box<Rare>>,
    /// What was written and not sent.
    ///
    /// Invariant: empty if and only if `sender` is `Nobody`.
    buffer: WriteBuffer,
}

/// What few connections have. In a box that the first use brings, for idle ones are many.
#[derive(Default)]
struct Rare {
    /// Those that nobody set, unless somebody did.
    marks: WaterMarks,
    dropped_writes: u8,
    /// The end or the error that was met past the protocol while that couldn't be called: the
    /// next read delivers it.
    seen_end: Option<io::Result<()>>,
    /// Shared, so that they can be called with no borrow alive (R3).
    flush_waiters: Rc<WakerSet>,
}

/// How far the connection is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// `close` was called, and bytes are still to be sent.
    Closing,
    /// `connection_lost` is queued or over.
    Lost,
}

/// What becomes of bytes that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Flowing,
    Paused,
    /// The peer's end was seen; it is told once (D5).
    Ended,
}

/// Whether the peer was told that no more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Open,
    /// `write_eof` was called, and bytes are still to be sent.
    Ending,
    Ended,
    /// Nothing can be written: it is the end of a pipe from which is read.
    None,
}

/// What was called that must not be (D27).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misuse {
    WriteAfterEof,
    WritelinesAfterEof,
    /// On the end of a pipe from which is read.
    WriteToReader,
}

/// Who will send what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Nobody,
    /// The end of the running step (D28).
    ///
    /// Invariant: nothing that was written has ended or is to be sent at once, since
    /// whoever closes, ends the output or sets another policy flushes before.
    StepEnd,
    /// The next turn, since a part was not even offered and no edge will come (R6).
    NextTurn,
    /// The poller's next edge: the kernel took less than it was offered.
    Writable,
}

/// What is to be done with a write.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Admission {
    /// There is nothing in it.
    Empty,
    /// It comes too late; from the fifth time on with a warning.
    Dropped { warn: bool },
    /// It comes after `write_eof` (D27).
    Misused(Misuse),
    /// It is to be queued, and the transport's entry in the list of the step's end made.
    QueueForStepEnd,
    /// It is to be queued; somebody will send it.
    Queue,
    /// It is to be sent now, behind what is queued.
    SendNow,
}

/// What became of a small write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Small {
    /// It is queued: the transport's entry in the list of the step's end is to be made.
    First,
    /// It is queued behind the first.
    Joined,
    /// It isn't queued: [`admit`](ConnectionState::admit) says what is to be done with it.
    IsNone,
}

/// What is to be done after a send, or when something was asked for.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Next {
    Nothing,
    /// Have the poller watch for room.
    AwaitWritable,
    /// Try again in the next turn.
    SendNextTurn,
    /// All is sent, and the peer is to be told that no more comes.
    ShutDownWriting,
    /// All is sent, and the connection is over.
    Lose,
}

/// What the piece of a write that was called is, for the misuse message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Write,
    WriteLines,
}

impl ConnectionState {
    pub(crate) fn new() -> ConnectionState {
        ConnectionState {
            phase: Phase::Open,
            input: Input::Flowing,
            output: Output::Open,
            sender: Sender::Nobody,
            buffer: WriteBuffer::default(),
            writing_paused: false,
            policy: WritePolicy::default(),
            misuse: None,
            discarded: false,
            rare: None,
        }
    }

    /// The state of a pipe's end from which is read.
    pub(crate) fn of_read_pipe() -> ConnectionState {
        ConnectionState {
            output: Output::None,
            ..ConnectionState::new()
        }
    }

    /// The state of a pipe's end to which is written: there is nothing to be read.
    pub(crate) fn of_write_pipe() -> ConnectionState {
        ConnectionState {
            input: Input::Ended,
            ..ConnectionState::new()
        }
    }

    // ── writing ─────────────────────────────────────────────────────────────────

    /// Queues a small write for the end of the step, as nearly each write is: as the first
    /// one of its step, or behind that, where it has room.
    ///
    /// It passes no mark, so there is nothing to be told.
    #[inline]
    pub(crate) fn queue_small(&mut self, bytes: &[u8], in_step: bool, pool: &BufferPool) -> Small {
        let is_small = (1..LARGE_WRITE).contains(&bytes.len())
            && !self.marks().pause_at(self.buffer.len() + bytes.len());
        match self.sender {
            Sender::StepEnd if is_small => {
                debug_assert!(self.phase == Phase::Open && self.output == Output::Open);
                match self.buffer.push_in_place(bytes) {
                    true => Small::Joined,
                    false => Small::IsNone,
                }
            }
            Sender::Nobody if is_small && in_step && self.may_wait_for_step_end() => {
                self.buffer.push(bytes, pool);
                self.sender = Sender::StepEnd;
                Small::First
            }
            _ => Small::IsNone,
        }
    }

    #[inline]
    fn may_wait_for_step_end(&self) -> bool {
        self.phase == Phase::Open
            && self.output == Output::Open
            && self.policy == WritePolicy::AtStepEnd
    }

    /// Says what is to be done with a write of `len` bytes.
    pub(crate) fn admit(&mut self, call: Call, len: usize, in_step: bool) -> Admission {
        if self.output != Output::Open {
            let misuse = match (self.output, call) {
                (Output::None, _) => Misuse::WriteToReader,
                (_, Call::Write) => Misuse::WriteAfterEof,
                (_, Call::WriteLines) => Misuse::WritelinesAfterEof,
            };
            self.misuse.get_or_insert(misuse);
            return Admission::Misused(misuse);
        }
        if len == 0 {
            return Admission::Empty;
        }
        if self.phase != Phase::Open {
            self.discarded = true;
            let dropped = &mut self.rare().dropped_writes;
            *dropped = dropped.saturating_add(1);
            let warn = *dropped >= DROPPED_WRITES_WARNED;
            return Admission::Dropped { warn };
        }
        let passes_the_mark = self.marks().pause_at(self.buffer.len().saturating_add(len));
        let immediate = !in_step || self.policy == WritePolicy::Immediate;
        match self.sender {
            Sender::Writable => Admission::Queue,
            _ if immediate || passes_the_mark || len >= LARGE_WRITE => Admission::SendNow,
            Sender::Nobody => Admission::QueueForStepEnd,
            Sender::StepEnd | Sender::NextTurn => Admission::Queue,
        }
    }

    /// Queues bytes that were admitted. If nobody was to send yet, the step's end is.
    #[inline]
    pub(crate) fn queue(&mut self, bytes: &[u8], pool: &BufferPool) {
        self.buffer.push(bytes, pool);
        self.grew();
    }

    /// Queues bytes that were admitted, without copying them.
    pub(crate) fn queue_owned(&mut self, bytes: Vec<u8>, pool: &BufferPool) {
        self.buffer.push_owned(bytes, pool);
        self.grew();
    }

    /// Says whether a send is worth trying: something is queued, and nobody waits for
    /// room in the kernel.
    #[inline]
    pub(crate) fn wants_to_send(&self) -> bool {
        matches!(self.sender, Sender::StepEnd | Sender::NextTurn)
    }

    /// The poller says that there is room. Returns true if something waits for it.
    pub(crate) fn became_writable(&mut self) -> bool {
        if self.phase == Phase::Lost || self.buffer.is_empty() {
            return false;
        }
        self.sender = Sender::NextTurn;
        true
    }

    /// How many chunks are queued.
    pub(crate) fn queued_chunks(&self) -> usize {
        self.buffer.chunks()
    }

    /// Returns what is queued, if it is one chunk, as it commonly is.
    #[inline]
    pub(crate) fn only_chunk(&self) -> Option<&[u8]> {
        self.buffer.only_chunk()
    }

    /// Fills in what a send is to offer, and returns how many slices that are.
    pub(crate) fn fill_offer<'a>(&'a self, offer: &mut [IoSlice<'a>]) -> usize {
        self.buffer.fill_offer(offer)
    }

    /// Takes in that the kernel took `taken` bytes of what is queued.
    #[inline]
    pub(crate) fn sent(&mut self, taken: usize, pool: &BufferPool) {
        self.buffer.advance(taken, pool);
        self.writing_paused &= !self.marks().resume_at(self.buffer.len());
    }

    /// Says what follows a send, once what it left was queued.
    ///
    /// `blocked`: the kernel took less than it was offered, so an edge will come. What
    /// was left out of the offer makes no edge: the next turn sends it (R6).
    #[inline]
    pub(crate) fn after_send(&mut self, blocked: bool) -> Next {
        if self.buffer.is_empty() {
            self.sender = Sender::Nobody;
            self.all_sent()
        } else if blocked {
            self.sender = Sender::Writable;
            Next::AwaitWritable
        } else {
            self.sender = Sender::NextTurn;
            Next::SendNextTurn
        }
    }

    /// Says whether an empty write buffer still has something to bring about.
    fn all_sent(&mut self) -> Next {
        match (self.phase, self.output) {
            (Phase::Closing, _) => {
                self.phase = Phase::Lost;
                Next::Lose
            }
            (Phase::Open, Output::Ending) => {
                self.output = Output::Ended;
                Next::ShutDownWriting
            }
            _ => Next::Nothing,
        }
    }

    #[inline]
    fn grew(&mut self) {
        if self.sender == Sender::Nobody && !self.buffer.is_empty() {
            self.sender = Sender::StepEnd;
        }
        self.writing_paused |= self.marks().pause_at(self.buffer.len());
    }

    #[inline]
    fn marks(&self) -> WaterMarks {
        match &self.rare {
            None => WaterMarks::default(),
            Some(rare) => rare.marks,
        }
    }

    /// Says whether the protocol is to write no more.
    #[inline]
    pub(crate) fn is_writing_paused(&self) -> bool {
        self.writing_paused
    }

    #[inline]
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    pub(crate) fn write_limits(&self) -> (usize, usize) {
        self.marks().limits()
    }

    /// Sets the marks. A lower high mark may pause writing; a higher one does not resume
    /// it: the next flush does.
    pub(crate) fn set_write_limits(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        let marks = WaterMarks::new(high, low)?;
        self.rare().marks = marks;
        self.writing_paused |= marks.pause_at(self.buffer.len());
        Ok(())
    }

    pub(crate) fn set_write_policy(&mut self, policy: WritePolicy) {
        self.policy = policy;
    }

    #[inline]
    pub(crate) fn misuse(&self) -> Option<&'static str> {
        self.misuse.map(Misuse::message)
    }

    /// Who is to be woken once all that was written has left.
    pub(crate) fn flush_waiters(&mut self) -> Rc<WakerSet> {
        self.rare().flush_waiters.clone()
    }

    /// Who is to be woken now, for nothing is queued: nearly always nobody.
    #[inline]
    pub(crate) fn flushed(&self) -> Option<Rc<WakerSet>> {
        let rare = self.rare.as_ref()?;
        self.buffer.is_empty().then(|| rare.flush_waiters.clone())
    }

    /// Bytes that were written are thrown away (D17).
    pub(crate) fn discard(&mut self) {
        self.discarded = true;
    }

    pub(crate) fn has_discarded(&self) -> bool {
        self.discarded
    }

    /// No more will be written. Without effect on a connection that is closing.
    pub(crate) fn end_output(&mut self) -> Next {
        if self.phase != Phase::Open || self.output != Output::Open {
            return Next::Nothing;
        }
        self.output = Output::Ending;
        if self.buffer.is_empty() {
            self.all_sent()
        } else {
            Next::Nothing
        }
    }

    // ── reading ─────────────────────────────────────────────────────────────────

    #[inline]
    pub(crate) fn is_reading(&self) -> bool {
        self.phase == Phase::Open && self.input == Input::Flowing
    }

    pub(crate) fn pause_reading(&mut self) {
        if self.is_reading() {
            self.input = Input::Paused;
        }
    }

    /// Returns true if reading was paused and no longer is.
    pub(crate) fn resume_reading(&mut self) -> bool {
        let resumed = self.phase == Phase::Open && self.input == Input::Paused;
        if resumed {
            self.input = Input::Flowing;
        }
        resumed
    }

    /// The peer's end was seen (D5): it is told once, and nothing is read after it.
    pub(crate) fn end_input(&mut self) {
        self.input = Input::Ended;
    }

    /// The end, or an error, was met past the protocol. It is to be told by the next read.
    pub(crate) fn keep_end(&mut self, end: io::Result<()>) {
        self.rare().seen_end = Some(end);
    }

    /// Says whether the end waits to be told: what a further receive says is not it.
    pub(crate) fn has_seen_end(&self) -> bool {
        (self.rare.as_ref()).is_some_and(|rare| rare.seen_end.is_some())
    }

    #[inline]
    pub(crate) fn take_seen_end(&mut self) -> Option<io::Result<()>> {
        self.rare.as_mut()?.seen_end.take()
    }

    // ── ending ──────────────────────────────────────────────────────────────────

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.phase != Phase::Open
    }

    /// Says whether a drain has nothing to tell of this connection.
    #[inline]
    pub(crate) fn is_open_to_writes(&self) -> bool {
        self.phase == Phase::Open && self.misuse.is_none()
    }

    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    /// Closes, when all is sent.
    pub(crate) fn close(&mut self) -> Next {
        if self.phase != Phase::Open {
            return Next::Nothing;
        }
        self.phase = Phase::Closing;
        if self.buffer.is_empty() {
            self.all_sent()
        } else {
            Next::Nothing
        }
    }

    /// Closes at once. Returns false if the connection is lost already.
    pub(crate) fn force_close(&mut self) -> bool {
        if self.phase == Phase::Lost {
            return false;
        }
        self.discarded |= self.buffer.clear() > 0;
        self.sender = Sender::Nobody;
        self.phase = Phase::Lost;
        true
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl Misuse {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Misuse::WriteAfterEof => "Cannot call write() after write_eof()",
            Misuse::WritelinesAfterEof => "Cannot call writelines() after write_eof()",
            Misuse::WriteToReader => "Cannot call write() on a transport that only reads",
        }
    }
}

#[cfg(test)]
mod tests;
