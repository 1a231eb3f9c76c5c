//! Finding bytes in bytes, at the speed of the memory: memchr does it.
//!
//! Without the feature `memchr`, `plain_find.rs` is in its place.

use memchr::memmem;

pub(super) use memchr::memchr as find_byte;

/// What is made of a separator once, and finds it often.
pub(super) type Finder = memmem::Finder<'static>;

pub(super) fn finder(separator: &[u8]) -> Finder {
    memmem::Finder::new(separator).into_owned()
}
