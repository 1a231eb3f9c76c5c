//! The task group: tasks that end together.
//!
//! ```text
//!   scope(body) ──► body runs ──create_task──► children
//!     all end well ────────────► Ok(what the body returned)
//!     one fails, or the body ──► the others and the body are cancelled; all have ended ──► Err
//!     the scope is dropped ────► all are cancelled
//! ```
//!
//! Always true: when the scope has given its result, no child is left.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use slab::Slab;

use crate::error::{Cancelled, JoinError, PanicPayload};
use crate::event_loop::running_loop;
use crate::executor::{Task, TaskRef};

use super::completions::Completions;
use super::future::{Future as Value, create_future};

/// Tasks that end together: the first that fails ends the others, and nothing is left when
/// the group has ended.
///
/// [`TaskGroup::scope`] makes one. It may be cloned, so that children can add children.
///
/// # asyncio
/// `asyncio.TaskGroup`, of 3.11; `async with TaskGroup() as group` is
/// [`TaskGroup::scope`].
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{TaskGroup, run};
///
/// async fn weigh(sack: &'static str) -> io::Result<usize> {
///     Ok(sack.len())
/// }
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let sum = TaskGroup::scope(async |group| {
///         let rye = group.create_task(weigh("rye"))?;
///         let wheat = group.create_task(weigh("wheat"))?;
///         Ok(rye.await? + wheat.await?)
///     })
///     .await?;
///     assert_eq!(sum, 8);
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct TaskGroup<E> {
    state: Rc<GroupState<E>>,
}

struct GroupState<E> {
    phase: Cell<Phase>,
    children: RefCell<Slab<Task<Result<(), E>>>>,
    completions: Rc<Completions>,
    failures: RefCell<Vec<TaskFailure<E>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Something failed: all are cancelled, and waited for.
    ShuttingDown,
    Finished,
}

impl<E: 'static> TaskGroup<E> {
    /// Runs `body`, waits for all tasks that it and they created in the group, and returns
    /// what `body` returned.
    ///
    /// The first failure, of a child or of the body, cancels all others, the body too, which
    /// ends where it waits; when all have ended, it is returned. A child that was cancelled
    /// did not fail.
    ///
    /// # Errors
    /// [`TaskGroupError`], which has all failures: what children and body failed with until
    /// all had ended, in that order. It converts into an `io::Error`.
    ///
    /// # Cancel safety
    /// Dropping it cancels all children; they are dropped at their next steps.
    ///
    /// # Panics
    /// With the panic of `body`. The panic of a child is a failure.
    ///
    /// # asyncio
    /// `async with TaskGroup() as group: …`, whose `except*` is a look into the error.
    ///
    /// # Examples
    /// ```
    /// use std::future::pending;
    /// use std::io::{self, ErrorKind};
    /// use millstream::{TaskGroup, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let failed = TaskGroup::scope(async |group| {
    ///         group.create_task(async { Err::<(), _>(io::Error::from(ErrorKind::NotFound)) })?;
    ///         group.create_task(pending::<io::Result<()>>())?; // is cancelled
    ///         pending::<io::Result<()>>().await // and so is this
    ///     })
    ///     .await
    ///     .expect_err("one of them fails");
    ///     assert_eq!(failed.to_string(), "unhandled errors in a TaskGroup");
    ///     assert_eq!(failed.failures.len(), 1);
    ///     assert_eq!(io::Error::from(failed).kind(), ErrorKind::NotFound);
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub async fn scope<T>(
        body: impl AsyncFnOnce(TaskGroup<E>) -> Result<T, E>,
    ) -> Result<T, TaskGroupError<E>> {
        let group = TaskGroup::new();
        let scope = Scope(&group.state);
        let mut body = pin!(Some(body(group.clone())));
        let mut returned = None;
        poll_fn(|cx| {
            scope.0.collect(cx);
            if let (Phase::Open, Some(running)) = (scope.0.phase.get(), body.as_mut().as_pin_mut())
            {
                match running.poll(cx) {
                    Poll::Ready(Ok(value)) => {
                        returned = Some(value);
                        body.set(None);
                    }
                    Poll::Ready(Err(error)) => scope.0.fail(TaskFailure::Error(error)),
                    Poll::Pending => {}
                }
                scope.0.collect(cx);
            }
            if scope.0.phase.get() == Phase::ShuttingDown {
                body.set(None); // it is cancelled where it waits
            }
            scope.0.poll_end(body.is_some())
        })
        .await;
        let failures = scope.0.failures.take();
        match returned {
            Some(value) if failures.is_empty() => Ok(value),
            _ => Err(TaskGroupError { failures }),
        }
    }

    fn new() -> TaskGroup<E> {
        TaskGroup {
            state: Rc::new(GroupState {
                phase: Cell::new(Phase::Open),
                children: RefCell::default(),
                completions: Rc::default(),
                failures: RefCell::default(),
            }),
        }
    }

    /// Runs a future as a task of the group.
    ///
    /// # Errors
    /// [`TaskGroupClosed`] once the group has ended, or something in it has failed. The
    /// future is dropped then.
    ///
    /// # Panics
    /// With `no running event loop` outside of callbacks and tasks.
    ///
    /// # asyncio
    /// `TaskGroup.create_task`.
    pub fn create_task<F, T>(&self, future: F) -> Result<GroupTask<T>, TaskGroupClosed>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
    {
        self.ensure_open()?;
        let (promise, value) = create_future();
        let child = running_loop().create_task(async move {
            promise.set_result(future.await?);
            Ok(())
        });
        let task = child.task_ref();
        let number = self.state.children.borrow().vacant_key();
        self.state.completions.watch(&child, number);
        self.state.children.borrow_mut().insert(child);
        Ok(GroupTask { value, task })
    }

    fn ensure_open(&self) -> Result<(), TaskGroupClosed> {
        let state = match self.state.phase.get() {
            Phase::Open => return Ok(()),
            Phase::ShuttingDown => "is shutting down",
            Phase::Finished => "is finished",
        };
        Err(TaskGroupClosed {
            message: format!("TaskGroup {self:?} {state}"),
        })
    }
}

impl<E> Clone for TaskGroup<E> {
    fn clone(&self) -> Self {
        TaskGroup {
            state: self.state.clone(),
        }
    }
}

impl<E> fmt::Debug for TaskGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<TaskGroup")?;
        match self.state.children.borrow().len() {
            0 => {}
            tasks => write!(f, " tasks={tasks}")?,
        }
        match self.state.failures.borrow().len() {
            0 => {}
            errors => write!(f, " errors={errors}")?,
        }
        f.write_str(match self.state.phase.get() {
            Phase::Open | Phase::Finished => " entered>",
            Phase::ShuttingDown => " cancelling>",
        })
    }
}

