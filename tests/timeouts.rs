//! Time limits: fixed ones, some that move, and those that a reader has for each wait.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use millstream::{
    Clock, EventLoop, ReadError, Runner, StreamReader, StreamWriter, TimedOut, Timeout, copy,
    create_task, get_running_loop, memory_stream_pair, sleep, timeout, wait_for, yield_now,
};

// ── limits that move ────────────────────────────────────────────────────────────

#[test]
fn wait_for_is_timeout_the_other_way_round() -> io::Result<()> {
    in_simulated_time(async {
        assert_eq!(wait_for(async { 42 }, Duration::ZERO).await, Ok(42));
        assert_eq!(wait_for(pending::<()>(), ms(10)).await, Err(TimedOut));
        assert_eq!(now(), ms(10));
        Ok(())
    })
}

#[test]
fn a_limit_passes_where_it_is_at_last() -> io::Result<()> {
    in_simulated_time(async {
        let limit = Timeout::after(ms(10));
        assert_eq!((limit.when(), limit.expired()), (Some(ms(10)), false));
        let limited = limit.scope(async {
            sleep(ms(5)).await;
            limit.reschedule(Some(ms(30)));
            sleep(ms(15)).await;
            assert_eq!(now(), ms(20), "the first deadline is no more");
            pending::<()>().await;
        });
        assert_eq!(limited.await, Err(TimedOut));
        assert_eq!((now(), limit.expired()), (ms(30), true));
        Ok(())
    })
}

#[test]
fn a_limit_may_be_moved_nearer_and_into_the_past() -> io::Result<()> {
    in_simulated_time(async {
        let limit = Timeout::after(ms(100));
        let limited = limit.scope(async {
            sleep(ms(5)).await;
            limit.reschedule_after(ms(1));
            pending::<()>().await;
        });
        assert_eq!((limited.await, now()), (Err(TimedOut), ms(6)));
        let limited = limit.scope(async {
            limit.reschedule(Some(ms(3)));
            pending::<()>().await;
        });
        assert_eq!((limited.await, now()), (Err(TimedOut), ms(6)));
        Ok(())
    })
}

#[test]
fn another_task_may_move_a_limit_in_both_directions() -> io::Result<()> {
    in_simulated_time(async {
        for (first, second, passes) in [(50, 20, 20), (20, 50, 50), (50, 5, 10)] {
            let limit = Rc::new(Timeout::after(ms(first)));
            let (moved, began) = (limit.clone(), now());
            let mover = create_task(async move {
                sleep(ms(10)).await;
                moved.reschedule(Some(began + ms(second)));
            });
            let limited = limit.scope(pending::<()>()).await;
            assert_eq!((limited, now() - began), (Err(TimedOut), ms(passes)));
            mover.await?;
        }
        Ok(())
    })
}

#[test]
fn a_limit_that_never_passes_may_be_given_a_time() -> io::Result<()> {
    in_simulated_time(async {
        let limit = Rc::new(Timeout::never());
        let moved = limit.clone();
        create_task(async move {
            sleep(ms(10)).await;
            moved.reschedule(Some(ms(20)));
            sleep(ms(5)).await;
            moved.reschedule(None); // and taken away again
            sleep(ms(100)).await;
            moved.reschedule(Some(ms(120)));
        });
        let limited = limit.scope(pending::<()>()).await;
        assert_eq!((limited, now()), (Err(TimedOut), ms(120)));
        Ok(())
    })
}

#[test]
fn d_25_a_result_that_is_there_wins_over_a_limit_that_has_passed() -> io::Result<()> {
    in_simulated_time(async {
        let limit = Timeout::at(Duration::ZERO);
        assert_eq!(limit.scope(async { 42 }).await, Ok(42));
        assert!(!limit.expired());
        let limit = Timeout::after(ms(10));
        assert_eq!(limit.scope(sleep(ms(10))).await, Ok(()));
        assert!(!limit.expired());
        Ok(())
    })
}

