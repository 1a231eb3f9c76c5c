//! Why a queue gives no item, or takes none.

use std::error::Error;
use std::fmt;
use std::io;

/// A queue was shut down: it takes no item, which is handed back, and has none left.
///
/// # asyncio
/// `asyncio.QueueShutDown`, of 3.13.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueShutDown<T = ()>(pub T);

/// Why an item could not be put at once. It is handed back.
///
/// # asyncio
/// `asyncio.QueueFull`, `asyncio.QueueShutDown`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueuePutError<T> {
    /// There is no place, or somebody else waits for it.
    Full(T),
    /// The queue was shut down.
    ShutDown(T),
}

/// Why no item could be taken at once.
///
/// # asyncio
/// `asyncio.QueueEmpty`, `asyncio.QueueShutDown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueGetError {
    /// There is no item, or somebody else was woken for it.
    Empty,
    /// The queue was shut down, and nothing is left.
    ShutDown,
}

/// `task_done` was called more often than items were put.
///
/// # asyncio
/// `ValueError` with the same text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskDoneError;

const FULL: &str = "the queue is full";
const EMPTY: &str = "the queue is empty";
const SHUT_DOWN: &str = "the queue was shut down";

impl<T> QueuePutError<T> {
    /// Returns the item.
    pub fn into_item(self) -> T {
        match self {
            QueuePutError::Full(item) | QueuePutError::ShutDown(item) => item,
        }
    }
}

impl<T> fmt::Display for QueueShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHUT_DOWN)
    }
}

impl<T> fmt::Display for QueuePutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueuePutError::Full(_) => FULL,
            QueuePutError::ShutDown(_) => SHUT_DOWN,
        })
    }
}

impl fmt::Display for QueueGetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueueGetError::Empty => EMPTY,
            QueueGetError::ShutDown => SHUT_DOWN,
        })
    }
}

impl fmt::Display for TaskDoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("task_done() called too many times")
    }
}

/// Without the item, which need not be printable.
impl<T> fmt::Debug for QueueShutDown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueShutDown")
    }
}

/// Without the item, which need not be printable.
impl<T> fmt::Debug for QueuePutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueuePutError::Full(_) => "Full",
            QueuePutError::ShutDown(_) => "ShutDown",
        })
    }
}

impl<T> Error for QueueShutDown<T> {}
impl<T> Error for QueuePutError<T> {}
impl Error for QueueGetError {}
impl Error for TaskDoneError {}

/// The item is dropped.
impl<T> From<QueueShutDown<T>> for io::Error {
    fn from(_: QueueShutDown<T>) -> Self {
        io::Error::other(QueueShutDown(()))
    }
}

/// The item is dropped.
impl<T> From<QueuePutError<T>> for io::Error {
    fn from(error: QueuePutError<T>) -> Self {
        match error {
            QueuePutError::Full(_) => io::Error::new(io::ErrorKind::WouldBlock, FULL),
            QueuePutError::ShutDown(_) => io::Error::other(QueueShutDown(())),
        }
    }
}

impl From<QueueGetError> for io::Error {
    fn from(error: QueueGetError) -> Self {
        match error {
            QueueGetError::Empty => io::Error::new(io::ErrorKind::WouldBlock, error),
            QueueGetError::ShutDown => io::Error::other(QueueShutDown(())),
        }
    }
}

impl From<TaskDoneError> for io::Error {
    fn from(error: TaskDoneError) -> Self {
        io::Error::other(error)
    }
}
