//! A server in a folder of its own, and clients that say and hear single frames.
//!
//! # Invariants
//!
//! * Every wait has an end: a test that hangs fails by name.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use tidings::client::{Client, ConnectOptions, Fingerprint, Trust};
use tidings::config::Config;
use tidings::id::{ConversationId, MessageId};
use tidings::limits::{ALPN, FRAME_BYTES_MAX};
use tidings::net::CERTIFICATE_FILE;
use tidings::reason::Reason;
use tidings::server::{DrainOutcome, Server};
use tidings::store::{NewMessage, Origin, Request};
use tidings::wire::{
    Ack, ClientFrame, Decoder, Deliver, Error, Open, Opened, Ping, Sent, ServerFrame,
};

pub(crate) use crate::frames::{encoded, open, open_on, peer, raw_frame, send};

/// How long anything may take that a test waits for, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took too long"),
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, look).await;
}

/// A server on a free port of this machine.
pub(crate) struct Running {
    server: Option<Server>,
    pub(crate) config: Config,
    _folder: TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(set: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().unwrap();
        let mut config = Config::new(folder.path().join("data"), (Ipv4Addr::LOCALHOST, 0).into());
        set(&mut config);
        let mut running = Self { server: None, config, _folder: folder };
        running.start_again().await;
        running
    }

    /// Starts what was drained.
    pub(crate) async fn start_again(&mut self) {
        let server = soon("a start", Server::start(self.config.clone())).await.unwrap();
        // A restart is to be found where it was.
        self.config.net.listen = server.local_addr();
        self.server = Some(server);
    }

    pub(crate) async fn drain(&mut self) -> DrainOutcome {
        let server = self.server.take().unwrap();
        soon("a drain", server.drain()).await
    }

    /// Stops as on a signal, and starts again on the same port.
    pub(crate) async fn restart(&mut self) {
        self.drain().await;
        self.start_again().await;
    }

    /// Stops, loses everything but its keys, and starts again on the same port.
    pub(crate) async fn restart_wiped(&mut self) {
        self.drain().await;
        for entry in std::fs::read_dir(&self.config.store.dir).unwrap() {
            let path = entry.unwrap().path();
            if path == self.config.net.keys_dir {
                continue;
            }
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
        self.start_again().await;
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.config.net.listen
    }

    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.config.net.keys_dir.join(CERTIFICATE_FILE)
    }

    /// Steps the server's time.
    pub(crate) fn step(&self, by: Duration) {
        self.config.store.clock.step_ms(by.as_millis() as i64);
    }

    /// A connection that says frame by frame what a test wants.
    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.address(), &self.certificate_file()).await
    }

    /// A connection and a session of `name` on a device of the same name.
    pub(crate) async fn open(&self, name: &str) -> Session {
        self.open_with(open(name)).await
    }

    pub(crate) async fn open_with(&self, open: Open) -> Session {
        self.connect().await.open(open).await
    }

    /// The client library, connected.
    pub(crate) async fn client(&self) -> Client {
        let fingerprint: Fingerprint = self.server().fingerprint().parse().unwrap();
        library(self.address(), Trust::Fingerprint(fingerprint)).await
    }

    /// Has the back end send a message that asks for a receipt, as one peer, to some devices of
    /// another.
    pub(crate) async fn push(&self, from: &str, to: &str, on: &[&str], body: impl Into<Bytes>) {
        let (from, to) = (peer(from), peer(to));
        let message = NewMessage {
            conversation: ConversationId::of_peers([&from, &to]),
            from,
            origin: Origin::Backend { repeat: None, system: false },
            to: vec![to],
            devices: on.iter().map(|name| name.parse().unwrap()).collect(),
            receipt: true,
            ttl_ms: 0,
            client_msg_no: Bytes::new(),
            body: body.into(),
            push: Bytes::new(),
        };
        let store = self.server().hub().store();
        soon("a push", store.submit(None, Request::Message(message))).await.unwrap();
    }

    /// Waits until a session that was just opened is not behind any more: until then it does
    /// without echoes, which wait in no inbox.
    pub(crate) async fn until_caught_up(&self, session: &mut Session, name: &str) {
        loop {
            self.push("zoe", name, &[], "are you there").await;
            let message = session.hear_message().await;
            session.ack(message.id).await;
            if !message.waited {
                return;
            }
        }
    }

    pub(crate) fn sessions(&self) -> i64 {
        self.server().metrics().sessions.get()
    }

    pub(crate) fn connections(&self) -> i64 {
        self.server().metrics().connections.get()
    }
}

