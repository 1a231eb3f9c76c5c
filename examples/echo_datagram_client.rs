//! Run with `cargo run --example echo_datagram_client`, while
//! `cargo run --example echo_datagram_server` runs in another terminal. These lines
//! appear:
//!
//! ```text
//! Send: Hello World!
//! Received: Hello World!
//! Close the socket
//! Connection closed
//! ```
//!
//! Another address and another message can be given:
//! `cargo run --example echo_datagram_client -- 127.0.0.1:9999 'Hello World!'`.
//!
//! Python: "UDP Echo Client", of the page on transports and protocols.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use millstream::{
    Address, ConnError, DatagramProtocol, DatagramTransport, Promise, get_running_loop, run,
};

struct EchoClientProtocol {
    message: String,
    // The promise of the future that the coroutine below awaits.
    on_con_lost: Option<Promise<bool>>,
}

impl DatagramProtocol for EchoClientProtocol {
    fn connection_made(&mut self, transport: &Rc<dyn DatagramTransport>) {
        println!("Send: {}", self.message);
        // No address: the endpoint has a remote one.
        if let Err(error) = transport.sendto(self.message.as_bytes(), None) {
            println!("Error: {error}");
        }
    }

    fn datagram_received(
        &mut self,
        transport: &Rc<dyn DatagramTransport>,
        data: &[u8],
        _sender: &Address,
    ) {
        println!("Received: {}", String::from_utf8_lossy(data));
        println!("Close the socket");
        transport.close();
    }

    // Nobody listens, say: the system learns of it when a datagram was sent.
    fn error_received(&mut self, _transport: &Rc<dyn DatagramTransport>, error: ConnError) {
        println!("Error received: {error}");
    }

    fn connection_lost(&mut self, _error: Option<ConnError>) {
        println!("Connection closed");
        if let Some(on_con_lost) = self.on_con_lost.take() {
            on_con_lost.set_result(true);
        }
    }
}

async fn echo(address: SocketAddr, message: String) -> io::Result<()> {
    // Get a handle of the event loop as we plan to use low-level APIs.
    let handle = get_running_loop()?;

    let (promise, on_con_lost) = handle.create_future();
    let factory = || EchoClientProtocol {
        message,
        on_con_lost: Some(promise),
    };
    let transport = handle
        .create_datagram_endpoint(factory)
        .remote_addr(address.ip(), address.port())
        .await?;

    // Wait until the protocol signals that the endpoint is closed, and close it, whatever
    // became of it.
    let lost = on_con_lost.await;
    transport.close();
    lost?;
    Ok(())
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:9999".to_owned());
    let message = arguments.next().unwrap_or("Hello World!".to_owned());

    let address = address.parse().map_err(io::Error::other)?;
    run(echo(address, message))
}
