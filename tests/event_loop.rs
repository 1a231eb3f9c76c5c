//! The event loop: what runs in which turn, and what happens when something goes wrong.

mod loop_support;

use std::cell::{Cell, RefCell};
use std::env;
use std::fs::File;
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use millstream::{
    Clock, EventLoop, ExceptionContext, JoinError, LoopError, LoopHandle, Protocol, Socket,
    Transport, create_future, create_task, current_task, get_running_loop, memory_transport_pair,
    new_event_loop, open_connection_sock, sleep, yield_now,
};

use loop_support::{CountsDrops, OnDrop, Reports};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Turns after which a poll has taken place, whatever else there is to do (D26).
const TURNS_WITHOUT_POLL: usize = 256;

// ── the order of callbacks ──────────────────────────────────────────────────────

#[test]
fn loop_01_callbacks_run_once_each_in_the_order_they_came_in() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    event_loop.call_soon(trace.notes("A"))?;
    event_loop.call_soon(trace.notes("B"))?;
    event_loop.call_soon(trace.notes("C"))?;
    run_until_idle(&event_loop)?;
    trace.expects(&["A", "B", "C"]);
    Ok(())
}

#[test]
fn loop_02_a_callback_queued_by_a_callback_runs_in_the_next_turn() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let (handle, noted) = (event_loop.handle(), trace.clone());
    event_loop.call_soon(move || {
        noted.note("A");
        handle
            .call_soon(noted.notes("B"))
            .expect("the loop is open");
    })?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["A"]);
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["B"]);
    Ok(())
}

#[test]
fn loop_02_a_chain_of_callbacks_takes_a_turn_each_and_lets_a_socket_in_between() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let left = Rc::new(Cell::new(1000));
    link_of_chain(&event_loop, left.clone());
    let (ours, theirs) = UnixStream::pair()?;
    let read_when = read_one_byte(&event_loop, ours, {
        let left = left.clone();
        move || left.get()
    })?;
    (&theirs).write_all(b"x")?;

    let mut turns = 0;
    while left.get() > 0 {
        event_loop.turn(AT_ONCE)?;
        turns += 1;
    }
    assert_eq!(turns, 1000);
    let left_then = read_when
        .get()
        .expect("the socket was served during the chain");
    assert!(
        left_then >= 1000 - TURNS_WITHOUT_POLL,
        "{left_then} were left"
    );
    Ok(())
}

#[test]
fn loop_03_a_callback_that_queues_itself_for_ever_does_not_keep_a_socket_waiting() -> io::Result<()>
{
    let event_loop = EventLoop::new()?;
    event_loop.turn(AT_ONCE)?; // a poll has just taken place: the next may be skipped
    let turns = Rc::new(Cell::new(0));
    requeues_itself(event_loop.handle());
    let (ours, theirs) = UnixStream::pair()?;
    let read_when = read_one_byte(&event_loop, ours, {
        let turns = turns.clone();
        move || turns.get()
    })?;
    (&theirs).write_all(b"x")?;
    for turn in 1..=300 {
        turns.set(turn);
        event_loop.turn(AT_ONCE)?;
    }
    let turn = read_when.get().expect("the socket was served");
    assert!(turn <= TURNS_WITHOUT_POLL, "it was served in turn {turn}");
    Ok(())
}

#[test]
fn loop_04_a_cancelled_callback_does_not_run() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let cancelled = event_loop.call_soon(trace.notes("cancelled"))?;
    let other = event_loop.call_soon(trace.notes("other"))?;
    cancelled.cancel();
    assert!(cancelled.cancelled());
    run_until_idle(&event_loop)?;
    trace.expects(&["other"]);
    other.cancel();
    assert!(!other.cancelled(), "it ran before");
    Ok(())
}

#[test]
fn loop_04_cancelling_drops_the_callback_at_once() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let held = Rc::new(());
    let callback_holds = held.clone();
    let handle = event_loop.call_soon(move || drop(callback_holds))?;
    handle.cancel();
    assert_eq!(Rc::strong_count(&held), 1);
    Ok(())
}

#[test]
fn loop_05_a_callback_that_is_in_the_running_batch_can_be_cancelled() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let victim = Rc::new(RefCell::new(None::<millstream::Handle>));
    let (known, noted) = (victim.clone(), trace.clone());
    event_loop.call_soon(move || {
        noted.note("A");
        let handle = known.borrow_mut().take().expect("B was queued behind A");
        handle.cancel();
    })?;
    victim.replace(Some(event_loop.call_soon(trace.notes("B"))?));
    event_loop.call_soon(trace.notes("C"))?;
    run_until_idle(&event_loop)?;
    trace.expects(&["A", "C"]);
    Ok(())
}

#[test]
fn io_comes_after_what_was_left_over_and_before_timers() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let trace = Trace::default();
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    let (noted, handle, fd) = (trace.clone(), event_loop.handle(), ours.as_raw_fd());
    event_loop.add_reader(fd, move || {
        noted.note("I/O");
        handle.remove_reader(fd).expect("nobody else owns it");
    })?;
    event_loop.call_later(Duration::ZERO, trace.notes("timer"))?;
    let noted = trace.clone();
    // The first turn's poll may be skipped (D26), but not if nothing else is queued.
    event_loop.turn(AT_ONCE)?;
    noted.expects(&["I/O", "timer"]);
    event_loop.call_later(Duration::ZERO, trace.notes("timer"))?;
    event_loop.call_soon(trace.notes("left over"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["left over", "timer"]);
    Ok(())
}

// ── stop, run, close ────────────────────────────────────────────────────────────

#[test]
fn loop_06_stop_before_run_forever_gives_exactly_one_turn() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let (handle, noted) = (event_loop.handle(), trace.clone());
    event_loop.call_soon(move || {
        noted.note("first");
        handle
            .call_soon(noted.notes("second"))
            .expect("the loop is open");
    })?;
    event_loop.stop();
    event_loop.run_forever()?;
    trace.expects(&["first"]);
    event_loop.stop();
    event_loop.run_forever()?;
    trace.expects(&["second"]);
    Ok(())
}

