//! The dispositions: what the process does with each signal that a loop listens to.
//!
//! ```text
//!   a signal ──► signal-hook runs, in this order, whatever is there of
//!                ├─ what listening loops registered first: `arrived` is set, their bell rung
//!                ├─ the default effect, while `has_default_effect` is set
//!                ├─ what later loops registered
//!                └─ of a `run`: `has_default_effect` is set, for the next one
//! ```
//!
//! Signals belong to the process, loops to threads: so this is the one table that all loops
//! share. Safe code can't take a handler out of the kernel again. So once a signal was
//! listened to, its default effect is emulated while nobody listens.
//!
//! Always true, outside of the lock: `has_default_effect` of a signal that is installed is
//! set while nobody listens to it; it is set while somebody does only after a signal that
//! was to be the last one that is caught.
//!
//! asyncio: `signal.signal`, and `signal.set_wakeup_fd`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
use signal_hook::{flag, low_level};

use super::signals::Signal;

/// That somebody listens to a signal. Dropping it ends that.
pub(super) struct Listening {
    signal: Signal,
    actions: Vec<SigId>,
    /// The second signal is not to be caught.
    only_once: bool,
}

/// One signal that was listened to once.
#[derive(Default)]
struct Installed {
    has_default_effect: Arc<AtomicBool>,
    listeners: usize,
}

static INSTALLED: Mutex<BTreeMap<i32, Installed>> = Mutex::new(BTreeMap::new());

impl Listening {
    /// Has `arrived` set, and `bell` rung after it, whenever the signal comes.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such signal, or if it can't be caught.
    pub(super) fn begin(
        signal: Signal,
        arrived: Arc<AtomicBool>,
        bell: UnixStream,
    ) -> io::Result<Listening> {
        let number = signal.as_raw();
        if FORBIDDEN.contains(&number) {
            return Err(invalid(format!("sig {number} cannot be caught")));
        }
        let mut installed = installed();
        // The order leaves no gap: a signal that comes in between has its default effect,
        // or is heard.
        let sets = flag::register(number, arrived).map_err(|error| refused(signal, error))?;
        let rings = low_level::pipe::register(number, bell).inspect_err(|_| {
            low_level::unregister(sets);
        })?;
        let entry = installed
            .entry(number)
            .or_insert_with(|| Installed::new(signal));
        entry.has_default_effect.store(false, Ordering::SeqCst);
        entry.listeners += 1;
        Ok(Listening {
            signal,
            actions: vec![sets, rings],
            only_once: false,
        })
    }

    /// Has the signal that comes after the next one its default effect, in the very moment
    /// that it comes.
    pub(super) fn only_once(&mut self) -> io::Result<()> {
        let number = self.signal.as_raw();
        let installed = installed();
        if let Some(entry) = installed.get(&number) {
            // After the default effect, in the order that the actions are run.
            let once = flag::register(number, entry.has_default_effect.clone())?;
            self.actions.push(once);
            self.only_once = true;
        }
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut installed = installed();
        if let Some(entry) = installed.get_mut(&self.signal.as_raw()) {
            entry.listeners -= 1;
            if entry.listeners == 0 {
                entry.has_default_effect.store(true, Ordering::SeqCst);
            } else if self.only_once {
                entry.has_default_effect.store(false, Ordering::SeqCst);
            }
        }
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

impl Installed {
    fn new(signal: Signal) -> Installed {
        let new = Installed::default();
        // Refused for real-time signals: they have no effect any more once nobody listens.
        let emulated =
            flag::register_conditional_default(signal.as_raw(), new.has_default_effect.clone());
        if let Err(error) = emulated {
            log::debug!("the default effect of {signal} can't be emulated: {error}");
        }
        new
    }
}

/// Says whether this is the main thread, and the signal has its default effect, as far as
/// safe code can tell.
pub(super) fn is_main_thread_with_default(signal: Signal) -> bool {
    let caught_by_us = installed()
        .get(&signal.as_raw())
        .map(|entry| entry.listeners > 0);
    // Linux and Android know; elsewhere we believe that nobody else caught it.
    let known = fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|status| ThreadStatus::parse(&status));
    let is_main_thread = match &known {
        Some(status) => status.is_main_thread,
        None => thread::current().name() == Some("main"),
    };
    let is_default = match (caught_by_us, &known) {
        (Some(caught), _) => !caught,
        (None, Some(status)) => !status.ignores_or_catches(signal),
        (None, None) => true,
    };
    is_main_thread && is_default
}

/// What Linux tells of a thread.
struct ThreadStatus {
    is_main_thread: bool,
    /// Bit n-1 is set for signal n.
    ignored: u64,
    caught: u64,
}

impl ThreadStatus {
    fn parse(status: &str) -> Option<ThreadStatus> {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let mask = |name: &str| u64::from_str_radix(field(name)?, 16).ok();
        Some(ThreadStatus {
            is_main_thread: field("Tgid:")? == field("Pid:")?,
            ignored: mask("SigIgn:")?,
            caught: mask("SigCgt:")?,
        })
    }

    fn ignores_or_catches(&self, signal: Signal) -> bool {
        let bit = u32::try_from(signal.as_raw() - 1)
            .ok()
            .and_then(|n| 1_u64.checked_shl(n));
        bit.is_some_and(|bit| (self.ignored | self.caught) & bit != 0)
    }
}

fn installed() -> MutexGuard<'static, BTreeMap<i32, Installed>> {
    // Nothing panics under the lock; and if it did, the table would hold whole entries.
    INSTALLED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(signal: Signal, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidInput {
        return invalid(format!("invalid signal number {}", signal.as_raw()));
    }
    error
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "Name:\tmill\nTgid:\t7\nNgid:\t0\nPid:\t7\nPPid:\t1\n\
                        SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n\
                        SigCgt:\t0000000000000002\n";

    #[test]
    fn the_status_of_a_thread_is_read() {
        let status = ThreadStatus::parse(MAIN).expect("it is whole");
        assert!(status.is_main_thread);
        assert!(status.ignores_or_catches(Signal::INT), "caught");
        assert!(status.ignores_or_catches(Signal::PIPE), "ignored");
        assert!(!status.ignores_or_catches(Signal::HUP));
        for number in [0, -1, 65, i32::MIN + 1] {
            assert!(!status.ignores_or_catches(Signal::from_raw(number)));
        }
        let other = MAIN.replace("\nPid:\t7", "\nPid:\t8");
        let other = ThreadStatus::parse(&other).expect("it is whole");
        assert!(!other.is_main_thread);
    }

    #[test]
    fn a_status_in_which_something_is_missing_tells_nothing() {
        for missing in ["Tgid:", "\nPid:", "SigIgn:", "SigCgt:"] {
            assert!(ThreadStatus::parse(&MAIN.replace(missing, "\n")).is_none());
        }
    }
}
