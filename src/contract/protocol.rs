//! The protocol: who is told what happens on a connection.

use std::rc::Rc;

use crate::error::ConnError;

use super::Transport;

/// What is told what happens on one connection, in callbacks.
///
/// The transport owns its protocol, hands itself to each callback, and never calls it
/// while a call of it is in progress (R4): what a callback provokes, such as
/// `pause_writing` by a `write`, follows when it has returned. The order of calls is
///
/// ```text
/// connection_made [data_received]* [eof_received]? connection_lost
/// ```
///
/// with `pause_writing` and `resume_writing` in alternation anywhere between the first
/// and the last.
///
/// What a protocol and a task share, they share by `Cell`, or borrow for one statement:
/// a callback may run whenever the task writes.
///
/// # Panics
/// A callback that panics ends its connection; the panic is reported to the exception
/// handler, and the loop goes on (R10).
///
/// # asyncio
/// `asyncio.Protocol`. A callback receives the transport, which asyncio's protocols
/// store in `connection_made`. Storing a clone of it makes a cycle, which is cut when the
/// connection is lost.
///
/// # Examples
/// ```
/// use std::rc::Rc;
/// use millstream::{Protocol, Transport};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
///         transport.write(data);
///     }
/// }
/// ```
pub trait Protocol: 'static {
    /// The connection stands. Called once, before everything else.
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        let _ = transport;
    }

    /// Bytes came; at least one.
    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        let _ = (transport, data);
    }

    /// The peer will send no more. Called at most once.
    ///
    /// The answer says whether the connection stays open for writing; by default it
    /// closes, as in asyncio.
    fn eof_received(&mut self, transport: &Rc<dyn Transport>) -> AfterEof {
        let _ = transport;
        AfterEof::Close
    }

    /// The connection is over. Called once, last.
    ///
    /// The error is `None` after a close of our own, an abort, or a clean end.
    fn connection_lost(&mut self, error: Option<ConnError>) {
        let _ = error;
    }

    /// The write buffer grew above the high-water mark: write no more, if you can.
    fn pause_writing(&mut self, transport: &Rc<dyn Transport>) {
        let _ = transport;
    }

    /// The write buffer shrank to the low-water mark: write again.
    fn resume_writing(&mut self, transport: &Rc<dyn Transport>) {
        let _ = transport;
    }

    /// Says where the next bytes are to go: by default into the loop's buffer, followed
    /// by [`data_received`](Protocol::data_received).
    ///
    /// `hint` is how many bytes are received at the most. A protocol that overrides this
    /// is a [`BufferedProtocol`].
    fn get_buffer(&mut self, transport: &Rc<dyn Transport>, hint: usize) -> ReadInto {
        let _ = (transport, hint);
        ReadInto::Shared
    }

    /// Gives back a buffer that [`get_buffer`](Protocol::get_buffer) lent, with `filled`
    /// bytes in its front; at least one.
    fn buffer_updated(&mut self, transport: &Rc<dyn Transport>, buffer: Vec<u8>, filled: usize) {
        let _ = (transport, buffer, filled);
    }

    /// Gives back a buffer that was lent, and not used after all.
    fn buffer_unused(&mut self, transport: &Rc<dyn Transport>, buffer: Vec<u8>) {
        let _ = (transport, buffer);
    }

    /// Returns the transport that this protocol carries on the one it is told of, as TLS
    /// does: who wants to close the connection closes that. None, as a rule.
    ///
    /// # asyncio
    /// No counterpart.
    fn transport_above(&self) -> Option<Rc<dyn Transport>> {
        None
    }

    /// Names the protocol in reports: by its type, unless overridden.
    ///
    /// # asyncio
    /// The `repr` of the protocol.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// A protocol in a box is one, too: for a factory that chooses among several.
impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        (**self).connection_made(transport);
    }

    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        (**self).data_received(transport, data);
    }

    fn eof_received(&mut self, transport: &Rc<dyn Transport>) -> AfterEof {
        (**self).eof_received(transport)
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        (**self).connection_lost(error);
    }

    fn pause_writing(&mut self, transport: &Rc<dyn Transport>) {
        (**self).pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Rc<dyn Transport>) {
        (**self).resume_writing(transport);
    }

    fn get_buffer(&mut self, transport: &Rc<dyn Transport>, hint: usize) -> ReadInto {
        (**self).get_buffer(transport, hint)
    }

    fn buffer_updated(&mut self, transport: &Rc<dyn Transport>, buffer: Vec<u8>, filled: usize) {
        (**self).buffer_updated(transport, buffer, filled);
    }

    fn buffer_unused(&mut self, transport: &Rc<dyn Transport>, buffer: Vec<u8>) {
        (**self).buffer_unused(transport, buffer);
    }

    fn transport_above(&self) -> Option<Rc<dyn Transport>> {
        (**self).transport_above()
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }
}

/// A [`Protocol`] that says itself where its bytes are to go.
///
/// No trait of its own: any protocol becomes one by overriding
/// [`get_buffer`](Protocol::get_buffer) and [`buffer_updated`](Protocol::buffer_updated),
/// or by answering [`ReadInto::Lent`] only now and then.
///
/// # asyncio
/// `asyncio.BufferedProtocol`. The buffer is lent as an owned vector and comes back
/// (D9): a borrowed one could not outlive the callback that gives it.
pub use self::Protocol as BufferedProtocol;

/// What becomes of a connection whose peer will send no more.
///
/// # asyncio
/// The truth of what `eof_received` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterEof {
    /// The transport closes itself.
    Close,
    /// The transport stays open for writing.
    KeepOpen,
}

/// How a stream ended.
///
/// # asyncio
/// No counterpart: it can't tell the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EofKind {
    /// The peer said that it sends no more.
    Clean,
    /// The connection ended without the peer's word, as only TLS can notice (D22).
    Truncated,
}

/// Where the next bytes are to go.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadInto {
    /// Into the loop's buffer, shared by all its connections; `data_received` follows.
    Shared,
    /// As `Shared`, but no more than this many bytes at once; not zero, which counts as one.
    SharedUpTo(usize),
    /// Into this vector, as far as its length goes; `buffer_updated` or `buffer_unused`
    /// gives it back.
    Lent(Vec<u8>),
    /// Nowhere yet: they stay in the kernel for a reader that pulls them with
    /// [`Transport::try_read`], or until `resume_reading`.
    Later,
}
