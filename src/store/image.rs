//! The values of the state database: one type for each, with its version.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.
//! * A peer is stored only when all its waiting messages are in rows.

use std::collections::VecDeque;

use rkyv::{Archive, Serialize};

use crate::id::{ConversationId, DeviceFlag, DeviceId, MessageId, SessionId};
use crate::store::aim_image::{AimV1, NoticeV1, aims_of, image_aims, image_notices, notices_of};
use crate::store::archive::{AsText, Kind, ValueError, pack, unpack};
use crate::store::device::{Device, Loss};
use crate::store::entry::{Item, News, Notice};
use crate::store::inscribed::{MessageV1, RecallV1, device};
use crate::store::part::Parts;
use crate::store::peer::{Peer, RowRef, Waiting};
use crate::store::receipts::Receipts;
use crate::store::sender::{Sender, Stored};

const VERSION: u8 = 1;

#[derive(Archive, Serialize)]
struct PeerV1 {
    run: u32,
    ended_run: u32,
    away_at_ms: i64,
    online_since: i64,
    online_until: i64,
    away_count: u32,
    applied: i64,
    loss: LossV1,
    devices: Vec<DeviceV1>,
    /// The id and the time that those of `waiting` count from.
    waiting_from: (i64, i64),
    waiting: Vec<WaitingV1>,
    expiries: Vec<ExpiryV1>,
    notices: Vec<NoticeV1>,
    aims: Vec<AimV1>,
    rows: Vec<RowRefV1>,
}

#[derive(Archive, Serialize)]
struct LossV1 {
    count: u64,
    id: i64,
}

#[derive(Archive, Serialize)]
struct DeviceV1 {
    #[rkyv(with = AsText)]
    id: DeviceId,
    flag: u8,
    cursor: i64,
    /// 0 for none.
    session: i64,
    orphan: i64,
    seen_ms: i64,
    closed: bool,
    loss: LossV1,
    missed: LossV1,
    senders: Vec<SenderV1>,
}

#[derive(Archive, Serialize)]
struct SenderV1 {
    instance: u64,
    highest: u64,
    recent: Vec<StoredV1>,
}

#[derive(Archive, Serialize)]
struct StoredV1 {
    number: u64,
    id: i64,
    sequence: u32,
    at_ms: i64,
    hash: u32,
}

/// 11 bytes, for a peer may have ten thousand of them: 7 bytes of an id span 198 days, and 4
/// bytes of milliseconds 49 days, more than anything waits.
#[derive(Archive, Serialize)]
struct WaitingV1 {
    id: [u8; 7],
    at_ms: u32,
}

/// The time at which one of the waiting messages need not be delivered any more.
#[derive(Archive, Serialize)]
struct ExpiryV1 {
    index: u32,
    expires_ms: i64,
}

#[derive(Archive, Serialize)]
struct RowRefV1 {
    first: i64,
    last: i64,
}

impl LossV1 {
    fn new(loss: Loss) -> Self {
        Self { count: loss.count, id: loss.id.0 }
    }
}

impl ArchivedLossV1 {
    fn loss(&self) -> Loss {
        Loss { count: self.count.to_native(), id: MessageId(self.id.to_native()) }
    }
}

/// The stored form of a peer.
pub(super) fn pack_peer(peer: &Peer) -> Vec<u8> {
    let device = |device: &Device| DeviceV1 {
        id: device.id.clone(),
        flag: device.flag as u8,
        cursor: device.cursor.0,
        session: device.session.unwrap_or_default().0,
        orphan: device.orphan.unwrap_or_default().0,
        seen_ms: device.seen_ms,
        closed: device.closed,
        loss: LossV1::new(device.loss),
        missed: LossV1::new(device.missed),
        senders: device.senders.iter().map(sender).collect(),
    };
    let from_id = peer.waiting.front().map_or(0, |oldest| oldest.id.0);
    let from_ms = peer.waiting.iter().map(|waiting| waiting.at_ms).min().unwrap_or(0);
    let waiting = |waiting: &Waiting| {
        let [id @ .., _] = (waiting.id.0 - from_id).to_le_bytes();
        let at_ms = u32::try_from(waiting.at_ms - from_ms).unwrap_or(u32::MAX);
        WaitingV1 { id, at_ms }
    };
    let expiry = |(index, waiting): (usize, &Waiting)| {
        let expires_ms = waiting.expires_ms;
        (expires_ms != 0).then_some(ExpiryV1 { index: index as u32, expires_ms })
    };
    let image = PeerV1 {
        run: peer.run,
        ended_run: peer.ended_run,
        away_at_ms: peer.away_at_ms,
        online_since: peer.online_since.0,
        online_until: peer.online_until.0,
        away_count: peer.away_count as u32,
        applied: peer.applied.0,
        loss: LossV1::new(peer.loss),
        devices: peer.devices.iter().map(device).collect(),
        waiting_from: (from_id, from_ms),
        waiting: peer.waiting.iter().map(waiting).collect(),
        expiries: peer.waiting.iter().enumerate().filter_map(expiry).collect(),
        notices: image_notices(&peer.notices, &peer.waiting),
        aims: image_aims(&peer.aims, &peer.waiting),
        rows: peer.rows.iter().map(|r| RowRefV1 { first: r.first.0, last: r.last.0 }).collect(),
    };
    pack(Kind::Peer, VERSION, &image)
}

