//! Unix-domain sockets: paths, stale files, modes, abstract names, and what the peer is.

mod net_support;

use std::cell::RefCell;
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use millstream::{
    Address, Clock, EventLoop, PeerName, Protocol, Runner, Server, SockName, SocketOptions,
    StreamReader, StreamWriter, create_task, get_running_loop, open_unix_connection,
    open_unix_connection_sock, run, sleep, start_server_sock, start_unix_server,
    start_unix_server_sock, yield_now,
};
use net_support::error_of;
use socket2::SockRef;

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        writer.write(&line);
        writer.drain().await?;
    }
    writer.aclose().await
}

/// A folder of its own for each test, gone with what is in it when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Folder> {
        // Short: the path of a Unix-domain socket has to fit into some hundred bytes.
        let path = std::env::temp_dir().join(format!("ms-{}-{name}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode_of(path: &Path) -> io::Result<u32> {
    Ok(fs::symlink_metadata(path)?.permissions().mode() & 0o777)
}

/// One word there and back.
async fn is_served(path: &Path) -> io::Result<()> {
    let (mut reader, writer) = open_unix_connection(path).await?;
    writer.write("by path\n");
    assert_eq!(reader.readline().await?, b"by path\n");
    writer.aclose().await
}

// ── connecting and serving ──────────────────────────────────────────────────────

#[test]
fn unx_01_a_hundred_clients_are_served_by_path() -> io::Result<()> {
    let folder = Folder::new("01")?;
    let path = folder.path("socket");
    run(async move {
        let server = start_unix_server(echo, &path).await?;
        assert_eq!(server.sockets()[0].as_path(), Some(path.as_path()));
        let clients: Vec<_> = (0..100)
            .map(|n| {
                let path = path.clone();
                create_task(async move {
                    let (mut reader, writer) = open_unix_connection(path).await?;
                    for round in 0..10 {
                        let line = format!("client {n}, round {round}\n");
                        writer.write(&line);
                        assert_eq!(reader.readline().await?, line.as_bytes());
                    }
                    writer.aclose().await
                })
            })
            .collect();
        for client in clients {
            client.await??;
        }
        server.close();
        server.wait_closed().await;
        io::Result::Ok(())
    })
}

#[test]
fn unx_13_a_client_without_a_name_has_none() -> io::Result<()> {
    let folder = Folder::new("13")?;
    let path = folder.path("socket");
    run(async move {
        let names = std::rc::Rc::new(RefCell::new(Vec::new()));
        let written = names.clone();
        let server = start_unix_server(
            async move |_reader: StreamReader, writer: StreamWriter| {
                let names = (
                    writer.get_extra_info(PeerName),
                    writer.get_extra_info(SockName),
                );
                written.borrow_mut().push(names);
            },
            &path,
        )
        .await?;
        let (mut reader, writer) = open_unix_connection(&path).await?;
        assert_eq!(writer.get_extra_info(SockName), Some(Address::Unnamed));
        let served = Some(Address::Unix(path.clone()));
        assert_eq!(writer.get_extra_info(PeerName), served);
        assert_eq!(reader.read_all().await?, b"");
        writer.aclose().await?;
        assert_eq!(
            writer.get_extra_info(PeerName),
            served,
            "also after the end"
        );

        // One with a name, from elsewhere.
        let named = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        named.bind(&socket2::SockAddr::unix(folder.path("client"))?)?;
        named.connect(&socket2::SockAddr::unix(&path)?)?;
        let mut named = UnixStream::from(std::os::fd::OwnedFd::from(named));
        get_running_loop()?
            .run_in_executor(move || named.read_to_end(&mut Vec::new()))
            .await??;
        server.close();
        assert_eq!(
            names.take(),
            [
                (Some(Address::Unnamed), served.clone()),
                (Some(Address::Unix(folder.path("client"))), served)
            ]
        );
        io::Result::Ok(())
    })
}

#[test]
fn unx_15_a_missing_path_and_one_where_nobody_listens_are_named() -> io::Result<()> {
    let folder = Folder::new("15")?;
    let (missing, left) = (folder.path("missing"), folder.path("left"));
    drop(UnixListener::bind(&left)?);
    run(async move {
        let error = error_of(open_unix_connection(&missing).await);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = format!("Connect call failed {}: ", missing.display());
        assert!(error.to_string().starts_with(&text), "{error}");
        let error = error_of(open_unix_connection(&left).await);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(get_running_loop()?.census().sources, 0);
        io::Result::Ok(())
    })
}

#[test]
fn unx_12_a_full_backlog_is_waited_for_and_no_connection_is_half_open() -> io::Result<()> {
    let folder = Folder::new("12")?;
    let path = folder.path("socket");
    run(async move {
        let listener = UnixListener::bind(&path)?;
        SockRef::from(&listener).listen(1)?;
        let connecting: Vec<_> = (0..10)
            .map(|_| {
                let path = path.clone();
                create_task(async move { open_unix_connection(path).await })
            })
            .collect();
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(connecting.iter().any(|connect| !connect.done()));
        let accepting = thread::spawn(move || {
            let accepted: io::Result<Vec<UnixStream>> =
                (0..10).map(|_| Ok(listener.accept()?.0)).collect();
            for mut stream in accepted? {
                stream.write_all(b"hello")?;
            }
            io::Result::Ok(())
        });
        for connect in connecting {
            let (mut reader, _writer) = connect.await??;
            assert_eq!(reader.read_all().await?, b"hello", "it is a whole one");
        }
        accepting.join().expect("the thread does not panic")
    })
}

#[test]
fn unx_12_room_is_looked_for_ten_times_a_second_at_the_least() -> io::Result<()> {
    let folder = Folder::new("12c")?;
    let path = folder.path("socket");
    let runner = Runner::on(EventLoop::with_clock(Clock::simulated())?);
    runner.run(async move {
        let handle = get_running_loop()?;
        let listener = UnixListener::bind(&path)?;
        SockRef::from(&listener).listen(0)?;
        let kept = UnixStream::connect(&path)?; // which fills it
        let connecting = create_task(async move { open_unix_connection(path).await });
        sleep(Duration::from_secs(10)).await;
        // Where the system does not wait, it refuses: then there is nothing to see here.
        if !connecting.done() {
            let room_since = handle.time();
            let _first = listener.accept()?;
            let (_reader, _writer) = connecting.await??;
            assert!(handle.time() - room_since <= Duration::from_millis(100));
        }
        drop(kept);
        io::Result::Ok(())
    })
}

#[test]
fn unx_12_waiting_for_room_can_be_cancelled_and_ends_with_the_listener() -> io::Result<()> {
    let folder = Folder::new("12b")?;
    let path = folder.path("socket");
    run(async move {
        let listener = UnixListener::bind(&path)?;
        SockRef::from(&listener).listen(0)?;
        let connect = || {
            let path = path.clone();
            create_task(async move { open_unix_connection(path).await })
        };
        let connecting: Vec<_> = (0..5).map(|_| connect()).collect();
        for _ in 0..10 {
            yield_now().await;
        }
        let mut waiting: Vec<_> = connecting.into_iter().filter(|c| !c.done()).collect();
        // Where the system does not wait, it refuses: then there is nothing to see here.
        if let Some(cancelled) = waiting.pop() {
            cancelled.cancel();
            assert!(cancelled.await.is_err());
        }
        drop(listener);
        for connect in waiting {
            let error = error_of(connect.await?);
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        io::Result::Ok(())
    })
}

#[test]
fn unx_14_a_slow_reader_holds_up_a_writer_through_the_smallest_buffers() -> io::Result<()> {
    const BODY: usize = 8 << 20;
    let body: Vec<u8> = (0..BODY).map(|n| (n * 31 + n / 251) as u8).collect();
    let expected = body.clone();
    run(async move {
        let (ours, mut theirs) = UnixStream::pair()?;
        for end in [&ours, &theirs] {
            SockRef::from(end).set_send_buffer_size(1)?;
            SockRef::from(end).set_recv_buffer_size(1)?;
        }
        let (_reader, writer) = open_unix_connection_sock(ours).await?;
        let (_, high) = writer.transport().get_write_buffer_limits();
        let reading = thread::spawn(move || {
            let mut received = Vec::new();
            // Slow: a little at a time.
            let mut piece = [0; 1009];
            loop {
                match theirs.read(&mut piece)? {
                    0 => return io::Result::Ok(received),
                    n => received.extend_from_slice(&piece[..n]),
                }
                thread::yield_now();
            }
        });
        let mut was_paused = false;
        for piece in body.chunks(10_000) {
            writer.write(piece);
            was_paused |= writer.transport().get_write_buffer_size() > high;
            writer.drain().await?;
            assert!(writer.transport().get_write_buffer_size() <= high);
        }
        assert!(was_paused, "the writer was held up");
        writer.aclose().await?;
        let received = reading.join().expect("the thread does not panic")?;
        assert_eq!(received.len(), BODY);
        assert!(received == expected, "the same bytes");
        io::Result::Ok(())
    })
}

// ── what is no address, and what is no Unix-domain socket ───────────────────────

#[test]
fn unx_05_what_is_no_unix_stream_socket_is_refused_by_its_name() -> io::Result<()> {
    run(async {
        let expects = |error: io::Error, got: &str| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let text = error.to_string();
            let begins = "A UNIX Domain Stream Socket was expected, got <";
            assert!(text.starts_with(begins) && text.contains(got), "{text}");
        };
        let inet = TcpListener::bind("127.0.0.1:0")?;
        let (datagram, _other) = UnixDatagram::pair()?;
        let file = || fs::File::open("Cargo.toml");
        let served = start_unix_server_sock(echo, inet.try_clone()?).await;
        expects(error_of(served), "AF_INET");
        expects(error_of(open_unix_connection_sock(inet).await), "AF_INET");
        let served = start_unix_server_sock(echo, datagram.try_clone()?).await;
        expects(error_of(served), "SOCK_DGRAM");
        let connected = open_unix_connection_sock(datagram).await;
        expects(error_of(connected), "SOCK_DGRAM");
        expects(
            error_of(start_unix_server_sock(echo, file()?).await),
            "no socket",
        );
        expects(
            error_of(open_unix_connection_sock(file()?).await),
            "no socket",
        );
        // With a protocol, too.
        let handle = get_running_loop()?;
        let served = handle.create_unix_server_sock(|| Silent, file()?).await;
        expects(error_of(served), "no socket");
        let connected = handle.create_unix_connection_sock(|| Silent, file()?).await;
        expects(error_of(connected), "no socket");
        io::Result::Ok(())
    })
}

/// Has nothing to say.
struct Silent;

impl Protocol for Silent {}

#[test]
fn unx_05_neither_path_nor_socket() -> io::Result<()> {
    run(async {
        let error = error_of(open_unix_connection("").await);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "no path and sock were specified");
        let error = error_of(start_unix_server(echo, "").await);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            "path was not specified, and no sock specified"
        );
        io::Result::Ok(())
    })
}

