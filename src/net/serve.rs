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
use crate::event_loop::{AddrInfoFlags, LoopHandle, Wanted, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::task::yield_now;

use super::bind::{BoundSocket, bind_all};
use super::connect::StreamKind;
use super::handler::{ClientConnected, HandlerOutcome, client_connected};
use super::host::Host;
use super::server::{ProtocolFactory, Server};
use super::unix::{AtClose, FileSettings};

/// How many connections may wait to be accepted, unless set.
const BACKLOG: i32 = 100;

/// A server to be started: set what is to be set, then await it.
///
/// Made by [`start_server`](crate::start_server), [`LoopHandle::create_server`] and their twins. `On` is where it
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
    file: FileSettings,
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
    pub(super) fn new(host: impl Into<Host>, port: u16) -> OnHost {
        OnHost {
            host: host.into(),
            port,
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
        self.on.file.at_close = if cleanup_socket {
            AtClose::Remove
        } else {
            AtClose::Leave
        };
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
    /// run(async {
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
    pub(super) fn protocols<P: Protocol>(
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
                let wanted = Wanted {
                    flags: AddrInfoFlags::PASSIVE,
                    ..Wanted::default()
                };
                let addresses = on.host.resolve_to_bind(handle, on.port, wanted).await?;
                bind_all(&addresses)
            }
            Place::Path(on) => Ok(vec![BoundSocket::bind_unix(&on.path, on.file)?]),
            Place::Sock(on) => Ok(vec![BoundSocket::adopt(on.sock, on.wanted)?]),
        }
    }
}
