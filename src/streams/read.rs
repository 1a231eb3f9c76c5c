//! The futures of a reader: how a read waits.
//!
//! ```text
//!   poll ─► try ──enough──► the result
//!            ▲  └─too little──► wait ──► Pending
//!            └──── something was fed ◄────┘
//! ```
//!
//! A wait ends with an error if it takes longer than the reader's limit, where one is set
//! (`patience.rs`); each of the waits of a read has that limit anew.
//!
//! Written by hand, as the state machines that they are: a task that waits in a read keeps
//! nothing but this.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::error::ReadError;
use crate::executor::has_budget;

use super::reader::StreamReader;
use super::state::WaitFor;

/// Tries; if that takes more bytes, waits until something was fed, and tries again.
///
/// An attempt removes bytes only when it has the result, which is returned at once. So a
/// read may be dropped while it waits, and nothing is lost (S4).
pub(super) struct Read<'a, A> {
    reader: &'a mut StreamReader,
    name: &'static str,
    attempt: A,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Tries,
    Waits,
    Done,
}

impl<'a, A> Read<'a, A> {
    pub(super) fn new(reader: &'a mut StreamReader, name: &'static str, attempt: A) -> Self {
        Read {
            reader,
            name,
            attempt,
            stage: Stage::New,
        }
    }

    fn begin_wait(&mut self) -> Result<(), ReadError> {
        self.reader.debug_assert_all_at_home();
        self.reader.begin_patience();
        let state = self.reader.state();
        // Only a paused transport is needed, to be resumed (S2).
        let paused = state.is_paused();
        let transport = paused.then(|| self.reader.transport()).flatten();
        state.begin_wait(self.name, transport.as_deref(), WaitFor::Feed)
    }
}

impl<T, A> Future for Read<'_, A>
where
    A: FnMut(&mut StreamReader) -> Result<Option<T>, ReadError> + Unpin,
{
    type Output = Result<T, ReadError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.get_mut();
        loop {
            match read.stage {
                Stage::New => {
                    if !has_budget() {
                        // D4: one turn for the others, and then with a fresh budget.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    read.stage = Stage::Tries;
                    read.reader.check_error_first()?;
                }
                Stage::Tries => {
                    if let Some(result) = (read.attempt)(read.reader)? {
                        read.stage = Stage::Done;
                        return Poll::Ready(Ok(result));
                    }
                    read.begin_wait()?;
                    read.stage = Stage::Waits;
                }
                Stage::Waits => {
                    if read.reader.state().poll_wait(cx).is_pending() {
                        ready!(read.reader.poll_patience(cx));
                        return Poll::Ready(Err(ReadError::TimedOut));
                    }
                    read.reader.state().end_wait();
                    read.stage = Stage::Tries;
                }
                Stage::Done => panic!("a read was polled again after it had given its result"),
            }
        }
    }
}

impl<A> Drop for Read<'_, A> {
    fn drop(&mut self) {
        if self.stage == Stage::Waits {
            self.reader.state().end_wait();
        }
        self.reader.end_patience();
    }
}
