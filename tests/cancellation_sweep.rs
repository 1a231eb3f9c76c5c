//! The cancellation sweep: ten scripts, each given up at each of its polls, and nothing lost.
//!
//! ```text
//!   for k = 0, 1, 2, … until the script ends by itself:
//!     a new loop; the script runs as a task, which is cancelled when it has been polled k times
//!     what it left goes on until the loop is idle
//!     then: what came in = what was read + what is left; each lock, permit, item is there;
//!           no task, timer or source is left; each value was dropped once
//! ```
//!
//! CAN-21 does the same with a client on a real socket: see `descriptors.rs`.

mod loop_support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use millstream::{
    Barrier, Clock, Condition, Event, EventLoop, FIRST_COMPLETED, Lock, LoopHandle, PriorityQueue,
    Queue, Semaphore, StreamReader, StreamWriter, TaskGroup, Timeout, copy, create_task,
    current_task, gather, memory_stream_pair, shield, sleep, spawn_eager, timeout, wait, yield_now,
};

use loop_support::CountsDrops;

// ── the scripts ─────────────────────────────────────────────────────────────────

#[test]
fn reads_of_each_kind_lose_no_byte() -> io::Result<()> {
    sweep(|world| {
        let stream = Stream::new(64);
        let feeding = stream.clone();
        world.beside(async move {
            for part in WHOLE.chunks(7) {
                feeding.peer.write(part);
                feeding.peer.drain().await?;
                sleep(ms(1)).await;
            }
            feeding.peer.write_eof()
        });
        let script = read_in_all_ways(stream.clone());
        world.check(async move {
            let mut all = stream.taken.take();
            all.extend(stream.lend().reader().read_all().await?);
            assert_eq!(text(&all), text(WHOLE));
            Ok(())
        });
        script
    })
}

/// 90 bytes, in lines of different lengths.
const WHOLE: &[u8] = b"a line\nand another line, which is longer\nx\nbytes that are read\
                        \0by their number, and to the end";

async fn read_in_all_ways(stream: Rc<Stream>) -> io::Result<()> {
    // What a read returns is taken in the same step: nothing lies between the two.
    let mut lent = stream.lend();
    let reader = lent.reader();
    stream.took(&reader.readline().await?);
    stream.took(reader.readline_ref().await?);
    stream.took(&timeout(ms(100), reader.readline()).await??);
    let peeked = reader.peek(6).await?.len();
    let mut whole = [0; 9];
    reader.readexactly_into(&mut whole).await?;
    stream.took(&whole);
    stream.took(&reader.readexactly(peeked).await?);
    stream.took(&reader.fill_buf().await?[..1]);
    reader.consume(1);
    stream.took(&reader.readuntil(b"\0").await?);
    let mut part = [0; 5];
    let n = reader.read_into(&mut part).await?;
    stream.took(&part[..n]);
    stream.took(&reader.read(3).await?);
    stream.took(&reader.read_all().await?);
    Ok(())
}

#[test]
fn a_copy_passes_on_what_it_took() -> io::Result<()> {
    sweep(|world| {
        let (from, to) = (Stream::new(16), Stream::new(16));
        let (feeding, draining) = (from.clone(), to.clone());
        world.beside(async move {
            for part in WHOLE.chunks(10) {
                feeding.peer.write(part);
                feeding.peer.drain().await?;
            }
            feeding.peer.write_eof()
        });
        world.beside(async move {
            // Slowly, so that the copy has to wait for room.
            let mut lent = draining.lend_peer();
            while let Ok(read) = timeout(ms(50), lent.reader().read(4)).await {
                let read = read?;
                if read.is_empty() {
                    break;
                }
                draining.took(&read);
                sleep(ms(1)).await;
            }
            Ok(())
        });
        let (source, target) = (from.clone(), to.clone());
        world.check(async move {
            let mut all = to.taken.take();
            to.writer.write_eof()?;
            all.extend(to.lend_peer().reader().read_all().await?);
            all.extend(from.lend().reader().read_all().await?);
            assert_eq!(text(&all), text(WHOLE));
            Ok(())
        });
        async move {
            let mut lent = source.lend();
            let copied = copy(lent.reader(), &target.writer).await?;
            assert_eq!(copied, WHOLE.len() as u64);
            Ok(())
        }
    })
}

