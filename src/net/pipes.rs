//! Pipes: one end of one, with a protocol or as a stream.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;

use crate::contract::{Protocol, Transport};
use crate::event_loop::{LoopHandle, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::transports::{AttachedTo, Socket, read_pipe, write_pipe};

use super::connect::{make_detachable, make_transport};
use super::standard_streams::standard_input;

impl LoopHandle {
    /// Takes over the end of a pipe from which is read, with a protocol of your own.
    ///
    /// A pipe is a FIFO, a socket or a character device, such as a terminal: anything that
    /// owns the descriptor of one converts, like a `File` or a child's `ChildStdout`. It
    /// becomes non-blocking, and so does whatever shares its open file description.
    ///
    /// When the last writer is gone, the transport is closing at once, and the protocol is
    /// told `eof_received`, whose answer has no effect, and `connection_lost`. Writing to
    /// such a transport is a misuse, which `drain` tells.
    ///
    /// # Errors
    /// `InvalidInput` with `Pipe transport is for pipes/sockets only.`; `PermissionDenied`
    /// for a device that the poller refuses, such as `/dev/null`.
    ///
    /// # Cancel safety
    /// Dropping the future closes the pipe.
    ///
    /// # asyncio
    /// `loop.connect_read_pipe(factory, pipe)`.
    pub async fn connect_read_pipe<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P,
        pipe: impl Into<OwnedFd>,
    ) -> io::Result<Rc<dyn Transport>> {
        let socket = read_pipe(pipe.into())?;
        make_transport(self, socket, Box::new(factory())).await
    }

    /// Takes over the end of a pipe to which is written, with a protocol of your own.
    ///
    /// What a pipe is, [`connect_read_pipe`](LoopHandle::connect_read_pipe) says. When its
    /// reader is gone, the transport closes: with `BrokenPipe` if bytes are unsent.
    /// `write_eof` does what `close` does.
    ///
    /// # Errors
    /// As [`connect_read_pipe`](LoopHandle::connect_read_pipe).
    ///
    /// # Cancel safety
    /// Dropping the future closes the pipe.
    ///
    /// # asyncio
    /// `loop.connect_write_pipe(factory, pipe)`. A socket or a terminal may send something
    /// back: that is ignored here, and closes asyncio's transport.
    pub async fn connect_write_pipe<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P,
        pipe: impl Into<OwnedFd>,
    ) -> io::Result<Rc<dyn Transport>> {
        let socket = write_pipe(pipe.into())?;
        make_transport(self, socket, Box::new(factory())).await
    }
}

/// Takes over the end of a pipe from which is read, and gives a reader.
///
/// What a pipe is, [`LoopHandle::connect_read_pipe`] says. Dropping the reader closes it.
///
/// # Errors
/// As [`LoopHandle::connect_read_pipe`]; a limit of zero.
///
/// # Cancel safety
/// Dropping the future closes the pipe.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart: one writes `connect_read_pipe` with a `StreamReaderProtocol`.
///
/// # Examples
/// ```
/// use std::io;
/// use std::process::{Command, Stdio};
/// use millstream::{open_read_pipe, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     let output = child.stdout.take().expect("it is piped");
///     let mut reader = open_read_pipe(output).await?;
///     assert_eq!(reader.read_all().await?, b"hello\n");
///     child.wait()?;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn open_read_pipe(pipe: impl Into<OwnedFd>) -> OpenReader {
    OpenReader {
        handle: running_loop(),
        source: Source::Pipe(pipe.into()),
        limit: None,
    }
}

/// Takes over the end of a pipe to which is written, and gives a writer.
///
/// What a pipe is, [`LoopHandle::connect_read_pipe`] says. Dropping the writer closes it,
/// once what was written has been sent.
///
/// # Errors
/// As [`LoopHandle::connect_write_pipe`].
///
/// # Cancel safety
/// Dropping the future closes the pipe.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart: one writes `connect_write_pipe` with a `FlowControlMixin`.
pub async fn open_write_pipe(pipe: impl Into<OwnedFd>) -> io::Result<StreamWriter> {
    let socket = write_pipe(pipe.into())?;
    write_stream(&running_loop(), socket, None).await
}

/// Makes the writer of a pipe's end.
pub(super) async fn write_stream(
    handle: &LoopHandle,
    socket: Socket,
    attached_to: Option<Rc<dyn AttachedTo>>,
) -> io::Result<StreamWriter> {
    // Nothing is read, but reader and writer share how the connection ends.
    let reader = StreamReader::new();
    let protocol = Box::new(StreamReaderProtocol::new(&reader));
    let transport = make_detachable(handle, socket, protocol, attached_to).await?;
    Ok(StreamWriter::new(transport, &reader))
}

/// A reader to be opened: set what is to be set, then await it.
///
/// Made by [`open_read_pipe`] and [`open_stdin`](crate::open_stdin).
#[must_use = "a pipe is opened only when it is awaited"]
pub struct OpenReader {
    pub(super) handle: LoopHandle,
    pub(super) source: Source,
    pub(super) limit: Option<usize>,
}

/// What is read.
#[derive(Debug)]
pub(super) enum Source {
    Pipe(OwnedFd),
    StandardInput,
}

impl OpenReader {
    /// Sets the reader's limit, in bytes: 64 KiB unless set.
    ///
    /// # asyncio
    /// The argument `limit` of `StreamReader`.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    async fn open(self) -> io::Result<StreamReader> {
        let reader = match self.limit {
            Some(limit) => StreamReader::with_limit(limit)?,
            None => StreamReader::new(),
        };
        let (socket, attached_to) = match self.source {
            Source::Pipe(pipe) => (read_pipe(pipe)?, None),
            Source::StandardInput => standard_input(&self.handle)?,
        };
        let protocol = Box::new(StreamReaderProtocol::new(&reader));
        // `connection_made` gives the reader its transport.
        make_detachable(&self.handle, socket, protocol, attached_to).await?;
        Ok(reader)
    }
}

impl IntoFuture for OpenReader {
    type Output = io::Result<StreamReader>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl fmt::Debug for OpenReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenReader")
            .field("source", &self.source)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
