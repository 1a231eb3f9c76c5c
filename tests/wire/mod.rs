//! What tests of transports share: a loop that collects reports, and real sockets.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use millstream::{EventLoop, Protocol, Transport};

/// How long what must happen may take: only what never comes takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A loop, and what went to its exception handler.
pub(crate) struct Wire {
    pub(crate) event_loop: EventLoop,
    reports: Rc<RefCell<Vec<String>>>,
}

impl Wire {
    pub(crate) fn new() -> io::Result<Wire> {
        let event_loop = EventLoop::new()?;
        let reports = Rc::new(RefCell::new(Vec::new()));
        let written = reports.clone();
        event_loop.set_exception_handler(move |_, context| {
            written.borrow_mut().push(context.to_string());
        });
        Ok(Wire {
            event_loop,
            reports,
        })
    }

    /// Runs turns until something is true.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_true: impl Fn() -> bool) -> io::Result<()> {
        let began = Instant::now();
        while !is_true() {
            assert!(began.elapsed() < PATIENCE, "{what} did not come");
            self.event_loop.turn(Some(Duration::from_millis(5)))?;
        }
        Ok(())
    }

    /// Runs turns until there is nothing left to do, and says how many it took.
    #[track_caller]
    pub(crate) fn quiesces(&self) -> io::Result<usize> {
        for turn in 1..1_000_000 {
            // What another socket sent needs a poll to be seen, so one turn more.
            let idle = self.event_loop.turn(Some(Duration::ZERO))? != Some(Duration::ZERO);
            let still_idle = self.event_loop.turn(Some(Duration::ZERO))? != Some(Duration::ZERO);
            if idle && still_idle {
                return Ok(turn);
            }
        }
        panic!("the loop spins");
    }

    /// Checks that a turn sleeps as long as it may, for nothing is ready.
    #[track_caller]
    pub(crate) fn expect_idle(&self) -> io::Result<()> {
        self.quiesces()?;
        let nap = Duration::from_millis(30);
        let began = Instant::now();
        self.event_loop.turn(Some(nap))?;
        assert!(began.elapsed() >= nap, "a turn found something to do");
        Ok(())
    }

    /// Has a transport take a socket over; `connection_made` was called then.
    pub(crate) fn adopts(
        &self,
        protocol: impl Protocol,
        socket: impl Into<OwnedFd>,
    ) -> io::Result<Rc<dyn Transport>> {
        let connection = self
            .event_loop
            .create_connection_sock(|| protocol, socket.into());
        self.event_loop.run_until_complete(connection)?
    }

    /// Takes what was reported so far.
    pub(crate) fn reports(&self) -> Vec<String> {
        self.reports.take()
    }

    /// Takes the one report there is, and checks how it begins.
    #[track_caller]
    pub(crate) fn expects_report(&self, message: &str) {
        let reports = self.reports();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].starts_with(message), "{reports:?}");
    }
}

/// Two TCP sockets that are connected with each other.
pub(crate) fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    Ok((client, server))
}

/// Closes a socket so that the peer gets a reset.
pub(crate) fn reset(socket: TcpStream) -> io::Result<()> {
    socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO))
}
