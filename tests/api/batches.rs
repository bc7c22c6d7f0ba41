//! Many messages of the back end at once.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::harness::{Answer, Running, answer};
use crate::messages::{bodies_until, id};

async fn send_batch(server: &Running, messages: &[Value]) -> Answer {
    server.post("/v1/messages/batch", json!({"messages": messages})).await
}

#[tokio::test]
async fn each_message_of_a_batch_has_an_outcome_of_its_own_and_they_keep_their_order() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let to_bob = |body: &str| json!({"to": {"peers": ["bob"]}, "body": body});
    let batch = [
        to_bob("1"),
        json!({"to": {"peers": ["b:b"]}, "body": "bad"}),
        to_bob("2"),
        json!({"to": {"alias": "none"}, "body": "nobody"}),
        json!(7),
        json!({"to": {"peers": ["bob"]}, "body": "3", "transient": true}),
        to_bob("4"),
    ];
    let told = send_batch(&server, &batch).await.ok();
    let results = told["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [201, 422, 201, 404, 422, 200, 201]);
    for (index, kind) in [(1, "invalid-body"), (3, "no-such-alias"), (4, "invalid-body")] {
        let problem = &results[index]["problem"];
        assert_eq!(problem["type"], format!("urn:tidings:problem:{kind}"));
        assert_eq!(problem["status"], results[index]["status"]);
        assert_eq!(problem["instance"], format!("#/messages/{index}"));
    }
    let sequences = [0, 2, 6].map(|index| results[index]["messages"][0]["sequence"].clone());
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(results[6]["online"], 1);
    let mut got = bodies_until(&mut bob, "4").await;
    // What is transient keeps no order with what is stored.
    got.retain(|body| body != "3");
    assert_eq!(got, ["1", "2", "4"]);
    assert_eq!(server.server().metrics().api_sends.get(), 4);
}

#[tokio::test]
async fn a_batch_has_a_thousand_messages_and_not_one_more() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let batch = |count: usize, body: &str| {
        let message = |index| json!({"to": {"peers": ["bob"]}, "body": format!("{body}{index}")});
        (0..count).map(message).collect::<Vec<_>>()
    };
    for refused in [&batch(1001, "")[..], &[]] {
        assert_eq!(send_batch(&server, refused).await.problem(), "invalid-body");
    }
    // The longest there are, all of them.
    let told = send_batch(&server, &batch(1000, &"x".repeat(5100))).await.ok();
    let results = told["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result["status"] == 201));
    for (index, result) in results.iter().enumerate() {
        let got = bob.message().await;
        assert_eq!(got.id.to_string(), id(result));
        assert_eq!(u64::from(got.sequence), index as u64 + 1);
        assert!(got.body.ends_with(format!("x{index}").as_bytes()));
    }
    let unknown = json!({"messages": batch(1, ""), "more": 1});
    let unknown = server.post("/v1/messages/batch", unknown).await;
    assert_eq!(unknown.problem(), "invalid-body");
}

#[tokio::test]
async fn a_batch_has_8_mib_and_not_one_byte_more() {
    let server = Running::start().await;
    let message = json!({"to": {"peers": ["bob"]}, "body": "short"});
    let messages = json!({"messages": [message]}).to_string();
    let send = async |bytes: usize| {
        let request = server.request(Method::POST, "/v1/messages/batch", Some(&server.master));
        let request = request.header(CONTENT_TYPE, "application/json");
        let space = " ".repeat(bytes - messages.len());
        answer(request.body(format!("{messages}{space}"))).await
    };
    assert_eq!(send(8 * 1024 * 1024 + 1).await.problem(), "body-too-long");
    assert_eq!(send(8 * 1024 * 1024).await.ok()["results"][0]["status"], 201);
}

#[tokio::test]
async fn an_idempotency_key_names_each_message_of_a_batch_at_its_place() {
    let server = Running::start().await;
    let message = |body| json!({"to": {"peers": ["bob"]}, "body": body});
    let send = async |messages: Value| {
        let path = "/v1/messages/batch";
        let request = server.request(Method::POST, path, Some(&server.master));
        let request = request.header("Idempotency-Key", "b-1");
        let told = answer(request.json(&json!({"messages": messages}))).await.ok();
        let results = told["results"].as_array().unwrap().iter();
        results.map(|result| result["status"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(send(json!([message("same"), message("same")])).await, [201, 201]);
    let more = json!([message("same"), message("other"), message("more")]);
    assert_eq!(send(more).await, [200, 422, 201]);
}
