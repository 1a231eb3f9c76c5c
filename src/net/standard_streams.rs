//! The standard streams: what the program was started with, without blocking the loop.
//!
//! ```text
//!   fd 0, 1, 2 ─┬─ terminal, anonymous pipe ─► opened anew (Linux)  ┐ non-blocking,
//!               ├─ the same elsewhere, sockets ─► duplicated         ┘ watched
//!               └─ regular file, /dev/null ─► duplicated; always ready
//! ```
//!
//! Whether a descriptor blocks is a flag of its open file description, which is shared:
//! by the duplicates of a descriptor, by the shell that started the program, by `println!`,
//! which panics if its output would block. So where the system can, the stream is opened
//! anew, with a flag of its own. Where it can't, the flag is taken back when the stream
//! is closed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::rc::Rc;

use socket2::SockRef;

use crate::event_loop::{LoopHandle, running_loop};
use crate::streams::StreamWriter;
use crate::transports::{AttachedTo, Ending, FileSocket, Socket, is_pipe, read_pipe, write_pipe};

use super::pipes::{OpenReader, Source, write_stream};

/// Gives a reader of standard input.
///
/// Takes terminals, pipes, sockets, and files, which are read on the loop's thread, 256 KiB
/// a turn. Dropping the reader closes a duplicate: the descriptor 0 stays open. Bytes that
/// the reader has buffered are gone for `std::io::stdin`.
///
/// On Linux terminals and pipes are opened anew, so that no one else's descriptor becomes
/// non-blocking. Elsewhere, and for sockets and named FIFOs, what shares the open file
/// description with standard input is non-blocking until the reader is dropped or has met
/// the end: on a terminal, that is standard output too, and `println!` may fail.
///
/// # Errors
/// If the descriptor is closed or a directory; a limit of zero.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart: one writes `connect_read_pipe` with `sys.stdin`, which fails for files,
/// and leaves the terminal non-blocking.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{open_stdin, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut lines = open_stdin().await?;
///     while let Some(line) = lines.next_line().await? {
///         println!("{} bytes", line.len());
///     }
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn open_stdin() -> OpenReader {
    OpenReader {
        handle: running_loop(),
        source: Source::StandardInput,
        limit: None,
    }
}

/// Gives a writer to standard output.
///
/// What [`open_stdin`] says of descriptors and flags holds for it too. What is printed by
/// `println!` meanwhile comes when it is printed, perhaps amid what the writer has queued.
/// Close or flush it before the program ends: what it has queued is lost otherwise.
///
/// # Errors
/// If the descriptor is closed.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart: one writes `connect_write_pipe` with `sys.stdout`.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{open_stdout, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let output = open_stdout().await?;
///     output.write("hello\n");
///     output.aclose().await
/// })
/// # }
/// ```
pub async fn open_stdout() -> io::Result<StreamWriter> {
    open_output(Standard::Output).await
}

/// Gives a writer to standard error.
///
/// What [`open_stdout`] says holds for it too.
///
/// # Errors
/// If the descriptor is closed.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart: one writes `connect_write_pipe` with `sys.stderr`.
pub async fn open_stderr() -> io::Result<StreamWriter> {
    open_output(Standard::Error).await
}

async fn open_output(which: Standard) -> io::Result<StreamWriter> {
    let handle = running_loop();
    let (socket, attached_to) = match which.open(&handle)? {
        Opened::AlwaysReady(file) => (FileSocket::writing(file), None),
        Opened::Watchable(fd, restoring) => (write_pipe(fd)?, on_end(restoring)),
    };
    write_stream(&handle, socket, attached_to).await
}

/// Opens standard input for a transport, with what is to be dropped at its end.
pub(super) fn standard_input(
    handle: &LoopHandle,
) -> io::Result<(Socket, Option<Rc<dyn AttachedTo>>)> {
    Ok(match Standard::Input.open(handle)? {
        Opened::AlwaysReady(file) => (FileSocket::reading(file), None),
        Opened::Watchable(fd, restoring) => (read_pipe(fd)?, on_end(restoring)),
    })
}

fn on_end(restoring: Option<Restoring>) -> Option<Rc<dyn AttachedTo>> {
    Some(Rc::new(restoring?))
}

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standard {
    Input,
    Output,
    Error,
}

/// A descriptor of our own for it.
enum Opened {
    AlwaysReady(File),
    Watchable(OwnedFd, Option<Restoring>),
}

impl Standard {
    fn open(self, handle: &LoopHandle) -> io::Result<Opened> {
        let duplicate = self.lent(|fd| fd.try_clone_to_owned())?;
        let file = File::from(duplicate);
        let kind = file.metadata()?.file_type();
        if !is_pipe(kind) || !is_watchable(handle, &file)? {
            return Ok(Opened::AlwaysReady(file));
        }
        if kind.is_char_device() || self.is_anonymous_pipe() {
            if let Ok(anew) = self.open_anew() {
                return Ok(Opened::Watchable(anew, None));
            }
        }
        let restoring = self.will_block_again()?;
        Ok(Opened::Watchable(file.into(), restoring))
    }

    /// Opens it once more, which gives it flags of its own: on Linux, if we may.
    fn open_anew(self) -> io::Result<OwnedFd> {
        let mut how = OpenOptions::new();
        match self {
            Standard::Input => how.read(true),
            Standard::Output | Standard::Error => how.write(true),
        };
        Ok(how.open(self.proc_path())?.into())
    }

    /// A FIFO with a name is not opened anew: without anybody at its other end, that
    /// would wait.
    fn is_anonymous_pipe(self) -> bool {
        let target = fs::read_link(self.proc_path());
        target.is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"pipe:"))
    }

    fn proc_path(self) -> String {
        format!("/proc/self/fd/{}", self.lent(|fd| fd.as_raw_fd()))
    }

    /// Returns what takes the flag back that the transport will set, if it is not set yet.
    fn will_block_again(self) -> io::Result<Option<Restoring>> {
        let blocks = self.lent(|fd| Ok::<bool, io::Error>(!SockRef::from(&fd).nonblocking()?))?;
        Ok(blocks.then_some(Restoring(self)))
    }

    fn lent<R>(self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        match self {
            Standard::Input => f(io::stdin().as_fd()),
            Standard::Output => f(io::stdout().as_fd()),
            Standard::Error => f(io::stderr().as_fd()),
        }
    }
}

/// Has a standard stream block again when it is dropped.
struct Restoring(Standard);

impl AttachedTo for Restoring {
    fn detached(self: Rc<Self>, _number: u32, _ending: Ending) {
        // It is dropped, and restores.
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        // It may be closed by now.
        let _ = self.0.lent(|fd| SockRef::from(&fd).set_nonblocking(false));
    }
}

/// Tries whether the poller takes it: it refuses `/dev/null`, for one.
fn is_watchable(handle: &LoopHandle, file: &File) -> io::Result<bool> {
    let fd = file.as_raw_fd();
    match handle.add_reader(fd, || {}) {
        Ok(()) => handle.remove_reader(fd),
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => Ok(false),
            _ => Err(error),
        },
    }
}
