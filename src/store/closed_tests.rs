//! A closed segment's file answers as the database did that it was, has the bytes that it has
//! always had, and no bytes in it make a reader panic.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

use super::catalog::{Catalog, OpenSegment};
use super::closed::Closed;
use super::entry::{Entry, Message, Origin, SendNumber};
use super::history::Look;
use super::index::{HistoryOf, OpenIndex, Place};
use super::log::place;
use super::record::{Header, RecordWriter};
use super::rewrite::rewrite;
use super::segment::Segment;
use crate::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId};

const AT_MS: i64 = 1_767_225_600_000;
const ID: i64 = 0x0400_0000_0000_0001;

fn peer(number: u8) -> PeerId {
    PeerId::new(&format!("peer-{number}")).unwrap()
}

fn conversation(number: u8) -> ConversationId {
    match number.is_multiple_of(3) {
        true => ConversationId::Group(GroupId([number; 12])),
        false => ConversationId::of_peers([&peer(number), &peer(100)]),
    }
}

fn message(id: i64, at_ms: i64, from: u8, of: u8) -> Message {
    Message {
        id: MessageId(id),
        sequence: 42,
        at_ms,
        expires_ms: 0,
        conversation: conversation(of),
        from: peer(from),
        to: vec![peer(100)],
        devices: Vec::new(),
        receipt: false,
        client_msg_no: "no".into(),
        body: vec![b'b'; 3].into(),
    }
}

/// Commits, each with its time, and of each message who sent it and to what.
type Commits = Vec<(i64, Vec<(u8, u8)>)>;

/// Segments in memory, one for each part of the commits, and all their messages.
fn segments(folder: &Path, parts: &[Commits]) -> (Vec<OpenSegment>, Vec<Message>) {
    let (mut next, mut before, mut all) = (ID, MessageId::NONE, Vec::new());
    let mut segments = Vec::new();
    let mut newest = BTreeMap::new();
    for (number, commits) in (1..).zip(parts) {
        let segment = Segment::open(folder, number, MessageId::NONE).unwrap();
        let index = OpenIndex::default();
        for (at_ms, messages) in commits {
            let mut writer = RecordWriter::default();
            let first = MessageId(next);
            // Not all that is in a record is a message.
            writer.push(first, &Entry::Started { run: 1 });
            let mut places = Vec::new();
            for (from, of) in messages {
                next += 1;
                let message = message(next, *at_ms, *from, *of);
                all.push(message.clone());
                let device = DeviceId::new("phone").unwrap();
                let send = SendNumber { device, instance: 9, number: 7, answered: 7 };
                let origin = Origin::Client(send);
                let (push, absent) = Default::default();
                let message = message.into();
                let entry = Entry::Message { message, origin, hash: 0, push, absent };
                let newest = newest.entry(*of).or_insert((number, 0));
                if newest.0 != number {
                    *newest = (number, newest.0);
                }
                places.extend(place(&entry, newest.1));
                writer.push(MessageId(next), &entry);
            }
            let (epoch, commit) = (1, first);
            let count = writer.count() as u32;
            let header = Header { epoch, first, before, commit, at_ms: *at_ms, count };
            segment.append(first, &writer.finish(header)).unwrap();
            index.extend(*at_ms, places);
            before = first;
            next += 7;
        }
        segments.push(OpenSegment { segment, index });
    }
    (segments, all)
}

/// A catalog of these, all in memory but the last, which is open; and one of their files.
struct Forms {
    memory: Catalog,
    files: Catalog,
    all: Vec<Message>,
    _folder: TempDir,
}