#[test]
fn a_path_that_the_kernel_would_cut_off_is_refused() -> io::Result<()> {
    let folder = Folder::new("cut")?;
    run(async move {
        let mut with_nul = folder.path("socket").into_os_string();
        with_nul.push("\0more");
        let error = error_of(start_unix_server(echo, &with_nul).await);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("NUL byte"), "{error}");
        assert!(!folder.path("socket").exists());

        let long = folder.path(&"x".repeat(200));
        for error in [
            error_of(start_unix_server(echo, &long).await),
            error_of(open_unix_connection(&long).await),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(text.starts_with(&long.display().to_string()), "{text}");
        }
        io::Result::Ok(())
    })
}

// ── binding, and what is at the path ────────────────────────────────────────────

#[test]
fn unx_02_a_stale_socket_is_replaced() -> io::Result<()> {
    let folder = Folder::new("02")?;
    let path = folder.path("socket");
    run(async move {
        drop(UnixListener::bind(&path)?);
        assert!(UnixStream::connect(&path).is_err());
        let server = start_unix_server(echo, &path).await?;
        is_served(&path).await?;
        server.close();

        // Behind a link, too: the link is replaced.
        drop(UnixListener::bind(folder.path("target"))?);
        symlink(folder.path("target"), &path)?;
        let server = start_unix_server(echo, &path).await?;
        is_served(&path).await?;
        server.close();
        assert!(!path.exists() && folder.path("target").exists());
        io::Result::Ok(())
    })
}

