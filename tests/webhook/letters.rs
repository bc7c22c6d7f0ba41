//! What an endpoint refuses for good: it is set apart, and can be seen, sent again and dropped.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Running, SECRET};
use crate::pipeline::{message, of_messages, start};
use crate::receiver::{Answer, Request};
use crate::standard::{events, of_kind, one, said, verifies};

/// Refuses what has `poison` in it.
fn refuse_poison(request: &Request) -> Answer {
    let is_poisoned = request.text().contains("poison");
    Answer::status(if is_poisoned { 400 } else { 200 }).body("no poison, please")
}

async fn letters(server: &Running) -> Vec<Value> {
    let page = server.get("/v1/endpoints/back-end/letters").await;
    page["items"].as_array().unwrap().clone()
}

/// The letters' places, by which they are named when something is done with them.
fn places(letters: &[Value]) -> Vec<&str> {
    letters.iter().map(|letter| letter["place"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_refused_batch_is_split_until_the_culprit_stands_alone() {
    let (server, receiver) = start(json!({"interval_ms": 300})).await;
    receiver.answers(refuse_poison);
    let body = |number| if number == 13 { "poison".into() } else { format!("{number}") };
    server.say_all((0..20).map(|number| message(0, body(number))).collect()).await;
    server.until("back-end", "a letter", |it| it["health"]["letters"] == 1).await;
    let taken = |requests: &[Request]| {
        let good = requests.iter().filter(|request| !request.text().contains("poison"));
        let said = said(&good.cloned().collect::<Vec<_>>());
        (said.len() == 19).then_some(said)
    };
    let expected: Vec<_> = (0..20).filter(|it| *it != 13).map(|it| it.to_string()).collect();
    assert_eq!(receiver.until("the others", taken).await, expected, "in their order");
    let letters = letters(&server).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((&letter["kind"], &letter["status"]), (&json!("message.sent"), &json!(400)));
    let text = letter.to_string();
    assert!(text.contains("poison") && text.contains("no poison, please"), "{letter}");
    let event = of_kind(&receiver.requests(), "message.sent");
    let culprit = event.iter().find(|event| event.text() == "poison").unwrap();
    assert_eq!(letter["event"], culprit.id);
    // It does so in as many requests as halving takes.
    let refused = receiver.requests().iter().filter(|it| it.text().contains("poison")).count();
    assert!((2..=7).contains(&refused), "{refused}");
}

#[tokio::test]
async fn letters_are_listed_sent_again_and_dropped() {
    let (mut server, receiver) = start(json!({"secret": SECRET})).await;
    receiver.answers(refuse_poison);
    for number in 0..3 {
        server.say("ann", "bob", &format!("poison {number}")).await;
    }
    server.until("back-end", "letters", |it| it["health"]["letters"] == 3).await;
    server.restart().await;
    let kept = letters(&server).await;
    assert_eq!(kept.len(), 3, "they outlive a restart");
    receiver.answers_with(200);
    let count = receiver.count();
    let again = json!({"letters": places(&kept[..1])});
    let resent = server.post("/v1/endpoints/back-end/letters/resend", again).await;
    let resent = resent.expect(StatusCode::OK);
    assert_eq!(
        (&resent["resent"], &resent["letters"][0]["attempt"]["status"]),
        (&json!(1), &json!(200))
    );
    let request = receiver.had(count + 1).await.remove(count);
    assert!(verifies(SECRET, &request));
    assert_eq!(events(&request)[0].text(), "poison 0");
    server.until("back-end", "one less", |it| it["health"]["letters"] == 2).await;
    let rest = letters(&server).await;
    assert_eq!(places(&rest), places(&kept[1..]));
    let path = format!("/v1/endpoints/back-end/letters?places={}", places(&rest).join(","));
    let dropped = server.ask(Method::DELETE, &path, None).await.expect(StatusCode::OK);
    assert_eq!(dropped, json!({"dropped": 2}));
    server.until("back-end", "none", |it| it["health"]["letters"] == 0).await;
    assert_eq!(letters(&server).await, [Value::Null; 0]);
}

#[tokio::test]
async fn what_is_not_taken_within_a_day_is_a_dead_letter() {
    let (server, receiver) = start(json!({})).await;
    receiver.answers_with(503);
    server.say("ann", "bob", "too late").await;
    receiver.had(2).await;
    server.step(Duration::from_secs(24 * 3600 - 1));
    server.step(Duration::from_secs(2));
    server.until("back-end", "a letter", |it| it["health"]["letters"] == 1).await;
    let letter = letters(&server).await.remove(0);
    assert_eq!(letter["status"], 503, "{letter}");
    receiver.answers_with(200);
    server.say("ann", "bob", "in time").await;
    one(&receiver, "message.sent", |event| event.text() == "in time").await;
}

#[tokio::test]
async fn an_endpoint_is_removed_with_what_is_kept_for_it() {
    let (server, receiver) = start(json!({})).await;
    receiver.answers(refuse_poison);
    server.say("ann", "bob", "poison").await;
    server.until("back-end", "a letter", |it| it["health"]["letters"] == 1).await;
    let path = "/v1/endpoints/back-end";
    let removed = server.ask(Method::DELETE, path, None).await;
    assert!(removed.status.is_success(), "{removed:?}");
    let gone = server.ask(Method::GET, path, None).await;
    assert_eq!(gone.problem(), "no-such-endpoint");
    server.endpoint("back-end", &receiver, of_messages(json!({}))).await;
    assert_eq!(server.overview("back-end").await["health"]["letters"], 0);
}

#[tokio::test]
async fn a_dead_letter_is_purged_when_it_is_old() {
    let (server, receiver) = start(json!({})).await;
    receiver.answers(refuse_poison);
    server.say("ann", "bob", "poison").await;
    server.until("back-end", "a letter", |it| it["health"]["letters"] == 1).await;
    let began = Instant::now();
    assert_eq!(letters(&server).await.len(), 1);
    // A clock that leaps is not believed for an hour. Then it goes on in steps.
    server.step(Duration::from_secs(30 * 24 * 3600));
    while !letters(&server).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "it is still there");
        server.step(Duration::from_secs(600));
        server.say("ann", "bob", "the time goes on").await;
    }
}
