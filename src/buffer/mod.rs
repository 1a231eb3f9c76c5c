//! The buffers: bytes that came and were not read, bytes that were written and not sent.
//!
//! Layer 0. Above: transports and streams. Below: `Vec<u8>`.
//!
//! ```text
//!   recv ──► ReadBuffer  [ read | unread .......... ]  ──► readline, read, peek
//!   write ─► WriteBuffer [ sent | queued ][ queued ]   ──► send
//!                 ▲ a Vec from the pool        │ empty again
//!                 └──────── BufferPool ◄───────┘
//! ```
//!
//! Always true: a buffer that holds nothing owns no memory; what it had went back to
//! the loop's pool. An idle connection costs no buffers.
//!
//! asyncio: the `bytearray` of `StreamReader._buffer`, the deque of
//! `_SelectorSocketTransport._buffer`.

mod receive_buffer; // what the kernel puts bytes into
mod read_buffer; //    what came and was not read
mod write_buffer; //   what was written and not sent
mod pool; //           the memory of the last two, between two uses

pub(crate) use pool::BufferPool;
pub(crate) use read_buffer::ReadBuffer;
pub(crate) use receive_buffer::MAX_RECEIVE;
pub(crate) use write_buffer::WriteBuffer;
