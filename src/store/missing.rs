//! Those who were online when the server stopped and have not come back since the start.
//!
//! # Invariants
//!
//! * The look begins when clients have had time to come back, and every peer of before the start is
//!   in the state. It goes through all stored peers once in a run.
//! * Whom it finds may have come back: only the ledger knows that.

use crate::id::PeerId;
use crate::store::database::DatabaseError;
use crate::store::ledger::Ledger;
use crate::store::peer::Peer;

/// Peers that one step looks at.
const STEP_PEERS: usize = 32;
/// Peers that one commit tells of: each may have to be read from the state.
const TOLD_MAX: usize = 32;

/// A look for them, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// How long after the start it begins, in milliseconds.
    grace_ms: i64,
    /// Where it goes on; `None` when it is through.
    from: Option<Vec<u8>>,
    /// Found, and not told of.
    found: Vec<PeerId>,
}

impl Missing {
    /// A look that is yet to begin; a default one never does.
    pub(super) fn new(grace_ms: i64) -> Self {
        Self { grace_ms, from: Some(Vec::new()), found: Vec::new() }
    }

    /// Looks at a few peers more; says whether there were any.
    pub(super) fn step(&mut self, ledger: &Ledger, now_ms: i64) -> Result<bool, DatabaseError> {
        // A clock that stepped back must not keep it from beginning.
        let since_ms = now_ms.saturating_sub(ledger.checkpoint.started_ms);
        if (0..self.grace_ms).contains(&since_ms) || !self.found.is_empty() {
            return Ok(false);
        }
        let Some(from) = self.from.take() else { return Ok(false) };
        let maybe = |peer: &Peer| peer.is_maybe_missing().then_some(());
        let (peers, next) = ledger.state.peers_from(&from, STEP_PEERS, maybe)?;
        self.found.extend(peers.into_iter().map(|(id, ())| id));
        self.from = next;
        Ok(true)
    }

    /// Whether some have been found.
    pub(super) fn is_any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Takes some of those found.
    pub(super) fn take_some(&mut self) -> Vec<PeerId> {
        self.found.split_off(self.found.len().saturating_sub(TOLD_MAX))
    }
}
