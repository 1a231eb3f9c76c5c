//! The receive buffer: the memory that one `recv` after the other uses.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes that the one read of a source in a turn may bring.
///
/// 256 KiB: enough to amortise the system call, little enough that a fast peer cannot
/// hold the loop for more than a fraction of a millisecond.
pub(crate) const MAX_RECEIVE: usize = 256 * 1024;

/// Where the buffer begins: at a multiple of so many bytes, which is a cache line.
///
/// The allocator puts large blocks 16 bytes behind the start of a page. The kernel copies
/// with `rep movsb` out of pages of its own, mostly from their start, and on some
/// processors (AMD's Zen 3 is one) that takes nearly twice as long when the destination
/// is a few bytes further into its page than the source: each load seems to depend on the
/// store before it.
const ALIGNMENT: usize = 64;

/// [`MAX_RECEIVE`] bytes that begin with a cache line.
pub(crate) struct ReceiveBuffer {
    memory: Vec<u8>,
    /// Where in `memory` the buffer begins. A vector that nobody touches stays where it is.
    start: usize,
}

impl ReceiveBuffer {
    /// Makes one, of zeros. The system lends the memory when it is first written to.
    pub(crate) fn new() -> Box<ReceiveBuffer> {
        let memory = vec![0; MAX_RECEIVE + ALIGNMENT - 1];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT - 1);
        Box::new(ReceiveBuffer { memory, start })
    }
}

impl Deref for ReceiveBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + MAX_RECEIVE]
    }
}

impl DerefMut for ReceiveBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + MAX_RECEIVE]
    }
}

impl fmt::Debug for ReceiveBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuffer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_a_cache_line_and_stays_there() {
        let buffers: Vec<_> = (0..8).map(|_| ReceiveBuffer::new()).collect();
        for buffer in buffers {
            let place = buffer.as_ptr();
            assert_eq!(place.addr() % ALIGNMENT, 0);
            assert_eq!(buffer.len(), MAX_RECEIVE);
            let moved = buffer;
            assert_eq!(moved.as_ptr(), place);
        }
    }
}
