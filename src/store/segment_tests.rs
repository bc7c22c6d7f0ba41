//! What the file of a segment gives back, whatever has happened to it.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::id::PeerId;
use crate::store::closed_tests::is_golden;
use crate::store::entry::Entry;
use crate::store::record::{Header, RecordWriter};

/// Where the first frame begins.
const START: usize = HEADER_BYTES as usize;

/// A record of one entry with some bytes in it.
fn record(first: i64, commit: i64, before: i64, content: &[u8]) -> Vec<u8> {
    let mut writer = RecordWriter::default();
    let peer = PeerId::new("alice").unwrap();
    let nonce = Bytes::copy_from_slice(content);
    writer.push(MessageId(first), &Entry::Nonce { peer, nonce, expires_ms: 0 });
    let [first, commit, before] = [first, commit, before].map(MessageId);
    writer.finish(Header { epoch: 7, first, before, commit, at_ms: 1_000, count: 1 })
}

fn content(first: i64) -> Vec<u8> {
    format!("the content of {first:03}").into_bytes()
}

/// A file of records with the ids 1, 2, ..., each in the commit that `commits` says.
fn file(commits: &[i64]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
    for (first, commit) in (1..).zip(commits) {
        let record = record(first, *commit, first - 1, &content(first));
        segment.append(MessageId(first), &record).unwrap();
    }
    segment.sync().unwrap();
    cut_room(&segment);
    let path = segment.path.clone();
    (folder, path)
}

/// Takes the zeroes away that the file is long ahead.
fn cut_room(segment: &Segment) {
    OpenOptions::new().write(true).open(&segment.path).unwrap().set_len(segment.bytes()).unwrap();
}

/// The ids that are found, and whether something before them, or behind them, cannot be read.
fn found(folder: &TempDir) -> (Vec<i64>, bool, bool) {
    let file = File::open(Segment::path(folder.path(), 1)).unwrap();
    let bytes = file.metadata().unwrap().len();
    match scan::scan(&file, bytes, MessageId::NONE).unwrap() {
        Some(Scanned { rows, is_damaged, is_torn, .. }) => {
            (rows.iter().map(|row| row.first.0).collect(), is_damaged, is_torn)
        }
        None => (Vec::new(), false, false),
    }
}

#[test]
fn what_was_appended_is_read_again_and_found_by_any_of_its_ids() {
    let (folder, _) = file(&[1, 2, 3]);
    let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
    assert!(!segment.is_damaged && !segment.is_blank);
    let record_2 = record(2, 2, 1, &content(2));
    assert_eq!(segment.record(MessageId(2)).unwrap(), Some(record_2));
    assert_eq!(segment.record(MessageId(0)).unwrap(), None);
    assert_eq!(segment.begin_of(MessageId(9)), MessageId(3));
    let ids = segment.records(MessageId(2)).map(|record| record.unwrap().0.0);
    assert_eq!(ids.collect::<Vec<_>>(), [2, 3]);
    let record_4 = record(4, 4, 3, b"more");
    segment.append(MessageId(4), &record_4).unwrap();
    assert_eq!(found(&folder), (vec![1, 2, 3, 4], false, false));
}

#[test]
fn the_room_ahead_is_no_damage_and_a_segment_that_has_nothing_else_is_written_to() {
    let (folder, path) = file(&[1, 2]);
    let whole = fs::read(&path).unwrap();
    for records in [0, 1, 2] {
        let end = START + (whole.len() - START) / 2 * records;
        fs::write(&path, [&whole[..end], &[0; 3_000_000]].concat()).unwrap();
        let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
        assert_eq!((segment.is_blank, segment.is_damaged), (records == 0, false));
        let first = records as i64 + 1;
        segment.append(MessageId(first), &record(first, first, first - 1, b"on")).unwrap();
        assert_eq!(found(&folder), ((1..=first).collect(), false, false));
    }
}

#[test]
fn a_changed_byte_costs_the_record_it_is_in_and_no_other() {
    let (folder, path) = file(&[1, 2, 3, 4, 5]);
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - START) / 5;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        let hit = at.checked_sub(START).map(|at| (at / frame) as i64 + 1);
        let others = (1..=5).filter(|id| Some(*id) != hit).collect();
        let is_header = at < 16 || (4096..START).contains(&at);
        let (is_damaged, is_torn) = (is_header || hit.is_some_and(|hit| hit < 5), hit == Some(5));
        assert_eq!(found(&folder), (others, is_damaged, is_torn), "byte {at}");
    }
}

#[test]
fn a_file_that_is_cut_off_gives_back_what_stands_before_the_cut() {
    let (folder, path) = file(&[1, 2, 3]);
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - START) / 3;
    for len in START..=whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let records = (len - START) / frame;
        let (ids, is_damaged, is_torn) = found(&folder);
        assert_eq!(ids, (1..=records as i64).collect::<Vec<_>>(), "{len} bytes");
        let rest = &whole[START + records * frame..len];
        assert!(!is_damaged && is_torn == rest.iter().any(|byte| *byte != 0), "{len} bytes");
    }
}

