//! Signals: in this process, and sent to others that run a program of this file.
//!
//! Signals belong to a whole process, and SIGINT to its main thread. So this is a program
//! without a harness: it runs its tests one after the other on the main thread, and is
//! started again by some of them, to be the program that a signal is sent to.

mod programs;

use std::cell::RefCell;
use std::env;
use std::future::{pending, poll_fn};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use millstream::{
    Cancelled, EventLoop, Interrupted, LoopHandle, Runner, Server, Signal, StreamReader,
    StreamWriter, create_future, create_task, current_task, get_running_loop, run, signal, sleep,
    start_server, timeout, yield_now,
};
use signal_hook::consts::{SIGFPE, SIGILL, SIGINT, SIGKILL, SIGSEGV, SIGSTOP, SIGTERM};
use signal_hook::low_level::{pipe, raise};

use programs::{PATIENCE, Program, interruptible};

type Test = fn() -> io::Result<()>;

const TESTS: &[(&str, Test)] = &[
    (
        "run_07_the_first_sigint_cancels_main",
        run_07_the_first_sigint_cancels_main,
    ),
    (
        "run_07_main_is_dropped_and_other_tasks_too",
        run_07_main_is_dropped_and_other_tasks_too,
    ),
    (
        "run_08_the_second_sigint_ends_a_stuck_process",
        run_08_the_second_sigint_ends_a_stuck_process,
    ),
    (
        "a_second_sigint_ends_a_clean_up_that_hangs",
        a_second_sigint_ends_a_clean_up_that_hangs,
    ),
    (
        "run_09_a_handler_is_called_on_the_loop",
        run_09_a_handler_is_called_on_the_loop,
    ),
    (
        "run_11_what_is_no_signal_is_refused",
        run_11_what_is_no_signal_is_refused,
    ),
    (
        "run_13_two_loops_listen_to_one_signal",
        run_13_two_loops_listen_to_one_signal,
    ),
    (
        "run_17_a_signal_ends_the_sleep",
        run_17_a_signal_ends_the_sleep,
    ),
    (
        "ctrl_c_ends_an_echo_server_with_clients_cleanly",
        ctrl_c_ends_an_echo_server_with_clients_cleanly,
    ),
    (
        "sigterm_shuts_a_server_down_gracefully",
        sigterm_shuts_a_server_down_gracefully,
    ),
    (
        "sigint_is_left_alone_where_it_is_to_be",
        sigint_is_left_alone_where_it_is_to_be,
    ),
    (
        "sigint_that_is_ignored_stays_ignored",
        sigint_that_is_ignored_stays_ignored,
    ),
    (
        "sigint_has_its_default_effect_after_run",
        sigint_has_its_default_effect_after_run,
    ),
    (
        "the_end_of_a_run_leaves_sigint_to_other_loops",
        the_end_of_a_run_leaves_sigint_to_other_loops,
    ),
    (
        "a_handler_of_sigint_takes_the_place_of_run",
        a_handler_of_sigint_takes_the_place_of_run,
    ),
    (
        "a_stream_of_sigint_takes_the_place_of_run",
        a_stream_of_sigint_takes_the_place_of_run,
    ),
    (
        "a_removed_handler_leaves_the_default_effect",
        a_removed_handler_leaves_the_default_effect,
    ),
    (
        "a_closed_loop_leaves_the_default_effect",
        a_closed_loop_leaves_the_default_effect,
    ),
    (
        "run_on_another_thread_leaves_sigint_alone",
        run_on_another_thread_leaves_sigint_alone,
    ),
    (
        "a_handler_is_replaced_and_removed",
        a_handler_is_replaced_and_removed,
    ),
    (
        "a_handler_may_replace_and_remove_itself",
        a_handler_may_replace_and_remove_itself,
    ),
    (
        "a_handler_that_panics_is_reported_and_removed",
        a_handler_that_panics_is_reported_and_removed,
    ),
    (
        "a_stream_keeps_what_comes_between_two_calls",
        a_stream_keeps_what_comes_between_two_calls,
    ),
    (
        "streams_and_a_handler_listen_side_by_side",
        streams_and_a_handler_listen_side_by_side,
    ),
    (
        "a_signal_prints_what_the_tasks_wait_for",
        a_signal_prints_what_the_tasks_wait_for,
    ),
    (
        "a_loop_that_does_not_listen_has_no_source",
        a_loop_that_does_not_listen_has_no_source,
    ),
    (
        "a_closed_loop_refuses_and_forgets",
        a_closed_loop_refuses_and_forgets,
    ),
];

