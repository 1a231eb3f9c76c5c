//! The statistics: what a loop has done since it was made.

use std::cell::Cell;
use std::time::Duration;

use super::LoopHandle;

/// What a loop has done since it was made: see [`LoopHandle::statistics`].
///
/// # asyncio
/// No counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Turns that ran.
    pub turns: u64,
    /// Turns that asked the poller; the others had work, and no need to (D26).
    pub polls: u64,
    /// Callbacks that ran: of `call_soon`, of timers, of sources, of the library itself.
    pub callbacks: u64,
    /// Steps of tasks that ran.
    pub task_steps: u64,
    /// Timers that became due.
    pub timers: u64,
    /// How long the poller slept, by the loop's clock.
    pub time_asleep: Duration,
    /// How long the loop spun instead, which it does only if it is
    /// [told to](LoopHandle::set_spin_duration).
    pub time_spinning: Duration,
    /// The time on the loop's clock: since the loop was made.
    pub time: Duration,
}

/// What the turns count.
#[derive(Default)]
pub(super) struct Tally {
    turns: Cell<u64>,
    polls: Cell<u64>,
    /// Callbacks and steps of tasks.
    steps: Cell<u64>,
    timers: Cell<u64>,
    time_asleep: Cell<Duration>,
    time_spinning: Cell<Duration>,
}

impl Tally {
    /// A poll is over that fell asleep at some time, if it did.
    pub(super) fn polled(&self, began: Option<Duration>, now: Duration) {
        self.polls.set(self.polls.get() + 1);
        if let Some(began) = began {
            let slept = now.saturating_sub(began);
            self.time_asleep.set(self.time_asleep.get() + slept);
        }
    }

    /// The loop spun for so long.
    pub(super) fn spun(&self, spent: Duration) {
        self.time_spinning.set(self.time_spinning.get() + spent);
    }

    /// So many timers became due.
    pub(super) fn fired(&self, timers: usize) {
        self.timers.set(self.timers.get() + timers as u64);
    }

    /// A turn runs so many steps.
    pub(super) fn turned(&self, steps: usize) {
        self.turns.set(self.turns.get() + 1);
        self.steps.set(self.steps.get() + steps as u64);
    }
}

impl LoopHandle {
    /// Returns what the loop has done since it was made.
    ///
    /// Counting costs a few additions a turn, and is always on. The turn that runs is
    /// counted with all that it is to run.
    ///
    /// # asyncio
    /// No counterpart.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::{get_running_loop, run, sleep};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     sleep(Duration::from_millis(1)).await;
    ///     let statistics = get_running_loop()?.statistics();
    ///     assert_eq!(statistics.timers, 1);
    ///     assert!(statistics.time_asleep > Duration::ZERO);
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let core = self.core();
        let tally = &core.tally;
        let task_steps = core.executor.task_steps();
        Statistics {
            turns: tally.turns.get(),
            polls: tally.polls.get(),
            callbacks: tally.steps.get().saturating_sub(task_steps),
            task_steps,
            timers: tally.timers.get(),
            time_asleep: tally.time_asleep.get(),
            time_spinning: tally.time_spinning.get(),
            time: core.clock.now(),
        }
    }
}
