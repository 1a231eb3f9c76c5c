//! `start_tls`: encrypting a connection that stands already.
//!
//! ```text
//!   before   raw ──owns──► your protocol
//!   after    raw ──owns──► TlsProtocol ──► TlsTransport ──owns──► your protocol, or another
//! ```

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::contract::{Protocol, Transport};
use crate::error::{Cancelled, ConnError};
use crate::event_loop::LoopHandle;
use crate::task::{Future as LoopFuture, create_future};

use super::context::{TlsClientContext, TlsServerContext};
use super::engine::Engine;
use super::info::TlsVersion;
use super::protocol::TlsProtocol;
use super::settings::{TlsSettings, TlsTimeouts};
use super::state::App;
use super::transport::{TlsOpening, TlsTransport};

/// A context of either side, which says on which side of the handshake we are.
///
/// # asyncio
/// An `SSLContext`, and the argument `server_side` beside it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TlsContext {
    /// We are the client.
    Client(TlsClientContext),
    /// We are the server.
    Server(TlsServerContext),
}

impl From<TlsClientContext> for TlsContext {
    fn from(context: TlsClientContext) -> Self {
        TlsContext::Client(context)
    }
}

impl From<TlsServerContext> for TlsContext {
    fn from(context: TlsServerContext) -> Self {
        TlsContext::Server(context)
    }
}

impl LoopHandle {
    /// Encrypts a connection that stands already, and gives the transport to write to
    /// from then on.
    ///
    /// What was written before is sent before, in plaintext. The transport's protocol
    /// moves up: it is told what happens on the new transport, and not `connection_made`
    /// again. If the handshake fails, it is told `connection_lost`.
    ///
    /// Nothing of the peer's that is meant for TLS may have come yet: let the peer speak
    /// only after it was told that you begin. A stream takes care of this, with
    /// [`StreamWriter::start_tls`](crate::StreamWriter::start_tls).
    ///
    /// # Errors
    /// `InvalidInput` if a client gives no `server_hostname`, a server gives one, or a
    /// timeout is zero; `Unsupported` on a transport that is encrypted already. Those
    /// leave the connection as it is. What the handshake fails with: see
    /// [`TlsError`](crate::TlsError).
    ///
    /// # Cancel safety
    /// Dropping the future closes the transport.
    ///
    /// # asyncio
    /// `loop.start_tls(transport, protocol, sslcontext)`.
    pub fn start_tls(
        &self,
        transport: &Rc<dyn Transport>,
        context: impl Into<TlsContext>,
    ) -> StartTls {
        StartTls {
            handle: self.clone(),
            raw: transport.clone(),
            context: context.into(),
            protocol: None,
            tells_connection_made: false,
            server_hostname: None,
            handshake_timeout: None,
            shutdown_timeout: None,
            undecrypted: Vec::new(),
        }
    }
}

/// A connection that is to be encrypted: set what is to be set, then await it.
///
/// Made by [`LoopHandle::start_tls`].
#[must_use = "TLS is started only when this is awaited"]
pub struct StartTls {
    handle: LoopHandle,
    raw: Rc<dyn Transport>,
    context: TlsContext,
    protocol: Option<Box<dyn Protocol>>,
    tells_connection_made: bool,
    server_hostname: Option<String>,
    handshake_timeout: Option<Duration>,
    shutdown_timeout: Option<Duration>,
    undecrypted: Vec<u8>,
}

impl StartTls {
    /// Has another protocol told what happens from now on; the earlier one is dropped.
    ///
    /// # asyncio
    /// The argument `protocol`.
    pub fn protocol(mut self, protocol: impl Protocol) -> Self {
        self.protocol = Some(Box::new(protocol));
        self
    }

    /// Has the protocol told `connection_made` when the handshake has succeeded: for one
    /// that is new to the connection.
    ///
    /// # asyncio
    /// The private argument `call_connection_made` of its TLS protocol.
    pub fn tell_connection_made(mut self, on: bool) -> Self {
        self.tells_connection_made = on;
        self
    }

    /// Says which server is expected: whose name the certificate must bear.
    ///
    /// # asyncio
    /// The argument `server_hostname`.
    pub fn server_hostname(mut self, name: impl Into<String>) -> Self {
        self.server_hostname = Some(name.into());
        self
    }

