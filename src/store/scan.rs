//! Finding the records in the file of a [segment](crate::store::segment), whatever has happened to
//! it.
//!
//! # Invariants
//!
//! * A record is found if it and its frame are whole, whatever stands before it.
//! * Of a commit that was not synced, nothing behind the first of its records that is missing is
//!   found: nobody has heard of it. Only the last commit can be one, for the next begins when the
//!   sync of the one before has returned.
//! * A page that the disk cannot read costs what is in it.
//! * No bytes of a file make it panic. In memory there are a window of it and a few bytes a record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::id::MessageId;
use crate::limits::RECORD_BYTES_MAX;
use crate::store::archive::Kind;
use crate::store::record::{Header, Record, array};
use crate::store::segment::Row;

/// Bytes of one of the two headers of a file.
const HEADER: usize = 16;
/// Where the second one stands.
pub(super) const SECOND_HEADER: u64 = 4096;
/// Bytes before the first frame.
pub(super) const HEADER_BYTES: u64 = SECOND_HEADER + HEADER as u64;
/// Bytes of the header of a frame.
pub(super) const FRAME_BYTES: usize = 16;
/// Bytes of a file that are in memory at once.
const WINDOW_BYTES: usize = 1024 * 1024;
/// Bytes that the disk reads together.
const PAGE_BYTES: u64 = 4096;
/// What stands in memory for a byte that the disk cannot read.
const UNREADABLE: u8 = 0xFF;
/// Pages that the disk cannot read, of which it is said where they are.
const UNREADABLE_MAX: usize = 64;
const VERSION: u8 = 1;

/// What every frame of a file begins with.
pub(super) type Mark = [u8; 8];

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) mark: Mark,
    /// The records, by rising first id.
    pub(super) rows: Vec<Row>,
    /// Where the last record ends.
    pub(super) end: u64,
    /// Something before the last record cannot be read.
    pub(super) is_damaged: bool,
    /// One of the two headers of the file cannot.
    pub(super) is_header_damaged: bool,
    /// Something behind the last record cannot.
    pub(super) is_torn: bool,
    /// Where what the disk cannot read begins, page by page; not more than a few.
    pub(super) unreadable: Vec<u64>,
    /// Where, behind the last record, something begins that the disk cannot read and that is not
    /// room: it may have been synced.
    pub(super) lost_at: Option<u64>,
}

impl Scanned {
    /// Of a file that has nothing but its headers.
    pub(super) fn blank(mark: Mark) -> Self {
        Self {
            mark,
            rows: Vec::new(),
            end: HEADER_BYTES,
            is_damaged: false,
            is_header_damaged: false,
            is_torn: false,
            unreadable: Vec::new(),
            lost_at: None,
        }
    }
}

/// The beginning of a file.
pub(super) fn file_header(mark: Mark) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[Kind::OpenSegment as u8, VERSION]);
    header[4..12].copy_from_slice(&mark);
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What stands before a record of so many bytes.
pub(super) fn frame_header(mark: Mark, bytes: u32) -> [u8; FRAME_BYTES] {
    let mut header = [0; FRAME_BYTES];
    header[..8].copy_from_slice(&mark);
    header[8..12].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What is read at positions.
pub(super) trait ReadAt {
    /// Fills `bytes` with what stands at `at`.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(bytes, at)
    }
}

/// A record that is whole.
struct Found {
    header: Header,
    row: Row,
    /// What stands before it is not.
    is_behind_gap: bool,
}

/// Looks for the records in a file of so many bytes, of which those up to `head` have been synced;
/// `None` if it is no file of a segment.
pub(super) fn scan(file: &impl ReadAt, bytes: u64, head: MessageId) -> io::Result<Option<Scanned>> {
    let (window_bytes, unreadable) = (Vec::new(), Vec::new());
    let mut window = Window { file, len: bytes, start: 0, bytes: window_bytes, unreadable };
    let Some((mark, is_header_whole)) = mark_of(&mut window)? else { return Ok(None) };
    let (mut found, mut at, mut is_behind_gap) = (Vec::new(), HEADER_BYTES, false);
    while at < bytes {
        let Some(record_bytes) = frame_at(&mut window, mark, at)? else {
            if !is_behind_gap && is_blank_from(&mut window, at)? {
                break; // The room ahead.
            }
            is_behind_gap = true;
            match next_mark(&mut window, mark, at + 1)? {
                Some(next) => at = next,
                None => break,
            }
            continue;
        };
        let offset = at + FRAME_BYTES as u64;
        at = offset + u64::from(record_bytes);
        let record = window.get(offset, record_bytes as usize)?;
        let Some(Ok(record)) = record.map(Record::parse) else {
            is_behind_gap = true;
            continue;
        };
        let header = record.header;
        let offset = u32::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let row = Row { first: header.first, offset, bytes: record_bytes };
        found.push(Found { header, row, is_behind_gap });
        is_behind_gap = false;
    }
    let synced = synced(&found, head);
    let is_torn = is_behind_gap || synced < found.len();
    found.truncate(synced);
    let is_damaged = !is_header_whole || found.iter().any(|found| found.is_behind_gap);
    let end_of = |found: &Found| u64::from(found.row.offset) + u64::from(found.row.bytes);
    let end = found.last().map_or(HEADER_BYTES, end_of);
    let rows = found.into_iter().map(|found| found.row).collect();
    let lost_at = lost_at(&mut window, mark, end)?;
    let (is_header_damaged, unreadable) = (!is_header_whole, window.unreadable);
    let scanned =
        Scanned { mark, rows, end, is_damaged, is_header_damaged, is_torn, unreadable, lost_at };
    Ok(Some(scanned))
}

