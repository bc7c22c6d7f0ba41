//! Which segments there are: what the commit thread, the segment thread and the readers share.
//!
//! # Invariants
//!
//! * A segment is open, closing (its file is being written) or closed, and found in exactly one of
//!   these at any time.
//! * A closed segment takes a few hundred bytes of memory. An open or a closing one has
//!   its index in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::id::MessageId;
use crate::store::archive::ValueError;
use crate::store::backup::LogFile;
use crate::store::closed::Closed;
use crate::store::database::DatabaseError;
use crate::store::entry::Placed;
use crate::store::history::Source;
use crate::store::image::SegmentInfo;
use crate::store::index::OpenIndex;
use crate::store::record::Record;
use crate::store::segment::Segment;

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
    closed: BTreeMap<u32, Arc<Closed>>,
    /// The last entry of the segments that were removed.
    gone: MessageId,
}

/// All segments of the log.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) folder: PathBuf,
    segments: RwLock<Segments>,
    /// Closed segments that somebody has found damaged, each once in a run, and whether the
    /// segment thread knows.
    hurt: Mutex<BTreeMap<u32, bool>>,
}

impl Catalog {
    pub(super) fn new(
        folder: PathBuf,
        open: Arc<OpenSegment>,
        closed: BTreeMap<u32, Arc<Closed>>,
        gone: MessageId,
    ) -> Self {
        let segments = Segments { open, closing: BTreeMap::new(), closed, gone };
        Self { folder, segments: RwLock::new(segments), hurt: Mutex::default() }
    }

    pub(super) fn open(&self) -> Arc<OpenSegment> {
        self.segments.read().open.clone()
    }

    /// Closes the open segment, which is read as it is until its file is written.
    pub(super) fn replace_open(&self, next: Arc<OpenSegment>) -> Arc<OpenSegment> {
        let mut segments = self.segments.write();
        let closing = std::mem::replace(&mut segments.open, next);
        segments.closing.insert(closing.segment.number, closing.clone());
        closing
    }

    /// Adds a segment of an earlier run whose file is still to be written.
    pub(super) fn close_later(&self, segment: Arc<OpenSegment>) {
        self.segments.write().closing.insert(segment.segment.number, segment);
    }

    /// A segment has its file.
    pub(super) fn close(&self, closed: Closed) {
        let mut segments = self.segments.write();
        segments.closing.remove(&closed.number);
        segments.closed.insert(closed.number, Arc::new(closed));
    }

    /// Puts another file in the place of a closed segment's, if that is still there.
    pub(super) fn replace_closed(&self, closed: Closed) -> bool {
        let mut segments = self.segments.write();
        let is_there = segments.closed.contains_key(&closed.number);
        if is_there {
            segments.closed.insert(closed.number, Arc::new(closed));
        }
        is_there
    }

    /// A part of a closed segment is damaged.
    pub(super) fn hurt(&self, number: u32) {
        self.hurt.lock().entry(number).or_default();
    }

    /// Those that have been found damaged and are closed, each once.
    pub(super) fn take_hurt(&self) -> Vec<Arc<Closed>> {
        let mut hurt = self.hurt.lock();
        let segments = self.segments.read();
        let mut fresh = Vec::new();
        for (number, known) in hurt.iter_mut().filter(|(_, known)| !**known) {
            // One that still closes is looked at when it has closed.
            let closed = segments.closed.get(number);
            *known = closed.is_some();
            fresh.extend(closed.cloned());
        }
        fresh
    }

    /// The oldest segment, if it is closed.
    pub(super) fn oldest(&self) -> Option<(u32, SegmentInfo)> {
        let segments = self.segments.read();
        let (number, closed) = segments.closed.first_key_value()?;
        let closing = segments.closing.first_key_value();
        let is_oldest = closing.is_none_or(|(closing, _)| closing > number);
        is_oldest.then(|| (*number, closed.info()))
    }

    /// Takes a closed segment out, so that its file can be removed.
    pub(super) fn forget(&self, number: u32) -> Option<Arc<Closed>> {
        let mut segments = self.segments.write();
        let closed = segments.closed.remove(&number)?;
        segments.gone = segments.gone.max(closed.last());
        Some(closed)
    }

    /// The last entry that was removed.
    pub(super) fn gone(&self) -> MessageId {
        self.segments.read().gone
    }

    /// The last entry that was removed, and the oldest segment from `number` on that may have
    /// entries behind `after`.
    pub(super) fn at_least(&self, number: u32, after: MessageId) -> (MessageId, Option<Source>) {
        let segments = self.segments.read();
        let mut closed = segments.closed.range(number..);
        let closed = closed.find(|(_, closed)| closed.last() > after);
        let closing = segments.closing.range(number..).next();
        let source = match (closed, closing) {
            (Some((closed, _)), Some((closing, open))) if closing < closed => {
                Some(Source::Memory(open.clone()))
            }
            (Some((_, closed)), _) => Some(Source::Closed(closed.clone())),
            (None, Some((_, open))) => Some(Source::Memory(open.clone())),
            (None, None) => {
                let open = &segments.open;
                (open.segment.number >= number).then(|| Source::Memory(open.clone()))
            }
        };
        (segments.gone, source)
    }

