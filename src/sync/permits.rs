//! The permits: so many at once, first come, first served.
//!
//! ```text
//!   acquire ──► a free one? ──yes──► taken
//!                    └──no──► sleep, behind those who sleep already
//!   release ──► somebody sleeps? ──yes──► it has it, and is woken   (never free in between)
//!                    └──no──► one more is free
//! ```
//!
//! asyncio: what `Semaphore` does since 3.11; `Lock` and `Queue` there let go first, and
//! then somebody takes.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::step::has_budget;
use crate::waiters::{Wait, WaiterList};
use crate::waits::{WaitsOn, What};

/// Permits, and those who wait for one.
pub(super) struct Permits {
    /// Invariant: none are free while somebody sleeps.
    free: Cell<usize>,
    sleepers: WaiterList,
    /// Nobody waits any more, and permits are not counted.
    open_to_all: Cell<bool>,
}

impl Permits {
    pub(super) fn new(free: usize, what: What) -> Permits {
        Permits {
            free: Cell::new(free),
            sleepers: WaiterList::of(what),
            open_to_all: Cell::new(false),
        }
    }

    pub(super) fn free(&self) -> usize {
        self.free.get()
    }

    /// What those who sleep here wait for.
    pub(super) fn waits_on(&self) -> WaitsOn {
        self.sleepers.waits_on()
    }

    pub(super) fn waiting(&self) -> usize {
        self.sleepers.len()
    }

    /// Takes one that is free.
    pub(super) fn try_acquire(&self) -> bool {
        if self.open_to_all.get() {
            return true;
        }
        let free = self.free.get();
        if free > 0 {
            self.free.set(free - 1);
        }
        free > 0
    }

    /// Takes one; waits for it behind those who came first.
    pub(super) fn acquire(&self) -> Acquire<'_> {
        Acquire {
            permits: self,
            wait: None,
        }
    }

    /// Gives one back: to whoever waits longest, if somebody does.
    pub(super) fn release(&self) {
        if !self.open_to_all.get() && !self.sleepers.wake_first() {
            self.free.set(self.free.get() + 1);
        }
    }

    /// Wakes all who wait; nobody waits from now on.
    pub(super) fn open_to_all(&self) {
        self.open_to_all.set(true);
        self.sleepers.wake_all();
    }
}

/// The future of [`Permits::acquire`].
pub(super) struct Acquire<'a> {
    permits: &'a Permits,
    /// `None` before it had to wait.
    wait: Option<Wait<'a>>,
}

impl Future for Acquire<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let permits = self.permits;
        if self.wait.is_none() {
            if !has_budget() {
                // D4: one turn for the others, and then with a fresh budget.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if permits.try_acquire() {
                return Poll::Ready(());
            }
        }
        let wait = self.wait.get_or_insert_with(|| permits.sleepers.wait());
        Pin::new(wait).poll(cx)
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        // It was given one, and nobody will use it.
        if self.wait.as_ref().is_some_and(Wait::was_chosen) {
            self.permits.release();
        }
    }
}
