//! The reader beyond asyncio: reads that lend, reads that pull, limits and policies that
//! can be changed, and what a dropped read leaves behind.

mod stream_support;

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use millstream::{
    AfterEof, ConnError, EofKind, ErrorPolicy, EventLoop, OverlongPolicy, Protocol, ReadError,
    ReadInto, StreamReader, StreamReaderProtocol, StreamWriter, Transport, create_task,
    memory_stream_pair, run, yield_now,
};

use stream_support::{
    MockTransport, Step, XorShift, assert_reset, at_once, fed, reset, with_limit,
};

#[track_caller]
fn assert_too_long<T: std::fmt::Debug>(line: Result<T, ReadError>, bytes_dropped: usize) {
    match line {
        Err(ReadError::LineTooLong { dropped, .. }) => assert_eq!(dropped, bytes_dropped),
        other => panic!("expected a line too long, got {other:?}"),
    }
}

#[track_caller]
fn assert_overrun<T: std::fmt::Debug>(read: Result<T, ReadError>, at: usize) {
    match read {
        Err(ReadError::LimitOverrun(overrun)) => assert_eq!(overrun.consumed, at),
        other => panic!("expected a limit overrun, got {other:?}"),
    }
}

// ------------------------------------------------------------- reads that lend

#[test]
fn fill_buf_lends_all_and_consume_takes_some() -> io::Result<()> {
    let mut reader = fed(b"abc");
    assert_eq!(at_once(reader.fill_buf())?, b"abc");
    assert_eq!(at_once(reader.fill_buf())?, b"abc");
    reader.consume(2);
    assert_eq!(at_once(reader.fill_buf())?, b"c");
    reader.consume(1);
    reader.feed_eof();
    assert!(at_once(reader.fill_buf())?.is_empty());
    assert!(reader.at_eof());
    Ok(())
}

#[test]
fn fill_buf_waits_for_the_first_byte() -> io::Result<()> {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut filling = Step::waiting(reader.fill_buf());
    feed.feed_data(b"a");
    assert_eq!(filling.done()?, b"a");
    Ok(())
}

#[test]
fn consume_may_take_what_came_after_the_loan() -> io::Result<()> {
    let mut reader = fed(b"abc");
    assert_eq!(at_once(reader.fill_buf())?, b"abc");
    reader.feed_data(b"def");
    reader.consume(5);
    assert_eq!(reader.buffered(), b"f");
    Ok(())
}

#[test]
#[should_panic(expected = "consume(4) of 3 unread bytes")]
fn more_than_is_unread_cannot_be_consumed() {
    fed(b"abc").consume(4);
}

#[test]
fn consuming_resumes_at_the_limit() -> io::Result<()> {
    let transport = MockTransport::new();
    let mut reader = StreamReader::with_limit(4)?;
    reader.set_transport(transport.clone());
    reader.feed_data(b"123456789");
    assert_eq!(at_once(reader.fill_buf())?.len(), 9);
    reader.consume(4);
    assert_eq!(transport.calls(), "P");
    reader.consume(1);
    assert_eq!(transport.calls(), "PR");
    Ok(())
}

#[test]
fn lent_bytes_count_for_the_pause() -> io::Result<()> {
    let transport = MockTransport::new();
    let mut reader = StreamReader::with_limit(4)?;
    reader.set_transport(transport.clone());
    reader.feed_data(b"12345678");
    assert_eq!(at_once(reader.peek(8))?, b"12345678");
    assert_eq!(transport.calls(), "");
    reader.feed_data(b"9");
    assert_eq!(transport.calls(), "P");
    Ok(())
}

#[test]
fn peek_waits_for_all_it_is_to_lend_and_takes_nothing() -> io::Result<()> {
    let mut reader = fed(b"ab");
    let feed = reader.feeder();
    let mut peeking = Step::waiting(reader.peek(4));
    feed.feed_data(b"c");
    peeking.still_waits();
    feed.feed_data(b"de");
    assert_eq!(peeking.done()?, b"abcd");
    drop(peeking);
    assert_eq!(at_once(reader.peek(1))?, b"a");
    assert_eq!(at_once(reader.read(9))?, b"abcde");
    Ok(())
}

#[test]
fn peek_lends_less_at_the_end() -> io::Result<()> {
    let mut reader = fed(b"ab");
    let feed = reader.feeder();
    let mut peeking = Step::waiting(reader.peek(4));
    feed.feed_eof();
    assert_eq!(peeking.done()?, b"ab");
    drop(peeking);
    assert!(at_once(reader.peek(0))?.is_empty());
    Ok(())
}

#[test]
fn a_lent_line_stays_readable_while_the_protocol_feeds() -> io::Result<()> {
    let mut reader = fed(b"one\ntw");
    let feed = reader.feeder();
    let line = at_once(reader.readline_ref())?;
    for _ in 0..10_000 {
        feed.feed_data(b"oo");
    }
    feed.feed_data(b"\n");
    assert_eq!(line, b"one\n");
    // It was consumed all the same, and what came meanwhile is behind the rest.
    let second = at_once(reader.readline_ref())?;
    assert_eq!(second.len(), 2 + 20_000 + 1);
    assert!(second.starts_with(b"twoo") && second.ends_with(b"oo\n"));
    assert!(reader.buffered().is_empty());
    Ok(())
}

#[test]
fn lines_are_lent_whole_wherever_their_chunks_lie() -> io::Result<()> {
    let mut reader = fed(b"a\nb");
    assert_eq!(at_once(reader.readline_ref())?, b"a\n");
    reader.feed_data(b"c\nd");
    assert_eq!(at_once(reader.readline_ref())?, b"bc\n");
    assert_eq!(at_once(reader.fill_buf())?, b"d");
    reader.feed_data(b"e\r\nf");
    assert_eq!(at_once(reader.readuntil_ref("\r\n"))?, b"de\r\n");
    let feed = reader.feeder();
    let mut line = Step::waiting(reader.readline_ref());
    feed.feed_data(b"g\n");
    assert_eq!(line.done()?, b"fg\n");
    Ok(())
}

#[test]
fn the_last_line_is_lent_without_a_newline() -> io::Result<()> {
    let mut reader = fed(b"a\nb");
    assert_eq!(at_once(reader.readline_ref())?, b"a\n");
    reader.feed_eof();
    assert_eq!(at_once(reader.readline_ref())?, b"b");
    assert!(at_once(reader.readline_ref())?.is_empty());
    assert!(reader.at_eof());
    Ok(())
}

