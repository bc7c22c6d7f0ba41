//! Every value on disk has the bytes that it has always had, and no bytes make a reader panic.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::aim::Places;
use super::archive::ValueError;
use super::backend_image::*;
use super::device::{Device, Loss};
use super::directory::Whereabouts;
use super::endpoint_image::{
    pack_endpoint, pack_gone, pack_letter, pack_slot, unpack_endpoint, unpack_gone, unpack_letter,
    unpack_slot,
};
use super::endpoints::Endpoint;
use super::entry::{
    Absent, Counts, Ending, Entry, GroupAction, Item, Message, NewUpstream, News, Notice, Opening,
    Origin, Recall, Repeat, SendNumber, Upstream, content_hash, upstream_hash,
};
use super::group::{Change, Group};
use super::group_image::{pack_group, pack_nonce, pack_recalled, unpack_group, unpack_nonce};
use super::image::*;
use super::journal::{Batch, EndpointChange, Letter, Position, Span};
use super::letters::Slot;
use super::part::{OtherMark, Part, Reach};
use super::part_image::{pack_part, pack_receipts, unpack_part, unpack_receipts};
use super::peer::{Peer, RowRef, Waiting};
use super::pieces::{pack_piece, pack_pieces, unpack_pieces};
use super::receipts::{Asked, Receipts};
use super::record::{Header, Record, RecordWriter};
use super::sender::{Sender, Stored};
use crate::group::{GroupChange, Rules, Who};
use crate::id::{
    Alias, ConversationId, DeviceFlag, DeviceId, EndpointId, GroupId, MessageId, PeerId, SessionId,
};
use crate::limits::{
    BODY_BYTES_MAX, CHANGED_MEMBERS_MAX, CLIENT_MSG_NO_BYTES_MAX, ENDPOINT_LANES,
    GROUP_MEMBERS_SETTING_MAX, GROUP_METADATA_BYTES_MAX, PUSH_TEXT_BYTES_MAX, RECIPIENTS_MAX,
    RECORD_BYTES_MAX, RECORD_BYTES_TARGET, UNACKNOWLEDGED_MAX,
};

const AT_MS: i64 = 1_767_225_600_000;
const ID: MessageId = MessageId(0x0400_0000_0000_0001);

fn peer(text: &str) -> PeerId {
    PeerId::new(text).unwrap()
}

