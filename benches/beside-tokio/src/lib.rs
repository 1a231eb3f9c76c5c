//! How two candidates are compared: in turn, within each round, and by the ratio of a
//! round, so that a machine whose speed drifts slows both.
//!
//! ```text
//!   round 1: ours, theirs ─► ratio      round 2: theirs, ours ─► ratio      …
//!                                        median [where it lies with 95 % confidence]
//! ```

pub mod load;
pub mod open_loop;
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
        let ratio = Spread::of_ratios(&their_costs, &our_costs);
        println!(
            "{what:40}{:>12.1} {unit}{:>12.1} {unit}   {ratio}",
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
            "{:40}{:>width$}{:>width$}   Tokio to millstream: median [95 %]",
            "", "millstream", "Tokio"
        );
    }
}

/// The median of some figures, how surely it is known, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least figure.
    pub least: f64,
    /// The one in the middle, the upper of two.
    pub median: f64,
    /// The greatest figure.
    pub greatest: f64,
    /// Where the median of endlessly many such figures lies, with 95 % confidence.
    ///
    /// Fewer than six figures don't tell it with so much; then it is all that they span.
    pub interval: (f64, f64),
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (median, (low, high)) = (self.median, self.interval);
        write!(f, "{median:.3} [{low:.3}-{high:.3}]")
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
        let cut = cut_for_interval(figures.len());
        let last = figures.len() - 1;
        Spread {
            least: figures[0],
            median: figures[figures.len() / 2],
            greatest: figures[last],
            interval: (figures[cut], figures[last - cut]),
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

/// How many figures to leave out at either end, so that the median still lies among the
/// rest with 95 % confidence.
///
/// Each figure falls below the true median or above it with even chances, whatever the
/// figures' distribution is. So the number that fall below is binomial, and the interval from
/// the `k`th least to the `k`th greatest misses the median only if fewer than `k` fall on one
/// side: Conover, *Practical Nonparametric Statistics* (1999), section 3.2; Le Boudec,
/// *Performance Evaluation of Computer and Communication Systems* (2010), section 2.2. It asks
/// for no normal distribution, which the figures of a shared machine don't have.
fn cut_for_interval(count: usize) -> usize {
    let mut cut = 0;
    let mut exactly = 0.5_f64.powi(count as i32);
    let mut fewer = exactly;
    // Invariant: `fewer` is the chance that at most `cut` figures fall below the median.
    loop {
        exactly *= (count - cut) as f64 / (cut + 1) as f64;
        if fewer + exactly > (1.0 - CONFIDENCE) / 2.0 || 2 * (cut + 1) >= count {
            break;
        }
        fewer += exactly;
        cut += 1;
    }
    cut
}

/// How often intervals like those that are told hold what they are to hold.
const CONFIDENCE: f64 = 0.95;

/// What all measuring programs are told: `--rounds 25`, `--seconds 0.15`, `--results FILE`;
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
    /// 25 rounds of 0.15 seconds, unless the arguments say otherwise.
    pub fn from_arguments() -> io::Result<Options> {
        Options::parse(env::args().skip(1))
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> io::Result<Options> {
        let mut options = Options {
            words: Vec::new(),
            rounds: 25,
            seconds: 0.15,
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
    fn the_median_lies_among_all_but_a_few_at_either_end() {
        // The tables of textbooks: of 25, the 8th to the 18th, and so on.
        for (count, first) in [(6, 1), (7, 1), (9, 2), (12, 3), (17, 5), (20, 6), (25, 8)] {
            assert_eq!(cut_for_interval(count) + 1, first, "of {count}");
        }
        let figures: Vec<f64> = (1..=25).map(f64::from).collect();
        assert_eq!(Spread::of(figures).interval, (8.0, 18.0));
    }

    #[test]
    fn few_figures_tell_no_more_than_what_they_span() {
        for count in 1..6 {
            let figures: Vec<f64> = (1..=count).map(f64::from).collect();
            assert_eq!(Spread::of(figures).interval, (1.0, f64::from(count)));
        }
    }

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
