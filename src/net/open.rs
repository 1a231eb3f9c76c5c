//! What the client's functions return: set what is to be set, then await it.
//!
//! ```text
//!   Connect<To, As>     To  ToHost ─► resolve ─► connect ─┐
//!                           ToPath ────────────► connect ─┼─► socket ─► As  AsStreams
//!                           ToSock ───────────────────────┘                 AsProtocol
//! ```
//!
//! asyncio: the keyword arguments of `open_connection` and `create_connection`.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

use crate::contract::{Protocol, Transport};
use crate::event_loop::{LoopHandle, Wanted, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::transports::Socket;

use super::connect::{StreamKind, adopt_stream, connect_tcp, make_transport};
use super::host::Host;
use super::unix::connect_unix;

/// A connection to be opened: set what is to be set, then await it.
///
/// Made by [`open_connection`](super::open_connection), [`LoopHandle::create_connection`] and their twins. `To` is
/// where it goes: [`ToHost`], [`ToPath`] or [`ToSock`]; `As` is what is made of it:
/// [`AsStreams`] or [`AsProtocol`]. Each offers what makes sense with it.
#[must_use = "a connection is opened only when it is awaited"]
pub struct Connect<To, As> {
    handle: LoopHandle,
    to: To,
    made: As,
}

/// Connects to a host and a port.
#[derive(Debug)]
pub struct ToHost {
    host: Host,
    port: u16,
}

/// Connects to the path of a Unix-domain socket.
#[derive(Debug)]
pub struct ToPath {
    path: PathBuf,
}

/// Takes over a socket that is connected.
#[derive(Debug)]
pub struct ToSock {
    sock: OwnedFd,
    /// The only kind that will do, if there is one.
    wanted: Option<StreamKind>,
}

/// Gives a reader and a writer.
#[derive(Debug)]
pub struct AsStreams {
    limit: Option<usize>,
}

/// Gives a transport, with a protocol of your own.
pub struct AsProtocol {
    factory: Box<dyn FnOnce() -> Box<dyn Protocol>>,
}

impl ToHost {
    pub(super) fn new(host: impl Into<Host>, port: u16) -> ToHost {
        ToHost {
            host: host.into(),
            port,
        }
    }
}

impl ToPath {
    pub(super) fn new(path: impl Into<PathBuf>) -> ToPath {
        ToPath { path: path.into() }
    }
}

impl ToSock {
    pub(super) fn new(sock: impl Into<OwnedFd>, wanted: Option<StreamKind>) -> ToSock {
        ToSock {
            sock: sock.into(),
            wanted,
        }
    }
}

impl<To: Into<Destination> + 'static> Connect<To, AsStreams> {
    #[track_caller]
    pub(super) fn streams(to: To) -> Self {
        Connect {
            handle: running_loop(),
            to,
            made: AsStreams { limit: None },
        }
    }

    /// Sets the reader's limit, in bytes: 64 KiB unless set.
    ///
    /// # asyncio
    /// The argument `limit`.
    pub fn limit(mut self, limit: usize) -> Self {
        self.made.limit = Some(limit);
        self
    }

    async fn open(self) -> io::Result<(StreamReader, StreamWriter)> {
        // Before any I/O: a limit of zero is refused here.
        let reader = match self.made.limit {
            Some(limit) => StreamReader::with_limit(limit)?,
            None => StreamReader::new(),
        };
        let socket = self.to.into().connect(&self.handle).await?;
        let protocol = Box::new(StreamReaderProtocol::new(&reader));
        let transport = make_transport(&self.handle, socket, protocol).await?;
        let writer = StreamWriter::new(transport, &reader);
        Ok((reader, writer))
    }
}

impl<To: Into<Destination> + 'static> Connect<To, AsProtocol> {
    pub(super) fn protocol<P: Protocol>(
        handle: &LoopHandle,
        to: To,
        factory: impl FnOnce() -> P + 'static,
    ) -> Self {
        Connect {
            handle: handle.clone(),
            to,
            made: AsProtocol {
                factory: Box::new(move || Box::new(factory())),
            },
        }
    }

    async fn create(self) -> io::Result<Rc<dyn Transport>> {
        let socket = self.to.into().connect(&self.handle).await?;
        let protocol = (self.made.factory)();
        make_transport(&self.handle, socket, protocol).await
    }
}

impl<To: Into<Destination> + 'static> IntoFuture for Connect<To, AsStreams> {
    type Output = io::Result<(StreamReader, StreamWriter)>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl<To: Into<Destination> + 'static> IntoFuture for Connect<To, AsProtocol> {
    type Output = io::Result<Rc<dyn Transport>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.create())
    }
}

impl<To: fmt::Debug, As: fmt::Debug> fmt::Debug for Connect<To, As> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("to", &self.to)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AsProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsProtocol").finish_non_exhaustive()
    }
}

/// Where a connection goes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Destination {
    /// To a host and a port.
    Host(ToHost),
    /// To the path of a Unix-domain socket.
    Path(ToPath),
    /// Nowhere: it stands already.
    Sock(ToSock),
}

impl From<ToHost> for Destination {
    fn from(to: ToHost) -> Self {
        Destination::Host(to)
    }
}

impl From<ToPath> for Destination {
    fn from(to: ToPath) -> Self {
        Destination::Path(to)
    }
}

impl From<ToSock> for Destination {
    fn from(to: ToSock) -> Self {
        Destination::Sock(to)
    }
}

impl Destination {
    /// Gives a connected socket that is in nobody else's hands.
    async fn connect(self, handle: &LoopHandle) -> io::Result<Socket> {
        match self {
            Destination::Host(to) => {
                let addresses = to
                    .host
                    .resolve_to_connect(handle, to.port, Wanted::default())
                    .await?;
                connect_tcp(handle, &addresses).await
            }
            Destination::Path(to) => connect_unix(&to.path).await,
            Destination::Sock(to) => adopt_stream(to.sock, to.wanted),
        }
    }
}
