//! Run with `cargo run --example tiny_loop`. An echo server and its client talk
//! to each other in one thread, and these four lines appear:
//!
//! ```text
//! client sent: Hello World!
//! server echoed 12 bytes
//! client received: Hello World!
//! done
//! ```
//!
//! To be read before everything else: two tasks, and below them the whole event
//! loop that runs them, in little more than a hundred lines. It uses mio and a
//! table, and nothing of millstream. All that millstream does is here in small:
//!
//! ```text
//!  serve, talk ──await──► Source::attempt ──would block──► sources[token] = waker
//!       ▲                                                          │
//!       │ poll                                                     │ mio: token is ready
//!       │                                                          ▼
//!  TinyLoop::step ◄──id── ready queue ◄──id── TaskWaker::wake ◄── TinyLoop::run
//! ```
//!
//! It is also naive. Where it is, a comment that starts with "Really:" says what
//! the library does instead, and where. Labels such as R6 are the numbered rules
//! that the library's code cites as well.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll::{Pending, Ready};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, event};
use slab::Slab;

fn main() -> io::Result<()> {
    let tiny = Rc::new(TinyLoop::new()?);

    // Port 0 lets the system choose a free port; we ask which one it chose.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = listener.local_addr()?;

    // Spawning runs nothing yet. It puts a future into the table of tasks, and
    // its number at the end of the ready queue.
    tiny.spawn(serve(tiny.clone(), listener));
    tiny.spawn(talk(tiny.clone(), address));

    // Everything happens in here, on this thread, until both tasks have ended.
    tiny.run()?;
    println!("done");
    Ok(())
}

// ---------------------------------------------------------------- two tasks

/// Accepts one connection, and sends back what it receives until the end.
async fn serve(tiny: Rc<TinyLoop>, listener: TcpListener) -> io::Result<()> {
    let listener = Source::new(tiny.clone(), listener, Interest::READABLE)?;
    let (socket, _) = listener.attempt(TcpListener::accept).await?;
    let stream = Source::new(tiny, socket, Interest::READABLE | Interest::WRITABLE)?;

    // Really: one buffer is shared by all connections of a loop, since only one
    // of them is being read at any moment (src/transports).
    let mut buffer = [0; 1024];
    let mut echoed = 0;
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            break; // The client has shut its direction down.
        }
        stream.write_all(&buffer[..received]).await?;
        echoed += received;
    }
    println!("server echoed {echoed} bytes");
    Ok(()) // Dropping `stream` closes the connection, which `talk` waits for.
}

