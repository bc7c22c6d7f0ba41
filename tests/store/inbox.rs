//! What waits for a peer, over restarts and crashes.

use tidings::id::MessageId;
use tidings::limits::INBOX_MESSAGES_MAX;
use tidings::store::{Loss, NewMessage, Origin, Outcome, Request};

use super::harness::{MINUTE_MS, Running, Sent, device, ids, new_message, peer, sent};

impl Running {
    /// Has the back end send so many messages, as Alice, to some of Bob's devices.
    pub(crate) fn push_many(&mut self, on: &[&str], count: usize) -> Vec<Sent> {
        self.push_by_turns(&[on], count)
    }

    /// Has it send so many messages, each to the next of these sets of devices.
    fn push_by_turns(&mut self, turns: &[&[&str]], count: usize) -> Vec<Sent> {
        let mut callers = Vec::new();
        for index in 0..count {
            let message = new_message("alice", "bob", 0, format!("push {index}").as_bytes());
            let origin = Origin::Backend { repeat: None, system: false };
            let devices = turns[index % turns.len()].iter().map(|name| device(name)).collect();
            let message = NewMessage { origin, devices, receipt: true, ..message };
            callers.push(self.submit(Request::Message(message)));
        }
        self.outcomes(&callers).iter().map(sent).collect()
    }

    pub(crate) fn push(&mut self, on: &[&str]) -> MessageId {
        self.push_many(on, 1)[0].id
    }

    /// What waits for one device of Bob's, read in pages as a session reads it; and how many pages
    /// had nothing for it.
    fn waiting_on(&self, on: &str) -> (Vec<MessageId>, usize) {
        let (mut all, mut empty, mut after) = (Vec::new(), 0, MessageId::NONE);
        loop {
            let on = Some(&device(on));
            let page = self.block_on(self.store.waiting(&peer("bob"), on, after, 7)).unwrap();
            assert_eq!(page.loss, Loss::default());
            empty += usize::from(page.items.is_empty());
            all.extend(page.items.iter().map(|item| item.id()));
            assert!(page.is_all || page.last > after, "no page goes on from where it began");
            after = page.last;
            if page.is_all {
                return (all, empty);
            }
        }
    }
}

/// Bob has a phone that has just gone, and a laptop that is there.
fn bob_with_two_devices() -> Running {
    let mut running = Running::new();
    let phone = running.open("bob", "phone");
    running.open("bob", "laptop");
    running.end("bob", "phone", phone.session, false);
    running
}

/// Bob was here, and has been away for a minute.
fn bob_away() -> Running {
    let mut running = Running::new();
    let opened = running.open("bob", "phone");
    running.end("bob", "phone", opened.session, false);
    running.step(MINUTE_MS);
    running
}

#[test]
fn an_absent_peer_finds_the_newest_50_in_order_and_each_device_is_told_how_many_are_gone() {
    let mut running = bob_away();
    let laptop = running.open("bob", "laptop");
    running.end("bob", "laptop", laptop.session, false);
    running.step(MINUTE_MS);
    let sent = running.send_many("alice", "bob", 60);
    for device in ["phone", "laptop"] {
        let opened = running.open("bob", device);
        assert_eq!(opened.waiting, 50);
        assert_eq!(opened.loss, Loss { count: 10, id: sent[9].id });
    }
    assert_eq!(running.waiting_ids("bob"), ids(&sent[10..]));
    assert_eq!(running.metrics.dropped(), 10);
}

#[test]
fn the_window_and_what_it_gave_up_outlast_a_restart_and_a_crash() {
    let mut running = bob_away();
    let mut sent = running.send_many("alice", "bob", 30);
    running.settle();
    sent.extend(running.send_many("alice", "bob", 15));
    running = running.crash();
    running.step(MINUTE_MS);
    sent.extend(running.send_many("alice", "bob", 10));
    running = running.restart();
    sent.extend(running.send_many("alice", "bob", 5));
    running = running.crash();
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.waiting_ids("bob"), ids(&sent[10..]));
    let opened = running.open("bob", "phone");
    assert_eq!((opened.waiting, opened.loss.count), (50, 10));
}

#[test]
fn what_was_sent_before_it_was_away_stays_over_a_restart() {
    let mut running = Running::new();
    running.open("bob", "phone");
    let before = running.send_many("alice", "bob", 70);
    running = running.restart();
    running.step(MINUTE_MS);
    let away = running.send_many("alice", "bob", 52);
    let expected = [&ids(&before)[..], &ids(&away[2..])].concat();
    assert_eq!(running.waiting_ids("bob"), expected);
    running = running.crash();
    assert_eq!(running.waiting_ids("bob"), expected);
    let opened = running.open("bob", "phone");
    assert_eq!(opened.loss, Loss { count: 2, id: away[1].id });
}

