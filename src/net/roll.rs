//! The roll: who is connected, in a file, so that a server that was killed can tell its clients.
//!
//! A client that has nothing to say would learn at its next keep-alive that the server has
//! forgotten it. So a connection's address and first connection id are written down when it is
//! confirmed and struck out when it ends, and whom the next start finds there it tells unasked, by
//! the stateless reset of RFC 9000, section 10.3. The client comes back at once.
//!
//! ```text
//! place, 48 bytes:
//! crc32 of the rest u32 | port u16 | address [u8; 16] | length of the id u8 | id [u8; 20] | 0...
//! ```
//!
//! # Invariants
//!
//! * Nothing hangs on it: a place that is torn, lost or out of date costs its client the wait for
//!   its keep-alive. So nothing is ever synced.
//! * A reset ends only the connection whose id it was made from; nobody without the key can make
//!   one.
//! * As many places as connections, and resets at a bounded rate.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use ring::hmac;

use crate::limits::{RESET_INTERVAL, RESETS_AT_ONCE};

/// Bytes of a place.
const PLACE_BYTES: usize = 48;
/// The bytes at the end of a datagram that make it a reset.
const TOKEN_BYTES: usize = 16;
/// Random bytes before them: a reset is to look like any packet.
const PADDING_BYTES: usize = 25;

thread_local! {
    /// The last id made since [`accepted`] began.
    static LAST: Cell<Option<ConnectionId>> = const { Cell::new(None) };
}

/// Accepts a connection by `accept`; says under which id it was: the last that was made, for ids
/// are drawn until one is free. quinn's have 24 random bits, so of 5,000 connections with five ids
/// each some four draw one that is taken.
pub(super) fn accepted<T>(accept: impl FnOnce() -> T) -> (T, Option<ConnectionId>) {
    LAST.set(None);
    let connection = accept();
    (connection, LAST.take())
}

/// quinn's connection ids, whose making [`accepted`] hears of.
pub(super) struct Ids<G>(pub(super) G);

impl<G: ConnectionIdGenerator> ConnectionIdGenerator for Ids<G> {
    fn generate_cid(&mut self) -> ConnectionId {
        let id = self.0.generate_cid();
        LAST.set(Some(id));
        id
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.0.validate(id)
    }

    fn cid_len(&self) -> usize {
        self.0.cid_len()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        self.0.cid_lifetime()
    }
}

/// A client that was connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Client {
    address: SocketAddr,
    id: ConnectionId,
}

impl Client {
    fn encode(self) -> [u8; PLACE_BYTES] {
        let mut place = [0; PLACE_BYTES];
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        place[4..6].copy_from_slice(&self.address.port().to_le_bytes());
        place[6..22].copy_from_slice(&ip.octets());
        place[22] = self.id.len() as u8;
        place[23..23 + self.id.len()].copy_from_slice(&self.id);
        let sum = crc32fast::hash(&place[4..]);
        place[..4].copy_from_slice(&sum.to_le_bytes());
        place
    }

    /// The client of a place; an IPv4 address as `is_v4` of the socket wants it.
    fn decode(place: &[u8], is_v4: bool) -> Option<Self> {
        let sum = u32::from_le_bytes(place.first_chunk().copied()?);
        if place.len() != PLACE_BYTES || sum != crc32fast::hash(&place[4..]) {
            return None;
        }
        let octets: [u8; 16] = place[6..22].try_into().ok()?;
        let ip = IpAddr::from(octets);
        let ip = if is_v4 { ip.to_canonical() } else { ip };
        let port = u16::from_le_bytes([place[4], place[5]]);
        let id = place[23..43].get(..usize::from(place[22]))?;
        Some(Self { address: SocketAddr::new(ip, port), id: ConnectionId::new(id) })
    }

    /// The datagram that says that its connection is over.
    fn reset(&self, key: &hmac::Key) -> [u8; PADDING_BYTES + TOKEN_BYTES] {
        let mut datagram = [0; PADDING_BYTES + TOKEN_BYTES];
        fastrand::fill(&mut datagram[..PADDING_BYTES]);
        // The first bits of a packet after the handshake.
        datagram[0] = 0b0100_0000 | (datagram[0] >> 2);
        let token = hmac::sign(key, &self.id);
        datagram[PADDING_BYTES..].copy_from_slice(&token.as_ref()[..TOKEN_BYTES]);
        datagram
    }
}

/// The roll of the connections there are.
#[derive(Debug)]
pub(super) struct Roll {
    file: File,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    free: Vec<u32>,
    /// How many there are, free ones among them.
    count: u32,
}

impl Roll {
    /// Begins a new roll in the place of the old one, whose clients it returns: at most `max`.
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub(super) fn open(path: &Path, is_v4: bool, max: usize) -> io::Result<(Self, Vec<Client>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        let held = file.metadata()?.len().min((max * PLACE_BYTES) as u64);
        let mut old = vec![0; held as usize];
        file.read_exact_at(&mut old, 0)?;
        file.set_len(0)?;
        let clients = old.chunks(PLACE_BYTES).filter_map(|place| Client::decode(place, is_v4));
        let clients = clients.collect();
        Ok((Self { file, places: Mutex::default() }, clients))
    }

    /// Writes a client down, until what is returned is dropped.
    pub(super) fn add(self: &Arc<Self>, address: SocketAddr, id: ConnectionId) -> Place {
        let number = {
            let mut places = self.places.lock();
            places.free.pop().unwrap_or_else(|| {
                places.count += 1;
                places.count - 1
            })
        };
        self.write(number, &Client { address, id }.encode());
        Place { roll: self.clone(), number }
    }

