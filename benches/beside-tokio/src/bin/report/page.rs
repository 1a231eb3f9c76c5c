//! The page: what stands between its marks is made here, the rest is written by hand.
//!
//! ```text
//!   <!-- begin: echo -->
//!   charts and tables of the group "echo"
//!   <!-- end: echo -->
//! ```

use std::fmt::Write as _;
use std::io;

use beside_tokio::results::{Results, Row};

use crate::table::{self, in_order};
use crate::{bars, chart, machine};

/// Groups of which each scenario has a table of its own, since many candidates take part.
pub const OF_MANY: [&str; 9] = [
    "echo",
    "pipelined lines",
    "bulk",
    "connections",
    "busy polling",
    "growth",
    "latency",
    "idle memory",
    "counted",
];

/// The page with what is known now.
///
/// # Errors
/// If a mark has no end.
pub fn filled_in(page: &str, results: &Results) -> io::Result<String> {
    let mut filled = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<!-- begin: ") {
        let malformed = || io::Error::other(format!("a mark is not closed: {after:.40}"));
        let (name, after) = after.split_once(" -->").ok_or_else(malformed)?;
        let end = format!("<!-- end: {name} -->");
        let (_, after) = after.split_once(&end).ok_or_else(malformed)?;
        let made = block(name, results);
        let _ = write!(filled, "{before}<!-- begin: {name} -->\n\n{made}\n\n{end}");
        rest = after;
    }
    Ok(filled + rest)
}

fn block(name: &str, results: &Results) -> String {
    match name {
        "bars" => bars::table(results),
        "runs" => runs(results),
        group => of_group(group, &results.of_group(group)),
    }
}

fn of_group(group: &str, rows: &[&Row]) -> String {
    if rows.is_empty() {
        return "Not measured yet.".to_owned();
    }
    if !OF_MANY.contains(&group) {
        return table::of_group(rows);
    }
    let mut blocks = Vec::new();
    for name in in_order(rows.iter().map(|row| row.name.as_str())) {
        let own: Vec<&Row> = rows
            .iter()
            .copied()
            .filter(|row| row.name == name)
            .collect();
        let mut block = format!("**{group}: {name}**");
        if let Some(chart) = chart::of_scenario(&own) {
            let _ = write!(block, "\n\n![{}](benchmarks/{})", chart.title, chart.file);
        }
        let (told, own): (Vec<&Row>, Vec<&Row>) = own.iter().partition(|row| row.who == "all");
        for row in told {
            let _ = write!(block, "\n\n{}: {}", row.unit, table::figure(row));
        }
        let _ = write!(block, "\n\n{}", table::of_scenario(&own));
        blocks.push(block);
    }
    blocks.join("\n\n")
}

/// When what was measured, and on what.
fn runs(results: &Results) -> String {
    let mut list = String::new();
    for run in &results.runs {
        let groups = in_order(
            results
                .rows
                .iter()
                .filter(|row| row.run == run.key)
                .map(|row| row.group.as_str()),
        );
        let _ = write!(list, "- **{}**, {}", run.key, groups.join(", "));
        for (name, fact) in machine::FACTS.iter().zip(&run.facts) {
            if !fact.is_empty() {
                let _ = write!(list, "\n  - {name}: {fact}");
            }
        }
        list.push('\n');
    }
    match list.is_empty() {
        true => "Nothing was measured yet.".to_owned(),
        false => list.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_marks_is_replaced() {
        let page = "a\n<!-- begin: tls -->\nold\n<!-- end: tls -->\nb\n";
        let filled = filled_in(page, &Results::default()).expect("it is well-formed");
        let expected = "a\n<!-- begin: tls -->\n\nNot measured yet.\n\n<!-- end: tls -->\nb\n";
        assert_eq!(filled, expected);
        let again = filled_in(&filled, &Results::default()).expect("it is well-formed");
        assert_eq!(again, filled);
    }

    #[test]
    fn a_mark_without_an_end_is_an_error() {
        assert!(filled_in("<!-- begin: tls -->\n", &Results::default()).is_err());
    }
}
