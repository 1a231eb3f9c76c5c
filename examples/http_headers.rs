//! Run with `cargo run --example http_headers -- http://example.com/path/page.html`. The
//! headers of the server's answer appear, one in a line, like these:
//!
//! ```text
//! HTTP header> HTTP/1.0 200 OK
//! HTTP header> Content-Type: text/html
//! HTTP header> Content-Length: 1256
//! ```
//!
//! The port may be part of the URL: `http://127.0.0.1:8000/`. For `https://` it needs TLS:
//! `cargo run --example http_headers --features tls -- https://example.com/`.
//!
//! Python: "Get HTTP headers".

mod python_style;

use std::env;
use std::io::{self, ErrorKind};

use millstream::{open_connection, run};
use python_style::quoted;

async fn print_http_headers(url: String) -> io::Result<()> {
    let url = Url::split(&url)?;
    let connecting = open_connection(&url.hostname, url.port);
    // Trusts what the system trusts, and looks whether the server's name is the one asked for.
    #[cfg(feature = "tls")]
    let connecting = connecting.tls(url.is_secret);
    let (mut reader, writer) = connecting.await?;

    let query = format!(
        "HEAD {path} HTTP/1.0\r\n\
         Host: {hostname}\r\n\
         \r\n",
        path = url.path,
        hostname = url.hostname,
    );

    writer.write(latin1(&query)?);
    loop {
        // Without its newline only at the end of the stream, and empty only behind that.
        let line = reader.readline().await?;
        if line.is_empty() {
            break;
        }

        // In Latin-1, a byte is the number of its character.
        let line: String = line.into_iter().map(char::from).collect();
        let line = line.trim_end();
        if !line.is_empty() {
            println!("HTTP header> {line}");
        }
    }

    // Ignore the body, close the socket.
    writer.close();
    writer.wait_closed().await
}

/// The parts of a URL that this program needs. Python has `urllib.parse` for them.
struct Url {
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "then it is false"))]
    is_secret: bool,
    hostname: String,
    port: u16,
    path: String,
}

impl Url {
    fn split(url: &str) -> io::Result<Url> {
        let (is_secret, rest) = if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else {
            let url = quoted(url.as_bytes());
            return Err(invalid(format!(
                "{url} begins neither with http:// nor with https://"
            )));
        };
        if is_secret && cfg!(not(feature = "tls")) {
            return Err(io::Error::new(
                ErrorKind::Unsupported,
                "https:// needs the feature `tls`: run this with --features tls",
            ));
        }

        // The path begins at the first slash, and what follows it is not asked for.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let path = match rest.split(['?', '#']).next() {
            Some("") | None => "/",
            Some(path) => path,
        };

        // The colons of an IPv6 address stand within brackets: [::1]:8000.
        let (hostname, port) = match authority.rsplit_once(':') {
            Some((hostname, port)) if !port.ends_with(']') => (hostname, port),
            _ if is_secret => (authority, "443"),
            _ => (authority, "80"),
        };
        let Ok(port) = port.parse() else {
            return Err(invalid(format!("{port} is not the number of a port")));
        };
        Ok(Url {
            is_secret,
            hostname: hostname.trim_matches(['[', ']']).to_owned(),
            port,
            path: path.to_owned(),
        })
    }
}

/// Encodes text in Latin-1, which has the first 256 characters of Unicode and no others.
fn latin1(text: &str) -> io::Result<Vec<u8>> {
    text.chars()
        .map(|c| u8::try_from(c).map_err(|_| invalid(format!("{c} is not a character of Latin-1"))))
        .collect()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

fn main() -> io::Result<()> {
    let Some(url) = env::args().nth(1) else {
        return Err(invalid("which URL? It is the first argument".to_owned()));
    };
    run(print_http_headers(url))
}
