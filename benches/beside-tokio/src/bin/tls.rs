//! TLS beside tokio-rustls: handshakes, bulk, and what an idle connection holds.
//!
//! `cargo run --release --features tls --bin tls` in this folder; `-- --rounds 9`,
//! `--seconds 0.15`, `--results FILE`.
//!
//! ```text
//!   this process: rustls on blocking sockets ──► server process: millstream, or Tokio
//!                  the same load for both            the same rustls configuration
//! ```
//!
//! Both servers use the same version of rustls with ring, the same certificate, one thread
//! and the first processor. What is compared is the server's processor time, per handshake
//! and per MiB, which the load doesn't blur; and its memory per idle connection. Within a
//! round each is measured once, in an order that turns with the rounds.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use beside_tokio::process::pin_to;
use beside_tokio::{Comparison, Options};
use millstream::rustls::client::Resumption;
use millstream::rustls::pki_types::pem::PemObject;
use millstream::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use millstream::rustls::{self, ClientConfig, ClientConnection, ServerConfig};

/// What is sent or received at a time.
const PIECE: usize = 64 * 1024;

/// Connections that are idle at once.
const CONNECTIONS: usize = 1000;

/// Bytes in a MiB.
const MIB: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [serve, candidate] = &arguments[..] {
        if serve == "serve" {
            pin_to(0);
            return match candidate.as_str() {
                "millstream" => by_millstream::serve(server_config()?),
                "tokio" => by_tokio::serve(server_config()?),
                _ => Err(io::Error::other("serve millstream, or serve tokio")),
            };
        }
    }
    pin_to(1);
    let options = Options::from_arguments()?;
    let mut comparison = Comparison {
        group: "tls",
        unit: "µs",
        rounds: options.rounds,
        notebook: options.notebook()?,
    };
    let duration = Duration::from_secs_f64(options.seconds);
    comparison.print_heading();
    handshakes(&mut comparison, duration)?;
    let (up, down) = (Direction::Up, Direction::Down);
    bulk(
        &mut comparison,
        "received by the server, per MiB",
        duration,
        up,
    )?;
    bulk(
        &mut comparison,
        "sent by the server, per MiB",
        duration,
        down,
    )?;
    println!();
    comparison.unit = "KiB";
    comparison.rounds = options.rounds.min(3);
    comparison.print_heading();
    idle(&mut comparison)
}

// ── what is measured ────────────────────────────────────────────────────────────

fn handshakes(comparison: &mut Comparison, duration: Duration) -> io::Result<()> {
    let (ours, theirs) = (Server::start("millstream")?, Server::start("tokio")?);
    let cost = |server: &Server| {
        let (began, before) = (Instant::now(), server.processor_time()?);
        let mut count = 0.0;
        while began.elapsed() < duration {
            let mut client = Client::connect(server)?;
            client.asks("up 0")?;
            client.closes()?;
            count += 1.0;
        }
        let spent = server.processor_time()? - before;
        io::Result::Ok(spent.as_secs_f64() * 1e6 / count)
    };
    comparison.compare(
        "a whole handshake, a byte, a close",
        || cost(&ours),
        || cost(&theirs),
    )
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

fn bulk(
    comparison: &mut Comparison,
    what: &str,
    duration: Duration,
    direction: Direction,
) -> io::Result<()> {
    let (ours, theirs) = (Server::start("millstream")?, Server::start("tokio")?);
    let (mut our_client, mut their_client) = (Client::connect(&ours)?, Client::connect(&theirs)?);
    let cost = |server: &Server, client: &mut Client| {
        let (began, before) = (Instant::now(), server.processor_time()?);
        let mut count = 0.0;
        while began.elapsed() < duration {
            match direction {
                Direction::Up => client.asks(&format!("up {}", 16 * MIB))?,
                Direction::Down => client.fetches(16 * MIB)?,
            }
            count += 16.0;
        }
        let spent = server.processor_time()? - before;
        io::Result::Ok(spent.as_secs_f64() * 1e6 / count)
    };
    comparison.compare(
        what,
        || cost(&ours, &mut our_client),
        || cost(&theirs, &mut their_client),
    )
}

fn idle(comparison: &mut Comparison) -> io::Result<()> {
    let cost = |candidate: &str| {
        let server = Server::start(candidate)?;
        // What the first connection of all allocates is nobody's.
        let _first = Client::connect(&server)?.settled()?;
        let before = server.resident()?;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(Client::connect(&server)?.settled()?);
        }
        let grown = server.resident()?.saturating_sub(before);
        io::Result::Ok(grown as f64 / 1024.0 / CONNECTIONS as f64)
    };
    comparison.compare(
        "an idle connection",
        || cost("millstream"),
        || cost("tokio"),
    )
}

// ── the load ────────────────────────────────────────────────────────────────────

struct Client {
    tls: rustls::StreamOwned<ClientConnection, TcpStream>,
    piece: Vec<u8>,
}

impl Client {
    fn connect(server: &Server) -> io::Result<Client> {
        let socket = TcpStream::connect(("127.0.0.1", server.port))?;
        socket.set_nodelay(true)?;
        let name = "localhost".try_into().map_err(io::Error::other)?;
        let tls = ClientConnection::new(server.client.clone(), name).map_err(io::Error::other)?;
        Ok(Client {
            tls: rustls::StreamOwned::new(tls, socket),
            piece: vec![b'x'; PIECE],
        })
    }

