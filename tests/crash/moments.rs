//! When runs of the server are killed, and what that was like.
//!
//! # Invariants
//!
//! * The same random numbers give the same moments.

use std::time::Duration;

use fastrand::Rng;

use tidings::limits::SETTLE_AFTER;

/// When a run of the server is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// This long after the process began.
    Starting(Duration),
    /// This long after the server was ready.
    Ready(Duration),
    /// This long after it acknowledged its first message.
    Busy(Duration),
}

impl Moment {
    pub(crate) fn draw(random: &mut Rng) -> Self {
        let after = Duration::from_millis(random.u64(5..150));
        match random.u8(..16) {
            0 | 1 => Self::Starting(after),
            2 | 3 => Self::Ready(after),
            // Now and then the state has time to catch up with the log.
            4 => Self::Busy(after + SETTLE_AFTER),
            _ => Self::Busy(after),
        }
    }
}

/// What the kills were like.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) runs: usize,
    pub(crate) under_load: usize,
    pub(crate) while_starting: usize,
    /// From the start of the process until clients may come.
    pub(crate) starts: Vec<Duration>,
    /// From there until a message is acknowledged.
    pub(crate) returns: Vec<Duration>,
}

/// The median and the longest.
pub(crate) fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{median:.0?} (max {:.0?})", times.last().copied().unwrap_or_default())
}
