//! Endpoints told over real sockets, from a log in memory.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::client::Names;
use super::journal_tests::MemoryJournal;
use super::receiver_tests::{
    Heard, PATIENCE, Receiver, assert_ordered, assert_stable, reply, taken,
};
use super::*;
use crate::clock::Clock;
use crate::id::{EndpointId, MessageId};
use crate::limits::{
    WEBHOOK_BATCH_EVENTS_MAX, WEBHOOK_EVENTS_MAX, WEBHOOK_REFUSALS_MAX, WEBHOOK_SPLIT_TRIES,
};
use crate::metrics::Metrics;

/// A name that leads where a test wants.
#[derive(Default)]
struct Led(Mutex<Vec<Vec<&'static str>>>);

impl Names for Led {
    fn addresses(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut answers = self.0.lock();
        let next = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async move { Ok(next.iter().map(|text| text.parse().unwrap()).collect()) })
    }
}

struct House {
    journal: Arc<MemoryJournal>,
    folder: TempDir,
    clock: Clock,
    metrics: Arc<Metrics>,
    names: Arc<Led>,
    allowed: Vec<Network>,
    configured: Vec<Definition>,
}

impl House {
    fn new() -> Self {
        Self {
            journal: MemoryJournal::new(),
            folder: tempfile::tempdir().unwrap(),
            clock: Clock::system(),
            metrics: Arc::new(Metrics::new()),
            names: Arc::default(),
            allowed: vec!["127.0.0.0/8".parse().unwrap()],
            configured: Vec::new(),
        }
    }

    async fn start(&self) -> Webhooks {
        let options = Options {
            dir: self.folder.path().to_owned(),
            configured: self.configured.clone(),
            allowed: self.allowed.clone(),
            ..Options::default()
        };
        let (journal, metrics) = (self.journal.clone(), self.metrics.clone());
        let clock = self.clock.clone();
        Webhooks::start_with(options, journal, metrics, clock, self.names.clone()).await.unwrap()
    }

    /// Says something in each of many conversations.
    fn chat(&self, from: u32, count: u32) {
        for number in from..from + count {
            let conversation = number % 97;
            self.journal.say(conversation, number + 2, self.clock.now_ms(), "hello");
        }
    }
}

fn id(text: &str) -> EndpointId {
    text.parse().unwrap()
}

fn definition(name: &str, url: String) -> Definition {
    Definition {
        id: name.into(),
        url: Some(url),
        interval: Some("20ms".into()),
        timeout: Some("2s".into()),
        secret: Some(SecretText("geheim".into())),
        ..Definition::default()
    }
}

async fn until(what: impl Fn() -> bool) {
    let so = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, so).await.expect("it has not come to that");
}

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
async fn a_message_to_the_back_end_is_accepted_when_it_was_taken() {
    let (house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    let webhooks = house.start().await;
    webhooks.create(definition("a", receiver.url())).await.unwrap();
    let upstream = house.journal.say_upstream("somebody", 7);
    until(|| house.journal.settled() == [(upstream, true)]).await;
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

    house.configured.clear();
    let last = house.start().await;
    assert!(last.list().is_empty());
    assert!(house.journal.state(&id("fixed")).is_none(), "the log is not kept for it");
    last.stop().await;
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

#[tokio::test]
async fn a_name_leads_only_to_where_webhooks_may_go_whenever_it_is_asked() {
    let (mut house, receiver) = (House::new(), Receiver::start(|_| reply(200)).await);
    house.allowed = Vec::new();
    let url = format!("http://hook.example:{}/", receiver.address.port());
    for answers in [
        vec![vec!["127.0.0.1"]],
        vec![vec!["10.0.0.1", "192.168.1.1", "::1"]],
        vec![vec!["169.254.169.254"]],
        vec![vec!["::ffff:127.0.0.1"]],
        vec![vec!["fe80::1"]],
        vec![vec!["fd00:ec2::254"]],
        vec![vec![]],
        // It changes between the look at it and the connection: what is looked at is connected to.
        vec![vec!["127.0.0.1"], vec!["1.1.1.1"]],
    ] {
        house.names = Arc::new(Led(Mutex::new(answers.clone())));
        let webhooks = house.start().await;
        if webhooks.find(&id("a")).is_none() {
            webhooks.create(definition("a", url.clone())).await.unwrap();
        }
        let attempt = webhooks.ping(&id("a")).await.unwrap();
        assert_eq!((attempt.status, attempt.outcome), (0, Outcome::Failed), "{answers:?}");
        assert!(attempt.said.contains("no address that webhooks may go to"), "{}", attempt.said);
        assert!(!attempt.said.contains("hook.example"), "no error tells a URL");
        webhooks.stop().await;
    }
    assert!(receiver.heard().is_empty());
    house.allowed = vec!["127.0.0.0/8".parse().unwrap()];
    house.names = Arc::new(Led(Mutex::new(vec![vec!["10.0.0.1", "127.0.0.1"]])));
    let webhooks = house.start().await;
    assert_eq!(webhooks.ping(&id("a")).await.unwrap().status, 200, "what is allowed is");
    webhooks.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let (house, inside) = (House::new(), Receiver::start(|_| reply(200)).await);
    let target = inside.url();
    for status in [301, 302, 303, 307, 308] {
        let target = target.clone();
        let leading = move |_: &Heard| {
            let mut reply = reply(status);
            reply.headers.push(("location", target.clone()));
            reply
        };
        let receiver = Receiver::start(leading).await;
        let webhooks = house.start().await;
        webhooks.create(definition("a", receiver.url())).await.unwrap();
        let attempt = webhooks.ping(&id("a")).await.unwrap();
        assert_eq!((attempt.status, attempt.outcome), (status, Outcome::Failed));
        webhooks.remove(&id("a")).await.unwrap();
        webhooks.stop().await;
    }
    assert!(inside.heard().is_empty());
}

#[tokio::test]
async fn an_endless_answer_is_not_read_and_a_slow_one_takes_no_longer_than_it_may() {
    let endless = |_: &Heard| {
        let mut reply = reply(200);
        reply.body = vec![b'x'; 4 * 1024 * 1024];
        reply
    };
    let (house, receiver) = (House::new(), Receiver::start(endless).await);
    let webhooks = house.start().await;
    let mut hasty = definition("a", receiver.url());
    hasty.timeout = Some("300ms".into());
    webhooks.create(hasty).await.unwrap();
    let attempt = webhooks.ping(&id("a")).await.unwrap();
    assert_eq!((attempt.status, attempt.said.as_str()), (200, ""));
    receiver.answer(|_| {
        let mut reply = reply(200);
        reply.wait = Duration::from_secs(3600);
        reply
    });
    let attempt = webhooks.ping(&id("a")).await.unwrap();
    assert_eq!((attempt.status, attempt.said.as_str()), (0, "it took too long"));
    webhooks.stop().await;
}
