//! The handler: what a stream server calls for each client.
//!
//! ```text
//!   connection_made ─► coroutine: a task ─► its result: reported if it is an error
//!                   └► plain callback: called at once
//! ```

use std::any::type_name;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::contract::Transport;
use crate::error::{ExceptionContext, PanicPayload};
use crate::streams::{StreamReader, StreamWriter};

use super::attached::Key;
use super::server_core::ServerCore;

/// What a client handler may return: nothing, or a `Result` whose error is reported.
#[diagnostic::on_unimplemented(
    message = "a client handler can't return `{Self}`",
    note = "it returns `()`, or a `Result` whose error implements `Display`",
    note = "a handler that never returns says `-> ()`"
)]
pub trait HandlerOutcome: 'static {
    /// Whether the handler is called within `connection_made`, instead of in a task.
    const CALLED_AT_ONCE: bool = false;

    /// Returns what went wrong, if something did.
    fn failure(self) -> Option<String>;
}

impl HandlerOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<T: 'static, E: fmt::Display + 'static> HandlerOutcome for Result<T, E> {
    fn failure(self) -> Option<String> {
        // With `#`, errors that have causes commonly show them.
        self.err().map(|error| format!("{error:#}"))
    }
}

/// What [`plain`] makes a callback return.
#[derive(Debug)]
pub struct PlainReturn(());

impl HandlerOutcome for PlainReturn {
    const CALLED_AT_ONCE: bool = true;

    fn failure(self) -> Option<String> {
        None
    }
}

/// Makes a client handler of a plain callback, which is called within `connection_made`.
///
/// The callback may keep the pair; dropping the writer closes the connection. If it
/// panics, the connection is aborted.
///
/// # asyncio
/// A `client_connected_cb` that is no coroutine function.
///
/// # Examples
/// ```no_run
/// use std::io;
/// use millstream::{create_task, plain, run, start_server};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let greet = plain(|_reader, writer| writer.write(b"hello, and good-bye\n"));
///     let server = start_server(greet, "127.0.0.1", 8888).await?;
///     server.serve_forever().await
/// })
/// # }
/// ```
pub fn plain(
    callback: impl Fn(StreamReader, StreamWriter) + 'static,
) -> impl AsyncFn(StreamReader, StreamWriter) -> PlainReturn + 'static {
    async move |reader, writer| {
        callback(reader, writer);
        PlainReturn(())
    }
}

/// A client handler, whatever its type: called for each connection, within
/// `connection_made`.
pub(super) type ClientConnected = Rc<dyn Fn(StreamReader, StreamWriter, Served)>;

/// The connection that a handler is called for, as its server knows it.
pub(super) struct Served {
    pub(super) server: Rc<ServerCore>,
    pub(super) key: Key,
}

pub(super) fn client_connected<F, R>(handler: F) -> ClientConnected
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: HandlerOutcome,
{
    let handler = Rc::new(handler);
    Rc::new(move |reader, writer, served| {
        if R::CALLED_AT_ONCE {
            return call_at_once(&*handler, reader, writer);
        }
        let Served { server, key } = served;
        let unfinished = Unfinished::new(&writer, server.clone(), key);
        let serving = serve_client(handler.clone(), Box::new((reader, writer)), unfinished);
        let task = server.handle.create_task(serving);
        task.name_after(type_name::<F>);
        if let Some(id) = task.id() {
            server.attached.handled_by(key, id);
        }
    })
}

fn call_at_once<F, R>(handler: &F, reader: StreamReader, writer: StreamWriter)
where
    F: AsyncFn(StreamReader, StreamWriter) -> R,
{
    let called = pin!(handler(reader, writer));
    let ended = called.poll(&mut Context::from_waker(Waker::noop()));
    debug_assert!(ended.is_ready(), "a plain callback has nothing to wait for");
}

/// Runs a handler, and closes its connection if it fails, panics or is cancelled.
///
/// What a task keeps from its first step on, it keeps until it ends, so the client comes in
/// a box, which is gone as soon as the handler has it.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps its arguments twice, for each connection"
)]
fn serve_client<F, R>(
    handler: Rc<F>,
    client: Box<(StreamReader, StreamWriter)>,
    mut unfinished: Unfinished,
) -> impl Future<Output = ()>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R,
    R: HandlerOutcome,
{
    async move {
        let mut serving = pin!({
            // Bound here, so that the box is gone at the end of this block.
            let client = client;
            let (reader, writer) = *client;
            (*handler)(reader, writer)
        });
        let failure =
            poll_fn(
                |cx| match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(outcome)) => Poll::Ready(outcome.failure()),
                    Err(panic) => {
                        Poll::Ready(Some(format!("panicked: {}", PanicPayload::new(panic))))
                    }
                },
            )
            .await;
        unfinished.ended(failure);
    }
}

/// A handler that has not ended. Dropped before it did, or after it failed, this closes its
/// connection.
struct Unfinished {
    transport: Rc<dyn Transport>,
    server: Rc<ServerCore>,
    key: Key,
    fate: Fate,
}

/// What becomes of the connection when its handler is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Close,
    /// The handler has ended well: the connection is its writer's.
    Leave,
}

impl Unfinished {
    fn new(writer: &StreamWriter, server: Rc<ServerCore>, key: Key) -> Unfinished {
        server.attached.handler_begins();
        Unfinished {
            transport: writer.transport().clone(),
            server,
            key,
            fate: Fate::Close,
        }
    }

    /// The handler has returned.
    fn ended(&mut self, failure: Option<String>) {
        let Some(failure) = failure else {
            self.fate = Fate::Leave;
            return;
        };
        let context = ExceptionContext::new("Unhandled exception in client_connected_cb")
            .exception(failure)
            .transport(format_args!("{:?}", self.transport));
        self.server.handle.call_exception_handler(&context);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.fate == Fate::Close {
            self.transport.close();
        }
        self.server.handler_ended(self.key);
    }
}
