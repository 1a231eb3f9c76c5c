//! The state of a stream: what its protocol, its reader and its writer share.
//!
//! ```text
//!   StreamReader, StreamWriter, StreamFeed ══► StreamState ══► transport ══► protocol
//!                                                   ▲───────── weak ────────────┘
//! ```

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::buffer::{BufferPool, MAX_RECEIVE, ReadBuffer};
use crate::contract::{EofKind, Transport};
use crate::error::{ConnError, ReadError};
use crate::event_loop::get_running_loop;

use crate::step::{has_budget_for, spend_for};
use crate::waiters::WaiterCell;
use crate::waits::{NO_SOURCE, WaitsOn, What, note};

use super::flow_control::FlowControlMixin;
use super::patience::Patience;
use super::progress::WriterPatience;
use super::pull::{Expected, MANY, offer_again};
use super::reader::{ErrorPolicy, OverlongPolicy};
use super::search::{ScannedFor, Separators};

/// Bytes that a separator may be away, unless set. Twice that pauses reading.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;

/// What the protocol writes and the reader reads, and the transport of the moment.
///
/// There is one for each connection, so what few have is in a box: [`Rare`].
///
/// In this order, so that what it takes to wake a read lies together: between that and the
/// read's step, those of all other connections that are ready pass through the cache.
#[repr(C)]
pub(super) struct StreamState {
    wait: Cell<Waiting>,
    ended: Cell<Option<EofKind>>,
    intake: Cell<Intake>,
    /// How much the next receive may bring.
    expected: Cell<Expected>,
    /// [`LARGE`] if it is that or more: the box has it then.
    limit: Cell<u32>,
    /// How many bytes are unread, those lent to the reader's handle included.
    unread: Cell<usize>,
    waiter: WaiterCell,
    rare: OnceCell<Box<Rare>>,
    transport: OnceCell<Rc<dyn Transport>>,
    pool: Rc<BufferPool>,
    /// Home of the unread bytes, to which the protocol appends.
    home: Cell<ReadBuffer>,
}

/// What few streams have, or only once they are over.
#[derive(Default)]
struct Rare {
    flow: FlowControlMixin,
    exception: Cell<Option<ConnError>>,
    writer_patience: Cell<WriterPatience>,
    later_transport: OnceCell<Box<Later>>,
    large_limit: Cell<usize>,
    /// Borrowed for one statement.
    habits: RefCell<Habits>,
}

/// A limit from which on it is kept in the box.
const LARGE: u32 = u32::MAX;

/// What few readers were told, or look for.
#[derive(Default)]
pub(super) struct Habits {
    /// What the buffers were scanned for last.
    pub(super) scanned_for: ScannedFor,
    pub(super) error_policy: ErrorPolicy,
    pub(super) overlong_policy: OverlongPolicy,
    /// A line that was too long is not over yet (D16).
    pub(super) discarding_line: bool,
    /// `None`: reads wait for ever.
    pub(super) patience: Option<Box<Patience>>,
}

impl Habits {
    /// Says whether the last scan was for a newline, and no long line is to be discarded.
    fn go_on_with_lines(&self) -> bool {
        matches!(self.scanned_for, ScannedFor::Newline) && !self.discarding_line
    }
}

/// Who uses a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Both,
    /// The reader alone: the writer writes to something around it.
    Reader,
}

/// A transport that took the place of an earlier one, as TLS does in mid-stream.
struct Later {
    transport: Rc<dyn Transport>,
    user: User,
    even_later: OnceCell<Box<Later>>,
}

/// Whether a read waits, and whether something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nobody,
    /// A read waits until bytes are left to it, or something is fed.
    Waits,
    /// Something was fed, and the read woken.
    Fed,
    /// Bytes were left in the kernel, and the read woken to pull them.
    Left,
}

/// Whether the transport was told to receive no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Flowing,
    Paused,
    /// The transport can't pause: it is not asked again.
    Unstoppable,
    /// Nobody will read any more (D18): it goes on, and what comes is discarded.
    Discarded,
}

