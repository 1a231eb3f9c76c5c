//! `run` and `Runner`: a loop for one program, and how it is left.

mod loop_support;

use std::cell::Cell;
use std::future::pending;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::rc::Rc;

use millstream::{
    Cancelled, EventLoop, ExceptionContext, Runner, create_task, current_task, get_running_loop,
    open_connection_sock, run, yield_now,
};

use loop_support::{CountsDrops, OnDrop, Reports};

#[test]
fn run_01_the_value_and_the_error_of_main_come_out() -> io::Result<()> {
    assert_eq!(run(async { io::Result::Ok(42) })?, 42);
    let failed = run(async { Err::<(), _>(io::Error::from(ErrorKind::BrokenPipe)) });
    assert_eq!(
        failed.expect_err("main fails").kind(),
        ErrorKind::BrokenPipe
    );
    Ok(())
}

#[test]
fn main_may_fail_with_an_error_of_its_own() {
    #[derive(Debug, PartialEq)]
    enum Failure {
        NoFlour,
        Io(ErrorKind),
    }
    impl From<io::Error> for Failure {
        fn from(error: io::Error) -> Failure {
            Failure::Io(error.kind())
        }
    }
    assert_eq!(
        run(async { Err::<(), _>(Failure::NoFlour) }),
        Err(Failure::NoFlour)
    );
    let inside = run(async { run(async { Ok::<(), Failure>(()) }) });
    assert_eq!(inside, Err(Failure::Io(ErrorKind::Other)));
}

#[test]
fn run_02_run_inside_a_running_loop_is_refused() -> io::Result<()> {
    let polled = Rc::new(Cell::new(false));
    let polls = polled.clone();
    let answer = run(async move {
        let main = async move {
            polls.set(true);
            io::Result::Ok(())
        };
        let refused = run(main).expect_err("a loop runs");
        assert_eq!(
            refused.to_string(),
            "millstream::run() cannot be called from a running event loop"
        );
        let refused = Runner::new()?.run(async { io::Result::Ok(()) });
        assert_eq!(
            refused.expect_err("a loop runs").to_string(),
            "millstream::run() cannot be called from a running event loop"
        );
        yield_now().await;
        io::Result::Ok("fine")
    })?;
    assert_eq!(answer, "fine");
    assert!(!polled.get());
    Ok(())
}

#[test]
fn run_03_tasks_that_main_leaves_are_dropped_before_run_returns() -> io::Result<()> {
    let drops = Rc::new(Cell::new(0));
    let counted = drops.clone();
    run(async move {
        for _ in 0..3 {
            let counter = CountsDrops(counted.clone());
            create_task(async move {
                let _counter = counter;
                pending::<()>().await;
            });
        }
        yield_now().await;
        io::Result::Ok(())
    })?;
    assert_eq!(drops.get(), 3);
    Ok(())
}

#[test]
fn tasks_are_cancelled_while_the_loop_can_still_be_used() -> io::Result<()> {
    let could = Rc::new(Cell::new(false));
    let noted = could.clone();
    run(async move {
        create_task(async move {
            let _asks = OnDrop::new(move || {
                let handle = get_running_loop().expect("the loop runs");
                noted.set(!handle.is_closed() && handle.call_soon(|| {}).is_ok());
            });
            pending::<()>().await;
        });
        yield_now().await;
        io::Result::Ok(())
    })?;
    assert!(could.get());
    Ok(())
}

#[test]
fn run_04_what_breaks_during_the_clean_up_is_reported_and_changes_no_result() -> io::Result<()> {
    let reports = Reports::default();
    let kept = reports.clone();
    let answer = run(async move {
        kept.listen(&get_running_loop()?);
        create_task(async {
            let _unruly = OnDrop::new(|| panic!("broke while it was dropped"));
            pending::<()>().await;
        });
        create_task(pending::<()>()); // a plain cancellation is not worth a report
        yield_now().await;
        io::Result::Ok(42)
    })?;
    assert_eq!(answer, 42);
    let [report] = reports.take().try_into().expect("there is one report");
    let report: ExceptionContext = report;
    assert_eq!(report.message, "unhandled exception during run() shutdown");
    assert_eq!(
        report.exception.as_deref(),
        Some("broke while it was dropped")
    );
    assert_eq!(report.task.as_deref(), Some("Task-2"));
    Ok(())
}

#[test]
fn run_06_a_runner_is_closed_once_and_refuses_afterwards() -> io::Result<()> {
    let runner = Runner::new()?;
    assert_eq!(runner.run(async { io::Result::Ok(1) })?, 1);
    runner.close()?;
    runner.close()?;
    assert!(runner.get_loop().is_closed());
    let refused = runner.run(async { io::Result::Ok(2) });
    let error = refused.expect_err("the runner is closed");
    assert_eq!(error.to_string(), "Event loop is closed");
    Ok(())
}

#[test]
fn a_runner_keeps_its_loop_and_its_tasks_from_run_to_run() -> io::Result<()> {
    let runner = Runner::on(EventLoop::new()?);
    let steps = Rc::new(Cell::new(0));
    let counted = steps.clone();
    runner.run(async move {
        create_task(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        io::Result::Ok(())
    })?;
    let after_one = steps.get();
    runner.run(async {
        yield_now().await;
        io::Result::Ok(())
    })?;
    assert!(steps.get() > after_one);
    drop(runner);
    assert_eq!(
        Rc::strong_count(&steps),
        1,
        "the task is gone with its runner"
    );
    Ok(())
}

#[test]
fn a_main_that_cancels_itself_is_told_as_cancelled() {
    let cancelled = run(async {
        current_task().expect("main is a task").cancel();
        yield_now().await;
        io::Result::Ok(())
    });
    assert!(cancelled.is_err_and(|error| Cancelled::is(&error)));
}

#[test]
fn run_19_run_returns_with_connections_open_and_bytes_unsent() -> io::Result<()> {
    const UNSENT: usize = 1 << 20;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        pairs.push(UnixStream::pair()?);
    }
    let (ours, peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let kept_open = run(async move {
        let mut open = Vec::new();
        for socket in ours {
            let (reader, writer) = open_connection_sock(socket).await?;
            writer.write(vec![0; UNSENT]);
            open.push((reader, writer));
        }
        yield_now().await;
        io::Result::Ok(open)
    })?;
    for mut peer in peers {
        let mut received = Vec::new();
        let ended = peer.read_to_end(&mut received);
        assert!(ended.is_ok(), "the other end is closed: {ended:?}");
        assert!(received.len() < UNSENT, "what was unsent is dropped");
    }
    for (_reader, writer) in kept_open {
        writer.write(b"harmless"); // and so is dropping it
    }
    Ok(())
}

#[test]
fn run_20_a_panic_of_main_goes_on_after_the_clean_up() -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let panicked = catch_unwind(move || {
        run(async move {
            let (_reader, _writer) = open_connection_sock(ours).await?;
            if true {
                panic!("the wheel broke");
            }
            io::Result::Ok(())
        })
    });
    let panic = panicked.expect_err("main panics");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the wheel broke"));
    assert_eq!(theirs.read(&mut [0])?, 0, "the socket is closed");
    assert!(get_running_loop().is_err());
    assert_eq!(run(async { io::Result::Ok(42) })?, 42);
    Ok(())
}

// ── tools ───────────────────────────────────────────────────────────────────────
