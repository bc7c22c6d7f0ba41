//! The rules of the inbox, one by one and against a model.

use proptest::prelude::*;

use super::*;
use crate::id::{ConversationId, PeerId};
use crate::limits::DEVICES_PER_PEER_MAX;
use crate::store::entry::Message;
use crate::store::image::{pack_peer, unpack_peer};

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

fn message(id: i64, at_ms: i64, expires_ms: i64) -> Item {
    let (from, to) = (PeerId::new("alice").unwrap(), PeerId::new("bob").unwrap());
    let message = Message {
        id: MessageId(id),
        sequence: 1,
        at_ms,
        expires_ms,
        conversation: ConversationId::of_peers([&from, &to]),
        from,
        to: vec![to],
        receipt: false,
        client_msg_no: Default::default(),
        body: Default::default(),
    };
    Item::Message(message.into())
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
        let ids: Vec<i64> = (0..count).map(|_| self.id()).collect();
        for id in &ids {
            self.peer.deliver(&message(*id, self.now_ms, 0), &self.rules);
        }
        ids
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
            cursor: MessageId(cursor),
        };
        let session = SessionId(self.id());
        let found = self.peer.open(&opening, session, self.now_ms, &self.rules);
        (session, found)
    }

    fn open(&mut self, name: &str) -> (SessionId, Found) {
        self.open_at(name, 0)
    }

    fn end(&mut self, name: &str, session: SessionId) {
        self.peer.end(&device(name), session, false, self.now_ms, &self.rules);
    }

    fn close(&mut self, name: &str, session: SessionId) {
        self.peer.end(&device(name), session, true, self.now_ms, &self.rules);
    }

    fn ack(&mut self, name: &str, id: i64) {
        self.peer.acknowledge(&device(name), MessageId(id), self.now_ms, &self.rules);
    }

    fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    fn inbox(&self) -> Vec<i64> {
        self.peer.waiting.iter().map(|waiting| waiting.id.0).collect()
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
    let id = bob.id();
    bob.peer.deliver(&message(id, bob.now_ms, bob.now_ms + 10), &RULES);
    bob.wait(9);
    assert_eq!(bob.open("phone").1.waiting, 1);
    let mut bob = Bob::away();
    let id = bob.id();
    bob.peer.deliver(&message(id, bob.now_ms, bob.now_ms + 10), &RULES);
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

/// A simple telling of the same rules, one message and one device at a time.
#[derive(Default)]
struct Model {
    /// Id, time, end of its ttl (0: none), whether it came while the peer was away.
    inbox: Vec<(i64, i64, i64, bool)>,
    devices: Vec<ModelDevice>,
    away_at_ms: i64,
    unclaimed: Vec<i64>,
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
        let (id, _, expires_ms, _) = self.inbox.remove(at);
        if expires_ms != 0 && expires_ms <= now_ms {
            return;
        }
        if self.counted(now_ms).next().is_none() {
            self.unclaimed.push(id);
        }
        for device in self.counted(now_ms).filter(|device| device.cursor < id) {
            let list = if device.session.is_some() { &mut device.missed } else { &mut device.lost };
            list.push(id);
        }
    }

    fn send(&mut self, id: i64, now_ms: i64, expires_ms: i64, rules: &Rules) {
        let online = self.devices.iter().any(|device| device.session.is_some());
        self.inbox.push((id, now_ms, expires_ms, !online && now_ms >= self.away_at_ms));
        if self.inbox.iter().filter(|message| message.3).count() > rules.window_messages {
            let at = self.inbox.iter().position(|message| message.3).unwrap();
            self.give_up(at, now_ms);
        }
        if self.inbox.len() > rules.inbox_max {
            self.give_up(0, now_ms);
        }
    }

    fn release(&mut self, now_ms: i64) {
        if let Some(oldest) = self.counted(now_ms).map(|device| device.cursor).min() {
            self.inbox.retain(|message| message.0 > oldest);
        }
    }

    fn open(&mut self, name: usize, session: SessionId, now_ms: i64) -> (u64, usize) {
        while self.inbox.first().is_some_and(|m| now_ms - m.1 >= RULES.window_age_ms) {
            self.give_up(0, now_ms);
        }
        let start = self.counted(now_ms).map(|device| device.cursor).min();
        let at = self.devices.iter().position(|device| device.name == name).unwrap_or_else(|| {
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
        let (cursor, lost) = (device.cursor, device.lost.len() as u64);
        self.inbox.iter_mut().for_each(|message| message.3 = false);
        self.release(now_ms);
        let wanted = |m: &&(i64, i64, i64, bool)| m.0 > cursor && (m.2 == 0 || now_ms < m.2);
        (lost, self.inbox.iter().filter(wanted).count())
    }

    fn ack(&mut self, name: usize, id: i64, now_ms: i64) {
        if let Some(device) = self.devices.iter_mut().find(|device| device.name == name) {
            device.cursor = device.cursor.max(id);
            device.forget_lost();
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
    let rules = Rules { window_messages: 5, inbox_max: 20, ..RULES };
    let mut bob = Bob { rules, ..Bob::new() };
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Send(count) => {
                for id in bob.send(*count) {
                    model.send(id, bob.now_ms, 0, &rules);
                }
            }
            Step::SendWithTtl(ttl_ms) => {
                let (id, expires_ms) = (bob.id(), bob.now_ms + ttl_ms);
                bob.peer.deliver(&message(id, bob.now_ms, expires_ms), &rules);
                model.send(id, bob.now_ms, expires_ms, &rules);
            }
            Step::Open(name) => {
                let (session, found) = bob.open(&name.to_string());
                let expected = model.open(*name, session, bob.now_ms);
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
            Step::Store => bob.peer = unpack_peer(&pack_peer(&bob.peer)).unwrap(),
        }
        let expected: Vec<i64> = model.inbox.iter().map(|message| message.0).collect();
        prop_assert_eq!(bob.inbox(), expected, "after {:?}", step);
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
