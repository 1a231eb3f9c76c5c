//! Run with `cargo run --example echo_server_protocol`, and then
//! `cargo run --example echo_client_protocol` in another terminal. The first line appears
//! at once, and the other four for each client, with the client's own port:
//!
//! ```text
//! Serving on ('127.0.0.1', 8888)
//! Connection from ('127.0.0.1', 50312)
//! Data received: 'Hello World!'
//! Send: 'Hello World!'
//! Close the client socket
//! ```
//!
//! Another address can be given, and port 0 lets the system choose a free one:
//! `cargo run --example echo_server_protocol -- 127.0.0.1:0`. Ctrl-C ends the program.
//!
//! Python: "TCP Echo Server", of the page on transports and protocols.

mod python_style;

use std::env;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use millstream::{PeerName, Protocol, Transport, get_running_loop, run};
use python_style::{quoted, tuple};

// A protocol is told what happens on one connection. It cannot wait, for it is no
// coroutine: it answers, and returns. Streams are built upon just this.
//
// Python's stores the transport in `connection_made`. Here each callback is handed it.
struct EchoServerProtocol;

impl Protocol for EchoServerProtocol {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        let peername = transport.get_extra_info(PeerName);
        let peername = peername.as_ref().map_or("None".to_owned(), tuple);
        println!("Connection from {peername}");
    }

    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        let message = quoted(data);
        println!("Data received: {message}");

        println!("Send: {message}");
        transport.write(data);

        // What was written is sent first: closing does not lose it.
        println!("Close the client socket");
        transport.close();
    }
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    // Get a handle of the event loop as we plan to use low-level APIs.
    let handle = get_running_loop()?;

    // The closure is the factory: it makes one protocol for each connection.
    let server = handle
        .create_server(|| EchoServerProtocol, address.ip(), address.port())
        .await?;

    let addrs: Vec<String> = server.sockets().iter().map(tuple).collect();
    println!("Serving on {}", addrs.join(", "));

    // Python says `async with server` around this. Here the server closes when its last
    // handle is dropped, which is at the end of this function.
    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8888".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    run(serve(address))
}
