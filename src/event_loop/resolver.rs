//! Name resolution: from a host's name to its addresses, without the loop waiting for it.
//!
//! ```text
//!   getaddrinfo(host, port) ─┬─ no host, or a literal address ──────────────► at once
//!                            └─ a name ─► HostQuery ─► the loop's Resolver ─────► addresses
//!                                                    └─ none set: the system's, on a thread
//! ```
//!
//! Always true:
//! * a literal address meets no resolver and no thread;
//! * the order of the resolver's answers is kept.
//!
//! asyncio: `loop.getaddrinfo`, and `_ensure_resolved` of `base_events.py`.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;

use crate::clock::Seconds;

use super::LoopHandle;
use super::flags::flags;
use super::system_resolver;

/// Which addresses are wanted: of one family, or of any.
///
/// # asyncio
/// The argument `family`: `socket.AF_UNSPEC`, `AF_INET`, `AF_INET6`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// Addresses of any family.
    #[default]
    Unspecified,
    /// IPv4 addresses only.
    V4,
    /// IPv6 addresses only.
    V6,
}

impl Family {
    /// Returns the family of an address.
    #[must_use]
    pub fn of(address: &SocketAddr) -> Family {
        match address {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        }
    }

    /// Says whether an address is one of those that are wanted.
    #[must_use]
    pub fn admits(self, address: &SocketAddr) -> bool {
        self == Family::Unspecified || self == Family::of(address)
    }
}

/// The constant's name in C and in Python.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Unspecified => "AF_UNSPEC",
            Family::V4 => "AF_INET",
            Family::V6 => "AF_INET6",
        })
    }
}

flags! {
    /// How a resolver is to look up a host; none of them unless set.
    ///
    /// They combine by `|`. A literal address is never looked up, so that they mean
    /// nothing for it. What is marked with a star needs the feature `resolver`, since the
    /// standard library's resolver takes no flags; without it, it is an error.
    ///
    /// # asyncio
    /// The argument `flags`: the constants `socket.AI_…`. `AI_NUMERICSERV` would mean
    /// nothing, for a port is a number here; nor would `AI_CANONNAME`, since addresses
    /// are all that is returned.
    pub struct AddrInfoFlags {
        /// Without a host, all interfaces instead of the loopback.
        PASSIVE = 1;
        /// No names: the host must be a literal address.
        NUMERICHOST = 2;
        /// \* Only families of which this machine has an address, the loopback aside.
        ADDRCONFIG = 4;
        /// \* IPv4 addresses in IPv6 form, if IPv6 is asked for and the host has none.
        V4MAPPED = 8;
        /// \* With `V4MAPPED`: the mapped ones beside those that the host has.
        ALL = 16;
    }
}

/// What a [`Resolver`] is asked: the addresses of a host, which is no literal address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostQuery {
    /// The host's name, as it was given.
    pub host: String,
    /// The port that each address is to have.
    pub port: u16,
    /// The family that each address is to have.
    pub family: Family,
    /// The number of the protocol that the addresses are for: zero for the usual one.
    pub proto: i32,
    /// How to look it up.
    pub flags: AddrInfoFlags,
}

/// What finds the addresses of names, in the place of the system's resolver.
///
/// Bring your own to ask a name server over the loop's sockets, to keep answers for a
/// while, or to have a test's names lead where the test wants them:
/// [`LoopHandle::set_resolver`]. Literal addresses never come to it.
///
/// # asyncio
/// Overriding `getaddrinfo` of the loop.
///
/// # Examples
/// ```
/// use std::io;
/// use std::net::SocketAddr;
/// use millstream::{HostQuery, Resolver, Resolving, get_running_loop, run};
///
/// /// One name, and nothing else.
/// struct OnlyTheMill(SocketAddr);
///
/// impl Resolver for OnlyTheMill {
///     fn getaddrinfo<'a>(&'a self, query: &'a HostQuery) -> Resolving<'a> {
///         Box::pin(async move {
///             match query.host.as_str() {
///                 "mill.example" => Ok(vec![self.0]),
///                 other => Err(io::Error::other(format!("nobody knows {other}"))),
///             }
///         })
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     let handle = get_running_loop()?;
///     let mill = SocketAddr::from(([127, 0, 0, 1], 8888));
///     handle.set_resolver(OnlyTheMill(mill));
///     assert_eq!(handle.getaddrinfo("mill.example", 80).await?, [mill]);
///     assert!(handle.getaddrinfo("river.example", 80).await.is_err());
///     io::Result::Ok(())
/// })
/// # }
/// ```
pub trait Resolver {
    /// Finds the addresses of a host, the one to be tried first at the front.
    ///
    /// The future runs in the task that asks, so it may use the loop; who gives up drops
    /// it. No addresses are an answer too, which those who connect or bind make an error.
    fn getaddrinfo<'a>(&'a self, query: &'a HostQuery) -> Resolving<'a>;
}

