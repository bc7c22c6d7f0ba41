//! Push, as Getui does it: a device gets a CID, an alias is bound to it, the back end pushes by
//! either, and hears of the arrival.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use tidings::client::{Event, Mark, Message, OpenOptions};
use tidings::id::{Alias, PeerId};

use crate::harness::{Online, Running, answer};

fn on(peer: &str, device: &str) -> OpenOptions {
    OpenOptions::new(peer.parse().unwrap()).device(device.parse().unwrap())
}

fn alias(name: &str) -> Alias {
    name.parse().unwrap()
}

async fn push(server: &Running, message: Value) -> Value {
    server.post("/v1/messages", message).await.expect(StatusCode::CREATED)
}

async fn push_to_alias(server: &Running, name: &str, body: &str) -> Value {
    push(server, json!({"to": {"alias": name}, "body": body})).await
}

/// That the peer was sent something, which all of its devices get.
async fn mark_the_end(server: &Running, peer: &str) {
    push(server, json!({"to": {"peers": [peer]}, "body": "the end"})).await;
}

/// What a device gets until [`mark_the_end`].
async fn until_the_end(online: &mut Online) -> Vec<Message> {
    let mut got = Vec::new();
    loop {
        match online.message().await {
            message if message.body == "the end" => return got,
            message => got.push(message),
        }
    }
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.body).unwrap()).collect()
}

async fn delivered(online: &mut Online) -> Mark {
    loop {
        if let Event::Delivered(mark) = online.event().await {
            return mark;
        }
    }
}

#[tokio::test]
async fn a_device_registers_by_itself_and_gets_a_cid() {
    let server = Running::start().await;
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    let cid = ann.session.device().to_string();
    assert!(cid.len() == 32 && cid.bytes().all(|digit| digit.is_ascii_hexdigit()), "{cid}");
    assert_ne!(ann.session.device(), bob.session.device());
    let expected = json!({"device": cid, "peer": "ann", "online": true, "gone": false});
    assert_eq!(server.get(&format!("/v1/devices/{cid}")).await.ok(), expected);
    // It keeps it.
    ann.session.end().await;
    let again = server.open_with(on("ann", &cid)).await;
    assert_eq!(again.session.device().as_str(), cid);
}

#[tokio::test]
async fn a_push_to_one_cid_reaches_that_device_and_no_other() {
    let server = Running::start().await;
    let (mut phone, mut pad) =
        (server.open_with(on("ann", "phone")).await, server.open_with(on("ann", "pad")).await);
    let told = push(&server, json!({"to": {"device": "phone"}, "body": "for the phone"})).await;
    let message = &told["messages"][0]["id"];
    let expected =
        json!([{"peer": "ann", "device": "phone", "outcome": "online", "message": message}]);
    assert_eq!(told["recipients"], expected);
    assert_eq!([&told["online"], &told["offline"], &told["ignored"]], [1, 0, 0]);
    mark_the_end(&server, "ann").await;
    assert_eq!(bodies(&until_the_end(&mut phone).await), ["for the phone"]);
    assert_eq!(bodies(&until_the_end(&mut pad).await), [""; 0]);
}

#[tokio::test]
async fn a_push_to_a_cid_that_is_away_waits_for_that_device() {
    let mut server = Running::start().await;
    server.open_with(on("ann", "phone")).await.session.end().await;
    let mut pad = server.open_with(on("ann", "pad")).await;
    let told = push(&server, json!({"to": {"device": "phone"}, "body": "later"})).await;
    assert_eq!(told["recipients"][0]["outcome"], "offline");
    server.restart().await;
    mark_the_end(&server, "ann").await;
    assert_eq!(bodies(&until_the_end(&mut pad).await), [""; 0]);
    let mut phone = server.open_with(on("ann", "phone")).await;
    let got = until_the_end(&mut phone).await;
    assert_eq!((bodies(&got), got[0].waited), (vec!["later"], true));
}

