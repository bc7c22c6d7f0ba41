//! The time of day, which a test can set.
//!
//! # Invariants
//!
//! * Whatever lasts (windows, ages, ids) takes its time from here and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells milliseconds since 1970 UTC. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    /// What is added to the system's time.
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { offset_ms: Arc::new(AtomicI64::new(0)) }
    }

    /// Milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_millis() as i64 + self.offset_ms.load(Ordering::Relaxed)
    }

    /// Steps this clock and its clones, forward or back.
    pub fn step_ms(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}
