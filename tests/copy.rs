//! Copying, one way and both: between sockets, and between streams in memory.

mod stream_support;
mod wire;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use millstream::{
    Clock, CopyError, EventLoop, ExtraInfoRequest, Protocol, Runner, StreamReader,
    StreamReaderProtocol, StreamWriter, Task, Transport, WriteLimitsError, copy,
    copy_bidirectional, create_task, get_running_loop, memory_stream_pair, memory_transport_pair,
    open_connection_sock, run, yield_now,
};
use socket2::{SockRef, Socket};
use stream_support::{XorShift, fed};
use wire::{reset, tcp_pair};

/// Bytes that a writer is handed at once, at the most.
const PIECE: usize = 64 * 1024;

const TEN_MEGABYTES: usize = 10 << 20;

/// The default high-water mark.
const HIGH: usize = 64 * 1024;

type Stream = (StreamReader, StreamWriter);
type BothWays = Result<(u64, u64), CopyError>;

// ── between sockets ─────────────────────────────────────────────────────────────

#[test]
fn ten_megabytes_go_both_ways_over_tcp() -> io::Result<()> {
    let (client, ours) = tcp_pair()?;
    let (upstream, theirs) = tcp_pair()?;
    let client = Talk::begin(client, numbered(TEN_MEGABYTES, 1));
    let upstream = Talk::begin(upstream, numbered(TEN_MEGABYTES, 2));
    both_hear_all(Proxy::between(ours, theirs)?, client?, upstream?)?;
    Ok(())
}

#[test]
fn ten_megabytes_go_both_ways_though_the_kernel_takes_little_at_a_time() -> io::Result<()> {
    let (client, ours) = UnixStream::pair()?;
    let (upstream, theirs) = UnixStream::pair()?;
    for socket in [&ours, &theirs] {
        SockRef::from(socket).set_send_buffer_size(4096)?;
    }
    let client = Talk::begin(client, numbered(TEN_MEGABYTES, 1));
    let upstream = Talk::begin(upstream, numbered(TEN_MEGABYTES, 2));
    let most = both_hear_all(Proxy::between(ours, theirs)?, client?, upstream?)?;
    assert!(most > 0, "the kernel never refused");
    Ok(())
}

/// Returns how many bytes a writer had to keep at the most.
#[track_caller]
fn both_hear_all(mut proxy: Proxy, client: Talk, upstream: Talk) -> io::Result<usize> {
    let copied = proxy.ends()?.map_err(io::Error::from)?;
    assert_eq!(copied, (TEN_MEGABYTES as u64, TEN_MEGABYTES as u64));
    drop(proxy.streams()?);
    assert!(client.heard()? == numbered(TEN_MEGABYTES, 2));
    assert!(upstream.heard()? == numbered(TEN_MEGABYTES, 1));
    let most = proxy.most_unsent;
    assert!(most <= HIGH + PIECE, "{most} bytes were queued");
    Ok(most)
}

#[test]
fn a_reset_ends_both_directions_and_says_how_far_they_came() -> io::Result<()> {
    let (mut client, ours) = tcp_pair()?;
    let (mut upstream, theirs) = tcp_pair()?;
    let mut proxy = Proxy::between(ours, theirs)?;
    client.write_all(b"a question")?;
    proxy.runs_until_heard(&mut upstream, b"a question")?;
    upstream.write_all(b"an answer.")?;
    upstream.write_all(b"More.")?;
    proxy.runs_until_heard(&mut client, b"an answer.More.")?;

    reset(client)?;
    let error = proxy.ends()?.expect_err("it was reset");
    assert_eq!((error.a_to_b, error.b_to_a), (10, 15));
    let counts = "after 10 bytes one way and 15 bytes the other";
    assert_eq!(error.to_string(), format!("{}, {counts}", error.error));
    let error = io::Error::from(error);
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.raw_os_error().is_some());

    // Neither was closed by that.
    let (_, still_open) = proxy.streams()?;
    still_open.1.write("one more thing");
    proxy.runs_until_heard(&mut upstream, b"one more thing")
}

