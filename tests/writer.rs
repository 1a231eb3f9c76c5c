//! The writer, on real sockets and on streams in memory: the cases WRT-01 to WRT-32 of
//! the catalogue, and what the writer has beyond asyncio.
//!
//! WRT-15 and WRT-32 weigh memory, in `tests/memory.rs`; WRT-23 counts warnings, in
//! `tests/diagnostics.rs`: both need a process of their own.

mod net_support;
mod stream_support;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use millstream::{
    Address, Clock, EventLoop, ExtraInfoKey, FlowControlMixin, PeerName, Runner, SockName,
    StreamReader, StreamWriter, create_task, get_running_loop, memory_stream_pair, open_connection,
    open_connection_sock, plain, run, start_server, timeout, yield_now,
};
use socket2::SockRef;

use net_support::port_of;
use stream_support::{MockTransport, Step, at_once, reset};

/// So long that only a hang takes longer.
const FOR_EVER: Duration = Duration::from_secs(60);

const LOCALHOST: &str = "127.0.0.1";

// ------------------------------------------------------------- states

/// A stream over TCP, whose peer is in the test's hands.
async fn connected() -> io::Result<(StreamReader, StreamWriter, TcpStream)> {
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    let (reader, writer) = open_connection_sock(ours).await?;
    Ok((reader, writer, peer))
}

/// A stream in memory whose peer has stopped reading, with 100 bytes of room on the way.
struct Stuck {
    _reader: StreamReader,
    writer: StreamWriter,
    peer_reader: StreamReader,
    peer_writer: StreamWriter,
}

/// How many bytes a stuck stream takes nevertheless.
const ROOM: usize = 100;

fn stuck() -> Stuck {
    let ((reader, writer), (peer_reader, peer_writer)) = memory_stream_pair(ROOM);
    peer_writer.transport().pause_reading();
    Stuck {
        _reader: reader,
        writer,
        peer_reader,
        peer_writer,
    }
}

/// A stuck stream on which writing is paused: 50 bytes are queued, and none may be.
fn paused() -> io::Result<Stuck> {
    let stuck = stuck();
    let transport = stuck.writer.transport();
    transport.set_write_buffer_limits(Some(0), None)?;
    stuck.writer.write([b'x'; ROOM + 50]);
    assert_eq!(transport.get_write_buffer_size(), 50);
    Ok(stuck)
}

impl Stuck {
    fn peer_reads_again(&self) {
        self.peer_writer.transport().resume_reading();
    }
}

/// Lets everything happen that can happen now.
async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

/// Runs on virtual time, in memory: each run is the same.
fn simulated(test: impl AsyncFnOnce() -> io::Result<()> + 'static) -> io::Result<()> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(async move { test().await })
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: io::Result<T>, kind: io::ErrorKind) {
    match result {
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
        Ok(value) => panic!("expected {kind:?}, got {value:?}"),
    }
}

#[track_caller]
fn assert_connection_lost<T: std::fmt::Debug>(result: io::Result<T>) {
    match result {
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(error.to_string(), "Connection lost");
        }
        Ok(value) => panic!("expected a reset, got {value:?}"),
    }
}

/// Has the peer reset the connection.
fn reset_by(peer: TcpStream) -> io::Result<()> {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
    drop(peer);
    Ok(())
}

/// Collects what is reported to the exception handler from now on.
fn reports() -> io::Result<Rc<RefCell<Vec<String>>>> {
    let reports: Rc<RefCell<Vec<String>>> = Rc::default();
    let collected = reports.clone();
    get_running_loop()?.set_exception_handler(move |_, context| {
        collected.borrow_mut().push(context.message.to_string());
    });
    Ok(reports)
}

// ------------------------------------------------------------- the catalogue

#[test]
fn wrt_01_a_client_talks_to_a_server() -> io::Result<()> {
    run(async {
        let reports = reports()?;
        let serve = async |mut reader: StreamReader, writer: StreamWriter| {
            let line = reader.readline().await?;
            writer.write(b"hello ");
            writer.write(&line);
            writer.write(b"bye");
            writer.aclose().await
        };
        let server = start_server(serve, LOCALHOST, 0).await?;
        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        writer.write(b"world\n");
        writer.drain().await?;
        assert_eq!(reader.readline().await?, b"hello world\n");
        assert_eq!(reader.read_all().await?, b"bye");
        writer.close();
        writer.wait_closed().await?;
        assert!(reports.borrow().is_empty(), "{reports:?}");
        Ok(())
    })
}

