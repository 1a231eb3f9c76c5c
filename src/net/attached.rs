//! The attached: who came to a server and is not gone yet, its connections and handlers.
//!
//! ```text
//!   accept ─attach─► entry ◄─serves─ handler's task
//!                      │ transport             │
//!   connection_lost ───┴─ detach ─┐   ┌─ ended ┘
//!                                 ▼   ▼
//!                             both over: the entry is free
//! ```
//!
//! An entry is all that a server keeps of a connection: 16 bytes.
//!
//! asyncio: `Server._attach`, `_detach` and `_clients`, without the handlers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slab::Slab;

use crate::executor::TaskId;
use crate::transports::StreamTransport;

/// The connections of a server, and the handlers that serve them.
#[derive(Default)]
pub(super) struct Attached {
    /// Invariant: each is of a connection that is counted, or of a handler that is, or both.
    entries: RefCell<Slab<Entry>>,
    connections: Cell<usize>,
    handlers: Cell<usize>,
}

/// Names an entry, until it is free.
pub(super) type Key = u32;

/// A connection and the task that handles it, if one does.
struct Entry {
    /// `None` before it is opened. Beside the reactor's table (R1) the handler keeps it, to
    /// close it, or to say whose handler it was.
    transport: Option<Rc<StreamTransport>>,
    /// [`TaskId::NOBODY`] while there is none. No `Option`, so that the slab has a word in
    /// which to see that an entry is free: each connection has one.
    handler: TaskId,
}

impl Entry {
    fn handler(&self) -> Option<TaskId> {
        (self.handler != TaskId::NOBODY).then_some(self.handler)
    }

    fn is_detached(&self) -> bool {
        self.transport
            .as_ref()
            .is_none_or(|transport| transport.is_hollow())
    }
}

impl Attached {
    /// Counts a connection in.
    pub(super) fn attach(&self) -> Key {
        self.connections.set(self.connections.get() + 1);
        let key = self.entries.borrow_mut().insert(Entry {
            transport: None,
            handler: TaskId::NOBODY,
        });
        Key::try_from(key).expect("four billion connections don't fit into memory")
    }

    /// The connection has a transport.
    pub(super) fn opened(&self, key: Key, transport: &Rc<StreamTransport>) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key as usize) {
            entry.transport = Some(transport.clone());
        }
    }

    /// Counts a connection out, and returns its handler if that still runs.
    pub(super) fn detach(&self, key: Key) -> Option<TaskId> {
        self.connections.set(self.connections.get() - 1);
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(key as usize)?;
        if let Some(handler) = entry.handler() {
            return Some(handler);
        }
        let over = entries.remove(key as usize);
        debug_assert!(entries.len() <= self.connections() + self.handlers());
        drop((entries, over)); // in this order (R3)
        None
    }

    /// Counts a handler in, whose task is yet to be made.
    pub(super) fn handler_begins(&self) {
        self.handlers.set(self.handlers.get() + 1);
    }

    /// The connection is handled by that task.
    pub(super) fn handled_by(&self, key: Key, task: TaskId) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(key as usize) {
            entry.handler = task;
        }
    }

    /// Counts a handler out.
    pub(super) fn handler_ended(&self, key: Key) {
        self.handlers.set(self.handlers.get() - 1);
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(key as usize) else {
            return;
        };
        let was_handled = entry.handler().is_some();
        entry.handler = TaskId::NOBODY;
        let is_over = was_handled && entry.is_detached();
        let over = is_over.then(|| entries.remove(key as usize));
        debug_assert!(entries.len() <= self.connections() + self.handlers());
        drop((entries, over)); // in this order (R3)
    }

    /// Returns how many connections are attached.
    pub(super) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Returns how many handlers run.
    pub(super) fn handlers(&self) -> usize {
        self.handlers.get()
    }

    /// Returns the transports of all connections that are open.
    pub(super) fn transports(&self) -> Vec<Rc<StreamTransport>> {
        let entries = self.entries.borrow();
        let open = entries.iter().filter(|(_, entry)| !entry.is_detached());
        open.filter_map(|(_, entry)| entry.transport.clone())
            .collect()
    }

    /// Returns the transport of a connection, also of one that is over and still handled.
    pub(super) fn transport(&self, key: Key) -> Option<Rc<StreamTransport>> {
        self.entries.borrow().get(key as usize)?.transport.clone()
    }

    /// Returns the tasks of all handlers that run.
    pub(super) fn handler_tasks(&self) -> Vec<TaskId> {
        let entries = self.entries.borrow();
        entries.iter().filter_map(|(_, e)| e.handler()).collect()
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[expect(dead_code, reason = "only its size counts")]
    enum AsInTheSlab {
        Free(usize),
        Taken(Entry),
    }

    #[test]
    fn an_entry_takes_two_words_of_the_table() {
        assert_eq!(size_of::<AsInTheSlab>(), 16);
    }
}
