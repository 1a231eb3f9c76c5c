//! What the tests of connecting and serving share: sockets that are connected with each
//! other, a handler, where a server is, and what an error says.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use millstream::{LoopHandle, Protocol, Server, StreamReader, StreamWriter, Transport};

/// Two TCP sockets that are connected with each other: the client's, and the one that was
/// accepted.
pub(crate) fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    Ok((client, accepted))
}

/// Has a loop take over two sockets that are connected with each other.
pub(crate) fn adopt(
    handle: &LoopHandle,
    one_socket: impl Into<OwnedFd>,
    one: Box<dyn Protocol>,
    other_socket: impl Into<OwnedFd>,
    other: Box<dyn Protocol>,
) -> io::Result<(Rc<dyn Transport>, Rc<dyn Transport>)> {
    let one = handle.run_until_complete(handle.create_connection_sock(|| one, one_socket))??;
    let other =
        handle.run_until_complete(handle.create_connection_sock(|| other, other_socket))??;
    Ok((one, other))
}

/// A handler that sends back what comes, until nothing more does.
pub(crate) async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(64 * 1024).await?;
        if data.is_empty() {
            return writer.aclose().await;
        }
        writer.write(data);
        writer.drain().await?;
    }
}

/// The port of the first address that a server listens on.
pub(crate) fn port_of(server: &Server) -> u16 {
    let address = server.sockets().into_iter().next();
    address
        .and_then(|address| address.port())
        .expect("it is an internet address")
}

/// What `result` fails with.
pub(crate) fn error_of<T>(result: io::Result<T>) -> io::Error {
    match result {
        Ok(_) => panic!("this was to fail"),
        Err(error) => error,
    }
}

/// What `result` fails with, as a text.
pub(crate) fn text_of<T>(result: io::Result<T>) -> String {
    error_of(result).to_string()
}
