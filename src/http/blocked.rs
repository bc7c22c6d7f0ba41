//! Who is blocked: may open no session.
//!
//! # Invariants
//!
//! * Blocking who is blocked changes nothing, and so does the other way.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::extract::{Json, Path, Query, Ready};
use super::page::{self, Page};
use super::peers::texts;
use super::problem::Outcome;
use super::routes::Routes;
use super::scope::Scope;
use super::text::{Peer, Text};
use crate::limits::HTTP_PAGE_MAX;

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve(Scope::Admin, routes!(block, unblock)).serve(Scope::Read, routes!(list))
}

/// A part of all that are blocked.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BlockedPart {
    /// Peers behind this one, by the order of their ids: what `next` of the last page says.
    #[param(value_type = Option<String>)]
    after: Option<Peer>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Blocks a peer: its sessions end, and it can open none.
#[utoipa::path(
    put, path = "/v1/peers/{peer}/block", tag = "peers", params(("peer" = inline(Peer), Path)),
    responses((status = 204, description = "It is blocked")),
)]
async fn block(Ready(hub): Ready, Path(Text(peer)): Path<Peer>) -> Outcome<StatusCode> {
    hub.block(peer, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a peer open sessions again.
#[utoipa::path(
    delete, path = "/v1/peers/{peer}/block", tag = "peers", params(("peer" = inline(Peer), Path)),
    responses((status = 204, description = "It is not blocked")),
)]
async fn unblock(Ready(hub): Ready, Path(Text(peer)): Path<Peer>) -> Outcome<StatusCode> {
    hub.block(peer, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists who is blocked, by their ids.
#[utoipa::path(
    get, path = "/v1/blocked", tag = "peers", params(BlockedPart),
    responses((status = 200, body = Page<Peer>)),
)]
async fn list(Ready(hub): Ready, Query(part): Query<BlockedPart>) -> Outcome<Json<Page<Peer>>> {
    let limit = page::limit(part.limit, HTTP_PAGE_MAX)?;
    let after = part.after.map(|Text(after)| after);
    let (peers, more) = hub.store().blocked(after.as_ref(), limit);
    let last = peers.last().filter(|_| more);
    let next = last.map(|last| last.as_str().to_owned());
    Ok(Json(Page { items: texts(peers), next }))
}
