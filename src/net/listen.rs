//! Listening: sockets that somebody may connect to, and accepting who does.
//!
//! ```text
//!   BoundSocket ─listen─► Listener ──read_ready──► accept, accept, … ─► server
//!                          watched by   the reactor ◄──► nobody (the server is full or paused)
//!                                           └─► a timer (the system is out of something)
//! ```
//!
//! asyncio: `_accept_connection`, `_start_serving`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use mio::Interest;
use mio::net::{TcpListener, UnixListener};

use crate::address::{Address, unix_address};
use crate::error::ExceptionContext;
use crate::event_loop::TimerHandle;
use crate::reactor::{Direction, EventSource, SourceId};
use crate::transports::Socket;

use super::bind::{BoundSocket, cannot_listen};
use super::connect::StreamKind;
use super::server_core::ServerCore;
use super::unix::FileGuard;

/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Connections that one readiness of a listener may bring, at most (R9).
///
/// 1025: `backlog + 1`, as asyncio has it, up to a backlog of 1024. That takes some ten
/// milliseconds, and a flood of clients could go on for ever.
const MAX_ACCEPTED: i32 = 1025;

/// A socket that listens.
pub(super) struct Listener {
    server: Weak<ServerCore>,
    socket: RefCell<ListeningSocket>,
    address: Address,
    /// Invariant: names it in the reactor's table while it is open, whoever watches it, so
    /// that a loop that closes finds it (R1).
    id: Cell<SourceId>,
    watch: RefCell<Watch>,
    file: Cell<Option<FileGuard>>,
}

/// Who looks after a listener.
enum Watch {
    /// The reactor, which tells when somebody comes.
    Reactor,
    /// Nobody, since the server wants no connection now: those who come wait in the
    /// kernel's queue, and cost nothing.
    Nobody,
    /// A timer, since the system is out of something that accepting takes.
    Timer(TimerHandle),
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
    Closed,
}

impl ListeningSocket {
    fn accept(&self) -> io::Result<(Socket, Option<Address>)> {
        match self {
            ListeningSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Socket::Tcp(stream), Some(Address::Inet(peer))))
            }
            ListeningSocket::Unix(listener) => {
                let (stream, peer) = listener.accept()?;
                Ok((Socket::Unix(stream), Some(unix_address(&peer))))
            }
            ListeningSocket::Closed => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn as_source(&mut self) -> Option<(i32, &mut dyn mio::event::Source)> {
        match self {
            ListeningSocket::Tcp(listener) => Some((listener.as_raw_fd(), listener)),
            ListeningSocket::Unix(listener) => Some((listener.as_raw_fd(), listener)),
            ListeningSocket::Closed => None,
        }
    }
}

impl Listener {
    /// Listens, and has the reactor tell the server who comes.
    pub(super) fn listen(bound: BoundSocket, server: &Rc<ServerCore>) -> io::Result<Rc<Listener>> {
        let listening = bound.socket.listen(server.backlog());
        listening.map_err(|error| cannot_listen(&bound.address, error))?;
        let socket = match bound.kind {
            StreamKind::Tcp => ListeningSocket::Tcp(TcpListener::from_std(bound.socket.into())),
            StreamKind::Unix => ListeningSocket::Unix(UnixListener::from_std(bound.socket.into())),
        };
        let listener = Rc::new(Listener {
            server: Rc::downgrade(server),
            socket: RefCell::new(socket),
            address: bound.address,
            id: Cell::new(SourceId::NONE),
            watch: RefCell::new(Watch::Nobody),
            file: Cell::new(bound.file),
        });
        if server.accepts() {
            listener.begin_watching(server)?;
        } else {
            listener.rest(server, Watch::Nobody);
        }
        Ok(listener)
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Has it watched, or not, as its server wants it now. While a timer waits for the
    /// system to recover, nothing is changed: when that is over, this is called.
    pub(super) fn settle(self: &Rc<Self>) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        let (is_watched, rests) = match *self.watch.borrow() {
            Watch::Reactor => (true, false),
            Watch::Nobody => (false, true),
            Watch::Timer(_) => (false, false),
        };
        if is_watched && !server.accepts() {
            self.rest(&server, Watch::Nobody);
        } else if rests && server.accepts() {
            if let Err(error) = self.begin_watching(&server) {
                self.retry_later(&server);
                self.report(&server, "a listening socket can't be watched", &error);
            }
        }
    }

    /// Stops listening, and closes the socket.
    pub(super) fn close(&self) {
        if let Some(server) = self.server.upgrade() {
            self.leave_table(&server);
        }
        self.let_go();
    }

    fn let_go(&self) {
        // First: while the socket is open, nobody else's file can have the inode of its.
        drop(self.file.take());
        let socket = self.socket.replace(ListeningSocket::Closed);
        drop(socket);
    }

    /// Those who came meanwhile are told at once, on each of the back ends.
    fn begin_watching(self: &Rc<Self>, server: &ServerCore) -> io::Result<()> {
        self.leave_table(server);
        let mut socket = self.socket.borrow_mut();
        let Some((fd, source)) = socket.as_source() else {
            return Ok(());
        };
        let reactor = &server.handle.core().reactor;
        let id = reactor.register(self.clone(), source, fd, Interest::READABLE, true)?;
        self.id.set(id);
        self.watch.replace(Watch::Reactor);
        Ok(())
    }

