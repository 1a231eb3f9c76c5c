//! The executor: the ready queue, and the tasks whose steps wait in it.
//!
//! Layer 2. Above: the event loop, which says when. Below: the reactor.
//!
//! ```text
//!   call_soon ─► Handle ──────────────┐
//!   due timer ─► Handle ──────────────┤
//!   the poll ──► source is ready ─────┤        run_step: one at a time, then
//!   Sleeper ───► task is ready ───────┼─► ready queue ──► what acts at the end of a step
//!   Waker ─────► task table ──────────┤        │
//!     ▲  (this thread: no lock)       │        ▼
//!   another thread ──► Inbox ─────────┘      task ──poll──► your future
//! ```
//!
//! Always true:
//! * there is one queue, first in, first out, and one place that runs what is in it;
//! * a task is queued at most once, and never polled again after it ended;
//! * no borrow of queue or table is alive while a future is polled or dropped (R3);
//! * a panic ends the task or the callback it happened in, and nothing else (R10).
//!
//! asyncio: `BaseEventLoop._ready`, `Handle`, `Task`. asyncio's word "executor" means
//! a pool of threads; that is `event_loop::threads` here.

mod handle; //     a callback that can be cancelled
mod ready; //      what waits in the queue, and what a turn took out of it
mod task; //       a future that is polled, and the handle to await it by
mod task_table; // every task that has not ended
mod waker; //      what a future keeps to be polled again
mod inbox; //      what other threads send
mod step_end; //   who acts when a step is over

pub use handle::Handle;
pub(crate) use handle::{Callback, HandleCell};
pub(crate) use inbox::{Inbox, Message};
pub(crate) use ready::{Ready, Run};
pub(crate) use step_end::AtStepEnd;
pub(crate) use task::AtTaskEnd;
pub use task::{Task, TaskRef};
pub(crate) use task_table::TaskId;
#[cfg(feature = "call-graph")]
pub(crate) use task_table::{Inspected, Stands};

use std::cell::{Cell, RefCell};
use std::iter;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use crate::error::{ExceptionContext, PanicPayload};
use crate::reactor::{Direction, Reactor, SourceId};
use crate::step::{Budget, Step};

use step_end::StepEnd;
use task::{Stage, Stem, TaskCell, Work, plain};
use task_table::TaskTable;
use waker::{Spare, Wakers};

/// The ready queue, the task table, and what happens at the end of a step.
pub(crate) struct Executor {
    ready: RefCell<Vec<Ready>>,
    /// An empty queue, for the next run of turns.
    spare_queue: Cell<Vec<Ready>>,
    tasks: RefCell<TaskTable>,
    step_end: StepEnd,
    wakers: Wakers,
    inbox: Arc<Inbox>,
    reactor: Rc<Reactor>,
    /// The task whose step runs now.
    current: Cell<Option<TaskId>>,
    /// When the turn that runs began, by the loop's clock, in nanoseconds.
    turn_began: Cell<u64>,
    /// How many steps of tasks there were.
    task_steps: Cell<u64>,
    /// A step runs now: what it writes leaves when it ends (D28).
    in_step: Cell<bool>,
    /// Nothing is queued and no task is taken any more.
    closed: Cell<bool>,
    /// What a task is reported as that panics while nobody awaits it.
    orphan_message: Cell<&'static str>,
    report: Box<dyn Fn(ExceptionContext)>,
}

/// What a step of a task came to.
enum Polled {
    Waits,
    /// It yielded: its next step is due.
    Again,
    Ended,
}

/// What is reported of a panic that nobody awaits.
const ORPHAN: &str = "Task exception was never retrieved";

impl Executor {
    /// Makes an executor that hands what nobody awaits to `report`.
    pub(crate) fn new(
        reactor: Rc<Reactor>,
        inbox: Arc<Inbox>,
        report: Box<dyn Fn(ExceptionContext)>,
    ) -> Rc<Executor> {
        Rc::new(Executor {
            ready: RefCell::default(),
            spare_queue: Cell::default(),
            tasks: RefCell::default(),
            step_end: StepEnd::default(),
            wakers: Wakers::new(inbox.clone()),
            inbox,
            reactor,
            current: Cell::new(None),
            turn_began: Cell::new(0),
            task_steps: Cell::new(0),
            in_step: Cell::new(false),
            closed: Cell::new(false),
            orphan_message: Cell::new(ORPHAN),
            report,
        })
    }

