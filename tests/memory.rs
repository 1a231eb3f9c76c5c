//! How much memory the write buffers hold, by the system's own count: WRT-15, WRT-32.
//!
//! One test in a process of its own, since the allocator keeps what earlier ones gave
//! back: in this order, each part begins with a known weight.

#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    create_task, memory_stream_pair, open_unix_connection_sock, run, timeout, yield_now,
};

const MIB: usize = 1 << 20;

/// Bytes of this process that lie in memory.
fn resident() -> io::Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<usize>().ok());
    let kib = kib.ok_or_else(|| io::Error::other("the status has another format"))?;
    Ok(kib * 1024)
}

#[test]
fn wrt_15_wrt_32_write_buffers_are_bounded_and_given_back() -> io::Result<()> {
    aborting_a_stuck_close_gives_its_memory_back()?;
    drain_bounds_what_a_thousand_stuck_peers_cost()
}

fn aborting_a_stuck_close_gives_its_memory_back() -> io::Result<()> {
    run(async {
        let (ours, _peer) = UnixStream::pair()?;
        let (_reader, writer) = open_unix_connection_sock(ours).await?;
        let before = resident()?;
        writer.write(vec![b'x'; 8 * MIB]);
        writer.close();
        let patience = Duration::from_millis(200);
        assert!(timeout(patience, writer.wait_closed()).await.is_err());
        assert!(writer.is_closing());
        let queued = writer.transport().get_write_buffer_size();
        assert!(queued > 4 * MIB, "only {queued} bytes are left to be sent");
        let grown = resident()?.saturating_sub(before);
        assert!(grown > 4 * MIB, "it weighs only {grown} bytes");

        writer.transport().abort();
        writer.wait_closed().await?;
        assert_eq!(writer.transport().get_write_buffer_size(), 0);
        let left = resident()?.saturating_sub(before);
        assert!(left < 4 * MIB, "{left} bytes more than before");
        Ok(())
    })
}

fn drain_bounds_what_a_thousand_stuck_peers_cost() -> io::Result<()> {
    const CONNECTIONS: usize = 1000;
    const WRITE: usize = 64 * 1024;
    const HIGH_MARK: usize = 64 * 1024;
    // Without a bound, that would be half a gigabyte.
    const WRITES: usize = 8;
    run(async {
        let before = resident()?;
        let mut writers = Vec::new();
        let mut peers = Vec::new();
        for _ in 0..CONNECTIONS {
            let ((reader, writer), peer) = memory_stream_pair(1024);
            peer.1.transport().pause_reading();
            let writer = Rc::new(writer);
            writers.push((reader, writer.clone()));
            peers.push(peer);
            create_task(async move {
                for _ in 0..WRITES {
                    writer.write([b'x'; WRITE]);
                    writer.drain().await?;
                }
                io::Result::Ok(())
            });
        }
        for _ in 0..10 {
            yield_now().await;
        }
        for (_, writer) in &writers {
            let queued = writer.transport().get_write_buffer_size();
            assert!(queued > HIGH_MARK, "it should wait in drain");
            assert!(queued <= HIGH_MARK + WRITE, "{queued} bytes are queued");
        }
        let grown = resident()?.saturating_sub(before);
        // A quarter more for all that is not in the write buffers.
        let bound = CONNECTIONS * (HIGH_MARK + WRITE) / 4 * 5;
        assert!(grown <= bound, "{grown} bytes, which is more than {bound}");
        Ok(())
    })
}
