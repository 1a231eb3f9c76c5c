//! What is measured: a load, and who answers it.

use std::time::Duration;

use beside_tokio::load::Until;
use beside_tokio::servers::{Candidate, Workload};

/// A line of 32 bytes, its newline among them.
pub const LINE: &[u8; 32] = b"the mill turns, and turns again\n";

/// Lines of a burst.
pub const BURST: usize = 64;

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// So many connections have a message of so many bytes echoed.
    PingPong {
        /// How many.
        connections: usize,
        /// How long a message is.
        bytes: usize,
    },
    /// Connections send bursts of lines and read them back.
    Bursts {
        /// How many.
        connections: usize,
    },
    /// One connection after the other.
    ConnectEchoClose,
    /// One connection sends what it can.
    Sink,
    /// One connection receives what it can.
    Source,
}

/// A load, and the candidates that it is put on.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// The table it belongs to.
    pub group: &'static str,
    /// What tells it from the others of the table.
    pub name: &'static str,
    /// What the clients do.
    pub load: Load,
    /// What the servers do.
    pub workload: Workload,
    /// Whether they meet at a path instead of a port.
    pub over_unix: bool,
    /// Who serves. The first is the one whom the others are compared with.
    pub candidates: &'static [Candidate],
    /// Times the rounds asked for: what is noisy takes more of them.
    pub patience: usize,
}

impl Scenario {
    /// What an operation is, and how many counted things make one: bytes are counted,
    /// and MiB are told.
    pub fn operation(&self) -> (&'static str, f64) {
        match self.load {
            Load::PingPong { .. } => ("message", 1.0),
            Load::Bursts { .. } => ("line", 1.0),
            Load::ConnectEchoClose => ("connection", 1.0),
            Load::Sink | Load::Source => ("MiB", f64::from(1 << 20)),
        }
    }

    /// Two lengths of a load: system calls are those of the longer less those of the
    /// shorter, so that starting and stopping do not count.
    pub fn lengths_to_count(&self) -> [Until; 2] {
        let (few, many) = match self.load {
            Load::Sink | Load::Source => (16 << 20, 256 << 20),
            Load::Bursts { .. } => (64_000, 640_000),
            Load::ConnectEchoClose => (200, 2_000),
            Load::PingPong { connections, .. } => {
                (2_000.max(connections), 10 * 2_000.max(connections))
            }
        };
        [few, many].map(|count| Until::Operations(count as u64))
    }

    /// How long a load lasts that is timed.
    pub fn length_to_time(&self, seconds: f64) -> Until {
        Until::Elapsed(Duration::from_secs_f64(seconds))
    }
}

const ECHOERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::Immediate,
    Candidate::TokioShared,
    Candidate::TokioLocal,
    Candidate::Mio,
    Candidate::Smol,
    Candidate::Monoio,
    Candidate::Asyncio,
    Candidate::Uvloop,
];

/// Fewer than over TCP: how the others differ doesn't depend on the socket.
const OVER_UNIX: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::Mio,
    Candidate::Smol,
    Candidate::Monoio,
    Candidate::Asyncio,
    Candidate::Uvloop,
];

const LINE_READERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::TokioBuffered,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Smol,
    Candidate::Asyncio,
    Candidate::Uvloop,
];

const MOVERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::Smol,
    Candidate::Asyncio,
    Candidate::Uvloop,
];

/// One connection, which the loop that spins awaits without falling asleep.
const SPINNERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsSpinning,
    Candidate::Mio,
];

/// Those that ten thousand busy connections are put on.
pub const CROWDED: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::TokioShared,
    Candidate::Mio,
];

/// All scenarios in which candidates take turns under one load.
pub fn scenarios() -> Vec<Scenario> {
    let echo = |name, connections, bytes| Scenario {
        group: "echo",
        name,
        load: Load::PingPong { connections, bytes },
        workload: Workload::Echo,
        over_unix: false,
        candidates: ECHOERS,
        patience: 1,
    };
    let moves = |group, name, load, workload| Scenario {
        group,
        name,
        load,
        workload,
        over_unix: false,
        candidates: MOVERS,
        patience: 2,
    };
    vec![
        echo("64 B, 1 connection", 1, 64),
        echo("64 B, 50 connections", 50, 64),
        echo("64 B, 1000 connections", 1000, 64),
        echo("16 KiB, 50 connections", 50, 16 * 1024),
        Scenario {
            over_unix: true,
            candidates: OVER_UNIX,
            ..echo("64 B over Unix sockets, 50 connections", 50, 64)
        },
        Scenario {
            group: "pipelined lines",
            workload: Workload::Lines,
            candidates: LINE_READERS,
            load: Load::Bursts { connections: 50 },
            ..echo("32 B in bursts of 64, 50 connections", 50, 64)
        },
        moves("bulk", "to a sink", Load::Sink, Workload::Sink),
        moves("bulk", "from a source", Load::Source, Workload::Source),
        Scenario {
            candidates: ECHOERS,
            ..moves(
                "connections",
                "connect, echo, close",
                Load::ConnectEchoClose,
                Workload::Echo,
            )
        },
        Scenario {
            group: "busy polling",
            candidates: SPINNERS,
            ..echo("64 B, 1 connection", 1, 64)
        },
        Scenario {
            group: "growth",
            candidates: CROWDED,
            ..echo("64 B, 10000 busy connections", 10_000, 64)
        },
    ]
}