#[test]
fn a_reset_by_the_one_that_is_written_to_ends_both_directions() -> io::Result<()> {
    let (mut client, ours) = tcp_pair()?;
    let (upstream, theirs) = tcp_pair()?;
    let mut proxy = Proxy::between(ours, theirs)?;
    client.write_all(b"into the void")?;
    reset(upstream)?;
    let error = proxy.ends()?.expect_err("it was reset");
    assert!(
        matches!(
            error.error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    assert_eq!(error.b_to_a, 0);
    Ok(())
}

#[test]
fn a_client_that_half_closes_gets_its_answer() -> io::Result<()> {
    let (mut client, ours) = tcp_pair()?;
    let (mut upstream, theirs) = tcp_pair()?;
    let mut proxy = Proxy::between(ours, theirs)?;
    client.write_all(b"all I have to say")?;
    client.shutdown(Shutdown::Write)?;
    proxy.runs_until_heard(&mut upstream, b"all I have to say")?;
    proxy.runs_until_heard_the_end(&mut upstream)?;

    upstream.write_all(b"thank you")?;
    proxy.runs_until_heard(&mut client, b"thank you")?;
    assert!(!proxy.copying.done(), "the upstream may have more to say");
    upstream.shutdown(Shutdown::Write)?;
    proxy.runs_until_heard_the_end(&mut client)?;
    assert_eq!(proxy.ends()?.map_err(io::Error::from)?, (17, 9));
    Ok(())
}

#[test]
fn given_up_at_any_moment_between_sockets_it_loses_nothing() -> io::Result<()> {
    const LEN: usize = 300_000;
    for seed in 1..=10 {
        let (client, ours) = UnixStream::pair()?;
        let (upstream, theirs) = UnixStream::pair()?;
        SockRef::from(&theirs).set_send_buffer_size(4096)?;
        let client = Talk::begin(client, numbered(LEN, seed))?;
        let upstream = Talk::begin(upstream, Vec::new())?;
        let mut chance = XorShift::seeded(seed);
        run(async move {
            let (mut reader, own_writer) = open_connection_sock(ours).await?;
            let (_reader, writer) = open_connection_sock(theirs).await?;
            own_writer.write_eof()?;
            while give_up_after(chance.below(20), copy(&mut reader, &writer))
                .await
                .is_none()
            {
                let n = reader.buffered().len().min(chance.below(1000));
                if n > 0 {
                    writer.write(reader.readexactly(n).await?);
                }
            }
            writer.aclose().await
        })?;
        client.heard()?;
        assert!(upstream.heard()? == numbered(LEN, seed), "seed {seed}");
    }
    Ok(())
}

// ── the end ─────────────────────────────────────────────────────────────────────

#[test]
fn each_end_is_passed_on_whoever_is_first() -> io::Result<()> {
    for client_first in [true, false] {
        in_simulated_time(async move {
            let (mut client, mut upstream, copying) = proxy_in_memory(16);
            client.1.write(b"from the client, and more than fits");
            upstream.1.write(b"from upstream");
            let (first, second) = match client_first {
                true => (&mut client, &mut upstream),
                false => (&mut upstream, &mut client),
            };
            first.1.write_eof()?;
            let heard = second.0.read_all().await?;
            assert!(!copying.done());

            second.1.write(b", to the end");
            second.1.write_eof()?;
            let answer = first.0.read_all().await?;
            let copied = copying.await?.map_err(io::Error::from)?;
            let (to_upstream, to_client) = match client_first {
                true => (heard, answer),
                false => (answer, heard),
            };
            assert!(to_upstream.starts_with(b"from the client, and more than fits"));
            assert!(to_client.starts_with(b"from upstream"));
            assert_eq!(copied, (to_upstream.len() as u64, to_client.len() as u64));
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn the_end_is_told_when_everything_before_it_was_sent() -> io::Result<()> {
    in_simulated_time(async {
        let (client, mut upstream, copying) = proxy_in_memory(16);
        upstream.1.transport().pause_reading();
        client.1.write([b'x'; 1000]);
        client.1.write_eof()?;
        turns(50).await;
        assert!(!copying.done());
        upstream.1.transport().resume_reading();
        assert_eq!(upstream.0.read_all().await?, [b'x'; 1000]);
        Ok(())
    })
}

#[test]
fn copy_returns_when_all_is_handed_over_and_ends_nothing() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), (mut peer_reader, peer)) = memory_stream_pair(16);
        let copying = create_task(async move {
            let mut reader = ended(&[b'x'; 100]);
            let copied = copy(&mut reader, &writer).await;
            (copied, writer)
        });
        peer.transport().pause_reading();
        turns(50).await;
        assert!(!copying.done(), "16 bytes lie on the way, 84 are not sent");
        peer.transport().resume_reading();
        let (copied, writer) = copying.await?;
        assert_eq!(copied?, 100);
        writer.write("and on");
        writer.close();
        assert_eq!(peer_reader.read_all().await?.len(), 106);
        Ok(())
    })
}

#[test]
fn a_writer_that_cannot_half_close_is_closed_when_both_have_ended() -> io::Result<()> {
    in_simulated_time(async {
        let ((a_reader, a_writer), (mut client_reader, client)) = memory_stream_pair(1024);
        let ((b_reader, b_writer), (mut upstream_reader, upstream)) = without_half_close()?;
        let copying = create_task(both_ways((a_reader, a_writer), (b_reader, b_writer)));
        client.write("a question");
        client.write_eof()?;
        assert_eq!(upstream_reader.readexactly(10).await?, b"a question");
        turns(50).await;
        assert!(!upstream_reader.at_eof(), "its answer is not cut off");

        upstream.write("an answer");
        upstream.write_eof()?;
        assert_eq!(client_reader.read_all().await?, b"an answer");
        let (copied, a, b) = copying.await?;
        assert_eq!(copied.map_err(io::Error::from)?, (10, 9));
        assert!(b.1.is_closing());
        assert!(!a.1.is_closing(), "it was told by write_eof");
        assert_eq!(upstream_reader.read_all().await?, b"");
        Ok(())
    })
}

#[test]
fn nothing_is_copied_from_a_stream_that_is_empty() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), _peer) = memory_stream_pair(16);
        assert_eq!(copy(&mut ended(b""), &writer).await?, 0);
        Ok(())
    })
}

