//! The clients: blocking sockets on the same thread, so that each run does the same.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::Conversation;

#[derive(Default)]
pub(crate) struct Peers {
    connections: Vec<TcpStream>,
    idle: Vec<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
    answers_each: usize,
}

impl Peers {
    pub(crate) fn connect(port: u16, conversation: Conversation) -> io::Result<Peers> {
        let mut connections = Vec::new();
        for _ in 0..conversation.connections() + conversation.idle_connections() {
            let connection = TcpStream::connect(("127.0.0.1", port))?;
            connection.set_nodelay(true)?;
            connections.push(connection);
        }
        let idle = connections.split_off(conversation.connections());
        let request = conversation.request();
        Ok(Peers {
            connections,
            idle,
            answer: vec![0; request.len()],
            request,
            answers_each: conversation.answers_each(),
        })
    }

    /// How many connections there are, those that say nothing among them.
    pub(crate) fn len(&self) -> usize {
        self.connections.len() + self.idle.len()
    }

    /// How many answers a round brings.
    pub(crate) fn answers(&self) -> usize {
        self.connections.len() * self.answers_each
    }

    pub(crate) fn ask(&mut self) -> io::Result<()> {
        for connection in &mut self.connections {
            connection.write_all(&self.request)?;
        }
        Ok(())
    }

    pub(crate) fn hear(&mut self) -> io::Result<()> {
        for connection in &mut self.connections {
            connection.read_exact(&mut self.answer)?;
            if self.answer != self.request {
                return Err(io::Error::other("what came back is something else"));
            }
        }
        Ok(())
    }
}
