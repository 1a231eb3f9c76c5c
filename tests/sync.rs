//! Synchronisation: first come, first served, and nothing is lost when somebody gives up.
//!
//! Most futures here are polled by hand, so that each step is seen.

mod stream_support;

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Barrier, BoundedSemaphore, BrokenBarrierError, Clock, Condition, Event, EventLoop, LifoQueue,
    Lock, PriorityQueue, Queue, QueueGetError, QueuePutError, QueueShutDown, Runner, Semaphore,
    create_task, sleep, timeout, yield_now,
};

use stream_support::{Step, at_once};

// ── events ──────────────────────────────────────────────────────────────────────

#[test]
fn an_event_wakes_all_who_wait_and_stays_set_until_it_is_cleared() {
    let event = Event::new();
    let mut first = Step::waiting(event.wait());
    let mut second = Step::waiting(event.wait());
    assert!(!event.is_set());
    event.set();
    assert!(first.is_woken() && second.is_woken());
    first.done();
    at_once(event.wait());
    event.clear();
    assert!(!event.is_set());
    second.done(); // it was set meanwhile
    Step::waiting(event.wait());
}

#[test]
fn an_event_that_is_set_twice_wakes_once() {
    let event = Event::new();
    let mut waits = Step::waiting(event.wait());
    event.set();
    event.set();
    assert_eq!(waits.wakes(), 1);
    waits.done();
}

// ── locks ───────────────────────────────────────────────────────────────────────

#[test]
fn a_lock_goes_to_whoever_waits_longest_and_nobody_takes_it_in_between() {
    let lock = Lock::new();
    assert!(!lock.locked());
    let held = at_once(lock.acquire());
    let mut first = Step::waiting(lock.acquire());
    let mut second = Step::waiting(lock.acquire());
    drop(held);
    assert!(first.is_woken() && !second.is_woken());
    assert!(lock.locked(), "it passes from one to the other");
    assert!(lock.try_acquire().is_none());
    let mut barging = Step::waiting(lock.acquire());

    let held = first.done();
    second.still_waits();
    drop(held);
    drop(second.done());
    drop(barging.done());
    assert!(!lock.locked());
    assert!(lock.try_acquire().is_some());
}

#[test]
fn whoever_gives_up_a_lock_that_it_was_chosen_for_passes_it_on() {
    let lock = Lock::new();
    let held = at_once(lock.acquire());
    let chosen = Step::waiting(lock.acquire());
    let given_up = Step::waiting(lock.acquire());
    let mut last = Step::waiting(lock.acquire());
    drop(given_up); // while it waits
    drop(held);
    assert!(chosen.is_woken() && !last.is_woken());
    drop(chosen); // after it was chosen
    assert!(last.is_woken());
    drop(last.done());
    assert!(!lock.locked());
}

#[test]
fn a_guard_releases_its_lock_also_when_its_task_is_cancelled() -> io::Result<()> {
    in_simulated_time(async {
        let lock = Rc::new(Lock::new());
        let held = lock.clone();
        let holder = create_task(async move {
            let _guard = held.acquire().await;
            sleep(Duration::from_secs(60)).await;
        });
        yield_now().await;
        assert!(lock.locked());
        holder.cancel();
        let patience = Duration::from_secs(1);
        let _guard = timeout(patience, lock.acquire()).await?;
        Ok(())
    })
}

// ── semaphores ──────────────────────────────────────────────────────────────────

#[test]
fn a_semaphore_has_so_many_permits_and_hands_them_on_in_order() {
    let semaphore = Semaphore::new(2);
    let one = at_once(semaphore.acquire());
    assert!(!semaphore.locked());
    let two = at_once(semaphore.acquire());
    assert!(semaphore.locked() && semaphore.try_acquire().is_none());
    let mut first = Step::waiting(semaphore.acquire());
    let second = Step::waiting(semaphore.acquire());
    drop(one);
    drop(two);
    assert!(first.is_woken() && second.is_woken());
    assert!(
        semaphore.locked(),
        "both are theirs before they know of them"
    );
    drop(second);
    assert!(!semaphore.locked(), "the permit came back");
    drop(first.done());
    let permits = [semaphore.try_acquire(), semaphore.try_acquire()];
    assert!(permits.iter().all(Option::is_some));
    assert!(semaphore.locked());
}

