//! The messages that wait for the app's back end.
//!
//! # Invariants
//!
//! * A message waits from its entry until the one that says what has become of it.
//! * A message that the state has is not held in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use crate::chain::Chain;
use crate::id::MessageId;
use crate::limits::{UPSTREAM_AGE, UPSTREAM_WAITING_MAX};
use crate::store::database::DatabaseError;
use crate::store::entry::Upstream;
use crate::store::state::{Changes, State};

/// The messages that wait.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    waiting: BTreeMap<MessageId, Slot>,
    /// Not in the state yet, or no longer.
    dirty: Vec<MessageId>,
}

#[derive(Debug)]
struct Slot {
    at_ms: i64,
    /// The message, until the state has it.
    message: Option<Arc<Upstream>>,
}

impl Upstreams {
    /// The messages that wait by a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        let waiting = state.upstreams()?.into_iter();
        let slot = |(id, at_ms)| (id, Slot { at_ms, message: None });
        Ok(Self { waiting: waiting.map(slot).collect(), dirty: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= UPSTREAM_WAITING_MAX
    }

    /// A message that waits.
    pub(super) fn find(
        &self,
        state: &State,
        id: MessageId,
    ) -> Result<Option<Arc<Upstream>>, DatabaseError> {
        match self.waiting.get(&id) {
            Some(Slot { message: Some(message), .. }) => Ok(Some(message.clone())),
            Some(_) => stored(state, id),
            None => Ok(None),
        }
    }

    /// Up to `max` messages with ids above `after` and up to `head`, and whether there are more.
    pub(super) fn page(
        &self,
        state: &State,
        (after, head): (MessageId, MessageId),
        max: usize,
    ) -> Result<(Vec<Upstream>, bool), DatabaseError> {
        if after >= head {
            return Ok((Vec::new(), false));
        }
        let range = (Bound::Excluded(after), Bound::Included(head));
        let mut ids = self.waiting.range(range).map(|(id, _)| *id);
        let mut page = Vec::new();
        for id in ids.by_ref().take(max) {
            page.extend(self.find(state, id)?.map(|message| (*message).clone()));
        }
        Ok((page, ids.next().is_some()))
    }

    /// The oldest message, if it has waited for too long.
    pub(super) fn overdue(&self, now_ms: i64) -> Option<MessageId> {
        let (id, oldest) = self.waiting.first_key_value()?;
        let age_ms = UPSTREAM_AGE.as_millis() as i64;
        (now_ms.saturating_sub(oldest.at_ms) >= age_ms).then_some(*id)
    }

    /// A message has come.
    pub(super) fn insert(&mut self, message: Upstream) {
        let (id, at_ms) = (message.id, message.at_ms);
        // A replay may bring what the state has.
        if let Entry::Vacant(vacant) = self.waiting.entry(id) {
            vacant.insert(Slot { at_ms, message: Some(message.into()) });
            self.dirty.push(id);
        }
    }

    /// A message waits no more.
    pub(super) fn remove(&mut self, id: MessageId) {
        if self.waiting.remove(&id).is_some() {
            self.dirty.push(id);
        }
    }

    /// Messages that came or went since the state was told.
    pub(super) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Puts up to `max` of what has changed into `changes`; says whether there was anything.
    pub(super) fn flush_some(&mut self, max: usize, changes: &mut Changes) -> bool {
        let kept = self.dirty.len().saturating_sub(max);
        let mut has_changed = false;
        for id in self.dirty.drain(kept..) {
            has_changed = true;
            match self.waiting.get_mut(&id).map(|slot| slot.message.take()) {
                Some(Some(message)) => changes.upstream(id, Some(&message)),
                // Written before.
                Some(None) => {}
                None => changes.upstream(id, None),
            }
        }
        has_changed
    }
}

/// A message as the state has it. What is damaged is as good as gone.
fn stored(state: &State, id: MessageId) -> Result<Option<Arc<Upstream>>, DatabaseError> {
    match state.upstream(id) {
        Err(error @ DatabaseError::Value { .. }) => {
            tracing::error!(%id, error = %Chain(&error), "a message to the back end is lost");
            Ok(None)
        }
        found => Ok(found?.map(Arc::new)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeviceId, PeerId};

    fn message(id: i64) -> Upstream {
        let from = PeerId::new("ann").unwrap();
        let device = DeviceId::new("phone").unwrap();
        Upstream { id: MessageId(id), at_ms: id, from, device, body: "help".into() }
    }

    #[test]
    fn one_message_too_many_is_one_over_the_bound() {
        let mut upstreams = Upstreams::default();
        (1..UPSTREAM_WAITING_MAX as i64).for_each(|id| upstreams.insert(message(id)));
        assert!(!upstreams.is_full());
        upstreams.insert(message(UPSTREAM_WAITING_MAX as i64));
        assert!(upstreams.is_full());
        upstreams.remove(MessageId(7));
        assert!(!upstreams.is_full());
    }

    #[test]
    fn the_oldest_is_overdue_when_its_time_is_over() {
        let (mut upstreams, age_ms) = (Upstreams::default(), UPSTREAM_AGE.as_millis() as i64);
        upstreams.insert(message(5));
        upstreams.insert(message(9));
        assert_eq!(upstreams.overdue(4 + age_ms), None);
        assert_eq!(upstreams.overdue(5 + age_ms), Some(MessageId(5)));
        upstreams.remove(MessageId(5));
        assert_eq!(upstreams.overdue(5 + age_ms), None);
    }

    #[test]
    fn a_page_ends_at_what_is_durable_and_reads_what_the_state_has() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).unwrap().state;
        let mut upstreams = Upstreams::default();
        (1..=4).for_each(|id| upstreams.insert(message(id)));
        let mut changes = Changes::default();
        assert!(upstreams.flush_some(2, &mut changes));
        changes.apply(&state).unwrap();
        let page = |after, head, max| {
            let range = (MessageId(after), MessageId(head));
            upstreams.page(&state, range, max).unwrap()
        };
        assert_eq!(page(0, 4, 9), ((1..=4).map(message).collect(), false));
        assert_eq!(page(1, 3, 9), (vec![message(2), message(3)], false));
        assert_eq!(page(0, 4, 3), ((1..=3).map(message).collect(), true));
        assert_eq!(page(4, 4, 3), (vec![], false));
        let again = Upstreams::open(&state).unwrap();
        assert_eq!(again.page(&state, (MessageId(0), MessageId(4)), 9).unwrap().0.len(), 2);
    }
}