    /// Says how much follows, sends that, and waits for the answer.
    fn asks(&mut self, command: &str) -> io::Result<()> {
        self.tls.write_all(command.as_bytes())?;
        self.tls.write_all(b"\n")?;
        let len: usize = command[3..].parse().map_err(io::Error::other)?;
        for at in (0..len).step_by(PIECE) {
            self.tls.write_all(&self.piece[..PIECE.min(len - at)])?;
        }
        self.tls.read_exact(&mut [0])
    }

    fn fetches(&mut self, len: usize) -> io::Result<()> {
        writeln!(self.tls, "down {len}")?;
        let mut left = len;
        while left > 0 {
            let n = self.tls.read(&mut self.piece)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= n;
        }
        Ok(())
    }

    /// Has said something and got an answer: from now on it is idle.
    fn settled(mut self) -> io::Result<Client> {
        self.asks("up 0")?;
        self.piece = Vec::new();
        Ok(self)
    }

    fn closes(mut self) -> io::Result<()> {
        self.tls.conn.send_close_notify();
        self.tls.flush()
    }
}

/// A server process. Killed when dropped.
struct Server {
    process: Child,
    port: u16,
    client: Arc<ClientConfig>,
}

impl Server {
    fn start(candidate: &str) -> io::Result<Server> {
        let identity = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .map_err(io::Error::other)?;
        let mut process = Command::new(env::current_exe()?)
            .args(["serve", candidate])
            .env("TLS_CHAIN", identity.cert.pem())
            .env("TLS_KEY", identity.signing_key.serialize_pem())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().map_err(io::Error::other)?;
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(identity.cert.der().clone())
            .map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        Ok(Server {
            process,
            port,
            client: Arc::new(client),
        })
    }

    /// What it has spent on its processor.
    fn processor_time(&self) -> io::Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.process.id()))?;
        let nanoseconds = text.split(' ').next().unwrap_or_default();
        let nanoseconds = nanoseconds.parse().map_err(io::Error::other)?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Its memory, in bytes.
    fn resident(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = kib.unwrap_or_default().parse().map_err(io::Error::other)?;
        Ok(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The configuration that both candidates serve by.
fn server_config() -> io::Result<ServerConfig> {
    let variable = |name: &str| env::var(name).map_err(io::Error::other);
    let chain = CertificateDer::from_pem_slice(variable("TLS_CHAIN")?.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(variable("TLS_KEY")?.as_bytes());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(
            vec![chain.map_err(io::Error::other)?],
            key.map_err(io::Error::other)?,
        )
        .map_err(io::Error::other)
}

/// Splits "up 17" and "down 17".
fn parse(line: &[u8]) -> io::Result<(bool, usize)> {
    let line = String::from_utf8_lossy(line);
    let (way, len) = line
        .trim()
        .split_once(' ')
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok((way == "up", len.parse().map_err(io::Error::other)?))
}

// ── the servers ─────────────────────────────────────────────────────────────────

mod by_millstream {
    use std::io;

    use millstream::rustls::ServerConfig;
    use millstream::{StreamReader, StreamWriter, run, start_server};

    use super::{PIECE, parse};

    pub fn serve(config: ServerConfig) -> io::Result<()> {
        run(async move {
            let server = start_server(answer, "127.0.0.1", 0).tls(config).await?;
            println!("{}", server.sockets()[0].port().unwrap_or(0));
            server.serve_forever().await
        })
    }

    async fn answer(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
        while let Some(line) = reader.next_line().await? {
            let (is_up, mut left) = parse(&line)?;
            if is_up {
                while left > 0 {
                    let n = reader.fill_buf().await?.len().min(left);
                    if n == 0 {
                        return Ok(());
                    }
                    reader.consume(n);
                    left -= n;
                }
                writer.write(b"k");
            } else {
                let piece = vec![b'y'; PIECE];
                while left > 0 {
                    let n = left.min(PIECE);
                    writer.write(&piece[..n]);
                    writer.drain().await?;
                    left -= n;
                }
            }
            writer.drain().await?;
        }
        writer.aclose().await
    }
}

mod by_tokio {
    use std::io;
    use std::sync::Arc;

    use millstream::rustls::ServerConfig;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::{PIECE, parse};

    pub fn serve(config: ServerConfig) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", listener.local_addr()?.port());
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                tokio::spawn(answer(acceptor.clone(), socket));
            }
        })
    }

    async fn answer(acceptor: TlsAcceptor, socket: TcpStream) -> io::Result<()> {
        let mut stream = acceptor.accept(socket).await?;
        loop {
            // No buffer is held while the connection is idle, as a skilled user has it.
            let mut line = Vec::new();
            loop {
                match stream.read_u8().await {
                    Ok(b'\n') => break,
                    Ok(byte) => line.push(byte),
                    Err(_) => return stream.shutdown().await,
                }
            }
            let (is_up, mut left) = parse(&line)?;
            if is_up {
                let mut piece = vec![0; PIECE];
                while left > 0 {
                    let most = left.min(PIECE);
                    let n = stream.read(&mut piece[..most]).await?;
                    if n == 0 {
                        return Ok(());
                    }
                    left -= n;
                }
                stream.write_all(b"k").await?;
            } else {
                let piece = vec![b'y'; PIECE];
                while left > 0 {
                    let n = left.min(PIECE);
                    stream.write_all(&piece[..n]).await?;
                    left -= n;
                }
            }
            stream.flush().await?;
        }
    }
}
