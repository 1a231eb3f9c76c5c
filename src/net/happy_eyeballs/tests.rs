//! The race in simulated time: what begins when, who wins, and that nobody is left.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{MAX_IN_FLIGHT, interleave, race};
use crate::clock::Clock;
use crate::event_loop::{EventLoop, running_loop};
use crate::time::{sleep, timeout};

// ── the order ───────────────────────────────────────────────────────────────────

/// Addresses by name: `6a` is the first of the second family.
fn addresses(names: &str) -> Vec<SocketAddr> {
    names.split_whitespace().map(address).collect()
}

fn address(name: &str) -> SocketAddr {
    let port = u16::from(name.as_bytes()[1]);
    match name.as_bytes()[0] {
        b'4' => SocketAddr::from(([127, 0, 0, 1], port)),
        _ => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
    }
}

#[test]
fn the_families_take_turns_and_the_first_one_leads() {
    let table = [
        ("", 1, ""),
        ("4a", 1, "4a"),
        ("4a", 3, "4a"),
        ("6a 6b 6c 4a 4b", 0, "6a 6b 6c 4a 4b"),
        ("6a 4a 6b 4b", 0, "6a 4a 6b 4b"),
        ("6a 6b 6c 4a 4b", 1, "6a 4a 6b 4b 6c"),
        ("4a 6a 6b 6c", 1, "4a 6a 6b 6c"),
        ("4a 4b 4c 6a", 1, "4a 6a 4b 4c"),
        ("4a 4b 4c 6a 6b", 2, "4a 4b 6a 4c 6b"),
        ("4a 6a 4b 6b 4c", 3, "4a 4b 4c 6a 6b"),
        ("4a 4b 6a 6b", 9, "4a 4b 6a 6b"),
        ("4a 4b 4a 4b", 1, "4a 4b 4a 4b"),
    ];
    for (given, count, expected) in table {
        assert_eq!(
            interleave(addresses(given), count),
            addresses(expected),
            "{given} by {count}"
        );
    }
}

#[test]
fn no_address_is_lost_or_doubled_whatever_the_count() {
    // Every order of two families in up to eight addresses.
    for len in 0..=8_u8 {
        for families in 0..1_u32 << len {
            let given: Vec<_> = (0..len)
                .map(|nth| {
                    let family = if families >> nth & 1 == 0 { '4' } else { '6' };
                    address(&format!("{family}{}", char::from(b'a' + nth)))
                })
                .collect();
            for count in 0..=9 {
                let mut order = interleave(given.clone(), count);
                assert_eq!(order.first(), given.first());
                order.sort();
                let mut all = given.clone();
                all.sort();
                assert_eq!(order, all);
            }
        }
    }
}

// ── the race ────────────────────────────────────────────────────────────────────

/// What an attempt does, a number of milliseconds after it began.
#[derive(Clone, Copy)]
enum Does {
    Connects(u64),
    Fails(u64),
    Hangs,
}

use Does::{Connects, Fails, Hangs};

/// A race's course: what happened, and at which millisecond of simulated time.
#[derive(Clone, Default)]
struct Course {
    events: Rc<RefCell<Vec<String>>>,
    /// Sockets that are open.
    open: Rc<Cell<usize>>,
    /// The most that were open at once.
    most: Rc<Cell<usize>>,
}

impl Course {
    fn notes(&self, event: &str) {
        let at = running_loop().time().as_millis();
        self.events.borrow_mut().push(format!("{at} {event}"));
    }

    /// An attempt, as connecting makes them: it opens its socket when it begins.
    async fn attempt(self, number: usize, does: Does) -> Result<Socket, String> {
        self.notes(&format!("{number} begins"));
        let socket = Socket::open(&self, number);
        match does {
            Hangs => std::future::pending().await,
            Connects(after) => {
                sleep_for(after).await;
                Ok(socket)
            }
            Fails(after) => {
                sleep_for(after).await;
                self.notes(&format!("{number} fails"));
                Err(format!("{number} failed"))
            }
        }
    }
}

