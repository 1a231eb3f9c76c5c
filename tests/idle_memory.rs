//! What an idle connection costs is counted, so that what makes it dearer shows.
//!
//! The allocator of this test program counts the bytes that were asked for, for each thread
//! apart: the same on every run. What an allocator adds for itself, and what is resident,
//! `cargo bench --bench idle_memory` measures.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use allocation_counter::measure;
use millstream::{
    EventLoop, Protocol, Server, StreamReader, StreamWriter, Transport, start_server,
};

/// Connections that are there before it is counted, and those that are counted.
///
/// 250: with those before them they fill a table of 512 slots, which doubles once meanwhile:
/// what it grows by is what they take.
const CONNECTIONS: usize = 250;

/// Bytes that a connection with streams may take, whose task waits for a line.
const WITH_STREAMS: usize = 684;

/// Bytes that a connection with a protocol may take.
const WITH_PROTOCOL: usize = 250;

/// Bytes that the poller takes for a connection in our memory: poll(2) asks for a list each time,
/// the others keep theirs in the kernel.
const POLLER: usize = if cfg!(mio_unsupported_force_poll_poll) {
    160
} else {
    0
};

/// One after the other: a loop's table of descriptors is as long as their largest number, and
/// the process has them in common.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn an_idle_connection_with_streams_takes_few_bytes() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let server = event_loop.create_task(async { start_server(echo_lines, "127.0.0.1", 0).await });
    let server = event_loop.run_until_complete(server)???;
    assert_at_most(WITH_STREAMS + POLLER, &event_loop, &server)
}

#[test]
fn an_idle_connection_with_a_protocol_takes_few_bytes() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let server = event_loop.create_server(|| Echo, "127.0.0.1", 0);
    let server = event_loop.run_until_complete(server)??;
    assert_at_most(WITH_PROTOCOL + POLLER, &event_loop, &server)
}

async fn echo_lines(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    writer.aclose().await
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        transport.write(data);
    }
}

#[track_caller]
fn assert_at_most(bytes: usize, event_loop: &EventLoop, server: &Server) -> io::Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let address = server.sockets()[0].as_inet().expect("it listens on TCP");
    let mut clients = Vec::with_capacity(2 * CONNECTIONS);
    connect(&mut clients, address, event_loop, server)?;
    let mut connected = Ok(());
    let counted = measure(|| connected = connect(&mut clients, address, event_loop, server));
    connected?;
    let each = usize::try_from(counted.bytes_current).unwrap_or(0) / CONNECTIONS;
    println!("{each} bytes for each");
    assert!(each > 0, "nothing was counted");
    assert!(
        each <= bytes,
        "{each} bytes for each connection: more than {bytes}"
    );
    Ok(())
}

/// Connects some more clients, and has the loop turn until they are served and idle.
fn connect(
    clients: &mut Vec<TcpStream>,
    address: SocketAddr,
    event_loop: &EventLoop,
    server: &Server,
) -> io::Result<()> {
    let all = clients.len() + CONNECTIONS;
    while clients.len() < all {
        clients.push(TcpStream::connect(address)?);
        while server.connection_count() < clients.len() {
            event_loop.turn(Some(Duration::from_millis(10)))?;
        }
    }
    while event_loop.turn(Some(Duration::ZERO))? == Some(Duration::ZERO) {}
    Ok(())
}
