//! Requests that are recognised when they come again.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Answer, Online, Running, answer};
use crate::messages::{bodies_until, send};

/// Sends with an `Idempotency-Key`.
pub(crate) async fn send_as(server: &Running, key: &str, header: &str, message: &Value) -> Answer {
    let request = server.request(Method::POST, "/v1/messages", Some(key));
    answer(request.header("Idempotency-Key", header).json(message)).await
}

#[tokio::test]
async fn a_request_with_an_idempotency_key_is_one_message_however_often_it_comes() {
    let mut server = Running::start().await;
    let mut bob = server.open("bob").await;
    let master = server.master.clone();
    let message = json!({"to": {"peers": ["bob"]}, "body": "once"});
    let first = send_as(&server, &master, "order-4711", &message).await;
    let first = first.expect(StatusCode::CREATED);
    for _ in 0..2 {
        let again = send_as(&server, &master, "order-4711", &message).await.ok();
        let mut expected = first["messages"].clone();
        expected[0]["repeated"] = json!(true);
        assert_eq!(again["messages"], expected);
        assert_eq!(again["recipients"][0]["message"], first["recipients"][0]["message"]);
        server.restart().await;
    }
    let other = json!({"to": {"peers": ["bob"]}, "body": "other"});
    let reused = send_as(&server, &master, "order-4711", &other).await;
    assert_eq!(reused.problem(), "idempotency-key-reused");
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY);

    // Another header, another key of the API, and no header at all are other requests.
    let shop = server.key("shop", &["send"]).await;
    send_as(&server, &master, "order-4712", &other).await.expect(StatusCode::CREATED);
    send_as(&server, &shop, "order-4711", &other).await.expect(StatusCode::CREATED);
    send(&server, json!({"to": {"peers": ["bob"]}, "body": "last"})).await;
    assert_eq!(bodies_until(&mut bob, "last").await, ["once", "other", "other", "last"]);
}

#[tokio::test]
async fn a_push_that_comes_again_is_the_same_though_its_alias_has_another_device_by_then() {
    let server = Running::start().await;
    let (phone, laptop) = (server.open("ann").await, server.open("ann").await);
    let bind = async |online: &Online| {
        let device = online.session.device().as_str();
        let bindings = json!({"bindings": [{"alias": "ann", "device": device}]});
        server.post("/v1/aliases", bindings).await.ok();
    };
    let message = json!({"to": {"alias": "ann"}, "body": "once"});
    let send = async || send_as(&server, &server.master, "push", &message).await;
    bind(&phone).await;
    let first = send().await.expect(StatusCode::CREATED);
    server.delete("/v1/aliases/ann").await.expect(StatusCode::NO_CONTENT);
    bind(&laptop).await;
    let again = send().await.ok();
    assert_eq!(again["messages"][0]["id"], first["messages"][0]["id"]);
    assert_eq!(again["messages"][0]["repeated"], json!(true));
}

#[tokio::test]
async fn an_idempotency_key_is_forgotten_after_a_day() {
    let server = Running::start().await;
    let message = json!({"to": {"peers": ["bob"]}, "body": "daily"});
    let send = async || send_as(&server, &server.master, "daily", &message).await.status;
    assert_eq!(send().await, StatusCode::CREATED);
    server.step(Duration::from_secs(24 * 3600 - 60));
    assert_eq!(send().await, StatusCode::OK);
    server.step(Duration::from_secs(120));
    assert_eq!(send().await, StatusCode::CREATED);
}

#[tokio::test]
async fn an_idempotency_key_has_255_visible_characters_and_not_one_more() {
    let server = Running::start().await;
    let message = json!({"to": {"peers": ["bob"]}, "body": "a"});
    for header in ["x".repeat(256).as_str(), "", "two words", "\u{e4}"] {
        let refused = send_as(&server, &server.master, header, &message).await;
        assert_eq!(refused.problem(), "invalid-header", "{header:?}");
    }
    let twice = server.request(Method::POST, "/v1/messages", Some(&server.master));
    let twice = twice.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    assert_eq!(answer(twice.json(&message)).await.problem(), "invalid-header");
    let longest = "x".repeat(255);
    for expected in [StatusCode::CREATED, StatusCode::OK] {
        assert_eq!(send_as(&server, &server.master, &longest, &message).await.status, expected);
    }
}

#[tokio::test]
async fn a_push_to_an_alias_that_comes_again_is_the_same_message_for_each_peer() {
    let server = Running::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    for online in [&ann, &bob] {
        online.session.bind_alias(&"home".parse().unwrap()).await.unwrap();
    }
    let message = json!({"to": {"alias": "home"}, "body": "dinner"});
    let first = send_as(&server, &server.master, "dinner", &message).await;
    let first = first.expect(StatusCode::CREATED);
    let again = send_as(&server, &server.master, "dinner", &message).await.ok();
    for place in 0..2 {
        assert_eq!(again["messages"][place]["id"], first["messages"][place]["id"]);
        assert_eq!(again["messages"][place]["repeated"], true);
    }
    assert_ne!(first["messages"][0]["id"], first["messages"][1]["id"]);
    send(&server, json!({"to": {"peers": ["ann", "bob"]}, "body": "last"})).await;
    for online in [&mut ann, &mut bob] {
        assert_eq!(bodies_until(online, "last").await, ["dinner", "last"]);
    }
}
