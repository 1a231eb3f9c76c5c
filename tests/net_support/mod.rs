//! What the tests of connecting and serving share: where a server is, and what an error says.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::io;

use millstream::Server;

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
