//! All groups: those that something is going on with in memory, the others in the state.
//!
//! # Invariants
//!
//! * A group changes by an entry once, however often that is replayed.
//! * What has changed reaches the state with a flush, before the checkpoint says so.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::id::{GroupId, MessageId};
use crate::limits::GROUPS_CACHED_MAX;
use crate::store::group::Group;
use crate::store::segment::DatabaseError;
use crate::store::state::{Changes, State};

/// The groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    cached: HashMap<GroupId, Arc<Group>, RandomState>,
    dirty: BTreeSet<GroupId>,
    /// How many there are.
    pub(super) count: usize,
}

impl Groups {
    /// The groups of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        Ok(Self { count: state.group_count()?, ..Self::default() })
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
        let Some(group) = state.group(id)? else { return Ok(None) };
        let group = Arc::new(group);
        if self.cached.len() >= GROUPS_CACHED_MAX + 2 * self.dirty.len() {
            self.cached.retain(|id, _| self.dirty.contains(id));
        }
        self.cached.insert(id, group.clone());
        Ok(Some(group))
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
        let Some(found) = self.find(state, id)? else { return Ok(None) };
        if entry <= found.applied {
            return Ok(Some(found));
        }
        drop(found);
        let Some(group) = self.cached.get_mut(&id) else { return Ok(None) };
        change(Arc::make_mut(group));
        self.dirty.insert(id);
        Ok(Some(group.clone()))
    }

    /// Puts a changed group into `changes`; says whether there was one. `applied` is the
    /// checkpoint that is on stable storage.
    pub(super) fn flush_one(&mut self, applied: MessageId, changes: &mut Changes) -> bool {
        let Some(id) = self.dirty.pop_first() else { return false };
        if let Some(group) = self.cached.get_mut(&id) {
            let group = Arc::make_mut(group);
            group.forget_before(applied);
            changes.group(group);
        }
        true
    }
}
