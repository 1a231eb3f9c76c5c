//! The watchers: a user's own descriptors, watched with callbacks.
//!
//! ```text
//!   add_reader(fd, f) ──► FdWatcher {reader, writer} ──► reactor
//!          f is called while fd is readable ◄── re-armed after each call
//! ```
//!
//! The loop can't see whether the callback read everything, so it has the poller report
//! the descriptor again after each call: to the user it looks level-triggered.
//!
//! asyncio: `add_reader`, `add_writer`, `remove_reader`, `remove_writer`.

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use mio::Interest;
use mio::unix::SourceFd;

use crate::error::LoopError;
use crate::reactor::{Direction, EventSource, Reactor, SourceId};

use super::LoopHandle;

/// A callback that runs each time, while its descriptor is ready.
pub(super) struct WatchCallback {
    /// The type of the callback, which names the function it was written in.
    name: &'static str,
    callback: Box<dyn FnMut()>,
}

impl WatchCallback {
    pub(super) fn new<F: FnMut() + 'static>(callback: F) -> WatchCallback {
        WatchCallback {
            name: type_name::<F>(),
            callback: Box::new(callback),
        }
    }
}

impl LoopHandle {
    /// Has `callback` called while `fd` is readable, once a turn.
    ///
    /// A reader that was added before is replaced; a writer stays. The descriptor must
    /// stay open until [`remove_reader`](LoopHandle::remove_reader).
    ///
    /// # Errors
    /// If an open transport owns the descriptor, if the poller refuses it (regular files:
    /// `PermissionDenied`), or if the loop is closed.
    ///
    /// # asyncio
    /// `loop.add_reader`.
    pub fn add_reader(&self, fd: RawFd, callback: impl FnMut() + 'static) -> io::Result<()> {
        self.add_watch(fd, Direction::Read, WatchCallback::new(callback))
    }

    /// Has `callback` called while `fd` is writable, once a turn.
    ///
    /// # Errors
    /// As [`add_reader`](LoopHandle::add_reader).
    ///
    /// # asyncio
    /// `loop.add_writer`.
    pub fn add_writer(&self, fd: RawFd, callback: impl FnMut() + 'static) -> io::Result<()> {
        self.add_watch(fd, Direction::Write, WatchCallback::new(callback))
    }

    /// Stops watching `fd` for reading, and says whether it was watched.
    ///
    /// # Errors
    /// If an open transport owns the descriptor.
    ///
    /// # asyncio
    /// `loop.remove_reader`.
    pub fn remove_reader(&self, fd: RawFd) -> io::Result<bool> {
        self.remove_watch(fd, Direction::Read)
    }

    /// Stops watching `fd` for writing, and says whether it was watched.
    ///
    /// # Errors
    /// If an open transport owns the descriptor.
    ///
    /// # asyncio
    /// `loop.remove_writer`.
    pub fn remove_writer(&self, fd: RawFd) -> io::Result<bool> {
        self.remove_watch(fd, Direction::Write)
    }

    fn add_watch(
        &self,
        fd: RawFd,
        direction: Direction,
        callback: WatchCallback,
    ) -> io::Result<()> {
        let core = self.core();
        if core.is_closed() {
            return Err(LoopError::Closed.into());
        }
        self.ensure_not_owned(fd)?;
        let watcher = core.watchers.borrow().get(fd);
        if let Some(watcher) = watcher {
            if watcher.has_its_descriptor() {
                watcher.watch(direction, Some(callback));
                return watcher.update();
            }
            watcher.let_go();
        }
        let watcher = FdWatcher::new(fd, self.clone());
        watcher.watch(direction, Some(callback));
        watcher.register()?;
        let none = core.watchers.borrow_mut().set(fd, Some(watcher));
        drop(none);
        Ok(())
    }

    fn remove_watch(&self, fd: RawFd, direction: Direction) -> io::Result<bool> {
        let core = self.core();
        if core.is_closed() {
            return Ok(false);
        }
        self.ensure_not_owned(fd)?;
        let Some(watcher) = core.watchers.borrow().get(fd) else {
            return Ok(false);
        };
        if !watcher.is_watched(direction) {
            return Ok(false);
        }
        watcher.watch(direction, None);
        watcher.update()?;
        Ok(true)
    }

    /// Says whether a callback watches `fd` in this direction.
    pub(crate) fn is_watched(&self, fd: RawFd, direction: Direction) -> bool {
        let watcher = self.core().watchers.borrow().get(fd);
        watcher.is_some_and(|watcher| watcher.has_its_descriptor() && watcher.is_watched(direction))
    }

    fn ensure_not_owned(&self, fd: RawFd) -> io::Result<()> {
        match self.core().reactor.owner_of(fd) {
            Some(transport) => Err(io::Error::other(format!(
                "File descriptor {fd} is used by transport {transport}"
            ))),
            None => Ok(()),
        }
    }
}

/// The watchers of a loop, by descriptor.
#[derive(Default)]
pub(super) struct Watchers(Vec<Option<Rc<FdWatcher>>>);

impl Watchers {
    fn get(&self, fd: RawFd) -> Option<Rc<FdWatcher>> {
        self.0.get(usize::try_from(fd).ok()?)?.clone()
    }

