//! System calls that an operation costs, counted by `perf` or `strace`.
//!
//! Those of a longer run less those of a shorter one, so that starting and stopping do not
//! count. `perf` is preferred: it hardly slows the server, which therefore finds as many
//! connections ready in each of its polls as it does when it is timed.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use beside_tokio::process::Under;
use beside_tokio::servers::Candidate;

use crate::running::Running;
use crate::scenarios::Scenario;

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// `perf stat`, which few systems let everybody use.
    Perf,
    /// `strace -c`.
    Strace,
}

/// What `perf` is to count.
const ENTRIES: &str = "raw_syscalls:sys_enter";

impl Counter {
    /// The one that works here.
    pub fn that_works() -> Option<Counter> {
        let perf = ["perf", "stat", "-x,", "-e", ENTRIES, "true"];
        let strace = ["strace", "-o", "/dev/null", "true"];
        if works(&perf) {
            Some(Counter::Perf)
        } else if works(&strace) {
            Some(Counter::Strace)
        } else {
            None
        }
    }

    /// Returns how many system calls of the server an operation takes.
    pub fn count(self, scenario: &Scenario, candidate: Candidate) -> io::Result<f64> {
        let counts = env::temp_dir().join(format!("beside-tokio-{}.calls", std::process::id()));
        let (_, counted_each) = scenario.operation();
        let mut runs = Vec::new();
        for until in scenario.lengths_to_count() {
            let output = counts.to_string_lossy();
            let command: &[&str] = match self {
                Counter::Perf => &["perf", "stat", "-x,", "-e", ENTRIES, "-o", &output],
                Counter::Strace => &["strace", "-f", "-c", "-o", &output],
            };
            let mut counted = Running::start(scenario, candidate, Under::Command(command))?;
            let done = counted.load(scenario.load, until)?;
            drop(std::mem::take(&mut counted.connections));
            counted.server.stop_counted()?;
            runs.push((self.total(&counts)?, done.operations as f64 / counted_each));
        }
        let _ = fs::remove_file(&counts);
        Ok((runs[1].0 - runs[0].0) / (runs[1].1 - runs[0].1))
    }

    fn total(self, counts: &Path) -> io::Result<f64> {
        let text = fs::read_to_string(counts)?;
        let total = match self {
            // "12345,,raw_syscalls:sys_enter,…"
            Counter::Perf => text
                .lines()
                .find(|line| line.contains(ENTRIES))
                .and_then(|line| line.split(',').next()),
            // "100.00    0.123456           1     12345         6 total"
            Counter::Strace => text
                .lines()
                .find(|line| line.ends_with("total"))
                .and_then(|line| line.split_whitespace().nth(3)),
        };
        total
            .and_then(|calls| calls.parse().ok())
            .ok_or_else(|| io::Error::other(format!("{self:?} wrote no total: {text:?}")))
    }
}

fn works(command: &[&str]) -> bool {
    let status = Command::new(command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}
