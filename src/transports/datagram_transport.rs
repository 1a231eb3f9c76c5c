//! The datagram transport: a socket, its state, its protocol, and who does what.
//!
//! ```text
//!   read_ready  ──► recvfrom, once a turn ──► datagram_received   ┐
//!   sendto ──► now, or queued ──► sendto ──► an OS error, queued:  ├ protocol
//!                  ▲                           error_received      │
//!   write_ready ───┘                                               │
//!   close, abort ──► queued: connection_lost, hollow               ┘
//! ```
//!
//! asyncio: `_SelectorDatagramTransport`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use mio::Interest;

use crate::address::Address;
use crate::contract::{
    self, DatagramProtocol, DatagramTransport, ExtraInfoRequest, PeerName, SockName, SocketInfo,
    WriteLimitsError,
};
use crate::error::ConnError;
use crate::event_loop::{LoopCore, LoopHandle};
use crate::reactor::{Direction, EventSource, SourceId};

use super::datagram_socket::DatagramSocket;
use super::datagram_state::{Datagram, DatagramState, Fate};
use super::failure::{Fails, call_failed};
use super::protocol_cell::{FlowControlled, ProtocolCell};

/// Datagrams that one turn sends from the queue, at the most (R9).
///
/// 64: the loop's other sources wait some hundred microseconds for them.
const MAX_SENDS: usize = 64;

/// How long to wait until a Unix-domain peer is tried again whose queue is full, and to
/// which the socket is not connected: no event tells when it has room.
const FULL_PEER_RETRY: Duration = Duration::from_millis(5);

/// Where an endpoint sends to that was given a remote address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// To the address that each `sendto` names.
    Any,
    /// To where the socket is connected.
    Connected(Address),
    /// To one address, without being connected: to broadcast to.
    Fixed(Address),
}

/// An endpoint: UDP, or Unix-domain datagrams.
pub(crate) struct SocketDatagramTransport {
    me: Weak<SocketDatagramTransport>,
    handle: LoopHandle,
    id: Cell<SourceId>,
    socket: RefCell<DatagramSocket>,
    state: RefCell<DatagramState>,
    protocol: ProtocolCell<dyn DatagramProtocol>,
    remote: Remote,
    /// The poller was asked to watch for room to write (and is never asked to stop).
    watches_writable: Cell<bool>,
    sock_name: Option<Address>,
    fd: Option<RawFd>,
}

impl FlowControlled for dyn DatagramProtocol {
    type Transport = dyn DatagramTransport;

    fn told_to_pause(&mut self, transport: &Rc<dyn DatagramTransport>) {
        self.pause_writing(transport);
    }

    fn told_to_resume(&mut self, transport: &Rc<dyn DatagramTransport>) {
        self.resume_writing(transport);
    }

    fn name_of(&self) -> &'static str {
        self.name()
    }
}

impl SocketDatagramTransport {
    /// Takes a socket over. What follows is queued: `connection_made`, then the start of
    /// reading, then `on_made`.
    pub(crate) fn open(
        handle: &LoopHandle,
        socket: DatagramSocket,
        fixed: Option<Address>,
        protocol: Box<dyn DatagramProtocol>,
        on_made: impl FnOnce() + 'static,
    ) -> io::Result<Rc<SocketDatagramTransport>> {
        let remote = match (socket.peer_name(), fixed) {
            (Some(peer), _) => Remote::Connected(peer),
            (None, Some(fixed)) => Remote::Fixed(fixed),
            (None, None) => Remote::Any,
        };
        let transport = Rc::new_cyclic(|me| SocketDatagramTransport {
            me: me.clone(),
            handle: handle.clone(),
            id: Cell::new(SourceId::NONE),
            sock_name: socket.sock_name(),
            fd: socket.fd(),
            socket: RefCell::new(socket),
            state: RefCell::new(DatagramState::new()),
            protocol: ProtocolCell::new(protocol),
            remote,
            watches_writable: Cell::new(false),
        });
        transport.register()?;
        let begun = transport.clone();
        handle.soon(move || begun.begin(on_made));
        Ok(transport)
    }

