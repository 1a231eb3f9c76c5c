//! Flow control: who waits until writing may go on, and who until all is over.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;

use crate::contract::Transport;
use crate::error::ConnError;
use crate::waiters::WaiterList;

/// The writing half of a stream's protocol, for protocols of your own to build upon.
///
/// A protocol hands its `pause_writing`, `resume_writing` and `connection_lost` on to
/// this, shared by `Rc` with whoever awaits [`drain_helper`](Self::drain_helper).
///
/// # asyncio
/// `FlowControlMixin`, and the close waiter of `StreamReaderProtocol`.
#[derive(Default)]
pub struct FlowControlMixin {
    paused: Cell<bool>,
    fate: RefCell<Fate>,
    drain_waiters: WaiterList,
    close_waiters: WaiterList,
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
        FlowControlMixin::default()
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

    /// Says whether the connection is over.
    #[must_use]
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
        self.drain_waiters.wait().await;
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
            self.close_waiters.wait().await;
        }
        let fate = self.fate.borrow().clone();
        match fate {
            Fate::Lost(error) => error,
            Fate::Alive => None,
        }
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
