//! The store: one log that everything goes through, and what the log says is so.
//!
//! Sessions hand requests to the commit thread ([`Store::submit`]). It orders them, appends them
//! as one record, makes that durable, and hands the outcomes to the dispatcher.
//!
//! The log is a folder of segments. Records are appended to the open one; closed ones are files
//! that history is read from where they lie, so that it costs the same however much there is. What
//! the log says is so, inboxes above all, is the state: a sled database.
//!
//! # Durability
//!
//! An outcome is handed out after its record was appended and `sync_data` has returned.
//! When a write or a sync fails, nothing is handed out any more and [`Store::failed`] returns: the
//! process has to end, for only the disk knows what was stored.
//!
//! # Invariants
//!
//! * sled and rkyv are named in this folder only.
//! * One thread writes. Readers never hold it up, and never see what is not durable.

mod aim;
mod aim_image;
mod answer;
mod archive;
mod asked;
mod asking;
mod backend;
mod backend_image;
mod backend_rows;
mod backup;
mod blocked;
mod blocks;
mod catalog;
mod closed;
#[cfg(test)]
mod closed_tests;
mod commit;
mod current;
mod database;
mod decide;
mod device;
mod directory;
mod endpoint_image;
mod endpoint_notes;
mod endpoint_rows;
mod endpoints;
mod entry;
mod fsck;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod golden_tests;
mod group;
mod group_image;
mod grouping;
mod groups;
mod handing;
mod history;
mod housekeeping;
mod idempotency;
mod image;
mod index;
mod inscribed;
mod inscription;
mod journal;
mod ledger;
mod letters;
mod log;
mod mend;
mod message;
mod missing;
mod nonces;
mod online;
mod outcome;
mod part;
mod part_image;
mod peer;
mod pieces;
mod progress;
mod queue;
mod reader;
mod recalled;
mod receipts;
mod record;
mod recover;
mod reopen;
mod replay;
mod rewrite;
mod scan;
mod segment;
mod sender;
mod sequences;
mod sessions;
mod settle;
mod state;
mod stretch;
mod upstreams;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

pub use archive::ValueError;
pub use asking::ReadError;
pub use backup::{Backup, BackupError, Copied, Receiving, Stage, copy_stopped, is_in_use};
pub use database::DatabaseError;
pub use device::Loss;
pub use entry::{
    Absent, AliasChange, Counts, Ending, Entry, GroupAction, IdempotencyKey, Item, Mark, Message,
    NewUpstream, News, Notice, Opening, Origin, Past, Placed, Recall, Repeat, SendNumber, Upstream,
};
pub use fsck::{
    Damage, EndpointFound, Findings, FsckError, Leftover, LogFound, Lost, SegmentFound, StateFound,
    fsck,
};
pub use group::{Change, Group};
pub use history::{Look, Page};
pub use index::HistoryOf;
pub use journal::{Batch, EndpointChange, EndpointState, Journal, Letter, Position, Span, Stretch};
pub use outcome::{Commit, KnownDevice, Opened, Outcome, Route, Told, Waiting};
pub use part::Part;
pub use queue::{Closed, NewMessage, Request};
pub use recover::{OpenError, Report};

use crate::chain::Chain;
use crate::clock::Clock;
use crate::id::MessageId;
use crate::limits::{
    AWAY_AFTER, DEVICES_PER_ALIAS_MAX, DEVICES_PER_PEER_MAX, GROUP_MEMBERS_MAX, HISTORY_AGE,
    HISTORY_READS_MAX, INBOX_READS_MAX, JOURNAL_READS_MAX, LOG_BYTES_MAX, PRESENCE_RESTART_GRACE,
    RECALL_WITHIN, SEGMENT_BYTES_MAX, STALL_MAX, WINDOW_AGE, WINDOW_MESSAGES,
};
use crate::metrics::Metrics;
use blocked::Blocked;
use progress::Progress;
use queue::Queue;
use reader::Reader;

/// What can be set about the store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder.
    pub dir: PathBuf,
    /// Messages kept for a peer from the time that it is away.
    pub window_messages: usize,
    /// How long an unacknowledged message is kept.
    pub window_age: Duration,
    /// How long after its last session a peer counts as away.
    pub away_after: Duration,
    /// How long after a start those who were online before it have to come back.
    pub restart_grace: Duration,
    /// How long history is kept; zero keeps what inboxes need.
    pub history_age: Duration,
    /// Bytes the log may take on disk.
    pub log_bytes_max: u64,
    /// Bytes on disk at which a segment of the log is closed.
    pub segment_bytes_max: u64,
    /// How long a sender may recall a message.
    pub recall_within: Duration,
    /// Members that a group may have.
    pub group_members_max: usize,
    /// Devices of a peer; opening one more forgets the one not seen for longest.
    pub devices_max: usize,
    /// Devices of an alias.
    pub devices_per_alias_max: usize,
    /// The time.
    pub clock: Clock,
}

