//! The futures of a reader: how a read waits.
//!
//! ```text
//!   poll ─► try ──enough──► the result
//!            ▲  └─too little──► wait ──► Pending
//!            ├──── something was fed ◄────┤
//!            └─ pull ◄─ something was left ┘        many bytes: pull.rs
//! ```
//!
//! A wait ends with an error if it takes longer than the reader's limit, where one is set
//! (`patience.rs`); each of the waits of a read has that limit anew.
//!
//! Written by hand, as the state machines that they are: a task that waits in a read keeps
//! nothing but this.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::error::{ReadError, TimedOut};
use crate::step::has_budget;

use super::reader::StreamReader;
use super::state::Method;

/// Tries; if that takes more bytes, waits until something was fed or left to it, and tries
/// again.
///
/// An attempt removes bytes only when it has the result, which is returned at once. So a
/// read may be dropped while it waits, and nothing is lost (S4).
pub(super) struct Read<'a, A, F> {
    /// `None` once the read has given its result, which may borrow from it.
    reader: Option<&'a mut StreamReader>,
    trial: Trial<A>,
    /// Makes the result of what was found. That is a word or two, and the result more: so it
    /// is made last, in the task's own poll, and not handed up to it.
    finish: F,
}

/// What a read does to find something: nearly always a closure.
pub(super) trait Attempt {
    type Found;

    /// What is left to it in the kernel, it pulls itself: it has a place of its own for that.
    /// For all others, it is brought home.
    const PULLS: bool = false;

    /// Returns what can be had without more ado: asked before all else.
    #[inline]
    fn at_hand(&mut self, _reader: &mut StreamReader) -> Option<Self::Found> {
        None
    }

    /// Returns `None` if it takes more bytes.
    fn find(&mut self, reader: &mut StreamReader) -> Result<Option<Self::Found>, ReadError>;
}

impl<T, A> Attempt for A
where
    A: FnMut(&mut StreamReader) -> Result<Option<T>, ReadError>,
{
    type Found = T;

    #[inline]
    fn find(&mut self, reader: &mut StreamReader) -> Result<Option<T>, ReadError> {
        self(reader)
    }
}

/// An attempt, and how far it is.
struct Trial<A> {
    attempt: A,
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

impl<'a, A, F> Read<'a, A, F> {
    #[inline]
    pub(super) fn new(reader: &'a mut StreamReader, method: Method, attempt: A, finish: F) -> Self {
        Read {
            reader: Some(reader),
            trial: Trial {
                attempt,
                method,
                stage: Stage::New,
            },
            finish,
        }
    }
}

impl<'a, A, F, R> Future for Read<'a, A, F>
where
    A: Attempt + Unpin,
    F: Fn(&'a mut StreamReader, A::Found) -> R + Unpin,
{
    type Output = Result<R, ReadError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let read = self.get_mut();
        let found = match read.at_hand() {
            Some(found) => found,
            None => ready!(read.poll_on(cx))?,
        };
        let reader = read.reader.take();
        let reader = reader.expect("it has found something in it");
        Poll::Ready(Ok((read.finish)(reader, found)))
    }
}

impl<A: Attempt, F> Read<'_, A, F> {
    #[inline]
    fn at_hand(&mut self) -> Option<A::Found> {
        match (&mut self.reader, self.trial.stage) {
            (Some(reader), Stage::New) => self.trial.attempt.at_hand(reader),
            _ => None,
        }
    }

    /// Finds what is not at hand.
    fn poll_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<A::Found, ReadError>> {
        let (Some(reader), trial) = (&mut self.reader, &mut self.trial) else {
            panic!("a read was polled again after it had given its result");
        };
        loop {
            match trial.stage {
                Stage::New => ready!(trial.begin(reader, cx))?,
                Stage::Waits => ready!(trial.poll_wait(reader, cx)).map_err(out_of_time)?,
                Stage::Done => panic!("a read was polled again after it had failed"),
            }
            loop {
                if let Some(found) = trial.attempt.find(reader)? {
                    return Poll::Ready(Ok(found));
                }
                if A::PULLS || !reader.state().pull_home_at_once() {
                    break;
                }
            }
            trial.begin_wait(reader)?;
        }
    }
}

impl<A: Attempt> Trial<A> {
    /// Begins, if the step has budget left.
    #[inline]
    fn begin(
        &mut self,
        reader: &StreamReader,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ReadError>> {
        if !has_budget() {
            // D4: one turn for the others, and then with a fresh budget.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.stage = Stage::Done;
        Poll::Ready(reader.check_error_first())
    }

    fn begin_wait(&mut self, reader: &mut StreamReader) -> Result<(), ReadError> {
        reader.debug_assert_all_at_home();
        reader.begin_patience();
        let state = reader.state();
        // Only a paused transport is needed, to be resumed (S2).
        let paused = state.is_paused();
        let transport = paused.then(|| reader.transport()).flatten();
        state.begin_wait(self.method, transport)?;
        self.stage = Stage::Waits;
        Ok(())
    }

    /// Waits until something was fed, with what the reader has of patience.
    #[inline]
    fn poll_wait(
        &mut self,
        reader: &mut StreamReader,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), TimedOut>> {
        if reader.state().poll_wait(cx).is_pending() {
            ready!(reader.poll_patience(cx));
            self.stage = Stage::Done;
            self.give_up(reader);
            return Poll::Ready(Err(TimedOut));
        }
        self.stage = Stage::Done;
        reader.end_patience();
        let state = reader.state();
        // One that pulls finds out itself whether bytes were left to it.
        if !A::PULLS && state.end_wait() {
            state.pull_home();
        }
        Poll::Ready(Ok(()))
    }
}

impl<A> Trial<A> {
    /// It is dropped while it waits, or out of patience.
    #[cold]
    fn give_up(&self, reader: &mut StreamReader) {
        reader.state().give_up_wait();
        reader.end_patience();
        reader.offer_again();
    }
}

impl<A, F> Drop for Read<'_, A, F> {
    #[inline]
    fn drop(&mut self) {
        if self.trial.stage == Stage::Waits {
            if let Some(reader) = &mut self.reader {
                self.trial.give_up(reader);
            }
        }
    }
}

#[cold]
fn out_of_time(_: TimedOut) -> ReadError {
    ReadError::TimedOut
}