#[test]
fn unx_02_what_is_no_socket_stays_and_the_address_is_in_use() -> io::Result<()> {
    let folder = Folder::new("02b")?;
    let path = folder.path("socket");
    run(async move {
        fs::write(&path, "somebody's")?;
        let error = error_of(start_unix_server(echo, &path).await);
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("Address {} is already in use", path.display())
        );
        assert_eq!(fs::read_to_string(&path)?, "somebody's");
        io::Result::Ok(())
    })
}

#[test]
fn unx_04_a_missing_folder_and_a_part_that_is_none() -> io::Result<()> {
    let logged = Logged::all();
    let folder = Folder::new("04")?;
    run(async move {
        let path = folder.path("missing/socket");
        let error = error_of(start_unix_server(echo, &path).await);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let text = format!("cannot bind to {}: ", path.display());
        assert!(error.to_string().starts_with(&text), "{error}");
        assert_eq!(logged.take(), [""; 0], "a missing file is fine");

        fs::write(folder.path("file"), "")?;
        let path = folder.path("file/socket");
        let error = error_of(start_unix_server(echo, &path).await);
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        let lines = logged.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let text = format!(
            "Unable to check or remove stale UNIX socket {}: ",
            path.display()
        );
        assert!(lines[0].starts_with(&text), "{lines:?}");
        io::Result::Ok(())
    })
}