    /// Goes into the loop's table, unarmed (R7).
    fn register(self: &Rc<Self>) -> io::Result<()> {
        let mut socket = self.socket.borrow_mut();
        let fd = socket.fd().unwrap_or(-1);
        let Some(io) = socket.polled() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let reactor = &self.core().reactor;
        let id = reactor.register(self.clone(), io, fd, Interest::READABLE, false)?;
        self.id.set(id);
        Ok(())
    }

    /// R7: `connection_made` first; then what the poller collected meanwhile counts.
    fn begin(&self, on_made: impl FnOnce()) {
        let Some(me) = self.me() else { return };
        self.protocol.begin();
        if let Err(error) = self.call("connection_made", |p| p.connection_made(&me)) {
            self.callback_failed("connection_made", error);
        }
        self.core().reactor.arm(self.id.get());
        on_made();
    }

    fn core(&self) -> &Rc<LoopCore> {
        self.handle.core()
    }

    /// `None` only while the last handle is being dropped.
    fn me(&self) -> Option<Rc<dyn DatagramTransport>> {
        let me: Rc<dyn DatagramTransport> = self.me.upgrade()?;
        Some(me)
    }

    /// Calls the protocol, and then tells it what the call has provoked (R4).
    fn call<R>(
        &self,
        name: &'static str,
        call: impl FnOnce(&mut dyn DatagramProtocol) -> R,
    ) -> Result<Option<R>, ConnError> {
        let discard = |replaced| self.drop_protocol(replaced);
        let called = self.protocol.call(name, discard, call);
        self.reconcile();
        called
    }

    // ── receiving ───────────────────────────────────────────────────────────────

    /// R9: one datagram a turn.
    fn on_readable(&self) {
        let id = self.id.get();
        if self.state.borrow().is_closing() || !self.core().reactor.is_readable(id) {
            return;
        }
        let Some(me) = self.me() else { return };
        let mut buffer = self.core().pool.take_receive_buffer();
        let received = self.socket.borrow().receive(&mut buffer);
        match received {
            Ok((len, sender)) => {
                let told = self.call("datagram_received", |p| {
                    p.datagram_received(&me, &buffer[..len], &sender);
                });
                self.core().pool.put_receive_buffer(buffer);
                if let Err(error) = told {
                    self.callback_failed("datagram_received", error);
                }
            }
            Err(error) => {
                self.core().pool.put_receive_buffer(buffer);
                match error.kind() {
                    // R6: a datagram is never a short read; only this spends the edge.
                    io::ErrorKind::WouldBlock => {
                        self.core().reactor.after_read(id, None, 0);
                    }
                    io::ErrorKind::Interrupted => {}
                    _ => self.tell_error(error.into()),
                }
            }
        }
        if !self.state.borrow().is_closing() && self.core().reactor.is_readable(id) {
            self.core().reactor.retain(id, Direction::Read);
        }
    }

    fn tell_error(&self, error: ConnError) {
        let Some(me) = self.me() else { return };
        if let Err(error) = self.call("error_received", |p| p.error_received(&me, error)) {
            self.report("protocol.error_received() failed".into(), &error);
        }
    }

    // ── sending ─────────────────────────────────────────────────────────────────

    /// Returns the address to give to the system: none, if the socket is connected.
    fn route(&self, address: Option<&Address>) -> io::Result<Option<Address>> {
        match (&self.remote, address) {
            (Remote::Connected(remote) | Remote::Fixed(remote), Some(other)) if remote != other => {
                Err(invalid(format!(
                    "Invalid address: must be None or {remote}"
                )))
            }
            (Remote::Connected(_), _) => Ok(None),
            (Remote::Fixed(remote), _) => Ok(Some(remote.clone())),
            (Remote::Any, None) => Err(invalid(format!(
                "{self:?} has no remote address: sendto() needs one"
            ))),
            (Remote::Any, Some(to)) if !self.socket.borrow().reaches(to) => {
                Err(invalid(format!("{self:?} can't send to {to}")))
            }
            (Remote::Any, Some(to)) => Ok(Some(to.clone())),
        }
    }

