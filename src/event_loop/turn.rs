//! One turn of the loop. If you read one function of this crate, read [`LoopCore::run_once`].
//!
//! ```text
//!   begin    cancelled timers leave; mail from other threads is collected;
//!            how long may we sleep?
//!   wait     the poll: what became ready is queued, then what was retained. One that may
//!            sleep spins first, if the loop is told to (spin.rs)
//!   finish   timers that are due are queued; then exactly what is queued now runs
//! ```
//!
//! So the order within a turn is: what was left from before, what other threads sent,
//! I/O, timers. A callback that is queued while the turn runs waits for the next turn,
//! so that a callback which queues itself for ever can't keep the sockets waiting (R9).
//!
//! asyncio: `BaseEventLoop._run_once`.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use crate::clock::Seconds;
use crate::executor::{Ready, Run};

use super::loop_handle::LoopCore;
use super::spin::Spun;

/// The longest sleep, after which the loop looks around: a day.
///
/// A timer may lie further away than the poller can count; so it sleeps in parts.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Steps after which the next turn polls, whatever else there is to do (D26).
///
/// 255: of 256 turns one polls then, even if each is but a step, and a poll that finds nothing
/// costs as much as several.
const MAX_SKIPPED_STEPS: usize = 255;

/// The longest time without a poll: a slow step must not be followed by 254 others.
const MAX_SKIPPED_TIME: Duration = Duration::from_millis(1);

/// The longest real sleep on a simulated clock while a timer waits for a thread.
///
/// A millisecond: a thread that has sent its result becomes idle without telling, so
/// the loop looks again.
const THREAD_PATIENCE: Duration = Duration::from_millis(1);

/// Steps for which one reading of the clock does, if no timer can be due.
///
/// 32: reading it costs as much as a short step, and a turn may be no more than that. So many
/// steps, and what is left of a turn, may not know that one before them was slow.
const STEPS_PER_READING: usize = 32;

/// Timers that are due, and are fetched into the processor's caches together.
///
/// 32: more than a processor fetches at a time, and what they bring is still there when the
/// last one's turn comes.
const FETCHED: usize = 32;

/// What passed since the last poll.
pub(super) struct SincePoll {
    steps: Cell<usize>,
    /// How many steps it was when the clock was last read.
    steps_at_reading: Cell<usize>,
    at: Cell<Duration>,
    /// A timer that is due later than this can't be due yet, as the clock was last read. In
    /// nanoseconds; the greatest there is if any time may have passed since.
    soon: Cell<u64>,
}

impl Default for SincePoll {
    fn default() -> SincePoll {
        SincePoll {
            steps: Cell::new(0),
            steps_at_reading: Cell::new(0),
            at: Cell::new(Duration::ZERO),
            soon: Cell::new(u64::MAX),
        }
    }
}

/// Whether a turn polls, and how it knows what is due.
enum Poll {
    /// It must.
    Due,
    /// It may do without, and judges by this time what is due.
    Skipped(Duration),
    /// It may do without, and no timer can be due.
    SkippedSoonAfter,
}

impl SincePoll {
    /// A poll was made.
    fn begin(&self, now: Duration) {
        self.steps.set(0);
        self.steps_at_reading.set(0);
        self.at.set(now);
    }

    fn count_steps(&self, steps: usize) {
        self.steps.set(self.steps.get() + steps);
    }

    /// The loop is entered: there is no knowing how long it stood still.
    pub(super) fn stood_still(&self) {
        self.soon.set(u64::MAX);
    }
}

impl LoopCore {
    /// Runs one turn. `None` may sleep until something happens.
    pub(super) fn run_once(&self, run: &mut Run, max_wait: Option<Duration>) -> io::Result<()> {
        self.begin();
        let due = match self.skip_poll() {
            Poll::Due => {
                let now = self.wait(max_wait)?;
                self.queue_due(now)
            }
            Poll::Skipped(now) => self.queue_due(now),
            Poll::SkippedSoonAfter => 0,
        };
        self.finish(run, due);
        Ok(())
    }

    /// Tidies up, and queues what other threads sent.
    fn begin(&self) {
        self.timers.sweep();
        self.executor.collect_mail();
    }

    /// D26: a task woken by an I/O callback runs in the next turn; a poll before that
    /// would cost each request a system call, and find nothing.
    fn skip_poll(&self) -> Poll {
        if self.executor.ready_len() == 0 || self.reactor.has_retained() {
            return Poll::Due;
        }
        let since = &self.since_poll;
        let steps = since.steps.get();
        if steps >= MAX_SKIPPED_STEPS {
            return Poll::Due;
        }
        let was_read = steps - since.steps_at_reading.get() < STEPS_PER_READING;
        if was_read && self.timers.all_are_later_than(since.soon.get()) {
            return Poll::SkippedSoonAfter;
        }
        since.steps_at_reading.set(steps);
        let now = self.read_clock();
        match now.saturating_sub(since.at.get()) < MAX_SKIPPED_TIME {
            true => Poll::Skipped(now),
            false => Poll::Due,
        }
    }

    /// Returns the time by which a turn judges what is due, and since when it waits what
    /// waits at its end.
    fn read_clock(&self) -> Duration {
        let now = self.clock.now();
        self.since_poll.soon.set(match self.clock.is_simulated() {
            // It moves in leaps, and costs nothing to read.
            true => u64::MAX,
            false => (now + MAX_SKIPPED_TIME).as_nanos() as u64,
        });
        self.executor.turn_began(now);
        now
    }

