//! A resend is the same message.

use crate::harness::{Running, open, send};
use tidings::reason::Reason;

#[tokio::test]
async fn a_resend_on_a_new_connection_gets_the_first_answer_and_is_delivered_once() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    let first = ann.send(&["bob"], "once").await;
    // Its client never heard the answer, as far as the server can know.
    drop(ann);
    let mut ann = server.open("ann").await;
    assert_eq!(ann.opened().next_number, 2, "the instance is known");
    let mut again = send(1, &["bob"], "once");
    again.request = 99;
    ann.say(again).await;
    let second = ann.hear_sent(99).await;
    assert_eq!((second.id, second.sequence, second.at_ms), (first.id, first.sequence, first.at_ms));
    let next = ann.send(&["bob"], "twice").await;
    assert_eq!(next.sequence, 2);
    let heard = bob.hear_messages(2).await;
    assert_eq!(heard.iter().map(|message| message.id).collect::<Vec<_>>(), [first.id, next.id]);
    assert_eq!(server.server().metrics().repeats.get(), 1);
}

#[tokio::test]
async fn a_resend_in_the_same_breath_is_stored_once() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    for request in 1..=3 {
        let mut send = send(1, &["bob"], "once");
        send.request = request;
        ann.say(send).await;
    }
    let first = ann.hear_sent(1).await;
    for request in 2..=3 {
        assert_eq!(ann.hear_sent(request).await.id, first.id);
    }
    bob.hear_message().await;
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn a_resend_after_a_restart_gets_the_first_answer() {
    let mut server = Running::start().await;
    let first = server.open("ann").await.send(&["bob"], "once").await;
    server.restart().await;
    let mut ann = server.open("ann").await;
    assert_eq!(ann.opened().next_number, 2);
    ann.say(send(1, &["bob"], "once")).await;
    let second = ann.hear_sent(1).await;
    assert_eq!((second.id, second.sequence), (first.id, first.sequence));
    let mut bob = server.open("bob").await;
    assert_eq!(bob.hear_message().await.id, first.id);
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn a_number_of_another_instance_is_another_message() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let first = ann.send(&["bob"], "same words").await;
    let mut fresh = open("ann");
    fresh.instance = 8;
    let mut ann = server.open_with(fresh).await;
    assert_eq!(ann.opened().next_number, 1);
    let second = ann.send(&["bob"], "same words").await;
    assert_eq!((second.sequence, second.id > first.id), (2, true));
}

#[tokio::test]
async fn a_number_used_for_another_content_is_refused_and_the_session_lives() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    ann.send(&["bob"], "this").await;
    let mut other = send(1, &["bob"], "that");
    other.request = 50;
    ann.say(other).await;
    assert_eq!(ann.hear_refusal(50).await, Reason::NumberReused);
    assert_eq!(ann.send(&["bob"], "and on").await.sequence, 2);
}

#[tokio::test]
async fn a_number_said_to_be_answered_is_forgotten_and_never_stored_again() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    ann.send(&["bob"], "one").await;
    let mut second = send(2, &["bob"], "two");
    second.answered = 2;
    ann.say(second).await;
    ann.hear_sent(2).await;
    let mut again = send(1, &["bob"], "one");
    again.request = 50;
    ann.say(again).await;
    assert_eq!(ann.hear_refusal(50).await, Reason::TooOld);
    let bob = server.open("bob").await;
    assert_eq!(bob.opened().waiting, 2);
}

#[tokio::test]
async fn of_257_numbers_the_first_is_too_old_and_the_second_is_known() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    for _ in 0..257 {
        let number = ann.take_number();
        ann.say(send(number, &["bob"], "x")).await;
        if number % 64 == 0 {
            ann.hear_sent(number).await;
        }
    }
    let last = ann.hear_sent(257).await;
    assert_eq!(last.sequence, 257);
    for (number, request) in [(1, 1001), (2, 1002)] {
        let mut again = send(number, &["bob"], "x");
        again.request = request;
        ann.say(again).await;
    }
    assert_eq!(ann.hear_refusal(1001).await, Reason::TooOld);
    assert_eq!(ann.hear_sent(1002).await.sequence, 2);
}
