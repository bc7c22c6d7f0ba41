//! Endpoints that are made, changed, told again and removed, over real sockets.

use super::house_tests::{House, definition, id, until};
use super::receiver_tests::{Heard, Receiver, assert_stable, reply};
use super::*;
use crate::id::MessageId;

#[tokio::test]
async fn what_was_told_is_told_again_from_an_entry_or_a_time() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    for number in 1..=10 {
        house.journal.say(number, 2, i64::from(number) * 1_000, "before it was there");
    }
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.journal.say(1, 3, 11_000, "after");
    receiver.until_taken(1).await;
    webhooks.replay(&id("a"), Since::Time(9_000)).await.unwrap();
    receiver.until_taken(3).await;
    webhooks.replay(&id("a"), Since::Entry(MessageId(3))).await.unwrap();
    receiver.until_taken(9).await;
    assert_stable(&receiver.heard());
    // Also while something is on its way.
    receiver.answer(|_| reply(503));
    house.journal.say(2, 3, 12_000, "on its way");
    receiver.until(|heard| heard.last().unwrap().status == 503).await;
    webhooks.replay(&id("a"), Since::Entry(MessageId(1))).await.unwrap();
    receiver.answer(|_| reply(200));
    receiver.until_taken(12).await;
    assert_stable(&receiver.heard());
    until(|| house.journal.state(&id("a")).unwrap().batches.is_empty()).await;
    let unknown = webhooks.replay(&id("b"), Since::Time(0)).await;
    assert!(matches!(unknown, Err(ChangeError::Unknown)));
    webhooks.stop().await;
}

#[tokio::test]
async fn a_changed_endpoint_gets_what_is_on_its_way_as_it_wants_it_now() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 50);
    receiver.until(|heard| !heard.is_empty()).await;
    // Elsewhere, and with another key: the same requests.
    let second = Receiver::start(|_| reply(503)).await;
    webhooks.replace(definition("a", second.url())).await.unwrap();
    second.until(|heard| !heard.is_empty()).await;
    assert_eq!(second.heard()[0].id(), receiver.heard()[0].id());
    assert_eq!(second.heard()[0].body, receiver.heard()[0].body);
    // In another dialect: other requests, and nothing is lost.
    let third = Receiver::start(|_| reply(200)).await;
    let mut other = definition("a", third.url());
    (other.dialect, other.secret) = (Some("wukongim".into()), None);
    webhooks.replace(other).await.unwrap();
    let messages = |heard: &[Heard]| {
        let bodies = heard.iter().map(|one| serde_json::from_slice(&one.body).unwrap());
        bodies.map(|body: Vec<serde_json::Value>| body.len()).sum::<usize>()
    };
    third.until(|heard| messages(heard) == 50).await;
    let heard = third.heard();
    assert!(heard.iter().all(|one| one.path == "/hook?event=msg.notify"));
    assert!(heard.iter().all(|one| one.id() != receiver.heard()[0].id()));
    assert!(!heard[0].header(sign::SIGNATURE).is_empty(), "it keeps its secret");
    webhooks.stop().await;
}

