//! A long day as one page that needs nothing else.
//!
//! # Invariants
//!
//! * A chart whose figures nobody could read is left out.

use super::Soaked;
use super::watching::Sample;
use crate::drawing::{Axis, COLOURS, Lines, draw};
use crate::html::{Page, escaped};
use crate::report::Report;

/// A figure of a sample.
type Of = fn(&Sample) -> Option<f64>;

/// A chart: its title, its unit, and its lines.
type Chart<'a> = (&'a str, &'a str, &'a [(&'a str, Of)]);

const CHARTS: [Chart<'_>; 3] = [
    (
        "memory",
        " MiB",
        &[
            ("server", |sample| Some(sample.rss_mib)),
            ("generator", |sample| sample.generator_rss_mib),
        ],
    ),
    (
        "open files and threads of the server",
        "",
        &[
            ("open files", |sample| sample.open_files.map(|count| count as f64)),
            ("threads", |sample| sample.threads.map(|count| count as f64)),
        ],
    ),
    ("deliveries/s", "", &[("deliveries", |sample| Some(sample.deliveries_per_second))]),
];

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = Page::new("Tidings over a long day");
    let Some(soaked) = &report.soaked else { return page.end() };
    let verdict = if report.is_good() { ("flat", "kept") } else { ("worse", "broken") };
    page.add(format_args!("<p class=\"{}\">The promise was {}.", verdict.0, verdict.1));
    page.add(format_args!("<pre>{}</pre>", escaped(&report.table())));
    CHARTS.iter().for_each(|chart| page.put(&drawn(soaked, chart)));
    page.put("<h2>Restarts</h2><table><tr><th>at s</th><th>how</th><th>ended ms</th>");
    page.put("<th>ready ms</th><th>memory before MiB</th></tr>");
    for restart in &soaked.restarts {
        page.put("<tr>");
        restart.cells().iter().for_each(|cell| page.add(format_args!("<td>{cell}</td>")));
        page.put("</tr>");
    }
    page.put("</table>");
    page.end()
}

/// A chart; nothing if nothing of it was seen.
fn drawn(soaked: &Soaked, (title, unit, lines): &Chart<'_>) -> String {
    let line = |of: &Of| {
        let points = soaked.samples.iter();
        points.filter_map(|sample| Some((sample.at_s / 60.0, of(sample)?))).collect::<Vec<_>>()
    };
    let coloured = lines.iter().zip(&COLOURS[1..]);
    let drawing: Vec<Lines<'_>> = coloured
        .map(|((name, of), colour)| Lines { name, colour, lines: vec![line(of)], dotted: false })
        .collect();
    let values = drawing.iter().flat_map(|lines| lines.lines.iter().flatten());
    let Some(most) = values.map(|(_, value)| *value).reduce(f64::max) else { return String::new() };
    let x = Axis::from_zero(soaked.minutes, " min");
    draw(title, &drawing, &x, &Axis::from_zero(most, unit))
}
