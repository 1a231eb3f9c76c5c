//! Sleeping, and giving up in time.
//!
//! Layer 4a. Above: streams, your code. Below: the loop's timers.
//!
//! ```text
//!   sleep(d)          ──► a timer that wakes the task
//!   timeout(d, f)     ──► polls f, then looks at the clock: a result that is there wins (D25)
//!   Timeout::scope(f) ──► the same, with a deadline that moves
//! ```
//!
//! asyncio: `asyncio.sleep`, `asyncio.timeout`, `asyncio.wait_for`.

mod sleep; //   waiting for a time
mod alarm; //   a timer for a deadline that moves
mod timeout; // waiting for something, but not for ever

pub(crate) use alarm::Alarm;
pub use sleep::{Sleep, sleep};
pub use timeout::{Timeout, timeout, timeout_at, wait_for};
