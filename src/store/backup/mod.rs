//! A copy of a data folder: how one is known that is not complete, and what a start on it does.
//!
//! ```text
//! BACKUP-INCOMPLETE   while it is written: no server starts on it
//! BACKUP              when it is: the first start on it begins a new epoch, for what the server
//!                     it is of has done since is not in it, and must not be done again
//! ```
//!
//! # Durability
//!
//! The first file is on stable storage before anything else is written. It becomes the second one,
//! by a rename, when everything else is.

mod folder;
mod frames;
mod receiving;
mod sending;
mod spool;
mod stopped;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Serialize;

pub use folder::{BackupError, Copied};
pub use receiving::Receiving;
pub use sending::Backup;
pub(super) use sending::{LogFile, Moment};
pub(super) use spool::Spool;
pub use stopped::{copy_stopped, is_in_use};

use crate::store::database::{DatabaseError, sync_folder};

/// The file of a copy that is not complete.
const INCOMPLETE: &str = "BACKUP-INCOMPLETE";
/// The file of a complete one, until a server has started on it.
const COMPLETE: &str = "BACKUP";

/// How far a copy is, by the mark that its folder has.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is being written, or the writing was cut.
    Incomplete,
    /// It is complete, and no server has started on it.
    Complete,
}

impl Stage {
    /// The mark of a folder, if it has one.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        if folder.join(INCOMPLETE).exists() {
            return Some(Self::Incomplete);
        }
        folder.join(COMPLETE).exists().then_some(Self::Complete)
    }

    /// Marks a folder as one that is being written.
    pub(super) fn begin(folder: &Path) -> Result<(), DatabaseError> {
        let path = folder.join(INCOMPLETE);
        let disk = DatabaseError::disk("write", &path);
        File::create(&path).and_then(|file| file.sync_all()).map_err(disk)?;
        sync_folder(folder)
    }

    /// Marks a folder as complete.
    pub(super) fn complete(folder: &Path) -> Result<(), DatabaseError> {
        sync_folder(folder)?;
        let (from, to) = (folder.join(INCOMPLETE), folder.join(COMPLETE));
        fs::rename(&from, &to).map_err(DatabaseError::disk("rename", &from))?;
        sync_folder(folder)
    }

    /// Removes the mark of a complete copy: a server has started on it.
    pub(super) fn remove(folder: &Path) -> Result<(), DatabaseError> {
        let path = folder.join(COMPLETE);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(DatabaseError::disk("remove", &path)(error)),
        }
    }
}