#[test]
fn c_12_what_is_queued_beside_stop_waits_for_the_next_run() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let (handle, noted) = (event_loop.handle(), trace.clone());
    event_loop.call_soon(move || {
        noted.note("a");
        handle
            .call_soon(noted.notes("b"))
            .expect("the loop is open");
        handle.stop();
    })?;
    event_loop.call_soon(trace.notes("c"))?;
    event_loop.run_forever()?;
    trace.expects(&["a", "c"]);
    event_loop.stop();
    event_loop.run_forever()?;
    trace.expects(&["b"]);
    Ok(())
}

#[test]
fn loop_07_a_readable_descriptor_is_told_once_per_run() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    let calls = Rc::new(Cell::new(0));
    let (counted, handle) = (calls.clone(), event_loop.handle());
    event_loop.add_reader(ours.as_raw_fd(), move || {
        counted.set(counted.get() + 1);
        handle.stop();
    })?;
    event_loop.run_forever()?;
    assert_eq!(calls.get(), 1);
    event_loop.run_forever()?; // the byte is still there
    assert_eq!(calls.get(), 2);
    (&ours).read_exact(&mut [0])?;
    event_loop.stop();
    event_loop.run_forever()?;
    assert_eq!(calls.get(), 2, "the byte is gone");
    Ok(())
}

#[test]
fn loop_09_a_loop_stopped_too_early_says_so() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let went_on = Rc::new(Cell::new(false));
    let goes_on = went_on.clone();
    let stopped = event_loop.run_until_complete(async move {
        get_running_loop().expect("this is a task").stop();
        yield_now().await;
        goes_on.set(true);
    });
    let error = stopped.expect_err("the future was not complete");
    assert_eq!(
        error.to_string(),
        "Event loop stopped before Future completed."
    );
    assert!(is(&error, LoopError::StoppedEarly));
    assert!(!went_on.get());
    run_until_idle(&event_loop)?;
    assert!(went_on.get(), "the task goes on in the next run");
    Ok(())
}

#[test]
fn a_future_that_stops_the_loop_and_is_complete_gives_its_value() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let value = event_loop.run_until_complete(async {
        get_running_loop().expect("this is a task").stop();
        42
    })?;
    assert_eq!(value, 42);
    Ok(())
}

#[test]
fn what_the_last_step_queues_still_runs() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let noted = trace.clone();
    event_loop.run_until_complete(async move {
        let handle = get_running_loop().expect("this is a task");
        handle
            .call_soon(noted.notes("callback"))
            .expect("the loop is open");
        create_task(async move {
            noted.note("first step of a task");
            yield_now().await;
            noted.note("second step");
        });
    })?;
    trace.expects(&["callback", "first step of a task"]);
    Ok(())
}

#[test]
fn loop_10_a_closed_loop_refuses_everything_and_closes_again() -> io::Result<()> {
    let event_loop = new_event_loop()?;
    let remote = event_loop.remote();
    let fd = std::io::stdin().as_raw_fd();
    event_loop.close()?;
    event_loop.close()?;
    assert!(event_loop.is_closed());

    let nothing = || {};
    assert_eq!(event_loop.call_soon(nothing).err(), Some(LoopError::Closed));
    let later = event_loop.call_later(Duration::ZERO, nothing);
    assert_eq!(later.err(), Some(LoopError::Closed));
    let at = event_loop.call_at(Duration::ZERO, nothing);
    assert_eq!(at.err(), Some(LoopError::Closed));
    assert_eq!(
        event_loop.call_soon_threadsafe(nothing),
        Err(LoopError::Closed)
    );
    assert_eq!(remote.call_soon_threadsafe(nothing), Err(LoopError::Closed));
    assert_eq!(remote.stop_threadsafe(), Err(LoopError::Closed));
    assert_says_closed(event_loop.run_forever());
    assert_says_closed(event_loop.run_until_complete(async {}));
    assert_says_closed(event_loop.turn(AT_ONCE));
    assert_says_closed(event_loop.add_reader(fd, nothing));
    assert_says_closed(event_loop.add_writer(fd, nothing));
    assert_says_closed(event_loop.poller_fd());
    assert!(!event_loop.remove_reader(fd)?);
    assert!(!event_loop.remove_writer(fd)?);
    Ok(())
}

#[test]
fn loop_10_a_task_for_a_closed_loop_is_cancelled_from_the_start() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    event_loop.close()?;
    let held = Rc::new(());
    let future_holds = held.clone();
    let task = event_loop.create_task(async move { drop(future_holds) });
    assert_eq!(Rc::strong_count(&held), 1, "the future is dropped");
    assert!(task.cancelled());
    assert!(!task.cancel(), "there is nothing left to cancel");
    assert!(matches!(
        poll_once(task),
        Poll::Ready(Err(JoinError::Cancelled))
    ));
    Ok(())
}

#[test]
fn loop_11_a_running_loop_can_not_be_closed() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let refused = event_loop.run_until_complete(async move {
        let refused = handle.close();
        yield_now().await;
        refused
    })?;
    let error = refused.expect_err("the loop runs");
    assert_eq!(error, LoopError::CloseWhileRunning);
    assert_eq!(error.to_string(), "Cannot close a running event loop");
    assert!(!event_loop.is_closed());
    event_loop.close()?;
    Ok(())
}

#[test]
fn a_running_loop_can_not_be_run() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    assert!(!handle.is_running());
    event_loop.run_until_complete(async move {
        assert!(handle.is_running());
        for refused in [
            handle.run_forever(),
            handle.run_until_complete(async {}),
            handle.turn(AT_ONCE).map(drop),
        ] {
            let error = refused.expect_err("the loop runs");
            assert!(is(&error, LoopError::AlreadyRunning));
            assert_eq!(error.to_string(), "This event loop is already running");
        }
    })
}

#[test]
fn two_loops_can_not_run_on_one_thread() -> io::Result<()> {
    let (outer, inner) = (EventLoop::new()?, EventLoop::new()?);
    outer.run_until_complete(async move {
        for refused in [inner.run_forever(), inner.run_until_complete(async {})] {
            let error = refused.expect_err("another loop runs");
            assert!(is(&error, LoopError::AnotherIsRunning));
            assert_eq!(
                error.to_string(),
                "Cannot run the event loop while another loop is running"
            );
        }
        assert!(!inner.is_running());
        inner.close()
    })??;
    Ok(())
}