#[test]
fn of_a_commit_that_was_not_synced_nothing_behind_a_hole_is_found() {
    for (hole, expected) in [(3, vec![1, 2]), (4, vec![1, 2, 3]), (5, vec![1, 2, 3, 4])] {
        let (folder, path) = file(&[1, 2, 3, 3, 3]);
        let mut bytes = fs::read(&path).unwrap();
        let frame = (bytes.len() - START) / 5;
        bytes[START + (hole - 1) * frame..][..frame].fill(0);
        fs::write(&path, bytes).unwrap();
        // Zeroes at the end are room that nothing was written to.
        assert_eq!(found(&folder), (expected, false, hole < 5), "a hole at {hole}");
    }
}

#[test]
fn a_message_that_looks_like_a_frame_is_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
    let forged = record(9, 9, 1, b"forged");
    let frame = [&scan::frame_header([7; 8], forged.len() as u32)[..], &forged].concat();
    for first in 1..=3 {
        segment.append(MessageId(first), &record(first, first, first - 1, &frame)).unwrap();
    }
    cut_room(&segment);
    let mut bytes = fs::read(&segment.path).unwrap();
    let second = START + (bytes.len() - START) / 3;
    bytes[second] ^= 1;
    fs::write(&segment.path, bytes).unwrap();
    assert_eq!(found(&folder), (vec![1, 3], true, false));
}

#[test]
fn frames_are_found_again_behind_more_garbage_than_a_window_holds() {
    let (folder, path) = file(&[1, 2, 3]);
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - START) / 3;
    let (head, tail) = whole.split_at(START + frame);
    for garbage in [0, 1, 1_048_560, 1_048_576, 3_000_001] {
        let bytes = [head, &vec![0xA5; garbage], tail].concat();
        fs::write(&path, bytes).unwrap();
        assert_eq!(found(&folder), (vec![1, 2, 3], garbage > 0, false), "{garbage} bytes");
    }
}

#[test]
fn a_sector_that_is_lost_costs_what_is_in_it() {
    let (folder, path) = file(&(1..=100).collect::<Vec<_>>());
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - START) / 100;
    for sector in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[sector * 4096..][..4096].fill(0xA5);
        fs::write(&path, bytes).unwrap();
        let is_hit = |record: usize| {
            let (start, lost) = (START + (record - 1) * frame, sector * 4096);
            start < lost + 4096 && start + frame > lost
        };
        let others = (1..=100).filter(|record| !is_hit(*record)).map(|record| record as i64);
        assert_eq!(found(&folder).0, others.collect::<Vec<_>>(), "sector {sector}");
    }
}

#[test]
fn what_is_known_to_have_been_synced_is_found_behind_a_hole() {
    let (folder, path) = file(&[1, 2, 2, 2]);
    let mut bytes = fs::read(&path).unwrap();
    let frame = (bytes.len() - START) / 4;
    bytes[START + 2 * frame] ^= 1;
    fs::write(&path, bytes).unwrap();
    for (head, expected) in [(1, 2), (4, 3)] {
        let segment = Segment::open(folder.path(), 1, MessageId(head)).unwrap();
        assert_eq!(segment.records(MessageId::NONE).count(), expected, "up to {head}");
    }
}

#[test]
fn a_record_of_one_byte_too_many_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
    let error = segment.append(MessageId(1), &vec![7; RECORD_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, DatabaseError::Disk { action: "write", .. }), "{error:?}");
    assert_eq!(segment.bytes(), HEADER_BYTES);
    segment.append(MessageId(1), &vec![7; RECORD_BYTES_MAX]).unwrap();
}

#[test]
fn a_file_of_something_else_is_no_segment() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(Segment::path(folder.path(), 1), [3; 5_000]).unwrap();
    let error = Segment::open(folder.path(), 1, MessageId::NONE).unwrap_err();
    assert!(matches!(error, DatabaseError::Value { .. }), "{error:?}");
}

#[test]
fn a_frame_that_was_half_written_is_torn_and_costs_what_was_not_finished() {
    let (folder, path) = file(&[1, 2, 3]);
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - START) / 3;
    let last = START + 2 * frame;
    // Its mark is enough to be no room.
    for written in 8..frame {
        fs::write(&path, [&whole[..last + written], &[0; 100_000]].concat()).unwrap();
        let is_whole = whole[last + written..].iter().all(|byte| *byte == 0);
        let expected = if is_whole { vec![1, 2, 3] } else { vec![1, 2] };
        assert_eq!(found(&folder), (expected, false, !is_whole), "{written} bytes of it");
    }
    // What is appended next takes its place.
    fs::write(&path, [&whole[..last + frame / 4], &[0; 100_000]].concat()).unwrap();
    let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
    assert!(segment.is_torn && !segment.is_damaged && !segment.is_blank);
    segment.append(MessageId(3), &record(3, 3, 2, &content(3))).unwrap();
    assert_eq!(found(&folder), (vec![1, 2, 3], false, false));
}

/// A file of which the disk cannot read some pages.
struct Broken {
    file: File,
    pages: Vec<u64>,
}

