//! The keys by which the app's back end has its requests recognised when they come again.
//!
//! # Invariants
//!
//! * A key is given to one message only. Asked again, it answers with that message; asked with
//!   another content, it refuses.
//! * A key is remembered for [`IDEMPOTENCY_AGE`], unless [`IDEMPOTENCY_KEYS_MAX`] came after it.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::id::MessageId;
use crate::limits::{IDEMPOTENCY_AGE, IDEMPOTENCY_KEYS_MAX};
use crate::reason::Reason;
use crate::store::database::DatabaseError;
use crate::store::entry::IdempotencyKey;
use crate::store::sender::{Stored, Verdict};
use crate::store::state::{Changes, State};

/// The keys that are remembered.
#[derive(Debug, Default)]
pub(super) struct Keys {
    used: HashMap<IdempotencyKey, Stored, RandomState>,
    /// By their messages, the oldest first.
    by_age: BTreeMap<MessageId, IdempotencyKey>,
    /// Not in the state yet.
    fresh: Vec<IdempotencyKey>,
    /// Forgotten, but maybe in the state.
    forgotten: Vec<IdempotencyKey>,
}

impl Keys {
    /// The keys of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        let mut keys = Self::default();
        for (key, stored) in state.keys()? {
            keys.used.insert(key, stored);
            keys.by_age.insert(stored.id, key);
        }
        Ok(keys)
    }

    /// Whether a request with a key is new.
    pub(super) fn judge(&mut self, key: &IdempotencyKey, hash: u32, now_ms: i64) -> Verdict {
        let age_ms = IDEMPOTENCY_AGE.as_millis() as i64;
        while self.oldest().is_some_and(|oldest| now_ms - oldest.at_ms >= age_ms) {
            self.forget_oldest();
        }
        match self.used.get(key) {
            Some(stored) if stored.hash == hash => Verdict::Repeat(*stored),
            Some(_) => Verdict::Refused(Reason::NumberReused),
            None => Verdict::New,
        }
    }

    /// A message has been stored for a key.
    pub(super) fn note(&mut self, key: &IdempotencyKey, stored: Stored) {
        if let Some(before) = self.used.get(key).map(|before| before.id) {
            // A replay may find that it was used again since.
            if stored.id <= before {
                return;
            }
            self.by_age.remove(&before);
        }
        self.used.insert(*key, stored);
        self.by_age.insert(stored.id, *key);
        self.fresh.push(*key);
        while self.used.len() > IDEMPOTENCY_KEYS_MAX {
            self.forget_oldest();
        }
    }

    fn oldest(&self) -> Option<&Stored> {
        self.by_age.first_key_value().and_then(|(_, key)| self.used.get(key))
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.by_age.pop_first() {
            self.used.remove(&key);
            self.forgotten.push(key);
        }
    }

    /// Puts up to `max` of what has changed into `changes`; says whether there was anything.
    pub(super) fn flush_some(&mut self, max: usize, changes: &mut Changes) -> bool {
        let mut left = max;
        while left > 0 {
            let Some(key) = self.fresh.pop().or_else(|| self.forgotten.pop()) else { break };
            changes.key(&key, self.used.get(&key));
            left -= 1;
        }
        left < max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> IdempotencyKey {
        (number as u128).to_be_bytes()
    }

    fn stored(id: i64, at_ms: i64) -> Stored {
        Stored { number: 0, id: MessageId(id), sequence: 1, at_ms, hash: 7 }
    }

    #[test]
    fn a_key_answers_for_a_day_and_refuses_another_content() {
        let (mut keys, day_ms) = (Keys::default(), IDEMPOTENCY_AGE.as_millis() as i64);
        assert_eq!(keys.judge(&key(1), 7, 0), Verdict::New);
        keys.note(&key(1), stored(1, 0));
        assert_eq!(keys.judge(&key(1), 7, day_ms - 1), Verdict::Repeat(stored(1, 0)));
        assert_eq!(keys.judge(&key(1), 8, 0), Verdict::Refused(Reason::NumberReused));
        assert_eq!(keys.judge(&key(1), 8, day_ms), Verdict::New);
        keys.note(&key(1), stored(2, day_ms));
        keys.note(&key(1), stored(1, 0));
        assert_eq!(keys.judge(&key(1), 7, day_ms), Verdict::Repeat(stored(2, day_ms)));
    }

    #[test]
    fn one_key_too_many_has_the_oldest_forgotten() {
        let mut keys = Keys::default();
        (0..=IDEMPOTENCY_KEYS_MAX)
            .for_each(|number| keys.note(&key(number), stored(number as i64, 0)));
        assert_eq!(keys.used.len(), IDEMPOTENCY_KEYS_MAX);
        assert_eq!(keys.judge(&key(0), 7, 0), Verdict::New);
        assert_eq!(keys.judge(&key(1), 7, 0), Verdict::Repeat(stored(1, 0)));
    }
}
