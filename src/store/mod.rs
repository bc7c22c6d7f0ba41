//! The store: one log that everything goes through, and what the log says is so.
//!
//! Sessions hand requests to the commit thread ([`Store::submit`]). It orders them, appends them
//! as one record, makes that durable, and hands the outcomes to the dispatcher.
//!
//! The log is a folder of segments. The open one is a sled database; closed ones are files that
//! history is read from where they lie, so that it costs the same however much there is.
//!
//! # Durability
//!
//! An outcome is handed out after its record was appended, flushed and `sync_data` has returned.
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
mod backend;
mod backend_image;
mod backend_rows;
mod blocked;
mod blocks;
mod catalog;
mod closed;
#[cfg(test)]
mod closed_tests;
mod commit;
mod decide;
mod device;
mod directory;
mod entry;
#[cfg(test)]
mod golden_tests;
mod group;
mod group_image;
mod groups;
mod history;
mod housekeeping;
mod idempotency;
mod image;
mod index;
mod inscription;
mod ledger;
mod log;
mod nonces;
mod outcome;
mod part;
mod part_image;
mod peer;
mod queue;
mod reader;
mod recalled;
mod receipts;
mod record;
mod recover;
mod replay;
mod rewrite;
mod segment;
mod sender;
mod sequences;
mod settle;
mod state;
mod upstreams;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

pub use archive::ValueError;
pub use device::Loss;
pub use entry::{
    AliasChange, GroupAction, IdempotencyKey, Item, Mark, Message, NewUpstream, News, Notice,
    Opening, Origin, Past, SendNumber, Upstream,
};
pub use group::Group;
pub use history::{Look, Page};
pub use index::HistoryOf;
pub use outcome::{Commit, KnownDevice, Opened, Outcome, Route, Told, Waiting};
pub use part::Part;
pub use queue::{Closed, NewMessage, Request};
pub use recover::{OpenError, Report};
pub use segment::DatabaseError;

