//! The event: something has happened, and stays so until it is taken back.

use std::cell::Cell;
use std::fmt;

use crate::waiters::WaiterList;
use crate::waits::What;

/// Tells any number of tasks that something has happened.
///
/// It is not set at first. Once set it stays so: who waits later need not wait.
///
/// # asyncio
/// `asyncio.Event`.
///
/// # Examples
/// ```
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{Event, create_task, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let ready = Rc::new(Event::new());
///     let awaited = ready.clone();
///     let waiter = create_task(async move {
///         awaited.wait().await;
///         "let's go"
///     });
///     ready.set();
///     assert_eq!(waiter.await?, "let's go");
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct Event {
    is_set: Cell<bool>,
    waiting: WaiterList,
}

impl Event {
    /// Makes an event that is not set.
    #[must_use]
    pub fn new() -> Event {
        Event::of(What::Event)
    }

    /// One that is not set, and whose waiters wait for this.
    pub(super) fn of(what: What) -> Event {
        Event {
            is_set: Cell::new(false),
            waiting: WaiterList::of(what),
        }
    }

    /// Says that it has happened, and wakes all who wait.
    ///
    /// They go on also if it is cleared before their turn comes.
    ///
    /// # asyncio
    /// `Event.set`.
    pub fn set(&self) {
        if !self.is_set.replace(true) {
            self.waiting.wake_all();
        }
    }

    /// Takes it back: who waits from now on waits for the next [`set`](Self::set).
    ///
    /// # asyncio
    /// `Event.clear`.
    pub fn clear(&self) {
        self.is_set.set(false);
    }

    /// Says whether it is set.
    ///
    /// # asyncio
    /// `Event.is_set`.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set.get()
    }

    /// Waits until it is set; not at all if it is.
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    ///
    /// # asyncio
    /// `Event.wait`, which returns `True`.
    pub async fn wait(&self) {
        if !self.is_set() {
            self.waiting.wait().await;
        }
    }
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("is_set", &self.is_set())
            .field("waiting", &self.waiting.len())
            .finish()
    }
}
