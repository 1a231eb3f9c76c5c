//! The scripted socket: each receive and each send is answered as a test says.
//!
//! ```text
//!   your test ──on_receive, on_send──► ScriptedSocket ──answers──► transport ──► protocol
//!             ◄───── calls, sent ─────
//! ```
//!
//! It behaves like a kernel's socket where the script says nothing: an answer that is
//! added makes the socket readable, as an arriving packet does; without one, a receive
//! would block, and a send takes everything. After a send that took less than it was
//! offered, the socket is full until [`becomes_writable`](ScriptedSocket::becomes_writable).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};

use crate::contract::{Protocol, Transport};
use crate::event_loop::{LoopCore, LoopHandle};
use crate::executor::Ready;
use crate::reactor::{Direction, SourceId};
use crate::transports::{ByteSocket, Opening, Socket, StreamTransport};

/// What one receive of a scripted socket comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnReceive {
    /// These bytes, or as many of them as there is room for; the others come next.
    Bytes(Vec<u8>),
    /// The end of the stream, from now on.
    Eof,
    /// An error; `WouldBlock` and `Interrupted` are errors, too. After an interruption
    /// the next answer is there already, and makes no edge.
    Fails(io::ErrorKind),
}

/// What one send of a scripted socket comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnSend {
    /// The socket takes this many bytes, at the most.
    Takes(usize),
    /// An error; `WouldBlock` and `Interrupted` are errors, too.
    Fails(io::ErrorKind),
}

/// What a transport asked of a scripted socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketCall {
    /// A receive.
    Receive,
    /// A send that offered these bytes, in this many pieces.
    Send {
        /// All pieces, joined.
        bytes: Vec<u8>,
        /// How many pieces there were.
        pieces: usize,
    },
    /// The end of writing.
    ShutDownWriting,
    /// The socket was closed.
    Close,
}

/// Makes a transport on a socket that follows a script, and returns both.
///
/// `connection_made` comes in the next turn.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::testing::{OnReceive, Recorder, Told, Trace, scripted_transport};
/// use millstream::EventLoop;
///
/// # fn main() -> io::Result<()> {
/// let event_loop = EventLoop::new()?;
/// let trace = Trace::new();
/// let (_transport, socket) = scripted_transport(&event_loop, Recorder::new(&trace));
/// socket.on_receive(OnReceive::Bytes(b"abc".to_vec()));
/// socket.on_receive(OnReceive::Fails(io::ErrorKind::ConnectionReset));
/// while !trace.is_lost() {
///     event_loop.turn(None)?;
/// }
/// assert_eq!(trace.received(), b"abc");
/// assert!(trace.has(&Told::ConnectionLost(Some(io::ErrorKind::ConnectionReset))));
/// assert!(socket.is_closed());
/// # Ok(())
/// # }
/// ```
pub fn scripted_transport(
    handle: &LoopHandle,
    protocol: impl Protocol,
) -> (Rc<dyn Transport>, ScriptedSocket) {
    let socket = ScriptedSocket::default();
    let opening = Opening {
        socket: Socket::other(InTransport(socket.clone())),
        protocol: Box::new(protocol),
        peer_name: None,
        on_made: None,
        attached: None,
    };
    let transport =
        StreamTransport::open(handle, opening).expect("only a poller can refuse a source");
    (transport, socket)
}

/// The test's hold on the socket of a [`scripted_transport`]. Clones share it.
#[derive(Clone, Default)]
pub struct ScriptedSocket(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    receives: VecDeque<OnReceive>,
    sends: VecDeque<OnSend>,
    shut_down_fails: Option<io::ErrorKind>,
    /// The last send took less than it was offered, and no room was made since.
    full: bool,
    calls: Vec<SocketCall>,
    sent: Vec<u8>,
    source: Option<(Weak<LoopCore>, SourceId)>,
}

impl ScriptedSocket {
    /// Adds what a receive comes to, and makes the socket readable.
    pub fn on_receive(&self, answer: OnReceive) {
        self.0.borrow_mut().receives.push_back(answer);
        self.becomes_readable();
    }

    /// Adds what a send comes to. Sends beyond those that were added take everything.
    pub fn on_send(&self, answer: OnSend) {
        self.0.borrow_mut().sends.push_back(answer);
    }

    /// Has the end of writing fail.
    pub fn fail_shut_down(&self, kind: io::ErrorKind) {
        self.0.borrow_mut().shut_down_fails = Some(kind);
    }

    /// Has the poller report the socket as readable, whether it is or not.
    pub fn becomes_readable(&self) {
        self.0.borrow().set_ready(Direction::Read);
    }

    /// Makes room, and has the poller report it.
    pub fn becomes_writable(&self) {
        self.0.borrow_mut().full = false;
        self.0.borrow().set_ready(Direction::Write);
    }

