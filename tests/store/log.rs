//! The log itself: what is acknowledged is on the disk, once, in order, and under one number.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use tidings::id::MessageId;
use tidings::reason::Reason;
use tidings::store::{HistoryOf, OpenError, Options, Outcome, Request, Store};

use super::harness::{
    MINUTE_MS, Running, Sent, child, ids, new_message, peer, refusal, segments_as, sent,
};

#[test]
fn a_sync_has_returned_before_each_batch_of_outcomes() {
    let mut running = Running::new();
    let mut syncs = 0;
    for round in 1..=20 {
        running.submit(Request::Message(new_message("alice", "bob", round, b"hello")));
        let batch = running.batches.recv_timeout(super::harness::PATIENCE).unwrap();
        assert_eq!(batch.outcomes.len(), 1);
        assert!(batch.syncs > syncs, "outcomes after {} syncs, as before", batch.syncs);
        syncs = batch.syncs;
    }
}

#[test]
fn segments_that_a_run_left_empty_are_the_next_to_be_written_to() {
    let mut running = Running::new();
    let mut sent = vec![running.send("alice", "bob", "hello")];
    running.until("the next one is made ready", |running| running.segments().len() == 2);
    // A run that ends right behind a roll leaves two: the open one, and the one made ready.
    let (_folder, options) = running.crashed();
    let ready = segments_as(&options.dir, &["open"]).remove(1);
    std::fs::copy(&ready, ready.with_file_name("0000000003.open")).unwrap();
    let mut running = Running::open_in(options);
    sent.push(running.send("alice", "bob", "hello again"));
    assert_eq!(running.until_closed().len(), 1, "two are open or made ready");
    assert_eq!(running.waiting_ids("bob")[..2], ids(&sent));
}

#[test]
fn a_repeat_gets_the_first_answer_over_a_restart_and_a_crash() {
    let mut running = Running::new();
    running.open("alice", "d");
    let first = sent(&running.send_as(1, "hello"));
    let again = |running: &mut Running| match running.send_as(1, "hello") {
        Outcome::Repeated { id, sequence, .. } => Sent { id, sequence },
        other => panic!("{other:?}"),
    };
    assert_eq!(again(&mut running), first);
    running = running.crash();
    assert_eq!(again(&mut running), first);
    running = running.restart();
    assert_eq!(again(&mut running), first);
    assert_eq!(refusal(&running.send_as(1, "goodbye")), Some(Reason::NumberReused));
    assert_eq!(running.open("alice", "d").next_number, 2);
    assert_eq!(running.waiting_ids("bob"), [first.id], "stored once");
}

#[test]
fn a_repeat_in_the_same_commit_gets_the_first_answer() {
    let mut running = Running::new();
    running.open("alice", "d");
    let request = || Request::Message(new_message("alice", "bob", 1, b"hello"));
    let callers = [running.submit(request()), running.submit(request())];
    let outcomes = running.outcomes(&callers);
    let first = sent(&outcomes[0]);
    assert!(matches!(outcomes[1], Outcome::Repeated { id, .. } if id == first.id));
}

#[test]
fn a_number_that_has_been_forgotten_is_too_old_over_a_restart() {
    let mut running = Running::new();
    running.open("alice", "d");
    running.send_many("alice", "bob", 257);
    running = running.restart();
    let body = "alice>bob 0";
    assert_eq!(refusal(&running.send_as(1, body)), Some(Reason::TooOld));
    assert!(matches!(running.send_as(2, "alice>bob 1"), Outcome::Repeated { .. }));
    assert_eq!(running.open("alice", "d").next_number, 258);
}

/// Asserts that numbers go on from `next` without gaps, and that ids rise from `last`.
fn go_on(sent: &[Sent], next: &mut u32, last: &mut MessageId) {
    for Sent { id, sequence } in sent {
        assert_eq!(sequence, next);
        assert!(id > last, "{id} after {last}");
        (*next, *last) = (next.wrapping_add(1), *id);
    }
}

#[test]
fn a_conversation_counts_from_1_without_gaps_over_rolls_restarts_and_crashes() {
    let mut running = Running::with_small_segments();
    let (mut next, mut last) = (1, MessageId::NONE);
    let large = vec![vec![7; 5_000]; 60];
    for round in 0..4 {
        let before = running.segments().len();
        for _ in 0..6 {
            go_on(&running.send_all("alice", "bob", &large), &mut next, &mut last);
            go_on(&running.send_many("bob", "alice", 3), &mut next, &mut last);
        }
        running.until("a roll", |running| {
            running.commit_something();
            running.segments().len() > before
        });
        running = if round % 2 == 0 { running.crash() } else { running.restart() };
        assert_eq!(running.store.report().damage, [""; 0]);
    }
    go_on(&running.send_many("alice", "bob", 1), &mut next, &mut last);
    assert_eq!(sent_between("carol", "dave", &mut running).sequence, 1);
    no_value_left_its_file(&running);
}

