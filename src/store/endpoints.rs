//! How far each webhook endpoint has come.
//!
//! # Invariants
//!
//! * It changes only by applying entries in log order; what an endpoint's stored form shows
//!   already is not applied to it again.
//! * An endpoint goes through its lanes in log order: a lane never goes back but by `Began`.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{EndpointId, MessageId};
use crate::limits::{ENDPOINT_BATCHES_BYTES_MAX, ENDPOINT_LANES, ENDPOINTS_MAX};
use crate::store::database::DatabaseError;
use crate::store::journal::{Batch, EndpointChange, Position, behind};
use crate::store::state::{Changes, State};

/// How far an endpoint has come, but for its letters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Endpoint {
    /// The last entry that has changed it.
    pub(super) applied: MessageId,
    pub(super) lanes: [Position; ENDPOINT_LANES],
    /// By rising number.
    pub(super) batches: Vec<Batch>,
    pub(super) next_number: u64,
    pub(super) halted: Option<String>,
}

/// All endpoints.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: BTreeMap<EndpointId, Endpoint>,
    /// Those that the state does not know as they are, or knows although they are no more.
    dirty: BTreeSet<EndpointId>,
}

impl Endpoint {
    /// One that begins behind an entry.
    pub(super) fn new(after: MessageId) -> Self {
        Self {
            applied: MessageId::NONE,
            lanes: [Position::end_of(after); ENDPOINT_LANES],
            batches: Vec::new(),
            next_number: 1,
            halted: None,
        }
    }

    /// Whether a batch that is to be formed makes sense.
    fn can_form(&self, batch: &Batch, number: u64) -> bool {
        let lanes = batch.spans.iter().map(|span| span.lane);
        batch.number >= number
            && !batch.spans.is_empty()
            && lanes.is_sorted_by(|lane, next| lane < next)
            && batch.spans.iter().all(|span| {
                let lane = self.lanes.get(usize::from(span.lane));
                span.from < span.to && lane.is_some_and(|lane| *lane < span.to)
            })
    }

    /// Whether so many batches can be on their way at once.
    fn has_room<'a>(&'a self, more: impl Iterator<Item = &'a Batch>) -> bool {
        let bytes: usize = self.batches.iter().chain(more).map(Batch::bytes_max).sum();
        bytes <= ENDPOINT_BATCHES_BYTES_MAX
    }

    fn can_split(&self, number: u64, parts: &[Batch]) -> bool {
        let mut next_number = self.next_number;
        let make_sense = parts.iter().all(|part| {
            let makes_sense = self.can_form(part, next_number);
            next_number = part.number.saturating_add(1);
            makes_sense
        });
        self.has(number) && !parts.is_empty() && make_sense && self.has_room(parts.iter())
    }

    fn has(&self, number: u64) -> bool {
        self.batches.iter().any(|batch| batch.number == number)
    }

    /// The lanes that nothing is on its way of.
    fn free_lanes(&self) -> impl Iterator<Item = usize> + use<> {
        let mut is_free = [true; ENDPOINT_LANES];
        for span in self.batches.iter().flat_map(|batch| &batch.spans) {
            is_free[usize::from(span.lane) % ENDPOINT_LANES] = false;
        }
        (0..ENDPOINT_LANES).filter(move |lane| is_free[*lane])
    }

    fn apply(&mut self, change: &EndpointChange) {
        match change {
            EndpointChange::Began { after } => {
                self.lanes = [Position::end_of(*after); ENDPOINT_LANES];
                self.batches.clear();
            }
            EndpointChange::Formed(batch) => self.form(batch),
            EndpointChange::Done { number } => self.done(*number),
            EndpointChange::Split { number, parts } => {
                self.batches.retain(|batch| batch.number != *number);
                parts.iter().for_each(|part| self.form(part));
            }
            EndpointChange::Passed { through } => {
                let through = Position::end_of(*through);
                for lane in self.free_lanes() {
                    self.lanes[lane] = self.lanes[lane].max(through);
                }
            }
            EndpointChange::Halted { why } => self.halted = why.clone(),
            EndpointChange::Kept(_) | EndpointChange::Dropped { .. } | EndpointChange::Removed => {}
        }
    }

    fn form(&mut self, batch: &Batch) {
        self.next_number = batch.number.saturating_add(1);
        self.batches.push(batch.clone());
    }

    fn done(&mut self, number: u64) {
        let done = self.batches.extract_if(.., |batch| batch.number == number);
        for span in done.flat_map(|batch| batch.spans) {
            if let Some(lane) = self.lanes.get_mut(usize::from(span.lane)) {
                *lane = span.to.max(*lane);
            }
        }
    }
}

impl Endpoints {
    /// Those of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        Ok(Self { known: state.endpoints()?, dirty: BTreeSet::new() })
    }

    pub(super) fn ids(&self) -> Vec<EndpointId> {
        self.known.keys().cloned().collect()
    }

    pub(super) fn get(&self, id: &EndpointId) -> Option<&Endpoint> {
        self.known.get(id)
    }

    /// The last entry that no endpoint needs any more; `None` if there are none.
    pub(super) fn behind(&self) -> Option<MessageId> {
        self.known.values().map(|endpoint| behind(&endpoint.lanes, &endpoint.batches)).min()
    }

    /// Whether a change, which would be the entry `id`, makes sense and changes something.
    /// Letters are not looked at.
    pub(super) fn judge(
        &self,
        endpoint: &EndpointId,
        change: &EndpointChange,
        id: MessageId,
    ) -> bool {
        let known = self.known.get(endpoint);
        if let EndpointChange::Began { after } = change {
            return *after < id && (known.is_some() || self.known.len() < ENDPOINTS_MAX);
        }
        let Some(known) = known else { return false };
        match change {
            EndpointChange::Formed(batch) => {
                known.can_form(batch, known.next_number) && known.has_room([batch].into_iter())
            }
            EndpointChange::Done { number } => known.has(*number),
            EndpointChange::Split { number, parts } => known.can_split(*number, parts),
            EndpointChange::Passed { through } => {
                let end = Position::end_of(*through);
                *through < id && known.free_lanes().any(|lane| known.lanes[lane] < end)
            }
            EndpointChange::Halted { why } => known.halted != *why,
            EndpointChange::Began { .. }
            | EndpointChange::Kept(_)
            | EndpointChange::Dropped { .. }
            | EndpointChange::Removed => true,
        }
    }

    /// An endpoint has come further, by the entry `id`.
    pub(super) fn change(&mut self, endpoint: &EndpointId, change: &EndpointChange, id: MessageId) {
        if self.known.get(endpoint).is_some_and(|known| id <= known.applied) {
            return;
        }
        match change {
            EndpointChange::Removed => drop(self.known.remove(endpoint)),
            EndpointChange::Began { after } => {
                let known = self.known.entry(endpoint.clone());
                let known = known.or_insert_with(|| Endpoint::new(*after));
                known.apply(change);
                known.applied = id;
            }
            change => {
                let Some(known) = self.known.get_mut(endpoint) else { return };
                known.apply(change);
                known.applied = id;
            }
        }
        self.dirty.insert(endpoint.clone());
    }

    /// Puts up to `max` of those that have changed into `changes`; says whether there were any.
    pub(super) fn flush_some(&mut self, max: usize, changes: &mut Changes) -> bool {
        for done in 0..max {
            let Some(id) = self.dirty.pop_first() else { return done > 0 };
            changes.endpoint(&id, self.known.get(&id));
        }
        max > 0
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
