//! Servers by the catalogue's cases: what they bind to, whom they accept, how they stop.
//!
//! What takes many connections or a process of its own is in `tests/server_load.rs`.

mod loop_support;
mod net_support;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use millstream::{
    AddrInfoFlags, Cancelled, Clock, EventLoop, Family, PeerName, Protocol, Server, StreamReader,
    StreamWriter, TaskRef, Transport, all_tasks, create_task, current_task, get_running_loop,
    open_connection, open_connection_sock, plain, run, sleep, start_server, start_server_sock,
    yield_now,
};
use socket2::{Domain, SockRef, Socket, Type};

use loop_support::{OnDrop, Reports};
use net_support::{echo, port_of, text_of};

const LOCALHOST: &str = "127.0.0.1";

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Longer than anything takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

// ── starting ────────────────────────────────────────────────────────────────────

#[test]
fn srv_01_a_server_is_started_later_and_its_main_task_cancelled() -> io::Result<()> {
    run(async {
        let main: Rc<RefCell<Option<TaskRef>>> = Rc::default();
        let to_cancel = main.clone();
        let handler = async move |mut reader: StreamReader, writer: StreamWriter| {
            let line = reader.readline().await?;
            writer.write(&line);
            writer.drain().await?;
            let main = to_cancel.borrow_mut().take();
            main.expect("it serves").cancel();
            writer.aclose().await
        };
        let server = start_server(handler, LOCALHOST, 0)
            .start_serving(false)
            .await?;
        assert!(!server.is_serving());
        let port = port_of(&server);
        let refused = open_connection(LOCALHOST, port)
            .await
            .expect_err("it does not listen");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

        let serving = server.clone();
        let forever = create_task(async move {
            *main.borrow_mut() = current_task();
            serving.serve_forever().await
        });
        yield_now().await;
        assert!(server.is_serving());
        let line = [&[b'x'; 5 * 1024][..], b"\n"].concat();
        let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
        writer.write(&line);
        assert_eq!(reader.readline().await?, line);

        let ended = forever.await;
        assert!(matches!(ended, Err(millstream::JoinError::Cancelled)));
        assert_eq!(server.sockets(), []);
        assert!(!server.is_serving());
        let again = text_of(server.serve_forever().await);
        assert!(again.starts_with("server <Server"), "{again}");
        assert!(again.ends_with("is closed"), "{again}");
        io::Result::Ok(())
    })
}

#[test]
fn srv_02_fifty_clients_at_once_are_all_served() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let port = port_of(&server);
        let clients: Vec<_> = (0..50_u8)
            .map(|nth| {
                create_task(async move {
                    let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
                    let message = vec![nth; 64 * 1024];
                    writer.write(&message);
                    writer.write_eof()?;
                    assert_eq!(reader.read_all().await?, message);
                    writer.aclose().await
                })
            })
            .collect();
        for client in clients {
            client.await??;
        }
        until(|| server.connection_count() == 0).await;
        io::Result::Ok(())
    })
}

#[test]
fn srv_04_a_datagram_socket_is_refused_and_a_non_blocking_one_taken() -> io::Result<()> {
    run(async {
        let refused = start_server_sock(echo, UdpSocket::bind((LOCALHOST, 0))?).await;
        let refused = text_of(refused);
        assert!(
            refused.starts_with("A Stream Socket was expected, got <socket fd="),
            "{refused}"
        );
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let server = start_server_sock(echo, listener).await?;
        is_served(LOCALHOST, port_of(&server)).await
    })
}

#[test]
fn srv_05_a_taken_port_is_told_with_its_address_and_the_systems_number() -> io::Result<()> {
    run(async {
        let taken = TcpListener::bind((LOCALHOST, 0))?;
        let address = taken.local_addr()?;
        let error = start_server(echo, LOCALHOST, address.port())
            .await
            .expect_err("the port is taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("error while attempting to bind on address {address}: address already in use")
        );
        let source = error.source().and_then(|e| e.downcast_ref::<io::Error>());
        let number = source.and_then(io::Error::raw_os_error);
        let by_std = TcpListener::bind(address).expect_err("it is taken");
        assert_eq!(number, by_std.raw_os_error());
        io::Result::Ok(())
    })
}

// Other systems have no 127.0.0.2 unless somebody configured it.
#[cfg(target_os = "linux")]
#[test]
fn srv_06_one_of_several_hosts_that_fails_leaves_none_bound() -> io::Result<()> {
    run(async {
        let mut bound = Err(ErrorKind::AddrInUse.into());
        // Again, if somebody else has come to have the first one's port meanwhile.
        for _ in 0..10 {
            let taken = TcpListener::bind(("127.0.0.2", 0))?;
            let port = taken.local_addr()?.port();
            let error = start_server(echo, ["127.0.0.1", "127.0.0.2"], port)
                .await
                .expect_err("the second is taken");
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            // Without SO_REUSEADDR, which would forgive a socket that was left bound.
            let first = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            bound = first.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into());
            if bound.is_ok() {
                break;
            }
        }
        bound
    })
}

#[test]
fn srv_06_an_address_that_this_machine_lacks_is_passed_over() -> io::Result<()> {
    run(async {
        // A block that is kept for documentation: no machine has it.
        let server = start_server(echo, ["127.0.0.1", "192.0.2.1"], 0).await?;
        assert_eq!(server.sockets().len(), 1);
        is_served(LOCALHOST, port_of(&server)).await?;

        let none = start_server(echo, "192.0.2.1", 0).await;
        let error = none.expect_err("this machine lacks it");
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert_eq!(
            error.to_string(),
            "could not bind on any address out of [192.0.2.1:0]"
        );
        io::Result::Ok(())
    })
}

