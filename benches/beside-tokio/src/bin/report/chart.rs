//! Charts of scenarios, as SVG that a person can read.
//!
//! ```text
//!   title
//!                  per second            processor time
//!   tokio        ████████│             ████████│            │ Tokio's line, at 1
//!   millstream   ████████├─┤ 1.04      ██████├┤│ 0.92       ├─┤ where the median lies
//! ```
//!
//! Text is text, so that it can be searched and read aloud; colours follow the reader's
//! light or dark theme.

use std::fmt::Write as _;

use beside_tokio::results::{Results, Row};

use crate::page::OF_MANY;
use crate::table::{figure, in_order};

/// A picture of a scenario.
#[derive(Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The name of its file.
    pub file: String,
    /// What is in the file.
    pub svg: String,
}

/// The charts of all scenarios that the page shows one of.
pub fn charts(results: &Results) -> Vec<Chart> {
    let scenarios = in_order(results.rows.iter().map(|row| (&row.group, &row.name)));
    scenarios
        .into_iter()
        .filter(|(group, _)| OF_MANY.contains(&group.as_str()))
        .filter_map(|(group, name)| {
            let of_it = |row: &&Row| row.group == *group && row.name == *name;
            of_scenario(&results.rows.iter().filter(of_it).collect::<Vec<_>>())
        })
        .collect()
}

/// The chart of one scenario, if there are figures of the kind that is drawn.
pub fn of_scenario(rows: &[&Row]) -> Option<Chart> {
    let panels: Vec<Panel> = KINDS
        .iter()
        .filter_map(|kind| Panel::of(kind, rows))
        .take(2)
        .collect();
    let first = *rows.first()?;
    let title = format!("{}: {}", first.group, first.name);
    (!panels.is_empty()).then(|| Chart {
        file: format!("{}.svg", file_name(&title)),
        svg: draw(&title, &panels),
        title,
    })
}

/// What can be drawn.
struct Kind {
    is_unit: fn(&str) -> bool,
    title: &'static str,
    /// Where the line of the one who is compared with stands.
    line: Option<f64>,
}

const KINDS: [Kind; 6] = [
    Kind {
        is_unit: |unit| unit.ends_with("/s of tokio"),
        title: "per second, of Tokio's: longer is better",
        line: Some(1.0),
    },
    Kind {
        is_unit: |unit| unit.starts_with("ns/") && unit.ends_with(" of tokio"),
        title: "processor time, of Tokio's: shorter is better",
        line: Some(1.0),
    },
    Kind {
        is_unit: |unit| unit == "of that alone",
        title: "processor time, of that alone: shorter is better",
        line: Some(1.0),
    },
    Kind {
        is_unit: |unit| unit == "µs p99 of tokio",
        title: "99th percentile, of Tokio's: shorter is better",
        line: Some(1.0),
    },
    Kind {
        is_unit: |unit| unit == "instructions of tokio",
        title: "instructions, of Tokio's: shorter is better",
        line: Some(1.0),
    },
    Kind {
        is_unit: |unit| unit == "bytes",
        title: "bytes each: shorter is better",
        line: None,
    },
];

/// Bars beside each other's names.
struct Panel {
    title: &'static str,
    bars: Vec<Bar>,
    line: Option<f64>,
    is_cut: bool,
}

struct Bar {
    who: String,
    value: f64,
    /// Where the value lies with 95 % confidence, or, if that isn't known, in all rounds.
    whisker: Option<(f64, f64)>,
    text: String,
}

impl Panel {
    fn of(kind: &Kind, rows: &[&Row]) -> Option<Panel> {
        let bars: Vec<Bar> = rows
            .iter()
            .filter(|row| (kind.is_unit)(&row.unit))
            .map(|row| Bar {
                who: row.who.clone(),
                value: row.value,
                whisker: row.interval.or(row.range),
                text: figure(row),
            })
            .collect();
        (!bars.is_empty()).then_some(Panel {
            title: kind.title,
            bars,
            line: kind.line,
            is_cut: kind.title.contains("shorter"),
        })
    }

    /// The value at the right end: the longest bar's, and what its whisker needs beside it,
    /// within reason. Bars that are the worse for being long may be cut.
    fn end(&self) -> f64 {
        let longest = self.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        let whiskers = self.bars.iter().filter_map(|bar| bar.whisker);
        let farthest = whiskers.map(|(_, greatest)| greatest).fold(0.0, f64::max);
        let end = farthest.clamp(longest, longest * 1.3);
        match self.line {
            // One who takes five times as long would leave the others a few pixels.
            Some(line) if self.is_cut => end.min(line * 2.5),
            _ => end.max(f64::MIN_POSITIVE),
        }
    }
}

// ── drawing ─────────────────────────────────────────────────────────────────────

