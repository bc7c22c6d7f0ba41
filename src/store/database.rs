//! A sled database whose writes can be made durable, and what folders need for that: the state is
//! kept in one.
//!
//! # Durability
//!
//! sled's flush hands its bytes to the kernel and no further, so [`Database::sync`] syncs the
//! database's file through a handle of its own. sled never syncs its `conf` nor a folder, so that
//! is done whenever a database is opened: one that is there may be of a run that was killed before
//! it did so. Values never leave the file for a blob (see
//! [`RECORD_BYTES_TARGET`](crate::limits::RECORD_BYTES_TARGET)).
//!
//! # Damage
//!
//! sled finds out that something is damaged when it comes upon it, and may panic. Either way the
//! database is marked, and whatever was asked fails: the next start takes another one.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::RECORD_BYTES_MAX;
use crate::private_file;
use crate::store::archive::ValueError;
use crate::store::backup::Spool;
use crate::store::scan::is_of_the_disk;

/// How long a database that another handle still holds is waited for: sled lets go of its lock a
/// little after it is dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of sled's own segments, its largest power of two but one; see `RECORD_BYTES_TARGET`.
const SLED_SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of pages that sled keeps in memory.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// The file that marks a database as damaged.
const DAMAGED: &str = "DAMAGED";
/// How often sled cleans up behind itself; its garbage collection hangs on this.
const SLED_HOUSEKEEPING_MS: u64 = 1_000;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The disk, or sled on it, failed.
    #[error("cannot {action} {path}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A value is not what was written.
    #[error("cannot read {path}")]
    Value {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        source: ValueError,
    },
}

impl DatabaseError {
    pub(super) fn disk(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Disk { action, path: path.clone(), source }
    }

    fn sled(action: &'static str, path: &Path) -> impl Fn(sled::Error) -> Self + use<> {
        let disk = Self::disk(action, path);
        move |error| disk(error.into())
    }

    /// What the disk cannot read is as damaged as what reads wrong.
    pub(super) fn reading(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |error| match is_of_the_disk(&error) {
            true => Self::value(&path)(ValueError::damaged(error)),
            false => Self::disk("read", &path)(error),
        }
    }

    /// Whether it tells of the folder or the system, not of damage: what cannot be opened now may
    /// be whole, so it must neither be given up nor be set aside.
    pub(super) fn is_of_the_system(&self) -> bool {
        let Self::Disk { source, .. } = self else { return false };
        let errors = [nix::libc::EMFILE, nix::libc::ENFILE, nix::libc::ENOMEM];
        source.kind() == io::ErrorKind::PermissionDenied
            || source.raw_os_error().is_some_and(|error| errors.contains(&error))
    }

    pub(super) fn value(path: &Path) -> impl Fn(ValueError) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Value { path: path.clone(), source }
    }
}

/// A sled database whose writes can be made durable.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    sled: sled::Db,
    file: File,
    /// What changes while a backup is read.
    spool: Mutex<Option<Spool>>,
}

impl Database {
    /// Opens a database, or makes a new one and what it needs to outlast a power cut.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let is_new = !path.join("db").exists();
        if is_new && path.exists() {
            // A kill while it was made left a folder that sled takes for damage.
            fs::remove_dir_all(path).map_err(DatabaseError::disk("remove", path))?;
        }
        let config = sled::Config::new()
            .path(path)
            .segment_size(SLED_SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(SLED_HOUSEKEEPING_MS));
        if is_distrusted(path) {
            return Err(Self::value_damaged(path, "the run before came upon something damaged"));
        }
        let open = || guarded(path, "open", || patiently(|| config.open()));
        let opened = match open() {
            // A kill while it opened left half a snapshot, which only saves time.
            Err(_) if is_distrusted(path) && remove_snapshots(path) => {
                trust(path)?;
                open()
            }
            opened => opened,
        };
        let sled = opened?;
        let disk = DatabaseError::disk("open", path);
        let file = File::open(path.join("db")).map_err(disk)?;
        let database = Self { path: path.to_path_buf(), sled, file, spool: Mutex::new(None) };
        database.sync()?;
        let disk = DatabaseError::disk("sync", path);
        File::open(path.join("conf")).and_then(|conf| conf.sync_all()).map_err(&disk)?;
        sync_folder(path)?;
        sync_folder(path.parent().unwrap_or(path))?;
        Ok(database)
    }

    pub(super) fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, DatabaseError> {
        self.guarded("read", || self.sled.get(key))
    }

    fn guarded<R>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> sled::Result<R>,
    ) -> Result<R, DatabaseError> {
        let result = guarded(&self.path, action, work);
        if result.is_err() && is_distrusted(&self.path) {
            leave_open(&self.sled);
        }
        result
    }

    fn value_damaged(path: &Path, what: &str) -> DatabaseError {
        DatabaseError::value(path)(ValueError::damaged(what))
    }

    /// All keys that begin with `prefix`, from `from` on, with their values.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), DatabaseError>> + use<> {
        let (prefix, path, sled) = (prefix.to_vec(), self.path.clone(), self.sled.clone());
        let mut rows = Some(self.sled.range(from.to_vec()..));
        let next = move || {
            let row = || rows.as_mut().and_then(Iterator::next).transpose();
            let row = guarded(&path, "read", row);
            if row.is_err() && is_distrusted(&path) {
                // It would come upon the same again and again.
                std::mem::forget(rows.take());
                leave_open(&sled);
            }
            row.transpose()
        };
        std::iter::from_fn(next)
            .take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
    }

    /// Writes and removes several values, all or none.
    pub(super) fn write_batch(&self, batch: Batch) -> Result<(), DatabaseError> {
        let mut spool = self.spool.lock();
        if let Some(spool) = &mut *spool {
            spool.take(&batch.0);
        }
        let mut together = sled::Batch::default();
        for (key, value) in batch.0 {
            match value {
                Some(value) => together.insert(key, value),
                None => together.remove(key),
            }
        }
        self.guarded("write", || self.sled.apply_batch(together))
    }

    /// Keeps what changes from now on.
    pub(super) fn begin_spool(&self, spool: Spool) {
        *self.spool.lock() = Some(spool);
    }

    /// Gives what has changed since a backup began, and keeps nothing for it any more.
    pub(super) fn end_spool(&self, number: u64) -> Option<Spool> {
        self.spool.lock().take_if(|spool| spool.number == number)
    }

    /// Returns when all that was written is on stable storage.
    pub(super) fn sync(&self) -> Result<(), DatabaseError> {
        let sync = || -> io::Result<()> {
            fail::fail_point!("store-sync", |_| Err(io::Error::other("injected failure")));
            self.file.sync_data()
        };
        self.guarded("sync", || self.sled.flush())?;
        sync().map_err(DatabaseError::disk("sync", &self.path))
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// A key, and its value from now on, if it is to have one.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Changes to a database that happen together.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<Change>);

impl Batch {
    pub(super) fn write(&mut self, key: &[u8], value: Vec<u8>) {
        debug_assert!(value.len() <= RECORD_BYTES_MAX, "{} bytes", value.len());
        self.0.push((key.to_vec(), Some(value)));
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.0.push((key.to_vec(), None));
    }
}

/// Does something of sled's. When it comes upon damage, or panics, the database is marked.
fn guarded<R>(
    path: &Path,
    action: &'static str,
    work: impl FnOnce() -> sled::Result<R>,
) -> Result<R, DatabaseError> {
    let error = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)))) => {
            error.into()
        }
        Ok(Err(error)) => return Err(DatabaseError::sled(action, path)(error)),
        Err(_) => io::Error::other("the database is so damaged that it cannot be used"),
    };
    distrust(path);
    Err(DatabaseError::disk(action, path)(error))
}

