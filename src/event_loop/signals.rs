//! The signals of a loop: what the system tells a process, as callbacks and as streams.
//!
//! ```text
//!   a signal ──► dispositions: `arrived` is set, the bell rung      in signal context
//!                                            │ one byte
//!                                            ▼
//!   poll ──► Bell ──► ready queue ──► Slot ──┬─► the handler        on the loop
//!                                            └─► the streams
//! ```
//!
//! Always true:
//! * what a user gave never runs in signal context, but as any callback of the loop does;
//! * a loop has a slot for a signal, and a source for its bell, only while it listens.
//!
//! asyncio: `loop.add_signal_handler`, `loop.remove_signal_handler`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use mio::Interest;
use signal_hook::consts;
use signal_hook::low_level::signal_name;

use crate::error::LoopError;
use crate::executor::{Callback, Ready};
use crate::reactor::{Direction, EventSource, SourceId};
use crate::waiters::WaiterCell;
use crate::waits::{WaitsOn, What, note};

use super::LoopHandle;
use super::dispositions::Listening;
use super::running::running_loop;
use super::watchers::{Watch, WatchCallback};

/// The number of a signal.
///
/// The numbers differ between systems; the constants are those of this one. For others,
/// [`from_raw`](Signal::from_raw) takes any number.
///
/// # asyncio
/// `signal.SIGTERM` and its kin.
///
/// # Examples
/// ```
/// use millstream::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(Signal::TERM.as_raw()), Signal::TERM);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// The terminal hung up; to servers: read your configuration again.
    pub const HUP: Signal = Signal(consts::SIGHUP);
    /// Ctrl-C at the terminal.
    pub const INT: Signal = Signal(consts::SIGINT);
    /// Ctrl-\ at the terminal: end, and dump core.
    pub const QUIT: Signal = Signal(consts::SIGQUIT);
    /// The first of two for programs to give a meaning to.
    pub const USR1: Signal = Signal(consts::SIGUSR1);
    /// The second of two for programs to give a meaning to.
    pub const USR2: Signal = Signal(consts::SIGUSR2);
    /// A write to a pipe or socket that nobody reads; Rust ignores it.
    pub const PIPE: Signal = Signal(consts::SIGPIPE);
    /// A timer of `alarm(2)` is over.
    pub const ALRM: Signal = Signal(consts::SIGALRM);
    /// Please end: what `kill` and service supervisors send first.
    pub const TERM: Signal = Signal(consts::SIGTERM);
    /// A child process ended, stopped or went on.
    pub const CHLD: Signal = Signal(consts::SIGCHLD);
    /// The process goes on, after it was stopped.
    pub const CONT: Signal = Signal(consts::SIGCONT);
    /// Ctrl-Z at the terminal.
    pub const TSTP: Signal = Signal(consts::SIGTSTP);
    /// The terminal has another size.
    pub const WINCH: Signal = Signal(consts::SIGWINCH);

    /// Makes a signal of its number, which need not be valid: `add_signal_handler` checks.
    #[must_use]
    pub const fn from_raw(number: i32) -> Signal {
        Signal(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

impl From<i32> for Signal {
    fn from(number: i32) -> Signal {
        Signal(number)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl LoopHandle {
    /// Has `handler` called whenever the process receives `signal`, as any callback of the
    /// loop is: it may do what a callback may. Available with the feature `signals`.
    ///
    /// A handler that was added before is replaced. Several signals of one kind that come
    /// before the loop looks are one. If several loops have handlers, on several threads,
    /// each is called. A handler of SIGINT takes the place of what
    /// [`run`](crate::run) does with Ctrl-C. A handler that panics is removed.
    ///
    /// # Errors
    /// `InvalidInput` with `invalid signal number {n}`, or with `sig {n} cannot be caught`
    /// for SIGKILL and SIGSTOP, and for SIGSEGV, SIGFPE and SIGILL, which only unsafe code
    /// can catch; [`LoopError::Closed`]; if the system has no descriptor left.
    ///
    /// # asyncio
    /// `loop.add_signal_handler`, which only the main thread may call.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use millstream::{Signal, get_running_loop, run, sleep};
    /// # use std::time::Duration;
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let handle = get_running_loop()?;
    ///     handle.add_signal_handler(Signal::HUP, || println!("reading the configuration"))?;
    ///     sleep(Duration::from_millis(1)).await;
    ///     assert!(handle.remove_signal_handler(Signal::HUP));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn add_signal_handler(
        &self,
        signal: impl Into<Signal>,
        handler: impl FnMut() + 'static,
    ) -> io::Result<()> {
        let slot = self.listen(signal.into())?;
        slot.handler.set(Some(WatchCallback::new(handler)));
        Ok(())
    }

    /// Removes the handler of a signal, and says whether there was one.
    ///
    /// Once nobody listens to it, the signal has its default effect again; safe code
    /// emulates that, and real-time signals then have none.
    ///
    /// # asyncio
    /// `loop.remove_signal_handler`.
    pub fn remove_signal_handler(&self, signal: impl Into<Signal>) -> bool {
        let Some(slot) = self.slot(signal.into()) else {
            return false;
        };
        if slot.is_of_run || !slot.handler.is_watched() {
            return false;
        }
        slot.handler.set(None);
        self.unlisten_if_idle(&slot);
        true
    }

    /// Returns a stream of the signals of one kind. Available with the feature `signals`.
    ///
    /// Any number of streams, and a handler beside them, may listen to one signal. It has
    /// its default effect again once all are dropped.
    ///
    /// # Errors
    /// As [`add_signal_handler`](LoopHandle::add_signal_handler).
    ///
    /// # asyncio
    /// No counterpart.
    pub fn signal(&self, signal: impl Into<Signal>) -> io::Result<SignalStream> {
        let slot = self.listen(signal.into())?;
        let listener = Rc::new(Listener::default());
        slot.listeners.borrow_mut().push(listener.clone());
        Ok(SignalStream {
            handle: self.clone(),
            slot,
            listener,
        })
    }

    /// Returns the slot of a signal; makes it if there is none, or only that of a `run`.
    fn listen(&self, signal: Signal) -> io::Result<Rc<Slot>> {
        match self.slot(signal) {
            Some(slot) if !slot.is_of_run => Ok(slot),
            of_run => {
                let slot = self.add_slot(signal, false)?;
                // Afterwards, so that no signal has its default effect in between.
                if let Some(of_run) = of_run {
                    self.remove_slot(&of_run);
                }
                Ok(slot)
            }
        }
    }

    /// Makes a slot for a signal. That of a `run` catches one signal, and no second.
    pub(super) fn add_slot(&self, signal: Signal, is_of_run: bool) -> io::Result<Rc<Slot>> {
        let core = self.core();
        if core.is_closed() {
            return Err(LoopError::Closed.into());
        }
        let bell = core.signals.borrow().bell.clone();
        let (bell, is_new) = match bell {
            Some(bell) => (bell, false),
            None => (Bell::hang_up(self)?, true),
        };
        let arrived = Arc::new(AtomicBool::new(false));
        let listening = bell
            .ringer()
            .and_then(|ringer| Listening::begin(signal, arrived.clone(), ringer))
            .and_then(|mut listening| {
                if is_of_run {
                    listening.only_once()?;
                }
                Ok(listening)
            })
            .inspect_err(|_| {
                if is_new {
                    bell.take_down();
                }
            })?;
        let slot = Rc::new(Slot {
            signal,
            is_of_run,
            arrived,
            handler: Watch::default(),
            listeners: RefCell::default(),
            listening: Cell::new(Some(listening)),
        });
        let mut signals = core.signals.borrow_mut();
        signals.bell = Some(bell);
        signals.slots.push(slot.clone());
        Ok(slot)
    }

    fn slot(&self, signal: Signal) -> Option<Rc<Slot>> {
        let signals = self.core().signals.borrow();
        signals.slots.iter().find(|s| s.signal == signal).cloned()
    }

    fn unlisten_if_idle(&self, slot: &Rc<Slot>) {
        if !slot.handler.is_watched() && slot.listeners.borrow().is_empty() {
            self.remove_slot(slot);
        }
    }

    /// Takes a slot out, if it is in; with the last one, the bell.
    pub(super) fn remove_slot(&self, slot: &Rc<Slot>) {
        slot.retire();
        let bell = {
            let mut signals = self.core().signals.borrow_mut();
            signals.slots.retain(|other| !Rc::ptr_eq(other, slot));
            let is_last = signals.slots.is_empty();
            is_last.then(|| signals.bell.take()).flatten()
        };
        if let Some(bell) = bell {
            bell.take_down();
        }
    }
}

/// Returns a stream of the signals of one kind, on the running loop. Available with the
/// feature `signals`.
///
/// # Errors
/// As [`LoopHandle::add_signal_handler`].
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart: `loop.add_signal_handler`, with a callback that sets an event.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{Signal, run, signal};
/// # use std::time::Duration;
/// # use millstream::{create_task, timeout};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut hangups = signal(Signal::HUP)?;
///     let reloading = async move {
///         loop {
///             hangups.recv().await;
///             println!("reading the configuration");
///         }
///     };
/// #   let reloading = timeout(Duration::from_millis(1), reloading);
///     create_task(reloading);
///     // …
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn signal(signal: impl Into<Signal>) -> io::Result<SignalStream> {
    running_loop().signal(signal)
}

/// The signals of one kind, one after the other: see [`signal`].
pub struct SignalStream {
    handle: LoopHandle,
    slot: Rc<Slot>,
    listener: Rc<Listener>,
}

impl SignalStream {
    /// Waits for the next signal. Those that come between two calls are not lost; several
    /// are one.
    ///
    /// # Cancel safety
    /// Cancel safe: a signal that comes meanwhile is left to the next call.
    pub async fn recv(&mut self) {
        let _forgets = ForgetsWaiter(&self.listener.waiter);
        poll_fn(|cx| {
            if self.listener.has_news.replace(false) {
                return Poll::Ready(());
            }
            self.listener.waiter.register(cx.waker());
            note(WaitsOn::numbered(What::Signal, self.slot.signal.0 as u64));
            Poll::Pending
        })
        .await;
    }
}

impl Drop for SignalStream {
    fn drop(&mut self) {
        let ours = |listener: &Rc<Listener>| Rc::ptr_eq(listener, &self.listener);
        self.slot.listeners.borrow_mut().retain(|l| !ours(l));
        self.handle.unlisten_if_idle(&self.slot);
    }
}

impl fmt::Debug for SignalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignalStream({})", self.slot.signal)
    }
}

/// Leaves no waker behind when a `recv` is dropped.
struct ForgetsWaiter<'a>(&'a WaiterCell);