#[test]
fn moving_a_limit_again_and_again_polls_nobody_and_sets_no_timer() -> io::Result<()> {
    in_simulated_time(async {
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let limit = Rc::new(Timeout::after(ms(1000)));
        let limited = limit.clone();
        let waiting = create_task(async move {
            let counting = poll_fn(|_| {
                counted.set(counted.get() + 1);
                Poll::<()>::Pending
            });
            limited.scope(counting).await
        });
        yield_now().await;
        let timers = get_running_loop()?.census().timers;
        for _ in 0..100 {
            limit.reschedule_after(ms(1000));
            yield_now().await;
        }
        assert_eq!(polls.get(), 1);
        assert_eq!(get_running_loop()?.census().timers, timers);
        waiting.cancel();
        Ok(())
    })
}

#[test]
fn a_limit_leaves_no_timer_behind() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    event_loop.run_until_complete(async {
        let limit = Timeout::after(ms(1000));
        limit.scope(sleep(ms(1))).await?;
        let given_up = timeout(ms(1), limit.scope(pending::<()>())).await;
        assert_eq!(given_up, Err(TimedOut));
        io::Result::Ok(())
    })??;
    event_loop.turn(Some(Duration::ZERO))?;
    assert_eq!(event_loop.census().timers, 0);
    Ok(())
}

#[test]
fn a_hundred_thousand_limits_that_are_set_and_dropped_again_and_again_stay_as_many()
-> io::Result<()> {
    const LIMITS: usize = 100_000;
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    event_loop.run_until_complete(async {
        let handle = get_running_loop()?;
        let mut most = 0;
        let mut limited: Vec<_> = (0..LIMITS).map(|_| endless()).collect();
        for round in 0..5 {
            poll_fn(|cx| {
                for waits in &mut limited {
                    // Polled once, it has set its timer; then another takes its place.
                    assert!(waits.as_mut().poll(cx).is_pending());
                    if round > 0 {
                        *waits = endless();
                        assert!(waits.as_mut().poll(cx).is_pending());
                    }
                }
                Poll::Ready(())
            })
            .await;
            most = most.max(handle.census().timers);
            yield_now().await;
        }
        assert!(most >= LIMITS, "{most} timers");
        assert!(most <= 2 * LIMITS + 2, "{most} timers");
        limited.clear();
        yield_now().await;
        yield_now().await;
        assert_eq!(handle.census().timers, 0);
        io::Result::Ok(())
    })?
}

type Limited = Pin<Box<dyn Future<Output = Result<(), TimedOut>>>>;

fn endless() -> Limited {
    Box::pin(timeout(Duration::from_secs(3600), pending::<()>()))
}

// ── the reader's limit ──────────────────────────────────────────────────────────

#[test]
fn a_read_gives_up_when_nothing_comes_within_the_limit() -> io::Result<()> {
    in_simulated_time(async {
        let (mut reader, peer) = limited(10);
        assert_eq!(reader.read_timeout(), Some(ms(10)));
        let idle = reader.read(100).await;
        assert!(matches!(idle, Err(ReadError::TimedOut)));
        assert_eq!(now(), ms(10));
        let error = io::Error::from(idle.expect_err("it timed out"));
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "timed out");

        peer.write("late");
        assert_eq!(reader.read(100).await?, b"late", "it may be read on");
        Ok(())
    })
}

#[test]
fn each_byte_that_comes_begins_the_limit_anew() -> io::Result<()> {
    in_simulated_time(async {
        let (mut reader, peer) = limited(10);
        create_task(async move {
            for byte in b"a slow line\n" {
                sleep(ms(9)).await;
                peer.write([*byte]);
            }
            pending::<()>().await;
        });
        assert_eq!(reader.readline().await?, b"a slow line\n");
        assert_eq!(now(), ms(12 * 9));
        let idle = reader.readline().await;
        assert!(matches!(idle, Err(ReadError::TimedOut)));
        assert_eq!(now(), ms(12 * 9 + 10));
        Ok(())
    })
}