/// Zero does not suspend, unlike `sleep`: two may connect in one turn.
async fn sleep_for(millis: u64) {
    if millis > 0 {
        sleep(Duration::from_millis(millis)).await;
    }
}

struct Socket {
    course: Course,
    number: usize,
}

impl Socket {
    fn open(course: &Course, number: usize) -> Socket {
        let open = course.open.get() + 1;
        course.open.set(open);
        course.most.set(course.most.get().max(open));
        Socket {
            course: course.clone(),
            number,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.course.open.set(self.course.open.get() - 1);
    }
}

/// How a race ends.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The number of the winner, or all failures.
    result: Result<usize, Vec<String>>,
    /// The millisecond.
    at: u128,
}

/// Runs a race in simulated time. However it ends, no socket but the winner's is open when
/// it has ended, and none once that is dropped.
fn run(attempts: &[Does], delay: Option<u64>) -> (Outcome, Course) {
    let event_loop = EventLoop::with_clock(Clock::simulated()).expect("a loop can be made");
    let course = Course::default();
    let (of, attempts) = (course.clone(), attempts.to_vec());
    let delay = delay.map(Duration::from_millis);
    let raced = event_loop.run_until_complete(async move {
        let attempts = attempts.into_iter().enumerate();
        let attempts = attempts.map(|(number, does)| of.clone().attempt(number, does));
        let result = race(attempts, delay).await;
        assert_eq!(of.open.get(), usize::from(result.is_ok()), "open sockets");
        Outcome {
            result: result.map(|socket| socket.number),
            at: running_loop().time().as_millis(),
        }
    });
    let outcome = raced.expect("the loop is not stopped");
    assert_eq!(course.open.get(), 0);
    assert_eq!(event_loop.census().timers, 0, "no timer is left");
    (outcome, course)
}

fn wins(number: usize, at: u128) -> Outcome {
    let result = Ok(number);
    Outcome { result, at }
}

fn fail(count: usize, at: u128) -> Outcome {
    let failures = (0..count).map(|number| format!("{number} failed"));
    let result = Err(failures.collect());
    Outcome { result, at }
}

const DELAY: Option<u64> = Some(250);

#[test]
fn con_12_who_wins_and_when() {
    let table: [(&str, &[Does], Outcome); 13] = [
        ("one address", &[Connects(100)], wins(0, 100)),
        ("a slow one", &[Connects(1000)], wins(0, 1000)),
        (
            "the first is fast enough",
            &[Connects(249), Connects(0)],
            wins(0, 249),
        ),
        (
            "the second is faster",
            &[Connects(1000), Connects(100)],
            wins(1, 350),
        ),
        (
            "the first is slow, and faster still",
            &[Connects(300), Connects(100)],
            wins(0, 300),
        ),
        (
            "in the same turn the earlier one wins",
            &[Connects(350), Connects(100)],
            wins(0, 350),
        ),
        (
            "a failure starts the next at once",
            &[Fails(10), Connects(5)],
            wins(1, 15),
        ),
        (
            "failures in a row",
            &[Fails(0), Fails(10), Fails(0), Connects(1)],
            wins(3, 11),
        ),
        (
            "black holes cost a delay each",
            &[Hangs, Hangs, Hangs, Connects(20)],
            wins(3, 770),
        ),
        (
            "the failure of one that is not the last starts none",
            &[Fails(300), Hangs, Connects(1)],
            wins(2, 501),
        ),
        (
            "the delay is counted from the start of the last one",
            &[Hangs, Fails(100), Hangs, Connects(1)],
            wins(3, 601),
        ),
        (
            "all fail",
            &[Fails(10), Fails(400), Fails(10)],
            fail(3, 410),
        ),
        ("none", &[], fail(0, 0)),
    ];
    for (name, attempts, expected) in table {
        let (outcome, _course) = run(attempts, DELAY);
        assert_eq!(outcome, expected, "{name}");
    }
}

