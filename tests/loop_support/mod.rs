//! What the tests of the loop share: what its exception handler was told, and values that
//! tell when they are dropped.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use millstream::{ExceptionContext, LoopHandle};

/// What a loop's exception handler was told.
#[derive(Clone, Default)]
pub(crate) struct Reports(Rc<RefCell<Vec<ExceptionContext>>>);

impl Reports {
    pub(crate) fn of(handle: &LoopHandle) -> Reports {
        let reports = Reports::default();
        reports.listen(handle);
        reports
    }

    pub(crate) fn listen(&self, handle: &LoopHandle) {
        let kept = self.clone();
        handle.set_exception_handler(move |_, context| kept.0.borrow_mut().push(context.clone()));
    }

    pub(crate) fn take(&self) -> Vec<ExceptionContext> {
        self.0.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn exceptions(&self) -> Vec<String> {
        self.take()
            .into_iter()
            .filter_map(|context| context.exception)
            .collect()
    }
}

/// Counts how often it, or a value like it, was dropped.
pub(crate) struct CountsDrops(pub(crate) Rc<Cell<usize>>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Calls something when it is dropped.
pub(crate) struct OnDrop(Option<Box<dyn FnOnce()>>);

impl OnDrop {
    pub(crate) fn new(called: impl FnOnce() + 'static) -> OnDrop {
        OnDrop(Some(Box::new(called)))
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(called) = self.0.take() {
            called();
        }
    }
}
