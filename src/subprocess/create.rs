//! Creating a child process: which program, with which pipes.

use std::ffi::OsStr;
use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Stdio};

use crate::event_loop::{LoopHandle, running_loop};
use crate::net::{open_read_pipe, open_write_pipe};
use crate::streams::StreamReader;

use super::process::{Held, Process};
use super::reaper::Reaper;

/// Starts a program: set its arguments and its pipes, then await it.
///
/// # Errors
/// `NotFound` if there is no such program; what starting it, or a pipe, fails with.
///
/// # Cancel safety
/// Dropping the future once the child was started closes its pipes; the child is killed.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.create_subprocess_exec(program, *args, stdin=…)`.
///
/// # Examples
/// ```
/// use std::io;
/// use std::process::Stdio;
/// use millstream::{create_subprocess_exec, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut process = create_subprocess_exec("echo")
///         .arg("hello")
///         .stdout(Stdio::piped())
///         .await?;
///     if let Some(output) = &mut process.stdout {
///         assert_eq!(output.readline().await?, b"hello\n");
///     }
///     assert!(process.wait().await.success());
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn create_subprocess_exec(program: impl AsRef<OsStr>) -> CreateSubprocess {
    create_subprocess(Command::new(program))
}

/// Has the shell, `/bin/sh`, run a command line.
///
/// Text of others in it is code of others: quote it, or use
/// [`create_subprocess_exec`], which needs no quotes.
///
/// # Errors
/// As [`create_subprocess_exec`].
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.create_subprocess_shell(cmd)`.
#[track_caller]
pub fn create_subprocess_shell(command_line: impl AsRef<OsStr>) -> CreateSubprocess {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command_line);
    create_subprocess(shell)
}

/// Starts what a [`Command`] describes, for all that has no method here.
///
/// # Errors
/// As [`create_subprocess_exec`].
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart.
#[track_caller]
pub fn create_subprocess(command: Command) -> CreateSubprocess {
    CreateSubprocess {
        handle: running_loop(),
        command,
        outputs: Outputs::Apart,
        limit: None,
        kill_on_drop: false,
    }
}

/// A child process to be started: set what is to be set, then await it.
///
/// Made by [`create_subprocess_exec`] and its kin.
#[must_use = "a program is started only when this is awaited"]
pub struct CreateSubprocess {
    handle: LoopHandle,
    command: Command,
    outputs: Outputs,
    limit: Option<usize>,
    kill_on_drop: bool,
}

/// Where standard output and standard error of a child go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outputs {
    /// Each where the command says.
    Apart,
    /// Into one pipe.
    Together,
}

impl CreateSubprocess {
    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment, which is ours otherwise.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Leaves it none of our environment but what is set after this.
    pub fn env_clear(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Sets the folder that it starts in: ours, unless set.
    ///
    /// # asyncio
    /// The argument `cwd`.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets what its standard input is: ours, unless set. `Stdio::piped()` makes it a
    /// stream: [`Process::stdin`].
    ///
    /// # asyncio
    /// The argument `stdin`: `PIPE` is `Stdio::piped()`, `DEVNULL` is `Stdio::null()`.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Sets what its standard output is, as [`stdin`](CreateSubprocess::stdin) does.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    /// Sets what its standard error is, as [`stdin`](CreateSubprocess::stdin) does.
    ///
    /// # asyncio
    /// The argument `stderr`; `STDOUT` is
    /// [`stdout_and_stderr_piped`](CreateSubprocess::stdout_and_stderr_piped).
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.command.stderr(stderr);
        self
    }

    /// Has its standard output and its standard error come as one stream,
    /// [`Process::stdout`], in the order in which the child writes. It takes the place of
    /// what [`stdout`](CreateSubprocess::stdout) and [`stderr`](CreateSubprocess::stderr) set.
    ///
    /// # asyncio
    /// The arguments `stdout=PIPE, stderr=STDOUT`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use millstream::{create_subprocess_shell, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let mut shell = create_subprocess_shell("echo out; echo err >&2")
    ///         .stdout_and_stderr_piped()
    ///         .await?;
    ///     let (output, _) = shell.communicate(None).await?;
    ///     assert_eq!(output, b"out\nerr\n");
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn stdout_and_stderr_piped(mut self) -> Self {
        self.outputs = Outputs::Together;
        self
    }

    /// Sets the limit of its readers, in bytes: 64 KiB unless set.
    ///
    /// # asyncio
    /// The argument `limit`.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Has the child killed when its [`Process`] is dropped: false unless set.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn kill_on_drop(mut self, on: bool) -> Self {
        self.kill_on_drop = on;
        self
    }

    async fn start(mut self) -> io::Result<Process> {
        let together = self.join_outputs()?;
        let mut child = self.command.spawn()?;
        // It has what the child writes to: as long as that is open, there is no end.
        drop(self.command);
        let stdin = child.stdin.take();
        let stdout = together.or(child.stdout.take().map(OwnedFd::from));
        let stderr = child.stderr.take();
        let mut process = Process {
            stdin: None,
            stdout: None,
            stderr: None,
            child: Held {
                reaper: Reaper::watch(&self.handle, child)?,
                kill_on_drop: true, // if it can't be handed out
            },
        };
        if let Some(stdin) = stdin {
            process.stdin = Some(open_write_pipe(stdin).await?);
        }
        if let Some(stdout) = stdout {
            process.stdout = Some(reader(stdout, self.limit).await?);
        }
        if let Some(stderr) = stderr {
            process.stderr = Some(reader(stderr, self.limit).await?);
        }
        process.child.kill_on_drop = self.kill_on_drop;
        Ok(process)
    }

    /// Returns our end of the pipe that both outputs go into, if they are to.
    fn join_outputs(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.outputs == Outputs::Apart {
            return Ok(None);
        }
        let (writer, reader) = mio::unix::pipe::new()?;
        writer.set_nonblocking(false)?; // as a child expects of its outputs
        let writer = OwnedFd::from(writer);
        self.command.stdout(writer.try_clone()?).stderr(writer);
        Ok(Some(reader.into()))
    }
}

async fn reader(pipe: impl Into<OwnedFd>, limit: Option<usize>) -> io::Result<StreamReader> {
    let opening = open_read_pipe(pipe);
    match limit {
        Some(limit) => opening.limit(limit).await,
        None => opening.await,
    }
}

impl IntoFuture for CreateSubprocess {
    type Output = io::Result<Process>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl fmt::Debug for CreateSubprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSubprocess")
            .field("command", &self.command)
            .field("outputs", &self.outputs)
            .field("limit", &self.limit)
            .field("kill_on_drop", &self.kill_on_drop)
            .finish_non_exhaustive()
    }
}
