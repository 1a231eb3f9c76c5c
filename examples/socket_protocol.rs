//! Run with `cargo run --example socket_protocol`. This line appears:
//!
//! ```text
//! Received: abc
//! ```
//!
//! A socket that is open already gets a protocol of our own. `register_socket.rs` does
//! the same with streams.
//!
//! Python: "Connecting Existing Sockets", of the page on transports and protocols.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use millstream::{ConnError, Promise, Protocol, Transport, get_running_loop, run};

struct MyProtocol {
    // Keeping a promise uses it up, hence the `Option`.
    on_con_lost: Option<Promise<bool>>,
}

impl Protocol for MyProtocol {
    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        println!("Received: {}", String::from_utf8_lossy(data));

        // We are done: close the transport; connection_lost() will be called
        // automatically.
        transport.close();
    }

    fn connection_lost(&mut self, _error: Option<ConnError>) {
        // The socket is about to be closed.
        if let Some(on_con_lost) = self.on_con_lost.take() {
            on_con_lost.set_result(true);
        }
    }
}

async fn wait_for_data() -> io::Result<()> {
    // Get a handle of the event loop as we plan to use low-level APIs.
    let handle = get_running_loop()?;
    let (promise, on_con_lost) = handle.create_future();

    // Create a pair of connected sockets.
    let (rsock, wsock) = UnixStream::pair()?;

    // Register the socket to wait for data. It is the transport's from now on.
    let factory = || MyProtocol {
        on_con_lost: Some(promise),
    };
    let transport = handle.create_connection_sock(factory, rsock).await?;

    // Simulate the reception of data from the network.
    let mut sender = wsock.try_clone()?;
    handle.call_soon(move || {
        sender
            .write_all(b"abc")
            .expect("three bytes fit into a fresh socket");
    })?;

    // Wait until the protocol signals that the connection is lost, and close both ends,
    // whatever became of it.
    let lost = on_con_lost.await;
    transport.close();
    drop(wsock);
    lost?;
    Ok(())
}

fn main() -> io::Result<()> {
    run(wait_for_data())
}
