//! The server: what it listens on, and every way to stop it.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::contract::Address;
use crate::error::Cancelled;
use crate::task::yield_now;

use super::server_core::ServerCore;
use super::shutdown::Shutdown;

/// A server: what it listens on, and how to stop it.
///
/// Clones are the same server. Dropping the last one closes it (D29), so keep it for as
/// long as it is to serve: `let _ = start_server(…).await?` drops it at once, `let _server`
/// keeps it. Connections that it accepted go on.
///
/// A handler may close its server, by a clone that it shares with the others: in an
/// `Rc<Cell<Option<Server>>>`, say, filled once the server is there, and taken out to
/// close it, so that the server does not own itself.
///
/// # asyncio
/// `asyncio.Server`, with the semantics of 3.12.1. There a server that nobody holds
/// serves on.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{StreamReader, StreamWriter, open_connection, run, start_server};
///
/// async fn shout(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
///     let line = reader.readline().await?;
///     writer.write(line.to_ascii_uppercase());
///     writer.drain().await
/// }
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let server = start_server(shout, "127.0.0.1", 0).await?;
///     let port = server.sockets()[0].port().unwrap_or(0);
///
///     let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
///     writer.write(b"hello\n");
///     assert_eq!(reader.readline().await?, b"HELLO\n");
///
///     server.close();
///     writer.close();
///     server.wait_closed().await;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
#[must_use = "dropping the last handle of a server closes it"]
pub struct Server {
    owner: Rc<ServerOwner>,
}

impl Server {
    pub(super) fn new(core: Rc<ServerCore>) -> Server {
        Server {
            owner: Rc::new(ServerOwner { core }),
        }
    }

    /// Returns the addresses that it listens on; none once it is closed.
    ///
    /// # asyncio
    /// `Server.sockets`.
    #[must_use]
    pub fn sockets(&self) -> Vec<Address> {
        self.core().addresses()
    }

