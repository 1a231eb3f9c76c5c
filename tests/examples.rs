//! Starts each example as its first comment says, talks to it, stops it, and compares what
//! it prints with that comment and with the table of acceptance tests (E1–E10).
//!
//! The examples are built by `cargo test`. Before `cargo test --test examples` alone, build
//! them with `cargo build --examples`.

mod programs;

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use millstream::{EventLoop, StreamReader, StreamWriter, start_server};
use programs::{Ended, PATIENCE, Program, example};
use socket2::{Domain, SockRef, Socket, Type};

// ------------------------------------------------------------- queues

#[test]
fn the_workers_of_a_queue_sleep_in_parallel() -> io::Result<()> {
    let program = Program::start(&mut example("queue_workers")?)?;
    let mut slept = [0; 3];
    loop {
        let line = program.next_line()?;
        let Some(rest) = line.strip_prefix("worker-") else {
            assert_eq!(line, "====");
            break;
        };
        let (worker, rest) = rest.split_at(1);
        assert!(rest.starts_with(" has slept for "), "{line}");
        slept[worker.parse::<usize>().map_err(io::Error::other)?] += 1;
    }
    assert_eq!(slept.iter().sum::<u32>(), 20);
    assert!(slept.iter().all(|&jobs| jobs > 0), "{slept:?}");
    let line = program.next_line()?;
    assert!(
        line.starts_with("3 workers slept in parallel for "),
        "{line}"
    );
    program.prints(&["total expected sleep time: 0.94 seconds"])?;
    program.ends()?.well();
    Ok(())
}

// ------------------------------------------------------------- echo with streams

#[test]
fn the_very_first_program_prints_both_sides_of_echo() -> io::Result<()> {
    prints_what_it_promises(
        "echo",
        &[
            "client: Send: 'Hello World!'",
            "server: Received 'Hello World!'",
            "server: Send: 'Hello World!'",
            "server: Close the connection",
            "client: Received: 'Hello World!'",
            "client: Close the connection",
        ],
    )
}

#[test]
fn e1_the_echo_server_answers_each_client_and_closes() -> io::Result<()> {
    let server = Serving::start("echo_server")?;
    for _ in 0..2 {
        let client = server.answers(b"Hello World!")?;
        server.program.prints(&[
            &format!("Received 'Hello World!' from ('127.0.0.1', {client})"),
            "Send: 'Hello World!'",
            "Close the connection",
        ])?;
    }
    let promised = promised("echo_server")?;
    assert_eq!(
        promised,
        [
            "Serving on ('127.0.0.1', 8888)",
            "Received 'Hello World!' from ('127.0.0.1', 50312)",
            "Send: 'Hello World!'",
            "Close the connection",
        ]
    );
    Ok(())
}

#[test]
fn e1_the_echo_server_serves_on_when_a_client_says_nothing() -> io::Result<()> {
    let server = Serving::start("echo_server")?;
    let silent = server.connect()?;
    let client = server.answers(b"second, but first to speak")?;
    server.program.prints(&[
        &format!("Received 'second, but first to speak' from ('127.0.0.1', {client})"),
        "Send: 'second, but first to speak'",
        "Close the connection",
    ])?;

    let first = silent.local_addr()?.port();
    silent.shutdown(Shutdown::Write)?;
    server.program.prints(&[
        &format!("Received '' from ('127.0.0.1', {first})"),
        "Send: ''",
        "Close the connection",
    ])
}

#[test]
#[cfg(feature = "signals")]
fn e1_ctrl_c_ends_the_echo_server_after_its_clean_up() -> io::Result<()> {
    let mut server = Serving::start("echo_server")?;
    server.answers(b"Hello World!")?;
    for _ in 0..3 {
        server.program.next_line()?;
    }
    let mut silent = server.connect()?;
    server.answers(b"so the silent one was accepted")?;
    for _ in 0..3 {
        server.program.next_line()?;
    }
    server.program.signal("INT")?;
    assert_eq!(silent.read(&mut [0])?, 0, "its connection is closed");
    server.program.prints(&["Interrupted"])?;
    server.program.ends()?.well();
    Ok(())
}

