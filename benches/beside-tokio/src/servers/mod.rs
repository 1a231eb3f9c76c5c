//! The servers: each candidate as somebody who knows it well would write it.
//!
//! ```text
//!   `streams serve CANDIDATE WORKLOAD PLACE` ─► one process, one thread ─► prints its address
//! ```

mod bare_mio;
mod by_millstream;
#[cfg(target_os = "linux")]
mod by_monoio;
mod by_smol;
mod by_tokio;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use by_millstream::Reads;
use by_tokio::Manner;

/// Bytes that a candidate reads at the most at once, where the buffer is its user's.
///
/// 16 KiB: the largest message of a ping-pong fits.
pub const READ_BUFFER: usize = 16 * 1024;

/// Bytes that a source offers at once.
pub const CHUNK: usize = 64 * 1024;

/// For how long the candidate that spins does so before it sleeps: longer than a client
/// takes to answer.
const SPIN: Duration = Duration::from_millis(1);

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// millstream with `StreamReader` and `StreamWriter`, as its documentation has it.
    Streams,
    /// millstream with the reads that lend.
    StreamsLending,
    /// millstream with streams that read into one buffer for each connection.
    StreamsInto,
    /// millstream with streams, on a loop that asks the poller for a while before it sleeps.
    StreamsSpinning,
    /// millstream with a `Protocol`.
    Protocol,
    /// millstream with a `Protocol` whose writes leave at once.
    Immediate,
    /// Tokio's current-thread runtime.
    Tokio,
    /// Tokio's, and what it writes through a `BufWriter`.
    TokioBuffered,
    /// Tokio's, with one receive buffer for all connections.
    TokioShared,
    /// Tokio's `LocalRuntime`.
    TokioLocal,
    /// mio and a slab, no more.
    Mio,
    /// smol's executor on one thread.
    Smol,
    /// monoio on epoll.
    Monoio,
    /// CPython's asyncio.
    Asyncio,
    /// CPython's asyncio on uvloop.
    Uvloop,
}

const NAMES: [(Candidate, &str); 15] = [
    (Candidate::Streams, "millstream"),
    (Candidate::StreamsLending, "millstream-lending"),
    (Candidate::StreamsInto, "millstream-into"),
    (Candidate::StreamsSpinning, "millstream-spinning"),
    (Candidate::Protocol, "millstream-protocol"),
    (Candidate::Immediate, "millstream-immediate"),
    (Candidate::Tokio, "tokio"),
    (Candidate::TokioBuffered, "tokio-bufwriter"),
    (Candidate::TokioShared, "tokio-shared"),
    (Candidate::TokioLocal, "tokio-local"),
    (Candidate::Mio, "mio"),
    (Candidate::Smol, "smol"),
    (Candidate::Monoio, "monoio"),
    (Candidate::Asyncio, "asyncio"),
    (Candidate::Uvloop, "uvloop"),
];

impl Candidate {
    /// What it is called in the tables and on the command line.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(candidate, _)| *candidate == self)
            .map_or("?", |(_, name)| name)
    }

    /// Says whether this machine has what it needs.
    pub fn is_here(self) -> bool {
        let imports = |module: &str| {
            let found = Command::new("python3")
                .args(["-c", &format!("import {module}")])
                .output();
            found.is_ok_and(|output| output.status.success())
        };
        match self {
            Candidate::Asyncio => imports("asyncio"),
            Candidate::Uvloop => imports("uvloop"),
            Candidate::Monoio => cfg!(target_os = "linux"),
            _ => true,
        }
    }
}

impl FromStr for Candidate {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Candidate> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(candidate, _)| *candidate)
            .ok_or_else(|| io::Error::other(format!("{text:?} is no candidate")))
    }
}

/// What a server does for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Sends back what comes.
    Echo,
    /// Reads line by line, and sends back each line.
    Lines,
    /// Reads everything, then says how many bytes it was, in decimal.
    Sink,
    /// Sends for as long as it can.
    Source,
}

const WORKLOADS: [(Workload, &str); 4] = [
    (Workload::Echo, "echo"),
    (Workload::Lines, "lines"),
    (Workload::Sink, "sink"),
    (Workload::Source, "source"),
];

impl Workload {
    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        WORKLOADS
            .iter()
            .find(|(workload, _)| *workload == self)
            .map_or("?", |(_, name)| name)
    }
}

impl FromStr for Workload {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Workload> {
        WORKLOADS
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(workload, _)| *workload)
            .ok_or_else(|| io::Error::other(format!("{text:?} is no workload")))
    }
}

/// Where a server serves: a port of the loopback, or a path.
#[derive(Debug, Clone)]
pub enum Place {
    /// On 127.0.0.1, on a port that the system chooses.
    Tcp,
    /// On a Unix-domain socket.
    Unix(PathBuf),
}

/// Serves until the process is killed.
pub fn serve(candidate: Candidate, workload: Workload, place: Place) -> io::Result<()> {
    match candidate {
        Candidate::Streams => by_millstream::streams(workload, place, Reads::Owned, Duration::ZERO),
        Candidate::StreamsSpinning => by_millstream::streams(workload, place, Reads::Owned, SPIN),
        Candidate::StreamsLending => {
            by_millstream::streams(workload, place, Reads::Lent, Duration::ZERO)
        }
        Candidate::StreamsInto => {
            by_millstream::streams(workload, place, Reads::Into, Duration::ZERO)
        }
        Candidate::Protocol => by_millstream::protocols(place, false),
        Candidate::Immediate => by_millstream::protocols(place, true),
        Candidate::Tokio => by_tokio::serve(workload, place, Manner::Plain),
        Candidate::TokioBuffered => by_tokio::serve(workload, place, Manner::Buffered),
        Candidate::TokioShared => by_tokio::serve(workload, place, Manner::Shared),
        Candidate::TokioLocal => by_tokio::serve(workload, place, Manner::Local),
        Candidate::Mio => bare_mio::serve(place),
        Candidate::Smol => by_smol::serve(workload, place),
        #[cfg(target_os = "linux")]
        Candidate::Monoio => by_monoio::serve(place),
        Candidate::Asyncio => by_python("asyncio", workload, place),
        Candidate::Uvloop => by_python("uvloop", workload, place),
        #[cfg(not(target_os = "linux"))]
        Candidate::Monoio => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Tells the one who started this process where to connect.
pub(crate) fn announce(address: SocketAddr) {
    println!("{address}");
}

/// Tells the one who started this process that the path is there.
pub(crate) fn announce_path(path: &std::path::Path) {
    println!("{}", path.display());
}

fn by_python(flavour: &str, workload: Workload, place: Place) -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("python3");
    command
        .args(["-c", include_str!("by_python.py"), flavour])
        .arg(workload.name());
    if let Place::Unix(path) = place {
        command.arg(path);
    }
    Err(command.exec())
}
