//! The log as webhooks see it, and how far their endpoints have come.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidings::id::{EndpointId, MessageId};
use tidings::limits::{
    ENDPOINT_WHY_BYTES_MAX, LETTER_BYTES_MAX, LETTERS_AGE, LETTERS_MAX, LETTERS_PAGE_MAX,
    RECORD_BYTES_MAX, SEGMENT_BYTES_MAX,
};
use tidings::metrics::Metrics;
use tidings::store::{
    Batch, Closed, EndpointChange, EndpointState, Entry, Item, Journal, Letter, NewUpstream, News,
    Options, Outcome, Placed, Position, Request, Span, Store, Stretch,
};

use super::harness::{MINUTE_MS, Running, Sent, child, ids, new_message, peer, send_number};

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
        running.options.segment_bytes_max = SEGMENT_BYTES_MAX;
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
fn a_stretch_has_no_more_than_asked_for_unless_one_record_has() {
    let mut running = Running::new();
    running.send_all("alice", "bob", &vec![vec![7; 4_000]; 200]);
    let all_ids = messages(&all(&running, MessageId::NONE, PAGE).0);
    let said = |read: &Stretch| 4_000 * messages(&read.entries).len();
    let (mut after, mut few) = (MessageId::NONE, 0);
    while after < running.store.head() {
        let read = stretch(&running, after, 300_000);
        assert!(said(&read) <= 300_000, "{}", said(&read));
        few += usize::from(said(&read) < 150_000);
        let one = stretch(&running, after, 1);
        assert!(one.through > after && one.through <= read.through);
        assert!(said(&one) <= RECORD_BYTES_MAX);
        after = read.through;
    }
    assert!(few <= 1, "all but the last have about as much as was asked for");
    let nothing = stretch(&running, running.store.head(), PAGE);
    assert_eq!((nothing.entries.len(), nothing.through), (0, running.store.head()));
    let middle = all_ids[99];
    let found = running.block_on(running.store.entries(vec![middle])).unwrap().remove(0);
    assert!(matches!(found.entry, Entry::Message { message, .. } if message.id == middle));
    let nowhere = [MessageId(7), MessageId(running.store.head().0 + 1)];
    let named = [&nowhere[..1], &all_ids[..], &nowhere[1..]].concat();
    let found = running.block_on(running.store.entries(named)).unwrap();
    assert_eq!(messages(&found), all_ids, "what there is not is left out");
}

#[test]
fn the_last_entry_before_a_time_is_found_in_every_segment() {
    let mut running = Running::new();
    assert_eq!(running.block_on(running.store.before(0)).unwrap(), MessageId::NONE);
    let mut marks = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            running.step(MINUTE_MS);
            // All entries until now are before this time, and the message is not.
            let at_ms = running.clock().now_ms();
            marks.push((at_ms, running.send("alice", "bob", "at this time")));
        }
        running = running.restart();
    }
    let check = |running: &Running| {
        for (at_ms, sent) in &marks {
            let before = running.block_on(running.store.before(*at_ms)).unwrap();
            assert!(before < sent.id, "{before} is before {}", sent.id);
            assert_eq!(messages(&all(running, before, PAGE).0)[0], sent.id);
        }
        let later = running.clock().now_ms() + MINUTE_MS;
        assert_eq!(running.block_on(running.store.before(later)).unwrap(), running.store.head());
    };
    check(&running);
    running.until_closed();
    check(&running);
}

#[test]
fn the_head_is_told_when_there_is_more_and_when_the_store_closes() {
    let mut running = Running::new();
    let head = running.store.head();
    assert_eq!(running.block_on(async { running.store.past(head).now_or_never() }), None);
    running.block_on(running.store.past(MessageId(head.0 - 1)));
    let sent = running.send("alice", "bob", "more");
    running.block_on(running.store.past(head));
    assert!(running.store.head() >= sent.id);
    running.store.close();
    running.block_on(running.store.past(MessageId(i64::MAX)));
    let change = EndpointChange::Began { after: head };
    assert_eq!(running.block_on(running.store.note(endpoint("shop"), change)), Err(Closed));
}

const BEHIND: &str = "TIDINGS_TEST_BEHIND_A_SYNC";