#[test]
fn e1_messages_are_quoted_as_python_quotes_them() -> io::Result<()> {
    let server = Serving::start("echo_server")?;
    for (message, quoted) in [
        ("it's", r#""it's""#),
        (r#"it's "so""#, r#"'it\'s "so"'"#),
        (r#""so" \ "#, r#"'"so" \\ '"#),
        ("a\r\n\tb", r"'a\r\n\tb'"),
        ("\0\x1b\x7f", r"'\x00\x1b\x7f'"),
        ("größer ✓", "'größer ✓'"),
    ] {
        server.answers(message.as_bytes())?;
        let received = server.program.next_line()?;
        assert!(
            received.starts_with(&format!("Received {quoted} from ")),
            "{received}"
        );
        server
            .program
            .prints(&[&format!("Send: {quoted}"), "Close the connection"])?;
    }
    Ok(())
}

#[test]
fn e1_the_body_of_python_3_5_creates_serves_and_closes_step_by_step() -> io::Result<()> {
    let event_loop = EventLoop::new()?;
    let handle = event_loop.handle();
    let handle_echo = async move |mut reader: StreamReader, writer: StreamWriter| {
        let data = reader.read(100).await?;
        writer.write(&data);
        writer.drain().await?;
        writer.close();
        // In the place of Ctrl-C.
        handle.stop();
        io::Result::Ok(())
    };
    let server = event_loop
        .run_until_complete(async move { start_server(handle_echo, "127.0.0.1", 0).await })??;
    let port = server.sockets()[0].port().expect("it is on the internet");
    let client = thread::spawn(move || ask(local(port), b"Hello World!"));

    let given_up = {
        let handle = event_loop.handle();
        event_loop.call_later(PATIENCE, move || handle.stop())?
    };
    event_loop.run_forever()?;
    given_up.cancel();

    server.close();
    event_loop.run_until_complete(async move { server.wait_closed().await })?;
    event_loop.close()?;
    let (answer, _) = client.join().expect("the client panics at nothing")?;
    assert_eq!(answer, b"Hello World!");
    Ok(())
}

#[test]
fn e2_the_echo_client_sends_its_message_and_prints_the_answer() -> io::Result<()> {
    let lines = [
        "Send: 'Hello World!'",
        "Received: 'Hello World!'",
        "Close the connection",
    ];
    let listener = TcpListener::bind(local(0))?;
    let address = listener.local_addr()?.to_string();

    let client = Program::start(example("echo_client")?.arg(address))?;
    let mut connection = accept(listener)?;
    client.prints(&lines[..1])?;
    let message = received(&mut connection, 12)?;
    connection.write_all(&message)?;
    client.prints(&lines[1..])?;

    // It closes its side without waiting for ours.
    assert_eq!(connection.read(&mut [0; 1])?, 0);
    client.ends()?.well();
    assert_eq!(promised("echo_client")?, lines);
    Ok(())
}

#[test]
fn e2_the_echo_client_sends_another_message_to_our_echo_server() -> io::Result<()> {
    let server = Serving::start("echo_server")?;
    let client = Program::start(
        example("echo_client")?
            .arg(server.address.to_string())
            .arg("Grüße"),
    )?;
    client.prints(&["Send: 'Grüße'", "Received: 'Grüße'", "Close the connection"])?;
    client.ends()?.well();
    Ok(())
}

#[test]
fn e2_a_refused_connection_ends_the_echo_client_with_the_address() -> io::Result<()> {
    // Bound, so that nobody else can listen there; and not listening, so it refuses.
    let unheard = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    unheard.bind(&local(0).into())?;
    let address = unheard
        .local_addr()?
        .as_socket()
        .expect("it is an IPv4 one");

    let ended = Program::start(example("echo_client")?.arg(address.to_string()))?.ends()?;

    fails_with(&ended, &["ConnectionRefused", &address.to_string()]);
    Ok(())
}

// ------------------------------------------------------------- HTTP headers

#[test]
fn e3_the_headers_are_printed_in_order_without_the_blank_line() -> io::Result<()> {
    let lines = headers(
        "/path/page.html",
        b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1256\r\n\r\n",
        b"HEAD /path/page.html HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
    )?;
    let expected = [
        "HTTP header> HTTP/1.0 200 OK",
        "HTTP header> Content-Type: text/html",
        "HTTP header> Content-Length: 1256",
    ];
    assert_eq!(lines, expected);
    assert_eq!(promised("http_headers")?, expected);
    Ok(())
}

#[test]
fn e3_bare_newlines_and_a_missing_last_one_are_fine() -> io::Result<()> {
    let lines = headers(
        "",
        b"HTTP/1.0 200 OK\nA: b \t\n\nand the end",
        b"HEAD / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
    )?;
    assert_eq!(
        lines,
        [
            "HTTP header> HTTP/1.0 200 OK",
            "HTTP header> A: b",
            "HTTP header> and the end",
        ]
    );
    Ok(())
}

#[test]
fn e3_headers_and_path_are_latin_1() -> io::Result<()> {
    let lines = headers(
        "/gr\u{fc}n?query#fragment",
        b"HTTP/1.0 200 Gr\xfcn\r\n",
        b"HEAD /gr\xfcn HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
    )?;
    assert_eq!(lines, ["HTTP header> HTTP/1.0 200 Grün"]);
    Ok(())
}

#[test]
fn e3_an_answer_without_any_line_ends_well() -> io::Result<()> {
    let lines = headers("/", b"", b"HEAD / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    assert!(lines.is_empty(), "{lines:?}");
    Ok(())
}

#[test]
fn e3_what_is_no_url_for_it_is_told_why() -> io::Result<()> {
    for (url, reason) in [
        #[cfg(not(feature = "tls"))]
        ("https://example.com/", "https:// needs the feature `tls`"),
        ("example.com", "'example.com' begins neither with http://"),
        ("http://127.0.0.1:port/", "port is not the number of a port"),
    ] {
        let ended = Program::start(example("http_headers")?.arg(url))?.ends()?;
        fails_with(&ended, &[reason]);
    }
    let ended = Program::start(&mut example("http_headers")?)?.ends()?;
    fails_with(&ended, &["which URL?"]);
    Ok(())
}

// ------------------------------------------------------------- open sockets

#[test]
fn e4_an_open_socket_becomes_a_stream() -> io::Result<()> {
    prints_what_it_promises("register_socket", &["Received: abc"])
}

#[test]
fn e7_an_open_socket_gets_a_protocol() -> io::Result<()> {
    prints_what_it_promises("socket_protocol", &["Received: abc"])
}

#[test]
fn e9_a_watched_descriptor_is_read_once_and_the_loop_stops() -> io::Result<()> {
    prints_what_it_promises("watch_fd", &["Received: abc"])
}

#[test]
fn e9_without_removal_the_callback_runs_again_only_while_bytes_remain() -> io::Result<()> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let fd = ours.as_raw_fd();
    let calls = Rc::new(Cell::new(0));
    let event_loop = EventLoop::new()?;
    event_loop.add_reader(fd, {
        let calls = calls.clone();
        move || {
            calls.set(calls.get() + 1);
            let received = ours.read(&mut [0; 1]).expect("it is readable");
            assert_eq!(received, 1);
        }
    })?;
    for expected in [3, 4] {
        theirs.write_all(if expected == 3 { b"abc" } else { b"d" })?;
        for _ in 0..10 {
            event_loop.turn(Some(Duration::ZERO))?;
        }
        assert_eq!(calls.get(), expected);
    }
    assert!(event_loop.remove_reader(fd)?);
    Ok(())
}

// ------------------------------------------------------------- echo with protocols

#[test]
fn e5_the_protocol_echo_server_answers_each_client_and_closes() -> io::Result<()> {
    let server = Serving::start("echo_server_protocol")?;
    for _ in 0..2 {
        let client = server.answers(b"Hello World!")?;
        server.program.prints(&[
            &format!("Connection from ('127.0.0.1', {client})"),
            "Data received: 'Hello World!'",
            "Send: 'Hello World!'",
            "Close the client socket",
        ])?;
    }
    assert_eq!(
        promised("echo_server_protocol")?,
        [
            "Serving on ('127.0.0.1', 8888)",
            "Connection from ('127.0.0.1', 50312)",
            "Data received: 'Hello World!'",
            "Send: 'Hello World!'",
            "Close the client socket",
        ]
    );
    Ok(())
}

#[test]
fn e6_the_protocol_echo_client_ends_when_the_server_closes() -> io::Result<()> {
    let lines = [
        "Data sent: 'Hello World!'",
        "Data received: 'Hello World!'",
        "The server closed the connection",
    ];
    let listener = TcpListener::bind(local(0))?;
    let address = listener.local_addr()?.to_string();

    let client = Program::start(example("echo_client_protocol")?.arg(address))?;
    let mut connection = accept(listener)?;
    client.prints(&lines[..1])?;
    let message = received(&mut connection, 12)?;
    connection.write_all(&message)?;
    client.prints(&lines[1..2])?;
    drop(connection);
    client.prints(&lines[2..])?;
    client.ends()?.well();
    assert_eq!(promised("echo_client_protocol")?, lines);
    Ok(())
}

#[test]
fn e6_the_protocol_echo_client_talks_to_the_protocol_echo_server() -> io::Result<()> {
    let server = Serving::start("echo_server_protocol")?;
    let client = Program::start(example("echo_client_protocol")?.arg(server.address.to_string()))?;
    client.prints(&[
        "Data sent: 'Hello World!'",
        "Data received: 'Hello World!'",
        "The server closed the connection",
    ])?;
    client.ends()?.well();
    Ok(())
}

// ------------------------------------------------------------- echo with datagrams

#[test]
fn e8_each_datagram_is_echoed_whole() -> io::Result<()> {
    let server = Serving::start("echo_datagram_server")?;
    for message in ["Hello World!", "", "a longer one, of more words"] {
        let arguments = [server.address.to_string(), message.to_owned()];
        let client = Program::start(example("echo_datagram_client")?.args(arguments))?;
        client.prints(&[
            &format!("Send: {message}"),
            &format!("Received: {message}"),
            "Close the socket",
            "Connection closed",
        ])?;
        client.ends()?.well();
        let received = server.program.next_line()?;
        let from = received
            .strip_prefix(&format!("Received '{message}' from "))
            .ok_or_else(|| io::Error::other(received.clone()))?;
        server
            .program
            .prints(&[&format!("Send '{message}' to {from}")])?;
    }
    assert_eq!(
        promised("echo_datagram_server")?,
        [
            "Serving on ('127.0.0.1', 9999)",
            "Received 'Hello World!' from ('127.0.0.1', 50312)",
            "Send 'Hello World!' to ('127.0.0.1', 50312)",
        ]
    );
    assert_eq!(
        promised("echo_datagram_client")?,
        [
            "Send: Hello World!",
            "Received: Hello World!",
            "Close the socket",
            "Connection closed",
        ]
    );
    Ok(())
}

// ------------------------------------------------------------- standard streams

#[test]
fn lines_of_standard_input_come_back_with_their_numbers() -> io::Result<()> {
    let mut program = Program::start(&mut example("stdin_lines")?)?;
    program.tell("hello")?;
    program.prints(&["1: hello"])?;
    program.tell("mill")?;
    program.prints(&["2: mill"])?;
    let ended = program.ends()?;
    assert_eq!(ended.lines, ["read 2 lines"]);
    assert_eq!(
        promised("stdin_lines")?,
        ["1: hello", "2: mill", "read 2 lines"]
    );
    Ok(())
}

// ------------------------------------------------------------- child processes

#[test]
#[cfg(feature = "subprocess")]
fn the_date_comes_from_a_child_process() -> io::Result<()> {
    let program = Program::start(&mut example("subprocess_date")?)?;
    let line = program.next_line()?;
    program.ends()?.well();
    // Such as 2026-04-01 12:34:56.789012, digits standing for any.
    let shape = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "0");
    let [promised] = &promised("subprocess_date")?[..] else {
        panic!("it promises one line");
    };
    assert_eq!(shape(&line), shape(promised));
    Ok(())
}

// ------------------------------------------------------------- chat

#[test]
fn the_chat_tells_everybody_what_the_others_say() -> io::Result<()> {
    let server = Serving::start("chat")?;
    let mut ada = Guest::joins(&server, "ada")?;
    let mut bob = Guest::joins(&server, "bob")?;
    ada.hears(&["* bob joined"])?;

    bob.says("hello\x1b[2J, ada")?;
    ada.hears(&["bob: hello[2J, ada"])?;
    ada.says("/who")?;
    ada.hears(&["* here: ada, bob"])?;

    bob.says("/quit")?;
    bob.hears(&["* good-bye"])?;
    bob.hears_no_more()?;
    ada.hears(&["* bob left"])?;

    ada.says("/shutdown")?;
    ada.hears(&["* the server closes: good-bye"])?;
    ada.hears_no_more()?;

    let promised = promised("chat")?;
    assert_eq!(promised[0], "Serving on ('127.0.0.1', 8888)");
    let promised: Vec<&str> = promised.iter().map(String::as_str).collect();
    server.program.prints(&promised[1..])?;
    server.program.ends()?.well();
    Ok(())
}

#[test]
fn the_chat_gives_each_name_once() -> io::Result<()> {
    let server = Serving::start("chat")?;
    let _ada = Guest::joins(&server, "ada")?;
    let mut other = Guest::enters(&server)?;
    for refused in ["ada", "", "  "] {
        other.says(refused)?;
        other.hears(&["* nobody, or somebody who is here: who are you?"])?;
    }
    other.says("grace")?;
    other.hears(&["* welcome, grace"])
}

#[test]
fn the_chat_survives_a_line_that_is_too_long() -> io::Result<()> {
    let server = Serving::start("chat")?;
    let mut ada = Guest::joins(&server, "ada")?;
    let mut bob = Guest::joins(&server, "bob")?;
    ada.hears(&["* bob joined"])?;

    bob.says(&"so ".repeat(100_000))?;
    bob.hears(&["* too long, nobody heard it"])?;
    bob.says("in short")?;
    ada.hears(&["bob: in short"])?;

    // One long line, one complaint.
    bob.says("/who")?;
    bob.hears(&["* here: ada, bob"])
}

#[test]
fn the_chat_drops_a_client_that_never_reads() -> io::Result<()> {
    let server = Serving::start("chat")?;
    let _slow = Guest::joins(&server, "slow")?;
    let mut ada = Guest::joins(&server, "ada")?;
    server.program.prints(&["slow joined", "ada joined"])?;

    // What the kernel holds back for the slow one is the system's choice: talk on until it
    // is full.
    let talks = Arc::new(AtomicBool::new(true));
    let talker = thread::spawn({
        let (talks, mut connection) = (talks.clone(), ada.connection()?);
        let line = format!("{}\n", "and ".repeat(250));
        move || {
            while talks.load(Ordering::Relaxed) {
                connection.write_all(line.as_bytes())?;
            }
            io::Result::Ok(())
        }
    });
    let dropped = server.program.prints(&["slow is too slow", "slow left"]);
    talks.store(false, Ordering::Relaxed);
    talker.join().expect("the talker panics at nothing")?;
    dropped?;

    ada.hears(&["* slow left"])?;
    ada.says("/who")?;
    ada.hears(&["* here: ada"])
}

#[test]
fn the_chat_sends_the_silent_away() -> io::Result<()> {
    let server = Serving::start_with("chat", &["1"])?;
    let mut silent = Guest::enters(&server)?;
    silent.hears(&["* silent for too long: good-bye"])?;
    silent.hears_no_more()
}

#[test]
fn the_chat_ends_though_somebody_does_not_close() -> io::Result<()> {
    let server = Serving::start("chat")?;
    let mut nameless = Guest::enters(&server)?;
    let mut ada = Guest::joins(&server, "ada")?;
    server.program.prints(&["ada joined"])?;

    ada.says("/shutdown")?;
    server.program.prints(&["Closing"])?;
    nameless.hears(&["* the server closes: good-bye"])?;
    server.program.ends()?.well();
    Ok(())
}

/// Somebody in the chat.
struct Guest(BufReader<TcpStream>);

impl Guest {
    fn enters(server: &Serving) -> io::Result<Guest> {
        let mut guest = Guest(BufReader::new(server.connect()?));
        guest.hears(&["* who are you?"])?;
        Ok(guest)
    }

    fn joins(server: &Serving, name: &str) -> io::Result<Guest> {
        let mut guest = Guest::enters(server)?;
        guest.says(name)?;
        guest.hears(&[&format!("* welcome, {name}")])?;
        Ok(guest)
    }

    fn says(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0.get_mut(), "{line}")
    }

    #[track_caller]
    fn hears(&mut self, lines: &[&str]) -> io::Result<()> {
        for expected in lines {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            assert_eq!(line.trim_end(), *expected);
        }
        Ok(())
    }

    #[track_caller]
    fn hears_no_more(&mut self) -> io::Result<()> {
        assert_eq!(self.0.read(&mut [0; 1])?, 0);
        Ok(())
    }

    fn connection(&self) -> io::Result<TcpStream> {
        self.0.get_ref().try_clone()
    }
}

// ------------------------------------------------------------- the proxy

#[test]
fn the_proxy_passes_everything_on_and_says_so() -> io::Result<()> {
    let upstream = TcpListener::bind(local(0))?;
    let mut server = Serving::proxy(&upstream)?;

    let mut client = server.connect()?;
    client.write_all(b"Hello World!")?;
    let mut connection = accept(upstream)?; // which nobody else will reach
    assert_eq!(received(&mut connection, 12)?, b"Hello World!");
    connection.write_all(b"Hello World!")?;
    assert_eq!(received(&mut client, 12)?, b"Hello World!");
    drop((client, connection));
    server
        .program
        .prints(&["client 1 came", "client 1 left: 12 bytes up, 12 bytes down"])?;

    let mut refused = server.connect()?;
    assert_eq!(refused.read(&mut [0; 1])?, 0);
    server.program.prints(&[
        "client 2 came",
        "client 2 was sent away: connection refused",
    ])?;

    server.program.tell("")?;
    server
        .program
        .prints(&["Closing: 0 finished, 0 closed, 0 aborted"])?;
    server.program.ends()?.well();
    assert_eq!(
        promised("proxy")?,
        [
            "Serving on ('127.0.0.1', 8888)",
            "client 1 came",
            "client 1 left: 12 bytes up, 12 bytes down",
            "client 2 came",
            "client 2 was sent away: connection refused",
            "Closing: 0 finished, 0 closed, 0 aborted",
        ]
    );
    Ok(())
}

#[test]
fn through_the_proxy_a_client_that_half_closes_is_answered() -> io::Result<()> {
    let upstream = TcpListener::bind(local(0))?;
    let server = Serving::proxy(&upstream)?;
    let client = thread::spawn({
        let address = server.address;
        move || {
            let mut client = TcpStream::connect(address)?;
            client.set_read_timeout(Some(PATIENCE))?;
            client.write_all(&[b'x'; 100_000])?;
            client.shutdown(Shutdown::Write)?;
            let mut answer = Vec::new();
            client.read_to_end(&mut answer)?;
            io::Result::Ok(answer)
        }
    });
    let mut connection = accept(upstream)?;
    let mut request = Vec::new();
    connection.read_to_end(&mut request)?;
    assert_eq!(request, [b'x'; 100_000]);
    connection.write_all(&[b'y'; 50])?;
    drop(connection);
    assert_eq!(client.join().expect("it panics at nothing")?, [b'y'; 50]);
    server.program.prints(&[
        "client 1 came",
        "client 1 left: 100000 bytes up, 50 bytes down",
    ])
}

#[test]
fn through_the_proxy_a_client_that_resets_is_not_served_on() -> io::Result<()> {
    let upstream = TcpListener::bind(local(0))?;
    let server = Serving::proxy(&upstream)?;
    let client = server.connect()?;
    let mut connection = accept(upstream)?;
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    assert_eq!(connection.read(&mut [0; 1])?, 0);
    server.program.prints(&[
        "client 1 came",
        "client 1 was lost: 0 bytes up, 0 bytes down",
    ])
}

#[test]
fn the_proxy_ends_though_a_client_does_not() -> io::Result<()> {
    let upstream = TcpListener::bind(local(0))?;
    let mut server = Serving::proxy(&upstream)?;
    let mut client = server.connect()?;
    let _connection = accept(upstream)?;
    server.program.prints(&["client 1 came"])?;
    server.program.tell("")?;
    // After its grace. A signal may interrupt a wait that long, and this reads on then.
    assert_eq!(client.read_to_end(&mut Vec::new())?, 0);
    server
        .program
        .prints(&["Closing: 0 finished, 1 closed, 0 aborted"])?;
    server.program.ends()?.well();
    Ok(())
}

// ------------------------------------------------------------- one loop per core

#[test]
fn one_loop_per_core_serves_on_one_port_and_stops_all_loops() -> io::Result<()> {
    let mut program = Program::start(example("one_loop_per_core")?.args(["127.0.0.1:0", "2"]))?;
    let line = program.next_line()?;
    let address: SocketAddr = line
        .strip_prefix("Serving on ")
        .and_then(|rest| rest.strip_suffix(" with 2 loops"))
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no address in {line:?}")))?;

    // Which loop gets whom, the kernel decides.
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = BufReader::new(TcpStream::connect(address)?);
        client.get_ref().set_read_timeout(Some(PATIENCE))?;
        client.get_mut().write_all(b"are you there?\n")?;
        let mut answer = String::new();
        client.read_line(&mut answer)?;
        assert_eq!(answer, "are you there?\n");
        clients.push(client);
    }
    program.tell("")?;
    drop(clients); // which ends the handlers within the grace

    let mut served = 0;
    for number in 0..2 {
        let line = program.next_line()?;
        let count = line.strip_prefix(&format!("loop {number} served "));
        served += count.and_then(|count| count.parse().ok()).unwrap_or(0);
    }
    assert_eq!(served, 3);
    program.ends()?.well();
    assert_eq!(
        promised("one_loop_per_core")?,
        [
            "Serving on 127.0.0.1:8888 with 2 loops",
            "loop 0 served 1",
            "loop 1 served 2",
        ]
    );
    Ok(())
}

