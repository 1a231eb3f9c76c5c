//! Run with `cargo run --example echo_client_protocol`, while
//! `cargo run --example echo_server_protocol` runs in another terminal. These lines
//! appear:
//!
//! ```text
//! Data sent: 'Hello World!'
//! Data received: 'Hello World!'
//! The server closed the connection
//! ```
//!
//! Another address and another message can be given:
//! `cargo run --example echo_client_protocol -- 127.0.0.1:8888 'Hello World!'`.
//!
//! Python: "TCP Echo Client", of the page on transports and protocols.

mod python_style;

use std::env;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use millstream::{ConnError, Promise, Protocol, Transport, get_running_loop, run};
use python_style::quoted;

struct EchoClientProtocol {
    message: String,
    // Python has one future for both sides. Here the protocol holds the promise, and the
    // coroutine below awaits the future. A promise can be kept only once, and keeping it
    // uses it up, hence the `Option`.
    on_con_lost: Option<Promise<bool>>,
}

impl Protocol for EchoClientProtocol {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        transport.write(self.message.as_bytes());
        println!("Data sent: {}", quoted(self.message.as_bytes()));
    }

    fn data_received(&mut self, _transport: &Rc<dyn Transport>, data: &[u8]) {
        println!("Data received: {}", quoted(data));
    }

    fn connection_lost(&mut self, _error: Option<ConnError>) {
        println!("The server closed the connection");
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
        .create_connection(factory, address.ip(), address.port())
        .await?;

    // Wait until the protocol signals that the connection is lost and close the
    // transport, whatever became of it.
    let lost = on_con_lost.await;
    transport.close();
    lost?;
    Ok(())
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8888".to_owned());
    let message = arguments.next().unwrap_or("Hello World!".to_owned());

    let address = address.parse().map_err(io::Error::other)?;
    run(echo(address, message))
}
