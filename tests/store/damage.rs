//! Damaged folders: the store always starts, names what it lost, and reuses nothing.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use tidings::id::MessageId;
use tidings::store::{HistoryOf, Options};

use super::harness::{Running, Sent, copy, ids, peer, segments_as};

/// A folder whose log has two segments with messages, and what was stored in it.
pub(crate) struct Made {
    _folder: TempDir,
    pub(crate) options: Options,
    pub(crate) sent: Vec<Sent>,
    pub(crate) epoch: u64,
}

/// A folder of one's own: 20 messages, a clean restart, 20 messages, of which the state was told,
/// one more, and a crash.
pub(crate) fn made() -> Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(make);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    copy(&made.options.dir, &dir);
    let options = Options { dir, ..made.options.clone() };
    Made { _folder: folder, options, sent: made.sent.clone(), epoch: made.epoch }
}

fn make() -> Made {
    let mut running = Running::new();
    let epoch = running.store.epoch();
    let mut sent = running.send_many("alice", "bob", 19);
    sent.push(running.send("alice", "bob", "the last commit of the first run"));
    running = running.restart();
    running.until_closed();
    for index in 0..20 {
        sent.push(running.send("alice", "bob", &format!("second run {index}")));
    }
    // A value of kind 8 and version 1: how far the log was on the disk.
    let told = [&[8, 1][..], &sent[39].id.0.to_le_bytes()].concat();
    running.until("the state was told how far the log is", |running| {
        let state = fs::read(newest(running.dir(), "state-").join("db")).unwrap();
        state.windows(told.len()).any(|window| window == told)
    });
    sent.push(running.send("alice", "bob", "second run, the last"));
    let (folder, options) = running.crashed();
    Made { _folder: folder, options, sent, epoch }
}

/// The folder with the greatest name that begins so.
pub(crate) fn newest(dir: &Path, prefix: &str) -> PathBuf {
    let mut found: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    found.sort();
    found.pop().unwrap()
}

/// The segment that holds the newest records.
pub(crate) fn written_last(dir: &Path) -> PathBuf {
    let holds = |file: &PathBuf| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(10).any(|window| window == b"second run")
    };
    segments_as(dir, &["open"]).into_iter().rfind(holds).unwrap()
}

/// The file of the first segment.
pub(crate) fn first_file(dir: &Path) -> PathBuf {
    segments_as(dir, &["segment"]).remove(0)
}

impl Made {
    pub(crate) fn last(&self) -> &Sent {
        self.sent.last().unwrap()
    }

    /// Opens it; the store must go on from there and reuse nothing.
    pub(crate) fn opens_damaged(&self, what: &str) -> Running {
        let mut running = Running::open_in(self.options.clone());
        let damage = running.store.report().damage.clone();
        assert!(damage.iter().any(|damage| damage.contains(what)), "{damage:?} lacks {what:?}");
        assert_ne!(running.store.epoch(), self.epoch);
        let next = running.send("alice", "bob", "after");
        assert!(next.id > self.last().id, "an id was given twice");
        assert!(next.sequence > self.last().sequence + 1_000, "{} does not jump", next.sequence);
        let fresh = running.send("erin", "frank", "after");
        assert!(fresh.sequence > 1, "a conversation that is not known may have been lost");
        running
    }
}

pub(crate) fn history_len(running: &Running) -> usize {
    running.history(&HistoryOf::Sender(peer("alice")), 100).len()
}

/// Asserts that the damage is told once, and that the store goes on in its new epoch.
pub(crate) fn is_told_once(mut running: Running) {
    let epoch = running.store.epoch();
    let next = running.send("alice", "bob", "on").sequence + 1;
    running.store.close();
    let options = running.options.clone();
    drop(running);
    let mut running = Running::open_in(options);
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.store.epoch(), epoch);
    assert_eq!(running.send("alice", "bob", "and on").sequence, next);
}

pub(crate) fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}

