//! An echo server by smol, on its local executor, which prints its port.

use std::io;

use smol::LocalExecutor;
use smol::future::block_on;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.close().await;
        }
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn serve(executor: &LocalExecutor<'_>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let echoes = async move {
            if let Err(error) = echo(stream).await {
                eprintln!("{peer}: {error}");
            }
        };
        executor.spawn(echoes).detach();
    }
}

fn main() -> io::Result<()> {
    let executor = LocalExecutor::new();
    block_on(executor.run(serve(&executor)))
}
