//! smol: its local executor, on one thread beside its reactor's.

use std::io;

use smol::LocalExecutor;
use smol::future::block_on;
use smol::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use smol::net::TcpListener;
use smol::net::unix::UnixListener;

use super::{CHUNK, Place, READ_BUFFER, Workload, announce, announce_path};

pub(super) fn serve(workload: Workload, place: Place) -> io::Result<()> {
    let executor = LocalExecutor::new();
    block_on(executor.run(async {
        match place {
            Place::Tcp => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                announce(listener.local_addr()?);
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    executor.spawn(converse(workload, stream)).detach();
                }
            }
            Place::Unix(path) => {
                let listener = UnixListener::bind(&path)?;
                announce_path(&path);
                loop {
                    let (stream, _) = listener.accept().await?;
                    executor.spawn(converse(workload, stream)).detach();
                }
            }
        }
    }))
}

async fn converse<S: AsyncRead + AsyncWrite + Clone + Unpin>(
    workload: Workload,
    mut stream: S,
) -> io::Result<()> {
    match workload {
        Workload::Echo => {
            let mut buffer = vec![0; READ_BUFFER];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&buffer[..count]).await?;
            }
        }
        Workload::Lines => {
            let mut reader = BufReader::new(stream.clone());
            let mut line = Vec::new();
            loop {
                line.clear();
                if reader.read_until(b'\n', &mut line).await? == 0 {
                    return Ok(());
                }
                stream.write_all(&line).await?;
            }
        }
        Workload::Sink => {
            let mut buffer = vec![0; 4 * CHUNK];
            let mut total = 0;
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    break;
                }
                total += count;
            }
            stream.write_all(total.to_string().as_bytes()).await?;
            stream.close().await
        }
        Workload::Source => {
            let chunk = vec![0; CHUNK];
            while stream.write_all(&chunk).await.is_ok() {}
            Ok(())
        }
    }
}
