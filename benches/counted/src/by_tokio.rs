//! Tokio's servers, and the driver on the same runtime.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

use crate::gate::Gate;
use crate::peers::Peers;
use crate::{BACKLOG, Candidate, Conversation, Counted, MESSAGE};

pub(crate) fn count(candidate: Candidate, conversation: Conversation) -> io::Result<Counted> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let tasks = LocalSet::new();
    let gate = Rc::new(Gate::default());
    let mut peers = tasks.block_on(&runtime, prepare(candidate, conversation, gate.clone()))?;
    let mut drive = |rounds| {
        tasks.block_on(&runtime, async {
            for _ in 0..rounds {
                gate.expect(peers.answers());
                peers.ask()?;
                gate.wait().await;
                peers.hear()?;
            }
            Ok(())
        })
    };
    Counted::of(&mut drive, conversation)
}

async fn prepare(
    candidate: Candidate,
    conversation: Conversation,
    gate: Rc<Gate>,
) -> io::Result<Peers> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    let peers = Peers::connect(listener.local_addr()?.port(), conversation)?;
    let shared = Rc::new(RefCell::new(vec![0; MESSAGE]));
    for _ in 0..peers.len() {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let gate = gate.clone();
        match candidate {
            Candidate::TokioShared => spawn_local(read_shared(stream, shared.clone(), gate)),
            Candidate::TokioLines => spawn_local(lines(stream, gate)),
            Candidate::TokioBuffered => spawn_local(lines_buffered(stream, gate)),
            _ => spawn_local(read(stream, gate)),
        };
    }
    Ok(peers)
}

async fn read(mut stream: TcpStream, gate: Rc<Gate>) -> io::Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
        gate.answered();
    }
}

async fn read_shared(
    stream: TcpStream,
    buffer: Rc<RefCell<Vec<u8>>>,
    gate: Rc<Gate>,
) -> io::Result<()> {
    loop {
        stream.readable().await?;
        let mut buffer = buffer.borrow_mut();
        let count = match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        // One small answer at a time always fits into the socket's buffer.
        if stream.try_write(&buffer[..count])? != count {
            return Err(io::ErrorKind::WriteZero.into());
        }
        gate.answered();
    }
}

async fn lines(stream: TcpStream, gate: Rc<Gate>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        writer.write_all(&line).await?;
        gate.answered();
    }
}

async fn lines_buffered(stream: TcpStream, gate: Rc<Gate>) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut writer = BufWriter::new(writer);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).await? == 0 {
            return writer.flush().await;
        }
        writer.write_all(&line).await?;
        if !reader.buffer().contains(&b'\n') {
            writer.flush().await?;
        }
        gate.answered();
    }
}
