//! One sled database of the log: the run of records that is being written, or was until its
//! [file](crate::store::closed) takes its place. And the database of the state.
//!
//! # Durability
//!
//! sled's flush hands its bytes to the kernel and no further, so [`Segment::append`] syncs the
//! database's file through a handle of its own. sled never syncs its `conf` nor a folder, so a
//! new segment does that once. Values never leave the file for a blob (see
//! [`RECORD_BYTES_TARGET`](crate::limits::RECORD_BYTES_TARGET)).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::id::MessageId;
use crate::limits::RECORD_BYTES_MAX;
use crate::store::archive::ValueError;

/// How long a database that another handle still holds is waited for: sled lets go of its lock a
/// little after it is dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of sled's own segments, its largest power of two but one; see `RECORD_BYTES_TARGET`.
const SLED_SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of pages that sled keeps in memory for one database of the log, which is written once
/// and seldom read.
const LOG_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of pages that sled keeps in memory for the state.
const STATE_CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// How often sled cleans up behind itself; its garbage collection hangs on this.
const SLED_HOUSEKEEPING_MS: u64 = 1_000;

const RECORD: u8 = b'r';

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
}

/// What a database is for; it decides how much memory it may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Log,
    State,
}

impl Database {
    /// Opens a database, or makes a new one and what it needs to outlast a power cut.
    pub(super) fn open(path: &Path, role: Role) -> Result<Self, DatabaseError> {
        let is_new = !path.join("db").exists();
        if is_new && path.exists() {
            // A kill while it was made left a folder that sled takes for damage.
            fs::remove_dir_all(path).map_err(DatabaseError::disk("remove", path))?;
        }
        let cache = if role == Role::Log { LOG_CACHE_BYTES } else { STATE_CACHE_BYTES };
        let config = sled::Config::new()
            .path(path)
            .segment_size(SLED_SEGMENT_BYTES)
            .cache_capacity(cache)
            .flush_every_ms(Some(SLED_HOUSEKEEPING_MS));
        let sled = match patiently(|| config.open()) {
            // A kill while it opened left half a snapshot, which only saves time.
            Err(sled::Error::Corruption { .. }) if remove_snapshots(path) => {
                patiently(|| config.open())
            }
            opened => opened,
        };
        let sled = sled.map_err(DatabaseError::sled("open", path))?;
        let disk = DatabaseError::disk("open", path);
        let file = File::open(path.join("db")).map_err(disk)?;
        let database = Self { path: path.to_path_buf(), sled, file };
        if is_new {
            database.sync()?;
            let disk = DatabaseError::disk("sync", path);
            File::open(path.join("conf")).and_then(|conf| conf.sync_all()).map_err(&disk)?;
            sync_folder(path)?;
            sync_folder(path.parent().unwrap_or(path))?;
        }
        Ok(database)
    }

    pub(super) fn read(&self, key: &[u8]) -> Result<Option<sled::IVec>, DatabaseError> {
        self.sled.get(key).map_err(DatabaseError::sled("read", &self.path))
    }

    /// The value with the greatest key below `key`.
    pub(super) fn read_below(
        &self,
        key: &[u8],
    ) -> Result<Option<(sled::IVec, sled::IVec)>, DatabaseError> {
        self.sled.get_lt(key).map_err(DatabaseError::sled("read", &self.path))
    }

