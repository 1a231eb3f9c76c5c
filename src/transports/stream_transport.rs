//! The stream transport: a socket, its state, its protocol, and who does what.
//!
//! ```text
//!   read_ready ──► get_buffer ──► recv ──► data_received      ┐
//!                                   └─0──► eof_received        ├ protocol
//!   write ──► ConnectionState: now, at the step's end, later?  │
//!               └──► send ──► what next? ──► follow            │
//!   close, abort, error ──► queued: connection_lost, hollow    ┘
//! ```

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use crate::address::KeptNames;
use crate::buffer::MAX_RECEIVE;
use crate::contract::{
    self, Address, AfterEof, ExtraInfoRequest, PeerName, Pipe, PipeInfo, Protocol, ReadInto,
    SockName, SocketInfo, Transport, WriteLimitsError, WritePolicy,
};
use crate::error::ConnError;
use crate::event_loop::{LoopCore, LoopHandle};
use crate::executor::AtStepEnd;
use crate::reactor::{Direction, EventSource, SHORT_MEANS_EXHAUSTED, SourceId};

use super::connection_state::{Admission, Call, ConnectionState, Next, Small};
use super::failure::{Fails, call_failed};
use super::protocol_cell::{Called, ProtocolCell};
use super::socket::{Socket, Ways};

/// Pieces that one vectored send takes, at the most: the kernel's `IOV_MAX`.
const MAX_PIECES: usize = 1024;

/// Pieces up to which the vector for a send lies on the stack.
///
/// 16: small writes are joined, so there are rarely more than a few; 256 bytes of stack.
const FEW_PIECES: usize = 16;

/// A connection: TCP, Unix-domain, one end of a pipe, or in memory.
///
/// In this order, so that what each message needs lies together, and of that first what it
/// takes to leave it to a reader: with many connections, each line of the cache that one touches
/// is one to be waited for.
#[repr(C)]
pub(crate) struct StreamTransport {
    ways: Ways,
    /// The protocol left the bytes that are there to a reader that pulls.
    left_to_reader: Cell<bool>,
    /// The poller was asked to watch for room to write (and is never asked to stop).
    watches_writable: Cell<bool>,
    attached_as: u32,
    protocol: ProtocolCell,
    connection: RefCell<Connection>,
    handle: LoopHandle,
    id: Cell<SourceId>,
    me: Weak<StreamTransport>,
    // From here on, what only the beginning and the end of a connection need.
    attached_to: Cell<Option<Rc<dyn AttachedTo>>>,
    info: Info,
}

/// What the kernel has of a connection, and what is known of it here.
#[repr(C)]
struct Connection {
    state: ConnectionState,
    socket: Socket,
}

/// What stays known after the connection is lost.
struct Info {
    names: KeptNames,
    #[cfg(feature = "unix-credentials")]
    peer_credentials: Option<contract::Credentials>,
}

/// What a transport is made of.
pub(crate) struct Opening {
    pub(crate) socket: Socket,
    pub(crate) protocol: Box<dyn Protocol>,
    /// The address that `accept` returned.
    pub(crate) peer_name: Option<Address>,
    /// Called when `connection_made` has returned and reading has started.
    pub(crate) on_made: Option<Box<dyn FnOnce()>>,
    /// Whom it is attached to until the connection was lost and its socket is closed, and
    /// as which one.
    pub(crate) attached: Option<(Rc<dyn AttachedTo>, u32)>,
}

/// Whoever a connection is attached to, such as its server. It is dropped when the
/// connection is over, or the loop closed.
pub(crate) trait AttachedTo {
    /// The connection that is attached by this number is over.
    fn detached(self: Rc<Self>, number: u32, ending: Ending);
}

/// What a connection ended by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// This side closed or aborted it.
    Closed,
    /// An error: the peer is gone, or a callback failed.
    Error,
}

