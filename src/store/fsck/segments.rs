//! The segments of the log, one by one.
//!
//! # Invariants
//!
//! * A record is read once, and is in memory alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use super::chain::Chain;
use super::folder::{Looking, listing};
use super::{Damage, Findings, SegmentFound, StateFound};
use crate::chain::Chain as Causes;
use crate::id::MessageId;
use crate::store::closed::{Closed, SEGMENT};
use crate::store::database::DatabaseError;
use crate::store::mend::whole_records;
use crate::store::record::Record;
use crate::store::scan::{FRAME_BYTES, HEADER_BYTES, Scanned, scan};
use crate::store::segment::{OPEN, Segment, read_row};

/// Looks at all segments, oldest first.
pub(super) fn look(
    looking: &mut Looking<'_>,
    state: &StateFound,
    chain: &mut Chain,
    findings: &mut Findings,
) {
    let log = looking.folder.join("log");
    let head = state.head.max(state.applied).unwrap_or_default();
    let mut missing = state.segments.clone();
    for number in numbers(&log) {
        missing.remove(&number);
        let closed = Closed::path(&log, number).exists();
        let opened = closed.then(|| closed_segment(looking, &log, number, chain));
        let is_readable = opened.as_ref().is_some_and(|found| found.records > 0);
        findings.segments.extend(opened);
        let path = Segment::path(&log, number);
        // A closed one that can be read has taken its place.
        if path.exists() && !is_readable {
            findings.segments.push(open_segment(looking, &path, number, head, chain));
        }
    }
    for number in missing {
        let (file, what) = (format!("log/{number:010}.{SEGMENT}"), "is missing".to_owned());
        findings.damage.push(Damage { file, what });
    }
}

/// The numbers of the segments, rising.
fn numbers(log: &Path) -> BTreeSet<u32> {
    let number = |path: &std::path::PathBuf| {
        let is_segment = path.extension().is_some_and(|kind| kind == OPEN || kind == SEGMENT);
        let name = path.file_stem().and_then(|name| name.to_str());
        name.filter(|_| is_segment)?.parse().ok()
    };
    listing(log).iter().filter_map(number).collect()
}

impl SegmentFound {
    fn new(looking: &Looking<'_>, path: &Path, number: u32, form: &'static str) -> Self {
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { number, file: looking.name(path), form, bytes, ..Self::default() }
    }

    fn damaged(&mut self, what: impl Into<String>) {
        self.damage.push(what.into());
    }

    /// Counts a record that was read.
    fn record(&mut self, record: Record<'_>, chain: &mut Chain) {
        let content = chain.take(record);
        self.records += 1;
        self.entries += u64::from(record.header.count);
        self.messages += content.messages;
        self.epoch = Some(record.header.epoch);
        self.first.get_or_insert(record.header.first);
        self.last = Some(record.header.last());
        self.damage.extend(content.damage);
    }
}

fn closed_segment(
    looking: &mut Looking<'_>,
    log: &Path,
    number: u32,
    chain: &mut Chain,
) -> SegmentFound {
    let path = Closed::path(log, number);
    let mut found = SegmentFound::new(looking, &path, number, "closed");
    let mut damage = Vec::new();
    let read = whole_records(log, number, &mut damage, |record, bytes| {
        looking.advance(bytes.len() as u64);
        found.record(record, chain);
        Ok(())
    });
    found.damage.extend(damage);
    if let Err(error) = read {
        found.damaged(format!("cannot be read: {}", told(&error)));
    }
    found
}

fn open_segment(
    looking: &mut Looking<'_>,
    path: &Path,
    number: u32,
    head: MessageId,
    chain: &mut Chain,
) -> SegmentFound {
    let mut found = SegmentFound::new(looking, path, number, "open");
    match scan_file(path, head) {
        Ok(Some((file, scanned))) => look_at_rows(&file, &scanned, &mut found, chain),
        // A kill while it was made leaves less than its headers.
        Ok(None) if found.bytes <= HEADER_BYTES => found.form = "ready",
        Ok(None) => found.damaged("both of its headers are damaged: it cannot be used"),
        Err(error) => found.damaged(format!("cannot be read: {error}")),
    }
    looking.advance(found.bytes);
    found
}

fn scan_file(path: &Path, head: MessageId) -> io::Result<Option<(File, Scanned)>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok(scan(&file, bytes, head)?.map(|scanned| (file, scanned)))
}

fn look_at_rows(file: &File, scanned: &Scanned, found: &mut SegmentFound, chain: &mut Chain) {
    let mut end = HEADER_BYTES;
    if scanned.is_header_damaged {
        found.damaged("one of its two headers is damaged");
    }
    for row in &scanned.rows {
        let start = u64::from(row.offset) - FRAME_BYTES as u64;
        if start > end {
            let behind = found.last.map_or_else(String::new, |id| format!(", behind {id}"));
            found.damaged(format!("its bytes {end} to {start} are no records{behind}"));
        }
        end = u64::from(row.offset) + u64::from(row.bytes);
        match read_row(file, row) {
            Ok(bytes) => match Record::parse(&bytes) {
                Ok(record) => found.record(record, chain),
                Err(error) => found.damaged(format!("its record {}: {error}", row.first)),
            },
            Err(error) => found.damaged(format!("its record {}: {error}", row.first)),
        }
    }
    found.torn = scanned.is_torn;
    if scanned.rows.is_empty() && !scanned.is_torn {
        found.form = "ready";
    }
    for at in &scanned.unreadable {
        found.damaged(format!("the disk cannot read it at byte {at}"));
    }
}

/// An error without the file's name, which stands before it.
fn told(error: &DatabaseError) -> String {
    match error {
        DatabaseError::Disk { source, .. } => source.to_string(),
        DatabaseError::Value { source, .. } => Causes(source).to_string(),
    }
}
