//! What a transport and a stream warn of, counted with a logger.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use millstream::testing::{OnReceive, OnSend, Recorder, Trace, scripted_transport};
use millstream::{EventLoop, StreamReader, StreamReaderProtocol, StreamWriter, memory_stream_pair};

const DROPPED: &str = "socket.send() raised exception.";

#[test]
fn trn_15_writes_to_a_lost_connection_are_warned_of_from_the_fifth_on() -> io::Result<()> {
    let warnings = Warnings::counted();
    let event_loop = EventLoop::new()?;
    let (transport, socket) = scripted_transport(&event_loop, Recorder::new(&Trace::new()));
    socket.on_receive(OnReceive::Fails(io::ErrorKind::ConnectionReset));
    quiesce(&event_loop)?;
    for nth in 1..=10 {
        transport.write(b"into the void");
        let expected = if nth < 5 { 0 } else { nth - 4 };
        assert_eq!(warnings.of(DROPPED), expected, "after write number {nth}");
        assert_eq!(transport.get_write_buffer_size(), 0);
    }
    assert_eq!(socket.sends(), 0);
    Ok(())
}

#[test]
fn trn_15_it_is_no_matter_in_which_way_is_written() -> io::Result<()> {
    let warnings = Warnings::counted();
    let event_loop = EventLoop::new()?;
    let (transport, _socket) = scripted_transport(&event_loop, Recorder::new(&Trace::new()));
    transport.abort();
    for _ in 0..3 {
        transport.write(b"x");
        transport.write_owned(b"x".to_vec());
        transport.writelines(&[io::IoSlice::new(b"x"), io::IoSlice::new(b"y")]);
        transport.write(b"");
    }
    assert_eq!(warnings.of(DROPPED), 9 - 4, "a writelines is one write");
    Ok(())
}

#[test]
fn d7_writes_behind_a_close_that_flushes_are_counted_alike() -> io::Result<()> {
    let warnings = Warnings::counted();
    let event_loop = EventLoop::new()?;
    let (transport, socket) = scripted_transport(&event_loop, Recorder::new(&Trace::new()));
    quiesce(&event_loop)?;
    socket.on_send(OnSend::Fails(io::ErrorKind::WouldBlock));
    transport.write(b"in time");
    transport.close();
    for _ in 0..6 {
        transport.write(b"late");
    }
    assert_eq!(warnings.of(DROPPED), 2);
    socket.becomes_writable();
    quiesce(&event_loop)?;
    assert_eq!(socket.sent(), b"in time");
    Ok(())
}

#[test]
fn vector_3_of_eight_writes_to_a_stream_that_was_reset_the_last_four_warn() -> io::Result<()> {
    let warnings = Warnings::counted();
    let event_loop = EventLoop::new()?;
    let reader = StreamReader::new();
    let protocol = StreamReaderProtocol::new(&reader);
    let (transport, socket) = scripted_transport(&event_loop, protocol);
    let writer = StreamWriter::new(transport, &reader);
    writer.write(b"before");
    socket.on_receive(OnReceive::Fails(io::ErrorKind::ConnectionReset));
    quiesce(&event_loop)?;
    assert!(writer.is_closing());
    for _ in 0..8 {
        writer.write(b"x");
    }
    assert_eq!(warnings.of(DROPPED), 4);
    Ok(())
}

#[test]
fn trn_19_a_write_after_write_eof_is_warned_of_each_time() -> io::Result<()> {
    let warnings = Warnings::counted();
    let event_loop = EventLoop::new()?;
    let (transport, _socket) = scripted_transport(&event_loop, Recorder::new(&Trace::new()));
    transport.write_eof();
    transport.write(b"x");
    transport.write(b"");
    transport.writelines(&[]);
    assert_eq!(warnings.of("Cannot call write() after write_eof()"), 2);
    assert_eq!(warnings.of("Cannot call writelines() after write_eof()"), 1);
    assert_eq!(warnings.of(DROPPED), 0);
    Ok(())
}

#[test]
fn trn_45_a_writer_that_is_dropped_open_is_named_in_debug_mode_only() -> io::Result<()> {
    let warnings = Warnings::counted();
    for (debug, expected) in [(false, 0), (true, 1)] {
        let event_loop = EventLoop::new()?;
        event_loop.set_debug(debug);
        event_loop.run_until_complete(async {
            let ((_reader, writer), (_peer_reader, peer_writer)) = memory_stream_pair(1024);
            peer_writer.close();
            drop(writer);
        })?;
        assert_eq!(warnings.of("unclosed <StreamWriter"), expected);
    }
    Ok(())
}

/// Runs turns until there is nothing left to do.
fn quiesce(event_loop: &EventLoop) -> io::Result<()> {
    while event_loop.turn(Some(Duration::ZERO))? == Some(Duration::ZERO) {}
    Ok(())
}

// ── the logger ──────────────────────────────────────────────────────────────────

thread_local! {
    /// What this thread, and so this test, warned of.
    static WARNED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Counting;

impl Log for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = record.args().to_string();
            WARNED.with(|warned| warned.borrow_mut().push(line));
        }
    }

    fn flush(&self) {}
}

/// The warnings of this test.
struct Warnings;

impl Warnings {
    fn counted() -> Warnings {
        // Whichever test comes first installs it for all.
        let _ = log::set_logger(&Counting);
        log::set_max_level(LevelFilter::Warn);
        Warnings
    }

    fn of(&self, beginning: &str) -> usize {
        WARNED.with(|warned| {
            let warned = warned.borrow();
            warned.iter().filter(|w| w.starts_with(beginning)).count()
        })
    }
}
