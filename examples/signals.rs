//! Run with `cargo run --example signals --features signals`, and then press Ctrl-C, or send
//! the signal that it names with `kill`. The process has a number of its own:
//!
//! ```text
//! Event loop running for 1 hour, press Ctrl+C to interrupt.
//! pid 50312: send SIGINT or SIGTERM to exit.
//! got signal SIGINT: exit
//! ```
//!
//! Python: "Set signal handlers for SIGINT and SIGTERM".

use std::io;
use std::process;
use std::time::Duration;

use millstream::{EventLoop, Signal};

fn main() -> io::Result<()> {
    let event_loop = EventLoop::new()?;

    for signal in [Signal::INT, Signal::TERM] {
        let handle = event_loop.handle();
        // Called by the loop, between two steps of other tasks: it may do what any callback
        // may, which a real signal handler may not.
        event_loop.add_signal_handler(signal, move || {
            println!("got signal {signal}: exit");
            handle.stop();
        })?;
    }

    let handle = event_loop.handle();
    event_loop.call_later(Duration::from_secs(3600), move || handle.stop())?;

    println!("Event loop running for 1 hour, press Ctrl+C to interrupt.");
    println!("pid {}: send SIGINT or SIGTERM to exit.", process::id());
    event_loop.run_forever()?;

    // A closed loop listens to no signal: from here on, Ctrl-C ends the program at once.
    Ok(event_loop.close()?)
}
