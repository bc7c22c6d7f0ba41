//! The rules of the inbox, one by one and against a model.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::id::{ConversationId, DeviceFlag, PeerId};
use crate::limits::{DEVICES_PER_PEER_MAX, INSTANCES_REMEMBERED};
use crate::store::entry::{Message, News, Notice};
use crate::store::image::{pack_peer, unpack_peer};
use crate::store::part_image::{pack_receipts, unpack_receipts};

const AWAY_AFTER_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const RULES: Rules = Rules {
    window_messages: 50,
    window_age_ms: 7 * DAY_MS,
    away_after_ms: AWAY_AFTER_MS,
    inbox_max: 10_000,
    devices_max: DEVICES_PER_PEER_MAX,
};
/// When the tests begin.
const T0: i64 = 1_000 * DAY_MS;

/// A message that asks for a receipt, for these devices of Bob; for all if none is named.
fn message(id: i64, at_ms: i64, expires_ms: i64, on: &[&str]) -> Arc<Message> {
    let (from, to) = (PeerId::new("alice").unwrap(), PeerId::new("bob").unwrap());
    let message = Message {
        id: MessageId(id),
        sequence: id as u32,
        at_ms,
        expires_ms,
        conversation: ConversationId::of_peers([&from, &to]),
        from,
        to: vec![to],
        devices: on.iter().map(|name| device(name)).collect(),
        receipt: true,
        client_msg_no: Default::default(),
        body: Default::default(),
    };
    message.into()
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

/// A peer, the next id of its log and the time.
struct Bob {
    peer: Peer,
    next: i64,
    now_ms: i64,
    rules: Rules,
}

impl Bob {
    fn new() -> Self {
        Self { peer: Peer::default(), next: 1, now_ms: T0, rules: RULES }
    }

    fn id(&mut self) -> i64 {
        self.next += 1;
        self.next - 1
    }

    /// Sends so many messages to him; says their ids.
    fn send(&mut self, count: usize) -> Vec<i64> {
        self.send_to(&[], count)
    }

    /// Sends so many messages to these devices of his.
    fn send_to(&mut self, on: &[&str], count: usize) -> Vec<i64> {
        (0..count).map(|_| self.send_one(on, 0).0).collect()
    }

    /// Sends a message that need not be delivered any more after a time, if that is not 0.
    fn send_one(&mut self, on: &[&str], ttl_ms: i64) -> (i64, GivenUp) {
        let (id, expires_ms) = (self.id(), if ttl_ms == 0 { 0 } else { self.now_ms + ttl_ms });
        let message = message(id, self.now_ms, expires_ms, on);
        self.peer.receipts.ask(&message, false);
        (id, self.peer.deliver(&Item::Message(message), &self.rules))
    }

    fn open_at(&mut self, name: &str, cursor: i64) -> (SessionId, Found) {
        self.open_as(name, cursor, 1)
    }

    fn open_as(&mut self, name: &str, cursor: i64, instance: u64) -> (SessionId, Found) {
        let opening = Opening {
            peer: PeerId::new("bob").unwrap(),
            device: device(name),
            flag: DeviceFlag::App,
            instance,
            client: String::new(),
            address: String::new(),
            cursor: MessageId(cursor),
        };
        let session = SessionId(self.id());
        let found = self.peer.open(&opening, session, self.now_ms, &self.rules);
        (session, found)
    }

    fn open(&mut self, name: &str) -> (SessionId, Found) {
        self.open_at(name, 0)
    }

    fn open_all(&mut self, names: &[&str]) {
        for name in names {
            self.open(name);
        }
    }

    fn end(&mut self, name: &str, session: SessionId) {
        self.peer.end(&device(name), session, false, self.now_ms, &self.rules);
    }

    fn close(&mut self, name: &str, session: SessionId) {
        self.peer.end(&device(name), session, true, self.now_ms, &self.rules);
    }

    /// Acknowledges; says the last message of those whose receipts are due now.
    fn ack(&mut self, name: &str, id: i64) -> Option<i64> {
        let on = device(name);
        let due = self.peer.acknowledge(&on, MessageId(id), self.now_ms, &self.rules);
        due.last().map(|due| due.messages[due.messages.len() - 1].0)
    }

    fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    fn inbox(&self) -> Vec<i64> {
        self.peer.waiting.iter().map(|waiting| waiting.id.0).collect()
    }

    /// The receipts that are due.
    fn due(&self) -> Vec<i64> {
        self.peer.receipts.due.iter().map(|asked| asked.id.0).collect()
    }

    /// Through the stored form and back.
    fn store(&mut self) {
        let receipts = unpack_receipts(&pack_receipts(&self.peer.receipts)).unwrap();
        self.peer = unpack_peer(&pack_peer(&self.peer)).unwrap();
        self.peer.receipts = receipts;
    }

    /// Away, with one device that has had everything.
    fn away() -> Self {
        let mut bob = Self::new();
        let (session, _) = bob.open("phone");
        bob.end("phone", session);
        bob.wait(AWAY_AFTER_MS);
        bob
    }
}

#[test]
fn an_absent_peer_keeps_the_newest_50_and_is_told_how_many_were_given_up() {
    let mut bob = Bob::away();
    let sent = bob.send(60);
    assert_eq!(bob.inbox(), sent[10..]);
    let (_, found) = bob.open("phone");
    assert_eq!(found.waiting, 50);
    assert_eq!(found.loss, Loss { count: 10, id: MessageId(sent[9]) });
}

#[test]
fn fifty_messages_fit_the_window_and_one_more_does_not() {
    let mut bob = Bob::away();
    let sent = bob.send(50);
    assert_eq!(bob.inbox(), sent);
    bob.send(1);
    assert_eq!(bob.inbox()[..49], sent[1..]);
}

#[test]
fn a_peer_is_away_after_a_minute_without_a_session_and_not_before() {
    let mut bob = Bob::new();
    let (session, _) = bob.open("phone");
    bob.end("phone", session);
    bob.wait(AWAY_AFTER_MS - 1);
    bob.send(60);
    assert_eq!(bob.inbox().len(), 60);
    bob.wait(1);
    bob.send(51);
    assert_eq!(bob.inbox().len(), 60 + 50);
}

#[test]
fn a_peer_is_away_at_once_after_a_close_or_when_it_was_never_seen() {
    let mut bob = Bob::new();
    let sent = bob.send(60);
    assert_eq!(bob.inbox().len(), 50);
    let (session, found) = bob.open("phone");
    assert_eq!((found.waiting, found.loss.count), (50, 10));
    bob.ack("phone", sent[59]);
    bob.close("phone", session);
    bob.send(51);
    assert_eq!(bob.inbox().len(), 50);
}

#[test]
fn a_close_on_one_device_does_not_hide_that_another_was_there_a_moment_ago() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    let (tablet, _) = bob.open("tablet");
    bob.end("phone", phone);
    bob.wait(AWAY_AFTER_MS - 1);
    bob.close("tablet", tablet);
    bob.send(60);
    assert_eq!(bob.inbox().len(), 60);
    bob.wait(1);
    bob.send(51);
    assert_eq!(bob.inbox().len(), 60 + 50);
}

