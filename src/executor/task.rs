//! The task: a future that the executor polls, and the handle to await it by.
//!
//! ```text
//!   create_task ──► TaskCell ──┬─► TaskRef ──► task table, ready queue  (polls and cancels)
//!                              └─► Task<T> ──► whoever made it          (awaits the outcome)
//!                       ended ──► the waker of who awaits it; or AtTaskEnd, for one who
//!                                 holds many and wants to know which
//!
//!   TaskCell: id, waker, name, who awaits it
//!             Work ──► in a box: the future while it runs, then what it returned; neither
//!                      while it is polled or dropped
//! ```
//!
//! The cell of each task is of one type, so that a step finds all it needs at a place that is
//! known, and is called through its vtable once, for the poll. Only [`Task<T>`] knows what the
//! task returns. A panic is rare, so it lies with what few tasks have.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
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
    task: TaskRef,
    returns: PhantomData<fn() -> T>,
}

impl<T> Task<T> {
    /// A handle to a task whose future returns `T`.
    pub(super) fn new(task: TaskRef) -> Task<T> {
        Task {
            task,
            returns: PhantomData,
        }
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
        self.task.cancel()
    }

    /// Says whether the task ended, in whatever way.
    ///
    /// # asyncio
    /// `Task.done`.
    #[must_use]
    pub fn done(&self) -> bool {
        self.task.done()
    }

    /// Says whether the task was cancelled.
    ///
    /// # asyncio
    /// `Task.cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.task.cancelled()
    }

    /// Returns the task's name: `Task-N`, counted per loop, unless one was set. The tasks of
    /// a server's handlers are named after the handler: `chat::serve-N`.
    ///
    /// # asyncio
    /// `Task.get_name`.
    #[must_use]
    pub fn get_name(&self) -> String {
        self.task.get_name()
    }

    /// Names the task to the table; `None` if its loop was closed when it was made.
    pub(crate) fn id(&self) -> Option<TaskId> {
        self.task.0.id()
    }

    /// Gives the task another name.
    ///
    /// # asyncio
    /// `Task.set_name`.
    pub fn set_name(&self, name: impl Into<String>) {
        self.task.set_name(name);
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
        self.task.clone()
    }

    /// Has `listener` told once when the task ends, with this number; at once if it ended.
    ///
    /// In the place of whoever was told before, and of whoever awaits it.
    pub(crate) fn tell_end(&self, listener: Rc<dyn AtTaskEnd>, number: usize) {
        if self.done() {
            listener.task_ended(number);
        } else {
            self.task.0.tell_end(Told { listener, number });
        }
    }

    /// Tells nobody any more, and wakes nobody.
    pub(crate) fn tell_nobody(&self) {
        self.task.0.tell_nobody();
    }
}

impl<T: 'static> Task<T> {
    /// Takes the outcome of a task that ended and gave it to nobody yet.
    pub(crate) fn take_outcome(&self) -> Option<Result<T, JoinError>> {
        self.task.0.take_outcome()
    }

    /// Looks at the outcome of a task that ended. What looks must call nobody (R3).
    pub(crate) fn has_outcome(&self, is_so: fn(&Result<T, JoinError>) -> bool) -> bool {
        let Some(outcome) = self.take_outcome() else {
            return false;
        };
        let is_so = is_so(&outcome);
        self.task.0.keep_outcome(outcome.map(Returned::boxed));
        is_so
    }
}

/// Panics if it is polled again after it gave the outcome, as any future may.
impl<T: 'static> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let task = &self.task.0;
        if !task.stage().has_ended() {
            task.waiter.register(cx.waker());
            return Poll::Pending;
        }
        match task.take_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => panic!("a task was awaited again after it had given its outcome"),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.task.0.detach();
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)
    }
}

/// A task without its result: what [`current_task`](crate::current_task) and
/// [`all_tasks`](crate::all_tasks) return.
///
/// # asyncio
/// The `Task` objects that the functions of the same names return.
#[derive(Clone)]
pub struct TaskRef(pub(super) Rc<TaskCell>);

impl TaskRef {
    /// Does what [`Task::cancel`] does.
    pub fn cancel(&self) -> bool {
        if self.done() {
            return false;
        }
        self.clone().wake();
        self.0.stage.set(Stage::ToBeDropped);
        true
    }

    /// Queues its next step, unless it is queued already or has ended.
    #[inline]
    pub(crate) fn wake(self) {
        if self.0.mark_queued() {
            if let Some(executor) = self.0.executor.upgrade() {
                executor.push_task(self);
            }
        }
    }

    /// Says where it lies.
    pub(crate) fn address(&self) -> TaskAddress {
        TaskAddress(Rc::as_ptr(&self.0).addr())
    }

