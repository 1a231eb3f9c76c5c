//! The protocol: which callbacks come, in which order, and what they may do.

mod wire;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use millstream::testing::{
    OnReceive, OnSend, Recorder, ScriptedSocket, Told, Trace, scripted_transport,
};
use millstream::{
    Address, AfterEof, Protocol, ReadInto, StreamReader, StreamReaderProtocol, StreamWriter,
    Transport, current_task, memory_stream_pair, memory_transport_pair, open_connection,
    start_server,
};

use Told::{
    ConnectionLost, ConnectionMade, DataReceived, EofReceived, Noted, PauseWriting, ResumeWriting,
    TookOver,
};
use wire::{Wire, reset, tcp_pair};

#[test]
fn pro_01_made_data_end_and_loss_come_in_order_and_once() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let _transport = wire.adopts(Recorder::new(&trace), ours)?;
    theirs.write_all(b"a")?;
    wire.until("a", || trace.received() == b"a")?;
    theirs.write_all(b"b")?;
    theirs.shutdown(Shutdown::Write)?;
    wire.until("the end", || trace.is_lost())?;
    assert_eq!(
        trace.told(),
        [
            ConnectionMade,
            DataReceived(b"ab".to_vec()),
            EofReceived,
            ConnectionLost(None)
        ]
    );
    wire.quiesces()?;
    trace.assert_complete();
    Ok(())
}

// ── random scripts ──────────────────────────────────────────────────────────────

#[test]
fn pro_02_random_scripts_over_memory_pairs_keep_the_grammar() -> io::Result<()> {
    for_each_seed(10_000, |random| {
        let wire = Wire::new()?;
        let (ours, theirs) = (Trace::new(), Trace::new());
        let capacity = 1 + random.below(3000);
        let (one, other) = memory_transport_pair(
            &wire.event_loop,
            random.reacting(Recorder::new(&ours)),
            random.reacting(Recorder::new(&theirs)),
            capacity,
        );
        for end in [&one, &other] {
            end.set_write_buffer_limits(Some(random.below(2000)), None)?;
        }
        for _ in 0..random.below(30) {
            let end = if random.coin() { &one } else { &other };
            random.does_something_local(&**end);
            for _ in 0..random.below(3) {
                wire.event_loop.turn(Some(Duration::ZERO))?;
            }
        }
        one.abort();
        other.abort();
        wire.quiesces()?;
        ours.assert_complete();
        theirs.assert_complete();
        assert_eq!(wire.event_loop.census().sources, 0);
        Ok(())
    })
}

#[test]
fn pro_02_random_peers_of_real_sockets_keep_the_grammar() -> io::Result<()> {
    for_each_seed(300, |random| {
        let wire = Wire::new()?;
        let (ours, theirs) = tcp_pair()?;
        theirs.set_nonblocking(true)?;
        let trace = Trace::new();
        let transport = wire.adopts(random.reacting(Recorder::new(&trace)), ours)?;
        transport.set_write_buffer_limits(Some(random.below(2000)), None)?;
        let mut peer = Some(theirs);
        for _ in 0..random.below(30) {
            if random.coin() {
                random.does_something_local(&*transport);
            } else {
                peer = random.does_something_remote(peer)?;
            }
            for _ in 0..random.below(3) {
                wire.event_loop.turn(Some(Duration::ZERO))?;
            }
        }
        transport.abort();
        wire.until("the loss", || trace.is_lost())?;
        wire.quiesces()?;
        trace.assert_complete();
        Ok(())
    })
}

/// Runs a scenario with many seeds, or with `MILLSTREAM_SEED` alone, and names the one
/// that failed.
fn for_each_seed(seeds: u64, scenario: impl Fn(&mut Random) -> io::Result<()>) -> io::Result<()> {
    let only = std::env::var("MILLSTREAM_SEED").ok();
    let only = only.and_then(|seed| u64::from_str_radix(seed.trim_start_matches("0x"), 16).ok());
    let seeds = match only {
        Some(seed) => seed..seed + 1,
        None => 1..seeds + 1,
    };
    for seed in seeds {
        let replay = PrintSeed(seed);
        scenario(&mut Random::from_seed(seed))?;
        std::mem::forget(replay);
    }
    Ok(())
}

