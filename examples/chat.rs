//! Run with `cargo run --example chat`, and then `nc 127.0.0.1 8888` in two or more other
//! terminals. Say who you are, then talk: each line goes to all the others. `/who` tells who
//! is here, `/quit` leaves, `/shutdown` ends the server. It prints who comes and goes:
//!
//! ```text
//! Serving on ('127.0.0.1', 8888)
//! ada joined
//! bob joined
//! bob left
//! Closing
//! ```
//!
//! Another address can be given, and how many seconds a client may be silent (300 unless
//! given): `cargo run --example chat -- 127.0.0.1:0 60`. Port 0 lets the system choose.
//!
//! Python: none of the documented programs, but the one that everybody writes next.

mod python_style;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Cancelled, OverlongPolicy, ReadError, Server, StreamReader, StreamWriter, create_task, run,
    start_server, timeout,
};
use python_style::tuple;

/// Bytes that a line may have.
const MAX_LINE: usize = 1024;

/// Bytes that may wait for one client, beyond what the kernel takes.
///
/// 256 KiB: a person who reads along never gets near it. Without a bound, a client that
/// stops reading would fill the memory with what the others say.
const MAX_UNSENT: usize = 256 * 1024;

/// How long a client may take to receive its last bytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who is here. One thread, so neither a lock nor an atomic counter: the handlers share the
/// room by `Rc`, and borrow it for one statement each, never across an `.await`.
#[derive(Default)]
struct Room {
    guests: BTreeMap<u64, Guest>,
    next_id: u64,
    /// For `/shutdown`; taken out by the first.
    server: Option<Server>,
    closing: bool,
}

struct Guest {
    /// `None` until it has said who it is.
    name: Option<String>,
    /// The handler writes answers by it, and the others what they say.
    writer: Rc<StreamWriter>,
}

impl Room {
    /// Lets somebody in, unless we are closing.
    fn enter(&mut self, writer: &Rc<StreamWriter>) -> Option<u64> {
        if self.closing {
            return None;
        }
        self.next_id += 1;
        let (name, writer) = (None, writer.clone());
        self.guests.insert(self.next_id, Guest { name, writer });
        Some(self.next_id)
    }

