//! The timers: callbacks that wait for their time.
//!
//! ```text
//!   call_later, call_at, sleep ──► schedule, by time, equal times first come first served (D1)
//!   a turn: drop what was cancelled; how long to the first?; queue those that are due
//! ```
//!
//! Always true: no timer is queued before its time. A cancelled one stays where it is
//! until it comes to the top, or until there are so many that sweeping pays: so there are
//! at most twice as many as there are timers that wait, and two, or [`MIN_SWEPT`].
//!
//! asyncio: `BaseEventLoop._scheduled` and `TimerHandle`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::executor::{Handle, HandleCell};
use crate::waits::TaskAddress;

use super::schedule::Schedule;

/// Timers in the schedule up to which cancelled ones are left where they are.
const MIN_SWEPT: usize = 100;

/// A callback that waits for its time, as `call_later` and `call_at` return it.
///
/// Dropping the handle changes nothing: the callback runs all the same.
///
/// # asyncio
/// `asyncio.TimerHandle`.
#[derive(Clone)]
pub struct TimerHandle {
    handle: Handle,
    when: Duration,
    timers: Rc<Timers>,
}

impl TimerHandle {
    /// Returns the time it is to run at, on the loop's clock.
    ///
    /// # asyncio
    /// `TimerHandle.when`.
    #[must_use]
    pub fn when(&self) -> Duration {
        self.when
    }

    /// Takes the callback back and drops it. Has no effect after it ran.
    ///
    /// # asyncio
    /// `TimerHandle.cancel`.
    pub fn cancel(&self) {
        self.timers.cancel(&self.handle.0);
    }

    /// Says whether the callback was cancelled before it ran.
    ///
    /// # asyncio
    /// `TimerHandle.cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.handle.cancelled()
    }
}

impl fmt::Debug for TimerHandle {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerHandle(when={:?}, {:?})", self.when, self.handle)
    }
}

/// A timer that wakes a future: what `sleep` and `timeout` hold.
///
/// Dropping it cancels it.
pub(crate) struct SleepTimer {
    handle: Rc<HandleCell>,
    timers: Rc<Timers>,
}

impl SleepTimer {
    /// Wakes another waker than the one it was made with.
    pub(crate) fn renew_waker(&self, waker: &Waker) {
        if self.handle.is_waiting() {
            self.handle.renew_waker(waker);
        }
    }
}

impl Drop for SleepTimer {
    fn drop(&mut self) {
        self.timers.cancel(&self.handle);
    }
}

/// The timers of a loop.
#[derive(Default)]
pub(super) struct Timers {
    schedule: RefCell<Schedule<Rc<HandleCell>>>,
    /// Timers of the schedule that were cancelled.
    ///
    /// Invariant: never less than there are.
    cancelled: Cell<usize>,
}

impl Timers {
    pub(super) fn call_at(
        self: &Rc<Self>,
        when: Duration,
        callback: impl FnOnce() + 'static,
    ) -> TimerHandle {
        let handle = HandleCell::new(callback);
        self.insert(when, handle.clone());
        TimerHandle {
            handle: Handle(handle),
            when,
            timers: self.clone(),
        }
    }

    pub(super) fn wake_at(self: &Rc<Self>, when: Duration, waker: &Waker) -> SleepTimer {
        let handle = HandleCell::waking(waker);
        self.insert(when, handle.clone());
        SleepTimer {
            handle,
            timers: self.clone(),
        }
    }

    /// Drops cancelled timers off the top; all of them, once they are the larger part
    /// of many.
    #[inline]
    pub(super) fn sweep(&self) {
        if self.cancelled.get() > 0 && !self.sweep_if_mostly_cancelled() {
            self.sweep_top();
        }
    }

    fn sweep_top(&self) {
        while self.cancelled.get() > 0 {
            let mut schedule = self.schedule.borrow_mut();
            if schedule
                .first()
                .is_none_or(|(_, handle)| handle.is_waiting())
            {
                return;
            }
            // Cancelling dropped the callback already: no user's code runs here.
            schedule.pop();
            self.cancelled.set(self.cancelled.get() - 1);
        }
    }

    fn sweep_if_mostly_cancelled(&self) -> bool {
        let len = self.schedule.borrow().len();
        let pays = len > MIN_SWEPT && self.cancelled.get() * 2 > len;
        if pays {
            self.sweep_all();
        }
        pays
    }

    #[cold]
    fn sweep_all(&self) {
        // Cancelling dropped the callbacks already: no user's code runs here.
        self.schedule
            .borrow_mut()
            .retain(|handle| handle.is_waiting());
        self.cancelled.set(0);
    }

    /// Returns when the first timer is due.
    #[inline]
    pub(super) fn first(&self) -> Option<Duration> {
        let schedule = self.schedule.borrow();
        schedule.first().map(|(when, _)| when)
    }

    /// Says whether no timer is due at this time, in nanoseconds, or before.
    #[inline]
    pub(super) fn all_are_later_than(&self, time: u64) -> bool {
        self.schedule.borrow().first_when() > time
    }

