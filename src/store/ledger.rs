//! Everything that the log says is so, at its head: peers, their inboxes, last sequences.
//!
//! # Invariants
//!
//! * It changes only by applying entries in log order, so a replay arrives at the same ledger.
//! * It belongs to the commit thread alone; it is never locked.
//! * A peer is in memory while it has a session, a message that has not settled, or a change that
//!   is not stored.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::chain::Chain;
use crate::id::{DeviceId, MessageId, PeerId, SessionId};
use crate::metrics::Metrics;
use crate::store::entry::{Entry, Message, Opening, Origin, Placed};
use crate::store::image::Checkpoint;
use crate::store::peer::{Found, Peer, Rules};
use crate::store::segment::DatabaseError;
use crate::store::sender::{Stored, Verdict};
use crate::store::sequences::{Next, Sequences};
use crate::store::state::State;

/// The ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) state: Arc<State>,
    pub(super) rules: Rules,
    pub(super) checkpoint: Checkpoint,
    pub(super) sequences: Sequences,
    pub(super) peers: HashMap<PeerId, Peer, RandomState>,
    /// Peers that differ from their stored form; each stands here once.
    pub(super) dirty: Vec<PeerId>,
    /// Peers whose messages may have to settle, each once, with the time from which that is so.
    pub(super) tails: VecDeque<(PeerId, i64)>,
    pub(super) tail_bytes: usize,
    /// Peers whose inbox was full, and what it gave up; for the commit in the making.
    pub(super) overflows: Vec<(PeerId, MessageId)>,
    metrics: Arc<Metrics>,
}

