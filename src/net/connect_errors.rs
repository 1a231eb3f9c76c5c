//! Many attempts, and one error that says why all of them failed.
//!
//! ```text
//!   failures of all attempts ─┬─ all_errors ──────────► ConnectErrors, "create_connection failed"
//!   in their order            ├─ one, or all the same ─► that one
//!                             └─ several ─────────────► ConnectErrors, "Multiple exceptions: …"
//! ```
//!
//! asyncio: the end of `create_connection` in `base_events.py`.

use std::error::Error;
use std::fmt;
use std::io;

/// Why each attempt to connect failed: what an [`io::Error`] holds that stands for several.
///
/// The errors are in the order in which the attempts began. The number that the system gave
/// is in the source of each: what connecting failed with is explained there.
///
/// # asyncio
/// The `ExceptionGroup` of `all_errors=True`. Here the list is reachable without that, too:
/// where asyncio has an `OSError` with the text "Multiple exceptions: …".
///
/// # Examples
/// ```
/// use std::io;
/// use std::net::TcpListener;
/// use millstream::{ConnectErrors, open_connection, run};
///
/// # fn main() -> io::Result<()> {
/// // A port that nobody listens on.
/// let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
/// run(async move {
///     let failed = open_connection(["127.0.0.1", "127.0.0.2"], port).await;
///     let error = failed.err().expect("nobody listens there");
///     let all = error.get_ref().and_then(|e| e.downcast_ref::<ConnectErrors>());
///     for error in all.map(ConnectErrors::errors).unwrap_or_default() {
///         println!("{error}");
///     }
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub struct ConnectErrors {
    /// Invariant: not empty.
    errors: Vec<io::Error>,
    shown: Shown,
}

/// How the failures of several attempts become one error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Shown {
    /// As one error of the system: asyncio's default.
    #[default]
    AsOne,
    /// As a group, though it be of one: `all_errors`.
    AsGroup,
}

impl ConnectErrors {
    /// Returns the errors of all attempts, in the order in which they began.
    #[must_use]
    pub fn errors(&self) -> &[io::Error] {
        &self.errors
    }

    /// Makes one error of those of all attempts, of the kind that they have in common.
    #[inline]
    pub(super) fn combine(mut errors: Vec<io::Error>, shown: Shown) -> io::Error {
        let Some(first) = errors.first() else {
            return io::Error::other("no attempt to connect was made");
        };
        let kind = first.kind();
        let text = first.to_string();
        if shown == Shown::AsOne && errors.iter().all(|error| error.to_string() == text) {
            return errors.swap_remove(0);
        }
        let is_common = errors.iter().all(|error| error.kind() == kind);
        let kind = if is_common {
            kind
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, ConnectErrors { errors, shown })
    }

    #[inline]
    fn list(&self, f: &mut fmt::Formatter<'_>, before_each: [&str; 2]) -> fmt::Result {
        for (nth, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", before_each[nth.min(1)])?;
        }
        Ok(())
    }
}

impl fmt::Display for ConnectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown {
            Shown::AsGroup => f.write_str("create_connection failed"),
            Shown::AsOne => self.list(f, ["Multiple exceptions: ", ", "]),
        }
    }
}

/// With all errors: what `main` returns is printed in this way.
impl fmt::Debug for ConnectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown {
            Shown::AsGroup => self.list(f, ["create_connection failed: ", ", "]),
            Shown::AsOne => fmt::Display::fmt(self, f),
        }
    }
}

impl Error for ConnectErrors {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let first = self.errors.first()?;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::{ConnectErrors, Shown};

    fn refused(text: &str) -> Error {
        Error::new(ErrorKind::ConnectionRefused, text)
    }

    #[test]
    fn one_error_stands_for_itself_and_so_do_equal_ones() {
        let one = ConnectErrors::combine(vec![Error::from_raw_os_error(111)], Shown::AsOne);
        assert_eq!(one.raw_os_error(), Some(111));
        let same = vec![refused("no"), refused("no"), refused("no")];
        let same = ConnectErrors::combine(same, Shown::AsOne);
        assert_eq!(same.to_string(), "no");
        assert_eq!(same.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn several_are_listed_in_their_order_with_their_repetitions() {
        let several = vec![refused("no"), refused("never"), refused("no")];
        let error = ConnectErrors::combine(several, Shown::AsOne);
        assert_eq!(error.to_string(), "Multiple exceptions: no, never, no");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "that of all");
        assert_eq!(error.raw_os_error(), None);

        let mixed = vec![refused("no"), Error::new(ErrorKind::TimedOut, "late")];
        let error = ConnectErrors::combine(mixed, Shown::AsOne);
        assert_eq!(error.to_string(), "Multiple exceptions: no, late");
        assert_eq!(error.kind(), ErrorKind::Other);
    }

    #[test]
    fn a_group_holds_all_even_if_it_is_one() {
        for count in [1, 3] {
            let errors = (0..count).map(|_| refused("no")).collect();
            let error = ConnectErrors::combine(errors, Shown::AsGroup);
            assert_eq!(error.to_string(), "create_connection failed");
            let group = error.get_ref().and_then(|e| e.downcast_ref());
            let group: &ConnectErrors = group.expect("it is one");
            assert_eq!(group.errors().len(), count);
            let shown = format!("{group:?}");
            assert!(shown.starts_with("create_connection failed: no"), "{shown}");
        }
    }
}
