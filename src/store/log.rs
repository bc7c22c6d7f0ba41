//! The log: records appended to the open segment, a new segment now and then, old ones removed.
//!
//! Records are appended to the open segment. One that is full, a day old or of an earlier run
//! closes: the segment thread writes it as one file with its index, which takes its place.
//!
//! # Durability
//!
//! When [`Log::sync`] returns, what was appended is on stable storage.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::id::MessageId;
use crate::metrics::Metrics;
use crate::store::Options;
use crate::store::catalog::{Catalog, OpenSegment};
use crate::store::database::DatabaseError;
use crate::store::entry::{Entry, Message};
use crate::store::image::SegmentInfo;
use crate::store::index::{OpenIndex, Place};
use crate::store::record::{Header, RecordWriter};
use crate::store::segment::Segment;
use crate::store::worker::Worker;

/// Milliseconds from 1970 to 2024, where ids begin to count.
const ID_EPOCH_MS: i64 = 1_704_067_200_000;
/// Bits of an id below the milliseconds.
const ID_SEQUENCE_BITS: u32 = 22;
pub(super) const DAY_MS: i64 = 24 * 3600 * 1000;
/// For how long expiry pauses when the clock cannot be believed.
const EXPIRY_PAUSE_MS: i64 = 3600 * 1000;
/// Commits between two looks at the size of the open segment.
const SIZE_CHECK_COMMITS: u32 = 16;

/// The log as its one writer sees it.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) catalog: Arc<Catalog>,
    pub(super) epoch: u64,
    /// The first id of the last record.
    before: MessageId,
    /// The last id on stable storage.
    pub(super) last: MessageId,
    /// The same, for who waits for it.
    pub(super) head: watch::Sender<MessageId>,
    /// The last id appended.
    appended: MessageId,
    pub(super) last_at_ms: i64,
    worker: Worker,
    options: Options,
    metrics: Arc<Metrics>,
    opened_at_ms: i64,
    commits_to_size_check: u32,
    clock_watch: ClockWatch,
}

/// What is still needed of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed {
    /// All behind this entry is, whatever its size: the state does not show it.
    pub(super) applied: MessageId,
    /// What is younger than this is, for inboxes; in milliseconds.
    pub(super) inboxes_ms: i64,
    /// All behind this entry is, as long as there is room, for webhook endpoints if there are any.
    pub(super) endpoints: Option<MessageId>,
}

impl Log {
    /// Goes on behind the record `last`.
    pub(super) fn new(
        catalog: Arc<Catalog>,
        epoch: u64,
        last: Header,
        options: Options,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let worker = Worker::start(catalog.clone(), metrics.clone())?;
        worker.prepare(catalog.open().segment.number + 1);
        let now_ms = options.clock.now_ms();
        Ok(Self {
            catalog,
            epoch,
            before: last.first,
            last: last.last(),
            head: watch::Sender::new(last.last()),
            appended: last.last(),
            last_at_ms: last.at_ms,
            worker,
            metrics,
            opened_at_ms: now_ms,
            commits_to_size_check: 0,
            clock_watch: ClockWatch::new(now_ms, last.at_ms),
            options,
        })
    }

    /// The clock has leapt since the records that are there: expiry pauses.
    pub(super) fn distrust_clock(&mut self) {
        self.clock_watch.pause(self.options.clock.now_ms());
    }

    /// Gives no id up to `head`: it was given before, and lost.
    pub(super) fn skip_to(&mut self, head: MessageId) {
        self.last = self.last.max(head);
        self.appended = self.appended.max(head);
        self.head.send_replace(self.last);
    }

    /// The id of the first entry of a record that is begun now.
    pub(super) fn next_id(&self, now_ms: i64) -> MessageId {
        let by_clock = now_ms.saturating_sub(ID_EPOCH_MS).max(0) << ID_SEQUENCE_BITS;
        MessageId(by_clock.max(self.last.0 + 1))
    }

    /// Appends what has been written so far as one record of the commit that began at `commit`.
    /// It is not durable before [`Self::sync`].
    pub(super) fn append(
        &mut self,
        writer: &mut RecordWriter,
        commit: MessageId,
        at_ms: i64,
    ) -> Result<(), DatabaseError> {
        let first = writer.first();
        let count = writer.count() as u32;
        let header = Header { epoch: self.epoch, first, before: self.before, commit, at_ms, count };
        self.catalog.open().segment.append(first, &writer.finish(header))?;
        self.before = first;
        self.appended = header.last();
        Ok(())
    }

    /// Waits until all that was appended is on stable storage; only then is it part of the log.
    pub(super) fn sync(&mut self, at_ms: i64, places: Vec<Place>) -> Result<(), DatabaseError> {
        let open = self.catalog.open();
        let start = Instant::now();
        open.segment.sync()?;
        self.metrics.sync_seconds.observe(start.elapsed().as_secs_f64());
        self.metrics.syncs.inc();
        self.metrics.commits.inc();
        open.index.extend(at_ms, places);
        self.last = self.appended;
        self.last_at_ms = at_ms;
        self.head.send_replace(self.last);
        Ok(())
    }

