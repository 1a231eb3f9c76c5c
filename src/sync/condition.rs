//! The condition: something has changed, look again.
//!
//! ```text
//!   acquire ──► guard ──wait──► lock released; asleep ──notified──► lock taken again ──► guard
//!                 └──notify(n)──► the first n who sleep
//! ```

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use crate::waiters::{Wait, WaiterList};
use crate::waits::What;

use super::lock::{Lock, LockGuard};

/// Lets tasks that hold a lock wait until another one that holds it says that something
/// has changed.
///
/// On one thread, an [`Event`](crate::Event) or a [`Queue`](crate::Queue) often says the
/// same with less; a condition is for what changes in several steps, under a lock.
///
/// # asyncio
/// `asyncio.Condition`. Waiting and notifying are methods of the guard, so that doing
/// either without the lock can't be written.
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{Condition, create_task, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mill = Rc::new((Condition::new(), Cell::new(0)));
///     let watched = mill.clone();
///     let miller = create_task(async move {
///         let (changed, sacks) = &*watched;
///         let guard = changed.acquire().await;
///         let _guard = guard.wait_for(|| sacks.get() >= 2).await;
///         sacks.take()
///     });
///     let (changed, sacks) = &*mill;
///     for _ in 0..2 {
///         let guard = changed.acquire().await;
///         sacks.set(sacks.get() + 1);
///         guard.notify(1);
///     }
///     assert_eq!(miller.await?, 2);
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct Condition {
    lock: Rc<Lock>,
    sleepers: WaiterList,
}

impl Condition {
    /// Makes a condition with a lock of its own.
    #[must_use]
    pub fn new() -> Condition {
        Condition::with_lock(Rc::default())
    }

    /// Makes a condition with a lock that it shares with others.
    ///
    /// # asyncio
    /// `Condition(lock)`.
    #[must_use]
    pub fn with_lock(lock: Rc<Lock>) -> Condition {
        Condition {
            lock,
            sleepers: WaiterList::of(What::Condition),
        }
    }

    /// Takes the lock, as [`Lock::acquire`] does.
    ///
    /// # Cancel safety
    /// Cancel safe, as that is.
    ///
    /// # asyncio
    /// `async with condition`.
    pub async fn acquire(&self) -> ConditionGuard<'_> {
        let lock = self.lock.acquire().await;
        ConditionGuard {
            condition: self,
            lock,
        }
    }

    /// Says whether somebody holds the lock, or is about to.
    ///
    /// # asyncio
    /// `Condition.locked`.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.lock.locked()
    }
}

impl Default for Condition {
    fn default() -> Self {
        Condition::new()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition")
            .field("locked", &self.locked())
            .field("waiting", &self.sleepers.len())
            .finish()
    }
}

/// Holds the lock of a [`Condition`] until it is dropped.
///
/// # asyncio
/// The body of `async with condition`.
#[must_use = "a guard that is dropped at once locks nothing"]
#[derive(Debug)]
pub struct ConditionGuard<'a> {
    condition: &'a Condition,
    lock: LockGuard<'a>,
}

impl<'a> ConditionGuard<'a> {
    /// Releases the lock, waits until it is notified, and takes the lock again.
    ///
    /// What was waited for may have gone again by then: [`wait_for`](Self::wait_for) looks.
    ///
    /// # Cancel safety
    /// Dropped, it holds the lock no more: the guard is gone, and whoever goes on (after a
    /// time limit, say) takes another. Dropped after it was notified, also while it waits
    /// for the lock, it passes the notification on to the next who waits.
    ///
    /// # asyncio
    /// `Condition.wait`, which takes the lock again before it is cancelled: there, the
    /// `async with` around it needs it.
    pub async fn wait(self) -> ConditionGuard<'a> {
        let condition = self.condition;
        let mut notified = Notified {
            condition,
            wait: condition.sleepers.wait(),
            passes_on: false,
        };
        // In the list before the lock is free: whoever takes it finds us there.
        let mut lock = Some(self.lock);
        poll_fn(|cx| {
            let polled = Pin::new(&mut notified.wait).poll(cx);
            drop(lock.take());
            polled
        })
        .await;
        notified.passes_on = true;
        let lock = condition.lock.acquire().await;
        notified.passes_on = false;
        ConditionGuard { condition, lock }
    }

    /// Waits until `is_so` says that it is so. It is asked with the lock held, first of all
    /// at once.
    ///
    /// # Cancel safety
    /// As [`wait`](Self::wait).
    ///
    /// # asyncio
    /// `Condition.wait_for`.
    pub async fn wait_for(self, mut is_so: impl FnMut() -> bool) -> ConditionGuard<'a> {
        let mut guard = self;
        while !is_so() {
            guard = guard.wait().await;
        }
        guard
    }

    /// Wakes the `n` who wait longest; fewer if there are fewer.
    ///
    /// They go on when they have the lock, so not before this guard is dropped.
    ///
    /// # asyncio
    /// `Condition.notify(n)`.
    pub fn notify(&self, n: usize) {
        for _ in 0..n {
            if !self.condition.sleepers.wake_first() {
                return;
            }
        }
    }

    /// Wakes all who wait.
    ///
    /// # asyncio
    /// `Condition.notify_all`.
    pub fn notify_all(&self) {
        self.notify(self.condition.sleepers.len());
    }
}

/// A waiter of a condition, which passes on a notification that it can't use.
struct Notified<'a> {
    condition: &'a Condition,
    wait: Wait<'a>,
    /// It was notified, and has not got the lock yet.
    passes_on: bool,
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if self.passes_on || self.wait.was_chosen() {
            self.condition.sleepers.wake_first();
        }
    }
}
