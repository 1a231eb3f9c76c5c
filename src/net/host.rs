//! The host: a name or an address, before it is resolved.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::event_loop::LoopHandle;

/// A host to connect to or to serve on: nothing, a name, an address, or a list.
///
/// Everything that names a host converts into it: `"localhost"`, `"::1"`, an
/// [`IpAddr`], `None::<&str>`, `["127.0.0.1", "::1"]`.
///
/// # asyncio
/// The argument `host`: `None`, a string, or a sequence of strings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// No host: a client means the loopback, a server all interfaces.
    Any,
    /// One name or address; an empty one is the same as none for a server.
    Name(String),
    /// Several names or addresses: a server serves on all of them.
    List(Vec<String>),
}

impl From<&str> for Host {
    fn from(name: &str) -> Self {
        Host::Name(name.to_owned())
    }
}

impl From<String> for Host {
    fn from(name: String) -> Self {
        Host::Name(name)
    }
}

impl From<&String> for Host {
    fn from(name: &String) -> Self {
        Host::Name(name.clone())
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Host::Name(address.to_string())
    }
}

impl<H: Into<Host>> From<Option<H>> for Host {
    fn from(host: Option<H>) -> Self {
        host.map_or(Host::Any, Into::into)
    }
}

impl<const N: usize> From<[&str; N]> for Host {
    fn from(names: [&str; N]) -> Self {
        Host::List(names.map(str::to_owned).to_vec())
    }
}

impl From<Vec<String>> for Host {
    fn from(names: Vec<String>) -> Self {
        Host::List(names)
    }
}

impl Host {
    /// Resolves it for a client, in the resolver's order.
    pub(super) async fn resolve_to_connect(
        &self,
        handle: &LoopHandle,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        let addresses = match self {
            Host::Any => handle.getaddrinfo("localhost", port).await?,
            Host::Name(name) => resolve(handle, name, port).await?,
            Host::List(names) => resolve_all(handle, names, port).await?,
        };
        if addresses.is_empty() {
            return Err(io::Error::other("getaddrinfo() returned empty list"));
        }
        Ok(addresses)
    }

    /// Resolves it for a server: each address once, wildcards for no host.
    pub(super) async fn resolve_to_bind(
        &self,
        handle: &LoopHandle,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        let wildcards = || {
            vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            ]
        };
        let resolved = match self {
            Host::Any => wildcards(),
            Host::Name(name) if name.is_empty() => wildcards(),
            Host::Name(name) => resolve(handle, name, port).await?,
            Host::List(names) => resolve_all(handle, names, port).await?,
        };
        let mut addresses = Vec::new();
        for address in resolved {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

async fn resolve(handle: &LoopHandle, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses = handle.getaddrinfo(name, port).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot resolve host {name:?}: {error}"),
        )
    })?;
    if addresses.is_empty() {
        return Err(io::Error::other(format!(
            "getaddrinfo({name:?}) returned empty list"
        )));
    }
    Ok(addresses)
}

/// Resolves all of them at once; the answers keep the order of the names.
async fn resolve_all(
    handle: &LoopHandle,
    names: &[String],
    port: u16,
) -> io::Result<Vec<SocketAddr>> {
    let resolving: Vec<_> = names
        .iter()
        .map(|name| {
            let (of, name) = (handle.clone(), name.clone());
            handle.create_task(async move { resolve(&of, &name, port).await })
        })
        .collect();
    let mut addresses = Vec::new();
    for resolved in resolving {
        addresses.extend(resolved.await??);
    }
    Ok(addresses)
}
