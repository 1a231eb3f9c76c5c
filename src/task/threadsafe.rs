//! Coroutines that other threads send to the loop, and whose results they wait for.
//!
//! ```text
//!   another thread                                the loop's thread
//!   run_coroutine_threadsafe(f) ──f, by inbox──►  f() ──► a task ──ended─┐
//!   RemoteTask: result(), .await ◄──────── the result ──── Relay ◄───────┘
//!               cancel() ─────────by inbox──────► the task
//! ```
//!
//! The coroutine is made where it runs, so it need not be `Send`; what makes it must be, and
//! its result.
//!
//! asyncio: `asyncio.run_coroutine_threadsafe`.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{JoinError, LoopError, TimedOut};
use crate::event_loop::{RemoteHandle, get_running_loop, running_loop};
use crate::executor::{AtTaskEnd, Task, TaskId};
use crate::waits::{TaskAddress, WaitsOn, What, note};

impl RemoteHandle {
    /// Runs a coroutine as a task of the loop, from another thread.
    ///
    /// `coroutine` is called on the loop's thread, so that what it makes may hold whatever
    /// belongs there: streams, `Rc`s.
    ///
    /// # Errors
    /// [`LoopError::Closed`] if the loop is closed; `coroutine` is dropped.
    ///
    /// # asyncio
    /// `asyncio.run_coroutine_threadsafe`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// # #[cfg(feature = "threads")]
    /// use millstream::{get_running_loop, run, sleep, to_thread};
    ///
    /// # #[cfg(not(feature = "threads"))]
    /// # fn main() {}
    /// # #[cfg(feature = "threads")]
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let remote = get_running_loop()?.remote();
    ///     let answer = to_thread(move || {
    ///         let asked = remote.run_coroutine_threadsafe(|| async {
    ///             sleep(Duration::from_millis(1)).await; // on the loop
    ///             42
    ///         })?;
    ///         asked.result().map_err(io::Error::from) // this thread waits
    ///     });
    ///     assert_eq!(answer.await??, 42);
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn run_coroutine_threadsafe<C, F>(
        &self,
        coroutine: C,
    ) -> Result<RemoteTask<F::Output>, LoopError>
    where
        C: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let shared = Arc::new(Shared::new());
        let answer = Answer(shared.clone());
        self.call_soon_threadsafe(move || start(coroutine, answer))?;
        Ok(RemoteTask {
            shared,
            remote: self.clone(),
        })
    }
}

/// A task of a loop, as another thread holds it.
///
/// Dropping it detaches the task, which goes on.
///
/// # Errors
/// Awaiting it, as [`result`](Self::result), gives [`JoinError::Cancelled`] if the task was
/// cancelled or the loop was closed, and [`JoinError::Panicked`] if it panicked.
///
/// # asyncio
/// The `concurrent.futures.Future` that `run_coroutine_threadsafe` returns. It can be
/// awaited too, on whatever loop.
pub struct RemoteTask<T> {
    shared: Arc<Shared<T>>,
    remote: RemoteHandle,
}

impl<T: Send + 'static> RemoteTask<T> {
    /// Blocks this thread until the task has ended, and gives what it returned.
    ///
    /// # Errors
    /// See [`RemoteTask`].
    ///
    /// # Panics
    /// On the loop's own thread, which would wait for itself: `.await` it there.
    ///
    /// # asyncio
    /// `Future.result()`.
    pub fn result(self) -> Result<T, JoinError> {
        self.ensure_elsewhere();
        let progress = self
            .shared
            .changed
            .wait_while(self.shared.lock(), |progress| !progress.has_ended());
        let mut progress = progress.unwrap_or_else(PoisonError::into_inner);
        progress.take_outcome()
    }

    /// Does what [`result`](Self::result) does, for `patience` at the most.
    ///
    /// # Errors
    /// [`TimedOut`] if it has not ended by then: it goes on, and can be asked again. Within
    /// the result, those of [`RemoteTask`].
    ///
    /// # Panics
    /// As `result`; if the result was given before.
    ///
    /// # asyncio
    /// `Future.result(timeout)`.
    pub fn result_within(&mut self, patience: Duration) -> Result<Result<T, JoinError>, TimedOut> {
        self.ensure_elsewhere();
        let waited =
            self.shared
                .changed
                .wait_timeout_while(self.shared.lock(), patience, |progress| {
                    !progress.has_ended()
                });
        let (mut progress, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !progress.has_ended() {
            return Err(TimedOut);
        }
        Ok(progress.take_outcome())
    }

    /// Asks for the task to be cancelled, and says whether it had not ended yet.
    ///
    /// # asyncio
    /// `Future.cancel`.
    pub fn cancel(&self) -> bool {
        let mut progress = self.shared.lock();
        let id = match progress.stage {
            Stage::Ended(_) | Stage::Given => return false,
            Stage::Sent | Stage::GivenUp => {
                progress.stage = Stage::GivenUp;
                return true;
            }
            Stage::Runs(id) => id,
        };
        drop(progress);
        // A closed loop has cancelled it already.
        let _ = self.remote.call_soon_threadsafe(move || {
            running_loop().core().executor.cancel_task(id);
        });
        true
    }

    /// Says whether the task ended, in whatever way.
    ///
    /// # asyncio
    /// `Future.done`.
    #[must_use]
    pub fn done(&self) -> bool {
        self.shared.lock().has_ended()
    }

    fn ensure_elsewhere(&self) {
        let here = get_running_loop().is_ok_and(|handle| self.remote.is_of(&handle));
        assert!(
            !here,
            "a loop's thread can't block until one of its own tasks has ended: await it"
        );
    }
}

