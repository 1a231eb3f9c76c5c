//! Flow control: who waits until writing may go on, and who until all is over.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;

use crate::contract::{SourceNumber, Transport};
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
    fate: RefCell<Fate>,
    drain_waiters: WaiterList,
    close_waiters: WaiterList,
    /// Which source the connection is, for whoever looks at what a task waits for.
    source: Cell<u64>,
}

/// Whether the connection is over, and why.
#[derive(Clone, Default)]
enum Fate {
    #[default]
    Alive,
    Lost(Option<ConnError>),
}

impl FlowControlMixin {
    /// Makes one for a connection that may be written to.
    #[must_use]
    pub fn new() -> FlowControlMixin {
        FlowControlMixin {
            paused: Cell::new(false),
            fate: RefCell::default(),
            drain_waiters: WaiterList::default(),
            close_waiters: WaiterList::default(),
            source: Cell::new(NO_SOURCE),
        }
    }

    /// Has `drain_helper` wait from now on.
    pub fn pause_writing(&self) {
        self.paused.set(true);
    }

    /// Wakes all who wait in `drain_helper`, with success.
    pub fn resume_writing(&self) {
        self.paused.set(false);
        self.drain_waiters.wake_all();
    }

    /// Wakes all who wait, with how the connection ended: first those who wait for that.
    pub fn connection_lost(&self, error: Option<ConnError>) {
        self.fate.replace(Fate::Lost(error));
        self.close_waiters.wake_all();
        self.drain_waiters.wake_all();
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
        matches!(*self.fate.borrow(), Fate::Lost(_))
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
        if self.is_lost() {
            return Err(connection_lost());
        }
        if !self.paused.get() {
            return Ok(());
        }
        self.sleep(&self.drain_waiters, What::Room).await;
        let fate = self.fate.borrow().clone();
        match fate {
            Fate::Lost(Some(error)) => Err(error.into()),
            Fate::Lost(None) if transport.has_discarded() => Err(connection_lost()),
            Fate::Lost(None) | Fate::Alive => Ok(()),
        }
    }

    /// Waits until the connection is over, and says why, as often as it is asked: `None`
    /// after a clean end.
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    pub async fn close_waiter(&self) -> Option<ConnError> {
        if !self.is_lost() {
            self.sleep(&self.close_waiters, What::ConnectionEnd).await;
        }
        let fate = self.fate.borrow().clone();
        match fate {
            Fate::Lost(error) => error,
            Fate::Alive => None,
        }
    }
}

impl Default for FlowControlMixin {
    fn default() -> Self {
        FlowControlMixin::new()
    }
}

impl FlowControlMixin {
    pub(super) fn set_source(&self, transport: &Rc<dyn Transport>) {
        let source = transport.get_extra_info(SourceNumber);
        self.source.set(source.unwrap_or(NO_SOURCE));
    }

    /// What a read waits for that has so many bytes, and not enough.
    pub(super) fn waits_for_bytes(&self, unread: usize) -> WaitsOn {
        WaitsOn {
            what: What::Bytes,
            bytes: u32::try_from(unread).unwrap_or(u32::MAX),
            which: self.source.get(),
        }
    }

    pub(super) fn waits_for(&self, what: What) -> WaitsOn {
        WaitsOn::numbered(what, self.source.get())
    }

    async fn sleep(&self, list: &WaiterList, what: What) {
        noting(self.waits_for(what), list.wait()).await;
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
