//! Reading what was: by conversation and by sender.

use tidings::id::MessageId;
use tidings::store::HistoryOf;

use super::harness::{Running, conversation, ids, peer};

fn newest_first(sent: &[Vec<MessageId>]) -> Vec<MessageId> {
    let mut all = sent.concat();
    all.sort();
    all.reverse();
    all
}

/// Asserts what two histories of Alice's hold, read in large and small pages.
fn check(running: &Running, to_bob: &[MessageId], by_alice: &[MessageId]) {
    let with_bob = HistoryOf::Conversation(conversation("alice", "bob"));
    let of_alice = HistoryOf::Sender(peer("alice"));
    for page in [1, 7, 1_000] {
        let found: Vec<_> = running.history(&with_bob, page).iter().map(|m| m.id).collect();
        assert_eq!(found, to_bob, "the conversation in pages of {page}");
        let found: Vec<_> = running.history(&of_alice, page).iter().map(|m| m.id).collect();
        assert_eq!(found, by_alice, "the sender in pages of {page}");
    }
}

#[test]
fn a_history_is_read_newest_first_over_open_closing_and_closed_segments_and_restarts() {
    let mut running = Running::with_small_segments();
    let (mut with_bob, mut by_alice) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let to_bob = ids(&running.send_many("alice", "bob", 9));
        let from_bob = ids(&running.send_many("bob", "alice", 4));
        with_bob.extend([to_bob.clone(), from_bob]);
        by_alice.push(to_bob);
        // A stretch in which the conversation is silent, though the sender is not.
        if round == 1 {
            running = running.restart();
        }
        by_alice.push(ids(&running.send_many("alice", "carol", 3)));
        let large = vec![vec![7; 5_000]; 60];
        for _ in 0..4 {
            running.send_all("dave", "carol", &large);
        }
        if round == 2 {
            running = running.crash();
        }
        check(&running, &newest_first(&with_bob), &newest_first(&by_alice));
    }
    running = running.restart();
    assert!(running.segments().len() > 4);
    check(&running, &newest_first(&with_bob), &newest_first(&by_alice));
    let nothing = HistoryOf::Conversation(conversation("nobody", "nowhere"));
    assert!(running.history(&nothing, 10).is_empty());
}

#[test]
fn a_page_begins_below_the_id_that_is_asked_for() {
    let mut running = Running::new();
    let sent = ids(&running.send_many("alice", "bob", 10));
    running = running.restart();
    let of = HistoryOf::Conversation(conversation("alice", "bob"));
    let (page, more) =
        running.block_on(running.store.history(of.clone(), Some(sent[6]), 3)).unwrap();
    let found: Vec<_> = page.iter().map(|past| past.message.id).collect();
    assert_eq!((&found[..], more), (&[sent[5], sent[4], sent[3]][..], true));
    let none = running.block_on(running.store.history(of.clone(), Some(sent[0]), 3)).unwrap();
    assert_eq!(none, (Vec::new(), false));
    let beyond = running.block_on(running.store.message(MessageId(i64::MAX))).unwrap();
    assert_eq!(beyond, None);
}

#[test]
fn a_page_of_long_messages_is_short_and_says_that_there_is_more() {
    let mut running = Running::new();
    let large = vec![vec![7; 5_000]; 40];
    let sent = running.send_all("alice", "bob", &large);
    let of = HistoryOf::Conversation(conversation("alice", "bob"));
    let (page, more) = running.block_on(running.store.history(of.clone(), None, 1_000)).unwrap();
    assert!(more && page.len() < 20, "{} messages", page.len());
    let mut newest_first = ids(&sent);
    newest_first.reverse();
    let found: Vec<_> = running.history(&of, 1_000).iter().map(|message| message.id).collect();
    assert_eq!(found, newest_first);
}

#[test]
fn a_history_has_what_the_window_gave_up() {
    let mut running = Running::new();
    let sent = ids(&running.send_many("alice", "bob", 80));
    assert_eq!(running.waiting("bob").len(), 50);
    running = running.restart();
    let of = HistoryOf::Conversation(conversation("bob", "alice"));
    let mut found: Vec<_> = running.history(&of, 33).iter().map(|message| message.id).collect();
    found.reverse();
    assert_eq!(found, sent);
}

#[test]
fn a_history_is_whole_after_a_crash_and_its_messages_are_what_was_sent() {
    let mut running = Running::new();
    let sent = running.send("alice", "bob", "hello");
    running = running.crash();
    let of = HistoryOf::Sender(peer("alice"));
    let found = running.history(&of, 10);
    assert_eq!(found.len(), 1);
    let message = &found[0];
    assert_eq!((message.id, message.sequence), (sent.id, 1));
    assert_eq!((&message.from, &message.to), (&peer("alice"), &vec![peer("bob")]));
    assert_eq!(message.body, "hello".as_bytes());
    assert!(message.concerns(&peer("bob")) && !message.concerns(&peer("carol")));
}
