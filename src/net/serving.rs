//! The server's functions: `start_server`, `create_server`, and their twins.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;

use crate::contract::Protocol;
use crate::event_loop::{LoopHandle, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::task::yield_now;

use super::bind::{BoundSocket, bind_all};
use super::connect::StreamKind;
use super::handler::{ClientConnected, HandlerOutcome, client_connected};
use super::host::Host;
use super::server::{ProtocolFactory, Server};

/// How many connections may wait to be accepted, unless set.
const BACKLOG: i32 = 100;

/// Serves on `host` and `port`, and calls `client_connected_cb` with a reader and a
/// writer for each client.
///
/// The callback is any `async fn(StreamReader, StreamWriter)`, or a closure
/// `async |reader, writer| …`, which runs as a task; a plain callable comes in through
/// [`plain`](crate::plain). It may return a `Result`: an error, like a panic, is reported
/// to the exception handler, and closes the connection.
///
/// Keyword arguments of asyncio's are methods of what this returns, which is awaited.
/// Port 0 has the system choose one: see [`Server::sockets`]. Keep the [`Server`]: dropping
/// it closes it (D29), and `let _ = start_server(…).await?` drops it at once.
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
/// What resolving or binding fails with; a limit of zero.
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
/// server closes, unless it is another's by then.
///
/// # Errors
/// What binding fails with; a limit of zero.
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
}

/// A server to be started: set what is to be set, then await it.
///
/// Made by [`start_server`], [`LoopHandle::create_server`] and their twins. `On` is where it
/// serves: [`OnHost`], [`OnPath`] or [`OnSock`]; `With` is what serves: [`WithHandler`] or
/// [`WithFactory`]. Each offers what makes sense with it.
#[must_use = "a server is started only when it is awaited"]
pub struct Serve<On, With> {
    handle: LoopHandle,
    on: On,
    with: With,
    backlog: i32,
}

/// Serves on a host and a port.
#[derive(Debug)]
pub struct OnHost {
    host: Host,
    port: u16,
}

/// Serves on the path of a Unix-domain socket.
#[derive(Debug)]
pub struct OnPath {
    path: PathBuf,
}

/// Serves on a socket that is bound.
#[derive(Debug)]
pub struct OnSock {
    sock: OwnedFd,
    /// The only kind that will do, if there is one.
    wanted: Option<StreamKind>,
}

/// Serves by a handler, which gets a reader and a writer for each client.
pub struct WithHandler {
    client_connected: ClientConnected,
    limit: Option<usize>,
}

/// Serves by protocols of your own.
pub struct WithFactory {
    factory: ProtocolFactory,
}

impl OnHost {
    fn new(host: impl Into<Host>, port: u16) -> OnHost {
        OnHost {
            host: host.into(),
            port,
        }
    }
}

impl OnPath {
    fn new(path: impl Into<PathBuf>) -> OnPath {
        OnPath { path: path.into() }
    }
}

impl OnSock {
    fn new(sock: impl Into<OwnedFd>, wanted: Option<StreamKind>) -> OnSock {
        OnSock {
            sock: sock.into(),
            wanted,
        }
    }
}

impl<On: Into<Place> + 'static, With> Serve<On, With> {
    /// Sets how many connections may wait to be accepted: 100 unless set. Less than one
    /// counts as one.
    ///
    /// # asyncio
    /// The argument `backlog`.
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = backlog.max(1);
        self
    }
}

impl<On: Into<Place> + 'static> Serve<On, WithHandler> {
    #[track_caller]
    fn streams<F, R>(on: On, handler: F) -> Self
    where
        F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
        R: HandlerOutcome,
    {
        Serve {
            handle: running_loop(),
            on,
            with: WithHandler {
                client_connected: client_connected(handler),
                limit: None,
            },
            backlog: BACKLOG,
        }
    }

    /// Sets the readers' limit, in bytes: 64 KiB unless set.
    ///
    /// # asyncio
    /// The argument `limit`.
    pub fn limit(mut self, limit: usize) -> Self {
        self.with.limit = Some(limit);
        self
    }

    async fn start(self) -> io::Result<Server> {
        // Before any I/O: a limit of zero is refused here.
        let factory = self.with.factory()?;
        start(&self.handle, self.on.into(), self.backlog, factory).await
    }
}

impl WithHandler {
    fn factory(self) -> io::Result<ProtocolFactory> {
        // D10: a limit of zero is refused here, not with each connection.
        let limit = match self.limit {
            Some(limit) => StreamReader::with_limit(limit)?.limit(),
            None => StreamReader::new().limit(),
        };
        let client_connected = self.client_connected;
        Ok(Box::new(move || {
            let reader =
                StreamReader::with_limit(limit).expect("this limit has made a reader before");
            let client_connected = client_connected.clone();
            Box::new(StreamReaderProtocol::with_callback(
                reader,
                move |reader, writer| client_connected(reader, writer),
            ))
        }))
    }
}

impl<On: Into<Place> + 'static> Serve<On, WithFactory> {
    fn protocols<P: Protocol>(
        handle: &LoopHandle,
        on: On,
        mut factory: impl FnMut() -> P + 'static,
    ) -> Self {
        Serve {
            handle: handle.clone(),
            on,
            with: WithFactory {
                factory: Box::new(move || Box::new(factory())),
            },
            backlog: BACKLOG,
        }
    }

    async fn start(self) -> io::Result<Server> {
        start(
            &self.handle,
            self.on.into(),
            self.backlog,
            self.with.factory,
        )
        .await
    }
}

impl<On: Into<Place> + 'static> IntoFuture for Serve<On, WithHandler> {
    type Output = io::Result<Server>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl<On: Into<Place> + 'static> IntoFuture for Serve<On, WithFactory> {
    type Output = io::Result<Server>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

async fn start(
    handle: &LoopHandle,
    place: Place,
    backlog: i32,
    factory: ProtocolFactory,
) -> io::Result<Server> {
    let bound = place.bind(handle).await?;
    let server = Server::new(handle, bound, backlog, factory);
    server.core().start_serving()?;
    yield_now().await;
    Ok(server)
}

impl<On: fmt::Debug, With: fmt::Debug> fmt::Debug for Serve<On, With> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("on", &self.on)
            .field("with", &self.with)
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WithHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithHandler")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WithFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithFactory").finish_non_exhaustive()
    }
}

/// Where a server serves.
#[derive(Debug)]
#[non_exhaustive]
pub enum Place {
    /// On a host and a port.
    Host(OnHost),
    /// On the path of a Unix-domain socket.
    Path(OnPath),
    /// On a socket that is bound already.
    Sock(OnSock),
}

impl From<OnHost> for Place {
    fn from(on: OnHost) -> Self {
        Place::Host(on)
    }
}

impl From<OnPath> for Place {
    fn from(on: OnPath) -> Self {
        Place::Path(on)
    }
}

impl From<OnSock> for Place {
    fn from(on: OnSock) -> Self {
        Place::Sock(on)
    }
}

impl Place {
    async fn bind(self, handle: &LoopHandle) -> io::Result<Vec<BoundSocket>> {
        match self {
            Place::Host(on) => {
                let addresses = on.host.resolve_to_bind(handle, on.port).await?;
                bind_all(&addresses)
            }
            Place::Path(on) => Ok(vec![BoundSocket::bind_unix(&on.path)?]),
            Place::Sock(on) => Ok(vec![BoundSocket::adopt(on.sock, on.wanted)?]),
        }
    }
}