impl Drop for ForgetsWaiter<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// What a loop listens to.
#[derive(Default)]
pub(super) struct Signals {
    /// Invariant: hangs if and only if there are slots.
    bell: Option<Rc<Bell>>,
    slots: Vec<Rc<Slot>>,
}

impl Signals {
    /// Takes one slot out, for a loop that closes.
    pub(super) fn take_any(&mut self) -> Option<Rc<Slot>> {
        self.bell = None;
        self.slots.pop()
    }
}

/// One signal that a loop listens to.
pub(super) struct Slot {
    signal: Signal,
    /// It is there for Ctrl-C to end a `run`; whoever else wants the signal replaces it.
    is_of_run: bool,
    /// Set in signal context, before the bell is rung.
    arrived: Arc<AtomicBool>,
    pub(super) handler: Watch,
    listeners: RefCell<Vec<Rc<Listener>>>,
    /// `None` once the slot is retired.
    listening: Cell<Option<Listening>>,
}

/// What a slot and a stream share.
#[derive(Default)]
struct Listener {
    has_news: Cell<bool>,
    waiter: WaiterCell,
}

impl Slot {
    /// Listens no more, and drops the handler.
    pub(super) fn retire(&self) {
        drop(self.listening.take());
        self.handler.set(None);
    }

