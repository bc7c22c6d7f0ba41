//! Endpoints told over real sockets, from a log in memory, whenever the server stops or dies.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::house_tests::{House, definition, id, until};
use super::receiver_tests::{
    Heard, PATIENCE, Receiver, assert_ordered, assert_stable, reply, taken,
};
use super::*;
use crate::id::MessageId;
use crate::limits::WEBHOOK_BATCH_EVENTS_MAX;

#[tokio::test]
async fn everything_arrives_once_in_order_and_signed_and_few_requests_bring_it() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    let mut wanted = definition("a", receiver.url());
    wanted.interval = None;
    webhooks.create(wanted).await.unwrap();
    let began = Instant::now();
    for part in 0..20 {
        house.chat(part * 500, 500);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    receiver.until_taken(10_000).await;
    let (heard, took) = (receiver.heard(), began.elapsed());
    assert_stable(&heard);
    assert_ordered(&heard);
    assert_eq!(heard.iter().map(|one| one.events().len()).sum::<usize>(), 10_000, "each once");
    assert!(heard.iter().all(|one| one.events().len() <= WEBHOOK_BATCH_EVENTS_MAX));
    let rate = heard.len() as f64 / took.as_secs_f64().max(1.0);
    assert!(rate <= 45.0, "{} requests in {took:?}", heard.len());
    let secrets = ["geheim".parse().unwrap()];
    for one in &heard {
        let (id, timestamp) = (one.id(), one.header(sign::TIMESTAMP));
        let claim = sign::Claim { id, timestamp, signature: one.header(sign::SIGNATURE) };
        let now_s = house.clock.now_ms() / 1000;
        sign::verify(&secrets, claim, &one.body, now_s, 20).unwrap();
        assert_eq!(one.header("content-type"), "application/json");
    }
    until(|| webhooks.find(&id("a")).unwrap().health.waiting == 0).await;
    let health = webhooks.find(&id("a")).unwrap().health;
    assert_eq!((health.events, health.failed, health.refused), (10_000, 0, 0));
    assert!(health.events_per_second > 100.0 && !health.breaker_open);
    // Two notes for each request.
    until(|| house.journal.state(&id("a")).unwrap().batches.is_empty()).await;
    assert!(house.journal.notes() <= 2 * heard.len() + 2, "{}", house.journal.notes());
    webhooks.stop().await;
}

#[tokio::test]
async fn an_idle_endpoint_writes_nothing_to_the_log() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    for name in ["a", "b"] {
        webhooks.create(definition(name, receiver.url())).await.unwrap();
    }
    house.chat(0, 1);
    receiver.until(|heard| heard.len() == 2).await;
    until(|| house.journal.notes() == 6).await;
    webhooks.stop().await;
    // The stop keeps that nothing waits.
    let notes = house.journal.notes();
    assert_eq!(notes, 8);
    let again = house.start().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    again.stop().await;
    assert_eq!(house.journal.notes(), notes);
}

#[tokio::test]
async fn a_message_to_the_back_end_is_accepted_when_it_was_taken() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    let upstream = house.journal.say_upstream("somebody", 7);
    until(|| house.journal.settled() == [(upstream, true)]).await;
    webhooks.stop().await;
}

#[tokio::test]
async fn several_urls_share_the_load_and_one_that_is_down_is_passed_over() {
    let (house, first) = (House::new(), Receiver::start(|_| reply(200)).await);
    let second = Receiver::start(|_| reply(200)).await;
    let webhooks = house.start().await;
    let mut both = definition("a", first.url());
    both.urls = vec![second.url()];
    webhooks.create(both).await.unwrap();
    for number in 0..20 {
        house.chat(number * 10, 10);
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    until(|| first.taken() + second.taken() == 200).await;
    let counts = (first.heard().len(), second.heard().len());
    assert!(counts.0.abs_diff(counts.1) <= 1, "{counts:?}");
    second.answer(|_| reply(503));
    house.chat(200, 100);
    until(|| first.taken() + second.taken() == 300).await;
    webhooks.stop().await;
}

#[tokio::test]
async fn an_endpoint_hears_only_what_it_wants() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    let mut filtered = definition("a", receiver.url());
    filtered.events = vec!["upstream".into()];
    webhooks.create(filtered).await.unwrap();
    house.chat(0, 100);
    house.journal.say_upstream("somebody", 7);
    receiver.until_taken(1).await;
    webhooks.stop().await;
    let kinds: Vec<_> = receiver.heard().iter().flat_map(Heard::events).collect();
    assert_eq!((kinds.len(), &kinds[0]["type"]), (1, &"upstream".into()));
    // What is not for it is passed, so the log need not be kept for it.
    assert!(house.journal.state(&id("a")).unwrap().behind() >= MessageId(101));
}