#[test]
fn a_semaphore_takes_more_permits_than_it_was_made_with() {
    let semaphore = Semaphore::new(0);
    let mut waits = Step::waiting(semaphore.acquire());
    semaphore.release();
    waits.done().forget();
    assert!(semaphore.locked());
    semaphore.release();
    semaphore.release();
    assert!(semaphore.try_acquire().is_some());
}

#[test]
fn a_bounded_semaphore_refuses_a_permit_that_nobody_had() {
    let semaphore = BoundedSemaphore::new(1);
    let refused = semaphore.release().map_err(|error| error.to_string());
    assert_eq!(
        refused,
        Err("BoundedSemaphore released too many times".to_owned())
    );
    drop(at_once(semaphore.acquire()));
    assert!(!semaphore.locked());
    at_once(semaphore.acquire()).forget();
    assert!(semaphore.locked() && semaphore.try_acquire().is_none());
    assert_eq!(semaphore.release(), Ok(()));
    assert!(semaphore.release().is_err());
}

// ── conditions ──────────────────────────────────────────────────────────────────

#[test]
fn a_condition_releases_its_lock_and_takes_it_again_when_it_is_notified() {
    let condition = Condition::new();
    let guard = at_once(condition.acquire());
    let mut waits = Step::waiting(guard.wait());
    assert!(!condition.locked());

    let notifier = at_once(condition.acquire());
    notifier.notify(1);
    assert!(waits.is_woken());
    waits.still_waits(); // for the lock
    drop(notifier);
    assert!(waits.is_woken());
    let guard = waits.done();
    assert!(condition.locked());
    drop(guard);
    assert!(!condition.locked());
}

#[test]
fn a_condition_notifies_those_who_wait_longest() {
    let condition = Condition::new();
    let mut waiting: Vec<_> = (0..4)
        .map(|_| Step::waiting(at_once(condition.acquire()).wait()))
        .collect();
    at_once(condition.acquire()).notify(2);
    let woken: Vec<_> = waiting.iter().map(Step::is_woken).collect();
    assert_eq!(woken, [true, true, false, false]);
    at_once(condition.acquire()).notify_all();
    for waits in &mut waiting {
        drop(waits.done());
    }
    at_once(condition.acquire()).notify(1); // nobody waits: nothing is kept
    Step::waiting(at_once(condition.acquire()).wait());
}

#[test]
fn whoever_gives_up_passes_its_notification_on() {
    let condition = Condition::new();
    let wait = || Step::waiting(at_once(condition.acquire()).wait());
    let (unaware, mut locked_out, mut last) = (wait(), wait(), wait());
    let guard = at_once(condition.acquire());
    guard.notify(2);
    locked_out.still_waits(); // it knows, and waits for the lock
    drop(unaware);
    assert!(last.is_woken(), "it was notified in the place of the first");
    last.still_waits();
    let mut newest = {
        drop(guard);
        drop(locked_out); // it was handed the lock: both pass on
        wait_beside(&condition, &mut last)
    };
    newest.still_waits();
    at_once(condition.acquire()).notify(1);
    drop(newest.done());
    assert!(!condition.locked());
}

