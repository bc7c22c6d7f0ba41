//! Times by the moment at which they were due: windows, quantiles, and when all is normal again.
//!
//! # Invariants
//!
//! * A window without a time has no quantile, and is not normal.

use std::ops::Range;

use serde::Serialize;

use crate::record::{Sample, Samples};
use crate::report::{Brief, median};
use crate::scenario::rounded;

/// How long a window is, in microseconds.
pub(super) const WINDOW_US: u32 = 200_000;
/// How many normal windows in a row make a recovery.
const NORMAL_WINDOWS: usize = 2;
/// A p99 below this is normal, however fast the server was before, in milliseconds.
const NORMAL_MS: f64 = 10.0;
/// A p99 is normal up to so many times what it was before.
const NORMAL_TIMES: f64 = 2.0;

/// What happened within a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Window {
    /// Since the run began.
    from_ms: u32,
    /// Sends acknowledged within it, as so many a second.
    acked_per_second: f64,
    /// Of the sends that were due within it, or written where that is what counts.
    accepted_p99_ms: Option<f64>,
    delivered_p99_ms: Option<f64>,
}

/// The quantiles of what was due within a time.
pub(super) fn within(samples: &[Sample], time_us: &Range<u32>) -> Option<Brief> {
    let due = samples.iter().filter(|sample| time_us.contains(&sample.at_us));
    let mut took: Vec<u32> = due.map(|sample| sample.took_us).collect();
    took.sort_unstable();
    let at = |part: f64| {
        let rank = (took.len() as f64 * part).ceil() as usize;
        took.get(rank.max(1) - 1).map(|us| f64::from(*us) / 1e3)
    };
    Some(Brief { p50: at(0.5)?, p99: at(0.99)?, max: at(1.0)? })
}

/// All windows of a time.
pub(super) fn windows(samples: &Samples, time_us: Range<u32>) -> Vec<Window> {
    let (acks, deliveries) = (split(&samples.acks, &time_us), split(&samples.deliveries, &time_us));
    let answered = answered(&samples.acks, &time_us);
    let each = acks.iter().zip(&deliveries).zip(answered).zip(spans(&time_us));
    let window = |(((acks, deliveries), answered), span): (((_, _), u64), Range<u32>)| {
        let (acks, deliveries): (&Vec<Sample>, &Vec<Sample>) = (acks, deliveries);
        Window {
            from_ms: span.start / 1_000,
            acked_per_second: rounded(answered as f64 * 1e6 / f64::from(WINDOW_US)),
            accepted_p99_ms: within(acks, &span).map(|times| times.p99),
            delivered_p99_ms: within(deliveries, &span).map(|times| times.p99),
        }
    };
    each.map(window).collect()
}

/// The p99 of a usual window: the middle one, in milliseconds; `None` without any.
pub(super) fn usual_p99_ms(samples: &[Sample], time_us: &Range<u32>) -> Option<f64> {
    let of = split(samples, time_us);
    let each = of.iter().zip(spans(time_us)).filter_map(|(due, span)| within(due, &span));
    median(&each.map(|times| times.p99).collect::<Vec<_>>())
}

/// How long after the beginning of a time the p99 is normal, in milliseconds; `None` if it never
/// is. `before_ms` is what it was.
pub(super) fn recovered_ms(
    samples: &[Sample],
    time_us: &Range<u32>,
    before_ms: f64,
) -> Option<f64> {
    let most_ms = (before_ms * NORMAL_TIMES).max(NORMAL_MS);
    let of = split(samples, time_us);
    let quantiles = of.iter().zip(spans(time_us)).map(|(due, span)| within(due, &span));
    let normal: Vec<bool> =
        quantiles.map(|times| times.is_some_and(|times| times.p99 <= most_ms)).collect();
    let first = normal.windows(NORMAL_WINDOWS).position(|few| few.iter().all(|normal| *normal))?;
    Some(f64::from(WINDOW_US) / 1e3 * first as f64)
}

/// The windows that lie wholly within a time.
fn spans(time_us: &Range<u32>) -> impl Iterator<Item = Range<u32>> + use<> {
    let (start, count) = (time_us.start, count(time_us));
    (0..count).map(move |window| {
        let from = start + window * WINDOW_US;
        from..from + WINDOW_US
    })
}

