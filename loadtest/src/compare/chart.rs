//! The charts of a comparison.
//!
//! # Invariants
//!
//! * Every round of every row is a line; the lines of a row have one colour.

use std::fmt::Write;

use super::{Load, Row};
use crate::report::Report;

/// A chart in units of its own.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 150.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = HEIGHT - 30.0;
/// As far to the right as latency goes: 4 nines.
const NINES_MAX: f64 = 4.0;

const COLOURS: [&str; 8] =
    ["#888888", "#d62728", "#1f77b4", "#17becf", "#2ca02c", "#9467bd", "#e377c2", "#ff7f0e"];

/// An axis: where it begins and ends, and what is written along it.
struct Axis {
    from: f64,
    to: f64,
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value is between two places.
    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        from + (value.clamp(self.from, self.to) - self.from) / (self.to - self.from) * (to - from)
    }
}

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
    chart("latency by quantile", load, &x, &Axis { from, to, marks: marks.collect() }, line)
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
    let up = (0..=4).map(|quarter| most as f64 * f64::from(quarter) / 4.0);
    let marks = up.map(|count| (count, format!("{count:.0}/s"))).collect();
    chart("deliveries", load, &x, &Axis { from: 0.0, to: most as f64, marks }, line)
}

fn rounds(load: &Load) -> impl Iterator<Item = &Report> {
    load.rows.iter().flat_map(|row| &row.rounds)
}

fn chart(
    title: &str,
    load: &Load,
    x: &Axis,
    y: &Axis,
    line: impl Fn(&Report) -> Vec<(f64, f64)>,
) -> String {
    let across = |value| x.place(value, LEFT, RIGHT);
    let up = |value| y.place(value, BOTTOM, TOP);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\">");
    add(&mut svg, format_args!("<text x=\"{LEFT}\" y=\"12\">{title}</text>"));
    for (value, text) in &y.marks {
        let y = up(*value);
        add(&mut svg, format_args!("<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#ddd\"/>"));
        add(&mut svg, format_args!("<text x=\"2\" y=\"{:.1}\">{text}</text>", y + 4.0));
    }
    for (value, text) in &x.marks {
        let (x, y) = (across(*value), BOTTOM + 16.0);
        let anchor = "text-anchor=\"middle\"";
        add(&mut svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" {anchor}>{text}</text>"));
    }
    for (row, colour) in coloured(load) {
        for round in &row.rounds {
            let points = line(round).into_iter();
            let points = points.map(|(x, y)| format!("{:.1},{:.1}", across(x), up(y)));
            let points = points.collect::<Vec<_>>().join(" ");
            let stroke = format_args!("fill=\"none\" stroke=\"{colour}\"");
            add(&mut svg, format_args!("<polyline points=\"{points}\" {stroke}/>"));
        }
    }
    add_legend(&mut svg, load);
    svg + "</svg>"
}

/// The rows that have run, each with its colour, which is the same in all charts of a load.
fn coloured(load: &Load) -> impl Iterator<Item = (&Row, &'static str)> {
    let rows = load.rows.iter().zip(COLOURS.into_iter().cycle());
    rows.filter(|(row, _)| !row.rounds.is_empty())
}

fn add_legend(svg: &mut String, load: &Load) {
    for (line, (row, colour)) in coloured(load).enumerate() {
        let (from, y) = (RIGHT + 8.0, TOP + 15.0 * line as f64);
        let (to, text_y) = (from + 14.0, y + 4.0);
        add(svg, format_args!("<path d=\"M{from} {y}H{to}\" stroke=\"{colour}\"/>"));
        // The names of rows are words of this program.
        add(svg, format_args!("<text x=\"{}\" y=\"{text_y}\">{}</text>", to + 4.0, row.name));
    }
}

/// Writing to a string cannot fail.
fn add(svg: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = svg.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
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