#[test]
fn a_separator_that_came_after_the_loan_decides() -> io::Result<()> {
    // "cde" alone is too long for a limit of two: "not found". With its end it is "found".
    let mut reader = with_limit(2, b"a\ncde")?;
    assert_eq!(at_once(reader.readline_ref())?, b"a\n");
    reader.feed_data(b"\nf\n");
    let error = at_once(reader.readline_ref()).expect_err("three bytes are too many");
    assert!(error.to_string().contains("is found"), "{error}");
    assert_eq!(at_once(reader.readline_ref())?, b"f\n");
    Ok(())
}

#[test]
fn kinds_of_reads_can_be_mixed_at_will() -> io::Result<()> {
    let mut reader = fed(b"1\n2\n3\n45\n6;7");
    assert_eq!(at_once(reader.readline_ref())?, b"1\n");
    assert_eq!(at_once(reader.readline())?, b"2\n");
    assert_eq!(at_once(reader.peek(2))?, b"3\n");
    assert_eq!(at_once(reader.readexactly(2))?, b"3\n");
    let mut byte = [0];
    assert_eq!(at_once(reader.read_into(&mut byte))?, 1);
    assert_eq!(&byte, b"4");
    assert_eq!(reader.buffered(), b"5\n6;7");
    assert_eq!(at_once(reader.readline_ref())?, b"5\n");
    assert_eq!(at_once(reader.readuntil(";"))?, b"6;");
    assert_eq!(reader.take_buffered(), b"7");
    Ok(())
}

// ------------------------------------------------------------- what is buffered

#[test]
fn buffered_bytes_can_be_seen_and_taken_whatever_happened() -> io::Result<()> {
    let transport = MockTransport::new();
    let mut reader = StreamReader::with_limit(2)?;
    reader.set_transport(transport.clone());
    reader.feed_data(b"abcde");
    reader.set_exception(reset());
    assert_eq!(reader.buffered(), b"abcde");
    reader.feed_data(b"f");
    assert_eq!(reader.buffered(), b"abcdef");
    assert_eq!(transport.calls(), "P");
    assert_eq!(reader.take_buffered(), b"abcdef");
    assert_eq!(transport.calls(), "PR");
    assert!(reader.take_buffered().is_empty());
    assert_reset(at_once(reader.read(1)));
    Ok(())
}

// ------------------------------------------------------------- limits

#[test]
fn a_higher_limit_resumes_reading() -> io::Result<()> {
    let transport = MockTransport::new();
    let mut reader = StreamReader::with_limit(2)?;
    reader.set_transport(transport.clone());
    reader.feed_data(b"abcde");
    reader.set_limit(4)?;
    assert_eq!(transport.calls(), "P");
    reader.set_limit(5)?;
    assert_eq!(transport.calls(), "PR");
    assert_eq!(reader.limit(), 5);
    Ok(())
}

#[test]
fn a_limit_may_be_for_one_call_alone() -> io::Result<()> {
    let mut reader = with_limit(3, b"abcde\nx")?;
    assert_eq!(at_once(reader.readline_limited(5))?, b"abcde\n");
    assert_eq!(reader.limit(), 3);
    reader.feed_data(b"yz;abc\n");
    assert_overrun(at_once(reader.readuntil_limited(";", 2)), 3);
    assert_eq!(at_once(reader.readuntil_limited(";", 3))?, b"xyz;");
    assert_too_long(at_once(reader.readline_limited(2)), 4);
    for refused in [
        at_once(reader.readline_limited(0)),
        at_once(reader.readuntil_limited(";", 0)),
    ] {
        assert_eq!(
            refused.expect_err("no line is empty").kind(),
            io::ErrorKind::InvalidInput
        );
    }
    Ok(())
}

#[test]
fn read_all_may_have_a_limit() -> io::Result<()> {
    let mut reader = fed(b"abc");
    let feed = reader.feeder();
    let mut reading = Step::waiting(reader.read_all_limited(4));
    feed.feed_data(b"de");
    assert_overrun(reading.done(), 5);
    drop(reading);
    feed.feed_eof();
    assert_eq!(at_once(reader.read_all_limited(5))?, b"abcde");
    assert!(reader.at_eof());
    Ok(())
}

// ------------------------------------------------------------- what comes first

#[test]
fn an_error_comes_first_in_every_read() {
    let mut reader = fed(b"abc\n");
    reader.feed_eof();
    reader.set_exception(reset());
    assert_reset(at_once(reader.read(0)));
    assert_reset(at_once(reader.read(1)));
    assert_reset(at_once(reader.read_all()));
    assert_reset(at_once(reader.read_all_limited(9)));
    assert_reset(at_once(reader.readexactly(0)));
    assert_reset(at_once(reader.readexactly(1)));
    assert_reset(at_once(reader.readline()));
    assert_reset(at_once(reader.readline_limited(9)));
    assert_reset(at_once(reader.next_line()));
    assert_reset(at_once(reader.readuntil("b")));
    assert_reset(at_once(reader.readuntil_limited("b", 9)));
    assert_reset(at_once(reader.fill_buf()));
    assert_reset(at_once(reader.peek(0)));
    assert_reset(at_once(reader.peek(1)));
    assert_reset(at_once(reader.readline_ref()));
    assert_reset(at_once(reader.readuntil_ref("b")));
    assert_reset(at_once(reader.read_into(&mut [])));
    assert_reset(at_once(reader.read_into(&mut [0])));
    assert_reset(at_once(reader.readexactly_into(&mut [])));
    assert_reset(at_once(reader.readexactly_into(&mut [0])));
    assert_eq!(reader.buffered(), b"abc\n");
}

#[test]
fn an_error_comes_first_also_when_bytes_are_lent() -> io::Result<()> {
    let mut reader = fed(b"a\nb\n");
    assert_eq!(at_once(reader.readline_ref())?, b"a\n");
    reader.set_exception(reset());
    assert_reset(at_once(reader.readline_ref()));
    assert_reset(at_once(reader.fill_buf()));
    assert_eq!(reader.take_buffered(), b"b\n");
    Ok(())
}

/// A reader that serves what it has, and has failed.
fn data_first(bytes: &[u8]) -> StreamReader {
    let mut reader = fed(bytes);
    reader.set_error_policy(ErrorPolicy::DataFirst);
    reader.set_exception(reset());
    reader
}

