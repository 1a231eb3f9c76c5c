//! What the tests of the streams share: reads taken step by step, a transport that only
//! writes down what it was asked, a small source of chance.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use millstream::{
    ConnError, ExtraInfoRequest, Protocol, ReadError, StreamReader, Transport, WriteLimitsError,
};

/// A future that is polled by hand, and counts how often it is woken.
pub(crate) struct Step<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    wakes: Arc<Wakes>,
    /// How often it had been woken when it was last polled.
    wakes_seen: usize,
}

struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<'a, T> Step<'a, T> {
    /// Takes a future, without polling it.
    pub(crate) fn of(future: impl Future<Output = T> + 'a) -> Step<'a, T> {
        Step {
            future: Box::pin(future),
            wakes: Arc::new(Wakes(AtomicUsize::new(0))),
            wakes_seen: 0,
        }
    }

    /// Takes a future that must wait when it is polled.
    #[track_caller]
    pub(crate) fn waiting(future: impl Future<Output = T> + 'a) -> Step<'a, T> {
        let mut step = Step::of(future);
        step.still_waits();
        step
    }

    pub(crate) fn poll(&mut self) -> Poll<T> {
        self.wakes_seen = self.wakes();
        let waker = Waker::from(self.wakes.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[track_caller]
    pub(crate) fn still_waits(&mut self) {
        assert!(self.poll().is_pending(), "it should wait");
    }

    /// Returns what the future returns, now that it has what it waited for.
    #[track_caller]
    pub(crate) fn done(&mut self) -> T {
        match self.poll() {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it should not wait any more"),
        }
    }

    /// Whether it was woken since it was last polled, or by itself while it was.
    pub(crate) fn is_woken(&self) -> bool {
        self.wakes() > self.wakes_seen
    }

    /// How often it was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

/// Returns what a future returns that must not wait.
#[track_caller]
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    Step::of(future).done()
}

/// A transport without a connection, which writes down `P` for each pause and `R` for
/// each resume, and has a scripted kernel for reads that pull.
pub(crate) struct MockTransport {
    calls: RefCell<String>,
    asked_whether_it_can_pause: Cell<usize>,
    can_pause: bool,
    paused: Cell<bool>,
    kernel: RefCell<VecDeque<u8>>,
    pulls: Cell<usize>,
}

impl MockTransport {
    pub(crate) fn new() -> Rc<MockTransport> {
        MockTransport::that(true)
    }

    pub(crate) fn that_cannot_pause() -> Rc<MockTransport> {
        MockTransport::that(false)
    }

    fn that(can_pause: bool) -> Rc<MockTransport> {
        Rc::new(MockTransport {
            calls: RefCell::default(),
            asked_whether_it_can_pause: Cell::new(0),
            can_pause,
            paused: Cell::new(false),
            kernel: RefCell::default(),
            pulls: Cell::new(0),
        })
    }

    /// Returns the pauses and resumes since the beginning: `PRP`, say.
    pub(crate) fn calls(&self) -> String {
        self.calls.borrow().clone()
    }

    pub(crate) fn times_asked_whether_it_can_pause(&self) -> usize {
        self.asked_whether_it_can_pause.get()
    }

    /// Puts bytes where only `try_read` and [`take_from_kernel`](Self::take_from_kernel)
    /// find them.
    pub(crate) fn fill_kernel(&self, bytes: &[u8]) {
        self.kernel.borrow_mut().extend(bytes);
    }

    pub(crate) fn take_from_kernel(&self) -> Vec<u8> {
        self.kernel.take().into()
    }

    pub(crate) fn kernel_is_empty(&self) -> bool {
        self.kernel.borrow().is_empty()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// How many reads went past the protocol.
    pub(crate) fn pulls(&self) -> usize {
        self.pulls.get()
    }
}

impl Transport for MockTransport {
    fn answer(&self, _request: &mut ExtraInfoRequest<'_>) {}

    fn is_closing(&self) -> bool {
        false
    }

    fn close(&self) {}

    fn abort(&self) {}

    fn set_protocol(&self, _protocol: Box<dyn Protocol>) {}

    fn is_reading(&self) -> bool {
        !self.paused.get()
    }

    fn pause_reading(&self) {
        assert!(self.can_pause, "it said that it cannot pause");
        self.paused.set(true);
        self.calls.borrow_mut().push('P');
    }

    fn resume_reading(&self) {
        self.paused.set(false);
        self.calls.borrow_mut().push('R');
    }

    fn can_pause_reading(&self) -> bool {
        let asked = self.asked_whether_it_can_pause.get();
        self.asked_whether_it_can_pause.set(asked + 1);
        self.can_pause
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.kernel.borrow_mut();
        if buffer.is_empty() || kernel.is_empty() || self.paused.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.pulls.set(self.pulls.get() + 1);
        kernel.read(buffer)
    }

    fn write(&self, _data: &[u8]) {}

    fn writelines(&self, _pieces: &[IoSlice<'_>]) {}

    fn write_eof(&self) {}

    fn flush(&self) {}

    fn poll_flushed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn get_write_buffer_size(&self) -> usize {
        0
    }

    fn get_write_buffer_limits(&self) -> (usize, usize) {
        (0, 0)
    }

    fn set_write_buffer_limits(
        &self,
        _high: Option<usize>,
        _low: Option<usize>,
    ) -> Result<(), WriteLimitsError> {
        Ok(())
    }

    fn has_discarded(&self) -> bool {
        false
    }
}

impl fmt::Debug for MockTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<MockTransport>")
    }
}

/// The error that connections are lost with in these tests.
pub(crate) fn reset() -> ConnError {
    ConnError::from(io::Error::new(io::ErrorKind::ConnectionReset, "E"))
}

/// Asserts that a read failed with the error of [`reset`].
#[track_caller]
pub(crate) fn assert_reset<T: fmt::Debug>(result: Result<T, ReadError>) {
    match result {
        Err(ReadError::Connection(error)) => assert_eq!(error.to_string(), "E"),
        other => panic!("expected the connection's error, got {other:?}"),
    }
}

/// Chance that a seed repeats.
pub(crate) struct XorShift(u64);

impl XorShift {
    pub(crate) fn seeded(seed: u64) -> XorShift {
        // A state of zero would stay zero.
        XorShift(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits fit") % bound
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A reader in which these bytes are unread.
pub(crate) fn fed(bytes: &[u8]) -> StreamReader {
    let reader = StreamReader::new();
    reader.feed_data(bytes);
    reader
}

/// A reader with a limit, in which these bytes are unread.
pub(crate) fn with_limit(limit: usize, bytes: &[u8]) -> Result<StreamReader, ReadError> {
    let reader = StreamReader::with_limit(limit)?;
    reader.feed_data(bytes);
    Ok(reader)
}
