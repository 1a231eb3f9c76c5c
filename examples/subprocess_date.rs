//! Run with `cargo run --example subprocess_date --features subprocess`. A line like this
//! appears:
//!
//! ```text
//! Current date: 2026-04-01 12:34:56.789012
//! ```
//!
//! A child process prints the date, and we read it from its standard output.
//!
//! Python: "Subprocess and streams", of the page on subprocesses.

use std::io;
use std::process::Stdio;

use millstream::{create_subprocess_exec, run};

async fn get_date() -> io::Result<String> {
    let code = "import datetime as d; print(d.datetime.now().isoformat(' ', 'microseconds'))";

    // Create the subprocess; redirect the standard output into a pipe.
    let mut process = create_subprocess_exec("python3")
        .args(["-c", code])
        .stdout(Stdio::piped())
        .await?;

    // Read one line of output.
    let data = match &mut process.stdout {
        Some(stdout) => stdout.readline().await?,
        None => unreachable!("it was redirected"),
    };
    let line = String::from_utf8_lossy(&data).trim_end().to_owned();

    // Wait for the subprocess exit.
    process.wait().await;
    Ok(line)
}

fn main() -> io::Result<()> {
    let date = run(get_date())?;
    println!("Current date: {date}");
    Ok(())
}
