//! The budget: how often the futures of one step may complete at once (D4).
//!
//! A `write` and a `drain` that always have room never suspend, and a loop around them
//! would keep everybody else waiting. So after [`STEP_BUDGET`] such completions in one
//! step of a task, the next one suspends for one turn. A deadline that has passed counts as
//! one, so that a loop of timeouts suspends too.
//!
//! asyncio has no such thing; the idea is Tokio's "coop".

use std::cell::Cell;

/// Completions without waiting that one step of a task may see.
const STEP_BUDGET: u32 = 128;

/// What is not bounded: futures polled outside any task of ours.
const UNBOUNDED: u32 = u32::MAX;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(UNBOUNDED) };
}

/// A fresh budget for the time of a step; a step of an outer loop gets its own back.
pub(crate) struct Budget {
    outer: u32,
}

impl Budget {
    #[inline]
    pub(crate) fn fresh() -> Budget {
        Budget {
            outer: LEFT.replace(STEP_BUDGET),
        }
    }
}

impl Drop for Budget {
    #[inline]
    fn drop(&mut self) {
        LEFT.set(self.outer);
    }
}

/// Spends one completion. False if none is left: suspend for a turn, and ask again.
#[inline]
pub(crate) fn has_budget() -> bool {
    match LEFT.get() {
        UNBOUNDED => true,
        0 => false,
        left => {
            LEFT.set(left - 1);
            true
        }
    }
}