    /// Says whether the task ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.0.stage().has_ended()
    }

    /// Says whether the task was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.stage() == Stage::Cancelled
    }

    /// Returns the task's number, counted per loop: the one in `Task-N`.
    pub(crate) fn number(&self) -> u64 {
        self.0.number()
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
        self.address() == other.address()
    }
}

impl Eq for TaskRef {}

impl fmt::Debug for TaskRef {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {})", self.0.name(), self.0.stage())
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

/// A task's future, and later what it returned, whatever these are.
pub(super) trait Work {
    /// Polls the future once: ready, with what it returned.
    fn step(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pin<Box<dyn Work>>>;

    /// Gives what the future returned, a [`Returned`]; a future gives nothing.
    fn value(self: Pin<Box<Self>>) -> Option<Box<dyn Any>>;
}

impl<F> Work for F
where
    F: Future,
    F::Output: 'static,
{
    fn step(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pin<Box<dyn Work>>> {
        self.poll(cx).map(Returned::boxed)
    }

    fn value(self: Pin<Box<Self>>) -> Option<Box<dyn Any>> {
        None
    }
}

/// What a future returned. If that takes no memory, its box doesn't, either.
struct Returned<T>(T);

/// It is in the place of a pinned future, but nothing points into it.
impl<T> Unpin for Returned<T> {}

impl<T: 'static> Returned<T> {
    fn boxed(value: T) -> Pin<Box<dyn Work>> {
        Box::pin(Returned(value))
    }
}

impl<T: 'static> Work for Returned<T> {
    fn step(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Pin<Box<dyn Work>>> {
        unreachable!("a task that has ended is not polled")
    }

    fn value(self: Pin<Box<Self>>) -> Option<Box<dyn Any>> {
        let returned = Pin::into_inner(self);
        Some(returned)
    }
}

/// What numbered names begin with: `Task-N`, say.
pub(super) type Stem = fn() -> &'static str;

/// That of most tasks.
pub(super) fn plain() -> &'static str {
    "Task"
}

/// A task, whatever its future is and whatever that returns.
///
/// In this order, so that what it takes to wake a task lies together, and behind that what a step
/// needs: of many that are woken at once, each line of the cache that one touches is one to be
/// waited for.
#[repr(C)]
pub(super) struct TaskCell {
    stage: Cell<Stage>,
    claim: Cell<Claim>,
    noted: Notes,
    executor: Weak<Executor>,
    /// The future; when it has ended, what it returned, until that is taken.
    ///
    /// `None` also while it is polled or dropped.
    work: Cell<Option<Pin<Box<dyn Work>>>>,
    id: TaskId,
    /// Its own, once somebody cloned the one it was polled with.
    waker: OnceCell<Waker>,
    /// The turn of its last step, by the loop's clock, in nanoseconds.
    since: Cell<u64>,
    /// Who awaits it.
    waiter: WaiterCell,
    /// What few tasks have.
    rest: Cell<Option<Box<Rest>>>,
    stem: Stem,
}

/// Whether somebody may still ask for the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// By the handle.
    Open,
    /// By the handle, whose owner was told already that the task was cancelled.
    Told,
    /// The handle was dropped.
    Dropped,
}

/// What a task came to, as long as nobody has asked for its value.
type Outcome = Result<Pin<Box<dyn Work>>, JoinError>;

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

impl TaskCell {
    /// Makes the cell of one that ended, to which nobody else refers, a new task's.
    pub(super) fn renew(&mut self, id: TaskId, since: u64, work: Pin<Box<dyn Work>>, stem: Stem) {
        let executor = mem::take(&mut self.executor);
        *self = TaskCell::new(id, since, work, stem, executor);
    }

