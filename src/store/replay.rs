//! Bringing the ledger to the head of the log, entry by entry.
//!
//! # Invariants
//!
//! * A replayed entry does what it did when it was made; what the state shows already, it does not
//!   do again.

use crate::id::MessageId;
use crate::store::database::DatabaseError;
use crate::store::entry::{Ending, Entry, Placed};
use crate::store::ledger::Ledger;
use crate::store::part::Reach;

impl Ledger {
    /// Applies an entry read back from the log; it stands in `segment`. Gives the segment of the
    /// messages before it, if it is a message.
    pub(super) fn replay(&mut self, placed: &Placed, segment: u32) -> Result<u32, DatabaseError> {
        let mut previous = 0;
        if let Entry::Message { message, origin, hash, .. } = &placed.entry {
            previous = self.next(&message.conversation.key(), segment)?.previous;
            let members = self.members(message)?;
            let to = members.as_deref().unwrap_or(&message.to);
            self.message(message, to, origin, *hash, (previous, segment))?;
        } else {
            self.replay_other(&placed.entry, (placed.id, placed.at_ms))?;
        }
        // The sessions that were too slow then are over.
        self.overflows.clear();
        Ok(previous)
    }

    fn replay_other(&mut self, entry: &Entry, at: (MessageId, i64)) -> Result<(), DatabaseError> {
        let (id, at_ms) = at;
        let reach = |sequence: u32| Reach { sequence, at_ms, entry: id };
        match entry {
            Entry::Message { .. } => {}
            Entry::Opened { opening, .. } => drop(self.open(opening, id, at_ms)?),
            Entry::Ended { peer, device, session, ending, .. } => {
                self.end(peer, device, *session, *ending == Ending::Closed, at)?;
            }
            // The receipts have entries of their own.
            Entry::Acked { peer, device, id } => drop(self.acknowledge(peer, device, *id, at)?),
            Entry::Started { run } => self.start(*run, at_ms),
            Entry::Read { peer, conversation, sequence, others } => {
                self.read(peer, others, *conversation, reach(*sequence))?;
            }
            Entry::Delivered { to, by, conversation, sequence, .. } => {
                self.delivered(to, by, *conversation, reach(*sequence))?;
            }
            Entry::Recalled(recall) => drop(self.recall(recall, at)?),
            Entry::GroupCreated { group, by, action } => {
                self.create_group(*group, by.as_ref(), action, at)?;
            }
            Entry::GroupChanged { group, by, change, sequence } => {
                self.change_group(*group, by.as_ref(), change, *sequence, at)?;
            }
            Entry::Nonce { peer, nonce, expires_ms } => self.nonces.note(peer, nonce, *expires_ms),
            Entry::Alias { alias, device, bound } => self.alias(alias, device, *bound, id)?,
            Entry::Forgotten { peer, device } => {
                self.directory.forget(&self.state, device, peer, id)?;
            }
            Entry::Blocked { peer, blocked } => self.block(peer, *blocked),
            Entry::Unacknowledged { .. } => {}
            Entry::Endpoint { endpoint, change } => self.endpoint(endpoint, change, id),
            Entry::Upstream(new) => self.upstream(new, at)?,
            Entry::UpstreamDone { upstream, peer, accepted } => {
                self.upstream_done(*upstream, peer, *accepted, at)?;
            }
        }
        Ok(())
    }
}