    /// Whether the open segment is full, or a day old.
    pub(super) fn roll_due(&mut self, now_ms: i64) -> bool {
        if self.commits_to_size_check > 0 {
            self.commits_to_size_check -= 1;
            return false;
        }
        self.commits_to_size_check = SIZE_CHECK_COMMITS;
        let open = self.catalog.open();
        let has_records = self.last_at_ms >= self.opened_at_ms;
        open.segment.bytes() >= self.options.segment_bytes_max
            || (has_records && (now_ms - self.opened_at_ms).abs() >= DAY_MS)
    }

    /// Closes the open segment and goes on in the next one.
    ///
    /// Says what is known of the closed one.
    pub(super) fn roll(&mut self, now_ms: i64) -> Result<(u32, SegmentInfo), DatabaseError> {
        let next = self.worker.prepared.recv().unwrap_or_else(|_| {
            let number = self.catalog.open().segment.number + 1;
            Segment::open(&self.catalog.folder, number, self.last)
        })?;
        self.worker.prepare(next.number + 1);
        let next = Arc::new(OpenSegment { segment: next, index: OpenIndex::default() });
        let closing = self.catalog.replace_open(next);
        let number = closing.segment.number;
        let bytes = closing.segment.bytes();
        let info = SegmentInfo { last: self.last, at_ms: self.last_at_ms, bytes, indexed: false };
        self.worker.close(closing);
        self.opened_at_ms = now_ms;
        Ok((number, info))
    }

    /// Has those closed segments written anew that somebody has found damaged.
    pub(super) fn mend(&self) {
        self.catalog.take_hurt().into_iter().for_each(|closed| self.worker.mend(closed));
    }

    /// Closes a segment of an earlier run.
    pub(super) fn close(&self, segment: Arc<OpenSegment>) {
        self.worker.close(segment);
    }

    /// The segments that have got their file since the last call.
    pub(super) fn closed(&self) -> Vec<(u32, SegmentInfo)> {
        self.worker.closed.try_iter().collect()
    }

    /// The oldest closed segment and its last entry, if its age, and nobody's need of it, or the
    /// log's size has it go.
    pub(super) fn expired(&mut self, now_ms: i64, needed: &Needed) -> Option<(u32, MessageId)> {
        let (number, info) = self.catalog.oldest()?;
        if info.last > needed.applied {
            return None;
        }
        let bytes = self.catalog.bytes();
        self.metrics.log_bytes.set(bytes as i64);
        let age_ms = now_ms.saturating_sub(info.at_ms);
        let history_ms = self.options.history_age.as_millis() as i64;
        let is_told = needed.endpoints.is_none_or(|behind| info.last <= behind);
        let is_old = is_told
            && age_ms > history_ms.max(needed.inboxes_ms)
            && self.clock_watch.believes(now_ms);
        (is_old || bytes > self.bytes_allowed()).then_some((number, info.last))
    }

    /// Whether the clock can be believed when it says that something is old.
    pub(super) fn believes(&mut self, now_ms: i64) -> bool {
        self.clock_watch.believes(now_ms)
    }

    /// Removes a segment that has expired.
    pub(super) fn remove(&self, number: u32) {
        if let Some(closed) = self.catalog.forget(number) {
            self.worker.remove(closed);
        }
    }

    /// Whether the log has outgrown its bound although nothing can be removed.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.catalog.bytes();
        self.metrics.log_bytes.set(bytes as i64);
        bytes > self.options.log_bytes_max.saturating_sub(self.options.segment_bytes_max / 2)
    }

    /// Bytes at which history gives way: above it there is room for the open segment and another.
    /// The room for the file of one that closes is counted from the time that it closes.
    fn bytes_allowed(&self) -> u64 {
        self.options.log_bytes_max.saturating_sub(2 * self.options.segment_bytes_max)
    }
}

/// The place of an entry in the index, if it is a message.
pub(super) fn place(entry: &Entry, previous: u32) -> Option<Place> {
    let Entry::Message { message, .. } = entry else { return None };
    let Message { conversation, id, .. } = **message;
    Some(Place { conversation, from: message.from.clone(), id, previous })
}

/// Notices a clock that leaps, which must not expire what is young.
#[derive(Debug)]
struct ClockWatch {
    seen_ms: i64,
    seen: Instant,
    paused_until_ms: Option<i64>,
}

impl ClockWatch {
    fn new(now_ms: i64, last_record_ms: i64) -> Self {
        let mut watch = Self { seen_ms: now_ms, seen: Instant::now(), paused_until_ms: None };
        if last_record_ms != 0 && (now_ms - last_record_ms).abs() > DAY_MS {
            watch.pause(now_ms);
        }
        watch
    }

    fn pause(&mut self, now_ms: i64) {
        tracing::warn!("the clock and the log disagree by more than a day: expiry pauses for 1 h");
        self.paused_until_ms = Some(now_ms + EXPIRY_PAUSE_MS);
    }

    fn believes(&mut self, now_ms: i64) -> bool {
        let expected_ms = self.seen_ms + self.seen.elapsed().as_millis() as i64;
        (self.seen_ms, self.seen) = (now_ms, Instant::now());
        if (now_ms - expected_ms).abs() > DAY_MS {
            self.pause(now_ms);
        }
        if self.paused_until_ms.is_some_and(|until| now_ms >= until) {
            self.paused_until_ms = None;
        }
        self.paused_until_ms.is_none()
    }
}