/// The future of a [`Resolver`]'s answer.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + 'a>>;

impl LoopHandle {
    /// Finds the addresses of a host, off the loop: set what is to be set, then await it.
    ///
    /// A literal address needs no resolver, and is returned at once; but for one with a
    /// zone (`fe80::1%eth0`), whose number the system's resolver knows. No host means
    /// the loopback. The order of the resolver's answers is kept.
    ///
    /// # Errors
    /// What the resolver fails with.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the system's resolver; its answer is dropped.
    ///
    /// # asyncio
    /// `loop.getaddrinfo`, for stream sockets: `type` has no counterpart, since what is
    /// returned are the addresses, which don't depend on it. Nor do they depend on
    /// [`proto`](GetAddrInfo::proto). Literal addresses go to a thread there.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use millstream::{Family, get_running_loop, run};
    ///
    /// # #[cfg(not(feature = "threads"))]
    /// # fn main() {}
    /// # #[cfg(feature = "threads")]
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let handle = get_running_loop()?;
    ///     let addresses = handle.getaddrinfo("localhost", 80).family(Family::V4).await?;
    ///     assert!(addresses.iter().all(|address| address.is_ipv4()));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn getaddrinfo<'a>(&self, host: impl Into<Option<&'a str>>, port: u16) -> GetAddrInfo {
        GetAddrInfo {
            handle: self.clone(),
            host: host.into().map(str::to_owned),
            port,
            wanted: Wanted::default(),
        }
    }

    /// Has `resolver` find the addresses of names on this loop, in the place of the
    /// system's.
    ///
    /// It is dropped when another is set, and when the loop is closed.
    ///
    /// # asyncio
    /// No counterpart but a subclass of the loop.
    pub fn set_resolver(&self, resolver: impl Resolver + 'static) {
        let earlier = self.core().resolver.replace(Some(Rc::new(resolver)));
        drop(earlier);
    }

    /// Goes back to the system's resolver.
    pub fn clear_resolver(&self) {
        let earlier = self.core().resolver.replace(None);
        drop(earlier);
    }

    /// Finds the addresses of a host, or of none.
    pub(crate) async fn resolve(
        &self,
        host: Option<&str>,
        port: u16,
        wanted: Wanted,
    ) -> io::Result<Vec<SocketAddr>> {
        let Some(host) = host else {
            return Ok(wanted.without_host(port));
        };
        if let Some(address) = wanted.literal(host, port) {
            return Ok(vec![address]);
        }
        self.look_up(&HostQuery {
            host: host.to_owned(),
            port,
            family: wanted.family,
            proto: wanted.proto,
            flags: wanted.flags,
        })
        .await
    }

    async fn look_up(&self, query: &HostQuery) -> io::Result<Vec<SocketAddr>> {
        let resolver = self.core().resolver.borrow().clone();
        let began = self.time();
        let resolved = match resolver {
            Some(resolver) => resolver.getaddrinfo(query).await,
            None => system_resolver::getaddrinfo(self, query).await,
        };
        if self.get_debug() {
            let took = self.time().saturating_sub(began);
            let level = if took >= self.slow_callback_duration() {
                log::Level::Info
            } else {
                log::Level::Debug
            };
            let (HostQuery { host, port, .. }, took) = (query, Seconds(took));
            log::log!(
                level,
                "resolving {host}:{port} took {took} seconds: {resolved:?}"
            );
        }
        resolved
    }
}

/// Which of a host's addresses are wanted, and how to find them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) family: Family,
    pub(crate) proto: i32,
    pub(crate) flags: AddrInfoFlags,
}