// ── back-pressure ───────────────────────────────────────────────────────────────

#[test]
fn a_peer_that_stops_reading_stops_the_other_and_fills_one_buffer_only() -> io::Result<()> {
    const ON_THE_WAY: usize = 1000;
    const SENT: usize = 1 << 20;
    in_simulated_time(async {
        let (client, mut upstream, copying) = proxy_in_memory(ON_THE_WAY);
        let unsent = client.1.transport().clone();
        upstream.1.transport().pause_reading();
        client.1.write(vec![b'x'; SENT]);
        turns(5000).await;
        // On the way to the copy, on the way from it, or unsent: all but what it holds.
        let held = SENT - unsent.get_write_buffer_size() - 2 * ON_THE_WAY;
        assert!(held > HIGH, "writing is not even paused: {held}");
        assert!(
            held <= HIGH + ON_THE_WAY,
            "more than a piece too much: {held}"
        );

        // The other way is free meanwhile.
        let mut client = client;
        upstream.1.write("hello");
        assert_eq!(client.0.readexactly(5).await?, b"hello");

        upstream.1.transport().resume_reading();
        client.1.write_eof()?;
        upstream.1.write_eof()?;
        assert_eq!(upstream.0.read_all().await?.len(), SENT);
        let copied = copying.await?.map_err(io::Error::from)?;
        assert_eq!(copied, (SENT as u64, 5));
        Ok(())
    })
}

