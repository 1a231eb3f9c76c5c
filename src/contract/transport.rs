//! The transport: what a protocol and a stream ask of a connection.

use std::fmt;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use crate::waits::NO_SOURCE;

use super::{EofKind, ExtraInfoKey, ExtraInfoRequest, Protocol};

/// One connection, as its protocol and its streams see it.
///
/// Handles are `Rc<dyn Transport>`. The loop owns an open transport: one whose handles
/// are all dropped goes on, and a handle that is kept is hollow once the connection is
/// lost. Every method may be called at any time, also inside any callback.
///
/// # asyncio
/// `BaseTransport`, `ReadTransport`, `WriteTransport` and `Transport` in one:
///
/// | asyncio | here |
/// | --- | --- |
/// | `BaseTransport` | `answer`, `is_closing`, `close`, `set_protocol` |
/// | `ReadTransport` | `is_reading`, `pause_reading`, `resume_reading` |
/// | `WriteTransport` | `write`, `writelines`, `write_eof`, `can_write_eof`, `abort`, `get_write_buffer_size`, `get_write_buffer_limits`, `set_write_buffer_limits` |
/// | `Transport` | all of it |
pub trait Transport: fmt::Debug {
    /// Answers a request for extra information, or leaves it alone; ask with
    /// [`get_extra_info`](#method.get_extra_info).
    ///
    /// What was known stays known after the connection is lost.
    fn answer(&self, request: &mut ExtraInfoRequest<'_>);

    /// Says whether the connection is closed or about to be.
    fn is_closing(&self) -> bool;

    /// Closes, once what is in the write buffer has been sent. Bytes that come from now
    /// on are not received. Closing again does nothing.
    ///
    /// There is no time limit: a peer that never reads holds the transport open.
    fn close(&self);

    /// Closes at once, and drops what the kernel would not take.
    fn abort(&self);

    /// Has another protocol told what happens from now on. The earlier one is dropped,
    /// once a call of it that is in progress has returned.
    ///
    /// The new one is not told `connection_made`, if the earlier one was. It is told
    /// `pause_writing` if writing is paused.
    fn set_protocol(&self, protocol: Box<dyn Protocol>);

    /// Does what [`set_protocol`](Transport::set_protocol) does, and hands the earlier
    /// protocol over instead of dropping it, so that it can go on elsewhere.
    ///
    /// # Errors
    /// Gives `protocol` back if the earlier one can't be had: a call of it is in progress,
    /// the connection is lost, or this transport can't do this.
    fn replace_protocol(
        &self,
        protocol: Box<dyn Protocol>,
    ) -> Result<Box<dyn Protocol>, Box<dyn Protocol>> {
        Err(protocol)
    }

    /// Says whether bytes that come will be received.
    fn is_reading(&self) -> bool;

    /// Receives no more, until [`resume_reading`](Transport::resume_reading). Pausing
    /// again does nothing.
    fn pause_reading(&self);

    /// Receives again. Resuming again does nothing.
    fn resume_reading(&self);

    /// Says whether [`pause_reading`](Transport::pause_reading) has an effect.
    fn can_pause_reading(&self) -> bool {
        true
    }

    /// Receives into `buffer` at once, past the protocol, if bytes have come: 256 KiB at
    /// the most.
    ///
    /// This ends a [`ReadInto::Later`](crate::ReadInto::Later): what is left is offered
    /// to the protocol again, in the next turn. So does an empty buffer, which receives
    /// nothing.
    ///
    /// # Errors
    /// `WouldBlock` if none have, if reading is paused, at the end of the stream and
    /// after an error: those the protocol is told, the end perhaps within this call.
    /// `WouldBlock` always, from a transport that can't do this.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Says whether bytes can be written: not to the end of a pipe from which is read.
    ///
    /// Such a transport is closed when its [`StreamReader`](crate::StreamReader) is
    /// dropped.
    fn can_write(&self) -> bool {
        true
    }

    /// Queues bytes to be sent when the running step ends (D28).
    ///
    /// What goes wrong with a write is told by `drain`, or as `connection_lost`.
    fn write(&self, data: &[u8]);

    /// Queues bytes without copying them.
    fn write_owned(&self, data: Vec<u8>) {
        self.write(&data);
    }

    /// Queues several pieces as one write, sent with one vectored system call.
    fn writelines(&self, pieces: &[IoSlice<'_>]);

    /// Tells the peer, once what was written has been sent, that no more will come.
    fn write_eof(&self);

    /// Says whether [`write_eof`](Transport::write_eof) is supported.
    fn can_write_eof(&self) -> bool {
        true
    }

    /// Says how the peer's bytes ended, inside `eof_received` and after it: with the
    /// peer's word, on all transports but TLS.
    fn eof_kind(&self) -> EofKind {
        EofKind::Clean
    }

    /// Sends what is queued now, as far as the kernel takes it.
    fn flush(&self);

    /// Waits until the write buffer is empty, or the connection lost.
    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Returns how many written bytes are not sent yet.
    fn get_write_buffer_size(&self) -> usize;

    /// Returns the low-water and the high-water mark, in bytes.
    fn get_write_buffer_limits(&self) -> (usize, usize);

    /// Sets the water marks, in bytes: above `high`, writing is paused; at `low` or
    /// below, it is resumed.
    ///
    /// Neither given: 64 KiB and 16 KiB, on TLS 512 KiB and 128 KiB. One given: a high
    /// mark of four times the low one.
    ///
    /// # Errors
    /// If the high mark is below the low one; nothing is changed then.
    fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError>;

    /// Says when what is written leaves.
    fn set_write_policy(&self, policy: WritePolicy) {
        let _ = policy;
    }

    /// The misuse that each `drain` tells: a write after `write_eof` (D27).
    fn misuse(&self) -> Option<&'static str> {
        None
    }

    /// Says whether a drain has nothing to tell of this transport: it isn't closing, and
    /// nothing was misused. A drain asks nothing else, nearly always.
    fn is_open_to_writes(&self) -> bool {
        !self.is_closing() && self.misuse().is_none()
    }

    /// Returns the number of the source that the loop watches for it, by which the call graph
    /// finds what a task waits for; `u64::MAX` if there is none.
    fn source_number(&self) -> u64 {
        NO_SOURCE
    }

    /// Says whether bytes that had been written were thrown away unsent (D17), those of a
    /// write that came too late included.
    fn has_discarded(&self) -> bool;
}

impl dyn Transport {
    /// Returns extra information: the peer's address for
    /// [`PeerName`](crate::PeerName), for example. `None` if the transport has none.
    ///
    /// # asyncio
    /// `BaseTransport.get_extra_info`.
    ///
    /// # Examples
    /// ```
    /// use std::rc::Rc;
    /// use millstream::{PeerName, Protocol, Transport};
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
    ///         if let Some(peer) = transport.get_extra_info(PeerName) {
    ///             println!("connection from {peer}");
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn get_extra_info<K: ExtraInfoKey>(&self, key: K) -> Option<K::Value> {
        let _ = key;
        ExtraInfoRequest::ask::<K>(|request| self.answer(request))
    }
}

/// When what is written leaves.
///
/// # asyncio
/// Always `Immediate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WritePolicy {
    /// When the step that wrote ends: writes of one step share a system call (D28).
    #[default]
    AtStepEnd,
    /// With each write, as the documentation of asyncio has it.
    Immediate,
}

/// Water marks in the wrong order.
///
/// # asyncio
/// `ValueError` with the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimitsError {
    /// The high-water mark asked for, in bytes.
    pub high: usize,
    /// The low-water mark asked for, in bytes.
    pub low: usize,
}

impl fmt::Display for WriteLimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriteLimitsError { high, low } = self;
        write!(f, "high ({high}) must be >= low ({low}) must be >= 0")
    }
}

impl std::error::Error for WriteLimitsError {}

impl From<WriteLimitsError> for io::Error {
    fn from(error: WriteLimitsError) -> Self {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
