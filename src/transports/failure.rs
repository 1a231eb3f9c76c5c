//! Failures: what any transport does when something goes wrong.
//!
//! ```text
//!   an error of the network ──► debug log             ┐
//!                                                     ├─► force_close ─► connection_lost(error),
//!   a callback that panics ───► the exception handler ┘                  from the queue (R5)
//!   a protocol's drop that panics ─► the exception handler
//! ```
//!
//! asyncio: `_SelectorTransport._fatal_error` and `_force_close`.

use std::borrow::Cow;
use std::fmt;

use crate::error::{ConnError, ExceptionContext};
use crate::event_loop::LoopHandle;

use super::protocol_cell::{FlowControlled, ProtocolCell};

/// A transport that calls a protocol, and may fail.
pub(crate) trait Fails: fmt::Debug {
    /// The trait of the protocols that it calls.
    type Protocol: FlowControlled + ?Sized;

    fn handle(&self) -> &LoopHandle;

    fn protocol(&self) -> &ProtocolCell<Self::Protocol>;

    /// Ends the connection at once, unless it is lost already. What it is lost with,
    /// `connection_lost` tells later.
    fn force_close(&self, error: Option<ConnError>);

    /// Ends the connection with an error. The network's and the peer's are told to the
    /// protocol alone; a bug in a callback goes to the exception handler, too.
    fn fatal(&self, error: ConnError, message: Cow<'static, str>) {
        if error.is_from_the_system() {
            log::debug!("{self:?}: {message}: {error}");
        } else {
            self.report(message, &error);
        }
        self.force_close(Some(error));
    }

    /// Ends the connection, since one of the protocol's callbacks failed.
    fn callback_failed(&self, callback: &str, error: ConnError) {
        self.fatal(error, call_failed(callback));
    }

    /// Tells the exception handler.
    fn report(&self, message: Cow<'static, str>, error: &ConnError) {
        let mut context = ExceptionContext::new(message)
            .exception(error)
            .transport(format_args!("{self:?}"));
        context.protocol = self.protocol().name().map(str::to_owned);
        self.handle().call_exception_handler(&context);
    }

    /// R10: a drop of a user's value counts as a call.
    fn drop_protocol(&self, protocol: Box<Self::Protocol>) {
        let executor = &self.handle().core().executor;
        executor.contain("Exception in the drop of a protocol", None, || {
            drop(protocol)
        });
    }
}

/// What is reported of a callback that failed.
pub(crate) fn call_failed(callback: &str) -> Cow<'static, str> {
    format!("Fatal error: protocol.{callback}() call failed.").into()
}
