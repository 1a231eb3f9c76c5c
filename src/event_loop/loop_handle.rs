//! The loop and its handle: what a program asks of the loop on its own thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::buffer::BufferPool;
use crate::clock::Clock;
use crate::error::{JoinError, LoopError};
use crate::executor::{Executor, Handle, HandleCell, Inbox, Ready, Run, Task, TaskRef};
use crate::reactor::Reactor;

use super::exceptions::ExceptionHandler;
use super::remote::RemoteHandle;
use super::resolver::Resolver;
use super::running::{Running, get_running_loop};
#[cfg(feature = "signals")]
use super::signals::{Signals, Slot};
use super::statistics::Tally;
use super::threads::Threads;
use super::timers::{SleepTimer, TimerHandle, Timers};
use super::turn::SincePoll;
use super::watchers::Watchers;

/// An event loop, closed when it is dropped.
///
/// Everything one can ask of it is on [`LoopHandle`], to which it dereferences. Most
/// programs never make one: [`run`](crate::run) does.
///
/// # asyncio
/// What `asyncio.new_event_loop()` returns.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::EventLoop;
///
/// # fn main() -> io::Result<()> {
/// let event_loop = EventLoop::new()?;
/// let answer = event_loop.run_until_complete(async { 42 })?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventLoop {
    handle: LoopHandle,
}

impl EventLoop {
    /// Makes a loop on the system's monotonic clock.
    ///
    /// # Errors
    /// If the system has no descriptor left for its poller.
    pub fn new() -> io::Result<EventLoop> {
        EventLoop::with_clock(Clock::monotonic())
    }

    /// Makes a loop on the given clock.
    ///
    /// On a [simulated](Clock::simulated) one, time jumps to the next timer whenever
    /// there is nothing else to do.
    ///
    /// # Errors
    /// If the system has no descriptor left for its poller.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::{Clock, EventLoop, sleep};
    ///
    /// # fn main() -> io::Result<()> {
    /// let event_loop = EventLoop::with_clock(Clock::simulated())?;
    /// event_loop.run_until_complete(sleep(Duration::from_secs(3600)))?;
    /// assert_eq!(event_loop.time(), Duration::from_secs(3600));
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_clock(clock: Clock) -> io::Result<EventLoop> {
        let handle = LoopHandle::new(LoopCore::new(clock)?);
        Ok(EventLoop { handle })
    }

    /// Returns a handle, which may be cloned and kept.
    #[must_use]
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }
}

impl Deref for EventLoop {
    type Target = LoopHandle;

    fn deref(&self) -> &LoopHandle {
        &self.handle
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        // A running loop is borrowed by whoever runs it, so it can't be dropped; but a
        // clone of the handle may run it. Then whoever drops it comes too early, and the
        // last handle frees the memory.
        if let Err(error) = self.handle.close() {
            log::error!("an event loop was dropped while it ran: {error}");
        }
    }
}

/// Makes a loop, as [`EventLoop::new`] does.
///
/// # Errors
/// If the system has no descriptor left for its poller.
///
/// # asyncio
/// `asyncio.new_event_loop`.
pub fn new_event_loop() -> io::Result<EventLoop> {
    EventLoop::new()
}

/// A reference to a loop, for the loop's own thread; cloning it is cheap.
///
/// # asyncio
/// The loop object, whose methods have the same names.
#[derive(Clone)]
pub struct LoopHandle {
    core: Rc<LoopCore>,
}

/// What all handles of a loop share.
pub(crate) struct LoopCore {
    pub(crate) executor: Rc<Executor>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) clock: Clock,
    pub(super) timers: Rc<Timers>,
    pub(super) inbox: Arc<Inbox>,
    phase: Cell<Phase>,
    /// `stop` was called: the turn that runs is the last.
    pub(super) stopping: Cell<bool>,
    pub(super) since_poll: SincePoll,
    /// How long the loop spins before it sleeps; zero is not at all.
    pub(super) spin_duration: Cell<Duration>,
    pub(super) tally: Tally,
    pub(super) exception_handler: RefCell<Option<ExceptionHandler>>,
    pub(super) debug: Cell<bool>,
    pub(super) slow_callback_duration: Cell<Duration>,
    pub(super) watchers: RefCell<Watchers>,
    #[cfg(feature = "signals")]
    pub(super) signals: RefCell<Signals>,
    pub(super) threads: Threads,
    /// Whom names go to; the system's resolver if nobody was set.
    pub(super) resolver: RefCell<Option<Rc<dyn Resolver>>>,
    pub(crate) pool: Rc<BufferPool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    Closed,
}