    pub(super) fn new(
        id: TaskId,
        since: u64,
        work: Pin<Box<dyn Work>>,
        stem: Stem,
        executor: Weak<Executor>,
    ) -> TaskCell {
        TaskCell {
            id,
            waker: OnceCell::new(),
            stage: Cell::new(Stage::Waits),
            claim: Cell::new(Claim::Open),
            noted: Notes::blank(),
            since: Cell::new(since),
            waiter: WaiterCell::default(),
            rest: Cell::new(None),
            work: Cell::new(Some(work)),
            stem,
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

    /// What it waits for, as it was noted in its last step.
    pub(super) fn noted(&self) -> &Notes {
        &self.noted
    }

    /// Its step is over, and it did not end.
    #[inline]
    pub(super) fn waits_since(&self, turn_began: u64) {
        self.since.set(turn_began);
    }

    /// When its last step was, by the loop's clock, in nanoseconds.
    pub(super) fn since(&self) -> u64 {
        self.since.get()
    }

    /// Its own waker, if it has one.
    #[inline]
    pub(super) fn own_waker(&self) -> Option<&Waker> {
        self.waker.get()
    }

    /// Has it polled with this waker from now on.
    pub(super) fn keep_waker(&self, waker: Waker) {
        let kept = self.waker.set(waker);
        debug_assert!(kept.is_ok(), "a task with a waker of its own is lent none");
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

    /// The name that it was given, or a numbered one.
    pub(super) fn name(&self) -> String {
        let given = self.look_at_rest(|rest| rest.name.clone());
        given.unwrap_or_else(|| format!("{}-{}", (self.stem)(), self.number()))
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

/// The future, and its outcome.
impl TaskCell {
    /// Polls the future once: ready, if the task ended.
    #[inline]
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // R3: out of the cell, so that no borrow is alive while it is used or dropped.
        let Some(mut future) = self.work.take() else {
            return Poll::Ready(()); // while it was polled, by a loop that closed
        };
        // R10: a panic ends this task and nothing else.
        let outcome = match catch_unwind(AssertUnwindSafe(|| future.as_mut().step(cx))) {
            Ok(Poll::Pending) => {
                self.work.set(Some(future));
                return Poll::Pending;
            }
            Ok(Poll::Ready(returned)) => Ok(returned),
            Err(panic) => Err(JoinError::Panicked(PanicPayload::new(panic))),
        };
        self.end(future, outcome);
        Poll::Ready(())
    }

    /// Says whether the future is polled at this moment.
    pub(super) fn is_polled(&self) -> bool {
        let future = self.work.take();
        let is_polled = future.is_none() && !self.stage().has_ended();
        self.work.set(future);
        is_polled
    }

    /// Drops the future instead of polling it: the task ended as cancelled.
    pub(super) fn cancel_now(&self) {
        if let Some(future) = self.work.take() {
            self.end(future, Err(JoinError::Cancelled));
        }
    }

    /// Drops the future, and keeps the outcome; a panic in the drop is the outcome then.
    fn end(&self, future: Pin<Box<dyn Work>>, outcome: Outcome) {
        match catch_unwind(AssertUnwindSafe(|| drop(future))) {
            Ok(()) => self.keep_outcome(outcome),
            Err(panic) => self.fail(JoinError::Panicked(PanicPayload::new(panic))),
        }
    }

    #[inline]
    fn keep_outcome(&self, outcome: Outcome) {
        match outcome {
            Ok(returned) => {
                self.stage.set(Stage::Finished);
                self.work.set(Some(returned));
            }
            Err(error) => self.fail(error),
        }
    }

    #[cold]
    fn fail(&self, error: JoinError) {
        match error {
            JoinError::Panicked(panic) => {
                self.stage.set(Stage::Panicked);
                self.keep_panic(panic);
            }
            JoinError::Cancelled => {
                self.stage.set(Stage::Cancelled);
                if self.claim.get() == Claim::Told {
                    self.claim.set(Claim::Open);
                }
            }
        }
    }

    /// The task ended and left the table: wakes whoever awaits it.
    #[inline]
    pub(super) fn finish(&self) {
        if self.claim.get() == Claim::Dropped {
            self.report_if_orphaned();
            drop(self.work.take()); // what it returned, which nobody will take
        }
        self.waiter.wake();
        if let Some(told) = self.take_told() {
            told.listener.task_ended(told.number);
        }
    }

    /// Takes the outcome of a task that ended and gave it to nobody yet.
    ///
    /// `T` is what its future returns.
    fn take_outcome<T: 'static>(&self) -> Option<Result<T, JoinError>> {
        match self.stage() {
            Stage::Finished => {
                let value = self.work.take()?.value()?;
                let Returned(value) = *value.downcast().ok()?;
                Some(Ok(value))
            }
            Stage::Cancelled if self.claim.replace(Claim::Told) != Claim::Told => {
                Some(Err(JoinError::Cancelled))
            }
            Stage::Panicked => Some(Err(JoinError::Panicked(self.take_panic()?))),
            _ => None,
        }
    }

    /// Nobody asks for the outcome any more.
    fn detach(&self) {
        self.claim.set(Claim::Dropped);
        if self.stage().has_ended() {
            // Who was to be told, was.
            self.report_if_orphaned();
            drop(self.work.take()); // what it returned
        } else {
            self.tell_nobody();
        }
    }

    /// Reports a panic that nobody will be told by awaiting the task.
    fn report_if_orphaned(&self) {
        if self.stage() == Stage::Panicked {
            self.report_orphan();
        }
    }

    #[cold]
    fn report_orphan(&self) {
        if let (Some(panic), Some(executor)) = (self.take_panic(), self.executor.upgrade()) {
            executor.report_orphan(&self.name(), panic);
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_takes_fits_into_128_bytes_of_the_allocator() {
        // 16 are the counts of the `Rc`, 8 the allocator's own.
        assert!(size_of::<TaskCell>() + 16 + 8 <= 128);
    }
}
