//! Cancelled tasks, tasks that panic, and reads that are given up: nothing is lost.
//!
//! CAN-21, a client given up at each of its steps, counts descriptors: see `descriptors.rs`.

mod loop_support;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::panic::panic_any;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millstream::{
    Cancelled, Clock, EventLoop, ExceptionContext, JoinError, LoopHandle, Runner, StreamReader,
    Task, TimedOut, create_task, current_task, get_running_loop, memory_stream_pair,
    open_connection_sock, sleep, timeout, yield_now,
};

use loop_support::{CountsDrops, Reports};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

// ── one task ────────────────────────────────────────────────────────────────────

#[test]
fn can_01_a_cancelled_read_stops_where_it_waits_and_leaves_the_reader_usable() -> io::Result<()> {
    in_simulated_time(async {
        let reader = Rc::new(RefCell::new(Some(StreamReader::new())));
        let feed = reader.borrow().as_ref().map(StreamReader::feeder);
        let feed = feed.expect("the reader is there");
        let drops = Rc::new(Cell::new(0));

        let lent = Lent::new(&reader);
        let counter = CountsDrops(drops.clone());
        let reading = create_task(async move {
            let _counter = counter;
            let mut lent = lent;
            let read = lent.reader().read(10).await;
            unreachable!("it is cancelled before, and read {read:?}");
        });
        yield_now().await;
        assert!(reading.cancel());
        assert!(reading.cancel(), "it has not ended yet");
        assert_eq!(drops.get(), 0, "cancelling takes effect at the next step");
        let outcome: Result<(), JoinError> = reading.await;
        assert!(matches!(outcome, Err(JoinError::Cancelled)));
        assert_eq!(drops.get(), 1);

        feed.feed_data(b"for another");
        let mut again = Lent::new(&reader);
        let other = create_task(async move { again.reader().read(100).await });
        assert_eq!(other.await??, b"for another");
        Ok(())
    })
}

#[test]
fn can_02_reads_cancelled_in_the_turn_of_their_bytes_lose_nothing() -> io::Result<()> {
    for seed in 1..=1000 {
        let read_by_all = in_simulated_time(feed_and_cancel(Random(seed)))?;
        assert_eq!(read_by_all, numbered(256), "with the seed {seed}");
    }
    Ok(())
}

/// Feeds 256 bytes in portions while tasks that read are cancelled, in a random order,
/// and returns all that was read.
async fn feed_and_cancel(mut random: Random) -> io::Result<Vec<u8>> {
    let reader = Rc::new(RefCell::new(Some(StreamReader::new())));
    let feed = reader.borrow().as_ref().map(StreamReader::feeder);
    let feed = feed.expect("the reader is there");
    let read_by_all = Rc::new(RefCell::new(Vec::new()));
    let to_feed = numbered(256);
    let mut portions = to_feed.chunks(16);
    let mut is_fed = false;
    while !is_fed {
        let (mut lent, kept) = (Lent::new(&reader), read_by_all.clone());
        let n = 1 + random.below(12);
        let reading = create_task(async move {
            let read = lent.reader().read(n).await;
            // No suspension between the read and this: what was read counts.
            kept.borrow_mut().extend(read.expect("nothing breaks"));
        });
        if random.below(2) == 0 {
            yield_now().await; // the read waits, or has read what was left
        }
        let (fed, cancelled) = (random.below(3) > 0, random.below(3) > 0);
        let feeds_first = random.below(2) == 0;
        for feeds in [feeds_first, !feeds_first] {
            if feeds && fed {
                match portions.next() {
                    Some(portion) => feed.feed_data(portion),
                    None => is_fed = true,
                }
            } else if !feeds && cancelled {
                reading.cancel();
            }
        }
        if !cancelled && !fed {
            reading.cancel();
        }
        if is_fed {
            feed.feed_eof();
        }
        let _ended_in_some_way = reading.await;
    }
    feed.feed_eof();
    let mut rest = Lent::new(&reader).reader().read_all().await?;
    let mut all = read_by_all.take();
    all.append(&mut rest);
    Ok(all)
}

#[test]
fn can_05_a_line_that_comes_after_a_timeout_is_whole() -> io::Result<()> {
    in_simulated_time(async {
        let ((mut reader, _writer), (_other_reader, other_writer)) = memory_stream_pair(1024);
        let writing = create_task(async move {
            other_writer.write(b"a who");
            sleep(ms(20)).await;
            other_writer.write(b"le line\n");
            other_writer
        });
        let timed_out = timeout(ms(10), reader.readline()).await;
        assert!(matches!(timed_out, Err(TimedOut)));
        assert_eq!(reader.readline().await?, b"a whole line\n");
        writing.await.map(drop).map_err(io::Error::from)
    })
}

