//! The log as webhooks see it, and how far their endpoints have come.

use std::sync::Arc;

use tidings::id::{EndpointId, MessageId};
use tidings::store::{
    Batch, EndpointChange, EndpointState, Entry, Journal, Placed, Position, Request, Span, Store,
    Stretch,
};

use super::harness::{Running, ids};

const PAGE: usize = 64 * 1024;

fn endpoint(name: &str) -> EndpointId {
    EndpointId::new(name).unwrap()
}

/// What stands behind an entry, in one stretch.
fn stretch(running: &Running, after: MessageId, bytes_max: usize) -> Stretch {
    running.block_on(running.store.read(after, bytes_max)).unwrap()
}

/// All that stands behind an entry, read in stretches, and the last entry that is lost.
fn all(running: &Running, mut after: MessageId, bytes_max: usize) -> (Vec<Placed>, Vec<MessageId>) {
    let (mut entries, mut lost) = (Vec::new(), Vec::new());
    while after < running.store.head() {
        let read = stretch(running, after, bytes_max);
        assert!(read.through > after, "it goes on");
        assert!(read.entries.iter().all(|entry| entry.id > after && entry.id <= read.through));
        after = read.through;
        entries.extend(read.entries);
        lost.extend(read.lost);
    }
    assert!(entries.is_sorted_by(|one, next| one.id < next.id), "in order, and none twice");
    (entries, lost)
}

/// The messages among some entries.
fn messages(entries: &[Placed]) -> Vec<MessageId> {
    let is_message = |entry: &&Placed| matches!(entry.entry, Entry::Message { .. });
    entries.iter().filter(is_message).map(|entry| entry.id).collect()
}

fn note(running: &Running, name: &str, change: EndpointChange) {
    running.block_on(running.store.note(endpoint(name), change)).unwrap();
}

fn begin(running: &Running, name: &str, after: MessageId) {
    note(running, name, EndpointChange::Began { after });
}

fn state(running: &Running, name: &str) -> Option<EndpointState> {
    running.block_on(running.store.endpoint(endpoint(name))).unwrap()
}

fn place(entry: i64) -> Position {
    Position { entry: MessageId(entry), part: 0 }
}

fn span(lane: u8, from: i64, to: i64) -> Span {
    Span { lane, from: place(from), to: place(to) }
}

fn batch(number: u64, spans: Vec<Span>) -> Batch {
    Batch { number, formed_ms: 7, spans }
}

fn form(running: &Running, name: &str, number: u64, spans: Vec<Span>) {
    note(running, name, EndpointChange::Formed(batch(number, spans)));
}

#[test]
fn the_log_is_read_back_whole_and_in_order_over_segments_and_a_restart() {
    let mut running = Running::with_small_segments();
    let mut sent = Vec::new();
    let large = vec![vec![7; 4_000]; 200];
    while running.segments().len() < 5 {
        sent.extend(running.send_all("alice", "bob", &large));
    }
    for _ in 0..2 {
        for bytes_max in [1, PAGE, 4 * 1024 * 1024] {
            let (entries, lost) = all(&running, MessageId::NONE, bytes_max);
            assert_eq!(messages(&entries), ids(&sent));
            assert_eq!(lost, []);
            let middle = sent[sent.len() / 2].id;
            let behind = all(&running, middle, bytes_max).0;
            assert_eq!(messages(&behind), ids(&sent[sent.len() / 2 + 1..]));
        }
        running = running.restart();
        running.until_closed();
        sent.push(running.send("alice", "bob", "in the next run"));
    }
}

#[test]
fn an_endpoint_has_come_as_far_after_a_crash_as_was_noted() {
    let mut running = Running::new();
    let sent = running.send_many("alice", "bob", 9);
    let at = |index: usize| sent[index].id.0;
    assert_eq!(state(&running, "shop"), None);
    begin(&running, "shop", sent[0].id);
    form(&running, "shop", 1, vec![span(3, at(0), at(2)), span(5, at(0), at(4))]);
    form(&running, "shop", 2, vec![span(7, at(0), at(3))]);
    note(&running, "shop", EndpointChange::Done { number: 1 });
    note(&running, "shop", EndpointChange::Passed { through: sent[5].id });
    for _ in 0..2 {
        let now = state(&running, "shop").unwrap();
        assert_eq!(now.batches, [batch(2, vec![span(7, at(0), at(3))])]);
        assert_eq!((now.next_number, now.halted.clone()), (3, None));
        let passed = Position::end_of(sent[5].id);
        for (lane, come) in now.lanes.iter().enumerate() {
            let expected = if lane == 7 { Position::end_of(sent[0].id) } else { passed };
            assert_eq!(*come, expected, "lane {lane}");
        }
        assert_eq!(now.behind(), MessageId(at(0) - 1));
        running = running.crash();
    }
}

#[test]
fn the_head_is_told_when_something_is_durable() {
    let mut running = Running::new();
    let head = running.store.head();
    let store: &Store<u64> = &running.store;
    assert!(running.block_on(async { tokio::time::timeout(std::time::Duration::from_millis(50), store.past(head)).await }).is_err());
    let sent = running.send("alice", "bob", "on");
    running.block_on(running.store.past(head));
    assert!(running.store.head() >= sent.id);
    let _: Option<Arc<dyn Journal>> = None::<Arc<Store<u64>>>.map(|store| store as _);
    let _ = Request::Block { peer: super::harness::peer("x"), blocked: true };
}