#[test]
fn whoever_gives_up_the_lock_it_waits_for_passes_its_notification_on() {
    let condition = Condition::new();
    let wait = || Step::waiting(at_once(condition.acquire()).wait());
    let (mut locked_out, mut next, mut last) = (wait(), wait(), wait());
    let guard = at_once(condition.acquire());
    guard.notify(1);
    locked_out.still_waits(); // it knows, and waits for the lock
    next.still_waits();
    drop(locked_out);
    assert!(next.is_woken());
    drop(guard);
    drop(next.done()); // it used its notification, and passes nothing on
    assert!(!last.is_woken());
    last.still_waits();
}

/// Another waiter, once the one before it has gone on.
fn wait_beside<'a>(
    condition: &'a Condition,
    goes_on: &mut Step<'_, millstream::ConditionGuard<'a>>,
) -> Step<'a, millstream::ConditionGuard<'a>> {
    drop(goes_on.done());
    Step::waiting(at_once(condition.acquire()).wait())
}

#[test]
fn a_condition_waits_until_its_predicate_says_so() {
    let (condition, sacks) = (Condition::new(), Cell::new(0));
    let guard = at_once(condition.acquire());
    let guard = at_once(guard.wait_for(|| sacks.get() == 0));
    let mut waits = Step::waiting(guard.wait_for(|| sacks.get() >= 2));
    for _ in 0..2 {
        waits.still_waits();
        let guard = at_once(condition.acquire());
        sacks.set(sacks.get() + 1);
        guard.notify_all();
    }
    drop(waits.done());
    assert!(!condition.locked());
}

#[test]
fn conditions_may_share_a_lock() {
    let lock = Rc::new(Lock::new());
    let (full, empty) = (
        Condition::with_lock(lock.clone()),
        Condition::with_lock(lock.clone()),
    );
    let mut waits = Step::waiting(at_once(full.acquire()).wait());
    let guard = at_once(empty.acquire());
    assert!(lock.locked() && full.locked());
    guard.notify_all(); // those of the other condition sleep on
    drop(guard);
    waits.still_waits();
    at_once(full.acquire()).notify(1);
    drop(waits.done());
}

// ── barriers ────────────────────────────────────────────────────────────────────

#[test]
fn a_barrier_lets_each_round_go_on_together() {
    let barrier = Barrier::new(3);
    for _round in 0..2 {
        let mut first = Step::waiting(barrier.wait());
        let mut second = Step::waiting(barrier.wait());
        assert_eq!((barrier.n_waiting(), barrier.parties()), (2, 3));
        assert_eq!(at_once(barrier.wait()), Ok(0));
        assert_eq!(barrier.n_waiting(), 0);
        let mut early = Step::waiting(barrier.wait()); // of the next round
        assert_eq!(second.done(), Ok(1));
        assert_eq!(first.done(), Ok(2));
        early.still_waits();
    }
    assert_eq!(at_once(Barrier::new(1).wait()), Ok(0));
}

#[test]
fn whoever_gives_up_at_a_barrier_has_not_come() {
    let barrier = Barrier::new(2);
    drop(Step::waiting(barrier.wait()));
    assert_eq!(barrier.n_waiting(), 0);
    let mut waits = Step::waiting(barrier.wait());
    drop(Step::of(barrier.wait())); // never polled
    waits.still_waits();
    assert_eq!(at_once(barrier.wait()), Ok(0));
    assert_eq!(waits.done(), Ok(1));
}

#[test]
fn a_broken_barrier_tells_who_waits_and_who_comes_until_it_is_reset() {
    let barrier = Barrier::new(2);
    let mut waits = Step::waiting(barrier.wait());
    barrier.abort();
    assert!(barrier.broken() && waits.is_woken());
    assert_eq!(waits.done(), Err(BrokenBarrierError));
    assert_eq!(at_once(barrier.wait()), Err(BrokenBarrierError));
    assert_eq!(barrier.n_waiting(), 0);

    barrier.reset();
    assert!(!barrier.broken());
    let mut waits = Step::waiting(barrier.wait());
    barrier.reset(); // as new for those who come, broken for who waited
    assert_eq!(waits.done(), Err(BrokenBarrierError));
    assert!(!barrier.broken());
}