/// The programs that the tests start, by name.
const PROGRAMS: &[(&str, Test)] = &[
    ("sleeper", sleeper),
    ("stuck", stuck),
    ("unending_clean_up", unending_clean_up),
    ("echo", echo),
    ("graceful", graceful),
    ("opted_out", opted_out),
    ("sigint_default_after_run", sigint_default_after_run),
    ("own_handler", own_handler),
    ("own_stream", own_stream),
    ("removed", removed),
    ("closed", closed),
    ("on_a_thread", on_a_thread),
    ("inspected", inspected),
];

/// Names the program that this process is to be.
const PROGRAM: &str = "MILLSTREAM_TEST_PROGRAM";

fn main() -> io::Result<()> {
    if let Ok(name) = env::var(PROGRAM) {
        let program = PROGRAMS.iter().find(|(known, _)| *known == name);
        let (_, program) = program.expect("there is such a program");
        return program();
    }
    let mut this = Command::new(env::current_exe()?);
    if let Some(mut again) = interruptible(this.args(env::args_os().skip(1))) {
        return Err(again.exec()); // where a test raised SIGINT, it would wait for ever
    }
    let asked_for = env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let mut failed = false;
    for (name, test) in TESTS {
        if asked_for.as_ref().is_some_and(|part| !name.contains(part)) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(test));
        let passed = matches!(outcome, Ok(Ok(())));
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if let Ok(Err(error)) = outcome {
            println!("{error}");
        }
        failed |= !passed;
    }
    assert!(!failed, "a test failed");
    Ok(())
}

// ── Ctrl-C ──────────────────────────────────────────────────────────────────────

fn run_07_the_first_sigint_cancels_main() -> io::Result<()> {
    let interrupted = run(async {
        get_running_loop()?.call_soon(|| raise(SIGINT).expect("it is a signal"))?;
        sleep(Duration::MAX).await;
        io::Result::Ok(())
    });
    let error = interrupted.expect_err("SIGINT came");
    assert!(Interrupted::is(&error), "{error:?}");
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    assert_eq!(error.to_string(), "interrupted");

    // What cancels itself is not interrupted.
    let cancelled = run(async {
        current_task().expect("main is a task").cancel();
        yield_now().await;
        io::Result::Ok(())
    });
    let error = cancelled.expect_err("it was cancelled");
    assert!(Cancelled::is(&error) && !Interrupted::is(&error));
    Ok(())
}

fn run_07_main_is_dropped_and_other_tasks_too() -> io::Result<()> {
    let mut program = start("sleeper")?;
    program.prints(&["sleeps"])?;
    program.signal("INT")?;
    program.prints(&[
        "main is dropped",
        "the other task is dropped",
        "interrupted",
    ])?;
    program.ends()?.well();
    Ok(())
}

fn sleeper() -> io::Result<()> {
    let interrupted = run(async {
        let _main = Says("main is dropped");
        create_task(async {
            let _other = Says("the other task is dropped");
            pending::<()>().await;
        });
        yield_now().await;
        say("sleeps");
        pending::<()>().await;
        io::Result::Ok(())
    });
    if interrupted.is_err_and(|error| Interrupted::is(&error)) {
        say("interrupted");
    }
    Ok(())
}

fn run_08_the_second_sigint_ends_a_stuck_process() -> io::Result<()> {
    let mut program = start("stuck")?;
    program.prints(&["is stuck"])?;
    program.signal("INT")?;
    program.prints(&["the first has come"])?;
    program.signal("INT")?;
    ends_by(program, SIGINT)
}

fn stuck() -> io::Result<()> {
    run(async {
        // The loop can't tell that the first has come, so somebody else does.
        let (mut rung, bell) = UnixStream::pair()?;
        pipe::register(SIGINT, bell)?;
        thread::spawn(move || {
            rung.read_exact(&mut [0]).expect("the bell is rung");
            say("the first has come");
        });
        say("is stuck");
        thread::sleep(Duration::from_secs(3600));
        io::Result::Ok(())
    })
}

