//! Leaks: after a thousand connections, however they ended, all is as it was before.
//!
//! Descriptors are counted for the whole process, so that these tests run one after the
//! other.

#![cfg(target_os = "linux")]

mod net_support;

use std::cell::{Cell, RefCell};
use std::fs;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream::{
    Census, ConnError, EventLoop, LoopHandle, Protocol, Server, StreamReader, StreamWriter,
    TaskRef, Transport, create_task, current_task, get_running_loop, open_connection, start_server,
    yield_now,
};
use net_support::{echo, port_of};

/// Connections at once, where the limit of open descriptors allows.
const CONNECTIONS: usize = 1000;

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

#[test]
fn a_thousand_echoing_connections_leave_nothing() -> io::Result<()> {
    let _alone = alone();
    let event_loop = EventLoop::new()?;
    let drops = Drops::default();
    let counted = drops.clone();
    event_loop.run_until_complete(async move {
        let counted_by_handler = counted.clone();
        let server = serve(async move |reader, writer| {
            let _counter = counted_by_handler.counter();
            echo(reader, writer).await
        })
        .await?;
        let before = Inventory::of(&server)?;
        for round in 1..=2 {
            let clients = connect_all(&server).await?;
            let n = clients.len();
            assert_eq!(
                Inventory::of(&server)?.descriptors,
                before.descriptors + 2 * n
            );
            let clients = talk_all(clients).await?;
            close_all(clients).await?;
            before.is_found_again(&server).await?;
            assert_eq!(counted.count(), round * n, "each handler's future is gone");
        }
        io::Result::Ok(())
    })?
}

#[test]
fn handlers_that_panic_leave_nothing() -> io::Result<()> {
    let _alone = alone();
    let event_loop = EventLoop::new()?;
    let reports = count_reports(&event_loop);
    let drops = Drops::default();
    let counted = drops.clone();
    let n = event_loop.run_until_complete(async move {
        let counted_by_handler = counted.clone();
        let server = serve(
            async move |mut reader: StreamReader, _writer: StreamWriter| {
                let _counter = counted_by_handler.counter();
                let line = reader.readline().await;
                assert!(line.is_err(), "broke after {line:?}");
            },
        )
        .await?;
        let before = Inventory::of(&server)?;
        let clients = connect_all(&server).await?;
        let n = clients.len();
        for (mut reader, writer) in clients {
            writer.write(b"go\n");
            assert_eq!(reader.read_all().await?, b"", "the server's end was closed");
        }
        before.is_found_again(&server).await?;
        assert_eq!(counted.count(), n);
        io::Result::Ok(n)
    })??;
    assert_eq!(reports.get(), n);
    Ok(())
}

#[test]
fn handlers_that_are_cancelled_leave_nothing() -> io::Result<()> {
    let _alone = alone();
    let event_loop = EventLoop::new()?;
    let reports = count_reports(&event_loop);
    let drops = Drops::default();
    let counted = drops.clone();
    event_loop.run_until_complete(async move {
        let handlers = Rc::new(RefCell::new(Vec::<TaskRef>::new()));
        let (counted_by_handler, known) = (counted.clone(), handlers.clone());
        let server = serve(
            async move |mut reader: StreamReader, writer: StreamWriter| {
                let _counter = counted_by_handler.counter();
                known.borrow_mut().extend(current_task());
                writer.write(b"welcome\n");
                reader.readline().await.map(drop)
            },
        )
        .await?;
        let before = Inventory::of(&server)?;
        let mut clients = connect_all(&server).await?;
        let n = clients.len();
        for (reader, _writer) in &mut clients {
            assert_eq!(reader.readline().await?, b"welcome\n");
        }
        for handler in handlers.take() {
            assert!(handler.cancel());
        }
        for (reader, _writer) in &mut clients {
            assert_eq!(reader.read_all().await?, b"", "the server's end was closed");
        }
        close_all(clients).await?;
        before.is_found_again(&server).await?;
        assert_eq!(counted.count(), n);
        io::Result::Ok(())
    })??;
    assert_eq!(reports.get(), 0, "to be cancelled is no failure");
    Ok(())
}

