//! The stored form of what the app's back end has changed, of what waits for it, and of counts.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.

use bytes::Bytes;
use rkyv::string::ArchivedString;
use rkyv::with::Map;
use rkyv::{Archive, Serialize};

use crate::id::{Alias, DeviceId, MessageId, PeerId};
use crate::store::archive::{AsText, Kind, ValueError, pack, unpack};
use crate::store::directory::Whereabouts;
use crate::store::entry::Upstream;
use crate::store::inscribed::{alias, device, peer};
use crate::store::sender::Stored;

const VERSION: u8 = 1;

#[derive(Archive, Serialize)]
struct WhereaboutsV1 {
    #[rkyv(with = AsText)]
    peer: PeerId,
    /// An empty text is none.
    alias: String,
    applied: i64,
}

/// The stored form of where a device is.
pub(super) fn pack_device(found: &Whereabouts) -> Vec<u8> {
    let image = WhereaboutsV1 {
        peer: found.peer.clone(),
        alias: found.alias.as_ref().map_or("", Alias::as_str).to_owned(),
        applied: found.applied.0,
    };
    pack(Kind::Device, VERSION, &image)
}

/// Reads what [`pack_device`] wrote.
pub(super) fn unpack_device(bytes: &[u8]) -> Result<Whereabouts, ValueError> {
    let image = unpack::<ArchivedWhereaboutsV1>(Kind::Device, VERSION, bytes)?;
    let name = image.alias.as_str();
    Ok(Whereabouts {
        peer: peer(&image.peer)?,
        alias: if name.is_empty() { None } else { Some(alias(name)?) },
        applied: MessageId(image.applied.to_native()),
    })
}

#[derive(Archive, Serialize)]
struct AliasV1 {
    #[rkyv(with = Map<AsText>)]
    devices: Vec<DeviceId>,
}

/// The stored form of an alias: its devices, by their ids.
pub(super) fn pack_alias(devices: &[DeviceId]) -> Vec<u8> {
    pack(Kind::Alias, VERSION, &AliasV1 { devices: devices.to_vec() })
}

/// Reads what [`pack_alias`] wrote.
pub(super) fn unpack_alias(bytes: &[u8]) -> Result<Vec<DeviceId>, ValueError> {
    let image = unpack::<ArchivedAliasV1>(Kind::Alias, VERSION, bytes)?;
    let ids: &[ArchivedString] = &image.devices;
    let mut devices: Vec<_> = ids.iter().map(|id| device(id)).collect::<Result<_, _>>()?;
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}

#[derive(Archive, Serialize)]
struct AliasedV1 {
    count: u64,
}

/// The stored form of how many devices have an alias.
pub(super) fn pack_aliased(count: usize) -> Vec<u8> {
    pack(Kind::Aliased, VERSION, &AliasedV1 { count: count as u64 })
}

/// Reads what [`pack_aliased`] wrote.
pub(super) fn unpack_aliased(bytes: &[u8]) -> Result<usize, ValueError> {
    Ok(unpack::<ArchivedAliasedV1>(Kind::Aliased, VERSION, bytes)?.count.to_native() as usize)
}

#[derive(Archive, Serialize)]
struct BlockedV1 {
    blocked: bool,
}

/// The stored form of a blocked peer.
pub(super) fn pack_blocked() -> Vec<u8> {
    pack(Kind::Blocked, VERSION, &BlockedV1 { blocked: true })
}

#[derive(Archive, Serialize)]
struct KeyV1 {
    id: i64,
    sequence: u32,
    at_ms: i64,
    hash: u32,
}

/// The stored form of the message that a key was given to.
pub(super) fn pack_key(stored: &Stored) -> Vec<u8> {
    let Stored { id, sequence, at_ms, hash, .. } = *stored;
    pack(Kind::Key, VERSION, &KeyV1 { id: id.0, sequence, at_ms, hash })
}

/// Reads what [`pack_key`] wrote.
pub(super) fn unpack_key(bytes: &[u8]) -> Result<Stored, ValueError> {
    let image = unpack::<ArchivedKeyV1>(Kind::Key, VERSION, bytes)?;
    Ok(Stored {
        number: 0,
        id: MessageId(image.id.to_native()),
        sequence: image.sequence.to_native(),
        at_ms: image.at_ms.to_native(),
        hash: image.hash.to_native(),
    })
}

#[derive(Archive, Serialize)]
struct UpstreamV1 {
    at_ms: i64,
    #[rkyv(with = AsText)]
    from: PeerId,
    #[rkyv(with = AsText)]
    device: DeviceId,
    body: Bytes,
}

/// The stored form of a message that waits for the back end.
pub(super) fn pack_upstream(message: &Upstream) -> Vec<u8> {
    let Upstream { at_ms, from, device, body, .. } = message.clone();
    pack(Kind::Upstream, VERSION, &UpstreamV1 { at_ms, from, device, body })
}

/// Reads what [`pack_upstream`] wrote.
pub(super) fn unpack_upstream(id: MessageId, bytes: &[u8]) -> Result<Upstream, ValueError> {
    let image = unpack::<ArchivedUpstreamV1>(Kind::Upstream, VERSION, bytes)?;
    Ok(Upstream {
        id,
        at_ms: image.at_ms.to_native(),
        from: peer(&image.from)?,
        device: device(&image.device)?,
        body: Bytes::copy_from_slice(&image.body),
    })
}

/// When a message that waits for the back end was stored.
pub(super) fn upstream_at_ms(bytes: &[u8]) -> Result<i64, ValueError> {
    Ok(unpack::<ArchivedUpstreamV1>(Kind::Upstream, VERSION, bytes)?.at_ms.to_native())
}

#[derive(Archive, Serialize)]
struct WaitingV1 {
    count: u64,
}

/// The stored form of how much waits in all inboxes.
pub(super) fn pack_waiting(count: usize) -> Vec<u8> {
    pack(Kind::Waiting, VERSION, &WaitingV1 { count: count as u64 })
}

/// Reads what [`pack_waiting`] wrote.
pub(super) fn unpack_waiting(bytes: &[u8]) -> Result<usize, ValueError> {
    Ok(unpack::<ArchivedWaitingV1>(Kind::Waiting, VERSION, bytes)?.count.to_native() as usize)
}

#[derive(Archive, Serialize)]
struct DeletedV1 {
    at_ms: i64,
}

/// The stored form of when a group was deleted last.
pub(super) fn pack_deleted(at_ms: i64) -> Vec<u8> {
    pack(Kind::Deleted, VERSION, &DeletedV1 { at_ms })
}

/// Reads what [`pack_deleted`] wrote.
pub(super) fn unpack_deleted(bytes: &[u8]) -> Result<i64, ValueError> {
    Ok(unpack::<ArchivedDeletedV1>(Kind::Deleted, VERSION, bytes)?.at_ms.to_native())
}