#[test]
fn those_who_were_online_when_the_server_stopped_are_away_a_minute_after_its_start() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running = running.restart();
    running.step(MINUTE_MS - 10_000);
    running.send_many("alice", "bob", 60);
    assert_eq!(running.waiting("bob").len(), 60);
    running.step(10_000);
    running.send_many("alice", "bob", 51);
    assert_eq!(running.waiting("bob").len(), 110);
}

#[test]
fn what_every_device_acknowledged_is_gone_and_stays_gone() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.open("bob", "laptop");
    let sent = running.send_many("alice", "bob", 6);
    running.settle();
    running.ack("bob", "phone", sent[4].id);
    assert_eq!(running.waiting_ids("bob"), ids(&sent));
    running.ack("bob", "laptop", sent[2].id);
    assert_eq!(running.waiting_ids("bob"), ids(&sent[3..]));
    running = running.crash();
    assert_eq!(running.waiting_ids("bob"), ids(&sent[3..]));
    let opened = running.open("bob", "phone");
    assert_eq!((opened.cursor, opened.waiting), (sent[4].id, 1));
    running = running.restart();
    let opened = running.open("bob", "laptop");
    assert_eq!((opened.cursor, opened.waiting), (sent[2].id, 3));
}

#[test]
fn the_apps_own_cursor_counts_when_its_last_acknowledgement_was_lost() {
    let mut running = Running::new();
    running.open("bob", "phone");
    let sent = running.send_many("alice", "bob", 3);
    let opened = running.open_at("bob", "phone", sent[1].id);
    assert_eq!((opened.cursor, opened.waiting), (sent[1].id, 1));
    assert_eq!(running.waiting_ids("bob"), ids(&sent[2..]));
}

#[test]
fn after_two_seconds_what_is_unacknowledged_is_on_disk_and_out_of_memory() {
    let mut running = Running::new();
    running.open("bob", "phone");
    let sent = running.send_many("alice", "bob", 20);
    assert!(running.metrics.tail_bytes.get() > 0);
    running.settle();
    let young = running.send_many("alice", "bob", 5);
    // Rows and the tail, merged.
    let all = [ids(&sent), ids(&young)].concat();
    assert_eq!(running.waiting_ids("bob"), all);
    running = running.crash();
    assert_eq!(running.waiting_ids("bob"), all);
    running.settle();
    running = running.restart();
    assert_eq!(running.waiting_ids("bob"), all);
    let bodies: Vec<_> = running.waiting("bob").into_iter().map(|m| m.body).collect();
    assert_eq!(bodies[0], "alice>bob 0".as_bytes());
    assert_eq!(bodies[24], "alice>bob 4".as_bytes());
}

