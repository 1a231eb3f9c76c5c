//! The sockets of datagrams: internet ones, and Unix-domain ones.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use mio::event::Source;
use mio::net::{UdpSocket, UnixDatagram};
use socket2::{Domain, SockRef};

use crate::address::{Address, unix_address};

/// What a datagram transport has for a socket: non-blocking.
pub(crate) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    /// The endpoint is closed (R1).
    Hollow,
}

impl DatagramSocket {
    /// Takes over a datagram socket, and makes it non-blocking.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<DatagramSocket> {
        let socket = SockRef::from(&fd);
        socket.set_nonblocking(true)?;
        Ok(if socket.local_addr()?.domain() == Domain::UNIX {
            DatagramSocket::Unix(UnixDatagram::from_std(fd.into()))
        } else {
            DatagramSocket::Udp(UdpSocket::from_std(fd.into()))
        })
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Address)> {
        match self {
            DatagramSocket::Udp(socket) => {
                let (len, sender) = socket.recv_from(buffer)?;
                Ok((len, Address::Inet(sender)))
            }
            DatagramSocket::Unix(socket) => {
                let (len, sender) = socket.recv_from(buffer)?;
                Ok((len, unix_address(&sender)))
            }
            DatagramSocket::Hollow => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends to the address, or to the one that the socket is connected to.
    pub(super) fn send(&self, data: &[u8], address: Option<&Address>) -> io::Result<()> {
        loop {
            match self.send_once(data, address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn send_once(&self, data: &[u8], address: Option<&Address>) -> io::Result<()> {
        let sent = match (self, address) {
            (DatagramSocket::Udp(socket), None) => socket.send(data),
            (DatagramSocket::Unix(socket), None) => socket.send(data),
            (DatagramSocket::Udp(socket), Some(Address::Inet(to))) => socket.send_to(data, *to),
            (DatagramSocket::Unix(socket), Some(to)) => {
                let to = to.to_system()?;
                socket.try_io(|| SockRef::from(socket).send_to(data, &to))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        sent.map(|_len| ()) // of a datagram, all is sent or nothing
    }

    /// Says whether it could send to such an address.
    pub(super) fn reaches(&self, address: &Address) -> bool {
        match (self, address) {
            (_, Address::Unnamed) => false,
            (DatagramSocket::Udp(_), address) => address.as_inet().is_some(),
            (DatagramSocket::Unix(_), address) => address.as_inet().is_none(),
            (DatagramSocket::Hollow, _) => true, // it is dropped, whatever it is
        }
    }

    pub(super) fn polled(&mut self) -> Option<&mut dyn Source> {
        match self {
            DatagramSocket::Udp(socket) => Some(socket),
            DatagramSocket::Unix(socket) => Some(socket),
            DatagramSocket::Hollow => None,
        }
    }

    pub(super) fn fd(&self) -> Option<RawFd> {
        match self {
            DatagramSocket::Udp(socket) => Some(socket.as_raw_fd()),
            DatagramSocket::Unix(socket) => Some(socket.as_raw_fd()),
            DatagramSocket::Hollow => None,
        }
    }

    pub(super) fn sock_name(&self) -> Option<Address> {
        match self {
            DatagramSocket::Udp(socket) => socket.local_addr().ok().map(Address::Inet),
            DatagramSocket::Unix(socket) => socket.local_addr().ok().map(|a| unix_address(&a)),
            DatagramSocket::Hollow => None,
        }
    }

    /// The address that the socket is connected to, if it is.
    pub(super) fn peer_name(&self) -> Option<Address> {
        match self {
            DatagramSocket::Udp(socket) => socket.peer_addr().ok().map(Address::Inet),
            DatagramSocket::Unix(socket) => socket.peer_addr().ok().map(|a| unix_address(&a)),
            DatagramSocket::Hollow => None,
        }
    }
}

impl fmt::Debug for DatagramSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DatagramSocket::Udp(_) => "udp",
            DatagramSocket::Unix(_) => "unix",
            DatagramSocket::Hollow => "closed",
        })
    }
}
