//! Latency at half of the load that saturates Tokio.

use std::io;
use std::time::Duration;

use beside_tokio::load;
use beside_tokio::process::Under;
use beside_tokio::results::Notebook;
use beside_tokio::servers::{Candidate, Workload};
use beside_tokio::{Options, Spread};

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

/// The percentiles, and their names.
const PERCENTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

/// The figures of one candidate: for each percentile those of the rounds, in microseconds.
struct Figures {
    candidate: Candidate,
    microseconds: [Vec<f64>; 3],
}

/// Measures it.
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
        patience: 1,
    };
    let rate = rate_that_saturates_tokio(&scenario, options)? / 2.0;
    println!("at {rate:.0} requests a second");
    notebook.note_one([GROUP, NAME, "all"], "Requests per second", rate.round())?;
    let mut candidates = CANDIDATES;
    let mut figures = CANDIDATES.map(|candidate| Figures {
        candidate,
        microseconds: Default::default(),
    });
    // The farther a percentile is from the median, the more answers it takes to know it.
    let duration = Duration::from_secs_f64(options.seconds * 2.0);
    for _ in 0..options.rounds {
        for candidate in candidates {
            let mut served = Running::start(&scenario, candidate, Under::Nothing)?;
            let latencies = load::open_loop(&mut served.connections, &message(64), rate, duration)?;
            let own = figures
                .iter_mut()
                .find(|own| own.candidate == candidate)
                .expect("there is one for each that runs");
            for (figure, (share, _)) in own.microseconds.iter_mut().zip(PERCENTILES) {
                figure.push(percentile(&latencies, share).as_secs_f64() * 1e6);
            }
        }
        candidates.rotate_left(1);
    }
    for own in &figures {
        note(own, &figures[0], notebook)?;
    }
    Ok(())
}

fn rate_that_saturates_tokio(scenario: &Scenario, options: &Options) -> io::Result<f64> {
    let mut tokio = Running::start(scenario, Candidate::Tokio, Under::Nothing)?;
    let mut rates = Vec::new();
    for _ in 0..3 {
        let until = scenario.length_to_time(options.seconds);
        rates.push(tokio.measure(scenario, until)?.per_second);
    }
    Ok(Spread::of(rates).median)
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share) as usize;
    sorted[index.min(sorted.len() - 1)]
}

fn note(own: &Figures, tokio: &Figures, notebook: &mut Notebook) -> io::Result<()> {
    let name = own.candidate.name();
    print!("{name:24}");
    for ((figures, baseline), (_, percentile)) in own
        .microseconds
        .iter()
        .zip(&tokio.microseconds)
        .zip(PERCENTILES)
    {
        let (spread, ratio) = (
            Spread::of(figures.as_slice()),
            Spread::of_ratios(figures, baseline),
        );
        print!(
            "{:>10.1} µs {percentile}, {ratio} of Tokio's;",
            spread.median
        );
        let row = [GROUP, NAME, name];
        notebook.note(row, &format!("µs {percentile}"), spread)?;
        notebook.note(row, &format!("µs {percentile} of tokio"), ratio)?;
    }
    println!();
    Ok(())
}
