//! A look inside: the call graph of the tasks, and the loop's statistics.

use std::cell::Cell;
use std::future::pending;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Barrier, CallGraph, Clock, Condition, Event, EventLoop, Lock, Queue, Runner, Semaphore, Task,
    TaskNode, TaskState, WaitsFor, capture_call_graph, create_future, create_task, current_task,
    gather, get_running_loop, memory_stream_pair, open_connection_sock, run, sleep, timeout,
    yield_now,
};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a future in virtual time.
fn simulate(main: impl Future<Output = io::Result<()>> + 'static) -> io::Result<()> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(main)
}

fn named<F>(name: &str, future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let task = create_task(future);
    task.set_name(name);
    task
}

fn node<'a>(graph: &'a CallGraph, name: &str) -> &'a TaskNode {
    let mut found = graph.tasks.iter().filter(|task| task.name == name);
    found.next().expect("there is such a task")
}

#[test]
fn a_tree_shows_who_waits_for_whom_and_for_how_long() -> io::Result<()> {
    simulate(async {
        let grain = named("grain", sleep(10 * SECOND));
        let flour = named("flour", async move {
            yield_now().await;
            sleep(SECOND).await;
            grain.await
        });
        let water = named("water", pending::<()>());
        named("bread", async move {
            let _ = gather((async { flour.await.is_ok() }, async { water.await.is_ok() }))
                .return_exceptions()
                .await;
        });
        sleep(3 * SECOND).await;
        assert_eq!(
            capture_call_graph().to_string(),
            "\
├── (T) Task-1, running
└── (T) bread, waiting for 3.000 s
    ├── (T) Task-6, waiting for 3.000 s
    │   └── (T) flour, waiting for 2.000 s
    │       └── (T) grain, waiting for 3.000 s
    │           └── until 10.000 s, in 7.000 s
    └── (T) Task-7, waiting for 3.000 s
        └── (T) water, waiting for 3.000 s
            └── something unknown
"
        );
        Ok(())
    })
}

#[test]
fn each_kind_of_waiting_has_its_words() -> io::Result<()> {
    simulate(async {
        let lock = Rc::new(Lock::new());
        let held = lock.clone();
        named("holder", async move {
            let _guard = held.acquire().await;
            pending::<()>().await;
        });
        yield_now().await;
        let shared = lock.clone();
        named("locked out", async move { drop(shared.acquire().await) });
        named("locked out too", async move { drop(lock.acquire().await) });
        let other = Rc::new(Lock::new());
        let busy = other.clone();
        named("holder of another", async move {
            let _guard = busy.acquire().await;
            pending::<()>().await;
        });
        yield_now().await;
        named("locked out of another", async move {
            drop(other.acquire().await)
        });
        named("event", async { Event::new().wait().await });
        named("semaphore", async {
            drop(Semaphore::new(0).acquire().await)
        });
        named("condition", async {
            let condition = Condition::new();
            drop(condition.acquire().await.wait().await);
        });
        named("barrier", async { Barrier::new(2).wait().await.is_ok() });
        named("get", async { Queue::<u32>::new(0).get().await.is_ok() });
        named("put", async {
            let queue = Queue::new(1);
            queue.put(1).await.is_ok() && queue.put(2).await.is_ok()
        });
        named("join", async {
            let queue = Queue::new(1);
            assert!(queue.put(1).await.is_ok());
            queue.join().await;
        });
        let (promise, future) = create_future::<()>();
        named("future", future);
        named("patient", async {
            let event = Event::new();
            timeout(5 * SECOND, event.wait()).await.is_ok()
        });
        named("both", async {
            let (one, other) = (Event::new(), Event::new());
            let mut one = std::pin::pin!(one.wait());
            let mut other = std::pin::pin!(other.wait());
            std::future::poll_fn(|cx| {
                assert!(one.as_mut().poll(cx).is_pending());
                assert!(other.as_mut().poll(cx).is_pending());
                std::task::Poll::<()>::Pending
            })
            .await;
        });
        sleep(SECOND).await;
        let graph = capture_call_graph();
        let words = |name| {
            let words: Vec<String> = node(&graph, name)
                .waits_for
                .iter()
                .map(|w| w.to_string())
                .collect();
            words.join("; ")
        };
        for (name, expected) in [
            ("holder", "something unknown"),
            ("locked out", "lock 1"),
            ("locked out too", "lock 1"),
            ("locked out of another", "lock 2"),
            ("event", "event 1"),
            ("semaphore", "semaphore 1"),
            ("condition", "condition 1"),
            ("barrier", "barrier 1"),
            ("get", "an item of a queue (1)"),
            ("put", "room in a queue (1)"),
            ("join", "all items of a queue to be done (1)"),
            ("future", "future 1"),
            ("patient", "event 2; until 5.000 s"),
            ("both", "event 3; 1 more"),
        ] {
            assert_eq!(words(name), expected, "{name}");
        }
        drop(promise);
        Ok(())
    })
}