#[test]
fn wrt_02_a_write_after_close_is_told_by_drain() -> io::Result<()> {
    run(async {
        let (_reader, writer, _peer) = connected().await?;
        writer.close();
        writer.wait_closed().await?;
        writer.write(b"data");
        assert_connection_lost(writer.drain().await);
        writer.wait_closed().await
    })
}

#[test]
fn wrt_03_close_is_seen_at_once_and_awaited_later() -> io::Result<()> {
    run(async {
        for unread in [&b""[..], b"unread"] {
            let (mut reader, writer, mut peer) = connected().await?;
            peer.write_all(unread)?;
            while reader.buffered().len() < unread.len() {
                yield_now().await;
            }
            assert!(!writer.is_closing());
            writer.close();
            assert!(writer.is_closing());
            writer.wait_closed().await?;
            assert!(writer.is_closing());
            assert_eq!(reader.read_all().await?, unread);
        }
        Ok(())
    })
}

#[test]
fn wrt_04_wait_closed_never_hangs_when_the_peer_is_gone() -> io::Result<()> {
    const MUCH: usize = 8 << 20;
    run(async {
        // Before close.
        let (mut reader, writer, peer) = connected().await?;
        drop(peer);
        assert!(reader.read(1).await?.is_empty());
        writer.close();
        timeout(FOR_EVER, writer.wait_closed()).await??;

        // While what was written is sent.
        let (_reader, writer, peer) = connected().await?;
        writer.write(vec![0; MUCH]);
        writer.close();
        yield_now().await;
        drop(peer);
        assert!(timeout(FOR_EVER, writer.wait_closed()).await?.is_err());

        // The same, with a reset.
        let (_reader, writer, peer) = connected().await?;
        writer.write(vec![0; MUCH]);
        writer.close();
        yield_now().await;
        reset_by(peer)?;
        assert!(timeout(FOR_EVER, writer.wait_closed()).await?.is_err());

        // After each side has ended its half.
        let (mut reader, writer, peer) = connected().await?;
        writer.write_eof()?;
        drop(peer);
        assert!(reader.read(1).await?.is_empty());
        writer.close();
        timeout(FOR_EVER, writer.wait_closed()).await??;
        Ok(())
    })
}

