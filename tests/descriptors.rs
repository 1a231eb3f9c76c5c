//! Descriptors: whatever happens to a loop, none is left open.
//!
//! They are counted for the whole process, so that these tests run one after the other.

#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use millstream::{
    EventLoop, StreamReader, StreamWriter, get_running_loop, open_connection, open_connection_sock,
    open_unix_connection, run, start_server, start_unix_server, yield_now,
};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

#[test]
fn loop_33_a_hundred_loops_leave_no_descriptor() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    for nth in 0..100 {
        let event_loop = EventLoop::new()?;
        event_loop.turn(AT_ONCE)?;
        if nth % 2 == 0 {
            event_loop.close()?;
            assert_eq!(descriptors()?, before, "closed, though not dropped");
        }
    }
    assert_eq!(descriptors()?, before);
    Ok(())
}

#[test]
fn loop_33_a_loops_descriptors_are_closed_on_exec() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let event_loop = EventLoop::new()?;
    let (ours, _theirs) = UnixStream::pair()?;
    let others = descriptors()?;
    let _connected = event_loop.run_until_complete(async {
        let connected = open_connection_sock(ours).await;
        yield_now().await;
        connected
    })??;
    let own: BTreeSet<_> = descriptors()?.difference(&before).copied().collect();
    assert!(
        own.len() >= 3,
        "a poller or a pipe, and two sockets: {own:?}"
    );
    assert_eq!(
        descriptors()?,
        others,
        "the socket was taken over, and not doubled"
    );
    for fd in own {
        assert!(
            flags_of(fd)? & O_CLOEXEC != 0,
            "descriptor {fd} is inherited"
        );
    }
    Ok(())
}

#[test]
fn what_finds_no_descriptor_says_what_it_was_for() -> io::Result<()> {
    let _alone = alone();
    if most_descriptors()? > 100_000 {
        return Ok(()); // too many to take them all
    }
    let before = descriptors()?;
    run(async {
        let taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        let serve = async |_reader: StreamReader, _writer: StreamWriter| ();
        let errors = [
            open_connection("127.0.0.1", 9).await.err(),
            start_server(serve, "127.0.0.1", 9).await.err(),
            open_unix_connection("/tmp/mill").await.err(),
            start_unix_server(serve, "/tmp/mill").await.err(),
        ];
        drop(taken);
        let texts = errors.map(|error| error.map_or(String::new(), |error| error.to_string()));
        let reason = "Too many open files (os error 24)";
        assert_eq!(
            texts,
            [
                format!("no socket to connect to 127.0.0.1:9: {reason}"),
                format!("no socket to serve on 127.0.0.1:9: {reason}"),
                format!("no socket to connect to /tmp/mill: {reason}"),
                format!("no socket to serve on /tmp/mill: {reason}"),
            ]
        );
        io::Result::Ok(())
    })?;
    assert_eq!(descriptors()?, before);
    Ok(())
}

#[test]
fn loop_10_a_closed_loop_holds_no_descriptor_whoever_holds_the_loop() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    let (_handle, _remote) = (event_loop.handle(), event_loop.remote());
    let wakers = Rc::new(Cell::new(None::<Waker>));
    let kept = wakers.clone();
    let _task = event_loop.create_task(poll_fn(move |cx| {
        kept.set(Some(cx.waker().clone()));
        Poll::<()>::Pending
    }));
    let _connection =
        event_loop.run_until_complete(async { open_connection_sock(ours).await })??;
    event_loop.close()?;
    drop(theirs);
    assert_eq!(descriptors()?, before);
    let waker = wakers.take().expect("the task was polled");
    waker.wake(); // for nobody
    event_loop.close()?;
    Ok(())
}

#[test]
fn loop_31_a_loop_dropped_in_mid_work_closes_what_its_tasks_hold() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let event_loop = EventLoop::new()?;
    let mut peers = Vec::new();
    for _ in 0..100 {
        let (ours, theirs) = UnixStream::pair()?;
        peers.push(theirs);
        event_loop.create_task(async move {
            let (_reader, writer) = open_connection_sock(ours).await?;
            writer.write(vec![0; 1 << 20]);
            pending::<io::Result<()>>().await
        });
    }
    for _ in 0..3 {
        event_loop.turn(AT_ONCE)?;
    }
    drop(event_loop);
    drop(peers);
    assert_eq!(descriptors()?, before);
    Ok(())
}