    /// All keys that begin with `prefix`, from `from` on, with their values.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
    ) -> impl Iterator<Item = Result<(sled::IVec, sled::IVec), DatabaseError>> + use<> {
        let failed = DatabaseError::sled("read", &self.path);
        let prefix = prefix.to_vec();
        self.sled
            .range(from.to_vec()..)
            .map(move |pair| pair.map_err(&failed))
            .take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
    }

    pub(super) fn write(&self, key: &[u8], value: Vec<u8>) -> Result<(), DatabaseError> {
        debug_assert!(value.len() <= RECORD_BYTES_MAX, "{} bytes", value.len());
        let write = || -> io::Result<()> {
            fail::fail_point!("store-write", |_| Err(io::ErrorKind::StorageFull.into()));
            self.sled.insert(key, value)?;
            Ok(())
        };
        write().map_err(DatabaseError::disk("write", &self.path))
    }

    /// Writes and removes several values, all or none.
    pub(super) fn write_batch(&self, batch: Batch) -> Result<(), DatabaseError> {
        self.sled.apply_batch(batch.0).map_err(DatabaseError::sled("write", &self.path))
    }

    /// Returns when all that was written is on stable storage.
    pub(super) fn sync(&self) -> Result<(), DatabaseError> {
        let sync = || -> io::Result<()> {
            fail::fail_point!("store-sync", |_| Err(io::Error::other("injected failure")));
            self.sled.flush()?;
            self.file.sync_data()
        };
        sync().map_err(DatabaseError::disk("sync", &self.path))
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

/// Changes to a database that happen together.
#[derive(Debug, Default)]
pub(super) struct Batch(sled::Batch);

impl Batch {
    pub(super) fn write(&mut self, key: &[u8], value: Vec<u8>) {
        debug_assert!(value.len() <= RECORD_BYTES_MAX, "{} bytes", value.len());
        self.0.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.0.remove(key);
    }
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
    fs::create_dir_all(path).map_err(DatabaseError::disk("create", path))?;
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

/// Keeps what is damaged under another name, for who wants to look at it.
pub(super) fn set_aside(path: &Path) -> Result<(), DatabaseError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("damaged-{name}"));
    if aside.is_dir() {
        fs::remove_dir_all(&aside).map_err(DatabaseError::disk("remove", &aside))?;
    }
    fs::rename(path, &aside).map_err(DatabaseError::disk("rename", path))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// A segment of the log that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) database: Database,
}

impl Segment {
    /// The folder of a segment.
    pub(super) fn path(log: &Path, number: u32) -> PathBuf {
        log.join(format!("{number:010}"))
    }

    pub(super) fn open(log: &Path, number: u32) -> Result<Self, DatabaseError> {
        let database = Database::open(&Self::path(log, number), Role::Log)?;
        Ok(Self { number, database })
    }

    /// Appends a record. It is durable after [`Database::sync`].
    pub(super) fn append(&self, first: MessageId, record: Vec<u8>) -> Result<(), DatabaseError> {
        self.database.write(&record_key(first), record)
    }

    /// The record that holds the entry `id`, if it is in this segment.
    pub(super) fn record(&self, id: MessageId) -> Result<Option<sled::IVec>, DatabaseError> {
        let found = self.database.read_below(&record_key(MessageId(id.0.saturating_add(1))))?;
        Ok(found.filter(|(key, _)| key.first() == Some(&RECORD)).map(|(_, value)| value))
    }

    /// Where the record that holds the entry `id` begins, or else the next one.
    pub(super) fn begin_of(&self, id: MessageId) -> Result<MessageId, DatabaseError> {
        let found = self.database.read_below(&record_key(MessageId(id.0.saturating_add(1))))?;
        let found = found.filter(|(key, _)| key.first() == Some(&RECORD));
        Ok(found.map_or(id, |(key, _)| record_id(&key)))
    }

    /// The first id and the bytes of each record that begins at `from` or later.
    pub(super) fn records(
        &self,
        from: MessageId,
    ) -> impl Iterator<Item = Result<(MessageId, sled::IVec), DatabaseError>> + use<> {
        let scan = self.database.scan(&[RECORD], &record_key(from));
        scan.map(|pair| pair.map(|(key, value)| (record_id(&key), value)))
    }
}

fn record_key(first: MessageId) -> [u8; 9] {
    let mut key = [RECORD; 9];
    key[1..].copy_from_slice(&first.0.to_be_bytes());
    key
}

fn record_id(key: &[u8]) -> MessageId {
    let mut id = [0; 8];
    if let Some(bytes) = key.get(1..9) {
        id.copy_from_slice(bytes);
    }
    MessageId(i64::from_be_bytes(id))
}
