//! Reading what was: by conversation, by group, by sender and of the whole app.

use tidings::id::MessageId;
use tidings::limits::HISTORY_SEGMENTS_MAX;
use tidings::store::{HistoryOf, Look, Options, Page};

use super::harness::{OF_GROUP, Running, conversation, ids, look, peer};

fn newest_first(sent: &[Vec<MessageId>]) -> Vec<MessageId> {
    let mut all = sent.concat();
    all.sort();
    all.reverse();
    all
}

fn page(running: &Running, look: Look) -> Page {
    running.block_on(running.store.history(look)).unwrap()
}

fn page_ids(page: &Page) -> Vec<MessageId> {
    page.messages.iter().map(|past| past.message.id).collect()
}

/// What was sent, by who can ask for it.
#[derive(Default)]
struct All {
    with_bob: Vec<Vec<MessageId>>,
    by_alice: Vec<Vec<MessageId>>,
    of_group: Vec<Vec<MessageId>>,
    of_app: Vec<Vec<MessageId>>,
}

impl All {
    /// Asserts what histories of all four kinds hold, read in large and small pages.
    fn check(&self, running: &Running) {
        let kinds = [
            (HistoryOf::Conversation(conversation("alice", "bob")), &self.with_bob),
            (HistoryOf::Sender(peer("alice")), &self.by_alice),
            (HistoryOf::Conversation(OF_GROUP), &self.of_group),
            (HistoryOf::App, &self.of_app),
        ];
        for (of, expected) in kinds {
            for page in [1, 7, 1_000] {
                let found: Vec<_> = running.history(&of, page).iter().map(|m| m.id).collect();
                assert_eq!(found, newest_first(expected), "{of:?} in pages of {page}");
            }
        }
    }
}

#[test]
fn a_history_is_read_newest_first_over_open_closing_and_closed_segments_and_restarts() {
    let mut running = Running::with_small_segments();
    let mut all = All::default();
    running.create_group(&["alice", "carol"]);
    for round in 0..4 {
        let to_bob = ids(&running.send_many("alice", "bob", 9));
        let from_bob = ids(&running.send_many("bob", "alice", 4));
        let to_group = vec![running.send_to_group("alice", "all").id];
        all.with_bob.extend([to_bob.clone(), from_bob.clone()]);
        all.of_group.push(to_group.clone());
        all.by_alice.extend([to_bob.clone(), to_group.clone()]);
        all.of_app.extend([to_bob, from_bob, to_group]);
        // A stretch in which the conversation is silent, though the sender is not.
        if round == 1 {
            running = running.restart();
        }
        let to_carol = ids(&running.send_many("alice", "carol", 3));
        all.by_alice.push(to_carol.clone());
        all.of_app.push(to_carol);
        let large = vec![vec![7; 5_000]; 60];
        for _ in 0..4 {
            all.of_app.push(ids(&running.send_all("dave", "carol", &large)));
        }
        if round == 2 {
            running = running.crash();
        }
        all.check(&running);
    }
    running = running.restart();
    assert!(running.segments().len() > 4);
    all.check(&running);
    assert!(running.until_closed().len() > 2);
    all.check(&running);
    let nothing = HistoryOf::Conversation(conversation("nobody", "nowhere"));
    assert_eq!(page(&running, look(&nothing)), Page::default());
    assert_eq!(page(&running, look(&HistoryOf::Sender(peer("nobody")))), Page::default());
}

#[test]
fn a_page_begins_below_the_id_that_is_asked_for() {
    let mut running = Running::new();
    let sent = ids(&running.send_many("alice", "bob", 10));
    running = running.restart();
    for is_closed in [false, true] {
        if is_closed {
            running.until_closed();
        }
        let with_bob = HistoryOf::Conversation(conversation("alice", "bob"));
        for of in [with_bob, HistoryOf::Sender(peer("alice")), HistoryOf::App] {
            let asked = Look { before: Some(sent[6]), max: 3, ..look(&of) };
            let found = page(&running, asked);
            assert_eq!(page_ids(&found), [sent[5], sent[4], sent[3]]);
            assert_eq!(found.next, Some(sent[3]));
            let none = page(&running, Look { before: Some(sent[0]), ..look(&of) });
            assert_eq!(none, Page::default());
        }
    }
    let beyond = running.block_on(running.store.message(MessageId(i64::MAX))).unwrap();
    assert_eq!(beyond, None);
}

#[test]
fn a_page_of_long_messages_is_short_and_says_that_there_is_more() {
    let mut running = Running::new();
    let large = vec![vec![7; 5_000]; 40];
    let sent = running.send_all("alice", "bob", &large);
    let mut newest_first = ids(&sent);
    newest_first.reverse();
    for of in [HistoryOf::Conversation(conversation("alice", "bob")), HistoryOf::App] {
        // A body, and two names of 5 and 3 bytes.
        for (bytes_max, expected) in [(0, 1), (10_015, 1), (10_016, 2), (10_017, 2)] {
            let found = page(&running, Look { bytes_max, ..look(&of) });
            assert_eq!(page_ids(&found), newest_first[..expected]);
            assert_eq!(found.next, Some(newest_first[expected - 1]));
        }
        let found: Vec<_> = running.history(&of, 1_000).iter().map(|message| message.id).collect();
        assert_eq!(found, newest_first);
    }
}

