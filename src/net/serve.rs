//! The server's builder: what is to be set before a server starts.
//!
//! ```text
//!   start_server(…) ─► Serve<On, With> ─.backlog(n)… .await─► bind ─► Server
//!                       On: host, path or socket    With: a handler or a factory
//! ```

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;

use crate::contract::Protocol;
use crate::event_loop::{AddrInfoFlags, Family, LoopHandle, Wanted, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};

use super::bind::{BindOptions, BoundSocket, bind_all};
use super::connect::StreamKind;
use super::handler::{ClientConnected, HandlerOutcome, Served, client_connected};
use super::host::Host;
use super::options::SocketOptions;
use super::server::Server;
use super::server_core::{ProtocolFactory, ServerCore, ServerSettings};
use super::tls::ServerOptions;
use super::unix::{AtClose, FileSettings};

/// How many connections may wait to be accepted, unless set.
const BACKLOG: i32 = 100;

/// A server to be started: set what is to be set, then await it.
///
/// Made by [`start_server`](crate::start_server), [`LoopHandle::create_server`] and their
/// twins. `On` is where it serves: [`OnHost`], [`OnPath`] or [`OnSock`]; `With` is what
/// serves: [`WithHandler`] or [`WithFactory`]. Each offers what makes sense with it, so that
/// nobody can give a host and a socket, or neither.
///
/// # Cancel safety
/// Dropping the future before it is ready closes what was bound.
#[must_use = "a server is started only when it is awaited"]
pub struct Serve<On, With> {
    handle: LoopHandle,
    on: On,
    with: With,
    settings: Settings,
    pub(super) tls: ServerOptions,
}

/// What may be set of any server.
#[derive(Debug)]
struct Settings {
    of_server: ServerSettings,
    socket_options: SocketOptions,
    start_serving: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            of_server: ServerSettings {
                backlog: BACKLOG,
                max_connections: None,
                cancel_on_disconnect: false,
                accepted_socket_options: SocketOptions::new(),
            },
            socket_options: SocketOptions::new(),
            start_serving: true,
        }
    }
}

/// Serves on a host and a port.
#[derive(Debug)]
pub struct OnHost {
    host: Host,
    port: u16,
    wanted: Wanted,
    options: BindOptions,
}

/// Serves on the path of a Unix-domain socket.
#[derive(Debug)]
pub struct OnPath {
    path: PathBuf,
    file: FileSettings,
}

/// Serves on a socket that is bound.
#[derive(Debug)]
pub struct OnSock {
    sock: OwnedFd,
    /// The only kind that will do, if there is one.
    wanted: Option<StreamKind>,
    at_close: AtClose,
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
    pub(super) fn new(host: impl Into<Host>, port: u16) -> OnHost {
        OnHost {
            host: host.into(),
            port,
            wanted: Wanted {
                flags: AddrInfoFlags::PASSIVE,
                ..Wanted::default()
            },
            options: BindOptions::default(),
        }
    }
}

impl OnPath {
    pub(super) fn new(path: impl Into<PathBuf>) -> OnPath {
        OnPath {
            path: path.into(),
            file: FileSettings {
                mode: None,
                at_close: AtClose::Remove,
            },
        }
    }
}

impl OnSock {
    pub(super) fn new(sock: impl Into<OwnedFd>, wanted: Option<StreamKind>) -> OnSock {
        OnSock {
            sock: sock.into(),
            wanted,
            at_close: AtClose::new(wanted == Some(StreamKind::Unix)),
        }
    }
}