#[test]
fn protocols_that_panic_leave_nothing() -> io::Result<()> {
    let _alone = alone();
    let event_loop = EventLoop::new()?;
    let reports = count_reports(&event_loop);
    let (drops, losses) = (Drops::default(), Rc::new(Cell::new(0)));
    let (counted, told) = (drops.clone(), losses.clone());
    let n = event_loop.run_until_complete(async move {
        let handle = get_running_loop()?;
        let for_each = counted.clone();
        let factory = move || Fragile {
            _counter: for_each.counter(),
            transport: None,
            losses: told.clone(),
        };
        let server = handle
            .create_server(factory, "127.0.0.1", 0)
            .backlog(1024)
            .await?;
        let before = Inventory::of(&server)?;
        let clients = connect_all(&server).await?;
        let n = clients.len();
        for (mut reader, writer) in clients {
            writer.write(b"go\n");
            // The bytes were read before the panic, so that this is an end and no reset.
            assert_eq!(reader.read_all().await?, b"");
        }
        before.is_found_again(&server).await?;
        assert_eq!(counted.count(), n);
        io::Result::Ok(n)
    })??;
    assert_eq!((reports.get(), losses.get()), (n, n), "told once each (R5)");
    Ok(())
}

#[test]
fn a_loop_dropped_in_mid_work_drops_all_that_it_was_given() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let (drops, losses) = (Drops::default(), Rc::new(Cell::new(0)));
    let event_loop = EventLoop::new()?;
    let (counted, told) = (drops.clone(), losses.clone());
    let (server, n) = event_loop.run_until_complete(async move {
        let handle = get_running_loop()?;
        let for_each = counted.clone();
        let factory = move || Fragile {
            _counter: for_each.counter(),
            transport: None,
            losses: told.clone(),
        };
        let server = handle
            .create_server(factory, "127.0.0.1", 0)
            .backlog(1024)
            .await?;
        let clients = connect_all(&server).await?;
        let n = clients.len();
        for (mut reader, writer) in clients {
            let counter = counted.counter();
            create_task(async move {
                let _counter = counter;
                writer.write(vec![0; 1 << 16]);
                let _never = reader.read_all().await;
                pending::<()>().await;
            });
        }
        io::Result::Ok((server, n))
    })??;
    let handle = event_loop.handle();
    drop(event_loop);
    assert_eq!(
        drops.count(),
        2 * n,
        "protocols on one end, futures on the other"
    );
    assert_eq!(losses.get(), 0, "a closed loop calls no protocol");
    assert_eq!(descriptors()?, before);
    drop(server);
    let census = handle.census();
    assert_eq!((census.sources, census.tasks, census.timers), (0, 0, 0));
    Ok(())
}

#[test]
fn a_loop_dropped_with_half_of_its_connections_unmade_leaves_nothing() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    for turns in 0..12 {
        let drops = Drops::default();
        let event_loop = EventLoop::new()?;
        let counted = drops.clone();
        event_loop.create_task(async move {
            let counted_by_handler = counted.clone();
            let server = serve(async move |reader, writer| {
                let _counter = counted_by_handler.counter();
                echo(reader, writer).await
            })
            .await?;
            for _ in 0..10 {
                let (port, counter) = (port_of(&server), counted.counter());
                create_task(async move {
                    let _counter = counter;
                    let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
                    writer.write(b"hello\n");
                    reader.readline().await.map_err(io::Error::from)
                });
            }
            pending::<io::Result<()>>().await
        });
        for _ in 0..turns {
            event_loop.turn(AT_ONCE)?;
        }
        drop(event_loop);
        assert_eq!(drops.count(), drops.made(), "dropped after {turns} turns");
        assert_eq!(descriptors()?, before, "dropped after {turns} turns");
    }
    Ok(())
}

// ── both ends ───────────────────────────────────────────────────────────────────

async fn serve<F, R>(handler: F) -> io::Result<Server>
where
    F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
    R: millstream::HandlerOutcome,
{
    start_server(handler, "127.0.0.1", 0).backlog(1024).await
}

