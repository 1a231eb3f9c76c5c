//! The threads: where what blocks goes, name resolution above all.
//!
//! ```text
//!   run_in_executor(f) ──job──► queue ──► thread millstream-N: f()
//!        ▲                                       │
//!        └── the loop's inbox ◄──── the result ──┘
//! ```
//!
//! Always true: threads start when there is work for one more, up to a bound, and end
//! when the loop is closed. Closing does not wait for them.
//!
//! Without the feature `threads`, `no_threads.rs` is in its place, which refuses all work.
//!
//! asyncio: `loop.run_in_executor` with the default `ThreadPoolExecutor`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::error::{ExceptionContext, LoopError, PanicPayload};
use crate::executor::{Inbox, Message};
use crate::waits::{WaitsOn, What, note};

use super::LoopHandle;
use super::loop_handle::LoopCore;
use super::run::Runner;
use super::running::{get_running_loop, running_loop};
use super::timers::SleepTimer;

/// Threads that a pool starts, at most; fewer on small machines: the number of
/// processors and four more.
const MAX_THREADS: usize = 32;

/// How long `run` waits for threads that are still at work: five minutes, as asyncio.
const THREAD_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Runs `work` on another thread of the running loop's, and gives what it returns.
///
/// # Errors
/// [`LoopError::ExecutorShutDown`] once `shutdown_default_executor` was called; what
/// starting a thread fails with.
///
/// # Cancel safety
/// Dropping the future does not stop `work`; its result is dropped.
///
/// # Panics
/// With the panic of `work`, where the future is awaited. With `no running event loop` when
/// polled outside of a task.
///
/// # asyncio
/// `asyncio.to_thread`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{run, to_thread};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let text = to_thread(|| std::fs::read_to_string("Cargo.toml")).await??;
///     assert!(text.contains("millstream"));
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub async fn to_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    running_loop().run_in_executor(work).await
}

