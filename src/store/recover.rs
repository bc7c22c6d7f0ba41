//! Opening the store: what the last run left is found, checked and replayed.
//!
//! # Invariants
//!
//! * The server always starts: damage costs what is damaged, is named, and begins a new epoch.
//! * The records of the last commit are written again into the new segment and synced before
//!   anything is served: they are the only ones whose sync nobody saw.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::Chain;
use crate::id::MessageId;
use crate::limits::INBOX_MESSAGES_MAX;
use crate::metrics::Metrics;
use crate::private_file;
use crate::store::Options;
use crate::store::backup::Stage;
use crate::store::commit::Committer;
use crate::store::database::{DatabaseError, create_folder};
use crate::store::handing::Dispatch;
use crate::store::housekeeping::Housekeeping;
use crate::store::ledger::Ledger;
use crate::store::log::Log;
use crate::store::peer::Rules;
use crate::store::queue::Taker;
use crate::store::record::RecordWriter;
use crate::store::reopen::Replay;
use crate::store::settle::Settling;
use crate::store::state::State;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has the folder.
    #[error("another server is using the data folder {0}")]
    InUse(PathBuf),
    /// It is a copy of a data folder that was never finished.
    #[error("{0} is a backup that was cut: it is not complete, and no server can start on it")]
    Incomplete(PathBuf),
    /// The folder cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What a start found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Entries that were replayed.
    pub replayed: u64,
    /// What was damaged, in plain words; empty if nothing was.
    pub damage: Vec<String>,
    /// The last position of the log that the run before left.
    pub head: MessageId,
}

pub(super) struct Recovered<T> {
    pub(super) committer: Committer<T>,
    pub(super) report: Report,
    pub(super) lock: File,
}

/// Keeps others out of a folder that was made by somebody else: what is in it is in plain text.
fn close_folder(folder: &Path) {
    match private_file::close_folder(folder) {
        Ok(false) => {}
        Ok(true) => {
            tracing::warn!(folder = %folder.display(), "others could enter the data folder")
        }
        Err(error) => {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "others may be able to enter the data folder");
        }
    }
}

/// Opens everything and brings the ledger to the head of the log.
pub(super) fn recover<T>(
    options: Options,
    metrics: Arc<Metrics>,
    taker: Taker<T>,
    dispatch: Dispatch<T>,
) -> Result<Recovered<T>, OpenError> {
    let folder = options.dir.clone();
    create_folder(&folder)?;
    let lock = lock(&folder)?;
    close_folder(&folder);
    let stage = Stage::of(&folder);
    if stage == Some(Stage::Incomplete) {
        return Err(OpenError::Incomplete(folder));
    }
    // What a replay gives up was counted by the run that gave it up.
    let uncounted = Arc::new(Metrics::new());
    let mut replay = loop {
        match replay(&options, &uncounted) {
            // Each time another generation of the state is found damaged, and none of them again.
            Err(OpenError::Database(error)) if State::is_distrusted(&folder) => {
                tracing::error!(error = %Chain(&error), "the state is damaged: another is taken");
            }
            replayed => break replayed?,
        }
    };
    replay.is_restored = stage == Some(Stage::Complete);
    let (catalog, epoch) = replay.open_segment()?;
    if replay.is_restored {
        tracing::warn!(epoch, "the first start on a backup: it begins a new epoch");
        Stage::remove(&folder)?;
    }
    let Replay { mut ledger, last, head, mut report, closing, leaped, .. } = replay;
    metrics.damaged_records.inc_by(uncounted.damaged_records.get());
    ledger.metrics = metrics.clone();
    for damage in &report.damage {
        tracing::error!(damage, "damaged data folder");
        metrics.damaged_records.inc();
    }
    let now_ms = options.clock.now_ms();
    let housekeeping = Housekeeping::new(folder, now_ms);
    let log = Log::new(catalog, epoch, last, options.clone(), metrics.clone());
    let mut log = log.map_err(OpenError::Thread)?;
    log.skip_to(head);
    if leaped {
        log.distrust_clock();
    }
    report.head = log.last;
    for (segment, _) in closing {
        log.close(segment);
    }
    let committer = Committer {
        taker,
        dispatch,
        log,
        ledger,
        settling: Settling::new(options.restart_grace),
        housekeeping,
        options,
        metrics,
        writer: RecordWriter::default(),
        last_requests: 0,
    };
    Ok(Recovered { committer, report, lock })
}

/// Opens the state and brings it to the head of the log.
fn replay(options: &Options, uncounted: &Arc<Metrics>) -> Result<Replay, OpenError> {
    let folder = &options.dir;
    let opened = State::open(folder)?;
    let state = opened.state.renew(folder)?;
    let checkpoint = state.checkpoint()?;
    let rules = Rules {
        window_messages: options.window_messages,
        window_age_ms: options.window_age.as_millis() as i64,
        away_after_ms: options.away_after.as_millis() as i64,
        inbox_max: INBOX_MESSAGES_MAX,
        devices_max: options.devices_max,
    };
    let checkpoint = checkpoint.unwrap_or_default();
    let ledger = Ledger::new(Arc::new(state), rules, checkpoint, uncounted.clone())?;
    let log_folder = folder.join("log");
    create_folder(&log_folder)?;
    let mut replay = Replay::new(ledger, log_folder);
    if opened.fell_back {
        replay.report.damage.push("the newest state could not be opened".to_owned());
    }
    replay.run()?;
    Ok(replay)
}

/// Keeps a second server out of the folder, for as long as the file is held.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("LOCK");
    let file = File::create(&path).map_err(DatabaseError::disk("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(DatabaseError::disk("lock", &path)(error).into()),
    }
}
