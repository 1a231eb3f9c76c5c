//! The future that is completed by hand, and the promise that completes it.
//!
//! ```text
//!   create_future() ──► Promise ──set_result──► Future ──await──► the value
//! ```

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::error::Cancelled;
use crate::event_loop::LoopHandle;
use crate::waiters::WaiterCell;
use crate::waits::{WaitsOn, What, note};

/// Makes a future of the running loop's, and the promise that completes it.
///
/// # asyncio
/// `loop.create_future`, whose one object has both sides.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::{create_future, get_running_loop, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let (promise, future) = create_future();
///     get_running_loop()?.call_soon(move || promise.set_result("flour"))?;
///     assert_eq!(future.await?, "flour");
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[must_use]
pub fn create_future<T>() -> (Promise<T>, Future<T>) {
    let shared = Rc::new(Shared {
        state: Cell::new(State::Promised),
        waiter: WaiterCell::default(),
    });
    let promise = Promise {
        shared: shared.clone(),
    };
    (promise, Future { shared })
}

impl LoopHandle {
    /// Makes a future, as [`create_future`] does.
    ///
    /// # asyncio
    /// `loop.create_future`.
    #[must_use]
    pub fn create_future<T>(&self) -> (Promise<T>, Future<T>) {
        create_future()
    }
}

struct Shared<T> {
    state: Cell<State<T>>,
    waiter: WaiterCell,
}

enum State<T> {
    Promised,
    Kept(T),
    /// The promise was dropped without a value.
    Broken,
    /// The future is gone, or gave its value away.
    Over,
}

/// The side that completes a [`Future`].
///
/// Dropping it without a value completes the future with [`Cancelled`].
pub struct Promise<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Promise<T> {
    /// Completes the future. If that was dropped, the value is dropped too.
    ///
    /// # asyncio
    /// `Future.set_result`, preceded by a look at `cancelled()`.
    pub fn set_result(self, value: T) {
        self.complete(State::Kept(value));
    }

    /// Says whether nobody awaits the value any more.
    ///
    /// # asyncio
    /// `Future.cancelled`, as the completing side asks it.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        Rc::strong_count(&self.shared) == 1
    }

    fn complete(&self, completed: State<T>) {
        match self.shared.state.replace(State::Over) {
            State::Promised if !self.cancelled() => {
                self.shared.state.set(completed);
                self.shared.waiter.wake();
            }
            State::Promised => {}
            earlier => self.shared.state.set(earlier),
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.complete(State::Broken);
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").finish_non_exhaustive()
    }
}

/// A value that comes later, once.
///
/// # Errors
/// Awaiting gives [`Cancelled`] if the promise was dropped without a value.
///
/// # Panics
/// If it is polled again after it gave its value.
///
/// # asyncio
/// `asyncio.Future`.
pub struct Future<T> {
    shared: Rc<Shared<T>>,
}

impl<T> std::future::Future for Future<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.state.replace(State::Over) {
            State::Kept(value) => Poll::Ready(Ok(value)),
            State::Broken => Poll::Ready(Err(Cancelled)),
            State::Promised => {
                self.shared.state.set(State::Promised);
                self.shared.waiter.register(cx.waker());
                note(WaitsOn::this(What::Promise, &*self.shared));
                Poll::Pending
            }
            State::Over => panic!("a future was polled again after it had given its value"),
        }
    }
}

impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        self.shared.waiter.clear();
    }
}

impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Future").finish_non_exhaustive()
    }
}