/// How long a step may take before debug mode names it.
const SLOW_CALLBACK: Duration = Duration::from_millis(100);

impl LoopHandle {
    pub(super) fn new(core: Rc<LoopCore>) -> LoopHandle {
        LoopHandle { core }
    }

    pub(crate) fn core(&self) -> &Rc<LoopCore> {
        &self.core
    }

    // ── callbacks and timers ────────────────────────────────────────────────────

    /// Has `callback` run in the next turn, after what was queued before.
    ///
    /// # Errors
    /// [`LoopError::Closed`].
    ///
    /// # asyncio
    /// `loop.call_soon`. A panic of the callback goes to the exception handler.
    pub fn call_soon(&self, callback: impl FnOnce() + 'static) -> Result<Handle, LoopError> {
        self.ensure_open()?;
        let handle = HandleCell::new(callback);
        self.core.executor.push(Ready::Call(handle.clone()));
        Ok(Handle(handle))
    }

    /// Has `callback` run as [`RemoteHandle::call_soon_threadsafe`] does.
    ///
    /// # Errors
    /// [`LoopError::Closed`].
    ///
    /// # asyncio
    /// `loop.call_soon_threadsafe`. Other threads call it on [`remote`](Self::remote).
    pub fn call_soon_threadsafe(
        &self,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<(), LoopError> {
        self.remote().call_soon_threadsafe(callback)
    }

    /// Has `callback` run once `delay` is over, never before.
    ///
    /// A delay of zero goes through the timers all the same: it runs in the next turn,
    /// after the callbacks that `call_soon` queued.
    ///
    /// # Errors
    /// [`LoopError::Closed`].
    ///
    /// # asyncio
    /// `loop.call_later`; a delay can't be negative here.
    pub fn call_later(
        &self,
        delay: Duration,
        callback: impl FnOnce() + 'static,
    ) -> Result<TimerHandle, LoopError> {
        self.call_at(self.deadline(delay), callback)
    }

    /// Has `callback` run at the time `when` of the loop's clock, at once if that is over.
    ///
    /// Timers for the same time run in the order they were set in (D1).
    ///
    /// # Errors
    /// [`LoopError::Closed`].
    ///
    /// # asyncio
    /// `loop.call_at`.
    pub fn call_at(
        &self,
        when: Duration,
        callback: impl FnOnce() + 'static,
    ) -> Result<TimerHandle, LoopError> {
        self.ensure_open()?;
        Ok(self.core.timers.call_at(when, callback))
    }

    /// Returns the time on the loop's clock, read anew: since the loop was made.
    ///
    /// # asyncio
    /// `loop.time`, in seconds since an arbitrary moment.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.core.clock.now()
    }

    /// Returns when a delay that begins now is over; a very long one never is.
    pub(crate) fn deadline(&self, delay: Duration) -> Duration {
        self.time().saturating_add(delay)
    }

    /// Has a waker woken at `when`, unless what is returned is dropped first.
    pub(crate) fn wake_at(&self, when: Duration, waker: &Waker) -> SleepTimer {
        self.core.timers.wake_at(when, waker)
    }

    /// Queues a callback that nobody can cancel; a closed loop drops it.
    pub(crate) fn soon(&self, callback: impl FnOnce() + 'static) {
        self.core.executor.queue_event(Box::new(callback));
    }

    // ── tasks ───────────────────────────────────────────────────────────────────

