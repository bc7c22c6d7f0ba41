//! Webhooks as WuKongIM sends them, at a receiver that decodes them as TangSengDaoDao's server
//! does, and checks them as octo-server does.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tidings::client::Outgoing;
use tidings::id::DeviceFlag;

use crate::harness::{Running, id, on};
use crate::receiver::{Answer, Receiver, Request};
use crate::tangseng::{self, Message, Offline, Status, event, notify, offline, stored};

const SECRET: &str = "a secret of octo-server";

/// A body that it pushes.
fn text(content: &str) -> String {
    json!({"type": 1, "content": content}).to_string()
}

async fn start(more: Value) -> (Running, Receiver) {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    receiver.answers(tangseng::answer);
    let mut definition = json!({"dialect": "wukongim", "secret": SECRET, "interval_ms": 10});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let url = receiver.url_of("/v1/webhook");
    server.endpoint_at("im", &url, definition).await;
    (server, receiver)
}

async fn until_stored(receiver: &Receiver, count: usize) -> Vec<Message> {
    let find = |requests: &[Request]| {
        let stored = stored(requests);
        (stored.len() >= count).then_some(stored)
    };
    receiver.until("messages", find).await
}

fn told_offline(requests: &[Request]) -> Vec<Offline> {
    let told = requests.iter().filter(|request| event(request) == "msg.offline");
    told.filter_map(|request| offline(&request.body).unwrap()).collect()
}

async fn until_offline(receiver: &Receiver, count: usize) -> Vec<Offline> {
    let find = |requests: &[Request]| {
        let told = told_offline(requests);
        (told.len() >= count).then_some(told)
    };
    receiver.until("offline messages", find).await
}

/// The statuses of one peer, whose id may have `-` in it.
fn statuses_of(requests: &[Request], peer: &str) -> Vec<Status> {
    let told = requests.iter().filter(|request| event(request) == "user.onlinestatus");
    let all = told.flat_map(|it| tangseng::statuses_from_the_right(&it.body).unwrap());
    all.filter(|status| status.uid == peer).collect()
}

async fn until_statuses(receiver: &Receiver, peer: &str, count: usize) -> Vec<Status> {
    let find = |requests: &[Request]| {
        let told = statuses_of(requests, peer);
        (told.len() >= count).then_some(told)
    };
    receiver.until("statuses", find).await
}