#[test]
fn d14_bytes_may_come_before_the_error() -> io::Result<()> {
    let mut reader = data_first(b"line\nuntil;12body34rest");
    assert!(at_once(reader.read(0))?.is_empty());
    assert_eq!(at_once(reader.readline())?, b"line\n");
    assert_eq!(at_once(reader.readuntil(";"))?, b"until;");
    assert_eq!(at_once(reader.readexactly(2))?, b"12");
    let mut body = [0; 4];
    at_once(reader.readexactly_into(&mut body))?;
    assert_eq!(&body, b"body");
    assert_eq!(at_once(reader.peek(2))?, b"34");
    assert_eq!(at_once(reader.read_into(&mut body[..2]))?, 2);
    assert_eq!(at_once(reader.fill_buf())?, b"rest");
    assert_eq!(at_once(reader.read(9))?, b"rest");
    assert_reset(at_once(reader.read(9)));
    Ok(())
}

#[test]
fn d14_the_error_comes_when_more_is_needed_and_takes_nothing() {
    let mut reader = data_first(b"abc");
    assert_reset(at_once(reader.readline()));
    assert_reset(at_once(reader.readline_ref()));
    assert_reset(at_once(reader.readuntil(";")));
    assert_reset(at_once(reader.readuntil_ref(";")));
    assert_reset(at_once(reader.readexactly(4)));
    assert_reset(at_once(reader.readexactly_into(&mut [0; 4])));
    assert_reset(at_once(reader.peek(4)));
    assert_reset(at_once(reader.read_all()));
    assert_eq!(reader.buffered(), b"abc");
}

#[test]
fn d24_an_error_behind_bytes_reaches_the_read_that_waits() {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut line = Step::waiting(reader.readline());
    feed.feed_data(b"half a li");
    feed.set_exception(reset());
    assert_reset(line.done());
    drop(line);
    assert_eq!(reader.take_buffered(), b"half a li");
}

#[test]
fn s5_a_read_that_waited_gets_its_bytes_before_the_error() -> io::Result<()> {
    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut read = Step::waiting(reader.read(9));
    feed.feed_data(b"abc");
    feed.set_exception(reset());
    assert_eq!(read.done()?, b"abc");
    drop(read);
    assert_reset(at_once(reader.read(9)));

    let mut reader = StreamReader::new();
    let feed = reader.feeder();
    let mut body = [0; 3];
    let mut read = Step::waiting(reader.readexactly_into(&mut body));
    feed.feed_data(b"abc");
    feed.set_exception(reset());
    read.done()?;
    drop(read);
    assert_eq!(&body, b"abc");
    Ok(())
}

#[test]
fn a_stream_knows_how_it_ended() {
    let reader = fed(b"abc");
    assert_eq!(reader.eof_kind(), None);
    reader.feed_eof();
    assert_eq!(reader.eof_kind(), Some(EofKind::Clean));
    assert!(!reader.at_eof(), "there are bytes left");
    let failed = StreamReader::new();
    failed.set_exception(reset());
    assert_eq!(failed.eof_kind(), None);
}

#[test]
#[should_panic(expected = "Transport already set")]
fn a_transport_can_be_set_once() {
    let reader = StreamReader::new();
    reader.set_transport(MockTransport::new());
    reader.set_transport(MockTransport::new());
}

// ------------------------------------------------------------- lines that are too long

#[test]
fn d16_discarding_costs_one_error_for_one_long_line() -> io::Result<()> {
    let mut reader = StreamReader::with_limit(4)?;
    reader.set_overlong_policy(OverlongPolicy::DiscardLine);
    let feed = reader.feeder();
    feed.feed_data(b"too long");
    assert_too_long(at_once(reader.readline()), 8);
    let mut line = Step::waiting(reader.readline());
    feed.feed_data(b" and longer");
    line.still_waits();
    feed.feed_data(b" still\nok\n");
    assert_eq!(line.done()?, b"ok\n");
    Ok(())
}

#[test]
fn an_error_comes_before_the_next_line_of_a_burst_unless_data_comes_first() -> io::Result<()> {
    let mut reader = fed(b"a\nb\nc\nd\n");
    assert_eq!(at_once(reader.readline())?, b"a\n");
    assert_eq!(at_once(reader.readline_ref())?, b"b\n");
    reader.set_exception(reset());
    assert_reset(at_once(reader.readline()));
    assert_reset(at_once(reader.readline_ref()).map(<[u8]>::to_vec));
    reader.set_error_policy(ErrorPolicy::DataFirst);
    assert_eq!(at_once(reader.readline())?, b"c\n");
    assert_eq!(at_once(reader.readline_ref())?, b"d\n");
    assert_reset(at_once(reader.readline()));
    Ok(())
}

#[test]
fn a_line_of_a_burst_may_be_too_long() -> io::Result<()> {
    let burst = b"ab\nabcd\nabcde\nef\n";
    let mut reader = with_limit(4, burst)?;
    assert_eq!(at_once(reader.readline())?, b"ab\n");
    assert_eq!(at_once(reader.readline())?, b"abcd\n");
    assert_too_long(at_once(reader.readline()), 6);
    assert_eq!(at_once(reader.readline())?, b"ef\n");
    let mut reader = with_limit(4, burst)?;
    assert_eq!(at_once(reader.readline_ref())?, b"ab\n");
    assert_eq!(at_once(reader.readline_ref())?, b"abcd\n");
    assert_too_long(at_once(reader.readline_ref()), 6);
    assert_eq!(at_once(reader.readline_ref())?, b"ef\n");
    Ok(())
}

#[test]
fn reads_of_all_kinds_share_the_lines_of_a_burst() -> io::Result<()> {
    let mut reader = fed(b"a\nb\nc;d\ne\nf\ng");
    assert_eq!(at_once(reader.readline_ref())?, b"a\n");
    assert_eq!(at_once(reader.readline())?, b"b\n");
    assert_eq!(at_once(reader.readuntil(";"))?, b"c;");
    assert_eq!(at_once(reader.readline())?, b"d\n");
    drop(Step::waiting(reader.readuntil(";")));
    assert_eq!(at_once(reader.readline_ref())?, b"e\n");
    assert_eq!(at_once(reader.readline())?, b"f\n");
    reader.feed_data(b"h\n");
    assert_eq!(at_once(reader.readline())?, b"gh\n");
    Ok(())
}

