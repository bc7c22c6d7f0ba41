//! What the log has no more, or never had whole, as endpoints hear of it.

use super::house_tests::{House, definition, id, until};
use super::receiver_tests::{Heard, Receiver, reply};
use crate::id::PeerId;
use crate::store::Entry;

fn kinds(heard: &[Heard]) -> Vec<String> {
    let taken = heard.iter().filter(|one| one.status == 200);
    taken.flat_map(Heard::events).map(|one| one["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_damaged_is_told_as_a_gap_and_counted() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    webhooks.halt(&id("a"), "until there is a hole").await.unwrap();
    house.journal.say(1, 7, 1, "before it");
    let bad = house.journal.say(1, 8, 1, "damaged");
    house.journal.say(1, 9, 1, "behind it");
    house.journal.damage(bad);
    receiver.answer(|_| reply(200));
    webhooks.resume(&id("a")).await.unwrap();
    receiver.until_taken(3).await;
    let mut told = kinds(&receiver.heard());
    told.sort();
    assert_eq!(told, ["log.gap", "message.sent", "message.sent"]);
    let gaps = "tidings_webhook_gaps_total{endpoint=\"a\"} 1";
    assert!(house.metrics.classic().contains(gaps));
    until(|| house.journal.state(&id("a")).unwrap().batches.is_empty()).await;
    webhooks.stop().await;
}

#[tokio::test]
async fn what_waited_and_is_gone_is_counted_and_what_is_left_goes_out_under_another_id() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    let mut offline = definition("a", receiver.url());
    offline.events = vec!["message.offline".into()];
    webhooks.create(offline).await.unwrap();
    let messages = [house.journal.say(1, 7, 1, "one"), house.journal.say(1, 8, 1, "two")];
    let peer = PeerId::new("to1").unwrap();
    let entry = Entry::Unacknowledged { peer, waiting: 2, messages: messages.to_vec() };
    house.journal.push(2, |_| entry);
    receiver.until(|heard| !heard.is_empty()).await;
    assert_eq!(receiver.heard()[0].events().len(), 2);
    webhooks.stop().await;
    house.journal.damage(messages[0]);
    receiver.answer(|_| reply(200));
    let again = house.start().await;
    receiver.until_taken(1).await;
    let heard = receiver.heard();
    let last = heard.last().unwrap();
    assert_eq!(last.events().len(), 1);
    assert_ne!(last.id(), heard[0].id(), "the bytes are others");
    let missed = "tidings_webhook_missed_total{endpoint=\"a\"} 1";
    assert!(house.metrics.classic().contains(missed));
    again.stop().await;
}
