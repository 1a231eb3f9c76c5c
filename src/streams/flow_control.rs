//! Flow control: who waits until writing may go on, and who until all is over.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;

use crate::contract::Transport;
use crate::error::ConnError;
use crate::waiters::WaiterList;
use crate::waits::{NO_SOURCE, WaitsOn, What, noting};

/// The writing half of a stream's protocol, for protocols of your own to build upon.
///
/// A protocol hands its `pause_writing`, `resume_writing` and `connection_lost` on to
/// this, shared by `Rc` with whoever awaits [`drain_helper`](Self::drain_helper).
///
/// # asyncio
/// `FlowControlMixin`, and the close waiter of `StreamReaderProtocol`.
pub struct FlowControlMixin {
    paused: Cell<bool>,
    lost: Cell<bool>,
    /// In a box that comes with the first who waits, or with an error: each stream has room
    /// for this, and few need it.
    waiting: OnceCell<Box<Waiting>>,
}

/// Who waits, and what they will be told.
#[derive(Default)]
struct Waiting {
    drain_waiters: WaiterList,
    close_waiters: WaiterList,
    /// What the connection was lost with. `None` as well after a clean end.
    error: RefCell<Option<ConnError>>,
}

impl FlowControlMixin {
    /// Makes one for a connection that may be written to.
    #[must_use]
    pub fn new() -> FlowControlMixin {
        FlowControlMixin {
            paused: Cell::new(false),
            lost: Cell::new(false),
            waiting: OnceCell::new(),
        }
    }

    /// Has `drain_helper` wait from now on.
    pub fn pause_writing(&self) {
        self.paused.set(true);
    }

    /// Wakes all who wait in `drain_helper`, with success.
    pub fn resume_writing(&self) {
        self.paused.set(false);
        if let Some(waiting) = self.waiting.get() {
            waiting.drain_waiters.wake_all();
        }
    }

    /// Wakes all who wait, with how the connection ended: first those who wait for that.
    pub fn connection_lost(&self, error: Option<ConnError>) {
        self.lost.set(true);
        if error.is_none() && self.waiting.get().is_none() {
            return;
        }
        let waiting = self.waiting();
        waiting.error.replace(error);
        waiting.close_waiters.wake_all();
        waiting.drain_waiters.wake_all();
    }

    /// Says whether whoever drains need not wait.
    #[inline]
    pub(super) fn may_write_on(&self) -> bool {
        !self.paused.get() && !self.is_lost()
    }

    /// Says whether the connection is over.
    #[must_use]
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Waits until `transport` may be written to.
    ///
    /// # Errors
    /// `ConnectionReset` if the connection is lost. The error it is lost with, while
    /// this waits; after a clean end, `ConnectionReset` only if bytes that had been
    /// written were thrown away (D17).
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    pub async fn drain_helper(&self, transport: &dyn Transport) -> io::Result<()> {
        self.drain_on(transport, NO_SOURCE).await
    }

    /// Waits until the connection is over, and says why, as often as it is asked: `None`
    /// after a clean end.
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    pub async fn close_waiter(&self) -> Option<ConnError> {
        self.close_of(NO_SOURCE).await
    }
}

impl Default for FlowControlMixin {
    fn default() -> Self {
        FlowControlMixin::new()
    }
}

impl FlowControlMixin {
    /// Does what `drain_helper` does, for the connection that is this source.
    pub(super) async fn drain_on(&self, transport: &dyn Transport, source: u64) -> io::Result<()> {
        if self.is_lost() {
            return Err(connection_lost());
        }
        if !self.paused.get() {
            return Ok(());
        }
        let room = WaitsOn::numbered(What::Room, source);
        noting(room, self.waiting().drain_waiters.wait()).await;
        match self.error() {
            Some(error) => Err(error.into()),
            None if self.is_lost() && transport.has_discarded() => Err(connection_lost()),
            None => Ok(()),
        }
    }

    /// Does what `close_waiter` does, for the connection that is this source.
    pub(super) async fn close_of(&self, source: u64) -> Option<ConnError> {
        if !self.is_lost() {
            let end = WaitsOn::numbered(What::ConnectionEnd, source);
            noting(end, self.waiting().close_waiters.wait()).await;
        }
        self.error()
    }

    /// What the connection was lost with.
    fn error(&self) -> Option<ConnError> {
        self.waiting.get()?.error.borrow().clone()
    }

    fn waiting(&self) -> &Waiting {
        self.waiting.get_or_init(Box::default)
    }
}

impl fmt::Debug for FlowControlMixin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowControlMixin")
            .field("paused", &self.paused.get())
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

/// What is told of a connection that is over for no reason of its own.
pub(super) fn connection_lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "Connection lost")
}
