//! Who gets a message, and in which order.

use crate::harness::{PATIENCE, Running, assert_serves, bodies, open_on, peer};
use tidings::id::ConversationId;
use tidings::wire::ServerFrame;

#[tokio::test]
async fn messages_come_in_the_order_of_their_conversation_without_gaps() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    let mut cid = server.open("cid").await;
    for text in ["1", "2", "3"] {
        ann.send(&["bob"], text).await;
        cid.send(&["bob"], text).await;
        bob.send(&["ann"], text).await;
    }
    let heard = bob.hear_messages(6).await;
    assert!(heard.is_sorted_by(|a, b| a.id < b.id), "ids rise strictly");
    let from = |name: &str| {
        let of = heard.iter().filter(|message| message.from.as_str() == name);
        of.map(|message| (message.sequence, message.body.clone())).collect::<Vec<_>>()
    };
    // What goes both ways is one conversation: Bob's own three have every second number.
    assert_eq!(from("ann"), [(1, "1".into()), (3, "2".into()), (5, "3".into())]);
    assert_eq!(from("cid"), [(1, "1".into()), (2, "2".into()), (3, "3".into())]);
    let answers = ann.hear_messages(3).await;
    assert_eq!(answers.iter().map(|m| m.sequence).collect::<Vec<_>>(), [2, 4, 6]);
}

#[tokio::test]
async fn many_sends_at_once_keep_the_order_of_their_sender() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    let mut requests = Vec::new();
    for text in 0..100 {
        let number = ann.take_number();
        ann.say(crate::harness::send(number, &["bob"], text.to_string())).await;
        requests.push(number);
    }
    let mut ids = Vec::new();
    for request in requests {
        ids.push(ann.hear_sent(request).await.id);
    }
    let heard = bob.hear_messages(100).await;
    assert_eq!(heard.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
    assert_eq!(heard.iter().map(|message| message.sequence).collect::<Vec<_>>(), {
        (1..=100).collect::<Vec<_>>()
    });
    let expected: Vec<String> = (0..100).map(|text| text.to_string()).collect();
    assert_eq!(bodies(&heard), expected);
}

#[tokio::test]
async fn every_device_of_every_recipient_gets_a_message_once() {
    let server = Running::start().await;
    let mut devices = Vec::new();
    for (name, device) in [("bob", "phone"), ("bob", "laptop"), ("cid", "phone")] {
        devices.push(server.open_with(open_on(name, device)).await);
    }
    let mut stranger = server.open("dan").await;
    let mut ann = server.open("ann").await;
    let sent = ann.send(&["bob", "cid", "bob"], "hello, both").await;
    for device in &mut devices {
        let message = device.hear_message().await;
        assert_eq!((message.id, message.sequence, message.at_ms), (sent.id, 1, sent.at_ms));
        assert_eq!(message.from, peer("ann"));
        assert_eq!(message.to, [peer("bob"), peer("cid")], "a name said twice counts once");
        let all = [peer("ann"), peer("bob"), peer("cid")];
        assert_eq!(message.conversation, ConversationId::of_peers(&all));
        assert!(!message.waited && !message.transient);
        assert_eq!(device.hear_all().await, []);
    }
    assert_eq!(stranger.hear_all().await, []);
    assert_eq!(ann.hear_all().await, [], "the sender was not among the recipients");
}

#[tokio::test]
async fn a_message_carries_its_number_of_the_app_and_its_wish_for_a_receipt() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    let mut send = crate::harness::send(1, &["bob"], "with all there is");
    (send.receipt, send.client_msg_no, send.ttl_ms) = (true, "order-17".into(), 60_000);
    ann.say(send).await;
    ann.hear_sent(1).await;
    let message = bob.hear_message().await;
    assert!(message.receipt);
    assert_eq!(message.client_msg_no.as_str(), "order-17");
}

