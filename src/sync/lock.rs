//! The lock: one at a time.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use crate::waits::{TaskAddress, What, set_holder};

use super::permits::Permits;

/// Lets one task at a time do something that takes several steps.
///
/// What takes one step needs no lock: nothing else runs meanwhile. The lock protects no
/// value: for what several tasks share, `Cell` and `RefCell` will do.
///
/// It is fair: the lock goes to whoever waits longest, and nobody can take it before.
///
/// # asyncio
/// `asyncio.Lock`. The guard that [`acquire`](Self::acquire) returns releases it, so there
/// is no `release`, nor its error `Lock is not acquired.`
///
/// # Examples
/// ```
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{Lock, create_task, memory_stream_pair, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let ((_reader, writer), (mut peer, _peer_writer)) = memory_stream_pair(1024);
///     let shared = Rc::new((Lock::new(), writer));
///     for name in ["ada", "bob"] {
///         let shared = shared.clone();
///         create_task(async move {
///             let (lock, writer) = &*shared;
///             let _guard = lock.acquire().await;
///             writer.write(format!("{name} begins\n"));
///             writer.flush().await?; // the other has to wait
///             writer.write(format!("{name} ends\n"));
///             io::Result::Ok(())
///         });
///     }
///     for line in ["ada begins\n", "ada ends\n", "bob begins\n", "bob ends\n"] {
///         assert_eq!(peer.readline().await?, line.as_bytes());
///     }
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct Lock {
    permits: Permits,
    /// The task that holds it, if it was one that waited for it.
    holder: Cell<Option<TaskAddress>>,
    /// Whoever looks inside knows of the holder.
    is_told: Cell<bool>,
}

impl Lock {
    /// Makes a lock that nobody holds.
    #[must_use]
    pub fn new() -> Lock {
        Lock {
            permits: Permits::new(1, What::Lock),
            holder: Cell::new(None),
            is_told: Cell::new(false),
        }
    }

    /// Waits until it is this task's turn, and takes the lock until the guard is dropped.
    ///
    /// A task that takes it twice waits for itself, for ever.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped while it waits, it leaves the queue; dropped when it was
    /// already chosen, it hands the lock to the next.
    ///
    /// # asyncio
    /// `async with lock`, `Lock.acquire`.
    pub async fn acquire(&self) -> LockGuard<'_> {
        let mut acquire = self.permits.acquire();
        poll_fn(|cx| {
            let polled = Pin::new(&mut acquire).poll(cx);
            if polled.is_ready() {
                self.holder.set(Some(TaskAddress::of(cx.waker())));
            }
            self.tell_holder();
            polled
        })
        .await;
        LockGuard { lock: self }
    }

    /// Says to whoever looks inside who holds the lock, as far as somebody waits for it.
    fn tell_holder(&self) {
        if self.permits.waiting() > 0 || self.is_told.get() {
            self.is_told.set(self.holder.get().is_some());
            set_holder(self.permits.waits_on(), self.holder.get());
        }
    }

    /// Takes the lock if that is possible without waiting.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn try_acquire(&self) -> Option<LockGuard<'_>> {
        self.permits.try_acquire().then(|| LockGuard { lock: self })
    }

    /// Says whether somebody holds it, or is about to.
    ///
    /// # asyncio
    /// `Lock.locked`, which is false while the lock passes from one task to the next.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.permits.free() == 0
    }
}

impl Default for Lock {
    fn default() -> Self {
        Lock::new()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A guard that was forgotten may have left it so.
        self.holder.set(None);
        if self.is_told.get() {
            self.tell_holder();
        }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("locked", &self.locked())
            .field("waiting", &self.permits.waiting())
            .finish()
    }
}

/// Holds a [`Lock`] until it is dropped.
///
/// # asyncio
/// The body of `async with lock`.
#[must_use = "a guard that is dropped at once locks nothing"]
#[derive(Debug)]
pub struct LockGuard<'a> {
    lock: &'a Lock,
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        self.lock.holder.set(None);
        if self.lock.is_told.get() {
            self.lock.tell_holder();
        }
        self.lock.permits.release();
    }
}
