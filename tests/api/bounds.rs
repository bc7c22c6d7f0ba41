//! What the server as a whole has no room for.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};

use crate::harness::{Answer, Running, soon};
use crate::messages::{id, send};

/// Sends messages until the log is full; gives the first.
async fn fill(server: &Running) -> Value {
    let first = send(server, json!({"to": {"peers": ["bob"]}, "body": "first"})).await;
    let message = json!({"to": {"peers": ["cat"]}, "body": "x".repeat(5_000)});
    let batch = json!({"messages": vec![message; 500]});
    let filling = async {
        loop {
            let told = server.post("/v1/messages/batch", batch.clone()).await.ok();
            let results = told["results"].as_array().unwrap();
            if let Some(refused) = results.iter().find(|result| result["status"] != 201) {
                return refused["status"].clone();
            }
        }
    };
    assert_eq!(soon("a full log", filling).await, 507);
    first.expect(StatusCode::CREATED)
}

fn is_full(answer: &Answer) {
    let told = (answer.status, answer.problem());
    assert_eq!(told, (StatusCode::INSUFFICIENT_STORAGE, "storage-full".to_owned()));
}

#[tokio::test]
async fn when_the_log_is_full_what_fills_it_is_refused_and_all_else_goes_on() {
    let server = Running::start_with(|config| {
        // The segment that is open cannot be given up.
        config.store.segment_bytes_max = 64 * 1024 * 1024;
        config.store.log_bytes_max = 33 * 1024 * 1024;
    })
    .await;
    let group = json!({"members": ["ann"]});
    let group = server.post("/v1/groups", group).await.expect(StatusCode::CREATED);
    let group = format!("/v1/groups/{}", group["group"].as_str().unwrap());
    let first = fill(&server).await;

    is_full(&send(&server, json!({"to": {"peers": ["bob"]}, "body": "one more"})).await);
    is_full(&server.post("/v1/groups", json!({})).await);
    is_full(&server.post(&format!("{group}/members"), json!({"peers": ["bob"]})).await);
    is_full(&server.patch(&group, json!({"metadata": 1})).await);
    let mut bob = server.open("bob").await;
    let binding = json!({"alias": "home", "device": bob.session.device().as_str()});
    let bound = server.post("/v1/aliases", json!({"bindings": [binding]})).await.ok();
    assert_eq!(bound["results"][0]["status"], 507);

    assert_eq!(bob.message().await.id.to_string(), id(&first));
    let message = json!({"to": {"peers": ["bob"]}, "body": "now", "transient": true});
    send(&server, message).await.ok();
    assert!(bob.message().await.transient);
    let recall = format!("/v1/messages/{}/recall", id(&first));
    server.post(&recall, Value::Null).await.expect(StatusCode::NO_CONTENT);
    server.put("/v1/peers/cat/block", Value::Null).await.expect(StatusCode::NO_CONTENT);
    server.post(&format!("{group}/members/remove"), json!({"peers": ["ann"]})).await.ok();
    server.delete(&group).await.expect(StatusCode::NO_CONTENT);
    let history = server.get("/v1/history?peers=system,bob").await.ok();
    assert_eq!(history["items"][0]["id"], id(&first));
}

#[tokio::test]
async fn a_group_that_changes_too_fast_is_busy_for_a_while() {
    let server = Running::start().await;
    let ids = |from: usize, to: usize| (from..to).map(|i| format!("p{i:04}")).collect::<Vec<_>>();
    let group = server.post("/v1/groups", json!({})).await.expect(StatusCode::CREATED);
    let path = format!("/v1/groups/{}/members", group["group"].as_str().unwrap());
    let remove = format!("{path}/remove");
    let (all, others) = (json!({"peers": ids(0, 1000)}), json!({"peers": ids(1000, 1200)}));
    // Those who have gone are remembered until the next flush, which may come between.
    let too_fast = async {
        loop {
            server.post(&path, all.clone()).await.ok();
            server.post(&remove, all.clone()).await.ok();
            let answer = server.post(&path, others.clone()).await;
            if answer.status != StatusCode::OK {
                return answer;
            }
            server.post(&remove, others.clone()).await.ok();
        }
    };
    let busy = soon("too fast a change", too_fast).await;
    let told = (busy.status, busy.problem());
    assert_eq!(told, (StatusCode::SERVICE_UNAVAILABLE, "busy".to_owned()));
    assert_eq!(busy.header(RETRY_AFTER), Some("1"));
    let again = async {
        while server.post(&path, others.clone()).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("a flush", again).await;
}
