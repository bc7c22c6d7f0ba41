//! The keys by which a back end has its messages recognised when they come again.

use tidings::id::MessageId;
use tidings::limits::IDEMPOTENCY_AGE;
use tidings::reason::Reason;
use tidings::store::{NewMessage, Origin, Outcome, Repeat, Request};

use super::harness::{Running, Sent, new_message, refusal, sent};

/// A message of the back end under a key; its length tells its content from another.
fn keyed(key: u8, body: &str) -> NewMessage {
    let repeat = Some(Repeat { key: [key; 16], content: body.len() as u32 });
    let origin = Origin::Backend { repeat, system: true };
    NewMessage { origin, ..new_message("system", "bob", 0, body.as_bytes()) }
}

fn push(running: &mut Running, message: NewMessage) -> Outcome<u64> {
    running.outcome(Request::Message(message))
}

/// The message that a push repeats, and when that was stored.
fn repeated(outcome: &Outcome<u64>) -> (Sent, i64) {
    match outcome {
        Outcome::Repeated { id, sequence, at_ms, .. } => {
            (Sent { id: *id, sequence: *sequence }, *at_ms)
        }
        other => panic!("not repeated: {other:?}"),
    }
}

#[test]
fn a_message_under_a_key_is_stored_once() {
    let mut running = Running::new();
    push(&mut running, keyed(1, "before"));
    let now_ms = running.clock().now_ms();
    let first = sent(&push(&mut running, keyed(2, "hello")));
    assert_eq!(first.sequence, 2);
    for _ in 0..2 {
        let (again, at_ms) = repeated(&push(&mut running, keyed(2, "hello")));
        assert_eq!(again, first);
        assert!((now_ms..now_ms + 20_000).contains(&at_ms));
        running = running.crash();
    }
    running = running.restart();
    assert_eq!(repeated(&push(&mut running, keyed(2, "hello"))).0, first);
    assert_eq!(running.waiting("bob").len(), 2);
}

#[test]
fn a_key_that_was_used_for_another_content_is_refused() {
    let mut running = Running::new();
    sent(&push(&mut running, keyed(1, "hello")));
    for _ in 0..2 {
        let other = push(&mut running, keyed(1, "hello!"));
        assert_eq!(refusal(&other), Some(Reason::NumberReused));
        running = running.crash();
    }
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    let mut running = Running::new();
    let first = sent(&push(&mut running, keyed(1, "hello")));
    running = running.restart();
    running.step(IDEMPOTENCY_AGE.as_millis() as i64 - 60_000);
    assert_eq!(repeated(&push(&mut running, keyed(1, "hello"))).0, first);
    running.step(60_000);
    let second = sent(&push(&mut running, keyed(1, "another")));
    assert!(second.id > first.id);
    for _ in 0..2 {
        running = running.crash();
        assert_eq!(repeated(&push(&mut running, keyed(1, "another"))).0, second);
        running = running.restart();
    }
}

#[test]
fn messages_without_a_key_are_never_taken_for_the_same() {
    let mut running = Running::new();
    let message = || {
        let origin = Origin::Backend { repeat: None, system: false };
        NewMessage { origin, ..new_message("alice", "bob", 0, b"hello") }
    };
    let mut last = MessageId::NONE;
    for _ in 0..3 {
        let id = sent(&push(&mut running, message())).id;
        assert!(id > last);
        last = id;
    }
    assert_eq!(running.waiting("bob").len(), 3);
}
