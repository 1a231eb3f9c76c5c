//! Streams in memory: two pairs that are each other's peer.

use crate::event_loop::running_loop;
use crate::transports::memory_transport_pair;

use super::protocol::StreamReaderProtocol;
use super::reader::StreamReader;
use super::writer::StreamWriter;

/// Makes two connected streams in memory, for tests and for programs that talk to
/// themselves.
///
/// `capacity` is how many bytes lie on the way in each direction at the most; what is
/// written beyond it waits in the writer's buffer. For a peer that stalls, have it pause:
/// `peer_writer.transport().pause_reading()`. For one that is slow, give its reader a small
/// limit ([`StreamReader::set_limit`]), at twice which reading pauses until somebody reads.
/// The streams begin with the next turn (R7): a `drain` before it never waits.
///
/// Give the writers a name, `_writer` where you don't need one: the pattern `_` drops, and a
/// writer that is dropped closes its stream.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart; trio's `memory_stream_pair` is the model.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{memory_stream_pair, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let ((mut reader, _writer), (_other_reader, other_writer)) = memory_stream_pair(1024);
///     other_writer.write(b"hello\n");
///     assert_eq!(reader.readline().await?, b"hello\n");
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[must_use = "dropping a writer closes its stream"]
#[track_caller]
pub fn memory_stream_pair(
    capacity: usize,
) -> ((StreamReader, StreamWriter), (StreamReader, StreamWriter)) {
    let handle = running_loop();
    let (one, other) = (StreamReader::new(), StreamReader::new());
    let (one_transport, other_transport) = memory_transport_pair(
        &handle,
        StreamReaderProtocol::new(&one),
        StreamReaderProtocol::new(&other),
        capacity,
    );
    let one_writer = StreamWriter::new(one_transport, &one);
    let other_writer = StreamWriter::new(other_transport, &other);
    ((one, one_writer), (other, other_writer))
}
