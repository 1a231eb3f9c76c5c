//! Several tasks at once: gathered, grouped, waited for, shielded; and eager ones.

mod loop_support;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millstream::{
    ALL_COMPLETED, Cancelled, Clock, EventLoop, FIRST_COMPLETED, FIRST_EXCEPTION, JoinError,
    Runner, Task, TaskFailure, TaskGroup, TaskGroupError, TimedOut, all_tasks, as_completed,
    create_task, current_task, gather, get_running_loop, memory_stream_pair, run, shield, sleep,
    spawn_eager, timeout, wait, yield_now,
};

use loop_support::{CountsDrops, OnDrop, Reports};

// ── gather ──────────────────────────────────────────────────────────────────────

#[test]
fn gather_gives_results_in_the_order_of_its_arguments() -> io::Result<()> {
    in_simulated_time(async {
        let slow_first = [30, 10, 20].map(|n| async move {
            sleep(ms(n)).await;
            io::Result::Ok(n)
        });
        assert_eq!(gather(slow_first).await?, [30, 10, 20]);
        assert_eq!(now(), ms(30), "all at once");
        let two = gather((ready(io::Result::Ok(1)), ready(io::Result::Ok("two"))));
        assert_eq!(two.await?, (1, "two"));
        Ok(())
    })
}

#[test]
fn gathering_nothing_gives_nothing_at_once() -> io::Result<()> {
    in_simulated_time(async {
        let nothing = Vec::<std::future::Ready<io::Result<()>>>::new();
        let mut gathered = pin!(gather(nothing));
        let polled = gathered.as_mut().poll(&mut noop());
        assert!(matches!(polled, Poll::Ready(Ok(results)) if results.is_empty()));
        Ok(())
    })
}

#[test]
fn gather_begins_its_tasks_whether_or_not_it_is_polled() -> io::Result<()> {
    in_simulated_time(async {
        let began = Rc::new(Cell::new(false));
        let begins = began.clone();
        let gathered = gather([async move {
            begins.set(true);
            io::Result::Ok(())
        }]);
        yield_now().await;
        assert!(began.get());
        gathered.await.map(drop)
    })
}

#[test]
fn gather_returns_the_first_error_at_once_and_the_others_go_on() -> io::Result<()> {
    in_simulated_time(async {
        let went_on = Rc::new(Cell::new(false));
        let goes_on = went_on.clone();
        let gathered = gather((
            async move {
                sleep(ms(20)).await;
                goes_on.set(true);
                io::Result::Ok(())
            },
            async {
                sleep(ms(10)).await;
                Err::<(), _>(io::Error::from(ErrorKind::BrokenPipe))
            },
        ));
        let error = gathered.await.expect_err("the second fails");
        assert_eq!((error.kind(), now()), (ErrorKind::BrokenPipe, ms(10)));
        assert!(!went_on.get());
        sleep(ms(15)).await;
        assert!(went_on.get());
        Ok(())
    })
}

#[test]
fn gather_tells_a_panic_and_a_cancellation_as_errors() -> io::Result<()> {
    in_simulated_time(async {
        let broken = gather([async {
            if true {
                panic!("the wheel broke");
            }
            io::Result::Ok(())
        }]);
        let error = broken.await.expect_err("it panics");
        assert_eq!(error.to_string(), "task panicked: the wheel broke");

        let gathered = gather([pending::<io::Result<()>>()]);
        let [.., child] = &all_tasks()[..] else {
            panic!("there is a child");
        };
        child.cancel();
        let error = gathered.await.expect_err("its child was cancelled");
        assert!(Cancelled::is(&error));
        Ok(())
    })
}

#[test]
fn gather_may_collect_everything_whatever_fails() -> io::Result<()> {
    in_simulated_time(async {
        let all = gather((
            async {
                sleep(ms(10)).await;
                Ok::<_, String>(1)
            },
            async { Err::<(), _>("no".to_owned()) },
            async { panic!("the wheel broke") },
            ready(4),
        ))
        .return_exceptions();
        let (one, no, panics, four) = all.await;
        let panics: Result<(), JoinError> = panics;
        assert_eq!((one?, no?, four?), (Ok(1), Err("no".to_owned()), 4));
        assert!(panics.is_err_and(|error| error.is_panic()));
        assert_eq!(now(), ms(10));
        Ok(())
    })
}

