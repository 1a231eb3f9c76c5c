//! Spinning: a loop that asks its poller again and again before it falls asleep.
//!
//! Nothing here is held against a time: a loop that spins for ever never sleeps, and its
//! statistics tell which of the two it did.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use millstream::{
    Clock, EventLoop, LoopHandle, Runner, get_running_loop, open_unix_connection_sock, sleep,
    to_thread,
};

const MILLISECOND: Duration = Duration::from_millis(1);

const FOR_EVER: Duration = Duration::MAX;

#[test]
fn a_loop_does_not_spin_unless_told_to() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    assert_eq!(event_loop.spin_duration(), Duration::ZERO);
    event_loop.run_until_complete(sleep(100 * MILLISECOND))?;
    let statistics = event_loop.statistics();
    assert_eq!(statistics.time_spinning, Duration::ZERO);
    assert!(statistics.time_asleep > Duration::ZERO);
    Ok(())
}

#[test]
fn a_loop_that_spins_fires_a_timer_and_not_before_its_time() -> io::Result<()> {
    let event_loop = spins_for(FOR_EVER)?;
    event_loop.run_until_complete(async {
        let handle = get_running_loop().expect("it runs");
        for _ in 0..10 {
            let due = handle.time() + MILLISECOND;
            sleep(MILLISECOND).await;
            assert!(handle.time() >= due);
        }
    })?;
    assert_slept_never(&event_loop);
    Ok(())
}

#[test]
fn a_loop_that_spins_sees_a_socket_become_readable() -> io::Result<()> {
    let (ours, theirs) = UnixStream::pair()?;
    let peer = thread::spawn(move || echo(theirs));
    let runner = Runner::new()?.spin(FOR_EVER);
    let event_loop = runner.get_loop();
    runner.run(async {
        let (mut reader, writer) = open_unix_connection_sock(ours).await?;
        for byte in 0..100 {
            writer.write([byte]);
            assert_eq!(reader.readexactly(1).await?, [byte]);
        }
        io::Result::Ok(())
    })?;
    assert_slept_never(&event_loop);
    runner.close()?;
    peer.join().expect("the peer does not panic")
}

#[test]
fn a_loop_that_spins_sees_what_another_thread_sends() -> io::Result<()> {
    let event_loop = spins_for(FOR_EVER)?;
    let (remote, ran_on) = (event_loop.remote(), thread::current().id());
    let thread = thread::spawn(move || {
        remote.call_soon_threadsafe(move || assert_eq!(thread::current().id(), ran_on))?;
        remote.stop_threadsafe()
    });
    event_loop.run_forever()?;
    thread.join().expect("the thread does not panic")?;
    assert_slept_never(&event_loop);
    Ok(())
}

#[test]
fn no_call_from_another_thread_is_lost_between_spinning_and_sleeping() -> io::Result<()> {
    // About as long as a thread takes to answer: the answer comes before the loop falls
    // asleep, while it does, and after.
    for spin in [1, 5, 10, 20].map(Duration::from_micros) {
        let event_loop = spins_for(spin)?;
        event_loop.run_until_complete(async {
            for number in 0..1000 {
                assert_eq!(to_thread(move || number).await.ok(), Some(number));
            }
        })?;
    }
    Ok(())
}

#[test]
fn a_loop_that_has_spun_long_enough_sleeps() -> io::Result<()> {
    let event_loop = spins_for(MILLISECOND)?;
    // The system may take the processor away for longer than a turn, but not each time.
    for _ in 0..1000 {
        event_loop.turn(Some(20 * MILLISECOND))?;
        let statistics = event_loop.statistics();
        assert!(statistics.time_spinning >= MILLISECOND);
        if statistics.time_asleep > Duration::ZERO {
            return Ok(());
        }
    }
    panic!("it never slept");
}

#[test]
fn a_turn_spins_no_longer_than_it_may_wait() -> io::Result<()> {
    let event_loop = spins_for(FOR_EVER)?;
    event_loop.turn(Some(Duration::ZERO))?;
    assert_eq!(event_loop.statistics().time_spinning, Duration::ZERO);
    event_loop.turn(Some(MILLISECOND))?;
    assert!(event_loop.statistics().time_spinning >= MILLISECOND);
    assert_slept_never(&event_loop);
    Ok(())
}

#[test]
fn a_loop_with_work_does_not_spin() -> io::Result<()> {
    let event_loop = spins_for(FOR_EVER)?;
    requeues_itself(event_loop.handle(), 1000);
    event_loop.run_forever()?;
    assert_eq!(event_loop.statistics().time_spinning, Duration::ZERO);
    Ok(())
}

#[test]
fn simulated_time_jumps_on_a_loop_that_is_told_to_spin() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    event_loop.set_spin_duration(FOR_EVER);
    event_loop.run_until_complete(sleep(Duration::from_secs(3600)))?;
    let statistics = event_loop.statistics();
    assert_eq!(statistics.time, Duration::from_secs(3600));
    assert_eq!(statistics.time_spinning, Duration::ZERO);
    Ok(())
}

fn spins_for(duration: Duration) -> io::Result<EventLoop> {
    let event_loop = EventLoop::new()?;
    event_loop.set_spin_duration(duration);
    assert_eq!(event_loop.spin_duration(), duration);
    Ok(event_loop)
}

fn assert_slept_never(handle: &LoopHandle) {
    assert_eq!(handle.statistics().time_asleep, Duration::ZERO);
}

/// Queues itself so many times, and then stops the loop.
fn requeues_itself(handle: LoopHandle, times: u32) {
    let again = handle.clone();
    let queued = handle.call_soon(move || match times.checked_sub(1) {
        Some(times) => requeues_itself(again, times),
        None => again.stop(),
    });
    queued.expect("the loop is open");
}

fn echo(mut stream: UnixStream) -> io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte)? > 0 {
        stream.write_all(&byte)?;
    }
    Ok(())
}