#[test]
fn what_was_sent_before_it_was_away_stays() {
    let mut bob = Bob::new();
    let (session, _) = bob.open("phone");
    let before = bob.send(200);
    bob.end("phone", session);
    bob.wait(AWAY_AFTER_MS);
    let away = bob.send(60);
    assert_eq!(bob.inbox(), [&before[..], &away[10..]].concat());
    let (_, found) = bob.open("phone");
    assert_eq!(found.loss, Loss { count: 10, id: MessageId(away[9]) });
}

#[test]
fn ten_thousand_messages_stay_and_one_more_gives_up_the_oldest() {
    let mut bob = Bob::new();
    bob.open("phone");
    let sent = bob.send(10_000);
    assert_eq!(bob.inbox().len(), 10_000);
    bob.send(1);
    assert_eq!(bob.inbox().first(), Some(&sent[1]));
    assert_eq!(bob.inbox().len(), 10_000);
}

#[test]
fn what_is_given_up_under_the_eyes_of_a_session_is_told_though_later_messages_are_acknowledged() {
    let mut bob = Bob::new();
    bob.rules.inbox_max = 5;
    bob.open("phone");
    let sent = bob.send(7);
    bob.ack("phone", sent[6]);
    let (_, found) = bob.open_at("phone", sent[6]);
    assert_eq!(found.loss.count, 2);
    bob.ack("phone", sent[6]);
    assert_eq!(bob.open("phone").1.loss, Loss::default());
}

#[test]
fn a_loss_is_told_until_it_is_acknowledged() {
    let mut bob = Bob::away();
    let sent = bob.send(55);
    let (session, _) = bob.open("phone");
    bob.ack("phone", sent[3]);
    bob.end("phone", session);
    let (_, found) = bob.open("phone");
    assert_eq!(found.loss.count, 5);
    bob.ack("phone", sent[4]);
    assert_eq!(bob.open("phone").1.loss, Loss::default());
}

#[test]
fn an_app_that_has_had_what_was_given_up_is_told_of_no_loss() {
    let mut bob = Bob::new();
    let (session, _) = bob.open("phone");
    let had = bob.send(3);
    bob.end("phone", session);
    bob.wait(RULES.window_age_ms - 1);
    // Its last acknowledgement was lost, but the app names what it has had.
    bob.send(1);
    bob.wait(1);
    let (_, found) = bob.open_at("phone", had[2]);
    assert_eq!((found.loss, found.waiting), (Loss::default(), 1));
}

#[test]
fn a_message_waits_seven_days_and_not_longer() {
    let mut bob = Bob::away();
    bob.send(3);
    bob.wait(RULES.window_age_ms - 1);
    assert_eq!(bob.peer.expire(bob.now_ms, &RULES), 0);
    bob.wait(1);
    assert_eq!(bob.peer.expire(bob.now_ms, &RULES), 3);
    assert!(bob.inbox().is_empty());
    assert_eq!(bob.open("phone").1.loss.count, 3);
}

#[test]
fn a_message_that_outlived_its_senders_ttl_neither_waits_nor_counts_as_lost() {
    let mut bob = Bob::away();
    bob.send_one(&[], 10);
    bob.wait(9);
    assert_eq!(bob.open("phone").1.waiting, 1);
    let mut bob = Bob::away();
    bob.send_one(&[], 10);
    bob.wait(10);
    bob.send(50);
    let (_, found) = bob.open("phone");
    assert_eq!((found.waiting, found.loss), (50, Loss::default()));
}

#[test]
fn a_message_leaves_when_every_counted_device_has_acknowledged_it() {
    let mut bob = Bob::new();
    bob.open("phone");
    bob.open("laptop");
    let sent = bob.send(3);
    bob.ack("phone", sent[2]);
    assert_eq!(bob.inbox(), sent);
    bob.ack("laptop", sent[1]);
    assert_eq!(bob.inbox(), sent[2..]);
    bob.ack("laptop", sent[2]);
    assert!(bob.inbox().is_empty());
}

#[test]
fn a_device_that_logs_out_holds_nothing_back() {
    let mut bob = Bob::new();
    bob.open("phone");
    let (laptop, _) = bob.open("laptop");
    let sent = bob.send(3);
    bob.ack("phone", sent[2]);
    bob.close("laptop", laptop);
    assert!(bob.inbox().is_empty());
}