    /// Sets how long the handshake may take: 60 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_handshake_timeout`.
    pub fn ssl_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = Some(timeout);
        self
    }

    /// Sets how long closing may take: 30 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_shutdown_timeout`.
    pub fn ssl_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = Some(timeout);
        self
    }

    /// Has the engine take in bytes that came before the raw transport was ours.
    pub(crate) fn undecrypted(mut self, came_before: Vec<u8>) -> Self {
        self.undecrypted = came_before;
        self
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self.context, TlsContext::Server(_))
    }

    /// Looks at what was set, before anything is changed.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.engine()?;
        if self.raw.get_extra_info(TlsVersion).is_some() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "start_tls on a transport that is encrypted already",
            ));
        }
        if self.raw.is_closing() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "start_tls on a transport that is closed or about to be",
            ));
        }
        Ok(())
    }

    fn engine(&self) -> io::Result<(Engine, TlsSettings)> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
        let engine = match (&self.context, &self.server_hostname) {
            (TlsContext::Client(context), Some(name)) => context.engine(name)?,
            (TlsContext::Client(_), None) => {
                return Err(invalid(
                    "You must set server_hostname: start_tls has no host to look for in the \
                     certificate; an empty one turns that off",
                ));
            }
            (TlsContext::Server(context), None) => context.engine()?,
            (TlsContext::Server(_), Some(_)) => {
                return Err(invalid("server_hostname is only meaningful for clients"));
            }
        };
        let timeouts = TlsTimeouts::new(self.handshake_timeout, self.shutdown_timeout)?;
        let settings = match &self.context {
            TlsContext::Client(context) => context.settings(timeouts),
            TlsContext::Server(context) => context.settings(timeouts),
        };
        Ok((engine, settings))
    }

    async fn start(self) -> io::Result<Rc<dyn Transport>> {
        self.check()?;
        let unfinished = AbortOnDrop(Some(self.raw.clone()));
        // In plaintext, and so before the first byte of TLS. It also resumes a protocol
        // that was told to pause, which our own marks know nothing of.
        poll_fn(|cx| self.raw.poll_flushed(cx)).await;
        // It may have been closed, or lost, meanwhile.
        let handshake = self.check().and_then(|()| self.put_between());
        match handshake {
            Ok(handshake) => {
                let transport = handshake.finish().await?;
                unfinished.disarm();
                Ok(transport)
            }
            Err(error) => {
                unfinished.disarm();
                Err(error)
            }
        }
    }

    /// Puts TLS between the raw transport and the protocol, and begins the handshake.
    pub(crate) fn put_between(self) -> io::Result<Handshake> {
        let (engine, settings) = self.engine()?;
        let (promise, over) = create_future();
        let opening = TlsOpening {
            engine,
            settings,
            protocol: Box::new(Nobody),
            app: match self.tells_connection_made {
                true => App::Unmet,
                false => App::Met,
            },
            undecrypted: self.undecrypted,
            on_handshake: Some(Box::new(move |outcome| promise.set_result(outcome))),
        };
        let (transport, protocol) = TlsTransport::open(&self.handle, opening);
        transport.set_raw(&self.raw);
        match self.protocol {
            Some(app) => {
                transport.set_protocol(app);
                self.raw.set_protocol(Box::new(protocol));
            }
            None => match self.raw.replace_protocol(Box::new(protocol)) {
                Ok(app) => transport.set_protocol(app),
                Err(ours) => {
                    drop(ours);
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "the transport's protocol can't move up now: give start_tls one",
                    ));
                }
            },
        }
        let (begun, raw) = (transport.clone(), self.raw.clone());
        self.handle.soon(move || begun.begin(&raw));
        self.raw.resume_reading();
        Ok(Handshake { transport, over })
    }
}

impl IntoFuture for StartTls {
    type Output = io::Result<Rc<dyn Transport>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

impl fmt::Debug for StartTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartTls")
            .field("transport", &self.raw)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// A client's handshake that can begin as soon as there is a connection: what was set is
/// in order.
pub(crate) struct ClientHandshake {
    engine: Engine,
    settings: TlsSettings,
}

/// Looks at what was set for a connection to a server of this name, before any I/O.
pub(crate) fn client_handshake(
    context: &TlsClientContext,
    server_hostname: &str,
    timeouts: TlsTimeouts,
) -> io::Result<ClientHandshake> {
    Ok(ClientHandshake {
        engine: context.engine(server_hostname)?,
        settings: context.settings(timeouts),
    })
}

impl ClientHandshake {
    /// Makes the two ends: what the raw transport is to have for a protocol, and what is
    /// to be waited for.
    pub(crate) fn begin(
        self,
        handle: &LoopHandle,
        protocol: Box<dyn Protocol>,
    ) -> (TlsProtocol, Handshake) {
        let (promise, over) = create_future();
        let opening = TlsOpening {
            engine: self.engine,
            settings: self.settings,
            protocol,
            app: App::Unmet,
            undecrypted: Vec::new(),
            on_handshake: Some(Box::new(move |outcome| promise.set_result(outcome))),
        };
        let (transport, below) = TlsTransport::open(handle, opening);
        (below, Handshake { transport, over })
    }
}

/// A handshake that was begun.
pub(crate) struct Handshake {
    pub(crate) transport: Rc<TlsTransport>,
    over: LoopFuture<Result<(), ConnError>>,
}

impl Handshake {
    /// Waits until it is over. Dropped before that, it aborts the connection.
    pub(crate) async fn finish(self) -> io::Result<Rc<dyn Transport>> {
        let transport: Rc<dyn Transport> = self.transport;
        let unfinished = AbortOnDrop(Some(transport.clone()));
        let outcome = self.over.await;
        outcome.map_err(|Cancelled| io::Error::from(Cancelled))??;
        unfinished.disarm();
        Ok(transport)
    }
}

/// Aborts a transport that nobody took.
struct AbortOnDrop(Option<Rc<dyn Transport>>);

impl AbortOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(transport) = self.0.take() {
            transport.abort();
        }
    }
}

/// Sits in the place of the app's protocol until that has moved up.
struct Nobody;

impl Protocol for Nobody {}