impl StreamTransport {
    /// Takes a connected socket over. What follows is queued: `connection_made`, then
    /// the start of reading, then `on_made`.
    pub(crate) fn open(handle: &LoopHandle, opening: Opening) -> io::Result<Rc<StreamTransport>> {
        let Opening {
            socket,
            protocol,
            peer_name,
            on_made,
            attached,
        } = opening;
        let (attached_to, attached_as) = attached.unzip();
        socket.set_nodelay();
        let info = Info {
            names: KeptNames::new(socket.sock_name(), peer_name.or_else(|| socket.peer_name())),
            #[cfg(feature = "unix-credentials")]
            peer_credentials: socket.peer_credentials(),
        };
        let ways = socket.ways();
        let state = match ways {
            Ways::Both => ConnectionState::new(),
            Ways::In => ConnectionState::of_read_pipe(),
            Ways::Out => ConnectionState::of_write_pipe(),
        };
        let transport = Rc::new_cyclic(|me| StreamTransport {
            me: me.clone(),
            handle: handle.clone(),
            id: Cell::new(SourceId::NONE),
            connection: RefCell::new(Connection { socket, state }),
            ways,
            protocol: ProtocolCell::new(protocol),
            left_to_reader: Cell::new(false),
            watches_writable: Cell::new(false),
            attached_to: Cell::new(attached_to),
            attached_as: attached_as.unwrap_or_default(),
            info,
        });
        let owner = transport.clone();
        let id = transport
            .connection
            .borrow_mut()
            .socket
            .register(handle.core(), owner)?;
        transport.id.set(id);
        let begun = transport.clone();
        handle.soon(move || begun.begin(on_made));
        Ok(transport)
    }

    /// R7: `connection_made` first; then what the poller collected meanwhile counts.
    fn begin(&self, on_made: Option<Box<dyn FnOnce()>>) {
        let Some(me) = self.me() else { return };
        self.protocol.begin();
        let made = self.call("connection_made", |p| p.connection_made(&me));
        if let Err(error) = made {
            // D8: asyncio leaves the connection open, and the peer waits for ever.
            self.callback_failed("connection_made", error);
        }
        self.core().reactor.arm(self.id.get());
        if let Some(on_made) = on_made {
            on_made();
        }
    }

    fn core(&self) -> &Rc<LoopCore> {
        self.handle.core()
    }