#[test]
fn a_lock_is_free_again_and_was_nobody_elses_meanwhile() -> io::Result<()> {
    sweep(|world| {
        let lock = Rc::new(Lock::new());
        let holders = Rc::new(Cell::new(0));
        for _ in 0..3 {
            world.beside(hold(lock.clone(), holders.clone()));
        }
        let script = hold(lock.clone(), holders.clone());
        world.check(async move {
            assert_eq!(holders.get(), 0);
            assert!(!lock.locked());
            assert!(lock.try_acquire().is_some());
            Ok(())
        });
        script
    })
}

async fn hold(lock: Rc<Lock>, holders: Rc<Cell<u32>>) -> io::Result<()> {
    for _ in 0..3 {
        let _guard = lock.acquire().await;
        let _alone = Counted::one_of(&holders);
        assert_eq!(holders.get(), 1);
        sleep(ms(1)).await;
        assert_eq!(holders.get(), 1);
    }
    Ok(())
}

#[test]
fn each_permit_of_a_semaphore_comes_back() -> io::Result<()> {
    sweep(|world| {
        let semaphore = Rc::new(Semaphore::new(2));
        let holders = Rc::new(Cell::new(0));
        for _ in 0..4 {
            world.beside(use_permits(semaphore.clone(), holders.clone()));
        }
        let script = use_permits(semaphore.clone(), holders.clone());
        world.check(async move {
            assert_eq!(holders.get(), 0);
            let permits = [(); 3].map(|()| semaphore.try_acquire());
            assert_eq!(permits.iter().flatten().count(), 2);
            Ok(())
        });
        script
    })
}

async fn use_permits(semaphore: Rc<Semaphore>, holders: Rc<Cell<u32>>) -> io::Result<()> {
    for n in 1..4 {
        let _permit = semaphore.acquire().await;
        let _counted = Counted::one_of(&holders);
        assert!(holders.get() <= 2);
        sleep(ms(n)).await;
    }
    Ok(())
}

#[test]
fn a_queue_loses_no_item_when_a_getter_gives_up() -> io::Result<()> {
    sweep(|world| {
        let queue = Rc::new(Queue::new(2));
        let got = Rc::new(RefCell::new(Vec::new()));
        let putting = queue.clone();
        world.beside(async move {
            for item in 0..12 {
                putting.put(item).await?;
                if item % 3 == 0 {
                    sleep(ms(1)).await;
                }
            }
            putting.shutdown(false);
            Ok(())
        });
        let script = get_all(queue.clone(), got.clone());
        // Takes what the script leaves.
        let (queue, others) = (queue.clone(), got.clone());
        world.beside(async move {
            sleep(ms(2)).await;
            get_all(queue, others).await
        });
        world.check(async move {
            let mut got = got.take();
            got.sort_unstable();
            assert_eq!(got, (0..12).collect::<Vec<_>>());
            Ok(())
        });
        script
    })
}

async fn get_all(queue: Rc<Queue<u32>>, got: Rc<RefCell<Vec<u32>>>) -> io::Result<()> {
    while let Ok(item) = queue.get().await {
        got.borrow_mut().push(item);
        queue.task_done()?;
        if item % 4 == 0 {
            yield_now().await;
        }
    }
    queue.join().await;
    Ok(())
}

