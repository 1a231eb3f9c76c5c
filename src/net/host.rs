//! The host: a name or an address, before it is resolved.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::slice::from_ref;
use std::task::Poll;

use crate::event_loop::{LoopHandle, Resolving, Wanted};
use crate::explained::explain;

/// A host to connect to or to serve on: nothing, a name, an address, or a list.
///
/// Everything that names a host converts into it: `"localhost"`, `"::1"`, an
/// [`IpAddr`], `None::<&str>`, `["127.0.0.1", "::1"]`; names and addresses in slices and
/// vectors, too.
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
    /// Several names or addresses: a server serves on all of them, a client connects to one.
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

impl From<Ipv4Addr> for Host {
    fn from(address: Ipv4Addr) -> Self {
        Host::Name(address.to_string())
    }
}

impl From<Ipv6Addr> for Host {
    fn from(address: Ipv6Addr) -> Self {
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
        Host::from(names.as_slice())
    }
}

impl From<&[&str]> for Host {
    fn from(names: &[&str]) -> Self {
        Host::List(names.iter().map(|&name| name.to_owned()).collect())
    }
}

impl From<Vec<&str>> for Host {
    fn from(names: Vec<&str>) -> Self {
        Host::from(names.as_slice())
    }
}

impl From<Vec<String>> for Host {
    fn from(names: Vec<String>) -> Self {
        Host::List(names)
    }
}

impl<const N: usize> From<[IpAddr; N]> for Host {
    fn from(addresses: [IpAddr; N]) -> Self {
        Host::from(addresses.as_slice())
    }
}

impl From<&[IpAddr]> for Host {
    fn from(addresses: &[IpAddr]) -> Self {
        Host::List(addresses.iter().map(IpAddr::to_string).collect())
    }
}

impl From<Vec<IpAddr>> for Host {
    fn from(addresses: Vec<IpAddr>) -> Self {
        Host::from(addresses.as_slice())
    }
}

impl Host {
    /// Resolves it for a client, in the resolver's order.
    pub(super) async fn resolve_to_connect(
        &self,
        handle: &LoopHandle,
        port: u16,
        wanted: Wanted,
    ) -> io::Result<Vec<SocketAddr>> {
        let addresses = match self {
            Host::Any => wanted.without_host(port),
            Host::Name(name) => resolve(handle, name, port, wanted).await?,
            Host::List(names) => resolve_all(handle, names, port, wanted).await?,
        };
        if addresses.is_empty() {
            return Err(io::Error::other("getaddrinfo() returned empty list"));
        }
        Ok(addresses)
    }

    /// Resolves it for a server: each address once; an empty name is no host.
    pub(super) async fn resolve_to_bind(
        &self,
        handle: &LoopHandle,
        port: u16,
        wanted: Wanted,
    ) -> io::Result<Vec<SocketAddr>> {
        let resolved = match self {
            Host::Any => wanted.without_host(port),
            Host::Name(name) if name.is_empty() => wanted.without_host(port),
            Host::Name(name) => resolve_all(handle, from_ref(name), port, wanted).await?,
            Host::List(names) => resolve_all(handle, names, port, wanted).await?,
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

/// In a box: it is awaited in several places, and would be compiled for each.
fn resolve<'a>(handle: &'a LoopHandle, name: &'a str, port: u16, wanted: Wanted) -> Resolving<'a> {
    Box::pin(async move {
        let resolved = handle.resolve(Some(name), port, wanted).await;
        resolved.map_err(|error| explain(error, |e| format!("cannot resolve host {name:?}: {e}")))
    })
}

/// Resolves all of them at once; the answers keep the order of the names. Each name must
/// have an address.
///
/// They are polled in place: a task would go on when nobody waits any more.
async fn resolve_all(
    handle: &LoopHandle,
    names: &[String],
    port: u16,
    wanted: Wanted,
) -> io::Result<Vec<SocketAddr>> {
    let mut lookups: Vec<_> = names
        .iter()
        .map(|name| Lookup::Runs(resolve(handle, name, port, wanted)))
        .collect();
    poll_fn(|cx| {
        let mut all_done = true;
        for (name, lookup) in names.iter().zip(&mut lookups) {
            let Lookup::Runs(running) = lookup else {
                continue;
            };
            match running.as_mut().poll(cx)? {
                Poll::Ready(addresses) => *lookup = Lookup::Done(some(name, addresses)?),
                Poll::Pending => all_done = false,
            }
        }
        if all_done {
            Poll::Ready(io::Result::Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await?;
    let mut found = Vec::new();
    for lookup in lookups {
        match lookup {
            Lookup::Runs(_) => unreachable!("all are done"),
            Lookup::Done(mut addresses) => found.append(&mut addresses),
        }
    }
    Ok(found)
}

/// One name of several that are resolved at once.
enum Lookup<'a> {
    Runs(Resolving<'a>),
    Done(Vec<SocketAddr>),
}

/// No addresses are an error.
fn some(name: &str, addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if addresses.is_empty() {
        let text = format!("getaddrinfo({name:?}) returned empty list");
        return Err(io::Error::other(text));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_names_a_host_converts_into_it() {
        let v4 = Ipv4Addr::LOCALHOST;
        let name = Host::Name("127.0.0.1".to_owned());
        assert_eq!(Host::from("127.0.0.1"), name);
        assert_eq!(Host::from("127.0.0.1".to_owned()), name);
        assert_eq!(Host::from(IpAddr::from(v4)), name);
        assert_eq!(Host::from(v4), name);
        assert_eq!(Host::from(Some(v4)), name);
        assert_eq!(Host::from(Ipv6Addr::LOCALHOST), Host::from("::1"));
        assert_eq!(Host::from(None::<&str>), Host::Any);

        let list = Host::List(vec!["127.0.0.1".to_owned(), "::1".to_owned()]);
        let names = ["127.0.0.1", "::1"];
        assert_eq!(Host::from(names), list);
        assert_eq!(Host::from(&names[..]), list);
        assert_eq!(Host::from(names.to_vec()), list);
        assert_eq!(Host::from(names.map(str::to_owned).to_vec()), list);
        let addresses = [IpAddr::from(v4), IpAddr::from(Ipv6Addr::LOCALHOST)];
        assert_eq!(Host::from(addresses), list);
        assert_eq!(Host::from(&addresses[..]), list);
        assert_eq!(Host::from(addresses.to_vec()), list);
    }
}
