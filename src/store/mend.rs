//! Writing a closed segment anew whose file is damaged: the records that are whole are all that
//! is needed, for the tables and the footer are made from them.
//!
//! # Invariants
//!
//! * A record is taken where one ended before it, or where the table of records says that it
//!   begins: what somebody has put into a message is never taken for one.
//! * The damaged file is kept under another name, from the time that what was saved of it is on
//!   stable storage.
//! * What is lost is told, and counted.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::id::MessageId;
use crate::limits::RECORD_BYTES_MAX;
use crate::metrics::Metrics;
use crate::store::blocks::DiskFile;
use crate::store::catalog::{Catalog, OpenSegment};
use crate::store::closed::Closed;
use crate::store::database::{DatabaseError, keep_aside, remove_file, sync_folder};
use crate::store::index::OpenIndex;
use crate::store::log::place;
use crate::store::record::{HEADER, Record, array};
use crate::store::rewrite::{NEW, SYNC_EVERY, rewrite};
use crate::store::segment::Segment;

/// What could be saved of a closed segment.
#[derive(Debug)]
pub(super) struct Saved {
    /// Its records, in the file of a segment that is to be closed.
    pub(super) segment: Segment,
    pub(super) last: MessageId,
    /// What is damaged, in plain words.
    pub(super) damage: Vec<String>,
}

/// Saves the records of a damaged file; `None` if there is none.
pub(super) fn save(log: &Path, number: u32) -> Result<Option<Saved>, DatabaseError> {
    let new = Segment::path(log, number).with_extension(NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DatabaseError::disk("remove", &new)(error));
        }
        _ => {}
    }
    let segment = Segment::open_file(&new, log, number, MessageId::NONE)?;
    let (mut damage, mut last, mut unsynced) = (Vec::new(), MessageId::NONE, 0);
    whole_records(log, number, &mut damage, |record, bytes| {
        last = record.header.last();
        segment.append(record.header.first, bytes)?;
        unsynced += bytes.len() as u64;
        if unsynced >= SYNC_EVERY {
            unsynced = 0;
            segment.sync()?;
        }
        Ok(())
    })?;
    if last == MessageId::NONE {
        remove_file(&new)?;
        return Ok(None);
    }
    segment.sync()?;
    let open = Segment::path(log, number);
    fs::rename(&new, &open).map_err(DatabaseError::disk("rename", &new))?;
    sync_folder(log)?;
    let segment = Segment::open(log, number, last)?;
    Ok(Some(Saved { segment, last, damage }))
}

/// Hands all records of the file of a closed segment that are whole to `take`, and says what is
/// damaged. All of the file is read.
pub(super) fn whole_records(
    log: &Path,
    number: u32,
    damage: &mut Vec<String>,
    mut take: impl FnMut(Record<'_>, &[u8]) -> Result<(), DatabaseError>,
) -> Result<(), DatabaseError> {
    let file = DiskFile::open(&Closed::path(log, number))?;
    let (mut end, mut known) = (file.bytes()?, BTreeMap::new());
    match Closed::read(log, number) {
        Ok(closed) => {
            end = closed.footer.tables;
            let reader = closed.open()?;
            known = reader.known_records(damage)?;
            damage.extend(reader.damaged_tables()?);
        }
        Err(DatabaseError::Value { source, .. }) => damage.push(source.to_string()),
        Err(error) => return Err(error),
    }
    let (mut at, mut last) = (0, MessageId::NONE);
    while at < end {
        if let Some(bytes) = record_at(&file, at, end)?
            && let Ok(record) = Record::parse(&bytes)
            && record.header.first > last
        {
            last = record.header.last();
            take(record, &bytes)?;
            at += bytes.len() as u64;
            continue;
        }
        if let Some(first) = known.get(&at) {
            damage.push(format!("the record of the entries from {first} on is lost"));
        }
        let Some((next, _)) = known.range(at + 1..).next() else { break };
        at = *next;
    }
    Ok(())
}

/// The record that begins at a place, if one does and is whole.
fn record_at(file: &DiskFile, at: u64, end: u64) -> Result<Option<Vec<u8>>, DatabaseError> {
    let read = |offset: u64, bytes: usize| match file.read(offset, bytes) {
        Ok(read) => Ok(Some(read)),
        Err(DatabaseError::Value { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    let Some(header) = read(at, HEADER)? else { return Ok(None) };
    let count = u32::from_le_bytes(array(&header[HEADER - 4..])) as usize;
    if count == 0 || HEADER + count * 4 > RECORD_BYTES_MAX {
        return Ok(None);
    }
    // The last of the table of ends says how long the entries are.
    let ends = at + (HEADER + (count - 1) * 4) as u64;
    let Some(entries) = read(ends, 4)? else { return Ok(None) };
    let bytes = HEADER + count * 4 + u32::from_le_bytes(array(&entries)) as usize;
    if bytes > RECORD_BYTES_MAX || at + bytes as u64 > end {
        return Ok(None);
    }
    Ok(read(at, bytes)?.filter(|bytes| Record::parse(bytes).is_ok()))
}

/// Writes a closed segment anew that somebody has found damaged.
pub(super) fn mend(
    catalog: &Catalog,
    closed: &Closed,
    metrics: &Metrics,
) -> Result<(), DatabaseError> {
    let number = closed.number;
    let saved = save(&catalog.folder, number)?;
    let damage = saved.as_ref().map_or(&[][..], |saved| &saved.damage);
    for damage in damage {
        tracing::error!(number, damage, "a segment of the log is damaged");
        metrics.damaged_records.inc();
    }
    let Some(Saved { segment, damage, .. }) = saved else {
        tracing::error!(number, "a segment of the log is damaged from end to end");
        metrics.damaged_records.inc();
        return Ok(());
    };
    let before = segment.path.clone();
    // The disk may have read it wrong once.
    if !damage.is_empty() {
        let index = index_of(&segment)?;
        // Whoever opens it by its name finds it until the new one takes that.
        keep_aside(&closed.path)?;
        let rewritten = rewrite(&catalog.folder, &OpenSegment { segment, index }, &mut || {})?;
        tracing::warn!(number, "what is whole of it has been written anew");
        if !catalog.replace_closed(rewritten.closed) {
            // It has expired meanwhile.
            remove_file(&closed.path)?;
        }
    }
    remove_file(&before)
}

fn index_of(segment: &Segment) -> Result<OpenIndex, DatabaseError> {
    let index = OpenIndex::default();
    // Where the conversations were before is not known any more: each older one may be it.
    let previous = segment.number.saturating_sub(1);
    for record in segment.records(MessageId::NONE) {
        let (_, bytes) = record?;
        let record = Record::parse(&bytes).map_err(DatabaseError::value(&segment.path))?;
        let entries = record.entries().flatten();
        index.extend(record.header.at_ms, entries.filter_map(|at| place(&at.entry, previous)));
    }
    Ok(index)
}