/// Names the folder to the process that this test starts.
const FOLDER: &str = "MILLSTREAM_UNX_04";

/// In a process of its own: it counts descriptors, and root may write everywhere.
#[test]
#[cfg(target_os = "linux")]
fn unx_04_a_folder_that_may_not_be_written_to_and_no_descriptor_is_left() -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    if let Some(folder) = std::env::var_os(FOLDER) {
        return is_refused_in(Path::new(&folder));
    }
    let folder = Folder::new("04b")?;
    // A copy, for those who may not enter the folder that the tests are built in.
    let program = folder.path("tests");
    fs::copy(std::env::current_exe()?, &program)?;
    let closed = folder.path("closed");
    fs::create_dir(&closed)?;
    for path in [&closed, &program] {
        fs::set_permissions(path, Permissions::from_mode(0o555))?;
    }
    fs::set_permissions(&*folder, Permissions::from_mode(0o755))?;
    let mut command = Command::new(&program);
    command
        .arg("unx_04_a_folder_that_may_not")
        .env(FOLDER, &closed);
    if fs::metadata(&closed)?.uid() == 0 {
        command.uid(65534).gid(65534); // nobody
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_refused_in(folder: &Path) -> io::Result<()> {
    let path = folder.join("socket");
    run(async move {
        let descriptors = || io::Result::Ok(fs::read_dir("/proc/self/fd")?.count());
        let before = descriptors()?;
        for mode in [None, Some(0o600)] {
            let server = start_unix_server(echo, &path);
            let server = match mode {
                Some(mode) => server.mode(mode),
                None => server,
            };
            let error = error_of(server.await);
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            let text = format!("cannot bind to {}: ", path.display());
            assert!(error.to_string().starts_with(&text), "{error}");
        }
        assert_eq!(descriptors()?, before);
        assert!(!path.exists());
        io::Result::Ok(())
    })
}

#[test]
fn a_server_that_fails_to_start_leaves_no_file_and_nothing_in_the_loop() -> io::Result<()> {
    let folder = Folder::new("fails")?;
    let path = folder.path("socket");
    run(async move {
        let error = error_of(start_unix_server(echo, &path).limit(0).await);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let error = error_of(start_unix_server(echo, &path).mode(0o4755).await);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            format!(
                "the mode of {} must be within 0o777, got 0o4755",
                path.display()
            )
        );
        // The socket is connected elsewhere by the time that it should listen.
        let elsewhere = folder.path("elsewhere");
        let _listener = UnixListener::bind(&elsewhere)?;
        let connects = SocketOptions::new().with(move |socket| {
            SockRef::from(&socket).connect(&socket2::SockAddr::unix(&elsewhere)?)
        });
        let started = start_unix_server(echo, &path)
            .socket_options(connects)
            .await;
        assert!(started.is_err(), "a connected socket can't listen");
        assert!(!path.exists());
        assert_eq!(get_running_loop()?.census().sources, 0);
        io::Result::Ok(())
    })
}

