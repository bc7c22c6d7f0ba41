//! What hostile clients do, a round after another.
//!
//! # Invariants
//!
//! * A round that the server breaks off is over; the next one begins, at no more than the pace.
//! * A hostile client knows the protocol, and uses nothing of the client library.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::ValueEnum;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use serde::Serialize;
use tidings::id::{DeviceFlag, MessageId};
use tidings::limits::{PROTOCOL_VERSION, WATCHED_MAX};
use tidings::wire::{Ack, ClientFrame, Open, Ping, Send, Target, Text, Watch};
use tokio::time::{Interval, MissedTickBehavior};

use super::flood;
use crate::link;
use crate::names::Names;
use crate::server::{Access, Server};
use crate::tls::SERVER_NAME;

/// How long a round may take that waits for the server.
const ROUND_MAX: Duration = Duration::from_secs(5);
/// How long a round waits to be turned out that said what is no frame: what looks like the
/// beginning of a long one leaves the server waiting for the rest.
const GARBAGE_MAX: Duration = Duration::from_millis(20);
/// Bytes of what is sent to one who never acknowledges.
const BODY_BYTES: usize = 1_024;

/// A kind of hostile client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Begins handshakes, and never goes on.
    Loris,
    /// First packets from many addresses and ports that nobody proves.
    Spoof,
    /// Opens streams without end, says nothing on them, and resets them.
    Streams,
    /// Gets messages, and never acknowledges one.
    Unacked,
    /// Gets messages, and does not read them.
    Deaf,
    /// Acknowledges what was never sent.
    Future,
    /// Watches 1,000 peers, over and over.
    Watch,
    /// Writes a byte at a time.
    Bytes,
    /// Random bytes as frames, and as datagrams.
    Garbage,
    /// Frames that say they are longer than any may be.
    Lengths,
}

impl Kind {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loris => "slow handshakes",
            Self::Spoof => "spoofed flood",
            Self::Streams => "endless streams",
            Self::Unacked => "never acks",
            Self::Deaf => "never reads",
            Self::Future => "acks the future",
            Self::Watch => "watch flood",
            Self::Bytes => "1-byte writes",
            Self::Garbage => "garbage",
            Self::Lengths => "huge lengths",
        }
    }

    /// What is counted of what it hears.
    pub(super) fn answers(self) -> &'static str {
        match self {
            Self::Loris | Self::Spoof => "told to prove their address",
            _ => "answered or broken off",
        }
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a kind did, and heard.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) rounds: AtomicU64,
    pub(super) answers: AtomicU64,
}

/// A hostile client.
pub(super) struct Attack {
    kind: Kind,
    endpoint: Endpoint,
    server: SocketAddr,
    names: Names,
    pace: Interval,
    told: Arc<Told>,
}