#[test]
fn what_is_not_synced_is_neither_read_nor_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let test = "journal::behind_a_sync_that_fails";
    let output = child(test, BEHIND, dir.to_str().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the test above runs as a child, for it breaks the disk of the whole process.
#[test]
fn behind_a_sync_that_fails() {
    let Ok(dir) = std::env::var(BEHIND) else { return };
    let mut running = Running::open_in(Options::new(dir.into()));
    running.send("alice", "bob", "synced");
    let head = running.store.head();
    fail::cfg("store-sync", "return").unwrap();
    running.submit(Request::Message(new_message("alice", "bob", 2, b"not synced")));
    let began = EndpointChange::Began { after: head };
    assert_eq!(running.block_on(running.store.note(endpoint("shop"), began)), Err(Closed));
    assert_eq!(running.store.head(), head);
    let read = stretch(&running, MessageId::NONE, PAGE);
    assert_eq!((read.through, messages(&read.entries).len()), (head, 1));
}

#[test]
fn an_endpoint_that_is_removed_is_forgotten_and_may_begin_again() {
    let mut running = Running::new();
    let sent = running.send_many("alice", "bob", 3);
    begin(&running, "shop", sent[0].id);
    note(&running, "shop", EndpointChange::Halted { why: Some("x".repeat(5_000)) });
    keep(&running, "shop", &letter(sent[1].id.0, 0, 10));
    begin(&running, "search", sent[1].id);
    note(&running, "search", EndpointChange::Removed);
    for name in ["search", "never-begun"] {
        note(&running, name, EndpointChange::Done { number: 1 });
        keep(&running, name, &letter(7, 0, 10));
    }
    for round in 0..3 {
        assert_eq!(state(&running, "search"), None);
        let known = running.block_on(running.store.endpoints()).unwrap();
        assert_eq!(known, [endpoint("shop")]);
        let why = state(&running, "shop").unwrap().halted.unwrap();
        assert_eq!(why, "x".repeat(ENDPOINT_WHY_BYTES_MAX));
        running = if round == 0 { running.crash() } else { running.restart() };
    }
    note(&running, "shop", EndpointChange::Removed);
    begin(&running, "shop", sent[2].id);
    let again = state(&running, "shop").unwrap();
    assert_eq!((again.halted, again.letters, again.letter_bytes), (None, 0, 0));
    assert_eq!(letters(&running, "shop"), []);
}

fn letter(entry: i64, at_ms: i64, bytes: usize) -> Letter {
    Letter {
        position: place(entry),
        event: format!("{entry}-0"),
        kind: "message.sent".to_owned(),
        at_ms,
        status: 400,
        why: "refused".to_owned(),
        tries: 1,
        request: format!("msg_{entry}"),
        query: "event=msg.notify".to_owned(),
        body: vec![b'x'; bytes].into(),
    }
}

fn keep(running: &Running, name: &str, letter: &Letter) {
    note(running, name, EndpointChange::Kept(letter.clone()));
}

/// All letters of an endpoint, in pages of two.
fn letters(running: &Running, name: &str) -> Vec<Letter> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = running.store.letters(endpoint(name), after, 2);
        let (page, more) = running.block_on(page).unwrap();
        after = page.last().map(|last| last.position).or(after);
        all.extend(page);
        if !more {
            return all;
        }
    }
}

#[test]
fn letters_are_kept_by_their_places_until_they_are_dropped() {
    let mut running = Running::new();
    let now_ms = running.clock().now_ms();
    begin(&running, "shop", MessageId::NONE);
    let long = Letter { why: "y".repeat(9_000), ..letter(3, now_ms, LETTER_BYTES_MAX) };
    for kept in [letter(5, now_ms, 10), long, letter(4, now_ms, 20), letter(5, now_ms, 30)] {
        keep(&running, "shop", &kept);
    }
    for round in 0..4 {
        let found = letters(&running, "shop");
        let places: Vec<i64> = found.iter().map(|letter| letter.position.entry.0).collect();
        assert_eq!(places, [3, 4, 5]);
        assert_eq!(found[0].body.len(), LETTER_BYTES_MAX);
        assert_eq!(found[0].why, "y".repeat(ENDPOINT_WHY_BYTES_MAX));
        assert_eq!(found[1..], [letter(4, now_ms, 20), letter(5, now_ms, 30)]);
        let now = state(&running, "shop").unwrap();
        let bytes: usize = found.iter().map(Letter::bytes).sum();
        assert_eq!((now.letters, now.letter_bytes), (3, bytes as u64));
        running = if round % 2 == 0 { running.crash() } else { running.restart() };
    }
    let places = vec![place(4), place(9), place(5)];
    note(&running, "shop", EndpointChange::Dropped { letters: places });
    for _ in 0..2 {
        assert_eq!(letters(&running, "shop").len(), 1);
        running = running.crash();
    }
}

