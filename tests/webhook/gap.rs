//! A log that is too small for how long an endpoint is gone.

use std::time::Instant;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Running};
use crate::pipeline::{message, until_quiet};
use crate::receiver::{Receiver, Request};
use crate::standard::{Event, events, heard, said};

/// Messages of a request. A segment is closed after 16 commits at the earliest, and the log must
/// have room for more than one.
const AT_ONCE: usize = 25;
/// Messages that are more than memory and log have room for together.
const MESSAGES: usize = 5_000;

/// What cannot be compressed, so that the log has its bytes.
fn long() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(5_000).collect()
}

/// Sends until so many messages are in the log. While it is full some are refused.
async fn fill(server: &Running) {
    let (began, mut stored) = (Instant::now(), 0);
    while stored < MESSAGES {
        assert!(began.elapsed() < PATIENCE, "only {stored} are stored");
        let messages: Vec<_> = (0..AT_ONCE).map(|number| message(number, long())).collect();
        let answer = server.post("/v1/messages/batch", json!({"messages": messages})).await;
        let results = answer.expect(StatusCode::OK)["results"].take();
        let is_stored = |result: &&Value| result["messages"].is_array();
        stored += results.as_array().unwrap().iter().filter(is_stored).count();
    }
}

/// What tells of the gap, looked for in those requests only that have it.
fn gap(requests: &[Request]) -> Option<Event> {
    let request = requests.iter().rfind(|request| request.text().contains("\"log.gap\""))?;
    events(request).into_iter().find(|event| event.kind == "log.gap")
}

#[tokio::test]
async fn a_part_of_the_log_that_is_lost_is_told_as_a_gap() {
    let set = |config: &mut tidings::config::Config| {
        config.store.segment_bytes_max = 256 * 1024;
        config.store.log_bytes_max = 8 * 1024 * 1024;
    };
    let (server, receiver) = (Running::start_set(set).await, Receiver::start().await);
    server.endpoint("back-end", &receiver, json!({"events": [], "interval_ms": 10})).await;
    server.say("ann", "bob", "the first").await;
    heard(&receiver, "message.sent", 1).await;
    until_quiet(&server).await;
    receiver.down();
    fill(&server).await;
    receiver.up().await;
    let gap = receiver.until("a gap", gap).await;
    let place = |name: &str| gap.data[name].as_str().unwrap().parse::<i64>().unwrap();
    assert!(place("after") < place("through"), "{gap:?}");
    let last = json!({"from": "ann", "to": {"peers": ["bob"]}, "body": "the last"});
    let began = Instant::now();
    while server.post("/v1/messages", last.clone()).await.status != StatusCode::CREATED {
        assert!(began.elapsed() < PATIENCE, "the log stays full");
    }
    let has_last = |requests: &[Request]| {
        requests.iter().rev().any(|it| it.text().contains("\"the last\"")).then_some(())
    };
    receiver.until("the last message", has_last).await;
    let told = said(&receiver.requests()).len();
    assert!(told < MESSAGES + 2, "{told} were told, so nothing was lost");
    let metrics = server.ask(Method::GET, "/metrics", None).await.text;
    let counted = |line: &str| line.starts_with("tidings_webhook_gaps") && !line.ends_with(" 0");
    assert!(metrics.lines().any(counted), "{metrics}");
}