impl<T: Send + 'static> Future for RemoteTask<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut progress = self.shared.lock();
        if progress.has_ended() {
            return Poll::Ready(progress.take_outcome());
        }
        // R3, also for locks: a waker is cloned and dropped with the lock released.
        drop(progress);
        let waker = cx.waker().clone();
        let mut progress = self.shared.lock();
        if progress.has_ended() {
            return Poll::Ready(progress.take_outcome());
        }
        let stale = progress.waker.replace(waker);
        drop(progress);
        drop(stale);
        note(WaitsOn::that(What::Thread));
        Poll::Pending
    }
}

impl<T> fmt::Debug for RemoteTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteTask")
            .field("done", &self.shared.lock().has_ended())
            .finish_non_exhaustive()
    }
}

/// What the two threads share.
struct Shared<T> {
    progress: Mutex<Progress<T>>,
    changed: Condvar,
}

struct Progress<T> {
    stage: Stage<T>,
    waker: Option<Waker>,
}

enum Stage<T> {
    /// On its way to the loop.
    Sent,
    /// Cancelled on its way.
    GivenUp,
    Runs(TaskId),
    Ended(Result<T, JoinError>),
    /// The outcome was taken.
    Given,
}

impl<T> Shared<T> {
    fn new() -> Shared<T> {
        Shared {
            progress: Mutex::new(Progress {
                stage: Stage::Sent,
                waker: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        // No user code runs under the lock, so a poisoned one holds whole data.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Progress<T> {
    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_) | Stage::Given)
    }

    fn take_outcome(&mut self) -> Result<T, JoinError> {
        match mem::replace(&mut self.stage, Stage::Given) {
            Stage::Ended(outcome) => outcome,
            _ => panic!("a task was awaited again after it had given its outcome"),
        }
    }
}

/// The side that owes an answer. Dropped without one, it says that it was cancelled.
struct Answer<T>(Arc<Shared<T>>);

impl<T> Answer<T> {
    /// Says whether nobody would hear it.
    fn is_unheard(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The task that was made for it; false if it was cancelled on its way.
    fn is_of(&self, task: Option<TaskId>) -> bool {
        let mut progress = self.0.lock();
        match (&progress.stage, task) {
            (Stage::Sent, Some(id)) => progress.stage = Stage::Runs(id),
            (Stage::GivenUp, _) => return false,
            _ => {}
        }
        true
    }

    fn give(&self, outcome: Result<T, JoinError>) {
        let mut progress = self.0.lock();
        if progress.has_ended() {
            return;
        }
        progress.stage = Stage::Ended(outcome);
        let waker = progress.waker.take();
        drop(progress);
        self.0.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        self.give(Err(JoinError::Cancelled));
    }
}

/// What happens on the loop's thread.
fn start<C, F>(coroutine: C, answer: Answer<F::Output>)
where
    C: FnOnce() -> F + 'static,
    F: Future + 'static,
    F::Output: 'static,
{
    // Called within the task: its panic is the task's.
    let task = running_loop().create_task(async move { coroutine().await });
    if !answer.is_of(task.id()) {
        task.cancel(); // before its first step
    }
    let relay = Rc::new(Relay {
        task: OnceCell::new(),
        answer: Cell::new(Some(answer)),
    });
    let task = relay.task.get_or_init(|| task);
    // The two own each other until the task has ended.
    task.tell_end(relay.clone(), 0);
}

/// Hands the outcome of a task over to the other thread.
struct Relay<T> {
    task: OnceCell<Task<T>>,
    answer: Cell<Option<Answer<T>>>,
}

impl<T: 'static> AtTaskEnd for Relay<T> {
    fn task_ended(self: Rc<Self>, _number: usize) {
        let (Some(task), Some(answer)) = (self.task.get(), self.answer.take()) else {
            return;
        };
        if answer.is_unheard() {
            return; // its panic is reported, as that of any task that nobody awaits
        }
        if let Some(outcome) = task.take_outcome() {
            answer.give(outcome);
        }
    }

    fn sleeper(&self) -> Option<TaskAddress> {
        None // it is on another thread
    }
}
