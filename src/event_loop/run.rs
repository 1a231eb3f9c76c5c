//! `run`: a loop for one program, made, used and cleaned up.
//!
//! ```text
//!   run(main): make a loop ─► main ─► cancel what is left ─► stop the threads ─► close
//!                              ▲
//!              Ctrl-C ─────────┘ is cancelled (with the feature `signals`)
//! ```
//!
//! asyncio: `asyncio.run`, `asyncio.Runner`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::LoopError;
#[cfg(feature = "signals")]
use crate::error::{Cancelled, Interrupted};
#[cfg(feature = "signals")]
use crate::executor::TaskId;

#[cfg(feature = "signals")]
use super::interrupts::Interrupts;
use super::loop_handle::{EventLoop, LoopHandle};
use super::running::get_running_loop;

/// Runs `main` on a loop of its own, and cleans up after it.
///
/// When `main` has ended, in whatever way, tasks that are left are cancelled, and the
/// loop is closed. It waits for work that threads are at, for five minutes at the
/// most. What is still in write buffers then is dropped: a program that
/// cares closes its writers and awaits `wait_closed`.
///
/// # Ctrl-C
/// With the feature `signals`, the first Ctrl-C (SIGINT) cancels `main`: its future is
/// dropped at its next step, the clean-up follows, and this fails with
/// [`Interrupted`](crate::Interrupted). A second one, from the first on until this has
/// returned, ends the process at once, as it would have; so does one that comes while a
/// step is stuck, if it is not the first. That is so on the main thread, if SIGINT has its
/// default effect then, as far as safe code can tell: Linux tells what is ignored and what
/// is caught; elsewhere, only what this crate catches is known. A handler or a stream of
/// SIGINT that the program makes takes the place of all that.
///
/// Without the feature, Ctrl-C ends the process at once, as it does any other: there is no
/// clean-up.
///
/// # Errors
/// What `main` returns; `Cancelled` if it was cancelled. `Interrupted` after Ctrl-C. What
/// making a loop fails with. [`LoopError::RunInsideLoop`] inside a running loop.
///
/// # Panics
/// With the panic of `main`, after the clean-up.
///
/// # asyncio
/// `asyncio.run`, which raises `KeyboardInterrupt`. A `main` that catches its cancellation
/// there goes on; here it can't.
///
/// # Examples
/// ```
/// use std::io;
/// use std::time::Duration;
/// use millstream::{run, sleep};
///
/// async fn main_program() -> io::Result<u32> {
///     sleep(Duration::from_millis(1)).await;
///     Ok(42)
/// }
///
/// fn main() -> io::Result<()> {
///     assert_eq!(run(main_program())?, 42);
///     Ok(())
/// }
/// ```
pub fn run<F, T, E>(main: F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>> + 'static,
    T: 'static,
    E: From<io::Error> + 'static,
{
    ensure_no_loop_runs()?;
    Runner::new()?.run(main)
}

fn ensure_no_loop_runs() -> io::Result<()> {
    if get_running_loop().is_ok() {
        return Err(LoopError::RunInsideLoop.into());
    }
    Ok(())
}

/// A loop for several calls of `run`, cleaned up when it is closed or dropped.
///
/// # asyncio
/// `asyncio.Runner`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::Runner;
///
/// # fn main() -> io::Result<()> {
/// let runner = Runner::new()?;
/// let one: io::Result<u32> = runner.run(async { Ok(1) });
/// let two: io::Result<u32> = runner.run(async { Ok(2) });
/// assert_eq!(one? + two?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Runner {
    event_loop: EventLoop,
    handles_sigint: bool,
}

impl Runner {
    /// Makes a runner with a new loop.
    ///
    /// # Errors
    /// If the system has no descriptor left for the loop's poller.
    pub fn new() -> io::Result<Runner> {
        Ok(Runner::on(EventLoop::new()?))
    }