impl<On: Into<Place> + 'static, With> Serve<On, With> {
    /// Sets how many connections may wait to be accepted: 100 unless set. Less than one
    /// counts as one, and the system has an upper bound of its own.
    ///
    /// One more than this many are accepted in a turn at the most, and never more than
    /// 1,025.
    ///
    /// # asyncio
    /// The argument `backlog`.
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.settings.of_server.backlog = backlog.max(1);
        self
    }

    /// Sets how many connections may stand at once: any number unless set. See
    /// [`Server::set_max_connections`].
    ///
    /// # asyncio
    /// No counterpart.
    pub fn max_connections(mut self, max: impl Into<Option<usize>>) -> Self {
        self.settings.of_server.max_connections = max.into();
        self
    }

    /// Sets whether it begins to accept connections at once: it does unless set to false.
    ///
    /// If not, its sockets are bound and do not listen, so that clients are refused until
    /// [`Server::start_serving`] or [`Server::serve_forever`].
    ///
    /// # asyncio
    /// The argument `start_serving`.
    pub fn start_serving(mut self, start_serving: bool) -> Self {
        self.settings.start_serving = start_serving;
        self
    }

    /// Sets options on each socket that listens, before it is bound; on one that was bound
    /// elsewhere, before it listens. See [`SocketOptions`].
    ///
    /// They come after what the server sets by itself, and after `reuse_address` and its
    /// like, and so prevail.
    ///
    /// # Errors
    /// When awaited, what the system refuses.
    ///
    /// # asyncio
    /// No counterpart, but for `keep_alive`.
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.settings.socket_options = options;
        self
    }

    /// Sets options on each accepted socket, before its protocol is made. See
    /// [`SocketOptions`].
    ///
    /// What the system refuses costs that connection, and no other. In debug mode it is
    /// reported to the exception handler, like all that fails while a connection is made.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn accepted_socket_options(mut self, options: SocketOptions) -> Self {
        self.settings.of_server.accepted_socket_options = options;
        self
    }
}

impl<With> Serve<OnHost, With> {
    /// Sets the family of the addresses to serve on: both IPv4 and IPv6 unless set.
    ///
    /// # asyncio
    /// The argument `family`.
    pub fn family(mut self, family: Family) -> Self {
        self.on.wanted.family = family;
        self
    }

    /// Sets what is asked of the resolver: [`AddrInfoFlags::PASSIVE`] unless set, with which
    /// no host means all interfaces, and without which it means the loopback.
    ///
    /// # asyncio
    /// The argument `flags`.
    pub fn flags(mut self, flags: AddrInfoFlags) -> Self {
        self.on.wanted.flags = flags;
        self
    }

    /// Sets whether a port can be bound again that connections of an earlier server still
    /// hold (`SO_REUSEADDR`): it can unless set to false.
    ///
    /// # asyncio
    /// The argument `reuse_address`, whose default on POSIX systems this is.
    pub fn reuse_address(mut self, reuse_address: bool) -> Self {
        self.on.options.reuse_address = reuse_address;
        self
    }

    /// Sets whether other servers may bind to the same port (`SO_REUSEPORT`), if they all
    /// say so: they may not unless set. Linux shares the connections out among them; other
    /// systems may give all to the last one.
    ///
    /// # Errors
    /// When awaited, `reuse_port not supported by this platform` where it is not.
    ///
    /// # asyncio
    /// The argument `reuse_port`.
    pub fn reuse_port(mut self, reuse_port: bool) -> Self {
        self.on.options.reuse_port = reuse_port;
        self
    }

    /// Sets whether the system probes connections on which nothing is said
    /// (`SO_KEEPALIVE`), so that a peer that vanished is noticed, after hours with the
    /// usual settings: it does not unless set.
    ///
    /// # asyncio
    /// The argument `keep_alive` (3.13).
    pub fn keep_alive(mut self, keep_alive: bool) -> Self {
        self.on.options.keep_alive = keep_alive;
        self
    }
}

impl<With> Serve<OnSock, With> {
    /// Sets whether the file of a Unix-domain socket that was bound elsewhere is removed
    /// when the server closes: unless set, by
    /// [`start_unix_server_sock`](crate::start_unix_server_sock) and its twin, and not by
    /// [`start_server_sock`](crate::start_server_sock) and its. Other sockets have no file.
    ///
    /// # asyncio
    /// The argument `cleanup_socket`, of 3.13.
    pub fn cleanup_socket(mut self, cleanup_socket: bool) -> Self {
        self.on.at_close = AtClose::new(cleanup_socket);
        self
    }
}