#[test]
fn a_round_that_was_released_can_not_be_broken_any_more() {
    let barrier = Barrier::new(2);
    let mut waits = Step::waiting(barrier.wait());
    assert_eq!(at_once(barrier.wait()), Ok(0));
    barrier.abort();
    assert_eq!(waits.done(), Ok(1));
}

#[test]
#[should_panic(expected = "parties must be >= 1")]
fn a_barrier_for_nobody_is_refused() {
    let _ = Barrier::new(0);
}

// ── queues ──────────────────────────────────────────────────────────────────────

#[test]
fn a_queue_holds_so_many_items_and_gives_the_first_first() {
    let queue = Queue::new(2);
    assert!(queue.empty() && !queue.full());
    assert_eq!(queue.put_nowait(1), Ok(()));
    at_once(queue.put(2)).expect("there is a place");
    assert!(queue.full() && !queue.empty());
    assert_eq!(queue.put_nowait(3), Err(QueuePutError::Full(3)));
    assert_eq!((queue.qsize(), queue.maxsize()), (2, 2));
    assert_eq!(at_once(queue.get()), Ok(1));
    assert_eq!(queue.get_nowait(), Ok(2));
    assert_eq!(queue.get_nowait(), Err(QueueGetError::Empty));
}

#[test]
fn a_queue_without_a_bound_takes_everything() {
    let queue = Queue::new(0);
    for item in 0..10_000 {
        assert_eq!(queue.put_nowait(item), Ok(()));
    }
    assert!(!queue.full());
    assert_eq!(queue.get_nowait(), Ok(0));
}

#[test]
fn an_item_goes_to_whoever_waits_longest_and_nobody_takes_it_in_between() {
    let queue = Queue::new(0);
    let mut first = Step::waiting(queue.get());
    let mut second = Step::waiting(queue.get());
    assert_eq!(queue.put_nowait('a'), Ok(()));
    assert!(first.is_woken() && !second.is_woken());
    assert_eq!(queue.qsize(), 1);
    assert_eq!(queue.get_nowait(), Err(QueueGetError::Empty));
    let mut barging = Step::waiting(queue.get());
    assert_eq!(queue.put_nowait('b'), Ok(()));
    // Whoever is polled first has the first item.
    assert_eq!(first.done(), Ok('a'));
    assert_eq!(second.done(), Ok('b'));
    barging.still_waits();
}

#[test]
fn an_item_that_a_waiter_was_woken_for_and_gave_up_goes_to_the_next() {
    let queue = Queue::new(0);
    let woken = Step::waiting(queue.get());
    let given_up = Step::waiting(queue.get());
    let mut last = Step::waiting(queue.get());
    assert_eq!(queue.put_nowait('a'), Ok(()));
    drop(given_up);
    drop(woken);
    assert!(last.is_woken());
    assert_eq!(last.done(), Ok('a'));

    // With nobody behind it, it stays in the queue.
    let woken = Step::waiting(queue.get());
    assert_eq!(queue.put_nowait('b'), Ok(()));
    drop(woken);
    assert_eq!(queue.get_nowait(), Ok('b'));
}

#[test]
fn a_place_goes_to_whoever_waits_longest_and_passes_on_when_it_gives_up() {
    let queue = Queue::new(1);
    assert_eq!(queue.put_nowait(0), Ok(()));
    let mut first = Step::waiting(queue.put(1));
    let second = Step::waiting(queue.put(2));
    let mut third = Step::waiting(queue.put(3));
    assert_eq!(queue.get_nowait(), Ok(0));
    assert!(first.is_woken());
    assert_eq!(queue.put_nowait(9), Err(QueuePutError::Full(9)));
    assert_eq!(first.done(), Ok(()));
    assert_eq!(queue.get_nowait(), Ok(1));
    assert!(second.is_woken());
    drop(second); // with its item
    assert!(third.is_woken());
    assert_eq!(third.done(), Ok(()));
    assert_eq!(queue.get_nowait(), Ok(3));
    assert_eq!(queue.put_nowait(4), Ok(()));
}

