//! Credentials: who is at the other end of a Unix-domain socket, as the kernel knows it.

use super::extra_info::ExtraInfoKey;

/// Asks who the peer of a Unix-domain socket is: `peercred`.
///
/// There is an answer on Unix-domain sockets only, which stays known after the connection is
/// lost. Needs the feature `unix-credentials`.
///
/// # asyncio
/// No counterpart: `getsockopt` with `SO_PEERCRED` on `get_extra_info('socket')`.
///
/// # Examples
/// ```
/// use std::io;
/// use std::os::unix::net::UnixStream;
/// use millstream::{PeerCredentials, open_unix_connection_sock, run};
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let (ours, _theirs) = UnixStream::pair()?;
///     let (_reader, writer) = open_unix_connection_sock(ours).await?;
///     let peer = writer.get_extra_info(PeerCredentials).expect("the kernel knows");
///     // On Linux and macOS, that is this very process; the BSDs don't tell it.
///     assert!(peer.pid.is_none_or(|pid| pid == std::process::id()));
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials;

impl ExtraInfoKey for PeerCredentials {
    type Value = Credentials;
    const NAME: &'static str = "peercred";
}

/// Who a process ran as when it connected, or when its server began to listen.
///
/// The kernel wrote it down then: a process that changed its user since is known by the
/// earlier one, and a socket that was handed on, by whoever connected it. User and group are
/// good for deciding who may do what. The process is not: it may be gone, and its number
/// another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The process; `None` where the system doesn't tell it (the BSDs but for macOS), and on
    /// Linux for one in a namespace that is not to be seen from here.
    pub pid: Option<u32>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

impl Credentials {
    /// Makes credentials, for a transport of your own.
    #[must_use]
    pub fn new(pid: Option<u32>, uid: u32, gid: u32) -> Credentials {
        Credentials { pid, uid, gid }
    }
}
