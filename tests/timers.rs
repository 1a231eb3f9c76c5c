//! Timers: what is due when, on real clocks and on simulated ones.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use millstream::{
    Clock, EventLoop, LoopHandle, Runner, TimedOut, TimerHandle, create_task, get_running_loop,
    memory_stream_pair, open_connection_sock, sleep, timeout, timeout_at, yield_now,
};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

#[test]
fn tim_01_a_timer_fires_once_and_not_before_its_time() -> io::Result<()> {
    for clock in [Clock::monotonic(), Clock::simulated()] {
        let event_loop = EventLoop::with_clock(clock)?;
        let fired_at = Rc::new(RefCell::new(Vec::new()));
        let (noted, handle) = (fired_at.clone(), event_loop.handle());
        let before = event_loop.time();
        let timer = event_loop.call_later(ms(10), move || {
            noted.borrow_mut().push(handle.time());
            handle.stop();
        })?;
        let after = event_loop.time();
        event_loop.run_forever()?;
        event_loop.turn(Some(ms(15)))?;

        assert!(timer.when() >= before + ms(10) && timer.when() <= after + ms(10));
        let fired_at = fired_at.take();
        assert_eq!(fired_at.len(), 1);
        assert!(fired_at[0] >= timer.when());
        assert!(!timer.cancelled());
    }
    Ok(())
}

#[test]
fn tim_02_timers_fire_in_the_order_of_their_times() -> io::Result<()> {
    let event_loop = simulated()?;
    let fired = Fired::default();
    for delay in [30, 10, 20] {
        event_loop.call_later(ms(delay), fired.notes(delay))?;
    }
    run_until_idle(&event_loop)?;
    fired.expects(&[10, 20, 30]);
    Ok(())
}

