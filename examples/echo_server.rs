//! Run with `cargo run --example echo_server`, and then `cargo run --example echo_client`
//! in another terminal. The first line appears at once, and the other three for each
//! client, with the client's own port:
//!
//! ```text
//! Serving on ('127.0.0.1', 8888)
//! Received 'Hello World!' from ('127.0.0.1', 50312)
//! Send: 'Hello World!'
//! Close the connection
//! ```
//!
//! Another address can be given, and port 0 lets the system choose a free one:
//! `cargo run --example echo_server -- 127.0.0.1:0`. Ctrl-C ends the program: at once, or, with
//! `--features signals`, after the connections of its clients were closed.
//!
//! Python: "TCP echo server using streams".

mod python_style;

use std::env;
use std::io;
use std::net::SocketAddr;

use millstream::{Interrupted, PeerName, StreamReader, StreamWriter, run, start_server};
use python_style::{quoted, tuple};

// The loop runs this as a task of its own for each client, so that while it waits for one
// of them, the others are served. An error ends this client's task only; the loop reports
// it, and closes the connection.
async fn handle_echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let data = reader.read(100).await?;
    let message = quoted(&data);

    // The key says what is asked for, and its type what the answer is: an address here.
    // `None` would mean that the client was gone before we could ask.
    let addr = writer.get_extra_info(PeerName);
    let addr = addr.as_ref().map_or("None".to_owned(), tuple);

    println!("Received {message} from {addr}");

    println!("Send: {message}");
    writer.write(&data);
    writer.drain().await?;

    println!("Close the connection");
    writer.close();
    writer.wait_closed().await
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let server = start_server(handle_echo, address.ip(), address.port()).await?;

    // One address here; a host such as "localhost" may have several.
    let addrs: Vec<String> = server.sockets().iter().map(tuple).collect();
    println!("Serving on {}", addrs.join(", "));

    // Python says `async with server` around this. Here the server closes when its last
    // handle is dropped, which is at the end of this function.
    server.serve_forever().await
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8888".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    match run(serve(address)) {
        Err(error) if Interrupted::is(&error) => {
            println!("Interrupted");
            Ok(())
        }
        ended => ended,
    }
}