/// Where the last bytes that are not zero end.
fn end_of(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64
}

/// Where some bytes stand last in a file.
pub(crate) fn last_place_of(path: &Path, bytes: &[u8]) -> u64 {
    let all = fs::read(path).unwrap();
    all.windows(bytes.len()).rposition(|window| window == bytes).unwrap() as u64
}

#[test]
fn an_undamaged_folder_keeps_its_epoch_after_a_crash_and_has_nothing_to_report() {
    let made = made();
    let mut running = Running::open_in(made.options.clone());
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.store.epoch(), made.epoch);
    assert_eq!(running.send("alice", "bob", "on").sequence, made.last().sequence + 1);
}

/// The snapshots of sled, which a kill while it opens can leave half written.
fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(newest(dir, "state-")).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap.")).collect()
}

#[test]
fn a_kill_while_the_state_opens_costs_nothing() {
    let made = made();
    let snapshots = snapshots(&made.options.dir);
    assert!(!snapshots.is_empty());
    for snapshot in snapshots {
        fs::write(snapshot, []).unwrap();
    }
    let mut running = Running::open_in(made.options.clone());
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.store.epoch(), made.epoch);
    assert_eq!(running.waiting_ids("bob"), ids(&made.sent));
    assert_eq!(running.send("alice", "bob", "on").sequence, made.last().sequence + 1);
}

#[test]
fn a_kill_while_a_segment_is_made_costs_nothing() {
    for half in [0, 7, 4112] {
        let made = made();
        let next = segments_as(&made.options.dir, &["open"]).pop().unwrap();
        let number: u32 = next.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let made_last = next.with_file_name(format!("{:010}.open", number + 1));
        fs::write(made_last, &fs::read(next).unwrap()[..half]).unwrap();
        let mut running = Running::open_in(made.options.clone());
        assert_eq!(running.store.report().damage, [""; 0]);
        assert_eq!(running.store.epoch(), made.epoch);
        assert_eq!(running.send("alice", "bob", "on").sequence, made.last().sequence + 1);
    }
}

#[test]
fn a_first_record_that_was_never_finished_is_no_damage_to_any_start_behind_it() {
    let made = made();
    let next = segments_as(&made.options.dir, &["open"]).pop().unwrap();
    let header = fs::read(&next).unwrap()[..4112].to_vec();
    fs::write(&next, [&header[..], b"half a record"].concat()).unwrap();
    for round in 1..=3 {
        let mut running = Running::open_in(made.options.clone());
        assert_eq!(running.store.report().damage, [""; 0], "start {round}");
        assert_eq!(running.store.epoch(), made.epoch);
        assert_eq!(running.send("alice", "bob", "on").sequence, made.last().sequence + round);
        running.store.close();
    }
}

#[test]
fn a_segment_of_which_nothing_was_finished_is_looked_at_by_one_start_only() {
    let made = made();
    let torn = written_last(&made.options.dir);
    let number: u32 = torn.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let behind = torn.with_file_name(format!("{:010}.open", number + 1));
    fs::rename(&torn, &behind).unwrap();
    let header = fs::read(&behind).unwrap()[..4112].to_vec();
    fs::write(&torn, [&header[..], b"half a record"].concat()).unwrap();
    for round in 1..=3 {
        let mut running = Running::open_in(made.options.clone());
        assert_eq!(running.store.report().damage, [""; 0], "start {round}");
        assert_eq!(running.store.epoch(), made.epoch);
        assert_eq!(running.send("alice", "bob", "on").sequence, made.last().sequence + round);
        assert!(!torn.exists());
        running.store.close();
    }
    let name = torn.file_name().unwrap().to_str().unwrap();
    assert!(torn.with_file_name(format!("damaged-{name}")).exists());
}

