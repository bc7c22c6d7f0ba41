//! The segment that is being written, or was until its [file](crate::store::closed) takes its
//! place: records in one file, one behind the other.
//!
//! ```text
//! NNNNNNNNNN.open
//!   kind u8 | version u8 | zeroes 2 | mark 8 bytes | crc u32 of all before it
//!   zeroes up to 4096 bytes | the same once more: no one sector has both
//!   frames: mark 8 bytes | bytes of the record u32 | crc u32 of both | the record
//!   zeroes, up to 1 MiB
//! ```
//!
//! Little-endian. The mark is random and never leaves the server, so that no message can look like
//! a frame: by it the frames behind a damaged one are [found](crate::store::scan).
//!
//! # Durability
//!
//! A new file and its folder are synced before it is written to. [`Segment::append`] hands bytes
//! to the kernel; they are durable when [`Segment::sync`] has returned.
//!
//! # Invariants
//!
//! * One thread appends; what is appended never changes.
//! * In memory there are 16 bytes for each record.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::posix_fallocate;
use parking_lot::RwLock;
use ring::rand::{SecureRandom, SystemRandom};

use crate::id::MessageId;
use crate::limits::RECORD_BYTES_MAX;
use crate::store::archive::ValueError;
use crate::store::backup::LogFile;
use crate::store::database::{DatabaseError, sync_folder};
use crate::store::scan::{self, HEADER_BYTES, Mark, Scanned};

/// Bytes that the file is long ahead of what is written, so that few syncs have a length to make
/// durable, too: those of a second at 2,000 messages of 256 bytes.
const ROOM_BYTES: u64 = 1024 * 1024;
/// The extension of the file.
pub(super) const OPEN: &str = "open";

/// Where a record lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) first: MessageId,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// A segment of the log that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    /// Some of it cannot be read.
    pub(super) is_damaged: bool,
    /// Something behind its last record cannot be read.
    pub(super) is_torn: bool,
    /// Where that begins, if it is the disk that cannot: it may have been synced.
    pub(super) lost_at: Option<u64>,
    /// Nothing had been written to it when it was opened.
    pub(super) is_blank: bool,
    file: File,
    mark: Mark,
    /// By rising first id.
    rows: RwLock<Vec<Row>>,
    /// Where the last record ends.
    end: AtomicU64,
    /// Where the room ahead ends.
    room_end: AtomicU64,
}

impl Segment {
    /// The file of a segment.
    pub(super) fn path(log: &Path, number: u32) -> PathBuf {
        log.join(format!("{number:010}.{OPEN}"))
    }

    /// Opens a segment and looks for its records, or makes a new one that outlasts a power cut.
    ///
    /// What is up to `head` is known to have been synced.
    pub(super) fn open(log: &Path, number: u32, head: MessageId) -> Result<Self, DatabaseError> {
        Self::open_file(&Self::path(log, number), log, number, head)
    }

    /// The same, under another name.
    pub(super) fn open_file(
        path: &Path,
        log: &Path,
        number: u32,
        head: MessageId,
    ) -> Result<Self, DatabaseError> {
        let path = path.to_path_buf();
        let disk = DatabaseError::disk("open", &path);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(&disk)?;
        let bytes = file.metadata().map_err(&disk)?.len();
        let scanned = if bytes > HEADER_BYTES {
            let scanned = scan::scan(&file, bytes, head).map_err(&disk)?;
            scanned.ok_or_else(|| {
                DatabaseError::value(&path)(ValueError::damaged("no segment of a log"))
            })?
        } else {
            let mark = create(&file).map_err(&disk)?;
            sync_folder(log)?;
            Scanned::blank(mark)
        };
        if scanned.is_torn && scanned.lost_at.is_none() {
            let path = path.display();
            tracing::warn!(%path, "the last record is not whole: unfinished, or damaged");
        }
        let is_damaged = scanned.is_damaged || scanned.lost_at.is_some();
        if is_damaged {
            tracing::warn!(path = %path.display(), "a part cannot be read; the file will be kept");
        }
        let Scanned { mark, rows, end, is_torn, lost_at, .. } = scanned;
        let is_blank = rows.is_empty() && !is_torn && !is_damaged;
        let (rows, end, room_end) = (RwLock::new(rows), AtomicU64::new(end), AtomicU64::new(0));
        Ok(Self {
            number,
            path,
            is_damaged,
            is_torn,
            lost_at,
            is_blank,
            file,
            mark,
            rows,
            end,
            room_end,
        })
    }

