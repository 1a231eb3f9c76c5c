//! The contract: what a transport offers, and what a protocol is told.
//!
//! Layer 4b. Above: transports implement one half, streams the other. Below: nothing
//! but the words for addresses and errors.
//!
//! ```text
//!                   write, pause_reading, close, …
//!     Protocol ───────────────────────────────────────► Transport
//!        ▲                                                  │
//!        └── connection_made, data_received, eof_received, ─┘
//!            pause_writing, resume_writing, connection_lost
//! ```
//!
//! Always true, of each connection, with PW and RW anywhere between CM and CL:
//!
//! ```text
//!   CM [DR]* [ER]? CL        PW and RW strictly alternate, PW first
//! ```
//!
//! asyncio: `asyncio.Transport`, `asyncio.Protocol`. The two traits name each other, as
//! the two classes do.

mod transport; //  what a protocol asks of a connection
mod protocol; //   who is told what happens on it
#[cfg(feature = "datagram")]
mod datagram; //  the same two for datagrams
mod extra_info; // what else there is to know of it
#[cfg(feature = "unix-credentials")]
mod credentials; // who the peer is

pub use crate::address::Address;
#[cfg(feature = "unix-credentials")]
pub use credentials::{Credentials, PeerCredentials};
#[cfg(feature = "datagram")]
pub use datagram::{DatagramProtocol, DatagramTransport};
pub use extra_info::{
    ExtraInfoKey, ExtraInfoRequest, PeerName, Pipe, PipeInfo, SockName, Socket, SocketInfo,
};
pub use protocol::{AfterEof, BufferedProtocol, EofKind, Protocol, ReadInto};
pub use transport::{Transport, WriteLimitsError, WritePolicy};
