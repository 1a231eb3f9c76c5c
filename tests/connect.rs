//! Connecting, on real sockets: each argument, each way to fail, and races between addresses.
//!
//! Each test counts the descriptors of the process before and after, so they run one after
//! the other. Those that need several addresses on the loopback need Linux, where all of
//! 127.0.0.0/8 leads there.

#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::error::Error;
use std::fs;
use std::future::{IntoFuture, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use millstream::{
    AddrInfoFlags, Clock, ConnectErrors, EventLoop, Family, HostQuery, PeerName, Protocol,
    Resolver, Resolving, Runner, SockName, Transport, create_task, get_running_loop,
    open_connection, open_connection_sock, run, timeout, yield_now,
};
use socket2::SockRef;

use loop_support::Reports;
use net_support::{error_of, tcp_pair};

mod loop_support;
mod net_support;

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ECONNREFUSED: i32 = 111;
const EADDRINUSE: i32 = 98;
const O_NONBLOCK: u32 = 0o4000;

// ── connecting, and what it fails with ──────────────────────────────────────────

#[test]
fn con_01_a_request_and_the_answer_to_its_end() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let serving = thread::spawn(move || {
            let (mut client, _address) = listener.accept()?;
            let mut request = [0; 18];
            client.read_exact(&mut request)?;
            client.write_all(b"HTTP/1.0 200 OK\r\n\r\nthe body\n")?;
            io::Result::Ok(request)
        });
        let event_loop = EventLoop::new()?;
        let reports = Reports::of(&event_loop);
        event_loop.run_until_complete(async move {
            let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
            writer.write(b"GET / HTTP/1.0\r\n\r\n");
            assert_eq!(reader.readline().await?, b"HTTP/1.0 200 OK\r\n");
            assert_eq!(reader.read_all().await?, b"\r\nthe body\n");
            writer.close();
            writer.wait_closed().await
        })??;
        let request = serving.join().expect("the server does not panic")?;
        assert_eq!(&request, b"GET / HTTP/1.0\r\n\r\n");
        assert!(reports.is_empty(), "{:?}", reports.take());
        Ok(())
    })
}

#[test]
fn con_02_a_port_without_listener_is_an_error_with_the_address_and_the_number() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let refusing = Refusing::new()?;
        run(async move {
            let port = refusing.address.port();
            let error = error_of(open_connection("127.0.0.1", port).await);
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(number_of(&error), Some(ECONNREFUSED));
            assert_eq!(
                error.to_string(),
                format!("Connect call failed 127.0.0.1:{port}: Connection refused (os error 111)")
            );
            io::Result::Ok(())
        })
    })
}

// CON-04 is in the documentation of `Connect`, as code that does not compile.

#[test]
fn con_05_what_is_no_stream_socket_is_refused_before_anything_is_done_to_it() -> io::Result<()> {
    no_descriptor_is_left(|| {
        run(async {
            let udp = UdpSocket::bind((LOCALHOST, 0))?;
            let kept = udp.try_clone()?;
            let fd = udp.as_raw_fd();
            let error = error_of(open_connection_sock(udp).await);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            let expected = format!("A Stream Socket was expected, got <socket fd={fd} ");
            assert!(text.starts_with(&expected), "{text}");
            let is_blocking = flags_of(&kept)? & O_NONBLOCK == 0;
            assert!(is_blocking, "it shares its flags with the one refused");

            let handle = get_running_loop()?;
            let never = || -> Nothing { unreachable!("nothing is connected") };
            let refused = handle.connect_accepted_socket(never, kept).await;
            assert_eq!(error_of(refused).kind(), ErrorKind::InvalidInput);
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_06_a_socket_in_blocking_mode_is_taken_over_and_made_not_to_block() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let (ours, mut theirs) = tcp_pair()?;
        let flags = ours.try_clone()?;
        assert_eq!(flags_of(&flags)? & O_NONBLOCK, 0);
        run(async move {
            let (mut reader, writer) = open_connection_sock(ours).await?;
            assert_ne!(flags_of(&flags)? & O_NONBLOCK, 0);
            theirs.write_all(b"ping\n")?;
            assert_eq!(reader.readline().await?, b"ping\n");
            drop(flags);
            writer.aclose().await
        })
    })
}

#[test]
fn a_connection_that_is_given_up_before_it_is_made_is_closed() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let (ours, mut theirs) = tcp_pair()?;
        run(async move {
            let handle = get_running_loop()?;
            let connecting = handle.create_connection_sock(|| Nothing, ours);
            let mut connecting = connecting.into_future();
            let begun = poll_fn(|cx| Poll::Ready(connecting.as_mut().poll(cx))).await;
            assert!(begun.is_pending(), "connection_made comes later");
            drop(connecting);
            while handle.census().sources > 0 {
                yield_now().await;
            }
            let mut received = Vec::new();
            theirs.read_to_end(&mut received)?; // which ends
            assert_eq!(received, b"");
            io::Result::Ok(())
        })
    })
}

