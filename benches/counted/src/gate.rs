//! What a driver waits at until all of its requests are answered.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Counts answers, and wakes who waits for the last of them. The same for each runtime.
#[derive(Default)]
pub(crate) struct Gate {
    missing: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Gate {
    /// So many answers are awaited from now on.
    pub(crate) fn expect(&self, answers: usize) {
        self.missing.set(answers);
    }

    /// One of them was written.
    pub(crate) fn answered(&self) {
        let missing = self.missing.get() - 1;
        self.missing.set(missing);
        if missing == 0 {
            let waker = self.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits until all are.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.missing.get() == 0 {
                return Poll::Ready(());
            }
            self.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}
