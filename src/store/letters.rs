//! Dead letters: the events that webhook endpoints have not got.
//!
//! # Invariants
//!
//! * Each entry is applied, whatever the state shows of later ones: the last entry about a letter
//!   decides.
//! * A letter that the state has is not held in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::id::EndpointId;
use crate::limits::{LETTERS_AGE, LETTERS_BYTES_MAX, LETTERS_DROPPED_MAX, LETTERS_MAX};
use crate::store::database::DatabaseError;
use crate::store::journal::{EndpointChange, Letter, Position};
use crate::store::queue::LetterPage;
use crate::store::state::{Changes, State};

/// What is known of a letter without reading it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Slot {
    /// When its event was given up.
    pub(super) at_ms: i64,
    pub(super) bytes: u32,
    /// The letter, until the state has it.
    pub(super) letter: Option<Arc<Letter>>,
}

/// The letters of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Letters {
    of: BTreeMap<EndpointId, Kept>,
    /// Not in the state yet, or no longer.
    dirty: VecDeque<(EndpointId, Position)>,
    /// Bytes of letters in memory.
    memory: usize,
}

/// The letters of one endpoint.
#[derive(Debug, Default)]
struct Kept {
    slots: BTreeMap<Position, Slot>,
    /// The oldest first.
    by_age: BTreeSet<(i64, Position)>,
    bytes: u64,
}

impl Kept {
    fn insert(&mut self, position: Position, slot: Slot) -> Option<Slot> {
        self.by_age.insert((slot.at_ms, position));
        self.bytes += u64::from(slot.bytes);
        let before = self.slots.insert(position, slot);
        if let Some(before) = &before {
            self.forget(position, before);
        }
        before
    }

    /// Those that have been kept for long enough, the oldest first.
    fn old(&self, now_ms: i64) -> impl Iterator<Item = Position> {
        let until_ms = now_ms.saturating_sub(LETTERS_AGE.as_millis() as i64);
        let old = self.by_age.iter().take_while(move |(at_ms, _)| *at_ms <= until_ms);
        old.map(|(_, position)| *position)
    }

    fn remove(&mut self, position: Position) -> Option<Slot> {
        let slot = self.slots.remove(&position)?;
        self.forget(position, &slot);
        Some(slot)
    }

    fn forget(&mut self, position: Position, slot: &Slot) {
        self.bytes = self.bytes.saturating_sub(u64::from(slot.bytes));
        let is_as_old = self.slots.get(&position).is_some_and(|now| now.at_ms == slot.at_ms);
        if !is_as_old {
            self.by_age.remove(&(slot.at_ms, position));
        }
    }
}

