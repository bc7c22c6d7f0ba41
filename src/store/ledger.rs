//! Everything that the log says is so, at its head: peers, their inboxes, last sequences.
//!
//! # Invariants
//!
//! * It changes only by applying entries in log order, so a replay arrives at the same ledger.
//! * It belongs to the commit thread alone; it is never locked.
//! * A peer is in memory while it has a session, a message that has not settled, or a change that
//!   is not stored.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::chain::Chain;
use crate::id::{Alias, ConversationId, DeviceId, MessageId, PeerId, SessionId};
use crate::metrics::{Drop, Metrics};
use crate::store::blocked::Blocked;
use crate::store::database::DatabaseError;
use crate::store::directory::Directory;
use crate::store::endpoints::Endpoints;
use crate::store::entry::{
    Absent, Item, Message, NewUpstream, Opening, Origin, Recall, Repeat, Upstream, upstream_hash,
};
use crate::store::groups::Groups;
use crate::store::idempotency::Keys;
use crate::store::image::Checkpoint;
use crate::store::letters::Letters;
use crate::store::nonces::Nonces;
use crate::store::online::Gone;
use crate::store::outcome::Told;
use crate::store::part::Reach;
use crate::store::peer::{Found, Overflow, Peer, Rules};
use crate::store::recalled::Recalled;
use crate::store::receipts::Due;
use crate::store::sender::{Stored, Verdict};
use crate::store::sequences::{Next, Sequences};
use crate::store::state::State;
use crate::store::upstreams::Upstreams;

/// The ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) state: Arc<State>,
    pub(super) rules: Rules,
    pub(super) checkpoint: Checkpoint,
    pub(super) sequences: Sequences,
    /// Boxed: a table that has just grown is half empty, and a place in it would be as large.
    pub(super) peers: HashMap<PeerId, Box<Peer>, RandomState>,
    /// Peers that differ from their stored form; each stands here once.
    pub(super) dirty: Vec<PeerId>,
    /// Peers whose messages may have to settle, each once, with the time from which that is so.
    pub(super) tails: VecDeque<(PeerId, i64)>,
    pub(super) tail_bytes: usize,
    /// Messages and notices in all inboxes, and how many there are by the state.
    pub(super) waiting: usize,
    pub(super) stored_waiting: usize,
    /// Peers whose inbox was full, and what it gave up; for the commit in the making.
    pub(super) overflows: Vec<(PeerId, Overflow)>,
    pub(super) groups: Groups,
    pub(super) nonces: Nonces,
    pub(super) recalled: Recalled,
    /// Messages recalled that the state does not know yet, and the entries that did it.
    pub(super) recalls: Vec<(MessageId, MessageId)>,
    pub(super) directory: Directory,
    pub(super) blocked: Blocked,
    /// Peers blocked, or blocked no more, of which the state does not know yet.
    pub(super) blocks: Vec<PeerId>,
    pub(super) keys: Keys,
    pub(super) upstreams: Upstreams,
    pub(super) endpoints: Endpoints,
    pub(super) letters: Letters,
    pub(super) metrics: Arc<Metrics>,
}