    /// Gives a guest its name, and says whether it could be given.
    fn join(&mut self, id: u64, name: &str) -> bool {
        if name.is_empty() || self.names().any(|taken| taken == name) {
            return false;
        }
        println!("{name} joined");
        self.tell_others(id, &format!("* {name} joined\n"));
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.name = Some(name.to_owned());
        }
        true
    }

    fn leave(&mut self, id: u64) {
        // Not here any more if we are closing, and without a name if it never gave one.
        let guest = self.guests.remove(&id);
        if let Some(name) = guest.and_then(|guest| guest.name) {
            println!("{name} left");
            self.tell_others(id, &format!("* {name} left\n"));
        }
    }

    fn say(&self, id: u64, text: &str) {
        let speaker = self.guests.get(&id).and_then(|guest| guest.name.as_ref());
        if let Some(name) = speaker {
            self.tell_others(id, &format!("{name}: {text}\n"));
        }
    }

    /// Writes never wait, so one slow client does not hold up the others. It is dropped
    /// when too much waits for it; its handler meets the end of the stream, and leaves.
    fn tell_others(&self, id: u64, text: &str) {
        let others = self.guests.iter().filter(|(other, _)| **other != id);
        for guest in others.map(|(_, guest)| guest) {
            let Some(name) = &guest.name else { continue };
            let transport = guest.writer.transport();
            if transport.is_closing() {
                continue;
            }
            guest.writer.write(text);
            if transport.get_write_buffer_size() > MAX_UNSENT {
                println!("{name} is too slow");
                transport.abort();
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.guests
            .values()
            .filter_map(|guest| guest.name.as_deref())
    }
}

// One task for each client. It returns nothing, because it takes care of every error itself:
// in a chat, a connection that breaks is somebody who leaves.
async fn handle(
    room: Rc<RefCell<Room>>,
    idle: Duration,
    mut reader: StreamReader,
    writer: StreamWriter,
) {
    // An over-long line costs one error, however much of it is still to come.
    reader.set_overlong_policy(OverlongPolicy::DiscardLine);
    let writer = Rc::new(writer);

    // `let … else` ends the borrow here; `if let` would keep it for the whole body.
    let Some(id) = room.borrow_mut().enter(&writer) else {
        return; // the writer is dropped, which closes the connection
    };
    let talked = talk(&room, id, idle, &mut reader, &writer).await;
    room.borrow_mut().leave(id);

    if talked.is_err_and(|error| error.kind() == ErrorKind::TimedOut) {
        writer.write("* silent for too long: good-bye\n");
    }
    // A plain close would wait for ever on a client that never reads what is queued for it.
    // Whether it got its last bytes makes no difference to us any more.
    let _ = writer.close_with_timeout(PATIENCE).await;
}

async fn talk(
    room: &RefCell<Room>,
    id: u64,
    idle: Duration,
    reader: &mut StreamReader,
    writer: &StreamWriter,
) -> io::Result<()> {
    writer.write("* who are you?\n");
    loop {
        let Some(name) = hear(idle, reader, writer).await? else {
            return Ok(());
        };
        if room.borrow_mut().join(id, &name) {
            writer.write(format!("* welcome, {name}\n"));
            break;
        }
        writer.write("* nobody, or somebody who is here: who are you?\n");
    }

    // `None` is the end: the client has closed, or was dropped for being slow.
    while let Some(line) = hear(idle, reader, writer).await? {
        match line.as_str() {
            "" => {}
            "/who" => {
                let names: Vec<String> = room.borrow().names().map(str::to_owned).collect();
                writer.write(format!("* here: {}\n", names.join(", ")));
            }
            "/quit" => {
                writer.write("* good-bye\n");
                return Ok(());
            }
            // Anybody may, in an example.
            "/shutdown" => {
                let server = room.borrow_mut().server.take();
                if let Some(server) = server {
                    server.close(); // which wakes `serve`, below
                }
            }
            text => room.borrow().say(id, text),
        }
    }
    Ok(())
}

/// Waits for the next line that is not too long. The error is of the kind `TimedOut` if
/// none comes in time, or if the client doesn't take what we have for it.
async fn hear(
    idle: Duration,
    reader: &mut StreamReader,
    writer: &StreamWriter,
) -> io::Result<Option<String>> {
    loop {
        // Two question marks: the first is for the time, the second for the connection.
        timeout(idle, writer.drain()).await??;
        match timeout(idle, reader.next_line()).await? {
            Ok(line) => return Ok(line.map(|line| printable(&line))),
            Err(ReadError::LineTooLong { .. }) => writer.write("* too long, nobody heard it\n"),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Without the end of the line, and without what would meddle with the others' terminals.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.trim().to_owned()
}

async fn serve(address: SocketAddr, idle: Duration) -> io::Result<()> {
    let room = Rc::new(RefCell::new(Room::default()));
    let shared = room.clone();

    // `async move`, since the server may live longer than this function; and a clone for
    // each client, since it is called more than once.
    let server = start_server(
        async move |reader, writer| handle(shared.clone(), idle, reader, writer).await,
        address.ip(),
        address.port(),
    )
    .limit(MAX_LINE)
    .await?;
    room.borrow_mut().server = Some(server.clone());

    let addrs: Vec<String> = server.sockets().iter().map(tuple).collect();
    println!("Serving on {}", addrs.join(", "));

    // It never ends well: a server that somebody closes was cancelled, as in Python.
    match server.serve_forever().await {
        Err(error) if Cancelled::is(&error) => println!("Closing"),
        ended => return ended,
    }

    // Nobody new comes in. Those who are here get a last line, all at the same time, and
    // those who don't take it are cut off when our patience ends.
    room.borrow_mut().closing = true;
    let guests = mem::take(&mut room.borrow_mut().guests);
    let farewells = guests.into_values().map(|Guest { writer, .. }| {
        writer.write("* the server closes: good-bye\n");
        create_task(async move { writer.close_with_timeout(PATIENCE).await })
    });
    for farewell in farewells.collect::<Vec<_>>() {
        let _ = farewell.await; // as in `handle`
    }

    // Until the last connection is over. (The tasks of the handlers may need another step;
    // there is nothing left for them to do, and `run` drops them.)
    server.wait_closed().await;
    Ok(())
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8888".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    let idle = env::args().nth(2).unwrap_or("300".to_owned());
    let idle = Duration::from_secs(idle.parse().map_err(io::Error::other)?);
    run(serve(address, idle))
}