    /// Runs a future as a task; its first step comes in the next turn.
    ///
    /// On a closed loop the future is dropped, and the task answers
    /// [`Cancelled`](JoinError::Cancelled).
    ///
    /// # asyncio
    /// `loop.create_task`.
    pub fn create_task<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.core.executor.spawn(future)
    }

    /// Runs a future as a task whose first step is taken here and now; see
    /// [`spawn_eager`](crate::spawn_eager).
    ///
    /// If this is not the loop that runs on this thread now, it is `create_task`.
    ///
    /// # asyncio
    /// `Task(coro, loop=loop, eager_start=True)`.
    pub fn spawn_eager<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let runs_now =
            get_running_loop().is_ok_and(|running| Rc::ptr_eq(&running.core, &self.core));
        if runs_now {
            self.core.executor.spawn_eager(future)
        } else {
            self.create_task(future)
        }
    }

    /// Returns the tasks that have not ended, the oldest first.
    ///
    /// # asyncio
    /// `asyncio.all_tasks(loop)`.
    #[must_use]
    pub fn all_tasks(&self) -> Vec<TaskRef> {
        self.core.executor.all_tasks()
    }

    /// Returns the task whose step runs, if one does.
    ///
    /// # asyncio
    /// `asyncio.current_task(loop)`.
    #[must_use]
    pub fn current_task(&self) -> Option<TaskRef> {
        self.core.executor.current_task()
    }

    // ── running ─────────────────────────────────────────────────────────────────

    /// Runs until [`stop`](LoopHandle::stop) was called.
    ///
    /// The turn in which that is seen is finished; what it queues stays queued for the
    /// next run. `stop` called before gives exactly one turn, which does not sleep.
    ///
    /// # Errors
    /// [`LoopError::AlreadyRunning`], [`LoopError::AnotherIsRunning`],
    /// [`LoopError::Closed`]; what the poller fails with.
    ///
    /// # asyncio
    /// `loop.run_forever`.
    pub fn run_forever(&self) -> io::Result<()> {
        self.ensure_runnable()?;
        self.run_while(|| true)
    }

    /// Runs turn after turn while `going_on` and one more, or until it is stopped.
    fn run_while(&self, going_on: impl Fn() -> bool) -> io::Result<()> {
        let _running = self.core.enter(self);
        let mut run = self.core.executor.begin_run();
        let outcome = self.run_turns(&mut run, going_on);
        self.core.executor.end_run(run);
        outcome
    }

    fn run_turns(&self, run: &mut Run, going_on: impl Fn() -> bool) -> io::Result<()> {
        while going_on() {
            self.core.run_once(run, None)?;
            if self.core.stopping.get() {
                return Ok(());
            }
        }
        // Completion is told through the ready queue, so what the last step queued (the
        // end of a connection that it closed, say) was there first, and runs.
        self.core.run_once(run, Some(Duration::ZERO))
    }

    /// Runs a future as a task until it is complete, and returns what it returns.
    ///
    /// What its last step queues still runs, in one more turn, which does not sleep.
    ///
    /// # Errors
    /// [`LoopError::StoppedEarly`] if the loop was stopped first: the task goes on in the
    /// next run. Those of [`run_forever`](LoopHandle::run_forever).
    ///
    /// # Panics
    /// With the panic of the future, if it panics.
    ///
    /// # asyncio
    /// `loop.run_until_complete`.
    pub fn run_until_complete<F>(&self, future: F) -> io::Result<F::Output>
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        let main = self.create_main(future)?;
        self.run_until_done(main)
    }

    /// Makes the task that a run is for.
    pub(super) fn create_main<F>(&self, future: F) -> io::Result<Task<F::Output>>
    where
        F: IntoFuture,
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        self.ensure_runnable()?;
        // Builders such as `open_connection` ask for the running loop.
        let _running = Running::enter(self);
        Ok(self.create_task(future.into_future()))
    }

    /// Runs until a task is done, and returns what it returns.
    pub(super) fn run_until_done<T: 'static>(&self, main: Task<T>) -> io::Result<T> {
        self.ensure_runnable()?;
        self.run_while(|| !main.done())?;
        if !main.done() {
            return Err(LoopError::StoppedEarly.into());
        }
        match pin!(main).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(value)) => Ok(value),
            Poll::Ready(Err(JoinError::Panicked(panic))) => resume_unwind(panic.into_inner()),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => unreachable!("a task that is done has an outcome"),
        }
    }

    /// Ends [`run_forever`](LoopHandle::run_forever) after the turn that runs.
    ///
    /// # asyncio
    /// `loop.stop`.
    pub fn stop(&self) {
        self.core.stopping.set(true);
    }

    /// Runs one turn, for a loop embedded in another, and says how long the loop may
    /// sleep now: zero if work is left, `None` if only I/O or another thread can wake it.
    ///
    /// The turn itself sleeps for `max_wait` at most; `None` may sleep without end. The
    /// embedding loop watches [`poller_fd`](LoopHandle::poller_fd) while it sleeps. It
    /// may be called inside a step of another loop, whose place it takes for the time.
    ///
    /// # Errors
    /// [`LoopError::AlreadyRunning`] inside a step of this very loop;
    /// [`LoopError::Closed`]; what the poller fails with.
    ///
    /// # asyncio
    /// No counterpart.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::EventLoop;
    ///
    /// # fn main() -> io::Result<()> {
    /// let inner = EventLoop::new()?;
    /// inner.call_soon(|| println!("in the first turn"))?;
    /// inner.call_later(Duration::from_secs(1), || println!("much later"))?;
    ///
    /// let may_sleep = inner.turn(Some(Duration::ZERO))?;
    /// assert!(may_sleep.is_some_and(|d| d <= Duration::from_secs(1)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn(&self, max_wait: Option<Duration>) -> io::Result<Option<Duration>> {
        self.ensure_startable()?;
        let _running = self.core.enter(self);
        let mut run = self.core.executor.begin_run();
        let turned = self.core.run_once(&mut run, max_wait);
        self.core.executor.end_run(run);
        turned?;
        // Somebody else's loop sleeps for us now: ring from now on, then look for mail.
        self.core.inbox.sleeps();
        self.core.stopping.set(false);
        Ok(self.core.may_sleep())
    }

    /// Returns a descriptor that becomes readable when the loop has something to do, for
    /// another loop to watch.
    ///
    /// It is a second descriptor of the poller (`epoll` or `kqueue`), and the caller's to
    /// close. Timers do not make it readable: sleep no longer than
    /// [`turn`](LoopHandle::turn) says.
    ///
    /// # Errors
    /// `Unsupported` on the `poll(2)` back end, which has none; [`LoopError::Closed`].
    ///
    /// # asyncio
    /// No counterpart.
    pub fn poller_fd(&self) -> io::Result<OwnedFd> {
        self.ensure_open()?;
        self.core.reactor.poller_fd()
    }

    /// Says whether the loop runs.
    ///
    /// # asyncio
    /// `loop.is_running`.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.core.phase.get() == Phase::Running
    }

    /// Says whether the loop was closed.
    ///
    /// # asyncio
    /// `loop.is_closed`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// Closes the loop: futures, callbacks and sockets are dropped, and its descriptors
    /// closed. No protocol is called any more. The exception handler is dropped last.
    /// Closing again does nothing.
    ///
    /// # Errors
    /// [`LoopError::CloseWhileRunning`].
    ///
    /// # asyncio
    /// `loop.close`.
    pub fn close(&self) -> Result<(), LoopError> {
        match self.core.phase.get() {
            Phase::Running => Err(LoopError::CloseWhileRunning),
            Phase::Closed => Ok(()),
            Phase::Idle => {
                self.core.close(self);
                Ok(())
            }
        }
    }

    /// Returns what other threads may hold of this loop.
    #[must_use]
    pub fn remote(&self) -> RemoteHandle {
        RemoteHandle::new(self.core.inbox.clone())
    }

    // ── a look inside ───────────────────────────────────────────────────────────

    /// Turns debug mode on or off; the environment variable `MILLSTREAM_DEBUG=1` turns
    /// it on for every loop.
    ///
    /// Debug mode names steps that take as long as
    /// [`slow_callback_duration`](LoopHandle::slow_callback_duration), and logs what
    /// otherwise passes silently.
    ///
    /// # asyncio
    /// `loop.set_debug`.
    pub fn set_debug(&self, on: bool) {
        self.core.debug.set(on);
    }

    /// Says whether debug mode is on.
    ///
    /// # asyncio
    /// `loop.get_debug`.
    #[must_use]
    pub fn get_debug(&self) -> bool {
        self.core.debug.get()
    }

    /// Returns how long a step may take before debug mode names it: 100 milliseconds
    /// unless set.
    ///
    /// # asyncio
    /// The attribute `loop.slow_callback_duration`.
    #[must_use]
    pub fn slow_callback_duration(&self) -> Duration {
        self.core.slow_callback_duration.get()
    }

    /// Sets how long a step may take before debug mode names it.
    pub fn set_slow_callback_duration(&self, duration: Duration) {
        self.core.slow_callback_duration.set(duration);
    }

    /// Returns how many sources (sockets, listeners, watched descriptors), tasks and
    /// timers the loop holds now; cancelled timers that were not swept yet count.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            sources: self.core.reactor.len(),
            tasks: self.core.executor.task_count(),
            timers: self.core.timers.len(),
        }
    }

    fn ensure_open(&self) -> Result<(), LoopError> {
        if self.core.is_closed() {
            return Err(LoopError::Closed);
        }
        Ok(())
    }

    /// Unlike a turn, a run does not nest.
    fn ensure_runnable(&self) -> Result<(), LoopError> {
        self.ensure_startable()?;
        if get_running_loop().is_ok() {
            return Err(LoopError::AnotherIsRunning);
        }
        Ok(())
    }

    fn ensure_startable(&self) -> Result<(), LoopError> {
        match self.core.phase.get() {
            Phase::Idle => Ok(()),
            Phase::Running => Err(LoopError::AlreadyRunning),
            Phase::Closed => Err(LoopError::Closed),
        }
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("phase", &self.core.phase.get())
            .field("debug", &self.core.debug.get())
            .finish_non_exhaustive()
    }
}