/// Prints how to play a scenario again, unless it is forgotten before it ends.
struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        eprintln!("to replay: MILLSTREAM_SEED={:#x} cargo test …", self.0);
    }
}

/// xorshift64: the same numbers for the same seed, everywhere.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn from_seed(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Has a recorder do something now and then, in any of its callbacks.
    fn reacting(&mut self, recorder: Recorder) -> Recorder {
        let after_eof = if self.coin() {
            AfterEof::KeepOpen
        } else {
            AfterEof::Close
        };
        let mut draws: Vec<Random> = (0..5).map(|_| Random::from_seed(self.next())).collect();
        let mut reaction = || {
            let mut random = draws.pop().expect("there are five callbacks");
            move |transport: &Rc<dyn Transport>| {
                if random.below(4) == 0 {
                    random.does_something_local(&**transport);
                }
            }
        };
        let mut on_data = reaction();
        let mut on_eof = reaction();
        recorder
            .on_connection_made(reaction())
            .on_data_received(move |transport, _| on_data(transport))
            .on_eof_received(move |transport| {
                on_eof(transport);
                after_eof
            })
            .on_pause_writing(reaction())
            .on_resume_writing(reaction())
    }

    fn does_something_local(&mut self, transport: &dyn Transport) {
        match self.below(20) {
            0..=8 => transport.write(&vec![b'x'; self.below(6000)]),
            9 => transport.write_owned(vec![b'x'; self.below(6000)]),
            10 | 11 => transport.pause_reading(),
            12..=14 => transport.resume_reading(),
            15 => transport.write_eof(),
            16 => {
                let high = self.below(3000);
                let set = transport.set_write_buffer_limits(Some(high), None);
                assert_eq!(set, Ok(()));
            }
            17 => transport.flush(),
            18 => transport.close(),
            _ if self.below(3) == 0 => transport.abort(),
            _ => {}
        }
    }

    /// Sends, receives, ends or resets; a socket that is gone stays gone.
    fn does_something_remote(&mut self, peer: Option<TcpStream>) -> io::Result<Option<TcpStream>> {
        let Some(mut peer) = peer else {
            return Ok(None);
        };
        match self.below(12) {
            0..=5 => drop(peer.write(&vec![b'y'; 1 + self.below(6000)])),
            6..=8 => drop(peer.read(&mut [0; 8192])),
            9 => drop(peer.shutdown(Shutdown::Write)),
            10 => return Ok(None),
            _ => {
                reset(peer)?;
                return Ok(None);
            }
        }
        Ok(Some(peer))
    }
}

// ── servers ─────────────────────────────────────────────────────────────────────

#[test]
fn pro_03_a_connection_made_that_panics_closes_that_socket_and_the_server_goes_on() -> io::Result<()>
{
    let wire = Wire::new()?;
    let made = Rc::new(Cell::new(0));
    let trace = Trace::new();
    let (count, second) = (made.clone(), trace.clone());
    let factory = move || {
        let nth = count.get() + 1;
        count.set(nth);
        if nth == 1 {
            Recorder::new(&Trace::new()).on_connection_made(|_| panic!("on purpose"))
        } else {
            Recorder::new(&second).on_data_received(|t, data| t.write(data))
        }
    };
    let serving = wire.event_loop.create_server(factory, "127.0.0.1", 0);
    let server = wire.event_loop.run_until_complete(serving)??;
    let address = server.sockets().first().and_then(Address::as_inet);
    let address = address.expect("it serves on 127.0.0.1");

    let mut first = TcpStream::connect(address)?;
    wire.until("the first connection's end", || {
        made.get() == 1 && server.connection_count() == 0
    })?;
    assert_eq!(first.read(&mut [0; 10])?, 0, "its socket is closed");
    wire.expects_report("Fatal error: protocol.connection_made() call failed.");

    let mut next = TcpStream::connect(address)?;
    next.write_all(b"hello")?;
    wire.until("the echo", || trace.received() == b"hello")?;
    let mut echo = [0; 5];
    next.read_exact(&mut echo)?;
    assert_eq!(&echo, b"hello");
    Ok(())
}