    /// Bytes of all segments, and room for the file of a closing one: one is written at a time.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.read();
        let bytes = |open: &Arc<OpenSegment>| open.segment.bytes();
        let closing = || segments.closing.values().map(bytes);
        let closed: u64 = segments.closed.values().map(|closed| closed.bytes()).sum();
        let file = closing().max().unwrap_or(0);
        bytes(&segments.open) + closing().sum::<u64>() + file + closed
    }

    /// Whether a segment is still there.
    pub(super) fn holds(&self, number: u32) -> bool {
        let segments = self.segments.read();
        segments.closed.contains_key(&number)
            || segments.closing.contains_key(&number)
            || segments.open.segment.number == number
    }

    /// The newest segment in which there are ids below `before`, or a later number.
    pub(super) fn newest_below(&self, before: MessageId) -> u32 {
        let segments = self.segments.read();
        let behind = |closed: &Closed| closed.last().0 >= before.0.saturating_sub(1);
        let holds = segments.closed.iter().find(|(_, closed)| behind(closed));
        holds.map_or(u32::MAX, |(number, _)| *number)
    }

    /// The newest segment that is not newer than `number`.
    pub(super) fn at_most(&self, number: u32) -> Option<Source> {
        let segments = self.segments.read();
        if segments.open.segment.number <= number {
            return Some(Source::Memory(segments.open.clone()));
        }
        let closing = segments.closing.range(..=number).next_back();
        let closed = segments.closed.range(..=number).next_back();
        match (closing, closed) {
            (Some((closing, open)), Some((closed, _))) if closing > closed => {
                Some(Source::Memory(open.clone()))
            }
            (_, Some((_, closed))) => Some(Source::Closed(closed.clone())),
            (Some((_, open)), None) => Some(Source::Memory(open.clone())),
            (None, None) => None,
        }
    }

    /// The files of all segments, with what they have up to `head`: they can be read whatever
    /// becomes of their names.
    ///
    /// Blocks on the disk, for as long as it takes to open the closed ones.
    pub(super) fn files(&self, head: MessageId) -> Result<Vec<LogFile>, DatabaseError> {
        let segments = self.segments.read();
        let closed = segments.closed.values().map(|closed| {
            let path = closed.path.clone();
            let file = File::open(&path).map_err(DatabaseError::disk("open", &path))?;
            Ok(LogFile { path, file, bytes: closed.bytes() })
        });
        let open = segments.closing.values().chain([&segments.open]);
        closed.chain(open.map(|open| open.segment.up_to(head))).collect()
    }

    /// The entry with this id, or `None` if the log does not hold it (any more).
    ///
    /// Blocks on the disk.
    pub(super) fn entry(&self, id: MessageId) -> Result<Option<Placed>, DatabaseError> {
        Ok(self.entries(&[id])?.pop())
    }

    /// Of the entries with these ids, by rising id, the first and those behind it that lie in the
    /// same record; none if the log does not hold the first (any more).
    ///
    /// Blocks on the disk.
    pub(super) fn entries(&self, ids: &[MessageId]) -> Result<Vec<Placed>, DatabaseError> {
        let Some(id) = ids.first().copied() else { return Ok(Vec::new()) };
        let (memory, closed) = {
            let segments = self.segments.read();
            let memory = segments.closing.values().chain([&segments.open]);
            let memory: Vec<_> = memory.rev().cloned().collect();
            let closed = segments.closed.values().find(|closed| closed.last() >= id);
            (memory, closed.cloned())
        };
        for open in memory {
            let Some(bytes) = open.segment.record(id)? else { continue };
            let read = read_entries(&bytes, ids);
            let found = read.map_err(DatabaseError::value(&open.segment.path))?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let Some(closed) = closed else { return Ok(Vec::new()) };
        let bytes = match closed.open().and_then(|reader| reader.record(id)) {
            // It expired while it was looked for.
            Err(_) if !self.holds(closed.number) => return Ok(Vec::new()),
            Err(error @ DatabaseError::Value { .. }) => {
                self.hurt(closed.number);
                return Err(error);
            }
            read => read?,
        };
        let Some(bytes) = bytes else { return Ok(Vec::new()) };
        read_entries(&bytes, ids).map_err(|error| {
            self.hurt(closed.number);
            DatabaseError::value(&closed.path)(error)
        })
    }
}

/// Those of these entries that lie in a record, up to the first that is damaged.
fn read_entries(bytes: &[u8], ids: &[MessageId]) -> Result<Vec<Placed>, ValueError> {
    let (record, mut found) = (Record::parse(bytes)?, Vec::new());
    for id in ids.iter().take_while(|id| **id <= record.header.last()) {
        match record.entry(*id) {
            Ok(placed) => found.push(placed),
            Err(error) if found.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(found)
}
