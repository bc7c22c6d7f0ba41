//! The calm at the end of a day: its last two fifths, in which nobody ends the server, so that what
//! one process takes more and more of shows.
//!
//! # Invariants
//!
//! * All restarts are before the calm.
//! * The first half of the calm is left out: a server that has just begun is still filling what it
//!   keeps, 10 minutes long.
//! * What nobody could look at counts as grown.

use std::time::Duration;

use serde::Serialize;

use super::watching::{CALM_BEGIN, Course, Sample, TO_THE_END};

/// From when on figures are compared, as a share of the day.
const WARM: f64 = 0.8;
/// Over how much of the day a figure is told: a minute of 60.
const MINUTE: f64 = 1.0 / 60.0;
/// What may be more beyond the tenth: a client that connects anew, a segment, a thread of a pool.
const FILES_SPARE: f64 = 16.0;
const THREADS_SPARE: f64 = 4.0;

/// What the process took behind the first half of the calm, and at its end.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Calm {
    rss_mib: Option<Course>,
    open_files: Option<Course>,
    threads: Option<Course>,
}

impl Calm {
    /// What was seen in the calm of a day of so many seconds.
    pub(super) fn of(samples: &[Sample], seconds: f64) -> Self {
        let parts = || [WARM..=WARM + MINUTE, 1.0 - MINUTE..=TO_THE_END];
        let course =
            |figure: fn(&Sample) -> Option<f64>| Course::of(samples, seconds, parts(), figure);
        Self {
            rss_mib: course(|sample| Some(sample.rss_mib)),
            open_files: course(|sample| sample.open_files.map(|count| count as f64)),
            threads: course(|sample| sample.threads.map(|count| count as f64)),
        }
    }

    /// What has grown too much.
    pub(super) fn grown(&self) -> impl Iterator<Item = &'static str> {
        let judged = [
            ("memory in the calm", self.rss_mib, 0.0),
            ("open files", self.open_files, FILES_SPARE),
            ("threads", self.threads, THREADS_SPARE),
        ];
        let has_grown = |course: Option<Course>, spare| {
            course.is_none_or(|course: Course| course.is_too_much(spare))
        };
        let grown = judged.into_iter().filter(move |(_, course, spare)| has_grown(*course, *spare));
        grown.map(|(what, ..)| what)
    }

    /// What a person reads.
    pub(super) fn told(&self) -> String {
        let [memory, files, threads] =
            [self.rss_mib, self.open_files, self.threads].map(|course| match course {
                Some(Course { early, late }) => format!("{early:.0} to {late:.0}"),
                None => "?".into(),
            });
        format!("memory {memory} MiB, open files {files}, threads {threads}")
    }
}

/// When the calm of a day begins.
pub(super) fn begin(day: Duration) -> Duration {
    day.mul_f64(CALM_BEGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour whose last process takes `rss_mib` at each of its minutes; before, there are young
    /// ones.
    fn hour(rss_mib: impl Fn(f64) -> f64) -> Vec<Sample> {
        let minutes = (0..=600).map(|tenth| f64::from(tenth) / 10.0);
        let took = |minute| if minute < 36.0 { 10.0 } else { rss_mib(minute - 36.0) };
        minutes.map(|minute| Sample::of(minute * 60.0, took(minute))).collect()
    }

    #[test]
    fn what_the_last_process_loses_is_found_out() {
        let leaky = Calm::of(&hour(|minute| 100.0 + 8.0 * minute), 3_600.0);
        let grown: Vec<_> = leaky.grown().collect();
        assert_eq!(grown, ["memory in the calm", "open files", "threads"]);
        assert_eq!(
            leaky.told(),
            "memory 200 to 288 MiB, open files 200 to 288, threads 200 to 288"
        );
    }

    #[test]
    fn what_a_young_process_fills_is_no_growth() {
        let filling = Calm::of(&hour(|minute| 20.0 * minute.min(10.0)), 3_600.0);
        assert_eq!(filling.grown().count(), 0);
        assert_eq!(begin(Duration::from_secs(3_600)), Duration::from_secs(2_160));
    }

    #[test]
    fn what_nobody_could_look_at_has_grown() {
        assert_eq!(Calm::of(&[], 3_600.0).grown().count(), 3);
    }
}
