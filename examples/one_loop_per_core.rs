//! Run with `cargo run --example one_loop_per_core`, and then `nc 127.0.0.1 8888` in other
//! terminals: each line comes back. There is a thread and a loop for each processor; Enter,
//! here, or the end of the input, stops them all. With two processors and three clients,
//! this appears:
//!
//! ```text
//! Serving on 127.0.0.1:8888 with 2 loops
//! loop 0 served 1
//! loop 1 served 2
//! ```
//!
//! Another address can be given, and after it another number of loops:
//! `cargo run --example one_loop_per_core -- 127.0.0.1:8888 4`.
//!
//! Python: none of the documented programs. There it takes processes, since threads share an
//! interpreter.

use std::cell::Cell;
use std::env;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use millstream::{StreamReader, StreamWriter, open_connection_sock, run, start_server};

/// How long clients have to come to an end by themselves when the server stops.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut address = match arguments.next() {
        Some(address) => parse(&address, "an address and a port")?,
        None => SocketAddr::from(([127, 0, 0, 1], 8888)),
    };
    let loops = match arguments.next() {
        Some(number) => parse(&number, "a number of loops")?,
        None => thread::available_parallelism()?.get(),
    };

    // Nothing is ever sent here: the end of this stream says that it is time to stop. Each
    // loop gets a copy of the end that reads, and all of them see the end at once.
    let (stop, stopped) = UnixStream::pair()?;

    let (mut threads, mut serving) = (Vec::new(), 0);
    for number in 0..loops {
        let stopped = stopped.try_clone()?;
        let (tell, told) = channel();
        let named = thread::Builder::new().name(format!("loop-{number}"));
        // What is on a loop stays on its thread: the loops share nothing but the port.
        threads.push(named.spawn(move || run(serve(address, tell, stopped)))?);
        let Ok(bound) = told.recv() else {
            break; // it failed before it served: joining it, below, tells why
        };
        // Port 0 has the first loop choose one, and the others follow.
        address = bound;
        serving += 1;
    }
    if serving == loops {
        println!("Serving on {address} with {loops} loops");
        io::stdin().read_line(&mut String::new())?;
    }

    drop(stop);
    for (number, thread) in threads.into_iter().enumerate() {
        let served = thread
            .join()
            .map_err(|_| io::Error::other(format!("loop {number} panicked")))??;
        println!("loop {number} served {served}");
    }
    Ok(())
}

/// One loop's part: a server of its own on the port of all.
async fn serve(
    address: SocketAddr,
    tell: Sender<SocketAddr>,
    stopped: UnixStream,
) -> io::Result<usize> {
    let served = Rc::new(Cell::new(0));
    let count = served.clone();
    let handler = async move |reader, writer| {
        count.set(count.get() + 1);
        echo(reader, writer).await
    };
    // With `reuse_port`, the kernel hands each new connection to one of the sockets that
    // listen on the port. It chooses by the addresses, not by who has time: a few
    // connections may be shared out unevenly, and stay where they are.
    let server = start_server(handler, address.ip(), address.port())
        .reuse_port(true)
        .backlog(1024)
        .await?;
    let bound = server.sockets()[0].as_inet();
    // The receiver is there: it waits for this, or for our end.
    let _ = tell.send(bound.expect("it serves on an internet address"));

    let (mut stopped, _writer) = open_connection_sock(stopped).await?;
    stopped.read_all().await?;

    // No new clients; those that are here have until `GRACE` is over.
    server.shutdown(GRACE).await;
    Ok(served.get())
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    writer.aclose().await
}

fn parse<T: std::str::FromStr>(text: &str, wanted: &str) -> io::Result<T> {
    text.parse().map_err(|_| {
        let message = format!("{text:?} is not {wanted}");
        io::Error::new(ErrorKind::InvalidInput, message)
    })
}
