//! An echo server by mio alone, which prints its port: the least that a loop can be.

use std::io::{self, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// A client, and what was read of it and not sent back yet.
struct Client {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Client {
    /// Echoes until the socket has nothing more, or takes no more; returns whether the
    /// client is still there.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            while !self.unsent.is_empty() {
                match self.stream.write(&self.unsent) {
                    Ok(count) => drop(self.unsent.drain(..count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.unsent.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

fn accept_all(listener: &TcpListener, poll: &Poll, clients: &mut Slab<Client>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let place = clients.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(place.key());
        poll.registry().register(&mut stream, token, interest)?;
        place.insert(Client {
            stream,
            unsent: Vec::new(),
        });
    }
}

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut clients = Slab::new();
    let mut buffer = vec![0; 4096];
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    println!("{}", listener.local_addr()?.port());
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut clients)?;
                continue;
            }
            let Some(client) = clients.get_mut(event.token().0) else {
                continue;
            };
            let stays = client.echo(&mut buffer).unwrap_or_else(|error| {
                eprintln!("a client: {error}");
                false
            });
            if !stays {
                clients.remove(event.token().0);
            }
        }
    }
}
