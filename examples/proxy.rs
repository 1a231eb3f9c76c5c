//! Run with `cargo run --example proxy`, while `cargo run --example echo_server --
//! 127.0.0.1:9999` runs in another terminal, and then `cargo run --example echo_client` in a
//! third. Once more when the echo server is gone, and then Enter, here: these lines appear.
//!
//! ```text
//! Serving on ('127.0.0.1', 8888)
//! client 1 came
//! client 1 left: 12 bytes up, 12 bytes down
//! client 2 came
//! client 2 was sent away: connection refused
//! Closing: 0 finished, 0 closed, 0 aborted
//! ```
//!
//! Another address to serve on can be given, and another to pass everything on to:
//! `cargo run --example proxy -- 127.0.0.1:8888 127.0.0.1:9999`. Enter, or the end of the
//! input, ends the program.
//!
//! Python: none of the documented programs; it takes two loops of `read`, `write` and
//! `drain` there.

mod python_style;

use std::cell::Cell;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use millstream::{
    StreamReader, StreamWriter, copy_bidirectional, get_running_loop, open_connection, run,
    start_server, timeout,
};
use python_style::tuple;

/// Clients that are served at once. Each takes two descriptors, so that this is to be less
/// than half of what `ulimit -n` says.
///
/// Those who come beyond wait in the system's queue until somebody leaves. They cost us
/// nothing there, and are not refused.
const MAX_CLIENTS: usize = 400;

/// How long the upstream may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// How long the clients have when the proxy is to end.
const GRACE: Duration = Duration::from_secs(2);

type Stream = (StreamReader, StreamWriter);

// One task for each client. Bytes are bytes here: nobody looks for lines, and none of them
// is kept longer than it takes to send it.
async fn pass_on(
    upstream: SocketAddr,
    client: u64,
    mut reader: StreamReader,
    writer: StreamWriter,
) {
    println!("client {client} came");

    // Meanwhile, what the client sends waits in its reader.
    let (mut up_reader, up_writer) = match connect(upstream).await {
        Ok(stream) => stream,
        Err(error) => {
            println!("client {client} was sent away: {}", error.kind());
            return; // the writer is dropped, which closes the connection
        }
    };

    // Until both have said that no more comes. Who has said so may still be answered: the
    // end of one direction is passed on, and the other goes on. Who reads slowly slows
    // down the other, and fills no memory here.
    let copied = copy_bidirectional((&mut reader, &writer), (&mut up_reader, &up_writer)).await;
    match copied {
        // All is sent, and both writers are dropped.
        Ok((up, down)) => println!("client {client} left: {up} bytes up, {down} bytes down"),
        Err(lost) => {
            let (up, down) = (lost.a_to_b, lost.b_to_a);
            println!("client {client} was lost: {up} bytes up, {down} bytes down");
            // One of them is gone. What the other has not got by now is of no use to it; and
            // dropping the writers would wait for it to take it, for ever perhaps.
            writer.transport().abort();
            up_writer.transport().abort();
        }
    }
}

async fn connect(upstream: SocketAddr) -> io::Result<Stream> {
    // The first `?` is for the time, and what is returned says how connecting went.
    timeout(
        CONNECT_PATIENCE,
        open_connection(upstream.ip(), upstream.port()),
    )
    .await?
}

async fn serve(address: SocketAddr, upstream: SocketAddr) -> io::Result<()> {
    let clients = Cell::new(0);
    let handle_client = async move |reader, writer| {
        clients.set(clients.get() + 1);
        pass_on(upstream, clients.get(), reader, writer).await
    };
    let server = start_server(handle_client, address.ip(), address.port())
        .max_connections(MAX_CLIENTS)
        // A client whose machine was switched off says nothing any more, not even that. The
        // system asks it from time to time, and without an answer the connection is lost.
        .keep_alive(true)
        .await?;

    let addrs: Vec<String> = server.sockets().iter().map(tuple).collect();
    println!("Serving on {}", addrs.join(", "));

    // Reading the terminal blocks, so a thread of the loop's does it; here we wait.
    let enter = || io::stdin().read_line(&mut String::new());
    get_running_loop()?.run_in_executor(enter).await??;

    // No new clients; those that are here have until `GRACE` is over. Then they are closed,
    // and a handler whose upstream has more to say all the same is cancelled.
    let stopped = server.shutdown(GRACE).await;
    println!(
        "Closing: {} finished, {} closed, {} aborted",
        stopped.finished, stopped.closed, stopped.aborted
    );
    Ok(())
}

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8888".to_owned());
    let upstream = arguments.next().unwrap_or("127.0.0.1:9999".to_owned());

    let address = address.parse().map_err(io::Error::other)?;
    let upstream = upstream.parse().map_err(io::Error::other)?;
    run(serve(address, upstream))
}
