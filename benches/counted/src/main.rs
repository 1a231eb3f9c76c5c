//! Counts what a message costs in millstream and in Tokio: instructions in user space, by
//! callgrind, and allocations. Nothing is timed, so a loaded machine counts the same.
//!
//! `cargo run --release` in this folder prints the table (it needs `valgrind`);
//! `cargo run --release -- --check FILE` holds millstream's rows against those in a file,
//! and fails where one costs more; `--write FILE` makes that file. `--results FILE` appends
//! the figures for the page of benchmarks.
//!
//! ```text
//!   one thread:  peers ask ─► the loop serves them all ─► peers hear ─► …
//!                (blocking sockets)                       (blocking sockets)
//! ```
//! Clients and server take turns on one thread: each poll finds the same. The figures are
//! those of a longer run less those of a shorter one, so that start and end do not count;
//! less what the clients take, which the candidate `clients` shows.

mod by_millstream;
mod by_tokio;
mod gate;
mod peers;

use std::env;
use std::fs;
use std::io;
use std::process::Command;

/// Bytes of a message, and of a line with its newline.
pub(crate) const MESSAGE: usize = 64;
const LINE: &[u8; 32] = b"the mill turns, and turns again\n";

/// All connections are made before the first is accepted, since one thread does both.
pub(crate) const BACKLOG: u32 = 1024;

/// Lines of a burst.
const BURST: usize = 64;

/// A row that costs more than this times what the file says has become dearer. Compilers
/// and C libraries differ by a few per cent.
const TOLERANCE: f64 = 1.05;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conversation {
    /// A message, and its echo.
    Messages,
    /// The same, while many other connections are idle.
    InCrowd,
    /// Bursts of lines, and each line's echo.
    Lines,
}

impl Conversation {
    pub(crate) fn connections(self) -> usize {
        50
    }

    /// Connections that say nothing: no more than fit into 1,024 descriptors, both ends of each.
    pub(crate) fn idle_connections(self) -> usize {
        match self {
            Conversation::InCrowd => 400,
            Conversation::Messages | Conversation::Lines => 0,
        }
    }

    pub(crate) fn request(self) -> Vec<u8> {
        match self {
            Conversation::Messages | Conversation::InCrowd => vec![b'x'; MESSAGE],
            Conversation::Lines => LINE.repeat(BURST),
        }
    }

    pub(crate) fn answers_each(self) -> usize {
        match self {
            Conversation::Messages | Conversation::InCrowd => 1,
            Conversation::Lines => BURST,
        }
    }

    /// Rounds of the shorter and of the longer run.
    fn rounds(self) -> [usize; 2] {
        match self {
            Conversation::Messages | Conversation::InCrowd => [50, 250],
            Conversation::Lines => [5, 25],
        }
    }
}

/// Who answers, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    Protocol,
    Read,
    ReadInto,
    FillBuf,
    Readline,
    ReadlineRef,
    TokioRead,
    TokioShared,
    TokioLines,
    TokioBuffered,
}

impl Candidate {
    fn is_tokios(self) -> bool {
        use Candidate::*;
        matches!(self, TokioRead | TokioShared | TokioLines | TokioBuffered)
    }
}

/// Each row of the table: its name, who answers, what is said, and the row of Tokio's that
/// it is compared with.
const ROWS: [(&str, Candidate, Conversation, &str); 12] = {
    use Candidate::*;
    use Conversation::*;
    let messages = "tokio-read";
    let in_crowd = "tokio-read-in-crowd";
    let lines = "tokio-bufwriter";
    [
        ("protocol", Protocol, Messages, messages),
        ("read", Read, Messages, messages),
        ("read_into", ReadInto, Messages, messages),
        ("fill_buf", FillBuf, Messages, messages),
        ("tokio-read", TokioRead, Messages, messages),
        ("tokio-shared", TokioShared, Messages, messages),
        ("read-in-crowd", Read, InCrowd, in_crowd),
        ("tokio-read-in-crowd", TokioRead, InCrowd, in_crowd),
        ("readline", Readline, Lines, lines),
        ("readline_ref", ReadlineRef, Lines, lines),
        ("tokio-lines", TokioLines, Lines, lines),
        ("tokio-bufwriter", TokioBuffered, Lines, lines),
    ]
};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["run", name, rounds] => run_row(name, number(rounds)?),
        [] => print_table(&count_all()?),
        ["--results", file] => append_results(file, &count_all()?),
        ["--write", file] => write_file(file, &count_all()?),
        ["--check", file] => check_file(file, &count_all()?),
        _ => Err(io::Error::other(
            "no arguments, or --results FILE, or --write FILE, or --check FILE",
        )),
    }
}

