//! The own step: a future that wants another one says so without its waker.
//!
//! ```text
//!   a step begins ──► whose waker it is polled with
//!   yield_now: is this that waker? ──yes──► "again" ──► queued when the step ends
//!                                  └─no───► wakes what it was given: a future in between
//!                                           that polls others in its own way
//! ```
//!
//! A wake finds out which loop runs here, and then its task; who yields was just called by
//! both. That is a third of what a yield takes, and every budget that is spent ends in one.

use std::cell::Cell;
use std::task::Waker;

thread_local! {
    /// Where the wakers point of the task whose step runs; zero if none does.
    static WAKER: Cell<usize> = const { Cell::new(0) };
    /// That step asked for another one.
    static AGAIN: Cell<bool> = const { Cell::new(false) };
}

/// A step of a task. That of a step around it gets its own back at the end.
pub(super) struct OwnStep {
    outer: usize,
    outer_again: bool,
}

impl OwnStep {
    #[inline]
    pub(super) fn begin(waker: &Waker) -> OwnStep {
        OwnStep {
            outer: WAKER.replace(waker.data().addr()),
            outer_again: AGAIN.replace(false),
        }
    }

    /// Says whether the step asked for another one.
    #[inline]
    pub(super) fn asked_again(&self) -> bool {
        AGAIN.get()
    }
}

impl Drop for OwnStep {
    #[inline]
    fn drop(&mut self) {
        WAKER.set(self.outer);
        AGAIN.set(self.outer_again);
    }
}

/// Has the task polled again in the next turn that this waker is for.
#[inline]
pub(crate) fn step_again(waker: &Waker) {
    if waker.data().addr() == WAKER.get() {
        AGAIN.set(true);
    } else {
        waker.wake_by_ref();
    }
}