fn sender(sender: &Sender) -> SenderV1 {
    let stored = |stored: &Stored| StoredV1 {
        number: stored.number,
        id: stored.id.0,
        sequence: stored.sequence,
        at_ms: stored.at_ms,
        hash: stored.hash,
    };
    SenderV1 {
        instance: sender.instance,
        highest: sender.highest,
        recent: sender.recent.iter().map(stored).collect(),
    }
}

/// Reads what [`pack_peer`] wrote.
pub(super) fn unpack_peer(bytes: &[u8]) -> Result<Peer, ValueError> {
    let image = unpack::<ArchivedPeerV1>(Kind::Peer, VERSION, bytes)?;
    let waiting = unpack_waiting(image);
    Ok(Peer {
        run: image.run.to_native(),
        ended_run: image.ended_run.to_native(),
        away_at_ms: image.away_at_ms.to_native(),
        online_since: MessageId(image.online_since.to_native()),
        online_until: MessageId(image.online_until.to_native()),
        devices: image.devices.iter().map(unpack_device).collect::<Result<_, _>>()?,
        aims: aims_of(&image.aims, &waiting),
        notices: notices_of(&image.notices, &waiting),
        mortal: waiting.iter().filter(|waiting| waiting.expires_ms != 0).count(),
        stored: waiting.len(),
        waiting,
        away_count: (image.away_count.to_native() as usize).min(image.waiting.len()),
        rows: image
            .rows
            .iter()
            .map(|row| RowRef {
                first: MessageId(row.first.to_native()),
                last: MessageId(row.last.to_native()),
            })
            .collect(),
        loss: image.loss.loss(),
        applied: MessageId(image.applied.to_native()),
        dirty: false,
        listed: false,
        queued: false,
        tail_bytes: 0,
        pieces: 0,
        parts: Parts::default(),
        receipts: Receipts::default(),
    })
}

fn unpack_waiting(image: &ArchivedPeerV1) -> VecDeque<Waiting> {
    let (from_id, from_ms) = (image.waiting_from.0.to_native(), image.waiting_from.1.to_native());
    let unpacked = |waiting: &ArchivedWaitingV1| {
        let mut id = [0; 8];
        id[..7].copy_from_slice(&waiting.id);
        Waiting {
            id: MessageId(from_id.saturating_add(i64::from_le_bytes(id))),
            at_ms: from_ms.saturating_add(i64::from(waiting.at_ms.to_native())),
            expires_ms: 0,
            body: None,
        }
    };
    let mut waiting: VecDeque<_> = image.waiting.iter().map(unpacked).collect();
    for expiry in image.expiries.iter() {
        if let Some(waiting) = waiting.get_mut(expiry.index.to_native() as usize) {
            waiting.expires_ms = expiry.expires_ms.to_native();
        }
    }
    waiting
}

fn unpack_device(image: &ArchivedDeviceV1) -> Result<Device, ValueError> {
    let (session, orphan) = (image.session.to_native(), image.orphan.to_native());
    Ok(Device {
        id: device(&image.id)?,
        flag: DeviceFlag::from_number(image.flag).unwrap_or_default(),
        cursor: MessageId(image.cursor.to_native()),
        session: (session != 0).then_some(SessionId(session)),
        orphan: (orphan != 0).then_some(SessionId(orphan)),
        seen_ms: image.seen_ms.to_native(),
        closed: image.closed,
        loss: image.loss.loss(),
        missed: image.missed.loss(),
        senders: image.senders.iter().map(unpack_sender).collect(),
    })
}

