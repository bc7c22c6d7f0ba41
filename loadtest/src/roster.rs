//! The proof that every change of presence is told to every watcher: once, and in order.
//!
//! # Invariants
//!
//! * All watchers watch the same peers, which are online when the watchers open.
//! * Nothing here knows of sockets, clocks or sessions.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// One peer has gone on or off line.
#[derive(Clone, Copy, Debug)]
struct Change {
    online: bool,
    /// When its Open or its Close was written, in nanoseconds.
    asked_ns: u64,
}

/// Who watches whom in a run, what has changed, and who heard of it.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    watchers: Range<u32>,
    watched: Range<u32>,
    /// By watched peer.
    changes: Box<[Mutex<Vec<Change>>]>,
    /// By watcher: how many changes of each watched peer it has heard.
    heard: Box<[Mutex<Box<[u32]>>]>,
    /// Changes that watchers did not hear before they heard the next one.
    passed_over: AtomicU64,
    asked: AtomicU64,
    told: AtomicU64,
}

impl Roster {
    /// The peers `watchers` watch the peers `watched`, all of them.
    pub(crate) fn new(watchers: Range<u32>, watched: Range<u32>) -> Self {
        let none_heard = || Mutex::new(watched.clone().map(|_| 0).collect());
        Self {
            changes: watched.clone().map(|_| Mutex::default()).collect(),
            heard: watchers.clone().map(|_| none_heard()).collect(),
            watchers,
            watched,
            ..Self::default()
        }
    }

    /// Whom all watchers watch.
    pub(crate) fn watched(&self) -> Range<u32> {
        self.watched.clone()
    }

    /// A watched peer is about to go on or off line.
    pub(crate) fn change(&self, peer: u32, online: bool, asked_ns: u64) {
        let of = peer.checked_sub(self.watched.start).and_then(|at| self.changes.get(at as usize));
        if let Some(of) = of {
            of.lock().push(Change { online, asked_ns });
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A watcher is told that a peer has gone on or off line; says when that was asked for.
    ///
    /// `None` if it was not: then the notice tells nothing that is so, or tells it again.
    pub(crate) fn hear(&self, watcher: u32, peer: u32, online: bool) -> Option<u64> {
        let at = peer.checked_sub(self.watched.start)? as usize;
        let watcher = watcher.checked_sub(self.watchers.start)? as usize;
        let changes = self.changes.get(at)?.lock();
        let mut heard = self.heard.get(watcher)?.lock();
        let ahead = changes.iter().enumerate().skip(heard[at] as usize);
        let (next, change) = ahead.into_iter().find(|(_, change)| change.online == online)?;
        self.passed_over.fetch_add(next as u64 - u64::from(heard[at]), Ordering::Relaxed);
        self.told.fetch_add(next as u64 + 1 - u64::from(heard[at]), Ordering::Relaxed);
        heard[at] = next as u32 + 1;
        Some(change.asked_ns)
    }

    /// Notices that have not come, so far.
    pub(crate) fn awaited(&self) -> u64 {
        let due =
            self.asked.load(Ordering::Relaxed) * u64::from(self.watchers.end - self.watchers.start);
        due.saturating_sub(self.told.load(Ordering::Relaxed))
    }

    /// Notices that never came.
    pub(crate) fn lost(&self) -> u64 {
        self.awaited() + self.passed_over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peers 0 and 1 watch the peers 2, 3 and 4.
    fn roster() -> Roster {
        Roster::new(0..2, 2..5)
    }

    #[test]
    fn every_change_is_told_to_every_watcher() {
        let roster = roster();
        roster.change(3, false, 10);
        assert_eq!(roster.lost(), 2);
        assert_eq!(roster.hear(0, 3, false), Some(10));
        assert_eq!(roster.hear(1, 3, false), Some(10));
        assert_eq!(roster.lost(), 0);
        roster.change(3, true, 20);
        assert_eq!(roster.hear(1, 3, true), Some(20));
        assert_eq!(roster.lost(), 1);
    }

    #[test]
    fn a_notice_that_tells_no_change_is_noticed() {
        let roster = roster();
        assert_eq!(roster.hear(0, 3, true), None, "nothing has changed");
        roster.change(3, false, 10);
        assert_eq!(roster.hear(0, 3, true), None, "it went the other way");
        assert_eq!(roster.hear(0, 3, false), Some(10));
        assert_eq!(roster.hear(0, 3, false), None, "again");
        assert_eq!(roster.hear(0, 1, false), None, "not watched");
        assert_eq!(roster.hear(2, 3, false), None, "no watcher");
    }

    #[test]
    fn a_change_passed_over_is_lost() {
        let roster = roster();
        roster.change(2, false, 10);
        roster.change(2, true, 20);
        assert_eq!(roster.hear(0, 2, true), Some(20));
        assert_eq!((roster.awaited(), roster.lost()), (2, 3));
    }
}
