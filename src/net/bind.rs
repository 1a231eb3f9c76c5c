//! Binding: sockets with an address that do not listen yet, and the files of some.
//!
//! ```text
//!   UnboundSocket ─bind─► BoundSocket ─► Listener (listen.rs)
//!                             └─ SocketFile: the path of a Unix-domain socket
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef};

use crate::contract::Address;

use super::connect::{StreamKind, describe, new_socket, unix_sock_addr};
use super::listen::is_out_of_resources;

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

/// The file of a Unix-domain socket, and which one it was. Dropping it removes the file,
/// unless that is gone or another server's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
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
    /// Binds to a path, after removing a socket that an earlier server left there.
    pub(super) fn bind_unix(path: &Path) -> io::Result<BoundSocket> {
        let address = unix_sock_addr(path)?;
        let is_file = address.as_pathname().is_some();
        if is_file {
            remove_stale(path);
        }
        let socket = new_socket(Domain::UNIX)?;
        socket.bind(&address).map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("Address {} is already in use", path.display())
                }
                _ => format!("cannot bind to {}: {error}", path.display()),
            };
            io::Error::new(error.kind(), text)
        })?;
        let file = is_file.then(|| SocketFile::of(path)).flatten();
        BoundSocket::with_address(socket, StreamKind::Unix, file)
    }

    /// Takes over a socket that somebody else bound.
    pub(super) fn adopt(fd: OwnedFd, wanted: Option<StreamKind>) -> io::Result<BoundSocket> {
        let kind = StreamKind::of(&fd)?;
        if wanted.is_some_and(|wanted| wanted != kind) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "A UNIX Domain Stream Socket was expected, got {}",
                    describe(&fd)
                ),
            ));
        }
        SockRef::from(&fd).set_nonblocking(true)?;
        BoundSocket::with_address(fd.into(), kind, None)
    }

    fn with_address(
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

/// Removes a socket that an earlier server left. What is no socket stays, and binding fails.
fn remove_stale(path: &Path) {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        if error.kind() != io::ErrorKind::NotFound {
            log::error!(
                "Unable to check or remove stale UNIX socket {}: {error}",
                path.display()
            );
        }
    }
}

impl SocketFile {
    fn of(path: &Path) -> Option<SocketFile> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(SocketFile {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    fn is_still_there(&self) -> bool {
        std::fs::symlink_metadata(&self.path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.is_still_there() {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::error!(
                "Unable to clean up listening UNIX socket {}: {error}",
                self.path.display()
            );
        }
    }
}