#[tokio::test]
async fn a_push_to_a_device_that_has_logged_out_is_for_nobody() {
    let server = Running::start().await;
    server.open_with(on("ann", "phone")).await.session.close().await.unwrap();
    let message = json!({"to": {"device": "phone"}, "body": "nobody"});
    let told = server.post("/v1/messages", message).await.ok();
    let expected = json!({
        "messages": [], "online": 0, "offline": 0, "ignored": 1,
        "recipients": [{"peer": "ann", "device": "phone", "outcome": "ignored"}],
    });
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_client_binds_its_alias_and_is_reached_by_it() {
    let mut server = Running::start().await;
    let ann = server.open_with(on("ann", "phone")).await;
    ann.session.bind_alias(&alias("customer 4711")).await.unwrap();
    // The server keeps it, and all the client does is to come back.
    server.restart().await;
    let mut ann = ann;
    push_to_alias(&server, "customer 4711", "hello").await;
    assert_eq!(ann.message().await.body, "hello");
    ann.session.unbind_alias(&alias("customer 4711")).await.unwrap();
    let message = json!({"to": {"alias": "customer 4711"}, "body": "nobody"});
    assert_eq!(server.post("/v1/messages", message).await.problem(), "no-such-alias");
}

#[tokio::test]
async fn the_back_end_binds_an_alias_with_its_key_and_pushes_by_it() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let cid = ann.session.device().to_string();
    let admin = server.key("accounts", &["admin", "send"]).await;
    let post = async |path: &str, body: Value| {
        let request = server.request(reqwest::Method::POST, path, Some(&admin));
        answer(request.json(&body)).await
    };
    let binding = json!({"bindings": [{"alias": "ann@example.org", "device": cid}]});
    let bound = post("/v1/aliases", binding).await.ok();
    assert_eq!(bound, json!({"results": [{"status": 204}]}));
    let message = json!({"to": {"alias": "ann@example.org"}, "body": "hello"});
    post("/v1/messages", message).await.expect(StatusCode::CREATED);
    assert_eq!(ann.message().await.body, "hello");
}

#[tokio::test]
async fn a_push_to_an_alias_reaches_each_of_its_devices_once_and_no_other() {
    let server = Running::start().await;
    let mut online = Vec::new();
    for (peer, device) in [("ann", "phone"), ("ann", "pad"), ("ann", "pc"), ("bob", "tv")] {
        let session = server.open_with(on(peer, device)).await;
        if device != "pc" {
            session.session.bind_alias(&alias("home")).await.unwrap();
        }
        online.push(session);
    }
    let told = push_to_alias(&server, "home", "dinner").await;
    // One message for each peer.
    let ids: Vec<_> = told["messages"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    let expected = json!([
        {"peer": "ann", "device": "pad", "outcome": "online", "message": ids[0]},
        {"peer": "ann", "device": "phone", "outcome": "online", "message": ids[0]},
        {"peer": "bob", "device": "tv", "outcome": "online", "message": ids[1]},
    ]);
    assert_eq!(told["recipients"], expected);
    mark_the_end(&server, "ann").await;
    mark_the_end(&server, "bob").await;
    let expected = [&["dinner"][..], &["dinner"], &[], &["dinner"]];
    for (session, expected) in online.iter_mut().zip(expected) {
        assert_eq!(bodies(&until_the_end(session).await), expected);
    }
}

#[tokio::test]
async fn a_push_to_a_single_user_reaches_all_its_devices() {
    let server = Running::start().await;
    let (mut phone, mut pad) =
        (server.open_with(on("ann", "phone")).await, server.open_with(on("ann", "pad")).await);
    let told = push(&server, json!({"to": {"peers": ["ann"]}, "body": "for ann"})).await;
    assert_eq!(told["online"], 1);
    assert_eq!(phone.message().await.body, "for ann");
    assert_eq!(pad.message().await.body, "for ann");
}

#[tokio::test]
async fn a_payload_is_passed_through_byte_by_byte() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let all: Vec<u8> = (0..=255).collect();
    let encoded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\
        OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fYGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6\
        e3x9fn+AgYKDhIWGh4iJiouMjY6PkJGSk5SVlpeYmZqbnJ2en6ChoqOkpaanqKmqq6ytrq+wsbKztLW2t7i5uru8\
        vb6/wMHCw8TFxsfIycrLzM3Oz9DR0tPU1dbX2Nna29zd3t/g4eLj5OXm5+jp6uvs7e7v8PHy8/T19vf4+fr7/P3+\
        /w==";
    let text = "{\"deep\": \"\u{5f20}\u{1f600}\\u0000\"}";
    push(&server, json!({"to": {"peers": ["ann"]}, "body_base64": encoded})).await;
    push(&server, json!({"to": {"peers": ["ann"]}, "body": text})).await;
    assert_eq!(ann.message().await.body, all);
    assert_eq!(ann.message().await.body, text);
}