    /// Bytes of its records, and what frames them.
    pub(super) fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Appends a record. It is durable after [`Self::sync`].
    pub(super) fn append(&self, first: MessageId, record: &[u8]) -> Result<(), DatabaseError> {
        let write = || -> io::Result<()> {
            fail::fail_point!("store-write", |_| Err(io::ErrorKind::StorageFull.into()));
            if record.len() > RECORD_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let bytes = record.len() as u32;
            let frame = [&scan::frame_header(self.mark, bytes)[..], record].concat();
            let (start, behind) = (self.bytes(), frame.len() - record.len());
            self.make_room(start + frame.len() as u64);
            self.file.write_all_at(&frame, start)?;
            let offset = u32::try_from(start + behind as u64);
            let offset = offset.map_err(|_| io::ErrorKind::FileTooLarge)?;
            self.rows.write().push(Row { first, offset, bytes });
            self.end.store(start + frame.len() as u64, Ordering::Relaxed);
            Ok(())
        };
        write().map_err(DatabaseError::disk("write", &self.path))
    }

    /// Makes the file longer if it is not as long as this. That it cannot be is for the write to
    /// find out.
    fn make_room(&self, end: u64) {
        let room_end = self.room_end.load(Ordering::Relaxed).max(self.bytes());
        if end > room_end {
            let _ = posix_fallocate(&self.file, room_end as i64, ROOM_BYTES as i64);
            self.room_end.store(room_end + ROOM_BYTES, Ordering::Relaxed);
        }
    }

    /// Returns when all that was appended is on stable storage.
    pub(super) fn sync(&self) -> Result<(), DatabaseError> {
        let sync = || -> io::Result<()> {
            fail::fail_point!("store-sync", |_| Err(io::Error::other("injected failure")));
            self.file.sync_data()
        };
        sync().map_err(DatabaseError::disk("sync", &self.path))
    }

    /// Its file, with what it has up to an entry.
    pub(super) fn up_to(&self, id: MessageId) -> Result<LogFile, DatabaseError> {
        let file = self.file.try_clone().map_err(DatabaseError::disk("open", &self.path))?;
        let end = |row: Row| u64::from(row.offset) + u64::from(row.bytes);
        let bytes = self.row_up_to(id).map_or(HEADER_BYTES, end);
        Ok(LogFile { path: self.path.clone(), file, bytes })
    }

    /// The bytes of the record that holds the entry `id`, if it is in this segment.
    pub(super) fn record(&self, id: MessageId) -> Result<Option<Vec<u8>>, DatabaseError> {
        let row = self.row_up_to(id);
        row.map(|row| self.read(&row)).transpose()
    }

    /// Where the record that holds the entry `id` begins, or else the next one.
    pub(super) fn begin_of(&self, id: MessageId) -> MessageId {
        self.row_up_to(id).map_or(id, |row| row.first)
    }

    /// The first id and the bytes of each record that begins at `from` or later.
    pub(super) fn records(
        &self,
        from: MessageId,
    ) -> impl Iterator<Item = Result<(MessageId, Vec<u8>), DatabaseError>> {
        let mut next = self.rows.read().partition_point(|row| row.first < from);
        std::iter::from_fn(move || {
            let row = self.rows.read().get(next).copied()?;
            next += 1;
            Some(self.read(&row).map(|bytes| (row.first, bytes)))
        })
    }

    /// The last record that does not begin behind an entry.
    fn row_up_to(&self, id: MessageId) -> Option<Row> {
        let rows = self.rows.read();
        let behind = rows.partition_point(|row| row.first <= id);
        behind.checked_sub(1).and_then(|at| rows.get(at).copied())
    }

    fn read(&self, row: &Row) -> Result<Vec<u8>, DatabaseError> {
        read_row(&self.file, row).map_err(DatabaseError::reading(&self.path))
    }
}

/// The bytes of a record.
pub(super) fn read_row(file: &File, row: &Row) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; row.bytes as usize];
    file.read_exact_at(&mut bytes, u64::from(row.offset))?;
    Ok(bytes)
}

/// Begins a file that has nothing yet.
fn create(file: &File) -> io::Result<Mark> {
    let mut mark = [0; 8];
    SystemRandom::new().fill(&mut mark).map_err(|_| io::Error::other("no random numbers"))?;
    file.set_len(0)?;
    file.write_all_at(&scan::file_header(mark), 0)?;
    file.write_all_at(&scan::file_header(mark), scan::SECOND_HEADER)?;
    file.sync_all()?;
    Ok(mark)
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
