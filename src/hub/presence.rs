//! Who is online as it is told, and who watches.
//!
//! A peer is online while the router has a session of it, and while it is *expected*: for a short
//! grace after it lost its last session, and for those who were online when the server stopped,
//! for a grace after the start. Changes are told to the watchers every 50 ms.
//!
//! # Invariants
//!
//! * All that happens to a peer happens under the lock of its shard: a session comes and goes, is
//!   registered as a watcher, hears of a change. So a watcher neither misses a change nor hears of
//!   it twice.
//! * Each watcher's row says what that watcher was told last. A peer that is again what was told
//!   is not told.
//! * There are rows only for peers that are watched or expected: no more than all sessions watch,
//!   have lost within the grace, or were before the start.
//!
//! Lock order: the watch list of one session, one shard, one outbox. The lock of a shard is never
//! held while anything is awaited; the router takes no lock.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::hub::outbox::Pushed;
use crate::hub::router::Router;
use crate::hub::session::Session;
use crate::id::PeerId;
use crate::limits::{PRESENCE_COMPANY, WATCHED_MAX};
use crate::reason::Reason;

/// The peers that one session watches.
pub(super) type Watched = HashSet<PeerId, RandomState>;

/// Who is online, and who watches whom.
#[derive(Debug)]
pub(super) struct Presence {
    router: Arc<Router>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    grace: Duration,
    restart_grace: Duration,
    restart_until: OnceLock<Instant>,
}

#[derive(Debug, Default)]
struct Shard {
    rows: HashMap<PeerId, Row, RandomState>,
    /// Peers that may be other than some watcher was told.
    changed: HashSet<PeerId, RandomState>,
    /// Until when peers are expected, as their rows say.
    expected: BTreeSet<(Instant, PeerId)>,
    /// Who has come since the start, while it matters whether they were online before it.
    returned: HashSet<PeerId, RandomState>,
}

/// A peer that is watched or expected.
#[derive(Debug, Default)]
struct Row {
    /// It has no session, but counts as online until then.
    expected: Option<Instant>,
    /// By the address of the session, which the row keeps in place.
    watchers: HashMap<usize, Watcher, RandomState>,
}

#[derive(Debug)]
struct Watcher {
    session: Arc<Session>,
    /// What it was told last.
    told: bool,
}

