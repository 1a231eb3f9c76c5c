//! The waiters: who sleeps on what.
//!
//! Layer 2. Above: join handles, reads, `drain`, locks. Below: the sleeper.
//!
//! ```text
//!   a future that must wait ──register──► WaiterCell   at most one sleeper
//!                           ──wait──────► WaiterList   any number, first come, first woken:
//!                                                      all at once, or one as the next in turn
//!   a poll that must wait ──register──► WakerSet     any number, which look again
//!   what it waits for ──────wake────────►   ──► Sleeper ──► the ready queue
//! ```
//!
//! Always true:
//! * no borrow is alive while a sleeper is made, dropped or woken: all three may run
//!   somebody else's code (R3);
//! * a future that is dropped leaves no sleeper behind, but in a set, which can't tell its
//!   own from those of the living, and so is bounded;
//! * a sleeper that was woken as the next in turn either learns of it by its next poll, or
//!   can be asked when it is dropped, so that its turn passes on and is never lost.
//!
//! asyncio: the `_waiter` of a `StreamReader`, the `_waiters` deques of locks and of
//! `FlowControlMixin`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::sleeper::Sleeper;
use crate::waits::{TaskAddress, WaitsOn, What, note};

/// A place for at most one sleeper.
#[derive(Default)]
pub(crate) struct WaiterCell(Cell<Sleeper>);

impl WaiterCell {
    /// Remembers whom to wake, in the place of whoever was remembered before.
    ///
    /// The one place that knows: registering the same again clones nothing.
    #[inline]
    pub(crate) fn register(&self, waker: &Waker) {
        let kept = self.0.take();
        if kept.is(waker) {
            return self.0.set(kept);
        }
        self.0.set(Sleeper::of(waker));
    }

    /// Says who sleeps here.
    pub(crate) fn sleeper(&self) -> Option<TaskAddress> {
        let known = self.0.take();
        let sleeper = known.address();
        self.0.set(known);
        sleeper
    }

    /// Forgets the sleeper.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }

    /// Wakes the sleeper, if there is one, and forgets it.
    #[inline]
    pub(crate) fn wake(&self) {
        self.0.take().wake();
    }
}

/// Any number of sleepers that don't mind being woken once too often: they look for
/// themselves whether what they wait for has come, and leave no ticket to take back.
///
/// In a box that the first sleeper brings: each connection has a set, and few a sleeper.
///
/// Invariant: holds [`MAX_WAKERS`] at the most.
#[derive(Default)]
pub(crate) struct WakerSet(OnceCell<Box<RefCell<Vec<Sleeper>>>>);

/// Sleepers in a set, at most (R9).
///
/// 1024: more tasks than wait for one thing at once, so that a full set is one of those who
/// gave up, and left the cells of tasks that have ended behind: some 150 KiB.
const MAX_WAKERS: usize = 1024;

impl WakerSet {
    /// Remembers whom to wake, once for each.
    ///
    /// A full set wakes all and begins anew: those who still wait come back.
    pub(crate) fn register(&self, waker: &Waker) {
        let sleepers = self.0.get_or_init(Box::default);
        let known = sleepers.borrow().iter().any(|sleeper| sleeper.is(waker));
        if known {
            return;
        }
        if sleepers.borrow().len() >= MAX_WAKERS {
            self.wake_all();
        }
        let sleeper = Sleeper::of(waker);
        sleepers.borrow_mut().push(sleeper);
    }

    /// Wakes all, and forgets them.
    #[inline]
    pub(crate) fn wake_all(&self) {
        // There are none after nearly each send.
        if let Some(sleepers) = self.0.get() {
            wake_each(sleepers);
        }
    }
}

fn wake_each(sleepers: &RefCell<Vec<Sleeper>>) {
    for sleeper in sleepers.take() {
        sleeper.wake();
    }
}

/// Any number of sleepers, woken first come, first served.
pub(crate) struct WaiterList {
    /// What those who sleep here wait for.
    what: What,
    /// In a box that the first sleeper brings: each stream has two lists, and few a sleeper.
    sleepers: OnceCell<Box<Sleepers>>,
}

#[derive(Default)]
struct Sleepers {
    waiting: RefCell<VecDeque<InTurn>>,
    /// The ticket of the next sleeper.
    ///
    /// Invariant: larger than each ticket in `waiting`, which are in rising order.
    next_ticket: Cell<u64>,
}

/// Places that a list keeps when all are woken: where few sleep at a time, each that comes
/// would be an allocation. Four are what the first brings.
const KEPT_PLACES: usize = 4;

impl Sleepers {
    /// Takes out who sleeps longest, if the ticket is an earlier one.
    #[inline]
    fn take_earlier(&self, ticket: u64) -> Option<Sleeper> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.front()?.ticket >= ticket {
            return None;
        }
        waiting.pop_front().map(|first| first.sleeper)
    }

    /// Gives the memory of many back, once nobody sleeps.
    #[inline]
    fn forget_many(&self) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() && waiting.capacity() > KEPT_PLACES {
            *waiting = VecDeque::new();
        }
    }
}