/// Whether any file of the state holds these bytes.
fn state_holds(running: &Running, bytes: &[u8]) -> bool {
    let states = std::fs::read_dir(running.dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut files = states.map(|path| path.join("db")).filter(|path| path.exists());
    files
        .any(|file| std::fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn what_was_acknowledged_in_time_is_never_written_to_the_state() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.open("carol", "phone");
    // The flush of a start takes along what waits: a checkpoint of some entries, not of none.
    let checkpoint = [&[5, 1][..], &running.store.epoch().to_le_bytes()].concat();
    running.until("the flush of the start", |running| {
        let state = std::fs::read(running.dir().join("state-1/db")).unwrap();
        let is_ours = |at: &usize| state[*at..].starts_with(&checkpoint);
        let mut found = (0..state.len().saturating_sub(18)).filter(is_ours);
        found.any(|at| state[at + 10..at + 18] != [0; 8])
    });
    let quick = running.send("alice", "bob", "acknowledged-in-time");
    running.send("alice", "carol", "acknowledged-too-late");
    running.ack("bob", "phone", quick.id);
    running.settle();
    running = running.restart();
    assert!(state_holds(&running, b"acknowledged-too-late"));
    assert!(!state_holds(&running, b"acknowledged-in-time"));
}

#[test]
fn a_message_past_its_senders_ttl_is_neither_counted_as_waiting_nor_as_dropped() {
    let mut running = bob_away();
    let mut short = new_message("alice", "bob", 1, b"short");
    short.ttl_ms = 10_000;
    running.outcome(Request::Message(short));
    running.settle();
    running = running.crash();
    assert_eq!(running.waiting("bob").len(), 1);
    running.step(MINUTE_MS);
    running.send_many("carol", "bob", 50);
    let opened = running.open("bob", "phone");
    assert_eq!((opened.waiting, opened.loss), (50, Loss::default()));
}

#[test]
fn a_message_to_several_peers_waits_for_each_of_them() {
    let mut running = Running::new();
    let mut message = new_message("alice", "bob", 1, b"to both");
    message.to.push(peer("carol"));
    let Outcome::Stored { message, .. } = running.outcome(Request::Message(message)) else {
        panic!("not stored");
    };
    running.open("bob", "phone");
    running.ack("bob", "phone", message.id);
    running = running.crash();
    assert_eq!(running.waiting_ids("bob"), [] as [MessageId; 0]);
    assert_eq!(running.waiting_ids("carol"), [message.id]);
}

#[test]
fn an_open_session_that_acknowledges_nothing_is_too_slow_at_one_message_over_10_000() {
    let mut running = Running::new();
    running.open("bob", "phone");
    let sent = running.send_many("alice", "bob", INBOX_MESSAGES_MAX);
    assert!(running.unasked.is_empty());
    running.send("alice", "bob", "one over");
    let [Outcome::Overflowed { peer: who, id, devices }] = &running.unasked[..] else {
        panic!("{:?}", running.unasked);
    };
    assert_eq!((who, *id, &devices[..]), (&peer("bob"), sent[0].id, &[][..]));
    assert_eq!(running.open("bob", "phone").loss.count, 1);
}

#[test]
fn ten_thousand_messages_that_are_for_two_devices_by_turns_outlast_restarts_and_crashes() {
    let mut running = bob_with_two_devices();
    let sent = running.push_by_turns(&[&["phone"], &["laptop"]], INBOX_MESSAGES_MAX);
    running.settle();
    for _ in 0..2 {
        running = running.crash();
        for (turn, on) in ["phone", "laptop"].into_iter().enumerate() {
            let expected: Vec<_> = sent.iter().skip(turn).step_by(2).map(|sent| sent.id).collect();
            assert_eq!(running.waiting_on(on).0, expected);
        }
        running = running.restart();
    }
    running.ack("bob", "laptop", sent[INBOX_MESSAGES_MAX - 1].id);
    running = running.restart();
    assert_eq!(running.waiting_on("laptop").0, []);
    assert_eq!(running.waiting_on("phone").0.len(), INBOX_MESSAGES_MAX / 2);
}

#[test]
fn what_a_full_inbox_gives_up_that_was_for_one_device_is_told_as_that_devices() {
    let mut running = bob_with_two_devices();
    let sent = running.push_many(&["phone"], INBOX_MESSAGES_MAX);
    // Thousands that are for one device are stored as such.
    running.settle();
    running.push(&["phone"]);
    let [Outcome::Overflowed { id, devices, .. }] = &running.unasked[..] else {
        panic!("{:?}", running.unasked);
    };
    assert_eq!((*id, &devices[..]), (sent[0].id, &[device("phone")][..]));
    running = running.crash();
    assert_eq!(running.open("bob", "laptop").loss, Loss::default());
    let phone = running.open("bob", "phone");
    assert_eq!((phone.waiting, phone.loss.count), (INBOX_MESSAGES_MAX, 1));
}

#[test]
fn what_is_for_one_device_waits_for_it_alone_over_settling_restarts_and_crashes() {
    let mut running = bob_with_two_devices();
    let mut phone = ids(&running.push_many(&["phone"], 20));
    let all = ids(&running.send_many("alice", "bob", 2));
    phone.extend(&all);
    phone.push(running.push(&["phone", "laptop"]));
    let laptop = [&all[..], &phone[22..]].concat();
    let look = |running: &Running| {
        assert_eq!(running.waiting_on("phone").0, phone);
        assert_eq!(running.waiting_on("laptop"), (laptop.clone(), 2), "14 were not for it");
        assert_eq!(running.waiting_on("unknown").0, all);
    };
    look(&running);
    running = running.crash();
    look(&running);
    running.settle();
    look(&running);
    running = running.restart();
    look(&running);
    assert_eq!(running.open("bob", "laptop").waiting, 3);
    assert_eq!(running.open("bob", "phone").waiting, 23);
    running.ack("bob", "laptop", laptop[2]);
    assert_eq!(running.waiting_on("phone").0, phone);
    running.ack("bob", "phone", phone[21]);
    running = running.crash();
    assert_eq!(running.waiting_ids("bob"), phone[22..]);
    running.ack("bob", "phone", phone[22]);
    assert_eq!(running.waiting_ids("bob"), [] as [MessageId; 0]);
}

#[test]
fn what_is_for_a_device_goes_with_it() {
    let mut running = Running::with(|options| options.devices_max = 2);
    let phone = running.open("bob", "phone");
    running.open("bob", "laptop");
    running.push(&["phone"]);
    running.settle();
    running.end("bob", "phone", phone.session, true);
    assert_eq!(running.waiting_ids("bob"), [] as [MessageId; 0], "it has logged out");
    running = running.crash();
    assert_eq!(running.open("bob", "phone").waiting, 0);
    running.push(&["laptop"]);
    running.settle();
    running.open("bob", "tablet");
    assert_eq!(running.waiting_ids("bob"), [] as [MessageId; 0], "it has been forgotten");
    let kept = running.push(&["tablet"]);
    running = running.crash();
    assert_eq!(running.waiting_ids("bob"), [kept]);
    assert_eq!(running.history(&of_bob(), 9).len(), 3, "history has all of it");
}

fn of_bob() -> tidings::store::HistoryOf {
    tidings::store::HistoryOf::Conversation(super::harness::conversation("alice", "bob"))
}
