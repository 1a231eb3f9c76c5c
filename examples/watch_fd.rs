//! Run with `cargo run --example watch_fd`. This line appears:
//!
//! ```text
//! Received: abc
//! ```
//!
//! No transport and no stream: the loop calls back when a file descriptor is readable,
//! and reading is up to us.
//!
//! Python: "Watch a file descriptor for read events".

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use millstream::new_event_loop;

fn main() -> io::Result<()> {
    // Create a pair of connected file descriptors.
    let (mut rsock, mut wsock) = UnixStream::pair()?;
    let fd = rsock.as_raw_fd();

    // No `run` here, so the loop is ours, and we say when it runs. Callbacks own what they
    // use, so this one gets a handle of the loop, and the socket.
    let event_loop = new_event_loop()?;
    let handle = event_loop.handle();

    let reader = move || {
        let mut data = [0; 100];
        let received = rsock.read(&mut data).expect("it is readable");
        println!("Received: {}", String::from_utf8_lossy(&data[..received]));

        // We are done: unregister the file descriptor.
        handle
            .remove_reader(fd)
            .expect("no transport owns this descriptor");

        // Stop the event loop.
        handle.stop();
    };

    // Register the file descriptor for read events.
    event_loop.add_reader(fd, reader)?;

    // Simulate the reception of data from the network.
    event_loop.call_soon(move || {
        wsock
            .write_all(b"abc")
            .expect("three bytes fit into a fresh socket");
    })?;

    // Run the event loop, until it is stopped.
    event_loop.run_forever()

    // We are done. The callbacks are gone, and the sockets with them, and the event loop
    // closes as it is dropped here.
}
