//! Receipts, read marks, unread counts, devices: what a peer takes part in.

use tidings::id::{ConversationId, MessageId};
use tidings::limits::{CONVERSATIONS_PER_PEER_MAX, MARKS_AT_OPEN_MAX, RECEIPTS_PER_PEER_MAX};
use tidings::reason::Reason;
use tidings::store::{Mark, Outcome};

use super::harness::{MINUTE_MS, Running, conversation, peer, refusal};

fn alice_and_bob() -> ConversationId {
    conversation("alice", "bob")
}

impl Running {
    /// The marks that have been told unasked so far.
    fn told(&mut self) -> Vec<Mark> {
        self.commit_something();
        let told = std::mem::take(&mut self.unasked).into_iter();
        told.filter_map(|outcome| match outcome {
            Outcome::Marked { mark, .. } => mark,
            _ => None,
        })
        .collect()
    }
}

fn progress(marks: &[Mark]) -> Vec<(&str, bool, u32)> {
    marks.iter().map(|mark| (mark.peer.as_str(), mark.read, mark.sequence)).collect()
}

#[test]
fn a_receipt_is_due_once_when_the_first_device_has_the_message() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.open("bob", "laptop");
    let sent = running.send_with_receipt("alice", "bob", 0);
    assert!(running.told().is_empty());
    running = running.crash();
    running.ack("bob", "phone", sent.id);
    assert_eq!(progress(&running.told()), [("bob", false, 1)]);
    running.ack("bob", "laptop", sent.id);
    assert!(running.told().is_empty());
    running.send("alice", "bob", "without receipt");
    running = running.crash();
    let marks = running.open("alice", "d").marks;
    assert_eq!(progress(&marks)[0], ("bob", false, 1));
}

#[test]
fn a_receipt_for_a_message_to_one_device_is_due_when_that_device_has_it() {
    let mut running = Running::new();
    let phone = running.open("bob", "phone");
    running.open("bob", "laptop");
    let aimed = running.push(&["phone"]);
    let all = running.send("alice", "bob", "for both, without receipt");
    running.ack("bob", "laptop", all.id);
    assert!(running.told().is_empty(), "the laptop has not had it");
    running = running.crash();
    running.open_at("bob", "laptop", all.id);
    assert!(running.told().is_empty());
    running.ack("bob", "phone", aimed);
    assert_eq!(progress(&running.told()), [("bob", false, 1)]);
    running.push(&["phone"]);
    let last = running.send("alice", "bob", "for both, without receipt");
    let phone = running.open_at("bob", "phone", phone.cursor);
    running.end("bob", "phone", phone.session, true);
    running = running.crash();
    running.ack("bob", "laptop", last.id);
    assert!(running.told().is_empty(), "the phone logged out without it");
}

#[test]
fn one_acknowledgement_tells_the_last_message_of_each_conversation() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.send_with_receipt("alice", "bob", 0);
    running.send_with_receipt("carol", "bob", 0);
    let last = running.send_with_receipt("alice", "bob", 0);
    running.ack("bob", "phone", last.id);
    assert_eq!(progress(&running.told()), [("bob", false, 1), ("bob", false, 2)]);
}

#[test]
fn what_an_app_says_it_has_had_when_it_opens_is_told_as_delivered() {
    let mut running = Running::new();
    let opened = running.open("bob", "phone");
    let sent = running.send_with_receipt("alice", "bob", 0);
    running.end("bob", "phone", opened.session, false);
    running.open_at("bob", "phone", sent.id);
    assert_eq!(progress(&running.told()), [("bob", false, 1)]);
    running = running.crash();
    assert_eq!(progress(&running.open("alice", "d").marks), [("bob", false, 1)]);
}

#[test]
fn what_was_given_up_is_never_told_as_delivered() {
    let mut running = Running::with(|options| options.window_messages = 2);
    let opened = running.open("bob", "phone");
    running.end("bob", "phone", opened.session, true);
    // One is given up, one recalled, one is out of its time.
    running.send_with_receipt("alice", "bob", 0);
    let recalled = running.send_with_receipt("carol", "bob", 0);
    let last = running.send_with_receipt("dan", "bob", 1_000);
    running.recall("carol", recalled.id);
    running = running.crash();
    running.step(MINUTE_MS);
    running.open("bob", "phone");
    running.ack("bob", "phone", MessageId(last.id.0 + 100));
    assert!(running.told().is_empty());
}

