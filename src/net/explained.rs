//! Errors that say what was attempted: the system's own is their source.

use std::error::Error;
use std::fmt;
use std::io;

/// Makes an error of the same kind that displays as `text` says. The error that it explains,
/// with its number, is its [`source`](Error::source).
pub(super) fn explain(error: io::Error, text: impl FnOnce(&io::Error) -> String) -> io::Error {
    let text = text(&error);
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
