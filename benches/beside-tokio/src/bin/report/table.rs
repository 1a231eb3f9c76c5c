//! Tables of figures, as Markdown.
//!
//! ```text
//!   under load: one table a scenario      otherwise: one table a group
//!   ┌───────────┬──────┬──────┐           ┌───────────┬────────────┬───────┐
//!   │ candidate │ unit │ unit │           │ scenario  │ millstream │ tokio │
//! ```

use std::fmt::Write as _;

use beside_tokio::results::Row;

/// A scenario: a row for each candidate, a column for each unit.
pub fn of_scenario(rows: &[&Row]) -> String {
    let candidates = in_order(rows.iter().map(|row| row.who.as_str()));
    let units = in_order(
        rows.iter()
            .map(|row| row.unit.as_str())
            .filter(|unit| !is_left_out(unit)),
    );
    let mut table = String::from("| |");
    for unit in &units {
        let _ = write!(table, " {} |", heading(unit));
    }
    table += "\n| --- |";
    table += &" ---: |".repeat(units.len());
    for who in candidates {
        let _ = write!(table, "\n| {} |", bold_if_ours(who));
        for unit in &units {
            let row = rows.iter().find(|row| row.who == who && row.unit == *unit);
            let _ = write!(table, " {} |", row.map_or(String::new(), |row| figure(row)));
        }
    }
    table
}

/// A group: a row for each scenario and unit, a column for each candidate. Where Tokio was
/// taken at its best, a column for all of its ways.
pub fn of_group(rows: &[&Row]) -> String {
    let whos = in_order(rows.iter().map(|row| row.who.as_str()));
    let lines = in_order(
        rows.iter()
            .map(|row| (row.name.as_str(), row.unit.as_str()))
            .filter(|(_, unit)| *unit != "times"),
    );
    let columns = match whos.contains(&"ratio") {
        true => vec!["millstream", "tokio", "ratio"],
        false => whos,
    };
    let mut table = String::from("| |");
    for who in &columns {
        let _ = match *who {
            "ratio" => write!(table, " Tokio's best to ours |"),
            who => write!(table, " {who} |"),
        };
    }
    table += "\n| --- |";
    table += &" ---: |".repeat(columns.len());
    for (name, unit) in lines {
        let _ = match unit.strip_suffix(" of tokio") {
            Some(unit) => write!(table, "\n| {name}, {unit}, of Tokio's |"),
            None if name.starts_with(unit) => write!(table, "\n| {name} |"),
            None => write!(table, "\n| {name}, {unit} |"),
        };
        for column in &columns {
            let unit = if *column == "ratio" { "times" } else { unit };
            let figures: Vec<String> = rows
                .iter()
                .filter(|row| row.name == name && row.unit == unit)
                .filter_map(|row| Some(figure_of_way(row, row.who.strip_prefix(column)?)))
                .collect();
            let _ = write!(table, " {} |", figures.join("; "));
        }
    }
    table
}

/// A figure, and by which of its ways a candidate came to it, if it has several.
fn figure_of_way(row: &Row, way: &str) -> String {
    match way.is_empty() {
        true => figure(row),
        false => format!("{} by{way}", figure(row)),
    }
}

/// What is in the file and not in a table: ratios to asyncio, which the bars tell.
fn is_left_out(unit: &str) -> bool {
    unit.ends_with(" of asyncio")
}

fn heading(unit: &str) -> String {
    match unit.split_once(" of ") {
        Some((_, "tokio")) => return "of Tokio's".to_owned(),
        Some((_, peer)) if !peer.contains(' ') => return format!("of {peer}'s"),
        _ => {}
    }
    match unit.split_once('/') {
        Some(("ns", what)) => format!("processor ns per {what}"),
        Some(("calls", what)) => format!("system calls per {what}"),
        Some(("MiB", "s")) => "MiB per second".to_owned(),
        Some((what, "s")) => format!("{what}s per second"),
        _ => unit.to_owned(),
    }
}

fn bold_if_ours(who: &str) -> String {
    match who.starts_with("millstream") {
        true => format!("**{who}**"),
        false => who.to_owned(),
    }
}

/// A figure, and for ratios the interval that it lies in, and how far the rounds lay apart.
pub fn figure(row: &Row) -> String {
    let is_ratio = row.unit.contains(" of ") || row.unit == "of that alone" || row.unit == "times";
    match row.unit.as_str() {
        "busy" => format!("{:.0} %", row.value * 100.0),
        "set aside" => format!("{:.1} %", row.value * 100.0),
        _ if is_ratio => {
            let ends = |(from, to)| format!("{}–{}", ratio(from), ratio(to));
            let interval = row
                .interval
                .map(|interval| format!(" [{}]", ends(interval)));
            let range = row.range.map(|range| format!(" ({})", ends(range)));
            let [interval, range] = [interval, range].map(Option::unwrap_or_default);
            format!("{}{interval}{range}", ratio(row.value))
        }
        _ => number(row.value),
    }
}

/// Two decimals, or as many digits as a large ratio needs.
pub fn ratio(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Three digits that count, and thin gaps between thousands.
fn number(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude >= 100.0 => with_gaps(value.round() as i64),
        magnitude if magnitude >= 10.0 => trimmed(format!("{value:.1}")),
        _ => trimmed(format!("{value:.2}")),
    }
}

fn trimmed(text: String) -> String {
    match text.trim_end_matches('0').strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

fn with_gaps(value: i64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Each once, where it first occurs.
pub fn in_order<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, who: &str, value: f64, unit: &str) -> Row {
        let is_ratio = unit.contains(" of ");
        Row {
            range: is_ratio.then_some((value / 2.0, value * 2.0)),
            interval: is_ratio.then_some((value - 0.1, value + 0.1)),
            ..Row::new(["g", name, who], unit, value)
        }
    }

    #[test]
    fn a_scenario_has_a_line_for_each_candidate() {
        let rows = [
            row("a", "tokio", 1000.0, "message/s"),
            row("a", "millstream", 1234567.0, "message/s"),
            row("a", "millstream", 1.5, "message/s of tokio"),
        ];
        let table = of_scenario(&rows.iter().collect::<Vec<_>>());
        let expected = "| | messages per second | of Tokio's |\n\
                        | --- | ---: | ---: |\n\
                        | tokio | 1\u{202f}000 |  |\n\
                        | **millstream** | 1\u{202f}234\u{202f}567 | 1.50 [1.40–1.60] (0.75–3.00) |";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_group_has_a_line_for_each_scenario() {
        let rows = [
            row("spawn", "millstream", 39.0, "ns"),
            row("spawn", "tokio spawn", 176.25, "ns"),
            row("spawn", "tokio LocalSet", 180.0, "ns"),
            row("spawn", "ratio", 4.5, "times"),
            row("yield", "millstream", 12.0, "ns"),
        ];
        let table = of_group(&rows.iter().collect::<Vec<_>>());
        let expected = "| | millstream | tokio | Tokio's best to ours |\n\
                        | --- | ---: | ---: | ---: |\n\
                        | spawn, ns | 39 | 176 by spawn; 180 by LocalSet | 4.50 |\n\
                        | yield, ns | 12 |  |  |";
        assert_eq!(table, expected);
    }
}
