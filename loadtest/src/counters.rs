//! Whether what the server has counted is what the generator has counted.
//!
//! # Invariants
//!
//! * Figures must be equal, not near: both have counted the same things.
//! * Nobody but this run uses the server meanwhile.

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::http::Line;
use crate::metrics::Metrics;

/// A figure of the server beside what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: &'static str,
    /// By how much it has risen at the server; `None` if the server does not have it.
    pub(crate) server: Option<u64>,
    /// By how much it must have risen.
    pub(crate) counted: u64,
}

impl Compared {
    /// Whether the server has counted the same.
    pub(crate) fn is_equal(&self) -> bool {
        self.server == Some(self.counted)
    }
}

/// Asks the server for its figures.
///
/// # Errors
///
/// When it does not give them.
pub(crate) async fn read(line: &mut Line) -> Result<Metrics, String> {
    let answer = line.ask(Method::GET, "/metrics", "").await?;
    match answer.status {
        StatusCode::OK => Ok(Metrics::parse(&String::from_utf8_lossy(&answer.body))),
        _ => Err(answer.problem()),
    }
}

/// Compares what the server has counted between two readings with what was counted here.
pub(crate) fn compare(
    before: &Metrics,
    after: &Metrics,
    counted: &[(&'static str, u64)],
) -> Vec<Compared> {
    let risen = |name| {
        // A figure with labels is there once it has been counted.
        let is_late = before.value(name).is_none();
        if is_late {
            after.value(name).map(|value| value as u64)
        } else {
            after.risen(before, name)
        }
    };
    counted.iter().map(|&(name, counted)| Compared { name, server: risen(name), counted }).collect()
}

/// What a person reads of it.
pub(crate) fn told(compared: &[Compared]) -> String {
    let differing: Vec<String> = compared
        .iter()
        .filter(|figure| !figure.is_equal())
        .map(|figure| {
            let server = figure.server.map_or("nothing".to_owned(), |value| value.to_string());
            format!("{}: {server}, but {} were counted", figure.name, figure.counted)
        })
        .collect();
    match differing.is_empty() {
        true => format!("counters match ({} figures)", compared.len()),
        false => format!("counters differ: {}", differing.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "tidings_messages_total";
    const ANSWERED: &str = "tidings_requests_total{status=\"2xx\"}";

    #[test]
    fn figures_are_equal_or_told() {
        let before = Metrics::parse("tidings_messages_total 5\n");
        let after =
            Metrics::parse("tidings_messages_total 12\ntidings_requests_total{status=\"2xx\"} 7\n");
        let same = compare(&before, &after, &[(STORED, 7), (ANSWERED, 7)]);
        assert!(same.iter().all(Compared::is_equal));
        assert_eq!(told(&same), "counters match (2 figures)");
        let other = compare(&before, &after, &[(STORED, 8), ("tidings_none_total", 0)]);
        assert!(!other.iter().any(Compared::is_equal), "what there is not is no 0");
        assert_eq!(
            told(&other),
            "counters differ: tidings_messages_total: 7, but 8 were counted; tidings_none_total: \
             nothing, but 0 were counted"
        );
    }
}
