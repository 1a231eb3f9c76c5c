//! When, from what and on what was measured.

use std::fs;
use std::io;
use std::process::Command;
use std::thread;

use beside_tokio::results::Run;

/// Names of a run's facts, in order; the key stands before them.
pub const FACTS: [&str; 7] = [
    "commit",
    "measured",
    "processor",
    "system",
    "compiler",
    "peers",
    "Python",
];

/// This run: now, here.
pub fn run(measured: String) -> io::Result<Run> {
    let key = said_by("date", &["-u", "+%Y-%m-%d %H:%M:%S"]);
    let key = key.ok_or_else(|| io::Error::other("date does not tell the date"))?;
    let facts = [
        commit(),
        measured,
        processor(),
        said_by("uname", &["-srm"]).unwrap_or_default(),
        said_by("rustc", &["--version"]).unwrap_or_default(),
        peers(),
        python(),
    ];
    Ok(Run {
        key: format!("{key} UTC"),
        facts: facts.to_vec(),
    })
}

/// The first line that a program prints, if it is there and ends well.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    output.status.success().then_some(line)
}

/// What is checked out, and whether the code differs from it.
fn commit() -> String {
    let commit = said_by("git", &["rev-parse", "--short=10", "HEAD"]).unwrap_or_default();
    let is_changed = [
        "status",
        "--porcelain",
        "--untracked-files=no",
        "src",
        "benches",
    ];
    match said_by("git", &is_changed) {
        Some(changes) if !changes.is_empty() => format!("{commit}, changed"),
        _ => commit,
    }
}

fn processor() -> String {
    let processors = thread::available_parallelism().map_or(1, |count| count.get());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        .or_else(|| said_by("sysctl", &["-n", "hw.model"]))
        .unwrap_or_else(|| "unknown".to_owned());
    format!("{model}, {processors} of them")
}

/// The versions that the lock file has of those who are compared.
fn peers() -> String {
    let lock = include_str!("../../../Cargo.lock");
    let versions = ["tokio", "mio", "smol", "monoio"].map(|name| {
        let version = newest_version(lock, name).unwrap_or("?");
        format!("{name} {version}")
    });
    versions.join(", ")
}

/// monoio brings an older mio, too.
fn newest_version<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let heading = format!("name = \"{name}\"\nversion = \"");
    let of = |version: &str| {
        version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0))
            .collect::<Vec<u32>>()
    };
    lock.match_indices(&heading)
        .filter_map(|(at, _)| lock[at + heading.len()..].split('"').next())
        .max_by_key(|version| of(version))
}

fn python() -> String {
    let Some(python) = said_by("python3", &["--version"]) else {
        return "none".to_owned();
    };
    let asks = ["-c", "import uvloop; print(uvloop.__version__)"];
    match said_by("python3", &asks) {
        Some(uvloop) => format!("{python}, uvloop {uvloop}"),
        None => format!("{python}, without uvloop"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_versions_the_newest_is_told() {
        let lock = "name = \"mio\"\nversion = \"0.8.11\"\n\nname = \"mio\"\nversion = \"1.2.5\"\n";
        assert_eq!(newest_version(lock, "mio"), Some("1.2.5"));
        assert_eq!(newest_version(lock, "smol"), None);
    }
}
