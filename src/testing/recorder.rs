//! The recorder: a protocol that writes down what it is told, and does what it was asked
//! to do then.

use std::fmt;
use std::rc::Rc;

use crate::contract::{AfterEof, Protocol, ReadInto, Transport};
use crate::error::ConnError;

use super::trace::{Told, Trace};

/// A protocol that writes what it is told into a [`Trace`].
///
/// What it does in a callback, a test says with `on_…`. The entry is written down first.
///
/// # Examples
/// ```
/// use std::io;
/// use millstream::testing::{Recorder, Told, Trace};
/// use millstream::{EventLoop, memory_transport_pair};
///
/// # fn main() -> io::Result<()> {
/// let event_loop = EventLoop::new()?;
/// let trace = Trace::new();
/// let echo = Recorder::new(&trace).on_data_received(|transport, data| transport.write(data));
/// let answer = Trace::new();
/// let asker = Recorder::new(&answer).on_connection_made(|transport| transport.write(b"hi"));
/// memory_transport_pair(&event_loop, echo, asker, 1024);
/// while answer.received_len() == 0 {
///     event_loop.turn(None)?;
/// }
/// assert_eq!(answer.received(), b"hi");
/// # Ok(())
/// # }
/// ```
pub struct Recorder {
    trace: Trace,
    connection_made: Option<OnTransport>,
    data_received: Option<OnData>,
    eof_received: Option<OnEof>,
    pause_writing: Option<OnTransport>,
    resume_writing: Option<OnTransport>,
    connection_lost: Option<OnLost>,
    get_buffer: Option<OnGetBuffer>,
    buffer_updated: Option<OnTransport>,
    buffer_unused: Option<OnTransport>,
    dropped: Option<Box<dyn FnMut()>>,
}

type OnTransport = Box<dyn FnMut(&Rc<dyn Transport>)>;
type OnData = Box<dyn FnMut(&Rc<dyn Transport>, &[u8])>;
type OnEof = Box<dyn FnMut(&Rc<dyn Transport>) -> AfterEof>;
type OnLost = Box<dyn FnMut(Option<&ConnError>)>;
type OnGetBuffer = Box<dyn FnMut(&Rc<dyn Transport>, usize) -> ReadInto>;

impl Recorder {
    /// Makes a recorder for a connection that is about to be made.
    #[must_use]
    pub fn new(trace: &Trace) -> Recorder {
        Recorder {
            trace: trace.clone(),
            connection_made: None,
            data_received: None,
            eof_received: None,
            pause_writing: None,
            resume_writing: None,
            connection_lost: None,
            get_buffer: None,
            buffer_updated: None,
            buffer_unused: None,
            dropped: None,
        }
    }

    /// Makes a recorder for `set_protocol`: its trace begins with [`Told::TookOver`].
    #[must_use]
    pub fn successor(trace: &Trace) -> Recorder {
        trace.write_down(Told::TookOver);
        Recorder::new(trace)
    }

    /// Returns the trace that it writes into.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Says what to do in `connection_made`.
    #[must_use]
    pub fn on_connection_made(mut self, f: impl FnMut(&Rc<dyn Transport>) + 'static) -> Self {
        self.connection_made = Some(Box::new(f));
        self
    }

    /// Says what to do in `data_received`.
    #[must_use]
    pub fn on_data_received(mut self, f: impl FnMut(&Rc<dyn Transport>, &[u8]) + 'static) -> Self {
        self.data_received = Some(Box::new(f));
        self
    }

    /// Says what to do in `eof_received`, and how to answer.
    #[must_use]
    pub fn on_eof_received(
        mut self,
        f: impl FnMut(&Rc<dyn Transport>) -> AfterEof + 'static,
    ) -> Self {
        self.eof_received = Some(Box::new(f));
        self
    }

    /// Has `eof_received` answer [`AfterEof::KeepOpen`].
    #[must_use]
    pub fn keeps_open(self) -> Self {
        self.on_eof_received(|_| AfterEof::KeepOpen)
    }

