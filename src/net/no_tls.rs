//! What stands in the place of `tls.rs` without the feature: plaintext, and no options.

use std::io;
use std::rc::Rc;

use crate::contract::{Address, Protocol, Transport};
use crate::event_loop::LoopHandle;
use crate::transports::{AttachedTo, Socket, StreamTransport};

use super::connect::make_transport;
use super::open::Destination;
use super::server_core::ServerCore;

/// What is set of TLS for a connection to be opened.
#[derive(Debug, Default)]
pub(super) struct ClientOptions {}

impl ClientOptions {
    pub(super) fn check(self, _to: &Destination) -> io::Result<ClientSecurity> {
        Ok(ClientSecurity)
    }
}

/// How a connection is to be secured, once there is a socket.
pub(super) struct ClientSecurity;

impl ClientSecurity {
    pub(super) async fn make_transport(
        self,
        handle: &LoopHandle,
        socket: Socket,
        protocol: Box<dyn Protocol>,
    ) -> io::Result<Rc<dyn Transport>> {
        make_transport(handle, socket, protocol).await
    }
}

/// What is set of TLS for a server to be started.
#[derive(Debug, Default)]
pub(super) struct ServerOptions {}

impl ServerOptions {
    pub(super) fn check(self) -> io::Result<ServerSecurity> {
        Ok(ServerSecurity)
    }
}

/// How a server's connections are to be secured.
#[derive(Default)]
pub(super) struct ServerSecurity;

impl ServerSecurity {
    pub(super) fn put_below(
        &self,
        _handle: &LoopHandle,
        protocol: Box<dyn Protocol>,
        _peer: Option<&Address>,
    ) -> io::Result<(Box<dyn Protocol>, Above)> {
        Ok((protocol, Above))
    }
}

/// What is above a raw transport: nothing but its protocol.
pub(super) struct Above;

impl Above {
    pub(super) fn set_raw(&self, _raw: &Rc<StreamTransport>) {}

    pub(super) fn attached_to(&self, server: &Rc<ServerCore>) -> Rc<dyn AttachedTo> {
        server.clone()
    }
}
