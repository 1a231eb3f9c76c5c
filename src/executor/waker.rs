//! The waker: what a future keeps to say that its task should be polled again.
//!
//! A `Waker` must be `Send`; our futures aren't. So a waker carries the task's id, and
//! the task table has the rest. Woken on the loop's own thread, it queues the task: no
//! lock, no system call. Woken on another, it takes the inbox.
//!
//! ```text
//!   a step begins: the task has a waker of its own? ──yes──► that one
//!                                                   └─no───► the spare one: lent, it names the task
//!   the step ends: was the spare one cloned? ──no──► it serves the next step
//!                                            └─yes─► it is the task's own from now on
//! ```
//!
//! The loop's own futures keep the task itself (`sleeper.rs`), so most tasks never have a
//! waker of their own: nothing to allocate, and nothing to keep while they wait.

use std::cell::RefCell;
use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::task::{Wake, Waker};

use super::inbox::{Inbox, Message};
use super::task::TaskCell;
use super::task_table::TaskId;
use super::wake_locally;

/// The wakers that are lent to tasks without one.
pub(super) struct Wakers {
    inbox: Arc<Inbox>,
    /// Those that are not lent: one between runs of turns, and one for each depth at which
    /// there was a step within a step.
    spare: RefCell<Vec<Spare>>,
}

/// A waker that names whatever task it serves.
///
/// Invariant: nobody else holds it when a step begins.
pub(super) struct Spare {
    waker: Waker,
    shared: Arc<TaskWaker>,
}

impl Wakers {
    pub(super) fn new(inbox: Arc<Inbox>) -> Wakers {
        Wakers {
            inbox,
            spare: RefCell::default(),
        }
    }

    /// Takes out a waker, to lend it for one step after the other.
    #[inline]
    pub(super) fn take(&self) -> Spare {
        let spare = self.spare.borrow_mut().pop();
        spare.unwrap_or_else(|| Spare::new(&self.inbox))
    }

    /// Takes back a waker that is lent no more.
    #[inline]
    pub(super) fn give_back(&self, spare: Spare) {
        self.spare.borrow_mut().push(spare);
    }

    /// The step of a task is over that was lent this: it keeps it, if somebody holds a clone,
    /// for whoever does must find the same waker in the next step.
    #[inline]
    pub(super) fn after_step(&self, spare: &mut Spare, task: &TaskCell) {
        if !spare.is_held_by_nobody_else() {
            self.part_with(spare, task);
        }
    }

    #[cold]
    fn part_with(&self, spare: &mut Spare, task: &TaskCell) {
        let kept = mem::replace(spare, Spare::new(&self.inbox));
        task.keep_waker(kept.waker);
    }
}

impl Spare {
    #[cold]
    fn new(inbox: &Arc<Inbox>) -> Spare {
        let shared = Arc::new(TaskWaker {
            index: AtomicU32::new(TaskId::NOBODY.index()),
            number: AtomicU32::new(TaskId::NOBODY.number()),
            inbox: inbox.clone(),
            mailed: AtomicBool::new(false),
        });
        Spare {
            waker: Waker::from(shared.clone()),
            shared,
        }
    }

    /// The waker, for a step of this task.
    #[inline]
    pub(super) fn serve(&self, id: TaskId) -> &Waker {
        self.shared.index.store(id.index(), Ordering::Relaxed);
        self.shared.number.store(id.number(), Ordering::Relaxed);
        &self.waker
    }

    /// Says whether all clones are gone, and no wake by one is in the inbox.
    #[inline]
    fn is_held_by_nobody_else(&self) -> bool {
        // This one, and what the waker holds.
        let alone = Arc::strong_count(&self.shared) == 2;
        // What others did with the last clone comes before what the next step does.
        fence(Ordering::Acquire);
        alone
    }
}

/// What a waker and its clones share.
pub(crate) struct TaskWaker {
    /// The id of the task. Written only while nobody but the loop holds this.
    index: AtomicU32,
    number: AtomicU32,
    inbox: Arc<Inbox>,
    /// A wake is in the inbox: another one would say the same.
    ///
    /// Set by whoever sends one, cleared when the loop collects it. Both swap: whoever
    /// finds it set sends nothing, so what it did before must reach the loop through the
    /// flag itself, and a plain store would read nothing of it.
    ///
    /// Invariant: not set while nobody but the loop holds this, for the message holds it too.
    mailed: AtomicBool,
}

impl TaskWaker {
    /// The inbox was emptied. A wake from now on sends another message.
    pub(super) fn mail_collected(&self) {
        // Acquires what was done before a wake that came after the inbox was emptied, and
        // found the flag still set: the poll that follows is the one it asked for.
        self.mailed.swap(false, Ordering::AcqRel);
    }

    #[inline]
    pub(super) fn id(&self) -> TaskId {
        let number = NonZeroU32::new(self.number.load(Ordering::Relaxed));
        TaskId::new(
            self.index.load(Ordering::Relaxed),
            number.expect("only the numbers of ids are stored"),
        )
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let id = self.id();
        if wake_locally(&self.inbox, id) {
            return;
        }
        if !self.mailed.swap(true, Ordering::AcqRel) {
            // A closed loop polls nobody any more: nothing is lost.
            let _ = self.inbox.send(Message::Wake(self.clone()));
        }
    }
}
