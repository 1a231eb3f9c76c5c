//! Lines and other pieces, out of memory.
//!
//! Read from what is there already: millstream's reader was fed before, Tokio reads from a
//! slice, which is the fastest reader it has, or through its `BufReader`. The same bytes
//! over and over, so that they lie in the processor's cache on both sides.

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use ::millstream::StreamReader;
use memchr::memmem;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, simplex};

use crate::loops::{current_thread, millstream};
use crate::{Part, timed};

/// A line, with its newline.
const LINE: &[u8; 32] = b"the mill turns, and turns again\n";

/// What separates the pieces that have no newline.
const SEPARATOR: &[u8; 16] = b"\r\n--boundary--\r\n";

/// Bytes of a piece, with its separator.
const PIECE: usize = 1024;

/// Bytes that are there at a time.
const THERE: usize = 64 * 1024;

/// Bytes that are fed and read at a time.
const CHUNK: usize = 4096;

pub(crate) fn parts() -> Vec<Part> {
    let parts = vec![
        timed(
            "lines",
            "readline_ref, 32-byte lines",
            LINES * 100,
            &[
                ("millstream", readline_ref),
                ("tokio read_until, slice", read_until_slice),
                ("tokio read_until, BufReader", read_until_buffered),
            ],
        ),
        timed(
            "lines",
            "readline, 32-byte lines",
            LINES * 100,
            &[
                ("millstream", readline),
                ("tokio read_until, fresh Vec", read_until_fresh),
                ("tokio read_until, one Vec", read_until_slice),
            ],
        ),
        timed(
            "lines",
            "readuntil_ref, separator of 16, 1 KiB",
            PIECES * 100,
            &[
                ("millstream", readuntil_ref),
                ("tokio read_until, ends_with", read_until_ends_with),
                ("tokio fill_buf, memmem", fill_buf_memmem),
            ],
        ),
        timed(
            "lines",
            "readuntil, separator of 16, 1 KiB",
            PIECES * 100,
            &[
                ("millstream", readuntil),
                ("tokio fill_buf, memmem, to_vec", fill_buf_memmem_fresh),
            ],
        ),
        timed(
            "lines",
            "feed and read 4 KiB",
            20_000,
            &[
                ("millstream feed_data, read_into", feed_and_read),
                ("tokio simplex", simplex_write_and_read),
            ],
        ),
    ];
    let patient = |part: Part| part.with_patience(MILLISECONDS);
    parts.into_iter().map(patient).collect()
}

/// The patience for what takes milliseconds each time.
const MILLISECONDS: f64 = 4.0;

/// Lines and pieces that are there at a time.
const LINES: u64 = (THERE / LINE.len()) as u64;
const PIECES: u64 = (THERE / PIECE) as u64;

fn lines() -> Vec<u8> {
    LINE.repeat(LINES as usize)
}

fn pieces() -> Vec<u8> {
    let mut piece = vec![b'x'; PIECE - SEPARATOR.len()];
    // So that a separator's first byte alone tells little.
    piece
        .chunks_mut(64)
        .for_each(|chunk| chunk[0] = SEPARATOR[0]);
    piece.extend(SEPARATOR);
    piece.repeat(PIECES as usize)
}

/// Reads all that is there, over and over, until so many were read.
macro_rules! over_and_over {
    ($name:ident, $loop:ident, $bytes:ident, |$there:ident| $reader:expr, |$reads:ident| $read:block) => {
        fn $name(n: u64) -> io::Result<Duration> {
            $loop(async move {
                let $there = $bytes();
                let mut took = Duration::ZERO;
                let mut count = 0;
                while count < n {
                    let mut $reads = $reader;
                    let began = Instant::now();
                    count += $read;
                    took += began.elapsed();
                }
                io::Result::Ok(took)
            })?
        }
    };
}

fn fed(bytes: &[u8]) -> StreamReader {
    let reader = StreamReader::new();
    reader.feed_data(bytes);
    reader.feed_eof();
    reader
}

over_and_over!(
    readline_ref,
    millstream,
    lines,
    |there| fed(&there),
    |reader| {
        let mut count = 0;
        loop {
            let line = reader.readline_ref().await?;
            if black_box(line).is_empty() {
                break count;
            }
            count += 1;
        }
    }
);

