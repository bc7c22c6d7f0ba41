//! A comparison as one page that needs nothing else.
//!
//! # Invariants
//!
//! * No script, and nothing that is fetched: the page says the same wherever it is opened.
//! * Every text that was not written here is escaped.

use super::figures::{FIGURES, Figure, shown};
use super::{Comparison, Load, Row, chart};
use crate::html::{Page, escaped};

/// The page.
pub(super) fn page(comparison: &Comparison) -> String {
    let Comparison { rounds, .. } = comparison;
    let mut page = Page::new("Tidings and its peers");
    page.add(format_args!(
        "<p>Medians of {rounds} interleaved rounds, each figure on its own. The generator runs on \
         the same machine. Brokers are spoken to in MQTT 3.1.1, QoS 1, with sessions that persist."
    ));
    page.add_facts(&[
        ("hardware", Some(&comparison.hardware)),
        ("machine", Some(&comparison.machine)),
        ("file system", comparison.filesystem.as_ref()),
        ("commit", comparison.commit.as_ref()),
        ("command", Some(&comparison.command)),
    ]);
    for load in &comparison.loads {
        add_load(&mut page, load);
    }
    page.end()
}

fn add_load(page: &mut Page, load: &Load) {
    page.add(format_args!("<h2>{}</h2>", escaped(&load.command)));
    let measured =
        |figure: &&Figure| load.rows.iter().any(|row| row.medians.contains_key(figure.name));
    let figures: Vec<&Figure> = FIGURES.iter().filter(measured).collect();
    page.put("<table><tr><th>row</th>");
    figures.iter().for_each(|figure| page.add(format_args!("<th>{}</th>", figure.name)));
    page.put("<th class=text>version</th><th class=text>transport</th>");
    page.put("<th class=text>kept before the answer</th><th class=text>proof</th></tr>");
    for row in &load.rows {
        add_row(page, row, &figures, &load.rows);
    }
    page.put("</table>");
    page.put(&chart::latency(load));
    page.put(&chart::throughput(load));
    page.put("<details><summary>all rounds</summary><table><tr><th>row</th><th>round</th>");
    figures.iter().for_each(|figure| page.add(format_args!("<th>{}</th>", figure.name)));
    page.put("</tr>");
    for row in &load.rows {
        for (number, round) in row.rounds.iter().enumerate() {
            page.add(format_args!("<tr><td>{}</td><td>{}</td>", escaped(&row.name), number + 1));
            figures.iter().for_each(|figure| add_figure(page, (figure.of)(round), ""));
            page.put("</tr>");
        }
    }
    page.put("</table></details>");
}

fn add_row(page: &mut Page, row: &Row, figures: &[&Figure], all: &[Row]) {
    let name = escaped(&row.name);
    if let Some(install) = &row.missing {
        let (columns, install) = (figures.len() + 4, escaped(install));
        return page.add(format_args!(
            "<tr class=missing><td>{name}</td><td class=text colspan={columns}>not installed: \
                 {install}</td></tr>"
        ));
    }
    page.add(format_args!("<tr><td>{name}</td>"));
    for figure in figures {
        let value = row.medians.get(figure.name).copied();
        // The floor keeps nothing and routes nothing: it is no competitor.
        let others = all.iter().filter(|other| other.name != "floor");
        let others = others.filter_map(|other| other.medians.get(figure.name));
        let best = others.copied().reduce(if figure.rises { f64::max } else { f64::min });
        add_figure(page, value, if value == best { "best" } else { "" });
    }
    let server = row.server.clone().unwrap_or_default();
    let version = server.version.unwrap_or_default();
    for text in [version.as_str(), server.transport, server.durability] {
        page.add(format_args!("<td class=text>{}</td>", escaped(text)));
    }
    match row.proven {
        true => page.put("<td class=text>kept</td></tr>"),
        false => {
            let broken = row.rounds.iter().filter(|round| !round.is_good());
            let told = broken.flat_map(|round| &round.troubles).chain(&row.failures);
            let told: Vec<String> = told.map(|why| escaped(why)).collect();
            let told = told.join("; ");
            page.add(format_args!("<td class=\"text wrong\">broken: {told}</td></tr>"));
        }
    }
}

fn add_figure(page: &mut Page, value: Option<f64>, class: &str) {
    let value = value.map(shown).unwrap_or_default();
    page.add(format_args!("<td class=\"{class}\">{value}</td>"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::figures;
    use crate::report::{Point, Report};
    use crate::scenario::On;

    fn comparison() -> Comparison {
        let curve = [0.0, 0.5, 0.9, 0.99].map(|part| Point { part, ms: 1.0 + 10.0 * part });
        let report = Report {
            messages_per_second: 1234.0,
            latency_curve: curve.to_vec(),
            lost: 1,
            troubles: vec!["a <b> & c".into()],
            ..Report::default()
        };
        let mut ours = Row::new("tidings", On::Server, None);
        ours.rounds.push(report);
        ours.medians = figures::medians(&ours.rounds);
        let missing = Row::new("rmqtt", On::Floor, Some("cargo install rmqttd".into()));
        Comparison {
            machine: "2 processors".into(),
            hardware: "a machine".into(),
            filesystem: None,
            commit: None,
            command: "compare".into(),
            rounds: 1,
            loads: vec![Load { command: "chat".into(), rows: vec![ours, missing] }],
        }
    }

    #[test]
    fn a_page_shows_figures_and_tells_what_is_missing_or_broken() {
        let page = page(&comparison());
        assert!(page.contains("<td class=\"best\">1234</td>"));
        assert!(page.contains("not installed: cargo install rmqttd"));
        assert!(page.contains("broken: a &lt;b&gt; &amp; c"));
        assert!(page.contains("<polyline"));
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page(&comparison());
        for word in ["<script", "src=", "href=", "http", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
