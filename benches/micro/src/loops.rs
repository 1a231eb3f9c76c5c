//! The loops, each of which runs one future to its end; and the words in which both
//! libraries are told the same.

use std::io;

use ::millstream::EventLoop;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::LocalSet;

pub(crate) fn millstream<T: 'static>(main: impl Future<Output = T> + 'static) -> io::Result<T> {
    EventLoop::new()?.run_until_complete(main)
}

pub(crate) fn current_thread<T>(main: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(main))
}

pub(crate) fn local_set<T>(main: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, main))
}

pub(crate) fn local_runtime<T>(main: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    Ok(runtime.block_on(main))
}

/// Writes a part out for each library: `measure(n)` with the library's own `spawn`, `sleep`
/// and `yield_now`, and a `run(n)` that runs it.
///
/// What is measured runs as a task, not as the future that the loop was started with: that
/// one Tokio polls in another way, and slower.
macro_rules! for_each_library {
    ($part:ident, $measure:item) => {
        mod $part {
            $crate::loops::for_one!(millstream, millstream, ::millstream::create_task, $measure);
            $crate::loops::for_one!(spawn, current_thread, ::tokio::spawn, $measure);
            $crate::loops::for_one!(local_set, local_set, ::tokio::task::spawn_local, $measure);
            $crate::loops::for_one!(
                local_runtime,
                local_runtime,
                ::tokio::task::spawn_local,
                $measure
            );
        }
    };
}

/// The same for what can't be given to `spawn`, which asks for `Send`. `theirs` is Tokio's, if
/// that has other words for it.
macro_rules! for_each_local {
    ($part:ident, $ours:item, $theirs:item) => {
        mod $part {
            $crate::loops::for_one!(millstream, millstream, ::millstream::create_task, $ours);
            $crate::loops::for_one!(local_set, local_set, ::tokio::task::spawn_local, $theirs);
            $crate::loops::for_one!(
                local_runtime,
                local_runtime,
                ::tokio::task::spawn_local,
                $theirs
            );
        }
    };
    ($part:ident, $both:item) => {
        $crate::loops::for_each_local!($part, $both, $both);
    };
}

/// The same for what is one with each way of spawning.
macro_rules! for_both {
    ($part:ident, $measure:item) => {
        mod $part {
            $crate::loops::for_one!(millstream, millstream, ::millstream::create_task, $measure);
            $crate::loops::for_one!(tokio, current_thread, ::tokio::spawn, $measure);
        }
    };
}

/// Writes a part out for one library, or for one way of using it.
macro_rules! for_one {
    ($module:ident, $loop:ident, $spawn:path, $measure:item) => {
        pub(crate) mod $module {
            #[allow(unused_imports, reason = "each part needs some of them")]
            use {super::super::*, $spawn as spawn_main, $spawn as spawn};

            #[allow(unused_imports, reason = "each part needs some of them")]
            use $crate::loops::words::$loop::*;

            pub(crate) fn run(n: u64) -> io::Result<Duration> {
                $crate::loops::$loop(async move { Ok(spawn_main(measure(n)).await?) })?
            }

            $measure
        }
    };
}

pub(crate) use {for_both, for_each_library, for_each_local, for_one};

/// What each library calls what both have.
pub(crate) mod words {
    pub(crate) mod millstream {
        pub(crate) use ::millstream::{sleep, yield_now};
    }

    pub(crate) mod current_thread {
        pub(crate) use ::tokio::{task::yield_now, time::sleep};
    }

    pub(crate) use {current_thread as local_set, current_thread as local_runtime};
}
