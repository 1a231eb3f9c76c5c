//! Copying: from a reader to a writer until the end, one way or both.
//!
//! ```text
//!   kernel ──try_read──► the loop's receive buffer ──write──► kernel
//!                                                     └─ refused ──► write buffer
//!   read already: lent ──write──► kernel
//! ```
//!
//! A connection that is copied has no memory of its own while it waits: what comes stays in
//! the kernel until the writer has room, passes through the buffer that all connections of
//! the loop share, and is sent from there. Only what the kernel refuses is copied, and a
//! piece below 4 KiB, which leaves at the end of the step (D28).
//!
//! Always true: bytes leave the reader in the same poll that hands them to the writer, so
//! that a copy that is dropped loses nothing (S4).

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::buffer::MAX_RECEIVE;
use crate::error::{ConnError, CopyError};
use crate::event_loop::running_loop;
use crate::task::yield_now;

use super::flow_control::connection_lost;
use super::reader::StreamReader;
use super::state::Method;
use super::writer::StreamWriter;

/// Bytes that are handed to a writer at once, at the most.
///
/// 64 KiB: few system calls for a bulk of bytes, which still lie in the processor's cache
/// when they are sent. So a writer's buffer holds 64 KiB above its high-water mark at most.
const PIECE: usize = 64 * 1024;

/// Copies from `reader` to `writer` until the end of the stream, and returns how many
/// bytes that were.
///
/// Waits while the writer's buffer is above its high-water mark, and reads nothing
/// meanwhile: the reader's peer is slowed down to the pace of the writer's. At the end it
/// waits until everything has been handed to the kernel, as
/// [`flush`](StreamWriter::flush) does. It closes nothing and tells the writer's peer of no
/// end; [`copy_bidirectional`] does.
///
/// Bytes go from kernel to kernel through the loop's receive buffer: only what the kernel
/// won't take at once is kept, in the writer's buffer, and that holds 64 KiB above its
/// high-water mark at the most.
///
/// # Errors
/// What the reader's connection was lost with; `TimedOut` if it was silent for longer than
/// its [`read_timeout`](StreamReader::read_timeout), if it has one; and what [`drain`](StreamWriter::drain) and
/// `flush` tell of the writer's. Nothing is read for a writer that is closing, or that has
/// ended by `write_eof`.
///
/// While it waits for bytes, it looks at the reader alone: that the writer's connection is
/// lost, it finds when there is something to write.
///
/// # Cancel safety
/// Cancel safe: what it has read, it has handed to the writer; the rest is still in the
/// reader. How many bytes that were, is not told.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart; Tokio's `copy` is the model.
///
/// # Examples
/// An echo server's handler:
/// ```
/// use std::io;
/// use millstream::{StreamReader, StreamWriter, copy, memory_stream_pair, run};
///
/// async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<u64> {
///     let copied = copy(&mut reader, &writer).await?;
///     writer.aclose().await?;
///     Ok(copied)
/// }
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let ((reader, writer), (mut peer_reader, peer)) = memory_stream_pair(1024);
///     peer.write("whatever it says");
///     peer.write_eof()?;
///     assert_eq!(echo(reader, writer).await?, 16);
///     assert_eq!(peer_reader.read_all().await?, b"whatever it says");
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub async fn copy(reader: &mut StreamReader, writer: &StreamWriter) -> io::Result<u64> {
    let copied = Cell::new(0);
    copy_to_the_end(reader, writer, &copied).await?;
    Ok(copied.get())
}

