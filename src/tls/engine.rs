//! The engine: rustls's state machine, and nothing around it.
//!
//! ```text
//!   ciphertext ──take_in──►┌────────┐──plaintext, read_plaintext──►  app
//!                          │ rustls │
//!   ciphertext ◄──send─────└────────┘◄──encrypt, send_close_notify── app
//! ```
//!
//! It does no I/O and calls nobody but the cryptography it was configured with. Whoever
//! uses it holds it on the stack, never under a borrow: what it decrypts is lent to the
//! app's protocol from here, and what it encrypts to the transport below.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

/// One end of a TLS connection.
pub(super) struct Engine {
    connection: Connection,
    /// Bytes of plaintext that lie in the connection.
    readable: usize,
    /// The peer's `close_notify` was seen. What comes after it is ignored.
    peer_has_closed: bool,
}

impl Engine {
    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Engine, rustls::Error> {
        Ok(Engine::on(ClientConnection::new(config, name)?.into()))
    }

    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Engine, rustls::Error> {
        Ok(Engine::on(ServerConnection::new(config)?.into()))
    }

    fn on(mut connection: Connection) -> Engine {
        // What waits to be encrypted waits in our own buffers, which have marks.
        connection.set_buffer_limit(None);
        Engine {
            connection,
            readable: 0,
            peer_has_closed: false,
        }
    }

    /// What was agreed upon in the handshake.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Says whether bytes are decrypted, or the peer's end was seen.
    pub(super) fn has_news(&self) -> bool {
        self.readable > 0 || self.peer_has_closed
    }

    pub(super) fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    // ── from the peer to the app ────────────────────────────────────────────────

    /// Takes some of `ciphertext`, and says how much; none is taken behind the peer's end.
    ///
    /// `ciphertext` is not empty, and nothing that was decrypted is left, since rustls
    /// takes no more than 16 KiB of it.
    ///
    /// # Errors
    /// What is wrong with the peer. The alert that tells it so waits to be sent.
    pub(super) fn take_in(&mut self, ciphertext: &[u8]) -> Result<usize, rustls::Error> {
        debug_assert!(!ciphertext.is_empty(), "rustls takes that for the end");
        debug_assert_eq!(self.readable, 0, "plaintext that nobody took");
        let taken = self.connection.read_tls(&mut &*ciphertext);
        // It refuses only when its own buffers are full, which the peer has to answer for.
        let taken = taken.map_err(|error| rustls::Error::General(error.to_string()))?;
        let state = self.connection.process_new_packets()?;
        self.readable = state.plaintext_bytes_to_read();
        self.peer_has_closed = state.peer_has_closed();
        Ok(taken)
    }

    /// How many bytes are decrypted.
    pub(super) fn readable(&self) -> usize {
        self.readable
    }

    /// Lends decrypted bytes: those of one record.
    pub(super) fn plaintext(&mut self) -> &[u8] {
        match self.connection.reader().into_first_chunk() {
            Ok(chunk) => chunk,
            // There are none, whatever the reason.
            Err(_) => &[],
        }
    }

    /// Drops bytes that were lent.
    pub(super) fn consume(&mut self, n: usize) {
        self.connection.reader().consume(n);
        self.readable -= n;
    }

    /// Moves decrypted bytes into `buffer`.
    pub(super) fn read_plaintext(&mut self, buffer: &mut [u8]) -> usize {
        // At the end it has nothing, too, and says why; that is known otherwise.
        let n = self.connection.reader().read(buffer).unwrap_or(0);
        self.readable -= n;
        n
    }

    /// Throws decrypted bytes away.
    pub(super) fn discard_plaintext(&mut self) {
        while self.readable > 0 {
            let n = self.plaintext().len();
            self.consume(n);
        }
    }

    // ── from the app to the peer ────────────────────────────────────────────────

    /// Encrypts bytes, in order.
    pub(super) fn encrypt(&mut self, pieces: &[IoSlice<'_>]) {
        // It has no limit and so takes all; after a fatal error it takes nothing, and the
        // connection is over.
        let _ = self.connection.writer().write_vectored(pieces);
    }

    pub(super) fn send_close_notify(&mut self) {
        self.connection.send_close_notify();
    }

    /// Says whether there is ciphertext to be sent.
    pub(super) fn has_ciphertext(&self) -> bool {
        self.connection.wants_write()
    }

    /// Hands some of the ciphertext to `below`.
    pub(super) fn send(&mut self, below: &mut dyn Write) -> io::Result<usize> {
        self.connection.write_tls(below)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("readable", &self.readable)
            .field("peer_has_closed", &self.peer_has_closed)
            .finish_non_exhaustive()
    }
}
