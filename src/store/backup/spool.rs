//! What changes in the state while a backup reads it: kept in a file, and sent behind the rows
//! that were read. So the copy is the state as it was at one moment, which is when this ends.
//!
//! # Invariants
//!
//! * The file has no name: whatever happens, nothing of it is left.
//! * A failure to write it costs the backup, and nothing else: the room is free at once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::frames::{Kind, frame, row};
use crate::limits::BACKUP_SPOOL_BYTES_MAX;
use crate::store::database::Change;

/// What has changed so far.
#[derive(Debug)]
pub(in crate::store) struct Spool {
    /// Of which backup it is: one that was given up must not take that of the next.
    pub(in crate::store) number: u64,
    /// Or why there is none any more.
    file: io::Result<File>,
    bytes: u64,
}

impl Spool {
    /// An empty one for a backup, on the disk of the folder.
    pub(super) fn new(number: u64, folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("backup-{number:016x}.new"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { number, file: Ok(file), bytes: 0 })
    }

    /// These changes happen together.
    pub(in crate::store) fn take(&mut self, changes: &[Change]) {
        let Ok(file) = &mut self.file else { return };
        if changes.is_empty() {
            return;
        }
        let (mut content, mut out) = (Vec::new(), Vec::new());
        changes.iter().for_each(|(key, value)| row(&mut content, key, value.as_deref()));
        frame(&mut out, Kind::Rows, &content);
        self.bytes += out.len() as u64;
        let written = match self.bytes > BACKUP_SPOOL_BYTES_MAX {
            true => Err(io::Error::other("more has changed meanwhile than is kept for it")),
            false => file.write_all(&out),
        };
        if let Err(error) = written {
            self.file = Err(error);
        }
    }

    /// The file, and how long it is.
    pub(super) fn end(self) -> io::Result<(File, u64)> {
        Ok((self.file?, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Vec<Change> {
        vec![(b"key".to_vec(), Some(b"value".to_vec()))]
    }

    #[test]
    fn what_cannot_be_written_takes_no_room_any_more() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut spool = Spool { number: 1, file: Ok(full), bytes: 0 };
        spool.take(&change());
        assert!(spool.file.is_err(), "the file is closed, and has no name");
        spool.take(&change());
        assert_eq!(spool.end().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn one_byte_too_many_ends_it_and_takes_no_room_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(1, folder.path()).unwrap();
        spool.take(&change());
        let bytes = spool.bytes;
        for (before, is_kept) in [(bytes, true), (bytes - 1, false)] {
            let mut spool = Spool::new(1, folder.path()).unwrap();
            spool.bytes = BACKUP_SPOOL_BYTES_MAX - before;
            spool.take(&change());
            assert_eq!(spool.file.is_ok(), is_kept);
        }
    }
}
