//! Which segments there are, and reading them: what the commit thread, the segment thread and the
//! readers of history share.
//!
//! # Invariants
//!
//! * A segment is open, closing (its index is being written) or closed, and found in exactly one
//!   of these at any time.
//! * At most [`COLD_MAX`] closed segments are held open for readers: an open one takes memory in
//!   proportion to its size.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::id::{ConversationId, MessageId, PeerId};
use crate::store::entry::{Entry, Message, Placed};
use crate::store::image::SegmentInfo;
use crate::store::index::{self, Found, OpenIndex, Place, Subject};
use crate::store::record::Record;
use crate::store::segment::{DatabaseError, Segment};

/// Closed segments held open for readers; each takes up to 100 MiB.
const COLD_MAX: usize = 1;

/// A segment with its index in memory.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) segment: Segment,
    pub(super) index: OpenIndex,
}

#[derive(Debug)]
struct Segments {
    open: Arc<OpenSegment>,
    closing: BTreeMap<u32, Arc<OpenSegment>>,
    closed: BTreeMap<u32, SegmentInfo>,
}

/// All segments of the log.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) folder: PathBuf,
    segments: RwLock<Segments>,
    cold: Mutex<VecDeque<Arc<Segment>>>,
}

/// Whose messages are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HistoryOf {
    /// A conversation's.
    Conversation(ConversationId),
    /// A sender's.
    Sender(PeerId),
}

impl HistoryOf {
    fn matches(&self, place: &Place) -> bool {
        match self {
            Self::Conversation(conversation) => place.conversation == *conversation,
            Self::Sender(peer) => place.from == *peer,
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Conversation(conversation) => Subject::conversation(conversation),
            Self::Sender(peer) => Subject::sender(peer),
        }
    }
}

enum Source {
    Memory(Arc<OpenSegment>),
    Disk(u32),
}

impl Catalog {
    pub(super) fn new(
        folder: PathBuf,
        open: Arc<OpenSegment>,
        closed: BTreeMap<u32, SegmentInfo>,
    ) -> Self {
        let segments = Segments { open, closing: BTreeMap::new(), closed };
        Self { folder, segments: RwLock::new(segments), cold: Mutex::default() }
    }

    pub(super) fn open(&self) -> Arc<OpenSegment> {
        self.segments.read().open.clone()
    }

    /// Closes the open segment, which keeps its index in memory until that is written.
    pub(super) fn replace_open(&self, next: Arc<OpenSegment>) -> Arc<OpenSegment> {
        let mut segments = self.segments.write();
        let closing = std::mem::replace(&mut segments.open, next);
        segments.closing.insert(closing.segment.number, closing.clone());
        closing
    }

    /// Adds a segment of an earlier run whose index is still to be written.
    pub(super) fn close_later(&self, segment: Arc<OpenSegment>) {
        self.segments.write().closing.insert(segment.segment.number, segment);
    }

    /// A closed segment has its index on disk, or needs none in memory.
    pub(super) fn close(&self, number: u32, info: SegmentInfo) {
        let mut segments = self.segments.write();
        segments.closing.remove(&number);
        segments.closed.insert(number, info);
    }

    /// The closed segments, oldest first.
    pub(super) fn closed(&self) -> Vec<(u32, SegmentInfo)> {
        self.segments.read().closed.iter().map(|(number, info)| (*number, *info)).collect()
    }

    /// Takes a closed segment out, so that its folder can be removed.
    pub(super) fn forget(&self, number: u32) {
        self.segments.write().closed.remove(&number);
        self.cold.lock().retain(|segment| segment.number != number);
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.read();
        let memory = segments.closing.values().chain([&segments.open]);
        let memory: u64 = memory.map(|open| open.segment.database.bytes()).sum();
        memory + segments.closed.values().map(|info| info.bytes).sum::<u64>()
    }

    /// Up to `max` messages, newest first, with ids below `before`. `head` is the segment of the
    /// newest message, where that is known.
    ///
    /// Blocks on the disk.
    pub(super) fn history(
        &self,
        of: &HistoryOf,
        head: Option<u32>,
        mut before: MessageId,
        max: usize,
    ) -> Result<Vec<Message>, DatabaseError> {
        let mut messages = Vec::new();
        let mut next = self.source_at_most(head.unwrap_or(u32::MAX));
        while let Some((number, source)) = next {
            let wanted = max - messages.len();
            let found = match &source {
                Source::Memory(open) => open.index.find(|place| of.matches(place), before, wanted),
                Source::Disk(number) => match self.cold(*number)? {
                    Some(segment) => index::find(&segment, of.subject(), before, wanted)?,
                    None => Found::default(),
                },
            };
            self.read_all(&source, &found, of, &mut messages)?;
            if let Some(last) = found.ids.last() {
                before = *last;
            }
            let previous = match (of, found.previous) {
                _ if messages.len() >= max => break,
                (HistoryOf::Conversation(_), Some(previous)) => previous,
                _ => number.saturating_sub(1),
            };
            next = self.source_at_most(previous);
        }
        Ok(messages)
    }

