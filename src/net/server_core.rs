//! The server's core: what its handles, listeners, connections and handlers share.
//!
//! ```text
//!   Listener ──connected──► factory ─► StreamTransport::open
//!      ▲  settle               │              │ detached
//!      │                       ▼ attach       ▼
//!   may it accept? ◄────── Attached: how many, and who ──► closed, idle, quiet: who waits
//!   (paused? full?)                                        is woken
//! ```
//!
//! Always true: a listener is watched if and only if the server accepts connections and
//! the system has what that takes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::contract::{Address, Protocol, Transport};
use crate::error::{ExceptionContext, PanicPayload};
use crate::event_loop::LoopHandle;
use crate::executor::TaskId;
use crate::transports::{AttachedTo, Ending, Opening, Socket, StreamTransport};
use crate::waiters::WaiterList;
use crate::waits::What;

use super::attached::{Attached, Key};
use super::bind::BoundSocket;
use super::listen::Listener;
use super::options::SocketOptions;
use super::tls::ServerSecurity;

/// Makes the protocol of one connection, which the server knows by the key.
pub(super) type ProtocolFactory = Box<dyn FnMut(&Rc<ServerCore>, Key) -> Box<dyn Protocol>>;

/// What a server does, set before it starts.
#[derive(Debug, Clone)]
pub(super) struct ServerSettings {
    pub(super) backlog: i32,
    pub(super) max_connections: Option<usize>,
    pub(super) cancel_on_disconnect: bool,
    pub(super) accepted_socket_options: SocketOptions,
}

/// The server, as its listeners and connections know it.
pub(super) struct ServerCore {
    pub(super) handle: LoopHandle,
    pub(super) attached: Attached,
    stage: RefCell<Stage>,
    backlog: i32,
    cancel_on_disconnect: bool,
    security: ServerSecurity,
    /// Connections from which on no more are accepted.
    max_connections: Cell<usize>,
    /// Somebody wants no more connections for now.
    is_paused: Cell<bool>,
    /// `None` while it is called (R3), and once the server is closed.
    factory: Cell<Option<ProtocolFactory>>,
    /// Empty once the server is closed: their closures may own what owns the server.
    accepted_socket_options: RefCell<SocketOptions>,
    /// Somebody waits in `serve_forever`.
    pub(super) is_awaited: Cell<bool>,
    /// Woken when the server is closed.
    pub(super) closed: WaiterList,
    /// Woken when it is closed, and no connection is left.
    idle: WaiterList,
    /// Woken when it is idle and at most one handler is left: the one that waits here.
    quiet: WaiterList,
}

/// How far the server is.
enum Stage {
    /// Bound, not listening: clients are refused.
    Bound(Vec<BoundSocket>),
    Serving(Rc<[Rc<Listener>]>),
    Closed,
}

impl ServerCore {
    pub(super) fn new(
        handle: &LoopHandle,
        bound: Vec<BoundSocket>,
        settings: &ServerSettings,
        security: ServerSecurity,
        factory: ProtocolFactory,
    ) -> Rc<ServerCore> {
        Rc::new(ServerCore {
            handle: handle.clone(),
            attached: Attached::default(),
            stage: RefCell::new(Stage::Bound(bound)),
            backlog: settings.backlog,
            cancel_on_disconnect: settings.cancel_on_disconnect,
            security,
            max_connections: Cell::new(settings.max_connections.unwrap_or(usize::MAX)),
            is_paused: Cell::new(false),
            factory: Cell::new(Some(factory)),
            accepted_socket_options: RefCell::new(settings.accepted_socket_options.clone()),
            is_awaited: Cell::new(false),
            closed: WaiterList::of(What::ServerEnd),
            idle: WaiterList::of(What::ServerEnd),
            quiet: WaiterList::of(What::ServerEnd),
        })
    }