// ── buffered protocols ──────────────────────────────────────────────────────────

#[test]
fn pro_05_a_buffered_protocol_gets_every_byte_in_its_own_buffer() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, theirs) = tcp_pair()?;
    let sent: Vec<u8> = (0..100 * 1024_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (trace, senders) = (Trace::new(), Trace::new());
    let lender = Recorder::new(&trace).on_get_buffer(|_, hint| {
        assert!(hint > 0);
        ReadInto::Lent(vec![0; 3000])
    });
    let _transport = wire.adopts(lender, ours)?;
    let peer = wire.adopts(Recorder::new(&senders), theirs)?;
    for piece in sent.chunks(1024) {
        peer.write(piece);
    }
    peer.close();
    wire.until("the end", || trace.is_lost())?;
    assert_eq!(trace.received_len(), 102_400);
    assert!(trace.received() == sent);
    assert_eq!(trace.count(|told| *told == EofReceived), 1);
    trace.assert_complete();
    Ok(())
}

/// A lender that counts what it lent and got back.
struct Lender {
    buffers: Rc<RefCell<Vec<&'static str>>>,
}

impl Protocol for Lender {
    fn get_buffer(&mut self, _transport: &Rc<dyn Transport>, _hint: usize) -> ReadInto {
        self.buffers.borrow_mut().push("lent");
        ReadInto::Lent(vec![0; 4])
    }

    fn buffer_updated(&mut self, _: &Rc<dyn Transport>, buffer: Vec<u8>, filled: usize) {
        assert_eq!(&buffer[..filled], &b"abcdef"[..filled]);
        self.buffers.borrow_mut().push("updated");
    }

    fn buffer_unused(&mut self, _: &Rc<dyn Transport>, buffer: Vec<u8>) {
        assert_eq!(buffer.len(), 4, "the very same buffer");
        self.buffers.borrow_mut().push("unused");
    }

    fn eof_received(&mut self, _: &Rc<dyn Transport>) -> AfterEof {
        self.buffers.borrow_mut().push("end");
        AfterEof::KeepOpen
    }

    fn connection_lost(&mut self, _: Option<millstream::ConnError>) {
        self.buffers.borrow_mut().push("lost");
    }
}

#[test]
fn d9_a_lent_buffer_comes_back_after_would_block_and_before_the_end_or_an_error() -> io::Result<()>
{
    for (answer, follows) in [
        (OnReceive::Bytes(b"abc".to_vec()), vec!["lent", "updated"]),
        (
            OnReceive::Fails(io::ErrorKind::WouldBlock),
            vec!["lent", "unused"],
        ),
        (OnReceive::Eof, vec!["lent", "unused", "end"]),
        (
            OnReceive::Fails(io::ErrorKind::ConnectionReset),
            vec!["lent", "unused", "lost"],
        ),
    ] {
        let wire = Wire::new()?;
        let buffers = Rc::new(RefCell::new(Vec::new()));
        let lender = Lender {
            buffers: buffers.clone(),
        };
        let (_transport, socket) = scripted_transport(&wire.event_loop, lender);
        wire.quiesces()?;
        socket.on_receive(answer);
        wire.event_loop.turn(Some(Duration::ZERO))?;
        wire.event_loop.turn(Some(Duration::ZERO))?;
        let seen = buffers.borrow();
        assert_eq!(seen[..follows.len()], follows);
    }
    Ok(())
}

