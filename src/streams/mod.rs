//! The streams: where callbacks become coroutines.
//!
//! Layer 7. Above: `open_connection`, `start_server`, your code. Below: transports.
//!
//! ```text
//!   your task ── readline().await ──► StreamReader ◄──► StreamWriter ── write, drain ──►
//!                        bytes, EOF,     │                   │ paused? lost?
//!                        error           ▼                   ▼
//!                                   StreamState (reading + FlowControlMixin)
//!                                        ▲
//!   transport ── data_received, … ──► StreamReaderProtocol
//! ```
//!
//! The trick of the whole layer: the protocol, called back, puts what happened into the
//! state and wakes whoever waits; the coroutine, woken, looks into the state. Bytes, if a read
//! waits for them, it leaves to that.
//!
//! Always true:
//! * while a read waits, all unread bytes are at home, in the state;
//! * a read removes bytes only in the poll that returns them, so that dropping it loses
//!   nothing (D15);
//! * the protocol holds the state weakly and nothing else, so there is no cycle (R2).
//!
//! asyncio: `streams.py`.

mod state; //        what protocol, reader and writer share
mod protocol; //     callbacks come in here
mod flow_control; // who waits until writing may go on
mod reader; //       coroutines read here
mod attempts; //     what a read does without waiting
mod read; //         how a read waits
mod patience; //     how long
mod pull; //         how it receives what has come
mod feed; //         what a protocol of your own feeds a reader by
mod search; //       where a separator ends
#[cfg_attr(not(feature = "memchr"), path = "plain_find.rs")]
mod find; //         and how it is found
mod writer; //       coroutines write here
mod progress; //     how long, while nothing leaves
#[cfg(feature = "tls")]
mod start_tls; //    from plaintext to TLS in mid-stream
mod copy; //         from a reader to a writer, one way or both
mod memory; //       two streams that are each other's peer

#[cfg(test)]
mod tests; //        what only two readers of one state can show

pub use copy::{copy, copy_bidirectional};
pub use feed::StreamFeed;
pub use flow_control::FlowControlMixin;
pub use memory::memory_stream_pair;
pub use protocol::StreamReaderProtocol;
pub use reader::{ErrorPolicy, OverlongPolicy, StreamReader};
pub use search::Separators;
#[cfg(feature = "tls")]
pub use start_tls::{Buffered, StreamStartTls};
pub use writer::StreamWriter;
