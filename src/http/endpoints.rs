//! Endpoints of webhooks: made, read, changed and removed; how they do.
//!
//! # Invariants
//!
//! * A secret is told once: to who had the server make it.
//! * What the settings name is changed by them alone.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::api::Api;
use super::endpoint_values::{Endpoint, EndpointSettings, fresh_secret};
use super::extract::{Json, Path};
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use super::text::{EndpointName, Text};
use crate::chain::Chain;
use crate::id::EndpointId;
use crate::webhook::{ChangeError, Overview, SecretText, Webhooks};

/// Why an endpoint that was paused by request takes nothing.
const PAUSED: &str = "paused by request";

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Read, routes!(list))
        .serve(Scope::Admin, routes!(create))
        .serve(Scope::Read, routes!(read))
        .serve(Scope::Admin, routes!(replace, remove))
        .serve(Scope::Admin, routes!(pause))
        .serve(Scope::Admin, routes!(resume))
        .serve(Scope::Admin, routes!(rotate, forget))
}

/// The webhooks, once there are any.
pub(super) struct Hooks(pub(super) Webhooks);

impl FromRequestParts<Arc<Api>> for Hooks {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        api.webhooks().map(Self)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let kind = match error {
            ChangeError::Unknown => Kind::NoSuchEndpoint,
            ChangeError::Exists => Kind::EndpointExists,
            ChangeError::TooMany => Kind::LimitReached,
            ChangeError::Configured => {
                let detail = "change it there, and start the server again";
                return Self::new(Kind::ConfiguredEndpoint, detail);
            }
            ChangeError::Left => Kind::ConfiguredEndpoint,
            ChangeError::Definition(_) => Kind::InvalidBody,
            ChangeError::Read(error) => return error.into(),
            ChangeError::Book(error) => {
                tracing::error!(error = %Chain(&error), "cannot keep the endpoints");
                return Self::new(Kind::Internal, "the endpoints are as they were");
            }
        };
        Self::new(kind, error.to_string())
    }
}

/// All endpoints, by id.
#[derive(Serialize, ToSchema)]
pub(super) struct Endpoints {
    endpoints: Vec<Endpoint>,
}

/// A new secret.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretRotation {
    /// The secret; the server makes one if it is left out.
    secret: Option<String>,
}

/// Lists all endpoints, and how they do.
#[utoipa::path(
    get, path = "/v1/endpoints", tag = "endpoints",
    responses((status = 200, body = Endpoints)),
)]
async fn list(Hooks(webhooks): Hooks) -> Json<Endpoints> {
    Json(Endpoints { endpoints: webhooks.list().into_iter().map(Endpoint::from).collect() })
}

/// Makes an endpoint, which hears of what happens from now on.
///
/// Without a secret the server makes one, and tells it this once: `whsec_` with base64 for the
/// dialect `tidings`, 32 hexadecimal digits, which are the key as they are written, for the others.
#[utoipa::path(
    post, path = "/v1/endpoints", tag = "endpoints", request_body = EndpointSettings,
    responses((status = 201, body = Endpoint)),
)]
async fn create(
    Hooks(webhooks): Hooks,
    Json(settings): Json<EndpointSettings>,
) -> Outcome<Response> {
    let mut definition = settings.definition(None)?;
    let has_secret = definition.secret.is_some() || !definition.secrets.is_empty();
    let made = if has_secret { None } else { Some(fresh_secret(&definition)?) };
    definition.secret = definition.secret.or(made.clone().map(SecretText));
    let created = webhooks.create(definition).await?;
    tracing::info!(endpoint = created.definition.id, "an endpoint was made");
    let place = [(header::LOCATION, format!("/v1/endpoints/{}", encoded(&created.definition.id)))];
    Ok((StatusCode::CREATED, place, told_once(created, made)).into_response())
}

/// Tells an endpoint, and how it does.
#[utoipa::path(
    get, path = "/v1/endpoints/{endpoint}", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Endpoint)),
)]
async fn read(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
) -> Outcome<Json<Endpoint>> {
    find(&webhooks, &endpoint).map(|found| Json(found.into()))
}

