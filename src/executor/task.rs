//! The task: a future that the executor polls, and the handle to await it by.
//!
//! ```text
//!   create_task ──► TaskCell ──┬─► AnyTask ──► task table   (polls and cancels)
//!                              └─► Join<T> ──► Task<T>      (awaits the outcome)
//!                       ended ──► the waker of who awaits it; or AtTaskEnd, for one who
//!                                 holds many and wants to know which
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use crate::error::{JoinError, PanicPayload};
use crate::waiters::WaiterCell;
use crate::waits::TaskAddress;

use super::Executor;
use super::task_table::TaskId;

/// A running task; awaiting it gives what its future returns.
///
/// The loop holds a task until it ends, whether or not somebody holds this handle:
/// dropping the handle detaches, it does not cancel.
///
/// # Errors
/// Awaiting gives [`JoinError::Cancelled`] for a task that was cancelled or whose loop
/// was closed, and [`JoinError::Panicked`] for one that panicked.
///
/// # Cancel safety
/// Dropping the handle while it is awaited detaches the task.
///
/// # asyncio
/// `asyncio.Task`. Cancelling drops the future at its next step; it can't be caught and
/// suppressed, so there is no `uncancel` (D3). A task is held strongly (D2).
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{create_task, run};
///
/// # fn main() -> io::Result<()> {
/// let sum = run(async {
///     let task = create_task(async { 20 + 22 });
///     io::Result::Ok(task.await?)
/// })?;
/// assert_eq!(sum, 42);
/// # Ok(())
/// # }
/// ```
pub struct Task<T> {
    join: Rc<dyn Join<T>>,
}

impl<T> Task<T> {
    pub(super) fn new(join: Rc<dyn Join<T>>) -> Task<T> {
        Task { join }
    }

    /// Asks for the task to be dropped at its next step, and says whether it was still
    /// running.
    ///
    /// Cancelling wins over a wake that is on its way. A task that cancels itself is
    /// dropped at its next suspension.
    ///
    /// # asyncio
    /// `Task.cancel`, without a message.
    pub fn cancel(&self) -> bool {
        self.join.cancel()
    }

    /// Says whether the task ended, in whatever way.
    ///
    /// # asyncio
    /// `Task.done`.
    #[must_use]
    pub fn done(&self) -> bool {
        self.join.ended() != Ended::Not
    }

    /// Says whether the task was cancelled.
    ///
    /// # asyncio
    /// `Task.cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.join.ended() == Ended::Cancelled
    }

    /// Returns the task's name: `Task-N`, counted per loop, unless one was set. The tasks of
    /// a server's handlers are named after the handler: `chat::serve-N`.
    ///
    /// # asyncio
    /// `Task.get_name`.
    #[must_use]
    pub fn get_name(&self) -> String {
        self.join.name()
    }

    /// Names the task after what it runs: `stem-N`. Costs no memory.
    pub(crate) fn name_after(&self, stem: &'static str) {
        self.join.name_after(stem);
    }

    /// Names the task to the table; `None` if its loop was closed when it was made.
    pub(crate) fn id(&self) -> Option<TaskId> {
        self.join.id()
    }

    /// Gives the task another name.
    ///
    /// # asyncio
    /// `Task.set_name`.
    pub fn set_name(&self, name: impl Into<String>) {
        self.join.set_name(name.into());
    }

    /// Returns a reference that can be cloned: to cancel the task from elsewhere while
    /// this handle is awaited, say.
    ///
    /// # asyncio
    /// The `Task` object itself, which anybody may hold.
    ///
    /// # Examples
    /// ```
    /// use std::future::pending;
    /// use std::io;
    /// use millstream::{create_task, get_running_loop, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let endless = create_task(pending::<()>());
    ///     let switch = endless.task_ref();
    ///     get_running_loop()?.call_soon(move || {
    ///         switch.cancel();
    ///     })?;
    ///     assert!(endless.await.is_err_and(|error| error.is_cancelled()));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn task_ref(&self) -> TaskRef {
        TaskRef(self.join.clone().as_any_task())
    }

    /// Has `listener` told once when the task ends, with this number; at once if it ended.
    ///
    /// In the place of whoever was told before, and of whoever awaits it.
    pub(crate) fn tell_end(&self, listener: Rc<dyn AtTaskEnd>, number: usize) {
        if self.done() {
            listener.task_ended(number);
        } else {
            self.join.tell_end(Box::new(Told { listener, number }));
        }
    }

    /// Tells nobody any more, and wakes nobody.
    pub(crate) fn tell_nobody(&self) {
        self.join.tell_nobody();
    }

    /// Takes the outcome of a task that ended and gave it to nobody yet.
    pub(crate) fn take_outcome(&self) -> Option<Result<T, JoinError>> {
        self.join.take_outcome()
    }

    /// Looks at the outcome of a task that ended. What looks must call nobody (R3).
    pub(crate) fn has_outcome(&self, is_so: fn(&Result<T, JoinError>) -> bool) -> bool {
        self.join.has_outcome(is_so)
    }
}

