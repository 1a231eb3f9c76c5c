//! The write buffer: bytes that were written and not sent yet.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::BufferPool;

/// Bytes up to which small writes are joined into one chunk.
///
/// 64 KiB: the default high-water mark, so that what is commonly queued is one chunk,
/// and one `send` needs no vector.
const JOINED_CHUNK: usize = 64 * 1024;

/// Queued bytes, in chunks, with a cursor for what the kernel took of the first.
///
/// The first chunk lies in the buffer itself: a connection that never blocks needs no
/// queue of chunks, and so no allocation for one.
#[derive(Default)]
pub(crate) struct WriteBuffer {
    first: Vec<u8>,
    /// Bytes of `first` that were sent.
    ///
    /// Invariant: `sent < first.len()`, or both are zero.
    sent: usize,
    /// In a box, for it is rare, and idle connections are many.
    ///
    /// Invariant: `None` if `first` is empty.
    rest: Option<Box<Rest>>,
    /// Bytes that are queued in all.
    ///
    /// Invariant: `first.len() - sent` and the lengths of `rest`, added up.
    len: usize,
}

/// The chunks behind the first.
///
/// Invariant: not empty, and no chunk in it is.
#[derive(Default)]
struct Rest(VecDeque<Vec<u8>>);

impl WriteBuffer {
    /// Returns how many bytes are queued.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues a copy of `bytes`.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8], pool: &BufferPool) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        if self.first.is_empty() {
            if self.first.capacity() == 0 {
                self.first = pool.take(bytes.len());
            }
            self.first.extend_from_slice(bytes);
            return;
        }
        let last_of_rest = self.rest.as_mut().and_then(|rest| rest.0.back_mut());
        let last = last_of_rest.unwrap_or(&mut self.first);
        let fits = last.capacity() - last.len() >= bytes.len();
        if fits || last.len() + bytes.len() <= JOINED_CHUNK {
            last.extend_from_slice(bytes);
        } else {
            let mut chunk = pool.take(bytes.len());
            chunk.extend_from_slice(bytes);
            self.push_chunk(chunk);
        }
    }

    /// Queues a copy of `bytes` behind others, if that moves nothing. False if it would.
    #[inline]
    pub(crate) fn push_in_place(&mut self, bytes: &[u8]) -> bool {
        let room = self.first.capacity() - self.first.len();
        let fits = !self.is_empty() && self.rest.is_none() && bytes.len() <= room;
        if fits {
            self.first.extend_from_slice(bytes);
            self.len += bytes.len();
        }
        fits
    }

    /// Queues `bytes` as a chunk of its own, without a copy.
    pub(crate) fn push_owned(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        if self.first.is_empty() {
            self.first = bytes;
        } else {
            self.push_chunk(bytes);
        }
    }

    fn push_chunk(&mut self, chunk: Vec<u8>) {
        self.rest.get_or_insert_default().0.push_back(chunk);
    }

    /// Returns how many chunks are queued.
    pub(crate) fn chunks(&self) -> usize {
        usize::from(!self.first.is_empty()) + self.rest.as_ref().map_or(0, |rest| rest.0.len())
    }

    /// Returns what is queued, if it is one chunk.
    #[inline]
    pub(crate) fn only_chunk(&self) -> Option<&[u8]> {
        let only = self.len > 0 && self.rest.is_none();
        only.then(|| &self.first[self.sent..])
    }

    /// Fills `offer` with the chunks to send, in order, as far as it has room, and
    /// returns how many there are.
    pub(crate) fn fill_offer<'a>(&'a self, offer: &mut [IoSlice<'a>]) -> usize {
        let unsent = &self.first[self.sent..];
        let chunks = std::iter::once(unsent)
            .filter(|chunk| !chunk.is_empty())
            .chain(self.rest.iter().flat_map(|rest| &rest.0).map(Vec::as_slice));
        let mut filled = 0;
        for (place, chunk) in offer.iter_mut().zip(chunks) {
            *place = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Takes the first `n` bytes out: the kernel has them.
    #[inline]
    pub(crate) fn advance(&mut self, mut n: usize, pool: &BufferPool) {
        debug_assert!(n <= self.len, "more sent than was queued");
        self.len -= n;
        if self.len == 0 && self.rest.is_none() {
            // Nearly always: all of it was one chunk.
            self.sent = 0;
            pool.give(std::mem::take(&mut self.first));
            return;
        }
        while n > 0 {
            let unsent = self.first.len() - self.sent;
            if n < unsent {
                self.sent += n;
                return;
            }
            n -= unsent;
            self.next_chunk(pool);
        }
    }

    /// Throws everything away, and returns how many bytes that were.
    pub(crate) fn clear(&mut self) -> usize {
        let dropped = self.len;
        *self = WriteBuffer::default();
        dropped
    }

    fn next_chunk(&mut self, pool: &BufferPool) {
        let next = self.rest.as_mut().and_then(|rest| rest.0.pop_front());
        // Memory of a burst that is over goes.
        self.rest.take_if(|rest| rest.0.is_empty());
        let used = std::mem::replace(&mut self.first, next.unwrap_or_default());
        self.sent = 0;
        pool.give(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(buffer: &WriteBuffer) -> Vec<u8> {
        let mut offer = [IoSlice::new(&[]); 64];
        let n = buffer.fill_offer(&mut offer);
        offer[..n].iter().flat_map(|s| s.iter().copied()).collect()
    }

    #[test]
    fn small_writes_are_joined_into_one_chunk() {
        let pool = BufferPool::default();
        let mut buffer = WriteBuffer::default();
        for _ in 0..64 {
            buffer.push(b"a line\n", &pool);
        }
        assert_eq!(buffer.chunks(), 1);
        assert_eq!(buffer.len(), 64 * 7);
    }

    #[test]
    fn what_is_pushed_in_place_moves_nothing() {
        let pool = BufferPool::default();
        let mut buffer = WriteBuffer::default();
        assert!(!buffer.push_in_place(b"x"), "an empty buffer has no place");
        buffer.push(b"ab", &pool);
        let room = buffer.first.capacity() - 2;
        assert!(!buffer.push_in_place(&vec![b'x'; room + 1]));
        assert!(buffer.push_in_place(b"cd"));
        assert_eq!(contents(&buffer), b"abcd");
        buffer.push_owned(b"ef".to_vec());
        assert!(
            !buffer.push_in_place(b"g"),
            "it would come before the chunk behind"
        );
    }

    #[test]
    fn owned_chunks_keep_their_place_and_their_memory() {
        let pool = BufferPool::default();
        let mut buffer = WriteBuffer::default();
        let owned = vec![b'x'; 100_000];
        let place = owned.as_ptr();
        buffer.push(b"ab", &pool);
        buffer.push_owned(owned);
        buffer.push(b"cd", &pool);
        assert_eq!(buffer.chunks(), 3);
        let rest = buffer.rest.as_ref().expect("three chunks are queued");
        assert_eq!(rest.0[0].as_ptr(), place);
        let all = contents(&buffer);
        assert_eq!(&all[..3], b"abx");
        assert_eq!(&all[100_000..], b"xxcd");
    }

    #[test]
    fn what_was_sent_is_gone_wherever_the_cut_falls() {
        let pool = BufferPool::default();
        for cut in 0..=12 {
            let mut buffer = WriteBuffer::default();
            buffer.push(b"abcd", &pool);
            buffer.push_owned(b"efgh".to_vec());
            buffer.push_owned(b"ijkl".to_vec());
            buffer.advance(cut, &pool);
            assert_eq!(contents(&buffer), &b"abcdefghijkl"[cut..], "cut at {cut}");
            assert_eq!(buffer.len(), 12 - cut);
        }
    }

    #[test]
    fn an_empty_buffer_owns_no_memory() {
        let pool = BufferPool::default();
        let mut buffer = WriteBuffer::default();
        buffer.push(b"abc", &pool);
        buffer.push_owned(vec![0; 10]);
        buffer.advance(13, &pool);
        assert_eq!(buffer.first.capacity(), 0);
        assert!(buffer.rest.is_none());
    }
}