#[test]
fn a_segment_no_record_of_which_can_be_read_is_set_aside_with_what_it_costs_told_once() {
    let made = made();
    let file = written_last(&made.options.dir);
    let mut bytes = fs::read(&file).unwrap();
    bytes[4112..].fill(0xA5);
    fs::write(&file, &bytes).unwrap();
    let running = made.opens_damaged("the log ends");
    let name = file.file_name().unwrap().to_str().unwrap();
    assert_eq!(fs::read(file.with_file_name(format!("damaged-{name}"))).unwrap(), bytes);
    assert!(!file.exists());
    assert_eq!(history_len(&running), 21);
    is_told_once(running);
}

#[test]
fn a_damaged_record_of_the_log_costs_that_record() {
    let made = made();
    let file = written_last(&made.options.dir);
    flip(&file, last_place_of(&file, b"second run 10"));
    let running = made.opens_damaged("is missing");
    assert_eq!(history_len(&running), 41, "all but one, and what came after");
    is_told_once(running);
}

#[test]
fn a_log_that_was_cut_off_opens_with_what_is_left() {
    let made = made();
    let file = written_last(&made.options.dir);
    let at = last_place_of(&file, b"second run 10");
    OpenOptions::new().write(true).open(&file).unwrap().set_len(at).unwrap();
    is_told_once(made.opens_damaged("the log ends"));
}

#[test]
fn a_flipped_bit_anywhere_near_the_end_of_the_log_never_stops_a_start() {
    for back in [0, 1, 5, 20, 60, 200] {
        let made = made();
        let file = written_last(&made.options.dir);
        flip(&file, end_of(&file) - back);
        let mut running = Running::open_in(made.options.clone());
        // The very last record may be one that was never finished; all before it is there.
        let lost = made.sent.len() - history_len(&running);
        assert!(lost <= 1 || !running.store.report().damage.is_empty(), "lost {lost} silently");
        let next = running.send("alice", "bob", "after");
        assert!(next.id > made.last().id);
    }
}

#[test]
fn a_missing_segment_that_was_being_written_is_noticed() {
    let made = made();
    fs::remove_file(written_last(&made.options.dir)).unwrap();
    let running = made.opens_damaged("the log ends");
    assert_eq!(history_len(&running), 21);
    is_told_once(running);
}

#[test]
fn a_missing_closed_segment_is_noticed() {
    let made = made();
    fs::remove_file(first_file(&made.options.dir)).unwrap();
    let running = made.opens_damaged("segment 1 is missing");
    // The second begins with the last commit of the first.
    assert_eq!(history_len(&running), 1 + 21 + 1);
    is_told_once(running);
}

#[test]
fn a_log_that_is_gone_altogether_begins_a_new_epoch_and_inboxes_stay() {
    let made = made();
    fs::remove_dir_all(made.options.dir.join("log")).unwrap();
    let running = made.opens_damaged("the log ends");
    let waiting = running.waiting_ids("bob");
    assert!(waiting.starts_with(&ids(&made.sent[..20])), "what had settled");
    is_told_once(running);
}

#[test]
fn a_segment_that_cannot_be_opened_is_set_aside_under_another_name() {
    let made = made();
    let last = written_last(&made.options.dir);
    fs::remove_file(&last).unwrap();
    fs::create_dir(&last).unwrap();
    let running = made.opens_damaged("cannot be opened");
    let name = last.file_name().unwrap().to_str().unwrap();
    assert!(made.options.dir.join("log").join(format!("damaged-{name}")).exists());
    is_told_once(running);
}

#[test]
fn a_state_that_cannot_be_opened_is_rebuilt_from_the_log() {
    let made = made();
    let state = newest(&made.options.dir, "state-");
    fs::remove_file(state.join("db")).unwrap();
    fs::create_dir(state.join("db")).unwrap();
    let running = made.opens_damaged("the newest state");
    assert_eq!(running.waiting_ids("bob")[..41], ids(&made.sent));
    is_told_once(running);
}

