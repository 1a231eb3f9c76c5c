//! Debug mode, and the default exception handler where a logger is installed.
//!
//! A logger is a process's own for ever, so these tests have a file to themselves.

use std::env;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::rc::Rc;
use std::sync::{Mutex, Once, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use millstream::{
    Clock, EventLoop, ExceptionContext, HostQuery, Protocol, Resolver, Resolving, StreamReader,
    StreamWriter, Transport, create_task, open_connection, sleep, start_server, yield_now,
};
use socket2::SockRef;

#[test]
fn a_callback_that_takes_long_is_named() -> io::Result<()> {
    let journal = Journal::open();
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    event_loop.set_debug(true);
    assert_eq!(
        event_loop.slow_callback_duration(),
        Duration::from_millis(100)
    );
    event_loop.call_soon(move || clock.advance(Duration::from_millis(1234)))?;
    event_loop.turn(None)?;
    let [warning] = journal
        .of_this_test(Level::Warn)
        .try_into()
        .expect("there is one");
    let warning: String = warning;
    assert!(
        warning.starts_with("Executing Handle(debug_mode::a_callback_that_takes_long_is_named"),
        "{warning}"
    );
    assert!(warning.ends_with(") took 1.234 seconds"), "{warning}");
    Ok(())
}

#[test]
fn a_step_that_takes_long_is_named_by_its_task() -> io::Result<()> {
    let journal = Journal::open();
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    event_loop.set_debug(true);
    event_loop.set_slow_callback_duration(Duration::from_secs(2));
    let task = event_loop.create_task(async move { clock.advance(Duration::from_secs(2)) });
    task.set_name("the miller");
    event_loop.turn(None)?;
    let [warning] = journal
        .of_this_test(Level::Warn)
        .try_into()
        .expect("there is one");
    let warning: String = warning;
    assert!(warning.contains("the miller"), "{warning}");
    assert!(warning.ends_with(" took 2.000 seconds"), "{warning}");
    Ok(())
}

#[test]
fn a_watcher_that_takes_long_is_named() -> io::Result<()> {
    let journal = Journal::open();
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    event_loop.set_debug(true);
    let (ours, _theirs) = UnixStream::pair()?;
    event_loop.add_writer(ours.as_raw_fd(), move || {
        clock.advance(Duration::from_secs(1));
    })?;
    event_loop.turn(None)?;
    let [warning] = journal
        .of_this_test(Level::Warn)
        .try_into()
        .expect("there is one");
    let warning: String = warning;
    assert!(
        warning.starts_with("Executing Handle(debug_mode::a_watcher_that_takes_long_is_named"),
        "{warning}"
    );
    assert!(warning.ends_with(") took 1.000 seconds"), "{warning}");
    Ok(())
}

/// Lets time pass while it is told of bytes.
struct Dawdles(Clock);

impl Protocol for Dawdles {
    fn data_received(&mut self, _transport: &Rc<dyn Transport>, _data: &[u8]) {
        self.0.advance(Duration::from_secs(2));
    }
}

#[test]
fn a_callback_of_a_protocol_that_takes_long_is_named_by_its_transport() -> io::Result<()> {
    let journal = Journal::open();
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    event_loop.set_debug(true);
    let (ours, mut theirs) = UnixStream::pair()?;
    let connection = event_loop.create_connection_sock(|| Dawdles(clock), ours);
    let _transport = event_loop.run_until_complete(connection)??;
    theirs.write_all(b"x")?;
    event_loop.turn(None)?;
    let [warning] = journal
        .of_this_test(Level::Warn)
        .try_into()
        .expect("there is one");
    let warning: String = warning;
    assert!(
        warning.starts_with("Executing Handle(read of <StreamTransport unix fd="),
        "{warning}"
    );
    assert!(warning.ends_with(") took 2.000 seconds"), "{warning}");
    Ok(())
}

#[test]
fn pauses_and_the_end_of_a_connection_are_logged_in_debug_mode_only() -> io::Result<()> {
    let journal = Journal::open();
    let event_loop = EventLoop::new()?;
    for debug in [false, true] {
        event_loop.set_debug(debug);
        let (ours, theirs) = UnixStream::pair()?;
        let connection = event_loop.create_connection_sock(|| Dawdles(Clock::simulated()), ours);
        let transport = event_loop.run_until_complete(connection)??;
        transport.pause_reading();
        transport.resume_reading();
        drop(theirs);
        while !transport.is_closing() {
            event_loop.turn(None)?;
        }
        let logged = journal.of_this_test(Level::Debug);
        let expected: &[&str] = match debug {
            true => &[" pauses reading", " resumes reading", " received EOF"],
            false => &[],
        };
        assert_eq!(logged.len(), expected.len(), "{logged:?}");
        for (line, end) in logged.iter().zip(expected) {
            let named = line.starts_with("<StreamTransport ");
            assert!(named && line.ends_with(end), "{line}");
        }
    }
    Ok(())
}

#[test]
fn clients_and_their_errors_are_logged_in_debug_mode() -> io::Result<()> {
    let journal = Journal::open();
    let event_loop = EventLoop::new()?;
    event_loop.set_debug(true);
    let serving = async {
        let server = start_server(wait_for_bytes, "127.0.0.1", 0).await?;
        let port = server.sockets()[0].port().expect("it is on the internet");
        let client = TcpStream::connect(("127.0.0.1", port))?;
        while server.connection_count() == 0 {
            yield_now().await;
        }
        // So that dropping it makes a reset.
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        drop(client);
        while server.connection_count() > 0 {
            yield_now().await;
        }
        io::Result::Ok(())
    };
    event_loop.run_until_complete(serving)??;
    let logged = journal.of_this_test(Level::Debug).join("\n");
    for words in [
        " accepts a connection from ",
        ": Fatal read error on socket transport: Connection reset by peer",
    ] {
        assert!(logged.contains(words), "no {words} in\n{logged}");
    }
    Ok(())
}

async fn wait_for_bytes(mut reader: StreamReader, _writer: StreamWriter) {
    // How the connection ends is what the log tells.
    let _ = reader.read(1).await;
}

#[test]
fn a_quick_step_is_not_named() -> io::Result<()> {
    let journal = Journal::open();
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    event_loop.set_debug(true);
    event_loop.call_soon(move || clock.advance(Duration::from_millis(99)))?;
    event_loop.turn(None)?;
    assert_eq!(journal.of_this_test(Level::Warn), [""; 0]);
    Ok(())
}

#[test]
fn without_debug_mode_nothing_is_named() -> io::Result<()> {
    let journal = Journal::open();
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    assert!(!event_loop.get_debug());
    event_loop.call_soon(move || clock.advance(Duration::from_secs(1)))?;
    event_loop.turn(None)?;
    assert_eq!(journal.of_this_test(Level::Warn), [""; 0]);
    Ok(())
}

#[test]
fn the_default_exception_handler_logs_one_error() -> io::Result<()> {
    let journal = Journal::open();
    let event_loop = EventLoop::new()?;
    let context = ExceptionContext::new("the mill stopped")
        .transport("T")
        .exception("no water")
        .socket("S");
    event_loop.call_exception_handler(&context);
    event_loop.default_exception_handler(&ExceptionContext::new("again"));
    assert_eq!(
        journal.of_this_test(Level::Error),
        [
            "the mill stopped\nexception: no water\nsocket: S\ntransport: T",
            "again"
        ]
    );
    Ok(())
}

#[test]
fn loop_27_an_exception_handler_that_panics_is_reported_beside_what_it_was_told() -> io::Result<()>
{
    let journal = Journal::open();
    let event_loop = EventLoop::new()?;
    event_loop.set_exception_handler(|_, _| panic!("the handler broke"));
    event_loop.call_exception_handler(&ExceptionContext::new("the mill stopped"));
    assert_eq!(
        journal.of_this_test(Level::Error),
        [
            "the mill stopped",
            "Unhandled error in exception handler\nexception: the handler broke"
        ]
    );
    Ok(())
}

#[test]
fn the_environment_turns_debug_mode_on() -> io::Result<()> {
    const NAME: &str = "the_environment_turns_debug_mode_on";
    const EXPECTED: &str = "MILLSTREAM_TEST_EXPECTED";
    if let Ok(expected) = env::var(EXPECTED) {
        assert_eq!(EventLoop::new()?.get_debug().to_string(), expected);
        return Ok(());
    }
    for (value, expected) in [("1", "true"), ("0", "false"), ("", "false")] {
        let child = Command::new(env::current_exe()?)
            .args(["--exact", NAME])
            .env("MILLSTREAM_DEBUG", value)
            .env(EXPECTED, expected)
            .output()?;
        assert!(
            child.status.success(),
            "MILLSTREAM_DEBUG={value}: {child:?}"
        );
    }
    Ok(())
}

#[test]
fn an_attempt_that_failed_is_logged_though_another_one_connected() -> io::Result<()> {
    /// Knows two addresses, of which nobody serves the first.
    struct TwoAddresses([SocketAddr; 2]);

    impl Resolver for TwoAddresses {
        fn getaddrinfo<'a>(&'a self, _query: &'a HostQuery) -> Resolving<'a> {
            Box::pin(async { Ok(self.0.to_vec()) })
        }
    }

    let journal = Journal::open();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let served = listener.local_addr()?;
    let refused = SocketAddr::from(([255, 255, 255, 255], 9));
    let event_loop = EventLoop::new()?;
    event_loop.set_debug(true);
    event_loop.set_resolver(TwoAddresses([refused, served]));
    event_loop.run_until_complete(async {
        let (_reader, writer) = open_connection("mill.example", 80).await?;
        writer.aclose().await
    })??;
    let logged = journal.of_this_test(Level::Debug);
    let expected = format!("an attempt to connect failed: Connect call failed {refused}: ");
    let count = logged.iter().filter(|l| l.starts_with(&expected)).count();
    assert_eq!(count, 1, "{logged:?}");
    Ok(())
}

#[test]
fn what_resolving_a_name_took_is_logged_and_stands_out_if_it_was_long() -> io::Result<()> {
    /// Takes a fifth of a second for a long name, and no time for others.
    struct SlowForLongNames;

    impl Resolver for SlowForLongNames {
        fn getaddrinfo<'a>(&'a self, query: &'a HostQuery) -> Resolving<'a> {
            Box::pin(async move {
                if query.host.len() > 4 {
                    sleep(Duration::from_millis(200)).await;
                }
                Ok(Vec::new())
            })
        }
    }

    let journal = Journal::open();
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    event_loop.set_debug(true);
    event_loop.set_resolver(SlowForLongNames);
    let handle = event_loop.handle();
    event_loop.run_until_complete(async move {
        handle.getaddrinfo("mill", 80).await?;
        handle.getaddrinfo("watermill", 81).await
    })??;
    assert_eq!(
        journal.of_this_test(Level::Debug),
        ["resolving mill:80 took 0.000 seconds: Ok([])"]
    );
    assert_eq!(
        journal.of_this_test(Level::Info),
        ["resolving watermill:81 took 0.200 seconds: Ok([])"]
    );
    Ok(())
}

// ── the threads ─────────────────────────────────────────────────────────────────

#[test]
fn threads_that_are_not_done_in_time_are_warned_of_and_left_alone() -> io::Result<()> {
    let journal = Journal::open();
    let (release, released) = mpsc::channel::<()>();
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    event_loop.run_until_complete(async move {
        let same = handle.clone();
        let job = create_task(async move {
            let waits = move || released.recv().is_err();
            same.run_in_executor(waits).await
        });
        yield_now().await; // which begins it
        let patience = Some(Duration::from_millis(1));
        handle.shutdown_default_executor(patience).await;
        drop(release);
        assert!(job.await??, "it goes on to its end");
        io::Result::Ok(())
    })??;
    assert_eq!(
        journal.of_this_test(Level::Warn),
        ["the executor's threads were not done within 1ms"]
    );
    Ok(())
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// All that is logged in this process, with the thread that logged it.
#[derive(Default)]
struct Journal(Mutex<Vec<(thread::ThreadId, Level, String)>>);

static JOURNAL: Journal = Journal(Mutex::new(Vec::new()));

impl Journal {
    fn open() -> &'static Journal {
        static OPENED: Once = Once::new();
        OPENED.call_once(|| {
            log::set_logger(&JOURNAL).expect("nobody else sets one");
            log::set_max_level(LevelFilter::Trace);
        });
        &JOURNAL
    }

    /// Each test runs on a thread of its own.
    fn of_this_test(&self, level: Level) -> Vec<String> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = thread::current().id();
        let ours = records
            .iter()
            .filter(|(by, at, _)| (*by, *at) == (own, level));
        ours.map(|(_, _, text)| text.clone()).collect()
    }
}

impl Log for Journal {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let entry = (
            thread::current().id(),
            record.level(),
            record.args().to_string(),
        );
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    fn flush(&self) {}
}
