//! Messages of the back end: sent one by one, and recalled.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use tidings::client::{Event, NewGroup, Outgoing};
use tidings::id::{ConversationId, PeerId};

use crate::harness::{Answer, Online, Running};

fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

/// Sends one message.
pub(crate) async fn send(server: &Running, message: Value) -> Answer {
    server.post("/v1/messages", message).await
}

/// The id of the first message that was stored.
pub(crate) fn id(sent: &Value) -> String {
    sent["messages"][0]["id"].as_str().unwrap().to_owned()
}

/// What the peer gets until this body, that one too.
pub(crate) async fn bodies_until(online: &mut Online, last: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.last().is_none_or(|body| body != last) {
        bodies.push(String::from_utf8(online.message().await.body.to_vec()).unwrap());
    }
    bodies
}

#[tokio::test]
async fn a_message_of_the_system_reaches_who_is_online_and_waits_for_who_is_not() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let message = json!({"to": {"peers": ["bob", "ann", "ann"]}, "body": "welcome",
        "client_msg_no": "n-1"});
    let sent = send(&server, message).await.expect(StatusCode::CREATED);
    let all = [&peer("ann"), &peer("bob"), &peer("system")];
    let conversation = ConversationId::of_peers(all).to_string();
    let stored = &sent["messages"][0];
    assert_eq!(stored["conversation"], conversation);
    assert_eq!((&stored["sequence"], &stored["repeated"]), (&json!(1), &json!(false)));
    let expected = json!([
        {"peer": "ann", "outcome": "online", "message": id(&sent)},
        {"peer": "bob", "outcome": "offline", "message": id(&sent)},
    ]);
    assert_eq!(sent["recipients"], expected);
    assert_eq!([&sent["online"], &sent["offline"], &sent["ignored"]], [1, 1, 0]);

    let mut bob = server.open("bob").await;
    for (online, waited) in [(&mut ann, false), (&mut bob, true)] {
        let got = online.message().await;
        assert_eq!((got.from.as_str(), &got.body[..]), ("system", &b"welcome"[..]));
        assert_eq!(got.id.to_string(), id(&sent));
        assert_eq!(got.client_msg_no.as_str(), "n-1");
        assert_eq!(got.at_ms as i64, stored["at_ms"].as_i64().unwrap());
        // For a session that is still catching up it may wait, too.
        assert!(got.waited || !waited);
        assert!(!got.transient);
    }
}

#[tokio::test]
async fn a_message_in_the_name_of_a_peer_is_one_of_its_own() {
    let server = Running::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let message = json!({"from": "ann", "to": {"peers": ["bob"]}, "body": "hello"});
    let sent = send(&server, message).await.expect(StatusCode::CREATED);
    let got = bob.message().await;
    assert_eq!((got.from.as_str(), got.id.to_string()), ("ann", id(&sent)));
    let own = ann.message().await;
    assert!(own.own && own.id == got.id);
    // It is of the same conversation as what she sends herself.
    let next = ann.session.send(Outgoing::to(peer("bob"), "and more")).await.unwrap();
    assert_eq!(next.sequence, 2);
}

#[tokio::test]
async fn a_message_to_a_group_reaches_its_members() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let group = ann.session.create_group(NewGroup::default()).await.unwrap().id;
    ann.session.invite(group, [peer("bob"), peer("cat")]).await.unwrap();
    let message = json!({"to": {"group": group.to_string()}, "body": "to all"});
    let sent = send(&server, message).await.expect(StatusCode::CREATED);
    assert_eq!(sent["messages"][0]["conversation"], group.to_string());
    assert_eq!(sent["recipients"], json!([]));
    assert_eq!([&sent["online"], &sent["offline"], &sent["ignored"]], [1, 2, 0]);
    let mut bob = server.open("bob").await;
    for online in [&mut ann, &mut bob] {
        let got = online.message().await;
        assert_eq!((got.from.as_str(), &got.body[..]), ("system", &b"to all"[..]));
    }
}

