//! Endpoints for datagrams, on real sockets.

mod loop_support;

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;

use loop_support::Reports;
use millstream::{
    Address, ConnError, DatagramProtocol, DatagramTransport, Family, PeerName, SockName, Socket,
    get_running_loop, run, yield_now,
};

type Told = Rc<RefCell<Vec<String>>>;

/// What a clerk does beside writing down what it is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    None,
    Echo,
    PanicAt(&'static str),
}

/// Writes down what it is told.
struct Clerk {
    told: Told,
    habit: Habit,
}

fn clerk(habit: Habit) -> (impl FnOnce() -> Clerk, Told) {
    let told = Told::default();
    let kept = told.clone();
    (move || Clerk { told: kept, habit }, told)
}

impl Clerk {
    fn note(&self, name: &'static str, what: impl Into<String>) {
        self.told.borrow_mut().push(what.into());
        assert!(self.habit != Habit::PanicAt(name), "{name} was to panic");
    }
}

impl DatagramProtocol for Clerk {
    fn connection_made(&mut self, _transport: &Rc<dyn DatagramTransport>) {
        self.note("made", "made");
    }

    fn datagram_received(
        &mut self,
        transport: &Rc<dyn DatagramTransport>,
        data: &[u8],
        sender: &Address,
    ) {
        self.note(
            "datagram",
            format!("got {:?}", data.escape_ascii().to_string()),
        );
        if self.habit == Habit::Echo {
            transport
                .sendto(data, Some(sender))
                .expect("it can be reached");
        }
    }

    fn error_received(&mut self, _transport: &Rc<dyn DatagramTransport>, error: ConnError) {
        self.note("error", format!("error {:?}", error.kind()));
    }

    fn connection_lost(&mut self, error: Option<ConnError>) {
        self.note("lost", format!("lost {}", error.is_some()));
    }

    fn pause_writing(&mut self, _transport: &Rc<dyn DatagramTransport>) {
        self.note("pause", "pause");
    }

    fn resume_writing(&mut self, _transport: &Rc<dyn DatagramTransport>) {
        self.note("resume", "resume");
    }
}

/// Lets turns pass until something was written down that often.
async fn until(told: &Told, count: usize) {
    while told.borrow().len() < count {
        yield_now().await;
    }
}

fn address_of(transport: &Rc<dyn DatagramTransport>) -> Address {
    transport.get_extra_info(SockName).expect("it is bound")
}

// ------------------------------------------------------------- sending and receiving

#[test]
fn each_datagram_is_echoed_whole_the_empty_one_too() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let (factory, server_told) = clerk(Habit::Echo);
        let server = handle
            .create_datagram_endpoint(factory)
            .local_addr("127.0.0.1", 0)
            .await?;
        let address = address_of(&server);
        let (factory, told) = clerk(Habit::None);
        let client = handle
            .create_datagram_endpoint(factory)
            .remote_addr("127.0.0.1", address.port().unwrap_or(0))
            .await?;
        assert_eq!(client.get_extra_info(PeerName), Some(address.clone()));
        assert_eq!(server.get_extra_info(PeerName), None);

        client.sendto(b"one", None)?;
        client.sendto(b"", Some(&address))?;
        client.sendto(b"three", None)?;
        until(&told, 4).await;
        let received = ["made", "got \"one\"", "got \"\"", "got \"three\""];
        assert_eq!(*told.borrow(), received);

        client.close();
        assert!(client.is_closing());
        server.abort();
        until(&told, 5).await;
        assert_eq!(told.borrow()[4], "lost false");
        until(&server_told, 5).await;
        assert_eq!(server_told.borrow()[4], "lost false");
        yield_now().await;
        assert_eq!(handle.census().sources, 0);
        Ok(())
    })
}

#[test]
fn one_datagram_is_received_a_turn() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let (factory, told) = clerk(Habit::None);
        let server = handle
            .create_datagram_endpoint(factory)
            .local_addr("127.0.0.1", 0)
            .await?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to = address_of(&server).as_inet().expect("it is one");
        for _ in 0..5 {
            sender.send_to(b"x", to)?;
        }
        let mut most = 0;
        while told.borrow().len() < 6 {
            let before = told.borrow().len();
            yield_now().await;
            most = most.max(told.borrow().len() - before);
        }
        assert_eq!(most, 1);
        Ok(())
    })
}

