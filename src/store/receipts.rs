//! Receipts that are due: who asked to hear that a peer has had a message.
//!
//! # Invariants
//!
//! * A receipt is due once, when the first device that the message is for has it. What is given up,
//!   taken back or out of its time before is never told as delivered.
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
    pub(super) conversation: ConversationId,
    pub(super) sequence: u32,
    /// When the message need not be delivered any more; 0 for never.
    pub(super) expires_ms: i64,
}

/// The receipts due for one peer's messages, by rising id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Receipts {
    pub(super) due: VecDeque<Asked>,
    /// They differ from their stored form.
    pub(super) dirty: bool,
}

impl Receipts {
    /// A message has come that may ask for a receipt: one to a single peer may.
    pub(super) fn ask(&mut self, message: &Message) {
        let is_for_one = message.to.len() == 1 && message.to[0] != message.from;
        if !message.receipt || !is_for_one {
            return;
        }
        if self.due.len() == RECEIPTS_PER_PEER_MAX {
            self.due.pop_front();
        }
        let Message { id, conversation, sequence, expires_ms, .. } = *message;
        let from = message.from.clone();
        self.due.push_back(Asked { id, from, conversation, sequence, expires_ms });
        self.dirty = true;
    }

    /// The message does not reach the peer any more.
    pub(super) fn forget(&mut self, id: MessageId) {
        if let Ok(at) = self.due.binary_search_by_key(&id, |asked| asked.id) {
            self.due.remove(at);
            self.dirty = true;
        }
    }

    /// A device has had everything up to `id` that is for it: who is to be told, the last message
    /// of each of its conversations.
    pub(super) fn take(
        &mut self,
        id: MessageId,
        at_ms: i64,
        is_for_it: impl Fn(MessageId) -> bool,
    ) -> Vec<Asked> {
        let (mut told, mut others): (Vec<Asked>, Vec<Asked>) = Default::default();
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
            told.retain(|before| before.conversation != asked.conversation);
            told.push(asked);
        }
        others.into_iter().rev().for_each(|asked| self.due.push_front(asked));
        told
    }
}