fn a_second_sigint_ends_a_clean_up_that_hangs() -> io::Result<()> {
    let mut program = start("unending_clean_up")?;
    program.prints(&["sleeps"])?;
    program.signal("INT")?;
    program.prints(&["waits for a thread"])?;
    program.signal("INT")?;
    ends_by(program, SIGINT)
}

fn unending_clean_up() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let _main = Says("waits for a thread");
        create_task(async move {
            let forever = || thread::sleep(Duration::from_secs(3600));
            handle.run_in_executor(forever).await
        });
        yield_now().await;
        say("sleeps");
        pending::<io::Result<()>>().await
    })
}

fn ctrl_c_ends_an_echo_server_with_clients_cleanly() -> io::Result<()> {
    let mut program = start("echo")?;
    let mut clients = Vec::new();
    let port = port_of(&program)?;
    for _ in 0..3 {
        let mut client = connect(port)?;
        client.write_all(b"hello\n")?;
        let mut answer = [0; 6];
        client.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello\n");
        clients.push(client);
    }
    program.signal("INT")?;
    program.prints(&[
        "the server's main is dropped",
        "a handler is dropped",
        "a handler is dropped",
        "a handler is dropped",
    ])?;
    for mut client in clients {
        assert_eq!(client.read(&mut [0])?, 0, "the connection is closed");
    }
    let ended = program.ends()?;
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.complaints.contains("Interrupted"), "{ended:?}");
    Ok(())
}

fn echo() -> io::Result<()> {
    run(async {
        let _main = Says("the server's main is dropped");
        let server = start_server(echo_lines, "127.0.0.1", 0).await?;
        say_port(&server);
        server.serve_forever().await
    })
}

async fn echo_lines(reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let _handler = Says("a handler is dropped");
    answer_lines(reader, writer).await
}

async fn answer_lines(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(line);
        writer.drain().await?;
    }
    writer.aclose().await
}

fn sigint_is_left_alone_where_it_is_to_be() -> io::Result<()> {
    let mut program = start("opted_out")?;
    program.prints(&["sleeps"])?;
    program.signal("INT")?;
    ends_by(program, SIGINT)
}

fn opted_out() -> io::Result<()> {
    Runner::new()?.handle_sigint(false).run(async {
        say("sleeps");
        pending::<io::Result<()>>().await
    })
}

fn sigint_that_is_ignored_stays_ignored() -> io::Result<()> {
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        return Ok(()); // only there can it be told
    }
    let this_file = env::current_exe()?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' INT; exec \"$0\""])
        .arg(this_file);
    let mut program = Program::start(shell.env(PROGRAM, "graceful"))?;
    port_of(&program)?;
    program.signal("INT")?;
    program.signal("INT")?;
    program.signal("TERM")?;
    program.prints(&["shuts down", "all clients are gone"])?;
    program.ends()?.well();
    Ok(())
}

fn sigint_has_its_default_effect_after_run() -> io::Result<()> {
    let mut program = start("sigint_default_after_run")?;
    program.prints(&["has run"])?;
    program.signal("INT")?;
    ends_by(program, SIGINT)
}

fn sigint_default_after_run() -> io::Result<()> {
    run(async { io::Result::Ok(()) })?;
    say("has run");
    thread::sleep(Duration::from_secs(3600));
    Ok(())
}

fn a_handler_of_sigint_takes_the_place_of_run() -> io::Result<()> {
    let mut program = start("own_handler")?;
    program.prints(&["listens"])?;
    for _ in 0..3 {
        program.signal("INT")?;
        program.prints(&["its own SIGINT"])?;
    }
    program.signal("TERM")?;
    program.prints(&["default from here"])?;
    program.signal("INT")?;
    ends_by(program, SIGINT)
}

fn own_handler() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        handle.add_signal_handler(Signal::INT, || say("its own SIGINT"))?;
        let mut terms = signal(Signal::TERM)?;
        say("listens");
        terms.recv().await;
        assert!(handle.remove_signal_handler(Signal::INT));
        say("default from here");
        pending::<io::Result<()>>().await
    })
}

