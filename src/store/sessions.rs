//! What becomes of the requests about sessions: their opening, their end, what they acknowledge.
//!
//! # Invariants
//!
//! * Each session that an entry opens has one entry that ends it, whether its device went, another
//!   took its place or the server stopped.

use crate::id::{DeviceId, MessageId, PeerId, SessionId};
use crate::limits::UNACKNOWLEDGED_MAX;
use crate::reason::Reason;
use crate::store::commit::{Committer, Draft};
use crate::store::database::DatabaseError;
use crate::store::decide::Stop;
use crate::store::entry::{Ending, Entry, Mark, Opening};
use crate::store::part::Reach;
use crate::store::receipts::Due;
use crate::store::{Opened, Outcome};

impl<T: Send + 'static> Committer<T> {
    pub(super) fn decide_open(
        &mut self,
        caller: &mut Option<T>,
        opening: Opening,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        if self.ledger.blocked.contains(&opening.peer) {
            return Err(Reason::Blocked.into());
        }
        self.end_orphans(&opening.peer, draft)?;
        let (id, at_ms) = (draft.next, draft.at_ms);
        let found = self.ledger.open(&opening, id, at_ms)?;
        let counts = found.as_ref().map(|found| found.counts).unwrap_or_default();
        self.push(&Entry::Opened { opening: opening.clone(), counts }, draft)?;
        let Some(mut found) = found else { return Ok(()) };
        for gone in std::mem::take(&mut found.gone) {
            self.push(&gone.entry(opening.peer.clone(), Ending::Replaced), draft)?;
        }
        self.forget_devices(&opening.peer, std::mem::take(&mut found.forgotten), draft)?;
        let receipts = std::mem::take(&mut found.receipts);
        self.tell_delivered(&opening.peer, &opening.device, receipts, draft)?;
        let Some(caller) = caller.take() else { return Ok(()) };
        let marks = self.ledger.peer(&opening.peer)?.parts.marks_after(found.cursor, &opening.peer);
        let opened = Opened {
            session: SessionId(id.0),
            device: opening.device,
            cursor: found.cursor,
            next_number: found.next_number,
            waiting: found.waiting,
            loss: found.loss,
            replaced: found.replaced,
            at_ms,
            marks,
        };
        draft.outcomes.push(Outcome::Opened { caller, opened });
        Ok(())
    }

    pub(super) fn decide_end(
        &mut self,
        caller: &mut Option<T>,
        (peer, device): (PeerId, DeviceId),
        session: SessionId,
        closed: bool,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let at = (draft.next, draft.at_ms);
        // One that was replaced ended when that happened.
        if let Some(gone) = self.ledger.end(&peer, &device, session, closed, at)? {
            let ending = if closed { Ending::Closed } else { Ending::Lost };
            self.push(&gone.entry(peer.clone(), ending), draft)?;
            self.tell_unacknowledged(&peer, draft)?;
        }
        draft.outcomes.extend(caller.take().map(|caller| Outcome::Closed { caller }));
        Ok(())
    }

    pub(super) fn decide_ack(
        &mut self,
        peer: PeerId,
        device: DeviceId,
        acked: MessageId,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let (at_ms, entry) = (draft.at_ms, draft.next);
        let receipts = self.ledger.acknowledge(&peer, &device, acked, (entry, at_ms))?;
        let entry = Entry::Acked { peer: peer.clone(), device: device.clone(), id: acked };
        self.push(&entry, draft)?;
        self.tell_delivered(&peer, &device, receipts, draft)
    }

    /// The peer has what others asked a receipt for.
    fn tell_delivered(
        &mut self,
        peer: &PeerId,
        device: &DeviceId,
        receipts: Vec<Due>,
        draft: &mut Draft<T>,
    ) -> Result<(), Stop> {
        let at_ms = draft.at_ms;
        for Due { to, system, conversation, sequence, messages } in receipts {
            let reach = Reach { sequence, at_ms, entry: draft.next };
            self.ledger.delivered(&to, peer, conversation, reach)?;
            if !system {
                let mark = Mark { conversation, peer: peer.clone(), read: false, sequence, at_ms };
                let (mark, to) = (Some(mark), vec![to.clone()]);
                draft.outcomes.push(Outcome::Marked { caller: None, mark, to });
            }
            let (by, device) = (peer.clone(), device.clone());
            let entry = Entry::Delivered { to, by, device, conversation, sequence, messages };
            self.push(&entry, draft)?;
        }
        Ok(())
    }

    /// The sessions that a peer had when the server stopped are over.
    fn end_orphans(&mut self, peer: &PeerId, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        for (device, session) in self.ledger.peer(peer)?.orphans() {
            let at = (draft.next, draft.at_ms);
            if let Some(gone) = self.ledger.end(peer, &device, session, false, at)? {
                self.push(&gone.entry(peer.clone(), Ending::Stopped), draft)?;
            }
        }
        Ok(())
    }

    /// The last session of a peer may have ended: what it has not had is told.
    fn tell_unacknowledged(
        &mut self,
        peer: &PeerId,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        let rules = self.ledger.rules;
        let known = self.ledger.peer(peer)?;
        let (all, waiting) = (known.unacknowledged(draft.at_ms, &rules), known.badge(draft.at_ms));
        for messages in all.chunks(UNACKNOWLEDGED_MAX) {
            let (peer, messages) = (peer.clone(), messages.to_vec());
            self.push(&Entry::Unacknowledged { peer, waiting, messages }, draft)?;
        }
        Ok(())
    }

    /// Some of those who have not come back since the start are off line.
    pub(super) fn give_up_missing(&mut self, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        for peer in self.settling.missing.take_some() {
            if self.ledger.peer(&peer)?.orphans().is_empty() {
                continue;
            }
            self.end_orphans(&peer, draft)?;
            self.tell_unacknowledged(&peer, draft)?;
        }
        Ok(())
    }
}