impl Letters {
    /// Those of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        let mut letters = Self::default();
        for (endpoint, position, slot) in state.slots()? {
            letters.of.entry(endpoint).or_default().insert(position, slot);
        }
        Ok(letters)
    }

    /// How many letters an endpoint has, and how many bytes.
    pub(super) fn count(&self, endpoint: &EndpointId) -> (usize, u64) {
        self.of.get(endpoint).map_or((0, 0), |kept| (kept.slots.len(), kept.bytes))
    }

    pub(super) fn has(&self, endpoint: &EndpointId, position: Position) -> bool {
        self.of.get(endpoint).is_some_and(|kept| kept.slots.contains_key(&position))
    }

    /// Bytes of letters in memory.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The oldest letters, which have to go for another one.
    pub(super) fn in_the_way(&self, endpoint: &EndpointId, letter: &Letter) -> Vec<Position> {
        let Some(kept) = self.of.get(endpoint) else { return Vec::new() };
        let replaced = kept.slots.get(&letter.position).map(|slot| u64::from(slot.bytes));
        let mut count = kept.slots.len() + 1 - usize::from(replaced.is_some());
        let mut bytes = kept.bytes + letter.bytes() as u64 - replaced.unwrap_or(0);
        let mut gone = Vec::new();
        for (_, position) in &kept.by_age {
            if count <= LETTERS_MAX && bytes <= LETTERS_BYTES_MAX {
                break;
            }
            if *position != letter.position {
                count -= 1;
                bytes -= kept.slots.get(position).map_or(0, |slot| u64::from(slot.bytes));
                gone.push(*position);
            }
        }
        gone
    }

    /// Whether some letters have been kept for long enough.
    pub(super) fn are_overdue(&self, now_ms: i64) -> bool {
        self.of.values().any(|kept| kept.old(now_ms).next().is_some())
    }

    /// An endpoint some of whose letters have been kept for long enough, and some of these.
    pub(super) fn overdue(&self, now_ms: i64) -> Option<(EndpointId, Vec<Position>)> {
        self.of.iter().find_map(|(endpoint, kept)| {
            let old: Vec<Position> = kept.old(now_ms).take(LETTERS_DROPPED_MAX).collect();
            (!old.is_empty()).then(|| (endpoint.clone(), old))
        })
    }

    /// Up to `max` letters behind a place, each with the letter if it is in memory, and whether
    /// there are more.
    pub(super) fn page(
        &self,
        endpoint: &EndpointId,
        after: Option<Position>,
        max: usize,
    ) -> LetterPage {
        let Some(kept) = self.of.get(endpoint) else { return Default::default() };
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut slots = kept.slots.range((after, Bound::Unbounded));
        let page = slots.by_ref().take(max);
        let page = page.map(|(position, slot)| (*position, slot.letter.clone())).collect();
        (page, slots.next().is_some())
    }

    /// What an entry means for the letters of an endpoint that has begun, or has not.
    pub(super) fn change(&mut self, endpoint: &EndpointId, begun: bool, change: &EndpointChange) {
        match change {
            EndpointChange::Kept(letter) if begun => self.keep(endpoint, letter),
            EndpointChange::Dropped { letters } => {
                letters.iter().for_each(|position| self.remove(endpoint, *position));
            }
            EndpointChange::Removed => {
                let kept = self.of.get(endpoint).into_iter().flat_map(|kept| kept.slots.keys());
                let all: Vec<Position> = kept.copied().collect();
                all.into_iter().for_each(|position| self.remove(endpoint, position));
                self.of.remove(endpoint);
            }
            _ => {}
        }
    }

    fn keep(&mut self, endpoint: &EndpointId, letter: &Letter) {
        let (position, at_ms, bytes) = (letter.position, letter.at_ms, letter.bytes());
        let slot = Slot { at_ms, bytes: bytes as u32, letter: Some(Arc::new(letter.clone())) };
        let before = self.of.entry(endpoint.clone()).or_default().insert(position, slot);
        self.memory += bytes;
        self.forget(before);
        self.dirty.push_back((endpoint.clone(), position));
    }

    fn remove(&mut self, endpoint: &EndpointId, position: Position) {
        let removed = self.of.get_mut(endpoint).and_then(|kept| kept.remove(position));
        if removed.is_some() {
            self.forget(removed);
            self.dirty.push_back((endpoint.clone(), position));
        }
    }

    fn forget(&mut self, slot: Option<Slot>) {
        if let Some(Slot { bytes, letter: Some(_), .. }) = slot {
            self.memory = self.memory.saturating_sub(bytes as usize);
        }
    }

    /// Puts some of what has changed into `changes`, up to `max` letters and `bytes_max` bytes of
    /// them and one at the least; says whether there was anything.
    pub(super) fn flush_some(
        &mut self,
        max: usize,
        bytes_max: usize,
        changes: &mut Changes,
    ) -> bool {
        let mut bytes = 0;
        for done in 0..max {
            let Some((endpoint, position)) = self.dirty.pop_front() else { return done > 0 };
            let slots = self.of.get_mut(&endpoint).map(|kept| &mut kept.slots);
            match slots.and_then(|slots| slots.get_mut(&position)) {
                Some(slot) => {
                    // `None` if it was written before.
                    if let Some(letter) = slot.letter.take() {
                        changes.letter(&endpoint, position, Some((slot, &letter)));
                        bytes += slot.bytes as usize;
                        self.memory = self.memory.saturating_sub(slot.bytes as usize);
                    }
                }
                None => changes.letter(&endpoint, position, None),
            }
            if bytes >= bytes_max {
                break;
            }
        }
        max > 0
    }
}