impl Forms {
    fn new(parts: &[Commits]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut segments, all) = segments(folder.path(), parts);
        let number = segments.len() as u32 + 1;
        let mut closed = BTreeMap::new();
        for segment in &segments {
            let rewritten = rewrite(folder.path(), segment, &mut || {}).unwrap();
            assert!(!rewritten.lost);
            closed.insert(rewritten.closed.number, Arc::new(rewritten.closed));
        }
        let last = Arc::new(segments.pop().unwrap());
        let memory = Catalog::new(folder.path().to_owned(), last, BTreeMap::new(), MessageId::NONE);
        for segment in segments {
            memory.close_later(Arc::new(segment));
        }
        let (segment, index) =
            (Segment::open(folder.path(), number, MessageId::NONE).unwrap(), Default::default());
        let open = Arc::new(OpenSegment { segment, index });
        let files = Catalog::new(folder.path().to_owned(), open, closed, MessageId::NONE);
        Self { memory, files, all, _folder: folder }
    }

    /// Asserts that both forms answer as they have to, in pages of `look.max`.
    fn check(&self, look: &Look) {
        let is_asked_for = |message: &&Message| {
            (match &look.of {
                HistoryOf::Conversation(conversation) => message.conversation == *conversation,
                HistoryOf::Sender(peer) => message.from == *peer,
                HistoryOf::App => true,
            }) && look.before.is_none_or(|before| message.id < before)
                && look.since_ms.is_none_or(|since| message.at_ms >= since)
                && look.until_ms.is_none_or(|until| message.at_ms <= until)
        };
        let expected: Vec<Message> = self.all.iter().rev().filter(is_asked_for).cloned().collect();
        for catalog in [&self.memory, &self.files] {
            let (mut found, mut look) = (Vec::new(), look.clone());
            loop {
                let (messages, next) = catalog.history(&look).unwrap();
                assert!(messages.len() <= look.max);
                found.extend(messages);
                let Some(next) = next else { break };
                assert!(look.before.is_none_or(|before| next < before), "it does not end");
                look.before = Some(next);
            }
            assert_eq!(found, expected, "{look:?}");
        }
    }
}

fn look(of: HistoryOf) -> Look {
    Look { of, before: None, since_ms: None, until_ms: None, max: 1_000, bytes_max: usize::MAX }
}

fn commits() -> impl Strategy<Value = Commits> {
    let message = (0..4_u8, 0..6_u8);
    let commit = (-20..60_i64, prop::collection::vec(message, 0..6));
    prop::collection::vec(commit, 1..12).prop_map(|mut commits| {
        // Times rise but where they fall.
        let mut at_ms = AT_MS;
        for commit in &mut commits {
            at_ms += commit.0;
            commit.0 = at_ms;
        }
        commits
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 24,
        ..Default::default()
    })]

    #[test]
    fn a_file_answers_as_its_database_did_whatever_is_asked(
        parts in prop::collection::vec(commits(), 1..4),
        asked in prop::collection::vec(
            (0..3_u8, 0..7_u8, any::<Option<Index>>(), any::<Option<Index>>(),
             any::<Option<Index>>(), 1..9_usize),
            40,
        ),
    ) {
        let forms = Forms::new(&parts);
        let times: Vec<i64> = parts.iter().flatten().map(|(at_ms, _)| *at_ms).collect();
        for (kind, of, before, since, until, max) in asked {
            let of = match kind {
                0 => HistoryOf::Conversation(conversation(of)),
                1 => HistoryOf::Sender(peer(of)),
                _ => HistoryOf::App,
            };
            let time = |index: Index| times[index.index(times.len())];
            let id = |index: Index| MessageId(ID + index.index(300) as i64);
            forms.check(&Look {
                before: before.map(id),
                since_ms: since.map(time),
                until_ms: until.map(time),
                max,
                ..look(of)
            });
        }
        for message in &forms.all {
            for catalog in [&forms.memory, &forms.files] {
                let placed = catalog.entry(message.id).unwrap().unwrap();
                let Entry::Message { message: found, .. } = placed.entry else { panic!() };
                prop_assert_eq!(&*found, message);
            }
        }
        prop_assert!(forms.files.entry(MessageId(ID - 1)).unwrap().is_none());
        prop_assert!(forms.files.entry(MessageId(i64::MAX)).unwrap().is_none());
    }
}

/// A segment of so many messages, some to a commit, in two conversations.
fn many(count: i64) -> Commits {
    let of = |id: i64| (1, if id % 3 == 0 { 1 } else { 2 });
    (0..count / 10).map(|n| (AT_MS + n, (n * 10..n * 10 + 10).map(of).collect())).collect()
}

#[test]
fn subjects_of_many_blocks_are_found_whole_in_pages_below_any_id_and_in_any_time() {
    let forms = Forms::new(&[many(10_000)]);
    for of in [
        HistoryOf::Conversation(conversation(2)),
        HistoryOf::Sender(peer(1)),
        HistoryOf::Sender(peer(9)),
        HistoryOf::App,
    ] {
        for max in [999, 10_000] {
            forms.check(&Look { max, ..look(of.clone()) });
        }
        for at in [0, 5_111, 9_999] {
            let before = Some(forms.all[at].id);
            forms.check(&Look { before, ..look(of.clone()) });
            let at_ms = Some(forms.all[at].at_ms);
            forms.check(&Look { until_ms: at_ms, since_ms: at_ms, ..look(of.clone()) });
            forms.check(&Look { since_ms: at_ms, ..look(of.clone()) });
            forms.check(&Look { until_ms: at_ms, max: 700, ..look(of.clone()) });
        }
    }
}