#[test]
fn pro_06_an_empty_buffer_is_fatal_and_does_not_spin() -> io::Result<()> {
    let (wire, trace, error) =
        plays_data(|recorder| recorder.on_get_buffer(|_, _| ReadInto::Lent(Vec::new())))?;
    assert_eq!(trace.told(), [ConnectionMade, lost_to_a_bug()]);
    assert_eq!(error, "get_buffer() returned an empty buffer");
    wire.expects_report("Fatal error: protocol.get_buffer() call failed.");
    Ok(())
}

#[test]
fn pro_06_a_get_buffer_that_panics_is_fatal() -> io::Result<()> {
    let (wire, trace, error) =
        plays_data(|recorder| recorder.on_get_buffer(|_, _| panic!("on purpose")))?;
    assert_eq!(trace.told(), [ConnectionMade, lost_to_a_bug()]);
    assert_eq!(error, "protocol.get_buffer() panicked: on purpose");
    wire.expects_report("Fatal error: protocol.get_buffer() call failed.");
    Ok(())
}

#[test]
fn pro_06_a_buffer_updated_that_panics_is_fatal() -> io::Result<()> {
    let (wire, trace, error) = plays_data(|recorder| {
        recorder
            .on_get_buffer(|_, _| ReadInto::Lent(vec![0; 10]))
            .on_buffer_updated(|_| panic!("on purpose"))
    })?;
    let data = DataReceived(b"data".to_vec());
    assert_eq!(trace.told(), [ConnectionMade, data, lost_to_a_bug()]);
    assert_eq!(error, "protocol.buffer_updated() panicked: on purpose");
    wire.expects_report("Fatal error: protocol.buffer_updated() call failed.");
    Ok(())
}

// ── another protocol ────────────────────────────────────────────────────────────

#[test]
fn pro_07_a_buffered_protocol_takes_over_between_two_reads() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let (plain, buffered) = (Trace::new(), Trace::new());
    let transport = wire.adopts(Recorder::new(&plain), ours)?;
    theirs.write_all(b"first")?;
    wire.until("the first bytes", || plain.received() == b"first")?;
    let lender = Recorder::successor(&buffered).on_get_buffer(|_, _| ReadInto::Lent(vec![0; 100]));
    transport.set_protocol(Box::new(lender));
    theirs.write_all(b"second")?;
    wire.until("the second bytes", || buffered.received() == b"second")?;
    assert_eq!(
        plain.told(),
        [ConnectionMade, DataReceived(b"first".to_vec())]
    );
    assert_eq!(
        buffered.told(),
        [TookOver, DataReceived(b"second".to_vec())],
        "connection_made is not called again"
    );
    Ok(())
}

#[test]
fn pro_08_a_protocol_that_switches_inside_data_received_hears_no_more() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let (a, b) = (Trace::new(), Trace::new());
    let successor = b.clone();
    let switches = Recorder::new(&a).on_data_received(move |transport, _| {
        transport.set_protocol(Box::new(Recorder::successor(&successor)));
    });
    let _transport = wire.adopts(switches, ours)?;
    theirs.write_all(b"one")?;
    wire.until("the first segment", || a.received() == b"one")?;
    theirs.write_all(b"two")?;
    wire.until("the second segment", || b.received() == b"two")?;
    drop(theirs);
    wire.until("the loss", || b.is_lost())?;
    assert_eq!(a.told(), [ConnectionMade, DataReceived(b"one".to_vec())]);
    assert_eq!(b.told().last(), Some(&ConnectionLost(None)));
    Ok(())
}

