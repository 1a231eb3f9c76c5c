//! Hostile peers: they can't make the loop spin, panic, or grow without bound.

mod loop_support;

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use millstream::{
    AfterEof, ConnError, EventLoop, LoopHandle, Protocol, StreamReader, StreamWriter, Task,
    Transport, get_running_loop, open_connection_sock, start_server_sock,
};

use loop_support::Reports;
use socket2::SockRef;

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Bytes that one receive brings at the most.
const ONE_RECEIVE: usize = 256 * 1024;

// ── a small exchange, disturbed at each of its bytes ────────────────────────────

/// A number, and as many bytes.
const REQUEST: &[u8] = b"5\nhello";
const ANSWER: &[u8] = b"HELLO";

#[test]
fn a_peer_that_stalls_at_any_byte_costs_nothing() -> io::Result<()> {
    for sent in 0..=REQUEST.len() {
        let mut scene = Scene::after(sent)?;
        scene.expects_quiet()?;
        assert!(!scene.serving.done(), "stalled after {sent} bytes");
        if sent == REQUEST.len() {
            scene.peer_expects_the_answer()?;
        }
        // Patience is rewarded: the rest is served as if nothing had happened.
        scene.peer.write_all(&REQUEST[sent..])?;
        scene.peer.write_all(REQUEST)?;
        scene.expects_quiet()?;
        if sent < REQUEST.len() {
            scene.peer_expects_the_answer()?;
        }
        scene.peer_expects_the_answer()?;
    }
    Ok(())
}

#[test]
fn a_peer_that_half_closes_at_any_byte_is_told_what_it_deserves() -> io::Result<()> {
    for sent in 0..=REQUEST.len() {
        let mut scene = Scene::after(sent)?;
        scene.peer.shutdown(Shutdown::Write)?;
        scene.expects_quiet()?;
        let outcome = scene.outcome()?;
        match sent {
            0 => assert!(outcome.is_ok(), "{outcome:?}"),
            _ if sent == REQUEST.len() => {
                assert!(outcome.is_ok(), "{outcome:?}");
                scene.peer_expects_the_answer()?;
            }
            _ => assert_eq!(
                kind_of(outcome),
                ErrorKind::UnexpectedEof,
                "after {sent} bytes"
            ),
        }
        scene.peer_expects_the_end()?;
        scene.expects_nothing_left()?;
    }
    Ok(())
}

#[test]
fn a_peer_that_resets_at_any_byte_ends_its_connection_alone() -> io::Result<()> {
    for sent in 0..=REQUEST.len() {
        let scene = Scene::after(sent)?;
        reset(&scene.peer)?;
        let Scene {
            event_loop,
            serving,
            reports,
            peer,
        } = scene;
        drop(peer);
        expects_quiet(&event_loop)?;
        assert!(serving.done(), "reset after {sent} bytes");
        let outcome = event_loop
            .run_until_complete(serving)?
            .map_err(io::Error::from)?;
        assert_eq!(
            kind_of(outcome),
            ErrorKind::ConnectionReset,
            "after {sent} bytes"
        );
        assert_eq!(reports.take(), [], "it is no bug of ours");
        let census = event_loop.census();
        assert_eq!((census.sources, census.tasks, census.timers), (0, 0, 0));
    }
    Ok(())
}

#[test]
fn a_peer_that_resets_before_it_is_looked_at_ends_its_connection_alone() -> io::Result<()> {
    for sent in 0..=REQUEST.len() {
        let (ours, mut theirs) = tcp_pair()?;
        theirs.write_all(&REQUEST[..sent])?;
        reset(&theirs)?;
        drop(theirs);
        let event_loop = EventLoop::new()?;
        let reports = Reports::of(&event_loop);
        let outcome = event_loop.run_until_complete(async {
            let (reader, writer) = open_connection_sock(ours).await?;
            serve(reader, writer).await
        })?;
        assert_eq!(
            kind_of(outcome),
            ErrorKind::ConnectionReset,
            "after {sent} bytes"
        );
        expects_quiet(&event_loop)?;
        assert_eq!(reports.take(), []);
        assert_eq!(event_loop.census().sources, 0);
    }
    Ok(())
}

#[test]
fn a_peer_that_floods_at_any_byte_is_refused() -> io::Result<()> {
    for sent in 0..=REQUEST.len() {
        let mut scene = Scene::after(sent)?;
        scene.peer.set_nonblocking(true)?;
        let mut flooded = 0;
        while !scene.serving.done() {
            match scene.peer.write(&[b'x'; 65536]) {
                Ok(n) => flooded += n,
                Err(error) => assert!(is_expected_of_a_flood(&error), "{error}"),
            }
            scene.event_loop.turn(AT_ONCE)?;
            assert!(flooded < 64 << 20, "nobody takes so much");
        }
        scene.expects_quiet()?;
        // "55xxx…" is a line that never ends, "x" is no number: neither is served.
        assert_eq!(
            kind_of(scene.outcome()?),
            ErrorKind::InvalidData,
            "after {sent} bytes"
        );
        scene.expects_nothing_left()?;
    }
    Ok(())
}

