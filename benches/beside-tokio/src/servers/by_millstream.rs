//! millstream: with streams, and with protocols.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Protocol, Runner, StreamReader, StreamWriter, Transport, WritePolicy, get_running_loop, run,
    start_server, start_unix_server,
};

use super::{CHUNK, Place, READ_BUFFER, Workload, announce, announce_path};

const BACKLOG: i32 = 4096;

/// How a handler reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Into a `Vec` of its own, as asyncio's documentation does.
    Owned,
    /// What the reader lends.
    Lent,
    /// Into one buffer of its own, as Tokio's `read` does.
    Into,
}

pub(super) fn streams(
    workload: Workload,
    place: Place,
    reads: Reads,
    spin: Duration,
) -> io::Result<()> {
    // Each workload starts a server of its own: a handler that could do any of them would
    // hold, for each connection, what the largest needs.
    match (workload, reads) {
        (Workload::Echo, Reads::Owned) => serve(echo, place, spin),
        (Workload::Echo, Reads::Lent) => serve(echo_lent, place, spin),
        (Workload::Echo, Reads::Into) => serve(echo_into, place, spin),
        (Workload::Lines, Reads::Owned) => serve(lines, place, spin),
        (Workload::Lines, Reads::Lent) => serve(lines_lent, place, spin),
        (Workload::Lines, Reads::Into) => Err(io::ErrorKind::Unsupported.into()),
        (Workload::Sink, Reads::Into) => serve(sink_into, place, spin),
        (Workload::Sink, _) => serve(sink, place, spin),
        (Workload::Source, _) => serve(source, place, spin),
    }
}

fn serve<H>(handler: H, place: Place, spin: Duration) -> io::Result<()>
where
    H: AsyncFn(StreamReader, StreamWriter) -> io::Result<()> + 'static,
{
    Runner::new()?.spin(spin).run(async move {
        let server = match place {
            Place::Tcp => {
                let server = start_server(handler, "127.0.0.1", 0)
                    .backlog(BACKLOG)
                    .await?;
                announce(
                    format!("{}", server.sockets()[0])
                        .parse()
                        .map_err(io::Error::other)?,
                );
                server
            }
            Place::Unix(path) => {
                let server = start_unix_server(handler, &path).backlog(BACKLOG).await?;
                announce_path(&path);
                server
            }
        };
        server.serve_forever().await
    })
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(READ_BUFFER).await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write_owned(data);
        writer.drain().await?;
    }
}

async fn echo_lent(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.fill_buf().await?;
        if data.is_empty() {
            return Ok(());
        }
        let count = data.len();
        writer.write(data);
        reader.consume(count);
        writer.drain().await?;
    }
}

async fn echo_into(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let count = reader.read_into(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        writer.write(&buffer[..count]);
        writer.drain().await?;
    }
}

async fn lines(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.readline().await?;
        if line.is_empty() {
            return Ok(());
        }
        writer.write(&line);
        writer.drain().await?;
    }
}

async fn lines_lent(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.readline_ref().await?;
        if line.is_empty() {
            return Ok(());
        }
        writer.write(line);
        writer.drain().await?;
    }
}

async fn sink(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let mut count = 0;
    loop {
        let data = reader.fill_buf().await?;
        if data.is_empty() {
            break;
        }
        let taken = data.len();
        count += taken;
        reader.consume(taken);
    }
    writer.write(count.to_string());
    writer.aclose().await
}

async fn sink_into(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let mut buffer = vec![0; 4 * CHUNK];
    let mut count = 0;
    loop {
        let taken = reader.read_into(&mut buffer).await?;
        if taken == 0 {
            break;
        }
        count += taken;
    }
    writer.write(count.to_string());
    writer.aclose().await
}

async fn source(_reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let chunk = vec![0; CHUNK];
    loop {
        writer.write(&chunk);
        if writer.drain().await.is_err() {
            return Ok(());
        }
    }
}

pub(super) fn protocols(place: Place, immediate: bool) -> io::Result<()> {
    run(async move {
        let handle = get_running_loop()?;
        let factory = move || Echo { immediate };
        let server = match place {
            Place::Tcp => {
                let server = handle
                    .create_server(factory, "127.0.0.1", 0)
                    .backlog(BACKLOG)
                    .await?;
                announce(
                    format!("{}", server.sockets()[0])
                        .parse()
                        .map_err(io::Error::other)?,
                );
                server
            }
            Place::Unix(path) => {
                let server = handle
                    .create_unix_server(factory, &path)
                    .backlog(BACKLOG)
                    .await?;
                announce_path(&path);
                server
            }
        };
        server.serve_forever().await
    })
}

struct Echo {
    immediate: bool,
}

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        if self.immediate {
            transport.set_write_policy(WritePolicy::Immediate);
        }
    }

    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        transport.write(data);
    }
}
