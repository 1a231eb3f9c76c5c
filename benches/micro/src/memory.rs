//! Memory: what an idle task takes, its future included.
//!
//! How much the resident memory of the process grows, which does nothing else, so that what the
//! allocator adds to each piece is in it, and the room that a table has to spare only where
//! it was touched. Counting each allocation would be the same on every run; but what counts
//! them would be in the way of all other parts, and most of whoever allocates more often.

use std::cell::Cell;
use std::fs;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use crate::loops::{current_thread, local_runtime, local_set, millstream};
use crate::{Part, Run, Way};

/// Tasks that are spawned before they take their first steps: so no queue becomes long.
const WAVE: u64 = 100;

/// Tasks that are spawned before the first measurement: so that what all need is there.
const WARM_UP: u64 = 1_000;

pub(crate) fn parts() -> Vec<Part> {
    let way = |who, run| Way {
        who,
        run: Run::Bytes(run),
    };
    vec![Part {
        group: "memory",
        name: "an idle task",
        unit: "bytes",
        times: 100_000,
        // Bytes hardly vary.
        patience: 0.12,
        ways: vec![
            way("millstream", |n| millstream(spawn_idle::millstream(n))?),
            way("tokio spawn", |n| current_thread(spawn_idle::spawn(n))?),
            way("tokio LocalSet", |n| local_set(spawn_idle::spawn_local(n))?),
            way("tokio LocalRuntime", |n| {
                local_runtime(spawn_idle::spawn_local(n))?
            }),
        ],
    }]
}

/// Spawns tasks that nobody will join, and sees each take its first step.
mod spawn_idle {
    use super::*;

    macro_rules! spawn_idle {
        ($name:ident, $spawn:path, $yield_now:path) => {
            pub(super) async fn $name(n: u64) -> io::Result<u64> {
                let mut before = 0;
                for wave in 0..(WARM_UP + n) / WAVE {
                    if wave == WARM_UP / WAVE {
                        before = resident_bytes()?;
                    }
                    for _ in 0..WAVE {
                        drop($spawn(wait_for_ever()));
                    }
                    while WAITING.get() < (wave + 1) * WAVE {
                        $yield_now().await;
                    }
                }
                Ok(resident_bytes()? - before)
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

fn resident_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))
        .ok_or_else(|| io::Error::other("/proc/self/status tells no VmRSS"))?;
    let kibibytes: u64 = kibibytes.trim().parse().map_err(io::Error::other)?;
    Ok(kibibytes * 1024)
}
