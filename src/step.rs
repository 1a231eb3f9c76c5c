//! The step: what a task may ask, and say, while it is polled.
//!
//! Layer 2. Above: whatever a future calls on its way. Beside: the executor, which takes the
//! steps.
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
use std::task::Waker;

use crate::executor::TaskRef;
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

/// What is known of the step that runs on this thread.
struct Now {
    /// Where the waker points that the task is polled with; zero if no step runs.
    waker: Cell<usize>,
    /// The task. [`Step`] takes it out again, so the thread has nothing to drop at its end;
    /// and what has nothing to drop is found more quickly.
    task: Cell<Option<ManuallyDrop<TaskRef>>>,
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
#[must_use = "a step that begins must end"]
pub(crate) struct Step {
    /// The step around this one. In a box, since it is rare.
    outer: Option<Box<Outer>>,
}

/// What a step around another one gets back.
struct Outer {
    waker: usize,
    task: Option<ManuallyDrop<TaskRef>>,
    again: bool,
    /// `None`: what the inner one leaves of it.
    budget: Option<u32>,
    noted: Noted,
}

impl Step {
    /// Begins a step of `task`, which is polled with `waker`, and with no other.
    #[inline]
    pub(crate) fn begin(waker: &Waker, task: TaskRef, budget: Budget) -> Step {
        let outer = match NOW.with(|now| now.waker.replace(waker.data().addr())) {
            0 => None,
            outer => Some(NOW.with(|now| now.set_aside(outer, budget))),
        };
        NOW.with(|now| now.task.set(Some(ManuallyDrop::new(task))));
        if budget == Budget::Fresh || outer.is_none() {
            NOW.with(|now| now.budget.set(STEP_BUDGET));
        }
        Step { outer }
    }

    /// Moves what was noted to where it is kept, and says whether another step is due.
    #[inline]
    pub(crate) fn end(self, kept: &Notes) -> bool {
        NOW.with(|now| now.notes.move_to(kept));
        let again = NOW.with(|now| now.again.replace(false));
        let task = NOW.with(|now| now.task.take());
        match self.outer {
            None => NOW.with(Now::clear),
            Some(outer) => NOW.with(|now| now.give_back(*outer)),
        }
        drop(task.map(ManuallyDrop::into_inner));
        again
    }
}

impl Now {
    /// A step within a step is rare: out of the way of the others.
    #[cold]
    fn set_aside(&self, waker: usize, budget: Budget) -> Box<Outer> {
        Box::new(Outer {
            waker,
            task: self.task.take(),
            again: self.again.replace(false),
            budget: (budget == Budget::Fresh).then(|| self.budget.get()),
            noted: self.notes.take(),
        })
    }

    /// No step runs any more.
    #[inline]
    fn clear(&self) {
        self.waker.set(0);
        self.budget.set(UNBOUNDED);
    }

    #[cold]
    fn give_back(&self, outer: Outer) {
        self.waker.set(outer.waker);
        self.task.set(outer.task);
        self.again.set(outer.again);
        if let Some(budget) = outer.budget {
            self.budget.set(budget);
        }
        self.notes.set(outer.noted);
    }

    /// What looks must call nobody.
    #[inline]
    fn look_at_task<R>(&self, look: impl FnOnce(Option<&TaskRef>) -> R) -> R {
        let task = self.task.take();
        let seen = look(task.as_deref());
        self.task.set(task);
        seen
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
pub(crate) fn running(waker: &Waker) -> Option<TaskRef> {
    NOW.with(|now| match now.is_polled_with(waker) {
        true => now.look_at_task(|task| task.cloned()),
        false => None,
    })
}

/// Says whether this is the task whose step runs, and this the waker that it is polled with.
#[inline]
pub(crate) fn is_running(task: &TaskRef, waker: &Waker) -> bool {
    NOW.with(|now| now.is_polled_with(waker) && now.look_at_task(|running| running == Some(task)))
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
