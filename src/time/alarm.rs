//! The alarm: a timer for a deadline that moves.
//!
//! ```text
//!   deadline  |────────►|────────►|            moved later whenever something happens
//!   timer     ├─────────┤ fires: not yet due   set again only then, for where it is now
//! ```
//!
//! So a deadline that is pushed on a thousand times a second costs one timer each time it
//! would have passed, and no more.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::event_loop::{SleepTimer, running_loop};

/// A timer for a deadline that moves. Dropping it cancels the timer.
#[derive(Default)]
pub(crate) struct Alarm {
    armed: Option<Armed>,
}

struct Armed {
    when: Duration,
    timer: SleepTimer,
}

impl Alarm {
    /// Says whether the deadline has passed; if not, has the waker woken then, or before.
    /// `None` never passes.
    ///
    /// # Panics
    /// With `no running event loop` when polled outside of a task.
    #[track_caller]
    pub(crate) fn poll(&mut self, deadline: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.armed = None;
            return Poll::Pending;
        };
        let handle = running_loop();
        let now = handle.time();
        if now >= deadline {
            self.armed = None;
            return Poll::Ready(());
        }
        match &self.armed {
            // It has not fired, and does so in time: we look again then.
            Some(armed) if now < armed.when && armed.when <= deadline => {
                armed.timer.renew_waker(cx.waker());
            }
            _ => {
                self.armed = Some(Armed {
                    when: deadline,
                    timer: handle.wake_at(deadline, cx.waker()),
                });
            }
        }
        Poll::Pending
    }
}
