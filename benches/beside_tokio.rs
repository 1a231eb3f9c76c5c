//! Measures everything that docs/benchmarks.md tells, and makes its tables and charts.
//!
//! ```text
//!   cargo bench --bench beside_tokio                     all of it: about 20 minutes
//!   cargo bench --bench beside_tokio -- --quick          all of it, roughly: about 8
//!   cargo bench --bench beside_tokio -- echo bulk        scenarios whose names contain these
//!   cargo bench --bench beside_tokio -- --parts micro    one part, or several: micro,counted
//!   cargo bench --bench beside_tokio -- --bars           prints what must hold, and whether it does
//!   cargo bench --bench beside_tokio -- --report         makes the page from what is kept
//! ```
//!
//! `--rounds 25` and `--seconds 0.15` say how often and for how long servers are loaded. What
//! isn't measured keeps the figures that it had.
//!
//! The peers are built here, and never for the tests: the programs that measure are packages
//! of their own, which this one starts.
//!
//! ```text
//!   this ──starts each part──► figures, line by line ──report──► docs/benchmarks/, the page
//! ```

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` says so; whoever tests all targets doesn't wait for figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("measured by `cargo bench --bench beside_tokio`");
        return Ok(());
    }
    let options = Options::parse(&arguments)?;
    if options.shows_bars {
        return run(report().arg("--bars"));
    }
    if options.measures {
        println!(
            "measuring {}, {}; all of it takes about 20 minutes, `-- --quick` about 8",
            options.parts.join(", "),
            options.measured()
        );
        measure(&options)?;
    } else {
        run(&mut report())?;
    }
    println!("docs/benchmarks.md tells the figures; `-- --bars` says which bars they meet");
    Ok(())
}

struct Options {
    /// The arguments of the programs that put servers under load.
    words: Vec<String>,
    parts: Vec<&'static str>,
    rounds: usize,
    seconds: f64,
    measures: bool,
    shows_bars: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> io::Result<Options> {
        let mut options = Options {
            words: Vec::new(),
            parts: Vec::new(),
            rounds: 25,
            seconds: 0.15,
            measures: true,
            shows_bars: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || io::Error::other(format!("{argument} takes a value"));
                arguments.next().ok_or_else(missing)
            };
            match argument.as_str() {
                "--bench" => {}
                "--quick" => (options.rounds, options.seconds) = (7, 0.1),
                "--rounds" => options.rounds = value()?.parse().map_err(io::Error::other)?,
                "--seconds" => options.seconds = value()?.parse().map_err(io::Error::other)?,
                "--bars" => options.shows_bars = true,
                "--report" => options.measures = false,
                "--parts" => options.parts = parts(value()?)?,
                flag if flag.starts_with('-') => {
                    return Err(io::Error::other(format!("{flag}: no such option")));
                }
                word => options.words.push(word.to_owned()),
            }
        }
        if options.parts.is_empty() {
            // Words choose among the scenarios of these.
            options.parts = match options.words.is_empty() {
                true => PARTS.to_vec(),
                false => vec!["servers", "limits"],
            };
        }
        Ok(options)
    }

    fn measured(&self) -> String {
        format!("{} rounds of {} s", self.rounds, self.seconds)
    }
}

/// What can be measured by itself.
///
/// Servers under load; time limits; TLS; parts of a loop, without sockets; instructions and
/// allocations, counted; what embedding costs.
const PARTS: [&str; 6] = ["servers", "limits", "tls", "micro", "counted", "embedding"];

fn parts(list: &str) -> io::Result<Vec<&'static str>> {
    list.split(',')
        .map(|name| {
            let part = PARTS.into_iter().find(|part| *part == name);
            part.ok_or_else(|| io::Error::other(format!("{name:?} is none of {PARTS:?}")))
        })
        .collect()
}

/// Measures the parts. One that fails says so, and the others go on.
fn measure(options: &Options) -> io::Result<()> {
    let fresh = target().join("fresh.tsv");
    fs::create_dir_all(target())?;
    let _ = fs::remove_file(&fresh);
    let mut failed = Vec::new();
    for part in &options.parts {
        println!("\n── {part} ──");
        let measured = run(command(part, options).arg("--results").arg(&fresh));
        if let Err(error) = measured {
            println!("{part}: {error}");
            failed.push(*part);
        }
    }
    if !fresh.exists() {
        return Err(io::Error::other("nothing was measured"));
    }
    run(report()
        .arg("--add")
        .arg(&fresh)
        .args(["--measured", &options.measured()]))?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(io::Error::other(format!("not measured: {failed:?}"))),
    }
}

/// The program that measures a part, and what it is told.
fn command(part: &str, options: &Options) -> Command {
    let (rounds, seconds) = (options.rounds.to_string(), options.seconds.to_string());
    let times = ["--rounds", &rounds, "--seconds", &seconds];
    match part {
        "servers" => {
            let mut command = cargo_run("benches/beside-tokio", &["--bin", "streams"]);
            command.args(times).arg("--syscalls").args(&options.words);
            command
        }
        "limits" => {
            let mut command = cargo_run("benches/beside-tokio", &["--bin", "timeouts"]);
            command.args(times).args(&options.words);
            command
        }
        "tls" => {
            let features = ["--features", "tls", "--bin", "tls"];
            let mut command = cargo_run("benches/beside-tokio", &features);
            command.args(times);
            command
        }
        "micro" => {
            let mut command = cargo_run("benches/micro", &[]);
            command.args(["--rounds", &rounds]);
            command
        }
        "counted" => cargo_run("benches/counted", &[]),
        _ => {
            // Each round builds all peers from nothing, so there are fewer.
            let rounds = (options.rounds / 7).clamp(1, 3).to_string();
            let mut command = Command::new("benches/embedding/run");
            command.args(["--rounds", &rounds]);
            command
        }
    }
}

fn report() -> Command {
    cargo_run("benches/beside-tokio", &["--bin", "report"])
}

/// Builds and runs a package of its own, with a folder of its own for what is built.
fn cargo_run(package: &str, arguments: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--release", "--quiet"])
        .args(["--manifest-path", &format!("{package}/Cargo.toml")])
        .arg("--target-dir")
        .arg(target())
        .args(arguments)
        .arg("--");
    command
}

fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    // Absolute, since the programs run elsewhere.
    let here = env::current_dir().unwrap_or_default();
    here.join(target).join("beside-tokio")
}

fn run(command: &mut Command) -> io::Result<()> {
    let ended = command.status()?;
    match ended.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("it ended with {ended}"))),
    }
}