impl<E: 'static> GroupState<E> {
    /// Takes in which children have ended, and how.
    fn collect(&self, cx: &mut Context<'_>) {
        while let Poll::Ready(number) = self.completions.poll_next(cx) {
            let child = self.children.borrow_mut().remove(number);
            match child.take_outcome() {
                Some(Ok(Err(error))) => self.fail(TaskFailure::Error(error)),
                Some(Err(JoinError::Panicked(panic))) => self.fail(TaskFailure::Panicked(panic)),
                Some(Ok(Ok(())) | Err(JoinError::Cancelled)) | None => {}
            }
        }
    }

    /// The first failure cancels all.
    fn fail(&self, failure: TaskFailure<E>) {
        self.failures.borrow_mut().push(failure);
        if self.phase.replace(Phase::ShuttingDown) == Phase::Open {
            self.cancel();
        }
    }

    fn poll_end(&self, body_runs: bool) -> Poll<()> {
        if body_runs || !self.children.borrow().is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl<E> GroupState<E> {
    fn cancel(&self) {
        for (_, child) in self.children.borrow().iter() {
            child.cancel(); // only marks it and queues it
        }
    }
}

/// The group for as long as its scope lives: dropped early, it cancels all children.
struct Scope<'a, E>(&'a GroupState<E>);

