//! Addresses that change under a connection.

use std::time::Duration;

use crate::harness::{Running, peer, soon};
use crate::proxy::Proxy;
use tidings::client::{
    Client, ConnectOptions, Event, Fingerprint, Incoming, OpenOptions, Outgoing, Session, Trust,
};
use tidings::limits::SESSIONS_PER_CONNECTION_MAX;
use tidings::wire::ServerFrame;

async fn open(client: &Client, name: &str) -> (Session, Incoming) {
    let opening = client.open(OpenOptions::new(name.parse().unwrap()));
    let (session, mut incoming) = soon("an opening", opening).await.unwrap();
    assert!(matches!(soon("opened", incoming.next()).await, Some(Event::Opened(_))));
    (session, incoming)
}

/// The next event, which is a message.
async fn next_body(incoming: &mut Incoming) -> String {
    match soon("a message", incoming.next()).await {
        Some(Event::Message(message)) => String::from_utf8(message.body.to_vec()).unwrap(),
        event => panic!("{event:?} is no message"),
    }
}

#[tokio::test]
async fn a_changed_address_is_not_an_offline() {
    let server = Running::start().await;
    let proxy = Proxy::start(server.address(), Duration::from_millis(5)).await;
    let fingerprint: Fingerprint = server.server().fingerprint().parse().unwrap();
    let options = ConnectOptions::new(proxy.address().to_string());
    let connecting = Client::connect(options.trust(Trust::Fingerprint(fingerprint)));
    let client = soon("a connection", connecting).await.unwrap();
    let (ann, mut to_ann) = open(&client, "ann").await;
    let mut bob = server.open("bob").await;
    for number in 1..=5 {
        proxy.change_addresses();
        let (there, back) = (format!("there {number}"), format!("back {number}"));
        soon("a send", ann.send(Outgoing::to(peer("bob"), there))).await.unwrap();
        bob.hear_message().await;
        bob.send(&["ann"], back.clone()).await;
        // A pause would be the next event.
        assert_eq!(next_body(&mut to_ann).await, back);
    }
    assert_eq!(ann.counts().resumes, 0);
    assert_eq!((server.connections(), server.sessions()), (2, 2));
    let heard = bob.hear_all().await;
    let is_told = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(_));
    assert!(!heard.iter().any(is_told), "{heard:?}");
}

#[tokio::test]
async fn rebind_migrates_every_session_of_a_client() {
    let server = Running::start().await;
    let client = server.client().await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS_PER_CONNECTION_MAX {
        sessions.push(open(&client, &format!("peer-{number}")).await);
    }
    let mut bob = server.open("bob").await;
    let before = client.local_addr().unwrap();
    client.rebind().unwrap();
    assert_ne!(client.local_addr().unwrap(), before);
    for (session, incoming) in &mut sessions {
        let name = session.peer().to_string();
        soon("a send", session.send(Outgoing::to(peer("bob"), "hi"))).await.unwrap();
        assert_eq!(bob.hear_message().await.from.as_str(), name);
        bob.send(&[&name], name.clone()).await;
        assert_eq!(next_body(incoming).await, name);
        assert_eq!(session.counts().resumes, 0);
    }
    assert_eq!((server.connections(), server.sessions()), (2, 17));
}
