//! What every request leaves behind: its id, a span of the log, its figures.
//!
//! # Invariants
//!
//! * No key and no body stands in the log, nor a path: routes are named by their pattern.
//! * The labels of a figure are bounded: patterns, known methods, classes of statuses.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

use super::api::Api;
use super::problem::Problem;
use crate::limits::REQUEST_ID_BYTES_MAX;

/// The header by which a request is known to the caller and to the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is counted as that has no route.
const NO_ROUTE: &str = "none";

/// Serves a request, and notes how that went.
pub(super) async fn observe(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(NO_ROUTE, |route| route.as_str());
    let name = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("http", request = name, method, route);
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.answer(name);
    }
    let status = response.status();
    let took = began.elapsed();
    api.metrics.http_request(route, method, status.as_u16(), took);
    let milliseconds = took.as_secs_f64() * 1_000.0;
    span.in_scope(|| match status.is_server_error() {
        true => tracing::warn!(status = status.as_u16(), milliseconds, "failed"),
        false => tracing::debug!(status = status.as_u16(), milliseconds, "answered"),
    });
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The caller's own id for the request, if it has a good one, or a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_good = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let fresh = || {
        let text = format!("{:032x}", fastrand::u128(..));
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
    };
    headers.get(REQUEST_ID).filter(is_good).cloned().unwrap_or_else(fresh)
}

/// The name of a method that is known; anybody can make up others.
fn method_name(method: &Method) -> &'static str {
    const KNOWN: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.iter().find(|known| **known == method.as_str()).unwrap_or(&"other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_kept_if_it_is_short_and_visible() {
        let of = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text).unwrap());
            request_id(&headers)
        };
        assert_eq!(of(b"a-1"), "a-1");
        let longest = vec![b'x'; REQUEST_ID_BYTES_MAX];
        assert_eq!(of(&longest).as_bytes(), longest);
        for bad in [&b""[..], b"a b", b"\xc3\xa4", &[&longest[..], b"x"].concat()] {
            assert_eq!(of(bad).len(), 32, "{bad:?}");
        }
        assert_eq!(request_id(&HeaderMap::new()).len(), 32);
    }

    #[test]
    fn a_method_is_one_of_few() {
        assert_eq!(method_name(&Method::GET), "GET");
        assert_eq!(method_name(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
