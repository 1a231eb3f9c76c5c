//! The search: where the first separator ends, in linear time over all chunks.

use crate::buffer::ReadBuffer;
use crate::error::{LimitOverrunError, ReadError};

use super::find::{Finder, find_byte, finder};

/// What ends a record: one separator or several, of which the earliest end counts.
///
/// Implemented for bytes and strings, and for slices, arrays and vectors of them.
///
/// # asyncio
/// The argument of `readuntil`: bytes, or since 3.13 a tuple of bytes.
///
/// # Examples
/// ```
/// # use std::io;
/// # use millstream::{ReadError, StreamReader};
/// # async fn doc(reader: &mut StreamReader) -> Result<(), ReadError> {
/// reader.readuntil(b"\r\n").await?;
/// reader.readuntil("\r\n").await?;
/// reader.readuntil(["\r\n", "\n"]).await?;
/// # Ok(())
/// # }
/// ```
pub trait Separators {
    /// Returns how many separators there are.
    fn count(&self) -> usize;

    /// Returns the separator at `index`, which is less than [`count`](Self::count).
    fn separator(&self, index: usize) -> &[u8];
}

/// Implements [`Separators`] for types that are one separator.
macro_rules! one_separator {
    ($([$($generics:tt)*] $type:ty),+ $(,)?) => {$(
        impl<$($generics)*> Separators for $type {
            fn count(&self) -> usize {
                1
            }
            fn separator(&self, _index: usize) -> &[u8] {
                self.as_ref()
            }
        }
    )+};
}

one_separator!([] &[u8], [const N: usize] &[u8; N], [] &str, [] String, [] Vec<u8>, [] &Vec<u8>, [] &String);

/// Implements [`Separators`] for types that hold any number of separators.
macro_rules! many_separators {
    ($([$($generics:tt)*] $type:ty),+ $(,)?) => {$(
        impl<$($generics)*> Separators for $type {
            fn count(&self) -> usize {
                self.len()
            }
            fn separator(&self, index: usize) -> &[u8] {
                self[index].as_ref()
            }
        }
    )+};
}

many_separators!(
    [S: AsRef<[u8]>, const N: usize] [S; N],
    [] &[&[u8]],
    [] &[&str],
    [] &[Vec<u8>],
    [] Vec<Vec<u8>>,
    [] &Vec<Vec<u8>>,
);

/// What `readline` looks for.
pub(super) const NEWLINE: &&[u8; 1] = &b"\n";

pub(super) const NOT_FOUND: &str = "Separator is not found, and chunk exceed the limit";
pub(super) const FOUND_TOO_LATE: &str = "Separator is found, but chunk is longer than limit";

/// Which separators a scan was for: others must begin anew. One that was for nothing yet
/// may as well have been for newlines.
#[derive(Debug, Default)]
pub(super) enum ScannedFor {
    #[default]
    Newline,
    /// What is made of them once, and finds them often.
    Others(Box<[Finder]>),
}

impl ScannedFor {
    /// Says whether a scan for these separators can go on.
    pub(super) fn is_for(&self, separators: &impl Separators) -> bool {
        match self {
            ScannedFor::Newline => is_newline(separators),
            ScannedFor::Others(those) => {
                those.len() == separators.count()
                    && those
                        .iter()
                        .enumerate()
                        .all(|(i, finder)| finder.needle() == separators.separator(i))
            }
        }
    }

    pub(super) fn new(separators: &impl Separators) -> ScannedFor {
        if is_newline(separators) {
            return ScannedFor::Newline;
        }
        let all = 0..separators.count();
        ScannedFor::Others(all.map(|i| finder(separators.separator(i))).collect())
    }

    /// Returns the lengths of the shortest separator and of the longest.
    fn lengths(&self) -> (usize, usize) {
        match self {
            ScannedFor::Newline => (1, 1),
            ScannedFor::Others(finders) => {
                let lengths = finders.iter().map(|finder| finder.needle().len());
                lengths.fold((usize::MAX, 1), |(low, high), len| {
                    (low.min(len), high.max(len))
                })
            }
        }
    }
}

fn is_newline(separators: &impl Separators) -> bool {
    separators.count() == 1 && matches!(separators.separator(0), [b'\n'])
}

/// What a look at the buffer came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// The record ends before this index, separator included.
    Found(usize),
    /// More bytes are needed.
    NotYet,
    TooLong(LimitOverrunError),
}

/// Refuses what can never be found.
pub(super) fn check_separators(separators: &impl Separators) -> Result<(), ReadError> {
    if separators.count() == 0 {
        return Err(ReadError::InvalidInput(
            "Separator should contain at least one element".into(),
        ));
    }
    if (0..separators.count()).any(|i| separators.separator(i).is_empty()) {
        return Err(ReadError::InvalidInput(
            "Separator should be at least one-byte string".into(),
        ));
    }
    Ok(())
}

/// Looks for the first separator in what was not scanned yet, and remembers how far it
/// looked.
///
/// `limit` bounds the bytes before the separator.
pub(super) fn search(buffer: &mut ReadBuffer, separators: &ScannedFor, limit: usize) -> Search {
    let (shortest, longest) = separators.lengths();
    let len = buffer.len();
    if len - buffer.scanned() >= shortest {
        if let Some(found) = first_separator(buffer.unread(), buffer.scanned(), separators) {
            return if found.start > limit {
                too_long(FOUND_TOO_LATE, found.start)
            } else {
                Search::Found(found.end)
            };
        }
        // The longest one may have begun in the last `longest - 1` bytes.
        buffer.set_scanned((len + 1).saturating_sub(longest));
    }
    let scanned = buffer.scanned();
    if scanned > limit {
        return too_long(NOT_FOUND, scanned);
    }
    Search::NotYet
}

/// Returns where the first line ends, newline included, if it is there and not too long,
/// and nothing was looked at before: then [`search`] goes on.
#[inline]
pub(super) fn line_end(buffer: &ReadBuffer, limit: usize) -> Option<usize> {
    if buffer.scanned() > 0 {
        return None;
    }
    let at = find_byte(b'\n', buffer.unread())?;
    (at <= limit).then_some(at + 1)
}

fn too_long(message: &'static str, consumed: usize) -> Search {
    Search::TooLong(LimitOverrunError { message, consumed })
}

struct Match {
    start: usize,
    end: usize,
}

/// Returns the match with the smallest end; of two, the shorter.
fn first_separator(bytes: &[u8], from: usize, separators: &ScannedFor) -> Option<Match> {
    let finders = match separators {
        ScannedFor::Newline => {
            let start = from + find_byte(b'\n', &bytes[from..])?;
            let end = start + 1;
            return Some(Match { start, end });
        }
        ScannedFor::Others(finders) => finders,
    };
    let mut first: Option<Match> = None;
    for finder in finders {
        // Only what ends no later than the best so far can be better.
        let upto = first.as_ref().map_or(bytes.len(), |best| best.end);
        let Some(at) = finder.find(&bytes[from..upto]) else {
            continue;
        };
        let start = from + at;
        let end = start + finder.needle().len();
        let better = first
            .as_ref()
            .is_none_or(|best| end < best.end || (end == best.end && start > best.start));
        if better {
            first = Some(Match { start, end });
        }
    }
    first
}
