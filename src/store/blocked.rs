//! The peers that the app's back end has blocked, shared with those who ask.
//!
//! # Invariants
//!
//! * A peer is blocked from the entry that says so until the one that takes it back.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::id::PeerId;
use crate::limits::BLOCKED_MAX;
use crate::reason::Reason;
use crate::store::database::DatabaseError;
use crate::store::state::{Changes, State};

/// The blocked peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocked(Arc<RwLock<BTreeSet<PeerId>>>);

impl Blocked {
    /// Those of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        Ok(Self(Arc::new(RwLock::new(state.blocked()?))))
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.0.read().contains(peer)
    }

    pub(super) fn len(&self) -> usize {
        self.0.read().len()
    }

    /// Up to `max` peers with ids behind `after`, by their ids, and whether there are more.
    pub(super) fn page(&self, after: Option<&PeerId>, max: usize) -> (Vec<PeerId>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let blocked = self.0.read();
        let mut peers = blocked.range::<PeerId, _>((from, Bound::Unbounded));
        let page = peers.by_ref().take(max).cloned().collect();
        (page, peers.next().is_some())
    }

    /// Whether a peer may be blocked, or blocked no more: `false` if that changes nothing.
    pub(super) fn judge(&self, peer: &PeerId, is_blocked: bool) -> Result<bool, Reason> {
        let blocked = self.0.read();
        if blocked.contains(peer) == is_blocked {
            return Ok(false);
        }
        let is_full = is_blocked && blocked.len() >= BLOCKED_MAX;
        if is_full { Err(Reason::TooManyBlocked) } else { Ok(true) }
    }

    /// A peer is blocked, or blocked no more.
    pub(super) fn set(&self, peer: &PeerId, is_blocked: bool) {
        let mut blocked = self.0.write();
        if is_blocked {
            blocked.insert(peer.clone());
        } else {
            blocked.remove(peer);
        }
    }

    /// Writes up to `max` of the peers that have changed; says whether there were any.
    pub(super) fn flush_some(
        &self,
        fresh: &mut Vec<PeerId>,
        max: usize,
        changes: &mut Changes,
    ) -> bool {
        let kept = fresh.len().saturating_sub(max);
        let mut has_changed = false;
        for peer in fresh.drain(kept..) {
            changes.blocked(&peer, self.contains(&peer));
            has_changed = true;
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> PeerId {
        PeerId::new(&format!("{number:07}")).unwrap()
    }

    #[test]
    fn one_peer_too_many_is_not_blocked() {
        let blocked = Blocked::default();
        (0..BLOCKED_MAX).for_each(|number| blocked.set(&peer(number), true));
        assert_eq!(blocked.judge(&peer(BLOCKED_MAX), true), Err(Reason::TooManyBlocked));
        assert_eq!(blocked.judge(&peer(7), true), Ok(false));
        assert_eq!(blocked.judge(&peer(7), false), Ok(true));
        blocked.set(&peer(7), false);
        assert_eq!(blocked.judge(&peer(BLOCKED_MAX), true), Ok(true));
    }

    #[test]
    fn pages_come_in_the_order_of_the_ids() {
        let blocked = Blocked::default();
        [3, 1, 2].iter().for_each(|number| blocked.set(&peer(*number), true));
        assert_eq!(blocked.page(None, 2), (vec![peer(1), peer(2)], true));
        assert_eq!(blocked.page(Some(&peer(2)), 2), (vec![peer(3)], false));
        assert!(!blocked.page(None, 3).1);
        assert_eq!(blocked.page(Some(&peer(3)), 2), (vec![], false));
    }
}
