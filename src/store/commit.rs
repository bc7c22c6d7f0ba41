//! The commit thread: the only writer. It puts entries in order, appends them as a record or a few,
//! makes that durable, and only then hands the outcomes on.
//!
//! # Pacing
//!
//! A commit starts when the last one's sync has returned *and* as many requests wait as that one
//! took, or [`COMMIT_INTERVAL`] has passed since its start; after idle, at once. Those who were
//! answered together are likely to ask again together, and when they have there is nothing more to
//! wait for. Acknowledgements travel with the next commit and wait 200 ms for one.
//!
//! # Invariants
//!
//! * No outcome leaves before the sync of its record has returned.
//! * After a failed write or sync nothing leaves at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, TryRecvError};

use crate::id::MessageId;
use crate::limits::{
    ACK_COMPANY, COMMIT_BYTES_MAX, COMMIT_GATHER_MAX, COMMIT_INTERVAL, RECORD_BYTES_MAX,
    RECORD_BYTES_TARGET, TAIL_BYTES_MAX,
};
use crate::metrics::Metrics;
use crate::store::Options;
use crate::store::database::DatabaseError;
use crate::store::entry::Entry;
use crate::store::handing::Dispatch;
use crate::store::housekeeping::Housekeeping;
use crate::store::index::Place;
use crate::store::ledger::Ledger;
use crate::store::log::Log;
use crate::store::queue::{Item, Note, Taker};
use crate::store::record::RecordWriter;
use crate::store::settle::Settling;
use crate::store::{Commit, Outcome};

/// The least time between two slices of settling while entries wait, so that settling takes a
/// tenth of the thread at the most.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// Everything the commit thread owns.
pub(super) struct Committer<T> {
    pub(super) taker: Taker<T>,
    pub(super) dispatch: Dispatch<T>,
    pub(super) log: Log,
    pub(super) ledger: Ledger,
    pub(super) settling: Settling,
    pub(super) housekeeping: Housekeeping,
    pub(super) options: Options,
    pub(super) metrics: Arc<Metrics>,
    pub(super) writer: RecordWriter,
    /// Requests that the last commit took from the queue.
    pub(super) last_requests: usize,
}

/// A commit in the making.
pub(super) struct Draft<T> {
    first: MessageId,
    /// The id of the next entry.
    pub(super) next: MessageId,
    /// Bytes of the records appended so far.
    bytes: usize,
    pub(super) at_ms: i64,
    pub(super) segment: u32,
    pub(super) outcomes: Vec<Outcome<T>>,
    pub(super) places: Vec<Place>,
    /// What is to be told when all that was appended is on stable storage.
    pub(super) then: Vec<Box<dyn FnOnce()>>,
    /// Permits of the queue that the entries hold until they are handed out.
    permits: usize,
}

