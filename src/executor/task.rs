//! The task: a future that the executor polls, and the handle to await it by.
//!
//! ```text
//!   create_task ──► TaskCell ──┬─► AnyTask ──► task table   (polls and cancels)
//!                              └─► Join<T> ──► Task<T>      (awaits the outcome)
//!                       ended ──► the waker of who awaits it; or AtTaskEnd, for one who
//!                                 holds many and wants to know which
//!
//!   TaskCell: Entry       what any task has: id, waker, name, who awaits it
//!             future      while it runs     ─┐ one of the two, and neither while it is
//!             value       when it has ended ─┘ polled or dropped
//! ```
//!
//! A step moves one pointer out of the cell and back. A value may be large, so it has a
//! place of its own; and a panic is rare, so that it lies with what few tasks have.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use crate::error::{JoinError, PanicPayload};
use crate::waiters::WaiterCell;
use crate::waits::{Notes, TaskAddress};

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
        self.task_ref().cancel()
    }

    /// Says whether the task ended, in whatever way.
    ///
    /// # asyncio
    /// `Task.done`.
    #[must_use]
    pub fn done(&self) -> bool {
        self.join.entry().stage().has_ended()
    }

    /// Says whether the task was cancelled.
    ///
    /// # asyncio
    /// `Task.cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.join.entry().stage() == Stage::Cancelled
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

    /// Names the task to the table; `None` if its loop was closed when it was made.
    pub(crate) fn id(&self) -> Option<TaskId> {
        self.join.entry().id()
    }

    /// Gives the task another name.
    ///
    /// # asyncio
    /// `Task.set_name`.
    pub fn set_name(&self, name: impl Into<String>) {
        self.join.entry().set_name(name.into());
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
            self.join.entry().tell_end(Told { listener, number });
        }
    }

    /// Tells nobody any more, and wakes nobody.
    pub(crate) fn tell_nobody(&self) {
        self.join.entry().tell_nobody();
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
        write!(
            f,
            "Task({}, {})",
            self.join.name(),
            self.join.entry().stage()
        )
    }
}

/// A task without its result: what [`current_task`](crate::current_task) and
/// [`all_tasks`](crate::all_tasks) return.
///
/// # asyncio
/// The `Task` objects that the functions of the same names return.
#[derive(Clone)]
pub struct TaskRef(pub(super) Rc<dyn AnyTask>);

impl TaskRef {
    /// Does what [`Task::cancel`] does.
    pub fn cancel(&self) -> bool {
        let entry = self.0.entry();
        if entry.stage().has_ended() {
            return false;
        }
        self.clone().wake();
        entry.stage.set(Stage::ToBeDropped);
        true
    }

    /// Queues its next step, unless it is queued already or has ended.
    #[inline]
    pub(crate) fn wake(self) {
        let entry = self.0.entry();
        if entry.mark_queued() {
            if let Some(executor) = entry.executor.upgrade() {
                executor.push_task(self);
            }
        }
    }

    /// Says where it lies.
    pub(crate) fn address(&self) -> TaskAddress {
        TaskAddress(Rc::as_ptr(&self.0).cast::<()>().addr())
    }

    /// Says whether the task ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.entry().stage().has_ended()
    }

    /// Says whether the task was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.entry().stage() == Stage::Cancelled
    }

    /// Returns the task's number, counted per loop: the one in `Task-N`.
    pub(crate) fn number(&self) -> u64 {
        self.0.entry().number()
    }

    /// Says who awaits the task, if somebody does.
    pub(crate) fn awaited_by(&self) -> Option<TaskAddress> {
        self.0.entry().awaited_by()
    }

    /// Returns the task's name.
    #[must_use]
    pub fn get_name(&self) -> String {
        self.0.name()
    }

    /// Gives the task another name.
    pub fn set_name(&self, name: impl Into<String>) {
        self.0.entry().set_name(name.into());
    }
}

/// Two references are equal if they are to the same task.
impl PartialEq for TaskRef {
    fn eq(&self, other: &TaskRef) -> bool {
        self.address() == other.address()
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {})", self.0.name(), self.0.entry().stage())
    }
}