#[tokio::test]
async fn a_dialect_that_changed_while_the_server_was_down_loses_nothing() {
    let (mut house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    house.configured = vec![definition("a", receiver.url())];
    let webhooks = house.start().await;
    house.chat(0, 50);
    receiver.until(|heard| !heard.is_empty()).await;
    webhooks.stop().await;
    house.configured[0].dialect = Some("easemob".into());
    receiver.answer(|_| reply(200));
    let again = house.start().await;
    let calls = |heard: &[Heard]| heard.iter().filter(|one| one.status == 200).count();
    receiver.until(|heard| calls(heard) == 50).await;
    again.stop().await;
}

#[tokio::test]
async fn endpoints_are_made_changed_and_removed_and_those_of_the_settings_are_not() {
    let (mut house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    house.configured = vec![definition("fixed", receiver.url())];
    let webhooks = house.start().await;
    let mut hidden = definition("a", format!("{}?token=geheim", receiver.url()));
    let made = webhooks.create(hidden.clone()).await.unwrap();
    assert_eq!((made.secrets, made.configured), (1, false));
    assert!(!format!("{made:?}").contains("geheim"), "{made:?}");
    assert!(made.definition.url.unwrap().ends_with("?token=***"));
    let twice = webhooks.create(hidden.clone()).await;
    assert!(matches!(twice, Err(ChangeError::Exists)));
    let fixed = definition("fixed", receiver.url());
    assert!(matches!(webhooks.replace(fixed).await, Err(ChangeError::Configured)));
    assert!(matches!(webhooks.remove(&id("fixed")).await, Err(ChangeError::Configured)));
    let unknown = definition("unknown", receiver.url());
    assert!(matches!(webhooks.replace(unknown).await, Err(ChangeError::Unknown)));
    hidden.url = Some("http://10.0.0.1/".into());
    assert!(matches!(webhooks.replace(hidden).await, Err(ChangeError::Definition(_))));
    webhooks.stop().await;

    let again = house.start().await;
    let names: Vec<String> = again.list().into_iter().map(|one| one.definition.id).collect();
    assert_eq!(names, ["a", "fixed"]);
    house.chat(0, 1);
    receiver.until(|heard| heard.len() == 2).await;
    assert!(receiver.heard().iter().any(|one| one.path == "/hook?token=geheim"));
    let figures = |name: &str| format!("tidings_webhook_events_total{{endpoint=\"{name}\"}}");
    until(|| house.metrics.classic().contains(&format!("{} 1", figures("a")))).await;
    again.remove(&id("a")).await.unwrap();
    assert!(house.journal.state(&id("a")).is_none() && again.find(&id("a")).is_none());
    assert!(!house.metrics.classic().contains(&figures("a")));
    again.stop().await;
}

#[tokio::test]
async fn secrets_that_change_at_the_same_time_are_all_in_force() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    let id = id("a");
    let rotate = |text: &str| webhooks.rotate(&id, Some(SecretText(text.to_owned())));
    let (one, two, three) = tokio::join!(rotate("one"), rotate("two"), rotate("three"));
    let most = [one, two, three].map(|rotated| rotated.unwrap().secrets).into_iter().max();
    assert_eq!(most, Some(4));
    webhooks.stop().await;
}

#[tokio::test]
async fn somebody_can_ask_whether_an_endpoint_answers() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    let attempt = webhooks.ping(&id("a")).await.unwrap();
    assert_eq!((attempt.status, attempt.outcome, attempt.events), (200, Outcome::Ok, 0));
    assert!(!receiver.heard()[0].header(sign::SIGNATURE).is_empty());
    assert_eq!(webhooks.attempts(&id("a"), 10).unwrap(), [attempt]);
    receiver.answer(|_| reply(401));
    assert_eq!(webhooks.ping(&id("a")).await.unwrap().outcome, Outcome::Refused);
    assert!(matches!(webhooks.ping(&id("b")).await, Err(ChangeError::Unknown)));
    webhooks.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_may_not_be_reached_any_more_is_listed_and_goes_on_when_it_may() {
    let (mut house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    let hidden = definition("a", format!("{}?token=geheim", receiver.url()));
    webhooks.create(hidden).await.unwrap();
    webhooks.stop().await;
    house.chat(0, 3);
    let allowed = std::mem::take(&mut house.allowed);
    let without = house.start().await;
    let listed = without.find(&id("a")).unwrap();
    assert!(listed.health.halted.as_ref().unwrap().contains("webhook_networks"), "{listed:?}");
    assert!(!format!("{listed:?}").contains("geheim"), "{listed:?}");
    assert!(listed.definition.url.unwrap().ends_with("?***"));
    assert!(matches!(without.ping(&id("a")).await, Err(ChangeError::Definition(_))));
    assert!(matches!(without.resume(&id("a")).await, Err(ChangeError::Definition(_))));
    without.stop().await;
    house.allowed = allowed;
    let again = house.start().await;
    receiver.until_taken(3).await;
    assert_eq!(again.find(&id("a")).unwrap().health.halted, None);
    again.remove(&id("a")).await.unwrap();
    again.stop().await;
}

#[tokio::test]
async fn an_endpoint_of_the_settings_is_in_force_before_one_of_the_same_id_that_was_made() {
    let (mut house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", "http://127.0.0.1:9/".into())).await.unwrap();
    webhooks.stop().await;
    house.configured = vec![definition("a", receiver.url())];
    let again = house.start().await;
    house.chat(0, 3);
    receiver.until_taken(3).await;
    let change = again.replace(definition("a", receiver.url())).await;
    assert!(matches!(change, Err(ChangeError::Configured)));
    again.stop().await;
}
