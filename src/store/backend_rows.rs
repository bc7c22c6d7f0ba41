//! The rows of the state about devices and aliases, blocked peers, idempotency keys, messages for
//! the app's back end, deleted groups, and counts; `state.rs` has the table of all keys.
//!
//! # Invariants
//!
//! * What cannot be read is left out where many rows are read, and is an error where one is.

use std::collections::BTreeSet;

use crate::id::{Alias, DeviceId, GroupId, MessageId, PeerId};
use crate::store::backend_image::{
    pack_alias, pack_aliased, pack_blocked, pack_deleted, pack_device, pack_key, pack_upstream,
    pack_waiting, unpack_alias, unpack_aliased, unpack_deleted, unpack_device, unpack_key,
    unpack_upstream, unpack_waiting, upstream_at_ms,
};
use crate::store::database::DatabaseError;
use crate::store::directory::Whereabouts;
use crate::store::entry::{IdempotencyKey, Upstream};
use crate::store::group::Group;
use crate::store::group_image::{pack_group, unpack_group};
use crate::store::sender::Stored;
use crate::store::state::{Changes, GROUP, State, group_key};

const DELETED_GROUP: &[u8] = b"v";
/// When a group was deleted last.
const DELETED: &[u8] = b"z";
/// How many devices have an alias.
const ALIASED: &[u8] = b"y";
/// How much waits in all inboxes.
const WAITING: &[u8] = b"m";
const BLOCKED: &[u8] = b"b";
const KEY: &[u8] = b"i";
const UPSTREAM: &[u8] = b"q";

impl State {
    /// The groups behind `after`, by their ids.
    pub(super) fn groups_after(
        &self,
        after: GroupId,
    ) -> impl Iterator<Item = Result<GroupId, DatabaseError>> + use<> {
        let rows = self.database.scan(GROUP, &group_key(after));
        let ids = rows.filter_map(|row| match row {
            Ok((key, _)) => key[1..].try_into().ok().map(|id| Ok(GroupId(id))),
            Err(error) => Some(Err(error)),
        });
        ids.filter(move |id| !matches!(id, Ok(id) if *id <= after))
    }

    /// The groups that were deleted, as far as a replay may ask for them. What cannot be read is
    /// left out.
    pub(super) fn deleted_groups(&self) -> Result<Vec<Group>, DatabaseError> {
        let mut groups = Vec::new();
        for row in self.database.scan(DELETED_GROUP, DELETED_GROUP) {
            let (key, value) = row?;
            if let Ok(id) = key[1..].try_into() {
                groups.extend(unpack_group(GroupId(id), &value).ok());
            }
        }
        Ok(groups)
    }

    /// When a group was deleted last, in milliseconds since 1970.
    pub(super) fn deleted_ms(&self) -> Result<Option<i64>, DatabaseError> {
        self.unpacked(DELETED, unpack_deleted)
    }

    pub(super) fn device(&self, id: &DeviceId) -> Result<Option<Whereabouts>, DatabaseError> {
        self.unpacked(&device_key(id), unpack_device)
    }

    /// The devices that the row of an alias names, by their ids.
    pub(super) fn alias(&self, alias: &Alias) -> Result<Option<Vec<DeviceId>>, DatabaseError> {
        self.unpacked(&alias_key(alias), unpack_alias)
    }

    /// How many of the devices in here have an alias.
    pub(super) fn aliased(&self) -> Result<Option<usize>, DatabaseError> {
        self.unpacked(ALIASED, unpack_aliased)
    }

    /// How much waits in the inboxes in here.
    pub(super) fn waiting(&self) -> Result<Option<usize>, DatabaseError> {
        self.unpacked(WAITING, unpack_waiting)
    }