#[tokio::test]
async fn a_stop_takes_a_few_seconds_at_most_and_what_hangs_is_sent_again_as_it_was() {
    let hanging = |_: &Heard| {
        let mut reply = reply(200);
        reply.wait = Duration::from_secs(3600);
        reply
    };
    let (house, receiver) = (House::new(), Receiver::start(hanging).await);
    let webhooks = house.start().await;
    let mut patient = definition("a", receiver.url());
    patient.timeout = Some("60s".into());
    webhooks.create(patient).await.unwrap();
    house.chat(0, 100);
    receiver.until(|heard| !heard.is_empty()).await;
    let began = Instant::now();
    webhooks.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let first = receiver.heard();
    receiver.answer(|_| reply(200));
    let again = house.start().await;
    receiver.until(|heard| heard.len() > first.len()).await;
    receiver.until_taken(100).await;
    assert_stable(&receiver.heard());
    assert!(receiver.heard()[first.len()..].iter().any(|one| one.id() == first[0].id()));
    again.stop().await;
}

#[tokio::test]
async fn a_part_of_the_log_that_is_lost_is_told_and_what_is_left_goes_out_under_another_id() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.chat(0, 50);
    receiver.until(|heard| !heard.is_empty()).await;
    webhooks.stop().await;
    let first = receiver.heard();
    house.journal.lose(MessageId(20));
    receiver.answer(|_| reply(200));
    let again = house.start().await;
    let gaps = |heard: &[Heard]| {
        let events = heard.iter().filter(|one| one.status == 200).flat_map(Heard::events);
        events.filter(|event| event["type"] == "log.gap").count()
    };
    receiver.until(|heard| taken(heard).len() == 51 - 20 + 1 && gaps(heard) == 1).await;
    again.stop().await;
    let heard = receiver.heard();
    assert_stable(&heard);
    assert!(heard.iter().skip(first.len()).all(|one| one.id() != first[0].id()));
    let text = house.metrics.classic();
    assert!(text.contains("tidings_webhook_gaps_total{endpoint=\"a\"} 1"), "{text}");
}

#[tokio::test]
async fn a_part_of_the_log_that_is_lost_is_told_alike_before_and_after_a_restart() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(503)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    webhooks.halt(&id("a"), "until it is lost").await.unwrap();
    house.journal.say(1, 2, 1_000, "lost");
    let through = house.journal.say(2, 2, 2_000, "lost");
    house.journal.say(3, 2, 3_000, "found");
    house.journal.lose(through);
    webhooks.resume(&id("a")).await.unwrap();
    receiver.until(|heard| !heard.is_empty()).await;
    webhooks.stop().await;
    let first = receiver.heard().len();
    receiver.answer(|_| reply(200));
    let again = house.start().await;
    receiver.until_taken(2).await;
    again.stop().await;
    let heard = receiver.heard();
    assert_stable(&heard);
    let gap = |heard: &[Heard]| {
        let mut events = heard.iter().flat_map(Heard::events);
        events.find(|event| event["type"] == "log.gap").unwrap()
    };
    assert_eq!(gap(&heard), gap(&heard[first..]));
    assert_eq!(gap(&heard)["at_ms"], 3_000);
}

#[tokio::test]
async fn a_flusher_whose_store_is_closed_ends() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    house.journal.close();
    house.chat(0, 1);
    let stopped = tokio::time::timeout(PATIENCE, webhooks.stop()).await;
    stopped.expect("it has not ended");
    assert!(matches!(webhooks.halt(&id("a"), "x").await, Err(ChangeError::Read(_))));
}

/// The server dies at any moment, again and again.
#[test]
fn nothing_is_lost_and_a_repeat_is_the_same_when_the_server_dies_at_any_moment() {
    let outside = Runtime::new().unwrap();
    let mut dice = fastrand::Rng::with_seed(7);
    let moody = move |_: &Heard| {
        let mut reply = reply([200, 200, 200, 503, 400][dice.usize(..5)]);
        reply.wait = Duration::from_millis(dice.u64(..20));
        reply
    };
    let receiver = outside.block_on(Receiver::start(moody));
    let mut house = House::new();
    let mut wanted = definition("a", receiver.url());
    wanted.in_flight = Some(4);
    house.configured = vec![wanted];
    let mut said = 0;
    for round in 0..25 {
        let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let webhooks = server.block_on(house.start());
        for _ in 0..4 {
            house.chat(said, 200);
            said += 200;
            std::thread::sleep(Duration::from_millis(fastrand::u64(1..30)));
        }
        drop(webhooks);
        server.shutdown_background();
        assert!(round < 25);
    }
    receiver.answer(|_| reply(200));
    let server = Runtime::new().unwrap();
    let webhooks = server.block_on(house.start());
    server.block_on(async {
        until(|| {
            let dead = house.journal.all_letters().len();
            receiver.taken() + dead >= said as usize
        })
        .await;
        until(|| house.journal.state(&id("a")).unwrap().batches.is_empty()).await;
        webhooks.stop().await;
    });
    let heard = receiver.heard();
    assert_stable(&heard);
    let mut known = taken(&heard);
    known.extend(house.journal.all_letters().into_iter().map(|letter| letter.event));
    assert_eq!(known.len(), said as usize, "everything was taken or is a letter");
    let state = house.journal.state(&id("a")).unwrap();
    assert!(state.behind() >= MessageId(i64::from(said)), "{:?}", state.behind());
}
