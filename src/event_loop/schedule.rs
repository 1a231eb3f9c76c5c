//! The schedule: what is due first, of any number of things.
//!
//! ```text
//!   insert ──sooner than the horizon──► fresh: a heap ───────┐
//!          └─later──► far: in no order                       ├─pop──► what is due first
//!                        └── the soonest ──► sorted: a list ─┘
//!                         when nothing is near    near: fresh and sorted
//! ```
//!
//! Most timers are limits that never pass: they are set, far away, and cancelled. In one heap
//! a million of them would be sorted all the time, and each step down that heap be a look at
//! memory that no cache holds. So those beyond a horizon lie in no order, and setting one
//! is a push; when all before it are gone, a part of them is sorted. That is done at once: then
//! the next one is beside the last one, where a heap looks all over itself for it.
//!
//! Always true:
//! * everything near is due before everything far;
//! * nothing is near only if nothing is far.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::mem;
use std::time::Duration;

/// Entries of the heap, at most, if few are far.
///
/// 4096: at 24 bytes each, a heap that the processor's caches hold.
const MAX_NEAR: usize = 4096;

/// Of those that are far, this part comes near at a time, for all of them are looked at.
const COMING: usize = 8;

/// Things by the time they are due; those due at one time in the order they came (D1).
pub(super) struct Schedule<T> {
    /// Came near one by one.
    fresh: BinaryHeap<Entry<T>>,
    /// Came near together.
    ///
    /// Invariant: what is due first is last.
    sorted: Vec<Entry<T>>,
    far: Vec<Entry<T>>,
    /// Sooner than this is near.
    horizon: u64,
    /// Counts what came, so that equal times keep their order.
    next_sequence: u64,
}

struct Entry<T> {
    /// By the loop's clock, in nanoseconds: it goes on for 584 years.
    when: u64,
    sequence: u64,
    thing: T,
}

impl<T> Default for Schedule<T> {
    fn default() -> Schedule<T> {
        Schedule {
            fresh: BinaryHeap::new(),
            sorted: Vec::new(),
            far: Vec::new(),
            horizon: u64::MAX,
            next_sequence: 0,
        }
    }
}

impl<T> Schedule<T> {
    pub(super) fn len(&self) -> usize {
        self.near() + self.far.len()
    }

    /// Returns what is due first, and when.
    #[inline]
    pub(super) fn first(&self) -> Option<(Duration, &T)> {
        // The greatest entry is the one that is due first; none at all is the least.
        self.fresh.peek().max(self.sorted.last()).map(Entry::read)
    }

    /// Returns when what is first is due, in nanoseconds; the greatest there is if nothing is.
    #[inline]
    pub(super) fn first_when(&self) -> u64 {
        let fresh = self.fresh.peek().map_or(u64::MAX, |first| first.when);
        let sorted = self.sorted.last().map_or(u64::MAX, |first| first.when);
        fresh.min(sorted)
    }

    /// Takes out what is due first.
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = match self.fresh.peek() > self.sorted.last() {
            true => self.fresh.pop(),
            false => self.sorted.pop(),
        }?;
        self.bring_near();
        Some(first.thing)
    }

    pub(super) fn insert(&mut self, when: Duration, thing: T) {
        let entry = Entry {
            when: u64::try_from(when.as_nanos()).unwrap_or(u64::MAX),
            sequence: self.next_sequence,
            thing,
        };
        self.next_sequence += 1;
        // One that is due at the horizon itself came after those that are near.
        if entry.when >= self.horizon && self.near() > 0 {
            self.far.push(entry);
            return;
        }
        self.fresh.push(entry);
        if self.fresh.len() > MAX_NEAR.max(self.far.len() / COMING) {
            self.push_away();
        }
    }

    /// Keeps what is to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let mut fresh = mem::take(&mut self.fresh).into_vec();
        for entries in [&mut fresh, &mut self.sorted, &mut self.far] {
            entries.retain(|entry| keep(&entry.thing));
        }
        self.fresh = fresh.into();
        self.bring_near();
    }

    /// Returns all, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Duration, &T)> {
        let near = self.fresh.iter().chain(&self.sorted);
        near.chain(&self.far).map(Entry::read)
    }

    /// How many are near.
    fn near(&self) -> usize {
        self.fresh.len() + self.sorted.len()
    }

    /// Brings the soonest near, if nothing is.
    #[inline]
    fn bring_near(&mut self) {
        if self.near() == 0 {
            self.bring_soonest();
        }
    }

    fn bring_soonest(&mut self) {
        let count = MAX_NEAR.max(self.far.len() / COMING);
        let mut far = mem::take(&mut self.far);
        self.sorted = self.part(&mut far, count);
        self.far = far;
    }

    /// Has half of what is near be far.
    #[cold]
    fn push_away(&mut self) {
        let mut later = mem::take(&mut self.fresh).into_vec();
        later.append(&mut self.sorted);
        let count = later.len() / 2;
        self.sorted = self.part(&mut later, count);
        self.far.append(&mut later);
    }

    /// Takes out the `count` soonest, or all, and draws the horizon behind them. What is due
    /// first is last.
    fn part(&mut self, entries: &mut Vec<Entry<T>>, count: usize) -> Vec<Entry<T>> {
        let later = entries.len().saturating_sub(count);
        self.horizon = u64::MAX;
        if later > 0 {
            // The greatest is the one that is due first: the soonest are behind the others.
            let (_, last, _) = entries.select_nth_unstable(later);
            self.horizon = last.when;
        }
        let mut soonest = entries.split_off(later);
        soonest.sort_unstable();
        soonest
    }
}

