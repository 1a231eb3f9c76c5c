//! Coroutines that other threads send to a loop.

mod loop_support;

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use millstream::{
    EventLoop, JoinError, LoopError, RemoteHandle, TimedOut, all_tasks, current_task,
    get_running_loop, run, sleep, to_thread, yield_now,
};

use loop_support::Reports;

#[test]
fn another_thread_waits_for_what_a_coroutine_returns() -> io::Result<()> {
    run(async {
        let loops_thread = thread::current().id();
        let ran_on = on_a_thread(move |remote| {
            let task = remote.run_coroutine_threadsafe(|| {
                let local = Rc::new(Cell::new(0)); // it need not be sent
                async move {
                    sleep(Duration::from_millis(1)).await;
                    local.set(local.get() + 42);
                    (
                        thread::current().id(),
                        local.get(),
                        current_task().is_some(),
                    )
                }
            })?;
            task.result().map_err(io::Error::from)
        });
        let (ran_on, value, in_task): (ThreadId, u32, bool) = ran_on.await?;
        assert_eq!((ran_on, value, in_task), (loops_thread, 42, true));
        Ok(())
    })
}

#[test]
fn waiting_for_a_coroutine_may_have_a_limit() -> io::Result<()> {
    run(async {
        on_a_thread(|remote| {
            let (go, may_go) = mpsc::channel();
            let mut task = remote.run_coroutine_threadsafe(move || async move {
                to_thread(move || may_go.recv()).await.is_ok()
            })?;
            assert!(matches!(task.result_within(Duration::ZERO), Err(TimedOut)));
            assert!(!task.done());
            go.send(()).expect("it is awaited");
            assert!(matches!(task.result_within(LONG), Ok(Ok(true))));
            assert!(task.done() && !task.cancel());
            Ok(())
        })
        .await
    })
}

#[test]
fn another_thread_may_cancel_a_coroutine() -> io::Result<()> {
    run(async {
        on_a_thread(|remote| {
            let (began, begins) = mpsc::channel();
            let task = remote.run_coroutine_threadsafe(move || async move {
                let _ = began.send(());
                pending::<()>().await;
            })?;
            begins.recv().expect("it begins");
            assert!(task.cancel());
            assert!(matches!(task.result(), Err(JoinError::Cancelled)));
            Ok(())
        })
        .await?;
        yield_now().await;
        assert_eq!(all_tasks().len(), 1);
        Ok(())
    })
}

#[test]
fn a_coroutine_that_is_cancelled_on_its_way_is_never_made() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let task = event_loop
        .remote()
        .run_coroutine_threadsafe(|| async { unreachable!("it was cancelled before") })?;
    assert!(task.cancel() && task.cancel());
    assert!(!task.done(), "the loop does not know yet");
    let outcome: Result<(), JoinError> = event_loop.run_until_complete(task)?;
    assert!(matches!(outcome, Err(JoinError::Cancelled)));
    Ok(())
}

#[test]
fn the_panic_of_a_coroutine_is_told_to_who_waits() -> io::Result<()> {
    run(async {
        on_a_thread(|remote| {
            let makes_none = remote.run_coroutine_threadsafe(|| -> std::future::Ready<()> {
                panic!("the axle broke")
            })?;
            let panics = remote.run_coroutine_threadsafe(|| async { panic!("the wheel broke") })?;
            for (task, message) in [
                (makes_none.result(), "the axle broke"),
                (panics.result(), "the wheel broke"),
            ] {
                let Err(JoinError::Panicked(panic)) = task else {
                    panic!("it panics");
                };
                assert_eq!(panic.message(), Some(message));
            }
            Ok(())
        })
        .await
    })
}

#[test]
fn a_panic_that_nobody_waits_for_is_reported() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let task = event_loop
        .remote()
        .run_coroutine_threadsafe(|| async { panic!("the wheel broke") })?;
    drop::<millstream::RemoteTask<()>>(task);
    event_loop.run_until_complete(async {
        yield_now().await;
        yield_now().await;
    })?;
    assert_eq!(reports.exceptions(), ["the wheel broke"]);
    Ok(())
}

#[test]
fn dropping_a_remote_task_lets_it_go_on() -> io::Result<()> {
    run(async {
        let (done, is_done) = mpsc::channel();
        on_a_thread(move |remote| {
            drop(remote.run_coroutine_threadsafe(move || async move {
                yield_now().await;
                done.send(42)
            })?);
            Ok(())
        })
        .await?;
        let got = to_thread(move || is_done.recv()).await?;
        assert_eq!(got, Ok(42));
        Ok(())
    })
}

#[test]
fn a_loop_may_await_a_coroutine_of_another_loop() -> io::Result<()> {
    run(async {
        let (made, is_made) = mpsc::channel();
        let other = thread::spawn(move || {
            run(async move {
                let handle = get_running_loop()?;
                made.send(handle.remote()).expect("it is awaited");
                while all_tasks().len() < 2 {
                    sleep(Duration::from_millis(1)).await; // until there is one to wait for
                }
                while all_tasks().len() > 1 {
                    yield_now().await;
                }
                io::Result::Ok(())
            })
        });
        let remote = to_thread(move || is_made.recv())
            .await?
            .expect("it is made");
        let task = remote.run_coroutine_threadsafe(|| async {
            sleep(Duration::from_millis(5)).await;
            thread::current().id()
        })?;
        let ran_on = task.await?;
        assert_eq!(ran_on, other.thread().id());
        to_thread(move || other.join())
            .await?
            .expect("it does not panic")
    })
}

#[test]
fn a_loop_that_is_closed_cancels_what_was_sent_to_it() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let remote = event_loop.remote();
    let runs = remote.run_coroutine_threadsafe(pending::<()>)?;
    event_loop.run_until_complete(yield_now())?;
    let on_its_way = remote.run_coroutine_threadsafe(pending::<()>)?;
    drop(event_loop);
    assert!(matches!(runs.result(), Err(JoinError::Cancelled)));
    assert!(matches!(on_its_way.result(), Err(JoinError::Cancelled)));
    let refused = remote.run_coroutine_threadsafe(pending::<()>);
    assert_eq!(refused.map(drop), Err(LoopError::Closed));
    Ok(())
}

#[test]
fn a_loop_refuses_to_block_until_its_own_task_has_ended() -> io::Result<()> {
    run(async {
        let remote = get_running_loop()?.remote();
        let task = remote.run_coroutine_threadsafe(|| async { 42 })?;
        let blocked = catch_unwind(AssertUnwindSafe(|| task.result()));
        let panic = blocked.expect_err("it would block for ever");
        let message = panic.downcast_ref::<&str>().expect("it has a message");
        assert!(message.contains("await it"), "{message}");

        let task = remote.run_coroutine_threadsafe(|| async { 42 })?;
        assert_eq!(task.await?, 42);
        Ok(())
    })
}

/// Long enough for anything that is not stuck.
const LONG: Duration = Duration::from_secs(60);

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce(RemoteHandle) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let remote = get_running_loop()?.remote();
    to_thread(move || work(remote)).await?
}
