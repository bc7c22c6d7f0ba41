//! Keeping how far webhook endpoints have come.
//!
//! # Invariants
//!
//! * What makes no sense leaves no entry, so an entry is applied whatever it says.
//! * Letters go by entries of their own, so no bound is looked at when the log is replayed.
//! * Nothing about an endpoint is told before the sync of the commit in the making.

use crate::id::{EndpointId, MessageId};
use crate::limits::{ENDPOINT_WHY_BYTES_MAX, LETTERS_DROPPED_MAX, RECORD_BYTES_MAX};
use crate::metrics::Drop;
use crate::store::commit::{Committer, Draft};
use crate::store::database::DatabaseError;
use crate::store::entry::Entry;
use crate::store::journal::{EndpointChange, EndpointState, Position};
use crate::store::ledger::Ledger;

impl EndpointChange {
    /// The same with no text that is too long.
    pub(super) fn cut(mut self) -> Self {
        if let Self::Halted { why: Some(why) } = &mut self {
            cut(why);
        } else if let Self::Kept(letter) = &mut self {
            cut(&mut letter.why);
        }
        self
    }
}

fn cut(why: &mut String) {
    why.truncate(why.floor_char_boundary(ENDPOINT_WHY_BYTES_MAX));
}

impl Ledger {
    /// An endpoint has come further, by the entry `id`.
    pub(super) fn endpoint(&mut self, of: &EndpointId, change: &EndpointChange, id: MessageId) {
        self.endpoints.change(of, change, id);
        self.letters.change(of, self.endpoints.get(of).is_some(), change);
    }

    /// How far an endpoint has come.
    pub(super) fn endpoint_state(&self, of: &EndpointId) -> Option<EndpointState> {
        let endpoint = self.endpoints.get(of)?;
        let (letters, letter_bytes) = self.letters.count(of);
        Some(EndpointState {
            lanes: endpoint.lanes,
            batches: endpoint.batches.clone(),
            next_number: endpoint.next_number,
            halted: endpoint.halted.clone(),
            letters,
            letter_bytes,
        })
    }
}

impl<T: Send + 'static> Committer<T> {
    /// Keeps that an endpoint has come further, if that makes sense.
    pub(super) fn note(
        &mut self,
        endpoint: &EndpointId,
        change: EndpointChange,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        match change {
            EndpointChange::Dropped { letters } => {
                let is_there = |place: &Position| self.ledger.letters.has(endpoint, *place);
                let letters = letters.into_iter().filter(is_there).collect();
                self.drop_letters(endpoint, letters, draft)
            }
            change if !self.ledger.endpoints.judge(endpoint, &change, draft.next) => Ok(()),
            EndpointChange::Kept(letter) => {
                let gone = self.ledger.letters.in_the_way(endpoint, &letter);
                self.metrics.drop_letters(Drop::Full, gone.len() as u64);
                self.drop_letters(endpoint, gone, draft)?;
                self.put_endpoint(endpoint, EndpointChange::Kept(letter), draft)
            }
            change => self.put_endpoint(endpoint, change, draft),
        }
    }

    /// Drops some of the letters that have been kept for long enough.
    pub(super) fn drop_old_letters(&mut self, draft: &mut Draft<T>) -> Result<(), DatabaseError> {
        if !self.are_letters_overdue(draft.at_ms) {
            return Ok(());
        }
        if let Some((endpoint, letters)) = self.ledger.letters.overdue(draft.at_ms) {
            self.metrics.drop_letters(Drop::Age, letters.len() as u64);
            self.drop_letters(&endpoint, letters, draft)?;
        }
        Ok(())
    }

    /// Whether some letters have been kept for long enough.
    pub(super) fn are_letters_overdue(&mut self, now_ms: i64) -> bool {
        self.ledger.letters.are_overdue(now_ms) && self.log.believes(now_ms)
    }

    fn drop_letters(
        &mut self,
        endpoint: &EndpointId,
        letters: Vec<Position>,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        for letters in letters.chunks(LETTERS_DROPPED_MAX) {
            let dropped = EndpointChange::Dropped { letters: letters.to_vec() };
            self.put_endpoint(endpoint, dropped, draft)?;
        }
        Ok(())
    }

    fn put_endpoint(
        &mut self,
        endpoint: &EndpointId,
        change: EndpointChange,
        draft: &mut Draft<T>,
    ) -> Result<(), DatabaseError> {
        let entry = Entry::Endpoint { endpoint: endpoint.clone(), change };
        if entry.bytes_max() > RECORD_BYTES_MAX {
            tracing::error!(%endpoint, "what a webhook endpoint wants kept is too long");
            return Ok(());
        }
        if let Entry::Endpoint { change, .. } = &entry {
            self.ledger.endpoint(endpoint, change, draft.next);
        }
        self.push(&entry, draft)
    }
}
