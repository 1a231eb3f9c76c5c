//! The remote handle: what other threads may ask of a loop.

use std::fmt;
use std::sync::Arc;

use crate::error::LoopError;
use crate::executor::{Inbox, Message};

use super::LoopHandle;
use super::running::get_running_loop;

/// A reference to a loop that any thread may hold.
///
/// It offers only what is safe from elsewhere. It keeps no descriptor open once the loop
/// is closed.
///
/// # asyncio
/// The loop object itself, of which only `call_soon_threadsafe` may be called from other
/// threads; debug mode finds mistakes there, the compiler does here.
///
/// # Examples
/// ```
/// use std::io;
/// use std::thread;
/// use millstream::{get_running_loop, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let handle = get_running_loop()?;
///     let remote = handle.remote();
///     let thread = thread::spawn(move || {
///         remote.call_soon_threadsafe(|| println!("on the loop's thread"))
///     });
///     thread.join().expect("the thread does not panic")?;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct RemoteHandle {
    inbox: Arc<Inbox>,
}

impl RemoteHandle {
    pub(super) fn new(inbox: Arc<Inbox>) -> RemoteHandle {
        RemoteHandle { inbox }
    }

    /// Says whether it is of the same loop as `handle`.
    pub(crate) fn is_of(&self, handle: &LoopHandle) -> bool {
        Arc::ptr_eq(&self.inbox, &handle.core().inbox)
    }

    /// Has `callback` run by the loop, in its next turn, on its thread.
    ///
    /// Callbacks of one thread run in the order they were sent in.
    ///
    /// # Errors
    /// [`LoopError::Closed`] if the loop is closed; the callback is dropped.
    ///
    /// # asyncio
    /// `loop.call_soon_threadsafe`, which returns a handle; this callback can't be
    /// cancelled.
    pub fn call_soon_threadsafe(
        &self,
        callback: impl FnOnce() + Send + 'static,
    ) -> Result<(), LoopError> {
        self.inbox.send(Message::Call(Box::new(callback)))
    }

    /// Stops the loop after the turn in which it learns of it.
    ///
    /// # Errors
    /// [`LoopError::Closed`] if the loop is closed.
    ///
    /// # asyncio
    /// `loop.call_soon_threadsafe(loop.stop)`.
    pub fn stop_threadsafe(&self) -> Result<(), LoopError> {
        self.call_soon_threadsafe(|| {
            if let Ok(handle) = get_running_loop() {
                handle.stop();
            }
        })
    }
}

impl fmt::Debug for RemoteHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteHandle").finish_non_exhaustive()
    }
}
