//! What clients send to the back end itself: listed, and settled one by one.
//!
//! # Invariants
//!
//! * A message waits until it is settled, or a day is over; then its sender is told.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Json, Path, Query, Ready};
use super::page::{Page, limit};
use super::problem::Outcome;
use super::routes::Routes;
use super::scope::Scope;
use super::text::{Device, Message, Peer, Text};
use super::values::Body;
use crate::id::MessageId;
use crate::limits::UPSTREAM_PAGE_MAX;
use crate::store::Upstream;

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve(Scope::Read, routes!(list)).serve(Scope::Send, routes!(settle))
}

/// Which page of them.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Those behind this one: `next` of the page before.
    #[param(inline)]
    after: Option<Message>,
    /// How many at the most; 100 if it is left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
}

/// A message to the back end.
#[derive(Serialize, ToSchema)]
struct UpstreamMessage {
    id: Message,
    /// When the server took it.
    at_ms: i64,
    from: Peer,
    device: Device,
    #[serde(flatten)]
    said: Body,
}

/// What the back end makes of a message.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"accepted": true}))]
struct Settlement {
    /// It has accepted the message; otherwise it refuses it.
    accepted: bool,
}

/// Lists what waits for the back end, the oldest first.
#[utoipa::path(
    get, path = "/v1/upstream", tag = "upstream", params(Which),
    responses((status = 200, body = Page<UpstreamMessage>)),
)]
async fn list(
    Ready(hub): Ready,
    Query(which): Query<Which>,
) -> Outcome<Json<Page<UpstreamMessage>>> {
    let after = which.after.map_or(MessageId::NONE, |Text(after)| after);
    let max = limit(which.limit, UPSTREAM_PAGE_MAX)?;
    let (waiting, more) = hub.store().upstream(after, max).await?;
    let next = waiting.last().filter(|_| more).map(|last| last.id.to_string());
    let items = waiting.into_iter().map(UpstreamMessage::from).collect();
    Ok(Json(Page { items, next }))
}

/// Accepts a message to the back end, or refuses it. All devices of its sender hear of that, and
/// the message waits no more.
#[utoipa::path(
    post, path = "/v1/upstream/{id}", tag = "upstream", request_body = Settlement,
    params(("id" = inline(Message), Path, description = "Of the message")),
    responses((status = 204, description = "Its sender hears of it")),
)]
async fn settle(
    Ready(hub): Ready,
    Path(Text(message)): Path<Message>,
    Json(settlement): Json<Settlement>,
) -> Outcome<StatusCode> {
    hub.settle_upstream(message, settlement.accepted).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Upstream> for UpstreamMessage {
    fn from(Upstream { id, at_ms, from, device, body }: Upstream) -> Self {
        Self {
            id: Text(id),
            at_ms,
            from: Text(from),
            device: Text(device),
            said: Body::from(&body),
        }
    }
}
