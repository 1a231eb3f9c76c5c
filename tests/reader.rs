//! The reader, fed by hand: the cases RDR-01 to RDR-55 of the catalogue.
//!
//! RDR-38 and RDR-39 need two readers of one state, which the types rule out: they are
//! tested inside the crate, in `src/streams/tests.rs`.

mod stream_support;

use std::io;

use millstream::{
    IncompleteReadError, LimitOverrunError, ReadError, StreamReader, create_task, run, yield_now,
};

use stream_support::{MockTransport, Step, assert_reset, at_once, fed, reset, with_limit};

const THREE_LINES: &[u8] = b"line1\nline2\nline3\n";

/// A reader at whose end these bytes are left.
fn ended(bytes: &[u8]) -> StreamReader {
    let reader = fed(bytes);
    reader.feed_eof();
    reader
}

/// Asserts that `readline` found its line too long.
#[track_caller]
fn assert_line_too_long(result: Result<Vec<u8>, ReadError>) {
    assert!(
        matches!(result, Err(ReadError::LineTooLong { .. })),
        "{result:?}"
    );
}

/// Asserts that no separator came within the limit.
#[track_caller]
fn assert_overrun(result: Result<Vec<u8>, ReadError>, at: usize) {
    match result {
        Err(ReadError::LimitOverrun(LimitOverrunError { consumed, .. })) => {
            assert_eq!(consumed, at);
        }
        other => panic!("expected a limit overrun, got {other:?}"),
    }
}

/// Asserts that a call was refused for what it was given.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, ReadError>, why: &str) {
    match result {
        Err(ReadError::InvalidInput(message)) => assert_eq!(message, why),
        other => panic!("expected an argument error, got {other:?}"),
    }
}

#[test]
fn rdr_01_no_bytes_wake_nobody() -> io::Result<()> {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut read = Step::waiting(reader.read(1));
    feed.feed_data(b"");
    assert_eq!(read.wakes(), 0);
    read.still_waits();
    feed.feed_data(b"x");
    assert_eq!(read.wakes(), 1);
    assert_eq!(read.done()?, b"x");
    Ok(())
}

#[test]
fn rdr_02_a_read_of_nothing_returns_at_once() -> io::Result<()> {
    let mut reader = fed(THREE_LINES);
    assert!(at_once(reader.read(0))?.is_empty());
    assert_eq!(reader.buffered(), THREE_LINES);
    let mut empty = StreamReader::new();
    assert!(at_once(empty.read(0))?.is_empty());
    let mut over = ended(b"");
    assert!(at_once(over.read(0))?.is_empty());
    Ok(())
}

#[test]
fn rdr_03_a_waiting_read_gets_what_comes() -> io::Result<()> {
    run(async {
        let mut reader = StreamReader::new();
        let feed = reader.feeder();
        let reading = create_task(async move { reader.read(30).await });
        yield_now().await;
        feed.feed_data(THREE_LINES);
        assert_eq!(reading.await??, THREE_LINES);
        Ok(())
    })
}

#[test]
fn rdr_05_a_waiting_read_gets_nothing_at_the_end() -> io::Result<()> {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut read = Step::waiting(reader.read(1024));
    feed.feed_eof();
    assert!(read.done()?.is_empty());
    Ok(())
}

#[test]
fn rdr_06_read_all_collects_until_the_end() -> io::Result<()> {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut read = Step::waiting(reader.read_all());
    feed.feed_data(b"chunk1\n");
    read.still_waits();
    feed.feed_data(b"chunk2");
    feed.feed_eof();
    assert_eq!(read.done()?, b"chunk1\nchunk2");
    Ok(())
}

#[test]
fn rdr_07_an_error_comes_before_buffered_bytes() -> io::Result<()> {
    let mut reader = fed(b"line\n");
    assert_eq!(at_once(reader.read(2))?, b"li");
    reader.set_exception(reset());
    assert_reset(at_once(reader.read(2)));
    assert_eq!(reader.take_buffered(), b"ne\n");
    Ok(())
}

#[test]
fn rdr_08_a_limit_of_zero_is_refused() {
    // A negative one does not compile: see `StreamReader::with_limit`.
    assert_refused(StreamReader::with_limit(0), "Limit cannot be <= 0");
    let mut reader = StreamReader::new();
    assert_refused(reader.set_limit(0), "Limit cannot be <= 0");
    assert_eq!(reader.limit(), 65_536);
}