impl<With> Serve<OnPath, With> {
    /// Sets whether the socket's file is removed when the server closes: `true` unless set.
    ///
    /// It is removed only if it is still the file that binding made, by device and inode:
    /// one that another server has put into its place stays. A server that fails to start
    /// leaves no file behind. A name in the abstract namespace has no file.
    ///
    /// # asyncio
    /// The argument `cleanup_socket`, of 3.13.
    pub fn cleanup_socket(mut self, cleanup_socket: bool) -> Self {
        self.on.file.at_close = AtClose::new(cleanup_socket);
        self
    }

    /// Sets the permissions of the socket's file, `0o600` for instance: within `0o777`, and
    /// as the process's umask has it unless set.
    ///
    /// Who may write to the file may connect; who may do so must also be able to search the
    /// directories on the way. The umask takes nothing from a mode that is set.
    ///
    /// Nobody slips in before the mode stands. On Linux the file is made with it, less the
    /// bits of the umask, which are added after that. Elsewhere it is made with the umask's
    /// and changed after that; until then the socket does not listen, and refuses everybody.
    ///
    /// # Errors
    /// The server refuses to start, with `InvalidInput`, if the mode has other bits, or the
    /// address is an abstract one: that has no file, and anybody may connect to it.
    ///
    /// # asyncio
    /// No counterpart.
    ///
    /// # Examples
    /// ```
    /// # use std::{io, os::unix::fs::PermissionsExt};
    /// use millstream::{StreamReader, StreamWriter, run, start_unix_server};
    /// # async fn handle(_: StreamReader, _: StreamWriter) {}
    ///
    /// # fn main() -> io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("mode-{}.sock", std::process::id()));
    /// run(async move {
    ///     let server = start_unix_server(handle, &path).mode(0o660).await?;
    ///     let mode = std::fs::metadata(&path)?.permissions().mode();
    ///     assert_eq!(mode & 0o777, 0o660);
    ///     server.close();
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.on.file.mode = Some(mode);
        self
    }
}

impl<On: Into<Place> + 'static> Serve<On, WithHandler> {
    #[track_caller]
    pub(super) fn streams<F, R>(on: On, handler: F) -> Self
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
            settings: Settings::default(),
            tls: ServerOptions::default(),
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

    /// Sets whether a handler's task is cancelled when its peer is gone: it is not unless
    /// set, and learns it by its next read or `drain`.
    ///
    /// Gone means that the connection was lost by an error: the peer reset it, what we wrote
    /// was refused, the network gave up. A peer that ended its side of the stream is not
    /// gone: it may still read. One that closed everything looks the same until it is
    /// written to, so a handler that computes for long without reading or writing had best
    /// ask for the end by a read. And a connection that this side has closed cancels nobody:
    /// a handler may go on behind it.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn cancel_on_disconnect(mut self, cancel: bool) -> Self {
        self.settings.of_server.cancel_on_disconnect = cancel;
        self
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
        Ok(Box::new(move |server, key| {
            let reader =
                StreamReader::with_limit(limit).expect("this limit has made a reader before");
            let client_connected = client_connected.clone();
            let server = server.clone();
            Box::new(StreamReaderProtocol::with_callback(
                reader,
                move |reader, writer| client_connected(reader, writer, Served { server, key }),
            ))
        }))
    }
}

impl<On: Into<Place> + 'static> Serve<On, WithFactory> {
    pub(super) fn protocols<P: Protocol>(
        handle: &LoopHandle,
        on: On,
        mut factory: impl FnMut() -> P + 'static,
    ) -> Self {
        Serve {
            handle: handle.clone(),
            on,
            with: WithFactory {
                factory: Box::new(move |_server, _key| Box::new(factory())),
            },
            settings: Settings::default(),
            tls: ServerOptions::default(),
        }
    }
}

