//! Latency at half of the load that saturates Tokio.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

use beside_tokio::load::Until;
use beside_tokio::open_loop::{Latencies, open_loop};
use beside_tokio::process::Under;
use beside_tokio::results::Notebook;
use beside_tokio::servers::{Candidate, Workload};
use beside_tokio::{Options, Spread};

use crate::rounds::{PAUSE, WARM_UP};
use crate::running::{Running, message};
use crate::scenarios::{Load, Scenario};

/// The table.
pub const GROUP: &str = "latency";

/// What is measured. The rate is found anew each time.
pub const NAME: &str = "64 B, 50 connections, at half of what saturates Tokio";

const CANDIDATES: [Candidate; 5] = [
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::Mio,
];

/// Slices of a round.
const SLICES: usize = 9;

/// The percentiles, and their names.
const PERCENTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

/// The figures of one candidate: for each percentile those of the rounds, in microseconds.
struct Figures {
    candidate: Candidate,
    rounds: BTreeMap<usize, [f64; 3]>,
    shares_set_aside: Vec<f64>,
}

impl Figures {
    fn of(candidate: Candidate) -> Figures {
        Figures {
            candidate,
            rounds: BTreeMap::new(),
            shares_set_aside: Vec::new(),
        }
    }

    /// Keeps what most slices of a round came to, leaving out those that say more of the
    /// machine than of the server.
    fn add(&mut self, round: usize, slices: Vec<Latencies>) {
        let shares = slices.iter().map(Latencies::share_set_aside);
        self.shares_set_aside
            .push(shares.sum::<f64>() / slices.len() as f64);
        let telling =
            |slice: &Latencies| slice.share_set_aside() < 0.5 && !slice.counted.is_empty();
        let slices: Vec<_> = slices.into_iter().filter(telling).collect();
        if slices.is_empty() {
            return;
        }
        let microseconds = PERCENTILES.map(|(share, _)| {
            let of_slice = |slice: &Latencies| percentile(&slice.counted, share);
            Spread::of(slices.iter().map(of_slice).collect::<Vec<_>>()).median
        });
        self.rounds.insert(round, microseconds);
    }
}

/// Measures it. As where the load waits for answers, all servers of a round run at once, and
/// are loaded slice by slice. A percentile is that of a slice, and the median slice counts:
/// who gets no processor for a millisecond has spoilt a slice, and not the round.
pub fn measure(options: &Options, notebook: &mut Notebook) -> io::Result<()> {
    let scenario = Scenario {
        group: GROUP,
        name: NAME,
        load: Load::PingPong {
            connections: 50,
            bytes: 64,
        },
        workload: Workload::Echo,
        over_unix: false,
        candidates: &CANDIDATES,
        judged: CANDIDATES.len(),
        patience: 2.0,
    };
    let rate = rate_that_saturates_tokio(&scenario, options)? / 2.0;
    println!("at {rate:.0} requests a second");
    notebook.note_one([GROUP, NAME, "all"], "Requests per second", rate.round())?;
    let mut figures = CANDIDATES.map(Figures::of);
    let slice = Duration::from_secs_f64(options.seconds / SLICES as f64);
    for round in 0..scenario.rounds(options.rounds) {
        let start = |candidate| warm(&scenario, candidate);
        let mut field = CANDIDATES
            .into_iter()
            .map(start)
            .collect::<io::Result<Vec<_>>>()?;
        field.rotate_left(round % CANDIDATES.len());
        let mut latencies = CANDIDATES.map(|_| Vec::new());
        for _ in 0..SLICES {
            for (candidate, served) in &mut field {
                thread::sleep(PAUSE);
                let more = open_loop(&mut served.connections, &message(64), rate, slice)?;
                latencies[place(*candidate)].push(more);
            }
            field.reverse();
        }
        for (own, latencies) in figures.iter_mut().zip(latencies) {
            own.add(round, latencies);
        }
    }
    for own in &figures {
        note(own, &figures[0], notebook)?;
    }
    Ok(())
}

fn warm(scenario: &Scenario, candidate: Candidate) -> io::Result<(Candidate, Running)> {
    let mut served = Running::start(scenario, candidate, Under::Nothing)?;
    served.load(scenario.load, WARM_UP)?;
    Ok((candidate, served))
}

fn place(candidate: Candidate) -> usize {
    let place = CANDIDATES.iter().position(|other| *other == candidate);
    place.expect("it is one of them")
}

/// The median of several processes, each of which has its luck.
fn rate_that_saturates_tokio(scenario: &Scenario, options: &Options) -> io::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..7 {
        let (_, mut tokio) = warm(scenario, Candidate::Tokio)?;
        let until = Until::Elapsed(Duration::from_secs_f64(options.seconds));
        rates.push(tokio.measure(scenario, until)?.per_second());
    }
    Ok(Spread::of(rates).median)
}

/// In microseconds.
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted[index.min(sorted.len() - 1)].as_secs_f64() * 1e6
}

fn note(own: &Figures, tokio: &Figures, notebook: &mut Notebook) -> io::Result<()> {
    let name = own.candidate.name();
    print!("{name:24}");
    for (nth, (_, percentile)) in PERCENTILES.into_iter().enumerate() {
        let figures: Vec<f64> = own.rounds.values().map(|round| round[nth]).collect();
        let ratio =
            |(round, own): (&usize, &[f64; 3])| Some(own[nth] / tokio.rounds.get(round)?[nth]);
        let ratios: Vec<f64> = own.rounds.iter().filter_map(ratio).collect();
        if ratios.is_empty() {
            return Err(io::Error::other("the machine was busy with something else"));
        }
        let (spread, ratio) = (Spread::of(figures), Spread::of(ratios));
        print!(
            "{:>10.1} µs {percentile}, {ratio} of Tokio's;",
            spread.median
        );
        let row = [GROUP, NAME, name];
        notebook.note(row, &format!("µs {percentile}"), spread)?;
        notebook.note(row, &format!("µs {percentile} of tokio"), ratio)?;
    }
    let set_aside = Spread::of(own.shares_set_aside.as_slice());
    println!(" {:.1} % set aside", set_aside.median * 100.0);
    notebook.note([GROUP, NAME, name], "set aside", set_aside)
}
