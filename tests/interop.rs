//! millstream at one end, CPython's asyncio at the other.
//!
//! ```text
//!   ladder ── reader, writer ── millstream ◄── TCP or Unix ──► asyncio ── tests/peers/*.py
//!      └──────────────── lines of standard input and output ──────────────────────┘
//! ```
//!
//! What a ladder says to its peer beside the connection puts the steps of both into one
//! order, so that nothing here depends on how fast anybody is. Most ladders are climbed
//! four times: over TCP and over Unix-domain sockets, serving and connecting.
//!
//! It needs python3, 3.8 or later, and the examples: `cargo build --examples`.

mod programs;

use std::cell::{Cell, RefCell};
use std::env;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use millstream::{
    LoopHandle, Server, StreamReader, StreamWriter, create_future, get_running_loop,
    open_connection, open_connection_sock, open_unix_connection, plain, run, start_server,
    start_unix_server, timeout,
};
use programs::{PATIENCE, Program, example, peer, python};
use socket2::SockRef;

/// Bytes that no kernel keeps for a reader that does not read.
const TEN_MEGABYTES: usize = 10_000_000;

/// Bytes that a reader may hold beyond twice its limit: what one `recv` brings.
const ONE_RECEIVE: usize = 256 * 1024;

// ------------------------------------------------------------- echo