#[test]
fn a_connection_that_was_accepted_elsewhere_gets_a_protocol() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let (mut client, accepted) = tcp_pair()?;
        run(async move {
            let handle = get_running_loop()?;
            let transport = handle.connect_accepted_socket(|| Nothing, accepted).await?;
            transport.write(b"hello");
            transport.close();
            io::Result::Ok(())
        })?;
        let mut received = Vec::new();
        client.read_to_end(&mut received)?;
        assert_eq!(received, b"hello");
        Ok(())
    })
}

#[test]
fn con_08_a_hundred_connects_to_a_black_hole_are_cancelled_and_leave_nothing() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let black_hole = BlackHole::new(LOCALHOST.into())?;
        let port = black_hole.address.port();
        let event_loop = EventLoop::new()?;
        event_loop.run_until_complete(async move {
            let before = descriptors()?;
            let connects: Vec<_> = (0..100)
                .map(|_| create_task(async move { open_connection("127.0.0.1", port).await }))
                .collect();
            yield_now().await;
            assert_eq!(descriptors()?, before + 100, "each has its socket");
            for connect in &connects {
                assert!(connect.cancel());
            }
            for connect in connects {
                assert!(connect.await.is_err_and(|error| error.is_cancelled()));
            }
            assert_eq!(descriptors()?, before);
            io::Result::Ok(())
        })??;
        assert_eq!(event_loop.census().sources, 0);
        Ok(())
    })
}

// There is no second connect(2), which would give EISCONN or EALREADY: an attempt waits for
// its one connect, also for one that a signal interrupted.
#[test]
fn con_09_a_connect_fails_as_such_whether_at_once_or_later() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let refusing = Refusing::new()?;
        run(async move {
            let port = refusing.address.port();
            // Later: the loopback's refusal is told by SO_ERROR.
            let later = error_of(open_connection("127.0.0.1", port).await);
            assert_eq!(number_of(&later), Some(ECONNREFUSED));
            // At once: TCP has no broadcasts, so connect(2) itself refuses.
            let at_once = error_of(open_connection("255.255.255.255", port).await);
            assert!(number_of(&at_once).is_some(), "{at_once}");
            let text = at_once.to_string();
            let expected = format!("Connect call failed 255.255.255.255:{port}: ");
            assert!(text.starts_with(&expected), "{text}");
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_11_a_connect_to_a_black_hole_ends_with_its_time_limit() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let black_hole = BlackHole::new(LOCALHOST.into())?;
        let port = black_hole.address.port();
        run(async move {
            let patience = Duration::from_millis(50);
            let began = Instant::now();
            let before = descriptors()?;
            let connected = timeout(patience, open_connection("127.0.0.1", port)).await;
            assert!(connected.is_err());
            assert!(began.elapsed() >= patience);
            assert_eq!(descriptors()?, before);
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_14_ipv6_works_where_there_is_one() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            Ok(listener) => listener,
            Err(_) => {
                // Without IPv6, connecting says so, with the address.
                let error = error_of(run(async { open_connection("::1", 80).await.map(drop) }));
                assert!(error.to_string().contains("[::1]:80"), "{error}");
                return Ok(());
            }
        };
        let address = listener.local_addr()?;
        run(async move {
            let (_reader, writer) = open_connection("::1", address.port()).await?;
            let peer = writer.get_extra_info(PeerName);
            assert_eq!(peer.and_then(|peer| peer.as_inet()), Some(address));
            drop(listener);
            writer.aclose().await
        })
    })
}

