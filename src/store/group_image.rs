//! The stored form of a group, of a nonce that was used, and of a message that was taken back.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.

use bytes::Bytes;
use rkyv::{Archive, Serialize};

use crate::id::{GroupId, MessageId, PeerId};
use crate::store::archive::{AsText, Kind, ValueError, pack, unpack};
use crate::store::group::{Group, Stint};
use crate::store::inscribed::{maybe_peer, name, peer, rules_bytes, rules_of};

const VERSION: u8 = 1;

#[derive(Archive, Serialize)]
struct GroupV1 {
    /// An empty text is nobody.
    creator: String,
    open: bool,
    rules: [u8; 3],
    metadata: Bytes,
    version: i64,
    created_ms: i64,
    stints: Vec<StintV1>,
    applied: i64,
}

#[derive(Archive, Serialize)]
struct StintV1 {
    #[rkyv(with = AsText)]
    peer: PeerId,
    since: i64,
    until: i64,
}

/// The stored form of a group.
pub(super) fn pack_group(group: &Group) -> Vec<u8> {
    let stint = |stint: &Stint| StintV1 {
        peer: stint.peer.clone(),
        since: stint.since.0,
        until: stint.until.0,
    };
    let image = GroupV1 {
        creator: name(group.creator.as_ref()),
        open: group.open,
        rules: rules_bytes(group.rules),
        metadata: group.metadata.clone(),
        version: group.version.0,
        created_ms: group.created_ms,
        stints: group.stints.iter().map(stint).collect(),
        applied: group.applied.0,
    };
    pack(Kind::Group, VERSION, &image)
}

/// Reads what [`pack_group`] wrote.
pub(super) fn unpack_group(id: GroupId, bytes: &[u8]) -> Result<Group, ValueError> {
    let image = unpack::<ArchivedGroupV1>(Kind::Group, VERSION, bytes)?;
    let stint = |stint: &ArchivedStintV1| {
        Ok(Stint {
            peer: peer(&stint.peer)?,
            since: MessageId(stint.since.to_native()),
            until: MessageId(stint.until.to_native()),
        })
    };
    let stints = image.stints.iter().map(stint).collect::<Result<Vec<_>, ValueError>>()?;
    Ok(Group {
        id,
        creator: maybe_peer(&image.creator)?,
        open: image.open,
        rules: rules_of(image.rules)?,
        metadata: Bytes::copy_from_slice(&image.metadata),
        version: MessageId(image.version.to_native()),
        created_ms: image.created_ms.to_native(),
        current: Group::current(&stints),
        stints,
        applied: MessageId(image.applied.to_native()),
    })
}

#[derive(Archive, Serialize)]
struct NonceV1 {
    expires_ms: i64,
}

/// The stored form of a nonce.
pub(super) fn pack_nonce(expires_ms: i64) -> Vec<u8> {
    pack(Kind::Nonce, VERSION, &NonceV1 { expires_ms })
}

/// Reads what [`pack_nonce`] wrote.
pub(super) fn unpack_nonce(bytes: &[u8]) -> Result<i64, ValueError> {
    Ok(unpack::<ArchivedNonceV1>(Kind::Nonce, VERSION, bytes)?.expires_ms.to_native())
}

#[derive(Archive, Serialize)]
struct RecalledV1 {
    entry: i64,
}

/// The stored form of a recalled message: which entry took it back.
pub(super) fn pack_recalled(entry: MessageId) -> Vec<u8> {
    pack(Kind::Recalled, VERSION, &RecalledV1 { entry: entry.0 })
}