use crate::chain::Chain;
use crate::clock::Clock;
use crate::id::{Alias, ConversationId, DeviceId, GroupId, MessageId, PeerId};
use crate::limits::{
    AWAY_AFTER, CONVERSATIONS_PER_PEER_MAX, DEVICES_PER_ALIAS_MAX, DEVICES_PER_PEER_MAX,
    DISPATCH_QUEUE_COMMITS_MAX, GROUP_MEMBERS_MAX, GROUPS_PAGE_MAX, HISTORY_AGE, HISTORY_PAGE_MAX,
    HISTORY_READS_MAX, INBOX_READS_MAX, LOG_BYTES_MAX, RECALL_WITHIN, SEGMENT_BYTES_MAX, STALL_MAX,
    UPSTREAM_PAGE_MAX, WINDOW_AGE, WINDOW_MESSAGES,
};
use crate::metrics::Metrics;
use blocked::Blocked;
use queue::{Progress, Question, Queue};
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
    /// `dispatch` gets the commits, in order, on a thread of its own. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`OpenError`], when the folder is in use by another server or cannot be used at all.
    /// Damage is no error: what could be read is served, and [`Store::report`] names the rest.
    pub fn open(
        options: Options,
        metrics: Arc<Metrics>,
        mut dispatch: impl FnMut(Vec<Outcome<T>>, MessageId) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (queue, taker) = queue::queue();
        let queue = Arc::new(queue);
        let progress = taker.progress.clone();
        let (commits_tx, commits) = bounded(DISPATCH_QUEUE_COMMITS_MAX);
        let clock = options.clock.clone();
        let recovered = recover::recover(options, metrics, taker, commits_tx)?;
        let recover::Recovered { committer, report, lock } = recovered;
        let reader = Reader {
            catalog: committer.log.catalog.clone(),
            state: committer.ledger.state.clone(),
            recalled: committer.ledger.recalled.clone(),
        };
        let blocked = committer.ledger.blocked.clone();
        let epoch = committer.log.epoch;
        let (failure_tx, failure) = watch::channel(None);
        let failure_tx = Arc::new(failure_tx);
        let committed = guarded("tidings-commit", failure_tx.clone(), move || {
            let _lock = lock;
            committer.run().map_err(|error| Chain(&error).to_string())
        });
        let release = queue.clone();
        let dispatched = guarded("tidings-dispatch", failure_tx, move || {
            run_dispatch(&commits, &mut dispatch, &release);
            Ok(())
        });
        let threads = [committed, dispatched].into_iter().collect::<Result<_, _>>();
        let threads = Mutex::new(threads.map_err(OpenError::Thread)?);
        Ok(Self {
            queue,
            reader,
            history_reads: Arc::new(Semaphore::new(HISTORY_READS_MAX)),
            inbox_reads: Arc::new(Semaphore::new(INBOX_READS_MAX)),
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
    pub async fn submit(&self, caller: Option<T>, request: Request) -> Result<(), Closed> {
        match request {
            request @ Request::Ack { .. } => self.queue.acknowledge(request).await,
            request => self.queue.submit(caller, request).await,
        }
    }

    /// Up to `max` messages that wait for a peer, with ids above `after`; of these only those that
    /// are for the device, if one is named.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed or the disk cannot be read.
    pub async fn waiting(
        &self,
        peer: &PeerId,
        on: Option<&DeviceId>,
        after: MessageId,
        max: usize,
    ) -> Result<Waiting, ReadError> {
        let ask = |answer| {
            let (peer, on) = (peer.clone(), on.cloned());
            Question::Waiting { peer, on, after, max, answer }
        };
        let page = self.queue.ask(ask).await?;
        let (last, is_all, head) = (page.last, page.is_all, page.head);
        let is_in_memory = page.items.iter().all(|item| item.item.is_some());
        let (items, loss) = if is_in_memory {
            let items = page.items.into_iter().filter_map(|item| item.item);
            // Who has left a group still has its messages, but is not told that one was recalled.
            let items = items.filter(|item| !self.reader.recalled.contains(item.id()));
            (items.collect(), Loss::default())
        } else {
            let reader = self.reader.clone();
            let peer = peer.clone();
            blocking(&self.inbox_reads, move || reader.waiting(&peer, page)).await?
        };
        Ok(Waiting { items, loss, last, is_all, head })
    }

    /// A page of messages, newest first.
    ///
    /// It may be shorter than was asked for, or empty, though there are more: what one page reads
    /// is bounded. Who may read it is the caller's to check, by [`Message::concerns`].
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub async fn history(&self, mut look: Look) -> Result<Page, ReadError> {
        look.max = look.max.clamp(1, HISTORY_PAGE_MAX);
        let reader = self.reader.clone();
        blocking(&self.history_reads, move || reader.history(&look)).await
    }

    /// A message, with its body even if it was recalled.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub async fn message(&self, id: MessageId) -> Result<Option<Arc<Message>>, ReadError> {
        let reader = self.reader.clone();
        blocking(&self.history_reads, move || reader.message(id)).await
    }

    /// A group.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn group(&self, group: GroupId) -> Result<Option<Arc<Group>>, ReadError> {
        Ok(self.queue.ask(|answer| Question::Group { group, answer }).await?)
    }

    /// Up to `max` of a peer's conversations whose last message is before `before`, newest first,
    /// and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn conversations(
        &self,
        peer: &PeerId,
        before: Option<MessageId>,
        max: usize,
    ) -> Result<(Vec<(ConversationId, Part)>, bool), ReadError> {
        let (peer, max) = (peer.clone(), max.min(CONVERSATIONS_PER_PEER_MAX));
        let before = before.unwrap_or(MessageId(i64::MAX));
        let ask = |answer| Question::Conversations { peer, before, max, answer };
        Ok(self.queue.ask(ask).await?)
    }

    /// A peer's devices.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn devices(&self, peer: &PeerId) -> Result<Vec<KnownDevice>, ReadError> {
        let peer = peer.clone();
        Ok(self.queue.ask(|answer| Question::Devices { peer, answer }).await?)
    }

    /// Whether a device is one of a peer's.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn knows(&self, peer: &PeerId, device: &DeviceId) -> Result<bool, ReadError> {
        let (peer, device) = (peer.clone(), device.clone());
        Ok(self.queue.ask(|answer| Question::Knows { peer, device, answer }).await?)
    }

    /// The devices of an alias, and where they are.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn alias(&self, alias: &Alias) -> Result<Vec<Route>, ReadError> {
        let alias = alias.clone();
        Ok(self.queue.ask(|answer| Question::Alias { alias, answer }).await?)
    }

    /// Where a device is, and its alias.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn device(
        &self,
        device: &DeviceId,
    ) -> Result<Option<(Route, Option<Alias>)>, ReadError> {
        let device = device.clone();
        Ok(self.queue.ask(|answer| Question::Device { device, answer }).await?)
    }

    /// Up to `max` groups with ids above `after`, by their ids, and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn groups(
        &self,
        after: GroupId,
        max: usize,
    ) -> Result<(Vec<Arc<Group>>, bool), ReadError> {
        let max = max.min(GROUPS_PAGE_MAX);
        Ok(self.queue.ask(|answer| Question::Groups { after, max, answer }).await?)
    }

    /// Up to `max` messages with ids above `after` that wait for the app's back end, the oldest
    /// first, and whether there are more.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn upstream(
        &self,
        after: MessageId,
        max: usize,
    ) -> Result<(Vec<Upstream>, bool), ReadError> {
        let max = max.min(UPSTREAM_PAGE_MAX);
        Ok(self.queue.ask(|answer| Question::Upstream { after, max, answer }).await?)
    }

    /// Whether a peer is blocked.
    pub fn is_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.contains(peer)
    }

    /// Up to `max` blocked peers with ids behind `after`, by their ids, and whether there are more.
    pub fn blocked(&self, after: Option<&PeerId>, max: usize) -> (Vec<PeerId>, bool) {
        self.blocked.page(after, max)
    }

    /// Those of `peers` that were online when the server stopped and have not come back since.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed.
    pub async fn were_online(&self, peers: Vec<PeerId>) -> Result<Vec<PeerId>, ReadError> {
        Ok(self.queue.ask(|answer| Question::WereOnline { peers, answer }).await?)
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

/// Why the store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store takes no more questions.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The disk, or what is on it.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Runs what reads the disk away from the async workers, no more of it at once than there are
/// permits.
async fn blocking<R: Send + 'static>(
    permits: &Arc<Semaphore>,
    read: impl FnOnce() -> Result<R, DatabaseError> + Send + 'static,
) -> Result<R, ReadError> {
    let permit = permits.clone().acquire_owned().await.map_err(|_| Closed)?;
    let read = move || {
        // Until the end of the reading, even if nobody waits for it any more.
        let _permit = permit;
        read()
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ReadError::Closed(Closed)),
    }
}

fn run_dispatch<T>(
    commits: &Receiver<Commit<T>>,
    dispatch: &mut impl FnMut(Vec<Outcome<T>>, MessageId),
    queue: &Queue<T>,
) {
    for commit in commits {
        dispatch(commit.outcomes, commit.head);
        queue.release(commit.permits);
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