impl<E> Drop for Scope<'_, E> {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Finished);
        self.0.cancel();
        // Their panics are reported, now that nobody takes their outcomes.
        let children = self.0.children.take();
        drop(children);
    }
}

/// A task of a [`TaskGroup`]; awaiting it gives what its future returns.
///
/// Dropping it changes nothing: the group has the task.
///
/// # Errors
/// Awaiting gives [`Cancelled`] if the task was cancelled, or failed: the failure is the
/// group's.
///
/// # asyncio
/// The `Task` that `TaskGroup.create_task` returns.
pub struct GroupTask<T> {
    value: Value<T>,
    task: TaskRef,
}

impl<T> GroupTask<T> {
    /// Cancels this task alone, as [`Task::cancel`] does. That is no failure.
    pub fn cancel(&self) -> bool {
        self.task.cancel()
    }

    /// Says whether the task ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.task.done()
    }

    /// Returns a reference that can be cloned, and has the task's name.
    #[must_use]
    pub fn task_ref(&self) -> TaskRef {
        self.task.clone()
    }
}

impl<T> Future for GroupTask<T> {
    type Output = Result<T, Cancelled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.value).poll(cx)
    }
}

impl<T> fmt::Debug for GroupTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group{:?}", self.task)
    }
}

/// What failed in a [`TaskGroup`].
///
/// Printed as `{error:#}`, it names each failure.
///
/// # asyncio
/// The `ExceptionGroup` that a `TaskGroup` raises.
#[derive(Debug)]
#[non_exhaustive]
pub struct TaskGroupError<E> {
    /// All failures, the first first. There is one at least.
    pub failures: Vec<TaskFailure<E>>,
}

/// How a child of a [`TaskGroup`], or its body, failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskFailure<E> {
    /// It returned an error.
    Error(E),
    /// It panicked.
    Panicked(PanicPayload),
}

impl<E: fmt::Display> fmt::Display for TaskGroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unhandled errors in a TaskGroup")?;
        if f.alternate() {
            for (nth, failure) in self.failures.iter().enumerate() {
                let separator = if nth == 0 { ":" } else { ";" };
                write!(f, "{separator} {failure}")?;
            }
        }
        Ok(())
    }
}

impl<E: fmt::Display> fmt::Display for TaskFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskFailure::Error(error) => error.fmt(f),
            TaskFailure::Panicked(panic) => write!(f, "task panicked: {panic}"),
        }
    }
}

impl<E: Error + 'static> Error for TaskGroupError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failures.iter().find_map(|failure| match failure {
            TaskFailure::Error(error) => Some(error as &(dyn Error + 'static)),
            TaskFailure::Panicked(_) => None,
        })
    }
}

/// Of the kind of the first failure, if that is an `io::Error`.
impl<E: Error + Send + Sync + 'static> From<TaskGroupError<E>> for io::Error {
    fn from(error: TaskGroupError<E>) -> Self {
        let kind = match error.failures.first() {
            Some(TaskFailure::Error(first)) => (first as &dyn Any)
                .downcast_ref::<io::Error>()
                .map_or(io::ErrorKind::Other, io::Error::kind),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A task was to be created in a [`TaskGroup`] that has ended, or is about to.
///
/// # asyncio
/// `RuntimeError` with the same text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskGroupClosed {
    message: String,
}

impl fmt::Display for TaskGroupClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for TaskGroupClosed {}

impl From<TaskGroupClosed> for io::Error {
    fn from(error: TaskGroupClosed) -> Self {
        io::Error::other(error)
    }
}