/// A sleeper, and its place in the turn.
struct InTurn {
    ticket: u64,
    sleeper: Sleeper,
}

impl Default for WaiterList {
    /// A list that notes nothing: whoever uses it does.
    fn default() -> WaiterList {
        WaiterList::of(What::Nothing)
    }
}

impl WaiterList {
    /// A list of those who wait for this.
    pub(crate) fn of(what: What) -> WaiterList {
        WaiterList {
            what,
            sleepers: OnceCell::new(),
        }
    }

    /// What those who sleep here wait for.
    pub(crate) fn waits_on(&self) -> WaitsOn {
        WaitsOn::this(self.what, self)
    }

    /// Sleeps until woken from this list.
    pub(crate) fn wait(&self) -> Wait<'_> {
        Wait {
            list: self,
            ticket: None,
        }
    }

    /// Wakes all who sleep here now.
    pub(crate) fn wake_all(&self) {
        let Some(sleepers) = self.sleepers.get() else {
            return;
        };
        // Those who come back while we wake are new sleepers.
        let later = sleepers.next_ticket.get();
        while let Some(sleeper) = sleepers.take_earlier(later) {
            sleeper.wake(); // R3: no borrow is alive
        }
        sleepers.forget_many();
    }

    /// Wakes the one who sleeps here longest, and hands the turn to it. False if nobody
    /// sleeps here.
    ///
    /// Whoever holds a [`Wait`] passes the turn on if it was chosen and is dropped before
    /// it was polled: see [`Wait::was_chosen`].
    pub(crate) fn wake_first(&self) -> bool {
        let first = self.sleepers().waiting.borrow_mut().pop_front();
        let Some(InTurn { sleeper, .. }) = first else {
            return false;
        };
        sleeper.wake();
        true
    }

    /// Returns how many sleep here.
    pub(crate) fn len(&self) -> usize {
        self.sleepers().waiting.borrow().len()
    }

    /// Puts the sleeper with this ticket in, or renews it.
    fn register(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let sleepers = self.sleepers();
        let Some(ticket) = ticket else {
            let ticket = sleepers.next_ticket.get();
            sleepers.next_ticket.set(ticket + 1);
            let sleeper = Sleeper::of(waker);
            let last = InTurn { ticket, sleeper };
            sleepers.waiting.borrow_mut().push_back(last);
            return ticket;
        };
        let renewed = self
            .position(ticket)
            .filter(|&at| !sleepers.waiting.borrow()[at].sleeper.is(waker));
        if let Some(at) = renewed {
            let sleeper = Sleeper::of(waker);
            let stale = std::mem::replace(&mut sleepers.waiting.borrow_mut()[at].sleeper, sleeper);
            drop(stale);
        }
        ticket
    }

    fn sleepers(&self) -> &Sleepers {
        self.sleepers.get_or_init(Box::default)
    }

    fn position(&self, ticket: u64) -> Option<usize> {
        self.sleepers()
            .waiting
            .borrow()
            .binary_search_by_key(&ticket, |in_turn| in_turn.ticket)
            .ok()
    }

    fn remove(&self, ticket: u64) {
        let Some(at) = self.position(ticket) else {
            return;
        };
        let removed = self.sleepers().waiting.borrow_mut().remove(at);
        drop(removed);
    }
}

/// The future of [`WaiterList::wait`].
pub(crate) struct Wait<'a> {
    list: &'a WaiterList,
    ticket: Option<u64>,
}