#[test]
fn srv_07_no_host_serves_both_families_on_one_port() -> io::Result<()> {
    if !has_ipv6() {
        eprintln!("this machine has no IPv6: nothing to be seen");
        return Ok(());
    }
    run(async {
        // Somebody else may take the port meanwhile: then another is tried.
        for _ in 0..100 {
            let port = free_port()?;
            let server = match start_server(echo, None::<&str>, port).await {
                Err(error) if error.kind() == ErrorKind::AddrInUse => continue,
                server => server?,
            };
            let mut addresses: Vec<String> =
                server.sockets().iter().map(ToString::to_string).collect();
            addresses.sort();
            // Both on one port: only with IPV6_V6ONLY is the second one not taken.
            assert_eq!(
                addresses,
                [format!("0.0.0.0:{port}"), format!("[::]:{port}")]
            );
            is_served("127.0.0.1", port).await?;
            is_served("::1", port).await?;
            return Ok(());
        }
        panic!("no port was free on both families a hundred times");
    })
}

#[test]
fn srv_08_two_loops_share_a_port() -> io::Result<()> {
    let both = |port| -> io::Result<(EventLoop, Server)> {
        let event_loop = EventLoop::new()?;
        let server = event_loop.run_until_complete(async move {
            start_server(echo, LOCALHOST, port).reuse_port(true).await
        })??;
        Ok((event_loop, server))
    };
    let (one, one_server) = both(0)?;
    let port = port_of(&one_server);
    let (other, other_server) = both(port)?;
    assert_eq!(port_of(&other_server), port);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(TcpStream::connect((LOCALHOST, port))?);
    }
    let began = Instant::now();
    while one_server.connection_count() + other_server.connection_count() < 40 {
        one.turn(AT_ONCE)?;
        other.turn(AT_ONCE)?;
        assert!(began.elapsed() < PATIENCE, "some are lost");
    }
    // Without it, a second server is refused.
    let alone = one.run_until_complete(async move { start_server(echo, LOCALHOST, port).await })?;
    assert_eq!(
        alone.map_err(|e| e.kind()).err(),
        Some(ErrorKind::AddrInUse)
    );
    Ok(())
}

#[test]
fn srv_09_a_port_is_bound_again_while_old_connections_linger() -> io::Result<()> {
    run(async {
        let server = start_server(plain(|_reader, writer| writer.write("bye\n")), LOCALHOST, 0);
        let server = server.await?;
        let port = port_of(&server);
        // The server's end closes first, so it is the one that lingers (TIME_WAIT).
        let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
        assert_eq!(reader.read_all().await?, b"bye\n");
        writer.aclose().await?;
        server.close();
        server.wait_closed().await;

        if cfg!(target_os = "linux") {
            let picky = start_server(echo, LOCALHOST, port)
                .reuse_address(false)
                .await;
            assert_eq!(
                picky.map_err(|e| e.kind()).err(),
                Some(ErrorKind::AddrInUse)
            );
        }
        let again = start_server(echo, LOCALHOST, port).await?;
        assert_eq!(port_of(&again), port);
        is_served(LOCALHOST, port).await
    })
}

#[test]
fn srv_23_any_backlog_serves() -> io::Result<()> {
    run(async {
        for backlog in [0, 1, -1, i32::MIN, i32::MAX] {
            let server = start_server(echo, LOCALHOST, 0).backlog(backlog).await?;
            is_served(LOCALHOST, port_of(&server)).await?;
        }
        io::Result::Ok(())
    })
}

#[test]
fn a_family_that_is_asked_for_is_the_only_one() -> io::Result<()> {
    run(async {
        let server = start_server(echo, None::<&str>, 0)
            .family(Family::V4)
            .await?;
        let families: Vec<_> = server
            .sockets()
            .iter()
            .filter_map(|a| a.as_inet())
            .collect();
        assert!(families.iter().all(SocketAddr::is_ipv4), "{families:?}");
        assert_eq!(families.len(), 1);
        io::Result::Ok(())
    })
}

#[test]
fn without_the_flag_passive_no_host_is_the_loopback() -> io::Result<()> {
    run(async {
        let server = start_server(echo, None::<&str>, 0)
            .family(Family::V4)
            .flags(AddrInfoFlags::default())
            .await?;
        let address = server.sockets()[0]
            .as_inet()
            .expect("it is an internet address");
        assert!(address.ip().is_loopback());
        io::Result::Ok(())
    })
}

#[cfg(target_os = "linux")]
#[test]
fn accepted_connections_are_kept_alive_if_that_is_asked_for() -> io::Result<()> {
    run(async {
        for keep_alive in [false, true] {
            let server = start_server(echo, LOCALHOST, 0)
                .keep_alive(keep_alive)
                .await?;
            let port = port_of(&server);
            let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
            writer.write("over there\n");
            reader.readline().await?;
            assert_eq!(has_keep_alive_timer(port)?, keep_alive);
        }
        io::Result::Ok(())
    })
}

