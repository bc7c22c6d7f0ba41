//! Peers: who is online and on what, what is unread; kick and block.

use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use tidings::client::{Event, NewGroup, OpenError, OpenOptions, Outgoing, Refusal};
use tidings::id::{ConversationId, DeviceFlag, PeerId};
use tidings::reason::Reason;

use crate::harness::{Online, Running, answer, soon};

fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

/// The end of a session, however much it is told before.
async fn end(online: &mut Online) -> Refusal {
    loop {
        if let Event::Ended(refusal) = online.event().await {
            return refusal;
        }
    }
}

/// The peer on a device with this name.
fn on(id: &str, device: &str) -> OpenOptions {
    OpenOptions::new(peer(id)).device(device.parse().unwrap())
}

async fn status(server: &Running, peers: &[&str]) -> (Value, Value) {
    let told = server.post("/v1/peers/status", json!({"peers": peers})).await.ok();
    (told["online"].clone(), told["offline"].clone())
}

/// Asks until a peer is as it has to be.
async fn until(server: &Running, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let told = server.get(path).await.ok();
            if is_so(&told) {
                return told;
            }
        }
    };
    soon(path, asking).await
}

#[tokio::test]
async fn the_status_of_many_peers_is_told_at_once() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let _cat = server.open("cat").await;
    let asked = ["dan", "cat", "bob", "ann", "cat"];
    assert_eq!(status(&server, &asked).await, (json!(["ann", "cat"]), json!(["bob", "dan"])));
    ann.session.close().await.unwrap();
    assert_eq!(status(&server, &asked).await, (json!(["cat"]), json!(["ann", "bob", "dan"])));
}

#[tokio::test]
async fn a_thousand_peers_may_be_asked_about_and_not_one_more() {
    let server = Running::start().await;
    let peers = |count: usize| (0..count).map(|index| format!("p{index:04}")).collect::<Vec<_>>();
    let told = server.post("/v1/peers/status", json!({"peers": peers(1000)})).await.ok();
    assert_eq!(told["offline"], json!(peers(1000)));
    for refused in [json!({"peers": peers(1001)}), json!({"peers": []}), json!({"peers": ["a:b"]})]
    {
        let refused = server.post("/v1/peers/status", refused).await;
        assert_eq!(refused.problem(), "invalid-body");
    }
    for refused in [json!({}), json!({"peers": ["ann"], "more": 1}), json!({"peers": "ann"})] {
        let refused = server.post("/v1/peers/status", refused).await;
        assert_eq!(refused.problem(), "invalid-body");
    }
}

#[tokio::test]
async fn those_online_before_a_restart_count_as_online_for_the_grace() {
    let mut server = Running::start().await;
    let _ann = server.open("ann").await;
    server.restart().await;
    // She comes back by herself; until then she is expected.
    assert_eq!(status(&server, &["ann"]).await, (json!(["ann"]), json!([])));
}