#[test]
fn a_queue_has_all_places_again_when_a_putter_gives_up() -> io::Result<()> {
    sweep(|world| {
        let queue = Rc::new(PriorityQueue::new(2));
        let (put, got) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (getting, counted) = (queue.clone(), got.clone());
        world.beside(async move {
            // Until nothing comes any more: the script was given up, or is over.
            while let Ok(item) = timeout(ms(20), getting.get()).await {
                item?;
                counted.set(counted.get() + 1);
                sleep(ms(1)).await;
            }
            Ok(())
        });
        let (putting, counted) = (queue.clone(), put.clone());
        world.check(async move {
            assert_eq!(got.get(), put.get());
            assert_eq!(queue.qsize(), 0);
            let fits = (0..3).map(|item| queue.put_nowait(item).is_ok());
            assert_eq!(fits.collect::<Vec<_>>(), [true, true, false]);
            Ok(())
        });
        async move {
            for item in [5, 3, 8, 1, 9, 2, 7, 4, 6, 0] {
                putting.put(item).await?;
                counted.set(counted.get() + 1);
            }
            Ok(())
        }
    })
}

#[test]
fn a_condition_loses_no_notification() -> io::Result<()> {
    sweep(|world| {
        let mill = Rc::new(Mill::default());
        // Grinds whatever the script leaves.
        world.beside(grind(mill.clone(), usize::MAX));
        let bringing = mill.clone();
        world.beside(async move {
            for _ in 0..8 {
                let guard = bringing.changed.acquire().await;
                bringing.sacks.set(1);
                guard.notify(1);
                drop(guard);
                // One notification for each sack: if it got lost, the sack lies there.
                sleep(ms(5)).await;
                assert_eq!(bringing.sacks.get(), 0, "nobody heard of it");
            }
            let guard = bringing.changed.acquire().await;
            bringing.is_closed.set(true);
            guard.notify_all();
            Ok(())
        });
        let script = grind(mill.clone(), 4);
        world.check(async move {
            assert!(!mill.changed.locked());
            assert_eq!(mill.ground.get(), 8);
            Ok(())
        });
        script
    })
}

#[derive(Default)]
struct Mill {
    changed: Condition,
    sacks: Cell<u32>,
    ground: Cell<u32>,
    is_closed: Cell<bool>,
}

async fn grind(mill: Rc<Mill>, share: usize) -> io::Result<()> {
    for _ in 0..share {
        let guard = mill.changed.acquire().await;
        let has_news = || mill.sacks.get() > 0 || mill.is_closed.get();
        let guard = guard.wait_for(has_news).await;
        if mill.is_closed.get() {
            break;
        }
        mill.sacks.set(mill.sacks.get() - 1);
        mill.ground.set(mill.ground.get() + 1);
        sleep(ms(1)).await; // with the lock held: others wait for it
        drop(guard);
        yield_now().await;
    }
    Ok(())
}

#[test]
fn an_event_and_a_barrier_hold_nobody_for_one_that_gave_up() -> io::Result<()> {
    sweep(|world| {
        let start = Rc::new((Event::new(), Barrier::new(2)));
        let (opens, passed) = (start.clone(), Rc::new(Cell::new(0)));
        world.beside(async move {
            sleep(ms(1)).await;
            opens.0.set();
            Ok(())
        });
        for _ in 0..2 {
            let (start, counted) = (start.clone(), passed.clone());
            world.beside(async move {
                start.0.wait().await;
                for _ in 0..4 {
                    // Whoever finds nobody to go on with gives up, too.
                    if timeout(ms(10), start.1.wait()).await.is_ok() {
                        counted.set(counted.get() + 1);
                    }
                }
                Ok(())
            });
        }
        let script = start.clone();
        world.check(async move {
            assert!(start.0.is_set());
            assert_eq!((start.1.n_waiting(), start.1.broken()), (0, false));
            assert!(passed.get() >= 2);
            Ok(())
        });
        async move {
            script.0.wait().await;
            for _ in 0..4 {
                let _alone = timeout(ms(5), script.1.wait()).await;
                yield_now().await;
            }
            Ok(())
        }
    })
}

