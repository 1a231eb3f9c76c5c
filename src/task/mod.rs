//! Tasks and futures, as coroutines use them.
//!
//! Layer 4a. Above: transports and streams. Below: the event loop.
//!
//! ```text
//!   create_task(future) ──► Task ──await──► its result
//!   create_future() ──► Promise ──set_result──► Future ──await──► the value
//!
//!   several tasks:
//!     gather        all results in order, or the first error
//!     TaskGroup     all end together: the first failure ends the others
//!     wait          those that have ended, without giving up the others
//!     as_completed  one result after the other
//!   shield          to stop waiting, and not the task
//! ```
//!
//! Always true: completing a future wakes its task through the ready queue, never at once.
//!
//! asyncio: `asyncio.tasks`, `asyncio.taskgroups`, `loop.create_future`.

mod spawn; //       a future becomes a task
mod future; //      a value that somebody else sets
mod completions; // which of several tasks have ended
mod gather; //      the results of all
mod gatherable; //  of what
mod group; //       tasks that end together
mod wait; //        those that have ended
mod shield; //      to stop waiting only
mod threadsafe; //  from other threads

pub use future::{Future, Promise, create_future};
pub use gather::{Gather, GatherAll, gather};
pub use gatherable::{FallibleTasks, Gatherable, GatheredTasks};
pub use group::{GroupTask, TaskFailure, TaskGroup, TaskGroupClosed, TaskGroupError};
pub use shield::{Shield, shield};
pub(crate) use spawn::spend_budget;
pub use spawn::{all_tasks, create_task, current_task, spawn_eager, yield_now};
pub use threadsafe::RemoteTask;
pub use wait::{
    ALL_COMPLETED, AllCompleted, AsCompleted, FIRST_COMPLETED, FIRST_EXCEPTION, FirstCompleted,
    FirstException, ReturnWhen, Wait, as_completed, wait,
};
