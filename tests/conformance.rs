//! Every transport that millstream makes, held against the suite that any must pass.
//!
//! ```text
//! testing::conformance ──► memory pair, TCP on 127.0.0.1, Unix-domain sockets
//! ```

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use millstream::testing::conformance;
use millstream::{LoopHandle, Protocol, Transport, memory_transport_pair};

type Pair = (Rc<dyn Transport>, Rc<dyn Transport>);

#[test]
fn sim_08_a_memory_pair_conforms() {
    conformance(|handle, one, other| Ok(memory_transport_pair(handle, one, other, 64 * 1024)));
}

#[test]
fn trn_42_a_memory_pair_that_cuts_bytes_short_conforms() {
    conformance(|handle, one, other| Ok(memory_transport_pair(handle, one, other, 1000)));
}

#[test]
fn sim_08_tcp_conforms() {
    conformance(|handle, one, other| {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        adopt(handle, client, one, server, other)
    });
}

#[test]
fn sim_08_unix_sockets_conform() {
    conformance(|handle, one, other| {
        let (ours, theirs) = UnixStream::pair()?;
        adopt(handle, ours, one, theirs, other)
    });
}

/// Has the loop take over two sockets that are connected with each other.
fn adopt(
    handle: &LoopHandle,
    one_socket: impl Into<OwnedFd>,
    one: Box<dyn Protocol>,
    other_socket: impl Into<OwnedFd>,
    other: Box<dyn Protocol>,
) -> io::Result<Pair> {
    let one = handle.run_until_complete(handle.create_connection_sock(|| one, one_socket))??;
    let other =
        handle.run_until_complete(handle.create_connection_sock(|| other, other_socket))??;
    Ok((one, other))
}
