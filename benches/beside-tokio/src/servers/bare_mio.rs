//! mio and a slab: what there is to gain, at the most, over epoll itself.

use std::io::{self, Read, Write};

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::{Place, READ_BUFFER, announce, announce_path};

const LISTENER: Token = Token(usize::MAX);

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Echoes. What a socket does not take at once ends its connection: a ping-pong never
/// comes to that.
pub(super) fn serve(place: Place) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Slab<Stream> = Slab::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut listener = listen(place)?;
    match &mut listener {
        Listener::Tcp(listener) => {
            poll.registry()
                .register(listener, LISTENER, Interest::READABLE)?
        }
        Listener::Unix(listener) => {
            poll.registry()
                .register(listener, LISTENER, Interest::READABLE)?
        }
    }
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &mut connections)?;
            } else if !echo(&mut connections[event.token().0], &mut buffer) {
                connections.remove(event.token().0);
            }
        }
    }
}

fn listen(place: Place) -> io::Result<Listener> {
    match place {
        Place::Tcp => {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            announce(listener.local_addr()?);
            Ok(Listener::Tcp(TcpListener::from_std(listener)))
        }
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            announce_path(&path);
            Ok(Listener::Unix(listener))
        }
    }
}

fn accept_all(listener: &Listener, poll: &Poll, connections: &mut Slab<Stream>) -> io::Result<()> {
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                Stream::Tcp(stream)
            }),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let entry = connections.vacant_entry();
        let token = Token(entry.key());
        match &mut stream {
            Stream::Tcp(stream) => poll
                .registry()
                .register(stream, token, Interest::READABLE)?,
            Stream::Unix(stream) => poll
                .registry()
                .register(stream, token, Interest::READABLE)?,
        }
        entry.insert(stream);
    }
}

/// Returns whether the connection goes on. A short read has emptied the socket: another
/// edge will come.
fn echo(stream: &mut Stream, buffer: &mut [u8]) -> bool {
    loop {
        let read = match stream {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        };
        let count = match read {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        };
        let written = match stream {
            Stream::Tcp(stream) => stream.write(&buffer[..count]),
            Stream::Unix(stream) => stream.write(&buffer[..count]),
        };
        if !matches!(written, Ok(written) if written == count) {
            return false;
        }
        if count < buffer.len() {
            return true;
        }
    }
}