#[test]
fn pro_19_a_replaced_protocol_is_dropped_where_its_drop_may_use_the_transport() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let (a, b) = (Trace::new(), Trace::new());
    let kept: Rc<RefCell<Option<Rc<dyn Transport>>>> = Rc::default();
    let at_drop = kept.clone();
    let leaves = Recorder::new(&a).on_drop(move || {
        let transport = at_drop.take().expect("it is dropped once");
        // R3: any of these would panic if a borrow were alive.
        transport.write(b"last words");
        transport.pause_reading();
        transport.resume_reading();
    });
    let transport = wire.adopts(leaves, ours)?;
    kept.replace(Some(transport.clone()));
    transport.set_protocol(Box::new(Recorder::successor(&b)));
    assert_eq!(a.recorders_dropped(), 1);
    let mut got = [0; 10];
    theirs.read_exact(&mut got)?;
    assert_eq!(&got, b"last words");
    theirs.write_all(b"for b")?;
    wire.until("the bytes", || b.received() == b"for b")?;
    transport.close();
    wire.until("the loss", || b.is_lost())?;
    assert_eq!(a.told(), [ConnectionMade], "nothing more, no loss either");
    assert_eq!(wire.reports(), [""; 0]);
    Ok(())
}

// ── pausing ─────────────────────────────────────────────────────────────────────

#[test]
fn pro_11_a_pause_holds_bytes_and_the_end_back_without_spinning() -> io::Result<()> {
    let wire = Wire::new()?;
    let (ours, mut theirs) = tcp_pair()?;
    let trace = Trace::new();
    let transport = wire.adopts(Recorder::new(&trace), ours)?;
    transport.pause_reading();
    theirs.write_all(b"12345")?;
    drop(theirs);
    wire.expect_idle()?;
    assert_eq!(trace.told(), [ConnectionMade]);
    transport.resume_reading();
    wire.until("the end", || trace.is_lost())?;
    assert_eq!(
        trace.told(),
        [
            ConnectionMade,
            DataReceived(b"12345".to_vec()),
            EofReceived,
            ConnectionLost(None)
        ]
    );
    Ok(())
}

// ── the protocol of streams ─────────────────────────────────────────────────────

#[test]
fn pro_12_on_a_plain_transport_a_stream_stays_open_after_the_end() -> io::Result<()> {
    let wire = Wire::new()?;
    let reader = StreamReader::new();
    let mut protocol = StreamReaderProtocol::new(&reader);
    let (transport, _socket) = scripted_transport(&wire.event_loop, Recorder::new(&Trace::new()));
    assert_eq!(protocol.eof_received(&transport), AfterEof::KeepOpen);
    assert!(reader.at_eof());
    Ok(())
}

#[test]
fn pro_13_a_clean_loss_ends_the_reader_and_lets_the_writer_go() -> io::Result<()> {
    let outcome = waits_for_the_loss(|transport, socket| {
        transport.close();
        socket.becomes_writable(); // every byte is sent
    })?;
    assert_eq!(
        outcome,
        Outcome {
            read: Ok(Vec::new()),
            drained: Ok(()),
            closed: Ok(()),
            next_drain: Err((io::ErrorKind::ConnectionReset, "Connection lost".to_owned())),
        }
    );
    Ok(())
}

#[test]
fn pro_13_d17_an_abort_that_dropped_bytes_fails_the_drain() -> io::Result<()> {
    let outcome = waits_for_the_loss(|transport, _| transport.abort())?;
    let reset = || (io::ErrorKind::ConnectionReset, "Connection lost".to_owned());
    assert_eq!(
        outcome,
        Outcome {
            read: Ok(Vec::new()),
            drained: Err(reset()),
            closed: Ok(()),
            next_drain: Err(reset()),
        }
    );
    Ok(())
}

#[test]
fn pro_13_a_loss_with_an_error_fails_all_three_with_it() -> io::Result<()> {
    let outcome = waits_for_the_loss(|_, socket| {
        socket.on_receive(OnReceive::Fails(io::ErrorKind::TimedOut));
    })?;
    let text = io::Error::from(io::ErrorKind::TimedOut).to_string();
    let error = || (io::ErrorKind::TimedOut, text.clone());
    assert_eq!(
        outcome,
        Outcome {
            read: Err(error()),
            drained: Err(error()),
            closed: Err(error()),
            next_drain: Err(error()),
        }
    );
    Ok(())
}

type Answer<T> = Result<T, (io::ErrorKind, String)>;

