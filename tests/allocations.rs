//! What claims to allocate nothing is counted.
//!
//! The allocator of this test program counts, for each thread apart. The first rounds
//! may allocate: they grow what is used again and again.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use allocation_counter::measure;
use millstream::{EventLoop, StreamReader, StreamWriter, copy, open_connection_sock};

const LINE: &[u8] = b"a line of some forty bytes, as people write\n";

const ROUNDS: usize = 1000;

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Returns what a future returns that must not wait.
#[track_caller]
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it should not wait"),
    }
}

/// Counts the allocations of `rounds`, after as many to grow what is used again.
#[track_caller]
fn assert_allocates_nothing(mut rounds: impl FnMut()) {
    rounds();
    let counted = measure(rounds);
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn the_counter_counts() {
    let counted = measure(|| drop(std::hint::black_box(vec![0; 100])));
    assert_eq!(counted.count_total, 1);
}

#[test]
fn lent_lines_that_were_fed_allocate_nothing() {
    let mut reader = StreamReader::new();
    assert_allocates_nothing(|| {
        for _ in 0..ROUNDS {
            reader.feed_data(LINE);
            reader.feed_data(LINE);
            for _ in 0..2 {
                let line = at_once(reader.readline_ref()).expect("a line was fed");
                assert_eq!(line, LINE);
            }
        }
    });
}

#[test]
fn lent_records_and_pulled_bytes_allocate_nothing() {
    let mut reader = StreamReader::new();
    let mut word = [0; 6];
    assert_allocates_nothing(|| {
        for _ in 0..ROUNDS {
            reader.feed_data(LINE);
            let found = at_once(reader.readuntil_ref(", ")).expect("there is a comma");
            assert_eq!(found.len(), 28);
            at_once(reader.readexactly_into(&mut word)).expect("six bytes are left");
            let rest = at_once(reader.fill_buf()).expect("more is left").len();
            reader.consume(rest);
        }
    });
}

#[test]
fn copied_messages_allocate_nothing() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (mut peer, ours) = UnixStream::pair()?;
    peer.set_nonblocking(true)?;
    let connecting = event_loop.create_task(async { open_connection_sock(ours).await });
    let (mut reader, writer) = event_loop.run_until_complete(connecting)???;
    let echoing = event_loop.create_task(async move { copy(&mut reader, &writer).await });
    for message in [LINE, &[b'x'; 20_000]] {
        let mut answer = vec![0; message.len()];
        assert_allocates_nothing(|| {
            for _ in 0..ROUNDS {
                peer.write_all(message).expect("the kernel has room");
                let mut heard = 0;
                while heard < message.len() {
                    event_loop.turn(AT_ONCE).expect("nothing fails");
                    heard += peer.read(&mut answer[heard..]).unwrap_or(0);
                }
            }
        });
    }
    drop(peer);
    let copied = event_loop.run_until_complete(echoing)???;
    assert_eq!(copied, (2 * ROUNDS * (LINE.len() + 20_000)) as u64);
    Ok(())
}

#[test]
fn lines_over_a_socket_allocate_nothing() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (mut peer, _) = listener.accept()?;
    let echo = thread::spawn(move || {
        let mut line = [0; LINE.len()];
        while peer.read_exact(&mut line).is_ok() {
            peer.write_all(&line)?;
        }
        io::Result::Ok(())
    });
    let event_loop = EventLoop::new()?;
    let connecting = event_loop.create_task(async { open_connection_sock(ours).await });
    let stream = event_loop.run_until_complete(connecting)???;
    // Twice, until nothing is left of the tasks that connected: the wakers of two are used
    // again, while a stream that remembers its last reader's waker keeps that.
    let (_, stream) = count_lines(&event_loop, stream, ROUNDS)?;
    let (_, stream) = count_lines(&event_loop, stream, ROUNDS)?;
    let (once, stream) = count_lines(&event_loop, stream, ROUNDS)?;
    let (twice, stream) = count_lines(&event_loop, stream, 2 * ROUNDS)?;
    drop(stream);
    // What begins and ends a task is the same for both: the lines cost nothing.
    assert_eq!(once, twice);
    event_loop.close()?;
    echo.join().expect("the peer does not panic")
}

type Stream = (StreamReader, StreamWriter);

/// Counts the allocations of a task that writes and reads so many lines.
fn count_lines(
    event_loop: &EventLoop,
    (mut reader, writer): Stream,
    rounds: usize,
) -> io::Result<(u64, Stream)> {
    let mut outcome = None;
    let counted = measure(|| {
        outcome = Some(event_loop.run_until_complete(async move {
            for _ in 0..rounds {
                writer.write(LINE);
                writer.drain().await?;
                assert_eq!(reader.readline_ref().await?, LINE);
            }
            io::Result::Ok((reader, writer))
        }));
    });
    let stream = outcome.expect("it was measured")??;
    Ok((counted.count_total, stream))
}