#[test]
fn queues_have_an_order() {
    let (last_first, least_first) = (LifoQueue::new(0), PriorityQueue::new(0));
    for item in [2, 3, 1] {
        assert_eq!(last_first.put_nowait(item), Ok(()));
        assert_eq!(least_first.put_nowait(item), Ok(()));
    }
    let all: Vec<_> = (0..3)
        .filter_map(|_| last_first.get_nowait().ok())
        .collect();
    assert_eq!(all, [1, 3, 2]);
    let all: Vec<_> = (0..3)
        .filter_map(|_| least_first.get_nowait().ok())
        .collect();
    assert_eq!(all, [1, 2, 3]);
}

#[test]
fn of_equal_items_the_first_in_is_the_first_out() {
    let queue = PriorityQueue::new(0);
    for (priority, name) in [(1, 'a'), (0, 'b'), (1, 'c'), (0, 'd'), (1, 'e'), (1, 'f')] {
        let item = Judged {
            priority: Some(priority),
            name,
        };
        assert_eq!(queue.put_nowait(item), Ok(()));
    }
    let order: String = (0..6)
        .filter_map(|_| queue.get_nowait().ok())
        .map(|item| item.name)
        .collect();
    assert_eq!(order, "bdacef");
}

/// R10: neither an item, nor a place, nor a permit is lost.
#[test]
fn a_comparison_that_panics_leaves_the_queue_as_it_was() {
    let queue = PriorityQueue::new(3);
    let put = |priority: Option<u32>| {
        let item = Judged {
            priority,
            name: 'x',
        };
        catch_unwind(AssertUnwindSafe(|| queue.put_nowait(item)))
    };
    for priority in [2, 1] {
        assert!(matches!(put(Some(priority)), Ok(Ok(()))));
    }
    assert!(put(None).is_err(), "it can't be compared");
    assert_eq!(queue.qsize(), 2);
    assert!(matches!(put(Some(3)), Ok(Ok(()))), "its place is free");
    assert!(matches!(put(Some(4)), Ok(Err(QueuePutError::Full(_)))));

    let mut waits = Step::waiting(queue.join());
    for priority in [1, 2, 3] {
        let got = queue.get_nowait().map(|item| item.priority);
        assert_eq!(got, Ok(Some(priority)));
        assert_eq!(queue.task_done(), Ok(()));
    }
    waits.done();
    assert_eq!(queue.get_nowait().err(), Some(QueueGetError::Empty));
}

/// Is compared by its priority alone; without one, comparing it panics.
#[derive(Debug)]
struct Judged {
    priority: Option<u32>,
    name: char,
}

impl Ord for Judged {
    fn cmp(&self, other: &Self) -> Ordering {
        let priority = |item: &Judged| item.priority.expect("it has none");
        priority(self).cmp(&priority(other))
    }
}