// ── the file, once the server is closed ─────────────────────────────────────────

#[test]
fn unx_06_the_path_is_removed_when_the_server_is_closed_or_dropped() -> io::Result<()> {
    let folder = Folder::new("06")?;
    let path = folder.path("socket");
    run(async move {
        let server = start_unix_server(echo, &path).await?;
        is_served(&path).await?;
        assert!(path.exists());
        server.close();
        assert!(!path.exists());

        drop(start_unix_server(echo, &path).await?);
        assert!(!path.exists());

        let bound = start_unix_server(echo, &path).start_serving(false).await?;
        assert!(path.exists());
        bound.close();
        assert!(!path.exists());
        io::Result::Ok(())
    })
}

#[test]
fn unx_06_the_path_of_a_socket_that_was_bound_elsewhere_is_removed_too() -> io::Result<()> {
    let folder = Folder::new("06c")?;
    let path = folder.path("socket");
    run(async move {
        let server = start_unix_server_sock(echo, UnixListener::bind(&path)?).await?;
        is_served(&path).await?;
        server.close();
        assert!(!path.exists());

        let server = start_unix_server_sock(echo, UnixListener::bind(&path)?);
        server.cleanup_socket(false).await?.close();
        assert!(path.exists());
        fs::remove_file(&path)?;

        // As in asyncio, not by the function that takes any socket.
        let server = start_server_sock(echo, UnixListener::bind(&path)?).await?;
        is_served(&path).await?;
        server.close();
        assert!(path.exists());
        io::Result::Ok(())
    })
}

#[test]
fn unx_06_the_path_is_removed_when_the_loop_ends_before_the_server() -> io::Result<()> {
    let folder = Folder::new("06b")?;
    let path = folder.path("socket");
    let started = start(&path)?;
    assert!(!path.exists(), "the loop is closed");
    drop(started);
    Ok(())
}

/// Starts a server in a loop that ends at once.
fn start(path: &Path) -> io::Result<Server> {
    let path = path.to_owned();
    run(async move { start_unix_server(echo, path).await })
}

#[test]
fn unx_07_a_file_that_is_gone_is_no_error() -> io::Result<()> {
    let logged = Logged::all();
    let folder = Folder::new("07")?;
    let path = folder.path("socket");
    run(async move {
        let server = start_unix_server(echo, &path).await?;
        fs::remove_file(&path)?;
        server.close();
        assert_eq!(logged.take(), [""; 0]);
        io::Result::Ok(())
    })
}

#[test]
fn unx_07_anothers_socket_stays() -> io::Result<()> {
    let folder = Folder::new("07b")?;
    let path = folder.path("socket");
    run(async move {
        let first = start_unix_server(echo, &path).await?;
        let second = start_unix_server(echo, &path).await?;
        first.close();
        is_served(&path).await?;
        second.close();
        assert!(!path.exists());

        // Anything else that is there by then, too.
        let server = start_unix_server(echo, &path).await?;
        fs::rename(&path, folder.path("aside"))?;
        fs::write(&path, "somebody's")?;
        server.close();
        assert_eq!(fs::read_to_string(&path)?, "somebody's");
        assert!(folder.path("aside").exists());
        io::Result::Ok(())
    })
}

