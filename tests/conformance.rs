//! Every transport that millstream makes, held against the suite that any must pass.
//!
//! ```text
//! testing::conformance ──► memory pair, TCP on 127.0.0.1, Unix-domain sockets
//! ```

mod net_support;

use std::os::unix::net::UnixStream;

use millstream::memory_transport_pair;
use millstream::testing::conformance;

use net_support::{adopt, tcp_pair};

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
        let (client, server) = tcp_pair()?;
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
