//! The UDP socket of the endpoint.
//!
//! # Invariants
//!
//! * It has as much room for bursts as the system grants; who runs it is told when that is little.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SOCKET_BUFFER_BYTES;

/// What the kernel keeps of a buffer for its own use, in parts of it (see socket(7)): it tells, and
/// takes, twice what programs asked for.
const KERNEL_PART: usize = if cfg!(target_os = "linux") { 2 } else { 1 };

/// A socket that listens on `address`, of both kinds of addresses where that is one of IPv6.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    widen(&socket);
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Asks for room. The system grants what it will; less only costs packets under bursts.
fn widen(socket: &Socket) {
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    force(socket);
    let granted = socket.recv_buffer_size().unwrap_or_default() / KERNEL_PART;
    if granted < SOCKET_BUFFER_BYTES {
        tracing::info!(
            granted,
            wanted = SOCKET_BUFFER_BYTES,
            "the system grants the socket few bytes for packets that wait: bursts of thousands of \
             clients lose some, and come again later; on Linux, net.core.rmem_max is the bound"
        );
    }
}

/// Takes the room, whatever the system's bound is. Only who may administer its network can.
#[cfg(target_os = "linux")]
fn force(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES);
}

#[cfg(not(target_os = "linux"))]
fn force(_socket: &Socket) {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn receives(socket: &Socket) -> usize {
        socket.recv_buffer_size().unwrap() / KERNEL_PART
    }

    #[test]
    fn the_socket_has_all_the_room_that_the_system_grants() {
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let plain = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        let usual = receives(&plain);
        plain.set_recv_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        let (asked, bound) = (receives(&plain), receives(&Socket::from(bind(any).unwrap())));
        assert!(usual < SOCKET_BUFFER_BYTES);
        assert!(bound == asked || bound == SOCKET_BUFFER_BYTES, "{usual}, {asked}, {bound}");
    }
}