pub(crate) async fn library(address: SocketAddr, trust: Trust) -> Client {
    let options = ConnectOptions::new(address.to_string()).trust(trust);
    soon("a connection", Client::connect(options)).await.unwrap()
}

/// How a raw client speaks QUIC.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) alpn: Vec<u8>,
    /// Bytes that the server may send on a stream ahead of our reading.
    pub(crate) stream_window: u32,
}

impl Default for Manner {
    fn default() -> Self {
        Self { alpn: ALPN.to_vec(), stream_window: 1024 * 1024 }
    }
}

impl Manner {
    /// The settings of such a client. Its tickets are kept with them.
    pub(crate) fn config(self, certificate: &std::path::Path) -> quinn::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![self.alpn];
        tls.enable_early_data = true;
        let mut config =
            quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(VarInt::from_u32(self.stream_window));
        config.transport_config(Arc::new(transport));
        config
    }
}

/// A QUIC connection.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    /// Alive as long as its connection.
    pub(crate) _endpoint: quinn::Endpoint,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr, certificate: &std::path::Path) -> Self {
        Self::try_connect(address, certificate, Manner::default()).await.unwrap()
    }

    pub(crate) async fn try_connect(
        address: SocketAddr,
        certificate: &std::path::Path,
        manner: Manner,
    ) -> Result<Self, ConnectionError> {
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = manner.config(certificate);
        let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
        let connection = soon("a handshake", connecting).await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    /// A stream on which nothing has been said.
    pub(crate) async fn stream(&self) -> Session {
        let (send, recv) = soon("a stream", self.connection.open_bi()).await.unwrap();
        Session {
            raw: self.clone(),
            send,
            recv,
            decoder: Decoder::new(FRAME_BYTES_MAX),
            heard: VecDeque::new(),
            opened: None,
            next_number: 1,
        }
    }

    /// Opens a session.
    pub(crate) async fn open(&self, open: Open) -> Session {
        let mut session = self.stream().await;
        session.say(open).await;
        match session.hear().await {
            ServerFrame::Opened(opened) => {
                session.next_number = opened.next_number;
                session.opened = Some(opened);
                session
            }
            frame => panic!("{frame:?} instead of Opened"),
        }
    }

    /// The code with which the server closes the connection.
    pub(crate) async fn closed(&self) -> u64 {
        match soon("the end of a connection", self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            error => panic!("{error}"),
        }
    }
}

/// How a session has ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum End {
    Finished,
    Reset(u64),
    Lost,
}

/// One stream of a connection.
pub(crate) struct Session {
    pub(crate) raw: Raw,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    decoder: Decoder,
    heard: VecDeque<ServerFrame>,
    opened: Option<Opened>,
    next_number: u64,
}

impl Session {
    pub(crate) fn opened(&self) -> &Opened {
        self.opened.as_ref().unwrap()
    }

