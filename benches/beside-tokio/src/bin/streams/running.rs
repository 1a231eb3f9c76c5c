//! A candidate's server that runs, and the connections to it.

use std::io;
use std::ops::AddAssign;
use std::time::Duration;

use beside_tokio::load::{self, Connection, Done, Until};
use beside_tokio::process::{Server, Under};
use beside_tokio::servers::Candidate;

use crate::scenarios::{BURST, LINE, Load, Scenario};

/// A server under load.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub server: Server,
    /// Its connections; none, for loads that make their own.
    pub connections: Vec<Connection>,
}

/// What a load cost, or several of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measured {
    operations: f64,
    elapsed: Duration,
    /// The server's processor time.
    took: Duration,
}

impl Measured {
    /// Operations per second.
    pub fn per_second(&self) -> f64 {
        self.operations / self.elapsed.as_secs_f64()
    }

    /// The server's processor time for one operation, in nanoseconds.
    pub fn nanoseconds(&self) -> f64 {
        self.took.as_secs_f64() * 1e9 / self.operations
    }

    /// The share of the time in which the server had its processor.
    pub fn busy(&self) -> f64 {
        self.took.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

impl AddAssign for Measured {
    fn add_assign(&mut self, more: Measured) {
        self.operations += more.operations;
        self.elapsed += more.elapsed;
        self.took += more.took;
    }
}

impl Running {
    /// Starts a server, opens the connections that the load wants, and holds each to an
    /// answer.
    pub fn start(
        scenario: &Scenario,
        candidate: Candidate,
        under: Under<'_>,
    ) -> io::Result<Running> {
        let server = Server::start(candidate, scenario.workload, scenario.over_unix, under)?;
        let target = server.target();
        let connections = match scenario.load {
            Load::PingPong { connections, bytes } => {
                load::warm_up(target, connections, &message(bytes))?
            }
            Load::Bursts { connections } => {
                load::warm_up(target, connections, &LINE.repeat(BURST))?
            }
            Load::ConnectEchoClose => {
                load::warm_up(target, 1, LINE)?;
                Vec::new()
            }
            Load::Sink | Load::Source => Vec::new(),
        };
        Ok(Running {
            server,
            connections,
        })
    }

    /// Puts the load on the server.
    pub fn load(&mut self, load: Load, until: Until) -> io::Result<Done> {
        let target = self.server.target();
        match load {
            Load::PingPong { bytes, .. } => {
                load::ping_pong(&mut self.connections, &message(bytes), 1, until)
            }
            Load::Bursts { .. } => {
                let burst = LINE.repeat(BURST);
                load::ping_pong(&mut self.connections, &burst, BURST as u64, until)
            }
            Load::ConnectEchoClose => load::connect_echo_close(target, LINE, until),
            Load::Sink => load::fill_sink(target, until),
            Load::Source => load::drain_source(target, until),
        }
    }

    /// Puts the load on the server, and asks what it cost.
    pub fn measure(&mut self, scenario: &Scenario, until: Until) -> io::Result<Measured> {
        let (_, counted_each) = scenario.operation();
        let before = self.server.processor_time()?;
        let done = self.load(scenario.load, until)?;
        Ok(Measured {
            operations: done.operations as f64 / counted_each,
            elapsed: done.elapsed,
            took: self.server.processor_time()? - before,
        })
    }
}

/// A message of so many bytes, no two neighbours alike.
pub fn message(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + (index % 26) as u8).collect()
}
