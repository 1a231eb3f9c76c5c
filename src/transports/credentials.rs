//! Asking the kernel who the peer of a Unix-domain socket is.

use std::os::fd::BorrowedFd;

use crate::contract::Credentials;

/// `None` if the kernel doesn't know.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn peer_credentials(socket: BorrowedFd<'_>) -> Option<Credentials> {
    use nix::sys::socket::{getsockopt, sockopt};

    let peer = getsockopt(&socket, sockopt::PeerCredentials).ok()?;
    Some(Credentials::new(known(peer.pid()), peer.uid(), peer.gid()))
}

/// `None` if the kernel doesn't know.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn peer_credentials(socket: BorrowedFd<'_>) -> Option<Credentials> {
    let (uid, gid) = nix::unistd::getpeereid(socket).ok()?;
    Some(Credentials::new(
        peer_pid(socket),
        uid.as_raw(),
        gid.as_raw(),
    ))
}

#[cfg(target_vendor = "apple")]
fn peer_pid(socket: BorrowedFd<'_>) -> Option<u32> {
    use nix::sys::socket::{getsockopt, sockopt};

    getsockopt(&socket, sockopt::LocalPeerPid)
        .ok()
        .and_then(known)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn peer_pid(_socket: BorrowedFd<'_>) -> Option<u32> {
    None
}

/// Zero stands for a process that can't be seen from here.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn known(pid: i32) -> Option<u32> {
    u32::try_from(pid).ok().filter(|&pid| pid != 0)
}