#[test]
fn what_was_read_ahead_is_handed_over_in_pieces() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), (mut peer_reader, peer)) = memory_stream_pair(16);
        let transport = writer.transport().clone();
        let copying = create_task(async move {
            let mut reader = ended(&numbered(1 << 20, 3));
            reader.peek(10).await?; // so that some are lent
            copy(&mut reader, &writer).await
        });
        peer.transport().pause_reading();
        turns(50).await;
        let queued = transport.get_write_buffer_size();
        assert!(queued > HIGH && queued <= HIGH + PIECE, "{queued}");
        peer.transport().resume_reading();
        assert!(peer_reader.readexactly(1 << 20).await? == numbered(1 << 20, 3));
        assert_eq!(copying.await??, 1 << 20);
        Ok(())
    })
}

#[test]
fn a_bulk_of_bytes_leaves_the_others_their_turns() -> io::Result<()> {
    const RECEIVED_IN_A_STEP: usize = 256 * 1024;
    in_simulated_time(async {
        let ((_reader, writer), _peer) = memory_stream_pair(64 << 20);
        let transport = writer.transport().clone();
        transport.set_write_buffer_limits(Some(64 << 20), None)?;
        let mut reader = ended(&vec![b'x'; 8 << 20]);
        let copying = create_task(async move { copy(&mut reader, &writer).await });
        let mut steps = 0;
        while !copying.done() {
            yield_now().await;
            steps += 1;
        }
        assert_eq!(copying.await??, 8 << 20);
        assert!(steps >= (8 << 20) / RECEIVED_IN_A_STEP, "{steps} steps");
        Ok(())
    })
}

// ── what goes wrong, and what is given up ───────────────────────────────────────

#[test]
fn given_up_at_any_moment_in_memory_it_loses_nothing() -> io::Result<()> {
    const LEN: usize = 400_000;
    for seed in 1..=50 {
        in_simulated_time(async move {
            let mut chance = XorShift::seeded(seed);
            let on_the_way = 1 + chance.below(200_000);
            let ((mut reader, _own), (_reader, source)) = memory_stream_pair(on_the_way);
            let ((_peers, writer), (mut sink, _sink_writer)) = memory_stream_pair(on_the_way);
            source.write(numbered(LEN, seed));
            source.write_eof()?;
            let heard = create_task(async move { sink.read_all().await });
            let mut copied = 0;
            loop {
                match give_up_after(chance.below(4), copy(&mut reader, &writer)).await {
                    Some(rest) => {
                        copied += rest?;
                        break;
                    }
                    None if chance.one_in(2) => {
                        let n = reader.buffered().len().min(100);
                        writer.write(reader.readexactly(n).await?);
                    }
                    None => {}
                }
            }
            assert!(copied <= LEN as u64);
            writer.close();
            assert!(heard.await?? == numbered(LEN, seed), "seed {seed}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn given_up_after_one_end_was_passed_on_it_may_be_called_again() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut a_reader, a_writer), (mut client_reader, client)) = memory_stream_pair(16);
        let ((mut b_reader, b_writer), (mut upstream_reader, upstream)) = memory_stream_pair(16);
        client.write_eof()?;
        let first = copy_bidirectional((&mut a_reader, &a_writer), (&mut b_reader, &b_writer));
        assert!(give_up_after(20, first).await.is_none());
        assert_eq!(upstream_reader.read_all().await?, b"");

        upstream.write("late");
        upstream.write_eof()?;
        let again = copy_bidirectional((&mut a_reader, &a_writer), (&mut b_reader, &b_writer));
        assert_eq!(again.await.map_err(io::Error::from)?, (0, 4));
        assert_eq!(client_reader.read_all().await?, b"late");
        Ok(())
    })
}

#[test]
fn given_up_while_the_writer_is_full_it_leaves_what_comes_to_the_next_read() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _own), (_reader, source)) = memory_stream_pair(1 << 20);
        let ((_peers, writer), (_sink, sink_writer)) = memory_stream_pair(16);
        sink_writer.transport().pause_reading();
        source.write(vec![b'x'; 200_000]);
        assert!(
            give_up_after(50, copy(&mut reader, &writer))
                .await
                .is_none()
        );
        source.write("the last line\n");
        let queued = writer.transport().get_write_buffer_size();
        let left = 200_000 - queued - 16;
        assert_eq!(reader.readexactly(left).await?.len(), left);
        assert_eq!(reader.readline().await?, b"the last line\n");
        Ok(())
    })
}