impl<T> Entry<T> {
    fn read(&self) -> (Duration, &T) {
        (Duration::from_nanos(self.when), &self.thing)
    }
}

/// The greatest entry is the one that is due first: `BinaryHeap` keeps that on top.
impl<T> Ord for Entry<T> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (other.when, other.sequence).cmp(&(self.when, self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in no order, many of them equal; the same each time.
    fn times() -> impl Iterator<Item = u64> {
        let mut state = 1_u64;
        std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % 10_000
        })
    }

    fn insert(schedule: &mut Schedule<(u64, usize)>, when: u64, nth: usize) {
        schedule.insert(Duration::from_nanos(when), (when, nth));
    }

    /// Takes out so many, and sees that they are the first of all, in their order.
    fn pop_in_order(schedule: &mut Schedule<(u64, usize)>, count: usize) {
        let mut expected: Vec<_> = schedule.iter().map(|(_, thing)| *thing).collect();
        expected.sort_unstable();
        expected.truncate(count);
        let popped: Vec<_> = (0..count).map_while(|_| schedule.pop()).collect();
        assert!(popped == expected, "{} of {count}", popped.len());
    }

    #[test]
    fn d_1_what_is_due_first_comes_first_and_equal_times_in_their_order() {
        let mut schedule = Schedule::default();
        let mut times = times().enumerate();
        // More than are near, time and again, some before the horizon and some behind it.
        for _ in 0..8 {
            for (nth, when) in times.by_ref().take(3 * MAX_NEAR) {
                insert(&mut schedule, when, nth);
            }
            assert!(schedule.fresh.len() <= MAX_NEAR.max(schedule.far.len() / COMING));
            pop_in_order(&mut schedule, 2 * MAX_NEAR);
        }
        let left = schedule.len();
        pop_in_order(&mut schedule, left);
        assert_eq!(schedule.len(), 0);
    }

    #[test]
    fn what_is_kept_keeps_its_order() {
        let mut schedule = Schedule::default();
        for (nth, when) in times().take(4 * MAX_NEAR).enumerate() {
            insert(&mut schedule, when, nth);
        }
        let horizon = schedule.horizon;
        schedule.retain(|(when, _)| *when > horizon && when % 3 == 0);
        assert!(schedule.first().is_some(), "near is empty only if far is");
        insert(&mut schedule, 1, usize::MAX);
        pop_in_order(&mut schedule, usize::MAX);
        assert_eq!(schedule.len(), 0);
    }

    #[test]
    fn what_is_never_due_comes_last() {
        let mut schedule = Schedule::default();
        schedule.insert(Duration::MAX, "never");
        schedule.insert(Duration::MAX, "never, too");
        schedule.insert(Duration::from_secs(1), "soon");
        assert_eq!(schedule.pop(), Some("soon"));
        assert_eq!(schedule.pop(), Some("never"));
        assert_eq!(schedule.pop(), Some("never, too"));
        assert_eq!(schedule.pop(), None);
    }
}
