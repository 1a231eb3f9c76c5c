//! The state that a stream's protocol, reader and writer share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::buffer::{BufferPool, ReadBuffer};
use crate::contract::{EofKind, Transport};
use crate::error::{ConnError, ReadError};
use crate::event_loop::get_running_loop;
use crate::waiters::WaiterCell;
use crate::waits::note;

use super::flow_control::FlowControlMixin;

/// Bytes that a separator may be away, unless set. Twice that pauses reading.
pub(super) const DEFAULT_LIMIT: usize = 64 * 1024;

/// What the protocol writes and the reader reads.
pub(super) struct StreamState {
    /// Home of the unread bytes, to which the protocol appends.
    home: RefCell<ReadBuffer>,
    /// How many bytes are unread, those lent to the reader's handle included.
    unread: Cell<usize>,
    limit: Cell<usize>,
    ended: Cell<Option<EofKind>>,
    exception: RefCell<Option<ConnError>>,
    waiter: WaiterCell,
    wait: Cell<Waiting>,
    intake: Cell<Intake>,
    reader_is_gone: Cell<bool>,
    pub(super) flow: FlowControlMixin,
    pool: Rc<BufferPool>,
}

/// Whether a read waits, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nobody,
    /// A read waits for the protocol to feed.
    ForFeed {
        fed: bool,
    },
    /// A read waits to pull bytes into its own memory.
    ToPull {
        fed: bool,
    },
}

/// Whether the transport was told to receive no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Flowing,
    Paused,
    /// The transport can't pause: it is not asked again.
    Unstoppable,
}

impl StreamState {
    pub(super) fn new(limit: usize) -> Rc<StreamState> {
        let pool = get_running_loop().map(|handle| handle.core().pool.clone());
        Rc::new(StreamState {
            home: RefCell::default(),
            unread: Cell::new(0),
            limit: Cell::new(limit),
            ended: Cell::new(None),
            exception: RefCell::default(),
            waiter: WaiterCell::default(),
            wait: Cell::new(Waiting::Nobody),
            intake: Cell::new(Intake::Flowing),
            reader_is_gone: Cell::new(false),
            flow: FlowControlMixin::new(),
            pool: pool.unwrap_or_default(),
        })
    }

    // ── what the protocol does ──────────────────────────────────────────────────

    /// Takes bytes in. Beyond twice the limit, `transport` is told to pause.
    pub(super) fn feed_data(&self, transport: Option<&dyn Transport>, data: &[u8]) {
        debug_assert!(self.ended.get().is_none(), "feed_data after feed_eof");
        if data.is_empty() || self.ended.get().is_some() || self.reader_is_gone.get() {
            return;
        }
        self.home.borrow_mut().append(data, &self.pool);
        self.unread.set(self.unread.get() + data.len());
        self.notify();
        let Some(transport) = transport else { return };
        let overfull = self.unread.get() > self.limit.get().saturating_mul(2);
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
        let earlier = self.exception.replace(Some(error));
        drop(earlier);
        self.notify();
    }

    /// Says whether a read wants the bytes that are there to be left to it.
    #[inline]
    pub(super) fn leaves_to_puller(&self) -> bool {
        let pulls = matches!(self.wait.get(), Waiting::ToPull { .. }) && self.unread.get() == 0;
        if pulls {
            self.notify();
        }
        pulls
    }

    /// Wakes the read that waits, once.
    #[inline]
    fn notify(&self) {
        self.wait.set(match self.wait.get() {
            Waiting::ForFeed { fed: false } => Waiting::ForFeed { fed: true },
            Waiting::ToPull { fed: false } => Waiting::ToPull { fed: true },
            _ => return,
        });
        self.waiter.wake_and_remember();
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
    pub(super) fn exception(&self) -> Option<ConnError> {
        self.exception.borrow().clone()
    }

    /// Says whether there is an exception.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.exception.borrow().is_some()
    }

    #[inline]
    pub(super) fn limit(&self) -> usize {
        self.limit.get()
    }

    pub(super) fn set_limit(&self, limit: usize, transport: Option<&dyn Transport>) {
        self.limit.set(limit);
        self.resume_below_limit(transport);
    }

    /// Does something with the bytes at home. What it does must call nobody (R3).
    #[inline]
    pub(super) fn at_home<R>(&self, f: impl FnOnce(&mut ReadBuffer) -> R) -> R {
        f(&mut self.home.borrow_mut())
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

    /// Says that `n` bytes that were read are unread again.
    pub(super) fn put_back(&self, n: usize) {
        self.unread.set(self.unread.get() + n);
    }

    /// S3: resumes a transport that was paused, at or under the limit.
    pub(super) fn resume_below_limit(&self, transport: Option<&dyn Transport>) {
        if self.unread.get() <= self.limit.get() {
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
        self.reader_is_gone.set(true);
        self.give_up_wait();
        self.unread.set(0);
        let mut unread = self.home.take();
        unread.consume(unread.len());
        unread.release_if_empty(&self.pool);
        self.resume(transport);
    }

    /// Begins to wait until something is fed: bytes, the end, an error.
    ///
    /// `name` is the method that waits, for the error message; `transport` is resumed if
    /// it was paused.
    ///
    /// # Errors
    /// If another read waits already, which the types rule out for a reader's users.
    #[inline]
    pub(super) fn begin_wait(
        &self,
        name: &str,
        transport: Option<&dyn Transport>,
        what_for: WaitFor,
    ) -> Result<(), ReadError> {
        if self.wait.get() != Waiting::Nobody {
            return Err(ReadError::InvalidInput(
                format!(
                    "{name}() called while another coroutine is already waiting for incoming data"
                )
                .into(),
            ));
        }
        // S2: a read that needs more than fits would otherwise wait for ever.
        self.resume(transport);
        self.wait.set(match what_for {
            WaitFor::Feed => Waiting::ForFeed { fed: false },
            WaitFor::Pull => Waiting::ToPull { fed: false },
        });
        Ok(())
    }

    /// Says whether the wait that was begun is over.
    #[inline]
    pub(super) fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.wait.get() {
            Waiting::ForFeed { fed: false } | Waiting::ToPull { fed: false } => {
                self.waiter.register(cx.waker());
                note(self.flow.waits_for_bytes(self.unread.get()));
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// The wait is over. The next one is commonly that of the same task, so its waker stays.
    #[inline]
    pub(super) fn end_wait(&self) {
        self.wait.set(Waiting::Nobody);
    }

    /// Nobody waits any more, and perhaps nobody comes back.
    pub(super) fn give_up_wait(&self) {
        self.wait.set(Waiting::Nobody);
        self.waiter.clear();
    }
}

/// What a read waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// That the protocol feeds.
    Feed,
    /// That there is something to pull, or that the protocol feeds.
    Pull,
}

/// What reader and writer share: the state, and the transport of the moment.
pub(super) struct Link {
    pub(super) state: Rc<StreamState>,
    transport: RefCell<Option<Rc<dyn Transport>>>,
}

impl Link {
    pub(super) fn new(limit: usize) -> Rc<Link> {
        Rc::new(Link {
            state: StreamState::new(limit),
            transport: RefCell::new(None),
        })
    }

    pub(super) fn transport(&self) -> Option<Rc<dyn Transport>> {
        self.transport.borrow().clone()
    }

    /// Sets the transport, and returns the one that was set before.
    pub(super) fn set_transport(&self, transport: Rc<dyn Transport>) -> Option<Rc<dyn Transport>> {
        self.state.flow.set_source(&transport);
        self.transport.borrow_mut().replace(transport)
    }
}
