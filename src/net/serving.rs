//! The server's functions: `start_server`, `create_server`, and their twins.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::contract::Protocol;
use crate::event_loop::LoopHandle;
use crate::streams::{StreamReader, StreamWriter};

use super::connect::StreamKind;
use super::handler::HandlerOutcome;
use super::host::Host;
use super::serve::{OnHost, OnPath, OnSock, Serve, WithFactory, WithHandler};

/// Serves on `host` and `port`, and calls `client_connected_cb` with a reader and a
/// writer for each client.
///
/// The callback is any `async fn(StreamReader, StreamWriter)`, or a closure
/// `async |reader, writer| …`, which runs as a task; a plain callable comes in through
/// [`plain`](crate::plain). It may return a `Result`: an error, like a panic, is reported
/// to the exception handler, and closes the connection.
///
/// Keyword arguments of asyncio's are methods of what this returns, which is awaited.
/// Port 0 has the system choose one: see [`Server::sockets`](crate::Server::sockets). Keep
/// the [`Server`](crate::Server): dropping it closes it (D29), and
/// `let _ = start_server(…).await?` drops it at once.
///
/// What the handlers share, the closure owns (`move`), and gives each of them a clone:
/// ```no_run
/// # use std::{io, rc::Rc};
/// # use millstream::{StreamReader, StreamWriter, run, start_server};
/// # struct Room;
/// async fn handle(room: Rc<Room>, reader: StreamReader, writer: StreamWriter) { /* … */ }
///
/// # fn main() -> io::Result<()> { run(async {
/// let room = Rc::new(Room);
/// let callback = async move |reader, writer| handle(room.clone(), reader, writer).await;
/// let server = start_server(callback, "127.0.0.1", 8888).await?;
/// # server.serve_forever().await
/// # }) }
/// ```
/// Without `move`, the closure may outlive what it borrows:
/// ```compile_fail,E0597
/// # use std::{io, rc::Rc};
/// # use millstream::{StreamReader, StreamWriter, run, start_server};
/// # struct Room;
/// # async fn handle(room: Rc<Room>, reader: StreamReader, writer: StreamWriter) {}
/// # fn main() -> io::Result<()> { run(async {
/// # let room = Rc::new(Room);
/// let callback = async |reader, writer| handle(room.clone(), reader, writer).await;
/// # let server = start_server(callback, "127.0.0.1", 8888).await?;
/// # server.serve_forever().await
/// # }) }
/// ```
/// Without `clone`, the first client would take what the second needs:
/// ```compile_fail,E0525
/// # use std::{io, rc::Rc};
/// # use millstream::{StreamReader, StreamWriter, run, start_server};
/// # struct Room;
/// # async fn handle(room: Rc<Room>, reader: StreamReader, writer: StreamWriter) {}
/// # fn main() -> io::Result<()> { run(async {
/// # let room = Rc::new(Room);
/// // E0525, and inline in the call E0507.
/// let callback = async move |reader, writer| handle(room, reader, writer).await;
/// # let server = start_server(callback, "127.0.0.1", 8888).await?;
/// # server.serve_forever().await
/// # }) }
/// ```
///
/// A closure that calls methods of its arguments needs their types if a `let` binds it, as
/// in the example below; inline in the call they are inferred. Its last `Ok` says which
/// error it could have been: `io::Result::Ok(())`. One that never ends says that it returns
/// nothing, `async |reader, writer| -> () { loop { … } }`, since the type `!` is no
/// [`HandlerOutcome`]. One that is not `async` is refused, as "`()` is not a future": that
/// is what `plain` is for.
///
/// # Errors
/// A limit of zero, before anything is done. What resolving fails with. What binding fails
/// with, and the address: of several addresses none is bound then. One that this machine
/// lacks is passed over, which is an error (`AddrNotAvailable`) only if none is left. The
/// system's own error is the source of what is told.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.start_server(client_connected_cb, host, port)`.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{run, start_server};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let echo = async |mut reader: millstream::StreamReader, writer: millstream::StreamWriter| {
///         while let Some(line) = reader.next_line().await? {
///             writer.write(&line);
///             writer.drain().await?;
///         }
///         io::Result::Ok(())
///     };
///     let server = start_server(echo, "127.0.0.1", 8888).backlog(512).await?;
///     server.serve_forever().await
/// })
/// # }
/// ```
#[track_caller]
pub fn start_server<F, R>(
    client_connected_cb: F,
    host: impl Into<Host>,
    port: u16,
) -> Serve<OnHost, WithHandler>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    Serve::streams(OnHost::new(host, port), client_connected_cb)
}

