//! Tokio on one thread, as a skilled user writes it: `spawn` on the current-thread runtime,
//! without a time driver, `TCP_NODELAY`, buffers that are made once for each connection, and
//! streams that aren't split where one task reads and writes.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter,
};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

use super::{CHUNK, Place, READ_BUFFER, Workload, announce, announce_path};

/// How connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A buffer for each connection; `write_all`.
    Plain,
    /// The same, on a `LocalRuntime`.
    Local,
    /// A `BufWriter` that is flushed when there is no line more to read.
    Buffered,
    /// One buffer for all: `readable`, then `try_read`.
    Shared,
}

pub(super) fn serve(workload: Workload, place: Place, manner: Manner) -> io::Result<()> {
    // Each workload has tasks of its own: one that could do any of them would hold, for
    // each connection, what the largest needs.
    match (workload, manner, place) {
        (Workload::Echo, Manner::Shared, Place::Tcp) => run(manner, tcp(manner, echo_shared)),
        (Workload::Echo, _, Place::Tcp) => run(manner, tcp(manner, echo)),
        (Workload::Echo, _, Place::Unix(path)) => run(manner, unix(manner, path, echo)),
        (Workload::Lines, Manner::Buffered, Place::Tcp) => run(manner, tcp(manner, lines_buffered)),
        (Workload::Lines, Manner::Buffered, Place::Unix(path)) => {
            run(manner, unix(manner, path, lines_buffered))
        }
        (Workload::Lines, _, Place::Tcp) => run(manner, tcp(manner, lines)),
        (Workload::Lines, _, Place::Unix(path)) => run(manner, unix(manner, path, lines)),
        (Workload::Sink, _, Place::Tcp) => run(manner, tcp(manner, sink)),
        (Workload::Sink, _, Place::Unix(path)) => run(manner, unix(manner, path, sink)),
        (Workload::Source, _, Place::Tcp) => run(manner, tcp(manner, source)),
        (Workload::Source, _, Place::Unix(path)) => run(manner, unix(manner, path, source)),
    }
}

fn run(manner: Manner, accepting: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let mut builder = Builder::new_current_thread();
    builder.enable_io();
    match manner {
        Manner::Local => builder
            .build_local(LocalOptions::default())?
            .block_on(accepting),
        _ => builder.build()?.block_on(accepting),
    }
}

async fn tcp<F>(manner: Manner, serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(4096)?;
    announce(listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn(manner, serve(stream));
    }
}

async fn unix<F>(manner: Manner, path: PathBuf, serve: impl Fn(UnixStream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = UnixListener::bind(&path)?;
    announce_path(&path);
    loop {
        let (stream, _) = listener.accept().await?;
        spawn(manner, serve(stream));
    }
}

fn spawn(manner: Manner, task: impl Future<Output = io::Result<()>> + Send + 'static) {
    match manner {
        Manner::Local => drop(spawn_local(task)),
        _ => drop(tokio::spawn(task)),
    }
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

thread_local! {
    /// The one buffer of [`Manner::Shared`].
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
}

async fn echo_shared(stream: TcpStream) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let unsent: io::Result<_> = SHARED.with_borrow_mut(|buffer| {
            let count = stream.try_read(buffer)?;
            if count == 0 {
                return Ok(None);
            }
            let sent = match stream.try_write(&buffer[..count]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                sent => sent?,
            };
            Ok(Some(buffer[sent..count].to_vec()))
        });
        let unsent = match unsent {
            Ok(Some(unsent)) => unsent,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let mut rest = &unsent[..];
        while !rest.is_empty() {
            stream.writable().await?;
            match stream.try_write(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn lines(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        // It writes to what it reads from, without a buffer.
        stream.write_all(&line).await?;
    }
}

async fn lines_buffered(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut stream = BufReader::new(BufWriter::new(stream));
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return stream.flush().await;
        }
        stream.write_all(&line).await?;
        // What is left may be half a line: then the client waits for nothing but its end.
        let rest = stream.buffer();
        if rest.is_empty() || !rest.contains(&b'\n') {
            stream.flush().await?;
        }
    }
}

async fn sink(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 4 * CHUNK];
    let mut total = 0;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        total += count;
    }
    stream.write_all(total.to_string().as_bytes()).await?;
    stream.shutdown().await
}

async fn source(mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
    let chunk = vec![0; CHUNK];
    while stream.write_all(&chunk).await.is_ok() {}
    Ok(())
}