fn a_stream_of_sigint_takes_the_place_of_run() -> io::Result<()> {
    let mut program = start("own_stream")?;
    program.prints(&["listens"])?;
    program.signal("INT")?;
    program.prints(&["first"])?;
    program.signal("INT")?;
    program.prints(&["second"])?;
    program.ends()?.well();
    Ok(())
}

fn own_stream() -> io::Result<()> {
    run(async {
        let mut interrupts = signal(SIGINT)?;
        say("listens");
        interrupts.recv().await;
        say("first");
        interrupts.recv().await;
        say("second");
        io::Result::Ok(())
    })
}

fn run_on_another_thread_leaves_sigint_alone() -> io::Result<()> {
    let mut program = start("on_a_thread")?;
    program.prints(&["sleeps"])?;
    program.signal("INT")?;
    ends_by(program, SIGINT)
}

fn on_a_thread() -> io::Result<()> {
    let loop_thread = thread::spawn(|| {
        run(async {
            say("sleeps");
            pending::<io::Result<()>>().await
        })
    });
    loop_thread.join().expect("it does not panic")
}

// ── handlers ────────────────────────────────────────────────────────────────────

fn run_09_a_handler_is_called_on_the_loop() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let calls = Rc::new(RefCell::new(Vec::new()));
    let (noted, handle) = (calls.clone(), event_loop.handle());
    event_loop.add_signal_handler(Signal::USR1, move || {
        let running = get_running_loop().expect("it runs on the loop");
        noted.borrow_mut().push(thread::current().id());
        let stopping = handle.clone();
        running.create_task(async move { stopping.stop() });
    })?;
    let raising = from_a_thread_that_sees_it_sleep(&event_loop, || {
        for _ in 0..3 {
            raise_to_process("USR1");
        }
    });
    event_loop.run_forever()?;
    raising.join().expect("it does not panic");
    let calls = calls.take();
    assert!((1..=3).contains(&calls.len()), "{calls:?}");
    assert!(calls.iter().all(|id| *id == thread::current().id()));
    Ok(())
}

fn run_11_what_is_no_signal_is_refused() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    for (number, message) in [
        (0, "invalid signal number 0"),
        (-1, "invalid signal number -1"),
        (1000, "invalid signal number 1000"),
        (SIGKILL, "sig 9 cannot be caught"),
        (SIGSEGV, "sig 11 cannot be caught"),
    ] {
        let refused = event_loop.add_signal_handler(number, || {});
        let error = refused.expect_err("it is refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), message);
        assert!(event_loop.signal(number).is_err());
        assert!(!event_loop.remove_signal_handler(number));
    }
    for number in [SIGSTOP, SIGILL, SIGFPE] {
        let error = event_loop
            .add_signal_handler(number, || {})
            .expect_err("refused");
        assert_eq!(error.to_string(), format!("sig {number} cannot be caught"));
    }
    if cfg!(target_os = "linux") {
        let error = event_loop
            .add_signal_handler(65, || {})
            .expect_err("refused");
        assert_eq!(error.to_string(), "invalid signal number 65");
        event_loop.add_signal_handler(64, || {})?; // a real-time signal
    }
    event_loop.close()?;
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

fn the_end_of_a_run_leaves_sigint_to_other_loops() -> io::Result<()> {
    let other = EventLoop::new()?;
    let notes = Notes::default();
    let (added, handle) = (notes.clone(), other.handle());
    let ended: io::Result<()> = run(async move {
        added.added_to(&handle, Signal::INT, "heard")?;
        raise(SIGINT)?; // the next one is not to be caught, as long as this runs
        pending().await
    });
    assert!(ended.is_err_and(|error| Interrupted::is(&error)));
    raise_and_turn(&other, &[])?;
    assert_eq!(notes.take(), ["heard"]);
    raise_and_turn(&other, &[Signal::INT])?;
    assert_eq!(notes.take(), ["heard"]);
    Ok(())
}

fn run_13_two_loops_listen_to_one_signal() -> io::Result<()> {
    let (tell, told) = channel();
    let (go_on, goes_on) = channel::<()>();
    let other = thread::spawn(move || -> io::Result<()> {
        let event_loop = EventLoop::new()?;
        let mut signals = event_loop.signal(Signal::USR1)?;
        tell.send("listens").expect("the test goes on");
        event_loop.run_until_complete(async move { signals.recv().await })?;
        tell.send("heard").expect("the test goes on");
        drop(event_loop);
        tell.send("closed").expect("the test goes on");
        goes_on.recv().expect("the test goes on");
        Ok(())
    });
    let next = move || told.recv_timeout(PATIENCE).expect("the other loop goes on");
    let event_loop = EventLoop::new()?;
    let mut signals = event_loop.signal(Signal::USR1)?;
    assert_eq!(next(), "listens");
    raise_to_process("USR1");
    event_loop.run_until_complete(async move {
        signals.recv().await;
        // The other one is closed, which uninstalls nothing of ours.
        assert_eq!((next(), next()), ("heard", "closed"));
        raise_to_process("USR1");
        signals.recv().await;
    })?;
    go_on.send(()).expect("it waits");
    other.join().expect("it does not panic")
}

fn run_17_a_signal_ends_the_sleep() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let stopping = event_loop.handle();
    event_loop.add_signal_handler(Signal::USR2, move || stopping.stop())?;
    let raising = from_a_thread_that_sees_it_sleep(&event_loop, || raise_to_process("USR2"));
    event_loop.run_forever()?; // without a timer: it would sleep for ever
    raising.join().expect("it does not panic");
    Ok(())
}

