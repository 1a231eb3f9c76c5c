//! Rounds: servers that are started anew, and loaded in turn; and what they come to.
//!
//! ```text
//!   a round      start all ─► warm all ─► slices, forth and back and forth … ─► end all
//!                                         tokio ours mio, mio ours tokio, …
//!                each one's slices together ─► its figure ─► its ratio to Tokio's
//!   25 rounds    the median of 25 ratios, and where it lies with 95 % confidence
//! ```
//!
//! What makes two figures differ that should be the same, and what is done about it:
//! * *The machine's speed drifts*, within a second by more than what is looked for. So all
//!   servers of a round run at once, and what is compared was measured some hundredths of a
//!   second apart: a slice of one, a slice of the next. Forth and back, so that what becomes
//!   slower all the time does so for all.
//! * *Each process has its luck*: where it happens to lie in memory makes it faster or slower
//!   by several per cent for as long as it lives. So there are many rounds, with processes
//!   of their own, rather than long ones.
//!
//! Starting a server takes 2 ms (CPython 100), opening fifty connections to it 4, a thousand
//! 120: little beside the slices. The warming is kept short for the same reason.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

use beside_tokio::load::Until;
use beside_tokio::process::{Under, descriptors};
use beside_tokio::results::Notebook;
use beside_tokio::servers::Candidate;
use beside_tokio::{Options, Spread};

use crate::running::{Measured, Running};
use crate::scenarios::Scenario;
use crate::syscalls::Counter;

/// The load before the one that is measured: at first, caches and tables are as cold as
/// the connections. After a few milliseconds no slice is told from the next by that.
pub const WARM_UP: Until = Until::Elapsed(Duration::from_millis(20));

/// Where no bar is judged by a candidate, it takes part in one round of so many.
const SELDOM: usize = 4;

/// Between two slices: who spins, or has a connection to close, is done with it by then.
pub const PAUSE: Duration = Duration::from_millis(2);

/// What one candidate did in each round.
struct Figures {
    candidate: Candidate,
    rounds: BTreeMap<usize, Measured>,
}

impl Figures {
    fn spread(&self, figure: Take) -> Spread {
        Spread::of(self.rounds.values().map(figure).collect::<Vec<_>>())
    }

    /// The ratios to a peer in the rounds of both, if there are any.
    fn ratios_to(&self, peer: &Figures, figure: Take) -> Option<Spread> {
        let ratio = |(round, own)| Some(figure(own) / figure(peer.rounds.get(round)?));
        let ratios: Vec<f64> = self.rounds.iter().filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }
}

/// Measures a scenario. A candidate that fails is left out, with a line that says why.
pub fn measure(
    scenario: &Scenario,
    options: &Options,
    counter: Option<Counter>,
    notebook: &mut Notebook,
) -> io::Result<()> {
    let figures = measure_rounds(scenario, options);
    for own in &figures {
        note(scenario, own, &figures, notebook)?;
        let Some(counter) = counter else { continue };
        let (operation, _) = scenario.operation();
        let name = own.candidate.name();
        match counter.count(scenario, own.candidate) {
            Ok(calls) => {
                println!("{name:24}{calls:>12.3} system calls per {operation}");
                let unit = format!("calls/{operation}");
                notebook.note_one([scenario.group, scenario.name, name], &unit, calls)?;
            }
            Err(error) => println!("{name:24}system calls were not counted: {error}"),
        }
    }
    Ok(())
}

fn measure_rounds(scenario: &Scenario, options: &Options) -> Vec<Figures> {
    let mut figures = Vec::new();
    for &candidate in scenario.candidates {
        match candidate.is_here() {
            true => figures.push(Figures {
                candidate,
                rounds: BTreeMap::new(),
            }),
            false => leave_out(candidate, "not on this machine"),
        }
    }
    for round in 0..scenario.rounds(options.rounds) {
        let takes_part =
            |&candidate: &Candidate| scenario.is_judged(candidate) || round % SELDOM == 0;
        let mut candidates: Vec<Candidate> = figures.iter().map(|own| own.candidate).collect();
        candidates.retain(takes_part);
        let first = round % candidates.len().max(1);
        candidates.rotate_left(first);
        // As many at once as may have all their connections open.
        for at_once in candidates.chunks(scenario.servers_at_once(descriptors())) {
            for (candidate, measured) in measure_round(scenario, at_once, options) {
                add(&mut figures, round, candidate, measured);
            }
        }
    }
    figures
}