#[test]
fn dropping_a_gathering_cancels_its_tasks() -> io::Result<()> {
    in_simulated_time(async {
        let drops = Rc::new(Cell::new(0));
        let children = [0, 1].map(|_| {
            let counter = CountsDrops(drops.clone());
            async move {
                let _counter = counter;
                pending::<io::Result<()>>().await
            }
        });
        let gathering = create_task(async move { gather(children).await });
        yield_now().await;
        yield_now().await;
        assert_eq!((all_tasks().len(), drops.get()), (4, 0));
        gathering.cancel();
        assert!(gathering.await.is_err());
        yield_now().await;
        assert_eq!((all_tasks().len(), drops.get()), (1, 2));
        Ok(())
    })
}

#[test]
fn a_gathering_of_many_polls_nobody_twice() -> io::Result<()> {
    in_simulated_time(async {
        let polls = Rc::new(Cell::new(0));
        let children: Vec<_> = (0..10_000_u64)
            .map(|n| {
                let counted = polls.clone();
                let mut slept = Box::pin(sleep(ms(1 + n % 7)));
                poll_fn(move |cx| {
                    counted.set(counted.get() + 1);
                    slept.as_mut().poll(cx).map(|()| io::Result::Ok(n))
                })
            })
            .collect();
        let sum: u64 = gather(children).await?.into_iter().sum();
        assert_eq!((sum, polls.get()), (9_999 * 5_000, 20_000));
        Ok(())
    })
}

// ── wait, as_completed, shield ──────────────────────────────────────────────────

#[test]
fn wait_takes_out_those_that_ended_and_leaves_the_others() -> io::Result<()> {
    in_simulated_time(async {
        let mut tasks = sleepers(&[30, 10, 20]);
        let done = wait(&mut tasks).return_when(FIRST_COMPLETED).await;
        assert_eq!((names(&done), names(&tasks)), ("10".into(), "30 20".into()));
        assert_eq!(now(), ms(10));

        let done = wait(&mut tasks).timeout(ms(5)).await;
        assert_eq!((done.len(), tasks.len()), (0, 2));
        assert_eq!(now(), ms(15));

        let done = wait(&mut tasks).return_when(ALL_COMPLETED).await;
        assert_eq!((names(&done), names(&tasks)), ("30 20".into(), "".into()));
        assert_eq!(wait(&mut tasks).await.len(), 0, "nothing to wait for");
        for task in done {
            task.await??;
        }
        Ok(())
    })
}

#[test]
fn wait_ends_at_the_first_failure_if_it_is_asked_to() -> io::Result<()> {
    in_simulated_time(async {
        let failing = |n: u64| {
            create_task(async move {
                sleep(ms(n)).await;
                Err(io::Error::from(ErrorKind::NotFound))
            })
        };
        let mut tasks = sleepers(&[10, 30]);
        tasks.push(failing(20));
        tasks.push(create_task(pending()));
        tasks[3].cancel(); // that is no failure
        let done = wait(&mut tasks).return_when(FIRST_EXCEPTION).await;
        assert_eq!((done.len(), tasks.len(), now()), (3, 1, ms(20)));
        let done = wait(&mut tasks).return_when(FIRST_EXCEPTION).await;
        assert_eq!((done.len(), now()), (1, ms(30)), "none failed: all");
        Ok(())
    })
}

#[test]
fn a_wait_that_is_given_up_leaves_all_tasks_where_they_are() -> io::Result<()> {
    in_simulated_time(async {
        let mut tasks = sleepers(&[10, 20]);
        let given_up = timeout(ms(5), wait(&mut tasks)).await;
        assert!(matches!(given_up, Err(TimedOut)));
        assert_eq!(tasks.len(), 2);
        sleep(ms(10)).await;
        for task in tasks {
            task.await??; // it was no loss that nobody watched
        }
        assert_eq!(now(), ms(20));
        Ok(())
    })
}

#[test]
fn as_completed_gives_the_first_that_ends_first() -> io::Result<()> {
    in_simulated_time(async {
        let mut results = as_completed([30, 10, 20].map(|n| {
            create_task(async move {
                sleep(ms(n)).await;
                n
            })
        }));
        assert_eq!(results.next().await.transpose()?, Some(10));
        assert!(timeout(ms(5), results.next()).await.is_err());
        assert_eq!(results.next().await.transpose()?, Some(20));
        assert_eq!(results.next().await.transpose()?, Some(30));
        assert!(results.next().await.is_none());
        Ok(())
    })
}