fn a_handler_is_replaced_and_removed() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let notes = Notes::default();
    notes.added_to(&event_loop, Signal::USR1, "first")?;
    notes.added_to(&event_loop, Signal::USR1, "second")?;
    notes.added_to(&event_loop, Signal::USR2, "other")?;
    raise_and_turn(&event_loop, &[Signal::USR1, Signal::USR2])?;
    assert_eq!(notes.take(), ["second", "other"]);

    // Listened to by somebody, so that it does not end this process.
    let _keeps = event_loop.signal(Signal::USR1)?;
    assert!(event_loop.remove_signal_handler(Signal::USR1));
    assert!(!event_loop.remove_signal_handler(Signal::USR1));
    raise_and_turn(&event_loop, &[Signal::USR1])?;
    assert_eq!(notes.take(), [""; 0]);
    Ok(())
}

fn a_handler_may_replace_and_remove_itself() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let notes = Notes::default();
    let (handle, later) = (event_loop.handle(), notes.clone());
    event_loop.add_signal_handler(Signal::USR1, move || {
        later.note("first");
        later
            .added_to(&handle, Signal::USR1, "second")
            .expect("the loop is open");
    })?;
    raise_and_turn(&event_loop, &[Signal::USR1])?;
    raise_and_turn(&event_loop, &[Signal::USR1])?;
    assert_eq!(notes.take(), ["first", "second"]);

    let handle = event_loop.handle();
    event_loop.add_signal_handler(Signal::USR1, move || {
        assert!(handle.remove_signal_handler(Signal::USR1));
    })?;
    raise_and_turn(&event_loop, &[Signal::USR1])?;
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

fn a_handler_that_panics_is_reported_and_removed() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Rc::new(RefCell::new(Vec::new()));
    let kept = reports.clone();
    event_loop.set_exception_handler(move |_, context| kept.borrow_mut().push(context.clone()));
    event_loop.add_signal_handler(Signal::USR1, || panic!("no water"))?;
    raise_and_turn(&event_loop, &[Signal::USR1])?;
    let [report] = reports.take().try_into().expect("there is one report");
    assert!(
        report
            .message
            .starts_with("Exception in callback signals::a_handler_that_panics"),
        "{report}"
    );
    assert_eq!(report.exception.as_deref(), Some("no water"));
    assert!(!event_loop.remove_signal_handler(Signal::USR1));
    Ok(())
}

fn a_removed_handler_leaves_the_default_effect() -> io::Result<()> {
    let mut program = start("removed")?;
    program.prints(&["listens no more"])?;
    program.signal("TERM")?;
    ends_by(program, SIGTERM)
}