#[test]
fn one_loop_per_core_says_why_it_cannot_serve() -> io::Result<()> {
    let taken = TcpListener::bind(local(0))?; // which says nothing of reuse_port
    let address = taken.local_addr()?.to_string();
    let program = Program::start(example("one_loop_per_core")?.args([&address, "2"]))?;
    fails_with(&program.ends()?, &[&address]);
    Ok(())
}

// ------------------------------------------------------------- the loop in one file

#[test]
fn the_tiny_loop_prints_its_four_lines() -> io::Result<()> {
    prints_what_it_promises(
        "tiny_loop",
        &[
            "client sent: Hello World!",
            "server echoed 12 bytes",
            "client received: Hello World!",
            "done",
        ],
    )
}

// ------------------------------------------------------------- a look inside

#[test]
fn the_look_inside_shows_a_tree_and_a_circle() -> io::Result<()> {
    let promised = promised("look_inside")?;
    let lines: Vec<&str> = promised
        .iter()
        .map(|line| line.trim_start_matches("//!"))
        .collect();
    let program = Program::start(&mut example("look_inside")?)?;
    program.prints(&lines)?;
    program.ends()?.well();
    Ok(())
}

// ------------------------------------------------------------- signals

#[test]
#[cfg(feature = "signals")]
fn e10_handlers_of_signals_stop_the_loop() -> io::Result<()> {
    let promised = promised("signals")?;
    for signal in ["INT", "TERM"] {
        let mut program = Program::start(&mut example("signals")?)?;
        program.prints(&[&promised[0]])?;
        let pid = program.next_line()?;
        assert_eq!(
            pid,
            promised[1].replace("50312", &program.pid().to_string())
        );
        program.signal(signal)?;
        program.prints(&[&promised[2].replace("INT", signal)])?;
        program.ends()?.well();
    }
    Ok(())
}

