//! The time of day where the command line runs.
//!
//! # Invariants
//!
//! * The offset from UTC is asked for once, before there are threads: a system that does not
//!   tell it then is taken to run on UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::UtcOffset;

/// Writes times as a clock on this machine's wall shows them.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Clock {
    offset_s: i64,
}

impl Clock {
    /// Asks the system for its offset from UTC.
    pub(in crate::cli) fn local() -> Self {
        let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
        Self { offset_s: offset.whole_seconds().into() }
    }

    /// Now, in milliseconds since 1970 UTC.
    pub(in crate::cli) fn now_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// `21:58:03`, of a time in milliseconds since 1970 UTC.
    pub(in crate::cli) fn time(self, at_ms: u64) -> String {
        self.both(at_ms).split_off(11)
    }

    /// `21:58:03` if it is today, and with the date before it otherwise.
    pub(in crate::cli) fn time_and_date(self, at_ms: u64, now_ms: u64) -> String {
        let (at, now) = (self.both(at_ms), self.both(now_ms));
        if at[..10] == now[..10] { at[11..].to_owned() } else { at }
    }

    /// `2026-11-21 21:58:03`. Times that no calendar has are shown as the last one.
    fn both(self, at_ms: u64) -> String {
        // The last second of the year 9999.
        let last_s = 253_402_300_799;
        let at_s = i64::try_from(at_ms / 1000).unwrap_or(last_s).saturating_add(self.offset_s);
        let since = Duration::from_secs(at_s.clamp(0, last_s).unsigned_abs());
        let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
        text.trim_end_matches('Z').replace('T', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_that_of_the_place() {
        let at_ms = 1_795_298_283_999;
        let utc = Clock { offset_s: 0 };
        assert_eq!(utc.both(at_ms), "2026-11-21 21:58:03");
        assert_eq!(utc.time(at_ms), "21:58:03");
        assert_eq!(utc.time_and_date(at_ms, at_ms + 1), "21:58:03");
        let east = Clock { offset_s: 8 * 3600 };
        assert_eq!(east.both(at_ms), "2026-11-22 05:58:03");
        assert_eq!(east.time_and_date(at_ms, at_ms - 8 * 3_600_000), "2026-11-22 05:58:03");
        assert_eq!(utc.both(u64::MAX), "9999-12-31 23:59:59");
        assert_eq!(Clock { offset_s: -3600 }.both(0), "1970-01-01 00:00:00");
    }
}
