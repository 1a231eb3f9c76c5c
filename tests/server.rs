//! Servers and the functions that connect to them: on real sockets.

mod net_support;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::rc::Rc;

use millstream::{
    Cancelled, Protocol, StreamReader, StreamWriter, Transport, create_task, get_running_loop,
    open_connection, open_connection_sock, run, start_server, start_server_sock,
    start_unix_server_sock, yield_now,
};
use net_support::{echo, port_of, text_of};

const LOCALHOST: &str = "127.0.0.1";

// ── serving and stopping ────────────────────────────────────────────────────────

#[test]
fn vector_7_a_closed_server_waits_for_the_client_that_is_active() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let (mut reader, writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        writer.write("still there\n");
        assert_eq!(reader.readline().await?, b"still there\n");
        assert_eq!(server.connection_count(), 1);

        server.close();
        server.close();
        assert!(!server.is_serving());
        assert_eq!(server.sockets(), []);
        let waiting = server.clone();
        let closed = create_task(async move { waiting.wait_closed().await });
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(!closed.done());
        writer.write("and served\n");
        assert_eq!(reader.readline().await?, b"and served\n");

        writer.aclose().await?;
        closed.await?;
        assert_eq!(server.connection_count(), 0);
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn a_closed_server_refuses_and_serve_forever_ends_as_cancelled() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let port = port_of(&server);
        let serving = server.clone();
        let forever = create_task(async move { serving.serve_forever().await });
        yield_now().await;
        let again = text_of(server.serve_forever().await);
        assert!(
            again.ends_with("is already being awaited on serve_forever()"),
            "{again}"
        );

        server.close();
        let ended = forever.await?.expect_err("it was closed");
        assert!(Cancelled::is(&ended));
        let refused = open_connection(LOCALHOST, port)
            .await
            .expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(refused.to_string().contains(&format!("{LOCALHOST}:{port}")));
        let closed = text_of(server.start_serving().await);
        assert!(closed.ends_with("is closed"), "{closed}");
        io::Result::Ok(())
    })
}

#[test]
fn d_29_dropping_the_last_handle_stops_serving_and_leaves_connections_alone() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let port = port_of(&server);
        let (mut reader, writer) = open_connection(LOCALHOST, port).await?;
        writer.write("one\n");
        reader.readline().await?;
        let other_handle = server.clone();
        drop(server);
        drop(open_connection(LOCALHOST, port).await?);
        drop(other_handle);
        assert!(open_connection(LOCALHOST, port).await.is_err());
        writer.write("two\n");
        assert_eq!(reader.readline().await?, b"two\n");
        io::Result::Ok(())
    })
}

#[test]
fn cancelling_serve_forever_closes_the_server() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).await?;
        let serving = server.clone();
        let forever = create_task(async move { serving.serve_forever().await });
        yield_now().await;
        forever.cancel();
        yield_now().await;
        yield_now().await;
        assert!(!server.is_serving());
        io::Result::Ok(())
    })
}

#[test]
fn a_factory_that_panics_costs_its_connection_and_nothing_else() -> io::Result<()> {
    struct Quiet;
    impl Protocol for Quiet {
        fn connection_made(&mut self, transport: &Rc<dyn Transport>) {
            transport.write(b"made");
            transport.close();
        }
    }
    run(async {
        let handle = get_running_loop()?;
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let factory = move || {
            counted.set(counted.get() + 1);
            assert!(counted.get() > 1, "out of protocols");
            Quiet
        };
        let server = handle.create_server(factory, LOCALHOST, 0).await?;
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        assert_eq!(reader.read_all().await?, b"");
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server)).await?;
        assert_eq!(reader.read_all().await?, b"made");
        assert_eq!(calls.get(), 2);
        io::Result::Ok(())
    })
}

#[test]
fn more_clients_than_the_backlog_are_all_accepted() -> io::Result<()> {
    run(async {
        let server = start_server(echo, LOCALHOST, 0).backlog(4).await?;
        let port = port_of(&server);
        // The thread connects while this loop sleeps, and in bursts.
        let clients = std::thread::spawn(move || -> io::Result<()> {
            let mut clients = Vec::new();
            // The kernel takes a second for each that finds the queue full.
            for _ in 0..16 {
                let mut client = TcpStream::connect((LOCALHOST, port))?;
                client.write_all(b"x\n")?;
                clients.push(client);
            }
            for client in &mut clients {
                client.read_exact(&mut [0; 2])?;
            }
            Ok(())
        });
        let handle = get_running_loop()?;
        let joined = handle.run_in_executor(move || clients.join()).await?;
        joined.expect("the clients do not panic")?;
        io::Result::Ok(())
    })
}

