//! Aliases: names that an app binds to devices, looked up both ways.
//!
//! # Invariants
//!
//! * Each binding of a request has an outcome of its own.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{Json, Path, Ready};
use super::many::{Many, Refused, item, merge, places, split};
use super::problem::Outcome;
use super::routes::Routes;
use super::scope::Scope;
use super::text::{AliasName, Device, Peer, Text};
use crate::hub::Hub;
use crate::id::{Alias, DeviceId};
use crate::limits::HTTP_BINDINGS_MAX;
use crate::reason::Reason;
use crate::store::{AliasChange, Route};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Admin, routes!(bind))
        .serve(Scope::Admin, routes!(unbind))
        .serve(Scope::Admin, routes!(remove))
        .serve(Scope::Read, routes!(alias))
        .serve(Scope::Read, routes!(device))
}

/// An alias of a device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Binding {
    alias: AliasName,
    device: Device,
}

/// Aliases of devices.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bindings": [
    {"alias": "customer 4711", "device": "4f3cc1d06e1b4d0a9f2e8b7c6d5a4e3f"},
]}))]
struct Bindings {
    #[schema(value_type = Vec<Binding>, min_items = 1, max_items = 1_000)]
    bindings: Many<Box<RawValue>, HTTP_BINDINGS_MAX>,
}

/// What has become of the bindings, in their order.
#[derive(Serialize, ToSchema)]
struct BindingOutcomes<'a> {
    results: Vec<BindingOutcome<'a>>,
}

/// What has become of a binding.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BindingOutcome<'a> {
    /// It was refused.
    Refused(Refused<'a>),
    /// It is as asked.
    Done(Done),
}

/// A binding that is as asked.
#[derive(Serialize, ToSchema)]
struct Done {
    /// The status that it would have had alone: 204.
    #[schema(example = 204, minimum = 204, maximum = 204)]
    status: u16,
}

/// An alias.
#[derive(Serialize, ToSchema)]
struct AliasDevices {
    alias: AliasName,
    /// The devices that have it.
    devices: Vec<AliasDevice>,
}

/// A device that has an alias.
#[derive(Serialize, ToSchema)]
struct AliasDevice {
    device: Device,
    /// The peer that opened on it last.
    peer: Peer,
    /// That peer has a session on it.
    online: bool,
    /// That peer has logged out on it, or has been gone for so long that nothing waits for it.
    gone: bool,
}

/// A device.
#[derive(Serialize, ToSchema)]
struct FoundDevice {
    #[serde(flatten)]
    device: AliasDevice,
    /// Its alias, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alias: Option<AliasName>,
}

/// Binds aliases to devices.
///
/// A device has one alias: a new one takes the place of the one before. An alias has at most ten
/// devices, unless the server is set otherwise.
#[utoipa::path(
    post, path = "/v1/aliases", tag = "aliases", request_body = Bindings,
    responses((status = 200, body = BindingOutcomes<'_>)),
)]
async fn bind(Ready(hub): Ready, Json(asked): Json<Bindings>) -> Response {
    change(&hub, asked, |alias, device| AliasChange::Bind { alias, device }).await
}

/// Takes aliases away from devices that have them.
#[utoipa::path(
    post, path = "/v1/aliases/unbind", tag = "aliases", request_body = Bindings,
    responses((status = 200, body = BindingOutcomes<'_>)),
)]
async fn unbind(Ready(hub): Ready, Json(asked): Json<Bindings>) -> Response {
    let unbound = |alias, device| AliasChange::Unbind { alias, device: Some(device) };
    change(&hub, asked, unbound).await
}

/// Takes an alias away from all devices that have it.
#[utoipa::path(
    delete, path = "/v1/aliases/{alias}", tag = "aliases",
    params(("alias" = inline(AliasName), Path, description = "Percent-encoded")),
    responses((status = 204, description = "No device has it any more")),
)]
async fn remove(Ready(hub): Ready, Path(Text(alias)): Path<AliasName>) -> Outcome<StatusCode> {
    let changes = vec![AliasChange::Unbind { alias, device: None }];
    hub.change_aliases(changes).await.into_iter().collect::<Result<(), _>>()?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells which devices have an alias, and where they are.
///
/// An alias that is called `unbind` is at `/v1/aliases/%75nbind`.
#[utoipa::path(
    get, path = "/v1/aliases/{alias}", tag = "aliases",
    params(("alias" = inline(AliasName), Path, description = "Percent-encoded")),
    responses((status = 200, body = AliasDevices)),
)]
async fn alias(
    Ready(hub): Ready,
    Path(Text(alias)): Path<AliasName>,
) -> Outcome<Json<AliasDevices>> {
    let routes = hub.store().alias(&alias).await?;
    if routes.is_empty() {
        return Err(Reason::NoSuchAlias.into());
    }
    let devices = routes.into_iter().map(AliasDevice::from).collect();
    Ok(Json(AliasDevices { alias: Text(alias), devices }))
}

/// Tells where a device is, and its alias.
#[utoipa::path(
    get, path = "/v1/devices/{device}", tag = "aliases",
    params(("device" = inline(Device), Path, description = "Percent-encoded")),
    responses((status = 200, body = FoundDevice)),
)]
async fn device(Ready(hub): Ready, Path(Text(device)): Path<Device>) -> Outcome<Json<FoundDevice>> {
    let found = hub.store().device(&device).await?;
    let (route, alias) = found.ok_or(Reason::NoSuchDevice)?;
    Ok(Json(FoundDevice { device: route.into(), alias: alias.map(Text) }))
}

impl From<Route> for AliasDevice {
    fn from(Route { device, peer, online, gone }: Route) -> Self {
        Self { device: Text(device), peer: Text(peer), online, gone }
    }
}

/// Changes what is well put, and tells of each in its place.
async fn change(
    hub: &Hub,
    asked: Bindings,
    as_change: impl Fn(Alias, DeviceId) -> AliasChange,
) -> Response {
    let changes = asked.bindings.0.iter().map(|binding| {
        let Binding { alias: Text(alias), device: Text(device) } = item(binding)?;
        Ok(as_change(alias, device))
    });
    let (changes, problems) = split(changes);
    let outcomes = merge(problems, hub.change_aliases(changes).await);
    let places = places("bindings", outcomes.len());
    let results = outcomes.iter().zip(&places).map(|(outcome, place)| match outcome {
        Ok(()) => BindingOutcome::Done(Done { status: StatusCode::NO_CONTENT.as_u16() }),
        Err(problem) => BindingOutcome::Refused(Refused::new(problem, place)),
    });
    Json(BindingOutcomes { results: results.collect() }).into_response()
}
