//! Spawning: how a future becomes a task of the running loop, and who the tasks are.

use std::future::poll_fn;
use std::task::Poll;

use crate::event_loop::running_loop;
use crate::executor::{Task, TaskRef};
use crate::step::{has_budget, step_again};

/// Runs a future as a task on the running loop; its first step comes in the next turn.
///
/// The task runs on if what this returns is dropped. Its result is dropped with it then,
/// *also an `Err`, silently*: have it handled within the task, or await the task somewhere.
/// Only a panic that nobody awaits is reported.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.create_task`, which reports "Task exception was never retrieved" for errors
/// too: there, each error is an exception; here, an `Err` is a value like others.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{create_task, run, yield_now};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let other = create_task(async {
///         yield_now().await;
///         "done"
///     });
///     assert!(!other.done());
///     assert_eq!(other.await?, "done");
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn create_task<F>(future: F) -> Task<F::Output>
where
    F: std::future::Future + 'static,
    F::Output: 'static,
{
    running_loop().create_task(future)
}

/// Runs a future as a task whose first step is taken here and now, before this returns.
///
/// Only if it waits then, it is queued: what is often complete at once (a cache that
/// mostly hits) costs no turn. Within the step, [`current_task`] is the new task; what it
/// completes without waiting comes out of the caller's budget (D4).
///
/// Not a faster `create_task`: its code runs in the midst of the caller's, so nothing that
/// the two share may be borrowed meanwhile.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks. A panic of the future is
/// the task's, as always.
///
/// # asyncio
/// `create_task` on a loop whose task factory is `asyncio.eager_task_factory` (3.12), or
/// with `eager_start=True` (3.14).
///
/// # Examples
/// ```
/// use std::cell::Cell;
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{run, spawn_eager, yield_now};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let at_once = spawn_eager(async { 42 });
///     assert!(at_once.done());
///
///     let steps = Rc::new(Cell::new(0));
///     let counted = steps.clone();
///     let later = spawn_eager(async move {
///         counted.set(1);
///         yield_now().await;
///         counted.set(2);
///     });
///     assert_eq!(steps.get(), 1);
///     later.await?;
///     assert_eq!(steps.get(), 2);
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn spawn_eager<F>(future: F) -> Task<F::Output>
where
    F: std::future::Future + 'static,
    F::Output: 'static,
{
    running_loop().spawn_eager(future)
}

/// Returns the task whose step runs; `None` in a callback.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.current_task`.
#[must_use]
#[track_caller]
pub fn current_task() -> Option<TaskRef> {
    running_loop().current_task()
}

/// Returns the running loop's tasks that have not ended, the oldest first.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.all_tasks`.
#[must_use]
#[track_caller]
pub fn all_tasks() -> Vec<TaskRef> {
    running_loop().all_tasks()
}

/// Lets the others have a turn: suspends for exactly one.
///
/// # Cancel safety
/// Cancel safe: it holds nothing.
///
/// # asyncio
/// `asyncio.sleep(0)`.
pub fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        step_again(cx.waker());
        Poll::Pending
    })
}

/// D4: lets the others have a turn if this step completed too much without waiting.
///
/// What completes I/O awaits this first.
pub(crate) async fn spend_budget() {
    if !has_budget() {
        yield_now().await;
    }
}