#[tokio::test]
async fn a_peer_is_told_with_its_sessions_and_devices() {
    let server = Running::start().await;
    let phone = server.open_with(on("ann", "phone")).await;
    let web = server.open_with(on("ann", "tab").flag(DeviceFlag::Web)).await;
    let told = server.get("/v1/peers/ann").await.ok();
    assert_eq!((&told["peer"], &told["online"]), (&json!("ann"), &json!(true)));
    let sessions = told["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let of = |device: &str| sessions.iter().find(|session| session["device"] == device).unwrap();
    assert_eq!(of("phone")["flag"], "app");
    assert_eq!(of("tab")["flag"], "web");
    for session in sessions {
        assert!(session["id"].as_str().unwrap().parse::<i64>().unwrap() > 0);
        assert!(session["client"].as_str().unwrap().starts_with("tidings"), "{session}");
        let address: SocketAddr = session["address"].as_str().unwrap().parse().unwrap();
        assert!(address.ip().is_loopback());
        assert!(session["opened_ms"].as_i64().unwrap() > 1_700_000_000_000);
    }
    web.session.close().await.unwrap();
    let told = server.get("/v1/peers/ann").await.ok();
    assert_eq!(told["sessions"].as_array().unwrap().len(), 1);
    let devices = told["devices"].as_array().unwrap();
    let of = |device: &str| devices.iter().find(|known| known["device"] == device).unwrap();
    assert_eq!((&of("phone")["online"], &of("tab")["online"]), (&json!(true), &json!(false)));
    assert_eq!(of("tab")["flag"], "web");
    assert!(of("tab")["seen_ms"].as_i64() >= of("phone")["seen_ms"].as_i64());
    drop(phone);
}

#[tokio::test]
async fn a_device_is_told_with_the_alias_that_reaches_its_peer() {
    let server = Running::start().await;
    let ann = server.open_with(on("ann", "pad")).await;
    let alias = |told: &Value| told["devices"][0].get("alias").cloned();
    assert_eq!(alias(&server.get("/v1/peers/ann").await.ok()), None);
    ann.session.bind_alias(&"ann@home".parse().unwrap()).await.unwrap();
    assert_eq!(alias(&server.get("/v1/peers/ann").await.ok()), Some(json!("ann@home")));
    // A push to the alias reaches who opened on the device last.
    ann.session.close().await.unwrap();
    let _bob = server.open_with(on("bob", "pad")).await;
    assert_eq!(alias(&server.get("/v1/peers/bob").await.ok()), Some(json!("ann@home")));
    assert_eq!(alias(&server.get("/v1/peers/ann").await.ok()), None);
}

#[tokio::test]
async fn a_peer_that_never_came_is_off_line_and_has_nothing() {
    let server = Running::start().await;
    // Whatever characters a peer's id has, a path can say it; also that of another route.
    for (path, id) in
        [("nobody", "nobody"), ("a%2Fb%20%25%C3%BC", "a/b %ü"), ("%73tatus", "status")]
    {
        let told = server.get(&format!("/v1/peers/{path}")).await.ok();
        let none = json!({
            "peer": id, "online": false, "blocked": false, "sessions": [], "devices": [],
        });
        assert_eq!(told, none);
    }
    let refused = server.get("/v1/peers/a:b").await;
    assert_eq!(
        (refused.status, refused.problem()),
        (StatusCode::BAD_REQUEST, "invalid-path".into())
    );
    let long = server.get(&format!("/v1/peers/{}", "p".repeat(65))).await;
    assert_eq!(long.problem(), "invalid-path");
    server.get(&format!("/v1/peers/{}", "p".repeat(64))).await.ok();
}

#[tokio::test]
async fn who_is_kicked_hears_why_and_may_come_back() {
    let server = Running::start().await;
    let mut phone = server.open_with(on("ann", "phone")).await;
    let mut pad = server.open_with(on("ann", "pad")).await;
    let why = json!({"device": "phone", "reason": "you have a new phone ☎"});
    let told = server.post("/v1/peers/ann/kick", why).await.ok();
    assert_eq!(told, json!({"ended": 1}));
    let refusal = end(&mut phone).await;
    assert_eq!(refusal.reason(), Some(Reason::Kicked));
    assert_eq!(refusal.text.as_str(), "you have a new phone ☎");
    // The other device has noticed nothing.
    pad.session.ping().await.unwrap();

    let phone = server.open_with(on("ann", "phone")).await;
    let path = "/v1/peers/ann/kick";
    let all = answer(server.request(Method::POST, path, Some(&server.master))).await.ok();
    assert_eq!(all, json!({"ended": 2}));
    assert_eq!(end(&mut pad).await.reason(), Some(Reason::Kicked));
    drop(phone);
    until(&server, "/v1/peers/ann", |told| told["sessions"] == json!([])).await;
    for nobody in [json!({}), Value::Null, json!({"device": null, "reason": null})] {
        assert_eq!(server.post(path, nobody).await.ok(), json!({"ended": 0}));
    }
    assert_eq!(server.post(path, json!({"device": "none"})).await.ok(), json!({"ended": 0}));
}

#[tokio::test]
async fn the_reason_of_a_kick_has_200_bytes_and_not_one_more() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let long = server.post("/v1/peers/ann/kick", json!({"reason": "x".repeat(201)})).await;
    assert_eq!(long.problem(), "invalid-body");
    ann.session.ping().await.unwrap();
    let reason = "x".repeat(200);
    server.post("/v1/peers/ann/kick", json!({"reason": reason})).await.ok();
    assert_eq!(end(&mut ann).await.text.as_str(), reason);
    let unknown = server.post("/v1/peers/ann/kick", json!({"reasons": ""})).await;
    assert_eq!(unknown.problem(), "invalid-body");
}

#[tokio::test]
async fn who_is_blocked_hears_it_and_opens_nothing_until_it_is_not() {
    let mut server = Running::start().await;
    let mut ann = server.open("ann").await;
    for _ in 0..2 {
        let blocked = server.put("/v1/peers/ann/block", Value::Null).await;
        assert_eq!(blocked.expect(StatusCode::NO_CONTENT), Value::Null);
    }
    assert_eq!(end(&mut ann).await.reason(), Some(Reason::Blocked));
    for _ in 0..2 {
        assert_eq!(server.get("/v1/peers/ann").await.ok()["blocked"], json!(true));
        let client = server.connect().await;
        let refused = soon("an opening", client.open(OpenOptions::new(peer("ann")))).await;
        let Err(OpenError::Refused(refusal)) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.reason(), Some(Reason::Blocked));
        server.restart().await;
    }
    for _ in 0..2 {
        server.delete("/v1/peers/ann/block").await.expect(StatusCode::NO_CONTENT);
    }
    server.open("ann").await;
    assert_eq!(server.get("/v1/peers/ann").await.ok()["blocked"], json!(false));
}