    fn read_all(
        &self,
        source: &Source,
        found: &Found,
        of: &HistoryOf,
        messages: &mut Vec<Message>,
    ) -> Result<(), DatabaseError> {
        for id in &found.ids {
            let message = match source {
                Source::Memory(open) => read_message(&open.segment, *id)?,
                Source::Disk(number) => match self.cold(*number)? {
                    Some(segment) => read_message(&segment, *id)?,
                    None => None,
                },
            };
            let is_asked_for = |message: &Message| match of {
                HistoryOf::Conversation(conversation) => message.conversation == *conversation,
                HistoryOf::Sender(peer) => message.from == *peer,
            };
            messages.extend(message.filter(is_asked_for));
        }
        Ok(())
    }

    /// The newest segment that is not newer than `number`.
    fn source_at_most(&self, number: u32) -> Option<(u32, Source)> {
        let segments = self.segments.read();
        if segments.open.segment.number <= number {
            return Some((segments.open.segment.number, Source::Memory(segments.open.clone())));
        }
        let closing = segments.closing.range(..=number).next_back();
        let closed = segments.closed.range(..=number).next_back();
        match (closing, closed) {
            (Some((number, open)), Some((closed, _))) if number > closed => {
                Some((*number, Source::Memory(open.clone())))
            }
            (_, Some((closed, _))) => Some((*closed, Source::Disk(*closed))),
            (Some((number, open)), None) => Some((*number, Source::Memory(open.clone()))),
            (None, None) => None,
        }
    }

    /// A closed segment, opened for reading; `None` if it was removed.
    fn cold(&self, number: u32) -> Result<Option<Arc<Segment>>, DatabaseError> {
        let mut cold = self.cold.lock();
        if let Some(segment) = cold.iter().find(|segment| segment.number == number) {
            return Ok(Some(segment.clone()));
        }
        // Opening one that was removed would make it anew.
        if !self.segments.read().closed.contains_key(&number) {
            return Ok(None);
        }
        if cold.len() == COLD_MAX {
            cold.pop_front();
        }
        let segment = Arc::new(Segment::open(&self.folder, number)?);
        cold.push_back(segment.clone());
        Ok(Some(segment))
    }

    /// Lets go of the closed segments that were opened for reading.
    pub(super) fn cool(&self) {
        self.cold.lock().clear();
    }
}

impl Catalog {
    /// The entry with this id, or `None` if the log does not hold it (any more).
    ///
    /// Blocks on the disk.
    pub(super) fn entry(&self, id: MessageId) -> Result<Option<Placed>, DatabaseError> {
        let (memory, closed) = {
            let segments = self.segments.read();
            let memory = segments.closing.values().chain([&segments.open]);
            let memory: Vec<_> = memory.rev().cloned().collect();
            let closed = segments.closed.iter().find(|(_, info)| info.last >= id);
            (memory, closed.map(|(number, _)| *number))
        };
        for open in memory {
            if let Some(placed) = read_entry(&open.segment, id)? {
                return Ok(Some(placed));
            }
        }
        match closed.map(|number| self.cold(number)).transpose()?.flatten() {
            Some(segment) => read_entry(&segment, id),
            None => Ok(None),
        }
    }
}

fn read_entry(segment: &Segment, id: MessageId) -> Result<Option<Placed>, DatabaseError> {
    let Some(bytes) = segment.record(id)? else { return Ok(None) };
    let record = Record::parse(&bytes).map_err(DatabaseError::value(&segment.database.path))?;
    if id > record.header.last() {
        return Ok(None);
    }
    record.entry(id).map(Some).map_err(DatabaseError::value(&segment.database.path))
}

fn read_message(segment: &Segment, id: MessageId) -> Result<Option<Message>, DatabaseError> {
    let Some(bytes) = segment.record(id)? else { return Ok(None) };
    let placed = Record::parse(&bytes).and_then(|record| record.entry(id));
    match placed.map_err(DatabaseError::value(&segment.database.path))?.entry {
        Entry::Message { message, .. } => Ok(Some(Arc::unwrap_or_clone(message))),
        _ => Ok(None),
    }
}
