//! TLS on connections that are opened and accepted here.
//!
//! ```text
//!   Connect.tls(…) ─► check: before any I/O ─► socket ─► raw transport ─► handshake ─┐
//!   Serve.tls(…) ───► check ─► accept ───────► raw transport ─► handshake            ▼
//!                                    failed: on_tls_failure ◄────┴─► your protocol, or streams
//! ```
//!
//! Without the feature, `no_tls.rs` is in its place, and there is nothing to be set.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::contract::{Address, Protocol, Transport};
use crate::error::ConnError;
use crate::event_loop::LoopHandle;
use crate::tls::{
    ClientHandshake, TlsClientContext, TlsServerContext, TlsTimeouts, TlsTransport,
    client_handshake,
};
use crate::transports::{AttachedTo, Ending, Opening, Socket, StreamTransport};

use super::attached::Key;
use super::connect::make_transport;
use super::host::Host;
use super::open::{Connect, Destination};
use super::serve::{Place, Serve};
use super::server_core::ServerCore;

/// Whether a connection is to be encrypted, and what it is to trust.
///
/// Made by conversion: of `true` and `false`, of a [`TlsClientContext`], and of what
/// converts into one.
///
/// # asyncio
/// What the argument `ssl` may be.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum ClientTls {
    /// `false`: plaintext.
    #[default]
    Off,
    /// `true`: trust what the system trusts, and look at the server's name.
    System,
    /// As the context has it.
    With(TlsClientContext),
}

impl From<bool> for ClientTls {
    fn from(on: bool) -> Self {
        match on {
            true => ClientTls::System,
            false => ClientTls::Off,
        }
    }
}

impl<C: Into<TlsClientContext>> From<C> for ClientTls {
    fn from(context: C) -> Self {
        ClientTls::With(context.into())
    }
}

/// A handshake that failed on a server.
///
/// # asyncio
/// No counterpart: at most a debug message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HandshakeFailure {
    /// Who tried; `None` if the system doesn't know.
    pub peer: Option<Address>,
    /// Why it failed: a [`TlsError`](crate::TlsError) inside of it if the peer's bytes, or
    /// its certificate, were not such as we accept; `ConnectionReset` if it left;
    /// `ConnectionAborted` if it took too long.
    pub error: ConnError,
}

// ── clients ─────────────────────────────────────────────────────────────────────

/// What is set of TLS for a connection to be opened.
#[derive(Debug, Default)]
pub(super) struct ClientOptions {
    tls: ClientTls,
    server_hostname: Option<String>,
    handshake_timeout: Option<Duration>,
    shutdown_timeout: Option<Duration>,
}

impl<To: Into<Destination> + 'static, As> Connect<To, As> {
    /// Encrypts the connection: `true` trusts what the system trusts; a
    /// [`TlsClientContext`] trusts what it was told to.
    ///
    /// The certificate must bear the host's name, unless
    /// [`server_hostname`](Self::server_hostname) says another.
    ///
    /// # asyncio
    /// The argument `ssl`.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use millstream::{open_connection, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let (mut reader, writer) = open_connection("example.org", 443).tls(true).await?;
    ///     writer.write(b"HEAD / HTTP/1.0\r\nHost: example.org\r\n\r\n");
    ///     println!("{}", String::from_utf8_lossy(&reader.readline().await?));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn tls(mut self, tls: impl Into<ClientTls>) -> Self {
        self.tls.tls = tls.into();
        self
    }

    /// Says which name the server's certificate must bear: the host's unless set. An empty
    /// one turns the look at it off.
    ///
    /// # asyncio
    /// The argument `server_hostname`.
    pub fn server_hostname(mut self, name: impl Into<String>) -> Self {
        self.tls.server_hostname = Some(name.into());
        self
    }

    /// Sets how long the TLS handshake may take, in all: 60 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_handshake_timeout`.
    pub fn ssl_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.tls.handshake_timeout = Some(timeout);
        self
    }

    /// Sets how long closing may wait for the peer's `close_notify`: 30 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_shutdown_timeout`.
    pub fn ssl_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.tls.shutdown_timeout = Some(timeout);
        self
    }
}

