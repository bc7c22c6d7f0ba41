//! QUIC endpoints for both ends, with the settings of a real client, and of the real server but for
//! its windows.
//!
//! # Invariants
//!
//! * The relay acknowledges packets as the server does, so that what differs between the floor and
//!   the server is not the transport. Its windows are wider than what is ever on the way.
//! * Only the client keeps a connection alive.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use quinn::{AckFrequencyConfig, Endpoint, EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tidings::client::Fingerprint;
use tidings::limits::{
    IDLE_TIMEOUT, KEEP_ALIVE, QUIC_ACK_DELAY, QUIC_ACK_PACKETS, SESSIONS_PER_CONNECTION_MAX,
    SOCKET_BUFFER_BYTES,
};

use crate::tls;

/// Bytes in flight towards one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes in flight towards one connection.
const RECEIVE_WINDOW: u32 = 1024 * 1024;
/// Bytes sent but not acknowledged on one connection.
const SEND_WINDOW: u64 = 1024 * 1024;
/// Bytes of datagrams waiting in one connection, each way.
const DATAGRAM_BUFFER: usize = 64 * 1024;
/// The round trip assumed before one is measured; a lost first packet costs three of them.
const INITIAL_RTT: Duration = Duration::from_millis(100);

fn transport() -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(QUIC_ACK_PACKETS));
    acks.max_ack_delay(Some(QUIC_ACK_DELAY));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(SESSIONS_PER_CONNECTION_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32).into()))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .ack_frequency_config(Some(acks));
    transport
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The same room as the server's has.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    #[cfg(target_os = "linux")]
    let _ = setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER_BYTES);
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A socket on a free port, from which the server at `server` can be reached.
///
/// # Errors
///
/// When the system gives none.
pub(crate) fn client_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    socket(match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    })
}

/// An endpoint for clients of the server at `server`.
///
/// # Errors
///
/// When the system gives no socket.
pub(crate) fn client(server: SocketAddr, fingerprint: Fingerprint) -> Result<Endpoint, String> {
    let mut transport = transport();
    transport.keep_alive_interval(Some(KEEP_ALIVE)).max_concurrent_bidi_streams(0u8.into());
    let mut config = quinn::ClientConfig::new(Arc::new(tls::client(fingerprint)?));
    config.transport_config(Arc::new(transport));
    let mut endpoint = client_socket(server)
        .and_then(|socket| {
            Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        })
        .map_err(|error| format!("cannot open a client socket: {error}"))?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// The relay's endpoint on a free port of the loopback interface.
///
/// # Errors
///
/// When the system gives no socket or no certificate can be made.
pub(crate) fn server() -> Result<(Endpoint, Fingerprint), String> {
    let (tls, fingerprint) = tls::server()?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    let endpoint = socket((Ipv4Addr::LOCALHOST, 0).into())
        .and_then(|socket| {
            let runtime = Arc::new(TokioRuntime);
            Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
        })
        .map_err(|error| format!("cannot open the relay's socket: {error}"))?;
    Ok((endpoint, fingerprint))
}
