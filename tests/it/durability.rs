//! Acknowledged means synced.

use crate::harness::{Running, send};

#[tokio::test]
async fn a_sync_returns_before_each_answer() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let metrics = server.server().metrics();
    for number in 1..=50 {
        let before = metrics.syncs.get();
        ann.say(send(number, &["bob"], "durable")).await;
        ann.hear_sent(number).await;
        assert!(metrics.syncs.get() > before, "answer {number} came without a sync");
    }
}

#[tokio::test]
async fn a_sync_returns_before_each_batch_of_answers() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let metrics = server.server().metrics();
    for batch in 0..20 {
        let before = (metrics.syncs.get(), metrics.messages.get());
        let numbers = batch * 50 + 1..=batch * 50 + 50;
        for number in numbers.clone() {
            ann.say(send(number, &["bob"], "durable")).await;
        }
        for number in numbers {
            ann.hear_sent(number).await;
        }
        let syncs = metrics.syncs.get() - before.0;
        assert!(syncs >= 1);
        assert_eq!(metrics.messages.get() - before.1, 50);
    }
    assert!(metrics.syncs.get() >= metrics.commits.get());
    assert!(metrics.commits.get() < 1000, "a commit takes what waits, not one message each");
}

#[tokio::test]
async fn nobody_hears_of_a_message_before_its_sync() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    let metrics = server.server().metrics();
    for number in 1..=50 {
        let before = metrics.syncs.get();
        ann.say(send(number, &["bob"], "durable")).await;
        bob.hear_message().await;
        assert!(metrics.syncs.get() > before, "message {number} came without a sync");
    }
}
