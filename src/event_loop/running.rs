//! The running loop: which one runs on this thread.

use std::cell::RefCell;

use crate::error::LoopError;
use crate::executor::Local;

use super::LoopHandle;

thread_local! {
    static RUNNING: RefCell<Option<LoopHandle>> = const { RefCell::new(None) };
}

/// Returns the loop that runs on this thread.
///
/// # Errors
/// [`LoopError::NoneRunning`] outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.get_running_loop`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{get_running_loop, run};
///
/// # fn main() -> io::Result<()> {
/// assert!(get_running_loop().is_err());
/// run(async {
///     let handle = get_running_loop()?;
///     handle.call_soon(|| println!("in the next turn"))?;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[inline(never)] // many functions ask for it, and none of them often
pub fn get_running_loop() -> Result<LoopHandle, LoopError> {
    RUNNING
        .try_with(|running| running.borrow().clone())
        .ok()
        .flatten()
        .ok_or(LoopError::NoneRunning)
}

/// Returns the running loop to what can't work without one.
///
/// # Panics
/// With `no running event loop` if there is none.
#[track_caller]
pub(crate) fn running_loop() -> LoopHandle {
    match get_running_loop() {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    }
}

/// Makes a loop the running one for as long as the guard lives; the one that ran before
/// gets its place back.
pub(super) struct Running {
    outer: Option<LoopHandle>,
    _local: Local,
}

impl Running {
    pub(super) fn enter(handle: &LoopHandle) -> Running {
        let outer = RUNNING.with(|running| running.replace(Some(handle.clone())));
        Running {
            outer,
            _local: Local::enter(&handle.core().executor),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let inner = RUNNING.with(|running| running.replace(self.outer.take()));
        drop(inner);
    }
}
