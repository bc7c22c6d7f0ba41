//! What clients send to the back end itself, by webhook: a 2xx is what the client hears.

use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{Running, SECRET};
use crate::receiver::{Answer, Receiver};
use crate::standard::{heard, one, verifies};

async fn start() -> (Running, Receiver) {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let more = json!({"events": ["upstream"], "interval_ms": 10, "secret": SECRET});
    server.endpoint("back-end", &receiver, more).await;
    (server, receiver)
}

#[tokio::test]
async fn a_client_hears_of_the_2xx_that_its_message_was_answered_with() {
    let (server, receiver) = start().await;
    receiver.answers_with(204);
    let mut ann = server.open("ann").await;
    let sent = ann.session.send_upstream("order 4711").await.unwrap();
    let told = one(&receiver, "upstream", |event| event.text() == "order 4711").await;
    let expected = json!({
        "message": sent.id.to_string(), "from": "ann",
        "device": ann.session.device().as_str(), "text": "order 4711",
    });
    assert_eq!((told.data, told.at_ms), (expected, sent.at_ms as i64));
    assert!(verifies(SECRET, &receiver.requests()[0]));
    let done = ann.upstream_done().await;
    assert_eq!((done.upstream, done.accepted), (sent.id, true));
    assert_eq!(server.get("/v1/upstream").await["items"], json!([]), "it waits no more");
}

#[tokio::test]
async fn a_client_hears_nothing_before_the_back_end_has_answered() {
    let (server, receiver) = start().await;
    let mut failures = 2;
    receiver.answers(move |_| match failures {
        0 => Answer::ok(),
        _ => {
            failures -= 1;
            Answer::status(503)
        }
    });
    let mut ann = server.open("ann").await;
    let sent = ann.session.send_upstream("again").await.unwrap();
    let done = ann.upstream_done().await;
    assert_eq!((done.upstream, done.accepted), (sent.id, true));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3, "two failures and what was accepted: {requests:?}");
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    assert!(requests.iter().all(|request| request.id() == requests[0].id()));
}

#[tokio::test]
async fn a_client_hears_that_the_back_end_refuses() {
    let (server, receiver) = start().await;
    receiver.answers(|request| {
        Answer::status(if request.text().contains("forged") { 422 } else { 200 })
    });
    let mut ann = server.open("ann").await;
    let (good, forged) = (
        ann.session.send_upstream("good").await.unwrap(),
        ann.session.send_upstream("forged").await.unwrap(),
    );
    let (first, second) = (ann.upstream_done().await, ann.upstream_done().await);
    let mut done = [(first.upstream, first.accepted), (second.upstream, second.accepted)];
    done.sort();
    assert_eq!(done, [(good.id, true), (forged.id, false)]);
    server.until("back-end", "a letter", |it| it["health"]["letters"] == 1).await;
}

#[tokio::test]
async fn messages_of_one_client_reach_the_back_end_in_their_order() {
    let (server, receiver) = start().await;
    let ann = server.open("ann").await;
    for number in 0..100 {
        ann.session.send_upstream(number.to_string()).await.unwrap();
    }
    let told = heard(&receiver, "upstream", 100).await;
    let said: Vec<_> = told.iter().map(|event| event.text().parse::<u32>().unwrap()).collect();
    assert_eq!(said, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_an_endpoint_that_hears_of_it_a_message_waits_to_be_fetched() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let more = json!({"events": ["message.sent"], "interval_ms": 10});
    server.endpoint("deaf", &receiver, more).await;
    let mut ann = server.open("ann").await;
    let sent = ann.session.send_upstream("fetch me").await.unwrap();
    server.say("ann", "bob", "behind it in the log").await;
    heard(&receiver, "message.sent", 1).await;
    let waiting = server.get("/v1/upstream").await;
    assert_eq!(waiting["items"][0]["id"], sent.id.to_string());
    let path = format!("/v1/upstream/{}", sent.id);
    let settled = server.post(&path, json!({"accepted": true})).await;
    settled.expect(StatusCode::NO_CONTENT);
    assert!(ann.upstream_done().await.accepted);
}
