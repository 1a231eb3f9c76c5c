//! Starts the examples that need TLS, and holds what they print against their first lines.
//!
//! It needs the examples: `cargo build --all-features --examples`.

mod programs;
mod tls_support;

use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener};
use std::path::Path;
use std::process;

use programs::{Program, example};
use tls_support::{Peer, authority};

#[test]
fn an_echo_in_secret_prints_what_it_promises() -> io::Result<()> {
    prints_what_it_promises("tls_echo")
}

#[test]
fn a_stream_goes_over_to_tls_and_prints_what_it_promises() -> io::Result<()> {
    prints_what_it_promises("starttls")
}

#[test]
fn e3_headers_come_in_secret_however_the_server_ends() -> io::Result<()> {
    let trusted = std::env::temp_dir().join(format!("tls-examples-{}.pem", process::id()));
    fs::write(&trusted, &authority().pem)?;
    for says_goodbye in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let mut command = example("http_headers")?;
        // In the place of what the system trusts.
        command
            .env("SSL_CERT_FILE", &trusted)
            .env_remove("SSL_CERT_DIR");
        command.arg(format!("https://localhost:{port}/page"));
        let program = Program::start(&mut command)?;
        let mut peer = Peer::accept(&listener)?;
        peer.handshake()?;
        let query = b"HEAD /page HTTP/1.0\r\nHost: localhost\r\n\r\n";
        assert_eq!(peer.expects(query.len())?, query);
        peer.tls
            .writer()
            .write_all(b"HTTP/1.0 200 OK\nA: b\r\n\r\n")?;
        peer.flush()?;
        match says_goodbye {
            true => peer.closes()?,
            false => peer.socket.shutdown(Shutdown::Write)?,
        }
        let _ = peer.expects_end();
        drop(peer);
        let ended = program.ends()?;
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.complaints, "");
        assert_eq!(
            ended.lines,
            ["HTTP header> HTTP/1.0 200 OK", "HTTP header> A: b"]
        );
    }
    fs::remove_file(trusted)
}

#[test]
fn e3_a_server_that_nobody_vouches_for_is_refused() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut command = example("http_headers")?;
    let stranger = tls_support::Authority::new("somebody else");
    let trusted = std::env::temp_dir().join(format!("tls-stranger-{}.pem", process::id()));
    fs::write(&trusted, stranger.pem)?;
    command
        .env("SSL_CERT_FILE", &trusted)
        .env_remove("SSL_CERT_DIR");
    command.arg(format!("https://localhost:{port}/"));
    let program = Program::start(&mut command)?;
    let mut peer = Peer::accept(&listener)?;
    assert!(peer.handshake().is_err(), "it was accepted");
    let ended = program.ends()?;
    assert!(!ended.status.success());
    assert!(
        ended
            .complaints
            .contains("SSL handshake failed on verifying the certificate"),
        "{ended:?}"
    );
    fs::remove_file(trusted)
}

fn prints_what_it_promises(name: &str) -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    let text = fs::read_to_string(source.with_extension("rs"))?;
    let block = text.lines().skip_while(|line| *line != "//! ```text");
    let block = block.skip(1).take_while(|line| *line != "//! ```");
    let promised: Vec<&str> = block.map(|line| line.trim_start_matches("//! ")).collect();
    assert!(promised.len() > 2, "it promises nothing");
    let ended = Program::start(&mut example(name)?)?.ends()?;
    assert_eq!(ended.lines, promised);
    assert!(
        ended.status.success() && ended.complaints.is_empty(),
        "{ended:?}"
    );
    Ok(())
}