#[test]
fn d_1_timers_for_the_same_time_fire_in_the_order_they_were_set_in() -> io::Result<()> {
    let event_loop = simulated()?;
    let fired = Fired::default();
    for nth in 0..100 {
        event_loop.call_at(ms(10), fired.notes(nth))?;
    }
    run_until_idle(&event_loop)?;
    fired.expects(&(0..100).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn tim_04_c_12_times_that_are_over_come_after_call_soon_in_their_order() -> io::Result<()> {
    let event_loop = simulated()?;
    run_for(&event_loop, ms(100))?;
    let (t1, t0, past, soon) = (4, 3, 2, 1);
    let fired = Fired::default();
    event_loop.call_later(ms(10), fired.notes(t1))?;
    event_loop.call_later(Duration::ZERO, fired.notes(t0))?;
    event_loop.call_at(event_loop.time() - ms(5), fired.notes(past))?;
    event_loop.call_soon(fired.notes(soon))?;
    event_loop.turn(AT_ONCE)?;
    fired.expects(&[soon, past, t0]);
    run_until_idle(&event_loop)?;
    fired.expects(&[t1]);
    Ok(())
}

#[test]
fn tim_05_a_timer_for_a_time_that_is_over_fires_in_the_next_turn() -> io::Result<()> {
    let event_loop = simulated()?;
    run_for(&event_loop, Duration::from_secs(60))?;
    let fired = Fired::default();
    let timer = event_loop.call_at(Duration::from_secs(55), fired.notes(1))?;
    event_loop.turn(AT_ONCE)?;
    fired.expects(&[1]);
    assert_eq!(timer.when(), Duration::from_secs(55));
    assert_eq!(
        event_loop.time(),
        Duration::from_secs(60),
        "time goes on from here"
    );
    Ok(())
}

#[test]
fn tim_06_endless_delays_neither_fire_nor_disturb() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let fired = Fired::default();
    for delay in endless() {
        event_loop.call_later(delay, fired.notes(0))?;
        event_loop.call_at(delay, fired.notes(0))?;
        event_loop.create_task(sleep(delay));
        event_loop.create_task(timeout(delay, pending::<()>()));
        event_loop.create_task(timeout_at(delay, pending::<()>()));
    }
    let may_sleep = event_loop.turn(AT_ONCE)?;
    let may_sleep = may_sleep.expect("there are timers");
    assert!(
        may_sleep <= Duration::from_secs(24 * 60 * 60),
        "{may_sleep:?}"
    );

    let (ours, theirs) = UnixStream::pair()?;
    let tasks = event_loop.census().tasks;
    event_loop.run_until_complete(async move {
        let (mut reader, _writer) = open_connection_sock(ours).await?;
        let writing = create_task(async move {
            sleep(ms(1)).await;
            (&theirs).write_all(b"served\n").map(|()| theirs)
        });
        assert_eq!(reader.readline().await?, b"served\n");
        writing.await?.map(drop)
    })??;
    fired.expects(&[]);
    assert_eq!(event_loop.census().tasks, tasks, "they all sleep");
    Ok(())
}

#[test]
fn tim_06_endless_delays_end_on_a_simulated_clock_only_where_they_are_due() -> io::Result<()> {
    let event_loop = simulated()?;
    let fired = Fired::default();
    event_loop.call_later(Duration::from_millis(1 << 36), fired.notes(36))?;
    event_loop.call_later(Duration::MAX, fired.notes(0))?;
    // Time jumps by a day at the most, so this takes 795 turns: 2^36 ms are 795.4 days.
    for _ in 0..796 {
        fired.expects(&[]);
        event_loop.turn(None)?;
    }
    fired.expects(&[36]);
    assert_eq!(event_loop.time(), Duration::from_millis(1 << 36));
    Ok(())
}

#[test]
fn tim_08_most_timers_cancelled_leave_the_heap_and_the_rest_fire_in_order() -> io::Result<()> {
    let event_loop = simulated()?;
    let fired = Fired::default();
    let mut timers = Vec::new();
    for nth in 0..200 {
        timers.push(event_loop.call_later(Duration::from_secs(1000 + nth), fired.notes(nth))?);
    }
    // Those at the front stay, so that none is dropped for lying on top.
    timers.drain(50..).for_each(|timer| timer.cancel());
    assert_eq!(event_loop.census().timers, 200);
    event_loop.turn(AT_ONCE)?;
    assert!(
        event_loop.census().timers <= 100,
        "{:?}",
        event_loop.census()
    );
    run_until_idle(&event_loop)?;
    fired.expects(&(0..50).collect::<Vec<_>>());
    assert_eq!(event_loop.census().timers, 0);
    Ok(())
}

#[test]
fn a_hundred_timers_or_fewer_are_left_where_they_are() -> io::Result<()> {
    let event_loop = simulated()?;
    let mut timers = Vec::new();
    for nth in 0..100 {
        timers.push(event_loop.call_later(Duration::from_secs(nth + 1), || {})?);
    }
    timers[1..].iter().for_each(TimerHandle::cancel);
    event_loop.turn(AT_ONCE)?;
    assert_eq!(event_loop.census().timers, 100);
    timers[0].cancel();
    event_loop.turn(AT_ONCE)?;
    assert_eq!(event_loop.census().timers, 0, "those on top are dropped");
    Ok(())
}

#[test]
fn cancelling_a_timer_drops_its_callback_at_once() -> io::Result<()> {
    let event_loop = simulated()?;
    let held = Rc::new(());
    let callback_holds = held.clone();
    let timer = event_loop.call_later(ms(10), move || drop(callback_holds))?;
    timer.cancel();
    assert!(timer.cancelled());
    assert_eq!(Rc::strong_count(&held), 1);
    assert_eq!(
        event_loop.turn(AT_ONCE)?,
        None,
        "nothing is left to wait for"
    );
    Ok(())
}

#[test]
fn tim_11_a_timer_cancelled_by_one_of_the_same_turn_does_not_fire() -> io::Result<()> {
    let event_loop = simulated()?;
    let fired = Fired::default();
    let second = Rc::new(RefCell::new(None::<TimerHandle>));
    let (known, noted) = (second.clone(), fired.clone());
    event_loop.call_at(ms(10), move || {
        noted.note(1);
        let second = known
            .borrow_mut()
            .take()
            .expect("it was set behind this one");
        second.cancel();
    })?;
    second.replace(Some(event_loop.call_at(ms(10), fired.notes(2))?));
    event_loop.call_at(ms(10), fired.notes(3))?;
    run_until_idle(&event_loop)?;
    fired.expects(&[1, 3]);
    Ok(())
}

#[test]
fn of_thousands_due_in_one_turn_each_fires_in_its_order_unless_one_before_cancels_it()
-> io::Result<()> {
    const MANY: u64 = 20_000;
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    let fired = Fired::default();
    let timers: Rc<RefCell<Vec<TimerHandle>>> = Rc::default();
    let mut expected = Vec::new();
    for nth in 0..MANY {
        // In no order, ten at a time: the later ones of ten are set later.
        let when = 1 + nth * 7_919 % (MANY / 10);
        let (note, others) = (fired.notes(nth), timers.clone());
        let timer = event_loop.call_at(ms(when), move || {
            note();
            // One that is due at the same time, set right after: if it waits, it never fires.
            if nth % 5 == 0 {
                others.borrow()[(nth + MANY / 10) as usize % MANY as usize].cancel();
            }
        })?;
        timers.borrow_mut().push(timer);
        expected.push((when, nth));
    }
    expected.sort_unstable();
    let mut cancelled = vec![false; MANY as usize];
    expected.retain(|&(_, nth)| {
        if !cancelled[nth as usize] && nth % 5 == 0 {
            cancelled[((nth + MANY / 10) % MANY) as usize] = true;
        }
        !cancelled[nth as usize]
    });
    clock.advance(ms(MANY));
    event_loop.turn(AT_ONCE)?;
    let expected: Vec<u64> = expected.into_iter().map(|(_, nth)| nth).collect();
    fired.expects(&expected);
    Ok(())
}

#[test]
fn tim_13_short_sleeps_neither_spin_nor_end_early() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let sleeping = event_loop.create_task(async move {
        for delay in [Duration::from_micros(100), Duration::from_micros(1500)] {
            for _ in 0..100 {
                let began = handle.time();
                sleep(delay).await;
                assert!(handle.time() - began >= delay);
            }
        }
    });
    let mut turns = 0;
    while !sleeping.done() {
        event_loop.turn(None)?;
        turns += 1;
    }
    assert!(turns < 200 * 4, "{turns} turns for 200 sleeps");
    Ok(())
}

