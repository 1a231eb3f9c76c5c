//! The TLS protocol: what the raw transport has for a protocol.

use std::fmt;
use std::rc::Rc;

use crate::contract::{AfterEof, Protocol, ReadInto, Transport};
use crate::error::ConnError;

use super::transport::TlsTransport;

/// Bytes of ciphertext that are received at once.
///
/// 64 KiB: four full records. What is decrypted of them lies well under twice a reader's
/// limit, so one that keeps up is not paused, which would leave the rest here to be kept;
/// and all of it fits into a processor's second cache, where it is copied twice.
const RECEIVED_AT_ONCE: usize = 64 * 1024;

/// Hands the raw transport's callbacks to the TLS transport above.
///
/// The raw transport owns it, and its drop retires the app's protocol (R2).
pub(crate) struct TlsProtocol {
    above: Rc<TlsTransport>,
}

impl TlsProtocol {
    pub(super) fn new(above: Rc<TlsTransport>) -> TlsProtocol {
        TlsProtocol { above }
    }
}

impl Protocol for TlsProtocol {
    fn connection_made(&mut self, raw: &Rc<dyn Transport>) {
        self.above.begin(raw);
    }

    fn data_received(&mut self, _raw: &Rc<dyn Transport>, data: &[u8]) {
        self.above.turn_in(data);
    }

    fn eof_received(&mut self, _raw: &Rc<dyn Transport>) -> AfterEof {
        self.above.state.borrow_mut().raw_ended();
        self.above.turn_in(&[]);
        // The transport above closes it, when the app has been told.
        AfterEof::KeepOpen
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        self.above.lost(error);
    }

    /// Nothing to be done: what is queued below is asked for.
    fn pause_writing(&mut self, _raw: &Rc<dyn Transport>) {}

    fn resume_writing(&mut self, _raw: &Rc<dyn Transport>) {
        self.above.turn_out();
        self.above.reconcile();
    }

    fn get_buffer(&mut self, _raw: &Rc<dyn Transport>, _hint: usize) -> ReadInto {
        ReadInto::SharedUpTo(RECEIVED_AT_ONCE)
    }

    fn transport_above(&self) -> Option<Rc<dyn Transport>> {
        self.above.me()
    }

    fn name(&self) -> &'static str {
        self.above.protocol.name().unwrap_or("TlsProtocol")
    }
}

impl Drop for TlsProtocol {
    fn drop(&mut self) {
        self.above.hollow();
    }
}

impl fmt::Debug for TlsProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsProtocol({:?})", self.above)
    }
}
