//! The pool: vectors between two uses.

use std::cell::{Cell, RefCell};

use super::read_buffer::Held;
use super::receive_buffer::ReceiveBuffer;
use super::write_buffer::Queue;

/// Bytes of capacity that are kept for the next buffers, at most.
///
/// 1 MiB: for as many busy connections as one poll tells of (1,024), a small read buffer and
/// a small write buffer each. One more costs an allocation.
const MAX_KEPT: usize = 1024 * 1024;

/// Boxes of a kind that are kept, at most: some have no memory left to be counted.
const MAX_BOXES: usize = 1024;

/// Bytes of capacity above which a vector is given back to the allocator.
///
/// 128 KiB: twice the default limit of a reader, the most that one commonly holds.
const MAX_CAPACITY: usize = 128 * 1024;

/// Bytes of capacity that a fresh vector starts with.
///
/// 512: most requests fit. What is kept costs the pages that it lies in, whether connections
/// are busy or not; and a vector that grows once, for longer requests, is kept as it is then.
const MIN_CAPACITY: usize = 512;

/// Vectors that buffers take when they need one, and give back when they are empty.
///
/// The last one given is the next one taken: it is the likeliest to be in the cache.
#[derive(Default)]
pub(crate) struct BufferPool {
    /// As long as they were: the bytes in them are nobody's, but a receive, which needs
    /// written memory, need not write them first.
    vectors: RefCell<Vec<Vec<u8>>>,
    /// What read buffers held, box and memory.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    held: RefCell<Vec<Box<Held>>>,
    /// What write buffers held, box and memory.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    queues: RefCell<Vec<Box<Queue>>>,
    /// Bytes of capacity of all three.
    kept: Cell<usize>,
    /// The memory that one receive after the other uses. Not here while in use.
    receive_buffer: Cell<Option<Box<ReceiveBuffer>>>,
}

impl BufferPool {
    /// Takes the loop's receive buffer out, for one receive and what becomes of its bytes
    /// (R3).
    #[inline]
    pub(crate) fn take_receive_buffer(&self) -> Box<ReceiveBuffer> {
        self.receive_buffer
            .take()
            .unwrap_or_else(ReceiveBuffer::new)
    }

    /// Puts the receive buffer back.
    #[inline]
    pub(crate) fn put_receive_buffer(&self, buffer: Box<ReceiveBuffer>) {
        self.receive_buffer.set(Some(buffer));
    }

    /// Gives the receive buffer's memory back: the loop is closed.
    pub(crate) fn drop_receive_buffer(&self) {
        self.receive_buffer.take();
    }

    /// Returns an empty vector with room for `needed` bytes at least.
    #[inline]
    pub(crate) fn take(&self, needed: usize) -> Vec<u8> {
        let mut bytes = self.take_any();
        bytes.clear();
        bytes.reserve(needed.max(MIN_CAPACITY));
        bytes
    }

    /// Returns a vector of whatever length, with whatever in it.
    #[inline]
    fn take_any(&self) -> Vec<u8> {
        let pooled = self.vectors.borrow_mut().pop();
        let bytes = pooled.unwrap_or_else(|| self.take_from_queue());
        self.leaves(bytes.capacity());
        bytes
    }

    /// Keeps a vector for the next one who needs it.
    #[inline]
    pub(crate) fn give(&self, bytes: Vec<u8>) {
        let capacity = bytes.capacity();
        if capacity >= MIN_CAPACITY && self.keeps(capacity) {
            self.vectors.borrow_mut().push(bytes);
        }
    }

    /// Returns the memory of a queue, if there is one to spare.
    fn take_from_queue(&self) -> Vec<u8> {
        let mut queues = self.queues.borrow_mut();
        let last = queues.last_mut();
        last.map_or(Vec::new(), |queue| std::mem::take(&mut queue.first))
    }

    /// Returns what an empty write buffer holds that has room for `needed` bytes at least.
    #[inline]
    pub(super) fn take_queue(&self, needed: usize) -> Box<Queue> {
        let mut queue = self.take_any_queue();
        self.make_room(&mut queue.first, needed);
        queue
    }

    /// Returns what an empty write buffer holds, whatever room it has.
    #[inline]
    pub(super) fn take_any_queue(&self) -> Box<Queue> {
        let pooled = self.queues.borrow_mut().pop();
        let queue = pooled.unwrap_or_default();
        self.leaves(queue.first.capacity());
        queue
    }