#[test]
fn a_refused_datagram_is_an_error_and_not_the_end() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (factory, told) = clerk(Habit::None);
        let client = handle
            .create_datagram_endpoint(factory)
            .remote_addr("127.0.0.1", nobody.port())
            .await?;
        client.sendto(b"anybody?", None)?;
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "error ConnectionRefused"]);
        assert!(!client.is_closing());
        Ok(())
    })
}

#[test]
fn an_error_of_sending_is_told_after_sendto_has_returned() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let (factory, told) = clerk(Habit::None);
        let client = handle
            .create_datagram_endpoint(factory)
            .local_addr("127.0.0.1", 0)
            .await?;
        let too_long = vec![0; 100_000];
        client.sendto(&too_long, Some(&address_of(&client)))?;
        assert_eq!(*told.borrow(), ["made"]);
        until(&told, 2).await;
        assert!(told.borrow()[1].starts_with("error "), "{told:?}");
        client.sendto(b"short", Some(&address_of(&client)))?;
        until(&told, 3).await;
        assert_eq!(told.borrow()[2], "got \"short\"");
        Ok(())
    })
}

#[test]
fn addresses_that_make_no_sense_are_refused_by_sendto() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let (factory, _) = clerk(Habit::None);
        let server = handle
            .create_datagram_endpoint(factory)
            .local_addr("127.0.0.1", 0)
            .await?;
        let here = address_of(&server);
        let (factory, _) = clerk(Habit::None);
        let client = handle
            .create_datagram_endpoint(factory)
            .remote_addr("127.0.0.1", here.port().unwrap_or(0))
            .await?;
        let elsewhere = Address::Inet(([127, 0, 0, 1], 1).into());
        let error = client.sendto(b"x", Some(&elsewhere)).expect_err("another");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            format!("Invalid address: must be None or {here}")
        );
        for to in [None, Some(&Address::Unnamed)] {
            let error = server.sendto(b"x", to).expect_err("nowhere");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        Ok(())
    })
}

// ------------------------------------------------------------- the queue

/// An endpoint on one end of a pair, which can be filled up.
async fn on_a_pair(habit: Habit) -> io::Result<(Rc<dyn DatagramTransport>, UnixDatagram, Told)> {
    let (ours, theirs) = UnixDatagram::pair()?;
    let (factory, told) = clerk(habit);
    let transport = get_running_loop()?
        .create_datagram_endpoint(factory)
        .sock(ours)
        .await?;
    Ok((transport, theirs, told))
}

/// Sends datagrams of so many bytes until one is queued, and returns how many were sent.
fn fill_up(transport: &Rc<dyn DatagramTransport>, len: usize) -> io::Result<usize> {
    let mut sent = 0;
    while transport.get_write_buffer_size() == 0 {
        transport.sendto(&vec![b'x'; len], None)?;
        sent += 1;
    }
    Ok(sent)
}

#[test]
fn what_has_no_room_is_queued_with_eight_bytes_more_and_sent_in_order() -> io::Result<()> {
    run(async {
        let (transport, theirs, told) = on_a_pair(Habit::None).await?;
        let sent = fill_up(&transport, 1000)?;
        assert_eq!(transport.get_write_buffer_size(), 1008);
        transport.sendto(b"", None)?;
        assert_eq!(transport.get_write_buffer_size(), 1016);
        transport.sendto(b"last", None)?;
        assert_eq!(transport.get_write_buffer_size(), 1028);
        transport.close();
        assert!(!told.borrow().contains(&"lost false".to_owned()));

        theirs.set_nonblocking(true)?;
        let mut lengths = Vec::new();
        let mut buffer = [0; 2000];
        while lengths.len() < sent + 2 {
            match theirs.recv(&mut buffer) {
                Ok(len) => lengths.push(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => yield_now().await,
                Err(error) => return Err(error),
            }
        }
        assert!(lengths[..sent].iter().all(|len| *len == 1000));
        assert_eq!(lengths[sent..], [0, 4]);
        assert_eq!(&buffer[..4], b"last");
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "lost false"]);
        Ok(())
    })
}

