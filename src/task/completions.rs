//! The completions: which of several tasks have ended, in the order in which they did.
//!
//! ```text
//!   task 0 ─┐
//!   task 1 ─┼─ended──► [2, 0] ──► whoever waits for them: one step for each that ended
//!   task 2 ─┘
//! ```
//!
//! Polling all of them whenever one has ended would cost the square of their number.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::executor::{AtTaskEnd, Task};
use crate::waiters::WaiterCell;
use crate::waits::TaskAddress;

/// The numbers of tasks that have ended and were not looked at yet.
#[derive(Default)]
pub(super) struct Completions {
    ended: RefCell<VecDeque<usize>>,
    waiter: WaiterCell,
}

impl Completions {
    /// Watches tasks, numbered as they come.
    pub(super) fn of<'a, T: 'a>(tasks: impl IntoIterator<Item = &'a Task<T>>) -> Rc<Completions> {
        let completions = Rc::new(Completions::default());
        for (number, task) in tasks.into_iter().enumerate() {
            completions.watch(task, number);
        }
        completions
    }

    /// Will have the number of this task when it has ended.
    pub(super) fn watch<T>(self: &Rc<Self>, task: &Task<T>, number: usize) {
        task.tell_end(self.clone(), number);
    }

    /// Takes the number of the next task that has ended, or has the waker woken when there
    /// is one.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let next = self.ended.borrow_mut().pop_front();
        match next {
            Some(number) => Poll::Ready(number),
            None => {
                self.waiter.register(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl AtTaskEnd for Completions {
    fn task_ended(self: Rc<Self>, number: usize) {
        self.ended.borrow_mut().push_back(number);
        self.waiter.wake();
    }

    fn sleeper(&self) -> Option<TaskAddress> {
        self.waiter.sleeper()
    }
}