#[derive(Debug, PartialEq)]
struct Outcome {
    read: Answer<Vec<u8>>,
    drained: Answer<()>,
    closed: Answer<()>,
    next_drain: Answer<()>,
}

/// A read, a drain and a `wait_closed` wait, then something ends the connection.
fn waits_for_the_loss(end: impl FnOnce(&dyn Transport, &ScriptedSocket)) -> io::Result<Outcome> {
    let wire = Wire::new()?;
    let mut reader = StreamReader::new();
    let protocol = StreamReaderProtocol::new(&reader);
    let (transport, socket) = scripted_transport(&wire.event_loop, protocol);
    let writer = Rc::new(StreamWriter::new(transport.clone(), &reader));
    wire.quiesces()?;
    socket.on_send(OnSend::Fails(io::ErrorKind::WouldBlock));
    writer.write(vec![b'x'; 100_000]);
    let (drains, closes, again) = (writer.clone(), writer.clone(), writer.clone());
    let handle = &wire.event_loop;
    let reading = handle.create_task(async move { reader.read(100).await });
    let draining = handle.create_task(async move { drains.drain().await });
    let closing = handle.create_task(async move { closes.wait_closed().await });
    wire.quiesces()?;
    assert!(!reading.done() && !draining.done() && !closing.done());
    end(&*transport, &socket);
    wire.event_loop.run_until_complete(async move {
        io::Result::Ok(Outcome {
            read: answer(reading.await?.map_err(io::Error::from)),
            drained: answer(draining.await?),
            closed: answer(closing.await?),
            next_drain: answer(again.drain().await),
        })
    })?
}

fn answer<T>(result: io::Result<T>) -> Answer<T> {
    result.map_err(|error| (error.kind(), error.to_string()))
}

#[test]
fn pro_15_a_handler_that_closes_its_writer_and_cancels_itself_is_no_error() -> io::Result<()> {
    let wire = Wire::new()?;
    let handled = Rc::new(Cell::new(false));
    let seen = handled.clone();
    wire.event_loop.run_until_complete(async move {
        let handler = async move |_reader: StreamReader, writer: StreamWriter| {
            seen.set(true);
            writer.close();
            let task = current_task().expect("a handler runs as a task");
            task.cancel();
            std::future::pending::<()>().await;
        };
        let server = start_server(handler, "127.0.0.1", 0).await?;
        let port = server.sockets().first().and_then(Address::port);
        let port = port.expect("it serves on 127.0.0.1");
        let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
        assert_eq!(reader.read(10).await?, b"");
        writer.aclose().await
    })??;
    wire.quiesces()?;
    assert!(handled.get());
    assert_eq!(wire.reports(), [""; 0]);
    Ok(())
}

#[test]
fn pro_17_after_closing_a_writer_its_reader_is_at_the_end() -> io::Result<()> {
    let wire = Wire::new()?;
    wire.event_loop.run_until_complete(async move {
        let ((mut reader, writer), (_other_reader, other_writer)) = memory_stream_pair(1024);
        writer.close();
        writer.wait_closed().await?;
        assert!(reader.at_eof());
        assert_eq!(reader.read_all().await?, b"");
        drop(other_writer);
        io::Result::Ok(())
    })?
}

// ── panics ──────────────────────────────────────────────────────────────────────

#[test]
fn r10_a_pause_writing_that_panics_is_reported_and_not_fatal() -> io::Result<()> {
    let (wire, trace) =
        pauses_and_resumes(|recorder| recorder.on_pause_writing(|_| panic!("on purpose")))?;
    assert_eq!(trace.told(), [ConnectionMade, PauseWriting, ResumeWriting]);
    wire.expects_report("protocol.pause_writing() failed");
    Ok(())
}

#[test]
fn r10_a_resume_writing_that_panics_is_reported_and_not_fatal() -> io::Result<()> {
    let (wire, trace) =
        pauses_and_resumes(|recorder| recorder.on_resume_writing(|_| panic!("on purpose")))?;
    assert_eq!(trace.told(), [ConnectionMade, PauseWriting, ResumeWriting]);
    wire.expects_report("protocol.resume_writing() failed");
    Ok(())
}

