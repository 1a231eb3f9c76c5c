//! What was measured, line by line: the measuring programs append, the report reads.
//!
//! ```text
//!   group TAB name TAB who TAB value TAB unit [TAB least TAB greatest [TAB low TAB high]]
//! ```
//!
//! A group is a table of the report, a name one scenario of it, and who a candidate. The
//! unit also says what a figure is: `ns/op`, say, or `ns/op of tokio` for the ratio to what
//! Tokio took in the same round. From low to high reaches the interval that holds the median
//! with 95 % confidence. The kept file has a column more, which says when it was measured;
//! lines of the group `run` say on which machine that was.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::Spread;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The table it belongs to.
    pub group: String,
    /// What was measured.
    pub name: String,
    /// The candidate.
    pub who: String,
    /// The figure: a median, where there were rounds.
    pub value: f64,
    /// What the figure counts.
    pub unit: String,
    /// The least and the greatest of the rounds.
    pub range: Option<(f64, f64)>,
    /// Where the median lies with 95 % confidence.
    pub interval: Option<(f64, f64)>,
    /// When it was measured: the key of a [`Run`]. Empty until it is kept.
    pub run: String,
}

impl Row {
    /// Makes a figure that is not kept yet: of a group, a name and a candidate, measured once.
    pub fn new([group, name, who]: [&str; 3], unit: &str, value: f64) -> Row {
        Row {
            group: group.to_owned(),
            name: name.to_owned(),
            who: who.to_owned(),
            value,
            unit: unit.to_owned(),
            range: None,
            interval: None,
            run: String::new(),
        }
    }

    /// Makes one of the figures of several rounds.
    pub fn of_rounds(what: [&str; 3], unit: &str, spread: Spread) -> Row {
        Row {
            range: Some((spread.least, spread.greatest)),
            interval: Some(spread.interval),
            ..Row::new(what, unit, spread.median)
        }
    }

    fn parse(line: &str) -> io::Result<Row> {
        let malformed = || io::Error::other(format!("{line:?} is no line of results"));
        let fields: Vec<&str> = line.split('\t').collect();
        let [group, name, who, value, unit, rest @ ..] = &fields[..] else {
            return Err(malformed());
        };
        let number = |text: &str| text.parse::<f64>().map_err(|_| malformed());
        let pair = |at: usize| match rest.get(at..at + 2) {
            Some([from, to]) if !from.is_empty() => {
                io::Result::Ok(Some((number(from)?, number(to)?)))
            }
            _ => Ok(None),
        };
        Ok(Row {
            group: group.to_string(),
            name: name.to_string(),
            who: who.to_string(),
            value: number(value)?,
            unit: unit.to_string(),
            range: pair(0)?,
            interval: pair(2)?,
            run: rest.get(4).unwrap_or(&"").to_string(),
        })
    }

    fn line(&self) -> String {
        let [range, interval] = [self.range, self.interval].map(|pair| match pair {
            Some((from, to)) => [significant(from), significant(to)],
            None => Default::default(),
        });
        [
            &self.group,
            &self.name,
            &self.who,
            &significant(self.value),
            &self.unit,
            &range[0],
            &range[1],
            &interval[0],
            &interval[1],
            &self.run,
        ]
        .map(String::as_str)
        .join("\t")
    }
}

/// Five digits that count: more would be noise.
fn significant(value: f64) -> String {
    let magnitude = value.abs().max(1e-9).log10().floor() as i32;
    let decimals = (4 - magnitude).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Where a measuring program notes its figures: a file, or nowhere.
#[derive(Debug)]
pub struct Notebook {
    file: Option<File>,
}

impl Notebook {
    /// Appends to the file, if there is one.
    pub fn open(path: Option<&Path>) -> io::Result<Notebook> {
        let append = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Notebook {
            file: path.map(append).transpose()?,
        })
    }

    /// Notes the median of the rounds' figures, and how far they lie apart.
    pub fn note(&mut self, what: [&str; 3], unit: &str, spread: Spread) -> io::Result<()> {
        self.append(Row::of_rounds(what, unit, spread))
    }

    /// Notes a figure that was measured once.
    pub fn note_one(&mut self, what: [&str; 3], unit: &str, value: f64) -> io::Result<()> {
        self.append(Row::new(what, unit, value))
    }

    fn append(&mut self, row: Row) -> io::Result<()> {
        match &mut self.file {
            Some(file) => writeln!(file, "{}", row.line().trim_end()),
            None => Ok(()),
        }
    }
}

/// When, from what and on what something was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The date and the time.
    pub key: String,
    /// The commit, how long was measured, the machine, its system, the compiler, the peers.
    pub facts: Vec<String>,
}

/// All figures that are kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Results {
    /// The runs that a row refers to.
    pub runs: Vec<Run>,
    /// The figures, in the order in which they were measured.
    pub rows: Vec<Row>,
}