#[test]
fn tim_14_a_sleep_that_is_reset_ends_at_the_last_deadline_alone() -> io::Result<()> {
    let (began, earlier, later) = (ms(10), ms(5), ms(20));
    for set_to in [later, earlier, Duration::ZERO] {
        in_simulated_time(async move {
            let handle = get_running_loop()?;
            let mut sleeping = pin!(sleep(began));
            assert_eq!(timeout(ms(1), sleeping.as_mut()).await, Err(TimedOut));
            let reset_at = handle.time();
            sleeping.reset(set_to);
            sleeping.await;
            assert_eq!(handle.time(), reset_at + set_to);
            assert_eq!(handle.census().timers, 0, "the first deadline is forgotten");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tim_14_a_sleep_that_is_reset_after_its_end_sleeps_again() -> io::Result<()> {
    in_simulated_time(async {
        let handle = get_running_loop()?;
        let mut sleeping = pin!(sleep(ms(10)));
        sleeping.as_mut().await;
        sleeping.reset(ms(10));
        sleeping.await;
        assert_eq!(handle.time(), ms(20));
        Ok(())
    })
}

#[test]
fn tim_14_a_sleep_that_is_reset_wakes_its_task_once() -> io::Result<()> {
    in_simulated_time(async {
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let mut sleeping = Box::pin(sleep(ms(10)));
        let task = create_task(std::future::poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            if counted.get() == 1 {
                sleeping.reset(ms(30));
            }
            sleeping.as_mut().poll(cx)
        }));
        task.await?;
        assert_eq!(polls.get(), 2, "once to begin, once when it was over");
        assert_eq!(get_running_loop()?.time(), ms(30));
        Ok(())
    })
}

#[test]
fn a_sleep_that_is_dropped_leaves_no_timer() -> io::Result<()> {
    in_simulated_time(async {
        let handle = get_running_loop()?;
        let sleeping = create_task(sleep(Duration::from_secs(3600)));
        yield_now().await;
        assert_eq!(handle.census().timers, 1);
        sleeping.cancel();
        yield_now().await;
        yield_now().await;
        assert_eq!(handle.census().timers, 0);
        assert_eq!(handle.time(), Duration::ZERO);
        Ok(())
    })
}

#[test]
fn a_sleep_of_zero_suspends_for_one_turn() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let steps = Rc::new(Cell::new(0));
    let counted = steps.clone();
    event_loop.create_task(async move {
        for _ in 0..3 {
            counted.set(counted.get() + 1);
            sleep(Duration::ZERO).await;
        }
    });
    for turn in 1..=3 {
        event_loop.turn(AT_ONCE)?;
        assert_eq!(steps.get(), turn);
    }
    Ok(())
}

#[test]
fn tim_16_simulated_time_jumps_from_one_event_to_the_next() -> io::Result<()> {
    const MINUTE: Duration = Duration::from_secs(60);
    let began = Instant::now();
    let order = Fired::default();
    let noted = order.clone();
    in_simulated_time(async move {
        let handle = get_running_loop()?;
        let ((mut reader, _writer), (_other_reader, other_writer)) = memory_stream_pair(1024);
        let feeding = create_task(async move {
            sleep(10 * MINUTE).await;
            other_writer.write(b"flour\n");
            other_writer
        });
        let (noted_10, clock) = (noted.clone(), handle.clone());
        let reading = create_task(async move {
            let line = reader.readline().await;
            assert_eq!(clock.time(), 10 * MINUTE);
            noted_10.note(10);
            line.map_err(io::Error::from)
        });
        sleep(60 * MINUTE).await;
        noted.note(60);
        assert_eq!(handle.time(), 60 * MINUTE);
        assert_eq!(reading.await??, b"flour\n");
        feeding.await.map(drop).map_err(io::Error::from)
    })?;
    order.expects(&[10, 60]);
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "an hour passed in no time"
    );
    Ok(())
}

