//! What stands in the place of `find.rs` without the feature `memchr`: one byte after the
//! other.

pub(super) fn find_byte(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|other| *other == byte)
}

/// Finds a separator.
///
/// At worst it compares each of its bytes at each place. How many those are, the program
/// decides, and not the peer.
#[derive(Debug)]
pub(super) struct Finder(Box<[u8]>);

pub(super) fn finder(separator: &[u8]) -> Finder {
    Finder(separator.into())
}

impl Finder {
    pub(super) fn needle(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let Finder(separator) = self;
        let mut places = bytes.windows(separator.len());
        places.position(|place| place == &**separator)
    }
}
