//! The reactor: where the operating system tells us what became ready.
//!
//! Layer 1. Above: the executor and the event loop. Below: mio.
//!
//! ```text
//!                 register, interest
//!   transport ────────────────────────► Reactor ────► mio::Poll (epoll, kqueue, poll)
//!      ▲                                  │  slab of sources:
//!      │                                  │  [generation, readiness, owner]
//!      └── read_ready, write_ready ◄── ready queue ◄── events, then what was retained
//! ```
//!
//! Always true between turns:
//! * every open source has exactly one slot, and the slot owns the source (R1);
//! * a slot freed during a turn is empty until the next poll, and ids carry a
//!   generation (R8);
//! * a source whose readable bit is set is queued, retained, paused or not armed (R6).
//!
//! asyncio: `selectors` plus `BaseSelectorEventLoop._process_events`.

mod sources; //   the table of what is watched
mod readiness; // what is known about one source, and when that is spent
mod notifier; //  what another thread rings

pub(crate) use notifier::Notifier;
pub(crate) use readiness::SHORT_MEANS_EXHAUSTED;
pub(crate) use sources::SourceId;

use std::cell::{Ref, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use mio::{Events, Interest, Poll};

use readiness::Readiness;
use sources::{NOTIFIER, Slot, Sources};

/// Something that the poller watches: a transport, a listener, a user's descriptor.
pub(crate) trait EventSource {
    /// A read is worth trying.
    fn read_ready(self: Rc<Self>);

    /// A write is worth trying.
    fn write_ready(self: Rc<Self>);

    /// The loop closes: let go of the socket and of what the user gave, and call
    /// nobody. The source has left the table already.
    fn hollow(self: Rc<Self>);

    /// The name of the transport that owns the descriptor, if one does.
    fn owner(&self) -> Option<String>;

    /// What it is, in words for people.
    fn describe(&self) -> String {
        self.owner().unwrap_or_else(|| "a source".to_owned())
    }

    /// The name of the user's callback that a direction calls, if it calls just one.
    fn callback_name(&self, _direction: Direction) -> Option<&'static str> {
        None
    }
}

/// Which of a source's two halves became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Read => "read",
            Direction::Write => "write",
        })
    }
}

/// `mio::Poll`, and the slab of what it watches.
pub(crate) struct Reactor {
    /// `None` once the loop is closed.
    poll: RefCell<Option<Poll>>,
    events: RefCell<Events>,
    sources: RefCell<Sources>,
}

/// How many events one poll can bring; those beyond come with the next.
///
/// 64: a turn serves so many sources, and the next one the tasks that wait for them. What
/// they touch, a kilobyte or two each, is still in the processor's second cache by then; that
/// of a thousand is not. One poll for 64 receives and as many sends is little.
const EVENTS: usize = 64;

