//! Receipts as Getui sends them: lines of JSON, at the URL that an app has registered for them;
//! and the whole way of a push with its receipt.

use md5::{Digest, Md5};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings::client::Event;
use tidings::id::{Alias, DeviceFlag};

use crate::harness::{APP, Online, Running, on};
use crate::jackson::hex;
use crate::receiver::{Receiver, Request};

const SECRET: &str = "a master secret";

/// A receipt, by the fields that are documented; further ones are ignored.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
struct Receipt {
    appid: String,
    cid: String,
    taskid: String,
    msgid: String,
    code: String,
    desc: String,
    sign: String,
    #[serde(rename = "actionId")]
    action_id: String,
    recvtime: i64,
    text: Option<String>,
    peer: Option<String>,
}

/// The receipts of all requests, each of which has whole lines only, with good proofs.
fn receipts(requests: &[Request]) -> Vec<Receipt> {
    let mut receipts: Vec<Receipt> = Vec::new();
    for request in requests {
        assert!(request.header("content-type").starts_with("text/plain"), "{request:?}");
        for line in request.text().lines() {
            let receipt: Receipt = serde_json::from_str(line).unwrap();
            let Receipt { appid, cid, taskid, msgid, .. } = &receipt;
            let sign = Md5::digest(format!("{appid}{cid}{taskid}{msgid}{SECRET}"));
            assert_eq!(receipt.sign, hex(&sign), "{receipt:?}");
            assert_eq!(appid, APP);
            if !receipts.contains(&receipt) {
                receipts.push(receipt);
            }
        }
    }
    receipts
}

async fn until(receiver: &Receiver, is_it: impl Fn(&Receipt) -> bool) -> Receipt {
    let find = |requests: &[Request]| receipts(requests).into_iter().find(|it| is_it(it));
    receiver.until("a receipt", find).await
}

/// A server with a receipt URL.
async fn start(more: Value) -> (Running, Receiver) {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let mut definition = json!({"dialect": "getui", "secret": SECRET, "interval_ms": 10});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.endpoint_at("receipts", &receiver.url_of("/receipts"), definition).await;
    (server, receiver)
}

async fn push_to_alias(server: &Running, from: &str, alias: &str, body: &str) -> String {
    let message = json!({"from": from, "to": {"alias": alias}, "body": body, "receipt": true});
    server.message(message).await
}

fn alias(name: &str) -> Alias {
    name.parse().unwrap()
}

