//! Spinning: asking the poller again and again before the loop falls asleep.
//!
//! ```text
//!   nothing to do ──► spin: poll, don't wait ──► nothing for so long ──► sleep in the kernel
//!                       │        ▲    │
//!                       │        └────┘
//!                       └──► ready, mail, or a timer is due: the turn goes on
//! ```
//!
//! A thread that sleeps is woken by the scheduler, some microseconds after its socket has
//! become readable; and another thread that wakes it makes a system call. A loop that spins
//! pays for neither. It takes a whole processor instead, so it is off unless it is asked for.
//!
//! Always true: the loop spins only where it would sleep. So what it sleeps for ends the
//! spinning, too, and neither what runs in a turn nor its order changes.
//!
//! asyncio: no counterpart.

use std::io;
use std::time::Duration;

use super::loop_handle::{LoopCore, LoopHandle};
use super::run::Runner;

/// What the spinning has left of a sleep.
pub(super) enum Spun {
    /// There is something to do, or the time to sleep is over.
    Over,
    /// This is still to be slept; `None` is without end.
    Left(Option<Duration>),
}

impl LoopCore {
    /// Spins at the beginning of a sleep, if the loop is to spin at all.
    ///
    /// The bell stays as it is while the loop runs: who sends mail need not ring, since
    /// the inbox is looked at after each poll.
    pub(super) fn spin(&self, sleep: Option<Duration>) -> io::Result<Spun> {
        let limit = self.spin_duration.get();
        // Simulated time stands still, so it would spin for ever.
        if limit.is_zero() || self.clock.is_simulated() {
            return Ok(Spun::Left(sleep));
        }
        let began = self.clock.now();
        loop {
            self.poll_for_real(Some(Duration::ZERO))?;
            let spent = self.clock.now().saturating_sub(began);
            let found = self.executor.ready_len() > 0 || self.inbox.has_mail();
            let slept_enough = sleep.is_some_and(|sleep| sleep <= spent);
            if found || slept_enough {
                self.tally.spun(spent);
                return Ok(Spun::Over);
            }
            if spent >= limit {
                self.tally.spun(spent);
                return Ok(Spun::Left(sleep.map(|sleep| sleep - spent)));
            }
        }
    }
}

impl LoopHandle {
    /// Returns how long the loop spins before it falls asleep: zero unless set, which is
    /// not at all.
    #[must_use]
    pub fn spin_duration(&self) -> Duration {
        self.core().spin_duration.get()
    }

    /// Has the loop spin, from its next sleep on: whenever it has nothing to do, it asks the
    /// poller again and again for so long, and only then does it sleep.
    ///
    /// A socket that becomes ready meanwhile, a timer, or a call from another thread is
    /// seen at once, and not when the system has woken a sleeper. On one
    /// connection whose peer answers within the duration, that may double the
    /// messages per second.
    ///
    /// # Cost
    /// While it spins, the loop takes a whole processor, though it does nothing. It pays
    /// where a processor can be spared for the loop, and where the next message is
    /// usually no further away than the duration: tens of microseconds suit a
    /// peer on the same machine. On a machine with fewer processors than busy threads,
    /// it takes the processor away from the very peer that it waits for. A busy loop
    /// with many connections seldom sleeps, and gains nothing. The loop's
    /// [`statistics`](LoopHandle::statistics) tell how long it spun, and how long it slept.
    ///
    /// [`Duration::MAX`] never sleeps. Zero, the default, turns it off. On a simulated clock
    /// it has no effect: that one jumps, and doesn't wait.
    ///
    /// # asyncio
    /// No counterpart.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::{Runner, get_running_loop, sleep};
    ///
    /// # fn main() -> io::Result<()> {
    /// Runner::new()?.spin(Duration::from_secs(1)).run(async {
    ///     sleep(Duration::from_millis(1)).await;
    ///     let statistics = get_running_loop()?.statistics();
    ///     assert_eq!(statistics.time_asleep, Duration::ZERO);
    ///     assert!(statistics.time_spinning > Duration::ZERO);
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn set_spin_duration(&self, duration: Duration) {
        self.core().spin_duration.set(duration);
    }
}

impl Runner {
    /// Has the loop spin for so long whenever it would fall asleep, as
    /// [`LoopHandle::set_spin_duration`] does, where it says what that costs. Zero, the
    /// default, is not at all.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn spin(self, duration: Duration) -> Runner {
        self.get_loop().set_spin_duration(duration);
        self
    }
}