impl LoopHandle {
    /// Runs `work` on another thread, and gives what it returns.
    ///
    /// # Errors
    /// [`LoopError::ExecutorShutDown`] once `shutdown_default_executor` was called,
    /// [`LoopError::Closed`] once the loop is closed; what starting a thread fails with.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop `work`; its result is dropped.
    ///
    /// # Panics
    /// With the panic of `work`, where the future is awaited.
    ///
    /// # asyncio
    /// `loop.run_in_executor(None, f)`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use millstream::{get_running_loop, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let handle = get_running_loop()?;
    ///     let sum = handle.run_in_executor(|| (1..=100).sum::<u32>()).await?;
    ///     assert_eq!(sum, 5050);
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub async fn run_in_executor<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let pool = self.core().thread_pool()?;
        let result = Arc::new(JobResult::new());
        let slot = result.clone();
        pool.submit(Box::new(move || {
            slot.complete(catch_unwind(AssertUnwindSafe(work)));
        }))?;
        match JobFuture(result).await {
            Ok(value) => Ok(value),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Takes no more work for threads, and waits until what was taken is done, for
    /// `patience` at the most: `None` is without end.
    ///
    /// What is not done by then goes on without anybody to wait for it; that is logged as
    /// a warning.
    ///
    /// # Cancel safety
    /// Dropped, it leaves the threads to end by themselves.
    ///
    /// # asyncio
    /// `loop.shutdown_default_executor(timeout)`.
    pub async fn shutdown_default_executor(&self, patience: Option<Duration>) {
        let threads = &self.core().threads;
        threads.shut_down.set(true);
        let Some(pool) = threads.pool.borrow().clone() else {
            return;
        };
        let limit = patience.map(|patience| (patience, self.deadline(patience)));
        let mut timer: Option<SleepTimer> = None;
        pool.shared.shut_down_when_done();
        poll_fn(|cx| {
            if pool.shared.poll_ended(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some((patience, deadline)) = limit else {
                return Poll::Pending;
            };
            if self.time() >= deadline {
                log::warn!("the executor's threads were not done within {patience:?}");
                return Poll::Ready(());
            }
            match &timer {
                Some(timer) => timer.renew_waker(cx.waker()),
                None => timer = Some(self.wake_at(deadline, cx.waker())),
            }
            Poll::Pending
        })
        .await;
    }
}

impl Runner {
    /// Waits until the threads of its loop have ended.
    pub(super) fn end_threads(&self) -> io::Result<()> {
        let handle = self.get_loop();
        let ended = self.get_loop().create_task(async move {
            handle
                .shutdown_default_executor(Some(THREAD_JOIN_TIMEOUT))
                .await;
        });
        self.turn_while(|| !ended.done())
    }
}

impl LoopCore {
    fn thread_pool(&self) -> Result<Rc<ThreadPool>, LoopError> {
        if self.is_closed() {
            return Err(LoopError::Closed);
        }
        if self.threads.shut_down.get() {
            return Err(LoopError::ExecutorShutDown);
        }
        let mut pool = self.threads.pool.borrow_mut();
        let pool = pool.get_or_insert_with(|| Rc::new(ThreadPool::new(self.inbox.clone())));
        Ok(pool.clone())
    }

    /// Takes no more jobs and has idle threads end; does not wait for busy ones.
    pub(super) fn shut_threads_down(&self) {
        self.threads.shut_down.set(true);
        let pool = self.threads.pool.borrow_mut().take();
        let unstarted = pool.map(|pool| pool.shared.shut_down());
        for job in unstarted.into_iter().flatten() {
            self.executor
                .contain("Exception while the loop was closed", None, || drop(job));
        }
    }

    /// Says whether a job runs or waits: then simulated time must not jump.
    pub(super) fn threads_are_busy(&self) -> bool {
        let pool = self.threads.pool.borrow();
        pool.as_ref().is_some_and(|pool| pool.shared.is_busy())
    }
}

/// What a loop keeps of its threads.
#[derive(Default)]
pub(super) struct Threads {
    /// `None` until there is work.
    pool: RefCell<Option<Rc<ThreadPool>>>,
    /// They take no more work.
    shut_down: Cell<bool>,
}

type Job = Box<dyn FnOnce() + Send>;
type JobOutcome<T> = Result<T, Box<dyn Any + Send>>;

/// Threads that take jobs from one queue.
struct ThreadPool {
    shared: Arc<Shared>,
    /// Threads that it starts, at most.
    size: usize,
}

struct Shared {
    state: Mutex<PoolState>,
    work_or_end: Condvar,
    /// Where a failure is reported that nobody awaits.
    inbox: Arc<Inbox>,
}

#[derive(Default)]
struct PoolState {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    shut_down: bool,
    /// Who waits for the last thread to end.
    awaited_by: Option<Waker>,
}

impl ThreadPool {
    fn new(inbox: Arc<Inbox>) -> ThreadPool {
        let shared = Shared {
            state: Mutex::default(),
            work_or_end: Condvar::new(),
            inbox,
        };
        ThreadPool {
            shared: Arc::new(shared),
            size: pool_size(),
        }
    }

    fn submit(&self, job: Job) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.idle <= state.jobs.len() && state.threads < self.size {
            self.start_thread(&mut state)?;
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.work_or_end.notify_one();
        Ok(())
    }

    fn start_thread(&self, state: &mut PoolState) -> io::Result<()> {
        let shared = self.shared.clone();
        let started = thread::Builder::new()
            .name(format!("millstream-{}", state.threads))
            .spawn(move || shared.work());
        match started {
            Ok(_) => state.threads += 1,
            // The threads that are there will come to it.
            Err(error) if state.threads > 0 => log::warn!("no other thread: {error}"),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Shared {
    /// What a thread does: one job after the other, until the end.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                self.do_job(job);
                state = self.lock();
            } else if state.shut_down {
                state.threads -= 1;
                let last = state.threads == 0;
                let waker = state.awaited_by.take_if(|_| last);
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
                return;
            } else {
                state.idle += 1;
                state = self
                    .work_or_end
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// R10: the work's own panic is caught in the job, for whoever awaits it. What is left
    /// is the drop of a result that nobody awaits any more.
    fn do_job(&self, job: Job) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(job)) else {
            return;
        };
        let context = ExceptionContext::new("Exception in a job that nobody awaits")
            .exception(PanicPayload::new(panic));
        let unheard = context.clone();
        let reports = move || {
            if let Ok(handle) = get_running_loop() {
                handle.call_exception_handler(&context);
            }
        };
        if self.inbox.send(Message::Call(Box::new(reports))).is_err() {
            LoopCore::report(None, &unheard); // the loop is closed
        }
    }

    /// Has the threads end when no job is left.
    fn shut_down_when_done(&self) {
        self.lock().shut_down = true;
        self.work_or_end.notify_all();
    }

    /// Has the threads end when the job they are at is done; no other is begun.
    #[must_use = "dropping a job may run a user's code: contain it"]
    fn shut_down(&self) -> VecDeque<Job> {
        let unstarted = std::mem::take(&mut self.lock().jobs);
        self.shut_down_when_done();
        unstarted
    }

    /// Waits until the last thread has ended.
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.threads == 0 {
            return Poll::Ready(());
        }
        let stale = state.awaited_by.replace(cx.waker().clone());
        drop(state);
        drop(stale);
        note(WaitsOn::that(What::Thread));
        Poll::Pending
    }

    fn is_busy(&self) -> bool {
        let state = self.lock();
        !state.jobs.is_empty() || state.idle < state.threads
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Jobs run without the lock, so a poisoned one holds whole data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pool_size() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (processors + 4).min(MAX_THREADS)
}

/// Where a job leaves its result.
struct JobResult<T>(Mutex<JobState<T>>);

struct JobState<T> {
    outcome: Option<JobOutcome<T>>,
    waker: Option<Waker>,
}

impl<T> JobResult<T> {
    fn new() -> JobResult<T> {
        JobResult(Mutex::new(JobState {
            outcome: None,
            waker: None,
        }))
    }

    fn complete(&self, outcome: JobOutcome<T>) {
        let mut state = self.lock();
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, JobState<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a job.
struct JobFuture<T>(Arc<JobResult<T>>);

impl<T> Future for JobFuture<T> {
    type Output = JobOutcome<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<JobOutcome<T>> {
        let mut state = self.0.lock();
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                let stale = state.waker.replace(cx.waker().clone());
                drop(state);
                drop(stale);
                note(WaitsOn::that(What::Thread));
                Poll::Pending
            }
        }
    }
}
