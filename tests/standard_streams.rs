//! Standard input and output as streams, in programs that are started with each kind of
//! thing they can be: pipes, files, nothing, sockets, a terminal.
//!
//! The program is the example `stdin_lines`. Before `cargo test --test standard_streams`
//! alone, build it with `cargo build --examples`.

mod programs;

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;

use programs::{Program, example, python};
use socket2::SockRef;

/// What the program prints for two lines.
const TWO_LINES: &str = "1: hello\n2: mill\nread 2 lines\n";

/// Runs the program, and returns what it printed.
fn output_for(input: impl Into<Stdio>) -> io::Result<String> {
    let ended = example("stdin_lines")?
        .stdin(input)
        .stderr(Stdio::inherit())
        .output()?;
    assert!(ended.status.success(), "{ended:?}");
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// A file of the test's own, with this in it, to be read from the start.
fn file(name: &str, contents: &[u8]) -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("millstream-{}-{name}", std::process::id()));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    fs::remove_file(path)?;
    file.write_all(contents)?;
    file.rewind()?;
    Ok(file)
}

#[test]
fn a_pipe_is_answered_line_by_line() -> io::Result<()> {
    let mut program = Program::start(&mut example("stdin_lines")?)?;
    for (line, answer) in [("hello", "1: hello"), ("mill", "2: mill")] {
        program.tell(line)?;
        program.prints(&[answer])?;
    }
    let ended = program.ends()?;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.lines, ["read 2 lines"]);
    Ok(())
}

#[test]
fn a_file_is_read_to_its_end() -> io::Result<()> {
    assert_eq!(output_for(file("input", b"hello\nmill\n")?)?, TWO_LINES);
    Ok(())
}

#[test]
fn a_file_larger_than_one_read_is_read_to_its_end() -> io::Result<()> {
    let lines = "a line like any other\n".repeat(50_000);
    let printed = output_for(file("large", lines.as_bytes())?)?;
    let last = printed.lines().next_back().unwrap_or_default();
    assert_eq!(last, "read 50000 lines");
    Ok(())
}

#[test]
fn nothing_at_all_is_an_end_at_once() -> io::Result<()> {
    let nothing = "read 0 lines\n";
    assert_eq!(output_for(Stdio::null())?, nothing);
    assert_eq!(output_for(file("empty", b"")?)?, nothing);
    Ok(())
}

#[test]
fn a_socket_is_read_and_blocks_again_when_the_program_is_done() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"hello\nmill\n")?;
    drop(theirs);
    // A duplicate: it shares the open file description, and so the flag, with the program.
    let kept = ours.try_clone()?;
    assert_eq!(output_for(OwnedFd::from(ours))?, TWO_LINES);
    assert!(!SockRef::from(&kept).nonblocking()?);
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_stays_blocking_for_those_who_share_it() -> io::Result<()> {
    let (writer, reader) = mio::unix::pipe::new()?;
    reader.set_nonblocking(false)?;
    let reader = OwnedFd::from(reader);
    let kept = reader.try_clone()?;
    let running = thread::spawn(move || output_for(reader));
    // Blocks once, and would fail if the program had set the flag on what we share.
    let mut writer = File::from(OwnedFd::from(writer));
    writer.write_all(b"hello\nmill\n")?;
    assert!(!SockRef::from(&kept).nonblocking()?);
    drop(writer);
    let printed = running.join().expect("it does not panic")?;
    assert_eq!(printed, TWO_LINES);
    assert!(!SockRef::from(&kept).nonblocking()?);
    Ok(())
}

#[test]
fn output_goes_to_a_file_as_well() -> io::Result<()> {
    let mut output = file("output", b"")?;
    let status = example("stdin_lines")?
        .stdin(file("source", b"hello\nmill\n")?)
        .stdout(output.try_clone()?)
        .status()?;
    assert!(status.success());
    output.rewind()?;
    let mut written = String::new();
    output.read_to_string(&mut written)?;
    assert_eq!(written, TWO_LINES);
    Ok(())
}

/// Two lines typed at once: a terminal hands them out one `read` at a time, with one edge.
#[test]
fn a_terminal_is_read_line_by_line_and_left_as_it_was() -> io::Result<()> {
    let script = r#"
import fcntl, os, pty, subprocess, sys, termios, tty
terminal, side = pty.openpty()
attributes = termios.tcgetattr(side)
attributes[3] &= ~termios.ECHO
attributes[1] &= ~termios.OPOST
termios.tcsetattr(side, termios.TCSANOW, attributes)
os.write(terminal, b"hello\nmill\n\x04")
program = subprocess.run([sys.argv[1]], stdin=side, stdout=side)
print(os.read(terminal, 1000))
print(program.returncode, fcntl.fcntl(side, fcntl.F_GETFL) & os.O_NONBLOCK)
"#;
    let program = example("stdin_lines")?;
    let output = python()
        .args(["-c", script])
        .arg(program.get_program())
        .stderr(Stdio::inherit())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed, "b'1: hello\\n2: mill\\nread 2 lines\\n'\n0 0\n");
    Ok(())
}
