//! What one peer takes part in: its conversations, how far it and the others have come in each.
//!
//! # Invariants
//!
//! * Marks never go back.
//! * At most [`CONVERSATIONS_PER_PEER_MAX`] conversations are remembered; the one longest silent is
//!   forgotten first, and a group that the peer is a member of never.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::id::{ConversationId, MessageId, PeerId};
use crate::limits::{CONVERSATIONS_PER_PEER_MAX, MARKS_AT_OPEN_MAX};
use crate::store::entry::{Mark, Message};

/// A peer's part in one conversation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// The other participants; empty in a group.
    pub others: Arc<[PeerId]>,
    /// Since which entry the peer is a member of this group; `NONE` if it is none.
    pub since: MessageId,
    /// The last message.
    pub last: MessageId,
    /// The number of the last message.
    pub sequence: u32,
    /// How far the peer has read; who sends has read what was before.
    pub(super) read: Reach,
    /// How far it has said that it has read.
    pub(super) said: u32,
    /// How far the others have come, those that have.
    pub(super) marks: Vec<OtherMark>,
    /// It differs from its stored form.
    pub(super) dirty: bool,
}

/// How far somebody has come, and which entry said so.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Reach {
    pub(super) sequence: u32,
    pub(super) at_ms: i64,
    pub(super) entry: MessageId,
}

impl Reach {
    fn advance(&mut self, to: Self) -> bool {
        let advances = to.sequence > self.sequence;
        if advances {
            *self = to;
        }
        advances
    }
}

/// How far another participant has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct OtherMark {
    pub(super) peer: PeerId,
    pub(super) delivered: Reach,
    pub(super) read: Reach,
}

impl Part {
    /// Up to which number the peer has read.
    pub fn read(&self) -> u32 {
        self.read.sequence
    }

    /// Messages that the peer has neither read nor sent.
    pub fn unread(&self) -> u32 {
        self.sequence.saturating_sub(self.read.sequence)
    }
}

/// All conversations of one peer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Parts {
    parts: HashMap<ConversationId, Part, RandomState>,
    /// Forgotten, but still in the state.
    forgotten: Vec<ConversationId>,
    /// Those longest silent, the first to go last, as of when they were looked for: one that has
    /// another last message by now is not silent.
    silent: Vec<(MessageId, ConversationId)>,
}

/// Conversations longest silent that are looked for at once.
const SILENT_MAX: usize = 64;

impl Parts {
    pub(super) fn get(&self, conversation: &ConversationId) -> Option<&Part> {
        self.parts.get(conversation)
    }