/// What a loop holds at one moment: see [`LoopHandle::census`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Sockets, listeners and watched descriptors.
    pub sources: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Timers, with those that were cancelled and not swept yet.
    pub timers: usize,
}

impl LoopCore {
    fn new(clock: Clock) -> io::Result<Rc<LoopCore>> {
        let reactor = Rc::new(Reactor::new()?);
        let inbox = Arc::new(Inbox::new(reactor.notifier()?));
        Ok(Rc::new_cyclic(|weak: &Weak<LoopCore>| {
            let weak = weak.clone();
            let report = Box::new(move |context| LoopCore::report(weak.upgrade(), &context));
            LoopCore {
                executor: Executor::new(reactor.clone(), inbox.clone(), report),
                reactor,
                clock,
                timers: Rc::default(),
                inbox,
                phase: Cell::new(Phase::Idle),
                stopping: Cell::new(false),
                since_poll: SincePoll::default(),
                spin_duration: Cell::default(),
                tally: Tally::default(),
                exception_handler: RefCell::default(),
                debug: Cell::new(debug_is_asked_for()),
                slow_callback_duration: Cell::new(SLOW_CALLBACK),
                watchers: RefCell::default(),
                #[cfg(feature = "signals")]
                signals: RefCell::default(),
                threads: Threads::default(),
                resolver: RefCell::default(),
                pool: Rc::default(),
            }
        }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase.get() == Phase::Closed
    }

    fn enter(self: &Rc<Self>, handle: &LoopHandle) -> RunGuard {
        self.phase.set(Phase::Running);
        self.inbox.wakes();
        self.since_poll.stood_still();
        RunGuard {
            core: self.clone(),
            _running: Running::enter(handle),
        }
    }

    #[cfg(feature = "signals")]
    fn next_signal_slot(&self) -> Option<Rc<Slot>> {
        self.signals.borrow_mut().take_any()
    }

    /// Drops everything, in an order in which nothing can come back.
    fn close(&self, handle: &LoopHandle) {
        // A drop may ask for the running loop; it gets this one, which refuses.
        let _running = Running::enter(handle);
        self.phase.set(Phase::Closed);
        let unread = self.inbox.close();
        let contained = |f: &mut dyn FnMut()| self.executor.contain_at_close(f);
        for message in unread {
            let mut message = Some(message);
            contained(&mut || drop(message.take()));
        }
        self.executor.close();
        while let Some(timer) = self.timers.take_any() {
            contained(&mut || {
                timer.cancel();
            });
        }
        self.watchers.take().clear();
        #[cfg(feature = "signals")]
        while let Some(slot) = self.next_signal_slot() {
            contained(&mut || slot.retire());
        }
        while let Some(source) = self.reactor.take_any() {
            contained(&mut || source.clone().hollow());
        }
        self.executor.end_step();
        self.shut_threads_down();
        self.pool.drop_receive_buffer();
        self.reactor.close();
        let mut resolver = self.resolver.take();
        contained(&mut || drop(resolver.take()));
        // Last, since all of the above may report. It may hold a handle of this loop.
        let mut handler = self.exception_handler.take();
        contained(&mut || drop(handler.take()));
    }
}

/// Ends a run of the loop, however it ends.
struct RunGuard {
    core: Rc<LoopCore>,
    _running: Running,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.core.phase.set(Phase::Idle);
        self.core.stopping.set(false);
        self.core.inbox.sleeps();
    }
}

fn debug_is_asked_for() -> bool {
    std::env::var_os("MILLSTREAM_DEBUG").is_some_and(|value| !value.is_empty() && value != "0")
}
