//! The coroutines on sockets of one's own.

use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket};

use crate::address::{Address, unix_address};
use crate::error::connect_goes_on;
use crate::event_loop::LoopHandle;
use crate::explained::explain;
use crate::reactor::Direction;
use crate::task::spend_budget;
use crate::time::sleep;

use super::ready::Ready;
use super::target::SockTarget;

/// The first pause before a Unix-domain connect is tried again whose peer's backlog is
/// full; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// Coroutines on a socket of one's own, which must be non-blocking.
///
/// The socket is anything that lends its descriptor: one of `std::net`, of
/// `std::os::unix::net`, of the `socket2` crate, an `OwnedFd`. It stays the caller's, who
/// keeps it open while a call waits. Each call tries at once, and waits only if the system
/// says `WouldBlock`; dropping the future ends the wait, leaves the socket usable and
/// loses no data.
///
/// Each fails with `InvalidInput` on a blocking socket, and, if it must wait, if a
/// transport owns the descriptor or another call waits on it in the same direction. In
/// asyncio such a second call has the first one wait for ever.
impl LoopHandle {
    /// Receives up to `n` bytes: those that are there, or the first that come.
    ///
    /// An empty vector is the end of the stream, or an empty datagram.
    ///
    /// # Errors
    /// `InvalidInput` on a blocking socket; a descriptor that is a transport's or watched
    /// already; what receiving fails with.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is received until it is returned.
    ///
    /// # asyncio
    /// `loop.sock_recv(sock, n)`.
    ///
    /// # Examples
    /// ```
    /// use std::io::{self, Write};
    /// use std::os::unix::net::UnixStream;
    /// use millstream::{get_running_loop, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let (ours, mut theirs) = UnixStream::pair()?;
    ///     ours.set_nonblocking(true)?;
    ///     theirs.write_all(b"abc")?;
    ///     let handle = get_running_loop()?;
    ///     assert_eq!(handle.sock_recv(&ours, 100).await?, b"abc");
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub async fn sock_recv(&self, sock: &impl AsFd, n: usize) -> io::Result<Vec<u8>> {
        let mut received = vec![0; n];
        let len = self.sock_recv_into(sock, &mut received).await?;
        received.truncate(len);
        Ok(received)
    }

    /// Receives into `buffer`, and returns how many bytes that were.
    ///
    /// # Errors
    /// As [`sock_recv`](LoopHandle::sock_recv).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is received until it is returned.
    ///
    /// # asyncio
    /// `loop.sock_recv_into(sock, buf)`.
    pub async fn sock_recv_into(&self, sock: &impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
        let sock = SockRef::from(sock);
        let attempt = || (&*sock).read(buffer);
        self.attempt(&sock, Direction::Read, attempt).await
    }

    /// Receives a datagram of up to `n` bytes, and the address of who sent it. What is
    /// longer than `n` is cut off.
    ///
    /// # Errors
    /// As [`sock_recv`](LoopHandle::sock_recv).
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is received until it is returned.
    ///
    /// # asyncio
    /// `loop.sock_recvfrom(sock, n)` (3.11).
    pub async fn sock_recvfrom(
        &self,
        sock: &impl AsFd,
        n: usize,
    ) -> io::Result<(Vec<u8>, Address)> {
        let mut received = vec![0; n];
        let (len, sender) = self.sock_recvfrom_into(sock, &mut received).await?;
        received.truncate(len);
        Ok((received, sender))
    }

    /// Receives a datagram into `buffer`, and returns its length and the address of who
    /// sent it. What is longer than the buffer is cut off.
    ///
    /// # Errors
    /// As [`sock_recv`](LoopHandle::sock_recv); if the descriptor can't be duplicated,
    /// which this does while it runs.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is received until it is returned.
    ///
    /// # asyncio
    /// `loop.sock_recvfrom_into(sock, buf)` (3.11).
    pub async fn sock_recvfrom_into(
        &self,
        sock: &impl AsFd,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Address)> {
        let receiver = Receiver::new(sock)?;
        let sock = SockRef::from(sock);
        let attempt = || receiver.recv_from(buffer);
        self.attempt(&sock, Direction::Read, attempt).await
    }

    /// Sends a datagram to an address, and returns how many bytes were taken.
    ///
    /// # Errors
    /// `InvalidInput` on a blocking socket or for an unnamed address; a descriptor that is
    /// a transport's or watched already; what sending fails with.
    ///
    /// # Cancel safety
    /// Cancel safe: a datagram whose future is dropped was not sent.
    ///
    /// # asyncio
    /// `loop.sock_sendto(sock, data, address)` (3.11).
    pub async fn sock_sendto(
        &self,
        sock: &impl AsFd,
        data: &[u8],
        address: impl Into<Address>,
    ) -> io::Result<usize> {
        let address = address.into().to_system()?;
        let sock = SockRef::from(sock);
        let attempt = || sock.send_to(data, &address);
        self.attempt(&sock, Direction::Write, attempt).await
    }

