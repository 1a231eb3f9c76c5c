//! The task table: every task that has not ended.
//!
//! The ready queue and whoever awaits a task hold the task itself. The table is for those who
//! can't, or who want all of them: wakers, which other threads may hold; the list of a loop's
//! tasks; and the end of the loop.

use std::collections::BinaryHeap;
use std::num::{NonZeroU32, NonZeroU64};
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use crate::waits::Noted;

use super::task::{TaskCell, TaskRef};

/// Names a task. The id of one that ended names nothing.
///
/// The index of its slot, and above that the task's number, which is counted per loop from 1,
/// and from 1 again after four billion. In one word, since it is moved in each step: in two
/// halves it would be written and read again as a whole, for which the processor waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(NonZeroU64);

/// Every task that has not ended.
#[derive(Default)]
pub(super) struct TaskTable {
    tasks: Slab<Rc<TaskCell>>,
    /// The cells of tasks that ended, for new ones: [`MAX_SPARE_CELLS`] at most. Somebody may
    /// hold one yet.
    ended: Vec<Rc<TaskCell>>,
    last_number: u32,
}

/// A task that has not ended, as it is at this moment.
pub(crate) struct Inspected {
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

/// Cells that are kept for new tasks, at most.
///
/// 128: as many as end and begin between two turns where much goes on; 15 KiB.
const MAX_SPARE_CELLS: usize = 128;

/// The index of a task that was never in a table: its loop was closed.
const NOWHERE: u32 = u32::MAX;

impl TaskId {
    /// The id of no task, for where there is none: it is nowhere, as `NOWHERE` says.
    pub(crate) const NOBODY: TaskId = TaskId(NonZeroU64::MAX);

    #[inline]
    pub(super) fn new(index: u32, number: NonZeroU32) -> TaskId {
        let id = NonZeroU64::from(number).get() << 32 | u64::from(index);
        TaskId(NonZeroU64::new(id).expect("its upper half is not zero"))
    }

    #[inline]
    pub(super) fn index(self) -> u32 {
        self.0.get() as u32
    }

    /// The number in the task's name. Never zero.
    #[inline]
    pub(super) fn number(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// Says whether the task was in a table once.
    pub(super) fn is_somewhere(self) -> bool {
        self.index() != NOWHERE
    }
}

impl TaskTable {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The id of the task that is inserted next.
    pub(super) fn next_id(&mut self) -> TaskId {
        let index = u32::try_from(self.tasks.vacant_key()).unwrap_or(NOWHERE);
        assert!(index != NOWHERE, "four billion tasks don't fit into memory");
        TaskId::new(index, self.next_number())
    }

    /// The id of a task that no table takes.
    pub(super) fn next_id_nowhere(&mut self) -> TaskId {
        TaskId::new(NOWHERE, self.next_number())
    }

    fn next_number(&mut self) -> NonZeroU32 {
        let number = NonZeroU32::new(self.last_number.wrapping_add(1)).unwrap_or(NonZeroU32::MIN);
        self.last_number = number.get();
        number
    }

    /// Takes in the task for which the last [`next_id`](Self::next_id) was.
    pub(super) fn insert(&mut self, task: Rc<TaskCell>, id: TaskId) {
        let index = self.tasks.insert(task);
        debug_assert_eq!(index, id.index() as usize);
    }

    /// Takes a task out for good, unless the loop was closed meanwhile, which did. Its cell
    /// is kept, if there is room.
    ///
    /// The caller drops what is returned when no borrow is alive (R3).
    #[must_use = "dropping a task may run a user's code: drop it where no borrow is alive"]
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Rc<TaskCell>> {
        self.at(id)?;
        let ended = self.tasks.remove(id.index() as usize);
        if self.ended.len() == MAX_SPARE_CELLS {
            return Some(ended);
        }
        self.ended.push(ended);
        None
    }

    /// Takes out the cell of a task that ended. What it still has, if nobody else refers to it,
    /// is no user's value.
    #[inline]
    pub(super) fn take_ended(&mut self) -> Option<Rc<TaskCell>> {
        self.ended.pop()
    }

    /// Marks a task as queued and returns it, unless it is queued already or has ended.
    #[inline]
    pub(super) fn mark_queued(&self, id: TaskId) -> Option<TaskRef> {
        let task = self.at(id)?;
        task.mark_queued().then(|| TaskRef(task.clone()))
    }

    pub(super) fn get(&self, id: TaskId) -> Option<Rc<TaskCell>> {
        self.at(id).cloned()
    }

    /// A slot that is used again holds a task with another number.
    #[inline]
    fn at(&self, id: TaskId) -> Option<&Rc<TaskCell>> {
        let task = self.tasks.get(id.index() as usize)?;
        (task.task_id() == id).then_some(task)
    }

    /// Returns how each task stands, the oldest first.
    pub(super) fn inspect(&self, turn_began: u64) -> Vec<Inspected> {
        let inspected = self.tasks.iter().map(|(_, task)| {
            let (stands, since) = match (task.is_polled(), task.stage().is_queued()) {
                (true, _) => (Stands::Runs, turn_began),
                (false, true) => (Stands::Queued, task.since()),
                (false, false) => (Stands::Waits, task.since()),
            };
            Inspected {
                task: TaskRef(task.clone()),
                stands,
                noted: task.noted().get(),
                since: Duration::from_nanos(since),
            }
        });
        let mut inspected: Vec<_> = inspected.collect();
        inspected.sort_by_key(|one| one.task.number());
        inspected
    }

    /// Returns all tasks, the oldest first.
    pub(super) fn all(&self) -> Vec<TaskRef> {
        // In a heap, since a loop that closes is in no hurry: a sort is 8 KB of each program.
        let tasks = self.tasks.iter();
        let by_age = tasks.map(|(index, task)| (task.number(), index));
        let by_age = by_age.collect::<BinaryHeap<_>>().into_sorted_vec();
        let tasks = by_age.iter().map(|&(_, index)| self.tasks[index].clone());
        tasks.map(TaskRef).collect()
    }

    /// Takes one task out, for a loop that closes.
    pub(super) fn take_any(&mut self) -> Option<Rc<TaskCell>> {
        let index = self.tasks.iter().next()?.0;
        Some(self.tasks.remove(index))
    }
}