type Client = (StreamReader, StreamWriter);

/// Connects as many clients as there may be, all at the same time.
async fn connect_all(server: &Server) -> io::Result<Vec<Client>> {
    let port = port_of(server);
    let n = connections_allowed()?;
    let connecting: Vec<_> = (0..n)
        .map(|_| create_task(async move { open_connection("127.0.0.1", port).await }))
        .collect();
    let mut clients = Vec::new();
    for client in connecting {
        clients.push(client.await??);
    }
    // The kernel accepts before the server does.
    while server.connection_count() < n {
        yield_now().await;
    }
    Ok(clients)
}

/// Has each client say something and hear it again, all at the same time.
async fn talk_all(clients: Vec<Client>) -> io::Result<Vec<Client>> {
    let talking: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(nth, (mut reader, writer))| {
            create_task(async move {
                let line = format!("I am number {nth}\n");
                writer.write(&line);
                writer.drain().await?;
                assert_eq!(reader.readline().await?, line.as_bytes());
                io::Result::Ok((reader, writer))
            })
        })
        .collect();
    let mut clients = Vec::new();
    for client in talking {
        clients.push(client.await??);
    }
    Ok(clients)
}

async fn close_all(clients: Vec<Client>) -> io::Result<()> {
    for (_reader, writer) in clients {
        writer.aclose().await?;
    }
    Ok(())
}

/// A protocol that panics as soon as bytes come, and makes the cycle that R2 permits.
struct Fragile {
    _counter: Counter,
    transport: Option<Rc<dyn Transport>>,
    losses: Rc<Cell<usize>>,
}

impl Protocol for Fragile {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        self.transport = Some(transport.clone());
    }

    fn data_received(&mut self, _transport: &Rc<dyn Transport>, data: &[u8]) {
        panic!("broke after {} bytes", data.len());
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        let error = error.expect("it ends with the panic");
        assert_eq!(error.kind(), io::ErrorKind::Other);
        self.losses.set(self.losses.get() + 1);
    }
}

// ── counting ────────────────────────────────────────────────────────────────────

/// What is open at one moment.
#[derive(Debug, PartialEq)]
struct Inventory {
    descriptors: usize,
    census: Census,
    connections: usize,
}

impl Inventory {
    fn of(server: &Server) -> io::Result<Inventory> {
        Ok(Inventory {
            descriptors: descriptors()?,
            census: get_running_loop()?.census(),
            connections: server.connection_count(),
        })
    }

    /// Waits until the last of the connections has ended, which takes a number of turns.
    async fn is_found_again(&self, server: &Server) -> io::Result<()> {
        let began = std::time::Instant::now();
        loop {
            let now = Inventory::of(server)?;
            if now == *self {
                return Ok(());
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "before: {self:?}, now: {now:?}"
            );
            yield_now().await;
        }
    }
}

/// How many counters were made, and how many dropped.
#[derive(Clone, Default)]
struct Drops(Rc<(Cell<usize>, Cell<usize>)>);

impl Drops {
    fn counter(&self) -> Counter {
        self.0.0.set(self.made() + 1);
        Counter(self.clone())
    }

    fn made(&self) -> usize {
        self.0.0.get()
    }

    fn count(&self) -> usize {
        self.0.1.get()
    }
}

struct Counter(Drops);

impl Drop for Counter {
    fn drop(&mut self) {
        let Drops(counts) = &self.0;
        counts.1.set(counts.1.get() + 1);
    }
}

fn count_reports(handle: &LoopHandle) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    handle.set_exception_handler(move |_, _| counted.set(counted.get() + 1));
    count
}

/// Held by the one test that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// How many connections fit under the limit of open descriptors, at two each.
fn connections_allowed() -> io::Result<usize> {
    const SPARE: usize = 50;
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let soft = soft
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(usize::MAX);
    let allowed = CONNECTIONS.min(soft.saturating_sub(SPARE) / 2);
    if allowed < CONNECTIONS {
        eprintln!("only {allowed} connections at once: at most {soft} descriptors may be open");
    }
    Ok(allowed)
}