fn removed() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        handle.add_signal_handler(SIGTERM, || {})?;
        handle.remove_signal_handler(SIGTERM);
        say("listens no more");
        pending::<io::Result<()>>().await
    })
}

fn a_closed_loop_leaves_the_default_effect() -> io::Result<()> {
    let mut program = start("closed")?;
    program.prints(&["is closed"])?;
    program.signal("TERM")?;
    ends_by(program, SIGTERM)
}

fn closed() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    event_loop.add_signal_handler(SIGTERM, || {})?;
    event_loop.close()?;
    say("is closed");
    thread::sleep(Duration::from_secs(3600));
    Ok(())
}

fn sigterm_shuts_a_server_down_gracefully() -> io::Result<()> {
    let mut program = start("graceful")?;
    let port = port_of(&program)?;
    let client = connect(port)?;
    let mut client = BufReader::new(client);
    let mut answer = String::new();
    client.get_mut().write_all(b"hello\nbe")?;
    client.read_line(&mut answer)?;
    assert_eq!(answer, "hello\n");
    program.signal("TERM")?;
    program.prints(&["shuts down"])?;

    // What was begun is finished.
    client.get_mut().write_all(b"gun\n")?;
    answer.clear();
    client.read_line(&mut answer)?;
    assert_eq!(answer, "begun\n");
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "it serves no more"
    );
    drop(client);
    program.prints(&["all clients are gone"])?;
    program.ends()?.well();
    Ok(())
}

fn graceful() -> io::Result<()> {
    run(async {
        let server = start_server(answer_lines, "127.0.0.1", 0).await?;
        let mut terms = signal(Signal::TERM)?;
        say_port(&server);
        terms.recv().await;
        server.close();
        say("shuts down");
        server.wait_closed().await;
        say("all clients are gone");
        io::Result::Ok(())
    })
}

// ── streams ─────────────────────────────────────────────────────────────────────

fn a_stream_keeps_what_comes_between_two_calls() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let mut signals = event_loop.signal(Signal::USR1)?;
    event_loop.run_until_complete(async move {
        raise(Signal::USR1.as_raw()).expect("it is a signal");
        raise(Signal::USR1.as_raw()).expect("it is a signal");
        // Until the loop has seen it.
        signals.recv().await;
        let none = timeout(Duration::ZERO, signals.recv()).await;
        assert!(
            none.is_err(),
            "two that came before the loop looked are one"
        );

        raise(Signal::USR1.as_raw()).expect("it is a signal");
        let given_up = timeout(Duration::ZERO, signals.recv()).await;
        assert!(given_up.is_err(), "the loop had no turn to look");
        signals.recv().await;
    })
}

fn streams_and_a_handler_listen_side_by_side() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let notes = Notes::default();
    let mut one = event_loop.signal(Signal::USR1)?;
    let mut two = event_loop.signal(Signal::USR1)?;
    notes.added_to(&event_loop, Signal::USR1, "handler")?;
    event_loop.run_until_complete(async move {
        raise(Signal::USR1.as_raw()).expect("it is a signal");
        one.recv().await;
        two.recv().await;
        drop(one);
        raise(Signal::USR1.as_raw()).expect("it is a signal");
        two.recv().await;
    })?;
    assert_eq!(notes.take(), ["handler", "handler"]);
    Ok(())
}

fn a_signal_prints_what_the_tasks_wait_for() -> io::Result<()> {
    let mut program = start("inspected")?;
    program.prints(&["sleeps"])?;
    program.signal("USR1")?;
    program.signal("TERM")?;
    let ended = program.ends()?;
    assert!(ended.status.success(), "{ended:?}");
    let lines: Vec<&str> = ended.complaints.lines().collect();
    assert_eq!(lines.len(), 4, "{ended:?}");
    assert!(
        lines[0].starts_with("└── (T) Task-1, waiting for "),
        "{ended:?}"
    );
    assert_eq!(lines[1], format!("    ├── signal {SIGTERM}"));
    assert_eq!(lines[2], "    ├── 1 more");
    assert!(lines[3].starts_with("    └── until 3600."), "{ended:?}");
    Ok(())
}

