//! Finding bytes in bytes, at the speed of the memory: memchr does it.
//!
//! Without the feature `memchr`, `plain_find.rs` is in its place.

use memchr::{memchr, memmem};

/// Finds the first such byte. Most lines are short: their part of the search stands where it is
/// called. `memchr` asks the processor for its best way, and makes three calls for that, which
/// pays from some hundred bytes on.
#[inline]
pub(super) fn find_byte(byte: u8, bytes: &[u8]) -> Option<usize> {
    let Some(near) = bytes.first_chunk::<NEAR>() else {
        return find_near(byte, bytes);
    };
    match find_near(byte, near) {
        Some(at) => Some(at),
        None => find_far(byte, bytes),
    }
}

/// Finds it beyond what is near.
#[cold]
fn find_far(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (near, rest) = bytes.split_at(NEAR);
    Some(near.len() + memchr(byte, rest)?)
}

/// Bytes that the end of a line is mostly among.
const NEAR: usize = 64;

/// Each processor of this architecture has SSE2, so there is nothing to ask.
#[cfg(target_arch = "x86_64")]
#[inline]
fn find_near(byte: u8, bytes: &[u8]) -> Option<usize> {
    memchr::arch::x86_64::sse2::memchr::One::new(byte)?.find(bytes)
}

/// Elsewhere `memchr` asks nothing either.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn find_near(byte: u8, bytes: &[u8]) -> Option<usize> {
    memchr(byte, bytes)
}

/// What is made of a separator once, and finds it often.
pub(super) type Finder = memmem::Finder<'static>;

pub(super) fn finder(separator: &[u8]) -> Finder {
    memmem::Finder::new(separator).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_such_byte_is_found_wherever_it_is() {
        for length in 0..200 {
            let mut bytes = vec![b'x'; length];
            assert_eq!(find_byte(b'\n', &bytes), None);
            for at in (0..length).rev() {
                bytes[at] = b'\n';
                assert_eq!(find_byte(b'\n', &bytes), Some(at), "of {length}");
            }
        }
    }
}
