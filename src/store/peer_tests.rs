//! The rules of the inbox, one by one.

use std::sync::Arc;

use super::*;
use crate::id::{ConversationId, DeviceFlag, PeerId};
use crate::limits::{DEVICES_PER_PEER_MAX, INSTANCES_REMEMBERED};
use crate::store::entry::Message;
use crate::store::image::{pack_peer, unpack_peer};
use crate::store::part_image::{pack_receipts, unpack_receipts};

#[path = "peer_aim_tests.rs"]
mod aim_tests;
#[path = "peer_model_tests.rs"]
mod model_tests;
#[path = "peer_told_tests.rs"]
mod told_tests;

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
