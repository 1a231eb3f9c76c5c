//! Waiting for tasks, without giving any of them up.
//!
//! ```text
//!   wait(&mut tasks) ──► those that have ended; the others stay in `tasks`
//!   as_completed(tasks).next() ──► one result after the other, the first first
//! ```

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::JoinError;
use crate::executor::Task;
use crate::time::{Sleep, sleep};

use super::completions::Completions;

/// Waits for tasks, and takes those that have ended out of `tasks`, in their order.
///
/// Waits for all, unless [`return_when`](Wait::return_when) or
/// [`timeout`](Wait::timeout) says otherwise. It cancels nothing. No tasks are nothing to
/// wait for.
///
/// # Cancel safety
/// Cancel safe: dropped, it leaves all tasks where they are.
///
/// # asyncio
/// `asyncio.wait`, which returns two sets: `done, pending = await wait(tasks)`. Here
/// `tasks` is what is pending. No tasks are an error there.
///
/// # Examples
/// ```
/// use std::io;
/// use std::time::Duration;
/// use millstream::{FIRST_COMPLETED, create_task, run, sleep, wait};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut tasks: Vec<_> = [60, 0]
///         .map(|seconds| create_task(sleep(Duration::from_secs(seconds))))
///         .into();
///     let done = wait(&mut tasks).return_when(FIRST_COMPLETED).await;
///     assert_eq!((done.len(), tasks.len()), (1, 1));
///     assert_eq!(tasks[0].get_name(), "Task-2"); // the program itself is Task-1
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub fn wait<T>(tasks: &mut Vec<Task<T>>) -> Wait<'_, T> {
    Wait {
        tasks,
        is_enough: |_| false,
        patience: None,
        completions: None,
        pending: 0,
    }
}

/// The future of [`wait`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Wait<'a, T> {
    tasks: &'a mut Vec<Task<T>>,
    /// Says of a task that has ended whether the others need not be waited for.
    is_enough: fn(&Task<T>) -> bool,
    patience: Option<Sleep>,
    /// `None` before the first poll, and at the end.
    completions: Option<Rc<Completions>>,
    pending: usize,
}

impl<T> Wait<'_, T> {
    /// Says what to wait for: [`ALL_COMPLETED`], which it is unless set,
    /// [`FIRST_COMPLETED`], or [`FIRST_EXCEPTION`] of tasks that return a `Result`.
    pub fn return_when(mut self, when: impl ReturnWhen<T>) -> Self {
        self.is_enough = when.is_enough();
        self
    }

    /// Waits no longer than this, from the first poll on. That is no error: what has ended
    /// by then is returned.
    pub fn timeout(mut self, patience: Duration) -> Self {
        self.patience = Some(sleep(patience));
        self
    }

    /// Says whether what has ended by now is enough.
    fn poll_enough(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.completions.is_none() {
            self.pending = self.tasks.len();
            self.completions = Some(Completions::of(&*self.tasks));
        }
        let mut enough = false;
        while let (Some(completions), 1..) = (&self.completions, self.pending) {
            let Poll::Ready(number) = completions.poll_next(cx) else {
                break;
            };
            self.pending -= 1;
            enough |= (self.is_enough)(&self.tasks[number]);
        }
        if enough || self.pending == 0 {
            return Poll::Ready(());
        }
        match &mut self.patience {
            Some(patience) => Pin::new(patience).poll(cx),
            None => Poll::Pending,
        }
    }

    fn stop_watching(&mut self) {
        if self.completions.take().is_some() {
            self.tasks.iter().for_each(Task::tell_nobody);
        }
    }
}

impl<T> Future for Wait<'_, T> {
    type Output = Vec<Task<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<Task<T>>> {
        if self.poll_enough(cx).is_pending() {
            return Poll::Pending;
        }
        self.stop_watching();
        let tasks = std::mem::take(self.tasks);
        let (done, pending) = tasks.into_iter().partition(Task::done);
        *self.tasks = pending;
        Poll::Ready(done)
    }
}

impl<T> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        self.stop_watching();
    }
}