#[test]
fn a_task_shows_its_name_and_how_it_ended() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let _reports = Reports::of(&event_loop);
    let finishes = event_loop.create_task(async {});
    let panics = event_loop.create_task(async { panic!("it breaks") });
    let cancelled = event_loop.create_task(pending::<()>());
    let refs = event_loop.all_tasks();
    assert_eq!(
        format!("{refs:?}"),
        "[Task(Task-1, pending), Task(Task-2, pending), Task(Task-3, pending)]"
    );
    cancelled.cancel();
    event_loop.turn(AT_ONCE)?;
    let tasks = format!("{finishes:?} {panics:?} {cancelled:?}");
    assert_eq!(
        tasks,
        "Task(Task-1, finished) Task(Task-2, panicked) Task(Task-3, cancelled)"
    );
    assert_eq!(format!("{:?}", refs[1]), "Task(Task-2, panicked)");
    Ok(())
}

#[test]
fn without_a_running_loop_there_is_none_to_get() -> io::Result<()> {
    let error = get_running_loop().expect_err("none runs");
    assert_eq!(error, LoopError::NoneRunning);
    assert_eq!(error.to_string(), "no running event loop");

    let event_loop = EventLoop::new()?;
    let running = event_loop.run_until_complete(async { get_running_loop() })?;
    assert!(running?.time() <= event_loop.time());
    assert!(get_running_loop().is_err(), "it ran until then");
    Ok(())
}

#[test]
fn what_needs_a_loop_panics_with_the_same_text() {
    let panic = std::panic::catch_unwind(|| create_task(async {})).expect_err("none runs");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    assert_eq!(text, Some("no running event loop"));
}

#[test]
fn the_other_loop_errors_read_as_in_asyncio() {
    let texts = [
        (LoopError::Closed, "Event loop is closed"),
        (
            LoopError::RunInsideLoop,
            "millstream::run() cannot be called from a running event loop",
        ),
        (
            LoopError::ExecutorShutDown,
            "Executor shutdown has been called",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
        assert_eq!(io::Error::from(error).to_string(), text);
    }
}

// ── turn: a loop inside another one ─────────────────────────────────────────────

#[test]
fn turn_says_how_long_the_loop_may_sleep() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    assert_eq!(event_loop.turn(AT_ONCE)?, None, "only I/O can wake it");
    event_loop.call_later(Duration::from_secs(7), || {})?;
    assert_eq!(event_loop.turn(AT_ONCE)?, Some(Duration::from_secs(7)));
    let handle = event_loop.handle();
    event_loop.call_soon(move || {
        handle.call_soon(|| {}).expect("the loop is open");
    })?;
    assert_eq!(event_loop.turn(AT_ONCE)?, AT_ONCE, "work is left");
    assert_eq!(event_loop.turn(AT_ONCE)?, Some(Duration::from_secs(7)));
    event_loop.remote().call_soon_threadsafe(|| {})?;
    assert_eq!(event_loop.turn(AT_ONCE)?, Some(Duration::from_secs(7)));
    Ok(())
}

#[test]
fn turn_sleeps_no_longer_than_it_may() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let pause = Duration::from_millis(10);
    let began = Instant::now();
    event_loop.turn(Some(pause))?;
    assert!(began.elapsed() >= pause);
    event_loop.call_later(pause, || {})?;
    // The timer ends the sleep, or this test would last for an hour.
    event_loop.turn(Some(Duration::from_secs(3600)))?;
    assert!(began.elapsed() >= 2 * pause);
    Ok(())
}

#[test]
fn stop_does_not_outlive_a_turn() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    event_loop.stop();
    assert_eq!(
        event_loop.turn(None)?,
        None,
        "a stop that is due keeps it awake"
    );
    let two_turns = event_loop.run_until_complete(async {
        yield_now().await;
        "complete"
    })?;
    assert_eq!(two_turns, "complete");
    Ok(())
}

#[test]
fn a_turn_nests_in_a_step_of_another_loop() -> io::Result<()> {
    let (outer, inner) = (EventLoop::new()?, EventLoop::new()?);
    outer.set_debug(false);
    inner.set_debug(true);
    let trace = Trace::default();
    let noted = trace.clone();
    inner.create_task(async move {
        assert!(get_running_loop().expect("the inner one").get_debug());
        assert_eq!(
            current_task().map(|task| task.get_name()).as_deref(),
            Some("inner")
        );
        noted.note("inner");
    });
    inner.all_tasks()[0].set_name("inner");
    let noted = trace.clone();
    let main = async move {
        current_task().expect("this is a task").set_name("outer");
        noted.note("before");
        inner.turn(AT_ONCE).expect("it is not running");
        noted.note("after");
        assert!(!get_running_loop().expect("the outer one").get_debug());
        assert_eq!(
            current_task().map(|task| task.get_name()).as_deref(),
            Some("outer")
        );
    };
    outer.run_until_complete(main)?;
    trace.expects(&["before", "inner", "after"]);
    Ok(())
}

#[test]
fn a_wake_for_the_outer_loop_from_inside_the_inner_one_is_not_lost() -> io::Result<()> {
    let (outer, inner) = (EventLoop::new()?, EventLoop::new()?);
    let answer = outer.run_until_complete(async move {
        let (promise, future) = create_future();
        inner.create_task(async move { promise.set_result(42) });
        create_task(async move { inner.turn(AT_ONCE) });
        future.await
    })?;
    assert_eq!(answer, Ok(42));
    Ok(())
}