#[test]
fn every_read_has_the_limit_and_loses_nothing_by_it() -> io::Result<()> {
    in_simulated_time(async {
        let (mut reader, peer) = limited(10);
        peer.write("part");
        let mut buffer = [0; 100];
        for n in 0..9 {
            let timed_out = match n {
                0 => reader.readexactly(100).await.map(drop),
                1 => reader.readline().await.map(drop),
                2 => reader.readuntil(b"\r\n").await.map(drop),
                3 => reader.read_all().await.map(drop),
                4 => reader.peek(100).await.map(drop),
                5 => reader.readline_ref().await.map(drop),
                6 => reader.readuntil_ref(b"\r\n").await.map(drop),
                7 => reader.next_line().await.map(drop),
                _ => reader.readexactly_into(&mut buffer).await,
            };
            assert!(matches!(timed_out, Err(ReadError::TimedOut)), "read {n}");
            assert_eq!(now(), ms(10 * (n + 1)));
        }
        assert_eq!(reader.fill_buf().await?, b"part");
        reader.consume(4);
        assert!(reader.fill_buf().await.is_err());
        assert!(reader.read_into(&mut buffer).await.is_err());
        assert_eq!(now(), ms(110));
        Ok(())
    })
}

#[test]
fn only_waiting_is_limited() -> io::Result<()> {
    in_simulated_time(async {
        let (mut reader, peer) = limited(10);
        peer.write("one\ntwo\n");
        assert_eq!(reader.readline().await?, b"one\n");
        sleep(ms(1000)).await; // nobody reads, and nobody minds
        assert_eq!(reader.readline().await?, b"two\n");
        reader.set_read_timeout(None);
        assert_eq!(reader.read_timeout(), None);
        let forever = timeout(ms(1000), reader.readline()).await;
        assert_eq!(forever.map(drop), Err(TimedOut));
        Ok(())
    })
}

#[test]
fn copying_has_the_limit_of_its_reader() -> io::Result<()> {
    in_simulated_time(async {
        let (mut reader, peer) = limited(10);
        let ((_, writer), (mut read_back, _keeps)) = memory_stream_pair(1024);
        peer.write("some");
        let error = copy(&mut reader, &writer).await.expect_err("it stalls");
        assert_eq!((error.kind(), now()), (ErrorKind::TimedOut, ms(10)));
        assert_eq!(read_back.read(100).await?, b"some");
        Ok(())
    })
}

#[test]
fn a_read_that_ends_leaves_no_timer_behind() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let reader = event_loop.run_until_complete(async {
        let (mut reader, peer) = limited(1000);
        create_task(async move {
            sleep(ms(1)).await;
            peer.write("line\n");
            sleep(ms(5000)).await;
            drop(peer);
        });
        reader.readline().await?;
        let given_up = timeout(ms(1), reader.readline()).await;
        assert!(given_up.is_err());
        let mut buffer = [0; 10];
        let given_up = timeout(ms(1), reader.read_into(&mut buffer)).await;
        assert!(given_up.is_err());
        io::Result::Ok(reader)
    })??;
    event_loop.turn(Some(Duration::ZERO))?;
    assert_eq!(
        event_loop.census().timers,
        1,
        "that of the task that sleeps"
    );
    drop(reader);
    Ok(())
}

// ── the writer's limit ──────────────────────────────────────────────────────────

#[test]
fn a_drain_and_a_flush_give_up_when_nothing_leaves_within_the_limit() -> io::Result<()> {
    in_simulated_time(async {
        let (writer, mut peer) = stuck(40).await;
        assert_eq!(writer.write_timeout(), Some(ms(40)));
        let stalled = writer.drain().await.expect_err("nobody reads");
        assert_eq!((stalled.kind(), now()), (ErrorKind::TimedOut, ms(40)));
        let stalled = writer.flush().await.expect_err("nobody reads");
        assert_eq!((stalled.kind(), now()), (ErrorKind::TimedOut, ms(80)));

        peer.1.transport().resume_reading();
        let reads = create_task(async move { peer.0.readexactly(1 << 20).await });
        writer.flush().await?; // it may be waited for again
        assert_eq!(reads.await??.len(), 1 << 20);
        writer.write("more");
        writer.drain().await?;
        assert_eq!(now(), ms(80), "drain that need not wait asks no clock");
        Ok(())
    })
}

