//! What waits for a session without an id: marks, and who has gone on or off line. Only the latest
//! of each matters, so a later one takes the place of the one before.
//!
//! # Invariants
//!
//! * Adding never waits, and never fails for want of room: the bounds are those of limits.rs.
//! * The marks leave where the first of them was pushed: behind what was pushed before it, and
//!   before what was pushed after it.
//! * Who is online leaves behind all that has been pushed, so that a change never overtakes an
//!   answer that tells the state before it.
//! * A change that is taken back before it has been written is not written.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::BytesMut;
use foldhash::fast::RandomState;

use crate::hub::frames::mark_frame;
use crate::id::{ConversationId, PeerId};
use crate::limits::{MARKS_WAITING_MAX, WATCHED_MAX};
use crate::store::Mark;
use crate::wire::{Presence, ServerFrame};

/// What a mark is about; the last part says whether it was read or only delivered.
type Key = (ConversationId, PeerId, bool);

/// The lane of one outbox.
#[derive(Debug, Default)]
pub(super) struct Lane {
    marks: HashMap<Key, Mark, RandomState>,
    /// The keys of the marks, oldest first.
    order: VecDeque<Key>,
    /// Bytes that leave before the marks.
    marks_at: usize,
    /// Who is to be told to be online or not, unlike what the client was told last.
    presence: BTreeMap<PeerId, bool>,
}

impl Lane {
    /// Adds a mark, or puts it in the place of the one before; `before` bytes wait to be written.
    pub(super) fn mark(&mut self, mark: Mark, before: usize) {
        if self.marks.is_empty() {
            self.marks_at = before;
        }
        let key = (mark.conversation, mark.peer.clone(), mark.read);
        if self.marks.insert(key.clone(), mark).is_none() {
            self.order.push_back(key);
        }
        // The oldest is told when the session opens anew.
        if self.order.len() > MARKS_WAITING_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
    }

    /// Adds a change of presence, which is unlike the one before: it takes that back if it waits.
    pub(super) fn presence(&mut self, peer: &PeerId, online: bool) {
        match self.presence.get(peer) {
            Some(waiting) if *waiting == online => {}
            Some(_) => self.forget(peer),
            None => {
                self.presence.insert(peer.clone(), online);
            }
        }
        debug_assert!(self.presence.len() <= WATCHED_MAX, "only who is watched is told of");
    }

    /// The client has been told, or does not want to know.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.presence.remove(peer);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.presence.is_empty()
    }

    /// Whether anything waits that may be written; changes of presence may be `held`.
    pub(super) fn is_due(&self, held: bool) -> bool {
        !self.marks.is_empty() || (!held && !self.presence.is_empty())
    }

    /// Puts the marks into a part of what is written, if they belong there.
    pub(super) fn put_marks(&mut self, part: &mut BytesMut) {
        if self.marks.is_empty() {
            return;
        }
        let Some(behind) = part.len().checked_sub(self.marks_at) else {
            self.marks_at -= part.len();
            return;
        };
        let rest = part.split_off(part.len() - behind);
        for key in std::mem::take(&mut self.order) {
            if let Some(mark) = self.marks.remove(&key) {
                mark_frame(&mark).encode(part);
            }
        }
        self.marks = HashMap::default();
        part.extend_from_slice(&rest);
    }

    /// Puts the changes of presence behind all else.
    pub(super) fn put_presence(&mut self, part: &mut BytesMut) {
        if self.presence.is_empty() {
            return;
        }
        let mut told = Presence { online: Vec::new(), offline: Vec::new() };
        for (peer, online) in std::mem::take(&mut self.presence) {
            let list = if online { &mut told.online } else { &mut told.offline };
            list.push(peer);
        }
        ServerFrame::from(told).encode(part);
    }
}