fn count(time_us: &Range<u32>) -> u32 {
    time_us.end.saturating_sub(time_us.start) / WINDOW_US
}

/// The window of a moment, if there is one.
fn window_at(at_us: u64, time_us: &Range<u32>) -> Option<usize> {
    let window = at_us.checked_sub(u64::from(time_us.start))? / u64::from(WINDOW_US);
    (window < u64::from(count(time_us))).then_some(window as usize)
}

/// The samples by the window in which they were due.
fn split(samples: &[Sample], time_us: &Range<u32>) -> Vec<Vec<Sample>> {
    let mut split = vec![Vec::new(); count(time_us) as usize];
    for sample in samples {
        if let Some(window) = window_at(u64::from(sample.at_us), time_us) {
            split[window].push(*sample);
        }
    }
    split
}

/// How many samples ended in each window.
fn answered(samples: &[Sample], time_us: &Range<u32>) -> Vec<u64> {
    let mut answered = vec![0; count(time_us) as usize];
    for sample in samples {
        let at_us = u64::from(sample.at_us) + u64::from(sample.took_us);
        if let Some(window) = window_at(at_us, time_us) {
            answered[window] += 1;
        }
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample every millisecond; `took_ms` says how long each takes by when it was due.
    fn samples(seconds: u32, took_ms: impl Fn(u32) -> u32) -> Vec<Sample> {
        let sample = |ms| Sample { at_us: ms * 1_000, took_us: took_ms(ms) * 1_000 };
        (0..seconds * 1_000).map(sample).collect()
    }

    #[test]
    fn quantiles_are_those_of_what_was_due_within_the_time() {
        let samples = samples(2, |ms| if ms < 1_000 { 900 } else { 1 + (ms - 1_000) / 10 });
        let times = within(&samples, &(1_000_000..2_000_000)).unwrap();
        assert_eq!((times.p50, times.p99, times.max), (50.0, 99.0, 100.0));
        assert_eq!(within(&samples, &(5_000_000..6_000_000)), None);
    }

    #[test]
    fn all_is_normal_from_the_first_of_two_normal_windows_on() {
        let time = 1_000_000..3_000_000;
        let slow_until = |ms| samples(3, move |due| if due < ms { 80 } else { 2 });
        assert_eq!(recovered_ms(&slow_until(0), &time, 3.0), Some(0.0));
        assert_eq!(recovered_ms(&slow_until(1_250), &time, 3.0), Some(400.0));
        assert_eq!(recovered_ms(&slow_until(1_250), &time, 50.0), Some(0.0), "as it was before");
        assert_eq!(recovered_ms(&slow_until(2_900), &time, 3.0), None);
        let again = samples(3, |due| if (1_200..1_400).contains(&due) { 80 } else { 2 });
        assert_eq!(recovered_ms(&again, &time, 3.0), Some(400.0), "one window is not enough");
        assert_eq!(recovered_ms(&[], &time, 3.0), None, "nothing is not normal");
    }

    #[test]
    fn a_bad_moment_does_not_make_what_is_usual_worse() {
        let samples = samples(1, |ms| if ms < 300 { 500 } else { 3 });
        assert_eq!(usual_p99_ms(&samples, &(0..1_000_000)), Some(3.0));
        assert_eq!(usual_p99_ms(&[], &(0..1_000_000)), None);
    }

    #[test]
    fn an_answer_counts_when_it_comes_and_a_time_when_it_was_due() {
        let acks = samples(1, |_| 200);
        let all = Samples { acks, deliveries: Vec::new() };
        let windows = windows(&all, 0..1_000_000);
        assert_eq!(windows.len(), 5);
        assert_eq!(windows[0].acked_per_second, 0.0);
        assert_eq!(windows[1].acked_per_second, 1_000.0);
        assert_eq!(windows[0].accepted_p99_ms, Some(200.0));
        assert_eq!((windows[4].from_ms, windows[4].delivered_p99_ms), (800, None));
    }
}
