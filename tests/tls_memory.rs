//! How much memory a peer can make TLS take: counted, on the loop's own thread alone.
//!
//! The allocator of this test program counts for each thread apart, and so leaves out what
//! the peers take, which are threads.

mod tls_support;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use allocation_counter::measure;
use millstream::{
    EventLoop, Future, StreamReader, StreamWriter, create_future, get_running_loop, start_server,
};

use tls_support::{Peer, server_context};

/// How long a peer waits before it takes something for a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the loop's thread may take for a peer that has not said who it is.
const FOR_A_STRANGER: u64 = 64 * 1024;

/// What it may take, for all, while a peer floods and nobody reads.
const FOR_A_FLOOD: u64 = 2 << 20;

/// Runs until a peer's thread has ended.
fn ends<T: Send + 'static>(
    event_loop: &EventLoop,
    peer: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    event_loop.run_until_complete(async move {
        let handle = get_running_loop()?;
        handle.run_in_executor(peer).await?
    })?
}

#[test]
fn tls_31_garbage_instead_of_a_hello_takes_little_memory() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let refused = Rc::new(RefCell::new(0));
    let seen = refused.clone();
    let server = event_loop.run_until_complete(async move {
        start_server(
            async |_: StreamReader, _: StreamWriter| -> () { panic!("no handler is called") },
            "127.0.0.1",
            0,
        )
        .tls(server_context())
        .on_tls_failure(move |_| *seen.borrow_mut() += 1)
        .await
    })??;
    let port = server.sockets()[0].port().unwrap_or(0);
    let attack = |garbage: Vec<u8>| {
        let told = *refused.borrow();
        ends(&event_loop, move || {
            let mut socket = TcpStream::connect(("127.0.0.1", port))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            // It may be gone before we are through.
            let _ = socket.write_all(&garbage);
            let _ = socket.shutdown(Shutdown::Write);
            let _ = socket.read_to_end(&mut Vec::new());
            Ok(())
        })?;
        assert_eq!(*refused.borrow(), told + 1);
        io::Result::Ok(())
    };
    // What is used again and again grows before.
    attack(b"GET / HTTP/1.0\r\n\r\n".to_vec())?;
    let a_whole_record = [
        &[0x16, 3, 1, 0x40, 0][..],
        &[1, 0, 0x3f, 0xfc],
        &[7; 70_000],
    ]
    .concat();
    // A hello of 16 MiB, in records that are full.
    let mut endless = Vec::new();
    for n in 0..64 {
        endless.extend([0x16, 3, 1, 0x40, 0]);
        let begins = if n == 0 {
            [1, 0xff, 0xff, 0xff]
        } else {
            [0; 4]
        };
        endless.extend(begins);
        endless.resize(endless.len() + 0x4000 - 4, 0);
    }
    for garbage in [
        vec![0; 64 * 1024],
        [&[0x16, 3, 1, 0xff, 0xff][..], &[7; 70_000]].concat(),
        a_whole_record,
        endless,
        vec![0x16; 1 << 20],
    ] {
        let begins = garbage[..5].to_vec();
        let mut attacked = Ok(());
        let counted = measure(|| attacked = attack(garbage));
        attacked?;
        assert!(
            counted.bytes_max < FOR_A_STRANGER,
            "{begins:?}: {counted:?}"
        );
    }
    drop(server);
    Ok(())
}

#[test]
fn tls_38_a_flood_that_nobody_reads_takes_little_memory() -> io::Result<()> {
    const FLOOD: usize = 64 << 20;
    let context = server_context();
    let mut flooded = Ok(0);
    let counted = measure(|| flooded = floods(context, FLOOD));
    assert!(flooded? < FLOOD, "nobody stopped the flood");
    assert!(counted.bytes_max < FOR_A_FLOOD, "{counted:?}");
    Ok(())
}

/// Has a peer send until nothing more is taken, and says how much was.
fn floods(context: millstream::TlsServerContext, most: usize) -> io::Result<usize> {
    let event_loop = EventLoop::new()?;
    let (hold, held) = create_future::<()>();
    let held: RefCell<Option<Future<()>>> = RefCell::new(Some(held));
    let server = event_loop.run_until_complete(async move {
        let handler = async move |_reader: StreamReader, _writer: StreamWriter| {
            // Neither is dropped meanwhile, and nothing is read.
            let held = held.take();
            if let Some(held) = held {
                let _ = held.await;
            }
        };
        start_server(handler, "127.0.0.1", 0).tls(context).await
    })??;
    let port = server.sockets()[0].port().unwrap_or(0);
    let sent = ends(&event_loop, move || {
        let mut peer = Peer::connect(port)?;
        peer.handshake()?;
        peer.socket
            .set_write_timeout(Some(Duration::from_secs(1)))?;
        peer.tls.set_buffer_limit(None);
        let piece = vec![7; 64 * 1024];
        let mut sent = 0;
        while sent < most && peer.sends(&piece).is_ok() {
            sent += piece.len();
        }
        Ok(sent)
    })?;
    drop(hold);
    drop(server);
    Ok(sent)
}