    #[inline]
    fn state(&self) -> Ref<'_, ConnectionState> {
        Ref::map(self.connection.borrow(), |connection| &connection.state)
    }

    #[inline]
    fn state_mut(&self) -> RefMut<'_, ConnectionState> {
        RefMut::map(self.connection.borrow_mut(), |connection| {
            &mut connection.state
        })
    }

    /// Calls the protocol, and then tells it what the call has provoked (R4).
    fn call<R>(&self, name: &'static str, call: impl FnOnce(&mut dyn Protocol) -> R) -> Called<R> {
        let called = self.call_last(name, call);
        self.reconcile();
        called
    }

    /// As `call`, for several callbacks: the cell says which of them is called.
    fn visit<R>(
        &self,
        callback: &Cell<&'static str>,
        visit: impl FnOnce(&mut dyn Protocol) -> R,
    ) -> Called<R> {
        let discard = |replaced| self.drop_protocol(replaced);
        let called = self.protocol.visit(callback, discard, visit);
        self.reconcile();
        called
    }

    /// Calls the protocol, which is to be told nothing after that.
    fn call_last<R>(
        &self,
        name: &'static str,
        call: impl FnOnce(&mut dyn Protocol) -> R,
    ) -> Called<R> {
        let discard = |replaced| self.drop_protocol(replaced);
        self.protocol.call(name, discard, call)
    }

    /// `None` only while the last handle is being dropped.
    fn me(&self) -> Option<Rc<dyn Transport>> {
        let me: Rc<dyn Transport> = self.me.upgrade()?;
        Some(me)
    }

    // ── reading ─────────────────────────────────────────────────────────────────

    fn on_readable(&self, me: &Rc<dyn Transport>) {
        if self.ways == Ways::Out {
            self.on_write_pipe_readable();
            return;
        }
        let seen_end = {
            let mut state = self.state_mut();
            if !state.is_reading() {
                return; // R6: the bit stays set, and whoever resumes queues a read
            }
            state.take_seen_end()
        };
        match seen_end {
            None => self.receive(me),
            Some(Ok(())) => self.on_eof(me),
            Some(Err(error)) => self.on_read_error(error),
        }
    }

    /// Asks the protocol where the bytes are to go. If that is the loop's buffer, it gets
    /// them in the same visit: to take it out of its cell once is enough.
    fn receive(&self, me: &Rc<dyn Transport>) {
        let callback = Cell::new("get_buffer");
        let mut rest = Rest::Nothing;
        let visit = self.visit(&callback, |p| {
            let most = match p.get_buffer(me, MAX_RECEIVE) {
                ReadInto::Shared => MAX_RECEIVE,
                ReadInto::SharedUpTo(most) => most.clamp(1, MAX_RECEIVE),
                ReadInto::Lent(buffer) => return rest = Rest::Lent(buffer),
                // R6: the bit stays set; `try_read` or `resume_reading` goes on from here.
                ReadInto::Later => return self.left_to_reader.set(true),
            };
            if !self.is_as_it_was_told() {
                return rest = Rest::Shared(most);
            }
            // A protocol that panics costs the loop its buffer: the next receive makes another.
            let mut buffer = self.core().pool.take_receive_buffer();
            let memory = &mut buffer[..most];
            let received = self.recv(most, |socket| socket.receive(memory));
            if let Received::Bytes(n, _) = received {
                callback.set("data_received");
                p.data_received(me, &memory[..n]);
            }
            self.core().pool.put_receive_buffer(buffer);
            if !matches!(received, Received::Bytes(_, More::No)) {
                rest = Rest::Received(received);
            }
        });
        if let Err(error) = visit {
            return self.callback_failed(callback.get(), error);
        }
        match rest {
            Rest::Nothing => {}
            Rest::Received(received) => self.after_receiving(me, received),
            Rest::Lent(buffer) => self.receive_lent(me, buffer),
            Rest::Shared(most) => self.receive_shared(me, most),
        }
    }

    /// R4: false if `get_buffer` closed or paused, or provoked something that the protocol,
    /// or the one which took its place, is to be told before there is data.
    fn is_as_it_was_told(&self) -> bool {
        let state = self.state();
        state.is_reading() && self.protocol.is_settled(state.is_writing_paused())
    }

    /// Receives after the visit in which the protocol said how much: it, or its successor, was
    /// told the rest meanwhile.
    fn receive_shared(&self, me: &Rc<dyn Transport>, most: usize) {
        if !self.state().is_reading() {
            return;
        }
        let mut buffer = self.core().pool.take_receive_buffer();
        let received = self.recv(most, |socket| socket.receive(&mut buffer[..most]));
        let told = match received {
            Received::Bytes(n, _) => {
                self.call("data_received", |p| p.data_received(me, &buffer[..n]))
            }
            _ => Ok(None),
        };
        self.core().pool.put_receive_buffer(buffer);
        match told {
            Ok(_) => self.after_receiving(me, received),
            Err(error) => self.callback_failed("data_received", error),
        }
    }

    fn receive_lent(&self, me: &Rc<dyn Transport>, mut buffer: Vec<u8>) {
        if buffer.is_empty() {
            let error = io::Error::other("get_buffer() returned an empty buffer");
            self.callback_failed("get_buffer", error.into());
            return;
        }
        let received = if self.state().is_reading() {
            self.recv(buffer.len(), |socket| socket.receive(&mut buffer))
        } else {
            Received::Nothing
        };
        let (callback, told) = match received {
            Received::Bytes(n, _) => (
                "buffer_updated",
                self.call("buffer_updated", |p| p.buffer_updated(me, buffer, n)),
            ),
            // Also before the end and before an error is told (D9).
            _ => (
                "buffer_unused",
                self.call("buffer_unused", |p| p.buffer_unused(me, buffer)),
            ),
        };
        match told {
            Ok(_) => self.after_receiving(me, received),
            Err(error) => self.callback_failed(callback, error),
        }
    }

    fn after_receiving(&self, me: &Rc<dyn Transport>, received: Received) {
        match received {
            Received::Bytes(_, More::No) => {}
            Received::Bytes(_, More::Perhaps) | Received::Nothing => self.read_again_if_readable(),
            Received::Eof => self.on_eof(me),
            Received::Failed(error) => self.on_read_error(error),
        }
    }

    /// R9: one `recv` a turn. R6: while the bit is set, a read is queued.
    fn read_again_if_readable(&self) {
        let reactor = &self.core().reactor;
        if self.state().is_reading() && reactor.is_readable(self.id.get()) {
            reactor.retain(self.id.get(), Direction::Read);
        }
    }

    /// Receives once into memory of `offered` bytes, and keeps the readable bit true (R6).
    #[inline]
    fn recv(
        &self,
        offered: usize,
        receive: impl FnOnce(&mut Socket) -> io::Result<usize>,
    ) -> Received {
        let result = receive(&mut self.connection.borrow_mut().socket);
        let reactor = &self.core().reactor;
        match result {
            Ok(0) => Received::Eof,
            Ok(n) => {
                let got = if self.short_means_exhausted() {
                    n
                } else {
                    offered
                };
                match reactor.after_read(self.id.get(), Some(got), offered) {
                    true => Received::Bytes(n, More::Perhaps),
                    false => Received::Bytes(n, More::No),
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    reactor.after_read(self.id.get(), None, offered);
                    Received::Nothing
                }
                io::ErrorKind::Interrupted => Received::Nothing,
                _ => Received::Failed(error),
            },
        }
    }

    /// Says whether a short read or write means that the kernel has no more (R6).
    ///
    /// Of a terminal one `read` brings one line, however many wait; so of what is no
    /// socket, only `WouldBlock` counts.
    fn short_means_exhausted(&self) -> bool {
        SHORT_MEANS_EXHAUSTED && self.ways == Ways::Both
    }

    fn on_eof(&self, me: &Rc<dyn Transport>) {
        self.state_mut().end_input(); // D5
        if self.handle.get_debug() {
            log::debug!("{self:?} received EOF");
        }
        if self.ways == Ways::In {
            self.end_of_pipe();
            return;
        }
        match self.call("eof_received", |p| p.eof_received(me)) {
            Ok(Some(AfterEof::Close)) => self.close(),
            Ok(Some(AfterEof::KeepOpen) | None) => {}
            Err(error) => self.callback_failed("eof_received", error),
        }
    }

    fn on_read_error(&self, error: io::Error) {
        let message = match self.ways {
            Ways::Both => "Fatal read error on socket transport",
            Ways::In | Ways::Out => "Fatal read error on pipe transport",
        };
        self.fatal(error.into(), message.into());
    }

    /// A pipe whose writers are gone is closing at once; the protocol hears of it next.
    fn end_of_pipe(&self) {
        if let Some(me) = self.me.upgrade() {
            self.handle.soon(move || me.tell_end_of_pipe());
        }
        self.close();
    }

    fn tell_end_of_pipe(&self) {
        let Some(me) = self.me() else { return };
        if let Err(error) = self.call("eof_received", |p| p.eof_received(&me)) {
            self.callback_failed("eof_received", error);
        }
    }

    /// The end of a pipe to which is written tells in this way that its reader is gone.
    fn on_write_pipe_readable(&self) {
        let reactor = &self.core().reactor;
        if !reactor.is_read_closed(self.id.get()) {
            // Bytes from the other side of a socket, or from a terminal: nobody's.
            reactor.after_read(self.id.get(), None, 0);
            return;
        }
        let unsent = self.state().buffered() > 0;
        self.force_close(unsent.then(|| io::ErrorKind::BrokenPipe.into()));
    }

    // ── writing ─────────────────────────────────────────────────────────────────

    /// A write that doesn't just wait for the end of the step.
    fn write_alone(&self, data: &[u8]) {
        match self.admit(Call::Write, data.len()) {
            None => {}
            Some(Admission::SendNow) => self.send_with(&[IoSlice::new(data)]),
            Some(admission) => {
                let pool = &self.core().pool;
                self.state_mut().queue(data, pool);
                self.after_queueing(admission);
            }
        }
    }

    /// Decides what becomes of a write. `None`: nothing more is to be done with it.
    fn admit(&self, call: Call, len: usize) -> Option<Admission> {
        let in_step = self.core().executor.is_in_step();
        let admission = self.state_mut().admit(call, len, in_step);
        match admission {
            Admission::Empty | Admission::Dropped { warn: false } => None,
            Admission::Dropped { warn: true } => {
                log::warn!("{}", self.dropped_write_warning());
                None
            }
            Admission::Misused(misuse) => {
                log::warn!("{}", misuse.message());
                None
            }
            admitted => Some(admitted),
        }
    }

    fn dropped_write_warning(&self) -> &'static str {
        match self.ways {
            Ways::Both => "socket.send() raised exception.",
            Ways::In | Ways::Out => "pipe closed by peer or os.write(pipe, data) raised exception.",
        }
    }

    /// What was queued is in the hands of whoever sends it.
    #[inline]
    fn after_queueing(&self, admission: Admission) {
        match admission {
            // What may wait for that passes no mark: there is nothing to tell.
            Admission::QueueForStepEnd => self.act_at_step_end(),
            _ => self.reconcile(),
        }
    }

    #[inline]
    fn act_at_step_end(&self) {
        if let Some(me) = self.me.upgrade() {
            self.core().executor.at_step_end(me);
        }
    }

    /// Sends what is queued, if that is worth trying.
    fn flush_now(&self) {
        if self.state().wants_to_send() {
            self.send_with(&[]);
        }
    }

    /// Sends what is queued and `pieces` behind it, with one system call, and queues
    /// what the kernel left of `pieces`.
    fn send_with(&self, pieces: &[IoSlice<'_>]) {
        // No call-out in here: the buffers are ours.
        let sent = self.send_and_queue(&mut self.connection.borrow_mut(), pieces);
        match sent {
            Ok(next) => {
                self.follow(next);
                self.reconcile();
            }
            Err(error) => self.on_write_error(error),
        }
    }

    /// Says what follows the send.
    #[inline]
    fn send_and_queue(
        &self,
        Connection { socket, state }: &mut Connection,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<Next> {
        let sent = self.send_once(socket, state, pieces);
        let (taken, blocked) = sent.inspect_err(|_| state.discard())?;
        let pool = &self.core().pool;
        let queued = state.buffered();
        state.sent(taken.min(queued), pool);
        for rest in after(pieces, taken.saturating_sub(queued)) {
            state.queue(rest, pool);
        }
        Ok(state.after_send(blocked))
    }

    /// Tries one send. Returns how many bytes were taken, and whether the kernel is full,
    /// so that an edge will tell when it no longer is.
    #[inline]
    fn send_once(
        &self,
        socket: &mut Socket,
        state: &ConnectionState,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<(usize, bool)> {
        if let (Some(chunk), []) = (state.only_chunk(), pieces) {
            return self.offer(socket, &[IoSlice::new(chunk)], chunk.len());
        }
        let wanted = state.queued_chunks() + pieces.len();
        let mut few = [IoSlice::new(&[]); FEW_PIECES];
        let mut many = Vec::new();
        let offer = if wanted <= FEW_PIECES {
            &mut few[..wanted]
        } else {
            many.resize(wanted.min(MAX_PIECES), IoSlice::new(&[]));
            &mut many[..]
        };
        let queued = state.fill_offer(offer);
        for (place, piece) in offer[queued..].iter_mut().zip(pieces) {
            *place = IoSlice::new(piece);
        }
        let offered = offer.iter().map(|piece| piece.len()).sum();
        self.offer(socket, offer, offered)
    }

    /// Sends once; `offered` is how many bytes the pieces have.
    fn offer(
        &self,
        socket: &mut Socket,
        pieces: &[IoSlice<'_>],
        offered: usize,
    ) -> io::Result<(usize, bool)> {
        match socket.send(pieces) {
            // R6: only less than was offered means blocked, where the kernel makes edges.
            Ok(taken) => Ok((taken, taken < offered && self.short_means_exhausted())),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok((0, true)),
                io::ErrorKind::Interrupted => Ok((0, false)),
                _ => Err(error),
            },
        }
    }

    fn on_write_error(&self, error: io::Error) {
        let message = match self.ways {
            Ways::Both => "Fatal write error on socket transport",
            Ways::In | Ways::Out => "Fatal write error on pipe transport",
        };
        self.fatal(error.into(), message.into());
    }

    /// Does what the state of the connection has decided: nearly always nothing.
    #[inline]
    fn follow(&self, next: Next) {
        if next != Next::Nothing {
            self.carry_out(next);
        }
        self.wake_if_flushed();
    }

    #[inline]
    fn wake_if_flushed(&self) {
        let flushed = self.state().flushed();
        if let Some(waiters) = flushed {
            waiters.wake_all();
        }
    }

    fn carry_out(&self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::AwaitWritable => self.await_writable(),
            Next::SendNextTurn => {
                self.core().reactor.retain(self.id.get(), Direction::Write);
            }
            Next::ShutDownWriting => self.shut_down_writing(),
            Next::Lose => self.queue_connection_lost(None),
        }
    }

    fn await_writable(&self) {
        if self.watches_writable.replace(true) {
            return;
        }
        let watched = self
            .connection
            .borrow_mut()
            .socket
            .watch_writable(self.core(), self.id.get());
        if let Err(error) = watched {
            self.on_write_error(error);
        }
    }

    fn shut_down_writing(&self) {
        let shut = self.connection.borrow_mut().socket.shut_down_writing();
        if let Err(error) = shut {
            // D6: told as the end of the connection, like any other trouble with writing.
            self.on_write_error(error);
        }
    }

    /// R4: the one way by which a protocol learns that writing is paused or resumed.
    #[inline]
    fn reconcile(&self) {
        // After nearly each call there is nothing to tell.
        let paused = self.state().is_writing_paused();
        if !self.protocol.knows(paused) {
            self.tell_what_is_true();
        }
    }

    #[cold]
    fn tell_what_is_true(&self) {
        let Some(me) = self.me() else { return };
        self.protocol.reconcile(
            &me,
            || {
                let state = self.state();
                match (state.is_writing_paused(), state.is_lost()) {
                    // An abort or an error: the bytes that are gone resume nobody.
                    (true, true) => None,
                    // Also when a close has just sent its last byte: the loss is queued.
                    (paused, _) => Some(paused),
                }
            },
            |failed, error| self.report(failed.into(), &error),
            |replaced| self.drop_protocol(replaced),
        );
    }

    // ── ending ──────────────────────────────────────────────────────────────────

    /// R5: `connection_lost` always comes from the ready queue.
    fn queue_connection_lost(&self, error: Option<ConnError>) {
        if let Some(me) = self.me.upgrade() {
            self.handle.soon(move || me.connection_lost(error));
        }
    }

    fn connection_lost(&self, error: Option<ConnError>) {
        let ending = match &error {
            None => Ending::Closed,
            Some(_) => Ending::Error,
        };
        let told = self.call_last("connection_lost", |p| p.connection_lost(error));
        if let Err(error) = told {
            self.report(call_failed("connection_lost"), &error);
        }
        self.let_go();
        if let Some(attached_to) = self.attached_to.take() {
            attached_to.detached(self.attached_as, ending);
        }
        self.wake_if_flushed();
    }

    /// R1: hollow from now on: out of the table, no socket, no protocol.
    fn let_go(&self) {
        let mut socket = self.connection.borrow_mut().socket.take();
        let owner = socket.deregister(self.core(), self.id.replace(SourceId::NONE));
        drop(socket);
        drop(owner);
        if let Some(protocol) = self.protocol.retire() {
            self.drop_protocol(protocol);
        }
    }
}

impl Transport for StreamTransport {
    fn answer(&self, request: &mut ExtraInfoRequest<'_>) {
        request
            .answer::<PeerName>(|| self.info.names.peer_name())
            .answer::<SockName>(|| self.info.names.sock_name())
            .answer::<contract::Socket>(|| self.fd_of(Ways::Both).map(SocketInfo::new))
            .answer::<Pipe>(|| {
                let fd = self.fd_of(Ways::In).or(self.fd_of(Ways::Out));
                fd.map(PipeInfo::new)
            });
        #[cfg(feature = "unix-credentials")]
        request.answer::<contract::PeerCredentials>(|| self.info.peer_credentials);
    }

    fn is_closing(&self) -> bool {
        self.state().is_closing()
    }

    fn close(&self) {
        if self.is_closing() {
            return;
        }
        self.flush_now();
        let next = self.state_mut().close();
        self.follow(next);
    }

    fn abort(&self) {
        self.flush_now();
        self.force_close(None);
    }

    fn set_protocol(&self, protocol: Box<dyn Protocol>) {
        if let Some(earlier) = self.protocol.set(protocol) {
            self.drop_protocol(earlier);
        }
        self.after_replacing();
    }

    fn replace_protocol(
        &self,
        protocol: Box<dyn Protocol>,
    ) -> Result<Box<dyn Protocol>, Box<dyn Protocol>> {
        let earlier = self.protocol.swap(protocol)?;
        self.after_replacing();
        Ok(earlier)
    }

    fn is_reading(&self) -> bool {
        self.state().is_reading()
    }

    fn pause_reading(&self) {
        self.state_mut().pause_reading();
        if self.handle.get_debug() {
            log::debug!("{self:?} pauses reading");
        }
    }

    fn resume_reading(&self) {
        let resumed = self.state_mut().resume_reading();
        if resumed && self.handle.get_debug() {
            log::debug!("{self:?} resumes reading");
        }
        if self.left_to_reader.take() || resumed {
            // R6: the edge is spent, so queue the read ourselves.
            self.read_again_if_readable();
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // R9: however much memory the caller offers.
        let most = buffer.len().min(MAX_RECEIVE);
        self.receive_past_the_protocol(most, |socket| socket.receive(&mut buffer[..most]))
    }

    fn write(&self, data: &[u8]) {
        let core = self.core();
        let in_step = core.executor.is_in_step();
        let queued = self.state_mut().queue_small(data, in_step, &core.pool);
        match queued {
            Small::Joined => {}
            Small::First => self.act_at_step_end(),
            Small::IsNone => self.write_alone(data),
        }
    }

    fn write_owned(&self, data: Vec<u8>) {
        match self.admit(Call::Write, data.len()) {
            None => {}
            Some(Admission::SendNow) => {
                self.send_with(&[IoSlice::new(&data)]);
                self.core().pool.give(data);
            }
            Some(admission) => {
                let pool = &self.core().pool;
                self.state_mut().queue_owned(data, pool);
                self.after_queueing(admission);
            }
        }
    }

    fn writelines(&self, pieces: &[IoSlice<'_>]) {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        match self.admit(Call::WriteLines, len) {
            None => {}
            Some(Admission::SendNow) => self.send_with(pieces),
            Some(admission) => {
                let pool = &self.core().pool;
                for piece in pieces {
                    self.state_mut().queue(piece, pool);
                }
                self.after_queueing(admission);
            }
        }
    }

    fn can_write(&self) -> bool {
        self.ways != Ways::In
    }

    fn can_write_eof(&self) -> bool {
        self.ways != Ways::In
    }

    fn write_eof(&self) {
        if self.ways == Ways::Out {
            self.close(); // a pipe ends by being closed
            return;
        }
        self.flush_now();
        let next = self.state_mut().end_output();
        self.follow(next);
    }

    fn flush(&self) {
        self.flush_now();
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state().buffered() == 0 {
            return Poll::Ready(());
        }
        let waiters = self.state_mut().flush_waiters();
        waiters.register(cx.waker());
        Poll::Pending
    }

    fn get_write_buffer_size(&self) -> usize {
        self.state().buffered()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.state().write_limits()
    }

    fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        self.flush_now(); // what only waits for the step's end need not pause anybody
        self.state_mut().set_write_limits(high, low)?;
        self.reconcile();
        Ok(())
    }

    fn set_write_policy(&self, policy: WritePolicy) {
        self.flush_now();
        self.state_mut().set_write_policy(policy);
    }

    fn misuse(&self) -> Option<&'static str> {
        self.state().misuse()
    }

    fn is_open_to_writes(&self) -> bool {
        self.state().is_open_to_writes()
    }

    fn source_number(&self) -> u64 {
        self.id.get().to_bits()
    }

    fn has_discarded(&self) -> bool {
        self.state().has_discarded()
    }
}

