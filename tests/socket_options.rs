//! Socket options: set before bind, before connect, and on what is accepted.
//!
//! A closure among the options keeps a duplicate of the descriptor that it is given. So
//! what became of the socket can be asked at any time, in safe code.

mod net_support;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Server, SocketOptions, StreamReader, StreamWriter, get_running_loop, open_connection,
    open_unix_connection, open_unix_connection_sock, run, start_server, start_server_sock,
    start_unix_server,
};
use net_support::{port_of, text_of};
use socket2::SockRef;

const LOCALHOST: &str = "127.0.0.1";

/// Keeps duplicates of the sockets that options are set on.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<OwnedFd>>>);

impl Kept {
    /// `options`, and after them a look at the socket.
    fn after(&self, options: SocketOptions) -> SocketOptions {
        let kept = self.0.clone();
        options.with(move |socket| {
            kept.borrow_mut().push(socket.try_clone_to_owned()?);
            Ok(())
        })
    }

    /// Looks at the sockets, oldest first, and lets go of them.
    fn take(&self) -> Vec<OwnedFd> {
        self.0.take()
    }

    #[track_caller]
    fn take_one(&self) -> OwnedFd {
        let mut sockets = self.take();
        assert_eq!(sockets.len(), 1, "the options were set once");
        sockets.remove(0)
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A path for a socket that no other test uses; nothing is there.
fn free_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("millstream-o{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

/// Says a word, and closes.
async fn greet(_reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    writer.write("welcome");
    writer.aclose().await
}

/// What a server says to whoever connects; nothing, if it closes at once. Not its end: as
/// long as a duplicate is kept, the connection stands.
async fn heard_at(port: u16) -> Vec<u8> {
    let Ok((mut reader, _writer)) = open_connection(LOCALHOST, port).await else {
        return Vec::new();
    };
    reader.read(7).await.unwrap_or_default()
}

/// One of each, none as the system has it unless it is set.
fn all_of_them() -> SocketOptions {
    let options = SocketOptions::new()
        .keep_alive(true)
        .send_buffer_size(30_000)
        .receive_buffer_size(20_000)
        .linger(Duration::ZERO)
        .type_of_service(0x10);
    if cfg!(target_os = "openbsd") {
        return options;
    }
    options
        .keep_alive_time(seconds(31))
        .keep_alive_interval(Duration::from_millis(6_001))
        .keep_alive_retries(4)
}

#[track_caller]
fn has_all_of_them(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    assert!(socket.keepalive()?);
    // Linux doubles them.
    assert!([30_000, 60_000].contains(&socket.send_buffer_size()?));
    assert!([20_000, 40_000].contains(&socket.recv_buffer_size()?));
    assert_eq!(socket.linger()?, Some(Duration::ZERO));
    assert_eq!(socket.tos_v4()?, 0x10);
    #[cfg(not(target_os = "openbsd"))]
    {
        assert_eq!(socket.tcp_keepalive_time()?, seconds(31));
        assert_eq!(socket.tcp_keepalive_interval()?, seconds(7), "rounded up");
        assert_eq!(socket.tcp_keepalive_retries()?, 4);
    }
    Ok(())
}

// ── where they are set ──────────────────────────────────────────────────────────

#[test]
fn a_listener_has_them_before_it_is_bound_and_what_it_accepts_inherits_them() -> io::Result<()> {
    run(async {
        let (listening, accepted) = (Kept::default(), Kept::default());
        let bound = Rc::new(Cell::new(true));
        let was_bound = bound.clone();
        let options = all_of_them().with(move |socket| {
            let address = SockRef::from(&socket).local_addr()?.as_socket();
            was_bound.set(address.is_some_and(|address| address.port() != 0));
            Ok(())
        });
        let server = start_server(greet, LOCALHOST, 0)
            .socket_options(listening.after(options))
            .accepted_socket_options(accepted.after(SocketOptions::new()))
            .await?;
        assert!(!bound.get(), "the closure came before bind");
        let socket = listening.take_one();
        has_all_of_them(&socket)?;
        let address = SockRef::from(&socket).local_addr()?.as_socket();
        assert_eq!(address.map(|a| a.port()), Some(port_of(&server)));

        heard_at(port_of(&server)).await;
        has_all_of_them(&accepted.take_one())?;
        io::Result::Ok(())
    })
}

#[test]
fn accepted_sockets_have_options_of_their_own_before_their_protocol_is_made() -> io::Result<()> {
    run(async {
        let (accepted, order) = (Kept::default(), Rc::new(RefCell::new(Vec::new())));
        let (at_options, at_factory) = (order.clone(), order.clone());
        let options = all_of_them().with(move |_| {
            at_options.borrow_mut().push("options");
            Ok(())
        });
        let server = start_server(
            async move |reader, writer| {
                at_factory.borrow_mut().push("handler");
                greet(reader, writer).await
            },
            LOCALHOST,
            0,
        )
        .accepted_socket_options(accepted.after(options))
        .await?;
        for _ in 0..2 {
            heard_at(port_of(&server)).await;
        }
        let sockets = accepted.take();
        assert_eq!(sockets.len(), 2);
        sockets.iter().try_for_each(has_all_of_them)?;
        assert_eq!(
            *order.borrow(),
            ["options", "handler", "options", "handler"]
        );
        io::Result::Ok(())
    })
}

#[test]
fn a_closure_before_bind_can_share_the_port() -> io::Result<()> {
    run(async {
        let shares =
            SocketOptions::new().with(|socket| SockRef::from(&socket).set_reuse_port(true));
        let one = start_server(greet, LOCALHOST, 0)
            .socket_options(shares.clone())
            .await?;
        let other = start_server(greet, LOCALHOST, port_of(&one))
            .socket_options(shares)
            .await?;
        assert_eq!(one.sockets(), other.sockets());
        io::Result::Ok(())
    })
}

#[test]
fn a_socket_that_was_bound_elsewhere_has_them_before_it_listens() -> io::Result<()> {
    run(async {
        let socket = TcpListener::bind((LOCALHOST, 0))?;
        let server = start_server_sock(greet, socket.try_clone()?)
            .socket_options(all_of_them())
            .await?;
        has_all_of_them(&socket)?;
        server.close();
        io::Result::Ok(())
    })
}

#[test]
fn a_client_has_them_before_it_connects_and_keeps_them() -> io::Result<()> {
    run(async {
        let server = start_server(greet, LOCALHOST, 0).await?;
        let (kept, stood) = (Kept::default(), Rc::new(Cell::new(true)));
        let stands = stood.clone();
        let options = all_of_them().with(move |socket| {
            let socket = SockRef::from(&socket);
            let port = socket.local_addr()?.as_socket().map(|from| from.port());
            stands.set(socket.peer_addr().is_ok() || port != Some(0));
            Ok(())
        });
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server))
            .local_addr(LOCALHOST, 0)
            .socket_options(kept.after(options))
            .await?;
        assert!(!stood.get(), "the closure came before bind and connect");
        assert_eq!(reader.read(7).await?, b"welcome");
        let socket = kept.take_one();
        has_all_of_them(&socket)?;
        let peer = SockRef::from(&socket).peer_addr()?.as_socket();
        assert_eq!(peer.map(|peer| peer.port()), Some(port_of(&server)));
        io::Result::Ok(())
    })
}

#[test]
fn each_attempt_has_them_and_one_that_is_refused_is_named() -> io::Result<()> {
    run(async {
        let server = start_server(greet, LOCALHOST, 0).await?;
        let kept = Kept::default();
        let options = SocketOptions::new().send_buffer_size(30_000);
        drop(
            open_connection(["127.0.0.2", LOCALHOST], port_of(&server))
                .socket_options(kept.after(options))
                .await?,
        );
        assert_eq!(kept.take().len(), 2, "the first refused");

        let sources = get_running_loop()?.census().sources;
        let too_big = SocketOptions::new().send_buffer_size(usize::MAX);
        let refused = open_connection(LOCALHOST, port_of(&server)).socket_options(too_big);
        let text = text_of(refused.await);
        assert!(text.starts_with("cannot set SO_SNDBUF to "), "{text}");
        assert_eq!(get_running_loop()?.census().sources, sources);
        io::Result::Ok(())
    })
}

#[test]
fn unix_clients_and_sockets_that_are_taken_over_have_them() -> io::Result<()> {
    let path = free_path("client");
    run(async move {
        let server = start_unix_server(greet, &path).await?;
        let kept = Kept::default();
        let options = kept.after(SocketOptions::new().send_buffer_size(30_000));
        drop(
            open_unix_connection(&path)
                .socket_options(options.clone())
                .await?,
        );
        let (ours, _theirs) = UnixStream::pair()?;
        drop(
            open_unix_connection_sock(ours)
                .socket_options(options)
                .await?,
        );
        for socket in kept.take() {
            let size = SockRef::from(&socket).send_buffer_size()?;
            assert!([30_000, 60_000].contains(&size));
        }
        server.close();
        io::Result::Ok(())
    })
}

#[test]
fn unix_servers_have_them_and_what_they_accept_inherits_nothing() -> io::Result<()> {
    let path = free_path("inherits");
    run(async move {
        let (listening, accepted) = (Kept::default(), Kept::default());
        let options = SocketOptions::new().send_buffer_size(30_000);
        let server = start_unix_server(greet, &path)
            .socket_options(listening.after(options))
            .accepted_socket_options(accepted.after(SocketOptions::new()))
            .await?;
        let size = |socket: OwnedFd| SockRef::from(&socket).send_buffer_size();
        assert!([30_000, 60_000].contains(&size(listening.take_one())?));
        let (mut reader, _writer) = open_unix_connection(&path).await?;
        assert_eq!(reader.read(7).await?, b"welcome");
        assert!(![30_000, 60_000].contains(&size(accepted.take_one())?));
        server.close();
        io::Result::Ok(())
    })
}

#[test]
#[cfg(not(target_os = "openbsd"))]
fn a_listener_for_both_families_is_had_by_an_option() -> io::Result<()> {
    if TcpListener::bind("[::1]:0").is_err() {
        return Ok(()); // no IPv6 on this machine
    }
    run(async {
        let options = SocketOptions::new().only_v6(false);
        let both = start_server(greet, "::", 0).socket_options(options).await?;
        assert_eq!(heard_at(port_of(&both)).await, b"welcome");
        let only = start_server(greet, "::", 0).await?;
        assert_eq!(heard_at(port_of(&only)).await, b"", "nobody is there");
        // No matter for IPv4.
        let options = SocketOptions::new().only_v6(true);
        drop(
            start_server(greet, LOCALHOST, 0)
                .socket_options(options)
                .await?,
        );
        io::Result::Ok(())
    })
}

// ── what they fail with ─────────────────────────────────────────────────────────

#[test]
fn an_option_that_is_refused_is_named_with_its_value() -> io::Result<()> {
    run(async {
        let refused = async |options: SocketOptions| {
            text_of(
                start_server(greet, LOCALHOST, 0)
                    .socket_options(options)
                    .await,
            )
        };
        let too_big = refused(SocketOptions::new().receive_buffer_size(1 << 31)).await;
        assert_eq!(
            too_big,
            "cannot set SO_RCVBUF to 2147483648 bytes: it must be at most 2147483647 bytes"
        );
        let by_closure = SocketOptions::new().with(|_| Err(io::Error::other("not today")));
        assert_eq!(
            refused(by_closure).await,
            "cannot set an option by a closure: not today"
        );
        #[cfg(not(target_os = "openbsd"))]
        {
            let none = refused(SocketOptions::new().keep_alive_retries(0)).await;
            assert!(none.starts_with("cannot set TCP_KEEPCNT to 0: "), "{none}");
        }
        io::Result::Ok(())
    })
}

#[test]
fn the_systems_own_error_is_the_source() -> io::Result<()> {
    let path = free_path("source");
    run(async move {
        // No Unix-domain socket has it.
        let options = SocketOptions::new().keep_alive_time(seconds(5));
        let error = start_unix_server(greet, &path)
            .socket_options(options)
            .await
            .expect_err("it is no TCP socket");
        let text = error.to_string();
        assert!(
            text.starts_with("cannot set TCP_KEEPIDLE to 5s: "),
            "{text}"
        );
        let source = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .expect("the system refused it");
        assert_eq!(source.kind(), error.kind());
        assert!(source.raw_os_error().is_some() || cfg!(target_os = "openbsd"));
        assert!(!path.exists(), "a server that fails leaves no file");
        io::Result::Ok(())
    })
}

#[test]
fn the_user_timeout_is_linuxs() -> io::Result<()> {
    run(async {
        let listening = Kept::default();
        let options = SocketOptions::new().user_timeout(Duration::from_micros(4_999_001));
        let server = start_server(greet, LOCALHOST, 0)
            .socket_options(listening.after(options))
            .await;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            drop(server?);
            let socket = listening.take_one();
            assert_eq!(
                SockRef::from(&socket).tcp_user_timeout()?,
                Some(seconds(5)),
                "rounded up to milliseconds"
            );
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        assert_eq!(
            text_of(server),
            "cannot set TCP_USER_TIMEOUT to 4.999001s: this platform has no such option"
        );
        io::Result::Ok(())
    })
}

#[test]
fn an_accepted_socket_that_refuses_costs_its_connection_and_no_other() -> io::Result<()> {
    for panics in [false, true] {
        run(async move {
            let handle = get_running_loop()?;
            let reports = Rc::new(RefCell::new(Vec::new()));
            let written = reports.clone();
            handle.set_exception_handler(move |_, context| {
                written.borrow_mut().push(context.to_string());
            });
            let calls = Cell::new(0);
            let options = SocketOptions::new().with(move |_| {
                calls.set(calls.get() + 1);
                match calls.get() {
                    2 => Ok(()),
                    _ if panics => panic!("not this one"),
                    _ => Err(io::Error::other("not this one")),
                }
            });
            let server = start_server(greet, LOCALHOST, 0)
                .accepted_socket_options(options)
                .await?;
            assert_eq!(heard_at(port_of(&server)).await, b"");
            assert_eq!(reports.take(), [""; 0], "reported in debug mode only");
            assert_eq!(heard_at(port_of(&server)).await, b"welcome");

            handle.set_debug(true);
            assert_eq!(heard_at(port_of(&server)).await, b"");
            handle.set_debug(false);
            let reports = reports.take();
            assert_eq!(reports.len(), 1, "{reports:?}");
            let report = &reports[0];
            assert!(
                report.starts_with("Error on transport creation for incoming connection"),
                "{report}"
            );
            assert!(report.contains("not this one"), "{report}");
            server.close();
            server.wait_closed().await;
            assert_eq!(server.connection_count(), 0);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_closure_may_close_the_server_and_own_it() -> io::Result<()> {
    /// Notes that the closure is gone.
    struct Noted(Rc<Cell<bool>>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    run(async {
        let gone = Rc::new(Cell::new(false));
        let noted = Noted(gone.clone());
        let owned = Rc::new(RefCell::new(None::<Server>));
        let of_closure = owned.clone();
        let options = SocketOptions::new().with(move |_| {
            let _ = &noted;
            if let Some(server) = &*of_closure.borrow() {
                server.close();
            }
            Ok(())
        });
        let server = start_server(greet, LOCALHOST, 0)
            .accepted_socket_options(options)
            .await?;
        let port = port_of(&server);
        owned.replace(Some(server));
        assert_eq!(
            heard_at(port).await,
            b"",
            "it is closed before it is served"
        );
        drop(owned);
        assert!(gone.get(), "a closed server keeps no closure");
        io::Result::Ok(())
    })
}