/// Marks a database as damaged, for the next start.
fn distrust(path: &Path) {
    let mark = path.join(DAMAGED);
    if let Err(error) = File::create(&mark).and_then(|file| file.sync_all()) {
        tracing::warn!(path = %mark.display(), %error, "cannot mark a damaged database");
    }
}

/// Whether a database was found damaged.
pub(super) fn is_distrusted(path: &Path) -> bool {
    path.join(DAMAGED).exists()
}

fn trust(path: &Path) -> Result<(), DatabaseError> {
    fs::remove_file(path.join(DAMAGED)).map_err(DatabaseError::disk("remove", path))
}

/// Closing what is damaged might panic, or wait for ever.
fn leave_open(sled: &sled::Db) {
    std::mem::forget(sled.clone());
}

fn patiently(open: impl Fn() -> sled::Result<sled::Db>) -> sled::Result<sled::Db> {
    let start = Instant::now();
    loop {
        match open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && start.elapsed() < LOCK_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

/// Removes sled's snapshots of a database, without which it reads the whole database file; says
/// whether there were any.
fn remove_snapshots(path: &Path) -> bool {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let snapshots =
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"snap."));
    snapshots.filter(|snapshot| fs::remove_file(snapshot.path()).is_ok()).count() > 0
}

/// Makes the creation, renaming and removal of a folder's entries durable.
pub(super) fn sync_folder(path: &Path) -> Result<(), DatabaseError> {
    // The parent of a relative path of one name is empty, and means where the process is.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(DatabaseError::disk("sync", path))
}

/// Makes a folder, and makes that durable.
pub(super) fn create_folder(path: &Path) -> Result<(), DatabaseError> {
    private_file::create_folder(path).map_err(DatabaseError::disk("create", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Removes a database so that no power cut leaves half of it under its name.
pub(super) fn remove_database(path: &Path) -> Result<(), DatabaseError> {
    let disk = DatabaseError::disk("remove", path);
    let doomed = path.with_extension("removed");
    fs::rename(path, &doomed).map_err(&disk)?;
    sync_folder(path.parent().unwrap_or(path))?;
    fs::remove_dir_all(&doomed).map_err(&disk)
}

/// Removes a file, and makes that durable.
pub(super) fn remove_file(path: &Path) -> Result<(), DatabaseError> {
    fs::remove_file(path).map_err(DatabaseError::disk("remove", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Keeps what is damaged under another name, for who wants to look at it.
pub(super) fn set_aside(path: &Path) -> Result<(), DatabaseError> {
    let aside = name_aside(path)?;
    fs::rename(path, &aside).map_err(DatabaseError::disk("rename", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Keeps a damaged file under another name, too: under its own it is still read.
pub(super) fn keep_aside(path: &Path) -> Result<(), DatabaseError> {
    let aside = name_aside(path)?;
    fs::hard_link(path, &aside).map_err(DatabaseError::disk("link", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// The other name of what is damaged; what had it before is gone.
fn name_aside(path: &Path) -> Result<PathBuf, DatabaseError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("damaged-{name}"));
    let removed = if aside.is_dir() { fs::remove_dir_all(&aside) } else { fs::remove_file(&aside) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DatabaseError::disk("remove", &aside)(error))
        }
        _ => Ok(aside),
    }
}
