//! Connecting: a socket, a non-blocking connect, and the wait for its outcome.
//!
//! ```text
//!   socket ─► bind, if asked ─► connect ─► connected
//!                                  └─ in progress ─► wait for writable ─► SO_ERROR ─┬► connected
//!                                                                                   └► why not
//! ```

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::Interest;
use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, SockRef, Type};

use crate::contract::{Protocol, Transport};
use crate::error::{Cancelled, connect_goes_on};
use crate::event_loop::{Family, LoopHandle};
use crate::explained::explain;
use crate::reactor::{EventSource, SourceId};
use crate::task::create_future;
use crate::transports::{AttachedTo, Opening, Socket, StreamTransport};
use crate::waiters::WaiterCell;
use crate::waits::{WaitsOn, What, note};

use super::bind::cannot_bind;
use super::connect_errors::{ConnectErrors, Shown};
use super::happy_eyeballs::race;
use super::options::SocketOptions;

/// How a host's addresses are tried.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts {
    /// The number of the protocol; zero for TCP.
    pub(super) proto: i32,
    pub(super) options: SocketOptions,
    /// Addresses of ours to connect from, the first that works of each family.
    pub(super) local: Option<Vec<SocketAddr>>,
    /// How long to wait for one attempt before the next one begins beside it. Without it
    /// they come one after the other.
    pub(super) delay: Option<Duration>,
    pub(super) shown: Shown,
}

impl Attempts {
    /// Connects to one of a host's addresses, which are tried in their order.
    pub(super) async fn connect(
        &self,
        handle: &LoopHandle,
        addresses: Vec<SocketAddr>,
    ) -> io::Result<Socket> {
        let attempts = addresses.into_iter().map(|to| self.attempt(handle, to));
        match race(attempts, self.delay).await {
            Ok(stream) => Ok(Socket::Tcp(stream)),
            Err(failures) => {
                let failures = failures.into_iter().flatten().collect();
                Err(ConnectErrors::combine(failures, self.shown))
            }
        }
    }

    /// Connects to one address. Fails with all that went wrong, for an address of ours that
    /// could not be bound is passed over.
    async fn attempt(
        &self,
        handle: &LoopHandle,
        to: SocketAddr,
    ) -> Result<TcpStream, Vec<io::Error>> {
        let mut failures = Vec::new();
        let connected = async {
            let socket = self.socket(to)?;
            self.options.apply(socket.as_fd())?;
            self.bind(&socket, Family::of(&to), &mut failures)?;
            let connected = connect_stream(handle, socket, to).await;
            connected.map_err(|error| explain(error, |e| format!("Connect call failed {to}: {e}")))
        };
        connected.await.map_err(|error| {
            // Nobody else will hear of it, if another attempt wins.
            if handle.get_debug() {
                log::debug!("an attempt to connect failed: {error}");
            }
            failures.push(error);
            failures
        })
    }

    /// Makes a client's socket: the only place where that is done.
    fn socket(&self, to: SocketAddr) -> io::Result<socket2::Socket> {
        let domain = Domain::for_address(to);
        let proto = (self.proto != 0).then(|| socket2::Protocol::from(self.proto));
        new_socket_for(proto, domain).map_err(|error| no_socket("connect to", to, error))
    }

    /// Binds a socket to the first of our addresses that works.
    fn bind(
        &self,
        socket: &socket2::Socket,
        family: Family,
        failures: &mut Vec<io::Error>,
    ) -> io::Result<()> {
        let Some(local) = &self.local else {
            return Ok(());
        };
        for &from in local.iter().filter(|from| family.admits(from)) {
            match socket.bind(&from.into()) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(cannot_bind(from, error)),
            }
        }
        let missing = || {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("no matching local address with family={family} found"),
            )
        };
        Err(failures.pop().unwrap_or_else(missing))
    }
}

async fn connect_stream(
    handle: &LoopHandle,
    socket: socket2::Socket,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let at_once = match socket.connect(&to.into()) {
        Ok(()) => true,
        Err(error) if connect_goes_on(&error) => false,
        Err(error) => return Err(error),
    };
    let mut stream = TcpStream::from_std(socket.into());
    if !at_once {
        Connecting::new(handle, &mut stream)?.outcome().await?;
    }
    Ok(stream)
}

/// Makes a stream socket that does not block and is not inherited by child processes.
pub(super) fn new_socket(domain: Domain) -> io::Result<socket2::Socket> {
    new_socket_for(None, domain)
}

/// Says what a socket was wanted for that could not be made.
pub(super) fn no_socket(to: &str, address: impl fmt::Display, error: io::Error) -> io::Error {
    explain(error, |e| format!("no socket to {to} {address}: {e}"))
}

/// The same for a protocol; `None` is the usual one.
fn new_socket_for(proto: Option<socket2::Protocol>, domain: Domain) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(domain, Type::STREAM, proto)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Takes over a socket that somebody else connected.
pub(super) fn adopt_stream(
    fd: OwnedFd,
    wanted: Option<StreamKind>,
    options: &SocketOptions,
) -> io::Result<Socket> {
    let kind = StreamKind::of(&fd, wanted)?;
    options.apply(fd.as_fd())?;
    SockRef::from(&fd).set_nonblocking(true)?;
    Ok(match kind {
        StreamKind::Tcp => Socket::Tcp(TcpStream::from_std(fd.into())),
        StreamKind::Unix => Socket::Unix(UnixStream::from_std(fd.into())),
    })
}

