//! Run with `cargo run --example echo_datagram_server`. With
//! `cargo run --example echo_datagram_client` in another terminal, these lines appear:
//!
//! ```text
//! Serving on ('127.0.0.1', 9999)
//! Received 'Hello World!' from ('127.0.0.1', 50312)
//! Send 'Hello World!' to ('127.0.0.1', 50312)
//! ```
//!
//! Another address can be given: `cargo run --example echo_datagram_server -- 127.0.0.1:9999`.
//!
//! Python: "UDP Echo Server", of the page on transports and protocols.

mod python_style;

use std::env;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use millstream::{
    Address, DatagramProtocol, DatagramTransport, SockName, get_running_loop, run, sleep,
};
use python_style::{quoted, tuple};

struct EchoServerProtocol;

impl DatagramProtocol for EchoServerProtocol {
    fn datagram_received(
        &mut self,
        transport: &Rc<dyn DatagramTransport>,
        data: &[u8],
        sender: &Address,
    ) {
        let message = quoted(data);
        println!("Received {message} from {}", tuple(sender));
        println!("Send {message} to {}", tuple(sender));
        if let Err(error) = transport.sendto(data, Some(sender)) {
            println!("Error: {error}");
        }
    }
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    // Get a handle of the event loop as we plan to use low-level APIs.
    let handle = get_running_loop()?;

    // One protocol instance will be created to serve all client requests.
    let transport = handle
        .create_datagram_endpoint(|| EchoServerProtocol)
        .local_addr(address.ip(), address.port())
        .await?;
    if let Some(address) = transport.get_extra_info(SockName) {
        println!("Serving on {}", tuple(&address));
    }

    sleep(Duration::from_secs(3600)).await; // Serve for 1 hour.
    transport.close();
    Ok(())
}

fn main() -> io::Result<()> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9999".to_owned());
    let address = address.parse().map_err(io::Error::other)?;
    run(serve(address))
}
