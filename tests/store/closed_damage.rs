//! Damaged files of closed segments: what is whole of one is written anew, and the rest is told.

use std::fs::{self, OpenOptions};
use std::path::Path;

use tidings::id::MessageId;
use tidings::store::HistoryOf;

use super::damage::{
    first_file, flip, history_len, is_told_once, last_place_of, made, newest, written_last,
};
use super::harness::{Running, Sent, conversation, ids, look, peer, segments_as};

/// Every message of Alice's that history has, newest first, whichever way it is asked for.
fn history_ids(running: &Running) -> Vec<MessageId> {
    let ids = |of| running.history(&of, 7).iter().map(|message| message.id).collect::<Vec<_>>();
    let found = ids(HistoryOf::Sender(peer("alice")));
    assert_eq!(ids(HistoryOf::Conversation(conversation("alice", "bob"))), found);
    assert_eq!(ids(HistoryOf::App), found);
    found
}

fn newest_first(sent: &[Sent]) -> Vec<MessageId> {
    let mut ids = ids(sent);
    ids.reverse();
    ids
}

#[test]
fn a_file_whose_end_is_damaged_is_written_anew_and_costs_nothing() {
    for back in [1, 50, 106] {
        let made = made();
        let file = first_file(&made.options.dir);
        flip(&file, fs::metadata(&file).unwrap().len() - back);
        let mut running = made.opens_damaged("segment 1 is damaged, and written anew");
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(file.with_file_name(format!("damaged-{name}")).exists());
        assert_eq!(history_len(&running), 41 + 1);
        running.until_closed();
        assert_eq!(history_len(&running), 41 + 1);
        assert!(file.exists());
        is_told_once(running);
    }
}

#[test]
fn a_file_that_was_cut_off_costs_what_stood_behind_the_cut() {
    let made = made();
    let file = first_file(&made.options.dir);
    let at = last_place_of(&file, b"the last commit of the first run");
    OpenOptions::new().write(true).open(&file).unwrap().set_len(at).unwrap();
    let running = made.opens_damaged("segment 1: what stood behind");
    // The second segment begins with the last commit of the first.
    assert_eq!(history_len(&running), 41 + 1);
    is_told_once(running);

    let other = super::damage::made();
    let file = first_file(&other.options.dir);
    OpenOptions::new().write(true).open(&file).unwrap().set_len(100).unwrap();
    let running = other.opens_damaged("segment 1 cannot be opened");
    assert_eq!(history_len(&running), 1 + 21 + 1);
    is_told_once(running);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_set_aside() {
    let made = made();
    let file = first_file(&made.options.dir);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let running = made.opens_damaged("segment 1 cannot be opened");
    assert_eq!(history_len(&running), 1 + 21 + 1);
    is_told_once(running);
}

#[test]
fn a_damaged_record_of_a_file_costs_that_record() {
    let made = made();
    let file = first_file(&made.options.dir);
    flip(&file, last_place_of(&file, b"the last commit of the first run"));
    let mut running = Running::open_in(made.options.clone());
    // Until it is a file, the next segment has a copy of that commit.
    running.until_closed();
    assert_eq!(running.store.report().damage, [""; 0]);
    let mut expected = newest_first(&made.sent);
    expected.remove(21);
    assert_eq!(history_ids(&running), expected);
    until_mended(&mut running, &file);
    assert_eq!(running.metrics.damaged_records.get(), 1);
    assert_eq!(history_ids(&running), expected);
    let copied = running.block_on(running.store.message(made.sent[19].id)).unwrap();
    assert!(copied.is_some(), "the next segment begins with the last commit of this one");
    assert!(running.block_on(running.store.message(made.sent[0].id)).unwrap().is_some());
    is_told_once(running);
}

/// Waits until what is whole of a closed segment has been written anew. It has its name all along.
fn until_mended(running: &mut Running, file: &Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let aside = file.with_file_name(format!("damaged-{name}"));
    running.until("a damaged segment is written anew", |_| {
        assert!(file.exists(), "a reader would not find it");
        aside.exists() && !file.with_extension("open").exists()
    });
    assert_ne!(fs::read(&aside).unwrap(), fs::read(file).unwrap());
}

#[test]
fn a_damaged_table_of_a_file_is_made_anew_when_somebody_comes_upon_it() {
    // Behind the footer come, from the end, the tables of places, subjects and records: a block
    // each.
    for blocks in 1..=3 {
        let made = made();
        let file = first_file(&made.options.dir);
        flip(&file, fs::metadata(&file).unwrap().len() - 106 - 4096 * blocks);
        let mut running = Running::open_in(made.options.clone());
        assert_eq!(running.store.report().damage, [""; 0]);
        running.history(&HistoryOf::App, 7);
        until_mended(&mut running, &file);
        assert_eq!(history_ids(&running), newest_first(&made.sent));
        assert_eq!(running.metrics.damaged_records.get(), 1);
        is_told_once(running);
    }
}

#[test]
fn a_file_with_any_byte_changed_never_stops_a_start_and_makes_nothing_up() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..8 {
        let made = made();
        let file = first_file(&made.options.dir);
        let bytes = fs::metadata(&file).unwrap().len();
        flip(&file, random.u64(..bytes));
        // The state is rebuilt by reading all of it.
        fs::remove_dir_all(newest(&made.options.dir, "state-")).unwrap();
        let running = Running::open_in(made.options.clone());
        let found = history_ids(&running);
        assert!(found.len() >= 21 && found.iter().all(|id| ids(&made.sent).contains(id)));
        running.store.close();
    }
}

