//! Backups: a copy is the store as it was at one moment, and a start on one goes on from there
//! without using anything twice.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tidings::limits::{BACKUP_PART_BYTES, RECORD_BYTES_MAX};
use tidings::metrics::Metrics;
use tidings::store::{
    BackupError, Findings, HistoryOf, OpenError, Options, Receiving, Stage, Store, copy_stopped,
    fsck, is_in_use,
};

use super::folders::listing;
use super::harness::{Running, conversation, ids, peer};

/// An empty place for a copy.
fn target() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy");
    (folder, path)
}

/// All parts of a backup's stream; `between` is done behind each.
fn parts(running: &mut Running, mut between: impl FnMut(&mut Running)) -> Vec<Vec<u8>> {
    let mut backup = running.block_on(running.store.backup()).unwrap().unwrap();
    let mut parts = Vec::new();
    while let Some(part) = running.block_on(backup.next()).unwrap() {
        let most = BACKUP_PART_BYTES + RECORD_BYTES_MAX + 1_000;
        assert!(part.len() <= most, "{} bytes at once", part.len());
        parts.push(part.to_vec());
        between(running);
    }
    parts
}

/// Makes a copy of a store that runs.
fn back_up(running: &mut Running, to: &Path) {
    let mut receiving = Receiving::begin(to, None).unwrap();
    for part in parts(running, |_| {}) {
        receiving.take(&part).unwrap();
    }
    receiving.finish().unwrap();
}

fn look_at(folder: &Path) -> Findings {
    fsck(folder, &mut |_, _| {}).unwrap()
}

fn open_copy(running: &Running, dir: &Path) -> Running {
    Running::open_in(Options { dir: dir.to_owned(), ..running.options.clone() })
}

#[test]
fn a_copy_of_a_store_that_changes_meanwhile_is_the_store_at_one_moment() {
    let mut running = Running::new();
    let names: Vec<String> = (0..60).map(|number| format!("peer {number}")).collect();
    for name in &names {
        running.open(name, "phone");
        let body = vec![b'x'; 900];
        running.send_all("alice", name, &vec![body; 20]);
    }
    // More than one part of the stream, so that rows change before, at and behind where it is.
    running.settle();
    let mut round = 0;
    let (_folder, copy) = target();
    let mut receiving = Receiving::begin(&copy, None).unwrap();
    let mut before = Vec::new();
    let mut all = Vec::new();
    for part in parts(&mut running, |running| {
        round += 1;
        for name in names.iter().step_by(7) {
            let sent = running.send("alice", name, &format!("round {round}"));
            all.push((name.clone(), sent));
        }
        if round % 2 == 0 {
            let waiting = running.waiting_ids(&names[3]);
            running.ack(&names[3], "phone", waiting[0]);
        }
        running.settle();
        if round == 1 {
            before.clone_from(&all);
        }
    }) {
        receiving.take(&part).unwrap();
    }
    assert!(round > 4, "it came in {round} parts");
    let copied = receiving.finish().unwrap();
    let found = look_at(&copy);
    assert!(found.sound, "{:?} {:?}", found.damage, found.lost);
    assert_eq!(found.backup, Some(Stage::Complete));

    let restored = open_copy(&running, &copy);
    assert_eq!(restored.store.report().damage, [""; 0]);
    let head = copied.head.unwrap();
    for name in &names {
        let of = HistoryOf::Conversation(conversation("alice", name));
        let here = running.history(&of, 50);
        let here: Vec<_> = here.into_iter().filter(|message| message.id <= head).collect();
        let there = restored.history(&of, 50);
        assert_eq!(there, here, "{name}");
        let waits: Vec<_> = restored.waiting(name);
        assert!(waits.iter().all(|message| here.contains(message)), "{name}");
        if *name != names[3] {
            assert_eq!(waits.len(), here.len(), "{name}");
        }
    }
    for (name, sent) in before {
        assert!(sent.id <= head, "{name} was acknowledged before the moment");
    }
}