    pub(crate) async fn say(&mut self, frame: impl Into<ClientFrame>) {
        self.say_bytes(encoded(frame)).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: Bytes) {
        soon("a write", self.send.write_all(&bytes)).await.unwrap();
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> ServerFrame {
        match soon("a frame", self.next()).await {
            Ok(frame) => frame,
            Err(end) => panic!("{end:?} instead of a frame"),
        }
    }

    /// The next frame, or `None` at the end of the stream.
    ///
    /// # Cancel safety
    ///
    /// No frame is lost if the future is dropped.
    pub(crate) async fn hear_or_end(&mut self) -> Option<ServerFrame> {
        self.next().await.ok()
    }

    /// The end of the stream, and the frames before it.
    pub(crate) async fn hear_end(&mut self) -> (Vec<ServerFrame>, End) {
        let mut frames = Vec::new();
        loop {
            match soon("the end of a session", self.next()).await {
                Ok(frame) => frames.push(frame),
                Err(end) => return (frames, end),
            }
        }
    }

    async fn next(&mut self) -> Result<ServerFrame, End> {
        if let Some(frame) = self.heard.pop_front() {
            return Ok(frame);
        }
        loop {
            if let Some(raw) = self.decoder.next_frame().unwrap() {
                return Ok(ServerFrame::decode(raw).unwrap());
            }
            match self.recv.read_chunk(usize::MAX, true).await {
                Ok(Some(chunk)) => self.decoder.push(chunk.bytes),
                Ok(None) => return Err(End::Finished),
                Err(ReadError::Reset(code)) => return Err(End::Reset(code.into_inner())),
                Err(ReadError::ConnectionLost(_)) => return Err(End::Lost),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends a message and waits for its answer; what else comes stays to be heard.
    pub(crate) async fn send(&mut self, to: &[&str], body: impl Into<Bytes>) -> Sent {
        let number = self.take_number();
        self.say(send(number, to, body)).await;
        self.hear_sent(number).await
    }

    pub(crate) fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// The answer to a send; what else comes stays to be heard.
    pub(crate) async fn hear_sent(&mut self, request: u64) -> Sent {
        let sent = |frame: &ServerFrame| match frame {
            ServerFrame::Sent(sent) if sent.request == request => Some(*sent),
            ServerFrame::Error(error) if error.request == request || error.request == 0 => {
                panic!("{error:?} instead of Sent")
            }
            _ => None,
        };
        self.hear_first(sent).await
    }

    /// The refusal of a request; what else comes stays to be heard.
    pub(crate) async fn hear_refusal(&mut self, request: u64) -> Reason {
        let refusal = |frame: &ServerFrame| match frame {
            ServerFrame::Error(error) if error.request == request => Some(reason(error)),
            _ => None,
        };
        self.hear_first(refusal).await
    }

    async fn hear_first<T>(&mut self, find: impl Fn(&ServerFrame) -> Option<T>) -> T {
        let mut others = VecDeque::new();
        loop {
            let frame = self.hear().await;
            match find(&frame) {
                Some(found) => {
                    others.append(&mut self.heard);
                    self.heard = others;
                    return found;
                }
                None => others.push_back(frame),
            }
        }
    }

    /// The next message.
    pub(crate) async fn hear_message(&mut self) -> Deliver {
        match self.hear().await {
            ServerFrame::Deliver(deliver) => deliver,
            frame => panic!("{frame:?} is no message"),
        }
    }

    /// The next `count` messages, and nothing between them.
    pub(crate) async fn hear_messages(&mut self, count: usize) -> Vec<Deliver> {
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(self.hear_message().await);
        }
        messages
    }

    /// What the server has put to the session by now.
    pub(crate) async fn hear_all(&mut self) -> Vec<ServerFrame> {
        let request = u64::from(u32::MAX);
        self.say(Ping { request }).await;
        let mut frames = Vec::new();
        loop {
            match self.hear().await {
                ServerFrame::Pong(pong) if pong.request == request => return frames,
                frame => frames.push(frame),
            }
        }
    }

    /// Acknowledges, and waits until the server has read that.
    pub(crate) async fn ack(&mut self, id: MessageId) {
        self.say(Ack { id }).await;
        let heard = self.hear_all().await;
        self.heard.extend(heard);
    }

    /// The reason for which the server ends the session: the last frame before the end.
    pub(crate) async fn hear_reason(&mut self) -> Reason {
        let (mut frames, end) = self.hear_end().await;
        assert_eq!(end, End::Finished, "after {frames:?}");
        match frames.pop() {
            Some(ServerFrame::Error(error)) if error.request == 0 => reason(&error),
            frame => panic!("{frame:?} is not about the session"),
        }
    }

    /// Ends our side of the stream, without logging out, and waits for the end of the other.
    pub(crate) async fn leave(mut self) -> Vec<ServerFrame> {
        self.send.finish().unwrap();
        let (frames, end) = self.hear_end().await;
        assert_eq!(end, End::Finished);
        frames
    }
}

pub(crate) fn reason(error: &Error) -> Reason {
    Reason::from_number(error.reason).unwrap()
}

/// Bodies as texts.
pub(crate) fn bodies(messages: &[Deliver]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

/// A conversation still works: the server lives and serves others.
pub(crate) async fn assert_serves(server: &Running) {
    let mut bob = server.open("assert-bob").await;
    let mut ann = server.open("assert-ann").await;
    let sent = ann.send(&["assert-bob"], "still there?").await;
    let heard = bob.hear_message().await;
    assert_eq!((heard.id, heard.from.as_str()), (sent.id, "assert-ann"));
    bob.ack(heard.id).await;
}