/// How far a task has come.
///
/// ```text
///   Waits ──wake──► Queued ──its step begins──► Waits
///     └──cancel──┬────┘                           └──its future ends──► Finished, Panicked
///                ▼
///              ToBeDropped, and queued ──its step begins──► Cancelled
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It waits to be woken, or is polled at this moment.
    Waits,
    /// It is in the ready queue.
    Queued,
    /// It is in the ready queue, to be dropped instead of being polled.
    ToBeDropped,
    Finished,
    Cancelled,
    Panicked,
}

impl Stage {
    pub(super) fn is_queued(self) -> bool {
        matches!(self, Stage::Queued | Stage::ToBeDropped)
    }

    pub(super) fn has_ended(self) -> bool {
        matches!(self, Stage::Finished | Stage::Cancelled | Stage::Panicked)
    }
}

/// In asyncio's words, but for `panicked`, which a task there can't be.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Waits | Stage::Queued | Stage::ToBeDropped => "pending",
            Stage::Finished => "finished",
            Stage::Cancelled => "cancelled",
            Stage::Panicked => "panicked",
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
    fn entry(&self) -> &Entry;
    fn name(&self) -> String;
    /// Polls the future once: ready, if the task ended.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Says whether the future is polled at this moment.
    fn is_polled(&self) -> bool;
    /// Drops the future instead of polling it: the task ended as cancelled.
    fn cancel_now(&self);
    /// The task ended and left the table: wakes whoever awaits it.
    fn finish(&self);
}

/// What a [`Task<T>`] sees of a task, whatever its future is.
pub(super) trait Join<T>: AnyTask {
    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>>;
    fn take_outcome(&self) -> Option<Result<T, JoinError>>;
    fn has_outcome(&self, is_so: fn(&Result<T, JoinError>) -> bool) -> bool;
    fn detach(&self);
    fn as_any_task(self: Rc<Self>) -> Rc<dyn AnyTask>;
}

/// What numbered names begin with: `Task-N`. A type, so that it takes no memory.
pub(crate) trait Stem: 'static {
    fn stem() -> &'static str;
}

/// Those of most tasks.
pub(crate) struct Plain;

impl Stem for Plain {
    fn stem() -> &'static str {
        "Task"
    }
}

/// What any task has, whatever its future is.
pub(super) struct Entry {
    id: TaskId,
    /// Its own, once somebody cloned the one it was polled with. Not here while it is lent.
    waker: Cell<Option<Waker>>,
    stage: Cell<Stage>,
    detached: Cell<bool>,
    /// That it was cancelled was told to who awaited it.
    is_given: Cell<bool>,
    waits: Waits,
    /// Who awaits it.
    waiter: WaiterCell,
    /// What few tasks have.
    rest: Cell<Option<Box<Rest>>>,
    executor: Weak<Executor>,
}

/// What a task waits for, as it was noted in its last step, and since when.
pub(super) struct Waits {
    pub(super) noted: Notes,
    /// The turn of its last step, by the loop's clock, in nanoseconds.
    pub(super) since: Cell<u64>,
}

/// What few tasks have.
#[derive(Default)]
struct Rest {
    /// A name that was given, in the place of a numbered one.
    name: Option<String>,
    /// Who is told of the end.
    told: Option<Told>,
    /// What it panicked with, until somebody is told.
    panic: Option<PanicPayload>,
}

impl Entry {
    pub(super) fn new(id: TaskId, since: u64, executor: Weak<Executor>) -> Entry {
        Entry {
            id,
            waker: Cell::new(None),
            stage: Cell::new(Stage::Waits),
            detached: Cell::new(false),
            is_given: Cell::new(false),
            waits: Waits {
                noted: Notes::blank(),
                since: Cell::new(since),
            },
            waiter: WaiterCell::default(),
            rest: Cell::new(None),
            executor,
        }
    }

    /// Names the task to the table; `None` if its loop was closed when it was made.
    pub(super) fn id(&self) -> Option<TaskId> {
        self.id.is_somewhere().then_some(self.id)
    }