#[test]
fn d4_a_loop_over_the_lines_of_a_burst_lets_others_run() -> io::Result<()> {
    run(async {
        for lent in [false, true] {
            yield_now().await; // a step of its own for each
            let mut reader = fed(&b"line\n".repeat(200));
            let others_ran = Rc::new(Cell::new(false));
            let seen = others_ran.clone();
            create_task(async move { seen.set(true) });
            for others_may_run in [false, true] {
                for _ in 0..100 {
                    match lent {
                        true => assert_eq!(reader.readline_ref().await?, b"line\n"),
                        false => assert_eq!(reader.readline().await?, b"line\n"),
                    }
                }
                assert_eq!(
                    others_ran.get(),
                    others_may_run,
                    "a hundred are in the budget"
                );
            }
            assert_eq!(reader.buffered(), b"");
        }
        io::Result::Ok(())
    })
}

#[test]
fn d16_discarding_works_for_lent_lines() -> io::Result<()> {
    let mut reader = with_limit(4, b"a\ntoo long")?;
    reader.set_overlong_policy(OverlongPolicy::DiscardLine);
    assert_eq!(at_once(reader.readline_ref())?, b"a\n");
    assert_too_long(at_once(reader.readline_ref()), 8);
    let feed = reader.feeder();
    let line = Step::waiting(reader.readline_ref());
    drop(line);
    feed.feed_data(b" still\nok\nx");
    assert_eq!(at_once(reader.readline_ref())?, b"ok\n");
    assert_eq!(reader.buffered(), b"x");
    Ok(())
}

#[test]
fn d16_a_discarded_line_may_be_the_last() -> io::Result<()> {
    let mut reader = with_limit(4, b"too long")?;
    reader.set_overlong_policy(OverlongPolicy::DiscardLine);
    assert_too_long(at_once(reader.readline()), 8);
    reader.feed_data(b" to the end");
    reader.feed_eof();
    assert!(at_once(reader.readline())?.is_empty());
    assert!(at_once(reader.readline_ref())?.is_empty());
    Ok(())
}

#[test]
fn d16_a_long_line_that_has_ended_is_dropped_alone() -> io::Result<()> {
    for policy in [OverlongPolicy::DropBuffer, OverlongPolicy::DiscardLine] {
        let mut reader = with_limit(4, b"too long\nok\n")?;
        reader.set_overlong_policy(policy);
        assert_too_long(at_once(reader.readline()), 9);
        assert_eq!(at_once(reader.readline())?, b"ok\n");
    }
    Ok(())
}

#[test]
fn d16_a_kept_line_is_met_again() -> io::Result<()> {
    let mut reader = with_limit(4, b"too long")?;
    reader.set_overlong_policy(OverlongPolicy::Keep);
    assert_too_long(at_once(reader.readline()), 0);
    assert_too_long(at_once(reader.readline_ref()), 0);
    reader.feed_data(b"\nok\n");
    assert_too_long(at_once(reader.readline()), 0);
    assert_eq!(at_once(reader.readline_limited(8))?, b"too long\n");
    assert_eq!(at_once(reader.readline())?, b"ok\n");
    Ok(())
}

#[test]
fn asyncio_takes_the_rest_of_a_long_line_for_a_line() -> io::Result<()> {
    let mut reader = with_limit(4, b"too long")?;
    assert_too_long(at_once(reader.readline()), 8);
    reader.feed_data(b" x\n");
    assert_eq!(at_once(reader.readline())?, b" x\n");
    Ok(())
}

// ------------------------------------------------------------- reads that pull

/// Counts what goes through a stream's protocol.
struct Spy {
    inner: StreamReaderProtocol,
    fed: Rc<Cell<usize>>,
}

impl Protocol for Spy {
    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        self.fed.set(self.fed.get() + data.len());
        self.inner.data_received(transport, data);
    }

    fn eof_received(&mut self, transport: &Rc<dyn Transport>) -> AfterEof {
        self.inner.eof_received(transport)
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        self.inner.connection_lost(error);
    }

    fn get_buffer(&mut self, transport: &Rc<dyn Transport>, hint: usize) -> ReadInto {
        self.inner.get_buffer(transport, hint)
    }
}

/// A stream on a real socket, whose peer is in the test's hands.
struct Spied<P> {
    event_loop: EventLoop,
    reader: StreamReader,
    writer: StreamWriter,
    peer: P,
    fed: Rc<Cell<usize>>,
}

impl Spied<UnixStream> {
    fn new() -> io::Result<Spied<UnixStream>> {
        let (ours, peer) = UnixStream::pair()?;
        Spied::on(ours, peer)
    }

    /// Has many bytes read, so that as many are expected next.
    fn reads_many(&mut self) -> io::Result<()> {
        let many = self.reader.readexactly(MANY.len());
        exchange(&self.event_loop, &mut self.peer, &MANY, many)??;
        Ok(())
    }
}

impl Spied<TcpStream> {
    fn over_tcp() -> io::Result<Spied<TcpStream>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let ours = TcpStream::connect(listener.local_addr()?)?;
        let (peer, _) = listener.accept()?;
        Spied::on(ours, peer)
    }
}

impl<P> Spied<P> {
    fn on(ours: impl Into<OwnedFd>, peer: P) -> io::Result<Spied<P>> {
        let event_loop = EventLoop::new()?;
        let (reader, fed) = (StreamReader::new(), Rc::default());
        let spy = Spy {
            inner: StreamReaderProtocol::new(&reader),
            fed: Rc::clone(&fed),
        };
        let connecting = event_loop.create_connection_sock(|| spy, ours);
        let transport = event_loop.run_until_complete(connecting)??;
        let writer = StreamWriter::new(transport, &reader);
        Ok(Spied {
            event_loop,
            reader,
            writer,
            peer,
            fed,
        })
    }
}

/// Runs a turn that something must come in: if nothing does for so long, nothing will.
fn turn(event_loop: &EventLoop) -> io::Result<()> {
    const LONG: Duration = Duration::from_secs(20);
    let began = event_loop.time();
    event_loop.turn(Some(LONG))?;
    match event_loop.time() - began < LONG {
        true => Ok(()),
        false => Err(io::Error::other("a turn waited in vain")),
    }
}

/// Runs the loop until a read was woken.
fn turn_until_woken<T>(event_loop: &EventLoop, read: &Step<'_, T>) -> io::Result<()> {
    while !read.is_woken() {
        turn(event_loop)?;
    }
    Ok(())
}