#[test]
fn writing_is_paused_above_the_mark_and_resumed_at_the_low_one() -> io::Result<()> {
    run(async {
        let (transport, theirs, told) = on_a_pair(Habit::None).await?;
        transport.set_write_buffer_limits(Some(3000), Some(1008))?;
        assert_eq!(transport.get_write_buffer_limits(), (1008, 3000));
        fill_up(&transport, 1000)?;
        transport.sendto(&[b'x'; 1000], None)?;
        assert_eq!(*told.borrow(), ["made"]);
        transport.sendto(&[b'x'; 1000], None)?; // 3024
        assert_eq!(*told.borrow(), ["made", "pause"]);

        theirs.set_nonblocking(true)?;
        let mut buffer = [0; 2000];
        while transport.get_write_buffer_size() > 1008 {
            let _ = theirs.recv(&mut buffer);
            yield_now().await;
        }
        assert_eq!(*told.borrow(), ["made", "pause", "resume"]);
        let wrong = transport.set_write_buffer_limits(Some(1), Some(2));
        assert!(wrong.is_err());
        Ok(())
    })
}

/// R9: sixty-four of them a turn, but none is forgotten.
#[test]
fn what_is_queued_for_a_peer_that_leaves_is_told_as_errors_one_by_one() -> io::Result<()> {
    const QUEUED: usize = 200;
    run(async {
        let (transport, theirs, told) = on_a_pair(Habit::None).await?;
        fill_up(&transport, 100)?;
        for _ in 1..QUEUED {
            transport.sendto(&[b'x'; 100], None)?;
        }
        drop(theirs);
        while transport.get_write_buffer_size() > 0 {
            yield_now().await;
        }
        let errors = || {
            let told = told.borrow();
            told.iter().filter(|told| told.starts_with("error")).count()
        };
        while errors() < QUEUED {
            yield_now().await;
        }
        assert!(!transport.is_closing());
        Ok(())
    })
}

#[test]
fn an_endpoint_that_closes_is_told_of_no_datagram_any_more() -> io::Result<()> {
    run(async {
        let (transport, theirs, told) = on_a_pair(Habit::None).await?;
        let sent = fill_up(&transport, 1000)?;
        theirs.send(b"too late")?;
        transport.close(); // what is queued is still to be sent
        for _ in 0..200 {
            yield_now().await;
        }
        assert_eq!(*told.borrow(), ["made"]);
        theirs.set_nonblocking(true)?;
        let mut arrived = 0;
        while arrived < sent {
            match theirs.recv(&mut [0; 2000]) {
                Ok(_) => arrived += 1,
                Err(_) => yield_now().await,
            }
        }
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "lost false"]);
        Ok(())
    })
}

#[test]
fn an_abort_drops_what_is_queued() -> io::Result<()> {
    run(async {
        let (transport, theirs, told) = on_a_pair(Habit::None).await?;
        let sent = fill_up(&transport, 1000)?;
        transport.abort();
        assert_eq!(transport.get_write_buffer_size(), 0);
        until(&told, 2).await;
        assert_eq!(*told.borrow(), ["made", "lost false"]);
        theirs.set_nonblocking(true)?;
        let mut arrived = 0;
        while theirs.recv(&mut [0; 2000]).is_ok_and(|len| len > 0) {
            arrived += 1;
        }
        assert_eq!(arrived, sent - 1);
        for _ in 0..8 {
            transport.sendto(b"too late", None)?;
        }
        transport.close();
        transport.abort();
        Ok(())
    })
}