#[test]
fn con_15_a_resolver_without_an_answer_is_an_error() -> io::Result<()> {
    no_descriptor_is_left(|| {
        run(async {
            get_running_loop()?.set_resolver(Table::of(&[]));
            let text = "getaddrinfo() returned empty list";
            let remote = open_connection("mill.example", 80).await;
            assert_eq!(error_of(remote).to_string(), text);
            let local = open_connection("127.0.0.1", 80).local_addr("mill.example", 0);
            assert_eq!(error_of(local.await).to_string(), text);
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_16_connecting_takes_three_polls_and_no_thread() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let polls = run(async move {
            // No thread can be had from now on.
            let handle = get_running_loop()?;
            handle.shutdown_default_executor(None).await;
            let mut polls = 0;
            let mut connecting = pin!(open_connection("127.0.0.1", port).into_future());
            let connected = poll_fn(|cx| {
                polls += 1;
                connecting.as_mut().poll(cx)
            });
            let (_reader, writer) = connected.await?;
            writer.aclose().await?;
            io::Result::Ok(polls)
        })?;
        assert!(polls <= 3, "{polls} polls");
        Ok(())
    })
}

#[test]
fn con_18_a_peer_that_is_gone_before_we_look_was_there_all_the_same() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        for reset in [false, true] {
            let event_loop = EventLoop::new()?;
            let connecting = event_loop.create_task(async move {
                let (mut reader, _writer) = open_connection("127.0.0.1", port).await?;
                Ok(reader.read_all().await?)
            });
            event_loop.turn(Some(Duration::ZERO))?; // the connect is under way
            let (mut peer, _address) = listener.accept()?;
            peer.write_all(b"abc")?;
            if reset {
                // It ends in the middle of things: an error may be told, never a panic.
                SockRef::from(&peer).set_linger(Some(Duration::ZERO))?;
            } else {
                peer.shutdown(Shutdown::Write)?;
            }
            drop(peer);
            let read = event_loop.run_until_complete(connecting)?;
            let read: io::Result<_> = read.expect("the task does not panic");
            if !reset {
                assert_eq!(read?, b"abc");
            } else if let Err(error) = read {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
            }
        }
        Ok(())
    })
}

#[test]
fn con_22_a_limit_of_zero_is_refused_before_anything_is_looked_up() -> io::Result<()> {
    no_descriptor_is_left(|| {
        run(async {
            let table = Table::of(&[]);
            get_running_loop()?.set_resolver(table.clone());
            let error = error_of(open_connection("mill.example", 80).limit(0).await);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(table.asked.take(), []);
            io::Result::Ok(())
        })
    })
}

// ── the keyword arguments ───────────────────────────────────────────────────────

