//! Binding: sockets with an address that do not listen yet.
//!
//! ```text
//!   UnboundSocket ─bind─► BoundSocket ─► Listener (listen.rs)
//!                             └─ SocketFile (unix.rs): the path of a Unix-domain socket
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, SockRef};

use crate::contract::Address;
use crate::explained::explain;

use super::connect::{StreamKind, new_socket, no_socket};
use super::listen::is_out_of_resources;
use super::options::SocketOptions;
use super::unix::FileGuard;

/// What is set on an internet socket before it is bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct BindOptions {
    pub(super) reuse_address: bool,
    pub(super) reuse_port: bool,
    pub(super) keep_alive: bool,
}

impl Default for BindOptions {
    fn default() -> Self {
        BindOptions {
            reuse_address: true,
            reuse_port: false,
            keep_alive: false,
        }
    }
}

/// Binds to each address that this machine has. Fails as a whole: what was bound before
/// is closed.
pub(super) fn bind_all(
    addresses: &[SocketAddr],
    reuse: BindOptions,
    options: &SocketOptions,
) -> io::Result<Vec<BoundSocket>> {
    let mut bound = Vec::new();
    for &address in addresses {
        let Some(socket) = UnboundSocket::new(address)? else {
            continue;
        };
        socket.set(reuse, address)?;
        options.apply(socket.0.as_fd())?;
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
    /// Removed with this, or with the listener that takes it over; before the socket is
    /// closed, since nobody else's file can have its inode until then.
    pub(super) file: Option<FileGuard>,
    pub(super) socket: socket2::Socket,
    pub(super) kind: StreamKind,
    pub(super) address: Address,
}

/// A socket for a family that this machine has.
struct UnboundSocket(socket2::Socket);

impl UnboundSocket {
    /// `None` if this machine has no sockets of the address's family.
    fn new(address: SocketAddr) -> io::Result<Option<UnboundSocket>> {
        match new_socket(Domain::for_address(address)) {
            Ok(socket) => Ok(Some(UnboundSocket(socket))),
            Err(error) if is_out_of_resources(&error) => Err(no_socket("serve on", address, error)),
            Err(error) => {
                log::debug!("this machine has no sockets for {address}: {error}");
                Ok(None)
            }
        }
    }

    fn set(&self, options: BindOptions, address: SocketAddr) -> io::Result<()> {
        let UnboundSocket(socket) = self;
        if options.reuse_address {
            socket.set_reuse_address(true)?;
        }
        if options.reuse_port {
            set_reuse_port(&SockRef::from(socket))?;
        }
        if options.keep_alive {
            socket.set_keepalive(true)?; // what is accepted inherits it
        }
        if address.is_ipv6() {
            // So that the wildcards of both families can be bound beside each other.
            socket.set_only_v6(true)?;
        }
        Ok(())
    }

    fn bind(self, address: SocketAddr) -> io::Result<BoundSocket> {
        let UnboundSocket(socket) = self;
        socket
            .bind(&address.into())
            .map_err(|error| cannot_bind(address, error))?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(BoundSocket {
            socket,
            kind: StreamKind::Tcp,
            address: Address::Inet(address),
            file: None,
        })
    }
}

/// Lets others bind to the same port, where the system can.
pub(super) fn set_reuse_port(socket: &SockRef<'_>) -> io::Result<()> {
    // These have no SO_REUSEPORT, and socket2 no method for it there.
    #[cfg(any(target_os = "solaris", target_os = "illumos"))]
    let set: io::Result<()> = {
        let _ = socket;
        Err(io::ErrorKind::Unsupported.into())
    };
    // Where it is defined, an old kernel may still not know it.
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    let set = socket.set_reuse_port(true);
    set.map_err(|error| {
        log::debug!("SO_REUSEPORT: {error}");
        io::Error::new(
            io::ErrorKind::Unsupported,
            "reuse_port not supported by this platform",
        )
    })
}

/// Says to which address a socket could not be bound.
pub(super) fn cannot_bind(address: SocketAddr, error: io::Error) -> io::Error {
    attempt_failed("bind", &Address::Inet(address), error)
}

/// Says on which address a socket could not listen.
pub(super) fn cannot_listen(address: &Address, error: io::Error) -> io::Error {
    attempt_failed("listen", address, error)
}

fn attempt_failed(to: &str, address: &Address, error: io::Error) -> io::Error {
    explain(error, |error| {
        let reason = error.to_string().to_ascii_lowercase();
        // The standard library puts the code behind the system's words.
        let code = error
            .raw_os_error()
            .map(|code| format!(" (os error {code})"));
        let words = code.and_then(|code| reason.strip_suffix(code.as_str()));
        let words = words.unwrap_or(&reason);
        format!("error while attempting to {to} on address {address}: {words}")
    })
}

impl BoundSocket {
    /// Takes over a socket that somebody else bound.
    pub(super) fn adopt(
        fd: OwnedFd,
        wanted: Option<StreamKind>,
        options: &SocketOptions,
    ) -> io::Result<BoundSocket> {
        let kind = StreamKind::of(&fd, wanted)?;
        options.apply(fd.as_fd())?;
        SockRef::from(&fd).set_nonblocking(true)?;
        let socket = socket2::Socket::from(fd);
        let address = Address::of(&socket.local_addr()?);
        Ok(BoundSocket {
            socket,
            kind,
            address,
            file: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reuse_port_is_told_in_the_words_of_the_documentation() -> io::Result<()> {
        let no_socket = std::fs::File::open("Cargo.toml")?;
        let error = set_reuse_port(&SockRef::from(&no_socket)).expect_err("a file has no port");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            "reuse_port not supported by this platform"
        );
        Ok(())
    }
}