#[tokio::test]
async fn a_transient_message_is_for_those_online_and_never_stored() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let message = json!({"to": {"peers": ["ann", "bob"]}, "body": "typing", "transient": true});
    let sent = send(&server, message).await.ok();
    assert_eq!(sent["messages"], json!([]));
    let expected = json!([
        {"peer": "ann", "outcome": "online"}, {"peer": "bob", "outcome": "ignored"},
    ]);
    assert_eq!(sent["recipients"], expected);
    assert!(ann.message().await.transient);

    let options = NewGroup { open: true, ..NewGroup::default() };
    let group = ann.session.create_group(options).await.unwrap().id.to_string();
    let stored = json!({"to": {"group": group}, "body": "hello"});
    let refused = send(&server, stored.clone()).await;
    assert_eq!((refused.status, refused.problem()), (StatusCode::CONFLICT, "conflict".into()));
    let mut transient = stored;
    transient["transient"] = json!(true);
    let sent = send(&server, transient).await.ok();
    assert_eq!([&sent["online"], &sent["offline"], &sent["ignored"]], [1, 0, 0]);
    assert!(ann.message().await.transient);

    send(&server, json!({"to": {"peers": ["bob"]}, "body": "stored"})).await;
    let mut bob = server.open("bob").await;
    assert_eq!(bob.message().await.body, "stored", "the first that bob gets");
}

#[tokio::test]
async fn a_transient_message_to_a_group_waits_for_nobody() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let group = json!({"members": ["ann", "bob", "cat"]});
    let group = server.post("/v1/groups", group).await.expect(StatusCode::CREATED);
    let message = json!({"to": {"group": group["group"]}, "body": "typing", "transient": true});
    let sent = send(&server, message).await.ok();
    assert_eq!([&sent["online"], &sent["offline"], &sent["ignored"]], [1, 0, 2]);
    assert!(ann.message().await.transient);
    send(&server, json!({"to": {"peers": ["bob"]}, "body": "stored"})).await;
    let mut bob = server.open("bob").await;
    assert_eq!(bob.message().await.body, "stored", "the first that bob gets");
}

#[tokio::test]
async fn who_sends_to_a_group_is_none_of_its_own_recipients() {
    let server = Running::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let group = json!({"members": ["ann", "bob", "cat"]});
    let group = server.post("/v1/groups", group).await.expect(StatusCode::CREATED);
    for (transient, expected) in [(false, [1, 1, 0]), (true, [1, 0, 1])] {
        let to = json!({"group": group["group"]});
        let message = json!({"from": "ann", "to": to, "body": "hello", "transient": transient});
        let sent = send(&server, message).await.json();
        assert_eq!([&sent["online"], &sent["offline"], &sent["ignored"]], expected);
        for (online, own) in [(&mut ann, true), (&mut bob, false)] {
            let got = online.message().await;
            assert_eq!((got.own, got.transient), (own, transient));
        }
    }
}

#[tokio::test]
async fn a_transient_message_in_the_name_of_a_peer_is_one_of_its_own() {
    let server = Running::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    for to in [json!(["bob"]), json!(["ann", "bob"])] {
        let message = json!({"from": "ann", "to": {"peers": to}, "body": "a", "transient": true});
        send(&server, message).await.ok();
        assert!(!bob.message().await.own);
    }
    // Who sends to itself gets it once.
    send(&server, json!({"to": {"peers": ["ann"]}, "body": "last", "transient": true})).await.ok();
    let mut got = Vec::new();
    while got.last().is_none_or(|(body, _)| body != "last") {
        let message = ann.message().await;
        got.push((String::from_utf8(message.body.to_vec()).unwrap(), message.own));
    }
    let expected = [("a", true), ("a", false), ("last", false)];
    assert_eq!(got, expected.map(|(body, own)| (body.to_owned(), own)));
}

#[tokio::test]
async fn nothing_is_sent_to_the_back_end_itself() {
    let server = Running::start_with(|config| config.hub.system = peer("office")).await;
    for refused in [
        json!({"to": {"peers": ["office"]}, "body": "a"}),
        json!({"from": "ann", "to": {"peers": ["bob", "office"]}, "body": "a"}),
        json!({"to": {"peers": ["bob", "office"]}, "body": "a", "transient": true}),
    ] {
        let answer = send(&server, refused).await;
        assert_eq!(answer.problem(), "invalid-body");
        assert!(answer.text.contains("reserved for the app's back end"), "{}", answer.text);
    }
    // Another name is one like any other.
    let message = json!({"to": {"peers": ["system"]}, "body": "a"});
    send(&server, message).await.expect(StatusCode::CREATED);
}