    /// Keeps what a write buffer held for the next one.
    #[inline]
    pub(super) fn give_queue(&self, mut queue: Box<Queue>) {
        let mut pool = self.queues.borrow_mut();
        if pool.len() < MAX_BOXES && self.keeps(queue.first.capacity()) {
            queue.clear();
            pool.push(queue);
        }
    }

    /// Returns what an empty read buffer holds that has room for `needed` bytes at least.
    #[inline]
    pub(super) fn take_held(&self, needed: usize) -> Box<Held> {
        let mut held = self.take_any_held();
        held.bytes.clear();
        self.make_room(&mut held.bytes, needed);
        held
    }

    /// Returns what an empty read buffer holds, with `needed` written bytes at least to
    /// receive into.
    pub(super) fn take_written(&self, needed: usize) -> Box<Held> {
        let mut held = self.take_any_held();
        if held.bytes.capacity() == 0 {
            held.bytes = self.take_any();
        }
        if held.bytes.capacity() < needed {
            held.bytes = vec![0; needed];
        } else if held.bytes.len() < needed {
            held.bytes.resize(needed, 0);
        }
        held
    }

    #[inline]
    fn take_any_held(&self) -> Box<Held> {
        let pooled = self.held.borrow_mut().pop();
        let held = pooled.unwrap_or_default();
        self.leaves(held.bytes.capacity());
        held
    }

    /// Keeps what a read buffer held for the next one.
    #[inline]
    pub(super) fn give_held(&self, mut held: Box<Held>) {
        let mut pool = self.held.borrow_mut();
        if pool.len() < MAX_BOXES && self.keeps(held.bytes.capacity()) {
            held.clear();
            pool.push(held);
        }
    }

    /// Gives the vector of a box room for `needed` bytes.
    #[inline]
    fn make_room(&self, bytes: &mut Vec<u8>, needed: usize) {
        if bytes.capacity() == 0 {
            // It was handed to somebody, whole; what others wrote and gave back serves too.
            *bytes = self.take(needed);
        } else {
            bytes.reserve(needed.max(MIN_CAPACITY));
        }
    }

    /// Says whether so much is kept, and counts it then.
    #[inline]
    fn keeps(&self, capacity: usize) -> bool {
        let kept = self.kept.get() + capacity;
        let keeps = capacity <= MAX_CAPACITY && kept <= MAX_KEPT;
        if keeps {
            self.kept.set(kept);
        }
        keeps
    }

    #[inline]
    fn leaves(&self, capacity: usize) {
        self.kept.set(self.kept.get() - capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_handed_out_again_empty() {
        let pool = BufferPool::default();
        let mut bytes = pool.take(10);
        bytes.extend_from_slice(b"abc");
        let place = bytes.as_ptr();
        pool.give(bytes);
        let again = pool.take(10);
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn what_was_written_serves_who_reads() {
        let pool = BufferPool::default();
        let mut handed_over = pool.take_held(10);
        handed_over.bytes = Vec::new();
        pool.give_held(handed_over);
        let written = Vec::with_capacity(MIN_CAPACITY);
        let place = written.as_ptr();
        pool.give(written);
        assert_eq!(pool.take_held(10).bytes.as_ptr(), place);
    }

    #[test]
    fn a_huge_vector_is_not_kept() {
        let pool = BufferPool::default();
        pool.give(Vec::with_capacity(MAX_CAPACITY + 1));
        assert!(pool.vectors.borrow().is_empty());
    }

    #[test]
    fn the_pool_has_a_bound() {
        let pool = BufferPool::default();
        let given = 2 * MAX_KEPT / MAX_CAPACITY;
        for _ in 0..given {
            pool.give(Vec::with_capacity(MAX_CAPACITY));
        }
        assert_eq!(pool.kept.get(), MAX_KEPT);
        assert_eq!(pool.vectors.borrow().len(), given / 2);
        let taken: Vec<_> = (0..given).map(|_| pool.take(1)).collect();
        assert_eq!(pool.kept.get(), 0);
        drop(taken);
    }

    #[test]
    fn boxes_without_memory_are_bounded_too() {
        let pool = BufferPool::default();
        for _ in 0..2 * MAX_BOXES {
            pool.give_held(Box::default());
        }
        assert_eq!(pool.held.borrow().len(), MAX_BOXES);
    }
}