fn sent_between(one: &str, other: &str, running: &mut Running) -> Sent {
    running.send(one, other, "hello")
}

/// sled syncs no blob file, so there must be none.
fn no_value_left_its_file(running: &Running) {
    let states = std::fs::read_dir(running.dir()).unwrap().map(|entry| entry.unwrap().path());
    for folder in states {
        let blobs = folder.join("blobs");
        if blobs.exists() {
            let count = std::fs::read_dir(&blobs).unwrap().count();
            assert_eq!(count, 0, "{}", blobs.display());
        }
    }
}

/// When the clock is stepped.
#[derive(Clone, Copy, Debug)]
enum When {
    Running,
    Restarting,
    Crashing,
}

/// Steps the clock by so many milliseconds.
fn stepped(mut running: Running, when: When, ms: i64) -> Running {
    if matches!(when, When::Running) {
        running.step(ms);
        return running;
    }
    running.clock().step_ms(ms);
    if matches!(when, When::Crashing) { running.crash() } else { running.restart() }
}

/// Sends before and behind a step of the clock; all of it is there, and is until it is too old.
fn prove_a_step(when: When, ms: i64) {
    let what = format!("{when:?}, {ms} ms");
    let mut running = Running::with(|options| options.window_age = Duration::from_secs(2 * 3600));
    running.open("bob", "phone");
    let epoch = running.store.epoch();
    let mut all = running.send_many("alice", "bob", 5);
    running = stepped(running, when, ms);
    all.extend(running.send_many("alice", "bob", 5));
    assert!(all.is_sorted_by(|a, b| a.id < b.id && a.sequence + 1 == b.sequence), "{what}");
    // An hour and a half is less than two, wherever the step was.
    running.step(30 * MINUTE_MS);
    running.settle();
    for _ in 0..2 {
        assert_eq!(running.waiting_ids("bob"), ids(&all), "{what}");
        assert_eq!(running.inbox("bob").1.count, 0, "{what}");
        let past = running.history(&HistoryOf::Sender(peer("alice")), 50);
        assert_eq!((past.len(), running.metrics.dropped()), (all.len(), 0), "{what}");
        running = running.crash();
    }
    assert_eq!((running.store.epoch(), running.store.report().damage.len()), (epoch, 0), "{what}");
}

#[test]
fn a_step_of_an_hour_either_way_loses_reuses_and_expires_nothing_whenever_it_comes() {
    for when in [When::Running, When::Restarting, When::Crashing] {
        for ms in [60 * MINUTE_MS, -60 * MINUTE_MS] {
            prove_a_step(when, ms);
        }
    }
}

#[test]
fn steps_of_an_hour_one_after_the_other_lose_nothing_and_reuse_nothing() {
    let mut running = Running::new();
    running.open("bob", "phone");
    let mut all = Vec::new();
    let hour = 60 * MINUTE_MS;
    let steps = [
        (When::Running, hour),
        (When::Restarting, -hour),
        (When::Crashing, -hour),
        (When::Running, hour),
    ];
    for (when, ms) in steps {
        all.extend(running.send_many("alice", "bob", 5));
        running = stepped(running, when, ms);
        all.extend(running.send_many("alice", "bob", 5));
        running.settle();
        assert_eq!(running.waiting_ids("bob"), ids(&all), "behind {when:?}, {ms} ms");
    }
    assert!(all.is_sorted_by(|a, b| a.id < b.id && a.sequence + 1 == b.sequence), "{all:?}");
    assert_eq!(running.history(&HistoryOf::Sender(peer("alice")), 50).len(), all.len());
    assert_eq!(running.metrics.dropped(), 0);
}

#[test]
fn the_epoch_and_rising_ids_outlast_restarts_and_a_clock_that_steps_back() {
    let mut running = Running::new();
    let epoch = running.store.epoch();
    let (mut next, mut last) = (1, MessageId::NONE);
    for _ in 0..3 {
        go_on(&running.send_many("alice", "bob", 5), &mut next, &mut last);
        running.step(-60 * MINUTE_MS);
        go_on(&running.send_many("alice", "bob", 5), &mut next, &mut last);
        running = running.restart();
        assert_eq!(running.store.epoch(), epoch);
    }
}

#[test]
fn a_folder_that_is_in_use_is_not_opened_again() {
    let running = Running::new();
    let options = Options::new(running.dir().to_owned());
    let again = Store::<u64>::open(options, Default::default(), |_, _| {});
    assert!(matches!(again, Err(OpenError::InUse(dir)) if dir == running.dir()));
}

const KILLED: &str = "TIDINGS_TEST_KILLED_IN";

