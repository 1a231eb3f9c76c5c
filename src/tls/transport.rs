//! The TLS transport: what the app has in its hands, and what brings the parts together.
//!
//! ```text
//!   write ──► TlsState: queued ──step's end──► encrypt ──► raw.writelines        ┐
//!   raw has room again ──────────────────────► encrypt ──► raw.writelines        ├ outwards
//!   close ──► nothing queued? ──► close_notify ──► peer's seen? ──► raw.close    ┘
//!   raw's bytes ──► delivery.rs                                                    inwards
//! ```
//!
//! **The engine's place.** It is taken out of its cell by whoever uses it, and lies on the
//! stack meanwhile, so what it holds can be lent to a protocol and to the raw transport
//! with no borrow alive (R3). What these call back finds the cell empty: it queues what
//! it has, sets `turn_again`, and the user of the engine goes round again.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io::{self, IoSlice, Write};
use std::ops::{Deref, DerefMut};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::buffer::{ReadBuffer, WriteBuffer};
use crate::contract::{
    EofKind, ExtraInfoRequest, Protocol, Transport, WriteLimitsError, WritePolicy,
};
use crate::error::ConnError;
use crate::event_loop::{LoopHandle, TimerHandle};
use crate::executor::AtStepEnd;
use crate::transports::{Fails, ProtocolCell, call_failed};
use crate::waiters::WakerSet;
use crate::waits::NO_SOURCE;

use super::context::ShutdownMode;
use super::engine::Engine;
use super::error::{handshake_aborted, handshake_timed_out, shutdown_timed_out};
use super::info::{TLS_1_3, TlsInfo};
use super::protocol::TlsProtocol;
use super::settings::TlsSettings;
use super::state::{Admission, App, Call, Intake, Phase, TlsState};

/// Bytes that are encrypted before the socket is asked whether it takes more.
///
/// 64 KiB: four full records and one system call; what the kernel then refuses is the
/// most that is encrypted before its time.
const ENCRYPTED_AT_ONCE: usize = 64 * 1024;

/// Bytes from which a write is encrypted from where it lies, instead of being queued.
///
/// 4 KiB, as on a socket: from there on the copy costs more than a record more.
const LARGE_WRITE: usize = 4 * 1024;

/// Pieces of what is queued that are encrypted together, at most.
const MAX_PIECES: usize = 16;

/// Told how the handshake ended: once.
pub(crate) type OnHandshake = Box<dyn FnOnce(Result<(), ConnError>)>;

/// A TLS connection, as its app sees it.
pub(crate) struct TlsTransport {
    pub(super) me: Weak<TlsTransport>,
    pub(super) handle: LoopHandle,
    /// `None` until the raw connection is made.
    raw: RefCell<Option<Rc<dyn Transport>>>,
    pub(super) protocol: ProtocolCell,
    /// Empty while somebody uses it, and once the connection is lost.
    engine: Cell<Option<Box<Engine>>>,
    /// Whoever uses the engine is to look again for what there is to do.
    turn_again: Cell<bool>,
    pub(super) state: RefCell<TlsState>,
    /// What came and was not decrypted yet.
    ///
    /// Invariant: empty while the engine is used for taking it in.
    pub(super) undecrypted: RefCell<ReadBuffer>,
    /// The protocol left the bytes that are decrypted to a reader that pulls.
    pub(super) left_to_reader: Cell<bool>,
    /// The one timer: of the handshake, and later of the shutdown.
    timer: Cell<Option<TimerHandle>>,
    on_handshake: Cell<Option<OnHandshake>>,
    /// What the connection is to be lost with, whatever the raw one is.
    fate: RefCell<Option<ConnError>>,
    /// What `connection_lost` told was an error.
    lost_by_error: Cell<bool>,
    flush_waiters: WakerSet,
    pub(super) settings: TlsSettings,
    info: OnceCell<Box<TlsInfo>>,
}

/// What a TLS transport is made of.
pub(crate) struct TlsOpening {
    pub(super) engine: Engine,
    pub(super) settings: TlsSettings,
    /// The app's protocol.
    pub(super) protocol: Box<dyn Protocol>,
    /// Whether it was told `connection_made` before, in plaintext.
    pub(super) app: App,
    /// What came before the raw transport had our protocol.
    pub(super) undecrypted: Vec<u8>,
    pub(super) on_handshake: Option<OnHandshake>,
}