#[cfg(not(mio_unsupported_force_poll_poll))]
#[test]
fn another_loop_can_watch_the_poller() -> io::Result<()> {
    let (outer, inner) = (EventLoop::new()?, EventLoop::new()?);
    let (ours, theirs) = UnixStream::pair()?;
    let lines = Rc::new(RefCell::new(Vec::new()));
    let kept = lines.clone();
    let reading = inner.create_task(async move {
        let (mut reader, _writer) = open_connection_sock(ours).await?;
        while let Some(line) = reader.next_line().await? {
            kept.borrow_mut().push(line);
        }
        io::Result::Ok(())
    });
    while inner.turn(AT_ONCE)? == AT_ONCE {}
    let remote = inner.remote();
    let poller = inner.poller_fd()?;
    outer.add_reader(poller.as_raw_fd(), move || {
        while inner.turn(AT_ONCE).expect("it is not running") == AT_ONCE {}
    })?;
    let (told, heard) = mpsc::channel();
    let writing = thread::spawn(move || {
        (&theirs).write_all(b"one\n")?;
        for _ in 0..100 {
            let told = told.clone();
            remote.call_soon_threadsafe(move || told.send(()).expect("somebody listens"))?;
            heard.recv().expect("the inner loop runs what was sent");
        }
        (&theirs).write_all(b"two\n")
    });
    outer
        .run_until_complete(reading)?
        .map_err(io::Error::from)??;
    writing.join().expect("the thread does not panic")?;
    assert_eq!(*lines.borrow(), [b"one\n".to_vec(), b"two\n".to_vec()]);
    Ok(())
}

#[cfg(mio_unsupported_force_poll_poll)]
#[test]
fn the_poll_back_end_has_no_descriptor_to_watch() -> io::Result<()> {
    let error = EventLoop::new()?.poller_fd().expect_err("poll(2) has none");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    Ok(())
}

// ── watched descriptors ─────────────────────────────────────────────────────────

#[test]
fn loop_12_watchers_are_added_replaced_and_removed() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    let fd = ours.as_raw_fd();
    let trace = Trace::default();

    assert!(!event_loop.remove_reader(fd)?);
    event_loop.add_reader(fd, trace.notes_each("replaced"))?;
    event_loop.add_reader(fd, trace.notes_each("reader"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["reader"]);

    event_loop.add_writer(fd, trace.notes_each("writer"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["reader", "writer"]);

    assert!(event_loop.remove_reader(fd)?);
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["writer"]);
    assert_eq!(event_loop.census().sources, 1);

    assert!(event_loop.remove_writer(fd)?);
    assert!(!event_loop.remove_writer(fd)?);
    assert!(!event_loop.remove_reader(fd)?);
    event_loop.turn(AT_ONCE)?;
    trace.expects(&[]);
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

#[test]
fn a_watcher_is_called_each_turn_while_the_descriptor_is_ready() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"abc")?;
    let calls = Rc::new(Cell::new(0));
    let (counted, reads) = (calls.clone(), ours.try_clone()?);
    event_loop.add_reader(ours.as_raw_fd(), move || {
        (&reads).read_exact(&mut [0]).expect("it is readable");
        counted.set(counted.get() + 1);
    })?;
    for turn in 1..=3 {
        event_loop.turn(AT_ONCE)?;
        assert_eq!(calls.get(), turn);
    }
    event_loop.turn(AT_ONCE)?;
    assert_eq!(calls.get(), 3, "nothing is left to read");
    (&theirs).write_all(b"d")?;
    event_loop.turn(None)?;
    assert_eq!(calls.get(), 4);
    Ok(())
}

#[test]
fn a_watcher_may_replace_and_remove_itself() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    let fd = ours.as_raw_fd();
    let trace = Trace::default();
    let (handle, noted) = (event_loop.handle(), trace.clone());
    event_loop.add_reader(fd, move || {
        noted.note("first");
        let (removes, again) = (handle.clone(), noted.clone());
        let second = move || {
            again.note("second");
            removes.remove_reader(fd).expect("no transport owns it");
        };
        handle.add_reader(fd, second).expect("no transport owns it");
    })?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["first"]);
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["second"]);
    event_loop.turn(AT_ONCE)?;
    trace.expects(&[]);
    Ok(())
}

#[test]
fn a_hang_up_wakes_reader_and_writer() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    let fd = ours.as_raw_fd();
    fill(&ours)?;
    let trace = Trace::default();
    event_loop.add_reader(fd, trace.notes_each("reader"))?;
    event_loop.add_writer(fd, trace.notes_each("writer"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&[]);
    drop(theirs);
    event_loop.turn(None)?;
    trace.expects(&["reader", "writer"]);
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["reader", "writer"]);
    Ok(())
}

#[test]
fn a_panic_ends_the_watcher_and_leaves_the_other_direction() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    let fd = ours.as_raw_fd();
    let trace = Trace::default();
    event_loop.add_reader(fd, || panic!("the reader broke"))?;
    event_loop.add_writer(fd, trace.notes_each("writer"))?;
    event_loop.turn(AT_ONCE)?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["writer", "writer"]);
    let [report] = reports.take().try_into().expect("there is one");
    assert_eq!(report.exception.as_deref(), Some("the reader broke"));
    let name = "event_loop::a_panic_ends_the_watcher_and_leaves_the_other_direction";
    let message = format!("Exception in callback {name}");
    assert!(report.message.starts_with(&message), "{report}");
    let handle = report.handle.unwrap_or_default();
    assert!(handle.starts_with(&format!("Handle({name}")), "{handle}");
    assert!(!event_loop.remove_reader(fd)?, "the panic removed it");
    assert!(event_loop.remove_writer(fd)?);
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

#[test]
fn a_watcher_that_panicked_alone_leaves_nothing_registered() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    let fd = ours.as_raw_fd();
    event_loop.add_reader(fd, || panic!("the reader broke"))?;
    event_loop.turn(AT_ONCE)?;
    assert_eq!(reports.exceptions(), ["the reader broke"]);
    assert_eq!(event_loop.census().sources, 0);

    let trace = Trace::default();
    event_loop.add_reader(fd, trace.notes_each("another"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["another"]);
    Ok(())
}

#[test]
fn loop_13_a_watcher_cancelled_after_the_poll_is_not_called() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (one, other) = (readable()?, readable()?);
    let trace = Trace::default();
    // Both are ready in the same poll: whichever comes first removes the other.
    for (this, that) in [(&one, &other), (&other, &one)] {
        let (noted, handle, that) = (trace.clone(), event_loop.handle(), that.0.as_raw_fd());
        event_loop.add_reader(this.0.as_raw_fd(), move || {
            noted.note("called");
            handle.remove_reader(that).expect("no transport owns it");
        })?;
    }
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["called"]);
    assert_eq!(event_loop.census().sources, 1);
    Ok(())
}

