//! The read buffer: bytes that came and were not read yet.

use super::BufferPool;

/// Unread bytes in one piece, with a cursor for what was read already.
///
/// ```text
///   bytes  [ read already | known to hold no separator | not looked at yet | written once ]
///          0            start               start + scanned              end           len
/// ```
///
/// In a box, so that an idle stream, which has none of this, has eight bytes of it; and
/// bytes are handed on by moving a pointer. The pool keeps box and memory together.
#[derive(Default)]
pub(crate) struct ReadBuffer(Option<Box<Held>>);

/// What a read buffer holds that isn't empty.
#[derive(Default)]
pub(super) struct Held {
    /// The memory, as far as it was ever written to: bytes that are received straight into
    /// it need that, and it is not to be written twice.
    pub(super) bytes: Vec<u8>,
    /// The first unread byte. A cursor, since `drain(..n)` for each line would move
    /// the rest of the buffer for each line.
    ///
    /// Invariant: `start + scanned <= end`.
    start: usize,
    /// Where the unread bytes end.
    ///
    /// Invariant: `end <= bytes.len()`.
    end: usize,
    /// In so many unread bytes no separator begins, as far as the last search could see.
    scanned: usize,
}

impl ReadBuffer {
    /// Returns the unread bytes.
    #[inline]
    pub(crate) fn unread(&self) -> &[u8] {
        match &self.0 {
            Some(held) => held.unread(),
            None => &[],
        }
    }

    /// Returns how many bytes are unread.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Some(held) => held.len(),
            None => 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether it has memory: if not, it is empty.
    #[inline]
    pub(crate) fn has_memory(&self) -> bool {
        self.0.is_some()
    }

    /// Adds bytes at the end.
    #[inline]
    pub(crate) fn append(&mut self, more: &[u8], pool: &BufferPool) {
        let held = self.0.get_or_insert_with(|| pool.take_held(more.len()));
        held.append(more);
    }

    /// Has bytes received straight into memory of its own, of `room` bytes; there must be
    /// none yet. Returns what `receive` does: how many came, if any did.
    pub(crate) fn receive(
        &mut self,
        room: usize,
        pool: &BufferPool,
        receive: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        debug_assert!(
            self.is_empty(),
            "what is received would lie over what is unread"
        );
        self.release_if_empty(pool);
        let mut held = pool.take_written(room);
        let received = receive(&mut held.bytes[..room]);
        held.end = received.unwrap_or(0);
        self.0 = Some(held);
        self.release_if_empty(pool);
        received
    }

    /// Adds the unread bytes of another buffer at the end.
    pub(crate) fn take_over(&mut self, mut other: ReadBuffer, pool: &BufferPool) {
        self.release_if_empty(pool);
        if self.0.is_none() {
            *self = other;
            return;
        }
        self.append(other.unread(), pool);
        other.consume(other.len());
        other.release_if_empty(pool);
    }

    /// Puts bytes back in front of the unread ones.
    pub(crate) fn prepend(&mut self, earlier: &[u8]) {
        self.0.get_or_insert_default().prepend(earlier);
    }