// ------------------------------------------------------------- all of them

#[test]
fn every_example_says_first_how_to_run_it() -> io::Result<()> {
    for name in names()? {
        let text = fs::read_to_string(source(&name))?;
        let expected = format!("//! Run with `cargo run --example {name}");
        assert!(text.starts_with(&expected), "{name}");
        assert!(!promised(&name)?.is_empty(), "{name} promises no output");
    }
    Ok(())
}

#[test]
fn every_example_is_started_by_a_test() -> io::Result<()> {
    let tests = concat!(include_str!("examples.rs"), include_str!("tls_examples.rs"));
    for name in names()? {
        assert!(tests.contains(&format!("\"{name}\"")), "{name} is not");
    }
    Ok(())
}

// ------------------------------------------------------------- what the tests say

/// Runs an example that needs nobody else.
#[track_caller]
fn prints_what_it_promises(name: &str, lines: &[&str]) -> io::Result<()> {
    let program = Program::start(&mut example(name)?)?;
    program.prints(lines)?;
    program.ends()?.well();
    assert_eq!(promised(name)?, lines);
    Ok(())
}

/// An example that serves, and where.
struct Serving {
    program: Program,
    address: SocketAddr,
}

impl Serving {
    fn start(name: &str) -> io::Result<Serving> {
        Serving::start_with(name, &[])
    }