#[test]
fn loop_15_a_transports_descriptor_can_not_be_watched() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    event_loop.run_until_complete(async move {
        let handle = get_running_loop()?;
        let (mut reader, writer) = open_connection_sock(ours).await?;
        let fd = writer.get_extra_info(Socket).expect("it has a socket").fd;
        let refusals = [
            handle.add_reader(fd, || {}),
            handle.add_writer(fd, || {}),
            handle.remove_reader(fd).map(drop),
            handle.remove_writer(fd).map(drop),
        ];
        for refused in refusals {
            let error = refused.expect_err("the transport owns it");
            let text = format!(
                "File descriptor {fd} is used by transport {:?}",
                writer.transport()
            );
            assert_eq!(error.to_string(), text);
        }
        (&theirs).write_all(b"still works\n")?;
        assert_eq!(reader.readline().await?, b"still works\n");
        writer.aclose().await
    })?
}

#[test]
fn loop_35_a_regular_file_can_not_be_watched() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let file = File::open(env::current_exe()?)?;
    let watched = event_loop.add_reader(file.as_raw_fd(), || {});
    if cfg!(any(target_os = "linux", target_os = "android"))
        && !cfg!(mio_unsupported_force_poll_poll)
    {
        let error = watched.expect_err("epoll refuses regular files");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(event_loop.census().sources, 0);
        assert!(!event_loop.remove_reader(file.as_raw_fd())?);
    } else {
        watched?; // to kqueue and to poll(2), a file is always ready
    }
    Ok(())
}

// ── the sleep, and what ends it ─────────────────────────────────────────────────

#[test]
fn loop_19_an_idle_loop_sleeps_and_burns_nothing() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    event_loop.turn(AT_ONCE)?;
    let (began, burnt) = (Instant::now(), own_cpu_time());
    event_loop.turn(Some(Duration::from_millis(100)))?;
    assert!(began.elapsed() >= Duration::from_millis(100));
    if let (Some(before), Some(after)) = (burnt, own_cpu_time()) {
        // One that spins burns all of it.
        let burnt = after - before;
        assert!(burnt < Duration::from_millis(25), "{burnt:?}");
    }
    Ok(())
}

#[test]
fn loop_20_another_thread_ends_the_sleep() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let own_thread = thread::current().id();
    let remote = event_loop.remote();
    let (told, heard) = mpsc::channel();
    let other = thread::spawn(move || {
        // Each answer comes from a loop that has no timer and nothing else to wake it.
        for _ in 0..200 {
            let told = told.clone();
            let callback = move || told.send(thread::current().id()).expect("we wait for it");
            remote.call_soon_threadsafe(callback)?;
            let ran_on = heard.recv().expect("the loop runs what was sent");
            assert_eq!(ran_on, own_thread);
        }
        remote.stop_threadsafe()
    });
    event_loop.run_forever()?;
    other.join().expect("the thread does not panic")?;
    Ok(())
}

#[test]
fn loop_21_a_hundred_thousand_wakes_run_in_order_and_leave_the_loop_asleep() -> io::Result<()> {
    const EACH: usize = 50_000;
    let event_loop = EventLoop::new()?;
    let ran = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let senders: Vec<_> = (0..2)
        .map(|sender| {
            let (remote, ran) = (event_loop.remote(), ran.clone());
            thread::spawn(move || {
                for nth in 0..EACH {
                    let ran = ran.clone();
                    remote.call_soon_threadsafe(move || {
                        assert_eq!(ran[sender].swap(nth + 1, Ordering::Relaxed), nth);
                    })?;
                }
                Ok::<(), LoopError>(())
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("the thread does not panic")?;
    }
    let reports = Reports::of(&event_loop);
    run_until_idle(&event_loop)?;
    assert!(reports.is_empty(), "they ran in order");
    assert_eq!(ran[0].load(Ordering::Relaxed), EACH);
    assert_eq!(ran[1].load(Ordering::Relaxed), EACH);
    let began = Instant::now();
    event_loop.turn(Some(Duration::from_millis(20)))?;
    assert!(
        began.elapsed() >= Duration::from_millis(20),
        "nothing rings any more"
    );
    Ok(())
}

#[test]
fn a_loop_sends_itself_a_threadsafe_callback() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    event_loop.call_soon(move || {
        let stops = handle.remote();
        handle
            .call_soon_threadsafe(move || stops.stop_threadsafe().expect("the loop is open"))
            .expect("the loop is open");
    })?;
    event_loop.run_forever()
}

#[test]
fn a_refused_threadsafe_callback_is_dropped() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let remote = event_loop.remote();
    event_loop.close()?;
    let held = Arc::new(());
    let callback_holds = held.clone();
    let refused = remote.call_soon_threadsafe(move || drop(callback_holds));
    assert_eq!(refused, Err(LoopError::Closed));
    assert_eq!(Arc::strong_count(&held), 1);
    Ok(())
}

#[test]
fn loop_23_a_waker_may_be_woken_while_its_loop_is_dropped() -> io::Result<()> {
    for _ in 0..100 {
        let event_loop = EventLoop::new()?;
        let (give, take) = mpsc::channel::<Waker>();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let (woke, first_wake) = mpsc::channel();
        let waking = thread::spawn(move || {
            let waker = take.recv().expect("the task sends its waker");
            waker.wake_by_ref();
            woke.send(()).expect("the loop's thread waits for it");
            while !is_over.load(Ordering::Relaxed) {
                waker.wake_by_ref();
            }
        });
        event_loop.create_task(poll_fn(move |cx| {
            let _ = give.send(cx.waker().clone());
            Poll::<()>::Pending
        }));
        event_loop.turn(AT_ONCE)?;
        first_wake.recv().expect("the other thread has the waker");
        drop(event_loop);
        over.store(true, Ordering::Relaxed);
        waking.join().expect("the thread does not panic");
    }
    Ok(())
}

#[test]
fn loop_29_a_task_that_wakes_itself_twice_is_polled_once_more() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    event_loop.create_task(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        if counted.get() == 1 {
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    }));
    event_loop.turn(AT_ONCE)?;
    assert_eq!(polls.get(), 1);
    event_loop.turn(AT_ONCE)?;
    assert_eq!(polls.get(), 2);
    run_until_idle(&event_loop)?;
    assert_eq!(polls.get(), 2);
    Ok(())
}