#[test]
fn the_oldest_of_one_receipt_too_many_is_forgotten() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.send_with_receipt("alice", "bob", 0);
    let mut last = running.send_with_receipt("carol", "bob", 0);
    for _ in 1..RECEIPTS_PER_PEER_MAX {
        last = running.send_with_receipt("carol", "bob", 0);
    }
    running = running.crash();
    running.ack("bob", "phone", last.id);
    let told = running.told();
    assert_eq!(progress(&told), [("bob", false, RECEIPTS_PER_PEER_MAX as u32)]);
    assert_eq!(told[0].conversation, conversation("carol", "bob"));
}

#[test]
fn marks_never_go_back() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    let unknown = running.read("bob", conversation("bob", "carol"), 1);
    assert_eq!(refusal(&unknown), Some(Reason::NoSuchMessage));
    let Outcome::Marked { mark: Some(mark), to, .. } = running.read("bob", alice_and_bob(), 3)
    else {
        panic!("no mark")
    };
    assert_eq!(progress(&[mark]), [("bob", true, 3)]);
    assert_eq!(to, ["alice", "bob"].map(peer));
    for round in 0..2 {
        let back = running.read("bob", alice_and_bob(), 2);
        assert!(matches!(back, Outcome::Marked { mark: None, .. }), "{back:?}");
        let part = running.part("bob", alice_and_bob()).unwrap();
        assert_eq!((part.read(), part.unread()), (3, 2), "round {round}");
        running = running.crash();
    }
    let Outcome::Marked { mark: Some(mark), .. } = running.read("bob", alice_and_bob(), 99) else {
        panic!("no mark")
    };
    assert_eq!(mark.sequence, 5, "no further than the last message");
}

#[test]
fn who_answers_first_and_reads_then_is_told_to_have_read() {
    let mut running = Running::new();
    running.send("alice", "bob", "hello");
    running.send("bob", "alice", "just a moment");
    for told in [true, false] {
        let Outcome::Marked { mark, .. } = running.read("bob", alice_and_bob(), 1) else {
            panic!("no answer")
        };
        assert_eq!(mark.is_some(), told);
        assert_eq!(running.part("bob", alice_and_bob()).unwrap().unread(), 0);
        running = running.crash();
    }
}

#[test]
fn marks_since_the_cursor_are_found_at_open() {
    let mut running = Running::new();
    running.open("alice", "phone");
    let sent = running.send_with_receipt("alice", "bob", 0);
    running.open("bob", "phone");
    running.ack("bob", "phone", sent.id);
    running.read("bob", alice_and_bob(), 1);
    let expected = [("bob", false, 1), ("bob", true, 1)];
    for _ in 0..2 {
        assert_eq!(progress(&running.open("alice", "phone").marks), expected);
        running = running.crash();
    }
    let later = running.send("bob", "alice", "later");
    running.ack("alice", "phone", later.id);
    assert_eq!(running.open("alice", "phone").marks, []);
}

#[test]
fn sending_is_reading_and_is_told_only_where_something_was_unread() {
    let mut running = Running::new();
    running.send("alice", "bob", "hello");
    running.send("alice", "bob", "anybody there?");
    assert_eq!(progress(&running.open("alice", "phone").marks), []);
    running.send("bob", "alice", "yes");
    running.send("alice", "bob", "good");
    assert_eq!(progress(&running.open("alice", "laptop").marks), [("alice", true, 4)]);
}

#[test]
fn the_newest_marks_are_found_at_open_if_there_is_one_too_many() {
    let mut running = Running::new();
    for index in 0..=MARKS_AT_OPEN_MAX {
        let other = format!("peer-{index}");
        running.send(&other, "alice", "hello");
        running.read("alice", conversation("alice", &other), 1);
    }
    let marks = running.open("alice", "phone").marks;
    assert_eq!(marks.len(), MARKS_AT_OPEN_MAX);
    assert_eq!(marks[0].conversation, conversation("alice", "peer-1"));
}

