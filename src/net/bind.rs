//! Binding: sockets with an address that do not listen yet.
//!
//! ```text
//!   UnboundSocket ─bind─► BoundSocket ─► Listener (listen.rs)
//!                             └─ SocketFile (unix.rs): the path of a Unix-domain socket
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, SockAddr, SockRef};

use crate::contract::Address;

use super::connect::{StreamKind, new_socket};
use super::listen::is_out_of_resources;
use super::unix::SocketFile;

/// Binds to each address that this machine has. Fails as a whole: what was bound before
/// is closed.
pub(super) fn bind_all(addresses: &[SocketAddr]) -> io::Result<Vec<BoundSocket>> {
    let mut bound = Vec::new();
    for &address in addresses {
        let socket = match UnboundSocket::new(address) {
            Ok(socket) => socket,
            Err(error) if is_out_of_resources(&error) => return Err(error),
            Err(error) => {
                log::debug!("this machine has no sockets for {address}: {error}");
                continue;
            }
        };
        match socket.bind(address) {
            Ok(socket) => bound.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                log::debug!("{address} is passed over: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("could not bind on any address out of {addresses:?}"),
        ));
    }
    Ok(bound)
}

/// A socket that is bound, and does not listen yet.
#[derive(Debug)]
pub(super) struct BoundSocket {
    pub(super) socket: socket2::Socket,
    pub(super) kind: StreamKind,
    pub(super) address: Address,
    /// Removed with this, or with the listener that takes it over.
    pub(super) file: Option<SocketFile>,
}

/// A socket for a family that this machine has.
struct UnboundSocket(socket2::Socket);

impl UnboundSocket {
    fn new(address: SocketAddr) -> io::Result<UnboundSocket> {
        let domain = Domain::for_address(address);
        let socket = new_socket(domain)?;
        socket.set_reuse_address(true)?;
        if domain == Domain::IPV6 {
            // So that the wildcards of both families can be bound beside each other.
            socket.set_only_v6(true)?;
        }
        Ok(UnboundSocket(socket))
    }

    fn bind(self, address: SocketAddr) -> io::Result<BoundSocket> {
        let UnboundSocket(socket) = self;
        socket.bind(&address.into()).map_err(|error| {
            let reason = error.to_string().to_lowercase();
            io::Error::new(
                error.kind(),
                format!("error while attempting to bind on address {address}: {reason}"),
            )
        })?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(BoundSocket {
            socket,
            kind: StreamKind::Tcp,
            address: Address::Inet(address),
            file: None,
        })
    }
}

impl BoundSocket {
    /// Takes over a socket that somebody else bound.
    pub(super) fn adopt(fd: OwnedFd, wanted: Option<StreamKind>) -> io::Result<BoundSocket> {
        let kind = StreamKind::of(&fd, wanted)?;
        SockRef::from(&fd).set_nonblocking(true)?;
        BoundSocket::with_address(fd.into(), kind, None)
    }

    pub(super) fn with_address(
        socket: socket2::Socket,
        kind: StreamKind,
        file: Option<SocketFile>,
    ) -> io::Result<BoundSocket> {
        let address = socket.local_addr()?;
        let address = match (address.as_socket(), address.as_pathname()) {
            (Some(inet), _) => Address::Inet(inet),
            (None, Some(path)) => Address::Unix(path.to_owned()),
            (None, None) => unnamed_or_abstract(&address),
        };
        Ok(BoundSocket {
            socket,
            kind,
            address,
            file,
        })
    }
}

fn unnamed_or_abstract(address: &SockAddr) -> Address {
    match address.as_abstract_namespace() {
        Some(name) => Address::UnixAbstract(name.to_owned()),
        None => Address::Unnamed,
    }
}
