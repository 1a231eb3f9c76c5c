//! The system's resolver, which blocks, and so runs on a thread.
//!
//! ```text
//!   without features   std's ToSocketAddrs: every family, no flags
//!   resolver           getaddrinfo and getnameinfo of the C library, through dns-lookup
//! ```
//!
//! asyncio: `socket.getaddrinfo` and `socket.getnameinfo`, in the default executor.

use std::io;
use std::net::SocketAddr;

use super::LoopHandle;
use super::resolver::HostQuery;

/// Asks the system for the addresses of a host.
pub(super) async fn getaddrinfo(
    handle: &LoopHandle,
    query: &HostQuery,
) -> io::Result<Vec<SocketAddr>> {
    let query = query.clone();
    handle.run_in_executor(move || look_up(&query)).await?
}

#[cfg(not(feature = "resolver"))]
pub(super) use through_std::{getnameinfo, look_up};

#[cfg(feature = "resolver")]
pub(super) use through_libc::{getnameinfo, look_up};

#[cfg(not(feature = "resolver"))]
mod through_std {
    use std::io;
    use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

    use super::super::name_info::NameInfoFlags;
    use super::super::resolver::{AddrInfoFlags, HostQuery};

    pub(in super::super) fn look_up(query: &HostQuery) -> io::Result<Vec<SocketAddr>> {
        let handled = AddrInfoFlags::PASSIVE | AddrInfoFlags::NUMERICHOST;
        if !handled.contains(query.flags) {
            return Err(needs_feature(&format!("flags {:?}", query.flags)));
        }
        // An address with a zone is the system's to translate; it asks no name server.
        let is_numeric = query.host.split('%').next().is_some_and(is_address);
        if query.flags.contains(AddrInfoFlags::NUMERICHOST) && !is_numeric {
            return Err(lookup_error("Name or service not known"));
        }
        let all = (query.host.as_str(), query.port).to_socket_addrs()?;
        let all: Vec<_> = all.collect();
        let wanted = all.iter().filter(|address| query.family.admits(address));
        let wanted: Vec<_> = wanted.copied().collect();
        if wanted.is_empty() && !all.is_empty() {
            return Err(lookup_error("Address family for hostname not supported"));
        }
        Ok(wanted)
    }

    pub(in super::super) fn getnameinfo(
        _address: SocketAddr,
        _flags: NameInfoFlags,
    ) -> io::Result<(String, String)> {
        Err(needs_feature("getnameinfo for names"))
    }

    fn is_address(host: &str) -> bool {
        host.parse::<IpAddr>().is_ok()
    }

    /// As the standard library words it.
    fn lookup_error(reason: &str) -> io::Error {
        io::Error::other(format!("failed to lookup address information: {reason}"))
    }

    fn needs_feature(what: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "{what}: the standard library's resolver has no such thing; \
                 turn on the feature `resolver` of millstream"
            ),
        )
    }
}

#[cfg(feature = "resolver")]
mod through_libc {
    use std::io;
    use std::net::SocketAddr;

    use dns_lookup::AddrInfoHints;

    use super::super::name_info::NameInfoFlags;
    use super::super::resolver::{AddrInfoFlags, Family, HostQuery};

    pub(in super::super) fn look_up(query: &HostQuery) -> io::Result<Vec<SocketAddr>> {
        let hints = AddrInfoHints {
            flags: addr_info_flags(query.flags)?,
            address: match query.family {
                Family::Unspecified => libc::AF_UNSPEC,
                Family::V4 => libc::AF_INET,
                Family::V6 => libc::AF_INET6,
            },
            // One kind of socket, so that each address comes once. No protocol: the
            // system would refuse those that it has no services for.
            socktype: libc::SOCK_STREAM,
            protocol: 0,
        };
        let found = dns_lookup::getaddrinfo(Some(&query.host), None, Some(hints))?;
        found
            .map(|info| {
                let mut address = info?.sockaddr;
                address.set_port(query.port);
                Ok(address)
            })
            .collect()
    }

    pub(in super::super) fn getnameinfo(
        address: SocketAddr,
        flags: NameInfoFlags,
    ) -> io::Result<(String, String)> {
        let numbers = [
            (NameInfoFlags::NUMERICHOST, libc::NI_NUMERICHOST),
            (NameInfoFlags::NUMERICSERV, libc::NI_NUMERICSERV),
            (NameInfoFlags::NAMEREQD, libc::NI_NAMEREQD),
            (NameInfoFlags::NOFQDN, libc::NI_NOFQDN),
            (NameInfoFlags::DGRAM, libc::NI_DGRAM),
        ];
        let set = numbers.iter().filter(|(flag, _)| flags.contains(*flag));
        let flags = set.fold(0, |all, (_, number)| all | number);
        Ok(dns_lookup::getnameinfo(&address, flags)?)
    }

    fn addr_info_flags(flags: AddrInfoFlags) -> io::Result<i32> {
        let numbers = [
            (AddrInfoFlags::PASSIVE, Some(libc::AI_PASSIVE)),
            (AddrInfoFlags::NUMERICHOST, Some(libc::AI_NUMERICHOST)),
            (AddrInfoFlags::ADDRCONFIG, Some(libc::AI_ADDRCONFIG)),
            (AddrInfoFlags::V4MAPPED, V4MAPPED),
            (AddrInfoFlags::ALL, ALL),
        ];
        let set = numbers.iter().filter(|(flag, _)| flags.contains(*flag));
        set.into_iter().try_fold(0, |all, (flag, number)| {
            let missing = || format!("this system's resolver has no flag {flag:?}");
            let number = number.ok_or_else(|| unsupported(missing()))?;
            Ok(all | number)
        })
    }

    fn unsupported(what: String) -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, what)
    }

    // NetBSD and OpenBSD have no mapped addresses.
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    const V4MAPPED: Option<i32> = None;
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    const ALL: Option<i32> = None;
    #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
    const V4MAPPED: Option<i32> = Some(libc::AI_V4MAPPED);
    #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
    const ALL: Option<i32> = Some(libc::AI_ALL);
}
