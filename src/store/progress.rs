//! Whether the commit thread moves.
//!
//! # Invariants
//!
//! * Who looks takes no lock, and never holds the thread up.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// Shows whether the commit thread moves: the watchdog of the store.
#[derive(Debug)]
pub(super) struct Progress {
    since: Instant,
    /// Milliseconds after `since` at which the present work began; negative while it rests.
    busy_ms: AtomicI64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { since: Instant::now(), busy_ms: AtomicI64::new(-1) }
    }
}

impl Progress {
    pub(super) fn begin(&self) {
        self.busy_ms.store(self.since.elapsed().as_millis() as i64, Ordering::Relaxed);
    }

    pub(super) fn rest(&self) {
        self.busy_ms.store(-1, Ordering::Relaxed);
    }

    /// Milliseconds for which the thread has been at the same work.
    pub(super) fn busy_ms(&self) -> i64 {
        let busy_ms = self.busy_ms.load(Ordering::Relaxed);
        if busy_ms < 0 { 0 } else { self.since.elapsed().as_millis() as i64 - busy_ms }
    }
}