#[test]
fn r10_a_pause_that_panics_does_not_unwind_the_task_that_wrote() -> io::Result<()> {
    let wire = Wire::new()?;
    let recorder = Recorder::new(&Trace::new()).on_pause_writing(|_| panic!("on purpose"));
    let (transport, socket) = scripted_transport(&wire.event_loop, recorder);
    wire.quiesces()?;
    socket.on_send(OnSend::Fails(io::ErrorKind::WouldBlock));
    let written = wire.event_loop.run_until_complete(async move {
        transport.write(&[b'x'; 100_000]);
        transport.get_write_buffer_size()
    })?;
    assert_eq!(written, 100_000);
    wire.expects_report("protocol.pause_writing() failed");
    Ok(())
}

#[test]
fn r10_a_connection_made_that_panics_aborts_the_connection() -> io::Result<()> {
    let (wire, trace, error) =
        plays_data(|recorder| recorder.on_connection_made(|_| panic!("on purpose")))?;
    assert_eq!(trace.told(), [ConnectionMade, lost_to_a_bug()], "D8");
    assert_eq!(error, "protocol.connection_made() panicked: on purpose");
    wire.expects_report("Fatal error: protocol.connection_made() call failed.");
    Ok(())
}

#[test]
fn r10_a_connection_lost_that_panics_leaves_no_socket_behind() -> io::Result<()> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let recorder = Recorder::new(&trace).on_connection_lost(|_| panic!("on purpose"));
    let (transport, socket) = scripted_transport(&wire.event_loop, recorder);
    transport.close();
    wire.quiesces()?;
    assert_eq!(trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert!(socket.is_closed());
    assert_eq!(trace.recorders_dropped(), 1);
    assert_eq!(wire.event_loop.census().sources, 0);
    wire.expects_report("Fatal error: protocol.connection_lost() call failed.");
    Ok(())
}

#[test]
fn r10_a_protocol_whose_drop_panics_leaves_no_socket_behind() -> io::Result<()> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let recorder = Recorder::new(&trace).on_drop(|| panic!("on purpose"));
    let (transport, socket) = scripted_transport(&wire.event_loop, recorder);
    transport.close();
    wire.quiesces()?;
    assert_eq!(trace.told(), [ConnectionMade, ConnectionLost(None)]);
    assert!(socket.is_closed());
    assert_eq!(wire.event_loop.census().sources, 0);
    wire.expects_report("Exception in the drop of a protocol");
    Ok(())
}

#[test]
fn r10_a_replaced_protocol_whose_drop_panics_does_not_stop_the_reading() -> io::Result<()> {
    let wire = Wire::new()?;
    let (a, b) = (Trace::new(), Trace::new());
    let (successor, returned) = (b.clone(), a.clone());
    let recorder = Recorder::new(&a)
        .on_data_received(move |transport, _| {
            transport.set_protocol(Box::new(Recorder::successor(&successor)));
            returned.note("returned");
        })
        .on_drop(|| panic!("on purpose"));
    let (_transport, socket) = scripted_transport(&wire.event_loop, recorder);
    // More than one receive brings, so that no edge announces the rest.
    socket.on_receive(OnReceive::Bytes(vec![b'x'; 600_000]));
    wire.quiesces()?;
    assert_eq!(a.told().last(), Some(&Noted("returned")));
    assert_eq!(a.received_len() + b.received_len(), 600_000);
    wire.expects_report("Exception in the drop of a protocol");
    Ok(())
}

