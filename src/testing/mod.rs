//! Tools for tests: what a protocol was told, sockets that follow a script, and the suite
//! that every transport must pass.
//!
//! Layer 9, with the feature `testing`. Above: tests, ours and yours. Below: everything.
//!
//! ```text
//!   Recorder (a Protocol) ──writes down──► Trace ──► what was told? in the right order?
//!       ▲
//!       │ calls
//!   your transport, a memory pair, or
//!   scripted_transport ◄──answers of each recv and send── ScriptedSocket ◄── your test
//! ```
//!
//! # asyncio
//! No counterpart in the package: `test.test_asyncio` has a loop and transports of its
//! own. Trio's `trio.testing` is the model.

mod trace; //       what a protocol was told, and whether in the right order
mod recorder; //    the protocol that writes it down
mod scripted; //    a socket that does what it is told
mod conformance; // what every transport must do

pub use conformance::conformance;
pub use recorder::Recorder;
pub use scripted::{OnReceive, OnSend, ScriptedSocket, SocketCall, scripted_transport};
pub use trace::{Told, Trace};
