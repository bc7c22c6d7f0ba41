//! The UDP socket of the endpoint.
//!
//! # Invariants
//!
//! * It has as much room for bursts as the system grants; who runs it is told when that is little.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SOCKET_BUFFER_BYTES;

/// How many times what was asked for the kernel tells, and takes (see socket(7)).
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
    let _ = force(socket);
    let granted = socket.recv_buffer_size().unwrap_or_default() / KERNEL_PART;
    if granted < SOCKET_BUFFER_BYTES {
        tracing::info!(
            granted,
            wanted = SOCKET_BUFFER_BYTES,
            "the system grants the socket few bytes for packets that wait: bursts of thousands of \
             clients lose some, which come again; on Linux the bound is net.core.rmem_max, but \
             not for who has CAP_NET_ADMIN"
        );
    }
}

/// Takes the room, whatever the system's bound is, if we may. Only who has CAP_NET_ADMIN may.
#[cfg(target_os = "linux")]
fn force(socket: &Socket) -> bool {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn force(_socket: &Socket) -> bool {
    false
}

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
        let _ = plain.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let asked = receives(&plain);
        let granted = if force(&plain) { SOCKET_BUFFER_BYTES } else { asked };
        assert_eq!(receives(&Socket::from(bind(any).unwrap())), granted);
    }
}