#[test]
fn a_peer_without_room_that_we_are_not_connected_to_is_tried_again() -> io::Result<()> {
    run(async {
        let folder = Folder::new("full-peer")?;
        let (here, there) = (folder.path("here"), folder.path("there"));
        let theirs = UnixDatagram::bind(&there)?;
        let (factory, told) = clerk(Habit::None);
        let transport = get_running_loop()?
            .create_datagram_endpoint(factory)
            .local_path(&here)
            .await?;
        assert_eq!(address_of(&transport), Address::Unix(here.clone()));
        let to = Address::Unix(there);
        let mut sent = 0;
        while transport.get_write_buffer_size() == 0 {
            transport.sendto(b"x", Some(&to))?;
            sent += 1;
        }
        theirs.set_nonblocking(true)?;
        let mut arrived = 0;
        while arrived < sent {
            match theirs.recv(&mut [0; 10]) {
                Ok(_) => arrived += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => yield_now().await,
                Err(error) => return Err(error),
            }
        }
        transport.close();
        until(&told, 2).await;

        // The path is taken over from one who left it.
        let (factory, told) = clerk(Habit::None);
        let again = get_running_loop()?
            .create_datagram_endpoint(factory)
            .local_path(&here)
            .await?;
        theirs.send_to(b"hello", &here)?;
        until(&told, 2).await;
        assert_eq!(told.borrow()[1], "got \"hello\"");
        again.close();
        Ok(())
    })
}

/// A folder of the test's own.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Folder> {
        let name = format!("millstream-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// ------------------------------------------------------------- protocols

#[test]
fn r_10_a_panic_ends_the_endpoint_or_is_reported() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let reports = Reports::of(&handle);
        for (at, message, is_fatal) in [
            (
                "made",
                "Fatal error: protocol.connection_made() call failed.",
                true,
            ),
            (
                "datagram",
                "Fatal error: protocol.datagram_received() call failed.",
                true,
            ),
            ("error", "protocol.error_received() failed", false),
            ("pause", "protocol.pause_writing() failed", false),
            (
                "lost",
                "Fatal error: protocol.connection_lost() call failed.",
                true,
            ),
        ] {
            let (transport, theirs, told) = on_a_pair(Habit::PanicAt(at)).await?;
            match at {
                "datagram" => drop(theirs.send(b"x")?),
                "error" => {
                    drop(theirs);
                    transport.sendto(b"x", None)?;
                }
                "pause" => {
                    transport.set_write_buffer_limits(Some(0), None)?;
                    fill_up(&transport, 1000)?;
                }
                "lost" => transport.close(),
                _ => {}
            }
            while reports.is_empty() {
                yield_now().await;
            }
            let report = reports.take().remove(0);
            assert_eq!(report.message, message);
            assert_eq!(transport.is_closing(), is_fatal, "{at}");
            if is_fatal {
                while !told.borrow().iter().any(|told| told.starts_with("lost")) {
                    yield_now().await;
                }
            } else {
                transport.abort();
            }
        }
        Ok(())
    })
}

#[test]
fn another_protocol_is_told_the_rest_and_that_writing_is_paused() -> io::Result<()> {
    run(async {
        let (transport, theirs, told) = on_a_pair(Habit::None).await?;
        transport.set_write_buffer_limits(Some(0), None)?;
        fill_up(&transport, 1000)?;
        let (factory, then_told) = clerk(Habit::None);
        transport.set_protocol(Box::new(factory()));
        theirs.send(b"news")?;
        until(&then_told, 2).await;
        assert_eq!(*told.borrow(), ["made", "pause"]);
        assert_eq!(*then_told.borrow(), ["pause", "got \"news\""]);
        Ok(())
    })
}

#[test]
fn the_descriptor_is_the_transports_until_it_closes() -> io::Result<()> {
    run(async {
        let (transport, _theirs, _told) = on_a_pair(Habit::None).await?;
        let fd = transport.get_extra_info(Socket).expect("it has one").fd;
        let error = get_running_loop()?.add_reader(fd, || {});
        assert_eq!(
            error.expect_err("it is owned").to_string(),
            format!("File descriptor {fd} is used by transport {transport:?}")
        );
        Ok(())
    })
}

// ------------------------------------------------------------- what can be asked for

