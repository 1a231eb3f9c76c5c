//! The reader's vectors: one table, read in every way that there is.
//!
//! ```text
//!   limit, what is fed, call ──► result, what is left, pauses and resumes
//! ```
//!
//! A row is written in its own small notation: `|` stands between chunks that come one
//! turn apart, after the read has begun; `^` is the end of the stream, `!` an error. `P`
//! and `R` are what the transport was told, in order.

mod stream_support;

use std::fmt;

use millstream::{ReadError, StreamFeed, StreamReader};

use stream_support::{MockTransport, Step, reset};

struct Vector {
    limit: usize,
    fed: &'static str,
    call: Call,
    gives: Gives,
    left: &'static str,
    told: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    ReadLine,
    ReadUntil(&'static [&'static str]),
    Read(usize),
    ReadAll,
    ReadExactly(usize),
}

#[derive(Debug, PartialEq, Eq)]
enum Gives {
    Bytes(&'static str),
    Pending,
    /// From `readline`.
    TooLong(Message),
    /// From `readuntil`, with `consumed`.
    Limit(Message, usize),
    Incomplete(&'static str, Option<usize>),
    TheException,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Found,
    NotFound,
}

use Call::{Read, ReadAll, ReadExactly, ReadLine, ReadUntil};
use Gives::{Bytes, Incomplete, Limit, Pending, TheException, TooLong};
use Message::{Found, NotFound};

const CRLF: &[&str] = &["\r\n"];
const TEN_BYTES: &[&str] = &["0123456789"];

#[rustfmt::skip]
const VECTORS: &[Vector] = &[
    row(4, "abcd\nxx", ReadLine, Bytes("abcd\n"), "xx", ""),
    row(4, "abcde\nxx", ReadLine, TooLong(Found), "xx", ""),
    row(4, "abcde", ReadLine, TooLong(NotFound), "", ""),
    row(4, "abcd^", ReadLine, Bytes("abcd"), "", ""),
    row(4, "abcde^", ReadLine, TooLong(NotFound), "", ""),
    row(4, "|abcde|f\ng\n", ReadLine, TooLong(NotFound), "f\ng\n", ""),
    row(16, "|ab|c\nd", ReadLine, Bytes("abc\n"), "d", ""),
    row(16, "^", ReadLine, Bytes(""), "", ""),
    row(4, "abcd\r\n", ReadUntil(CRLF), Bytes("abcd\r\n"), "", ""),
    row(4, "abcd\r", ReadUntil(CRLF), Pending, "abcd\r", ""),
    row(4, "abcde\r", ReadUntil(CRLF), Limit(NotFound, 5), "abcde\r", ""),
    row(4, "abcde\r\n", ReadUntil(CRLF), Limit(Found, 5), "abcde\r\n", ""),
    row(4, "aaaaaaaaaaaaa", ReadUntil(TEN_BYTES), Pending, "aaaaaaaaaaaaa", "PR"),
    row(4, "aaaaaaaaaaaaaa", ReadUntil(TEN_BYTES), Limit(NotFound, 5), "aaaaaaaaaaaaaa", "P"),
    row(16, "abSEPARATO^", ReadUntil(&["SEPARATOR"]), Incomplete("abSEPARATO", None), "", ""),
    row(16, "abSEP^", ReadUntil(&["SEP"]), Bytes("abSEP"), "", ""),
    row(16, "|aa|aab", ReadUntil(&["aaab"]), Bytes("aaaab"), "", ""),
    row(16, "ab\r\ncd", ReadUntil(&["\n", "\r\n"]), Bytes("ab\r\n"), "cd", ""),
    row(16, "xabcabz", ReadUntil(&["abcab", "ca"]), Bytes("xabca"), "bz", ""),
    // Both end together, and the shorter one counts: what comes before it has 3 bytes.
    row(2, "ab\r\n", ReadUntil(&["\r\n", "\n"]), Limit(Found, 3), "ab\r\n", ""),
    row(3, "ab\r\n", ReadUntil(&["\r\n", "\n"]), Bytes("ab\r\n"), "", ""),
    row(16, "ab", Read(0), Bytes(""), "ab", ""),
    row(16, "ab", Read(1), Bytes("a"), "b", ""),
    row(16, "ab", Read(3), Bytes("ab"), "", ""),
    row(2, "abcdefg^", ReadAll, Bytes("abcdefg"), "", "PR"),
    row(16, "abc^", ReadExactly(5), Incomplete("abc", Some(5)), "", ""),
    row(2, "|abcdef|gh|ij", ReadExactly(9), Bytes("abcdefghi"), "j", "PRPRPR"),
    row(4, "aaaaaaaa", Read(1), Bytes("a"), "aaaaaaa", ""),
    row(4, "aaaaaaaaa", Read(1), Bytes("a"), "aaaaaaaa", "P"),
    row(4, "aaaaaaaaa", Read(4), Bytes("aaaa"), "aaaaa", "P"),
    row(4, "aaaaaaaaa", Read(5), Bytes("aaaaa"), "aaaa", "PR"),
    row(4, "abcdefghi\nz", ReadUntil(&["\n"]), Limit(Found, 9), "abcdefghi\nz", "P"),
    row(4, "abcdefghi\nz", ReadLine, TooLong(Found), "z", "PR"),
    row(4, "abcdefghijk", ReadLine, TooLong(NotFound), "", "PR"),
    row(16, "ab\n!", Read(1), TheException, "ab\n", ""),
    row(16, "ab\n!", Read(0), TheException, "ab\n", ""),
    row(16, "ab\n!", ReadAll, TheException, "ab\n", ""),
    row(16, "ab\n!", ReadExactly(1), TheException, "ab\n", ""),
    row(16, "ab\n!", ReadExactly(0), TheException, "ab\n", ""),
    row(16, "ab\n!", ReadLine, TheException, "ab\n", ""),
    row(16, "ab\n!", ReadUntil(CRLF), TheException, "ab\n", ""),
    row(16, "ab\n^!", ReadLine, TheException, "ab\n", ""),
];

const fn row(
    limit: usize,
    fed: &'static str,
    call: Call,
    gives: Gives,
    left: &'static str,
    told: &'static str,
) -> Vector {
    Vector {
        limit,
        fed,
        call,
        gives,
        left,
        told,
    }
}

#[test]
fn every_vector_gives_what_asyncio_gives() {
    for vector in VECTORS {
        let seen = read_by(vector, Way::Owned, fed_as_written);
        seen.assert_is(vector);
        assert_eq!(
            seen.told, vector.told,
            "what the transport was told: {seen}"
        );
    }
}

#[test]
fn the_borrowing_reads_give_the_same_and_pause_the_same() {
    for vector in VECTORS {
        for &way in Way::twins_of(vector.call) {
            let seen = read_by(vector, way, fed_as_written);
            seen.assert_is(vector);
            if way.takes_as_it_comes(vector.call) {
                continue;
            }
            assert_eq!(
                seen.told, vector.told,
                "what the transport was told: {seen}"
            );
        }
    }
}

#[test]
fn success_depends_on_the_bytes_alone_and_not_on_their_chunks() {
    for vector in VECTORS {
        if !matches!(vector.gives, Bytes(_)) {
            continue;
        }
        read_by(vector, Way::Owned, byte_by_byte_before).assert_is(vector);
        for &way in Way::twins_of(vector.call) {
            read_by(vector, way, byte_by_byte_before).assert_is(vector);
        }
        // A `read` that waits returns with the first byte, and so it should.
        if matches!(vector.call, Read(_)) {
            continue;
        }
        read_by(vector, Way::Owned, byte_by_byte_after).assert_is(vector);
        for &way in Way::twins_of(vector.call) {
            read_by(vector, way, byte_by_byte_after).assert_is(vector);
        }
    }
}

// ------------------------------------------------------------- ways to feed

/// What is fed before the read begins, and then, one turn apart.
struct Feeding {
    before: Vec<String>,
    after: Vec<String>,
}

fn fed_as_written(fed: &str) -> Feeding {
    let mut chunks = fed.split('|').map(str::to_owned);
    let before = chunks.next().into_iter().collect();
    Feeding {
        before,
        after: chunks.collect(),
    }
}

fn byte_by_byte_before(fed: &str) -> Feeding {
    Feeding {
        before: bytes_of(fed),
        after: Vec::new(),
    }
}

fn byte_by_byte_after(fed: &str) -> Feeding {
    Feeding {
        before: Vec::new(),
        after: bytes_of(fed),
    }
}

fn bytes_of(fed: &str) -> Vec<String> {
    let bytes = fed.chars().filter(|&c| c != '|');
    bytes.map(String::from).collect()
}

fn feed(feeder: &StreamFeed, chunk: &str) {
    let data = chunk.trim_end_matches(['^', '!']);
    feeder.feed_data(data.as_bytes());
    if chunk.contains('^') {
        feeder.feed_eof();
    }
    if chunk.contains('!') {
        feeder.set_exception(reset());
    }
}

// ------------------------------------------------------------- ways to read

/// By which methods a call is made.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// As asyncio has it.
    Owned,
    /// `readline_ref`, `readuntil_ref`.
    Lent,
    /// `fill_buf` and `consume`, as often as it takes.
    FillBuf,
    /// `peek` and `consume`.
    Peek,
    /// `read_into`, `readexactly_into`.
    Into,
    /// `readline_limited` and its like, with the limit that the reader has anyhow.
    Limited,
    /// `next_line`.
    NextLine,
}

impl Way {
    /// Says whether the bytes leave the reader before the call has all of them, so that
    /// there is less to pause for.
    fn takes_as_it_comes(self, call: Call) -> bool {
        matches!((call, self), (ReadExactly(_), Way::Into))
    }

