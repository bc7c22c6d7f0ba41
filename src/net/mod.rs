//! QUIC: one endpoint, a task for each connection and one for each session.
//!
//! # Invariants
//!
//! * Handshakes, connections and sessions are bounded; what is over a bound costs an attacker more
//!   than the server.
//! * What a client says before its handshake is confirmed may be a recording: only what is harmless
//!   when repeated is acted on.
//! * A session is one task: its reader and its writer run side by side, and a stuck write never
//!   stops reading.

mod admission;
mod connection;
mod handshakes;
mod roll;
mod segments;
mod session;
mod socket;
mod tickets;
mod tls;
mod turns;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use quinn::VarInt;
use quinn_proto::HashedConnectionIdGenerator;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use admission::accept;
use handshakes::Handshakes;
use roll::{Ids, Roll};
pub use tls::{CERTIFICATE_FILE, CertificateFiles, TlsError};

use crate::address::Callers;
use crate::hub::Hub;
use crate::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DRAIN_TIMEOUT, HANDSHAKES_MAX, IDLE_TIMEOUT,
    QUIC_ACK_DELAY, QUIC_ACK_PACKETS, SESSIONS_PER_CONNECTION_MAX, WRITE_TIMEOUT,
};
use crate::metrics::Metrics;
use crate::reason::Reason;

/// Streams of a connection. QUIC tells a client of streams that have become free only when they
/// are more than an eighth of all; so many more there are than sessions.
const STREAMS_MAX: u32 = SESSIONS_PER_CONNECTION_MAX + SESSIONS_PER_CONNECTION_MAX / 8;
/// Streams of a connection that has one session, as nearly all have. quinn keeps a place for each
/// stream that there may be: a kilobyte less than for [`STREAMS_MAX`].
const STREAMS_FIRST: u32 = 4;
/// Bytes on the way from a client on one stream: some 100 messages of 256 bytes, of which a client
/// that keeps to [`SENDS_UNANSWERED`](crate::limits::SENDS_UNANSWERED) has a sixth. A connection
/// has as much for each stream, so that one which is not read takes no other's room. quinn grants
/// anew whenever an eighth has been read, with a packet of its own that another acknowledges: with
/// 8 KiB every third message cost both.
const STREAM_WINDOW_BYTES: u32 = 32 * 1024;
/// Bytes on the way to a client that it has not acknowledged.
const SEND_WINDOW_BYTES: u64 = 512 * 1024;
/// Bytes of datagrams that wait, each way; the oldest go first.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// Handshakes that wait for their turn, each with its first packet.
const INCOMING_MAX: usize = 4096;
/// How long the goodbyes of a session, a connection or the endpoint may take: a client that is gone
/// does not acknowledge them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The file of who is connected, beside the keys without which it is of no use.
const ROLL_FILE: &str = "connections";

/// What can be set about the endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The certificate; `None` makes one for development.
    pub certificate: Option<CertificateFiles>,
    /// Where made keys and certificates are kept.
    pub keys_dir: PathBuf,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once from one network.
    pub connections_per_address_max: usize,
    /// Handshakes at once, half of them of one network; above three in four of both a client must
    /// prove its address first.
    pub handshakes_max: usize,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// How long one write to a client may take before its session is ended.
    pub write_timeout: Duration,
}

