//! How much a client may have on the way on one connection: less while too much is offered.
//!
//! What is on its way and not handled yet waits longest when clients offer more than the server
//! carries, and a disk that stalls delays all of it. So while the commit queue is full, a
//! connection of one stream gets so much less that the queue stays full all the same.
//!
//! quinn grants anew whenever an eighth of a window has been read, which would be every third
//! message here, with a packet of its own, and one more that acknowledges it. So the window of a
//! stream is wide, that of the connection is what counts, and it is half of what the client may
//! have: quinn grants nothing for the other half as it is read ([`Credit::took`]), and all of it
//! at once when that is so.
//!
//! # Invariants
//!
//! * A stream that is not read never keeps a second one out for long: a connection that has had
//!   two has room for all, and one whose reader is held up has more than one stream takes.
//! * A commit frees much of its queue at once, so a few looks at an empty queue widen nothing.

use parking_lot::Mutex;
use quinn::{Connection, VarInt};
use tokio::time::Instant;

use crate::hub::Crowd;
use crate::limits::CALM_AFTER;
use crate::net::STREAMS_MAX;

/// Bytes on the way on one stream, of those that a connection may have.
pub(super) const STREAM_BYTES: u32 = 32 * 1024;
/// Bytes on the way for a connection of one stream: some 27 messages of 256 bytes. Over a round
/// trip of 50 ms it lets 500 such messages a second through. quinn takes what a connection is
/// narrowed by as it is read, without granting it anew, so there is not more than needed.
pub(super) const FIRST_BYTES: u32 = 8 * 1024;
/// The same while the commit queue is full: some 13 messages of 256 bytes. Of 200 sessions that
/// offer all they can it is 30 ms of work at 90,000 messages a second, where [`FIRST_BYTES`] of
/// each are 60 ms; with half of it datagrams are so short that a tenth less is carried. Over a
/// round trip of 50 ms it lets 260 such messages a second through.
const NARROW_BYTES: u32 = 4 * 1024;
/// The same while what has come on the first stream is not read: room for a second one.
const HELD_BYTES: u32 = STREAM_BYTES + FIRST_BYTES;
/// Bytes on the way for all streams that a connection may have.
const MANY_BYTES: u32 = STREAMS_MAX * STREAM_BYTES;
/// Looks at a queue that is less than half full, one after another, that widen a connection. A
/// session looks whenever it has read something, some 300 bytes at a time: meanwhile it has been
/// granted nothing for all that it was narrowed by.
const CALM_LOOKS: u8 = 64;

/// How wide a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Width {
    First,
    Narrow { calm_looks: u8, calm_since: Instant },
    Held,
    Many,
}

impl Width {
    fn after(self, crowd: Crowd, now: Instant) -> Self {
        match (self, crowd) {
            (Self::First | Self::Held, Crowd::Full)
            | (Self::Narrow { .. }, Crowd::Half | Crowd::Full) => {
                Self::Narrow { calm_looks: 0, calm_since: now }
            }
            (Self::Held, Crowd::Little | Crowd::Half) => Self::First,
            (Self::Narrow { calm_looks: 0, .. }, Crowd::Little) => {
                Self::Narrow { calm_looks: 1, calm_since: now }
            }
            (Self::Narrow { calm_looks, calm_since }, Crowd::Little) => {
                if calm_looks + 1 >= CALM_LOOKS || now.duration_since(calm_since) >= CALM_AFTER {
                    return Self::First;
                }
                Self::Narrow { calm_looks: calm_looks + 1, calm_since }
            }
            (same, _) => same,
        }
    }

    /// Whether a stream that is not read may keep a second one out.
    fn is_tight(self) -> bool {
        matches!(self, Self::First | Self::Narrow { .. })
    }

    /// Bytes that the client may have on the way.
    fn bytes(self) -> u32 {
        match self {
            Self::First => FIRST_BYTES,
            Self::Narrow { .. } => NARROW_BYTES,
            Self::Held => HELD_BYTES,
            Self::Many => MANY_BYTES,
        }
    }

    /// Bytes that are granted all at once.
    fn step(self) -> u32 {
        if self.is_tight() { self.bytes() / 2 } else { 0 }
    }
}

/// What a client may have on the way on one connection.
#[derive(Debug)]
pub(super) struct Credit {
    connection: Connection,
    grant: Mutex<Grant>,
}

#[derive(Debug)]
struct Grant {
    width: Width,
    /// Bytes to be read before quinn grants any for them.
    owed: u32,
}