#[test]
fn a_peer_that_hangs_up_in_every_way_leaves_a_kept_connection_quiet() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = tcp_pair()?;
    let losses = Rc::new(RefCell::new(Vec::new()));
    let told = losses.clone();
    let transport = event_loop.run_until_complete(async move {
        let handle = get_running_loop()?;
        handle
            .create_connection_sock(move || KeepsOpen(told), ours)
            .await
    })??;
    // Half closed: reading is over, but the socket stays "readable" for a level poller.
    theirs.shutdown(Shutdown::Write)?;
    expects_quiet(&event_loop)?;
    assert!(!transport.is_closing());
    // Reset: an error, though nobody reads or writes.
    reset(&theirs)?;
    drop(theirs);
    expects_quiet(&event_loop)?;
    transport.write(b"is anybody there?");
    expects_quiet(&event_loop)?;
    assert!(transport.is_closing(), "the write tells");
    assert_eq!(
        losses.borrow().len(),
        1,
        "connection_lost came once: {losses:?}"
    );
    Ok(())
}

// ── memory ──────────────────────────────────────────────────────────────────────

#[test]
fn a_flood_that_nobody_reads_is_left_in_the_kernel() -> io::Result<()> {
    const LIMIT: usize = 16 * 1024;
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = tcp_pair()?;
    let (mut reader, writer) = event_loop
        .run_until_complete(async { open_connection_sock(ours).limit(LIMIT).await })??;
    let flooded = flood(&event_loop, &theirs)?;
    let buffered = reader.buffered().len();
    assert!(buffered > 2 * LIMIT, "it pauses above that: {buffered}");
    assert!(buffered <= 2 * LIMIT + ONE_RECEIVE, "{buffered}");
    assert!(!writer.transport().is_reading());

    // The peer ends, in either way, while reading is paused.
    theirs.shutdown(Shutdown::Write)?;
    expects_quiet(&event_loop)?;
    assert_eq!(
        reader.buffered().len(),
        buffered,
        "nothing more is taken in"
    );

    // And all of it, and the end, are still there to be read.
    let read = event_loop.run_until_complete(async move {
        let mut read = 0;
        loop {
            match reader.read(LIMIT).await?.len() {
                0 => return io::Result::Ok(read),
                n => read += n,
            }
        }
    })??;
    assert_eq!(read, flooded);
    Ok(())
}

#[test]
fn a_reset_while_reading_is_paused_does_not_make_the_loop_spin() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = tcp_pair()?;
    let (mut reader, _writer) =
        event_loop.run_until_complete(async { open_connection_sock(ours).limit(1024).await })??;
    flood(&event_loop, &theirs)?;
    reset(&theirs)?;
    drop(theirs);
    expects_quiet(&event_loop)?;
    let ended = event_loop.run_until_complete(async move { reader.read_all().await })?;
    assert_eq!(
        ended.err().map(|error| error.kind()),
        Some(ErrorKind::ConnectionReset)
    );
    Ok(())
}

#[test]
fn a_peer_that_never_reads_makes_a_writer_wait_at_its_mark() -> io::Result<()> {
    const PIECE: usize = 10_000;
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = tcp_pair()?;
    let transport = Rc::new(RefCell::new(None));
    let (known, pieces) = (transport.clone(), Rc::new(Cell::new(0)));
    let counted = pieces.clone();
    let writing = event_loop.create_task(async move {
        let (_reader, writer) = open_connection_sock(ours).await?;
        known.replace(Some(writer.transport().clone()));
        loop {
            writer.write([0; PIECE]);
            counted.set(counted.get() + 1);
            writer.drain().await?;
        }
    });
    expects_quiet(&event_loop)?;
    let written = pieces.get();
    let transport = transport.take().expect("the connection was made");
    let (_low, high) = transport.get_write_buffer_limits();
    let queued = transport.get_write_buffer_size();
    assert!(
        queued > high && queued <= high + PIECE,
        "{queued} bytes are queued"
    );
    expects_quiet(&event_loop)?;
    assert_eq!(pieces.get(), written, "it waits");

    // One that reads a little at a time gets everything, and never more is queued.
    theirs.set_nonblocking(true)?;
    let (mut received, mut buffer) = (0, [0; 1000]);
    while received < written * PIECE {
        match (&theirs).read(&mut buffer) {
            Ok(n) => received += n,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        event_loop.turn(AT_ONCE)?;
        assert!(transport.get_write_buffer_size() <= high + PIECE);
    }
    reset(&theirs)?;
    drop(theirs);
    expects_quiet(&event_loop)?;
    let ended: io::Result<()> = event_loop
        .run_until_complete(writing)?
        .map_err(io::Error::from)?;
    let kind = kind_of(ended);
    assert!(
        matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{kind}"
    );
    assert_eq!(transport.get_write_buffer_size(), 0);
    Ok(())
}

// ── many peers ──────────────────────────────────────────────────────────────────

#[test]
fn a_storm_of_connections_that_are_reset_leaves_the_server_serving() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server =
        event_loop.run_until_complete(async { start_server_sock(serve, listener).await })??;
    for round in 0..10 {
        for nth in 0..20 {
            let mut peer = TcpStream::connect(address)?;
            peer.write_all(&REQUEST[..nth % REQUEST.len()])?;
            if nth % 2 == 0 {
                reset(&peer)?;
            }
        }
        expects_quiet(&event_loop)?;
        assert_eq!(server.connection_count(), 0, "in round {round}");
    }
    for report in reports.take() {
        let exception = report.exception.unwrap_or_default();
        assert!(!exception.contains("panicked"), "{exception}");
    }
    let mut peer = TcpStream::connect(address)?;
    peer.write_all(REQUEST)?;
    expects_quiet(&event_loop)?;
    expect_from(&mut peer, ANSWER)?;
    Ok(())
}