impl Options {
    /// The defaults of `limits.rs`.
    pub fn new(listen: SocketAddr, keys_dir: PathBuf) -> Self {
        Self {
            listen,
            certificate: None,
            keys_dir,
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            handshakes_max: HANDSHAKES_MAX,
            drain_timeout: DRAIN_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

/// Why the endpoint cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port cannot be had.
    #[error("cannot listen on {address}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// There is no usable certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of who is connected cannot be had.
    #[error("cannot use {path}")]
    Roll {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// How a drain went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DrainOutcome {
    /// Sessions that were told all they had to be told.
    pub clean: usize,
    /// Sessions that were cut.
    pub forced: usize,
}

/// The endpoint, listening.
pub struct Endpoint {
    endpoint: quinn::Endpoint,
    /// What new connections get, and by whose certificate.
    serving: RwLock<Serving>,
    certificate: Option<CertificateFiles>,
    keys_dir: PathBuf,
    shared: Arc<Shared>,
    drain_timeout: Duration,
}

/// What new connections get.
struct Serving {
    config: quinn::ServerConfig,
    fingerprint: String,
}

/// What the tasks of an endpoint share.
struct Shared {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    connections_max: usize,
    connections_per_address_max: usize,
    write_timeout: Duration,
    handshakes: Arc<Handshakes>,
    callers: Arc<Callers>,
    roll: Arc<Roll>,
    connections: TaskTracker,
    sessions: TaskTracker,
    /// Sessions stop reading, are told the rest, and end.
    quiesce: CancellationToken,
}

impl Endpoint {
    /// Binds the port and begins to accept connections.
    ///
    /// # Errors
    ///
    /// [`BindError`] says which file or address is of no use.
    pub fn start(
        options: &Options,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BindError> {
        let identity = tls::load(options.certificate.as_ref(), &options.keys_dir)?;
        let address = options.listen;
        let failed = |source| BindError::Socket { address, source };
        let udp = socket::bind(address).map_err(failed)?;
        let beside = udp.try_clone().map_err(failed)?;
        let (roll, left) = open_roll(options)?;
        let reset_key = identity.reset_key;
        let mut config = quinn::EndpointConfig::new(Arc::new(reset_key.clone()));
        let key = identity.connection_id_key;
        config.cid_generator(move || Box::new(Ids(HashedConnectionIdGenerator::from_key(key))));
        // A restarted server has to tell thousands of clients at once that it has forgotten them.
        config.min_reset_interval(Duration::from_micros(100));
        let mut server =
            quinn::ServerConfig::new(identity.shown.crypto, Arc::new(identity.token_key));
        server.transport_config(Arc::new(transport()));
        server.max_incoming(INCOMING_MAX);
        server.incoming_buffer_size(64 * 1024).incoming_buffer_size_total(16 * 1024 * 1024);
        let runtime = Arc::new(segments::Sparing);
        let serving = Serving { config: server.clone(), fingerprint: identity.shown.fingerprint };
        let endpoint = quinn::Endpoint::new(config, Some(server), udp, runtime).map_err(failed)?;
        let shared = Arc::new(Shared {
            hub,
            metrics,
            connections_max: options.connections_max,
            connections_per_address_max: options.connections_per_address_max,
            write_timeout: options.write_timeout,
            handshakes: Handshakes::new(options.handshakes_max),
            callers: Arc::default(),
            roll: Arc::new(roll),
            connections: TaskTracker::new(),
            sessions: TaskTracker::new(),
            quiesce: CancellationToken::new(),
        });
        let tell = roll::tell(left, beside, reset_key);
        let (accepting, quiesce) =
            (accept(endpoint.clone(), shared.clone()), shared.quiesce.clone());
        shared.connections.spawn(async move {
            tokio::join!(accepting, quiesce.run_until_cancelled_owned(tell));
        });
        Ok(Self {
            endpoint,
            serving: RwLock::new(serving),
            certificate: options.certificate.clone(),
            keys_dir: options.keys_dir.clone(),
            shared,
            drain_timeout: options.drain_timeout,
        })
    }

    /// Reads the certificate and its key again. What is returned has connections that come from
    /// then on get it; those that there are stay as they are. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file is of no use.
    pub fn read_certificate(&self) -> Result<impl FnOnce(), TlsError> {
        let shown = tls::reload(self.certificate.as_ref(), &self.keys_dir)?;
        Ok(move || {
            let mut serving = self.serving.write();
            serving.config.crypto = shown.crypto;
            serving.fingerprint = shown.fingerprint;
            self.endpoint.set_server_config(Some(serving.config.clone()));
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// That of the system, if it cannot say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Lower-case hexadecimal SHA-256 of the certificate.
    pub fn fingerprint(&self) -> String {
        self.serving.read().fingerprint.clone()
    }

    /// Accepts nothing more, tells every client to come back later, lets their requests be
    /// answered, and cuts what is left when the time is over.
    pub async fn drain(&self) -> DrainOutcome {
        self.shared.hub.go_away();
        let all = self.shared.sessions.len();
        self.shared.quiesce.cancel();
        self.shared.sessions.close();
        let finished = tokio::time::timeout(self.drain_timeout, self.shared.sessions.wait()).await;
        let forced = if finished.is_ok() { 0 } else { self.shared.sessions.len() };
        DrainOutcome { clean: all.saturating_sub(forced), forced }
    }

    /// Closes every connection and waits a little until they know.
    pub async fn close(&self) {
        self.endpoint.close(code(Reason::Restarting), Reason::Restarting.text().as_bytes());
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
        self.shared.connections.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.shared.connections.wait()).await;
    }
}

fn code(reason: Reason) -> VarInt {
    VarInt::from_u32(reason as u16 as u32)
}

fn open_roll(options: &Options) -> Result<(Roll, Vec<roll::Client>), BindError> {
    let path = options.keys_dir.join(ROLL_FILE);
    let opened = Roll::open(&path, options.listen.is_ipv4(), options.connections_max);
    opened.map_err(|source| BindError::Roll { path, source })
}

/// The transport parameters. The sources of the figures are the field's practice for many small
/// connections; those that cost memory for each connection are as small as chat allows.
fn transport() -> quinn::TransportConfig {
    let mut acks = quinn::AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(QUIC_ACK_PACKETS));
    acks.max_ack_delay(Some(QUIC_ACK_DELAY));
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_FIRST))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(STREAMS_MAX * STREAM_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(quinn::IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .initial_rtt(Duration::from_millis(100))
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BYTES);
    transport
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::admission::connect;

    /// Bytes that an asynchronous function takes for as long as it runs, whatever it waits for.
    fn bytes_of<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_tasks_of_a_connection_and_of_its_session_are_small() {
        let (connection, session) = (bytes_of(connect), bytes_of(session::run));
        // What is rare and large is to be boxed while it is under way.
        assert!(connection <= 1024, "{connection} bytes for each connection");
        assert!(session <= 3 * 1024, "{session} bytes for each session");
    }
}
