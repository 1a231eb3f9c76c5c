//! What ten thousand slow clients cost a server, and those who are not slow.
//!
//! `cargo bench --bench slow_clients`
//!
//! One process serves lines, by a task for each connection that waits in `readline`. Another
//! is its slow clients: each sends a byte a second, never a newline, so that the server is
//! woken ten thousand times a second, and holds a beginning of a line for each. Meanwhile
//! this process asks a question each millisecond, on a connection of its own, and is
//! answered. What is printed is how much the serving process's resident memory grew, divided
//! by the number of slow clients (the kernel's own memory for the sockets is not in it), and
//! how long the answers took, without the slow ones and with them.

mod support;

use std::env;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use millstream::{StreamReader, StreamWriter, get_running_loop, run, start_server};
use support::{Part, as_many_as_allowed, at_fractions, wait_for_the_end};

/// Slow clients; fewer if the limit on descriptors is lower.
const SLOW_CLIENTS: usize = 10_000;

/// Connections that are made and ended first, so that tables and pools have grown before
/// the first measurement.
const WARM_UP: usize = 100;

/// How long the slow ones have been sending when memory is looked at: each has sent.
const SETTLED: Duration = Duration::from_secs(3);

/// Questions that are timed, in each of the two measurements.
const QUESTIONS: usize = 5_000;

/// How long the patient client waits between two questions.
const PAUSE: Duration = Duration::from_millis(1);

/// How often each slow client sends a byte.
const INTERVAL: Duration = Duration::from_secs(1);

/// The parts into which that interval is divided, so that they don't send all at once.
const SLICES: usize = 1_000;

const QUESTION: &[u8] = b"a question of some thirty bytes\n";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    match &arguments[..] {
        [_, role] if role == "serve" => serve(),
        [_, role, address, count] if role == "dawdle" => dawdle(address, count),
        _ => measure(),
    }
}

fn measure() -> io::Result<()> {
    let slow = as_many_as_allowed(SLOW_CLIENTS);
    let mut server = Part::start(&["serve"])?;
    let address = server.says()?;
    drop(slow_clients(&address, WARM_UP)?);
    let without = answer_times(&address)?;

    let before = server.resident_bytes()?;
    let clients = slow_clients(&address, slow)?;
    thread::sleep(SETTLED);
    let after = server.resident_bytes()?;
    let with = answer_times(&address)?;

    let each = after.saturating_sub(before) / slow;
    println!("{slow} clients that send a byte a second, and no newline:");
    println!("{each:8}  bytes of resident memory for each");
    println!("round trip of another client, in microseconds:");
    for (what, times) in [("without them", without), ("with them", with)] {
        let [median, late, latest] = at_fractions(times, [0.5, 0.99, 1.0]);
        println!("{median:8.0}  median, {late:6.0}  99th percentile, {latest:6.0}  most; {what}");
    }
    clients.stop()?;
    server.stop()
}

/// How long each answer took, in microseconds.
fn answer_times(address: &str) -> io::Result<Vec<f64>> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    let mut answer = [0; QUESTION.len()];
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let asked = Instant::now();
        connection.write_all(QUESTION)?;
        connection.read_exact(&mut answer)?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
        thread::sleep(PAUSE);
    }
    Ok(times)
}

// ── the server ──────────────────────────────────────────────────────────────────

fn serve() -> io::Result<()> {
    run(async {
        let server = start_server(answer_lines, "127.0.0.1", 0)
            .backlog(4096)
            .await?;
        println!("{}", server.sockets()[0]);
        get_running_loop()?
            .run_in_executor(wait_for_the_end)
            .await?
    })
}

async fn answer_lines(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    writer.aclose().await
}

// ── the slow clients ────────────────────────────────────────────────────────────

/// Starts a process of slow clients, and waits until they are connected.
fn slow_clients(address: &str, count: usize) -> io::Result<Part> {
    let mut clients = Part::start(&["dawdle", address, &count.to_string()])?;
    clients.says()?;
    Ok(clients)
}

fn dawdle(address: &str, count: &str) -> io::Result<()> {
    let count: usize = count.parse().map_err(io::Error::other)?;
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        connections.push(connection);
    }
    println!("connected");
    let told_to_end = thread::spawn(wait_for_the_end);
    let began = Instant::now();
    let mut slices = 0;
    while !told_to_end.is_finished() {
        let now = connections.iter_mut().skip(slices % SLICES);
        for connection in now.step_by(SLICES) {
            connection.write_all(b"x")?;
        }
        slices += 1;
        let next = began + INTERVAL / SLICES as u32 * slices as u32;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
