//! Several rounds of one scenario put together.
//!
//! # Invariants
//!
//! * Medians are compared with medians, never with the best of several.

use serde::Serialize;

use super::{Report, Rows};

/// Several rounds of one scenario, with those of the floor between them.
///
/// The fields at the top level are those of the round with the median of messages per second.
#[derive(Debug, Serialize)]
pub(crate) struct Rounds {
    #[serde(flatten)]
    pub(crate) median: Report,
    pub(crate) rounds: Vec<Report>,
    pub(crate) floor_rounds: Vec<Report>,
    pub(crate) comparison: Option<Comparison>,
}

/// The medians of a scenario and of the floor, and ours in parts of the floor's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub(crate) messages_per_second: f64,
    pub(crate) floor_messages_per_second: f64,
    pub(crate) messages_per_second_ratio: f64,
    pub(crate) server_cpu_us_per_message: Option<f64>,
    pub(crate) floor_server_cpu_us_per_message: Option<f64>,
    pub(crate) server_cpu_ratio: Option<f64>,
}

impl Rounds {
    /// The rounds put together; `rounds` has one at least.
    pub(crate) fn new(mut rounds: Vec<Report>, floor_rounds: Vec<Report>) -> Self {
        let by_speed: Vec<f64> = rounds.iter().map(|round| round.messages_per_second).collect();
        let middle = median(&by_speed).unwrap_or_default();
        let at = by_speed.iter().position(|speed| *speed == middle);
        let median = rounds[at.unwrap_or(0)].clone();
        let comparison = Comparison::of(&rounds, &floor_rounds);
        if rounds.len() == 1 {
            rounds.clear();
        }
        Self { median, rounds, floor_rounds, comparison }
    }
}

impl Comparison {
    fn of(ours: &[Report], floor: &[Report]) -> Option<Self> {
        let speed = |rounds: &[Report]| {
            median(&rounds.iter().map(|round| round.messages_per_second).collect::<Vec<_>>())
        };
        let cpu = |rounds: &[Report]| {
            let figures = rounds.iter().filter_map(|round| round.server_cpu_us_per_message);
            median(&figures.collect::<Vec<_>>())
        };
        let (our_speed, floor_speed) = (speed(ours)?, speed(floor)?);
        let (our_cpu, floor_cpu) = (cpu(ours), cpu(floor));
        Some(Self {
            messages_per_second: our_speed,
            floor_messages_per_second: floor_speed,
            messages_per_second_ratio: our_speed / floor_speed,
            server_cpu_us_per_message: our_cpu,
            floor_server_cpu_us_per_message: floor_cpu,
            server_cpu_ratio: our_cpu.zip(floor_cpu).map(|(ours, floor)| ours / floor),
        })
    }

    /// What a person reads.
    pub(crate) fn table(&self) -> String {
        let mut rows = Rows::default();
        let Self { messages_per_second: ours, floor_messages_per_second: floor, .. } = self;
        let ratio = self.messages_per_second_ratio;
        rows.add("messages/s", format_args!("{ours:.0} of the floor's {floor:.0}: {ratio:.3}"));
        if let (Some(ours), Some(floor), Some(ratio)) = (
            self.server_cpu_us_per_message,
            self.floor_server_cpu_us_per_message,
            self.server_cpu_ratio,
        ) {
            rows.add(
                "server CPU",
                format_args!("{ours:.2} us a message to the floor's {floor:.2} us: {ratio:.3}"),
            );
        }
        rows.0
    }
}

/// The middle value, the lower of two; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(messages_per_second: f64, cpu: Option<f64>) -> Report {
        Report { messages_per_second, server_cpu_us_per_message: cpu, ..Report::default() }
    }

    #[test]
    fn the_median_round_stands_at_the_top() {
        let ours = vec![round(30.0, Some(9.0)), round(10.0, Some(3.0)), round(20.0, None)];
        let floor = vec![round(100.0, Some(2.0)), round(50.0, Some(2.0)), round(40.0, Some(2.0))];
        let rounds = Rounds::new(ours, floor);
        assert!((rounds.median.messages_per_second - 20.0).abs() < 1e-9);
        let comparison = rounds.comparison.unwrap();
        assert!((comparison.messages_per_second_ratio - 0.4).abs() < 1e-9);
        assert_eq!(comparison.server_cpu_ratio, Some(1.5));
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let json = serde_json::to_value(Rounds::new(vec![round(1.0, None)], vec![])).unwrap();
        assert!(json["server_cpu_us_per_message"].is_null());
        assert!(json["comparison"].is_null());
        assert!(json.get("store_per_second").is_none());
        assert_eq!(json["messages_per_second"], 1.0);
    }
}
