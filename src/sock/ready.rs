//! The wait until a system call on a descriptor is worth another attempt.
//!
//! ```text
//!   Ready ──add_reader──► watcher ──the descriptor is ready──► Signal dropped ──► woken
//!     └─dropped: remove_reader          └─replaced, loop closed────────▲
//! ```
//!
//! The callback fires by being dropped. So a wait ends also if somebody replaces its
//! watcher, where asyncio's waits for ever.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::event_loop::LoopHandle;
use crate::reactor::Direction;
use crate::waiters::WaiterCell;
use crate::waits::{WaitsOn, What, note};

/// Waits until a descriptor is ready, once.
pub(super) struct Ready {
    handle: LoopHandle,
    fd: RawFd,
    direction: Direction,
    signal: Rc<Fired>,
}

/// What the future and its watcher share.
#[derive(Default)]
struct Fired {
    /// Invariant: false as long as the watcher is ours and waits.
    fired: Cell<bool>,
    waiter: WaiterCell,
}

/// What the watcher's callback owns.
struct Signal(Rc<Fired>);

impl Ready {
    /// Begins to watch.
    ///
    /// # Errors
    /// If a transport owns the descriptor, `ResourceBusy` if somebody else watches it in
    /// this direction, if the poller refuses it, or if the loop is closed.
    pub(super) fn new(handle: &LoopHandle, fd: RawFd, direction: Direction) -> io::Result<Ready> {
        if handle.is_watched(fd, direction) {
            return Err(busy(fd, direction));
        }
        let signal = Rc::new(Fired::default());
        let (owned, of) = (Signal(signal.clone()), handle.clone());
        let callback = move || {
            let _fires = &owned;
            // Drops this callback, once it has returned.
            unwatch(&of, fd, direction);
        };
        match direction {
            Direction::Read => handle.add_reader(fd, callback)?,
            Direction::Write => handle.add_writer(fd, callback)?,
        }
        Ok(Ready {
            handle: handle.clone(),
            fd,
            direction,
            signal,
        })
    }
}

impl Future for Ready {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.fired.get() {
            return Poll::Ready(());
        }
        self.signal.waiter.register(cx.waker());
        note(WaitsOn::numbered(What::Descriptor, self.fd as u64));
        Poll::Pending
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if !self.signal.fired.get() {
            unwatch(&self.handle, self.fd, self.direction);
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.0.fired.set(true);
        self.0.waiter.wake();
    }
}

/// Stops watching. That fails only if a transport has taken the descriptor meanwhile,
/// which then has no watcher of ours.
fn unwatch(handle: &LoopHandle, fd: RawFd, direction: Direction) {
    let _ = match direction {
        Direction::Read => handle.remove_reader(fd),
        Direction::Write => handle.remove_writer(fd),
    };
}

fn busy(fd: RawFd, direction: Direction) -> io::Error {
    let what = match direction {
        Direction::Read => "reading",
        Direction::Write => "writing",
    };
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        format!("File descriptor {fd} is already watched for {what}: one waits at a time"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Here and not in `tests/`: safe code has no way to lend a descriptor that a
    /// transport owns.
    #[test]
    fn a_descriptor_that_a_transport_owns_is_not_waited_for() -> io::Result<()> {
        crate::run(async {
            let handle = crate::get_running_loop()?;
            let (ours, _theirs) = UnixStream::pair()?;
            let fd = ours.as_raw_fd();
            let (_reader, writer) = crate::open_connection_sock(ours).await?;
            for direction in [Direction::Read, Direction::Write] {
                let refused = Ready::new(&handle, fd, direction).err();
                let transport = writer.transport();
                assert_eq!(
                    refused.map(|error| error.to_string()),
                    Some(format!(
                        "File descriptor {fd} is used by transport {transport:?}"
                    ))
                );
            }
            Ok(())
        })
    }
}
