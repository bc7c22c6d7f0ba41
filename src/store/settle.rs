//! Settling: what is still unacknowledged after a while moves from memory into rows of the state,
//! and what has changed reaches the state when a segment closes.
//!
//! # Invariants
//!
//! * A slice takes [`SETTLE_SLICE`] at the most, so that a commit never waits longer for it.
//! * The checkpoint is written after everything that it says is in the state.
//! * A message that is acknowledged in time is not written here, unless a flush passes while it
//!   waits.

use std::time::{Duration, Instant};

use crate::id::{MessageId, PeerId};
use crate::limits::{
    DIRECTORY_CACHED_MAX, LETTERS_MEMORY_MAX, PEERS_CACHED_MAX, RECORD_BYTES_TARGET, SETTLE_AFTER,
    SETTLE_SLICE, TAIL_BYTES_MAX,
};
use crate::store::database::DatabaseError;
use crate::store::entry::Item;
use crate::store::image::pack_row;
use crate::store::ledger::Ledger;
use crate::store::missing::Missing;
use crate::store::peer::{Peer, RowRef};
use crate::store::state::Changes;

/// Changes that are written together.
const CHANGES_PER_BATCH: usize = 32;
/// Messages to the back end that are written together, with up to 5 KiB each.
const UPSTREAMS_PER_BATCH: usize = 8;
/// Peers that one step of a sweep looks at.
const SWEEP_PEERS: usize = 32;
/// Conversations that may have changed before they are flushed without a segment's closing.
const SEQUENCES_DIRTY_MAX: usize = 1_000_000;
/// Messages to the back end that may wait in memory, with up to 5 KiB each, likewise.
const UPSTREAMS_DIRTY_MAX: usize = 4_096;

/// A flush of all that has changed, on its way.
#[derive(Debug)]
struct Flush {
    target: MessageId,
    peers: Vec<PeerId>,
}

/// The work that is left to do between commits.
#[derive(Debug, Default)]
pub(super) struct Settling {
    flush: Option<Flush>,
    /// A look at all peers for what is older than the window, as far as it has come.
    sweep: Option<Vec<u8>>,
    /// A look for those who have not come back since the start.
    pub(super) missing: Missing,
    /// A flush asked for while another was on its way.
    wanted: bool,
    /// Peers that had to stay in memory when those with nothing going on were forgotten last.
    kept: usize,
}

impl Settling {
    /// The work of a run, in which those who were online before it have so long to come back.
    pub(super) fn new(restart_grace: Duration) -> Self {
        let missing = Missing::new(restart_grace.as_millis() as i64);
        Self { missing, ..Self::default() }
    }

    /// Everything up to the head is to reach the state.
    pub(super) fn want_flush(&mut self) {
        self.wanted = true;
    }

    /// What is older than the window is to be given up, whoever it waits for.
    pub(super) fn want_sweep(&mut self) {
        self.sweep.get_or_insert_default();
    }

    pub(super) fn is_flushing(&self) -> bool {
        self.wanted || self.flush.is_some()
    }

