//! Writing a closed segment as one file with its index, beside the file that it was.
//!
//! # Durability
//!
//! The file is written under another name and synced; then it gets its name, and its folder is
//! synced. What a kill leaves under the other name is removed by the next start.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::chain::Chain;
use crate::id::MessageId;
use crate::store::blocks::{BLOCK_BYTES, write_blocks};
use crate::store::catalog::OpenSegment;
use crate::store::closed::{Closed, Footer, PLACE_ROW, RECORD_ROW, SUBJECT_ROW};
use crate::store::database::{DatabaseError, sync_folder};
use crate::store::index::{OpenIndex, Subject};
use crate::store::record::{Header, Record};
use crate::store::segment::Segment;

/// Bytes after which the file is synced, so that no commit's sync has to wait for more.
pub(super) const SYNC_EVERY: u64 = 4 * 1024 * 1024;
/// The extension of a file that is not complete.
pub(super) const NEW: &str = "new";

/// What came of it.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) closed: Closed,
    /// Some of it could not be read.
    pub(super) lost: bool,
}

/// Writes a closed segment as one file; `rest` is called again and again, and may take its time.
pub(super) fn rewrite(
    log: &Path,
    open: &OpenSegment,
    rest: &mut dyn FnMut(),
) -> Result<Rewritten, DatabaseError> {
    let number = open.segment.number;
    let path = Closed::path(log, number);
    let new = path.with_extension(NEW);
    let disk = DatabaseError::disk("write", &new);
    let mut out = Output::create(&new).map_err(&disk)?;
    let records = write_records(&mut out, &open.segment, rest).map_err(&disk)?;
    write_rest(&mut out, &records, &open.index).and_then(|()| out.finish()).map_err(&disk)?;
    fs::rename(&new, &path).map_err(&disk)?;
    sync_folder(log)?;
    Ok(Rewritten { closed: Closed::read(log, number)?, lost: records.lost })
}

/// A file that is synced as it grows.
struct Output {
    file: BufWriter<File>,
    bytes: u64,
    unsynced: u64,
}

impl Output {
    fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(File::create(path)?), bytes: 0, unsynced: 0 })
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        self.unsynced += written as u64;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where a record was written.
struct Row {
    first: MessageId,
    at_ms: i64,
    offset: u32,
    bytes: u32,
}

/// The records that were written.
#[derive(Default)]
struct Records {
    rows: Vec<Row>,
    last: Option<Header>,
    lost: bool,
}

/// Copies the records that can be read.
fn write_records(
    out: &mut Output,
    segment: &Segment,
    rest: &mut dyn FnMut(),
) -> io::Result<Records> {
    let mut records = Records { lost: segment.is_damaged, ..Records::default() };
    for record in segment.records(MessageId::NONE) {
        let (first, bytes) = match record {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(segment = segment.number, error = %Chain(&error), "damaged");
                records.lost = true;
                continue;
            }
        };
        let header = match Record::parse(&bytes) {
            Ok(record) => record.header,
            Err(error) => {
                tracing::error!(segment = segment.number, record = %first, %error, "damaged");
                records.lost = true;
                continue;
            }
        };
        let offset = u32::try_from(out.bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        out.write_all(&bytes)?;
        let (at_ms, bytes) = (header.at_ms, bytes.len() as u32);
        records.rows.push(Row { first: header.first, at_ms, offset, bytes });
        records.last = Some(header);
        rest();
    }
    Ok(records)
}

fn write_rest(out: &mut Output, records: &Records, index: &OpenIndex) -> io::Result<()> {
    let (Some(last), Some(first)) = (records.last, records.rows.first()) else {
        return Err(io::Error::other("the segment has no record that can be read"));
    };
    let padding = (out.bytes.next_multiple_of(BLOCK_BYTES as u64) - out.bytes) as usize;
    out.write_all(&vec![0; padding])?;
    let tables = out.bytes;
    let times = records.rows.iter().map(|row| row.at_ms);
    let (oldest_ms, newest_ms) =
        times.fold((i64::MAX, i64::MIN), |(oldest, newest), at| (oldest.min(at), newest.max(at)));
    let written = write_blocks(out, record_rows(&records.rows))?;
    let (subjects, places) = index.with_subjects(|subjects| {
        let rows = write_blocks(out, subject_rows(subjects))?;
        let ids = subjects.iter().flat_map(|(_, _, ids)| ids.iter());
        let places = write_blocks::<PLACE_ROW>(out, ids.map(|id| id.0.to_le_bytes()))?;
        io::Result::Ok((rows, places))
    })?;
    let first = first.first;
    let records = written;
    let footer = Footer { last, first, oldest_ms, newest_ms, records, subjects, places, tables };
    out.write_all(&footer.pack())
}

fn record_rows(records: &[Row]) -> Vec<[u8; RECORD_ROW]> {
    let mut rows = vec![[0; RECORD_ROW]; records.len()];
    let mut newest = i64::MIN;
    for (row, record) in rows.iter_mut().zip(records) {
        newest = newest.max(record.at_ms);
        row[..8].copy_from_slice(&record.first.0.to_le_bytes());
        row[16..24].copy_from_slice(&newest.to_le_bytes());
        row[24..28].copy_from_slice(&record.offset.to_le_bytes());
        row[28..].copy_from_slice(&record.bytes.to_le_bytes());
    }
    let mut oldest = i64::MAX;
    for (row, record) in rows.iter_mut().zip(records).rev() {
        oldest = oldest.min(record.at_ms);
        row[8..16].copy_from_slice(&oldest.to_le_bytes());
    }
    rows
}

fn subject_rows<'a>(
    subjects: &'a [(Subject, u32, &'a [MessageId])],
) -> impl Iterator<Item = [u8; SUBJECT_ROW]> + 'a {
    let mut first = 0_u32;
    subjects.iter().map(move |(subject, previous, ids)| {
        let mut row = [0; SUBJECT_ROW];
        row[..17].copy_from_slice(&subject.0);
        row[20..24].copy_from_slice(&previous.to_le_bytes());
        row[24..28].copy_from_slice(&first.to_le_bytes());
        row[28..].copy_from_slice(&(ids.len() as u32).to_le_bytes());
        // Three places a message of 50 bytes at least, in a segment of 4 GiB at the most.
        first += ids.len() as u32;
        row
    })
}