#[test]
fn a_device_not_seen_for_seven_days_holds_nothing_back() {
    let mut bob = Bob::new();
    let (laptop, _) = bob.open("laptop");
    bob.open("phone");
    bob.end("laptop", laptop);
    bob.wait(RULES.window_age_ms - 1);
    let sent = bob.send(1);
    bob.ack("phone", sent[0]);
    assert_eq!(bob.inbox(), sent);
    bob.wait(1);
    bob.ack("phone", sent[0]);
    assert!(bob.inbox().is_empty());
}

#[test]
fn a_further_new_device_starts_where_the_oldest_counted_one_stands() {
    let mut bob = Bob::new();
    bob.open("phone");
    bob.open("laptop");
    let sent = bob.send(4);
    bob.ack("phone", sent[3]);
    bob.ack("laptop", sent[1]);
    let (_, found) = bob.open("tablet");
    assert_eq!((found.cursor, found.waiting), (MessageId(sent[1]), 2));
}

#[test]
fn a_peer_without_a_counted_device_gives_its_window_to_the_first_that_opens() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    bob.close("phone", phone);
    let sent = bob.send(60);
    let (_, first) = bob.open("laptop");
    assert_eq!((first.waiting, first.loss.count), (50, 10));
    bob.ack("laptop", sent[59]);
    let (_, second) = bob.open("phone");
    assert_eq!((second.waiting, second.loss.count), (0, 0));
}

#[test]
fn every_device_is_told_of_what_it_lost_itself() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    let (laptop, _) = bob.open("laptop");
    bob.end("phone", phone);
    bob.end("laptop", laptop);
    bob.wait(AWAY_AFTER_MS);
    bob.send(53);
    assert_eq!(bob.open("phone").1.loss.count, 3);
    assert_eq!(bob.open("laptop").1.loss.count, 3);
}

#[test]
fn an_open_replaces_the_older_session_whose_end_then_changes_nothing() {
    let mut bob = Bob::new();
    let (older, _) = bob.open("phone");
    let (newer, found) = bob.open("phone");
    assert_eq!(found.replaced, Some(older));
    bob.close("phone", older);
    assert!(bob.peer.has_session());
    bob.end("phone", newer);
    assert!(!bob.peer.has_session());
}

#[test]
fn one_device_too_many_forgets_the_one_not_seen_for_longest() {
    let mut bob = Bob::new();
    for index in 0..DEVICES_PER_PEER_MAX {
        let name = format!("device-{index}");
        let (session, _) = bob.open(&name);
        bob.wait(1);
        bob.end(&name, session);
    }
    let sent = bob.send(1);
    for index in 1..DEVICES_PER_PEER_MAX {
        bob.ack(&format!("device-{index}"), sent[0]);
    }
    assert_eq!((bob.peer.devices.len(), bob.inbox()), (DEVICES_PER_PEER_MAX, sent.clone()));
    let (_, found) = bob.open("one more");
    assert_eq!(found.replaced, None);
    assert_eq!(bob.peer.devices.len(), DEVICES_PER_PEER_MAX);
    assert!(bob.peer.device(&device("device-0")).is_none());
    assert!(bob.peer.device(&device("device-1")).is_some());
    bob.ack("one more", sent[0]);
    assert!(bob.inbox().is_empty(), "what only the forgotten one had not had is let go");
}

#[test]
fn a_device_too_many_while_all_are_online_takes_the_place_of_one_whose_session_is_named() {
    let mut bob = Bob::new();
    let sessions: Vec<_> =
        (0..DEVICES_PER_PEER_MAX).map(|index| bob.open(&format!("device-{index}")).0).collect();
    let (_, found) = bob.open("one more");
    assert_eq!(found.replaced, Some(sessions[0]));
    assert_eq!(bob.peer.devices.len(), DEVICES_PER_PEER_MAX);
}

#[test]
fn an_instance_too_many_forgets_the_one_silent_for_longest() {
    let mut bob = Bob::new();
    for instance in 1..=INSTANCES_REMEMBERED as u64 {
        bob.open_as("phone", 0, instance);
    }
    bob.open_as("phone", 0, 1);
    bob.open_as("phone", 0, 99);
    let senders = &bob.peer.device(&device("phone")).unwrap().senders;
    let instances: Vec<u64> = senders.iter().map(|sender| sender.instance).collect();
    assert_eq!(instances, [3, 4, 1, 99]);
}

#[test]
fn sessions_of_an_earlier_run_are_over_and_away_counts_from_the_start() {
    let mut bob = Bob::new();
    bob.open("phone");
    bob.wait(1_000_000);
    bob.peer.enter_run(1, bob.now_ms, &RULES);
    assert!(!bob.peer.has_session());
    bob.wait(AWAY_AFTER_MS - 1);
    bob.send(60);
    assert_eq!(bob.inbox().len(), 60);
    bob.wait(1);
    bob.send(60);
    assert_eq!(bob.inbox().len(), 110);
}

#[test]
fn what_is_for_one_device_waits_for_it_alone() {
    let mut bob = Bob::new();
    bob.open("phone");
    bob.open("laptop");
    let first = bob.send_to(&["phone"], 2);
    let all = bob.send(1);
    let last = bob.send_to(&["phone"], 1);
    for _ in 0..2 {
        assert_eq!(bob.open("phone").1.waiting, 4);
        assert_eq!(bob.open("laptop").1.waiting, 1);
        bob.store();
    }
    bob.ack("laptop", all[0]);
    assert_eq!(bob.inbox(), [&first[..], &all, &last].concat());
    bob.ack("phone", first[0]);
    assert_eq!(bob.inbox(), [&first[1..], &all, &last].concat());
    bob.ack("phone", last[0]);
    assert_eq!(bob.inbox(), [0; 0]);
}

