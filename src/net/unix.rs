//! Unix-domain sockets: connecting to a path, binding to one, and the file that is there.
//!
//! ```text
//!   path ─┬─ connect ── the backlog is full? try again ──► Socket
//!         └─ remove what is stale ─► bind ─► BoundSocket ─► Listener
//!                                      └─► SocketFile, removed with the listener
//! ```
//!
//! asyncio: `unix_events`, `create_unix_connection` and `create_unix_server`.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::UnixStream;
use socket2::{Domain, SockAddr};

use crate::time::sleep;
use crate::transports::Socket;

use super::bind::BoundSocket;
use super::connect::{ConnectError, StreamKind, new_socket};

/// The first pause before a Unix-domain connect is tried again whose peer's backlog is
/// full; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// Connects to a Unix-domain socket.
pub(super) async fn connect_unix(path: &Path) -> io::Result<Socket> {
    let address = unix_sock_addr(path)?;
    let socket = new_socket(Domain::UNIX)?;
    let mut pause = FIRST_RETRY;
    loop {
        match socket.connect(&address) {
            Ok(()) => return Ok(Socket::Unix(UnixStream::from_std(socket.into()))),
            // The peer's backlog is full. No event will tell when it no longer is.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_RETRY);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    ConnectError {
                        address: path.display().to_string(),
                        error,
                    },
                ));
            }
        }
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
}

/// The file of a Unix-domain socket, and which one it was. Dropping it removes the file,
/// unless that is gone or another server's by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
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

/// The address of a Unix-domain socket; a leading NUL byte means Linux's abstract names.
fn unix_sock_addr(path: &Path) -> io::Result<SockAddr> {
    SockAddr::unix(path).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("{} is no path for a Unix socket: {error}", path.display()),
        )
    })
}