/// Panics if it is polled again after it gave the outcome, as any future may.
impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.join.poll_outcome(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.join.detach();
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {})", self.join.name(), self.join.ended())
    }
}

/// A task without its result: what [`current_task`](crate::current_task) and
/// [`all_tasks`](crate::all_tasks) return.
///
/// # asyncio
/// The `Task` objects that the functions of the same names return.
#[derive(Clone)]
pub struct TaskRef(Rc<dyn AnyTask>);

impl TaskRef {
    pub(super) fn new(task: Rc<dyn AnyTask>) -> TaskRef {
        TaskRef(task)
    }

    /// Does what [`Task::cancel`] does.
    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    /// Says whether the task ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.ended() != Ended::Not
    }

    /// Says whether the task was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.ended() == Ended::Cancelled
    }

    /// Returns the task's number, counted per loop: the one in `Task-N`.
    pub(crate) fn number(&self) -> u64 {
        self.0.serial()
    }

    /// Says who awaits the task, if somebody does.
    pub(crate) fn awaited_by(&self) -> Option<TaskAddress> {
        self.0.awaited_by()
    }

    /// Returns the task's name.
    #[must_use]
    pub fn get_name(&self) -> String {
        self.0.name()
    }

    /// Gives the task another name.
    pub fn set_name(&self, name: impl Into<String>) {
        self.0.set_name(name.into());
    }
}

/// Two references are equal if they are to the same task.
impl PartialEq for TaskRef {
    fn eq(&self, other: &TaskRef) -> bool {
        Rc::as_ptr(&self.0).cast::<()>() == Rc::as_ptr(&other.0).cast::<()>()
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {})", self.0.name(), self.0.ended())
    }
}

/// How a task ended, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Not,
    Finished,
    Cancelled,
    Panicked,
}

/// In asyncio's words, but for `panicked`, which a task there can't be.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ended::Not => "pending",
            Ended::Finished => "finished",
            Ended::Cancelled => "cancelled",
            Ended::Panicked => "panicked",
        })
    }
}

/// Who holds several tasks, and is told which of them ended.
pub(crate) trait AtTaskEnd {
    /// The task with this number ended. Called between steps, with no borrow alive.
    fn task_ended(self: Rc<Self>, number: usize);

    /// Says who waits to be told, if that is a task.
    fn sleeper(&self) -> Option<TaskAddress>;
}

/// Whom a task tells of its end, and by which number.
pub(super) struct Told {
    listener: Rc<dyn AtTaskEnd>,
    number: usize,
}

