//! Where devices are: the peer that opened on each last, and the alias that it has.
//!
//! # Invariants
//!
//! * The row of a device says which alias it has. That of an alias names every device that has it;
//!   after a crash maybe some that have it no more, which are left out wherever it is read.
//! * A device changes by an entry once, however often that is replayed.
//! * What has changed reaches the state with a flush, before the checkpoint says so.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::chain::Chain;
use crate::id::{Alias, DeviceId, MessageId, PeerId};
use crate::limits::{ALIASED_DEVICES_MAX, DIRECTORY_CACHED_MAX};
use crate::reason::Reason;
use crate::store::database::DatabaseError;
use crate::store::state::{Changes, State};

/// What is known of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Whereabouts {
    /// The peer that opened on it last.
    pub(super) peer: PeerId,
    pub(super) alias: Option<Alias>,
    /// The last entry that shows here.
    pub(super) applied: MessageId,
}

impl Whereabouts {
    fn has(&self, alias: &Alias) -> bool {
        self.alias.as_ref() == Some(alias)
    }
}

/// A device in memory; `found` is `None` for one that nobody has opened on, or that was forgotten.
#[derive(Debug, Default)]
struct Slot {
    found: Option<Whereabouts>,
    /// Its stored form has an alias.
    is_stored_with_alias: bool,
    dirty: bool,
}

/// An alias in memory: the devices that its row names, by their ids.
#[derive(Debug, Default)]
struct Named {
    devices: Vec<DeviceId>,
    dirty: bool,
}

/// The directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    devices: HashMap<DeviceId, Slot, RandomState>,
    aliases: HashMap<Alias, Named, RandomState>,
    /// Those that differ from their stored form; each stands here once.
    dirty_devices: Vec<DeviceId>,
    dirty_aliases: Vec<Alias>,
    /// Devices that have an alias.
    pub(super) aliased: usize,
    /// Devices whose stored form has one.
    stored: usize,
}