    pub(super) fn backlog(&self) -> i32 {
        self.backlog
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        match &*self.stage.borrow() {
            Stage::Bound(bound) => bound.iter().map(|b| b.address.clone()).collect(),
            Stage::Serving(listeners) => listeners.iter().map(|l| l.address().clone()).collect(),
            Stage::Closed => Vec::new(),
        }
    }

    // ── starting and closing ────────────────────────────────────────────────────

    pub(super) fn is_serving(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Serving(_))
    }

    fn is_closed(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Closed)
    }

    /// Listens on what is bound. On an error the server is closed.
    pub(super) fn start_serving(self: &Rc<Self>) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::Error::other(format!("server {self:?} is closed"))); // D12
        }
        let bound = match &mut *self.stage.borrow_mut() {
            Stage::Bound(bound) => std::mem::take(bound),
            Stage::Serving(_) | Stage::Closed => return Ok(()),
        };
        let mut listeners = Vec::new();
        for socket in bound {
            match Listener::listen(socket, self) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    listeners.iter().for_each(|listener| listener.close());
                    self.close();
                    return Err(error);
                }
            }
        }
        self.stage.replace(Stage::Serving(listeners.into()));
        Ok(())
    }

    pub(super) fn close(&self) {
        let stage = self.stage.replace(Stage::Closed);
        match &stage {
            Stage::Closed => return,
            Stage::Serving(listeners) => listeners.iter().for_each(|listener| listener.close()),
            Stage::Bound(_) => {}
        }
        drop(stage);
        self.closed.wake_all();
        self.wake_if_over();
        // R10: at the end, since what the user gave may panic when it is dropped.
        drop((self.factory.take(), self.accepted_socket_options.take()));
    }

    // ── accepting ───────────────────────────────────────────────────────────────

    /// Says whether it wants another connection now.
    pub(super) fn accepts(&self) -> bool {
        !self.is_paused.get() && self.attached.connections() < self.max_connections.get()
    }

    pub(super) fn pause_accepting(&self) {
        self.is_paused.set(true);
        self.settle_listeners();
    }

    pub(super) fn resume_accepting(&self) {
        self.is_paused.set(false);
        self.settle_listeners();
    }

    pub(super) fn set_max_connections(&self, max: Option<usize>) {
        self.max_connections.set(max.unwrap_or(usize::MAX));
        self.settle_listeners();
    }

    /// Has the listeners watched, or not, as the server wants it now.
    fn settle_listeners(&self) {
        // R3: out of the cell, since a listener may have something to report.
        let listeners = match &*self.stage.borrow() {
            Stage::Serving(listeners) => listeners.clone(),
            Stage::Bound(_) | Stage::Closed => return,
        };
        listeners.iter().for_each(Listener::settle);
    }

    // ── connections ─────────────────────────────────────────────────────────────

    /// Somebody connected. Whatever goes wrong with one connection leaves the listener
    /// and the others alone.
    pub(super) fn connected(self: &Rc<Self>, socket: Socket, peer_name: Option<Address>) {
        if self.handle.get_debug() {
            log::debug!("{self:?} accepts a connection from {peer_name:?}");
        }
        // D11: attached from now on, not only when the connection is made.
        let key = self.attached.attach();
        if !self.accepts() {
            self.settle_listeners();
        }
        if let Err(reason) = self.open(key, socket, peer_name) {
            self.detach(key, Ending::Error);
            self.report_failed_connection(&reason);
        }
    }

    fn open(
        self: &Rc<Self>,
        key: Key,
        socket: Socket,
        peer_name: Option<Address>,
    ) -> Result<(), String> {
        self.set_options(&socket)?;
        let protocol = self.make_protocol(key)?;
        let (protocol, above) = self
            .security
            .put_below(&self.handle, protocol, peer_name.as_ref())
            .map_err(|error| error.to_string())?;
        let opening = Opening {
            socket,
            protocol,
            peer_name,
            on_made: None,
            attached: Some((above.attached_to(self), key)),
        };
        let transport =
            StreamTransport::open(&self.handle, opening).map_err(|error| error.to_string())?;
        above.set_raw(&transport);
        self.attached.opened(key, &transport);
        Ok(())
    }

    /// Sets the options of an accepted socket. There may be closures among them (R3).
    fn set_options(&self, socket: &Socket) -> Result<(), String> {
        let Some(fd) = socket.as_fd() else {
            return Ok(());
        };
        let options = self.accepted_socket_options.borrow().clone();
        match catch_unwind(AssertUnwindSafe(|| options.apply(fd))) {
            Ok(set) => set.map_err(|error| error.to_string()),
            Err(panic) => Err(PanicPayload::new(panic).to_string()),
        }
    }

    /// Calls the factory, out of its cell (R3).
    fn make_protocol(self: &Rc<Self>, key: Key) -> Result<Box<dyn Protocol>, String> {
        let Some(mut factory) = self.factory.take() else {
            return Err("the server is closed".to_owned());
        };
        let made = catch_unwind(AssertUnwindSafe(|| factory(self, key)));
        if self.is_closed() {
            drop(factory);
        } else {
            self.factory.set(Some(factory));
        }
        made.map_err(|panic| PanicPayload::new(panic).to_string())
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
    fn detach(&self, key: Key, ending: Ending) {
        let was_full = !self.accepts();
        let handler = self.attached.detach(key);
        if let Some(handler) = handler.filter(|_| self.cancel_on_disconnect) {
            if ending == Ending::Error {
                self.handle.core().executor.cancel_task(handler);
            }
        }
        if was_full {
            self.settle_listeners();
        }
        self.wake_if_over();
    }

    pub(super) fn close_clients(&self) {
        for transport in self.attached.transports() {
            transport.close_from_above();
        }
    }

    pub(super) fn abort_clients(&self) {
        for transport in self.attached.transports() {
            transport.abort();
        }
    }

    // ── handlers ────────────────────────────────────────────────────────────────

    /// Returns the task that runs now, if it is that of a handler.
    pub(super) fn handler_that_runs(&self) -> Option<TaskId> {
        let current = self.handle.core().executor.current_id()?;
        self.attached
            .handler_tasks()
            .into_iter()
            .find(|&task| task == current)
    }

    /// Cancels all handlers but one, and returns how many those were.
    pub(super) fn cancel_handlers(&self, but: Option<TaskId>) -> usize {
        let executor = &self.handle.core().executor;
        let tasks = self.attached.handler_tasks().into_iter();
        let cancelled = tasks.filter(|&task| Some(task) != but && executor.cancel_task(task));
        cancelled.count()
    }

    /// A handler is over, and what it held is dropped.
    pub(super) fn handler_ended(&self, key: Key) {
        self.attached.handler_ended(key);
        self.wake_if_over();
    }

    // ── waiting for the end ─────────────────────────────────────────────────────

    fn is_idle(&self) -> bool {
        self.is_closed() && self.attached.connections() == 0
    }

    fn wake_if_over(&self) {
        if self.is_idle() {
            self.idle.wake_all();
            if self.attached.handlers() <= 1 {
                self.quiet.wake_all();
            }
        }
    }

    /// Waits until the server is closed and has no connection.
    pub(super) async fn wait_idle(&self) {
        while !self.is_idle() {
            self.idle.wait().await;
        }
    }

    /// Waits until it is idle, too, and no more handlers run than `handlers`, which is
    /// one at the most.
    pub(super) async fn wait_quiet(&self, handlers: usize) {
        while !self.is_idle() || self.attached.handlers() > handlers {
            self.quiet.wait().await;
        }
    }
}

impl AttachedTo for ServerCore {
    fn detached(self: Rc<Self>, key: Key, ending: Ending) {
        self.detach(key, ending);
    }
}

impl fmt::Debug for ServerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Server sockets=[")?;
        if self.stage.try_borrow().is_ok() {
            let mut between = "";
            for address in self.addresses() {
                write!(f, "{between}{address}")?;
                between = ", ";
            }
        }
        f.write_str("]>")
    }
}
