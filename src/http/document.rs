//! The OpenAPI document, and a page that shows it to people without any other server.
//!
//! # Invariants
//!
//! * The page runs its own script and loads the document; its policy forbids all else.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use super::api::Api;
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use crate::base64::base64;

/// The page; its script and its style are inside.
const PAGE: &str = include_str!("docs.html");

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve_all(routes!(openapi)).serve_all(routes!(docs))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "operations", responses(
    (status = 200, body = Object, content_type = "application/json"),
))]
async fn openapi(State(api): State<Arc<Api>>) -> Outcome<Response> {
    let missing = || Problem::new(Kind::Internal, "there is no document");
    let json = api.document.get().cloned().ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// A page for people that shows this document.
#[utoipa::path(get, path = "/v1/docs", tag = "operations", responses(
    (status = 200, body = String, content_type = "text/html"),
))]
async fn docs() -> Response {
    let mut response = axum::response::Html(PAGE).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy(PAGE)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What the page may do: run this script, wear this style, ask this server.
fn policy(page: &str) -> String {
    let hash = |open, close| {
        let inside = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
        let inside = inside.map_or("", |(inside, _)| inside);
        base64(ring::digest::digest(&ring::digest::SHA256, inside.as_bytes()).as_ref())
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("<script>", "</script>"),
        hash("<style>", "</style>"),
    )
}
