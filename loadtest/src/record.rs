//! What the workers measure: counts and histograms, one set for each worker thread.
//!
//! # Invariants
//!
//! * A worker writes to its own record, so its lock is almost never waited for; records are merged
//!   when somebody looks.
//! * A message counts in the measured time by the time at which it should have been sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};

use crate::group::Taken;
use crate::run::Run;

/// Records; more worker threads than this share them.
const RECORDS: usize = 8;
/// The longest time that a histogram tells from longer ones, in microseconds: an hour.
const TIME_US_MAX: u64 = 3_600_000_000;
/// Digits to which a histogram is exact.
const DIGITS: u8 = 3;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % RECORDS;
}

/// A histogram of times in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, TIME_US_MAX, DIGITS);
        Self(histogram.expect("the bounds and digits are valid"))
    }
}

impl Times {
    /// Adds a time in nanoseconds.
    pub(crate) fn add_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns.div_ceil(1_000));
    }

    /// The time in milliseconds below which `part` of all times are; `None` without any.
    pub(crate) fn quantile_ms(&self, part: f64) -> Option<f64> {
        let us = if part >= 1.0 { self.0.max() } else { self.0.value_at_quantile(part) };
        (!self.0.is_empty()).then_some(us as f64 / 1e3)
    }

    /// Adds the times of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }
}

/// What one worker has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Sends since the start.
    pub(crate) sent: u64,
    /// Of them, answered with Sent.
    pub(crate) acked: u64,
    /// Of them, answered with an Error.
    pub(crate) refused: u64,
    /// Deliveries that are due for what was answered with Sent.
    pub(crate) due: u64,
    /// Messages handed to apps since the start.
    pub(crate) delivered: u64,
    /// Sends whose intended time is in the measured time.
    pub(crate) sent_measured: u64,
    /// Of them, answered with Sent.
    pub(crate) acked_measured: u64,
    /// Of them, handed to an app.
    pub(crate) delivered_measured: u64,
    /// Answers that came within the measured time.
    pub(crate) acked_within: u64,
    /// Messages handed to apps within the measured time.
    pub(crate) delivered_within: u64,
    /// Handed to an app that had them before.
    pub(crate) duplicated: u64,
    /// Repeats that a client drops by their id.
    pub(crate) duplicated_on_wire: u64,
    /// Handed to an app out of the order of their conversation.
    pub(crate) out_of_order: u64,
    /// Messages that were not for the peer that got them, or not from who they say.
    pub(crate) misdelivered: u64,
    /// Notices that a watched peer has gone off line, since the start.
    pub(crate) offline_notices: u64,
    /// Notices of presence that tell nothing that has changed.
    pub(crate) unasked_notices: u64,
    /// Changes of a socket after which the session answered.
    pub(crate) rebinds_answered: u64,
}

impl Counts {
    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.refused += other.refused;
        self.due += other.due;
        self.delivered += other.delivered;
        self.sent_measured += other.sent_measured;
        self.acked_measured += other.acked_measured;
        self.delivered_measured += other.delivered_measured;
        self.acked_within += other.acked_within;
        self.delivered_within += other.delivered_within;
        self.duplicated += other.duplicated;
        self.duplicated_on_wire += other.duplicated_on_wire;
        self.out_of_order += other.out_of_order;
        self.misdelivered += other.misdelivered;
        self.offline_notices += other.offline_notices;
        self.unasked_notices += other.unasked_notices;
        self.rebinds_answered += other.rebinds_answered;
    }
}

/// When something was due, and how long it took; 71 minutes of each at the most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_us: u32,
    pub(crate) took_us: u32,
}

impl Sample {
    fn new(due_ns: u64, now_ns: u64) -> Self {
        let us = |ns: u64| u32::try_from(ns / 1_000).unwrap_or(u32::MAX);
        Self { at_us: us(due_ns), took_us: us(now_ns.saturating_sub(due_ns)) }
    }
}

/// What each message took, where that is kept.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    pub(crate) acks: Vec<Sample>,
    pub(crate) deliveries: Vec<Sample>,
}

