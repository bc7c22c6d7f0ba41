//! The figures, in the forms that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use crate::harness::{Online, Running, answer};
use tidings::client::Outgoing;
use tidings::metrics::Metrics;
use tidings::reason::Reason;

/// The families of a text of the form 0.0.4, with their kinds and the names of their samples.
struct Families {
    kinds: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>)>,
}

/// Reads the text, and complains about whatever `promtool check metrics` would.
fn lint(text: &str) -> Families {
    let (mut kinds, mut helps, mut samples) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut family = String::new();
    for line in text.lines() {
        assert!(!line.starts_with("# UNIT") && !line.starts_with("# EOF"), "{line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect(line);
            assert!(helps.insert(name.to_owned()), "{name} has two HELP lines");
            let first = help.chars().next().unwrap();
            assert!(first.is_uppercase() && help.ends_with('.'), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(name, family, "HELP and TYPE stand together");
            let suffixed = ["_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
            assert!(!suffixed, "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else {
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0.to_owned()), "{line} twice");
            let (name, labels) = sample(line);
            let base = if kinds.get(&family).is_some_and(|kind| kind == "histogram") {
                let ends = ["_bucket", "_sum", "_count"];
                ends.iter().find_map(|end| name.strip_suffix(end)).expect(line)
            } else {
                &name
            };
            assert_eq!(base, family, "a sample stands behind its TYPE");
            samples.push((name, labels));
        }
    }
    assert_eq!(helps, kinds.keys().cloned().collect());
    Families { kinds, samples }
}

/// The name and the labels of a sample, whose value must be a number.
fn sample(line: &str) -> (String, BTreeMap<String, String>) {
    let (series, value) = line.rsplit_once(' ').expect(line);
    assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new());
    };
    let labels = labels.strip_suffix("\"}").expect(line);
    let pairs = labels.split("\",").map(|pair| {
        let (name, value) = pair.split_once("=\"").expect(line);
        (name.to_owned(), value.to_owned())
    });
    (name.to_owned(), pairs.collect())
}

/// A server on which everything has happened that is counted, and two peers that are online.
pub(crate) async fn busy_server() -> (Running, [Online; 2]) {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let ann = server.open("ann").await;
    for number in 0..3 {
        let outgoing = Outgoing::to(bob.session.peer(), format!("message {number}"));
        ann.session.send(outgoing).await.unwrap();
        bob.message().await;
    }
    server.get("/v1/stats").await.ok();
    server.get("/v1/keys").await.ok();
    server.get("/v1/no/such/path").await.problem();
    answer(server.request(Method::GET, "/v1/stats", None)).await.problem();
    answer(server.request(Method::from_bytes(b"BREW").unwrap(), "/v1/stats", None)).await;
    (server, [ann, bob])
}

#[tokio::test]
async fn the_metrics_pass_the_rules_of_prometheus() {
    let (server, _online) = busy_server().await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.header(CONTENT_TYPE), Some("text/plain; version=0.0.4; charset=utf-8"));
    let families = lint(&metrics.text);
    for (name, kind) in [
        ("tidings_messages_total", "counter"),
        ("tidings_sessions", "gauge"),
        ("tidings_commit_seconds", "histogram"),
        ("tidings_http_requests_total", "counter"),
        ("tidings_http_request_seconds", "histogram"),
        ("tidings_build_info", "gauge"),
        ("tidings_start_time_seconds", "gauge"),
        ("tidings_resident_memory_bytes", "gauge"),
    ] {
        assert_eq!(families.kinds.get(name).map(String::as_str), Some(kind), "{name}");
    }
    // Labels come from sets that are known, and never from what somebody has sent.
    let document = answer(server.request(Method::GET, "/v1/openapi.json", None)).await.ok();
    let routes: HashSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).chain(["none"]).collect();
    for (name, labels) in &families.samples {
        for (label, value) in labels {
            let is_known = match label.as_str() {
                "route" => routes.contains(value.as_str()),
                "method" => ["GET", "POST", "DELETE", "PUT", "other"].contains(&value.as_str()),
                "status" => ["2xx", "4xx", "5xx"].contains(&value.as_str()),
                "le" => value == "+Inf" || value.parse::<f64>().is_ok(),
                "version" => value == env!("CARGO_PKG_VERSION"),
                "result" => value.bytes().all(|c| c.is_ascii_lowercase()),
                "reason" => value.bytes().all(|c| c.is_ascii()),
                _ => false,
            };
            assert!(is_known, "{name} has {label}={value}");
        }
    }
}