impl<On: Into<Place> + 'static> IntoFuture for Serve<On, WithHandler> {
    type Output = io::Result<Server>;
    type IntoFuture = Starting;

    fn into_future(self) -> Self::IntoFuture {
        self.start(WithHandler::factory)
    }
}

impl<On: Into<Place> + 'static> IntoFuture for Serve<On, WithFactory> {
    type Output = io::Result<Server>;
    type IntoFuture = Starting;

    fn into_future(self) -> Self::IntoFuture {
        self.start(|with| Ok(with.factory))
    }
}

impl<On: Into<Place>, With> Serve<On, With> {
    fn start(self, factory: fn(With) -> io::Result<ProtocolFactory>) -> Starting {
        // Before any I/O: a limit of zero is refused here.
        let factory = factory(self.with);
        let place = self.on.into();
        start(self.handle, place, self.settings, self.tls, factory)
    }
}

type Starting = Pin<Box<dyn Future<Output = io::Result<Server>>>>;

/// In its box here, where it is the same for all that may serve.
fn start(
    handle: LoopHandle,
    place: Place,
    settings: Settings,
    tls: ServerOptions,
    factory: io::Result<ProtocolFactory>,
) -> Starting {
    Box::pin(async move {
        let factory = factory?;
        let security = tls.check()?;
        let Place(place) = place;
        let bound = place.bind(&handle, &settings.socket_options).await?;
        let core = ServerCore::new(&handle, bound, &settings.of_server, security, factory);
        let server = Server::new(core);
        if settings.start_serving {
            server.start_serving().await?;
        }
        Ok(server)
    })
}

impl<On: fmt::Debug, With: fmt::Debug> fmt::Debug for Serve<On, With> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("on", &self.on)
            .field("with", &self.with)
            .field("settings", &self.settings)
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

/// Where a server serves: on a host, a path or a socket.
pub struct Place(Box<dyn Bind>);

/// A place that can be bound.
///
/// Each has a function of its own, called by its address: so a program contains those that it
/// uses, and no others.
trait Bind {
    fn bind<'a>(self: Box<Self>, handle: &'a LoopHandle, options: &'a SocketOptions)
    -> Binding<'a>;
}

type Binding<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<BoundSocket>>> + 'a>>;

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl From<OnHost> for Place {
    fn from(on: OnHost) -> Self {
        Place(Box::new(on))
    }
}

impl From<OnPath> for Place {
    fn from(on: OnPath) -> Self {
        Place(Box::new(on))
    }
}

impl From<OnSock> for Place {
    fn from(on: OnSock) -> Self {
        Place(Box::new(on))
    }
}

impl Bind for OnHost {
    fn bind<'a>(
        self: Box<Self>,
        handle: &'a LoopHandle,
        options: &'a SocketOptions,
    ) -> Binding<'a> {
        Box::pin(async move {
            let resolved = self.host.resolve_to_bind(handle, self.port, self.wanted);
            bind_all(&resolved.await?, self.options, options)
        })
    }
}

impl Bind for OnPath {
    fn bind<'a>(self: Box<Self>, _: &'a LoopHandle, options: &'a SocketOptions) -> Binding<'a> {
        Box::pin(async move {
            let bound = BoundSocket::bind_unix(&self.path, self.file, options)?;
            Ok(vec![bound])
        })
    }
}

impl Bind for OnSock {
    fn bind<'a>(self: Box<Self>, _: &'a LoopHandle, options: &'a SocketOptions) -> Binding<'a> {
        Box::pin(async move {
            let bound = BoundSocket::adopt(self.sock, self.wanted, options)?;
            Ok(vec![bound.clean_up(self.at_close)])
        })
    }
}