    /// Takes the first timer out if it is due at `now`.
    #[inline]
    pub(super) fn pop_due(&self, now: Duration) -> Option<Rc<HandleCell>> {
        let mut schedule = self.schedule.borrow_mut();
        if schedule.first()?.0 > now {
            return None;
        }
        let handle = schedule.pop()?;
        // Asked only if need be: of a million timers none is in the processor's caches.
        if self.cancelled.get() > 0 && !handle.is_waiting() {
            self.cancelled.set(self.cancelled.get() - 1);
        }
        Some(handle)
    }

    /// Returns how many timers are scheduled, cancelled ones included.
    pub(super) fn len(&self) -> usize {
        self.schedule.borrow().len()
    }

    /// Returns which tasks wait for which times.
    pub(super) fn sleepers(&self) -> Vec<(TaskAddress, Duration)> {
        let schedule = self.schedule.borrow();
        let waking = schedule.iter().filter(|(_, handle)| handle.is_waiting());
        waking
            .filter_map(|(when, handle)| Some((handle.sleeper()?, when)))
            .collect()
    }

    /// Takes one timer out, for a loop that closes.
    pub(super) fn take_any(&self) -> Option<Rc<HandleCell>> {
        self.schedule.borrow_mut().pop()
    }

    fn insert(&self, when: Duration, handle: Rc<HandleCell>) {
        // R9: one step may set and drop any number of timers, before the turn sweeps. Half
        // of them goes at a time, so that what this costs is shared by those cancelled.
        self.sweep_if_mostly_cancelled();
        self.schedule.borrow_mut().insert(when, handle);
    }

    fn cancel(&self, handle: &HandleCell) {
        // One that is due may have left the schedule for the ready queue: then the count is
        // one too high until the next sweep, which only makes that one come early.
        if handle.is_waiting() {
            // R10: counted first, since cancelling drops the callback, which may panic.
            self.cancelled.set(self.cancelled.get() + 1);
            handle.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// `count` timers, one a second.
    fn timers(count: u64) -> (Rc<Timers>, Vec<TimerHandle>) {
        let timers = Rc::new(Timers::default());
        let handles = (0..count)
            .map(|nth| timers.call_at(Duration::from_secs(nth), || {}))
            .collect();
        (timers, handles)
    }

    #[test]
    fn tim_08_sweeping_empties_the_schedule_once_most_of_many_are_cancelled() {
        let (timers, handles) = timers(200);
        handles[100..].iter().for_each(TimerHandle::cancel);
        timers.sweep();
        assert_eq!(timers.len(), 200, "one half is not most");
        handles[99].cancel();
        timers.sweep();
        assert_eq!(timers.len(), 99);
        assert_eq!(timers.cancelled.get(), 0);
    }

    #[test]
    fn tim_08_of_a_hundred_only_those_on_top_are_dropped() {
        let (timers, handles) = timers(100);
        handles[1..].iter().for_each(TimerHandle::cancel);
        timers.sweep();
        assert_eq!(timers.len(), 100);
        handles[0].cancel();
        timers.sweep();
        assert_eq!((timers.len(), timers.cancelled.get()), (0, 0));
    }

    #[test]
    fn timers_that_are_set_and_cancelled_over_and_over_do_not_pile_up() {
        let (timers, _waiting) = timers(1000);
        let mut longest = 0;
        for nth in 0..100_000 {
            let timer = timers.call_at(Duration::from_secs(10_000 + nth), || {});
            timer.cancel();
            longest = longest.max(timers.len());
        }
        assert!(longest <= 2 * 1000 + 2, "{longest} timers");
    }

    #[test]
    fn cancelling_twice_counts_once() {
        let (timers, handles) = timers(2);
        handles[1].cancel();
        handles[1].cancel();
        assert_eq!(timers.cancelled.get(), 1);
    }

    #[test]
    fn a_timer_cancelled_after_it_left_the_schedule_does_no_harm() {
        let (timers, handles) = timers(3);
        let due = timers.pop_due(Duration::ZERO).expect("the first is due");
        handles[0].cancel();
        due.run();
        timers.sweep();
        assert_eq!(timers.len(), 2, "those that wait are not mistaken for it");
        handles[1].cancel();
        handles[2].cancel();
        while timers.pop_due(Duration::from_secs(9)).is_some() {}
        timers.sweep();
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn r_10_a_callback_that_panics_when_it_is_cancelled_is_counted() {
        struct Breaks;

        impl Drop for Breaks {
            fn drop(&mut self) {
                panic!("it breaks");
            }
        }

        let timers = Rc::new(Timers::default());
        let breaks = Breaks;
        let timer = timers.call_at(Duration::from_secs(1), move || {
            let _held = &breaks;
        });
        let cancelled = catch_unwind(AssertUnwindSafe(|| timer.cancel()));
        assert!(cancelled.is_err());
        assert_eq!(timers.cancelled.get(), 1);
        let due = timers.pop_due(Duration::from_secs(1));
        due.expect("it is scheduled").run();
        assert_eq!((timers.len(), timers.cancelled.get()), (0, 0));
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let (timers, _handles) = timers(3);
        let just_before = Duration::from_secs(1) - Duration::from_nanos(1);
        assert!(timers.pop_due(just_before).is_some());
        assert!(timers.pop_due(just_before).is_none());
        assert!(timers.pop_due(Duration::from_secs(1)).is_some());
        assert_eq!(timers.first(), Some(Duration::from_secs(2)));
    }
}
