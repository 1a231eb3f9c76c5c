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
    /// How many of them, the first ones, take part in each round: those by whom bars are
    /// judged. The others, who show what else there is, take part now and then.
    pub judged: usize,
    /// Times the rounds asked for: what is noisy takes more of them, what takes long to
    /// set up fewer.
    pub patience: f64,
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

    /// How many slices of a load are timed in a round, and how long one is.
    ///
    /// A slice has each connection answered several times, so that its begin, when all ask
    /// at once, and its end count little.
    pub fn slices(&self, seconds: f64) -> (usize, Until) {
        let least = self.connections() as f64 * 50e-6;
        let slice = least.max(seconds / SLICES as f64);
        let count = (seconds / slice).round().clamp(2.0, SLICES as f64);
        (
            count as usize,
            Until::Elapsed(Duration::from_secs_f64(slice)),
        )
    }

    /// How many rounds it takes, when so many were asked for.
    pub fn rounds(&self, asked: usize) -> usize {
        (asked as f64 * self.patience).round().max(1.0) as usize
    }

    /// Says whether a bar is judged by what the candidate does.
    pub fn is_judged(&self, candidate: Candidate) -> bool {
        self.candidates[..self.judged].contains(&candidate)
    }

    /// How many servers may have all their connections at a time, when this process may
    /// have so many descriptors.
    pub fn servers_at_once(&self, descriptors: usize) -> usize {
        (descriptors / (self.connections() + 10)).max(1)
    }

    fn connections(&self) -> usize {
        match self.load {
            Load::PingPong { connections, .. } | Load::Bursts { connections } => connections,
            Load::ConnectEchoClose | Load::Sink | Load::Source => 1,
        }
    }
}

/// Slices of a load in a round.
const SLICES: usize = 4;

const ECHOERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::StreamsInto,
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

/// Those who send, or receive, what they can: the same, but that there are two ways to receive.
const SINKS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsInto,
    Candidate::Smol,
    Candidate::Asyncio,
    Candidate::Uvloop,
];

const SOURCES: &[Candidate] = &[
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
        judged: 4,
        patience: 1.0,
    };
    let moves = |group, name, load, workload| Scenario {
        group,
        name,
        load,
        workload,
        over_unix: false,
        candidates: SOURCES,
        judged: 2,
        patience: 2.0,
    };
    vec![
        echo("64 B, 1 connection", 1, 64),
        echo("64 B, 50 connections", 50, 64),
        echo("64 B, 1000 connections", 1000, 64),
        Scenario {
            judged: 5,
            ..echo("16 KiB, 50 connections", 50, 16 * 1024)
        },
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
        Scenario {
            candidates: SINKS,
            judged: 3,
            ..moves("bulk", "to a sink", Load::Sink, Workload::Sink)
        },
        moves("bulk", "from a source", Load::Source, Workload::Source),
        Scenario {
            candidates: ECHOERS,
            judged: 4,
            patience: 1.5,
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
            judged: 3,
            ..echo("64 B, 1 connection", 1, 64)
        },
        Scenario {
            group: "growth",
            candidates: CROWDED,
            patience: 0.36,
            ..echo("64 B, 10000 busy connections", 10_000, 64)
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(connections: usize) -> Scenario {
        Scenario {
            load: Load::PingPong {
                connections,
                bytes: 64,
            },
            ..scenarios()[0]
        }
    }

    #[test]
    fn a_slice_has_each_connection_answered_several_times() {
        let slices = |connections, seconds| match echo(connections).slices(seconds) {
            (count, Until::Elapsed(slice)) => (count, slice.as_millis()),
            (count, Until::Operations(_)) => panic!("{count} slices of no length in time"),
        };
        assert_eq!(slices(50, 0.2), (4, 50));
        assert_eq!(slices(1_000, 0.2), (4, 50));
        assert_eq!(slices(1_000, 0.1), (2, 50));
        assert_eq!(slices(10_000, 0.2), (2, 500));
    }

    #[test]
    fn servers_run_at_once_while_there_are_descriptors() {
        assert!(echo(1_000).servers_at_once(20_000) >= 12);
        assert_eq!(echo(10_000).servers_at_once(20_000), 1);
        assert_eq!(echo(10_000).servers_at_once(1_024), 1);
    }

    #[test]
    fn bars_are_judged_by_tokio_and_millstream() {
        for scenario in scenarios() {
            for candidate in [Candidate::Tokio, Candidate::Streams] {
                assert!(scenario.is_judged(candidate), "{}", scenario.name);
            }
        }
        assert!(!echo(1).is_judged(Candidate::Smol));
    }
}