#[test]
fn dropping_as_completed_cancels_nothing() -> io::Result<()> {
    in_simulated_time(async {
        let mut results = as_completed(sleepers(&[10, 20]));
        results.next().await.expect("there are two")??;
        drop(results);
        assert_eq!(all_tasks().len(), 2);
        sleep(ms(15)).await;
        assert_eq!(all_tasks().len(), 1);
        Ok(())
    })
}

#[test]
fn a_shielded_task_goes_on_and_can_be_awaited_again() -> io::Result<()> {
    in_simulated_time(async {
        let mut saving = create_task(async {
            sleep(ms(20)).await;
            "saved"
        });
        assert!(timeout(ms(10), shield(&mut saving)).await.is_err());
        assert!(!saving.done());
        assert_eq!(shield(&mut saving).await?, "saved");
        assert_eq!(now(), ms(20));
        Ok(())
    })
}

#[test]
fn cancelling_who_waits_behind_a_shield_leaves_the_task() -> io::Result<()> {
    in_simulated_time(async {
        let saved = Rc::new(Cell::new(false));
        let saves = saved.clone();
        let waiting = create_task(async move {
            let mut saving = create_task(async move {
                sleep(ms(20)).await;
                saves.set(true);
            });
            shield(&mut saving).await
        });
        sleep(ms(10)).await;
        waiting.cancel();
        assert!(waiting.await.is_err());
        sleep(ms(20)).await;
        assert!(saved.get());
        Ok(())
    })
}

// ── task groups ─────────────────────────────────────────────────────────────────

#[test]
fn can_12_a_group_gives_what_its_body_returns_when_all_have_ended() -> io::Result<()> {
    in_simulated_time(async {
        let sum = TaskGroup::scope(async |group| {
            let late = group.create_task(after(20, 2))?;
            let early = group.create_task(after(10, 1))?;
            group.create_task(after(30, 0))?; // nobody awaits it but the group
            Ok(early.await? + late.await?)
        })
        .await?;
        assert_eq!((sum, now()), (3, ms(30)));
        Ok(())
    })
}

#[test]
fn can_12_a_child_that_fails_cancels_the_other_and_is_the_error_of_the_group() -> io::Result<()> {
    in_simulated_time(async {
        let drops = Rc::new(Cell::new(0));
        let counter = CountsDrops(drops.clone());
        let failed = TaskGroup::scope(async |group| {
            let waits = group.create_task(async move {
                let _counter = counter;
                pending::<io::Result<u32>>().await
            })?;
            group.create_task(fails_after(10))?;
            Ok(waits.await?)
        })
        .await
        .expect_err("a child fails");
        assert_eq!((now(), drops.get()), (ms(10), 1));
        assert_eq!(failed.to_string(), "unhandled errors in a TaskGroup");
        assert_eq!(kinds(&failed), [ErrorKind::BrokenPipe]);
        assert_eq!(io::Error::from(failed).kind(), ErrorKind::BrokenPipe);
        Ok(())
    })
}

#[test]
fn can_13_the_siblings_of_one_that_fails_have_ended_before_the_group_has() -> io::Result<()> {
    in_simulated_time(async {
        let ended = Rc::new(RefCell::new(Vec::new()));
        let failed = TaskGroup::scope(async |group| {
            for name in ["first", "second"] {
                let noted = ended.clone();
                let ends = OnDrop::new(move || noted.borrow_mut().push(name));
                group.create_task(async move {
                    let _ends = ends;
                    pending::<io::Result<()>>().await
                })?;
            }
            group.create_task(fails_after(10))?;
            Ok(())
        })
        .await;
        assert!(failed.is_err());
        assert_eq!(ended.take(), ["first", "second"]);
        assert_eq!(all_tasks().len(), 1, "nothing is left but this");
        Ok(())
    })
}