#[test]
fn a_page_ends_where_its_bytes_do_but_has_one_message_at_least() {
    let forms = Forms::new(&[many(100)]);
    // Each says 3 bytes and a number of 2, and names two peers with 14.
    for (bytes_max, expected) in [(0, 1), (19, 1), (37, 1), (38, 2), (39, 2)] {
        for catalog in [&forms.memory, &forms.files] {
            let asked = Look { bytes_max, ..look(HistoryOf::App) };
            let (messages, next) = catalog.history(&asked).unwrap();
            assert_eq!(messages.len(), expected, "{bytes_max}");
            assert_eq!(next, messages.last().map(|message| message.id));
        }
    }
}

/// What a file has always been: two records, the clock stepping back between them. What a record
/// holds is not a matter of this format.
fn golden() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let segment = Segment::open(folder.path(), 3, MessageId::NONE).unwrap();
    let index = OpenIndex::default();
    let mut before = MessageId(7);
    for (number, at_ms) in [(0, AT_MS + 5), (5, AT_MS)] {
        let first = MessageId(ID + number);
        let mut writer = RecordWriter::default();
        writer.push(first, &Entry::Started { run: 6 });
        let header = Header { epoch: 0xfeed, first, before, commit: first, at_ms, count: 1 };
        segment.append(first, &writer.finish(header)).unwrap();
        let place = |from, of, previous| {
            let (conversation, from) = (conversation(of), peer(from));
            Place { conversation, from, id: first, previous }
        };
        index.extend(at_ms, [place(1, 1, 2), place(2, 3, 0)]);
        before = first;
    }
    let rewritten = rewrite(folder.path(), &OpenSegment { segment, index }, &mut || {}).unwrap();
    std::fs::read(&rewritten.closed.path).unwrap()
}

/// 32 bytes a line; lines of zeroes but the first are left out.
fn hex(bytes: &[u8]) -> String {
    let (mut text, mut zeroes) = (String::new(), false);
    for (index, line) in bytes.chunks(32).enumerate() {
        let is_zero = line.iter().all(|byte| *byte == 0);
        if !(is_zero && zeroes) {
            write!(text, "{:06x} ", index * 32).unwrap();
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
        zeroes = is_zero;
    }
    text
}

#[test]
fn a_closed_segment_has_the_bytes_it_has_always_had() {
    is_golden("closed-segment.hex", &golden());
}

/// Holds bytes to those of a file of `tests/golden`.
pub(in crate::store) fn is_golden(name: &str, bytes: &[u8]) {
    let written = hex(bytes);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let golden = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(golden == written, "a format on disk has changed:\n{written}");
}

#[test]
fn a_file_that_was_changed_or_cut_anywhere_never_panics_and_makes_nothing_up() {
    let forms = Forms::new(&[many(1_000)]);
    let path = Closed::path(&forms.files.folder, 1);
    let whole = std::fs::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..400 {
        let mut bytes = whole.clone();
        let at = random.usize(..bytes.len());
        match round % 4 {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&whole[..at]),
            // The tables and the footer.
            2 => {
                let at = bytes.len() - 1 - at.min(30_000).min(bytes.len() - 1);
                bytes[at] = random.u8(..);
            }
            _ => bytes[at] = !bytes[at],
        }
        std::fs::write(Closed::path(folder.path(), 1), &bytes).unwrap();
        let Ok(closed) = Closed::read(folder.path(), 1) else { continue };
        let segment = Segment::open(folder.path(), 2, MessageId::NONE).unwrap();
        let open = Arc::new(OpenSegment { segment, index: OpenIndex::default() });
        let closed = BTreeMap::from([(1, Arc::new(closed))]);
        let catalog = Catalog::new(folder.path().to_owned(), open, closed, MessageId::NONE);
        let since_ms = Some(AT_MS + 3);
        for of in [HistoryOf::App, HistoryOf::Conversation(conversation(1))] {
            let (found, _) = catalog.history(&Look { since_ms, ..look(of) }).unwrap();
            assert!(found.iter().all(|message| forms.all.contains(message)));
            assert!(found.is_sorted_by(|a, b| a.id > b.id));
        }
        for id in [ID, ID + 600, ID + 1_500] {
            let _ = catalog.entry(MessageId(id));
        }
    }
}
