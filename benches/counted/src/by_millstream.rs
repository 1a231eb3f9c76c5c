//! millstream's servers, and the driver on the same loop.

use std::io;
use std::rc::Rc;

use millstream::{
    EventLoop, Protocol, Server, StreamReader, StreamWriter, Transport, start_server,
};

use crate::gate::Gate;
use crate::peers::Peers;
use crate::{BACKLOG, Candidate, Conversation, Counted, MESSAGE};

pub(crate) fn count(candidate: Candidate, conversation: Conversation) -> io::Result<Counted> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let gate = Rc::new(Gate::default());
    let (server, mut peers) =
        handle.run_until_complete(prepare(candidate, conversation, gate.clone()))??;
    let mut drive = |rounds| {
        let mut borrowed = std::mem::take(&mut peers);
        let gate = gate.clone();
        peers = handle.run_until_complete(async move {
            for _ in 0..rounds {
                gate.expect(borrowed.answers());
                borrowed.ask()?;
                gate.wait().await;
                borrowed.hear()?;
            }
            io::Result::Ok(borrowed)
        })??;
        Ok(())
    };
    let counted = Counted::of(&mut drive, conversation);
    drop(server);
    counted
}

async fn prepare(
    candidate: Candidate,
    conversation: Conversation,
    gate: Rc<Gate>,
) -> io::Result<(Server, Peers)> {
    let server = match candidate {
        Candidate::Protocol => {
            let factory = move || Echo { gate: gate.clone() };
            let handle = millstream::get_running_loop()?;
            handle
                .create_server(factory, "127.0.0.1", 0)
                .backlog(BACKLOG as i32)
                .await?
        }
        _ => {
            let handler = async move |reader, writer| match candidate {
                Candidate::Read => read(reader, writer, &gate).await,
                Candidate::ReadInto => read_into(reader, writer, &gate).await,
                Candidate::FillBuf => fill_buf(reader, writer, &gate).await,
                Candidate::Readline => readline(reader, writer, &gate).await,
                _ => readline_ref(reader, writer, &gate).await,
            };
            start_server(handler, "127.0.0.1", 0)
                .backlog(BACKLOG as i32)
                .await?
        }
    };
    let port = server.sockets()[0].port().unwrap_or(0);
    let peers = Peers::connect(port, conversation)?;
    Ok((server, peers))
}

struct Echo {
    gate: Rc<Gate>,
}

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        transport.write(data);
        self.gate.answered();
    }
}

async fn read(mut reader: StreamReader, writer: StreamWriter, gate: &Gate) -> io::Result<()> {
    loop {
        let data = reader.read(MESSAGE).await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write(&data);
        writer.drain().await?;
        gate.answered();
    }
}

async fn read_into(mut reader: StreamReader, writer: StreamWriter, gate: &Gate) -> io::Result<()> {
    let mut buffer = [0; MESSAGE];
    loop {
        let count = reader.read_into(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        writer.write(&buffer[..count]);
        writer.drain().await?;
        gate.answered();
    }
}

async fn fill_buf(mut reader: StreamReader, writer: StreamWriter, gate: &Gate) -> io::Result<()> {
    loop {
        let data = reader.fill_buf().await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write(data);
        let count = data.len();
        reader.consume(count);
        writer.drain().await?;
        gate.answered();
    }
}

async fn readline(mut reader: StreamReader, writer: StreamWriter, gate: &Gate) -> io::Result<()> {
    loop {
        let line = reader.readline().await?;
        if line.is_empty() {
            return Ok(());
        }
        writer.write(&line);
        writer.drain().await?;
        gate.answered();
    }
}

async fn readline_ref(
    mut reader: StreamReader,
    writer: StreamWriter,
    gate: &Gate,
) -> io::Result<()> {
    loop {
        let line = reader.readline_ref().await?;
        if line.is_empty() {
            return Ok(());
        }
        writer.write(line);
        writer.drain().await?;
        gate.answered();
    }
}