/// Whether the accepted end of the connection to `port` has one: `tr` is 2 in its row.
#[cfg(target_os = "linux")]
fn has_keep_alive_timer(port: u16) -> io::Result<bool> {
    const ESTABLISHED: &str = "01";
    let local = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let row = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .find(|row| row[1] == local && row[3] == ESTABLISHED);
    let row = row.ok_or_else(|| io::Error::other(format!("no connection to {port}")))?;
    Ok(row[5].starts_with("02"))
}

// Other systems have no 127.0.0.2 unless somebody configured it.
#[cfg(target_os = "linux")]
#[test]
fn srv_05_a_port_that_is_taken_between_bind_and_listen_is_told_with_its_address() -> io::Result<()>
{
    run(async {
        // SO_REUSEADDR lets both bind to it, as long as neither listens.
        let first = start_server(echo, LOCALHOST, 0)
            .start_serving(false)
            .await?;
        let port = port_of(&first);
        let second = start_server(echo, ["127.0.0.2", LOCALHOST], port)
            .start_serving(false)
            .await?;
        first.start_serving().await?;
        let before = get_running_loop()?.census().sources;

        let error = second.start_serving().await.expect_err("the first listens");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!(
                "error while attempting to listen on address {LOCALHOST}:{port}: \
                 address already in use"
            )
        );
        assert!(error.source().is_some(), "the system's own");
        assert_eq!(second.sockets(), [], "it is closed");
        second.wait_closed().await;
        assert_eq!(get_running_loop()?.census().sources, before);
        assert!(TcpStream::connect(("127.0.0.2", port)).is_err());
        is_served(LOCALHOST, port).await
    })
}

#[test]
fn a_start_that_serves_suspends_for_a_turn() -> io::Result<()> {
    run(async {
        let bind = || TcpListener::bind((LOCALHOST, 0));
        assert!(at_once(start_server_sock(echo, bind()?).start_serving(false)).await);
        let serving = create_task(start_server_sock(echo, bind()?).into_future());
        yield_now().await;
        assert!(!serving.done());
        yield_now().await;
        assert!(serving.done());
        io::Result::Ok(())
    })
}

#[test]
fn a_start_that_is_given_up_leaves_nothing_bound() -> io::Result<()> {
    run(async {
        let census = || get_running_loop().map(|handle| handle.census());
        let starting = create_task(start_server(echo, LOCALHOST, 0).into_future());
        yield_now().await;
        assert_eq!(census()?.sources, 1, "it listens, and has not returned");
        starting.cancel();
        until(|| starting.done()).await;
        assert_eq!(census()?.sources, 0);
        io::Result::Ok(())
    })
}

// ── stopping ────────────────────────────────────────────────────────────────────

#[test]
fn srv_10_a_closed_server_refuses_and_its_connections_go_on() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let port = port_of(&server);
        let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
        writer.write("one\n");
        assert_eq!(reader.readline().await?, b"one\n");
        server.close();
        server.close();
        let refused = open_connection(LOCALHOST, port)
            .await
            .expect_err("it is closed");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        writer.write("two\n");
        assert_eq!(reader.readline().await?, b"two\n");
        io::Result::Ok(())
    })
}

#[test]
fn srv_11_wait_closed_waits_for_the_close_and_for_the_connections() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let waiting = wait_closed(&server);
        some_turns().await;
        assert!(!waiting.done(), "it is open, without a client");

        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        writer.write("here\n");
        reader.readline().await?;
        server.close();
        some_turns().await;
        assert!(!waiting.done(), "a client is there");

        writer.aclose().await?;
        waiting.await?;
        server.wait_closed().await;
        assert!(
            at_once(server.wait_closed()).await,
            "again, without waiting"
        );
        io::Result::Ok(())
    })
}