#[tokio::test]
async fn the_event_is_in_the_query_beside_what_the_url_has_there() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let url = receiver.url_of("/v2/webhook?token=a%26b");
    server.endpoint_at("im", &url, json!({"dialect": "wukongim", "interval_ms": 10})).await;
    let _bob = server.open("bob").await;
    server.say("ann", "cat", &text("hello")).await;
    let requests = receiver
        .until("the three events", |requests| {
            let mut events: Vec<_> = requests.iter().map(event).collect();
            events.sort();
            events.dedup();
            (events.len() == 3).then(|| requests.to_vec())
        })
        .await;
    for request in requests {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v2/webhook"));
        assert_eq!(request.query, format!("token=a%26b&event={}", event(&request)));
        assert_eq!(request.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn all_messages_are_told_in_arrays_with_the_fields_that_are_decoded() {
    let (server, receiver) = start(json!({})).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let payload = text("gr\u{fc}\u{df}e");
    let message = Outgoing::to(id("bob"), payload.clone()).client_msg_no("no-1").receipt();
    let sent = ann.session.send(message.ttl(Duration::from_millis(1_500))).await.unwrap();
    let got = bob.message().await;
    let system = server.message(json!({"to": {"peers": ["bob"]}, "body": text("system")})).await;
    let stored = until_stored(&receiver, 2).await;
    let expected = Message {
        header: tangseng::Header { no_persist: 0, red_dot: 1, sync_once: 0 },
        setting: 1 << 7,
        message_id: sent.id.0,
        message_idstr: sent.id.to_string(),
        client_msg_no: "no-1".into(),
        message_seq: 1,
        from_uid: "ann".into(),
        to_uid: String::new(),
        channel_id: "bob".into(),
        channel_type: 1,
        expire: 2,
        timestamp: (got.at_ms / 1000) as i32,
        payload: payload.into(),
    };
    let of = |id: &str| stored.iter().find(|message| message.message_idstr == id).unwrap();
    assert_eq!(*of(&sent.id.to_string()), expected);
    assert_eq!(of(&system).from_uid, "system");
    assert_eq!((of(&system).setting, of(&system).expire), (0, 0));
}

#[tokio::test]
async fn a_message_has_the_next_number_of_its_channel() {
    let (server, receiver) = start(json!({})).await;
    for number in 0..10 {
        for (from, to) in [("ann", "bob"), ("bob", "ann"), ("ann", "cat")] {
            server.say(from, to, &text(&number.to_string())).await;
        }
    }
    let stored = until_stored(&receiver, 30).await;
    let numbers = |peers: [&str; 2]| {
        let of = |message: &&Message| {
            peers.contains(&&*message.from_uid) && peers.contains(&&*message.channel_id)
        };
        stored.iter().filter(of).map(|message| message.message_seq).collect::<Vec<_>>()
    };
    assert_eq!(numbers(["ann", "bob"]), (1..=20).collect::<Vec<_>>());
    assert_eq!(numbers(["ann", "cat"]), (1..=10).collect::<Vec<_>>());
    // The channel of a message between two is the one who gets it.
    let of_bob = stored.iter().find(|message| message.from_uid == "bob").unwrap();
    assert_eq!(of_bob.channel_id, "ann");
}

#[tokio::test]
async fn a_group_and_several_peers_are_channels_of_type_2() {
    let (server, receiver) = start(json!({})).await;
    let members = json!({"members": ["ann", "bob"]});
    let group = server.post("/v1/groups", members).await.expect(StatusCode::CREATED);
    let group = group["group"].as_str().unwrap();
    let message = json!({"from": "ann", "to": {"group": group}, "body": text("to the group")});
    server.message(message).await;
    let message = json!({"from": "ann", "to": {"peers": ["bob", "cat"]}, "body": text("to two")});
    server.message(message).await;
    let stored = until_stored(&receiver, 2).await;
    let of = |content: &str| {
        let payload = text(content).into_bytes();
        let message = stored.iter().find(|message| message.payload == payload).unwrap();
        (message.channel_id.clone(), message.channel_type)
    };
    assert_eq!(of("to the group"), (group.to_owned(), 2));
    let (several, kind) = of("to two");
    assert_eq!((several.len(), kind), (32, 2));
}

#[tokio::test]
async fn a_status_has_flag_session_and_the_counts_after_the_change() {
    let (server, receiver) = start(json!({"events": ["peer.status"]})).await;
    let phone = server.open_with(on("ann", "phone", DeviceFlag::App)).await;
    let pad = server.open_with(on("ann", "pad", DeviceFlag::App)).await;
    let web = server.open_with(on("ann", "browser", DeviceFlag::Web)).await;
    let (first, second, third) = (phone.id, pad.id, web.id);
    pad.leave().await;
    until_statuses(&receiver, "ann", 4).await;
    web.leave().await;
    until_statuses(&receiver, "ann", 5).await;
    phone.leave().await;
    let told = until_statuses(&receiver, "ann", 6).await;
    let status = |flag, online, session, same_flag, all| Status {
        uid: "ann".into(),
        flag,
        online,
        session,
        same_flag,
        all,
    };
    let expected = [
        status(0, true, first, 1, 1),
        status(0, true, second, 2, 2),
        status(1, true, third, 1, 3),
        status(0, false, second, 1, 2),
        status(1, false, third, 0, 1),
        status(0, false, first, 0, 0),
    ];
    assert_eq!(told, expected);
    // What splits from the left understands it too, for there is no `-` in the id.
    let body = &receiver.requests()[0].body;
    assert_eq!(tangseng::statuses(body), tangseng::statuses_from_the_right(body));
}

#[tokio::test]
async fn an_id_with_dashes_is_read_from_the_right() {
    let (server, receiver) = start(json!({"events": ["peer.status"]})).await;
    let peer = "8b1e-4c-0-1-7";
    let online = server.open_with(on(peer, "pc", DeviceFlag::Pc)).await;
    let told = until_statuses(&receiver, peer, 1).await;
    let status = Status {
        uid: peer.into(),
        flag: 2,
        online: true,
        session: online.id,
        same_flag: 1,
        all: 1,
    };
    assert_eq!(told, [status]);
    assert!(receiver.requests()[0].text().starts_with("[\""), "an array of texts");
}

#[tokio::test]
async fn an_offline_message_is_one_object_with_those_for_whom_it_waits() {
    let (server, receiver) = start(json!({})).await;
    let _cat = server.open("cat").await;
    let to = json!({"peers": ["bob", "cat", "dan"]});
    let several = server.message(json!({"from": "ann", "to": to, "body": text("three")})).await;
    let one = server.say("ann", "bob", &text("one")).await;
    let told = until_offline(&receiver, 2).await;
    let of = |id: &str| told.iter().find(|told| told.message.message_idstr == id).unwrap();
    let mut to = of(&several).to_uids.clone();
    to.sort();
    assert_eq!(to, ["bob", "dan"]);
    assert_eq!((&*of(&one).to_uids, &*of(&one).compress), (&["bob".to_owned()][..], ""));
    assert_ne!(of(&one).source_id, 0);
    let notified = until_stored(&receiver, 2).await;
    assert!(notified.contains(&of(&one).message), "the same message as in msg.notify");
    for request in receiver.requests().iter().filter(|it| event(it) == "msg.offline") {
        assert!(request.text().starts_with('{'), "{request:?}");
    }
}

#[tokio::test]
async fn an_offline_message_is_in_an_array_if_that_is_set() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let more = json!({
        "dialect": "wukongim", "offline_array": true, "events": ["message.offline"],
        "interval_ms": 10,
    });
    server.endpoint("im", &receiver, more).await;
    let sent = server.say("ann", "bob", "not JSON").await;
    let request = receiver.had(1).await.remove(0);
    let [told]: [Offline; 1] = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((told.message.message_idstr, told.to_uids), (sent, vec!["bob".to_owned()]));
}

#[tokio::test]
async fn a_long_list_of_recipients_is_compressed_if_that_is_set() {
    let (server, receiver) = start(json!({"gzip_over": 3, "events": ["message.offline"]})).await;
    let members: Vec<String> = (0..20).map(|number| format!("peer-{number:02}")).collect();
    let to = json!({"from": "ann", "to": {"peers": members}, "body": text("many")});
    server.message(to).await;
    let to = json!({"from": "ann", "to": {"peers": members[..3]}, "body": text("few")});
    server.message(to).await;
    let told = until_offline(&receiver, 2).await;
    let [few, many] = [3, 20].map(|count| {
        let found = told.iter().find(|told| told.to_uids.len() == count);
        found.unwrap_or_else(|| panic!("no list of {count} in {told:?}"))
    });
    assert_eq!((&*few.compress, few.compress_to_uids.len()), ("", 0));
    assert_eq!(many.compress, "gzip");
    let mut to = many.to_uids.clone();
    to.sort();
    assert_eq!(to, members, "the stream is whole");
}

#[tokio::test]
async fn octo_server_verifies_every_request() {
    let (server, receiver) = start(json!({})).await;
    let _bob = server.open("bob").await;
    server.say("ann", "cat", &text("hello")).await;
    for request in receiver.had(3).await {
        assert!(crate::standard::octo_verifies(SECRET.as_bytes(), &request), "{request:?}");
        assert!(!crate::standard::octo_verifies(b"another", &request));
        let mut changed = request.clone();
        changed.body = [&request.body[..], b" "].concat().into();
        assert!(!crate::standard::octo_verifies(SECRET.as_bytes(), &changed));
    }
}

#[tokio::test]
async fn what_the_receiver_cannot_decode_is_a_dead_letter_and_all_else_arrives() {
    let (server, receiver) = start(json!({"events": ["message.offline"]})).await;
    for number in 0..5 {
        let body = if number == 2 { "no JSON".to_owned() } else { text(&number.to_string()) };
        server.say("ann", "bob", &body).await;
    }
    server.until("im", "a letter", |it| it["health"]["letters"] == 1).await;
    let good = |requests: &[Request]| {
        let offline = requests.iter().filter_map(|it| offline(&it.body).ok().flatten());
        let ids: Vec<_> = offline.map(|told| told.message.message_seq).collect();
        (ids.len() >= 4).then_some(ids)
    };
    assert_eq!(receiver.until("the rest", good).await, [1, 2, 4, 5]);
}

#[tokio::test]
async fn messages_are_stored_whether_the_receiver_takes_them_or_not() {
    let (server, receiver) = start(json!({})).await;
    receiver.down();
    let mut bob = server.open("bob").await;
    for number in 0..3 {
        server.say("ann", "bob", &text(&number.to_string())).await;
    }
    for number in 0..3 {
        assert_eq!(bob.message().await.body, text(&number.to_string()));
    }
    let history = server.get("/v1/history?sender=ann").await;
    assert_eq!(history["items"].as_array().unwrap().len(), 3);
    receiver.up().await;
    let stored = until_stored(&receiver, 3).await;
    assert_eq!(stored.iter().map(|it| it.message_seq).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn any_2xx_is_a_success_though_wukongim_takes_only_200() {
    let (server, receiver) = start(json!({"events": ["message.sent"]})).await;
    receiver.answers(|request| Answer::status(if request.number == 0 { 204 } else { 200 }));
    server.say("ann", "bob", &text("first")).await;
    server.until("im", "taken", |it| it["health"]["ok"] == 1).await;
    server.say("ann", "bob", &text("second")).await;
    let requests = receiver.had(2).await;
    assert_ne!(requests[0].id(), requests[1].id());
    assert_eq!(notify(&requests[0].body).unwrap().len(), 1);
}
