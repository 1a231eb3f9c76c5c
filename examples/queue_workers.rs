//! Run with `cargo run --example queue_workers`. Lines like these appear:
//!
//! ```text
//! worker-0 has slept for 0.07 seconds
//! worker-2 has slept for 0.09 seconds
//! ====
//! 3 workers slept in parallel for 0.34 seconds
//! total expected sleep time: 0.94 seconds
//! ```
//!
//! with a line of the first kind for each of the twenty jobs. Python: "Queues", the example
//! that distributes workload between several concurrent tasks.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use millstream::{Queue, create_task, gather, get_running_loop, run, sleep};

fn main() -> io::Result<()> {
    run(async {
        let queue = Rc::new(Queue::new(0));

        // Sleep timings that look random, and put them into the queue.
        let mut total = Duration::ZERO;
        for nth in 0..20 {
            let sleep_for = Duration::from_millis(5 + (nth * 37) % 91);
            total += sleep_for;
            queue.put(sleep_for).await?;
        }

        // Three workers process the queue at once.
        let workers: Vec<_> = (0..3)
            .map(|n| create_task(worker(format!("worker-{n}"), queue.clone())))
            .collect();

        // Wait until the queue is fully processed.
        let handle = get_running_loop()?;
        let started = handle.time();
        queue.join().await;
        let slept = handle.time() - started;

        // Cancel the workers, which wait for more, and wait until they have ended.
        for worker in &workers {
            worker.cancel();
        }
        gather(workers).return_exceptions().await;

        println!("====");
        println!(
            "3 workers slept in parallel for {:.2} seconds",
            slept.as_secs_f64()
        );
        println!(
            "total expected sleep time: {:.2} seconds",
            total.as_secs_f64()
        );
        Ok(())
    })
}

async fn worker(name: String, queue: Rc<Queue<Duration>>) -> io::Result<()> {
    loop {
        // Get a work item out of the queue.
        let sleep_for = queue.get().await?;

        sleep(sleep_for).await;

        // Tell the queue that the item has been processed.
        queue.task_done()?;

        println!(
            "{name} has slept for {:.2} seconds",
            sleep_for.as_secs_f64()
        );
    }
}
