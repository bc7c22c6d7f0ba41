//! What the store counts: gauges that are right after a restart, and drops by their reasons.

use tidings::limits::{INBOX_MESSAGES_MAX, WINDOW_AGE};

use super::harness::Running;

fn waiting(running: &mut Running) -> i64 {
    running.commit_something();
    running.metrics.inbox_messages.get()
}

/// What was dropped, for this reason.
fn drops(running: &Running, reason: &str) -> usize {
    let text = running.metrics.classic();
    let begin = format!("tidings_drops_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&begin));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn how_much_waits_in_all_inboxes_is_known_over_restarts_and_crashes() {
    let mut running = Running::new();
    running.open("bob", "phone");
    running.open("carol", "phone");
    running.create_group(&["alice", "bob", "carol"]);
    running.send_to_group("alice", "1");
    let last = running.send("alice", "bob", "2");
    // Three notices, two messages of the group, one to Bob.
    assert_eq!(waiting(&mut running), 6);
    running.settle();
    running.send("alice", "carol", "3");
    assert_eq!(waiting(&mut running), 7);
    running = running.crash();
    assert_eq!(waiting(&mut running), 7);
    running.ack("bob", "phone", last.id);
    assert_eq!(waiting(&mut running), 4);
    running = running.restart();
    assert_eq!(waiting(&mut running), 4);
    running = running.crash();
    assert_eq!(waiting(&mut running), 4);
}

#[test]
fn what_an_inbox_gives_up_is_counted_by_its_reason() {
    let mut running = Running::with(|options| options.window_messages = 3);
    running.send_many("alice", "bob", 5);
    assert_eq!([drops(&running, "window"), drops(&running, "age")], [2, 0]);
    running.step(WINDOW_AGE.as_millis() as i64);
    running.open("bob", "phone");
    assert_eq!([drops(&running, "window"), drops(&running, "age")], [2, 3]);
    running.send_many("alice", "bob", INBOX_MESSAGES_MAX + 1);
    assert_eq!(drops(&running, "full"), 1);
    assert_eq!(running.metrics.dropped(), 6);
    running.send("alice", "bob", "not in the state yet");
    running = running.crash();
    assert!(running.store.report().replayed > 0);
    assert_eq!(running.metrics.dropped(), 0, "a replay drops nothing anew");
}