#[tokio::test]
async fn several_peers_talk_over_one_connection() {
    let server = Running::start().await;
    let connection = server.connect().await;
    let mut ann = connection.open(open_on("ann", "shared")).await;
    let mut bob = connection.open(open_on("bob", "shared")).await;
    assert!(ann.opened().session < bob.opened().session);
    let sent = ann.send(&["bob"], "from the other stream").await;
    assert_eq!(bob.hear_message().await.id, sent.id);
    bob.leave().await;
    // One that leaves takes nobody with it.
    let mut bob = connection.open(open_on("bob", "shared")).await;
    assert_eq!(bob.hear_message().await.id, sent.id, "it was not acknowledged");
    ann.send(&["bob"], "again").await;
    assert_eq!(bob.hear_message().await.body, "again");
    assert_eq!(server.connections(), 1);
    assert_eq!(server.sessions(), 2);
}

#[tokio::test]
async fn a_peer_can_write_to_itself() {
    let server = Running::start().await;
    let mut phone = server.open_with(open_on("ann", "phone")).await;
    let mut laptop = server.open_with(open_on("ann", "laptop")).await;
    let sent = phone.send(&["ann"], "a note").await;
    assert_eq!(phone.hear_message().await.id, sent.id);
    assert_eq!(laptop.hear_message().await.id, sent.id);
}

#[tokio::test]
async fn a_body_may_be_empty_and_5120_bytes_long() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    for body in [vec![], vec![0xff; 5120]] {
        ann.send(&["bob"], body.clone()).await;
        assert_eq!(bob.hear_message().await.body, body);
    }
}

/// Twenty recipients, of whom most are away.
#[tokio::test]
async fn a_message_may_have_20_recipients() {
    let server = Running::start().await;
    let names: Vec<String> = (0..20).map(|number| format!("peer-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut online = server.open("peer-3").await;
    let mut ann = server.open("ann").await;
    let sent = ann.send(&names, "all of you").await;
    assert_eq!(online.hear_message().await.id, sent.id);
    let mut later = server.open("peer-19").await;
    assert_eq!(later.hear_message().await.id, sent.id);
}

#[tokio::test]
async fn a_session_hears_nothing_but_what_is_for_it() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    assert_serves(&server).await;
    let heard: Vec<ServerFrame> = bob.hear_all().await;
    assert_eq!(heard, [], "within {PATIENCE:?}");
}

#[tokio::test]
async fn a_message_for_one_device_reaches_that_device_and_no_other() {
    let server = Running::start().await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    let mut ann = server.open("ann").await;
    server.until_caught_up(&mut ann, "ann").await;
    server.push("ann", "bob", &["phone"], "for the phone").await;
    server.push("ann", "bob", &["phone", "laptop"], "for both").await;
    let heard = phone.hear_messages(2).await;
    assert_eq!(bodies(&heard), ["for the phone", "for both"]);
    assert!(heard.iter().all(|message| !message.waited));
    // Its number tells that there is one that it does not get.
    let other = laptop.hear_message().await;
    assert_eq!((other.id, other.sequence), (heard[1].id, 2));
    assert_eq!(laptop.hear_all().await, []);
    let echoes = ann.hear_messages(2).await;
    assert!(echoes.iter().all(|echo| echo.own));
    assert_eq!(bodies(&echoes), bodies(&heard));
}

#[tokio::test]
async fn only_a_device_that_a_message_is_for_tells_that_it_was_delivered() {
    let server = Running::start().await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    let mut ann = server.open("ann").await;
    server.until_caught_up(&mut ann, "ann").await;
    server.push("ann", "bob", &["phone"], "for the phone").await;
    assert!(ann.hear_message().await.own);
    let all = ann.send(&["bob"], "for both").await;
    assert_eq!(laptop.hear_message().await.id, all.id);
    laptop.ack(all.id).await;
    // What the laptop sends is committed behind its acknowledgement.
    laptop.send(&["cid"], "later").await;
    assert_eq!(ann.hear_all().await, []);
    let heard = phone.hear_messages(2).await;
    phone.ack(heard[0].id).await;
    match ann.hear().await {
        ServerFrame::Delivered(delivered) => {
            assert_eq!((delivered.peer, delivered.sequence), (peer("bob"), 1));
        }
        frame => panic!("{frame:?}"),
    }
}