    fn deliver(&self) {
        let listeners = self.listeners.borrow().clone();
        for listener in listeners {
            listener.has_news.set(true);
            listener.waiter.wake();
        }
        self.handler.call();
    }
}

/// A signal that arrived, in the ready queue.
struct Arrived {
    slot: Rc<Slot>,
    handle: LoopHandle,
}

impl Callback for Arrived {
    fn name(&self) -> &'static str {
        self.slot.handler.name().unwrap_or("SignalStream")
    }

    fn call(self: Box<Self>) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.slot.deliver())) else {
            return;
        };
        // R10: the panic ends this handler; the streams go on.
        self.slot.handler.set(None);
        self.handle.unlisten_if_idle(&self.slot);
        resume_unwind(panic);
    }
}

/// What is rung in signal context, and ends the loop's sleep: one byte through a pair of
/// sockets.
struct Bell {
    id: Cell<SourceId>,
    /// A cycle, which is cut when the bell is taken down, or the loop closes (R1).
    handle: LoopHandle,
    rung: RefCell<mio::net::UnixStream>,
    ringer: UnixStream,
}

impl Bell {
    fn hang_up(handle: &LoopHandle) -> io::Result<Rc<Bell>> {
        let (rung, ringer) = UnixStream::pair()?;
        rung.set_nonblocking(true)?;
        let fd = rung.as_raw_fd();
        let bell = Rc::new(Bell {
            id: Cell::new(SourceId::NONE),
            handle: handle.clone(),
            rung: RefCell::new(mio::net::UnixStream::from_std(rung)),
            ringer,
        });
        let reactor = &handle.core().reactor;
        let mut rung = bell.rung.borrow_mut();
        let id = reactor.register(bell.clone(), &mut *rung, fd, Interest::READABLE, true)?;
        drop(rung);
        bell.id.set(id);
        Ok(bell)
    }

