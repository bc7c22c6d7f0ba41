//! From the log to an endpoint: when requests go out, what they have, and what becomes of those
//! that are not taken.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{PATIENCE, Running, SECRET};
use crate::receiver::{Answer, Receiver, Request};
use crate::standard::{Event, all, events, heard, one, said, verifies};

/// A server with an endpoint that hears of messages.
pub(crate) async fn start(more: Value) -> (Running, Receiver) {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    server.endpoint("back-end", &receiver, of_messages(more)).await;
    (server, receiver)
}

pub(crate) fn of_messages(more: Value) -> Value {
    let mut definition = json!({"events": ["message.sent"], "interval_ms": 10});
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    definition
}

/// A message of a batch, in the conversation of this number.
pub(crate) fn message(conversation: usize, body: String) -> Value {
    json!({"from": format!("ann-{conversation}"), "to": {"peers": ["bob"]}, "body": body})
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| message(number % 100, format!("{number}"))).collect()
}

pub(crate) async fn until_said(receiver: &Receiver, count: usize) -> Vec<String> {
    let find = |requests: &[Request]| {
        let said = said(requests);
        (said.len() >= count).then_some(said)
    };
    receiver.until(&format!("{count} messages"), find).await
}

/// Waits until somebody is answered.
pub(crate) async fn until_quiet(server: &Running) -> Value {
    let is_done = |it: &Value| {
        it["health"]["waiting"] == 0 && it["health"]["in_flight"] == 0 && it["health"]["ok"] != 0
    };
    server.until("back-end", "quiet", is_done).await
}

#[tokio::test]
async fn at_low_load_there_is_one_request_for_each_interval() {
    let interval = Duration::from_millis(400);
    let (server, receiver) = start(json!({"interval_ms": 400})).await;
    let began = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for number in 0..100 {
        pace.tick().await;
        server.say(&format!("ann-{number}"), "bob", &number.to_string()).await;
    }
    until_said(&receiver, 100).await;
    let (requests, intervals) = (receiver.count(), began.elapsed().div_duration_f64(interval));
    assert!(requests as f64 <= intervals + 1.0, "{requests} requests in {intervals} intervals");
    assert!(requests > 1, "not all at the end");
}

#[tokio::test]
async fn an_event_waits_for_the_default_interval_of_half_a_second() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    server.endpoint("back-end", &receiver, json!({"events": ["message.sent"]})).await;
    let sent = Instant::now();
    server.say("ann", "bob", "one").await;
    server.say("cat", "bob", "two").await;
    let request = receiver.had(1).await.remove(0);
    assert_eq!(events(&request).len(), 2, "both in one request");
    let waited = request.at.duration_since(sent);
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
}

#[tokio::test]
async fn a_batch_is_sent_at_500_events_without_waiting() {
    let (server, receiver) = start(json!({"interval_ms": 60_000})).await;
    server.say_all(numbered(499)).await;
    server.say_all(numbered(1)).await;
    let request = receiver.had(1).await.remove(0);
    assert_eq!(events(&request).len(), 500);
}

#[tokio::test]
async fn a_batch_is_sent_at_256_kib_without_waiting() {
    let (server, receiver) = start(json!({"interval_ms": 60_000})).await;
    let long = |number: usize| message(number, format!("{number} {}", "x".repeat(5_000)));
    server.say_all((0..60).map(long).collect()).await;
    let request = receiver.had(1).await.remove(0);
    let bytes = request.body.len();
    assert!((240 * 1024..=256 * 1024).contains(&bytes), "{bytes} bytes");
    assert!(events(&request).len() < 60);
}

#[tokio::test]
async fn every_try_of_a_request_has_the_same_id_and_bytes_and_a_signature_of_its_own_time() {
    let (server, receiver) = start(json!({"secret": SECRET})).await;
    let answers = [
        || Answer::status(500),
        || Answer::status(408),
        || Answer::status(429),
        || Answer::status(302).header("location", "http://127.0.0.1:9/"),
        Answer::lost,
    ];
    receiver.answers(move |request| answers.get(request.number).map_or_else(Answer::ok, |it| it()));
    server.say("ann", "bob", "again and again").await;
    until_quiet(&server).await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 6);
    for request in &requests {
        assert_eq!((request.id(), &request.body), (requests[0].id(), &requests[0].body));
        assert!(verifies(SECRET, request));
    }
    let time = |request: &Request| request.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(time(&requests[0]) < time(&requests[5]), "four waits are more than a second");
}