    fn send_or_queue(&self, data: &[u8], to: Option<Address>) {
        let sent = self.socket.borrow().send(data, to.as_ref());
        match sent {
            Ok(()) => {}
            Err(error) if is_blocked(&error) => {
                self.queue(data, to);
                self.await_room();
            }
            // R4: the protocol may be in the middle of a call, so it hears of it later.
            Err(error) => self.tell_error_soon(error),
        }
    }

    fn queue(&self, data: &[u8], address: Option<Address>) {
        let data = data.to_vec();
        self.state.borrow_mut().queue(Datagram { data, address });
        self.reconcile();
    }

    fn tell_error_soon(&self, error: io::Error) {
        if let Some(me) = self.me.upgrade() {
            self.handle.soon(move || me.tell_error(error.into()));
        }
    }

    /// Has the queue sent on when the first datagram in it can be.
    fn await_room(&self) {
        let has_no_event = {
            let state = self.state.borrow();
            let addressed = state.first().is_some_and(|first| first.address.is_some());
            addressed && matches!(*self.socket.borrow(), DatagramSocket::Unix(_))
        };
        if has_no_event {
            let me = self.me.clone();
            // Fails only if the loop is closed, with which the queue goes.
            let _ = self.handle.call_later(FULL_PEER_RETRY, move || {
                if let Some(me) = me.upgrade() {
                    me.send_queued();
                }
            });
        } else if !self.watches_writable.replace(true) {
            let watched = self.watch_writable();
            if let Err(error) = watched {
                let message = "Fatal write error on datagram transport";
                self.fatal(error.into(), message.into());
            }
        }
    }

    fn watch_writable(&self) -> io::Result<()> {
        let mut socket = self.socket.borrow_mut();
        let Some(io) = socket.polled() else {
            return Ok(());
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        self.core().reactor.reregister(self.id.get(), io, both)
    }

    fn send_queued(&self) {
        for _ in 0..MAX_SENDS {
            let sent = {
                let state = self.state.borrow();
                let Some(Datagram { data, address }) = state.first() else {
                    break;
                };
                // No call-out in here: this is a system call.
                self.socket.borrow().send(data, address.as_ref())
            };
            match sent {
                Err(error) if is_blocked(&error) => {
                    self.await_room();
                    self.reconcile();
                    return;
                }
                Err(error) => self.tell_error_soon(error),
                Ok(()) => {}
            }
            self.state.borrow_mut().remove_first();
        }
        if self.state.borrow().first().is_some() {
            self.core().reactor.retain(self.id.get(), Direction::Write);
        }
        self.reconcile();
        self.lose_if_over();
    }

    /// R4: the one way by which a protocol learns that writing is paused or resumed.
    fn reconcile(&self) {
        let paused = self.state.borrow().is_paused();
        if self.protocol.knows(paused) {
            return;
        }
        let Some(me) = self.me() else { return };
        self.protocol.reconcile(
            &me,
            || {
                let state = self.state.borrow();
                match (state.is_paused(), state.is_lost()) {
                    (true, true) => None, // what an abort drops resumes nobody
                    (paused, _) => Some(paused),
                }
            },
            |failed, error| self.report(failed.into(), &error),
            |replaced| self.drop_protocol(replaced),
        );
    }

    // ── ending ──────────────────────────────────────────────────────────────────

    fn lose_if_over(&self) {
        let over = self.state.borrow_mut().is_all_sent_and_closed();
        if over {
            self.queue_connection_lost(None);
        }
    }

    /// R5: `connection_lost` always comes from the ready queue.
    fn queue_connection_lost(&self, error: Option<ConnError>) {
        if let Some(me) = self.me.upgrade() {
            self.handle.soon(move || me.connection_lost(error));
        }
    }

    fn connection_lost(&self, error: Option<ConnError>) {
        let discard = |replaced| self.drop_protocol(replaced);
        let told = self
            .protocol
            .call("connection_lost", discard, |p| p.connection_lost(error));
        if let Err(error) = told {
            self.report(call_failed("connection_lost"), &error);
        }
        self.let_go();
    }

    /// R1: hollow from now on: out of the table, no socket, no protocol.
    fn let_go(&self) {
        let mut socket = self.socket.replace(DatagramSocket::Hollow);
        let id = self.id.replace(SourceId::NONE);
        let owner = self.core().reactor.deregister(id, socket.polled());
        drop(socket);
        drop(owner);
        if let Some(protocol) = self.protocol.retire() {
            self.drop_protocol(protocol);
        }
    }
}

impl DatagramTransport for SocketDatagramTransport {
    fn sendto(&self, data: &[u8], address: Option<&Address>) -> io::Result<()> {
        let to = self.route(address)?;
        let fate = self.state.borrow_mut().admit();
        match fate {
            Fate::SendNow => self.send_or_queue(data, to),
            Fate::Queue => self.queue(data, to),
            Fate::Drop { warn: false } => {}
            Fate::Drop { warn: true } => log::warn!("socket.send() raised exception."),
        }
        Ok(())
    }

