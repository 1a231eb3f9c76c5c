//! What can be gathered: many futures of one type, or a few of different types.
//!
//! ```text
//!   Vec<F>, [F; N] ──Gatherable──► Vec<Task<T>>        ──FallibleTasks──► Vec<T>
//!   (F0, F1, …)    ──Gatherable──► (Task<T0>, Task<T1>) ──FallibleTasks──► (T0, T1)
//! ```

use crate::error::JoinError;
use crate::event_loop::LoopHandle;
use crate::executor::Task;

pub(super) use sealed::Watcher;

/// What [`gather`](crate::gather) takes: a `Vec` or an array of futures, or a tuple.
pub trait Gatherable: sealed::Sealed {
    /// The tasks that they become.
    type Children: GatheredTasks;

    #[doc(hidden)]
    fn spawn_all(self, handle: &LoopHandle) -> Self::Children;
}

/// The tasks that [`gather`](crate::gather) made.
pub trait GatheredTasks: Unpin + sealed::Sealed {
    /// What [`Gather::return_exceptions`](crate::Gather::return_exceptions) gives: a `Result` for each.
    type Outcomes;

    #[doc(hidden)]
    fn watch(&self, watcher: &Watcher);

    #[doc(hidden)]
    fn count(&self) -> usize;

    #[doc(hidden)]
    fn cancel(&self);

    #[doc(hidden)]
    fn take_outcomes(&mut self) -> Self::Outcomes;
}

/// The tasks that [`gather`](crate::gather) made, of futures that return a `Result`.
pub trait FallibleTasks: GatheredTasks {
    /// What [`gather`](crate::gather) gives.
    type Values;

    /// What it fails with.
    type Error;

    #[doc(hidden)]
    fn take_error(&mut self, number: usize) -> Option<Self::Error>;

    #[doc(hidden)]
    fn take_values(&mut self) -> Self::Values;
}

const ENDED: &str = "it is taken once, when all have ended";

fn take_error<T, E>(task: &Task<Result<T, E>>) -> Option<E>
where
    T: 'static,
    E: From<JoinError> + 'static,
{
    if task.has_outcome(|outcome| matches!(outcome, Ok(Ok(_)))) {
        return None;
    }
    match task.take_outcome()? {
        Ok(result) => result.err(),
        Err(error) => Some(error.into()),
    }
}

fn take_value<T: 'static, E: 'static>(task: &Task<Result<T, E>>) -> T {
    match task.take_outcome() {
        Some(Ok(Ok(value))) => value,
        _ => unreachable!("the first error ended the gathering"),
    }
}

// ── many of one type ────────────────────────────────────────────────────────────

impl<F> Gatherable for Vec<F>
where
    F: Future + 'static,
    F::Output: 'static,
{
    type Children = Vec<Task<F::Output>>;

    fn spawn_all(self, handle: &LoopHandle) -> Self::Children {
        self.into_iter().map(|f| handle.create_task(f)).collect()
    }
}

impl<F, const N: usize> Gatherable for [F; N]
where
    F: Future + 'static,
    F::Output: 'static,
{
    type Children = Vec<Task<F::Output>>;

    fn spawn_all(self, handle: &LoopHandle) -> Self::Children {
        self.into_iter().map(|f| handle.create_task(f)).collect()
    }
}

impl<T: 'static> GatheredTasks for Vec<Task<T>> {
    type Outcomes = Vec<Result<T, JoinError>>;

    fn watch(&self, watcher: &Watcher) {
        for (number, task) in self.iter().enumerate() {
            watcher.watch(task, number);
        }
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn cancel(&self) {
        for task in self {
            task.cancel();
        }
    }

    fn take_outcomes(&mut self) -> Self::Outcomes {
        let outcomes = self.iter().map(|task| task.take_outcome().expect(ENDED));
        outcomes.collect()
    }
}

impl<T, E> FallibleTasks for Vec<Task<Result<T, E>>>
where
    T: 'static,
    E: From<JoinError> + 'static,
{
    type Values = Vec<T>;
    type Error = E;

    fn take_error(&mut self, number: usize) -> Option<E> {
        take_error(&self[number])
    }

    fn take_values(&mut self) -> Vec<T> {
        self.iter().map(take_value).collect()
    }
}

// ── a few of different types ────────────────────────────────────────────────────

macro_rules! gather_tuples {
    ($(($($n:tt $future:ident $value:ident),+) of $count:literal)+) => {$(
        impl<$($future),+> Gatherable for ($($future,)+)
        where
            $($future: Future + 'static, $future::Output: 'static,)+
        {
            type Children = ($(Task<$future::Output>,)+);

            fn spawn_all(self, handle: &LoopHandle) -> Self::Children {
                ($(handle.create_task(self.$n),)+)
            }
        }

        impl<$($value: 'static),+> GatheredTasks for ($(Task<$value>,)+) {
            type Outcomes = ($(Result<$value, JoinError>,)+);

            fn watch(&self, watcher: &Watcher) {
                $(watcher.watch(&self.$n, $n);)+
            }

            fn count(&self) -> usize {
                $count
            }

            fn cancel(&self) {
                $(self.$n.cancel();)+
            }

            fn take_outcomes(&mut self) -> Self::Outcomes {
                ($(self.$n.take_outcome().expect(ENDED),)+)
            }
        }

        impl<$($value,)+ E> FallibleTasks for ($(Task<Result<$value, E>>,)+)
        where
            $($value: 'static,)+
            E: From<JoinError> + 'static,
        {
            type Values = ($($value,)+);
            type Error = E;

            fn take_error(&mut self, number: usize) -> Option<E> {
                match number {
                    $($n => take_error(&self.$n),)+
                    _ => None,
                }
            }

            fn take_values(&mut self) -> Self::Values {
                ($(take_value(&self.$n),)+)
            }
        }

        impl<$($future),+> sealed::Sealed for ($($future,)+) {}
    )+};
}

gather_tuples! {
    (0 F0 T0) of 1
    (0 F0 T0, 1 F1 T1) of 2
    (0 F0 T0, 1 F1 T1, 2 F2 T2) of 3
    (0 F0 T0, 1 F1 T1, 2 F2 T2, 3 F3 T3) of 4
    (0 F0 T0, 1 F1 T1, 2 F2 T2, 3 F3 T3, 4 F4 T4) of 5
    (0 F0 T0, 1 F1 T1, 2 F2 T2, 3 F3 T3, 4 F4 T4, 5 F5 T5) of 6
    (0 F0 T0, 1 F1 T1, 2 F2 T2, 3 F3 T3, 4 F4 T4, 5 F5 T5, 6 F6 T6) of 7
    (0 F0 T0, 1 F1 T1, 2 F2 T2, 3 F3 T3, 4 F4 T4, 5 F5 T5, 6 F6 T6, 7 F7 T7) of 8
}

/// Nobody else implements these traits, or has a use for what they are called with.
mod sealed {
    use std::rc::Rc;

    use crate::executor::Task;
    use crate::task::completions::Completions;

    pub trait Sealed {}

    impl<F> Sealed for Vec<F> {}
    impl<F, const N: usize> Sealed for [F; N] {}

    #[expect(missing_debug_implementations, reason = "nobody outside can name it")]
    pub struct Watcher(Rc<Completions>);

    impl Watcher {
        pub(in crate::task) fn new(completions: &Rc<Completions>) -> Watcher {
            Watcher(completions.clone())
        }

        pub(super) fn watch<T>(&self, task: &Task<T>, number: usize) {
            self.0.watch(task, number);
        }
    }
}