#[test]
fn our_echo_server_serves_asyncio_clients() -> io::Result<()> {
    for family in [Family::Tcp, Family::Unix] {
        on_a_loop(async move {
            let folder = Folder::new()?;
            let (server, place) = family.serve(&folder, echo).await?;
            let clients = Peer::start("echo_clients.py", &[&place, "20", "50"])?;
            clients.says("1000 lines came back").await?;
            clients.ends_well().await?;

            server.close();
            server.wait_closed().await;
            assert_eq!(server.connection_count(), 0);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn our_clients_are_served_by_asyncios_echo_server() -> io::Result<()> {
    for family in [Family::Tcp, Family::Unix] {
        on_a_loop(async move {
            let folder = Folder::new()?;
            let server = Peer::start("echo_server.py", &[&family.place_to_serve(&folder)])?;
            let address = server.serves().await?;
            let handle = get_running_loop()?;
            let clients: Vec<_> = (0..20)
                .map(|name| handle.create_task(echo_client(family, address.clone(), name)))
                .collect();
            for client in clients {
                client.await??;
            }
            server.ends_well().await
        })?;
    }
    Ok(())
}

#[test]
fn e1_our_echo_server_and_the_documented_client_print_what_they_should() -> io::Result<()> {
    let server = Program::start(example("echo_server")?.arg("127.0.0.1:0"))?;
    let port = documented_port(&server)?;

    let client = Program::start(peer("documented_client.py").arg(port))?;
    client.prints(&CLIENT_PRINTS)?;
    client.ends()?.well();
    server_prints(&server)
}

#[test]
fn e2_our_echo_client_and_the_documented_server_print_what_they_should() -> io::Result<()> {
    let server = Program::start(&mut peer("documented_server.py"))?;
    let port = documented_port(&server)?;

    let address = format!("127.0.0.1:{port}");
    let client = Program::start(example("echo_client")?.arg(address))?;
    client.prints(&CLIENT_PRINTS)?;
    client.ends()?.well();
    server_prints(&server)
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(1000).await?;
        if data.is_empty() {
            break;
        }
        writer.write(&data);
        writer.drain().await?;
    }
    writer.close();
    writer.wait_closed().await
}

async fn echo_client(family: Family, address: String, name: u32) -> io::Result<()> {
    let (mut reader, writer) = family.connect(&address).await?;
    for number in 0..50 {
        let line = format!("client {name}, line {number}\n");
        writer.write(&line);
        writer.drain().await?;
        assert_eq!(reader.readline().await?, line.as_bytes());
    }
    writer.write("and the end");
    writer.write_eof()?;
    assert_eq!(reader.read_all().await?, b"and the end");
    writer.close();
    writer.wait_closed().await
}

const CLIENT_PRINTS: [&str; 3] = [
    "Send: 'Hello World!'",
    "Received: 'Hello World!'",
    "Close the connection",
];

fn server_prints(server: &Program) -> io::Result<()> {
    let received = server.next_line()?;
    assert!(
        received.starts_with("Received 'Hello World!' from ('127.0.0.1', "),
        "{received}"
    );
    server.prints(&["Send: 'Hello World!'", "Close the connection"])
}

fn documented_port(server: &Program) -> io::Result<String> {
    let line = server.next_line()?;
    let port = line
        .strip_prefix("Serving on ('127.0.0.1', ")
        .and_then(|rest| rest.strip_suffix(")"));
    port.map(str::to_owned)
        .ok_or_else(|| io::Error::other(format!("no port in {line:?}")))
}

// ------------------------------------------------------------- HTTP

#[test]
fn e3_the_headers_of_pythons_http_server_are_printed() -> io::Result<()> {
    let folder = Folder::new()?;
    fs::write(folder.path("page.html"), "<p>flour</p>")?;
    let server = Program::start(
        python()
            .args(["-m", "http.server", "--bind", "127.0.0.1", "0"])
            .current_dir(&folder.0),
    )?;
    // Serving HTTP on 127.0.0.1 port 39127 (http://127.0.0.1:39127/) ...
    let line = server.next_line()?;
    let url = line
        .split(['(', ')'])
        .nth(1)
        .ok_or_else(|| io::Error::other(format!("no URL in {line:?}")))?;

    let page = Program::start(example("http_headers")?.arg(format!("{url}page.html")))?.ends()?;
    assert!(page.status.success(), "{page:#?}");
    assert_eq!(page.lines[0], "HTTP header> HTTP/1.0 200 OK");
    for line in [
        "HTTP header> Content-type: text/html",
        "HTTP header> Content-Length: 12",
    ] {
        assert!(page.lines.iter().any(|l| l == line), "{page:#?}");
    }
    for line in &page.lines {
        let header = line.strip_prefix("HTTP header> ");
        assert!(header.is_some_and(|h| !h.is_empty()), "{page:#?}");
    }

    let missing = Program::start(example("http_headers")?.arg(format!("{url}missing")))?.ends()?;
    assert!(missing.status.success(), "{missing:#?}");
    assert_eq!(missing.lines[0], "HTTP header> HTTP/1.0 404 File not found");
    Ok(())
}

// ------------------------------------------------------------- ten megabytes

#[test]
fn a_peer_that_reads_late_holds_our_drain_and_bounds_our_write_buffer() -> io::Result<()> {
    small_writes()?;
    large_writes()
}

/// These are queued and joined.
fn small_writes() -> io::Result<()> {
    climb("reads_late.py", async |r, w, p| {
        write_all_numbers(r, w, p, 1_000).await
    })
}

/// These are sent at once, together with what is queued.
fn large_writes() -> io::Result<()> {
    climb("reads_late.py", async |r, w, p| {
        write_all_numbers(r, w, p, 100_000).await
    })
}

async fn write_all_numbers(
    reader: StreamReader,
    writer: StreamWriter,
    peer: Peer,
    piece: usize,
) -> io::Result<()> {
    peer.says("ready").await?;
    let (low, high) = writer.transport().get_write_buffer_limits();
    let mut drain_waited = false;
    for data in numbers(0, TEN_MEGABYTES).chunks(piece) {
        writer.write(data);
        let buffered = writer.transport().get_write_buffer_size();
        assert!(buffered <= high + data.len(), "{buffered} bytes");

        let mut drain = pin!(writer.drain());
        if buffered > high && !drain_waited {
            assert!(is_pending(drain.as_mut()).await);
            drain_waited = true;
            peer.tell("read").await?;
        }
        drain.await?;
        if buffered > high {
            let left = writer.transport().get_write_buffer_size();
            assert!(left <= low, "drain returned with {left} bytes left");
        }
    }
    assert!(drain_waited, "the kernel kept everything");

    writer.close();
    writer.wait_closed().await?;
    assert!(reader.at_eof());
    peer.says("received 10000000 bytes in order").await?;
    peer.ends_well().await
}

#[test]
fn our_late_reading_holds_the_peers_drain_and_bounds_our_read_buffer() -> io::Result<()> {
    climb("writes_early.py", async |mut reader, writer, peer| {
        peer.says("paused").await?;
        let mut received = 0;
        loop {
            let buffered = reader.buffered().len();
            let bound = 2 * reader.limit() + ONE_RECEIVE;
            assert!(buffered <= bound, "{buffered} bytes");

            let data = reader.read(50_000).await?;
            if data.is_empty() {
                break;
            }
            assert_in_order(received, &data);
            received += data.len();
        }
        assert_eq!(received, TEN_MEGABYTES);
        peer.says("wrote 10000000 bytes").await?;
        writer.close();
        writer.wait_closed().await?;
        peer.ends_well().await
    })
}

#[test]
fn pressure_goes_from_a_late_reader_through_our_echo_to_its_writer() -> io::Result<()> {
    climb("echoes_late.py", async |mut reader, writer, peer| {
        let (_, high) = writer.transport().get_write_buffer_limits();
        let mut drain_waited = false;
        loop {
            let data = reader.read(50_000).await?;
            if data.is_empty() {
                break;
            }
            writer.write(&data);
            let written = writer.transport().get_write_buffer_size();
            assert!(written <= high + data.len(), "{written} bytes");
            let read = reader.buffered().len();
            assert!(read <= 2 * reader.limit() + ONE_RECEIVE, "{read} bytes");

            let mut drain = pin!(writer.drain());
            if written > high && !drain_waited {
                assert!(is_pending(drain.as_mut()).await);
                drain_waited = true;
                peer.tell("read").await?;
            }
            drain.await?;
        }
        assert!(drain_waited, "the kernel kept everything");
        writer.close();
        writer.wait_closed().await?;
        peer.says("10000000 bytes came back in order").await?;
        peer.ends_well().await
    })
}

// ------------------------------------------------------------- half-close

#[test]
fn c4_a_peer_that_ends_its_side_first_still_gets_our_answer() -> io::Result<()> {
    climb("ends_first.py", async |mut reader, writer, peer| {
        assert_eq!(reader.readexactly(8).await?, b"question");
        assert_eq!(reader.read(100).await?, b"");
        assert!(reader.at_eof());
        assert!(!writer.is_closing());
        assert!(writer.can_write_eof());

        writer.write("answer");
        writer.drain().await?;
        writer.write_eof()?;
        writer.write_eof()?;
        peer.says("read b'answer'").await?;
        writer.drain().await?;

        writer.write("too late");
        is_misuse(
            writer.drain().await,
            "Cannot call write() after write_eof()",
        );
        writer.write("");
        is_misuse(
            writer.drain().await,
            "Cannot call write() after write_eof()",
        );
        writer.writelines([""; 0]);
        let told = writer.drain().await.expect_err("it is a misuse");
        assert_eq!(told.kind(), ErrorKind::InvalidInput);

        peer.tell("close").await?;
        peer.ends_well().await?;
        writer.close();
        let told = writer.wait_closed().await.expect_err("it was a misuse");
        assert_eq!(told.kind(), ErrorKind::InvalidInput);
        Ok(())
    })
}

#[test]
fn wrt_21_after_our_end_the_peers_answer_still_comes() -> io::Result<()> {
    climb("ends_last.py", async |mut reader, writer, peer| {
        let question = numbers(0, 1 << 20);
        writer.write(&question);
        writer.drain().await?;
        writer.write_eof()?;
        peer.says("read 1048576 bytes").await?;

        assert!(!writer.is_closing());
        assert_eq!(reader.read_all().await?, question);
        assert!(reader.at_eof());
        writer.close();
        writer.wait_closed().await?;
        peer.ends_well().await
    })
}

fn is_misuse(drained: io::Result<()>, message: &str) {
    let told = drained.expect_err("it is a misuse");
    assert_eq!(told.kind(), ErrorKind::InvalidInput);
    assert_eq!(told.to_string(), message);
}

// ------------------------------------------------------------- reset

#[test]
fn c3_after_the_peers_reset_everything_tells_it() -> io::Result<()> {
    let warnings = Warnings::new();
    climb_over(
        &[Family::Tcp],
        "resets.py",
        async move |mut reader, writer, peer| {
            writer.write("hello");
            peer.says("read b'hello'").await?;
            assert_eq!(reader.peek(9).await?, b"half a li");

            peer.tell("reset").await?;
            is_reset(reader.readline().await);
            peer.says("reset").await?;

            let told = reader.exception().map(|error| error.kind());
            assert_eq!(told, Some(ErrorKind::ConnectionReset));
            assert!(writer.is_closing());
            assert!(!reader.at_eof());
            is_reset(reader.read(100).await);
            is_reset(reader.readline().await);
            is_reset(reader.readexactly(0).await);
            is_reset(reader.read(0).await);
            is_reset(writer.drain().await);
            is_reset(writer.wait_closed().await);
            is_reset(writer.wait_closed().await);

            warnings.take();
            for dropped in 1..=8 {
                writer.write("nobody reads this");
                let warned = warnings.take();
                match dropped {
                    1..=4 => assert!(warned.is_empty(), "{dropped}: {warned:?}"),
                    _ => assert_eq!(warned, ["socket.send() raised exception."], "{dropped}"),
                }
            }
            // No error takes away what had come before it.
            assert_eq!(reader.take_buffered(), b"half a li");
            peer.ends_well().await
        },
    )
}

#[test]
fn a_reset_in_mid_stream_wakes_the_drain_that_waits() -> io::Result<()> {
    climb_over(
        &[Family::Tcp],
        "resets.py",
        async |mut reader, writer, peer| {
            writer.write("hello");
            peer.says("read b'hello'").await?;

            writer.write(vec![0; TEN_MEGABYTES]);
            let mut drain = pin!(writer.drain());
            assert!(is_pending(drain.as_mut()).await);
            peer.tell("reset").await?;
            is_reset(drain.await);

            is_reset(reader.read(100).await);
            is_reset(writer.wait_closed().await);
            assert_eq!(writer.transport().get_write_buffer_size(), 0);
            peer.says("reset").await?;
            peer.ends_well().await
        },
    )
}

#[test]
fn our_reset_is_a_connection_reset_error_at_the_peer() -> io::Result<()> {
    on_a_loop(async {
        let peer = Peer::start("is_reset.py", &["serve:tcp:0"])?;
        let address = local(&peer.serves().await?)?;

        // Lingering for no time makes a reset of closing.
        let socket = TcpStream::connect(address)?;
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        let (_reader, writer) = open_connection_sock(socket).await?;
        writer.write("hello");
        peer.says("read b'hello'").await?;

        writer.transport().abort();
        writer.wait_closed().await?;
        peer.says("ConnectionResetError").await?;
        peer.ends_well().await
    })
}

#[test]
fn an_abort_that_does_not_linger_drops_what_is_unsent() -> io::Result<()> {
    climb("reads_late.py", async |_reader, writer, peer| {
        peer.says("ready").await?;
        writer.write(vec![0; TEN_MEGABYTES]);
        let unsent = writer.transport().get_write_buffer_size();
        assert!(unsent > 0, "the kernel kept everything");

        writer.transport().abort();
        assert_eq!(writer.transport().get_write_buffer_size(), 0);
        let drained = writer.drain().await.expect_err("bytes were thrown away");
        assert_eq!(drained.kind(), ErrorKind::ConnectionReset);
        writer.wait_closed().await?;
        drop(peer);
        Ok(())
    })
}

#[track_caller]
fn is_reset<T: std::fmt::Debug, E: Into<io::Error>>(result: Result<T, E>) {
    let error: io::Error = result.map_err(Into::into).expect_err("it was reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

// ------------------------------------------------------------- closing

#[test]
fn c2_after_our_close_only_wait_closed_is_content() -> io::Result<()> {
    climb("ends_last.py", async |mut reader, writer, peer| {
        writer.write("last words");
        writer.close();
        for _ in 0..2 {
            let told = writer.drain().await.expect_err("it is closed");
            assert_eq!(told.kind(), ErrorKind::ConnectionReset);
            assert_eq!(told.to_string(), "Connection lost");
        }
        writer.wait_closed().await?;
        assert_eq!(reader.read(100).await?, b"");
        assert!(reader.at_eof());

        writer.close();
        writer.write("nobody reads this");
        writer.write_eof()?;
        peer.says("read 10 bytes").await?;
        Ok(())
    })
}

// ------------------------------------------------------------- who meets whom

/// Climbs a ladder with a peer four times: over both families, serving and connecting.
fn climb<L>(script: &'static str, ladder: L) -> io::Result<()>
where
    L: AsyncFn(StreamReader, StreamWriter, Peer) -> io::Result<()> + 'static,
{
    climb_over(&[Family::Tcp, Family::Unix], script, ladder)
}

fn climb_over<L>(families: &[Family], script: &'static str, ladder: L) -> io::Result<()>
where
    L: AsyncFn(StreamReader, StreamWriter, Peer) -> io::Result<()> + 'static,
{
    let ladder = Rc::new(ladder);
    for &family in families {
        for role in [Role::Serving, Role::Connecting] {
            // Shown if the test fails.
            println!("{script}, {family:?}, {role:?}");
            let ladder = ladder.clone();
            on_a_loop(async move {
                let folder = Folder::new()?;
                let (reader, writer, peer) = role.meet(family, &folder, script).await?;
                (*ladder)(reader, writer, peer).await
            })?;
        }
    }
    Ok(())
}

/// Runs on a loop of its own, and not for ever.
fn on_a_loop(main: impl Future<Output = io::Result<()>> + 'static) -> io::Result<()> {
    run(async { timeout(2 * PATIENCE, main).await? })
}

#[derive(Debug, Clone, Copy)]
enum Family {
    Tcp,
    Unix,
}

impl Family {
    /// Serves, and says where a peer has to connect.
    async fn serve<F, R>(self, folder: &Folder, handler: F) -> io::Result<(Server, String)>
    where
        F: AsyncFn(StreamReader, StreamWriter) -> R + 'static,
        R: millstream::HandlerOutcome,
    {
        match self {
            Family::Tcp => {
                let server = start_server(handler, "127.0.0.1", 0).await?;
                let port = server.sockets()[0].port().expect("it is on the internet");
                Ok((server, format!("connect:tcp:{port}")))
            }
            Family::Unix => {
                let path = folder.path("ours.sock");
                let server = start_unix_server(handler, &path).await?;
                Ok((server, format!("connect:unix:{}", path.display())))
            }
        }
    }

    /// Says where a peer has to serve.
    fn place_to_serve(self, folder: &Folder) -> String {
        match self {
            Family::Tcp => "serve:tcp:0".to_owned(),
            Family::Unix => format!("serve:unix:{}", folder.path("theirs.sock").display()),
        }
    }

    /// Connects to where a peer says that it serves.
    async fn connect(self, address: &str) -> io::Result<(StreamReader, StreamWriter)> {
        match self {
            Family::Tcp => {
                let address = local(address)?;
                open_connection(address.ip(), address.port()).await
            }
            Family::Unix => open_unix_connection(address).await,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Serving,
    Connecting,
}

impl Role {
    async fn meet(
        self,
        family: Family,
        folder: &Folder,
        script: &str,
    ) -> io::Result<(StreamReader, StreamWriter, Peer)> {
        let size = TEN_MEGABYTES.to_string();
        match self {
            Role::Serving => {
                let (promise, met) = create_future();
                let promise = Cell::new(Some(promise));
                let keep = plain(move |reader, writer| {
                    if let Some(promise) = promise.take() {
                        promise.set_result((reader, writer));
                    }
                });
                // Dropped at the end, which leaves the connection alone.
                let (_server, place) = family.serve(folder, keep).await?;
                let peer = Peer::start(script, &[&place, &size])?;
                let (reader, writer) = met.await?;
                Ok((reader, writer, peer))
            }
            Role::Connecting => {
                let place = family.place_to_serve(folder);
                let peer = Peer::start(script, &[&place, &size])?;
                let (reader, writer) = family.connect(&peer.serves().await?).await?;
                Ok((reader, writer, peer))
            }
        }
    }
}

/// A peer, listened to on another thread, so that the loop goes on meanwhile.
struct Peer {
    handle: LoopHandle,
    program: Arc<Mutex<Option<Program>>>,
}

impl Peer {
    fn start(script: &str, arguments: &[&str]) -> io::Result<Peer> {
        let program = Program::start(peer(script).args(arguments))?;
        Ok(Peer {
            handle: get_running_loop()?,
            program: Arc::new(Mutex::new(Some(program))),
        })
    }

    /// Waits until it has said where it serves.
    async fn serves(&self) -> io::Result<String> {
        let line = self.with(|program| program.next_line()).await?;
        let address = line.strip_prefix("serving ");
        address
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other(format!("no address in {line:?}")))
    }

    async fn says(&self, expected: &str) -> io::Result<()> {
        let line = self.with(|program| program.next_line()).await?;
        assert_eq!(line, expected);
        Ok(())
    }

    async fn tell(&self, line: &'static str) -> io::Result<()> {
        self.with(|program| program.tell(line)).await
    }

    async fn ends_well(self) -> io::Result<()> {
        let program = self.program.clone();
        let work = move || take(&program).map(Program::ends);
        let ended = self.handle.run_in_executor(work).await?;
        ended.expect("it is taken only here")?.well();
        Ok(())
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Program) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let program = self.program.clone();
        let work = move || {
            let mut program = program.lock().expect("nobody panics while they hold it");
            work(program.as_mut().expect("it has not been told to end"))
        };
        self.handle.run_in_executor(work).await?
    }
}

fn take(program: &Mutex<Option<Program>>) -> Option<Program> {
    program
        .lock()
        .expect("nobody panics while they hold it")
        .take()
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a Unix-domain socket has to fit into some hundred bytes.
        let name = format!("millstream-{}-{count}", process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        Ok(Folder(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

// ------------------------------------------------------------- what the ladders say

fn local(port: &str) -> io::Result<SocketAddr> {
    let port: u16 = port.parse().map_err(io::Error::other)?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

/// Polls once, and says whether that was not enough.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Bytes of which every four are a number that is one more than the last.
fn numbers(first: usize, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    for number in first / 4..=(first + size) / 4 {
        let number = u32::try_from(number).expect("32 bits count ten megabytes");
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes[first % 4..][..size].to_vec()
}

/// Checks bytes that stand at `first` in the row of all numbers.
#[track_caller]
fn assert_in_order(first: usize, data: &[u8]) {
    assert!(
        data == numbers(first, data.len()),
        "not in order behind {first}"
    );
}

/// The warnings that this thread's loop gives.
#[derive(Clone, Copy)]
struct Warnings;

impl Warnings {
    fn new() -> Warnings {
        static LOGGER: Warnings = Warnings;
        if log::set_logger(&LOGGER).is_ok() {
            log::set_max_level(LevelFilter::Warn);
        }
        Warnings
    }

    fn take(self) -> Vec<String> {
        WARNINGS.take()
    }
}

thread_local! {
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Log for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() == Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            WARNINGS.with_borrow_mut(|warnings| warnings.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}