impl PartialOrd for Judged {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Judged {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Judged {}

#[test]
fn a_queue_is_joined_when_each_item_is_done_with() {
    let queue = Queue::new(0);
    at_once(queue.join());
    assert_eq!(queue.put_nowait('a'), Ok(()));
    assert_eq!(queue.put_nowait('b'), Ok(()));
    let mut joins = Step::waiting(queue.join());
    assert_eq!(queue.get_nowait(), Ok('a'));
    assert_eq!(queue.get_nowait(), Ok('b'));
    assert_eq!(queue.task_done(), Ok(()));
    joins.still_waits();
    assert_eq!(queue.task_done(), Ok(()));
    joins.done();
    let too_often = queue.task_done().map_err(|error| error.to_string());
    assert_eq!(
        too_often,
        Err("task_done() called too many times".to_owned())
    );
}

#[test]
fn a_queue_that_was_joined_is_joined_anew_for_what_is_put_later() {
    let queue = Queue::new(0);
    for item in ['a', 'b'] {
        assert_eq!(queue.put_nowait(item), Ok(()));
        assert_eq!(queue.get_nowait(), Ok(item));
        let mut joins = Step::waiting(queue.join());
        assert_eq!(queue.task_done(), Ok(()));
        joins.done();
        at_once(queue.join());
    }
}

#[test]
fn a_queue_that_was_shut_down_takes_nothing_and_gives_what_is_left() {
    let queue = Queue::new(1);
    assert_eq!(queue.put_nowait(1), Ok(()));
    let mut puts = Step::waiting(queue.put(2));
    queue.shutdown(false);
    assert!(puts.is_woken());
    assert_eq!(puts.done(), Err(QueueShutDown(2)));
    assert_eq!(queue.put_nowait(3), Err(QueuePutError::ShutDown(3)));
    assert_eq!(at_once(queue.put(4)), Err(QueueShutDown(4)));

    let mut joins = Step::waiting(queue.join());
    assert_eq!(at_once(queue.get()), Ok(1));
    assert_eq!(at_once(queue.get()), Err(QueueShutDown(())));
    assert_eq!(queue.get_nowait(), Err(QueueGetError::ShutDown));
    joins.still_waits();
    assert_eq!(queue.task_done(), Ok(()));
    joins.done();
}

#[test]
fn whoever_waits_for_an_item_is_told_of_the_shut_down() {
    let queue = Queue::new(0);
    let mut woken = Step::waiting(queue.get());
    let mut waits = Step::waiting(queue.get());
    assert_eq!(queue.put_nowait('a'), Ok(()));
    queue.shutdown(false);
    assert_eq!(woken.done(), Ok('a'));
    assert_eq!(waits.done(), Err(QueueShutDown(())));
}

#[test]
fn a_queue_that_is_shut_down_at_once_drops_what_is_left() {
    let queue = Rc::new(Queue::new(0));
    let dropped = Rc::new(RefCell::new(Vec::new()));
    for name in ["a", "b"] {
        let item = LooksAtQueue {
            name,
            queue: queue.clone(),
            dropped: dropped.clone(),
        };
        queue.put_nowait(item).expect("there is room");
    }
    let first = queue.get_nowait().expect("there are two");
    let mut joins = Step::waiting(queue.join());
    queue.shutdown(true);
    assert_eq!(*dropped.borrow(), [("b", 0)]);
    assert!(queue.get_nowait().is_err());
    joins.still_waits(); // for the one that was taken
    drop(first);
    assert_eq!(queue.task_done(), Ok(()));
    joins.done();
}

/// Uses the queue it came from when it is dropped: no borrow may be alive then.
struct LooksAtQueue {
    name: &'static str,
    queue: Rc<Queue<LooksAtQueue>>,
    dropped: Rc<RefCell<Vec<(&'static str, usize)>>>,
}

impl Drop for LooksAtQueue {
    fn drop(&mut self) {
        let left = self.queue.qsize();
        self.dropped.borrow_mut().push((self.name, left));
    }
}

#[test]
fn d_4_a_queue_that_never_is_empty_lets_the_others_have_their_turn() -> io::Result<()> {
    in_simulated_time(async {
        let queue = Queue::new(0);
        for item in 0..1000 {
            assert_eq!(queue.put_nowait(item), Ok(()));
        }
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let other = create_task(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        while queue.get().await? < 999 {}
        assert!(turns.get() >= 1000 / 128, "{turns:?}");
        other.cancel();
        Ok(())
    })
}

fn in_simulated_time(main: impl Future<Output = io::Result<()>> + 'static) -> io::Result<()> {
    Runner::on(EventLoop::with_clock(Clock::simulated())?).run(main)
}