#[test]
fn con_13_a_connection_comes_from_the_address_that_was_asked_for() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let from_port = Refusing::new()?.address.port(); // free again at once
        run(async move {
            for (host, from_port) in [("127.0.0.2", 0), ("127.0.0.3", from_port)] {
                let connecting = open_connection("127.0.0.1", port).local_addr(host, from_port);
                let (_reader, writer) = connecting.await?;
                let own = writer
                    .get_extra_info(SockName)
                    .and_then(|own| own.as_inet());
                let own = own.expect("it is an internet address");
                assert_eq!(own.ip().to_string(), host);
                assert!(from_port == 0 || own.port() == from_port, "{own}");
                let (_client, peer) = listener.accept()?;
                assert_eq!(peer, own);
            }
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_13_an_address_of_ours_that_is_taken_is_named() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let taken = TcpListener::bind((LOCALHOST, 0))?;
        let taken_port = taken.local_addr()?.port();
        run(async move {
            let connecting = open_connection("127.0.0.1", port);
            let error = error_of(connecting.local_addr("127.0.0.1", taken_port).await);
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert_eq!(number_of(&error), Some(EADDRINUSE));
            assert_eq!(
                error.to_string(),
                format!(
                    "error while attempting to bind on address 127.0.0.1:{taken_port}: \
                     address already in use"
                )
            );
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_13_the_first_of_our_addresses_that_works_is_taken_and_the_others_are_told() -> io::Result<()>
{
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let refusing = Refusing::new()?;
        let taken = TcpListener::bind((LOCALHOST, 0))?;
        let taken = taken.local_addr().map(|address| (taken, address))?;
        run(async move {
            let (_kept, taken) = taken;
            let ours = [
                SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), // of another family
                taken,
                SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)),
            ];
            get_running_loop()?.set_resolver(Table::of(&ours));
            let connecting = open_connection("127.0.0.1", port).local_addr("mill.example", 0);
            let (_reader, writer) = connecting.await?;
            let own = writer
                .get_extra_info(SockName)
                .and_then(|own| own.as_inet());
            assert_eq!(own.map(|own| own.ip()), Some(ours[2].ip()));

            let refusing = refusing.address;
            let connecting =
                open_connection("127.0.0.1", refusing.port()).local_addr("mill.example", 0);
            let error = error_of(connecting.await);
            assert_eq!(
                error.to_string(),
                format!(
                    "Multiple exceptions: error while attempting to bind on address {taken}: \
                     address already in use, Connect call failed \
                     {refusing}: Connection refused (os error 111)"
                )
            );
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_13_each_address_of_ours_that_fails_is_told() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let taken = [
            TcpListener::bind((LOCALHOST, 0))?,
            TcpListener::bind((LOCALHOST, 0))?,
        ];
        run(async move {
            let ours = [taken[0].local_addr()?, taken[1].local_addr()?];
            get_running_loop()?.set_resolver(Table::of(&ours));
            let connecting = open_connection("127.0.0.1", 9).local_addr("mill.example", 0);
            let error = error_of(connecting.await);
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            let cannot = "error while attempting to bind on address";
            assert_eq!(
                error.to_string(),
                format!(
                    "Multiple exceptions: {cannot} {}: address already in use, \
                     {cannot} {}: address already in use",
                    ours[0], ours[1]
                )
            );
            io::Result::Ok(())
        })
    })
}

#[test]
fn con_13_an_address_of_ours_of_another_family_does_not_match() -> io::Result<()> {
    no_descriptor_is_left(|| {
        run(async {
            let connecting = open_connection("127.0.0.1", 9).local_addr("::1", 0);
            let error = error_of(connecting.await);
            assert_eq!(
                error.to_string(),
                "no matching local address with family=AF_INET found"
            );
            io::Result::Ok(())
        })
    })
}

#[test]
fn a_family_narrows_the_addresses_and_no_host_is_the_loopback() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        run(async move {
            let hosts = [None, Some("localhost"), Some("127.0.0.1")];
            for host in hosts {
                let connecting = open_connection(host, address.port()).family(Family::V4);
                let (_reader, writer) = connecting.await?;
                let peer = writer.get_extra_info(PeerName);
                assert_eq!(peer.and_then(|peer| peer.as_inet()), Some(address));
            }
            // Either family: the one that nobody serves fails, and the other one is tried.
            let (_reader, _writer) = open_connection(None::<&str>, address.port()).await?;
            let error = error_of(open_connection("", address.port()).await);
            let text = error.to_string();
            assert!(text.starts_with("cannot resolve host \"\": "), "{text}");
            drop(listener);
            io::Result::Ok(())
        })
    })
}

