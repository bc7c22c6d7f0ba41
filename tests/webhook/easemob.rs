//! Callbacks as Easemob sends them, at a receiver that takes one object with a `callId` and
//! answers 500 to an array.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidings::client::NewGroup;
use tidings::id::DeviceFlag;

use crate::harness::{APP, Running, on};
use crate::jackson::{self, Body, Callback, Scalar, Size, callbacks, security};
use crate::receiver::{Receiver, Request};

const SECRET: &str = "123456";

/// A receiver of callbacks, and a server that calls it.
async fn start(more: Value) -> (Running, Receiver) {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    receiver.answers(jackson::answer);
    let mut definition = json!({"dialect": "easemob", "secret": SECRET, "interval_ms": 10});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.endpoint("callbacks", &receiver, definition).await;
    (server, receiver)
}

async fn until(receiver: &Receiver, is_it: impl Fn(&Callback) -> bool) -> Callback {
    let find = |requests: &[Request]| callbacks(requests).into_iter().find(|it| is_it(it));
    receiver.until("a callback", find).await
}

fn is(event: &'static str) -> impl Fn(&Callback) -> bool {
    move |callback| callback.event_type.as_deref() == Some(event)
}

#[tokio::test]
async fn the_back_end_asks_for_a_message_the_server_delivers_it_and_calls_back() {
    let (server, receiver) = start(json!({})).await;
    let mut bob = server.open("bob").await;
    let sent = server.say("ann", "bob", "hello").await;
    let got = bob.message().await;
    assert_eq!((got.id.to_string(), &got.body[..]), (sent.clone(), &b"hello"[..]));
    let chat = until(&receiver, is("chat")).await;
    assert_eq!(
        (chat.msg_id.as_str(), chat.from.as_str(), chat.to.as_str()),
        (&*sent, "ann", "bob")
    );
    assert_eq!((chat.chat_type.as_deref(), chat.group_id.as_str()), (Some("chat"), ""));
    assert_eq!(chat.timestamp, got.at_ms as i64);
    // What it answers is taken for what its status says, and is not asked for again.
    let overview = server.until("callbacks", "done", |it| it["health"]["waiting"] == 0).await;
    assert_eq!(
        (&overview["health"]["failed"], &overview["health"]["letters"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn every_callback_is_one_object_at_the_root_with_its_proof_and_signatures() {
    let (server, receiver) = start(json!({})).await;
    for number in 0..5 {
        server.say("ann", "bob", &number.to_string()).await;
    }
    // Five that were sent, five that wait.
    let requests = receiver.had(10).await;
    let mut ids: Vec<_> = requests.iter().map(|request| request.id().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10, "two requests with one id");
    for request in &requests {
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/", ""));
        assert_eq!(request.header("content-type"), "application/json");
        assert!(crate::standard::octo_verifies(SECRET.as_bytes(), request));
        let callback = jackson::read(request).unwrap();
        assert!(callback.call_id.starts_with(&format!("{APP}_")), "{callback:?}");
        assert_eq!(callback.security, security(&callback.call_id, SECRET, callback.timestamp));
        assert_eq!(callback.security_version.as_deref(), Some("1.0.0"));
        assert_eq!(callback.appkey, APP);
        assert!(!callback.host.is_empty());
    }
    assert_eq!(callbacks(&requests).len(), 10);
}

#[tokio::test]
async fn a_message_that_waits_makes_one_callback_for_each_absent_member() {
    let (server, receiver) = start(json!({"events": ["message.offline"]})).await;
    let _cat = server.open("cat").await;
    let to = json!({"peers": ["bob", "cat", "dan"]});
    let sent = server.message(json!({"from": "ann", "to": to, "body": "to three"})).await;
    let members = json!({"members": ["ann", "bob", "cat", "eve"]});
    let group = server.post("/v1/groups", members).await.expect(reqwest::StatusCode::CREATED);
    let group = group["group"].as_str().unwrap().to_owned();
    let message = json!({"from": "ann", "to": {"group": group}, "body": "to the group"});
    let in_group = server.message(message).await;
    let requests = receiver.had(4).await;
    let told = callbacks(&requests);
    let of = |id: &str| {
        let mut to: Vec<_> = told.iter().filter(|it| it.msg_id == id).map(|it| &*it.to).collect();
        to.sort_unstable();
        to
    };
    assert_eq!(of(&sent), ["bob", "dan"]);
    assert_eq!(of(&in_group), ["bob", "eve"]);
    for callback in &told {
        assert_eq!(callback.event_type.as_deref(), Some("chat_offline"));
        assert_eq!(callback.chat_type.as_deref(), Some("groupchat"));
    }
    let of_group = told.iter().find(|callback| callback.msg_id == in_group).unwrap();
    assert_eq!((of_group.from.as_str(), of_group.group_id.as_str()), ("ann", &*group));
}

fn body_of(kind: &str) -> Body {
    Body { kind: Some(kind.into()), ..Body::default() }
}

fn text(text: &str) -> Option<String> {
    Some(text.into())
}

/// A body and what becomes of it.
fn bodies() -> Vec<(Value, Body)> {
    let (url, secret, filename) = (text("https://a.example/f"), text("s3"), text("f.bin"));
    let file = |kind: &str| {
        let (url, secret, filename) = (url.clone(), secret.clone(), filename.clone());
        Body { url, secret, filename, ..body_of(kind) }
    };
    let json = |kind: &str, more: Value| {
        let mut json = json!({
            "type": kind, "url": "https://a.example/f", "secret": "s3", "filename": "f.bin",
            "ext": {"key1": "value1", "key2": 2},
        });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json
    };
    let size = Some(Size { width: 480, height: 720 });
    let sized = json!({"width": 480, "height": 720});
    let ext = json!({"key1": "value1", "key2": 2});
    vec![
        (
            json!({"type": "txt", "msg": "hi", "ext": ext}),
            Body { msg: text("hi"), ..body_of("txt") },
        ),
        (
            json("img", json!({"size": sized, "file_length": 9})),
            Body { size: size.clone(), file_length: Some(9), ..file("img") },
        ),
        (
            json("audio", json!({"length": 4, "file_length": 6_000})),
            Body { length: Some(4), file_length: Some(6_000), ..file("audio") },
        ),
        (
            json(
                "video",
                json!({
                    "length": 7, "thumb": "https://a.example/t", "thumb_secret": "t3",
                    "size": sized,
                }),
            ),
            Body {
                length: Some(7),
                thumb: text("https://a.example/t"),
                thumb_secret: text("t3"),
                size,
                ..file("video")
            },
        ),
        (json("file", json!({"file_length": 5_000_000_000_u64})), file("file")),
        (
            json!({"type": "loc", "lat": 39.9, "lng": 116.3, "addr": "here", "ext": ext}),
            Body { lat: Some(39.9), lng: Some(116.3), addr: text("here"), ..body_of("loc") },
        ),
        (
            json!({"type": "cmd", "action": "ring", "ext": ext}),
            Body { action: text("ring"), ..body_of("cmd") },
        ),
        (
            json!({
                "type": "custom", "customEvent": "gift", "customExts": [{"n": "1"}], "ext": ext,
            }),
            Body { custom_event: text("gift"), ..body_of("custom") },
        ),
    ]
}

#[tokio::test]
async fn bodies_of_every_type_and_their_ext_are_what_a_receiver_parses() {
    let (server, receiver) = start(json!({"events": ["message.sent"]})).await;
    let bodies = bodies();
    for (json, _) in &bodies {
        server.say("ann", "bob", &json.to_string()).await;
    }
    server.say("ann", "bob", "not JSON").await;
    let nested = json!({"type": "txt", "msg": "n", "ext": {"list": [1], "map": {"a": 1}}});
    server.say("ann", "bob", &nested.to_string()).await;
    let requests = receiver.had(bodies.len() + 2).await;
    let told = callbacks(&requests);
    let ext = BTreeMap::from([
        ("key1".to_owned(), Scalar::Text("value1".into())),
        ("key2".to_owned(), Scalar::Number(2.0)),
    ]);
    for ((json, body), callback) in bodies.iter().zip(&told) {
        assert_eq!(callback.payload.bodies, std::slice::from_ref(body), "{json}");
        assert_eq!(callback.payload.ext, ext, "{json}");
    }
    let plain = Body { msg: text("not JSON"), ..body_of("txt") };
    assert_eq!(told[bodies.len()].payload.bodies, [plain]);
    // An old receiver refuses what is nested, so it gets the text of it.
    let nested = &told[bodies.len() + 1].payload.ext;
    assert_eq!(nested["list"], Scalar::Text("[1]".into()));
    assert_eq!(nested["map"], Scalar::Text(r#"{"a":1}"#.into()));
}

#[tokio::test]
async fn reads_recalls_groups_and_sessions_have_callbacks_of_their_own() {
    let (server, receiver) = start(json!({})).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let sent = ann.send("bob", "hello").await;
    let got = bob.message().await;
    bob.session.read_up_to(got.conversation, got.sequence).await.unwrap();
    let kind = |kind: &'static str| move |it: &Callback| it.chat_type.as_deref() == Some(kind);
    let read = until(&receiver, kind("read_ack")).await;
    assert_eq!((read.from.as_str(), read.to.as_str()), ("bob", "ann"));
    ann.session.recall(sent.id).await.unwrap();
    let recall = until(&receiver, kind("recall")).await;
    assert_eq!(recall.recall_id, Some(sent.id.to_string()));
    let group = ann.session.create_group(NewGroup::default()).await.unwrap();
    let made = until(&receiver, kind("muc")).await;
    assert_eq!(made.group_id, group.id.to_string());
    assert_eq!(made.payload.operation.as_deref(), Some("create"));
    let web = server.open_with(on("bob", "browser", DeviceFlag::Web)).await;
    let online = |it: &Callback| it.user.as_ref().is_some_and(|user| user.contains("/web_browser"));
    let online = until(&receiver, online).await;
    let user = format!("{APP}_bob@easemob.com/web_browser");
    assert_eq!(online.user.as_deref(), Some(&*user));
    assert_eq!(
        (online.status.as_deref(), online.reason.as_deref()),
        (Some("online"), Some("login"))
    );
    assert_eq!(online.os.as_deref(), Some("web"));
    assert!(online.ip.unwrap().starts_with("127.0.0.1:"));
    assert_eq!((online.event_type, online.chat_type), (None, None));
    web.leave().await;
    let offline = |it: &Callback| it.status.as_deref() == Some("offline");
    let offline = until(&receiver, offline).await;
    assert_eq!((offline.user, offline.reason.as_deref()), (Some(user), Some("logout")));
}

#[tokio::test]
async fn a_receiver_that_takes_no_array_never_gets_one_and_an_error_is_tried_again() {
    let (server, receiver) = start(json!({"events": ["message.sent"]})).await;
    let mut failures = 3;
    receiver.answers(move |request| match failures {
        0 => jackson::answer(request),
        _ => {
            failures -= 1;
            crate::receiver::Answer::status(500)
        }
    });
    for number in 0..20 {
        server.say("ann", "bob", &number.to_string()).await;
    }
    let requests = receiver
        .until("all of it", |requests| {
            (callbacks(requests).len() == 20 && requests.len() >= 23).then(|| requests.to_vec())
        })
        .await;
    let said = |callback: &Callback| callback.payload.bodies[0].msg.clone().unwrap();
    let told: Vec<_> = callbacks(&requests).iter().map(said).collect();
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(told, expected, "one conversation has one order");
}
