//! Giving up in time.
//!
//! ```text
//!   poll ──► the future: ready? ──yes──► its result (D25)
//!               └──no──► the deadline, where it is now: passed? ──yes──► TimedOut
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::error::TimedOut;
use crate::event_loop::running_loop;
use crate::step::has_budget;
use crate::waiters::WaiterCell;

use super::alarm::Alarm;

/// Awaits `future` for `delay` at the most.
///
/// The future is polled before the clock is looked at: a result that is ready at the
/// deadline wins (D25). With a delay of zero it is polled exactly once; but where this
/// step has completed so much that it is due to suspend (D4), once more, a turn later.
///
/// A limit that moves is [`Timeout`]; one that each read of a stream has anew is
/// [`StreamReader::set_read_timeout`](crate::StreamReader::set_read_timeout).
///
/// # Errors
/// [`TimedOut`], when the delay is over; the future was dropped then. A `Task` that is
/// dropped goes on: [`shield`](crate::shield) keeps it at hand.
///
/// # Cancel safety
/// As cancel safe as `future` is: all reads of this library are.
///
/// # Panics
/// With `no running event loop` when polled outside of a task.
///
/// # asyncio
/// `asyncio.timeout` and `asyncio.wait_for`, which may discard a result that is ready.
///
/// # Examples
/// ```
/// use std::future::pending;
/// use std::io;
/// use std::time::Duration;
/// use millstream::{run, timeout};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let never = timeout(Duration::from_millis(1), pending::<()>()).await;
///     assert!(never.is_err());
///     let at_once = timeout(Duration::ZERO, async { 42 }).await;
///     assert_eq!(at_once, Ok(42));
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub async fn timeout<F: IntoFuture>(delay: Duration, future: F) -> Result<F::Output, TimedOut> {
    let deadline = running_loop().deadline(delay);
    timeout_at(deadline, future).await
}

/// Awaits `future` until the time `deadline` of the loop's clock at the most.
///
/// # Errors
/// [`TimedOut`], when the deadline has passed; the future was dropped then.
///
/// # Cancel safety
/// As cancel safe as `future` is.
///
/// # Panics
/// With `no running event loop` when polled outside of a task.
///
/// # asyncio
/// `asyncio.timeout_at`.
pub async fn timeout_at<F: IntoFuture>(
    deadline: Duration,
    future: F,
) -> Result<F::Output, TimedOut> {
    until(|| Some(deadline), future.into_future()).await
}

/// Does what [`timeout`] does, with asyncio's name and order of arguments.
///
/// asyncio has both since they differed once: this made a task of what it awaited, and
/// `timeout` was a block within the task. Here both are the same future.
///
/// # Errors
/// [`TimedOut`], when the delay is over; the future was dropped then.
///
/// # Cancel safety
/// As cancel safe as `future` is.
///
/// # Panics
/// With `no running event loop` when polled outside of a task.
///
/// # asyncio
/// `asyncio.wait_for`; no time limit at all is plain `.await`.
pub async fn wait_for<F: IntoFuture>(future: F, delay: Duration) -> Result<F::Output, TimedOut> {
    timeout(delay, future).await
}

/// A time limit that can be moved while it runs, and asked whether it passed.
///
/// Moving it later costs nothing. It may be moved by what it limits, which borrows it, or
/// by another task, which shares it by `Rc`.
///
/// # asyncio
/// `asyncio.Timeout`, the object that `asyncio.timeout()` gives: [`scope`](Self::scope) is
/// its `async with`. It may be moved before and after that, too.
///
/// # Examples
///
/// A transfer that may take as long as it likes, but must not stand still, and at the end
/// has two seconds for its last words:
/// ```
/// use std::io;
/// use std::time::Duration;
/// use millstream::{Clock, EventLoop, Runner, Timeout, get_running_loop, sleep};
///
/// # fn main() -> io::Result<()> {
/// # let runner = Runner::on(EventLoop::with_clock(Clock::simulated())?);
/// # runner.run(async {
/// let idle = Duration::from_secs(10);
/// let limit = Timeout::after(idle);
/// let transfer = limit.scope(async {
///     for _part in 0..100 {
///         sleep(Duration::from_secs(9)).await; // it comes slowly, but it comes
///         limit.reschedule_after(idle);
///     }
///     limit.reschedule_after(Duration::from_secs(2));
///     sleep(Duration::from_secs(9)).await; // no last words
/// });
/// assert!(transfer.await.is_err());
/// assert!(limit.expired());
/// assert_eq!(get_running_loop()?.time(), Duration::from_secs(902));
/// # io::Result::Ok(())
/// # })
/// # }
/// ```
pub struct Timeout {
    when: Cell<Option<Duration>>,
    state: Cell<State>,
    waiter: WaiterCell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing runs under it, or what does is being polled: it looks at the limit afterwards.
    Awake,
    /// What runs under it waits, and is woken if the limit comes nearer.
    Asleep,
    /// It passed before what ran under it had ended.
    Expired,
}

