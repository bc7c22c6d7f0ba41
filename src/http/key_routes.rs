//! The keys of the API: listed, made, rotated and removed with a master key.
//!
//! # Invariants
//!
//! * A secret is told once: to who made it or rotated it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::api::Api;
use super::extract::{Json, Path};
use super::keys::{ChangeError, Key, Keys, is_name};
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use crate::chain::Chain;
use crate::limits::API_KEY_GRACE_MAX;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve_always(Scope::Master, routes!(list, create))
        .serve_always(Scope::Master, routes!(remove))
        .serve_always(Scope::Master, routes!(rotate))
}

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiKey {
    name: String,
    scopes: Vec<Scope>,
    /// When it was made.
    created_ms: i64,
    /// The last four characters of its secret.
    #[schema(example = "x7_Q")]
    ending: String,
    /// Until when the secret before the last rotation is good, if it still is.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_until_ms: Option<i64>,
}

/// All keys, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiKeys {
    keys: Vec<ApiKey>,
}

/// A key that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApiKey {
    /// What people call it: small letters, digits, `_` and `-`.
    #[schema(pattern = "^[a-z0-9_-]{1,64}$")]
    name: String,
    /// What it may be used for; at least one.
    #[schema(min_items = 1, max_items = 4)]
    scopes: Vec<Scope>,
}

/// How a key is to be rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// For how many seconds the secret of before stays good; up to 30 days.
    #[serde(default)]
    #[schema(maximum = 2_592_000)]
    grace_seconds: u64,
}

/// A key with its secret, which is told once.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretApiKey {
    #[serde(flatten)]
    key: ApiKey,
    /// What stands behind `Bearer`.
    #[schema(example = "tdk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")]
    secret: String,
}

/// Lists the keys.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, body = ApiKeys)))]
async fn list(State(api): State<Arc<Api>>) -> Json<ApiKeys> {
    let now_ms = api.clock.now_ms();
    let keys = api.keys.all().iter().map(|key| shown(key, now_ms)).collect();
    Json(ApiKeys { keys })
}

/// Makes a key, which is in force at once.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys", request_body = NewApiKey,
    responses((status = 201, body = SecretApiKey)),
)]
async fn create(State(api): State<Arc<Api>>, Json(new): Json<NewApiKey>) -> Outcome<Response> {
    if !is_name(&new.name) {
        let detail = "a name is 1 to 64 small letters, digits, '_' and '-'";
        return Err(Problem::new(Kind::InvalidBody, detail));
    }
    if new.scopes.is_empty() {
        return Err(Problem::new(Kind::InvalidBody, "a key needs a scope"));
    }
    let now_ms = api.clock.now_ms();
    let key = change(&api, move |keys| keys.add(&new.name, &new.scopes, now_ms)).await?;
    tracing::info!(key = key.name, "a key was made");
    Ok((StatusCode::CREATED, told_once(&key, now_ms)).into_response())
}

/// Gives a key a new secret; the one of before may stay good for a while.
#[utoipa::path(
    post, path = "/v1/keys/{name}/rotate", tag = "keys", request_body = Rotation,
    params(("name" = String, Path, description = "Of the key")),
    responses((status = 200, body = SecretApiKey)),
)]
async fn rotate(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Json(rotation): Json<Rotation>,
) -> Outcome<Response> {
    let grace = Duration::from_secs(rotation.grace_seconds);
    if grace > API_KEY_GRACE_MAX {
        return Err(Problem::new(Kind::InvalidBody, "grace_seconds exceeds 30 days"));
    }
    let now_ms = api.clock.now_ms();
    let until_ms = now_ms + grace.as_millis() as i64;
    let key = change(&api, move |keys| keys.rotate(&name, until_ms)).await?;
    tracing::info!(key = key.name, grace_seconds = rotation.grace_seconds, "a key was rotated");
    Ok(told_once(&key, now_ms).into_response())
}

/// Removes a key, which is refused from then on; the last master key stays.
#[utoipa::path(
    delete, path = "/v1/keys/{name}", tag = "keys",
    params(("name" = String, Path, description = "Of the key")),
    responses((status = 204, description = "It is no more")),
)]
async fn remove(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Outcome<StatusCode> {
    let gone = name.clone();
    change(&api, move |keys| keys.remove(&name)).await?;
    tracing::info!(key = gone, "a key was removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the keys away from the async workers, for it syncs the disk.
async fn change<T: Send + 'static>(
    api: &Arc<Api>,
    change: impl FnOnce(&Keys) -> Result<T, ChangeError> + Send + 'static,
) -> Outcome<T> {
    let api = api.clone();
    let changed = tokio::task::spawn_blocking(move || change(&api.keys)).await;
    let Ok(changed) = changed else {
        return Err(Problem::new(Kind::Internal, "the log says more"));
    };
    changed.map_err(|error| {
        let kind = match &error {
            ChangeError::Exists => Kind::KeyExists,
            ChangeError::TooMany => Kind::TooManyKeys,
            ChangeError::Unknown => Kind::NoSuchKey,
            ChangeError::LastMaster => Kind::LastMasterKey,
            ChangeError::NoRandom | ChangeError::Keys(_) => {
                tracing::error!(error = %Chain(&error), "cannot change the keys");
                return Problem::new(Kind::Internal, "the keys are as they were");
            }
        };
        Problem::new(kind, error.to_string())
    })
}

fn shown(key: &Key, now_ms: i64) -> ApiKey {
    let previous = key.previous.as_ref().map(|previous| previous.until_ms);
    ApiKey {
        name: key.name.clone(),
        scopes: key.scopes.clone(),
        created_ms: key.created_ms,
        ending: key.secret.ending().to_owned(),
        previous_until_ms: previous.filter(|until_ms| now_ms < *until_ms),
    }
}

/// The key with its secret, which nobody on the way may keep.
fn told_once(key: &Key, now_ms: i64) -> impl IntoResponse {
    let secret = key.secret.reveal().to_owned();
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (no_store, Json(SecretApiKey { key: shown(key, now_ms), secret }))
}
