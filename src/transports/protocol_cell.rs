//! The protocol cell: where a transport keeps its protocol, and the one place that calls it.
//!
//! An essay, for re-entrancy is the bug class of this design space.
//!
//! **The trap.** A transport calls `data_received`. The protocol answers with `write`,
//! the write buffer passes its mark, and the transport should call `pause_writing`. But
//! the protocol is in the middle of `data_received`, with `&mut self`: Rust forbids to
//! call it again, a `RefCell` would panic, and asyncio, where it is possible, calls it in
//! a state that its author never thought of. The same happens when the callback closes
//! the transport, replaces the protocol, or drops what it was given.
//!
//! **What can become due during a call.** `connection_lost` always comes from the ready
//! queue (R5). Data and the end come from the reactor, one step at a time. Only pausing
//! and resuming of writing are due at once, in the middle of whatever runs.
//!
//! **So the cell keeps two things apart**: what is true, which the connection's state
//! knows, and what the protocol was told, which the cell remembers. One function,
//! [`ProtocolCell::reconcile`], makes them agree, whenever no call is in progress: after
//! each call, and after each change from outside a call. If writing was paused and
//! resumed while the protocol was busy, it is told neither. The calls alternate, for the
//! cell tells only what differs from what it told.
//!
//! **During a call the cell is empty**: the protocol is on the stack of the call. One that
//! `set_protocol` brings meanwhile is put into the cell, has been told nothing, and stays
//! there when the call returns. The old one is dropped then, with no borrow alive (R3).
//!
//! ```text
//!                  no call is in progress        a call is, of the one on its stack
//!   holds one      it can be called              it takes over when the call returns
//!   holds none     lost, or the loop closed      the one on the stack comes back
//! ```
//!
//! **A panic** is caught here (R10), since `pause_writing` also runs inside a coroutine's
//! `write`, which must not be unwound by it. The protocol goes back into its cell all the
//! same: `connection_lost` is still owed to it (R5).

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::contract::{Protocol, Transport};
use crate::error::{ConnError, PanicPayload};

/// A protocol, and what it was told.
///
/// Two plain cells, for this is passed several times for each message.
pub(crate) struct ProtocolCell<P: ?Sized = dyn Protocol> {
    held: Cell<Option<Box<P>>>,
    /// A call is in progress, and its protocol not retired since.
    calling: Cell<bool>,
    told: Cell<Told>,
}

/// What the cell must know of the protocols that it holds: how they are told to pause.
pub(crate) trait FlowControlled {
    /// What is handed to each callback.
    type Transport: ?Sized;
    fn told_to_pause(&mut self, transport: &Rc<Self::Transport>);
    fn told_to_resume(&mut self, transport: &Rc<Self::Transport>);
    fn name_of(&self) -> &'static str;
}

impl FlowControlled for dyn Protocol {
    type Transport = dyn Transport;

    fn told_to_pause(&mut self, transport: &Rc<dyn Transport>) {
        self.pause_writing(transport);
    }

    fn told_to_resume(&mut self, transport: &Rc<dyn Transport>) {
        self.resume_writing(transport);
    }

    fn name_of(&self) -> &'static str {
        self.name()
    }
}

/// What the protocol was told last about writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Nothing at all: `connection_made` comes first (R7).
    Nothing,
    Write,
    Pause,
}

/// What a call of a protocol came to: `None` if there was none to call.
pub(crate) type Called<R> = Result<Option<R>, ConnError>;

impl<P: FlowControlled + ?Sized> ProtocolCell<P> {
    pub(crate) fn new(protocol: Box<P>) -> ProtocolCell<P> {
        ProtocolCell {
            held: Cell::new(Some(protocol)),
            calling: Cell::new(false),
            told: Cell::new(Told::Nothing),
        }
    }

    /// `connection_made` is about to be called: from then on, the rest may be told.
    pub(crate) fn begin(&self) {
        self.told.set(Told::Write);
    }

    /// Calls the protocol, with no borrow of the cell alive.
    ///
    /// One that was replaced during its call goes to `discard`, whose drop may panic like
    /// any call (R10). The caller reconciles afterwards.
    ///
    /// # Errors
    /// The panic of `name`, the callback, as an error of kind `Other`.
    #[inline]
    pub(crate) fn call<R>(
        &self,
        name: &'static str,
        discard: impl FnOnce(Box<P>),
        call: impl FnOnce(&mut P) -> R,
    ) -> Called<R> {
        self.visit(&Cell::new(name), discard, call)
    }

    /// As [`call`](ProtocolCell::call), for several callbacks in one visit; `name` says
    /// which of them is called.
    ///
    /// Before each but the first, ask [`is_settled`](ProtocolCell::is_settled) (R4).
    #[inline]
    pub(crate) fn visit<R>(
        &self,
        name: &Cell<&'static str>,
        discard: impl FnOnce(Box<P>),
        visit: impl FnOnce(&mut P) -> R,
    ) -> Called<R> {
        let Some(mut protocol) = self.take_out() else {
            return Ok(None);
        };
        let result = catch_unwind(AssertUnwindSafe(|| visit(&mut *protocol)));
        if let Some(replaced) = self.put_back(protocol) {
            discard(replaced);
        }
        match result {
            Ok(value) => Ok(Some(value)),
            Err(panic) => Err(panic_error(name.get(), PanicPayload::new(panic))),
        }
    }

