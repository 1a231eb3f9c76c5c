//! Readers and writers on the pair: what trio's generic checks ask of any stream.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::event_loop::running_loop;
use crate::streams::{StreamReader, StreamReaderProtocol, StreamWriter};
use crate::task::yield_now;
use crate::time::timeout;

use super::Scenario;
use super::scene::{Scene, assert_same_bytes, pattern};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a stream carries lines there and back, and ends", |scene| {
        two_way(scene, lines_there_and_back)
    }),
    ("both directions of a stream carry bulk at once", |scene| {
        two_way(scene, bulk_at_once)
    }),
    (
        "closing a writer wakes the peer's reader with the end, again and again",
        |scene| two_way(scene, close_wakes_the_peer),
    ),
    (
        "a write after close is told by drain, and closing twice is harmless",
        |scene| two_way(scene, write_after_close),
    ),
    (
        "a drain that is dropped loses nothing, and another one goes on waiting",
        |scene| two_way(scene, cancelled_drain),
    ),
    (
        "two tasks that write do not mix their bytes within one write",
        |scene| two_way(scene, two_writers),
    ),
    (
        "after write_eof a stream still reads, and a write is told by drain",
        |scene| two_way(scene, half_closed_stream),
    ),
];

/// How long a scenario may take in all: only one that hangs does.
const PATIENCE: Duration = Duration::from_secs(30);

struct Stream {
    reader: StreamReader,
    writer: StreamWriter,
}

/// Plays `scenario` with a stream at each end of the pair.
fn two_way<F>(scene: &Scene<'_>, scenario: fn(Stream, Stream) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let (one, other) = (StreamReader::new(), StreamReader::new());
    let (one_transport, other_transport) = scene.connects_protocols(
        Box::new(StreamReaderProtocol::new(&one)),
        Box::new(StreamReaderProtocol::new(&other)),
    )?;
    let one = Stream {
        writer: StreamWriter::new(one_transport, &one),
        reader: one,
    };
    let other = Stream {
        writer: StreamWriter::new(other_transport, &other),
        reader: other,
    };
    let playing = async move { timeout(PATIENCE, scenario(one, other)).await };
    scene.event_loop.run_until_complete(playing)??
}

async fn lines_there_and_back(mut one: Stream, mut other: Stream) -> io::Result<()> {
    for line in [&b"a\n"[..], b"\n", b"something longer\n"] {
        one.writer.write(line);
        one.writer.drain().await?;
        assert_eq!(other.reader.readline().await?, line);
        other.writer.write(line);
        assert_eq!(one.reader.readline().await?, line);
    }
    one.writer.write(b"no newline");
    one.writer.close();
    assert_eq!(other.reader.readline().await?, b"no newline");
    assert_eq!(other.reader.readline().await?, b"");
    assert!(other.reader.at_eof());
    one.writer.wait_closed().await
}

async fn bulk_at_once(one: Stream, other: Stream) -> io::Result<()> {
    const BULK: usize = 1 << 20;
    let sends = |writer: StreamWriter, seed| async move {
        for piece in pattern(BULK, seed).chunks(7000) {
            writer.write(piece);
            writer.drain().await?;
        }
        writer.flush().await?;
        io::Result::Ok(writer)
    };
    let receives = |mut reader: StreamReader, seed| async move {
        let received = reader.readexactly(BULK).await?;
        assert_same_bytes(&received, &pattern(BULK, seed));
        io::Result::Ok(())
    };
    let handle = running_loop();
    let there = handle.create_task(sends(one.writer, 21));
    let back = handle.create_task(sends(other.writer, 22));
    let back_received = handle.create_task(receives(one.reader, 22));
    receives(other.reader, 21).await?;
    back_received.await.map_err(io::Error::from)??;
    there.await.map_err(io::Error::from)??;
    back.await.map_err(io::Error::from)??;
    Ok(())
}