#[test]
fn a_page_has_no_more_messages_than_the_most_that_one_may_ask_for() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 1_001);
    let of = HistoryOf::Sender(peer("alice"));
    for max in [1_000, 1_001, usize::MAX] {
        let found = page(&running, Look { max, ..look(&of) });
        assert_eq!(found.messages.len(), 1_000);
        assert_eq!(found.next, found.messages.last().map(|past| past.message.id));
    }
    assert_eq!(page(&running, Look { max: 0, ..look(&of) }).messages.len(), 1);
}

/// Commits a message at a time of its own.
fn send_at(running: &mut Running, step_ms: i64) -> (i64, MessageId) {
    running.step(step_ms);
    let message = running.send("alice", "bob", "hello");
    let read = running.block_on(running.store.message(message.id)).unwrap().unwrap();
    (read.at_ms, message.id)
}

#[test]
fn a_page_has_what_was_taken_between_two_times_even_where_the_clock_stepped_back() {
    let mut running = Running::new();
    let mut all = Vec::new();
    for round in 0..3 {
        for step_ms in [60_000, 60_000, -90_000, 60_000, -600_000, 3_600_000] {
            all.push(send_at(&mut running, step_ms));
        }
        if round < 2 {
            running = running.restart();
        }
    }
    running.until_closed();
    let times: Vec<i64> = all.iter().map(|(at_ms, _)| *at_ms).collect();
    let with_bob = HistoryOf::Conversation(conversation("alice", "bob"));
    for of in [with_bob, HistoryOf::Sender(peer("alice")), HistoryOf::App] {
        for since in &times {
            for until in &times {
                for (since_ms, until_ms) in [
                    (Some(*since), Some(*until)),
                    (Some(*since + 1), None),
                    (None, Some(*until - 1)),
                ] {
                    let is_asked_for = |at_ms: i64| {
                        since_ms.is_none_or(|since| at_ms >= since)
                            && until_ms.is_none_or(|until| at_ms <= until)
                    };
                    let asked = all.iter().rev().filter(|(at_ms, _)| is_asked_for(*at_ms));
                    let expected: Vec<_> = asked.map(|(_, id)| *id).collect();
                    let found = page(&running, Look { since_ms, until_ms, ..look(&of) });
                    assert_eq!(page_ids(&found), expected);
                    assert_eq!(found.next, None);
                }
            }
        }
    }
}

#[test]
fn a_conversation_that_is_rare_in_many_small_segments_is_paged_whole() {
    let mut running = Running::new();
    let rare = ids(&running.send_many("alice", "bob", 3));
    let others = ["carol", "dave", "erin"];
    for round in 0..12 {
        running.send_many("zoe", others[round % 3], 2);
        running = running.restart();
    }
    let newest = running.send("alice", "bob", "at last").id;
    running = running.restart();
    assert_eq!(running.until_closed().len(), 13);
    let expected = newest_first(&[rare, vec![newest]]);
    for of in [
        HistoryOf::Conversation(conversation("alice", "bob")),
        HistoryOf::Sender(peer("alice")),
        HistoryOf::Sender(peer("zoe")),
    ] {
        let found: Vec<_> = running.history(&of, 2).iter().map(|message| message.id).collect();
        match of {
            HistoryOf::Sender(sender) if sender == peer("zoe") => assert_eq!(found.len(), 24),
            _ => assert_eq!(found, expected),
        }
    }
}

#[test]
fn a_page_ends_after_so_many_segments_and_says_where_to_go_on() {
    let mut running = Running::new();
    running.send("alice", "bob", "long ago");
    running = running.restart();
    let first = running.until_closed().remove(0);
    running.store.close();
    // As many files as one page searches, or one more, all copies of the first.
    for (copies, is_all) in [(HISTORY_SEGMENTS_MAX, true), (HISTORY_SEGMENTS_MAX + 1, false)] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::create_dir_all(&log).unwrap();
        for number in 1..=copies {
            std::fs::copy(&first, log.join(format!("{number:010}.segment"))).unwrap();
        }
        let options = Options::new(folder.path().to_owned());
        let copied = Running::open_in(options);
        let nobody = HistoryOf::Sender(peer("nobody"));
        let found = page(&copied, look(&nobody));
        assert_eq!((found.messages.len(), found.next.is_none()), (0, is_all));
        assert_eq!(copied.history(&nobody, 10), []);
        copied.store.close();
    }
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
