//! Peers: who is online and on which devices; how to kick them.
//!
//! # Invariants
//!
//! * A peer is whom the app names: one that never opened a session is off line and has no devices.
//! * Online means here what watchers are told of it.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{Json, Path, Ready};
use super::many::Many;
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use super::text::{AliasName, Device, Peer, Session, Text};
use crate::hub::{Hub, SessionStatus};
use crate::id::{DeviceFlag, PeerId};
use crate::limits::{HTTP_PEERS_MAX, REASON_TEXT_BYTES_MAX};
use crate::store::{KnownDevice, ReadError};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .serve(Scope::Read, routes!(status))
        .serve(Scope::Read, routes!(read))
        .serve(Scope::Admin, routes!(kick))
}

/// Which peers are asked about.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"peers": ["ann", "bob"]}))]
pub(super) struct StatusQuestion {
    /// The peers.
    #[schema(value_type = Vec<Peer>, min_items = 1, max_items = 1000)]
    peers: Many<Peer, HTTP_PEERS_MAX>,
}

/// Who is online and who is not; each once, by their ids.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"online": ["ann"], "offline": ["bob"]}))]
pub(super) struct Statuses {
    online: Vec<Peer>,
    offline: Vec<Peer>,
}

/// How a peer is.
#[derive(Serialize, ToSchema)]
pub(super) struct PeerStatus {
    peer: Peer,
    /// It has a session, or lost its last one so short a time ago that it may be back at once.
    online: bool,
    /// It may open no session.
    blocked: bool,
    /// Its sessions now.
    sessions: Vec<SessionOf>,
    /// Its devices that are remembered.
    devices: Vec<DeviceOf>,
}

/// A session of a peer.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionOf {
    id: Session,
    device: Device,
    flag: Flag,
    /// The client's name and version, as it says itself.
    #[schema(example = "tidings/0.1.0")]
    client: String,
    /// Where it connected from: an address and a port.
    #[schema(example = "203.0.113.7:52011")]
    address: String,
    /// When it was opened.
    opened_ms: i64,
}

/// A device of a peer.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceOf {
    device: Device,
    flag: Flag,
    /// It has a session.
    online: bool,
    /// When its last session ended, or began if it has one.
    seen_ms: i64,
    /// By which name the peer is reached on it; none if another peer has opened on it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    alias: Option<AliasName>,
}

/// What a device is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Flag {
    /// A phone or tablet.
    App,
    /// A browser.
    Web,
    /// A computer.
    Pc,
}

/// Which sessions are to end, and what their clients are told.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "you have a new phone"}))]
pub(super) struct Kick {
    /// The one on this device; all without one.
    device: Option<Device>,
    /// What the client is told; at most 200 bytes.
    #[schema(max_length = 200)]
    reason: Option<String>,
}

/// What has ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Ended {
    /// How many sessions.
    ended: usize,
}

/// Tells which of some peers are online.
#[utoipa::path(
    post, path = "/v1/peers/status", tag = "peers", request_body = StatusQuestion,
    responses((status = 200, body = Statuses)),
)]
async fn status(
    Ready(hub): Ready,
    Json(question): Json<StatusQuestion>,
) -> Outcome<Json<Statuses>> {
    let Many(peers) = question.peers;
    let mut peers: Vec<_> = peers.into_iter().map(|Text(peer)| peer).collect();
    let online = hub.online(&peers).await?;
    let is_online: HashSet<&PeerId> = online.iter().collect();
    peers.sort_unstable();
    peers.dedup();
    peers.retain(|peer| !is_online.contains(peer));
    Ok(Json(Statuses { online: texts(online), offline: texts(peers) }))
}

/// Tells how a peer is, with its sessions and devices.
///
/// A peer that is called `status` is at `/v1/peers/%73tatus`.
#[utoipa::path(
    get, path = "/v1/peers/{peer}", tag = "peers", params(("peer" = inline(Peer), Path)),
    responses((status = 200, body = PeerStatus)),
)]
async fn read(Ready(hub): Ready, Path(Text(peer)): Path<Peer>) -> Outcome<Json<PeerStatus>> {
    let known = hub.store().devices(&peer).await?;
    let devices = known.into_iter().map(|known| device(&hub, &peer, known));
    let devices = try_join_all(devices).await?;
    let online = !hub.online(std::slice::from_ref(&peer)).await?.is_empty();
    let blocked = hub.store().is_blocked(&peer);
    let sessions = hub.sessions(&peer).into_iter().map(SessionOf::from).collect();
    Ok(Json(PeerStatus { peer: Text(peer), online, blocked, sessions, devices }))
}

async fn device(hub: &Hub, peer: &PeerId, known: KnownDevice) -> Result<DeviceOf, ReadError> {
    let found = hub.store().device(&known.device).await?;
    let alias = found.filter(|(route, _)| route.peer == *peer).and_then(|(_, alias)| alias);
    Ok(DeviceOf {
        device: Text(known.device),
        flag: known.flag.into(),
        online: known.online,
        seen_ms: known.seen_ms,
        alias: alias.map(Text),
    })
}

/// Ends sessions of a peer; their clients are told why, and may come back.
#[utoipa::path(
    post, path = "/v1/peers/{peer}/kick", tag = "peers", params(("peer" = inline(Peer), Path)),
    request_body = Option<Kick>, responses((status = 200, body = Ended)),
)]
async fn kick(
    Ready(hub): Ready,
    Path(Text(peer)): Path<Peer>,
    kick: Option<Json<Option<Kick>>>,
) -> Outcome<Json<Ended>> {
    let Kick { device, reason } = kick.and_then(|Json(kick)| kick).unwrap_or_default();
    let reason = reason.unwrap_or_default();
    if reason.len() > REASON_TEXT_BYTES_MAX {
        let detail = format!("a reason of {} bytes exceeds {REASON_TEXT_BYTES_MAX}", reason.len());
        return Err(Problem::new(Kind::InvalidBody, detail));
    }
    let device = device.map(|Text(device)| device);
    Ok(Json(Ended { ended: hub.end_sessions(&peer, device.as_ref(), &reason) }))
}

/// Peers as an answer names them.
pub(super) fn texts(peers: Vec<PeerId>) -> Vec<Peer> {
    peers.into_iter().map(Text).collect()
}

impl From<SessionStatus> for SessionOf {
    fn from(session: SessionStatus) -> Self {
        Self {
            id: Text(session.id),
            device: Text(session.device),
            flag: session.about.flag.into(),
            client: session.about.client.as_str().to_owned(),
            address: session.about.address.to_string(),
            opened_ms: session.opened_ms,
        }
    }
}

impl From<DeviceFlag> for Flag {
    fn from(flag: DeviceFlag) -> Self {
        match flag {
            DeviceFlag::App => Self::App,
            DeviceFlag::Web => Self::Web,
            DeviceFlag::Pc => Self::Pc,
        }
    }
}