async fn close_wakes_the_peer(one: Stream, mut other: Stream) -> io::Result<()> {
    let handle = running_loop();
    let reads = handle.create_task(async move {
        assert_eq!(other.reader.read(100).await?, b"");
        assert_eq!(other.reader.read(100).await?, b"");
        assert!(other.reader.at_eof());
        if other.writer.can_write_eof() {
            assert!(!other.writer.is_closing(), "the end closes nothing here");
        }
        other.writer.aclose().await
    });
    one.writer.close();
    one.writer.wait_closed().await?;
    one.writer.wait_closed().await?;
    reads.await.map_err(io::Error::from)?
}

async fn write_after_close(mut one: Stream, mut other: Stream) -> io::Result<()> {
    one.writer.write(b"before");
    one.writer.close();
    one.writer.close();
    assert!(one.writer.is_closing());
    one.writer.write(b"after");
    // At once, or when the peer has answered the close.
    while one.writer.drain().await.is_ok() {
        yield_now().await;
    }
    for _ in 0..2 {
        let told = one.writer.drain().await;
        assert_eq!(
            told.map_err(|e| (e.kind(), e.to_string())),
            Err((io::ErrorKind::ConnectionReset, "Connection lost".to_owned()))
        );
    }
    one.writer.wait_closed().await?;
    assert_eq!(one.reader.read(10).await?, b"");
    assert!(one.reader.at_eof());
    assert_eq!(other.reader.read_all().await?, b"before");
    Ok(())
}

async fn cancelled_drain(one: Stream, mut other: Stream) -> io::Result<()> {
    let mut sent = Vec::new();
    let (_, high) = one.writer.transport().get_write_buffer_limits();
    while one.writer.transport().get_write_buffer_size() <= high {
        // The peer's reader pauses at its limit, so that this ends.
        let piece = pattern(20_000, sent.len() as u64);
        one.writer.write(&piece);
        sent.extend_from_slice(&piece);
        yield_now().await;
    }
    {
        let mut dropped = pin!(one.writer.drain());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(dropped.as_mut().poll(&mut cx).is_pending());
    }
    let waits = one.writer.drain();
    let reads = async {
        let received = other.reader.readexactly(sent.len()).await?;
        assert_same_bytes(&received, &sent);
        io::Result::Ok(())
    };
    both(waits, reads).await
}

async fn two_writers(one: Stream, mut other: Stream) -> io::Result<()> {
    const LINES: usize = 200;
    let writer = Rc::new(one.writer);
    let handle = running_loop();
    for letter in [b'a', b'b'] {
        let writer = writer.clone();
        handle.create_task(async move {
            for _ in 0..LINES {
                let mut line = vec![letter; 2000];
                line.push(b'\n');
                writer.write(&line);
                writer.drain().await?;
            }
            io::Result::Ok(())
        });
    }
    for _ in 0..2 * LINES {
        let line = other.reader.readline().await?;
        assert_eq!(line.len(), 2001);
        assert!(line[..2000].iter().all(|b| *b == line[0]), "mixed");
    }
    Ok(())
}

async fn half_closed_stream(mut one: Stream, mut other: Stream) -> io::Result<()> {
    if !one.writer.can_write_eof() {
        let refused = one.writer.write_eof();
        assert_eq!(
            refused.map_err(|e| e.kind()),
            Err(io::ErrorKind::Unsupported)
        );
        return Ok(());
    }
    one.writer.write(b"question");
    one.writer.write_eof()?;
    one.writer.write_eof()?;
    assert_eq!(other.reader.read_all().await?, b"question");
    assert!(!other.writer.is_closing());
    other.writer.write(b"answer");
    other.writer.write_eof()?;
    assert_eq!(one.reader.read_all().await?, b"answer");
    for _ in 0..2 {
        one.writer.write(b"too late");
        let told = one.writer.drain().await;
        assert_eq!(
            told.map_err(|e| (e.kind(), e.to_string())),
            Err((
                io::ErrorKind::InvalidInput,
                "Cannot call write() after write_eof()".to_owned()
            ))
        );
    }
    other.writer.aclose().await
}

/// Waits until both have ended well, or one has failed.
async fn both(
    one: impl Future<Output = io::Result<()>>,
    other: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut one_ended, mut other_ended) = (false, false);
    std::future::poll_fn(|cx| {
        if !one_ended {
            match one.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => one_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if !other_ended {
            match other.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => other_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        match one_ended && other_ended {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}
