//! Delivery: from ciphertext that came to callbacks of the app's protocol.
//!
//! ```text
//!   raw data_received ─► what was kept, then what is fresh ─► engine ─┬─ handshake done
//!     (or resume_reading, or Later is over)                           ├─ a record's bytes
//!                                                                     │    └─► get_buffer
//!   paused? the rest is kept, as ciphertext                           │         data_received
//!                                                                     └─ close_notify: the end
//! ```
//!
//! One record's bytes are lent at a time: joining those of several would copy them.

use crate::buffer::{BufferPool, ReadBuffer};
use crate::contract::{AfterEof, EofKind, ReadInto};
use crate::error::ConnError;
use crate::transports::{Called, Fails};

use super::engine::Engine;
use super::error::{TlsError, peer_left_handshake, truncated};
use super::state::Phase;
use super::transport::TlsTransport;

/// Ciphertext that came: first what was kept, then what is fresh.
struct Ciphertext<'a> {
    kept: ReadBuffer,
    fresh: &'a [u8],
}

impl Ciphertext<'_> {
    fn front(&self) -> &[u8] {
        match self.kept.is_empty() {
            true => self.fresh,
            false => self.kept.unread(),
        }
    }

    fn consume(&mut self, n: usize) {
        match self.kept.is_empty() {
            true => self.fresh = &self.fresh[n..],
            false => self.kept.consume(n),
        }
    }

    fn clear(&mut self) {
        self.kept.consume(self.kept.len());
        self.fresh = &[];
    }

    /// What is left, to be kept.
    fn into_kept(self, pool: &BufferPool) -> ReadBuffer {
        let Ciphertext { mut kept, fresh } = self;
        if !fresh.is_empty() {
            kept.append(fresh, pool);
        }
        kept.release_if_empty(pool);
        kept
    }
}

/// Whether delivery can go on.
#[derive(PartialEq, Eq)]
enum Flow {
    GoesOn,
    /// The app wants no more now, or ever.
    Held,
}

impl TlsTransport {
    /// Takes in ciphertext that came, and does what follows from it, in both directions.
    pub(super) fn turn_in(&self, fresh: &[u8]) {
        let kept = self.undecrypted.take();
        let mut ciphertext = Ciphertext { kept, fresh };
        if let Some(mut engine) = self.take_engine() {
            self.take_in(&mut engine, &mut ciphertext);
            self.give_out(&mut engine);
        }
        let kept = ciphertext.into_kept(&self.handle.core().pool);
        if self.phase() != Phase::Unwrapped {
            self.undecrypted.replace(kept);
        }
        self.balance_input();
        self.reconcile();
    }

    /// Turns the engine until the ciphertext is used up, or the app wants no more.
    fn take_in(&self, engine: &mut Engine, ciphertext: &mut Ciphertext<'_>) {
        loop {
            self.send_down(engine);
            match self.phase() {
                Phase::Unwrapped => return ciphertext.clear(),
                Phase::Handshake if !engine.is_handshaking() => {
                    self.handshake_done(engine);
                    continue;
                }
                Phase::Handshake => {}
                Phase::Wrapped if engine.has_news() => {
                    if self.deliver(engine) == Flow::GoesOn {
                        continue;
                    }
                    if engine.peer_has_closed() && engine.readable() == 0 {
                        ciphertext.clear(); // nothing counts behind the peer's end
                    }
                    return;
                }
                Phase::Wrapped if !self.may_deliver() => return,
                Phase::Wrapped => {}
                // D21: what comes after our own close is nobody's any more.
                Phase::Flushing | Phase::Shutdown => engine.discard_plaintext(),
            }
            if engine.peer_has_closed() {
                self.state.borrow_mut().peer_closed();
                ciphertext.clear();
                if self.phase() == Phase::Handshake {
                    self.handshake_failed(peer_left_handshake());
                }
                return;
            }
            if ciphertext.front().is_empty() {
                return self.nothing_left();
            }
            match engine.take_in(ciphertext.front()) {
                Ok(taken) => ciphertext.consume(taken),
                Err(error) => {
                    self.refuse(engine, error);
                    return ciphertext.clear();
                }
            }
        }
    }

    /// The app reads, and nothing that it left is waiting.
    fn may_deliver(&self) -> bool {
        self.is_reading_now() && !self.left_to_reader.get()
    }

    fn is_reading_now(&self) -> bool {
        self.state.borrow().is_reading()
    }

    /// Gives the app's protocol the bytes of one record, or tells it the end.
    fn deliver(&self, engine: &mut Engine) -> Flow {
        if !self.may_deliver() {
            // After the app's end was told there is nothing to be held for.
            return Flow::Held;
        }
        if engine.readable() == 0 {
            self.state.borrow_mut().peer_closed();
            self.tell_end(EofKind::Clean);
            return Flow::Held;
        }
        let Some(me) = self.me() else {
            return Flow::Held;
        };
        let place = self.call("get_buffer", |p| p.get_buffer(&me, engine.readable()));
        match place {
            Ok(Some(ReadInto::Shared)) => self.deliver_shared(engine, usize::MAX),
            Ok(Some(ReadInto::SharedUpTo(most))) => self.deliver_shared(engine, most.max(1)),
            Ok(Some(ReadInto::Lent(buffer))) => self.deliver_lent(engine, buffer),
            Ok(Some(ReadInto::Later)) => self.left_to_reader.set(true),
            Ok(None) => return Flow::Held,
            Err(error) => {
                self.callback_failed("get_buffer", error);
            }
        }
        Flow::GoesOn
    }

