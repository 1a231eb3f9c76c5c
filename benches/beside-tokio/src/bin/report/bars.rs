//! The bars: what the figures must show, and whether they do.
//!
//! A bar says what is asked of a figure. Where several of millstream's ways of serving take
//! part, each is told; the one that a bar names is the one that must meet it.
//!
//! ```text
//!   at least 1:    [──•──]  |              not met: all of the interval is below
//!                         [─|•──]          undecided: more rounds would tell
//!                           |  [──•──]     met
//! ```

use std::fmt::Write as _;
use std::ops::Div;

use beside_tokio::results::{Results, Row};

use crate::table::ratio;

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Asked {
    AtLeast(f64),
    AtMost(f64),
}

use Asked::{AtLeast, AtMost};

impl Asked {
    /// Where the figure is known to lie within an interval, the whole interval must be on
    /// one side for a verdict. What is printed as the same figure is the same.
    fn verdict(self, figure: Measured) -> &'static str {
        let (low, high) = figure.interval.unwrap_or((figure.value, figure.value));
        let (met_by_low, met_by_high) = (self.is_met_by(low), self.is_met_by(high));
        match (met_by_low, met_by_high) {
            (true, true) => "met",
            (false, false) => "**not met**",
            _ => "undecided",
        }
    }

    fn is_met_by(self, figure: f64) -> bool {
        match self {
            AtLeast(bar) => figure >= bar - 0.005,
            AtMost(bar) => figure <= bar + 0.005,
        }
    }

    fn text(self) -> String {
        match self {
            AtLeast(bar) => format!("≥ {}", plain(bar)),
            AtMost(bar) => format!("≤ {}", plain(bar)),
        }
    }
}