#[tokio::test]
async fn waits_between_tries_grow() {
    let (server, receiver) = start(json!({})).await;
    receiver.answers(|request| Answer::status(if request.number < 4 { 503 } else { 200 }));
    server.say("ann", "bob", "again").await;
    let requests = receiver.had(5).await;
    for (number, pair) in requests.windows(2).enumerate() {
        let (waited, least) = (pair[1].at - pair[0].at, Duration::from_millis(125 << number));
        assert!(waited >= least, "{waited:?} before try {}", number + 2);
    }
}

#[tokio::test]
async fn a_retry_after_is_honoured() {
    let (server, receiver) = start(json!({})).await;
    receiver.answers(|request| match request.number {
        0 => Answer::status(503).header("retry-after", 2),
        _ => Answer::ok(),
    });
    server.say("ann", "bob", "later").await;
    let requests = receiver.had(2).await;
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_millis(1_950), "{waited:?}");
}

#[tokio::test]
async fn each_conversation_keeps_its_order_at_an_endpoint_that_fails_and_is_slow() {
    let (server, receiver) = start(json!({"in_flight": 16})).await;
    let mut random = fastrand::Rng::with_seed(7);
    receiver.answers(move |_| {
        let answer = match random.u8(..10) {
            0 => Answer::status(503),
            1 => Answer::lost(),
            _ => Answer::ok(),
        };
        answer.after(Duration::from_millis(random.u64(..40)))
    });
    for part in 0..10 {
        let one = |number: usize| message(number % 20, format!("{part} {number}"));
        server.say_all((0..100).map(one).collect()).await;
    }
    let told = heard(&receiver, "message.sent", 1_000).await;
    let mut last: HashMap<String, u64> = HashMap::new();
    for event in &told {
        let conversation = event.data["conversation"].as_str().unwrap().to_owned();
        let (sequence, last) =
            (event.data["sequence"].as_u64().unwrap(), last.entry(conversation).or_default());
        assert_eq!(sequence, *last + 1, "{event:?}");
        *last = sequence;
    }
    assert_eq!(last.len(), 20);
    assert_eq!(last.values().sum::<u64>(), 1_000);
}

