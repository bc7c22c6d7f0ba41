//! Our own dialect: every kind of event, with what is documented, signed as Standard Webhooks say.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tidings::client::{NewGroup, Outgoing};
use tidings::id::DeviceFlag;

use crate::harness::{Online, Running, SECRET, id, on};
use crate::receiver::{Answer, Receiver, Request};
use crate::standard::{
    Counts, Event, Offline, Push, Recipient, Sent, Status, all, heard, key, octo_verifies, of_kind,
    one, verifies,
};

const OTHER_SECRET: &str = "whsec_ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=";

async fn start(more: Value) -> (Running, Receiver) {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let mut definition = json!({"secret": SECRET, "interval_ms": 10});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.endpoint("back-end", &receiver, definition).await;
    (server, receiver)
}

/// Has a message, and says so.
async fn take(online: &mut Online) -> tidings::client::Message {
    let got = online.message().await;
    online.session.ack(got.cursor());
    got
}

#[tokio::test]
async fn a_message_is_told_when_it_was_sent() {
    let (server, receiver) = start(json!({"events": ["message.sent"]})).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let message = Outgoing::to([id("bob"), id("cat")], "hello").client_msg_no("no-1").receipt();
    let sent = ann.session.send(message.ttl(Duration::from_secs(60))).await.unwrap();
    let got = bob.message().await;
    let event = one(&receiver, "message.sent", |_| true).await;
    assert_eq!(event.at_ms, got.at_ms as i64);
    let told: Sent = event.read();
    assert_eq!((told.message, told.sequence), (sent.id.to_string(), 1));
    assert_eq!((told.conversation, told.group), (got.conversation.to_string(), None));
    assert_eq!((&*told.from, told.backend, told.receipt), ("ann", false, true));
    let device = told.device.expect("a client sends on a device");
    assert_eq!(device, ann.session.device().to_string());
    assert_eq!((told.to, told.devices.len()), (vec!["bob".into(), "cat".into()], 0));
    assert_eq!((told.client_msg_no, told.expires_ms), ("no-1".into(), event.at_ms + 60_000));
    assert_eq!((told.text.as_deref(), told.base64), (Some("hello"), None));

    let message = json!({"to": {"peers": ["bob"]}, "body_base64": "/wA="});
    let id = server.message(message).await;
    let event = one(&receiver, "message.sent", |event| event.data["message"] == id).await;
    let told: Sent = event.read();
    assert_eq!((&*told.from, told.backend, told.device), ("system", true, None));
    assert_eq!((told.text, told.base64.as_deref()), (None, Some("/wA=")));
}

#[tokio::test]
async fn a_message_is_told_as_delivered_read_and_recalled_each_with_its_time() {
    let (server, receiver) = start(json!({})).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let sent = ann.session.send(Outgoing::to(id("bob"), "hello").receipt()).await.unwrap();
    let got = take(&mut bob).await;
    let conversation = got.conversation.to_string();
    let delivered = one(&receiver, "message.delivered", |_| true).await;
    let expected = json!({
        "message": sent.id.to_string(), "conversation": conversation, "from": "ann",
        "peer": "bob", "device": bob.session.device().as_str(), "through": 1,
    });
    assert_eq!(delivered.data, expected);
    bob.session.read_up_to(got.conversation, got.sequence).await.unwrap();
    let read = one(&receiver, "message.read", |_| true).await;
    let expected =
        json!({"conversation": conversation, "peer": "bob", "sequence": 1, "others": ["ann"]});
    assert_eq!(read.data, expected);
    ann.session.recall(sent.id).await.unwrap();
    let recalled = one(&receiver, "message.recalled", |_| true).await;
    let expected = json!({
        "message": sent.id.to_string(), "conversation": conversation, "sequence": 1,
        "by": "ann", "peers": ["bob", "ann"],
    });
    assert_eq!(recalled.data, expected);
    let sent_at = got.at_ms as i64;
    let times = [sent_at, delivered.at_ms, read.at_ms, recalled.at_ms];
    assert!(times.is_sorted(), "{times:?}");
    assert!(recalled.at_ms - sent_at < 60_000, "milliseconds since 1970");
}

#[tokio::test]
async fn a_recalled_message_is_told_as_it_was_sent_and_then_as_recalled() {
    let (server, receiver) = start(json!({})).await;
    receiver.down();
    let ann = server.open("ann").await;
    let sent = ann.send("bob", "a slip").await;
    ann.session.recall(sent.id).await.unwrap();
    receiver.up().await;
    one(&receiver, "message.recalled", |_| true).await;
    let told = all(&receiver.requests());
    let of = |kind: &str| told.iter().position(|event| event.kind == kind).unwrap();
    assert!(of("message.sent") < of("message.recalled"));
    assert_eq!(told[of("message.sent")].text(), "a slip");
}

