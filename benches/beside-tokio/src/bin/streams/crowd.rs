//! A hundred busy connections, alone and among ten thousand: what the idle ones cost.

use std::io;
use std::time::Duration;

use beside_tokio::load::{self, Connection, Until};
use beside_tokio::process::{Server, Under};
use beside_tokio::results::Notebook;
use beside_tokio::servers::{Candidate, Workload};
use beside_tokio::{Options, Spread};

use crate::running::message;
use crate::scenarios::CROWDED;

/// The table.
pub const GROUP: &str = "growth";

/// What is measured.
pub const NAME: &str = "64 B, 100 busy connections of 10000";

const BUSY: usize = 100;
const IDLE: usize = 9_900;

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

/// Alternates between two servers of the candidate: one has the hundred alone, the other
/// has them in the crowd.
fn measure_one(candidate: Candidate, options: &Options) -> io::Result<Figures> {
    let request = message(64);
    let quiet = Server::start(candidate, Workload::Echo, false, Under::Nothing)?;
    let crowded = Server::start(candidate, Workload::Echo, false, Under::Nothing)?;
    let _crowd = load::warm_up(crowded.target(), IDLE, &request)?;
    let mut alone = load::warm_up(quiet.target(), BUSY, &request)?;
    let mut in_crowd = load::warm_up(crowded.target(), BUSY, &request)?;
    let mut figures = Figures::default();
    for round in 0..options.rounds {
        if round % 2 == 0 {
            figures.alone.push(cost(&quiet, &mut alone, options)?);
            figures
                .in_crowd
                .push(cost(&crowded, &mut in_crowd, options)?);
        } else {
            figures
                .in_crowd
                .push(cost(&crowded, &mut in_crowd, options)?);
            figures.alone.push(cost(&quiet, &mut alone, options)?);
        }
    }
    Ok(figures)
}

/// Returns what a message costs the server, in nanoseconds of its processor.
fn cost(server: &Server, busy: &mut [Connection], options: &Options) -> io::Result<f64> {
    let until = Until::Elapsed(Duration::from_secs_f64(options.seconds));
    let before = server.processor_time()?;
    let done = load::ping_pong(busy, &message(64), 1, until)?;
    let took = server.processor_time()? - before;
    Ok(took.as_nanos() as f64 / done.operations as f64)
}