#[test]
fn what_is_for_two_of_three_devices_leaves_when_both_have_acknowledged_it() {
    let mut bob = Bob::new();
    bob.open_all(&["phone", "laptop", "tablet"]);
    let sent = bob.send_to(&["phone", "tablet"], 1);
    let other = bob.send_to(&["laptop"], 1);
    bob.ack("phone", sent[0]);
    bob.ack("laptop", other[0]);
    assert_eq!(bob.inbox(), sent, "in the middle of others that have gone");
    bob.ack("tablet", sent[0]);
    assert_eq!(bob.inbox(), [0; 0]);
}

#[test]
fn what_is_for_a_device_that_logs_out_goes_and_nobody_has_lost_it() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    bob.open("laptop");
    bob.send_to(&["phone"], 3);
    bob.close("phone", phone);
    assert_eq!((bob.inbox(), bob.due()), (Vec::new(), Vec::new()));
    bob.send_to(&["phone"], 3);
    assert_eq!((bob.inbox(), bob.due()), (Vec::new(), Vec::new()));
    assert_eq!(bob.open("phone").1.loss, Loss::default());
}

#[test]
fn what_is_for_a_device_not_seen_for_seven_days_goes() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    bob.open("laptop");
    bob.end("phone", phone);
    bob.wait(RULES.window_age_ms - 1);
    let sent = bob.send_to(&["phone"], 1);
    bob.ack("laptop", sent[0]);
    assert_eq!(bob.inbox(), sent);
    bob.wait(1);
    bob.ack("laptop", sent[0]);
    assert_eq!(bob.inbox(), [0; 0]);
}

#[test]
fn where_no_device_counts_what_is_for_one_waits_for_the_first_to_open() {
    for (first, waiting) in [("phone", 3), ("laptop", 0)] {
        let mut bob = Bob::new();
        for name in ["phone", "laptop"] {
            let (session, _) = bob.open(name);
            bob.close(name, session);
        }
        let sent = bob.send_to(&["phone"], 3);
        assert_eq!(bob.inbox(), sent);
        bob.store();
        assert_eq!(bob.open(first).1.waiting, waiting);
        assert_eq!(bob.inbox().len(), waiting, "{first} came first");
    }
}

#[test]
fn what_is_for_devices_that_the_peer_does_not_have_waits_for_none() {
    let mut bob = Bob::new();
    bob.send_to(&["phone"], 1);
    assert_eq!((bob.inbox(), bob.due()), (Vec::new(), Vec::new()));
    bob.open("laptop");
    bob.send_to(&["phone"], 1);
    assert_eq!(bob.inbox(), [0; 0]);
    assert_eq!(bob.open("phone").1.waiting, 0);
}

#[test]
fn the_window_counts_the_messages_of_all_devices_and_each_is_told_of_its_own_losses() {
    let mut bob = Bob::new();
    for name in ["phone", "laptop"] {
        let (session, _) = bob.open(name);
        bob.end(name, session);
    }
    bob.wait(AWAY_AFTER_MS);
    let phone = bob.send_to(&["phone"], 10);
    let laptop = bob.send_to(&["laptop"], 40);
    assert_eq!(bob.inbox().len(), 50);
    bob.send_to(&["laptop"], 3);
    bob.send(1);
    assert_eq!(bob.inbox()[..7], [&phone[4..], &laptop[..1]].concat());
    let (_, found) = bob.open("phone");
    assert_eq!((found.waiting, found.loss.count, found.loss.id.0), (7, 4, phone[3]));
    let (_, found) = bob.open("laptop");
    assert_eq!((found.waiting, found.loss), (44, Loss::default()));
}

#[test]
fn where_no_device_counts_what_was_for_one_is_told_to_it_as_lost_and_to_no_other() {
    let mut bob = Bob::new();
    bob.rules.window_messages = 2;
    for name in ["phone", "laptop"] {
        let (session, _) = bob.open(name);
        bob.close(name, session);
    }
    let sent = bob.send_to(&["phone"], 5);
    bob.store();
    assert_eq!(bob.open("laptop").1.loss, Loss::default());
    assert_eq!(bob.open("phone").1.loss, Loss { count: 3, id: MessageId(sent[2]) });
}

#[test]
fn a_full_inbox_names_the_devices_that_what_it_gave_up_was_for() {
    let mut bob = Bob::new();
    bob.rules.inbox_max = 2;
    bob.open_all(&["phone", "laptop"]);
    let aimed = bob.send_to(&["laptop"], 1);
    let all = bob.send(1);
    let (_, gone) = bob.send_one(&[], 0);
    let devices = vec![device("laptop")];
    assert_eq!(gone.overflow, Some(Overflow { id: MessageId(aimed[0]), devices }));
    let (_, gone) = bob.send_one(&["laptop"], 0);
    let devices = Vec::new();
    assert_eq!(gone.overflow, Some(Overflow { id: MessageId(all[0]), devices }));
    assert_eq!(bob.open("phone").1.loss.count, 1);
    assert_eq!(bob.open("laptop").1.loss.count, 2);
}

#[test]
fn a_device_that_is_forgotten_takes_along_what_was_for_it_alone() {
    let mut bob = Bob::new();
    bob.rules.devices_max = 3;
    for name in ["phone", "laptop", "tablet"] {
        let (session, _) = bob.open(name);
        bob.wait(1);
        bob.end(name, session);
    }
    bob.send_to(&["phone"], 1);
    let both = bob.send_to(&["phone", "tablet"], 1);
    let laptop = bob.send_to(&["laptop"], 1);
    let (_, found) = bob.open("watch");
    assert_eq!((found.waiting, bob.inbox()), (0, [&both[..], &laptop].concat()));
    assert_eq!(bob.due(), bob.inbox());
    bob.store();
    let tablet = bob.open("tablet").1.waiting;
    assert_eq!((tablet, bob.open("laptop").1.waiting), (1, 1));
}