#[test]
fn a_letter_is_dropped_when_its_time_is_over_and_that_is_counted() {
    let mut running = Running::new();
    let old_ms = running.clock().now_ms() - LETTERS_AGE.as_millis() as i64;
    begin(&running, "shop", MessageId::NONE);
    keep(&running, "shop", &letter(4, old_ms + MINUTE_MS, 10));
    keep(&running, "shop", &letter(3, old_ms + 60 * MINUTE_MS, 10));
    running.commit_something();
    assert_eq!(letters(&running, "shop").len(), 2);
    running.step(MINUTE_MS);
    running.until("the old one to go", |running| letters(running, "shop").len() == 1);
    assert_eq!(letters(&running, "shop")[0].position, place(3));
    let counted = "tidings_webhook_letter_drops_total{reason=\"age\"} 1";
    assert!(running.metrics.classic().lines().any(|line| line == counted));
}

#[test]
fn one_letter_too_many_drops_the_oldest_and_that_is_counted() {
    let mut running = Running::new();
    let now_ms = running.clock().now_ms();
    begin(&running, "shop", MessageId::NONE);
    let store = &running.store;
    let keep_all = (1..=LETTERS_MAX as i64 + 1).map(|entry| {
        store.note(endpoint("shop"), EndpointChange::Kept(letter(entry, now_ms + entry, 1)))
    });
    let kept = running.block_on(futures_util::future::join_all(keep_all));
    assert!(kept.iter().all(Result::is_ok));
    let counted = "tidings_webhook_letter_drops_total{reason=\"full\"} 1";
    assert!(running.metrics.classic().lines().any(|line| line == counted));
    for _ in 0..2 {
        let (page, more) =
            running.block_on(running.store.letters(endpoint("shop"), None, 9_999)).unwrap();
        assert_eq!((page.len(), more), (LETTERS_PAGE_MAX, true));
        assert_eq!(page[0].position, place(2));
        assert_eq!(state(&running, "shop").unwrap().letters, LETTERS_MAX);
        running = running.crash();
    }
}

/// Waits until a look at what has expired has been, after the clock was stepped.
fn look(running: &mut Running) {
    running.metrics.log_bytes.set(0);
    running.until("a look", |running| {
        running.commit_something();
        running.metrics.log_bytes.get() > 0
    });
}

#[test]
fn an_endpoint_keeps_what_is_too_old_until_it_has_it_even_if_it_is_halted() {
    let mut running = Running::with(|options| options.history_age = Duration::ZERO);
    let sent = running.send_many("alice", "bob", 5);
    begin(&running, "shop", sent[1].id);
    begin(&running, "search", running.store.head());
    note(&running, "shop", EndpointChange::Halted { why: Some("gone".to_owned()) });
    running = running.restart();
    let file = running.until_closed().remove(0);
    for _ in 0..2 {
        running.step(60 * MINUTE_MS);
        look(&mut running);
        assert!(file.exists());
        let behind = all(&running, sent[1].id, PAGE);
        assert_eq!(messages(&behind.0), ids(&sent[2..]));
        assert_eq!(behind.1, []);
        running = running.restart();
    }
    note(&running, "shop", EndpointChange::Passed { through: sent[3].id });
    look(&mut running);
    assert!(file.exists(), "one message is still needed");
    let through = running.store.head();
    note(&running, "shop", EndpointChange::Passed { through });
    note(&running, "search", EndpointChange::Passed { through });
    look(&mut running);
    assert!(file.exists(), "what waits for a peer is told by its id when its session ends");
    running.step(tidings::limits::WINDOW_AGE.as_millis() as i64);
    look(&mut running);
    running.step(120 * MINUTE_MS); // A clock that leaps is not believed for an hour.
    running.until("the file to go", |running| {
        running.commit_something();
        !file.exists()
    });
    for _ in 0..2 {
        let read = stretch(&running, through, PAGE);
        assert_eq!(read.lost, None, "nothing was lost");
        assert_eq!(read.holes, []);
        running = running.restart();
    }
}