#[test]
fn two_tasks_that_await_each_other_are_seen() -> io::Result<()> {
    simulate(async {
        let handle_of_baker = Rc::new(Cell::new(None));
        let awaited = handle_of_baker.clone();
        let miller = named("miller", async move {
            yield_now().await;
            let baker: Task<()> = awaited.take().expect("it was put there");
            baker.await.is_ok()
        });
        handle_of_baker.set(Some(named("baker", async move { drop(miller.await) })));
        sleep(SECOND).await;
        let graph = capture_call_graph();
        assert_eq!(
            graph.pstree(),
            "\
├── (T) Task-1, running
└── (T) miller, waiting for 1.000 s
    └── (T) baker, waiting for 1.000 s
        └── (T) miller, waiting for 1.000 s, see above
cycle: miller → baker → miller
"
        );
        assert_eq!(graph.cycles(), [[2, 3]]);
        Ok(())
    })
}

#[test]
fn two_tasks_that_wait_for_each_others_lock_are_seen() -> io::Result<()> {
    simulate(async {
        let (flour, water) = (Rc::new(Lock::new()), Rc::new(Lock::new()));
        let locks = (flour.clone(), water.clone());
        named("miller", async move {
            let _flour = locks.0.acquire().await;
            sleep(SECOND).await;
            drop(locks.1.acquire().await);
        });
        named("baker", async move {
            let _water = water.acquire().await;
            sleep(2 * SECOND).await;
            drop(flour.acquire().await);
        });
        sleep(3 * SECOND).await;
        assert_eq!(
            capture_call_graph().to_string(),
            "\
├── (T) Task-1, running
├── (T) miller, waiting for 2.000 s
│   └── lock 1, held by baker
└── (T) baker, waiting for 1.000 s
    └── lock 2, held by miller
cycle: miller → baker → miller
"
        );
        Ok(())
    })
}

#[test]
fn a_lock_that_was_handed_on_is_held_by_the_next() -> io::Result<()> {
    simulate(async {
        let lock = Rc::new(Lock::new());
        let holds_for = |name, seconds| {
            let lock = lock.clone();
            named(name, async move {
                let _guard = lock.acquire().await;
                sleep(seconds * SECOND).await;
            });
        };
        holds_for("first", 1);
        holds_for("second", 2);
        holds_for("third", 0);
        let holder_seen_by = |name| {
            let graph = capture_call_graph();
            match node(&graph, name).waits_for[..] {
                [WaitsFor::Lock { held_by, .. }] => held_by,
                _ => None,
            }
        };
        sleep(SECOND / 2).await;
        assert_eq!(
            (holder_seen_by("second"), holder_seen_by("third")),
            (Some(2), Some(2))
        );
        sleep(SECOND).await;
        assert_eq!(
            (holder_seen_by("second"), holder_seen_by("third")),
            (None, Some(3))
        );
        Ok(())
    })
}

#[test]
fn who_held_a_lock_before_is_not_taken_for_its_holder() -> io::Result<()> {
    simulate(async {
        let lock = Rc::new(Lock::new());
        drop(lock.acquire().await); // by Task-1
        let _guard = lock.try_acquire().expect("it is free"); // by nobody that is known
        let waits = lock.clone();
        named("waits", async move { drop(waits.acquire().await) });
        sleep(SECOND).await;
        let graph = capture_call_graph();
        let waits_for = &node(&graph, "waits").waits_for[..];
        let unknown = matches!(waits_for, [WaitsFor::Lock { held_by: None, .. }]);
        assert!(unknown, "{waits_for:?}");
        Ok(())
    })
}

#[test]
fn connections_are_named_with_the_fill_of_their_buffers() -> io::Result<()> {
    run(async {
        let (ours, theirs) = UnixStream::pair()?;
        let (mut reader, writer) = open_connection_sock(ours).await?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&theirs);
        assert!(fd >= 0);
        std::io::Write::write_all(&mut &theirs, b"no newline")?;
        let writer = Rc::new(writer);
        let (draining, closing) = (writer.clone(), writer.clone());
        let reads = named("reads", async move { reader.readline().await.is_ok() });
        named("drains", async move {
            draining.write_owned(vec![0; 4 << 20]);
            draining.drain().await.is_ok()
        });
        named("flushes", async move { writer.flush().await.is_ok() });
        named("waits", async move { closing.wait_closed().await.is_ok() });
        // Until the bytes have come, and nobody can go on.
        let graph = loop {
            yield_now().await;
            let graph = capture_call_graph();
            let stands = |task: &&TaskNode| task.state == TaskState::Waiting;
            let buffered = match &node(&graph, "reads").waits_for[..] {
                [WaitsFor::Bytes { buffered, .. }] => *buffered,
                _ => 0,
            };
            if buffered > 0 && graph.tasks.iter().filter(stands).count() == 4 {
                break graph;
            }
        };
        let tree = graph.pstree();
        for (before, after) in [
            ("bytes of <StreamTransport", ", 10 buffered"),
            ("room to write to <StreamTransport", ">"),
            ("all to leave that was written to <StreamTransport", ">"),
            ("the end of <StreamTransport", ">"),
        ] {
            let line = tree.lines().find(|line| line.contains(before));
            let line = line.unwrap_or_else(|| panic!("no {before} in\n{tree}"));
            assert!(line.contains(" unsent=") && line.ends_with(after), "{line}");
        }
        drop(reads);
        io::Result::Ok(())
    })
}

