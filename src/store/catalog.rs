//! Which segments there are, and reading them: what the commit thread, the segment thread and the
//! readers of history share.
//!
//! # Invariants
//!
//! * A segment is open, closing (its index is being written) or closed, and found in exactly one
//!   of these at any time.
//! * At most [`COLD_MAX`] closed segments are held open for readers, and those that are being read:
//!   an open one takes memory in proportion to its size.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::id::{ConversationId, MessageId, PeerId};
use crate::limits::HISTORY_PAGE_BYTES_MAX;
use crate::store::archive::ValueError;
use crate::store::entry::{Entry, Message, Placed};
use crate::store::image::SegmentInfo;
use crate::store::index::{self, Found, OpenIndex, Place, Subject};
use crate::store::record::Record;
use crate::store::segment::{DatabaseError, Segment};

/// Closed segments held open for readers; each takes up to 100 MiB.
const COLD_MAX: usize = 1;
/// Closed segments that are opened for one page of history; each takes some 100 ms.
const COLD_PER_PAGE_MAX: usize = 8;

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
    cold: Mutex<Vec<Arc<Segment>>>,
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
        // Held until it is not listed any more, so that no reader opens it meanwhile.
        let mut cold = self.cold.lock();
        self.segments.write().closed.remove(&number);
        cold.retain(|segment| segment.number != number);
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.read();
        let memory = segments.closing.values().chain([&segments.open]);
        let memory: u64 = memory.map(|open| open.segment.database.bytes()).sum();
        memory + segments.closed.values().map(|info| info.bytes).sum::<u64>()
    }

    /// Up to `max` messages, newest first, with ids below `before`, and whether there may be more.
    /// `head` is the segment of the newest message, where that is known.
    ///
    /// The page is shorter if its messages have [`HISTORY_PAGE_BYTES_MAX`] or lie far apart: what
    /// one reader reads at once is bounded.
    ///
    /// Blocks on the disk.
    pub(super) fn history(
        &self,
        of: &HistoryOf,
        head: Option<u32>,
        mut before: MessageId,
        max: usize,
    ) -> Result<(Vec<Message>, bool), DatabaseError> {
        let mut page = Page { messages: Vec::new(), bytes: 0, max };
        let newest = head.unwrap_or(u32::MAX).min(self.newest_below(before));
        let mut next = self.source_at_most(newest);
        let mut opened = 0;
        while let Some((number, source)) = next {
            if let Source::Disk(_) = source {
                // A page that has nothing would be taken for the end: where a segment does not
                // know the one with the messages before its own, several may have none.
                if opened >= COLD_PER_PAGE_MAX && !page.messages.is_empty() {
                    return Ok((page.messages, true));
                }
                opened += 1;
            }
            let found = self.read_page(&source, of, before, &mut page)?;
            if page.is_full() {
                return Ok((page.messages, true));
            }
            if let Some(last) = found.ids.last() {
                before = *last;
            }
            let previous = match (of, found.previous) {
                (HistoryOf::Conversation(_), Some(previous)) => previous,
                _ => number.saturating_sub(1),
            };
            next = self.source_at_most(previous);
        }
        Ok((page.messages, false))
    }

    /// Adds to a page what one segment has; says what was found there.
    fn read_page(
        &self,
        source: &Source,
        of: &HistoryOf,
        before: MessageId,
        page: &mut Page,
    ) -> Result<Found, DatabaseError> {
        let wanted = page.max - page.messages.len();
        match source {
            Source::Memory(open) => {
                let found = open.index.find(|place| of.matches(place), before, wanted);
                page.read(&open.segment, &found.ids, of)?;
                Ok(found)
            }
            Source::Disk(number) => {
                let Some(segment) = self.cold(*number)? else { return Ok(Found::default()) };
                let found = index::find(&segment, of.subject(), before, wanted)?;
                page.read(&segment, &found.ids, of)?;
                Ok(found)
            }
        }
    }

    /// The newest segment in which there are ids below `before`, or a later number.
    fn newest_below(&self, before: MessageId) -> u32 {
        let segments = self.segments.read();
        let behind = |info: &SegmentInfo| info.last.0 >= before.0.saturating_sub(1);
        let holds = segments.closed.iter().find(|(_, info)| behind(info));
        holds.map_or(u32::MAX, |(number, _)| *number)
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
        if cold.len() >= COLD_MAX {
            // One that is being read stays: opening it again would wait for its lock.
            cold.retain(|segment| Arc::strong_count(segment) > 1);
        }
        let segment = Arc::new(Segment::open(&self.folder, number)?);
        cold.push(segment.clone());
        Ok(Some(segment))
    }

    /// Lets go of the closed segments that were opened for reading and are not read now.
    pub(super) fn cool(&self) {
        self.cold.lock().retain(|segment| Arc::strong_count(segment) > 1);
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

/// A page of history in the making.
struct Page {
    messages: Vec<Message>,
    bytes: usize,
    max: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.messages.len() >= self.max || self.bytes >= HISTORY_PAGE_BYTES_MAX
    }

    /// Reads messages of one segment, newest first, until the page is full.
    fn read(
        &mut self,
        segment: &Segment,
        ids: &[MessageId],
        of: &HistoryOf,
    ) -> Result<(), DatabaseError> {
        let mut ids = ids.iter().peekable();
        while let Some(id) = ids.next_if(|_| !self.is_full()) {
            let Some(bytes) = segment.record(*id)? else { continue };
            let damaged = DatabaseError::value(&segment.database.path);
            let record = Record::parse(&bytes).map_err(&damaged)?;
            self.add(&record, *id, of).map_err(&damaged)?;
            // Neighbours often stand in the same record, which has been checked now.
            let first = record.header.first;
            while let Some(id) = ids.next_if(|id| **id >= first && !self.is_full()) {
                self.add(&record, *id, of).map_err(&damaged)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        record: &Record<'_>,
        id: MessageId,
        of: &HistoryOf,
    ) -> Result<(), ValueError> {
        let Entry::Message { message, .. } = record.entry(id)?.entry else { return Ok(()) };
        let is_asked_for = match of {
            HistoryOf::Conversation(conversation) => message.conversation == *conversation,
            HistoryOf::Sender(peer) => message.from == *peer,
        };
        if is_asked_for {
            self.bytes += message.body.len() + message.client_msg_no.len();
            self.messages.push(Arc::unwrap_or_clone(message));
        }
        Ok(())
    }
}
