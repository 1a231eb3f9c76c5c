//! What is measured: parts of millstream, and the same parts of Tokio, in the same words.
//!
//! ```text
//!   Part ──► "millstream"     run(n): does it n times ──► what each took
//!        ──► "tokio …"        one or more ways, of which the best counts
//! ```
//!
//! What is written once stands in a macro, which each library fills with its own names; so
//! both do the same. Whatever a part needs first is made before its time begins.
//!
//! Tokio's loop is the current-thread one, with I/O and timers enabled, as in any program
//! that serves somebody; and where it matters each of its ways to spawn: `spawn`, which
//! asks for `Send`; `spawn_local` on a `LocalSet`; and on a `LocalRuntime`.

mod lines;
mod loops;
mod memory;
mod tasks;
mod timers;

use std::io;
use std::time::Duration;

/// Something that both libraries do.
#[derive(Debug)]
pub struct Part {
    /// What it belongs to.
    pub group: &'static str,
    /// What it is.
    pub name: &'static str,
    /// What it costs is measured in this.
    pub unit: &'static str,
    /// How often it is done at a time.
    pub times: u64,
    /// Times the rounds asked for: what takes seconds takes fewer, what is short more.
    pub patience: f64,
    /// Ours first, then Tokio's.
    pub ways: Vec<Way>,
}

/// One way of doing it.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The library, and which of its ways.
    pub who: &'static str,
    /// What it costs to do it so many times.
    pub run: Run,
}

/// How the cost is found.
#[derive(Debug, Clone, Copy)]
pub enum Run {
    /// Takes the time.
    Timed(TakeTime),
    /// Counts bytes.
    Bytes(fn(u64) -> io::Result<u64>),
}

/// Does something so many times, and says how long that took.
pub type TakeTime = fn(u64) -> io::Result<Duration>;

impl Way {
    /// Does it so many times; returns what one cost, in nanoseconds or bytes.
    ///
    /// # Errors
    /// If a loop can't be made.
    pub fn cost(&self, times: u64) -> io::Result<f64> {
        let all = match self.run {
            Run::Timed(run) => run(times)?.as_nanos() as f64,
            Run::Bytes(run) => run(times)? as f64,
        };
        Ok(all / times as f64)
    }
}

impl Part {
    fn with_patience(self, patience: f64) -> Part {
        Part { patience, ..self }
    }
}

/// All parts, in the order in which they are shown.
#[must_use]
pub fn parts() -> Vec<Part> {
    let mut parts = tasks::parts();
    parts.extend(timers::parts());
    parts.extend(memory::parts());
    parts.extend(lines::parts());
    parts
}

/// A part of which the time is taken.
fn timed(
    group: &'static str,
    name: &'static str,
    times: u64,
    ways: &[(&'static str, TakeTime)],
) -> Part {
    let way = |&(who, run)| Way {
        who,
        run: Run::Timed(run),
    };
    Part {
        group,
        name,
        unit: "ns",
        times,
        patience: 1.0,
        ways: ways.iter().map(way).collect(),
    }
}