impl Results {
    /// Reads a file; one that isn't there holds nothing.
    pub fn read(path: &Path) -> io::Result<Results> {
        match fs::read_to_string(path) {
            Ok(text) => Results::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Results::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> io::Result<Results> {
        let mut results = Results::default();
        for line in text.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.strip_prefix("run\t") {
                Some(run) => {
                    let mut facts = run.split('\t').map(str::to_owned);
                    results.runs.push(Run {
                        key: facts.next().unwrap_or_default(),
                        facts: facts.collect(),
                    });
                }
                None => results.rows.push(Row::parse(line)?),
            }
        }
        Ok(results)
    }

    /// Writes the file anew.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.text())
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "# What was measured: group, name, who, value, unit, least, greatest, low, high, run.\n\
             # Made by `cargo bench --bench beside_tokio`.\n",
        );
        for run in &self.runs {
            let _ = writeln!(text, "run\t{}\t{}", run.key, run.facts.join("\t"));
        }
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        text
    }

    /// Takes in what a run has measured. What was known of the same scenarios goes, and so
    /// do runs of which nothing is left.
    pub fn take_in(&mut self, fresh: Vec<Row>, run: Run) {
        let is_same = |one: &Row, other: &Row| one.group == other.group && one.name == other.name;
        for mut row in fresh {
            row.run.clone_from(&run.key);
            // The new rows of a scenario stand where its old ones stood.
            let old = |kept: &Row| is_same(kept, &row) && kept.run != run.key;
            let place = self.rows.iter().position(old);
            self.rows.retain(|kept| !old(kept));
            let place = place
                .or_else(|| {
                    let last = self.rows.iter().rposition(|kept| is_same(kept, &row));
                    last.map(|last| last + 1)
                })
                .unwrap_or(self.rows.len());
            self.rows.insert(place, row);
        }
        self.runs.retain(|known| known.key != run.key);
        self.runs.push(run);
        let rows = &self.rows;
        self.runs
            .retain(|run| rows.iter().any(|row| row.run == run.key));
    }

    /// The rows of a group, in order.
    pub fn of_group<'a>(&'a self, group: &str) -> Vec<&'a Row> {
        self.rows.iter().filter(|row| row.group == group).collect()
    }

    /// A row, by what it says.
    pub fn find(&self, group: &str, name: &str, who: &str, unit: &str) -> Option<&Row> {
        self.rows.iter().find(|row| {
            row.group == group && row.name == name && row.who == who && row.unit == unit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lines: &str) -> Results {
        Results::parse(lines).expect("they are well-formed")
    }

    fn run(key: &str) -> Run {
        Run {
            key: key.to_owned(),
            facts: vec!["a commit".to_owned()],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let kept = results(
            "run\tMonday\tabc\t2 processors\n\
             echo\t64 B\tmio\t151234\tops/s\t1.5\t200000\t2.5\t180000\tMonday\n\
             idle memory\t\tmio\t498\tbytes\t\t\t\t\tMonday\n",
        );
        assert_eq!(results(&kept.text()), kept);
        assert_eq!(kept.rows[0].range, Some((1.5, 200000.0)));
        assert_eq!(kept.rows[0].interval, Some((2.5, 180000.0)));
        assert_eq!((kept.rows[1].range, kept.rows[1].interval), (None, None));
    }

    #[test]
    fn five_columns_are_enough() {
        let row = Row::parse("micro\tspawn\ttokio\t176.2\tns").expect("it is well-formed");
        assert_eq!((row.value, row.range, row.run.as_str()), (176.2, None, ""));
        assert!(Row::parse("micro\tspawn\ttokio\tmany\tns").is_err());
    }

    #[test]
    fn a_scenario_measured_anew_stands_where_it_stood() {
        let mut kept = results(
            "run\tMonday\tabc\n\
             echo\ta\tmio\t1\tns\t\t\t\t\tMonday\n\
             echo\tb\tmio\t2\tns\t\t\t\t\tMonday\n\
             echo\tc\tmio\t3\tns\t\t\t\t\tMonday\n",
        );
        let fresh = results("echo\tb\tmio\t7\tns\necho\tb\tsmol\t8\tns\necho\td\tmio\t9\tns\n");
        kept.take_in(fresh.rows, run("Tuesday"));
        let values: Vec<f64> = kept.rows.iter().map(|row| row.value).collect();
        assert_eq!(values, [1.0, 7.0, 8.0, 3.0, 9.0]);
        assert_eq!(kept.runs.len(), 2);
    }

    #[test]
    fn a_run_of_which_nothing_is_left_is_forgotten() {
        let mut kept = results("run\tMonday\tabc\necho\ta\tmio\t1\tns\t\t\t\t\tMonday\n");
        kept.take_in(results("echo\ta\tmio\t2\tns\n").rows, run("Tuesday"));
        assert_eq!(kept.runs, [run("Tuesday")]);
    }

    #[test]
    fn figures_keep_five_digits() {
        let texts = [151234.5678, 0.98765432, 12.5, 0.0, 3.0].map(significant);
        assert_eq!(texts, ["151235", "0.98765", "12.5", "0", "3"]);
    }
}
