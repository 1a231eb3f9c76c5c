//! Sleeping, and giving up in time.
//!
//! Layer 4a. Above: streams, your code. Below: the loop's timers.
//!
//! ```text
//!   sleep(d)      ──► a timer that wakes the task
//!   timeout(d, f) ──► polls f, then looks at the clock: a result that is there wins (D25)
//! ```
//!
//! asyncio: `asyncio.sleep`, `asyncio.timeout`, `asyncio.wait_for`.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::TimedOut;
use crate::event_loop::{LoopHandle, SleepTimer, running_loop};
use crate::executor::has_budget;

/// Waits until `delay` is over, never less. Zero suspends for exactly one turn.
///
/// The time runs from the first poll.
///
/// # Cancel safety
/// Cancel safe: dropping it cancels its timer.
///
/// # Panics
/// With `no running event loop` when polled outside of a task.
///
/// # asyncio
/// `asyncio.sleep`.
///
/// # Examples
/// ```
/// use std::io;
/// use std::time::Duration;
/// use millstream::{run, sleep};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     sleep(Duration::from_millis(1)).await;
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub fn sleep(delay: Duration) -> Sleep {
    Sleep {
        until: Until::Delay(delay),
        timer: None,
        yielded: false,
    }
}

/// The future of [`sleep`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    until: Until,
    timer: Option<SleepTimer>,
    /// A sleep that is over before it began suspends for a turn all the same.
    yielded: bool,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// Not polled yet: the time runs from the first poll.
    Delay(Duration),
    Deadline(Duration),
}

impl Sleep {
    /// Has it end `delay` from now instead, also if it had ended already.
    ///
    /// # Panics
    /// With `no running event loop` outside of callbacks and tasks.
    #[track_caller]
    pub fn reset(&mut self, delay: Duration) {
        self.until = Until::Deadline(running_loop().deadline(delay));
        self.timer = None;
        self.yielded = false;
    }

    /// A sleep until a moment on the loop's clock.
    fn until(deadline: Duration) -> Sleep {
        Sleep {
            until: Until::Deadline(deadline),
            timer: None,
            yielded: true,
        }
    }

    fn deadline(&mut self, handle: &LoopHandle) -> Duration {
        match self.until {
            Until::Deadline(deadline) => deadline,
            Until::Delay(delay) => {
                let deadline = handle.deadline(delay);
                self.until = Until::Deadline(deadline);
                deadline
            }
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let handle = running_loop();
        let immediate = matches!(self.until, Until::Delay(Duration::ZERO));
        let deadline = self.deadline(&handle);
        if handle.time() >= deadline {
            self.timer = None;
            if std::mem::replace(&mut self.yielded, true) {
                return Poll::Ready(());
            }
            if immediate {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        match &self.timer {
            Some(timer) => timer.renew_waker(cx.waker()),
            None => {
                self.yielded = true; // it will have waited
                self.timer = Some(handle.wake_at(deadline, cx.waker()));
            }
        }
        Poll::Pending
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sleep({:?})", self.until)
    }
}

/// Awaits `future` for `delay` at the most.
///
/// The future is polled before the clock is looked at: a result that is ready at the
/// deadline wins (D25). With a delay of zero it is polled exactly once; but where this
/// step has completed so much that it is due to suspend (D4), once more, a turn later.
///
/// # Errors
/// [`TimedOut`], when the delay is over; the future was dropped then.
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
    let mut future = pin!(future.into_future());
    let mut expired = pin!(Sleep::until(deadline));
    let mut asked_again = false;
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        ready!(expired.as_mut().poll(cx));
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