#[test]
fn wrt_05_a_loop_of_write_and_drain_meets_the_end() -> io::Result<()> {
    run(async {
        let hang_up = plain(|_reader, writer| drop(writer));
        let server = start_server(hang_up, LOCALHOST, 0).await?;
        let (_reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        let writing = async {
            loop {
                writer.write(b"foo\n");
                if let Err(error) = writer.drain().await {
                    return error.kind();
                }
            }
        };
        let kind = timeout(FOR_EVER, writing).await?;
        assert!(
            [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&kind),
            "{kind:?}"
        );
        Ok(())
    })
}

#[test]
fn wrt_05_a_loop_that_ignores_drain_meets_the_close() -> io::Result<()> {
    simulated(async || {
        let ((_reader, writer), _peer) = memory_stream_pair(ROOM);
        settle().await;
        writer.close();
        // Closing, drain lets the connection be lost, which is queued, before it looks.
        writer.write(b"foo");
        assert_connection_lost(writer.drain().await);
        Ok(())
    })
}

#[test]
fn wrt_06_all_who_drain_wake_when_writing_resumes() -> io::Result<()> {
    simulated(async || {
        let stuck = paused()?;
        let flow = Rc::new(stuck);
        let drains: Vec<_> = (0..10)
            .map(|_| {
                let flow = flow.clone();
                create_task(async move { flow.writer.drain().await })
            })
            .collect();
        settle().await;
        assert!(drains.iter().all(|drain| !drain.done()));
        flow.peer_reads_again();
        for drain in drains {
            drain.await??;
        }
        Ok(())
    })
}

#[test]
fn wrt_07_all_who_drain_fail_when_the_connection_is_lost() {
    let transport = MockTransport::new();
    let flow = FlowControlMixin::new();
    flow.pause_writing();
    let mut drains: Vec<_> = (0..10)
        .map(|_| Step::waiting(flow.drain_helper(&*transport)))
        .collect();
    flow.connection_lost(Some(reset()));
    for drain in &mut drains {
        assert_eq!(drain.wakes(), 1);
        let error = drain.done().expect_err("the connection is lost");
        assert_eq!(error.to_string(), "E");
    }

    // Every byte had been sent: nothing was lost with the connection.
    let flow = FlowControlMixin::new();
    flow.pause_writing();
    let mut drains: Vec<_> = (0..10)
        .map(|_| Step::waiting(flow.drain_helper(&*transport)))
        .collect();
    flow.connection_lost(None);
    for drain in &mut drains {
        drain.done().expect("the transport discarded nothing");
    }
}

#[test]
fn wrt_07_d17_all_who_drain_fail_when_bytes_were_discarded() -> io::Result<()> {
    simulated(async || {
        let stuck = Rc::new(paused()?);
        let drains: Vec<_> = (0..10)
            .map(|_| {
                let stuck = stuck.clone();
                create_task(async move { stuck.writer.drain().await })
            })
            .collect();
        settle().await;
        stuck.writer.transport().abort();
        for drain in drains {
            assert_connection_lost(drain.await?);
        }
        Ok(())
    })
}

#[test]
fn wrt_09_drain_does_not_suspend_while_there_is_room() -> io::Result<()> {
    simulated(async || {
        let ((_reader, writer), _peer) = memory_stream_pair(ROOM);
        writer.write(b"fits");
        at_once(writer.drain())?;
        Ok(())
    })
}

#[test]
fn wrt_09_d4_a_loop_of_drains_lets_others_run() -> io::Result<()> {
    simulated(async || {
        let ((_reader, writer), _peer) = memory_stream_pair(ROOM);
        let others_ran = Rc::new(Cell::new(false));
        let seen = others_ran.clone();
        create_task(async move { seen.set(true) });
        for _ in 0..100 {
            writer.drain().await?;
        }
        assert!(!others_ran.get(), "a hundred are within the budget");
        for _ in 0..100 {
            writer.drain().await?;
        }
        assert!(others_ran.get());
        Ok(())
    })
}

#[test]
fn wrt_11_drain_fails_once_the_connection_is_lost() {
    let flow = FlowControlMixin::new();
    flow.connection_lost(None);
    assert!(flow.is_lost());
    assert_connection_lost(at_once(flow.drain_helper(&*MockTransport::new())));
}

#[test]
fn wrt_13_a_write_after_write_eof_is_told_by_drain() -> io::Result<()> {
    run(async {
        for write in [
            (|w: &StreamWriter| w.write(b"late")) as fn(&StreamWriter),
            |w| w.write(b""),
            |w| w.write_owned(b"late".to_vec()),
        ] {
            misuse(write, "Cannot call write() after write_eof()").await?;
        }
        for write in [
            (|w: &StreamWriter| w.writelines(["late"])) as fn(&StreamWriter),
            |w| w.writelines([""; 0]),
        ] {
            misuse(write, "Cannot call writelines() after write_eof()").await?;
        }
        Ok(())
    })
}

/// Writes after `write_eof`: each drain and `wait_closed` tells it, and reading goes on.
async fn misuse(write: fn(&StreamWriter), message: &str) -> io::Result<()> {
    let (mut reader, writer, mut peer) = connected().await?;
    writer.write(b"first");
    writer.write_eof()?;
    writer.drain().await?;
    write(&writer);
    for _ in 0..2 {
        let error = writer.drain().await.expect_err("it was a mistake");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), message);
    }
    peer.write_all(b"answer\n")?;
    assert_eq!(reader.readline().await?, b"answer\n");
    writer.close();
    for _ in 0..2 {
        assert_kind(writer.wait_closed().await, io::ErrorKind::InvalidInput);
    }
    let mut received = String::new();
    peer.read_to_string(&mut received)?;
    assert_eq!(received, "first");
    Ok(())
}

#[test]
fn wrt_14_pieces_arrive_as_one() -> io::Result<()> {
    run(async {
        let (_reader, writer, mut peer) = connected().await?;
        writer.writelines(["a", "b", ""]);
        writer.writelines([""; 0]);
        writer.writelines(vec![b"c".to_vec(), b"d".to_vec()]);
        writer.aclose().await?;
        let mut received = String::new();
        peer.read_to_string(&mut received)?;
        assert_eq!(received, "abcd");
        Ok(())
    })
}