impl<T: Send + 'static> Committer<T> {
    /// Commits until the queue is closed and empty, then settles everything.
    pub(super) fn run(mut self) -> Result<(), DatabaseError> {
        self.taker.progress.begin();
        self.commit_start()?;
        let mut last_start = Instant::now();
        let mut last_slice = Instant::now();
        loop {
            self.taker.progress.rest();
            self.taker.pace(self.last_requests, last_start + COMMIT_INTERVAL);
            let wait = if self.settling.is_flushing() { Duration::ZERO } else { ACK_COMPANY / 4 };
            let item = match self.taker.items.try_recv() {
                Ok(item) => Some(item),
                Err(TryRecvError::Empty) => match self.taker.items.recv_timeout(wait) {
                    Ok(item) => Some(item),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
                Err(TryRecvError::Disconnected) => break,
            };
            self.taker.progress.begin();
            let is_idle = item.is_none();
            let acks_wait = !self.taker.lazy.is_empty();
            if is_idle && !acks_wait && self.taker.is_closed() {
                break;
            }
            let is_overdue = self.is_overdue(self.options.clock.now_ms());
            if !is_idle || is_overdue || (acks_wait && last_start.elapsed() >= ACK_COMPANY) {
                last_start = Instant::now();
                self.commit(item)?;
            }
            if is_idle
                || last_slice.elapsed() >= SETTLE_PAUSE
                || self.ledger.tail_bytes > TAIL_BYTES_MAX
            {
                let now_ms = self.options.clock.now_ms();
                self.settling.slice(&mut self.ledger, self.log.last, now_ms)?;
                self.keep_house(now_ms)?;
                last_slice = Instant::now();
            }
        }
        self.settling.want_flush();
        self.settling.finish(&mut self.ledger, self.log.last)
    }

    /// Whether something has waited for so long that it goes with the next commit.
    fn is_overdue(&mut self, now_ms: i64) -> bool {
        self.settling.missing.is_any()
            || self.overdue_upstream(now_ms).is_some()
            || self.are_letters_overdue(now_ms)
    }

    fn commit(&mut self, mut item: Option<Item<T>>) -> Result<(), DatabaseError> {
        let start = Instant::now();
        let at_ms = self.options.clock.now_ms();
        let first = self.log.next_id(at_ms);
        let mut draft = Draft {
            first,
            next: first,
            bytes: 0,
            at_ms,
            segment: self.log.catalog.open().segment.number,
            outcomes: Vec::new(),
            places: Vec::new(),
            then: Vec::new(),
            permits: 0,
        };
        self.last_requests = usize::from(item.is_some());
        while draft.bytes + self.writer.bytes() < COMMIT_BYTES_MAX
            && start.elapsed() < COMMIT_GATHER_MAX
        {
            let Some(next) = self.taker.lazy.pop().or_else(|| item.take()) else {
                match self.taker.items.try_recv() {
                    Ok(next) => item = Some(next),
                    Err(_) => break,
                }
                self.last_requests += 1;
                continue;
            };
            self.take(next, &mut draft)?;
        }
        if let Some(left) = item {
            self.take(left, &mut draft)?;
        }
        self.give_up_missing(&mut draft)?;
        self.give_up_upstreams(&mut draft)?;
        self.drop_old_letters(&mut draft)?;
        if self.writer.count() > 0 {
            self.log.append(&mut self.writer, draft.first, at_ms)?;
        }
        let wrote = draft.next > draft.first;
        // What the rig for power cuts must see.
        fail::fail_point!("answer-before-commit", |_| {
            self.hand_out(&mut draft);
            self.log.sync(at_ms, std::mem::take(&mut draft.places))
        });
        if wrote {
            self.log.sync(at_ms, std::mem::take(&mut draft.places))?;
        }
        self.hand_out(&mut draft);
        if wrote {
            self.metrics.commit_seconds.observe(start.elapsed().as_secs_f64());
        }
        if wrote && self.log.roll_due(at_ms) {
            self.roll(at_ms)?;
        }
        Ok(())
    }

    /// Tells what became of what was asked.
    fn hand_out(&mut self, draft: &mut Draft<T>) {
        self.ledger.measure();
        draft.then.drain(..).for_each(|tell| tell());
        let outcomes = std::mem::take(&mut draft.outcomes);
        let permits = std::mem::take(&mut draft.permits);
        self.dispatch.hand_out(Commit { outcomes, head: self.log.last, permits });
    }

    /// The first commit of a run: sessions of before are over.
    fn commit_start(&mut self) -> Result<(), DatabaseError> {
        let at_ms = self.options.clock.now_ms();
        let run = self.ledger.checkpoint.run + 1;
        let first = self.log.next_id(at_ms);
        self.writer.push(first, &Entry::Started { run });
        self.log.append(&mut self.writer, first, at_ms)?;
        self.log.sync(at_ms, Vec::new())?;
        self.ledger.start(run, at_ms);
        self.settling.want_flush();
        Ok(())
    }

    fn roll(&mut self, now_ms: i64) -> Result<(), DatabaseError> {
        let (number, info) = self.log.roll(now_ms)?;
        self.housekeeping.closed(&self.ledger.state, number, &info)?;
        self.settling.want_flush();
        Ok(())
    }

    fn keep_house(&mut self, now_ms: i64) -> Result<(), DatabaseError> {
        if self.housekeeping.look(&mut self.log, &self.ledger, now_ms)? {
            self.settling.want_sweep();
        }
        Ok(())
    }

    fn take(&mut self, item: Item<T>, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        match item {
            Item::Request { caller, request, permits } => {
                draft.permits += permits;
                self.decide(caller, request, draft)
            }
            Item::Note { note, permits } => {
                draft.permits += permits;
                let Note { endpoint, change, kept } = *note;
                self.note(&endpoint, change, draft)?;
                draft.then.push(Box::new(move || {
                    // Who waited may have gone.
                    let _ = kept.send(());
                }));
                Ok(())
            }
            Item::Question(question) => self.answer(question, draft),
        }
    }

    /// Adds an entry to the commit; a record that is full is appended, before it or with it.
    pub(super) fn push(
        &mut self,
        entry: &Entry,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        if self.writer.count() > 0 && self.writer.bytes() + entry.bytes_max() > RECORD_BYTES_MAX {
            self.append(draft)?;
        }
        self.writer.push(draft.next, entry);
        draft.next.0 += 1;
        if self.writer.bytes() >= RECORD_BYTES_TARGET { self.append(draft) } else { Ok(()) }
    }

    fn append(&mut self, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        debug_assert!(self.writer.bytes() <= RECORD_BYTES_MAX);
        draft.bytes += self.writer.bytes();
        self.log.append(&mut self.writer, draft.first, draft.at_ms)
    }
}
