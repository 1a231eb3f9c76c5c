//! Endpoints for datagrams: what `create_datagram_endpoint` returns.
//!
//! ```text
//!   local_addr, remote_addr ─► resolve both ─► a pair of one family ─► socket, bind, connect
//!   local_path, remote_path ──────────────────────────────────────────► the same
//!   sock ──────────────────────────────────────────────────────────────► taken over
//! ```

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

use socket2::{Domain, Protocol as ProtocolNumber, SockAddr, SockRef, Socket, Type};

use crate::address::Address;
use crate::contract::{DatagramProtocol, DatagramTransport};
use crate::error::Cancelled;
use crate::event_loop::{AddrInfoFlags, Family, LoopHandle, Wanted};
use crate::sock::SockTarget;
use crate::task::create_future;
use crate::transports::{DatagramSocket, SocketDatagramTransport};

use super::bind::set_reuse_port;
use super::connect::describe;
use super::host::Host;
use super::unix::{parse, remove_stale};

impl LoopHandle {
    /// Makes an endpoint for datagrams: set where it is and to whom it sends, then await it.
    ///
    /// With a local address, it receives what is sent there. With a remote address, it is
    /// connected: it sends to that one alone, and receives from it alone.
    ///
    /// # Errors
    /// What resolving, binding or connecting fails with; `InvalidInput` with `unexpected
    /// address family` if neither address nor family nor socket is given, with `can not get
    /// address information` if local and remote have no family in common.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    ///
    /// # asyncio
    /// `loop.create_datagram_endpoint(factory, …)`, which returns the protocol too.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::rc::Rc;
    /// use millstream::{
    ///     Address, DatagramProtocol, DatagramTransport, Promise, SockName, create_future,
    ///     get_running_loop, run,
    /// };
    ///
    /// struct Echo;
    ///
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(
    ///         &mut self,
    ///         transport: &Rc<dyn DatagramTransport>,
    ///         data: &[u8],
    ///         sender: &Address,
    ///     ) {
    ///         let _ = transport.sendto(data, Some(sender));
    ///     }
    /// }
    ///
    /// struct Asking(Option<Promise<Vec<u8>>>);
    ///
    /// impl DatagramProtocol for Asking {
    ///     fn datagram_received(
    ///         &mut self,
    ///         _transport: &Rc<dyn DatagramTransport>,
    ///         data: &[u8],
    ///         _sender: &Address,
    ///     ) {
    ///         if let Some(promise) = self.0.take() {
    ///             promise.set_result(data.to_vec());
    ///         }
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let handle = get_running_loop()?;
    ///     let server = handle
    ///         .create_datagram_endpoint(|| Echo)
    ///         .local_addr("127.0.0.1", 0)
    ///         .await?;
    ///     let port = server.get_extra_info(SockName).and_then(|name| name.port());
    ///
    ///     let (promise, answer) = create_future();
    ///     let client = handle
    ///         .create_datagram_endpoint(|| Asking(Some(promise)))
    ///         .remote_addr("127.0.0.1", port.unwrap_or(0))
    ///         .await?;
    ///     client.sendto(b"hello", None)?;
    ///     assert_eq!(answer.await?, b"hello");
    ///     client.close();
    ///     server.close();
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn create_datagram_endpoint<P: DatagramProtocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
    ) -> DatagramEndpoint {
        DatagramEndpoint {
            handle: self.clone(),
            factory: Box::new(move || Box::new(factory())),
            local: None,
            remote: None,
            wanted: Wanted::default(),
            reuse_port: false,
            allow_broadcast: false,
            sock: None,
        }
    }
}

/// An endpoint to be made: set what is to be set, then await it.
///
/// Made by [`LoopHandle::create_datagram_endpoint`].
#[must_use = "an endpoint is made only when it is awaited"]
pub struct DatagramEndpoint {
    handle: LoopHandle,
    factory: Box<dyn FnOnce() -> Box<dyn DatagramProtocol>>,
    local: Option<Where>,
    remote: Option<Where>,
    wanted: Wanted,
    reuse_port: bool,
    allow_broadcast: bool,
    sock: Option<OwnedFd>,
}

/// Where one end of it is.
#[derive(Debug)]
enum Where {
    Host(Host, u16),
    Path(PathBuf),
}

/// A socket's two addresses, each if it was asked for.
struct Pair {
    domain: Domain,
    local: Option<SockAddr>,
    remote: Option<SockAddr>,
}

impl DatagramEndpoint {
    /// Sets the address to receive at. Port 0 is a free one.
    ///
    /// # asyncio
    /// The argument `local_addr=(host, port)`.
    pub fn local_addr(mut self, host: impl Into<Host>, port: u16) -> Self {
        self.local = Some(Where::Host(host.into(), port));
        self
    }