impl StreamState {
    pub(super) fn new(limit: usize) -> Rc<StreamState> {
        let pool = get_running_loop().map(|handle| handle.core().pool.clone());
        let state = StreamState {
            home: Cell::default(),
            unread: Cell::new(0),
            limit: Cell::new(LARGE),
            ended: Cell::new(None),
            waiter: WaiterCell::default(),
            wait: Cell::new(Waiting::Nobody),
            intake: Cell::new(Intake::Flowing),
            expected: Cell::default(),
            pool: pool.unwrap_or_default(),
            transport: OnceCell::new(),
            rare: OnceCell::new(),
        };
        state.keep_limit(limit);
        Rc::new(state)
    }

    // ── what the protocol does ──────────────────────────────────────────────────

    /// Takes bytes in. Beyond twice the limit, `transport` is told to pause.
    pub(super) fn feed_data(&self, transport: Option<&dyn Transport>, data: &[u8]) {
        debug_assert!(self.ended.get().is_none(), "feed_data after feed_eof");
        let is_over = self.ended.get().is_some() || self.intake.get() == Intake::Discarded;
        if data.is_empty() || is_over {
            return;
        }
        self.at_home(|home| home.append(data, &self.pool));
        self.has_come(data.len());
        self.notify();
        if let Some(transport) = transport {
            self.pause_above_limit(transport);
        }
    }

    /// Counts bytes that have come home.
    #[inline]
    fn has_come(&self, n: usize) {
        self.unread.set(self.unread.get() + n);
        self.expected.set(Expected::after(n));
    }

    #[inline]
    fn pause_above_limit(&self, transport: &dyn Transport) {
        let overfull = self.unread.get() > self.limit().saturating_mul(2);
        if overfull && self.intake.get() == Intake::Flowing {
            if transport.can_pause_reading() {
                self.intake.set(Intake::Paused);
                transport.pause_reading();
            } else {
                self.intake.set(Intake::Unstoppable);
            }
        }
    }

    pub(super) fn feed_eof(&self, kind: EofKind) {
        if self.ended.get().is_none() {
            self.ended.set(Some(kind));
        }
        self.notify();
    }

    pub(super) fn set_exception(&self, error: ConnError) {
        let earlier = self.rare().exception.replace(Some(error));
        drop(earlier);
        self.notify();
    }

    /// Says whether the bytes that are there are to be left to a read that waits: not if
    /// others are unread, behind which they have their place. Wakes it then.
    #[inline]
    pub(super) fn leaves_to_reader(&self) -> bool {
        let waits = matches!(self.wait.get(), Waiting::Waits | Waiting::Left);
        let leaves = waits && self.unread.get() == 0;
        if leaves && self.wait.replace(Waiting::Left) != Waiting::Left {
            self.waiter.wake();
        }
        leaves
    }

    /// Wakes the read that waits, once.
    #[inline]
    fn notify(&self) {
        if self.wait.get() == Waiting::Waits {
            self.wait.set(Waiting::Fed);
            self.waiter.wake();
        }
    }

    // ── what the reader does ────────────────────────────────────────────────────

    #[inline]
    pub(super) fn unread(&self) -> usize {
        self.unread.get()
    }

    #[inline]
    pub(super) fn eof(&self) -> Option<EofKind> {
        self.ended.get()
    }

    #[inline]
    fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    #[inline]
    pub(super) fn exception(&self) -> Option<ConnError> {
        let kept = &self.rare.get()?.exception;
        let exception = kept.take();
        kept.set(exception.clone());
        exception
    }