#[test]
fn a_start_on_a_copy_begins_a_new_epoch_once_and_reuses_nothing() {
    let mut running = Running::new();
    let sent = running.send_many("alice", "bob", 30);
    let (_folder, copy) = target();
    back_up(&mut running, &copy);
    // What the server does behind the copy: the same must not be done again.
    let later = running.send("alice", "bob", "behind the copy");
    let mut restored = open_copy(&running, &copy);
    assert_eq!(restored.store.report().damage, [""; 0]);
    assert_eq!(restored.metrics.damaged_records.get(), 0);
    let epoch = restored.store.epoch();
    assert_ne!(epoch, running.store.epoch());
    assert_eq!(restored.waiting_ids("bob"), ids(&sent));
    let next = restored.send("alice", "bob", "in the copy");
    assert!(next.id > later.id && next.sequence > later.sequence, "{next:?} {later:?}");
    restored.store.close();
    drop(restored);
    assert_eq!(look_at(&copy).backup, None);
    let mut restored = open_copy(&running, &copy);
    assert_eq!(restored.store.epoch(), epoch, "one new epoch, not one for each start");
    assert_eq!(restored.send("alice", "bob", "on").sequence, next.sequence + 1);
}

#[test]
fn a_copy_has_what_is_closed_what_closes_and_what_is_open() {
    let mut running = Running::with_small_segments();
    let mut sent = Vec::new();
    for _ in 0..4 {
        for _ in 0..20 {
            sent.push(running.send("alice", "bob", "a commit of its own"));
        }
    }
    let (_folder, copy) = target();
    back_up(&mut running, &copy);
    assert!(listing(&copy.join("log")).len() > 2);
    let found = look_at(&copy);
    assert!(found.sound, "{:?} {:?}", found.damage, found.lost);
    let restored = open_copy(&running, &copy);
    let mut expected = ids(&sent);
    expected.reverse();
    let history = restored.history(&HistoryOf::Sender(peer("alice")), 50);
    assert_eq!(history.iter().map(|message| message.id).collect::<Vec<_>>(), expected);
}

#[test]
fn a_copy_that_was_cut_is_known_as_one_and_no_server_starts_on_it() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    let stream: Vec<u8> = parts(&mut running, |_| {}).concat();
    for cut in [0, 1, stream.len() / 2, stream.len() - 1] {
        let (_folder, copy) = target();
        let mut receiving = Receiving::begin(&copy, None).unwrap();
        receiving.take(&stream[..cut]).unwrap();
        assert!(matches!(receiving.finish(), Err(BackupError::Ended)), "at {cut}");
        let found = look_at(&copy);
        assert_eq!((found.sound, found.backup), (false, Some(Stage::Incomplete)));
        let options = Options { dir: copy.clone(), ..running.options.clone() };
        let opened = Store::<u64>::open(options, Arc::new(Metrics::new()), |_, _| {});
        assert!(matches!(opened.err(), Some(OpenError::Incomplete(_))), "at {cut}");
        let (_other, other) = target();
        let again = copy_stopped(&copy, &other, &mut |_, _| {});
        assert!(matches!(again, Err(BackupError::Cut(_))));
    }
}

#[test]
fn a_changed_byte_of_the_stream_is_no_part_of_a_copy() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    let stream: Vec<u8> = parts(&mut running, |_| {}).concat();
    for at in (0..stream.len()).step_by(stream.len() / 40) {
        let (_folder, copy) = target();
        let mut receiving = Receiving::begin(&copy, None).unwrap();
        let mut bytes = stream.clone();
        bytes[at] ^= 0x40;
        let taken = receiving.take(&bytes);
        assert!(taken.is_err() || receiving.finish().is_err(), "byte {at}");
    }
}

#[test]
fn a_copy_goes_into_a_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("something"), b"else").unwrap();
    let begun = Receiving::begin(folder.path(), None);
    assert!(matches!(begun.err(), Some(BackupError::NotEmpty(_))));
    assert_eq!(listing(folder.path()).len(), 1, "nothing was touched");
}