#[test]
fn family_proto_and_flags_reach_the_resolver() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let listener = TcpListener::bind((LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        run(async move {
            let table = Table::of(&[address]);
            get_running_loop()?.set_resolver(table.clone());
            let (_reader, _writer) = open_connection("mill.example", 80)
                .family(Family::V4)
                .proto(6)
                .flags(AddrInfoFlags::ADDRCONFIG)
                .await?;
            let asked = table.asked.take();
            let [query] = &asked[..] else {
                panic!("asked once, not {asked:?}");
            };
            assert_eq!(query.host, "mill.example");
            assert_eq!((query.port, query.family, query.proto), (80, Family::V4, 6));
            assert_eq!(query.flags, AddrInfoFlags::ADDRCONFIG);
            drop(listener);
            io::Result::Ok(())
        })
    })
}

#[test]
fn a_protocol_without_stream_sockets_is_an_error_with_the_address() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let udp = 17;
        let error = run(async move {
            let connecting = open_connection("127.0.0.1", 9).proto(udp);
            io::Result::Ok(error_of(connecting.await))
        })?;
        let text = error.to_string();
        assert!(
            text.starts_with("no socket to connect to 127.0.0.1:9: "),
            "{text}"
        );
        assert!(number_of(&error).is_some());
        Ok(())
    })
}

#[test]
fn a_zone_leads_to_an_interface() -> io::Result<()> {
    no_descriptor_is_left(|| {
        run(async {
            // The loopback has no such address: what matters is where the connect went.
            let error = error_of(open_connection("fe80::1%lo", 9).await);
            let text = error.to_string();
            assert!(
                text.starts_with("Connect call failed [fe80::1%1]:9: "),
                "{text}"
            );
            io::Result::Ok(())
        })
    })
}

#[test]
fn addresses_are_tried_in_their_order_and_the_first_that_accepts_is_taken() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let refused = [Refusing::new()?, Refusing::new()?];
        let (first, second) = (
            Listener::new(LOCALHOST.into())?,
            Listener::new(LOCALHOST.into())?,
        );
        run(async move {
            let order = [
                refused[0].address,
                refused[1].address,
                first.address,
                second.address,
            ];
            get_running_loop()?.set_resolver(Table::of(&order));
            let (_reader, writer) = open_connection("mill.example", 80).await?;
            let peer = writer
                .get_extra_info(PeerName)
                .and_then(|peer| peer.as_inet());
            assert_eq!(peer, Some(first.address));
            assert_eq!((first.accepted()?, second.accepted()?), (1, 0));
            io::Result::Ok(())
        })
    })
}

#[test]
fn several_failures_are_listed_and_can_be_had_one_by_one() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let refused = [Refusing::new()?, Refusing::new()?];
        run(async move {
            let order = [0, 1, 0].map(|nth: usize| refused[nth].address);
            get_running_loop()?.set_resolver(Table::of(&order));
            for delay in [None, Some(Duration::ZERO), Some(Duration::from_secs(60))] {
                let mut connecting = open_connection("mill.example", 80);
                if let Some(delay) = delay {
                    connecting = connecting.happy_eyeballs_delay(delay);
                }
                let error = error_of(connecting.await);
                let texts = order.map(|address| {
                    format!("Connect call failed {address}: Connection refused (os error 111)")
                });
                let expected = format!("Multiple exceptions: {}", texts.join(", "));
                assert_eq!(error.to_string(), expected);
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                assert_eq!(error.raw_os_error(), None);
                let each = group_in(&error).errors();
                assert_eq!(each.len(), 3);
                for error in each {
                    assert_eq!(number_of(error), Some(ECONNREFUSED));
                }
            }
            io::Result::Ok(())
        })
    })
}