/// Runs the loop until a read returns.
fn finish<T>(event_loop: &EventLoop, read: &mut Step<'_, T>) -> io::Result<T> {
    loop {
        match read.poll() {
            Poll::Ready(result) => return Ok(result),
            // A turn at least, as for a task that is woken.
            Poll::Pending if read.is_woken() => {
                event_loop.turn(Some(Duration::ZERO))?;
            }
            Poll::Pending => turn_until_woken(event_loop, read)?,
        }
    }
}

#[test]
fn read_into_pulls_past_the_protocol() -> io::Result<()> {
    let mut s = Spied::new()?;
    let mut buffer = [0; 8];
    let mut read = Step::waiting(s.reader.read_into(&mut buffer));
    s.peer.write_all(b"abc")?;
    turn_until_woken(&s.event_loop, &read)?;
    assert_eq!(read.done()?, 3);
    drop(read);
    assert_eq!(&buffer[..3], b"abc");
    assert_eq!(s.fed.get(), 0);
    s.writer.close();
    Ok(())
}

#[test]
fn read_into_takes_buffered_bytes_first() -> io::Result<()> {
    let mut s = Spied::new()?;
    s.peer.write_all(b"abc")?;
    while s.fed.get() < 3 {
        turn(&s.event_loop)?;
    }
    s.peer.write_all(b"def")?;
    let mut buffer = [0; 8];
    assert_eq!(at_once(s.reader.read_into(&mut buffer[..2]))?, 2);
    assert_eq!(at_once(s.reader.read_into(&mut buffer[2..]))?, 1);
    assert_eq!(&buffer[..3], b"abc");
    let mut rest = Step::of(s.reader.readexactly_into(&mut buffer[..3]));
    finish(&s.event_loop, &mut rest)??;
    drop(rest);
    assert_eq!(&buffer[..3], b"def");
    Ok(())
}

#[test]
fn r6_a_pull_that_just_fills_a_small_buffer_leaves_no_read_behind() -> io::Result<()> {
    let mut s = Spied::new()?;
    let mut buffer = [0; 3];
    for _ in 0..2 {
        let mut read = Step::waiting(s.reader.read_into(&mut buffer));
        s.peer.write_all(b"abc")?;
        turn_until_woken(&s.event_loop, &read)?;
        assert_eq!(read.done()?, 3);
    }
    let next = Step::waiting(s.reader.read_into(&mut buffer));
    s.event_loop.turn(Some(Duration::ZERO))?;
    // The poll(2) back end has to be shown a `WouldBlock`, in whichever turn that is.
    assert!(!next.is_woken() || cfg!(mio_unsupported_force_poll_poll));
    Ok(())
}

#[test]
fn what_a_pull_meets_beyond_a_small_buffer_comes_next() -> io::Result<()> {
    let mut s = Spied::new()?;
    let sent: Vec<u8> = (0..=255).collect();
    let mut came = Vec::new();
    let mut buffer = [0; 100];
    let mut read = Step::waiting(s.reader.read_into(&mut buffer));
    s.peer.write_all(&sent)?;
    finish(&s.event_loop, &mut read)??;
    drop(read);
    came.extend(buffer);
    let mut word = [0; 10];
    at_once(s.reader.readexactly_into(&mut word))?;
    came.extend(word);
    let mut rest = Step::of(s.reader.readexactly(256 - 110));
    came.extend(finish(&s.event_loop, &mut rest)??);
    assert_eq!(came, sent);
    Ok(())
}

#[test]
fn a_large_body_bypasses_the_buffer() -> io::Result<()> {
    // Over TCP: that brings more at a time than R9 allows for one step.
    const LEN: usize = 16 << 20;
    let mut s = Spied::over_tcp()?;
    let mut body = vec![0; LEN];
    let mut read = Step::waiting(s.reader.readexactly_into(&mut body));
    let sent: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    let expected = sent.clone();
    let sender = std::thread::spawn(move || s.peer.write_all(&sent));
    finish(&s.event_loop, &mut read)??;
    drop(read);
    sender.join().expect("the sender does not panic")?;
    assert!(body == expected, "the bytes came in another order");
    assert_eq!(s.fed.get(), 0, "bytes went through the buffer");
    Ok(())
}

#[test]
fn s4_a_body_half_read_is_put_back() -> io::Result<()> {
    let mut s = Spied::new()?;
    let mut body = [0; 10];
    let mut read = Step::waiting(s.reader.readexactly_into(&mut body));
    s.peer.write_all(b"abcde")?;
    turn_until_woken(&s.event_loop, &read)?;
    read.still_waits();
    drop(read);
    assert_eq!(&body[..5], b"abcde", "it was in the caller's memory");
    assert_eq!(s.reader.buffered(), b"abcde");
    s.peer.write_all(b"fg")?;
    let mut read = Step::waiting(s.reader.readexactly(7));
    turn_until_woken(&s.event_loop, &read)?;
    assert_eq!(read.done()?, b"abcdefg");
    Ok(())
}

#[test]
fn bytes_left_to_a_pull_that_was_dropped_come_through_the_protocol() -> io::Result<()> {
    let mut s = Spied::new()?;
    let mut buffer = [0; 8];
    let read = Step::waiting(s.reader.read_into(&mut buffer));
    s.peer.write_all(b"abc")?;
    turn_until_woken(&s.event_loop, &read)?;
    drop(read);
    while s.fed.get() < 3 {
        turn(&s.event_loop)?;
    }
    assert_eq!(s.reader.buffered(), b"abc");
    Ok(())
}

#[test]
fn bytes_left_to_a_read_come_behind_what_was_fed_meanwhile() -> io::Result<()> {
    let mut s = Spied::new()?;
    let feed = s.reader.feeder();
    let mut buffer = [0; 8];
    for _ in 0..2 {
        let mut read = Step::waiting(s.reader.read_into(&mut buffer));
        s.peer.write_all(b"left")?;
        turn_until_woken(&s.event_loop, &read)?;
        feed.feed_data(b"fed");
        assert_eq!(read.done()?, 3);
        drop(read);
        assert_eq!(&buffer[..3], b"fed");
        let mut next = Step::waiting(s.reader.readexactly(4));
        assert_eq!(finish(&s.event_loop, &mut next)??, b"left");
    }
    Ok(())
}