#[tokio::test]
async fn a_transient_message_reaches_no_webhook() {
    let (server, receiver) = start(json!({})).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    ann.session.send_transient(Outgoing::to(id("bob"), "typing")).unwrap();
    assert_eq!(bob.message().await.body, "typing");
    let message = json!({"to": {"peers": ["bob"]}, "body": "typing", "transient": true});
    server.post("/v1/messages", message).await.expect(StatusCode::OK);
    ann.send("bob", "stored").await;
    one(&receiver, "message.sent", |event| event.text() == "stored").await;
    let typing = |request: &Request| request.text().contains("typing");
    assert!(!receiver.requests().iter().any(typing));
}

#[tokio::test]
async fn sessions_and_conversations_are_told_when_they_start() {
    let (server, receiver) = start(json!({})).await;
    let ann = server.open_with(on("ann", "phone", DeviceFlag::Pc)).await;
    let event = one(&receiver, "session.started", |_| true).await;
    let started: Status = event.read();
    assert_eq!((&*started.peer, &*started.device, &*started.flag), ("ann", "phone", "pc"));
    assert_eq!((started.session, started.online, started.change), (ann.id.to_string(), None, None));
    assert!(started.client.contains("test/1.0"), "{}", started.client);
    assert!(started.address.starts_with("127.0.0.1:"), "{}", started.address);
    assert_eq!(started.sessions, Counts { same_flag: 1, all: 1 });

    let first = ann.send("bob", "one").await;
    ann.send("bob", "two").await;
    server.say("bob", "ann", "three").await;
    let sent = heard(&receiver, "message.sent", 3).await;
    let begun = heard(&receiver, "conversation.started", 1).await;
    assert_eq!(begun.len(), 1, "once");
    let expected = json!({
        "conversation": sent[0].data["conversation"], "from": "ann", "to": ["bob"],
        "message": first.id.to_string(),
    });
    assert_eq!(begun[0].data, expected);
}

#[tokio::test]
async fn a_peer_is_told_on_and_off_line_with_the_counts_after_the_change() {
    let (server, receiver) = start(json!({"events": ["peer.status"]})).await;
    let phone = server.open_with(on("ann", "phone", DeviceFlag::App)).await;
    let web = server.open_with(on("ann", "browser", DeviceFlag::Web)).await;
    web.session.close().await.unwrap();
    heard(&receiver, "peer.status", 3).await;
    // The same device again takes the place of the session of before.
    let again = server.open_with(on("ann", "phone", DeviceFlag::App)).await;
    heard(&receiver, "peer.status", 5).await;
    again.leave().await;
    let told = heard(&receiver, "peer.status", 6).await;
    drop(phone);
    let told: Vec<Status> = told.iter().map(Event::read).collect();
    let brief = |it: &Status| {
        let Counts { same_flag, all } = it.sessions;
        let change = it.change.clone().unwrap();
        (it.device.clone(), change, it.online.unwrap(), same_flag, all)
    };
    let mut brief: Vec<_> = told.iter().map(brief).collect();
    // Of a session and the one that takes its place, either may be told first.
    brief[3..5].sort();
    let of = |device: &str, change: &str, online, same_flag, all| {
        (device.to_owned(), change.to_owned(), online, same_flag, all)
    };
    assert_eq!(
        brief[..3],
        [
            of("phone", "opened", true, 1, 1),
            of("browser", "opened", true, 1, 2),
            of("browser", "closed", true, 0, 1),
        ]
    );
    assert_eq!((&*brief[3].1, &*brief[4].1), ("opened", "replaced"));
    assert_eq!(brief[5], of("phone", "lost", false, 0, 0));
    assert_eq!(told[5].flag, "app");
}

#[tokio::test]
async fn a_group_is_told_with_every_change() {
    let (server, receiver) = start(json!({"events": ["group.changed", "message.sent"]})).await;
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    let group = ann.session.create_group(NewGroup::default()).await.unwrap().id;
    bob.session.join(group).await.unwrap();
    ann.session.invite(group, vec![id("cat")]).await.unwrap();
    ann.session.send(Outgoing::to(group, "to all")).await.unwrap();
    ann.session.kick(group, vec![id("cat")]).await.unwrap();
    bob.session.leave(group).await.unwrap();
    let path = format!("/v1/groups/{group}");
    server.ask(Method::DELETE, &path, None).await.expect(StatusCode::NO_CONTENT);
    let told = heard(&receiver, "group.changed", 6).await;
    let brief = |event: &Event| {
        let (change, by, peers) = (&event.data["change"], &event.data["by"], &event.data["peers"]);
        assert_eq!(event.data["group"], group.to_string());
        json!([change, by, peers])
    };
    let brief: Vec<_> = told.iter().map(brief).collect();
    assert_eq!(
        brief[..5],
        [
            json!(["created", "ann", ["ann"]]),
            json!(["joined", "bob", ["bob"]]),
            json!(["invited", "ann", ["cat"]]),
            json!(["kicked", "ann", ["cat"]]),
            json!(["left", "bob", ["bob"]]),
        ]
    );
    assert_eq!(brief[5][0], "deleted");
    let sent = of_kind(&receiver.requests(), "message.sent").remove(0);
    let told_sent: Sent = sent.read();
    assert_eq!(told_sent.group, Some(group.to_string()));
    // The one order of the group has its messages and its changes.
    assert!(told[2].version() < sent.version() && sent.version() < told[3].version());
}