#[test]
fn can_15_a_parent_that_is_cancelled_takes_its_children_along() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let reports = Reports::of(&event_loop);
    let drops = Rc::new(Cell::new(0));
    let (slow, breaks) = (CountsDrops(drops.clone()), CountsDrops(drops.clone()));
    event_loop.run_until_complete(async move {
        let parent = create_task(TaskGroup::scope(async |group| {
            group.create_task(async move {
                let _takes_its_time = OnDrop::new(move || {
                    std::thread::sleep(ms(50));
                    drop(slow);
                });
                pending::<io::Result<()>>().await
            })?;
            group.create_task(async move {
                let _breaks = OnDrop::new(move || {
                    drop(breaks);
                    panic!("it breaks while it is dropped");
                });
                pending::<io::Result<()>>().await
            })?;
            pending::<io::Result<()>>().await
        }));
        sleep(ms(10)).await;
        parent.cancel();
        assert!(matches!(parent.await, Err(JoinError::Cancelled)));
        yield_now().await;
        assert_eq!(all_tasks().len(), 1, "nothing is left running");
    })?;
    assert_eq!(drops.get(), 2);
    assert_eq!(reports.exceptions(), ["it breaks while it is dropped"]);
    Ok(())
}

#[test]
fn all_failures_are_in_the_error_of_the_group_and_panics_too() -> io::Result<()> {
    in_simulated_time(async {
        let failed = TaskGroup::scope(async |group| {
            for error in ["one", "two"] {
                let failing = async move {
                    sleep(ms(10)).await;
                    Err::<(), _>(Refused(error.to_owned()))
                };
                group.create_task(failing)?;
            }
            group.create_task(async {
                let _breaks = OnDrop::new(|| panic!("three"));
                pending::<Result<(), Refused>>().await
            })?;
            group.create_task(pending::<Result<(), Refused>>())?; // only cancelled
            Ok(())
        })
        .await
        .expect_err("three fail");
        assert_eq!(
            format!("{failed:#}"),
            "unhandled errors in a TaskGroup: one; two; task panicked: three"
        );
        Ok(())
    })
}

#[test]
fn a_body_that_fails_cancels_the_children() -> io::Result<()> {
    in_simulated_time(async {
        let drops = Rc::new(Cell::new(0));
        let counter = CountsDrops(drops.clone());
        let failed: Result<(), _> = TaskGroup::scope(async |group| {
            group.create_task(async move {
                let _counter = counter;
                pending::<io::Result<()>>().await
            })?;
            yield_now().await;
            Err(io::Error::from(ErrorKind::InvalidData))
        })
        .await;
        assert_eq!(
            kinds(&failed.expect_err("the body fails")),
            [ErrorKind::InvalidData]
        );
        assert_eq!(drops.get(), 1);
        Ok(())
    })
}

#[test]
fn a_child_that_is_cancelled_is_no_failure() -> io::Result<()> {
    in_simulated_time(async {
        TaskGroup::scope(async |group| {
            let child = group.create_task(pending::<io::Result<()>>())?;
            group.create_task(after(10, 1))?;
            assert!(child.cancel());
            assert_eq!(child.await, Err(Cancelled));
            Ok(())
        })
        .await?;
        assert_eq!(now(), ms(10));
        Ok(())
    })
}

#[test]
fn children_may_add_children_until_all_have_ended() -> io::Result<()> {
    in_simulated_time(async {
        let count = Rc::new(Cell::new(0));
        let kept = Rc::new(RefCell::new(None));
        TaskGroup::scope(async |group| {
            kept.replace(Some(group.clone()));
            grow(group, count.clone(), 5)
        })
        .await?;
        assert_eq!(count.get(), 5);

        let group = kept.take().expect("it was kept");
        let refused = group.create_task(ready(Ok(()))).map(drop);
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("TaskGroup <TaskGroup entered> is finished".to_owned())
        );
        Ok(())
    })
}

fn grow(group: TaskGroup<io::Error>, count: Rc<Cell<u32>>, left: u32) -> io::Result<()> {
    if left == 0 {
        return Ok(());
    }
    let again = group.clone();
    group.create_task(async move {
        sleep(ms(1)).await;
        count.set(count.get() + 1);
        grow(again, count, left - 1)
    })?;
    Ok(())
}

#[test]
fn a_group_that_shuts_down_takes_no_more_children() -> io::Result<()> {
    in_simulated_time(async {
        let refused = Rc::new(RefCell::new(None));
        let kept = refused.clone();
        let failed = TaskGroup::scope(async |group| {
            let late = group.clone();
            let tries = OnDrop::new(move || {
                let result = late.create_task(ready(Ok(())));
                *kept.borrow_mut() = result.err().map(|error| error.to_string());
            });
            group.create_task(async move {
                let _tries = tries;
                pending::<io::Result<()>>().await
            })?;
            group.create_task(fails_after(10))?;
            Ok(())
        })
        .await;
        assert!(failed.is_err());
        let refused = refused.take();
        assert_eq!(
            refused.as_deref(),
            Some("TaskGroup <TaskGroup tasks=1 errors=1 cancelling> is shutting down")
        );
        Ok(())
    })
}