#[test]
fn tim_17_d_25_a_result_that_is_ready_wins() -> io::Result<()> {
    in_simulated_time(async {
        assert_eq!(timeout(ms(5), ready(1)).await, Ok(1));
        assert_eq!(timeout(Duration::ZERO, ready(2)).await, Ok(2));
        assert_eq!(
            timeout(Duration::ZERO, pending::<()>()).await,
            Err(TimedOut)
        );
        let handle = get_running_loop()?;
        assert_eq!(handle.time(), Duration::ZERO);
        // Both the sleep and the timeout are due at the same moment.
        assert_eq!(timeout(ms(5), sleep(ms(5))).await, Ok(()));
        assert_eq!(handle.census().timers, 0);
        Ok(())
    })
}

#[test]
fn tim_17_a_timeout_of_zero_polls_once() -> io::Result<()> {
    in_simulated_time(async {
        let polls = Cell::new(0);
        let counted = std::future::poll_fn(|_| {
            polls.set(polls.get() + 1);
            std::task::Poll::<()>::Pending
        });
        assert_eq!(timeout(Duration::ZERO, counted).await, Err(TimedOut));
        assert_eq!(polls.get(), 1);
        Ok(())
    })
}

#[test]
fn d_4_d_25_a_result_that_waits_only_for_the_budget_wins() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _writer), (_other_reader, other_writer)) = memory_stream_pair(1024);
        other_writer.write([7; 1000]);
        reader.readexactly(1).await?; // the others are there by now
        for nth in 0..500 {
            let read = timeout(Duration::ZERO, reader.readexactly(1)).await;
            assert!(read.is_ok(), "read {nth} is ready");
        }
        Ok(())
    })
}

#[test]
fn d_4_a_loop_of_timeouts_lets_the_others_have_their_turn() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _writer), (_other_reader, other_writer)) = memory_stream_pair(1024);
        create_task(async move {
            other_writer.write(b"x");
            pending::<()>().await;
        });
        for _ in 0..1_000_000 {
            if let Ok(read) = timeout(Duration::ZERO, reader.read(1)).await {
                assert_eq!(read?, b"x");
                return Ok(());
            }
        }
        panic!("the other task never ran");
    })
}

#[test]
fn d_4_a_future_that_spends_each_budget_is_given_up_in_time() -> io::Result<()> {
    in_simulated_time(async {
        let (clock, deadline) = (get_running_loop()?, ms(10));
        let ((_reader, writer), _other_end) = memory_stream_pair(1024);
        let passes = clock.clone();
        let spends_all = async move {
            loop {
                writer.drain().await?;
                if passes.time() < deadline {
                    sleep(deadline).await;
                }
            }
        };
        let never: Result<io::Result<()>, TimedOut> = timeout_at(deadline, spends_all).await;
        assert!(matches!(never, Err(TimedOut)));
        Ok(())
    })
}

#[test]
fn a_timeout_converts_into_an_io_error() {
    let error = io::Error::from(TimedOut);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "timed out");
}

#[test]
fn tim_19_a_timer_that_is_overdue_fires_right_after_the_callback_that_was_slow() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let fired = Fired::default();
    let timer = event_loop.call_later(ms(10), fired.notes(1))?;
    let (handle, noted) = (event_loop.handle(), fired.clone());
    event_loop.call_soon(move || {
        let began = handle.time();
        thread::sleep(ms(50));
        assert!(handle.time() >= began + ms(50), "the time is read anew");
        noted.note(0);
    })?;
    event_loop.turn(AT_ONCE)?;
    assert!(event_loop.time() >= timer.when());
    event_loop.turn(AT_ONCE)?;
    fired.expects(&[0, 1]);
    Ok(())
}

