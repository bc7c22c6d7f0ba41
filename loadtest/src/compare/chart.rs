//! The charts of a comparison.
//!
//! # Invariants
//!
//! * Every round of every row is a line; the lines of a row have one colour, the same in all charts
//!   of a load.

use super::Load;
use crate::drawing::{Axis, COLOURS, Lines, draw};
use crate::report::Report;

/// As far to the right as latency goes: 4 nines.
const NINES_MAX: f64 = 4.0;

/// Latency by quantile, both axes logarithmic; nothing if none was measured.
pub(super) fn latency(load: &Load) -> String {
    let line = |round: &Report| {
        let points = round.latency_curve.iter().filter(|point| point.ms > 0.0);
        points.map(|point| (-(1.0 - point.part).log10(), point.ms.log10())).collect::<Vec<_>>()
    };
    let times = rounds(load).flat_map(line).map(|(_, ms)| ms);
    let Some((low, high)) = times.fold(None, |most: Option<(f64, f64)>, ms| {
        Some(most.map_or((ms, ms), |(low, high)| (low.min(ms), high.max(ms))))
    }) else {
        return String::new();
    };
    let (from, to) = (low.floor(), high.ceil().max(low.floor() + 1.0));
    let decades = from as i32..=to as i32;
    let marks = decades.map(|decade| (f64::from(decade), format!("{} ms", 10f64.powi(decade))));
    let across = [(0.0, "0"), (0.301, "p50"), (1.0, "p90"), (2.0, "p99"), (3.0, "p99.9")];
    let across = across.map(|(nines, text)| (nines, text.to_owned())).to_vec();
    let x = Axis { from: 0.0, to: NINES_MAX, marks: across };
    let y = Axis { from, to, marks: marks.collect() };
    draw("latency by quantile", &lines(load, line), &x, &y)
}

/// Deliveries in each second of the measured time; nothing if none was measured.
pub(super) fn throughput(load: &Load) -> String {
    let line = |round: &Report| {
        let seconds = round.delivered_each_second.iter().enumerate();
        seconds.map(|(second, count)| (second as f64 + 1.0, *count as f64)).collect::<Vec<_>>()
    };
    let seconds = rounds(load).map(|round| round.delivered_each_second.len()).max();
    let most = rounds(load).flat_map(|round| round.delivered_each_second.iter().copied()).max();
    let (Some(seconds @ 2..), Some(most @ 1..)) = (seconds, most) else { return String::new() };
    let across = (1..=seconds).step_by(seconds.div_ceil(10));
    let across = across.map(|second| (second as f64, format!("{second} s")));
    let x = Axis { from: 1.0, to: seconds as f64, marks: across.collect() };
    draw("deliveries", &lines(load, line), &x, &Axis::from_zero(most as f64, "/s"))
}

fn rounds(load: &Load) -> impl Iterator<Item = &Report> {
    load.rows.iter().flat_map(|row| &row.rounds)
}

/// The lines of the rows that have run.
fn lines(load: &Load, line: impl Fn(&Report) -> Vec<(f64, f64)>) -> Vec<Lines<'_>> {
    let rows = load.rows.iter().zip(COLOURS.into_iter().cycle());
    let ran = rows.filter(|(row, _)| !row.rounds.is_empty());
    ran.map(|(row, colour)| {
        let lines = row.rounds.iter().map(&line).collect();
        Lines { name: &row.name, colour, lines, dotted: false }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Row;
    use crate::drawing::{BOTTOM, LEFT, RIGHT, TOP};
    use crate::report::Point;
    use crate::scenario::On;

    fn load(report: Report) -> Load {
        let mut row = Row::new("tidings", On::Server, None);
        row.rounds.push(report);
        let missing = Row::new("rmqtt", On::Floor, Some("cargo install rmqttd".into()));
        Load { command: "chat".into(), rows: vec![row, missing] }
    }

    #[test]
    fn a_round_is_a_line_within_the_chart() {
        let curve = [0.0, 0.5, 0.9, 0.99].map(|part| Point { part, ms: 1.0 + 100.0 * part });
        let drawn = latency(&load(Report { latency_curve: curve.to_vec(), ..Report::default() }));
        let (_, line) = drawn.split_once("points=\"").unwrap();
        let (line, _) = line.split_once('"').unwrap();
        assert_eq!(line.split(' ').count(), 4);
        for point in line.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            assert!((LEFT..=RIGHT).contains(&x.parse().unwrap()), "{point}");
            assert!((TOP..=BOTTOM).contains(&y.parse().unwrap()), "{point}");
        }
        assert!(drawn.contains(">tidings<") && !drawn.contains("rmqtt"));
    }

    #[test]
    fn what_was_not_measured_has_no_chart() {
        let empty = load(Report::default());
        assert_eq!((latency(&empty), throughput(&empty)), Default::default());
        let still = load(Report { delivered_each_second: vec![0, 0], ..Report::default() });
        assert_eq!(throughput(&still), "");
        let busy = load(Report { delivered_each_second: vec![10, 20, 10], ..Report::default() });
        assert!(throughput(&busy).contains("20/s"));
    }
}
