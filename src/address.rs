//! Addresses: where one end of a connection is.
//!
//! Layer 0. Above: extra information, sockets. Below: `std`'s types.
//!
//! ```text
//!   the system's address ──► Address ──► peername, sockname
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of one end of a connection.
///
/// # asyncio
/// The tuple, string or bytes that `getsockname` and `getpeername` return.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An internet address and port.
    Inet(SocketAddr),
    /// The path of a Unix-domain socket.
    Unix(PathBuf),
    /// The name of a Unix-domain socket in Linux's abstract namespace, without the NUL
    /// byte that leads it.
    UnixAbstract(Vec<u8>),
    /// A Unix-domain socket without a name, as most clients have.
    Unnamed,
}

impl Address {
    /// Returns the internet address, if it is one.
    #[must_use]
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            _ => None,
        }
    }

    /// Returns the path, if it is that of a Unix-domain socket.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match self {
            Address::Unix(path) => Some(path),
            _ => None,
        }
    }

    /// Returns the port, if it is an internet address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.as_inet().map(|address| address.port())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
            Address::UnixAbstract(name) => write!(f, "@{}", name.escape_ascii()),
            Address::Unnamed => f.write_str("unnamed"),
        }
    }
}

/// Turns the standard library's address of a Unix-domain socket into ours.
pub(crate) fn unix_address(address: &std::os::unix::net::SocketAddr) -> Address {
    if let Some(path) = address.as_pathname() {
        return Address::Unix(path.to_owned());
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = address.as_abstract_name() {
            return Address::UnixAbstract(name.to_owned());
        }
    }
    Address::Unnamed
}