    /// Makes a runner on a loop that was made elsewhere: with a simulated clock, say.
    ///
    /// # asyncio
    /// The argument `loop_factory`.
    #[must_use]
    pub fn on(event_loop: EventLoop) -> Runner {
        Runner {
            event_loop,
            handles_sigint: true,
        }
    }

    /// Turns debug mode on or off, as [`LoopHandle::set_debug`] does.
    ///
    /// # asyncio
    /// The argument `debug`.
    #[must_use]
    pub fn debug(self, on: bool) -> Runner {
        self.event_loop.set_debug(on);
        self
    }

    /// Has Ctrl-C end a run cleanly, or as it would without the loop: see
    /// [`run`](crate::run). It does unless set, if the feature `signals` is on.
    ///
    /// # asyncio
    /// No counterpart; a handler of SIGINT that is not Python's own has the same effect.
    #[must_use]
    pub fn handle_sigint(mut self, on: bool) -> Runner {
        self.handles_sigint = on;
        self
    }

    /// Returns the runner's loop.
    ///
    /// # asyncio
    /// `Runner.get_loop`.
    #[must_use]
    pub fn get_loop(&self) -> LoopHandle {
        self.event_loop.handle()
    }

    /// Runs `main` until it is complete. Tasks that it leaves go on in the next run.
    ///
    /// # Errors
    /// What `main` returns; [`Interrupted`](crate::Interrupted) after Ctrl-C, as
    /// [`run`](crate::run) tells; [`LoopError::RunInsideLoop`]; [`LoopError::Closed`].
    ///
    /// # asyncio
    /// `Runner.run`.
    pub fn run<F, T, E>(&self, main: F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + 'static,
        T: 'static,
        E: From<io::Error> + 'static,
    {
        ensure_no_loop_runs()?;
        let main = self.event_loop.create_main(main)?;
        #[cfg(feature = "signals")]
        let interrupts = self.interrupts(main.id())?;
        let outcome = self.event_loop.run_until_done(main);
        #[cfg(feature = "signals")]
        let outcome = outcome.map_err(|error| match interrupts {
            Some(interrupts) if interrupts.happened() && Cancelled::is(&error) => {
                Interrupted.into()
            }
            _ => error,
        });
        outcome?
    }

    #[cfg(feature = "signals")]
    fn interrupts(&self, main: Option<TaskId>) -> io::Result<Option<Interrupts>> {
        let task = main.and_then(|id| self.event_loop.core().executor.task(id));
        match task.filter(|_| self.handles_sigint) {
            Some(task) => Interrupts::catch(&self.event_loop, task),
            None => Ok(None),
        }
    }

    /// Cancels the tasks that are left, waits until they have ended, and closes the loop.
    ///
    /// Closing again does nothing. Dropping the runner closes it.
    ///
    /// # Errors
    /// What the poller fails with while the tasks end.
    ///
    /// # asyncio
    /// `Runner.close`.
    pub fn close(&self) -> io::Result<()> {
        if self.event_loop.is_closed() {
            return Ok(());
        }
        let ended = self.end_tasks().and_then(|()| self.end_threads());
        self.event_loop.close()?;
        ended
    }

    fn end_tasks(&self) -> io::Result<()> {
        let executor = &self.event_loop.core().executor;
        executor.set_orphan_message("unhandled exception during run() shutdown");
        let tasks = executor.cancel_all();
        self.turn_while(|| tasks.iter().any(|task| !task.done()))
    }

    /// Turns, not a run: a runner may be closed inside a step of another loop.
    pub(super) fn turn_while(&self, going_on: impl Fn() -> bool) -> io::Result<()> {
        while going_on() {
            self.event_loop.turn(None)?;
        }
        Ok(())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let closed = catch_unwind(AssertUnwindSafe(|| self.close()));
        match closed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::error!("a runner was not closed cleanly: {error}"),
            Err(panic) if std::thread::panicking() => drop(panic),
            Err(panic) => resume_unwind(panic),
        }
    }
}