#[test]
fn srv_12_a_close_and_the_last_connections_end_may_come_in_one_turn() -> io::Result<()> {
    for server_first in [true, false] {
        run(async move {
            let transports: Rc<RefCell<Vec<Rc<dyn Transport>>>> = Rc::default();
            let made = transports.clone();
            let factory = move || Remembers(made.clone());
            let handle = get_running_loop()?;
            let server = handle.create_server(factory, LOCALHOST, 0).await?;
            let (_reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
            until(|| !transports.borrow().is_empty()).await;
            let waiting = [wait_closed(&server), wait_closed(&server)];
            yield_now().await;
            if server_first {
                server.close();
            }
            let transport = transports.borrow()[0].clone();
            transport.abort();
            if !server_first {
                server.close();
            }
            for waiting in waiting {
                waiting.await?;
            }
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn serve_forever_on_a_server_that_was_just_closed_says_so() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let awaited = server.clone();
        let serving = create_task(async move { awaited.serve_forever().await });
        yield_now().await;
        let again = text_of(server.serve_forever().await);
        assert!(again.ends_with("is already being awaited on serve_forever()"));

        server.close(); // and who awaits it has not heard of it yet
        let again = text_of(server.serve_forever().await);
        assert_eq!(again, "server <Server sockets=[]> is closed");
        assert!(Cancelled::is(&serving.await?.expect_err("it was closed")));
        io::Result::Ok(())
    })
}

#[test]
fn r_10_a_handler_that_panics_when_it_is_dropped_keeps_nobody_waiting() -> io::Result<()> {
    run(async {
        let guard = OnDrop::new(|| panic!("its last word"));
        let handler = async move |_reader: StreamReader, _writer: StreamWriter| {
            let _owned = &guard;
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        let closed = wait_closed(&server);
        let awaited = server.clone();
        let serving = create_task(async move { awaited.serve_forever().await });
        yield_now().await;

        let closing = catch_unwind(AssertUnwindSafe(|| server.close()));
        assert!(closing.is_err(), "it is the caller's to see");
        closed.await?;
        assert!(Cancelled::is(&serving.await?.expect_err("it was closed")));
        io::Result::Ok(())
    })
}

#[test]
fn srv_13_close_clients_ends_idle_handlers_within_two_turns() -> io::Result<()> {
    run(async {
        let ended = Rc::new(Cell::new(0));
        let counted = ended.clone();
        let handler = async move |mut reader: StreamReader, writer: StreamWriter| {
            assert_eq!(reader.readline().await?, b"");
            assert!(writer.is_closing());
            counted.set(counted.get() + 1);
            io::Result::Ok(())
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(open_connection(LOCALHOST, port_of(&server)).await?);
        }
        until(|| server.connection_count() == 3).await;
        some_turns().await;
        let waiting = wait_closed(&server);
        yield_now().await;
        server.close();
        server.close_clients();
        yield_now().await;
        yield_now().await;
        assert!(waiting.done());
        until(|| ended.get() == 3).await;
        io::Result::Ok(())
    })
}

#[test]
fn srv_13_abort_clients_throws_away_what_is_queued() -> io::Result<()> {
    run(async {
        let handler = async |mut reader: StreamReader, writer: StreamWriter| {
            writer.write(vec![0; 64 << 20]);
            let _ = reader.read_all().await;
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        let _silent = TcpStream::connect((LOCALHOST, port_of(&server)))?;
        until(|| server.connection_count() == 1).await;
        some_turns().await;
        server.close();
        server.close_clients();
        some_turns().await;
        assert_eq!(server.connection_count(), 1, "nobody reads what is queued");
        server.abort_clients();
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn a_server_is_closed_with_its_scope() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let port = port_of(&server);
        let line = server
            .scoped(async {
                let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
                writer.write("within\n");
                io::Result::Ok(reader.readline().await?)
            })
            .await?;
        assert_eq!(line, b"within\n");
        assert!(!server.is_serving());
        assert_eq!(server.connection_count(), 0);
        io::Result::Ok(())
    })
}

#[test]
fn a_scope_that_is_given_up_closes_its_server() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let scoped = server.clone();
        let scope = create_task(async move { scoped.scoped(pending::<()>()).await });
        yield_now().await;
        scope.cancel();
        until(|| scope.done()).await;
        assert!(!server.is_serving());
        io::Result::Ok(())
    })
}

// ── accepting ───────────────────────────────────────────────────────────────────

#[test]
fn srv_15_a_turn_accepts_one_more_than_the_backlog() -> io::Result<()> {
    const BACKLOG: usize = 9;
    let listener = TcpListener::bind((LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    SockRef::from(&listener).listen(128)?;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(TcpStream::connect(address)?);
    }
    let event_loop = EventLoop::new()?;
    let server = event_loop.run_until_complete(async move {
        start_server_sock(echo, listener)
            .start_serving(false)
            .backlog(BACKLOG as i32)
            .await
    })??;
    let serving = server.clone();
    event_loop.create_task(async move { serving.serve_forever().await });
    let began = Instant::now();
    let mut accepted = 0;
    while accepted < 100 {
        event_loop.turn(AT_ONCE)?;
        let now = server.connection_count();
        // All of them wait already, so that a turn accepts as many as it may, if any.
        assert!([0, BACKLOG + 1].contains(&(now - accepted)), "{now}");
        accepted = now;
        assert!(began.elapsed() < PATIENCE, "{accepted} accepted, no more");
    }
    Ok(())
}

// A listening socket of Linux can be shut down, and listen again.
#[cfg(target_os = "linux")]
#[test]
fn srv_18_a_failing_accept_is_reported_and_the_server_goes_on() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    event_loop.run_until_complete(async move {
        // A port that was asked for by its number outlives the shutdown.
        let listener = bound_to_a_number()?;
        let port = listener.local_addr()?.port();
        let other_handle = listener.try_clone()?;
        let server = start_server_sock(echo, listener).await?;
        SockRef::from(&other_handle).shutdown(Shutdown::Both)?;
        until(|| !reports.is_empty()).await;
        let report = reports.take().remove(0);
        assert_eq!(report.message, "socket.accept() failed");
        assert!(report.exception.is_some());
        let socket = report.socket.unwrap_or_default();
        assert!(socket.starts_with("<listening socket fd="), "{socket}");
        assert!(
            socket.ends_with(&format!(" {LOCALHOST}:{port}>")),
            "{socket}"
        );

        other_handle.set_nonblocking(true)?;
        SockRef::from(&other_handle).listen(128)?;
        is_served(LOCALHOST, port).await?;
        assert!(server.is_serving());
        io::Result::Ok(())
    })?
}

// The listener is shut down behind its server's back, so that it fails again and again.
#[cfg(target_os = "linux")]
#[test]
fn srv_18_a_listener_that_goes_on_failing_is_tried_once_a_second() -> io::Result<()> {
    if cfg!(mio_unsupported_force_poll_poll) {
        // It passes over the first event of a socket that hung up and was registered again,
        // and simulated time does not wait for the second.
        return Ok(());
    }
    let event_loop = EventLoop::with_clock(Clock::simulated())?;
    let times: Rc<RefCell<Vec<Duration>>> = Rc::default();
    let noted = times.clone();
    event_loop.set_exception_handler(move |handle, _| noted.borrow_mut().push(handle.time()));
    event_loop.run_until_complete(async move {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let other_handle = listener.try_clone()?;
        let server = start_server_sock(echo, listener).await?;
        SockRef::from(&other_handle).shutdown(Shutdown::Both)?;
        sleep(Duration::from_millis(2500)).await;
        let seconds: Vec<u64> = times.borrow().iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [0, 0, 1, 1, 2, 2], "two in a row, then a pause");

        // Pausing and resuming neither ends the pause nor begins another.
        let census = || get_running_loop().map(|handle| handle.census());
        assert_eq!((census()?.sources, census()?.timers), (1, 1));
        server.pause_accepting();
        server.resume_accepting();
        yield_now().await;
        assert_eq!((census()?.sources, census()?.timers), (1, 1));
        server.close();
        yield_now().await;
        assert_eq!((census()?.sources, census()?.timers), (0, 0));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(times.borrow().len(), 6, "closed meanwhile");
        io::Result::Ok(())
    })?
}

