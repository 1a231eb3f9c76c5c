//! A hundred busy connections, alone and among ten thousand: what the idle ones cost.

use std::io;
use std::time::Duration;

use beside_tokio::load::{self, Connection, Until};
use beside_tokio::process::{Server, Under};
use beside_tokio::results::Notebook;
use beside_tokio::servers::{Candidate, Workload};
use beside_tokio::{Options, Spread};

use crate::rounds::WARM_UP;
use crate::running::message;
use crate::scenarios::CROWDED;

/// The table.
pub const GROUP: &str = "growth";

/// What is measured.
pub const NAME: &str = "64 B, 100 busy connections of 10000";

const BUSY: usize = 100;
const IDLE: usize = 9_900;

/// Times the rounds asked for: opening the crowd takes a second.
const PATIENCE: f64 = 0.36;

/// Slices of a round.
const SLICES: u32 = 4;

/// What a message costs in each round, in nanoseconds of the server's processor.
#[derive(Debug, Default)]
struct Figures {
    alone: Vec<f64>,
    in_crowd: Vec<f64>,
}

/// Measures it. A candidate that fails is left out, with a line that says why.
pub fn measure(options: &Options, notebook: &mut Notebook) -> io::Result<()> {
    let mut tokios = None;
    for &candidate in CROWDED {
        let name = candidate.name();
        let figures = match measure_one(candidate, options) {
            Ok(figures) => figures,
            Err(error) => {
                println!("{name:24}left out: {error}");
                continue;
            }
        };
        let alone = Spread::of(figures.alone.as_slice());
        let in_crowd = Spread::of(figures.in_crowd.as_slice());
        let growth = Spread::of_ratios(&figures.in_crowd, &figures.alone);
        println!(
            "{name:24}{:>10.0} ns/message alone{:>10.0} in the crowd   {growth}",
            alone.median, in_crowd.median
        );
        let row = [GROUP, NAME, name];
        notebook.note(row, "ns/message alone", alone)?;
        notebook.note(row, "ns/message in the crowd", in_crowd)?;
        notebook.note(row, "of that alone", growth)?;
        let tokio = tokios.get_or_insert_with(|| figures.in_crowd.clone());
        let ratio = Spread::of_ratios(&figures.in_crowd, tokio);
        notebook.note(row, "ns/message in the crowd of tokio", ratio)?;
    }
    Ok(())
}

fn measure_one(candidate: Candidate, options: &Options) -> io::Result<Figures> {
    let mut figures = Figures::default();
    let rounds = (options.rounds as f64 * PATIENCE).round().max(1.0) as usize;
    for _ in 0..rounds {
        let (alone, in_crowd) = measure_round(candidate, options)?;
        figures.alone.push(alone);
        figures.in_crowd.push(in_crowd);
    }
    Ok(figures)
}

/// Alternates between two servers of the candidate, slice by slice: one has the hundred
/// alone, the other has them in the crowd.
fn measure_round(candidate: Candidate, options: &Options) -> io::Result<(f64, f64)> {
    let request = message(64);
    let start = || Server::start(candidate, Workload::Echo, false, Under::Nothing);
    let (quiet, crowded) = (start()?, start()?);
    let _crowd = load::warm_up(crowded.target(), IDLE, &request)?;
    let mut alone = Busy::connect(&quiet, &request)?;
    let mut in_crowd = Busy::connect(&crowded, &request)?;
    let slice = Duration::from_secs_f64(options.seconds) / SLICES;
    for turn in 0..SLICES {
        let mut both = [&mut alone, &mut in_crowd];
        if turn % 2 == 1 {
            both.reverse();
        }
        for busy in both {
            busy.load(&request, slice)?;
        }
    }
    Ok((alone.cost(), in_crowd.cost()))
}

/// The busy connections of a server, and what their messages cost so far.
struct Busy<'a> {
    server: &'a Server,
    connections: Vec<Connection>,
    took: Duration,
    messages: u64,
}

impl Busy<'_> {
    fn connect<'a>(server: &'a Server, request: &[u8]) -> io::Result<Busy<'a>> {
        let mut connections = load::warm_up(server.target(), BUSY, request)?;
        load::ping_pong(&mut connections, request, 1, WARM_UP)?;
        Ok(Busy {
            server,
            connections,
            took: Duration::ZERO,
            messages: 0,
        })
    }

    fn load(&mut self, request: &[u8], slice: Duration) -> io::Result<()> {
        let before = self.server.processor_time()?;
        let done = load::ping_pong(&mut self.connections, request, 1, Until::Elapsed(slice))?;
        self.took += self.server.processor_time()? - before;
        self.messages += done.operations;
        Ok(())
    }

    fn cost(&self) -> f64 {
        self.took.as_nanos() as f64 / self.messages as f64
    }
}
