//! The byte sockets: what a stream transport reads from and writes to.
//!
//! ```text
//!   StreamTransport ──► ByteSocket ─┬─ TcpStream    (mio)
//!                                   ├─ UnixStream   (mio)
//!                                   └─ Box<dyn ByteSocket>: in-memory pair, scripted test
//! ```
//!
//! Reads and writes go through mio's own types, not past them: its `poll(2)` back end
//! watches for the `WouldBlock` that passes by.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use mio::Interest;
use mio::net::{TcpStream, UnixStream};

use crate::address::{Address, unix_address};
use crate::event_loop::LoopCore;
use crate::reactor::{EventSource, SourceId};

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
}

/// What a stream transport has for a socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn ByteSocket>),
    /// The connection is lost (R1).
    Hollow,
}

impl Socket {
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
            Socket::Other(socket) => socket.receive(buffer),
            Socket::Hollow => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, pieces) {
            // One piece needs no vector: `send` costs less than `sendmsg`.
            (Socket::Tcp(stream), [piece]) => stream.write(piece),
            (Socket::Unix(stream), [piece]) => stream.write(piece),
            (Socket::Tcp(stream), _) => stream.write_vectored(pieces),
            (Socket::Unix(stream), _) => stream.write_vectored(pieces),
            (Socket::Other(socket), _) => socket.send(pieces),
            (Socket::Hollow, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn shut_down_writing(&mut self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            Socket::Other(socket) => socket.shut_down_writing(),
            Socket::Hollow => Ok(()),
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
        match self {
            Socket::Tcp(stream) => reactor.register(owner, stream, fd, Interest::READABLE, false),
            Socket::Unix(stream) => reactor.register(owner, stream, fd, Interest::READABLE, false),
            Socket::Other(socket) => {
                let id = reactor.register_unpolled(owner);
                socket.attach(core.clone(), id);
                Ok(id)
            }
            Socket::Hollow => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Has the poller watch for room to write, too. Room that is there is reported.
    pub(super) fn watch_writable(&mut self, core: &LoopCore, id: SourceId) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => core.reactor.reregister(id, stream, both),
            Socket::Unix(stream) => core.reactor.reregister(id, stream, both),
            Socket::Other(_) | Socket::Hollow => Ok(()),
        }
    }

    /// Takes the transport out of the loop's table, and returns the owner to be dropped.
    #[must_use = "dropping the owner may run a user's code: drop it where no borrow is alive"]
    pub(super) fn deregister(
        &mut self,
        core: &LoopCore,
        id: SourceId,
    ) -> Option<Rc<dyn EventSource>> {
        match self {
            Socket::Tcp(stream) => core.reactor.deregister(id, Some(stream)),
            Socket::Unix(stream) => core.reactor.deregister(id, Some(stream)),
            Socket::Other(_) | Socket::Hollow => core.reactor.deregister(id, None),
        }
    }

    pub(super) fn fd(&self) -> Option<RawFd> {
        match self {
            Socket::Tcp(stream) => Some(stream.as_raw_fd()),
            Socket::Unix(stream) => Some(stream.as_raw_fd()),
            Socket::Other(_) | Socket::Hollow => None,
        }
    }

    /// Sends small pieces at once, on TCP. Never fails: the peer may be gone already.
    pub(super) fn set_nodelay(&self) {
        if let Socket::Tcp(stream) = self {
            let _ = stream.set_nodelay(true);
        }
    }

    pub(super) fn sock_name(&self) -> Option<Address> {
        match self {
            Socket::Tcp(stream) => stream.local_addr().ok().map(Address::Inet),
            Socket::Unix(stream) => stream.local_addr().ok().map(|a| unix_address(&a)),
            Socket::Other(_) | Socket::Hollow => None,
        }
    }

    pub(super) fn peer_name(&self) -> Option<Address> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok().map(Address::Inet),
            Socket::Unix(stream) => stream.peer_addr().ok().map(|a| unix_address(&a)),
            Socket::Other(_) | Socket::Hollow => None,
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Socket::Tcp(_) => "tcp",
            Socket::Unix(_) => "unix",
            Socket::Other(_) => "memory",
            Socket::Hollow => "closed",
        })
    }
}
