//! The stored forms of how an endpoint has come further, how far it has come, and its letters.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.

use bytes::Bytes;
use rkyv::{Archive, Serialize};

use crate::id::MessageId;
use crate::store::archive::{Kind, ValueError, pack, unpack};
use crate::store::endpoints::Endpoint;
use crate::store::journal::{Batch, EndpointChange, Letter, Position, Span};
use crate::store::letters::Slot;

const VERSION: u8 = 1;

#[derive(Archive, Clone, Copy, Serialize)]
pub(super) struct PositionV1 {
    entry: i64,
    part: u32,
}

impl From<Position> for PositionV1 {
    fn from(position: Position) -> Self {
        Self { entry: position.entry.0, part: position.part }
    }
}

impl ArchivedPositionV1 {
    pub(super) fn position(&self) -> Position {
        Position { entry: MessageId(self.entry.to_native()), part: self.part.to_native() }
    }
}

#[derive(Archive, Serialize)]
struct SpanV1 {
    lane: u8,
    from: PositionV1,
    to: PositionV1,
}

#[derive(Archive, Serialize)]
pub(super) struct BatchV1 {
    number: u64,
    formed_ms: i64,
    spans: Vec<SpanV1>,
}

impl BatchV1 {
    pub(super) fn new(batch: &Batch) -> Self {
        let span =
            |span: &Span| SpanV1 { lane: span.lane, from: span.from.into(), to: span.to.into() };
        Self {
            number: batch.number,
            formed_ms: batch.formed_ms,
            spans: batch.spans.iter().map(span).collect(),
        }
    }
}

impl ArchivedBatchV1 {
    pub(super) fn batch(&self) -> Batch {
        let span = |span: &ArchivedSpanV1| Span {
            lane: span.lane,
            from: span.from.position(),
            to: span.to.position(),
        };
        Batch {
            number: self.number.to_native(),
            formed_ms: self.formed_ms.to_native(),
            spans: self.spans.iter().map(span).collect(),
        }
    }
}

#[derive(Archive, Serialize)]
pub(super) struct LetterV1 {
    position: PositionV1,
    event: String,
    kind: String,
    at_ms: i64,
    status: u16,
    why: String,
    tries: u32,
    request: String,
    query: String,
    body: Bytes,
}

impl LetterV1 {
    fn new(letter: Letter) -> Self {
        let Letter { position, event, kind, at_ms, status, why, tries, request, query, body } =
            letter;
        let position = position.into();
        Self { position, event, kind, at_ms, status, why, tries, request, query, body }
    }
}

impl ArchivedLetterV1 {
    pub(super) fn letter(&self) -> Letter {
        Letter {
            position: self.position.position(),
            event: self.event.as_str().to_owned(),
            kind: self.kind.as_str().to_owned(),
            at_ms: self.at_ms.to_native(),
            status: self.status.to_native(),
            why: self.why.as_str().to_owned(),
            tries: self.tries.to_native(),
            request: self.request.as_str().to_owned(),
            query: self.query.as_str().to_owned(),
            body: Bytes::copy_from_slice(&self.body),
        }
    }
}

#[derive(Archive, Serialize)]
pub(super) enum EndpointChangeV1 {
    Began { after: i64 },
    Formed { batch: BatchV1 },
    Done { number: u64 },
    Split { number: u64, parts: Vec<BatchV1> },
    Passed { through: i64 },
    Halted { why: Option<String> },
    Kept { letter: LetterV1 },
    Dropped { letters: Vec<PositionV1> },
    Removed,
}

impl EndpointChangeV1 {
    pub(super) fn new(change: EndpointChange) -> Self {
        match change {
            EndpointChange::Began { after } => Self::Began { after: after.0 },
            EndpointChange::Formed(batch) => Self::Formed { batch: BatchV1::new(&batch) },
            EndpointChange::Done { number } => Self::Done { number },
            EndpointChange::Split { number, parts } => {
                Self::Split { number, parts: parts.iter().map(BatchV1::new).collect() }
            }
            EndpointChange::Passed { through } => Self::Passed { through: through.0 },
            EndpointChange::Halted { why } => Self::Halted { why },
            EndpointChange::Kept(letter) => Self::Kept { letter: LetterV1::new(letter) },
            EndpointChange::Dropped { letters } => {
                Self::Dropped { letters: letters.into_iter().map(PositionV1::from).collect() }
            }
            EndpointChange::Removed => Self::Removed,
        }
    }
}