#[test]
fn a_row_goes_when_nothing_of_it_waits_any_more_though_older_messages_do() {
    let mut bob = Bob::new();
    bob.open_all(&["phone", "tablet"]);
    let old = bob.send_to(&["tablet"], 1)[0];
    for _ in 0..3 {
        let new = bob.send_to(&["phone"], 2);
        let row = |ids: &[i64]| RowRef { first: MessageId(ids[0]), last: MessageId(ids[1]) };
        bob.peer.rows = vec![row(&[old, old]), row(&new)];
        assert_eq!(bob.peer.spent_rows(), []);
        bob.ack("phone", new[0]);
        assert_eq!(bob.peer.spent_rows(), []);
        bob.ack("phone", new[1]);
        assert_eq!(bob.peer.spent_rows(), [row(&new)]);
        assert_eq!(bob.peer.rows, [row(&[old, old])]);
    }
    bob.ack("tablet", old);
    assert_eq!(bob.peer.spent_rows().len(), 1);
    assert_eq!(bob.peer.rows, []);
}

#[test]
fn a_receipt_is_due_when_a_device_that_the_message_is_for_has_it_whoever_has_later_ones() {
    let mut bob = Bob::new();
    bob.open_all(&["phone", "laptop", "tablet"]);
    let aimed = bob.send_to(&["phone", "tablet"], 1);
    let all = bob.send(1);
    assert_eq!(bob.ack("laptop", all[0]), Some(all[0]));
    assert_eq!(bob.due(), aimed);
    bob.store();
    assert_eq!(bob.ack("tablet", all[0]), Some(aimed[0]));
    assert_eq!((bob.ack("phone", all[0]), bob.due()), (None, Vec::new()));
    let aimed = bob.send_to(&["phone"], 1);
    let all = bob.send(1);
    bob.open_at("laptop", all[0]);
    assert_eq!(bob.due(), aimed);
    bob.open_at("phone", aimed[0]);
    assert_eq!(bob.due(), [0; 0]);
}

/// A simple telling of the same rules, one message and one device at a time.
#[derive(Default)]
struct Model {
    inbox: Vec<ModelMessage>,
    devices: Vec<ModelDevice>,
    away_at_ms: i64,
    unclaimed: Vec<i64>,
    /// The receipts that are due.
    due: Vec<i64>,
}

#[derive(Clone)]
struct ModelMessage {
    id: i64,
    at_ms: i64,
    /// 0 for never.
    expires_ms: i64,
    /// It came while the peer was away.
    away: bool,
    /// The devices that it is for; `None` for all.
    on: Option<Vec<usize>>,
}

impl ModelMessage {
    fn is_for(&self, name: usize) -> bool {
        self.on.as_ref().is_none_or(|on| on.contains(&name))
    }

    fn is_wanted(&self, now_ms: i64) -> bool {
        self.expires_ms == 0 || now_ms < self.expires_ms
    }
}

#[derive(Clone, Default)]
struct ModelDevice {
    name: usize,
    session: Option<SessionId>,
    seen_ms: i64,
    closed: bool,
    cursor: i64,
    /// Given up while it had no session, and while it had one.
    lost: Vec<i64>,
    missed: Vec<i64>,
}

impl ModelDevice {
    fn counts(&self, now_ms: i64) -> bool {
        self.session.is_some() || (!self.closed && now_ms - self.seen_ms < RULES.window_age_ms)
    }

    /// What it has had all of is not lost.
    fn forget_lost(&mut self) {
        if self.lost.iter().all(|lost| *lost <= self.cursor) {
            self.lost.clear();
        }
    }
}

impl Model {
    fn counted(&mut self, now_ms: i64) -> impl Iterator<Item = &mut ModelDevice> {
        self.devices.iter_mut().filter(move |device| device.counts(now_ms))
    }

    fn give_up(&mut self, at: usize, now_ms: i64) {
        let gone = self.inbox.remove(at);
        self.due.retain(|due| *due != gone.id);
        if !gone.is_wanted(now_ms) {
            return;
        }
        let nobody = self.counted(now_ms).next().is_none();
        if nobody && gone.on.is_none() {
            self.unclaimed.push(gone.id);
        }
        for device in &mut self.devices {
            let may_lose = device.counts(now_ms) || (nobody && gone.on.is_some());
            if may_lose && gone.is_for(device.name) && device.cursor < gone.id {
                let has_session = device.session.is_some();
                let list = if has_session { &mut device.missed } else { &mut device.lost };
                list.push(gone.id);
            }
        }
    }

    fn send(&mut self, id: i64, now_ms: i64, ttl_ms: i64, on: Option<Vec<usize>>, rules: &Rules) {
        let online = self.devices.iter().any(|device| device.session.is_some());
        let away = !online && now_ms >= self.away_at_ms;
        let expires_ms = if ttl_ms == 0 { 0 } else { now_ms + ttl_ms };
        let message = ModelMessage { id, at_ms: now_ms, expires_ms, away, on };
        if message.on.is_some() && !self.waits(&message, now_ms) {
            return;
        }
        self.due.push(id);
        self.inbox.push(message);
        if self.inbox.iter().filter(|message| message.away).count() > rules.window_messages {
            let at = self.inbox.iter().position(|message| message.away).unwrap();
            self.give_up(at, now_ms);
        }
        if self.inbox.len() > rules.inbox_max {
            self.give_up(0, now_ms);
        }
    }