    fn is_closing(&self) -> bool {
        self.state.borrow().is_closing()
    }

    fn close(&self) {
        self.state.borrow_mut().close();
        self.lose_if_over();
    }

    fn abort(&self) {
        self.force_close(None);
    }

    fn set_protocol(&self, protocol: Box<dyn DatagramProtocol>) {
        if let Some(earlier) = self.protocol.set(protocol) {
            self.drop_protocol(earlier);
        }
        self.reconcile();
    }

    fn get_write_buffer_size(&self) -> usize {
        self.state.borrow().size()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.state.borrow().limits()
    }

    fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        self.state.borrow_mut().set_limits(high, low)?;
        self.reconcile();
        Ok(())
    }

    fn answer(&self, request: &mut ExtraInfoRequest<'_>) {
        request
            .answer::<SockName>(|| self.sock_name.clone())
            .answer::<PeerName>(|| match &self.remote {
                Remote::Connected(peer) => Some(peer.clone()),
                Remote::Fixed(_) | Remote::Any => None,
            })
            .answer::<contract::Socket>(|| self.fd.map(SocketInfo::new));
    }
}

impl Fails for SocketDatagramTransport {
    type Protocol = dyn DatagramProtocol;

    fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    fn protocol(&self) -> &ProtocolCell<dyn DatagramProtocol> {
        &self.protocol
    }

    fn force_close(&self, error: Option<ConnError>) {
        let lost_now = self.state.borrow_mut().force_close();
        if lost_now {
            self.queue_connection_lost(error);
        }
    }
}

impl EventSource for SocketDatagramTransport {
    fn read_ready(self: Rc<Self>) {
        self.on_readable();
    }

    fn write_ready(self: Rc<Self>) {
        if !self.state.borrow().is_lost() {
            self.send_queued();
        }
    }

    fn hollow(self: Rc<Self>) {
        self.state.borrow_mut().force_close();
        self.let_go();
    }

    fn owner(&self) -> Option<String> {
        (!self.is_closing()).then(|| format!("{self:?}"))
    }
}

impl fmt::Debug for SocketDatagramTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<DatagramTransport")?;
        if let Ok(socket) = self.socket.try_borrow() {
            write!(f, " {:?}", *socket)?;
        }
        if let Some(fd) = self.fd {
            write!(f, " fd={fd}")?;
        }
        if let Ok(state) = self.state.try_borrow() {
            if state.is_closing() {
                f.write_str(" closing")?;
            }
            write!(f, " unsent={}", state.size())?;
        }
        f.write_str(">")
    }
}

fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