impl ArchivedEndpointChangeV1 {
    pub(super) fn change(&self) -> EndpointChange {
        match self {
            Self::Began { after } => EndpointChange::Began { after: MessageId(after.to_native()) },
            Self::Formed { batch } => EndpointChange::Formed(batch.batch()),
            Self::Done { number } => EndpointChange::Done { number: number.to_native() },
            Self::Split { number, parts } => EndpointChange::Split {
                number: number.to_native(),
                parts: parts.iter().map(ArchivedBatchV1::batch).collect(),
            },
            Self::Passed { through } => {
                EndpointChange::Passed { through: MessageId(through.to_native()) }
            }
            Self::Halted { why } => {
                EndpointChange::Halted { why: why.as_ref().map(|why| why.as_str().to_owned()) }
            }
            Self::Kept { letter } => EndpointChange::Kept(letter.letter()),
            Self::Dropped { letters } => EndpointChange::Dropped {
                letters: letters.iter().map(ArchivedPositionV1::position).collect(),
            },
            Self::Removed => EndpointChange::Removed,
        }
    }
}

#[derive(Archive, Serialize)]
struct EndpointV1 {
    applied: i64,
    lanes: Vec<PositionV1>,
    batches: Vec<BatchV1>,
    next_number: u64,
    halted: Option<String>,
}

/// The stored form of how far an endpoint has come.
pub(super) fn pack_endpoint(endpoint: &Endpoint) -> Vec<u8> {
    let Endpoint { applied, lanes, batches, next_number, halted } = endpoint;
    let image = EndpointV1 {
        applied: applied.0,
        lanes: lanes.iter().copied().map(PositionV1::from).collect(),
        batches: batches.iter().map(BatchV1::new).collect(),
        next_number: *next_number,
        halted: halted.clone(),
    };
    pack(Kind::Endpoint, VERSION, &image)
}

/// Reads what [`pack_endpoint`] wrote.
pub(super) fn unpack_endpoint(bytes: &[u8]) -> Result<Endpoint, ValueError> {
    let image = unpack::<ArchivedEndpointV1>(Kind::Endpoint, VERSION, bytes)?;
    let lanes: Vec<Position> = image.lanes.iter().map(ArchivedPositionV1::position).collect();
    Ok(Endpoint {
        applied: MessageId(image.applied.to_native()),
        lanes: lanes.try_into().map_err(|_| ValueError::damaged("not as many lanes"))?,
        batches: image.batches.iter().map(ArchivedBatchV1::batch).collect(),
        next_number: image.next_number.to_native(),
        halted: image.halted.as_ref().map(|why| why.as_str().to_owned()),
    })
}

/// The stored form of a letter.
pub(super) fn pack_letter(letter: &Letter) -> Vec<u8> {
    pack(Kind::Letter, VERSION, &LetterV1::new(letter.clone()))
}

/// Reads what [`pack_letter`] wrote.
pub(super) fn unpack_letter(bytes: &[u8]) -> Result<Letter, ValueError> {
    Ok(unpack::<ArchivedLetterV1>(Kind::Letter, VERSION, bytes)?.letter())
}

#[derive(Archive, Serialize)]
struct SlotV1 {
    at_ms: i64,
    bytes: u32,
}

/// The stored form of what is known of a letter without reading it.
pub(super) fn pack_slot(slot: &Slot) -> Vec<u8> {
    pack(Kind::LetterSlot, VERSION, &SlotV1 { at_ms: slot.at_ms, bytes: slot.bytes })
}

/// Reads what [`pack_slot`] wrote.
pub(super) fn unpack_slot(bytes: &[u8]) -> Result<Slot, ValueError> {
    let image = unpack::<ArchivedSlotV1>(Kind::LetterSlot, VERSION, bytes)?;
    let (at_ms, bytes) = (image.at_ms.to_native(), image.bytes.to_native());
    Ok(Slot { at_ms, bytes, letter: None })
}

#[derive(Archive, Serialize)]
struct GoneV1 {
    id: i64,
}

/// The stored form of the last entry that was removed from the log.
pub(super) fn pack_gone(id: MessageId) -> Vec<u8> {
    pack(Kind::Gone, VERSION, &GoneV1 { id: id.0 })
}

/// Reads what [`pack_gone`] wrote.
pub(super) fn unpack_gone(bytes: &[u8]) -> Result<MessageId, ValueError> {
    Ok(MessageId(unpack::<ArchivedGoneV1>(Kind::Gone, VERSION, bytes)?.id.to_native()))
}