#[test]
fn a_task_woken_twice_from_another_thread_is_polled_once_more_each_time() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let polls = Rc::new(Cell::new(0));
    let (counted, kept) = (polls.clone(), Rc::new(RefCell::new(None::<Waker>)));
    let keeps = kept.clone();
    event_loop.create_task(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        keeps.replace(Some(cx.waker().clone()));
        Poll::<()>::Pending
    }));
    run_until_idle(&event_loop)?;
    for round in 2..=3 {
        let waker = kept.borrow().clone().expect("the task was polled");
        let twice = thread::spawn(move || {
            waker.wake_by_ref();
            waker.wake();
        });
        twice.join().expect("the thread does not panic");
        run_until_idle(&event_loop)?;
        assert_eq!(polls.get(), round);
    }
    Ok(())
}

#[test]
fn loop_30_a_byte_for_one_of_a_thousand_sockets_polls_one_task_once() -> io::Result<()> {
    const SOCKETS: usize = 1000;
    let event_loop = EventLoop::new()?;
    let polls = Rc::new(Cell::new(0));
    let mut peers = Vec::new();
    for _ in 0..SOCKETS {
        let (ours, theirs) = UnixStream::pair()?;
        peers.push(theirs);
        let mut waiting = Box::pin(async move {
            let (mut reader, _writer) = open_connection_sock(ours).await?;
            reader.read(1).await.map_err(io::Error::from)
        });
        let counted = polls.clone();
        event_loop.create_task(poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            waiting.as_mut().poll(cx)
        }));
    }
    run_until_idle(&event_loop)?;
    polls.set(0);
    (&peers[SOCKETS / 2]).write_all(b"x")?;
    event_loop.turn(None)?;
    run_until_idle(&event_loop)?;
    assert_eq!(polls.get(), 1);
    assert_eq!(event_loop.census().tasks, SOCKETS - 1);
    Ok(())
}

#[test]
fn loop_31_a_closed_loop_has_dropped_all_tasks_and_their_sockets() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let drops = Rc::new(Cell::new(0));
    let mut peers = Vec::new();
    for nth in 0..1000 {
        let counter = CountsDrops(drops.clone());
        let socket = if nth % 100 == 0 {
            let (ours, theirs) = UnixStream::pair()?;
            peers.push(theirs);
            Some(ours)
        } else {
            None
        };
        event_loop.create_task(async move {
            let _kept = (counter, socket);
            pending::<()>().await;
        });
    }
    event_loop.turn(AT_ONCE)?;
    event_loop.close()?;
    assert_eq!(drops.get(), 1000);
    for mut peer in peers {
        assert_eq!(peer.read(&mut [0])?, 0, "the other end is closed");
    }
    Ok(())
}

#[test]
fn a_closed_loop_holds_nothing_that_a_user_gave_it() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let drops = Rc::new(Cell::new(0));
    let holder = || CountsDrops(drops.clone());
    let (ours, _theirs) = UnixStream::pair()?;

    let held = holder();
    event_loop.call_soon(move || drop(held))?;
    let held = holder();
    event_loop.call_later(Duration::from_secs(1), move || drop(held))?;
    let held = holder();
    let reads = move || {
        let _ = &held;
    };
    event_loop.add_reader(ours.as_raw_fd(), reads)?;
    let held = holder();
    let writes = move || {
        let _ = &held;
    };
    event_loop.add_writer(ours.as_raw_fd(), writes)?;
    let held = holder();
    event_loop.set_exception_handler(move |_, _| {
        let _ = &held;
    });
    let handle = event_loop.handle();
    event_loop.close()?;
    assert_eq!(drops.get(), 5, "though a handle is kept: {handle:?}");
    Ok(())
}

#[test]
fn r_1_a_pair_made_on_a_closed_loop_goes_with_its_handles() -> io::Result<()> {
    struct Holds(CountsDrops);

    impl Protocol for Holds {
        fn data_received(&mut self, _: &Rc<dyn Transport>, data: &[u8]) {
            unreachable!("the loop is closed: {data:?} {}", self.0.0.get());
        }
    }

    let event_loop = EventLoop::new()?;
    event_loop.close()?;
    let drops = Rc::new(Cell::new(0));
    let holds = || Holds(CountsDrops(drops.clone()));
    let (one, other) = memory_transport_pair(&event_loop, holds(), holds(), 1024);
    one.write(b"nobody hears it");
    other.close();
    assert_eq!(event_loop.census().sources, 0);
    drop((one, other));
    assert_eq!(drops.get(), 2);
    Ok(())
}

#[test]
fn a_future_dropped_with_its_loop_may_use_the_loop() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let trace = Trace::default();
    let noted = trace.clone();
    let unruly = OnDrop::new(move || {
        let handle = get_running_loop().expect("the loop that closes");
        assert!(handle.is_closed());
        let task = create_task(async { unreachable!("a closed loop runs nothing") });
        assert!(task.cancelled());
        assert!(handle.call_soon(|| {}).is_err());
        noted.note("dropped");
    });
    event_loop.create_task(async move {
        let _kept = unruly;
        pending::<()>().await;
    });
    event_loop.turn(AT_ONCE)?;
    drop(event_loop);
    trace.expects(&["dropped"]);
    Ok(())
}

// ── panics ──────────────────────────────────────────────────────────────────────

#[test]
fn loop_25_a_future_may_wake_another_task_while_it_is_dropped() -> io::Result<()> {
    for panics in [false, true] {
        let event_loop = EventLoop::new()?;
        let _reports = Reports::of(&event_loop);
        let answer = event_loop.run_until_complete(async move {
            let (promise, future) = create_future();
            let wakes = OnDrop::new(move || promise.set_result("woken"));
            let other = create_task(async move {
                let _wakes = wakes;
                yield_now().await;
                assert!(!panics, "as it should");
            });
            let woken = future.await;
            assert_eq!(other.await.is_err(), panics);
            woken
        })?;
        assert_eq!(answer, Ok("woken"));
    }
    Ok(())
}