impl Presence {
    /// Nobody is watched. `grace` is how long a peer is expected that lost its last session;
    /// `restart_grace` how long after the start those are who were online before it.
    pub(super) fn new(router: Arc<Router>, grace: Duration, restart_grace: Duration) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (hasher, restart_until) = (RandomState::default(), OnceLock::new());
        Self { router, shards, hasher, grace, restart_grace, restart_until }
    }

    /// Until when those who were online before the start are expected. The time runs from the
    /// first call: opening the store, which nobody can hurry, may take longer than the grace.
    fn restart_until(&self) -> Instant {
        *self.restart_until.get_or_init(|| Instant::now() + self.restart_grace)
    }

    fn is_restarting(&self) -> bool {
        Instant::now() < self.restart_until()
    }

    /// A session comes: the router has it from now on.
    pub(super) fn attach(&self, session: &Arc<Session>) {
        let peer = session.peer();
        let mut shard = self.lock(peer);
        let was_online = shard.is_online(&self.router, peer);
        self.router.attach(session);
        shard.await_back(peer, None);
        if !was_online {
            shard.note_change(peer);
        }
        if self.is_restarting() {
            shard.returned.insert(peer.clone());
        }
    }

    /// A session goes; says whether the router had it. A peer that `closed` its last session is
    /// off line at once, also if the session went before.
    pub(super) fn detach(&self, session: &Arc<Session>, closed: bool) -> bool {
        let peer = session.peer();
        let mut shard = self.lock(peer);
        let was_attached = self.router.detach(session);
        if self.router.has(peer) {
            return was_attached;
        }
        if closed || self.grace.is_zero() {
            shard.await_back(peer, None);
            shard.note_change(peer);
        } else if was_attached {
            shard.await_back(peer, Some(Instant::now() + self.grace));
        }
        was_attached
    }

    /// Adds to the peers that a session watches; gives those of `peers` that are online.
    /// `were_online` are those of them that were before the start.
    ///
    /// The session is told of no change until [`super::Outbox::release_presence`], which is to
    /// follow when the answer has been pushed.
    ///
    /// # Errors
    ///
    /// [`Reason::TooManyWatched`]; then nobody has been added.
    pub(super) fn watch(
        &self,
        session: &Arc<Session>,
        peers: &[PeerId],
        were_online: &[PeerId],
    ) -> Result<Vec<PeerId>, Reason> {
        let peers: BTreeSet<&PeerId> = peers.iter().collect();
        let mut watched = session.watched().lock();
        let fresh = peers.iter().filter(|peer| !watched.contains(**peer)).count();
        if watched.len() + fresh > WATCHED_MAX {
            return Err(Reason::TooManyWatched);
        }
        watched.extend(peers.iter().map(|peer| (*peer).clone()));
        session.outbox().hold_presence();
        self.expect_back(were_online);
        Ok(peers.into_iter().filter(|peer| self.register(session, peer)).cloned().collect())
    }

    /// Makes a session a watcher of a peer, and says whether that is online.
    fn register(&self, session: &Arc<Session>, peer: &PeerId) -> bool {
        let mut shard = self.lock(peer);
        let told = shard.is_online(&self.router, peer);
        // The answer says it.
        session.outbox().forget_presence(peer);
        let row = shard.rows.entry(peer.clone()).or_default();
        row.watchers.insert(key(session), Watcher { session: session.clone(), told });
        told
    }

    /// Takes away from the peers that a session watches.
    pub(super) fn unwatch(&self, session: &Arc<Session>, peers: &[PeerId]) {
        let mut watched = session.watched().lock();
        for peer in peers {
            if watched.remove(peer) {
                let mut shard = self.lock(peer);
                shard.unwatch(session, peer);
                session.outbox().forget_presence(peer);
            }
        }
    }

    /// A session is over, and watches nobody any more.
    pub(super) fn leave(&self, session: &Arc<Session>) {
        let watched = std::mem::take(&mut *session.watched().lock());
        for peer in &watched {
            self.lock(peer).unwatch(session, peer);
        }
    }

    /// Those of `peers` that are online, each once. `were_online` are those of them that were
    /// before the start.
    pub(super) fn status(&self, peers: &[PeerId], were_online: &[PeerId]) -> Vec<PeerId> {
        self.expect_back(were_online);
        let peers: BTreeSet<&PeerId> = peers.iter().collect();
        let is_online = |peer: &&PeerId| self.lock(peer).is_online(&self.router, peer);
        peers.into_iter().filter(is_online).cloned().collect()
    }

    /// Whether a session watches a peer.
    pub(super) fn watches(&self, session: &Session, peer: &PeerId) -> bool {
        session.watched().lock().contains(peer)
    }

    /// Those of `peers` of whom only the store knows whether they were online before the start,
    /// while that matters.
    pub(super) fn unknown(&self, peers: &[PeerId]) -> Vec<PeerId> {
        if !self.is_restarting() {
            return Vec::new();
        }
        let is_unknown = |peer: &&PeerId| {
            let shard = self.lock(peer);
            !shard.returned.contains(*peer) && !shard.is_online(&self.router, peer)
        };
        peers.iter().filter(is_unknown).cloned().collect()
    }

    /// Expects peers that were online before the start, unless they have come meanwhile.
    fn expect_back(&self, were_online: &[PeerId]) {
        if !self.is_restarting() {
            return;
        }
        for peer in were_online {
            let mut shard = self.lock(peer);
            if !shard.returned.contains(peer) && !shard.is_online(&self.router, peer) {
                shard.await_back(peer, Some(self.restart_until()));
                shard.note_change(peer);
            }
        }
    }

    /// Tells changes until it is stopped.
    pub(super) async fn run(&self, stopped: CancellationToken) {
        let mut tick = tokio::time::interval(PRESENCE_COMPANY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let telling = async {
            loop {
                tick.tick().await;
                self.tell().await;
            }
        };
        stopped.run_until_cancelled(telling).await;
    }

    /// Tells the watchers what has changed since the last time, then wakes their writers.
    async fn tell(&self) {
        let (mut woken, is_restarting) = (Vec::new(), self.is_restarting());
        for shard in &self.shards {
            let has_told = shard.lock().tell(&self.router, is_restarting, &mut woken);
            if has_told {
                // Thousands may come at once, and others have to be served too.
                tokio::task::yield_now().await;
            }
        }
        for session in woken {
            session.outbox().wake();
        }
    }

    fn lock(&self, peer: &PeerId) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(peer) as usize;
        self.shards[hash >> 32 & (SHARDS - 1)].lock()
    }
}

