//! The step: what a task may ask, and say, while it is polled.
//!
//! Layer 0. Above: whatever a future calls on its way; the executor, which takes the steps.
//!
//! ```text
//!   Step::begin ──► STEP ──► poll
//!        has_budget ──► may it complete once more without waiting?          (D4)
//!        step_again ──► it yields: queue it when the step ends
//!        note ────────► what it waits for: the first is kept, others are counted
//!        running ─────► the task itself, for whoever is to wake it
//!   step.end ◄── what was noted, and whether it yielded
//! ```
//!
//! It lies in one place of the thread, for each task's step fills it anew.
//!
//! Always true: a step within a step sees nothing of the outer one, but for a budget that it
//! inherits; the outer one finds all as it was.
//!
//! asyncio: `_enter_task` and `_leave_task`; the budget is Tokio's "coop".

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::task::Waker;

use crate::waits::{Noted, Notes};

/// Completions without waiting that one step of a task may see (D4).
///
/// A `write` and a `drain` that always have room never suspend, and a loop around them would
/// keep everybody else waiting. So the next one suspends for one turn. A deadline that has
/// passed counts as one, so that a loop of timeouts suspends too.
const STEP_BUDGET: u32 = 128;

/// Bytes that count as one completion, where they are received within a step.
///
/// 2 KiB: those of a whole step are 256 KiB, as many as a source may bring in a turn (R9).
const BYTES_EACH: usize = 2 * 1024;

/// What is not bounded: futures polled outside any task of ours.
const UNBOUNDED: u32 = u32::MAX;

/// A task of a loop on this thread, as whoever is to wake it sees it.
pub(crate) trait LocalTask {
    /// Queues its next step, unless it is queued already or has ended.
    fn wake(self: Rc<Self>);
}

/// What is known of the step that runs on this thread.
struct Now {
    /// Where the waker points that the task is polled with; zero if no step runs.
    waker: Cell<usize>,
    /// The task. [`Step`] takes it out again, so the thread has nothing to drop at its end;
    /// and what has nothing to drop is found more quickly.
    task: Cell<Option<ManuallyDrop<Rc<dyn LocalTask>>>>,
    /// It asked for another step.
    again: Cell<bool>,
    /// Completions that it has left.
    budget: Cell<u32>,
    notes: Notes,
}

thread_local! {
    static NOW: Now = const {
        Now {
            waker: Cell::new(0),
            task: Cell::new(None),
            again: Cell::new(false),
            budget: Cell::new(UNBOUNDED),
            notes: Notes::blank(),
        }
    };
}

/// Which budget a step has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    Fresh,
    /// That of the step around it, for a step within a step: so a loop that begins eager tasks
    /// for ever suspends too. Fresh in a callback, which has none.
    Inherited,
}

/// A step of a task, from before its poll until after it.
pub(crate) struct Step {
    /// The step around this one.
    outer: Option<Outer>,
}

/// What a step around another one gets back.
struct Outer {
    waker: usize,
    task: Option<ManuallyDrop<Rc<dyn LocalTask>>>,
    again: bool,
    /// `None`: what the inner one leaves of it.
    budget: Option<u32>,
    noted: Noted,
}

impl Step {
    /// Begins a step of `task`, which is polled with `waker`, and with no other.
    #[inline]
    pub(crate) fn begin(waker: &Waker, task: Rc<dyn LocalTask>, budget: Budget) -> Step {
        NOW.with(|now| {
            let outer = match now.waker.replace(waker.data().addr()) {
                0 => None,
                outer => Some(now.set_aside(outer, budget)),
            };
            now.task.set(Some(ManuallyDrop::new(task)));
            if budget == Budget::Fresh || outer.is_none() {
                now.budget.set(STEP_BUDGET);
            }
            Step { outer }
        })
    }

    /// Moves what was noted to where it is kept, and says whether another step is due.
    #[inline]
    pub(crate) fn end(self, kept: &Notes) -> bool {
        NOW.with(|now| {
            now.notes.move_to(kept);
            now.again.get()
        })
    }
}

impl Drop for Step {
    #[inline]
    fn drop(&mut self) {
        let task = NOW.with(|now| {
            let task = now.task.take();
            now.waker.set(0);
            now.again.set(false);
            now.budget.set(match &self.outer {
                None => UNBOUNDED,
                Some(outer) => outer.budget.unwrap_or(now.budget.get()),
            });
            now.notes.clear();
            if let Some(outer) = self.outer.take() {
                now.give_back(outer);
            }
            task
        });
        drop(task.map(ManuallyDrop::into_inner));
    }
}

impl Now {
    /// A step within a step is rare: out of the way of the others.
    #[cold]
    fn set_aside(&self, waker: usize, budget: Budget) -> Outer {
        let noted = self.notes.get();
        self.notes.clear();
        Outer {
            waker,
            task: self.task.take(),
            again: self.again.replace(false),
            budget: (budget == Budget::Fresh).then(|| self.budget.get()),
            noted,
        }
    }

    #[cold]
    fn give_back(&self, outer: Outer) {
        self.waker.set(outer.waker);
        self.task.set(outer.task);
        self.again.set(outer.again);
        self.notes.set(outer.noted);
    }

    /// A waker that does nothing points to zero, as the one of no step.
    #[inline]
    fn is_polled_with(&self, waker: &Waker) -> bool {
        let at = waker.data().addr();
        at == self.waker.get() && at != 0
    }
}

/// Spends one completion. False if none is left: suspend for a turn, and ask again.
#[inline]
pub(crate) fn has_budget() -> bool {
    NOW.with(|now| match now.budget.get() {
        UNBOUNDED => true,
        0 => false,
        some => {
            now.budget.set(some - 1);
            true
        }
    })
}