fn device(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn message() -> Message {
    let (from, to) = (peer("alice"), peer("bob"));
    Message {
        id: ID,
        sequence: 42,
        at_ms: AT_MS,
        expires_ms: AT_MS + 5_000,
        conversation: ConversationId::of_peers([&from, &to]),
        from,
        to: vec![to, peer("carol")],
        devices: Vec::new(),
        receipt: true,
        client_msg_no: "no-7".into(),
        body: "Grüße".into(),
    }
}

fn number() -> SendNumber {
    SendNumber { device: device("phone"), instance: 9, number: 77, answered: 70 }
}

/// A message of the back end for one device, at a place of the record.
fn pushed(place: i64, key: Option<[u8; 16]>, system: bool) -> Entry {
    let (id, devices) = (MessageId(ID.0 + place), vec![device("phone")]);
    let message = Message { id, devices, ..message() };
    let repeat = key.map(|key| Repeat { key, content: 5 });
    Entry::Message {
        message: message.into(),
        origin: Origin::Backend { repeat, system },
        hash: 5,
        push: "Post!".into(),
        absent: vec![Absent { peer: peer("bob"), waiting: 3 }],
    }
}

/// One entry of each kind.
fn entries() -> Vec<Entry> {
    vec![
        Entry::Message {
            message: message().into(),
            origin: Origin::Client(number()),
            hash: 0x1234_5678,
            push: Default::default(),
            absent: Vec::new(),
        },
        Entry::Opened {
            opening: Opening {
                peer: peer("bob"),
                device: device("laptop"),
                flag: DeviceFlag::Pc,
                instance: 3,
                client: "tidings/0.1".to_owned(),
                address: "192.0.2.7:4000".to_owned(),
                cursor: MessageId(5),
            },
            counts: Counts { same_flag: 1, all: 2 },
        },
        Entry::Ended {
            peer: peer("bob"),
            device: device("laptop"),
            flag: DeviceFlag::Pc,
            session: SessionId(8),
            ending: Ending::Replaced,
            counts: Counts { same_flag: 0, all: 1 },
        },
        Entry::Acked { peer: peer("bob"), device: device("laptop"), id: ID },
        Entry::Started { run: 6 },
        Entry::Read {
            peer: peer("bob"),
            conversation: message().conversation,
            sequence: 42,
            others: vec![peer("alice"), peer("carol")],
        },
        Entry::Delivered {
            to: peer("alice"),
            by: peer("bob"),
            device: device("laptop"),
            conversation: message().conversation,
            sequence: 41,
            messages: vec![MessageId(7), ID],
        },
        Entry::Recalled(recall()),
        Entry::Recalled(Recall { by: None, concerned: Vec::new(), ..recall() }),
        Entry::GroupCreated { group: GROUP, by: Some(peer("alice")), action: create() },
        Entry::GroupChanged { group: GROUP, by: None, change: edit(), sequence: 0 },
        Entry::GroupChanged { group: GROUP, by: Some(peer("bob")), change: left(), sequence: 7 },
        Entry::Nonce { peer: peer("bob"), nonce: "85561".into(), expires_ms: AT_MS + 1 },
        pushed(13, None, true),
        pushed(14, Some([3; 16]), false),
        Entry::GroupChanged { group: GROUP, by: None, change: deleted(), sequence: 7 },
        Entry::Alias { alias: alias(), device: device("phone"), bound: true },
        Entry::Alias { alias: alias(), device: device("phone"), bound: false },
        Entry::Forgotten { peer: peer("bob"), device: device("phone") },
        Entry::Blocked { peer: peer("bob"), blocked: true },
        Entry::Blocked { peer: peer("bob"), blocked: false },
        Entry::Upstream(NewUpstream { from: peer("bob"), number: number(), body: "help".into() }),
        Entry::UpstreamDone { upstream: ID, peer: peer("bob"), accepted: true },
        Entry::UpstreamDone { upstream: ID, peer: peer("bob"), accepted: false },
        Entry::Unacknowledged { peer: peer("bob"), waiting: 9, messages: vec![MessageId(7), ID] },
    ]
    .into_iter()
    .chain(endpoint_changes().into_iter().map(endpoint))
    .collect()
}

fn endpoint(change: EndpointChange) -> Entry {
    Entry::Endpoint { endpoint: EndpointId::new("push").unwrap(), change }
}

fn position(entry: i64, part: u32) -> Position {
    Position { entry: MessageId(entry), part }
}

fn batch() -> Batch {
    let span = |lane| Span { lane, from: position(7, 1), to: Position::end_of(ID) };
    Batch { number: 4, formed_ms: AT_MS, spans: vec![span(3), span(63)] }
}

fn come() -> Endpoint {
    let mut lanes = [Position::end_of(MessageId(6)); ENDPOINT_LANES];
    lanes[3] = position(7, 1);
    let halted = Some("gone".to_owned());
    Endpoint { applied: MessageId(13), lanes, batches: vec![batch()], next_number: 5, halted }
}

fn slot() -> Slot {
    Slot { at_ms: AT_MS, bytes: 700, letter: None }
}

fn letter() -> Letter {
    Letter {
        position: position(ID.0, 2),
        event: "offline-7".to_owned(),
        kind: "message.offline".to_owned(),
        at_ms: AT_MS,
        status: 400,
        why: "it answered 400".to_owned(),
        tries: 3,
        request: "msg_7".to_owned(),
        query: "event=msg.offline".to_owned(),
        body: "{}".into(),
    }
}

fn endpoint_changes() -> Vec<EndpointChange> {
    vec![
        EndpointChange::Began { after: ID },
        EndpointChange::Formed(batch()),
        EndpointChange::Done { number: 4 },
        EndpointChange::Split { number: 4, parts: vec![batch(), Batch { number: 5, ..batch() }] },
        EndpointChange::Passed { through: ID },
        EndpointChange::Halted { why: Some("it answered 410".to_owned()) },
        EndpointChange::Halted { why: None },
        EndpointChange::Kept(letter()),
        EndpointChange::Dropped { letters: vec![position(7, 0), position(ID.0, 2)] },
        EndpointChange::Removed,
    ]
}

const GROUP: GroupId = GroupId([7; 12]);
const RULES: Rules = Rules { invite: Who::Members, kick: Who::Creator, edit: Who::Server };

fn recall() -> Recall {
    let Message { id, conversation, sequence, from, to, .. } = message();
    let by = Some(from.clone());
    Recall { message: id, conversation, sequence, by, concerned: [to, vec![from]].concat() }
}

fn create() -> GroupAction {
    let members = vec![peer("alice"), peer("bob")];
    GroupAction::Create { open: false, rules: RULES, metadata: "{}".into(), members }
}

fn edit() -> Change {
    let (rules, metadata) = (Some(RULES), Some("[]".into()));
    Change { change: GroupChange::Edited, peers: Vec::new(), rules, metadata }
}

fn left() -> Change {
    let peers = vec![peer("bob")];
    Change { change: GroupChange::Left, peers, rules: None, metadata: None }
}

fn deleted() -> Change {
    let peers = vec![peer("alice"), peer("bob")];
    Change { change: GroupChange::Deleted, peers, rules: None, metadata: None }
}

fn alias() -> Alias {
    Alias::new("Anna's phone").unwrap()
}

/// A group that one has left.
fn group() -> Group {
    let alice = peer("alice");
    let mut group = Group::create(GROUP, Some(&alice), (ID, AT_MS), &create()).unwrap();
    group.apply(MessageId(ID.0 + 9), &left());
    group
}

fn reach(sequence: u32) -> Reach {
    Reach { sequence, at_ms: AT_MS, entry: MessageId(ID.0 + i64::from(sequence)) }
}

fn part() -> Part {
    Part {
        others: [peer("bob"), peer("carol")].into(),
        since: MessageId(3),
        last: ID,
        sequence: 42,
        read: reach(40),
        said: 39,
        marks: vec![OtherMark { peer: peer("bob"), delivered: reach(42), read: reach(41) }],
        dirty: false,
    }
}

fn receipts() -> Receipts {
    let Message { id, from, conversation, sequence, expires_ms, .. } = message();
    let asked = Asked { id, from, system: true, conversation, sequence, expires_ms };
    Receipts { due: [asked].into(), dirty: false }
}

/// What a row holds: a message, the notice of a recall, and that of a message to the back end.
fn row() -> [Item; 3] {
    let news = News::Recalled(ID, 42);
    let Message { conversation, from, .. } = message();
    let (id, by) = (MessageId(ID.0 + 2), Some(from));
    let notice = Notice { id, at_ms: AT_MS + 2, conversation, by, news };
    let done = Upstream::notice((MessageId(ID.0 + 3), AT_MS + 3), ID, &peer("bob"), true);
    [Item::Message(message().into()), Item::Notice(notice.into()), Item::Notice(done.into())]
}

fn whereabouts() -> Whereabouts {
    Whereabouts { peer: peer("bob"), alias: Some(alias()), applied: ID }
}

fn key() -> Stored {
    Stored { number: 0, id: ID, sequence: 42, at_ms: AT_MS, hash: 0x1234_5678 }
}

fn upstream() -> Upstream {
    let (from, device) = (peer("bob"), device("phone"));
    Upstream { id: ID, at_ms: AT_MS, from, device, body: "help".into() }
}

fn packed_row() -> Vec<u8> {
    pack_row(&row().each_ref())
}

fn header(count: usize) -> Header {
    Header {
        epoch: 0xfeed,
        first: ID,
        before: MessageId(7),
        commit: ID,
        at_ms: AT_MS,
        count: count as u32,
    }
}

fn record(entries: &[Entry]) -> Vec<u8> {
    let mut writer = RecordWriter::default();
    for (id, entry) in (ID.0..).zip(entries) {
        writer.push(MessageId(id), entry);
    }
    writer.finish(header(entries.len()))
}

fn bob() -> Peer {
    let stored = Stored { number: 77, id: ID, sequence: 42, at_ms: AT_MS, hash: 0x1234_5678 };
    let recent = VecDeque::from([stored]);
    let device = Device {
        id: device("laptop"),
        flag: DeviceFlag::Web,
        cursor: MessageId(5),
        session: Some(SessionId(8)),
        orphan: Some(SessionId(7)),
        seen_ms: AT_MS - 1,
        closed: false,
        loss: Loss { count: 2, id: MessageId(4) },
        missed: Loss { count: 1, id: MessageId(6) },
        senders: vec![Sender { instance: 9, highest: 77, recent }],
    };
    let waiting =
        |id, expires_ms| Waiting { id: MessageId(id), at_ms: AT_MS + id, expires_ms, body: None };
    Peer {
        run: 6,
        ended_run: 5,
        away_at_ms: AT_MS + 60_000,
        online_since: MessageId(8),
        online_until: MessageId(10),
        devices: vec![device],
        waiting: VecDeque::from([waiting(10, 0), waiting(12, AT_MS + 99)]),
        notices: VecDeque::from([MessageId(10)]),
        mortal: 1,
        stored: 2,
        away_count: 1,
        rows: vec![RowRef { first: MessageId(10), last: MessageId(12) }],
        loss: Loss { count: 3, id: MessageId(9) },
        applied: MessageId(13),
        ..Peer::default()
    }
}

/// Bob, with a message that waits for his only device alone.
fn aimed() -> Peer {
    let mut bob = bob();
    bob.aims.push(MessageId(12), Places(1));
    bob
}

const CHECKPOINT: Checkpoint = Checkpoint {
    epoch: 0xfeed,
    applied: ID,
    run: 6,
    started_ms: AT_MS,
    epoch_segment: 2,
    sequence_jump: 1 << 20,
};

const SEGMENT: SegmentInfo = SegmentInfo { last: ID, at_ms: AT_MS, bytes: 4096, indexed: true };

fn sequences() -> Vec<(ConversationKey, LastSequence)> {
    let group = ConversationId::Group(GroupId([7; 12]));
    let first = (message().conversation.key(), LastSequence { sequence: 42, segment: 3 });
    vec![first, (group.key(), LastSequence { sequence: 1, segment: 4 })]
}

fn values() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("record-all-entries", record(&entries())),
        ("state-peer", pack_peer(&bob())),
        ("state-peer-aimed", pack_peer(&aimed())),
        ("state-row", packed_row()),
        ("state-part", pack_part(&part())),
        ("state-receipts", pack_receipts(&receipts())),
        ("state-group", pack_group(&group())),
        ("state-nonce", pack_nonce(AT_MS)),
        ("state-recalled", pack_recalled(ID)),
        ("state-device", pack_device(&whereabouts())),
        ("state-alias", pack_alias(&[device("laptop"), device("phone")])),
        ("state-aliased", pack_aliased(7)),
        ("state-blocked", pack_blocked()),
        ("state-key", pack_key(&key())),
        ("state-upstream", pack_upstream(&upstream())),
        ("state-deleted", pack_deleted(AT_MS)),
        ("state-waiting", pack_waiting(7)),
        ("state-pieces", pack_pieces(3)),
        ("state-piece", pack_piece(b"a part of it")),
        ("state-sequences", pack_sequences(&sequences())),
        ("state-checkpoint", pack_checkpoint(&CHECKPOINT)),
        ("state-head", pack_head(ID)),
        ("state-segment", pack_segment(&SEGMENT)),
        ("state-endpoint", pack_endpoint(&come())),
        ("state-letter", pack_letter(&letter())),
        ("state-letter-slot", pack_slot(&slot())),
        ("state-gone", pack_gone(ID)),
    ]
}

