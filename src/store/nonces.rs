//! The nonces of signatures: each peer uses one once, and a restart forgets none.
//!
//! # Invariants
//!
//! * A nonce is remembered until its signature is too old anyway.
//! * At most [`NONCES_MAX`] are remembered; then signatures are refused, not nonces forgotten.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;
use md5::{Digest, Md5};

use crate::id::PeerId;
use crate::limits::NONCES_MAX;
use crate::reason::Reason;
use crate::store::database::DatabaseError;
use crate::store::state::{Changes, State};

/// A peer's nonce, as it is remembered.
pub(super) type NonceKey = [u8; 16];

/// The nonces in use.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// When each is forgotten.
    used: HashMap<NonceKey, i64, RandomState>,
    by_time: BTreeSet<(i64, NonceKey)>,
    /// Not in the state yet.
    fresh: Vec<NonceKey>,
    /// Forgotten, but maybe in the state.
    forgotten: Vec<NonceKey>,
}

impl Nonces {
    /// The nonces of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        let mut nonces = Self::default();
        for (key, expires_ms) in state.nonces()? {
            nonces.used.insert(key, expires_ms);
            nonces.by_time.insert((expires_ms, key));
        }
        Ok(nonces)
    }

    /// Whether a nonce may be used.
    pub(super) fn judge(&mut self, peer: &PeerId, nonce: &[u8], now_ms: i64) -> Result<(), Reason> {
        while self.by_time.first().is_some_and(|(expires_ms, _)| *expires_ms < now_ms) {
            if let Some((_, key)) = self.by_time.pop_first() {
                self.used.remove(&key);
                self.forgotten.push(key);
            }
        }
        if self.used.contains_key(&key(peer, nonce)) {
            return Err(Reason::NonceUsed);
        }
        if self.used.len() >= NONCES_MAX { Err(Reason::TooManyNonces) } else { Ok(()) }
    }

    /// A nonce has been used.
    pub(super) fn note(&mut self, peer: &PeerId, nonce: &[u8], expires_ms: i64) {
        let key = key(peer, nonce);
        let before_ms = self.used.insert(key, expires_ms);
        if before_ms == Some(expires_ms) {
            return;
        }
        if let Some(before_ms) = before_ms {
            self.by_time.remove(&(before_ms, key));
        }
        self.by_time.insert((expires_ms, key));
        self.fresh.push(key);
    }

    /// Puts up to `max` of what has changed into `changes`; says whether there was anything.
    pub(super) fn flush_some(&mut self, max: usize, changes: &mut Changes) -> bool {
        let before = changes.count;
        while changes.count - before < max {
            let Some(key) = self.fresh.pop() else { break };
            if let Some(expires_ms) = self.used.get(&key) {
                changes.nonce(&key, *expires_ms);
            }
        }
        while changes.count - before < max {
            let Some(key) = self.forgotten.pop() else { break };
            // It may have been used again since.
            if !self.used.contains_key(&key) {
                changes.remove_nonce(&key);
            }
        }
        changes.count > before
    }
}

fn key(peer: &PeerId, nonce: &[u8]) -> NonceKey {
    let mut digest = Md5::new();
    digest.update(peer.as_str());
    // No id holds a colon.
    digest.update(b":");
    digest.update(nonce);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_used_once_by_a_peer_until_its_signature_is_too_old() {
        let (ann, bob) = (PeerId::new("ann").unwrap(), PeerId::new("bob").unwrap());
        let mut nonces = Nonces::default();
        assert_eq!(nonces.judge(&ann, b"1", 0), Ok(()));
        nonces.note(&ann, b"1", 100);
        assert_eq!(nonces.judge(&ann, b"1", 100), Err(Reason::NonceUsed));
        assert_eq!(nonces.judge(&bob, b"1", 100), Ok(()));
        assert_eq!(nonces.judge(&ann, b"1", 101), Ok(()));
    }

    #[test]
    fn one_nonce_too_many_is_refused_and_none_is_forgotten() {
        let ann = PeerId::new("ann").unwrap();
        let mut nonces = Nonces::default();
        (0..NONCES_MAX).for_each(|nonce| nonces.note(&ann, nonce.to_string().as_bytes(), 100));
        assert_eq!(nonces.judge(&ann, b"one more", 1), Err(Reason::TooManyNonces));
        assert_eq!(nonces.judge(&ann, b"0", 1), Err(Reason::NonceUsed));
        assert_eq!(nonces.judge(&ann, b"one more", 101), Ok(()));
    }
}