/// Sends `data` to a protocol, and returns what it was told, and the text of the error
/// that the connection was lost with.
fn plays_data(make: impl FnOnce(Recorder) -> Recorder) -> io::Result<(Wire, Trace, String)> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let error = Rc::new(RefCell::new(String::new()));
    let lost_with = error.clone();
    let recorder = make(Recorder::new(&trace)).on_connection_lost(move |error| {
        lost_with.replace(error.map(ToString::to_string).unwrap_or_default());
    });
    let neighbour = Trace::new();
    let (_, neighbours_socket) = scripted_transport(&wire.event_loop, Recorder::new(&neighbour));
    let (_transport, socket) = scripted_transport(&wire.event_loop, recorder);
    socket.on_receive(OnReceive::Bytes(b"data".to_vec()));
    wire.quiesces()?;
    assert!(socket.is_closed());
    neighbours_socket.on_receive(OnReceive::Bytes(b"still here".to_vec()));
    wire.quiesces()?;
    assert_eq!(neighbour.received(), b"still here");
    let error = error.take();
    Ok((wire, trace, error))
}

/// Writes beyond the mark to a kernel that is full, then makes room.
fn pauses_and_resumes(make: impl FnOnce(Recorder) -> Recorder) -> io::Result<(Wire, Trace)> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let recorder = make(Recorder::new(&trace));
    let (transport, socket) = scripted_transport(&wire.event_loop, recorder);
    wire.quiesces()?;
    socket.on_send(OnSend::Fails(io::ErrorKind::WouldBlock));
    transport.write(&[b'x'; 100_000]);
    socket.becomes_writable();
    wire.quiesces()?;
    assert!(!transport.is_closing());
    Ok((wire, trace))
}

fn lost_to_a_bug() -> Told {
    ConnectionLost(Some(io::ErrorKind::Other))
}

/// A boxed protocol is called like the one in the box.
#[test]
fn a_boxed_protocol_is_told_everything() -> io::Result<()> {
    let wire = Wire::new()?;
    let trace = Trace::new();
    let unused = Rc::new(Cell::new(0));
    let count = unused.clone();
    let recorder: Box<dyn Protocol> = Box::new(
        Recorder::new(&trace)
            .keeps_open()
            .on_get_buffer(|_, _| ReadInto::Lent(vec![0; 10]))
            .on_buffer_unused(move |_| count.set(count.get() + 1)),
    );
    let (transport, socket) = scripted_transport(&wire.event_loop, recorder);
    socket.on_receive(OnReceive::Bytes(b"data".to_vec()));
    wire.quiesces()?;
    socket.on_receive(OnReceive::Eof);
    wire.quiesces()?;
    assert!(unused.get() > 0);
    socket.on_send(OnSend::Fails(io::ErrorKind::WouldBlock));
    transport.write(&[b'x'; 100_000]);
    socket.becomes_writable();
    wire.quiesces()?;
    transport.close();
    wire.quiesces()?;
    assert_eq!(
        trace.told(),
        [
            ConnectionMade,
            DataReceived(b"data".to_vec()),
            EofReceived,
            PauseWriting,
            ResumeWriting,
            ConnectionLost(None)
        ]
    );
    Ok(())
}

#[test]
fn a_report_names_the_protocol_that_failed_and_its_transport() -> io::Result<()> {
    struct Careless;
    impl millstream::Protocol for Careless {
        fn connection_made(&mut self, _transport: &Rc<dyn millstream::Transport>) {
            panic!("on purpose");
        }
    }
    let event_loop = millstream::EventLoop::new()?;
    let contexts: Rc<std::cell::RefCell<Vec<_>>> = Rc::default();
    let seen = contexts.clone();
    event_loop.set_exception_handler(move |_, context| seen.borrow_mut().push(context.clone()));
    let _pair =
        millstream::memory_transport_pair(&event_loop, Careless, Recorder::new(&Trace::new()), 1);
    event_loop.turn(Some(std::time::Duration::ZERO))?;
    let contexts = contexts.borrow();
    assert_eq!(contexts.len(), 1);
    assert!(
        contexts[0]
            .protocol
            .as_ref()
            .is_some_and(|name| name.ends_with("Careless"))
    );
    assert!(contexts[0].transport.is_some());
    Ok(())
}