    // ── the ready queue ─────────────────────────────────────────────────────────

    /// Queues an entry behind all others. A closed executor drops it.
    #[inline(always)]
    pub(crate) fn push(&self, ready: Ready) {
        if self.closed.get() {
            refuse(ready);
            return;
        }
        self.ready.borrow_mut().push(ready);
    }

    /// The same for a task's next step: nearly each entry is one. It becomes an entry only where
    /// it lies then; an entry that is moved is put together from words, for which the
    /// processor waits.
    #[inline(always)]
    pub(crate) fn push_task(&self, task: TaskRef) {
        if self.closed.get() {
            refuse(Ready::Task(task));
            return;
        }
        let entry = iter::once(task).map(Ready::Task);
        self.ready.borrow_mut().extend(entry);
    }

    /// Queues a callback that nobody can cancel. Not inlined, as `push` is for what each message
    /// queues.
    #[inline(never)]
    pub(crate) fn queue_event(&self, event: Box<dyn Callback>) {
        self.push(Ready::Event(event));
    }

    /// Returns how many entries are queued.
    #[inline]
    pub(crate) fn ready_len(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Begins a run of turns.
    pub(crate) fn begin_run(&self) -> Run {
        Run {
            queued: self.spare_queue.take(),
            spare: self.wakers.take(),
        }
    }

    /// Ends a run of turns; its memory serves the next.
    pub(crate) fn end_run(&self, run: Run) {
        self.spare_queue.set(run.queued);
        self.wakers.give_back(run.spare);
    }

    /// Takes out all that is queued now, for a turn to run, and returns how many entries that
    /// is. What is queued meanwhile is for the next turn.
    #[inline]
    pub(crate) fn take_queued(&self, run: &mut Run) -> usize {
        debug_assert!(run.queued.is_empty());
        mem::swap(&mut *self.ready.borrow_mut(), &mut run.queued);
        run.queued.reverse();
        run.queued.len()
    }

    /// Runs what the turn took out.
    #[inline(always)]
    pub(crate) fn run_queued(&self, run: &mut Run) {
        let queued = iter::from_fn(|| run.queued.pop());
        let step = |task| self.step_task(task, &mut run.spare, Budget::Fresh);
        self.run_steps(queued, step);
    }

    /// Runs one entry of those that the turn took out.
    pub(crate) fn run_one(&self, run: &mut Run) {
        let one = run.queued.pop();
        self.run_steps(one, |task| self.step_apart(task, Budget::Fresh));
    }

    /// Runs each entry, and after each what acts at the end of a step. The one place that
    /// calls callbacks and polls tasks.
    #[inline(always)]
    fn run_steps(
        &self,
        steps: impl IntoIterator<Item = Ready>,
        mut step_task: impl FnMut(TaskRef),
    ) {
        let outer = self.in_step.replace(true);
        for ready in steps {
            match ready {
                Ready::Task(task) => step_task(task),
                Ready::Source(id, direction) => self.call_source(id, direction),
                Ready::Call(handle) => self.call_handle(&handle),
                Ready::Event(event) => self.call_event(event),
            }
            self.end_step();
        }
        self.in_step.set(outer);
    }

    /// Says whether a step runs, so that its end will come.
    #[inline]
    pub(crate) fn is_in_step(&self) -> bool {
        self.in_step.get()
    }

    /// Has `acting` called when the running step ends. Called once for each time.
    #[inline]
    pub(crate) fn at_step_end(&self, acting: Rc<dyn AtStepEnd>) {
        self.step_end.add(acting);
    }

    /// Calls what asked for the end of the step, and what that asks for again.
    #[inline]
    pub(crate) fn end_step(&self) {
        while let Some(acting) = self.step_end.next() {
            self.contain("Exception at the end of a step", None, || {
                acting.at_step_end()
            });
        }
    }

    fn call_source(&self, id: SourceId, direction: Direction) {
        let Some(source) = self.reactor.begin_dispatch(id, direction) else {
            return;
        };
        // Before the call, in which a callback may replace itself.
        let name = source.callback_name(direction);
        let message = match name {
            Some(_) => "Exception in callback",
            None => "Exception in a source of events",
        };
        self.contain(message, name, || match direction {
            Direction::Read => source.read_ready(),
            Direction::Write => source.write_ready(),
        });
    }

    fn call_event(&self, event: Box<dyn Callback>) {
        let name = event.name();
        self.contain("Exception in callback", Some(name), || event.call());
    }

    fn call_handle(&self, handle: &HandleCell) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| handle.run())) {
            let message = "Exception in callback";
            self.report_panic(message, Some(handle.name()), PanicPayload::new(payload));
        }
    }

    /// R10: calls `f`, and reports its panic instead of passing it on.
    pub(crate) fn contain(
        &self,
        message: &'static str,
        name: Option<&'static str>,
        f: impl FnOnce(),
    ) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
            self.report_panic(message, name, PanicPayload::new(payload));
        }
    }

    /// The same, of what a loop that closes calls or drops. Neither generic nor inlined, so that
    /// it is compiled once.
    #[cold]
    pub(crate) fn contain_at_close(&self, f: &mut dyn FnMut()) {
        self.contain("Exception while the loop was closed", None, f);
    }

    #[cold]
    fn report_panic(&self, message: &'static str, name: Option<&'static str>, panic: PanicPayload) {
        let context = match name {
            Some(name) => ExceptionContext::new(format!("{message} {name}"))
                .handle(format_args!("Handle({name})")),
            None => ExceptionContext::new(message),
        };
        self.report(context.exception(panic));
    }

    /// Hands over what nobody awaits.
    pub(crate) fn report(&self, context: ExceptionContext) {
        (self.report)(context);
    }

    // ── tasks ───────────────────────────────────────────────────────────────────

    /// Takes a future in and queues its first step.
    ///
    /// A closed executor drops the future, and the task is cancelled from the start.
    pub(crate) fn spawn<F>(self: &Rc<Self>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawn_named(future, plain)
    }

    /// The same, for a task that is named after something, with a number.
    pub(crate) fn spawn_named<F>(self: &Rc<Self>, future: F, stem: Stem) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = self.admit(Box::pin(future), stem);
        self.queue(task.clone());
        Task::new(task)
    }

    /// Takes a future in and takes its first step here and now, inside the step that runs.
    ///
    /// A closed executor drops the future, and the task is cancelled from the start.
    pub(crate) fn spawn_eager<F>(self: &Rc<Self>, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = self.admit(Box::pin(future), plain);
        // D4: such a step is part of the one that runs, and spends of its budget.
        self.step_apart(task.clone(), Budget::Inherited);
        Task::new(task)
    }

    /// Takes a step of a task that is not one of many: a copy of the code that steps, for all
    /// but the run of what is queued.
    fn step_apart(&self, task: TaskRef, budget: Budget) {
        let mut spare = self.wakers.take();
        self.step_task(task, &mut spare, budget);
        self.wakers.give_back(spare);
    }

    /// Puts a task into the table. On a closed executor it has no id, and has ended.
    fn admit(self: &Rc<Self>, work: Pin<Box<dyn Work>>, stem: Stem) -> TaskRef {
        let mut tasks = self.tasks.borrow_mut();
        let is_closed = self.closed.get();
        let id = match is_closed {
            true => tasks.next_id_nowhere(),
            false => tasks.next_id(),
        };
        let task = self.cell(tasks.take_ended(), id, work, stem);
        if !is_closed {
            tasks.insert(task.clone(), id);
        }
        drop(tasks);
        if is_closed {
            task.cancel_now();
        }
        TaskRef(task)
    }

    /// Makes the cell of a task, of one that ended if nobody refers to that any more.
    #[inline]
    fn cell(
        self: &Rc<Self>,
        ended: Option<Rc<TaskCell>>,
        id: TaskId,
        work: Pin<Box<dyn Work>>,
        stem: Stem,
    ) -> Rc<TaskCell> {
        let since = self.turn_began.get();
        if let Some(mut ended) = ended {
            if let Some(cell) = Rc::get_mut(&mut ended) {
                cell.renew(id, since, work, stem);
                return ended;
            }
        }
        let executor = Rc::downgrade(self);
        Rc::new(TaskCell::new(id, since, work, stem, executor))
    }

    /// Queues the next step of the task with this id, unless it is queued already or has
    /// ended.
    ///
    /// Returns false if the table could not be looked at, for it is borrowed: then the
    /// wake has to take the inbox.
    #[inline]
    fn wake_task(&self, id: TaskId) -> bool {
        let Ok(tasks) = self.tasks.try_borrow() else {
            return false;
        };
        let task = tasks.mark_queued(id);
        drop(tasks);
        if let Some(task) = task {
            self.push_task(task);
        }
        true
    }

    /// Queues the next step of a task of this executor, unless it is queued already or has
    /// ended.
    #[inline]
    fn queue(&self, task: TaskRef) {
        if task.0.mark_queued() {
            self.push_task(task);
        }
    }

    /// Has a task's future dropped at its next step. Returns false if it has ended.
    pub(crate) fn cancel_task(&self, id: TaskId) -> bool {
        self.task(id).is_some_and(|task| task.cancel())
    }

    /// Cancels all tasks, and returns them, the oldest first.
    pub(crate) fn cancel_all(&self) -> Vec<TaskRef> {
        let mut cancelled = self.all_tasks();
        cancelled.retain(TaskRef::cancel);
        cancelled
    }

    /// Returns how many tasks have not ended.
    pub(crate) fn task_count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Returns all tasks that have not ended, the oldest first.
    pub(crate) fn all_tasks(&self) -> Vec<TaskRef> {
        self.tasks.borrow().all()
    }

    /// Returns the task whose step runs.
    pub(crate) fn current_task(&self) -> Option<TaskRef> {
        self.task(self.current.get()?)
    }

    /// Names the task whose step runs.
    pub(crate) fn current_id(&self) -> Option<TaskId> {
        self.current.get()
    }

    /// Returns a task, unless it has ended.
    pub(crate) fn task(&self, id: TaskId) -> Option<TaskRef> {
        let task = self.tasks.borrow().get(id)?;
        Some(TaskRef(task))
    }

    // ── a look inside ───────────────────────────────────────────────────────────

    /// A turn begins: what waits from now on, waits since then.
    pub(crate) fn turn_began(&self, now: Duration) {
        self.turn_began.set(now.as_nanos() as u64);
    }

    /// Returns how many steps of tasks there were.
    pub(crate) fn task_steps(&self) -> u64 {
        self.task_steps.get()
    }

    /// Returns how each task stands, the oldest first.
    #[cfg(feature = "call-graph")]
    pub(crate) fn inspect(&self) -> Vec<Inspected> {
        self.tasks.borrow().inspect(self.turn_began.get())
    }

    /// Says what a panic is reported as that nobody awaits, from now on.
    pub(crate) fn set_orphan_message(&self, message: &'static str) {
        self.orphan_message.set(message);
    }

    fn report_orphan(&self, task: &str, panic: PanicPayload) {
        let message = self.orphan_message.get();
        self.report(ExceptionContext::new(message).task(task).exception(panic));
    }

    #[inline(always)]
    fn step_task(&self, task: TaskRef, spare: &mut Spare, budget: Budget) {
        let stage = task.0.begin_step();
        if stage.has_ended() {
            return; // while it was queued
        }
        self.task_steps.set(self.task_steps.get() + 1);
        let outer = self.current.replace(Some(task.0.task_id()));
        let polled = if stage == Stage::ToBeDropped {
            task.0.cancel_now();
            Polled::Ended
        } else {
            self.poll_task(&task, spare, budget)
        };
        self.current.set(outer);
        match polled {
            Polled::Waits => {}
            Polled::Again if task.0.mark_queued() => self.push_task(task),
            Polled::Again => {}
            Polled::Ended => self.end_task(&task.0),
        }
    }

    #[inline(always)]
    fn poll_task(&self, task: &TaskRef, spare: &mut Spare, budget: Budget) -> Polled {
        let own = task.0.own_waker();
        let waker = own.unwrap_or_else(|| spare.serve(task.0.task_id()));
        let step = Step::begin(waker, task.clone(), budget);
        let polled = task.0.poll(&mut Context::from_waker(waker));
        let again = step.end(task.0.noted());
        if own.is_none() {
            self.wakers.after_step(spare, &task.0);
        }
        if polled.is_ready() {
            return Polled::Ended;
        }
        task.0.waits_since(self.turn_began.get());
        match again {
            true => Polled::Again,
            false => Polled::Waits,
        }
    }

    /// Out of the table with a task; then whoever awaits it is told.
    fn end_task(&self, task: &TaskCell) {
        if let Some(id) = task.id() {
            let removed = self.tasks.borrow_mut().remove(id);
            drop(removed);
        }
        self.contain("Exception at the end of a task", None, || task.finish());
    }

    // ── from other threads ──────────────────────────────────────────────────────

    /// Queues what other threads sent, in the order they sent it.
    #[inline]
    pub(crate) fn collect_mail(&self) {
        // Nearly always there is none, and each turn asks twice.
        if self.inbox.has_mail() {
            self.queue_mail();
        }
    }

    fn queue_mail(&self) {
        for message in self.inbox.collect() {
            match message {
                Message::Wake(waker) => {
                    waker.mail_collected();
                    self.wake_task(waker.id());
                }
                Message::Call(callback) => {
                    // What was boxed to be sent is queued as it is.
                    self.queue_event(callback);
                }
            }
        }
    }

    // ── the end ─────────────────────────────────────────────────────────────────

    /// Drops all callbacks and futures, one by one, with no borrow alive, and takes no
    /// others from now on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        for ready in self.ready.take() {
            let mut ready = Some(ready);
            self.contain_at_close(&mut || drop(ready.take()));
        }
        loop {
            let Some(task) = self.tasks.borrow_mut().take_any() else {
                break;
            };
            task.cancel_now();
            self.contain_at_close(&mut || task.finish());
        }
        self.end_step();
    }
}

