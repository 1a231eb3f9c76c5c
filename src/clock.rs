//! The clock: what time it is on a loop, really or virtually.
//!
//! Layer 0. Above: timers, `LoopHandle::time`. Below: the system's monotonic clock.
//!
//! ```text
//! Instant::now ──► Clock ──time since the epoch──► timers, debug mode, call_later
//!      (here, and nowhere else)
//! ```
//!
//! Always true:
//! * time never goes backwards;
//! * a virtual clock moves only when somebody moves it: the loop does, to the next
//!   timer, when it has nothing else left to do.
//!
//! asyncio: `loop.time()`, which is `time.monotonic()`. Trio's `MockClock` is the
//! model of the virtual one.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Where a loop takes its time from.
///
/// A reading is a [`Duration`] since the clock's epoch, which is the moment it was
/// made. Clones share one clock.
///
/// # asyncio
/// `loop.time()` returns seconds as a float since an arbitrary epoch; a program that
/// wants another clock overrides the method.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use millstream::Clock;
///
/// let clock = Clock::simulated();
/// assert_eq!(clock.now(), Duration::ZERO);
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now(), Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    Monotonic { epoch: Instant },
    Simulated { now: Rc<Cell<Duration>> },
}

impl Clock {
    /// Makes a clock that follows the system's monotonic clock.
    #[must_use]
    pub fn monotonic() -> Clock {
        Clock(Source::Monotonic {
            epoch: Instant::now(),
        })
    }

    /// Makes a clock that stands at zero until it is moved.
    ///
    /// A loop on such a clock moves it to its next timer as soon as it has nothing
    /// else to do: an hour of sleeping takes no time.
    #[must_use]
    pub fn simulated() -> Clock {
        Clock(Source::Simulated {
            now: Rc::new(Cell::new(Duration::ZERO)),
        })
    }

    /// Returns the time since the clock's epoch, read anew.
    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::Monotonic { epoch } => epoch.elapsed(),
            Source::Simulated { now } => now.get(),
        }
    }

    /// Says whether this clock moves only when it is told to.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self.0, Source::Simulated { .. })
    }

    /// Moves a simulated clock on.
    ///
    /// # Panics
    /// If the clock is not simulated: real time can't be moved.
    pub fn advance(&self, by: Duration) {
        self.advance_to(self.now().saturating_add(by));
    }

    /// Moves a simulated clock to `when`, or leaves it if that is in its past.
    ///
    /// # Panics
    /// If the clock is not simulated.
    pub(crate) fn advance_to(&self, when: Duration) {
        let Source::Simulated { now } = &self.0 else {
            panic!("only a simulated clock can be moved, and this one follows real time");
        };
        now.set(now.get().max(when));
    }
}

impl fmt::Debug for Clock {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Source::Monotonic { .. } => "monotonic",
            Source::Simulated { .. } => "simulated",
        };
        write!(f, "Clock({kind}, {:?})", self.now())
    }
}

/// A duration that displays as seconds with three digits behind the point, rounded.
///
/// Without floating point, whose formatting alone adds some twenty kilobytes to a program.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = self.0.saturating_add(Duration::from_micros(500));
        write!(f, "{}.{:03}", rounded.as_secs(), rounded.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_to_three_digits() {
        for (microseconds, shown) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (7_006_000, "7.006"),
            (1_999_500, "2.000"),
        ] {
            let seconds = Seconds(Duration::from_micros(microseconds));
            assert_eq!(seconds.to_string(), shown);
        }
    }
}