impl scan::ReadAt for Broken {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let range = at / 4096..(at + bytes.len() as u64).div_ceil(4096);
        match self.pages.iter().any(|page| range.contains(page)) {
            true => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            false => self.file.read_exact_at(bytes, at),
        }
    }
}

#[test]
fn a_page_that_the_disk_cannot_read_costs_what_is_in_it() {
    let (_folder, path) = file(&(1..=100).collect::<Vec<_>>());
    let bytes = fs::metadata(&path).unwrap().len();
    let frame = (bytes as usize - START) / 100;
    for page in 0..bytes.div_ceil(4096) {
        let broken = Broken { file: File::open(&path).unwrap(), pages: vec![page] };
        let scanned = scan::scan(&broken, bytes, MessageId(100)).unwrap().unwrap();
        let is_hit = |record: usize| {
            let (start, lost) = (START + (record - 1) * frame, page as usize * 4096);
            start < lost + 4096 && start + frame > lost
        };
        let others = (1..=100).filter(|record| !is_hit(*record)).map(|record| record as i64);
        let found: Vec<i64> = scanned.rows.iter().map(|row| row.first.0).collect();
        assert_eq!(found, others.collect::<Vec<_>>(), "page {page}");
        assert_eq!(scanned.unreadable, [page * 4096]);
        assert!(scanned.is_damaged || scanned.is_torn);
    }
    let broken = Broken { file: File::open(&path).unwrap(), pages: vec![0, 1] };
    assert!(scan::scan(&broken, bytes, MessageId::NONE).unwrap().is_none(), "both headers");
}

#[test]
fn a_page_behind_the_last_record_that_the_disk_cannot_read_is_not_taken_for_room() {
    let (_folder, path) = file(&[1, 2, 3]);
    let bytes = 64 * 1024;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes).unwrap();
    let broken = Broken { file: File::open(&path).unwrap(), pages: vec![9] };
    let scanned = scan::scan(&broken, bytes, MessageId::NONE).unwrap().unwrap();
    assert_eq!((scanned.rows.len(), scanned.is_torn, scanned.is_damaged), (3, true, false));
    assert_eq!(scanned.lost_at, None, "nothing was written there");
}

#[test]
fn what_the_disk_cannot_read_behind_the_last_record_is_lost_and_not_torn() {
    let (_folder, path) = file(&(1..=100).collect::<Vec<_>>());
    let written = fs::metadata(&path).unwrap().len();
    let frame = (written - HEADER_BYTES) / 100;
    let bytes = written + 1024 * 1024;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes).unwrap();
    let last_page = (written - 1) / 4096;
    for (pages, lost) in [
        (vec![last_page], Some(last_page * 4096)),
        (vec![last_page - 1, last_page], Some((last_page - 1) * 4096)),
        // Records stand behind it, or nothing was written to it.
        (vec![2], None),
        (vec![last_page + 2], None),
    ] {
        let broken = Broken { file: File::open(&path).unwrap(), pages: pages.clone() };
        let scanned = scan::scan(&broken, bytes, MessageId(100)).unwrap().unwrap();
        assert_eq!(scanned.lost_at, lost, "pages {pages:?}");
        assert!(scanned.end + frame > lost.unwrap_or(0), "the records before it are found");
    }
    let (_folder, path) = file(&[1]);
    let broken = Broken { file: File::open(&path).unwrap(), pages: vec![1] };
    let bytes = fs::metadata(&path).unwrap().len();
    let scanned = scan::scan(&broken, bytes, MessageId::NONE).unwrap().unwrap();
    assert_eq!((scanned.rows.len(), scanned.lost_at), (0, Some(4096)));
}

#[test]
fn an_open_segment_has_the_bytes_it_has_always_had() {
    let folder = tempfile::tempdir().unwrap();
    let header = scan::file_header([0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7]);
    let mut bytes = vec![0; START + 4096];
    bytes[..16].copy_from_slice(&header);
    bytes[4096..START].copy_from_slice(&header);
    fs::write(Segment::path(folder.path(), 1), bytes).unwrap();
    let segment = Segment::open(folder.path(), 1, MessageId::NONE).unwrap();
    for first in 1..=3 {
        let record = record(first, first, first - 1, &content(first));
        segment.append(MessageId(first), &record).unwrap();
    }
    cut_room(&segment);
    is_golden("open-segment.hex", &fs::read(&segment.path).unwrap());
}

proptest! {
    #[test]
    fn no_bytes_make_a_start_panic_or_find_what_was_not_written(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let (folder, path) = file(&[1, 2, 2, 4, 5, 5]);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        fs::write(&path, bytes).unwrap();
        let Ok(segment) = Segment::open(folder.path(), 1, MessageId::NONE) else { return Ok(()) };
        for found in segment.records(MessageId::NONE) {
            let (MessageId(first), bytes) = found.unwrap();
            let (commit, content) = ([1, 2, 2, 4, 5, 5][first as usize - 1], content(first));
            prop_assert_eq!(bytes, record(first, commit, first - 1, &content));
        }
    }
}