    /// Puts back what was stored.
    pub(super) fn restore(&mut self, conversation: ConversationId, part: Part) {
        self.parts.insert(conversation, part);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The groups that the peer is a member of.
    pub(super) fn group_count(&self) -> usize {
        self.parts.values().filter(|part| part.since != MessageId::NONE).count()
    }

    /// The part in a conversation, to be changed by an entry.
    fn part(
        &mut self,
        conversation: ConversationId,
        others: impl FnOnce() -> Arc<[PeerId]>,
    ) -> &mut Part {
        if self.parts.len() >= CONVERSATIONS_PER_PEER_MAX && !self.parts.contains_key(&conversation)
        {
            self.forget_silent();
        }
        let new = || Part { others: others(), ..Part::default() };
        let part = self.parts.entry(conversation).or_insert_with(new);
        part.dirty = true;
        part
    }

    /// Forgets all conversations but the groups that the peer is a member of.
    pub(super) fn forget_all_but_groups(&mut self) {
        let Self { parts, forgotten, silent } = self;
        silent.clear();
        parts.retain(|conversation, part| {
            let is_member = part.since != MessageId::NONE;
            if !is_member {
                forgotten.push(*conversation);
            }
            is_member
        });
    }

    /// Forgets the conversation longest silent.
    fn forget_silent(&mut self) {
        loop {
            if self.silent.is_empty() {
                let is_silent = |part: &Part| part.since == MessageId::NONE;
                let silent = self.parts.iter().filter(|(_, part)| is_silent(part));
                self.silent.extend(silent.map(|(conversation, part)| (part.last, *conversation)));
                self.silent.sort_unstable_by(|one, other| other.cmp(one));
                self.silent.drain(..self.silent.len().saturating_sub(SILENT_MAX));
            }
            let Some((last, conversation)) = self.silent.pop() else { return };
            let part = self.parts.get(&conversation);
            if part.is_some_and(|part| part.last == last && part.since == MessageId::NONE) {
                self.parts.remove(&conversation);
                self.forgotten.push(conversation);
                return;
            }
        }
    }

    /// A message has come for `me`, or was sent by it.
    pub(super) fn message(&mut self, message: &Message, me: &PeerId) {
        let Message { conversation, id, sequence, at_ms, .. } = *message;
        let part = self.part(conversation, || others(message, me));
        if sequence <= part.sequence {
            return;
        }
        part.last = id;
        // What a member was not sent is not unread.
        let is_first = std::mem::replace(&mut part.sequence, sequence) == 0;
        if message.from == *me {
            // Who had read all before has read no more by this, and its devices need not hear it.
            let had_read_all = part.read.sequence + 1 >= sequence;
            let entry = if had_read_all { part.read.entry } else { id };
            part.read.advance(Reach { sequence, at_ms, entry });
        } else if is_first {
            part.read.sequence = sequence - 1;
        }
    }

    /// The peer is a member of a group, whose last message is number `sequence`.
    pub(super) fn joined(&mut self, group: ConversationId, id: MessageId, sequence: u32) {
        let part = self.part(group, Default::default);
        (part.since, part.last) = (id, id);
        part.sequence = part.sequence.max(sequence);
        part.read.sequence = part.sequence;
    }

    /// The peer is no member any more.
    pub(super) fn left(&mut self, group: ConversationId) {
        if let Some(part) = self.parts.get_mut(&group) {
            part.since = MessageId::NONE;
            part.read.sequence = part.sequence;
            part.dirty = true;
            // It may be silent for longer than those.
            self.silent.clear();
        }
    }

    /// The peer has read a conversation.
    pub(super) fn read(&mut self, conversation: ConversationId, reach: Reach) {
        let Some(part) = self.parts.get_mut(&conversation) else { return };
        part.dirty |= part.read.advance(reach) || reach.sequence > part.said;
        part.said = part.said.max(reach.sequence);
    }

    /// Another participant has come further.
    pub(super) fn mark(
        &mut self,
        conversation: ConversationId,
        peer: &PeerId,
        read: bool,
        reach: Reach,
    ) {
        let Some(part) = self.parts.get_mut(&conversation) else { return };
        let known = part.marks.iter().position(|mark| mark.peer == *peer);
        let at = known.unwrap_or_else(|| {
            let (delivered, read) = (Reach::default(), Reach::default());
            part.marks.push(OtherMark { peer: peer.clone(), delivered, read });
            part.marks.len() - 1
        });
        let mark = &mut part.marks[at];
        let mark = if read { &mut mark.read } else { &mut mark.delivered };
        part.dirty |= mark.advance(reach);
    }

    /// What has been marked by entries after `cursor`, oldest first; the newest if there is much.
    pub(super) fn marks_after(&self, cursor: MessageId, me: &PeerId) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (conversation, part) in &self.parts {
            let mut tell = |peer, read, reach: Reach| {
                if reach.entry > cursor {
                    marks.push((reach.entry, conversation, peer, read, reach));
                }
            };
            tell(me, true, part.read);
            for mark in &part.marks {
                tell(&mark.peer, false, mark.delivered);
                tell(&mark.peer, true, mark.read);
            }
        }
        // A new device asks for all there are, which may be thousands.
        let older = marks.len().saturating_sub(MARKS_AT_OPEN_MAX);
        if older > 0 {
            marks.select_nth_unstable_by_key(older, |(entry, ..)| *entry);
            marks.drain(..older);
        }
        marks.sort_by_key(|(entry, ..)| *entry);
        let mark =
            |(_, conversation, peer, read, reach): (_, &ConversationId, &PeerId, _, Reach)| {
                let Reach { sequence, at_ms, .. } = reach;
                Mark { conversation: *conversation, peer: peer.clone(), read, sequence, at_ms }
            };
        marks.into_iter().map(mark).collect()
    }

    /// Up to `max` conversations whose last message is before `before`, newest first, and whether
    /// there are more.
    pub(super) fn page(
        &self,
        before: MessageId,
        max: usize,
    ) -> (Vec<(ConversationId, Part)>, bool) {
        let mut page: Vec<_> = self.parts.iter().filter(|(_, part)| part.last < before).collect();
        page.sort_unstable_by_key(|(_, part)| std::cmp::Reverse(part.last));
        let more = page.len() > max;
        page.truncate(max);
        (page.into_iter().map(|(id, part)| (*id, part.clone())).collect(), more)
    }

    /// Calls `write` with what differs from its stored form, and `remove` with what was forgotten.
    pub(super) fn store(
        &mut self,
        mut write: impl FnMut(&ConversationId, &Part),
        mut remove: impl FnMut(&ConversationId),
    ) {
        for conversation in self.forgotten.drain(..) {
            if !self.parts.contains_key(&conversation) {
                remove(&conversation);
            }
        }
        for (conversation, part) in self.parts.iter_mut().filter(|(_, part)| part.dirty) {
            write(conversation, part);
            part.dirty = false;
        }
    }
}

/// The participants of a conversation of peers but `me`.
fn others(message: &Message, me: &PeerId) -> Arc<[PeerId]> {
    if let ConversationId::Group(_) = message.conversation {
        return Arc::default();
    }
    let mut others: Vec<_> =
        message.to.iter().chain([&message.from]).filter(|peer| *peer != me).cloned().collect();
    others.sort_unstable();
    others.dedup();
    others.into()
}
