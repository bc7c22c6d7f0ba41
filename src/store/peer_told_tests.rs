//! What is told of a peer without a session: each message once, and each that is left.

use proptest::prelude::*;

use super::*;
use crate::store::entry::{News, Notice};

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
