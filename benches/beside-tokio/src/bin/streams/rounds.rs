//! Rounds: each candidate once, in an order that turns; and what they come to.
//!
//! ```text
//!   round 1: tokio, ours, mio      round 2: ours, mio, tokio      …
//!            └── ratio of this round's figures, never of two rounds' ──┘
//! ```

use std::io;
use std::time::Duration;

use beside_tokio::load::Until;
use beside_tokio::process::Under;
use beside_tokio::results::Notebook;
use beside_tokio::servers::Candidate;
use beside_tokio::{Options, Spread};

use crate::running::{Measured, Running};
use crate::scenarios::Scenario;
use crate::syscalls::Counter;

/// The load before the one that is measured.
const WARM_UP: Until = Until::Elapsed(Duration::from_millis(200));

/// What one candidate did in each round.
struct Figures {
    candidate: Candidate,
    measured: Vec<Measured>,
}

impl Figures {
    fn of(&self, figure: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.measured.iter().map(figure).collect()
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

/// Each server is started anew for its turn. Where a process happens to lie in memory makes it
/// faster or slower by several per cent for as long as it lives: one process for all rounds
/// would have that in each of them, and no spread would tell.
fn measure_rounds(scenario: &Scenario, options: &Options) -> Vec<Figures> {
    let mut candidates = scenario.candidates.to_vec();
    let mut figures: Vec<Figures> = candidates
        .iter()
        .map(|&candidate| Figures {
            candidate,
            measured: Vec::new(),
        })
        .collect();
    let until = scenario.length_to_time(options.seconds);
    for _ in 0..options.rounds * scenario.patience {
        candidates.retain(|&candidate| {
            let measured = start(scenario, candidate).and_then(|mut served| {
                // At first, caches and tables are as cold as the connections.
                served.load(scenario.load, WARM_UP)?;
                served.measure(scenario, until)
            });
            add(&mut figures, candidate, measured)
        });
        if !candidates.is_empty() {
            candidates.rotate_left(1);
        }
    }
    figures
}

fn start(scenario: &Scenario, candidate: Candidate) -> io::Result<Running> {
    match candidate.is_here() {
        true => Running::start(scenario, candidate, Under::Nothing),
        false => Err(io::Error::other("not on this machine")),
    }
}

/// Keeps a figure, and returns whether the candidate goes on.
fn add(figures: &mut Vec<Figures>, candidate: Candidate, measured: io::Result<Measured>) -> bool {
    match measured {
        Ok(measured) => {
            let own = figures.iter_mut().find(|own| own.candidate == candidate);
            own.expect("there is one for each that runs")
                .measured
                .push(measured);
            true
        }
        Err(error) => {
            figures.retain(|own| own.candidate != candidate);
            leave_out(candidate, &error);
            false
        }
    }
}

fn leave_out(candidate: Candidate, error: &io::Error) {
    println!("{:24}left out: {error}", candidate.name());
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
        (format!("{operation}/s"), |measured| measured.per_second),
        (format!("ns/{operation}"), |measured| measured.nanoseconds),
    ];
    for (unit, figure) in kinds {
        let figures = own.of(figure);
        let spread = Spread::of(figures.as_slice());
        print!("{:>12.0} {unit}", spread.median);
        notebook.note(row, &unit, spread)?;
        for peer in PEERS {
            let Some(other) = all.iter().find(|figures| figures.candidate == peer) else {
                continue;
            };
            let ratio = Spread::of_ratios(&figures, &other.of(figure));
            notebook.note(row, &format!("{unit} of {}", peer.name()), ratio)?;
            if peer == Candidate::Tokio {
                print!(", {ratio} of Tokio's");
            }
        }
    }
    println!();
    let busy = Spread::of(own.of(|measured| measured.busy));
    notebook.note(row, "busy", busy)
}

/// Takes one figure out of several.
type Take = fn(&Measured) -> f64;

/// Those whom the others are compared with, in the same round.
const PEERS: [Candidate; 3] = [
    Candidate::Tokio,
    Candidate::TokioBuffered,
    Candidate::Asyncio,
];