#[test]
fn a_silence_that_is_longer_than_its_readers_limit_ends_both() -> io::Result<()> {
    in_simulated_time(async {
        let (mut ours, client) = memory_stream_pair(1000);
        let (theirs, _upstream) = memory_stream_pair(1000);
        ours.0.set_read_timeout(Some(Duration::from_secs(60)));
        let copying = create_task(both_ways(ours, theirs));
        client.1.write("hello");
        let (copied, mut ours, _theirs) = copying.await?;
        let silent = copied.expect_err("nothing came for a minute");
        assert_eq!(silent.error.kind(), ErrorKind::TimedOut);
        assert_eq!((silent.a_to_b, silent.b_to_a), (5, 0));
        assert_eq!(get_running_loop()?.time(), Duration::from_secs(60));
        client.1.write("late");
        assert_eq!(ours.0.readexactly(4).await?, b"late");
        Ok(())
    })
}

#[test]
fn nothing_is_read_for_a_writer_that_is_closing() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), (_peer_reader, peer)) = memory_stream_pair(16);
        peer.transport().pause_reading();
        writer.write([b'x'; 100]);
        writer.close();
        let mut reader = ended(b"kept");
        let refused = copy(&mut reader, &writer)
            .await
            .map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionReset));
        assert_eq!(reader.read_all().await?, b"kept");
        Ok(())
    })
}

#[test]
fn nothing_is_read_for_a_writer_that_closes_while_the_reader_is_silent() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _own), (_reader, source)) = memory_stream_pair(16);
        let ((_peers, writer), _sink) = memory_stream_pair(16);
        let transport = writer.transport().clone();
        let copying = create_task(async move {
            let copied = copy(&mut reader, &writer).await;
            (copied.map_err(|error| error.kind()), reader)
        });
        turns(10).await;
        transport.abort();
        turns(10).await;
        assert!(!copying.done(), "it looks at the reader alone");
        source.write("kept");
        source.write_eof()?;
        let (copied, mut reader) = copying.await?;
        assert_eq!(copied, Err(ErrorKind::ConnectionReset));
        assert_eq!(reader.read_all().await?, b"kept");
        Ok(())
    })
}

#[test]
fn nothing_is_read_for_a_writer_that_has_ended() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), _peer) = memory_stream_pair(16);
        writer.write_eof()?;
        let mut reader = fed(b"kept");
        let refused = copy(&mut reader, &writer).await.expect_err("it has ended");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(refused.to_string(), "Cannot call write() after write_eof()");
        assert_eq!(reader.buffered(), b"kept");
        Ok(())
    })
}

#[test]
fn the_readers_error_comes_first() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), _peer) = memory_stream_pair(16);
        let mut reader = fed(b"kept");
        reader.set_exception(ErrorKind::ConnectionAborted);
        let failed = copy(&mut reader, &writer)
            .await
            .map_err(|error| error.kind());
        assert_eq!(failed, Err(ErrorKind::ConnectionAborted));
        assert_eq!(reader.take_buffered(), b"kept");
        Ok(())
    })
}

#[test]
fn the_error_of_one_direction_does_not_wait_for_the_other() -> io::Result<()> {
    in_simulated_time(async {
        let (client, upstream, copying) = proxy_in_memory(1000);
        client.1.write("some");
        turns(10).await;
        upstream.1.transport().abort(); // and so the next write fails
        client.1.write("more");
        turns(10).await;
        client.1.write("even more");
        let failed = copying.await?.expect_err("nobody takes it");
        assert!(failed.a_to_b >= 4, "{failed}");
        assert_eq!(failed.b_to_a, 0);
        Ok(())
    })
}

// ── what the tests say ──────────────────────────────────────────────────────────

