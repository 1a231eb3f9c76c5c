//! `start_tls`: from plaintext to TLS in mid-stream, on both sides.
//!
//! ```text
//!   plaintext: "STARTTLS" ─► "go ahead" ─► handshake ─► the same reader and writer, in secret
//! ```

mod tls_support;

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use millstream::testing::{Recorder, Told, Trace};
use millstream::{
    Buffered, EofKind, EventLoop, PlaintextBuffered, Protocol, ReadInto, Server, StreamReader,
    StreamWriter, TlsServerContext, TlsVersion, Transport, create_task, get_running_loop,
    memory_stream_pair, memory_transport_pair, open_connection, run, sleep, start_server, timeout,
};

use tls_support::{NAME, Peer, authority, client_context, server_context};

const PATIENCE: Duration = Duration::from_secs(30);

async fn serve<F>(handler: F) -> io::Result<(Server, u16)>
where
    F: AsyncFn(StreamReader, StreamWriter) -> io::Result<()> + 'static,
{
    let server = start_server(handler, "127.0.0.1", 0).await?;
    let port = server.sockets()[0].port().unwrap_or(0);
    Ok((server, port))
}

/// Says yes to STARTTLS, and answers in capitals from then on.
async fn upgraded(mut reader: StreamReader, mut writer: StreamWriter) -> io::Result<()> {
    assert_eq!(reader.readline().await?, b"STARTTLS\n");
    writer.write(b"go ahead\n");
    writer.start_tls(server_context()).await?;
    assert_eq!(writer.get_extra_info(TlsVersion), Some("TLSv1.3"));
    while let Some(line) = reader.next_line().await? {
        writer.write(line.to_ascii_uppercase());
        writer.drain().await?;
    }
    writer.aclose().await
}

