//! Answers in columns, for people.
//!
//! # Invariants
//!
//! * Pure. A field that the answer does not have is not shown; nothing is cut.
//! * The name of a field says what it is: `_ms` a time, unless it is one of those that are known
//!   to be durations, `_bytes` a size, `_seconds` a duration.

use std::time::Duration;

use serde_json::Value;

use super::table::Table;
use crate::cli::chat::clock::Clock;
use crate::cli::words::printable;

/// How fields in milliseconds end that are no times.
const SPANS: &[&str] = &["lag_ms", "took_ms", "interval_ms", "timeout_ms"];

/// What of an answer is shown.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// That it is done, in these words.
    Said(&'static str),
    /// These fields of it, a line for each.
    Fields(&'static [&'static str]),
    /// The list that is this field of it, with these fields of each item.
    Rows(&'static str, &'static [&'static str]),
    /// How to go on, if there is more.
    Next(&'static str),
}

/// All of it that is shown, with the names of columns dim if they may be.
pub(super) fn text(answer: &Value, parts: &[Part], clock: Clock, dim: bool) -> String {
    let is_titled = parts.iter().filter(|part| !matches!(part, Part::Next(_))).count() > 1;
    let mut text = String::new();
    for part in parts {
        let lines = match part {
            Part::Said(words) => vec![(*words).to_owned()],
            Part::Fields(keys) => fields(answer, keys, clock),
            Part::Rows(list, keys) => rows(answer, list, keys, clock, is_titled, dim),
            Part::Next(_) => Vec::new(),
        };
        lines.iter().for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
    }
    text
}

/// How to go on, if there is more.
pub(super) fn next(answer: &Value, parts: &[Part]) -> Option<String> {
    let option = parts.iter().find_map(|part| match part {
        Part::Next(option) => Some(option),
        _ => None,
    })?;
    let next = printable(answer["next"].as_str()?.as_bytes());
    Some(format!("there are more: go on with {option} '{next}'"))
}

fn fields(answer: &Value, keys: &[&str], clock: Clock) -> Vec<String> {
    let mut table = Table::default();
    for key in keys.iter().filter(|key| answer.pointer(&format!("/{key}")).is_some()) {
        table.row([label(key), cell(answer, key, clock)]);
    }
    table.lines("")
}

fn rows(
    answer: &Value,
    list: &str,
    keys: &[&str],
    clock: Clock,
    is_titled: bool,
    dim: bool,
) -> Vec<String> {
    let Some(items) = answer[list].as_array() else { return Vec::new() };
    if items.is_empty() {
        return vec![if is_titled { format!("no {list}") } else { "there are none".into() }];
    }
    let mut table = Table::default();
    table.row(keys.iter().map(|key| label(key)));
    for item in items {
        table.row(keys.iter().map(|key| cell(item, key, clock)));
    }
    let mut lines = table.lines(if is_titled { "  " } else { "" });
    if dim {
        lines[0] = format!("\u{1b}[2m{}\u{1b}[0m", lines[0]);
    }
    if is_titled {
        lines.insert(0, list.to_owned());
    }
    lines
}

/// `created`, of `created_ms`.
fn label(key: &str) -> String {
    let name = key.rsplit('/').next().unwrap_or(key);
    let name = ["_ms", "_bytes", "_seconds"].iter().find_map(|unit| name.strip_suffix(unit));
    name.unwrap_or(key.rsplit('/').next().unwrap_or(key)).replace('_', " ")
}

/// What the field of an item says.
fn cell(item: &Value, key: &str, clock: Clock) -> String {
    match key {
        "said" => return said(item),
        "for" => return audience(item),
        _ => {}
    }
    // An item without fields is what it says itself.
    let value = if item.is_object() { item.pointer(&format!("/{key}")) } else { Some(item) };
    let value = value.unwrap_or(&Value::Null);
    match (key, value) {
        ("creator", Value::Null) => "the app".into(),
        (_, Value::Null) => "-".into(),
        (_, Value::Bool(yes)) => if *yes { "yes" } else { "no" }.into(),
        (_, Value::String(text)) => printable(text.as_bytes()),
        (_, Value::Number(number)) => match number.as_u64() {
            Some(ms) if SPANS.iter().any(|span| key.ends_with(span)) => {
                humantime::format_duration(Duration::from_millis(ms)).to_string()
            }
            Some(at_ms) if key.ends_with("_ms") => clock.time_and_date(at_ms, Clock::now_ms()),
            Some(bytes) if key.ends_with("_bytes") => size(bytes as f64),
            Some(seconds) if key.ends_with("_seconds") => {
                humantime::format_duration(Duration::from_secs(seconds)).to_string()
            }
            _ => number.to_string(),
        },
        (_, Value::Array(values)) if values.is_empty() => "-".into(),
        (_, Value::Array(values)) => {
            values.iter().map(|value| cell(value, key, clock)).collect::<Vec<_>>().join(", ")
        }
        (_, object) => printable(object.to_string().as_bytes()),
    }
}

/// What a message says.
fn said(message: &Value) -> String {
    match (message["body"].as_str(), message["body_base64"].as_str()) {
        (Some(text), _) => printable(text.as_bytes()),
        (None, Some(encoded)) => format!("base64 {}", printable(encoded.as_bytes())),
        (None, None) => "(taken back)".into(),
    }
}

/// For whom a message is.
fn audience(message: &Value) -> String {
    if let Some(group) = message["group"].as_str() {
        return format!("group {}", printable(group.as_bytes()));
    }
    let peers = message["to"].as_array().into_iter().flatten().filter_map(Value::as_str);
    peers.map(|peer| printable(peer.as_bytes())).collect::<Vec<_>>().join(", ")
}

/// `1.5 MiB`.
pub(super) fn size(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let (mut size, mut units) = (bytes / 1024.0, UNITS.iter().peekable());
    let mut unit = units.next().unwrap_or(&"");
    while size >= 1024.0 && units.peek().is_some() {
        size /= 1024.0;
        unit = units.next().unwrap_or(unit);
    }
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_shown_as_its_fields_are_called() {
        let answer = json!({
            "lag_ms": 1_500, "name": "a\u{1b}", "open": true,
            "log_bytes": 1_572_864, "uptime_seconds": 90,
            "creator": null, "rules": {"kick": "server"}, "online": ["ann", "bob"], "none": [],
            "items": [{"from": "ann", "to": ["bob", "cat"], "body": "hi\n"},
                {"from": "bob", "group": "0f", "recalled": true}],
            "next": "7",
        });
        let parts = [
            Part::Fields(&["name", "open", "log_bytes", "uptime_seconds", "creator"]),
            Part::Fields(&["rules/kick", "online", "none", "missing", "lag_ms"]),
            Part::Rows("items", &["from", "for", "said"]),
            Part::Next("--after"),
        ];
        let expected = "name     a\\u{1b}\nopen     yes\nlog      1.5 MiB\nuptime   1m 30s\n\
                        creator  the app\nkick    server\nonline  ann, bob\nnone    -\n\
                        lag     1s 500ms\nitems\n  \
                        from  for       said\n  ann   bob, cat  hi\\n\n  bob   group 0f  (taken \
                        back)\n";
        assert_eq!(text(&answer, &parts, Clock::local(), false), expected);
        let more = "there are more: go on with --after '7'";
        assert_eq!(next(&answer, &parts).as_deref(), Some(more));
        assert_eq!(next(&json!({"next": null}), &parts), None);
    }

    #[test]
    fn a_list_of_names_is_a_column_and_an_empty_one_says_so() {
        let parts = [Part::Rows("items", &["peer"]), Part::Next("--after")];
        let shown = |answer| text(&answer, &parts, Clock::local(), false);
        assert_eq!(shown(json!({"items": ["ann", "bob"]})), "peer\nann\nbob\n");
        assert_eq!(shown(json!({"items": []})), "there are none\n");
    }

    #[test]
    fn a_size_has_the_unit_that_fits() {
        for (bytes, expected) in
            [(0.0, "0 B"), (1023.0, "1023 B"), (1024.0, "1.0 KiB"), (5e15, "4547.5 TiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