impl<T> fmt::Debug for Wait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait")
            .field("tasks", &self.tasks)
            .finish_non_exhaustive()
    }
}

/// What [`Wait::return_when`] takes.
pub trait ReturnWhen<T>: sealed::Sealed {
    #[doc(hidden)]
    fn is_enough(&self) -> fn(&Task<T>) -> bool;
}

/// Wait until one task has ended: see [`Wait::return_when`].
pub const FIRST_COMPLETED: FirstCompleted = FirstCompleted;

/// Wait until one task has failed, or all have ended: see [`Wait::return_when`].
///
/// To return an `Err` is to fail, and so is to panic; to be cancelled isn't.
pub const FIRST_EXCEPTION: FirstException = FirstException;

/// Wait until all tasks have ended: see [`Wait::return_when`].
pub const ALL_COMPLETED: AllCompleted = AllCompleted;

/// The type of [`FIRST_COMPLETED`].
#[derive(Debug, Clone, Copy)]
pub struct FirstCompleted;

/// The type of [`FIRST_EXCEPTION`].
#[derive(Debug, Clone, Copy)]
pub struct FirstException;

/// The type of [`ALL_COMPLETED`].
#[derive(Debug, Clone, Copy)]
pub struct AllCompleted;

impl<T> ReturnWhen<T> for FirstCompleted {
    fn is_enough(&self) -> fn(&Task<T>) -> bool {
        |_| true
    }
}

impl<T: 'static, E: 'static> ReturnWhen<Result<T, E>> for FirstException {
    fn is_enough(&self) -> fn(&Task<Result<T, E>>) -> bool {
        |task| {
            task.has_outcome(|outcome| matches!(outcome, Ok(Err(_)) | Err(JoinError::Panicked(_))))
        }
    }
}

impl<T> ReturnWhen<T> for AllCompleted {
    fn is_enough(&self) -> fn(&Task<T>) -> bool {
        |_| false
    }
}

/// Nobody else implements [`ReturnWhen`].
mod sealed {
    use super::{AllCompleted, FirstCompleted, FirstException};

    pub trait Sealed {}

    impl Sealed for FirstCompleted {}
    impl Sealed for FirstException {}
    impl Sealed for AllCompleted {}
}

/// Gives the results of tasks as they come, the first that ends first.
///
/// A time limit for all of them is [`timeout_at`](crate::timeout_at) around each `next`.
///
/// # asyncio
/// `asyncio.as_completed`; its argument `timeout` is said above.
///
/// # Examples
/// ```
/// use std::io;
/// use std::time::Duration;
/// use millstream::{as_completed, create_task, run, sleep};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut results = as_completed([3, 1, 2].map(|n| {
///         create_task(async move {
///             sleep(Duration::from_millis(10 * n)).await;
///             n
///         })
///     }));
///     let mut order = Vec::new();
///     while let Some(result) = results.next().await {
///         order.push(result?);
///     }
///     assert_eq!(order, [1, 2, 3]);
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub fn as_completed<T>(tasks: impl IntoIterator<Item = Task<T>>) -> AsCompleted<T> {
    let tasks: Vec<_> = tasks.into_iter().collect();
    AsCompleted {
        completions: Completions::of(&tasks),
        pending: tasks.len(),
        tasks,
    }
}

/// The results of tasks, as [`as_completed`] gives them.
///
/// Dropping it cancels nothing: tasks that have not ended go on.
pub struct AsCompleted<T> {
    tasks: Vec<Task<T>>,
    completions: Rc<Completions>,
    pending: usize,
}

impl<T: 'static> AsCompleted<T> {
    /// Waits for the next that ends, and gives what awaiting it gives; `None` at the end.
    ///
    /// # Cancel safety
    /// Cancel safe: it takes a result only when it returns it.
    pub async fn next(&mut self) -> Option<Result<T, JoinError>> {
        while self.pending > 0 {
            let number = poll_fn(|cx| self.completions.poll_next(cx)).await;
            self.pending -= 1;
            // None, if it had given its outcome before it came here.
            let outcome = self.tasks[number].take_outcome();
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted")
            .field("tasks", &self.tasks)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}