impl TlsTransport {
    /// Makes the two ends: the transport for the app, and the protocol for the raw
    /// transport, which owns it from then on.
    pub(crate) fn open(
        handle: &LoopHandle,
        opening: TlsOpening,
    ) -> (Rc<TlsTransport>, TlsProtocol) {
        let protocol = ProtocolCell::new(opening.protocol);
        if opening.app == App::Met {
            protocol.begin();
        }
        let mut undecrypted = ReadBuffer::default();
        if !opening.undecrypted.is_empty() {
            undecrypted.append(&opening.undecrypted, &handle.core().pool);
        }
        let transport = Rc::new_cyclic(|me| TlsTransport {
            me: me.clone(),
            handle: handle.clone(),
            raw: RefCell::new(None),
            protocol,
            engine: Cell::new(Some(Box::new(opening.engine))),
            turn_again: Cell::new(false),
            state: RefCell::new(TlsState::new(opening.app)),
            undecrypted: RefCell::new(undecrypted),
            left_to_reader: Cell::new(false),
            timer: Cell::new(None),
            on_handshake: Cell::new(opening.on_handshake),
            fate: RefCell::new(None),
            lost_by_error: Cell::new(false),
            flush_waiters: WakerSet::default(),
            settings: opening.settings,
            info: OnceCell::new(),
        });
        let protocol = TlsProtocol::new(transport.clone());
        (transport, protocol)
    }

    /// Says which transport is below, as soon as it is there.
    pub(crate) fn set_raw(&self, raw: &Rc<dyn Transport>) {
        self.raw.borrow_mut().get_or_insert_with(|| raw.clone());
    }

    pub(super) fn raw(&self) -> Option<Rc<dyn Transport>> {
        self.raw.borrow().clone()
    }

    /// `None` only while the last handle is being dropped.
    pub(super) fn me(&self) -> Option<Rc<dyn Transport>> {
        let me: Rc<dyn Transport> = self.me.upgrade()?;
        Some(me)
    }

    /// Bytes that the raw transport has and the kernel has not.
    fn below(&self) -> usize {
        self.raw().map_or(0, |raw| raw.get_write_buffer_size())
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.borrow().phase()
    }

    // ── the handshake ───────────────────────────────────────────────────────────

    /// The raw connection stands: the handshake begins.
    pub(super) fn begin(&self, raw: &Rc<dyn Transport>) {
        self.set_raw(raw);
        if self.phase() != Phase::Handshake {
            raw.abort(); // it was closed before it began
            return;
        }
        // Ours are the marks that count: below, any byte that the kernel refuses holds us.
        raw.set_write_buffer_limits(Some(0), Some(0))
            .expect("the high mark is not below the low one");
        let patience = self.settings.timeouts.handshake;
        self.set_timer(patience, move |tls| {
            tls.force_close(Some(handshake_timed_out(patience)));
        });
        self.turn_in(&[]);
    }

    /// The handshake has succeeded: now the app may learn of the connection.
    pub(super) fn handshake_done(&self, engine: &Engine) {
        self.cancel_timer();
        let _ = self.info.set(Box::new(TlsInfo::of(engine.connection())));
        let before = self.state.borrow_mut().wrap();
        if before == App::Unmet {
            self.protocol.begin();
            if let Some(me) = self.me() {
                let made = self.call("connection_made", |p| p.connection_made(&me));
                if let Err(error) = made {
                    // D8
                    self.callback_failed("connection_made", error);
                }
            }
        }
        self.tell_handshake(Ok(()));
    }

    /// Tells whoever waits for the handshake, once.
    fn tell_handshake(&self, outcome: Result<(), ConnError>) {
        if let Some(on_handshake) = self.on_handshake.take() {
            let executor = &self.handle.core().executor;
            executor.contain("Exception in callback", None, || on_handshake(outcome));
        }
    }

    fn set_timer(&self, patience: Duration, then: impl FnOnce(&TlsTransport) + 'static) {
        self.cancel_timer();
        let me = self.me.clone();
        let timer = self.handle.call_later(patience, move || {
            if let Some(me) = me.upgrade() {
                me.timer.set(None);
                then(&me);
            }
        });
        // A loop that is closed refuses, and ends the connection itself.
        self.timer.set(timer.ok());
    }

