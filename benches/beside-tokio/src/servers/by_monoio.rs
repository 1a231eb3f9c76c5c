//! monoio on epoll: an echo, its buffers handed in and out.

use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{ListenerOpts, TcpListener, UnixListener};
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
                // Its default, which Linux refuses to Unix-domain sockets since 6.13.
                let no_shared_port = ListenerOpts::new().reuse_port(false);
                let listener = UnixListener::bind_with_config(&path, &no_shared_port)?;
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
