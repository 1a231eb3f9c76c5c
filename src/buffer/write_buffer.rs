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
/// In a box, so that an idle connection, which has none of this, has eight bytes of it. The
/// pool keeps box and memory together.
#[derive(Default)]
pub(crate) struct WriteBuffer(Option<Box<Queue>>);

/// What a write buffer holds that isn't empty.
///
/// The first chunk lies in the queue itself: a connection that never blocks needs no queue
/// of chunks, and so no allocation for one.
///
/// Invariant: `first` is not empty, and no chunk of `rest` is.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) first: Vec<u8>,
    /// Bytes of `first` that were sent.
    ///
    /// Invariant: `sent < first.len()`, or both are zero.
    sent: usize,
    /// The chunks behind the first.
    rest: VecDeque<Vec<u8>>,
    /// Bytes that are queued in all.
    ///
    /// Invariant: `first.len() - sent` and the lengths of `rest`, added up.
    len: usize,
}

impl WriteBuffer {
    /// Returns how many bytes are queued.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Queues a copy of `bytes`.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8], pool: &BufferPool) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.0 {
            Some(queue) => queue.push(bytes, pool),
            None => {
                let mut queue = pool.take_queue(bytes.len());
                queue.first.extend_from_slice(bytes);
                queue.len = bytes.len();
                self.0 = Some(queue);
            }
        }
    }

    /// Queues a copy of `bytes` behind others, if that moves nothing. False if it would.
    #[inline]
    pub(crate) fn push_in_place(&mut self, bytes: &[u8]) -> bool {
        let Some(queue) = &mut self.0 else {
            return false;
        };
        let room = queue.first.capacity() - queue.first.len();
        let fits = queue.rest.is_empty() && bytes.len() <= room;
        if fits {
            queue.first.extend_from_slice(bytes);
            queue.len += bytes.len();
        }
        fits
    }

    /// Queues `bytes` as a chunk of its own, without a copy.
    pub(crate) fn push_owned(&mut self, bytes: Vec<u8>, pool: &BufferPool) {
        if bytes.is_empty() {
            return;
        }
        match &mut self.0 {
            Some(queue) => {
                queue.len += bytes.len();
                queue.rest.push_back(bytes);
            }
            None => {
                let mut queue = pool.take_any_queue();
                queue.len = bytes.len();
                pool.give(std::mem::replace(&mut queue.first, bytes));
                self.0 = Some(queue);
            }
        }
    }

    /// Returns how many chunks are queued.
    pub(crate) fn chunks(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| 1 + queue.rest.len())
    }

    /// Returns what is queued, if it is one chunk.
    #[inline]
    pub(crate) fn only_chunk(&self) -> Option<&[u8]> {
        let queue = self.0.as_ref()?;
        queue.rest.is_empty().then(|| &queue.first[queue.sent..])
    }

    /// Fills `offer` with the chunks to send, in order, as far as it has room, and
    /// returns how many there are.
    pub(crate) fn fill_offer<'a>(&'a self, offer: &mut [IoSlice<'a>]) -> usize {
        let Some(queue) = &self.0 else {
            return 0;
        };
        let unsent = &queue.first[queue.sent..];
        let chunks = std::iter::once(unsent).chain(queue.rest.iter().map(Vec::as_slice));
        let mut filled = 0;
        for (place, chunk) in offer.iter_mut().zip(chunks) {
            *place = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Takes the first `n` bytes out: the kernel has them.
    #[inline]
    pub(crate) fn advance(&mut self, n: usize, pool: &BufferPool) {
        debug_assert!(n <= self.len(), "more sent than was queued");
        if n == self.len() {
            // Nearly always.
            if let Some(queue) = self.0.take() {
                pool.give_queue(queue);
            }
        } else if let Some(queue) = &mut self.0 {
            queue.advance(n, pool);
        }
    }

    /// Throws everything away, and returns how many bytes that were.
    pub(crate) fn clear(&mut self) -> usize {
        let dropped = self.len();
        self.0 = None;
        dropped
    }
}

impl Queue {
    fn push(&mut self, bytes: &[u8], pool: &BufferPool) {
        self.len += bytes.len();
        let last = self.rest.back_mut().unwrap_or(&mut self.first);
        let fits = last.capacity() - last.len() >= bytes.len();
        if fits || last.len() + bytes.len() <= JOINED_CHUNK {
            last.extend_from_slice(bytes);
        } else {
            let mut chunk = pool.take(bytes.len());
            chunk.extend_from_slice(bytes);
            self.rest.push_back(chunk);
        }
    }

    /// Takes the first `n` bytes out, which are not all.
    fn advance(&mut self, mut n: usize, pool: &BufferPool) {
        self.len -= n;
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

    fn next_chunk(&mut self, pool: &BufferPool) {
        let next = self.rest.pop_front();
        if self.rest.is_empty() {
            self.rest = VecDeque::new(); // memory of a burst that is over goes
        }
        let used = std::mem::replace(&mut self.first, next.unwrap_or_default());
        self.sent = 0;
        pool.give(used);
    }

    /// Empties it for another use, and gives the memory back that a burst took.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.first.clear();
        self.sent = 0;
        self.len = 0;
        if self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(buffer: &WriteBuffer) -> &Queue {
        buffer.0.as_ref().expect("the test has filled it")
    }

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
        let room = queue(&buffer).first.capacity() - 2;
        assert!(!buffer.push_in_place(&vec![b'x'; room + 1]));
        assert!(buffer.push_in_place(b"cd"));
        assert_eq!(contents(&buffer), b"abcd");
        buffer.push_owned(b"ef".to_vec(), &pool);
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
        buffer.push_owned(owned, &pool);
        buffer.push(b"cd", &pool);
        assert_eq!(buffer.chunks(), 3);
        assert_eq!(queue(&buffer).rest[0].as_ptr(), place);
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
            buffer.push_owned(b"efgh".to_vec(), &pool);
            buffer.push_owned(b"ijkl".to_vec(), &pool);
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
        buffer.push_owned(vec![0; 10], &pool);
        buffer.advance(13, &pool);
        assert!(buffer.0.is_none());
    }
}