#[test]
fn a_log_at_its_bound_loses_what_an_endpoint_needs_and_says_so_once() {
    let mut running = Running::with(|options| {
        options.segment_bytes_max = 1024 * 1024;
        options.log_bytes_max = 80 * 1024 * 1024;
    });
    let first = running.segments()[0].clone();
    let sent = running.send_many("alice", "bob", 2);
    begin(&running, "shop", sent[0].id);
    let large = vec![vec![7; 5_000]; 200];
    running.until("the oldest segment to go", |running| {
        running.send_all("dave", "carol", &large);
        !running.segments().contains(&first)
    });
    for _ in 0..2 {
        let (entries, lost) = all(&running, sent[0].id, PAGE);
        let [lost] = lost[..] else { panic!("{lost:?}") };
        assert!(lost >= sent[1].id && entries.iter().all(|entry| entry.id > lost));
        assert!(messages(&entries).len() > 200, "the rest is there");
        assert_eq!(all(&running, lost, PAGE).1, [], "who has passed it has lost nothing");
        let oldest = running.block_on(running.store.before(0)).unwrap();
        assert!(oldest >= lost, "nothing before is there to begin with");
        assert!(running.block_on(running.store.entries(vec![sent[1].id])).unwrap().is_empty());
        running = running.restart();
    }
}

#[test]
fn a_record_that_is_damaged_is_left_out_and_the_rest_is_read() {
    let mut running = Running::new();
    let sent: Vec<Sent> = (0..9)
        .map(|index| running.send("alice", "bob", &format!("the text number {index} of a few")))
        .collect();
    running = running.restart();
    let file = running.until_closed().remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let damaged = b"number 4 of";
    let at = bytes.windows(damaged.len()).position(|window| window == damaged).unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let whole = [&sent[..4], &sent[5..]].concat();
    for bytes_max in [1, PAGE] {
        let (entries, lost) = all(&running, MessageId::NONE, bytes_max);
        assert_eq!(messages(&entries), ids(&whole));
        assert_eq!(lost, []);
        let behind = stretch(&running, sent[3].id, bytes_max);
        let [(from, through)] = behind.holes[..] else { panic!("{:?}", behind.holes) };
        assert!(from < sent[4].id && sent[4].id <= through && through < sent[5].id);
    }
    // The file ends with where its tables begin: in the first block are the places of the records.
    let (_, tables) = bytes.split_at(bytes.len() - 8);
    let table = u64::from_le_bytes(tables.try_into().unwrap()) as usize;
    bytes[table + 4_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let more = running.send("alice", "bob", "in another segment");
    let (entries, lost) = all(&running, MessageId::NONE, PAGE);
    let found = messages(&entries);
    assert_eq!((found.last(), lost), (Some(&more.id), vec![]));
    assert!(sent[..8].iter().all(|sent| !found.contains(&sent.id)), "none can be found");
}

#[test]
fn what_the_back_end_says_of_a_message_to_it_is_settled_once() {
    let mut running = Running::new();
    running.open("alice", "d");
    let new = NewUpstream { from: peer("alice"), number: send_number(1), body: "help".into() };
    let Outcome::UpstreamStored { id, .. } = running.outcome(Request::Upstream(new)) else {
        panic!("not stored")
    };
    for (upstream, accepted) in [(id, true), (id, false), (MessageId(7), true)] {
        running.block_on(running.store.settle_upstream(upstream, accepted)).unwrap();
    }
    running.commit_something();
    let (told, _) = running.inbox("alice");
    let [Item::Notice(notice)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(notice.news, News::Upstream(id, true));
}

#[test]
fn a_store_is_a_journal_whoever_its_callers_are() {
    fn journal<T: Send + 'static>(store: Arc<Store<T>>) -> Arc<dyn Journal> {
        store
    }
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path().join("data"));
    let store = Store::<String>::open(options, Arc::new(Metrics::new()), |_, _| {}).unwrap();
    let store = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let began = EndpointChange::Began { after: MessageId::NONE };
    let journal = journal(store.clone());
    runtime.block_on(journal.note(endpoint("shop"), began)).unwrap();
    assert_eq!(runtime.block_on(journal.endpoints()).unwrap(), [endpoint("shop")]);
    store.close();
}
