//! The pre-send hook: a back end is asked about what clients send.

use std::time::Duration;

use serde_json::{Value, json};

use tidings::client::{Outgoing, SendError};
use tidings::config::Config;
use tidings::id::PeerId;
use tidings::reason::Reason;
use tidings::webhook::Policy;

use crate::harness::{Running, soon};
use crate::receiver::{Heard, Receiver, Reply, allow_this_machine};

fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}

/// A server that asks this back end; tests that are not about time give it much.
async fn asking(receiver: &Receiver, set: impl FnOnce(&mut Config)) -> Running {
    let url = receiver.url.clone();
    Running::start_with(|config| {
        allow_this_machine(config);
        config.hook.url = Some(url);
        config.hook.secret = Some("geheim".parse().unwrap());
        config.hook.timeout = Duration::from_secs(5);
        config.hook.on_error = Policy::Refuse;
        set(config);
    })
    .await
}

/// What a question is about.
fn text(heard: &Heard) -> String {
    heard.json()["data"]["text"].as_str().unwrap().to_owned()
}

/// Says what becomes of a message by what it says.
fn judge(heard: &Heard) -> Reply {
    let answer = match text(heard).as_str() {
        "rude" => json!({"allow": true, "text": "polite"}),
        "spam" => json!({"allow": false, "code": "no spam, please"}),
        "hush" => json!({"allow": false}),
        "odd" => json!({"allow": "perhaps"}),
        "long" => json!({"allow": true, "text": "x".repeat(5 * 1024 + 1)}),
        "broken" => return Reply::With(500, Value::Null),
        _ => json!({"allow": true}),
    };
    Reply::With(200, answer)
}

/// Why a message was not sent.
fn refusal(error: SendError) -> (Reason, String) {
    let SendError::Refused(refusal) = error else { panic!("{error}") };
    (refusal.reason().unwrap(), refusal.text.to_string())
}

fn counted(server: &Running, result: &str) -> u64 {
    let line = format!("tidings_presend_total{{result=\"{result}\"}} ");
    let text = server.server().metrics().classic();
    let value = text.lines().find_map(|had| had.strip_prefix(&line)).unwrap();
    value.parse().unwrap()
}

#[tokio::test]
async fn a_message_is_allowed_replaced_or_refused_with_a_code_that_its_sender_sees() {
    let receiver = Receiver::start(judge).await;
    let server = asking(&receiver, |_| {}).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    ann.session.send(Outgoing::to(peer("bob"), "hello").receipt()).await.unwrap();
    assert_eq!(bob.message().await.body, "hello");
    let heard = receiver.next().await;
    assert!(heard.is_signed_with("geheim"));
    let question = heard.json();
    assert_eq!(
        (&question["type"], &question["id"]),
        (&json!("message.ask"), &json!(heard.header("webhook-id")))
    );
    let data = &question["data"];
    assert_eq!((&data["from"], &data["to"]), (&json!("ann"), &json!(["bob"])));
    assert_eq!((&data["transient"], &data["receipt"]), (&json!(false), &json!(true)));
    ann.session.send(Outgoing::to(peer("bob"), "rude")).await.unwrap();
    let polite = bob.message().await;
    assert_eq!((&polite.body[..], polite.sequence), (&b"polite"[..], 2));
    let refused = ann.session.send(Outgoing::to(peer("bob"), "spam")).await.unwrap_err();
    assert_eq!(refusal(refused), (Reason::Vetoed, "no spam, please".into()));
    let refused = ann.session.send(Outgoing::to(peer("bob"), "hush")).await.unwrap_err();
    assert_eq!(refusal(refused).0, Reason::Vetoed);
    ann.session.send(Outgoing::to(peer("bob"), "bye")).await.unwrap();
    let bye = bob.message().await;
    assert_eq!((&bye.body[..], bye.sequence), (&b"bye"[..], 3), "what is refused is nowhere");
    for (result, count) in [("allowed", 2), ("replaced", 1), ("refused", 2), ("error", 0)] {
        assert_eq!(counted(&server, result), count, "{result}");
    }
}

