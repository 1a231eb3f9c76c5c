//! What benchmarks share that need processes of their own: starting them, and their memory.
//!
//! ```text
//!   benchmark ──starts itself with a role──► serves ──its address──► standard output
//!             └─starts itself with a role──► connects
//!   it ends when its standard input does: when its `Part` is dropped
//! ```

#![allow(dead_code, reason = "each benchmark uses its part of this")]

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Another process of this program, which plays a part in the measurement.
pub(crate) struct Part {
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Part {
    /// Starts this program again, with arguments that say which part it plays.
    pub(crate) fn start(arguments: &[&str]) -> io::Result<Part> {
        let mut process = this_program(arguments)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Part {
            process,
            stdout: BufReader::new(stdout),
        })
    }

    /// Waits for a line that it prints: its address, or that it is ready.
    pub(crate) fn says(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line)? {
            0 => Err(io::Error::other("a part of the measurement has ended")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Returns how many bytes of memory are resident.
    pub(crate) fn resident_bytes(&self) -> io::Result<usize> {
        resident_bytes(&self.process.id().to_string())
    }

    /// Has it end, and says whether it ended well.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        drop(self.process.stdin.take());
        let ended = self.process.wait()?;
        match ended.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("a part ended with {ended}"))),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("a part of the measurement did not end: {error}");
        }
    }
}

/// Waits, in a part, until it is to end.
pub(crate) fn wait_for_the_end() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The command that starts this program again, with as many descriptors as it may have.
///
/// The shell raises the limit, since the standard library can't.
pub(crate) fn this_program(arguments: &[&str]) -> io::Result<Command> {
    let raise_and_run = r#"ulimit -S -n "$(ulimit -H -n)"; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command
        .args(["-c", raise_and_run])
        .arg(env::current_exe()?)
        .args(arguments);
    Ok(command)
}

/// How many of `wanted` connections a process may have at once, with some descriptors
/// left for what else it needs.
pub(crate) fn as_many_as_allowed(wanted: usize) -> usize {
    wanted.min(descriptors_allowed().saturating_sub(200))
}

/// The hard limit on open descriptors.
fn descriptors_allowed() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().nth(1))
        .and_then(|hard| hard.parse().ok())
        .unwrap_or(1024)
}

/// Returns how many bytes of a process's memory are resident; `self` is this one's name.
pub(crate) fn resident_bytes(process: &str) -> io::Result<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("no VmRSS in /proc: this needs Linux"))?;
    Ok(kib * 1024)
}

/// Sorts figures, and returns those at these fractions of the way: `[0.5, 0.99]`, say, for
/// the median and the 99th percentile.
pub(crate) fn at_fractions<const N: usize>(mut figures: Vec<f64>, fractions: [f64; N]) -> [f64; N] {
    figures.sort_by(f64::total_cmp);
    let last = figures.len() - 1;
    fractions.map(|fraction| figures[(last as f64 * fraction).round() as usize])
}