#[tokio::test]
async fn versions_rise_with_every_event_of_an_object() {
    let (server, receiver) = start(json!({})).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    for number in 0..5 {
        let message = Outgoing::to(id("bob"), number.to_string()).receipt();
        ann.session.send(message).await.unwrap();
        let got = take(&mut bob).await;
        bob.session.read_up_to(got.conversation, got.sequence).await.unwrap();
    }
    heard(&receiver, "message.read", 5).await;
    heard(&receiver, "message.delivered", 5).await;
    let told = all(&receiver.requests());
    assert!(told.iter().all(|event| event.version() > 0));
    let of = |is_it: &dyn Fn(&Event) -> bool| -> Vec<i64> {
        told.iter().filter(|event| is_it(event)).map(Event::version).collect()
    };
    let of_messages = of(&|event| event.kind.starts_with("message."));
    assert!(of_messages.len() >= 15 && of_messages.is_sorted(), "{of_messages:?}");
    let of_ann = of(&|event| event.kind == "peer.status" && event.data["peer"] == "ann");
    assert!(of_ann.is_sorted());
    // No two events have one id.
    let mut ids: Vec<_> = told.iter().map(|event| &event.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[tokio::test]
async fn every_request_verifies_with_the_published_crate_and_a_changed_one_does_not() {
    let (server, receiver) = start(json!({})).await;
    server.say("ann", "bob", "hello").await;
    one(&receiver, "message.offline", |_| true).await;
    for request in receiver.requests() {
        assert!(verifies(SECRET, &request), "{request:?}");
        assert!(octo_verifies(&key(SECRET), &request));
        assert!(!verifies(OTHER_SECRET, &request));
        let mut changed = request.clone();
        changed.body = request.text().replace("hello", "jello").into();
        assert!(!verifies(SECRET, &changed) && !octo_verifies(&key(SECRET), &changed));
        for header in ["webhook-id", "webhook-timestamp"] {
            let mut changed = request.clone();
            let value = format!("1{}", request.header(header));
            changed.headers.insert(header, value.parse().unwrap());
            assert!(!verifies(SECRET, &changed), "{header} is not signed");
        }
    }
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign_and_the_old_one_stops_with_its_removal() {
    let (server, receiver) = start(json!({})).await;
    let url = receiver.url();
    let replace = async |secrets: Value| {
        let definition = json!({
            "id": "back-end", "url": url, "dialect": "tidings", "interval_ms": 10,
            "secrets": secrets,
        });
        let answer = server.ask(Method::PUT, "/v1/endpoints/back-end", Some(definition)).await;
        answer.expect(StatusCode::OK);
        assert!(!answer.text.contains("whsec_"), "{answer:?}");
    };
    let next = async |body: &str| {
        server.say("ann", "bob", body).await;
        let has_it = |requests: &[Request]| {
            requests.iter().rev().find(|request| request.text().contains(body)).cloned()
        };
        receiver.until(body, has_it).await
    };
    let before = next("before").await;
    assert!(verifies(SECRET, &before) && !verifies(OTHER_SECRET, &before));
    replace(json!([OTHER_SECRET, SECRET])).await;
    let during = next("during").await;
    assert!(verifies(SECRET, &during) && verifies(OTHER_SECRET, &during));
    assert_eq!(during.header("webhook-signature").split(' ').count(), 2);
    let oldest = octo_verifies(&key(SECRET), &during);
    assert!(oldest, "what knows one signature only is signed with the old one until it goes");
    replace(json!([OTHER_SECRET])).await;
    let after = next("after").await;
    assert!(!verifies(SECRET, &after) && verifies(OTHER_SECRET, &after));
    assert!(octo_verifies(&key(OTHER_SECRET), &after));
}

#[tokio::test]
async fn a_message_waits_for_who_has_no_session_when_it_is_sent() {
    let (server, receiver) =
        (Running::start_with(&[("push_text", "You have news")], "").await, Receiver::start().await);
    let more = json!({"events": ["message.offline"], "interval_ms": 10});
    server.endpoint("push", &receiver, more).await;
    let mut bob = server.open("bob").await;
    let to = json!({"peers": ["bob", "cat", "dan"]});
    let first = server.message(json!({"from": "ann", "to": to, "body": "one"})).await;
    take(&mut bob).await;
    let push = json!({"text": "Ann: two"});
    let own = json!({"from": "ann", "to": {"peers": ["cat"]}, "body": "two", "push": push});
    let second = server.message(own).await;
    server.say("ann", "bob", "bob is here").await;
    server.say("ann", "dan", "the end").await;
    one(&receiver, "message.offline", |event| event.text() == "the end").await;
    let told: Vec<Offline> =
        of_kind(&receiver.requests(), "message.offline").iter().map(Event::read).collect();
    let of = |id: &str| told.iter().find(|it| it.message == id).unwrap();
    let recipient = |peer: &str, badge| Recipient { peer: peer.into(), badge };
    assert_eq!(of(&first).recipients, [recipient("cat", 1), recipient("dan", 1)]);
    assert_eq!(of(&first).push, Some(Push { text: "You have news".into(), badge: None }));
    assert!(!of(&first).late);
    assert_eq!(of(&second).recipients, [recipient("cat", 2)]);
    assert_eq!(of(&second).push, Some(Push { text: "Ann: two".into(), badge: Some(2) }));
    assert_eq!(told.len(), 3, "nothing waits for who is here: {told:?}");
}

#[tokio::test]
async fn a_message_that_a_session_ended_without_acknowledging_is_told_once() {
    let (server, receiver) = start(json!({"events": ["message.offline"]})).await;
    let options = on("bob", "phone", DeviceFlag::App).manual_ack(true);
    let mut bob = server.open_with(options).await;
    let mut sent = Vec::new();
    for number in 0..3 {
        sent.push(server.say("ann", "bob", &number.to_string()).await);
    }
    let first = bob.message().await;
    for _ in 0..2 {
        bob.message().await;
    }
    bob.session.ack(first.cursor());
    bob.session.ping().await.unwrap();
    bob.leave().await;
    let told: Vec<Offline> =
        heard(&receiver, "message.offline", 2).await.iter().map(Event::read).collect();
    assert_eq!(told.iter().map(|it| &it.message).collect::<Vec<_>>(), [&sent[1], &sent[2]]);
    for offline in &told {
        assert!(offline.late, "{offline:?}");
        assert_eq!(offline.recipients, [Recipient { peer: "bob".into(), badge: 2 }]);
    }
    // What waits already is not told again by the next session that does not take it.
    let options = on("bob", "phone", DeviceFlag::App).manual_ack(true);
    let mut again = server.open_with(options).await;
    assert_eq!(again.message().await.body, "1");
    again.leave().await;
    let last = server.say("ann", "bob", "last").await;
    one(&receiver, "message.offline", |event| event.data["message"] == last).await;
    assert_eq!(of_kind(&receiver.requests(), "message.offline").len(), 3);
}

#[tokio::test]
async fn a_push_policy_follows_from_presence_and_what_waits() {
    // A back end that pushes to the phones of who is away, and clears the badge of who is back.
    let (server, receiver) = start(json!({"events": ["message.offline", "peer.status"]})).await;
    server.say("ann", "bob", "ring").await;
    let ring = one(&receiver, "message.offline", |_| true).await;
    assert_eq!(ring.read::<Offline>().recipients[0].peer, "bob");
    let mut bob = server.open("bob").await;
    take(&mut bob).await;
    let status = one(&receiver, "peer.status", |event| event.data["peer"] == "bob").await;
    assert_eq!(status.data["online"], true);
    bob.leave().await;
    one(&receiver, "peer.status", |event| event.data["online"] == false).await;
    server.say("ann", "bob", "ring again").await;
    let again = one(&receiver, "message.offline", |event| event.text() == "ring again").await;
    assert_eq!(again.read::<Offline>().recipients[0].badge, 1);
}

#[tokio::test]
async fn a_ping_says_whether_the_endpoint_answers_and_tells_nothing() {
    let (server, receiver) = start(json!({})).await;
    let ping = async || server.post("/v1/endpoints/back-end/ping", json!({})).await;
    let good = ping().await.expect(StatusCode::OK);
    assert_eq!((&good["status"], &good["outcome"]), (&json!(200), &json!("ok")), "{good}");
    let request = receiver.had(1).await.remove(0);
    assert!(verifies(SECRET, &request));
    assert_eq!(request.json()["type"], "ping");
    assert_eq!(crate::standard::events(&request), []);
    receiver.answers(|_| Answer::status(503).body("not now"));
    let bad = ping().await.expect(StatusCode::OK);
    assert_eq!((&bad["status"], &bad["outcome"]), (&json!(503), &json!("failed")), "{bad}");
    receiver.down();
    let none = ping().await.expect(StatusCode::OK);
    assert_eq!(none["outcome"], "failed", "{none}");
    let unknown = server.post("/v1/endpoints/nobody/ping", json!({})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