#[test]
fn rdr_09_the_limit_does_not_bound_reads_of_a_size() -> io::Result<()> {
    assert_eq!(at_once(with_limit(3, b"chunk")?.read(5))?, b"chunk");
    assert_eq!(at_once(with_limit(3, b"chunk")?.readexactly(5))?, b"chunk");
    Ok(())
}

#[test]
fn rdr_10_a_line_is_put_together_from_chunks() -> io::Result<()> {
    let mut reader = fed(b"chunk1 ");
    let feed = reader.feeder();
    let mut line = Step::waiting(reader.readline());
    feed.feed_data(b"chunk2 ");
    line.still_waits();
    feed.feed_data(b"chunk3 ");
    feed.feed_data(b"\n chunk4");
    assert_eq!(line.done()?, b"chunk1 chunk2 chunk3 \n");
    drop(line);
    assert_eq!(reader.buffered(), b" chunk4");
    Ok(())
}

#[test]
fn rdr_12_a_line_too_long_that_was_there_before_is_dropped() -> io::Result<()> {
    let mut reader = with_limit(3, b"li")?;
    reader.feed_data(b"ne1");
    reader.feed_data(b"li");
    assert_line_too_long(at_once(reader.readline()));
    assert!(reader.buffered().is_empty());
    Ok(())
}

#[test]
fn rdr_13_a_line_too_long_goes_whole_or_up_to_its_newline() -> io::Result<()> {
    let mut reader = StreamReader::with_limit(7)?;
    let feed = reader.feeder();
    let mut line = Step::waiting(reader.readline());
    feed.feed_data(b"chunk1");
    feed.feed_data(b"chunk2");
    feed.feed_data(b"chunk3\n");
    feed.feed_eof();
    assert_line_too_long(line.done());
    drop(line);
    assert!(reader.buffered().is_empty());

    let mut reader = StreamReader::with_limit(7)?;
    let feed = reader.feeder();
    let mut line = Step::waiting(reader.readline());
    feed.feed_data(b"chunk1");
    feed.feed_data(b"chunk2\n");
    feed.feed_data(b"chunk3\n");
    feed.feed_eof();
    assert_line_too_long(line.done());
    drop(line);
    assert_eq!(reader.buffered(), b"chunk3\n");
    Ok(())
}

#[test]
fn rdr_15_a_line_that_is_there_needs_no_waiting() -> io::Result<()> {
    let mut reader = fed(&THREE_LINES[..6]);
    reader.feed_data(&THREE_LINES[6..]);
    assert_eq!(at_once(reader.readline())?, b"line1\n");
    assert_eq!(reader.buffered(), b"line2\nline3\n");
    Ok(())
}

#[test]
fn rdr_16_the_last_line_needs_no_newline() -> io::Result<()> {
    let mut reader = ended(b"some data");
    assert_eq!(at_once(reader.readline())?, b"some data");
    assert!(at_once(reader.readline())?.is_empty());
    assert!(at_once(ended(b"").readline())?.is_empty());
    Ok(())
}

#[test]
fn rdr_18_readline_fails_once_the_error_is_set() -> io::Result<()> {
    let mut reader = fed(b"line\n");
    assert_eq!(at_once(reader.readline())?, b"line\n");
    reader.set_exception(reset());
    assert_reset(at_once(reader.readline()));
    assert!(reader.buffered().is_empty());
    Ok(())
}

#[test]
fn rdr_19_what_can_never_be_found_is_refused_before_all_else() {
    const EMPTY: &str = "Separator should be at least one-byte string";
    const NONE: &str = "Separator should contain at least one element";
    let none: [&str; 0] = [];
    let mut reader = fed(b"abc");
    for _ in ["as it is", "with an error"] {
        assert_refused(at_once(reader.readuntil(b"")), EMPTY);
        assert_refused(at_once(reader.readuntil(["\r", ""])), EMPTY);
        assert_refused(at_once(reader.readuntil(none)), NONE);
        assert_refused(at_once(reader.readuntil_limited("", 1)), EMPTY);
        assert_refused(at_once(reader.readuntil_ref(b"")), EMPTY);
        assert_refused(at_once(reader.readuntil_ref(none)), NONE);
        reader.set_exception(reset());
    }
    assert_eq!(reader.buffered(), b"abc");
}