/// Says whether the step may receive so many bytes by itself, without a wait before.
pub(crate) fn has_budget_for(bytes: usize) -> bool {
    NOW.with(|now| now.budget.get()) as usize >= bytes / BYTES_EACH
}

/// Spends what so many received bytes count.
pub(crate) fn spend_for(bytes: usize) {
    NOW.with(|now| {
        let left = now.budget.get();
        if left != UNBOUNDED {
            let units = u32::try_from(bytes / BYTES_EACH).unwrap_or(u32::MAX);
            now.budget.set(left.saturating_sub(units));
        }
    });
}

/// Has the task polled again in the next turn that this waker is for.
///
/// A future in between may poll others in its own way, with wakers of its own: then that is
/// woken. But nearly always it is the running task's, which just says so.
#[inline]
pub(crate) fn step_again(waker: &Waker) {
    let is_own = NOW.with(|now| {
        let is_own = now.is_polled_with(waker);
        if is_own {
            now.again.set(true);
        }
        is_own
    });
    if !is_own {
        waker.wake_by_ref();
    }
}

/// Returns the task whose step runs, if this is the waker that it is polled with.
#[inline]
pub(crate) fn running(waker: &Waker) -> Option<Rc<dyn LocalTask>> {
    NOW.with(|now| {
        if !now.is_polled_with(waker) {
            return None;
        }
        let task = now.task.take();
        let running = task.as_deref().cloned();
        now.task.set(task);
        running
    })
}

/// Says whether this is the task whose step runs, and this the waker that it is polled with.
#[inline]
pub(crate) fn is_running(task: &Rc<dyn LocalTask>, waker: &Waker) -> bool {
    NOW.with(|now| {
        if !now.is_polled_with(waker) {
            return false;
        }
        let running = now.task.take();
        let is_same = (running.as_deref()).is_some_and(|running| same(running, task));
        now.task.set(running);
        is_same
    })
}

/// By where they lie: the same task may have two tables of methods.
fn same(one: &Rc<dyn LocalTask>, other: &Rc<dyn LocalTask>) -> bool {
    Rc::as_ptr(one).cast::<()>() == Rc::as_ptr(other).cast::<()>()
}

/// Lends the notes of the step that runs, if one does.
#[inline]
pub(crate) fn with_notes(f: impl FnOnce(&Notes)) {
    NOW.with(|now| {
        if now.waker.get() != 0 {
            f(&now.notes);
        }
    });
}

#[cfg(test)]
mod tests {
    use crate::waits::{WaitsOn, What, note};

    use super::*;

    const LOCK: WaitsOn = WaitsOn::numbered(What::Lock, 1);
    const EVENT: WaitsOn = WaitsOn::numbered(What::Event, 2);

    /// A task that nobody wakes.
    struct Nobody;

    impl LocalTask for Nobody {
        fn wake(self: Rc<Self>) {}
    }

    fn begin(waker: &Waker, budget: Budget) -> Step {
        Step::begin(waker, Rc::new(Nobody), budget)
    }

    /// A waker that is no other's.
    fn waker() -> Waker {
        struct Silent;
        impl std::task::Wake for Silent {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        // Something to allocate: two of what takes no memory may lie at one place.
        Waker::from(std::sync::Arc::new(Silent))
    }

    fn ended(step: Step) -> (Noted, bool) {
        let kept = Notes::blank();
        let again = step.end(&kept);
        (kept.get(), again)
    }

    fn spend_all() -> Option<usize> {
        std::iter::repeat_with(has_budget)
            .take(1000)
            .position(|has| !has)
    }

    #[test]
    fn the_first_is_kept_and_the_others_are_counted() {
        let step = begin(&waker(), Budget::Fresh);
        note(LOCK);
        note(LOCK); // polled twice in one step
        note(EVENT);
        let (noted, _) = ended(step);
        assert_eq!((noted.first, noted.others), (LOCK, 1));
    }

    #[test]
    fn a_step_within_a_step_speaks_for_itself() {
        let (outer_waker, inner_waker) = (waker(), waker());
        let outer = begin(&outer_waker, Budget::Fresh);
        note(LOCK);
        let task = running(&outer_waker).expect("it runs");
        let inner = begin(&inner_waker, Budget::Fresh);
        note(EVENT);
        step_again(&inner_waker);
        assert!(running(&outer_waker).is_none());
        let (noted, again) = ended(inner);
        assert_eq!((noted.first, again), (EVENT, true));
        assert!(is_running(&task, &outer_waker));
        let (noted, again) = ended(outer);
        assert_eq!((noted.first, noted.others, again), (LOCK, 0, false));
        assert!(running(&outer_waker).is_none());
    }

    #[test]
    fn d_4_a_budget_ends_and_the_outer_one_is_kept_meanwhile() {
        let (outer_waker, inner_waker) = (waker(), waker());
        assert_eq!(spend_all(), None, "none outside of steps");
        let outer = begin(&outer_waker, Budget::Fresh);
        assert!(has_budget());
        {
            let _inner = begin(&inner_waker, Budget::Fresh);
            assert_eq!(spend_all(), Some(128));
        }
        {
            let _eager = begin(&inner_waker, Budget::Inherited);
            assert!(has_budget());
        }
        assert_eq!(spend_all(), Some(126));
        drop(outer);
        assert_eq!(spend_all(), None);
        let _in_a_callback = begin(&outer_waker, Budget::Inherited);
        assert_eq!(spend_all(), Some(128));
    }
}