    fn cancel_timer(&self) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
    }

    // ── using the engine ────────────────────────────────────────────────────────

    /// Takes the engine out of its cell, until what is returned is dropped. `None` if it
    /// is in use, which then goes on for us, or if the connection is lost.
    pub(super) fn take_engine(&self) -> Option<EngineInUse<'_>> {
        match self.engine.take() {
            Some(engine) => Some(EngineInUse {
                transport: self,
                engine: Some(engine),
            }),
            None => {
                self.turn_again.set(true);
                None
            }
        }
    }

    /// Does what is to be done outwards: encrypts, sends, goes on closing.
    pub(super) fn turn_out(&self) {
        if let Some(mut engine) = self.take_engine() {
            self.give_out(&mut engine);
        }
    }

    /// Encrypts what is queued, as far as the raw transport is rid of it, and goes on
    /// closing, until nothing more can be done.
    pub(super) fn give_out(&self, engine: &mut Engine) {
        loop {
            self.turn_again.set(false);
            self.send_down(engine);
            self.encrypt_queued(engine);
            self.go_on_closing(engine);
            if !self.turn_again.get() {
                break;
            }
        }
        let below = self.below();
        self.state.borrow_mut().shrank(below);
        if self.state.borrow().unencrypted() == 0 {
            self.flush_waiters.wake_all();
        }
    }

    fn encrypt_queued(&self, engine: &mut Engine) {
        while self.may_encrypt() && self.state.borrow().unencrypted() > 0 {
            let mut queue = self.state.borrow_mut().take_unencrypted();
            self.encrypt_front(engine, &mut queue);
            self.state.borrow_mut().put_unencrypted(queue);
            self.send_down(engine);
        }
    }

    /// Encrypts the first bytes of a queue.
    fn encrypt_front(&self, engine: &mut Engine, queue: &mut WriteBuffer) {
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        let filled = queue.fill_offer(&mut pieces);
        let mut whole = 0;
        let mut taken = 0;
        for piece in &pieces[..filled] {
            if taken + piece.len() > ENCRYPTED_AT_ONCE {
                break;
            }
            taken += piece.len();
            whole += 1;
        }
        if whole > 0 {
            engine.encrypt(&pieces[..whole]);
        } else if let Some(piece) = pieces[..filled].first() {
            // The rest of it comes with the next round.
            taken = ENCRYPTED_AT_ONCE;
            engine.encrypt(&[IoSlice::new(&piece[..taken])]);
        }
        queue.advance(taken, &self.handle.core().pool);
    }

    /// Says whether plaintext may become ciphertext: the keys are there, and the raw
    /// transport is rid of what it had.
    fn may_encrypt(&self) -> bool {
        matches!(self.phase(), Phase::Wrapped | Phase::Flushing) && self.below() == 0
    }

    /// Hands the ciphertext that there is to the raw transport.
    pub(super) fn send_down(&self, engine: &mut Engine) {
        let Some(raw) = self.raw().filter(|_| self.phase() != Phase::Unwrapped) else {
            return;
        };
        let mut below = Below(&*raw);
        while engine.has_ciphertext() {
            if engine.send(&mut below).is_err() {
                return; // which `Below` never is
            }
        }
    }

    /// Encrypts a large write from where it lies, and returns what is to be queued.
    fn encrypt_from<'a>(&self, mut data: &'a [u8]) -> &'a [u8] {
        let Some(mut engine) = self.take_engine() else {
            return data;
        };
        self.give_out(&mut engine);
        while !data.is_empty() && self.may_encrypt() && self.state.borrow().unencrypted() == 0 {
            let (now, later) = data.split_at(data.len().min(ENCRYPTED_AT_ONCE));
            engine.encrypt(&[IoSlice::new(now)]);
            self.send_down(&mut engine);
            data = later;
        }
        data
    }

    /// Says what was written outside of the borrow: encrypts it now or at the step's end,
    /// and pauses the writer.
    fn after_queueing(&self, is_large: bool) {
        let in_step = self.handle.core().executor.is_in_step();
        let below = self.below();
        let at_once = is_large || self.state.borrow().leaves_at_once(in_step, below);
        if at_once && self.phase() == Phase::Wrapped {
            self.turn_out();
        }
        let below = self.below();
        self.state.borrow_mut().grew(below);
        // Also if that found the engine in use: then its user may be past this.
        if in_step && self.state.borrow().unencrypted() > 0 {
            let asks = self.state.borrow_mut().wants_step_end();
            if let Some(me) = self.me.upgrade().filter(|_| asks) {
                self.handle.core().executor.at_step_end(me);
            }
        }
        self.reconcile();
    }

    // ── calling the app's protocol ──────────────────────────────────────────────

    /// Calls the protocol, and then tells it what the call has provoked (R4).
    pub(super) fn call<R>(
        &self,
        name: &'static str,
        call: impl FnOnce(&mut dyn Protocol) -> R,
    ) -> Result<Option<R>, ConnError> {
        let called = self.call_last(name, call);
        self.reconcile();
        called
    }

    /// Calls the protocol, which is to be told nothing after that.
    fn call_last<R>(
        &self,
        name: &'static str,
        call: impl FnOnce(&mut dyn Protocol) -> R,
    ) -> Result<Option<R>, ConnError> {
        let discard = |replaced| self.drop_protocol(replaced);
        self.protocol.call(name, discard, call)
    }

    /// R4: the one way by which a protocol learns that writing is paused or resumed.
    pub(super) fn reconcile(&self) {
        // After nearly each call there is nothing to tell.
        let paused = self.state.borrow().is_writing_paused();
        if paused.is_none_or(|paused| self.protocol.knows(paused)) {
            return;
        }
        let Some(me) = self.me() else { return };
        self.protocol.reconcile(
            &me,
            || self.state.borrow().is_writing_paused(),
            |failed, error| self.report(failed.into(), &error),
            |replaced| self.drop_protocol(replaced),
        );
    }

    // ── ending ──────────────────────────────────────────────────────────────────

    /// Does what `close` has begun, as far as it can be done now.
    fn go_on_closing(&self, engine: &mut Engine) {
        let notify = self.state.borrow_mut().is_to_notify();
        if notify {
            engine.send_close_notify();
            self.send_down(engine);
        }
        let waits = self.settings.ending.shutdown_mode != ShutdownMode::OneWay;
        let done = self.state.borrow().is_done(waits);
        if let Some(raw) = self.raw().filter(|_| done) {
            raw.close();
        }
    }

    /// Begins to close, if the connection is open.
    pub(super) fn begin_closing(&self) {
        let begins = self.state.borrow_mut().close();
        if begins {
            self.set_timer(self.settings.timeouts.shutdown, TlsTransport::stop_waiting);
            // The peer's word may lie in what was not decrypted yet.
            self.turn_in(&[]);
        }
    }

    /// The shutdown timer has run out.
    fn stop_waiting(&self) {
        if self.has_sent_all() && self.settings.ending.shutdown_mode != ShutdownMode::Strict {
            // D21: what we had to say has been said.
            self.force_close(None);
        } else {
            self.force_close(Some(shutdown_timed_out()));
        }
    }

    /// All data and our `close_notify` are in the kernel's hands.
    fn has_sent_all(&self) -> bool {
        let taken = self
            .raw()
            .is_some_and(|raw| raw.get_write_buffer_size() == 0 && !raw.has_discarded());
        self.phase() == Phase::Shutdown && taken
    }

    /// The raw connection is lost: the last that happens to this one.
    pub(super) fn lost(&self, error: Option<ConnError>) {
        let clean =
            self.has_sent_all() && self.settings.ending.shutdown_mode != ShutdownMode::Strict;
        // D21: a peer that leaves when all was said takes nothing away.
        let error = self.fate.take().or(error.filter(|_| !clean));
        self.lost_by_error.set(error.is_some());
        self.cancel_timer();
        self.state.borrow_mut().unwrap();
        drop(self.engine.take());
        self.undecrypted.take();
        if self.state.borrow().app() != App::Unmet {
            let told = self.call_last("connection_lost", |p| p.connection_lost(error.clone()));
            if let Err(error) = told {
                self.report(call_failed("connection_lost"), &error);
            }
        }
        self.retire();
        // D20. Without an error it was this side, by the transport below: a peer that
        // leaves has one.
        self.tell_handshake(Err(error.unwrap_or_else(handshake_aborted)));
        self.flush_waiters.wake_all();
    }

    pub(crate) fn was_lost_by_error(&self) -> bool {
        self.lost_by_error.get()
    }

    /// R1: hollow from now on. The raw transport calls no more, or is being dropped.
    pub(super) fn retire(&self) {
        self.cancel_timer();
        self.state.borrow_mut().unwrap();
        drop(self.engine.take());
        self.undecrypted.take();
        if let Some(protocol) = self.protocol.retire() {
            self.drop_protocol(protocol);
        }
        self.flush_waiters.wake_all();
    }

    /// The loop closes: nobody is told.
    pub(super) fn hollow(&self) {
        self.retire();
        drop(self.on_handshake.take());
    }

    /// Says what the app's end of writing means for reading: only TLS 1.3 has two ends,
    /// and only who asked for it gets them.
    pub(super) fn can_half_close(&self) -> bool {
        let version = self.info.get().and_then(|info| info.version());
        self.settings.ending.half_close && version == Some(TLS_1_3)
    }

    /// Tells the raw transport whether more is to come.
    pub(super) fn balance_input(&self) {
        let undecrypted = self.undecrypted.borrow().len();
        let intake = self.state.borrow_mut().weigh_input(undecrypted);
        let Some(raw) = self.raw() else { return };
        match intake {
            Intake::Unchanged => {}
            Intake::Pause => raw.pause_reading(),
            Intake::Resume => raw.resume_reading(),
        }
    }

    /// Has what lies here delivered in the next turn.
    fn deliver_soon(&self) {
        if let Some(me) = self.me.upgrade() {
            self.handle.soon(move || me.turn_in(&[]));
        }
    }

    /// Decides what becomes of a write. Returns false if nothing more is to be done.
    fn admits(&self, call: Call, len: usize) -> bool {
        let admission = self.state.borrow_mut().admit(call, len);
        match admission {
            Admission::Admitted => return true,
            Admission::Empty | Admission::Dropped { warn: false } => {}
            Admission::Dropped { warn: true } => log::warn!("SSL connection is closed"),
            Admission::Misused(misuse) => log::warn!("{misuse}"),
        }
        false
    }
}

