//! The conformance suite: what every stream transport must do, whatever it is made of.
//!
//! ```text
//!   your make_pair ──► two transports, each other's peer
//!                        │
//!   for each scenario:   loop ─► pair ─► ladder ─► abort what is left ─► check:
//!                        both traces follow the grammar to their end, both protocols
//!                        are dropped, nothing unexpected was reported, no source is left
//! ```
//!
//! A scenario knows nothing of sockets, and nothing of when bytes arrive: it asks what
//! must be true once they have.

mod closing; //   how a connection ends
mod reading; //   data, its end, pausing, lent buffers
mod replacing; // set_protocol
mod scene; //     what a scenario plays on
mod streams; //   readers and writers on the pair
mod writing; //   order, marks, flow control, half-close

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::contract::{Protocol, Transport};
use crate::error::PanicPayload;
use crate::event_loop::LoopHandle;

use scene::Scene;

/// Two transports that are each other's peer.
type Pair = (Rc<dyn Transport>, Rc<dyn Transport>);

/// Makes a pair on a loop that does not run, with these two protocols.
type MakePair<'a> =
    &'a dyn Fn(&LoopHandle, Box<dyn Protocol>, Box<dyn Protocol>) -> io::Result<Pair>;

/// What must be true, and the ladder that shows it.
type Scenario = (&'static str, fn(&Scene<'_>) -> io::Result<()>);

/// Plays every scenario that a stream transport must pass on pairs that `make_pair`
/// makes, and panics if one fails.
///
/// `make_pair` is called for each scenario, with a new loop that does not run at that
/// time. It may run it, as long as it takes to connect, and returns the two transports
/// that got the two protocols, in this order.
///
/// What is checked: the order of callbacks, pausing and resuming in both directions,
/// half-close, closing and aborting at any time and from inside any callback, replacing
/// the protocol, lent buffers, bulk transfer, flow control, panics in callbacks, and
/// streams on top. A transport whose `can_write_eof` is false is spared half-closing.
///
/// # Panics
/// If a scenario fails, with its name.
///
/// # Examples
/// ```
/// use millstream::memory_transport_pair;
/// use millstream::testing::conformance;
///
/// conformance(|handle, one, other| Ok(memory_transport_pair(handle, one, other, 64 * 1024)));
/// ```
///
/// # asyncio
/// No counterpart; trio's `check_two_way_stream` and `check_half_closeable_stream` are
/// the model.
pub fn conformance(
    make_pair: impl Fn(&LoopHandle, Box<dyn Protocol>, Box<dyn Protocol>) -> io::Result<Pair>,
) {
    let groups = [
        reading::SCENARIOS,
        writing::SCENARIOS,
        closing::SCENARIOS,
        replacing::SCENARIOS,
        streams::SCENARIOS,
    ];
    for (name, ladder) in groups.into_iter().flatten() {
        let played = catch_unwind(AssertUnwindSafe(|| play(*ladder, &make_pair)));
        match played {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("conformance: \"{name}\" failed: {error}"),
            Err(panic) => match PanicPayload::new(panic) {
                panic if panic.message().is_some() => {
                    panic!("conformance: \"{name}\" failed: {panic}")
                }
                panic => resume_unwind(panic.into_inner()),
            },
        }
    }
}

fn play(ladder: fn(&Scene<'_>) -> io::Result<()>, make_pair: MakePair<'_>) -> io::Result<()> {
    let scene = Scene::new(make_pair)?;
    ladder(&scene)?;
    scene.ends()
}
