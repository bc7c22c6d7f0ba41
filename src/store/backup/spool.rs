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
use crate::limits::{BACKUP_PART_BYTES, BACKUP_SPOOL_BYTES_MAX};
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
        for (key, value) in changes {
            if content.len() >= BACKUP_PART_BYTES {
                frame(&mut out, Kind::Rows, &std::mem::take(&mut content));
            }
            row(&mut content, key, value.as_deref());
        }
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
    use super::super::frames::{first, rows};
    use super::*;

    /// A spool that has one byte more than may be in it, or that has not, with so many changes.
    fn spool(changes: &[Change], more: u64) -> io::Result<(File, u64)> {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(1, folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has a name");
        spool.take(changes);
        let bytes = spool.bytes;
        spool.bytes = BACKUP_SPOOL_BYTES_MAX - bytes + more;
        spool.take(changes);
        spool.end()
    }

    #[test]
    fn what_cannot_be_written_takes_no_room_any_more() {
        let changes = [(b"key".to_vec(), Some(b"value".to_vec()))];
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut spool = Spool { number: 1, file: Ok(full), bytes: 0 };
        spool.take(&changes);
        assert!(spool.file.is_err(), "the file is closed, and has no name");
        spool.take(&changes);
        assert_eq!(spool.end().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn one_byte_too_many_ends_the_backup_and_nothing_else() {
        let changes = [(b"key".to_vec(), Some(b"value".to_vec())), (b"gone".to_vec(), None)];
        assert!(spool(&changes, 0).is_ok());
        let error = spool(&changes, 1).unwrap_err();
        assert!(error.to_string().contains("more has changed"), "{error}");
    }

    #[test]
    fn changes_that_are_many_are_sent_in_frames_that_are_not_long() {
        let change = |number: u32| (number.to_be_bytes().to_vec(), Some(vec![7; 1_000]));
        let changes: Vec<Change> = (0..2_000).map(change).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(1, folder.path()).unwrap();
        spool.take(&changes);
        let (file, bytes) = spool.end().unwrap();
        let mut stream = vec![0; bytes as usize];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut stream, 0).unwrap();
        let (mut rest, mut found) = (&stream[..], Vec::new());
        while let Some((_, content, bytes)) = first(rest).unwrap() {
            assert!(content.len() <= BACKUP_PART_BYTES + 1_012);
            let rows = rows(content).map(Result::unwrap);
            found.extend(rows.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))));
            rest = &rest[bytes..];
        }
        assert_eq!(found, changes);
    }
}
