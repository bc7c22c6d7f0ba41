//! What the tests of the client share: a scripted server with real QUIC, whose every frame is
//! chosen by the test.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId, SessionId};
use crate::limits::{ALPN, FRAME_BYTES_MAX};
use crate::reason::Reason;
use crate::wire::{self, ClientFrame, Decoder, ServerFrame};

pub(super) const GROUP: GroupId = GroupId([7; 12]);
pub(super) const CHAT: ConversationId = ConversationId::Peers([3; 16]);

/// A server that can be killed like a process: it has a thread and a runtime of its own.
pub(super) struct Server {
    process: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
    pub(super) address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
}

/// The server's side of a session.
pub(super) struct Stream {
    pub(super) connection: quinn::Connection,
    send: SendStream,
    recv: RecvStream,
    decoder: Decoder,
}

impl Server {
    pub(super) fn start(port: u16) -> Self {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let address = socket.local_addr().unwrap();
        let (tx, streams) = mpsc::channel(16);
        let (kill, killed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(async {
                tokio::spawn(accept(socket, tx));
                killed.await
            });
        });
        Self { process: Some((kill, thread)), address, streams }
    }

    /// Stops as if the process were killed, and starts again on the same port.
    pub(super) fn kill_and_restart(&mut self) {
        let port = self.address.port();
        self.kill();
        *self = Self::start(port);
    }

    fn kill(&mut self) {
        if let Some((kill, thread)) = self.process.take() {
            let _ = kill.send(());
            thread.join().unwrap();
        }
    }

    /// The next stream and its Open.
    pub(super) async fn stream(&mut self) -> (Stream, wire::Open) {
        let mut stream = self.streams.recv().await.unwrap();
        match stream.next().await {
            ClientFrame::Open(open) => (stream, open),
            frame => panic!("{frame:?} is no Open"),
        }
    }

    /// The next stream, opened, and its Open.
    pub(super) async fn opened(&mut self) -> (Stream, wire::Open) {
        let (mut stream, open) = self.stream().await;
        stream.say(opened(7, 1)).await;
        (stream, open)
    }

    pub(super) async fn client(&self) -> Client {
        let trust = Trust::Fingerprint(Fingerprint::of(&certificate()));
        let options = ConnectOptions::new(self.address.to_string()).trust(trust);
        Client::connect(options).await.unwrap()
    }

    /// A session with what it heard first taken, and the server's side of it.
    pub(super) async fn session(&mut self, options: OpenOptions) -> (Stream, Session, Incoming) {
        let client = self.client().await;
        let ((stream, _), opened) = tokio::join!(self.opened(), client.open(options));
        let (session, mut incoming) = opened.unwrap();
        assert!(matches!(incoming.next().await, Some(Event::Opened(_))));
        (stream, session, incoming)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(socket: std::net::UdpSocket, tx: mpsc::Sender<Stream>) {
    // The same keys in each run, so that a new one resets connections of the old one.
    let key = Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 64]));
    let runtime = Arc::new(TokioRuntime);
    let mut config = EndpointConfig::new(key);
    config.cid_generator(|| Box::new(HashedConnectionIdGenerator::from_key(7)));
    let endpoint = Endpoint::new(config, Some(server_config()), socket, runtime).unwrap();
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(serve(incoming, tx.clone()));
    }
}

async fn serve(incoming: quinn::Incoming, tx: mpsc::Sender<Stream>) {
    let Ok(connection) = incoming.await else { return };
    while let Ok((send, recv)) = connection.accept_bi().await {
        let decoder = Decoder::new(FRAME_BYTES_MAX);
        let stream = Stream { connection: connection.clone(), send, recv, decoder };
        if tx.send(stream).await.is_err() {
            return;
        }
    }
}

impl Stream {
    pub(super) async fn next(&mut self) -> ClientFrame {
        self.try_next().await.expect("the client has not ended the stream")
    }

