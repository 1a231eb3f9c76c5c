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

mod readiness; // what is known about one source, and when that is spent
mod notifier; //  what another thread rings

pub(crate) use notifier::Notifier;
pub(crate) use readiness::SHORT_MEANS_EXHAUSTED;

use std::cell::RefCell;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use readiness::Readiness;

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
}

/// Which of a source's two halves became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// Names a source. A stale one names nothing (R8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceId {
    index: u32,
    generation: u32,
}

/// `mio::Poll`, and the slab of what it watches.
pub(crate) struct Reactor {
    /// `None` once the loop is closed.
    poll: RefCell<Option<Poll>>,
    events: RefCell<Events>,
    sources: RefCell<Sources>,
}

#[derive(Default)]
struct Sources {
    slots: Slab<Slot>,
    /// Slots that were given up since the last poll.
    ///
    /// Invariant: each is still in `slots`, without an owner (R8).
    freed: Vec<usize>,
    /// Sources that are ready though no event will say so.
    retained: Vec<SourceId>,
    /// Who watches which descriptor: its slot's index plus one, or zero. Descriptors are
    /// small numbers, so that a vector is the cheapest map.
    by_fd: Vec<u32>,
    /// The generation of the next slot that is filled.
    next_generation: u32,
}

struct Slot {
    generation: u32,
    fd: Option<RawFd>,
    /// `None` once the source was given up.
    owner: Option<Rc<dyn EventSource>>,
    readiness: Readiness,
    /// Whether readiness queues the source, or only sets bits (R7).
    armed: bool,
    /// In the ready queue for reading.
    read_queued: bool,
    /// In the ready queue for writing.
    write_queued: bool,
    /// Invariant: true if and only if it is in `retained`, in that direction.
    read_retained: bool,
    write_retained: bool,
}

/// How many events one poll can bring; those beyond come with the next.
///
/// 1024: 16 KiB of memory, and no server with fewer busy connections needs two polls.
const EVENTS: usize = 1024;

/// The notifier's token; no slot has it, since an index never reaches it.
const NOTIFIER: Token = Token(usize::MAX);

