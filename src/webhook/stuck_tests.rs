//! Batches that are not taken though the endpoint is there, told over real sockets from a log in
//! memory.

use std::sync::Arc;
use std::time::Duration;

use super::house_tests::{House, definition, id, until};
use super::receiver_tests::{Heard, Receiver, Reply, assert_ordered, assert_stable, reply};
use crate::id::{ConversationId, MessageId, PeerId};
use crate::limits::{WEBHOOK_ALONE_TRIES, WEBHOOK_EVENTS_MAX};
use crate::store::{Absent, Entry, Message, Origin};

const DAY_MS: i64 = 24 * 3600 * 1000;

fn has_poison(heard: &Heard) -> bool {
    heard.body.windows(6).any(|bytes| bytes == b"poison")
}

/// Whatever waits for its time has waited long enough.
async fn hurry() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    // What is due now has its turn.
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn one_event_that_is_never_taken_becomes_a_dead_letter_when_others_are_taken() {
    let broken = |heard: &Heard| reply(if has_poison(heard) { 500 } else { 200 });
    let (house, receiver) = (House::new(), Receiver::start(broken).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    let bad = house.journal.say(1, 7, 1, "poison");
    house.journal.say(1, 8, 1, "behind it");
    receiver.until(|heard| !heard.is_empty()).await;
    for _ in 0..3 * WEBHOOK_ALONE_TRIES {
        hurry().await;
    }
    assert!(house.journal.all_letters().is_empty(), "nothing else shows that the endpoint works");
    house.journal.say(2, 7, 1, "another");
    for _ in 0..2 * WEBHOOK_ALONE_TRIES {
        hurry().await;
    }
    until(|| house.journal.all_letters().len() == 1).await;
    receiver.until_taken(2).await;
    let letter = house.journal.all_letters().remove(0);
    assert_eq!((letter.position.entry, letter.status), (bad, 500));
    assert!(letter.tries >= WEBHOOK_ALONE_TRIES);
    assert_stable(&receiver.heard());
    webhooks.stop().await;
}

#[tokio::test]
async fn a_lane_that_stands_still_with_a_backlog_holds_up_no_other() {
    let broken = |heard: &Heard| reply(if has_poison(heard) { 500 } else { 200 });
    let (house, receiver) = (House::new(), Receiver::start(broken).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.journal.say(5, 7, 1, "poison");
    receiver.until(|heard| !heard.is_empty()).await;
    let count = WEBHOOK_EVENTS_MAX as u32 + 2_000;
    for sequence in 0..count {
        house.journal.say(5, 8 + sequence, 1, "behind it");
    }
    house.journal.say(6, 7, 1, "another");
    receiver.until_taken(1).await;
    assert!(webhooks.find(&id("a")).unwrap().health.waiting < WEBHOOK_EVENTS_MAX);
    // What was left out is read again, and so it is after a start.
    webhooks.stop().await;
    receiver.answer(|_| reply(200));
    let again = house.start().await;
    receiver.until_taken(count as usize + 2).await;
    assert_ordered(&receiver.heard());
    assert_stable(&receiver.heard());
    let head = house.journal.state(&id("a")).unwrap();
    until(|| house.journal.state(&id("a")).unwrap().batches.is_empty()).await;
    assert!(head.behind() > MessageId(0));
    again.stop().await;
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_split_until_it_does_not() {
    let slow = |heard: &Heard| Reply {
        wait: Duration::from_millis(if heard.events().len() > 3 { 2_000 } else { 0 }),
        ..reply(200)
    };
    let (house, receiver) = (House::new(), Receiver::start(slow).await);
    let webhooks = house.start().await;
    let mut hasty = definition("a", receiver.url());
    hasty.timeout = Some("200ms".into());
    webhooks.create(hasty).await.unwrap();
    house.chat(0, 8);
    let delivered = || webhooks.find(&id("a")).unwrap().health.events;
    for _ in 0..60 {
        if delivered() == 8 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        hurry().await;
    }
    assert_eq!(delivered(), 8);
    assert!(house.journal.all_letters().is_empty());
    webhooks.stop().await;
}

#[tokio::test]
async fn a_batch_of_which_a_proxy_says_that_it_took_too_long_is_split_too() {
    let proxied = |heard: &Heard| reply(if heard.events().len() > 1 { 504 } else { 200 });
    let (house, receiver) = (House::new(), Receiver::start(proxied).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 2);
    receiver.until(|heard| !heard.is_empty()).await;
    for _ in 0..40 {
        hurry().await;
    }
    receiver.until_taken(2).await;
    webhooks.stop().await;
}

#[tokio::test]
async fn nothing_grows_old_while_nobody_tries_it() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 5);
    until(|| !webhooks.attempts(&id("a"), 9).unwrap().is_empty()).await;
    webhooks.halt(&id("a"), "for some days").await.unwrap();
    house.clock.step_ms(3 * DAY_MS);
    webhooks.resume(&id("a")).await.unwrap();
    let tried = || webhooks.attempts(&id("a"), 99).unwrap().len();
    let (before, elsewhere) = (tried(), definition("a", receiver.url()));
    until(|| tried() > before).await;
    // A change begins anew, too, and so does a start.
    webhooks.replace(elsewhere).await.unwrap();
    let before = tried();
    until(|| tried() > before).await;
    webhooks.stop().await;
    house.clock.step_ms(3 * DAY_MS);
    let again = house.start().await;
    until(|| !again.attempts(&id("a"), 9).unwrap().is_empty()).await;
    again.stop().await;
    assert!(house.journal.all_letters().is_empty());
}

#[tokio::test]
async fn what_is_heard_since_a_batch_was_formed_does_not_take_the_place_of_what_it_had() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    let mut easemob = definition("a", receiver.url());
    easemob.dialect = Some("easemob".into());
    easemob.events = vec!["message.offline".into()];
    webhooks.create(easemob.clone()).await.unwrap();
    let peer = |name: &str| PeerId::new(name).unwrap();
    let (from, to) = (peer("from"), peer("to"));
    house.journal.push(1, |id| Entry::Message {
        message: Arc::new(Message {
            id,
            sequence: 2,
            at_ms: 1,
            expires_ms: 0,
            conversation: ConversationId::of_peers([&from, &to]),
            from: from.clone(),
            to: vec![to.clone()],
            devices: Vec::new(),
            receipt: false,
            client_msg_no: Default::default(),
            body: "hello".into(),
        }),
        origin: Origin::Backend { repeat: None, system: false },
        hash: 0,
        push: Default::default(),
        absent: vec![Absent { peer: to, waiting: 1 }],
    });
    receiver.until(|heard| !heard.is_empty()).await;
    receiver.answer(|_| reply(200));
    easemob.events.push("message.sent".into());
    webhooks.replace(easemob).await.unwrap();
    receiver.until(|heard| heard.iter().filter(|one| one.status == 200).count() >= 2).await;
    let body = |one: &Heard| String::from_utf8(one.body.to_vec()).unwrap();
    let taken: Vec<String> =
        receiver.heard().iter().filter(|one| one.status == 200).map(body).collect();
    assert_eq!(taken.iter().filter(|body| body.contains("chat_offline")).count(), 1);
    webhooks.stop().await;
}

#[tokio::test]
async fn nothing_is_passed_of_which_the_journal_has_not_kept_that_it_is_on_its_way() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.journal.hold_formed(true);
    house.chat(0, 3);
    until(|| house.journal.held() > 0).await;
    webhooks.stop().await;
    house.journal.hold_formed(false);
    let again = house.start().await;
    receiver.until_taken(3).await;
    again.stop().await;
}