#[tokio::test]
async fn while_a_conversation_waits_for_its_answer_others_go_on() {
    let (server, receiver) = start(json!({})).await;
    let (held, release) = (CancellationToken::new(), CancellationToken::new());
    let (hold, until) = (held.clone(), release.clone());
    receiver.answers(move |request| match request.text().contains("held") {
        true => {
            hold.cancel();
            Answer::ok().when(until.clone().cancelled_owned())
        }
        false => Answer::ok(),
    });
    server.say("ann", "bob", "held").await;
    held.cancelled().await;
    server.say("ann", "bob", "behind it").await;
    // One of sixty-four lanes is busy, so most of these are in others.
    for number in 0..20 {
        server.say(&format!("cat-{number}"), "bob", "free").await;
    }
    until_said(&receiver, 12).await;
    assert!(!said(&receiver.requests()).contains(&"behind it".to_owned()));
    release.cancel();
    until_said(&receiver, 22).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_halted_and_misses_nothing_when_it_goes_on() {
    let (server, receiver) = start(json!({})).await;
    let control = Receiver::start().await;
    server.endpoint("control", &control, of_messages(json!({}))).await;
    receiver.answers_with(410);
    server.say("ann", "bob", "gone").await;
    let halted = server.until("back-end", "halted", |it| !it["halted"].is_null()).await;
    assert!(halted["halted"].as_str().unwrap().contains("410"), "{halted}");
    let count = receiver.count();
    receiver.answers_with(200);
    server.say("ann", "bob", "meanwhile").await;
    one(&control, "message.sent", |event| event.text() == "meanwhile").await;
    assert_eq!(receiver.count(), count, "it is asked no more");
    let resumed = server.post("/v1/endpoints/back-end/resume", json!({})).await;
    assert!(resumed.status.is_success(), "{resumed:?}");
    assert_eq!(until_said(&receiver, 2).await, ["gone", "meanwhile"]);
    let overview = until_quiet(&server).await;
    assert_eq!((&overview["halted"], &overview["health"]["letters"]), (&Value::Null, &json!(0)));
}

#[tokio::test]
async fn an_operator_pauses_an_endpoint_and_resumes_it_over_a_restart() {
    let (mut server, receiver) = start(json!({})).await;
    let paused = server.post("/v1/endpoints/back-end/pause", json!({})).await;
    paused.expect(StatusCode::OK);
    server.say("ann", "bob", "one").await;
    server.restart().await;
    server.say("ann", "bob", "two").await;
    assert_eq!(server.overview("back-end").await["halted"], "paused by request");
    assert_eq!(receiver.count(), 0);
    server.post("/v1/endpoints/back-end/resume", json!({})).await;
    assert_eq!(until_said(&receiver, 2).await, ["one", "two"]);
}

#[tokio::test]
async fn requests_are_spread_over_the_urls_of_an_endpoint() {
    let (server, one, other) =
        (Running::start().await, Receiver::start().await, Receiver::start().await);
    let urls = json!([one.url_of("/a"), other.url_of("/b")]);
    server.endpoint("back-end", &one, of_messages(json!({"urls": urls}))).await;
    let mut sent = 0;
    let began = Instant::now();
    while one.count() < 3 || other.count() < 3 {
        assert!(began.elapsed() < PATIENCE, "{} and {}", one.count(), other.count());
        server.say(&format!("ann-{sent}"), "bob", "x").await;
        sent += 1;
    }
    let both = async || all(&[one.requests(), other.requests()].concat()).len();
    while both().await < sent {
        assert!(began.elapsed() < PATIENCE, "{} of {sent}", both().await);
        one.had(one.count()).await;
        tokio::task::yield_now().await;
    }
    // When one of them is down, the other takes over.
    one.down();
    server.say("ann", "bob", "the end").await;
    crate::standard::one(&other, "message.sent", |event| event.text() == "the end").await;
}

#[tokio::test]
async fn an_endpoint_hears_what_it_asks_for_and_nothing_else() {
    let (server, messages) = start(json!({})).await;
    let sessions = Receiver::start().await;
    let more = json!({"events": ["session.started", "conversation.started"], "interval_ms": 10});
    server.endpoint("sessions", &sessions, more).await;
    let mut bob = server.open("bob").await;
    server.say("ann", "bob", "hello").await;
    bob.message().await;
    one(&sessions, "conversation.started", |_| true).await;
    one(&sessions, "session.started", |_| true).await;
    one(&messages, "message.sent", |_| true).await;
    bob.leave().await;
    server.say("ann", "bob", "the end").await;
    one(&messages, "message.sent", |event| event.text() == "the end").await;
    let kinds = |receiver: &Receiver| {
        let mut kinds: Vec<_> = all(&receiver.requests()).into_iter().map(|it| it.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&messages), ["message.sent"]);
    assert_eq!(kinds(&sessions), ["conversation.started", "session.started"]);
}

#[tokio::test]
async fn a_new_endpoint_begins_at_the_head_and_can_be_told_again_from_an_id_or_a_time() {
    let (server, receiver) = (Running::start().await, Receiver::start().await);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(server.say("ann", "bob", &number.to_string()).await);
    }
    server.endpoint("back-end", &receiver, of_messages(json!({}))).await;
    server.say("ann", "bob", "5").await;
    let first = heard(&receiver, "message.sent", 1).await;
    assert_eq!(first[0].text(), "5", "nothing from before");
    until_quiet(&server).await;
    let replay = async |since: Value| {
        let count = receiver.count();
        let answer = server.post("/v1/endpoints/back-end/replay", since).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let again = |requests: &[Request]| {
            let events: Vec<Event> = requests[count..].iter().flat_map(events).collect();
            events.iter().any(|event| event.text() == "5").then_some(events)
        };
        let again = receiver.until("what is told again", again).await;
        until_quiet(&server).await;
        again
    };
    let again = replay(json!({"from_id": ids[3]})).await;
    assert_eq!(again.iter().map(Event::text).collect::<Vec<_>>(), ["3", "4", "5"]);
    assert_eq!(again[2], first[0], "the same event, with the same id");
    let time = again[0].at_ms;
    let again = replay(json!({"from_ms": time})).await;
    assert!(again.iter().all(|event| event.at_ms >= time), "{again:?}");
    let again = replay(json!({"from_id": first[0].id})).await;
    assert_eq!(again, first);
}