    /// Has the poller forget it. The table knows it still, if it is open.
    fn rest(self: &Rc<Self>, server: &ServerCore, watch: Watch) {
        self.leave_table(server);
        if !matches!(*self.socket.borrow(), ListeningSocket::Closed) {
            let reactor = &server.handle.core().reactor;
            self.id.set(reactor.register_unpolled(self.clone()));
            self.watch.replace(watch);
        }
    }

    fn leave_table(&self, server: &ServerCore) {
        let watch = self.watch.replace(Watch::Nobody);
        if let Watch::Timer(retry) = &watch {
            retry.cancel();
        }
        let mut socket = self.socket.borrow_mut();
        let polled = match watch {
            Watch::Reactor => socket.as_source().map(|(_, source)| source),
            Watch::Nobody | Watch::Timer(_) => None,
        };
        let reactor = &server.handle.core().reactor;
        let owner = reactor.deregister(self.id.replace(SourceId::NONE), polled);
        drop(socket);
        drop(owner);
    }

    fn is_watched(&self) -> bool {
        matches!(*self.watch.borrow(), Watch::Reactor)
    }

    /// R9: accepts a bounded number of connections; the next turn accepts the others.
    fn accept_some(self: &Rc<Self>) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        let mut failed = false;
        for _ in 0..server.backlog().saturating_add(1).min(MAX_ACCEPTED) {
            let accepted = self.socket.borrow().accept();
            let error = match accepted {
                Ok((socket, peer)) => {
                    server.connected(socket, peer);
                    if !self.is_watched() {
                        return; // the server is full, paused or closed now
                    }
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::WouldBlock => return,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ if is_out_of_resources(&error) => {
                    self.retry_later(&server);
                    self.report(&server, "socket.accept() out of system resource", &error);
                    return;
                }
                // One connection may be broken, and there may be others behind it, of
                // which no edge will tell (R6); but not if it goes on like this.
                _ => {
                    if std::mem::replace(&mut failed, true) {
                        self.retry_later(&server);
                    }
                    self.report(&server, "socket.accept() failed", &error);
                    if !self.is_watched() {
                        return;
                    }
                }
            }
        }
        // R6: there may be more, and no edge will say so.
        let reactor = &server.handle.core().reactor;
        reactor.retain(self.id.get(), Direction::Read);
    }

    /// Out of the poller for a while, for it would not stop telling; and out of the loop
    /// of accepts, for the next one would fail in the same way.
    fn retry_later(self: &Rc<Self>, server: &ServerCore) {
        let listener = self.clone();
        let retry = server.handle.call_later(ACCEPT_RETRY_DELAY, move || {
            listener.watch.replace(Watch::Nobody);
            listener.settle();
        });
        // A closed loop takes no timer, and accepts nobody.
        self.rest(server, retry.map_or(Watch::Nobody, Watch::Timer));
    }

    fn report(&self, server: &ServerCore, message: &'static str, error: &io::Error) {
        let context = ExceptionContext::new(message)
            .exception(error)
            .socket(format_args!("{self:?}"));
        server.handle.call_exception_handler(&context);
    }
}

impl EventSource for Listener {
    fn read_ready(self: Rc<Self>) {
        self.accept_some();
    }

    fn write_ready(self: Rc<Self>) {}

    fn hollow(self: Rc<Self>) {
        self.id.set(SourceId::NONE);
        self.watch.replace(Watch::Nobody);
        self.let_go();
    }

    fn owner(&self) -> Option<String> {
        let server = self.server.upgrade()?;
        Some(format!("{server:?}"))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<listening socket")?;
        if let Ok(mut socket) = self.socket.try_borrow_mut() {
            match socket.as_source() {
                Some((fd, _)) => write!(f, " fd={fd}")?,
                None => f.write_str(" closed")?,
            }
        }
        write!(f, " {}>", self.address)
    }
}

/// Whether the process or the system has too few descriptors or too little memory.
pub(super) fn is_out_of_resources(error: &io::Error) -> bool {
    /// `EMFILE` and `ENFILE`, the same everywhere; they have no kind of their own.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    /// `ENOBUFS`, a number that each system fixes for good.
    const NO_BUFFERS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) {
        105
    } else {
        55
    };
    error.kind() == io::ErrorKind::OutOfMemory
        || error
            .raw_os_error()
            .is_some_and(|code| TOO_MANY_FILES.contains(&code) || code == NO_BUFFERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn lack_of_descriptors_and_of_memory_is_told_from_other_errors() {
        const OUT_OF_RESOURCES: [(&str, i32); 4] = [
            ("ENFILE", 23),
            ("EMFILE", 24),
            ("ENOBUFS", 105),
            ("ENOMEM", 12),
        ];
        for (name, code) in OUT_OF_RESOURCES {
            let error = io::Error::from_raw_os_error(code);
            assert!(is_out_of_resources(&error), "{name}");
        }
        const OTHERS: [(&str, i32); 3] = [("EPERM", 1), ("EINVAL", 22), ("ECONNABORTED", 103)];
        for (name, code) in OTHERS {
            let error = io::Error::from_raw_os_error(code);
            assert!(!is_out_of_resources(&error), "{name}");
        }
    }
}
