//! Where a socket of one's own is connected to.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use socket2::Domain;

use crate::address::Address;
use crate::event_loop::LoopHandle;

/// Where to connect to: an address, or a host that is to be resolved.
///
/// Everything that names a place converts into it: a [`SocketAddr`], an [`Address`], a
/// [`Path`], `("localhost", 8888)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SockTarget {
    /// An address.
    Address(Address),
    /// A host name or a literal address, and a port.
    Host(String, u16),
}

impl SockTarget {
    /// Resolves it: the first address of a host that suits the socket.
    pub(super) async fn resolve(self, handle: &LoopHandle, domain: Domain) -> io::Result<Address> {
        let (host, port) = match self {
            SockTarget::Address(address) => return Ok(address),
            SockTarget::Host(host, port) => (host, port),
        };
        let addresses = handle.getaddrinfo(host.as_str(), port).await?;
        addresses
            .into_iter()
            .find(|address| Domain::for_address(*address) == domain)
            .map(Address::Inet)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::AddrNotAvailable,
                    format!("host {host:?} has no address that the socket's family can reach"),
                )
            })
    }
}

impl From<Address> for SockTarget {
    fn from(address: Address) -> Self {
        SockTarget::Address(address)
    }
}

impl From<&Address> for SockTarget {
    fn from(address: &Address) -> Self {
        SockTarget::Address(address.clone())
    }
}

impl From<SocketAddr> for SockTarget {
    fn from(address: SocketAddr) -> Self {
        SockTarget::Address(address.into())
    }
}

impl From<&Path> for SockTarget {
    fn from(path: &Path) -> Self {
        SockTarget::Address(path.into())
    }
}

impl From<PathBuf> for SockTarget {
    fn from(path: PathBuf) -> Self {
        SockTarget::Address(path.into())
    }
}

impl From<(&str, u16)> for SockTarget {
    fn from((host, port): (&str, u16)) -> Self {
        SockTarget::Host(host.to_owned(), port)
    }
}

impl From<(String, u16)> for SockTarget {
    fn from((host, port): (String, u16)) -> Self {
        SockTarget::Host(host, port)
    }
}