#[test]
fn rdr_20_a_separator_ends_what_is_returned() -> io::Result<()> {
    let mut reader = fed(b"lineAAA");
    assert_eq!(at_once(reader.readuntil("AAA"))?, b"lineAAA");
    assert!(reader.buffered().is_empty());
    let mut reader = fed(b"lineAAAxxx");
    assert_eq!(at_once(reader.readuntil("AAA"))?, b"lineAAA");
    assert_eq!(reader.buffered(), b"xxx");
    Ok(())
}

/// Feeds chunks to a `readuntil` that waits, one poll apart, and returns its result.
fn readuntil_in_chunks(separator: &str, chunks: &[&str]) -> io::Result<Vec<u8>> {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut read = Step::waiting(reader.readuntil(separator));
    let (last, first) = chunks.split_last().expect("there is a chunk");
    for chunk in first {
        feed.feed_data(chunk.as_bytes());
        read.still_waits();
    }
    feed.feed_data(last.as_bytes());
    Ok(read.done()?)
}

#[test]
fn rdr_21_a_separator_may_be_split_between_chunks() -> io::Result<()> {
    let all = readuntil_in_chunks("aaa", &["QWEaa", "XYaa", "a"])?;
    assert_eq!(all, b"QWEaaXYaaa");
    Ok(())
}

#[test]
fn rdr_22_a_separator_may_be_split_where_it_repeats_itself() -> io::Result<()> {
    let all = readuntil_in_chunks("aaa", &["QWEaa", "XYa", "aa"])?;
    assert_eq!(all, b"QWEaaXYaaa");
    assert_eq!(readuntil_in_chunks("aaa", &["aaa"])?, b"aaa");
    assert_eq!(readuntil_in_chunks("aaa", &["Xaaa"])?, b"Xaaa");
    let all = readuntil_in_chunks("aaa", &["XXX", "a", "a", "a"])?;
    assert_eq!(all, b"XXXaaa");
    Ok(())
}

#[test]
fn rdr_23_a_stream_that_ends_without_the_separator_is_incomplete() {
    let mut reader = ended(b"some dataAA");
    match at_once(reader.readuntil("AAA")) {
        Err(ReadError::Incomplete(IncompleteReadError { partial, expected })) => {
            assert_eq!(partial, b"some dataAA");
            assert_eq!(expected, None);
        }
        other => panic!("expected an incomplete read, got {other:?}"),
    }
    assert!(reader.buffered().is_empty());
}

#[test]
fn rdr_24_a_separator_beyond_the_limit_leaves_the_buffer_alone() -> io::Result<()> {
    let mut reader = with_limit(3, b"some dataAA")?;
    assert_overrun(at_once(reader.readuntil("AAA")), 9);
    assert_eq!(reader.buffered(), b"some dataAA");
    Ok(())
}

#[test]
fn rdr_25_what_was_too_long_can_be_read_by_its_size() -> io::Result<()> {
    let mut reader = with_limit(3, b"some dataAA")?;
    assert_overrun(at_once(reader.readuntil("AAA")), 9);
    reader.feed_data(b"A");
    assert_overrun(at_once(reader.readuntil("AAA")), 9);
    assert_eq!(reader.buffered(), b"some dataAAA");
    assert_eq!(at_once(reader.read(12))?, b"some dataAAA");
    Ok(())
}

#[test]
fn rdr_28_a_separator_may_be_anything_that_holds_bytes() -> io::Result<()> {
    let mut reader = fed(&b"x--".repeat(14));
    let (owned, text) = (b"--".to_vec(), "--".to_owned());
    assert_eq!(at_once(reader.readuntil(b"--"))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&b"--"[..]))?, b"x--");
    assert_eq!(at_once(reader.readuntil("--"))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&owned))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&text))?, b"x--");
    assert_eq!(at_once(reader.readuntil(text))?, b"x--");
    assert_eq!(at_once(reader.readuntil(["--"]))?, b"x--");
    assert_eq!(at_once(reader.readuntil([b"--"]))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&["--"][..]))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&[b"--".as_slice()][..]))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&[owned.clone()][..]))?, b"x--");
    assert_eq!(at_once(reader.readuntil(&vec![owned.clone()]))?, b"x--");
    assert_eq!(at_once(reader.readuntil(vec![owned.clone()]))?, b"x--");
    assert_eq!(at_once(reader.readuntil(owned))?, b"x--");
    assert!(reader.buffered().is_empty());
    Ok(())
}

