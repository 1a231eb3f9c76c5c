//! The exception handler: where failures go that nobody awaits.
//!
//! asyncio: `call_exception_handler`, `default_exception_handler`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::error::{ExceptionContext, PanicPayload};

use super::LoopHandle;
use super::loop_handle::LoopCore;

/// What `set_exception_handler` takes.
pub(super) type ExceptionHandler = Rc<dyn Fn(&LoopHandle, &ExceptionContext)>;

impl LoopHandle {
    /// Has `handler` called for failures that nobody awaits, in the place of the default.
    ///
    /// # asyncio
    /// `loop.set_exception_handler`. `None` there is
    /// [`clear_exception_handler`](LoopHandle::clear_exception_handler) here.
    pub fn set_exception_handler(
        &self,
        handler: impl Fn(&LoopHandle, &ExceptionContext) + 'static,
    ) {
        let earlier = self
            .core()
            .exception_handler
            .replace(Some(Rc::new(handler)));
        drop(earlier);
    }

    /// Goes back to the default exception handler.
    pub fn clear_exception_handler(&self) {
        let earlier = self.core().exception_handler.replace(None);
        drop(earlier);
    }

    /// Reports a failure that nobody awaits.
    ///
    /// A handler that panics is reported too, by the default one, and the loop goes on.
    ///
    /// # asyncio
    /// `loop.call_exception_handler`.
    pub fn call_exception_handler(&self, context: &ExceptionContext) {
        let handler = self.core().exception_handler.borrow().clone();
        let Some(handler) = handler else {
            default_exception_handler(context);
            return;
        };
        let called = catch_unwind(AssertUnwindSafe(|| handler(self, context)));
        if let Err(panic) = called {
            default_exception_handler(context);
            default_exception_handler(
                &ExceptionContext::new("Unhandled error in exception handler")
                    .exception(PanicPayload::new(panic)),
            );
        }
    }

    /// Does what happens where no handler was set: logs the context as one error.
    ///
    /// Where no logger is installed, it goes to standard error, so that nothing vanishes.
    ///
    /// # asyncio
    /// `loop.default_exception_handler`.
    pub fn default_exception_handler(&self, context: &ExceptionContext) {
        default_exception_handler(context);
    }
}

impl LoopCore {
    /// Reports for the executor, which knows no loop.
    pub(super) fn report(core: Option<Rc<LoopCore>>, context: &ExceptionContext) {
        match core {
            Some(core) => LoopHandle::new(core).call_exception_handler(context),
            None => default_exception_handler(context),
        }
    }
}

fn default_exception_handler(context: &ExceptionContext) {
    if log::max_level() == log::LevelFilter::Off {
        eprintln!("{context}");
    } else {
        log::error!("{context}");
    }
}