#[test]
fn unx_07_the_file_stays_if_that_is_wanted() -> io::Result<()> {
    let folder = Folder::new("07c")?;
    let path = folder.path("socket");
    run(async move {
        let server = start_unix_server(echo, &path).cleanup_socket(false).await?;
        is_served(&path).await?;
        server.close();
        assert!(path.exists());
        // And is stale for the next one.
        let server = start_unix_server(echo, &path).cleanup_socket(true).await?;
        server.close();
        assert!(!path.exists());
        io::Result::Ok(())
    })
}

#[test]
fn a_file_that_can_not_be_removed_is_logged() -> io::Result<()> {
    let logged = Logged::all();
    let folder = Folder::new("log")?;
    let path = folder.path("inside/socket");
    run(async move {
        fs::create_dir(folder.path("inside"))?;
        let server = start_unix_server(echo, &path).await?;
        fs::rename(folder.path("inside"), folder.path("aside"))?;
        fs::write(folder.path("inside"), "no folder any more")?;
        server.close();
        let lines = logged.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let text = format!(
            "Unable to clean up listening UNIX socket {}: ",
            path.display()
        );
        assert!(lines[0].starts_with(&text), "{lines:?}");
        io::Result::Ok(())
    })
}

// ── who may connect ─────────────────────────────────────────────────────────────

#[test]
fn a_mode_is_the_files_whatever_the_umask_says() -> io::Result<()> {
    let folder = Folder::new("mode")?;
    run(async move {
        // The usual umask takes from the last two: they are widened again.
        for mode in [0o000, 0o600, 0o640, 0o660, 0o777] {
            let path = folder.path(&format!("{mode:o}"));
            let server = start_unix_server(echo, &path).mode(mode).await?;
            assert_eq!(mode_of(&path)?, mode, "{mode:o}");
            server.close();
            assert!(!path.exists());
        }
        io::Result::Ok(())
    })
}

#[test]
fn until_it_listens_a_socket_refuses_everybody() -> io::Result<()> {
    let folder = Folder::new("refuses")?;
    let path = folder.path("socket");
    run(async move {
        let server = start_unix_server(echo, &path)
            .mode(0o600)
            .start_serving(false)
            .await?;
        assert_eq!(mode_of(&path)?, 0o600);
        let error = error_of(open_unix_connection(&path).await);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        server.start_serving().await?;
        is_served(&path).await
    })
}

// ── Linux's abstract names ──────────────────────────────────────────────────────

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn unx_09_an_abstract_name_is_served_and_leaves_no_file() -> io::Result<()> {
    let logged = Logged::all();
    let bare = format!("ms-{}-09", std::process::id());
    let name = format!("\0{bare}");
    run(async move {
        let address = Address::UnixAbstract(bare.clone().into_bytes());
        let server = start_unix_server(echo, &name).await?;
        assert_eq!(server.sockets(), std::slice::from_ref(&address));
        let (mut reader, writer) = open_unix_connection(&name).await?;
        assert_eq!(writer.get_extra_info(PeerName), Some(address));
        writer.write("by name\n");
        assert_eq!(reader.readline().await?, b"by name\n");
        assert!(!Path::new(&bare).exists());

        let error = error_of(start_unix_server(echo, &name).await);
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("Address @{bare} is already in use")
        );
        let error = error_of(start_unix_server(echo, &name).mode(0o600).await);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("it has no mode"), "{error}");

        server.close();
        assert_eq!(logged.take(), [""; 0]);
        let error = error_of(open_unix_connection(&name).await);
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("Connect call failed @{bare}: ")),
            "{text}"
        );
        io::Result::Ok(())
    })
}