    /// Whether a message waits for somebody.
    fn waits(&self, message: &ModelMessage, now_ms: i64) -> bool {
        let is_for = |device: &&ModelDevice| message.is_for(device.name);
        let mut counted = self.devices.iter().filter(|device| device.counts(now_ms)).peekable();
        match counted.peek() {
            Some(_) => counted.filter(is_for).any(|device| device.cursor < message.id),
            None => message.on.is_none() || self.devices.iter().any(|device| is_for(&device)),
        }
    }

    /// Lets go of what waits for nobody.
    fn release(&mut self, now_ms: i64) {
        let inbox = std::mem::take(&mut self.inbox);
        let (waiting, gone): (Vec<_>, Vec<_>) =
            inbox.into_iter().partition(|message| self.waits(message, now_ms));
        self.inbox = waiting;
        self.due.retain(|due| gone.iter().all(|gone| gone.id != *due));
    }

    /// A device has had everything up to `id` that is for it.
    fn receive(&mut self, name: usize, id: i64) {
        let Self { inbox, due, .. } = self;
        let had = inbox.iter().filter(|message| message.id <= id && message.is_for(name));
        had.for_each(|had| due.retain(|due| *due != had.id));
    }

    /// Forgets a device for one that comes, if there are too many.
    fn make_room(&mut self, rules: &Rules) {
        if self.devices.len() < rules.devices_max {
            return;
        }
        let devices = self.devices.iter().enumerate();
        let oldest = devices.min_by_key(|(_, device)| (device.session.is_some(), device.seen_ms));
        let forgotten = self.devices.remove(oldest.unwrap().0).name;
        for on in self.inbox.iter_mut().filter_map(|message| message.on.as_mut()) {
            on.retain(|name| *name != forgotten);
        }
    }

    fn open(
        &mut self,
        name: usize,
        session: SessionId,
        now_ms: i64,
        rules: &Rules,
    ) -> (u64, usize) {
        while self.inbox.first().is_some_and(|m| now_ms - m.at_ms >= RULES.window_age_ms) {
            self.give_up(0, now_ms);
        }
        let start = self.counted(now_ms).map(|device| device.cursor).min();
        let at = self.devices.iter().position(|device| device.name == name).unwrap_or_else(|| {
            self.make_room(rules);
            let closed = true;
            self.devices.push(ModelDevice { name, closed, ..Default::default() });
            self.devices.len() - 1
        });
        if start.is_none() {
            let unclaimed = std::mem::take(&mut self.unclaimed);
            self.devices[at].lost.extend(unclaimed);
        }
        let device = &mut self.devices[at];
        device.forget_lost();
        let missed = std::mem::take(&mut device.missed);
        device.lost.extend(missed);
        if !device.counts(now_ms) {
            device.cursor = device.cursor.max(start.unwrap_or(0));
        }
        (device.session, device.closed) = (Some(session), false);
        device.seen_ms = now_ms;
        let (cursor, lost) = (device.cursor, device.lost.len() as u64);
        self.inbox.iter_mut().for_each(|message| message.away = false);
        self.release(now_ms);
        let inbox = self.inbox.iter().filter(|m| m.id > cursor && m.is_for(name));
        (lost, inbox.filter(|m| m.is_wanted(now_ms)).count())
    }

    fn ack(&mut self, name: usize, id: i64, now_ms: i64) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.name == name) {
            device.cursor = device.cursor.max(id);
            device.forget_lost();
            self.receive(name, id);
            self.release(now_ms);
        }
    }

    fn end(&mut self, name: usize, closed: bool, now_ms: i64) {
        let device = self.devices.iter_mut().find(|device| device.name == name);
        let Some(device) = device.filter(|device| device.session.is_some()) else { return };
        (device.session, device.seen_ms, device.closed) = (None, now_ms, closed);
        if self.devices.iter().all(|device| device.session.is_none()) {
            let open = self.devices.iter().filter(|device| !device.closed);
            let ends_ms = open.map(|device| device.seen_ms + AWAY_AFTER_MS);
            self.away_at_ms = ends_ms.max().unwrap_or(now_ms);
        }
        if closed {
            self.release(now_ms);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    SendTo(Vec<usize>),
    SendWithTtl(i64),
    Open(usize),
    End(usize, bool),
    /// So many messages behind the oldest that waits.
    Ack(usize, usize),
    Wait(i64),
    /// Through its stored form and back.
    Store,
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..4usize;
    prop_oneof![
        3 => (1..8usize).prop_map(Step::Send),
        3 => prop::collection::btree_set(device.clone(), 1..3)
            .prop_map(|on| Step::SendTo(on.into_iter().collect())),
        1 => (1..100_000i64).prop_map(Step::SendWithTtl),
        3 => device.clone().prop_map(Step::Open),
        2 => (device.clone(), any::<bool>()).prop_map(|(device, closed)| Step::End(device, closed)),
        3 => (device, 0..12usize).prop_map(|(device, behind)| Step::Ack(device, behind)),
        1 => prop_oneof![Just(AWAY_AFTER_MS / 2), Just(AWAY_AFTER_MS), Just(3 * DAY_MS)]
            .prop_map(Step::Wait),
        1 => Just(Step::Store),
    ]
}

fn compare(steps: &[Step]) -> Result<(), TestCaseError> {
    let rules = Rules { window_messages: 5, inbox_max: 20, devices_max: 3, ..RULES };
    let mut bob = Bob { rules, ..Bob::new() };
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Send(count) => {
                for id in bob.send(*count) {
                    model.send(id, bob.now_ms, 0, None, &rules);
                }
            }
            Step::SendTo(on) => {
                let names: Vec<String> = on.iter().map(ToString::to_string).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let (id, _) = bob.send_one(&names, 0);
                let known = model.devices.iter().map(|device| device.name);
                let known = known.filter(|name| on.contains(name)).collect();
                model.send(id, bob.now_ms, 0, Some(known), &rules);
            }
            Step::SendWithTtl(ttl_ms) => {
                let (id, _) = bob.send_one(&[], *ttl_ms);
                model.send(id, bob.now_ms, *ttl_ms, None, &rules);
            }
            Step::Open(name) => {
                let (session, found) = bob.open(&name.to_string());
                let expected = model.open(*name, session, bob.now_ms, &rules);
                prop_assert_eq!((found.loss.count, found.waiting), expected);
            }
            Step::End(name, closed) => {
                let known = model.devices.iter().find(|device| device.name == *name);
                let session = known.and_then(|device| device.session).unwrap_or_default();
                let on = device(&name.to_string());
                bob.peer.end(&on, session, *closed, bob.now_ms, &rules);
                model.end(*name, *closed, bob.now_ms);
            }
            Step::Ack(name, behind) => {
                let id = bob.inbox().get(*behind).copied().unwrap_or(0);
                bob.ack(&name.to_string(), id);
                model.ack(*name, id, bob.now_ms);
            }
            Step::Wait(ms) => bob.wait(*ms),
            Step::Store => bob.store(),
        }
        let expected: Vec<i64> = model.inbox.iter().map(|message| message.id).collect();
        prop_assert_eq!(bob.inbox(), expected, "after {:?}", step);
        prop_assert_eq!(bob.due(), model.due.clone(), "after {:?}", step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_inbox_does_what_its_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        compare(&steps)?;
    }
}

