//! What a time limit costs, in time and in memory.
//!
//! `cargo bench --bench timeouts`; beside Tokio's, see `benches/beside-tokio`.
//!
//! A hundred thousand limits are pending all the time; in each round each of them is dropped
//! and another set in its place, as a server does with a limit for each request. The heap
//! of timers keeps those that were dropped for a while: the last columns show that it stays
//! bounded, and so does the memory.

mod support;

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use millstream::{EventLoop, timeout};

use support::resident_bytes;

/// Limits that are pending at once.
const PENDING: usize = 100_000;

const ROUNDS: usize = 20;

/// How far away the limits are; none ever passes.
const LIMIT: Duration = Duration::from_secs(3600);

fn main() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let limits: Vec<_> = (0..PENDING).map(|_| Box::pin(endless())).collect();
    let limits = Rc::new(RefCell::new(limits));
    println!("{PENDING} limits, each dropped and set anew in each round");
    println!(
        "{:>6}{:>12}{:>12}{:>14}",
        "round", "ns each", "timers", "resident MiB"
    );
    for round in 1..=ROUNDS {
        let anew = limits.clone();
        let began = Instant::now();
        event_loop.run_until_complete(poll_fn(move |cx| {
            for limit in anew.borrow_mut().iter_mut() {
                limit.set(endless());
                assert!(limit.as_mut().poll(cx).is_pending());
            }
            Poll::Ready(())
        }))?;
        let each = began.elapsed().as_nanos() as f64 / PENDING as f64;
        let timers = event_loop.census().timers;
        let resident = resident_bytes("self")? as f64 / f64::from(1 << 20);
        println!("{round:>6}{each:>12.1}{timers:>12}{resident:>14.1}");
    }
    Ok(())
}

async fn endless() {
    let _ = timeout(LIMIT, pending::<()>()).await;
}