/// Gives an endpoint other settings: what is left out has its default. Its secrets stay if none
/// is given.
///
/// It goes on where it stands. In another dialect it may hear again what it was told last.
#[utoipa::path(
    put, path = "/v1/endpoints/{endpoint}", tag = "endpoints", request_body = EndpointSettings,
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Endpoint)),
)]
async fn replace(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Json(settings): Json<EndpointSettings>,
) -> Outcome<Json<Endpoint>> {
    let replaced = webhooks.replace(settings.definition(Some(&endpoint))?).await?;
    tracing::info!(%endpoint, "an endpoint was changed");
    Ok(Json(replaced.into()))
}

/// Removes an endpoint, what it was not told yet, and its letters.
///
/// One that the settings name is removed there, and by a start of the server. It is listed then as
/// halted, and keeps its place and its letters: back in the settings it goes on where it was, and
/// this removes it for good.
#[utoipa::path(
    delete, path = "/v1/endpoints/{endpoint}", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 204, description = "It is no more")),
)]
async fn remove(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
) -> Outcome<StatusCode> {
    webhooks.remove(&endpoint).await?;
    tracing::info!(%endpoint, "an endpoint was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Tells an endpoint nothing until it is resumed; it misses nothing.
#[utoipa::path(
    post, path = "/v1/endpoints/{endpoint}/pause", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Endpoint)),
)]
async fn pause(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
) -> Outcome<Json<Endpoint>> {
    let paused = webhooks.halt(&endpoint, PAUSED).await?;
    tracing::info!(%endpoint, "an endpoint was paused");
    Ok(Json(paused.into()))
}

/// Goes on telling an endpoint that was paused, or has halted.
#[utoipa::path(
    post, path = "/v1/endpoints/{endpoint}/resume", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Endpoint)),
)]
async fn resume(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
) -> Outcome<Json<Endpoint>> {
    let resumed = webhooks.resume(&endpoint).await?;
    tracing::info!(%endpoint, "an endpoint goes on");
    Ok(Json(resumed.into()))
}

/// Gives an endpoint a new secret. Requests are signed with it and with those of before, until
/// these are forgotten; of more than four the oldest goes.
///
/// Proofs of which a request has only one (`X-Signature-256`, `security` of `easemob`, `sign` of
/// `getui`) are made with the oldest secret: change the receiver, and forget the old secrets right
/// after. The secrets of an endpoint of the settings change there.
#[utoipa::path(
    post, path = "/v1/endpoints/{endpoint}/secrets", tag = "endpoints",
    request_body = SecretRotation, params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Endpoint)),
)]
async fn rotate(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
    Json(rotation): Json<SecretRotation>,
) -> Outcome<Response> {
    let definition = find(&webhooks, &endpoint)?.definition;
    let made = if rotation.secret.is_some() { None } else { Some(fresh_secret(&definition)?) };
    let secret = rotation.secret.or(made.clone()).map(SecretText);
    let rotated = webhooks.rotate(&endpoint, secret).await?;
    tracing::info!(%endpoint, "an endpoint has a new secret");
    Ok(told_once(rotated, made).into_response())
}

/// Forgets all secrets of an endpoint but its newest, with which alone requests are signed then.
#[utoipa::path(
    delete, path = "/v1/endpoints/{endpoint}/secrets", tag = "endpoints",
    params(("endpoint" = inline(EndpointName), Path)),
    responses((status = 200, body = Endpoint)),
)]
async fn forget(
    Hooks(webhooks): Hooks,
    Path(Text(endpoint)): Path<EndpointName>,
) -> Outcome<Json<Endpoint>> {
    let kept = webhooks.rotate(&endpoint, None).await?;
    tracing::info!(%endpoint, "an endpoint has its newest secret alone");
    Ok(Json(kept.into()))
}

/// An endpoint that there is.
fn find(webhooks: &Webhooks, endpoint: &EndpointId) -> Outcome<Overview> {
    webhooks.find(endpoint).ok_or_else(|| ChangeError::Unknown.into())
}

/// An endpoint with the secret that the server has made, which nobody on the way may keep.
fn told_once(overview: Overview, made: Option<String>) -> impl IntoResponse {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (no_store, Json(Endpoint::with_secret(overview, made)))
}

/// An id as it stands in a path.
fn encoded(id: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    id.bytes().map(one).collect()
}