impl StreamTransport {
    fn fd_of(&self, ways: Ways) -> Option<RawFd> {
        let fd = self.connection.borrow().socket.fd();
        fd.filter(|_| self.ways == ways)
    }

    /// Closes as whoever uses the connection would: what is above, if there is something.
    pub(crate) fn close_from_above(self: &Rc<Self>) {
        if self.protocol.is_called() {
            // By a callback of what is above, perhaps: it can be asked when that is over.
            let me = self.clone();
            return self.handle.soon(move || me.close_from_above());
        }
        let above = self.call_last("transport_above", |p| p.transport_above());
        match above {
            Ok(Some(Some(above))) => above.close(),
            _ => self.close(),
        }
    }

    /// Says whether the connection is over, and nothing left of it (R1).
    pub(crate) fn is_hollow(&self) -> bool {
        self.id.get() == SourceId::NONE
    }

    fn after_replacing(&self) {
        if self.left_to_reader.take() {
            // The new one did not ask for that.
            self.read_again_if_readable();
        }
        self.reconcile();
    }

    /// Receives, unless nothing is to be received now or nothing was offered.
    fn receive_past_the_protocol(
        &self,
        offered: usize,
        receive: impl FnOnce(&mut Socket) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let was_left = self.left_to_reader.take();
        // What was left is there (R6), and no end was seen before it.
        let may_read = self.state().is_reading()
            && (was_left
                || self.core().reactor.is_readable(self.id.get()) && !self.state().has_seen_end());
        if !may_read {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if offered == 0 {
            if was_left {
                self.read_again_if_readable();
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.recv(offered, receive) {
            Received::Bytes(n, More::No) => return Ok(n),
            Received::Bytes(n, More::Perhaps) => {
                self.read_again_if_readable();
                return Ok(n);
            }
            Received::Nothing => self.read_again_if_readable(),
            // Only bytes go past the protocol.
            Received::Eof => self.tell_end(Ok(())),
            Received::Failed(error) => self.tell_end(Err(error)),
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Tells the protocol the end that a `try_read` met: here and now, so that the reader
    /// need not wait for it, or by the next read if it can't be called now (R4, R7).
    fn tell_end(&self, end: io::Result<()>) {
        let Some(me) = self.me().filter(|_| self.protocol.can_be_called()) else {
            self.state_mut().keep_end(end);
            self.read_again_if_readable();
            return;
        };
        match end {
            Ok(()) => self.on_eof(&me),
            Err(error) => self.on_read_error(error),
        }
    }
}

impl Fails for StreamTransport {
    type Protocol = dyn Protocol;

    fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    fn protocol(&self) -> &ProtocolCell {
        &self.protocol
    }

    fn force_close(&self, error: Option<ConnError>) {
        let lost_now = self.state_mut().force_close();
        if lost_now {
            self.queue_connection_lost(error);
        }
    }
}

impl EventSource for StreamTransport {
    fn read_ready(self: Rc<Self>) {
        let me: Rc<dyn Transport> = self.clone();
        self.on_readable(&me);
    }

    fn write_ready(self: Rc<Self>) {
        let waits = self.state_mut().became_writable();
        if waits {
            self.flush_now();
        }
    }

    fn hollow(self: Rc<Self>) {
        self.state_mut().force_close();
        self.let_go();
        drop(self.attached_to.take());
        self.wake_if_flushed();
    }

    fn owner(&self) -> Option<String> {
        (!self.is_closing()).then(|| format!("{self:?}"))
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl AtStepEnd for StreamTransport {
    fn at_step_end(self: Rc<Self>) {
        self.flush_now();
    }
}

impl fmt::Debug for StreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<StreamTransport")?;
        let connection = self.connection.try_borrow().ok();
        if let Some(Connection { socket, .. }) = connection.as_deref() {
            write!(f, " {socket:?}")?;
            if let Some(fd) = socket.fd() {
                write!(f, " fd={fd}")?;
            }
        }
        if let Some(peer) = self.info.names.peer_name() {
            write!(f, " peer={peer}")?;
        }
        if let Some(Connection { state, .. }) = connection.as_deref() {
            if state.is_closing() {
                f.write_str(" closing")?;
            }
            write!(f, " unsent={}", state.buffered())?;
        }
        f.write_str(">")
    }
}

/// What is left to be done after a visit of the protocol for bytes.
enum Rest {
    Nothing,
    /// More may be there, or what came is the end, or an error.
    Received(Received),
    /// Bytes are to be received into this.
    Lent(Vec<u8>),
    /// So many at the most are to be received; but before, somebody was to be told something.
    Shared(usize),
}

/// What one receive came to.
enum Received {
    Bytes(usize, More),
    /// None are there now.
    Nothing,
    Eof,
    Failed(io::Error),
}

/// Whether a receive left the readable bit set. If not, an edge will come (R6).
enum More {
    Perhaps,
    No,
}

/// Returns what is left of `pieces` after their first `taken` bytes.
fn after<'a>(
    pieces: &'a [IoSlice<'_>],
    mut taken: usize,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    pieces.iter().filter_map(move |piece| {
        let skipped = taken.min(piece.len());
        taken -= skipped;
        let rest = &piece[skipped..];
        (!rest.is_empty()).then_some(rest)
    })
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// Two things aside: mio's sockets are larger in a debug build, and so is what is known of
    /// a connection with the feature `unix-credentials`.
    #[test]
    fn a_transport_is_small() {
        let rest = size_of::<StreamTransport>() - size_of::<Socket>() - size_of::<Info>();
        assert_eq!(rest, 104);
    }
}