    /// Says whether there is an exception.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        let Some(rare) = self.rare.get() else {
            return false;
        };
        let exception = rare.exception.take();
        let has_failed = exception.is_some();
        rare.exception.set(exception);
        has_failed
    }

    #[inline]
    pub(super) fn limit(&self) -> usize {
        match self.limit.get() {
            LARGE => self.large_limit(),
            limit => limit as usize,
        }
    }

    #[cold]
    fn large_limit(&self) -> usize {
        self.rare().large_limit.get()
    }

    fn keep_limit(&self, limit: usize) {
        let small = u32::try_from(limit).unwrap_or(LARGE);
        if small == LARGE {
            self.rare().large_limit.set(limit);
        }
        self.limit.set(small);
    }

    pub(super) fn set_limit(&self, limit: usize, transport: Option<&dyn Transport>) {
        self.keep_limit(limit);
        self.resume_below_limit(transport);
    }

    /// Does something with the bytes at home. What it does must call nobody (R3).
    #[inline]
    pub(super) fn at_home<R>(&self, f: impl FnOnce(&mut ReadBuffer) -> R) -> R {
        let mut home = self.home.take();
        let result = f(&mut home);
        self.home.set(home);
        result
    }

    #[inline]
    pub(super) fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// Says that `n` unread bytes were read. Whoever says so resumes what is paused (S3).
    #[inline]
    pub(super) fn consumed(&self, n: usize) {
        self.unread.set(self.unread.get() - n);
    }

    /// Receives what was left in the kernel: if it is much, straight into memory that comes
    /// home with it. Says whether bytes have come home, or the end.
    pub(super) fn pull_home(&self) -> bool {
        let Some(transport) = self.readers_transport() else {
            return false;
        };
        if self.unread.get() > 0 {
            offer_again(&**transport); // they come behind those
            return false;
        }
        if !self.expected.get().are_many() {
            return self.pull_few(&**transport, MAX_RECEIVE, |_| 0) || self.has_ended();
        }
        // R3: not at home yet, since a transport is called.
        let mut pulled = ReadBuffer::default();
        let room = self.expected.get().room();
        let receive = |memory: &mut [u8]| transport.try_read(memory).ok();
        let Some(n) = pulled.receive(room, &self.pool, receive) else {
            return self.has_ended();
        };
        self.at_home(|home| home.take_over(pulled, &self.pool));
        self.has_come(n);
        self.pause_above_limit(&**transport);
        spend_for(n);
        true
    }

    /// Does the same without a wait before, if many bytes may be there and the step has budget
    /// left for them: a bulk of bytes takes a turn for each 256 KiB, and not for each receive.
    #[inline]
    pub(super) fn pull_home_at_once(&self) -> bool {
        self.may_pull_at_once(self.expected.get().room()) && self.pull_home()
    }

    #[inline]
    pub(super) fn expects_many(&self) -> bool {
        self.expected.get().are_many()
    }

    /// How many bytes of memory would take all that is expected.
    #[inline]
    pub(super) fn room_expected(&self) -> usize {
        self.expected.get().room()
    }

    /// Says whether a read with nothing unread, that hasn't waited yet, may try to pull.
    #[inline]
    pub(super) fn may_pull_at_once(&self, room: usize) -> bool {
        self.expected.get().are_many()
            && self.unread.get() == 0
            && self.wait.get() == Waiting::Nobody
            && has_budget_for(room)
    }

    /// Receives where the connections of the loop receive, and has what comes copied: bytes
    /// that `take` doesn't take go home. Offers `room` bytes of room.
    #[inline]
    pub(super) fn pull_few(
        &self,
        transport: &dyn Transport,
        room: usize,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> bool {
        // It is out of the pool while it is used, so a call-out meets another one (R3).
        let mut buffer = self.pool.take_receive_buffer();
        let memory = &mut buffer[..room];
        let received = transport.try_read(memory).ok();
        if let Some(n) = received {
            let taken = take(&memory[..n]);
            if taken < n {
                self.feed_data(Some(transport), &memory[taken..n]);
            }
            self.was_pulled(n);
        }
        self.pool.put_receive_buffer(buffer);
        received.is_some()
    }

    /// Takes in that so many bytes went from the kernel into a caller's memory.
    #[inline]
    pub(super) fn was_pulled(&self, n: usize) {
        self.expected.set(Expected::after(n));
        if n >= MANY {
            spend_for(n);
        }
    }

    /// Says that `n` bytes that were read are unread again.
    pub(super) fn put_back(&self, n: usize) {
        self.unread.set(self.unread.get() + n);
    }

    /// S3: resumes a transport that was paused, at or under the limit.
    pub(super) fn resume_below_limit(&self, transport: Option<&dyn Transport>) {
        if self.unread.get() <= self.limit() {
            self.resume(transport);
        }
    }

    /// Has a transport that was paused receive again.
    pub(super) fn resume(&self, transport: Option<&dyn Transport>) {
        if self.intake.get() == Intake::Paused {
            self.intake.set(Intake::Flowing);
            if let Some(transport) = transport {
                transport.resume_reading();
            }
        }
    }

    /// Says whether reading was paused for the limit.
    #[inline]
    pub(super) fn is_paused(&self) -> bool {
        self.intake.get() == Intake::Paused
    }

    /// D18: nobody will read any more. What comes is discarded, and no pause is left.
    pub(super) fn abandon(&self, transport: Option<&dyn Transport>) {
        self.give_up_wait();
        self.unread.set(0);
        let mut unread = self.home.take();
        unread.consume(unread.len());
        unread.release_if_empty(&self.pool);
        self.resume(transport);
        self.intake.set(Intake::Discarded);
    }

    /// Begins to wait until bytes are left to the read, or something is fed: bytes, the end,
    /// an error.
    ///
    /// `method` is what waits, for the error message; `transport` is resumed if it was
    /// paused.
    ///
    /// # Errors
    /// If another read waits already, which the types rule out for a reader's users.
    #[inline]
    pub(super) fn begin_wait(
        &self,
        method: Method,
        transport: Option<&dyn Transport>,
    ) -> Result<(), ReadError> {
        if self.wait.get() != Waiting::Nobody {
            return Err(ReadError::InvalidInput(
                format!(
                    "{method}() called while another coroutine is already waiting for incoming data"
                )
                .into(),
            ));
        }
        // S2: a read that needs more than fits would otherwise wait for ever.
        self.resume(transport);
        self.wait.set(Waiting::Waits);
        Ok(())
    }

    /// Says whether the wait that was begun is over.
    #[inline]
    pub(super) fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wait.get() {
            Waiting::Waits => {
                self.waiter.register(cx.waker());
                note(self.waits_for_bytes());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// The wait is over. Says whether bytes were left to the read, in the kernel. If so,
    /// somebody must pull them, or have them [offered again](super::pull::offer_again).
    #[inline]
    pub(super) fn end_wait(&self) -> bool {
        self.wait.replace(Waiting::Nobody) == Waiting::Left
    }

    /// As [`end_wait`](StreamState::end_wait), where perhaps nobody waits, or another read.
    #[inline]
    pub(super) fn end_wait_if_over(&self) -> bool {
        matches!(self.wait.get(), Waiting::Fed | Waiting::Left) && self.end_wait()
    }

    /// Nobody waits any more, and perhaps nobody comes back.
    pub(super) fn give_up_wait(&self) {
        self.wait.set(Waiting::Nobody);
        self.waiter.clear();
    }

    /// What a read waits for that has some bytes, and not enough.
    #[inline]
    fn waits_for_bytes(&self) -> WaitsOn {
        WaitsOn {
            what: What::Bytes,
            bytes: u32::try_from(self.unread.get()).unwrap_or(u32::MAX),
            which: number_of(self.readers_transport()),
        }
    }

    // ── what reader and writer do ───────────────────────────────────────────────

    /// Returns the transport from which the reader has its bytes.
    #[inline]
    pub(super) fn readers_transport(&self) -> Option<&Rc<dyn Transport>> {
        match self.rare.get() {
            None => self.transport.get(),
            Some(rare) => self.latest_transport(rare, |_| true),
        }
    }

    /// Returns the transport to which is written: commonly the same.
    #[inline]
    pub(super) fn writers_transport(&self) -> Option<&Rc<dyn Transport>> {
        match self.rare.get() {
            None => self.transport.get(),
            Some(rare) => self.latest_transport(rare, |user| user == User::Both),
        }
    }

    #[cold]
    fn latest_transport<'a>(
        &'a self,
        rare: &'a Rare,
        is_for: fn(User) -> bool,
    ) -> Option<&'a Rc<dyn Transport>> {
        let mut latest = self.transport.get();
        let mut place = &rare.later_transport;
        while let Some(later) = place.get() {
            if is_for(later.user) {
                latest = Some(&later.transport);
            }
            place = &later.even_later;
        }
        latest
    }

    /// Has the stream carried by this transport from now on.
    ///
    /// Earlier ones are kept, since somebody may look at them: there are few.
    pub(super) fn set_transport(&self, transport: Rc<dyn Transport>, user: User) {
        let known = match user {
            User::Both => self.writers_transport(),
            User::Reader => self.readers_transport(),
        };
        match known {
            None => {
                let first = self.transport.set(transport);
                debug_assert!(first.is_ok(), "there was none");
            }
            Some(known) if is_same(known, &transport) => {}
            Some(_) => self.follow_by(transport, user),
        }
    }

    fn follow_by(&self, transport: Rc<dyn Transport>, user: User) {
        let mut place = &self.rare().later_transport;
        while let Some(later) = place.get() {
            place = &later.even_later;
        }
        place.get_or_init(|| {
            Box::new(Later {
                transport,
                user,
                even_later: OnceCell::new(),
            })
        });
    }

    /// Says whether nothing is known against writing on.
    #[inline]
    pub(super) fn may_write_on(&self) -> bool {
        match self.rare.get() {
            None => true,
            Some(rare) => rare.flow.may_write_on() && !self.has_failed(),
        }
    }

    pub(super) fn flow(&self) -> &FlowControlMixin {
        &self.rare().flow
    }

    /// Which source is written to.
    pub(super) fn source(&self) -> u64 {
        number_of(self.writers_transport())
    }

    pub(super) fn writer_patience(&self) -> WriterPatience {
        match self.rare.get() {
            None => WriterPatience::Endless,
            Some(rare) => rare.writer_patience.get(),
        }
    }

    pub(super) fn set_writer_patience(&self, patience: WriterPatience) {
        self.rare().writer_patience.set(patience);
    }

    /// Says whether the last scan was for a newline, no error counts first, and no long line
    /// is to be discarded.
    #[inline]
    pub(super) fn goes_on_with_lines(&self) -> bool {
        match self.rare.get() {
            None => true,
            Some(rare) => rare.habits.borrow().go_on_with_lines() && !self.has_failed(),
        }
    }

    /// Says whether the reader may have habits that not all readers have.
    #[inline]
    pub(super) fn has_habits(&self) -> bool {
        self.rare.get().is_some()
    }

    /// Asks something of the reader's habits, if they are not those of all readers. What is
    /// asked must call nobody (R3).
    #[inline]
    pub(super) fn habit<T: Default>(&self, ask: impl FnOnce(&Habits) -> T) -> T {
        match self.rare.get() {
            None => T::default(),
            Some(rare) => ask(&rare.habits.borrow()),
        }
    }

    /// Returns the reader's habits, to change one, in one statement that calls nobody (R3).
    pub(super) fn habits_mut(&self) -> RefMut<'_, Habits> {
        self.rare().habits.borrow_mut()
    }

    /// Says whether a scan for these separators can go on.
    #[inline]
    pub(super) fn is_scanned_for(&self, separators: &impl Separators) -> bool {
        match self.rare.get() {
            None => ScannedFor::default().is_for(separators),
            Some(rare) => rare.habits.borrow().scanned_for.is_for(separators),
        }
    }

    /// Scans for what was scanned for last. What scans must call nobody (R3).
    #[inline]
    pub(super) fn scanning<T>(&self, scan: impl FnOnce(&ScannedFor) -> T) -> T {
        match self.rare.get() {
            None => scan(&ScannedFor::default()),
            Some(rare) => scan(&rare.habits.borrow().scanned_for),
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }
}

/// The number of a transport's source, for whoever looks at what a task waits for.
#[inline]
fn number_of(transport: Option<&Rc<dyn Transport>>) -> u64 {
    transport.map_or(NO_SOURCE, |transport| transport.source_number())
}

fn is_same(one: &Rc<dyn Transport>, other: &Rc<dyn Transport>) -> bool {
    Rc::as_ptr(one).cast::<()>() == Rc::as_ptr(other).cast::<()>()
}

/// The reads that may have to wait: what a task keeps of a method's name while it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Read,
    ReadAll,
    Readexactly,
    Readline,
    Readuntil,
    FillBuf,
    Peek,
    ReadlineRef,
    ReaduntilRef,
    ReadInto,
    ReadexactlyInto,
    Copy,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Read => "read",
            Method::ReadAll => "read_all",
            Method::Readexactly => "readexactly",
            Method::Readline => "readline",
            Method::Readuntil => "readuntil",
            Method::FillBuf => "fill_buf",
            Method::Peek => "peek",
            Method::ReadlineRef => "readline_ref",
            Method::ReaduntilRef => "readuntil_ref",
            Method::ReadInto => "read_into",
            Method::ReadexactlyInto => "readexactly_into",
            Method::Copy => "copy",
        })
    }
}
