//! Child processes: their pipes as streams, and their end as something to await.
//!
//! Layer 8, behind the feature `subprocess`. Above: your code. Below: pipes and streams.
//!
//! ```text
//!   create_subprocess_exec ─► Command ─► Child ─┬─► Reaper: told by a pidfd that it ended
//!                                                └─► stdin, stdout, stderr: pipes ─► streams
//!   Process ── wait, communicate, send_signal ──► Reaper ── try_wait ──► ExitStatus
//! ```
//!
//! Always true:
//! * the reaper alone waits for the child, on the loop's thread: so a process id that it
//!   sends a signal to is never another process's;
//! * no child stays a zombie, whoever is dropped when.
//!
//! asyncio: `asyncio.subprocess`, and its child watchers.

mod create; //      which program, with which pipes
mod process; //     the child, as its parent holds it
mod communicate; // feeding and reading at once
mod reaper; //      how its end is met

pub use create::{
    CreateSubprocess, create_subprocess, create_subprocess_exec, create_subprocess_shell,
};
pub use process::Process;