#[test]
fn nobody_else_may_look_into_a_copy_whoever_made_its_folder() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    let (_folder, copy) = target();
    std::fs::create_dir(&copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    back_up(&mut running, &copy);
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn there_is_one_backup_at_a_time_and_one_that_is_given_up_makes_room() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    let mut first = running.block_on(running.store.backup()).unwrap().unwrap();
    running.block_on(first.next()).unwrap();
    assert!(running.block_on(running.store.backup()).unwrap().is_none());
    drop(first);
    let (_folder, copy) = target();
    back_up(&mut running, &copy);
    assert!(look_at(&copy).sound);
}

#[test]
fn a_backup_that_is_given_up_at_its_moment_takes_nothing_from_the_next() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    for _ in 0..10 {
        let mut given_up = running.block_on(running.store.backup()).unwrap().unwrap();
        // The plan and the rows; then it asks for the moment, and is gone before the answer.
        for _ in 0..2 {
            running.block_on(given_up.next()).unwrap();
        }
        running.block_on(async {
            tokio::select! {
                biased;
                _ = given_up.next() => {}
                () = std::future::ready(()) => {}
            }
        });
        drop(given_up);
        let (_folder, copy) = target();
        back_up(&mut running, &copy);
    }
}

#[test]
fn the_folder_of_a_store_that_stopped_is_copied_as_it_is() {
    let mut running = Running::new();
    let sent = running.send_many("alice", "bob", 30);
    let (_folder, copy) = target();
    let dir = running.dir().to_owned();
    assert!(is_in_use(&dir).unwrap());
    let refused = copy_stopped(&dir, &copy, &mut |_, _| {});
    assert!(matches!(refused, Err(BackupError::InUse(_))));
    running.store.close();
    let epoch = running.store.epoch();
    running = running.restart();
    running.store.close();
    while is_in_use(&dir).unwrap() {
        std::thread::yield_now();
    }
    std::fs::create_dir(dir.join("keys")).unwrap();
    std::fs::write(dir.join("keys/secret"), b"geheim").unwrap();
    std::fs::write(dir.join("keys/connections"), b"who is connected").unwrap();
    let mut heard = (0, 0);
    let copied = copy_stopped(&dir, &copy, &mut |done, total| heard = (done, total)).unwrap();
    assert!(copied.has_keys && copied.segments > 0 && heard.0 == heard.1 && heard.0 > 0);
    assert_eq!(std::fs::read(copy.join("keys/secret")).unwrap(), b"geheim");
    assert_eq!(listing(&copy.join("keys")), [copy.join("keys/secret")]);
    assert!(look_at(&copy).sound);
    let restored = open_copy(&running, &copy);
    assert_ne!(restored.store.epoch(), epoch);
    assert_eq!(restored.waiting_ids("bob"), ids(&sent));
}

#[test]
fn a_copy_never_goes_into_what_it_is_a_copy_of() {
    let mut running = Running::new();
    running.send_many("alice", "bob", 5);
    let dir = running.dir().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    let targets = [
        dir.join("copy"),
        dir.join("log/deep/copy"),
        link.join("copy"),
        elsewhere.path().join("not there/../link/copy"),
    ];
    let before = listing(&dir);
    for target in &targets {
        let begun = Receiving::begin(target, Some(&dir)).err();
        assert!(matches!(begun, Some(BackupError::Inside(_))), "{begun:?}");
    }
    assert_eq!(listing(&dir), before, "nothing is left of what was refused");
    running.store.close();
    while is_in_use(&dir).unwrap() {
        std::thread::yield_now();
    }
    for target in &targets {
        let copied = copy_stopped(&dir, target, &mut |_, _| {}).err();
        assert!(matches!(copied, Some(BackupError::Inside(_))), "{copied:?}");
    }
    let beside = elsewhere.path().join("copy");
    copy_stopped(&link, &beside, &mut |_, _| {}).unwrap();
    assert!(look_at(&beside).sound);
}
