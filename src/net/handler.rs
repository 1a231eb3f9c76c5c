//! The handler: what a stream server calls for each client.
//!
//! ```text
//!   connection_made ─► coroutine: a task ─► its result: reported if it is an error
//!                   └► plain callback: called at once
//! ```

use std::any::type_name;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

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
    let shared = Rc::new(Shared {
        handler,
        server: OnceCell::new(),
    });
    Rc::new(move |reader, writer, served| {
        if R::CALLED_AT_ONCE {
            return call_at_once(&shared.handler, reader, writer);
        }
        let Served { server, key } = served;
        shared.server.get_or_init(|| server.clone());
        let unfinished = Unfinished::new(shared.clone(), key);
        let serving = serve_client(Box::new((reader, writer)), unfinished);
        let executor = &server.handle.core().executor;
        // Tasks are named after their handler: `chat::serve-N`.
        let task = executor.spawn_named(serving, type_name::<F>);
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
    client: Box<(StreamReader, StreamWriter)>,
    unfinished: Unfinished<F>,
) -> impl Future<Output = ()>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R,
    R: HandlerOutcome,
{
    async move {
        let serving = pin!({
            // Bound here, so that the box is gone at the end of this block.
            let client = client;
            let (reader, writer) = *client;
            (unfinished.shared.handler)(reader, writer)
        });
        let failure = failure_of(serving).await;
        unfinished.ended(failure);
    }
}

/// Awaits a handler, and says what went wrong with it, if something did.
fn failure_of<R: HandlerOutcome>(
    mut serving: Pin<&mut impl Future<Output = R>>,
) -> impl Future<Output = Option<String>> {
    poll_fn(
        move |cx| match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(outcome)) => Poll::Ready(outcome.failure()),
            Err(panic) => Poll::Ready(Some(format!("panicked: {}", PanicPayload::new(panic)))),
        },
    )
}

/// A handler that has not ended. Dropped before it did, or after it failed, this closes its
/// connection.
struct Unfinished<F> {
    shared: Rc<Shared<F>>,
    key: Key,
    fate: Cell<Fate>,
}

/// What all tasks of a handler share, so that each needs one pointer to it.
struct Shared<F> {
    handler: F,
    /// Known as soon as somebody connects. The server owns what owns this until it is closed.
    server: OnceCell<Rc<ServerCore>>,
}

/// What becomes of the connection when its handler is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Close,
    /// The handler has ended well: the connection is its writer's.
    Leave,
}

impl<F> Unfinished<F> {
    fn new(shared: Rc<Shared<F>>, key: Key) -> Unfinished<F> {
        let unfinished = Unfinished {
            shared,
            key,
            fate: Cell::new(Fate::Close),
        };
        unfinished.server().attached.handler_begins();
        unfinished
    }

    fn server(&self) -> &Rc<ServerCore> {
        let server = self.shared.server.get();
        server.expect("it is set before a task is made")
    }

    /// The handler has returned.
    fn ended(&self, failure: Option<String>) {
        let Some(failure) = failure else {
            self.fate.set(Fate::Leave);
            return;
        };
        let mut context =
            ExceptionContext::new("Unhandled exception in client_connected_cb").exception(failure);
        if let Some(transport) = self.server().attached.transport(self.key) {
            context = context.transport(format_args!("{transport:?}"));
        }
        self.server().handle.call_exception_handler(&context);
    }
}

impl<F> Drop for Unfinished<F> {
    fn drop(&mut self) {
        let transport = self.server().attached.transport(self.key);
        if let Some(transport) = transport.filter(|_| self.fate.get() == Fate::Close) {
            transport.close_from_above();
        }
        self.server().handler_ended(self.key);
    }
}