#[test]
fn a_pull_meets_the_end_of_the_stream() -> io::Result<()> {
    let mut s = Spied::new()?;
    let mut body = [0; 10];
    let mut read = Step::waiting(s.reader.readexactly_into(&mut body));
    s.peer.write_all(b"abcde")?;
    turn_until_woken(&s.event_loop, &read)?;
    read.still_waits();
    s.peer.shutdown(std::net::Shutdown::Write)?;
    match finish(&s.event_loop, &mut read)? {
        Err(ReadError::Incomplete(short)) => {
            assert_eq!(short.partial, b"abcde");
            assert_eq!(short.expected, Some(10));
        }
        other => panic!("expected an incomplete read, got {other:?}"),
    }
    drop(read);
    assert!(s.reader.at_eof());
    assert_eq!(at_once(s.reader.read_into(&mut body))?, 0);
    Ok(())
}

#[test]
fn a_pull_meets_the_end_that_a_try_read_has_seen() -> io::Result<()> {
    let mut s = Spied::new()?;
    let mut body = [0; 10];
    let mut read = Step::waiting(s.reader.readexactly_into(&mut body));
    s.peer.write_all(b"abcde")?;
    drop(s.peer);
    turn_until_woken(&s.event_loop, &read)?;
    // It takes the bytes, and may meet the end itself: the protocol must hear of it.
    let result = finish(&s.event_loop, &mut read)?;
    assert!(
        matches!(result, Err(ReadError::Incomplete(_))),
        "{result:?}"
    );
    drop(read);
    assert_eq!(s.reader.eof_kind(), Some(EofKind::Clean));
    Ok(())
}

#[test]
fn a_pull_resumes_a_reader_that_was_full() -> io::Result<()> {
    run(async {
        let ((mut reader, _writer), (_reader, peer)) = memory_stream_pair(64);
        reader.set_limit(4)?;
        peer.write(b"0123456789".repeat(5));
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(reader.buffered().len(), 50);
        peer.write(b"0123456789".repeat(5));
        let mut body = [0; 100];
        reader.readexactly_into(&mut body).await?;
        assert!(body.chunks(10).all(|ten| ten == b"0123456789"));
        Ok(())
    })
}

#[test]
fn a_transport_that_cannot_be_pulled_from_feeds_the_buffer() -> io::Result<()> {
    let transport = MockTransport::new();
    let mut reader = StreamReader::new();
    reader.set_transport(transport.clone());
    let feed = reader.feeder();
    let mut body = [0; 6];
    let mut read = Step::waiting(reader.readexactly_into(&mut body));
    feed.feed_data(b"abc");
    read.still_waits();
    feed.feed_data(b"defg");
    read.done()?;
    drop(read);
    assert_eq!(&body, b"abcdef");
    assert_eq!(reader.buffered(), b"g");
    assert_eq!(transport.pulls(), 0);
    Ok(())
}

// ------------------------------------------------------------- many bytes at once

/// Sends, and reads what was sent by one read, which was waiting.
fn exchange<'a, R>(
    event_loop: &EventLoop,
    peer: &mut UnixStream,
    sent: &[u8],
    read: R,
) -> io::Result<R::Output>
where
    R: Future + 'a,
{
    let mut read = Step::waiting(read);
    peer.write_all(sent)?;
    finish(event_loop, &mut read)
}

const MANY: [u8; 16 * 1024] = [b'm'; 16 * 1024];
const FEW: [u8; 100] = [b'f'; 100];

#[test]
fn a_read_that_waits_receives_itself() -> io::Result<()> {
    let mut s = Spied::new()?;
    let (event_loop, peer) = (&s.event_loop, &mut s.peer);
    for (sent, fed_in_all) in [
        (&MANY[..], 0), // nobody has expected them
        (&MANY[..], 0),
        (&FEW[..], 0),
        (&FEW[..], 0),
        (&MANY[..5_000], 0),
        (&MANY[..], 8_128), // the rest of what is more than was expected is fed
    ] {
        let got = exchange(event_loop, peer, sent, s.reader.readexactly(sent.len()))??;
        assert_eq!(got, sent);
        assert_eq!(s.fed.get(), fed_in_all);
    }
    Ok(())
}

#[test]
fn all_kinds_of_reads_take_what_was_left_to_them() -> io::Result<()> {
    let mut s = Spied::new()?;
    let (event_loop, peer, reader) = (&s.event_loop, &mut s.peer, &mut s.reader);
    let line = [&MANY[..], b"\r\n"].concat();
    let mut memory = [0; 16 * 1024 + 2];
    exchange(event_loop, peer, &line, reader.readline())??;
    let fed = s.fed.get();

    let got = exchange(event_loop, peer, &line, reader.read(1 << 20))??;
    assert_eq!(got, line);
    assert_eq!(exchange(event_loop, peer, &line, reader.readline())??, line);
    assert_eq!(
        exchange(event_loop, peer, &line, reader.readuntil("\r\n"))??,
        line
    );
    assert_eq!(
        exchange(event_loop, peer, &line, reader.readline_ref())??,
        line
    );
    assert_eq!(
        exchange(event_loop, peer, &line, reader.readuntil_ref("\r\n"))??,
        line
    );
    assert_eq!(
        exchange(event_loop, peer, &line, reader.peek(line.len()))??,
        line
    );
    reader.consume(line.len());
    assert_eq!(exchange(event_loop, peer, &line, reader.fill_buf())??, line);
    reader.consume(line.len());
    exchange(
        event_loop,
        peer,
        &line,
        reader.readexactly_into(&mut memory),
    )??;
    assert_eq!(&memory[..], line);
    // A part is read; what comes behind the rest is fed.
    assert_eq!(exchange(event_loop, peer, &line, reader.read(1))??, b"m");
    assert_eq!(s.fed.get(), fed);
    assert_eq!(
        exchange(event_loop, peer, b"!", reader.readuntil("!"))??.len(),
        line.len()
    );
    assert_eq!(s.fed.get(), fed + 1);
    Ok(())
}

#[test]
fn s4_many_bytes_that_were_left_to_a_dropped_read_come_through_the_protocol() -> io::Result<()> {
    let mut s = Spied::new()?;
    s.reads_many()?;
    for round in 1..3 {
        let read = Step::waiting(s.reader.readline());
        s.peer.write_all(&MANY)?;
        turn_until_woken(&s.event_loop, &read)?;
        drop(read);
        while s.fed.get() < round * MANY.len() {
            turn(&s.event_loop)?;
        }
        assert_eq!(s.reader.take_buffered(), MANY);
    }
    Ok(())
}

