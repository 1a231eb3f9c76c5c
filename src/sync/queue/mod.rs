//! The queue: items from some tasks to others.
//!
//! ```text
//!   put ──► a free place? ──► [ items ] ──► an item? ──► get
//!              └─ no: wait      order         └─ no: wait
//!   get gives the place back, put gives the item: each to whoever waits longest
//! ```
//!
//! Always true: there is a permit for each item, free or in the hands of a `get` that was
//! woken and not polled yet; and so for each free place. That is why nothing is lost when
//! a `get` or a `put` is dropped: the permit passes on, and the item was never out.
//!
//! asyncio: `asyncio.queues`.

mod errors; // why there is no item, or no place
mod order; //  which item is the next

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::Deref;

use crate::waits::What;

use super::event::Event;
use super::permits::Permits;

pub use errors::{QueueGetError, QueuePutError, QueueShutDown, TaskDoneError};
pub use order::{Fifo, Lifo, Priority, QueueOrder};

/// Passes items from some tasks to others, the first in first out.
///
/// With a `maxsize` it holds back those who put more than others get. [`LifoQueue`] and
/// [`PriorityQueue`] are this with another order.
///
/// It is fair: an item goes to whoever waits longest for one, and so does a place. An item
/// that a waiting task was woken for is its own: [`get_nowait`](Self::get_nowait) of
/// another task doesn't find it.
///
/// # asyncio
/// `asyncio.Queue`, where a task that comes in between may take what another was woken for.
///
/// # Examples
/// ```
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{Queue, create_task, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let sacks = Rc::new(Queue::new(2));
///     let filled = sacks.clone();
///     create_task(async move {
///         for sack in 1..=5 {
///             filled.put(sack).await?; // waits while two lie there
///         }
///         filled.shutdown(false);
///         io::Result::Ok(())
///     });
///     let mut sum = 0;
///     while let Ok(sack) = sacks.get().await {
///         sum += sack;
///     }
///     assert_eq!(sum, 15);
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct Queue<T, O = Fifo<T>> {
    /// Invariant: as many as there are permits in `items`, free or handed out unnoticed.
    store: RefCell<O>,
    items: Permits,
    places: Permits,
    maxsize: usize,
    /// Items that were put, and not yet said to be done.
    unfinished: Cell<usize>,
    finished: Event,
    shut_down: Cell<bool>,
    item: PhantomData<T>,
}

impl<T> Queue<T> {
    /// Makes a queue that holds so many items at the most; 0 is any number.
    ///
    /// # asyncio
    /// `Queue(maxsize)`, which is 0 unless given.
    #[must_use]
    pub fn new(maxsize: usize) -> Queue<T> {
        Queue::with_order(maxsize, Fifo::default())
    }
}

impl<T, O: QueueOrder<T>> Queue<T, O> {
    fn with_order(maxsize: usize, store: O) -> Queue<T, O> {
        let places = if maxsize == 0 { usize::MAX } else { maxsize };
        Queue {
            store: RefCell::new(store),
            items: Permits::new(0, What::Item),
            places: Permits::new(places, What::Place),
            maxsize,
            unfinished: Cell::new(0),
            finished: Event::of(What::ItemsDone),
            shut_down: Cell::new(false),
            item: PhantomData,
        }
    }

    /// Puts an item in; waits for a place behind those who came first.
    ///
    /// # Errors
    /// [`QueueShutDown`], with the item, if the queue was shut down, also while it waited.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it drops the item, and leaves the queue as it was: a place
    /// that it was already given goes to the next.
    ///
    /// # asyncio
    /// `Queue.put`.
    pub async fn put(&self, item: T) -> Result<(), QueueShutDown<T>> {
        if !self.shut_down.get() {
            self.places.acquire().await;
        }
        if self.shut_down.get() {
            return Err(QueueShutDown(item));
        }
        self.store(item);
        Ok(())
    }

    /// Puts an item in, if there is a place that nobody waits for.
    ///
    /// # Errors
    /// [`QueuePutError`], with the item: the queue is full, or was shut down.
    ///
    /// # asyncio
    /// `Queue.put_nowait`.
    pub fn put_nowait(&self, item: T) -> Result<(), QueuePutError<T>> {
        if self.shut_down.get() {
            return Err(QueuePutError::ShutDown(item));
        }
        if !self.places.try_acquire() {
            return Err(QueuePutError::Full(item));
        }
        self.store(item);
        Ok(())
    }

    /// Stores an item, for which a place was taken.
    fn store(&self, item: T) {
        let place = Place(&self.places);
        self.store.borrow_mut().push(item);
        mem::forget(place); // the item has it
        self.unfinished.set(self.unfinished.get() + 1);
        self.finished.clear();
        self.items.release();
    }

    /// Takes the next item; waits for one behind those who came first.
    ///
    /// # Errors
    /// [`QueueShutDown`] if the queue was shut down and no item is left.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped at any time, it loses no item, and one that it was already
    /// woken for goes to the next who waits.
    ///
    /// # asyncio
    /// `Queue.get`.
    pub async fn get(&self) -> Result<T, QueueShutDown> {
        if !self.shut_down.get() {
            self.items.acquire().await;
        }
        self.take().ok_or(QueueShutDown(()))
    }

    /// Takes the next item, if there is one that nobody was woken for.
    ///
    /// # Errors
    /// [`QueueGetError`]: the queue is empty, or was shut down and is empty.
    ///
    /// # asyncio
    /// `Queue.get_nowait`.
    pub fn get_nowait(&self) -> Result<T, QueueGetError> {
        if !self.items.try_acquire() {
            return Err(QueueGetError::Empty);
        }
        self.take().ok_or(QueueGetError::ShutDown)
    }

    /// Takes the item of a permit; of a queue that was shut down, whichever is left.
    fn take(&self) -> Option<T> {
        let item = self.store.borrow_mut().pop();
        debug_assert!(
            item.is_some() || self.shut_down.get(),
            "there is a permit for each item"
        );
        if item.is_some() {
            self.places.release();
        }
        item
    }

    /// Says that an item that was taken is done with: see [`join`](Self::join).
    ///
    /// # Errors
    /// [`TaskDoneError`] if it was called more often than there were items.
    ///
    /// # asyncio
    /// `Queue.task_done`, which raises `ValueError`.
    pub fn task_done(&self) -> Result<(), TaskDoneError> {
        let unfinished = self.unfinished.get().checked_sub(1).ok_or(TaskDoneError)?;
        self.done_with(unfinished);
        Ok(())
    }

    fn done_with(&self, unfinished: usize) {
        self.unfinished.set(unfinished);
        if unfinished == 0 {
            self.finished.set();
        }
    }

    /// Waits until for each item that was put, [`task_done`](Self::task_done) was called.
    ///
    /// # Cancel safety
    /// Cancel safe: it holds nothing.
    ///
    /// # asyncio
    /// `Queue.join`.
    pub async fn join(&self) {
        if self.unfinished.get() > 0 {
            self.finished.wait().await;
        }
    }

    /// Ends the queue: putting fails from now on, and so does getting when nothing is left;
    /// `immediate` leaves nothing.
    ///
    /// Items that are dropped count as done.
    ///
    /// # asyncio
    /// `Queue.shutdown(immediate)`, of 3.13.
    pub fn shutdown(&self, immediate: bool) {
        self.shut_down.set(true);
        let mut dropped = Vec::new();
        if immediate {
            while let Some(item) = self.pop() {
                dropped.push(item);
            }
            self.done_with(self.unfinished.get().saturating_sub(dropped.len()));
        }
        self.items.open_to_all();
        self.places.open_to_all();
        drop(dropped); // last, and with no borrow alive: they are the user's (R3)
    }

    fn pop(&self) -> Option<T> {
        self.store.borrow_mut().pop()
    }

    /// Returns how many items are in it, with those that a task was woken for.
    ///
    /// # asyncio
    /// `Queue.qsize`.
    #[must_use]
    pub fn qsize(&self) -> usize {
        self.store.borrow().len()
    }

    /// Returns how many items it holds at the most; 0 is any number.
    ///
    /// # asyncio
    /// `Queue.maxsize`.
    #[must_use]
    pub fn maxsize(&self) -> usize {
        self.maxsize
    }

    /// Says whether no item is in it.
    ///
    /// # asyncio
    /// `Queue.empty`.
    #[must_use]
    pub fn empty(&self) -> bool {
        self.qsize() == 0
    }

    /// Says whether it holds as many items as it may.
    ///
    /// # asyncio
    /// `Queue.full`.
    #[must_use]
    pub fn full(&self) -> bool {
        self.maxsize > 0 && self.qsize() >= self.maxsize
    }
}

/// A place that goes back if comparing the items panics: R10.
struct Place<'a>(&'a Permits);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Shows how much is in it, never what.
impl<T, O: QueueOrder<T>> fmt::Debug for Queue<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("qsize", &self.qsize())
            .field("maxsize", &self.maxsize)
            .field("getting", &self.items.waiting())
            .field("putting", &self.places.waiting())
            .field("unfinished", &self.unfinished.get())
            .finish()
    }
}