#[test]
fn can_06_a_task_cancelled_before_its_first_step_is_never_polled() -> io::Result<()> {
    in_simulated_time(async {
        let drops = Rc::new(Cell::new(0));
        let counter = CountsDrops(drops.clone());
        let task = create_task(async move {
            let _counter = counter;
            unreachable!("it is cancelled before");
        });
        assert!(task.cancel());
        let outcome: Result<(), JoinError> = task.await;
        assert!(outcome.is_err_and(|error| error.is_cancelled()));
        assert_eq!(drops.get(), 1);
        Ok(())
    })
}

#[test]
fn cancelling_wins_over_a_wake_that_is_on_its_way() -> io::Result<()> {
    in_simulated_time(async {
        let (promise, future) = millstream::create_future();
        let task = create_task(future);
        yield_now().await;
        promise.set_result(());
        task.cancel();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        Ok(())
    })
}

#[test]
fn a_task_that_ended_can_not_be_cancelled() -> io::Result<()> {
    in_simulated_time(async {
        let task = create_task(async { 42 });
        yield_now().await;
        assert!(task.done());
        assert!(!task.cancel());
        assert!(!task.cancelled());
        assert_eq!(task.await?, 42);
        Ok(())
    })
}

#[test]
fn a_cancellation_is_known_as_an_io_error() -> io::Result<()> {
    in_simulated_time(async {
        let task = create_task(pending::<()>());
        task.cancel();
        let error = io::Error::from(task.await.expect_err("it was cancelled"));
        assert!(Cancelled::is(&error));
        assert_eq!(error.kind(), ErrorKind::Other);
        Ok(())
    })
}

#[test]
fn can_08_a_panic_in_the_drop_of_a_cancelled_future_is_what_joining_gives() -> io::Result<()> {
    in_simulated_time(async {
        let task = create_task(async {
            let _unruly = PanicsOnDrop("broke while it was dropped");
            pending::<()>().await;
        });
        yield_now().await;
        task.cancel();
        let error = task.await.expect_err("it was cancelled");
        assert_eq!(
            error.to_string(),
            "task panicked: broke while it was dropped"
        );
        assert_eq!(create_task(async { 42 }).await?, 42, "the loop lives");
        Ok(())
    })
}

#[test]
fn can_09_a_panic_ends_its_task_alone_and_closes_its_socket() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, mut theirs) = UnixStream::pair()?;
    event_loop.run_until_complete(async move {
        let other = create_task(async {
            yield_now().await;
            yield_now().await;
            "unharmed"
        });
        let task = create_task(async move {
            let (_reader, _writer) = open_connection_sock(ours).await?;
            if true {
                panic_any(42_u32);
            }
            io::Result::Ok(())
        });
        let Err(JoinError::Panicked(payload)) = task.await else {
            panic!("the task panics");
        };
        assert_eq!(payload.message(), None);
        assert_eq!(payload.into_inner().downcast_ref::<u32>(), Some(&42));
        assert_eq!(other.await?, "unharmed");
        io::Result::Ok(())
    })??;
    // The transport closes itself in a turn that follows.
    run_until_idle(&event_loop)?;
    assert_eq!(theirs.read(&mut [0])?, 0);
    Ok(())
}

#[test]
fn can_11_a_panic_that_nobody_awaits_is_reported_once() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    // Detached before it panics, and after.
    let task = event_loop.create_task(async { panic!("the wheel broke") });
    drop::<Task<()>>(task);
    run_until_idle(&event_loop)?;
    let task = event_loop.create_task(async { panic!("the axle broke") });
    task.set_name("axle");
    run_until_idle(&event_loop)?;
    assert_eq!(reports.len(), 1, "the second may still be awaited");
    reports.take();
    drop::<Task<()>>(task);
    run_until_idle(&event_loop)?;

    let [report] = reports.take().try_into().expect("there is one report");
    let report: ExceptionContext = report;
    assert_eq!(report.message, "Task exception was never retrieved");
    assert_eq!(report.task.as_deref(), Some("axle"));
    assert_eq!(report.exception.as_deref(), Some("the axle broke"));
    Ok(())
}

#[test]
fn a_panic_that_was_awaited_is_not_reported() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let joined = event_loop
        .run_until_complete(async { create_task(async { panic!("the wheel broke") }).await })?;
    let joined: Result<(), JoinError> = joined;
    assert!(joined.is_err_and(|error| error.is_panic()));
    assert_eq!(reports.take(), []);
    Ok(())
}

#[test]
fn can_17_a_failure_within_a_timeout_is_told_as_it_is() -> io::Result<()> {
    in_simulated_time(async {
        let fails = async {
            sleep(ms(1)).await;
            Err::<(), _>(io::Error::from(ErrorKind::BrokenPipe))
        };
        let failed = timeout(ms(10), fails).await?;
        assert_eq!(failed.expect_err("it fails").kind(), ErrorKind::BrokenPipe);
        Ok(())
    })
}