/// What the table and a [`TaskRef`] see of a task, whatever it returns.
pub(super) trait AnyTask {
    /// Polls the future once, and says whether the task ended.
    fn poll(&self, cx: &mut Context<'_>) -> bool;
    /// Drops the future instead of polling it: the task ended as cancelled.
    fn cancel_now(&self);
    /// The task ended and left the table: wakes whoever awaits it.
    fn finish(&self);
    fn cancel(&self) -> bool;
    fn ended(&self) -> Ended;
    fn id(&self) -> Option<TaskId>;
    fn serial(&self) -> u64;
    fn awaited_by(&self) -> Option<TaskAddress>;
    fn name(&self) -> String;
    fn name_after(&self, stem: &'static str);
    fn set_name(&self, name: String);
}

/// What a [`Task<T>`] sees of a task, whatever its future is.
pub(super) trait Join<T>: AnyTask {
    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn take_outcome(&self) -> Option<Result<T, JoinError>>;
    fn has_outcome(&self, is_so: fn(&Result<T, JoinError>) -> bool) -> bool;
    fn tell_end(&self, told: Box<Told>);
    fn tell_nobody(&self);
    fn detach(&self);
    fn as_any_task(self: Rc<Self>) -> Rc<dyn AnyTask>;
}

/// A task: its future while it runs, its outcome afterwards.
pub(super) struct TaskCell<F: Future> {
    stage: RefCell<Stage<F>>,
    ended: Cell<Ended>,
    waiter: WaiterCell,
    /// In a box, since few tasks have one.
    told: Cell<Option<Box<Told>>>,
    detached: Cell<bool>,
    id: Cell<Option<TaskId>>,
    serial: u64,
    name: RefCell<Name>,
    executor: Weak<Executor>,
}

/// What a task is called. Nearly all are numbered, so that only a given name takes memory.
enum Name {
    /// By this stem and the task's number.
    Numbered(&'static str),
    Given(String),
}

enum Stage<F: Future> {
    Runs(Pin<Box<F>>),
    Ended(Result<F::Output, JoinError>),
    /// The future is being polled or dropped, or the outcome was taken.
    Taken,
}

impl<F: Future> TaskCell<F> {
    pub(super) fn new(future: F, serial: u64, executor: Weak<Executor>) -> TaskCell<F> {
        TaskCell {
            stage: RefCell::new(Stage::Runs(Box::pin(future))),
            ended: Cell::new(Ended::Not),
            waiter: WaiterCell::default(),
            told: Cell::new(None),
            detached: Cell::new(false),
            id: Cell::new(None),
            serial,
            name: RefCell::new(Name::Numbered("Task")),
            executor,
        }
    }

    pub(super) fn set_id(&self, id: TaskId) {
        self.id.set(Some(id));
    }

    /// R3: out of the cell, so that no borrow is alive while it is used or dropped.
    fn take(&self) -> Stage<F> {
        self.stage.replace(Stage::Taken)
    }

    /// Drops the future, and keeps the outcome; a panic in the drop is the outcome then.
    fn end(&self, future: Pin<Box<F>>, outcome: Result<F::Output, JoinError>) {
        let outcome = match catch_unwind(AssertUnwindSafe(|| drop(future))) {
            Ok(()) => outcome,
            Err(panic) => Err(JoinError::Panicked(PanicPayload::new(panic))),
        };
        self.ended.set(match &outcome {
            Ok(_) => Ended::Finished,
            Err(JoinError::Cancelled) => Ended::Cancelled,
            Err(JoinError::Panicked(_)) => Ended::Panicked,
        });
        self.stage.replace(Stage::Ended(outcome));
    }

    /// Reports a panic that nobody will be told by awaiting the task.
    fn report_if_orphaned(&self) {
        if self.ended.get() != Ended::Panicked {
            return;
        }
        let outcome = self.take();
        let executor = self.executor.upgrade();
        if let (Stage::Ended(Err(JoinError::Panicked(panic))), Some(executor)) = (outcome, executor)
        {
            executor.report_orphan(&self.name(), &panic);
        }
    }
}

impl<F: Future> AnyTask for TaskCell<F> {
    fn poll(&self, cx: &mut Context<'_>) -> bool {
        let Stage::Runs(mut future) = self.take() else {
            return true; // ended while it was polled, by a loop that closed
        };
        // R10: a panic ends this task and nothing else.
        let outcome = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                self.stage.replace(Stage::Runs(future));
                return false;
            }
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(JoinError::Panicked(PanicPayload::new(panic))),
        };
        self.end(future, outcome);
        true
    }

    fn cancel_now(&self) {
        if let Stage::Runs(future) = self.take() {
            self.end(future, Err(JoinError::Cancelled));
        }
    }

    fn finish(&self) {
        if self.detached.get() {
            self.report_if_orphaned();
            drop(self.take()); // the output, which nobody will take
        }
        self.waiter.wake();
        if let Some(told) = self.told.take() {
            told.listener.task_ended(told.number);
        }
    }

    fn cancel(&self) -> bool {
        match (self.id.get(), self.executor.upgrade()) {
            (Some(id), Some(executor)) => executor.cancel_task(id),
            _ => false,
        }
    }

    fn ended(&self) -> Ended {
        self.ended.get()
    }

    fn serial(&self) -> u64 {
        self.serial
    }

    fn awaited_by(&self) -> Option<TaskAddress> {
        let told = self.told.take();
        let listens = told.as_ref().and_then(|told| told.listener.sleeper());
        self.told.set(told);
        listens.or_else(|| self.waiter.sleeper())
    }

    fn id(&self) -> Option<TaskId> {
        self.id.get()
    }

    fn name(&self) -> String {
        match &*self.name.borrow() {
            Name::Numbered(stem) => format!("{stem}-{}", self.serial),
            Name::Given(name) => name.clone(),
        }
    }

    fn name_after(&self, stem: &'static str) {
        self.name.replace(Name::Numbered(stem));
    }

    fn set_name(&self, name: String) {
        self.name.replace(Name::Given(name));
    }
}

impl<F: Future + 'static> Join<F::Output> for TaskCell<F> {
    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Result<F::Output, JoinError>> {
        if self.ended.get() == Ended::Not {
            self.waiter.register(cx.waker());
            return Poll::Pending;
        }
        match self.take_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => panic!("a task was awaited again after it had given its outcome"),
        }
    }

    fn take_outcome(&self) -> Option<Result<F::Output, JoinError>> {
        if self.ended.get() == Ended::Not {
            return None;
        }
        match self.take() {
            Stage::Ended(outcome) => Some(outcome),
            Stage::Runs(_) | Stage::Taken => None,
        }
    }

    fn has_outcome(&self, is_so: fn(&Result<F::Output, JoinError>) -> bool) -> bool {
        match &*self.stage.borrow() {
            Stage::Ended(outcome) => is_so(outcome),
            Stage::Runs(_) | Stage::Taken => false,
        }
    }

    fn tell_end(&self, told: Box<Told>) {
        self.tell_nobody();
        self.told.set(Some(told));
    }

    fn tell_nobody(&self) {
        self.waiter.clear();
        drop(self.told.take());
    }

    fn detach(&self) {
        self.detached.set(true);
        self.tell_nobody();
        self.report_if_orphaned();
        // The output, if there is one, goes with the handle.
        if self.ended.get() != Ended::Not {
            drop(self.take());
        }
    }

    fn as_any_task(self: Rc<Self>) -> Rc<dyn AnyTask> {
        self
    }
}
