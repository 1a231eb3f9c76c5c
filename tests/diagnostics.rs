//! What a stream says in the log, counted.
//!
//! A logger is process-wide; this one keeps apart what each thread logged, so that tests
//! which run beside each other don't count each other's lines.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use millstream::{
    EventLoop, StreamReader, StreamWriter, get_running_loop, memory_stream_pair,
    open_connection_sock, run, yield_now,
};
use socket2::SockRef;

thread_local! {
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collector;

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.with_borrow_mut(|warnings| warnings.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Collects this thread's warnings and errors from now on.
fn listen() {
    // The first test of the process installs it; the others find it there.
    let _ = log::set_logger(&Collector);
    log::set_max_level(LevelFilter::Warn);
}

/// Returns what was logged since the last time.
fn warnings() -> Vec<String> {
    WARNINGS.take()
}

async fn connected() -> io::Result<(StreamReader, StreamWriter, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    let (reader, writer) = open_connection_sock(ours).await?;
    Ok((reader, writer, peer))
}

#[test]
fn wrt_23_an_unclosed_writer_is_named_once_in_debug_mode() -> io::Result<()> {
    listen();
    run(async {
        get_running_loop()?.set_debug(true);
        // How long a step takes is the machine's affair.
        get_running_loop()?.set_slow_callback_duration(Duration::MAX);
        let (_reader, writer, _peer) = connected().await?;
        for _ in 0..10 {
            writer.write(b"not one per write");
            writer.drain().await?;
        }
        assert!(warnings().is_empty());
        drop(writer);
        yield_now().await;
        let said = warnings();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("unclosed <StreamWriter"), "{said:?}");
        Ok(())
    })
}

#[test]
fn wrt_23_a_closed_writer_is_not_named() -> io::Result<()> {
    listen();
    run(async {
        get_running_loop()?.set_debug(true);
        get_running_loop()?.set_slow_callback_duration(Duration::MAX);
        let (_reader, writer, _peer) = connected().await?;
        writer.close();
        drop(writer);
        assert!(warnings().is_empty());
        Ok(())
    })
}

#[test]
fn wrt_23_without_debug_mode_nothing_is_said() -> io::Result<()> {
    listen();
    run(async {
        get_running_loop()?.set_debug(false);
        let (_reader, writer, _peer) = connected().await?;
        drop(writer);
        yield_now().await;
        assert!(warnings().is_empty());
        Ok(())
    })
}

#[test]
fn a_writer_that_outlives_its_loop_goes_silently() -> io::Result<()> {
    listen();
    let event_loop = EventLoop::new()?;
    event_loop.set_debug(true);
    event_loop.set_slow_callback_duration(Duration::MAX);
    let streams = event_loop.run_until_complete(async { memory_stream_pair(100) })?;
    event_loop.close()?;
    drop(streams);
    assert_eq!(warnings(), [""; 0]);
    Ok(())
}

#[test]
fn c_3_from_the_fifth_dropped_write_on_each_is_warned_of() -> io::Result<()> {
    listen();
    run(async {
        let (_reader, writer, peer) = connected().await?;
        writer.write(b"hello");
        writer.flush().await?;
        SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
        drop(peer);
        assert!(writer.closed().await.is_some());
        assert!(warnings().is_empty());
        for written in 1..=8 {
            writer.write(b"lost");
            writer.write(b""); // does not count
            let expected: &[&str] = match written {
                1..=4 => &[],
                _ => &["socket.send() raised exception."],
            };
            assert_eq!(warnings(), expected, "after write {written}");
        }
        Ok(())
    })
}

#[test]
fn wrt_13_each_write_after_write_eof_is_warned_of() -> io::Result<()> {
    listen();
    run(async {
        let (_reader, writer, _peer) = connected().await?;
        writer.write_eof()?;
        writer.write(b"late");
        writer.writelines(["late"]);
        writer.write(b"");
        assert_eq!(
            warnings(),
            [
                "Cannot call write() after write_eof()",
                "Cannot call writelines() after write_eof()",
                "Cannot call write() after write_eof()",
            ]
        );
        Ok(())
    })
}