#[test]
fn loop_26_a_panic_in_a_callback_is_reported_once_and_the_next_ones_run() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let trace = Trace::default();
    event_loop.call_soon(|| panic!("the wheel broke"))?;
    event_loop.call_soon(trace.notes("second"))?;
    event_loop.call_soon(trace.notes("third"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["second", "third"]);

    let [report] = reports.take().try_into().expect("there is one report");
    let report: ExceptionContext = report;
    assert_eq!(report.exception.as_deref(), Some("the wheel broke"));
    let handle = report.handle.expect("the handle is named");
    let name = handle
        .strip_prefix("Handle(")
        .and_then(|h| h.strip_suffix(')'));
    let name = name.expect("it says what it is");
    assert!(name.contains("loop_26"), "{name} says where it was written");
    assert_eq!(report.message, format!("Exception in callback {name}"));
    Ok(())
}

#[test]
fn a_panic_in_a_callback_from_another_thread_names_it_too() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    event_loop
        .remote()
        .call_soon_threadsafe(|| panic!("the wheel broke"))?;
    event_loop.turn(AT_ONCE)?;
    let [report] = reports.take().try_into().expect("there is one report");
    let report: ExceptionContext = report;
    assert_eq!(report.exception.as_deref(), Some("the wheel broke"));
    assert!(
        report
            .message
            .starts_with("Exception in callback event_loop::"),
        "{report}"
    );
    Ok(())
}

#[test]
fn loop_27_an_exception_handler_that_panics_does_not_kill_the_loop() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    event_loop.set_exception_handler(|_, _| panic!("the handler broke"));
    let trace = Trace::default();
    event_loop.call_soon(|| panic!("the wheel broke"))?;
    event_loop.call_soon(trace.notes("next"))?;
    event_loop.turn(AT_ONCE)?;
    trace.expects(&["next"]);
    Ok(())
}

#[test]
fn loop_27_both_failures_go_to_standard_error_where_there_is_no_logger() -> io::Result<()> {
    const NAME: &str = "loop_27_both_failures_go_to_standard_error_where_there_is_no_logger";
    if is_child() {
        return loop_27_an_exception_handler_that_panics_does_not_kill_the_loop();
    }
    let printed = standard_error_of_child(NAME)?;
    for expected in [
        "Exception in callback event_loop::loop_27",
        "\nexception: the wheel broke\nhandle: Handle(event_loop::loop_27",
        "Unhandled error in exception handler\nexception: the handler broke\n",
    ] {
        assert!(
            printed.contains(expected),
            "{expected:?} is not in: {printed}"
        );
    }
    Ok(())
}

#[test]
fn without_a_logger_the_default_handler_writes_to_standard_error() -> io::Result<()> {
    const NAME: &str = "without_a_logger_the_default_handler_writes_to_standard_error";
    if is_child() {
        let event_loop = EventLoop::new()?;
        event_loop.set_exception_handler(|_, _| unreachable!("it is cleared"));
        event_loop.clear_exception_handler();
        let context = ExceptionContext::new("the mill stopped");
        event_loop.call_exception_handler(&context.task("Task-1").exception("no water"));
        return Ok(());
    }
    let printed = standard_error_of_child(NAME)?;
    let expected = "the mill stopped\nexception: no water\ntask: Task-1\n";
    assert!(printed.contains(expected), "{printed}");
    Ok(())
}

// ── the thread pool ─────────────────────────────────────────────────────────────

#[test]
fn a_job_runs_on_a_thread_of_the_pool_and_gives_its_result() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let name = event_loop.run_until_complete(async move {
        let work = || thread::current().name().map(str::to_owned);
        handle.run_in_executor(work).await
    })??;
    assert_eq!(name.as_deref(), Some("millstream-0"));
    Ok(())
}

#[test]
fn a_jobs_panic_comes_out_where_it_is_awaited() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let joined = event_loop.run_until_complete(async move {
        let again = handle.clone();
        let awaits =
            create_task(async move { handle.run_in_executor(|| panic!("the job broke")).await });
        let joined: Result<io::Result<()>, JoinError> = awaits.await;
        let answer = again.run_in_executor(|| 42).await;
        assert_eq!(answer.ok(), Some(42), "the pool lives");
        joined
    })?;
    let error = joined.expect_err("the job panicked");
    assert_eq!(error.to_string(), "task panicked: the job broke");
    Ok(())
}

#[test]
fn r_10_a_result_that_panics_when_nobody_takes_it_is_reported_and_the_pool_ends() -> io::Result<()>
{
    struct Breaks;

    impl Drop for Breaks {
        fn drop(&mut self) {
            panic!("the result broke");
        }
    }

    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let (release, released) = mpsc::channel::<()>();
    let handle = event_loop.handle();
    event_loop.run_until_complete(async move {
        let again = handle.clone();
        let given_up = create_task(async move {
            let work = move || {
                let _released = released.recv();
                Breaks
            };
            drop(handle.run_in_executor(work).await);
        });
        yield_now().await; // the job waits or runs
        given_up.cancel();
        let _cancelled = given_up.await;
        drop(release);
        // Waits for the thread: without end, if its death is not counted.
        again.shutdown_default_executor(None).await;
    })?;
    run_until_idle(&event_loop)?;
    let [report] = reports.take().try_into().expect("there is one");
    assert_eq!(report.message, "Exception in a job that nobody awaits");
    assert_eq!(report.exception.as_deref(), Some("the result broke"));
    Ok(())
}

#[test]
fn r_10_jobs_that_panic_when_they_are_dropped_do_not_disturb_the_end_of_the_loop() -> io::Result<()>
{
    struct Breaks;

    impl Drop for Breaks {
        fn drop(&mut self) {
            panic!("the job broke");
        }
    }

    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let processors = thread::available_parallelism()?.get();
    for _ in 0..processors + 4 {
        let (handle, released) = (event_loop.handle(), released.clone());
        event_loop.create_task(async move {
            let holds = move || {
                let released = released.lock().expect("nobody panics with it");
                let _end = released.recv();
            };
            handle.run_in_executor(holds).await
        });
    }
    for _ in 0..2 {
        let (handle, breaks) = (event_loop.handle(), Breaks);
        event_loop.create_task(async move {
            let never = move || drop(breaks);
            handle.run_in_executor(never).await
        });
    }
    event_loop.turn(AT_ONCE)?;
    event_loop.close()?;
    assert_eq!(reports.exceptions(), ["the job broke", "the job broke"]);
    drop(release);
    Ok(())
}

