//! Programs that the tests start and talk to: examples, and peers written in Python.
//!
//! ```text
//!   test ──tell──► standard input  ┌─────────┐ standard output ──lines──► test
//!                  ───────────────►│ program │
//!                                  └─────────┘ standard error  ──► kept until it has ended
//! ```
//!
//! Always true: a program is gone when its `Program` is, and no wait is without an end.

#![allow(dead_code, reason = "each test uses its part of this")]

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long a test waits for anything before it takes it for a hang: a hundred times what
/// a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs, until it ends or this is dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    /// `None` once it was closed.
    input: Option<ChildStdin>,
    /// Its standard output, line by line; closed when the program ends.
    lines: Receiver<String>,
    /// All of its standard error, once the program has ended.
    complaints: Receiver<String>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed that nobody had asked for before.
    pub(crate) lines: Vec<String>,
    pub(crate) complaints: String,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> io::Result<Program> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut interruptible = interruptible(command);
        let mut child = interruptible
            .as_mut()
            .unwrap_or(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| cannot_start(&name, error))?;
        let output = child.stdout.take().expect("it was asked for");
        let mut errors = child.stderr.take().expect("it was asked for");

        let (send_line, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send_line.send(line).is_err() {
                    return; // the test is over
                }
            }
        });
        let (send_complaints, complaints) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is as good as all there is.
            let _ = errors.read_to_end(&mut bytes);
            let _ = send_complaints.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        Ok(Program {
            name,
            input: child.stdin.take(),
            child,
            lines,
            complaints,
        })
    }

    /// Returns the number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line of its output.
    ///
    /// # Errors
    /// If it ends first, or nothing comes in [`PATIENCE`].
    pub(crate) fn next_line(&self) -> io::Result<String> {
        self.lines.recv_timeout(PATIENCE).map_err(|error| {
            let (kind, what) = match error {
                RecvTimeoutError::Timeout => (ErrorKind::TimedOut, "printed nothing more"),
                RecvTimeoutError::Disconnected => (ErrorKind::UnexpectedEof, "ended"),
            };
            io::Error::new(kind, format!("{} {what}", self.name))
        })
    }

    /// Waits for the next lines of its output, and compares them.
    #[track_caller]
    pub(crate) fn prints(&self, expected: &[&str]) -> io::Result<()> {
        for expected in expected {
            assert_eq!(self.next_line()?, *expected, "printed by {}", self.name);
        }
        Ok(())
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> io::Result<()> {
        match &mut self.input {
            Some(input) => writeln!(input, "{line}"),
            None => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, named without `SIG`, as the command `kill` does.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn signal(&mut self, name: &str) -> io::Result<()> {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status()?;
        if !sent.success() {
            return Err(io::Error::other(format!("kill -s {name} failed: {sent}")));
        }
        Ok(())
    }

    /// Closes its standard input, and waits until it has ended.
    ///
    /// # Errors
    /// If it prints nothing and does not end in [`PATIENCE`].
    pub(crate) fn ends(mut self) -> io::Result<Ended> {
        self.input = None;
        let mut lines = Vec::new();
        loop {
            match self.next_line() {
                Ok(line) => lines.push(line),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        let status = self.child.wait()?;
        let complaints = self.complaints.recv().unwrap_or_default();
        Ok(Ended {
            status,
            lines,
            complaints,
        })
    }
}

impl Ended {
    /// Checks that it ended well, and had nothing more to say.
    #[track_caller]
    pub(crate) fn well(&self) {
        assert!(self.status.success(), "{self:#?}");
        assert_eq!(self.complaints, "");
        assert!(self.lines.is_empty(), "{self:#?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // One that has ended is not there to be killed, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // If the test fails, this may be the reason.
        if let Ok(complaints) = self.complaints.recv_timeout(PATIENCE) {
            if !complaints.is_empty() {
                eprintln!("{} complained:\n{complaints}", self.name);
            }
        }
    }
}

fn cannot_start(name: &str, error: io::Error) -> io::Error {
    if name == PYTHON && error.kind() == ErrorKind::NotFound {
        return io::Error::new(
            ErrorKind::NotFound,
            "python3 is missing, which the peers of this test are written for: install Python \
             3.8 or later, for instance with apt-get install python3",
        );
    }
    io::Error::new(error.kind(), format!("cannot start {name}: {error}"))
}

/// Returns the command that runs an example, built from the same sources as this test.
///
/// # Errors
/// If it was not built.
pub(crate) fn example(name: &str) -> io::Result<Command> {
    // From target/debug/deps/this_test-0123456789abcdef to target/debug/examples/name.
    let test = env::current_exe()?;
    let profile = test.parent().and_then(Path::parent);
    let profile = profile.expect("a test is two folders below the root, at least");
    let path = profile.join("examples").join(name);
    if !path.exists() {
        return Err(io::Error::new(
            ErrorKind::NotFound,
            format!(
                "{} is missing: `cargo test` builds it, and so does `cargo build --examples`",
                path.display()
            ),
        ));
    }
    Ok(Command::new(path))
}

/// Where SIGINT is ignored, as it is in a job that a script's shell started with `&`, a
/// program would inherit that, and no Ctrl-C end it. Returns a command that starts it
/// without; safe code has no way but another program's. Only Linux tells whether it is ignored.
pub(crate) fn interruptible(command: &Command) -> Option<Command> {
    const SIGINT_BIT: u64 = 1 << (2 - 1);
    const START: &str = "import os, signal, sys\n\
        signal.signal(signal.SIGINT, signal.SIG_DFL)\n\
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n\
        os.execvp(sys.argv[1], sys.argv[1:])";
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    if ignored & SIGINT_BIT == 0 {
        return None;
    }
    let mut started = python();
    started.args(["-c", START]).arg(command.get_program());
    started.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => started.env(name, value),
            None => started.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        started.current_dir(folder);
    }
    Some(started)
}

const PYTHON: &str = "python3";

/// Returns the command that runs Python, without buffers at its output.
pub(crate) fn python() -> Command {
    let mut command = Command::new(PYTHON);
    // -B: no compiled files beside the sources.
    command.args(["-u", "-B"]);
    command
}

/// Returns the command that runs a peer of `tests/peers`.
pub(crate) fn peer(script: &str) -> Command {
    let mut command = python();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    command.arg(root.join("tests/peers").join(script));
    command
}