impl ClientOptions {
    /// Looks at what was set, before any I/O, in asyncio's order.
    pub(super) fn check(self, to: &Destination) -> io::Result<ClientSecurity> {
        let context = match self.tls {
            ClientTls::Off => {
                if self.server_hostname.is_some() {
                    return Err(invalid("server_hostname is only meaningful with ssl"));
                }
                check_meaning(self.handshake_timeout, self.shutdown_timeout)?;
                return Ok(ClientSecurity(None));
            }
            ClientTls::System => None,
            ClientTls::With(context) => Some(context),
        };
        let name = match self.server_hostname {
            Some(name) => name,
            None => name_of(to)?,
        };
        let timeouts = TlsTimeouts::new(self.handshake_timeout, self.shutdown_timeout)?;
        let context = match context {
            Some(context) => context,
            None => TlsClientContext::system()?,
        };
        let handshake = client_handshake(&context, &name, timeouts)?;
        Ok(ClientSecurity(Some(Box::new(handshake))))
    }
}

/// The name that a certificate must bear if none is given.
fn name_of(to: &Destination) -> io::Result<String> {
    let host = match to {
        Destination::Host(to) => to.host(),
        Destination::Path(_) => {
            return Err(invalid("you have to pass server_hostname when using ssl"));
        }
        Destination::Sock(to) if to.must_be_unix() => {
            return Err(invalid("you have to pass server_hostname when using ssl"));
        }
        Destination::Sock(_) => &Host::Any,
    };
    match host {
        Host::Name(name) if !name.is_empty() => Ok(name.clone()),
        _ => Err(invalid(
            "You must set server_hostname when using ssl without a host",
        )),
    }
}

/// How a connection is to be secured, once there is a socket.
pub(super) struct ClientSecurity(Option<Box<ClientHandshake>>);

impl ClientSecurity {
    /// Makes the transport of a connected socket, and waits until the protocol was told
    /// `connection_made`. Dropped before that, it closes the transport.
    pub(super) async fn make_transport(
        self,
        handle: &LoopHandle,
        socket: Socket,
        protocol: Box<dyn Protocol>,
    ) -> io::Result<Rc<dyn Transport>> {
        let Some(handshake) = self.0 else {
            return make_transport(handle, socket, protocol).await;
        };
        let (protocol, handshake) = handshake.begin(handle, protocol);
        let opening = Opening {
            socket,
            protocol: Box::new(protocol),
            peer_name: None,
            on_made: None,
            attached: None,
        };
        let raw: Rc<dyn Transport> = StreamTransport::open(handle, opening)?;
        handshake.transport.set_raw(&raw);
        handshake.finish().await
    }
}

// ── servers ─────────────────────────────────────────────────────────────────────

/// What is set of TLS for a server to be started.
#[derive(Default)]
pub(super) struct ServerOptions {
    context: Option<TlsServerContext>,
    handshake_timeout: Option<Duration>,
    shutdown_timeout: Option<Duration>,
    on_failure: Option<OnFailure>,
}

type OnFailure = Rc<dyn Fn(&HandshakeFailure)>;

impl<On: Into<Place> + 'static, With> Serve<On, With> {
    /// Encrypts the connections. Nothing is told of one before its handshake has
    /// succeeded: no handler is called for one that fails.
    ///
    /// # asyncio
    /// The argument `ssl`. There it must not be a boolean either, and here that does not
    /// compile:
    /// ```compile_fail,E0277
    /// # async fn handle(_: millstream::StreamReader, _: millstream::StreamWriter) {}
    /// let server = millstream::start_server(handle, "127.0.0.1", 8443).tls(true);
    /// ```
    pub fn tls(mut self, context: impl Into<TlsServerContext>) -> Self {
        self.tls.context = Some(context.into());
        self
    }

    /// Sets how long a TLS handshake may take, in all: 60 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_handshake_timeout`.
    pub fn ssl_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.tls.handshake_timeout = Some(timeout);
        self
    }

    /// Sets how long closing may wait for the peer's `close_notify`: 30 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_shutdown_timeout`.
    pub fn ssl_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.tls.shutdown_timeout = Some(timeout);
        self
    }

    /// Has `observer` told of each handshake that failed: who tried, and why.
    ///
    /// # asyncio
    /// No counterpart.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use millstream::{TlsServerContext, run, start_server};
    /// # async fn handle(_: millstream::StreamReader, _: millstream::StreamWriter) {}
    ///
    /// # fn main() -> io::Result<()> {
    /// let context = TlsServerContext::from_pem_files("cert.pem", "key.pem")?;
    /// run(async {
    ///     let server = start_server(handle, "0.0.0.0", 8443)
    ///         .tls(context)
    ///         .on_tls_failure(|failure| eprintln!("{:?}: {}", failure.peer, failure.error))
    ///         .await?;
    ///     server.serve_forever().await
    /// })
    /// # }
    /// ```
    pub fn on_tls_failure(mut self, observer: impl Fn(&HandshakeFailure) + 'static) -> Self {
        self.tls.on_failure = Some(Rc::new(observer));
        self
    }
}