impl Fails for TlsTransport {
    type Protocol = dyn Protocol;

    fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    fn protocol(&self) -> &ProtocolCell {
        &self.protocol
    }

    fn force_close(&self, error: Option<ConnError>) {
        let ends = self.state.borrow_mut().unwrap();
        if !ends {
            return;
        }
        self.fate.replace(error);
        if let Some(raw) = self.raw() {
            raw.abort();
        }
        self.flush_waiters.wake_all();
    }
}

impl Transport for TlsTransport {
    fn answer(&self, request: &mut ExtraInfoRequest<'_>) {
        if let Some(raw) = self.raw() {
            raw.answer(request);
        }
        if let Some(info) = self.info.get() {
            info.answer(request);
        }
    }

    fn source_number(&self) -> u64 {
        self.raw().map_or(NO_SOURCE, |raw| raw.source_number())
    }

    fn is_closing(&self) -> bool {
        self.state.borrow().is_closing()
    }

    fn close(&self) {
        match self.phase() {
            Phase::Handshake => self.abort(),
            _ => self.begin_closing(),
        }
    }

    fn abort(&self) {
        let error = match self.phase() {
            Phase::Handshake => Some(handshake_aborted()), // D20
            _ => None,
        };
        self.turn_out();
        self.force_close(error);
    }

