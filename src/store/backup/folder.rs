//! The folder that a copy is written to.
//!
//! # Invariants
//!
//! * Nobody but its owner can read it.
//! * What is in it is synced, files and folders, before it is marked as complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Stage;
use crate::id::MessageId;
use crate::private_file;
use crate::store::archive::ValueError;
use crate::store::database::{DatabaseError, create_folder, sync_folder};

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1024 * 1024;
/// Folders of the data folder that other parts of the server keep.
const OTHERS: [&str; 2] = ["keys", "webhooks"];
/// Who is connected to the server: a start on a copy would send them away from there.
const CONNECTED: &str = "keys/connections";

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target has something in it.
    #[error("{0} is not empty: a backup goes into a folder of its own")]
    NotEmpty(PathBuf),
    /// The target is in what is copied.
    #[error("{0} is in the data folder: a backup goes to a place outside of what it is a copy of")]
    Inside(PathBuf),
    /// A server uses the data folder, so it cannot be copied from outside.
    #[error("a server is using the data folder {0}")]
    InUse(PathBuf),
    /// There is no data.
    #[error("{0} is not a data folder: it holds no log and no state")]
    NoData(PathBuf),
    /// What is to be copied is itself a copy that was cut.
    #[error("{0} is a backup that was cut: it is not complete")]
    Cut(PathBuf),
    /// The stream ended early.
    #[error("the backup was cut: begin again")]
    Ended,
    /// The stream is not what a server sends.
    #[error("what came is no backup")]
    Stream(#[from] ValueError),
    /// A disk fails.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What a complete backup holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// Bytes that were written.
    pub bytes: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Its last entry, if it is the copy of a server that ran.
    pub head: Option<MessageId>,
    /// Keys, certificates and endpoints are in it.
    pub has_keys: bool,
}

/// A target that is being written.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) folder: PathBuf,
    pub(super) copied: Copied,
}

impl Target {
    /// Makes the folder, or takes one that is empty. It cannot be in `data`, which is copied.
    pub(super) fn begin(folder: &Path, data: Option<&Path>) -> Result<Self, BackupError> {
        if let Some(data) = data
            && place(folder)?.starts_with(place(data)?)
        {
            return Err(BackupError::Inside(folder.to_path_buf()));
        }
        let disk = DatabaseError::disk("create", folder);
        match fs::read_dir(folder) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(BackupError::NotEmpty(folder.to_path_buf()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_folder(folder)?;
            }
            Err(error) => return Err(disk(error).into()),
        }
        // It may have been there, open to everybody.
        private_file::close_folder(folder).map_err(DatabaseError::disk("close", folder))?;
        Stage::begin(folder)?;
        Ok(Self { folder: folder.to_path_buf(), copied: Copied::default() })
    }

    /// A folder in it.
    pub(super) fn create_folder(&self, name: &Path) -> Result<PathBuf, BackupError> {
        let path = self.folder.join(name);
        let disk = DatabaseError::disk("create", &path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(disk)?;
        Ok(path)
    }

    /// A new file in it.
    pub(super) fn create(&self, name: &Path) -> Result<(File, PathBuf), BackupError> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        Ok((file.map_err(DatabaseError::disk("create", &path))?, path))
    }

    /// Copies a file, or a folder with the data that is in it. `progress` hears of bytes.
    pub(super) fn copy(
        &mut self,
        from: &Path,
        name: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), BackupError> {
        if from.is_dir() {
            let folder = self.create_folder(name)?;
            let reading = DatabaseError::disk("read", from);
            for entry in fs::read_dir(from).map_err(&reading)? {
                let path = entry.map_err(&reading)?.path();
                if is_data(&path) {
                    let name = name.join(path.file_name().unwrap_or_default());
                    self.copy(&path, &name, progress)?;
                }
            }
            return Ok(sync_folder(&folder)?);
        }
        let reading = DatabaseError::disk("read", from);
        let mut source = File::open(from).map_err(&reading)?;
        let (mut file, path) = self.create(name)?;
        let writing = DatabaseError::disk("write", &path);
        let mut bytes = vec![0; COPY_BYTES];
        loop {
            let read = source.read(&mut bytes).map_err(&reading)?;
            if read == 0 {
                break;
            }
            file.write_all(&bytes[..read]).map_err(&writing)?;
            self.copied.bytes += read as u64;
            progress(read as u64);
        }
        Ok(file.sync_all().map_err(writing)?)
    }

    /// Copies what other parts of the server keep in a data folder, if it is there.
    pub(super) fn copy_others(&mut self, data: &Path) -> Result<(), BackupError> {
        for name in OTHERS {
            let from = data.join(name);
            if from.is_dir() {
                self.copy(&from, Path::new(name), &mut |_| {})?;
                self.copied.has_keys = true;
            }
        }
        Ok(())
    }

    /// Marks it as complete.
    pub(super) fn complete(self) -> Result<Copied, BackupError> {
        Stage::complete(&self.folder)?;
        Ok(self.copied)
    }
}

/// Whether a file or folder belongs to a copy: not if it is of the folder itself, of who is
/// connected, or what a start would remove or has set aside.
pub(super) fn is_data(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_folder = name == "LOCK" || name.starts_with("BACKUP") || path.ends_with(CONNECTED);
    let is_left =
        name.starts_with("damaged-") || name.ends_with(".new") || name.ends_with(".removed");
    !is_of_folder && !is_left
}

/// Where a folder is, or will be once it is made, without links and steps back.
fn place(folder: &Path) -> Result<PathBuf, DatabaseError> {
    match fs::canonicalize(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(DatabaseError::disk("find", folder)),
    }
    let Some(parent) = folder.parent() else { return place(Path::new(".")) };
    let mut path = place(parent)?;
    match folder.file_name() {
        Some(name) => path.push(name),
        None => drop(path.pop()),
    }
    // A step back may have led to what there is.
    Ok(fs::canonicalize(&path).unwrap_or(path))
}
