//! A backup of a store that runs, as a stream.
//!
//! The state is read row by row while it changes; what changes is kept beside it and sent behind.
//! At one moment, between two commits, that ends, and the files of the log are opened. They are
//! sent up to where the log was then: closed ones never change, and the open one only grows. So
//! the copy is what a crash at that moment would have left, and holds all that was acknowledged
//! before the backup began.
//!
//! # Invariants
//!
//! * The commit thread is held up for as long as it takes to open the files, and for the write of
//!   a batch of changes; never by who reads the stream.
//! * What is in memory is one part of the stream.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frames::{Kind, frame, row};
use super::spool::Spool;
use crate::id::MessageId;
use crate::limits::BACKUP_PART_BYTES;
use crate::store::asking::blocking;
use crate::store::database::DatabaseError;
use crate::store::queue::{Question, Queue};
use crate::store::state::State;
use crate::store::{ReadError, Store};

/// A file of the log at the moment of the backup.
#[derive(Debug)]
pub(in crate::store) struct LogFile {
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) file: File,
    /// Its bytes at that moment.
    pub(in crate::store) bytes: u64,
}

/// What the commit thread says of that moment.
#[derive(Debug)]
pub(in crate::store) struct Moment {
    /// What has changed in the state.
    pub(in crate::store) spool: Option<Spool>,
    pub(in crate::store) files: Result<Vec<LogFile>, DatabaseError>,
    pub(in crate::store) epoch: u64,
    pub(in crate::store) head: MessageId,
}

/// Where a backup stands.
#[derive(Debug)]
enum At {
    Begin,
    /// The rows of the state from a key on.
    Rows(Vec<u8>),
    /// All rows have been read.
    Moment,
    /// What has changed meanwhile, from a byte on.
    Changes(u64),
    /// A file, from a byte on.
    File(usize, u64),
    End,
}

/// What has been fixed at the moment of the backup.
#[derive(Debug)]
struct Fixed {
    changes: (File, u64),
    files: Vec<LogFile>,
    epoch: u64,
    head: MessageId,
}

/// The part that reads the disk.
#[derive(Debug)]
struct Source {
    number: u64,
    state: Arc<State>,
    at: At,
    fixed: Option<Fixed>,
    /// Bytes of the log when it began.
    log_bytes: u64,
    /// There is one backup at a time.
    _permit: OwnedSemaphorePermit,
}

/// A backup that is being read. Dropping it ends it.
pub struct Backup<T> {
    queue: Arc<Queue<T>>,
    reads: Arc<Semaphore>,
    source: Option<Source>,
}

impl<T: Send + 'static> Store<T> {
    /// Begins a backup; none if another one goes on.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk takes nothing.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has begun nothing that goes on.
    pub async fn backup(&self) -> Result<Option<Backup<T>>, ReadError> {
        let Ok(permit) = self.backups.clone().try_acquire_owned() else { return Ok(None) };
        let state = self.reader.state.clone();
        let log_bytes = self.reader.catalog.bytes();
        let number = fastrand::u64(..);
        let source =
            Source { number, state, at: At::Begin, fixed: None, log_bytes, _permit: permit };
        let folder = self.reader.catalog.folder.clone();
        let begin = move || {
            let spool =
                Spool::new(number, &folder).map_err(DatabaseError::disk("write", &folder))?;
            source.state.database.begin_spool(spool);
            Ok(source)
        };
        let source = Some(blocking(&self.journal_reads, begin).await?);
        Ok(Some(Backup { queue: self.queue.clone(), reads: self.journal_reads.clone(), source }))
    }
}

impl<T: Send + 'static> Backup<T> {
    /// The next part of the stream; none behind the last.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed or the disk fails. Then the backup is over.
    ///
    /// # Cancel safety
    ///
    /// A dropped future ends the backup.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some(mut source) = self.source.take() else { return Ok(None) };
        if matches!(source.at, At::Moment) {
            let number = source.number;
            let asked = self.queue.ask(|answer| Question::Backup { number, answer });
            let moment = asked.await?;
            source.fix(moment)?;
        }
        let (part, source) = blocking(&self.reads, move || source.part()).await?;
        self.source = source;
        Ok(Some(part))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Nobody wants to know any more what changes.
        if self.fixed.is_none() {
            self.state.database.end_spool(self.number);
        }
    }
}