/// A session of one.
struct Opened {
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Attack {
    /// A hostile client that does no more than so many things a second.
    ///
    /// # Errors
    ///
    /// When the system gives no socket.
    pub(super) fn new(
        server: &Server,
        kind: Kind,
        per_second: u32,
        told: Arc<Told>,
    ) -> Result<Self, String> {
        let Access::Quic(fingerprint) = server.access else {
            return Err("a hostile client speaks the server's own protocol".into());
        };
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let endpoint = link::client(server.address, fingerprint)?;
        let address = server.address;
        Ok(Self { kind, endpoint, server: address, names: Names::random(), pace, told })
    }

    /// How long an honest client takes to connect; `None` if it cannot.
    pub(super) async fn connect_once(server: SocketAddr, access: Access) -> Option<Duration> {
        let Access::Quic(fingerprint) = access else { return None };
        // The attack is to be under way.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let endpoint = link::client(server, fingerprint).ok()?;
        let began = Instant::now();
        let connecting = endpoint.connect(server, SERVER_NAME).ok()?;
        let connection = tokio::time::timeout(ROUND_MAX * 3, connecting).await.ok()?.ok()?;
        let took = began.elapsed();
        connection.close(0u8.into(), b"");
        Some(took)
    }

    /// Goes on until it is stopped.
    pub(super) async fn go_on(mut self) {
        loop {
            let round = self.round();
            // What the server does to it is its right.
            let _ = round.await;
            self.pace.tick().await;
        }
    }

    async fn round(&mut self) -> Result<(), Over> {
        match self.kind {
            Kind::Loris => {
                let (endpoint, server, told) = (&self.endpoint, self.server, &self.told);
                flood::first_packets(endpoint, server, false, &mut self.pace, told).await
            }
            Kind::Spoof => {
                let (endpoint, server, told) = (&self.endpoint, self.server, &self.told);
                flood::first_packets(endpoint, server, true, &mut self.pace, told).await
            }
            Kind::Streams => self.open_streams().await,
            Kind::Unacked => self.never_acknowledge(true).await,
            Kind::Deaf => self.never_acknowledge(false).await,
            Kind::Future => self.acknowledge_the_future().await,
            Kind::Watch => self.watch().await,
            Kind::Bytes => self.write_bytes().await,
            Kind::Garbage => self.write(|| random_bytes(200), GARBAGE_MAX).await,
            Kind::Lengths => self.write(|| Bytes::from_static(&[0xff; 8]), ROUND_MAX).await,
        }
    }

    fn did(&self) {
        self.told.rounds.fetch_add(1, Ordering::Relaxed);
    }

    fn heard(&self) {
        self.told.answers.fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(&self) -> Result<Connection, Over> {
        let connecting = self.endpoint.connect(self.server, SERVER_NAME).map_err(|_| Over)?;
        tokio::time::timeout(ROUND_MAX, connecting).await.map_err(|_| Over)?.map_err(|_| Over)
    }

    /// Opens a session of a hostile peer.
    async fn open(&self, peer: u32) -> Result<Opened, Over> {
        let connection = self.connect().await?;
        let (mut send, mut recv) = connection.open_bi().await.map_err(|_| Over)?;
        let open = Open {
            version: PROTOCOL_VERSION,
            app: "".into(),
            device: None,
            peer: self.names.peer(peer),
            flag: DeviceFlag::App,
            instance: fastrand::u64(1..),
            client: "hostile".into(),
            epoch: 0,
            cursor: MessageId::NONE,
            watch: Vec::new(),
            signature: None,
        };
        send.write_chunk(frame(open)).await.map_err(|_| Over)?;
        recv.read_chunk(usize::MAX, true).await.map_err(|_| Over)?.ok_or(Over)?;
        Ok(Opened { connection, send, recv })
    }

    async fn open_streams(&mut self) -> Result<(), Over> {
        let connection = self.connect().await?;
        loop {
            let opened = tokio::time::timeout(ROUND_MAX, connection.open_bi()).await;
            let (mut send, mut recv) = opened.map_err(|_| Over)?.map_err(|_| Over)?;
            send.write_all(&[1]).await.map_err(|_| Over)?;
            let _ = (send.reset(1u8.into()), recv.stop(1u8.into()));
            self.did();
            self.pace.tick().await;
        }
    }

    /// An accomplice sends to it as fast as it may.
    async fn never_acknowledge(&mut self, reads: bool) -> Result<(), Over> {
        let mut victim = self.open(0).await?;
        let mut accomplice = self.open(1).await?;
        for number in 1.. {
            let send = Send {
                request: number,
                transient: false,
                receipt: false,
                number,
                answered: number.saturating_sub(64),
                ttl_ms: 0,
                client_msg_no: Text::default(),
                target: Target::Peers(vec![self.names.peer(0)]),
                body: vec![7; BODY_BYTES].into(),
                push: Text::default(),
            };
            accomplice.send.write_chunk(frame(send)).await.map_err(|_| Over)?;
            if read_some(&mut accomplice.recv).await? {
                self.heard();
            }
            while reads && read_some(&mut victim.recv).await? {}
            self.did();
            self.pace.tick().await;
        }
        victim.send.finish().map_err(|_| Over)
    }

    async fn acknowledge_the_future(&mut self) -> Result<(), Over> {
        let mut session = self.open(0).await?;
        let ack = frame(Ack { id: MessageId(i64::MAX) });
        session.send.write_chunk(ack).await.map_err(|_| Over)?;
        self.did();
        self.read_to_end(&mut session.recv, ROUND_MAX).await
    }

    async fn watch(&mut self) -> Result<(), Over> {
        let mut session = self.open(0).await?;
        for request in 1.. {
            // Other peers each time, so that the old ones have to go.
            let first = fastrand::u32(..1_000_000);
            let peers = first..first + WATCHED_MAX as u32;
            let peers = peers.map(|index| self.names.peer(index)).collect();
            let watch = frame(Watch { request, peers, signature: None });
            session.send.write_chunk(watch).await.map_err(|_| Over)?;
            let read = session.recv.read_chunk(usize::MAX, true);
            let read = tokio::time::timeout(ROUND_MAX, read).await.map_err(|_| Over)?;
            read.map_err(|_| Over)?.ok_or(Over)?;
            self.did();
            self.heard();
            self.pace.tick().await;
        }
        Ok(())
    }

    async fn write_bytes(&mut self) -> Result<(), Over> {
        let mut session = self.open(0).await?;
        for request in 1.. {
            for byte in frame(Ping { request }) {
                session.send.write_all(&[byte]).await.map_err(|_| Over)?;
                self.did();
                // Each byte goes in a packet of its own.
                self.pace.tick().await;
            }
            let read = session.recv.read_chunk(usize::MAX, true);
            let read = tokio::time::timeout(ROUND_MAX, read).await.map_err(|_| Over)?;
            read.map_err(|_| Over)?.ok_or(Over)?;
            self.heard();
        }
        Ok(())
    }

    /// Writes bytes that are no frame, on a stream and as datagrams, and waits so long to be turned
    /// out.
    async fn write(&mut self, bytes: impl Fn() -> Bytes, wait: Duration) -> Result<(), Over> {
        let mut session = self.open(0).await?;
        session.send.write_all(&bytes()).await.map_err(|_| Over)?;
        // The server may be told of a datagram that is none of its protocol.
        let _ = session.connection.send_datagram(bytes());
        let strange = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
        let strange = strange.map_err(|_| Over)?;
        let _ = strange.send_to(&bytes(), self.server);
        self.did();
        self.read_to_end(&mut session.recv, wait).await
    }

    async fn read_to_end(&self, recv: &mut RecvStream, max: Duration) -> Result<(), Over> {
        let ended = async { while let Ok(Some(_)) = recv.read_chunk(usize::MAX, true).await {} };
        tokio::time::timeout(max, ended).await.map_err(|_| Over)?;
        self.heard();
        Ok(())
    }
}

/// Reads what has come; `false` if nothing has.
async fn read_some(recv: &mut RecvStream) -> Result<bool, Over> {
    let read = recv.read_chunk(usize::MAX, true);
    match tokio::time::timeout(Duration::ZERO, read).await {
        Ok(Ok(Some(_))) => Ok(true),
        Ok(_) => Err(Over),
        Err(_) => Ok(false),
    }
}

/// A round is over.
#[derive(Debug)]
pub(super) struct Over;

fn frame(frame: impl Into<ClientFrame>) -> Bytes {
    let mut bytes = BytesMut::new();
    frame.into().encode(&mut bytes);
    bytes.freeze()
}

fn random_bytes(count: usize) -> Bytes {
    std::iter::repeat_with(|| fastrand::u8(..)).take(count).collect()
}