#[test]
fn srv_20_a_client_that_reset_before_it_was_accepted_harms_nobody() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    let outcomes: Rc<RefCell<Vec<io::Result<usize>>>> = Rc::default();
    let kept = outcomes.clone();
    let handler = async move |mut reader: StreamReader, writer: StreamWriter| {
        let _may_be_unknown = writer.get_extra_info(PeerName);
        let outcome = reader.read(100).await.map(|data| data.len());
        kept.borrow_mut().push(outcome.map_err(io::Error::from));
    };
    let server = event_loop
        .run_until_complete(async move { start_server(handler, LOCALHOST, 0).await })??;
    let port = port_of(&server);
    for _ in 0..10 {
        reset(TcpStream::connect((LOCALHOST, port))?)?;
    }
    event_loop.run_until_complete(async move {
        is_connected(LOCALHOST, port).await?;
        until(|| server.connection_count() == 0).await;
        io::Result::Ok(())
    })??;
    for outcome in outcomes.take() {
        match outcome {
            Ok(n) => assert_eq!(n, 0, "the one that was not reset"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(reports.take(), []);
    Ok(())
}

#[test]
fn srv_22_a_plain_callback_and_a_coroutine_serve_alike() -> io::Result<()> {
    run(async {
        let as_coroutine = start_server(echo, LOCALHOST, 0).await?;
        let callback = plain(|reader, writer| drop(create_task(echo(reader, writer))));
        let as_callback = start_server(callback, LOCALHOST, 0).await?;
        for server in [as_coroutine, as_callback] {
            is_served(LOCALHOST, port_of(&server)).await?;
            server.close();
            server.wait_closed().await;
        }
        io::Result::Ok(())
    })
}

#[test]
fn a_full_server_accepts_when_a_connection_ends_and_rests_until_then() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).max_connections(2).await?;
        let port = port_of(&server);
        let census = || get_running_loop().map(|handle| handle.census());
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(open_connection(LOCALHOST, port).await?);
        }
        until(|| server.connection_count() == 2).await;
        some_turns().await;
        assert_eq!(server.connection_count(), 2);
        // Five ends of connections and a listener; no timer.
        assert_eq!((census()?.sources, census()?.timers), (6, 0));
        assert!(server.is_serving());

        let (_, first) = clients.remove(0);
        first.aclose().await?;
        let (mut reader, writer) = clients.pop().expect("the third waits");
        writer.write("at last\n");
        assert_eq!(reader.readline().await?, b"at last\n");
        assert_eq!(server.connection_count(), 2);

        server.set_max_connections(3);
        is_served(LOCALHOST, port).await?;
        server.set_max_connections(0);
        writer.aclose().await?;
        until(|| server.connection_count() == 1).await;
        let (_reader, _waits) = open_connection(LOCALHOST, port).await?;
        some_turns().await;
        assert_eq!(server.connection_count(), 1);
        server.set_max_connections(None);
        until(|| server.connection_count() == 2).await;
        io::Result::Ok(())
    })
}

#[test]
fn of_clients_that_come_together_a_server_accepts_as_many_as_it_may() -> io::Result<()> {
    run(async {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let clients: io::Result<Vec<_>> = (0..6).map(|_| TcpStream::connect(address)).collect();
        let mut clients = clients?;
        let server = start_server_sock(echo, listener).max_connections(2).await?;
        until(|| server.connection_count() > 0).await;
        some_turns().await;
        assert_eq!(server.connection_count(), 2);

        let mut next = clients.split_off(2);
        drop(clients); // which makes room
        let mut third = open_connection_sock(next.remove(0)).await?;
        third.1.write("my turn\n");
        assert_eq!(third.0.readline().await?, b"my turn\n");
        some_turns().await;
        assert_eq!(server.connection_count(), 2);
        io::Result::Ok(())
    })
}

