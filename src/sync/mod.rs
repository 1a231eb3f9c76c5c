//! Synchronisation: how tasks of one loop wait for each other.
//!
//! Layer 4a. Above: your code. Below: the waiter lists.
//!
//! ```text
//!   Event      set ──────────► all who wait
//!   Permits    release ──────► the first who waits, or a free permit
//!     Lock       one permit, held by a guard
//!     Semaphore  many
//!     Queue      one permit for each item, one for each free place
//!   Condition  notify(n) ────► the first n who wait, each of which takes the lock again
//!   Barrier    the last comes ► all of its round
//! ```
//!
//! Always true:
//! * first come, first served: what is released goes to whoever waits longest, and nobody
//!   who comes later can take it in between;
//! * a future that is dropped after it was chosen passes its turn on (a permit, an item, a
//!   notification): nothing is lost;
//! * nothing is atomic: all of this belongs to one thread, and the compiler sees to it.
//!
//! A task shares one of these with others by `Rc`, or borrows it.
//!
//! asyncio: `asyncio.locks`, `asyncio.queues`.

mod event; //     something has happened
mod permits; //   so many at once, first come, first served
mod lock; //      one at a time
mod semaphore; // so many at a time
mod condition; // something has changed: look again
mod barrier; //   nobody goes on until all have come
mod queue; //     items from some tasks to others

pub use barrier::{Barrier, BrokenBarrierError};
pub use condition::{Condition, ConditionGuard};
pub use event::Event;
pub use lock::{Lock, LockGuard};
pub use queue::{
    Fifo, Lifo, LifoQueue, Priority, PriorityQueue, Queue, QueueGetError, QueueOrder,
    QueuePutError, QueueShutDown, TaskDoneError,
};
pub use semaphore::{BoundedSemaphore, OverReleaseError, Semaphore, SemaphorePermit};