/// Connects, says its line, and reads the answer to its end.
async fn talk(tiny: Rc<TinyLoop>, address: SocketAddr) -> io::Result<()> {
    let socket = TcpStream::connect(address)?;
    let stream = Source::new(tiny, socket, Interest::READABLE | Interest::WRITABLE)?;

    // `connect` has only begun to connect. The socket becomes writable when that
    // is over, for better or worse, and then says which of the two it was.
    stream.attempt(is_connected).await?;

    let message = "Hello World!";
    stream.write_all(message.as_bytes()).await?;
    stream.socket.shutdown(Shutdown::Write)?;
    println!("client sent: {message}");

    // Really: a line or a number of bytes is asked for, and whatever came too
    // early waits in a buffer for the next call (src/streams).
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => break, // The server has closed the connection.
            received => answer.extend_from_slice(&buffer[..received]),
        }
    }
    println!("client received: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// "Would block" for as long as the connection is being made.
fn is_connected(socket: &TcpStream) -> io::Result<SocketAddr> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.peer_addr().map_err(|error| match error.kind() {
        ErrorKind::NotConnected => ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

// ---------------------------------------------------------------- the loop

/// A task is a future that somebody polls. The `Box` gives it an address that
/// does not change, the `Pin` promises that.
type Task = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// A loop has two tables and a queue: who waits for which socket, which tasks
/// there are, and which of them can go on.
struct TinyLoop {
    /// The operating system's readiness interface: epoll, kqueue or poll(2).
    poll: RefCell<Poll>,
    /// What `poll` watches: a socket is put in when it opens, and out before it
    /// closes.
    registry: Registry,
    /// For each open socket, who sleeps until it is ready. The index is the
    /// socket's token.
    sources: RefCell<Slab<Option<Waker>>>,
    /// All tasks that have not ended. `None` is one that is being polled now.
    ///
    /// Really: closing a loop empties its tables (src/event_loop). Here a task
    /// owns the loop that owns it, and only ending frees both.
    tasks: RefCell<Slab<Option<Task>>>,
    /// The tasks that can go on, first come, first served.
    ready: Arc<ReadyQueue>,
}

impl TinyLoop {
    fn new() -> io::Result<TinyLoop> {
        let poll = Poll::new()?;
        Ok(TinyLoop {
            registry: poll.registry().try_clone()?,
            poll: RefCell::new(poll),
            sources: RefCell::default(),
            tasks: RefCell::default(),
            ready: Arc::default(),
        })
    }

    fn spawn(&self, task: impl Future<Output = io::Result<()>> + 'static) {
        let id = self.tasks.borrow_mut().insert(Some(Box::pin(task)));
        self.ready.lock().push_back(id);
    }

    /// Turns until there are no tasks. One pass through the body is one turn.
    ///
    /// Really: src/event_loop. Timers bound the sleep, callbacks share the queue
    /// with the tasks, and a turn may do without the system call while there is
    /// work.
    fn run(&self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        while !self.tasks.borrow().is_empty() {
            // May we sleep? Only if nobody could go on meanwhile.
            let timeout = (!self.ready.lock().is_empty()).then_some(Duration::ZERO);

            // This is the one place where the thread sleeps. A signal may end the
            // sleep too early, which is no error: there are just no events.
            let polled = self.poll.borrow_mut().poll(&mut events, timeout);
            match polled {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                result => result?,
            }

            // Whoever waited for a socket that is ready now can go on. The waker
            // is taken out first and called next, when nothing is borrowed (R3).
            //
            // Really: src/reactor. Events may come for a socket that is closed,
            // and its slot may have another owner by then. So a slot freed in a
            // turn is not used again in it, and tokens carry a generation (R8).
            for event in &events {
                if let Some(waker) = take(&self.sources, event.token().0) {
                    waker.wake();
                }
            }

            // Run exactly what is queued at this moment. Tasks that wake each
            // other for ever get one step per turn, and sockets get theirs (R9).
            let queued = mem::take(&mut *self.ready.lock());
            for id in queued {
                self.step(id)?;
            }
        }
        Ok(())
    }

    /// Polls one task, which runs it up to its next `await` that must wait.
    ///
    /// Really: src/executor. A task's error or panic ends that task, and neither
    /// the loop nor its neighbours (R10); here an error ends everything.
    fn step(&self, id: usize) -> io::Result<()> {
        // The task leaves the table while it runs, for it may spawn others, and
        // the table must not be borrowed then (R3). A task that was woken twice
        // may have ended at the first: then there is nothing to do.
        let Some(mut task) = take(&self.tasks, id) else {
            return Ok(());
        };

        // Really: a task has one waker for all of its life. It costs an
        // allocation when the task is spawned, and none per step.
        let ready = self.ready.clone();
        let waker = Waker::from(Arc::new(TaskWaker { id, ready }));
        let Ready(result) = task.as_mut().poll(&mut Context::from_waker(&waker)) else {
            self.tasks.borrow_mut()[id] = Some(task);
            return Ok(());
        };
        self.tasks.borrow_mut().remove(id);
        result
    }
}

/// Takes the entry out of its slot, if there is one. The slot stays, empty.
fn take<T>(table: &RefCell<Slab<Option<T>>>, slot: usize) -> Option<T> {
    table.borrow_mut().get_mut(slot)?.take()
}

/// A queue of task numbers. The lock is there because wakers may be anywhere.
#[derive(Default)]
struct ReadyQueue(Mutex<VecDeque<usize>>);

impl ReadyQueue {
    fn lock(&self) -> MutexGuard<'_, VecDeque<usize>> {
        self.0.lock().expect("nobody panics while they hold it")
    }
}

/// What a future leaves behind when it must wait: "put task `id` back into the
/// queue". A `Waker` may go to any thread, so it holds a number and not the task,
/// which must stay on its own.
///
/// Really: src/executor. A wake on the loop's own thread takes no lock. One from
/// another thread also ends the sleep in `poll`, which this one does not. Being
/// woken twice queues once, and the wake of an ended task does not meet the next
/// owner of its number (R8).
struct TaskWaker {
    id: usize,
    ready: Arc<ReadyQueue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().push_back(self.id);
    }
}

// ---------------------------------------------------------------- the sockets

/// A socket that a task can wait for. It is registered for as long as it lives.
///
/// Really: between the socket and the task stand a transport, which does the
/// reading and writing (src/transports), and a protocol, whose callbacks feed the
/// streams (src/contract, src/streams). At most one task waits here, though a
/// reader and a writer could be two.
struct Source<S: event::Source> {
    socket: S,
    token: Token,
    tiny: Rc<TinyLoop>,
}

impl<S: event::Source> Source<S> {
    fn new(tiny: Rc<TinyLoop>, mut socket: S, interest: Interest) -> io::Result<Source<S>> {
        let token = Token(tiny.sources.borrow_mut().insert(None));
        tiny.registry.register(&mut socket, token, interest)?;
        Ok(Source {
            socket,
            token,
            tiny,
        })
    }

    /// Does `operation`, as soon as it can be done without blocking.
    ///
    /// This is where callbacks become coroutines. mio reports edges: it says once
    /// that a socket became ready, and not again until an operation has found it
    /// not ready. Therefore we never ask first whether we may. We try, and sleep
    /// only after a "would block", since only then another edge is sure to come.
    /// A caller who waited with bytes still unread would wait for ever (R6).
    async fn attempt<T>(&self, mut operation: impl FnMut(&S) -> io::Result<T>) -> io::Result<T> {
        poll_fn(|context| match operation(&self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let waker = context.waker().clone();
                self.tiny.sources.borrow_mut()[self.token.0] = Some(waker);
                Pending
            }
            result => Ready(result),
        })
        .await
    }
}

impl Source<TcpStream> {
    /// Reads what has come, at least one byte; 0 means the end of the stream.
    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.attempt(|mut socket| socket.read(buffer)).await
    }

    /// Writes all of `bytes`, at the pace of the slower peer.
    ///
    /// Really: writing never waits. What the socket does not take is queued, and
    /// `drain` waits once that is too much (src/streams).
    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.attempt(|mut socket| socket.write(bytes)).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }
}

impl<S: event::Source> Drop for Source<S> {
    fn drop(&mut self) {
        // A socket that cannot be deregistered is about to be closed anyway.
        let _ = self.tiny.registry.deregister(&mut self.socket);
        let _waiter = self.tiny.sources.borrow_mut().remove(self.token.0);
    }
}