impl Ledger {
    pub(super) fn new(
        state: Arc<State>,
        rules: Rules,
        checkpoint: Checkpoint,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DatabaseError> {
        let waiting = state.waiting()?.unwrap_or(0);
        Ok(Self {
            waiting,
            stored_waiting: waiting,
            groups: Groups::open(&state)?,
            nonces: Nonces::open(&state)?,
            recalled: Recalled::open(&state)?,
            recalls: Vec::new(),
            directory: Directory::open(&state)?,
            blocked: Blocked::open(&state)?,
            blocks: Vec::new(),
            keys: Keys::open(&state)?,
            upstreams: Upstreams::open(&state)?,
            endpoints: Endpoints::open(&state)?,
            letters: Letters::open(&state)?,
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
        })
    }

    /// A peer, from memory or the state, with the sessions of earlier runs ended.
    pub(super) fn peer(&mut self, id: &PeerId) -> Result<&mut Peer, DatabaseError> {
        let peer = match self.peers.entry(id.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Box::new(stored_peer(&self.state, &self.metrics, id)?))
            }
        };
        let Checkpoint { run, started_ms, .. } = self.checkpoint;
        if peer.enter_run(run, started_ms, &self.rules) {
            // Which start ended its sessions is to be known after the next one, too.
            peer.dirty = true;
            if !std::mem::replace(&mut peer.listed, true) {
                self.dirty.push(id.clone());
            }
        }
        Ok(peer)
    }

    /// Whether a peer was online when the server stopped, and has not come back since. Who is
    /// only asked for is not kept in memory.
    pub(super) fn was_online(&self, id: &PeerId) -> Result<bool, DatabaseError> {
        let Checkpoint { run, started_ms, .. } = self.checkpoint;
        let mut stored = match self.peers.get(id) {
            Some(peer) if peer.run == run => return Ok(peer.was_online(run)),
            Some(peer) => Some(Peer::clone(peer)),
            None => self.state.peer_alone(id)?,
        };
        let Some(peer) = &mut stored else { return Ok(false) };
        peer.enter_run(run, started_ms, &self.rules);
        Ok(peer.was_online(run))
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
        let (before, waited) = (peer.tail_bytes, peer.waiting.len());
        let result = change(peer, &rules);
        let (after, waits) = (peer.tail_bytes, peer.waiting.len());
        let newest_ms = peer.waiting.back().map_or(0, |newest| newest.at_ms);
        peer.dirty = true;
        let is_unlisted = !std::mem::replace(&mut peer.listed, true);
        let is_unqueued = peer.has_tail() && !std::mem::replace(&mut peer.queued, true);
        self.tail_bytes = (self.tail_bytes + after).saturating_sub(before);
        self.waiting = (self.waiting + waits).saturating_sub(waited);
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
        now_ms: i64,
    ) -> Result<Verdict, DatabaseError> {
        let origin = match origin {
            Origin::Client(origin) => origin,
            Origin::Backend { repeat: Some(Repeat { key, .. }), .. } => {
                return Ok(self.keys.judge(key, hash, now_ms));
            }
            Origin::Backend { repeat: None, .. } => return Ok(Verdict::New),
        };
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

    /// A message has come for `to`. Says who of them had no session.
    pub(super) fn message(
        &mut self,
        message: &Arc<Message>,
        to: &[PeerId],
        origin: &Origin,
        hash: u32,
        (previous, segment): (u32, u32),
    ) -> Result<Vec<Absent>, DatabaseError> {
        let Message { id, sequence, at_ms, .. } = **message;
        if let Origin::Backend { repeat: Some(Repeat { key, .. }), .. } = origin {
            self.keys.note(key, Stored { number: 0, id, sequence, at_ms, hash });
        }
        let is_system = matches!(origin, Origin::Backend { system: true, .. });
        if !is_system {
            self.change(&message.from, id, |peer, _| {
                peer.parts.message(message, &message.from);
                let Origin::Client(send) = origin else { return };
                if let Some(device) = peer.device(&send.device) {
                    let stored = Stored { number: send.number, id, sequence, at_ms, hash };
                    device.sender(send.instance).remember(stored, send.answered);
                }
            })?;
        }
        self.sequences.advance(message.conversation.key(), Next { sequence, previous }, segment);
        let item = Item::Message(message.clone());
        // A group's members are its sender too, who has what it sent.
        let is_shared = item.is_shared();
        let to = to.iter().filter(|peer| !is_shared || **peer != message.from);
        self.deliver(&item, to, |peer, id| {
            peer.parts.message(message, id);
            peer.receipts.ask(message, is_system);
        })
    }

    /// Puts a message or a notice into inboxes; `also` is done to each of the peers. Says who had
    /// no session when a message came that it did not send itself.
    pub(super) fn deliver<'a>(
        &mut self,
        item: &Item,
        to: impl IntoIterator<Item = &'a PeerId>,
        mut also: impl FnMut(&mut Peer, &PeerId),
    ) -> Result<Vec<Absent>, DatabaseError> {
        let (mut window, mut aged, mut full) = (0, 0, 0);
        let mut all_absent = Vec::new();
        for id in to {
            let delivered = self.change(id, item.id(), |peer, rules| {
                also(peer, id);
                let given_up = peer.deliver(item, rules);
                let is_told = !given_up.is_for_nobody && item.is_by_another(id);
                let absent = if is_told { peer.absent(id, item.at_ms()) } else { None };
                (given_up, absent)
            })?;
            let (delivered, absent) = delivered.unwrap_or_default();
            all_absent.extend(absent);
            window += delivered.window;
            aged += delivered.aged;
            full += usize::from(delivered.overflow.is_some());
            self.overflows.extend(delivered.overflow.map(|gone| (id.clone(), gone)));
        }
        self.count_drops(Drop::Window, window);
        self.count_drops(Drop::Age, aged);
        self.count_drops(Drop::Full, full);
        Ok(all_absent)
    }

    /// A session opens; its id is the entry's.
    pub(super) fn open(
        &mut self,
        opening: &Opening,
        id: MessageId,
        at_ms: i64,
    ) -> Result<Option<Found>, DatabaseError> {
        self.directory.opened(&self.state, &opening.device, &opening.peer, id)?;
        let session = SessionId(id.0);
        let open = |peer: &mut Peer, rules: &Rules| peer.open(opening, session, at_ms, rules);
        let found = self.change(&opening.peer, id, open)?;
        self.count_drops(Drop::Age, found.as_ref().map_or(0, |found| found.aged));
        Ok(found)
    }

    /// A session has ended. Says which, unless that was known.
    pub(super) fn end(
        &mut self,
        peer: &PeerId,
        device: &DeviceId,
        session: SessionId,
        closed: bool,
        (id, at_ms): (MessageId, i64),
    ) -> Result<Option<Gone>, DatabaseError> {
        let end = |peer: &mut Peer, rules: &Rules| peer.end(device, session, closed, at_ms, rules);
        Ok(self.change(peer, id, end)?.flatten())
    }

    /// A device has had every message up to `acked`. Says whose receipts are due.
    pub(super) fn acknowledge(
        &mut self,
        peer: &PeerId,
        device: &DeviceId,
        acked: MessageId,
        (id, at_ms): (MessageId, i64),
    ) -> Result<Vec<Due>, DatabaseError> {
        let acknowledge =
            |peer: &mut Peer, rules: &Rules| peer.acknowledge(device, acked, at_ms, rules);
        Ok(self.change(peer, id, acknowledge)?.unwrap_or_default())
    }

    /// A device of `by` has had what `to` asked a receipt for. The app's back end, which may have
    /// asked too, takes part in no conversation.
    pub(super) fn delivered(
        &mut self,
        to: &PeerId,
        by: &PeerId,
        conversation: ConversationId,
        reach: Reach,
    ) -> Result<(), DatabaseError> {
        if self.peer(to)?.parts.get(&conversation).is_none() {
            return Ok(());
        }
        let entry = reach.entry;
        self.change(to, entry, |peer, _| peer.parts.mark(conversation, by, false, reach))?;
        Ok(())
    }

    /// A peer has read a conversation.
    pub(super) fn read(
        &mut self,
        peer: &PeerId,
        others: &[PeerId],
        conversation: ConversationId,
        reach: Reach,
    ) -> Result<(), DatabaseError> {
        let entry = reach.entry;
        self.change(peer, entry, |peer, _| peer.parts.read(conversation, reach))?;
        for other in others {
            self.change(other, entry, |other, _| {
                other.parts.mark(conversation, peer, true, reach);
            })?;
        }
        Ok(())
    }

    /// A message was taken back. Gives what is to be told, and to whom.
    pub(super) fn recall(
        &mut self,
        recall: &Recall,
        (id, at_ms): (MessageId, i64),
    ) -> Result<Told, DatabaseError> {
        self.recalled.insert(recall.message);
        self.recalls.push((recall.message, id));
        let mut to = recall.concerned.clone();
        if let ConversationId::Group(group) = recall.conversation
            && let Some(group) = self.groups.find_ever(&self.state, group)?
        {
            // Who came later is told too: who was gone for a while has had the message.
            to.extend(group.members_at(id).iter().cloned());
        }
        to.sort_unstable();
        to.dedup();
        let notice = Arc::new(recall.notice(id, at_ms));
        let recalled = recall.message;
        self.deliver(&Item::Notice(notice.clone()), &to, |peer, _| peer.let_go(recalled))?;
        Ok(Told { notice, to: to.into() })
    }

    /// An alias was bound to a device, or taken away from it.
    pub(super) fn alias(
        &mut self,
        alias: &Alias,
        device: &DeviceId,
        bound: bool,
        entry: MessageId,
    ) -> Result<(), DatabaseError> {
        if bound {
            self.directory.bind(&self.state, alias, device, entry)
        } else {
            self.directory.unbind(&self.state, alias, device, entry)
        }
    }

    /// A peer was blocked, or is blocked no more.
    pub(super) fn block(&mut self, peer: &PeerId, blocked: bool) {
        self.blocked.set(peer, blocked);
        self.blocks.push(peer.clone());
    }

    /// A message to the back end has come.
    pub(super) fn upstream(
        &mut self,
        new: &NewUpstream,
        (id, at_ms): (MessageId, i64),
    ) -> Result<(), DatabaseError> {
        let NewUpstream { from, number: send, body } = new;
        let hash = upstream_hash(from, body);
        self.change(from, id, |peer, _| {
            if let Some(device) = peer.device(&send.device) {
                let stored = Stored { number: send.number, id, sequence: 0, at_ms, hash };
                device.sender(send.instance).remember(stored, send.answered);
            }
        })?;
        let (from, device, body) = (from.clone(), send.device.clone(), body.clone());
        self.upstreams.insert(Upstream { id, at_ms, from, device, body });
        Ok(())
    }

    /// It has become clear what becomes of a message to the back end. Gives what is to be told,
    /// and to whom.
    pub(super) fn upstream_done(
        &mut self,
        upstream: MessageId,
        from: &PeerId,
        accepted: bool,
        at: (MessageId, i64),
    ) -> Result<Told, DatabaseError> {
        self.upstreams.remove(upstream);
        let notice = Arc::new(Upstream::notice(at, upstream, from, accepted));
        let to: Arc<[PeerId]> = [from.clone()].into();
        self.deliver(&Item::Notice(notice.clone()), to.iter(), |_, _| {})?;
        Ok(Told { notice, to })
    }

    /// Gives up what of a peer's messages is older than the window.
    pub(super) fn expire(&mut self, id: &PeerId, at_ms: i64) -> Result<(), DatabaseError> {
        let expire = |peer: &mut Peer, rules: &Rules| {
            let given_up = peer.expire(at_ms, rules);
            peer.forget_unclaimed();
            given_up
        };
        let given_up = self.change(id, MessageId(i64::MAX), expire)?;
        self.count_drops(Drop::Age, given_up.unwrap_or(0));
        Ok(())
    }

    fn count_drops(&self, why: Drop, count: usize) {
        if count > 0 {
            self.metrics.give_up(why, count as u64);
        }
    }

    /// Tells how much there is of everything.
    pub(super) fn measure(&self) {
        self.metrics.tail_bytes.set(self.tail_bytes as i64);
        self.metrics.inbox_messages.set(self.waiting as i64);
        self.metrics.groups.set(self.groups.count as i64);
        self.metrics.aliases.set(self.directory.aliased as i64);
        self.metrics.blocked.set(self.blocked.len() as i64);
        self.metrics.upstream_waiting.set(self.upstreams.len() as i64);
    }

    /// The server has started: sessions of before are over.
    pub(super) fn start(&mut self, run: u32, at_ms: i64) {
        self.checkpoint.run = run;
        self.checkpoint.started_ms = at_ms;
    }
}

/// A peer as the state has it. One that cannot be read has lost what the state knew of it.
fn stored_peer(state: &State, metrics: &Metrics, id: &PeerId) -> Result<Peer, DatabaseError> {
    match state.peer(id) {
        Err(error @ DatabaseError::Value { .. }) => {
            tracing::error!(peer = %id, error = %Chain(&error), "a peer's state is lost");
            metrics.damaged_records.inc();
            Ok(Peer::default())
        }
        stored => Ok(stored?.unwrap_or_default()),
    }
}