    fn write(&self, number: u32, place: &[u8; PLACE_BYTES]) {
        let at = u64::from(number) * PLACE_BYTES as u64;
        if let Err(error) = self.file.write_all_at(place, at) {
            tracing::debug!(%error, "the roll of connections cannot be written");
        }
    }
}

/// A connection's place in the roll.
#[derive(Debug)]
pub(super) struct Place {
    roll: Arc<Roll>,
    number: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roll.write(self.number, &[0; PLACE_BYTES]);
        self.roll.places.lock().free.push(self.number);
    }
}

/// Tells the clients of an earlier run that their connections are over. May be cancelled: the rest
/// learns from its keep-alives.
pub(super) async fn tell(clients: Vec<Client>, socket: UdpSocket, key: hmac::Key) {
    if clients.is_empty() {
        return;
    }
    tracing::info!(clients = clients.len(), "telling the clients of the earlier run to come back");
    let mut tick = tokio::time::interval(RESET_INTERVAL);
    // A datagram may be lost: twice. Who has come back knows nothing of the old connection.
    for some in clients.chunks(RESETS_AT_ONCE).chain(clients.chunks(RESETS_AT_ONCE)) {
        tick.tick().await;
        for client in some {
            // One that cannot be told is told when it speaks.
            let _ = socket.send_to(&client.reset(&key), client.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::limits::ALPN;
    use crate::net::tls;

    fn client(number: u8, address: &str) -> Client {
        Client { address: address.parse().unwrap(), id: ConnectionId::new(&[number; 8]) }
    }

    #[test]
    fn a_roll_gives_back_who_was_not_struck_out_and_is_empty_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connections");
        let (roll, nobody) = Roll::open(&path, true, 10).unwrap();
        assert_eq!(nobody, []);
        let (roll, all) = (Arc::new(roll), [1, 2, 3].map(|number| client(number, "10.0.0.1:9")));
        let mut places: Vec<_> =
            all.iter().map(|client| roll.add(client.address, client.id)).collect();
        drop(places.remove(1));
        let late = client(4, "[2001:db8::1]:9");
        places.push(roll.add(late.address, late.id));
        // As a kill leaves them.
        std::mem::forget(places);
        let (_, left) = Roll::open(&path, true, 10).unwrap();
        assert_eq!(left, [all[0], late, all[2]], "a free place is used again");
        assert_eq!(Roll::open(&path, true, 10).unwrap().1, []);
    }

    #[test]
    fn a_damaged_place_costs_only_its_client_and_a_roll_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connections");
        let places: Vec<_> = (1..=4).map(|n| client(n, "10.0.0.1:9").encode()).collect();
        let whole = places.concat();
        for at in 0..PLACE_BYTES {
            let mut bytes = whole.clone();
            bytes[PLACE_BYTES + at] ^= 1;
            std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
            let (_, left) = Roll::open(&path, true, 10).unwrap();
            assert_eq!(left, [client(1, "10.0.0.1:9"), client(3, "10.0.0.1:9")]);
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(Roll::open(&path, true, 3).unwrap().1.len(), 3);
    }

    /// Draws every id twice.
    #[derive(Default)]
    struct Repeating(u64);

    impl ConnectionIdGenerator for Repeating {
        fn generate_cid(&mut self) -> ConnectionId {
            self.0 += 1;
            ConnectionId::new(&(self.0 / 2).to_be_bytes())
        }

        fn cid_len(&self) -> usize {
            size_of::<u64>()
        }

        fn cid_lifetime(&self) -> Option<Duration> {
            None
        }
    }

    /// A client that trusts the certificate made in a folder of keys.
    fn client_endpoint(keys: &Path) -> quinn::Endpoint {
        let mut roots = rustls::RootCertStore::empty();
        let own = CertificateDer::from_pem_file(keys.join(tls::CERTIFICATE_FILE)).unwrap();
        roots.add(own).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
        endpoint
    }

    #[tokio::test]
    async fn clients_are_told_though_the_ids_drawn_first_for_them_were_taken() {
        let keys = tempfile::tempdir().unwrap();
        let identity = tls::load(None, keys.path()).unwrap();
        let mut config = quinn::EndpointConfig::new(Arc::new(identity.reset_key.clone()));
        config.cid_generator(|| Box::new(Ids(Repeating::default())));
        let (crypto, tokens) = (identity.shown.crypto, Arc::new(identity.token_key));
        let serving = Some(quinn::ServerConfig::new(crypto, tokens));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (beside, runtime) = (socket.try_clone().unwrap(), Arc::new(quinn::TokioRuntime));
        let server = quinn::Endpoint::new(config, serving, socket, runtime).unwrap();
        let endpoint = client_endpoint(keys.path());
        let (mut left, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let address = server.local_addr().unwrap();
            let connecting = endpoint.connect(address, "localhost").unwrap();
            let incoming = server.accept().await.unwrap();
            let address = incoming.remote_address();
            let (accepting, id) = accepted(|| incoming.accept().unwrap());
            let both = tokio::try_join!(connecting, accepting).unwrap();
            left.push(Client { address, id: id.unwrap() });
            ends.push(both);
        }
        tell(left, beside, identity.reset_key).await;
        for (client, _server) in ends {
            assert_eq!(client.closed().await, quinn::ConnectionError::Reset);
        }
    }

    #[test]
    fn an_address_is_of_the_kind_that_the_socket_speaks() {
        let four = client(1, "10.0.0.1:9");
        let mapped = client(1, "[::ffff:10.0.0.1]:9");
        for known in [four, mapped] {
            assert_eq!(Client::decode(&known.encode(), true), Some(four));
            assert_eq!(Client::decode(&known.encode(), false), Some(mapped));
        }
    }
}