/// Copies from `a` to `b` and from `b` to `a` at the same time, each until its end, and
/// returns how many bytes went each way, those from `a` to `b` first.
///
/// What is between a client and a server copies by this. Each direction does what [`copy`]
/// does. When one ends, the other peer is told so by
/// [`write_eof`](StreamWriter::write_eof), and the other direction goes on: a client that
/// has sent its request and half-closed still gets its answer. A writer that can't
/// half-close ([`can_write_eof`](StreamWriter::can_write_eof)) is closed when both
/// directions have ended. Other than that, nothing is closed; dropping the writers closes
/// them.
///
/// There is no time limit: a peer that neither sends nor ends keeps it waiting, unless its
/// reader has a [`set_read_timeout`](StreamReader::set_read_timeout), by which a direction
/// that is silent for too long ends both, or the whole a [`timeout`](crate::timeout) around
/// it.
///
/// # Errors
/// [`CopyError`] as soon as one direction fails, which ends both; it says how many bytes
/// went each way. The streams are left open, with what was not sent yet: close them, or
/// [`abort`](crate::Transport::abort) them if that is of no use any more.
///
/// # Cancel safety
/// Cancel safe, as [`copy`]: the readers still have what was not handed to the writers, and
/// it may be called again. How many bytes went each way, is not told.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// No counterpart; Tokio's `copy_bidirectional` is the model, whose error has no counts.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{
///     StreamReader, StreamWriter, copy_bidirectional, open_connection, run, start_server,
/// };
///
/// async fn pass_on(
///     upstream: u16,
///     mut reader: StreamReader,
///     writer: StreamWriter,
/// ) -> io::Result<()> {
///     let (mut up_reader, up_writer) = open_connection("127.0.0.1", upstream).await?;
///     copy_bidirectional((&mut reader, &writer), (&mut up_reader, &up_writer)).await?;
///     Ok(())
/// }
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let shout = async |mut reader: StreamReader, writer: StreamWriter| {
///         writer.write(reader.read_all().await?.to_ascii_uppercase());
///         writer.aclose().await
///     };
///     let server = start_server(shout, "127.0.0.1", 0).await?;
///     let upstream = server.sockets()[0].port().unwrap_or(0);
///     let proxy = start_server(
///         async move |reader, writer| pass_on(upstream, reader, writer).await,
///         "127.0.0.1",
///         0,
///     )
///     .await?;
///
///     let port = proxy.sockets()[0].port().unwrap_or(0);
///     let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
///     writer.write("a request");
///     writer.write_eof()?;
///     assert_eq!(reader.read_all().await?, b"A REQUEST");
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub async fn copy_bidirectional(
    a: (&mut StreamReader, &StreamWriter),
    b: (&mut StreamReader, &StreamWriter),
) -> Result<(u64, u64), CopyError> {
    let ((a_reader, a_writer), (b_reader, b_writer)) = (a, b);
    let (a_to_b, b_to_a) = (Cell::new(0), Cell::new(0));
    let copied = both(
        copy_with_the_end(a_reader, b_writer, &a_to_b),
        copy_with_the_end(b_reader, a_writer, &b_to_a),
    )
    .await;
    let (a_to_b, b_to_a) = (a_to_b.get(), b_to_a.get());
    if let Err(error) = copied {
        return Err(CopyError {
            a_to_b,
            b_to_a,
            error: ConnError::from(error),
        });
    }
    for writer in [a_writer, b_writer] {
        if !writer.can_write_eof() {
            writer.close();
        }
    }
    Ok((a_to_b, b_to_a))
}

async fn copy_with_the_end(
    reader: &mut StreamReader,
    writer: &StreamWriter,
    copied: &Cell<u64>,
) -> io::Result<()> {
    copy_to_the_end(reader, writer, copied).await?;
    match writer.can_write_eof() {
        true => writer.write_eof(),
        false => Ok(()),
    }
}

/// Counts in `copied`, whatever comes of it.
async fn copy_to_the_end(
    reader: &mut StreamReader,
    writer: &StreamWriter,
    copied: &Cell<u64>,
) -> io::Result<()> {
    if !reader.at_eof() {
        // D27: if it comes after `write_eof`, the first `drain` tells, and no byte is lost.
        writer.write([]);
    }
    let mut without_waiting = 0;
    loop {
        if without_waiting >= MAX_RECEIVE {
            without_waiting = 0;
            reader.leave_to_us_while(yield_now()).await?; // R9
        }
        reader.leave_to_us_while(has_room(writer)).await??;
        reader.check_error_first()?;
        if let Some(n) = reader.try_pass_on(writer) {
            copied.set(copied.get() + n as u64);
            without_waiting += n;
        } else if reader.is_at_the_end()? {
            return writer.flush().await;
        } else {
            reader.wait_to_pull(Method::Copy).await?;
            without_waiting = 0;
        }
    }
}

/// Waits until the writer takes more.
async fn has_room(writer: &StreamWriter) -> io::Result<()> {
    writer.drain().await?;
    if writer.is_closing() {
        return Err(connection_lost()); // it would throw away what we hand it
    }
    Ok(())
}

impl StreamReader {
    /// Hands what is there to `writer`, a piece at the most, and says how much that was:
    /// what was read already, else what the kernel has.
    #[inline]
    fn try_pass_on(&mut self, writer: &StreamWriter) -> Option<usize> {
        if self.state().unread() > 0 {
            return Some(self.pass_on_unread(writer));
        }
        let transport = self.transport()?;
        let handle = running_loop();
        // It is out of the loop while it is lent, so a call-out meets another one (R3).
        let mut buffer = handle.core().pool.take_receive_buffer();
        let received = transport.try_read(&mut buffer[..PIECE]);
        if let Ok(n) = received {
            self.end_discarding(n);
            writer.write(&buffer[..n]);
        }
        handle.core().pool.put_receive_buffer(buffer);
        received.ok()
    }

    #[inline]
    fn pass_on_unread(&mut self, writer: &StreamWriter) -> usize {
        if self.lent.is_empty() {
            self.lend();
        }
        let n = self.lent.len().min(PIECE);
        writer.write(&self.lent.unread()[..n]);
        self.consume(n);
        if self.lent.is_empty() {
            self.bring_home(); // its memory goes back
        }
        n
    }
}

/// Awaits both, or one and the error of the other.
async fn both(
    one: impl Future<Output = io::Result<()>>,
    other: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (one, other) = (pin!(one), pin!(other));
    let mut under_way: [Option<Pin<&mut dyn Future<Output = io::Result<()>>>>; 2] =
        [Some(one), Some(other)];
    poll_fn(|cx| {
        for direction in &mut under_way {
            let Some(copying) = direction else { continue };
            if let Poll::Ready(ended) = copying.as_mut().poll(cx) {
                *direction = None;
                ended?;
            }
        }
        match under_way {
            [None, None] => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    })
    .await
}
