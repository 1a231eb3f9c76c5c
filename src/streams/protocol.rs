//! The adapter between a transport's callbacks and a stream's coroutines.

use std::fmt;
use std::rc::{Rc, Weak};

use crate::contract::{AfterEof, EofKind, Protocol, ReadInto, Transport};
use crate::error::{ConnError, ExceptionContext};
use crate::event_loop::get_running_loop;

use super::reader::StreamReader;
use super::state::{StreamState, User};
use super::writer::StreamWriter;

/// What is called for each connection of a server.
type ClientConnected = Box<dyn FnOnce(StreamReader, StreamWriter)>;

/// The protocol of a stream: turns callbacks into wake-ups of a reader and a writer.
///
/// [`open_connection`](crate::open_connection) and
/// [`start_server`](crate::start_server) make it; making it oneself is for building
/// functions like them.
///
/// # asyncio
/// `StreamReaderProtocol(stream_reader, client_connected_cb)`.
///
/// # Examples
/// What `open_connection` does, by hand:
/// ```no_run
/// use std::io;
/// use millstream::{StreamReader, StreamReaderProtocol, StreamWriter, get_running_loop, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let reader = StreamReader::new();
///     let protocol = StreamReaderProtocol::new(&reader);
///     let transport = get_running_loop()?
///         .create_connection(|| protocol, "127.0.0.1", 8888)
///         .await?;
///     let writer = StreamWriter::new(transport, &reader);
///     writer.write(b"hello");
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct StreamReaderProtocol {
    /// What reader and writer hold. Weak: it holds the transport, which owns this protocol
    /// (R2). Once both are dropped, there is nobody to be told.
    state: Weak<StreamState>,
    /// The reader and its callback, until the connection is made: boxed, since the protocol
    /// lives as long as the connection.
    serving: Option<Box<Serving>>,
}

struct Serving {
    reader: StreamReader,
    client_connected: ClientConnected,
}

impl StreamReaderProtocol {
    /// Makes the protocol that feeds `reader`.
    #[must_use]
    pub fn new(reader: &StreamReader) -> StreamReaderProtocol {
        StreamReaderProtocol {
            state: Rc::downgrade(reader.state()),
            serving: None,
        }
    }

    /// Makes a protocol that goes on where an earlier one of the same stream leaves off.
    #[cfg(feature = "tls")]
    pub(super) fn going_on(state: &Rc<StreamState>) -> StreamReaderProtocol {
        StreamReaderProtocol {
            state: Rc::downgrade(state),
            serving: None,
        }
    }

    /// Makes the protocol that feeds `reader`, and calls `client_connected` with it and a
    /// writer as soon as the connection is made.
    #[must_use]
    pub fn with_callback(
        reader: StreamReader,
        client_connected: impl FnOnce(StreamReader, StreamWriter) + 'static,
    ) -> StreamReaderProtocol {
        StreamReaderProtocol {
            state: Rc::downgrade(reader.state()),
            serving: Some(Box::new(Serving {
                reader,
                client_connected: Box::new(client_connected),
            })),
        }
    }
}

impl Protocol for StreamReaderProtocol {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        if let Some(serving) = self.serving.take() {
            let Serving {
                reader,
                client_connected,
            } = *serving;
            let writer = StreamWriter::new(transport.clone(), &reader);
            client_connected(reader, writer);
            return;
        }
        match self.state.upgrade() {
            // A writer that was made before keeps what it has: perhaps something around it.
            Some(state) => state.set_transport(transport.clone(), User::Reader),
            None if transport.is_closing() => {}
            None => reject(transport),
        }
    }

    fn data_received(&mut self, transport: &Rc<dyn Transport>, data: &[u8]) {
        if let Some(state) = self.state.upgrade() {
            state.feed_data(Some(&**transport), data);
        }
    }

    /// A transport that can't end its writing alone, as on TLS, can't outlive the end of
    /// its peer's either: it closes.
    fn eof_received(&mut self, transport: &Rc<dyn Transport>) -> AfterEof {
        if let Some(state) = self.state.upgrade() {
            state.feed_eof(transport.eof_kind());
        }
        match transport.can_write_eof() {
            true => AfterEof::KeepOpen,
            false => AfterEof::Close,
        }
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        let Some(state) = self.state.upgrade() else {
            return;
        };
        match &error {
            Some(error) => state.set_exception(error.clone()),
            None => state.feed_eof(EofKind::Clean),
        }
        state.flow().connection_lost(error);
    }

    fn pause_writing(&mut self, _transport: &Rc<dyn Transport>) {
        if let Some(state) = self.state.upgrade() {
            state.flow().pause_writing();
        }
    }

    fn resume_writing(&mut self, _transport: &Rc<dyn Transport>) {
        if let Some(state) = self.state.upgrade() {
            state.flow().resume_writing();
        }
    }

    /// A read that waits receives itself (`pull.rs`).
    fn get_buffer(&mut self, _transport: &Rc<dyn Transport>, _hint: usize) -> ReadInto {
        match self.state.upgrade() {
            Some(state) if state.leaves_to_reader() => ReadInto::Later,
            _ => ReadInto::Shared,
        }
    }
}

/// Reader and writer were dropped while the connection was being made: nobody can use it.
fn reject(transport: &Rc<dyn Transport>) {
    let context = ExceptionContext::new(
        "An open stream was garbage collected prior to establishing network connection; \
         call \"stream.close()\" explicitly.",
    )
    .transport(format_args!("{transport:?}"));
    if let Ok(handle) = get_running_loop() {
        handle.call_exception_handler(&context);
    }
    transport.abort();
}

impl fmt::Debug for StreamReaderProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamReaderProtocol")
            .field("serving", &self.serving.is_some())
            .finish_non_exhaustive()
    }
}
