//! Endpoints that fail, refuse, are slow or gone, told over real sockets from a log in memory.

use std::time::Duration;

use tokio::time::Instant;

use super::house_tests::{House, definition, id, until};
use super::receiver_tests::{Heard, Receiver, assert_ordered, assert_stable, reply};
use super::*;
use crate::id::MessageId;
use crate::limits::{
    WEBHOOK_BATCH_EVENTS_MAX, WEBHOOK_EVENTS_MAX, WEBHOOK_REFUSALS_MAX, WEBHOOK_SPLIT_TRIES,
};

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id_and_bytes_signed_at_each_try() {
    let mut count = 0;
    let failing = move |_: &Heard| {
        count += 1;
        reply(if count <= 2 { [503, 302][count - 1] } else { 204 })
    };
    let (house, receiver) = (House::new(), Receiver::start(failing).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 3);
    receiver.until(|heard| heard.len() == 1).await;
    house.clock.step_ms(7_000);
    receiver.until_taken(3).await;
    let heard = receiver.heard();
    assert_eq!(heard.len(), 3);
    assert_stable(&heard);
    assert!(heard.iter().all(|one| one.id() == heard[0].id()));
    let at = |one: &Heard| one.header(sign::TIMESTAMP).parse::<i64>().unwrap();
    assert!(at(&heard[1]) >= at(&heard[0]) + 7, "the time is that of the try");
    until(|| webhooks.attempts(&id("a"), 10).unwrap().len() == 3).await;
    let attempts = webhooks.attempts(&id("a"), 10).unwrap();
    let told: Vec<_> = attempts.iter().map(|one| (one.number, one.status, one.events)).collect();
    assert_eq!(told, [(3, 204, 3), (2, 302, 3), (1, 503, 3)]);
    assert_eq!((attempts[2].said.as_str(), attempts[0].said.as_str()), ("said", ""));
    let last = webhooks.find(&id("a")).unwrap().health.last_error.unwrap();
    assert_eq!(last.status, 302);
    webhooks.stop().await;
}

#[tokio::test]
async fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
    let mut count = 0;
    let busy = move |_: &Heard| {
        count += 1;
        let mut reply = reply(if count == 1 { 429 } else { 200 });
        reply.headers.push(("retry-after", "1".into()));
        reply
    };
    let (house, receiver) = (House::new(), Receiver::start(busy).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 1);
    receiver.until(|heard| heard.len() == 1).await;
    house.chat(1, 50);
    receiver.until_taken(51).await;
    let heard = receiver.heard();
    assert!(heard[1].at - heard[0].at >= Duration::from_millis(990));
    webhooks.stop().await;
}

#[tokio::test]
async fn a_refused_batch_is_split_until_the_culprit_stands_alone() {
    let picky = |heard: &Heard| {
        let is_bad = heard.body.windows(6).any(|bytes| bytes == b"poison");
        reply(if is_bad { 400 } else { 200 })
    };
    let (house, receiver) = (House::new(), Receiver::start(picky).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 200);
    let bad = house.journal.say(5, 7, 1, "poison");
    house.chat(200, 200);
    receiver.until_taken(400).await;
    until(|| house.journal.all_letters().len() == 1).await;
    let heard = receiver.heard();
    assert_stable(&heard);
    assert_ordered(&heard);
    let letters = webhooks.letters(&id("a"), None, 10).await.unwrap();
    assert_eq!((letters.0.len(), letters.1), (1, false));
    let letter = &letters.0[0];
    assert_eq!((letter.position.entry, letter.status, letter.tries), (bad, 400, 1));
    assert_eq!(letter.kind, "message.sent");
    let sent = heard.iter().rfind(|one| one.status == 400).unwrap();
    assert_eq!((sent.id(), &sent.body), (letter.request.as_str(), &letter.body));
    assert_eq!(webhooks.find(&id("a")).unwrap().health.letters, 1);

    // Sent anew, it is the same request; it is a letter until it is taken.
    let place = letter.position;
    let failed = webhooks.resend(&id("a"), vec![place]).await.unwrap();
    assert_eq!((failed[0].1.status, house.journal.all_letters().len()), (400, 1));
    receiver.answer(|_| reply(200));
    let nobody = crate::store::Position { entry: MessageId(1), part: 9 };
    let again = webhooks.resend(&id("a"), vec![nobody, place]).await.unwrap();
    assert_eq!((again.len(), again[0].0, again[0].1.outcome), (1, place, Outcome::Ok));
    assert_eq!(receiver.heard().last().unwrap().body, letter.body);
    assert_eq!(receiver.heard().last().unwrap().id(), letter.request);
    assert!(house.journal.all_letters().is_empty());
    assert_eq!(webhooks.find(&id("a")).unwrap().health.letters, 0);
    webhooks.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_refuses_everything_is_halted_and_loses_no_more() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(404)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 1_000);
    until(|| webhooks.find(&id("a")).unwrap().health.halted.is_some()).await;
    let kept = house.journal.all_letters().len();
    assert!(kept >= WEBHOOK_REFUSALS_MAX as usize && kept < 150, "{kept}");
    let why = webhooks.find(&id("a")).unwrap().health.halted.unwrap();
    assert!(why.contains("refused"), "{why}");
    receiver.answer(|_| reply(200));
    let overview = webhooks.resume(&id("a")).await.unwrap();
    assert_eq!(overview.health.halted, None);
    receiver.until_taken(1_000 - kept).await;
    let places = house.journal.all_letters().into_iter().map(|one| one.position).collect();
    webhooks.drop_letters(&id("a"), places).await.unwrap();
    assert_eq!(webhooks.find(&id("a")).unwrap().health.letters, 0);
    webhooks.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_halted_and_goes_on_where_it_stood() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(410)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 10);
    until(|| webhooks.find(&id("a")).unwrap().health.halted.is_some()).await;
    webhooks.stop().await;
    receiver.answer(|_| reply(200));
    let heard = receiver.heard().len();
    let again = house.start().await;
    until(|| again.find(&id("a")).unwrap().health.halted.is_some()).await;
    house.chat(10, 10);
    again.resume(&id("a")).await.unwrap();
    receiver.until_taken(20).await;
    let all = receiver.heard();
    assert_stable(&all);
    assert_eq!(all[heard].id(), all[0].id(), "the batch on its way is what it was");
    assert!(house.journal.all_letters().is_empty());
    again.halt(&id("a"), "the operator wants it").await.unwrap();
    house.chat(20, 10);
    let halted = again.find(&id("a")).unwrap().health.halted;
    assert_eq!(halted.as_deref(), Some("the operator wants it"));
    again.stop().await;
    assert_eq!(receiver.taken(), 20);
}