    fn twins_of(call: Call) -> &'static [Way] {
        match call {
            ReadLine => &[Way::Lent, Way::Limited, Way::NextLine],
            ReadUntil(_) => &[Way::Lent, Way::Limited],
            Read(0) => &[Way::Into],
            Read(_) => &[Way::FillBuf, Way::Into],
            ReadAll => &[Way::FillBuf, Way::Limited],
            // There is no stream that ends before its first 0 bytes.
            ReadExactly(0) => &[Way::Into],
            ReadExactly(_) => &[Way::Peek, Way::Into],
        }
    }
}

async fn make(call: Call, way: Way, reader: &mut StreamReader) -> Result<Vec<u8>, ReadError> {
    let limit = reader.limit();
    match (call, way) {
        (ReadLine, Way::Owned) => reader.readline().await,
        (ReadLine, Way::Lent) => Ok(reader.readline_ref().await?.to_vec()),
        (ReadLine, Way::Limited) => reader.readline_limited(limit).await,
        (ReadLine, Way::NextLine) => Ok(reader.next_line().await?.unwrap_or_default()),
        (ReadUntil(separators), Way::Owned) => reader.readuntil(separators).await,
        (ReadUntil(separators), Way::Lent) => Ok(reader.readuntil_ref(separators).await?.to_vec()),
        (ReadUntil(separators), Way::Limited) => reader.readuntil_limited(separators, limit).await,
        (Read(n), Way::Owned) => reader.read(n).await,
        (Read(n), Way::FillBuf) => {
            let lent = reader.fill_buf().await?;
            let bytes = lent[..n.min(lent.len())].to_vec();
            reader.consume(bytes.len());
            Ok(bytes)
        }
        (Read(n), Way::Into) => {
            let mut bytes = vec![0; n];
            let read = reader.read_into(&mut bytes).await?;
            bytes.truncate(read);
            Ok(bytes)
        }
        (ReadAll, Way::Owned) => reader.read_all().await,
        (ReadAll, Way::Limited) => reader.read_all_limited(1000).await,
        (ReadAll, Way::FillBuf) => {
            let mut all = Vec::new();
            loop {
                let lent = reader.fill_buf().await?;
                let n = lent.len();
                if n == 0 {
                    return Ok(all);
                }
                all.extend_from_slice(lent);
                reader.consume(n);
            }
        }
        (ReadExactly(n), Way::Owned) => reader.readexactly(n).await,
        (ReadExactly(n), Way::Into) => {
            let mut bytes = vec![0; n];
            reader.readexactly_into(&mut bytes).await?;
            Ok(bytes)
        }
        (ReadExactly(n), Way::Peek) => {
            let bytes = reader.peek(n).await?.to_vec();
            reader.consume(bytes.len());
            if bytes.len() < n {
                let expected = Some(n);
                let partial = bytes;
                let short = millstream::IncompleteReadError { partial, expected };
                return Err(ReadError::Incomplete(short));
            }
            Ok(bytes)
        }
        (call, way) => unreachable!("{call:?} is not made by {way:?}"),
    }
}