/// A [`Queue`] whose last item comes out first.
///
/// # asyncio
/// `asyncio.LifoQueue`.
///
/// # Examples
/// ```
/// use millstream::LifoQueue;
///
/// let plates = LifoQueue::new(0);
/// for plate in 1..=3 {
///     plates.put_nowait(plate).expect("there is room");
/// }
/// assert_eq!(plates.get_nowait(), Ok(3));
/// ```
#[derive(Debug)]
pub struct LifoQueue<T>(Queue<T, Lifo<T>>);

impl<T> LifoQueue<T> {
    /// Makes a queue that holds so many items at the most; 0 is any number.
    #[must_use]
    pub fn new(maxsize: usize) -> LifoQueue<T> {
        LifoQueue(Queue::with_order(maxsize, Lifo::default()))
    }
}

impl<T> Deref for LifoQueue<T> {
    type Target = Queue<T, Lifo<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A [`Queue`] whose least item comes out first; of equal ones, the first in.
///
/// `(priority, item)` is a good item. Items are compared when one is put in: if that
/// panics, that one is dropped, and the queue is as it was.
///
/// # Panics
/// If comparing two items panics, or uses this very queue.
///
/// # asyncio
/// `asyncio.PriorityQueue`, which gives equal ones in no certain order.
///
/// # Examples
/// ```
/// use millstream::PriorityQueue;
///
/// let jobs = PriorityQueue::new(0);
/// for job in [(2, "sweep"), (1, "grind"), (3, "rest")] {
///     jobs.put_nowait(job).expect("there is room");
/// }
/// assert_eq!(jobs.get_nowait(), Ok((1, "grind")));
/// ```
#[derive(Debug)]
pub struct PriorityQueue<T: Ord>(Queue<T, Priority<T>>);

impl<T: Ord> PriorityQueue<T> {
    /// Makes a queue that holds so many items at the most; 0 is any number.
    #[must_use]
    pub fn new(maxsize: usize) -> PriorityQueue<T> {
        PriorityQueue(Queue::with_order(maxsize, Priority::default()))
    }
}

impl<T: Ord> Deref for PriorityQueue<T> {
    type Target = Queue<T, Priority<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