#[tokio::test]
async fn a_dead_endpoint_changes_nothing_for_sends_and_for_other_endpoints() {
    let server = Running::start().await;
    let (alive, dead, silent) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    dead.down();
    silent.answers(|_| Answer::ok().when(std::future::pending()));
    for (name, receiver) in [("alive", &alive), ("dead", &dead), ("silent", &silent)] {
        server.endpoint(name, receiver, of_messages(json!({}))).await;
    }
    for part in 0..5 {
        let one = |number| message(number, format!("{part} {number}"));
        let sent = server.say_all((0..100).map(one).collect()).await;
        assert_eq!(sent.len(), 100);
        until_said(&alive, (part + 1) * 100).await;
    }
    let alive = server.overview("alive").await;
    assert_eq!(alive["health"]["failed"], 0, "{alive}");
    let dead_one = server.until("dead", "failing", |it| it["health"]["failed"] != 0).await;
    assert!(!dead_one["health"]["last_error"].is_null(), "{dead_one}");
    dead.up().await;
    until_said(&dead, 500).await;
    assert_eq!(server.overview("dead").await["health"]["letters"], 0);
}

#[tokio::test]
async fn after_five_failures_one_request_at_a_time_finds_out_whether_it_is_back() {
    let (server, receiver) = start(json!({})).await;
    receiver.answers_with(500);
    server.say_all(numbered(100)).await;
    let open = server.until("back-end", "open", |it| it["health"]["breaker_open"] == true).await;
    assert!(open["health"]["failed"].as_u64().unwrap() >= 5, "{open}");
    receiver.answers_with(200);
    until_said(&receiver, 100).await;
    let closed = until_quiet(&server).await;
    assert_eq!(closed["health"]["breaker_open"], false);
}

#[tokio::test]
async fn a_receiver_that_answers_late_is_waited_for_and_then_tried_again() {
    let (server, receiver) = start(json!({"timeout_ms": 300})).await;
    receiver.answers(|request| match request.number {
        0 => Answer::ok().when(std::future::pending()),
        1 => Answer::ok().after(Duration::from_millis(150)),
        _ => Answer::ok(),
    });
    server.say("ann", "bob", "slowly").await;
    let overview = until_quiet(&server).await;
    let health = &overview["health"];
    assert_eq!((&health["failed"], &health["ok"]), (&json!(1), &json!(1)), "{overview}");
    let requests = receiver.requests();
    assert_eq!((requests.len(), requests[0].id()), (2, requests[1].id()));
}

#[tokio::test]
async fn what_was_not_told_before_a_restart_is_told_after_it() {
    let (mut server, receiver) = start(json!({"interval_ms": 60_000})).await;
    server.say_all(numbered(100)).await;
    server.restart().await;
    server
        .say_all((0..400).map(|number| message(number, format!("more {number}"))).collect())
        .await;
    let told = until_said(&receiver, 500).await;
    assert_eq!(told.len(), 500);
    server.restart().await;
    server.say_all(numbered(500)).await;
    heard(&receiver, "message.sent", 1_000).await;
    let told: usize = receiver.requests().iter().map(|request| events(request).len()).sum();
    assert_eq!(told, 1_000, "nothing that was taken is told again");
}

#[tokio::test]
async fn the_settings_and_the_file_name_endpoints_that_are_told_by_post_as_json() {
    let (of_settings, of_file) = (Receiver::start().await, Receiver::start().await);
    let url = of_settings.url_of("/from/settings");
    let file = format!(
        "[[endpoint]]\nid = \"of-file\"\nurl = \"{}\"\nevents = [\"message.sent\"]\n\
         interval = \"10ms\"\n",
        of_file.url_of("/from/file")
    );
    let settings = [("webhook_url", &*url), ("webhook_secret", SECRET)];
    let server = Running::start_with(&settings, &file).await;
    server.say("ann", "bob", "hello").await;
    for (receiver, path) in [(&of_settings, "/from/settings"), (&of_file, "/from/file")] {
        one(receiver, "message.sent", |event| event.text() == "hello").await;
        for request in receiver.requests() {
            assert_eq!((&*request.method, &*request.path), ("POST", path));
            assert_eq!(request.header("content-type"), "application/json");
        }
    }
    assert!(of_settings.requests().iter().all(|request| verifies(SECRET, request)));
    let list = server.get("/v1/endpoints").await;
    let mut ids: Vec<_> =
        list["endpoints"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    assert_eq!(ids, ["default", "of-file"]);
}