impl Shard {
    fn is_online(&self, router: &Router, peer: &PeerId) -> bool {
        self.rows.get(peer).is_some_and(|row| row.expected.is_some()) || router.has(peer)
    }

    /// Expects a peer that has no session until then, or not any more.
    fn await_back(&mut self, peer: &PeerId, until: Option<Instant>) {
        if until.is_none() && !self.rows.contains_key(peer) {
            return;
        }
        let row = self.rows.entry(peer.clone()).or_default();
        if let Some(before) = std::mem::replace(&mut row.expected, until) {
            self.expected.remove(&(before, peer.clone()));
        }
        self.expected.extend(until.map(|until| (until, peer.clone())));
        self.tidy(peer);
    }

    /// The watchers of a peer may have been told otherwise.
    fn note_change(&mut self, peer: &PeerId) {
        if self.rows.get(peer).is_some_and(|row| !row.watchers.is_empty()) {
            self.changed.insert(peer.clone());
        }
    }

    fn unwatch(&mut self, session: &Arc<Session>, peer: &PeerId) {
        if let Some(row) = self.rows.get_mut(peer) {
            row.watchers.remove(&key(session));
            self.tidy(peer);
        }
    }

    /// Forgets a row that says nothing.
    fn tidy(&mut self, peer: &PeerId) {
        let is_idle = |row: &Row| row.watchers.is_empty() && row.expected.is_none();
        if self.rows.get(peer).is_some_and(is_idle) {
            self.rows.remove(peer);
            self.changed.remove(peer);
        }
    }

    /// Tells the watchers what has changed; says whether there was anything.
    fn tell(
        &mut self,
        router: &Router,
        is_restarting: bool,
        woken: &mut Vec<Arc<Session>>,
    ) -> bool {
        let now = Instant::now();
        if !is_restarting && !self.returned.is_empty() {
            self.returned = HashSet::default();
        }
        while let Some((_, peer)) = self.expected.first().filter(|(until, _)| *until <= now) {
            let peer = peer.clone();
            self.await_back(&peer, None);
            self.note_change(&peer);
        }
        let changed = std::mem::take(&mut self.changed);
        for peer in &changed {
            let online = self.is_online(router, peer);
            let Some(row) = self.rows.get_mut(peer) else { continue };
            for watcher in row.watchers.values_mut().filter(|watcher| watcher.told != online) {
                watcher.told = online;
                if watcher.session.outbox().presence(peer, online) == Pushed::Wake {
                    woken.push(watcher.session.clone());
                }
            }
        }
        !changed.is_empty()
    }
}

fn key(session: &Arc<Session>) -> usize {
    Arc::as_ptr(session).addr()
}

/// Shards, a power of two: so many that the dispatcher seldom finds one locked.
const SHARDS: usize = 64;

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
