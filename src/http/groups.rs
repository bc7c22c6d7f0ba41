//! Groups: made, read, listed, changed and deleted by the back end, which may do everything.
//!
//! # Invariants
//!
//! * Whoever names the version that it has read changes nothing that it has not seen.
//! * Members hear of every change, as of one that another member makes.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Json, Path, Query, Ready};
use super::metadata;
use super::page::{self, Page};
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::rules::{AllRules, SomeRules};
use super::scope::Scope;
use super::text::{Group, Message, Peer, Text};
use super::version::{Demand, etag};
use crate::group::Rules;
use crate::hub::Hub;
use crate::id::GroupId;
use crate::limits::GROUPS_PAGE_MAX;
use crate::reason::Reason;
use crate::store::{self, GroupAction};

/// How often rules are merged with those that there are, when others change them meanwhile.
const MERGES_MAX: usize = 16;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Admin, routes!(create))
        .serve(Scope::Read, routes!(list))
        .serve(Scope::Read, routes!(read))
        .serve(Scope::Admin, routes!(edit, delete))
}

/// A group that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"members": ["ann", "bob"], "metadata": {"name": "Tuesday"}}))]
pub(super) struct NewGroup {
    /// Its members, who are told; none of an open group.
    #[serde(default)]
    #[schema(max_items = 1000)]
    members: Vec<Peer>,
    /// It has no members and takes transient messages only; whoever knows its id may come in.
    #[serde(default)]
    open: bool,
    /// Who may do what; without it members may invite, and the creator kicks and edits. The
    /// creator is the back end, so `creator` is nobody of the group.
    rules: Option<SomeRules>,
    /// Any JSON of at most 8 KiB.
    #[serde(default, deserialize_with = "metadata::given")]
    #[schema(value_type = Value)]
    metadata: Option<Box<RawValue>>,
}

/// What is to change in a group; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"metadata": {"name": "Wednesday"}}))]
pub(super) struct GroupEdit {
    /// Who may do what.
    rules: Option<SomeRules>,
    /// Any JSON of at most 8 KiB, in place of all that there is; null takes it away.
    #[serde(default, deserialize_with = "metadata::given")]
    #[schema(value_type = Value)]
    metadata: Option<Box<RawValue>>,
}

/// How a group is.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupState {
    group: Group,
    /// It has no members, and transient messages only.
    open: bool,
    /// Who created it; null for the back end.
    creator: Option<Peer>,
    /// What changes with every change; the header ETag has it in quotation marks.
    version: Message,
    /// When it was created.
    created_ms: i64,
    /// How many members it has; of an open group, how many sessions are in it now.
    count: usize,
    rules: AllRules,
    /// Any JSON; null if there is none.
    #[schema(value_type = Value)]
    metadata: Option<Box<RawValue>>,
}

/// A part of all groups.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupsPart {
    /// Groups behind this one, by the order of their ids: what `next` of the last page says.
    #[param(value_type = Option<String>)]
    after: Option<Group>,
    /// How many at the most.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<usize>,
}

/// Makes a group, whose creator is the back end.
#[utoipa::path(
    post, path = "/v1/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, body = GroupState, headers(("ETag" = String)))),
)]
async fn create(Ready(hub): Ready, Json(new): Json<NewGroup>) -> Outcome<Response> {
    if new.open && !new.members.is_empty() {
        return Err(Problem::new(Kind::InvalidBody, "an open group has no members"));
    }
    let members = new.members.into_iter().map(|Text(peer)| peer).collect();
    let metadata = new.metadata.as_deref().map(metadata::stored).transpose()?.unwrap_or_default();
    let rules = new.rules.unwrap_or_default().over(Rules::default());
    let create = GroupAction::Create { open: new.open, rules, metadata, members };
    let created = hub.create_group(create).await?;
    let place = [(header::LOCATION, format!("/v1/groups/{}", created.id))];
    Ok((StatusCode::CREATED, place, told(&hub, &created)).into_response())
}