    /// Returns what was asked of the socket so far.
    #[must_use]
    pub fn calls(&self) -> Vec<SocketCall> {
        self.0.borrow().calls.clone()
    }

    /// Returns how many receives were tried so far.
    #[must_use]
    pub fn receives(&self) -> usize {
        self.count(|call| matches!(call, SocketCall::Receive))
    }

    /// Returns how many sends were tried so far.
    #[must_use]
    pub fn sends(&self) -> usize {
        self.count(|call| matches!(call, SocketCall::Send { .. }))
    }

    /// Returns the bytes that the socket took so far.
    #[must_use]
    pub fn sent(&self) -> Vec<u8> {
        self.0.borrow().sent.clone()
    }

    /// Says whether the transport has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.count(|call| *call == SocketCall::Close) > 0
    }

    fn count(&self, is_it: impl Fn(&SocketCall) -> bool) -> usize {
        self.0.borrow().calls.iter().filter(|c| is_it(c)).count()
    }
}

impl fmt::Debug for ScriptedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.borrow();
        f.debug_struct("ScriptedSocket")
            .field("receives", &state.receives)
            .field("sends", &state.sends)
            .field("calls", &state.calls)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Sets a bit and calls nobody, so it may be done under a borrow.
    fn set_ready(&self, direction: Direction) {
        if let Some((core, id)) = self.source() {
            core.reactor.set_ready(id, direction);
        }
    }

    fn source(&self) -> Option<(Rc<LoopCore>, SourceId)> {
        let (core, id) = self.source.as_ref()?;
        Some((core.upgrade()?, *id))
    }

    /// The next answer comes like the next packet: after what the transport makes of
    /// this one. What was there already is no news, as in a kernel (R6).
    fn announce_next_receive(&self, was_there: bool) {
        if self.receives.is_empty() || was_there {
            return;
        }
        if let Some((core, id)) = self.source() {
            let reactor = core.reactor.clone();
            let arrives = move || reactor.set_ready(id, Direction::Read);
            core.executor.push(Ready::Event(Box::new(arrives)));
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls.push(SocketCall::Receive);
        let Some(answer) = self.receives.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let (result, rest) = match answer {
            OnReceive::Fails(kind) => (Err(kind), None),
            OnReceive::Eof => (Ok(0), Some(OnReceive::Eof)),
            OnReceive::Bytes(mut bytes) => {
                let n = bytes.len().min(buffer.len());
                buffer[..n].copy_from_slice(&bytes[..n]);
                let rest = bytes.split_off(n);
                let rest = (!rest.is_empty()).then_some(OnReceive::Bytes(rest));
                (Ok(n), rest)
            }
        };
        let was_there = rest.is_some() || result == Err(io::ErrorKind::Interrupted);
        if let Some(rest) = rest {
            self.receives.push_front(rest);
        }
        self.announce_next_receive(was_there);
        result.map_err(io::Error::from)
    }

    fn send(&mut self, offered: Vec<u8>, pieces: usize) -> io::Result<usize> {
        let answer = if self.full {
            OnSend::Fails(io::ErrorKind::WouldBlock)
        } else {
            let everything = OnSend::Takes(usize::MAX);
            self.sends.pop_front().unwrap_or(everything)
        };
        let result = match answer {
            OnSend::Takes(most) => Ok(most.min(offered.len())),
            OnSend::Fails(kind) => Err(kind),
        };
        match result {
            Ok(taken) => {
                self.full = taken < offered.len();
                self.sent.extend_from_slice(&offered[..taken]);
            }
            Err(kind) => self.full |= kind == io::ErrorKind::WouldBlock,
        }
        let bytes = offered;
        self.calls.push(SocketCall::Send { bytes, pieces });
        result.map_err(io::Error::from)
    }
}

/// The transport's hold on the socket, which closes it when it is dropped.
struct InTransport(ScriptedSocket);

impl InTransport {
    fn state(&self) -> &RefCell<State> {
        let ScriptedSocket(state) = &self.0;
        state
    }
}

impl ByteSocket for InTransport {
    fn attach(&mut self, core: Rc<LoopCore>, id: SourceId) {
        self.state().borrow_mut().source = Some((Rc::downgrade(&core), id));
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.state().borrow_mut().receive(buffer)
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        self.state().borrow_mut().send(offered, pieces.len())
    }

    fn shut_down_writing(&mut self) -> io::Result<()> {
        let mut state = self.state().borrow_mut();
        state.calls.push(SocketCall::ShutDownWriting);
        match state.shut_down_fails {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl Drop for InTransport {
    fn drop(&mut self) {
        let mut state = self.state().borrow_mut();
        state.calls.push(SocketCall::Close);
        state.source = None;
    }
}