#[test]
fn a_panic_of_the_body_comes_out_of_the_group() -> io::Result<()> {
    in_simulated_time(async {
        let drops = Rc::new(Cell::new(0));
        let counter = CountsDrops(drops.clone());
        let grouping: Task<Result<(), TaskGroupError<io::Error>>> =
            create_task(TaskGroup::scope(async |group| {
                group.create_task(async move {
                    let _counter = counter;
                    pending::<io::Result<()>>().await
                })?;
                panic!("the body breaks");
            }));
        let panicked = grouping.await.expect_err("it panics");
        assert_eq!(panicked.to_string(), "task panicked: the body breaks");
        yield_now().await;
        assert_eq!(drops.get(), 1);
        Ok(())
    })
}

#[test]
fn a_time_limit_around_a_group_ends_its_children() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _writer), _peer) = memory_stream_pair(1024);
        let limited = timeout(
            ms(10),
            TaskGroup::scope(async |group| {
                group.create_task(async move { Ok(reader.readline().await?) })?;
                Ok::<_, io::Error>(())
            }),
        )
        .await;
        assert!(matches!(limited, Err(TimedOut)));
        yield_now().await;
        assert_eq!(all_tasks().len(), 1);
        Ok(())
    })
}

// ── eager tasks, references ─────────────────────────────────────────────────────

#[test]
fn an_eager_task_takes_its_first_step_within_the_call() -> io::Result<()> {
    in_simulated_time(async {
        let outer = current_task();
        let seen = Rc::new(RefCell::new(None));
        let sees = seen.clone();
        let task = spawn_eager(async move {
            *sees.borrow_mut() = current_task();
            sleep(ms(10)).await;
            42
        });
        let inner = seen.take();
        assert_eq!(inner, Some(task.task_ref()));
        assert!(inner != outer);
        assert_eq!(current_task(), outer, "the caller goes on");
        assert_eq!(task.await?, 42);
        assert!(spawn_eager(async {}).done());
        assert_eq!(all_tasks().len(), 1);
        Ok(())
    })
}

#[test]
fn a_panic_of_an_eager_task_is_its_own() -> io::Result<()> {
    in_simulated_time(async {
        let task: Task<()> = spawn_eager(async { panic!("the wheel broke") });
        assert!(task.done());
        assert!(task.await.is_err_and(|error| error.is_panic()));
        Ok(())
    })
}

#[test]
fn an_eager_task_that_cancels_itself_ends_where_it_waits() -> io::Result<()> {
    in_simulated_time(async {
        let task: Task<()> = spawn_eager(async {
            current_task().expect("this is a task").cancel();
            yield_now().await;
            unreachable!("it is cancelled");
        });
        assert!(!task.done());
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        Ok(())
    })
}

#[test]
fn an_eager_task_is_woken_by_what_it_does_in_its_first_step() -> io::Result<()> {
    in_simulated_time(async {
        let task = spawn_eager(async {
            yield_now().await;
            "woken"
        });
        assert_eq!(task.await?, "woken");
        Ok(())
    })
}

#[test]
fn d_4_eager_tasks_spend_the_budget_of_the_step_they_are_in() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _writer), (_peer_reader, peer)) = memory_stream_pair(1024);
        peer.write([b'x'; 1000]);
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let other = create_task(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        for _ in 0..1000 {
            let (given_back, read) = spawn_eager(async move {
                let read = reader.readexactly(1).await;
                (reader, read)
            })
            .await?;
            reader = given_back;
            read?;
        }
        assert!(turns.get() >= 1000 / 128, "{turns:?}");
        other.cancel();
        Ok(())
    })
}

#[test]
fn what_an_eager_task_writes_leaves_with_the_step_around_it() -> io::Result<()> {
    in_simulated_time(async {
        let ((_reader, writer), (mut peer_reader, _peer)) = memory_stream_pair(1024);
        let writer = Rc::new(writer);
        let writes = writer.clone();
        assert!(spawn_eager(async move { writes.write("eager, ") }).done());
        writer.write("and not\n");
        assert_eq!(peer_reader.readline().await?, b"eager, and not\n");
        Ok(())
    })
}

