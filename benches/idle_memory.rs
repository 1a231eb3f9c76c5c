//! How many bytes of memory an idle connection costs, at ten thousand of them.
//!
//! `cargo bench --bench idle_memory`
//!
//! For each row a process of its own serves; another one, started by it, connects and
//! says nothing. What is printed is how much the serving process's resident memory grew,
//! divided by the number of connections: the kernel's own memory for the sockets is not
//! in it.

mod support;

use std::env;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Protocol, Server, StreamReader, StreamWriter, Transport, get_running_loop, run, sleep,
    start_server,
};
use support::{Part, as_many_as_allowed, resident_bytes, this_program, wait_for_the_end};

/// Connections that are open at once; fewer if the limit on descriptors is lower.
const CONNECTIONS: usize = 10_000;

/// Connections that are made first and kept, so that tables and pools have grown before
/// the first measurement.
const WARM_UP: usize = 100;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    match &arguments[..] {
        [_, role, address, count] if role == "connect" => connect(address, count),
        [_, role, count] if role == "serve-streams" => serve(Kind::Streams, count),
        [_, role, count] if role == "serve-a-loop" => serve(Kind::Loop, count),
        [_, role, count] if role == "serve-lent-lines" => serve(Kind::LentLines, count),
        [_, role, count] if role == "serve-protocol" => serve(Kind::Protocol, count),
        _ => serve_each(),
    }
}

fn serve_each() -> io::Result<()> {
    let connections = as_many_as_allowed(CONNECTIONS);
    println!("{connections} idle connections, bytes of resident memory for each:");
    for role in [
        "serve-streams",
        "serve-a-loop",
        "serve-lent-lines",
        "serve-protocol",
    ] {
        this_program(&[role, &connections.to_string()])?.status()?;
    }
    Ok(())
}

enum Kind {
    Streams,
    Loop,
    LentLines,
    Protocol,
}

fn serve(kind: Kind, connections: &str) -> io::Result<()> {
    let connections: usize = connections.parse().map_err(io::Error::other)?;
    run(async move {
        let (what, server) = match kind {
            Kind::Loop => (
                "streams, with a task that loops over next_line",
                start_server(loop_over_lines, "127.0.0.1", 0)
                    .backlog(4096)
                    .await?,
            ),
            Kind::LentLines => (
                "streams, with a task that waits in readline_ref",
                start_server(wait_for_a_lent_line, "127.0.0.1", 0)
                    .backlog(4096)
                    .await?,
            ),
            Kind::Streams => (
                "streams, with a task that waits in readline",
                start_server(wait_for_a_line, "127.0.0.1", 0)
                    .backlog(4096)
                    .await?,
            ),
            Kind::Protocol => (
                "a protocol",
                get_running_loop()?
                    .create_server(|| Silent, "127.0.0.1", 0)
                    .backlog(4096)
                    .await?,
            ),
        };
        measure(what, server, connections).await
    })
}

async fn wait_for_a_line(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.readline().await?;
        if line.is_empty() {
            return writer.aclose().await;
        }
        writer.write(line);
        writer.drain().await?;
    }
}

/// As it is commonly written. While `drain` waits, the task has room for what the loop is over.
async fn loop_over_lines(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    writer.aclose().await
}

/// As somebody writes it who has an eye on memory: a line that is lent is gone when the
/// task waits, so that it has no room for one.
async fn wait_for_a_lent_line(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.readline_ref().await?;
        if line.is_empty() {
            return writer.aclose().await;
        }
        writer.write(line);
        writer.drain().await?;
    }
}

struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        transport.write(data);
    }
}

async fn measure(what: &str, server: Server, connections: usize) -> io::Result<()> {
    let address = server.sockets()[0]
        .as_inet()
        .ok_or(io::ErrorKind::NotFound)?;
    let warm = start_clients(address, WARM_UP)?;
    wait_for(&server, WARM_UP).await;
    let before = resident_bytes("self")?;
    let clients = start_clients(address, connections)?;
    wait_for(&server, WARM_UP + connections).await;
    let after = resident_bytes("self")?;
    let each = after.saturating_sub(before) / connections;
    println!("{each:6}  {what}");
    drop((warm, clients));
    wait_for(&server, 0).await;
    server.close();
    Ok(())
}

async fn wait_for(server: &Server, connections: usize) {
    while server.connection_count() != connections {
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(100)).await; // handlers have begun to wait
}

/// Starts a process that connects, and holds its connections until it is told to end.
fn start_clients(address: SocketAddr, count: usize) -> io::Result<Part> {
    Part::start(&["connect", &address.to_string(), &count.to_string()])
}

fn connect(address: &str, count: &str) -> io::Result<()> {
    let count: usize = count.parse().map_err(io::Error::other)?;
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(TcpStream::connect(address)?);
    }
    wait_for_the_end()
}