impl Directory {
    /// The directory of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        let stored = readable(state.aliased())?.unwrap_or(0);
        Ok(Self { aliased: stored, stored, ..Self::default() })
    }

    /// Where a device is; `None` if nobody has opened on it.
    pub(super) fn device(
        &mut self,
        state: &State,
        device: &DeviceId,
    ) -> Result<Option<&Whereabouts>, DatabaseError> {
        Ok(self.slot(state, device)?.found.as_ref())
    }

    /// The devices that have an alias, by their ids.
    pub(super) fn devices_of(
        &mut self,
        state: &State,
        alias: &Alias,
    ) -> Result<Vec<DeviceId>, DatabaseError> {
        let named = self.named(state, alias)?.devices.clone();
        let mut devices = Vec::with_capacity(named.len());
        for device in named {
            if self.device(state, &device)?.is_some_and(|found| found.has(alias)) {
                devices.push(device);
            }
        }
        let named = self.named(state, alias)?;
        if named.devices.len() > devices.len() {
            named.devices = devices.clone();
            self.touch_alias(alias);
        }
        Ok(devices)
    }

    /// Whether a device has an alias.
    pub(super) fn has(
        &mut self,
        state: &State,
        device: &DeviceId,
        alias: &Alias,
    ) -> Result<bool, DatabaseError> {
        Ok(self.device(state, device)?.is_some_and(|found| found.has(alias)))
    }

    /// Whether an alias may be bound to a device: `false` if that changes nothing.
    pub(super) fn judge(
        &mut self,
        state: &State,
        alias: &Alias,
        device: &DeviceId,
        devices_max: usize,
    ) -> Result<Result<bool, Reason>, DatabaseError> {
        let Some(found) = self.device(state, device)? else {
            return Ok(Err(Reason::NoSuchDevice));
        };
        if found.has(alias) {
            return Ok(Ok(false));
        }
        let is_more = found.alias.is_none();
        if self.devices_of(state, alias)?.len() >= devices_max {
            return Ok(Err(Reason::AliasFull));
        }
        let is_full = is_more && self.aliased >= ALIASED_DEVICES_MAX;
        Ok(if is_full { Err(Reason::TooManyAliases) } else { Ok(true) })
    }

    /// A peer has opened on a device.
    pub(super) fn opened(
        &mut self,
        state: &State,
        device: &DeviceId,
        peer: &PeerId,
        entry: MessageId,
    ) -> Result<(), DatabaseError> {
        let slot = self.slot(state, device)?;
        match &mut slot.found {
            Some(found) if found.peer == *peer || entry <= found.applied => return Ok(()),
            Some(found) => (found.peer, found.applied) = (peer.clone(), entry),
            None => {
                let peer = peer.clone();
                slot.found = Some(Whereabouts { peer, alias: None, applied: entry });
            }
        }
        self.touch_device(device);
        Ok(())
    }

    /// A device has an alias from now on, and no other.
    pub(super) fn bind(
        &mut self,
        state: &State,
        alias: &Alias,
        device: &DeviceId,
        entry: MessageId,
    ) -> Result<(), DatabaseError> {
        // Always: the row of the alias may be older than that of the device.
        let devices = &mut self.named(state, alias)?.devices;
        if let Err(at) = devices.binary_search(device) {
            devices.insert(at, device.clone());
            self.touch_alias(alias);
        }
        let found = self.slot(state, device)?.found.as_mut();
        let Some(found) = found.filter(|found| entry > found.applied && !found.has(alias)) else {
            return Ok(());
        };
        found.applied = entry;
        let before = found.alias.replace(alias.clone());
        self.touch_device(device);
        match before {
            Some(before) => self.take_from(state, &before, device),
            None => {
                self.aliased += 1;
                Ok(())
            }
        }
    }

    /// A device has an alias no more.
    pub(super) fn unbind(
        &mut self,
        state: &State,
        alias: &Alias,
        device: &DeviceId,
        entry: MessageId,
    ) -> Result<(), DatabaseError> {
        self.take_from(state, alias, device)?;
        let found = self.slot(state, device)?.found.as_mut();
        let found = found.filter(|found| entry > found.applied && found.has(alias));
        if let Some(found) = found {
            (found.alias, found.applied) = (None, entry);
            self.aliased = self.aliased.saturating_sub(1);
            self.touch_device(device);
        }
        Ok(())
    }

    /// A peer has a device no more. If nobody else has opened on it since, it is forgotten.
    pub(super) fn forget(
        &mut self,
        state: &State,
        device: &DeviceId,
        peer: &PeerId,
        entry: MessageId,
    ) -> Result<(), DatabaseError> {
        let slot = self.slot(state, device)?;
        let is_its = |found: &mut Whereabouts| entry > found.applied && found.peer == *peer;
        let Some(gone) = slot.found.take_if(is_its) else { return Ok(()) };
        self.touch_device(device);
        if let Some(alias) = gone.alias {
            self.aliased = self.aliased.saturating_sub(1);
            self.take_from(state, &alias, device)?;
        }
        Ok(())
    }

    /// Devices and aliases that differ from their stored form.
    pub(super) fn dirty_len(&self) -> usize {
        self.dirty_devices.len() + self.dirty_aliases.len()
    }

    /// Puts up to `max` of what has changed into `changes`; says whether there was anything.
    pub(super) fn flush_some(&mut self, max: usize, changes: &mut Changes) -> bool {
        let before = changes.count;
        while changes.count - before < max {
            let Some(id) = self.dirty_devices.pop() else { break };
            let Some(slot) = self.devices.get_mut(&id) else { continue };
            slot.dirty = false;
            changes.device(&id, slot.found.as_ref());
            let has_alias = slot.found.as_ref().is_some_and(|found| found.alias.is_some());
            let had_alias = std::mem::replace(&mut slot.is_stored_with_alias, has_alias);
            let stored = self.stored + usize::from(has_alias);
            self.stored = stored.saturating_sub(usize::from(had_alias));
        }
        while changes.count - before < max {
            let Some(alias) = self.dirty_aliases.pop() else { break };
            let Some(named) = self.aliases.get_mut(&alias) else { continue };
            named.dirty = false;
            changes.alias(&alias, &named.devices);
        }
        let has_changed = changes.count > before;
        if has_changed {
            changes.aliased(self.stored);
        }
        has_changed
    }

    fn slot(&mut self, state: &State, id: &DeviceId) -> Result<&mut Slot, DatabaseError> {
        if !self.devices.contains_key(id) {
            let found = readable(state.device(id))?;
            let is_stored_with_alias = found.as_ref().is_some_and(|found| found.alias.is_some());
            self.make_room();
            self.devices.insert(id.clone(), Slot { found, is_stored_with_alias, dirty: false });
        }
        Ok(self.devices.entry(id.clone()).or_default())
    }

    fn named(&mut self, state: &State, alias: &Alias) -> Result<&mut Named, DatabaseError> {
        if !self.aliases.contains_key(alias) {
            let devices = readable(state.alias(alias))?.unwrap_or_default();
            self.make_room();
            self.aliases.insert(alias.clone(), Named { devices, dirty: false });
        }
        Ok(self.aliases.entry(alias.clone()).or_default())
    }

    /// An alias names a device no more.
    fn take_from(
        &mut self,
        state: &State,
        alias: &Alias,
        device: &DeviceId,
    ) -> Result<(), DatabaseError> {
        let devices = &mut self.named(state, alias)?.devices;
        if let Ok(at) = devices.binary_search(device) {
            devices.remove(at);
            self.touch_alias(alias);
        }
        Ok(())
    }

    fn touch_device(&mut self, device: &DeviceId) {
        let slot = self.devices.get_mut(device);
        if slot.is_some_and(|slot| !std::mem::replace(&mut slot.dirty, true)) {
            self.dirty_devices.push(device.clone());
        }
    }

    fn touch_alias(&mut self, alias: &Alias) {
        let named = self.aliases.get_mut(alias);
        if named.is_some_and(|named| !std::mem::replace(&mut named.dirty, true)) {
            self.dirty_aliases.push(alias.clone());
        }
    }

    /// Forgets what the state knows too, when there is much of it.
    fn make_room(&mut self) {
        let count = self.devices.len() + self.aliases.len();
        if count >= DIRECTORY_CACHED_MAX + 2 * self.dirty_len() {
            self.devices.retain(|_, slot| slot.dirty);
            self.aliases.retain(|_, named| named.dirty);
        }
    }
}

/// What is damaged is as good as gone.
fn readable<T>(found: Result<Option<T>, DatabaseError>) -> Result<Option<T>, DatabaseError> {
    match found {
        Err(error @ DatabaseError::Value { .. }) => {
            tracing::error!(error = %Chain(&error), "a part of the directory is lost");
            Ok(None)
        }
        found => found,
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
