//! The transports: connections that call protocols.
//!
//! Layer 5. Above: TLS, streams, servers. Below: the event loop and the contract.
//!
//! ```text
//!        write, close, pause_reading                 data_received, connection_lost
//!   ───────────────► StreamTransport ◄──────────────► ProtocolCell ──► Box<dyn Protocol>
//!                      │         ▲                    (calls it, never twice at once: R4)
//!       what to do? ◄──┤         │ read_ready, write_ready
//!   ConnectionState    │         │
//!   (does no I/O)      ▼         │
//!                   ByteSocket ─ reactor
//!                   TCP, Unix, pipes, in-memory
//! ```
//!
//! Always true:
//! * `ConnectionState` decides and calls nobody; `StreamTransport` does what it decided,
//!   with no borrow of it alive (R3);
//! * after `connection_lost` a transport is hollow: no socket, no protocol (R1).
//!
//! asyncio: `_SelectorSocketTransport`, `_UnixReadPipeTransport`, `_UnixWritePipeTransport`.

mod connection_state; // what is true of a connection; does no I/O
mod water_marks; //      when writing pauses and resumes
mod protocol_cell; //    the one place that calls a protocol
mod failure; //          what happens when a call, or the network, fails
mod stream_transport; // brings the two together with a socket
mod socket; //           what bytes come from and go to
#[cfg(feature = "descriptors")]
mod pipe; //             what is like a socket in one direction only
#[cfg(feature = "unix-credentials")]
mod credentials; //     who is at the other end
#[cfg(feature = "datagram")]
mod datagram_state; //   what is true of an endpoint for datagrams; does no I/O
#[cfg(feature = "datagram")]
mod datagram_transport; // brings it together with a socket
#[cfg(feature = "datagram")]
mod datagram_socket; //  what datagrams come from and go to
mod memory; //           two transports that are each other's peer

#[cfg(feature = "datagram")]
pub(crate) use datagram_socket::DatagramSocket;
#[cfg(feature = "datagram")]
pub(crate) use datagram_transport::SocketDatagramTransport;
#[cfg(feature = "tls")]
pub(crate) use failure::{Fails, call_failed};
pub use memory::memory_transport_pair;
#[cfg(feature = "descriptors")]
pub(crate) use pipe::{FileSocket, is_pipe, read_pipe, write_pipe};
#[cfg(feature = "tls")]
pub(crate) use protocol_cell::{Called, ProtocolCell};
#[cfg(feature = "testing")]
pub(crate) use socket::ByteSocket;
pub(crate) use socket::Socket;
pub(crate) use stream_transport::{AttachedTo, Ending, Opening, StreamTransport};
