//! The client against a scripted server: real QUIC, and every frame chosen by the test.
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
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, SessionId};
use crate::limits::{
    ALPN, CLIENT_ANSWER_TIMEOUT, CLIENT_INCOMING_MAX, CLIENT_SENDS_MAX, FRAME_BYTES_MAX,
};
use crate::reason::Reason;
use crate::wire::{self, ClientFrame, Decoder, ServerFrame, Target};

/// A server that can be killed like a process: it has a thread and a runtime of its own.
pub(super) struct Server {
    process: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
    address: SocketAddr,
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
    fn kill_and_restart(&mut self) {
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

    async fn try_next(&mut self) -> Option<ClientFrame> {
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

tests! {
    async fn an_unanswered_send_survives_the_death_of_the_server() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let first = session.start_send(to_bob("one")).await.unwrap();
        let second = session.start_send(to_bob("two")).await.unwrap();
        let (one, two) = (stream.next_send().await, stream.next_send().await);
        assert_eq!((one.number, two.number), (1, 2));
        stream.answer(&two, 20).await;
        assert_eq!(second.await.unwrap().id, MessageId(20));

        drop(stream);
        server.kill_and_restart();
        let third = session.start_send(to_bob("three")).await.unwrap();
        let (mut stream, open) = server.opened().await;
        assert_eq!(open.device, Some(DeviceId::new("given").unwrap()));
        let again = stream.next_send().await;
        assert_eq!((again.number, again.body.clone()), (1, Bytes::from("one")));
        let three = stream.next_send().await;
        assert_eq!((three.number, three.answered), (3, 1));
        stream.answer(&three, 30).await;
        stream.answer(&again, 10).await;
        assert_eq!(first.await.unwrap().id, MessageId(10));
        assert_eq!(third.await.unwrap().id, MessageId(30));
        resumed(&mut incoming).await;
        let counts = session.counts();
        // The third may have been written to the old server too.
        assert!((1..=2).contains(&counts.resends), "{counts:?}");
        assert_eq!((counts.resumes, counts.repeats), (1, 0));
    }

    async fn the_instance_is_the_same_over_connections() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let ((stream, open), session) = tokio::join!(server.opened(), client.open(ann()));
        let _session = session.unwrap();
        stream.connection.close(0u8.into(), b"");
        let (_stream, again) = server.opened().await;
        assert_eq!(open.instance, again.instance);
    }

    async fn a_server_that_dies_while_opening_is_tried_again() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let opening = tokio::spawn(async move { client.open(ann()).await });
        let (stream, first) = server.stream().await;
        drop(stream);
        server.kill_and_restart();
        let (_stream, open) = server.opened().await;
        assert!(first.device.is_some(), "the server may have opened it, so it is named");
        assert_eq!(open.device, first.device);
        let (session, _incoming) = opening.await.unwrap().unwrap();
        assert_eq!(session.device().as_str(), "given");
    }

    async fn what_the_app_has_is_dropped_when_it_comes_again() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say_all([deliver(11), deliver(12), deliver(13)]).await;
        assert_eq!(message(&mut incoming).await, 11);
        assert_eq!(message(&mut incoming).await, 12);
        assert_eq!(stream.next_ack().await, 11, "12 was handed out, and not had yet");
        assert_eq!(session.cursor(), Cursor { epoch: 7, id: MessageId(11) });