/// How many bits of a token hold the index; the others hold the generation.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };

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
        self.with_registry(|registry| Notifier::new(registry, NOTIFIER))
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
        let id = self.insert(owner, Some(fd), armed);
        let registered = self.with_registry(|registry| registry.register(io, id.token(), interest));
        if let Err(error) = registered {
            drop(self.remove(id));
            return Err(error);
        }
        Ok(id)
    }

    /// Takes a source into the table that no poller knows, such as one end of an
    /// in-memory pair: [`set_ready`](Reactor::set_ready) makes it ready.
    pub(crate) fn register_unpolled(&self, owner: Rc<dyn EventSource>) -> SourceId {
        self.insert(owner, None, false)
    }

    /// Has a source watched for another interest. What is ready already is reported
    /// again, on each of the back ends.
    pub(crate) fn reregister(
        &self,
        id: SourceId,
        io: &mut dyn mio::event::Source,
        interest: Interest,
    ) -> io::Result<()> {
        self.with_registry(|registry| {
            match registry.reregister(io, id.token(), interest) {
                // The poll(2) back end forgets a descriptor that hung up.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    registry.register(io, id.token(), interest)
                }
                other => other,
            }
        })
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
            let _ = self.with_registry(|registry| registry.deregister(io));
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
    pub(crate) fn is_readable(&self, id: SourceId) -> bool {
        let mut sources = self.sources.borrow_mut();
        sources.get_mut(id).is_some_and(|s| s.readiness.readable)
    }

    /// Takes in how a read went, and says whether another one is worth trying.
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

    /// Returns the owner of a source that was queued and is now to be called.
    pub(crate) fn begin_dispatch(
        &self,
        id: SourceId,
        direction: Direction,
    ) -> Option<Rc<dyn EventSource>> {
        let mut sources = self.sources.borrow_mut();
        let slot = sources.get_mut(id)?;
        match direction {
            Direction::Read => slot.read_queued = false,
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

    /// Returns how many sources are open.
    pub(crate) fn len(&self) -> usize {
        let sources = self.sources.borrow();
        sources.slots.len() - sources.freed.len()
    }

    /// Returns a second descriptor of the poller, for another loop to watch.
    #[cfg(not(mio_unsupported_force_poll_poll))]
    pub(crate) fn poller_fd(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsFd;
        self.with_registry(|registry| registry.as_fd().try_clone_to_owned())
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
        loop {
            let index = sources.slots.iter().next()?.0;
            let slot = sources.slots.remove(index);
            if slot.owner.is_some() {
                return slot.owner;
            }
        }
    }

    /// Closes the poller.
    pub(crate) fn close(&self) {
        let poll = self.poll.borrow_mut().take();
        drop(poll);
        *self.sources.borrow_mut() = Sources::default();
    }

    fn with_registry<T>(&self, f: impl FnOnce(&Registry) -> io::Result<T>) -> io::Result<T> {
        match self.poll.borrow().as_ref() {
            Some(poll) => f(poll.registry()),
            None => Err(io::Error::other("Event loop is closed")),
        }
    }

    fn insert(&self, owner: Rc<dyn EventSource>, fd: Option<RawFd>, armed: bool) -> SourceId {
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

impl Sources {
    fn get_mut(&mut self, id: SourceId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.index as usize)?;
        // R8: a stale id meets another generation, or a slot without an owner.
        (slot.generation == id.generation && slot.owner.is_some()).then_some(slot)
    }

    fn insert(&mut self, mut slot: Slot) -> SourceId {
        slot.generation = self.next_generation & GENERATION_MASK;
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = slot.generation;
        let fd = slot.fd;
        let index = self.slots.insert(slot);
        let index = u32::try_from(index)
            .expect("descriptors are 32-bit numbers, so there are never more sources than that");
        if let Some(fd) = fd.and_then(|fd| usize::try_from(fd).ok()) {
            if self.by_fd.len() <= fd {
                self.by_fd.resize(fd + 1, 0);
            }
            // Two for one descriptor: the poller is about to refuse the second.
            if self.by_fd[fd] == 0 {
                self.by_fd[fd] = index + 1;
            }
        }
        SourceId { index, generation }
    }

    fn remove(&mut self, id: SourceId) -> Option<Rc<dyn EventSource>> {
        let slot = self.get_mut(id)?;
        let owner = slot.owner.take();
        let fd = slot.fd.and_then(|fd| usize::try_from(fd).ok());
        if slot.read_retained || slot.write_retained {
            self.retained.retain(|other| *other != id);
        }
        if let Some(place) = fd.and_then(|fd| self.by_fd.get_mut(fd)) {
            if *place == id.index + 1 {
                *place = 0;
            }
        }
        // R8: events of this turn may still name the slot, so it stays until the next.
        self.freed.push(id.index as usize);
        owner
    }

    fn empty_freed(&mut self) {
        for index in self.freed.drain(..) {
            drop(self.slots.try_remove(index));
        }
    }

    fn retain(&mut self, id: SourceId, direction: Direction) {
        let Some(slot) = self.get_mut(id) else {
            return;
        };
        let known = slot.read_retained || slot.write_retained;
        match direction {
            Direction::Read => slot.read_retained = true,
            Direction::Write => slot.write_retained = true,
        }
        if !known {
            self.retained.push(id);
        }
    }

    fn take_in(&mut self, event: &mio::event::Event, queue: &mut impl FnMut(SourceId, Direction)) {
        let Some(id) = SourceId::from_token(event.token()) else {
            return; // the notifier: whoever woke us left mail, and the loop looks there
        };
        let Some(slot) = self.get_mut(id) else {
            return;
        };
        let before = slot.readiness;
        slot.readiness = Readiness {
            readable: false,
            writable: false,
            ..before
        };
        slot.readiness.take_in(event);
        let Readiness {
            readable, writable, ..
        } = slot.readiness;
        slot.readiness.readable |= before.readable;
        slot.readiness.writable |= before.writable;
        if !slot.armed {
            return; // R7: before `connection_made`, events only set bits
        }
        if readable {
            slot.queue(id, Direction::Read, queue);
        }
        if writable {
            slot.queue(id, Direction::Write, queue);
        }
    }

    fn queue_retained(&mut self, queue: &mut impl FnMut(SourceId, Direction)) {
        if self.retained.is_empty() {
            return;
        }
        let mut retained = std::mem::take(&mut self.retained);
        // Generations count up, so their order is that of registration (until they wrap).
        retained.sort_unstable_by_key(|id| id.generation);
        for id in retained.drain(..) {
            let Some(slot) = self.get_mut(id) else {
                continue;
            };
            if std::mem::take(&mut slot.read_retained) {
                slot.queue(id, Direction::Read, queue);
            }
            if std::mem::take(&mut slot.write_retained) {
                slot.queue(id, Direction::Write, queue);
            }
        }
        self.retained = retained;
    }
}

impl Slot {
    /// Queues the source once, however many events ask for it.
    fn queue(
        &mut self,
        id: SourceId,
        direction: Direction,
        queue: &mut impl FnMut(SourceId, Direction),
    ) {
        let queued = match direction {
            Direction::Read => &mut self.read_queued,
            Direction::Write => &mut self.write_queued,
        };
        if !std::mem::replace(queued, true) {
            queue(id, direction);
        }
    }
}

/// The part of a generation that fits into a token beside the index.
const GENERATION_MASK: u32 = (usize::MAX >> INDEX_BITS) as u32;

impl SourceId {
    /// An id that names no source, for one that has none yet.
    pub(crate) const NONE: SourceId = SourceId {
        index: u32::MAX,
        generation: u32::MAX,
    };

    fn token(self) -> Token {
        Token(self.index as usize | (self.generation as usize) << INDEX_BITS)
    }

    fn from_token(token: Token) -> Option<SourceId> {
        if token == NOTIFIER {
            return None;
        }
        let index = token.0 & ((1 << INDEX_BITS) - 1);
        let generation = token.0 >> INDEX_BITS;
        Some(SourceId {
            index: u32::try_from(index).ok()?,
            generation: u32::try_from(generation).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
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
        assert!(reactor.begin_dispatch(other, Direction::Read).is_some());
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
    fn a_token_gives_its_id_back() {
        for id in [(0, 0), (7, GENERATION_MASK), ((1 << 20) - 1, 1)] {
            let (index, generation) = id;
            let id = SourceId { index, generation };
            assert_eq!(SourceId::from_token(id.token()), Some(id));
        }
        assert_eq!(SourceId::from_token(NOTIFIER), None);
    }
}