    fn set_protocol(&self, protocol: Box<dyn Protocol>) {
        if let Some(earlier) = self.protocol.set(protocol) {
            self.drop_protocol(earlier);
        }
        if self.left_to_reader.take() {
            self.deliver_soon(); // the new one did not ask for that
        }
        self.reconcile();
    }

    fn is_reading(&self) -> bool {
        self.state.borrow().is_reading()
    }

    fn pause_reading(&self) {
        self.state.borrow_mut().pause_reading();
    }

    fn resume_reading(&self) {
        let resumed = self.state.borrow_mut().resume_reading();
        if self.left_to_reader.take() || resumed {
            self.deliver_soon();
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let was_left = self.left_to_reader.take();
        let (n, more) = match buffer.is_empty() || !self.is_reading() {
            true => (0, false),
            false => self.pull(buffer),
        };
        if more || (was_left && n == 0) {
            self.deliver_soon(); // what is left, an error, the end
        }
        match n {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    fn write(&self, data: &[u8]) {
        if !self.admits(Call::Write, data.len()) {
            return;
        }
        let is_large = data.len() >= LARGE_WRITE;
        let rest = match is_large {
            true => self.encrypt_from(data),
            false => data,
        };
        self.state
            .borrow_mut()
            .queue(rest, &self.handle.core().pool);
        self.after_queueing(is_large);
    }

    fn write_owned(&self, data: Vec<u8>) {
        if !self.admits(Call::Write, data.len()) {
            return;
        }
        let is_large = data.len() >= LARGE_WRITE;
        self.state
            .borrow_mut()
            .queue_owned(data, &self.handle.core().pool);
        self.after_queueing(is_large);
    }

    fn writelines(&self, pieces: &[IoSlice<'_>]) {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        if !self.admits(Call::WriteLines, len) {
            return;
        }
        for piece in pieces {
            self.state
                .borrow_mut()
                .queue(piece, &self.handle.core().pool);
        }
        self.after_queueing(len >= LARGE_WRITE);
    }

    /// Tells the peer that no more comes, with a `close_notify`, if the context allows it
    /// and both speak TLS 1.3. Otherwise it has no effect, as `can_write_eof` says.
    fn write_eof(&self) {
        if self.can_write_eof() {
            self.state.borrow_mut().end_output();
            self.turn_out();
        }
    }

    fn can_write_eof(&self) -> bool {
        self.can_half_close()
    }

    fn eof_kind(&self) -> EofKind {
        let end = self.state.borrow().peer_end();
        end.unwrap_or(EofKind::Clean)
    }

    fn flush(&self) {
        self.turn_out();
        if let Some(raw) = self.raw() {
            raw.flush();
        }
        self.reconcile();
    }

    fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.borrow().unencrypted() > 0 {
            self.flush_waiters.register(cx.waker());
            return Poll::Pending;
        }
        match self.raw() {
            Some(raw) => raw.poll_flushed(cx),
            None => Poll::Ready(()),
        }
    }

    fn get_write_buffer_size(&self) -> usize {
        let below = self.below();
        self.state.borrow().queued(below)
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        self.state.borrow().write_limits()
    }

    /// Sets the water marks, in bytes: at `high` writing is paused; at `low` or below, it
    /// is resumed. Neither given: 512 KiB and 128 KiB, as in asyncio.
    fn set_write_buffer_limits(
        &self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        self.turn_out();
        let below = self.below();
        self.state.borrow_mut().set_write_limits(high, low, below)?;
        self.reconcile();
        Ok(())
    }

    fn set_write_policy(&self, policy: WritePolicy) {
        self.turn_out();
        self.state.borrow_mut().set_write_policy(policy);
    }

    fn misuse(&self) -> Option<&'static str> {
        self.state.borrow().misuse()
    }

    fn has_discarded(&self) -> bool {
        let below = self.raw().is_some_and(|raw| raw.has_discarded());
        below || self.state.borrow().has_discarded()
    }
}

impl AtStepEnd for TlsTransport {
    fn at_step_end(self: Rc<Self>) {
        self.state.borrow_mut().step_ended();
        self.turn_out();
        self.reconcile();
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<TlsTransport")?;
        if let Ok(state) = self.state.try_borrow() {
            write!(f, " {:?}", state.phase())?;
            write!(f, " unencrypted={}", state.unencrypted())?;
        }
        if let Ok(raw) = self.raw.try_borrow() {
            if let Some(raw) = &*raw {
                write!(f, " on {raw:?}")?;
            }
        }
        f.write_str(">")
    }
}

/// The engine, out of its cell; it goes back when this is dropped, also by a panic.
pub(super) struct EngineInUse<'a> {
    transport: &'a TlsTransport,
    engine: Option<Box<Engine>>,
}

impl Deref for EngineInUse<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine.as_ref().expect("it is taken out only by drop")
    }
}

impl DerefMut for EngineInUse<'_> {
    fn deref_mut(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("it is taken out only by drop")
    }
}

impl Drop for EngineInUse<'_> {
    fn drop(&mut self) {
        let engine = self.engine.take();
        self.transport.engine.set(engine);
    }
}

/// What the engine writes its records to: the raw transport, which takes everything.
struct Below<'a>(&'a dyn Transport);

impl Write for Below<'_> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write(record);
        Ok(record.len())
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.writelines(records);
        Ok(records.iter().map(|record| record.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
