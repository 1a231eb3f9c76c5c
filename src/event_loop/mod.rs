//! The event loop: one turn after another, until it is stopped.
//!
//! Layer 3. Above: tasks, transports, streams. Below: the executor and the reactor.
//!
//! ```text
//!            ┌────────────────────────── one turn (turn.rs) ─────────────────────────┐
//!   timers ──► how long may we sleep? ──► poll ──► due timers ──► run what is queued ─┤
//!            └───────────────────────────────────────────────────────────────────────┘
//!   EventLoop    owns it, and closes it when dropped
//!   LoopHandle   what the loop's own thread calls
//!   RemoteHandle what other threads may call
//! ```
//!
//! Always true:
//! * a callback that is queued in a turn runs in the next one, never in the same;
//! * at most one loop runs on a thread, but for [`LoopHandle::turn`], which nests;
//! * a closed loop holds no future, no callback, no source and no descriptor.
//!
//! asyncio: `BaseEventLoop`, and `asyncio.run`.

mod turn; //        one turn: begin here
mod spin; //        what it may do before it sleeps
mod timers; //      callbacks that wait for their time
mod schedule; //    which of them is first
mod loop_handle; // what a program asks of the loop
mod remote; //      what other threads may ask of it
mod running; //     which loop runs on this thread
mod watchers; //    a user's own descriptors
#[cfg_attr(not(feature = "threads"), path = "no_threads.rs")]
mod threads; //     where what blocks goes
mod resolver; //    from a host's name to its addresses
mod system_resolver; // the one that is the system's, on a thread
mod name_info; //   from an address to names
mod flags; //       sets of flags that have names
mod exceptions; //  where failures go that nobody awaits
mod statistics; //  what a loop has done
#[cfg(feature = "call-graph")]
mod call_graph; //  what its tasks wait for
#[cfg(feature = "signals")]
mod dispositions; // what the process does with each signal
#[cfg(feature = "signals")]
mod signals; //     what the system tells the process
#[cfg(feature = "signals")]
mod interrupts; //  Ctrl-C as a clean end of `run`
mod run; //         a loop for one program

#[cfg(feature = "call-graph")]
pub use call_graph::{CallGraph, TaskNode, TaskState, WaitsFor, capture_call_graph};
pub(crate) use loop_handle::LoopCore;
pub use loop_handle::{Census, EventLoop, LoopHandle, new_event_loop};
pub use name_info::{GetNameInfo, NameInfoFlags};
pub use remote::RemoteHandle;
pub use resolver::{AddrInfoFlags, Family, GetAddrInfo, HostQuery, Resolver, Resolving};
pub use run::{Runner, run};
pub use running::get_running_loop;
#[cfg(feature = "signals")]
pub use signals::{Signal, SignalStream, signal};
pub use statistics::Statistics;
#[cfg(feature = "threads")]
pub use threads::to_thread;
pub use timers::TimerHandle;

pub(crate) use resolver::Wanted;
pub(crate) use running::running_loop;
pub(crate) use timers::SleepTimer;