    /// Says what to do in `pause_writing`.
    #[must_use]
    pub fn on_pause_writing(mut self, f: impl FnMut(&Rc<dyn Transport>) + 'static) -> Self {
        self.pause_writing = Some(Box::new(f));
        self
    }

    /// Says what to do in `resume_writing`.
    #[must_use]
    pub fn on_resume_writing(mut self, f: impl FnMut(&Rc<dyn Transport>) + 'static) -> Self {
        self.resume_writing = Some(Box::new(f));
        self
    }

    /// Says what to do in `connection_lost`.
    #[must_use]
    pub fn on_connection_lost(mut self, f: impl FnMut(Option<&ConnError>) + 'static) -> Self {
        self.connection_lost = Some(Box::new(f));
        self
    }

    /// Says how to answer `get_buffer`, which is not written down.
    #[must_use]
    pub fn on_get_buffer(
        mut self,
        f: impl FnMut(&Rc<dyn Transport>, usize) -> ReadInto + 'static,
    ) -> Self {
        self.get_buffer = Some(Box::new(f));
        self
    }

    /// Says what to do in `buffer_updated`, which is written down as the data it brings.
    #[must_use]
    pub fn on_buffer_updated(mut self, f: impl FnMut(&Rc<dyn Transport>) + 'static) -> Self {
        self.buffer_updated = Some(Box::new(f));
        self
    }

    /// Says what to do in `buffer_unused`, which is not written down.
    #[must_use]
    pub fn on_buffer_unused(mut self, f: impl FnMut(&Rc<dyn Transport>) + 'static) -> Self {
        self.buffer_unused = Some(Box::new(f));
        self
    }

    /// Says what to do when the recorder is dropped.
    #[must_use]
    pub fn on_drop(mut self, f: impl FnMut() + 'static) -> Self {
        self.dropped = Some(Box::new(f));
        self
    }
}

impl Protocol for Recorder {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        self.trace.write_down(Told::ConnectionMade);
        react(&mut self.connection_made, transport);
    }

    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        self.trace.write_down(Told::DataReceived(data.to_vec()));
        if let Some(f) = &mut self.data_received {
            f(transport, data);
        }
    }

    fn eof_received(&mut self, transport: &Rc<dyn Transport>) -> AfterEof {
        self.trace.write_down(Told::EofReceived);
        match &mut self.eof_received {
            Some(f) => f(transport),
            None => AfterEof::Close,
        }
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        let kind = error.as_ref().map(ConnError::kind);
        self.trace.write_down(Told::ConnectionLost(kind));
        if let Some(f) = &mut self.connection_lost {
            f(error.as_ref());
        }
    }

    fn pause_writing(&mut self, transport: &Rc<dyn Transport>) {
        self.trace.write_down(Told::PauseWriting);
        react(&mut self.pause_writing, transport);
    }

    fn resume_writing(&mut self, transport: &Rc<dyn Transport>) {
        self.trace.write_down(Told::ResumeWriting);
        react(&mut self.resume_writing, transport);
    }

    fn get_buffer(&mut self, transport: &Rc<dyn Transport>, hint: usize) -> ReadInto {
        match &mut self.get_buffer {
            Some(f) => f(transport, hint),
            None => ReadInto::Shared,
        }
    }

    fn buffer_updated(&mut self, transport: &Rc<dyn Transport>, buffer: Vec<u8>, filled: usize) {
        let data = buffer[..filled].to_vec();
        self.trace.write_down(Told::DataReceived(data));
        react(&mut self.buffer_updated, transport);
    }

    fn buffer_unused(&mut self, transport: &Rc<dyn Transport>, _buffer: Vec<u8>) {
        react(&mut self.buffer_unused, transport);
    }
}

fn react(reaction: &mut Option<OnTransport>, transport: &Rc<dyn Transport>) {
    if let Some(f) = reaction {
        f(transport);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.trace.recorder_dropped();
        if let Some(f) = &mut self.dropped {
            f();
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("trace", &self.trace)
            .finish_non_exhaustive()
    }
}
