//! Run with `cargo run --example tls_echo --features tls`. A server and a client talk in
//! secret, in one process, and these lines appear:
//!
//! ```text
//! The client trusts 1 certificate, and speaks TLSv1.3
//! Received 'Hello World!' from a client that asked for 'localhost'
//! The client got 'Hello World!'
//! Both have closed
//! ```
//!
//! The certificate is made on the spot. A server of your own has files, made by its
//! authority: `TlsServerContext::from_pem_files("cert.pem", "key.pem")`. And a client of
//! public servers trusts what the system trusts: `.tls(true)`.
//!
//! Python: "TCP echo client using streams", with `ssl=`.

mod python_style;

use std::io;

use millstream::{
    PeerCertificates, ServerName, StreamReader, StreamWriter, TlsClientContext, TlsServerContext,
    TlsVersion, open_connection, run, start_server,
};
use python_style::quoted;

// Nothing of TLS in here: a handler gets decrypted bytes, and is called only when the
// handshake has succeeded.
async fn handle_echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    let data = reader.read(100).await?;
    let name = writer.get_extra_info(ServerName).unwrap_or_default();
    println!(
        "Received {} from a client that asked for {}",
        quoted(&data),
        quoted(name.as_bytes())
    );
    writer.write(&data);
    writer.drain().await?;
    writer.aclose().await
}

async fn talk(server: TlsServerContext, client: TlsClientContext) -> io::Result<()> {
    let server = start_server(handle_echo, "127.0.0.1", 0)
        .tls(server)
        // Operators want to know who tried, and why it failed.
        .on_tls_failure(|failure| println!("{:?}: {}", failure.peer, failure.error))
        .await?;
    let port = server.sockets()[0].port().unwrap_or(0);

    // The certificate bears this name, so the server must be asked for by it.
    let (mut reader, writer) = open_connection("localhost", port).tls(client).await?;
    let certificates = writer.get_extra_info(PeerCertificates).unwrap_or_default();
    println!(
        "The client trusts {} certificate, and speaks {}",
        certificates.len(),
        writer.get_extra_info(TlsVersion).unwrap_or("nothing")
    );

    writer.write(b"Hello World!");
    let data = reader.read_all().await?;
    println!("The client got {}", quoted(&data));

    writer.aclose().await?;
    server.close();
    server.wait_closed().await;
    println!("Both have closed");
    Ok(())
}

fn main() -> io::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.map_err(io::Error::other)?;
    let server = TlsServerContext::from_pem(made.cert.pem(), made.signing_key.serialize_pem())?;
    let client = TlsClientContext::builder()
        .trust_pem(made.cert.pem())?
        .build()?;
    run(talk(server, client))
}
