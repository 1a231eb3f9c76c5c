//! The waker: what a future keeps to say that its task should be polled again.
//!
//! A `Waker` must be `Send`; our futures aren't. So a waker carries the task's id, and
//! the task table has the rest. Woken on the loop's own thread, it queues the task: no
//! lock, no system call. Woken on another, it takes the inbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use super::inbox::{Inbox, Message};
use super::task_table::TaskId;
use super::wake_locally;

/// What a task's wakers share.
pub(super) struct TaskWaker {
    id: TaskId,
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
            id,
            inbox,
            mailed: AtomicBool::new(false),
        }
    }

    /// Serves another task, once nobody else holds it.
    pub(super) fn reuse(&mut self, id: TaskId) {
        self.id = id;
        *self.mailed.get_mut() = false;
    }

    /// The inbox was emptied. A wake from now on sends another message.
    pub(super) fn mail_collected(&self) {
        // Acquires what was done before a wake that came after the inbox was emptied, and
        // found the flag still set: the poll that follows is the one it asked for.
        self.mailed.swap(false, Ordering::AcqRel);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if wake_locally(&self.inbox, self.id) {
            return;
        }
        if !self.mailed.swap(true, Ordering::AcqRel) {
            // A closed loop polls nobody any more: nothing is lost.
            let _ = self.inbox.send(Message::Wake(self.id));
        }
    }
}
