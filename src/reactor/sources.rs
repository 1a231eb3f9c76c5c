//! The table of sources: who is watched, what is known of each, and what it is called.
//!
//! ```text
//!   token ──► [generation | index] ──► slot: owner, readiness, queued?, retained?
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::os::fd::RawFd;
use std::rc::Rc;

use mio::Token;
use slab::Slab;

use super::readiness::Readiness;
use super::{Direction, EventSource};

/// Names a source. A stale one names nothing (R8).
///
/// Generations count up, so the order is that of registration (until they wrap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceId {
    pub(super) generation: u32,
    pub(super) index: u32,
}

/// Every source that is open, and what is due to it.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) slots: Slab<Slot>,
    /// Slots that were given up since the last poll.
    ///
    /// Invariant: each is still in `slots`, without an owner (R8).
    pub(super) freed: Vec<usize>,
    /// Sources that are ready though no event will say so: what was registered first is on top.
    pub(super) retained: BinaryHeap<Reverse<SourceId>>,
    /// Who watches which descriptor: its slot's index plus one, or zero. Descriptors are
    /// small numbers, so that a vector is the cheapest map.
    pub(super) by_fd: Vec<u32>,
    /// The generation of the next slot that is filled.
    pub(super) next_generation: u32,
}

/// One source.
pub(super) struct Slot {
    pub(super) generation: u32,
    /// −1 for a source that no poller knows.
    pub(super) fd: RawFd,
    /// `None` once the source was given up.
    pub(super) owner: Option<Rc<dyn EventSource>>,
    pub(super) readiness: Readiness,
    /// Whether readiness queues the source, or only sets bits (R7).
    pub(super) armed: bool,
    /// In the ready queue for reading.
    pub(super) read_queued: bool,
    /// In the ready queue for writing.
    pub(super) write_queued: bool,
    /// Invariant: true if and only if it is in `retained`, in that direction.
    pub(super) read_retained: bool,
    pub(super) write_retained: bool,
}

/// The notifier's token; no slot has it, since an index never reaches it.
pub(super) const NOTIFIER: Token = Token(usize::MAX);

/// How many bits of a token hold the index; the others hold the generation.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };

impl Sources {
    pub(super) fn get_mut(&mut self, id: SourceId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.index as usize)?;
        // R8: a stale id meets another generation, or a slot without an owner.
        (slot.generation == id.generation && slot.owner.is_some()).then_some(slot)
    }

    /// Returns one of the sources, if there is one.
    ///
    /// Call it when no slot is freed.
    pub(super) fn first(&self) -> Option<SourceId> {
        let (index, slot) = self.slots.iter().next()?;
        Some(SourceId {
            index: index as u32,
            generation: slot.generation,
        })
    }

    pub(super) fn insert(&mut self, mut slot: Slot) -> SourceId {
        slot.generation = self.next_generation & GENERATION_MASK;
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = slot.generation;
        let index = self.slots.insert(slot);
        let index = u32::try_from(index)
            .expect("descriptors are 32-bit numbers, so there are never more sources than that");
        SourceId { index, generation }
    }

    /// Remembers who watches a descriptor, once the poller has accepted it.
    ///
    /// In the place of whoever did before: that one's descriptor was closed behind our
    /// back, and its number given away again.
    pub(super) fn set_watcher(&mut self, fd: RawFd, id: SourceId) {
        let Ok(fd) = usize::try_from(fd) else {
            return;
        };
        if self.by_fd.len() <= fd {
            self.by_fd.resize(fd + 1, 0);
        }
        self.by_fd[fd] = id.index + 1;
    }

    pub(super) fn remove(&mut self, id: SourceId) -> Option<Rc<dyn EventSource>> {
        let slot = self.get_mut(id)?;
        let owner = slot.owner.take();
        let fd = usize::try_from(slot.fd).ok();
        if slot.read_retained || slot.write_retained {
            let mut retained = mem::take(&mut self.retained).into_vec();
            retained.retain(|Reverse(other)| *other != id);
            self.retained = retained.into();
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

    pub(super) fn empty_freed(&mut self) {
        for index in self.freed.drain(..) {
            drop(self.slots.try_remove(index));
        }
    }

    pub(super) fn retain(&mut self, id: SourceId, direction: Direction) {
        let Some(slot) = self.get_mut(id) else {
            return;
        };
        let known = slot.read_retained || slot.write_retained;
        match direction {
            Direction::Read => slot.read_retained = true,
            Direction::Write => slot.write_retained = true,
        }
        if !known {
            self.retained.push(Reverse(id));
        }
    }

    #[inline]
    pub(super) fn take_in(
        &mut self,
        event: &mio::event::Event,
        queue: &mut impl FnMut(SourceId, Direction),
    ) {
        let Some(id) = SourceId::from_token(event.token()) else {
            return; // the notifier: whoever woke us left mail, and the loop looks there
        };
        let Some(slot) = self.get_mut(id) else {
            return;
        };
        let news = Readiness::of(event);
        slot.readiness.add(news);
        if !slot.armed {
            return; // R7: before `connection_made`, events only set bits
        }
        if news.readable {
            slot.queue(id, Direction::Read, queue);
        }
        if news.writable {
            slot.queue(id, Direction::Write, queue);
        }
    }

    pub(super) fn queue_retained(&mut self, queue: &mut impl FnMut(SourceId, Direction)) {
        while let Some(Reverse(id)) = self.retained.pop() {
            let Some(slot) = self.get_mut(id) else {
                continue;
            };
            if mem::take(&mut slot.read_retained) {
                slot.queue(id, Direction::Read, queue);
            }
            if mem::take(&mut slot.write_retained) {
                slot.queue(id, Direction::Write, queue);
            }
        }
    }
}

impl Slot {
    /// Queues the source once, however many events ask for it.
    pub(super) fn queue(
        &mut self,
        id: SourceId,
        direction: Direction,
        queue: &mut impl FnMut(SourceId, Direction),
    ) {
        let queued = match direction {
            Direction::Read => &mut self.read_queued,
            Direction::Write => &mut self.write_queued,
        };
        if !mem::replace(queued, true) {
            queue(id, direction);
        }
    }
}

/// The part of a generation that fits into a token beside the index.
pub(super) const GENERATION_MASK: u32 = (usize::MAX >> INDEX_BITS) as u32;

impl SourceId {
    /// An id that names no source, for one that has none yet.
    pub(crate) const NONE: SourceId = SourceId {
        index: u32::MAX,
        generation: u32::MAX,
    };

    /// The id as a number, which may be kept where ids can't be.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.index) | u64::from(self.generation) << 32
    }

    pub(crate) fn from_bits(bits: u64) -> SourceId {
        SourceId {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }

    pub(super) fn token(self) -> Token {
        Token(self.index as usize | (self.generation as usize) << INDEX_BITS)
    }

    pub(super) fn from_token(token: Token) -> Option<SourceId> {
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
