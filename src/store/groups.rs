//! All groups: those that something is going on with in memory, the others in the state.
//!
//! # Invariants
//!
//! * A group changes by an entry once, however often that is replayed.
//! * What has changed reaches the state with a flush, before the checkpoint says so.
//! * One that was deleted is found no more, but stays known to a replay of what was before.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::chain::Chain;
use crate::id::{GroupId, MessageId};
use crate::limits::GROUPS_CACHED_MAX;
use crate::store::database::DatabaseError;
use crate::store::group::Group;
use crate::store::state::{Changes, State};

/// The groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    cached: HashMap<GroupId, Arc<Group>, RandomState>,
    dirty: BTreeSet<GroupId>,
    /// Those that were deleted, until the checkpoint has passed that.
    deleted: HashMap<GroupId, Arc<Group>, RandomState>,
    /// When one was deleted last, in milliseconds since 1970.
    deleted_ms: i64,
    /// How many there are.
    pub(super) count: usize,
}

impl Groups {
    /// The groups of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        let deleted = state.deleted_groups()?.into_iter();
        Ok(Self {
            count: state.group_count()?,
            deleted: deleted.map(|group| (group.id, Arc::new(group))).collect(),
            deleted_ms: state.deleted_ms()?.unwrap_or(0),
            ..Self::default()
        })
    }

    /// A group, from memory or the state.
    pub(super) fn find(
        &mut self,
        state: &State,
        id: GroupId,
    ) -> Result<Option<Arc<Group>>, DatabaseError> {
        if let Some(group) = self.cached.get(&id) {
            return Ok(Some(group.clone()));
        }
        if self.is_deleted(id) {
            return Ok(None);
        }
        let Some(group) = readable(state, id)? else { return Ok(None) };
        if self.cached.len() >= GROUPS_CACHED_MAX + 2 * self.dirty.len() {
            self.cached.retain(|id, _| self.dirty.contains(id));
        }
        self.cached.insert(id, group.clone());
        Ok(Some(group))
    }

    /// A group, also one that was deleted since, as a replay asks for it.
    pub(super) fn find_ever(
        &mut self,
        state: &State,
        id: GroupId,
    ) -> Result<Option<Arc<Group>>, DatabaseError> {
        match self.deleted.get(&id) {
            Some(deleted) => Ok(Some(deleted.clone())),
            None => self.find(state, id),
        }
    }

    /// Whether a group was deleted a short while ago.
    pub(super) fn is_deleted(&self, id: GroupId) -> bool {
        self.deleted.contains_key(&id)
    }

    /// Whether an inbox may hold what groups were told in the last `age_ms`.
    pub(super) fn are_told_of(&self, now_ms: i64, age_ms: i64) -> bool {
        self.count > 0 || now_ms.saturating_sub(self.deleted_ms) <= age_ms
    }

    /// Up to `max` groups with ids above `after`, by their ids, and whether there are more.
    pub(super) fn page(
        &self,
        state: &State,
        after: GroupId,
        max: usize,
    ) -> Result<(Vec<Arc<Group>>, bool), DatabaseError> {
        let fresh = self.dirty.range((Bound::Excluded(after), Bound::Unbounded));
        let fresh = fresh.filter(|id| self.cached.contains_key(id)).take(max + 1);
        let mut ids: BTreeSet<GroupId> = fresh.copied().collect();
        let is_gone = |id: &GroupId| self.deleted.contains_key(id);
        let stored = state.groups_after(after).filter(|id| !id.as_ref().is_ok_and(is_gone));
        for id in stored.take(max + 1) {
            ids.insert(id?);
        }
        let more = ids.len() > max;
        let mut page = Vec::new();
        for id in ids.into_iter().take(max) {
            match self.cached.get(&id) {
                Some(group) => page.push(group.clone()),
                None => page.extend(readable(state, id)?),
            }
        }
        Ok((page, more))
    }

    /// Adds a new group.
    pub(super) fn insert(&mut self, group: Group) -> Arc<Group> {
        let (id, group) = (group.id, Arc::new(group));
        self.count += 1;
        self.dirty.insert(id);
        self.cached.insert(id, group.clone());
        group
    }

    /// Changes a group by an entry that its stored form may show already.
    pub(super) fn change(
        &mut self,
        state: &State,
        id: GroupId,
        entry: MessageId,
        change: impl FnOnce(&mut Group),
    ) -> Result<Option<Arc<Group>>, DatabaseError> {
        let Some(found) = self.find_ever(state, id)? else { return Ok(None) };
        if entry <= found.applied {
            return Ok(Some(found));
        }
        drop(found);
        let Some(group) = self.cached.get_mut(&id) else { return Ok(None) };
        change(Arc::make_mut(group));
        self.dirty.insert(id);
        Ok(Some(group.clone()))
    }

    /// A group was deleted, by a change that was made.
    pub(super) fn bury(&mut self, id: GroupId, at_ms: i64) {
        let Some(group) = self.cached.remove(&id) else { return };
        self.count = self.count.saturating_sub(1);
        self.deleted.insert(id, group);
        self.deleted_ms = self.deleted_ms.max(at_ms);
        self.dirty.insert(id);
    }

    /// Puts a changed group into `changes`; says whether there was one. `applied` is the
    /// checkpoint that is on stable storage.
    pub(super) fn flush_one(&mut self, applied: MessageId, changes: &mut Changes) -> bool {
        let Some(id) = self.dirty.pop_first() else { return self.forget_one(applied, changes) };
        if let Some(group) = self.cached.get_mut(&id) {
            let group = Arc::make_mut(group);
            group.forget_before(applied);
            changes.group(group);
        } else if let Some(deleted) = self.deleted.get_mut(&id) {
            let deleted = Arc::make_mut(deleted);
            deleted.forget_before(applied);
            changes.deleted_group(deleted, self.deleted_ms);
        }
        true
    }

    /// Forgets a deleted group that no replay asks for any more.
    fn forget_one(&mut self, applied: MessageId, changes: &mut Changes) -> bool {
        let is_spent = |group: &Arc<Group>| group.version <= applied;
        let spent = self.deleted.iter().find(|(_, group)| is_spent(group)).map(|(id, _)| *id);
        let Some(id) = spent else { return false };
        self.deleted.remove(&id);
        changes.remove_deleted_group(id);
        true
    }
}

/// A group as it is stored. One that is damaged is as good as gone.
fn readable(state: &State, id: GroupId) -> Result<Option<Arc<Group>>, DatabaseError> {
    match state.group(id) {
        Err(error @ DatabaseError::Value { .. }) => {
            tracing::error!(group = %id, error = %Chain(&error), "a group cannot be read");
            Ok(None)
        }
        found => Ok(found?.map(Arc::new)),
    }
}
