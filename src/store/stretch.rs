//! Reading the log forward, stretch by stretch.
//!
//! # Invariants
//!
//! * Only what is on stable storage is read: records up to the head.
//! * A closed segment is read in large parts, one behind the other; no record is decoded twice.
//! * What is damaged is told to the operator and left out.

use crate::chain::Chain;
use crate::id::MessageId;
use crate::limits::JOURNAL_RUN_BYTES_MAX;
use crate::store::archive::ValueError;
use crate::store::catalog::OpenSegment;
use crate::store::closed::{Closed, ClosedReader};
use crate::store::database::DatabaseError;
use crate::store::entry::Placed;
use crate::store::history::Source;
use crate::store::journal::Stretch;
use crate::store::reader::Reader;
use crate::store::record::Record;

/// A stretch in the making.
struct Draft {
    entries: Vec<Placed>,
    through: MessageId,
    head: MessageId,
    /// What is damaged, and behind what there is more of it.
    holes: Vec<(MessageId, MessageId)>,
    hole: Option<MessageId>,
    /// Bytes of the records that it has, and that it may have.
    bytes: usize,
    bytes_max: usize,
    is_full: bool,
    /// Something of the segment is damaged.
    is_hurt: bool,
}

impl Reader {
    /// The entries behind `after`, up to `head`, of as many records as have `bytes_max` bytes.
    ///
    /// Blocks on the disk.
    pub(super) fn stretch(
        &self,
        after: MessageId,
        head: MessageId,
        bytes_max: usize,
    ) -> Result<Stretch, DatabaseError> {
        let gone = self.catalog.gone();
        let lost = (after < gone).then_some(gone);
        let (through, holes, hole) = (after.max(gone), Vec::new(), None);
        let (entries, bytes, is_full, is_hurt) = Default::default();
        let mut draft =
            Draft { entries, through, head, holes, hole, bytes, bytes_max, is_full, is_hurt };
        let mut number = 0;
        while let (gone, Some(source)) = self.catalog.at_least(number, draft.through) {
            number = source.number() + 1;
            if gone > draft.through {
                return self.cut_short(draft, (after, lost));
            }
            let read = match &source {
                Source::Memory(open) => draft.add_open(open),
                Source::Closed(closed) => draft.add_closed(closed),
            };
            match read {
                Ok(()) => {}
                // It was removed while it was read.
                Err(_) if !self.catalog.holds(source.number()) => {
                    return self.cut_short(draft, (after, lost));
                }
                Err(DatabaseError::Value { source: error, .. }) => {
                    draft.damaged(source.number(), &error);
                }
                Err(error) => return Err(error),
            }
            if std::mem::take(&mut draft.is_hurt) {
                self.catalog.hurt(source.number());
            }
            if draft.is_full {
                return Ok(draft.finish(lost));
            }
        }
        draft.through = draft.through.max(head);
        draft.end_hole(draft.through);
        Ok(draft.finish(lost))
    }

    /// A stretch behind which something was removed while it was made: the next one says so, or
    /// this one if it has nothing.
    fn cut_short(
        &self,
        draft: Draft,
        (after, lost): (MessageId, Option<MessageId>),
    ) -> Result<Stretch, DatabaseError> {
        match draft.bytes {
            0 => self.stretch(after, draft.head, draft.bytes_max),
            _ => Ok(draft.finish(lost)),
        }
    }

    /// The last entry of the last record up to `head` that was committed before a time; the last
    /// one that was removed, if there is none.
    ///
    /// Blocks on the disk.
    pub(super) fn before(&self, at_ms: i64, head: MessageId) -> Result<MessageId, DatabaseError> {
        let mut next = self.catalog.at_most(u32::MAX);
        while let Some(source) = next {
            let found = match &source {
                Source::Memory(open) => last_before(open, at_ms, head),
                Source::Closed(closed) if closed.footer.oldest_ms >= at_ms => Ok(None),
                Source::Closed(closed) => closed.open().and_then(|file| file.last_before(at_ms)),
            };
            match found {
                Ok(Some(found)) => return Ok(found.max(self.catalog.gone())),
                Ok(None) => {}
                Err(_) if !self.catalog.holds(source.number()) => {}
                Err(DatabaseError::Value { source: error, .. }) => {
                    tell(source.number(), head, &error);
                }
                Err(error) => return Err(error),
            }
            next = source.number().checked_sub(1).and_then(|below| self.catalog.at_most(below));
        }
        Ok(self.catalog.gone())
    }
}

