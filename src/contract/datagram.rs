//! Datagrams: the protocol that is told of them, and the transport that sends them.
//!
//! ```text
//!   CM [datagram | error]* CL        PW and RW strictly alternate, PW first
//! ```

use std::fmt;
use std::io;
use std::rc::Rc;

use crate::address::Address;
use crate::error::ConnError;

use super::{ExtraInfoKey, ExtraInfoRequest, WriteLimitsError};

/// What is told what happens on one endpoint for datagrams, in callbacks.
///
/// The transport owns its protocol, hands itself to each callback, and never calls it
/// while a call of it is in progress (R4). The order of calls is
///
/// ```text
/// connection_made [datagram_received | error_received]* connection_lost
/// ```
///
/// with `pause_writing` and `resume_writing` in alternation anywhere between the first
/// and the last.
///
/// # Panics
/// A callback that panics ends its endpoint, but for `error_received`, `pause_writing` and
/// `resume_writing`; the panic is reported to the exception handler, and the loop goes on
/// (R10).
///
/// # asyncio
/// `asyncio.DatagramProtocol`.
///
/// # Examples
/// ```
/// use std::rc::Rc;
/// use millstream::{Address, DatagramProtocol, DatagramTransport};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(
///         &mut self,
///         transport: &Rc<dyn DatagramTransport>,
///         data: &[u8],
///         sender: &Address,
///     ) {
///         // Fails only for an address that the endpoint can't send to.
///         let _ = transport.sendto(data, Some(sender));
///     }
/// }
/// ```
pub trait DatagramProtocol: 'static {
    /// The endpoint stands. Called once, before everything else.
    fn connection_made(&mut self, transport: &Rc<dyn DatagramTransport>) {
        let _ = transport;
    }

    /// A datagram came, which may be empty.
    fn datagram_received(
        &mut self,
        transport: &Rc<dyn DatagramTransport>,
        data: &[u8],
        sender: &Address,
    ) {
        let _ = (transport, data, sender);
    }

    /// An earlier send or a receive failed. The endpoint lives on.
    ///
    /// An error of `sendto` comes after it has returned, from the ready queue.
    fn error_received(&mut self, transport: &Rc<dyn DatagramTransport>, error: ConnError) {
        let _ = (transport, error);
    }

    /// The endpoint is closed. Called once, last.
    fn connection_lost(&mut self, error: Option<ConnError>) {
        let _ = error;
    }

    /// The write buffer grew above the high-water mark: send no more, if you can.
    fn pause_writing(&mut self, transport: &Rc<dyn DatagramTransport>) {
        let _ = transport;
    }

    /// The write buffer shrank to the low-water mark: send again.
    fn resume_writing(&mut self, transport: &Rc<dyn DatagramTransport>) {
        let _ = transport;
    }

    /// Names the protocol in reports: by its type, unless overridden.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// One endpoint for datagrams, as its protocol and its owner see it.
///
/// Handles are `Rc<dyn DatagramTransport>`. The loop owns an open transport: one whose
/// handles are all dropped goes on, until it is closed.
///
/// # asyncio
/// `asyncio.DatagramTransport`.
pub trait DatagramTransport: fmt::Debug {
    /// Sends a datagram, or queues it if the kernel has no room. Empty ones are sent, too.
    ///
    /// `address` is `None` for the remote address of the endpoint, if it has one. What
    /// goes wrong with sending, `error_received` tells. On an endpoint that is closed or
    /// closing, the datagram is dropped; from the fifth one on with a warning.
    ///
    /// # Errors
    /// `InvalidInput` with `Invalid address: must be None or …` if the endpoint has a
    /// remote address and this is another; if it has none and none is given; if the
    /// address has no name or another family.
    ///
    /// # asyncio
    /// `DatagramTransport.sendto`, which raises `ValueError`.
    fn sendto(&self, data: &[u8], address: Option<&Address>) -> io::Result<()>;

    /// Says whether the endpoint is closed or about to be.
    fn is_closing(&self) -> bool;

    /// Closes, once what is queued has been sent. Nothing is received any more.
    fn close(&self);

    /// Closes at once, and drops what is queued.
    fn abort(&self);

    /// Has another protocol told what happens from now on. The earlier one is dropped,
    /// once a call of it that is in progress has returned.
    fn set_protocol(&self, protocol: Box<dyn DatagramProtocol>);

    /// Returns how many bytes are queued, with eight more for each datagram.
    fn get_write_buffer_size(&self) -> usize;

    /// Returns the low-water and the high-water mark, in bytes.
    fn get_write_buffer_limits(&self) -> (usize, usize);

    /// Sets the water marks, in bytes: see
    /// [`Transport::set_write_buffer_limits`](crate::Transport::set_write_buffer_limits).
    ///
    /// # Errors
    /// If the high mark is below the low one; nothing is changed then.
    fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError>;

    /// Answers a request for extra information, or leaves it alone; ask with
    /// [`get_extra_info`](#method.get_extra_info).
    fn answer(&self, request: &mut ExtraInfoRequest<'_>);
}

impl dyn DatagramTransport {
    /// Returns extra information: our own address for [`SockName`](crate::SockName), for
    /// example. `None` if the transport has none.
    ///
    /// # asyncio
    /// `BaseTransport.get_extra_info`.
    #[must_use]
    pub fn get_extra_info<K: ExtraInfoKey>(&self, key: K) -> Option<K::Value> {
        let _ = key;
        ExtraInfoRequest::ask::<K>(|request| self.answer(request))
    }
}