/// How a figure is found.
#[derive(Debug, Clone, Copy)]
enum Figure {
    /// It is in the results: group, name, unit.
    Kept(&'static str, &'static str, &'static str),
    /// A candidate's, divided by Tokio's: group, name, unit.
    OfTokio(&'static str, &'static str, &'static str),
    /// A candidate's, divided by the least of Tokio's ways: group, name, unit.
    OfTokiosBest(&'static str, &'static str, &'static str),
    /// A candidate's, divided by its own under another name: group, names, unit.
    Grown(&'static str, [&'static str; 2], &'static str),
}

use Figure::{Grown, Kept, OfTokio, OfTokiosBest};

struct Bar {
    text: &'static str,
    /// Who must meet it.
    who: &'static str,
    figure: Figure,
    asked: Asked,
    /// Millstream's own figure in this unit is told, too, and not judged.
    told: Option<&'static str>,
}

impl Bar {
    const fn telling(self, unit: &'static str) -> Bar {
        Bar {
            told: Some(unit),
            ..self
        }
    }
}

/// A figure that was found, and where it lies with 95 % confidence, if that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Measured {
    value: f64,
    interval: Option<(f64, f64)>,
}

const fn bar(text: &'static str, who: &'static str, figure: Figure, asked: Asked) -> Bar {
    Bar {
        text,
        who,
        figure,
        asked,
        told: None,
    }
}

const OURS: &str = "millstream";
const ONE: &str = "64 B, 1 connection";
const FIFTY: &str = "64 B, 50 connections";
const THOUSAND: &str = "64 B, 1000 connections";
const LONG: &str = "16 KiB, 50 connections";
const CROWD: &str = "64 B, 10000 busy connections";
const BURSTS: &str = "32 B in bursts of 64, 50 connections";
const CLOSING: &str = "connect, echo, close";
const IDLE: &str = "10000 connections";
const LATE: &str = "64 B, 50 connections, at half of what saturates Tokio";
const SPEED: &str = "message/s of tokio";
const TIME: &str = "ns/message of tokio";
const CALLS: &str = "calls/message";

#[rustfmt::skip]
const BARS: &[Bar] = &[
    bar("echo 64 B, 1 connection: throughput", OURS, Kept("echo", ONE, SPEED), AtLeast(1.0)),
    bar("echo 64 B, 50 connections: throughput", OURS, Kept("echo", FIFTY, SPEED), AtLeast(1.0)),
    bar("echo 64 B, 1000 connections: throughput", OURS, Kept("echo", THOUSAND, SPEED), AtLeast(1.04)),
    bar("echo 16 KiB, 50 connections: throughput", OURS, Kept("echo", LONG, SPEED), AtLeast(1.0)),
    bar("echo 64 B, 1 connection: processor time", OURS, Kept("echo", ONE, TIME), AtMost(1.0)),
    bar("echo 64 B, 50 connections: processor time", OURS, Kept("echo", FIFTY, TIME), AtMost(1.0)),
    bar("echo 64 B, 1000 connections: processor time", OURS, Kept("echo", THOUSAND, TIME), AtMost(0.96)),
    bar("echo 16 KiB, 50 connections: processor time", OURS, Kept("echo", LONG, TIME), AtMost(1.0)),
    bar("echo 64 B, 1 connection: system calls", OURS, OfTokio("echo", ONE, CALLS), AtMost(1.0)),
    bar("echo 64 B, 50 connections: system calls", OURS, OfTokio("echo", FIFTY, CALLS), AtMost(1.0)),
    bar("echo 64 B, 1000 connections: system calls", OURS, OfTokio("echo", THOUSAND, CALLS), AtMost(1.0)),
    bar("echo 16 KiB, 50 connections: system calls", OURS, OfTokio("echo", LONG, CALLS), AtMost(1.0)),
    bar("pipelined lines, beside one `write_all` a line", OURS, Kept("pipelined lines", BURSTS, "line/s of tokio"), AtLeast(30.0)),
    bar("pipelined lines, beside `BufReader` and `BufWriter`", OURS, Kept("pipelined lines", BURSTS, "line/s of tokio-bufwriter"), AtLeast(1.0)),
    bar("bulk to a sink: throughput", OURS, Kept("bulk", "to a sink", "MiB/s of tokio"), AtLeast(1.0)),
    bar("bulk from a source: throughput", OURS, Kept("bulk", "from a source", "MiB/s of tokio"), AtLeast(1.0)),
    bar("connect, echo, close: throughput", OURS, Kept("connections", CLOSING, "connection/s of tokio"), AtLeast(1.0)),
    bar("one connection with busy polling: throughput", "millstream-spinning", Kept("busy polling", ONE, SPEED), AtLeast(1.6)),
    bar("memory per idle connection, bytes", OURS, Kept("idle memory", IDLE, "bytes"), AtMost(700.0)),
    bar("memory per idle connection, of Tokio's best", OURS, OfTokiosBest("idle memory", IDLE, "bytes"), AtMost(0.5)),
    bar("spawn and join: times Tokio", "ratio", Kept("tasks", "spawn and join", "times"), AtLeast(4.0)),
    bar("yield: times Tokio", "ratio", Kept("tasks", "yield, a hundred tasks", "times"), AtLeast(3.0)),
    bar("wake round trip: times Tokio", "ratio", Kept("tasks", "wake round trip", "times"), AtLeast(1.8)),
    bar("timer created and dropped: times Tokio", "ratio", Kept("timers", "set and dropped at once", "times"), AtLeast(4.0)),
    bar("memory per idle task, bytes", OURS, Kept("memory", "an idle task", "bytes"), AtMost(200.0)),
    bar("`readline_ref` from memory: times Tokio's `read_until`", "ratio", Kept("lines", "readline_ref, 32-byte lines", "times"), AtLeast(1.05)).telling("ns"),
    bar("`readline` from memory: times Tokio's `read_until` into one `Vec`", "ratio", Kept("lines", "readline, 32-byte lines", "times"), AtLeast(2.0 / 4.8)).telling("ns"),
    bar("allocations per echoed message with `read_into`", "millstream read_into", Kept("counted", "a message of 64 B, 50 connections", "allocations"), AtMost(0.0)),
    bar("allocations per line with `readline_ref`", "millstream readline_ref", Kept("counted", "a line of 32 B, 50 connections", "allocations"), AtMost(0.0)),
    bar("user-space instructions per echoed message, `protocol`", "millstream protocol", Kept("counted", "a message of 64 B, 50 connections", "instructions of tokio"), AtMost(0.8)),
    bar("user-space instructions per echoed message, `read_into`", "millstream read_into", Kept("counted", "a message of 64 B, 50 connections", "instructions of tokio"), AtMost(0.8)),
    bar("beside asyncio: echo, 50 connections", OURS, Kept("echo", FIFTY, "message/s of asyncio"), AtLeast(4.5)),
    bar("beside asyncio: pipelined lines", OURS, Kept("pipelined lines", BURSTS, "line/s of asyncio"), AtLeast(50.0)),
    bar("latency at half of Tokio's load: 99th percentile", OURS, Kept("latency", LATE, "µs p99 of tokio"), AtMost(1.0)),
    bar("embedding: crates", OURS, Kept("embedding", "crates that it brings", "crates"), AtMost(6.0)),
    bar("embedding: clean release build, of Tokio's", OURS, Kept("embedding", "clean release build", "processor s of tokio"), AtMost(0.5)),
    bar("embedding: stripped echo server, KB", OURS, Kept("embedding", "stripped server", "KB"), AtMost(420.0)),
    bar("10000 busy connections: processor time", OURS, Kept("growth", CROWD, TIME), AtMost(1.0)),
    bar("100 busy of 10000: processor time, of that of 100 alone", OURS, Kept("growth", "64 B, 100 busy connections of 10000", "of that alone"), AtMost(1.3)),
    bar("instructions per message among 400 idle connections, of those without", "millstream read", Grown("counted", ["a message of 64 B, 50 connections", "a message of 64 B, 50 connections of 450"], "instructions"), AtMost(1.0)),
    bar("a million timers beside a thousand, set anew: time each", OURS, Grown("timers", ["set anew, of 1 000", "set anew, of 1 000 000"], "ns"), AtMost(1.5)),
    bar("a million timers beside a thousand, fired: time each", OURS, Grown("timers", ["set and fired, 1 000", "set and fired, 1 000 000"], "ns"), AtMost(1.5)),
    bar("a million time limits beside a thousand: time each", OURS, Grown("time limits", ["dropped and set, of 1000 pending", "dropped and set, of 1000000 pending"], "ns"), AtMost(1.5)),
];

/// Millstream's other ways, which are told beside the one that must meet the bar.
const OTHERS: [&str; 3] = [
    "millstream-lending",
    "millstream-into",
    "millstream-protocol",
];

/// All bars, as a table in Markdown.
pub fn table(results: &Results) -> String {
    let mut table = String::from(
        "| bar | asked | figure | | lending | into | protocol |\n| --- | ---: | ---: | --- | ---: | ---: | ---: |",
    );
    for bar in BARS {
        let figure = bar.figure.of(results, bar.who);
        let verdict = figure.map_or("not measured", |figure| bar.asked.verdict(figure));
        let _ = write!(
            table,
            "\n| {} | {} | {}{} | {verdict} |",
            bar.text,
            bar.asked.text(),
            figure.map_or(String::new(), text),
            told(results, bar)
        );
        for other in OTHERS {
            let figure = match bar.who {
                OURS => bar.figure.of(results, other),
                _ => None,
            };
            let _ = write!(table, " {} |", figure.map_or(String::new(), text));
        }
    }
    table
}

/// What is told beside the figure that is judged.
fn told(results: &Results, bar: &Bar) -> String {
    let (Some(unit), Kept(group, name, _)) = (bar.told, bar.figure) else {
        return String::new();
    };
    let row = results.find(group, name, OURS, unit);
    row.map_or(String::new(), |row| format!("; {:.1} {unit}", row.value))
}

impl Figure {
    /// The figure of a candidate, if it was measured.
    fn of(self, results: &Results, who: &str) -> Option<Measured> {
        let measured =
            |group, name, who: &str, unit| results.find(group, name, who, unit).map(Measured::from);
        match self {
            Kept(group, name, unit) => measured(group, name, who, unit),
            OfTokio(group, name, unit) => {
                Some(measured(group, name, who, unit)? / measured(group, name, "tokio", unit)?)
            }
            Grown(group, [few, many], unit) => {
                Some(measured(group, many, who, unit)? / measured(group, few, who, unit)?)
            }
            OfTokiosBest(group, name, unit) => {
                let is_tokios = |row: &&Row| {
                    row.group == group
                        && row.name == name
                        && row.unit == unit
                        && row.who.starts_with("tokio")
                };
                let tokios = results.rows.iter().filter(is_tokios).map(Measured::from);
                let best = tokios.min_by(|a, b| a.value.total_cmp(&b.value))?;
                Some(measured(group, name, who, unit)? / best)
            }
        }
    }
}

impl From<&Row> for Measured {
    fn from(row: &Row) -> Measured {
        Measured {
            value: row.value,
            interval: row.interval,
        }
    }
}

/// Of figures that were not measured in the same rounds. The interval of their ratio
/// reaches from the least to the most that theirs allow.
impl Div for Measured {
    type Output = Measured;

    fn div(self, other: Measured) -> Measured {
        let ends = self.interval.zip(other.interval);
        Measured {
            value: self.value / other.value,
            interval: ends.map(|((low, high), (least, most))| (low / most, high / least)),
        }
    }
}

/// A figure, and the interval that it lies in.
fn text(figure: Measured) -> String {
    let value = plain(figure.value);
    match figure.interval {
        Some((low, high)) if low < high => {
            format!("{value} [{}–{}]", plain(low), plain(high))
        }
        _ => value,
    }
}

/// As a ratio, or, if it is none, without decimals.
fn plain(figure: f64) -> String {
    match figure.fract() == 0.0 && figure != 1.0 {
        true => format!("{figure:.0}"),
        false => ratio(figure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, name: &str, who: &str, value: f64, unit: &str) -> Row {
        Row::new([group, name, who], unit, value)
    }

    fn results(rows: Vec<Row>) -> Results {
        Results {
            runs: Vec::new(),
            rows,
        }
    }

    #[test]
    fn a_bar_is_met_or_not_or_not_measured() {
        let results = results(vec![
            row("echo", ONE, OURS, 1.1, SPEED),
            row("echo", FIFTY, OURS, 0.9, SPEED),
            row("echo", FIFTY, "millstream-lending", 1.2, SPEED),
        ]);
        let table = table(&results);
        let lines: Vec<&str> = table.lines().skip(2).take(3).collect();
        assert!(lines[0].ends_with("| ≥ 1.00 | 1.10 | met |  |  |  |"));
        assert!(lines[1].ends_with("| ≥ 1.00 | 0.90 | **not met** | 1.20 |  |  |"));
        assert!(lines[2].ends_with("| ≥ 1.04 |  | not measured |  |  |  |"));
    }

    #[test]
    fn an_interval_that_holds_the_bar_decides_nothing() {
        let measured = |value, low, high| Measured {
            value,
            interval: Some((low, high)),
        };
        assert_eq!(AtLeast(1.0).verdict(measured(1.1, 1.02, 1.2)), "met");
        assert_eq!(AtLeast(1.0).verdict(measured(1.1, 0.9, 1.2)), "undecided");
        assert_eq!(AtMost(1.0).verdict(measured(1.1, 0.9, 1.2)), "undecided");
        assert_eq!(AtMost(1.0).verdict(measured(1.1, 1.02, 1.2)), "**not met**");
    }

    #[test]
    fn an_interval_stands_beside_its_figure() {
        let mut one = row("echo", ONE, OURS, 1.1, SPEED);
        one.interval = Some((0.98, 1.2));
        let table = table(&results(vec![one]));
        assert!(table.contains("| ≥ 1.00 | 1.10 [0.98–1.20] | undecided |  |  |  |"));
    }

    #[test]
    fn nanoseconds_are_told_and_a_ratio_is_judged() {
        let name = "readline, 32-byte lines";
        let results = results(vec![
            row("lines", name, OURS, 28.06, "ns"),
            row("lines", name, "ratio", 0.5, "times"),
        ]);
        assert!(table(&results).contains("| ≥ 0.42 | 0.50; 28.1 ns | met |"));
    }

    #[test]
    fn what_prints_as_the_bar_meets_it() {
        assert!(AtLeast(1.0).is_met_by(0.996));
        assert!(!AtLeast(1.0).is_met_by(0.99));
        assert!(AtMost(2.0).is_met_by(2.004));
    }

    #[test]
    fn of_tokios_ways_the_best_is_compared_with() {
        let bytes = |who, value| row("idle memory", IDLE, who, value, "bytes");
        let results = results(vec![
            bytes("tokio", 16000.0),
            bytes("tokio-shared", 1200.0),
            bytes(OURS, 600.0),
        ]);
        let figure = OfTokiosBest("idle memory", IDLE, "bytes");
        let half = Measured {
            value: 0.5,
            interval: None,
        };
        assert_eq!(figure.of(&results, OURS), Some(half));
    }
}