#[test]
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unx_09_an_abstract_name_is_linuxs() -> io::Result<()> {
    run(async {
        for error in [
            error_of(start_unix_server(echo, "\0name").await),
            error_of(open_unix_connection("\0name").await),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().starts_with("@name is an abstract"));
        }
        io::Result::Ok(())
    })
}

// ── who the peer is ─────────────────────────────────────────────────────────────

#[test]
#[cfg(feature = "unix-credentials")]
fn both_ends_know_who_the_other_is_also_after_the_end() -> io::Result<()> {
    use millstream::{PeerCredentials, open_connection_sock};

    let folder = Folder::new("peer")?;
    let path = folder.path("socket");
    run(async move {
        let seen = std::rc::Rc::new(RefCell::new(Vec::new()));
        let written = seen.clone();
        let server = start_unix_server(
            async move |_reader: StreamReader, writer: StreamWriter| {
                written
                    .borrow_mut()
                    .push(writer.get_extra_info(PeerCredentials));
            },
            &path,
        )
        .await?;
        let (mut reader, writer) = open_unix_connection(&path).await?;
        assert_eq!(reader.read_all().await?, b"");
        writer.aclose().await?;
        let server_process = writer.get_extra_info(PeerCredentials);
        seen.borrow_mut().push(server_process);
        server.close();

        let me = fs::metadata(&*folder)?;
        for peer in seen.take() {
            let peer = peer.expect("the kernel knows");
            assert_eq!((peer.uid, peer.gid), (me.uid(), me.gid()));
            if cfg!(any(target_os = "linux", target_vendor = "apple")) {
                assert_eq!(peer.pid, Some(std::process::id()));
            } else {
                assert!(peer.pid.is_none_or(|pid| pid == std::process::id()));
            }
        }
        io::Result::Ok(())
    })?;
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let tcp = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (_reader, writer) = open_connection_sock(tcp).await?;
        assert_eq!(writer.get_extra_info(PeerCredentials), None);
        let ((_reader, writer), _peer) = millstream::memory_stream_pair(16);
        assert_eq!(writer.get_extra_info(PeerCredentials), None);
        io::Result::Ok(())
    })
}

#[test]
#[cfg(all(feature = "unix-credentials", target_os = "linux"))]
fn a_client_of_another_user_is_known_by_that_user() -> io::Result<()> {
    use millstream::PeerCredentials;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    let folder = Folder::new("other")?;
    let path = folder.path("socket");
    fs::set_permissions(&*folder, Permissions::from_mode(0o755))?;
    if fs::metadata(&*folder)?.uid() != 0 {
        return Ok(()); // only root can be somebody else
    }
    run(async move {
        let says_who = async |_reader: StreamReader, writer: StreamWriter| {
            let peer = writer.get_extra_info(PeerCredentials).expect("it is known");
            writer.write(format!("{} {} {:?}", peer.uid, peer.gid, peer.pid));
        };
        let server = start_unix_server(says_who, &path).mode(0o666).await?;
        let program = "import socket, sys; s = socket.socket(socket.AF_UNIX); \
             s.connect(sys.argv[1]); print(s.makefile().read(), end='')";
        let mut client = Command::new("python3");
        client.args(["-c", program]).arg(&path);
        client.uid(65534).gid(65533);
        let child = client.stdout(std::process::Stdio::piped()).spawn()?;
        let id = child.id();
        let output = get_running_loop()?
            .run_in_executor(move || child.wait_with_output())
            .await??;
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("65534 65533 Some({id})"));
        server.close();
        io::Result::Ok(())
    })
}

// ── what these tests share ──────────────────────────────────────────────────────

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What was logged as a warning or an error on this thread.
struct Logged;

impl Logged {
    fn all() -> Logged {
        // Only the first of the tests gets to set it.
        if log::set_logger(&Logged).is_ok() {
            log::set_max_level(LevelFilter::Warn);
        }
        Logged
    }

    fn take(&self) -> Vec<String> {
        LINES.take()
    }
}

impl Log for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with(|lines| lines.borrow_mut().push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}