#[tokio::test]
async fn a_message_is_not_delivered_when_its_time_to_live_is_over() {
    let server = Running::start().await;
    for (body, ttl_ms) in [("soon over", 60_000), ("long", 3_600_000), ("for ever", 0)] {
        let message = json!({"to": {"peers": ["bob"]}, "body": body, "ttl_ms": ttl_ms});
        send(&server, message).await.expect(StatusCode::CREATED);
    }
    server.step(Duration::from_secs(61));
    let mut bob = server.open("bob").await;
    assert_eq!(bodies_until(&mut bob, "for ever").await, ["long", "for ever"]);
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_nothing_is_sent() {
    let server = Running::start().await;
    let to = json!({"peers": ["bob"]});
    let long = |bytes| "x".repeat(bytes);
    let of = |count| (0..count).map(|index| format!("p{index}")).collect::<Vec<_>>();
    for refused in [
        json!({"to": to}),
        json!({"to": to, "body": "a", "body_base64": "YQ=="}),
        json!({"to": to, "body_base64": "YQ"}),
        json!({"to": to, "body": long(5121)}),
        json!({"to": to, "body": "a", "client_msg_no": long(65)}),
        json!({"to": to, "body": "a", "push": {"text": long(257)}}),
        json!({"to": to, "body": "a", "push": "text"}),
        json!({"to": to, "body": "a", "push": {"title": "a"}}),
        json!({"to": to, "body": "a", "ttl_ms": -1}),
        json!({"to": to, "body": "a", "from": "a:b"}),
        json!({"to": to, "body": "a", "from": long(65)}),
        json!({"to": to, "body": "a", "more": 1}),
        json!({"to": {}, "body": "a"}),
        json!({"to": {"peers": []}, "body": "a"}),
        json!({"to": {"peers": of(51)}, "body": "a"}),
        json!({"to": {"peers": ["bob"], "alias": "b"}, "body": "a"}),
        json!({"to": {"peers": ["bob"], "group": null, "users": []}, "body": "a"}),
        json!({"to": {"group": "123"}, "body": "a"}),
        json!({"to": {"alias": long(161)}, "body": "a"}),
        json!({"to": {"device": ""}, "body": "a"}),
        json!({"body": "a"}),
        json!([]),
    ] {
        let answer = send(&server, refused.clone()).await;
        let told = (answer.status, answer.problem());
        assert_eq!(told, (StatusCode::UNPROCESSABLE_ENTITY, "invalid-body".into()), "{refused}");
    }
    for (to, problem) in [
        (json!({"group": "0123456789abcdef01234567"}), "no-such-group"),
        (json!({"alias": "none"}), "no-such-alias"),
        (json!({"device": "none"}), "no-such-device"),
    ] {
        let answer = send(&server, json!({"to": to, "body": "a"})).await;
        assert_eq!((answer.status, answer.problem()), (StatusCode::NOT_FOUND, problem.into()));
    }
    let taken = [
        json!({"to": {"peers": of(50)}, "body": long(5120), "client_msg_no": long(64)}),
        json!({"from": long(64), "to": to, "body": "", "ttl_ms": u64::MAX,
            "push": {"text": long(256)}}),
    ];
    for taken in taken {
        send(&server, taken).await.expect(StatusCode::CREATED);
    }
    let mut bob = server.open("bob").await;
    assert_eq!(bob.message().await.from.as_str(), long(64), "the first that bob gets");
    assert_eq!(server.server().metrics().api_sends.get(), 2);
}

#[tokio::test]
async fn a_recalled_message_is_taken_back_from_everybody() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let message = json!({"to": {"peers": ["ann", "bob"]}, "body": "a mistake"});
    let sent = send(&server, message).await.expect(StatusCode::CREATED);
    let path = format!("/v1/messages/{}/recall", id(&sent));
    assert_eq!(ann.message().await.body, "a mistake");
    // Long after a sender could.
    server.step(Duration::from_secs(3600));
    for _ in 0..2 {
        let recalled = server.post(&path, Value::Null).await;
        assert_eq!(recalled.expect(StatusCode::NO_CONTENT), Value::Null);
    }
    let Event::Recalled(recalled) = ann.event().await else { panic!("no recall") };
    assert_eq!((recalled.message.to_string(), recalled.by), (id(&sent), None));
    send(&server, json!({"to": {"peers": ["bob"]}, "body": "next"})).await;
    let mut bob = server.open("bob").await;
    assert_eq!(bodies_until(&mut bob, "next").await, ["next"]);
}

#[tokio::test]
async fn what_was_not_sent_cannot_be_recalled() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    ann.session.bind_alias(&"a".parse().unwrap()).await.unwrap();
    for unknown in ["1", "9223372036854775807"] {
        let answer = server.post(&format!("/v1/messages/{unknown}/recall"), Value::Null).await;
        let told = (answer.status, answer.problem());
        assert_eq!(told, (StatusCode::NOT_FOUND, "no-such-message".into()));
    }
    for wrong in ["0", "-1", "x", "9223372036854775808"] {
        let answer = server.post(&format!("/v1/messages/{wrong}/recall"), Value::Null).await;
        let told = (answer.status, answer.problem());
        assert_eq!(told, (StatusCode::BAD_REQUEST, "invalid-path".into()));
    }
}
