//! Addresses: where one end of a connection is.
//!
//! Layer 0. Above: extra information, sockets. Below: the types of `std` and `socket2`.
//!
//! ```text
//!   what the system says ──► Address ──► peername, sockname, who sent a datagram
//!   where to connect, to whom to send ──► Address ──► what the system is told
//! ```

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use socket2::SockAddr;

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

    /// Turns the system's address into ours.
    pub(crate) fn of(address: &SockAddr) -> Address {
        if let Some(inet) = address.as_socket() {
            return Address::Inet(inet);
        }
        if let Some(path) = address.as_pathname() {
            return Address::Unix(path.to_owned());
        }
        match address.as_abstract_namespace() {
            Some(name) => Address::UnixAbstract(name.to_owned()),
            None => Address::Unnamed,
        }
    }

    /// Turns it into what the system is told.
    ///
    /// # Errors
    /// `InvalidInput` if it has no name, or one that is too long.
    pub(crate) fn to_system(&self) -> io::Result<SockAddr> {
        match self {
            Address::Inet(inet) => Ok(SockAddr::from(*inet)),
            Address::Unix(path) => SockAddr::unix(path),
            Address::UnixAbstract(name) => {
                let named: Vec<u8> = [&[0], name.as_slice()].concat();
                SockAddr::unix(OsStr::from_bytes(&named))
            }
            Address::Unnamed => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket without a name can't be reached by its address",
            )),
        }
    }
}

/// The addresses of both ends, which are kept for each connection: in 16 bytes, where one
/// [`Address`] takes 32. Those that are longer are boxed.
#[derive(Debug)]
pub(crate) enum KeptNames {
    V4(SocketAddrV4, SocketAddrV4),
    Others(Box<(Option<Address>, Option<Address>)>),
    Neither,
}

impl KeptNames {
    pub(crate) fn new(sock_name: Option<Address>, peer_name: Option<Address>) -> KeptNames {
        match (sock_name, peer_name) {
            (
                Some(Address::Inet(SocketAddr::V4(sock))),
                Some(Address::Inet(SocketAddr::V4(peer))),
            ) => KeptNames::V4(sock, peer),
            (None, None) => KeptNames::Neither,
            others => KeptNames::Others(Box::new(others)),
        }
    }

    pub(crate) fn sock_name(&self) -> Option<Address> {
        match self {
            KeptNames::V4(sock, _) => Some(SocketAddr::V4(*sock).into()),
            KeptNames::Others(names) => names.0.clone(),
            KeptNames::Neither => None,
        }
    }

    pub(crate) fn peer_name(&self) -> Option<Address> {
        match self {
            KeptNames::V4(_, peer) => Some(SocketAddr::V4(*peer).into()),
            KeptNames::Others(names) => names.1.clone(),
            KeptNames::Neither => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Inet(address)
    }
}

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Address::Unix(path.to_owned())
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Address::Unix(path)
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
