//! What users can't write: two readers of one state, and a look at how far it was scanned.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::buffer::ReadBuffer;
use crate::error::ReadError;

use super::reader::StreamReader;
use super::state::StreamState;

/// Two readers of one stream, as two coroutines have them in asyncio.
fn two_readers() -> (StreamReader, StreamReader) {
    let state = StreamState::new(64);
    (StreamReader::on(state.clone()), StreamReader::on(state))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future once, which must be enough.
#[track_caller]
fn at_once<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it should not wait"),
    }
}

/// Asserts that a read was refused since another one waits.
#[track_caller]
fn assert_taken<T: std::fmt::Debug>(read: Result<T, ReadError>, name: &str) {
    let refused = read.expect_err("another read waits");
    let expected =
        format!("{name}() called while another coroutine is already waiting for incoming data");
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn rdr_38_a_second_read_that_would_wait_is_refused() -> Result<(), ReadError> {
    let (mut a, mut b) = two_readers();
    let feed = a.feeder();
    let mut waiting = pin!(a.read(4));
    assert!(poll(waiting.as_mut()).is_pending());

    assert_taken(at_once(b.readline()), "readline");
    assert_taken(at_once(b.readuntil("x")), "readuntil");
    assert_taken(at_once(b.readexactly(1)), "readexactly");
    assert_taken(at_once(b.read_all()), "read_all");
    assert_taken(at_once(b.read(1)), "read");
    assert_taken(at_once(b.fill_buf()), "fill_buf");
    assert_taken(at_once(b.readline_ref()), "readline_ref");
    assert_taken(at_once(b.read_into(&mut [0])), "read_into");
    assert_taken(at_once(b.readexactly_into(&mut [0])), "readexactly_into");

    assert!(poll(waiting.as_mut()).is_pending(), "it was not disturbed");
    feed.feed_data(b"next");
    assert_eq!(at_once(waiting)?, b"next");
    Ok(())
}

#[test]
fn rdr_02_a_read_of_nothing_does_not_mind_a_read_that_waits() -> Result<(), ReadError> {
    let (mut a, mut b) = two_readers();
    let feed = a.feeder();
    let mut waiting = pin!(a.read(4));
    assert!(poll(waiting.as_mut()).is_pending());
    assert!(at_once(b.read(0))?.is_empty());
    assert!(at_once(b.readexactly(0))?.is_empty());
    assert!(poll(waiting.as_mut()).is_pending());
    feed.feed_data(b"next");
    assert_eq!(at_once(waiting)?, b"next");
    Ok(())
}

#[test]
fn rdr_39_a_second_read_that_need_not_wait_is_served() -> Result<(), ReadError> {
    let (mut a, mut b) = two_readers();
    let feed = a.feeder();
    feed.feed_data(b"abc");
    let mut waiting = pin!(a.readexactly(10));
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(at_once(b.read(2))?, b"ab");
    feed.feed_data(b"12345678");
    assert!(poll(waiting.as_mut()).is_pending(), "nine are there");
    feed.feed_data(b"9");
    assert_eq!(at_once(waiting)?, b"c123456789");
    Ok(())
}

/// Feeds `n` bytes without a separator, one by one, and returns how many bytes the reads
/// looked at: each time those that no earlier one had looked at.
fn bytes_looked_at(state: &Rc<StreamState>, n: usize, mut read: impl FnMut()) -> usize {
    let not_scanned = |home: &mut ReadBuffer| home.len() - home.scanned();
    let mut looked_at = 0;
    for _ in 0..n {
        state.feed_data(None, b"a");
        looked_at += state.at_home(not_scanned);
        read();
    }
    looked_at
}

#[test]
fn a_line_that_comes_byte_by_byte_is_scanned_once() {
    const MILLION: usize = 1_000_000;
    let state = StreamState::new(MILLION);
    let mut reader = StreamReader::on(state.clone());
    let mut line = pin!(reader.readline());
    assert!(poll(line.as_mut()).is_pending());
    let looked_at = bytes_looked_at(&state, MILLION, || {
        assert!(poll(line.as_mut()).is_pending());
    });
    assert_eq!(looked_at, MILLION);
}

#[test]
fn a_dropped_readuntil_leaves_behind_how_far_it_looked() {
    const N: usize = 100_000;
    const SEPARATOR: &str = "SEPARATOR";
    let state = StreamState::new(N);
    let mut reader = StreamReader::on(state.clone());
    let looked_at = bytes_looked_at(&state, N, || {
        assert!(poll(pin!(reader.readuntil(SEPARATOR))).is_pending());
    });
    // It may have begun in each of the last bytes but one of its length.
    assert!(looked_at <= N * SEPARATOR.len(), "{looked_at}");
}

#[test]
fn another_separator_is_looked_for_from_the_beginning() -> Result<(), ReadError> {
    let state = StreamState::new(64);
    let mut reader = StreamReader::on(state.clone());
    state.feed_data(None, b"key: value; ");
    assert!(poll(pin!(reader.readline())).is_pending());
    assert_eq!(state.at_home(|home| home.scanned()), 12);
    assert_eq!(at_once(reader.readuntil(": "))?, b"key: ");
    assert!(poll(pin!(reader.readline())).is_pending());
    assert_eq!(at_once(reader.readuntil_ref("; "))?, b"value; ");
    Ok(())
}

/// Of each connection: what it keeps of a stream, and its handler of the read in which it
/// waits.
#[cfg(target_pointer_width = "64")]
#[test]
fn an_idle_stream_is_small() {
    assert_eq!(size_of::<StreamState>(), 72);
    assert_eq!(size_of::<StreamReader>(), 16);
    let (mut reader, _other) = two_readers();
    assert_eq!(size_of_val(&reader.read(1)), 24);
    assert_eq!(size_of_val(&reader.readexactly(1)), 24);
    assert_eq!(size_of_val(&reader.readline()), 16);
    assert_eq!(size_of_val(&reader.next_line()), 16);
    assert_eq!(size_of_val(&reader.readline_ref()), 16);
    assert_eq!(size_of_val(&reader.fill_buf()), 16);
    assert_eq!(size_of_val(&reader.read_into(&mut [0])), 32);
}