#[test]
fn failures_that_are_all_the_same_are_one_unless_all_are_wanted() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let refusing = Refusing::new()?;
        run(async move {
            let refused = refusing.address;
            let text = format!("Connect call failed {refused}: Connection refused (os error 111)");
            for count in [1, 3] {
                get_running_loop()?.set_resolver(Table::of(&vec![refused; count]));
                let one = error_of(open_connection("mill.example", 80).await);
                assert_eq!(one.to_string(), text);
                assert_eq!(number_of(&one), Some(ECONNREFUSED));

                let all = open_connection("mill.example", 80).all_errors(true);
                let all = error_of(all.await);
                assert_eq!(all.to_string(), "create_connection failed");
                let all = group_in(&all).errors();
                assert_eq!(all.len(), count);
                assert!(all.iter().all(|error| error.to_string() == text));
            }
            io::Result::Ok(())
        })
    })
}

// ── Happy Eyeballs ──────────────────────────────────────────────────────────────

#[test]
fn a_race_passes_by_a_black_hole_and_a_refusal() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let black_hole = BlackHole::new(Ipv4Addr::new(127, 0, 0, 2).into())?;
        let refused = Refusing::new()?;
        let listener = Listener::new(Ipv4Addr::new(127, 0, 0, 3).into())?;
        run(async move {
            let order = [black_hole.address, refused.address, listener.address];
            get_running_loop()?.set_resolver(Table::of(&order));
            let before = descriptors()?;
            let began = Instant::now();
            let connecting = open_connection("mill.example", 80);
            let (_reader, writer) = connecting.happy_eyeballs().await?;
            let took = began.elapsed();
            let peer = writer
                .get_extra_info(PeerName)
                .and_then(|peer| peer.as_inet());
            assert_eq!(peer, Some(listener.address));
            assert_eq!(descriptors()?, before + 1, "the winner's");
            assert!(took >= Duration::from_millis(250), "{took:?}");
            io::Result::Ok(())
        })
    })
}

#[test]
fn happy_eyeballs_waits_250_milliseconds_for_an_address() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let black_hole = BlackHole::new(Ipv4Addr::new(127, 0, 0, 2).into())?;
        let listener = Listener::new(Ipv4Addr::new(127, 0, 0, 3).into())?;
        let runner = Runner::on(EventLoop::with_clock(Clock::simulated())?);
        runner.run(async move {
            let handle = get_running_loop()?;
            handle.set_resolver(Table::of(&[black_hole.address, listener.address]));
            let connecting = open_connection("mill.example", 80);
            let (_reader, _writer) = connecting.happy_eyeballs().await?;
            assert_eq!(handle.time(), Duration::from_millis(250));
            io::Result::Ok(())
        })
    })
}

#[test]
fn the_families_take_turns_in_a_race() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let holes = [
            BlackHole::new(Ipv4Addr::new(127, 0, 0, 2).into())?,
            BlackHole::new(Ipv4Addr::new(127, 0, 0, 3).into())?,
        ];
        let Ok(v6) = Listener::new(Ipv6Addr::LOCALHOST.into()) else {
            return Ok(()); // no IPv6 here
        };
        run(async move {
            let order = [holes[0].address, holes[1].address, v6.address];
            get_running_loop()?.set_resolver(Table::of(&order));
            // The only address of the other family is the second one to be tried; in the
            // resolver's order, the third.
            for (interleave, expected) in [(None, 2), (Some(1), 2), (Some(0), 3)] {
                let mut connecting = open_connection("mill.example", 80)
                    .happy_eyeballs_delay(Duration::from_millis(10));
                if let Some(count) = interleave {
                    connecting = connecting.interleave(count);
                }
                let before = descriptors()?;
                let mut connecting = pin!(connecting.into_future());
                let mut most = 0;
                let connected = poll_fn(|cx| {
                    let polled = connecting.as_mut().poll(cx);
                    most = most.max(descriptors().unwrap_or(before) - before);
                    polled
                });
                let (_reader, writer) = connected.await?;
                let peer = writer
                    .get_extra_info(PeerName)
                    .and_then(|peer| peer.as_inet());
                assert_eq!(peer, Some(v6.address));
                assert_eq!(most, expected, "sockets with interleave {interleave:?}");
                writer.aclose().await?;
                assert_eq!(descriptors()?, before);
            }
            io::Result::Ok(())
        })
    })
}