impl Reactor {
    pub(crate) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            poll: RefCell::new(Some(Poll::new()?)),
            events: RefCell::new(Events::with_capacity(EVENTS)),
            sources: RefCell::default(),
        })
    }

    /// Makes what ends a sleep from another thread.
    pub(crate) fn notifier(&self) -> io::Result<Notifier> {
        Notifier::new(self.poll()?.registry(), NOTIFIER)
    }

    /// Takes a source into the table and has it watched for `interest`.
    ///
    /// An unarmed source collects readiness, and is queued only once it is armed (R7).
    pub(crate) fn register(
        &self,
        owner: Rc<dyn EventSource>,
        io: &mut dyn mio::event::Source,
        fd: RawFd,
        interest: Interest,
        armed: bool,
    ) -> io::Result<SourceId> {
        let id = self.insert(owner, fd, armed);
        let poll = self.poll();
        let registered = poll.and_then(|poll| poll.registry().register(io, id.token(), interest));
        if let Err(error) = registered {
            drop(self.remove(id));
            return Err(error);
        }
        self.sources.borrow_mut().set_watcher(fd, id);
        Ok(id)
    }

    /// Takes a source into the table that no poller knows, such as one end of an
    /// in-memory pair: [`set_ready`](Reactor::set_ready) makes it ready.
    ///
    /// A closed reactor takes nothing in (R1): the owner is dropped, and the id names no
    /// source, so that nothing ever becomes ready.
    pub(crate) fn register_unpolled(&self, owner: Rc<dyn EventSource>) -> SourceId {
        if self.poll.borrow().is_none() {
            drop(owner);
            return SourceId::NONE;
        }
        self.insert(owner, -1, false)
    }

    /// Has a source watched for another interest. What is ready already is reported
    /// again, on each of the back ends.
    pub(crate) fn reregister(
        &self,
        id: SourceId,
        io: &mut dyn mio::event::Source,
        interest: Interest,
    ) -> io::Result<()> {
        let poll = self.poll()?;
        match poll.registry().reregister(io, id.token(), interest) {
            // The poll(2) back end forgets a descriptor that hung up.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                poll.registry().register(io, id.token(), interest)
            }
            other => other,
        }
    }

    /// Takes a source out of the table and stops watching it.
    ///
    /// The caller drops what is returned when no borrow is alive (R3).
    #[must_use = "dropping the owner may run a user's code: drop it where no borrow is alive"]
    pub(crate) fn deregister(
        &self,
        id: SourceId,
        io: Option<&mut dyn mio::event::Source>,
    ) -> Option<Rc<dyn EventSource>> {
        if let Some(io) = io {
            // The descriptor is about to be closed, which would do as well; an error
            // here says that the poller did not know it any more.
            let poll = self.poll();
            let _ = poll.and_then(|poll| poll.registry().deregister(io));
        }
        self.remove(id)
    }

    /// Lets readiness queue the source from now on, that which was collected included.
    pub(crate) fn arm(&self, id: SourceId) {
        let mut sources = self.sources.borrow_mut();
        let Some(slot) = sources.get_mut(id) else {
            return;
        };
        slot.armed = true;
        let readiness = slot.readiness;
        if readiness.readable {
            sources.retain(id, Direction::Read);
        }
        if readiness.writable {
            sources.retain(id, Direction::Write);
        }
    }

    /// Queues the source with the next poll, though no event will ask for it (R6).
    pub(crate) fn retain(&self, id: SourceId, direction: Direction) {
        self.sources.borrow_mut().retain(id, direction);
    }

    /// Sets the bit of a source that no poller watches, as an event would.
    pub(crate) fn set_ready(&self, id: SourceId, direction: Direction) {
        let mut sources = self.sources.borrow_mut();
        let Some(slot) = sources.get_mut(id) else {
            return;
        };
        match direction {
            Direction::Read => slot.readiness.readable = true,
            Direction::Write => slot.readiness.writable = true,
        }
        if slot.armed {
            sources.retain(id, direction);
        }
    }

    /// Sets the bits of a source that no poller watches and whose stream has ended: a
    /// short read clears the readable one no more (R6).
    pub(crate) fn set_read_closed(&self, id: SourceId) {
        if let Some(slot) = self.sources.borrow_mut().get_mut(id) {
            slot.readiness.read_closed = true;
        }
        self.set_ready(id, Direction::Read);
    }

    /// Says whether a read is worth trying.
    #[inline]
    pub(crate) fn is_readable(&self, id: SourceId) -> bool {
        let mut sources = self.sources.borrow_mut();
        sources.get_mut(id).is_some_and(|s| s.readiness.readable)
    }

    /// Says whether the end of the stream, a hang-up or an error was reported.
    pub(crate) fn is_read_closed(&self, id: SourceId) -> bool {
        let mut sources = self.sources.borrow_mut();
        sources
            .get_mut(id)
            .is_some_and(|slot| slot.readiness.read_closed)
    }

    /// Takes in how a read went, and says whether another one is worth trying.
    #[inline]
    pub(crate) fn after_read(&self, id: SourceId, got: Option<usize>, offered: usize) -> bool {
        let mut sources = self.sources.borrow_mut();
        let Some(slot) = sources.get_mut(id) else {
            return false;
        };
        slot.readiness.after_read(got, offered);
        slot.readiness.readable
    }

    /// Says whether some source is ready though no event will say so.
    pub(crate) fn has_retained(&self) -> bool {
        !self.sources.borrow().retained.is_empty()
    }

    /// Sleeps until something is ready or `timeout` is over, and hands what is ready to
    /// `queue`: fresh events first, then what was retained, in registration order.
    ///
    /// A signal that interrupts the sleep brings no events, and no error.
    pub(crate) fn wait(
        &self,
        timeout: Option<Duration>,
        mut queue: impl FnMut(SourceId, Direction),
    ) -> io::Result<()> {
        let mut poll = self.poll.borrow_mut();
        let Some(poll) = poll.as_mut() else {
            return Ok(());
        };
        let mut events = self.events.borrow_mut();
        self.sources.borrow_mut().empty_freed();
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            other => other?,
        }
        // Neither these borrows nor `queue` meet a call-out: it only appends.
        let mut sources = self.sources.borrow_mut();
        for event in &*events {
            sources.take_in(event, &mut queue);
        }
        sources.queue_retained(&mut queue);
        Ok(())
    }

    /// Returns the owner of a source that was queued and is now to be called; none if
    /// that is no longer worth it.
    #[inline]
    pub(crate) fn begin_dispatch(
        &self,
        id: SourceId,
        direction: Direction,
    ) -> Option<Rc<dyn EventSource>> {
        let mut sources = self.sources.borrow_mut();
        let slot = sources.get_mut(id)?;
        match direction {
            Direction::Read => {
                slot.read_queued = false;
                if !slot.readiness.readable {
                    return None; // read empty since it was queued
                }
            }
            Direction::Write => {
                slot.write_queued = false;
                slot.readiness.writable = false;
            }
        }
        slot.owner.clone()
    }

    /// Returns the source that watches a descriptor, if one does.
    pub(crate) fn find(&self, fd: RawFd) -> Option<SourceId> {
        let sources = self.sources.borrow();
        let index = sources
            .by_fd
            .get(usize::try_from(fd).ok()?)?
            .checked_sub(1)?;
        let slot = sources.slots.get(index as usize)?;
        Some(SourceId {
            index,
            generation: slot.generation,
        })
    }

    /// Returns the name of the transport that owns a descriptor, if one does.
    pub(crate) fn owner_of(&self, fd: RawFd) -> Option<String> {
        let id = self.find(fd)?;
        let owner = self.sources.borrow_mut().get_mut(id)?.owner.clone();
        owner?.owner()
    }

    /// Says what a source is; `None` once it is closed.
    pub(crate) fn describe(&self, id: SourceId) -> Option<String> {
        let owner = self.sources.borrow_mut().get_mut(id)?.owner.clone();
        Some(owner?.describe())
    }

    /// Returns the name of the user's callback that a source calls, if it calls just one.
    pub(crate) fn callback_name(&self, id: SourceId, direction: Direction) -> Option<&'static str> {
        let owner = self.sources.borrow_mut().get_mut(id)?.owner.clone();
        owner?.callback_name(direction)
    }

    /// Returns how many sources are open.
    pub(crate) fn len(&self) -> usize {
        let sources = self.sources.borrow();
        sources.slots.len() - sources.freed.len()
    }

    /// Returns a second descriptor of the poller, for another loop to watch.
    #[cfg(not(mio_unsupported_force_poll_poll))]
    pub(crate) fn poller_fd(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsFd;
        self.poll()?.registry().as_fd().try_clone_to_owned()
    }

    /// The `poll(2)` back end has no descriptor that another loop could watch.
    #[cfg(mio_unsupported_force_poll_poll)]
    pub(crate) fn poller_fd(&self) -> io::Result<OwnedFd> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the poll(2) back end has no descriptor: embed the loop with turn(max_wait) alone",
        ))
    }

    /// Takes one source out of the table, for a loop that closes.
    pub(crate) fn take_any(&self) -> Option<Rc<dyn EventSource>> {
        let mut sources = self.sources.borrow_mut();
        sources.empty_freed(); // the turn is over: no event names them any more
        let first = sources.first()?;
        sources.remove(first)
    }

    /// Closes the poller.
    pub(crate) fn close(&self) {
        let poll = self.poll.borrow_mut().take();
        drop(poll);
        // R3: a source that was registered while the others were hollowed may be in it.
        let sources = self.sources.take();
        drop(sources);
    }

    /// Returns the poller, unless the loop is closed.
    fn poll(&self) -> io::Result<Ref<'_, Poll>> {
        Ref::filter_map(self.poll.borrow(), Option::as_ref)
            .map_err(|_| io::Error::other("Event loop is closed"))
    }

    fn insert(&self, owner: Rc<dyn EventSource>, fd: RawFd, armed: bool) -> SourceId {
        self.sources.borrow_mut().insert(Slot {
            generation: 0,
            fd,
            owner: Some(owner),
            readiness: Readiness::default(),
            armed,
            read_queued: false,
            write_queued: false,
            read_retained: false,
            write_retained: false,
        })
    }

    fn remove(&self, id: SourceId) -> Option<Rc<dyn EventSource>> {
        self.sources.borrow_mut().remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::sources::GENERATION_MASK;
    use super::*;

    /// A source that nothing happens to.
    struct Idle;

    impl EventSource for Idle {
        fn read_ready(self: Rc<Self>) {}
        fn write_ready(self: Rc<Self>) {}
        fn hollow(self: Rc<Self>) {}
        fn owner(&self) -> Option<String> {
            Some("Idle".to_owned())
        }
    }

    fn armed(reactor: &Reactor) -> SourceId {
        let id = reactor.register_unpolled(Rc::new(Idle));
        reactor.arm(id);
        id
    }

    /// What one poll that does not sleep queues.
    fn queued(reactor: &Reactor) -> io::Result<Vec<(SourceId, Direction)>> {
        let mut queued = Vec::new();
        reactor.wait(Some(Duration::ZERO), |id, direction| {
            queued.push((id, direction))
        })?;
        Ok(queued)
    }

    #[test]
    fn r_8_a_slot_freed_in_a_turn_is_not_reused_in_it() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let first = armed(&reactor);
        drop(reactor.deregister(first, None));
        let in_the_same_turn = armed(&reactor);
        assert_ne!(in_the_same_turn.index, first.index);
        queued(&reactor)?;
        let in_the_next = armed(&reactor);
        assert_eq!(in_the_next.index, first.index);
        assert_ne!(in_the_next, first);
        assert_eq!(reactor.len(), 2);
        Ok(())
    }

    #[test]
    fn r_8_a_stale_id_names_nothing() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let stale = armed(&reactor);
        drop(reactor.deregister(stale, None));
        queued(&reactor)?;
        let other = armed(&reactor);
        assert_eq!(other.index, stale.index);

        reactor.set_ready(stale, Direction::Read);
        reactor.retain(stale, Direction::Write);
        assert!(reactor.begin_dispatch(stale, Direction::Read).is_none());
        assert!(reactor.deregister(stale, None).is_none());
        assert!(!reactor.is_readable(other));
        assert_eq!(queued(&reactor)?, []);
        assert!(reactor.begin_dispatch(other, Direction::Write).is_some());
        Ok(())
    }

    #[test]
    fn r_6_a_source_that_was_read_empty_since_it_was_queued_is_not_dispatched() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let source = armed(&reactor);
        reactor.set_ready(source, Direction::Read);
        assert_eq!(queued(&reactor)?, [(source, Direction::Read)]);
        reactor.after_read(source, None, 100);
        assert!(reactor.begin_dispatch(source, Direction::Read).is_none());

        reactor.set_ready(source, Direction::Read);
        assert_eq!(queued(&reactor)?, [(source, Direction::Read)]);
        assert!(reactor.begin_dispatch(source, Direction::Read).is_some());
        Ok(())
    }

    #[test]
    fn a_source_that_was_queued_and_given_up_is_not_dispatched() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let id = armed(&reactor);
        reactor.set_ready(id, Direction::Read);
        assert_eq!(queued(&reactor)?, [(id, Direction::Read)]);
        drop(reactor.deregister(id, None));
        assert!(reactor.begin_dispatch(id, Direction::Read).is_none());
        Ok(())
    }

    #[test]
    fn a_source_that_was_retained_and_given_up_is_not_queued() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let id = armed(&reactor);
        reactor.retain(id, Direction::Read);
        reactor.retain(id, Direction::Write);
        drop(reactor.deregister(id, None));
        assert!(!reactor.has_retained());
        assert_eq!(queued(&reactor)?, []);
        Ok(())
    }

    #[test]
    fn r_7_readiness_that_comes_before_arming_only_sets_bits() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let id = reactor.register_unpolled(Rc::new(Idle));
        reactor.set_ready(id, Direction::Read);
        assert_eq!(queued(&reactor)?, []);
        assert!(reactor.is_readable(id));
        reactor.arm(id);
        assert_eq!(queued(&reactor)?, [(id, Direction::Read)]);
        Ok(())
    }

    #[test]
    fn a_source_is_queued_once_until_it_is_dispatched() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let id = armed(&reactor);
        reactor.set_ready(id, Direction::Read);
        reactor.set_ready(id, Direction::Read);
        assert_eq!(queued(&reactor)?, [(id, Direction::Read)]);
        reactor.set_ready(id, Direction::Read);
        assert_eq!(queued(&reactor)?, [], "it is in the queue");
        assert!(reactor.begin_dispatch(id, Direction::Read).is_some());
        reactor.retain(id, Direction::Read);
        assert_eq!(queued(&reactor)?, [(id, Direction::Read)]);
        Ok(())
    }

    #[test]
    fn retained_sources_are_queued_in_the_order_of_their_registration() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let ids = [armed(&reactor), armed(&reactor), armed(&reactor)];
        for id in [ids[2], ids[0], ids[1]] {
            reactor.retain(id, Direction::Read);
        }
        assert_eq!(queued(&reactor)?, ids.map(|id| (id, Direction::Read)));
        Ok(())
    }

    #[test]
    fn sources_taken_out_one_by_one_are_counted_down() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let ids = [armed(&reactor), armed(&reactor), armed(&reactor)];
        reactor.retain(ids[2], Direction::Read);
        drop(reactor.deregister(ids[0], None));
        assert_eq!(reactor.len(), 2);
        for left in [1, 0] {
            assert!(reactor.take_any().is_some());
            assert_eq!(reactor.len(), left);
        }
        assert!(reactor.take_any().is_none());
        assert_eq!(reactor.len(), 0);
        assert!(!reactor.has_retained());
        Ok(())
    }

    #[test]
    fn r_1_a_closed_reactor_keeps_no_source() -> io::Result<()> {
        let reactor = Reactor::new()?;
        let (before, after) = (Rc::new(Idle), Rc::new(Idle));
        reactor.register_unpolled(before.clone());
        reactor.close();
        let id = reactor.register_unpolled(after.clone());
        assert_eq!(
            (Rc::strong_count(&before), Rc::strong_count(&after)),
            (1, 1)
        );
        assert_eq!(reactor.len(), 0);
        reactor.arm(id);
        reactor.set_ready(id, Direction::Read);
        assert!(!reactor.has_retained());
        assert!(reactor.deregister(id, None).is_none());
        Ok(())
    }

    #[test]
    fn a_token_gives_its_id_back() {
        for id in [(0, 0), (7, GENERATION_MASK), ((1 << 20) - 1, 1)] {
            let (index, generation) = id;
            let id = SourceId { index, generation };
            assert_eq!(SourceId::from_token(id.token()), Some(id));
        }
        assert_eq!(SourceId::from_token(NOTIFIER), None);
    }
}
