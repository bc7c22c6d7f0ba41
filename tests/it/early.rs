//! What a client says before its handshake is confirmed (0-RTT).

use std::time::Duration;

use quinn::ZeroRttAccepted;
use tokio::net::UdpSocket;

use crate::harness::{Manner, Raw, Running, Session, open, peer, send, soon, until};
use crate::proxy::{Proxy, forgetful};
use tidings::client::{
    Client, ConnectOptions, Event, Fingerprint, Incoming, OpenOptions, Outgoing, Trust,
};
use tidings::id::DeviceId;
use tidings::reason::Reason;
use tidings::wire::{Open, Ping, ServerFrame};

/// A client that comes back with a ticket, over a network of its own.
struct Returning {
    proxy: Proxy,
    config: quinn::ClientConfig,
}

impl Returning {
    /// Opens sessions of `names`, so that the server knows their devices, and leaves with a ticket.
    async fn after(server: &Running, names: &[&str]) -> Self {
        let proxy = Proxy::start(server.address(), Duration::ZERO).await;
        let config = Manner::default().config(&server.certificate_file());
        let returning = Self { proxy, config };
        let (connecting, endpoint) = returning.connecting();
        let connection = soon("a handshake", connecting).await.unwrap();
        let raw = Raw { connection, _endpoint: endpoint };
        let before = server.sessions();
        for name in names {
            raw.open(open(name)).await.hear_all().await;
        }
        raw.connection.close(0_u32.into(), b"");
        until("the end of the sessions", || server.sessions() == before).await;
        returning
    }

    fn connecting(&self) -> (quinn::Connecting, quinn::Endpoint) {
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = self.config.clone();
        (endpoint.connect_with(config, self.proxy.address(), "localhost").unwrap(), endpoint)
    }

    /// A connection on which something can be said before anybody has answered.
    fn early(&self) -> (Raw, ZeroRttAccepted) {
        let (connecting, endpoint) = self.connecting();
        let Ok((connection, accepted)) = connecting.into_0rtt() else { panic!("no ticket") };
        (Raw { connection, _endpoint: endpoint }, accepted)
    }
}

async fn assert_opened(session: &mut Session) {
    let opened = session.hear().await;
    assert!(matches!(opened, ServerFrame::Opened(_)), "{opened:?}");
}