    pub(super) async fn try_next(&mut self) -> Option<ClientFrame> {
        loop {
            if let Some(raw) = self.decoder.next_frame().unwrap() {
                return Some(ClientFrame::decode(raw).unwrap());
            }
            let chunk = self.recv.read_chunk(usize::MAX, true).await.ok()??;
            self.decoder.push(chunk.bytes);
        }
    }

    pub(super) async fn next_send(&mut self) -> wire::Send {
        match self.next().await {
            ClientFrame::Send(send) => send,
            frame => panic!("{frame:?} is no Send"),
        }
    }

    pub(super) async fn next_ack(&mut self) -> i64 {
        match self.next().await {
            ClientFrame::Ack(ack) => ack.id.0,
            frame => panic!("{frame:?} is no Ack"),
        }
    }

    pub(super) async fn say(&mut self, frame: impl Into<ServerFrame>) {
        self.say_all([frame.into()]).await;
    }

    pub(super) async fn say_all(&mut self, frames: impl IntoIterator<Item = ServerFrame>) {
        let mut out = BytesMut::new();
        frames.into_iter().for_each(|frame| frame.encode(&mut out));
        self.send.write_all(&out).await.unwrap();
    }

    /// Reads nothing any more, for a reason.
    pub(super) fn stop(&mut self, reason: Reason) {
        self.recv.stop(u32::from(reason as u16).into()).unwrap();
    }

    pub(super) async fn answer_ping(&mut self) {
        let ClientFrame::Ping(ping) = self.next().await else { panic!("no Ping") };
        self.say(wire::Pong { request: ping.request, at_ms: 1 }).await;
    }

    pub(super) async fn answer(&mut self, send: &wire::Send, id: i64) {
        let sent = wire::Sent { request: send.request, id: MessageId(id), sequence: 1, at_ms: 5 };
        self.say(sent).await;
    }
}

pub(super) fn opened(epoch: u64, next_number: u64) -> wire::Opened {
    wire::Opened {
        session: SessionId(1),
        epoch,
        device: DeviceId::new("given").unwrap(),
        next_number,
        waiting: 0,
        dropped: 0,
        at_ms: 1,
        online: vec![],
        frame_bytes_max: 66 * 1024,
        body_bytes_max: 5 * 1024,
        recipients_max: 20,
        sends_max: 128,
    }
}

pub(super) fn deliver(id: i64) -> ServerFrame {
    let (ann, bob) = (peer("ann"), peer("bob"));
    wire::Deliver {
        transient: id == 0,
        receipt: false,
        waited: false,
        own: false,
        id: MessageId(id),
        sequence: id as u32,
        at_ms: 1,
        conversation: ConversationId::of_peers([&ann, &bob]),
        from: bob,
        to: vec![ann],
        client_msg_no: wire::Text::default(),
        body: Bytes::from(format!("message {id}")),
    }
    .into()
}

pub(super) fn error(reason: Reason) -> wire::Error {
    wire::Error { request: 0, reason: reason as u16, text: wire::Text::default() }
}

pub(super) fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

pub(super) fn ann() -> OpenOptions {
    OpenOptions::new(peer("ann"))
}

pub(super) fn to_bob(body: &'static str) -> Outgoing {
    Outgoing::to(peer("bob"), body)
}

pub(super) fn peers(ids: &str) -> Vec<PeerId> {
    ids.split_whitespace().map(peer).collect()
}

pub(super) fn refused(request: u64, reason: Reason) -> wire::Error {
    wire::Error { request, ..error(reason) }
}

pub(super) fn opened_with(online: &str) -> wire::Opened {
    wire::Opened { online: peers(online), ..opened(7, 1) }
}

pub(super) fn joined(request: u64, open: bool) -> wire::Joined {
    let (version, rules) = (MessageId(9), Rules::default());
    wire::Joined { request, group: GROUP, open, version, count: 2, rules, metadata: Bytes::new() }
}

