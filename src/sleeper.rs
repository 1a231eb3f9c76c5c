//! The sleeper: who is to be woken, once what it waits for is there.
//!
//! Layer 2. Above: the waiters, timers. Beside: the executor.
//!
//! ```text
//!   Sleeper::of(cx.waker()) ──the waker that the running task is polled with──► the task
//!                           └─any other: a future in between polls in its own way─► a clone
//! ```
//!
//! A waker may be sent to another thread, so each clone of it is counted by atomic operations,
//! and a wake by it looks up the loop of this thread and then the task. Nearly all who sleep
//! are tasks of this very thread: they are kept as they are.
//!
//! A task that waits for something in its own future is so held by what it holds. That circle
//! is cut when the task ends, at the latest with its loop: then its future is dropped.

use std::task::Waker;

use crate::executor::TaskRef;
use crate::step::{is_running, running};
use crate::waits::TaskAddress;

/// Who sleeps; by default, nobody.
///
/// Two words: most connections have one, and none a second kind that is worth a third.
pub(crate) struct Sleeper(Who);

enum Who {
    Task(TaskRef),
    /// In a box, since it is rare, and the two words of a waker leave no room for the rest.
    Other(Option<Box<Waker>>),
}

impl Default for Sleeper {
    fn default() -> Sleeper {
        Sleeper(Who::Other(None))
    }
}

impl Sleeper {
    /// Whoever this waker wakes.
    #[inline]
    pub(crate) fn of(waker: &Waker) -> Sleeper {
        Sleeper(match running(waker) {
            Some(task) => Who::Task(task),
            None => Who::other(waker),
        })
    }

    /// Says whether this waker would wake the same.
    #[inline]
    pub(crate) fn is(&self, waker: &Waker) -> bool {
        match &self.0 {
            Who::Task(task) => is_running(task, waker),
            Who::Other(known) => known.as_ref().is_some_and(|w| w.will_wake(waker)),
        }
    }

    #[inline]
    pub(crate) fn wake(self) {
        match self.0 {
            Who::Task(task) => task.wake(),
            Who::Other(Some(waker)) => waker.wake(),
            Who::Other(None) => {}
        }
    }

    /// Says who it is, as far as that is known.
    pub(crate) fn address(&self) -> Option<TaskAddress> {
        match &self.0 {
            Who::Task(task) => Some(task.address()),
            Who::Other(waker) => waker.as_ref().map(|w| TaskAddress::of(w)),
        }
    }
}

impl Who {
    #[cold]
    fn other(waker: &Waker) -> Who {
        Who::Other(Some(Box::new(waker.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_takes_two_words() {
        assert_eq!(size_of::<Sleeper>(), 2 * size_of::<usize>());
    }
}