impl Wanted {
    /// The address that `host` spells out, if it is of the family that is wanted.
    fn literal(self, host: &str, port: u16) -> Option<SocketAddr> {
        let is_usual = [0, IPPROTO_TCP, IPPROTO_UDP].contains(&self.proto);
        // The parser takes no zones.
        let address: IpAddr = host.parse().ok().filter(|_| is_usual)?;
        let address = SocketAddr::new(address, port);
        self.family.admits(&address).then_some(address)
    }

    /// No host: all interfaces for who serves, the loopback for who connects. In the order
    /// that the system's resolver gives them.
    pub(crate) fn without_host(self, port: u16) -> Vec<SocketAddr> {
        let hosts = if self.flags.contains(AddrInfoFlags::PASSIVE) {
            [
                IpAddr::from(Ipv4Addr::UNSPECIFIED),
                IpAddr::from(Ipv6Addr::UNSPECIFIED),
            ]
        } else {
            [
                IpAddr::from(Ipv6Addr::LOCALHOST),
                IpAddr::from(Ipv4Addr::LOCALHOST),
            ]
        };
        let mut addresses = Vec::new();
        for host in hosts {
            let address = SocketAddr::new(host, port);
            if self.family.admits(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

/// A question for the addresses of a host: see [`LoopHandle::getaddrinfo`].
#[derive(Debug)]
#[must_use = "nothing is looked up unless it is awaited"]
pub struct GetAddrInfo {
    handle: LoopHandle,
    host: Option<String>,
    port: u16,
    wanted: Wanted,
}

impl GetAddrInfo {
    /// Asks for addresses of one family.
    pub fn family(mut self, family: Family) -> Self {
        self.wanted.family = family;
        self
    }

    /// Says for which protocol the addresses are, by its number: zero, the default, for
    /// the usual one.
    ///
    /// The system's resolver is not asked about it, for it has no addresses that only
    /// one protocol can use; a [`Resolver`] of your own is.
    pub fn proto(mut self, proto: i32) -> Self {
        self.wanted.proto = proto;
        self
    }

    /// Says how to look the host up.
    pub fn flags(mut self, flags: AddrInfoFlags) -> Self {
        self.wanted.flags = flags;
        self
    }
}

impl IntoFuture for GetAddrInfo {
    type Output = io::Result<Vec<SocketAddr>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let host = self.host.as_deref();
            self.handle.resolve(host, self.port, self.wanted).await
        })
    }
}

/// The numbers of the two protocols that every address serves.
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;

#[cfg(test)]
mod tests {
    use super::{AddrInfoFlags, Family, Wanted};

    const ANY: Wanted = Wanted {
        family: Family::Unspecified,
        proto: 0,
        flags: AddrInfoFlags::NONE,
    };

    fn literal(wanted: Wanted, host: &str) -> Option<String> {
        wanted.literal(host, 80).map(|address| address.to_string())
    }

    #[test]
    fn a_literal_address_is_taken_as_it_is() {
        assert_eq!(literal(ANY, "127.0.0.1").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(literal(ANY, "::1").as_deref(), Some("[::1]:80"));
        let mapped = literal(ANY, "::ffff:10.0.0.1");
        assert_eq!(mapped.as_deref(), Some("[::ffff:10.0.0.1]:80"));
    }

    #[test]
    fn what_only_a_resolver_can_tell_is_no_literal() {
        let names = [
            "",
            "localhost",
            "fe80::1%lo",
            "fe80::1%1",
            "127.1",
            "010.0.0.1",
            "0x7f.0.0.1",
            "[::1]",
            "127.0.0.1:80",
            " 127.0.0.1",
        ];
        for name in names {
            assert_eq!(literal(ANY, name), None, "{name:?}");
        }
    }

    #[test]
    fn a_literal_address_of_another_family_is_left_to_the_resolver() {
        let v4 = Wanted {
            family: Family::V4,
            ..ANY
        };
        let v6 = Wanted {
            family: Family::V6,
            ..ANY
        };
        assert!(literal(v4, "127.0.0.1").is_some());
        assert!(literal(v6, "127.0.0.1").is_none());
        assert!(literal(v4, "::1").is_none());
        assert!(literal(v6, "::1").is_some());
    }

    #[test]
    fn a_literal_address_for_another_protocol_is_left_to_the_resolver() {
        for (proto, taken) in [(0, true), (6, true), (17, true), (132, false), (262, false)] {
            let wanted = Wanted { proto, ..ANY };
            assert_eq!(literal(wanted, "::1").is_some(), taken, "{proto}");
        }
    }
}
