//! The commit thread: the only writer. It puts entries in order, appends them as a record or a few,
//! makes that durable, and only then hands the outcomes on.
//!
//! # Pacing
//!
//! A commit starts when the last one's sync has returned *and* either 32 KiB wait or 1 ms has
//! passed since the last start; after idle, at once. Acknowledgements travel with the next commit
//! and wait 200 ms for one.
//!
//! # Invariants
//!
//! * No outcome leaves before the sync of its record has returned.
//! * After a failed write or sync nothing leaves at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{RecvTimeoutError, Sender, TryRecvError};

use crate::id::{MessageId, SessionId};
use crate::limits::{
    ACK_COMPANY, COMMIT_BYTES_EAGER, COMMIT_BYTES_MAX, COMMIT_INTERVAL, RECORD_BYTES_TARGET,
    TAIL_BYTES_MAX,
};
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::store::Options;
use crate::store::entry::{Entry, Message, content_hash};
use crate::store::housekeeping::Housekeeping;
use crate::store::index::Place;
use crate::store::ledger::Ledger;
use crate::store::log::{Log, place};
use crate::store::queue::{Item, NewMessage, Question, Request, Taker};
use crate::store::record::RecordWriter;
use crate::store::segment::DatabaseError;
use crate::store::sender::Verdict;
use crate::store::settle::Settling;
use crate::store::{Commit, Opened, Outcome, WaitingItem, WaitingPage};

/// The least time between two slices of settling while entries wait, so that settling takes a
/// tenth of the thread at the most.
const SETTLE_PAUSE: Duration = Duration::from_millis(20);

/// Everything the commit thread owns.
pub(super) struct Committer<T> {
    pub(super) taker: Taker<T>,
    pub(super) dispatch: Sender<Commit<T>>,
    pub(super) log: Log,
    pub(super) ledger: Ledger,
    pub(super) settling: Settling,
    pub(super) housekeeping: Housekeeping,
    pub(super) options: Options,
    pub(super) metrics: Arc<Metrics>,
    pub(super) writer: RecordWriter,
}