#[tokio::test]
async fn a_client_acknowledges_by_itself_and_the_sending_peer_hears_of_the_delivery() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let message =
        json!({"from": "ann", "to": {"peers": ["bob"]}, "body": "hello", "receipt": true});
    let told = push(&server, message).await;
    let mut bob = server.open("bob").await;
    let got = bob.message().await;
    // To ask for what comes next says that the app has had this.
    bob.session.ack(got.cursor());
    let mark = delivered(&mut ann).await;
    assert_eq!((mark.peer.as_str(), mark.sequence), ("bob", got.sequence));
    assert_eq!(
        mark.conversation.to_string(),
        told["messages"][0]["conversation"].as_str().unwrap()
    );
}

#[tokio::test]
async fn an_offline_push_waits_until_its_time_to_live_is_over() {
    let server = Running::start().await;
    let ann = server.open_with(on("ann", "phone")).await;
    ann.session.bind_alias(&alias("a")).await.unwrap();
    ann.session.end().await;
    for (body, ttl_ms) in [("two hours", 7_200_000), ("a day", 86_400_000)] {
        let message = json!({"to": {"alias": "a"}, "body": body, "ttl_ms": ttl_ms});
        let told = push(&server, message).await;
        assert_eq!(told["recipients"][0]["outcome"], "offline");
    }
    server.step(Duration::from_secs(7_201));
    mark_the_end(&server, "ann").await;
    let mut ann = server.open_with(on("ann", "phone")).await;
    assert_eq!(bodies(&until_the_end(&mut ann).await), ["a day"]);
}

/// The back end: takes what clients have sent to it, as `{"alias": ..., "text": ...}`, pushes the
/// text to the alias in the sender's name, and accepts.
async fn serve_upstream(server: &Running) {
    let page = server.get("/v1/upstream").await.ok();
    for item in page["items"].as_array().unwrap() {
        let order: Value = serde_json::from_str(item["body"].as_str().unwrap()).unwrap();
        let message = json!({
            "from": item["from"], "to": {"alias": order["alias"]}, "body": order["text"],
            "receipt": true,
        });
        push(server, message).await;
        let path = format!("/v1/upstream/{}", item["id"].as_str().unwrap());
        let accepted = server.post(&path, json!({"accepted": true})).await;
        accepted.expect(StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn two_clients_talk_by_way_of_the_back_end_and_hear_of_their_deliveries() {
    let server = Running::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    ann.session.bind_alias(&alias("ann@home")).await.unwrap();
    bob.session.bind_alias(&alias("bob@home")).await.unwrap();
    say(&server, &mut ann, &mut bob, "bob@home", "hello").await;
    // The way back is the same.
    say(&server, &mut bob, &mut ann, "ann@home", "hello yourself").await;
}

/// One says something to another: client, platform, back end, platform, client; and back.
async fn say(server: &Running, by: &mut Online, to: &mut Online, name: &str, text: &str) {
    let order = json!({"alias": name, "text": text}).to_string();
    let sent = by.session.send_upstream(order).await.unwrap();
    serve_upstream(server).await;
    let from: PeerId = by.session.peer();
    let got = loop {
        match to.message().await {
            own if own.own => {}
            message => break message,
        }
    };
    assert_eq!((&got.from, &got.body[..]), (&from, text.as_bytes()));
    to.session.ack(got.cursor());
    let (mut accepted, mut was_delivered) = (false, false);
    while !(accepted && was_delivered) {
        match by.event().await {
            Event::UpstreamDone(done) => accepted = done.upstream == sent.id && done.accepted,
            Event::Delivered(mark) => was_delivered = mark.sequence == got.sequence,
            _ => {}
        }
    }
}
