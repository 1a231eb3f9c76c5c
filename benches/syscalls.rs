//! How many system calls a message costs the server, counted by `strace`.
//!
//! `cargo bench --bench syscalls`
//!
//! For each row a process serves under `strace -c`, and this one is its 50 clients: each
//! sends, all wait for their answers, and again. What is printed are the server's calls
//! per message or burst, starting and ending included. Counted, not timed: `strace` slows
//! the server, but does not change what it asks of the kernel.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use millstream::{StreamReader, StreamWriter, copy, run, start_server};

/// Connections that are open at once.
const CONNECTIONS: usize = 50;

/// Messages or bursts that each connection sends.
const ROUNDS: usize = 1_000;

/// The calls that are printed; others happen only at the beginning and at the end.
const PRINTED: [&str; 5] = ["recvfrom", "sendto", "sendmsg", "epoll_wait", "epoll_ctl"];

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    match &arguments[..] {
        [_, role] if role == "serve-messages" => serve(Kind::Messages),
        [_, role] if role == "serve-lines" => serve(Kind::Lines),
        [_, role] if role == "serve-copies" => serve(Kind::Copies),
        _ => {
            println!(
                "{:34}{}",
                "calls of the server, for each",
                PRINTED.map(cell).concat()
            );
            count("message of 64 bytes", "serve-messages", &[b'x'; 64])?;
            let line = [&[b'x'; 31][..], b"\n"].concat();
            count(
                "burst of 64 pipelined lines",
                "serve-lines",
                &line.repeat(64),
            )?;
            count("message of 64 bytes, by copy", "serve-copies", &[b'x'; 64])?;
            count(
                "message of 64 KiB, by copy",
                "serve-copies",
                &[b'x'; 65_536],
            )
        }
    }
}

fn cell(name: &str) -> String {
    format!("{name:>11}")
}

enum Kind {
    Messages,
    Lines,
    Copies,
}

fn serve(kind: Kind) -> io::Result<()> {
    run(async move {
        let server = match kind {
            Kind::Messages => start_server(echo_messages, "127.0.0.1", 0).await?,
            Kind::Lines => start_server(echo_lines, "127.0.0.1", 0).await?,
            Kind::Copies => start_server(echo_by_copy, "127.0.0.1", 0).await?,
        };
        println!("{}", server.sockets()[0]);
        // Its connections come once, and then end.
        while server.connection_count() < CONNECTIONS {
            millstream::sleep(Duration::from_millis(10)).await;
        }
        server.close();
        server.wait_closed().await;
        Ok(())
    })
}

async fn echo_messages(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let message = reader.read(4096).await?;
        if message.is_empty() {
            return Ok(());
        }
        writer.write(&message);
        writer.drain().await?;
    }
}

/// The easy way: a write and a drain for each line.
async fn echo_lines(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    Ok(())
}

async fn echo_by_copy(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    copy(&mut reader, &writer).await?;
    Ok(())
}

fn count(what: &str, role: &str, message: &[u8]) -> io::Result<()> {
    let table = env::temp_dir().join(format!("millstream-syscalls-{}", std::process::id()));
    let mut server = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&table)
        .arg(env::current_exe()?)
        .arg(role)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("strace is needed: {error}")))?;
    talk(&mut server, message)?;
    server.wait()?;
    let counted = fs::read_to_string(&table)?;
    fs::remove_file(&table)?;
    let each = PRINTED.map(|name| {
        let calls = calls_of(&counted, name);
        format!("{:11.3}", calls as f64 / (CONNECTIONS * ROUNDS) as f64)
    });
    println!("{what:34}{}", each.concat());
    Ok(())
}

fn talk(server: &mut Child, message: &[u8]) -> io::Result<()> {
    let stdout = server.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address)?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(TcpStream::connect(address.trim())?);
    }
    thread::sleep(Duration::from_millis(200)); // the handlers have begun to wait
    let mut answer = vec![0; message.len()];
    for _ in 0..ROUNDS {
        for client in &mut clients {
            client.write_all(message)?;
        }
        for client in &mut clients {
            client.read_exact(&mut answer)?;
        }
    }
    Ok(())
}

/// Finds a call's count in the table: its fourth column.
fn calls_of(table: &str, name: &str) -> u64 {
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|columns| columns.last() == Some(&name))
        .and_then(|columns| columns.get(3)?.parse().ok())
        .unwrap_or(0)
}
