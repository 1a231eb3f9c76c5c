//! How many bytes of memory an idle connection costs, at ten thousand of them.
//!
//! `cargo bench --bench idle_memory`
//!
//! For each row a process of its own serves; another one, started by it, connects and
//! says nothing. What is printed is how much the serving process's resident memory grew,
//! divided by the number of connections: the kernel's own memory for the sockets is not
//! in it.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Protocol, Server, StreamReader, StreamWriter, Transport, get_running_loop, run, sleep,
    start_server,
};

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
        [_, role, count] if role == "serve-protocol" => serve(Kind::Protocol, count),
        _ => serve_each(),
    }
}

fn serve_each() -> io::Result<()> {
    let connections = CONNECTIONS.min(descriptors_allowed().saturating_sub(200));
    println!("{connections} idle connections, bytes of resident memory for each:");
    for role in ["serve-streams", "serve-protocol"] {
        Command::new(env::current_exe()?)
            .args([role, &connections.to_string()])
            .status()?;
    }
    Ok(())
}

enum Kind {
    Streams,
    Protocol,
}

fn serve(kind: Kind, connections: &str) -> io::Result<()> {
    let connections: usize = connections.parse().map_err(io::Error::other)?;
    run(async move {
        let (what, server) = match kind {
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
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    writer.aclose().await
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
    let warm = Clients::start(address, WARM_UP)?;
    wait_for(&server, WARM_UP).await;
    let before = resident_bytes()?;
    let clients = Clients::start(address, connections)?;
    wait_for(&server, WARM_UP + connections).await;
    let after = resident_bytes()?;
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

/// A process that connects, and holds its connections until it is told to end.
struct Clients(Child);

impl Clients {
    fn start(address: SocketAddr, count: usize) -> io::Result<Clients> {
        let child = Command::new(env::current_exe()?)
            .args(["connect", &address.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Clients(child))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("the clients did not end: {error}");
        }
    }
}

fn connect(address: &str, count: &str) -> io::Result<()> {
    let count: usize = count.parse().map_err(io::Error::other)?;
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(TcpStream::connect(address)?);
    }
    io::stdin().read_to_end(&mut Vec::new())?;
    io::stdout().flush()
}

fn resident_bytes() -> io::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("no VmRSS in /proc/self/status: this needs Linux"))?;
    Ok(kib * 1024)
}

/// The soft limit on open descriptors.
fn descriptors_allowed() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(1024)
}