impl Wait<'_> {
    /// Says whether it was woken, and was not polled since: nobody knows of its turn yet.
    pub(crate) fn was_chosen(&self) -> bool {
        self.ticket.is_some_and(|t| self.list.position(t).is_none())
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A ticket that is no longer in the list was woken.
        if self.was_chosen() {
            self.ticket = None;
            return Poll::Ready(());
        }
        self.ticket = Some(self.list.register(self.ticket, cx.waker()));
        note(self.list.waits_on());
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.list.remove(ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken. Its `Arc` counts who keeps a waker of it.
    #[derive(Default)]
    struct Sleeping(AtomicUsize);

    impl Wake for Sleeping {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Sleeping {
        fn new() -> (Arc<Sleeping>, Waker) {
            let sleeping = Arc::new(Sleeping::default());
            (sleeping.clone(), Waker::from(sleeping))
        }

        fn wakes(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// How many wakers there are beside the one that [`Sleeping::new`] returned.
    fn kept(sleeping: &Arc<Sleeping>) -> usize {
        Arc::strong_count(sleeping) - 2
    }

    fn poll(wait: Pin<&mut Wait<'_>>, waker: &Waker) -> bool {
        wait.poll(&mut Context::from_waker(waker)).is_ready()
    }

    #[test]
    fn a_cell_keeps_one_waker_and_clones_it_once() {
        let cell = WaiterCell::default();
        let (one, waker) = Sleeping::new();
        cell.register(&waker);
        cell.register(&waker);
        assert_eq!(kept(&one), 1);

        let (other, other_waker) = Sleeping::new();
        cell.register(&other_waker);
        assert_eq!((kept(&one), kept(&other)), (0, 1));
        cell.wake();
        cell.wake();
        assert_eq!((one.wakes(), other.wakes()), (0, 1));
        assert_eq!(kept(&other), 0);
    }

    #[test]
    fn a_cell_that_is_cleared_wakes_nobody() {
        let cell = WaiterCell::default();
        let (sleeping, waker) = Sleeping::new();
        cell.register(&waker);
        cell.clear();
        cell.wake();
        assert_eq!((sleeping.wakes(), kept(&sleeping)), (0, 0));
    }

    #[test]
    fn a_set_wakes_each_once_and_forgets_them() {
        let set = WakerSet::default();
        let (one, waker) = Sleeping::new();
        let (other, other_waker) = Sleeping::new();
        for _ in 0..3 {
            set.register(&waker);
            set.register(&other_waker);
        }
        assert_eq!((kept(&one), kept(&other)), (1, 1));
        set.wake_all();
        set.wake_all();
        assert_eq!((one.wakes(), other.wakes()), (1, 1));
    }

    #[test]
    fn r_9_a_full_set_wakes_all_and_begins_anew() {
        let set = WakerSet::default();
        let sleepers: Vec<_> = (0..=MAX_WAKERS).map(|_| Sleeping::new()).collect();
        let (last, others) = sleepers.split_last().expect("there are many");
        for (sleeping, waker) in others {
            set.register(waker);
            assert_eq!((sleeping.wakes(), kept(sleeping)), (0, 1));
        }
        set.register(&others[0].1);
        assert_eq!(others[0].0.wakes(), 0, "it is known: nothing is added");

        set.register(&last.1);
        for (sleeping, _waker) in others {
            assert_eq!((sleeping.wakes(), kept(sleeping)), (1, 0));
        }
        assert_eq!((last.0.wakes(), kept(&last.0)), (0, 1));
        set.wake_all();
        assert_eq!(last.0.wakes(), 1);
    }

    #[test]
    fn a_list_wakes_all_who_sleep_and_none_who_come_later() {
        let list = WaiterList::default();
        let (one, waker) = Sleeping::new();
        let (other, other_waker) = Sleeping::new();
        let (mut first, mut second) = (pin!(list.wait()), pin!(list.wait()));
        assert!(!poll(first.as_mut(), &waker));
        assert!(!poll(second.as_mut(), &other_waker));
        list.wake_all();
        assert_eq!((one.wakes(), other.wakes()), (1, 1));

        assert!(poll(first.as_mut(), &waker));
        let mut third = pin!(list.wait());
        assert!(!poll(third.as_mut(), &waker), "it came after");
        assert!(poll(second.as_mut(), &other_waker));
        assert!(!poll(third.as_mut(), &waker));
    }

    #[test]
    fn a_list_hands_the_turn_to_one_after_the_other() {
        let list = WaiterList::default();
        let (one, waker) = Sleeping::new();
        let (other, other_waker) = Sleeping::new();
        let (mut first, mut second) = (pin!(list.wait()), pin!(list.wait()));
        assert!(!list.wake_first(), "nobody sleeps");
        assert!(!poll(first.as_mut(), &waker));
        assert!(!poll(second.as_mut(), &other_waker));
        assert_eq!(list.len(), 2);
        assert!(list.wake_first());
        assert_eq!((one.wakes(), other.wakes()), (1, 0));
        assert!(first.was_chosen() && !second.was_chosen());
        assert!(poll(first.as_mut(), &waker));
        assert!(!first.was_chosen(), "it knows");
        assert!(!poll(second.as_mut(), &other_waker));
        assert!(list.wake_first());
        assert!(poll(second.as_mut(), &other_waker));
        assert!(!list.wake_first());
    }

    #[test]
    fn a_list_renews_the_waker_of_a_sleeper_that_has_moved() {
        let list = WaiterList::default();
        let (one, waker) = Sleeping::new();
        let (other, other_waker) = Sleeping::new();
        let mut wait = pin!(list.wait());
        assert!(!poll(wait.as_mut(), &waker));
        assert!(!poll(wait.as_mut(), &waker));
        assert_eq!(kept(&one), 1);
        assert!(!poll(wait.as_mut(), &other_waker));
        list.wake_all();
        assert_eq!((one.wakes(), other.wakes()), (0, 1));
    }

    #[test]
    fn a_sleeper_that_is_dropped_leaves_no_waker_in_a_list() {
        let list = WaiterList::default();
        let (sleeping, waker) = Sleeping::new();
        let mut before = pin!(list.wait());
        assert!(!poll(before.as_mut(), &waker));
        {
            let mut given_up = pin!(list.wait());
            assert!(!poll(given_up.as_mut(), &waker));
            assert_eq!(kept(&sleeping), 2);
        }
        assert_eq!(kept(&sleeping), 1);
        list.wake_all();
        assert_eq!(sleeping.wakes(), 1);
        assert!(poll(before.as_mut(), &waker));
    }
}