    pub(super) fn number(&self) -> u64 {
        u64::from(self.id.number())
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    #[inline]
    pub(super) fn take_waker(&self) -> Option<Waker> {
        self.waker.take()
    }

    #[inline]
    pub(super) fn keep_waker(&self, waker: Waker) {
        self.waker.set(Some(waker));
    }

    #[inline]
    pub(super) fn task_id(&self) -> TaskId {
        self.id
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// False if it is queued already, or has ended.
    #[inline]
    pub(super) fn mark_queued(&self) -> bool {
        let waits = self.stage.get() == Stage::Waits;
        if waits {
            self.stage.set(Stage::Queued);
        }
        waits
    }

    /// Its step begins: says what the stage was before.
    #[inline]
    pub(super) fn begin_step(&self) -> Stage {
        let stage = self.stage.get();
        if stage == Stage::Queued {
            // Before the poll: a wake during it must queue the task again.
            self.stage.set(Stage::Waits);
        }
        stage
    }

    fn awaited_by(&self) -> Option<TaskAddress> {
        let listens = self.look_at_rest(|rest| rest.told.as_ref()?.listener.sleeper());
        listens.or_else(|| self.waiter.sleeper())
    }

    /// The name that it was given, if it was.
    fn given_name(&self) -> Option<String> {
        self.look_at_rest(|rest| rest.name.clone())
    }

    fn set_name(&self, name: String) {
        self.change_rest(|rest| rest.name = Some(name));
    }

    fn tell_end(&self, told: Told) {
        self.tell_nobody();
        self.change_rest(|rest| rest.told = Some(told));
    }

    fn keep_panic(&self, panic: PanicPayload) {
        self.change_rest(|rest| rest.panic = Some(panic));
    }

    fn take_panic(&self) -> Option<PanicPayload> {
        self.look_at_rest(|rest| rest.panic.take())
    }

    /// Reports the panic of `task`, whose entry this is, unless somebody has taken it.
    #[cold]
    fn report_orphan(&self, task: &dyn AnyTask) {
        if let (Some(panic), Some(executor)) = (self.take_panic(), self.executor.upgrade()) {
            executor.report_orphan(&task.name(), panic);
        }
    }

    fn tell_nobody(&self) {
        self.waiter.clear();
        drop(self.take_told());
    }

    /// R3: out of the cell, so that no borrow is alive while it is used or dropped.
    fn take_told(&self) -> Option<Told> {
        self.look_at_rest(|rest| rest.told.take())
    }

    /// Looks at what few tasks have, or takes some of it out, if there is any. What looks
    /// must call nobody who may look, too.
    fn look_at_rest<R>(&self, look: impl FnOnce(&mut Rest) -> Option<R>) -> Option<R> {
        let mut rest = self.rest.take()?;
        let seen = look(&mut rest);
        self.rest.set(Some(rest));
        seen
    }

    /// Changes what few tasks have, of which this task is one then.
    fn change_rest(&self, change: impl FnOnce(&mut Rest)) {
        let mut rest = self.rest.take().unwrap_or_default();
        change(&mut rest);
        self.rest.set(Some(rest));
    }
}

/// A task: its future while it runs, its value afterwards.
pub(super) struct TaskCell<F: Future, N> {
    entry: Entry,
    /// `None` also while it is polled or dropped.
    future: Cell<Option<Pin<Box<F>>>>,
    /// `None` also when it was taken.
    value: Cell<Option<F::Output>>,
    stem: PhantomData<N>,
}

impl<F: Future, N: Stem> TaskCell<F, N> {
    pub(super) fn new(future: F, entry: Entry) -> TaskCell<F, N> {
        TaskCell {
            entry,
            future: Cell::new(Some(Box::pin(future))),
            value: Cell::new(None),
            stem: PhantomData,
        }
    }

    /// Drops the future, and keeps the outcome; a panic in the drop is the outcome then.
    fn end(&self, future: Pin<Box<F>>, outcome: Result<F::Output, JoinError>) {
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        let outcome = match dropped {
            Ok(()) => outcome,
            Err(panic) => Err(JoinError::Panicked(PanicPayload::new(panic))),
        };
        self.entry.stage.set(match &outcome {
            Ok(_) => Stage::Finished,
            Err(JoinError::Cancelled) => Stage::Cancelled,
            Err(JoinError::Panicked(_)) => Stage::Panicked,
        });
        self.keep_outcome(outcome);
    }

    fn keep_outcome(&self, outcome: Result<F::Output, JoinError>) {
        self.entry.is_given.set(false);
        match outcome {
            Ok(value) => self.value.set(Some(value)),
            Err(JoinError::Cancelled) => {}
            Err(JoinError::Panicked(panic)) => self.entry.keep_panic(panic),
        }
    }

    /// Reports a panic that nobody will be told by awaiting the task.
    fn report_if_orphaned(&self) {
        if self.entry.stage() == Stage::Panicked {
            self.entry.report_orphan(self);
        }
    }
}

impl<F: Future, N: Stem> AnyTask for TaskCell<F, N> {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn name(&self) -> String {
        let given = self.entry.given_name();
        given.unwrap_or_else(|| format!("{}-{}", N::stem(), self.entry.number()))
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // R3: out of the cell, so that no borrow is alive while it is used or dropped.
        let Some(mut future) = self.future.take() else {
            return Poll::Ready(()); // while it was polled, by a loop that closed
        };
        // R10: a panic ends this task and nothing else.
        let outcome = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                self.future.set(Some(future));
                return Poll::Pending;
            }
            Ok(Poll::Ready(value)) => Ok(value),
            Err(panic) => Err(JoinError::Panicked(PanicPayload::new(panic))),
        };
        self.end(future, outcome);
        Poll::Ready(())
    }

