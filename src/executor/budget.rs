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

/// The budget of a step; a step around it gets its own back at the end.
pub(crate) struct Budget {
    /// `None`: what is spent is the budget of the step around it.
    outer: Option<u32>,
}

impl Budget {
    #[inline]
    pub(crate) fn fresh() -> Budget {
        Budget {
            outer: Some(LEFT.with(|left| left.replace(STEP_BUDGET))),
        }
    }

    /// The budget of the step around this one, for a step within a step: so a loop that
    /// begins eager tasks for ever suspends too. A callback has none, and gives a fresh one.
    pub(crate) fn inherited() -> Budget {
        match LEFT.get() {
            UNBOUNDED => Budget::fresh(),
            _ => Budget { outer: None },
        }
    }
}

impl Drop for Budget {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            LEFT.set(outer);
        }
    }
}

/// Bytes that count as one completion, where they are received within a step.
///
/// 2 KiB: those of a whole step are 256 KiB, as many as a source may bring in a turn (R9).
const BYTES_EACH: usize = 2 * 1024;

/// Says whether the step may receive so many bytes by itself, without a wait before.
pub(crate) fn has_budget_for(bytes: usize) -> bool {
    LEFT.get() as usize >= bytes / BYTES_EACH
}

/// Spends what so many received bytes count.
pub(crate) fn spend_for(bytes: usize) {
    let left = LEFT.get();
    if left != UNBOUNDED {
        let units = u32::try_from(bytes / BYTES_EACH).unwrap_or(u32::MAX);
        LEFT.set(left.saturating_sub(units));
    }
}

/// Spends one completion. False if none is left: suspend for a turn, and ask again.
#[inline]
pub(crate) fn has_budget() -> bool {
    let spent = LEFT.try_with(|left| match left.get() {
        UNBOUNDED => true,
        0 => false,
        some => {
            left.set(some - 1);
            true
        }
    });
    spent.unwrap_or(true)
}
