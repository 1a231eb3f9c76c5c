//! TLS: the handshake, bytes both ways, and the end, on real sockets and in memory.
//!
//! ```text
//!   millstream ◄──TCP on 127.0.0.1──► millstream
//!              ◄────────────────────► rustls in a thread, driven by hand
//! ```

mod tls_support;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::rc::{Rc, Weak};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use millstream::testing::{Recorder, Told, Trace};
use millstream::{
    AlpnProtocol, Cipher, EofKind, EventLoop, HandshakeFailure, PeerCertificates, Protocol, Server,
    ServerName, ShutdownMode, StreamReader, StreamWriter, TlsClientContext, TlsError,
    TlsServerContext, TlsVersion, Transport, create_task, get_running_loop, open_connection,
    open_unix_connection, run, rustls, sleep, start_server, start_unix_server, timeout,
};

use tls_support::{
    Authority, NAME, Peer, authority, client_context, identity, memory_pair, server_context,
};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that look like nothing else, the same on each run.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = (0..len.div_ceil(8)).flat_map(|_| next());
    words.take(len).collect()
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(64 * 1024).await?;
        if data.is_empty() {
            return writer.aclose().await;
        }
        writer.write_owned(data);
        writer.drain().await?;
    }
}

async fn echo_server(context: TlsServerContext) -> io::Result<(Server, u16)> {
    let server = start_server(echo, "127.0.0.1", 0).tls(context).await?;
    let port = server.sockets()[0].port().unwrap_or(0);
    Ok((server, port))
}

fn listener() -> io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn kind_and_text<T>(result: io::Result<T>) -> (io::ErrorKind, String) {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => (error.kind(), error.to_string()),
    }
}

/// Waits for a thread without holding the loop.
async fn ends<T: Send + 'static>(thread: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    let handle = get_running_loop()?;
    let joined = handle.run_in_executor(move || thread.join()).await;
    let joined = joined?;
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

// ── the handshake ───────────────────────────────────────────────────────────────

#[test]
fn tls_02_tls_45_a_client_and_a_server_agree_and_tell_what_on() -> io::Result<()> {
    run(async move {
        let seen = Rc::new(RefCell::new(None));
        let saw = seen.clone();
        let context = TlsServerContext::builder(&identity().chain, &identity().key)?
            .alpn(["http/1.1", "h2"])
            .build()?;
        let handler = async move |mut reader: StreamReader, writer: StreamWriter| {
            saw.replace(Some((
                writer.get_extra_info(AlpnProtocol),
                writer.get_extra_info(ServerName),
                writer.get_extra_info(PeerCertificates),
            )));
            writer.write(reader.readline().await?);
            writer.aclose().await
        };
        let server = start_server(handler, "127.0.0.1", 0).tls(context).await?;
        let port = server.sockets()[0].port().unwrap_or(0);
        let client = TlsClientContext::builder()
            .trust_pem(&authority().pem)?
            .alpn(["h2", "http/1.1"])
            .build()?;
        let (mut reader, writer) = open_connection("127.0.0.1", port)
            .tls(client)
            .server_hostname(NAME)
            .await?;
        assert_eq!(writer.get_extra_info(TlsVersion), Some("TLSv1.3"));
        let cipher = writer.get_extra_info(Cipher).expect("it is encrypted");
        assert!(cipher.name.starts_with("TLS_"), "{cipher:?}");
        assert_eq!(cipher.version, "TLSv1.3");
        assert!([128, 256].contains(&cipher.bits));
        let certificates = writer.get_extra_info(PeerCertificates);
        assert_eq!(certificates.map(|chain| chain.len()), Some(1));
        assert_eq!(
            writer.get_extra_info(AlpnProtocol),
            Some(b"http/1.1".to_vec())
        );
        writer.write(b"hello\n");
        assert_eq!(reader.readline().await?, b"hello\n");
        assert_eq!(reader.read(10).await?, b"");
        assert_eq!(reader.eof_kind(), Some(EofKind::Clean));
        writer.wait_closed().await?;
        let seen = seen.take().expect("the handler was called");
        let alpn = Some(b"http/1.1".to_vec());
        assert_eq!(seen, (alpn, Some(NAME.to_owned()), None));
        // Long after the end.
        assert_eq!(writer.get_extra_info(TlsVersion), Some("TLSv1.3"));
        io::Result::Ok(())
    })
}

