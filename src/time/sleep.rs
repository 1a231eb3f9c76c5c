//! Sleeping.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::event_loop::{SleepTimer, running_loop};
use crate::step::step_again;

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

    /// Returns the deadline, which is known from the first poll on.
    fn deadline(&mut self, now: Duration) -> Duration {
        match self.until {
            Until::Deadline(deadline) => deadline,
            Until::Delay(delay) => {
                let deadline = now.saturating_add(delay);
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
        let now = handle.time();
        let deadline = self.deadline(now);
        if now >= deadline {
            self.timer = None;
            if std::mem::replace(&mut self.yielded, true) {
                return Poll::Ready(());
            }
            if immediate {
                step_again(cx.waker());
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
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sleep({:?})", self.until)
    }
}