#[test]
fn can_18_a_task_cancelled_within_a_timeout_is_cancelled_not_timed_out() -> io::Result<()> {
    in_simulated_time(async {
        let task = create_task(timeout(ms(10), pending::<()>()));
        sleep(ms(5)).await;
        task.cancel();
        assert!(matches!(task.await, Err(JoinError::Cancelled)));
        assert_eq!(get_running_loop()?.time(), ms(5));
        Ok(())
    })
}

#[test]
fn can_22_a_task_that_outlives_its_loop_is_cancelled() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let waiting = event_loop.create_task(pending::<()>());
    let unstarted = event_loop.create_task(async { 42 });
    let ended = event_loop.create_task(async { 43 });
    event_loop.turn(AT_ONCE)?;
    let unstarted_later = event_loop.create_task(async { 44 });
    drop(event_loop);

    assert!(waiting.done() && waiting.cancelled());
    assert!(!waiting.cancel());
    assert_eq!(waiting.get_name(), "Task-1");
    assert!(matches!(
        poll_once(waiting),
        Poll::Ready(Err(JoinError::Cancelled))
    ));
    assert!(matches!(
        poll_once(unstarted_later),
        Poll::Ready(Err(JoinError::Cancelled))
    ));
    assert!(matches!(poll_once(unstarted), Poll::Ready(Ok(42))));
    assert!(matches!(poll_once(ended), Poll::Ready(Ok(43))));
    Ok(())
}

#[test]
fn can_23_a_task_that_cancels_itself_ends_at_its_next_suspension() -> io::Result<()> {
    in_simulated_time(async {
        let went_on = Rc::new(Cell::new(false));
        let goes_on = went_on.clone();
        let task = create_task(async move {
            let own = current_task().expect("this is a task");
            assert!(own.cancel());
            assert!(!own.done());
            goes_on.set(true);
            yield_now().await;
            unreachable!("it is cancelled");
        });
        let outcome: Result<(), JoinError> = task.await;
        assert!(outcome.is_err_and(|error| error.is_cancelled()));
        assert!(went_on.get());
        Ok(())
    })
}

#[test]
fn a_task_that_cancels_itself_and_ends_in_the_same_step_has_its_result() -> io::Result<()> {
    in_simulated_time(async {
        let task = create_task(async {
            current_task().expect("this is a task").cancel();
            42
        });
        assert_eq!(task.await?, 42);
        Ok(())
    })
}

#[test]
fn can_25_of_two_reads_the_one_that_is_given_up_loses_nothing() -> io::Result<()> {
    in_simulated_time(async {
        let (mut first, mut second) = (StreamReader::new(), StreamReader::new());
        let (first_feed, second_feed) = (first.feeder(), second.feeder());
        let rounds = numbered(1000);
        for &byte in &rounds {
            let feeding = {
                let second_feed = second_feed.clone();
                create_task(async move { second_feed.feed_data(&[byte]) })
            };
            let (won, read) = either(first.readexactly(1000), second.read(10)).await;
            assert_eq!((won, read?), (Won::Second, vec![byte]));
            feeding.await?;
            // It comes when nobody reads: the next read is given up with it in sight.
            first_feed.feed_data(&[byte]);
        }
        assert_eq!(first.readexactly(1000).await?, rounds);
        Ok(())
    })
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// A reader that goes back to where it came from, also when a task is cancelled.
struct Lent {
    home: Rc<RefCell<Option<StreamReader>>>,
    reader: Option<StreamReader>,
}

impl Lent {
    fn new(home: &Rc<RefCell<Option<StreamReader>>>) -> Lent {
        Lent {
            reader: home.take(),
            home: home.clone(),
        }
    }

    fn reader(&mut self) -> &mut StreamReader {
        self.reader.as_mut().expect("whoever had it gave it back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.replace(self.reader.take());
    }
}

struct PanicsOnDrop(&'static str);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

/// Small random numbers that the seed determines (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Which of two futures was ready first.
#[derive(Debug, PartialEq)]
enum Won {
    First,
    Second,
}

/// Awaits two futures until one is ready, and drops the other.
async fn either<T>(first: impl Future<Output = T>, second: impl Future<Output = T>) -> (Won, T) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        if let Poll::Ready(value) = first.as_mut().poll(cx) {
            return Poll::Ready((Won::First, value));
        }
        second.as_mut().poll(cx).map(|value| (Won::Second, value))
    })
    .await
}

/// Bytes by which one can tell whether any are missing.
fn numbered(len: usize) -> Vec<u8> {
    (0..len).map(|nth| (nth % 251) as u8).collect()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn in_simulated_time<T: 'static>(
    main: impl Future<Output = io::Result<T>> + 'static,
) -> io::Result<T> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(main)
}

fn run_until_idle(handle: &LoopHandle) -> io::Result<()> {
    while handle.turn(AT_ONCE)? == AT_ONCE {}
    Ok(())
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future: Pin<Box<F>> = Box::pin(future);
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}