#[test]
fn outside_of_its_loop_an_eager_task_is_queued_as_any() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let task = event_loop.spawn_eager(async { current_task().is_some() });
    assert!(!task.done());
    assert!(event_loop.run_until_complete(task)??);
    event_loop.close()?;
    assert!(event_loop.spawn_eager(async {}).cancelled());
    Ok(())
}

#[test]
fn references_to_one_task_are_equal_and_outlive_it() -> io::Result<()> {
    in_simulated_time(async {
        let task = create_task(pending::<()>());
        let other = create_task(pending::<()>());
        let switch = task.task_ref();
        assert!(switch == task.task_ref() && switch != other.task_ref());
        switch.set_name("mill");
        assert_eq!(task.get_name(), "mill");
        assert!(switch.cancel());
        assert!(task.await.is_err());
        assert!(switch.done() && switch.cancelled() && !switch.cancel());
        other.cancel();
        Ok(())
    })
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// An error of a program's own.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl From<millstream::TaskGroupClosed> for Refused {
    fn from(error: millstream::TaskGroupClosed) -> Self {
        Refused(error.to_string())
    }
}

async fn after(millis: u64, value: u32) -> io::Result<u32> {
    sleep(ms(millis)).await;
    Ok(value)
}

async fn fails_after(millis: u64) -> io::Result<()> {
    sleep(ms(millis)).await;
    Err(ErrorKind::BrokenPipe.into())
}

fn kinds(error: &TaskGroupError<io::Error>) -> Vec<ErrorKind> {
    let failures = error.failures.iter().map(|failure| match failure {
        TaskFailure::Error(error) => error.kind(),
        other => panic!("expected an error, got {other:?}"),
    });
    failures.collect()
}

/// Tasks that sleep for so many milliseconds, which is their name.
fn sleepers(millis: &[u64]) -> Vec<Task<io::Result<()>>> {
    let sleepers = millis.iter().map(|&n| {
        let task = create_task(async move {
            sleep(ms(n)).await;
            Ok(())
        });
        task.set_name(n.to_string());
        task
    });
    sleepers.collect()
}

fn names<T>(tasks: &[Task<T>]) -> String {
    let names: Vec<_> = tasks.iter().map(Task::get_name).collect();
    names.join(" ")
}

fn now() -> Duration {
    get_running_loop().expect("a loop runs").time()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn in_simulated_time(main: impl Future<Output = io::Result<()>> + 'static) -> io::Result<()> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(main)
}

/// Wakes the task it was made in, and counts how often it was asked to.
struct Forwards {
    woken: AtomicUsize,
    task: Waker,
}

impl Wake for Forwards {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

#[test]
fn a_yield_below_a_future_with_wakers_of_its_own_wakes_that() -> io::Result<()> {
    run(async {
        let mut yielding = pin!(yield_now());
        let mut forwards = None;
        poll_fn(|cx| {
            let forwards = forwards.get_or_insert_with(|| {
                Arc::new(Forwards {
                    woken: AtomicUsize::new(0),
                    task: cx.waker().clone(),
                })
            });
            let waker = Waker::from(forwards.clone());
            yielding.as_mut().poll(&mut Context::from_waker(&waker))
        })
        .await;
        let woken = forwards.map(|forwards| forwards.woken.load(Ordering::Relaxed));
        assert_eq!(woken, Some(1));
        io::Result::Ok(())
    })
}

#[test]
fn a_step_within_a_step_yields_for_itself() -> io::Result<()> {
    run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let (outer, inner) = (order.clone(), order.clone());
        let mut yielding = pin!(yield_now());
        let mut eager = None;
        poll_fn(|cx| {
            let polled = yielding.as_mut().poll(cx);
            let inner = inner.clone();
            eager.get_or_insert_with(|| {
                spawn_eager(async move {
                    inner.borrow_mut().push("inner begins");
                    yield_now().await;
                    inner.borrow_mut().push("inner ends");
                })
            });
            outer.borrow_mut().push("outer");
            polled
        })
        .await;
        if let Some(eager) = eager {
            eager.await?;
        }
        let mut seen = order.take();
        seen.sort_unstable();
        assert_eq!(seen, ["inner begins", "inner ends", "outer", "outer"]);
        io::Result::Ok(())
    })
}
