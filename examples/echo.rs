//! Run with `cargo run --example echo`. An echo server and its client talk to each other
//! in one program, and these six lines appear:
//!
//! ```text
//! client: Send: 'Hello World!'
//! server: Received 'Hello World!'
//! server: Send: 'Hello World!'
//! server: Close the connection
//! client: Received: 'Hello World!'
//! client: Close the connection
//! ```
//!
//! The very first program. The two halves stand on their own, as programs for two
//! terminals, in `echo_server.rs` and `echo_client.rs`.

mod python_style;

use std::io;

use millstream::{StreamReader, StreamWriter, open_connection, run, start_server};
use python_style::quoted;

// `run` makes an event loop, runs one coroutine on it to its end, and cleans up. All of
// this happens on the one thread that `main` is on.
fn main() -> io::Result<()> {
    run(async {
        // From here on there is a server. Port 0 lets the system choose a free port; we
        // ask which one it chose.
        let server = start_server(handle_echo, "127.0.0.1", 0).await?;
        let port = server.sockets()[0].port();
        let port = port.expect("a server on an internet address has a port");

        // While the client waits for its answer, the loop runs the handler.
        tcp_echo_client(port, "Hello World!").await?;

        // No more clients; and the one that we had is gone when this returns.
        server.close();
        server.wait_closed().await;
        Ok(())
    })
}

/// The server's half. The loop runs it as a task of its own for each client.
async fn handle_echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    // Waits until something has come: at most 100 bytes of it.
    let data = reader.read(100).await?;
    println!("server: Received {}", quoted(&data));

    // Writing never waits. `drain` does, if a slow client leaves too much unsent.
    println!("server: Send: {}", quoted(&data));
    writer.write(&data);
    writer.drain().await?;

    println!("server: Close the connection");
    writer.close();
    writer.wait_closed().await
}

/// The client's half.
async fn tcp_echo_client(port: u16, message: &str) -> io::Result<()> {
    let (mut reader, writer) = open_connection("127.0.0.1", port).await?;

    println!("client: Send: {}", quoted(message.as_bytes()));
    writer.write(message);
    writer.drain().await?;

    let data = reader.read(100).await?;
    println!("client: Received: {}", quoted(&data));

    println!("client: Close the connection");
    writer.close();
    writer.wait_closed().await
}
