//! The waits: what the task whose step runs began to wait for.
//!
//! Layer 2. Above: whatever makes a task wait; the executor, which keeps what was noted.
//!
//! ```text
//!   a step begins ──► poll ──► a future must wait ──note──► what is known of the step
//!   the step ends ◄── what was noted goes into the task's cell ◄─────────┘
//! ```
//!
//! Whoever returns `Pending` notes a word and a number: some bytes are stored, and nothing
//! is looked up. What they mean is found out when somebody asks: `event_loop::call_graph`.
//! Timers and the ends of tasks are not noted, for the loop finds who sleeps there.
//!
//! Always true: what is noted is a copy; it keeps nothing alive and is never called.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Waker;

use crate::step::{running, with_notes};

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitsOn {
    pub(crate) what: What,
    /// How many bytes are there already, where it waits for bytes.
    pub(crate) bytes: u32,
    /// Which one it is: a source by its id, a thing in memory by its address, a descriptor
    /// by its number.
    pub(crate) which: u64,
}

/// A word for what a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum What {
    /// Nothing that was noted.
    Nothing,
    /// Bytes of a stream, or its end.
    Bytes,
    /// Room in the write buffer of a stream.
    Room,
    /// That what was written has left.
    Flush,
    /// The end of a connection.
    ConnectionEnd,
    /// A connection that is being made.
    Connect,
    /// A descriptor.
    Descriptor,
    /// The value of a future.
    Promise,
    /// What a thread is at.
    Thread,
    /// A signal of this number.
    #[cfg(feature = "signals")]
    Signal,
    /// The end of the process with this number.
    #[cfg(feature = "subprocess")]
    Process,
    /// The end of a server.
    ServerEnd,
    Lock,
    Event,
    Semaphore,
    Condition,
    Barrier,
    /// An item of a queue.
    Item,
    /// Room in a queue.
    Place,
    /// That all items of a queue are done.
    ItemsDone,
}

/// The number of no source: what a stream has that no transport feeds.
pub(crate) const NO_SOURCE: u64 = u64::MAX;

impl WaitsOn {
    /// One of a kind, of which it isn't known which.
    pub(crate) const fn that(what: What) -> WaitsOn {
        WaitsOn {
            what,
            bytes: 0,
            which: 0,
        }
    }

    /// One that is named by a number.
    pub(crate) const fn numbered(what: What, which: u64) -> WaitsOn {
        WaitsOn {
            what,
            bytes: 0,
            which,
        }
    }

    /// One that is named by where it lies: it doesn't move while somebody waits for it.
    pub(crate) fn this<T>(what: What, thing: &T) -> WaitsOn {
        WaitsOn::numbered(what, std::ptr::from_ref(thing).addr() as u64)
    }
}

/// What a task waited for when its step ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noted {
    /// What was noted first.
    pub(crate) first: WaitsOn,
    /// How many others it waits for beside that.
    pub(crate) others: u8,
}

/// The place of a [`Noted`].
///
/// A cell for each field: in nearly every step one of them is looked at, or two are moved.
/// As one value, it was copied in odd pieces, for which the processor had to wait. The numbers
/// are kept as bytes, so that there are none between them: each task has this.
pub(crate) struct Notes {
    what: Cell<What>,
    others: Cell<u8>,
    bytes: Cell<[u8; 4]>,
    which: Cell<[u8; 8]>,
}

impl Notes {
    /// Nothing was noted.
    pub(crate) const fn blank() -> Notes {
        Notes {
            what: Cell::new(What::Nothing),
            others: Cell::new(0),
            bytes: Cell::new([0; 4]),
            which: Cell::new([0; 8]),
        }
    }

    pub(crate) fn get(&self) -> Noted {
        Noted {
            first: WaitsOn {
                what: self.what.get(),
                bytes: u32::from_ne_bytes(self.bytes.get()),
                which: u64::from_ne_bytes(self.which.get()),
            },
            others: self.others.get(),
        }
    }

    pub(crate) fn set(&self, noted: Noted) {
        let WaitsOn { what, bytes, which } = noted.first;
        self.what.set(what);
        self.others.set(noted.others);
        self.bytes.set(bytes.to_ne_bytes());
        self.which.set(which.to_ne_bytes());
    }

    #[inline]
    fn is_blank(&self) -> bool {
        self.what.get() == What::Nothing
    }

    /// Takes what was noted, and is blank then.
    pub(crate) fn take(&self) -> Noted {
        let noted = self.get();
        self.what.set(What::Nothing);
        noted
    }

    #[inline]
    pub(crate) fn move_to(&self, other: &Notes) {
        let what = self.what.replace(What::Nothing);
        other.what.set(what);
        if what != What::Nothing {
            other.others.set(self.others.get());
            other.bytes.set(self.bytes.get());
            other.which.set(self.which.get());
        }
    }
}

/// Notes what the task whose step runs waits for. Called on the way to `Pending`.
pub(crate) fn note(waits_on: WaitsOn) {
    if waits_on.what == What::Nothing {
        return;
    }
    with_notes(|noted| {
        if noted.is_blank() {
            noted.set(Noted {
                first: waits_on,
                others: 0,
            });
        } else if noted.get().first != waits_on {
            noted.others.set(noted.others.get().saturating_add(1));
        }
    });
}

/// Awaits something, and notes what that is while it waits.
pub(crate) async fn noting<F: Future + Unpin>(waits_on: WaitsOn, mut future: F) -> F::Output {
    poll_fn(|cx| {
        let polled = Pin::new(&mut future).poll(cx);
        if polled.is_pending() {
            note(waits_on);
        }
        polled
    })
    .await
}

thread_local! {
    /// Who holds the locks that somebody waits for.
    static HOLDERS: RefCell<BTreeMap<u64, TaskAddress>> = const { RefCell::new(BTreeMap::new()) };
}

/// Says who holds what others wait for. Whoever says so also says when it is over.
pub(crate) fn set_holder(of: WaitsOn, holder: Option<TaskAddress>) {
    // The thread may be about to end; then nobody asks any more.
    let _ = HOLDERS.try_with(|holders| match holder {
        Some(holder) => holders.borrow_mut().insert(of.which, holder),
        None => holders.borrow_mut().remove(&of.which),
    });
}

/// Returns who holds what others wait for, if that is known.
pub(crate) fn holder(of: WaitsOn) -> Option<TaskAddress> {
    HOLDERS.with_borrow(|holders| holders.get(&of.which).copied())
}

/// Where a task lies. Of a waker that is not the running task's: where it points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskAddress(pub(crate) usize);

impl TaskAddress {
    /// Of whoever this waker wakes.
    pub(crate) fn of(waker: &Waker) -> TaskAddress {
        match running(waker) {
            Some(task) => task.address(),
            None => TaskAddress(waker.data().addr()),
        }
    }
}