    /// Does a slice of work. `head` is the last entry applied. Says whether more is left.
    pub(super) fn slice(
        &mut self,
        ledger: &mut Ledger,
        head: MessageId,
        now_ms: i64,
    ) -> Result<bool, DatabaseError> {
        let start = Instant::now();
        while start.elapsed() < SETTLE_SLICE {
            if !self.step(ledger, head, now_ms)?
                && !self.sweep_step(ledger, now_ms)?
                && (self.is_flushing() || !self.missing.step(ledger, now_ms)?)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does all the work there is, however long it takes.
    pub(super) fn finish(
        &mut self,
        ledger: &mut Ledger,
        head: MessageId,
    ) -> Result<(), DatabaseError> {
        while self.step(ledger, head, i64::MAX)? {}
        Ok(())
    }

    fn step(
        &mut self,
        ledger: &mut Ledger,
        head: MessageId,
        now_ms: i64,
    ) -> Result<bool, DatabaseError> {
        // Looking at peers changes none, so no flush need ever come.
        if ledger.peers.len() > 2 * PEERS_CACHED_MAX.max(self.kept) {
            evict(ledger);
            self.kept = ledger.peers.len();
        }
        if settle_tails(ledger, head, now_ms)? {
            return Ok(true);
        }
        self.wanted |= ledger.dirty.len() > PEERS_CACHED_MAX / 2
            || ledger.sequences.len() > SEQUENCES_DIRTY_MAX
            || ledger.directory.dirty_len() > DIRECTORY_CACHED_MAX
            || ledger.upstreams.dirty_len() > UPSTREAMS_DIRTY_MAX
            || ledger.letters.memory() > LETTERS_MEMORY_MAX;
        if self.flush.is_none() && std::mem::take(&mut self.wanted) {
            ledger.sequences.begin_flush();
            let peers = std::mem::take(&mut ledger.dirty);
            self.flush = Some(Flush { target: head, peers });
            if checkpoint_comes_first() {
                write_checkpoint(ledger, head, head)?;
            }
        }
        let Some(flush) = &mut self.flush else { return Ok(false) };
        if flush_peers(ledger, head, &mut flush.peers)?
            || ledger.sequences.flush_one(&ledger.state)?
            || flush_books(ledger)?
        {
            return Ok(true);
        }
        let target = flush.target;
        if !checkpoint_comes_first() {
            write_checkpoint(ledger, target, head)?;
        }
        self.flush = None;
        evict(ledger);
        Ok(true)
    }
}

impl Settling {
    /// Looks at a few peers more; says whether there were any.
    fn sweep_step(&mut self, ledger: &mut Ledger, now_ms: i64) -> Result<bool, DatabaseError> {
        let Some(from) = self.sweep.take() else { return Ok(false) };
        let oldest_ms = |peer: &Peer| peer.waiting.front().map(|oldest| oldest.at_ms);
        let (peers, next) = ledger.state.peers_from(&from, SWEEP_PEERS, oldest_ms)?;
        for (id, oldest_ms) in peers {
            if now_ms.saturating_sub(oldest_ms) >= ledger.rules.window_age_ms {
                ledger.expire(&id, now_ms)?;
            }
        }
        self.sweep = next;
        self.wanted |= self.sweep.is_none();
        Ok(true)
    }
}

/// Never, but for the rig for power cuts, which must see it.
fn checkpoint_comes_first() -> bool {
    fail::fail_point!("checkpoint-before-data", |_| true);
    false
}

/// Says that the state shows everything up to `target`, on stable storage: the log behind that may
/// be removed.
fn write_checkpoint(
    ledger: &mut Ledger,
    target: MessageId,
    head: MessageId,
) -> Result<(), DatabaseError> {
    ledger.checkpoint.applied = target;
    let mut changes = Changes::default();
    changes.checkpoint(&ledger.checkpoint);
    changes.head(head);
    changes.apply(&ledger.state)?;
    ledger.state.database.sync()
}

/// Moves the messages of a few peers into rows; says whether there were any.
fn settle_tails(ledger: &mut Ledger, head: MessageId, now_ms: i64) -> Result<bool, DatabaseError> {
    let settle_ms = SETTLE_AFTER.as_millis() as i64;
    let mut changes = Changes::default();
    while changes.count < CHANGES_PER_BATCH {
        let is_urgent = ledger.tail_bytes > TAIL_BYTES_MAX;
        let Some((_, at_ms)) = ledger.tails.front() else { break };
        // A clock that stepped back must not keep a tail for ever.
        let age_ms = now_ms.saturating_sub(*at_ms);
        if !is_urgent && (0..settle_ms).contains(&age_ms) {
            break;
        }
        let Some((id, _)) = ledger.tails.pop_front() else { break };
        let Some(peer) = ledger.peers.get_mut(&id) else { continue };
        peer.queued = false;
        let oldest = peer.waiting.iter().find(|waiting| waiting.body.is_some());
        let Some(oldest_ms) = oldest.map(|waiting| waiting.at_ms) else { continue };
        if !is_urgent && (0..settle_ms).contains(&now_ms.saturating_sub(oldest_ms)) {
            // What was here has been acknowledged in time; what came since is younger.
            peer.queued = true;
            ledger.tails.push_back((id, oldest_ms));
            continue;
        }
        write_peer(&id, ledger, head, &mut changes);
    }
    let has_changed = changes.count > 0;
    changes.apply(&ledger.state)?;
    Ok(has_changed)
}

/// Writes a few peers that have changed; says whether there were any.
fn flush_peers(
    ledger: &mut Ledger,
    head: MessageId,
    peers: &mut Vec<PeerId>,
) -> Result<bool, DatabaseError> {
    let mut changes = Changes::default();
    let mut seen = false;
    while changes.count < CHANGES_PER_BATCH {
        let Some(id) = peers.pop() else { break };
        seen = true;
        let Some(peer) = ledger.peers.get_mut(&id) else { continue };
        peer.listed = false;
        if !peer.dirty {
            continue;
        }
        write_peer(&id, ledger, head, &mut changes);
    }
    changes.apply(&ledger.state)?;
    Ok(seen)
}

/// Writes a group that has changed, and some of all else that has; says whether there was any.
fn flush_books(ledger: &mut Ledger) -> Result<bool, DatabaseError> {
    let mut changes = Changes::default();
    ledger.groups.flush_one(ledger.checkpoint.applied, &mut changes);
    let mut has_changed =
        ledger.blocked.flush_some(&mut ledger.blocks, CHANGES_PER_BATCH, &mut changes);
    has_changed |= ledger.directory.flush_some(CHANGES_PER_BATCH, &mut changes);
    has_changed |= ledger.keys.flush_some(CHANGES_PER_BATCH, &mut changes);
    has_changed |= ledger.upstreams.flush_some(UPSTREAMS_PER_BATCH, &mut changes);
    has_changed |= ledger.endpoints.flush_some(CHANGES_PER_BATCH, &mut changes);
    let letters = &mut ledger.letters;
    has_changed |= letters.flush_some(CHANGES_PER_BATCH, RECORD_BYTES_TARGET, &mut changes);
    ledger.nonces.flush_some(CHANGES_PER_BATCH, &mut changes);
    while changes.count < 2 * CHANGES_PER_BATCH {
        let Some((message, entry)) = ledger.recalls.pop() else { break };
        changes.recalled(message, entry);
    }
    has_changed |= changes.count > 0;
    changes.apply(&ledger.state)?;
    Ok(has_changed)
}

/// Writes a peer as it is at `head`: its messages into rows, then itself.
fn write_peer(id: &PeerId, ledger: &mut Ledger, head: MessageId, changes: &mut Changes) {
    let Some(peer) = ledger.peers.get_mut(id) else { return };
    let bodies: Vec<_> = peer.waiting.iter_mut().filter_map(|w| w.body.take()).collect();
    let mut row: Vec<&Item> = Vec::new();
    let mut bytes = 0;
    // What is shared is read from the log.
    for item in bodies.iter().filter(|item| !item.is_shared()) {
        if bytes + item.bytes() > RECORD_BYTES_TARGET && !row.is_empty() {
            write_row(id, peer, std::mem::take(&mut row), changes);
            bytes = 0;
        }
        bytes += item.bytes();
        row.push(item);
    }
    if !row.is_empty() {
        write_row(id, peer, row, changes);
    }
    ledger.tail_bytes = ledger.tail_bytes.saturating_sub(std::mem::take(&mut peer.tail_bytes));
    let stored = std::mem::replace(&mut peer.stored, peer.waiting.len());
    ledger.stored_waiting = (ledger.stored_waiting + peer.stored).saturating_sub(stored);
    changes.waiting(ledger.stored_waiting);
    for spent in peer.spent_rows() {
        changes.remove_row(id, spent.first);
    }
    peer.applied = head;
    peer.dirty = false;
    if std::mem::take(&mut peer.receipts.dirty) {
        changes.receipts(id, &peer.receipts);
    }
    let (mut written, mut forgotten) = (Vec::new(), Vec::new());
    peer.parts.store(
        |conversation, part| written.push((*conversation, part.clone())),
        |conversation| forgotten.push(*conversation),
    );
    written.iter().for_each(|(conversation, part)| changes.part(id, conversation, part));
    forgotten.iter().for_each(|conversation| changes.remove_part(id, conversation));
    let is_nobody = peer.devices.is_empty() && peer.parts.is_empty();
    if is_nobody && peer.waiting.is_empty() && peer.loss.count == 0 {
        changes.remove_peer(id, peer);
    } else {
        changes.peer(id, peer);
    }
}

fn write_row(id: &PeerId, peer: &mut Peer, row: Vec<&Item>, changes: &mut Changes) {
    if let (Some(first), Some(last)) = (row.first(), row.last()) {
        peer.rows.push(RowRef { first: first.id(), last: last.id() });
        changes.row(id, first.id(), pack_row(&row));
    }
}

/// Forgets peers with nothing going on when there are many.
fn evict(ledger: &mut Ledger) {
    if ledger.peers.len() > PEERS_CACHED_MAX {
        ledger.peers.retain(|_, peer| peer.dirty || peer.listed || peer.has_session());
        ledger.peers.shrink_to(PEERS_CACHED_MAX);
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
