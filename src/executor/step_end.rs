//! The end of a step: who acts when a task's poll or a callback has returned.
//!
//! ```text
//!   step: write, write, write ──► transport asks once ──► list
//!   step returns ──► each in the list acts: one send takes all three (D28)
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Something that waits for the end of the step that used it.
pub(crate) trait AtStepEnd {
    /// The step is over.
    fn at_step_end(self: Rc<Self>);
}

/// Who acts at the end of this step, in the order they asked.
#[derive(Default)]
pub(super) struct StepEnd(RefCell<VecDeque<Rc<dyn AtStepEnd>>>);

impl StepEnd {
    #[inline]
    pub(super) fn add(&self, acting: Rc<dyn AtStepEnd>) {
        self.0.borrow_mut().push_back(acting);
    }

    #[inline]
    pub(super) fn next(&self) -> Option<Rc<dyn AtStepEnd>> {
        if self.0.borrow().is_empty() {
            return None; // after most steps
        }
        self.0.borrow_mut().pop_front()
    }
}