impl Source {
    /// The log is sent as it was at this moment.
    fn fix(&mut self, moment: Moment) -> Result<(), DatabaseError> {
        let Moment { spool, files, epoch, head } = moment;
        let failed = DatabaseError::disk("write", &self.state.database.path);
        let gone = || io::Error::other("the backup has ended");
        let changes = spool.ok_or_else(gone).and_then(Spool::end).map_err(failed)?;
        self.fixed = Some(Fixed { changes, files: files?, epoch, head });
        self.at = At::Changes(0);
        Ok(())
    }

    /// The next part, and what is left.
    fn part(mut self) -> Result<(Bytes, Option<Self>), DatabaseError> {
        let mut out = Vec::new();
        self.at = match std::mem::replace(&mut self.at, At::End) {
            At::Begin => {
                let bytes = self.log_bytes + self.state.database.bytes();
                frame(&mut out, Kind::Plan, &bytes.to_le_bytes());
                At::Rows(Vec::new())
            }
            At::Rows(from) => self.rows(&from, &mut out)?,
            At::Moment | At::End => {
                let fixed = self.fixed.as_ref();
                let (epoch, head) = fixed.map_or((0, 0), |fixed| (fixed.epoch, fixed.head.0));
                let content = [epoch.to_le_bytes(), head.to_le_bytes()].concat();
                frame(&mut out, Kind::End, &content);
                return Ok((out.into(), None));
            }
            At::Changes(at) => self.changes(at, &mut out)?,
            At::File(index, at) => self.file(index, at, &mut out)?,
        };
        Ok((out.into(), Some(self)))
    }

    fn rows(&self, from: &[u8], out: &mut Vec<u8>) -> Result<At, DatabaseError> {
        let mut content = Vec::new();
        let mut next = At::Moment;
        for found in self.state.database.scan(&[], from) {
            let (key, value) = found?;
            if content.len() >= BACKUP_PART_BYTES {
                next = At::Rows(key.to_vec());
                break;
            }
            row(&mut content, &key, Some(&value));
        }
        frame(out, Kind::Rows, &content);
        Ok(next)
    }

    /// They are in frames already.
    fn changes(&self, at: u64, out: &mut Vec<u8>) -> Result<At, DatabaseError> {
        let Some(Fixed { changes: (file, bytes), .. }) = &self.fixed else { return Ok(At::End) };
        let failed = DatabaseError::disk("read", &self.state.database.path);
        read(file, at, *bytes, out).map_err(failed)?;
        let next = at + out.len() as u64;
        Ok(if next < *bytes { At::Changes(next) } else { At::File(0, 0) })
    }

    fn file(&self, index: usize, at: u64, out: &mut Vec<u8>) -> Result<At, DatabaseError> {
        let file = self.fixed.as_ref().and_then(|fixed| fixed.files.get(index));
        let Some(LogFile { path, file, bytes }) = file else { return Ok(At::End) };
        if at == 0 {
            let name = path.file_name().unwrap_or_default().display();
            frame(out, Kind::File, format!("log/{name}").as_bytes());
        }
        let mut content = Vec::new();
        read(file, at, *bytes, &mut content).map_err(DatabaseError::disk("read", path))?;
        frame(out, Kind::Bytes, &content);
        let next = at + content.len() as u64;
        Ok(if next < *bytes { At::File(index, next) } else { At::File(index + 1, 0) })
    }
}

/// Reads a part of what a file has up to `end`.
fn read(file: &File, at: u64, end: u64, out: &mut Vec<u8>) -> io::Result<()> {
    out.resize((end - at).min(BACKUP_PART_BYTES as u64) as usize, 0);
    file.read_exact_at(out, at)
}