#[test]
fn rdr_29_of_several_separators_the_first_to_end_counts() -> io::Result<()> {
    let mut reader = fed(b"line 1\nline 2\r");
    assert_eq!(at_once(reader.readuntil(["\r", "\n"]))?, b"line 1\n");
    assert_eq!(at_once(reader.readuntil(["\r", "\n"]))?, b"line 2\r");
    assert!(reader.buffered().is_empty());
    let mut reader = fed(b"ABCDEFG");
    assert_eq!(at_once(reader.readuntil(["DEF", "BCDE"]))?, b"ABCDE");
    assert_eq!(reader.buffered(), b"FG");
    Ok(())
}

#[test]
fn rdr_31_exactly_nothing_is_there_at_once() -> io::Result<()> {
    // A negative size does not compile: see `StreamReader::readexactly`.
    let mut reader = fed(THREE_LINES);
    assert!(at_once(reader.readexactly(0))?.is_empty());
    assert_eq!(reader.buffered(), THREE_LINES);
    Ok(())
}

#[test]
fn rdr_33_a_stream_that_ends_too_early_gives_what_there_was() {
    let mut reader = ended(THREE_LINES);
    let error = at_once(reader.readexactly(36)).expect_err("half of it is missing");
    assert_eq!(
        error.to_string(),
        "18 bytes read on a total of 36 expected bytes"
    );
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    match error {
        ReadError::Incomplete(IncompleteReadError { partial, expected }) => {
            assert_eq!(partial, THREE_LINES);
            assert_eq!(expected, Some(36));
        }
        other => panic!("expected an incomplete read, got {other:?}"),
    }
    assert!(reader.at_eof());
    assert!(reader.buffered().is_empty());
}

#[test]
fn rdr_34_the_error_that_was_set_can_be_asked_for() {
    let mut reader = fed(b"line\n");
    assert!(reader.exception().is_none());
    reader.set_exception(reset());
    assert_reset(at_once(reader.readexactly(2)));
    let error = reader.exception().expect("it was set");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn rdr_35_a_waiting_read_fails_with_the_error() {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut line = Step::waiting(reader.readline());
    feed.set_exception(reset());
    assert_eq!(line.wakes(), 1);
    assert_reset(line.done());
}

#[test]
fn rdr_36_a_cancelled_read_leaves_its_place_free() -> io::Result<()> {
    run(async {
        let reader = StreamReader::new();
        let feed = reader.feeder();
        let (give_back, given_back) = millstream::create_future();
        let reading = create_task(async move {
            let mut back = GiveBack(Some((give_back, reader)));
            back.reader().readline().await
        });
        yield_now().await;
        assert!(reading.cancel());
        let mut reader = given_back.await?;
        feed.set_exception(reset());
        assert!(reading.await.is_err_and(|error| error.is_cancelled()));
        assert_reset(at_once(reader.readline()));
        Ok(())
    })
}

/// Gives a reader back when the task that used it is dropped.
struct GiveBack(Option<(millstream::Promise<StreamReader>, StreamReader)>);

impl GiveBack {
    fn reader(&mut self) -> &mut StreamReader {
        let (_, reader) = self.0.as_mut().expect("only drop takes it");
        reader
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some((promise, reader)) = self.0.take() {
            promise.set_result(reader);
        }
    }
}

#[test]
fn rdr_41_reading_pauses_above_twice_the_limit() -> io::Result<()> {
    let transport = MockTransport::new();
    let reader = StreamReader::with_limit(4)?;
    reader.set_transport(transport.clone());
    reader.feed_data(&[b'a'; 8]);
    assert_eq!(transport.calls(), "");
    reader.feed_data(b"a");
    assert_eq!(transport.calls(), "P");
    reader.feed_data(b"a");
    assert_eq!(transport.calls(), "P");
    Ok(())
}

#[test]
fn rdr_42_reading_resumes_at_the_limit() -> io::Result<()> {
    let transport = MockTransport::new();
    let mut reader = StreamReader::with_limit(4)?;
    reader.set_transport(transport.clone());
    reader.feed_data(&[b'a'; 9]);
    at_once(reader.read(4))?;
    assert_eq!(transport.calls(), "P");
    at_once(reader.read(1))?;
    assert_eq!(transport.calls(), "PR");
    Ok(())
}

#[test]
fn rdr_43_a_read_that_must_wait_resumes_first() -> io::Result<()> {
    /// Pauses a reader, and has `read` wait: the transport must have been resumed.
    fn resumed(read: impl AsyncFnOnce(StreamReader) -> usize, rest: &[u8]) -> io::Result<()> {
        let transport = MockTransport::new();
        let reader = StreamReader::with_limit(4)?;
        reader.set_transport(transport.clone());
        let feed = reader.feeder();
        reader.feed_data(&[b'a'; 9]);
        assert_eq!(transport.calls(), "P");
        let mut read = Step::waiting(read(reader));
        assert_eq!(transport.calls(), "PR");
        feed.feed_data(rest);
        feed.feed_eof();
        assert_eq!(read.done(), 9 + rest.len());
        Ok(())
    }

    fn len(result: Result<Vec<u8>, ReadError>) -> usize {
        result.expect("all of it came").len()
    }

    resumed(async |mut r| len(r.readexactly(20).await), &[b'b'; 11])?;
    resumed(async |mut r| len(r.read_all().await), &[b'b'; 11])?;
    // A separator of ten bytes may still begin within the limit.
    resumed(async |mut r| len(r.readuntil("aaaaabbbbb").await), b"bbbbb")?;
    resumed(
        async |mut r| {
            let mut body = [0; 20];
            let read = r.readexactly_into(&mut body).await;
            read.map(|()| body.len()).expect("all of it came")
        },
        &[b'b'; 11],
    )?;
    resumed(
        async |mut r| r.peek(20).await.map(<[u8]>::len).expect("all of it came"),
        &[b'b'; 11],
    )
}

#[test]
fn rdr_44_a_transport_that_cannot_pause_is_asked_once() -> io::Result<()> {
    let transport = MockTransport::that_cannot_pause();
    let mut reader = StreamReader::with_limit(4)?;
    reader.set_transport(transport.clone());
    for _ in 0..100 {
        reader.feed_data(b"abcd");
    }
    assert_eq!(transport.times_asked_whether_it_can_pause(), 1);
    assert_eq!(at_once(reader.readexactly(400))?, b"abcd".repeat(100));
    assert_eq!(transport.calls(), "");
    Ok(())
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "feed_data after feed_eof"))]
fn rdr_45_bytes_after_the_end_are_a_mistake() {
    let mut reader = ended(b"");
    reader.feed_data(b"late");
    // Only release builds come here: nothing of it is ever read.
    assert!(reader.at_eof());
    assert!(reader.buffered().is_empty());
}