fn unpack_sender(image: &ArchivedSenderV1) -> Sender {
    let stored = |stored: &ArchivedStoredV1| Stored {
        number: stored.number.to_native(),
        id: MessageId(stored.id.to_native()),
        sequence: stored.sequence.to_native(),
        at_ms: stored.at_ms.to_native(),
        hash: stored.hash.to_native(),
    };
    Sender {
        instance: image.instance.to_native(),
        highest: image.highest.to_native(),
        recent: image.recent.iter().map(stored).collect(),
    }
}

#[derive(Archive, Serialize)]
struct RowV1 {
    items: Vec<RowItemV1>,
}

#[derive(Archive, Serialize)]
struct RowItemV1 {
    id: i64,
    at_ms: i64,
    item: ItemV1,
}

#[derive(Archive, Serialize)]
enum ItemV1 {
    Message { message: MessageV1 },
    Recalled { recall: RecallV1 },
    UpstreamDone { upstream: i64, conversation: ConversationKey, accepted: bool },
}

impl RowItemV1 {
    fn new(item: &Item) -> Option<Self> {
        let image = match item {
            Item::Message(message) => ItemV1::Message { message: MessageV1::new(message) },
            Item::Notice(notice) => match notice.news {
                News::Recalled(..) => ItemV1::Recalled { recall: RecallV1::of(notice)? },
                News::Upstream(upstream, accepted) => ItemV1::UpstreamDone {
                    upstream: upstream.0,
                    conversation: notice.conversation.key(),
                    accepted,
                },
                // What is shared by many is not in rows.
                News::Group(..) => return None,
            },
        };
        Some(Self { id: item.id().0, at_ms: item.at_ms(), item: image })
    }
}

impl ArchivedRowItemV1 {
    fn item(&self) -> Result<Item, ValueError> {
        let (id, at_ms) = (MessageId(self.id.to_native()), self.at_ms.to_native());
        Ok(match &self.item {
            ArchivedItemV1::Message { message } => {
                Item::Message(message.message(id, at_ms)?.into())
            }
            ArchivedItemV1::Recalled { recall } => {
                Item::Notice(recall.recall()?.notice(id, at_ms).into())
            }
            ArchivedItemV1::UpstreamDone { upstream, conversation, accepted } => {
                let conversation = ConversationId::from_key(conversation);
                let news = News::Upstream(MessageId(upstream.to_native()), *accepted);
                Item::Notice(Notice { id, at_ms, conversation, by: None, news }.into())
            }
        })
    }
}

/// A row of what waits, by rising id.
pub(super) fn pack_row(items: &[&Item]) -> Vec<u8> {
    let items = items.iter().filter_map(|item| RowItemV1::new(item)).collect();
    pack(Kind::Row, VERSION, &RowV1 { items })
}

/// Reads what of a row has a `wanted` id.
pub(super) fn unpack_row(
    bytes: &[u8],
    wanted: impl Fn(MessageId) -> bool,
) -> Result<Vec<Item>, ValueError> {
    let row = unpack::<ArchivedRowV1>(Kind::Row, VERSION, bytes)?;
    let wanted = row.items.iter().filter(|item| wanted(MessageId(item.id.to_native())));
    wanted.map(ArchivedRowItemV1::item).collect()
}

/// The key of a conversation.
pub(super) type ConversationKey = [u8; 17];

/// The last number of a conversation, and the segment that holds its last message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LastSequence {
    pub(super) sequence: u32,
    pub(super) segment: u32,
}

#[derive(Archive, Serialize)]
struct SequencesV1 {
    rows: Vec<SequenceRowV1>,
}

#[derive(Archive, Serialize)]
struct SequenceRowV1 {
    conversation: ConversationKey,
    sequence: u32,
    segment: u32,
}

/// Last sequences, sorted by conversation.
pub(super) fn pack_sequences(rows: &[(ConversationKey, LastSequence)]) -> Vec<u8> {
    let row = |(conversation, last): &(ConversationKey, LastSequence)| SequenceRowV1 {
        conversation: *conversation,
        sequence: last.sequence,
        segment: last.segment,
    };
    pack(Kind::Sequences, VERSION, &SequencesV1 { rows: rows.iter().map(row).collect() })
}

/// Reads what [`pack_sequences`] wrote.
pub(super) fn unpack_sequences(
    bytes: &[u8],
) -> Result<Vec<(ConversationKey, LastSequence)>, ValueError> {
    let image = unpack::<ArchivedSequencesV1>(Kind::Sequences, VERSION, bytes)?;
    Ok(image.rows.iter().map(|row| (row.conversation, last_sequence(row))).collect())
}