    /// Asks the poller what became ready, and queues it; returns the time by which this
    /// turn judges what is due.
    fn wait(&self, max_wait: Option<Duration>) -> io::Result<Duration> {
        let sleep = match (self.may_sleep(), max_wait) {
            (Some(sleep), Some(max_wait)) => Some(sleep.min(max_wait)),
            (sleep, max_wait) => sleep.or(max_wait),
        };
        let sleeps_since = self.poll(sleep)?;
        self.executor.collect_mail();
        let now = self.read_clock();
        self.since_poll.begin(now);
        self.tally.polled(sleeps_since, now);
        Ok(now)
    }

    /// Queues the timers that are due, and returns how many.
    fn queue_due(&self, now: Duration) -> usize {
        let mut due = 0;
        while let Some(handle) = self.timers.pop_due(now) {
            self.executor.push(Ready::Call(handle));
            due += 1;
        }
        self.tally.fired(due);
        due
    }

    /// Runs what is queued by now, no more. So many of that are timers.
    fn finish(&self, run: &mut Run, due: usize) {
        let steps = self.executor.take_queued(run);
        self.tally.turned(steps);
        self.since_poll.count_steps(steps);
        match due > FETCHED || self.debug.get() {
            false => self.executor.run_queued(run),
            true => self.run_many_or_time(run, steps, due),
        }
    }

    /// The same, where many timers are due, or each step is timed: out of the way of others.
    #[cold]
    fn run_many_or_time(&self, run: &mut Run, steps: usize, due: usize) {
        for nth in 0..steps {
            if due > FETCHED && nth % FETCHED == 0 {
                run.fetch(FETCHED);
            }
            match self.debug.get() {
                false => self.executor.run_one(run),
                true => self.run_and_time(run),
            }
        }
    }

    /// Returns how long the loop may sleep now: not at all if there is work, until the
    /// first timer, or without end.
    pub(super) fn may_sleep(&self) -> Option<Duration> {
        let work = self.executor.ready_len() > 0
            || self.stopping.get()
            || self.reactor.has_retained()
            || self.inbox.has_mail();
        if work {
            return Some(Duration::ZERO);
        }
        let first = self.timers.first()?;
        let wait = first.saturating_sub(self.clock.now());
        Some(wait.min(LONGEST_SLEEP))
    }

    /// Polls, and returns when it fell asleep, if it did.
    fn poll(&self, sleep: Option<Duration>) -> io::Result<Option<Duration>> {
        if sleep == Some(Duration::ZERO) {
            return self.poll_for_real(sleep).map(|()| None);
        }
        match self.spin(sleep)? {
            Spun::Over => Ok(None),
            Spun::Left(sleep) => self.fall_asleep(sleep).map(Some),
        }
    }

    /// Sleeps in the poller, and returns when it fell asleep.
    fn fall_asleep(&self, sleep: Option<Duration>) -> io::Result<Duration> {
        let began = self.clock.now();
        // Say that we sleep before looking for mail: then one of the two of us, whoever
        // sends and whoever sleeps, sees what the other did.
        self.inbox.sleeps();
        let polled = if self.inbox.has_mail() {
            self.poll_for_real(Some(Duration::ZERO))
        } else if self.clock.is_simulated() {
            self.poll_in_simulated_time(sleep)
        } else {
            self.poll_for_real(sleep)
        };
        self.inbox.wakes();
        polled.map(|()| began)
    }

    pub(super) fn poll_for_real(&self, sleep: Option<Duration>) -> io::Result<()> {
        self.reactor.wait(sleep, |source, direction| {
            self.executor.push(Ready::Source(source, direction));
        })
    }

    /// Time jumps to the end of the sleep, but only when there is nothing else to wait
    /// for: no event, no mail, no job of the thread pool.
    fn poll_in_simulated_time(&self, sleep: Option<Duration>) -> io::Result<()> {
        // Before looking for mail: a thread sends its result before it is idle.
        let threads_are_busy = self.threads_are_busy();
        self.poll_for_real(Some(Duration::ZERO))?;
        let idle = self.executor.ready_len() == 0 && !self.inbox.has_mail();
        match sleep {
            _ if !idle => Ok(()),
            Some(_) if threads_are_busy => self.poll_for_real(Some(THREAD_PATIENCE)),
            Some(sleep) => {
                self.clock.advance(sleep);
                Ok(())
            }
            // Only the world outside can wake us: wait for it in real time.
            None => self.poll_for_real(None),
        }
    }

    /// Runs one step, and says if it took long.
    fn run_and_time(&self, run: &mut Run) {
        let what = run.next().map(|ready| self.describe(ready));
        let began = self.clock.now();
        self.executor.run_one(run);
        let took = self.clock.now().saturating_sub(began);
        if took >= self.slow_callback_duration.get() {
            let what = what.unwrap_or_default();
            log::warn!("Executing {what} took {} seconds", Seconds(took));
        }
    }

    fn describe(&self, ready: &Ready) -> String {
        match ready {
            Ready::Call(handle) => format!("Handle({})", handle.name()),
            Ready::Event(event) => format!("Handle({})", event.name()),
            Ready::Task(task) => match task.done() {
                false => format!("Task({})", task.get_name()),
                true => "a task that has ended".to_owned(),
            },
            Ready::Source(id, direction) => match self.reactor.callback_name(*id, *direction) {
                Some(name) => format!("Handle({name})"),
                None => match self.reactor.describe(*id) {
                    Some(source) => format!("Handle({direction} of {source})"),
                    None => "a source that is closed".to_owned(),
                },
            },
        }
    }
}
