//! Tokio on one thread, as a skilled user writes it: tasks that stay on their thread,
//! `TCP_NODELAY`, buffers that are made once for each connection.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{LocalSet, spawn_local};

use super::{CHUNK, Place, READ_BUFFER, Workload, announce, announce_path};

/// How connections are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A buffer for each connection; `write_all`.
    Plain,
    /// The same, and a `BufWriter` that is flushed when there is nothing more to read.
    Buffered,
    /// One buffer for all: `readable`, then `try_read`.
    Shared,
}

pub(super) fn serve(workload: Workload, place: Place, manner: Manner) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, accept(workload, place, manner))
}

pub(super) fn serve_local(workload: Workload, place: Place) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build_local(LocalOptions::default())?;
    runtime.block_on(accept(workload, place, Manner::Plain))
}

async fn accept(workload: Workload, place: Place, manner: Manner) -> io::Result<()> {
    match place {
        Place::Tcp => {
            let socket = TcpSocket::new_v4()?;
            socket.bind("127.0.0.1:0".parse().map_err(io::Error::other)?)?;
            let listener: TcpListener = socket.listen(4096)?;
            announce(listener.local_addr()?);
            let shared = Rc::new(RefCell::new(vec![0; READ_BUFFER]));
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                if workload == Workload::Echo && manner == Manner::Shared {
                    spawn_local(echo_shared(stream, shared.clone()));
                } else {
                    let (reader, writer) = stream.into_split();
                    spawn_local(converse(workload, manner, reader, writer));
                }
            }
        }
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            announce_path(&path);
            loop {
                let (stream, _) = listener.accept().await?;
                let (reader, writer) = stream.into_split();
                spawn_local(converse(workload, manner, reader, writer));
            }
        }
    }
}

async fn converse<R, W>(workload: Workload, manner: Manner, reader: R, writer: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match (workload, manner) {
        (Workload::Echo, _) => echo(reader, writer).await,
        (Workload::Lines, Manner::Buffered) => lines_buffered(reader, writer).await,
        (Workload::Lines, _) => lines(reader, writer).await,
        (Workload::Sink, _) => sink(reader, writer).await,
        (Workload::Source, _) => source(writer).await,
    }
}

async fn echo(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        writer.write_all(&buffer[..count]).await?;
    }
}

async fn echo_shared(stream: TcpStream, buffer: Rc<RefCell<Vec<u8>>>) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let unsent = {
            let mut buffer = buffer.borrow_mut();
            let count = match stream.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let sent = match stream.try_write(&buffer[..count]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            buffer[sent..count].to_vec()
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

async fn lines(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        writer.write_all(&line).await?;
    }
}

async fn lines_buffered(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut writer = BufWriter::new(writer);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).await? == 0 {
            return writer.flush().await;
        }
        writer.write_all(&line).await?;
        // What is left may be half a line: then the client waits for nothing but its end.
        if !reader.buffer().contains(&b'\n') {
            writer.flush().await?;
        }
    }
}

async fn sink(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = vec![0; 4 * CHUNK];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        total += count;
    }
    writer.write_all(total.to_string().as_bytes()).await?;
    writer.shutdown().await
}

async fn source(mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    let chunk = vec![0; CHUNK];
    while writer.write_all(&chunk).await.is_ok() {}
    Ok(())
}
