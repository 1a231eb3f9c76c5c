//! The in-memory pair: two transports that are each other's peer.
//!
//! ```text
//!   transport A ──send──► Pipe ──receive──► transport B
//!               ◄─receive─ Pipe ◄──send────
//! ```
//!
//! For tests and for programs that talk to themselves: no descriptor, no system call,
//! and the same turns on every run. Trio's memory streams are the model.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::rc::{Rc, Weak};

use crate::contract::{Protocol, Transport};
use crate::event_loop::{LoopCore, LoopHandle};
use crate::reactor::{Direction, SourceId};

use super::socket::{ByteSocket, Socket};
use super::stream_transport::{Opening, StreamTransport};

/// Makes two connected transports in memory.
///
/// `capacity` is how many bytes lie on the way in each direction at the most, as in a
/// kernel's socket buffers. What goes in is what `create_connection` does with a socket:
/// `connection_made` comes in the next turn.
///
/// # asyncio
/// No counterpart.
///
/// # Examples
/// ```
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{EventLoop, Protocol, Transport, memory_transport_pair};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// struct Hello;
///
/// impl Protocol for Hello {
///     fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
///         transport.write(b"hello");
///     }
///     fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
///         assert_eq!(data, b"hello");
///         transport.close();
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let event_loop = EventLoop::new()?;
/// let (_echo, hello) = memory_transport_pair(&event_loop, Echo, Hello, 64 * 1024);
/// while !hello.is_closing() {
///     event_loop.turn(None)?;
/// }
/// # Ok(())
/// # }
/// ```
pub fn memory_transport_pair(
    handle: &LoopHandle,
    one: impl Protocol,
    other: impl Protocol,
    capacity: usize,
) -> (Rc<dyn Transport>, Rc<dyn Transport>) {
    let (one_socket, other_socket) = memory_sockets(capacity);
    let one = open(handle, one_socket, Box::new(one));
    let other = open(handle, other_socket, Box::new(other));
    (one, other)
}

fn open(
    handle: &LoopHandle,
    socket: MemorySocket,
    protocol: Box<dyn Protocol>,
) -> Rc<dyn Transport> {
    let opening = Opening {
        socket: Socket::other(socket),
        protocol,
        peer_name: None,
        on_made: None,
        attached: None,
    };
    StreamTransport::open(handle, opening).expect("only a poller can refuse a source")
}

/// Makes two sockets, each of which receives what the other sends.
fn memory_sockets(capacity: usize) -> (MemorySocket, MemorySocket) {
    let there = Pipe::new(capacity);
    let back = Pipe::new(capacity);
    let one = MemorySocket {
        incoming: back.clone(),
        outgoing: there.clone(),
    };
    let other = MemorySocket {
        incoming: there,
        outgoing: back,
    };
    (one, other)
}

/// One end of the pair.
struct MemorySocket {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
}

/// The bytes on their way in one direction.
struct Pipe {
    bytes: VecDeque<u8>,
    /// Invariant: `bytes.len() <= capacity`.
    capacity: usize,
    /// The sender said that no more comes, or is gone.
    ended: bool,
    /// The receiver is gone: who sends on gets an error.
    abandoned: bool,
    receiver: Option<End>,
    sender: Option<End>,
}

/// Whom to tell when the pipe is worth another try.
#[derive(Clone)]
struct End {
    core: Weak<LoopCore>,
    id: SourceId,
}

impl Pipe {
    fn new(capacity: usize) -> Rc<RefCell<Pipe>> {
        Rc::new(RefCell::new(Pipe {
            bytes: VecDeque::new(),
            capacity: capacity.max(1),
            ended: false,
            abandoned: false,
            receiver: None,
            sender: None,
        }))
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        let room = self.capacity - self.bytes.len();
        let taken = room.min(bytes.len());
        self.bytes.extend(&bytes[..taken]);
        taken
    }

    fn tell_receiver(&self) {
        let Some((core, id)) = self.receiver.as_ref().and_then(End::upgrade) else {
            return;
        };
        if self.ended {
            core.reactor.set_read_closed(id);
        } else {
            core.reactor.set_ready(id, Direction::Read);
        }
    }

    fn tell_sender(&self) {
        if let Some((core, id)) = self.sender.as_ref().and_then(End::upgrade) {
            core.reactor.set_ready(id, Direction::Write);
        }
    }
}

impl End {
    /// Telling an end sets a bit and calls nobody, so it may be done under a borrow.
    fn upgrade(&self) -> Option<(Rc<LoopCore>, SourceId)> {
        Some((self.core.upgrade()?, self.id))
    }
}

impl ByteSocket for MemorySocket {
    fn attach(&mut self, core: Rc<LoopCore>, id: SourceId) {
        let end = End {
            core: Rc::downgrade(&core),
            id,
        };
        let mut incoming = self.incoming.borrow_mut();
        incoming.receiver = Some(end.clone());
        if !incoming.bytes.is_empty() || incoming.ended {
            incoming.tell_receiver();
        }
        self.outgoing.borrow_mut().sender = Some(end);
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.bytes.is_empty() && !incoming.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let was_full = incoming.bytes.len() == incoming.capacity;
        let n = read_up_to(&mut incoming.bytes, buffer)?;
        if n > 0 && was_full {
            incoming.tell_sender();
        }
        Ok(n)
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = pieces.iter().map(|piece| outgoing.push(piece)).sum();
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        outgoing.tell_receiver();
        Ok(taken)
    }

    fn shut_down_writing(&mut self) -> io::Result<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.ended = true;
        outgoing.tell_receiver();
        Ok(())
    }
}

impl Drop for MemorySocket {
    fn drop(&mut self) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.ended = true;
        outgoing.tell_receiver();
        drop(outgoing);
        let mut incoming = self.incoming.borrow_mut();
        incoming.abandoned = true;
        incoming.tell_sender();
    }
}

/// Reads what is there; a `VecDeque` alone reads only its first half.
fn read_up_to(bytes: &mut VecDeque<u8>, buffer: &mut [u8]) -> io::Result<usize> {
    let first = bytes.read(buffer)?;
    let second = bytes.read(&mut buffer[first..])?;
    Ok(first + second)
}