        stream.connection.close(0u8.into(), b"");
        let (mut stream, open) = server.opened().await;
        assert_eq!((open.epoch, open.cursor), (7, MessageId(11)));
        stream.say_all([deliver(12), deliver(13), deliver(14)]).await;
        assert_eq!(message(&mut incoming).await, 13);
        resumed(&mut incoming).await;
        assert_eq!(message(&mut incoming).await, 14);
        assert!(stream.next_ack().await >= 12);
        assert_eq!(session.counts().repeats, 2);
    }

    async fn another_epoch_voids_the_cursor() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(50)).await;
        assert_eq!(message(&mut incoming).await, 50);
        stream.connection.close(0u8.into(), b"");
        let (mut stream, _) = server.stream().await;
        stream.say_all([opened(8, 1).into(), deliver(5)]).await;
        resumed(&mut incoming).await;
        assert_eq!(message(&mut incoming).await, 5);
        session.ack(Cursor { epoch: 7, id: MessageId(50) });
        assert_eq!(session.cursor(), Cursor { epoch: 8, id: MessageId::NONE });
        assert_eq!(session.counts().repeats, 0);
    }

    async fn an_acknowledgement_leaves_with_the_next_frame() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(1)).await;
        assert_eq!(message(&mut incoming).await, 1);
        assert!(incoming.try_next().is_none());
        let _sending = session.start_send(to_bob("reply")).await.unwrap();
        assert_eq!(stream.next_ack().await, 1);
        assert_eq!(stream.next_send().await.body, "reply");
    }

    async fn nothing_is_acknowledged_by_itself_in_manual_mode() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) =
            server.session(ann().manual_ack(true)).await;
        stream.say_all([deliver(1), deliver(2), deliver(3)]).await;
        for id in 1..=3 {
            assert_eq!(message(&mut incoming).await, id);
        }
        session.ack(Cursor { epoch: 7, id: MessageId(2) });
        assert_eq!(stream.next_ack().await, 2);
    }

    async fn a_replaced_session_ends_and_settles_its_sends() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let sending = session.start_send(to_bob("lost?")).await.unwrap();
        stream.next_send().await;
        stream.say(error(Reason::Replaced)).await;
        assert_eq!(sending.await, Err(SendError::MaybeStored));
        match incoming.next().await {
            Some(Event::Ended(refusal)) => assert_eq!(refusal.reason(), Some(Reason::Replaced)),
            event => panic!("{event:?}"),
        }
        assert_eq!(incoming.next().await, None);
        assert_eq!(session.send(to_bob("more")).await, Err(SendError::Ended));
        assert_eq!(session.ping().await, Err(RequestError::Ended));
    }

    async fn a_session_that_was_too_slow_is_opened_again() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        stream.say(error(Reason::TooSlow)).await;
        let _back = server.opened().await;
        resumed(&mut incoming).await;
    }

    async fn a_refused_opening_says_why() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let opening = tokio::spawn(async move { client.open(ann()).await });
        let (mut stream, _) = server.stream().await;
        stream.say(error(Reason::WrongApp)).await;
        match opening.await.unwrap() {
            Err(OpenError::Refused(refusal)) => {
                assert_eq!(refusal.reason(), Some(Reason::WrongApp));
            }
            other => panic!("{other:?}"),
        }
    }

    async fn a_refused_send_says_why_and_others_go_on() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let refused = session.start_send(to_bob("one")).await.unwrap();
        let granted = session.start_send(to_bob("two")).await.unwrap();
        let (one, two) = (stream.next_send().await, stream.next_send().await);
        let full = wire::Error { request: one.request, ..error(Reason::StorageFull) };
        stream.say(full).await;
        stream.answer(&two, 2).await;
        assert!(matches!(refused.await, Err(SendError::Refused(_))));
        assert_eq!(granted.await.unwrap().id, MessageId(2));
    }

    async fn close_logs_out_after_what_was_queued() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(1)).await;
        assert_eq!(message(&mut incoming).await, 1);
        session.ack(Cursor { epoch: 7, id: MessageId(1) });
        let sending = session.start_send(to_bob("last")).await.unwrap();
        let closing = tokio::spawn(async move { session.close().await });
        assert_eq!(stream.next_ack().await, 1);
        let last = stream.next_send().await;
        stream.answer(&last, 2).await;
        let ClientFrame::Close(close) = stream.next().await else { panic!("no Close") };
        stream.say(wire::Closed { request: close.request }).await;
        closing.await.unwrap().unwrap();
        sending.await.unwrap();
        assert_eq!(incoming.next().await, None);
        assert!(stream.try_next().await.is_none(), "the stream has ended");
    }

    async fn the_end_of_a_session_flushes_and_does_not_log_out() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(1)).await;
        assert_eq!(message(&mut incoming).await, 1);
        session.ack(Cursor { epoch: 7, id: MessageId(1) });
        let sending = session.start_send(to_bob("last")).await.unwrap();
        let server = async {
            assert_eq!(stream.next_ack().await, 1);
            let last = stream.next_send().await;
            stream.answer(&last, 2).await;
        };
        tokio::join!(server, session.end());
        sending.await.unwrap();
        assert!(stream.try_next().await.is_none());
        assert_eq!(incoming.next().await, None);
    }

    async fn dropping_the_last_handle_ends_the_stream() {
        let mut server = Server::start(0);
        let (mut stream, session, incoming) = server.session(ann()).await;
        drop(session);
        stream.say(deliver(1)).await;
        drop(incoming);
        assert!(stream.try_next().await.is_none());
    }

    async fn a_client_that_is_sent_away_comes_back_over_a_new_connection() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let sending = session.start_send(to_bob("one")).await.unwrap();
        let one = stream.next_send().await;
        let text = wire::Text::default();
        stream.say(wire::GoAway { reason: Reason::Restarting, wait_ms: 50, text }).await;
        stream.answer(&one, 1).await;
        assert_eq!(sending.await.unwrap().id, MessageId(1), "what it has is still finished");
        let (again, _) = server.opened().await;
        assert_ne!(again.connection.stable_id(), stream.connection.stable_id());
        assert_eq!(
            incoming.next().await,
            Some(Event::Paused(Pause::SentAway(Reason::Restarting)))
        );
        assert!(matches!(incoming.next().await, Some(Event::Resumed(_))));
    }

    async fn an_answer_gets_through_when_the_app_takes_no_messages() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let many = 4 * CLIENT_INCOMING_MAX as i64;
        let sending = session.start_send(to_bob("reply")).await.unwrap();
        let reply = stream.next_send().await;
        stream.say_all((1..=many).map(deliver)).await;
        stream.answer(&reply, many + 1).await;
        assert_eq!(sending.await.unwrap().id, MessageId(many + 1));
        for id in 1..=many {
            assert_eq!(message(&mut incoming).await, id);
        }
    }

    async fn logging_out_gets_through_when_the_app_takes_no_messages() {
        let mut server = Server::start(0);
        let (mut stream, session, incoming) = server.session(ann()).await;
        stream.say_all((1..=4 * CLIENT_INCOMING_MAX as i64).map(deliver)).await;
        while incoming.waiting() < CLIENT_INCOMING_MAX {
            tokio::task::yield_now().await;
        }
        let closing = tokio::spawn(async move { session.close().await });
        let ClientFrame::Close(close) = stream.next().await else { panic!("no Close") };
        stream.say(wire::Closed { request: close.request }).await;
        assert_eq!(closing.await.unwrap(), Ok(()));
    }

    async fn a_full_queue_stops_reading_until_the_app_takes_more() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        // More than the client's window and queue hold.
        let total = 20_000;
        let writing = tokio::spawn(async move {
            for first in (1..=total).step_by(1000) {
                stream.say_all((first..first + 1000).map(deliver)).await;
            }
            stream
        });
        for id in 1..=total {
            if id == 1 {
                while incoming.waiting() < CLIENT_INCOMING_MAX {
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(message(&mut incoming).await, id);
            assert!(incoming.waiting() <= CLIENT_INCOMING_MAX);
        }
        writing.await.unwrap();
    }

    async fn transient_messages_ride_datagrams() {
        let mut server = Server::start(0);
        let (stream, session, mut incoming) = server.session(ann()).await;
        session.send_transient(to_bob("typing")).unwrap();
        let mut datagram = stream.connection.read_datagram().await.unwrap();
        assert_eq!(wire::datagram_stream(&mut datagram).unwrap(), 0);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.push(datagram);
        let frame = ClientFrame::decode(decoder.next_frame().unwrap().unwrap()).unwrap();
        let ClientFrame::Send(send) = frame else { panic!("no Send") };
        assert!(send.transient && send.number == 0 && send.request != 0);
        assert_eq!(send.target, Target::Peers(vec![peer("bob")]));

        let mut back = BytesMut::new();
        wire::put_datagram_stream(&mut back, 0);
        deliver(0).encode(&mut back);
        stream.connection.send_datagram(back.freeze()).unwrap();
        assert_eq!(message(&mut incoming).await, 0);
    }

    async fn a_transient_message_too_long_for_a_datagram_takes_the_stream() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        session.send_transient(Outgoing::to(peer("bob"), vec![1; 5000])).unwrap();
        let send = stream.next_send().await;
        assert!(send.transient && send.body.len() == 5000);
    }

    async fn a_connection_survives_a_fresh_socket() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let ((mut stream, _), opened) = tokio::join!(server.opened(), client.open(ann()));
        let (session, _incoming) = opened.unwrap();
        let before = client.local_addr().unwrap();
        client.rebind().unwrap();
        assert_ne!(before, client.local_addr().unwrap());
        let sending = session.start_send(to_bob("from elsewhere")).await.unwrap();
        let send = stream.next_send().await;
        stream.answer(&send, 1).await;
        sending.await.unwrap();
        assert_eq!(session.counts().resumes, 0);
    }

    async fn several_peers_share_a_connection() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let mut sessions = Vec::new();
        for number in 0..16 {
            let options = OpenOptions::new(peer(&format!("peer{number}")));
            let ((stream, open), opened) = tokio::join!(server.opened(), client.open(options));
            assert_eq!(open.peer, peer(&format!("peer{number}")));
            sessions.push((stream, opened.unwrap()));
        }
        let connection = sessions[0].0.connection.stable_id();
        assert!(sessions.iter().all(|(stream, _)| stream.connection.stable_id() == connection));
        assert!(matches!(client.open(ann()).await, Err(OpenError::TooManySessions)));
        sessions.pop();
        let ((_stream, _), opened) = tokio::join!(server.opened(), async {
            loop {
                match client.open(ann()).await {
                    Err(OpenError::TooManySessions) => tokio::task::yield_now().await,
                    opened => return opened,
                }
            }
        });
        opened.unwrap();
    }

    async fn the_sends_under_way_are_bounded_and_the_next_one_waits_its_turn() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let mut under_way = Vec::new();
        for _ in 0..CLIENT_SENDS_MAX {
            under_way.push(session.start_send(to_bob("x")).await.unwrap());
        }
        let mut next = tokio::spawn({
            let session = session.clone();
            async move { session.send(to_bob("y")).await }
        });
        let first = stream.next_send().await;
        for _ in 1..CLIENT_SENDS_MAX {
            assert_eq!(stream.next_send().await.body, "x");
        }
        tokio::select! {
            biased;
            sent = &mut next => panic!("{sent:?} before its turn"),
            // An answer shows that the client has nothing more to say.
            () = async {
                let (pinged, ping) = tokio::join!(session.ping(), stream.answer_ping());
                pinged.unwrap();
                ping
            } => {}
        }
        stream.answer(&first, 1).await;
        let send = stream.next_send().await;
        assert_eq!((send.body.as_ref(), send.answered), (&b"y"[..], 2));
        stream.answer(&send, 2).await;
        assert_eq!(next.await.unwrap().unwrap().id, MessageId(2));
    }

    async fn a_server_that_lost_the_connection_is_noticed_while_an_answer_is_due() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let sending = session.start_send(to_bob("one")).await.unwrap();
        stream.next_send().await;
        let asked = tokio::time::Instant::now();
        drop(stream);
        server.kill_and_restart();
        let (mut stream, _) = server.opened().await;
        assert!(asked.elapsed() < CLIENT_ANSWER_TIMEOUT / 2, "{:?}", asked.elapsed());
        let one = stream.next_send().await;
        stream.answer(&one, 1).await;
        sending.await.unwrap();
    }

    async fn connections_share_a_socket_and_end_apart() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let beside = client.connect_beside().await.unwrap();
        assert_eq!(client.local_addr().unwrap(), beside.local_addr().unwrap());
        let ((one, _), opened) = tokio::join!(server.opened(), client.open(ann()));
        let (_session, mut incoming) = opened.unwrap();
        let ((two, _), opened) = tokio::join!(server.opened(), beside.open(ann()));
        let (session, _incoming) = opened.unwrap();
        assert_ne!(one.connection.stable_id(), two.connection.stable_id());
        client.close().await;
        assert!(matches!(incoming.next().await, Some(Event::Opened(_))));
        assert_eq!(incoming.next().await, None);
        let mut two = two;
        let (ping, ()) = tokio::join!(session.ping(), two.answer_ping());
        ping.unwrap();
    }

    async fn another_certificate_is_not_trusted() {
        let server = Server::start(0);
        let trust = Trust::Fingerprint(Fingerprint::of(b"another"));
        let options = ConnectOptions::new(server.address.to_string()).trust(trust);
        let error = Client::connect(options).await.unwrap_err();
        assert!(matches!(error, ConnectError::Untrusted(_)), "{error:?}");
        assert!(!error.is_retryable());
    }

    async fn a_certificate_is_trusted_by_its_issuer_only_for_its_name() {
        let server = Server::start(0);
        for (name, trusted) in [("localhost", true), ("elsewhere", false)] {
            let options = ConnectOptions::new(server.address.to_string())
                .server_name(name)
                .trust(Trust::CertificateAuthority(CERTIFICATE.into()));
            assert_eq!(Client::connect(options).await.is_ok(), trusted, "{name}");
        }
    }

    async fn a_ping_is_answered_and_fails_while_paused() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let (ping, ()) = tokio::join!(session.ping(), stream.answer_ping());
        ping.unwrap();
        stream.connection.close(0u8.into(), b"");
        assert!(matches!(incoming.next().await, Some(Event::Paused(_))));
        assert_eq!(session.ping().await, Err(RequestError::Paused));
        assert_eq!(session.send_transient(to_bob("typing")), Err(SendError::Paused));
        let _back = server.opened().await;
        assert!(matches!(incoming.next().await, Some(Event::Resumed(_))));
    }

    async fn what_cannot_be_sent_is_refused_here() {
        let mut server = Server::start(0);
        let (_stream, session, _incoming) = server.session(ann()).await;
        let nobody = session.send(Outgoing::to(vec![], "x")).await;
        assert_eq!(nobody, Err(SendError::NoRecipient));
        let many: Vec<PeerId> = (0..21).map(|number| peer(&format!("p{number}"))).collect();
        let many = session.send(Outgoing::to(many, "x")).await;
        assert_eq!(many, Err(SendError::TooManyRecipients { count: 21, count_max: 20 }));
        let long = session.send(Outgoing::to(peer("bob"), vec![0; 5121])).await;
        assert!(matches!(long, Err(SendError::TooLong { what: "body", bytes: 5121, .. })));
        let number = session.send(to_bob("x").client_msg_no("n".repeat(65))).await;
        assert!(matches!(number, Err(SendError::TooLong { what: "client_msg_no", .. })));
    }
}

fn certificate() -> CertificateDer<'static> {
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
const CERTIFICATE: &str = "\
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