#[tokio::test]
async fn those_blocked_are_listed_in_pages() {
    let server = Running::start().await;
    assert_eq!(server.get("/v1/blocked").await.ok(), json!({"items": [], "next": null}));
    for id in ["cat", "ann", "dan", "bob"] {
        let path = format!("/v1/peers/{id}/block");
        server.put(&path, Value::Null).await.expect(StatusCode::NO_CONTENT);
    }
    server.delete("/v1/peers/dan/block").await.expect(StatusCode::NO_CONTENT);
    let page = server.get("/v1/blocked?limit=2").await.ok();
    assert_eq!(page, json!({"items": ["ann", "bob"], "next": "bob"}));
    let page = server.get("/v1/blocked?limit=2&after=bob").await.ok();
    assert_eq!(page, json!({"items": ["cat"], "next": null}));
    let all = server.get("/v1/blocked?limit=1000").await.ok();
    assert_eq!(all, json!({"items": ["ann", "bob", "cat"], "next": null}));
    for refused in ["limit=0", "limit=1001", "limit=x", "after=a:b", "afer=ann"] {
        let refused = server.get(&format!("/v1/blocked?{refused}")).await;
        assert_eq!(refused.problem(), "invalid-query");
    }
}

#[tokio::test]
async fn unread_counts_single_chats_and_groups_for_themselves() {
    let server = Running::start().await;
    let none = json!({"peer": "bob", "count": 0, "groups": 0, "conversations": []});
    assert_eq!(server.get("/v1/peers/bob/unread").await.ok(), none);

    let ann = server.open("ann").await;
    let group = ann.session.create_group(NewGroup::default()).await.unwrap().id;
    ann.session.invite(group, [peer("bob")]).await.unwrap();
    let chat = ConversationId::of_peers([&peer("ann"), &peer("bob")]);
    for _ in 0..3 {
        ann.session.send(Outgoing::to(peer("bob"), "to you")).await.unwrap();
    }
    let mut last = None;
    for _ in 0..2 {
        last = Some(ann.session.send(Outgoing::to(group, "to all")).await.unwrap().id);
    }
    let told = server.get("/v1/peers/bob/unread").await.ok();
    assert_eq!((&told["count"], &told["groups"]), (&json!(3), &json!(2)));
    let group_text = group.to_string();
    let expected = json!({
        "conversation": group_text, "group": group_text, "peers": [], "unread": 2,
        "last": last.unwrap().to_string(),
    });
    assert_eq!(told["conversations"][0], expected);
    let single = &told["conversations"][1];
    assert_eq!(single["conversation"], chat.to_string());
    assert_eq!((&single["unread"], &single["peers"]), (&json!(3), &json!(["ann"])));
    assert_eq!(single.get("group"), None);
    // Who sends has read it.
    assert_eq!(server.get("/v1/peers/ann/unread").await.ok()["count"], 0);

    let bob = server.open("bob").await;
    bob.session.read_up_to(chat, 2).await.unwrap();
    let told = server.get("/v1/peers/bob/unread").await.ok();
    assert_eq!((&told["count"], &told["groups"]), (&json!(1), &json!(2)));
    bob.session.read_up_to(chat, 3).await.unwrap();
    bob.session.leave(group).await.unwrap();
    assert_eq!(server.get("/v1/peers/bob/unread").await.ok(), none);
}

#[tokio::test]
async fn all_that_is_unread_is_told_however_many_conversations_it_is_in() {
    let server = Running::start().await;
    // More than fit a page of a client.
    let mut sent = Vec::new();
    for number in 0..45 {
        let from = server.open(&format!("p{number:02}")).await;
        sent.push(from.session.send(Outgoing::to(peer("bob"), "hello")).await.unwrap().id);
        from.session.close().await.unwrap();
    }
    let told = server.get("/v1/peers/bob/unread").await.ok();
    assert_eq!(told["count"], 45);
    let conversations = told["conversations"].as_array().unwrap();
    let last: Vec<_> = conversations.iter().map(|one| one["last"].as_str().unwrap()).collect();
    let newest_first: Vec<_> = sent.iter().rev().map(ToString::to_string).collect();
    assert_eq!(last, newest_first);
}
