//! Memory: what an idle task takes.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use ::millstream::EventLoop;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::LocalSet;

use crate::{Part, Run, Way};

/// Tasks that are spawned before they take their first steps: so no queue becomes long.
const WAVE: u64 = 100;

pub(crate) fn parts() -> Vec<Part> {
    let way = |who, run| Way {
        who,
        run: Run::Bytes(run),
    };
    vec![Part {
        group: "memory",
        name: "an idle task",
        unit: "bytes",
        times: 10_000,
        ways: vec![
            way("millstream", millstream),
            way("tokio spawn", spawn),
            way("tokio LocalSet", local_set),
            way("tokio LocalRuntime", local_runtime),
        ],
    }]
}

fn millstream(n: u64) -> io::Result<u64> {
    let event_loop = EventLoop::new()?;
    bytes_held(|| event_loop.run_until_complete(spawn_idle::millstream(n)))
}

fn spawn(n: u64) -> io::Result<u64> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    bytes_held(|| Ok(runtime.block_on(spawn_idle::spawn(n))))
}

fn local_set(n: u64) -> io::Result<u64> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    bytes_held(|| Ok(tasks.block_on(&runtime, spawn_idle::spawn_local(n))))
}

fn local_runtime(n: u64) -> io::Result<u64> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    bytes_held(|| Ok(runtime.block_on(spawn_idle::spawn_local(n))))
}

/// What was asked of the allocator and not given back, the spare room of tables included.
/// What the allocator adds to each piece is its own.
fn bytes_held(run: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    let mut waiting = Ok(0);
    let counts = allocation_counter::measure(|| waiting = run());
    waiting?;
    u64::try_from(counts.bytes_current).map_err(io::Error::other)
}

/// Spawns tasks that nobody will join, and sees each take its first step.
mod spawn_idle {
    use super::*;

    macro_rules! spawn_idle {
        ($name:ident, $spawn:path, $yield_now:path) => {
            pub(super) async fn $name(n: u64) -> u64 {
                WAITING.set(0);
                for wave in 0..n / WAVE {
                    for _ in 0..WAVE {
                        drop($spawn(wait_for_ever()));
                    }
                    while WAITING.get() < (wave + 1) * WAVE {
                        $yield_now().await;
                    }
                }
                WAITING.get()
            }
        };
    }

    spawn_idle!(
        millstream,
        ::millstream::create_task,
        ::millstream::yield_now
    );
    spawn_idle!(spawn, ::tokio::spawn, ::tokio::task::yield_now);
    spawn_idle!(
        spawn_local,
        ::tokio::task::spawn_local,
        ::tokio::task::yield_now
    );
}

thread_local! {
    /// How many tasks wait.
    static WAITING: Cell<u64> = const { Cell::new(0) };
}

/// Waits for what never comes, and has its waker kept meanwhile, as anything does that will
/// once come.
async fn wait_for_ever() {
    let mut waker = None;
    poll_fn(|cx| {
        if waker.is_none() {
            waker = Some(cx.waker().clone());
            WAITING.set(WAITING.get() + 1);
        }
        Poll::Pending
    })
    .await
}
