//! The barrier: nobody goes on until all have come.
//!
//! ```text
//!   round: 1st waits, 2nd waits, … the last comes ──► all go on; the next round begins
//!                        └── abort, reset ──► all who wait are told that it broke
//! ```
//!
//! A round is a value of its own, so that those who come while the last round still goes
//! out have nothing to do with it.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::rc::Rc;

use crate::waiters::WaiterList;
use crate::waits::What;

/// Holds tasks back until a number of them has come, and again for the next as many.
///
/// # asyncio
/// `asyncio.Barrier`.
///
/// # Examples
/// ```
/// use std::io;
/// use std::rc::Rc;
/// use millstream::{Barrier, create_task, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let start = Rc::new(Barrier::new(3));
///     let runners: Vec<_> = (0..2)
///         .map(|_| {
///             let start = start.clone();
///             create_task(async move { start.wait().await })
///         })
///         .collect();
///     let mut places = vec![start.wait().await?];
///     for runner in runners {
///         places.push(runner.await??);
///     }
///     places.sort();
///     assert_eq!(places, [0, 1, 2]);
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct Barrier {
    parties: usize,
    round: RefCell<Rc<Round>>,
    broken: Cell<bool>,
}

/// Those who go on together.
struct Round {
    /// How many wait.
    arrived: Cell<usize>,
    fate: Cell<Fate>,
    /// The place of the next one who goes on.
    next_place: Cell<usize>,
    sleepers: WaiterList,
}

impl Default for Round {
    fn default() -> Self {
        Round {
            arrived: Cell::new(0),
            fate: Cell::default(),
            next_place: Cell::new(0),
            sleepers: WaiterList::of(What::Barrier),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    /// Some are still to come.
    #[default]
    Open,
    Released,
    Broken,
}

impl Barrier {
    /// Makes a barrier for so many.
    ///
    /// # Panics
    /// With `parties must be >= 1` if it is for nobody.
    ///
    /// # asyncio
    /// `Barrier(parties)`, which raises `ValueError`.
    #[must_use]
    pub fn new(parties: usize) -> Barrier {
        assert!(parties >= 1, "parties must be >= 1");
        Barrier {
            parties,
            round: RefCell::default(),
            broken: Cell::new(false),
        }
    }

    /// Waits until all have come; the last does not wait.
    ///
    /// Returns a number below [`parties`](Self::parties), a different one for each of a
    /// round, so that one of them can do what needs doing once: that with 0, say.
    ///
    /// # Errors
    /// [`BrokenBarrierError`] if the barrier is broken, or is broken or reset meanwhile.
    ///
    /// # Cancel safety
    /// Dropped before all have come, it counts as not having come. Dropped afterwards, its
    /// number is another's, or nobody's.
    ///
    /// # asyncio
    /// `Barrier.wait`, whose numbers may come twice once a waiter was cancelled.
    pub async fn wait(&self) -> Result<usize, BrokenBarrierError> {
        if self.broken() {
            return Err(BrokenBarrierError);
        }
        let round = self.round.borrow().clone();
        let _arrival = Arrival::of(&round);
        if round.arrived.get() == self.parties {
            self.begin_round();
            round.end(Fate::Released);
        } else {
            round.sleepers.wait().await;
        }
        if round.fate.get() == Fate::Broken {
            return Err(BrokenBarrierError);
        }
        let place = round.next_place.get();
        round.next_place.set(place + 1);
        Ok(place)
    }

    /// Breaks the barrier: whoever waits, and whoever comes, is told so, until it is reset.
    ///
    /// # asyncio
    /// `Barrier.abort`.
    pub fn abort(&self) {
        self.broken.set(true);
        self.begin_round().end(Fate::Broken);
    }

    /// Makes the barrier as new. Whoever waits is told that it broke.
    ///
    /// # asyncio
    /// `Barrier.reset`.
    pub fn reset(&self) {
        self.broken.set(false);
        self.begin_round().end(Fate::Broken);
    }

    /// Returns how many it is for.
    ///
    /// # asyncio
    /// `Barrier.parties`.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.parties
    }

    /// Returns how many wait for others to come.
    ///
    /// # asyncio
    /// `Barrier.n_waiting`.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.round.borrow().arrived.get()
    }

    /// Says whether it is broken.
    ///
    /// # asyncio
    /// `Barrier.broken`.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken.get()
    }

    /// Begins the next round, and returns the one before.
    fn begin_round(&self) -> Rc<Round> {
        self.round.replace(Rc::default())
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties)
            .field("waiting", &self.n_waiting())
            .field("broken", &self.broken())
            .finish()
    }
}

impl Round {
    fn end(&self, fate: Fate) {
        self.fate.set(fate);
        self.sleepers.wake_all();
    }
}

/// One who has come, and counts for as long as this lives.
struct Arrival<'a> {
    round: &'a Round,
}

impl<'a> Arrival<'a> {
    fn of(round: &'a Round) -> Arrival<'a> {
        round.arrived.set(round.arrived.get() + 1);
        Arrival { round }
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.round.arrived.set(self.round.arrived.get() - 1);
    }
}

/// A [`Barrier`] was broken, or reset while a task waited.
///
/// # asyncio
/// `asyncio.BrokenBarrierError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenBarrierError;

impl fmt::Display for BrokenBarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier was broken or reset")
    }
}

impl Error for BrokenBarrierError {}

impl From<BrokenBarrierError> for io::Error {
    fn from(error: BrokenBarrierError) -> Self {
        io::Error::other(error)
    }
}