/// A commit in the making.
struct Draft<T> {
    first: MessageId,
    /// The id of the next entry.
    next: MessageId,
    /// Bytes of the records appended so far.
    bytes: usize,
    at_ms: i64,
    segment: u32,
    outcomes: Vec<Outcome<T>>,
    places: Vec<Place>,
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
            if !is_idle || (acks_wait && last_start.elapsed() >= ACK_COMPANY) {
                self.pace(last_start);
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

    /// Waits until the next commit may start.
    fn pace(&self, last_start: Instant) {
        while self.taker.waiting_bytes() < COMMIT_BYTES_EAGER {
            let Some(rest) = COMMIT_INTERVAL.checked_sub(last_start.elapsed()) else { return };
            self.taker.parker.park_timeout(rest);
        }
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
            permits: 0,
        };
        while draft.bytes + self.writer.bytes() < COMMIT_BYTES_MAX {
            let Some(next) = self.taker.lazy.pop().or_else(|| item.take()) else {
                match self.taker.items.try_recv() {
                    Ok(next) => item = Some(next),
                    Err(_) => break,
                }
                continue;
            };
            self.take(next, &mut draft)?;
        }
        if let Some(left) = item {
            self.take(left, &mut draft)?;
        }
        if self.writer.count() > 0 {
            self.log.append(&mut self.writer, draft.first, at_ms)?;
        }
        let wrote = draft.next > draft.first;
        if wrote {
            self.log.sync(at_ms, std::mem::take(&mut draft.places))?;
        }
        self.metrics.tail_bytes.set(self.ledger.tail_bytes as i64);
        let Draft { outcomes, permits, .. } = draft;
        let commit = Commit { outcomes, head: self.log.last, permits };
        // The dispatcher ends after this thread, unless it failed, which ends the process.
        let _ = self.dispatch.send(commit);
        if wrote {
            self.metrics.commit_seconds.observe(start.elapsed().as_secs_f64());
        }
        if wrote && self.log.roll_due(at_ms) {
            self.roll(at_ms)?;
        }
        Ok(())
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
                self.taker.took(permits);
                draft.permits += permits;
                self.decide(caller, request, draft)
            }
            Item::Question(question) => self.answer(question),
        }
    }

    /// Adds an entry to the commit; a record that is full is appended.
    fn push(&mut self, entry: &Entry, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        self.writer.push(draft.next, entry);
        draft.next.0 += 1;
        if self.writer.bytes() >= RECORD_BYTES_TARGET {
            draft.bytes += self.writer.bytes();
            self.log.append(&mut self.writer, draft.first, draft.at_ms)?;
        }
        Ok(())
    }

    fn decide(
        &mut self,
        caller: Option<T>,
        request: Request,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        let id = draft.next;
        let at_ms = draft.at_ms;
        match request {
            Request::Message(new) => return self.decide_message(caller, new, draft),
            Request::Open(opening) => {
                self.push(&Entry::Opened(opening.clone()), draft)?;
                let found = self.ledger.open(&opening, id, at_ms)?;
                if let (Some(caller), Some(found)) = (caller, found) {
                    let opened = Opened {
                        session: SessionId(id.0),
                        device: opening.device,
                        cursor: found.cursor,
                        next_number: found.next_number,
                        waiting: found.waiting,
                        loss: found.loss,
                        replaced: found.replaced,
                        at_ms,
                    };
                    draft.outcomes.push(Outcome::Opened { caller, opened });
                }
            }
            Request::End { peer, device, session, closed } => {
                let (p, d) = (peer.clone(), device.clone());
                self.push(&Entry::Ended { peer: p, device: d, session, closed }, draft)?;
                self.ledger.end(&peer, &device, session, closed, (id, at_ms))?;
                draft.outcomes.extend(caller.map(|caller| Outcome::Ended { caller }));
            }
            Request::Ack { peer, device, id: acked } => {
                let (p, d) = (peer.clone(), device.clone());
                self.push(&Entry::Acked { peer: p, device: d, id: acked }, draft)?;
                self.ledger.acknowledge(&peer, &device, acked, (id, at_ms))?;
            }
        }
        Ok(())
    }

    fn decide_message(
        &mut self,
        caller: Option<T>,
        new: NewMessage,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        let hash = content_hash(&new.conversation, &new.client_msg_no, &new.body);
        let outcome = match self.ledger.judge(&new.from, &new.origin, hash)? {
            Verdict::Repeat(stored) => {
                self.metrics.repeats.inc();
                let (id, sequence, at_ms) = (stored.id, stored.sequence, stored.at_ms);
                caller.map(|caller| Outcome::Repeated { caller, id, sequence, at_ms })
            }
            Verdict::Refused(reason) => caller.map(|caller| Outcome::Refused { caller, reason }),
            Verdict::New if self.housekeeping.is_full() => {
                let reason = Reason::StorageFull;
                caller.map(|caller| Outcome::Refused { caller, reason })
            }
            Verdict::New => {
                let message = self.store(new, hash, draft)?;
                Some(Outcome::Stored { caller, message })
            }
        };
        draft.outcomes.extend(outcome);
        Ok(())
    }

    /// Gives a new message its place in the log and in its conversation.
    fn store(
        &mut self,
        new: NewMessage,
        hash: u32,
        draft: &mut Draft<T>,
    ) -> Result<Arc<Message>, DatabaseError> {
        let at_ms = draft.at_ms;
        let next = self.ledger.next(&new.conversation.key(), draft.segment)?;
        let expires_ms = if new.ttl_ms == 0 { 0 } else { at_ms.saturating_add(new.ttl_ms) };
        let message = Arc::new(Message {
            id: draft.next,
            sequence: next.sequence,
            at_ms,
            expires_ms,
            conversation: new.conversation,
            from: new.from,
            to: new.to,
            receipt: new.receipt,
            client_msg_no: new.client_msg_no,
            body: new.body,
        });
        self.ledger.message(&message, &new.origin, hash, next.previous, draft.segment)?;
        let entry = Entry::Message { message: message.clone(), origin: new.origin, hash };
        self.push(&entry, draft)?;
        draft.places.extend(place(&entry, next.previous));
        let overflows = self.ledger.overflows.drain(..);
        draft.outcomes.extend(overflows.map(|(peer, id)| Outcome::Overflowed { peer, id }));
        self.metrics.messages.inc();
        Ok(message)
    }

    fn answer(&mut self, question: Question) -> Result<(), DatabaseError> {
        match question {
            Question::Waiting { peer: id, after, max, answer } => {
                // What is in the ledger but behind the head is not durable yet.
                let head = self.log.last;
                let peer = self.ledger.peer(&id)?;
                let from = peer.waiting.partition_point(|waiting| waiting.id <= after);
                let durable = peer.waiting.partition_point(|waiting| waiting.id <= head);
                let to = durable.min(from + max).max(from);
                let items = peer
                    .waiting
                    .range(from..to)
                    .map(|waiting| WaitingItem { id: waiting.id, message: waiting.body.clone() });
                let items = items.collect();
                let is_all = to >= durable;
                let rows = peer.rows.iter().map(|row| (row.first, row.last)).collect();
                // Who asked may have gone.
                let _ = answer.send(WaitingPage { items, rows, is_all, head });
            }
            Question::Segment { conversation, answer } => {
                let key = conversation.key();
                let segment = self.ledger.sequences.segment(&self.ledger.state, &key)?;
                let _ = answer.send(segment);
            }
        }
        Ok(())
    }
}