/// What each candidate did in one round, or why it didn't.
fn measure_round(
    scenario: &Scenario,
    candidates: &[Candidate],
    options: &Options,
) -> Vec<(Candidate, io::Result<Measured>)> {
    let mut field: Vec<Turns> = candidates
        .iter()
        .map(|&candidate| Turns::warm(scenario, candidate))
        .collect();
    let (slices, until) = scenario.slices(options.seconds);
    for _ in 0..slices {
        for turns in &mut field {
            thread::sleep(PAUSE);
            turns.take_one(scenario, until);
        }
        field.reverse();
    }
    let done = |turns: Turns| (turns.candidate, turns.served.map(|(_, measured)| measured));
    field.into_iter().map(done).collect()
}

/// A candidate in a round: its server, and what its turns came to so far.
struct Turns {
    candidate: Candidate,
    served: io::Result<(Running, Measured)>,
}

impl Turns {
    fn warm(scenario: &Scenario, candidate: Candidate) -> Turns {
        let started = Running::start(scenario, candidate, Under::Nothing);
        let warmed = started.and_then(|mut running| {
            running.load(scenario.load, WARM_UP)?;
            Ok((running, Measured::default()))
        });
        Turns {
            candidate,
            served: warmed,
        }
    }

    fn take_one(&mut self, scenario: &Scenario, until: Until) {
        let Ok((running, so_far)) = &mut self.served else {
            return;
        };
        match running.measure(scenario, until) {
            Ok(measured) => *so_far += measured,
            Err(error) => self.served = Err(error),
        }
    }
}

/// Keeps a figure. A candidate that failed takes no further part.
fn add(
    figures: &mut Vec<Figures>,
    round: usize,
    candidate: Candidate,
    measured: io::Result<Measured>,
) {
    match measured {
        Ok(measured) => {
            let own = figures.iter_mut().find(|own| own.candidate == candidate);
            own.expect("there is one for each that takes part")
                .rounds
                .insert(round, measured);
        }
        Err(error) => {
            figures.retain(|own| own.candidate != candidate);
            leave_out(candidate, &error.to_string());
        }
    }
}

fn leave_out(candidate: Candidate, reason: &str) {
    println!("{:24}left out: {reason}", candidate.name());
}

/// Prints and notes what a candidate's rounds come to: on its own, and beside peers that
/// were there.
fn note(
    scenario: &Scenario,
    own: &Figures,
    all: &[Figures],
    notebook: &mut Notebook,
) -> io::Result<()> {
    let name = own.candidate.name();
    let row = [scenario.group, scenario.name, name];
    let (operation, _) = scenario.operation();
    print!("{name:24}");
    let kinds: [(String, Take); 2] = [
        (format!("{operation}/s"), Measured::per_second),
        (format!("ns/{operation}"), Measured::nanoseconds),
    ];
    for (unit, figure) in kinds {
        let spread = own.spread(figure);
        print!("{:>12.0} {unit}", spread.median);
        notebook.note(row, &unit, spread)?;
        for peer in PEERS {
            let Some(other) = all.iter().find(|figures| figures.candidate == peer) else {
                continue;
            };
            let Some(ratio) = own.ratios_to(other, figure) else {
                continue;
            };
            notebook.note(row, &format!("{unit} of {}", peer.name()), ratio)?;
            if peer == Candidate::Tokio {
                print!(", {ratio} of Tokio's");
            }
        }
    }
    println!();
    notebook.note(row, "busy", own.spread(Measured::busy))
}

/// Takes one figure out of several.
type Take = fn(&Measured) -> f64;

/// Those whom the others are compared with, in the same round.
const PEERS: [Candidate; 3] = [
    Candidate::Tokio,
    Candidate::TokioBuffered,
    Candidate::Asyncio,
];
