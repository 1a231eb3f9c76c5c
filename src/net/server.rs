//! The server: listeners, and the connections that came by them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::contract::{Address, Protocol};
use crate::error::{Cancelled, ExceptionContext, PanicPayload};
use crate::event_loop::LoopHandle;
use crate::task::yield_now;
use crate::transports::{Opening, Socket, StreamTransport};
use crate::waiters::WaiterList;

use super::bind::BoundSocket;
use super::listen::Listener;

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
    pub(super) fn new(
        handle: &LoopHandle,
        bound: Vec<BoundSocket>,
        backlog: i32,
        factory: ProtocolFactory,
    ) -> Server {
        let core = Rc::new(ServerCore {
            handle: handle.clone(),
            stage: RefCell::new(Stage::Bound(bound)),
            backlog,
            factory: Cell::new(Some(factory)),
            connections: Cell::new(0),
            is_awaited: Cell::new(false),
            closed: WaiterList::default(),
            idle: WaiterList::default(),
        });
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
        match &*self.core().stage.borrow() {
            Stage::Bound(bound) => bound.iter().map(|b| b.address.clone()).collect(),
            Stage::Serving { addresses, .. } => addresses.clone(),
            Stage::Closed => Vec::new(),
        }
    }

    /// Says whether it accepts connections.
    ///
    /// # asyncio
    /// `Server.is_serving`.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(*self.core().stage.borrow(), Stage::Serving { .. })
    }

    /// Begins to accept connections. Again has no effect.
    ///
    /// # Errors
    /// What listening fails with; if the server is closed (D12).
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
        if core.is_awaited.get() {
            return Err(io::Error::other(format!(
                "server {self:?} is already being awaited on serve_forever()"
            )));
        }
        core.start_serving()?;
        let _awaited = Awaited::new(core);
        if self.is_serving() {
            core.closed.wait().await;
        }
        Err(Cancelled.into())
    }

    /// Stops accepting connections. Those that stand are left alone. Again has no effect.
    ///
    /// # asyncio
    /// `Server.close`.
    pub fn close(&self) {
        self.core().close();
    }

    /// Waits until the server is closed and the last of its connections is over.
    ///
    /// For the connections, not for the tasks that serve them: what a handler does behind
    /// its connection's end may still be under way. Who must wait for that keeps the tasks,
    /// which a callback made by [`plain`](crate::plain) can create.
    ///
    /// A connection whose peer does not read what is queued for it is never over: see
    /// [`close_with_timeout`](crate::StreamWriter::close_with_timeout).
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    ///
    /// # asyncio
    /// `Server.wait_closed`, as of 3.12.1: it may wait for ever on an idle client.
    pub async fn wait_closed(&self) {
        let core = self.core();
        if !core.is_over() {
            core.idle.wait().await;
        }
    }

    /// Returns how many connections stand that this server accepted.
    ///
    /// # asyncio
    /// No counterpart.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.core().connections.get()
    }

    pub(super) fn core(&self) -> &Rc<ServerCore> {
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

/// Makes the protocol of one connection.
pub(super) type ProtocolFactory = Box<dyn FnMut() -> Box<dyn Protocol>>;

/// The server, as its listeners and connections know it.
pub(super) struct ServerCore {
    pub(super) handle: LoopHandle,
    stage: RefCell<Stage>,
    backlog: i32,
    /// `None` while it is called (R3), and once the server is closed.
    factory: Cell<Option<ProtocolFactory>>,
    connections: Cell<usize>,
    /// Somebody waits in `serve_forever`.
    is_awaited: Cell<bool>,
    closed: WaiterList,
    idle: WaiterList,
}

/// How far the server is.
enum Stage {
    /// Bound, not listening: clients are refused.
    Bound(Vec<BoundSocket>),
    Serving {
        listeners: Vec<Rc<Listener>>,
        addresses: Vec<Address>,
    },
    Closed,
}

impl ServerCore {
    pub(super) fn backlog(&self) -> i32 {
        self.backlog
    }

    pub(super) fn start_serving(self: &Rc<Self>) -> io::Result<()> {
        let bound = match &mut *self.stage.borrow_mut() {
            Stage::Bound(bound) => std::mem::take(bound),
            Stage::Serving { .. } => return Ok(()),
            Stage::Closed => {
                return Err(io::Error::other(format!("server {self:?} is closed")));
            }
        };
        let addresses = bound.iter().map(|b| b.address.clone()).collect();
        let mut listeners = Vec::new();
        for socket in bound {
            match Listener::listen(socket, self, self.backlog) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    listeners
                        .iter()
                        .for_each(|listener: &Rc<Listener>| listener.close());
                    self.stage.replace(Stage::Closed);
                    return Err(error);
                }
            }
        }
        self.stage.replace(Stage::Serving {
            listeners,
            addresses,
        });
        Ok(())
    }

    /// Somebody connected. Whatever goes wrong with one connection leaves the listener
    /// and the others alone.
    pub(super) fn connected(self: &Rc<Self>, socket: Socket, peer_name: Option<Address>) {
        let Some(protocol) = self.make_protocol() else {
            return;
        };
        if self.handle.get_debug() {
            log::debug!("{self:?} accepts a connection from {peer_name:?}");
        }
        let server = self.clone();
        // D11: attached from now on, not only when the connection is made.
        self.connections.set(self.connections.get() + 1);
        let opened = StreamTransport::open(
            &self.handle,
            Opening {
                socket,
                protocol,
                peer_name,
                on_made: None,
                on_detached: Some(Box::new(move || server.detached())),
            },
        );
        if let Err(error) = opened {
            self.detached();
            self.report_failed_connection(&error.to_string());
        }
    }

    /// Calls the factory, out of its cell (R3).
    fn make_protocol(&self) -> Option<Box<dyn Protocol>> {
        let mut factory = self.factory.take()?;
        let made = catch_unwind(AssertUnwindSafe(&mut factory));
        if self.stage_is_closed() {
            drop(factory);
        } else {
            self.factory.set(Some(factory));
        }
        match made {
            Ok(protocol) => Some(protocol),
            Err(panic) => {
                self.report_failed_connection(&PanicPayload::new(panic).to_string());
                None
            }
        }
    }

    fn report_failed_connection(&self, reason: &str) {
        if self.handle.get_debug() {
            self.handle.call_exception_handler(
                &ExceptionContext::new("Error on transport creation for incoming connection")
                    .exception(reason),
            );
        }
    }

    /// A connection is over, and its socket closed.
    fn detached(&self) {
        self.connections.set(self.connections.get() - 1);
        if self.is_over() {
            self.idle.wake_all();
        }
    }

    fn close(&self) {
        let stage = self.stage.replace(Stage::Closed);
        if let Stage::Closed = stage {
            return;
        }
        if let Stage::Serving { listeners, .. } = &stage {
            for listener in listeners {
                listener.close();
            }
        }
        drop(stage);
        drop(self.factory.take());
        self.closed.wake_all();
        if self.is_over() {
            self.idle.wake_all();
        }
    }

    fn stage_is_closed(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Closed)
    }

    fn is_over(&self) -> bool {
        self.stage_is_closed() && self.connections.get() == 0
    }
}

impl fmt::Debug for ServerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Server sockets=[")?;
        if let Ok(stage) = self.stage.try_borrow() {
            let addresses: Vec<String> = match &*stage {
                Stage::Bound(bound) => bound.iter().map(|b| b.address.to_string()).collect(),
                Stage::Serving { addresses, .. } => {
                    addresses.iter().map(ToString::to_string).collect()
                }
                Stage::Closed => Vec::new(),
            };
            f.write_str(&addresses.join(", "))?;
        }
        f.write_str("]>")
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
