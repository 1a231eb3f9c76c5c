//! The task table: every task that has not ended, and its waker.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::waits::{Noted, TaskAddress};

use super::inbox::Inbox;
use super::task::{AnyTask, TaskRef};
use super::waker::TaskWaker;

/// Names a task. The id of one that ended names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId {
    index: u32,
    /// Never zero, so that an `Option` of this is no larger.
    generation: NonZeroU32,
}

/// Every task that has not ended.
#[derive(Default)]
pub(super) struct TaskTable {
    slots: Slab<Slot>,
    /// What is left of tasks that ended, to spare the next ones an allocation each.
    ///
    /// Invariant: nobody else holds them.
    spare: Vec<Arc<TaskWaker>>,
    last_generation: u32,
    last_serial: u64,
}

struct Slot {
    generation: NonZeroU32,
    task: Rc<dyn AnyTask>,
    shared: Arc<TaskWaker>,
    /// `None` while the task is polled: the two leave the table together.
    waker: Option<Waker>,
    /// In the ready queue.
    queued: bool,
    /// To be dropped at its next step instead of being polled.
    cancelled: bool,
    /// What it waits for, as it was noted in its last step.
    noted: Noted,
    /// The turn of its last step, by the loop's clock, in nanoseconds.
    since: u64,
}

/// A task that has not ended, as it is at this moment.
pub(crate) struct Inspected {
    pub(crate) address: TaskAddress,
    pub(crate) task: TaskRef,
    pub(crate) stands: Stands,
    pub(crate) noted: Noted,
    pub(crate) since: Duration,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    Runs,
    Queued,
    Waits,
}

/// What a step needs, out of the table.
pub(super) struct Step {
    pub(super) task: Rc<dyn AnyTask>,
    pub(super) waker: Waker,
    pub(super) cancelled: bool,
}

/// Wakers kept for reuse, at most.
///
/// 1024: a burst of that many short tasks allocates no wakers the second time.
const MAX_SPARE: usize = 1024;

impl TaskTable {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The number in the name of the next task, counted per loop from 1.
    pub(super) fn next_serial(&mut self) -> u64 {
        self.last_serial += 1;
        self.last_serial
    }

    pub(super) fn insert(
        &mut self,
        task: Rc<dyn AnyTask>,
        inbox: &Arc<Inbox>,
        since: u64,
    ) -> TaskId {
        let entry = self.slots.vacant_entry();
        let index = u32::try_from(entry.key()).expect("four billion tasks don't fit into memory");
        let generation = NonZeroU32::new(self.last_generation.wrapping_add(1));
        let generation = generation.unwrap_or(NonZeroU32::MIN);
        self.last_generation = generation.get();
        let id = TaskId { index, generation };
        let shared = reuse(&mut self.spare, id)
            .unwrap_or_else(|| Arc::new(TaskWaker::new(id, inbox.clone())));
        entry.insert(Slot {
            generation: id.generation,
            task,
            waker: Some(Waker::from(shared.clone())),
            shared,
            queued: false,
            cancelled: false,
            noted: Noted::NOTHING,
            since,
        });
        id
    }

    /// Marks a task as queued. False if it is already, or has ended.
    #[inline]
    pub(super) fn mark_queued(&mut self, id: TaskId) -> bool {
        match self.get_mut(id) {
            Some(slot) => !std::mem::replace(&mut slot.queued, true),
            None => false,
        }
    }

    /// Marks a task to be dropped. False if it has ended.
    pub(super) fn mark_cancelled(&mut self, id: TaskId) -> bool {
        match self.get_mut(id) {
            Some(slot) => {
                slot.cancelled = true;
                true
            }
            None => false,
        }
    }

    pub(super) fn mail_collected(&mut self, id: TaskId) {
        if let Some(slot) = self.get_mut(id) {
            slot.shared.mail_collected();
        }
    }

    /// Takes out what the step of a task needs.
    #[inline]
    pub(super) fn begin_step(&mut self, id: TaskId) -> Option<Step> {
        let slot = self.get_mut(id)?;
        // Before the poll: a wake during it must queue the task again.
        slot.queued = false;
        Some(Step {
            task: slot.task.clone(),
            waker: slot.waker.take()?,
            cancelled: slot.cancelled,
        })
    }

    /// Puts back what the step needed; if the task ended, takes it out for good.
    ///
    /// The caller drops what is returned when no borrow is alive (R3).
    #[must_use = "dropping a task may run a user's code: drop it where no borrow is alive"]
    #[inline]
    pub(super) fn end_step(
        &mut self,
        id: TaskId,
        waker: Waker,
        ended: bool,
        noted: Noted,
        now: u64,
    ) -> Option<Rc<dyn AnyTask>> {
        // Gone, if the loop was closed during the step.
        let slot = self.get_mut(id)?;
        if !ended {
            slot.waker = Some(waker);
            slot.noted = noted;
            slot.since = now;
            return None;
        }
        drop(waker); // ours: no user's code
        let slot = self.slots.remove(id.index as usize);
        self.spare(slot.shared);
        Some(slot.task)
    }

    pub(super) fn get(&self, id: TaskId) -> Option<Rc<dyn AnyTask>> {
        let slot = self.slots.get(id.index as usize)?;
        (slot.generation == id.generation).then(|| slot.task.clone())
    }

    /// Returns how each task stands, the oldest first.
    pub(super) fn inspect(&self, turn_began: u64) -> Vec<Inspected> {
        let inspected = self.slots.iter().map(|(_, slot)| {
            let (stands, since) = match (&slot.waker, slot.queued) {
                (None, _) => (Stands::Runs, turn_began),
                (Some(_), true) => (Stands::Queued, slot.since),
                (Some(_), false) => (Stands::Waits, slot.since),
            };
            Inspected {
                address: TaskAddress(Arc::as_ptr(&slot.shared).addr()),
                task: TaskRef::new(slot.task.clone()),
                stands,
                noted: slot.noted,
                since: Duration::from_nanos(since),
            }
        });
        let mut inspected: Vec<_> = inspected.collect();
        inspected.sort_by_key(|one| one.task.number());
        inspected
    }

    /// Returns all tasks, the oldest first.
    pub(super) fn all(&self) -> Vec<Rc<dyn AnyTask>> {
        let mut tasks: Vec<_> = self.slots.iter().map(|(_, s)| s.task.clone()).collect();
        tasks.sort_by_key(|task| task.serial());
        tasks
    }

    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.slots
            .iter()
            .map(|(index, slot)| TaskId {
                index: index as u32,
                generation: slot.generation,
            })
            .collect()
    }

    /// Takes one task out, for a loop that closes.
    pub(super) fn take_any(&mut self) -> Option<Rc<dyn AnyTask>> {
        let index = self.slots.iter().next()?.0;
        Some(self.slots.remove(index).task)
    }

    #[inline]
    fn get_mut(&mut self, id: TaskId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.index as usize)?;
        (slot.generation == id.generation).then_some(slot)
    }

    fn spare(&mut self, mut shared: Arc<TaskWaker>) {
        // Only if nobody else holds it: a waker that is kept must go on naming its task.
        if self.spare.len() < MAX_SPARE && Arc::get_mut(&mut shared).is_some() {
            self.spare.push(shared);
        }
    }
}

fn reuse(spare: &mut Vec<Arc<TaskWaker>>, id: TaskId) -> Option<Arc<TaskWaker>> {
    let mut shared = spare.pop()?;
    Arc::get_mut(&mut shared)?.reuse(id);
    Some(shared)
}
