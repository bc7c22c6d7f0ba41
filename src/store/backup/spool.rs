//! What changes in the state while a backup reads it: kept in a file, and sent behind the rows
//! that were read. So the copy is the state as it was at one moment, which is when this ends.
//!
//! # Invariants
//!
//! * The file has no name: whatever happens, nothing of it is left.
//! * A failure to write it costs the backup, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::frames::{Kind, frame, row};
use crate::limits::BACKUP_SPOOL_BYTES_MAX;
use crate::store::database::Change;

/// What has changed so far.
#[derive(Debug)]
pub(in crate::store) struct Spool {
    file: File,
    bytes: u64,
    failed: Option<io::Error>,
}

impl Spool {
    /// An empty one, on the disk of the folder.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("backup-{:016x}.new", fastrand::u64(..)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self { file, bytes: 0, failed: None })
    }

    /// These changes happen together.
    pub(in crate::store) fn take(&mut self, changes: &[Change]) {
        if self.failed.is_some() || changes.is_empty() {
            return;
        }
        let (mut content, mut out) = (Vec::new(), Vec::new());
        changes.iter().for_each(|(key, value)| row(&mut content, key, value.as_deref()));
        frame(&mut out, Kind::Rows, &content);
        self.bytes += out.len() as u64;
        let written = match self.bytes > BACKUP_SPOOL_BYTES_MAX {
            true => Err(io::Error::other("more has changed meanwhile than is kept for it")),
            false => self.file.write_all(&out),
        };
        self.failed = written.err();
    }

    /// The file, and how long it is.
    pub(super) fn end(self) -> io::Result<(File, u64)> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.file, self.bytes)),
        }
    }
}
