//! When a connection may open another stream.
//!
//! # Invariants
//!
//! * Nothing here reads a clock: the caller says what time it is.

use std::time::{Duration, Instant};

use crate::limits::{STREAM_INTERVAL, STREAMS_AT_ONCE};

/// The turns of one connection: some at once, and then one at a time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// When it has as many as at first, if it took any.
    rested: Option<Instant>,
}

impl Turns {
    /// How long it has to wait for the next one; nothing if it need not.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let taken = self.rested.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        taken.saturating_sub(STREAM_INTERVAL * (STREAMS_AT_ONCE - 1))
    }

    /// Takes one.
    pub(super) fn take(&mut self, now: Instant) {
        self.rested = Some(self.rested.map_or(now, |at| at.max(now)) + STREAM_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_more_than_a_connection_may_open_at_once_waits() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        for _ in 0..STREAMS_AT_ONCE {
            assert_eq!(turns.wait(now), Duration::ZERO);
            turns.take(now);
        }
        assert_eq!(turns.wait(now), STREAM_INTERVAL);
        let later = now + STREAM_INTERVAL;
        assert_eq!(turns.wait(later), Duration::ZERO);
        turns.take(later);
        assert_eq!(turns.wait(later), STREAM_INTERVAL);
    }

    #[test]
    fn a_connection_that_rests_has_no_more_turns_than_at_first() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        turns.take(now);
        let much_later = now + STREAM_INTERVAL * (10 * STREAMS_AT_ONCE);
        for _ in 0..STREAMS_AT_ONCE {
            turns.take(much_later);
        }
        assert_eq!(turns.wait(much_later), STREAM_INTERVAL);
    }
}
