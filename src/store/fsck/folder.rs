//! The folder that is looked at, how far that has come, and the place for a copy of the state.
//!
//! # Invariants
//!
//! * The lock of the folder is held, if it has one: no server starts meanwhile. It is not made.
//! * The copy can be read by nobody else. It is removed when the looking ends, however that goes;
//!   who kills the process meanwhile (Ctrl-C too) has to remove it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::FsckError;

/// Bytes that are copied at once.
const COPY_BYTES: usize = 1024 * 1024;

/// A folder that is looked at.
pub(super) struct Looking<'a> {
    pub(super) folder: PathBuf,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<'a> Looking<'a> {
    /// Begins; also gives the lock, if the folder has one.
    pub(super) fn begin(
        folder: &Path,
        progress: &'a mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Option<File>), FsckError> {
        let has_data = folder.join("log").is_dir()
            || listing(folder).iter().any(|path| generation(path).is_some());
        if !has_data {
            return Err(FsckError::NoData(folder.to_path_buf()));
        }
        let lock = lock(folder)?;
        let total = bytes_of(folder);
        let looking = Self { folder: folder.to_path_buf(), done: 0, total, progress };
        Ok((looking, lock))
    }

    /// Some bytes more have been read.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done.min(self.total), self.total);
    }

    /// A path as it is told: from the folder on.
    pub(super) fn name(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    /// Reads a whole file, and does nothing with it.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<()> {
        self.copy_to(path, &mut io::sink())
    }

    fn copy_to(&mut self, from: &Path, to: &mut impl Write) -> io::Result<()> {
        let (mut from, mut bytes) = (File::open(from)?, vec![0; COPY_BYTES]);
        loop {
            let read = from.read(&mut bytes)?;
            if read == 0 {
                return Ok(());
            }
            to.write_all(&bytes[..read])?;
            self.advance(read as u64);
        }
    }

    /// Copies a folder with all that is in it.
    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> Result<(), FsckError> {
        fs::create_dir_all(to).map_err(disk("create", to))?;
        for path in listing(from) {
            let copied = to.join(path.file_name().unwrap_or_default());
            if path.is_dir() {
                self.copy(&path, &copied)?;
                continue;
            }
            let mut out = File::create(&copied).map_err(disk("create", &copied))?;
            self.copy_to(&path, &mut out).map_err(disk("copy", &path))?;
        }
        Ok(())
    }
}

/// Keeps servers out of the folder for as long as the file is held.
fn lock(folder: &Path) -> Result<Option<File>, FsckError> {
    let path = folder.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk("open", &path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(FsckError::InUse(folder.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(disk("lock", &path)(error)),
    }
}

pub(super) fn disk(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FsckError + use<> {
    let path = path.to_path_buf();
    move |source| FsckError::Disk { action, path: path.clone(), source }
}

/// What is in a folder, sorted; nothing if it cannot be read.
pub(super) fn listing(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Bytes of a file, or of all that is in a folder.
pub(super) fn bytes_of(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => listing(path).iter().map(|path| bytes_of(path)).sum(),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

/// The number of the generation of the state that a folder holds.
pub(super) fn generation(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("state-")?.parse().ok()
}

/// A folder beside the system's temporary files, until this is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn make() -> Result<Self, FsckError> {
        let name = format!("tidings-fsck-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(disk("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary folder");
        }
    }
}
