//! Prints what each part costs in millstream and in Tokio, and how many times more in Tokio.
//!
//! `cargo run --release` in this folder; `-- WORD` for the parts whose names contain it,
//! `--rounds 25`, `--results FILE` to append lines to a file, as `beside_tokio::results` has
//! them; `who` is also `ratio`, in `times`.
//!
//! ```text
//!   round 1: ours, theirs, theirs'     round 2: theirs, theirs', ours     …
//!   of a round: the ratio of each of theirs to ours ─► medians ─► the least counts
//! ```
//! Above one, millstream is cheaper. Tokio is taken at its best: of several ways that by
//! which it does best.
//!
//! Each cost is that of a process of its own: where one happens to lie in memory makes it
//! faster or slower for as long as it lives, by a fifth and more for what takes ten nanoseconds.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use beside_tokio::Spread;
use beside_tokio::results::Notebook;
use micro::{Part, Run, parts};

/// The first argument of a process that does one thing: then come the part and the way.
const ONE_COST: &str = "one-cost";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, first, part, way] = &arguments[..] {
        if first == ONE_COST {
            return print_cost(part, way);
        }
    }
    let options = Options::parse()?;
    let mut notebook = Notebook::open(options.results.as_deref())?;
    println!("each: the median of its costs; Tokio's to millstream's: median [95 %]");
    for part in parts() {
        if part.name.contains(&options.word) || part.group.contains(&options.word) {
            measure(&part, options.rounds, &mut notebook)?;
        }
    }
    Ok(())
}

struct Options {
    word: String,
    rounds: usize,
    results: Option<PathBuf>,
}

impl Options {
    fn parse() -> io::Result<Options> {
        let mut options = Options {
            word: String::new(),
            rounds: 25,
            results: None,
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || io::Error::other(format!("{argument} needs a value"));
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse().map_err(io::Error::other)?,
                "--results" => options.results = Some(value()?.into()),
                word if !word.starts_with('-') => options.word = argument,
                _ => {
                    let known = "expected a word, --rounds and a number, --results and a file";
                    return Err(io::Error::other(format!("{known}; not {argument}")));
                }
            }
        }
        Ok(options)
    }
}

/// Measures the ways of one part in turn, round by round. Who begins changes.
fn measure(part: &Part, rounds: usize, notebook: &mut Notebook) -> io::Result<()> {
    let count = part.ways.len();
    let mut costs = vec![Vec::new(); count];
    let rounds = (rounds as f64 * part.patience).round().max(1.0) as usize;
    for round in 0..rounds {
        for nth in 0..count {
            let way = (nth + round) % count;
            costs[way].push(cost_in_a_process(part.name, part.ways[way].who)?);
        }
    }
    let ratios = costs[1..]
        .iter()
        .map(|theirs| Spread::of_ratios(theirs, &costs[0]));
    let best = ratios.min_by(|a, b| a.median.total_cmp(&b.median));
    println!("\n{}: {}", part.group, part.name);
    for (way, costs) in part.ways.iter().zip(costs) {
        let cost = Spread::of(costs);
        println!("    {:32}{:>12.1} {}", way.who, cost.median, part.unit);
        notebook.note([part.group, part.name, way.who], part.unit, cost)?;
    }
    if let Some(best) = best {
        println!("    {:32}{best:>20}", "Tokio at its best");
        notebook.note([part.group, part.name, "ratio"], "times", best)?;
    }
    Ok(())
}

/// Has another process of this program do something in one way, and tell what one cost.
fn cost_in_a_process(part: &str, who: &str) -> io::Result<f64> {
    let output = Command::new(env::current_exe()?)
        .args([ONE_COST, part, who])
        .stderr(Stdio::inherit())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let told = printed.trim().parse();
    told.map_err(|_| io::Error::other(format!("expected a cost of {part}, not {printed:?}")))
}

/// What that process does. Once first that doesn't count, where it takes time: for the caches,
/// and for what is allocated once.
fn print_cost(name: &str, who: &str) -> io::Result<()> {
    let all = parts();
    let part = all.iter().find(|part| part.name == name);
    let way = part.and_then(|part| part.ways.iter().find(|way| way.who == who));
    let (Some(part), Some(way)) = (part, way) else {
        return Err(io::Error::other(format!("there is no {name:?} by {who:?}")));
    };
    if let Run::Timed(_) = way.run {
        way.cost(part.times / 10)?;
    }
    println!("{}", way.cost(part.times)?);
    Ok(())
}