/// Where something begins behind `end` that the disk cannot read, unless it is room: where a frame
/// was written, its mark stands.
fn lost_at(window: &mut Window<'_, impl ReadAt>, mark: Mark, end: u64) -> io::Result<Option<u64>> {
    let behind = window.unreadable.iter().copied().filter(|at| next_page(*at) > end);
    let Some(first) = behind.min() else { return Ok(None) };
    let mut at = end;
    while at + mark.len() as u64 <= first {
        let len = (first - at).min(WINDOW_BYTES as u64) as usize;
        match window.get(at, len)? {
            Some(bytes) if bytes.iter().all(|byte| *byte == 0) => at += len as u64,
            _ => break,
        }
    }
    let is_room = at > end && at + mark.len() as u64 > first;
    Ok((!is_room).then_some(first))
}

/// Where the page behind a place begins.
fn next_page(at: u64) -> u64 {
    (at / PAGE_BYTES + 1) * PAGE_BYTES
}

/// How many of the records may have been synced: those up to `head` have; and all up to the first
/// that is missing of the last commit.
fn synced(found: &[Found], head: MessageId) -> usize {
    let Some(commit) = found.last().map(|last| last.header.commit) else { return 0 };
    let is_of_last = |found: &&Found| found.header.commit == commit;
    let first = found.len() - found.iter().rev().take_while(is_of_last).count();
    let misses = |found: &Found| {
        found.is_behind_gap && found.header.first != commit && found.header.first > head
    };
    found[first..].iter().position(misses).map_or(found.len(), |at| first + at)
}

/// The mark of a file, by one of its headers, and whether both are whole.
fn mark_of(window: &mut Window<'_, impl ReadAt>) -> io::Result<Option<(Mark, bool)>> {
    let mut marks = [None; 2];
    for (at, mark) in [0, SECOND_HEADER].into_iter().zip(&mut marks) {
        let header = window.get(at, HEADER)?.unwrap_or_default();
        let found = header.get(4..12).map(array);
        *mark = found.filter(|found| header == file_header(*found));
    }
    Ok(marks[0].or(marks[1]).map(|mark| (mark, marks[0] == marks[1])))
}

/// Bytes of the record of the frame that begins at `at`, if one does.
fn frame_at(window: &mut Window<'_, impl ReadAt>, mark: Mark, at: u64) -> io::Result<Option<u32>> {
    let Some(header) = window.get(at, FRAME_BYTES)? else { return Ok(None) };
    let bytes = u32::from_le_bytes(array(&header[8..12]));
    let is_frame = header == frame_header(mark, bytes) && bytes as usize <= RECORD_BYTES_MAX;
    Ok(is_frame.then_some(bytes))
}

/// Whether there is nothing but zeroes from `at` on.
fn is_blank_from(window: &mut Window<'_, impl ReadAt>, mut at: u64) -> io::Result<bool> {
    while at < window.len {
        let len = (window.len - at).min(WINDOW_BYTES as u64) as usize;
        match window.get(at, len)? {
            Some(bytes) if bytes.iter().all(|byte| *byte == 0) => at += len as u64,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Where the mark stands next, from `at` on.
fn next_mark(
    window: &mut Window<'_, impl ReadAt>,
    mark: Mark,
    mut at: u64,
) -> io::Result<Option<u64>> {
    while at + FRAME_BYTES as u64 <= window.len {
        let len = window.len.saturating_sub(at).min(WINDOW_BYTES as u64) as usize;
        let Some(bytes) = window.get(at, len)? else { return Ok(None) };
        if let Some(found) = bytes.windows(mark.len()).position(|part| part == mark) {
            return Ok(Some(at + found as u64));
        }
        at += (len - (mark.len() - 1)) as u64;
    }
    Ok(None)
}

/// A file that is read from its beginning to its end.
struct Window<'a, F> {
    file: &'a F,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
    unreadable: Vec<u64>,
}

impl<F: ReadAt> Window<'_, F> {
    /// Some bytes, if the file has as many.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        if at + len as u64 > self.len {
            return Ok(None);
        }
        let is_inside = at >= self.start && at + len as u64 <= self.start + self.bytes.len() as u64;
        if !is_inside {
            let left = self.len - at;
            self.bytes.resize(left.min(len.max(WINDOW_BYTES) as u64) as usize, 0);
            self.start = at;
            match self.file.read_at(&mut self.bytes, at) {
                Err(error) if is_of_the_disk(&error) => self.read_around()?,
                read => read?,
            }
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }

    /// Reads page by page; what the disk cannot read becomes what no record and no room has.
    fn read_around(&mut self) -> io::Result<()> {
        let mut at = self.start;
        let end = self.start + self.bytes.len() as u64;
        while at < end {
            let next = next_page(at).min(end);
            let page = &mut self.bytes[(at - self.start) as usize..(next - self.start) as usize];
            match self.file.read_at(page, at) {
                Ok(()) => {}
                Err(error) if is_of_the_disk(&error) => {
                    page.fill(UNREADABLE);
                    if !self.unreadable.contains(&at) && self.unreadable.len() < UNREADABLE_MAX {
                        self.unreadable.push(at);
                    }
                }
                Err(error) => return Err(error),
            }
            at = next;
        }
        Ok(())
    }
}

/// Whether the disk has lost what was to be read.
pub(super) fn is_of_the_disk(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EIO)
}
