//! How two candidates are compared: in turn, within each round, and by the ratio of a
//! round, so that a machine whose speed drifts slows both.
//!
//! ```text
//!   round 1: ours, theirs ─► ratio      round 2: theirs, ours ─► ratio      …
//!                                                    median (least-greatest)
//! ```

pub mod load;
pub mod process;
pub mod results;
pub mod servers;

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use results::Notebook;

/// What a candidate costs per operation: any unit, as long as both use the same.
pub type Cost = f64;

/// Pairs of candidates that are measured in turn, one scenario after the other.
#[derive(Debug)]
pub struct Comparison {
    /// The table that the figures belong to.
    pub group: &'static str,
    /// What a cost is in: "ns", say.
    pub unit: &'static str,
    /// Rounds, in each of which both are measured.
    pub rounds: usize,
    /// Where the figures go, besides to standard output.
    pub notebook: Notebook,
}

impl Comparison {
    /// Measures two candidates in turn, and prints the median of each, and the ratio of
    /// theirs to ours: above one, ours is cheaper. Who begins changes with each round.
    pub fn compare(
        &mut self,
        what: &str,
        mut ours: impl FnMut() -> io::Result<Cost>,
        mut theirs: impl FnMut() -> io::Result<Cost>,
    ) -> io::Result<()> {
        let (mut our_costs, mut their_costs) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            if round % 2 == 0 {
                our_costs.push(ours()?);
                their_costs.push(theirs()?);
            } else {
                their_costs.push(theirs()?);
                our_costs.push(ours()?);
            }
        }
        let unit = self.unit;
        let (our, their) = (
            Spread::of(our_costs.as_slice()),
            Spread::of(their_costs.as_slice()),
        );
        let Spread {
            least,
            median,
            greatest,
        } = Spread::of_ratios(&their_costs, &our_costs);
        println!(
            "{what:40}{:>12.1} {unit}{:>12.1} {unit}   {median:.2} ({least:.2}-{greatest:.2})",
            our.median, their.median
        );
        let cheaper = Spread::of_ratios(&our_costs, &their_costs);
        let group = self.group;
        self.notebook.note([group, what, "millstream"], unit, our)?;
        self.notebook.note([group, what, "tokio"], unit, their)?;
        let ratio = format!("{unit} of tokio");
        self.notebook
            .note([group, what, "millstream"], &ratio, cheaper)
    }

    /// Prints the heading of the lines that [`compare`](Comparison::compare) prints.
    pub fn print_heading(&self) {
        let width = 12 + 1 + self.unit.len();
        println!(
            "{:40}{:>width$}{:>width$}   Tokio to millstream: median (least-greatest)",
            "", "millstream", "Tokio"
        );
    }
}

/// The median of some figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least figure.
    pub least: f64,
    /// The one in the middle, the upper of two.
    pub median: f64,
    /// The greatest figure.
    pub greatest: f64,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread {
            least,
            median,
            greatest,
        } = self;
        write!(f, "{median:.3} ({least:.3}-{greatest:.3})")
    }
}

impl Spread {
    /// Sorts the figures.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(figures: impl Into<Vec<f64>>) -> Spread {
        let mut figures = figures.into();
        figures.sort_by(f64::total_cmp);
        Spread {
            least: figures[0],
            median: figures[figures.len() / 2],
            greatest: figures[figures.len() - 1],
        }
    }
    /// The ratios of each figure to the one of the same round.
    ///
    /// # Panics
    /// If there are none.
    pub fn of_ratios(figures: &[f64], baseline: &[f64]) -> Spread {
        let ratios: Vec<f64> = figures.iter().zip(baseline).map(|(a, b)| a / b).collect();
        Spread::of(ratios)
    }
}

/// What all measuring programs are told: `--rounds 9`, `--seconds 0.5`, `--results FILE`;
/// other words choose among the scenarios.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Parts of names: a scenario whose name contains none of them isn't measured.
    pub words: Vec<String>,
    /// How often each candidate is measured.
    pub rounds: usize,
    /// For how many seconds, each time.
    pub seconds: f64,
    /// Where the figures are appended.
    pub results: Option<PathBuf>,
    /// Words that begin with a dash, and aren't known here.
    pub flags: Vec<String>,
}

impl Options {
    /// Nine rounds of half a second, unless the arguments say otherwise.
    pub fn from_arguments() -> io::Result<Options> {
        Options::parse(env::args().skip(1))
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Options> {
        let mut options = Options {
            words: Vec::new(),
            rounds: 9,
            seconds: 0.5,
            results: None,
            flags: Vec::new(),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let missing = || io::Error::other(format!("{argument} takes a value"));
                arguments.next().ok_or_else(missing)
            };
            let number = |text: String| {
                text.parse::<f64>()
                    .ok()
                    .filter(|number| *number > 0.0)
                    .ok_or_else(|| io::Error::other(format!("{text:?} is no number above 0")))
            };
            match argument.as_str() {
                "--rounds" => options.rounds = number(value()?)?.max(1.0) as usize,
                "--seconds" => options.seconds = number(value()?)?,
                "--results" => options.results = Some(value()?.into()),
                flag if flag.starts_with('-') => options.flags.push(argument),
                _ => options.words.push(argument),
            }
        }
        Ok(options)
    }

    /// Says whether a scenario is to be measured.
    pub fn wants(&self, group: &str, name: &str) -> bool {
        let title = format!("{group}: {name}");
        self.words.is_empty() || self.words.iter().any(|word| title.contains(word.as_str()))
    }

    /// Where the figures go.
    pub fn notebook(&self) -> io::Result<Notebook> {
        Notebook::open(self.results.as_deref().map(Path::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_a_round() {
        let spread = Spread::of_ratios(&[2.0, 30.0, 4.0], &[1.0, 10.0, 4.0]);
        assert_eq!(
            (spread.least, spread.median, spread.greatest),
            (1.0, 2.0, 3.0)
        );
    }

    #[test]
    fn words_choose_among_the_scenarios() {
        let words = ["echo: 64", "--rounds", "3", "--syscalls"].map(str::to_owned);
        let options = Options::parse(words.into_iter()).expect("they are well-formed");
        assert!(options.wants("echo", "64 B, 50 connections"));
        assert!(!options.wants("lines", "64 B"));
        assert_eq!((options.rounds, options.flags.len()), (3, 1));
    }
}
