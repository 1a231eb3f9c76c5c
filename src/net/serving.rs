//! The server's functions: `start_server`, `create_server`, and their twins.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;

use crate::contract::Protocol;
use crate::event_loop::{LoopHandle, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::task::yield_now;

use super::bind::{BoundSocket, UnboundSocket};
use super::connect::StreamKind;
use super::handler::{ClientConnected, HandlerOutcome, client_connected};
use super::host::Host;
use super::listen::is_out_of_resources;
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
pub fn start_server<F, R>(client_connected_cb: F, host: impl Into<Host>, port: u16) -> StartServer
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    StartServer::on(Place::Host(host.into(), port), client_connected_cb)
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
pub fn start_server_sock<F, R>(client_connected_cb: F, sock: impl Into<OwnedFd>) -> StartServer
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    StartServer::on(Place::Sock(sock.into(), None), client_connected_cb)
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
pub fn start_unix_server<F, R>(client_connected_cb: F, path: impl Into<PathBuf>) -> StartServer
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    StartServer::on(Place::Path(path.into()), client_connected_cb)
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
pub fn start_unix_server_sock<F, R>(client_connected_cb: F, sock: impl Into<OwnedFd>) -> StartServer
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    let place = Place::Sock(sock.into(), Some(StreamKind::Unix));
    StartServer::on(place, client_connected_cb)
}

/// Where to serve.
#[derive(Debug)]
enum Place {
    Host(Host, u16),
    Path(PathBuf),
    Sock(OwnedFd, Option<StreamKind>),
}

impl Place {
    async fn bind(self, handle: &LoopHandle) -> io::Result<Vec<BoundSocket>> {
        match self {
            Place::Host(host, port) => {
                let addresses = host.resolve_to_bind(handle, port).await?;
                bind_all(&addresses)
            }
            Place::Path(path) => Ok(vec![BoundSocket::bind_unix(&path)?]),
            Place::Sock(fd, kind) => Ok(vec![BoundSocket::adopt(fd, kind)?]),
        }
    }
}

/// Binds to each address that this machine has. Fails as a whole: what was bound before
/// is closed.
fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<BoundSocket>> {
    let mut bound = Vec::new();
    for &address in addresses {
        let socket = match UnboundSocket::new(address) {
            Ok(socket) => socket,
            Err(error) if is_out_of_resources(&error) => return Err(error),
            Err(error) => {
                log::debug!("this machine has no sockets for {address}: {error}");
                continue;
            }
        };
        match socket.bind(address) {
            Ok(socket) => bound.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                log::debug!("{address} is passed over: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("could not bind on any address out of {addresses:?}"),
        ));
    }
    Ok(bound)
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

/// A stream server to be started: set what is to be set, then await it.
///
/// Made by [`start_server`] and its twins.
#[must_use = "a server is started only when it is awaited"]
pub struct StartServer {
    handle: LoopHandle,
    place: Place,
    client_connected: ClientConnected,
    limit: Option<usize>,
    backlog: i32,
}

impl StartServer {
    #[track_caller]
    fn on<F, R>(place: Place, handler: F) -> StartServer
    where
        F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
        R: HandlerOutcome,
    {
        StartServer {
            handle: running_loop(),
            place,
            client_connected: client_connected(handler),
            limit: None,
            backlog: BACKLOG,
        }
    }

    /// Sets the readers' limit, in bytes: 64 KiB unless set.
    ///
    /// # asyncio
    /// The argument `limit`.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets how many connections may wait to be accepted: 100 unless set. Less than one
    /// counts as one.
    ///
    /// # asyncio
    /// The argument `backlog`.
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = backlog.max(1);
        self
    }

    async fn start(self) -> io::Result<Server> {
        // D10: a limit of zero is refused here, not with each connection.
        let limit = match self.limit {
            Some(limit) => StreamReader::with_limit(limit)?.limit(),
            None => StreamReader::new().limit(),
        };
        let client_connected = self.client_connected;
        let factory = move || -> Box<dyn Protocol> {
            let reader =
                StreamReader::with_limit(limit).expect("this limit has made a reader before");
            let client_connected = client_connected.clone();
            Box::new(StreamReaderProtocol::with_callback(
                reader,
                move |reader, writer| client_connected(reader, writer),
            ))
        };
        start(&self.handle, self.place, self.backlog, Box::new(factory)).await
    }
}

impl IntoFuture for StartServer {
    type Output = io::Result<Server>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl fmt::Debug for StartServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartServer")
            .field("place", &self.place)
            .field("limit", &self.limit)
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
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
    ) -> CreateServer {
        CreateServer::on(self, Place::Host(host.into(), port), factory)
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
    ) -> CreateServer {
        CreateServer::on(self, Place::Sock(sock.into(), None), factory)
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
    ) -> CreateServer {
        CreateServer::on(self, Place::Path(path.into()), factory)
    }
}

/// A server of protocols to be started: set what is to be set, then await it.
///
/// Made by [`LoopHandle::create_server`] and its twins.
#[must_use = "a server is started only when it is awaited"]
pub struct CreateServer {
    handle: LoopHandle,
    place: Place,
    factory: ProtocolFactory,
    backlog: i32,
}

impl CreateServer {
    fn on<P: Protocol>(
        handle: &LoopHandle,
        place: Place,
        mut factory: impl FnMut() -> P + 'static,
    ) -> CreateServer {
        CreateServer {
            handle: handle.clone(),
            place,
            factory: Box::new(move || Box::new(factory())),
            backlog: BACKLOG,
        }
    }

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

impl IntoFuture for CreateServer {
    type Output = io::Result<Server>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { start(&self.handle, self.place, self.backlog, self.factory).await })
    }
}

impl fmt::Debug for CreateServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateServer")
            .field("place", &self.place)
            .field("backlog", &self.backlog)
            .finish_non_exhaustive()
    }
}