/// What came of a vector.
struct Seen {
    /// Which vector, fed how and read how.
    what: String,
    result: Option<Result<Vec<u8>, ReadError>>,
    left: Vec<u8>,
    told: String,
}

fn read_by(vector: &Vector, way: Way, feeding: fn(&str) -> Feeding) -> Seen {
    let Vector {
        limit, fed, call, ..
    } = *vector;
    let transport = MockTransport::new();
    let mut reader = StreamReader::with_limit(limit).expect("no vector has a limit of zero");
    reader.set_transport(transport.clone());
    let feeder = reader.feeder();
    let Feeding { before, after } = feeding(fed);
    let what = format!("limit {limit}, {before:?} then {after:?}, {call:?} by {way:?}");

    for chunk in before {
        feed(&feeder, &chunk);
    }
    let mut result = None;
    {
        let mut read = Step::of(make(call, way, &mut reader));
        let mut step = |result: &mut Option<_>| {
            if result.is_none() {
                *result = match read.poll() {
                    std::task::Poll::Ready(value) => Some(value),
                    std::task::Poll::Pending => None,
                };
            }
        };
        step(&mut result);
        for chunk in after {
            feed(&feeder, &chunk);
            step(&mut result);
        }
    }
    let told = transport.calls();
    let left = reader.take_buffered();
    Seen {
        what,
        result,
        left,
        told,
    }
}

