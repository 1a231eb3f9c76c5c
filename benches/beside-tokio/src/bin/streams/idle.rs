//! Resident memory of the server for each of many idle connections that have echoed once.

use std::io;

use beside_tokio::load;
use beside_tokio::process::{Server, Under};
use beside_tokio::results::Notebook;
use beside_tokio::servers::{Candidate, Workload};

use crate::scenarios::LINE;

/// The table.
pub const GROUP: &str = "idle memory";

/// What is measured.
pub const NAME: &str = "10000 connections";

const CONNECTIONS: usize = 10_000;

/// Connections that come first and stay, so that tables have grown and code is loaded.
const EARLIER: usize = 100;

const CANDIDATES: [Candidate; 11] = [
    Candidate::Tokio,
    Candidate::TokioLocal,
    Candidate::TokioShared,
    Candidate::Streams,
    Candidate::StreamsLending,
    Candidate::Protocol,
    Candidate::Mio,
    Candidate::Smol,
    Candidate::Monoio,
    Candidate::Asyncio,
    Candidate::Uvloop,
];

/// Measures it, once each: memory hardly varies.
pub fn measure(notebook: &mut Notebook) -> io::Result<()> {
    for candidate in CANDIDATES {
        let name = candidate.name();
        if !candidate.is_here() {
            println!("{name:24}left out: not on this machine");
            continue;
        }
        match bytes_each(candidate) {
            Ok(each) => {
                println!("{name:24}{each:>12.0} bytes");
                notebook.note_one([GROUP, NAME, name], "bytes", each)?;
            }
            Err(error) => println!("{name:24}left out: {error}"),
        }
    }
    Ok(())
}

fn bytes_each(candidate: Candidate) -> io::Result<f64> {
    let server = Server::start(candidate, Workload::Echo, false, Under::Nothing)?;
    let earlier = load::warm_up(server.target(), EARLIER, LINE)?;
    let before = server.resident()?;
    let connections = load::warm_up(server.target(), CONNECTIONS, LINE)?;
    let after = server.resident()?;
    drop((earlier, connections));
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}