#[test]
fn nobody_who_waits_at_a_full_or_paused_server_wakes_it() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (server, _client) = event_loop.run_until_complete(async {
        let server = start_server(echo, LOCALHOST, 0).max_connections(1).await?;
        let client = open_connection(LOCALHOST, port_of(&server)).await?;
        until(|| server.connection_count() == 1).await;
        some_turns().await;
        io::Result::Ok((server, client))
    })??;
    for reason in ["full", "paused"] {
        if reason == "paused" {
            server.pause_accepting();
            server.set_max_connections(None);
        }
        while event_loop.turn(AT_ONCE)? == AT_ONCE {}
        let _waiting = TcpStream::connect((LOCALHOST, port_of(&server)))?;
        let nap = Duration::from_millis(50);
        let began = Instant::now();
        event_loop.turn(Some(nap))?;
        assert!(began.elapsed() >= nap, "a {reason} server was woken");
        assert_eq!(server.connection_count(), 1);
    }
    Ok(())
}

#[test]
fn all_listeners_of_a_full_server_rest() -> io::Result<()> {
    run(async {
        let hosts = ["127.0.0.1", "127.0.0.2"];
        let server = start_server(echo, hosts, 0).max_connections(1).await?;
        let addresses: Vec<_> = server
            .sockets()
            .iter()
            .filter_map(|a| a.as_inet())
            .collect();
        let first = TcpStream::connect(addresses[0])?;
        until(|| server.connection_count() == 1).await;
        let other = addresses[addresses.len() - 1]; // the same, where there is only one
        let (mut reader, writer) = open_connection(other.ip(), other.port()).await?;
        writer.write("my turn\n");
        some_turns().await;
        assert_eq!(server.connection_count(), 1);
        assert_eq!(reader.buffered(), b"");
        drop(first);
        assert_eq!(reader.readline().await?, b"my turn\n");
        io::Result::Ok(())
    })
}

#[test]
fn a_paused_server_leaves_clients_in_the_systems_queue() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let port = port_of(&server);
        server.pause_accepting();
        server.pause_accepting();
        let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
        writer.write("patience\n");
        some_turns().await;
        assert_eq!(server.connection_count(), 0);
        assert!(server.is_serving());
        server.resume_accepting();
        server.resume_accepting();
        assert_eq!(reader.readline().await?, b"patience\n");

        // Also one that has not begun, and one that is closed.
        let later = start_server(echo, LOCALHOST, 0)
            .start_serving(false)
            .await?;
        later.pause_accepting();
        later.start_serving().await?;
        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&later)).await?;
        writer.write("patience\n");
        some_turns().await;
        assert_eq!(later.connection_count(), 0);
        later.resume_accepting();
        assert_eq!(reader.readline().await?, b"patience\n");
        later.close();
        later.pause_accepting();
        later.resume_accepting();
        io::Result::Ok(())
    })
}

#[test]
fn a_server_that_is_paused_or_closed_in_the_turn_of_a_connect_accepts_nobody() -> io::Result<()> {
    for stop in [Server::pause_accepting, Server::close] {
        let event_loop = EventLoop::new()?;
        let handle = event_loop.handle();
        let server =
            event_loop.run_until_complete(async { start_server(echo, LOCALHOST, 0).await })??;
        while event_loop.turn(AT_ONCE)? == AT_ONCE {}
        let _client = TcpStream::connect((LOCALHOST, port_of(&server)))?;
        // Queued before the poll finds the client, so that it runs before the accept.
        let stopped = server.clone();
        handle.call_soon(move || stop(&stopped))?;
        for _ in 0..10 {
            event_loop.turn(AT_ONCE)?;
        }
        assert_eq!(server.connection_count(), 0);
        assert_eq!(event_loop.census().timers, 0);
    }
    Ok(())
}

#[test]
fn d_11_a_factory_may_stop_its_server_while_clients_are_accepted() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let slot: Rc<RefCell<Option<Server>>> = Rc::default();
        let (closing, counts) = (slot.clone(), Rc::new(RefCell::new(Vec::new())));
        let counted = counts.clone();
        let factory = move || {
            if let Some(server) = closing.take() {
                counted.borrow_mut().push(server.connection_count());
                server.close();
            }
            Remembers(Rc::default())
        };
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let _clients = [TcpStream::connect(address)?, TcpStream::connect(address)?];
        let server = handle
            .create_server_sock(factory, listener)
            .start_serving(false)
            .await?;
        *slot.borrow_mut() = Some(server.clone());
        server.start_serving().await?;
        until(|| !server.is_serving()).await;
        some_turns().await;
        assert_eq!(
            *counts.borrow(),
            [1],
            "attached before its protocol is made"
        );
        assert_eq!(
            server.connection_count(),
            1,
            "it goes on, the other is refused"
        );
        assert_eq!(Rc::strong_count(&counts), 1, "the factory is gone");
        server.abort_clients();
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn a_loop_may_close_while_its_server_is_full_or_paused() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (server, _client) = event_loop.run_until_complete(async {
        let server = start_server(echo, LOCALHOST, 0).max_connections(1).await?;
        let client = open_connection(LOCALHOST, port_of(&server)).await?;
        until(|| server.connection_count() == 1).await;
        io::Result::Ok((server, client))
    })??;
    let port = port_of(&server);
    event_loop.close()?;
    assert!(
        TcpStream::connect((LOCALHOST, port)).is_err(),
        "it listens on"
    );
    server.set_max_connections(10);
    server.pause_accepting();
    server.resume_accepting();
    server.close_clients();
    server.close();
    assert_eq!(event_loop.census().sources, 0);
    Ok(())
}

// ── handlers ────────────────────────────────────────────────────────────────────

