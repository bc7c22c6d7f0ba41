//! The figures that are put side by side.
//!
//! # Invariants
//!
//! * What was not measured is left out, never 0.

use std::collections::BTreeMap;

use crate::report::{Report, median};

/// By the names of figures.
pub(super) type Medians = BTreeMap<&'static str, f64>;

/// A figure of a report.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) of: fn(&Report) -> Option<f64>,
    /// Whether more is better, where either is.
    pub(super) rises: bool,
}

const fn figure(name: &'static str, rises: bool, of: fn(&Report) -> Option<f64>) -> Figure {
    Figure { name, of, rises }
}

/// All of them, in the order in which they are shown.
pub(super) const FIGURES: [Figure; 13] = [
    figure("messages/s", true, |report| {
        let has_speed = report.store_per_second.is_none() && report.messages_per_second > 0.0;
        has_speed.then_some(report.messages_per_second)
    }),
    figure("deliveries/s", true, |report| {
        report.deliveries_per_second.filter(|_| report.server_cpu_us_per_delivery.is_some())
    }),
    figure("stored/s", true, |report| report.store_per_second),
    figure("drained/s", true, |report| report.drain_per_second),
    figure("p50 ms", false, |report| report.latency_ms.map(|millis| millis.p50)),
    figure("p99 ms", false, |report| report.latency_ms.map(|millis| millis.p99)),
    figure("p99.9 ms", false, |report| report.latency_ms.map(|millis| millis.p999)),
    figure("max ms", false, |report| report.latency_ms.map(|millis| millis.max)),
    figure("CPU us/message", false, |report| report.server_cpu_us_per_message),
    figure("CPU us/delivery", false, |report| report.server_cpu_us_per_delivery),
    figure("CPU us/session-second", false, |report| {
        report.cpu_us_per_session_second.filter(|_| report.scenario.ends_with("idle"))
    }),
    figure("KiB/session", false, |report| report.rss_kib_per_session),
    figure("connects/s", true, |report| report.connects_per_second),
];

/// The median of each figure that was measured.
pub(super) fn medians(rounds: &[Report]) -> Medians {
    let of = |figure: &Figure| {
        let values: Vec<f64> = rounds.iter().filter_map(figure.of).collect();
        Some((figure.name, median(&values)?))
    };
    FIGURES.iter().filter_map(of).collect()
}

/// A number with as many digits as say something.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The figures of one report in a line.
pub(super) fn brief(report: &Report) -> String {
    let shown = |figure: &Figure| Some(format!("{} {}", shown((figure.of)(report)?), figure.name));
    FIGURES.iter().filter_map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_a_median_of_its_own_and_what_was_not_measured_has_none() {
        let round = |speed, cpu| Report {
            messages_per_second: speed,
            server_cpu_us_per_message: cpu,
            ..Report::default()
        };
        let rounds = [round(1.0, Some(30.0)), round(3.0, Some(10.0)), round(2.0, Some(20.0))];
        let medians = medians(&rounds);
        assert_eq!(medians.get("messages/s"), Some(&2.0));
        assert_eq!(medians.get("CPU us/message"), Some(&20.0));
        assert_eq!(medians.len(), 2);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1234.5, 99.96, 1.005].map(shown), ["1234", "100.0", "1.00"]);
    }
}