fn notice(id: i64, at_ms: i64) -> Item {
    let (conversation, news) = (ConversationId::of_peers([]), News::Upstream(MessageId(1), true));
    Item::Notice(Notice { id: MessageId(id), at_ms, conversation, by: None, news }.into())
}

impl Bob {
    /// Sends a message; says how many wait for him by that, if he has no session.
    fn send_absent(&mut self, on: &[&str], ttl_ms: i64) -> (i64, Option<u32>) {
        let (id, given_up) = self.send_one(on, ttl_ms);
        let absent = self.peer.absent(&PeerId::new("bob").unwrap(), self.now_ms);
        (id, absent.filter(|_| !given_up.is_for_nobody).map(|absent| absent.waiting))
    }

    /// What the end of his last session leaves without anybody.
    fn unacknowledged(&self) -> Vec<i64> {
        let left = self.peer.unacknowledged(self.now_ms, &self.rules);
        left.into_iter().map(|id| id.0).collect()
    }

    /// The server starts anew.
    fn restart(&mut self) {
        let run = self.peer.run + 1;
        self.peer.enter_run(run, self.now_ms, &self.rules);
    }

    /// Tells the ends of the sessions of earlier runs; says how many sessions were left at each.
    fn end_orphans(&mut self) -> Vec<u32> {
        let orphans = self.peer.orphans();
        let end = |(on, session)| self.peer.end(&on, session, false, self.now_ms, &self.rules);
        orphans.into_iter().filter_map(end).map(|gone| gone.counts.all).collect()
    }
}

#[test]
fn who_has_no_session_is_absent_with_the_messages_that_wait_and_are_still_wanted() {
    let mut bob = Bob::new();
    assert_eq!(bob.send_absent(&[], 0).1, Some(1), "he was never seen");
    let (session, _) = bob.open("phone");
    assert_eq!(bob.send_absent(&[], 0).1, None);
    bob.end("phone", session);
    assert_eq!(bob.send_absent(&[], 1_000).1, Some(3));
    let id = bob.id();
    bob.peer.deliver(&notice(id, bob.now_ms), &bob.rules);
    assert_eq!(bob.send_absent(&["phone"], 0).1, Some(4), "a notice is no message");
    assert_eq!(bob.send_absent(&["another"], 0).1, None, "none of his devices");
    bob.wait(1_000);
    bob.store();
    assert_eq!(bob.send_absent(&[], 0).1, Some(4), "one is not wanted any more");
}

#[test]
fn what_came_with_a_session_and_nobody_had_is_left_when_the_last_one_ends() {
    let mut bob = Bob::new();
    let told = bob.send_absent(&[], 0).0;
    let ((phone, _), (laptop, _)) = (bob.open("phone"), bob.open("laptop"));
    let ids = bob.send(3);
    let aimed = bob.send_to(&["laptop"], 1);
    let (notice_id, _) = (bob.id(), bob.send_one(&[], 10));
    bob.peer.deliver(&notice(bob.next, bob.now_ms), &bob.rules);
    bob.next += 1;
    bob.ack("phone", ids[0]);
    bob.wait(10);
    bob.end("phone", phone);
    assert_eq!(bob.unacknowledged(), [0; 0], "he has another session");
    bob.end("laptop", laptop);
    bob.store();
    let expected = [&ids[1..], &aimed].concat();
    assert_eq!(bob.unacknowledged(), expected, "not {told}, {} or {notice_id}", ids[0]);
    // The next time it is only what came since.
    bob.send(1);
    let (phone, _) = bob.open("phone");
    let new = bob.send(1);
    bob.end("phone", phone);
    assert_eq!(bob.unacknowledged(), new);
}

#[test]
fn who_logs_out_everywhere_leaves_nothing_and_who_has_another_device_does() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    let ids = bob.send(1);
    bob.close("phone", phone);
    assert_eq!(bob.unacknowledged(), [0; 0]);
    let ((phone, _), (laptop, _)) = (bob.open("phone"), bob.open("laptop"));
    let more = bob.send(1);
    bob.end("laptop", laptop);
    bob.close("phone", phone);
    assert_eq!(bob.unacknowledged(), more, "not {ids:?}");
}