    /// Sends all of `data`. Empty data is sent at once.
    ///
    /// # Errors
    /// As [`sock_sendto`](LoopHandle::sock_sendto). How much was sent is unknown then.
    ///
    /// # Cancel safety
    /// Not cancel safe: how much of the data was sent is unknown. The socket stays usable.
    ///
    /// # asyncio
    /// `loop.sock_sendall(sock, data)`.
    pub async fn sock_sendall(&self, sock: &impl AsFd, data: &[u8]) -> io::Result<()> {
        let sock = SockRef::from(sock);
        let mut rest = data;
        while !rest.is_empty() {
            let attempt = || (&*sock).write(rest);
            let sent = self.attempt(&sock, Direction::Write, attempt).await?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Accepts a connection: returns its socket, which is non-blocking, and its peer.
    ///
    /// The socket converts: `TcpStream::from(conn)`, `open_connection_sock(conn)`.
    ///
    /// # Errors
    /// As [`sock_recv`](LoopHandle::sock_recv).
    ///
    /// # Cancel safety
    /// Cancel safe: no connection is accepted until it is returned.
    ///
    /// # asyncio
    /// `loop.sock_accept(sock)`.
    pub async fn sock_accept(&self, sock: &impl AsFd) -> io::Result<(OwnedFd, Address)> {
        let sock = SockRef::from(sock);
        let attempt = || sock.accept();
        let (accepted, peer) = self.attempt(&sock, Direction::Read, attempt).await?;
        accepted.set_nonblocking(true)?;
        Ok((accepted.into(), Address::of(&peer)))
    }

    /// Connects the socket: to an address, to a path, or to a host, which is resolved.
    ///
    /// # Errors
    /// `InvalidInput` on a blocking socket; a descriptor that is a transport's or watched
    /// already; what resolving fails with; `Connect call failed`, with the address, for
    /// what connecting fails with.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the connect goes on in the system; close the socket.
    ///
    /// # asyncio
    /// `loop.sock_connect(sock, address)`. A Unix-domain peer whose backlog is full is
    /// waited for; asyncio takes the socket for connected.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use millstream::{get_running_loop, open_connection_sock, run};
    /// use socket2::{Domain, Socket, Type};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let sock = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    ///     sock.set_nonblocking(true)?;
    ///     get_running_loop()?.sock_connect(&sock, ("localhost", 8888)).await?;
    ///     let (_reader, writer) = open_connection_sock(sock).await?;
    ///     writer.write(b"hello\n");
    ///     writer.aclose().await
    /// })
    /// # }
    /// ```
    pub async fn sock_connect(
        &self,
        sock: &impl AsFd,
        target: impl Into<SockTarget>,
    ) -> io::Result<()> {
        let sock = SockRef::from(sock);
        ensure_nonblocking(&sock)?;
        let domain = sock.local_addr()?.domain();
        let address = target.into().resolve(self, domain).await?;
        let connected = self.connect(&sock, &address).await;
        connected.map_err(|error| explain(error, |e| format!("Connect call failed {address}: {e}")))
    }

    async fn connect(&self, sock: &Socket, address: &Address) -> io::Result<()> {
        let system = address.to_system()?;
        let mut pause = FIRST_RETRY;
        loop {
            match sock.connect(&system) {
                Ok(()) => return Ok(()),
                // A Unix-domain peer's backlog is full. No event will tell when it no
                // longer is.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
                Err(error) if connect_goes_on(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ready::new(self, sock.as_raw_fd(), Direction::Write)?.await;
        match sock.take_error()? {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Tries at once, and again each time that the socket is ready, until it is done.
    async fn attempt<T>(
        &self,
        sock: &Socket,
        direction: Direction,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        ensure_nonblocking(sock)?;
        spend_budget().await; // D4
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    Ready::new(self, sock.as_raw_fd(), direction)?.await;
                }
                done => return done,
            }
        }
    }
}

/// A blocking call would keep the whole loop waiting.
fn ensure_nonblocking(sock: &Socket) -> io::Result<()> {
    if sock.nonblocking()? {
        return Ok(());
    }
    let fd = sock.as_raw_fd();
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "the socket must be non-blocking: call set_nonblocking(true) on the one of fd {fd}"
        ),
    ))
}

/// A socket of which datagrams are received with their senders.
///
/// Only the standard library's types can do this into memory that is initialised, and they
/// own their descriptor: so it is duplicated for the time of the call.
enum Receiver {
    Inet(UdpSocket),
    Unix(UnixDatagram),
}

impl Receiver {
    fn new(sock: &impl AsFd) -> io::Result<Receiver> {
        let domain = SockRef::from(sock).local_addr()?.domain();
        let duplicate = sock.as_fd().try_clone_to_owned()?;
        Ok(if domain == Domain::UNIX {
            Receiver::Unix(duplicate.into())
        } else {
            Receiver::Inet(duplicate.into())
        })
    }

    fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        match self {
            Receiver::Inet(socket) => {
                let (len, sender) = socket.recv_from(buffer)?;
                Ok((len, Address::Inet(sender)))
            }
            Receiver::Unix(socket) => {
                let (len, sender) = socket.recv_from(buffer)?;
                Ok((len, unix_address(&sender)))
            }
        }
    }
}
