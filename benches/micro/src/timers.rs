//! Timers: set and dropped, as nearly all time limits are; and those that fire.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use crate::loops::for_both;
use crate::{Part, timed};

/// How far away a timer is that never fires.
const FAR: Duration = Duration::from_secs(3600);

/// What a timer that fires is given, for each that is set before the first may fire.
const SETTING: Duration = Duration::from_micros(2);

/// The patience for what takes seconds each time.
const SECONDS: f64 = 0.36;

pub(crate) fn parts() -> Vec<Part> {
    macro_rules! each_way {
        ($part:ident) => {
            &[
                ("millstream", $part::millstream::run),
                ("tokio", $part::tokio::run),
            ]
        };
    }
    vec![
        timed(
            "timers",
            "set and dropped at once",
            200_000,
            each_way!(dropped),
        ),
        timed("timers", "set anew, of 1 000", 200_000, each_way!(anew_1k)),
        timed(
            "timers",
            "set anew, of 100 000",
            200_000,
            each_way!(anew_100k),
        )
        .with_patience(SECONDS),
        timed(
            "timers",
            "set anew, of 1 000 000",
            2_000_000,
            each_way!(anew_1m),
        )
        .with_patience(SECONDS),
        timed("timers", "set and fired, 1 000", 1_000, each_way!(fired)),
        timed(
            "timers",
            "set and fired, 100 000",
            100_000,
            each_way!(fired),
        )
        .with_patience(SECONDS),
        timed(
            "timers",
            "set and fired, 1 000 000",
            1_000_000,
            each_way!(fired),
        )
        .with_patience(SECONDS),
    ]
}

for_both!(
    dropped,
    async fn measure(n: u64) -> Duration {
        let began = Instant::now();
        unconstrained(|cx| {
            for _ in 0..n {
                let mut timer = std::pin::pin!(sleep(FAR));
                assert!(timer.as_mut().poll(cx).is_pending());
            }
        })
        .await;
        began.elapsed()
    }
);

/// Timers that are pending, each of which is dropped and another set in its place.
macro_rules! anew {
    ($part:ident, $pending:literal) => {
        for_both!(
            $part,
            async fn measure(n: u64) -> Duration {
                let set = |nth: u64| Box::pin(sleep(FAR + Duration::from_millis(nth % 60_000)));
                let mut timers: Vec<_> = (0..$pending).map(set).collect();
                unconstrained(|cx| start(&mut timers, cx)).await;
                let began = Instant::now();
                unconstrained(|cx| {
                    for nth in 0..n {
                        let timer = &mut timers[(nth % $pending) as usize];
                        timer.set(sleep(FAR + Duration::from_millis(nth % 60_000)));
                        assert!(timer.as_mut().poll(cx).is_pending());
                    }
                })
                .await;
                began.elapsed()
            }
        );
    };
}

anew!(anew_1k, 1_000);
anew!(anew_100k, 100_000);
anew!(anew_1m, 1_000_000);

for_both!(
    fired,
    /// The time in which they become due is not measured: the thread sleeps over it, as a
    /// loop does that waits for them.
    async fn measure(n: u64) -> Duration {
        let all_set = SETTING * n as u32 + Duration::from_millis(1);
        let began = Instant::now();
        let set = |nth: u64| Box::pin(sleep(all_set + spread(nth)));
        let mut timers: Vec<_> = (0..n).map(set).collect();
        unconstrained(|cx| start(&mut timers, cx)).await;
        let setting = began.elapsed();

        // Each counts from when it was set. A millisecond more than the last one needs: Tokio
        // counts in those.
        thread::sleep(all_set + SPREAD + Duration::from_millis(2));
        let began = Instant::now();
        // The loop has them fire, before the task sees by itself that their time has passed.
        for _ in 0..TURNS {
            yield_now().await;
        }
        for timer in timers {
            timer.await;
        }
        setting + began.elapsed()
    }
);

/// Turns by which either loop has looked at the clock.
const TURNS: u64 = 16;

/// How far those lie apart that are set at once.
const SPREAD: Duration = Duration::from_millis(50);

/// One place within the spread or another, in no order.
fn spread(nth: u64) -> Duration {
    SPREAD * (nth.wrapping_mul(2_654_435_761) % 1_000) as u32 / 1_000
}

fn start<F: Future>(timers: &mut [Pin<Box<F>>], cx: &mut Context<'_>) {
    for timer in timers {
        assert!(timer.as_mut().poll(cx).is_pending());
    }
}

/// Polls timers by hand, in one step, and without the budget that would have Tokio's
/// pretend to be pending after the first 128.
async fn unconstrained(mut step: impl FnMut(&mut Context<'_>)) {
    let stepping = poll_fn(|cx| {
        step(cx);
        Poll::Ready(())
    });
    tokio::task::unconstrained(stepping).await;
}