impl ServerOptions {
    /// Looks at what was set, before any I/O.
    pub(super) fn check(self) -> io::Result<ServerSecurity> {
        let Some(context) = self.context else {
            check_meaning(self.handshake_timeout, self.shutdown_timeout)?;
            return Ok(ServerSecurity(None));
        };
        let timeouts = TlsTimeouts::new(self.handshake_timeout, self.shutdown_timeout)?;
        Ok(ServerSecurity(Some(Box::new(TlsServing {
            context,
            timeouts,
            on_failure: self.on_failure,
        }))))
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// How a server's connections are to be secured.
#[derive(Default)]
pub(super) struct ServerSecurity(Option<Box<TlsServing>>);

struct TlsServing {
    context: TlsServerContext,
    timeouts: TlsTimeouts,
    on_failure: Option<OnFailure>,
}

impl ServerSecurity {
    /// Puts TLS below the protocol of a connection that was accepted, if it is to be there.
    pub(super) fn put_below(
        &self,
        handle: &LoopHandle,
        protocol: Box<dyn Protocol>,
        peer: Option<&Address>,
    ) -> io::Result<(Box<dyn Protocol>, Above)> {
        let Some(serving) = &self.0 else {
            return Ok((protocol, Above(None)));
        };
        let (peer, on_failure) = (peer.cloned(), serving.on_failure.clone());
        let on_handshake = move |outcome| {
            if let (Err(error), Some(observer)) = (outcome, on_failure) {
                observer(&HandshakeFailure { peer, error });
            }
        };
        let (transport, below) =
            serving
                .context
                .accept(handle, serving.timeouts, protocol, Box::new(on_handshake))?;
        Ok((Box::new(below), Above(Some(transport))))
    }
}

/// What is above a raw transport: nothing but its protocol, or TLS.
pub(super) struct Above(Option<Rc<TlsTransport>>);

impl Above {
    pub(super) fn set_raw(&self, raw: &Rc<StreamTransport>) {
        if let Some(tls) = &self.0 {
            let raw: Rc<dyn Transport> = raw.clone();
            tls.set_raw(&raw);
        }
    }

    /// Returns what the raw transport is attached to.
    pub(super) fn attached_to(&self, server: &Rc<ServerCore>) -> Rc<dyn AttachedTo> {
        let server = server.clone();
        match self.0.clone() {
            Some(tls) => Rc::new(Secured { tls, server }),
            None => server,
        }
    }
}

/// A connection of a server that is encrypted.
struct Secured {
    tls: Rc<TlsTransport>,
    server: Rc<ServerCore>,
}

impl AttachedTo for Secured {
    /// Tells what the connection ended by, of which the raw transport knows only its part.
    fn detached(self: Rc<Self>, key: Key, raw: Ending) {
        let ending = match self.tls.was_lost_by_error() {
            true => Ending::Error,
            false => raw,
        };
        self.server.clone().detached(key, ending);
    }
}

/// Without TLS, its timeouts mean nothing.
fn check_meaning(handshake: Option<Duration>, shutdown: Option<Duration>) -> io::Result<()> {
    if handshake.is_some() {
        return Err(invalid("ssl_handshake_timeout is only meaningful with ssl"));
    }
    if shutdown.is_some() {
        return Err(invalid("ssl_shutdown_timeout is only meaningful with ssl"));
    }
    Ok(())
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