#[tokio::test]
async fn transient_messages_are_asked_about_and_those_of_the_back_end_are_not() {
    let receiver = Receiver::start(judge).await;
    let server = asking(&receiver, |_| {}).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    for said in ["spam", "rude"] {
        ann.session.send_transient(Outgoing::to(peer("bob"), said)).unwrap();
        // Datagrams may overtake one another.
        let heard = receiver.next().await;
        assert_eq!((text(&heard), &heard.json()["data"]["transient"]), (said.into(), &json!(true)));
    }
    let polite = bob.message().await;
    assert_eq!((&polite.body[..], polite.transient), (&b"polite"[..], true));
    let message = json!({"from": "ann", "to": {"peers": ["bob"]}, "body": "spam"});
    server.post("/v1/messages", message).await.expect(reqwest::StatusCode::CREATED);
    assert_eq!(bob.message().await.body, "spam");
    assert!(receiver.is_quiet().await, "the back end knows what it sends");
}

#[tokio::test]
async fn an_answer_that_means_nothing_is_an_error() {
    for (policy, is_sent) in [(Policy::Allow, true), (Policy::Refuse, false)] {
        let receiver = Receiver::start(judge).await;
        let server = asking(&receiver, |config| config.hook.on_error = policy).await;
        let ann = server.open("ann").await;
        for said in ["odd", "long", "broken"] {
            let sent = ann.session.send(Outgoing::to(peer("bob"), said)).await;
            match sent {
                Ok(_) => assert!(is_sent, "{said}"),
                Err(error) => {
                    assert!(!is_sent, "{said}");
                    assert_eq!(refusal(error).0, Reason::Unasked);
                }
            }
        }
        assert_eq!(counted(&server, "error"), 3);
    }
}

#[tokio::test]
async fn a_back_end_that_does_not_answer_in_time_has_the_outcome_that_was_set() {
    for (policy, is_sent) in [(Policy::Allow, true), (Policy::Refuse, false)] {
        let receiver = Receiver::start(|_| Reply::Never).await;
        let set = |config: &mut Config| {
            config.hook.timeout = Duration::from_millis(50);
            config.hook.on_timeout = policy;
        };
        let server = asking(&receiver, set).await;
        let ann = server.open("ann").await;
        match ann.session.send(Outgoing::to(peer("bob"), "hello")).await {
            Ok(_) => assert!(is_sent),
            Err(error) => assert_eq!((is_sent, refusal(error).0), (false, Reason::Unasked)),
        }
        assert_eq!(counted(&server, "timeout"), 1);
    }
}

#[tokio::test]
async fn too_many_questions_at_once_are_not_asked_and_hold_up_nobody() {
    let receiver = Receiver::start(|_| Reply::Never).await;
    let set = |config: &mut Config| {
        config.hook.in_flight = 1;
        config.hook.timeout = Duration::from_secs(60);
    };
    let server = asking(&receiver, set).await;
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    let waits = ann.session.start_send(Outgoing::to(peer("bob"), "slow")).await.unwrap();
    assert_eq!(text(&receiver.next().await), "slow");
    let send = bob.session.send(Outgoing::to(peer("ann"), "quick"));
    let refused = soon("an answer without a question", send).await.unwrap_err();
    assert_eq!(refusal(refused).0, Reason::Unasked);
    assert_eq!(counted(&server, "overload"), 1);
    soon("a request of the others", bob.session.ping()).await.unwrap();
    assert!(receiver.is_quiet().await);
    drop(waits);
}

#[tokio::test]
async fn what_a_session_sends_keeps_its_order() {
    let receiver = Receiver::start(judge).await;
    let server = asking(&receiver, |_| {}).await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let mut sending = Vec::new();
    for number in 0..50 {
        let said = if number % 3 == 0 { "rude".into() } else { number.to_string() };
        sending.push(ann.session.start_send(Outgoing::to(peer("bob"), said)).await.unwrap());
    }
    for number in 0..50_u32 {
        let expected = if number % 3 == 0 { "polite".into() } else { number.to_string() };
        let message = bob.message().await;
        assert_eq!((message.sequence, &message.body[..]), (number + 1, expected.as_bytes()));
    }
    drop(sending);
}
