//! What clients send to the back end itself.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use tidings::client::{Event, OpenOptions, UpstreamDone};

use crate::harness::{Answer, Online, Running};

async fn waiting(server: &Running) -> Vec<Value> {
    let page = server.get("/v1/upstream").await.ok();
    assert_eq!(page["next"], Value::Null);
    page["items"].as_array().unwrap().clone()
}

async fn settle(server: &Running, id: &str, accepted: bool) -> Answer {
    server.post(&format!("/v1/upstream/{id}"), json!({"accepted": accepted})).await
}

async fn done(online: &mut Online) -> UpstreamDone {
    loop {
        if let Event::UpstreamDone(done) = online.event().await {
            return done;
        }
    }
}

fn on(peer: &str, device: &str) -> OpenOptions {
    OpenOptions::new(peer.parse().unwrap()).device(device.parse().unwrap())
}

#[tokio::test]
async fn a_client_sends_to_the_back_end_and_hears_that_it_accepts() {
    let server = Running::start().await;
    let mut phone = server.open_with(on("ann", "phone")).await;
    let mut pad = server.open_with(on("ann", "pad")).await;
    let sent = phone.session.send_upstream("order 4711").await.unwrap();
    let expected = json!({
        "id": sent.id.to_string(), "at_ms": sent.at_ms, "from": "ann", "device": "phone",
        "body": "order 4711",
    });
    assert_eq!(waiting(&server).await, [expected]);
    let settled = settle(&server, &sent.id.to_string(), true).await;
    assert_eq!(settled.expect(StatusCode::NO_CONTENT), Value::Null);
    for device in [&mut phone, &mut pad] {
        let done = done(device).await;
        assert_eq!((done.upstream, done.accepted, done.waited), (sent.id, true, false));
    }
    assert_eq!(waiting(&server).await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_client_that_is_away_hears_later_that_its_message_was_refused() {
    let mut server = Running::start().await;
    let ann = server.open_with(on("ann", "phone")).await;
    let sent = ann.session.send_upstream(&b"\xff\x00"[..]).await.unwrap();
    ann.session.end().await;
    server.restart().await;
    let waiting = waiting(&server).await;
    assert_eq!(waiting[0]["body_base64"], "/wA=");
    assert_eq!(waiting[0].get("body"), None);
    settle(&server, &sent.id.to_string(), false).await.expect(StatusCode::NO_CONTENT);
    server.restart().await;
    let mut ann = server.open_with(on("ann", "phone")).await;
    let done = done(&mut ann).await;
    assert_eq!((done.upstream, done.accepted, done.waited), (sent.id, false, true));
}

#[tokio::test]
async fn what_does_not_wait_for_the_back_end_cannot_be_settled() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let sent = ann.session.send_upstream("once").await.unwrap().id.to_string();
    let message = json!({"to": {"peers": ["ann"]}, "body": "a message"});
    let message = server.post("/v1/messages", message).await.expect(StatusCode::CREATED);
    settle(&server, &sent, true).await.expect(StatusCode::NO_CONTENT);
    for unknown in [&sent, message["messages"][0]["id"].as_str().unwrap(), "1"] {
        let answer = settle(&server, unknown, true).await;
        let told = (answer.status, answer.problem());
        assert_eq!(told, (StatusCode::NOT_FOUND, "no-such-message".into()));
    }
    assert_eq!(settle(&server, "0", true).await.problem(), "invalid-path");
    for wrong in [json!({}), json!({"accepted": "yes"}), json!({"accepted": true, "more": 1})] {
        let answer = server.post(&format!("/v1/upstream/{sent}"), wrong).await;
        assert_eq!(answer.problem(), "invalid-body");
    }
}

#[tokio::test]
async fn what_waits_is_listed_in_pages_the_oldest_first() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let mut sent = Vec::new();
    for number in 0..101 {
        let stored = ann.session.send_upstream(number.to_string()).await.unwrap();
        sent.push(stored.id.to_string());
    }
    let ids = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (query, expected, more) in [
        (String::new(), &sent[..100], true),
        ("limit=100".into(), &sent[..100], true),
        ("limit=1".into(), &sent[..1], true),
        (format!("after={}", sent[99]), &sent[100..], false),
        (format!("after={}&limit=2", sent[97]), &sent[98..100], true),
        (format!("after={}", sent[100]), &[], false),
    ] {
        let page = server.get(&format!("/v1/upstream?{query}")).await.ok();
        assert_eq!(ids(&page), expected, "{query}");
        let next = if more { json!(expected.last().unwrap()) } else { Value::Null };
        assert_eq!(page["next"], next, "{query}");
    }
    for refused in ["limit=0", "limit=101", "limit=x", "after=0", "after=x", "before=1"] {
        let refused = server.get(&format!("/v1/upstream?{refused}")).await;
        assert_eq!(refused.problem(), "invalid-query");
    }
}

#[tokio::test]
async fn what_the_back_end_does_not_take_within_a_day_counts_as_refused() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let sent = ann.session.send_upstream("too late").await.unwrap();
    // A clock that jumps by more than a day would not be believed.
    server.step(Duration::from_secs(24 * 3600 - 1));
    let done = done(&mut ann).await;
    assert_eq!((done.upstream, done.accepted), (sent.id, false));
    assert_eq!(settle(&server, &sent.id.to_string(), true).await.problem(), "no-such-message");
}
