//! Raw sockets on the loop: `sock_recv` and its kin, on real sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use millstream::{
    Address, LoopHandle, SockTarget, Task, create_task, get_running_loop, open_connection_sock,
    run, timeout, yield_now,
};
use socket2::{Domain, SockAddr, Socket, Type};

/// A loop and one end of a pair that does not block; the other end does.
fn pair() -> io::Result<(LoopHandle, UnixStream, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((get_running_loop()?, ours, theirs))
}

/// Runs a future as a task, until it waits.
async fn begun<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let task = create_task(future);
    for _ in 0..3 {
        yield_now().await;
    }
    assert!(!task.done(), "it was to wait");
    task
}

// ------------------------------------------------------------- streams

#[test]
fn what_is_there_is_received_without_waiting() -> io::Result<()> {
    run(async {
        let (handle, ours, mut theirs) = pair()?;
        theirs.write_all(b"abcdef")?;
        assert_eq!(handle.sock_recv(&ours, 3).await?, b"abc");
        let mut buffer = [b'.'; 5];
        assert_eq!(handle.sock_recv_into(&ours, &mut buffer).await?, 3);
        assert_eq!(&buffer, b"def..");
        assert_eq!(handle.census().sources, 0);
        Ok(())
    })
}

#[test]
fn what_comes_later_is_waited_for_and_the_end_is_empty() -> io::Result<()> {
    run(async {
        let (handle, ours, mut theirs) = pair()?;
        for message in [b"first", b"other"] {
            let (of, same) = (handle.clone(), ours.try_clone()?);
            let receiving = begun(async move { of.sock_recv(&same, 100).await }).await;
            assert_eq!(handle.census().sources, 1);
            theirs.write_all(message)?;
            assert_eq!(receiving.await??, message);
            assert_eq!(handle.census().sources, 0);
        }
        drop(theirs);
        assert_eq!(handle.sock_recv(&ours, 100).await?, b"");
        Ok(())
    })
}

#[test]
fn a_receive_that_is_dropped_leaves_no_watcher_and_loses_nothing() -> io::Result<()> {
    run(async {
        let (handle, ours, mut theirs) = pair()?;
        let (of, same) = (handle.clone(), ours.try_clone()?);
        let receiving = begun(async move { of.sock_recv(&same, 100).await }).await;
        receiving.cancel();
        assert!(receiving.await.is_err());
        assert_eq!(handle.census().sources, 0);

        // Also if it was ready already, and cancelled before it looked.
        let (of, same) = (handle.clone(), ours.try_clone()?);
        let receiving = begun(async move { of.sock_recv(&same, 100).await }).await;
        theirs.write_all(b"kept")?;
        receiving.cancel();
        assert!(receiving.await.is_err());
        assert_eq!(handle.census().sources, 0);
        assert_eq!(handle.sock_recv(&ours, 100).await?, b"kept");
        Ok(())
    })
}

#[test]
fn a_receive_that_times_out_can_be_called_again() -> io::Result<()> {
    run(async {
        let (handle, ours, mut theirs) = pair()?;
        let none = timeout(Duration::from_millis(1), handle.sock_recv(&ours, 1)).await;
        assert!(none.is_err());
        theirs.write_all(b"x")?;
        assert_eq!(handle.sock_recv(&ours, 1).await?, b"x");
        Ok(())
    })
}

#[test]
fn all_is_sent_however_often_the_kernel_is_full() -> io::Result<()> {
    run(async {
        let (handle, ours, theirs) = pair()?;
        theirs.set_nonblocking(true)?;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| i as u8).collect();
        let (of, data) = (handle.clone(), sent.clone());
        let sending = begun(async move {
            of.sock_sendall(&ours, &data).await?;
            of.sock_sendall(&ours, b"").await
        })
        .await;
        let mut received = Vec::new();
        loop {
            let some = handle.sock_recv(&theirs, 65_536).await?;
            if some.is_empty() {
                break;
            }
            received.extend(some);
        }
        sending.await??;
        assert!(received == sent);
        assert_eq!(handle.census().sources, 0);
        Ok(())
    })
}

