//! What a time limit costs, beside Tokio's.
//!
//! `cargo run --release --bin timeouts` in this folder; `--rounds 25`, `--results FILE`.
//!
//! A thousand limits are pending all the time, then a hundred thousand, then a million; in
//! each round each of them is dropped and another set in its place, as a server does with a
//! limit for each request. Then limits around what is ready at once, which set no timer, and around what is ready one
//! turn later, one after the other. How long millstream's heap of timers became is printed,
//! too: Tokio has a wheel, from which a timer leaves at once.

use std::cell::RefCell;
use std::future::{Pending, pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use beside_tokio::{Comparison, Cost, Options};
use millstream::EventLoop;

/// Limits that are set in a round, at the least.
const SET_IN_A_ROUND: usize = 200_000;

/// Limits that are awaited one after the other in a round.
const AWAITED: usize = 200_000;

/// How far away the limits are; none ever passes.
const LIMIT: Duration = Duration::from_secs(3600);

fn main() -> io::Result<()> {
    let options = Options::from_arguments()?;
    let mut comparison = Comparison {
        group: "time limits",
        unit: "ns",
        rounds: options.rounds,
        notebook: options.notebook()?,
    };
    comparison.print_heading();
    for (pending, what) in [
        (1_000, "dropped and set, of 1000 pending"),
        (100_000, "dropped and set, of 100000 pending"),
        (1_000_000, "dropped and set, of 1000000 pending"),
    ] {
        if !options.wants("time limits", what) {
            continue;
        }
        let (ours, theirs) = (Ours::new(pending)?, Theirs::new(pending)?);
        comparison.compare(what, || ours.set_anew(), || theirs.set_anew())?;
        let timers = ours.event_loop.census().timers;
        println!("    timers in millstream's heap, of {pending} that wait: {timers}");
    }
    let (ours, theirs) = (Ours::new(0)?, Theirs::new(0)?);
    let what = "around what is ready at once";
    if options.wants("time limits", what) {
        comparison.compare(what, || ours.ready_at_once(), || theirs.ready_at_once())?;
    }
    let what = "around what is ready in the next turn";
    if options.wants("time limits", what) {
        comparison.compare(what, || ours.ready_next_turn(), || theirs.ready_next_turn())?;
    }
    Ok(())
}

/// Limits that are kept pending.
type Limits<F> = Rc<RefCell<Vec<Pin<Box<F>>>>>;

fn limits<F>(pending: usize, make: impl Fn() -> F) -> Limits<F> {
    let limits = (0..pending).map(|_| Box::pin(make())).collect();
    Rc::new(RefCell::new(limits))
}

/// Drops each limit, and sets another in its place, in one step.
async fn set_anew<F: Future>(limits: Limits<F>, make: impl Fn() -> F) {
    poll_fn(|cx| {
        for limit in limits.borrow_mut().iter_mut() {
            limit.set(make());
            assert!(limit.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
}

/// How often so many limits are set anew in a round, so that it takes a while.
fn times(pending: usize) -> usize {
    (SET_IN_A_ROUND / pending.max(1)).max(1)
}

/// Nanoseconds for each of `count`.
fn each(count: usize, began: Instant) -> Cost {
    began.elapsed().as_nanos() as f64 / count as f64
}

async fn our_limit() {
    let _ = millstream::timeout(LIMIT, pending::<()>()).await;
}

fn their_limit() -> tokio::time::Timeout<Pending<()>> {
    tokio::time::timeout(LIMIT, pending())
}

struct Ours<F> {
    event_loop: EventLoop,
    limits: Limits<F>,
    make: fn() -> F,
}

impl Ours<()> {
    fn new(pending: usize) -> io::Result<Ours<impl Future + 'static>> {
        fn of<F: Future + 'static>(pending: usize, make: fn() -> F) -> io::Result<Ours<F>> {
            Ok(Ours {
                event_loop: EventLoop::new()?,
                limits: limits(pending, make),
                make,
            })
        }
        of(pending, our_limit)
    }
}

impl<F: Future + 'static> Ours<F> {
    fn set_anew(&self) -> io::Result<Cost> {
        let times = times(self.limits.borrow().len());
        let began = Instant::now();
        for _ in 0..times {
            self.event_loop
                .run_until_complete(set_anew(self.limits.clone(), self.make))?;
        }
        Ok(each(times * self.limits.borrow().len(), began))
    }

    fn ready_at_once(&self) -> io::Result<Cost> {
        let began = Instant::now();
        self.event_loop.run_until_complete(async {
            for _ in 0..AWAITED {
                millstream::timeout(LIMIT, async {}).await?;
            }
            io::Result::Ok(())
        })??;
        Ok(each(AWAITED, began))
    }

    fn ready_next_turn(&self) -> io::Result<Cost> {
        let began = Instant::now();
        self.event_loop.run_until_complete(async {
            for _ in 0..AWAITED {
                millstream::timeout(LIMIT, millstream::yield_now()).await?;
            }
            io::Result::Ok(())
        })??;
        Ok(each(AWAITED, began))
    }
}

struct Theirs {
    runtime: tokio::runtime::Runtime,
    limits: Limits<tokio::time::Timeout<Pending<()>>>,
}

impl Theirs {
    fn new(pending: usize) -> io::Result<Theirs> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let limits = limits(pending, their_limit);
        drop(entered);
        Ok(Theirs { runtime, limits })
    }

    fn set_anew(&self) -> io::Result<Cost> {
        let times = times(self.limits.borrow().len());
        let began = Instant::now();
        for _ in 0..times {
            // With a budget, all but the first few would not set their timers.
            let anew = tokio::task::unconstrained(set_anew(self.limits.clone(), their_limit));
            self.runtime.block_on(anew);
        }
        Ok(each(times * self.limits.borrow().len(), began))
    }

    fn ready_at_once(&self) -> io::Result<Cost> {
        let began = Instant::now();
        self.runtime.block_on(async {
            for _ in 0..AWAITED {
                tokio::time::timeout(LIMIT, async {}).await?;
            }
            io::Result::Ok(())
        })?;
        Ok(each(AWAITED, began))
    }

    fn ready_next_turn(&self) -> io::Result<Cost> {
        let began = Instant::now();
        self.runtime.block_on(async {
            for _ in 0..AWAITED {
                tokio::time::timeout(LIMIT, tokio::task::yield_now()).await?;
            }
            io::Result::Ok(())
        })?;
        Ok(each(AWAITED, began))
    }
}
