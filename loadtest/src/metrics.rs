//! The server's own figures, from the text that Prometheus reads.
//!
//! # Invariants
//!
//! * Only differences between two readings are used, so a server that has run before is no problem.
//! * A figure that the text does not have is `None`, never 0.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::report::Brief;

/// How long a server may take to write its figures again; it does so every second.
const FRESH_WITHIN: Duration = Duration::from_secs(3);

/// One reading of the server's figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    values: HashMap<String, f64>,
    /// Upper bounds in seconds and cumulative counts of `tidings_sync_seconds`.
    sync: Vec<(f64, u64)>,
}

impl Metrics {
    /// Reads the text form.
    pub(crate) fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            match name.strip_prefix("tidings_sync_seconds_bucket{le=\"") {
                Some(bound) => {
                    let bound = bound.trim_end_matches("\"}").parse().unwrap_or(f64::INFINITY);
                    metrics.sync.push((bound, value as u64));
                }
                None => drop(metrics.values.insert(name.to_owned(), value)),
            }
        }
        metrics.sync.sort_by(|a, b| a.0.total_cmp(&b.0));
        metrics
    }

    /// A figure without labels.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.values.get(name).copied()
    }

    /// By how much a counter has risen since `before`.
    pub(crate) fn risen(&self, before: &Self, name: &str) -> Option<u64> {
        Some((self.value(name)? - before.value(name)?).max(0.0) as u64)
    }

    /// How long the syncs since `before` took; `None` if there were none.
    pub(crate) fn sync_ms(&self, before: &Self) -> Option<Brief> {
        let earlier: HashMap<u64, u64> =
            before.sync.iter().map(|(bound, count)| (bound.to_bits(), *count)).collect();
        let since: Vec<(f64, u64)> = self
            .sync
            .iter()
            .map(|(bound, count)| {
                (*bound, count.saturating_sub(earlier.get(&bound.to_bits()).copied().unwrap_or(0)))
            })
            .collect();
        Some(Brief {
            p50: quantile(&since, 0.5)? * 1e3,
            p99: quantile(&since, 0.99)? * 1e3,
            max: quantile(&since, 1.0)? * 1e3,
        })
    }
}

/// A quantile of cumulative buckets, even within a bucket; the greatest is its bucket's bound.
fn quantile(buckets: &[(f64, u64)], part: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total == 0 {
        return None;
    }
    let rank = (total as f64 * part).max(1.0);
    let (mut lower, mut below) = (0.0, 0);
    for (bound, count) in buckets {
        if *count as f64 >= rank {
            if bound.is_infinite() {
                return Some(lower);
            }
            let share = (rank - below as f64) / (count - below) as f64;
            return Some(lower + (bound - lower) * share);
        }
        (lower, below) = (*bound, *count);
    }
    None
}

/// Reads a metrics file that the server has written after this call; `None` if it does not.
///
/// # Cancel safety
///
/// It only reads.
pub(crate) async fn read_fresh(file: &Path) -> Option<Metrics> {
    let (now, deadline) = (SystemTime::now(), Instant::now() + FRESH_WITHIN);
    loop {
        let written = std::fs::metadata(file).and_then(|data| data.modified()).ok();
        if written.is_some_and(|written| written >= now) {
            return std::fs::read_to_string(file).ok().as_deref().map(Metrics::parse);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(commits: u64, buckets: [u64; 4]) -> String {
        format!(
            "# HELP tidings_commits Records made durable.\n# TYPE tidings_commits counter\n\
             tidings_commits_total {commits}\ntidings_sync_seconds_sum 0.5\n\
             tidings_sync_seconds_count {}\ntidings_sync_seconds_bucket{{le=\"0.001\"}} {}\n\
             tidings_sync_seconds_bucket{{le=\"0.002\"}} {}\n\
             tidings_sync_seconds_bucket{{le=\"0.004\"}} {}\n\
             tidings_sync_seconds_bucket{{le=\"+Inf\"}} {}\n\
             tidings_refused_total{{reason=\"too many recipients\"}} 3\n# EOF\n",
            buckets[3], buckets[0], buckets[1], buckets[2], buckets[3]
        )
    }

    #[test]
    fn a_counter_is_compared_with_the_reading_before() {
        let before = Metrics::parse(&text(10, [0; 4]));
        let after = Metrics::parse(&text(25, [0; 4]));
        assert_eq!(after.risen(&before, "tidings_commits_total"), Some(15));
        assert_eq!(after.risen(&before, "tidings_syncs_total"), None);
    }

    #[test]
    fn sync_times_come_from_what_was_added_to_the_buckets() {
        let before = Metrics::parse(&text(0, [100, 100, 100, 100]));
        let after = Metrics::parse(&text(0, [150, 190, 200, 200]));
        let sync = after.sync_ms(&before).unwrap();
        assert!((sync.p50 - 1.0).abs() < 1e-9, "{sync:?}");
        assert!((sync.p99 - 3.8).abs() < 1e-9, "{sync:?}");
        assert!((sync.max - 4.0).abs() < 1e-9, "{sync:?}");
        assert!(before.sync_ms(&before).is_none(), "there were no syncs");
    }

    #[test]
    fn a_sync_beyond_the_last_bound_counts_as_that_bound() {
        let before = Metrics::parse(&text(0, [0; 4]));
        let after = Metrics::parse(&text(0, [1, 1, 1, 2]));
        assert!((after.sync_ms(&before).unwrap().max - 4.0).abs() < 1e-9);
    }
}