#[test]
fn reading_and_writing_wait_side_by_side_on_one_socket() -> io::Result<()> {
    run(async {
        let (handle, ours, mut theirs) = pair()?;
        let (of, same) = (handle.clone(), ours.try_clone()?);
        let receiving = begun(async move { of.sock_recv(&same, 100).await }).await;
        let of = handle.clone();
        let sending = begun(async move { of.sock_sendall(&ours, &[b'x'; 1_000_000]).await }).await;
        theirs.write_all(b"while you send")?;
        assert_eq!(receiving.await??, b"while you send");
        assert!(!sending.done());
        theirs.set_nonblocking(true)?;
        let mut left = 1_000_000;
        while left > 0 {
            left -= handle.sock_recv(&theirs, 100_000).await?.len();
        }
        sending.await?
    })
}

#[test]
fn a_peer_that_is_gone_is_an_error_of_sending() -> io::Result<()> {
    run(async {
        let (handle, ours, theirs) = pair()?;
        drop(theirs);
        let error = handle
            .sock_sendall(&ours, b"abc")
            .await
            .expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        Ok(())
    })
}

// ------------------------------------------------------------- refusals

#[test]
fn a_blocking_socket_is_refused_by_each_call() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let (blocking, _theirs) = UnixStream::pair()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let new = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let refused = [
            handle.sock_recv(&blocking, 1).await.err(),
            handle.sock_recv_into(&blocking, &mut [0]).await.err(),
            handle.sock_sendall(&blocking, b"x").await.err(),
            handle.sock_accept(&listener).await.err(),
            handle.sock_recvfrom(&udp, 1).await.err(),
            handle.sock_recvfrom_into(&udp, &mut [0]).await.err(),
            handle.sock_sendto(&udp, b"x", address).await.err(),
            handle.sock_connect(&new, address).await.err(),
        ];
        for error in refused {
            let error = error.expect("it blocks");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(
                text.starts_with("the socket must be non-blocking"),
                "{text}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_second_call_in_one_direction_is_refused_and_the_first_goes_on() -> io::Result<()> {
    run(async {
        let (handle, ours, mut theirs) = pair()?;
        let ours = std::rc::Rc::new(ours);
        let (of, same) = (handle.clone(), ours.clone());
        let first = begun(async move { of.sock_recv(&*same, 100).await }).await;
        let error = handle
            .sock_recv(&*ours, 100)
            .await
            .expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert_eq!(
            error.to_string(),
            format!(
                "File descriptor {} is already watched for reading: one waits at a time",
                ours.as_raw_fd()
            )
        );
        theirs.write_all(b"for the first")?;
        assert_eq!(first.await??, b"for the first");
        Ok(())
    })
}

#[test]
fn a_call_whose_watcher_is_replaced_ends_and_leaves_the_other_alone() -> io::Result<()> {
    run(async {
        let (handle, ours, _theirs) = pair()?;
        let ours = std::rc::Rc::new(ours);
        let (of, same) = (handle.clone(), ours.clone());
        let receiving = begun(async move { of.sock_recv(&*same, 100).await }).await;
        handle.add_reader(ours.as_raw_fd(), || {})?;
        let error = receiving.await?.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        assert!(handle.remove_reader(ours.as_raw_fd())?);
        Ok(())
    })
}

// ------------------------------------------------------------- accepting and connecting

#[test]
fn a_connection_is_accepted_as_one_that_does_not_block() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let of = handle.clone();
        let accepting = begun(async move { of.sock_accept(&listener).await }).await;

        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        handle.sock_connect(&client, address).await?;
        let client = TcpStream::from(client);
        let (accepted, peer) = accepting.await??;
        assert_eq!(peer, Address::Inet(client.local_addr()?));

        handle.sock_sendall(&accepted, b"hello").await?;
        assert_eq!(handle.sock_recv(&client, 100).await?, b"hello");
        let (mut reader, _writer) = open_connection_sock(accepted).await?;
        handle.sock_sendall(&client, b"a line\n").await?;
        assert_eq!(reader.readline().await?, b"a line\n");
        Ok(())
    })
}

#[test]
fn an_accept_that_is_dropped_loses_no_connection() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let same = listener.try_clone()?;
        let of = handle.clone();
        let accepting = begun(async move { of.sock_accept(&same).await }).await;
        let client = TcpStream::connect(listener.local_addr()?)?;
        accepting.cancel();
        assert!(accepting.await.is_err());
        let (_accepted, peer) = handle.sock_accept(&listener).await?;
        assert_eq!(peer, Address::Inet(client.local_addr()?));
        Ok(())
    })
}

