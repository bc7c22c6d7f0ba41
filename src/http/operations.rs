//! How the server is: alive, ready, and its figures.
//!
//! # Invariants
//!
//! * Whether it lives and is ready can be asked without a key; figures need one.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::api::{Api, Phase};
use super::extract::{Json, Ready};
use super::problem::Outcome;
use super::routes::Routes;
use super::scope::Scope;
use crate::metrics::{CLASSIC, OPEN_METRICS};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve_all(routes!(healthz))
        .serve_all(routes!(readyz))
        .serve_always(Scope::Read, routes!(metrics))
        .serve(Scope::Read, routes!(stats))
}

/// Whether the process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `true`: who does not live does not answer.
    healthy: bool,
}

/// Whether requests are served.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Why not: `replaying` while the server starts, `draining` while it stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

/// The main figures, since the start where they count.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    version: &'static str,
    /// Seconds since the start.
    uptime_seconds: u64,
    /// The random number of the log; message ids belong to it.
    epoch: String,
    /// QUIC connections open now.
    connections: i64,
    /// Sessions open now.
    sessions: i64,
    /// HTTP connections open now.
    http_connections: i64,
    /// Messages stored.
    messages: u64,
    /// Sends that repeated a stored message.
    repeats: u64,
    /// Persistent messages put to a session.
    deliveries: u64,
    /// Transient messages put to a session.
    transients: u64,
    /// Messages that an inbox gave up before a device had them.
    dropped: u64,
    /// Messages that wait in inboxes, counted for each recipient.
    inbox_messages: i64,
    /// Messages that wait for the back end.
    upstream_waiting: i64,
    /// Groups that there are.
    groups: i64,
    /// Devices that have an alias.
    aliases: i64,
    /// Peers that are blocked.
    blocked: i64,
    /// Records made durable.
    commits: u64,
    /// Bytes of the log on disk.
    log_bytes: i64,
    /// Bytes of unacknowledged messages in memory.
    tail_bytes: i64,
    /// Records of the log that could not be read.
    damaged_records: u64,
}

/// Tells that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses(
    (status = 200, body = Health),
))]
async fn healthz() -> Json<Health> {
    Json(Health { healthy: true })
}

/// Tells whether requests are served.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, body = Readiness),
    (status = 503, body = Readiness, description = "It is starting, or going down"),
))]
async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let (status, why) = match api.phase() {
        Phase::Ready => (StatusCode::OK, None),
        Phase::Replaying => (StatusCode::SERVICE_UNAVAILABLE, Some("replaying")),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, Some("draining")),
    };
    (status, Json(Readiness { ready: why.is_none(), why })).into_response()
}

/// All figures, for Prometheus: as OpenMetrics where the request accepts that, or in the text
/// form 0.0.4.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses(
    (status = 200, body = String, content_type = CLASSIC),
))]
async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    let (content_type, text) = match accepts_open_metrics(&headers) {
        true => (OPEN_METRICS, api.metrics.text()),
        false => (CLASSIC, api.metrics.classic()),
    };
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// The main figures.
#[utoipa::path(get, path = "/v1/stats", tag = "operations", responses(
    (status = 200, body = Stats),
))]
async fn stats(State(api): State<Arc<Api>>, Ready(hub): Ready) -> Outcome<Json<Stats>> {
    let metrics = &api.metrics;
    Ok(Json(Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: api.started.elapsed().as_secs(),
        epoch: hub.store().epoch().to_string(),
        connections: metrics.connections.get(),
        sessions: metrics.sessions.get(),
        http_connections: metrics.http_connections.get(),
        messages: metrics.messages.get(),
        repeats: metrics.repeats.get(),
        deliveries: metrics.deliveries.get(),
        transients: metrics.transients.get(),
        dropped: metrics.dropped(),
        inbox_messages: metrics.inbox_messages.get(),
        upstream_waiting: metrics.upstream_waiting.get(),
        groups: metrics.groups.get(),
        aliases: metrics.aliases.get(),
        blocked: metrics.blocked.get(),
        commits: metrics.commits.get(),
        log_bytes: metrics.log_bytes.get(),
        tail_bytes: metrics.tail_bytes.get(),
        damaged_records: metrics.damaged_records.get(),
    }))
}

/// Whether one of the types that the caller accepts is OpenMetrics.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next() == Some("application/openmetrics-text");
        is_named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}
