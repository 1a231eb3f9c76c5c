//! What a second loop brings: one loop on one core, against one loop for each of two.
//!
//! `cargo bench --bench cores`
//!
//! A process serves with one loop, or with two that share the port by `SO_REUSEPORT`; this
//! process is its clients: 200 connections, which all send, then all wait for their
//! answers, and again. The two are measured in turn, five times, and what is printed is
//! the ratio of requests per second, two loops to one: the median of the rounds, and the
//! least and the greatest. The clients need processor time too, so on two processors the
//! ratio stays below two, the more so the less the server does for each request.

mod support;

use std::env;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use millstream::{StreamReader, StreamWriter, open_connection_sock, run, start_server};
use support::{Part, at_fractions, wait_for_the_end};

/// Connections that are open at once.
const CONNECTIONS: usize = 200;

/// How long each measurement runs.
const MEASURED: Duration = Duration::from_secs(2);

/// Measurements of each candidate.
const ROUNDS: usize = 5;

/// Steps of computing that take about a microsecond: four cycles each, at three gigahertz.
const STEPS_PER_MICROSECOND: usize = 750;

/// Bytes of a request, and of its answer.
const MESSAGE: usize = 64;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    if let [_, role, loops, work] = &arguments[..] {
        if role == "serve" {
            return serve_with(number(loops)?, number(work)?);
        }
    }
    let cores = thread::available_parallelism()?;
    println!(
        "{CONNECTIONS} connections, {MESSAGE} bytes, {cores} processors for server and clients"
    );
    println!(
        "{:38}{:>14}{:>14}   ratio: median (least-greatest)",
        "requests per second", "one loop", "two loops"
    );
    for (what, work) in [
        ("echo", 0),
        ("echo, after some 20 us of computing", 20),
        ("echo, after some 100 us of computing", 100),
    ] {
        compare(what, work)?;
    }
    Ok(())
}

fn number(text: &str) -> io::Result<usize> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text:?} is no number")))
}

// ── the server ──────────────────────────────────────────────────────────────────

fn serve_with(loops: usize, work: usize) -> io::Result<()> {
    let (stop, stopped) = UnixStream::pair()?;
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut threads = Vec::new();
    for _ in 0..loops {
        let stopped = stopped.try_clone()?;
        let (tell, told) = std::sync::mpsc::channel();
        threads.push(thread::spawn(move || {
            run(async move {
                let handler = async move |reader, writer| answer(reader, writer, work).await;
                let server = start_server(handler, address.ip(), address.port())
                    .reuse_port(true)
                    .backlog(1024)
                    .await?;
                let bound = server.sockets()[0].as_inet();
                tell.send(bound).map_err(io::Error::other)?;
                let (mut stopped, _writer) = open_connection_sock(stopped).await?;
                stopped.read_all().await?;
                server.shutdown(Duration::ZERO).await;
                io::Result::Ok(())
            })
        }));
        let bound = told.recv().map_err(io::Error::other)?;
        address = bound.ok_or(io::ErrorKind::AddrNotAvailable)?;
    }
    println!("{address}");
    wait_for_the_end()?;
    drop(stop);
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a loop panicked"))??;
    }
    Ok(())
}

async fn answer(mut reader: StreamReader, writer: StreamWriter, work: usize) -> io::Result<()> {
    let mut request = [0; MESSAGE];
    loop {
        if reader.readexactly_into(&mut request).await.is_err() {
            return Ok(());
        }
        compute(work);
        writer.write(request);
        writer.drain().await?;
    }
}

/// Keeps the processor busy for about so many microseconds.
fn compute(microseconds: usize) {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in 0..microseconds * STEPS_PER_MICROSECOND {
        hash = (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3);
    }
    black_box(hash);
}

// ── the clients ─────────────────────────────────────────────────────────────────

fn compare(what: &str, work: usize) -> io::Result<()> {
    let mut rates = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let one = measure(1, work)?;
        let two = measure(2, work)?;
        rates[0].push(one);
        rates[1].push(two);
        ratios.push(two / one);
    }
    let [[one], [two]] = rates.map(|rates| at_fractions(rates, [0.5]));
    let [least, median, greatest] = at_fractions(ratios, [0.0, 0.5, 1.0]);
    println!("{what:38}{one:14.0}{two:14.0}   {median:.2} ({least:.2}-{greatest:.2})");
    Ok(())
}

/// Starts a server, and returns how many requests a second it answers.
fn measure(loops: usize, work: usize) -> io::Result<f64> {
    let mut server = Part::start(&["serve", &loops.to_string(), &work.to_string()])?;
    let address = server.says()?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = TcpStream::connect(&address)?;
        connection.set_nodelay(true)?;
        connections.push(connection);
    }
    all_ask(&mut connections)?; // each connection is accepted now
    let began = Instant::now();
    let mut answers = 0;
    while began.elapsed() < MEASURED {
        all_ask(&mut connections)?;
        answers += CONNECTIONS;
    }
    let rate = answers as f64 / began.elapsed().as_secs_f64();
    drop(connections);
    server.stop()?;
    Ok(rate)
}

fn all_ask(connections: &mut [TcpStream]) -> io::Result<()> {
    for connection in &mut *connections {
        connection.write_all(&[b'x'; MESSAGE])?;
    }
    for connection in &mut *connections {
        connection.read_exact(&mut [0; MESSAGE])?;
    }
    Ok(())
}