/// Bytes by which one can tell whether any are missing, or in another's place. They repeat
/// themselves after a number of bytes that no buffer has.
fn numbered(len: usize, salt: u64) -> Vec<u8> {
    let word = |nth: u64| nth.wrapping_add(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let bytes = (0..).flat_map(|nth| word(nth).to_be_bytes());
    let once: Vec<u8> = bytes.take(65_521).collect();
    let mut all = once.repeat(len.div_ceil(once.len()));
    all.truncate(len);
    all
}

/// A reader of a stream that has ended after these bytes.
fn ended(bytes: &[u8]) -> StreamReader {
    let reader = fed(bytes);
    reader.feed_eof();
    reader
}

async fn both_ways(mut a: Stream, mut b: Stream) -> (BothWays, Stream, Stream) {
    let copied = copy_bidirectional((&mut a.0, &a.1), (&mut b.0, &b.1)).await;
    (copied, a, b)
}

/// A client, an upstream, and a task that copies between them.
fn proxy_in_memory(on_the_way: usize) -> (Stream, Stream, Task<BothWays>) {
    let (ours, client) = memory_stream_pair(on_the_way);
    let (theirs, upstream) = memory_stream_pair(on_the_way);
    let copying = create_task(async { both_ways(ours, theirs).await.0 });
    (client, upstream, copying)
}

async fn turns(n: usize) {
    for _ in 0..n {
        yield_now().await;
    }
}

/// Awaits a future, and drops it if it is not ready after so many turns.
async fn give_up_after<T>(patience: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = patience;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

fn in_simulated_time<T: 'static>(
    main: impl Future<Output = io::Result<T>> + 'static,
) -> io::Result<T> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(main)
}

/// Somebody who says all that they have to say, ends, and reads to the end.
struct Talk {
    saying: thread::JoinHandle<io::Result<()>>,
    hearing: thread::JoinHandle<io::Result<Vec<u8>>>,
}

impl Talk {
    fn begin(socket: impl Into<OwnedFd>, words: Vec<u8>) -> io::Result<Talk> {
        let mut hears = Socket::from(socket.into());
        let mut says = hears.try_clone()?;
        let saying = thread::spawn(move || {
            says.write_all(&words)?;
            says.shutdown(Shutdown::Write)
        });
        let hearing = thread::spawn(move || {
            let (mut heard, mut piece) = (Vec::new(), [0; 5000]);
            loop {
                match hears.read(&mut piece)? {
                    0 => return Ok(heard),
                    n => heard.extend_from_slice(&piece[..n]),
                }
            }
        });
        Ok(Talk { saying, hearing })
    }

    fn heard(self) -> io::Result<Vec<u8>> {
        self.saying.join().expect("it panics at nothing")?;
        self.hearing.join().expect("it panics at nothing")
    }
}

/// A loop with a task that copies between two sockets.
struct Proxy {
    event_loop: EventLoop,
    copying: Task<()>,
    ended: Rc<RefCell<Option<BothWays>>>,
    /// The streams, once they were copied.
    after: Rc<RefCell<Option<(Stream, Stream)>>>,
    transports: Rc<RefCell<Vec<Rc<dyn Transport>>>>,
    most_unsent: usize,
}

impl Proxy {
    fn between(ours: impl Into<OwnedFd>, theirs: impl Into<OwnedFd>) -> io::Result<Proxy> {
        let (ours, theirs) = (ours.into(), theirs.into());
        let event_loop = EventLoop::new()?;
        let after = Rc::new(RefCell::new(None));
        let transports = Rc::new(RefCell::new(Vec::new()));
        let ended = Rc::new(RefCell::new(None));
        let (told, keep, watch) = (ended.clone(), after.clone(), transports.clone());
        let copying = event_loop.create_task(async move {
            let a = open_connection_sock(ours).await.expect("it is connected");
            let b = open_connection_sock(theirs).await.expect("it is connected");
            watch.replace(vec![a.1.transport().clone(), b.1.transport().clone()]);
            let (copied, a, b) = both_ways(a, b).await;
            keep.replace(Some((a, b)));
            told.replace(Some(copied));
        });
        Ok(Proxy {
            event_loop,
            copying,
            ended,
            after,
            transports,
            most_unsent: 0,
        })
    }

