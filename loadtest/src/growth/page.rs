//! What was found as something grew, as one page that needs nothing else.
//!
//! # Invariants
//!
//! * Steps stand evenly beside one another, as they are about evenly far apart by their ratios.

use super::Grown;
use super::series::{Figures, Series, Step};
use crate::compare::shown;
use crate::drawing::{Axis, COLOURS, Lines, draw};
use crate::html::{Page, escaped};

/// A figure of a step.
type Of = fn(&Figures) -> Option<f64>;

/// What is shown of each step.
const COLUMNS: [(&str, Of); 9] = [
    ("CPU us", |figures| figures.cpu_us),
    ("to the base", |figures| figures.to_base),
    ("packets", |figures| figures.packets),
    ("dropped %", |figures| figures.dropped_percent),
    ("messages/s", |figures| figures.messages_per_second),
    ("deliveries/s", |figures| figures.deliveries_per_second),
    ("p50 ms", |figures| figures.p50_ms),
    ("p99 ms", |figures| figures.p99_ms),
    ("memory MiB", |figures| figures.rss_mib),
];

/// A chart: its title, its unit, and its lines.
type Chart<'a> = (&'a str, &'a str, &'a [(&'a str, Of)]);

const CHARTS: [Chart<'_>; 4] = [
    ("server CPU", " us", &[("CPU", |figures| figures.cpu_us)]),
    ("UDP packets", "", &[("packets", |figures| figures.packets)]),
    ("latency", " ms", &[("p50", |figures| figures.p50_ms), ("p99", |figures| figures.p99_ms)]),
    ("messages/s", "/s", &[("messages/s", |figures| figures.messages_per_second)]),
];

/// The page.
pub(super) fn page(grown: &Grown) -> String {
    let mut page = Page::new("Tidings as it grows");
    page.add(format_args!(
        "<p>What a message costs as one thing grows and the rest stays as it is; medians of {} \
         rounds. CPU is that of the server, and packets are what this machine hands to UDP, one \
         for those that go together, for each delivery where a message has several; dropped are \
         those for which a socket had no room. The generator runs on the same machine.",
        grown.rounds
    ));
    page.add_facts(&[
        ("hardware", Some(&grown.hardware)),
        ("machine", Some(&grown.machine)),
        ("file system", grown.filesystem.as_ref()),
        ("server", grown.version.as_ref()),
        ("commit", grown.commit.as_ref()),
        ("command", Some(&grown.command)),
    ]);
    grown.series.iter().for_each(|series| add_series(&mut page, series));
    page.end()
}

fn add_series(page: &mut Page, series: &Series) {
    let class = match series.is_flat {
        Some(true) => "flat",
        Some(false) => "worse",
        None => "",
    };
    let (title, verdict) = (series.title, &series.verdict);
    page.add(format_args!("<h2>{title}</h2><p>{}<p class=\"{class}\">{verdict}", series.note));
    page.put("<table><tr><th>step</th>");
    COLUMNS.iter().for_each(|(name, _)| page.add(format_args!("<th>{name}</th>")));
    page.put("<th class=text>command</th><th class=text>proof</th></tr>");
    series.steps.iter().for_each(|step| add_step(page, series, step));
    page.put("</table>");
    CHARTS.iter().for_each(|chart| page.put(&drawn(series, chart)));
}

fn add_step(page: &mut Page, series: &Series, step: &Step) {
    let (value, unit) = (step.value, series.unit);
    if let Some(why) = &step.left_out {
        let columns = COLUMNS.len() + 2;
        return page.add(format_args!(
            "<tr class=missing><td>{value}{unit}</td><td class=text colspan={columns}>{}</td></tr>",
            escaped(why)
        ));
    }
    page.add(format_args!("<tr><td>{value}{unit}</td>"));
    for (_, of) in COLUMNS {
        let value = of(&step.figures).map(shown).unwrap_or_default();
        page.add(format_args!("<td>{value}</td>"));
    }
    let command = escaped(step.command.as_deref().unwrap_or_default());
    page.add(format_args!("<td class=text>{command}</td>"));
    let broken = step.rounds.iter().filter(|round| !round.is_good());
    let told = broken.flat_map(|round| &round.troubles).chain(&step.failures);
    let told: Vec<String> = told.map(|why| escaped(why)).collect();
    match step.is_good() {
        true => page.put("<td class=text>kept</td></tr>"),
        false => {
            page.add(format_args!("<td class=\"text wrong\">broken: {}</td></tr>", told.join("; ")))
        }
    }
}

/// A chart of a series; nothing if nothing of it was measured.
fn drawn(series: &Series, (title, unit, lines): &Chart<'_>) -> String {
    let ran: Vec<&Step> = series.steps.iter().filter(|step| !step.rounds.is_empty()).collect();
    let line = |of: &Of| {
        let steps = (0u32..).zip(&ran);
        steps.filter_map(|(at, step)| Some((f64::from(at), of(&step.figures)?))).collect::<Vec<_>>()
    };
    let coloured = lines.iter().zip(&COLOURS[1..]);
    let drawing: Vec<Lines<'_>> = coloured
        .map(|((name, of), colour)| Lines { name, colour, lines: vec![line(of)], dotted: true })
        .collect();
    let values = drawing.iter().flat_map(|lines| lines.lines.iter().flatten());
    let Some(most) = values.map(|(_, value)| *value).reduce(f64::max) else { return String::new() };
    let marks = (0u32..).zip(&ran);
    let marks = marks.map(|(at, step)| (f64::from(at), format!("{}{}", step.value, series.unit)));
    let x = Axis { from: 0.0, to: ran.len().saturating_sub(1) as f64, marks: marks.collect() };
    draw(title, &drawing, &x, &Axis::from_zero(most, unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::series::tests::series;

    fn grown() -> Grown {
        Grown {
            machine: "2 processors".into(),
            hardware: "a machine".into(),
            commit: None,
            version: Some("tidings 1".into()),
            filesystem: None,
            command: "growth".into(),
            rounds: 1,
            series: vec![series([1.0, 10.0, 13.0])],
        }
    }

    #[test]
    fn a_page_shows_every_step_and_the_verdict() {
        let page = page(&grown());
        assert!(page.contains("worse: 1.30 times the cost of 100 at 1000"));
        assert!(page.contains("there is no room"));
        assert!(page.contains("<polyline") && page.contains(">1000<"));
        assert_eq!(page.matches("<svg").count(), 2, "no latency was measured");
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page(&grown());
        for word in ["<script", "src=", "href=", "http", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