fn inspected() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        handle.print_call_graph_on_signal(Signal::USR1)?;
        let mut terms = signal(Signal::TERM)?;
        say("sleeps");
        let (_promise, future) = create_future::<()>();
        let mut future = pin!(future);
        let waiting = async {
            let mut term = pin!(terms.recv());
            poll_fn(|cx| {
                let polled = term.as_mut().poll(cx);
                assert!(future.as_mut().poll(cx).is_pending());
                polled
            })
            .await;
        };
        let in_time = timeout(Duration::from_secs(3600), waiting).await;
        assert!(in_time.is_ok());
        io::Result::Ok(())
    })
}

fn a_loop_that_does_not_listen_has_no_source() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    assert_eq!(event_loop.census().sources, 0);
    let stream = event_loop.signal(Signal::USR1)?;
    event_loop.add_signal_handler(Signal::USR2, || {})?;
    assert_eq!(event_loop.census().sources, 1);
    drop(stream);
    assert_eq!(event_loop.census().sources, 1);
    assert!(event_loop.remove_signal_handler(Signal::USR2));
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

fn a_closed_loop_refuses_and_forgets() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let stream = event_loop.signal(Signal::USR1)?;
    let held = Rc::new(());
    let handler_holds = held.clone();
    event_loop.add_signal_handler(Signal::USR2, move || drop(handler_holds.clone()))?;
    event_loop.close()?;
    assert_eq!(Rc::strong_count(&held), 1);
    let refused = event_loop.add_signal_handler(Signal::USR2, || {});
    assert_eq!(
        refused.expect_err("closed").to_string(),
        "Event loop is closed"
    );
    assert!(!event_loop.remove_signal_handler(Signal::USR2));
    drop(stream);
    Ok(())
}

// ── tools ───────────────────────────────────────────────────────────────────────

fn start(program: &str) -> io::Result<Program> {
    Program::start(Command::new(env::current_exe()?).env(PROGRAM, program))
}

/// Waits until a program has ended, by a signal.
#[track_caller]
fn ends_by(program: Program, signal: i32) -> io::Result<()> {
    let ended = program.ends()?;
    assert_eq!(ended.status.signal(), Some(signal), "{ended:?}");
    assert!(ended.lines.is_empty(), "{ended:?}");
    Ok(())
}

/// Prints a line at once, though it goes through a pipe.
fn say(line: &str) {
    println!("{line}");
    io::stdout().flush().expect("the test listens");
}

struct Says(&'static str);

impl Drop for Says {
    fn drop(&mut self) {
        say(self.0);
    }
}

fn say_port(server: &Server) {
    let port = server.sockets()[0].port().expect("it is on the internet");
    say(&port.to_string());
}

fn port_of(program: &Program) -> io::Result<u16> {
    program.next_line()?.parse().map_err(io::Error::other)
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let client = TcpStream::connect(("127.0.0.1", port))?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// What callbacks note, in order.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<&'static str>>>);

impl Notes {
    fn note(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }

    fn added_to(&self, handle: &LoopHandle, signal: Signal, what: &'static str) -> io::Result<()> {
        let notes = self.clone();
        handle.add_signal_handler(signal, move || notes.note(what))
    }
}

/// Signals are delivered before `raise` returns; the bell is heard in the first turn, and
/// the handler called in the second.
fn raise_and_turn(event_loop: &EventLoop, signals: &[Signal]) -> io::Result<()> {
    for signal in signals {
        raise(signal.as_raw())?;
    }
    event_loop.turn(None)?;
    event_loop.turn(Some(Duration::ZERO))?;
    Ok(())
}

/// Sends a signal to this process, not to this thread.
fn raise_to_process(name: &str) {
    let pid = std::process::id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.expect("there is a kill").success());
}

/// Calls `f` on another thread once the loop has had its first turn.
fn from_a_thread_that_sees_it_sleep(
    event_loop: &EventLoop,
    f: impl FnOnce() + Send + 'static,
) -> thread::JoinHandle<()> {
    let (tell, told) = channel();
    event_loop
        .call_soon(move || tell.send(()).expect("the thread waits"))
        .expect("the loop is open");
    thread::spawn(move || {
        told.recv().expect("the loop runs");
        f();
    })
}