    fn deliver_shared(&self, engine: &mut Engine, most: usize) {
        // `get_buffer` may have closed or paused.
        let Some(me) = self.me().filter(|_| self.is_reading_now()) else {
            return;
        };
        let record = engine.plaintext();
        let n = record.len().min(most);
        let told = self.call("data_received", |p| p.data_received(&me, &record[..n]));
        engine.consume(n);
        self.after_delivery("data_received", told);
    }

    fn deliver_lent(&self, engine: &mut Engine, mut buffer: Vec<u8>) {
        let Some(me) = self.me() else { return };
        if buffer.is_empty() {
            let error = std::io::Error::other("get_buffer() returned an empty buffer");
            self.callback_failed("get_buffer", error.into());
            return;
        }
        if !self.is_reading_now() {
            let told = self.call("buffer_unused", |p| p.buffer_unused(&me, buffer));
            self.after_delivery("buffer_unused", told);
            return;
        }
        let n = engine.read_plaintext(&mut buffer);
        let told = self.call("buffer_updated", |p| p.buffer_updated(&me, buffer, n));
        self.after_delivery("buffer_updated", told);
    }

    fn after_delivery(&self, callback: &str, told: Called<()>) {
        if let Err(error) = told {
            self.callback_failed(callback, error);
        }
    }

    /// All that came is decrypted and delivered. Has the peer's side ended with it?
    fn nothing_left(&self) {
        let end = self.state.borrow().peer_end();
        match (self.phase(), end) {
            (_, None) => {}
            (Phase::Handshake, Some(_)) => self.handshake_failed(peer_left_handshake()),
            (Phase::Wrapped, Some(kind)) if self.may_deliver() => self.tell_end(kind),
            _ => {}
        }
    }

    /// Tells the app that the peer sends no more, and closes unless it may go on writing.
    fn tell_end(&self, kind: EofKind) {
        if kind == EofKind::Truncated && self.settings.ending.requires_close_notify {
            return self.fatal(truncated(), "the TLS connection was cut off".into()); // D22
        }
        let Some(me) = self.me() else { return };
        self.state.borrow_mut().tell_end();
        if self.handle.get_debug() {
            log::debug!("{self:?} received EOF");
        }
        let answer = match self.call("eof_received", |p| p.eof_received(&me)) {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(error) => {
                return self.callback_failed("eof_received", error);
            }
        };
        if answer == AfterEof::KeepOpen {
            if kind == EofKind::Clean && self.can_half_close() {
                return;
            }
            log::warn!("returning true from eof_received() has no effect when using ssl");
        }
        self.begin_closing();
    }

    /// What the peer sent is not TLS, or not such as we accept.
    fn refuse(&self, engine: &mut Engine, error: rustls::Error) {
        // D19: the peer is told why, before the connection is closed.
        self.send_down(engine);
        match self.phase() {
            Phase::Handshake => self.handshake_failed(TlsError::in_handshake(error)),
            // D21: after our own close it is nobody's business any more.
            Phase::Shutdown => self.state.borrow_mut().raw_ended(),
            _ => self.fatal(TlsError::in_data(error), "Fatal error in TLS".into()),
        }
    }

    fn handshake_failed(&self, error: ConnError) {
        log::debug!("{self:?}: {error}");
        self.force_close(Some(error));
    }

    /// Decrypts into a reader's own memory, past the protocol, and says how much, and
    /// whether there is more. Calls nobody: an error and the end are told later.
    pub(super) fn pull(&self, buffer: &mut [u8]) -> (usize, bool) {
        let kept = self.undecrypted.take();
        let mut ciphertext = Ciphertext { kept, fresh: &[] };
        let mut pulled = 0;
        let mut more = self.state.borrow().peer_end().is_some();
        if let Some(mut engine) = self.take_engine() {
            loop {
                pulled += engine.read_plaintext(&mut buffer[pulled..]);
                let is_enough = pulled == buffer.len() || engine.has_news();
                if is_enough || ciphertext.front().is_empty() {
                    break;
                }
                match engine.take_in(ciphertext.front()) {
                    Ok(taken) => ciphertext.consume(taken),
                    // It stays here: rustls says the same again when it is delivered.
                    Err(_) => break,
                }
            }
            more |= engine.has_news() || !ciphertext.front().is_empty();
        }
        let kept = ciphertext.into_kept(&self.handle.core().pool);
        self.undecrypted.replace(kept);
        self.balance_input();
        (pulled, more)
    }
}