#[test]
fn a_host_is_resolved_to_an_address_of_the_sockets_family() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        for host in ["localhost", "127.0.0.1"] {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            client.set_nonblocking(true)?;
            handle.sock_connect(&client, (host, port)).await?;
            assert_eq!(TcpStream::from(client).peer_addr()?.port(), port);
        }
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        let error = handle.sock_connect(&client, ("::1", port)).await;
        assert_eq!(
            error.expect_err("it is refused").to_string(),
            "host \"::1\" has no address that the socket's family can reach"
        );
        Ok(())
    })
}

#[test]
fn a_refused_connect_names_the_address_and_keeps_the_number() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        client.set_nonblocking(true)?;
        let error = handle
            .sock_connect(&client, nobody)
            .await
            .expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("Connect call failed {nobody}")),
            "{text}"
        );
        let source = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .expect("the system's error is behind it");
        assert!(source.raw_os_error().is_some());
        assert_eq!(handle.census().sources, 0);
        Ok(())
    })
}

#[test]
fn a_unix_socket_connects_and_waits_for_room_in_the_backlog() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let folder = std::env::temp_dir().join(format!("millstream-sock-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("listener");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        listener.bind(&SockAddr::unix(&path)?)?;
        listener.listen(0)?;
        let listener = UnixListener::from(listener);

        // One that fills the backlog, and one that waits.
        let first = unix_stream()?;
        handle.sock_connect(&first, path.as_path()).await?;
        let second = unix_stream()?;
        let (of, target) = (handle.clone(), SockTarget::from(path.clone()));
        let connecting = create_task(async move {
            of.sock_connect(&second, target).await?;
            io::Result::Ok(second)
        });
        timeout(Duration::from_millis(5), std::future::pending::<()>())
            .await
            .ok();
        let _ = listener.accept()?;
        let mut second = UnixStream::from(connecting.await??);
        let (mut accepted, _) = listener.accept()?;
        accepted.write_all(b"!")?;
        let mut byte = [0];
        second.set_nonblocking(false)?;
        second.read_exact(&mut byte)?;
        assert_eq!(byte, *b"!");
        std::fs::remove_dir_all(folder)
    })
}

fn unix_stream() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

// ------------------------------------------------------------- datagrams

#[test]
fn datagrams_keep_their_bounds_and_tell_their_senders() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        one.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        let to = other.local_addr()?;
        let from = Address::Inet(one.local_addr()?);

        let (of, same) = (handle.clone(), other.try_clone()?);
        let receiving = begun(async move { of.sock_recvfrom(&same, 100).await }).await;
        assert_eq!(handle.sock_sendto(&one, b"first", to).await?, 5);
        assert_eq!(receiving.await??, (b"first".to_vec(), from.clone()));

        handle.sock_sendto(&one, b"", to).await?;
        handle.sock_sendto(&one, b"cut off", to).await?;
        let mut buffer = [0; 3];
        let empty = handle.sock_recvfrom_into(&other, &mut buffer).await?;
        assert_eq!(empty, (0, from.clone()));
        let cut = handle.sock_recvfrom_into(&other, &mut buffer).await?;
        assert_eq!((cut, &buffer), ((3, from), b"cut"));
        Ok(())
    })
}

#[test]
fn datagrams_of_unix_sockets_have_paths() -> io::Result<()> {
    run(async {
        let handle = get_running_loop()?;
        let folder = std::env::temp_dir().join(format!("millstream-dgram-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let (here, there) = (folder.join("here"), folder.join("there"));
        let one = UnixDatagram::bind(&here)?;
        let other = UnixDatagram::bind(&there)?;
        one.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        handle.sock_sendto(&one, b"abc", there.as_path()).await?;
        let received = handle.sock_recvfrom(&other, 100).await?;
        assert_eq!(received, (b"abc".to_vec(), Address::Unix(here)));

        let nameless = UnixDatagram::unbound()?;
        nameless.set_nonblocking(true)?;
        handle.sock_sendto(&nameless, b"?", there).await?;
        assert_eq!(handle.sock_recvfrom(&other, 100).await?.1, Address::Unnamed);
        let nowhere = handle.sock_sendto(&one, b"!", Address::Unnamed).await;
        assert_eq!(
            nowhere.expect_err("it is refused").kind(),
            ErrorKind::InvalidInput
        );
        std::fs::remove_dir_all(folder)
    })
}