#[test]
fn unread_counts_what_was_neither_read_nor_sent() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 3);
    let unread = |running: &Running, who| running.part(who, alice_and_bob()).unwrap().unread();
    assert_eq!((unread(&running, "alice"), unread(&running, "bob")), (0, 3));
    running.read("bob", alice_and_bob(), 1);
    assert_eq!(unread(&running, "bob"), 2);
    running.send("bob", "alice", "an answer to all of it");
    running.send("alice", "bob", "one more");
    for _ in 0..2 {
        assert_eq!((unread(&running, "alice"), unread(&running, "bob")), (0, 1));
        running = running.crash();
    }
}

#[test]
fn conversations_are_paged_newest_first() {
    let mut running = Running::new();
    for name in ["carol", "dan", "eve", "carol"] {
        running.send("bob", name, "hello");
    }
    let (bob, mut found, mut before) = (peer("bob"), Vec::new(), None);
    loop {
        let page = running.store.conversations(&bob, before, 2);
        let (page, more) = running.block_on(page).unwrap();
        found.extend(page.iter().map(|(_, part)| part.others[0].to_string()));
        before = page.last().map(|(_, part)| part.last);
        if !more {
            break;
        }
    }
    assert_eq!(found, ["carol", "eve", "dan"]);
}

#[test]
fn one_conversation_too_many_forgets_the_one_longest_silent() {
    let mut running = Running::new();
    running.create_group(&["alice", "bob"]);
    for index in 1..CONVERSATIONS_PER_PEER_MAX {
        let other = format!("peer-{index}");
        running.send(&other, "alice", "hello");
        running.read("alice", conversation("alice", &other), 1);
    }
    running.settle();
    running.send("alice", "peer-1", "not silent any more");
    running.send("alice", "one-more", "hello");
    running.send("alice", "and-another", "hello");
    for _ in 0..2 {
        let (alice, mut known) = (peer("alice"), Vec::new());
        let mut before = None;
        loop {
            let page = running.store.conversations(&alice, before, 1_000);
            let (page, more) = running.block_on(page).unwrap();
            before = page.last().map(|(_, part)| part.last);
            known.extend(page.into_iter().map(|(_, part)| part.others));
            if !more {
                break;
            }
        }
        assert_eq!(known.len(), CONVERSATIONS_PER_PEER_MAX);
        let is_known = |name: &str| known.iter().any(|others| **others == [peer(name)]);
        assert_eq!(
            ["peer-1", "peer-2", "peer-3", "peer-4"].map(is_known),
            [true, false, false, true]
        );
        assert!(known.iter().any(|others| others.is_empty()), "the group is not forgotten");
        running = running.crash();
    }
}

#[test]
fn one_device_too_many_replaces_the_oldest() {
    let mut running = Running::with(|options| options.devices_max = 2);
    let phone = running.open("bob", "phone");
    running.open("bob", "laptop");
    assert_eq!(running.open("bob", "tablet").replaced, Some(phone.session));
    running = running.crash();
    let devices = running.block_on(running.store.devices(&peer("bob"))).unwrap();
    let devices: Vec<_> = devices.iter().map(|known| known.device.as_str()).collect();
    assert_eq!(devices, ["laptop", "tablet"]);
}

#[test]
fn who_was_online_when_the_server_stopped_is_known_for_one_run_until_it_comes_back() {
    let mut running = Running::new();
    for name in ["alice", "bob", "carol"] {
        running.open(name, "phone");
    }
    let carol = running.open("carol", "phone");
    running.end("carol", "phone", carol.session, false);
    running = running.crash();
    let ask = |running: &Running| {
        let all = ["alice", "bob", "carol", "dan"].map(peer).to_vec();
        running.block_on(running.store.were_online(all)).unwrap()
    };
    assert_eq!(ask(&running), ["alice", "bob"].map(peer));
    running.open("alice", "phone");
    assert_eq!(ask(&running), ["bob"].map(peer));
    running = running.restart();
    assert_eq!(ask(&running), ["alice"].map(peer), "Bob was offline for a run");
}