/// The last entry of the last record of a segment that was committed before a time.
fn last_before(
    open: &OpenSegment,
    at_ms: i64,
    head: MessageId,
) -> Result<Option<MessageId>, DatabaseError> {
    let mut last = None;
    for record in open.segment.records(MessageId::NONE) {
        let (_, bytes) = match record {
            Err(DatabaseError::Value { source: error, .. }) => {
                tell(open.segment.number, last.unwrap_or_default(), &error);
                continue;
            }
            record => record?,
        };
        let header = match Record::parse(&bytes) {
            Ok(record) => record.header,
            Err(error) => {
                tell(open.segment.number, last.unwrap_or_default(), &error);
                continue;
            }
        };
        if header.at_ms < at_ms && header.last() <= head {
            last = Some(header.last());
        }
    }
    Ok(last)
}

fn tell(segment: u32, behind: MessageId, error: &ValueError) {
    tracing::error!(segment, %behind, error = %Chain(error), "a part of the log is damaged");
}

impl Draft {
    fn finish(self, lost: Option<MessageId>) -> Stretch {
        Stretch { entries: self.entries, through: self.through, lost, holes: self.holes }
    }

    /// Something behind what has been read is damaged.
    fn damaged(&mut self, segment: u32, error: &ValueError) {
        tell(segment, self.through, error);
        self.is_hurt = true;
        self.hole.get_or_insert(self.through);
    }

    /// What is damaged ends with this entry.
    fn end_hole(&mut self, through: MessageId) {
        if let Some(from) = self.hole.take().filter(|from| *from < through) {
            self.holes.push((from, through));
            self.through = self.through.max(through);
        }
    }

    fn add_open(&mut self, open: &OpenSegment) -> Result<(), DatabaseError> {
        let from = open.segment.begin_of(MessageId(self.through.0.saturating_add(1)));
        for record in open.segment.records(from) {
            let (first, bytes) = match record {
                Err(DatabaseError::Value { source: error, .. }) => {
                    self.damaged(open.segment.number, &error);
                    continue;
                }
                record => record?,
            };
            if first > self.head {
                break;
            }
            self.add(open.segment.number, &bytes);
            if self.is_full {
                break;
            }
        }
        Ok(())
    }

    fn add_closed(&mut self, closed: &Closed) -> Result<(), DatabaseError> {
        let reader = closed.open()?;
        let mut index = match reader.index_of(MessageId(self.through.0.saturating_add(1))) {
            Err(DatabaseError::Value { source: error, .. }) => {
                tell(closed.number, self.through, &error);
                0
            }
            index => index?,
        };
        while index < reader.footer.records && !self.is_full {
            let left = self.bytes_max.saturating_sub(self.bytes);
            let run = match reader.run(index, left.min(JOURNAL_RUN_BYTES_MAX)) {
                Err(DatabaseError::Value { source: error, .. }) => {
                    self.damaged(closed.number, &error);
                    index = ClosedReader::next_block(index);
                    continue;
                }
                run => run?,
            };
            for record in run.records() {
                self.add(closed.number, record);
            }
            index = run.next;
        }
        Ok(())
    }

    /// Adds a record, unless it has too much.
    fn add(&mut self, segment: u32, bytes: &[u8]) {
        if self.is_full {
            return;
        }
        let record = match Record::parse(bytes) {
            Ok(record) => record,
            Err(error) => return self.damaged(segment, &error),
        };
        let (first, last) = (record.header.first, record.header.last());
        if last <= self.through {
            return; // The copy of one that the segment before ends with.
        }
        self.end_hole(MessageId(first.0 - 1));
        if self.bytes > 0 && self.bytes + bytes.len() > self.bytes_max {
            self.is_full = true;
            return;
        }
        for id in first.0.max(self.through.0 + 1)..=last.0 {
            match record.entry(MessageId(id)) {
                Ok(placed) => self.entries.push(placed),
                Err(error) => {
                    tell(segment, MessageId(id - 1), &error);
                    self.holes.push((MessageId(id - 1), MessageId(id)));
                }
            }
        }
        self.bytes += bytes.len();
        self.through = last;
    }
}