#[test]
fn the_end_behind_many_bytes_is_met() -> io::Result<()> {
    for gone_at_once in [true, false] {
        let mut s = Spied::new()?;
        s.reads_many()?;
        let mut read = Step::waiting(s.reader.read_all());
        s.peer.write_all(&MANY)?;
        if !gone_at_once {
            turn_until_woken(&s.event_loop, &read)?;
            read.still_waits();
        }
        drop(s.peer);
        assert_eq!(finish(&s.event_loop, &mut read)??, MANY);
        drop(read);
        assert_eq!(s.reader.eof_kind(), Some(EofKind::Clean));
    }
    Ok(())
}

#[test]
fn many_bytes_beyond_the_limit_pause_the_transport_wherever_they_were_received() -> io::Result<()> {
    let mut s = Spied::new()?;
    s.reader.set_limit(1000)?;
    s.reads_many()?;
    let fed = s.fed.get();
    let lent = exchange(&s.event_loop, &mut s.peer, &MANY, s.reader.fill_buf())??.len();
    assert_eq!((lent, s.fed.get()), (MANY.len(), fed));
    assert!(!s.writer.transport().is_reading());
    s.reader.consume(MANY.len() - 1000);
    assert!(s.writer.transport().is_reading());
    Ok(())
}

#[test]
fn a_bulk_of_bytes_arrives_as_it_was_sent() -> io::Result<()> {
    const LEN: usize = 4 << 20;
    let s = Spied::over_tcp()?;
    let sent: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    let expected = sent.clone();
    let (mut peer, mut reader) = (s.peer, s.reader);
    let sender = std::thread::spawn(move || peer.write_all(&sent));
    let got = s.event_loop.run_until_complete(async move {
        let mut got = Vec::new();
        loop {
            let lent = reader.fill_buf().await?;
            if lent.is_empty() {
                return Ok::<_, ReadError>(got);
            }
            let n = lent.len();
            got.extend_from_slice(lent);
            reader.consume(n);
        }
    })??;
    sender.join().expect("the sender does not panic")?;
    assert!(got == expected, "the bytes came in another order");
    Ok(())
}

#[test]
fn r9_a_bulk_of_bytes_leaves_the_others_their_turns() -> io::Result<()> {
    const LEN: usize = 32 << 20;
    let s = Spied::over_tcp()?;
    let (mut peer, mut reader) = (s.peer, s.reader);
    let sender = std::thread::spawn(move || peer.write_all(&vec![b'b'; LEN]));
    let in_one_turn = s.event_loop.run_until_complete(async move {
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let counting = create_task(async move {
            loop {
                yield_now().await;
                counted.set(counted.get() + 1);
            }
        });
        let (mut turn, mut in_this_turn, mut most) = (0, 0, 0);
        loop {
            let n = reader.fill_buf().await?.len();
            if n == 0 {
                counting.cancel();
                return Ok::<_, ReadError>(most);
            }
            reader.consume(n);
            if turns.get() != turn {
                (turn, in_this_turn) = (turns.get(), 0);
            }
            in_this_turn += n;
            most = most.max(in_this_turn);
        }
    })??;
    sender.join().expect("the sender does not panic")?;
    assert!(in_one_turn <= 512 * 1024, "{in_one_turn} bytes in a turn");
    Ok(())
}

// ------------------------------------------------------------- dropped at any poll

/// A connection whose bytes come in chunks of random sizes, and are fed or pulled.
struct Wire {
    transport: Rc<MockTransport>,
    handle: Rc<dyn Transport>,
    protocol: StreamReaderProtocol,
    bytes: Vec<u8>,
    sent: usize,
    ended: bool,
    /// The longest chunk.
    longest: usize,
    chance: XorShift,
}

impl Wire {
    fn to(reader: &StreamReader, bytes: Vec<u8>, longest: usize, seed: u64) -> Wire {
        let transport = MockTransport::new();
        reader.set_transport(transport.clone());
        Wire {
            handle: transport.clone(),
            transport,
            protocol: StreamReaderProtocol::new(reader),
            bytes,
            sent: 0,
            ended: false,
            longest,
            chance: XorShift::seeded(seed ^ 0x5eed),
        }
    }

    /// Does what a turn of the loop does: sends a chunk, perhaps, and tells the protocol.
    fn turn(&mut self) {
        let left = self.bytes.len() - self.sent;
        let n = left.min(1 + self.chance.below(self.longest));
        self.transport
            .fill_kernel(&self.bytes[self.sent..self.sent + n]);
        self.sent += n;
        if self.transport.is_paused() {
            return;
        }
        if !self.transport.kernel_is_empty() {
            if let ReadInto::Shared = self.protocol.get_buffer(&self.handle, 1) {
                let chunk = self.transport.take_from_kernel();
                self.protocol.data_received(&self.handle, &chunk);
            }
        } else if left == 0 && !self.ended {
            self.ended = true;
            self.protocol.eof_received(&self.handle);
        }
    }
}

/// Makes a read of a random kind; what it lends is looked at after more has come.
async fn read_somehow(
    reader: &mut StreamReader,
    wire: &RefCell<Wire>,
    chance: &mut XorShift,
) -> Result<Vec<u8>, ReadError> {
    let n = 1 + chance.below(40);
    let meanwhile = || wire.borrow_mut().turn();
    match chance.below(14) {
        0 => reader.read(n).await,
        1 => reader.readexactly(n).await,
        2 => reader.readline().await,
        3 => reader.readuntil("\r\n").await,
        4 => reader.readuntil(["\n", "ab\r", "ba"]).await,
        5 => {
            let mut buffer = vec![0; n];
            let read = reader.read_into(&mut buffer).await?;
            buffer.truncate(read);
            Ok(buffer)
        }
        6 => {
            let mut buffer = vec![0; n];
            reader.readexactly_into(&mut buffer).await?;
            Ok(buffer)
        }
        7 => {
            let line = reader.readline_ref().await?;
            meanwhile();
            Ok(line.to_vec())
        }
        8 => {
            let record = reader.readuntil_ref("\r\n").await?;
            meanwhile();
            Ok(record.to_vec())
        }
        9 => {
            let lent = reader.fill_buf().await?;
            meanwhile();
            let taken = lent[..chance.below(lent.len() + 1)].to_vec();
            reader.consume(taken.len());
            Ok(taken)
        }
        10 => {
            let lent = reader.peek(n).await?;
            meanwhile();
            let taken = lent.to_vec();
            reader.consume(taken.len());
            Ok(taken)
        }
        11 => Ok(reader.take_buffered()),
        12 => {
            let seen = reader.buffered().to_vec();
            meanwhile();
            let taken = seen[..chance.below(seen.len() + 1)].to_vec();
            reader.consume(taken.len());
            Ok(taken)
        }
        _ => reader.read_all().await,
    }
}