impl Credit {
    /// The credit of a new connection, whose window is [`FIRST_BYTES`].
    pub(super) fn new(connection: Connection) -> Self {
        let width = Width::First;
        connection.set_receive_window(VarInt::from_u32(width.bytes() - width.step()));
        Self { connection, grant: Mutex::new(Grant { width, owed: width.step() }) }
    }

    /// The client has opened a second stream, and may open all.
    pub(super) fn widen(&self) {
        self.turn(|_| Width::Many);
    }

    /// Follows the commit queue. Says whether a stream that is not read may keep a second one out
    /// now.
    pub(super) fn follow(&self, crowd: Crowd) -> bool {
        self.turn(|width| width.after(crowd, Instant::now())).is_tight()
    }

    /// What has come may not be read for long: a second stream must find room.
    pub(super) fn relax(&self) {
        self.turn(|width| if width.is_tight() { Width::Held } else { width });
    }

    /// So many bytes have been read.
    pub(super) fn took(&self, bytes: usize) {
        let mut grant = self.grant.lock();
        let Grant { width, owed } = *grant;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        grant.owed = owed.saturating_sub(bytes);
        if owed > 0 && grant.owed == 0 && width.step() > 0 {
            self.connection.set_receive_window(VarInt::from_u32(width.bytes()));
            self.connection.set_receive_window(VarInt::from_u32(width.bytes() - width.step()));
            grant.owed = width.step();
        }
    }

    fn turn(&self, next: impl FnOnce(Width) -> Width) -> Width {
        let mut grant = self.grant.lock();
        let before = grant.width;
        let width = next(before);
        grant.width = width;
        let [had, has] = [before, width].map(|width| width.bytes() - width.step());
        if had != has {
            // What it is narrowed by, quinn does not grant anew.
            grant.owed += had.saturating_sub(has);
            self.connection.set_receive_window(VarInt::from_u32(has));
        }
        width
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use quinn::{Endpoint, RecvStream, SendStream};

    use super::*;
    use crate::net::STREAMS_FIRST;

    /// Both sides of a stream over real sockets, and what keeps them alive.
    struct Pair {
        client: Connection,
        server: Connection,
        _endpoints: [Endpoint; 2],
    }

    async fn pair() -> Pair {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = signed.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
        let mut config =
            quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).unwrap();
        config.transport_config(Arc::new(crate::net::transport()));
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let (at_server, at_client) =
            (Endpoint::server(config, any).unwrap(), Endpoint::client(any).unwrap());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = quinn::ClientConfig::with_root_certificates(roots.into()).unwrap();
        let address = at_server.local_addr().unwrap();
        let connecting = at_client.connect_with(config, address, "localhost").unwrap();
        let accepting = async { at_server.accept().await.unwrap().await };
        let (client, server) = tokio::join!(connecting, accepting);
        Pair {
            client: client.unwrap(),
            server: server.unwrap(),
            _endpoints: [at_server, at_client],
        }
    }

    /// A stream of a client, and what the server has of it.
    struct Stream {
        client: (SendStream, RecvStream),
        server: (SendStream, RecvStream),
        unread: usize,
    }

    impl Stream {
        /// Opens a stream, which the server knows of by its first byte.
        async fn open(pair: &Pair) -> Self {
            let mut client = pair.client.open_bi().await.unwrap();
            client.0.write_all(&[0]).await.unwrap();
            let server = pair.server.accept_bi().await.unwrap();
            Self { client, server, unread: 1 }
        }

        /// Writes all that the server has granted so far, and says how much of it is unread.
        async fn fill(&mut self) -> u32 {
            let mut now = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
            loop {
                tokio::select! {
                    biased;
                    written = self.client.0.write(&[0; 64]) => self.unread += written.unwrap(),
                    () = &mut now => return self.unread as u32,
                }
            }
        }

        /// Writes until so many bytes are unread, which the server grants in time.
        async fn fill_to(&mut self, unread: u32) {
            let more = unread as usize - self.unread;
            let bytes = vec![0; more];
            let written = self.client.0.write_all(&bytes);
            tokio::time::timeout(Duration::from_secs(10), written).await.unwrap().unwrap();
            self.unread += more;
        }

        /// Reads all there is, and waits until the client knows what that grants: grants travel
        /// before what is said behind them.
        async fn drain(&mut self, credit: &Credit) {
            self.server.1.read_exact(&mut vec![0; self.unread]).await.unwrap();
            credit.took(std::mem::take(&mut self.unread));
            self.server.0.write_all(&[0]).await.unwrap();
            self.client.1.read_exact(&mut [0]).await.unwrap();
        }
    }