impl Seen {
    #[track_caller]
    fn assert_is(&self, vector: &Vector) {
        let as_expected = match (&self.result, &vector.gives) {
            (None, Pending) => true,
            (Some(Ok(bytes)), Bytes(expected)) => bytes == expected.as_bytes(),
            (Some(Err(error)), expected) => is_error(error, expected),
            _ => false,
        };
        assert!(as_expected, "expected {:?}: {self}", vector.gives);
        assert_eq!(self.left, vector.left.as_bytes(), "what is left: {self}");
    }
}

fn is_error(error: &ReadError, expected: &Gives) -> bool {
    match (error, expected) {
        (ReadError::LineTooLong { message, .. }, TooLong(expected)) => *message == text(*expected),
        (ReadError::LimitOverrun(overrun), Limit(expected, consumed)) => {
            overrun.message == text(*expected) && overrun.consumed == *consumed
        }
        (ReadError::Incomplete(short), Incomplete(partial, expected)) => {
            short.partial == partial.as_bytes() && short.expected == *expected
        }
        (ReadError::Connection(error), TheException) => error.to_string() == "E",
        _ => false,
    }
}

fn text(message: Message) -> &'static str {
    match message {
        Found => "Separator is found, but chunk is longer than limit",
        NotFound => "Separator is not found, and chunk exceed the limit",
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.left.escape_ascii();
        write!(f, "{}: {:?}, left {left}", self.what, self.result)
    }
}