#[test]
fn a_race_that_is_cancelled_closes_all_its_sockets() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let holes = [
            BlackHole::new(Ipv4Addr::new(127, 0, 0, 2).into())?,
            BlackHole::new(Ipv4Addr::new(127, 0, 0, 3).into())?,
            BlackHole::new(Ipv4Addr::new(127, 0, 0, 4).into())?,
        ];
        let event_loop = EventLoop::new()?;
        event_loop.run_until_complete(async move {
            let order = holes.each_ref().map(|hole| hole.address);
            get_running_loop()?.set_resolver(Table::of(&order));
            let before = descriptors()?;
            let racing = create_task(async {
                let connecting = open_connection("mill.example", 80);
                connecting.happy_eyeballs_delay(Duration::ZERO).await
            });
            while descriptors()? < before + 3 {
                yield_now().await;
            }
            assert!(racing.cancel());
            assert!(racing.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(descriptors()?, before);
            io::Result::Ok(())
        })??;
        let census = event_loop.census();
        assert_eq!((census.sources, census.tasks), (0, 0));
        Ok(())
    })
}

#[test]
fn a_loop_closed_during_a_race_closes_all_its_sockets() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let hole = BlackHole::new(LOCALHOST.into())?;
        let event_loop = EventLoop::new()?;
        event_loop.set_resolver(Table::of(&[hole.address; 4]));
        let _racing = event_loop.create_task(async {
            let connecting = open_connection("mill.example", 80);
            connecting.happy_eyeballs_delay(Duration::ZERO).await
        });
        for _ in 0..20 {
            event_loop.turn(Some(Duration::ZERO))?;
        }
        assert_eq!(event_loop.census().sources, 4);
        event_loop.close()?;
        Ok(())
    })
}

#[test]
fn exactly_one_descriptor_survives_each_of_a_thousand_races() -> io::Result<()> {
    no_descriptor_is_left(|| {
        let hole = BlackHole::new(Ipv4Addr::new(127, 0, 0, 2).into())?;
        let refused = Refusing::new()?;
        let mut listeners = Vec::new();
        for last in 3..7 {
            listeners.push(Listener::new(Ipv4Addr::new(127, 0, 0, last).into())?);
        }
        let event_loop = EventLoop::new()?;
        let inside = event_loop.handle();
        let accepted = event_loop.run_until_complete(async move {
            let table = Table::of(&[]);
            inside.set_resolver(table.clone());
            let mut accepted = 0;
            for nth in 0..1000 {
                // Several can connect in the turn in which the first one does.
                let mut order = vec![hole.address, refused.address];
                order.extend(listeners.iter().map(|listener| listener.address));
                order.rotate_left(nth % 6);
                *table.addresses.borrow_mut() = order;
                let before = descriptors()?;
                let connecting = open_connection("mill.example", 80);
                let delay = Duration::from_micros(10 * (nth as u64 % 4));
                let (reader, writer) = connecting.happy_eyeballs_delay(delay).await?;
                assert_eq!(descriptors()?, before + 1, "race {nth}");
                assert_eq!(inside.census().sources, 1, "race {nth}");
                drop(reader);
                writer.aclose().await?;
                for listener in &listeners {
                    accepted += listener.accepted()?;
                }
            }
            io::Result::Ok(accepted)
        })??;
        assert!(accepted >= 1000, "{accepted}");
        println!("1000 races, {accepted} connections were made, one was kept of each race");
        Ok(())
    })
}

// ── tools ───────────────────────────────────────────────────────────────────────

