//! Who is connected: from a peer to its sessions.
//!
//! # Invariants
//!
//! * A look-up takes no lock and never waits, whatever opens and closes meanwhile.
//! * A session is removed by its identity, so that the end of an older one never removes the one
//!   that replaced it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use papaya::{Compute, HashMap, Operation};

use crate::hub::session::Session;
use crate::id::PeerId;

type Shard = HashMap<PeerId, Arc<[Arc<Session>]>, RandomState>;

/// The sessions of all peers, in shards by a hash of the peer's id.
#[derive(Debug)]
pub struct Router {
    shards: Box<[Shard]>,
    hasher: RandomState,
}

impl Router {
    /// A router with this many shards, rounded up to a power of two.
    pub fn new(shards: usize) -> Self {
        let hasher = RandomState::default();
        let shard = || HashMap::builder().hasher(hasher.clone()).build();
        let shards = (0..shards.max(1).next_power_of_two()).map(|_| shard()).collect();
        Self { shards, hasher }
    }

    fn shard(&self, peer: &PeerId) -> &Shard {
        let hash = self.hasher.hash_one(peer) as usize;
        &self.shards[hash >> 32 & (self.shards.len() - 1)]
    }

    /// Calls `visit` with each session of a peer.
    pub fn visit(&self, peer: &PeerId, mut visit: impl FnMut(&Arc<Session>)) {
        let shard = self.shard(peer).pin();
        if let Some(sessions) = shard.get(peer) {
            sessions.iter().for_each(&mut visit);
        }
    }

    /// Whether a peer has a session.
    pub fn has(&self, peer: &PeerId) -> bool {
        self.shard(peer).pin().contains_key(peer)
    }

    /// Calls `visit` with every session.
    pub fn visit_all(&self, mut visit: impl FnMut(&Arc<Session>)) {
        for shard in &self.shards {
            for sessions in shard.pin().values() {
                sessions.iter().for_each(&mut visit);
            }
        }
    }

    /// Adds a session.
    pub fn attach(&self, session: &Arc<Session>) {
        let alone = || -> Arc<[Arc<Session>]> { [session.clone()].into() };
        self.shard(session.peer()).pin().update_or_insert_with(
            session.peer().clone(),
            |sessions| sessions.iter().chain([session]).cloned().collect(),
            alone,
        );
    }

    /// Removes a session; says whether it was there.
    pub fn detach(&self, session: &Arc<Session>) -> bool {
        let shard = self.shard(session.peer()).pin();
        let change = |entry: Option<(&PeerId, &Arc<[Arc<Session>]>)>| {
            let Some((_, sessions)) = entry else { return Operation::Abort(()) };
            let is_other = |other: &&Arc<Session>| !Arc::ptr_eq(other, session);
            let rest: Arc<[_]> = sessions.iter().filter(is_other).cloned().collect();
            match rest.len() {
                0 => Operation::Remove,
                len if len == sessions.len() => Operation::Abort(()),
                _ => Operation::Insert(rest),
            }
        };
        !matches!(shard.compute(session.peer().clone(), change), Compute::Aborted(()))
    }
}
