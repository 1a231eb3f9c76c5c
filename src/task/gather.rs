//! Gathering: several futures at once, and the results of all.
//!
//! ```text
//!   gather([a, b, c]) ──► a task for each ──► all ended ──────► Ok([A, B, C])
//!                                        └──► the first error ► Err, the others go on
//!   dropped before that ──► all are cancelled
//! ```

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::event_loop::running_loop;

use super::completions::Completions;
use super::gatherable::{FallibleTasks, Gatherable, GatheredTasks, Watcher};

/// Runs several futures at once, each as a task, and gives all results, in the order of
/// the arguments.
///
/// Takes a `Vec` or an array of futures of one type, or a tuple of up to eight different
/// ones, each of which returns a `Result`; for those that don't, and to have each result
/// whatever became of the others, see [`Gather::return_exceptions`]. The tasks begin in the
/// next turn, also if what this returns is awaited later. Nothing to gather gives nothing,
/// at once.
///
/// # Errors
/// The first error of one of them, at once. The others go on as tasks, and nobody hears of
/// their results: who wants them to end with the first that fails uses a
/// [`TaskGroup`](crate::TaskGroup). A task that panicked or was cancelled gives a
/// [`JoinError`](crate::JoinError).
///
/// # Cancel safety
/// Dropping it before it is ready cancels all of them.
///
/// # Panics
/// With `no running event loop` outside of callbacks and tasks.
///
/// # asyncio
/// `asyncio.gather`. Of tasks that were made before (a `Task` is a future, too), it
/// cancels none: it made tasks that await them. A panic is not passed on, but an error.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{gather, memory_stream_pair, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let ((mut reader, writer), (mut peer_reader, peer)) = memory_stream_pair(1024);
///     let (here, there) = gather((
///         async move {
///             writer.write("ping\n");
///             io::Result::Ok(reader.readline().await?)
///         },
///         async move {
///             peer.write("pong\n");
///             io::Result::Ok(peer_reader.readline().await?.len())
///         },
///     ))
///     .await?;
///     assert_eq!((here, there), (b"pong\n".to_vec(), 5));
///
///     let squares = (1..=3).map(|n| async move { io::Result::Ok(n * n) });
///     assert_eq!(gather(squares.collect::<Vec<_>>()).await?, [1, 4, 9]);
///     Ok(())
/// })
/// # }
/// ```
#[track_caller]
pub fn gather<A: Gatherable>(futures: A) -> Gather<A::Children> {
    let children = futures.spawn_all(&running_loop());
    let completions = Rc::default();
    children.watch(&Watcher::new(&completions));
    Gather {
        pending: children.count(),
        children,
        completions,
    }
}

/// The future of [`gather`].
#[must_use = "dropped, it cancels what it gathers"]
pub struct Gather<C: GatheredTasks> {
    children: C,
    completions: Rc<Completions>,
    /// How many have not ended. Zero also after an error: the others are on their own.
    pending: usize,
}

impl<C: GatheredTasks> Gather<C> {
    /// Waits for all of them whatever happens, and gives for each what awaiting its task
    /// gives: `Result<T, JoinError>`, where `T` is what its future returns.
    ///
    /// # Cancel safety
    /// Dropping it before it is ready cancels all of them.
    ///
    /// # asyncio
    /// `gather(…, return_exceptions=True)`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use millstream::{gather, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let (good, bad) = gather((async { 42 }, async { panic!("it breaks") }))
    ///         .return_exceptions()
    ///         .await;
    ///     let bad: Result<(), _> = bad;
    ///     assert_eq!(good?, 42);
    ///     assert!(bad.is_err_and(|error| error.is_panic()));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn return_exceptions(self) -> GatherAll<C> {
        GatherAll(self)
    }

    /// Waits for the next that ends, and gives its number; none if all have.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        if self.pending == 0 {
            return Poll::Ready(None);
        }
        let number = ready!(self.completions.poll_next(cx));
        self.pending -= 1;
        Poll::Ready(Some(number))
    }
}

impl<C: FallibleTasks> Future for Gather<C> {
    type Output = Result<C::Values, C::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(number) = ready!(self.poll_next(cx)) {
            if let Some(error) = self.children.take_error(number) {
                self.pending = 0;
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(self.children.take_values()))
    }
}

impl<C: GatheredTasks> Drop for Gather<C> {
    fn drop(&mut self) {
        if self.pending > 0 {
            self.children.cancel();
        }
    }
}

impl<C: GatheredTasks> fmt::Debug for Gather<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather")
            .field("tasks", &self.children.count())
            .field("pending", &self.pending)
            .finish()
    }
}

/// The future of [`Gather::return_exceptions`].
#[must_use = "dropped, it cancels what it gathers"]
#[derive(Debug)]
pub struct GatherAll<C: GatheredTasks>(Gather<C>);

impl<C: GatheredTasks> Future for GatherAll<C> {
    type Output = C::Outcomes;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while ready!(self.0.poll_next(cx)).is_some() {}
        Poll::Ready(self.0.children.take_outcomes())
    }
}
