//! The handle: a scheduled callback that can be cancelled.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::task::Waker;

use crate::sleeper::Sleeper;
use crate::waits::TaskAddress;

/// A callback that `call_soon` or a timer will run, at most once.
///
/// Dropping the handle changes nothing: the callback runs all the same.
///
/// # asyncio
/// `asyncio.Handle`.
#[derive(Clone)]
pub struct Handle(pub(crate) Rc<HandleCell>);

impl Handle {
    /// Takes the callback back and drops it. Has no effect after it ran.
    ///
    /// # asyncio
    /// `Handle.cancel`.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Says whether the callback was cancelled before it ran.
    ///
    /// # asyncio
    /// `Handle.cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.state.get() == State::Cancelled
    }
}

impl fmt::Debug for Handle {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({}, {:?})", self.0.name(), self.0.state.get())
    }
}

/// A callback that nobody can cancel, and its name.
pub(crate) trait Callback {
    /// The type of the callback, which names the function it was written in.
    fn name(&self) -> &'static str;

    fn call(self: Box<Self>);
}

impl<F: FnOnce()> Callback for F {
    fn name(&self) -> &'static str {
        type_name::<F>()
    }

    fn call(self: Box<Self>) {
        self();
    }
}

/// What a handle and the queue share.
pub(crate) struct HandleCell {
    /// A function, which is smaller than what it returns.
    name: fn() -> &'static str,
    state: Cell<State>,
    /// R3: out of the cell whenever it is used or dropped.
    action: Cell<Option<Action>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Ran,
    Cancelled,
}

/// What happens when its turn comes.
enum Action {
    Call(Box<dyn FnOnce()>),
    /// A sleeping future wants to be polled: nothing to box.
    Wake(Sleeper),
}

impl HandleCell {
    pub(crate) fn new<F: FnOnce() + 'static>(callback: F) -> Rc<HandleCell> {
        Rc::new(HandleCell {
            name: type_name::<F>,
            state: Cell::new(State::Waiting),
            action: Cell::new(Some(Action::Call(Box::new(callback)))),
        })
    }

    pub(crate) fn waking(waker: &Waker) -> Rc<HandleCell> {
        Rc::new(HandleCell {
            name: || "Waker",
            state: Cell::new(State::Waiting),
            action: Cell::new(Some(Action::Wake(Sleeper::of(waker)))),
        })
    }

    /// The type of the callback, which names the function it was written in.
    pub(crate) fn name(&self) -> &'static str {
        (self.name)()
    }

    /// Says who will be woken, if it wakes a task.
    pub(crate) fn sleeper(&self) -> Option<TaskAddress> {
        let action = self.action.take();
        let sleeper = match &action {
            Some(Action::Wake(sleeper)) => sleeper.address(),
            _ => None,
        };
        self.action.set(action);
        sleeper
    }

    /// Says whether it neither ran nor was cancelled.
    pub(crate) fn is_waiting(&self) -> bool {
        self.state.get() == State::Waiting
    }

    pub(crate) fn run(&self) {
        if !self.is_waiting() {
            return;
        }
        self.state.set(State::Ran);
        let action = self.action.take();
        match action {
            Some(Action::Call(callback)) => callback(),
            Some(Action::Wake(sleeper)) => sleeper.wake(),
            None => {}
        }
    }

    /// Returns true if it was this call that cancelled it.
    pub(crate) fn cancel(&self) -> bool {
        if !self.is_waiting() {
            return false;
        }
        self.state.set(State::Cancelled);
        let action = self.action.take();
        drop(action);
        true
    }

    /// Has somebody else woken in the place of whom it was made for.
    pub(crate) fn renew_waker(&self, waker: &Waker) {
        let known = self.action.take();
        let renewed = match known {
            Some(Action::Wake(known)) if known.is(waker) => known,
            stale => {
                drop(stale);
                Sleeper::of(waker)
            }
        };
        self.action.set(Some(Action::Wake(renewed)));
    }
}
