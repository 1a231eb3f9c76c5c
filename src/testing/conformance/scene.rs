//! The scene: a loop, a pair, two traces, and what is waited for.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::contract::{Protocol, Transport};
use crate::event_loop::EventLoop;

use super::super::recorder::Recorder;
use super::super::trace::Trace;
use super::MakePair;

/// How long a scenario waits for something that must happen, before it fails.
///
/// 30 seconds: everything here takes milliseconds, so only what never comes takes it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one turn may sleep while something is waited for.
const NAP: Duration = Duration::from_millis(5);

/// Turns after which what did not happen is taken not to happen.
///
/// Too few can only let a fault pass, never fail a transport that has none.
const SETTLING_TURNS: u32 = 12;

/// Bytes that are written at a time until the way to the peer is full.
const PIECE: usize = 20_000;

/// Bytes that are on the way between two ends at the most: kernels stop far below.
const MOST_ON_THE_WAY: usize = 64 << 20;

/// What a scenario plays on.
pub(super) struct Scene<'a> {
    make_pair: MakePair<'a>,
    pub(super) event_loop: EventLoop,
    /// Messages that went to the exception handler and were not asked for yet.
    reports: Rc<RefCell<Vec<String>>>,
    /// Weak, since a scenario may want to drop the last handle itself.
    transports: RefCell<Vec<Weak<dyn Transport>>>,
    traces: RefCell<Vec<Trace>>,
}

/// One end of the pair.
pub(super) struct End {
    pub(super) transport: Rc<dyn Transport>,
    pub(super) trace: Trace,
}

impl<'a> Scene<'a> {
    pub(super) fn new(make_pair: MakePair<'a>) -> io::Result<Scene<'a>> {
        let event_loop = EventLoop::new()?;
        let reports = Rc::new(RefCell::new(Vec::new()));
        let written = reports.clone();
        event_loop.set_exception_handler(move |_, context| {
            written.borrow_mut().push(context.to_string());
        });
        Ok(Scene {
            make_pair,
            event_loop,
            reports,
            transports: RefCell::default(),
            traces: RefCell::default(),
        })
    }

    /// Connects two recorders, each made ready by its function.
    pub(super) fn connects(
        &self,
        one: impl FnOnce(Recorder) -> Recorder,
        other: impl FnOnce(Recorder) -> Recorder,
    ) -> io::Result<(End, End)> {
        let (one_trace, other_trace) = (self.trace(), self.trace());
        let (one, other) = self.connects_protocols(
            Box::new(one(Recorder::new(&one_trace))),
            Box::new(other(Recorder::new(&other_trace))),
        )?;
        let one = End {
            transport: one,
            trace: one_trace,
        };
        let other = End {
            transport: other,
            trace: other_trace,
        };
        Ok((one, other))
    }

    /// Connects two recorders that do nothing else, and waits until both were told.
    pub(super) fn connects_plainly(&self) -> io::Result<(End, End)> {
        let (one, other) = self.connects(|r| r, |r| r)?;
        self.until("connection_made", || {
            one.trace.told().len() + other.trace.told().len() == 2
        })?;
        Ok((one, other))
    }

    /// Does what `connects_plainly` does, with ends that outlive the other's end.
    pub(super) fn connects_half_closing(&self) -> io::Result<(End, End)> {
        let (one, other) = self.connects(Recorder::keeps_open, Recorder::keeps_open)?;
        self.until("connection_made", || {
            one.trace.told().len() + other.trace.told().len() == 2
        })?;
        Ok((one, other))
    }

    pub(super) fn connects_protocols(
        &self,
        one: Box<dyn Protocol>,
        other: Box<dyn Protocol>,
    ) -> io::Result<(Rc<dyn Transport>, Rc<dyn Transport>)> {
        let (one, other) = (self.make_pair)(&self.event_loop, one, other)?;
        let mut transports = self.transports.borrow_mut();
        transports.extend([Rc::downgrade(&one), Rc::downgrade(&other)]);
        Ok((one, other))
    }

    /// Makes a trace that is checked at the end.
    pub(super) fn trace(&self) -> Trace {
        let trace = Trace::new();
        self.traces.borrow_mut().push(trace.clone());
        trace
    }

    /// Runs the loop until something is true.
    #[track_caller]
    pub(super) fn until(&self, what: &str, is_true: impl Fn() -> bool) -> io::Result<()> {
        let began = self.event_loop.time();
        while !is_true() {
            let waited = self.event_loop.time() - began;
            assert!(waited < PATIENCE, "{what} did not come; {}", self.traces());
            self.event_loop.turn(Some(NAP))?;
        }
        Ok(())
    }

    /// Runs the loop until both ends were told that the connection is lost.
    #[track_caller]
    pub(super) fn until_lost(&self, ends: &[&End]) -> io::Result<()> {
        self.until("connection_lost", || {
            ends.iter().all(|end| end.trace.is_lost())
        })
    }

    /// Runs the loop for so long that what is to happen has happened.
    pub(super) fn settles(&self) -> io::Result<()> {
        for _ in 0..SETTLING_TURNS {
            self.event_loop.turn(Some(Duration::from_millis(1)))?;
        }
        Ok(())
    }

    /// Writes to a peer that does not read until more than the high mark stays queued,
    /// and returns what was written.
    pub(super) fn fills(&self, writer: &End, reader: &End) -> io::Result<Vec<u8>> {
        reader.transport.pause_reading();
        let (_, high) = writer.transport.get_write_buffer_limits();
        let mut written = Vec::new();
        while writer.transport.get_write_buffer_size() <= high {
            assert!(
                written.len() < MOST_ON_THE_WAY,
                "nothing holds writing back"
            );
            let piece = pattern(PIECE, written.len() as u64);
            writer.transport.write(&piece);
            written.extend_from_slice(&piece);
            self.event_loop.turn(Some(Duration::ZERO))?;
        }
        Ok(written)
    }

    /// Takes the one report that a scenario provoked.
    #[track_caller]
    pub(super) fn expects_report(&self, message: &str) {
        let reports = self.reports.take();
        let [report] = &reports[..] else {
            panic!("one report was expected, not {reports:?}");
        };
        assert!(report.starts_with(message), "reported: {report}");
    }

    /// Ends what a scenario left open, and checks what must hold after any of them.
    pub(super) fn ends(self) -> io::Result<()> {
        for transport in self.transports.take() {
            if let Some(transport) = transport.upgrade() {
                transport.abort();
            }
        }
        if !self.event_loop.is_closed() {
            self.until("the end of all sources", || {
                self.event_loop.census().sources == 0
            })?;
            self.settles()?;
        }
        let reports = self.reports.take();
        assert!(reports.is_empty(), "unexpected reports: {reports:?}");
        for trace in self.traces.borrow().iter() {
            trace.assert_in_order();
            assert_eq!(
                trace.recorders_dropped(),
                1,
                "the protocol outlived its connection: {}",
                trace.abridged()
            );
        }
        Ok(())
    }

    fn traces(&self) -> String {
        let traces = self.traces.borrow();
        let traces: Vec<String> = traces.iter().map(Trace::abridged).collect();
        format!("told so far: {}", traces.join(" and "))
    }
}

/// Bytes that are different enough to notice when some are lost, doubled or swapped.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Compares bulk without printing it.
#[track_caller]
pub(super) fn assert_same_bytes(got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(
        differs, None,
        "the first byte that differs is at this index"
    );
    assert_eq!(got.len(), expected.len(), "the number of bytes");
}