#[test]
fn wrt_18_wait_closed_does_not_close() -> io::Result<()> {
    run(async {
        let (_reader, writer, _peer) = connected().await?;
        let writer = Rc::new(writer);
        let waiter = writer.clone();
        let waiting = create_task(async move { waiter.wait_closed().await });
        settle().await;
        assert!(!waiting.done());
        assert!(!writer.is_closing());
        writer.close();
        waiting.await?
    })
}

/// A question that no transport of ours can answer.
struct BusAddress;

impl ExtraInfoKey for BusAddress {
    type Value = u32;
    const NAME: &'static str = "bus_address";
}

#[test]
fn wrt_20_a_writer_knows_its_addresses_and_nothing_of_other_keys() -> io::Result<()> {
    run(async {
        let (_reader, writer, peer) = connected().await?;
        let theirs = Some(Address::Inet(peer.local_addr()?));
        let ours = Some(Address::Inet(peer.peer_addr()?));
        assert_eq!(writer.get_extra_info(PeerName), theirs);
        assert_eq!(writer.get_extra_info(SockName), ours);
        assert_eq!(writer.get_extra_info(BusAddress), None);
        writer.aclose().await?;
        assert_eq!(writer.get_extra_info(PeerName), theirs);
        Ok(())
    })
}

#[test]
fn wrt_21_a_client_reads_after_its_write_eof() -> io::Result<()> {
    const MIB: usize = 1 << 20;
    run(async {
        let serve = async |mut reader: StreamReader, writer: StreamWriter| {
            let question = reader.read_all().await?;
            assert!(question == vec![b'q'; MIB]);
            writer.write(vec![b'a'; MIB]);
            writer.aclose().await
        };
        let server = start_server(serve, LOCALHOST, 0).await?;
        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        writer.write(vec![b'q'; MIB]);
        writer.write_eof()?;
        assert!(reader.read_all().await? == vec![b'a'; MIB]);
        writer.aclose().await
    })
}

#[test]
fn wrt_24_drain_waits_for_the_low_mark() -> io::Result<()> {
    const LEN: usize = 16 << 20;
    run(async {
        let (_reader, writer, mut peer) = connected().await?;
        let sent: Vec<u8> = (0..=250).cycle().take(LEN).collect();
        let expected = sent.clone();
        writer.write(&sent);
        drop(Step::waiting(writer.drain()));
        let receiver = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        writer.drain().await?;
        let transport = writer.transport();
        let (low, _high) = transport.get_write_buffer_limits();
        assert!(transport.get_write_buffer_size() <= low);
        writer.aclose().await?;
        let received = receiver.join().expect("the receiver does not panic")?;
        assert!(received == expected, "the bytes came in another order");
        Ok(())
    })
}

#[test]
fn wrt_29_an_abort_is_told_by_drain_and_ends_cleanly() -> io::Result<()> {
    run(async {
        let (_reader, writer, _peer) = connected().await?;
        writer.write(vec![0; 8 << 20]);
        writer.transport().abort();
        assert_connection_lost(writer.drain().await);
        writer.wait_closed().await
    })
}

#[test]
fn wrt_31_with_marks_of_zero_drain_waits_until_all_is_sent() -> io::Result<()> {
    simulated(async || {
        let stuck = stuck();
        let transport = stuck.writer.transport();
        transport.set_write_buffer_limits(Some(0), Some(0))?;
        stuck.writer.write([b'x'; ROOM]);
        stuck.writer.write(b"y");
        settle().await;
        assert_eq!(transport.get_write_buffer_size(), 1);
        drop(Step::waiting(stuck.writer.drain()));
        stuck.peer_reads_again();
        stuck.writer.drain().await?;
        assert_eq!(transport.get_write_buffer_size(), 0);
        Ok(())
    })
}

// ------------------------------------------------------------- connection vectors