fn last_sequence(row: &ArchivedSequenceRowV1) -> LastSequence {
    LastSequence { sequence: row.sequence.to_native(), segment: row.segment.to_native() }
}

/// Finds one conversation among stored sequences without reading the others.
pub(super) fn find_sequence(
    bytes: &[u8],
    conversation: &ConversationKey,
) -> Result<Option<LastSequence>, ValueError> {
    let image = unpack::<ArchivedSequencesV1>(Kind::Sequences, VERSION, bytes)?;
    let found = image.rows.binary_search_by(|row| row.conversation.cmp(conversation));
    Ok(found.ok().map(|at| last_sequence(&image.rows[at])))
}

/// How far the state has come, and which log it belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Checkpoint {
    /// The log's random number.
    pub(super) epoch: u64,
    /// Every entry up to here shows in the state.
    pub(super) applied: MessageId,
    /// How often the server has started.
    pub(super) run: u32,
    /// When it started last.
    pub(super) started_ms: i64,
    /// The first segment of this epoch: a conversation last seen before it may have lost numbers.
    pub(super) epoch_segment: u32,
    /// How many numbers such a conversation skips.
    pub(super) sequence_jump: u32,
}

#[derive(Archive, Serialize)]
struct CheckpointV1 {
    epoch: u64,
    applied: i64,
    run: u32,
    started_ms: i64,
    epoch_segment: u32,
    sequence_jump: u32,
}

/// The stored form of the checkpoint.
pub(super) fn pack_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let image = CheckpointV1 {
        epoch: checkpoint.epoch,
        applied: checkpoint.applied.0,
        run: checkpoint.run,
        started_ms: checkpoint.started_ms,
        epoch_segment: checkpoint.epoch_segment,
        sequence_jump: checkpoint.sequence_jump,
    };
    pack(Kind::Checkpoint, VERSION, &image)
}

/// Reads what [`pack_checkpoint`] wrote.
pub(super) fn unpack_checkpoint(bytes: &[u8]) -> Result<Checkpoint, ValueError> {
    let image = unpack::<ArchivedCheckpointV1>(Kind::Checkpoint, VERSION, bytes)?;
    Ok(Checkpoint {
        epoch: image.epoch.to_native(),
        applied: MessageId(image.applied.to_native()),
        run: image.run.to_native(),
        started_ms: image.started_ms.to_native(),
        epoch_segment: image.epoch_segment.to_native(),
        sequence_jump: image.sequence_jump.to_native(),
    })
}

#[derive(Archive, Serialize)]
struct HeadV1 {
    id: i64,
}

/// The stored form of the last id that was seen on stable storage.
pub(super) fn pack_head(id: MessageId) -> Vec<u8> {
    pack(Kind::Head, VERSION, &HeadV1 { id: id.0 })
}

/// Reads what [`pack_head`] wrote.
pub(super) fn unpack_head(bytes: &[u8]) -> Result<MessageId, ValueError> {
    Ok(MessageId(unpack::<ArchivedHeadV1>(Kind::Head, VERSION, bytes)?.id.to_native()))
}

/// What is known of a closed segment without opening it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct SegmentInfo {
    /// Its last entry.
    pub(super) last: MessageId,
    /// When that was committed.
    pub(super) at_ms: i64,
    /// Bytes on disk.
    pub(super) bytes: u64,
    /// It is a file with its index, and no database any more.
    pub(super) indexed: bool,
}

#[derive(Archive, Serialize)]
struct SegmentV1 {
    last: i64,
    at_ms: i64,
    bytes: u64,
    indexed: bool,
}

/// The stored form of a segment's description.
pub(super) fn pack_segment(info: &SegmentInfo) -> Vec<u8> {
    let SegmentInfo { last, at_ms, bytes, indexed } = *info;
    pack(Kind::Segment, VERSION, &SegmentV1 { last: last.0, at_ms, bytes, indexed })
}

/// Reads what [`pack_segment`] wrote.
pub(super) fn unpack_segment(bytes: &[u8]) -> Result<SegmentInfo, ValueError> {
    let image = unpack::<ArchivedSegmentV1>(Kind::Segment, VERSION, bytes)?;
    Ok(SegmentInfo {
        last: MessageId(image.last.to_native()),
        at_ms: image.at_ms.to_native(),
        bytes: image.bytes.to_native(),
        indexed: image.indexed,
    })
}
