//! A closed segment: one file that is never written again, searched where it lies.
//!
//! ```text
//! NNNNNNNNNN.segment
//!   the records, by rising first id, as they were appended
//!   zeroes up to a multiple of 4096 bytes
//!   table of records:  first i64 | oldest_ms i64 | newest_ms i64 | offset u32 | bytes u32
//!   table of subjects: subject 17 bytes | zeroes 3 | previous u32 | first place u32 | places u32
//!   table of places:   id i64
//!   footer, 106 bytes:
//!     kind u8 | version u8 | crc u32 of all behind it
//!     | of the last record: epoch u64 | first i64 | before i64 | commit i64 | at_ms i64
//!       | count u32
//!     | first id i64 | oldest at_ms i64 | newest at_ms i64
//!     | records u64 | subjects u64 | places u64 | where the tables begin u64
//! ```
//!
//! Little-endian. `oldest_ms` is the least time of a record and all behind it, `newest_ms` the
//! greatest of a record and all before it: both rise whatever the clock did, so that a time is
//! found by a binary search. The places of a subject lie together, by rising id; `previous` is the
//! segment that holds what the conversation had before. Tables are written in
//! [blocks](crate::store::blocks).
//!
//! # Invariants
//!
//! * A file under this name is complete: it was synced before it was given the name.
//! * In memory there is only what the footer says; a file is open only while it is read.
//! * A part that is damaged is found out when it is read, and costs that part.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::id::MessageId;
use crate::store::archive::{Kind, ValueError, strip};
use crate::store::blocks::{BLOCK_BYTES, Blocks, DiskFile};
use crate::store::database::{DatabaseError, remove_file};
use crate::store::image::SegmentInfo;
use crate::store::index::{Found, Span, Subject};
use crate::store::record::{Header, Record, array};

const VERSION: u8 = 1;
/// The extension of the file.
pub(super) const SEGMENT: &str = "segment";
pub(super) const RECORD_ROW: usize = 32;
pub(super) const SUBJECT_ROW: usize = 32;
pub(super) const PLACE_ROW: usize = 8;
const FOOTER_BYTES: usize = 106;

/// What is known of a closed segment: what its footer says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Closed {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    pub(super) footer: Footer,
}

/// The end of the file, which tells of the rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Footer {
    /// The last record.
    pub(super) last: Header,
    /// The first id.
    pub(super) first: MessageId,
    /// The least time of a record.
    pub(super) oldest_ms: i64,
    /// The greatest time of a record.
    pub(super) newest_ms: i64,
    pub(super) records: u64,
    pub(super) subjects: u64,
    pub(super) places: u64,
    /// Where the tables begin.
    pub(super) tables: u64,
}

impl Footer {
    pub(super) fn pack(&self) -> Vec<u8> {
        let Header { epoch, first, before, commit, at_ms, count } = self.last;
        let mut out = vec![Kind::Closed as u8, VERSION, 0, 0, 0, 0];
        out.extend_from_slice(&epoch.to_le_bytes());
        for number in [first.0, before.0, commit.0, at_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&count.to_le_bytes());
        for number in [self.first.0, self.oldest_ms, self.newest_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.records, self.subjects, self.places, self.tables] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[6..]);
        out[2..6].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn unpack(file: &DiskFile, path: &Path, bytes: &[u8]) -> Result<Self, DatabaseError> {
        strip(Kind::Closed, VERSION, bytes).map_err(DatabaseError::value(path))?;
        if bytes.len() != FOOTER_BYTES || crc32fast::hash(&bytes[6..]).to_le_bytes() != bytes[2..6]
        {
            return Err(file.damaged("wrong checksum of the footer"));
        }
        let u64_at = |at: usize| u64::from_le_bytes(array(&bytes[at..at + 8]));
        let id_at = |at| MessageId(u64_at(at) as i64);
        let last = Header {
            epoch: u64_at(6),
            first: id_at(14),
            before: id_at(22),
            commit: id_at(30),
            at_ms: u64_at(38) as i64,
            count: u32::from_le_bytes(array(&bytes[46..50])),
        };
        Ok(Self {
            last: last.checked().map_err(DatabaseError::value(path))?,
            first: id_at(50),
            oldest_ms: u64_at(58) as i64,
            newest_ms: u64_at(66) as i64,
            records: u64_at(74),
            subjects: u64_at(82),
            places: u64_at(90),
            tables: u64_at(98),
        })
    }

    fn record_table(&self) -> Blocks<RECORD_ROW> {
        Blocks { start: self.tables, len: self.records }
    }

