//! Happy Eyeballs (RFC 8305): a race between a host's addresses, with one winner.
//!
//! A host often has addresses of two families, and one of the two may lead nowhere: then
//! whoever tries the addresses one by one waits for minutes. So the next attempt begins
//! when the one before it has failed *or* has taken a while, and goes on beside it.
//!
//! ```text
//!   interleave   6a 6b 6c 4a 4b  ──►  6a 4a 6b 4b 6c     the families take turns
//!
//!   race         0 ──────────────────────────────────►✗ dropped: its socket is closed
//!                ├──── delay ────┤
//!                                1 ──►✗ fails: the next one begins at once
//!                                     2 ─────────────►✓ connected: the winner
//!                                     ├─── delay ───┤
//!                                                   3►✗ connected in the same turn: closed
//! ```
//!
//! Always true:
//! * **One winner (D13).** An attempt is a future that owns its socket, and the race owns
//!   the futures and polls them in place: there is no task that could go on by itself. A
//!   socket leaves the race in one place only, where it is returned; every other attempt is
//!   dropped before that, which closes its socket, connected or not.
//! * **None is left.** Who drops the race drops all attempts with it, for the same reason.
//! * At most [`MAX_IN_FLIGHT`] attempts run at once (R9).
//!
//! asyncio: `_interleave_addrinfos` of `base_events.py`, and `staggered.staggered_race`,
//! which runs its attempts as tasks.

use std::future::poll_fn;
use std::iter::Peekable;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::event_loop::Family;
use crate::time::{Sleep, sleep};

/// How long to wait for an attempt before the next one begins beside it, unless it is said:
/// RFC 8305 recommends 250 milliseconds.
pub(super) const RECOMMENDED_DELAY: Duration = Duration::from_millis(250);

/// Attempts that run at once, at most; the next one begins when one of them fails.
///
/// 16: eight addresses of each family. Hosts that have more are rare, and the bound keeps
/// one connect from taking all descriptors, whatever delay is set and whatever a name
/// server answers.
const MAX_IN_FLIGHT: usize = 16;

/// Has the families take turns, the one that comes first leading by `first_family_count`
/// addresses; zero keeps the order.
///
/// Within a family the order stays, so that the resolver's preferences do.
#[inline]
pub(super) fn interleave(addresses: Vec<SocketAddr>, first_family_count: usize) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else {
        return addresses;
    };
    if first_family_count == 0 {
        return addresses;
    }
    let first_family = Family::of(first);
    let len = addresses.len();
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| first_family.admits(address));
    let (mut first, mut second) = (first.into_iter(), second.into_iter());

    let mut order = Vec::with_capacity(len);
    order.extend(first.by_ref().take(first_family_count - 1));
    while order.len() < len {
        order.extend(first.next());
        order.extend(second.next());
    }
    order
}

/// Runs attempts until one succeeds, and drops all others before it returns. If none does,
/// returns why each failed, in the order they began in.
///
/// The next one begins when the last one that began fails, or has run for `delay`; without
/// a delay they run one after the other.
pub(super) async fn race<A, T, E>(
    attempts: impl Iterator<Item = A>,
    delay: Option<Duration>,
) -> Result<T, Vec<E>>
where
    A: Future<Output = Result<T, E>>,
{
    let mut race = Race {
        waiting: attempts.peekable(),
        running: Vec::new(),
        failures: Vec::new(),
        begun: 0,
        delay,
        stagger: None,
    };
    poll_fn(|cx| race.poll(cx)).await
}

struct Race<I: Iterator, E> {
    /// Attempts that have not begun: nothing of them has run, so they hold nothing.
    waiting: Peekable<I>,
    /// In the order they began in.
    ///
    /// Invariant: holds [`MAX_IN_FLIGHT`] at the most.
    running: Vec<Running<I::Item>>,
    failures: Vec<(usize, E)>,
    /// How many attempts have begun, and so the number of the next one.
    begun: usize,
    delay: Option<Duration>,
    /// Ends when the last one that began has run for the delay.
    stagger: Option<Sleep>,
}

struct Running<A> {
    number: usize,
    attempt: Pin<Box<A>>,
}

impl<I, A, T, E> Race<I, E>
where
    I: Iterator<Item = A>,
    A: Future<Output = Result<T, E>>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Vec<E>>> {
        loop {
            if let Some(winner) = self.poll_running(cx) {
                // D13: all others are gone before anybody sees the winner.
                self.running.clear();
                return Poll::Ready(Ok(winner));
            }
            if self.waiting.peek().is_none() && self.running.is_empty() {
                return Poll::Ready(Err(self.take_failures()));
            }
            if !self.is_time_for_another(cx) {
                return Poll::Pending;
            }
            self.begin_another();
        }
    }

    /// Polls each attempt that runs, until one of them has won.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<T> {
        let mut place = 0;
        while let Some(running) = self.running.get_mut(place) {
            match running.attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(winner)) => return Some(winner),
                Poll::Ready(Err(error)) => {
                    let failed = self.running.remove(place);
                    self.note_failure(failed.number, error);
                }
                Poll::Pending => place += 1,
            }
        }
        None
    }

    /// Says whether the next attempt is due and may begin; if not, has the task woken when it
    /// may be.
    fn is_time_for_another(&mut self, cx: &mut Context<'_>) -> bool {
        if self.waiting.peek().is_none() {
            return false;
        }
        let last_runs = self.running.last().map(|last| last.number + 1) == Some(self.begun);
        let mut is_late = || {
            let stagger = self.stagger.as_mut();
            stagger.is_some_and(|stagger| Pin::new(stagger).poll(cx).is_ready())
        };
        // If the last one doesn't run, it failed, or there was none.
        let is_due = !last_runs || is_late();
        // An attempt that makes room by its failure wakes the task itself.
        is_due && self.running.len() < MAX_IN_FLIGHT
    }

    fn begin_another(&mut self) {
        let Some(attempt) = self.waiting.next() else {
            return;
        };
        self.running.push(Running {
            number: self.begun,
            attempt: Box::pin(attempt),
        });
        self.begun += 1;
        self.stagger = self.delay.map(sleep);
    }

    /// Keeps a failure behind those of the attempts that were begun before it.
    fn note_failure(&mut self, number: usize, error: E) {
        let place = self.failures.partition_point(|(other, _)| *other < number);
        self.failures.insert(place, (number, error));
    }

    fn take_failures(&mut self) -> Vec<E> {
        let failures = std::mem::take(&mut self.failures);
        failures.into_iter().map(|(_, error)| error).collect()
    }
}

#[cfg(test)]
mod tests;
