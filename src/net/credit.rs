//! How much a client may have on the way on one connection: less while too much is offered.
//!
//! What is on its way and not handled yet waits longest when clients offer more than the server
//! carries, and a disk that stalls delays all of it. So while the commit queue is full, a
//! connection of one stream gets as much less as keeps the queue full all the same.
//!
//! # Invariants
//!
//! * A connection that has had a second stream is never narrowed again: one stream that nobody
//!   reads could take the room of the others.
//! * A commit frees much of its queue at once, so one look at an empty queue widens nothing.

use parking_lot::Mutex;
use quinn::{Connection, VarInt};

use crate::hub::Crowd;
use crate::net::STREAMS_MAX;

/// Bytes on the way on one stream: some 27 messages of 256 bytes. Over a round trip of 50 ms it lets
/// 500 such messages a second through.
pub(super) const STREAM_BYTES: u32 = 8 * 1024;
/// Bytes on the way for a connection of one stream: that stream's, and as much for the second,
/// which may come at any time. To narrow it, quinn takes as many bytes as it is narrowed by
/// without granting new ones, so there is not more than needed.
pub(super) const FIRST_BYTES: u32 = 2 * STREAM_BYTES;
/// The same while the commit queue is full: some 7 messages of 256 bytes. Of 200 sessions that
/// offer all they can it is 15 ms of work, where [`STREAM_BYTES`] of each are 60 ms.
const NARROW_BYTES: u32 = 2 * 1024;
/// Looks at a queue that is less than half full, one after another, until a window is widened: some
/// commits come between.
const CALM_LOOKS: u8 = 32;
/// Bytes on the way for all streams that a connection may have.
const MANY_BYTES: u32 = STREAMS_MAX * STREAM_BYTES;

/// The window of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Window {
    First,
    Narrow { calm_looks: u8 },
    Many,
}

impl Window {
    fn after(self, crowd: Crowd) -> Self {
        match (self, crowd) {
            (Self::First, Crowd::Full) => Self::Narrow { calm_looks: 0 },
            (Self::Narrow { calm_looks: CALM_LOOKS.. }, Crowd::None) => Self::First,
            (Self::Narrow { calm_looks }, Crowd::None) => {
                Self::Narrow { calm_looks: calm_looks + 1 }
            }
            (Self::Narrow { .. }, _) => Self::Narrow { calm_looks: 0 },
            (same, _) => same,
        }
    }

    fn bytes(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::First => FIRST_BYTES,
            Self::Narrow { .. } => NARROW_BYTES,
            Self::Many => MANY_BYTES,
        })
    }
}

/// What a client may have on the way on one connection.
#[derive(Debug)]
pub(super) struct Credit {
    connection: Connection,
    window: Mutex<Window>,
}

impl Credit {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, window: Mutex::new(Window::First) }
    }

    /// The client has opened a second stream, and may open all.
    pub(super) fn widen(&self) {
        self.turn(|_| Window::Many);
    }

    /// Follows the commit queue.
    pub(super) fn follow(&self, crowd: Crowd) {
        self.turn(|window| window.after(crowd));
    }

    fn turn(&self, next: impl FnOnce(Window) -> Window) {
        let mut window = self.window.lock();
        let before = *window;
        *window = next(before);
        if before.bytes() != window.bytes() {
            self.connection.set_receive_window(window.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    /// A connection over real sockets: its client, its server, and their endpoints.
    async fn pair() -> (Connection, Connection, [quinn::Endpoint; 2]) {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = signed.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
        let mut config =
            quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).unwrap();
        config.transport_config(std::sync::Arc::new(crate::net::transport()));
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let server = quinn::Endpoint::server(config, any).unwrap();
        let client = quinn::Endpoint::client(any).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = quinn::ClientConfig::with_root_certificates(roots.into()).unwrap();
        let address = server.local_addr().unwrap();
        let connecting = client.connect_with(config, address, "localhost").unwrap();
        let accepting = async { server.accept().await.unwrap().await };
        let (client_side, server_side) = tokio::join!(connecting, accepting);
        (client_side.unwrap(), server_side.unwrap(), [client, server])
    }

    /// Writes until the server grants no more, and says how much that was.
    async fn fill(stream: &mut quinn::SendStream) -> usize {
        let mut bytes = 0;
        // A grant that is on its way comes within a fraction of this.
        let patience = Duration::from_millis(300);
        while let Ok(written) = tokio::time::timeout(patience, stream.write(&[0; 256])).await {
            bytes += written.unwrap();
        }
        bytes
    }

    /// Reads so many bytes.
    async fn drain(stream: &mut quinn::RecvStream, bytes: usize) {
        stream.read_exact(&mut vec![0; bytes]).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_has_less_on_the_way_from_a_full_queue_until_it_has_been_calm_for_some_time() {
        let (client, server, _endpoints) = pair().await;
        let credit = Credit::new(server.clone());
        let (mut send, _) = client.open_bi().await.unwrap();
        let first = fill(&mut send).await;
        assert_eq!(first, STREAM_BYTES as usize);
        let (_, mut recv) = server.accept_bi().await.unwrap();
        credit.follow(Crowd::Half);
        drain(&mut recv, first).await;
        assert_eq!(fill(&mut send).await, STREAM_BYTES as usize, "half full narrows nothing");
        credit.follow(Crowd::Full);
        drain(&mut recv, STREAM_BYTES as usize).await;
        // What it is narrowed by was granted before, and is used up first.
        let mut granted = fill(&mut send).await;
        while granted > NARROW_BYTES as usize {
            drain(&mut recv, granted).await;
            let next = fill(&mut send).await;
            assert!(next < granted, "{next} bytes after {granted}");
            granted = next;
        }
        assert_eq!(granted, NARROW_BYTES as usize);
        for _ in 0..CALM_LOOKS {
            credit.follow(Crowd::None);
        }
        drain(&mut recv, granted).await;
        assert_eq!(fill(&mut send).await, granted, "it has not been calm for long enough");
        credit.follow(Crowd::None);
        drain(&mut recv, granted).await;
        assert_eq!(fill(&mut send).await, STREAM_BYTES as usize);
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_never_takes_the_room_of_a_second_one() {
        let (client, server, _endpoints) = pair().await;
        let credit = Credit::new(server);
        credit.follow(Crowd::Full);
        credit.widen();
        for crowd in [Crowd::Full, Crowd::None, Crowd::Full] {
            credit.follow(crowd);
        }
        for _ in 0..2 {
            let (mut send, _) = client.open_bi().await.unwrap();
            assert_eq!(fill(&mut send).await, STREAM_BYTES as usize);
        }
    }

    #[test]
    fn a_busy_look_between_calm_ones_begins_them_anew() {
        let mut window = Window::First.after(Crowd::Full);
        for crowd in [Crowd::Half, Crowd::Full] {
            for _ in 0..CALM_LOOKS {
                window = window.after(Crowd::None);
            }
            window = window.after(crowd);
            assert_eq!(window, Window::Narrow { calm_looks: 0 });
        }
    }
}