/// What one worker has measured.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) counts: Counts,
    /// From the intended send to the recipient's app.
    pub(crate) latency: Times,
    /// From the intended send to its acknowledgement.
    pub(crate) ack: Times,
    /// From writing Open to the last message that waited.
    pub(crate) open_to_last: Times,
    /// From a change of the socket to the answer of the server.
    pub(crate) gap: Times,
    samples: Samples,
}

impl Record {
    /// Something is sent that was due at `due_ns`.
    pub(crate) fn asked(&mut self, due_ns: u64, run: &Run) {
        self.counts.sent += 1;
        self.counts.sent_measured += u64::from(run.is_measured(due_ns));
    }

    /// The server has done what was sent and due at `due_ns`.
    pub(crate) fn answered(&mut self, due_ns: u64, now_ns: u64, run: &Run) {
        self.counts.acked += 1;
        self.counts.acked_within += u64::from(run.is_measured(now_ns));
        if run.keeps_samples {
            self.samples.acks.push(Sample::new(due_ns, now_ns));
        }
        if run.is_measured(due_ns) {
            self.counts.acked_measured += 1;
            self.ack.add_ns(now_ns.saturating_sub(due_ns));
        }
    }

    /// An app has been handed a message that was due at `due_ns`; `false` if it is not for it.
    pub(crate) fn had(&mut self, taken: Taken, due_ns: u64, now_ns: u64, run: &Run) -> bool {
        let counts = &mut self.counts;
        match taken {
            Taken::InOrder => {}
            Taken::OutOfOrder => counts.out_of_order += 1,
            Taken::Repeated => counts.duplicated += 1,
            Taken::Foreign => {
                counts.misdelivered += 1;
                return false;
            }
        }
        counts.delivered += 1;
        counts.delivered_within += u64::from(run.is_measured(now_ns));
        if run.keeps_samples {
            self.samples.deliveries.push(Sample::new(due_ns, now_ns));
        }
        if run.is_measured(due_ns) {
            counts.delivered_measured += 1;
            self.latency.add_ns(now_ns.saturating_sub(due_ns));
        }
        true
    }
}

/// The records of all workers.
#[derive(Debug)]
pub(crate) struct Records(Box<[Mutex<Record>]>);

impl Records {
    pub(crate) fn new() -> Self {
        Self((0..RECORDS).map(|_| Mutex::default()).collect())
    }

    /// The record of this thread.
    pub(crate) fn own(&self) -> MutexGuard<'_, Record> {
        self.0[OWN.with(|own| *own)].lock()
    }

    /// All counts.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.0.iter().for_each(|record| counts.merge(&record.lock().counts));
        counts
    }

    /// What each message took so far, which is not kept any longer.
    pub(crate) fn take_samples(&self) -> Samples {
        let mut all = Samples::default();
        for record in &self.0 {
            let taken = std::mem::take(&mut record.lock().samples);
            all.acks.extend(taken.acks);
            all.deliveries.extend(taken.deliveries);
        }
        all
    }

    /// All but the samples.
    pub(crate) fn merged(&self) -> Record {
        let mut merged = Record::default();
        for record in &self.0 {
            let record = record.lock();
            merged.counts.merge(&record.counts);
            merged.latency.merge(&record.latency);
            merged.ack.merge(&record.ack);
            merged.open_to_last.merge(&record.open_to_last);
            merged.gap.merge(&record.gap);
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_workers_together() {
        let records = Records::new();
        std::thread::scope(|scope| {
            for half in 0..2u64 {
                let records = &records;
                scope.spawn(move || {
                    for us in 1..=500 {
                        records.own().latency.add_ns((half * 500 + us) * 1_000);
                    }
                });
            }
        });
        let latency = records.merged().latency;
        assert_eq!(latency.quantile_ms(0.5), Some(0.5));
        assert_eq!(latency.quantile_ms(0.99), Some(0.99));
        assert_eq!(latency.quantile_ms(1.0), Some(1.0));
    }

    #[test]
    fn a_histogram_without_times_has_no_quantiles() {
        assert_eq!(Times::default().quantile_ms(0.5), None);
    }

    #[test]
    fn a_time_beyond_the_histogram_counts_as_its_longest() {
        let mut times = Times::default();
        times.add_ns(u64::MAX);
        assert!(times.quantile_ms(1.0).is_some_and(|ms| ms >= TIME_US_MAX as f64 / 1e3));
    }
}