/// Drops what a closed executor is given: out of the way of [`Executor::push`].
#[cold]
fn refuse(ready: Ready) {
    drop(ready);
}

thread_local! {
    /// The executor whose loop runs on this thread: how a waker finds out whether it
    /// needs the inbox.
    ///
    /// [`Local`] takes it out again, so the thread has nothing to drop at its end; and what has
    /// nothing to drop is found more quickly.
    static LOCAL: RefCell<Option<ManuallyDrop<Rc<Executor>>>> = const { RefCell::new(None) };
}

/// Makes an executor this thread's own for as long as the guard lives.
pub(crate) struct Local {
    outer: Option<ManuallyDrop<Rc<Executor>>>,
}

impl Local {
    pub(crate) fn enter(executor: &Rc<Executor>) -> Local {
        let inner = ManuallyDrop::new(executor.clone());
        let outer = LOCAL.with(|local| local.replace(Some(inner)));
        Local { outer }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let inner = LOCAL.with(|local| local.replace(self.outer.take()));
        drop(inner.map(ManuallyDrop::into_inner));
    }
}

/// Wakes a task of this thread's executor, if that is the one with this inbox.
///
/// False if it is another's, or if a borrow is in the way.
fn wake_locally(inbox: &Arc<Inbox>, id: TaskId) -> bool {
    LOCAL.with(|local| {
        let Ok(local) = local.try_borrow() else {
            return false;
        };
        match &*local {
            Some(executor) if Arc::ptr_eq(&executor.inbox, inbox) => executor.wake_task(id),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests;
