//! Streams beside Tokio's and others': servers as processes, one light load, in turn.
//!
//! `cargo run --release --bin streams` in this folder; with words behind `--`, only the
//! scenarios whose names contain one of them; `--rounds 9`, `--seconds 0.5`, `--syscalls`.
//!
//! Each candidate is held to its answers before it is timed. Within a round each is
//! measured once, in an order that turns with the rounds; what is printed is the median of
//! the rounds' ratios to Tokio, and the least and the greatest. The server has the first
//! processor for itself, the load the second.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::Path;
use std::time::Duration;

use beside_tokio::Spread;
use beside_tokio::load::{self, Connection, Done, Until};
use beside_tokio::process::{Server, Under, pin_to};
use beside_tokio::servers::{Candidate, Place, Workload, serve};

/// A line of 32 bytes, its newline among them.
const LINE: &[u8; 32] = b"the mill turns, and turns again\n";

/// Lines of a burst.
const BURST: usize = 64;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve_as_told(&arguments[1..]);
    }
    let options = Options::parse(&arguments)?;
    pin_to(1);
    for scenario in scenarios() {
        if options.wants(scenario.name) {
            measure(&scenario, &options)?;
        }
    }
    if options.wants("latency") {
        measure_latency(&options)?;
    }
    if options.wants("idle memory") {
        measure_idle_memory()?;
    }
    Ok(())
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

