//! How much memory a transport gives back.
//!
//! A program without a harness: it stands alone, so that no other test grows meanwhile,
//! and on the main thread, for the allocator of glibc gives back what another thread
//! freed only when it can give back all of it. Linux tells how much a process has.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use millstream::{EventLoop, Protocol};

/// Bytes that are queued to a peer that never reads.
const QUEUED: usize = 200 << 20;

/// Bytes by which the process may have grown afterwards: a tenth of what was queued.
const MAY_REMAIN: usize = QUEUED / 10;

struct Nothing;

impl Protocol for Nothing {}

fn main() -> io::Result<()> {
    if cfg!(not(target_os = "linux")) {
        return Ok(());
    }
    trn_44_memory_that_was_queued_is_given_back_when_the_connection_is_lost()?;
    println!("trn_44_memory_that_was_queued_is_given_back_when_the_connection_is_lost ... ok");
    Ok(())
}

fn trn_44_memory_that_was_queued_is_given_back_when_the_connection_is_lost() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    for write_size in [1000, 50_000, 5 << 20] {
        let (ours, _theirs) = UnixStream::pair()?;
        let connection = event_loop.create_connection_sock(|| Nothing, ours);
        let transport = event_loop.run_until_complete(connection)??;
        let piece = vec![b'x'; write_size];
        let before = resident_bytes()?;
        while transport.get_write_buffer_size() < QUEUED {
            transport.write(&piece);
        }
        let while_queued = resident_bytes()?;
        assert!(
            while_queued > before + QUEUED / 2,
            "what is queued is not seen: {before} bytes before, {while_queued} then"
        );
        transport.abort();
        event_loop.turn(Some(Duration::ZERO))?;
        assert_eq!(event_loop.census().sources, 0, "the connection is lost");
        let after = resident_bytes()?;
        assert!(
            after < before + MAY_REMAIN,
            "{before} bytes before, {after} after writes of {write_size} bytes"
        );
    }
    Ok(())
}

fn resident_bytes() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    Ok(kilobytes.expect("Linux tells it in kB") * 1024)
}
