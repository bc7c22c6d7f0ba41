//! What a run takes of its server over time: memory, open files, threads.
//!
//! # Invariants
//!
//! * A process that is gone shows nothing; there are no samples of it.
//! * What is compared are medians, so that no single sample decides.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::process;
use crate::run::Run;
use crate::scenario::rounded;

/// Samples of a run, about.
const SAMPLES: u32 = 720;
/// By how much a figure may grow.
const GROWTH_PERCENT_MAX: f64 = 10.0;
/// The end of a run as a share of it; the last sample may be a little late.
pub(super) const TO_THE_END: f64 = 1.1;

/// What was seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Seconds since messages began to be sent.
    pub(super) at_s: f64,
    pub(super) rss_mib: f64,
    pub(super) open_files: Option<u64>,
    pub(super) threads: Option<u64>,
    /// The generator's own memory.
    pub(super) generator_rss_mib: Option<f64>,
    /// Messages handed to apps since the sample before, a second.
    pub(super) deliveries_per_second: f64,
}

#[cfg(test)]
impl Sample {
    /// One of a server that has as many files and threads as MiB of memory.
    pub(super) fn of(at_s: f64, rss_mib: f64) -> Self {
        Self {
            at_s,
            rss_mib,
            open_files: Some(rss_mib as u64),
            threads: Some(rss_mib as u64),
            generator_rss_mib: None,
            deliveries_per_second: 0.0,
        }
    }
}

/// Who watches the server.
pub(super) struct Watching {
    task: JoinHandle<()>,
    samples: Arc<Mutex<Vec<Sample>>>,
    /// The server's process, which changes with each start; 0 while there is none.
    pub(super) pid: Arc<AtomicU32>,
}

impl Watching {
    /// Watches a process over so long a run.
    pub(super) fn start(run: &Arc<Run>, pid: Option<u32>, length: Duration) -> Self {
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let pid = Arc::new(AtomicU32::new(pid.unwrap_or_default()));
        let every = (length / SAMPLES).max(Duration::from_millis(250));
        let (run, own, of) = (run.clone(), samples.clone(), pid.clone());
        let task = tokio::spawn(async move {
            let (began_ns, mut before) = (run.now_ns(), (run.now_ns(), 0));
            loop {
                tokio::time::sleep(every).await;
                let (now_ns, delivered) = (run.now_ns(), run.records.counts().delivered);
                let seconds = (now_ns - before.0) as f64 / 1e9;
                let speed = (delivered - before.1) as f64 / seconds;
                before = (now_ns, delivered);
                let at_s = (now_ns - began_ns) as f64 / 1e9;
                own.lock().extend(look(of.load(Ordering::Relaxed), at_s, speed));
            }
        });
        Self { task, samples, pid }
    }

    /// All that was seen.
    pub(super) fn end(self) -> Vec<Sample> {
        self.task.abort();
        std::mem::take(&mut *self.samples.lock())
    }
}

fn look(pid: u32, at_s: f64, deliveries_per_second: f64) -> Option<Sample> {
    let mib = |kib: u64| rounded(kib as f64 / 1024.0);
    Some(Sample {
        at_s: rounded(at_s),
        rss_mib: process::rss_kib(pid).map(mib)?,
        open_files: process::open_files(pid),
        threads: process::threads(pid),
        generator_rss_mib: process::rss_kib(std::process::id()).map(mib),
        deliveries_per_second: rounded(deliveries_per_second),
    })
}

/// A figure of the server earlier and later.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Course {
    pub(super) early: f64,
    pub(super) late: f64,
}

impl Course {
    /// The medians of a figure within two parts of a run of so many seconds, told as shares of it;
    /// `None` if one of them shows nothing.
    pub(super) fn of(
        samples: &[Sample],
        seconds: f64,
        [early, late]: [RangeInclusive<f64>; 2],
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Self> {
        let median = |part: RangeInclusive<f64>| {
            let within = samples.iter().filter(|sample| part.contains(&(sample.at_s / seconds)));
            let mut all: Vec<f64> = within.filter_map(&figure).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        Some(Self { early: median(early)?, late: median(late)? })
    }

    /// Whether it has grown by more than is allowed, and by more than `spare` beyond that.
    pub(super) fn is_too_much(self, spare: f64) -> bool {
        self.late > self.early * (1.0 + GROWTH_PERCENT_MAX / 100.0) + spare
    }
}

/// When the calm begins, as a share of the day.
pub(super) const CALM_BEGIN: f64 = 0.6;
const TWELFTH: f64 = 1.0 / 12.0;

/// The memory behind the first sixth of a run of so many seconds, and at the end of the restarts:
/// medians over a twelfth of the run each, so that no single restart decides. In both the server's
/// processes are young: an old one has more, and is compared with itself.
pub(super) fn memory_of_day(samples: &[Sample], seconds: f64) -> Option<Course> {
    let parts = [1.0 / 6.0..=1.0 / 6.0 + TWELFTH, CALM_BEGIN - TWELFTH..=CALM_BEGIN];
    Course::of(samples, seconds, parts, |sample| Some(sample.rss_mib))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_compared_behind_the_first_sixth_and_before_the_calm() {
        let samples: Vec<Sample> =
            (0..=120).map(|at| Sample::of(f64::from(at), f64::from(at) * 10.0)).collect();
        let course = Course { early: 250.0, late: 670.0 };
        assert_eq!(memory_of_day(&samples, 120.0), Some(course));
        assert_eq!(memory_of_day(&samples[..60], 120.0), None, "it did not get so far");
    }

    #[test]
    fn a_tenth_more_is_borne_and_something_to_spare() {
        let grown = |late| Course { early: 100.0, late };
        assert!(!grown(109.0).is_too_much(0.0) && grown(111.0).is_too_much(0.0));
        assert!(!grown(117.0).is_too_much(8.0) && grown(119.0).is_too_much(8.0));
        assert!(!grown(50.0).is_too_much(0.0));
    }

    #[test]
    fn a_process_that_is_gone_is_not_seen() {
        assert!(look(u32::MAX, 0.0, 0.0).is_none());
        let own = look(std::process::id(), 0.0, 0.0).unwrap();
        assert!(own.open_files > Some(0) && own.threads > Some(0));
    }
}