impl Ledger {
    pub(super) fn new(
        state: Arc<State>,
        rules: Rules,
        checkpoint: Checkpoint,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            state,
            rules,
            checkpoint,
            sequences: Sequences::default(),
            peers: HashMap::default(),
            dirty: Vec::new(),
            tails: VecDeque::new(),
            tail_bytes: 0,
            overflows: Vec::new(),
            metrics,
        }
    }

    /// A peer, from memory or the state, with the sessions of earlier runs ended.
    pub(super) fn peer(&mut self, id: &PeerId) -> Result<&mut Peer, DatabaseError> {
        if !self.peers.contains_key(id) {
            let stored = match self.state.peer(id) {
                Err(error @ DatabaseError::Value { .. }) => {
                    tracing::error!(peer = %id, error = %Chain(&error), "a peer's state is lost");
                    self.metrics.damaged_records.inc();
                    None
                }
                stored => stored?,
            };
            self.peers.insert(id.clone(), stored.unwrap_or_default());
        }
        let Checkpoint { run, started_ms, .. } = self.checkpoint;
        let peer = self.peers.entry(id.clone()).or_default();
        peer.enter_run(run, started_ms, &self.rules);
        Ok(peer)
    }

    /// Changes a peer by an entry that its stored form may show already.
    fn change<R>(
        &mut self,
        id: &PeerId,
        entry: MessageId,
        change: impl FnOnce(&mut Peer, &Rules) -> R,
    ) -> Result<Option<R>, DatabaseError> {
        let rules = self.rules;
        let peer = self.peer(id)?;
        if entry <= peer.applied {
            return Ok(None);
        }
        let before = peer.tail_bytes;
        let result = change(peer, &rules);
        let after = peer.tail_bytes;
        let newest_ms = peer.waiting.back().map_or(0, |newest| newest.at_ms);
        peer.dirty = true;
        let is_unlisted = !std::mem::replace(&mut peer.listed, true);
        let is_unqueued = peer.has_tail() && !std::mem::replace(&mut peer.queued, true);
        self.tail_bytes = (self.tail_bytes + after).saturating_sub(before);
        if is_unlisted {
            self.dirty.push(id.clone());
        }
        if is_unqueued {
            self.tails.push_back((id.clone(), newest_ms));
        }
        Ok(Some(result))
    }

    /// Whether a send is new, a repeat, or to be refused.
    pub(super) fn judge(
        &mut self,
        from: &PeerId,
        origin: &Origin,
        hash: u32,
    ) -> Result<Verdict, DatabaseError> {
        let peer = self.peer(from)?;
        let senders = peer.device(&origin.device).map(|device| &device.senders);
        let mut senders = senders.into_iter().flatten();
        let sender = senders.find(|sender| sender.instance == origin.instance);
        Ok(sender.map_or(Verdict::New, |sender| sender.judge(origin.number, hash)))
    }

    /// The number that the next message of a conversation gets in `segment`.
    pub(super) fn next(&self, key: &[u8; 17], segment: u32) -> Result<Next, DatabaseError> {
        self.sequences.next(&self.state, &self.checkpoint, key, segment)
    }

    /// A message has come.
    pub(super) fn message(
        &mut self,
        message: &Arc<Message>,
        origin: &Origin,
        hash: u32,
        previous: u32,
        segment: u32,
    ) -> Result<(), DatabaseError> {
        let Message { id, sequence, at_ms, .. } = **message;
        let stored = Stored { number: origin.number, id, sequence, at_ms, hash };
        self.change(&message.from, id, |peer, _| {
            if let Some(device) = peer.device(&origin.device) {
                device.sender(origin.instance).remember(stored, origin.answered);
            }
        })?;
        self.sequences.advance(message.conversation.key(), Next { sequence, previous }, segment);
        let mut given_up = 0;
        for to in &message.to {
            let delivered = self.change(to, id, |peer, rules| peer.deliver(message, rules))?;
            let delivered = delivered.unwrap_or_default();
            given_up += delivered.count;
            self.overflows.extend(delivered.overflow.map(|id| (to.clone(), id)));
        }
        self.metrics.dropped.inc_by(given_up as u64);
        Ok(())
    }

    /// A session opens; its id is the entry's.
    pub(super) fn open(
        &mut self,
        opening: &Opening,
        id: MessageId,
        at_ms: i64,
    ) -> Result<Option<Found>, DatabaseError> {
        let session = SessionId(id.0);
        self.change(&opening.peer, id, |peer, rules| peer.open(opening, session, at_ms, rules))
    }

    /// A session has ended.
    pub(super) fn end(
        &mut self,
        peer: &PeerId,
        device: &DeviceId,
        session: SessionId,
        closed: bool,
        (id, at_ms): (MessageId, i64),
    ) -> Result<(), DatabaseError> {
        self.change(peer, id, |peer, rules| peer.end(device, session, closed, at_ms, rules))?;
        Ok(())
    }

    /// A device has had every message up to `acked`.
    pub(super) fn acknowledge(
        &mut self,
        peer: &PeerId,
        device: &DeviceId,
        acked: MessageId,
        (id, at_ms): (MessageId, i64),
    ) -> Result<(), DatabaseError> {
        self.change(peer, id, |peer, rules| peer.acknowledge(device, acked, at_ms, rules))?;
        Ok(())
    }

    /// Gives up what of a peer's messages is older than the window.
    pub(super) fn expire(&mut self, id: &PeerId, at_ms: i64) -> Result<(), DatabaseError> {
        let expire = |peer: &mut Peer, rules: &Rules| peer.expire(at_ms, rules);
        let given_up = self.change(id, MessageId(i64::MAX), expire)?;
        self.metrics.dropped.inc_by(given_up.unwrap_or(0) as u64);
        Ok(())
    }

    /// The server has started: sessions of before are over.
    pub(super) fn start(&mut self, run: u32, at_ms: i64) {
        self.checkpoint.run = run;
        self.checkpoint.started_ms = at_ms;
    }

    /// Applies an entry read back from the log; it stands in `segment`.
    pub(super) fn replay(&mut self, placed: &Placed, segment: u32) -> Result<u32, DatabaseError> {
        let at = (placed.id, placed.at_ms);
        let mut previous = 0;
        match &placed.entry {
            Entry::Message { message, origin, hash } => {
                previous = self.next(&message.conversation.key(), segment)?.previous;
                self.message(message, origin, *hash, previous, segment)?;
                // The sessions that were too slow then are over.
                self.overflows.clear();
            }
            Entry::Opened(opening) => {
                self.open(opening, placed.id, placed.at_ms)?;
            }
            Entry::Ended { peer, device, session, closed } => {
                self.end(peer, device, *session, *closed, at)?;
            }
            Entry::Acked { peer, device, id } => self.acknowledge(peer, device, *id, at)?,
            Entry::Started { run } => self.start(*run, placed.at_ms),
        }
        Ok(previous)
    }
}
