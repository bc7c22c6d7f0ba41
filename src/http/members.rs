//! The members of groups: listed, added and removed.
//!
//! # Invariants
//!
//! * Who becomes a member, or is one no more, is told, and so are the others.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Json, Path, Query, Ready};
use super::groups::{GroupState, find, told};
use super::many::Many;
use super::page::{self, Page};
use super::peers::texts;
use super::problem::Outcome;
use super::routes::Routes;
use super::scope::Scope;
use super::text::{Group, Peer, Text};
use crate::id::PeerId;
use crate::limits::{CHANGED_MEMBERS_MAX, HTTP_PAGE_MAX};
use crate::store::GroupAction;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Read, routes!(list))
        .serve(Scope::Admin, routes!(add_members))
        .serve(Scope::Admin, routes!(remove_members))
}

/// Who is to become a member, or to be one no more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peers": ["cat"]}))]
pub(super) struct Members {
    /// The peers.
    #[schema(value_type = Vec<Peer>, min_items = 1, max_items = 1000)]
    peers: Many<Peer, CHANGED_MEMBERS_MAX>,
}

/// A part of the members of a group.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MembersPart {
    /// Members behind this one, by the order of their ids: what `next` of the last page says.
    #[param(value_type = Option<String>)]
    after: Option<Peer>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// Lists the members of a group, by their ids; an open group has none.
#[utoipa::path(
    get, path = "/v1/groups/{group}/members", tag = "groups",
    params(("group" = inline(Group), Path), MembersPart),
    responses((status = 200, body = Page<Peer>)),
)]
async fn list(
    Ready(hub): Ready,
    Path(Text(group)): Path<Group>,
    Query(part): Query<MembersPart>,
) -> Outcome<Json<Page<Peer>>> {
    let limit = page::limit(part.limit, HTTP_PAGE_MAX)?;
    let found = find(&hub, group).await?;
    let is_behind = |peer: &&PeerId| part.after.as_ref().is_none_or(|Text(after)| *peer > after);
    let mut members = found.members().filter(is_behind);
    let items = texts(members.by_ref().take(limit).cloned().collect());
    let next = items.last().filter(|_| members.next().is_some());
    let next = next.map(|Text(last)| last.as_str().to_owned());
    Ok(Json(Page { items, next }))
}

/// Makes peers members of a group; those who are already stay so.
#[utoipa::path(
    post, path = "/v1/groups/{group}/members", tag = "groups", request_body = Members,
    params(("group" = inline(Group), Path)),
    responses((status = 200, body = GroupState, headers(("ETag" = String)))),
)]
async fn add_members(
    Ready(hub): Ready,
    Path(Text(group)): Path<Group>,
    Json(members): Json<Members>,
) -> Outcome<Response> {
    let changed = hub.change_group(group, GroupAction::Invite(members.ids())).await?;
    Ok(told(&hub, &changed).into_response())
}

/// Removes members from a group; those who are none are passed over.
#[utoipa::path(
    post, path = "/v1/groups/{group}/members/remove", tag = "groups", request_body = Members,
    params(("group" = inline(Group), Path)),
    responses((status = 200, body = GroupState, headers(("ETag" = String)))),
)]
async fn remove_members(
    Ready(hub): Ready,
    Path(Text(group)): Path<Group>,
    Json(members): Json<Members>,
) -> Outcome<Response> {
    let changed = hub.change_group(group, GroupAction::Kick(members.ids())).await?;
    Ok(told(&hub, &changed).into_response())
}

impl Members {
    fn ids(self) -> Vec<PeerId> {
        let Many(peers) = self.peers;
        peers.into_iter().map(|Text(peer)| peer).collect()
    }
}