#[test]
fn run_20_a_panic_of_main_leaves_no_descriptor() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let (ours, theirs) = UnixStream::pair()?;
    let panicked = catch_unwind(move || {
        run(async move {
            let (_reader, _writer) = open_connection_sock(ours).await?;
            if true {
                panic!("the wheel broke");
            }
            io::Result::Ok(())
        })
    });
    assert!(panicked.is_err());
    drop(theirs);
    assert_eq!(descriptors()?, before);
    Ok(())
}

#[test]
fn run_19_run_leaves_no_descriptor_of_connections_that_are_open() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let mut pairs = Vec::new();
    for _ in 0..10 {
        pairs.push(UnixStream::pair()?);
    }
    let (ours, peers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    run(async move {
        for socket in ours {
            let (_reader, writer) = open_connection_sock(socket).await?;
            // Dropping the writer closes, but the peer never reads what closing waits for.
            writer.write(vec![0; 1 << 20]);
        }
        io::Result::Ok(())
    })?;
    drop(peers);
    assert_eq!(descriptors()?, before);
    Ok(())
}

#[test]
fn loop_35_a_descriptor_that_is_refused_is_not_kept() -> io::Result<()> {
    let _alone = alone();
    let event_loop = EventLoop::new()?;
    let before = descriptors()?;
    let refused = event_loop.run_until_complete(async {
        let file = fs::File::open("/proc/self/exe")?;
        open_connection_sock(file).await
    })?;
    assert!(refused.is_err(), "a file is no stream socket");
    assert_eq!(descriptors()?, before);
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

// ── a client, given up at each of its steps ─────────────────────────────────────

#[test]
fn loop_15_a_transport_may_get_the_number_of_a_descriptor_that_was_watched() -> io::Result<()> {
    if cfg!(mio_unsupported_force_poll_poll) {
        return Ok(()); // it never forgets a descriptor, and refuses the transport
    }
    let _alone = alone();
    let event_loop = EventLoop::new()?;
    let (watched, peer) = UnixStream::pair()?;
    let fd = watched.as_raw_fd();
    event_loop.add_reader(fd, || unreachable!("its descriptor was closed"))?;
    event_loop.add_writer(fd, || {})?;
    drop(watched); // behind the loop's back
    let (ours, theirs) = pair_at(fd)?;
    event_loop.run_until_complete(async move {
        let handle = get_running_loop()?;
        let (mut reader, writer) = open_connection_sock(ours).await?;
        let refusals = [
            handle.add_reader(fd, || {}),
            handle.remove_reader(fd).map(drop),
            handle.remove_writer(fd).map(drop),
        ];
        for refused in refusals {
            let error = refused.expect_err("the transport owns it");
            assert!(error.to_string().contains("is used by transport"));
        }
        (&theirs).write_all(b"still works\n")?;
        assert_eq!(reader.readline().await?, b"still works\n");
        writer.aclose().await
    })??;

    // The next one with that number is watched as any other.
    let (ours, theirs) = pair_at(fd)?;
    let called = Rc::new(Cell::new(0));
    let counts = called.clone();
    event_loop.add_reader(fd, move || counts.set(counts.get() + 1))?;
    (&theirs).write_all(b"x")?;
    event_loop.turn(AT_ONCE)?;
    assert_eq!(called.get(), 1);
    assert_eq!(event_loop.census().sources, 1);
    assert!(!event_loop.remove_writer(fd)?, "that was the first one's");
    assert!(event_loop.remove_reader(fd)?);
    drop((ours, peer));
    Ok(())
}

/// Two connected sockets, the first of which has a given descriptor, which is free.
fn pair_at(fd: RawFd) -> io::Result<(UnixStream, UnixStream)> {
    let mut others = Vec::new();
    loop {
        let (one, other) = UnixStream::pair()?;
        if one.as_raw_fd() == fd {
            return Ok((one, other));
        }
        if other.as_raw_fd() == fd {
            return Ok((other, one));
        }
        others.push((one, other));
    }
}

#[test]
fn can_21_a_client_given_up_at_any_step_leaves_nothing_behind() -> io::Result<()> {
    let _alone = alone();
    let before = descriptors()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let serving = thread::spawn(move || echo_until_told_to_stop(&listener));
    let mut steps = 0;
    while !give_up_after(steps, scripted_client(port))? {
        steps += 1;
        assert!(steps < 1000, "the client never ends");
    }
    assert!(
        steps > 5,
        "connecting, two lines and closing take some steps"
    );
    TcpStream::connect(("127.0.0.1", port))?.write_all(STOP)?;
    for received in serving.join().expect("the server does not panic")? {
        let received_is_prefix = SCRIPT.starts_with(&received);
        assert!(
            received_is_prefix,
            "{:?}",
            String::from_utf8_lossy(&received)
        );
    }
    assert_eq!(descriptors()?, before);
    Ok(())
}

const SCRIPT: &[u8] = b"first line\nsecond line\n";
const STOP: &[u8] = b"stop\n";

async fn scripted_client(port: u16) -> io::Result<()> {
    let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
    for line in SCRIPT.split_inclusive(|&byte| byte == b'\n') {
        writer.write(line);
        writer.drain().await?;
        assert_eq!(reader.readline().await?, line);
    }
    writer.close();
    writer.wait_closed().await
}

/// Runs a client, and cancels it when it has been polled that many times. True if it
/// ended before.
fn give_up_after(
    steps: usize,
    client: impl Future<Output = io::Result<()>> + 'static,
) -> io::Result<bool> {
    let event_loop = EventLoop::new()?;
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    let mut client = Box::pin(client);
    let task = event_loop.create_task(poll_fn(move |cx| {
        counted.set(counted.get() + 1);
        client.as_mut().poll(cx)
    }));
    while !task.done() {
        if polls.get() == steps {
            task.cancel();
        }
        event_loop.turn(None)?;
    }
    // What the client left to be done: a transport that closes, say.
    while event_loop.turn(AT_ONCE)? == AT_ONCE {}
    let census = event_loop.census();
    let left = (census.sources, census.tasks, census.timers);
    assert_eq!(left, (0, 0, 0), "given up after {steps} steps");
    let completed = !task.cancelled();
    if let Poll::Ready(Ok(ended)) = poll_once(task) {
        ended?;
    }
    Ok(completed)
}

/// Echoes to one client after the other, and returns what came from each.
fn echo_until_told_to_stop(listener: &TcpListener) -> io::Result<Vec<Vec<u8>>> {
    let mut from_each = Vec::new();
    loop {
        let (client, _address) = listener.accept()?;
        let received = echo(client)?;
        if received == STOP {
            return Ok(from_each);
        }
        from_each.push(received);
    }
}

/// Echoes until the client ends, which one that was given up must do at once.
fn echo(mut client: TcpStream) -> io::Result<Vec<u8>> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut received = Vec::new();
    let mut buffer = [0; 64];
    loop {
        match client.read(&mut buffer) {
            Ok(0) => return Ok(received),
            Ok(n) => {
                received.extend_from_slice(&buffer[..n]);
                let _may_be_gone = client.write_all(&buffer[..n]);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(received),
            Err(error) => return Err(error),
        }
    }
}

// ── tools ───────────────────────────────────────────────────────────────────────

const O_CLOEXEC: u32 = 0o2_000_000;

/// Held by the one test that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many descriptors this process may have.
fn most_descriptors() -> io::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let limit = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"));
    let most = limit.and_then(|limits| limits.split_whitespace().next());
    Ok(most
        .and_then(|most| most.parse().ok())
        .unwrap_or(usize::MAX))
}

/// All open descriptors, without the one that is used to list them.
fn descriptors() -> io::Result<BTreeSet<u32>> {
    let mut open = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let fd = name.to_string_lossy().parse().map_err(io::Error::other)?;
        open.insert(fd);
    }
    // The listing's own descriptor is closed by now.
    open.retain(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    Ok(open)
}

fn flags_of(fd: u32) -> io::Result<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.ok_or_else(|| io::Error::other(info.clone()))?;
    u32::from_str_radix(flags.trim(), 8).map_err(io::Error::other)
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    let mut future: Pin<Box<F>> = Box::pin(future);
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}
