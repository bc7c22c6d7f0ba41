//! The connection that the sessions of a client share, and how it is made again.
//!
//! # Invariants
//!
//! * There is no task here: who needs a connection makes it, and others who need it wait.
//! * A connection has a generation. One that failed a session is never given to it again.
//! * Waits between tries grow until a session was opened, not just until a handshake was done.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{AckFrequencyConfig, ConnectionError, Endpoint, TransportConfig, VarInt};
use rustls::client::Resumption;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::client::pace::Backoff;
use crate::client::state::Shared;
use crate::client::{ConnectError, ConnectOptions, TooLong};
use crate::limits::{
    APP_ID_BYTES_MAX, CLIENT_CONNECTION_WINDOW, CLIENT_DATAGRAM_BYTES_MAX, CLIENT_END_TIMEOUT,
    CLIENT_INITIAL_RTT, CLIENT_NAME_BYTES_MAX, CLIENT_SEND_WINDOW, CLIENT_STREAM_WINDOW,
    CLIENT_TICKETS_MAX, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, KEEP_ALIVE, QUIC_ACK_DELAY,
    QUIC_ACK_PACKETS, SESSIONS_PER_CONNECTION_MAX,
};
use crate::reason::Reason;
use crate::wire;

/// A connection that stands, or is believed to: one that was made again with a ticket may be used
/// before the server has answered.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) connection: quinn::Connection,
    pub(super) generation: u64,
    routes: Routes,
}

/// The sessions of a connection by the ids of their streams.
type Routes = Arc<Mutex<Vec<(u64, Weak<Shared>)>>>;

impl Live {
    /// Whether anybody has answered on it.
    pub(super) fn is_answered(&self) -> bool {
        self.connection.handshake_data().is_some()
    }

    /// Lets the datagrams of a stream reach its session, until the route is dropped.
    pub(super) fn route(&self, stream: u64, session: &Arc<Shared>) -> Route {
        self.routes.lock().push((stream, Arc::downgrade(session)));
        Route { live: self.clone(), stream }
    }

    /// Hands out datagrams, to whichever session they are for, until the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// No datagram is lost if the future is dropped.
    pub(super) async fn hand_out_datagrams(&self) {
        while let Ok(mut datagram) = self.connection.read_datagram().await {
            let Ok(stream) = wire::datagram_stream(&mut datagram) else { continue };
            let session = {
                let routes = self.routes.lock();
                routes.iter().find(|route| route.0 == stream).and_then(|route| route.1.upgrade())
            };
            if let Some(session) = session {
                session.take_datagram(datagram);
            }
        }
    }
}

/// The way of datagrams to one session.
#[derive(Debug)]
pub(super) struct Route {
    live: Live,
    stream: u64,
}

impl Route {
    /// Sends a frame as a datagram if it fits one.
    pub(super) fn send(&self, frame: &[u8]) -> bool {
        let mut datagram = BytesMut::with_capacity(frame.len() + 8);
        wire::put_datagram_stream(&mut datagram, self.stream);
        datagram.extend_from_slice(frame);
        let fits =
            self.live.connection.max_datagram_size().is_some_and(|max| datagram.len() <= max);
        fits && self.live.connection.send_datagram(datagram.freeze()).is_ok()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.live.routes.lock().retain(|(stream, _)| *stream != self.stream);
    }
}

/// The way to one server.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) options: ConnectOptions,
    server_name: String,
    config: quinn::ClientConfig,
    socket: Arc<Mutex<Option<Endpoint>>>,
    live: Mutex<Option<Live>>,
    /// Held by the one who makes the connection: whether one was tried before.
    making: tokio::sync::Mutex<bool>,
    backoff: Mutex<Backoff>,
    /// Where a session was open last. The next try may speak to it before anybody has answered;
    /// if that fails, the one after it looks first who answers, and at which address.
    good: Mutex<Option<SocketAddr>>,
    /// Cuts the wait for the next try short.
    hurry: Notify,
    closed: CancellationToken,
    /// One permit for each session.
    pub(super) sessions: Arc<Semaphore>,
}

impl Link {
    pub(super) fn new(options: ConnectOptions) -> Result<Self, ConnectError> {
        let bad_address = || ConnectError::BadAddress(options.server.clone());
        let (host, port) = options.server.rsplit_once(':').ok_or_else(bad_address)?;
        port.parse::<u16>().map_err(|_| bad_address())?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let server_name = options.server_name.clone().unwrap_or_else(|| host.to_owned());
        if rustls::pki_types::ServerName::try_from(server_name.as_str()).is_err() {
            return Err(ConnectError::BadAddress(server_name));
        }
        TooLong::check("client's name", options.client.len(), CLIENT_NAME_BYTES_MAX)?;
        TooLong::check("app id", options.app.len(), APP_ID_BYTES_MAX)?;
        let config = client_config(&options)?;
        Ok(Self::with(options, server_name, config, Arc::default()))
    }