#[test]
fn the_tasks_of_handlers_are_named_after_them() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let (_reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        until(|| server.connection_count() == 1).await;
        some_turns().await;
        let names: Vec<String> = all_tasks().iter().map(TaskRef::get_name).collect();
        let named = names
            .iter()
            .any(|name| name.starts_with("serving::net_support::echo-"));
        assert!(named, "{names:?}");
        io::Result::Ok(())
    })
}

#[test]
fn a_handler_that_fails_closes_its_connection_whoever_has_its_writer() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let reports = Reports::of(&event_loop);
    event_loop.run_until_complete(async move {
        let given_away: Rc<RefCell<Vec<StreamWriter>>> = Rc::default();
        let kept = given_away.clone();
        let handler = async move |mut reader: StreamReader, writer: StreamWriter| {
            kept.borrow_mut().push(writer);
            match reader.readline().await?.as_slice() {
                b"end\n" => Ok(()),
                b"panic\n" => panic!("as it was told"),
                _ => Err(io::Error::other("what?")),
            }
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        for last in ["fail\n", "panic\n"] {
            let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
            writer.write(last);
            assert_eq!(reader.read_all().await?, b"");
        }
        assert_eq!(reports.take().len(), 2);

        // One that ends well leaves it to whoever has the writer.
        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        writer.write("end\n");
        until(|| all_tasks().len() == 1).await;
        let last = given_away.borrow_mut().pop().expect("it was given away");
        last.write("and another thing\n");
        assert_eq!(reader.readline().await?, b"and another thing\n");
        io::Result::Ok(())
    })?
}

#[test]
fn a_handler_may_ask_to_be_cancelled_when_its_peer_is_gone() -> io::Result<()> {
    run(async {
        for asked in [true, false] {
            let (handler, dropped) = waits_for_ever();
            let server = start_server(handler, LOCALHOST, 0)
                .cancel_on_disconnect(asked)
                .await?;
            let port = port_of(&server);
            // A half-close is no disconnect: it may still read.
            let half = TcpStream::connect((LOCALHOST, port))?;
            let whole = TcpStream::connect((LOCALHOST, port))?;
            until(|| server.connection_count() == 2).await;
            some_turns().await;
            half.shutdown(Shutdown::Write)?;
            reset(whole)?;
            until(|| server.connection_count() == 1).await;
            some_turns().await;
            assert_eq!(dropped.get(), usize::from(asked));
            let stopping = server.shutdown(Duration::ZERO);
            let stopped = stopping.flush_time(Duration::ZERO).await;
            assert_eq!(stopped.cancelled, 2 - usize::from(asked));
            assert_eq!(dropped.get(), 2);
        }
        io::Result::Ok(())
    })
}

#[test]
fn a_handler_that_closes_its_connection_itself_is_not_cancelled() -> io::Result<()> {
    run(async {
        let finished = Rc::new(Cell::new(false));
        let told = finished.clone();
        let handler = async move |_reader: StreamReader, writer: StreamWriter| {
            writer.aclose().await?;
            some_turns().await; // say, what was said is put into the books
            told.set(true);
            io::Result::Ok(())
        };
        let server = start_server(handler, LOCALHOST, 0)
            .cancel_on_disconnect(true)
            .await?;
        is_connected(LOCALHOST, port_of(&server)).await?;
        until(|| finished.get()).await;
        io::Result::Ok(())
    })
}

// ── shutdown ────────────────────────────────────────────────────────────────────

#[test]
fn a_shutdown_without_clients_returns_at_once() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let stopped = server.shutdown(PATIENCE).await;
        assert_eq!(stopped, millstream::Stopped::default());
        assert!(!server.is_serving());
        assert_eq!(server.shutdown(PATIENCE).await, stopped, "again");
        io::Result::Ok(())
    })
}

#[test]
fn a_shutdown_waits_for_replies_and_for_what_comes_behind_them() -> io::Result<()> {
    run(async {
        let finished = Rc::new(Cell::new(false));
        let told = finished.clone();
        let handler = async move |_reader: StreamReader, writer: StreamWriter| {
            writer.write("first half, ");
            sleep(Duration::from_millis(20)).await;
            writer.write("second half\n");
            writer.aclose().await?;
            sleep(Duration::from_millis(20)).await;
            told.set(true);
            io::Result::Ok(())
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        until(|| server.connection_count() == 1).await;
        let stopped = server.shutdown(PATIENCE).await;
        assert!(finished.get(), "the handler, too");
        assert_eq!((stopped.finished, stopped.closed), (1, 0));
        assert_eq!((stopped.aborted, stopped.cancelled), (0, 0));
        assert_eq!(reader.read_all().await?, b"first half, second half\n");
        io::Result::Ok(())
    })
}

#[test]
fn a_shutdown_closes_who_is_idle_when_the_grace_is_over() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        until(|| server.connection_count() == 1).await;
        let began = Instant::now();
        let grace = Duration::from_millis(30);
        let stopped = server.shutdown(grace).flush_time(PATIENCE).await;
        assert!(began.elapsed() >= grace);
        assert_eq!((stopped.finished, stopped.closed), (0, 1));
        assert_eq!((stopped.aborted, stopped.cancelled), (0, 0));
        assert_eq!(reader.read_all().await?, b"");
        io::Result::Ok(())
    })
}

