//! The other way round: from an address to the names of a host and of a service.
//!
//! asyncio: `loop.getnameinfo`.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use super::LoopHandle;
use super::flags::flags;
use super::system_resolver;

flags! {
    /// How an address is turned into names; none of them unless set.
    ///
    /// # asyncio
    /// The argument `flags`: the constants `socket.NI_…`.
    pub struct NameInfoFlags {
        /// The host as an address, without looking it up.
        NUMERICHOST = 1;
        /// The service as the port's number.
        NUMERICSERV = 2;
        /// A host without a name is an error; else its address stands for it.
        NAMEREQD = 4;
        /// Only the first part of the name of a host in our own domain.
        NOFQDN = 8;
        /// The service of this port is one for datagrams.
        DGRAM = 16;
    }
}

impl LoopHandle {
    /// Finds the name of a host and of a service, off the loop: set what is to be set,
    /// then await it.
    ///
    /// # Errors
    /// What the system's resolver fails with. Without the feature `resolver`, names are
    /// an error of kind `Unsupported`, since the standard library can't find them;
    /// [`NUMERICHOST`](NameInfoFlags::NUMERICHOST) and
    /// [`NUMERICSERV`](NameInfoFlags::NUMERICSERV) together need no resolver.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resolver; its answer is dropped.
    ///
    /// # asyncio
    /// `loop.getnameinfo`.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use std::net::SocketAddr;
    /// use millstream::{NameInfoFlags, get_running_loop, run};
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     let numbers = NameInfoFlags::NUMERICHOST | NameInfoFlags::NUMERICSERV;
    ///     let address = SocketAddr::from(([127, 0, 0, 1], 80));
    ///     let handle = get_running_loop()?;
    ///     let (host, service) = handle.getnameinfo(address).flags(numbers).await?;
    ///     assert_eq!((host.as_str(), service.as_str()), ("127.0.0.1", "80"));
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    pub fn getnameinfo(&self, address: SocketAddr) -> GetNameInfo {
        GetNameInfo {
            handle: self.clone(),
            address,
            flags: NameInfoFlags::NONE,
        }
    }
}

/// A question for the names behind an address: see [`LoopHandle::getnameinfo`].
#[derive(Debug)]
#[must_use = "nothing is looked up unless it is awaited"]
pub struct GetNameInfo {
    handle: LoopHandle,
    address: SocketAddr,
    flags: NameInfoFlags,
}

impl GetNameInfo {
    /// Says how the address is turned into names.
    pub fn flags(mut self, flags: NameInfoFlags) -> Self {
        self.flags = flags;
        self
    }

    async fn names(self) -> io::Result<(String, String)> {
        let GetNameInfo {
            handle,
            address,
            flags,
        } = self;
        // A zone has a name, which only the system knows.
        let has_zone = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        let numbers = NameInfoFlags::NUMERICHOST | NameInfoFlags::NUMERICSERV;
        if flags.contains(numbers) && !has_zone {
            return Ok((address.ip().to_string(), address.port().to_string()));
        }
        let look_up = move || system_resolver::getnameinfo(address, flags);
        handle.run_in_executor(look_up).await?
    }
}

impl IntoFuture for GetNameInfo {
    type Output = io::Result<(String, String)>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.names())
    }
}
