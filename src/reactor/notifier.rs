//! The notifier: what another thread rings to end the loop's sleep.
//!
//! ```text
//!   another thread ──mail──► inbox ──► Notifier ──► the poll returns
//! ```
//!
//! One `mio::Waker` (an eventfd, a kqueue user event or a pipe). The inbox in the
//! executor owns it, so that closing the loop closes its descriptor, whoever still
//! holds a waker of a task.

use std::io;

use mio::{Registry, Token};

/// Ends the loop's sleep from any thread.
#[derive(Debug)]
pub(crate) struct Notifier(mio::Waker);

impl Notifier {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Notifier> {
        mio::Waker::new(registry, token).map(Notifier)
    }

    /// Rings.
    pub(crate) fn notify(&self) {
        if let Err(error) = self.0.wake() {
            log::error!("could not wake the event loop from another thread: {error}");
        }
    }
}