    /// R4: tells the protocol what is true about writing, as long as that differs from
    /// what it was told, unless a call is in progress.
    ///
    /// `paused` says what is true, which may change with each call; `None` says that there
    /// is nothing to be told any more. `report` takes the panics,
    /// which are not fatal here; `discard` is that of [`call`](ProtocolCell::call).
    pub(crate) fn reconcile(
        &self,
        transport: &Rc<P::Transport>,
        paused: impl Fn() -> Option<bool>,
        report: impl Fn(&'static str, ConnError),
        discard: impl Fn(Box<P>),
    ) {
        while !self.calling.get() {
            let (failed, called) = match (self.told.get(), paused()) {
                (Told::Write, Some(true)) => {
                    self.told.set(Told::Pause);
                    let called = self.call("pause_writing", &discard, |p| {
                        p.told_to_pause(transport);
                    });
                    ("protocol.pause_writing() failed", called)
                }
                (Told::Pause, Some(false)) => {
                    self.told.set(Told::Write);
                    let called = self.call("resume_writing", &discard, |p| {
                        p.told_to_resume(transport);
                    });
                    ("protocol.resume_writing() failed", called)
                }
                _ => return,
            };
            if let Err(error) = called {
                report(failed, error);
            }
        }
    }

    /// Says whether a callback may be called now: `connection_made` was, and no call is in
    /// progress.
    pub(crate) fn can_be_called(&self) -> bool {
        self.told.get() != Told::Nothing && !self.calling.get()
    }

    /// Says whether a call is in progress.
    pub(crate) fn is_called(&self) -> bool {
        self.calling.get()
    }

    /// Says whether the protocol was told last what is true now.
    #[inline]
    pub(crate) fn knows(&self, paused: bool) -> bool {
        match self.told.get() {
            Told::Nothing => true,
            Told::Write => !paused,
            Told::Pause => paused,
        }
    }

    /// Within a visit: says whether the end of the visit would change nothing. The protocol
    /// stays, and knows what is true.
    #[inline]
    pub(crate) fn is_settled(&self, paused: bool) -> bool {
        let successor = self.held.take();
        let stays = self.calling.get() && successor.is_none();
        self.held.set(successor);
        stays && self.knows(paused)
    }

    /// Returns the protocol's name, unless a call of it is in progress.
    pub(crate) fn name(&self) -> Option<&'static str> {
        let mut name = None;
        // Called like any callback: a user may have overridden it.
        let called = self.call("name", drop, |protocol| name = Some(protocol.name_of()));
        called.ok()?;
        name
    }

    /// Puts another protocol in, and returns the one to be dropped.
    ///
    /// The new one has been told nothing: the caller reconciles.
    #[must_use = "dropping a protocol runs a user's code: drop it where no borrow is alive"]
    pub(crate) fn set(&self, protocol: Box<P>) -> Option<Box<P>> {
        if self.told.get() == Told::Pause {
            self.told.set(Told::Write);
        }
        let earlier = self.held.take();
        if earlier.is_none() && !self.calling.get() {
            return Some(protocol); // the connection is lost
        }
        self.held.set(Some(protocol));
        earlier
    }

    /// Puts another protocol in, and returns the earlier one; or, if that can't be had,
    /// the other one.
    pub(crate) fn swap(&self, protocol: Box<P>) -> Result<Box<P>, Box<P>> {
        let Some(earlier) = self.held.take() else {
            return Err(protocol); // it is being called, or the connection is lost
        };
        if self.calling.get() {
            self.held.set(Some(earlier));
            return Err(protocol); // it only waits to take over, and was told nothing
        }
        if self.told.get() == Told::Pause {
            self.told.set(Told::Write);
        }
        self.held.set(Some(protocol));
        Ok(earlier)
    }

    /// Takes the protocol out for good. `None` if there is none, or a call is in progress:
    /// then the call drops it.
    #[must_use = "dropping a protocol runs a user's code: drop it where no borrow is alive"]
    pub(crate) fn retire(&self) -> Option<Box<P>> {
        self.calling.set(false);
        self.held.take()
    }

    #[inline]
    fn take_out(&self) -> Option<Box<P>> {
        if self.calling.get() {
            return None;
        }
        let protocol = self.held.take()?;
        self.calling.set(true);
        Some(protocol)
    }

    /// Returns the protocol, if another has taken its place meanwhile or it was retired.
    #[inline]
    fn put_back(&self, protocol: Box<P>) -> Option<Box<P>> {
        if !self.calling.replace(false) {
            return Some(protocol);
        }
        match self.held.take() {
            None => {
                self.held.set(Some(protocol));
                None
            }
            successor => {
                self.held.set(successor);
                Some(protocol)
            }
        }
    }
}

/// The error that a connection ends with when a callback of its protocol panicked.
fn panic_error(name: &str, panic: PanicPayload) -> ConnError {
    let text = match panic.message() {
        Some(message) => format!("protocol.{name}() panicked: {message}"),
        None => format!("protocol.{name}() panicked"),
    };
    ConnError::from(io::Error::other(text))
}

#[cfg(test)]
mod tests;