#[test]
fn a_stream_of_memory_is_named_too() -> io::Result<()> {
    simulate(async {
        let ((mut reader, _writer), _peer) = memory_stream_pair(16);
        named("reads", async move { reader.read(1).await.is_ok() });
        sleep(SECOND).await;
        let graph = capture_call_graph();
        let words = graph.pstree();
        assert!(words.contains("bytes of <StreamTransport"), "{words}");
        Ok(())
    })
}

#[test]
fn a_table_has_a_line_for_each_task() -> io::Result<()> {
    simulate(async {
        let flour = named("flour", sleep(4 * SECOND));
        named("bread", flour);
        sleep(SECOND).await;
        named("salt", pending::<()>());
        assert_eq!(
            capture_call_graph().ps(),
            "\
task  state    for        name, what it waits for
1     running  0.000 s    Task-1
2     waiting  1.000 s    flour: until 4.000 s, in 3.000 s
3     waiting  1.000 s    bread: flour
4     ready    0.000 s    salt
"
        );
        Ok(())
    })
}

#[test]
fn a_long_chain_of_tasks_is_drawn_to_a_bound() -> io::Result<()> {
    simulate(async {
        let mut last = create_task(sleep(10 * SECOND));
        for _ in 0..10_000 {
            let next = last;
            last = create_task(async move { drop(next.await) });
        }
        sleep(SECOND).await;
        let graph = capture_call_graph();
        assert_eq!(graph.tasks.len(), 10_002);
        assert_eq!(graph.cycles(), Vec::<Vec<u64>>::new());
        let tree = graph.pstree();
        assert!(tree.lines().count() < 100, "{}", tree.lines().count());
        assert!(tree.trim_end().ends_with("└── …"), "{tree}");
        drop(last);
        Ok(())
    })
}

#[test]
fn the_graph_can_be_asked_for_from_outside() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    assert_eq!(event_loop.capture_call_graph().tasks, []);
    let task = event_loop.create_task(sleep(SECOND));
    let ready = event_loop.capture_call_graph();
    assert_eq!(node(&ready, "Task-1").state, TaskState::Ready);
    event_loop.turn(Some(Duration::ZERO))?;
    let waits = event_loop.capture_call_graph();
    let task_1 = node(&waits, "Task-1");
    assert_eq!(task_1.state, TaskState::Waiting);
    assert_eq!(task_1.waits_for, [WaitsFor::Time(SECOND)]);
    assert_eq!(task_1.awaited_by, None);
    drop(task);
    event_loop.close()?;
    assert_eq!(event_loop.capture_call_graph().tasks, []);
    Ok(())
}

#[test]
fn statistics_count_what_the_loop_does() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let handle = event_loop.handle();
    event_loop.call_soon(|| {})?;
    event_loop.call_later(SECOND, || {})?;
    event_loop.run_until_complete(async move {
        let before = handle.statistics();
        assert_eq!((before.turns, before.task_steps, before.timers), (1, 1, 0));
        sleep(10 * SECOND).await;
        current_task().expect("it is one");
    })?;
    let all = event_loop.statistics();
    assert_eq!(
        (all.task_steps, all.timers, all.time_asleep),
        (2, 2, 10 * SECOND)
    );
    assert_eq!(all.time, 10 * SECOND);
    // `call_soon`, and two timers of which one wakes the task.
    assert_eq!(all.callbacks, 3);
    assert!(all.polls <= all.turns, "{all:?}");
    Ok(())
}

#[test]
fn a_busy_loop_does_not_sleep() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    event_loop.run_until_complete(async {
        for _ in 0..1000 {
            yield_now().await;
        }
    })?;
    let statistics = event_loop.statistics();
    assert!(
        statistics.turns > 1000 && statistics.polls < statistics.turns,
        "{statistics:?}"
    );
    assert_eq!(statistics.time_asleep, Duration::ZERO);
    assert!(get_running_loop().is_err());
    Ok(())
}

#[test]
fn a_thread_is_named() -> io::Result<()> {
    run(async {
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let handle = get_running_loop()?;
        let job = async move { handle.run_in_executor(move || goes_on.recv()).await };
        named("job", job);
        yield_now().await;
        let graph = capture_call_graph();
        assert_eq!(node(&graph, "job").waits_for, [WaitsFor::Thread]);
        drop(go_on);
        io::Result::Ok(())
    })
}

#[test]
#[cfg(feature = "subprocess")]
fn a_child_process_is_named() -> io::Result<()> {
    run(async {
        // It ends when its input does: with the handle.
        let input = std::process::Stdio::piped();
        let child = millstream::create_subprocess_exec("cat")
            .stdin(input)
            .await?;
        let pid = child.pid();
        named("parent", async move { child.wait().await.success() });
        yield_now().await;
        let graph = capture_call_graph();
        let expected = [WaitsFor::Process(pid.into())];
        assert_eq!(node(&graph, "parent").waits_for, expected);
        io::Result::Ok(())
    })
}