    /// Takes `n` bytes off the front.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "more consumed than is unread");
        if let Some(held) = &mut self.0 {
            held.consume(n);
        }
    }

    /// Returns the last `n` bytes that were consumed, which lie there until the buffer
    /// changes.
    #[inline]
    pub(crate) fn just_consumed(&self, n: usize) -> &[u8] {
        match &self.0 {
            Some(held) => held.just_consumed(n),
            None => &[],
        }
    }

    /// Takes `n` bytes off the front, as a vector of their own, and gives the memory back to
    /// the pool if those were the last.
    ///
    /// All of them, if they fill their memory at least by half, leave with it, without a copy.
    #[inline]
    pub(crate) fn take(&mut self, n: usize, pool: &BufferPool) -> Vec<u8> {
        self.consume(n);
        match self.is_empty() {
            false => self.just_consumed(n).to_vec(),
            true => self.take_last(n, pool),
        }
    }

    /// Does the same for a vector of the caller's.
    ///
    /// In a box, of which a vector is made for nothing: a box is returned in registers. The
    /// three words of a vector would be stored for the caller, which loads two of them at once
    /// to move them on; until both are in the cache, the processor waits.
    #[inline]
    pub(crate) fn take_boxed(&mut self, n: usize, pool: &BufferPool) -> Box<[u8]> {
        self.consume(n);
        match self.is_empty() {
            false => self.just_consumed(n).into(),
            true => self.take_last(n, pool).into(),
        }
    }

    /// Nothing is unread after these `n` bytes, which were just consumed.
    #[inline]
    fn take_last(&mut self, n: usize, pool: &BufferPool) -> Vec<u8> {
        let Some(mut held) = self.0.take() else {
            debug_assert!(n == 0, "more taken than was unread");
            return Vec::new();
        };
        let everything = n == held.end; // so none was read before
        let taken = match everything && n >= held.bytes.capacity() / 2 {
            true => held.hand_over(),
            false => held.just_consumed(n).to_vec(),
        };
        pool.give_held(held);
        taken
    }

    /// Gives the memory back to the pool if nothing is unread.
    #[inline]
    pub(crate) fn release_if_empty(&mut self, pool: &BufferPool) {
        if let Some(held) = self.0.take_if(|held| held.len() == 0) {
            pool.give_held(held);
        }
    }

    /// How many unread bytes are known to begin no separator.
    #[inline]
    pub(crate) fn scanned(&self) -> usize {
        match &self.0 {
            Some(held) => held.scanned,
            None => 0,
        }
    }

    /// Remembers that no separator begins in the first `n` unread bytes.
    #[inline]
    pub(crate) fn set_scanned(&mut self, n: usize) {
        debug_assert!(n <= self.len(), "more scanned than is unread");
        if let Some(held) = &mut self.0 {
            held.scanned = n;
        }
    }

    /// Another separator is looked for, or the bytes are others.
    pub(crate) fn forget_scan(&mut self) {
        self.set_scanned(0);
    }
}

impl Held {
    #[inline]
    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[inline]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    fn append(&mut self, more: &[u8]) {
        self.make_room(more.len());
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(more);
        self.end = self.bytes.len();
    }

    #[inline]
    fn just_consumed(&self, n: usize) -> &[u8] {
        &self.bytes[self.start - n..self.start]
    }

    /// Returns all bytes in their vector.
    fn hand_over(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.truncate(self.end);
        bytes
    }

    #[inline]
    fn consume(&mut self, n: usize) {
        self.start += n;
        // A branch, and not the subtraction alone: for one who reads many lines, where the
        // next one begins then waits for nothing but the end of this one.
        if self.scanned > 0 {
            self.scanned = self.scanned.saturating_sub(n);
        }
    }

    fn prepend(&mut self, earlier: &[u8]) {
        if earlier.len() <= self.start {
            let front = self.start - earlier.len();
            self.bytes[front..self.start].copy_from_slice(earlier);
            self.start = front;
        } else {
            let mut bytes = Vec::with_capacity(earlier.len() + self.len());
            bytes.extend_from_slice(earlier);
            bytes.extend_from_slice(self.unread());
            self.end = bytes.len();
            self.bytes = bytes;
            self.start = 0;
        }
        self.scanned = 0;
    }