struct Options {
    words: Vec<String>,
    rounds: usize,
    duration: Duration,
    syscalls: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> io::Result<Options> {
        let mut options = Options {
            words: Vec::new(),
            rounds: 7,
            duration: Duration::from_secs(1),
            syscalls: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().map_or("", |text| text.as_str());
                text.parse::<f64>().map_err(|_| {
                    io::Error::other(format!("{argument} takes a number, not {text:?}"))
                })
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number()?.max(1.0) as usize,
                "--seconds" => options.duration = Duration::from_secs_f64(number()?),
                "--syscalls" => options.syscalls = true,
                word => options.words.push(word.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// What the clients do.
#[derive(Clone, Copy)]
enum Load {
    /// So many connections have a message of so many bytes echoed.
    PingPong {
        connections: usize,
        bytes: usize,
    },
    /// Connections send bursts of lines and read them back.
    Bursts {
        connections: usize,
    },
    ConnectEchoClose,
    Sink,
    Source,
}

struct Scenario {
    name: &'static str,
    load: Load,
    workload: Workload,
    over_unix: bool,
    candidates: &'static [Candidate],
    /// Times the rounds asked for: what is noisy takes more of them.
    patience: usize,
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

/// monoio is not among them: its 0.2 on epoll answers nobody over a Unix-domain socket.
const OVER_UNIX: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::Mio,
    Candidate::Smol,
    Candidate::Asyncio,
];

const LINE_READERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::TokioBuffered,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Smol,
    Candidate::Asyncio,
];

const MOVERS: &[Candidate] = &[
    Candidate::Tokio,
    Candidate::Streams,
    Candidate::Smol,
    Candidate::Asyncio,
];

fn scenarios() -> Vec<Scenario> {
    let echo = |name, connections, bytes| Scenario {
        name,
        load: Load::PingPong { connections, bytes },
        workload: Workload::Echo,
        over_unix: false,
        candidates: ECHOERS,
        patience: 1,
    };
    let moves = |name, load, workload| Scenario {
        name,
        load,
        workload,
        over_unix: false,
        candidates: MOVERS,
        patience: 2,
    };
    vec![
        echo("echo 64 B, 1 connection", 1, 64),
        echo("echo 64 B, 50 connections", 50, 64),
        echo("echo 64 B, 1000 connections", 1000, 64),
        echo("echo 16 KiB, 50 connections", 50, 16 * 1024),
        Scenario {
            over_unix: true,
            candidates: OVER_UNIX,
            ..echo("echo 64 B over Unix sockets, 50 connections", 50, 64)
        },
        Scenario {
            workload: Workload::Lines,
            candidates: LINE_READERS,
            load: Load::Bursts { connections: 50 },
            ..echo("pipelined lines of 32 B, 50 connections", 50, 64)
        },
        moves("bulk to a sink", Load::Sink, Workload::Sink),
        moves("bulk from a source", Load::Source, Workload::Source),
        Scenario {
            candidates: ECHOERS,
            ..moves(
                "connect, echo, close",
                Load::ConnectEchoClose,
                Workload::Echo,
            )
        },
    ]
}

/// A candidate's server, and the connections to it.
struct Running {
    candidate: Candidate,
    server: Server,
    connections: Vec<Connection>,
}

impl Running {
    fn start(scenario: &Scenario, candidate: Candidate, under: Under<'_>) -> io::Result<Running> {
        let server = Server::start(candidate, scenario.workload, scenario.over_unix, under)?;
        let connections = match scenario.load {
            Load::PingPong { connections, bytes } => {
                load::warm_up(server.target(), connections, &message(bytes))?
            }
            Load::Bursts { connections } => {
                load::warm_up(server.target(), connections, &LINE.repeat(BURST))?
            }
            Load::ConnectEchoClose => {
                load::warm_up(server.target(), 1, LINE)?;
                Vec::new()
            }
            Load::Sink | Load::Source => Vec::new(),
        };
        Ok(Running {
            candidate,
            server,
            connections,
        })
    }

    fn load(&mut self, load: Load, until: Until) -> io::Result<Done> {
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
}

fn message(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + (index % 26) as u8).collect()
}

/// What one candidate did in each round.
#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    nanoseconds: Vec<f64>,
}

fn measure(scenario: &Scenario, options: &Options) -> io::Result<()> {
    println!("\n## {}", scenario.name);
    let mut running = Vec::new();
    for &candidate in scenario.candidates {
        if candidate.is_here() {
            running.push(Running::start(scenario, candidate, Under::Nothing)?);
        }
    }
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for _ in 0..options.rounds * scenario.patience {
        for served in &mut running {
            let before = served.server.processor_time()?;
            let done = served.load(scenario.load, Until::Elapsed(options.duration))?;
            let took = served.server.processor_time()? - before;
            let figures = figures.entry(served.candidate.name()).or_default();
            let operations = done.operations as f64;
            figures
                .per_second
                .push(operations / done.elapsed.as_secs_f64());
            figures
                .nanoseconds
                .push(took.as_nanos() as f64 / operations);
        }
        running.rotate_left(1);
    }
    drop(running);
    print_figures(scenario, &figures, options)
}

fn print_figures(
    scenario: &Scenario,
    figures: &BTreeMap<&str, Figures>,
    options: &Options,
) -> io::Result<()> {
    let baseline = Candidate::Tokio.name();
    println!(
        "| candidate | per second | of Tokio's | processor ns each | of Tokio's | system calls each |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for &candidate in scenario.candidates {
        let Some(own) = figures.get(candidate.name()) else {
            println!("| {} | not on this machine | | | | |", candidate.name());
            continue;
        };
        let tokio = &figures[baseline];
        let calls = match options.syscalls {
            true => count_system_calls(scenario, candidate)?,
            false => String::new(),
        };
        println!(
            "| {} | {:.0} | {} | {:.1} | {} | {} |",
            candidate.name(),
            Spread::of(own.per_second.clone()).median,
            ratios(&own.per_second, &tokio.per_second),
            Spread::of(own.nanoseconds.clone()).median,
            ratios(&own.nanoseconds, &tokio.nanoseconds),
            calls,
        );
    }
    Ok(())
}

/// The median of the rounds' ratios, the least and the greatest.
fn ratios(own: &[f64], baseline: &[f64]) -> String {
    let ratios = own.iter().zip(baseline).map(|(own, base)| own / base);
    let spread = Spread::of(ratios.collect());
    format!(
        "{:.3} ({:.3}-{:.3})",
        spread.median, spread.least, spread.greatest
    )
}

/// System calls that an operation costs: those of a longer run less those of a shorter,
/// so that starting and stopping do not count.
fn count_system_calls(scenario: &Scenario, candidate: Candidate) -> io::Result<String> {
    let (few, many) = match scenario.load {
        Load::Sink | Load::Source => (16 << 20, 256 << 20),
        Load::Bursts { .. } => (64_000, 640_000),
        Load::ConnectEchoClose => (200, 2_000),
        Load::PingPong { .. } => (2_000, 20_000),
    };
    let counts = env::temp_dir().join(format!("beside-tokio-{}.calls", std::process::id()));
    let mut figures = Vec::new();
    for wanted in [few, many] {
        let mut traced = Running::start(scenario, candidate, Under::Strace(&counts))?;
        let done = traced.load(scenario.load, Until::Operations(wanted))?;
        drop(std::mem::take(&mut traced.connections));
        traced.server.stop_traced()?;
        figures.push((total_calls(&counts)?, done.operations as f64));
    }
    let _ = std::fs::remove_file(&counts);
    let each = (figures[1].0 - figures[0].0) / (figures[1].1 - figures[0].1);
    Ok(format!("{each:.3}"))
}

/// The last line of what `strace -c` writes has the sum.
fn total_calls(counts: &Path) -> io::Result<f64> {
    let text = std::fs::read_to_string(counts)?;
    let total = text.lines().find(|line| line.ends_with("total"));
    let calls = total.and_then(|line| line.split_whitespace().nth(3));
    calls
        .and_then(|calls| calls.parse().ok())
        .ok_or_else(|| io::Error::other(format!("strace wrote no total: {text:?}")))
}

/// Latency at half of what saturates Tokio.
fn measure_latency(options: &Options) -> io::Result<()> {
    const CANDIDATES: [Candidate; 4] = [
        Candidate::Tokio,
        Candidate::Streams,
        Candidate::StreamsLending,
        Candidate::Mio,
    ];
    let scenario = Scenario {
        name: "latency",
        load: Load::PingPong {
            connections: 50,
            bytes: 64,
        },
        workload: Workload::Echo,
        over_unix: false,
        candidates: &CANDIDATES,
        patience: 1,
    };
    let until = Until::Elapsed(options.duration);
    let saturated = {
        let mut tokio = Running::start(&scenario, Candidate::Tokio, Under::Nothing)?;
        let done = tokio.load(scenario.load, until)?;
        done.operations as f64 / done.elapsed.as_secs_f64()
    };
    let rate = saturated / 2.0;
    println!("\n## latency at {rate:.0} requests a second, half of what saturates Tokio");
    let mut running = Vec::new();
    for candidate in CANDIDATES {
        running.push(Running::start(&scenario, candidate, Under::Nothing)?);
    }
    let mut figures: BTreeMap<&str, [Vec<f64>; 3]> = BTreeMap::new();
    for _ in 0..options.rounds {
        for served in &mut running {
            let latencies = load::open_loop(
                &mut served.connections,
                &message(64),
                rate,
                options.duration,
            )?;
            let own = figures.entry(served.candidate.name()).or_default();
            for (figure, share) in own.iter_mut().zip([0.5, 0.99, 0.999]) {
                let index = (latencies.len() as f64 * share) as usize;
                let latency = latencies[index.min(latencies.len() - 1)];
                figure.push(latency.as_secs_f64() * 1e6);
            }
        }
        running.rotate_left(1);
    }
    println!("| candidate | 50 % us | 99 % us | of Tokio's | 99.9 % us | of Tokio's |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for candidate in CANDIDATES {
        let [half, most, nearly_all] = &figures[candidate.name()];
        let [_, tokio_most, tokio_nearly_all] = &figures[Candidate::Tokio.name()];
        println!(
            "| {} | {:.1} | {:.1} | {} | {:.1} | {} |",
            candidate.name(),
            Spread::of(half.clone()).median,
            Spread::of(most.clone()).median,
            ratios(most, tokio_most),
            Spread::of(nearly_all.clone()).median,
            ratios(nearly_all, tokio_nearly_all),
        );
    }
    Ok(())
}

/// Resident memory of the server for each of many idle connections that have echoed once.
fn measure_idle_memory() -> io::Result<()> {
    const CANDIDATES: [Candidate; 7] = [
        Candidate::Streams,
        Candidate::StreamsLending,
        Candidate::Protocol,
        Candidate::Tokio,
        Candidate::TokioShared,
        Candidate::Smol,
        Candidate::Asyncio,
    ];
    const CONNECTIONS: usize = 10_000;
    println!("\n## idle memory, {CONNECTIONS} connections");
    println!("| candidate | bytes each |");
    println!("| --- | ---: |");
    for candidate in CANDIDATES {
        // Over TCP a shared buffer needs Tokio's `TcpStream`; the ports of one client
        // address suffice for 10,000.
        let server = Server::start(candidate, Workload::Echo, false, Under::Nothing)?;
        load::warm_up(server.target(), 1, LINE)?;
        let before = server.resident()?;
        let connections = load::warm_up(server.target(), CONNECTIONS, LINE)?;
        let after = server.resident()?;
        drop(connections);
        let each = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
        println!("| {} | {each:.0} |", candidate.name());
    }
    Ok(())
}
