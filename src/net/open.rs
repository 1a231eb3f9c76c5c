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
use std::time::Duration;

use crate::contract::{Protocol, Transport};
use crate::event_loop::{AddrInfoFlags, Family, LoopHandle, Wanted, running_loop};
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::transports::Socket;

use super::connect::{Attempts, StreamKind, adopt_stream};
use super::connect_errors::Shown;
use super::happy_eyeballs::{RECOMMENDED_DELAY, interleave};
use super::host::Host;
use super::options::SocketOptions;
use super::tls::ClientOptions;
use super::unix::connect_unix;

/// A connection to be opened: set what is to be set, then await it.
///
/// Made by [`open_connection`](super::open_connection), [`LoopHandle::create_connection`]
/// and their twins. `To` is where it goes: [`ToHost`], [`ToPath`] or [`ToSock`]; `As` is
/// what is made of it: [`AsStreams`] or [`AsProtocol`]. Each offers what makes sense with
/// it.
///
/// # asyncio
/// Its arguments exclude each other at run time; here they can't be written together:
///
/// ```compile_fail,E0599
/// # async fn host_and_sock(sock: std::net::TcpStream) -> std::io::Result<()> {
/// // CON-04: a socket that is connected has no host.
/// millstream::open_connection_sock(sock).family(millstream::Family::V4).await?;
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0061
/// # async fn neither() -> std::io::Result<()> {
/// // CON-04: without a host and without a socket.
/// millstream::open_connection().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a connection is opened only when it is awaited"]
pub struct Connect<To, As> {
    handle: LoopHandle,
    to: To,
    made: As,
    pub(super) tls: ClientOptions,
    socket_options: SocketOptions,
}

/// Connects to a host and a port.
#[derive(Debug)]
pub struct ToHost {
    host: Host,
    port: u16,
    wanted: Wanted,
    local: Option<(Host, u16)>,
    happy_eyeballs_delay: Option<Duration>,
    interleave: Option<usize>,
    shown: Shown,
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
            wanted: Wanted::default(),
            local: None,
            happy_eyeballs_delay: None,
            interleave: None,
            shown: Shown::AsOne,
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn host(&self) -> &Host {
        &self.host
    }
}

impl ToHost {
    async fn connect(self, handle: &LoopHandle, options: SocketOptions) -> io::Result<Socket> {
        let wanted = self.wanted;
        let addresses = self.host.resolve_to_connect(handle, self.port, wanted);
        let addresses = addresses.await?;
        let local = match self.local {
            Some((host, port)) => Some(host.resolve_to_connect(handle, port, wanted).await?),
            None => None,
        };
        let takes_turns = usize::from(self.happy_eyeballs_delay.is_some());
        let addresses = interleave(addresses, self.interleave.unwrap_or(takes_turns));
        let attempts = Attempts {
            proto: wanted.proto,
            options,
            local,
            delay: self.happy_eyeballs_delay,
            shown: self.shown,
        };
        attempts.connect(handle, addresses).await
    }
}

impl<As> Connect<ToHost, As> {
    /// Connects to addresses of one family only.
    ///
    /// # asyncio
    /// The argument `family`.
    pub fn family(mut self, family: Family) -> Self {
        self.to.wanted.family = family;
        self
    }

    /// Sets the number of the sockets' protocol: zero, the default, is TCP, which is also
    /// 6; Linux has Multipath TCP as 262.
    ///
    /// # Errors
    /// When it is awaited: what the system says to a protocol that it has no stream sockets
    /// for.
    ///
    /// # asyncio
    /// The argument `proto`. Its resolver refuses names for a protocol that it doesn't
    /// know.
    pub fn proto(mut self, proto: i32) -> Self {
        self.to.wanted.proto = proto;
        self
    }

    /// Says how names are looked up; see [`AddrInfoFlags`] for what each flag means here.
    ///
    /// # Errors
    /// When it is awaited: flags that need the feature `resolver`, without it; of kind
    /// `Unsupported`.
    ///
    /// # asyncio
    /// The argument `flags`.
    pub fn flags(mut self, flags: AddrInfoFlags) -> Self {
        self.to.wanted.flags = flags;
        self
    }

    /// Connects from an address of ours: a host, which is resolved as the peer's is, and a
    /// port, of which zero has the system choose one.
    ///
    /// Each attempt binds to the first of the addresses that is of the peer's family and
    /// works. No host means the loopback; all interfaces are `0.0.0.0` and `::`.
    ///
    /// # Errors
    /// When it is awaited: what binding fails with, with the address; that there is none of
    /// the peer's family.
    ///
    /// # asyncio
    /// The argument `local_addr`.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use millstream::{open_connection, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let (_reader, writer) = open_connection("127.0.0.1", 8888)
    ///         .local_addr("127.0.0.2", 0)
    ///         .await?;
    ///     writer.aclose().await
    /// })
    /// # }
    /// ```
    pub fn local_addr(mut self, host: impl Into<Host>, port: u16) -> Self {
        self.to.local = Some((host.into(), port));
        self
    }