    /// Sets the address to send to, and the only one to receive from.
    ///
    /// # asyncio
    /// The argument `remote_addr=(host, port)`.
    pub fn remote_addr(mut self, host: impl Into<Host>, port: u16) -> Self {
        self.remote = Some(Where::Host(host.into(), port));
        self
    }

    /// Sets the path to receive at, of a Unix-domain socket. A socket that is there is
    /// removed first.
    ///
    /// # asyncio
    /// The arguments `family=AF_UNIX, local_addr=path`.
    pub fn local_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.local = Some(Where::Path(path.into()));
        self
    }

    /// Sets the path to send to, of a Unix-domain socket.
    ///
    /// # asyncio
    /// The arguments `family=AF_UNIX, remote_addr=path`.
    pub fn remote_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.remote = Some(Where::Path(path.into()));
        self
    }

    /// Sets the family: without addresses, that of the socket; with them, of those that
    /// hosts resolve to.
    ///
    /// # asyncio
    /// The argument `family`.
    pub fn family(mut self, family: Family) -> Self {
        self.wanted.family = family;
        self
    }

    /// Sets the number of the protocol: 0, the usual one, unless set.
    ///
    /// # asyncio
    /// The argument `proto`.
    pub fn proto(mut self, proto: i32) -> Self {
        self.wanted.proto = proto;
        self
    }

    /// Sets how hosts are looked up.
    ///
    /// # asyncio
    /// The argument `flags`.
    pub fn flags(mut self, flags: AddrInfoFlags) -> Self {
        self.wanted.flags = flags;
        self
    }

    /// Lets others bind to the same port: false unless set.
    ///
    /// # asyncio
    /// The argument `reuse_port`.
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Lets it send to a broadcast address: false unless set. It is not connected to its
    /// remote address then.
    ///
    /// # asyncio
    /// The argument `allow_broadcast`.
    pub fn allow_broadcast(mut self, on: bool) -> Self {
        self.allow_broadcast = on;
        self
    }

    /// Takes over a datagram socket that somebody else made. Nothing else can be set then.
    ///
    /// # asyncio
    /// The argument `sock`.
    pub fn sock(mut self, sock: impl Into<OwnedFd>) -> Self {
        self.sock = Some(sock.into());
        self
    }

    async fn create(mut self) -> io::Result<Rc<dyn DatagramTransport>> {
        let (socket, fixed) = match self.sock.take() {
            Some(sock) => (self.adopt(sock)?, None),
            None => self.make_socket().await?,
        };
        let protocol = (self.factory)();
        let (promise, made) = create_future();
        let on_made = move || promise.set_result(());
        let transport =
            SocketDatagramTransport::open(&self.handle, socket, fixed, protocol, on_made)?;
        let unmade = CloseOnDrop(Some(transport));
        made.await.map_err(|Cancelled| io::Error::from(Cancelled))?;
        Ok(unmade.keep())
    }

    fn adopt(&self, sock: OwnedFd) -> io::Result<DatagramSocket> {
        let kind = SockRef::from(&sock).r#type();
        if !kind.is_ok_and(|kind| kind == Type::DGRAM) {
            let sock = describe(&sock);
            return Err(invalid(format!(
                "A datagram socket was expected, got {sock}"
            )));
        }
        let set = self.what_is_set();
        if !set.is_empty() {
            return Err(invalid(format!(
                "socket modifier keyword arguments can not be used when sock is specified. \
                 ({})",
                set.join(", ")
            )));
        }
        DatagramSocket::from_fd(sock)
    }

    /// Names what makes no sense together with a socket.
    fn what_is_set(&self) -> Vec<&'static str> {
        let set = [
            ("local_addr", self.local.is_some()),
            ("remote_addr", self.remote.is_some()),
            ("family", self.wanted.family != Family::Unspecified),
            ("proto", self.wanted.proto != 0),
            ("flags", self.wanted.flags != AddrInfoFlags::default()),
            ("reuse_port", self.reuse_port),
            ("allow_broadcast", self.allow_broadcast),
        ];
        set.into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(name, _)| name)
            .collect()
    }

    /// Tries each pair of addresses, until one has a socket; else the first error counts.
    async fn make_socket(&self) -> io::Result<(DatagramSocket, Option<Address>)> {
        let mut first_error = None;
        for pair in self.pairs().await? {
            match self.socket_for(&pair).await {
                Ok(made) => return Ok(made),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| invalid("can not get address information")))
    }

    async fn socket_for(&self, pair: &Pair) -> io::Result<(DatagramSocket, Option<Address>)> {
        let proto = Some(self.wanted.proto).filter(|proto| *proto != 0);
        let proto = proto.map(ProtocolNumber::from);
        let socket = Socket::new(pair.domain, Type::DGRAM, proto)?;
        socket.set_nonblocking(true)?;
        if self.reuse_port {
            set_reuse_port(&SockRef::from(&socket))?;
        }
        if self.allow_broadcast {
            socket.set_broadcast(true)?;
        }
        if let Some(local) = &pair.local {
            socket.bind(local)?;
        }
        let remote = pair.remote.as_ref().map(Address::of);
        let fixed = match remote {
            Some(remote) if !self.allow_broadcast => {
                let target = SockTarget::from(remote);
                self.handle.sock_connect(&socket, target).await?;
                None
            }
            unconnected => unconnected,
        };
        Ok((DatagramSocket::from_fd(socket.into())?, fixed))
    }

    /// The pairs of addresses to be tried: one for each family that both ends have.
    async fn pairs(&self) -> io::Result<Vec<Pair>> {
        if let Some(pair) = self.pair_of_paths()? {
            return Ok(vec![pair]);
        }
        let local = self.resolve(self.local.as_ref()).await?;
        let remote = self.resolve(self.remote.as_ref()).await?;
        if local.is_none() && remote.is_none() {
            let domain = match self.wanted.family {
                Family::V4 => Domain::IPV4,
                Family::V6 => Domain::IPV6,
                Family::Unspecified => return Err(invalid("unexpected address family")),
            };
            let (local, remote) = (None, None);
            return Ok(vec![Pair {
                domain,
                local,
                remote,
            }]);
        }
        let mut families = Vec::new();
        for address in local.iter().chain(&remote).flatten() {
            let family = Family::of(address);
            if !families.contains(&family) {
                families.push(family);
            }
        }
        let pairs = families.into_iter().filter_map(|family| {
            let local = first_of(family, local.as_deref())?;
            let remote = first_of(family, remote.as_deref())?;
            let domain = Domain::for_address(local.or(remote)?);
            Some(Pair {
                domain,
                local: local.map(SockAddr::from),
                remote: remote.map(SockAddr::from),
            })
        });
        Ok(pairs.collect())
    }

    fn pair_of_paths(&self) -> io::Result<Option<Pair>> {
        let (local, remote) = match (&self.local, &self.remote) {
            (None, None) | (Some(Where::Host(..)), None) | (None, Some(Where::Host(..))) => {
                return Ok(None);
            }
            (Some(Where::Host(..)), Some(Where::Host(..))) => return Ok(None),
            (Some(Where::Path(local)), None) => (Some(local), None),
            (None, Some(Where::Path(remote))) => (None, Some(remote)),
            (Some(Where::Path(local)), Some(Where::Path(remote))) => (Some(local), Some(remote)),
            _ => {
                return Err(invalid(
                    "can not get address information: one end is a path, the other a host",
                ));
            }
        };
        let local = local.map(|path| parse(path)).transpose()?;
        let remote = remote.map(|path| parse(path)).transpose()?;
        if let Some((Address::Unix(path), _)) = &local {
            remove_stale(path);
        }
        Ok(Some(Pair {
            domain: Domain::UNIX,
            local: local.map(|(_, address)| address),
            remote: remote.map(|(_, address)| address),
        }))
    }

    async fn resolve(&self, end: Option<&Where>) -> io::Result<Option<Vec<SocketAddr>>> {
        let Some(Where::Host(host, port)) = end else {
            return Ok(None);
        };
        let addresses = host.resolve_to_connect(&self.handle, *port, self.wanted);
        Ok(Some(addresses.await?))
    }
}

impl IntoFuture for DatagramEndpoint {
    type Output = io::Result<Rc<dyn DatagramTransport>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.create())
    }
}

impl fmt::Debug for DatagramEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramEndpoint")
            .field("local", &self.local)
            .field("remote", &self.remote)
            .field("reuse_port", &self.reuse_port)
            .field("allow_broadcast", &self.allow_broadcast)
            .finish_non_exhaustive()
    }
}

/// Closes a transport that nobody took.
struct CloseOnDrop(Option<Rc<SocketDatagramTransport>>);

impl CloseOnDrop {
    fn keep(mut self) -> Rc<dyn DatagramTransport> {
        self.0
            .take()
            .expect("only this takes it, and consumes the guard")
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(transport) = self.0.take() {
            transport.close();
        }
    }
}

/// The first address of a family. `None` if there is none of it; `Some(None)` if none was
/// asked for.
fn first_of(family: Family, addresses: Option<&[SocketAddr]>) -> Option<Option<SocketAddr>> {
    let Some(addresses) = addresses else {
        return Some(None);
    };
    let first = addresses.iter().find(|address| family.admits(address))?;
    Some(Some(*first))
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}