/// Not a test but the child that the next one kills: it sends and tells what was acknowledged.
#[test]
fn child_that_sends_until_it_is_killed() {
    let Ok(dir) = std::env::var(KILLED) else { return };
    let mut options = Options::new(dir.into());
    options.segment_bytes_max = 1024 * 1024;
    let mut running = Running::open_in(options);
    let opened = running.open("alice", "d");
    for number in opened.next_number.. {
        let body = format!("body {number}");
        let Sent { id, sequence } = sent(&running.send_as(number, &body));
        println!("\nACKED {number} {id} {sequence}");
    }
}

#[test]
fn everything_acknowledged_is_there_after_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let mut acked: Vec<(u64, i64, u32)> = Vec::new();
    for lines in [1, 40, 150] {
        let test = "log::child_that_sends_until_it_is_killed";
        let mut child = child(test, KILLED, dir.to_str().unwrap());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = output.map_while(Result::ok).filter_map(|line| {
            let mut words = line.strip_prefix("ACKED ")?.split(' ');
            let mut word = || words.next();
            Some((word()?.parse().ok()?, word()?.parse().ok()?, word()?.parse().ok()?))
        });
        acked.extend(told.by_ref().take(lines));
        child.kill().unwrap();
        acked.extend(told);
        child.wait().unwrap();
    }
    assert!(acked.len() >= 191);
    let mut running = Running::open_in(Options::new(dir));
    assert_eq!(running.store.report().damage, [""; 0]);
    let of = HistoryOf::Sender(peer("alice"));
    let mut history = running.history(&of, 100);
    history.reverse();
    // What was stored but not acknowledged before a kill may stand between.
    let stored: Vec<(i64, u32)> = history.iter().map(|m| (m.id.0, m.sequence)).collect();
    assert!(stored.is_sorted_by(|a, b| a.0 < b.0 && a.1 + 1 == b.1), "{stored:?}");
    assert_eq!(stored[0].1, 1);
    for (number, id, sequence) in &acked {
        let at = *sequence as usize - 1;
        assert_eq!(stored[at], (*id, *sequence));
        assert_eq!(history[at].body, format!("body {number}").into_bytes());
    }
    let waiting = running.waiting_ids("bob");
    assert_eq!(waiting, history[history.len() - 50..].iter().map(|m| m.id).collect::<Vec<_>>());
    let next = running.open("alice", "d").next_number;
    let Sent { id, sequence } = sent(&running.send_as(next, "on"));
    assert_eq!(sequence as usize, stored.len() + 1);
    assert!(id.0 > stored[stored.len() - 1].0);
    // A repeat of the last one acknowledged is known by its number.
    let (number, first, _) = acked[acked.len() - 1];
    let again = running.send_as(number, &format!("body {number}"));
    assert!(matches!(again, Outcome::Repeated { id, .. } if id.0 == first));
}

const FAILING: &str = "TIDINGS_TEST_FAILPOINT";

/// Not a test but the child of the next two: failpoints are those of a whole process.
#[test]
fn child_whose_disk_fails() {
    let Ok(failpoint) = std::env::var(FAILING) else { return };
    let mut running = Running::new();
    running.send("alice", "bob", "before");
    fail::cfg(&failpoint, "return").unwrap();
    running.submit(Request::Message(new_message("alice", "bob", 2, b"never")));
    let failure = running.block_on(running.store.failed());
    assert!(failure.contains("cannot"), "{failure}");
    let told: Vec<_> = running.batches.try_iter().flat_map(|batch| batch.outcomes).collect();
    assert!(told.is_empty(), "told after a failure: {told:?}");
    let request = Request::Message(new_message("alice", "bob", 3, b"nor this"));
    assert!(running.block_on(running.store.submit(Some(3), request)).is_err());
    let bob = peer("bob");
    assert!(running.block_on(running.store.waiting(&bob, None, MessageId::NONE, 10)).is_err());
    println!("\nFAILED AS IT SHOULD");
}

fn fails_as_it_should(failpoint: &str) {
    let output = child("log::child_whose_disk_fails", FAILING, failpoint).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("FAILED AS IT SHOULD"), "{text}");
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged_any_more_and_the_failure_is_told() {
    fails_as_it_should("store-write");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_any_more_and_the_failure_is_told() {
    fails_as_it_should("store-sync");
}

#[test]
fn what_was_submitted_before_a_close_is_stored_and_nothing_is_taken_after_it() {
    let mut running = Running::new();
    let request = |number| Request::Message(new_message("alice", "bob", number, b"late"));
    let callers: Vec<u64> = (1..=100).map(|number| running.submit(request(number))).collect();
    running.store.close();
    let stored: Vec<Sent> = running.outcomes(&callers).iter().map(sent).collect();
    assert!(running.block_on(running.store.submit(Some(0), request(101))).is_err());
    let mut running = running.restart();
    assert_eq!(running.store.report().replayed, 0, "a close leaves nothing to replay");
    assert_eq!(running.waiting_ids("bob"), ids(&stored[50..]));
    assert_eq!(running.open("bob", "phone").loss.count, 50);
}
