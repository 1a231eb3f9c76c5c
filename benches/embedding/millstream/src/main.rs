//! An echo server by millstream's streams, which prints its port.

use std::io;

use millstream::{StreamReader, StreamWriter, run, start_server};

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(4096).await?;
        if data.is_empty() {
            return writer.aclose().await;
        }
        writer.write(data);
        writer.drain().await?;
    }
}

fn main() -> io::Result<()> {
    run(async {
        let server = start_server(echo, "127.0.0.1", 0).await?;
        let port = server.sockets()[0].port();
        println!("{}", port.expect("it is an internet address"));
        server.serve_forever().await
    })
}
