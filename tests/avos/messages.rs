//! Messages: to whom, how large, for how long, and what their sender is told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tempfile::TempDir;

use tidings::client::{
    Attachment, Body, Content, Event, OpenOptions, Outgoing, SendError, Size, TooLong,
};
use tidings::id::{ConversationId, MessageId};
use tidings::limits::{BODY_BYTES_MAX, RECIPIENTS_MAX};

use crate::harness::{Server, on, peer, peers, soon, text, tidings};

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn a_message_reaches_one_or_several_peers() {
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let mut cat = server.open("cat").await;
    ann.send(Outgoing::to(peer("bob"), "to one")).await.unwrap();
    ann.send(Outgoing::to(peers("cat bob"), "to both")).await.unwrap();
    assert_eq!(bob.text().await, "to one");
    let (to_bob, to_cat) = (bob.message().await, cat.message().await);
    assert_eq!((text(&to_bob), text(&to_cat)), ("to both".into(), "to both".into()));
    assert_eq!((to_bob.id, to_bob.sequence), (to_cat.id, 1), "it is one message of one chat");
    assert_eq!((to_bob.from, to_bob.to), (peer("ann"), peers("bob cat")));
    // Whoever got it may answer all of them without having watched anybody.
    cat.send(Outgoing::to(peers("ann bob"), "to all")).await.unwrap();
    assert_eq!(bob.message().await.conversation, to_bob.conversation);
    let many = |count| (0..count).map(|n| peer(&format!("p{n}"))).collect::<Vec<_>>();
    ann.send(Outgoing::to(many(RECIPIENTS_MAX), "to many")).await.unwrap();
    let too_many = ann.send(Outgoing::to(many(RECIPIENTS_MAX + 1), "too many")).await;
    assert!(matches!(too_many, Err(SendError::TooManyRecipients { .. })), "{too_many:?}");
    assert_eq!(ann.send(Outgoing::to(vec![], "to none")).await, Err(SendError::NoRecipient));
    assert_eq!(cat.news().await, []);
}

#[tokio::test]
async fn text_up_to_5_kb_and_one_byte_over_is_refused() {
    assert_eq!(BODY_BYTES_MAX, 5 * 1024);
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    // What it says is the app's affair: any bytes, none too.
    let any: Vec<u8> = (0..BODY_BYTES_MAX).map(|at| at as u8).collect();
    for body in [any.clone(), Vec::new(), "ü".repeat(2560).into_bytes()] {
        ann.send(Outgoing::to(peer("bob"), body.clone())).await.unwrap();
        assert_eq!(bob.message().await.body, body);
    }
    let over = Bytes::from([&any[..], b"!"].concat());
    let refused = ann.send(Outgoing::to(peer("bob"), over.clone())).await;
    assert!(matches!(refused, Err(SendError::TooLong(TooLong { bytes: 5121, .. }))), "{refused:?}");
    let refused = ann.send_transient(Outgoing::to(peer("bob"), over));
    assert!(matches!(refused, Err(SendError::TooLong(TooLong { bytes: 5121, .. }))), "{refused:?}");
    assert_eq!(bob.news().await, []);
}

#[tokio::test]
async fn transient_messages_reach_who_is_online_and_are_never_kept() {
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("ann").await, server.open_as(on("bob", "phone")).await);
    let cat = server.open_as(on("cat", "phone")).await;
    cat.go().await;
    ann.send_transient(Outgoing::to(peers("bob cat"), "typing")).unwrap();
    let message = bob.message().await;
    assert_eq!((text(&message).as_str(), message.transient), ("typing", true));
    assert_eq!((message.id, message.sequence), (MessageId::NONE, 0), "it has no place anywhere");
    // The longest does not fit a datagram, and comes all the same.
    ann.send_transient(Outgoing::to(peer("bob"), vec![7; BODY_BYTES_MAX])).unwrap();
    assert_eq!(bob.message().await.body.len(), BODY_BYTES_MAX);
    bob.go().await;
    for id in ["bob", "cat"] {
        let mut seat = server.open_as(on(id, "phone")).await;
        assert_eq!((seat.opening.waiting, seat.news().await), (0, vec![]));
        let chat = ConversationId::of_peers(&peers("ann bob cat"));
        assert_eq!(seat.history(chat, None, 10).await.unwrap().messages, []);
    }
}

