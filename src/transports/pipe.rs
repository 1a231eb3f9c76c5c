//! Pipes: what a stream transport has in the place of a socket.
//!
//! ```text
//!   FIFO, socket, character device ──► Socket::ReadPipe, Socket::WritePipe: watched
//!   regular file, /dev/null        ──► FileSocket: always ready, watched by nobody
//! ```
//!
//! asyncio: `_UnixReadPipeTransport`, `_UnixWritePipeTransport`.

use std::fs::{File, FileType};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::rc::Rc;

use mio::unix::pipe;
use socket2::SockRef;

use crate::event_loop::LoopCore;
use crate::reactor::{Direction, SourceId};

use super::socket::{ByteSocket, Socket, Ways};

/// Takes over the end of a pipe from which is read, and makes it non-blocking.
///
/// # Errors
/// `InvalidInput` if it is neither FIFO nor socket nor character device.
pub(crate) fn read_pipe(fd: OwnedFd) -> io::Result<Socket> {
    Ok(Socket::ReadPipe(pipe::Receiver::from(prepare(fd)?)))
}

/// Takes over the end of a pipe to which is written, and makes it non-blocking.
///
/// # Errors
/// `InvalidInput` if it is neither FIFO nor socket nor character device.
pub(crate) fn write_pipe(fd: OwnedFd) -> io::Result<Socket> {
    Ok(Socket::WritePipe(pipe::Sender::from(prepare(fd)?)))
}

/// Says whether a poller can be expected to watch it.
pub(crate) fn is_pipe(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

fn prepare(fd: OwnedFd) -> io::Result<OwnedFd> {
    let file = File::from(fd);
    let kind = file.metadata()?.file_type();
    let fd = OwnedFd::from(file);
    if !is_pipe(kind) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "Pipe transport is for pipes/sockets only. fd={} is {kind:?}",
                fd.as_raw_fd()
            ),
        ));
    }
    SockRef::from(&fd).set_nonblocking(true)?; // a flag of any descriptor, not of sockets alone
    Ok(fd)
}

/// A file that is always ready, which no poller watches: read and written on the loop's
/// thread, once a turn.
pub(crate) struct FileSocket {
    file: File,
    ways: Ways,
}

impl FileSocket {
    /// Reads from it.
    pub(crate) fn reading(file: File) -> Socket {
        let ways = Ways::In;
        Socket::other(FileSocket { file, ways })
    }

    /// Writes to it.
    pub(crate) fn writing(file: File) -> Socket {
        let ways = Ways::Out;
        Socket::other(FileSocket { file, ways })
    }
}

impl ByteSocket for FileSocket {
    fn attach(&mut self, core: Rc<LoopCore>, id: SourceId) {
        if self.ways == Ways::In {
            // No edge will ever come: each read is followed by another, to the end.
            core.reactor.set_read_closed(id);
        } else {
            core.reactor.set_ready(id, Direction::Write);
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.file.write_vectored(pieces)
    }

    fn shut_down_writing(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn ways(&self) -> Ways {
        self.ways
    }
}