#[test]
fn a_session_that_another_takes_the_place_of_has_gone_by_that_and_is_no_news_later() {
    let mut bob = Bob { rules: Rules { devices_max: 2, ..RULES }, ..Bob::new() };
    let (older, found) = bob.open("phone");
    assert_eq!((found.counts, found.gone), (Counts { same_flag: 1, all: 1 }, vec![]));
    let (_, found) = bob.open("phone");
    let gone = |name, session, all| {
        let (device, flag, counts) =
            (device(name), DeviceFlag::App, Counts { same_flag: all, all });
        Gone { device, flag, session, counts }
    };
    assert_eq!(found.gone, [gone("phone", older, 1)]);
    assert_eq!(bob.peer.end(&device("phone"), older, true, bob.now_ms, &bob.rules), None);
    assert!(bob.peer.has_session());
    bob.wait(1);
    let (laptop, _) = bob.open("laptop");
    bob.wait(1);
    let phone = bob.peer.devices[0].session.unwrap();
    let (_, found) = bob.open("tablet");
    assert_eq!(found.gone, [gone("phone", phone, 2)]);
    let last = bob.peer.end(&device("laptop"), laptop, false, bob.now_ms, &bob.rules);
    assert_eq!(last, Some(gone("laptop", laptop, 1)));
}

#[test]
fn sessions_of_before_a_start_are_known_until_their_end_is_told_whatever_starts_there_are() {
    let mut bob = Bob::new();
    bob.open("phone");
    bob.open("laptop");
    let ids = bob.send(2);
    bob.ack("phone", ids[0]);
    bob.restart();
    assert!(bob.send_absent(&[], 0).1.is_some(), "nobody has come back");
    bob.store();
    bob.restart();
    assert!(bob.peer.is_maybe_missing());
    assert_eq!(bob.end_orphans(), [1, 0]);
    assert_eq!(bob.unacknowledged(), ids[1..], "what came since was told as it came");
    assert_eq!(bob.end_orphans(), [0; 0]);
    assert!(!bob.peer.is_maybe_missing());
}

#[derive(Clone, Debug)]
enum Telling {
    Open(usize),
    End(usize, bool),
    Send(bool),
    Notice,
    /// So many messages back.
    Ack(usize, i64),
    Wait,
    /// The server starts anew, and looks who is missing or not.
    Restart(bool),
    Store,
}

fn telling() -> impl Strategy<Value = Telling> {
    prop_oneof![
        4 => (0..3usize).prop_map(Telling::Open),
        4 => (0..3usize, prop::bool::weighted(0.3)).prop_map(|(on, c)| Telling::End(on, c)),
        6 => any::<bool>().prop_map(Telling::Send),
        1 => Just(Telling::Notice),
        3 => (0..3usize, 0..4i64).prop_map(|(on, back)| Telling::Ack(on, back)),
        1 => Just(Telling::Wait),
        2 => any::<bool>().prop_map(Telling::Restart),
        2 => Just(Telling::Store),
    ]
}

const NAMES: [&str; 3] = ["phone", "laptop", "tablet"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// As the commit thread tells them.
    #[test]
    fn no_message_is_told_twice_and_each_once_that_is_left_without_anybody(
        steps in prop::collection::vec(telling(), 1..80),
    ) {
        let mut bob = Bob::new();
        // What was told, all there were, and those from which on each has to be: who comes back
        // after a start or a log-out is not told of for what was before.
        let (mut told, mut messages) = (Vec::new(), Vec::new());
        let mut forgiven = 0;
        for step in steps {
            let mut has_ended = false;
            match step {
                Telling::Open(on) => {
                    if !bob.end_orphans().is_empty() {
                        forgiven = bob.next;
                    }
                    bob.open(NAMES[on]);
                }
                Telling::End(on, closed) => {
                    let on = device(NAMES[on]);
                    let session = bob.peer.device(&on).and_then(|device| device.session);
                    // One that never was, if none is open: hubs end what they have opened.
                    let session = session.unwrap_or(SessionId(bob.next));
                    let gone = bob.peer.end(&on, session, closed, bob.now_ms, &bob.rules);
                    has_ended = gone.is_some();
                }
                Telling::Send(lives) => {
                    let (id, absent) = bob.send_absent(&[], if lives { 0 } else { 500 });
                    told.extend(absent.map(|_| id));
                    messages.push(id);
                }
                Telling::Notice => {
                    let notice = notice(bob.id(), bob.now_ms);
                    bob.peer.deliver(&notice, &bob.rules);
                }
                Telling::Ack(on, back) => drop(bob.ack(NAMES[on], bob.next - 1 - back)),
                Telling::Wait => bob.wait(1_000),
                Telling::Restart(looks) => {
                    bob.restart();
                    has_ended = looks && !bob.end_orphans().is_empty();
                }
                Telling::Store => bob.store(),
            }
            if has_ended {
                told.extend(bob.unacknowledged());
                let counts = |device: &Device| device.counts(bob.now_ms, &bob.rules);
                let is_logged_out = !bob.peer.devices.iter().any(counts);
                if is_logged_out {
                    forgiven = bob.next;
                } else if !bob.peer.has_session() {
                    for waiting in &bob.peer.waiting {
                        let id = waiting.id.0;
                        let is_had = bob.peer.devices.iter().any(|d| d.cursor.0 >= id);
                        let is_due = messages.contains(&id) && !is_had && id >= forgiven;
                        let is_told = told.contains(&id) || !waiting.is_wanted(bob.now_ms);
                        prop_assert!(!is_due || is_told, "{} was told to nobody", id);
                    }
                }
            }
            let mut once = told.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), told.len(), "one was told twice: {:?}", told);
        }
    }
}