    fn subject_table(&self) -> Blocks<SUBJECT_ROW> {
        Blocks { start: self.record_table().end(), len: self.subjects }
    }

    fn place_table(&self) -> Blocks<PLACE_ROW> {
        Blocks { start: self.subject_table().end(), len: self.places }
    }

    /// Bytes of the whole file.
    fn file_bytes(&self) -> u64 {
        self.place_table().end().saturating_add(FOOTER_BYTES as u64)
    }
}

impl Closed {
    /// The file of a segment.
    pub(super) fn path(log: &Path, number: u32) -> PathBuf {
        log.join(format!("{number:010}.{SEGMENT}"))
    }

    /// Reads what a file says of itself.
    pub(super) fn read(log: &Path, number: u32) -> Result<Self, DatabaseError> {
        let path = Self::path(log, number);
        let file = DiskFile::open(&path)?;
        let bytes = file.bytes()?;
        let start =
            bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| file.damaged("cut off"))?;
        let footer = Footer::unpack(&file, &path, &file.read(start, FOOTER_BYTES)?)?;
        let starts_on_a_page = footer.tables.is_multiple_of(BLOCK_BYTES as u64);
        if footer.file_bytes() != bytes || footer.records == 0 || !starts_on_a_page {
            return Err(file.damaged("not as long as it says"));
        }
        Ok(Self { number, path, footer })
    }

    /// Whether the table of records can be read.
    pub(super) fn check_records(&self) -> Result<(), DatabaseError> {
        let (reader, mut damaged) = (self.open()?, Vec::new());
        reader.known_records(&mut damaged)?;
        let what = damaged.pop().map(ValueError::damaged).map(DatabaseError::value(&self.path));
        what.map_or(Ok(()), Err)
    }

    pub(super) fn last(&self) -> MessageId {
        self.footer.last.last()
    }

    pub(super) fn info(&self) -> SegmentInfo {
        let at_ms = self.footer.last.at_ms;
        SegmentInfo { last: self.last(), at_ms, bytes: self.bytes(), indexed: true }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.footer.file_bytes()
    }

    /// Whether it may hold messages of a span of time.
    pub(super) fn reaches(&self, span: &Span) -> bool {
        self.footer.newest_ms >= span.since_ms && self.footer.oldest_ms <= span.until_ms
    }

    /// Opens the file for reading.
    pub(super) fn open(&self) -> Result<ClosedReader<'_>, DatabaseError> {
        let file = DiskFile::open(&self.path)?;
        Ok(ClosedReader { footer: &self.footer, path: &self.path, file })
    }

    /// Removes the file, and makes that durable.
    pub(super) fn remove(&self) -> Result<(), DatabaseError> {
        remove_file(&self.path)
    }
}

/// Records that were read at once.
#[derive(Debug, Default)]
pub(super) struct Run {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    /// The first record behind them.
    pub(super) next: u64,
}

impl Run {
    /// The bytes of each record.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges.iter().map(|range| self.bytes.get(range.clone()).unwrap_or_default())
    }
}

/// A closed segment whose file is open.
#[derive(Debug)]
pub(super) struct ClosedReader<'a> {
    pub(super) footer: &'a Footer,
    path: &'a Path,
    file: DiskFile,
}

