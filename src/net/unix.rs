//! Unix-domain sockets: connecting to a path, binding to one, and the file that is there.
//!
//! ```text
//!   path ─┬─ connect ── the backlog is full? try again ──► Socket
//!         └─ remove what is stale ─► bind ─► mode ─► BoundSocket ─► Listener
//!                                      └─► SocketFile, removed with the listener
//! ```
//!
//! Always true: who may connect is settled before anybody can. A socket that does not
//! listen yet refuses, and the file has its mode by then.
//!
//! asyncio: `unix_events`, `create_unix_connection` and `create_unix_server`.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::UnixStream;
use socket2::{Domain, SockAddr};

use crate::address::Address;
use crate::explained::explain;
use crate::time::sleep;
use crate::transports::Socket;

use super::bind::BoundSocket;
use super::connect::{StreamKind, new_socket, no_socket};
use super::options::SocketOptions;

/// The first pause before a Unix-domain connect is tried again whose peer's backlog is
/// full; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// The bits that a mode may have: reading, writing, executing, for the three classes.
/// Connecting needs the right to write.
const MODE_BITS: u32 = 0o777;

/// Connects to a Unix-domain socket.
pub(super) async fn connect_unix(path: &Path, options: &SocketOptions) -> io::Result<Socket> {
    let (name, address) = parse_given(path, "no path and sock were specified")?;
    let socket = new_socket(Domain::UNIX).map_err(|e| no_socket("connect to", &name, e))?;
    options.apply(socket.as_fd())?;
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
                return Err(explain(error, |e| {
                    format!("Connect call failed {name}: {e}")
                }));
            }
        }
    }
}

/// What is wanted of the file that binding to a path makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileSettings {
    /// Its permissions; as the umask has it unless set.
    pub(super) mode: Option<u32>,
    pub(super) at_close: AtClose,
}

/// What becomes of a socket's file when its server closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtClose {
    Remove,
    Leave,
}

impl BoundSocket {
    /// Binds to a path, after removing a socket that an earlier server left there.
    pub(super) fn bind_unix(
        path: &Path,
        settings: FileSettings,
        options: &SocketOptions,
    ) -> io::Result<BoundSocket> {
        let (name, address) = parse_given(path, "path was not specified, and no sock specified")?;
        let is_file = matches!(name, Address::Unix(_));
        if let Some(mode) = settings.mode {
            check_mode(mode, &name)?;
        }
        let socket = new_socket(Domain::UNIX);
        let mut socket = socket.map_err(|e| no_socket("serve on", &name, e))?;
        options.apply(socket.as_fd())?;
        if is_file {
            remove_stale(path);
        }
        if let Some(mode) = settings.mode {
            socket = narrow(socket, mode).map_err(|e| mode_error(e, mode, &name))?;
        }
        socket.bind(&address).map_err(|e| bind_error(e, &name))?;
        // From here on, whatever fails removes the file.
        let mut file = is_file.then(|| SocketFile::of(path)).transpose()?;
        if let (Some(mode), Some(file)) = (settings.mode, &file) {
            file.widen(mode).map_err(|e| mode_error(e, mode, &name))?;
        }
        let address = Address::of(&socket.local_addr()?);
        if let Some(file) = &mut file {
            file.at_close = settings.at_close;
        }
        Ok(BoundSocket {
            file: file.map(SocketFile::guard),
            socket,
            kind: StreamKind::Unix,
            address,
        })
    }
}

impl BoundSocket {
    /// Has the file of a socket that was bound elsewhere removed at close, if that is
    /// wanted, and if there is one.
    pub(super) fn clean_up(mut self, at_close: AtClose) -> BoundSocket {
        if let (Address::Unix(path), AtClose::Remove) = (&self.address, at_close) {
            self.file = SocketFile::of(path).ok().map(SocketFile::guard);
        }
        self
    }
}

impl AtClose {
    pub(super) fn new(cleanup_socket: bool) -> AtClose {
        if cleanup_socket {
            AtClose::Remove
        } else {
            AtClose::Leave
        }
    }
}

/// The file of a Unix-domain socket, and which one it was. Dropping it removes the file,
/// if that is wanted, unless it is gone or another server's by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    at_close: AtClose,
}

/// A [`SocketFile`], for those who have nothing to do but to drop it. What removes files is so
/// no part of a program that serves on none.
pub(super) type FileGuard = Box<dyn fmt::Debug>;

impl SocketFile {
    fn guard(self) -> FileGuard {
        Box::new(self)
    }

    fn of(path: &Path) -> io::Result<SocketFile> {
        // Absolute: the working directory may be another one by then.
        let path = std::path::absolute(path)?;
        let metadata = fs::symlink_metadata(&path)?;
        Ok(SocketFile {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
            at_close: AtClose::Remove,
        })
    }

    /// # Errors
    /// `NotFound`, also if it is another one by now.
    fn metadata(&self) -> io::Result<Metadata> {
        let now = fs::symlink_metadata(&self.path)?;
        if (now.dev(), now.ino()) != (self.device, self.inode) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(now)
    }

