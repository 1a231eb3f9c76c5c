//! The byte sockets: what a stream transport reads from and writes to.
//!
//! ```text
//!   StreamTransport ──► ByteSocket ─┬─ TcpStream    (mio)
//!                                   ├─ UnixStream   (mio)
//!                                   ├─ ReadPipe, WritePipe: one end of a pipe
//!                                   └─ Box<dyn ByteSocket>: in-memory pair, scripted test
//! ```
//!
//! Reads and writes go through mio's own types, not past them: its `poll(2)` back end
//! watches for the `WouldBlock` that passes by.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

use mio::Interest;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::unix::pipe;

use crate::address::{Address, unix_address};
use crate::event_loop::LoopCore;
use crate::reactor::{EventSource, SourceId};

#[cfg(feature = "unix-credentials")]
use {super::credentials::peer_credentials, crate::contract::Credentials};

/// A non-blocking, connected stream of bytes that no poller knows.
///
/// It makes itself ready through [`Reactor::set_ready`](crate::reactor::Reactor).
pub(crate) trait ByteSocket {
    /// The transport has taken it, and its source has this id.
    fn attach(&mut self, core: Rc<LoopCore>, id: SourceId);
    /// Receives; zero bytes are the end.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Sends, and says how much was taken.
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Tells the peer that no more comes.
    fn shut_down_writing(&mut self) -> io::Result<()>;
    /// Says in which directions bytes go.
    fn ways(&self) -> Ways {
        Ways::Both
    }
}

/// In which directions bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ways {
    Both,
    /// The end of a pipe from which is read.
    In,
    /// The end of a pipe to which is written.
    Out,
}

/// What a stream transport has for a socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    ReadPipe(pipe::Receiver),
    WritePipe(pipe::Sender),
    /// In two boxes, of which the outer one takes half as much room as the inner one: it is
    /// for nearly all connections that this is too large.
    Other(Box<Box<dyn ByteSocket>>),
    /// The connection is lost (R1). What descriptor it had stays known.
    Hollow(Option<RawFd>),
}

impl Socket {
    pub(crate) fn other(socket: impl ByteSocket + 'static) -> Socket {
        Socket::Other(Box::new(Box::new(socket)))
    }

    #[inline]
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
            Socket::ReadPipe(pipe) => pipe.read(buffer),
            Socket::Other(socket) => socket.receive(buffer),
            Socket::WritePipe(_) | Socket::Hollow(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, pieces) {
            // One piece needs no vector: `send` costs less than `sendmsg`.
            (Socket::Tcp(stream), [piece]) => stream.write(piece),
            (Socket::Unix(stream), [piece]) => stream.write(piece),
            (Socket::WritePipe(pipe), [piece]) => pipe.write(piece),
            (Socket::Tcp(stream), _) => stream.write_vectored(pieces),
            (Socket::Unix(stream), _) => stream.write_vectored(pieces),
            (Socket::WritePipe(pipe), _) => pipe.write_vectored(pieces),
            (Socket::Other(socket), _) => socket.send(pieces),
            (Socket::ReadPipe(_) | Socket::Hollow(_), _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn shut_down_writing(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            Socket::Other(socket) => socket.shut_down_writing(),
            Socket::ReadPipe(_) | Socket::WritePipe(_) | Socket::Hollow(_) => Ok(()),
        }
    }

    pub(super) fn ways(&self) -> Ways {
        match self {
            Socket::Tcp(_) | Socket::Unix(_) | Socket::Hollow(_) => Ways::Both,
            Socket::ReadPipe(_) => Ways::In,
            Socket::WritePipe(_) => Ways::Out,
            Socket::Other(socket) => socket.ways(),
        }
    }

    /// Takes the socket's transport into the loop's table, unarmed (R7).
    pub(super) fn register(
        &mut self,
        core: &Rc<LoopCore>,
        owner: Rc<dyn EventSource>,
    ) -> io::Result<SourceId> {
        let reactor = &core.reactor;
        let fd = self.fd().unwrap_or(-1);
        if let Socket::Other(socket) = self {
            let id = reactor.register_unpolled(owner);
            socket.attach(core.clone(), id);
            return Ok(id);
        }
        match self.polled() {
            Some(io) => reactor.register(owner, io, fd, Interest::READABLE, false),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Has the poller watch for room to write, too. Room that is there is reported.
    pub(super) fn watch_writable(&mut self, core: &LoopCore, id: SourceId) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self.polled() {
            Some(io) => core.reactor.reregister(id, io, both),
            None => Ok(()),
        }
    }

    /// Takes the transport out of the loop's table, and returns the owner to be dropped.
    #[must_use = "dropping the owner may run a user's code: drop it where no borrow is alive"]
    pub(super) fn deregister(
        &mut self,
        core: &LoopCore,
        id: SourceId,
    ) -> Option<Rc<dyn EventSource>> {
        core.reactor.deregister(id, self.polled())
    }

    /// What the poller watches, if it is something that a poller can.
    fn polled(&mut self) -> Option<&mut dyn Source> {
        match self {
            Socket::Tcp(stream) => Some(stream),
            Socket::Unix(stream) => Some(stream),
            Socket::ReadPipe(pipe) => Some(pipe),
            Socket::WritePipe(pipe) => Some(pipe),
            Socket::Other(_) | Socket::Hollow(_) => None,
        }
    }

    pub(crate) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Socket::Tcp(stream) => Some(stream.as_fd()),
            Socket::Unix(stream) => Some(stream.as_fd()),
            Socket::ReadPipe(pipe) => Some(pipe.as_fd()),
            Socket::WritePipe(pipe) => Some(pipe.as_fd()),
            Socket::Other(_) | Socket::Hollow(_) => None,
        }
    }

    pub(super) fn fd(&self) -> Option<RawFd> {
        match self {
            Socket::Hollow(fd) => *fd,
            open => open.as_fd().map(|fd| fd.as_raw_fd()),
        }
    }

    /// Takes it out, to be closed, and is hollow then.
    pub(super) fn take(&mut self) -> Socket {
        let hollow = Socket::Hollow(self.fd());
        std::mem::replace(self, hollow)
    }

    /// Sends small pieces at once, on TCP. Never fails: the peer may be gone already.
    pub(super) fn set_nodelay(&self) {
        if let Socket::Tcp(stream) = self {
            if let Err(error) = stream.set_nodelay(true) {
                log::debug!("TCP_NODELAY: {error}");
            }
        }
    }

    pub(super) fn sock_name(&self) -> Option<Address> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok().map(Address::Inet),
            Socket::Unix(stream) => stream.local_addr().ok().map(|a| unix_address(&a)),
            _ => None,
        }
    }

    pub(super) fn peer_name(&self) -> Option<Address> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok().map(Address::Inet),
            Socket::Unix(stream) => stream.peer_addr().ok().map(|a| unix_address(&a)),
            _ => None,
        }
    }

    /// Who the peer is, on a Unix-domain socket.
    #[cfg(feature = "unix-credentials")]
    pub(super) fn peer_credentials(&self) -> Option<Credentials> {
        match self {
            Socket::Unix(stream) => peer_credentials(stream.as_fd()),
            _ => None,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Socket::Tcp(_) => "tcp",
            Socket::Unix(_) => "unix",
            Socket::ReadPipe(_) => "read pipe",
            Socket::WritePipe(_) => "write pipe",
            Socket::Other(_) => "memory",
            Socket::Hollow(_) => "closed",
        })
    }
}
