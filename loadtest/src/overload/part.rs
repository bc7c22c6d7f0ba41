//! One part of an overload: a level that is held for some time.
//!
//! # Invariants
//!
//! * What a part counts is the difference of two looks at the same counts, at its two ends.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::process;
use crate::record::Counts;
use crate::run::{Mail, Run};
use crate::scenario::Stage;
use crate::tide::Level;

/// How often sessions look whether more is due, and the server's memory is read.
const LOOK: Duration = Duration::from_millis(5);

/// What happened while a level was held.
pub(super) struct Part {
    level: Level,
    from_ns: u64,
    to_ns: u64,
    before: Counts,
    after: Counts,
    broken: u64,
    pub(super) cpu_us: Option<u64>,
    /// The most that was seen.
    pub(super) rss_kib: Option<u64>,
}

/// Turns to a level and holds it for some seconds.
///
/// # Errors
///
/// When the server or every session is gone.
pub(super) async fn hold(
    stage: &Stage<'_>,
    level: Level,
    seconds: u32,
    what: &str,
) -> Result<Part, String> {
    let (run, pid) = (&stage.fleet.run, stage.server.pid);
    stage.progress.begin(what, u64::from(seconds) * 1_000);
    let broken = broken(run);
    let cpu_us = pid.and_then(process::cpu_us);
    let (before, from_ns) = (run.records.counts(), run.now_ns());
    let to_ns = from_ns + u64::from(seconds) * 1_000_000_000;
    run.tide.turn(level);
    let mut rss_kib = None;
    loop {
        run.mail.iter().for_each(Mail::wake);
        rss_kib = rss_kib.max(pid.and_then(process::rss_kib));
        let now_ns = run.now_ns();
        if now_ns >= to_ns {
            break;
        }
        let next_ns = to_ns.min(now_ns + LOOK.as_nanos() as u64);
        stage.fleet.wait_until(next_ns, stage.progress).await?;
    }
    Ok(Part {
        level,
        from_ns,
        to_ns: run.now_ns(),
        before,
        after: run.records.counts(),
        broken: self::broken(run) - broken,
        cpu_us: pid.and_then(process::cpu_us).zip(cpu_us).map(|(after, before)| after - before),
        rss_kib,
    })
}

fn broken(run: &Run) -> u64 {
    run.broken.load(Ordering::Relaxed)
}

impl Part {
    /// How long it was.
    pub(super) fn seconds(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / 1e9
    }

    /// When it was, in microseconds of the run's clock.
    pub(super) fn time_us(&self) -> Range<u32> {
        let us = |ns: u64| u32::try_from(ns / 1_000).unwrap_or(u32::MAX);
        us(self.from_ns)..us(self.to_ns)
    }

    /// Sends acknowledged meanwhile.
    pub(super) fn acked(&self) -> u64 {
        self.after.acked - self.before.acked
    }

    /// The same a second.
    pub(super) fn acked_per_second(&self) -> f64 {
        self.acked() as f64 / self.seconds()
    }

    /// Sends written meanwhile.
    pub(super) fn sent(&self) -> u64 {
        self.after.sent - self.before.sent
    }

    /// Sends that were due, at an open level.
    pub(super) fn offered(&self) -> u64 {
        match self.level {
            Level::Open { per_second, .. } => (per_second as f64 * self.seconds()) as u64,
            _ => 0,
        }
    }

    /// Sessions that ended meanwhile.
    pub(super) fn sessions_lost(&self) -> u64 {
        self.broken
    }
}