#[test]
fn what_a_kill_leaves_while_a_file_is_written_is_done_again() {
    let made = made();
    let file = first_file(&made.options.dir);
    let before = file.with_extension("open");
    let half = written_last(&made.options.dir).with_extension("new");
    fs::write(&half, b"half a file").unwrap();
    // The file has its name, but the one that it was is still there.
    fs::write(&before, b"what it was").unwrap();
    let running = Running::open_in(made.options.clone());
    assert!(!half.exists() || fs::read(&half).unwrap() != b"half a file");
    assert!(!before.exists());
    assert_eq!(running.store.report().damage, [""; 0]);
    assert_eq!(running.store.epoch(), made.epoch);
    assert_eq!(history_ids(&running), newest_first(&made.sent));
}

#[test]
fn a_damaged_file_costs_nothing_while_the_one_that_it_was_is_still_there() {
    let mut running = Running::new();
    let sent = running.send_many("alice", "bob", 20);
    // A crash, and one that comes when the file has its name and the one it was is still there.
    let (_folder, options) = running.crashed();
    let (_other, other) = running.crashed();
    let mut closed = Running::open_in(options);
    let file = closed.until_closed().remove(0);
    let first = segments_as(&other.dir, &["open"]).remove(0);
    fs::write(first.with_extension("segment"), &fs::read(file).unwrap()[1..]).unwrap();
    let mut running = Running::open_in(other);
    assert!(running.store.report().damage[0].contains("cannot be opened"));
    assert_eq!(history_ids(&running), newest_first(&sent));
    running.until_closed();
    assert_eq!(history_ids(&running), newest_first(&sent));
}

#[test]
fn the_files_of_a_log_outlast_the_loss_of_the_state_and_are_replayed() {
    let made = made();
    fs::remove_dir_all(newest(&made.options.dir, "state-")).unwrap();
    let running = Running::open_in(made.options.clone());
    assert_eq!(running.waiting_ids("bob"), ids(&made.sent));
    let page = running.block_on(running.store.history(look(&HistoryOf::App))).unwrap();
    assert_eq!(page.messages.len(), 41);
    assert!(running.store.report().replayed > 41);
}