impl ClosedReader<'_> {
    /// The bytes of the record that holds the entry `id`, if it is in this segment.
    pub(super) fn record(&self, id: MessageId) -> Result<Option<Vec<u8>>, DatabaseError> {
        match self.records_up_to(id)?.checked_sub(1) {
            Some(index) => self.record_at(index).map(Some),
            None => Ok(None),
        }
    }

    /// How many records do not begin behind an entry.
    fn records_up_to(&self, id: MessageId) -> Result<u64, DatabaseError> {
        let (table, all) = (self.footer.record_table(), 0..self.footer.records);
        let guess = share(id, self.footer.first, self.footer.last.first, self.footer.records);
        let up_to = |row: &[u8; RECORD_ROW]| i64_at(row, 0) <= id.0;
        table.partition_point(&self.file, all, guess, up_to)
    }

    /// Which record holds the entry `id`, or else the first one behind it.
    pub(super) fn index_of(&self, id: MessageId) -> Result<u64, DatabaseError> {
        Ok(self.records_up_to(id)?.saturating_sub(1))
    }

    /// The records from `index` on whose rows share a block and that lie one behind the other,
    /// in one reading: so many that they have no more than `bytes_max` bytes, and one at the
    /// least. None are behind the last.
    pub(super) fn run(&self, index: u64, bytes_max: usize) -> Result<Run, DatabaseError> {
        let rows = self.footer.record_table().rest_of_block(&self.file, index)?;
        let Some(first) = rows.first() else { return Ok(Run { next: index, ..Run::default() }) };
        let start = u64::from(u32_at(first, 24));
        let (mut end, mut ranges) = (start, Vec::new());
        for row in &rows {
            let (offset, bytes) = (u64::from(u32_at(row, 24)), u64::from(u32_at(row, 28)));
            let is_too_much = offset + bytes > start.saturating_add(bytes_max as u64);
            if !ranges.is_empty() && (offset != end || is_too_much) {
                break;
            }
            end = offset + bytes;
            ranges.push((offset - start) as usize..(end - start) as usize);
        }
        if end > self.footer.tables {
            return Err(self.file.damaged("a record out of bounds"));
        }
        let bytes = self.file.read(start, (end - start) as usize)?;
        Ok(Run { bytes, next: index + ranges.len() as u64, ranges })
    }

    /// The first record whose row is not in the same block as this one's.
    pub(super) fn next_block(index: u64) -> u64 {
        Blocks::<RECORD_ROW>::next(index)
    }

    /// The last entry of the last record that was committed before a time.
    pub(super) fn last_before(&self, at_ms: i64) -> Result<Option<MessageId>, DatabaseError> {
        let (table, all) = (self.footer.record_table(), 0..self.footer.records);
        let (oldest, newest) = (MessageId(self.footer.oldest_ms), MessageId(self.footer.newest_ms));
        let guess = share(MessageId(at_ms), oldest, newest, self.footer.records);
        let is_before = |row: &[u8; RECORD_ROW]| i64_at(row, 8) < at_ms;
        let before = table.partition_point(&self.file, all, guess, is_before)?;
        let Some(index) = before.checked_sub(1) else { return Ok(None) };
        let record = self.record_at(index)?;
        let header = Record::parse(&record).map_err(DatabaseError::value(self.path))?.header;
        Ok(Some(header.last()))
    }

    /// Where each record begins, and its first id, as far as the table of records can be read;
    /// what of it cannot is told.
    pub(super) fn known_records(
        &self,
        damaged: &mut Vec<String>,
    ) -> Result<BTreeMap<u64, MessageId>, DatabaseError> {
        let (table, mut known) = (self.footer.record_table(), BTreeMap::new());
        let mut index = 0;
        while index < table.len {
            match table.rest_of_block(&self.file, index) {
                Ok(rows) => known.extend(
                    rows.iter().map(|row| (u32_at(row, 24).into(), MessageId(i64_at(row, 0)))),
                ),
                Err(DatabaseError::Value { source, .. }) => {
                    damaged
                        .push(format!("the table of records, from its row {index} on: {source}"));
                }
                Err(error) => return Err(error),
            }
            index = Blocks::<RECORD_ROW>::next(index);
        }
        Ok(known)
    }

    /// What is wrong with the tables of the index, in plain words. All of them are read.
    pub(super) fn damaged_tables(&self) -> Result<Vec<String>, DatabaseError> {
        let mut damaged = Vec::new();
        let (subjects, places) = (self.footer.subject_table(), self.footer.place_table());
        check(&subjects, &self.file, "of who takes part in what", &mut damaged)?;
        check(&places, &self.file, "of where messages are", &mut damaged)?;
        Ok(damaged)
    }

    /// The bytes of all records, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = Result<Vec<u8>, DatabaseError>> {
        (0..self.footer.records).map(|index| self.record_at(index))
    }

    fn record_at(&self, index: u64) -> Result<Vec<u8>, DatabaseError> {
        let row = self.footer.record_table().entry(&self.file, index)?;
        let (offset, bytes) = (u64::from(u32_at(&row, 24)), u32_at(&row, 28));
        if offset + u64::from(bytes) > self.footer.tables {
            return Err(self.file.damaged("a record out of bounds"));
        }
        self.file.read(offset, bytes as usize)
    }

    /// Up to `max` messages of a subject in a span, newest first.
    pub(super) fn find(
        &self,
        subject: Subject,
        span: &Span,
        max: usize,
    ) -> Result<Found, DatabaseError> {
        let Some(row) = self.subject(subject)? else { return Ok(Found::default()) };
        let first = u64::from(u32_at(&row, 24));
        let end = first + u64::from(u32_at(&row, 28));
        if end > self.footer.places {
            return Err(self.file.damaged("places out of bounds"));
        }
        let (from, to) = self.ids_of(span)?;
        let end = self.place(first..end, to)?;
        let first = self.place(first..end, from)?;
        let newest = first.max(end.saturating_sub(max as u64));
        let places = self.footer.place_table().entries(&self.file, newest..end)?;
        let ids = places.iter().rev().map(|row| MessageId(i64_at(row, 0))).collect();
        Ok(Found { ids, previous: Some(u32_at(&row, 20)) })
    }

    /// The row of a subject, if it has one.
    fn subject(&self, subject: Subject) -> Result<Option<[u8; SUBJECT_ROW]>, DatabaseError> {
        let (table, all) = (self.footer.subject_table(), 0..self.footer.subjects);
        // Subjects are spread evenly.
        let spread = u64::from_be_bytes(array(&subject.0[..8]));
        let guess = (u128::from(spread) * u128::from(self.footer.subjects)) >> 64;
        let below = |row: &[u8; SUBJECT_ROW]| row[..17] < subject.0[..];
        let index = table.partition_point(&self.file, all, guess as u64, below)?;
        if index == self.footer.subjects {
            return Ok(None);
        }
        let row = table.entry(&self.file, index)?;
        Ok((row[..17] == subject.0).then_some(row))
    }

    /// Of some places, the first that is not before `id`.
    fn place(&self, range: Range<u64>, id: MessageId) -> Result<u64, DatabaseError> {
        if id <= self.footer.first {
            return Ok(range.start);
        }
        if id > self.footer.last.last() {
            return Ok(range.end);
        }
        let len = range.end - range.start;
        let guess = range.start + share(id, self.footer.first, self.footer.last.last(), len);
        let below = |row: &[u8; PLACE_ROW]| i64_at(row, 0) < id.0;
        self.footer.place_table().partition_point(&self.file, range, guess, below)
    }

    /// The ids among which are all those of a span, the last one not included.
    fn ids_of(&self, span: &Span) -> Result<(MessageId, MessageId), DatabaseError> {
        let none = MessageId(i64::MAX);
        let (mut from, mut to) = (MessageId::NONE, span.before);
        if span.since_ms > self.footer.oldest_ms {
            let is_older = |row: &[u8; RECORD_ROW]| i64_at(row, 16) < span.since_ms;
            from = self.first_id(span.since_ms, is_older)?.unwrap_or(none);
        }
        if span.until_ms < self.footer.newest_ms {
            let may_be_older = |row: &[u8; RECORD_ROW]| i64_at(row, 8) <= span.until_ms;
            to = to.min(self.first_id(span.until_ms, may_be_older)?.unwrap_or(none));
        }
        Ok((from, to))
    }

    /// The first id of the first record that is not `below` a time.
    fn first_id(
        &self,
        at_ms: i64,
        below: impl Fn(&[u8; RECORD_ROW]) -> bool,
    ) -> Result<Option<MessageId>, DatabaseError> {
        let (table, all) = (self.footer.record_table(), 0..self.footer.records);
        let (oldest, newest) = (MessageId(self.footer.oldest_ms), MessageId(self.footer.newest_ms));
        let guess = share(MessageId(at_ms), oldest, newest, self.footer.records);
        let index = table.partition_point(&self.file, all, guess, below)?;
        if index == self.footer.records {
            return Ok(None);
        }
        Ok(Some(MessageId(i64_at(&table.entry(&self.file, index)?, 0))))
    }
}

/// Reads all blocks of a table; what is damaged is told.
fn check<const WIDTH: usize>(
    table: &Blocks<WIDTH>,
    file: &DiskFile,
    of: &str,
    damaged: &mut Vec<String>,
) -> Result<(), DatabaseError> {
    let mut index = 0;
    while index < table.len {
        match table.rest_of_block(file, index) {
            Ok(_) => {}
            Err(DatabaseError::Value { source, .. }) => {
                damaged.push(format!("the table {of}, from its row {index} on: {source}"));
            }
            Err(error) => return Err(error),
        }
        index = Blocks::<WIDTH>::next(index);
    }
    Ok(())
}

/// Where among `len` entries something is likely to be that lies between a first and a last.
fn share(wanted: MessageId, first: MessageId, last: MessageId, len: u64) -> u64 {
    let behind = |id: MessageId| i128::from(id.0) - i128::from(first.0);
    let (part, whole) = (behind(wanted).max(0), behind(last).max(1));
    (part.min(whole) * i128::from(len) / whole) as u64
}

fn i64_at(row: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(array(&row[at..at + 8]))
}

fn u32_at(row: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(&row[at..at + 4]))
}