#[test]
fn a_timer_that_a_slow_callback_sets_late_does_not_fire_early() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let fired_after = Rc::new(Cell::new(None));
    let (handle, noted) = (event_loop.handle(), fired_after.clone());
    event_loop.call_soon(move || {
        thread::sleep(ms(20));
        let set_at = Instant::now();
        let stops = handle.clone();
        let callback = move || {
            noted.set(Some(set_at.elapsed()));
            stops.stop();
        };
        handle
            .call_later(ms(10), callback)
            .expect("the loop is open");
    })?;
    event_loop.run_forever()?;
    assert!(fired_after.get().is_some_and(|waited| waited >= ms(10)));
    Ok(())
}

#[test]
fn tim_21_of_two_nested_timeouts_the_shorter_expires() -> io::Result<()> {
    in_simulated_time(async {
        let handle = get_running_loop()?;
        let inner = timeout(ms(10), sleep(Duration::from_secs(1)));
        let both = timeout(ms(50), inner).await;
        assert_eq!(both, Ok(Err(TimedOut)));
        assert_eq!(handle.time(), ms(10));
        yield_now().await; // a turn begins by dropping what was cancelled
        assert_eq!(handle.census().timers, 0);
        Ok(())
    })
}

#[test]
fn tim_22_two_deadlines_that_pass_in_one_step_expire_one_after_the_other() -> io::Result<()> {
    let clock = Clock::simulated();
    let event_loop = EventLoop::with_clock(clock.clone())?;
    Runner::on(event_loop).run(async move {
        let inner_result = Cell::new(None);
        let outer_result = timeout(ms(100), async {
            let blocked = async {
                clock.advance(ms(100)); // as a step that blocks the loop
                sleep(Duration::from_secs(1)).await;
            };
            inner_result.set(Some(timeout(ms(10), blocked).await));
            sleep(Duration::from_secs(10)).await;
        });
        assert_eq!(outer_result.await, Err(TimedOut));
        assert_eq!(inner_result.get(), Some(Err(TimedOut)));
        assert_eq!(get_running_loop()?.time(), ms(100));
        io::Result::Ok(())
    })
}

#[test]
fn timers_of_a_future_follow_it_to_another_task() -> io::Result<()> {
    in_simulated_time(async {
        let mut sleeping = Box::pin(sleep(ms(10)));
        // Polled in this task, then in another: the timer must wake the latter.
        assert_eq!(
            timeout(Duration::ZERO, sleeping.as_mut()).await,
            Err(TimedOut)
        );
        create_task(sleeping).await?;
        assert_eq!(get_running_loop()?.time(), ms(10));
        Ok(())
    })
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// Which timers fired, in order.
#[derive(Clone, Default)]
struct Fired(Rc<RefCell<Vec<u64>>>);

impl Fired {
    fn note(&self, which: u64) {
        self.0.borrow_mut().push(which);
    }

    fn notes(&self, which: u64) -> impl FnOnce() + 'static {
        let fired = self.clone();
        move || fired.note(which)
    }

    /// Holds what fired since the last time against what should have.
    #[track_caller]
    fn expects(&self, expected: &[u64]) {
        assert_eq!(self.0.take(), expected);
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Delays that no test will live to see the end of.
fn endless() -> [Duration; 5] {
    [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(u64::MAX / 10),
        Duration::from_millis(1 << 36),
        Duration::from_millis(i32::MAX as u64 + 1),
    ]
}

fn simulated() -> io::Result<EventLoop> {
    EventLoop::with_clock(Clock::simulated())
}

fn in_simulated_time(main: impl Future<Output = io::Result<()>> + 'static) -> io::Result<()> {
    Runner::on(simulated()?).run(main)
}

fn run_for(event_loop: &EventLoop, time: Duration) -> io::Result<()> {
    event_loop.run_until_complete(sleep(time))
}

/// Runs until there is neither work nor a timer.
fn run_until_idle(handle: &LoopHandle) -> io::Result<()> {
    while let Some(sleep) = handle.turn(AT_ONCE)? {
        handle.turn(Some(sleep))?;
    }
    Ok(())
}