/// 32 bytes a line.
fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|bytes| line(bytes) + "\n").collect()
}

#[test]
fn every_value_on_disk_has_the_bytes_it_has_always_had() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = String::new();
    for (name, bytes) in values() {
        let golden = std::fs::read_to_string(folder.join(format!("{name}.hex")));
        let (golden, written) = (golden.unwrap_or_default(), hex(&bytes));
        if golden != written {
            wrong += &format!("{name}.hex\ngolden:\n{golden}written:\n{written}\n");
        }
    }
    assert!(wrong.is_empty(), "a format on disk has changed:\n{wrong}");
}

#[test]
fn the_fingerprint_of_a_content_is_the_one_it_has_always_been() {
    let Message { conversation, client_msg_no, body, from, .. } = message();
    assert_eq!(content_hash(&conversation, &client_msg_no, &body), 1_510_540_264);
    assert_eq!(upstream_hash(&from, &body), 684_794_943);
    let to_itself = ConversationId::of_peers([&from]);
    assert_ne!(content_hash(&to_itself, &[], &body), upstream_hash(&from, &body));
}

#[test]
fn what_is_read_is_what_was_written() {
    let bytes = record(&entries());
    let read = Record::parse(&bytes).unwrap();
    assert_eq!(read.header, header(entries().len()));
    for (placed, entry) in read.entries().zip(entries()) {
        let placed = placed.unwrap();
        assert_eq!(placed.at_ms, AT_MS);
        assert_eq!(format!("{:?}", placed.entry), format!("{entry:?}"));
    }
    for peer in [bob(), aimed()] {
        assert_eq!(format!("{:?}", unpack_peer(&pack_peer(&peer)).unwrap()), format!("{peer:?}"));
    }
    assert_eq!(unpack_row(&packed_row(), |_| true).unwrap(), row());
    assert_eq!(unpack_row(&packed_row(), |id| id != ID).unwrap(), row()[1..]);
    assert_eq!(unpack_part(&pack_part(&part())).unwrap(), part());
    assert_eq!(unpack_receipts(&pack_receipts(&receipts())).unwrap(), receipts());
    assert_eq!(unpack_group(GROUP, &pack_group(&group())).unwrap(), group());
    assert_eq!(unpack_nonce(&pack_nonce(AT_MS)).unwrap(), AT_MS);
    assert_eq!(unpack_device(&pack_device(&whereabouts())).unwrap(), whereabouts());
    let nameless = Whereabouts { alias: None, ..whereabouts() };
    assert_eq!(unpack_device(&pack_device(&nameless)).unwrap(), nameless);
    let devices = [device("laptop"), device("phone")];
    assert_eq!(unpack_alias(&pack_alias(&devices)).unwrap(), devices);
    assert_eq!(unpack_aliased(&pack_aliased(7)).unwrap(), 7);
    assert_eq!(unpack_waiting(&pack_waiting(7)).unwrap(), 7);
    assert_eq!(unpack_pieces(&pack_pieces(3)).unwrap(), 3);
    assert_eq!(unpack_key(&pack_key(&key())).unwrap(), key());
    assert_eq!(unpack_upstream(ID, &pack_upstream(&upstream())).unwrap(), upstream());
    assert_eq!(upstream_at_ms(&pack_upstream(&upstream())).unwrap(), AT_MS);
    assert_eq!(unpack_deleted(&pack_deleted(AT_MS)).unwrap(), AT_MS);
    assert_eq!(unpack_sequences(&pack_sequences(&sequences())).unwrap(), sequences());
    let (conversation, last) = sequences()[1];
    let found = find_sequence(&pack_sequences(&sequences()), &conversation);
    assert_eq!(found.unwrap(), Some(last));
    assert_eq!(unpack_checkpoint(&pack_checkpoint(&CHECKPOINT)).unwrap(), CHECKPOINT);
    assert_eq!(unpack_head(&pack_head(ID)).unwrap(), ID);
    assert_eq!(unpack_segment(&pack_segment(&SEGMENT)).unwrap(), SEGMENT);
    assert_eq!(unpack_endpoint(&pack_endpoint(&come())).unwrap(), come());
    let on = Endpoint { halted: None, ..come() };
    assert_eq!(unpack_endpoint(&pack_endpoint(&on)).unwrap(), on);
    assert_eq!(unpack_letter(&pack_letter(&letter())).unwrap(), letter());
    assert_eq!(unpack_slot(&pack_slot(&slot())).unwrap(), slot());
    assert_eq!(unpack_gone(&pack_gone(ID)).unwrap(), ID);
}

