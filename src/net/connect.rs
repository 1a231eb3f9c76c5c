//! Connecting: a socket, a non-blocking connect, and the wait for its outcome.
//!
//! ```text
//!   socket ─► connect ─► connected
//!                └─ in progress ─► wait for writable ─► SO_ERROR ─► connected, or why not
//! ```

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use mio::Interest;
use mio::net::{TcpStream, UnixStream};
use socket2::{Domain, SockRef, Type};

use crate::contract::{Protocol, Transport};
use crate::error::Cancelled;
use crate::event_loop::LoopHandle;
use crate::reactor::{EventSource, SourceId};
use crate::task::create_future;
use crate::transports::{Opening, Socket, StreamTransport};
use crate::waiters::WaiterCell;

/// Connects to the first address that accepts, in their order.
pub(super) async fn connect_tcp(
    handle: &LoopHandle,
    addresses: &[SocketAddr],
) -> io::Result<Socket> {
    let mut errors = Vec::new();
    for &address in addresses {
        match attempt(handle, address).await {
            Ok(stream) => return Ok(Socket::Tcp(stream)),
            Err(error) => errors.push(ConnectError::wrap(address, error)),
        }
    }
    Err(aggregate(errors))
}

async fn attempt(handle: &LoopHandle, address: SocketAddr) -> io::Result<TcpStream> {
    // Returns at once, with the connect in progress.
    let mut stream = TcpStream::connect(address)?;
    Connecting::new(handle, &mut stream)?.outcome().await?;
    Ok(stream)
}

/// Makes a stream socket that does not block and is not inherited by child processes.
pub(super) fn new_socket(domain: Domain) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Takes over a socket that somebody else connected.
pub(super) fn adopt_stream(fd: OwnedFd, wanted: Option<StreamKind>) -> io::Result<Socket> {
    let kind = StreamKind::of(&fd, wanted)?;
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
fn describe(fd: &OwnedFd) -> String {
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
    let (promise, made) = create_future();
    let opening = Opening {
        socket,
        protocol,
        peer_name: None,
        on_made: Some(Box::new(move || promise.set_result(()))),
        on_detached: None,
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

/// Why an attempt failed, and to what address it was.
struct ConnectError {
    address: String,
    error: io::Error,
}

impl ConnectError {
    fn wrap(address: SocketAddr, error: io::Error) -> io::Error {
        let address = address.to_string();
        io::Error::new(error.kind(), ConnectError { address, error })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connect call failed {}: {}", self.address, self.error)
    }
}

/// As it displays: what `main` returns is printed in this way.
impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Makes one error of those of all attempts: the only one, the one that all are, or one
/// that lists them.
fn aggregate(mut errors: Vec<io::Error>) -> io::Error {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if errors.is_empty() {
        return io::Error::other("getaddrinfo() returned empty list");
    }
    let first = errors.remove(0);
    if texts.iter().all(|text| *text == texts[0]) {
        return first;
    }
    let same_kind = errors.iter().all(|error| error.kind() == first.kind());
    let kind = if same_kind {
        first.kind()
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, format!("Multiple exceptions: {}", texts.join(", ")))
}