    /// Gives the file the permissions that it lacks.
    ///
    /// By its path, for want of anything better: a directory where others may replace the
    /// file is no place for a server.
    fn widen(&self, mode: u32) -> io::Result<()> {
        if self.metadata()?.mode() & MODE_BITS == mode {
            return Ok(());
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.at_close == AtClose::Leave {
            return;
        }
        let removed = self.metadata().and_then(|_| fs::remove_file(&self.path));
        log_unless_missing(
            removed,
            "Unable to clean up listening UNIX socket",
            &self.path,
        );
    }
}

/// Gives a socket that is not bound yet the mode that its file shall be made with, so that
/// it never has a wider one.
///
/// Linux has bind(2) make the file with the mode of the socket, but for the bits of the
/// umask; this is fchmod(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn narrow(socket: socket2::Socket, mode: u32) -> io::Result<socket2::Socket> {
    use std::os::fd::OwnedFd;

    let file = fs::File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(OwnedFd::from(file).into())
}

/// Elsewhere fchmod(2) refuses sockets, and changing the umask would change it for all
/// threads. So the file has the umask's mode from bind(2) to the chmod(2) after it. Nobody
/// gets in by that: the socket does not listen yet.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn narrow(socket: socket2::Socket, _mode: u32) -> io::Result<socket2::Socket> {
    Ok(socket)
}

/// # Errors
/// `InvalidInput` for bits that are no permissions, and for what has no file.
fn check_mode(mode: u32, name: &Address) -> io::Result<()> {
    let complaint = match name {
        _ if mode & !MODE_BITS != 0 => {
            format!("the mode of {name} must be within 0o777, got {mode:#o}")
        }
        Address::Unix(_) => return Ok(()),
        _ => format!("{name} is no file, so it has no mode: anybody may connect to it"),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, complaint))
}

fn mode_error(error: io::Error, mode: u32, name: &Address) -> io::Error {
    explain(error, |e| {
        format!("cannot set the mode of {name} to {mode:#o}: {e}")
    })
}

fn bind_error(error: io::Error, name: &Address) -> io::Error {
    explain(error, |e| match e.kind() {
        io::ErrorKind::AddrInUse => format!("Address {name} is already in use"),
        _ => format!("cannot bind to {name}: {e}"),
    })
}

/// Removes a socket that an earlier program left, or a link to one. What is no socket stays,
/// and binding fails.
pub(super) fn remove_stale(path: &Path) {
    let removed = match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    log_unless_missing(removed, "Unable to check or remove stale UNIX socket", path);
}

fn log_unless_missing(result: io::Result<()>, message: &'static str, path: &Path) {
    if let Err(error) = result {
        if error.kind() != io::ErrorKind::NotFound {
            log::error!("{message} {}: {error}", path.display());
        }
    }
}

/// Reads a path that must not be empty, which `missing` complains of.
fn parse_given(path: &Path, missing: &'static str) -> io::Result<(Address, SockAddr)> {
    match parse(path)? {
        (Address::Unnamed, _) => Err(io::Error::new(io::ErrorKind::InvalidInput, missing)),
        given => Ok(given),
    }
}

/// Reads a path as an address: a leading NUL byte means a name in Linux's abstract
/// namespace, and an empty path none at all.
pub(super) fn parse(path: &Path) -> io::Result<(Address, SockAddr)> {
    let name = match path.as_os_str().as_bytes() {
        [] => Address::Unnamed,
        [0, name @ ..] => Address::UnixAbstract(name.to_owned()),
        // The kernel would take it for the end of the path.
        bytes if bytes.contains(&0) => {
            let bytes = bytes.escape_ascii();
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a path must not contain a NUL byte, got {bytes}"),
            ));
        }
        _ => Address::Unix(path.to_owned()),
    };
    let has_abstract = cfg!(any(target_os = "linux", target_os = "android"));
    if matches!(name, Address::UnixAbstract(_)) && !has_abstract {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{name} is an abstract address, which only Linux has: give a path"),
        ));
    }
    let address = SockAddr::unix(path).map_err(|e| {
        explain(e, |e| {
            format!("{name} is no address for a Unix socket: {e}")
        })
    })?;
    Ok((name, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn the_file_is_made_with_the_mode_and_never_has_a_wider_one() -> io::Result<()> {
        let name = format!("millstream-{}-narrow", std::process::id());
        let path = std::env::temp_dir().join(name);
        let (name, address) = parse(&path)?;
        for mode in [0o600, 0o400, 0o000] {
            remove_stale(&path);
            let socket = narrow(new_socket(Domain::UNIX)?, mode)?;
            socket.bind(&address).map_err(|e| bind_error(e, &name))?;
            // Nothing was changed after bind yet.
            let file = SocketFile::of(&path)?;
            assert_eq!(file.metadata()?.mode() & MODE_BITS & !mode, 0, "{mode:#o}");
        }
        assert!(!path.exists());
        Ok(())
    }
}