    /// Moves the unread bytes to the front when growing would cost more than moving.
    ///
    /// Only if at least as much was read as is unread: so each byte is moved at most
    /// once for each byte read, and the total work stays linear.
    #[inline]
    fn make_room(&mut self, n: usize) {
        let would_grow = self.end + n > self.bytes.capacity();
        if self.start > 0 && (self.len() == 0 || (would_grow && self.start >= self.len())) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end = self.len();
            self.start = 0;
        }
    }

    /// Empties it for another use. What was written stays written.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
        self.scanned = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(buffer: &ReadBuffer) -> &Held {
        buffer.0.as_ref().expect("the test has filled it")
    }

    fn holding(bytes: &[u8]) -> (ReadBuffer, BufferPool) {
        let pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.append(bytes, &pool);
        (buffer, pool)
    }

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let (mut buffer, pool) = holding(b"abc");
        buffer.consume(1);
        buffer.append(b"de", &pool);
        assert_eq!(buffer.unread(), b"bcde");
        assert_eq!(buffer.take(2, &pool), b"bc");
        assert_eq!(buffer.unread(), b"de");
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let (mut buffer, _pool) = holding(b"abcd");
        buffer.consume(2);
        buffer.prepend(b"AB");
        assert_eq!(buffer.unread(), b"ABcd");
        buffer.prepend(b"0123");
        assert_eq!(buffer.unread(), b"0123ABcd");
    }

    #[test]
    fn a_full_vector_is_handed_over_without_a_copy() {
        let pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.append(&[7; 5000], &pool);
        let place = buffer.unread().as_ptr();
        let all = buffer.take(5000, &pool);
        assert_eq!(all.as_ptr(), place);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_is_taken_in_a_box_is_the_same() {
        let (mut buffer, pool) = holding(b"one\ntwo\n");
        assert_eq!(*buffer.take_boxed(4, &pool), *b"one\n");
        assert!(buffer.has_memory());
        assert_eq!(*buffer.take_boxed(4, &pool), *b"two\n");
        assert!(!buffer.has_memory(), "nothing is unread");
        assert!(buffer.take_boxed(0, &pool).is_empty());
    }

    #[test]
    fn the_memory_of_an_empty_buffer_goes_back_to_the_pool() {
        let (mut buffer, pool) = holding(b"abc");
        buffer.consume(3);
        buffer.release_if_empty(&pool);
        assert!(buffer.0.is_none());
    }

    #[test]
    fn what_is_received_lies_where_it_was_received() {
        let pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        let mut place = std::ptr::null();
        let received = buffer.receive(5000, &pool, |memory| {
            assert_eq!(memory.len(), 5000);
            memory[..3000].fill(b'x');
            place = memory.as_ptr();
            Some(3000)
        });
        assert_eq!(received, Some(3000));
        assert_eq!(buffer.unread().as_ptr(), place);
        buffer.append(b"y", &pool);
        let all = buffer.take(3001, &pool);
        assert_eq!(all.as_ptr(), place);
    }

    #[test]
    fn memory_that_was_received_into_is_used_again_as_it_is() {
        let pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.receive(5000, &pool, |memory| {
            memory.fill(b'x');
            Some(3000)
        });
        buffer.consume(3000);
        buffer.release_if_empty(&pool);
        let again = buffer.receive(5000, &pool, |memory| {
            assert!(memory.iter().all(|byte| *byte == b'x'), "it was written");
            None
        });
        assert_eq!(again, None);
        assert!(buffer.0.is_none(), "nothing came, so nothing is kept");
        buffer.append(b"abc", &pool);
        assert_eq!(buffer.unread(), b"abc");
    }

    #[test]
    fn what_is_taken_over_comes_behind() {
        let (mut buffer, pool) = holding(b"abc");
        buffer.take_over(holding(b"de").0, &pool);
        assert_eq!(buffer.unread(), b"abcde");
        buffer.consume(5);
        let (other, place) = {
            let other = holding(b"fg").0;
            let place = other.unread().as_ptr();
            (other, place)
        };
        buffer.take_over(other, &pool);
        assert_eq!(
            (buffer.unread(), buffer.unread().as_ptr()),
            (&b"fg"[..], place)
        );
    }

    #[test]
    fn ten_thousand_lines_do_not_move_the_buffer_ten_thousand_times() {
        let (mut buffer, pool) = holding(&b"line\n".repeat(10_000));
        let end_of_memory = held(&buffer).bytes.as_ptr_range().end;
        for _ in 0..10_000 {
            buffer.consume(5);
        }
        assert_eq!(held(&buffer).bytes.as_ptr_range().end, end_of_memory);
        buffer.append(b"x", &pool);
        assert_eq!(buffer.unread(), b"x");
    }

    #[test]
    fn what_was_scanned_stays_scanned_when_bytes_are_consumed() {
        let (mut buffer, _pool) = holding(b"abcdef");
        buffer.set_scanned(4);
        buffer.consume(1);
        assert_eq!(buffer.scanned(), 3);
        buffer.consume(4);
        assert_eq!(buffer.scanned(), 0);
    }

    #[test]
    fn what_is_put_back_was_not_scanned() {
        let (mut buffer, _pool) = holding(b"abcdef");
        buffer.set_scanned(6);
        buffer.consume(4);
        buffer.prepend(b"\ncd");
        assert_eq!(buffer.scanned(), 0);
        buffer.prepend(b"0123456789");
        assert_eq!(buffer.scanned(), 0);
    }

    #[test]
    fn what_was_scanned_stays_scanned_when_the_bytes_move_to_the_front() {
        let pool = BufferPool::default();
        let mut buffer = ReadBuffer::default();
        buffer.append(&[b'x'; 2000], &pool);
        buffer.set_scanned(1950);
        buffer.consume(1900);
        let room = held(&buffer).bytes.capacity() - held(&buffer).end;
        buffer.append(&vec![b'y'; room + 1], &pool);
        assert_eq!(held(&buffer).start, 0);
        assert_eq!(buffer.scanned(), 50);
        assert_eq!(&buffer.unread()[..101], [&[b'x'; 100][..], b"y"].concat());
    }
}
