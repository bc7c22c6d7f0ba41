//! The sessions that are in open groups now.
//!
//! # Invariants
//!
//! * A session is in one open group at most, so there are no more rows than sessions.
//! * Coming and going cost the same however many are in a group.
//!
//! Lock order: a group's shard of the table, then the outboxes of those who are visited.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::hub::session::Session;
use crate::id::GroupId;

/// Those in one group, by the address of the session, which the row keeps in place.
type Sessions = HashMap<usize, Arc<Session>, RandomState>;

/// Who is in which open group.
#[derive(Debug, Default)]
pub(super) struct OpenGroups(DashMap<GroupId, Sessions>);

impl OpenGroups {
    /// A session comes in.
    pub(super) fn enter(&self, group: GroupId, session: &Arc<Session>) {
        self.0.entry(group).or_default().insert(key(session), session.clone());
    }

    /// A session goes out.
    pub(super) fn leave(&self, group: GroupId, session: &Arc<Session>) {
        self.0.remove_if_mut(&group, |_, sessions| {
            sessions.remove(&key(session));
            sessions.is_empty()
        });
    }

    /// The group is no more: nobody is in it.
    pub(super) fn close(&self, group: GroupId) {
        if let Some((_, sessions)) = self.0.remove(&group) {
            sessions.values().for_each(|session| session.exit(group));
        }
    }

    /// How many are in a group.
    pub(super) fn count(&self, group: GroupId) -> usize {
        self.0.view(&group, |_, sessions| sessions.len()).unwrap_or(0)
    }

    /// Calls `visit` with everyone in a group.
    pub(super) fn visit(&self, group: GroupId, visit: impl FnMut(&Arc<Session>)) {
        self.0.view(&group, |_, sessions| sessions.values().for_each(visit));
    }
}

fn key(session: &Arc<Session>) -> usize {
    Arc::as_ptr(session).addr()
}