#[test]
fn tls_25_streams_on_both_sides_are_upgraded_and_close_cleanly() -> io::Result<()> {
    run(async {
        let (server, port) = serve(upgraded).await?;
        let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;
        writer.write(b"STARTTLS\n");
        assert_eq!(reader.readline().await?, b"go ahead\n");
        assert_eq!(writer.get_extra_info(TlsVersion), None);
        writer
            .start_tls(client_context())
            .server_hostname(NAME)
            .await?;
        assert_eq!(writer.get_extra_info(TlsVersion), Some("TLSv1.3"));
        assert!(!writer.can_write_eof());
        writer.write(b"in secret\n");
        assert_eq!(reader.readline().await?, b"IN SECRET\n");
        // Into the caller's own memory, past the protocol.
        let mut line = [0; 6];
        writer.write(b"again\n");
        reader.readexactly_into(&mut line).await?;
        assert_eq!(&line, b"AGAIN\n");
        writer.close();
        writer.wait_closed().await?;
        assert_eq!(reader.read(1).await?, b"");
        server.close();
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn a_read_that_waits_goes_on_with_decrypted_bytes() -> io::Result<()> {
    run(async {
        let (_server, port) = serve(upgraded).await?;
        let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;
        writer.write(b"STARTTLS\n");
        assert_eq!(reader.readline().await?, b"go ahead\n");
        let reading = create_task(async move {
            let mut pulled = [0; 4];
            reader.readexactly_into(&mut pulled).await?;
            let line = reader.readline().await?;
            io::Result::Ok([&pulled[..], &line].concat())
        });
        sleep(Duration::from_millis(1)).await;
        writer
            .start_tls(client_context())
            .server_hostname(NAME)
            .await?;
        writer.write(b"decrypted\n");
        let line = reading.await.map_err(io::Error::from)??;
        assert_eq!(line, b"DECRYPTED\n");
        writer.aclose().await
    })
}

#[test]
fn tls_25_protocols_of_both_kinds_move_up_and_are_not_told_again() -> io::Result<()> {
    for lends in [false, true] {
        let event_loop = EventLoop::new()?;
        let (ours, theirs) = (Trace::new(), Trace::new());
        let one = Recorder::new(&ours);
        let one = match lends {
            true => one.on_get_buffer(|_, _| ReadInto::Lent(vec![0; 7])),
            false => one,
        };
        let (one, other) =
            memory_transport_pair(&event_loop, one, Recorder::new(&theirs), 64 * 1024);
        other.write(b"in plain, ");
        while ours.received_len() < 10 {
            event_loop.turn(None)?;
        }
        let client = event_loop
            .start_tls(&one, client_context())
            .server_hostname(NAME);
        let server = event_loop.start_tls(&other, server_context());
        let client = event_loop.create_task(client.into_future());
        let server = event_loop.create_task(server.into_future());
        let (one, other) = event_loop.run_until_complete(async {
            let one = client.await.map_err(io::Error::from)??;
            let other = server.await.map_err(io::Error::from)??;
            io::Result::Ok((one, other))
        })??;
        other.write(b"and then in secret");
        one.write(b"yes");
        while ours.received_len() < 28 || theirs.received_len() < 3 {
            event_loop.turn(None)?;
        }
        other.close();
        while !ours.is_lost() || !theirs.is_lost() {
            event_loop.turn(None)?;
        }
        assert_eq!(
            ours.told(),
            [
                Told::ConnectionMade,
                Told::DataReceived(b"in plain, and then in secret".to_vec()),
                Told::EofReceived,
                Told::ConnectionLost(None),
            ]
        );
        ours.assert_complete();
        theirs.assert_complete();
    }
    Ok(())
}

#[test]
fn tls_26_wrong_arguments_leave_the_plain_connection_as_it_is() -> io::Result<()> {
    run(async {
        let (_server, port) = serve(upgraded).await?;
        let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;
        let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
        let invalid = Err(io::ErrorKind::InvalidInput);
        assert_eq!(kind(writer.start_tls(client_context()).await), invalid);
        let named = writer.start_tls(server_context()).server_hostname(NAME);
        assert_eq!(kind(named.await), invalid);
        let timeless = writer
            .start_tls(client_context())
            .server_hostname(NAME)
            .ssl_handshake_timeout(Duration::ZERO);
        assert_eq!(kind(timeless.await), invalid);

        writer.write(b"STARTTLS\n");
        assert_eq!(reader.readline().await?, b"go ahead\n");
        writer
            .start_tls(client_context())
            .server_hostname(NAME)
            .await?;
        let twice = writer.start_tls(client_context()).server_hostname(NAME);
        assert_eq!(kind(twice.await), Err(io::ErrorKind::Unsupported));
        writer.write(b"still there\n");
        assert_eq!(reader.readline().await?, b"STILL THERE\n");
        writer.aclose().await?;
        let closed = writer.start_tls(client_context()).server_hostname(NAME);
        assert!(closed.await.is_err());

        let (_reader, mut writer) = open_connection("127.0.0.1", port).await?;
        writer.close();
        let closed = writer.start_tls(client_context()).server_hostname(NAME);
        assert_eq!(kind(closed.await), Err(io::ErrorKind::NotConnected));
        io::Result::Ok(())
    })
}

#[test]
fn tls_27_an_eager_clients_hello_is_handed_to_tls() -> io::Result<()> {
    for borrows in [false, true] {
        let event_loop = EventLoop::new()?;
        let handler = async move |mut reader: StreamReader, mut writer: StreamWriter| {
            // Until the hello lies in the reader, too.
            reader.peek(b"STARTTLS\n".len() + 100).await?;
            if borrows {
                assert_eq!(reader.readline_ref().await?, b"STARTTLS\n");
                let refused = writer.start_tls(server_context()).await;
                assert!(refused.is_err_and(|error| PlaintextBuffered::is(&error)));
                writer
                    .start_tls(server_context())
                    .reader(&mut reader)
                    .await?;
            } else {
                assert_eq!(reader.readline().await?, b"STARTTLS\n");
                writer.start_tls(server_context()).await?;
            }
            writer.write(reader.readline().await?);
            writer.aclose().await
        };
        event_loop.run_until_complete(async move {
            let (_server, port) = serve(handler).await?;
            let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;
            writer.write(b"STARTTLS\n");
            writer
                .start_tls(client_context())
                .server_hostname(NAME)
                .await?;
            writer.write(b"no hang\n");
            let line = timeout(PATIENCE, reader.readline()).await??;
            assert_eq!(line, b"no hang\n");
            io::Result::Ok(())
        })??;
    }
    Ok(())
}

#[test]
fn plaintext_injected_before_start_tls_is_refused_by_a_client() -> io::Result<()> {
    for buffered in [None, Some(Buffered::Refuse), Some(Buffered::Discard)] {
        run(async move {
            let handler = async |mut reader: StreamReader, mut writer: StreamWriter| {
                assert_eq!(reader.readline().await?, b"STARTTLS\n");
                writer.write(b"go ahead\ninjected\n");
                writer.start_tls(server_context()).await?;
                writer.write(b"in secret\n");
                writer.aclose().await
            };
            let (_server, port) = serve(handler).await?;
            let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;
            writer.write(b"STARTTLS\n");
            assert_eq!(reader.readline().await?, b"go ahead\n");
            let start = writer.start_tls(client_context()).server_hostname(NAME);
            let outcome = match buffered {
                None => start.await,
                Some(buffered) => start.buffered(buffered).await,
            };
            if buffered == Some(Buffered::Discard) {
                outcome?;
                assert_eq!(reader.readline().await?, b"in secret\n");
            } else {
                let refused = outcome.expect_err("it must be refused");
                assert!(PlaintextBuffered::is(&refused), "{refused}");
                // And the stream is what it was.
                assert_eq!(reader.readline().await?, b"injected\n");
            }
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tls_29_a_start_that_is_dropped_closes_and_leaves_nothing() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let silent = async |mut reader: StreamReader, _writer: StreamWriter| {
            reader.read_all().await?;
            Ok(())
        };
        let (server, port) = serve(silent).await?;
        let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;
        {
            let start = writer.start_tls(client_context()).server_hostname(NAME);
            let dropped = timeout(Duration::from_millis(20), start.into_future()).await;
            assert!(dropped.is_err(), "nobody answers");
        }
        assert!(writer.is_closing());
        assert!(writer.wait_closed().await.is_err(), "D20");
        assert!(reader.read(1).await.is_err());
        server.close();
        server.wait_closed().await;
        while handle.census().sources > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(handle.census().timers, 0, "a timer is left");
        io::Result::Ok(())
    })
}

#[test]
fn tls_10_a_start_that_fails_is_told_to_the_protocol_once() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = (Trace::new(), Trace::new());
    let (one, other) = memory_transport_pair(
        &event_loop,
        Recorder::new(&ours),
        Recorder::new(&theirs),
        64 * 1024,
    );
    while !ours.has(&Told::ConnectionMade) {
        event_loop.turn(None)?;
    }
    let wrong = authority().signs(&["other.test"]);
    let context = TlsServerContext::from_pem(&wrong.chain, &wrong.key)?;
    let client = event_loop
        .start_tls(&one, client_context())
        .server_hostname(NAME);
    let server = event_loop.start_tls(&other, context);
    let client = event_loop.create_task(client.into_future());
    let server = event_loop.create_task(server.into_future());
    let (client, server) = event_loop.run_until_complete(async { (client.await, server.await) })?;
    assert!(client.map_err(io::Error::from)?.is_err());
    assert!(server.map_err(io::Error::from)?.is_err());
    for trace in [ours, theirs] {
        assert_eq!(
            trace.told(),
            [
                Told::ConnectionMade,
                Told::ConnectionLost(Some(io::ErrorKind::InvalidData))
            ]
        );
        trace.assert_complete();
    }
    assert!(Rc::strong_count(&one) <= 2, "the raw transport is held");
    Ok(())
}

#[test]
fn tls_26_a_transport_that_is_closed_while_it_is_flushed_says_so() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let (ours, theirs) = (Trace::new(), Trace::new());
    let (one, _other) = memory_transport_pair(
        &event_loop,
        Recorder::new(&ours),
        Recorder::new(&theirs).on_connection_made(|t| t.pause_reading()),
        16,
    );
    while !theirs.has(&Told::ConnectionMade) || !ours.has(&Told::ConnectionMade) {
        event_loop.turn(None)?;
    }
    for replaced in [false, true] {
        one.write(&[b'x'; 64]);
        let mut start = event_loop
            .start_tls(&one, client_context())
            .server_hostname(NAME);
        if replaced {
            start = start.protocol(Recorder::new(&Trace::new()));
        }
        let start = event_loop.create_task(start.into_future());
        event_loop.turn(Some(Duration::ZERO))?;
        one.abort();
        let started = event_loop.run_until_complete(start)?;
        let error = started.map_err(io::Error::from)?.map(|_| ());
        let error = error.expect_err("it is closed");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected, "{error}");
    }
    Ok(())
}

#[test]
fn tls_25_an_accepted_socket_becomes_a_server_though_its_client_is_eager() -> io::Result<()> {
    /// Lets nothing be read before TLS is there to read it.
    struct Waiting;

    impl Protocol for Waiting {
        fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
            transport.pause_reading();
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let client = thread::spawn(move || {
        let mut peer = Peer::connect(port)?;
        peer.handshake()?;
        peer.sends(b"hello\n")?;
        peer.closes()?;
        peer.expects_end()
    });
    // Its hello lies here already.
    let (accepted, _) = listener.accept()?;
    accepted.peek(&mut [0])?;
    let trace = Trace::new();
    let told = trace.clone();
    run(async move {
        let handle = get_running_loop()?;
        let raw = handle.connect_accepted_socket(|| Waiting, accepted).await?;
        let transport = handle
            .start_tls(&raw, server_context())
            .protocol(Recorder::new(&told))
            .tell_connection_made(true)
            .await?;
        assert!(told.has(&Told::ConnectionMade));
        while !told.is_lost() {
            sleep(Duration::from_millis(1)).await;
        }
        drop(transport);
        io::Result::Ok(())
    })?;
    assert_eq!(trace.received(), b"hello\n");
    let (_, clean) = client.join().expect("it does not panic")?;
    assert!(clean, "our close_notify came");
    trace.assert_complete();
    Ok(())
}

#[test]
fn tls_36_a_writers_drain_returns_only_when_the_ciphertext_is_under_the_low_mark() -> io::Result<()>
{
    run(async {
        // A byte for each send.
        let ((_reader, mut writer), (mut their_reader, mut their_writer)) = memory_stream_pair(1);
        let peer = create_task(async move {
            their_writer.start_tls(server_context()).await?;
            let got = their_reader.read_all().await?;
            assert_eq!(their_reader.eof_kind(), Some(EofKind::Clean));
            their_writer.aclose().await?;
            io::Result::Ok(got)
        });
        let start = writer.start_tls(client_context()).server_hostname(NAME);
        start.await?;
        let transport = writer.transport().clone();
        transport.set_write_buffer_limits(Some(32 * 1024), Some(8 * 1024))?;
        let sent: Vec<u8> = (0..64 * 1024_usize).map(|n| (n % 251) as u8).collect();
        writer.write(&sent);
        assert!(transport.get_write_buffer_size() >= 32 * 1024);
        writer.drain().await?;
        let left = transport.get_write_buffer_size();
        assert!(left <= 8 * 1024, "{left} bytes are left");
        writer.aclose().await?;
        assert!(peer.await.map_err(io::Error::from)?? == sent);
        io::Result::Ok(())
    })
}