#[test]
fn tls_41_what_was_agreed_on_stays_known_after_the_end() -> io::Result<()> {
    run(async move {
        let (_server, port) = echo_server(server_context()).await?;
        let (_reader, writer) = open_connection("localhost", port)
            .tls(client_context())
            .await?;
        let cipher = writer.get_extra_info(Cipher);
        let peer = writer.get_extra_info(millstream::PeerName);
        writer.aclose().await?;
        assert!(cipher.is_some() && peer.is_some());
        assert_eq!(writer.get_extra_info(Cipher), cipher);
        assert_eq!(writer.get_extra_info(millstream::PeerName), peer);
        io::Result::Ok(())
    })
}

#[test]
fn tls_03_a_slow_handshake_leaves_the_loop_to_others() -> io::Result<()> {
    let (listener, port) = listener()?;
    let (go, may_go) = mpsc::channel();
    let peer = thread::spawn(move || {
        let (socket, _) = listener.accept()?;
        may_go.recv().map_err(io::Error::other)?;
        let mut peer = Peer::serve(socket)?;
        peer.handshake()?;
        peer.sends(b"at last\n")?;
        peer.closes()
    });
    run(async move {
        let connecting = create_task(
            open_connection("127.0.0.1", port)
                .tls(client_context())
                .ssl_handshake_timeout(PATIENCE)
                .into_future(),
        );
        for _ in 0..10 {
            sleep(Duration::from_millis(1)).await; // the loop turns meanwhile
        }
        assert!(!connecting.done());
        go.send(()).map_err(io::Error::other)?;
        let (mut reader, _writer) = connecting.await.map_err(io::Error::from)??;
        assert_eq!(reader.readline().await?, b"at last\n");
        ends(peer).await
    })
}

