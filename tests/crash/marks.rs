//! How far conversations were read and delivered, and who was told to be online.
//!
//! # Invariants
//!
//! * What is asked for is noted before it is asked, and what is answered when it is answered: the
//!   truth lies between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use tidings::id::ConversationId;

type Sequences = HashMap<(usize, ConversationId), u32>;

/// The marks of all peers: up to which number each has come in a conversation.
#[derive(Default)]
pub(crate) struct Marks {
    /// What a device of the peer was handed.
    got: Sequences,
    /// What the peer said that it has read.
    asked: Sequences,
    /// And what was answered of that.
    noted: Sequences,
    /// What a peer was told that another has had.
    told_delivered: HashMap<(usize, ConversationId, usize), u32>,
    /// What a peer was told that another has read.
    told_read: HashMap<(usize, ConversationId, usize), u32>,
}

fn raise<K: Eq + std::hash::Hash>(map: &mut HashMap<K, u32>, key: K, sequence: u32) {
    let known = map.entry(key).or_default();
    *known = sequence.max(*known);
}

impl Marks {
    pub(crate) fn got(&mut self, peer: usize, conversation: ConversationId, sequence: u32) {
        raise(&mut self.got, (peer, conversation), sequence);
    }

    pub(crate) fn ask(&mut self, peer: usize, conversation: ConversationId, sequence: u32) {
        raise(&mut self.asked, (peer, conversation), sequence);
    }

    pub(crate) fn noted(&mut self, peer: usize, conversation: ConversationId, sequence: u32) {
        raise(&mut self.noted, (peer, conversation), sequence);
    }

    /// `to` is told that `by` has had a conversation.
    pub(crate) fn delivered(
        &mut self,
        to: usize,
        conversation: ConversationId,
        by: usize,
        sequence: u32,
    ) -> Result<(), &'static str> {
        raise(&mut self.told_delivered, (to, conversation, by), sequence);
        let has = self.got.get(&(by, conversation)).copied().unwrap_or_default();
        if sequence > has { Err("it has not had that") } else { Ok(()) }
    }

    /// `to` is told that `by` has read a conversation.
    pub(crate) fn read(
        &mut self,
        to: usize,
        conversation: ConversationId,
        by: usize,
        sequence: u32,
    ) -> Result<(), &'static str> {
        raise(&mut self.told_read, (to, conversation, by), sequence);
        let (_, asked) = self.read_by(by, conversation);
        // What a peer has sent itself counts as read.
        if to != by && sequence > asked { Err("it has not read that") } else { Ok(()) }
    }

    /// Up to where a peer has read at least, and at the most, by what it said.
    pub(crate) fn read_by(&self, peer: usize, conversation: ConversationId) -> (u32, u32) {
        let of = |map: &Sequences| map.get(&(peer, conversation)).copied().unwrap_or_default();
        (of(&self.noted), of(&self.asked))
    }

    /// Up to where the peer knows that another has had and has read the conversation.
    pub(crate) fn told(
        &self,
        to: usize,
        conversation: ConversationId,
        by: usize,
    ) -> (Option<u32>, Option<u32>) {
        let key = (to, conversation, by);
        (self.told_delivered.get(&key).copied(), self.told_read.get(&key).copied())
    }

    /// What anybody was told counts no more.
    pub(crate) fn forget_told(&mut self) {
        self.told_delivered.clear();
        self.told_read.clear();
    }

    /// The last message of a conversation that a device of the peer was handed.
    pub(crate) fn last(&self, peer: usize, conversation: ConversationId) -> Option<u32> {
        self.got.get(&(peer, conversation)).copied()
    }

    /// The conversations in which the peer was handed something.
    pub(crate) fn conversations(&self, peer: usize) -> Vec<ConversationId> {
        let of_peer = self.got.keys().filter(|(of, _)| *of == peer);
        let mut conversations: Vec<_> = of_peer.map(|(_, conversation)| *conversation).collect();
        conversations.sort_unstable();
        conversations
    }
}

/// What one device was told of those it watches.
#[derive(Default)]
pub(crate) struct Watching {
    /// Who is online, as far as it knows.
    pub(crate) online: BTreeSet<usize>,
    /// When each was told to be off line, and how often on line.
    pub(crate) changes: BTreeMap<usize, (Vec<Instant>, usize)>,
}

impl Watching {
    pub(crate) fn note(&mut self, peer: usize, is_online: bool) {
        let (offline, online) = self.changes.entry(peer).or_default();
        match is_online {
            true => *online += 1,
            false => offline.push(Instant::now()),
        }
        match is_online {
            true => self.online.insert(peer),
            false => self.online.remove(&peer),
        };
    }
}
