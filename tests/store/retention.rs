//! What time and size take away.

use std::path::PathBuf;

use bytes::Bytes;
use tidings::group::Rules;
use tidings::id::Alias;
use tidings::reason::Reason;
use tidings::store::{AliasChange, GroupAction, HistoryOf, NewUpstream, Outcome, Request};

use super::harness::{
    DAY_MS, Running, conversation, device, ids, new_message, peer, refusal, segments_as,
    send_number,
};

const HOUR_MS: i64 = 3_600_000;

fn history_len(running: &Running, sender: &str) -> usize {
    running.history(&HistoryOf::Sender(peer(sender)), 100).len()
}

/// Some segments, each with messages of its own; says their files.
fn several_segments(mut running: Running) -> (Running, Vec<PathBuf>) {
    for _ in 0..3 {
        running.send_many("alice", "bob", 5);
        running = running.restart();
    }
    let files = running.until_closed();
    assert_eq!(files.len(), 3);
    (running, files)
}

#[test]
fn what_is_older_than_the_history_loses_its_file_and_the_rest_stays() {
    let (mut running, old) = several_segments(Running::new());
    let young = running.send_many("carol", "bob", 3);
    running = running.restart();
    running.step(30 * DAY_MS - HOUR_MS);
    running.send_many("dave", "bob", 1);
    // A clock that leaps is not believed for an hour.
    running.until("a look", |running| {
        running.commit_something();
        running.metrics.log_bytes.get() > 0
    });
    assert_eq!(history_len(&running, "alice"), 15);
    running.step(2 * HOUR_MS);
    running.until("expiry", |running| {
        running.commit_something();
        old.iter().all(|file| !file.exists())
    });
    running.until("a sweep", |running| running.waiting("bob")[0].id > young[2].id);
    assert_eq!(history_len(&running, "alice"), 0);
    assert_eq!(history_len(&running, "dave"), 1);
    let sequence = running.send("alice", "bob", "again").sequence;
    assert_eq!(sequence, 16, "the last number outlives the history");
    running = running.restart();
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.send("alice", "bob", "and again").sequence, 17);
    assert_eq!(history_len(&running, "carol"), 0, "as old as Alice's");
    assert!(young[0].id < running.waiting("bob")[0].id);
}

#[test]
fn a_clock_that_leaps_takes_nothing_away_for_an_hour() {
    let (mut running, old) = several_segments(Running::new());
    running.step(1_000 * DAY_MS);
    running = running.restart();
    running.send("carol", "bob", "a segment to look at the size of");
    running.until("two looks", |running| {
        running.commit_something();
        running.metrics.log_bytes.get() > 0
    });
    assert!(old.iter().all(|file| file.exists()));
}

#[test]
fn what_waited_for_seven_days_is_given_up_and_told() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    running.settle();
    running.step(7 * DAY_MS);
    let young = running.send_many("alice", "bob", 2);
    running.settle();
    // A clock that leaps is not believed for an hour.
    running.until("a sweep", |running| {
        running.step(HOUR_MS / 6);
        running.waiting("bob").len() == 2
    });
    running = running.restart();
    assert_eq!(running.waiting_ids("bob"), ids(&young));
    let opened = running.open("bob", "phone");
    assert_eq!((opened.waiting, opened.loss.count), (2, 5));
}

#[test]
fn a_log_at_its_bound_gives_up_its_oldest_segments_first() {
    let mut running = Running::with(|options| {
        options.segment_bytes_max = 1024 * 1024;
        options.log_bytes_max = 80 * 1024 * 1024;
    });
    let first = running.segments()[0].clone();
    running.send_many("alice", "bob", 1);
    let large = vec![vec![7; 5_000]; 200];
    running.until("the oldest segment to go", |running| {
        running.send_all("dave", "carol", &large);
        !running.segments().contains(&first)
    });
    let on_disk = |running: &Running| -> u64 {
        let files = segments_as(running.dir(), &["open", "segment"]).into_iter();
        files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
    };
    assert_eq!(history_len(&running, "alice"), 0);
    assert!(history_len(&running, "dave") > 0);
    assert!(on_disk(&running) <= 88 * 1024 * 1024, "{}", on_disk(&running));
    running = running.restart();
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.send("alice", "bob", "on").sequence, 2);
}

#[test]
fn when_nothing_can_be_given_up_sends_and_groups_are_refused_and_all_else_goes_on() {
    let mut running = Running::with(|options| {
        options.segment_bytes_max = 64 * 1024 * 1024;
        options.log_bytes_max = 33 * 1024 * 1024;
    });
    let stored = running.send("alice", "bob", "first");
    let large = vec![7; 5_000];
    let mut number = 0;
    let reason = loop {
        number += 1;
        let outcome =
            running.outcome(Request::Message(new_message("dave", "carol", number, &large)));
        if let Some(reason) = refusal(&outcome) {
            break reason;
        }
        assert!(number < 100_000, "never refused");
    };
    assert_eq!(reason, Reason::StorageFull);
    let opened = running.open("bob", "phone");
    assert_eq!(opened.waiting, 1);
    running.ack("bob", "phone", stored.id);
    assert!(running.waiting("bob").is_empty());
    let (open, rules, metadata) = (false, Rules::default(), Bytes::from("{}"));
    let create = GroupAction::Create { open, rules, metadata, members: vec![peer("alice")] };
    assert_eq!(refusal(&running.group("alice", create)), Some(Reason::StorageFull));
    let again = running.send_as(2, "still full");
    assert!(matches!(again, Outcome::Refused { reason: Reason::StorageFull, .. }));
    let new = NewUpstream { from: peer("bob"), number: send_number(1), body: "help".into() };
    let upstream = running.outcome(Request::Upstream(new));
    assert_eq!(refusal(&upstream), Some(Reason::StorageFull));
    let (alias, device) = (Alias::new("red").unwrap(), device("phone"));
    let change = AliasChange::Bind { alias, device };
    let bound = running.outcome(Request::Alias { change, by: None });
    assert_eq!(refusal(&bound), Some(Reason::StorageFull));
    let block = running.outcome(Request::Block { peer: peer("dave"), blocked: true });
    assert!(matches!(block, Outcome::Blocked { .. }));
}

#[test]
fn a_name_that_never_came_is_forgotten_with_what_waited_for_it() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.send("alice", "nobody", "hello");
    running.send("alice", "bob", "hello");
    let talks = |running: &Running, who| running.part(who, conversation("alice", who)).is_some();
    // A start writes all, and a sweep reads what is written.
    running = running.restart();
    assert!(talks(&running, "nobody") && talks(&running, "bob"));
    running.step(8 * DAY_MS);
    // A clock that leaps is not believed for an hour.
    running.metrics.log_bytes.set(0);
    running.until("a look", |running| {
        running.commit_something();
        running.metrics.log_bytes.get() > 0
    });
    running.step(2 * HOUR_MS);
    running.until("a sweep", |running| {
        running.commit_something();
        !talks(running, "nobody")
    });
    assert!(talks(&running, "bob"), "a device of his was there");
}