#[test]
fn a_shutdown_aborts_who_does_not_read_and_cancels_who_does_not_end() -> io::Result<()> {
    run(async {
        let (forever, dropped) = waits_for_ever();
        let handler = async move |reader: StreamReader, writer: StreamWriter| {
            writer.write(vec![0; 64 << 20]);
            forever(reader, writer).await;
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        let _silent = TcpStream::connect((LOCALHOST, port_of(&server)))?;
        until(|| server.connection_count() == 1).await;
        some_turns().await;
        let stopping = server
            .shutdown(Duration::from_millis(10))
            .flush_time(Duration::from_millis(10));
        let stopped = stopping.await;
        assert_eq!((stopped.finished, stopped.closed), (0, 0));
        assert_eq!((stopped.aborted, stopped.cancelled), (1, 1));
        assert_eq!(dropped.get(), 1);
        assert_eq!(server.connection_count(), 0);
        io::Result::Ok(())
    })
}

#[test]
fn a_shutdown_that_is_given_up_leaves_the_server_closed_and_may_be_repeated() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        until(|| server.connection_count() == 1).await;
        let stopping = create_task(server.shutdown(PATIENCE).into_future());
        some_turns().await;
        stopping.cancel();
        until(|| stopping.done()).await;
        assert!(!server.is_serving());
        writer.write("still here\n");
        assert_eq!(reader.readline().await?, b"still here\n");
        let stopped = server.shutdown(Duration::ZERO).flush_time(PATIENCE).await;
        assert_eq!(stopped.closed, 1);
        io::Result::Ok(())
    })
}

#[test]
fn a_handler_may_shut_its_server_down() -> io::Result<()> {
    run(async {
        let switch: Rc<Cell<Option<Server>>> = Rc::default();
        let (off, stopped) = (switch.clone(), Rc::new(Cell::new(None)));
        let told = stopped.clone();
        let handler = async move |mut reader: StreamReader, _writer: StreamWriter| {
            if reader.readline().await? == b"stop\n" {
                let server = off.take().expect("nobody else takes it");
                let stopping = server.shutdown(Duration::from_millis(10));
                told.set(Some(stopping.flush_time(PATIENCE).await));
            }
            io::Result::Ok(())
        };
        let server = start_server(handler, LOCALHOST, 0).await?;
        let port = port_of(&server);
        switch.set(Some(server));
        let (mut idle, _writer) = open_connection(LOCALHOST, port).await?;
        let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
        writer.write("stop\n");
        assert_eq!(reader.read_all().await?, b"");
        assert_eq!(idle.read_all().await?, b"");
        until(|| stopped.get().is_some()).await;
        let stopped = stopped.get().expect("it was just seen");
        assert_eq!((stopped.closed, stopped.cancelled), (2, 0));
        io::Result::Ok(())
    })
}

#[test]
fn serve_forever_ends_when_the_server_is_shut_down() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let stopping = server.clone();
        create_task(async move {
            yield_now().await;
            stopping.shutdown(Duration::ZERO).await;
        });
        let ended = server.serve_forever().await.expect_err("it was closed");
        assert!(Cancelled::is(&ended));
        io::Result::Ok(())
    })
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// A protocol whose transports are known.
struct Remembers(Rc<RefCell<Vec<Rc<dyn Transport>>>>);

impl Protocol for Remembers {
    fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
        self.0.borrow_mut().push(transport.clone());
    }
}

/// A handler that keeps its connection for ever, and how many of them were dropped.
fn waits_for_ever() -> (impl AsyncFn(StreamReader, StreamWriter), Rc<Cell<usize>>) {
    let dropped = Rc::new(Cell::new(0));
    let counted = dropped.clone();
    let handler = async move |_reader: StreamReader, _writer: StreamWriter| {
        let counted = counted.clone();
        let _counts = OnDrop::new(move || counted.set(counted.get() + 1));
        pending::<()>().await;
    };
    (handler, dropped)
}

fn wait_closed(server: &Server) -> millstream::Task<()> {
    let server = server.clone();
    create_task(async move { server.wait_closed().await })
}

/// A port that nobody has, for now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((LOCALHOST, 0))?.local_addr()?.port())
}

/// Binds to a port that is asked for by its number.
#[cfg(target_os = "linux")]
fn bound_to_a_number() -> io::Result<TcpListener> {
    loop {
        match TcpListener::bind((LOCALHOST, free_port()?)) {
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// Checks that a server echoes there.
async fn is_served(host: &str, port: u16) -> io::Result<()> {
    let (mut reader, writer) = open_connection(host, port).await?;
    writer.write("anybody there?\n");
    assert_eq!(reader.readline().await?, b"anybody there?\n");
    writer.aclose().await
}

/// Connects, and waits for the end.
async fn is_connected(host: &str, port: u16) -> io::Result<()> {
    let (mut reader, writer) = open_connection(host, port).await?;
    writer.write_eof()?;
    reader.read_all().await?;
    writer.aclose().await
}

/// Closes a socket in a way that resets its connection.
fn reset(socket: TcpStream) -> io::Result<()> {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < PATIENCE,
            "what is waited for does not come"
        );
        sleep(Duration::from_millis(1)).await;
    }
}

/// Lets happen what can happen without further I/O from outside.
async fn some_turns() {
    for _ in 0..20 {
        yield_now().await;
    }
    // The poll is skipped for a bounded number of turns only.
    sleep(Duration::from_millis(2)).await;
}

/// Whether a future is ready without waiting.
async fn at_once(future: impl IntoFuture) -> bool {
    let mut future = std::pin::pin!(future.into_future());
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}