/// Reads a stream by reads of all kinds, of which many are dropped at some poll, and
/// returns what they gave.
fn read_with_interruptions(reader: &mut StreamReader, wire: &RefCell<Wire>, seed: u64) -> Vec<u8> {
    // More turns than any of these streams can need: then something hangs.
    const MAX_TURNS: usize = 100_000;
    let mut chance = XorShift::seeded(seed);
    let mut got = Vec::new();
    let mut turns = 0;
    while !reader.at_eof() {
        let mut dice = XorShift::seeded(seed ^ turns as u64);
        let mut read = Step::of(read_somehow(reader, wire, &mut dice));
        let outcome = loop {
            if chance.one_in(3) {
                break None;
            }
            if let Poll::Ready(outcome) = read.poll() {
                break Some(outcome);
            }
            wire.borrow_mut().turn();
            turns += 1;
        };
        drop(read);
        match outcome {
            Some(Ok(bytes)) => got.extend(bytes),
            Some(Err(ReadError::Incomplete(short))) => got.extend(short.partial),
            Some(Err(ReadError::LimitOverrun(_) | ReadError::LineTooLong { dropped: 0, .. })) => {}
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
        turns += 1;
        assert!(turns < MAX_TURNS, "seed {seed}: the stream does not end");
    }
    got
}

#[test]
fn s4_reads_dropped_at_any_poll_lose_and_double_nothing() -> io::Result<()> {
    for seed in 1..=1000 {
        let mut chance = XorShift::seeded(seed);
        let bytes: Vec<u8> = (0..200 + chance.below(400))
            .map(|_| b"aab\r\r\n\nc"[chance.below(8)])
            .collect();
        let mut reader = StreamReader::with_limit(1 + chance.below(60))?;
        reader.set_overlong_policy(OverlongPolicy::Keep);
        let wire = RefCell::new(Wire::to(&reader, bytes.clone(), 12, seed));
        let got = read_with_interruptions(&mut reader, &wire, seed);
        assert_eq!(
            got.escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "seed {seed}"
        );
    }
    Ok(())
}

#[test]
fn s4_reads_of_many_bytes_dropped_at_any_poll_lose_and_double_nothing() -> io::Result<()> {
    for seed in 1..=100 {
        let mut chance = XorShift::seeded(seed);
        let bytes: Vec<u8> = (0..100_000 + chance.below(50_000))
            .map(|_| {
                if chance.one_in(50) {
                    b'\n'
                } else {
                    b'a' + chance.below(26) as u8
                }
            })
            .collect();
        let mut reader = StreamReader::with_limit(1000 + chance.below(5000))?;
        reader.set_overlong_policy(OverlongPolicy::Keep);
        let wire = RefCell::new(Wire::to(&reader, bytes.clone(), 20_000, seed));
        let got = read_with_interruptions(&mut reader, &wire, seed);
        assert!(got == bytes, "seed {seed}");
    }
    Ok(())
}

// ------------------------------------------------------------- where the two meet

#[test]
fn d16_a_read_of_another_kind_takes_the_rest_of_a_long_line_and_no_more_is_dropped()
-> io::Result<()> {
    for read_the_tail in [
        (|reader: &mut StreamReader| at_once(reader.readuntil("\n"))) as fn(&mut StreamReader) -> _,
        |reader| at_once(reader.readexactly(5)),
        |reader| at_once(reader.readuntil_ref("\n")).map(<[u8]>::to_vec),
        |reader| {
            let mut tail = vec![0; 5];
            at_once(reader.readexactly_into(&mut tail)).map(|()| tail)
        },
        |reader| {
            at_once(reader.peek(5))?;
            let tail = reader.buffered()[..5].to_vec();
            reader.consume(5);
            Ok(tail)
        },
    ] {
        let mut reader = with_limit(4, b"much too long")?;
        reader.set_overlong_policy(OverlongPolicy::DiscardLine);
        assert_too_long(at_once(reader.readline()), 13);
        reader.feed_data(b"tail\nGET\n");
        assert_eq!(read_the_tail(&mut reader)?, b"tail\n");
        assert_eq!(at_once(reader.readline())?, b"GET\n");
    }
    Ok(())
}

#[test]
fn d16_another_policy_ends_the_discarding_of_a_long_line() -> io::Result<()> {
    let mut reader = with_limit(4, b"much too long")?;
    reader.set_overlong_policy(OverlongPolicy::DiscardLine);
    assert_too_long(at_once(reader.readline()), 13);
    reader.set_overlong_policy(OverlongPolicy::Keep);
    reader.feed_data(b"end\nGET\n");
    assert_eq!(at_once(reader.readline())?, b"end\n");
    assert_eq!(at_once(reader.readline())?, b"GET\n");
    Ok(())
}

#[test]
fn d14_data_first_serves_what_lies_before_the_end_though_an_error_followed_it() -> io::Result<()> {
    let mut reader = fed(b"last words");
    reader.set_error_policy(ErrorPolicy::DataFirst);
    reader.feed_eof();
    reader.set_exception(reset());
    assert_eq!(at_once(reader.readline())?, b"last words");
    assert_eq!(at_once(reader.read_all())?, b"");
    assert!(reader.exception().is_some());
    Ok(())
}

#[test]
fn a_protocol_made_by_hand_resumes_without_a_writer() -> io::Result<()> {
    run(async {
        let (ours, theirs) = UnixStream::pair()?;
        let feeding = std::thread::spawn(move || (&theirs).write_all(&vec![7; 1 << 20]));
        let mut reader = StreamReader::with_limit(1000)?;
        let protocol = StreamReaderProtocol::new(&reader);
        let _transport = millstream::get_running_loop()?
            .create_connection_sock(|| protocol, ours)
            .await?;
        // Far more than twice the limit: it was paused before this read waits.
        while reader.buffered().len() <= 2000 {
            yield_now().await;
        }
        assert_eq!(reader.readexactly(1 << 20).await?.len(), 1 << 20);
        feeding.join().expect("the thread does not panic")
    })
}

#[test]
fn d18_dropping_a_reader_in_the_turn_it_was_made_leaves_the_writer_alone() -> io::Result<()> {
    run(async {
        let ((mut reader, _writer), (unused, writer)) = memory_stream_pair(64);
        drop(unused);
        writer.write("hi\n");
        assert_eq!(reader.readline().await?, b"hi\n");
        writer.drain().await
    })
}