#[test]
fn tasks_that_belong_together_end_together() -> io::Result<()> {
    sweep(|world| {
        let held = world.drops.clone();
        let counted = move || CountsDrops(held.clone());
        let made = world.made.clone();
        let child = move |n: u64| {
            made.set(made.get() + 1);
            let counter = counted();
            async move {
                let _counter = counter;
                sleep(ms(n)).await;
                io::Result::Ok(n)
            }
        };
        async move {
            let sum = TaskGroup::scope(async |group| {
                let one = group.create_task(child(2))?;
                let more = gather([child(1), child(3)]).await?;
                group.create_task(child(4))?;
                Ok(one.await? + more.iter().sum::<u64>())
            })
            .await?;
            assert_eq!(sum, 6);
            let (a, b) = gather((child(1), child(2))).return_exceptions().await;
            assert_eq!((a??, b??), (1, 2));
            Ok(())
        }
    })
}

#[test]
fn limits_shields_and_waits_leave_nothing_behind() -> io::Result<()> {
    sweep(|world| {
        let made = world.made.clone();
        let drops = world.drops.clone();
        let counted = move || {
            made.set(made.get() + 1);
            CountsDrops(drops.clone())
        };
        async move {
            let limit = Timeout::after(ms(3));
            let limited = limit.scope(async {
                let _counter = counted();
                sleep(ms(2)).await;
                limit.reschedule_after(ms(3));
                sleep(ms(9)).await;
            });
            assert!(limited.await.is_err());

            let counter = counted();
            let mut saving = create_task(async move {
                let _counter = counter;
                sleep(ms(3)).await;
            });
            assert!(timeout(ms(1), shield(&mut saving)).await.is_err());
            let counter = counted();
            let mut tasks = vec![
                saving,
                spawn_eager(async move {
                    let _counter = counter;
                    sleep(ms(1)).await;
                }),
            ];
            while !tasks.is_empty() {
                let done = wait(&mut tasks).return_when(FIRST_COMPLETED).await;
                assert!(!done.is_empty());
            }
            Ok(())
        }
    })
}

// ── the sweep ───────────────────────────────────────────────────────────────────

type Work = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// What a script finds when it begins, made anew for each time it is given up.
#[derive(Default)]
struct World {
    beside: RefCell<Vec<Work>>,
    checks: RefCell<Vec<Work>>,
    /// Values that were made, and dropped: as many, in the end.
    made: Rc<Cell<usize>>,
    drops: Rc<Cell<usize>>,
}

impl World {
    /// Runs beside the script, and must end, whatever becomes of that.
    fn beside(&self, work: impl Future<Output = io::Result<()>> + 'static) {
        self.beside.borrow_mut().push(Box::pin(work));
    }

    /// What must be so at the end, when all tasks have ended.
    fn check(&self, check: impl Future<Output = io::Result<()>> + 'static) {
        self.checks.borrow_mut().push(Box::pin(check));
    }
}

/// When a script is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// Right after a poll: it has begun to wait.
    Asleep,
    /// In the place of a poll: it was woken, and does not know what for.
    Woken,
}

/// Gives a script up at each of its polls, until it ends by itself.
fn sweep<F>(script: impl Fn(&World) -> F + 'static) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let script = Rc::new(script);
    for given_up in [GivenUp::Asleep, GivenUp::Woken] {
        let mut polls = 0;
        while !give_up_after(polls, given_up, script.clone())? {
            polls += 1;
            assert!(polls < 1000, "the script never ends");
        }
        assert!(polls > 5, "it waits only {polls} times");
    }
    Ok(())
}