    fn with(
        options: ConnectOptions,
        server_name: String,
        config: quinn::ClientConfig,
        socket: Arc<Mutex<Option<Endpoint>>>,
    ) -> Self {
        Self {
            options,
            server_name,
            config,
            socket,
            live: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            backoff: Mutex::new(Backoff::new()),
            good: Mutex::default(),
            hurry: Notify::new(),
            closed: CancellationToken::new(),
            sessions: Arc::new(Semaphore::new(SESSIONS_PER_CONNECTION_MAX as usize)),
        }
    }

    /// A link of its own to the same server over the same socket.
    pub(super) fn beside(&self) -> Self {
        let (options, name) = (self.options.clone(), self.server_name.clone());
        Self::with(options, name, self.config.clone(), Arc::clone(&self.socket))
    }

    /// The connection, made if there is none that is newer than generation `bad`. One try.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the try.
    pub(super) async fn connected(&self, bad: Option<u64>) -> Result<Live, ConnectError> {
        let made = self.closed.run_until_cancelled(self.make(bad)).await;
        made.unwrap_or(Err(ConnectError::Closed))
    }

    async fn make(&self, bad: Option<u64>) -> Result<Live, ConnectError> {
        if let Some(live) = self.usable(bad) {
            return Ok(live);
        }
        let mut tried = self.making.lock().await;
        if let Some(live) = self.usable(bad) {
            return Ok(live);
        }
        if std::mem::replace(&mut *tried, true) {
            let wait = self.backoff.lock().next_wait();
            // Time to go on, or a reason to hurry; it does not matter which.
            let _ = tokio::time::timeout(wait, self.hurry.notified()).await;
        }
        let connection = self.dial().await?;
        let mut live = self.live.lock();
        let generation = live.as_ref().map_or(0, |live| live.generation) + 1;
        Ok(live.insert(Live { connection, generation, routes: Arc::default() }).clone())
    }

    fn usable(&self, bad: Option<u64>) -> Option<Live> {
        let live = self.live.lock();
        let newer = |live: &&Live| bad.is_none_or(|bad| live.generation > bad);
        live.as_ref().filter(newer).filter(|live| live.connection.close_reason().is_none()).cloned()
    }

