//! The client's functions: `open_connection`, `create_connection`, and their twins.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

use crate::contract::{Protocol, Transport};
use crate::event_loop::LoopHandle;

use super::connect::StreamKind;
use super::host::Host;
use super::open::{AsProtocol, AsStreams, Connect, ToHost, ToPath, ToSock};

/// Connects to `host` and `port`, and gives a reader and a writer.
///
/// Keyword arguments of asyncio's are methods of what this returns, which is awaited.
/// A name is resolved off the loop; its addresses are tried in their order, one after the
/// other, or in a race: [`happy_eyeballs`](Connect::happy_eyeballs). No host means the
/// loopback.
///
/// # Errors
/// What resolving or connecting fails with; a limit of zero. Several different failures
/// are listed in one error: [`ConnectErrors`](super::ConnectErrors).
///
/// # Cancel safety
/// Dropping the future closes the socket.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.open_connection(host, port)`.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{open_connection, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let (mut reader, writer) = open_connection("127.0.0.1", 8888).limit(1 << 20).await?;
///     writer.write(b"Hello World!");
///     let data = reader.read(100).await?;
///     println!("received {} bytes", data.len());
///     writer.close();
///     writer.wait_closed().await
/// })
/// # }
/// ```
#[track_caller]
pub fn open_connection(host: impl Into<Host>, port: u16) -> Connect<ToHost, AsStreams> {
    Connect::streams(ToHost::new(host, port))
}

/// Takes over a connected stream socket, and gives a reader and a writer.
///
/// The socket is the writer's from now on. Everything that owns a descriptor converts:
/// `std::net::TcpStream`, `std::os::unix::net::UnixStream`, `OwnedFd`.
///
/// # Errors
/// `InvalidInput` if it is no stream socket; a limit of zero.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.open_connection(sock=sock)`.
///
/// # Examples
/// ```
/// use std::io::{self, Write};
/// use std::os::unix::net::UnixStream;
/// use millstream::{open_connection_sock, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let (ours, mut theirs) = UnixStream::pair()?;
///     let (mut reader, _writer) = open_connection_sock(ours).await?;
///     theirs.write_all(b"abc")?;
///     assert_eq!(reader.read(100).await?, b"abc");
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn open_connection_sock(sock: impl Into<OwnedFd>) -> Connect<ToSock, AsStreams> {
    Connect::streams(ToSock::new(sock, None))
}

/// Connects to the Unix-domain socket at `path`, and gives a reader and a writer.
///
/// On Linux a path that begins with a NUL byte is a name in the abstract namespace. A
/// server whose backlog is full, which Linux tells by an error, is tried again until it has
/// room.
///
/// # Errors
/// What connecting fails with: `NotFound` if there is no file, `ConnectionRefused` if nobody
/// listens. `InvalidInput` for an empty path, one that is too long (some hundred bytes fit)
/// or contains a NUL byte elsewhere, and a limit of zero; `Unsupported` for an abstract name
/// where there are none.
///
/// # Cancel safety
/// Dropping the future closes the socket.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.open_unix_connection(path)`, which takes a full backlog for a connection that
/// is under way.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{open_unix_connection, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let (mut reader, writer) = open_unix_connection("/tmp/mill.sock").await?;
///     writer.write(b"ping\n");
///     reader.readline().await?;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn open_unix_connection(path: impl Into<PathBuf>) -> Connect<ToPath, AsStreams> {
    Connect::streams(ToPath::new(path))
}

/// Does what [`open_connection_sock`] does, for a Unix-domain socket.
///
/// # Errors
/// `InvalidInput` if it is no Unix-domain stream socket; a limit of zero.
///
/// # Panics
/// With `no running event loop` when called outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.open_unix_connection(sock=sock)`.
#[track_caller]
pub fn open_unix_connection_sock(sock: impl Into<OwnedFd>) -> Connect<ToSock, AsStreams> {
    Connect::streams(ToSock::new(sock, Some(StreamKind::Unix)))
}

impl LoopHandle {
    /// Connects to `host` and `port`, with a protocol of your own.
    ///
    /// `factory` is called once, when the connection stands. The transport owns what it
    /// makes; what the caller wants to know of it, the two share by `Rc`.
    ///
    /// # Errors
    /// What resolving or connecting fails with.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    ///
    /// # asyncio
    /// `loop.create_connection`, which returns the protocol too.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use std::rc::Rc;
    /// use millstream::{Protocol, Transport, get_running_loop, run};
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
    ///         transport.write(b"hello");
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let handle = get_running_loop()?;
    ///     let transport = handle.create_connection(|| Greeter, "127.0.0.1", 8888).await?;
    ///     transport.close();
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn create_connection<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        host: impl Into<Host>,
        port: u16,
    ) -> Connect<ToHost, AsProtocol> {
        Connect::protocol(self, ToHost::new(host, port), factory)
    }

    /// Takes over a connected stream socket, with a protocol of your own.
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket.
    ///
    /// # asyncio
    /// `loop.create_connection(factory, sock=sock)`.
    pub fn create_connection_sock<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        sock: impl Into<OwnedFd>,
    ) -> Connect<ToSock, AsProtocol> {
        Connect::protocol(self, ToSock::new(sock, None), factory)
    }

    /// Takes over a connection that was accepted outside of the loop, with a protocol of
    /// your own.
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    ///
    /// # asyncio
    /// `loop.connect_accepted_socket`, without `ssl`: this side of the connection is the
    /// server's, so the options of those who connect are not offered. For TLS, give it a
    /// protocol that pauses reading in `connection_made`, and what it returns to
    /// `start_tls`, with a server's context.
    ///
    /// # Examples
    /// ```
    /// use std::io::{self, Read};
    /// use std::net::{TcpListener, TcpStream};
    /// use std::rc::Rc;
    /// use millstream::{Protocol, Transport, get_running_loop, run};
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
    ///         transport.write(b"hello");
    ///         transport.close();
    ///     }
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(listener.local_addr()?)?;
    /// run(async move {
    ///     let handle = get_running_loop()?;
    ///     let (accepted, _address) = listener.accept()?;
    ///     handle.connect_accepted_socket(|| Greeter, accepted).await?;
    ///     io::Result::Ok(())
    /// })?;
    /// let mut greeting = String::new();
    /// client.read_to_string(&mut greeting)?;
    /// assert_eq!(greeting, "hello");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect_accepted_socket<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        sock: impl Into<OwnedFd>,
    ) -> io::Result<Rc<dyn Transport>> {
        self.create_connection_sock(factory, sock).await
    }

    /// Connects to the Unix-domain socket at `path`, with a protocol of your own.
    ///
    /// # Errors
    /// What connecting fails with.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    ///
    /// # asyncio
    /// `loop.create_unix_connection`.
    pub fn create_unix_connection<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        path: impl Into<PathBuf>,
    ) -> Connect<ToPath, AsProtocol> {
        Connect::protocol(self, ToPath::new(path), factory)
    }

    /// Takes over a connected Unix-domain socket, with a protocol of your own.
    ///
    /// # Errors
    /// `InvalidInput` if it is no Unix-domain stream socket.
    ///
    /// # asyncio
    /// `loop.create_unix_connection(factory, sock=sock)`.
    pub fn create_unix_connection_sock<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P + 'static,
        sock: impl Into<OwnedFd>,
    ) -> Connect<ToSock, AsProtocol> {
        Connect::protocol(self, ToSock::new(sock, Some(StreamKind::Unix)), factory)
    }
}
