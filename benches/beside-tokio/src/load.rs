//! The load: clients that cost less than what they measure.
//!
//! ```text
//!   ping-pong   read the answer of connection 0, send the next request; of connection 1; …
//!               (blocking sockets: two system calls a message, no poller)
//!   open loop   in a file of its own
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a server can be reached.
#[derive(Debug, Clone)]
pub enum Target {
    /// At an internet address.
    Tcp(SocketAddr),
    /// At a path.
    Unix(PathBuf),
}

/// A client's connection.
#[derive(Debug)]
pub enum Connection {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix-domain socket.
    Unix(UnixStream),
}

impl Target {
    /// Connects; a server that says nothing, or hears nothing, for half a minute fails the measurement.
    pub fn connect(&self) -> io::Result<Connection> {
        let patience = Some(Duration::from_secs(30));
        Ok(match self {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)?;
                Connection::Tcp(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)?;
                Connection::Unix(stream)
            }
        })
    }
}

impl Connection {
    fn finish_sending(&self) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Connection::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Has reads return at once, with [`io::ErrorKind::WouldBlock`] if nothing is there.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.set_nonblocking(true),
            Connection::Unix(stream) => stream.set_nonblocking(true),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For how long a load runs.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// For so long.
    Elapsed(Duration),
    /// For so many operations, at the least.
    Operations(u64),
}

impl Until {
    fn is_reached(self, began: Instant, operations: u64) -> bool {
        match self {
            Until::Elapsed(duration) => began.elapsed() >= duration,
            Until::Operations(wanted) => operations >= wanted,
        }
    }
}

/// What a load has done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Messages, lines, connections or bytes.
    pub operations: u64,
    /// In how long.
    pub elapsed: Duration,
}

/// Opens connections, and has each echo `request` once, so that all are accepted, and each
/// is known to answer right.
pub fn warm_up(target: &Target, connections: usize, request: &[u8]) -> io::Result<Vec<Connection>> {
    let mut opened = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = target.connect()?;
        connection.write_all(request)?;
        opened.push(connection);
    }
    let mut answer = vec![0; request.len()];
    for connection in &mut opened {
        connection.read_exact(&mut answer)?;
        if answer != request {
            return Err(io::Error::other("the server echoes something else"));
        }
    }
    Ok(opened)
}

/// Has each connection echo `request` again and again; each has one request under way, and
/// none when this returns. Counts requests times `weight` (a burst of lines counts its lines).
pub fn ping_pong(
    connections: &mut [Connection],
    request: &[u8],
    weight: u64,
    until: Until,
) -> io::Result<Done> {
    let mut answer = vec![0; request.len()];
    let began = Instant::now();
    let mut operations = 0;
    for connection in &mut *connections {
        connection.write_all(request)?;
    }
    let mut under_way = connections.len();
    let mut is_over = false;
    while under_way > 0 {
        for connection in &mut *connections {
            connection.read_exact(&mut answer)?;
            operations += weight;
            // The clock is not read for each message.
            is_over |= operations % 32 < weight && until.is_reached(began, operations);
            match is_over {
                true => under_way -= 1,
                false => connection.write_all(request)?,
            }
            if under_way == 0 {
                break;
            }
        }
    }
    Ok(Done {
        operations,
        elapsed: began.elapsed(),
    })
}

/// Connects, has `request` echoed, and closes, again and again.
pub fn connect_echo_close(target: &Target, request: &[u8], until: Until) -> io::Result<Done> {
    let mut answer = vec![0; request.len()];
    let began = Instant::now();
    let mut operations = 0;
    while !until.is_reached(began, operations) {
        let mut connection = target.connect()?;
        connection.write_all(request)?;
        connection.read_exact(&mut answer)?;
        operations += 1;
    }
    Ok(Done {
        operations,
        elapsed: began.elapsed(),
    })
}

/// Sends chunks to a sink, and holds it to having counted them all. Counts bytes.
pub fn fill_sink(target: &Target, until: Until) -> io::Result<Done> {
    let chunk = vec![b'x'; 64 * 1024];
    let mut connection = target.connect()?;
    let began = Instant::now();
    let mut sent = 0;
    while !until.is_reached(began, sent) {
        connection.write_all(&chunk)?;
        sent += chunk.len() as u64;
    }
    connection.finish_sending()?;
    let mut counted = String::new();
    connection.read_to_string(&mut counted)?;
    if counted != sent.to_string() {
        let message = format!("the sink counted {counted:?} of {sent} bytes");
        return Err(io::Error::other(message));
    }
    Ok(Done {
        operations: sent,
        elapsed: began.elapsed(),
    })
}

/// Reads from a source. Counts bytes.
pub fn drain_source(target: &Target, until: Until) -> io::Result<Done> {
    let mut buffer = vec![0; 256 * 1024];
    let mut connection = target.connect()?;
    let began = Instant::now();
    let mut received = 0;
    while !until.is_reached(began, received) {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Err(io::Error::other("the source has ended"));
        }
        received += count as u64;
    }
    Ok(Done {
        operations: received,
        elapsed: began.elapsed(),
    })
}
