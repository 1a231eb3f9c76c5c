//! TLS: a protocol on a transport, and a transport for a protocol.
//!
//! Layer 6, with the feature `tls`. Above: streams and servers. Below: the contract, for
//! it works on any transport; rustls, for the cryptography.
//!
//! ```text
//!   your protocol, or a stream's                 Protocol   ▲ plaintext │
//!   ──────────────────────────────────────────────────────  │           │ write, close
//!   TlsTransport   impl Transport  ◄── Rc ── TlsProtocol    │           ▼
//!        │  TlsState  (phase, marks; calls nobody)     ▲
//!        │  Engine    (rustls; does no I/O)            │ owned by (R2)
//!   ──── │ ────────────────────────────────────────────│────────────────────
//!        └──writelines, pause_reading──► raw transport ┘    ▲ ciphertext ▼
//! ```
//!
//! The raw transport owns the [`TlsProtocol`], as any transport owns its protocol. That
//! owns the [`TlsTransport`], by the same `Rc` that the app's handles are, and the
//! transport owns the app's protocol. It holds the raw transport, too: a cycle, which is
//! cut when the raw connection is lost, or when the loop closes. Then the raw transport
//! drops its protocol, and the drop retires the app's (R2).
//!
//! Always true:
//! * the app's protocol learns of a connection only when its handshake has succeeded;
//! * the engine is out of its cell while it is used, so no borrow is alive when a
//!   protocol, a waker or the raw transport is called (R3): who needs it meanwhile says
//!   so, and the user goes round again;
//! * what the app wrote lies here or below, and both count: a `drain` means the kernel.
//!
//! asyncio: `sslproto.SSLProtocol` and `_SSLProtocolTransport`.

mod context; //    what is trusted, and who we are
mod settings; //   how long to wait, and for what
mod engine; //     rustls's state machine
mod state; //      how far a connection is, who is paused
mod transport; //  what the app has, and what brings all together
mod protocol; //   what the raw transport has
mod delivery; //   from the engine to the app's protocol
mod info; //       what a handshake agreed upon
mod start; //      start_tls, on any transport
mod error; //      what goes wrong

pub use context::{
    ShutdownMode, TlsClientBuilder, TlsClientContext, TlsServerBuilder, TlsServerContext,
};
pub use error::{PlaintextBuffered, TlsError};
pub use info::{AlpnProtocol, Cipher, CipherInfo, PeerCertificates, ServerName, TlsVersion};
pub use start::{StartTls, TlsContext};

pub(crate) use settings::TlsTimeouts;
pub(crate) use start::{ClientHandshake, client_handshake};
pub(crate) use transport::TlsTransport;