/// Does what [`start_server`] does, on a socket that is bound already.
///
/// The socket is the server's from now on.
///
/// # Errors
/// `InvalidInput` if it is no stream socket; a limit of zero.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.start_server(client_connected_cb, sock=sock)`.
#[track_caller]
pub fn start_server_sock<F, R>(
    client_connected_cb: F,
    sock: impl Into<OwnedFd>,
) -> Serve<OnSock, WithHandler>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    Serve::streams(OnSock::new(sock, None), client_connected_cb)
}

/// Does what [`start_server`] does, on the Unix-domain socket at `path`.
///
/// A socket that an earlier server left there is replaced; the path is removed when the
/// server closes, unless it is another's by then: see [`Serve::cleanup_socket`]. Who may
/// connect, [`Serve::mode`] says. On Linux a path that begins with a NUL byte is a name in
/// the abstract namespace, which has neither file nor mode.
///
/// # Errors
/// What binding fails with: `AddrInUse` if something other than a socket has the path.
/// `InvalidInput` for an empty path, one that is too long (some hundred bytes fit) or
/// contains a NUL byte elsewhere, and a limit of zero; `Unsupported` for an abstract name
/// where there are none.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.start_unix_server(client_connected_cb, path)`.
#[track_caller]
pub fn start_unix_server<F, R>(
    client_connected_cb: F,
    path: impl Into<PathBuf>,
) -> Serve<OnPath, WithHandler>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    Serve::streams(OnPath::new(path), client_connected_cb)
}

/// Does what [`start_unix_server`] does, on a socket that is bound already.
///
/// Its file, if it has one, is removed when the server closes, as if the server had made it.
///
/// # Errors
/// `InvalidInput` if it is no Unix-domain stream socket; a limit of zero.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.start_unix_server(client_connected_cb, sock=sock)`.
#[track_caller]
pub fn start_unix_server_sock<F, R>(
    client_connected_cb: F,
    sock: impl Into<OwnedFd>,
) -> Serve<OnSock, WithHandler>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    let on = OnSock::new(sock, Some(StreamKind::Unix));
    Serve::streams(on, client_connected_cb)
}

impl LoopHandle {
    /// Serves on `host` and `port`, with protocols of your own.
    ///
    /// `factory` makes one for each connection.
    ///
    /// # Errors
    /// What resolving or binding fails with.
    ///
    /// # asyncio
    /// `loop.create_server`.
    pub fn create_server<P: Protocol>(
        &self,
        factory: impl FnMut() -> P + 'static,
        host: impl Into<Host>,
        port: u16,
    ) -> Serve<OnHost, WithFactory> {
        Serve::protocols(self, OnHost::new(host, port), factory)
    }

    /// Serves on a socket that is bound already, with protocols of your own.
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket.
    ///
    /// # asyncio
    /// `loop.create_server(factory, sock=sock)`.
    pub fn create_server_sock<P: Protocol>(
        &self,
        factory: impl FnMut() -> P + 'static,
        sock: impl Into<OwnedFd>,
    ) -> Serve<OnSock, WithFactory> {
        Serve::protocols(self, OnSock::new(sock, None), factory)
    }

    /// Serves on the Unix-domain socket at `path`, with protocols of your own.
    ///
    /// # Errors
    /// What binding fails with.
    ///
    /// # asyncio
    /// `loop.create_unix_server`.
    pub fn create_unix_server<P: Protocol>(
        &self,
        factory: impl FnMut() -> P + 'static,
        path: impl Into<PathBuf>,
    ) -> Serve<OnPath, WithFactory> {
        Serve::protocols(self, OnPath::new(path), factory)
    }

    /// Serves on a Unix-domain socket that is bound already, with protocols of your own.
    ///
    /// # Errors
    /// `InvalidInput` if it is no Unix-domain stream socket.
    ///
    /// # asyncio
    /// `loop.create_unix_server(factory, sock=sock)`.
    pub fn create_unix_server_sock<P: Protocol>(
        &self,
        factory: impl FnMut() -> P + 'static,
        sock: impl Into<OwnedFd>,
    ) -> Serve<OnSock, WithFactory> {
        let on = OnSock::new(sock, Some(StreamKind::Unix));
        Serve::protocols(self, on, factory)
    }
}
