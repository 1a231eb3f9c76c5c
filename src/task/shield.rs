//! The shield: to give up waiting, and not what is waited for.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::JoinError;
use crate::executor::Task;

/// Awaits a task and leaves it alone: whoever stops waiting, by a time limit or by being
/// cancelled, does not stop the task, and can await it again.
///
/// A task goes on in any case when nobody awaits it any more; but an awaited `Task` goes
/// with whoever awaits it, and this one stays at hand.
///
/// # Errors
/// As awaiting the task itself.
///
/// # Cancel safety
/// Cancel safe: dropped, it leaves the task and its result where they are.
///
/// # Panics
/// If the task has given its result before, as awaiting it does.
///
/// # asyncio
/// `asyncio.shield`, of a task. A coroutine becomes one by `create_task` first.
///
/// # Examples
/// ```
/// use std::io;
/// use std::time::Duration;
/// use millstream::{create_task, run, shield, sleep, timeout};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let mut saving = create_task(async {
///         sleep(Duration::from_millis(20)).await;
///         "saved"
///     });
///     let patience = Duration::from_millis(1);
///     let in_time = timeout(patience, shield(&mut saving)).await;
///     assert!(in_time.is_err());
///     assert_eq!(saving.await?, "saved");
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub fn shield<T>(task: &mut Task<T>) -> Shield<'_, T> {
    Shield { task }
}

/// The future of [`shield`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Shield<'a, T> {
    task: &'a mut Task<T>,
}

impl<T: 'static> Future for Shield<'_, T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.task).poll(cx)
    }
}

impl<T> Drop for Shield<'_, T> {
    fn drop(&mut self) {
        self.task.tell_nobody();
    }
}

impl<T> fmt::Debug for Shield<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shield({:?})", self.task)
    }
}
