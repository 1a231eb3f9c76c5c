//! Tasks: to spawn and join them, to yield, to wake each other.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ::millstream::{Event, Queue};
use ::tokio::sync::{Notify, mpsc};

use crate::loops::{for_each_library, for_each_local};
use crate::{Part, timed};

/// Tasks that are there at once, where there is more than one.
const TOGETHER: u64 = 100;

pub(crate) fn parts() -> Vec<Part> {
    macro_rules! each_way {
        ($part:ident) => {
            &[
                ("millstream", $part::millstream::run),
                ("tokio spawn", $part::spawn::run),
                ("tokio LocalSet", $part::local_set::run),
                ("tokio LocalRuntime", $part::local_runtime::run),
            ]
        };
        (local $part:ident) => {
            &[
                ("millstream", $part::millstream::run),
                ("tokio LocalSet", $part::local_set::run),
                ("tokio LocalRuntime", $part::local_runtime::run),
            ]
        };
    }
    vec![
        timed(
            "tasks",
            "spawn and join",
            100_000,
            each_way!(spawn_and_join),
        ),
        timed(
            "tasks",
            "spawn and join, a hundred at once",
            100_000,
            each_way!(spawn_many),
        ),
        timed(
            "tasks",
            "yield, a hundred tasks",
            500_000,
            each_way!(yields),
        ),
        timed("tasks", "wake round trip", 200_000, each_way!(local wakers)),
        timed(
            "tasks",
            "wake round trip by Event, Notify",
            200_000,
            each_way!(local events),
        ),
        timed(
            "tasks",
            "wake round trip by Queue, mpsc",
            200_000,
            each_way!(local queues),
        ),
    ]
}

for_each_library!(
    spawn_and_join,
    async fn measure(n: u64) -> Duration {
        let began = Instant::now();
        for _ in 0..n {
            let _ = spawn(async {}).await;
        }
        began.elapsed()
    }
);

for_each_library!(
    spawn_many,
    async fn measure(n: u64) -> Duration {
        let mut tasks = Vec::with_capacity(TOGETHER as usize);
        let began = Instant::now();
        for _ in 0..n / TOGETHER {
            tasks.extend((0..TOGETHER).map(|_| spawn(async {})));
            for task in tasks.drain(..) {
                let _ = task.await;
            }
        }
        began.elapsed()
    }
);

for_each_library!(
    yields,
    async fn measure(n: u64) -> Duration {
        let each = n / TOGETHER;
        let yielding = |_| {
            spawn(async move {
                for _ in 0..each {
                    yield_now().await;
                }
            })
        };
        let tasks: Vec<_> = (0..TOGETHER).map(yielding).collect();
        let began = Instant::now();
        for task in tasks {
            let _ = task.await;
        }
        began.elapsed()
    }
);

/// One of two tasks that wake each other: whether it is its turn, and its waker.
#[derive(Default)]
struct Side {
    turn: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Side {
    /// Waits for its turn, as any leaf future does that is made by hand.
    async fn wait(&self) {
        poll_fn(|cx| {
            if self.turn.replace(false) {
                return Poll::Ready(());
            }
            let known = self
                .waker
                .take()
                .filter(|known| known.will_wake(cx.waker()));
            self.waker
                .set(Some(known.unwrap_or_else(|| cx.waker().clone())));
            Poll::Pending
        })
        .await;
    }

    fn wake(&self) {
        self.turn.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

for_each_local!(
    wakers,
    async fn measure(n: u64) -> Duration {
        let sides = Rc::new([Side::default(), Side::default()]);
        let theirs = sides.clone();
        let other = spawn(async move {
            for _ in 0..n {
                theirs[1].wait().await;
                theirs[0].wake();
            }
        });
        let began = Instant::now();
        for _ in 0..n {
            sides[1].wake();
            sides[0].wait().await;
        }
        let took = began.elapsed();
        let _ = other.await;
        took
    }
);

for_each_local!(
    events,
    async fn measure(n: u64) -> Duration {
        let sides = Rc::new([Event::new(), Event::new()]);
        let theirs = sides.clone();
        let other = spawn(async move {
            for _ in 0..n {
                theirs[1].wait().await;
                theirs[1].clear();
                theirs[0].set();
            }
        });
        let began = Instant::now();
        for _ in 0..n {
            sides[1].set();
            sides[0].wait().await;
            sides[0].clear();
        }
        let took = began.elapsed();
        let _ = other.await;
        took
    },
    async fn measure(n: u64) -> Duration {
        let sides = Rc::new([Notify::new(), Notify::new()]);
        let theirs = sides.clone();
        let other = spawn(async move {
            for _ in 0..n {
                theirs[1].notified().await;
                theirs[0].notify_one();
            }
        });
        let began = Instant::now();
        for _ in 0..n {
            sides[1].notify_one();
            sides[0].notified().await;
        }
        let took = began.elapsed();
        let _ = other.await;
        took
    }
);

for_each_local!(
    queues,
    async fn measure(n: u64) -> Duration {
        let queues = Rc::new([Queue::new(0), Queue::new(0)]);
        let theirs = queues.clone();
        let other = spawn(async move {
            while let Ok(number) = theirs[1].get().await {
                let _ = theirs[0].put_nowait(number);
            }
        });
        let began = Instant::now();
        for number in 0..n {
            let _ = queues[1].put_nowait(number);
            assert_eq!(queues[0].get().await.ok(), Some(number));
        }
        let took = began.elapsed();
        queues[1].shutdown(true);
        let _ = other.await;
        took
    },
    async fn measure(n: u64) -> Duration {
        let (there, mut asked) = mpsc::unbounded_channel();
        let (back, mut answered) = mpsc::unbounded_channel();
        let other = spawn(async move {
            while let Some(number) = asked.recv().await {
                let _ = back.send(number);
            }
        });
        let began = Instant::now();
        for number in 0..n {
            let _ = there.send(number);
            assert_eq!(answered.recv().await, Some(number));
        }
        let took = began.elapsed();
        drop(there);
        let _ = other.await;
        took
    }
);
