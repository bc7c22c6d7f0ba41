//! Charts of lines.
//!
//! # Invariants
//!
//! * Whatever the values, a line stays within its chart.
//! * The names of lines, and what is written along the axes, are words of this program.

use std::fmt::{Arguments, Write};

/// A chart in units of its own.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
pub(crate) const LEFT: f64 = 64.0;
pub(crate) const RIGHT: f64 = WIDTH - 150.0;
pub(crate) const TOP: f64 = 24.0;
pub(crate) const BOTTOM: f64 = HEIGHT - 30.0;

/// The colours of lines, in turn.
pub(crate) const COLOURS: [&str; 8] =
    ["#888888", "#d62728", "#1f77b4", "#17becf", "#2ca02c", "#9467bd", "#e377c2", "#ff7f0e"];

/// An axis: where it begins and ends, and what is written along it.
pub(crate) struct Axis {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) marks: Vec<(f64, String)>,
}

/// Lines of one name and one colour.
pub(crate) struct Lines<'a> {
    pub(crate) name: &'a str,
    pub(crate) colour: &'static str,
    pub(crate) lines: Vec<Vec<(f64, f64)>>,
    /// Whether each point is shown on its own, too.
    pub(crate) dotted: bool,
}

impl Axis {
    /// Quarters of the way from 0 to the most, each with its unit.
    pub(crate) fn from_zero(most: f64, unit: &str) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let digits = if most < 10.0 { 1 } else { 0 };
        let quarters = (0..=4).map(|quarter| most * f64::from(quarter) / 4.0);
        let marks = quarters.map(|value| (value, format!("{value:.digits$}{unit}")));
        Self { from: 0.0, to: most, marks: marks.collect() }
    }

    /// Where a value is between two places.
    fn place(&self, value: f64, from: f64, to: f64) -> f64 {
        let span = if self.to > self.from { self.to - self.from } else { 1.0 };
        from + (value.clamp(self.from, self.to.max(self.from)) - self.from) / span * (to - from)
    }
}

/// The chart of some lines.
pub(crate) fn draw(title: &str, lines: &[Lines<'_>], x: &Axis, y: &Axis) -> String {
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
    for few in lines {
        for line in &few.lines {
            let places: Vec<_> = line.iter().map(|(x, y)| (across(*x), up(*y))).collect();
            add_line(&mut svg, &places, few.colour, few.dotted);
        }
    }
    add_legend(&mut svg, lines);
    svg + "</svg>"
}

fn add_line(svg: &mut String, places: &[(f64, f64)], colour: &str, dotted: bool) {
    let points = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}"));
    let points = points.collect::<Vec<_>>().join(" ");
    let stroke = format_args!("fill=\"none\" stroke=\"{colour}\"");
    add(svg, format_args!("<polyline points=\"{points}\" {stroke}/>"));
    for (x, y) in places.iter().filter(|_| dotted) {
        let centre = format_args!("cx=\"{x:.1}\" cy=\"{y:.1}\"");
        add(svg, format_args!("<circle {centre} r=\"3\" fill=\"{colour}\"/>"));
    }
}

fn add_legend(svg: &mut String, lines: &[Lines<'_>]) {
    for (line, Lines { name, colour, .. }) in lines.iter().enumerate() {
        let (from, y) = (RIGHT + 8.0, TOP + 15.0 * line as f64);
        let (to, text_y) = (from + 14.0, y + 4.0);
        add(svg, format_args!("<path d=\"M{from} {y}H{to}\" stroke=\"{colour}\"/>"));
        add(svg, format_args!("<text x=\"{}\" y=\"{text_y}\">{name}</text>", to + 4.0));
    }
}

/// Writing to a string cannot fail.
fn add(svg: &mut String, text: Arguments<'_>) {
    let _ = svg.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_within_its_chart() {
        let lines = vec![vec![(-5.0, 3.0), (0.5, f64::MAX), (2.0, -1.0)]];
        let lines = [Lines { name: "ours", colour: COLOURS[1], lines, dotted: true }];
        let x = Axis { from: 0.0, to: 1.0, marks: Vec::new() };
        let drawn = draw("a title", &lines, &x, &Axis::from_zero(4.0, " us"));
        let (_, line) = drawn.split_once("points=\"").unwrap();
        let (line, _) = line.split_once('"').unwrap();
        for point in line.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            assert!((LEFT..=RIGHT).contains(&x.parse().unwrap()), "{point}");
            assert!((TOP..=BOTTOM).contains(&y.parse().unwrap()), "{point}");
        }
        assert!(drawn.contains(">4.0 us<") && drawn.contains(">ours<"));
        assert_eq!(drawn.matches("<circle").count(), 3);
    }

    #[test]
    fn an_axis_of_nothing_divides_by_nothing() {
        let axis = Axis::from_zero(0.0, "");
        assert_eq!(axis.place(0.0, 10.0, 20.0), 10.0);
        let point = Axis { from: 3.0, to: 3.0, marks: Vec::new() };
        assert_eq!(point.place(3.0, 10.0, 20.0), 10.0);
    }
}