#[test]
fn c_2_a_closed_stream_is_harmless_and_says_so() -> io::Result<()> {
    run(async {
        let (mut reader, writer, _peer) = connected().await?;
        writer.write(b"last words");
        writer.close();
        assert_connection_lost(writer.drain().await);
        assert_connection_lost(writer.drain().await);
        writer.wait_closed().await?;
        assert!(reader.read(1).await?.is_empty());
        assert!(reader.at_eof());
        writer.close();
        writer.write(b"too late");
        writer.write_eof()?;
        writer.wait_closed().await
    })
}

#[test]
fn c_3_a_reset_is_told_to_all_who_ask() -> io::Result<()> {
    const RESET: io::ErrorKind = io::ErrorKind::ConnectionReset;
    run(async {
        let (mut reader, writer, peer) = connected().await?;
        writer.write(b"hello");
        writer.flush().await?;
        reset_by(peer)?;
        let code = writer.closed().await.expect("it was reset").raw_os_error();
        assert!(code.is_some(), "the system's number stays");
        assert_eq!(reader.exception().and_then(|e| e.raw_os_error()), code);
        assert!(writer.is_closing());
        assert!(!reader.at_eof());
        assert_eq!(reader.read(1).await.expect_err("reset").kind(), RESET);
        assert_eq!(reader.readline().await.expect_err("reset").kind(), RESET);
        assert_eq!(
            reader.readexactly(0).await.expect_err("reset").kind(),
            RESET
        );
        assert_eq!(reader.read(0).await.expect_err("reset").kind(), RESET);
        for result in [
            writer.drain().await,
            writer.flush().await,
            writer.wait_closed().await,
            writer.wait_closed().await,
            writer.aclose().await,
        ] {
            let error = result.expect_err("it was reset");
            assert_eq!(error.raw_os_error(), code);
        }
        Ok(())
    })
}

#[test]
fn c_4_a_half_closed_stream_can_still_be_written_to() -> io::Result<()> {
    run(async {
        let (mut reader, writer, mut peer) = connected().await?;
        peer.shutdown(Shutdown::Write)?;
        assert!(reader.read(1).await?.is_empty());
        assert!(!writer.is_closing());
        assert!(writer.can_write_eof());
        writer.write(b"still here");
        writer.write_eof()?;
        writer.write_eof()?;
        writer.flush().await?;
        let mut received = String::new();
        peer.read_to_string(&mut received)?;
        assert_eq!(received, "still here");
        writer.writelines([""; 0]);
        assert_kind(writer.drain().await, io::ErrorKind::InvalidInput);
        Ok(())
    })
}

#[test]
fn c_8_a_handler_that_fails_is_reported_and_its_client_sees_the_end() -> io::Result<()> {
    run(async {
        let reports = reports()?;
        let fail = async |_reader: StreamReader, _writer: StreamWriter| {
            io::Result::<()>::Err(io::Error::other("out of flour"))
        };
        let server = start_server(fail, LOCALHOST, 0).await?;
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        assert!(reader.read(1).await?.is_empty());
        assert_eq!(
            *reports.borrow(),
            ["Unhandled exception in client_connected_cb"]
        );
        Ok(())
    })
}