    #[must_use = "a watcher holds a user's callbacks: drop it where no borrow is alive"]
    fn set(&mut self, fd: RawFd, watcher: Option<Rc<FdWatcher>>) -> Option<Rc<FdWatcher>> {
        let at = usize::try_from(fd).ok()?;
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        std::mem::replace(&mut self.0[at], watcher)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// One descriptor, with a callback for each direction that is watched.
struct FdWatcher {
    fd: RawFd,
    /// Invariant: while the loop is open, names a source if and only if the loop's table
    /// has this watcher.
    id: Cell<SourceId>,
    /// A cycle, which is cut when the loop closes (R1).
    handle: LoopHandle,
    reader: Watch,
    writer: Watch,
}

/// A callback, and a number that tells whether it was replaced while it ran.
#[derive(Default)]
pub(super) struct Watch {
    callback: RefCell<Option<WatchCallback>>,
    watched: Cell<bool>,
    version: Cell<u64>,
}

impl FdWatcher {
    fn new(fd: RawFd, handle: LoopHandle) -> Rc<FdWatcher> {
        Rc::new(FdWatcher {
            fd,
            id: Cell::new(SourceId::NONE),
            handle,
            reader: Watch::default(),
            writer: Watch::default(),
        })
    }

    fn watch(&self, direction: Direction, callback: Option<WatchCallback>) {
        self.side(direction).set(callback);
    }

    fn is_watched(&self, direction: Direction) -> bool {
        self.side(direction).is_watched()
    }

    fn side(&self, direction: Direction) -> &Watch {
        match direction {
            Direction::Read => &self.reader,
            Direction::Write => &self.writer,
        }
    }

    fn interest(&self) -> Option<Interest> {
        match (self.reader.is_watched(), self.writer.is_watched()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    fn register(self: &Rc<Self>) -> io::Result<()> {
        let Some(interest) = self.interest() else {
            return Ok(());
        };
        let mut source = SourceFd(&self.fd);
        let owner = self.clone();
        let id = self
            .reactor()
            .register(owner, &mut source, self.fd, interest, true)?;
        self.id.set(id);
        Ok(())
    }

    /// Has the poller watch what is watched now, and report anew what is ready; lets go
    /// of the descriptor if that is nothing, or if it is another's by now.
    fn update(&self) -> io::Result<()> {
        match self.interest() {
            Some(interest) if self.has_its_descriptor() => {
                self.reactor()
                    .reregister(self.id.get(), &mut SourceFd(&self.fd), interest)
            }
            _ => {
                self.let_go();
                Ok(())
            }
        }
    }

    /// False once the user closed the descriptor while it was watched, and its number
    /// became another source's.
    fn has_its_descriptor(&self) -> bool {
        self.reactor().find(self.fd) == Some(self.id.get())
    }

    fn let_go(&self) {
        let has_it = self.has_its_descriptor();
        let id = self.id.replace(SourceId::NONE);
        if id == SourceId::NONE {
            return; // the descriptor may have another watcher by now
        }
        let known = self.handle.core().watchers.borrow_mut().set(self.fd, None);
        let mut source = SourceFd(&self.fd);
        let io: Option<&mut dyn mio::event::Source> = has_it.then_some(&mut source);
        let owner = self.reactor().deregister(id, io);
        drop((known, owner));
    }

    fn reactor(&self) -> &Reactor {
        &self.handle.core().reactor
    }

    fn call(&self, direction: Direction) {
        let called = catch_unwind(AssertUnwindSafe(|| self.side(direction).call()));
        if called.is_err() {
            // R10: the panic ends this callback; the other direction goes on.
            self.side(direction).set(None);
        }
        if let Err(error) = self.update() {
            log::debug!(
                "descriptor {} can't be watched any longer: {error}",
                self.fd
            );
        }
        if let Err(panic) = called {
            resume_unwind(panic);
        }
    }
}

impl EventSource for FdWatcher {
    fn read_ready(self: Rc<Self>) {
        self.call(Direction::Read);
    }

    fn write_ready(self: Rc<Self>) {
        self.call(Direction::Write);
    }

    fn hollow(self: Rc<Self>) {
        self.reader.set(None);
        self.writer.set(None);
    }

    fn owner(&self) -> Option<String> {
        None
    }

    fn callback_name(&self, direction: Direction) -> Option<&'static str> {
        self.side(direction).name()
    }
}

impl Watch {
    pub(super) fn is_watched(&self) -> bool {
        self.watched.get()
    }

    /// The name of the callback, unless it runs now.
    pub(super) fn name(&self) -> Option<&'static str> {
        let callback = self.callback.borrow();
        callback.as_ref().map(|callback| callback.name)
    }

    pub(super) fn set(&self, callback: Option<WatchCallback>) {
        self.watched.set(callback.is_some());
        self.version.set(self.version.get() + 1);
        let earlier = self.callback.replace(callback);
        drop(earlier);
    }

    /// Calls the callback, out of its cell (R3): it may replace or remove itself.
    pub(super) fn call(&self) {
        let Some(mut callback) = self.callback.take() else {
            return; // cancelled after the poll
        };
        let version = self.version.get();
        (callback.callback)();
        if self.version.get() == version {
            let none = self.callback.replace(Some(callback));
            drop(none);
        }
    }
}