#[test]
fn a_segment_full_of_garbage_never_stops_a_start() {
    for seed in 0..4 {
        let made = made();
        let file = written_last(&made.options.dir);
        let len = fs::metadata(&file).unwrap().len() as usize;
        let mut random = fastrand::Rng::with_seed(seed);
        fs::write(&file, (0..len).map(|_| random.u8(..)).collect::<Vec<_>>()).unwrap();
        is_told_once(made.opens_damaged("the log ends"));
    }
}

#[test]
fn a_state_full_of_garbage_never_stops_a_start() {
    for seed in 0..4 {
        let made = made();
        let db = newest(&made.options.dir, "state-").join("db");
        let len = fs::metadata(&db).unwrap().len() as usize;
        let mut random = fastrand::Rng::with_seed(seed);
        fs::write(&db, (0..len).map(|_| random.u8(..)).collect::<Vec<_>>()).unwrap();
        let mut running = Running::open_in(made.options.clone());
        assert_eq!(running.waiting_ids("bob")[..41], ids(&made.sent));
        assert_eq!(history_len(&running), 41);
        let next = running.send("alice", "bob", "after");
        assert!(next.id > made.last().id && next.sequence > made.last().sequence);
    }
}

#[test]
fn a_state_that_is_gone_is_rebuilt_from_the_log() {
    let remove = |state: &Path| fs::remove_dir_all(state).unwrap();
    let remove_file = |state: &Path| fs::remove_file(state.join("db")).unwrap();
    let cut = |state: &Path| fs::write(state.join("db"), []).unwrap();
    for harm in [&remove as &dyn Fn(&Path), &remove_file, &cut] {
        let made = made();
        harm(&newest(&made.options.dir, "state-"));
        let running = made.opens_damaged("the newest state");
        assert_eq!(running.waiting_ids("bob")[..41], ids(&made.sent));
        is_told_once(running);
    }
}

#[test]
fn an_empty_state_is_no_reason_to_give_up_the_one_before_it() {
    let made = made();
    let state = newest(&made.options.dir, "state-");
    let empty = made.options.dir.join("state-2");
    fs::create_dir(&empty).unwrap();
    for file in fs::read_dir(&state).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() && file.file_name() != "db" {
            fs::copy(file.path(), empty.join(file.file_name())).unwrap();
        }
    }
    fs::write(made.options.dir.join("CURRENT"), "2\n").unwrap();
    assert!(!tidings::store::fsck(&made.options.dir, &mut |_, _| {}).unwrap().sound);
    let running = made.opens_damaged("the newest state");
    assert_eq!(running.waiting_ids("bob")[..41], ids(&made.sent));
    assert_eq!(fs::read_to_string(made.options.dir.join("CURRENT")).unwrap(), "1\n");
    is_told_once(running);
}

#[test]
fn a_current_file_that_is_missing_or_garbage_costs_nothing() {
    for content in [None, Some("garbage"), Some("")] {
        let made = made();
        let current = made.options.dir.join("CURRENT");
        match content {
            Some(content) => fs::write(&current, content).unwrap(),
            None => fs::remove_file(&current).unwrap(),
        }
        let mut running = Running::open_in(made.options.clone());
        assert_eq!(running.store.report().damage, [""; 0]);
        assert_eq!(running.store.epoch(), made.epoch);
        assert_eq!(running.waiting_ids("bob"), ids(&made.sent));
        assert_eq!(running.send("alice", "bob", "on").sequence, made.last().sequence + 1);
        assert_eq!(fs::read_to_string(&current).unwrap(), "1\n");
    }
}

#[test]
fn a_wiped_folder_begins_a_new_log() {
    let made = made();
    fs::remove_dir_all(&made.options.dir).unwrap();
    let mut running = Running::open_in(made.options.clone());
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_ne!(running.store.epoch(), made.epoch);
    assert_eq!(running.waiting_ids("bob"), [] as [MessageId; 0]);
    assert_eq!(running.send("alice", "bob", "first").sequence, 1);
}