#[tokio::test]
async fn open_metrics_are_served_to_whom_asks() {
    let server = Running::start().await;
    let get = |accept: &'static str| {
        let request = server.request(Method::GET, "/metrics", Some(&server.master));
        answer(request.header(ACCEPT, accept))
    };
    // What Prometheus sends.
    let asked = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for accept in [asked, "application/openmetrics-text"] {
        let open = get(accept).await;
        let kind = open.header(CONTENT_TYPE).unwrap();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        assert!(open.text.ends_with("# EOF\n"));
        assert!(open.text.contains("# TYPE tidings_messages counter\n"), "{}", open.text);
        assert!(open.text.contains("# UNIT tidings_commit_seconds seconds\n"));
    }
    for accept in ["*/*", "text/plain", "application/openmetrics-text;q=0"] {
        assert!(get(accept).await.header(CONTENT_TYPE).unwrap().starts_with("text/plain"));
    }
}

/// The sum of the samples of this name with these labels.
pub(crate) fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |had: &BTreeMap<String, String>| {
        labels.iter().all(|(label, value)| had.get(*label).is_some_and(|had| had == value))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter(|line| {
        let (found, had) = sample(line);
        found == name && has(&had)
    });
    values.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

#[tokio::test]
async fn what_happens_is_counted() {
    let (server, _online) = busy_server().await;
    let text = server.get("/metrics").await.text;
    let stats = "/v1/stats";
    for (name, labels, expected) in [
        ("tidings_messages_total", &[][..], 3.0),
        ("tidings_deliveries_total", &[], 3.0),
        ("tidings_sessions", &[], 2.0),
        ("tidings_connections", &[], 2.0),
        ("tidings_api_auth_failures_total", &[], 1.0),
        ("tidings_http_requests_total", &[("route", stats), ("status", "2xx")], 1.0),
        (
            "tidings_http_requests_total",
            &[("route", stats), ("method", "GET"), ("status", "4xx")],
            1.0,
        ),
        (
            "tidings_http_requests_total",
            &[("route", stats), ("method", "other"), ("status", "4xx")],
            1.0,
        ),
        ("tidings_http_requests_total", &[("route", "none"), ("status", "4xx")], 1.0),
        ("tidings_http_request_seconds_count", &[("route", stats)], 3.0),
        ("tidings_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(value(&text, name, labels), expected, "{name} {labels:?}");
    }
    assert!(value(&text, "tidings_http_connections", &[]) >= 1.0);
    assert!(value(&text, "tidings_start_time_seconds", &[]) > 1.7e9);
    #[cfg(target_os = "linux")]
    assert!(value(&text, "tidings_resident_memory_bytes", &[]) > 1e6);
}

/// Every string of a value.
fn strings<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_figures_that_there_are() {
    // A family is told from when something in it was counted.
    let metrics = Metrics::new();
    metrics.refuse(Reason::Busy);
    metrics.end(Reason::TooSlow);
    metrics.http_request("none", "GET", 200, Duration::ZERO);
    metrics.webhooks.of(&"a".parse().unwrap());
    let families = lint(&metrics.classic());
    let mut known: BTreeSet<String> = families.kinds.keys().cloned().collect();
    for (name, kind) in &families.kinds {
        if kind == "histogram" {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        }
    }
    let dashboard: Value =
        serde_json::from_str(include_str!("../../src/http/grafana.json")).unwrap();
    let mut found = Vec::new();
    strings(&dashboard, &mut found);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = found.iter().flat_map(|text| text.split(|c| !is_part(c)));
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("tidings_")).collect();
    assert!(asked.len() > 20, "{asked:?}");
    for name in asked {
        assert!(known.contains(name), "the dashboard asks for {name}");
    }
}
