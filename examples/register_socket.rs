//! Run with `cargo run --example register_socket`. This line appears:
//!
//! ```text
//! Received: abc
//! ```
//!
//! A socket that is open already becomes a stream. `socket_protocol.rs` does the same
//! with a protocol, and `watch_fd.rs` with nothing but the loop.
//!
//! Python: "Register an open socket to wait for data using streams".

use std::io::{self, Write};
use std::os::unix::net::UnixStream;

use millstream::{get_running_loop, open_connection_sock, run};

async fn wait_for_data() -> io::Result<()> {
    // Get a handle of the current event loop because we want to access low-level APIs.
    let handle = get_running_loop()?;

    // Create a pair of connected sockets.
    let (rsock, wsock) = UnixStream::pair()?;

    // Register the open socket to wait for data. It is the writer's from now on.
    let (mut reader, writer) = open_connection_sock(rsock).await?;

    // Simulate the reception of data from the network. The callback has a socket of its
    // own, for the same connection, so that `wsock` stays ours.
    let mut sender = wsock.try_clone()?;
    handle.call_soon(move || {
        sender
            .write_all(b"abc")
            .expect("three bytes fit into a fresh socket");
    })?;

    // Wait for data.
    let data = reader.read(100).await?;

    // Got data, we are done: close the socket.
    println!("Received: {}", String::from_utf8_lossy(&data));
    writer.close();
    writer.wait_closed().await?;

    // Close the second socket.
    drop(wsock);
    Ok(())
}

fn main() -> io::Result<()> {
    run(wait_for_data())
}
