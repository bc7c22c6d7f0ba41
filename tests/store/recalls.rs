//! Messages that are taken back, and nonces that are used once.

use tidings::limits::RECALL_WITHIN;
use tidings::reason::Reason;
use tidings::store::{GroupAction, HistoryOf, Item, News, Outcome};

use super::harness::{MINUTE_MS, Running, conversation, ids, refusal};

#[test]
fn a_recalled_message_waits_no_more_and_history_has_it_without_a_body() {
    let mut running = Running::new();
    let sent = running.send_many("alice", "bob", 2);
    running.settle();
    let tail = running.send("alice", "bob", "not settled");
    for id in [sent[0].id, tail.id] {
        let recalled = running.recall("alice", id);
        assert!(matches!(recalled, Outcome::Told { told: Some(_), .. }), "{recalled:?}");
    }
    for round in 0..4 {
        let (items, loss) = running.inbox("bob");
        let of = |item: &Item| match item {
            Item::Message(message) => message.id,
            Item::Notice(notice) => match notice.news {
                News::Recalled(id, _) => id,
                News::Group(..) | News::Upstream(..) => panic!("{notice:?}"),
            },
        };
        let told: Vec<_> = items.iter().map(of).collect();
        assert_eq!(told, [sent[1].id, sent[0].id, tail.id], "round {round}");
        assert_eq!(loss.count, 0);
        let past = running.past(&HistoryOf::Conversation(conversation("alice", "bob")), 10);
        let past: Vec<_> =
            past.iter().map(|p| (p.message.id, p.recalled, p.message.body.len())).collect();
        assert_eq!(past, [(tail.id, true, 0), (sent[1].id, false, 11), (sent[0].id, true, 0)]);
        match round {
            0 => running = running.crash(),
            1 => running.settle(),
            _ => running = running.restart(),
        }
    }
    let again = running.recall("alice", tail.id);
    assert!(matches!(again, Outcome::Told { told: None, .. }), "{again:?}");
}

#[test]
fn a_recalled_message_of_a_group_reaches_nobody_not_even_who_left() {
    let mut running = Running::new();
    running.create_group(&["alice", "bob", "carol"]);
    let sent = running.send_to_group("alice", "secret");
    running.group("carol", GroupAction::Leave);
    running.recall("alice", sent.id);
    for round in 0..3 {
        for name in ["bob", "carol"] {
            assert!(running.waiting(name).is_empty(), "{name}, round {round}");
        }
        let is_told = |item: &Item| match item {
            Item::Notice(notice) => matches!(notice.news, News::Recalled(..)),
            Item::Message(_) => false,
        };
        assert!(running.inbox("bob").0.iter().any(is_told), "round {round}");
        if round == 0 { running.settle() } else { running = running.crash() }
    }
}

#[test]
fn a_recall_is_no_loss() {
    let mut running = Running::with(|options| options.window_messages = 2);
    let opened = running.open("bob", "phone");
    running.end("bob", "phone", opened.session, true);
    let sent = running.send_many("alice", "bob", 2);
    running.recall("alice", sent[1].id);
    running = running.crash();
    let opened = running.open("bob", "phone");
    assert_eq!((opened.waiting, opened.loss.count), (2, 0));
    assert_eq!(running.waiting_ids("bob"), ids(&sent[..1]));
}

#[test]
fn only_the_sender_recalls_and_only_in_time() {
    let mut running = Running::new();
    let sent = running.send("alice", "bob", "said");
    assert_eq!(refusal(&running.recall("bob", sent.id)), Some(Reason::NoSuchMessage));
    let at_ms = running.waiting("bob")[0].at_ms;
    let limit_ms = at_ms + RECALL_WITHIN.as_millis() as i64;
    let now_ms = running.clock().now_ms();
    running.step(limit_ms + 1 - now_ms);
    assert_eq!(refusal(&running.recall("alice", sent.id)), Some(Reason::TooLate));
    let message = running.block_on(running.store.message(sent.id)).unwrap().unwrap();
    let by_server = tidings::store::Request::Recall { message, by: None };
    assert!(matches!(running.outcome(by_server), Outcome::Told { told: Some(_), .. }));
    assert!(running.waiting("bob").is_empty());
}

#[test]
fn a_nonce_is_used_once_also_after_a_restart() {
    let mut running = Running::new();
    let until_ms = running.clock().now_ms() + 10 * MINUTE_MS;
    assert_eq!(running.nonce("alice", "1", until_ms), None);
    running = running.restart();
    assert_eq!(running.nonce("alice", "2", until_ms), None);
    running = running.crash();
    for nonce in ["1", "2"] {
        assert_eq!(running.nonce("alice", nonce, until_ms), Some(Reason::NonceUsed), "{nonce}");
        assert_eq!(running.nonce("bob", nonce, until_ms), None);
    }
}

#[test]
fn a_nonce_that_is_used_again_when_its_signature_was_too_old_is_used_up_again() {
    let mut running = Running::new();
    let until_ms = running.clock().now_ms() + MINUTE_MS;
    assert_eq!(running.nonce("alice", "1", until_ms), None);
    running = running.restart();
    running.step(2 * MINUTE_MS);
    assert_eq!(running.nonce("alice", "1", until_ms + 10 * MINUTE_MS), None);
    running = running.restart();
    assert_eq!(running.nonce("alice", "1", until_ms + 10 * MINUTE_MS), Some(Reason::NonceUsed));
}
