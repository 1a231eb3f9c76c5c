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

use super::pull::offer_again;
use super::reader::StreamReader;
use super::state::{Method, WaitFor};

/// Tries; if that takes more bytes, waits until something was fed, and tries again.
///
/// An attempt removes bytes only when it has the result, which is returned at once. So a
/// read may be dropped while it waits, and nothing is lost (S4).
pub(super) struct Read<'a, A> {
    reader: &'a mut StreamReader,
    attempt: A,
    waits_for: WaitFor,
    method: Method,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Waits,
    /// It has tried for the last time, or tries now.
    Done,
}

impl<'a, A> Read<'a, A> {
    pub(super) fn new(reader: &'a mut StreamReader, method: Method, attempt: A) -> Self {
        Read {
            reader,
            attempt,
            waits_for: WaitFor::Feed,
            method,
            stage: Stage::New,
        }
    }

    /// A read whose attempt pulls: what comes while it waits, is left to it.
    pub(super) fn pulling(reader: &'a mut StreamReader, method: Method, attempt: A) -> Self {
        let mut read = Read::new(reader, method, attempt);
        read.waits_for = WaitFor::Pull;
        read
    }

    /// Begins, if the step has budget left.
    #[inline]
    fn begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        if !has_budget() {
            // D4: one turn for the others, and then with a fresh budget.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.stage = Stage::Done;
        Poll::Ready(self.reader.check_error_first())
    }

    fn begin_wait(&mut self) -> Result<(), ReadError> {
        self.reader.debug_assert_all_at_home();
        self.reader.begin_patience();
        let state = self.reader.state();
        // Only a paused transport is needed, to be resumed (S2).
        let paused = state.is_paused();
        let transport = paused.then(|| self.reader.transport()).flatten();
        state.begin_wait(self.method, transport, self.waits_for)?;
        self.stage = Stage::Waits;
        Ok(())
    }

    /// Waits until something was fed, with what the reader has of patience.
    #[inline]
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        if self.reader.state().poll_wait(cx).is_pending() {
            ready!(self.reader.poll_patience(cx));
            return Poll::Ready(Err(ReadError::TimedOut));
        }
        self.stage = Stage::Done;
        let state = self.reader.state();
        // One that waits to pull finds out itself whether bytes were left to it.
        if self.waits_for == WaitFor::Feed && state.end_wait() {
            state.pull_home();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T, A> Future for Read<'_, A>
where
    A: FnMut(&mut StreamReader) -> Result<Option<T>, ReadError> + Unpin,
{
    type Output = Result<T, ReadError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.get_mut();
        match read.stage {
            Stage::New => ready!(read.begin(cx))?,
            Stage::Waits => ready!(read.poll_wait(cx))?,
            Stage::Done => panic!("a read was polled again after it had given its result"),
        }
        loop {
            if let Some(result) = (read.attempt)(read.reader)? {
                return Poll::Ready(Ok(result));
            }
            read.begin_wait()?;
            ready!(read.poll_wait(cx))?;
        }
    }
}

impl<A> Read<'_, A> {
    /// It is dropped while it waits.
    #[cold]
    fn give_up(&mut self) {
        self.reader.state().give_up_wait();
        if let Some(transport) = self.reader.transport() {
            offer_again(transport);
        }
    }
}

impl<A> Drop for Read<'_, A> {
    #[inline]
    fn drop(&mut self) {
        if self.stage == Stage::Waits {
            self.give_up();
        }
        self.reader.end_patience();
    }
}