/// Runs one test at a time, and checks that it leaves as many descriptors as it found.
fn no_descriptor_is_left(test: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = descriptors()?;
    test()?;
    assert_eq!(descriptors()?, before, "descriptors");
    Ok(())
}

/// The number of open descriptors.
fn descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// A protocol that does nothing.
struct Nothing;

impl Protocol for Nothing {
    fn connection_made(&mut self, _transport: &Rc<dyn Transport>) {}
}

/// A resolver that has one answer for all names, and remembers what it was asked.
#[derive(Clone, Default)]
struct Table {
    addresses: Rc<RefCell<Vec<SocketAddr>>>,
    asked: Rc<RefCell<Vec<HostQuery>>>,
}

impl Table {
    fn of(addresses: &[SocketAddr]) -> Table {
        let table = Table::default();
        table.addresses.borrow_mut().extend(addresses);
        table
    }
}

impl Resolver for Table {
    fn getaddrinfo<'a>(&'a self, query: &'a HostQuery) -> Resolving<'a> {
        self.asked.borrow_mut().push(query.clone());
        let addresses = self.addresses.borrow().clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// A listener that lets connections pile up, and tells how many there were.
struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    fn new(ip: IpAddr) -> io::Result<Listener> {
        let listener = TcpListener::bind((ip, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Listener { listener, address })
    }

    /// How many have connected since the last call.
    fn accepted(&self) -> io::Result<usize> {
        let mut accepted = 0;
        loop {
            match self.listener.accept() {
                Ok(_) => accepted += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(accepted),
                Err(error) => return Err(error),
            }
        }
    }
}

/// An address that neither accepts nor refuses: the backlog of its listener is full.
struct BlackHole {
    address: SocketAddr,
    _listener: socket2::Socket,
    _fills: Vec<socket2::Socket>,
}

impl BlackHole {
    fn new(ip: IpAddr) -> io::Result<BlackHole> {
        let stream = || {
            let domain = socket2::Domain::for_address(SocketAddr::new(ip, 0));
            socket2::Socket::new(domain, socket2::Type::STREAM, None)
        };
        let listener = stream()?;
        listener.bind(&SocketAddr::new(ip, 0).into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket();
        let address = address.expect("it is an internet address");
        let mut fills = Vec::new();
        for _ in 0..8 {
            let fill = stream()?;
            fill.set_nonblocking(true)?;
            let _in_progress = fill.connect(&address.into());
            fills.push(fill);
        }
        Ok(BlackHole {
            address,
            _listener: listener,
            _fills: fills,
        })
    }
}

/// An address that refuses: a socket is bound to it, which does not listen. So nobody else
/// can, and no connection can come from there to itself.
struct Refusing {
    address: SocketAddr,
    _bound: socket2::Socket,
}

impl Refusing {
    fn new() -> io::Result<Refusing> {
        let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        bound.bind(&SocketAddr::from((LOCALHOST, 0)).into())?;
        let address = bound.local_addr()?.as_socket();
        Ok(Refusing {
            address: address.expect("it is an internet address"),
            _bound: bound,
        })
    }
}

/// The flags that the system has for an open socket.
fn flags_of(socket: &impl AsRawFd) -> io::Result<u32> {
    let path = format!("/proc/self/fdinfo/{}", socket.as_raw_fd());
    let info = fs::read_to_string(path)?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.ok_or_else(|| io::Error::other(info.clone()))?;
    u32::from_str_radix(flags.trim(), 8).map_err(io::Error::other)
}

/// The system's number for an error, or for what it explains.
fn number_of(error: &io::Error) -> Option<i32> {
    let explained: Option<&io::Error> = error.source().and_then(|source| source.downcast_ref());
    let of_explained = explained.and_then(io::Error::raw_os_error);
    error.raw_os_error().or(of_explained)
}

fn group_in(error: &io::Error) -> &ConnectErrors {
    let group = error.get_ref().and_then(|group| group.downcast_ref());
    group.expect("it stands for several")
}