#[test]
fn rdr_47_lines_come_until_the_end() -> io::Result<()> {
    let mut reader = ended(b"a\nb\nc");
    let mut lines = Vec::new();
    while let Some(line) = at_once(reader.next_line())? {
        lines.push(line);
    }
    assert_eq!(lines, [&b"a\n"[..], b"b\n", b"c"]);
    assert!(at_once(reader.next_line())?.is_none());
    Ok(())
}

#[test]
fn rdr_50_an_error_stays_whatever_is_fed_after_it() {
    let mut reader = StreamReader::new();
    reader.set_exception(reset());
    assert_reset(at_once(reader.read(1)));
    reader.feed_data(b"abc\n");
    assert_reset(at_once(reader.read(1)));
    reader.feed_eof();
    assert_reset(at_once(reader.read(1)));
    assert_reset(at_once(reader.readline()));
    assert!(!reader.at_eof());
}

#[test]
fn rdr_54_a_dropped_read_leaves_its_place_free() -> io::Result<()> {
    let mut reader = StreamReader::new();
    let read = Step::waiting(reader.read(3));
    drop(read);
    reader.feed_data(b"abc");
    assert_eq!(at_once(reader.read(3))?, b"abc");
    Ok(())
}

#[test]
fn rdr_55_debug_output_tells_all_but_the_bytes() -> io::Result<()> {
    let reader = with_limit(123, b"data")?;
    reader.set_transport(MockTransport::new());
    reader.feed_eof();
    reader.set_exception(reset());
    let shown = format!("{reader:?}");
    for part in ["4 bytes", "eof", "limit=123", "exception=", "MockTransport"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    assert!(!shown.contains("data"), "{shown}");
    let fresh = format!("{:?}", StreamReader::new());
    assert_eq!(fresh, "<StreamReader 0 bytes limit=65536>");
    Ok(())
}