    /// The peers that are blocked.
    pub(super) fn blocked(&self) -> Result<BTreeSet<PeerId>, DatabaseError> {
        let mut blocked = BTreeSet::new();
        for row in self.database.scan(BLOCKED, BLOCKED) {
            let (key, _) = row?;
            let id = std::str::from_utf8(&key[1..]).ok().and_then(|id| PeerId::new(id).ok());
            blocked.extend(id);
        }
        Ok(blocked)
    }

    /// The idempotency keys, and what was stored for them. What cannot be read is left out.
    pub(super) fn keys(&self) -> Result<Vec<(IdempotencyKey, Stored)>, DatabaseError> {
        let mut keys = Vec::new();
        for row in self.database.scan(KEY, KEY) {
            let (key, value) = row?;
            if let (Ok(key), Ok(stored)) = (key[1..].try_into(), unpack_key(&value)) {
                keys.push((key, stored));
            }
        }
        Ok(keys)
    }

    /// The messages that wait for the back end, and when each came. What cannot be read is left
    /// out.
    pub(super) fn upstreams(&self) -> Result<Vec<(MessageId, i64)>, DatabaseError> {
        let mut waiting = Vec::new();
        for row in self.database.scan(UPSTREAM, UPSTREAM) {
            let (key, value) = row?;
            if let (Ok(id), Ok(at_ms)) = (key[1..].try_into(), upstream_at_ms(&value)) {
                waiting.push((MessageId(i64::from_be_bytes(id)), at_ms));
            }
        }
        Ok(waiting)
    }

    pub(super) fn upstream(&self, id: MessageId) -> Result<Option<Upstream>, DatabaseError> {
        self.unpacked(&upstream_key(id), |bytes| unpack_upstream(id, bytes))
    }
}

impl Changes {
    /// Writes where a device is, or that nobody knows.
    pub(super) fn device(&mut self, id: &DeviceId, found: Option<&Whereabouts>) {
        self.put(&device_key(id), found.map(pack_device));
    }

    /// Writes the devices of an alias.
    pub(super) fn alias(&mut self, alias: &Alias, devices: &[DeviceId]) {
        self.put(&alias_key(alias), (!devices.is_empty()).then(|| pack_alias(devices)));
    }

    pub(super) fn aliased(&mut self, count: usize) {
        self.write(ALIASED, pack_aliased(count));
    }

    pub(super) fn waiting(&mut self, count: usize) {
        self.write(WAITING, pack_waiting(count));
    }

    pub(super) fn blocked(&mut self, peer: &PeerId, is_blocked: bool) {
        let key = [BLOCKED, peer.as_str().as_bytes()].concat();
        self.put(&key, is_blocked.then(pack_blocked));
    }

    pub(super) fn key(&mut self, key: &IdempotencyKey, stored: Option<&Stored>) {
        self.put(&[KEY, key].concat(), stored.map(pack_key));
    }

    /// Writes a message that waits for the back end, or that it does so no more.
    pub(super) fn upstream(&mut self, id: MessageId, message: Option<&Upstream>) {
        self.put(&upstream_key(id), message.map(pack_upstream));
    }

    /// Writes that a group was deleted, at `at_ms` the last one.
    pub(super) fn deleted_group(&mut self, group: &Group, at_ms: i64) {
        self.put(&group_key(group.id), None);
        self.write(&deleted_group_key(group.id), pack_group(group));
        self.write(DELETED, pack_deleted(at_ms));
    }

    pub(super) fn remove_deleted_group(&mut self, group: GroupId) {
        self.put(&deleted_group_key(group), None);
    }
}

fn deleted_group_key(group: GroupId) -> Vec<u8> {
    [DELETED_GROUP, &group.0].concat()
}

fn device_key(device: &DeviceId) -> Vec<u8> {
    [b"d", device.as_str().as_bytes()].concat()
}

fn alias_key(alias: &Alias) -> Vec<u8> {
    [b"a", alias.as_str().as_bytes()].concat()
}

fn upstream_key(message: MessageId) -> Vec<u8> {
    [UPSTREAM, &message.0.to_be_bytes()].concat()
}
