//! Connecting and serving: the functions that a program begins with.
//!
//! Layer 8. Above: your code. Below: streams and transports.
//!
//! ```text
//!   open_connection(host, port) ─► resolve ─► connect ─┐
//!   open_unix_connection(path) ────────────► connect ──┼─► transport + StreamReaderProtocol
//!   start_server(cb, host, port) ─► bind ─► accept ────┘        └─► (reader, writer)
//!   connect_read_pipe, open_stdin, … ──────┘  one direction only
//!   create_connection, create_server: the same with a protocol of your own
//! ```
//!
//! Always true: a socket that was made here and is not in a transport's hands is closed
//! when its future is dropped.
//!
//! asyncio: `streams.open_connection`, `start_server`, `loop.create_connection`,
//! `loop.create_server`, `base_events.Server`.

mod host; //    a name or an address, before it is resolved
mod client; //  open_connection, create_connection
mod open; //    what they return, to be set and awaited
mod happy_eyeballs; // a race between addresses
mod connect; // a socket, and the wait until it is connected
mod connect_errors; // why all of them failed
mod serving; // start_server, create_server
mod serve; //   what they return, to be set and awaited
mod options; // what is set on sockets before they are used
mod handler; // what is called for each client
mod bind; //    sockets that have an address
mod unix; //    Unix-domain sockets, and their files
mod listen; //  sockets that listen
mod server; //  the server, as a program holds it
mod server_core; // and as its listeners and connections share it
mod attached; // who came to it, and is not gone yet
mod shutdown; // how it stops without dropping a reply
#[cfg(feature = "datagram")]
mod datagram; // endpoints for datagrams
#[cfg(feature = "descriptors")]
mod pipes; //   one end of a pipe
#[cfg(feature = "descriptors")]
mod standard_streams; // standard input, output and error
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls; //     encrypting them, with the feature

pub use client::{
    open_connection, open_connection_sock, open_unix_connection, open_unix_connection_sock,
};
pub use connect_errors::ConnectErrors;
#[cfg(feature = "datagram")]
pub use datagram::DatagramEndpoint;
pub use handler::{HandlerOutcome, PlainReturn, plain};
pub use host::Host;
pub use open::{AsProtocol, AsStreams, Connect, Destination, ToHost, ToPath, ToSock};
pub use options::SocketOptions;
#[cfg(feature = "descriptors")]
pub use pipes::{OpenReader, open_read_pipe, open_write_pipe};
pub use serve::{OnHost, OnPath, OnSock, Place, Serve, WithFactory, WithHandler};
pub use server::Server;
pub use serving::{start_server, start_server_sock, start_unix_server, start_unix_server_sock};
pub use shutdown::{Shutdown, Stopped};
#[cfg(feature = "descriptors")]
pub use standard_streams::{open_stderr, open_stdin, open_stdout};
#[cfg(feature = "tls")]
pub use tls::{ClientTls, HandshakeFailure};
