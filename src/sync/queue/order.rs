//! The order of a queue: which item is the next.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

/// How a [`Queue`](crate::Queue) orders its items: [`Fifo`], [`Lifo`] or [`Priority`].
///
/// # asyncio
/// What a class that inherits from `Queue` overrides: `_init`, `_put`, `_get`.
pub trait QueueOrder<T>: sealed::Sealed {
    /// Takes an item in.
    fn push(&mut self, item: T);

    /// Takes out the one that is the next.
    fn pop(&mut self) -> Option<T>;

    /// Returns how many there are.
    fn len(&self) -> usize;

    /// Says whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The first in is the first out: [`Queue`](crate::Queue).
pub struct Fifo<T>(VecDeque<T>);

/// The last in is the first out: [`LifoQueue`](crate::LifoQueue).
pub struct Lifo<T>(Vec<T>);

/// The least is the first out: [`PriorityQueue`](crate::PriorityQueue).
///
/// A tree and not a heap: it compares before it changes anything, and takes out without
/// comparing. So a comparison that panics loses nothing (R10).
pub struct Priority<T> {
    /// Each with its number, so that of equal ones the first in is the first out.
    items: BTreeSet<(T, u64)>,
    next_number: u64,
}

impl<T> QueueOrder<T> for Fifo<T> {
    fn push(&mut self, item: T) {
        self.0.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> QueueOrder<T> for Lifo<T> {
    fn push(&mut self, item: T) {
        self.0.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T: Ord> QueueOrder<T> for Priority<T> {
    fn push(&mut self, item: T) {
        let number = self.next_number;
        self.next_number += 1;
        self.items.insert((item, number));
    }

    fn pop(&mut self) -> Option<T> {
        self.items.pop_first().map(|(item, _number)| item)
    }

    fn len(&self) -> usize {
        self.items.len()
    }
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Fifo(VecDeque::new())
    }
}

impl<T> Default for Lifo<T> {
    fn default() -> Self {
        Lifo(Vec::new())
    }
}

impl<T: Ord> Default for Priority<T> {
    fn default() -> Self {
        Priority {
            items: BTreeSet::new(),
            next_number: 0,
        }
    }
}

impl<T> fmt::Debug for Fifo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fifo({} items)", self.0.len())
    }
}

impl<T> fmt::Debug for Lifo<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lifo({} items)", self.0.len())
    }
}

impl<T> fmt::Debug for Priority<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Priority({} items)", self.items.len())
    }
}

/// Nobody else implements [`QueueOrder`].
mod sealed {
    use super::{Fifo, Lifo, Priority};

    pub trait Sealed {}

    impl<T> Sealed for Fifo<T> {}
    impl<T> Sealed for Lifo<T> {}
    impl<T> Sealed for Priority<T> {}
}
