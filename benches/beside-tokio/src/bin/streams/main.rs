//! Streams beside Tokio's and others': servers as processes, one light load, in turn.
//!
//! `cargo run --release --bin streams` in this folder; with words behind `--`, only the
//! scenarios whose names contain one of them; `--rounds 25`, `--seconds 0.15`, `--syscalls`,
//! `--results FILE`.
//!
//! ```text
//!   this process, processor 1: clients ──► server processes, processor 0, one at work at a time
//! ```
//!
//! Each candidate is held to its answers before it is timed. In a round, all servers are started
//! anew, and loaded slice by slice, in turn; what is printed is the median of the rounds'
//! ratios to Tokio, and where it lies with 95 % confidence. A candidate that fails, or isn't on
//! this machine, is left out with a line that says so.

mod crowd;
mod idle;
mod latency;
mod rounds;
mod running;
mod scenarios;
mod syscalls;

use std::env;
use std::io;

use beside_tokio::Options;
use beside_tokio::process::{allow_descriptors, pin_to};
use beside_tokio::servers::{Place, serve};

use scenarios::scenarios;
use syscalls::Counter;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve_as_told(&arguments[1..]);
    }
    let options = Options::from_arguments()?;
    let counts_calls = match &options.flags[..] {
        [] => false,
        [flag] if flag == "--syscalls" => true,
        flags => return Err(io::Error::other(format!("{flags:?}: no such options"))),
    };
    allow_descriptors();
    pin_to(1);
    let counter = if counts_calls {
        Counter::that_works()
    } else {
        None
    };
    if counts_calls && counter.is_none() {
        println!("system calls are not counted: neither perf nor strace works here");
    }
    measure_all(&options, counter)
}

fn measure_all(options: &Options, counter: Option<Counter>) -> io::Result<()> {
    let mut notebook = options.notebook()?;
    for scenario in scenarios() {
        run(options, scenario.group, scenario.name, || {
            rounds::measure(&scenario, options, counter, &mut notebook)
        });
    }
    run(options, crowd::GROUP, crowd::NAME, || {
        crowd::measure(options, &mut notebook)
    });
    run(options, latency::GROUP, latency::NAME, || {
        latency::measure(options, &mut notebook)
    });
    run(options, idle::GROUP, idle::NAME, || {
        idle::measure(&mut notebook)
    });
    Ok(())
}

/// Measures a scenario if it is wanted. What fails says so, and the others go on.
fn run(options: &Options, group: &str, name: &str, measure: impl FnOnce() -> io::Result<()>) {
    if !options.wants(group, name) {
        return;
    }
    println!("\n{group}: {name}");
    if let Err(error) = measure() {
        println!("not measured: {error}");
    }
}

fn serve_as_told(arguments: &[String]) -> io::Result<()> {
    pin_to(0);
    let [candidate, workload, path @ ..] = arguments else {
        return Err(io::Error::other("serve CANDIDATE WORKLOAD [PATH]"));
    };
    let place = match path.first() {
        Some(path) => Place::Unix(path.into()),
        None => Place::Tcp,
    };
    serve(candidate.parse()?, workload.parse()?, place)
}
