//! Copying the data folder of a server that does not run: file by file.
//!
//! # Invariants
//!
//! * The lock of the folder is held: no server starts meanwhile.
//! * What a start would remove or has set aside is left out, and so is who was connected.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::Stage;
use super::folder::{BackupError, Copied, Target, is_data};
use crate::store::database::DatabaseError;

/// The lock of a data folder; none if it has none.
fn lock(data: &Path) -> Result<Option<File>, BackupError> {
    let path = data.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DatabaseError::disk("open", &path)(error).into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(BackupError::InUse(data.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(DatabaseError::disk("lock", &path)(error).into()),
    }
}

/// Whether a server has this data folder; `false` if there is no such folder.
///
/// # Errors
///
/// [`BackupError`] when that cannot be found out.
pub fn is_in_use(data: &Path) -> Result<bool, BackupError> {
    match lock(data) {
        Ok(_) => Ok(false),
        Err(BackupError::InUse(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Copies the data folder of a server that does not run. `progress` hears how many bytes of how
/// many are done. Blocks on the disk.
///
/// # Errors
///
/// [`BackupError`]: a server has it, there is no data, or a disk fails.
pub fn copy_stopped(
    data: &Path,
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Copied, BackupError> {
    if !data.join("log").is_dir() {
        return Err(BackupError::NoData(data.to_path_buf()));
    }
    if Stage::of(data) == Some(Stage::Incomplete) {
        return Err(BackupError::Cut(data.to_path_buf()));
    }
    let _lock = lock(data)?;
    let all = data_of(data)?;
    let mut target = Target::begin(folder, Some(data))?;
    let (total, mut done) = (all.iter().map(|path| bytes(path)).sum(), 0);
    for path in all {
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        target.copied.has_keys |= name.as_os_str() == "keys";
        target.copy(&path, &name, &mut |bytes| {
            done += bytes;
            progress(done, total);
        })?;
    }
    target.copied.segments = data_of(&folder.join("log"))?.len() as u64;
    target.complete()
}

/// What of a folder belongs to the data.
fn data_of(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let disk = DatabaseError::disk("read", folder);
    let entries = fs::read_dir(folder).map_err(&disk)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(disk)?;
    paths.retain(|path| is_data(path));
    Ok(paths)
}

/// Bytes of a file, or of the data that is in a folder.
fn bytes(path: &Path) -> u64 {
    let all = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            all.filter(|path| is_data(path)).map(|path| bytes(&path)).sum()
        }
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}