impl Options {
    /// The defaults of `limits.rs`, for a data folder.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            window_messages: WINDOW_MESSAGES,
            window_age: WINDOW_AGE,
            away_after: AWAY_AFTER,
            restart_grace: PRESENCE_RESTART_GRACE,
            history_age: HISTORY_AGE,
            log_bytes_max: LOG_BYTES_MAX,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            recall_within: RECALL_WITHIN,
            group_members_max: GROUP_MEMBERS_MAX,
            devices_max: DEVICES_PER_PEER_MAX,
            devices_per_alias_max: DEVICES_PER_ALIAS_MAX,
            clock: Clock::system(),
        }
    }
}

/// The store of one server. Dropping it does not wait for anything; see [`Store::close`].
pub struct Store<T> {
    queue: Arc<Queue<T>>,
    reader: Reader,
    history_reads: Arc<Semaphore>,
    inbox_reads: Arc<Semaphore>,
    journal_reads: Arc<Semaphore>,
    /// One backup is made at a time.
    backups: Arc<Semaphore>,
    /// The last entry on stable storage.
    head: watch::Receiver<MessageId>,
    progress: Arc<Progress>,
    failure: watch::Receiver<Option<String>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    epoch: u64,
    report: Report,
    clock: Clock,
    blocked: Blocked,
}

impl<T: Send + 'static> Store<T> {
    /// Opens the store, replays what the state does not show yet, and starts its threads.
    ///
    /// `dispatch` gets the commits, in order, on threads of the store. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the folder is in use by another server or cannot be used at all.
    /// Damage is no error: what could be read is served, and [`Store::report`] names the rest.
    pub fn open(
        options: Options,
        metrics: Arc<Metrics>,
        dispatch: impl FnMut(Vec<Outcome<T>>, MessageId) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (queue, taker) = queue::queue();
        let queue = Arc::new(queue);
        let progress = taker.progress.clone();
        let (dispatch, dispatcher) = handing::dispatch(queue.clone(), dispatch);
        let clock = options.clock.clone();
        let recovered = recover::recover(options, metrics, taker, dispatch)?;
        let recover::Recovered { committer, report, lock } = recovered;
        let reader = Reader {
            catalog: committer.log.catalog.clone(),
            state: committer.ledger.state.clone(),
            recalled: committer.ledger.recalled.clone(),
        };
        let blocked = committer.ledger.blocked.clone();
        let epoch = committer.log.epoch;
        let head = committer.log.head.subscribe();
        let (failure_tx, failure) = watch::channel(None);
        let failure_tx = Arc::new(failure_tx);
        let committed = guarded("tidings-commit", failure_tx.clone(), move || {
            let _lock = lock;
            committer.run().map_err(|error| Chain(&error).to_string())
        });
        let dispatched = guarded("tidings-dispatch", failure_tx, move || {
            dispatcher.run();
            Ok(())
        });
        let threads = [committed, dispatched].into_iter().collect::<Result<_, _>>();
        let threads = Mutex::new(threads.map_err(OpenError::Thread)?);
        Ok(Self {
            queue,
            reader,
            history_reads: Arc::new(Semaphore::new(HISTORY_READS_MAX)),
            inbox_reads: Arc::new(Semaphore::new(INBOX_READS_MAX)),
            journal_reads: Arc::new(Semaphore::new(JOURNAL_READS_MAX)),
            backups: Arc::new(Semaphore::new(1)),
            head,
            progress,
            failure,
            threads,
            epoch,
            report,
            clock,
            blocked,
        })
    }

    /// What the start found damaged.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The log's random number; ids and cursors belong to it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The time by the store's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits for room in the commit queue, then hands over a request.
    ///
    /// # Errors
    ///
    /// [`Closed`] when the store has been closed or has failed.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has handed over nothing.
    pub fn submit(
        &self,
        caller: Option<T>,
        request: Request,
    ) -> impl Future<Output = Result<(), Closed>> {
        self.queue.submit(caller, request)
    }

    /// Whether so much waits for its commit that those who submit should take turns: whoever has
    /// the processor would take all the room there is, and others wait for several commits.
    pub fn is_crowded(&self) -> bool {
        self.queue.is_crowded()
    }

    /// Returns when the store cannot go on, with the reason: a failed write or sync, a panic of
    /// one of its threads, or a commit that has made no progress for 10 seconds.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let _ = tokio::time::timeout(Duration::from_secs(1), failure.changed()).await;
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if self.progress.busy_ms() > STALL_MAX.as_millis() as i64 {
                return "the commit thread has stalled".to_owned();
            }
            tick.tick().await;
        }
    }

    /// Takes nothing more, commits what waits, settles everything and stops. Blocks.
    pub fn close(&self) {
        self.queue.close();
        for thread in self.threads.lock().drain(..) {
            // A panic has been told through `failed`.
            let _ = thread.join();
        }
    }
}

/// Starts a thread whose failure, or panic, is told.
fn guarded(
    name: &str,
    failure: Arc<watch::Sender<Option<String>>>,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let panicked = OnPanic(&failure);
        let result = work();
        std::mem::forget(panicked);
        if let Err(error) = result {
            failure.send_replace(Some(error));
        }
    })
}

struct OnPanic<'a>(&'a watch::Sender<Option<String>>);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Some("a thread of the store has panicked".to_owned()));
    }
}