// ── our end ─────────────────────────────────────────────────────────────────────

/// Answers one request after the other until the end.
async fn serve(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        let number = std::str::from_utf8(&line).ok().map(str::trim_end);
        let number = number.and_then(|number| number.parse().ok());
        let len: usize = number.ok_or(ErrorKind::InvalidData)?;
        let body = reader.readexactly(len).await?;
        writer.write(body.to_ascii_uppercase());
        writer.drain().await?;
    }
    writer.aclose().await
}

/// A protocol that keeps its connection when the peer ends, and counts the losses.
struct KeepsOpen(Rc<RefCell<Vec<Option<ConnError>>>>);

impl Protocol for KeepsOpen {
    fn eof_received(&mut self, _transport: &Rc<dyn Transport>) -> AfterEof {
        AfterEof::KeepOpen
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        self.0.borrow_mut().push(error);
    }
}

// ── their end ───────────────────────────────────────────────────────────────────

/// A server, and a peer that has sent the first bytes of a request.
struct Scene {
    event_loop: EventLoop,
    serving: Task<io::Result<()>>,
    reports: Reports,
    peer: TcpStream,
}

impl Scene {
    fn after(sent: usize) -> io::Result<Scene> {
        let event_loop = EventLoop::new()?;
        let reports = Reports::of(&event_loop);
        let (ours, mut peer) = tcp_pair()?;
        let serving = event_loop.create_task(async move {
            let (reader, writer) = open_connection_sock(ours).await?;
            serve(reader, writer).await
        });
        expects_quiet(&event_loop)?;
        peer.write_all(&REQUEST[..sent])?;
        expects_quiet(&event_loop)?;
        Ok(Scene {
            event_loop,
            serving,
            reports,
            peer,
        })
    }

    fn expects_quiet(&self) -> io::Result<()> {
        expects_quiet(&self.event_loop)
    }

    fn outcome(&mut self) -> io::Result<io::Result<()>> {
        assert!(self.serving.done(), "it has not ended");
        let task = std::mem::replace(
            &mut self.serving,
            self.event_loop.create_task(async { Ok(()) }),
        );
        Ok(self.event_loop.run_until_complete(task)??)
    }

    fn peer_expects_the_answer(&mut self) -> io::Result<()> {
        expect_from(&mut self.peer, ANSWER)
    }

    fn peer_expects_the_end(&mut self) -> io::Result<()> {
        assert_eq!(self.peer.read(&mut [0])?, 0);
        Ok(())
    }

    fn expects_nothing_left(&self) -> io::Result<()> {
        self.expects_quiet()?;
        let census = self.event_loop.census();
        assert_eq!((census.sources, census.tasks, census.timers), (0, 0, 0));
        assert_eq!(self.reports.take(), []);
        Ok(())
    }
}

/// Writes until neither the kernel nor the loop takes more, and returns how much it was.
fn flood(event_loop: &EventLoop, mut peer: &TcpStream) -> io::Result<usize> {
    peer.set_nonblocking(true)?;
    let mut flooded = 0;
    loop {
        match peer.write(&[b'x'; 65536]) {
            Ok(n) => flooded += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                expects_quiet(event_loop)?;
                match peer.write(b"x") {
                    Ok(n) => flooded += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(flooded),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        assert!(flooded < 64 << 20, "nobody takes so much");
    }
}

fn is_expected_of_a_flood(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}

/// Has the socket send a reset when it is dropped.
fn reset(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

fn expect_from(peer: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
    let mut received = vec![0; expected.len()];
    peer.read_exact(&mut received)?;
    assert_eq!(received, expected);
    Ok(())
}

fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let theirs = TcpStream::connect(listener.local_addr()?)?;
    let (ours, _address) = listener.accept()?;
    theirs.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok((ours, theirs))
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// Runs until the loop sleeps through: one that spins never does.
#[track_caller]
fn expects_quiet(handle: &LoopHandle) -> io::Result<()> {
    const NAP: Duration = Duration::from_millis(5);
    // Far more than anything here takes.
    for _ in 0..10_000 {
        let began = Instant::now();
        let may_sleep = handle.turn(Some(NAP))?;
        if began.elapsed() >= NAP && may_sleep != AT_ONCE {
            return Ok(());
        }
    }
    panic!("the loop does not come to rest");
}

#[track_caller]
fn kind_of<T>(outcome: io::Result<T>) -> ErrorKind {
    outcome.err().expect("it fails").kind()
}
