//! The interrupts: Ctrl-C as a clean end of `run`.
//!
//! ```text
//!   SIGINT ──► the main task is cancelled ──► clean-up ──► `run` fails with Interrupted
//!   SIGINT once more, at any time in between ──► the process ends, as it would have
//! ```
//!
//! asyncio: `Runner._on_sigint`.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use crate::executor::TaskRef;

use super::LoopHandle;
use super::dispositions::is_main_thread_with_default;
use super::signals::{Signal, Slot};
use super::watchers::WatchCallback;

/// Catches SIGINT for a `run`, for as long as it lives.
pub(super) struct Interrupts {
    handle: LoopHandle,
    slot: Rc<Slot>,
    happened: Rc<Cell<bool>>,
}

impl Interrupts {
    /// Has SIGINT cancel `main`, if nobody else has a use for it: `None` if this is not
    /// the main thread, or if SIGINT has not its default effect.
    pub(super) fn catch(handle: &LoopHandle, main: TaskRef) -> io::Result<Option<Interrupts>> {
        if !is_main_thread_with_default(Signal::INT) {
            return Ok(None);
        }
        let slot = handle.add_slot(Signal::INT, true)?;
        let happened = Rc::new(Cell::new(false));
        let happens = happened.clone();
        slot.handler.set(Some(WatchCallback::new(move || {
            happens.set(true);
            main.cancel();
        })));
        Ok(Some(Interrupts {
            handle: handle.clone(),
            slot,
            happened,
        }))
    }

    /// Says whether SIGINT came, and cancelled the main task.
    pub(super) fn happened(&self) -> bool {
        self.happened.get()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.handle.remove_slot(&self.slot);
    }
}