#[tokio::test]
async fn what_is_too_old_becomes_dead_letters() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(500)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 5);
    let upstream = house.journal.say_upstream("somebody", 7);
    receiver.until(|heard| !heard.is_empty()).await;
    assert!(house.journal.all_letters().is_empty());
    house.clock.step_ms(24 * 3600 * 1000 + 1);
    until(|| house.journal.all_letters().len() == 6).await;
    let letters = house.journal.all_letters();
    assert!(letters.iter().all(|one| one.status == 500 && one.why == "said"));
    let mut requests: Vec<&str> = letters.iter().map(|one| one.request.as_str()).collect();
    requests.dedup();
    assert_eq!(requests.len(), 6, "each is a request of its own");
    assert_eq!(house.journal.settled(), [(upstream, false)]);
    webhooks.stop().await;
}

#[tokio::test]
async fn a_slow_or_dead_endpoint_holds_up_no_other() {
    let slow = |_: &Heard| {
        let mut reply = reply(200);
        reply.wait = Duration::from_secs(3600);
        reply
    };
    let (house, stuck) = (House::new(), Receiver::start(slow).await);
    let receiver = Receiver::start(|_| reply(200)).await;
    let webhooks = house.start().await;
    webhooks.create(definition("dead", "http://127.0.0.1:9/".into())).await.unwrap();
    webhooks.create(definition("slow", stuck.url())).await.unwrap();
    webhooks.create(definition("well", receiver.url())).await.unwrap();
    let began = Instant::now();
    house.chat(0, 30_000);
    receiver.until_taken(30_000).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_ordered(&receiver.heard());
    for name in ["dead", "slow"] {
        let health = webhooks.find(&id(name)).unwrap().health;
        assert!(health.waiting <= WEBHOOK_EVENTS_MAX + 1, "{name}: {health:?}");
        assert_eq!(health.events, 0);
    }
    webhooks.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_was_down_catches_up_in_order_and_has_no_dead_letters() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    let mut usual = definition("a", receiver.url());
    usual.interval = None;
    webhooks.create(usual).await.unwrap();
    house.chat(0, 30_000);
    until(|| webhooks.find(&id("a")).unwrap().health.breaker_open).await;
    let down = webhooks.find(&id("a")).unwrap().health;
    assert!(down.waiting <= WEBHOOK_EVENTS_MAX + 1, "{}", down.waiting);
    receiver.answer(|_| reply(200));
    let began = Instant::now();
    receiver.until_taken(30_000).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    let heard = receiver.heard();
    assert_stable(&heard);
    assert_ordered(&heard);
    let requests = heard.iter().filter(|one| one.status == 200).count();
    assert!(requests <= 2 * 30_000 / WEBHOOK_BATCH_EVENTS_MAX, "{requests} requests");
    assert!(house.journal.all_letters().is_empty());
    webhooks.stop().await;
}

#[tokio::test]
async fn a_batch_that_breaks_a_receiver_is_split_so_that_the_rest_of_it_is_taken() {
    let broken = |heard: &Heard| {
        let is_bad = heard.body.windows(6).any(|bytes| bytes == b"poison");
        reply(if is_bad { 500 } else { 200 })
    };
    let (house, receiver) = (House::new(), Receiver::start(broken).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.journal.say(0, 7, 1, "first");
    house.journal.say(1, 7, 1, "poison");
    receiver.until_taken(1).await;
    let heard = receiver.heard();
    assert_stable(&heard);
    let sizes: Vec<usize> = heard.iter().map(|one| one.events().len()).collect();
    assert_eq!(sizes[..WEBHOOK_SPLIT_TRIES as usize], [2; WEBHOOK_SPLIT_TRIES as usize]);
    assert!(house.journal.all_letters().is_empty(), "the other is tried on");
    webhooks.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_dead_letters_that_are_sent_anew() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(400)).await);
    let webhooks = house.start().await;
    let mut patient = definition("a", receiver.url());
    patient.timeout = Some("60s".into());
    webhooks.create(patient).await.unwrap();
    house.chat(0, 2);
    until(|| house.journal.all_letters().len() == 2).await;
    receiver.answer(|_| {
        let mut reply = reply(200);
        reply.wait = Duration::from_secs(3600);
        reply
    });
    let places: Vec<_> = house.journal.all_letters().iter().map(|one| one.position).collect();
    let (before, resending) = (receiver.heard().len(), webhooks.clone());
    let sent = tokio::spawn(async move { resending.resend(&id("a"), places).await });
    receiver.until(|heard| heard.len() > before).await;
    tokio::time::timeout(Duration::from_secs(10), webhooks.stop()).await.expect("it has stopped");
    assert!(sent.await.unwrap().unwrap().is_empty());
    assert_eq!(house.journal.all_letters().len(), 2);
}
