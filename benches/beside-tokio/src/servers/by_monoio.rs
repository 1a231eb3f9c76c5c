//! monoio on epoll: an echo, its buffers handed in and out.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, UnixListener};
use monoio::{LegacyDriver, RuntimeBuilder};

use super::{Place, READ_BUFFER, announce, announce_path};

pub(super) fn serve(place: Place) -> io::Result<()> {
    let mut runtime = RuntimeBuilder::<LegacyDriver>::new().build()?;
    runtime.block_on(async move {
        match place {
            Place::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                announce(listener.local_addr()?);
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    monoio::spawn(echo(stream));
                }
            }
            Place::Unix(path) => {
                // Its own `bind` leaves a blocking socket, on which the second `accept` of its
                // epoll driver stops the thread.
                let listener = std::os::unix::net::UnixListener::bind(&path)?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                announce_path(&path);
                loop {
                    let (stream, _) = listener.accept().await?;
                    monoio::spawn(echo(stream));
                }
            }
        }
    })
}

async fn echo<S: AsyncReadRent + AsyncWriteRent>(mut stream: S) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(READ_BUFFER);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let (written, emptied) = stream.write_all(filled).await;
        written?;
        buffer = emptied;
        buffer.clear();
    }
}
