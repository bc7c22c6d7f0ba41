//! Making the copy of a data folder from the stream of a server.
//!
//! # Invariants
//!
//! * What comes is checked before it is used, and no name leads out of the folder.
//! * In memory is one frame.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::folder::{BackupError, Copied, Target};
use super::frames::{Kind, first, rows};
use crate::id::MessageId;
use crate::store::archive::ValueError;
use crate::store::closed::SEGMENT;
use crate::store::current::write_current;
use crate::store::database::{Batch, Database, DatabaseError, sync_folder};
use crate::store::record::array;
use crate::store::segment::OPEN;

/// The generation that the state of a copy has.
const GENERATION: u32 = 1;

/// A copy that is being made.
#[derive(Debug)]
pub struct Receiving {
    target: Target,
    /// The data folder of the server, if it can be read here.
    data: Option<PathBuf>,
    /// What has come of a frame that is not whole.
    rest: Vec<u8>,
    state: Database,
    file: Option<(File, PathBuf)>,
    planned: u64,
    is_over: bool,
}

impl Receiving {
    /// Begins a copy in a folder that is empty or not there. `data` is the data folder of the
    /// server if it can be read here: its keys and endpoints, which do not come over the network,
    /// are taken from it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`BackupError`]: there is something in the folder, it is in the data folder, or it cannot
    /// be written to.
    pub fn begin(folder: &Path, data: Option<&Path>) -> Result<Self, BackupError> {
        let target = Target::begin(folder, data)?;
        target.create_folder(Path::new("log"))?;
        let state = Database::open(&folder.join(format!("state-{GENERATION}")))?;
        let (data, rest, file) = (data.map(Path::to_path_buf), Vec::new(), None);
        Ok(Self { target, data, rest, state, file, planned: 0, is_over: false })
    }

    /// Takes what has come of the stream. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`BackupError`]: it is no backup, or the disk fails.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut start = 0;
        while let Some((kind, content, bytes)) = first(&rest[start..])? {
            self.frame(kind, content)?;
            self.target.copied.bytes += content.len() as u64;
            start += bytes;
        }
        self.rest = rest[start..].to_vec();
        Ok(())
    }

    /// Bytes that have come, and about how many there will be.
    pub fn progress(&self) -> (u64, u64) {
        (self.target.copied.bytes, self.planned.max(self.target.copied.bytes))
    }

    /// Ends it: all is synced, and the folder marked as complete. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`BackupError`]: the stream was cut, or the disk fails.
    pub fn finish(mut self) -> Result<Copied, BackupError> {
        if !self.is_over || !self.rest.is_empty() {
            return Err(BackupError::Ended);
        }
        self.end_file()?;
        self.state.sync()?;
        let folder = self.target.folder.clone();
        sync_folder(&folder.join("log"))?;
        write_current(&folder, GENERATION)?;
        drop(self.state);
        if let Some(data) = self.data {
            self.target.copy_others(&data)?;
        }
        self.target.complete()
    }

    fn frame(&mut self, kind: Kind, content: &[u8]) -> Result<(), BackupError> {
        let damaged = |what: &str| BackupError::Stream(ValueError::damaged(what));
        match kind {
            _ if self.is_over => return Err(damaged("there is more behind its end")),
            Kind::Plan if content.len() == 8 => {
                self.planned = u64::from_le_bytes(array(content));
            }
            Kind::Rows => {
                let mut batch = Batch::default();
                for row in rows(content) {
                    match row? {
                        (key, Some(value)) => batch.write(key, value.to_vec()),
                        (key, None) => batch.remove(key),
                    }
                }
                self.state.write_batch(batch)?;
            }
            Kind::File => {
                self.end_file()?;
                let name = std::str::from_utf8(content).ok().and_then(name_of_segment);
                let name = name.ok_or_else(|| damaged("a file that is no segment"))?;
                self.file = Some(self.target.create(&name)?);
                self.target.copied.segments += 1;
            }
            Kind::Bytes => {
                let (file, path) = self.file.as_mut().ok_or_else(|| damaged("bytes of no file"))?;
                file.write_all(content).map_err(DatabaseError::disk("write", path))?;
            }
            Kind::End if content.len() == 16 => {
                let head = i64::from_le_bytes(array(&content[8..]));
                self.target.copied.head = Some(MessageId(head));
                self.is_over = true;
            }
            Kind::Plan | Kind::End => return Err(damaged("a frame of another length")),
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), BackupError> {
        match self.file.take() {
            Some((file, path)) => {
                Ok(file.sync_all().map_err(DatabaseError::disk("sync", &path))?)
            }
            None => Ok(()),
        }
    }
}

/// The name of a segment's file in the folder, if it is one.
fn name_of_segment(name: &str) -> Option<PathBuf> {
    let (number, extension) = name.strip_prefix("log/")?.split_once('.')?;
    let is_number = number.len() == 10 && number.bytes().all(|digit| digit.is_ascii_digit());
    (is_number && matches!(extension, OPEN | SEGMENT)).then(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_segments_have_names_that_are_taken() {
        assert!(name_of_segment("log/0000000001.open").is_some());
        assert!(name_of_segment("log/0000000001.segment").is_some());
        for name in
            ["log/1.open", "log/../../etc.open", "0000000001.open", "log/0000000001.new", ""]
        {
            assert_eq!(name_of_segment(name), None, "{name}");
        }
    }
}