fn number(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text:?} is no number")))
}

// ── one run ─────────────────────────────────────────────────────────────────────

/// What the measured rounds allocated.
pub(crate) struct Counted {
    allocations: u64,
    answers: usize,
}

impl Counted {
    /// Drives a few rounds to warm up, then those that count.
    pub(crate) fn of(
        drive: &mut dyn FnMut(usize) -> io::Result<()>,
        conversation: Conversation,
    ) -> io::Result<Counted> {
        let rounds = number(&env::args().nth(3).unwrap_or_default())?;
        drive(10)?;
        let mut driven = Ok(());
        let counts = allocation_counter::measure(|| driven = drive(rounds));
        driven?;
        Ok(Counted {
            allocations: counts.count_total,
            answers: rounds * conversation.connections() * conversation.answers_each(),
        })
    }
}

/// What a child process does: `run NAME ROUNDS`. Prints allocations and answers.
fn run_row(name: &str, rounds: usize) -> io::Result<()> {
    if name == "clients" {
        return run_clients(rounds);
    }
    let (_, candidate, conversation, _) = ROWS
        .into_iter()
        .find(|(row, ..)| *row == name)
        .ok_or_else(|| io::Error::other(format!("there is no row {name:?}")))?;
    let counted = match candidate.is_tokios() {
        true => by_tokio::count(candidate, conversation)?,
        false => by_millstream::count(candidate, conversation)?,
    };
    println!("{} {}", counted.allocations, counted.answers);
    Ok(())
}

/// The clients alone: what they send comes back as they sent it, from themselves.
fn run_clients(rounds: usize) -> io::Result<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut asking = peers::Peers::connect(port, Conversation::Messages)?;
    let mut answering = Vec::new();
    for _ in 0..asking.len() {
        answering.push(listener.accept()?.0);
    }
    // The other half is the same two calls for each message: so half of this is theirs.
    let mut buffer = [0; MESSAGE];
    for _ in 0..rounds + 10 {
        asking.ask()?;
        for connection in &mut answering {
            io::Read::read_exact(connection, &mut buffer)?;
            io::Write::write_all(connection, &buffer)?;
        }
        asking.hear()?;
    }
    println!("0 {}", rounds * asking.len());
    Ok(())
}

// ── all runs ────────────────────────────────────────────────────────────────────

/// What an answer costs.
struct Cost {
    name: String,
    instructions: f64,
    allocations: f64,
}

fn count_all() -> io::Result<Vec<Cost>> {
    let [few, many] = Conversation::Messages.rounds();
    let clients = count_row("clients", few, many)?.instructions / 2.0;
    let mut costs = Vec::new();
    for (name, _, conversation, _) in ROWS {
        let [few, many] = conversation.rounds();
        let mut cost = count_row(name, few, many)?;
        cost.instructions -= clients / conversation.answers_each() as f64;
        costs.push(cost);
    }
    Ok(costs)
}

fn count_row(name: &str, few: usize, many: usize) -> io::Result<Cost> {
    let less = run_under_callgrind(name, few)?;
    let more = run_under_callgrind(name, many)?;
    let answers = (more.answers - less.answers) as f64;
    Ok(Cost {
        name: name.to_owned(),
        instructions: (more.instructions - less.instructions) as f64 / answers,
        allocations: (more.allocations - less.allocations) as f64 / answers,
    })
}

/// What a run under callgrind has come to.
struct Run {
    instructions: u64,
    allocations: u64,
    answers: u64,
}