    fn take_down(&self) {
        let reactor = &self.handle.core().reactor;
        let owner = reactor.deregister(self.id.get(), Some(&mut *self.rung.borrow_mut()));
        drop(owner);
    }

    /// Another end to ring it by, for one signal.
    fn ringer(&self) -> io::Result<UnixStream> {
        self.ringer.try_clone()
    }

    /// Takes out all that was rung, so that the next byte makes an edge (R6).
    fn hush(&self) {
        let mut bytes = [0; 64];
        let mut rung = self.rung.borrow_mut();
        loop {
            match rung.read(&mut bytes) {
                Ok(n) if n > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // We hold the other end, so what is left is `WouldBlock`.
                _ => break,
            }
        }
        let reactor = &self.handle.core().reactor;
        reactor.after_read(self.id.get(), None, bytes.len());
    }
}

impl EventSource for Bell {
    fn read_ready(self: Rc<Self>) {
        // Before looking: a signal that comes after this rings again.
        self.hush();
        let core = self.handle.core();
        for slot in &core.signals.borrow().slots {
            if slot.arrived.swap(false, Ordering::SeqCst) {
                core.executor.push(Ready::Event(Box::new(Arrived {
                    slot: slot.clone(),
                    handle: self.handle.clone(),
                })));
            }
        }
    }

    fn write_ready(self: Rc<Self>) {}

    fn hollow(self: Rc<Self>) {}

    fn owner(&self) -> Option<String> {
        None
    }

    fn callback_name(&self, _direction: Direction) -> Option<&'static str> {
        Some("signals")
    }
}
