//! Listening: sockets that somebody may connect to, and accepting who does.
//!
//! ```text
//!   BoundSocket ─listen─► Listener ──read_ready──► accept, accept, … ─► server
//! ```

use std::cell::{Cell, RefCell};
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

use super::bind::BoundSocket;
use super::connect::StreamKind;
use super::server::ServerCore;
use super::unix::SocketFile;

/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A socket that listens.
pub(super) struct Listener {
    server: Weak<ServerCore>,
    socket: RefCell<ListeningSocket>,
    id: Cell<SourceId>,
    /// Accepting pauses until then: the system is out of something.
    retry: Cell<Option<TimerHandle>>,
    file: Cell<Option<SocketFile>>,
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
    pub(super) fn listen(
        bound: BoundSocket,
        server: &Rc<ServerCore>,
        backlog: i32,
    ) -> io::Result<Rc<Listener>> {
        bound.socket.listen(backlog)?;
        let socket = match bound.kind {
            StreamKind::Tcp => ListeningSocket::Tcp(TcpListener::from_std(bound.socket.into())),
            StreamKind::Unix => ListeningSocket::Unix(UnixListener::from_std(bound.socket.into())),
        };
        let listener = Rc::new(Listener {
            server: Rc::downgrade(server),
            socket: RefCell::new(socket),
            id: Cell::new(SourceId::NONE),
            retry: Cell::new(None),
            file: Cell::new(bound.file),
        });
        listener.register()?;
        Ok(listener)
    }

    fn register(self: &Rc<Self>) -> io::Result<()> {
        let Some(server) = self.server.upgrade() else {
            return Ok(());
        };
        let mut socket = self.socket.borrow_mut();
        let Some((fd, source)) = socket.as_source() else {
            return Ok(());
        };
        let reactor = &server.handle.core().reactor;
        let id = reactor.register(self.clone(), source, fd, Interest::READABLE, true)?;
        self.id.set(id);
        Ok(())
    }

    fn deregister(&self) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        let mut socket = self.socket.borrow_mut();
        let source = socket.as_source().map(|(_, source)| source);
        let reactor = &server.handle.core().reactor;
        let owner = reactor.deregister(self.id.replace(SourceId::NONE), source);
        drop(socket);
        drop(owner);
    }

    /// Stops listening, and closes the socket.
    pub(super) fn close(&self) {
        if let Some(retry) = self.retry.take() {
            retry.cancel();
        }
        self.deregister();
        let socket = self.socket.replace(ListeningSocket::Closed);
        drop(socket);
        drop(self.file.take());
    }

    /// R9: accepts at most `backlog + 1` connections; the next turn accepts the others.
    fn accept_some(self: &Rc<Self>) {
        let Some(server) = self.server.upgrade() else {
            return;
        };
        let mut failed = false;
        for _ in 0..=server.backlog() {
            let accepted = self.socket.borrow().accept();
            let error = match accepted {
                Ok((socket, peer)) => {
                    server.connected(socket, peer);
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::WouldBlock => return,
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                _ if is_out_of_resources(&error) => {
                    report(&server, "socket.accept() out of system resource", &error);
                    return self.pause_accepting(&server);
                }
                // One connection may be broken, and there may be others behind it, of
                // which no edge will tell (R6); but not if it goes on like this.
                _ => {
                    report(&server, "socket.accept() failed", &error);
                    if std::mem::replace(&mut failed, true) {
                        return self.pause_accepting(&server);
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
    fn pause_accepting(self: &Rc<Self>, server: &Rc<ServerCore>) {
        self.deregister();
        let listener = self.clone();
        let retry = server
            .handle
            .call_later(ACCEPT_RETRY_DELAY, move || listener.accept_again());
        self.retry.set(retry.ok());
    }

    fn accept_again(self: &Rc<Self>) {
        self.retry.set(None);
        let Some(server) = self.server.upgrade() else {
            return;
        };
        if let Err(error) = self.register() {
            report(&server, "a listening socket can't be watched", &error);
            self.pause_accepting(&server);
        }
    }
}

fn report(server: &Rc<ServerCore>, message: &'static str, error: &io::Error) {
    let context = ExceptionContext::new(message)
        .exception(error)
        .socket(format_args!("{server:?}"));
    server.handle.call_exception_handler(&context);
}

impl EventSource for Listener {
    fn read_ready(self: Rc<Self>) {
        self.accept_some();
    }

    fn write_ready(self: Rc<Self>) {}

    fn hollow(self: Rc<Self>) {
        let socket = self.socket.replace(ListeningSocket::Closed);
        drop(socket);
        drop(self.file.take());
    }

    fn owner(&self) -> Option<String> {
        let server = self.server.upgrade()?;
        Some(format!("{server:?}"))
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