/// Runs a script, and gives it up when it has been polled that many times. True if it ended
/// before.
fn give_up_after<F>(
    polls: usize,
    given_up: GivenUp,
    script: Rc<impl Fn(&World) -> F + 'static>,
) -> io::Result<bool>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let world = Rc::new(World::default());
    let begun = world.clone();
    let (scripted, others) = event_loop.run_until_complete(async move {
        let script = script(&begun);
        let others: Vec<_> = begun.beside.take().into_iter().map(create_task).collect();
        let scripted = create_task(interrupted(script, polls, given_up));
        if polls == 0 && given_up == GivenUp::Asleep {
            scripted.cancel(); // before its first step
        }
        (scripted, others)
    })?;
    finish(&event_loop, |handle| handle.census().tasks > 0);
    let checks = world.checks.take();
    let completed = event_loop.run_until_complete(async move {
        let completed = match scripted.await {
            Ok(completed) => completed?,
            Err(error) if error.is_cancelled() => false,
            Err(error) => return Err(error.into()),
        };
        for other in others {
            other.await??;
        }
        for check in checks {
            check.await?;
        }
        io::Result::Ok(completed)
    })?;
    let completed = completed
        .map_err(|error| io::Error::other(format!("{given_up:?} after {polls} polls: {error}")))?;
    finish(&event_loop, |handle| handle.census().tasks > 0);
    while event_loop.turn(AT_ONCE)? == AT_ONCE {}
    let census = event_loop.census();
    let left = (census.sources, census.tasks, census.timers);
    assert_eq!(left, (0, 0, 0), "{given_up:?} after {polls} polls");
    let (made, drops) = (world.made.get(), world.drops.get());
    assert_eq!(drops, made, "{given_up:?} after {polls} polls");
    Ok(completed)
}

/// A script that ends when it has been polled that many times; true if it ended before.
fn interrupted<F>(
    script: F,
    polls: usize,
    given_up: GivenUp,
) -> impl Future<Output = io::Result<bool>>
where
    F: Future<Output = io::Result<()>>,
{
    let mut script = Some(Box::pin(script));
    let mut polled = 0;
    poll_fn(move |cx| {
        if polled == polls && given_up == GivenUp::Woken {
            script = None;
        }
        let Some(running) = &mut script else {
            return Poll::Ready(Ok(false));
        };
        polled += 1;
        let step = running.as_mut().poll(cx);
        if step.is_pending() && polled == polls && given_up == GivenUp::Asleep {
            current_task().expect("this is a task").cancel();
        }
        step.map_ok(|()| true)
    })
}

/// Runs turns for as long as there is something to wait for.
fn finish(event_loop: &EventLoop, waits: impl Fn(&LoopHandle) -> bool) {
    for _turn in 0..100_000 {
        if !waits(event_loop) {
            return;
        }
        let turned = event_loop.turn(Some(Duration::from_millis(10)));
        turned.expect("the poller works");
    }
    panic!("stuck: {:?}", event_loop.all_tasks());
}

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

// ── tools ───────────────────────────────────────────────────────────────────────

/// Two streams that are each other's peer, and what was taken out of them.
struct Stream {
    reader: RefCell<Option<StreamReader>>,
    writer: StreamWriter,
    peer_reader: RefCell<Option<StreamReader>>,
    peer: StreamWriter,
    taken: RefCell<Vec<u8>>,
}

impl Stream {
    fn new(limit: usize) -> Rc<Stream> {
        let ((reader, writer), (peer_reader, peer)) = memory_stream_pair(limit);
        Rc::new(Stream {
            reader: RefCell::new(Some(reader)),
            writer,
            peer_reader: RefCell::new(Some(peer_reader)),
            peer,
            taken: RefCell::default(),
        })
    }

    fn lend(&self) -> Lent<'_> {
        Lent::from(&self.reader)
    }

    fn lend_peer(&self) -> Lent<'_> {
        Lent::from(&self.peer_reader)
    }

    fn took(&self, bytes: &[u8]) {
        self.taken.borrow_mut().extend(bytes);
    }
}

/// A reader that goes back to where it came from, also when its task is cancelled.
struct Lent<'a> {
    home: &'a RefCell<Option<StreamReader>>,
    reader: Option<StreamReader>,
}

impl<'a> Lent<'a> {
    fn from(home: &'a RefCell<Option<StreamReader>>) -> Lent<'a> {
        Lent {
            reader: home.take(),
            home,
        }
    }

    fn reader(&mut self) -> &mut StreamReader {
        self.reader.as_mut().expect("whoever had it gave it back")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.home.replace(self.reader.take());
    }
}

/// Counts how many of its kind there are.
struct Counted<'a>(&'a Cell<u32>);

impl<'a> Counted<'a> {
    fn one_of(count: &'a Cell<u32>) -> Counted<'a> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
