//! TLS: the handshake, bytes both ways, and the end, on real sockets and in memory.

mod tls_support;

use std::io;

use millstream::testing::{Recorder, Trace};
use millstream::{EventLoop, TlsVersion};

use tls_support::memory_pair;

/// Bytes that look like nothing else, the same on each run.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8))
        .flat_map(|_| next())
        .take(len)
        .collect()
}

#[test]
fn tls_48_chunks_of_any_size_make_a_handshake_and_carry_bytes() -> io::Result<()> {
    for chunk in 1..=37 {
        let event_loop = EventLoop::new()?;
        let (ours, theirs) = (Trace::new(), Trace::new());
        let (one, other) = memory_pair(
            &event_loop,
            Box::new(Recorder::new(&ours)),
            Box::new(Recorder::new(&theirs)),
            chunk,
        )?;
        assert_eq!(one.get_extra_info(TlsVersion), Some("TLSv1.3"));
        let (there, back) = (pattern(10_240, chunk as u64), pattern(10_240, 99));
        one.write(&there);
        other.write(&back);
        while ours.received_len() < back.len() || theirs.received_len() < there.len() {
            event_loop.turn(None)?;
        }
        assert!(ours.received() == back, "chunks of {chunk} bytes");
        assert!(theirs.received() == there, "chunks of {chunk} bytes");
        one.close();
        while !ours.is_lost() || !theirs.is_lost() {
            event_loop.turn(None)?;
        }
        ours.assert_complete();
        theirs.assert_complete();
    }
    Ok(())
}
