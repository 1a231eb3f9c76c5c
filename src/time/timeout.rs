//! Giving up in time.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;

use crate::error::TimedOut;
use crate::event_loop::running_loop;
use crate::executor::has_budget;

use super::sleep::Sleep;

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