#[tokio::test]
async fn a_send_in_early_data_acts_before_the_handshake_is_confirmed() {
    let server = Running::start().await;
    let client = Returning::after(&server, &["ann"]).await;
    let mut bob = server.open("bob").await;
    client.proxy.hold_answers();
    let (raw, accepted) = client.early();
    let mut ann = raw.stream().await;
    ann.say(open("ann")).await;
    ann.say(send(1, &["bob"], "early")).await;
    let heard = bob.hear_message().await;
    assert_eq!((heard.from.as_str(), &heard.body[..]), ("ann", &b"early"[..]));
    assert_eq!((server.connections(), server.sessions()), (1, 1), "only Bob's");
    client.proxy.let_answers_pass();
    assert!(soon("a handshake", accepted).await);
    let sent = ann.hear_sent(1).await;
    assert_eq!(sent.id, heard.id);
    assert_opened(&mut ann).await;
    until("Ann's session", || server.sessions() == 2).await;
    ann.say(send(1, &["bob"], "early")).await;
    assert_eq!(ann.hear_sent(1).await, sent, "it is the same message");
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn an_open_in_early_data_replaces_nobody_before_the_handshake_is_confirmed() {
    let server = Running::start().await;
    let client = Returning::after(&server, &["ann"]).await;
    let mut bob = server.open("bob").await;
    let mut older = server.open("ann").await;
    client.proxy.hold_answers();
    let (raw, _accepted) = client.early();
    let mut newer = raw.stream().await;
    newer.say(open("ann")).await;
    newer.say(send(1, &["bob"], "early")).await;
    newer.say(Ping { request: 77 }).await;
    newer.say(send(2, &["bob"], "behind a request")).await;
    assert_eq!(bob.hear_message().await.body, "early");
    let heard = older.hear_all().await;
    let is_told = |frame: &ServerFrame| matches!(frame, ServerFrame::Error(_));
    assert!(!heard.iter().any(is_told), "{heard:?}");
    assert_eq!((bob.hear_all().await, server.sessions()), (Vec::new(), 2));
    client.proxy.let_answers_pass();
    assert_eq!(older.hear_reason().await, Reason::Replaced);
    assert_eq!(bob.hear_message().await.body, "behind a request");
    newer.hear_sent(1).await;
    assert_opened(&mut newer).await;
    let heard = newer.hear().await;
    assert!(matches!(heard, ServerFrame::Pong(pong) if pong.request == 77), "{heard:?}");
    newer.hear_sent(2).await;
}

#[tokio::test]
async fn a_send_of_a_device_that_the_log_does_not_know_waits() {
    let server = Running::start().await;
    let client = Returning::after(&server, &["ann"]).await;
    let mut bob = server.open("bob").await;
    client.proxy.hold_answers();
    let (raw, _accepted) = client.early();
    let (mut unknown, mut known) = (raw.stream().await, raw.stream().await);
    unknown.say(Open { device: Some(DeviceId::new("new").unwrap()), ..open("ann") }).await;
    unknown.say(send(1, &["bob"], "late")).await;
    known.say(open("ann")).await;
    known.say(send(1, &["bob"], "early")).await;
    assert_eq!(bob.hear_message().await.body, "early");
    assert_eq!(bob.hear_all().await, []);
    client.proxy.let_answers_pass();
    assert_eq!(bob.hear_message().await.body, "late");
    assert_opened(&mut unknown).await;
    unknown.hear_sent(1).await;
}

#[tokio::test]
async fn a_handshake_that_is_never_confirmed_opens_nothing_and_gives_its_place_back() {
    let server = Running::start_with(|config| config.net.handshakes_max = 1).await;
    let client = Returning::after(&server, &["ann"]).await;
    let mut bob = server.open("bob").await;
    let mut older = server.open("ann").await;
    client.proxy.hold_answers();
    let (raw, _accepted) = client.early();
    let mut newer = raw.stream().await;
    newer.say(open("ann")).await;
    newer.say(send(1, &["bob"], "early")).await;
    assert_eq!(bob.hear_message().await.body, "early");
    // There is no other place for a handshake than the one that this one holds until it is late.
    let mut cid = server.open("cid").await;
    older.say(send(2, &["cid"], "still here")).await;
    older.hear_sent(2).await;
    assert_eq!(cid.hear_message().await.body, "still here");
    assert_eq!((server.connections(), server.sessions()), (3, 3));
}

#[tokio::test]
async fn what_a_blocked_peer_says_in_early_data_is_not_stored() {
    let server = Running::start().await;
    let client = Returning::after(&server, &["ann"]).await;
    let mut bob = server.open("bob").await;
    soon("a block", server.server().hub().block(peer("ann"), true)).await.unwrap();
    client.proxy.hold_answers();
    let (raw, _accepted) = client.early();
    let mut ann = raw.stream().await;
    ann.say(open("ann")).await;
    ann.say(send(1, &["bob"], "early")).await;
    let refused = "tidings_refused_total{reason=\"blocked by the app\"} 1";
    until("a refusal", || server.server().metrics().text().contains(refused)).await;
    client.proxy.let_answers_pass();
    assert_eq!(ann.hear_refusal(1).await, Reason::Blocked);
    assert_eq!(ann.hear_reason().await, Reason::Blocked);
    assert_eq!((bob.hear_all().await, server.sessions()), (Vec::new(), 1));
}

#[tokio::test]
async fn a_ticket_is_taken_once() {
    let server = Running::start().await;
    let client = Returning::after(&server, &["ann"]).await;
    let mut bob = server.open("bob").await;
    client.proxy.record();
    let (raw, accepted) = client.early();
    let mut early = raw.stream().await;
    early.say(open("ann")).await;
    early.say(send(1, &["bob"], "early")).await;
    assert!(soon("a handshake", accepted).await);
    let sent = early.hear_sent(1).await;
    assert_opened(&mut early).await;
    let recorded = client.proxy.recorded();
    raw.connection.close(0_u32.into(), b"");
    until("the end of the session", || server.sessions() == 1).await;
    assert_eq!(bob.hear_message().await.id, sent.id);
    // Somebody has listened, and says the same from another place.
    let mut ann = server.open("ann").await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let answered = async {
        let (mut answer, wait) = ([0; 2048], Duration::from_millis(100));
        loop {
            for datagram in &recorded {
                socket.send_to(datagram, server.address()).await.unwrap();
            }
            // The server answers a first packet only when it holds the old connection no more.
            let answer = tokio::time::timeout(wait, socket.recv(&mut answer)).await;
            if answer.is_ok_and(|received| received.is_ok()) {
                return;
            }
        }
    };
    soon("an answer", answered).await;
    // What is decided after the recording would have been.
    ann.send(&["bob"], "myself").await;
    assert_eq!(server.server().metrics().repeats.get(), 0, "nothing of it was heard");
    assert_eq!(bob.hear_message().await.body, "myself");
    assert_eq!((bob.hear_all().await, server.sessions()), (Vec::new(), 2));
}

/// A client of the library, its session, and what comes to it.
async fn library(server: &Running, proxy: &Proxy) -> (tidings::client::Session, Incoming) {
    let fingerprint: Fingerprint = server.server().fingerprint().parse().unwrap();
    let options = ConnectOptions::new(proxy.address().to_string());
    let connecting = Client::connect(options.trust(Trust::Fingerprint(fingerprint)));
    let client = soon("a connection", connecting).await.unwrap();
    let opening = client.open(OpenOptions::new("ann".parse().unwrap()));
    let (ann, mut incoming) = soon("an opening", opening).await.unwrap();
    assert!(matches!(soon("opened", incoming.next()).await, Some(Event::Opened(_))));
    (ann, incoming)
}

fn to_bob(body: &'static str) -> Outgoing {
    Outgoing::to(peer("bob"), body)
}

#[tokio::test]
async fn a_send_of_the_library_rides_the_first_packets_of_a_new_connection() {
    let server = Running::start().await;
    let proxy = Proxy::start(server.address(), Duration::ZERO).await;
    let (ann, mut incoming) = library(&server, &proxy).await;
    let mut bob = server.open("bob").await;
    soon("a send", ann.send(to_bob("before"))).await.unwrap();
    assert_eq!(bob.hear_message().await.body, "before");
    let reset = forgetful(&server.config.net.keys_dir);
    proxy.lead_to(reset.local_addr().unwrap());
    let sending = soon("a turn", ann.start_send(to_bob("early"))).await.unwrap();
    let paused = soon("a pause", incoming.next()).await;
    assert!(matches!(paused, Some(Event::Paused(_))), "{paused:?}");
    proxy.hold_answers();
    proxy.lead_to(server.address());
    let heard = bob.hear_message().await;
    assert_eq!(heard.body, "early");
    proxy.let_answers_pass();
    assert_eq!(soon("an answer", sending).await.unwrap().id, heard.id);
    let resumed = soon("a resumption", incoming.next()).await;
    assert!(matches!(resumed, Some(Event::Resumed(_))), "{resumed:?}");
    soon("a send", ann.send(to_bob("after"))).await.unwrap();
    assert_eq!(bob.hear_message().await.body, "after");
    assert_eq!(ann.counts().resumes, 1);
}

#[tokio::test]
async fn early_data_that_is_refused_is_sent_again_and_stored_once() {
    let short = Duration::from_millis(100);
    let mut server = Running::start_with(|config| config.net.drain_timeout = short).await;
    let proxy = Proxy::start(server.address(), Duration::ZERO).await;
    let (ann, mut incoming) = library(&server, &proxy).await;
    // Ann does not hear that the server stops, and forgets its tickets, before she sends.
    proxy.hold_answers();
    server.restart().await;
    let sending = soon("a turn", ann.start_send(to_bob("hello"))).await.unwrap();
    proxy.change_addresses();
    proxy.let_answers_pass();
    let paused = soon("a pause", incoming.next()).await;
    assert!(matches!(paused, Some(Event::Paused(_))), "{paused:?}");
    let sent = soon("an answer", sending).await.unwrap();
    assert_eq!(ann.counts().resends, 2, "it was said again early, and once more");
    let mut bob = server.open("bob").await;
    let heard = bob.hear_message().await;
    assert_eq!((heard.id, &heard.body[..]), (sent.id, &b"hello"[..]));
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn an_app_can_do_without_early_data() {
    let mut server = Running::start().await;
    let fingerprint: Fingerprint = server.server().fingerprint().parse().unwrap();
    let options = ConnectOptions::new(server.address().to_string()).early_data(false);
    let connecting = Client::connect(options.trust(Trust::Fingerprint(fingerprint)));
    let client = soon("a connection", connecting).await.unwrap();
    let opening = client.open(OpenOptions::new("ann".parse().unwrap()));
    let (ann, mut incoming) = soon("an opening", opening).await.unwrap();
    assert!(matches!(soon("opened", incoming.next()).await, Some(Event::Opened(_))));
    server.restart().await;
    assert!(matches!(soon("a pause", incoming.next()).await, Some(Event::Paused(_))));
    soon("a send", ann.send(to_bob("hello"))).await.unwrap();
    assert_eq!(ann.counts().resends, 0, "it was said once, to an open session");
}