    async fn dial(&self) -> Result<quinn::Connection, ConnectError> {
        let server = &self.options.server;
        let resolve = |source| ConnectError::Resolve { host: server.clone(), source };
        let found = tokio::time::timeout(HANDSHAKE_TIMEOUT, tokio::net::lookup_host(server)).await;
        let addresses: Vec<SocketAddr> =
            found.unwrap_or_else(|late| Err(late.into())).map_err(resolve)?.collect();
        let mut failure = resolve(io::ErrorKind::NotFound.into());
        let good = self.good.lock().take().filter(|good| addresses.contains(good));
        let others = addresses.into_iter().filter(|address| Some(*address) != good);
        for address in good.into_iter().chain(others) {
            let dial = self.dial_address(address, Some(address) == good);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, dial).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = ConnectError::Unreachable(ConnectionError::TimedOut),
            }
        }
        Err(failure)
    }

    /// Connects to an address; if it may be `early` and there is a ticket, the connection is
    /// returned before anybody has answered.
    async fn dial_address(
        &self,
        address: SocketAddr,
        early: bool,
    ) -> Result<quinn::Connection, ConnectError> {
        let endpoint = self.endpoint(address)?;
        let connecting =
            match endpoint.connect_with(self.config.clone(), address, &self.server_name) {
                Ok(connecting) => connecting,
                Err(quinn::ConnectError::EndpointStopping) => {
                    // The socket has failed; the next try gets a new one.
                    *self.socket.lock() = None;
                    return Err(ConnectError::Socket(io::ErrorKind::BrokenPipe.into()));
                }
                Err(_) => return Err(ConnectError::BadAddress(address.to_string())),
            };
        if !early {
            return connecting.await.map_err(connect_error);
        }
        match connecting.into_0rtt() {
            // Streams that the server does not take say so themselves.
            Ok((connection, _accepted)) => Ok(connection),
            Err(connecting) => connecting.await.map_err(connect_error),
        }
    }

    /// The endpoint, on a socket that reaches `address`.
    fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, ConnectError> {
        let mut socket = self.socket.lock();
        if let Some(endpoint) = &*socket {
            let local = endpoint.local_addr().map_err(ConnectError::Socket)?;
            if address.is_ipv6() && local.is_ipv4() {
                let fresh = UdpSocket::bind(any_address(true)).map_err(ConnectError::Socket)?;
                endpoint.rebind(fresh).map_err(ConnectError::Socket)?;
            }
            return Ok(endpoint.clone());
        }
        // An IPv6 socket of quinn's speaks IPv4 too.
        let endpoint =
            Endpoint::client(any_address(address.is_ipv6())).map_err(ConnectError::Socket)?;
        Ok(socket.insert(endpoint).clone())
    }

    pub(super) fn rebind(&self) -> Result<(), ConnectError> {
        if let Some(endpoint) = &*self.socket.lock() {
            let local = endpoint.local_addr().map_err(ConnectError::Socket)?;
            let fresh =
                UdpSocket::bind(any_address(local.is_ipv6())).map_err(ConnectError::Socket)?;
            endpoint.rebind(fresh).map_err(ConnectError::Socket)?;
        }
        self.hurry.notify_waiters();
        Ok(())
    }

    pub(super) fn local_addr(&self) -> Result<SocketAddr, ConnectError> {
        match &*self.socket.lock() {
            Some(endpoint) => endpoint.local_addr().map_err(ConnectError::Socket),
            None => Err(ConnectError::Socket(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.usable(None).map(|live| live.connection.rtt())
    }

    /// A session was opened: the next loss begins with a short wait again.
    pub(super) fn proved(&self, live: &Live) {
        self.backoff.lock().reset();
        let address = live.connection.remote_address();
        *self.good.lock() = Some((address.ip().to_canonical(), address.port()).into());
    }

    /// Gives a connection up that does not answer.
    pub(super) fn abandon(&self, live: &Live) {
        live.connection.close(reason_code(Reason::Normal), b"no answer");
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    pub(super) async fn close(&self) {
        self.closed.cancel();
        let Some(live) = self.live.lock().take() else { return };
        live.connection.close(reason_code(Reason::Normal), b"");
        let endpoint = match Arc::strong_count(&self.socket) {
            1 => self.socket.lock().clone(),
            // Others use the socket: it will not be idle.
            _ => None,
        };
        if let Some(endpoint) = endpoint {
            // A server that is gone need not be told.
            let _ = tokio::time::timeout(CLIENT_END_TIMEOUT, endpoint.wait_idle()).await;
        }
    }
}

fn any_address(ipv6: bool) -> SocketAddr {
    if ipv6 { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
}

fn reason_code(reason: Reason) -> VarInt {
    VarInt::from_u32(reason as u32)
}

fn connect_error(error: ConnectionError) -> ConnectError {
    // TLS alerts about certificates (RFC 8446, section 6.2), as QUIC carries them.
    let untrusted = match &error {
        ConnectionError::TransportError(error) => {
            matches!(u64::from(error.code), 0x12a..=0x131 | 0x133)
        }
        _ => false,
    };
    if untrusted { ConnectError::Untrusted(error) } else { ConnectError::Unreachable(error) }
}

fn client_config(options: &ConnectOptions) -> Result<quinn::ClientConfig, ConnectError> {
    let mut tls = options.trust.tls_config()?;
    tls.enable_early_data = options.early_data;
    tls.resumption = Resumption::in_memory_sessions(CLIENT_TICKETS_MAX);
    let tls = QuicClientConfig::try_from(tls)
        .map_err(|error| ConnectError::BadTrust(error.to_string()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport_config()));
    Ok(config)
}

fn transport_config() -> TransportConfig {
    let mut ack_frequency = AckFrequencyConfig::default();
    ack_frequency
        .ack_eliciting_threshold(VarInt::from_u32(QUIC_ACK_PACKETS))
        .max_ack_delay(Some(QUIC_ACK_DELAY));
    let idle_ms = VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(CLIENT_STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CLIENT_CONNECTION_WINDOW))
        .send_window(CLIENT_SEND_WINDOW)
        .max_idle_timeout(Some(idle_ms.into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(CLIENT_INITIAL_RTT)
        .ack_frequency_config(Some(ack_frequency))
        .datagram_receive_buffer_size(Some(CLIENT_DATAGRAM_BYTES_MAX))
        .datagram_send_buffer_size(CLIENT_DATAGRAM_BYTES_MAX);
    transport
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Fingerprint, Trust};

    fn link(server: &str) -> Result<Link, ConnectError> {
        let trust = Trust::Fingerprint(Fingerprint::of(b"any"));
        Link::new(ConnectOptions::new(server).trust(trust))
    }

    #[test]
    fn the_name_to_verify_is_the_host() {
        for (server, name) in
            [("a.example:1", "a.example"), ("127.0.0.1:7400", "127.0.0.1"), ("[::1]:7400", "::1")]
        {
            assert_eq!(link(server).unwrap().server_name, name);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for server in ["", "host", "host:", "host:port", "host:70000", ":7400", "a b:1"] {
            assert!(matches!(link(server), Err(ConnectError::BadAddress(_))), "{server}");
        }
    }

    #[test]
    fn a_name_too_long_is_refused() {
        let options = ConnectOptions::new("host:1").client("c".repeat(65));
        let Err(ConnectError::NameTooLong(error)) = Link::new(options) else { panic!("fits") };
        assert_eq!(error, TooLong { what: "client's name", bytes: 65, bytes_max: 64 });
    }
}
