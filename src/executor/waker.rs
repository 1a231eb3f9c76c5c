//! The waker: what a future keeps to say that its task should be polled again.
//!
//! A `Waker` must be `Send`; our futures aren't. So a waker carries the task's id, and
//! the task table has the rest. Woken on the loop's own thread, it queues the task: no
//! lock, no system call. Woken on another, it takes the inbox.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::task::Wake;

use super::inbox::{Inbox, Message};
use super::task_table::TaskId;
use super::wake_locally;

/// What a task's wakers share.
pub(super) struct TaskWaker {
    /// The id of the task. Written only while nobody but its task holds this.
    index: AtomicU32,
    number: AtomicU32,
    inbox: Arc<Inbox>,
    /// A wake is in the inbox: another one would say the same.
    ///
    /// Set by whoever sends one, cleared when the loop collects it. Both swap: whoever
    /// finds it set sends nothing, so what it did before must reach the loop through the
    /// flag itself, and a plain store would read nothing of it.
    mailed: AtomicBool,
}

impl TaskWaker {
    pub(super) fn new(id: TaskId, inbox: Arc<Inbox>) -> TaskWaker {
        TaskWaker {
            index: AtomicU32::new(id.index()),
            number: AtomicU32::new(id.number()),
            inbox,
            mailed: AtomicBool::new(false),
        }
    }

    /// Says whether all clones are gone: then it may serve another task.
    pub(super) fn is_held_only_by_its_task(shared: &Arc<TaskWaker>) -> bool {
        // The task holds two: this one, and the waker that it is polled with.
        let alone = Arc::strong_count(shared) == 2;
        // What others did with the last clone comes before what the next task does.
        fence(Ordering::Acquire);
        alone
    }

    /// Serves another task, once nobody else holds it.
    pub(super) fn reuse(&self, id: TaskId) {
        self.index.store(id.index(), Ordering::Relaxed);
        self.number.store(id.number(), Ordering::Relaxed);
        self.mailed.store(false, Ordering::Relaxed);
    }

    /// The inbox was emptied. A wake from now on sends another message.
    pub(super) fn mail_collected(&self) {
        // Acquires what was done before a wake that came after the inbox was emptied, and
        // found the flag still set: the poll that follows is the one it asked for.
        self.mailed.swap(false, Ordering::AcqRel);
    }

    #[inline]
    fn id(&self) -> TaskId {
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
            let _ = self.inbox.send(Message::Wake(id));
        }
    }
}