    fn start_with(name: &str, more: &[&str]) -> io::Result<Serving> {
        let program = Program::start(example(name)?.arg("127.0.0.1:0").args(more))?;
        let line = program.next_line()?;
        let port = line
            .strip_prefix("Serving on ('127.0.0.1', ")
            .and_then(|rest| rest.strip_suffix(")"))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no port in {line:?}")))?;
        Ok(Serving {
            program,
            address: local(port),
        })
    }

    /// The proxy, for an upstream that listens.
    fn proxy(upstream: &TcpListener) -> io::Result<Serving> {
        Serving::start_with("proxy", &[&upstream.local_addr()?.to_string()])
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends `message`, checks that exactly it comes back before the end, and returns the
    /// client's port.
    #[track_caller]
    fn answers(&self, message: &[u8]) -> io::Result<u16> {
        let (answer, port) = ask(self.address, message)?;
        assert_eq!(answer, message);
        Ok(port)
    }
}

/// Sends a message, reads to the end, and returns what came and the port it came to.
fn ask(address: SocketAddr, message: &[u8]) -> io::Result<(Vec<u8>, u16)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(message)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok((answer, stream.local_addr()?.port()))
}

/// Has `http_headers` ask for `path`, gives it `answer`, and returns what it printed.
#[track_caller]
fn headers(path: &str, answer: &[u8], query: &[u8]) -> io::Result<Vec<String>> {
    let listener = TcpListener::bind(local(0))?;
    let url = format!("http://{}{path}", listener.local_addr()?);
    let program = Program::start(example("http_headers")?.arg(url))?;

    let mut connection = accept(listener)?;
    assert_eq!(
        String::from_utf8_lossy(&received(&mut connection, query.len())?),
        String::from_utf8_lossy(query)
    );
    connection.write_all(answer)?;
    drop(connection);

    let ended = program.ends()?;
    assert!(ended.status.success(), "{ended:#?}");
    assert_eq!(ended.complaints, "");
    Ok(ended.lines)
}