#[test]
fn one_entry_is_read_without_its_neighbours() {
    let bytes = record(&entries());
    let record = Record::parse(&bytes).unwrap();
    for (index, entry) in entries().iter().enumerate() {
        let placed = record.entry(MessageId(ID.0 + index as i64)).unwrap();
        assert_eq!(format!("{:?}", placed.entry), format!("{entry:?}"));
    }
    for id in [0, ID.0 - 1, ID.0 + entries().len() as i64, i64::MAX] {
        assert!(record.entry(MessageId(id)).is_err(), "{id} is not in the record");
    }
}

#[test]
fn a_value_of_another_kind_or_a_later_version_is_named_and_not_read() {
    let mut bytes = pack_head(ID);
    bytes[1] = 2;
    assert_eq!(unpack_head(&bytes), Err(ValueError::Unknown { kind: 8, version: 2 }));
    let kind = pack_head(ID)[0];
    assert_eq!(unpack_checkpoint(&pack_head(ID)), Err(ValueError::Unknown { kind, version: 1 }));
}

#[test]
fn the_largest_message_added_to_a_nearly_full_record_fits_the_bound_of_a_value() {
    let largest = Message {
        from: peer(&"f".repeat(64)),
        to: (0..RECIPIENTS_MAX).map(|index| peer(&format!("{index:064}"))).collect(),
        client_msg_no: vec![b'n'; CLIENT_MSG_NO_BYTES_MAX].into(),
        body: vec![b'b'; BODY_BYTES_MAX].into(),
        ..message()
    };
    let (message, origin) = (Arc::new(largest), Origin::Client(number()));
    let (push, absent) = (vec![b'p'; PUSH_TEXT_BYTES_MAX].into(), Vec::new());
    let entry = Entry::Message { message, origin, hash: 0, push, absent };
    let mut writer = RecordWriter::default();
    let mut next = ID;
    while writer.bytes() < RECORD_BYTES_TARGET {
        writer.push(next, &entry);
        next.0 += 1;
    }
    let bytes = writer.finish(header((next.0 - ID.0) as usize));
    assert!(bytes.len() <= RECORD_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(writer.count(), 0, "the writer is empty again");
}

#[test]
fn a_record_of_ids_that_no_message_can_have_is_damaged_whatever_its_checksum_says() {
    let of = |first| {
        let mut writer = RecordWriter::default();
        writer.push(MessageId(first), &Entry::Started { run: 6 });
        writer.finish(Header { first: MessageId(first), ..header(1) })
    };
    for first in [1, ID.0, i64::MAX - 1] {
        assert_eq!(Record::parse(&of(first)).unwrap().header.last(), MessageId(first));
    }
    for first in [i64::MIN, -1, 0, i64::MAX] {
        assert!(Record::parse(&of(first)).is_err(), "{first}");
    }
    assert!(Record::parse(&record(&[])).is_err(), "no entries");
}

#[test]
fn the_longest_change_of_a_group_fits_what_is_reckoned_for_it_and_the_bound_of_a_value() {
    let peers: Vec<PeerId> =
        (0..CHANGED_MEMBERS_MAX).map(|index| peer(&format!("{index:064}"))).collect();
    let metadata = vec![b'm'; GROUP_METADATA_BYTES_MAX];
    let (metadata, by) = (bytes::Bytes::from(metadata), Some(peer(&"b".repeat(64))));
    let action = GroupAction::Create {
        open: false,
        rules: RULES,
        metadata: metadata.clone(),
        members: peers.clone(),
    };
    let created = Entry::GroupCreated { group: GROUP, by: by.clone(), action };
    let (rules, metadata) = (Some(RULES), Some(metadata));
    let change = Change { change: GroupChange::Invited, peers, rules, metadata };
    let changed = Entry::GroupChanged { group: GROUP, by, change, sequence: 7 };
    for entry in [created, changed] {
        let bytes = record(std::slice::from_ref(&entry)).len();
        assert!(bytes <= entry.bytes_max() && entry.bytes_max() <= RECORD_BYTES_MAX, "{bytes}");
    }
}

#[test]
fn a_message_of_which_nobody_hears_at_once_fits_what_is_reckoned_for_it_and_the_bound_of_a_value() {
    let of = |index| peer(&format!("{index:064}"));
    let message = Message {
        from: peer(&"f".repeat(64)),
        to: (0..RECIPIENTS_MAX).map(of).collect(),
        client_msg_no: vec![b'n'; CLIENT_MSG_NO_BYTES_MAX].into(),
        body: vec![b'b'; BODY_BYTES_MAX].into(),
        ..message()
    };
    let absent = |index| Absent { peer: of(index), waiting: u32::MAX };
    let push = bytes::Bytes::from(vec![b'p'; PUSH_TEXT_BYTES_MAX]);
    for count in [0, RECIPIENTS_MAX, GROUP_MEMBERS_SETTING_MAX] {
        let (message, origin) = (Arc::new(message.clone()), Origin::Client(number()));
        let (push, absent) = (push.clone(), (0..count).map(absent).collect());
        let entry = Entry::Message { message, origin, hash: 0, push, absent };
        let bytes = record(std::slice::from_ref(&entry)).len();
        assert!(bytes <= entry.bytes_max() && entry.bytes_max() <= RECORD_BYTES_MAX, "{bytes}");
    }
    let messages = vec![ID; UNACKNOWLEDGED_MAX];
    let entry = Entry::Unacknowledged { peer: of(1), waiting: u32::MAX, messages };
    let bytes = record(std::slice::from_ref(&entry)).len();
    assert!(bytes <= entry.bytes_max(), "{bytes}");
}

fn read_all(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        record.entries().for_each(drop);
    }
    let _ = unpack_peer(bytes);
    let _ = unpack_row(bytes, |_| true);
    let _ = unpack_sequences(bytes);
    let _ = find_sequence(bytes, &[0; 17]);
    let _ = unpack_checkpoint(bytes);
    let _ = unpack_head(bytes);
    let _ = unpack_segment(bytes);
    let _ = unpack_part(bytes);
    let _ = unpack_receipts(bytes);
    let _ = unpack_group(GROUP, bytes);
    let _ = unpack_nonce(bytes);
    let _ = unpack_device(bytes);
    let _ = unpack_alias(bytes);
    let _ = unpack_aliased(bytes);
    let _ = unpack_key(bytes);
    let _ = unpack_upstream(ID, bytes);
    let _ = upstream_at_ms(bytes);
    let _ = unpack_deleted(bytes);
    let _ = unpack_waiting(bytes);
    let _ = unpack_pieces(bytes);
    let _ = unpack_endpoint(bytes);
    let _ = unpack_letter(bytes);
    let _ = unpack_slot(bytes);
    let _ = unpack_gone(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_value_with_changed_bytes_or_a_cut_never_panics(
        value in 0..19usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let values = [
            record(&entries()),
            pack_peer(&aimed()),
            packed_row(),
            pack_sequences(&sequences()),
            pack_checkpoint(&CHECKPOINT),
            pack_segment(&SEGMENT),
            pack_part(&part()),
            pack_receipts(&receipts()),
            pack_group(&group()),
            pack_nonce(AT_MS),
            pack_device(&whereabouts()),
            pack_alias(&[device("laptop"), device("phone")]),
            pack_aliased(7),
            pack_key(&key()),
            pack_upstream(&upstream()),
            pack_deleted(AT_MS),
            pack_endpoint(&come()),
            pack_letter(&letter()),
            pack_slot(&slot()),
        ];
        let mut bytes = values[value].clone();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn a_record_with_a_changed_byte_is_found_out(at in any::<prop::sample::Index>()) {
        let mut bytes = record(&entries());
        let at = at.index(bytes.len());
        bytes[at] ^= 0x40;
        prop_assert!(Record::parse(&bytes).is_err());
    }
}
