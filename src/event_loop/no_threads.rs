//! What stands in the place of `threads.rs` without the feature: no thread but the loop's own.

use std::io;

use super::LoopHandle;
use super::loop_handle::LoopCore;
use super::run::Runner;

/// What a loop keeps of its threads: nothing.
#[derive(Default)]
pub(super) struct Threads {}

impl LoopHandle {
    /// Refuses the work, which would block the loop.
    pub(super) async fn run_in_executor<T>(&self, _work: impl FnOnce() -> T) -> io::Result<T> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "what blocks, as looking up a name does, is done by threads; \
             turn on the feature `threads` of millstream",
        ))
    }
}

impl Runner {
    pub(super) fn end_threads(&self) -> io::Result<()> {
        Ok(())
    }
}

impl LoopCore {
    pub(super) fn shut_threads_down(&self) {}

    pub(super) fn threads_are_busy(&self) -> bool {
        false
    }
}
