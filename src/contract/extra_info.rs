//! Extra information: what a transport knows of itself beyond reading and writing.
//!
//! ```text
//!   get_extra_info(PeerName) ──► ExtraInfoRequest ──► the transport answers, or not
//!          the key carries the type of the answer: Option<Address>
//! ```

use std::any::{Any, TypeId};
use std::fmt;
use std::os::fd::RawFd;

use crate::address::Address;

/// A question to a transport, whose type fixes the type of the answer.
///
/// A transport of your own may define further keys.
///
/// # asyncio
/// The strings that `get_extra_info` takes.
///
/// # Examples
/// ```
/// use millstream::ExtraInfoKey;
///
/// /// The number under which a vehicle's bus knows the peer.
/// struct BusAddress;
///
/// impl ExtraInfoKey for BusAddress {
///     type Value = u32;
///     const NAME: &'static str = "bus_address";
/// }
/// ```
pub trait ExtraInfoKey: 'static {
    /// The type of the answer.
    type Value: 'static;

    /// The key's name, which is asyncio's where it has one.
    const NAME: &'static str;
}

/// Asks for the peer's address: `peername`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerName;

impl ExtraInfoKey for PeerName {
    type Value = Address;
    const NAME: &'static str = "peername";
}

/// Asks for our own address: `sockname`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockName;

impl ExtraInfoKey for SockName {
    type Value = Address;
    const NAME: &'static str = "sockname";
}

/// Asks for the socket: `socket`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket;

impl ExtraInfoKey for Socket {
    type Value = SocketInfo;
    const NAME: &'static str = "socket";
}

/// Asks for the pipe: `pipe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipe;

impl ExtraInfoKey for Pipe {
    type Value = PipeInfo;
    const NAME: &'static str = "pipe";
}

/// What is told of a transport's pipe.
///
/// The descriptor is the transport's: it is good until the connection is lost, and not
/// to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipeInfo {
    /// The descriptor.
    pub fd: RawFd,
}

impl PipeInfo {
    /// Describes a pipe by its descriptor.
    #[must_use]
    pub fn new(fd: RawFd) -> PipeInfo {
        PipeInfo { fd }
    }
}

/// What is told of a transport's socket.
///
/// The descriptor is the transport's: it is good until the connection is lost, and not
/// to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketInfo {
    /// The descriptor.
    pub fd: RawFd,
}

impl SocketInfo {
    /// Describes a socket by its descriptor.
    #[must_use]
    pub fn new(fd: RawFd) -> SocketInfo {
        SocketInfo { fd }
    }
}

/// A question on its way to a transport: see [`Transport::answer`](crate::Transport::answer).
pub struct ExtraInfoRequest<'a> {
    key: TypeId,
    name: &'static str,
    /// Invariant: an `Option<K::Value>`, where `K` is the type that `key` identifies.
    answer: &'a mut dyn Any,
}

impl ExtraInfoRequest<'_> {
    /// Asks `transport` a question, and returns its answer.
    pub(super) fn ask<K: ExtraInfoKey>(
        answering: impl FnOnce(&mut ExtraInfoRequest<'_>),
    ) -> Option<K::Value> {
        let mut answer: Option<K::Value> = None;
        answering(&mut ExtraInfoRequest {
            key: TypeId::of::<K>(),
            name: K::NAME,
            answer: &mut answer,
        });
        answer
    }

    /// Answers, if it was `K` that was asked for; otherwise `value` is not called.
    pub fn answer<K: ExtraInfoKey>(
        &mut self,
        value: impl FnOnce() -> Option<K::Value>,
    ) -> &mut Self {
        if self.key == TypeId::of::<K>() {
            if let Some(answer) = self.answer.downcast_mut::<Option<K::Value>>() {
                *answer = value();
            }
        }
        self
    }
}

impl fmt::Debug for ExtraInfoRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtraInfoRequest({})", self.name)
    }
}