#[test]
fn tls_04_a_certificate_that_is_not_trusted_is_refused_with_the_reason() -> io::Result<()> {
    let expired = authority().signs_with(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let unknown = Authority::new("nobody knows it").signs(&[NAME]);
    let other = authority().signs(&["other.test"]);
    for (identity, reason, alert) in [
        (expired, "expired", "CertificateExpired"),
        (unknown, "UnknownIssuer", "UnknownCA"),
        (other, "not valid for name", "BadCertificate"),
    ] {
        let (tell, told) = mpsc::channel();
        run(async move {
            let context = TlsServerContext::from_pem(&identity.chain, &identity.key)?;
            let (tell, failed) = (tell, Rc::new(Cell::new(false)));
            let seen = failed.clone();
            let server = start_server(
                async |_: StreamReader, _: StreamWriter| -> () { panic!("no handler is called") },
                "127.0.0.1",
                0,
            )
            .tls(context)
            .on_tls_failure(move |failure: &HandshakeFailure| {
                assert!(failure.peer.is_some());
                let _ = tell.send(failure.error.to_string());
                seen.set(true);
            })
            .await?;
            let port = server.sockets()[0].port().unwrap_or(0);
            let refused = open_connection("127.0.0.1", port)
                .tls(client_context())
                .server_hostname(NAME)
                .await;
            let error = refused.map(drop).expect_err("it must be refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let text = error.to_string();
            assert!(
                text.starts_with("SSL handshake failed on verifying the certificate: ")
                    && text.contains(reason),
                "{text}"
            );
            assert!(TlsError::of(&error).is_some_and(TlsError::is_about_certificate));
            timeout(PATIENCE, async {
                while !failed.get() {
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await?;
            server.close();
            server.wait_closed().await;
            assert_eq!(get_running_loop()?.census().sources, 0, "a socket is open");
            io::Result::Ok(())
        })?;
        let heard = told.recv().map_err(io::Error::other)?;
        assert!(
            heard.contains(alert),
            "the peer heard {heard:?}, not {alert}"
        );
    }
    Ok(())
}

#[test]
fn a_context_may_trust_one_certificate_though_it_is_an_authority() -> io::Result<()> {
    let key = rcgen::KeyPair::generate().map_err(io::Error::other)?;
    let mut params =
        rcgen::CertificateParams::new(vec![NAME.to_owned()]).map_err(io::Error::other)?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    let server = TlsServerContext::from_pem(certificate.pem(), key.serialize_pem())?;
    let client = TlsClientContext::builder()
        .trust(certificate.der().clone())
        .build()?;
    run(async move {
        let (_server, port) = echo_server(server).await?;
        let (mut reader, writer) = open_connection("127.0.0.1", port)
            .tls(client.clone())
            .server_hostname(NAME)
            .await?;
        writer.write(b"x");
        assert_eq!(reader.read(1).await?, b"x");
        let wrong = open_connection("127.0.0.1", port)
            .tls(client)
            .server_hostname("other.test")
            .await;
        let (_, text) = kind_and_text(wrong);
        assert!(text.contains("not valid for name"), "{text}");
        writer.aclose().await
    })
}

#[test]
fn an_empty_server_hostname_turns_the_look_at_the_name_off() -> io::Result<()> {
    run(async move {
        let other = authority().signs(&["other.test"]);
        let context = TlsServerContext::from_pem(&other.chain, &other.key)?;
        let (_server, port) = echo_server(context).await?;
        let (mut reader, writer) = open_connection("127.0.0.1", port)
            .tls(client_context())
            .server_hostname("")
            .await?;
        writer.write(b"x");
        assert_eq!(reader.read(1).await?, b"x");
        writer.aclose().await?;

        // But somebody must have signed it.
        let unknown = Authority::new("nobody knows it").signs(&[NAME]);
        let context = TlsServerContext::from_pem(&unknown.chain, &unknown.key)?;
        let (_server, port) = echo_server(context).await?;
        let refused = open_connection("127.0.0.1", port)
            .tls(client_context())
            .server_hostname("")
            .await;
        assert!(kind_and_text(refused).1.contains("UnknownIssuer"));
        io::Result::Ok(())
    })
}

#[test]
fn a_server_may_ask_who_the_client_is() -> io::Result<()> {
    run(async move {
        let context = TlsServerContext::builder(&identity().chain, &identity().key)?
            .client_roots_pem(&authority().pem)?
            .build()?;
        let handler = async |_: StreamReader, writer: StreamWriter| {
            let chain = writer.get_extra_info(PeerCertificates);
            writer.write(format!("{}\n", chain.map_or(0, |chain| chain.len())));
            writer.aclose().await
        };
        let server = start_server(handler, "127.0.0.1", 0).tls(context).await?;
        let port = server.sockets()[0].port().unwrap_or(0);
        let client = authority().signs(&["client.test"]);
        let known = TlsClientContext::builder()
            .trust_pem(&authority().pem)?
            .client_cert_pem(&client.chain, &client.key)?
            .build()?;
        let (mut reader, _writer) = open_connection("localhost", port).tls(known).await?;
        assert_eq!(reader.readline().await?, b"1\n");

        // With TLS 1.3 a client learns only by a read that it was refused.
        let unknown = open_connection("localhost", port)
            .tls(client_context())
            .await;
        let refused = match unknown {
            Ok((mut reader, _writer)) => reader.readline().await.map_err(io::Error::from),
            Err(error) => Err(error),
        };
        let (kind, text) = kind_and_text(refused);
        assert_eq!(kind, io::ErrorKind::InvalidData, "{text}");
        assert!(text.contains("CertificateRequired"), "{text}");
        io::Result::Ok(())
    })
}

#[test]
fn tls_06_arguments_are_looked_at_before_any_io_and_in_order() -> io::Result<()> {
    const NOBODY: &str = "no-such-host.invalid";
    let invalid = |text: &str| (io::ErrorKind::InvalidInput, text.to_owned());
    let second = Duration::from_secs(1);
    run(async move {
        let plain = || open_connection(NOBODY, 1);
        let refused = plain()
            .server_hostname("x")
            .ssl_handshake_timeout(second)
            .await;
        assert_eq!(
            kind_and_text(refused),
            invalid("server_hostname is only meaningful with ssl")
        );
        assert_eq!(
            kind_and_text(plain().ssl_handshake_timeout(second).await),
            invalid("ssl_handshake_timeout is only meaningful with ssl")
        );
        assert_eq!(
            kind_and_text(plain().ssl_shutdown_timeout(second).await),
            invalid("ssl_shutdown_timeout is only meaningful with ssl")
        );
        let encrypted = || plain().tls(client_context());
        assert_eq!(
            kind_and_text(encrypted().ssl_handshake_timeout(Duration::ZERO).await),
            invalid("ssl_handshake_timeout should be a positive number, got 0")
        );
        assert_eq!(
            kind_and_text(encrypted().ssl_shutdown_timeout(Duration::ZERO).await),
            invalid("ssl_shutdown_timeout should be a positive number, got 0")
        );
        let nameless = open_connection("", 1).tls(client_context());
        assert_eq!(
            kind_and_text(nameless.ssl_handshake_timeout(Duration::ZERO).await),
            invalid("You must set server_hostname when using ssl without a host")
        );
        let nameless = open_unix_connection("/no/such/path").tls(client_context());
        assert_eq!(
            kind_and_text(nameless.await),
            invalid("you have to pass server_hostname when using ssl")
        );
        let (kind, text) = kind_and_text(encrypted().server_hostname("no name").await);
        assert_eq!(kind, io::ErrorKind::InvalidInput);
        assert!(text.contains("\"no name\""), "{text}");
        let server = || start_server(echo, NOBODY, 1);
        assert_eq!(
            kind_and_text(server().ssl_shutdown_timeout(second).await),
            invalid("ssl_shutdown_timeout is only meaningful with ssl")
        );
        let timeless = server()
            .tls(server_context())
            .ssl_handshake_timeout(Duration::ZERO);
        assert_eq!(
            kind_and_text(timeless.await),
            invalid("ssl_handshake_timeout should be a positive number, got 0")
        );
        io::Result::Ok(())
    })
}

#[test]
fn a_ready_configuration_keeps_its_verifier_and_wants_a_name() -> io::Result<()> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    run(async move {
        let refused = open_connection("no-such-host.invalid", 1)
            .tls(config.clone())
            .server_hostname("");
        assert_eq!(kind_and_text(refused.await).0, io::ErrorKind::InvalidInput);
        let (_server, port) = echo_server(server_context()).await?;
        let refused = open_connection("localhost", port).tls(config).await;
        assert!(kind_and_text(refused).1.contains("UnknownIssuer"));
        io::Result::Ok(())
    })
}

#[test]
fn tls_07_a_handshake_has_one_time_limit_in_all() -> io::Result<()> {
    for drips in [false, true] {
        run(async move {
            let failures = Rc::new(RefCell::new(Vec::new()));
            let seen = failures.clone();
            let server = start_server(
                async |_: StreamReader, _: StreamWriter| -> () { panic!("no handler is called") },
                "127.0.0.1",
                0,
            )
            .tls(server_context())
            .ssl_handshake_timeout(Duration::from_millis(500))
            .on_tls_failure(move |failure| seen.borrow_mut().push(failure.error.clone()))
            .await?;
            let port = server.sockets()[0].port().unwrap_or(0);
            let (mut reader, writer) = open_connection("127.0.0.1", port).await?;
            let began = get_running_loop()?.time();
            if drips {
                // The beginning of a record, a byte at a time.
                create_task(async move {
                    for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3] {
                        writer.write([byte]);
                        sleep(Duration::from_millis(100)).await;
                    }
                    writer.aclose().await
                });
            } else {
                std::mem::forget(writer);
            }
            // An end, or a reset where bytes had come that nobody read.
            let _ = timeout(PATIENCE, reader.read_all()).await?;
            assert!(get_running_loop()?.time() - began >= Duration::from_millis(490));
            server.close();
            server.wait_closed().await;
            let failures = failures.take();
            assert_eq!(failures.len(), 1);
            assert_eq!(failures[0].kind(), io::ErrorKind::ConnectionAborted);
            assert_eq!(
                failures[0].to_string(),
                "SSL handshake is taking longer than 0.5 seconds: aborting the connection"
            );
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tls_08_tls_11_a_peer_that_leaves_in_the_handshake_is_an_error_once() -> io::Result<()> {
    let (listener, port) = listener()?;
    let peer = thread::spawn(move || {
        let (mut socket, _) = listener.accept()?;
        // Reads the hello, so that leaving is an end and no reset.
        io::Read::read(&mut socket, &mut [0; 4096])?;
        drop(socket);
        io::Result::Ok(())
    });
    run(async move {
        let refused = open_connection("127.0.0.1", port)
            .tls(client_context())
            .await;
        assert_eq!(
            kind_and_text(refused),
            (
                io::ErrorKind::ConnectionReset,
                "the peer closed the connection before the SSL handshake was complete".to_owned()
            )
        );
        ends(peer).await
    })
}

#[test]
fn tls_09_a_connect_that_is_dropped_in_the_handshake_leaves_nothing() -> io::Result<()> {
    let (listener, port) = listener()?;
    run(async move {
        let handle = get_running_loop()?;
        for _ in 0..3 {
            let connecting = open_connection("127.0.0.1", port).tls(client_context());
            let dropped = timeout(Duration::from_millis(20), connecting.into_future()).await;
            assert!(dropped.is_err(), "nobody answers");
        }
        let (limited, _) = kind_and_text(
            open_connection("127.0.0.1", port)
                .tls(client_context())
                .ssl_handshake_timeout(Duration::from_millis(20))
                .await,
        );
        assert_eq!(limited, io::ErrorKind::ConnectionAborted);
        while handle.census().sources > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(handle.census().timers, 0, "a timer is left");
        drop(listener);
        io::Result::Ok(())
    })
}

#[test]
fn tls_10_closing_in_the_handshake_fails_the_connect_and_tells_the_app_nothing() -> io::Result<()> {
    for aborts in [false, true] {
        let event_loop = EventLoop::new()?;
        let (raw, peer) = millstream::memory_transport_pair(
            &event_loop,
            tls_support::Nobody,
            tls_support::Nobody,
            1000,
        );
        let trace = Trace::new();
        let starting = event_loop
            .start_tls(&raw, client_context())
            .server_hostname(NAME)
            .protocol(Recorder::new(&trace))
            .tell_connection_made(true);
        let starting = event_loop.create_task(starting.into_future());
        for _ in 0..5 {
            event_loop.turn(Some(Duration::ZERO))?;
        }
        // This side, or the peer.
        match aborts {
            true => raw.abort(),
            false => peer.abort(),
        }
        let outcome = event_loop.run_until_complete(starting)?;
        let refused = outcome.map_err(io::Error::from)?;
        let expected = match aborts {
            true => io::ErrorKind::ConnectionAborted,
            false => io::ErrorKind::ConnectionReset,
        };
        assert_eq!(kind_and_text(refused).0, expected);
        assert_eq!(trace.told(), []);
        assert_eq!(trace.recorders_dropped(), 1);
    }
    Ok(())
}

// ── bytes ───────────────────────────────────────────────────────────────────────

#[test]
fn tls_01_many_clients_get_a_megabyte_echoed_and_close_cleanly() -> io::Result<()> {
    run(async move {
        let (server, port) = echo_server(server_context()).await?;
        let clients: Vec<_> = (0..8)
            .map(|i| {
                thread::spawn(move || {
                    let mut peer = Peer::connect(port)?;
                    peer.handshake()?;
                    let sent = pattern(1 << 20, i);
                    for piece in sent.chunks(64 * 1024) {
                        peer.sends(piece)?;
                        assert!(peer.expects(piece.len())? == piece);
                    }
                    peer.closes()?;
                    let (rest, was_clean) = peer.expects_end()?;
                    assert!(rest.is_empty());
                    assert!(was_clean, "without a close_notify");
                    io::Result::Ok(())
                })
            })
            .collect();
        for client in clients {
            ends(client).await?;
        }
        server.close();
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn tls_on_unix_sockets_wants_a_name_and_works() -> io::Result<()> {
    let path = std::env::temp_dir().join(format!("tls-{}.sock", std::process::id()));
    run(async move {
        let _server = start_unix_server(echo, &path).tls(server_context()).await?;
        let (mut reader, writer) = open_unix_connection(&path)
            .tls(client_context())
            .server_hostname(NAME)
            .await?;
        writer.write(b"over a file\n");
        assert_eq!(reader.readline().await?, b"over a file\n");
        writer.aclose().await
    })
}

#[test]
fn tls_48_chunks_of_any_size_make_a_handshake_and_carry_bytes() -> io::Result<()> {
    for chunk in 1..=37 {
        let event_loop = EventLoop::new()?;
        let (ours, theirs) = (Trace::new(), Trace::new());
        let (one, other) = memory_pair(
            &event_loop,
            Box::new(Recorder::new(&ours)),
            Box::new(Recorder::new(&theirs)),
            chunk,
        )?;
        let (there, back) = (pattern(10_240, chunk as u64), pattern(10_240, 99));
        one.write(&there);
        other.write(&back);
        while ours.received_len() < back.len() || theirs.received_len() < there.len() {
            event_loop.turn(None)?;
        }
        assert!(ours.received() == back, "chunks of {chunk} bytes");
        assert!(theirs.received() == there, "chunks of {chunk} bytes");
        one.close();
        while !ours.is_lost() || !theirs.is_lost() {
            event_loop.turn(None)?;
        }
        ours.assert_complete();
        theirs.assert_complete();
    }
    Ok(())
}

#[test]
fn tls_36_a_drain_waits_until_the_ciphertext_is_under_the_low_mark() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = (Trace::new(), Trace::new());
    // A byte for each send.
    let (one, _other) = memory_pair(
        &event_loop,
        Box::new(Recorder::new(&ours).on_resume_writing(|t| {
            assert!(t.get_write_buffer_size() <= 8 * 1024);
        })),
        Box::new(Recorder::new(&theirs)),
        1,
    )?;
    one.set_write_buffer_limits(Some(32 * 1024), Some(8 * 1024))?;
    let sent = pattern(64 * 1024, 36);
    one.write(&sent);
    assert_eq!(ours.told().last(), Some(&Told::PauseWriting));
    one.close();
    while !theirs.is_lost() {
        event_loop.turn(None)?;
    }
    assert!(theirs.received() == sent);
    assert!(theirs.has(&Told::EofReceived), "by a close_notify");
    assert!(ours.has(&Told::ResumeWriting));
    Ok(())
}

#[test]
fn tls_38_a_reader_that_does_not_read_stops_the_socket() -> io::Result<()> {
    const FLOOD: usize = 64 << 20;
    run(async move {
        let (hold, held) = millstream::create_future::<()>();
        let held = RefCell::new(Some(held));
        let handler = async move |_reader: StreamReader, _writer: StreamWriter| {
            // Neither is dropped meanwhile, and nothing is read.
            let held = held.take();
            if let Some(held) = held {
                let _ = held.await;
            }
        };
        let server = start_server(handler, "127.0.0.1", 0)
            .tls(server_context())
            .await?;
        let port = server.sockets()[0].port().unwrap_or(0);
        let flooding = thread::spawn(move || {
            let mut peer = Peer::connect(port)?;
            peer.handshake()?;
            peer.socket
                .set_write_timeout(Some(Duration::from_secs(1)))?;
            peer.tls.set_buffer_limit(None);
            let piece = vec![7; 64 * 1024];
            let mut sent = 0;
            while sent < FLOOD {
                if peer.sends(&piece).is_err() {
                    return Ok(sent); // it was stopped
                }
                sent += piece.len();
            }
            Ok(sent)
        });
        let sent = ends(flooding).await?;
        // What the kernel takes for both ends, and our marks: far less than everything.
        assert!(sent < FLOOD, "nobody stopped the flood");
        drop(hold);
        server.close();
        io::Result::Ok(())
    })
}

// ── the end ─────────────────────────────────────────────────────────────────────

#[test]
fn tls_14_tls_21_a_clean_shutdown_is_told_to_both_and_leaves_no_timer() -> io::Result<()> {
    run(async move {
        let handle = get_running_loop()?;
        let (server, port) = echo_server(server_context()).await?;
        let (mut reader, writer) = open_connection("localhost", port)
            .tls(client_context())
            .await?;
        writer.write(b"x");
        assert_eq!(reader.read(1).await?, b"x");
        writer.close();
        writer.wait_closed().await?;
        assert_eq!(reader.read(1).await?, b"");
        server.close();
        server.wait_closed().await;
        assert_eq!(handle.census().timers, 0, "a timer is left");
        io::Result::Ok(())
    })
}

#[test]
fn tls_15_all_that_was_written_comes_before_the_close_notify() -> io::Result<()> {
    for versions in [[&rustls::version::TLS12], [&rustls::version::TLS13]] {
        let sent = pattern(1 << 20, 15);
        let expected = sent.clone();
        run(async move {
            let handler = async move |_: StreamReader, writer: StreamWriter| {
                let (one, other) = sent.split_at(512 * 1024);
                writer.write(one);
                writer.write(other);
                writer.close();
                let ended = writer.wait_closed().await;
                assert!(ended.is_ok(), "{ended:?}");
            };
            let server = start_server(handler, "127.0.0.1", 0)
                .tls(server_context())
                .await?;
            let port = server.sockets()[0].port().unwrap_or(0);
            let peer = thread::spawn(move || {
                let mut peer = Peer::connect_with(port, &versions)?;
                peer.handshake()?;
                let mut got = Vec::new();
                while got.len() < 512 * 1024 {
                    got.extend(peer.expects(8 * 1024)?);
                    if got.len() % (64 * 1024) == 0 {
                        let _ = peer.tls.refresh_traffic_keys(); // only in TLS 1.3
                        peer.flush()?;
                    }
                }
                let (rest, was_clean) = peer.expects_end()?;
                got.extend(rest);
                peer.closes()?;
                assert!(was_clean, "without a close_notify");
                Ok(got)
            });
            assert!(ends(peer).await? == expected);
            server.close();
            server.wait_closed().await;
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tls_16_a_truncated_end_shows_and_is_an_error_on_request() -> io::Result<()> {
    for required in [false, true] {
        let (listener, port) = listener()?;
        let peer = thread::spawn(move || {
            let mut peer = Peer::accept(&listener)?;
            peer.handshake()?;
            peer.sends(b"partial")?;
            peer.socket.shutdown(std::net::Shutdown::Write)?;
            let (_, _was_clean) = peer.expects_end()?;
            io::Result::Ok(())
        });
        run(async move {
            let (mut reader, writer) = open_connection("127.0.0.1", port)
                .tls(client_context().require_close_notify(required))
                .await?;
            if required {
                let (kind, text) = kind_and_text(reader.readline().await.map_err(io::Error::from));
                assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{text}");
                assert_eq!(reader.take_buffered(), b"partial");
                let ended = writer.wait_closed().await;
                assert_eq!(kind_and_text(ended).0, io::ErrorKind::UnexpectedEof);
            } else {
                assert_eq!(reader.readline().await?, b"partial");
                assert_eq!(reader.read_all().await?, b"");
                assert_eq!(reader.eof_kind(), Some(EofKind::Truncated));
                writer.wait_closed().await?;
            }
            ends(peer).await
        })?;
    }
    Ok(())
}

#[test]
fn tls_20_a_peer_that_never_answers_a_close_costs_the_timeout_and_no_error() -> io::Result<()> {
    let half_a_second = Duration::from_millis(500);
    for (mode, expected) in [
        (ShutdownMode::Lenient, Ok(())),
        (
            ShutdownMode::Strict,
            Err((io::ErrorKind::TimedOut, "SSL shutdown timed out".to_owned())),
        ),
        (ShutdownMode::OneWay, Ok(())),
    ] {
        let (listener, port) = listener()?;
        let (release, released) = mpsc::channel::<()>();
        let peer = thread::spawn(move || {
            let mut peer = Peer::accept(&listener)?;
            peer.handshake()?;
            let _ = released.recv();
            let (_, was_clean) = peer.expects_end()?;
            assert!(was_clean, "without a close_notify");
            io::Result::Ok(())
        });
        run(async move {
            let handle = get_running_loop()?;
            let (_reader, writer) = open_connection("127.0.0.1", port)
                .tls(client_context().shutdown_mode(mode))
                .ssl_shutdown_timeout(half_a_second)
                .await?;
            let began = handle.time();
            writer.close();
            let ended = timeout(PATIENCE, writer.wait_closed()).await?;
            assert_eq!(ended.map_err(|e| (e.kind(), e.to_string())), expected);
            if mode != ShutdownMode::OneWay {
                assert!(
                    handle.time() - began >= Duration::from_millis(490),
                    "too early"
                );
            }
            assert_eq!(handle.census().sources, 0, "the socket is open");
            drop(release);
            ends(peer).await
        })?;
    }
    Ok(())
}

#[test]
fn tls_22_what_was_held_back_by_a_pause_is_nobodys_after_close() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = (Trace::new(), Trace::new());
    let (one, other) = memory_pair(
        &event_loop,
        Box::new(Recorder::new(&ours)),
        Box::new(Recorder::new(&theirs)),
        64 * 1024,
    )?;
    one.pause_reading();
    other.write(b"never read");
    for _ in 0..5 {
        event_loop.turn(Some(Duration::ZERO))?;
    }
    one.close();
    while !ours.is_lost() || !theirs.is_lost() {
        event_loop.turn(None)?;
    }
    assert_eq!(
        ours.told(),
        [Told::ConnectionMade, Told::ConnectionLost(None)]
    );
    Ok(())
}

#[test]
fn tls_39_half_close_is_refused_unless_asked_for_on_tls_1_3() -> io::Result<()> {
    run(async move {
        let (_server, port) = echo_server(server_context()).await?;
        let (mut reader, writer) = open_connection("localhost", port)
            .tls(client_context())
            .await?;
        assert!(!writer.can_write_eof());
        assert_eq!(
            kind_and_text(writer.write_eof()).0,
            io::ErrorKind::Unsupported
        );
        writer.write(b"still there");
        assert_eq!(reader.readexactly(11).await?, b"still there");
        writer.aclose().await?;

        let handler = async |mut reader: StreamReader, writer: StreamWriter| {
            let question = reader.read_all().await?;
            writer.write(question.to_ascii_uppercase());
            writer.aclose().await
        };
        let server = start_server(handler, "127.0.0.1", 0)
            .tls(server_context().half_close(true))
            .await?;
        let port = server.sockets()[0].port().unwrap_or(0);
        let (mut reader, writer) = open_connection("localhost", port)
            .tls(client_context().half_close(true))
            .await?;
        writer.write(b"question");
        writer.write_eof()?;
        assert_eq!(reader.read_all().await?, b"QUESTION");
        assert_eq!(reader.eof_kind(), Some(EofKind::Clean));
        writer.write(b"too late");
        assert_eq!(
            kind_and_text(writer.drain().await).0,
            io::ErrorKind::InvalidInput
        );
        writer.close();
        io::Result::Ok(())
    })
}

#[test]
fn a_server_that_closes_its_clients_says_so_to_each() -> io::Result<()> {
    run(async move {
        let (server, port) = echo_server(server_context()).await?;
        let peer = thread::spawn(move || {
            let mut peer = Peer::connect(port)?;
            peer.handshake()?;
            peer.sends(b"x")?;
            peer.expects(1)?;
            let (_, was_clean) = peer.expects_end()?;
            peer.closes()?;
            Ok(was_clean)
        });
        while server.connection_count() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        // Until the echo is through the handshake is, too.
        sleep(Duration::from_millis(200)).await;
        server.close_clients();
        assert!(ends(peer).await?, "without a close_notify");
        server.close();
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn tls_42_nothing_remains_of_a_connection_that_is_over() -> io::Result<()> {
    struct Held(#[expect(dead_code, reason = "it is only dropped")] Rc<()>);
    impl Protocol for Held {
        fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
            transport.write(b"hello");
        }
    }
    run(async move {
        let handle = get_running_loop()?;
        let (server, port) = echo_server(server_context()).await?;
        let held = Rc::new(());
        let gone: Weak<()> = Rc::downgrade(&held);
        let transport = handle
            .create_connection(move || Held(held), "localhost", port)
            .tls(client_context())
            .await?;
        let transport_gone = Rc::downgrade(&transport);
        transport.close();
        drop(transport);
        server.close();
        server.wait_closed().await;
        while handle.census().sources > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert!(gone.upgrade().is_none(), "the protocol leaks");
        assert!(transport_gone.upgrade().is_none(), "the transport leaks");
        assert_eq!(handle.census().timers, 0);
        io::Result::Ok(())
    })
}
