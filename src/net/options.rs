//! Socket options: what is set on a socket before it connects, binds or is talked to.
//!
//! ```text
//!   SocketOptions ─┬─ Connect::socket_options ────────► new socket ─apply─► bind, connect
//!                  ├─ Serve::socket_options ──────────► new socket ─apply─► bind, listen
//!                  └─ Serve::accepted_socket_options ─► accept ─apply─► transport
//! ```
//!
//! asyncio: none. There one sets them on `sock=`, or on what `get_extra_info('socket')`
//! returns, when it is too late for some.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockRef, TcpKeepalive};

use crate::explained::explain;

/// Options for sockets, set in the order in which they were given.
///
/// They go to [`Connect::socket_options`](crate::Connect::socket_options), to
/// [`Serve::socket_options`](crate::Serve::socket_options), for the sockets that listen, and
/// to [`Serve::accepted_socket_options`](crate::Serve::accepted_socket_options); clones are
/// cheap.
///
/// What the system refuses, or does not have, fails the connect, the start of the server or
/// the one accepted connection, with an error that names option and value.
///
/// What is set on a listening TCP socket, its accepted sockets inherit, on Linux and the
/// BSDs. An accepted Unix-domain socket inherits nothing. `TCP_NODELAY` is always set, once
/// the connection stands, as asyncio sets it: what one step writes leaves together anyway
/// (D28).
///
/// # Examples
/// ```
/// use std::{io, time::Duration};
/// use millstream::{SocketOptions, open_connection, run, start_server};
/// # async fn handle(_: millstream::StreamReader, _: millstream::StreamWriter) {}
///
/// # fn main() -> io::Result<()> {
/// run(async {
///     // A peer that has vanished is noticed after 30 + 3 * 5 seconds of silence.
///     let options = SocketOptions::new()
///         .keep_alive_time(Duration::from_secs(30))
///         .keep_alive_interval(Duration::from_secs(5))
///         .keep_alive_retries(3);
///     let server = start_server(handle, "127.0.0.1", 0)
///         .socket_options(options.clone())
///         .await?;
///     let port = server.sockets()[0].port().expect("it is an internet address");
///     let (_reader, _writer) = open_connection("127.0.0.1", port)
///         .socket_options(options)
///         .await?;
///     io::Result::Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Default)]
pub struct SocketOptions {
    settings: Rc<Vec<Setting>>,
}

/// One option with its value: what it is called, and what sets it.
///
/// What sets it is a closure from the start: so a program contains the options that it sets,
/// and no others.
#[derive(Clone)]
struct Setting {
    /// The option by the name that the system's manual has it under, and its value.
    name: String,
    set: Rc<Closure>,
}