/// Which of the two kinds of stream sockets a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    Tcp,
    Unix,
}

impl StreamKind {
    /// # Errors
    /// `InvalidInput` if it is no stream socket, or not of the only kind that will do.
    pub(super) fn of(fd: &OwnedFd, wanted: Option<StreamKind>) -> io::Result<StreamKind> {
        let socket = SockRef::from(fd);
        let is_stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
        if is_stream {
            let domain = socket.local_addr()?.domain();
            let kind = if domain == Domain::UNIX {
                StreamKind::Unix
            } else {
                StreamKind::Tcp
            };
            if wanted.is_none_or(|wanted| wanted == kind) {
                return Ok(kind);
            }
        }
        let expected = match wanted {
            Some(StreamKind::Unix) => "A UNIX Domain Stream Socket",
            Some(StreamKind::Tcp) | None => "A Stream Socket",
        };
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{expected} was expected, got {}", describe(fd)),
        ))
    }
}

/// Names a descriptor in an error message.
pub(super) fn describe(fd: &OwnedFd) -> String {
    let socket = SockRef::from(fd);
    match (socket.local_addr(), socket.r#type()) {
        (Ok(address), Ok(kind)) => format!(
            "<socket fd={} family={:?} type={kind:?}>",
            fd.as_raw_fd(),
            address.domain()
        ),
        _ => format!("<no socket, fd={}>", fd.as_raw_fd()),
    }
}

/// Makes the transport of a connected socket, and waits until `connection_made` has
/// returned. Dropped before that, it closes the transport.
pub(super) async fn make_transport(
    handle: &LoopHandle,
    socket: Socket,
    protocol: Box<dyn Protocol>,
) -> io::Result<Rc<dyn Transport>> {
    make_detachable(handle, socket, protocol, None).await
}

/// Does what [`make_transport`] does, and tells `attached_to`, or drops it, when the
/// connection is over.
pub(super) async fn make_detachable(
    handle: &LoopHandle,
    socket: Socket,
    protocol: Box<dyn Protocol>,
    attached_to: Option<Rc<dyn AttachedTo>>,
) -> io::Result<Rc<dyn Transport>> {
    let (promise, made) = create_future();
    let opening = Opening {
        socket,
        protocol,
        peer_name: None,
        on_made: Some(Box::new(move || promise.set_result(()))),
        attached: attached_to.map(|it| (it, 0)),
    };
    let transport: Rc<dyn Transport> = StreamTransport::open(handle, opening)?;
    let unmade = CloseOnDrop(Some(transport));
    made.await.map_err(|Cancelled| io::Error::from(Cancelled))?;
    Ok(unmade.keep())
}

/// Closes a transport that nobody took.
struct CloseOnDrop(Option<Rc<dyn Transport>>);

impl CloseOnDrop {
    fn keep(mut self) -> Rc<dyn Transport> {
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

/// A connect in progress, registered with the reactor until it is over or dropped.
struct Connecting<'a> {
    handle: &'a LoopHandle,
    stream: &'a mut TcpStream,
    watch: Rc<ConnectWatch>,
    id: SourceId,
}

/// What the reactor tells when a connect is over.
#[derive(Default)]
struct ConnectWatch {
    ready: Cell<bool>,
    waiter: WaiterCell,
}

impl<'a> Connecting<'a> {
    fn new(handle: &'a LoopHandle, stream: &'a mut TcpStream) -> io::Result<Connecting<'a>> {
        let watch = Rc::new(ConnectWatch::default());
        let fd = stream.as_raw_fd();
        let reactor = &handle.core().reactor;
        let id = reactor.register(watch.clone(), stream, fd, Interest::WRITABLE, true)?;
        Ok(Connecting {
            handle,
            stream,
            watch,
            id,
        })
    }

    async fn outcome(self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.ready.take() {
            if let Some(error) = self.stream.take_error()? {
                return Poll::Ready(Err(error));
            }
            match self.stream.peer_addr() {
                Ok(_) => return Poll::Ready(Ok(())),
                // A spurious event.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                // The peer was there and is gone again: what it sent can still be read.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.watch.waiter.register(cx.waker());
        note(WaitsOn::numbered(What::Connect, self.id.to_bits()));
        Poll::Pending
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        let reactor = &self.handle.core().reactor;
        drop(reactor.deregister(self.id, Some(self.stream)));
    }
}

impl EventSource for ConnectWatch {
    fn read_ready(self: Rc<Self>) {
        self.write_ready();
    }

    fn write_ready(self: Rc<Self>) {
        self.ready.set(true);
        self.waiter.wake();
    }

    fn hollow(self: Rc<Self>) {
        self.waiter.clear();
    }

    fn owner(&self) -> Option<String> {
        Some("<connecting>".to_owned())
    }
}