    /// Tries the addresses in a race as RFC 8305 has it, "Happy Eyeballs": the next attempt
    /// begins when the one before it has failed or has taken 250 milliseconds, and the
    /// families take turns.
    ///
    /// So a host is reached in good time that has addresses which lead nowhere.
    ///
    /// # asyncio
    /// `happy_eyeballs_delay=0.25`; `interleave` is one with it.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use millstream::{open_connection, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let (_reader, writer) = open_connection("mill.example", 8888).happy_eyeballs().await?;
    ///     writer.aclose().await
    /// })
    /// # }
    /// ```
    pub fn happy_eyeballs(self) -> Self {
        self.happy_eyeballs_delay(RECOMMENDED_DELAY).interleave(1)
    }

    /// Tries the addresses in a race: the next attempt begins when the one before it has
    /// failed, or has taken `delay`. Unless set, one comes after the other.
    ///
    /// The first that connects wins; the sockets of all others are closed before this
    /// returns, also of those that connected in the same moment (D13). At most 16 attempts
    /// run at once. The families take turns, unless [`interleave`](Self::interleave) says
    /// otherwise. RFC 8305 recommends 250 milliseconds, and no less than 100.
    ///
    /// # asyncio
    /// The argument `happy_eyeballs_delay`, in seconds there. A race there can leave a
    /// second connected socket open.
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.to.happy_eyeballs_delay = Some(delay);
        self
    }

    /// Has the families take turns among the addresses; `first_family_count` of the family
    /// that the resolver prefers come before the first of the other.
    ///
    /// Zero keeps the resolver's order. Unless set, it is one in a race, else zero.
    ///
    /// # asyncio
    /// The argument `interleave`.
    pub fn interleave(mut self, first_family_count: usize) -> Self {
        self.to.interleave = Some(first_family_count);
        self
    }

    /// Says whether the failures of all attempts come as a group, [`ConnectErrors`], even if
    /// it is one: no unless set.
    ///
    /// Otherwise a single one, and one that all are, comes as it is.
    ///
    /// # asyncio
    /// The argument `all_errors`.
    ///
    /// [`ConnectErrors`]: super::ConnectErrors
    pub fn all_errors(mut self, on: bool) -> Self {
        self.to.shown = if on { Shown::AsGroup } else { Shown::AsOne };
        self
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

    #[cfg(feature = "tls")]
    pub(super) fn must_be_unix(&self) -> bool {
        self.wanted == Some(StreamKind::Unix)
    }
}

impl<To: Into<Destination> + 'static, As> Connect<To, As> {
    /// Sets options on each socket, before it is bound and connected; on one that is
    /// connected already, when it is taken over. See [`SocketOptions`].
    ///
    /// # Errors
    /// When awaited, what the system refuses.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn socket_options(mut self, options: SocketOptions) -> Self {
        self.socket_options = options;
        self
    }
}

impl<To: Into<Destination> + 'static> Connect<To, AsStreams> {
    #[track_caller]
    pub(super) fn streams(to: To) -> Self {
        Connect {
            handle: running_loop(),
            to,
            made: AsStreams { limit: None },
            tls: ClientOptions::default(),
            socket_options: SocketOptions::new(),
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
        let to = self.to.into();
        let security = self.tls.check(&to)?;
        let socket = to.connect(&self.handle, self.socket_options).await?;
        let protocol = Box::new(StreamReaderProtocol::new(&reader));
        let transport = security
            .make_transport(&self.handle, socket, protocol)
            .await?;
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
            tls: ClientOptions::default(),
            socket_options: SocketOptions::new(),
        }
    }

    async fn create(self) -> io::Result<Rc<dyn Transport>> {
        let to = self.to.into();
        let security = self.tls.check(&to)?;
        let socket = to.connect(&self.handle, self.socket_options).await?;
        let protocol = (self.made.factory)();
        security
            .make_transport(&self.handle, socket, protocol)
            .await
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
            .field("socket_options", &self.socket_options)
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
    async fn connect(self, handle: &LoopHandle, options: SocketOptions) -> io::Result<Socket> {
        match self {
            Destination::Host(to) => to.connect(handle, options).await,
            Destination::Path(to) => connect_unix(&to.path, &options).await,
            Destination::Sock(to) => adopt_stream(to.sock, to.wanted, &options),
        }
    }
}