fn run_under_callgrind(name: &str, rounds: usize) -> io::Result<Run> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args(["run", name, &rounds.to_string()])
        .output()
        .map_err(|error| io::Error::other(format!("valgrind can't be started: {error}")))?;
    let report = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    let collected = report
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse().ok());
    let mut numbers = printed.split_whitespace().map(str::parse);
    match (collected, numbers.next(), numbers.next()) {
        (Some(instructions), Some(Ok(allocations)), Some(Ok(answers))) => Ok(Run {
            instructions,
            allocations,
            answers,
        }),
        _ => Err(io::Error::other(format!(
            "{name} failed: {printed}\n{report}"
        ))),
    }
}

fn print_table(costs: &[Cost]) -> io::Result<()> {
    println!("| each answer of | instructions | of Tokio's | allocations |");
    println!("| --- | ---: | ---: | ---: |");
    for (cost, (_, _, _, baseline)) in costs.iter().zip(ROWS) {
        println!(
            "| {} | {:.0} | {:.2} | {:.2} |",
            cost.name,
            cost.instructions,
            cost.instructions / instructions_of(baseline, costs),
            cost.allocations,
        );
    }
    Ok(())
}

fn instructions_of(name: &str, costs: &[Cost]) -> f64 {
    let cost = costs.iter().find(|cost| cost.name == name);
    cost.map_or(f64::NAN, |cost| cost.instructions)
}

/// Appends lines as `benches/beside-tokio` reads them.
fn append_results(file: &str, costs: &[Cost]) -> io::Result<()> {
    print_table(costs)?;
    let mut lines = String::new();
    for (cost, (who, candidate, conversation, baseline)) in costs.iter().zip(ROWS) {
        let name = match conversation {
            Conversation::Messages => "a message of 64 B, 50 connections",
            Conversation::InCrowd => "a message of 64 B, 50 connections of 450",
            Conversation::Lines => "a line of 32 B, 50 connections",
        };
        let who = who.trim_end_matches("-in-crowd");
        let who = match candidate.is_tokios() {
            true => who.to_owned(),
            false => format!("millstream {who}"),
        };
        let of_tokio = cost.instructions / instructions_of(baseline, costs);
        for (value, unit) in [
            (cost.instructions, "instructions"),
            (of_tokio, "instructions of tokio"),
            (cost.allocations, "allocations"),
        ] {
            lines += &format!("counted\t{name}\t{who}\t{value:.3}\t{unit}\n");
        }
    }
    let mut file = fs::File::options().create(true).append(true).open(file)?;
    io::Write::write_all(&mut file, lines.as_bytes())
}

fn write_file(file: &str, costs: &[Cost]) -> io::Result<()> {
    print_table(costs)?;
    let mut text = String::from(
        "# What an answer costs: instructions in user space, allocations.\n\
         # Made by `cargo run --release -- --write` in benches/counted.\n",
    );
    for cost in costs {
        text += &format!(
            "{} {:.0} {:.2}\n",
            cost.name, cost.instructions, cost.allocations
        );
    }
    fs::write(file, text)
}

fn check_file(file: &str, costs: &[Cost]) -> io::Result<()> {
    print_table(costs)?;
    let kept = fs::read_to_string(file)?;
    let mut dearer = Vec::new();
    for line in kept.lines().filter(|line| !line.starts_with('#')) {
        let [name, instructions, allocations] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(io::Error::other(format!("{file}: {line:?} is no row")));
        };
        let Some(cost) = costs.iter().find(|cost| cost.name == name) else {
            return Err(io::Error::other(format!(
                "{file}: there is no row {name:?}"
            )));
        };
        let as_figure = |text: &str| text.parse::<f64>().map_err(io::Error::other);
        let is_dearer = cost.instructions > as_figure(instructions)? * TOLERANCE
            || cost.allocations > as_figure(allocations)? + 0.01;
        if is_dearer && !name.starts_with("tokio") {
            dearer.push(format!(
                "{name}: {:.0} instructions and {:.2} allocations, not {instructions} and {allocations}",
                cost.instructions, cost.allocations
            ));
        }
    }
    match dearer.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other(dearer.join("; "))),
    }
}
