//! Tasks and futures, as coroutines use them.
//!
//! Layer 4a. Above: transports and streams. Below: the event loop.
//!
//! ```text
//!   create_task(future) ──► Task ──await──► its result
//!   create_future() ──► Promise ──set_result──► Future ──await──► the value
//! ```
//!
//! Always true: completing a future wakes its task through the ready queue, never at once.
//!
//! asyncio: `create_task`, `sleep(0)`, `loop.create_future`.

mod spawn; //  a future becomes a task
mod future; // a value that somebody else sets

pub use future::{Future, Promise, create_future};
pub(crate) use spawn::spend_budget;
pub use spawn::{all_tasks, create_task, current_task, yield_now};