over_and_over!(readline, millstream, lines, |there| fed(&there), |reader| {
    let mut count = 0;
    loop {
        let line = reader.readline().await?;
        if black_box(line).is_empty() {
            break count;
        }
        count += 1;
    }
});

over_and_over!(
    read_until_slice,
    current_thread,
    lines,
    |there| &there[..],
    |reader| {
        let (mut count, mut line) = (0, Vec::new());
        while reader.read_until(b'\n', &mut line).await? > 0 {
            black_box(&line).len();
            line.clear();
            count += 1;
        }
        count
    }
);

over_and_over!(
    read_until_buffered,
    current_thread,
    lines,
    |there| BufReader::new(&there[..]),
    |reader| {
        let (mut count, mut line) = (0, Vec::new());
        while reader.read_until(b'\n', &mut line).await? > 0 {
            black_box(&line).len();
            line.clear();
            count += 1;
        }
        count
    }
);

over_and_over!(
    read_until_fresh,
    current_thread,
    lines,
    |there| &there[..],
    |reader| {
        let mut count = 0;
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line).await? == 0 {
                break count;
            }
            black_box(line);
            count += 1;
        }
    }
);

over_and_over!(
    readuntil_ref,
    millstream,
    pieces,
    |there| fed(&there),
    |reader| {
        for _ in 0..PIECES {
            black_box(reader.readuntil_ref(SEPARATOR).await?);
        }
        PIECES
    }
);

over_and_over!(
    readuntil,
    millstream,
    pieces,
    |there| fed(&there),
    |reader| {
        for _ in 0..PIECES {
            black_box(reader.readuntil(SEPARATOR).await?);
        }
        PIECES
    }
);

over_and_over!(
    read_until_ends_with,
    current_thread,
    pieces,
    |there| &there[..],
    |reader| {
        let mut piece = Vec::new();
        for _ in 0..PIECES {
            piece.clear();
            let [.., last] = *SEPARATOR;
            while !piece.ends_with(SEPARATOR) {
                reader.read_until(last, &mut piece).await?;
            }
            black_box(&piece);
        }
        PIECES
    }
);

over_and_over!(
    fill_buf_memmem,
    current_thread,
    pieces,
    |there| &there[..],
    |reader| {
        let finder = memmem::Finder::new(SEPARATOR);
        for _ in 0..PIECES {
            let there = reader.fill_buf().await?;
            let at = finder.find(there).ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = at + SEPARATOR.len();
            black_box(&there[..length]);
            reader.consume(length);
        }
        PIECES
    }
);

over_and_over!(
    fill_buf_memmem_fresh,
    current_thread,
    pieces,
    |there| &there[..],
    |reader| {
        let finder = memmem::Finder::new(SEPARATOR);
        for _ in 0..PIECES {
            let there = reader.fill_buf().await?;
            let at = finder.find(there).ok_or(io::ErrorKind::UnexpectedEof)?;
            let length = at + SEPARATOR.len();
            black_box(there[..length].to_vec());
            reader.consume(length);
        }
        PIECES
    }
);

fn feed_and_read(n: u64) -> io::Result<Duration> {
    millstream(async move {
        let mut reader = StreamReader::new();
        let feed = reader.feeder();
        let (chunk, mut buffer) = ([b'x'; CHUNK], [0; CHUNK]);
        let began = Instant::now();
        for _ in 0..n {
            feed.feed_data(black_box(&chunk));
            reader.readexactly_into(&mut buffer).await?;
            black_box(&buffer);
        }
        io::Result::Ok(began.elapsed())
    })?
}

fn simplex_write_and_read(n: u64) -> io::Result<Duration> {
    current_thread(async move {
        let (mut reader, mut writer) = simplex(THERE);
        let (chunk, mut buffer) = ([b'x'; CHUNK], [0; CHUNK]);
        let began = Instant::now();
        for _ in 0..n {
            writer.write_all(black_box(&chunk)).await?;
            reader.read_exact(&mut buffer).await?;
            black_box(&buffer);
        }
        io::Result::Ok(began.elapsed())
    })?
}
