//! The stored form of a peer's part in a conversation, and of the receipts that are due.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.

use rkyv::with::Map;
use rkyv::{Archive, Serialize};

use crate::id::{ConversationId, MessageId, PeerId};
use crate::store::archive::{AsText, Kind, ValueError, pack, unpack};
use crate::store::inscribed::{peer, peers};
use crate::store::part::{OtherMark, Part, Reach};
use crate::store::receipts::{Asked, Receipts};

const VERSION: u8 = 1;

#[derive(Archive, Serialize)]
struct PartV1 {
    #[rkyv(with = Map<AsText>)]
    others: Vec<PeerId>,
    since: i64,
    last: i64,
    sequence: u32,
    read: ReachV1,
    said: u32,
    marks: Vec<MarkV1>,
}

#[derive(Archive, Serialize)]
struct ReachV1 {
    sequence: u32,
    at_ms: i64,
    entry: i64,
}

#[derive(Archive, Serialize)]
struct MarkV1 {
    #[rkyv(with = AsText)]
    peer: PeerId,
    delivered: ReachV1,
    read: ReachV1,
}

impl ReachV1 {
    fn new(reach: Reach) -> Self {
        Self { sequence: reach.sequence, at_ms: reach.at_ms, entry: reach.entry.0 }
    }
}

impl ArchivedReachV1 {
    fn reach(&self) -> Reach {
        Reach {
            sequence: self.sequence.to_native(),
            at_ms: self.at_ms.to_native(),
            entry: MessageId(self.entry.to_native()),
        }
    }
}

/// The stored form of a part.
pub(super) fn pack_part(part: &Part) -> Vec<u8> {
    let mark = |mark: &OtherMark| MarkV1 {
        peer: mark.peer.clone(),
        delivered: ReachV1::new(mark.delivered),
        read: ReachV1::new(mark.read),
    };
    let image = PartV1 {
        others: part.others.to_vec(),
        since: part.since.0,
        last: part.last.0,
        sequence: part.sequence,
        read: ReachV1::new(part.read),
        said: part.said,
        marks: part.marks.iter().map(mark).collect(),
    };
    pack(Kind::Part, VERSION, &image)
}

/// Reads what [`pack_part`] wrote.
pub(super) fn unpack_part(bytes: &[u8]) -> Result<Part, ValueError> {
    let image = unpack::<ArchivedPartV1>(Kind::Part, VERSION, bytes)?;
    let mark = |mark: &ArchivedMarkV1| {
        Ok(OtherMark {
            peer: peer(&mark.peer)?,
            delivered: mark.delivered.reach(),
            read: mark.read.reach(),
        })
    };
    Ok(Part {
        others: peers(&image.others)?.into(),
        since: MessageId(image.since.to_native()),
        last: MessageId(image.last.to_native()),
        sequence: image.sequence.to_native(),
        read: image.read.reach(),
        said: image.said.to_native(),
        marks: image.marks.iter().map(mark).collect::<Result<_, ValueError>>()?,
        dirty: false,
    })
}

#[derive(Archive, Serialize)]
struct ReceiptsV1 {
    due: Vec<AskedV1>,
}

#[derive(Archive, Serialize)]
struct AskedV1 {
    id: i64,
    #[rkyv(with = AsText)]
    from: PeerId,
    system: bool,
    conversation: [u8; 17],
    sequence: u32,
    expires_ms: i64,
}

/// The stored form of receipts.
pub(super) fn pack_receipts(receipts: &Receipts) -> Vec<u8> {
    let asked = |asked: &Asked| AskedV1 {
        id: asked.id.0,
        from: asked.from.clone(),
        system: asked.system,
        conversation: asked.conversation.key(),
        sequence: asked.sequence,
        expires_ms: asked.expires_ms,
    };
    let image = ReceiptsV1 { due: receipts.due.iter().map(asked).collect() };
    pack(Kind::Receipts, VERSION, &image)
}

/// Reads what [`pack_receipts`] wrote.
pub(super) fn unpack_receipts(bytes: &[u8]) -> Result<Receipts, ValueError> {
    let image = unpack::<ArchivedReceiptsV1>(Kind::Receipts, VERSION, bytes)?;
    let asked = |asked: &ArchivedAskedV1| {
        Ok(Asked {
            id: MessageId(asked.id.to_native()),
            from: peer(&asked.from)?,
            system: asked.system,
            conversation: ConversationId::from_key(&asked.conversation),
            sequence: asked.sequence.to_native(),
            expires_ms: asked.expires_ms.to_native(),
        })
    };
    let due = image.due.iter().map(asked).collect::<Result<_, ValueError>>()?;
    Ok(Receipts { due, dirty: false })
}
