//! The reaper: owns a child, and meets its end.
//!
//! ```text
//!   Linux: pidfd_open ─► readable when the child has ended ─► try_wait
//!   else:  a timer, soon at first and then less often ──────► try_wait
//! ```
//!
//! **No race.** A process id belongs to a child until somebody waits for it; then the
//! system may give it away. Only `try_wait` waits, here, on the loop's thread, and signals
//! are sent here, too, to a child that was not waited for yet. A handler of SIGCHLD, which
//! asyncio had before, needs none of this to go wrong: it may be another's.
//!
//! **No zombie.** The watch holds the reaper, so that a child whose `Process` was dropped is
//! waited for all the same. If the loop closes first, a thread waits for it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::event_loop::LoopHandle;
use crate::waiters::WakerSet;
use crate::waits::{WaitsOn, What, note};

/// How soon a child is asked for the first time where no descriptor tells of its end; the
/// pause doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// By how much the end of a child may be told late there: 50 milliseconds, so that a child
/// that lives for hours costs twenty system calls a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a child is taken to have returned that somebody else waited for. asyncio's number.
const UNKNOWN: i32 = 255;

/// A child, until it has ended and was waited for, and then how it ended.
pub(super) struct Reaper {
    /// Invariant: `None` only while the reaper is dropped.
    child: RefCell<Option<Child>>,
    pid: u32,
    status: Cell<Option<ExitStatus>>,
    waiters: WakerSet,
}

impl Reaper {
    /// Takes a child over, and has the loop watch for its end.
    pub(super) fn watch(handle: &LoopHandle, child: Child) -> io::Result<Rc<Reaper>> {
        let reaper = Reaper::owning(child);
        if !reaper.watch_by_descriptor(handle)? {
            reaper.ask_again_and_again(handle, FIRST_PAUSE);
        }
        Ok(reaper)
    }

    fn owning(child: Child) -> Rc<Reaper> {
        Rc::new(Reaper {
            pid: child.id(),
            child: RefCell::new(Some(child)),
            status: Cell::new(None),
            waiters: WakerSet::default(),
        })
    }

    /// Returns false if the system has no such descriptor: before Linux 5.3, say.
    #[cfg(target_os = "linux")]
    fn watch_by_descriptor(self: &Rc<Self>, handle: &LoopHandle) -> io::Result<bool> {
        use std::os::fd::AsRawFd;

        let opened = rustix::process::pidfd_open(self.id()?, rustix::process::PidfdFlags::empty());
        let Ok(pidfd) = opened else {
            return Ok(false);
        };
        let fd = pidfd.as_raw_fd();
        let (me, of) = (self.clone(), handle.clone());
        handle.add_reader(fd, move || {
            let _stays_open = &pidfd; // as long as it is watched
            if me.reap() {
                // Drops this callback, once it has returned.
                let _ = of.remove_reader(fd);
            }
        })?;
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn watch_by_descriptor(self: &Rc<Self>, _handle: &LoopHandle) -> io::Result<bool> {
        Ok(false)
    }

    fn ask_again_and_again(self: &Rc<Self>, handle: &LoopHandle, pause: Duration) {
        if self.reap() {
            return;
        }
        let (me, of) = (self.clone(), handle.clone());
        let next = (pause * 2).min(LONGEST_PAUSE);
        // Fails only if the loop is closed: then the drop of this reaper is the end.
        let _ = handle.call_later(pause, move || me.ask_again_and_again(&of, next));
    }

    /// Waits for the child, if it has ended. The one place that does.
    pub(super) fn reap(&self) -> bool {
        if self.status.get().is_some() {
            return true;
        }
        let asked = match self.child.borrow_mut().as_mut() {
            Some(child) => child.try_wait(),
            None => return true,
        };
        let status = match asked {
            Ok(None) => return false,
            Ok(Some(status)) => status,
            Err(error) => {
                // Somebody waits for any child, or SIGCHLD is ignored.
                log::warn!(
                    "Unknown child process pid {}, will report returncode {UNKNOWN}: {error}",
                    self.pid
                );
                ExitStatus::from_raw(UNKNOWN << 8)
            }
        };
        self.status.set(Some(status));
        self.waiters.wake_all();
        true
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.status.get()
    }

    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        if let Some(status) = self.status.get() {
            return Poll::Ready(status);
        }
        self.waiters.register(cx.waker());
        note(WaitsOn::numbered(What::Process, self.pid.into()));
        Poll::Pending
    }

    /// # Errors
    /// `NotFound` if the child has ended.
    pub(super) fn send_signal(&self, signal: i32) -> io::Result<()> {
        let Some(signal) = Signal::from_named_raw(signal) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("invalid signal number {signal}"),
            ));
        };
        if self.reap() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {} has ended", self.pid),
            ));
        }
        Ok(kill_process(self.id()?, signal)?)
    }

    fn id(&self) -> io::Result<Pid> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::Error::other(format!("{} is no process id", self.pid)))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if self.reap() {
            return;
        }
        let Some(mut child) = self.child.get_mut().take() else {
            return;
        };
        // The loop is closed, and the child isn't over: it is to be no zombie.
        let waiting = thread::Builder::new().name("millstream-reaper".to_owned());
        let waited = waiting.spawn(move || child.wait());
        if let Err(error) = waited {
            log::warn!("nobody waits for process {}: {error}", self.pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::process::Command;

    use super::*;

    /// What is done where there is no pidfd, wherever this runs.
    #[test]
    fn a_child_is_asked_until_it_has_ended_where_no_descriptor_tells() -> io::Result<()> {
        crate::run(async {
            let handle = crate::get_running_loop()?;
            let child = Command::new("sleep").arg("0.02").spawn()?;
            let reaper = Reaper::owning(child);
            reaper.ask_again_and_again(&handle, FIRST_PAUSE);
            assert_eq!(reaper.status(), None);
            let status = poll_fn(|cx| reaper.poll_ended(cx)).await;
            assert!(status.success());
            assert_eq!(handle.census().timers, 0);
            assert_eq!(Rc::strong_count(&reaper), 1);
            Ok(())
        })
    }

    #[test]
    fn a_child_that_somebody_else_waited_for_is_reported_as_255() -> io::Result<()> {
        crate::run(async {
            let handle = crate::get_running_loop()?;
            let reaper = Reaper::watch(&handle, Command::new("true").spawn()?)?;
            rustix::process::waitpid(Some(reaper.id()?), rustix::process::WaitOptions::empty())?;
            let status = poll_fn(|cx| reaper.poll_ended(cx)).await;
            assert_eq!(status.code(), Some(UNKNOWN));
            Ok(())
        })
    }
}