type Closure = dyn Fn(BorrowedFd<'_>) -> io::Result<()>;

impl SocketOptions {
    /// Makes options that set nothing.
    #[must_use]
    pub fn new() -> SocketOptions {
        SocketOptions::default()
    }

    /// Sets whether a silent peer is asked now and then whether it is still there
    /// (`SO_KEEPALIVE`): not unless set.
    #[must_use]
    #[inline]
    pub fn keep_alive(self, keep_alive: bool) -> Self {
        self.and(format!("SO_KEEPALIVE to {keep_alive}"), move |socket| {
            socket.set_keepalive(keep_alive)
        })
    }

    /// Sets after how much silence the peer is first asked (`TCP_KEEPIDLE`, on macOS
    /// `TCP_KEEPALIVE`), in whole seconds, rounded up; and turns
    /// [`keep_alive`](Self::keep_alive) on. Two hours unless set. OpenBSD has no such option.
    #[must_use]
    #[inline]
    pub fn keep_alive_time(self, time: Duration) -> Self {
        self.and(format!("TCP_KEEPIDLE to {time:?}"), move |socket| {
            has(cfg!(not(target_os = "openbsd")))?;
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(whole_seconds(time)))
        })
    }

    /// Sets how long an answer is waited for before the peer is asked again
    /// (`TCP_KEEPINTVL`), in whole seconds, rounded up; and turns
    /// [`keep_alive`](Self::keep_alive) on. 75 seconds unless set. OpenBSD has no such option.
    #[must_use]
    #[inline]
    pub fn keep_alive_interval(self, interval: Duration) -> Self {
        self.and(format!("TCP_KEEPINTVL to {interval:?}"), move |socket| {
            set_keep_alive_interval(socket, interval)
        })
    }

    /// Sets how many questions without an answer end the connection (`TCP_KEEPCNT`); and
    /// turns [`keep_alive`](Self::keep_alive) on. Some 8 to 9 unless set. OpenBSD has no
    /// such option.
    #[must_use]
    #[inline]
    pub fn keep_alive_retries(self, retries: u32) -> Self {
        self.and(format!("TCP_KEEPCNT to {retries}"), move |socket| {
            set_keep_alive_retries(socket, retries)
        })
    }

    /// Sets how long what was sent may lack an acknowledgement before the connection ends
    /// (`TCP_USER_TIMEOUT`), in milliseconds, rounded up. Linux only.
    #[must_use]
    #[inline]
    pub fn user_timeout(self, timeout: Duration) -> Self {
        self.and(format!("TCP_USER_TIMEOUT to {timeout:?}"), move |socket| {
            set_user_timeout(socket, timeout)
        })
    }

    /// Sets the size of the kernel's buffer for what is sent (`SO_SNDBUF`), in bytes. Linux
    /// reserves twice as much, for its own needs, and has a lower and an upper bound.
    #[must_use]
    #[inline]
    pub fn send_buffer_size(self, bytes: usize) -> Self {
        self.and(format!("SO_SNDBUF to {bytes} bytes"), move |socket| {
            socket.set_send_buffer_size(buffer_size(bytes)?)
        })
    }

    /// Sets the size of the kernel's buffer for what is received (`SO_RCVBUF`), in bytes.
    /// Linux reserves twice as much, for its own needs, and has a lower and an upper bound.
    ///
    /// A TCP window beyond 64 KiB is agreed on with the connection: set this on the socket
    /// that listens, not on the accepted ones.
    #[must_use]
    #[inline]
    pub fn receive_buffer_size(self, bytes: usize) -> Self {
        self.and(format!("SO_RCVBUF to {bytes} bytes"), move |socket| {
            socket.set_recv_buffer_size(buffer_size(bytes)?)
        })
    }

    /// Sets how long closing the socket waits until what was sent has arrived (`SO_LINGER`),
    /// in whole seconds, rounded up. Zero throws it away, and resets the connection.
    ///
    /// Any other value *blocks the thread, and so the loop*, also where the socket does not
    /// block. To wait without that, see
    /// [`close_lingering`](crate::StreamWriter::close_lingering).
    #[must_use]
    #[inline]
    pub fn linger(self, linger: Duration) -> Self {
        self.and(format!("SO_LINGER to {linger:?}"), move |socket| {
            socket.set_linger(Some(whole_seconds(linger)))
        })
    }

    /// Sets whether an IPv6 socket keeps to IPv6 (`IPV6_V6ONLY`). Sockets of other families
    /// are left alone.
    ///
    /// Those that listen do unless set, so that `"0.0.0.0"` and `"::"` can be served beside
    /// each other. With `false`, and `"::"` as the only host, one socket serves both;
    /// IPv4 peers are then called `::ffff:192.0.2.1`. OpenBSD has no such sockets.
    #[must_use]
    #[inline]
    pub fn only_v6(self, only_v6: bool) -> Self {
        self.and(
            format!("IPV6_V6ONLY to {only_v6}"),
            move |socket| match is_v6(socket)? {
                true => socket.set_only_v6(only_v6),
                false => Ok(()),
            },
        )
    }

    /// Sets the type of service of what is sent (`IP_TOS`; `IPV6_TCLASS` on IPv6 sockets):
    /// the upper six bits are the DSCP, `0xb8` for expedited forwarding, say.
    #[must_use]
    #[inline]
    pub fn type_of_service(self, type_of_service: u8) -> Self {
        let name = format!("IP_TOS to {type_of_service:#04x}");
        let type_of_service = u32::from(type_of_service);
        self.and(name, move |socket| match is_v6(socket)? {
            true => socket.set_tclass_v6(type_of_service),
            false => socket.set_tos_v4(type_of_service),
        })
    }

    /// Has a closure set any other option. It is called with each new socket, before it is
    /// bound or connected, or just after it was accepted; crates like `socket2` and `rustix`
    /// take what it is given.
    ///
    /// # Errors
    /// The closure's, whose text is completed.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    /// use socket2::SockRef;
    /// use millstream::{SocketOptions, run, start_server};
    /// # async fn handle(_: millstream::StreamReader, _: millstream::StreamWriter) {}
    ///
    /// # fn main() -> io::Result<()> {
    /// run(async {
    ///     // Segments that fit through a tunnel.
    ///     let options = SocketOptions::new()
    ///         .with(|socket| SockRef::from(&socket).set_tcp_mss(1200));
    ///     let server = start_server(handle, "127.0.0.1", 0)
    ///         .socket_options(options)
    ///         .await?;
    ///     server.close();
    ///     io::Result::Ok(())
    /// })
    /// # }
    /// ```
    #[must_use]
    #[inline]
    pub fn with(self, set: impl Fn(BorrowedFd<'_>) -> io::Result<()> + 'static) -> Self {
        self.push("an option by a closure".to_owned(), Rc::new(set))
    }

    fn and(self, name: String, set: impl Fn(&SockRef<'_>) -> io::Result<()> + 'static) -> Self {
        self.push(name, Rc::new(move |fd| set(&SockRef::from(&fd))))
    }

    fn push(self, name: String, set: Rc<Closure>) -> Self {
        let mut settings = Rc::unwrap_or_clone(self.settings);
        settings.push(Setting { name, set });
        SocketOptions {
            settings: Rc::new(settings),
        }
    }

    /// Sets them on a socket. This may call the user (R3).
    pub(super) fn apply(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        for Setting { name, set } in self.settings.iter() {
            let set = set(socket);
            set.map_err(|error| explain(error, |e| format!("cannot set {name}: {e}")))?;
        }
        Ok(())
    }
}

#[cfg(not(target_os = "openbsd"))]
fn set_keep_alive_interval(socket: &SockRef<'_>, interval: Duration) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_interval(whole_seconds(interval)))
}

#[cfg(not(target_os = "openbsd"))]
fn set_keep_alive_retries(socket: &SockRef<'_>, retries: u32) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(retries))
}

#[cfg(target_os = "openbsd")]
fn set_keep_alive_interval(_socket: &SockRef<'_>, _interval: Duration) -> io::Result<()> {
    has(false)
}

#[cfg(target_os = "openbsd")]
fn set_keep_alive_retries(_socket: &SockRef<'_>, _retries: u32) -> io::Result<()> {
    has(false)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_user_timeout(socket: &SockRef<'_>, timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(whole_milliseconds(timeout)))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_user_timeout(_socket: &SockRef<'_>, _timeout: Duration) -> io::Result<()> {
    has(false)
}

/// Refuses an option that this platform lacks.
fn has(it: bool) -> io::Result<()> {
    if it {
        return Ok(());
    }
    let complaint = "this platform has no such option";
    Err(io::Error::new(io::ErrorKind::Unsupported, complaint))
}

fn is_v6(socket: &SockRef<'_>) -> io::Result<bool> {
    Ok(socket.local_addr()?.domain() == Domain::IPV6)
}

/// Rounds up, so that what is not zero does not become it; and to what fits into a `c_int`,
/// which is a lifetime.
fn whole_seconds(duration: Duration) -> Duration {
    let begun = u64::from(duration.subsec_nanos() > 0);
    let seconds = duration.as_secs().saturating_add(begun);
    Duration::from_secs(seconds.min(i32::MAX as u64))
}

/// Rounds up, so that what is not zero does not become it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn whole_milliseconds(duration: Duration) -> Duration {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// The kernel takes a `c_int`, and would take what does not fit for a negative number.
fn buffer_size(bytes: usize) -> io::Result<usize> {
    if i32::try_from(bytes).is_ok() {
        return Ok(bytes);
    }
    let complaint = format!("it must be at most {} bytes", i32::MAX);
    Err(io::Error::new(io::ErrorKind::InvalidInput, complaint))
}

impl fmt::Debug for SocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.settings.iter().map(|setting| &setting.name);
        f.debug_list().entries(names).finish()
    }
}
