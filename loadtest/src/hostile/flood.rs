//! First packets of QUIC, and nothing behind them.
//!
//! # Invariants
//!
//! * Each packet is a good one, of a connection of its own: the server cannot tell it from that of
//!   an honest client. It is made by letting an honest endpoint connect to a socket of ours.
//! * Spoofed addresses are those of this machine, 127.0.0.0/8, and many ports of each.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;

use quinn::Endpoint;
use tokio::time::Interval;

use super::attack::{Over, Told};
use crate::tls::SERVER_NAME;

/// Packets of a round.
const PACKETS: usize = 256;
/// Sockets that they come from; each is of another address.
const SOCKETS: usize = 64;
/// The longest packet that is looked at.
const PACKET_BYTES_MAX: usize = 2_048;

/// Sends first packets at a pace, from one address or from many; counts those that the server
/// answers by asking for a proof of the address.
///
/// # Errors
///
/// When the system gives no socket.
pub(super) async fn first_packets(
    endpoint: &Endpoint,
    server: SocketAddr,
    is_spoofed: bool,
    pace: &mut Interval,
    told: &Told,
) -> Result<(), Over> {
    let trap = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|_| Over)?;
    let at = trap.local_addr().map_err(|_| Over)?;
    let sockets: Vec<UdpSocket> = (0..SOCKETS).map_while(|_| socket(is_spoofed).ok()).collect();
    let mut known = HashSet::new();
    for socket in sockets.iter().cycle().take(PACKETS) {
        let packet = first_packet(endpoint, &trap, at, &mut known).await?;
        socket.send_to(&packet, server).map_err(|_| Over)?;
        told.rounds.fetch_add(1, Ordering::Relaxed);
        pace.tick().await;
        // What comes later than that is heard with the socket's next turn.
        let mut answer = [0; PACKET_BYTES_MAX];
        while let Ok(len) = socket.recv(&mut answer) {
            told.answers.fetch_add(u64::from(is_retry(&answer[..len])), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// A socket on a free port, of an address that nobody else uses if that is wanted.
fn socket(is_spoofed: bool) -> std::io::Result<UdpSocket> {
    let part = || fastrand::u8(1..255);
    let address = match is_spoofed {
        true => Ipv4Addr::new(127, part(), part(), part()),
        false => Ipv4Addr::LOCALHOST,
    };
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The first packet of a connection that goes no further.
async fn first_packet(
    endpoint: &Endpoint,
    trap: &tokio::net::UdpSocket,
    at: SocketAddr,
    known: &mut HashSet<Vec<u8>>,
) -> Result<Vec<u8>, Over> {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let connecting = endpoint.connect(at, SERVER_NAME).map_err(|_| Over)?;
    loop {
        let (len, _) = trap.recv_from(&mut packet).await.map_err(|_| Over)?;
        // What an endpoint says behind its first packet, a goodbye too, has the same id.
        let id = connection_id(&packet[..len]).filter(|_| is_first(&packet[..len]));
        if id.is_some_and(|id| known.insert(id.to_vec())) {
            packet.truncate(len);
            drop(connecting);
            return Ok(packet);
        }
    }
}

/// The id of the connection that a packet with a long header is for (RFC 9000, section 17.2).
fn connection_id(packet: &[u8]) -> Option<&[u8]> {
    packet.get(6..)?.get(..usize::from(packet[5]))
}

/// Whether a packet begins a connection (RFC 9000, section 17.2.2): a long header, type 0, as long
/// as the first one must be.
fn is_first(packet: &[u8]) -> bool {
    packet.len() >= 1_200 && packet[0] & 0xf0 == 0xc0
}

/// Whether a packet asks for a proof of the address (RFC 9000, section 17.2.5).
fn is_retry(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first & 0xf0 == 0xf0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart_by_their_first_byte() {
        let mut packet = vec![0xc3; 1_200];
        assert!(is_first(&packet) && !is_retry(&packet));
        packet[5] = 3;
        assert_eq!(connection_id(&packet), Some([0xc3; 3].as_slice()));
        assert_eq!(connection_id(&packet[..8]), None);
        packet[0] = 0xf0;
        assert!(is_retry(&packet) && !is_first(&packet));
        assert!(!is_first(&[0xc3; 100]) && !is_retry(&[]) && !is_first(&[]));
    }
}
