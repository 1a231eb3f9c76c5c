//! Raw sockets: system calls on a socket of your own, as coroutines.
//!
//! Layer 4a. Above: your code. Below: the event loop's watchers.
//!
//! ```text
//!   sock_recv(&sock, n) ──► recv ──bytes──► Ready
//!                 ▲           └─WouldBlock──► wait until it is readable (ready.rs)
//!                 └──────────────────────────────┘
//! ```
//!
//! No transport, no buffer, no protocol: the socket stays the caller's, and each call is
//! one attempt after the other until the system takes it.
//!
//! Always true:
//! * a future that is dropped leaves no watcher, and has taken no byte: bytes leave the
//!   kernel only in the poll that returns them;
//! * at most one of these calls waits on a descriptor in each direction.
//!
//! asyncio: `loop.sock_recv` and its kin.

mod ready; //  the wait until a system call is worth another attempt
mod target; // where to connect to
mod calls; //  the coroutines

pub use target::SockTarget;