// ── where to serve ──────────────────────────────────────────────────────────────

#[test]
fn a_list_of_hosts_is_served_on_each_once() -> io::Result<()> {
    run(async {
        let server = start_server(echo, ["127.0.0.1", "127.0.0.1", "127.0.0.2"], 0).await?;
        let sockets = server.sockets();
        // Other systems have no 127.0.0.2 unless somebody configured it.
        assert_eq!(sockets.len(), if cfg!(target_os = "linux") { 2 } else { 1 });
        io::Result::Ok(())
    })
}

#[test]
fn no_host_serves_on_all_interfaces() -> io::Result<()> {
    run(async {
        for server in [
            start_server(echo, None::<&str>, 0).await?,
            start_server(echo, "", 0).await?,
        ] {
            let wildcard = server
                .sockets()
                .iter()
                .filter_map(|address| address.as_inet())
                .find(std::net::SocketAddr::is_ipv4)
                .expect("every machine has IPv4");
            assert!(wildcard.ip().is_unspecified());
            drop(open_connection(LOCALHOST, wildcard.port()).await?);
        }
        io::Result::Ok(())
    })
}

#[test]
fn a_taken_port_is_an_error_that_names_the_address_and_leaves_nothing_bound() -> io::Result<()> {
    run(async {
        let taken = TcpListener::bind((LOCALHOST, 0))?;
        let address = taken.local_addr()?;
        let error = start_server(echo, LOCALHOST, address.port())
            .await
            .expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        let begins = format!("error while attempting to bind on address {address}: ");
        assert!(text.starts_with(&begins), "{text}");
        assert_eq!(get_running_loop()?.census().sources, 0);
        io::Result::Ok(())
    })
}

#[test]
fn sockets_that_were_made_elsewhere_are_served_and_connected() -> io::Result<()> {
    run(async {
        let bound = TcpListener::bind((LOCALHOST, 0))?;
        let server = start_server_sock(echo, bound).await?;
        let blocking = TcpStream::connect((LOCALHOST, port_of(&server)))?;
        let (mut reader, writer) = open_connection_sock(blocking).await?;
        writer.write("adopted\n");
        assert_eq!(reader.readline().await?, b"adopted\n");
        io::Result::Ok(())
    })
}

#[test]
fn what_is_no_stream_socket_is_refused_by_its_name() -> io::Result<()> {
    run(async {
        let expected = "A Stream Socket was expected, got <socket fd=";
        let udp = UdpSocket::bind((LOCALHOST, 0))?;
        let served = text_of(start_server_sock(echo, udp.try_clone()?).await);
        assert!(served.starts_with(expected), "{served}");
        let connected = text_of(open_connection_sock(udp).await);
        assert!(connected.starts_with(expected), "{connected}");
        let tcp = TcpListener::bind((LOCALHOST, 0))?;
        let unix = text_of(start_unix_server_sock(echo, tcp).await);
        assert!(
            unix.starts_with("A UNIX Domain Stream Socket was expected, got"),
            "{unix}"
        );
        io::Result::Ok(())
    })
}

#[test]
fn a_limit_of_zero_is_refused_before_anything_is_opened() -> io::Result<()> {
    run(async {
        let sources = get_running_loop()?.census().sources;
        let serving = text_of(start_server(echo, LOCALHOST, 0).limit(0).await);
        assert_eq!(serving, "Limit cannot be <= 0");
        let connecting = text_of(open_connection(LOCALHOST, 1).limit(0).await);
        assert_eq!(connecting, "Limit cannot be <= 0");
        assert_eq!(get_running_loop()?.census().sources, sources);
        io::Result::Ok(())
    })
}

#[test]
fn the_limit_is_that_of_every_reader() -> io::Result<()> {
    run(async {
        let told = Rc::new(Cell::new(0));
        let tell = told.clone();
        let handler =
            async move |reader: StreamReader, _writer: StreamWriter| tell.set(reader.limit());
        let server = start_server(handler, LOCALHOST, 0).limit(1234).await?;
        let (mut reader, _writer) = open_connection(LOCALHOST, port_of(&server))
            .limit(99)
            .await?;
        assert_eq!(reader.limit(), 99);
        assert_eq!(reader.read_all().await?, b"");
        assert_eq!(told.get(), 1234);
        io::Result::Ok(())
    })
}

#[test]
fn a_name_that_does_not_resolve_is_named() -> io::Result<()> {
    run(async {
        // Too long for a name, so no name server is asked.
        let name = "x".repeat(300);
        let error = text_of(open_connection(&name, 1).await);
        assert!(
            error.starts_with(&format!("cannot resolve host {name:?}: ")),
            "{error}"
        );
        io::Result::Ok(())
    })
}