impl Timeout {
    /// Makes a limit that passes `delay` from now.
    ///
    /// # Panics
    /// With `no running event loop` outside of callbacks and tasks.
    ///
    /// # asyncio
    /// `asyncio.timeout(delay)`.
    #[must_use]
    #[track_caller]
    pub fn after(delay: Duration) -> Timeout {
        Timeout::new(Some(running_loop().deadline(delay)))
    }

    /// Makes a limit that passes at the time `when` of the loop's clock.
    ///
    /// # asyncio
    /// `asyncio.timeout_at(when)`.
    #[must_use]
    pub fn at(when: Duration) -> Timeout {
        Timeout::new(Some(when))
    }

    /// Makes a limit that never passes, unless it is moved.
    ///
    /// # asyncio
    /// `asyncio.timeout(None)`.
    #[must_use]
    pub fn never() -> Timeout {
        Timeout::new(None)
    }

    fn new(when: Option<Duration>) -> Timeout {
        Timeout {
            when: Cell::new(when),
            state: Cell::new(State::Awake),
            waiter: WaiterCell::default(),
        }
    }

    /// Awaits `future` until the limit passes.
    ///
    /// One future at a time: the limit remembers one task to wake.
    ///
    /// # Errors
    /// [`TimedOut`], when it passed; the future was dropped then.
    ///
    /// # Cancel safety
    /// As cancel safe as `future` is.
    ///
    /// # Panics
    /// With `no running event loop` when polled outside of a task.
    ///
    /// # asyncio
    /// `async with` the timeout.
    pub async fn scope<F: IntoFuture>(&self, future: F) -> Result<F::Output, TimedOut> {
        let _ends = Scope(self);
        let mut limited = pin!(until(|| self.when(), future.into_future()));
        self.state.set(State::Awake);
        let ended = poll_fn(|cx| {
            self.state.set(State::Awake);
            let polled = limited.as_mut().poll(cx);
            if polled.is_pending() {
                self.waiter.register(cx.waker());
                self.state.set(State::Asleep);
            }
            polled
        })
        .await;
        if ended.is_err() {
            self.state.set(State::Expired);
        }
        ended
    }

    /// Returns the time at which it passes; `None` is never.
    ///
    /// # asyncio
    /// `Timeout.when`.
    #[must_use]
    pub fn when(&self) -> Option<Duration> {
        self.when.get()
    }

    /// Moves it to the time `when` of the loop's clock; `None` is never.
    ///
    /// # asyncio
    /// `Timeout.reschedule`, which fails once it has passed.
    pub fn reschedule(&self, when: Option<Duration>) {
        let earlier = self.when.replace(when);
        let is_nearer = match (earlier, when) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(earlier), Some(when)) => when < earlier,
        };
        // Whoever waits is woken by the timer that it has, and looks again then.
        if is_nearer && self.state.get() == State::Asleep {
            self.waiter.wake();
        }
    }

    /// Moves it to `delay` from now.
    ///
    /// # Panics
    /// With `no running event loop` outside of callbacks and tasks.
    ///
    /// # asyncio
    /// `reschedule(loop.time() + delay)`.
    #[track_caller]
    pub fn reschedule_after(&self, delay: Duration) {
        self.reschedule(Some(running_loop().deadline(delay)));
    }

    /// Says whether it passed before what ran under it had ended.
    ///
    /// # asyncio
    /// `Timeout.expired`.
    #[must_use]
    pub fn expired(&self) -> bool {
        self.state.get() == State::Expired
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("when", &self.when())
            .field("expired", &self.expired())
            .finish_non_exhaustive()
    }
}

/// What runs under a limit, for as long as this lives.
struct Scope<'a>(&'a Timeout);

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.0.waiter.clear();
        if self.0.state.get() == State::Asleep {
            self.0.state.set(State::Awake);
        }
    }
}

/// Awaits `future` until a deadline passes, which is asked for after each of its polls.
async fn until<F: Future>(
    deadline: impl Fn() -> Option<Duration>,
    future: F,
) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    let mut alarm = Alarm::default();
    let mut asked_again = false;
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        ready!(alarm.poll(deadline(), cx));
        // D4, D25: it may be ready, and only have no budget to say so. Once is enough: a
        // future that spends a fresh budget in each step has had its time.
        if !asked_again && !has_budget() {
            asked_again = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Err(TimedOut))
    })
    .await
}
