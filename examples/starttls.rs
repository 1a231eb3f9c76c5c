//! Run with `cargo run --example starttls --features tls`. A client and a server that talk
//! line by line, in one process, go over to TLS in the middle of it:
//!
//! ```text
//! in plaintext  > HELLO
//! in plaintext  < 250 mill.example
//! in plaintext  > STARTTLS
//! in plaintext  < 220 go ahead
//! in TLSv1.3    > SECRET flour, water, salt
//! in TLSv1.3    < 250 it is safe with me
//! in TLSv1.3    > QUIT
//! in TLSv1.3    < 221 good-bye
//! ```
//!
//! Python: `StreamWriter.start_tls`.

use std::io;

use millstream::{
    StreamReader, StreamWriter, TlsClientContext, TlsServerContext, TlsVersion, open_connection,
    run, start_server,
};

async fn serve(
    context: TlsServerContext,
    mut reader: StreamReader,
    mut writer: StreamWriter,
) -> io::Result<()> {
    while let Some(line) = reader.next_line().await? {
        let is_secret = writer.get_extra_info(TlsVersion).is_some();
        match (line.trim_ascii_end(), is_secret) {
            (b"HELLO", _) => writer.write(b"250 mill.example\n"),
            (b"STARTTLS", false) => {
                // The answer leaves in plaintext, and nothing may be written between it and
                // the start. What an eager client has sent already is handed to TLS.
                writer.write(b"220 go ahead\n");
                writer.start_tls(context.clone()).await?;
            }
            (b"QUIT", _) => {
                writer.write(b"221 good-bye\n");
                break;
            }
            (line, true) if line.starts_with(b"SECRET ") => {
                writer.write(b"250 it is safe with me\n");
            }
            (line, false) if line.starts_with(b"SECRET ") => {
                writer.write(b"530 not in plaintext\n");
            }
            _ => writer.write(b"500 what?\n"),
        }
        writer.drain().await?;
    }
    writer.aclose().await
}

/// Says a line, and returns the answer.
async fn asks(reader: &mut StreamReader, writer: &StreamWriter, line: &str) -> io::Result<String> {
    let how = writer.get_extra_info(TlsVersion).unwrap_or("plaintext");
    println!("in {how:<10} > {line}");
    writer.write(format!("{line}\n"));
    let answer = reader.readline().await?;
    let answer = String::from_utf8_lossy(&answer).trim_end().to_owned();
    println!("in {how:<10} < {answer}");
    Ok(answer)
}

async fn talk(server: TlsServerContext, client: TlsClientContext) -> io::Result<()> {
    let server = start_server(
        async move |reader, writer| serve(server.clone(), reader, writer).await,
        "127.0.0.1",
        0,
    )
    .await?;
    let port = server.sockets()[0].port().unwrap_or(0);
    let (mut reader, mut writer) = open_connection("127.0.0.1", port).await?;

    asks(&mut reader, &writer, "HELLO").await?;
    if asks(&mut reader, &writer, "STARTTLS").await? != "220 go ahead" {
        // Without TLS there is nothing more to say: somebody on the way may have
        // answered in the server's name.
        return writer.aclose().await;
    }
    // From here on the same reader and writer are encrypted. If more than the answer has
    // come by now, it came in plaintext, from whomever: start_tls refuses.
    writer
        .start_tls(client)
        .server_hostname("localhost")
        .await?;
    asks(&mut reader, &writer, "SECRET flour, water, salt").await?;
    asks(&mut reader, &writer, "QUIT").await?;
    writer.aclose().await?;
    server.close();
    server.wait_closed().await;
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