#[test]
fn arguments_that_make_no_sense_are_named() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let endpoint = || handle.create_datagram_endpoint(clerk(Habit::None).0);
        let text = |made: io::Result<Rc<dyn DatagramTransport>>| {
            let error = made.expect_err("it makes no sense");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            error.to_string()
        };

        assert_eq!(text(endpoint().await), "unexpected address family");

        let mixed = endpoint().local_addr("127.0.0.1", 0).remote_addr("::1", 9);
        assert_eq!(text(mixed.await), "can not get address information");

        let udp = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let both = endpoint()
            .sock(udp()?)
            .allow_broadcast(true)
            .local_addr("::1", 0);
        assert_eq!(
            text(both.await),
            "socket modifier keyword arguments can not be used when sock is specified. \
             (local_addr, allow_broadcast)"
        );

        let stream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let fd = stream.as_raw_fd();
        let refused = text(endpoint().sock(stream).await);
        let expected = format!("A datagram socket was expected, got <socket fd={fd} ");
        assert!(refused.starts_with(&expected), "{refused}");
        Ok(())
    })
}

#[test]
fn a_path_that_the_kernel_would_cut_off_is_refused() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let cut = std::env::temp_dir().join(format!("millstream-{}-cut", std::process::id()));
        let mut with_nul = cut.clone().into_os_string();
        with_nul.push("\0more");
        for local in [true, false] {
            let endpoint = handle.create_datagram_endpoint(clerk(Habit::None).0);
            let endpoint = match local {
                true => endpoint.local_path(&with_nul),
                false => endpoint.remote_path(&with_nul),
            };
            let error = endpoint.await.expect_err("it is no path");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("NUL byte"), "{error}");
        }
        assert!(!cut.exists());
        io::Result::Ok(())
    })
}

#[test]
fn a_family_alone_makes_a_socket_that_sends() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (factory, _told) = clerk(Habit::None);
        let transport = handle
            .create_datagram_endpoint(factory)
            .family(Family::V4)
            .await?;
        transport.sendto(b"hello", Some(&theirs.local_addr()?.into()))?;
        let mut buffer = [0; 10];
        let len = theirs.recv(&mut buffer)?;
        assert_eq!(&buffer[..len], b"hello");
        Ok(())
    })
}

#[test]
fn a_broadcaster_is_not_connected_but_sends_to_one_address() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let theirs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let to = Address::Inet(theirs.local_addr()?);
        let (factory, told) = clerk(Habit::None);
        let transport = handle
            .create_datagram_endpoint(factory)
            .local_addr("127.0.0.1", 0)
            .remote_addr("127.0.0.1", to.port().unwrap_or(0))
            .allow_broadcast(true)
            .await?;
        assert_eq!(transport.get_extra_info(PeerName), None);
        transport.sendto(b"hello", None)?;
        transport.sendto(b"again", Some(&to))?;
        let mut buffer = [0; 10];
        for _ in 0..2 {
            assert_eq!(theirs.recv(&mut buffer)?, 5);
        }
        assert!(
            transport
                .sendto(b"x", Some(&address_of(&transport)))
                .is_err()
        );
        // Not connected: it hears others, too.
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let here = address_of(&transport).as_inet().expect("it is one");
        other.send_to(b"from another", here)?;
        until(&told, 2).await;
        Ok(())
    })
}

#[test]
fn two_share_a_port_if_both_say_so() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let on = |port| {
            handle
                .create_datagram_endpoint(clerk(Habit::None).0)
                .local_addr("127.0.0.1", port)
        };
        let one = on(0).reuse_port(true).await?;
        let port = address_of(&one).port().unwrap_or(0);
        let _other = on(port).reuse_port(true).await?;
        let error = on(port).await.expect_err("it is taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        Ok(())
    })
}

#[test]
fn a_loop_that_closes_closes_the_endpoint_and_calls_nobody() -> io::Result<()> {
    let (factory, told) = clerk(Habit::None);
    run(async {
        get_running_loop()?
            .create_datagram_endpoint(factory)
            .local_addr("127.0.0.1", 0)
            .await
            .map(drop)
    })?;
    assert_eq!(*told.borrow(), ["made"]);
    assert_eq!(Rc::strong_count(&told), 1);
    Ok(())
}