#[test]
fn c_8_a_plain_callback_that_panics_ends_its_connection() -> io::Result<()> {
    run(async {
        let reports = reports()?;
        let fail = plain(|_reader, _writer| panic!("out of flour"));
        let server = start_server(fail, LOCALHOST, 0).await?;
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        match timeout(FOR_EVER, reader.read(1)).await? {
            Ok(bytes) => assert!(bytes.is_empty()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        assert_eq!(
            *reports.borrow(),
            ["Fatal error: protocol.connection_made() call failed."]
        );
        Ok(())
    })
}

#[test]
fn c_9_a_line_is_not_lost_with_a_cancelled_readline() -> io::Result<()> {
    run(async {
        let (mut reader, _writer, mut peer) = connected().await?;
        assert!(timeout(Duration::ZERO, reader.readline()).await.is_err());
        peer.write_all(b"x\n")?;
        assert_eq!(reader.readline().await?, b"x\n");
        Ok(())
    })
}

// ------------------------------------------------------------- beyond asyncio

#[test]
fn flush_waits_until_the_write_buffer_is_empty() -> io::Result<()> {
    simulated(async || {
        let Stuck { writer, .. } = &stuck();
        writer.write([b'x'; ROOM]);
        at_once(writer.flush())?;

        let stuck = stuck();
        stuck.writer.write([b'x'; ROOM + 1]);
        at_once(stuck.writer.drain())?;
        drop(Step::waiting(stuck.writer.flush()));
        stuck.peer_reads_again();
        stuck.writer.flush().await?;
        assert_eq!(stuck.writer.transport().get_write_buffer_size(), 0);
        Ok(())
    })
}

#[test]
fn flush_fails_if_bytes_were_discarded() -> io::Result<()> {
    simulated(async || {
        let stuck = paused()?;
        let mut flush = Step::waiting(stuck.writer.flush());
        stuck.writer.transport().abort();
        assert_connection_lost(flush.done());
        Ok(())
    })
}

#[test]
fn aclose_closes_and_waits() -> io::Result<()> {
    run(async {
        let (_reader, writer, mut peer) = connected().await?;
        writer.write(b"bye");
        writer.aclose().await?;
        writer.aclose().await?;
        let mut received = String::new();
        peer.read_to_string(&mut received)?;
        assert_eq!(received, "bye");
        Ok(())
    })
}

#[test]
fn close_with_timeout_aborts_a_stuck_peer_when_the_time_is_over() -> io::Result<()> {
    simulated(async || {
        let stuck = paused()?;
        let began = get_running_loop()?.time();
        let patience = Duration::from_secs(3600);
        let closed = stuck.writer.close_with_timeout(patience).await;
        assert_kind(closed, io::ErrorKind::TimedOut);
        assert_eq!(get_running_loop()?.time() - began, patience);
        stuck.writer.wait_closed().await
    })
}

#[test]
fn close_with_timeout_takes_no_longer_than_the_flush() -> io::Result<()> {
    simulated(async || {
        let stuck = paused()?;
        stuck.peer_reads_again();
        let began = get_running_loop()?.time();
        stuck
            .writer
            .close_with_timeout(Duration::from_secs(3600))
            .await?;
        assert_eq!(get_running_loop()?.time(), began);
        Ok(())
    })
}

#[test]
fn close_lingering_lets_the_last_bytes_arrive() -> io::Result<()> {
    run(async {
        let (reader, writer, mut peer) = connected().await?;
        // What we never read would turn a plain close into a reset.
        peer.write_all(&vec![0; 1 << 20])?;
        writer.write(b"last words");
        let talking = thread::spawn(move || {
            let mut received = String::new();
            peer.read_to_string(&mut received).map(|_| received)
        });
        writer.close_lingering(reader, FOR_EVER).await?;
        let received = talking.join().expect("the peer does not panic")?;
        assert_eq!(received, "last words");
        Ok(())
    })
}

#[test]
fn close_lingering_ends_when_the_peer_has_heard_of_it() -> io::Result<()> {
    simulated(async || {
        let ((reader, writer), (mut peer_reader, peer)) = memory_stream_pair(ROOM);
        peer.write(b"unread");
        let answering = create_task(async move {
            let received = peer_reader.read_all().await?;
            peer.aclose().await?;
            io::Result::Ok(received)
        });
        writer.write(b"last words");
        writer.close_lingering(reader, FOR_EVER).await?;
        assert_eq!(answering.await??, b"last words");
        assert_eq!(get_running_loop()?.time(), Duration::ZERO);
        Ok(())
    })
}

#[test]
fn close_lingering_has_an_end() -> io::Result<()> {
    simulated(async || {
        let ((reader, writer), (_peer_reader, peer)) = memory_stream_pair(ROOM);
        let patience = Duration::from_secs(5);
        // The peer never ends its half.
        peer.write(b"endless");
        writer.close_lingering(reader, patience).await?;
        assert_eq!(get_running_loop()?.time(), patience);
        Ok(())
    })
}

#[test]
fn closed_tells_why_as_often_as_it_is_asked() -> io::Result<()> {
    run(async {
        let (_reader, writer, peer) = connected().await?;
        drop(Step::waiting(writer.closed()));
        reset_by(peer)?;
        for _ in 0..2 {
            let why = writer.closed().await.expect("it was reset");
            assert_eq!(why.kind(), io::ErrorKind::ConnectionReset);
        }
        let (_reader, writer, _peer) = connected().await?;
        writer.close();
        assert!(writer.closed().await.is_none());
        Ok(())
    })
}

#[test]
fn owned_bytes_keep_their_place_among_the_others() -> io::Result<()> {
    run(async {
        let (_reader, writer, mut peer) = connected().await?;
        writer.write(b"1");
        writer.write_owned(b"2".to_vec());
        writer.write_owned(vec![b'3'; 10_000]);
        writer.write(b"4");
        writer.write_owned(Vec::new());
        writer.aclose().await?;
        let mut received = String::new();
        peer.read_to_string(&mut received)?;
        assert_eq!(received, format!("12{}4", "3".repeat(10_000)));
        Ok(())
    })
}

#[test]
fn owned_bytes_are_queued_in_order_behind_a_stuck_peer() -> io::Result<()> {
    simulated(async || {
        let stuck = stuck();
        stuck.writer.write([b'x'; ROOM]);
        stuck.writer.write_owned(b"two".to_vec());
        stuck.writer.writelines(["three", "four"]);
        stuck.writer.close();
        stuck.peer_reads_again();
        let mut peer = stuck.peer_reader;
        let received = peer.read_all().await?;
        assert_eq!(&received[ROOM..], b"twothreefour");
        Ok(())
    })
}

#[test]
fn dropping_the_writer_closes_once_all_is_sent() -> io::Result<()> {
    simulated(async || {
        let stuck = paused()?;
        let transport = stuck.writer.transport().clone();
        drop(stuck.writer);
        assert!(transport.is_closing());
        settle().await;
        assert_eq!(
            transport.get_write_buffer_size(),
            50,
            "it waits for the peer"
        );
        stuck.peer_writer.transport().resume_reading();
        let mut peer = stuck.peer_reader;
        assert_eq!(peer.read_all().await?.len(), ROOM + 50);
        Ok(())
    })
}

#[test]
fn d18_dropping_the_reader_lifts_its_pause_and_discards() -> io::Result<()> {
    simulated(async || {
        let ((mut reader, writer), (_peer_reader, peer)) = memory_stream_pair(1000);
        reader.set_limit(1)?;
        peer.write([b'x'; 500]);
        settle().await;
        assert!(
            !writer.transport().is_reading(),
            "more than twice the limit"
        );
        drop(reader);
        assert!(writer.transport().is_reading());
        // Far more than fits on the way: it is taken off, and goes nowhere.
        peer.write(vec![b'y'; 1 << 20]);
        peer.flush().await?;
        Ok(())
    })
}

#[test]
fn d18_the_end_still_reaches_the_writer() -> io::Result<()> {
    run(async {
        let (reader, writer, peer) = connected().await?;
        drop(reader);
        reset_by(peer)?;
        let why = writer.closed().await.expect("it was reset");
        assert_eq!(why.kind(), io::ErrorKind::ConnectionReset);
        assert_kind(writer.drain().await, io::ErrorKind::ConnectionReset);
        Ok(())
    })
}

#[test]
fn input_that_was_there_before_close_stays_readable() -> io::Result<()> {
    simulated(async || {
        let ((mut reader, writer), (_peer_reader, peer)) = memory_stream_pair(1000);
        peer.write(b"before");
        settle().await;
        writer.close();
        peer.write(b"after");
        settle().await;
        assert_eq!(reader.read_all().await?, b"before");
        assert!(reader.at_eof());
        Ok(())
    })
}

// ------------------------------------------------------------- ends in time

#[test]
fn close_with_no_patience_is_no_failure_if_nothing_was_left_to_send() -> io::Result<()> {
    run(async {
        let ((_reader, writer), _peer) = memory_stream_pair(64);
        writer.write("sent at once");
        writer.flush().await?;
        writer.close_with_timeout(Duration::ZERO).await
    })
}

#[test]
fn a_lingering_close_ends_by_its_one_deadline() -> io::Result<()> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(async {
        let ((reader, writer), (_peer_reader, peer)) = memory_stream_pair(64);
        peer.transport().pause_reading();
        writer.write(vec![0; 1000]);
        let began = get_running_loop()?.time();
        let closed = writer
            .close_lingering(reader, Duration::from_secs(10))
            .await;
        let error = closed.expect_err("936 bytes were not sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(get_running_loop()?.time() - began, Duration::from_secs(10));
        io::Result::Ok(())
    })
}
