//! Endpoints that take nothing: those that were halted, and those that left the settings.

use super::house_tests::{House, definition, id, until};
use super::receiver_tests::{Receiver, assert_stable, reply};
use super::*;
use crate::limits::ENDPOINTS_MAX;

/// A house whose settings name an endpoint, which has taken ten events and refused one.
async fn told(receiver: &Receiver) -> House {
    let mut house = House::new();
    house.configured = vec![definition("a", receiver.url())];
    let webhooks = house.start().await;
    house.chat(0, 10);
    receiver.until_taken(10).await;
    receiver.answer(|_| reply(400));
    house.chat(10, 1);
    until(|| house.journal.all_letters().len() == 1).await;
    receiver.answer(|_| reply(200));
    until(|| house.journal.state(&id("a")).unwrap().batches.is_empty()).await;
    webhooks.stop().await;
    house
}

#[tokio::test]
async fn an_endpoint_that_left_the_settings_goes_on_where_it_was_when_it_is_back() {
    let receiver = Receiver::start(|_| reply(200)).await;
    let mut house = told(&receiver).await;
    let written = std::mem::take(&mut house.configured);
    let without = house.start().await;
    house.chat(11, 20);
    until(|| without.find(&id("a")).unwrap().health.waiting == 20).await;
    let left = without.find(&id("a")).unwrap();
    assert_eq!(left.health.halted.as_deref(), Some("it is not in the settings any more"));
    assert_eq!((left.configured, left.health.letters), (false, 1));
    assert_eq!(without.letters(&id("a"), None, 10).await.unwrap().0.len(), 1);
    let again = definition("a", receiver.url());
    assert!(matches!(without.create(again.clone()).await, Err(ChangeError::Exists)));
    assert!(matches!(without.replace(again).await, Err(ChangeError::Left)));
    assert!(matches!(without.resume(&id("a")).await, Err(ChangeError::Left)));
    assert!(matches!(without.ping(&id("a")).await, Err(ChangeError::Left)));
    without.stop().await;
    // It is still there after one more start.
    house.start().await.stop().await;
    assert_eq!(receiver.taken(), 10);

    house.configured = written;
    let back = house.start().await;
    receiver.until_taken(30).await;
    let found = back.find(&id("a")).unwrap();
    assert_eq!((found.configured, found.health.halted, found.health.letters), (true, None, 1));
    assert_stable(&receiver.heard());
    back.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_left_the_settings_is_removed_by_request_alone() {
    let receiver = Receiver::start(|_| reply(200)).await;
    let mut house = told(&receiver).await;
    house.configured = (1..ENDPOINTS_MAX)
        .map(|number| definition(&format!("b{number}"), receiver.url()))
        .collect();
    let without = house.start().await;
    let more = definition("c", receiver.url());
    assert!(matches!(without.create(more.clone()).await, Err(ChangeError::TooMany)));
    without.remove(&id("a")).await.unwrap();
    assert!(without.find(&id("a")).is_none() && house.journal.state(&id("a")).is_none());
    assert!(house.journal.all_letters().is_empty());
    without.create(more).await.unwrap();
    without.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_was_paused_before_it_left_is_paused_when_it_is_back() {
    let receiver = Receiver::start(|_| reply(200)).await;
    let mut house = told(&receiver).await;
    let webhooks = house.start().await;
    webhooks.halt(&id("a"), "paused").await.unwrap();
    webhooks.stop().await;
    let written = std::mem::take(&mut house.configured);
    house.start().await.stop().await;
    house.configured = written;
    let back = house.start().await;
    until(|| back.find(&id("a")).unwrap().health.halted.as_deref() == Some("paused")).await;
    back.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_halted_endpoint_is_told_and_grows_old() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    let mut wanted = definition("a", receiver.url());
    wanted.events = vec!["message.sent".into()];
    webhooks.create(wanted).await.unwrap();
    house.chat(0, 5);
    receiver.until_taken(5).await;
    webhooks.halt(&id("a"), "paused").await.unwrap();
    let said_ms = house.clock.now_ms() - 60_000;
    house.journal.say_upstream("somebody", said_ms - 60_000);
    house.journal.say(1, 9, said_ms, "first");
    house.chat(5, 2);
    until(|| webhooks.find(&id("a")).unwrap().health.waiting == 3).await;
    let health = webhooks.find(&id("a")).unwrap().health;
    assert_eq!(health.oldest_ms, Some(said_ms));
    assert!((60_000..120_000).contains(&health.lag_ms), "{}", health.lag_ms);
    let figure = "tidings_webhook_oldest_seconds{endpoint=\"a\"} 6";
    let text = house.metrics.classic();
    assert!(text.contains(figure), "{text}");
    webhooks.resume(&id("a")).await.unwrap();
    receiver.until_taken(8).await;
    until(|| webhooks.find(&id("a")).unwrap().health.oldest_ms.is_none()).await;
    // One that halts by itself says it, too.
    receiver.answer(|_| reply(410));
    house.chat(7, 4);
    until(|| webhooks.find(&id("a")).unwrap().health.halted.is_some()).await;
    until(|| webhooks.find(&id("a")).unwrap().health.waiting == 4).await;
    webhooks.stop().await;
}
