//! Run with `cargo run --example echo_client`, while `cargo run --example echo_server`
//! runs in another terminal. These lines appear:
//!
//! ```text
//! Send: 'Hello World!'
//! Received: 'Hello World!'
//! Close the connection
//! ```
//!
//! Another address and another message can be given:
//! `cargo run --example echo_client -- 127.0.0.1:8888 'Hello World!'`.
//!
//! Python: "TCP echo client using streams".

mod python_style;

use std::env;
use std::io;
use std::net::SocketAddr;

use millstream::{open_connection, run};
use python_style::quoted;

async fn tcp_echo_client(address: SocketAddr, message: String) -> io::Result<()> {
    // If nobody listens there, this is where the error comes from: `?` ends the program
    // with it.
    let (mut reader, writer) = open_connection(address.ip(), address.port()).await?;

    println!("Send: {}", quoted(message.as_bytes()));
    writer.write(&message);
    writer.drain().await?;

    // Waits until something has come: at most 100 bytes of it.
    let data = reader.read(100).await?;
    println!("Received: {}", quoted(&data));

    println!("Close the connection");
    writer.close();
    writer.wait_closed().await
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8888".to_owned());
    let message = arguments.next().unwrap_or("Hello World!".to_owned());

    let address = address.parse().map_err(io::Error::other)?;
    run(tcp_echo_client(address, message))
}