/// Has the next message, and says so.
async fn take(online: &mut Online) -> String {
    let got = online.message().await;
    online.session.ack(got.cursor());
    String::from_utf8(got.body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_receipt_goes_to_the_registered_url_when_a_message_arrives() {
    let (server, receiver) = start(json!({"events": ["message.delivered"]})).await;
    let mut bob = server.open_with(on("bob", "phone", DeviceFlag::App)).await;
    bob.session.bind_alias(&alias("bob")).await.unwrap();
    // As the back end itself does it, and in the name of a peer.
    let plain = json!({"to": {"alias": "bob"}, "body": "from the system", "receipt": true});
    let system = server.message(plain).await;
    let pushed = push_to_alias(&server, "ann", "bob", "hello").await;
    for (id, body) in [(&system, "from the system"), (&pushed, "hello")] {
        assert_eq!(take(&mut bob).await, body);
        let receipt = until(&receiver, |receipt| receipt.msgid == *id).await;
        let said = (&*receipt.cid, &*receipt.code, &*receipt.desc, &*receipt.action_id);
        assert_eq!(said, ("phone", "200", "ok", "0"));
        assert_eq!((&receipt.taskid, receipt.peer.as_deref()), (id, Some("bob")));
        assert!(receipt.recvtime > 1_700_000_000_000, "in milliseconds");
    }
    assert_eq!(receiver.requests()[0].path, "/receipts");
}

#[tokio::test]
async fn many_receipts_share_a_request_line_by_line() {
    let (server, receiver) = start(json!({"events": ["message.delivered"]})).await;
    let mut bob = server.open("bob").await;
    let mut sent = Vec::new();
    for number in 0..50 {
        let message = json!({
            "from": format!("peer-{number}"), "to": {"peers": ["bob"]}, "body": "x",
            "receipt": true,
        });
        sent.push(server.message(message).await);
    }
    for _ in 0..50 {
        take(&mut bob).await;
    }
    let all = |requests: &[Request]| {
        let told = receipts(requests);
        sent.iter().all(|id| told.iter().any(|receipt| receipt.msgid == *id)).then_some(told)
    };
    let told = receiver.until("all receipts", all).await;
    assert_eq!(told.len(), 50, "each once");
}

#[tokio::test]
async fn a_message_of_a_client_to_the_back_end_is_a_line_of_its_own_action() {
    let (server, receiver) = start(json!({})).await;
    let mut ann = server.open_with(on("ann", "phone", DeviceFlag::App)).await;
    let sent = ann.session.send_upstream("order 4711").await.unwrap();
    let line = until(&receiver, |receipt| receipt.msgid == sent.id.to_string()).await;
    assert_eq!((&*line.cid, line.text.as_deref()), ("phone", Some("order 4711")));
    assert_eq!((&*line.taskid, line.peer.as_deref()), ("", Some("ann")));
    assert!((90_000..=90_999).contains(&line.action_id.parse().unwrap()), "{line:?}");
    let done = ann.upstream_done().await;
    assert_eq!((done.upstream, done.accepted), (sent.id, true));
}

/// The back end of two apps that talk: what a client sends up is an order `{"alias", "text"}`,
/// which it pushes to the alias; what a receipt tells, it tells the sender.
async fn say(server: &Running, receiver: &Receiver, by: &mut Online, to: &mut Online, text: &str) {
    let alias = format!("{}@home", to.session.peer());
    let order = json!({"alias": alias, "text": text}).to_string();
    // From one to the back end, by webhook; its 2xx is what the client hears.
    let up = by.session.send_upstream(order).await.unwrap();
    let line = until(receiver, |receipt| receipt.msgid == up.id.to_string()).await;
    let order: Value = serde_json::from_str(&line.text.unwrap()).unwrap();
    assert!(by.upstream_done().await.accepted);
    // From the back end to the other, by its alias; the client's receipt comes by itself.
    let (from, alias) = (line.peer.unwrap(), order["alias"].as_str().unwrap());
    let pushed = push_to_alias(server, &from, alias, order["text"].as_str().unwrap()).await;
    assert_eq!(take(to).await, text);
    // From the receipt URL back to the one: by an answer or, as here, by a push of its own.
    let receipt = until(receiver, |receipt| receipt.msgid == pushed).await;
    assert_eq!(receipt.cid, to.session.device().as_str());
    let told = json!({"to": {"peers": [from]}, "body": format!("arrived: {pushed}")});
    server.message(told).await;
    let (mut is_marked, mut is_told) = (false, false);
    while !(is_marked && is_told) {
        match by.event().await {
            Event::Delivered(_) => is_marked = true,
            Event::Message(message) if !message.own => {
                is_told = message.body == format!("arrived: {pushed}");
                by.session.ack(message.cursor());
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_full_flow_one_to_back_end_to_the_other_to_receipt_to_back_end_to_the_one() {
    let (server, receiver) = start(json!({})).await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    ann.session.bind_alias(&alias("ann@home")).await.unwrap();
    bob.session.bind_alias(&alias("bob@home")).await.unwrap();
    say(&server, &receiver, &mut ann, &mut bob, "hello").await;
    // The way back is the same.
    say(&server, &receiver, &mut bob, &mut ann, "hello yourself").await;
}

#[tokio::test]
async fn what_getui_has_no_words_for_cannot_be_asked_for() {
    let server = Running::start().await;
    let definition = json!({
        "id": "receipts", "url": "http://127.0.0.1:9/", "dialect": "getui",
        "events": ["peer.status"],
    });
    let refused = server.post("/v1/endpoints", definition).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
}