#[test]
fn con_12_the_course_of_a_race_with_a_black_hole() {
    let (outcome, course) = run(&[Hangs, Fails(100), Connects(300), Connects(300)], DELAY);
    assert_eq!(outcome, wins(2, 650));
    assert_eq!(
        course.events.take(),
        [
            "0 0 begins",
            "250 1 begins",
            "350 1 fails",
            "350 2 begins",
            "600 3 begins",
        ]
    );
}

#[test]
fn con_12_failures_are_told_in_the_order_of_their_beginning() {
    let (outcome, _course) = run(&[Fails(900), Fails(400), Fails(1)], DELAY);
    assert_eq!(outcome, fail(3, 900));
}

#[test]
fn without_a_delay_one_comes_after_the_other() {
    let attempts = [Fails(1000), Fails(10_000), Connects(1), Connects(0)];
    let (outcome, course) = run(&attempts, None);
    assert_eq!(outcome, wins(2, 11_001));
    assert_eq!(course.most.get(), 1);
}

#[test]
fn a_delay_of_zero_starts_all_and_one_wins() {
    let attempts = [Connects(10); 6];
    let (outcome, course) = run(&attempts, Some(0));
    assert_eq!(outcome, wins(0, 10));
    assert_eq!(course.most.get(), 6);
}

#[test]
fn d_13_those_that_connect_in_the_same_turn_as_the_winner_are_closed() {
    // With a delay of 10 ms, all of them connect at 100 ms; `run` counts what is left.
    let attempts: Vec<_> = (0..8).map(|n| Connects(100 - 10 * n)).collect();
    let (outcome, course) = run(&attempts, Some(10));
    assert_eq!(outcome, wins(0, 100));
    assert_eq!(course.most.get(), 8);
}

#[test]
fn no_more_than_the_cap_run_at_once_and_a_failure_makes_room() {
    let mut attempts = vec![Hangs; 3 * MAX_IN_FLIGHT];
    attempts[0] = Fails(5000);
    attempts[1] = Fails(6000);
    attempts[MAX_IN_FLIGHT + 1] = Connects(7);
    let (outcome, course) = run(&attempts, Some(1));
    assert_eq!(outcome, wins(MAX_IN_FLIGHT + 1, 6008));
    assert_eq!(course.most.get(), MAX_IN_FLIGHT);
}

#[test]
fn con_12_cancelling_closes_all() {
    let event_loop = EventLoop::with_clock(Clock::simulated()).expect("a loop can be made");
    let course = Course::default();
    for patience in [0, 1, 250, 499, 500, 10_000] {
        let of = course.clone();
        let gave_up = event_loop.run_until_complete(async move {
            let attempts = (0..3).map(|number| of.clone().attempt(number, Hangs));
            let raced = race(attempts, Some(Duration::from_millis(250)));
            let raced = timeout(Duration::from_millis(patience), raced).await;
            assert_eq!(of.open.get(), 0, "given up after {patience} ms");
            raced.is_err()
        });
        assert!(gave_up.expect("the loop is not stopped"));
        assert_eq!(event_loop.census().timers, 0);
    }
    assert_eq!(course.most.get(), 3);
}

#[test]
fn attempts_that_have_not_begun_are_not_made() -> io::Result<()> {
    let made = Rc::new(Cell::new(0));
    let counts = made.clone();
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let won = event_loop.run_until_complete(async move {
        let attempts = (0..10).map(|number| {
            counts.set(counts.get() + 1);
            async move {
                match number {
                    3 => Ok(number),
                    _ => Err(()),
                }
            }
        });
        race(attempts, None).await
    })?;
    assert_eq!(won, Ok(3));
    // The race looks whether there is another.
    assert!(made.get() <= 5, "{}", made.get());
    Ok(())
}
