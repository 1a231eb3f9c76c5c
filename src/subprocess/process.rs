//! The process: a child, as its parent holds it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;

use rustix::process::Signal;

use crate::streams::{StreamReader, StreamWriter};

use super::reaper::Reaper;

/// A child process, and the pipes to it.
///
/// Made by [`create_subprocess_exec`](crate::create_subprocess_exec) and its kin. Dropping
/// it closes the pipes and leaves the child alone, unless
/// [`kill_on_drop`](crate::CreateSubprocess::kill_on_drop) was set. It is waited for all
/// the same, also when the loop is closed: no child stays a zombie.
///
/// # asyncio
/// `asyncio.subprocess.Process`. When a loop ends, asyncio's transports kill the children
/// that they still have.
pub struct Process {
    /// Standard input of the child, if it is piped. Dropping the writer closes it.
    pub stdin: Option<StreamWriter>,
    /// Standard output of the child, if it is piped.
    pub stdout: Option<StreamReader>,
    /// Standard error of the child, if it is piped.
    pub stderr: Option<StreamReader>,
    pub(super) child: Held,
}

/// The child, and whether it is to outlive its handle.
pub(super) struct Held {
    pub(super) reaper: Rc<Reaper>,
    pub(super) kill_on_drop: bool,
}

impl Process {
    /// Returns the process id. Once the child has ended, it may become another's.
    ///
    /// # asyncio
    /// The attribute `pid`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.reaper.pid()
    }

    /// Returns what the child returned, or the negative number of the signal that ended
    /// it; `None` as long as it is not known to have ended.
    ///
    /// # asyncio
    /// The attribute `returncode`.
    #[must_use]
    pub fn returncode(&self) -> Option<i32> {
        let status = self.child.reaper.status()?;
        status.code().or_else(|| status.signal().map(|n| -n))
    }

    /// Waits until the child has ended. Any number of tasks may wait, again and again.
    ///
    /// A child that writes more than a pipe holds, while nobody reads, never ends: see
    /// [`communicate`](Process::communicate).
    ///
    /// # Cancel safety
    /// Cancel safe: the child is not touched.
    ///
    /// # asyncio
    /// `Process.wait`, which returns the return code, and doesn't close standard input
    /// either.
    pub async fn wait(&self) -> ExitStatus {
        let reaper = &self.child.reaper;
        poll_fn(|cx| reaper.poll_ended(cx)).await
    }

    /// Sends a signal to the child.
    ///
    /// # Errors
    /// `NotFound` if it has ended; `InvalidInput` if there is no such signal.
    ///
    /// # asyncio
    /// `Process.send_signal`.
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        self.child.reaper.send_signal(signal)
    }

    /// Asks the child to end, by SIGTERM.
    ///
    /// # Errors
    /// `NotFound` if it has ended.
    ///
    /// # asyncio
    /// `Process.terminate`.
    pub fn terminate(&self) -> io::Result<()> {
        self.send_signal(Signal::TERM.as_raw())
    }

    /// Ends the child, by SIGKILL.
    ///
    /// # Errors
    /// `NotFound` if it has ended.
    ///
    /// # asyncio
    /// `Process.kill`.
    pub fn kill(&self) -> io::Result<()> {
        self.send_signal(Signal::KILL.as_raw())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // Fails if it has ended, which is as well.
            let _ = self.reaper.send_signal(Signal::KILL.as_raw());
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid())
            .field("returncode", &self.returncode())
            .finish_non_exhaustive()
    }
}