#[test]
fn the_end_of_the_threads_can_be_awaited_first_here_and_then_there() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (release, released) = mpsc::channel::<()>();
    let handle = event_loop.handle();
    event_loop.run_until_complete(async move {
        let job = handle.clone();
        let work = create_task(async move { job.run_in_executor(move || released.recv()).await });
        yield_now().await;
        let patience = Duration::from_millis(1);
        let mut end = Box::pin(async move {
            handle.shutdown_default_executor(Some(patience)).await;
        });
        // Polled here once; whoever has it then is the one to be woken.
        assert!(poll_once(end.as_mut()).is_pending());
        create_task(end).await?;
        drop(release);
        work.await??.expect_err("nothing was sent");
        io::Result::Ok(())
    })?
}

#[test]
fn many_jobs_share_a_few_threads() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let names = Arc::new(Mutex::new(Vec::new()));
    let noted = names.clone();
    event_loop.run_until_complete(async move {
        let jobs: Vec<_> = (0..200)
            .map(|_| {
                let (handle, noted) = (handle.clone(), noted.clone());
                create_task(async move {
                    let work = move || {
                        let name = thread::current().name().map(str::to_owned);
                        noted.lock().expect("nobody panics").push(name);
                    };
                    handle.run_in_executor(work).await
                })
            })
            .collect();
        for job in jobs {
            job.await??;
        }
        io::Result::Ok(())
    })??;
    let mut names = names.lock().expect("nobody panicked");
    assert_eq!(names.len(), 200);
    names.sort();
    names.dedup();
    let processors = thread::available_parallelism()?.get();
    assert!(names.len() <= (processors + 4).min(32), "{names:?}");
    Ok(())
}

#[test]
fn a_closed_loop_takes_no_jobs() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    event_loop.close()?;
    let Poll::Ready(refused) = poll_once(handle.run_in_executor(|| 42)) else {
        panic!("there is nothing to wait for");
    };
    let error = refused.expect_err("the loop is closed");
    assert_eq!(error.to_string(), "Event loop is closed");
    assert!(is(&error, LoopError::Closed));
    Ok(())
}

#[test]
fn closing_does_not_wait_for_a_job() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let (release, released) = mpsc::channel::<()>();
    let (began, has_begun) = mpsc::channel();
    event_loop.create_task(async move {
        let work = move || {
            began.send(()).expect("the test waits for it");
            released.recv()
        };
        handle.run_in_executor(work).await
    });
    event_loop.turn(AT_ONCE)?;
    has_begun.recv().expect("the job began");
    event_loop.close()?; // would wait for ever
    drop(release);
    Ok(())
}

#[test]
fn simulated_time_waits_for_the_threads() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let handle = event_loop.handle();
    event_loop.run_until_complete(async move {
        let hour = Duration::from_secs(3600);
        for nth in 1..=500 {
            let sleeping = create_task(sleep(hour));
            handle.run_in_executor(thread::yield_now).await?;
            assert_eq!(handle.time(), hour * (nth - 1), "the job came first");
            sleeping.await?;
            assert_eq!(handle.time(), hour * nth);
        }
        io::Result::Ok(())
    })?
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// Who was called, in order.
#[derive(Clone, Default)]
struct Trace(Rc<RefCell<Vec<&'static str>>>);

impl Trace {
    fn note(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn notes(&self, what: &'static str) -> impl FnOnce() + 'static {
        let trace = self.clone();
        move || trace.note(what)
    }

    fn notes_each(&self, what: &'static str) -> impl FnMut() + 'static {
        let trace = self.clone();
        move || trace.note(what)
    }

    /// Holds what was noted since the last time against what should have been.
    #[track_caller]
    fn expects(&self, expected: &[&str]) {
        assert_eq!(self.0.take(), expected);
    }
}

fn run_until_idle(handle: &LoopHandle) -> io::Result<()> {
    while handle.turn(AT_ONCE)? == AT_ONCE {}
    Ok(())
}

fn link_of_chain(handle: &LoopHandle, left: Rc<Cell<usize>>) {
    let next = handle.clone();
    let link = move || {
        left.set(left.get() - 1);
        if left.get() > 0 {
            link_of_chain(&next, left);
        }
    };
    handle.call_soon(link).expect("the loop is open");
}

fn requeues_itself(handle: LoopHandle) {
    let again = handle.clone();
    handle
        .call_soon(move || requeues_itself(again))
        .expect("the loop is open");
}

/// Watches a socket until one byte came, and notes what `when` said then.
fn read_one_byte<T: Copy + 'static>(
    handle: &LoopHandle,
    socket: UnixStream,
    when: impl Fn() -> T + 'static,
) -> io::Result<Rc<Cell<Option<T>>>> {
    let read_when = Rc::new(Cell::new(None));
    let (noted, removes, fd) = (read_when.clone(), handle.clone(), socket.as_raw_fd());
    handle.add_reader(fd, move || {
        (&socket).read_exact(&mut [0]).expect("it is readable");
        noted.set(Some(when()));
        removes.remove_reader(fd).expect("no transport owns it");
    })?;
    Ok(read_when)
}

/// A socket with a byte to be read, and its peer.
fn readable() -> io::Result<(UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    (&theirs).write_all(b"x")?;
    Ok((ours, theirs))
}

/// Writes until the kernel takes no more.
fn fill(mut socket: &UnixStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    loop {
        match socket.write(&[0; 4096]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            written => written?,
        };
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future: Pin<Box<F>> = Box::pin(future);
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn is(error: &io::Error, expected: LoopError) -> bool {
    error.get_ref().and_then(|e| e.downcast_ref()) == Some(&expected)
}

#[track_caller]
fn assert_says_closed<T>(refused: io::Result<T>) {
    let error = refused.err().expect("the loop is closed");
    assert_eq!(error.to_string(), "Event loop is closed");
    assert!(is(&error, LoopError::Closed));
}

/// How long this thread has used a processor, where the system tells.
fn own_cpu_time() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = told.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

const CHILD: &str = "MILLSTREAM_TEST_CHILD";

fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Runs one test of this file in a process of its own, where [`is_child`] says so.
fn standard_error_of_child(test: &str) -> io::Result<String> {
    let output = Command::new(env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()?;
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    Ok(printed)
}
