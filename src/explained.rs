//! Errors that say what was attempted: the system's own is their source.
//!
//! Layer 0. Above: raw sockets, connecting and serving. Below: `std::io::Error`.
//!
//! ```text
//!   Connection refused (os error 111) ──explain──► Connect call failed 127.0.0.1:1: Connection …
//!          └──────────────────────────────────────── source ◄┘      of the same kind
//! ```
//!
//! asyncio: `OSError(exc.errno, "Connect call failed …")`, which keeps the number; Rust's
//! error has either a number or a text.

use std::error::Error;
use std::fmt;
use std::io;

/// Makes an error of the same kind that displays as `text` says. The error that it explains,
/// with its number, is its [`source`](Error::source).
pub(crate) fn explain(error: io::Error, text: impl FnOnce(&io::Error) -> String) -> io::Error {
    let text = text(&error);
    explained(error, text)
}

fn explained(error: io::Error, text: String) -> io::Error {
    io::Error::new(error.kind(), Explained { text, error })
}

struct Explained {
    text: String,
    error: io::Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As it displays: what `main` returns is printed in this way.
impl fmt::Debug for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Explained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}
