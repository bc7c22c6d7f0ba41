//! The sessions that are in open groups now.
//!
//! # Invariants
//!
//! * A session is in one open group at most, so there are no more rows than sessions.
//! * No lock of the table is held while another lock is taken, but for outboxes that are visited.

use std::sync::Arc;

use dashmap::DashMap;

use crate::hub::session::Session;
use crate::id::GroupId;

/// Who is in which open group.
#[derive(Debug, Default)]
pub(super) struct OpenGroups(DashMap<GroupId, Arc<[Arc<Session>]>>);

impl OpenGroups {
    /// A session comes in.
    pub(super) fn enter(&self, group: GroupId, session: &Arc<Session>) {
        let mut sessions = self.0.entry(group).or_default();
        *sessions = others(&sessions, session).chain([session.clone()]).collect();
    }

    /// A session goes out.
    pub(super) fn leave(&self, group: GroupId, session: &Arc<Session>) {
        self.0.remove_if_mut(&group, |_, sessions| {
            *sessions = others(sessions, session).collect();
            sessions.is_empty()
        });
    }

    /// How many are in a group.
    pub(super) fn count(&self, group: GroupId) -> usize {
        self.0.view(&group, |_, sessions| sessions.len()).unwrap_or(0)
    }

    /// Calls `visit` with everyone in a group.
    pub(super) fn visit(&self, group: GroupId, visit: impl FnMut(&Arc<Session>)) {
        let sessions = self.0.view(&group, |_, sessions| sessions.clone());
        sessions.iter().flat_map(|sessions| sessions.iter()).for_each(visit);
    }
}

/// All but one.
fn others<'a>(
    sessions: &'a [Arc<Session>],
    session: &'a Arc<Session>,
) -> impl Iterator<Item = Arc<Session>> + 'a {
    sessions.iter().filter(move |other| !Arc::ptr_eq(other, session)).cloned()
}