    fn is_polled(&self) -> bool {
        let future = self.future.take();
        let is_polled = future.is_none() && !self.entry.stage().has_ended();
        self.future.set(future);
        is_polled
    }

    fn cancel_now(&self) {
        if let Some(future) = self.future.take() {
            self.end(future, Err(JoinError::Cancelled));
        }
    }

    fn finish(&self) {
        if self.entry.detached.get() {
            self.report_if_orphaned();
            drop(self.value.take()); // the output, which nobody will take
        }
        self.entry.waiter.wake();
        if let Some(told) = self.entry.take_told() {
            told.listener.task_ended(told.number);
        }
    }
}

impl<F: Future + 'static, N: Stem> Join<F::Output> for TaskCell<F, N> {
    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Result<F::Output, JoinError>> {
        if !self.entry.stage().has_ended() {
            self.entry.waiter.register(cx.waker());
            return Poll::Pending;
        }
        match self.take_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => panic!("a task was awaited again after it had given its outcome"),
        }
    }

    fn take_outcome(&self) -> Option<Result<F::Output, JoinError>> {
        match self.entry.stage() {
            Stage::Finished => self.value.take().map(Ok),
            Stage::Cancelled if !self.entry.is_given.replace(true) => {
                Some(Err(JoinError::Cancelled))
            }
            Stage::Panicked => {
                (self.entry.take_panic()).map(|panic| Err(JoinError::Panicked(panic)))
            }
            _ => None,
        }
    }

    fn has_outcome(&self, is_so: fn(&Result<F::Output, JoinError>) -> bool) -> bool {
        let Some(outcome) = self.take_outcome() else {
            return false;
        };
        let is_so = is_so(&outcome);
        self.keep_outcome(outcome);
        is_so
    }

    fn detach(&self) {
        self.entry.detached.set(true);
        self.entry.tell_nobody();
        self.report_if_orphaned();
        // The output, if there is one, goes with the handle.
        drop(self.value.take());
    }

    fn as_any_task(self: Rc<Self>) -> Rc<dyn AnyTask> {
        self
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use std::future::Pending;

    use super::*;

    #[test]
    fn what_a_task_takes_fits_into_128_bytes_of_the_allocator() {
        // 16 are the counts of the `Rc`, 8 the allocator's own.
        assert!(size_of::<TaskCell<Pending<()>, Plain>>() + 16 + 8 <= 128);
    }
}