#[tokio::test]
async fn the_newest_50_of_7_days_wait() {
    let server = Server::start().await;
    let ann = server.open("ann").await;
    for number in 1..=60 {
        ann.send(Outgoing::to(peer("bob"), number.to_string())).await.unwrap();
    }
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opening.waiting, bob.opening.dropped), (50, 10));
    let mut told = 0;
    let mut waited = Vec::new();
    while waited.len() < 50 {
        match bob.next().await {
            Event::Message(message) => waited.push((message.sequence, message.waited)),
            Event::Dropped { count, .. } => told += count,
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(waited, (11..=60).map(|sequence| (sequence, true)).collect::<Vec<_>>());
    assert_eq!(told, 10, "what is not there is told");
    // What the window gave up is in the history.
    let chat = ConversationId::of_peers(&peers("ann bob"));
    assert_eq!(bob.history(chat, None, 100).await.unwrap().messages.len(), 60);
    // That is what the server is set to unless told otherwise.
    let folder = TempDir::new().unwrap();
    let shown = tidings(&folder, &["serve", "--print-config"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in ["window_messages = 50", "window_age = \"7d\""] {
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
}

#[tokio::test]
async fn what_waits_for_longer_than_the_window_is_given_up_and_that_is_told() {
    let server = Server::start_with(&[("window-age", "5s")]).await;
    let ann = server.open("ann").await;
    ann.send(Outgoing::to(peer("bob"), "old")).await.unwrap();
    // It is about time itself.
    tokio::time::sleep(Duration::from_millis(5100)).await;
    ann.send(Outgoing::to(peer("bob"), "new")).await.unwrap();
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opening.waiting, bob.opening.dropped), (1, 1));
    assert!(matches!(bob.next().await, Event::Dropped { count: 1, .. }));
    assert_eq!(bob.text().await, "new");
}

#[tokio::test]
async fn every_message_carries_the_servers_time() {
    let server = Server::start().await;
    let before = now_ms();
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let sent = ann.send(Outgoing::to(peers("bob cat"), "now")).await.unwrap();
    let message = bob.message().await;
    ann.send_transient(Outgoing::to(peer("bob"), "now")).unwrap();
    let transient = bob.message().await;
    let after = now_ms();
    for at_ms in [ann.opening.at_ms, sent.at_ms, transient.at_ms] {
        assert!((before..=after).contains(&at_ms), "{at_ms} is not in {before}..={after}");
    }
    // One message has one time, wherever and whenever it is seen.
    assert_eq!(message.at_ms, sent.at_ms);
    let mut cat = server.open("cat").await;
    assert_eq!(cat.message().await.at_ms, sent.at_ms);
    let page = cat.history(message.conversation, None, 1).await.unwrap();
    assert_eq!(page.messages[0].at_ms, sent.at_ms);
}

#[tokio::test]
async fn a_sent_message_is_confirmed_and_one_that_is_not_fails() {
    let mut server = Server::start().await;
    let options = on("ann", "phone").send_events(true).send_timeout(Duration::from_secs(1));
    let mut ann = server.open_as(options).await;
    let numbered = |number| Outgoing::to(peer("bob"), "hello").client_msg_no(number);
    let sent = ann.send(numbered("n-1")).await.unwrap();
    let event = ann.next().await;
    assert_eq!(event, Event::Sent { client_msg_no: "n-1".into(), sent });
    server.kill();
    let error = ann.send(numbered("n-2")).await.unwrap_err();
    assert_eq!(error, SendError::MaybeStored);
    let is_failed = |event| match event {
        Event::Failed { client_msg_no, error } => Some((client_msg_no, error)),
        _ => None,
    };
    let failed = ann.find("a failure", is_failed).await;
    assert_eq!(failed, ("n-2".into(), SendError::MaybeStored));
    // What was confirmed is there after the crash, and what failed came never.
    server.revive().await;
    let mut bob = server.open("bob").await;
    let message = bob.message().await;
    assert_eq!((message.id, message.client_msg_no), (sent.id, "n-1".into()));
    assert_eq!(bob.news().await, []);
}

#[tokio::test]
async fn media_go_by_url() {
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let file = |name: &str| Attachment {
        filename: Some(name.into()),
        file_length: Some(123_456),
        ..Attachment::at(format!("https://files.example.org/{name}"))
    };
    let size = Some(Size { width: 640, height: 480 });
    let contents = [
        Content::text("look at these"),
        Content::Image { file: file("a.png"), size },
        Content::Audio { file: file("a.amr"), length: Some(7) },
        Content::Video {
            file: file("a.mp4"),
            length: Some(30),
            size,
            thumb: Some("https://files.example.org/a.jpg".into()),
            thumb_secret: None,
        },
        Content::File { file: Attachment { secret: Some("s".into()), ..file("a.pdf") } },
        Content::Location { lat: 52.52, lng: 13.405, addr: Some("Berlin".into()) },
        Content::command("refresh"),
        Content::Custom { event: "app/gift".into(), exts: Default::default() },
    ];
    for content in contents {
        let mut body = Body::from(content);
        body.ext.insert("app's own".into(), 1.into());
        ann.send(Outgoing::to(peer("bob"), body.clone().encode().unwrap())).await.unwrap();
        assert_eq!(Body::parse(&bob.message().await.body).unwrap(), body);
    }
}

#[tokio::test]
async fn a_message_that_is_confirmed_is_there_after_a_kill() {
    let mut server = Server::start().await;
    let ann = server.open("ann").await;
    let mut ids = Vec::new();
    for number in 1..=20 {
        ids.push(ann.send(Outgoing::to(peer("bob"), number.to_string())).await.unwrap().id);
    }
    server.crash().await;
    let mut bob = server.open_as(OpenOptions::new(peer("bob"))).await;
    for (at, id) in ids.into_iter().enumerate() {
        let message = soon("a message", bob.message()).await;
        assert_eq!((message.id, message.sequence), (id, at as u32 + 1));
    }
    assert_eq!(bob.news().await, []);
}
