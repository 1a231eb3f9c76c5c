//! TLS, held against the suite that any transport must pass, on each transport below it.
//!
//! ```text
//! testing::conformance ──► TLS ──► memory pair, TCP on 127.0.0.1, Unix-domain sockets
//! ```

mod net_support;
mod tls_support;

use std::os::unix::net::UnixStream;

use millstream::rustls::version::TLS12;
use millstream::testing::conformance;
use millstream::{TlsClientContext, TlsVersion, memory_transport_pair};

use net_support::{adopt, tcp_pair};
use tls_support::{Nobody, authority, encrypt, encrypt_with, memory_pair};

#[test]
fn sim_08_tls_in_memory_conforms() {
    conformance(|handle, one, other| memory_pair(handle, one, other, 64 * 1024));
}

#[test]
fn sim_08_the_serving_side_of_tls_conforms() {
    conformance(|handle, one, other| {
        let (client, server) = memory_pair(handle, other, one, 64 * 1024)?;
        Ok((server, client))
    });
}

#[test]
fn sim_08_tls_1_2_conforms() {
    let context = TlsClientContext::builder()
        .trust_pem(&authority().pem)
        .and_then(|builder| builder.versions(&[&TLS12]).build())
        .expect("the authority is a right one");
    conformance(|handle, one, other| {
        let raw = memory_transport_pair(handle, Nobody, Nobody, 64 * 1024);
        let (one, other) = encrypt_with(handle, context.clone(), raw, one, other)?;
        assert_eq!(one.get_extra_info(TlsVersion), Some("TLSv1.2"));
        Ok((one, other))
    });
}

#[test]
fn tls_on_a_memory_pair_that_cuts_bytes_short_conforms() {
    conformance(|handle, one, other| memory_pair(handle, one, other, 1000));
}

#[test]
fn sim_08_tls_on_tcp_conforms() {
    conformance(|handle, one, other| {
        let (client, server) = tcp_pair()?;
        let raw = adopt(handle, client, Box::new(Nobody), server, Box::new(Nobody))?;
        encrypt(handle, raw, one, other)
    });
}

#[test]
fn sim_08_tls_on_unix_sockets_conforms() {
    conformance(|handle, one, other| {
        let (ours, theirs) = UnixStream::pair()?;
        let raw = adopt(handle, ours, Box::new(Nobody), theirs, Box::new(Nobody))?;
        encrypt(handle, raw, one, other)
    });
}
