//! The trace: what a protocol was told, in order.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

/// One entry of a [`Trace`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// `connection_made`.
    ConnectionMade,
    /// Nothing was called: the protocol came by `set_protocol`, and so begins here.
    TookOver,
    /// `data_received`, or `buffer_updated`, with these bytes.
    DataReceived(Vec<u8>),
    /// `eof_received`.
    EofReceived,
    /// `pause_writing`.
    PauseWriting,
    /// `resume_writing`.
    ResumeWriting,
    /// `connection_lost`, with an error of this kind.
    ConnectionLost(Option<io::ErrorKind>),
    /// Nothing was called: the test wrote this down itself.
    Noted(&'static str),
}

/// What a protocol was told, shared by a test and a [`Recorder`](crate::testing::Recorder).
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::testing::{Recorder, Told, Trace};
/// use millstream::{EventLoop, memory_transport_pair};
///
/// # fn main() -> io::Result<()> {
/// let event_loop = EventLoop::new()?;
/// let (ours, theirs) = (Trace::new(), Trace::new());
/// let (_one, other) = memory_transport_pair(
///     &event_loop,
///     Recorder::new(&ours),
///     Recorder::new(&theirs),
///     1024,
/// );
/// other.write(b"hello");
/// other.close();
/// while !ours.is_lost() {
///     event_loop.turn(None)?;
/// }
/// assert_eq!(
///     ours.told(),
///     [
///         Told::ConnectionMade,
///         Told::DataReceived(b"hello".to_vec()),
///         Told::EofReceived,
///         Told::ConnectionLost(None),
///     ]
/// );
/// ours.assert_complete();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Trace(Rc<Written>);

#[derive(Debug, Default)]
struct Written {
    told: RefCell<Vec<Told>>,
    /// Invariant: the lengths of all `DataReceived` in `told`, added up.
    received_len: Cell<usize>,
    lost: Cell<bool>,
    dropped: Cell<usize>,
}

impl Trace {
    /// Makes an empty trace. Clones share it.
    #[must_use]
    pub fn new() -> Trace {
        Trace::default()
    }

    /// Writes down something that is no callback, to see what came before it and after.
    pub fn note(&self, what: &'static str) {
        self.write_down(Told::Noted(what));
    }

    pub(super) fn write_down(&self, told: Told) {
        let len = data_of(&told).map_or(0, <[u8]>::len);
        self.0.received_len.set(self.0.received_len.get() + len);
        if let Told::ConnectionLost(_) = told {
            self.0.lost.set(true);
        }
        self.0.told.borrow_mut().push(told);
    }

    pub(super) fn recorder_dropped(&self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
    }

    /// Returns what was told so far. `data_received` that follows `data_received` is
    /// joined with it: where a stream is cut is nobody's promise.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let mut joined: Vec<Told> = Vec::new();
        for told in self.0.told.borrow().iter() {
            match (joined.last_mut(), told) {
                (Some(Told::DataReceived(before)), Told::DataReceived(more)) => {
                    before.extend_from_slice(more);
                }
                _ => joined.push(told.clone()),
            }
        }
        joined
    }

    /// Returns the bytes that came, in one piece.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        let told = self.0.told.borrow();
        let mut all = Vec::new();
        for data in told.iter().filter_map(data_of) {
            all.extend_from_slice(data);
        }
        all
    }

    /// Returns how many bytes came.
    #[must_use]
    pub fn received_len(&self) -> usize {
        self.0.received_len.get()
    }

    /// Returns how often this was told; every call counts, also of `data_received`.
    #[must_use]
    pub fn count(&self, is_it: impl Fn(&Told) -> bool) -> usize {
        self.0.told.borrow().iter().filter(|t| is_it(t)).count()
    }

    /// Says whether this was told.
    #[must_use]
    pub fn has(&self, what: &Told) -> bool {
        self.0.told.borrow().contains(what)
    }

    /// Says whether `connection_lost` was called.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    /// Returns how many recorders of this trace were dropped.
    #[must_use]
    pub fn recorders_dropped(&self) -> usize {
        self.0.dropped.get()
    }

    /// Checks what was told so far against the grammar of calls:
    ///
    /// ```text
    /// connection_made [data_received]* [eof_received]? connection_lost
    /// ```
    ///
    /// with `pause_writing` and `resume_writing` in strict alternation in between.
    ///
    /// # Panics
    /// If something was told that may not come there, with the whole trace.
    #[track_caller]
    pub fn assert_in_order(&self) {
        if let Err(misplaced) = self.follow_grammar() {
            panic!("{misplaced}, in {}", self.abridged());
        }
    }

    /// Does what [`assert_in_order`](Trace::assert_in_order) does, and demands that
    /// `connection_lost` came.
    ///
    /// # Panics
    /// If something was told in the wrong place, or the end was not told.
    #[track_caller]
    pub fn assert_complete(&self) {
        self.assert_in_order();
        assert!(
            self.is_lost(),
            "connection_lost is missing in {}",
            self.abridged()
        );
    }

    fn follow_grammar(&self) -> Result<(), String> {
        let mut place = Place::Before;
        let mut paused = false;
        for (at, told) in self.0.told.borrow().iter().enumerate() {
            let (next, pausing) = match (place, told) {
                (_, Told::Noted(_)) => continue,
                (Place::Before, Told::ConnectionMade | Told::TookOver) => (Place::Open, paused),
                (Place::Open, Told::DataReceived(data)) if !data.is_empty() => (place, paused),
                (Place::Open, Told::EofReceived) => (Place::Ended, paused),
                (Place::Open | Place::Ended, Told::PauseWriting) if !paused => (place, true),
                (Place::Open | Place::Ended, Told::ResumeWriting) if paused => (place, false),
                (Place::Open | Place::Ended, Told::ConnectionLost(_)) => (Place::Lost, paused),
                _ => return Err(format!("entry {at} may not come there: {told:?}")),
            };
            (place, paused) = (next, pausing);
        }
        Ok(())
    }

    /// The trace, without the bulk of its bytes.
    pub(super) fn abridged(&self) -> String {
        let told: Vec<String> = self.told().iter().map(abridge).collect();
        format!("[{}]", told.join(", "))
    }
}

