//! What is ready: the entries of the queue, and what a turn took out of it.
//!
//! ```text
//!   push ──► [ready queue] ──take_queued──► Run ──run_queued──► one step after the other
//!                 ▲                          │
//!                 └──── what a step queues is for the next turn
//! ```

use std::hint::black_box;
use std::rc::Rc;

use crate::reactor::{Direction, SourceId};

use super::handle::{Callback, HandleCell};
use super::task::TaskRef;
use super::waker::Spare;

/// One entry of the ready queue.
///
/// Its kind takes a whole word: if that were a byte, entries would be copied from the byte
/// behind it on, and the processor would have to put each word together again.
#[repr(usize)]
pub(crate) enum Ready {
    /// A callback of `call_soon`, or a timer that is due.
    Call(Rc<HandleCell>),
    /// A callback that nobody can cancel: the library's own, or another thread's.
    Event(Box<dyn Callback>),
    /// A task's next step.
    Task(TaskRef),
    /// A source that the reactor found ready.
    Source(SourceId, Direction),
}

/// A run of turns, one after the other: what they hand on from one to the next.
pub(crate) struct Run {
    /// What the turn took out of the queue and did not run yet: the first is the last, where a
    /// `Vec` gives it up.
    ///
    /// Invariant: empty between turns. It takes turns with the ready queue, so that neither is
    /// allocated anew.
    pub(super) queued: Vec<Ready>,
    /// Lent to each task without a waker of its own.
    pub(super) spare: Spare,
}

impl Run {
    /// Looks at the entry that is run next.
    pub(crate) fn next(&self) -> Option<&Ready> {
        self.queued.last()
    }

    /// Looks at so many entries that come next, so that the processor fetches them all at once.
    ///
    /// Of many timers that are due together, each lies in a part of memory of its own. Who
    /// looks at one only when its turn comes waits for each: a million that fire took half as
    /// long again.
    #[cold]
    pub(crate) fn fetch(&self, count: usize) {
        let next = self.queued.iter().rev().take(count);
        let waits = |entry: &&Ready| matches!(entry, Ready::Call(handle) if handle.is_waiting());
        black_box(next.filter(waits).count());
    }
}