    /// quinn tells what may be written when it is an eighth more than before.
    fn assert_grants(unread: u32, bytes: u32) {
        assert!((bytes - bytes / 8..=bytes).contains(&unread), "{unread} of {bytes} bytes");
    }

    #[tokio::test]
    async fn half_of_what_a_client_may_have_on_the_way_is_granted_at_once() {
        let pair = pair().await;
        let credit = Credit::new(pair.server.clone());
        let mut stream = Stream::open(&pair).await;
        let granted = || pair.server.stats().frame_tx.max_data;
        for round in 1..=8 {
            for _ in 0..8 {
                stream.client.0.write_all(&[0; FIRST_BYTES as usize / 16]).await.unwrap();
                stream.unread += FIRST_BYTES as usize / 16;
                stream.drain(&credit).await;
            }
            assert_eq!(granted(), round);
        }
        assert_grants(stream.fill().await, FIRST_BYTES);
    }

    #[tokio::test]
    async fn a_client_has_less_on_the_way_from_a_full_queue_until_it_has_been_calm_for_some_time() {
        let pair = pair().await;
        let credit = Credit::new(pair.server.clone());
        let mut stream = Stream::open(&pair).await;
        assert_grants(stream.fill().await, FIRST_BYTES);
        credit.follow(Crowd::Half);
        stream.drain(&credit).await;
        assert_grants(stream.fill().await, FIRST_BYTES);
        credit.follow(Crowd::Full);
        // What it is narrowed by was granted before, and is used up now.
        stream.drain(&credit).await;
        assert_grants(stream.fill().await, NARROW_BYTES);
        credit.follow(Crowd::Full);
        // The calm begins now.
        (1..CALM_LOOKS).for_each(|_| _ = credit.follow(Crowd::Little));
        stream.drain(&credit).await;
        assert_grants(stream.fill().await, NARROW_BYTES);
        credit.follow(Crowd::Little);
        stream.drain(&credit).await;
        assert_grants(stream.fill().await, FIRST_BYTES);
    }

    #[tokio::test]
    async fn a_narrow_client_whose_stream_is_not_read_for_long_can_open_a_second_one() {
        let pair = pair().await;
        let credit = Credit::new(pair.server.clone());
        let mut first = Stream::open(&pair).await;
        credit.follow(Crowd::Full);
        first.fill().await;
        first.drain(&credit).await;
        assert_grants(first.fill().await, NARROW_BYTES);
        credit.relax();
        first.fill_to(STREAM_BYTES).await;
        let mut second = Stream::open(&pair).await;
        credit.widen();
        second.drain(&credit).await;
        assert_grants(second.fill().await, STREAM_BYTES);
    }

    #[tokio::test]
    async fn streams_that_nobody_reads_leave_each_its_room_when_there_is_a_second_one() {
        let pair = pair().await;
        let credit = Credit::new(pair.server.clone());
        let mut streams = Vec::new();
        for number in 1..=STREAMS_FIRST {
            let mut stream = Stream::open(&pair).await;
            if number == 2 {
                credit.widen();
                assert!(!credit.follow(Crowd::Full));
                // The client knows by now that it may send more.
                stream.drain(&credit).await;
            }
            if number == 1 {
                assert_grants(stream.fill().await, FIRST_BYTES);
                assert!(credit.follow(Crowd::Little), "it has all that there is");
                credit.relax();
            }
            // One byte has been read, and is not worth telling.
            stream.fill_to(STREAM_BYTES - 1).await;
            streams.push(stream);
        }
    }

    #[test]
    fn a_busy_look_between_calm_ones_begins_them_anew() {
        let now = Instant::now();
        let mut width = Width::First.after(Crowd::Full, now);
        for crowd in [Crowd::Half, Crowd::Full] {
            for _ in 1..CALM_LOOKS {
                width = width.after(Crowd::Little, now);
            }
            width = width.after(crowd, now);
            assert_eq!(width, Width::Narrow { calm_looks: 0, calm_since: now });
        }
    }

    #[test]
    fn who_says_little_is_wide_again_when_it_has_been_calm_for_a_while() {
        let busy = Instant::now();
        let calm = busy + CALM_AFTER * 2;
        let width = Width::First.after(Crowd::Full, busy).after(Crowd::Little, calm);
        assert_eq!(width, Width::Narrow { calm_looks: 1, calm_since: calm }, "one says nothing");
        assert_ne!(width.after(Crowd::Little, calm + CALM_AFTER / 2), Width::First);
        assert_eq!(width.after(Crowd::Little, calm + CALM_AFTER), Width::First);
    }
}