/// Where in its life a protocol is.
#[derive(Clone, Copy)]
enum Place {
    Before,
    Open,
    Ended,
    Lost,
}

fn data_of(told: &Told) -> Option<&[u8]> {
    match told {
        Told::DataReceived(data) => Some(data),
        _ => None,
    }
}

fn abridge(told: &Told) -> String {
    match told {
        Told::DataReceived(data) if data.len() > 40 => {
            format!("DataReceived({} bytes)", data.len())
        }
        Told::DataReceived(data) => format!("DataReceived(b\"{}\")", data.escape_ascii()),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Told::{
        ConnectionLost, ConnectionMade, EofReceived, Noted, PauseWriting, ResumeWriting, TookOver,
    };

    #[test]
    fn the_grammar_accepts_what_a_connection_may_tell() {
        for told in [
            vec![],
            vec![ConnectionMade],
            vec![ConnectionMade, ConnectionLost(None)],
            vec![ConnectionMade, data(), data(), EofReceived, lost()],
            vec![ConnectionMade, PauseWriting, data(), ResumeWriting, lost()],
            vec![ConnectionMade, EofReceived, PauseWriting, lost()],
            vec![Noted("x"), TookOver, Noted("x"), lost(), Noted("x")],
        ] {
            assert_eq!(trace(&told).follow_grammar(), Ok(()), "{told:?}");
        }
    }

    #[test]
    fn the_grammar_refuses_everything_else() {
        for told in [
            vec![data()],
            vec![lost()],
            vec![PauseWriting],
            vec![ConnectionMade, ConnectionMade],
            vec![ConnectionMade, TookOver],
            vec![ConnectionMade, Told::DataReceived(vec![])],
            vec![ConnectionMade, EofReceived, data()],
            vec![ConnectionMade, EofReceived, EofReceived],
            vec![ConnectionMade, ResumeWriting],
            vec![ConnectionMade, PauseWriting, PauseWriting],
            vec![ConnectionMade, PauseWriting, ResumeWriting, ResumeWriting],
            vec![ConnectionMade, lost(), lost()],
            vec![ConnectionMade, lost(), data()],
            vec![ConnectionMade, PauseWriting, lost(), ResumeWriting],
        ] {
            assert!(trace(&told).follow_grammar().is_err(), "{told:?}");
        }
    }

    #[test]
    #[should_panic(expected = "connection_lost is missing in [ConnectionMade]")]
    fn a_trace_without_its_end_is_not_complete() {
        trace(&[ConnectionMade]).assert_complete();
    }

    #[test]
    fn data_is_joined_where_nothing_comes_between() {
        let trace = trace(&[data(), data(), PauseWriting, data()]);
        let twice = Told::DataReceived(b"xx".to_vec());
        assert_eq!(trace.told(), [twice, PauseWriting, data()]);
        assert_eq!(trace.received(), b"xxx");
        assert_eq!(trace.count(|t| *t == data()), 3);
    }

    fn data() -> Told {
        Told::DataReceived(b"x".to_vec())
    }

    fn lost() -> Told {
        ConnectionLost(Some(io::ErrorKind::ConnectionReset))
    }

    fn trace(told: &[Told]) -> Trace {
        let trace = Trace::new();
        for told in told {
            trace.write_down(told.clone());
        }
        trace
    }
}
