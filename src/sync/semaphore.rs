//! The semaphore: so many at a time.

use std::error::Error;
use std::fmt;
use std::io;
use std::mem;

use crate::waits::What;

use super::permits::Permits;

/// Lets a number of tasks at a time do something: so many connections, so many jobs.
///
/// It is fair: a permit goes to whoever waits longest, and nobody can take it before.
///
/// # asyncio
/// `asyncio.Semaphore`. [`acquire`](Self::acquire) returns a permit that goes back when it
/// is dropped; who needs the bare counter uses [`SemaphorePermit::forget`] and
/// [`release`](Self::release).
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// use std::io;
/// use std::rc::Rc;
/// use std::time::Duration;
/// use millstream::{Semaphore, create_task, run, sleep};
///
/// #[derive(Default)]
/// struct Busy {
///     now: Cell<u32>,
///     most: Cell<u32>,
/// }
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mill = Rc::new((Semaphore::new(2), Busy::default()));
///     let job = async |mill: Rc<(Semaphore, Busy)>| {
///         let (two_at_once, busy) = &*mill;
///         let _permit = two_at_once.acquire().await;
///         busy.now.set(busy.now.get() + 1);
///         busy.most.set(busy.most.get().max(busy.now.get()));
///         sleep(Duration::from_millis(1)).await;
///         busy.now.set(busy.now.get() - 1);
///     };
///     let jobs: Vec<_> = (0..10).map(|_| create_task(job(mill.clone()))).collect();
///     for job in jobs {
///         job.await?;
///     }
///     assert_eq!(mill.1.most.get(), 2);
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct Semaphore {
    permits: Permits,
}

impl Semaphore {
    /// Makes a semaphore with `value` permits.
    ///
    /// # asyncio
    /// `Semaphore(value)`, which is 1 unless given; a negative one can't be written.
    #[must_use]
    pub fn new(value: usize) -> Semaphore {
        Semaphore {
            permits: Permits::new(value, What::Semaphore),
        }
    }

    /// Waits until a permit is free, and takes it until what is returned is dropped.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped while it waits, it leaves the queue; dropped when it was
    /// already chosen, it hands the permit to the next.
    ///
    /// # asyncio
    /// `async with semaphore`, `Semaphore.acquire`.
    pub async fn acquire(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await;
        SemaphorePermit { semaphore: self }
    }

    /// Takes a permit if one is free.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.permits
            .try_acquire()
            .then(|| SemaphorePermit { semaphore: self })
    }

    /// Adds a permit: one that was forgotten, or one more than there were.
    ///
    /// # asyncio
    /// `Semaphore.release`.
    pub fn release(&self) {
        self.permits.release();
    }

    /// Says whether there is no permit to be taken at once.
    ///
    /// # asyncio
    /// `Semaphore.locked`.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.permits.free() == 0
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("free", &self.permits.free())
            .field("waiting", &self.permits.waiting())
            .finish()
    }
}

/// A permit of a [`Semaphore`], which goes back when it is dropped.
#[must_use = "a permit that is dropped at once permits nothing"]
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
}

impl SemaphorePermit<'_> {
    /// Keeps the permit for good, until somebody calls `release` for it.
    ///
    /// # asyncio
    /// What `Semaphore.acquire` does by itself.
    pub fn forget(self) {
        mem::forget(self);
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        self.semaphore.release();
    }
}

/// A semaphore that never has more permits than it was made with.
///
/// # asyncio
/// `asyncio.BoundedSemaphore`.
///
/// # Examples
/// ```
/// use millstream::{BoundedSemaphore, run};
///
/// # fn main() -> std::io::Result<()> {
/// run(async {
///     let permits = BoundedSemaphore::new(1);
///     permits.acquire().await.forget();
///     permits.release()?;
///     let too_often = permits.release().map_err(|error| error.to_string());
///     assert_eq!(too_often, Err("BoundedSemaphore released too many times".to_owned()));
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct BoundedSemaphore {
    semaphore: Semaphore,
    bound: usize,
}

impl BoundedSemaphore {
    /// Makes a semaphore with `value` permits, and never more.
    #[must_use]
    pub fn new(value: usize) -> BoundedSemaphore {
        BoundedSemaphore {
            semaphore: Semaphore::new(value),
            bound: value,
        }
    }

    /// Does what [`Semaphore::acquire`] does.
    ///
    /// # Cancel safety
    /// Cancel safe, as that is.
    pub async fn acquire(&self) -> SemaphorePermit<'_> {
        self.semaphore.acquire().await
    }

    /// Does what [`Semaphore::try_acquire`] does.
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.semaphore.try_acquire()
    }

    /// Gives a permit back that was [forgotten](SemaphorePermit::forget).
    ///
    /// # Errors
    /// [`OverReleaseError`] if none is out: nothing changes then.
    ///
    /// # asyncio
    /// `BoundedSemaphore.release`, which raises `ValueError`.
    pub fn release(&self) -> Result<(), OverReleaseError> {
        if self.semaphore.permits.free() >= self.bound {
            return Err(OverReleaseError);
        }
        self.semaphore.release();
        Ok(())
    }

    /// Does what [`Semaphore::locked`] does.
    #[must_use]
    pub fn locked(&self) -> bool {
        self.semaphore.locked()
    }
}

/// A [`BoundedSemaphore`] was given back a permit that nobody had.
///
/// # asyncio
/// `ValueError` with the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverReleaseError;

impl fmt::Display for OverReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedSemaphore released too many times")
    }
}

impl Error for OverReleaseError {}

impl From<OverReleaseError> for io::Error {
    fn from(error: OverReleaseError) -> Self {
        io::Error::other(error)
    }
}
