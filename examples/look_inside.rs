//! Run with `cargo run --example look_inside`. It shows what its tasks wait for, on a simulated
//! clock, so that it is the same each time and takes no time:
//!
//! ```text
//! ├── (T) Task-1, running
//! ├── (T) bread, waiting for 3.000 s
//! │   └── (T) flour, waiting for 3.000 s
//! │       └── until 10.000 s, in 7.000 s
//! ├── (T) miller, waiting for 2.000 s
//! │   └── lock 1, held by baker
//! └── (T) baker, waiting for 1.000 s
//!     └── lock 2, held by miller
//! cycle: miller → baker → miller
//!
//! 3.000 s of sleep in 3.000 s
//! ```
//!
//! Python: `python -m asyncio pstree`, which looks in from outside.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Clock, EventLoop, Lock, Runner, capture_call_graph, create_task, get_running_loop, sleep,
};

async fn bakery() -> io::Result<()> {
    let flour = create_task(sleep(Duration::from_secs(10)));
    flour.set_name("flour");
    create_task(flour).set_name("bread");

    // Each of the two takes one lock, and then wants that of the other: they wait for ever.
    let (sacks, oven) = (Rc::new(Lock::new()), Rc::new(Lock::new()));
    let both = (sacks.clone(), oven.clone());
    let miller = create_task(async move {
        let _sacks = both.0.acquire().await;
        sleep(Duration::from_secs(1)).await;
        let _oven = both.1.acquire().await;
    });
    let baker = create_task(async move {
        let _oven = oven.acquire().await;
        sleep(Duration::from_secs(2)).await;
        let _sacks = sacks.acquire().await;
    });
    miller.set_name("miller");
    baker.set_name("baker");

    sleep(Duration::from_secs(3)).await;

    // A task, a callback or, with the feature `signals`, a signal may ask for this; no task
    // is polled for it. The same can be had as data: `capture_call_graph().tasks`.
    println!("{}", capture_call_graph());

    let statistics = get_running_loop()?.statistics();
    println!(
        "{:.3} s of sleep in {:.3} s",
        statistics.time_asleep.as_secs_f64(),
        statistics.time.as_secs_f64()
    );
    Ok(())
}

fn main() -> io::Result<()> {
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    Runner::on(event_loop).run(bakery())
}
