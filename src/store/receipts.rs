//! Receipts that are due: who asked to hear that a peer has had a message.
//!
//! # Invariants
//!
//! * A receipt is due once, when the first device that the message is for has it. What is given up,
//!   taken back or out of its time before is never told as delivered.
//! * A client may ask for one where there is one recipient; the app's back end, for each of many.
//! * At most [`RECEIPTS_PER_PEER_MAX`] are due; the oldest are forgotten.

use std::collections::VecDeque;

use crate::id::{ConversationId, MessageId, PeerId};
use crate::limits::RECEIPTS_PER_PEER_MAX;
use crate::store::entry::Message;

/// Somebody who asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) id: MessageId,
    pub(super) from: PeerId,
    /// It was the app's back end in its own name, which is told by no session.
    pub(super) system: bool,
    pub(super) conversation: ConversationId,
    pub(super) sequence: u32,
    /// When the message need not be delivered any more; 0 for never.
    pub(super) expires_ms: i64,
}

/// Messages of a conversation that a device has had and somebody asked a receipt for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Due {
    /// Who asked.
    pub(super) to: PeerId,
    /// It was the app's back end in its own name.
    pub(super) system: bool,
    pub(super) conversation: ConversationId,
    /// The number of the last of them.
    pub(super) sequence: u32,
    /// By rising id.
    pub(super) messages: Vec<MessageId>,
}

impl Due {
    fn new(asked: Asked) -> Self {
        let Asked { id, from: to, system, conversation, sequence, .. } = asked;
        Self { to, system, conversation, sequence, messages: vec![id] }
    }

    /// Adds what was due before to the last message of the same conversation.
    fn follow(&mut self, mut before: Self) {
        before.messages.append(&mut self.messages);
        self.messages = before.messages;
    }
}

/// The receipts due for one peer's messages, by rising id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Receipts {
    pub(super) due: VecDeque<Asked>,
    /// They differ from their stored form.
    pub(super) dirty: bool,
}

impl Receipts {
    /// A message has come that may ask for a receipt: one to a single peer may, and any of the
    /// back end in its own name.
    pub(super) fn ask(&mut self, message: &Message, system: bool) {
        let is_for_one = message.to.len() == 1 && message.to[0] != message.from;
        if !message.receipt || !(is_for_one || system) {
            return;
        }
        if self.due.len() == RECEIPTS_PER_PEER_MAX {
            self.due.pop_front();
        }
        let Message { id, conversation, sequence, expires_ms, .. } = *message;
        let from = message.from.clone();
        self.due.push_back(Asked { id, from, system, conversation, sequence, expires_ms });
        self.dirty = true;
    }

    /// The message does not reach the peer any more.
    pub(super) fn forget(&mut self, id: MessageId) {
        if let Ok(at) = self.due.binary_search_by_key(&id, |asked| asked.id) {
            self.due.remove(at);
            self.dirty = true;
        }
    }

    /// A device has had everything up to `id` that is for it: who is to be told, and of what in
    /// each conversation.
    pub(super) fn take(
        &mut self,
        id: MessageId,
        at_ms: i64,
        is_for_it: impl Fn(MessageId) -> bool,
    ) -> Vec<Due> {
        let (mut told, mut others): (Vec<Due>, Vec<Asked>) = Default::default();
        while self.due.front().is_some_and(|asked| asked.id <= id) {
            let Some(asked) = self.due.pop_front() else { break };
            if !is_for_it(asked.id) {
                others.push(asked);
                continue;
            }
            self.dirty = true;
            if asked.expires_ms != 0 && at_ms >= asked.expires_ms {
                continue;
            }
            let is_same =
                |due: &Due| due.conversation == asked.conversation && due.to == asked.from;
            let before = told.iter().position(is_same).map(|at| told.remove(at));
            let mut due = Due::new(asked);
            before.into_iter().for_each(|before| due.follow(before));
            told.push(due);
        }
        others.into_iter().rev().for_each(|asked| self.due.push_front(asked));
        told
    }
}