pub(super) fn group_event(id: i64, change: GroupChange, by: &str, ids: &str) -> ServerFrame {
    let (by, peers) = (Some(peer(by)), peers(ids));
    let (waited, id) = (false, MessageId(id));
    wire::GroupEvent { waited, id, group: GROUP, change, by, peers, at_ms: 1 }.into()
}

pub(super) fn recalled(id: i64) -> ServerFrame {
    let (message, by) = (MessageId(2), Some(peer("bob")));
    let (waited, id) = (false, MessageId(id));
    wire::Recalled { waited, id, conversation: CHAT, message, sequence: 2, by, at_ms: 1 }.into()
}

/// Loses the connection, and opens the session again.
pub(super) async fn resume(
    server: &mut Server,
    stream: &Stream,
    frame: wire::Opened,
) -> (Stream, wire::Open) {
    stream.connection.close(0u8.into(), b"");
    let (mut stream, open) = server.stream().await;
    stream.say(frame).await;
    (stream, open)
}

/// The id of the next message; any other event is not expected.
pub(super) async fn message(incoming: &mut Incoming) -> i64 {
    match incoming.next().await {
        Some(Event::Message(message)) => message.id.0,
        event => panic!("{event:?} is no message"),
    }
}

pub(super) async fn resumed(incoming: &mut Incoming) {
    assert!(matches!(incoming.next().await, Some(Event::Paused(_))));
    assert!(matches!(incoming.next().await, Some(Event::Resumed(_))));
}

pub(super) fn in_runtime(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(test).expect("the test hangs");
}

macro_rules! tests {
    ($($(#[$meta:meta])* async fn $name:ident() $body:block)*) => {
        $(#[test] $(#[$meta])* fn $name() { in_runtime(async $body); })*
    };
}

/// The next frame, which must be of this kind.
macro_rules! next {
    ($stream:expr, $kind:ident) => {
        match $stream.next().await {
            $crate::wire::ClientFrame::$kind(frame) => frame,
            frame => panic!("{frame:?} is no {}", stringify!($kind)),
        }
    };
}

/// The next event, which must match.
macro_rules! event {
    ($incoming:expr, $pattern:pat => $value:expr) => {
        match $incoming.next().await {
            Some($pattern) => $value,
            event => panic!("{event:?} is no {}", stringify!($pattern)),
        }
    };
}

pub(super) fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()
}

fn server_config() -> quinn::ServerConfig {
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicServerConfig::try_from(tls).unwrap();
    quinn::ServerConfig::with_crypto(Arc::new(tls))
}

// Made for these tests, trusted by nobody; valid from 2020 to 2120.
pub(super) const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBnjCCAUSgAwIBAgIUDgzstBZCRb7HqiLIctfdSlLnlgEwCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMdGlkaW5ncyB0ZXN0MCAXDTI2MTEyMTE5MDAzNFoYDzIxMjYx
MDI4MTkwMDM0WjAXMRUwEwYDVQQDDAx0aWRpbmdzIHRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAATCmf2UFYT/qbdXzM7AgESzbB38hRfiBLJYqnuwxBfe4CxL
r6esSx8UgPUK1UaTSYqEm/DnoTdBhmUtdVmZQXUro2wwajAdBgNVHQ4EFgQUCjCG
KKJUIrkmIEgPVoyWI1do7oYwHwYDVR0jBBgwFoAUCjCGKKJUIrkmIEgPVoyWI1do
7oYwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYI
KoZIzj0EAwIDSAAwRQIgDsCwFnzAsG6pOWY1MsNO0I4NBaRDNZX+oGuj/IWthuMC
IQCYPeqcY02Yvay3AHKAjdbnPRO56P/KrdBHGvvXnRiV/w==
-----END CERTIFICATE-----
";
const KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgf6yBgoQU9mYvu1k9
CKwpcgI4KeavWFJ/gbKao3+swg6hRANCAATCmf2UFYT/qbdXzM7AgESzbB38hRfi
BLJYqnuwxBfe4CxLr6esSx8UgPUK1UaTSYqEm/DnoTdBhmUtdVmZQXUr
-----END PRIVATE KEY-----
";