/// All in pixels.
const NAMES: f64 = 170.0;
const BARS: f64 = 190.0;
const FIGURES: f64 = 130.0;
const HEADING: f64 = 64.0;
const LINE: f64 = 24.0;
const MARGIN: f64 = 14.0;

const STYLE: &str = "\
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 15px; }
  .note { fill: #59636e; }
  .page { fill: #ffffff; }
  .ours { fill: #2f6fdb; }
  .tokios { fill: #6e7781; }
  .others { fill: #b6bec8; }
  .line, .whisker { stroke: #1f2328; stroke-width: 1; }
  .line { stroke-dasharray: 3 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .page { fill: #0d1117; }
    .ours { fill: #4c8dff; }
    .tokios { fill: #8b949e; }
    .others { fill: #444c56; }
    .line, .whisker { stroke: #e6edf3; }
  }";

fn draw(title: &str, panels: &[Panel]) -> String {
    let names = in_order(
        panels
            .iter()
            .flat_map(|panel| &panel.bars)
            .map(|bar| bar.who.as_str()),
    );
    let width = MARGIN + NAMES + panels.len() as f64 * (BARS + FIGURES) + MARGIN;
    let height = HEADING + names.len() as f64 * LINE + MARGIN;
    let title = escaped(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{title}</title>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"24\">{title}</text>\n"
    );
    for (index, name) in names.iter().enumerate() {
        let y = middle(index) + 4.0;
        let name = escaped(name);
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\">{name}</text>");
    }
    for (index, panel) in panels.iter().enumerate() {
        let left = MARGIN + NAMES + index as f64 * (BARS + FIGURES);
        draw_panel(&mut svg, panel, &names, left);
    }
    svg + "</svg>\n"
}

fn draw_panel(svg: &mut String, panel: &Panel, names: &[&str], left: f64) {
    let _ = writeln!(
        svg,
        "<text class=\"note\" x=\"{left}\" y=\"50\">{}</text>",
        escaped(panel.title)
    );
    let at = |value: f64| left + BARS * (value / panel.end()).clamp(0.0, 1.0);
    for bar in &panel.bars {
        let Some(index) = names.iter().position(|name| *name == bar.who) else {
            continue;
        };
        let y = middle(index);
        let class = match &*bar.who {
            who if who.starts_with("millstream") => "ours",
            who if who.starts_with("tokio") => "tokios",
            _ => "others",
        };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/>",
            y - 7.0,
            at(bar.value) - left
        );
        if let Some((least, greatest)) = bar.whisker {
            let (from, to) = (at(least), at(greatest));
            let _ = writeln!(
                svg,
                "<path class=\"whisker\" fill=\"none\" d=\"M{from:.1} {0:.1}v8m0 -4H{to:.1}m0 -4v8\"/>",
                y - 4.0
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + BARS + 8.0,
            y + 4.0,
            escaped(&bar.text)
        );
    }
    if let Some(line) = panel.line {
        let (x, bottom) = (at(line), middle(names.len() - 1) + 11.0);
        let _ = writeln!(
            svg,
            "<path class=\"line\" d=\"M{x:.1} {HEADING}V{bottom:.1}\"/>"
        );
    }
}

/// The middle of a bar.
fn middle(index: usize) -> f64 {
    HEADING + (index as f64 + 0.5) * LINE
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Small letters, digits, and one dash for whatever else.
fn file_name(title: &str) -> String {
    let mut name = String::new();
    for letter in title.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() => name.push(letter.to_ascii_lowercase()),
            _ if !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(who: &str, value: f64, range: (f64, f64)) -> Row {
        let what = ["echo", "64 B, <50> connections", who];
        Row {
            range: Some(range),
            ..Row::new(what, "message/s of tokio", value)
        }
    }

    #[test]
    fn a_chart_names_each_candidate_and_its_figure() {
        let rows = [
            row("tokio", 1.0, (1.0, 1.0)),
            row("millstream", 1.04, (0.9, 9.0)),
        ];
        let chart = of_scenario(&rows.iter().collect::<Vec<_>>()).expect("it can be drawn");
        assert_eq!(chart.file, "echo-64-b-50-connections.svg");
        for part in [
            "&lt;50&gt;",
            ">millstream</text>",
            ">1.04 (0.90–9.00)</text>",
            "class=\"line\"",
        ] {
            assert!(chart.svg.contains(part), "{part} is not in {}", chart.svg);
        }
        let open = chart.svg.matches("<text").count();
        assert_eq!(chart.svg.matches("</text>").count(), open);
    }

    #[test]
    fn what_has_no_figure_of_that_kind_has_no_chart() {
        let mut calls = row("tokio", 2.0, (2.0, 2.0));
        calls.unit = "calls/message".to_owned();
        assert!(of_scenario(&[&calls]).is_none());
    }
}