/// Lists all groups, by their ids.
#[utoipa::path(
    get, path = "/v1/groups", tag = "groups", params(GroupsPart),
    responses((status = 200, body = Page<GroupState>)),
)]
async fn list(
    Ready(hub): Ready,
    Query(part): Query<GroupsPart>,
) -> Outcome<Json<Page<GroupState>>> {
    let limit = page::limit(part.limit, GROUPS_PAGE_MAX)?;
    let after = part.after.map_or(GroupId::default(), |Text(after)| after);
    let (groups, more) = hub.store().groups(after, limit).await?;
    let next = groups.last().filter(|_| more).map(|last| last.id.to_string());
    let items = groups.iter().map(|group| GroupState::new(&hub, group)).collect();
    Ok(Json(Page { items, next }))
}

/// Tells how a group is; who is in it is told by its members.
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "groups", params(("group" = inline(Group), Path)),
    responses((status = 200, body = GroupState, headers(("ETag" = String)))),
)]
async fn read(Ready(hub): Ready, Path(Text(group)): Path<Group>) -> Outcome<Response> {
    let found = find(&hub, group).await?;
    Ok(told(&hub, &found).into_response())
}

/// Changes the rules or the metadata of a group.
///
/// With If-Match only if the group has that version; else the last one to write wins.
#[utoipa::path(
    patch, path = "/v1/groups/{group}", tag = "groups", request_body = GroupEdit,
    params(("group" = inline(Group), Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = GroupState, headers(("ETag" = String)))),
)]
async fn edit(
    Ready(hub): Ready,
    Path(Text(group)): Path<Group>,
    headers: HeaderMap,
    Json(edit): Json<GroupEdit>,
) -> Outcome<Response> {
    let demand = Demand::of(&headers)?;
    let metadata = edit.metadata.as_deref().map(metadata::stored).transpose()?;
    for _ in 0..MERGES_MAX {
        let found = find(&hub, group).await?;
        demand.check(found.version)?;
        let rules = edit.rules.map(|rules| rules.over(found.rules));
        // What was merged is right only for the version that it was merged with.
        let version = (rules.is_some() || !demand.is_any()).then_some(found.version);
        let metadata = metadata.clone();
        match hub.change_group(group, GroupAction::Edit { rules, metadata, version }).await {
            Err(Reason::VersionChanged) if demand.is_any() => {}
            edited => return Ok(told(&hub, &*edited?).into_response()),
        }
    }
    Err(Reason::Busy.into())
}

/// Deletes a group; its members are told. With If-Match only if the group has that version.
#[utoipa::path(
    delete, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = inline(Group), Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "It is no more")),
)]
async fn delete(
    Ready(hub): Ready,
    Path(Text(group)): Path<Group>,
    headers: HeaderMap,
) -> Outcome<StatusCode> {
    let demand = Demand::of(&headers)?;
    let version = match demand.is_any() {
        true => None,
        false => Some(find(&hub, group).await?.version),
    };
    version.map(|version| demand.check(version)).transpose()?;
    hub.change_group(group, GroupAction::Delete { version }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A group that exists.
pub(super) async fn find(hub: &Hub, group: GroupId) -> Outcome<Arc<store::Group>> {
    let found = hub.store().group(group).await?;
    found.ok_or_else(|| Reason::NoSuchGroup.into())
}

/// A group, with its version as a tag.
pub(super) fn told(hub: &Hub, group: &store::Group) -> impl IntoResponse + use<> {
    ([(header::ETAG, etag(group.version))], Json(GroupState::new(hub, group)))
}

impl GroupState {
    fn new(hub: &Hub, group: &store::Group) -> Self {
        let count = if group.open { hub.open_group_count(group.id) } else { group.count() };
        Self {
            group: Text(group.id),
            open: group.open,
            creator: group.creator.clone().map(Text),
            version: Text(group.version),
            created_ms: group.created_ms,
            count,
            rules: group.rules.into(),
            metadata: metadata::told(&group.metadata),
        }
    }
}
