//! Blocked peers: they open no session, over restarts and crashes, until they are blocked no more.

use tidings::id::{DeviceFlag, MessageId};
use tidings::reason::Reason;
use tidings::store::{Opening, Outcome, Request};

use super::harness::{Running, device, peer, refusal};

fn block(running: &mut Running, who: &str, is_blocked: bool) {
    let request = Request::Block { peer: peer(who), blocked: is_blocked };
    let Outcome::Blocked { peer: told, blocked, .. } = running.outcome(request) else {
        panic!("not blocked")
    };
    assert_eq!((told, blocked), (peer(who), is_blocked));
}

fn opens(running: &mut Running, who: &str) -> Option<Reason> {
    let opening = Opening {
        peer: peer(who),
        device: device("phone"),
        flag: DeviceFlag::App,
        instance: 1,
        client: String::new(),
        address: String::new(),
        cursor: MessageId::NONE,
    };
    refusal(&running.outcome(Request::Open(opening)))
}

#[test]
fn a_blocked_peer_opens_no_session_until_it_is_blocked_no_more() {
    let mut running = Running::new();
    running.open("bob", "phone");
    block(&mut running, "bob", true);
    for _ in 0..2 {
        assert!(running.store.is_blocked(&peer("bob")));
        assert!(!running.store.is_blocked(&peer("alice")));
        assert_eq!(opens(&mut running, "bob"), Some(Reason::Blocked));
        assert_eq!(opens(&mut running, "alice"), None);
        assert_eq!(running.metrics.blocked.get(), 1);
        running = running.crash();
    }
    running = running.restart();
    assert_eq!(opens(&mut running, "bob"), Some(Reason::Blocked));
    block(&mut running, "bob", false);
    for _ in 0..2 {
        assert!(!running.store.is_blocked(&peer("bob")));
        assert_eq!(opens(&mut running, "bob"), None);
        running = running.crash().restart();
    }
    assert_eq!(running.store.report().damage, [""; 0]);
}

#[test]
fn what_waits_for_a_blocked_peer_is_there_when_it_may_come_again() {
    let mut running = Running::new();
    running.open("bob", "phone");
    block(&mut running, "bob", true);
    let sent = running.send("alice", "bob", "later");
    block(&mut running, "bob", false);
    assert_eq!(running.open("bob", "phone").waiting, 1);
    assert_eq!(running.waiting_ids("bob"), [sent.id]);
}

#[test]
fn blocking_who_is_blocked_writes_nothing() {
    let mut running = Running::new();
    block(&mut running, "bob", true);
    let before = running.metrics.syncs.get();
    block(&mut running, "bob", true);
    block(&mut running, "carol", false);
    assert_eq!(running.metrics.syncs.get(), before);
}

#[test]
fn the_blocked_are_listed_in_the_order_of_their_ids() {
    let mut running = Running::new();
    for who in ["carol", "alice", "bob"] {
        block(&mut running, who, true);
    }
    running = running.crash();
    let (first, more) = running.store.blocked(None, 2);
    assert_eq!((first.clone(), more), (vec![peer("alice"), peer("bob")], true));
    assert_eq!(running.store.blocked(first.last(), 2), (vec![peer("carol")], false));
}
