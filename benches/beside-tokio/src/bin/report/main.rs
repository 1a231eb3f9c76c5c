//! Makes the page of benchmarks from the figures that are kept: tables, charts, bars.
//!
//! ```text
//!   measuring programs ──--add FILE──► docs/benchmarks/results.tsv ──► docs/benchmarks.md
//!                                                                  ├─► docs/benchmarks/*.svg
//!                                                                  └─► --bars: standard output
//! ```
//!
//! `cargo bench --bench beside_tokio` in the library's folder runs it. By itself, in that
//! folder: `report`, `report --add FILE --measured "25 rounds of 0.15 s"`, `report --bars`.

mod bars;
mod chart;
mod machine;
mod page;
mod table;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use beside_tokio::results::Results;

/// What is kept, from the library's folder.
const RESULTS: &str = "docs/benchmarks/results.tsv";

/// Where the charts are, and the page that shows them.
const CHARTS: &str = "docs/benchmarks";
const PAGE: &str = "docs/benchmarks.md";

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let (mut added, mut measured, mut shows_bars) = (None, String::new(), false);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let missing = || io::Error::other(format!("{argument} takes a value"));
            arguments.next().ok_or_else(missing)
        };
        match argument.as_str() {
            "--add" => added = Some(PathBuf::from(value()?)),
            "--measured" => measured = value()?,
            "--bars" => shows_bars = true,
            _ => return Err(io::Error::other(format!("{argument:?}: no such option"))),
        }
    }
    fs::create_dir_all(CHARTS)?;
    let mut results = Results::read(Path::new(RESULTS))?;
    if let Some(file) = added {
        let fresh = Results::read(&file)?.rows;
        results.take_in(fresh, machine::run(measured)?);
        results.write(Path::new(RESULTS))?;
    }
    if shows_bars {
        println!("{}", bars::table(&results));
        return Ok(());
    }
    draw_charts(&results)?;
    let page = fs::read_to_string(PAGE)?;
    fs::write(PAGE, page::filled_in(&page, &results)?)
}

/// Draws the charts anew. Those of scenarios that are gone go.
fn draw_charts(results: &Results) -> io::Result<()> {
    for entry in fs::read_dir(CHARTS)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    for chart in chart::charts(results) {
        fs::write(Path::new(CHARTS).join(&chart.file), chart.svg)?;
    }
    Ok(())
}