    /// Says whether it has begun to serve and is not closed. One that is full or paused
    /// serves.
    ///
    /// # asyncio
    /// `Server.is_serving`.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.core().is_serving()
    }

    /// Begins to accept connections, and lets the others have a turn. Again has no other
    /// effect.
    ///
    /// # Errors
    /// What listening fails with: the server is closed then. If it is closed (D12).
    ///
    /// # Cancel safety
    /// The server serves from the first poll on, also if the future is dropped then.
    ///
    /// # asyncio
    /// `Server.start_serving`.
    pub async fn start_serving(&self) -> io::Result<()> {
        self.core().start_serving()?;
        yield_now().await;
        Ok(())
    }

    /// Begins to accept connections, and waits until the server is closed.
    ///
    /// It never ends well: a server that somebody closed ends it with [`Cancelled`], which
    /// [`Cancelled::is`] tells from a failure.
    ///
    /// # Errors
    /// [`Cancelled`] when somebody closes the server. What listening fails with; if the
    /// server is closed, or awaited here already.
    ///
    /// # Cancel safety
    /// Dropping the future closes the server.
    ///
    /// # asyncio
    /// `Server.serve_forever`; cancelled, that one waits until the server is closed.
    pub async fn serve_forever(&self) -> io::Result<()> {
        let core = self.core();
        // First: who awaits a server that is closed may not have heard of it yet.
        core.start_serving()?;
        if core.is_awaited.get() {
            return Err(io::Error::other(format!(
                "server {self:?} is already being awaited on serve_forever()"
            )));
        }
        let _awaited = Awaited::new(core);
        if self.is_serving() {
            core.closed.wait().await;
        }
        Err(Cancelled.into())
    }

    /// Awaits `body`, then closes the server and waits until its last connection is over.
    ///
    /// # Cancel safety
    /// Dropping the future, or a panic of `body`, closes the server without waiting.
    ///
    /// # asyncio
    /// `async with server:`
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use millstream::{plain, run, start_server};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let server = start_server(plain(|_reader, _writer| ()), "127.0.0.1", 0).await?;
    ///     let addresses = server.scoped(async { server.sockets() }).await;
    ///     assert_eq!(addresses.len(), 1);
    ///     assert!(!server.is_serving());
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub async fn scoped<F: IntoFuture>(&self, body: F) -> F::Output {
        let leaving = CloseOnDrop(self.core());
        let output = body.await;
        drop(leaving);
        self.wait_closed().await;
        output
    }

    // ── who is accepted ─────────────────────────────────────────────────────────

    /// Returns how many connections stand that this server accepted.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.core().attached.connections()
    }

    /// Sets how many connections may stand at once; `None`: any number.
    ///
    /// While so many stand, none is accepted, and whoever comes waits in the system's queue
    /// (see [`backlog`](crate::Serve::backlog)), which costs the server nothing; when one is
    /// over, the next is accepted. Those that stand are left alone if the number is lower
    /// than theirs. Zero accepts nobody.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn set_max_connections(&self, max: impl Into<Option<usize>>) {
        self.core().set_max_connections(max.into());
    }

    /// Accepts nobody until [`resume_accepting`](Server::resume_accepting): whoever comes
    /// waits in the system's queue. Connections that stand are left alone. Again has no
    /// effect.
    ///
    /// A server that has not begun to serve, or is closed, remembers it all the same.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn pause_accepting(&self) {
        self.core().pause_accepting();
    }

    /// Ends what [`pause_accepting`](Server::pause_accepting) began. Again has no effect.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn resume_accepting(&self) {
        self.core().resume_accepting();
    }

    // ── stopping ────────────────────────────────────────────────────────────────

    /// Stops accepting connections. Those that stand are left alone. Again has no effect.
    ///
    /// # asyncio
    /// `Server.close`.
    pub fn close(&self) {
        self.core().close();
    }

    /// Closes every connection that it accepted, once what is in its write buffer has been
    /// sent. The server goes on.
    ///
    /// Their handlers go on, too: their reads meet the end, what they write is dropped.
    ///
    /// # asyncio
    /// `Server.close_clients` (3.13).
    pub fn close_clients(&self) {
        self.core().close_clients();
    }

    /// Aborts every connection that it accepted: what is in their write buffers is lost.
    /// The server goes on.
    ///
    /// # asyncio
    /// `Server.abort_clients` (3.13).
    pub fn abort_clients(&self) {
        self.core().abort_clients();
    }

    /// Waits until the server is closed and the last of its connections is over.
    ///
    /// For the connections, not for the tasks that serve them: what a handler does behind
    /// its connection's end may still be under way. [`shutdown`](Server::shutdown) waits for
    /// both.
    ///
    /// A connection whose peer does not read what is queued for it is never over: see
    /// [`close_with_timeout`](crate::StreamWriter::close_with_timeout), and `shutdown`.
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    ///
    /// # asyncio
    /// `Server.wait_closed`, as of 3.12.1: it may wait for ever on an idle client.
    pub async fn wait_closed(&self) {
        self.core().wait_idle().await;
    }

    /// Stops the server without dropping a reply, in bounded time: its connections and the
    /// tasks of its handlers, too.
    ///
    /// 1. It is closed, and waits up to `grace` for connections and handlers to end by
    ///    themselves.
    /// 2. The connections that are left are closed: their handlers' reads meet the end, and
    ///    what was written is sent. Up to one second is waited for that, unless
    ///    [`flush_time`](Shutdown::flush_time) says otherwise.
    /// 3. The connections that are left are aborted, and the handlers that are left
    ///    cancelled; when both are gone, it returns how many ended in which way.
    ///
    /// What a handler wrote by the end of the grace arrives whole, if its peer reads it in
    /// time; a reply that it writes in several steps may be cut between two of them then. A
    /// handler that serves one request after the other on a connection had best look at a
    /// flag between two of them, which you set before you call this.
    ///
    /// A peer that was sending when its connection was closed may be answered by a reset,
    /// which can cost it the end of a reply. Where peers send requests without waiting for
    /// replies, handlers prevent that by
    /// [`close_lingering`](crate::StreamWriter::close_lingering).
    ///
    /// Tasks that a handler made itself are not known here. A handler that awaits this is
    /// not cancelled by it, and not waited for at the end; but its connection is closed when
    /// the grace is over.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what is done done: the server stays closed, and the phases
    /// that had not begun are left out. It may be called again.
    ///
    /// # asyncio
    /// No counterpart; the `wait_closed` of 3.12.1 between `close_clients` and
    /// `abort_clients` comes near.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::time::Duration;
    /// use millstream::{StreamReader, StreamWriter, open_connection, run, start_server};
    ///
    /// async fn idle(mut reader: StreamReader, _writer: StreamWriter) -> io::Result<()> {
    ///     reader.readline().await?;
    ///     Ok(())
    /// }
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let server = start_server(idle, "127.0.0.1", 0).await?;
    ///     let port = server.sockets()[0].port().unwrap_or(0);
    ///     let (mut reader, _writer) = open_connection("127.0.0.1", port).await?;
    ///     while server.connection_count() == 0 {
    ///         millstream::yield_now().await;
    ///     }
    ///
    ///     let stopped = server.shutdown(Duration::from_millis(10)).await;
    ///     assert_eq!(stopped.closed, 1);
    ///     assert_eq!(reader.readline().await?, b"");
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn shutdown(&self, grace: Duration) -> Shutdown {
        Shutdown::new(self.core().clone(), grace)
    }

    fn core(&self) -> &Rc<ServerCore> {
        &self.owner.core
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core().fmt(f)
    }
}

/// What all clones of a [`Server`] share. D29: when it goes, the server closes.
struct ServerOwner {
    core: Rc<ServerCore>,
}

impl Drop for ServerOwner {
    fn drop(&mut self) {
        self.core.close();
    }
}

/// Somebody waits in `serve_forever`; dropped there, the server closes.
struct Awaited<'a>(&'a ServerCore);

impl<'a> Awaited<'a> {
    fn new(core: &'a ServerCore) -> Awaited<'a> {
        core.is_awaited.set(true);
        Awaited(core)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.is_awaited.set(false);
        self.0.close();
    }
}

/// A scope that the server is closed with, however it is left.
struct CloseOnDrop<'a>(&'a ServerCore);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