#[test]
fn each_byte_that_leaves_begins_the_writers_limit_anew() -> io::Result<()> {
    in_simulated_time(async {
        let (writer, peer) = stuck(40).await;
        let ours = writer.transport().clone();
        create_task(async move {
            let theirs = peer.1.transport();
            for _ in 0..10 {
                sleep(ms(35)).await;
                let queued = ours.get_write_buffer_size();
                theirs.resume_reading();
                while ours.get_write_buffer_size() == queued {
                    yield_now().await;
                }
                theirs.pause_reading();
            }
            pending::<()>().await;
        });
        let stalled = writer.drain().await.expect_err("the peer stops");
        assert_eq!(stalled.kind(), ErrorKind::TimedOut);
        let last = ms(35 * 10);
        assert!(now() >= last + ms(40), "{:?}", now());
        assert!(now() <= last + ms(50), "met to a quarter: {:?}", now());
        Ok(())
    })
}

#[test]
fn a_writer_that_lost_patience_aborts_when_it_is_dropped() -> io::Result<()> {
    in_simulated_time(async {
        let (writer, mut peer) = stuck(40).await;
        let transport = writer.transport().clone();
        assert!(writer.drain().await.is_err());
        drop(writer);
        assert_eq!(transport.get_write_buffer_size(), 0, "it is thrown away");
        peer.1.transport().resume_reading();
        assert!(peer.0.read_all().await?.len() < 1 << 20);
        Ok(())
    })
}

#[test]
fn a_writer_that_got_rid_of_its_bytes_after_all_closes_when_it_is_dropped() -> io::Result<()> {
    in_simulated_time(async {
        let (writer, mut peer) = stuck(40).await;
        assert!(writer.drain().await.is_err());
        peer.1.transport().resume_reading();
        let reads = create_task(async move { peer.0.read_all().await });
        writer.drain().await?;
        drop(writer);
        assert_eq!(reads.await??.len(), 1 << 20);
        Ok(())
    })
}

#[test]
fn a_writers_limit_that_is_lifted_while_it_waits_leaves_no_trace() -> io::Result<()> {
    in_simulated_time(async {
        let (writer, _peer) = stuck(40).await;
        let writer = Rc::new(writer);
        let waits = writer.clone();
        let waits = create_task(async move { waits.drain().await });
        yield_now().await;
        writer.set_write_timeout(None);
        assert!(waits.await?.is_err(), "of the wait that had begun");
        assert_eq!(writer.write_timeout(), None);
        let forever = timeout(ms(1000), writer.drain()).await;
        assert_eq!(forever.map(drop), Err(TimedOut));
        Ok(())
    })
}

#[test]
fn copying_has_the_limit_of_its_writer() -> io::Result<()> {
    in_simulated_time(async {
        let (writer, _peer) = stuck(40).await;
        let ((mut reader, _), (_keeps, source)) = memory_stream_pair(1024);
        source.write("some");
        let error = copy(&mut reader, &writer).await.expect_err("it stalls");
        assert_eq!((error.kind(), now()), (ErrorKind::TimedOut, ms(40)));
        Ok(())
    })
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// A reader whose waits are limited to so many milliseconds, and its peer's writer.
fn limited(millis: u64) -> (StreamReader, Rc<StreamWriter>) {
    let ((mut reader, writer), (peer_reader, peer)) = memory_stream_pair(1024);
    // Both streams stay open, until the loop is closed.
    create_task(async move {
        let _kept = (writer, peer_reader);
        pending::<()>().await;
    });
    reader.set_read_timeout(Some(ms(millis)));
    (reader, Rc::new(peer))
}

/// A writer of so much patience, in milliseconds, that has a megabyte queued; and its peer.
async fn stuck(millis: u64) -> (StreamWriter, (StreamReader, StreamWriter)) {
    let ((_reader, writer), peer) = memory_stream_pair(1024);
    writer.set_write_timeout(Some(ms(millis)));
    writer.write(vec![0; 1 << 20]);
    peer.1.transport().pause_reading();
    yield_now().await; // until its connection_made it is told of no pause
    (writer, peer)
}

fn now() -> Duration {
    get_running_loop().expect("a loop runs").time()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn in_simulated_time(main: impl Future<Output = io::Result<()>> + 'static) -> io::Result<()> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(main)
}
