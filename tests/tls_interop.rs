//! TLS with others at the other end: OpenSSL's programs, and CPython's `ssl` and asyncio.
//!
//! ```text
//!   ladder ── millstream ◄── TLS 1.2 and 1.3 on 127.0.0.1 ──► openssl s_client, s_server
//!                                                            CPython: tests/peers/tls_*.py
//! ```
//!
//! It needs python3, 3.8 or later, and `openssl`, 1.1.1 or later.

mod programs;
mod tls_support;

use std::cell::RefCell;
use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{self, Command};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream::rustls::version::{TLS12, TLS13};
use millstream::{
    EofKind, Server, StreamReader, StreamWriter, TlsClientContext, TlsServerContext, TlsVersion,
    create_task, get_running_loop, open_connection, run, sleep, start_server, timeout,
};
use programs::{PATIENCE, Program, peer};
use tls_support::{Authority, Identity, NAME, authority, identity, server_context};

/// What goes each way.
const MEGABYTE: usize = 1 << 20;

// ── CPython ─────────────────────────────────────────────────────────────────────

#[test]
fn tls_01_clients_of_cpythons_ssl_are_served_and_close_cleanly() -> io::Result<()> {
    for version in ["1.2", "1.3"] {
        run(async move {
            let files = Files::new()?;
            let (server, port) = serve(echo, server_context()).await?;
            let mut command = peer("tls_clients.py");
            let authority = files.write("authority.pem", &authority().pem)?;
            command.arg(port.to_string()).arg(authority);
            command.args([version, "25", &MEGABYTE.to_string()]);
            let clients = Program::start(&mut command)?;
            let ended = ends(clients).await?;
            assert_eq!(ended.lines, ["25 clients are content"], "{ended:?}");
            assert!(ended.status.success());
            server.close();
            timeout(PATIENCE, server.wait_closed()).await?;
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tls_02_asyncios_server_echoes_a_megabyte_and_closes_cleanly() -> io::Result<()> {
    for (version, context) in clients()? {
        run(async move {
            let server = AsyncioServer::start(version)?;
            let (mut reader, writer) = open_connection("localhost", server.port)
                .tls(context)
                .await?;
            assert_eq!(
                writer.get_extra_info(TlsVersion).map(str::to_owned),
                Some(format!("TLSv{version}"))
            );
            let sent = pattern(MEGABYTE);
            let there = sent.clone();
            let writing = create_task(async move {
                for piece in there.chunks(10_000) {
                    writer.write(piece);
                    writer.drain().await?;
                }
                io::Result::Ok(writer)
            });
            let got = timeout(PATIENCE, reader.readexactly(sent.len())).await??;
            assert!(got == sent);
            let writer = writing.await.map_err(io::Error::from)??;
            writer.close();
            timeout(PATIENCE, writer.wait_closed()).await??;
            server.ends_silently().await
        })?;
    }
    Ok(())
}

#[test]
fn a_thousand_connects_to_asyncio_end_well() -> io::Result<()> {
    for (version, context) in clients()? {
        run(async move {
            let server = AsyncioServer::start(version)?;
            let port = server.port;
            let tasks: Vec<_> = (0..10)
                .map(|_| {
                    let context = context.clone();
                    create_task(async move {
                        for _ in 0..50 {
                            let (mut reader, writer) = open_connection("localhost", port)
                                .tls(context.clone())
                                .await?;
                            writer.write(b"x");
                            assert_eq!(reader.readexactly(1).await?, b"x");
                            writer.aclose().await?;
                            assert_eq!(reader.read(1).await?, b"");
                        }
                        io::Result::Ok(())
                    })
                })
                .collect();
            for task in tasks {
                task.await.map_err(io::Error::from)??;
            }
            server.ends_silently().await
        })?;
    }
    Ok(())
}

#[test]
fn what_cpython_refuses_is_told_to_on_tls_failure() -> io::Result<()> {
    let right = || authority().signs(&[NAME]);
    let expired = authority().signs_with(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    for (identity, name, reason, alert) in [
        (right(), "other.test", "Hostname mismatch", "BadCertificate"),
        (
            expired,
            NAME,
            "certificate has expired",
            "CertificateExpired",
        ),
        (
            Authority::new("nobody knows it").signs(&[NAME]),
            NAME,
            "unable to get local issuer certificate",
            "UnknownCA",
        ),
    ] {
        run(async move {
            let files = Files::new()?;
            let failures = Rc::new(RefCell::new(Vec::new()));
            let seen = failures.clone();
            let context = TlsServerContext::from_pem(&identity.chain, &identity.key)?;
            let server = start_server(echo, "127.0.0.1", 0)
                .tls(context)
                .on_tls_failure(move |f| seen.borrow_mut().push(f.error.to_string()))
                .await?;
            let port = server.sockets()[0].port().unwrap_or(0);
            let mut command = peer("tls_refuser.py");
            let authority = files.write("authority.pem", &authority().pem)?;
            command.arg(port.to_string()).arg(authority).arg(name);
            let ended = ends(Program::start(&mut command)?).await?;
            let [line] = &ended.lines[..] else {
                panic!("{ended:?}");
            };
            assert!(line.starts_with(&format!("refused: {reason}")), "{line}");
            server.close();
            timeout(PATIENCE, server.wait_closed()).await?;
            let failures = failures.take();
            assert_eq!(failures.len(), 1, "{failures:?}");
            assert!(failures[0].contains(alert), "{failures:?}");
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

// ── OpenSSL's programs ──────────────────────────────────────────────────────────

#[test]
fn tls_24_s_client_sees_what_was_written_and_the_close_notify() -> io::Result<()> {
    for version in ["-tls1_2", "-tls1_3"] {
        run(async move {
            let bye = async |_: StreamReader, writer: StreamWriter| {
                writer.write(b"bye\n");
                writer.aclose().await
            };
            let (server, port) = serve(bye, server_context()).await?;
            let client = s_client(port, &[version, "-ign_eof"])?;
            let ended = ends(client).await?;
            assert!(ended.lines.iter().any(|line| line == "bye"), "{ended:?}");
            assert!(!ended.complaints.contains("unexpected eof"), "{ended:?}");
            assert!(ended.status.success(), "{ended:?}");
            server.close();
            timeout(PATIENCE, server.wait_closed()).await?;
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tls_35_a_renegotiation_is_refused_and_harms_nobody() -> io::Result<()> {
    run(async {
        let (server, port) = serve(echo, server_context()).await?;
        let mut client = s_client(port, &["-tls1_2"])?;
        client.tell("hello")?;
        let client = lines_until(client, "hello").await?;
        let mut client = client;
        client.tell("R")?; // the command that asks for a renegotiation
        let ended = ends(client).await?;
        assert!(
            ended.lines.iter().any(|line| line == "RENEGOTIATING")
                || ended.complaints.contains("RENEGOTIATING"),
            "{ended:?}"
        );
        // Another client is served as before.
        let (mut reader, writer) = open_connection("localhost", port)
            .tls(tls_support::client_context())
            .await?;
        writer.write(b"still there\n");
        assert_eq!(reader.readline().await?, b"still there\n");
        writer.aclose().await?;
        server.close();
        timeout(PATIENCE, server.wait_closed()).await?;
        io::Result::Ok(())
    })
}

#[test]
fn s_server_talks_to_our_client_and_sees_it_close() -> io::Result<()> {
    for (version, context) in clients()? {
        run(async move {
            let files = Files::new()?;
            let flag = format!("-tls{}", version.replace('.', "_"));
            let (server, port) = s_server(&files, identity(), &[&flag, "-rev"]).await?;
            let (mut reader, writer) = open_connection("localhost", port).tls(context).await?;
            writer.write(b"drawer\n");
            assert_eq!(timeout(PATIENCE, reader.readline()).await??, b"reward\n");
            writer.close();
            timeout(PATIENCE, writer.wait_closed()).await??;
            assert_ne!(reader.eof_kind(), Some(EofKind::Truncated));
            drop(server);
            io::Result::Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn tls_04_what_we_refuse_reaches_s_server_as_an_alert() -> io::Result<()> {
    let expired = authority().signs_with(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    for (identity, alert) in [
        (authority().signs(&["other.test"]), "alert bad certificate"),
        (expired, "alert certificate expired"),
        (
            Authority::new("nobody knows it").signs(&[NAME]),
            "alert unknown ca",
        ),
    ] {
        for (version, context) in clients()? {
            let identity = Identity {
                chain: identity.chain.clone(),
                key: identity.key.clone(),
            };
            run(async move {
                let files = Files::new()?;
                let flag = format!("-tls{}", version.replace('.', "_"));
                let once = ["-naccept", "1", &flag];
                let (server, port) = s_server(&files, &identity, &once).await?;
                let refused = open_connection("127.0.0.1", port)
                    .tls(context)
                    .server_hostname(NAME)
                    .await;
                assert!(refused.is_err());
                let ended = ends(server).await?;
                assert!(
                    ended.complaints.contains(alert)
                        || ended.lines.iter().any(|line| line.contains(alert)),
                    "{alert}: {ended:?}"
                );
                io::Result::Ok(())
            })?;
        }
    }
    Ok(())
}

// ── what the ladders stand on ───────────────────────────────────────────────────

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

async fn serve<F>(handler: F, context: TlsServerContext) -> io::Result<(Server, u16)>
where
    F: AsyncFn(StreamReader, StreamWriter) -> io::Result<()> + 'static,
{
    let server = start_server(handler, "127.0.0.1", 0).tls(context).await?;
    let port = server.sockets()[0].port().unwrap_or(0);
    Ok((server, port))
}

/// A context for each version.
fn clients() -> io::Result<[(&'static str, TlsClientContext); 2]> {
    let only = |version| {
        TlsClientContext::builder()
            .trust_pem(&authority().pem)?
            .versions(&[version])
            .build()
    };
    Ok([("1.2", only(&TLS12)?), ("1.3", only(&TLS13)?)])
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Waits for a program without holding the loop.
async fn ends(program: Program) -> io::Result<programs::Ended> {
    let handle = get_running_loop()?;
    handle.run_in_executor(move || program.ends()).await?
}

/// Waits until it prints this line.
async fn lines_until(program: Program, line: &'static str) -> io::Result<Program> {
    let handle = get_running_loop()?;
    let reading = move || {
        while program.next_line()? != line {}
        io::Result::Ok(program)
    };
    handle.run_in_executor(reading).await?
}

struct AsyncioServer {
    program: Program,
    port: u16,
    _files: Files,
}

impl AsyncioServer {
    fn start(version: &str) -> io::Result<AsyncioServer> {
        let files = Files::new()?;
        let mut command = peer("tls_echo_server.py");
        command
            .arg(files.write("chain.pem", &identity().chain)?)
            .arg(files.write("key.pem", &identity().key)?)
            .arg(version);
        let program = Program::start(&mut command)?;
        let port = program.next_line()?.parse().map_err(io::Error::other)?;
        Ok(AsyncioServer {
            program,
            port,
            _files: files,
        })
    }

    /// Nothing was reported to its exception handler, and nothing complained of.
    async fn ends_silently(self) -> io::Result<()> {
        ends(self.program).await?.well();
        Ok(())
    }
}

fn s_client(port: u16, more: &[&str]) -> io::Result<Program> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    command.args(["-servername", NAME]).args(more);
    Program::start(&mut command)
}

async fn s_server(files: &Files, identity: &Identity, more: &[&str]) -> io::Result<(Program, u16)> {
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-accept", "127.0.0.1:0"])
        .args(more);
    command
        .arg("-cert")
        .arg(files.write("chain.pem", &identity.chain)?)
        .arg("-key")
        .arg(files.write("key.pem", &identity.key)?);
    let program = Program::start(&mut command)?;
    let handle = get_running_loop()?;
    let finding = move || loop {
        let line = program.next_line()?;
        if let Some(port) = line.strip_prefix("ACCEPT 127.0.0.1:") {
            let port = port.parse().map_err(io::Error::other)?;
            return io::Result::Ok((program, port));
        }
    };
    let found = handle.run_in_executor(finding).await??;
    // It says so before it listens, in some versions.
    sleep(Duration::from_millis(10)).await;
    Ok(found)
}

/// A folder for certificates, gone with this.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn new() -> io::Result<Files> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("tls-interop-{}-{count}", process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Files { folder })
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