    fn turn(&mut self) -> io::Result<()> {
        self.event_loop.turn(Some(Duration::from_millis(1)))?;
        for transport in self.transports.borrow().iter() {
            self.most_unsent = self.most_unsent.max(transport.get_write_buffer_size());
        }
        Ok(())
    }

    fn ends(&mut self) -> io::Result<BothWays> {
        while !self.copying.done() {
            self.turn()?;
        }
        let ended = self.ended.take();
        Ok(ended.expect("a task leaves what it came to"))
    }

    fn streams(&self) -> io::Result<(Stream, Stream)> {
        let streams = self.after.take();
        streams.ok_or_else(|| io::Error::other("it still copies"))
    }

    #[track_caller]
    fn runs_until_heard(&mut self, peer: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            match self.read(peer)? {
                Some(bytes) if bytes.is_empty() => break,
                Some(bytes) => heard.extend(bytes),
                None => self.turn()?,
            }
        }
        assert_eq!(
            String::from_utf8_lossy(&heard),
            String::from_utf8_lossy(expected)
        );
        Ok(())
    }

    #[track_caller]
    fn runs_until_heard_the_end(&mut self, peer: &mut TcpStream) -> io::Result<()> {
        loop {
            match self.read(peer)? {
                Some(bytes) => {
                    assert_eq!(bytes, b"", "it was to be the end");
                    return Ok(());
                }
                None => self.turn()?,
            }
        }
    }

    fn read(&self, peer: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
        peer.set_nonblocking(true)?;
        let mut bytes = [0; 100];
        let read = peer.read(&mut bytes);
        peer.set_nonblocking(false)?;
        match read {
            Ok(n) => Ok(Some(bytes[..n].to_vec())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Two streams in memory, the first of which can't half-close, as with TLS.
fn without_half_close() -> io::Result<(Stream, Stream)> {
    let (reader, peer_reader) = (StreamReader::new(), StreamReader::new());
    let (transport, peer) = memory_transport_pair(
        &get_running_loop()?,
        StreamReaderProtocol::new(&reader),
        StreamReaderProtocol::new(&peer_reader),
        1024,
    );
    let writer = StreamWriter::new(Rc::new(WithoutHalfClose(transport)), &reader);
    let peer = StreamWriter::new(peer, &peer_reader);
    Ok(((reader, writer), (peer_reader, peer)))
}

struct WithoutHalfClose(Rc<dyn Transport>);

impl Transport for WithoutHalfClose {
    fn can_write_eof(&self) -> bool {
        false
    }

    fn write_eof(&self) {
        panic!("it said that it cannot");
    }

    fn answer(&self, request: &mut ExtraInfoRequest<'_>) {
        self.0.answer(request);
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn close(&self) {
        self.0.close();
    }

    fn abort(&self) {
        self.0.abort();
    }

    fn set_protocol(&self, protocol: Box<dyn Protocol>) {
        self.0.set_protocol(protocol);
    }

    fn is_reading(&self) -> bool {
        self.0.is_reading()
    }

    fn pause_reading(&self) {
        self.0.pause_reading();
    }

    fn resume_reading(&self) {
        self.0.resume_reading();
    }

    fn write(&self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn writelines(&self, pieces: &[IoSlice<'_>]) {
        self.0.writelines(pieces);
    }

    fn flush(&self) {
        self.0.flush();
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_flushed(cx)
    }

    fn get_write_buffer_size(&self) -> usize {
        self.0.get_write_buffer_size()
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.0.get_write_buffer_limits()
    }

    fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        self.0.set_write_buffer_limits(high, low)
    }

    fn has_discarded(&self) -> bool {
        self.0.has_discarded()
    }
}

impl fmt::Debug for WithoutHalfClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
