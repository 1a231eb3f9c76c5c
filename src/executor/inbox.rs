//! The inbox: what other threads send to the loop.
//!
//! ```text
//!   other threads ──send──► [messages] ──collect──► ready queue
//!                    │
//!                    └─ if the loop sleeps, and nobody rang yet: Notifier ──► poll returns
//! ```
//!
//! Always true: a message is sent before the bell is looked at, and the loop says that it
//! sleeps before it looks for messages; so one of the two sees the other.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::LoopError;
use crate::reactor::Notifier;

use super::handle::Callback;
use super::waker::TaskWaker;

/// What other threads may ask of a loop.
pub(crate) enum Message {
    /// The task of this waker is to be polled.
    Wake(Arc<TaskWaker>),
    /// A callback is to be run, as by `call_soon`.
    Call(Box<dyn Callback + Send>),
}

/// The one thing of a loop that other threads can reach.
pub(crate) struct Inbox {
    mail: Mutex<Mail>,
    /// Somebody sent something that was not collected.
    has_mail: AtomicBool,
    /// One of [`AWAKE`], [`ASLEEP`], [`RUNG`].
    bell: AtomicU8,
}

struct Mail {
    messages: Vec<Message>,
    /// `None` once the loop is closed: whoever keeps a waker for ever keeps no descriptor.
    notifier: Option<Notifier>,
}

/// The loop runs, and looks for mail before it sleeps: no need to ring.
const AWAKE: u8 = 0;
/// The loop sleeps, or is about to, or somebody else's loop sleeps for it.
const ASLEEP: u8 = 1;
/// Somebody rang, and the loop did not wake up yet: no need to ring again.
const RUNG: u8 = 2;

impl Inbox {
    pub(crate) fn new(notifier: Notifier) -> Inbox {
        Inbox {
            mail: Mutex::new(Mail {
                messages: Vec::new(),
                notifier: Some(notifier),
            }),
            has_mail: AtomicBool::new(false),
            bell: AtomicU8::new(ASLEEP),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`LoopError::Closed`] once the loop is closed; the message is dropped.
    pub(crate) fn send(&self, message: Message) -> Result<(), LoopError> {
        let mut mail = self.lock();
        if mail.notifier.is_none() {
            drop(mail); // before the message, whose drop may send
            return Err(LoopError::Closed);
        }
        mail.messages.push(message);
        self.has_mail.store(true, Ordering::SeqCst);
        let rings = self
            .bell
            .compare_exchange(ASLEEP, RUNG, Ordering::SeqCst, Ordering::SeqCst);
        if let (Ok(_), Some(notifier)) = (rings, &mail.notifier) {
            notifier.notify();
        }
        Ok(())
    }

    /// Says whether something was sent that was not collected.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::SeqCst)
    }

    /// Takes all messages out.
    pub(crate) fn collect(&self) -> Vec<Message> {
        let mut mail = self.lock();
        self.has_mail.store(false, Ordering::SeqCst);
        mem::take(&mut mail.messages)
    }

    /// The loop is about to sleep: ring from now on. Look for mail after this.
    pub(crate) fn sleeps(&self) {
        self.bell.store(ASLEEP, Ordering::SeqCst);
    }

    /// The loop runs: nobody need ring.
    pub(crate) fn wakes(&self) {
        self.bell.store(AWAKE, Ordering::SeqCst);
    }

    /// Takes the notifier out and refuses all that comes after.
    ///
    /// Returns what was not collected, for the caller to drop.
    pub(crate) fn close(&self) -> Vec<Message> {
        let mut mail = self.lock();
        let notifier = mail.notifier.take();
        let uncollected = mem::take(&mut mail.messages);
        drop(mail);
        drop(notifier);
        uncollected
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // No user code runs under the lock, so a poisoned one holds whole data.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
