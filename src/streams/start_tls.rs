//! A stream's `start_tls`: from plaintext to TLS in mid-stream.
//!
//! ```text
//!   drain ─► what lies in the reader? ─► nothing ───────────────► TLS between the two
//!                                     └► a server: is TLS ─► engine ─┘
//!                                     └► a client: was injected? refused, unless told (D23)
//! ```
//!
//! asyncio: `StreamWriter.start_tls`.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use crate::event_loop::running_loop;
use crate::tls::{PlaintextBuffered, StartTls, TlsContext};

use super::protocol::StreamReaderProtocol;
use super::reader::StreamReader;
use super::state::User;
use super::writer::StreamWriter;

impl StreamWriter {
    /// Encrypts the stream from here on.
    ///
    /// What was written before is sent before, in plaintext; the reader gives decrypted
    /// bytes from then on, also to a read that waits already. A context of a client or of
    /// a server says on which side of the handshake we are; a client also needs
    /// [`server_hostname`](StreamStartTls::server_hostname).
    ///
    /// Bytes that lie in the reader when it begins came in plaintext. A server takes them
    /// for the beginning of the handshake, which an eager client sends together with its
    /// `STARTTLS`. A client refuses: somebody on the way may have put them there, to have
    /// them taken for what the server said in secret (D23).
    /// [`buffered`](StreamStartTls::buffered) says otherwise.
    ///
    /// # Errors
    /// `InvalidInput` if a client gives no `server_hostname`, a server gives one, or a
    /// timeout is zero; [`PlaintextBuffered`]; `Unsupported` on a stream that is encrypted
    /// already. Those leave the stream as it is. What draining and the handshake fail
    /// with: see [`TlsError`](crate::TlsError).
    ///
    /// # Cancel safety
    /// Dropped while the handshake runs, it aborts the connection.
    ///
    /// # asyncio
    /// `StreamWriter.start_tls`, of 3.11, which loses or believes what is buffered.
    ///
    /// # Examples
    /// ```no_run
    /// use std::io;
    /// use millstream::{TlsClientContext, open_connection, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let (mut reader, mut writer) = open_connection("mail.example", 143).await?;
    ///     writer.write(b"a STARTTLS\r\n");
    ///     while !reader.readline().await?.starts_with(b"a OK") {}
    ///     writer
    ///         .start_tls(TlsClientContext::new()?)
    ///         .server_hostname("mail.example")
    ///         .await?;
    ///     writer.write(b"b CAPABILITY\r\n");
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn start_tls(&mut self, context: impl Into<TlsContext>) -> StreamStartTls<'_> {
        let start = running_loop().start_tls(self.transport(), context);
        StreamStartTls {
            writer: self,
            reader: None,
            start,
            buffered: None,
        }
    }
}

/// A stream that is to be encrypted: set what is to be set, then await it.
///
/// Made by [`StreamWriter::start_tls`].
#[must_use = "TLS is started only when this is awaited"]
pub struct StreamStartTls<'a> {
    writer: &'a mut StreamWriter,
    reader: Option<&'a mut StreamReader>,
    start: StartTls,
    buffered: Option<Buffered>,
}

/// What is done with bytes that came in plaintext, and that nobody has read.
///
/// # asyncio
/// No counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Buffered {
    /// They are refused, and the stream is left as it is: what a client does unless told.
    Refuse,
    /// They are taken for TLS: what a server does unless told.
    Transfer,
    /// They are thrown away.
    Discard,
}

impl<'a> StreamStartTls<'a> {
    /// Lends the reader, so that also those bytes are seen that a borrowing read, such as
    /// `fill_buf`, has left in it.
    ///
    /// Without it, such bytes are refused.
    ///
    /// # asyncio
    /// No counterpart.
    pub fn reader(mut self, reader: &'a mut StreamReader) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Says what is done with bytes that came in plaintext (D23).
    ///
    /// # asyncio
    /// No counterpart.
    pub fn buffered(mut self, buffered: Buffered) -> Self {
        self.buffered = Some(buffered);
        self
    }

    /// Says which server is expected: whose name the certificate must bear.
    ///
    /// # asyncio
    /// The argument `server_hostname`.
    pub fn server_hostname(mut self, name: impl Into<String>) -> Self {
        self.start = self.start.server_hostname(name);
        self
    }

    /// Sets how long the handshake may take: 60 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_handshake_timeout`.
    pub fn ssl_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.start = self.start.ssl_handshake_timeout(timeout);
        self
    }

    /// Sets how long closing may take: 30 seconds unless set.
    ///
    /// # asyncio
    /// The argument `ssl_shutdown_timeout`.
    pub fn ssl_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.start = self.start.ssl_shutdown_timeout(timeout);
        self
    }

    async fn run(self) -> io::Result<()> {
        let StreamStartTls {
            writer,
            reader,
            start,
            buffered,
        } = self;
        start.check()?;
        writer.drain().await?;
        // Before a look at what came: from here to the exchange nobody else runs.
        poll_fn(|cx| writer.transport().poll_flushed(cx)).await;
        start.check()?;
        if writer.state.eof().is_some() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer has ended the stream before TLS",
            ));
        }
        let undecrypted = take_plaintext(writer, reader, buffered, &start)?;
        let protocol = StreamReaderProtocol::going_on(&writer.state);
        let handshake = start
            .undecrypted(undecrypted)
            .protocol(protocol)
            .put_between()?;
        // At once, so that no read takes ciphertext from the transport below.
        writer
            .state
            .set_transport(handshake.transport.clone(), User::Both);
        handshake.finish().await?;
        Ok(())
    }
}

/// Takes what lies in the reader, or refuses to go on because of it.
fn take_plaintext(
    writer: &StreamWriter,
    reader: Option<&mut StreamReader>,
    buffered: Option<Buffered>,
    start: &StartTls,
) -> io::Result<Vec<u8>> {
    let state = &writer.state;
    let bytes = state.unread();
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let buffered = buffered.unwrap_or(match start.is_server() {
        true => Buffered::Transfer,
        false => Buffered::Refuse,
    });
    if buffered == Buffered::Refuse {
        return Err(PlaintextBuffered { bytes }.into());
    }
    if let Some(reader) = reader {
        // Bytes that were lent go home, before the others.
        reader.bring_home();
    }
    if state.at_home(|home| home.len()) < bytes {
        return Err(PlaintextBuffered { bytes }.into());
    }
    let taken = state.at_home(|home| home.take(bytes, state.pool()));
    state.consumed(bytes);
    state.resume_below_limit(Some(&**writer.transport()));
    match buffered {
        Buffered::Transfer => Ok(taken),
        Buffered::Refuse | Buffered::Discard => Ok(Vec::new()),
    }
}

impl<'a> IntoFuture for StreamStartTls<'a> {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for StreamStartTls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamStartTls")
            .field("start", &self.start)
            .field("buffered", &self.buffered)
            .finish_non_exhaustive()
    }
}