#[track_caller]
fn fails_with(ended: &Ended, reasons: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.lines.is_empty(), "{ended:#?}");
    for reason in reasons {
        assert!(ended.complaints.contains(reason), "{ended:#?}");
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Waits for the one connection that comes.
fn accept(listener: TcpListener) -> io::Result<TcpStream> {
    let (send, accepted) = channel();
    thread::spawn(move || send.send(listener.accept()));
    let (connection, _) = accepted
        .recv_timeout(PATIENCE)
        .map_err(|_| io::Error::new(ErrorKind::TimedOut, "nobody connected"))??;
    connection.set_read_timeout(Some(PATIENCE))?;
    Ok(connection)
}

fn received(connection: &mut TcpStream, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    connection.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The first block of text in an example's first comment: what will appear.
fn promised(name: &str) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(source(name))?;
    let block = text.lines().skip_while(|line| *line != "//! ```text");
    let block = block.skip(1).take_while(|line| *line != "//! ```");
    Ok(block
        .map(|line| line.trim_start_matches("//! ").to_owned())
        .collect())
}

fn source(name: &str) -> PathBuf {
    folder().join(name).with_extension("rs")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The names of all examples.
fn names() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().expect("a file has a name");
            names.push(name.to_string_lossy().into_owned());
        }
    }
    assert!(names.len() > 1, "found only {names:?}");
    Ok(names)
}
