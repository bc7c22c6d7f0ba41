//! What becomes of the ledger when groups change.
//!
//! # Invariants
//!
//! * A group and its members change by the same entry, each once.

use std::sync::Arc;

use crate::group::GroupChange;
use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::store::database::DatabaseError;
use crate::store::entry::{GroupAction, Item, Message};
use crate::store::group::{Change, Group};
use crate::store::ledger::Ledger;
use crate::store::outcome::Told;

/// A group as it is now, and what is to be told of it.
pub(super) type Changed = Option<(Arc<Group>, Option<Told>)>;

impl Ledger {
    /// A group was created. Gives it, and what is to be told to whom.
    pub(super) fn create_group(
        &mut self,
        group: GroupId,
        by: Option<&PeerId>,
        action: &GroupAction,
        at: (MessageId, i64),
    ) -> Result<Changed, DatabaseError> {
        let known = self.groups.find_ever(&self.state, group)?;
        let created = match known {
            Some(group) => group,
            None => match Group::create(group, by, at, action) {
                Some(created) => self.groups.insert(created),
                None => return Ok(None),
            },
        };
        if created.open {
            return Ok(Some((created, None)));
        }
        let Some(change) = action.as_change(by) else { return Ok(None) };
        let told = self.tell_group(&created, by, &change, 0, at)?;
        Ok(Some((created, Some(told))))
    }

    /// A group was changed, whose last message was number `sequence`. Gives it as it is now, and
    /// what is to be told to whom.
    pub(super) fn change_group(
        &mut self,
        group: GroupId,
        by: Option<&PeerId>,
        change: &Change,
        sequence: u32,
        at: (MessageId, i64),
    ) -> Result<Changed, DatabaseError> {
        let applied = self.checkpoint.applied;
        let apply = |group: &mut Group| {
            group.forget_before(applied);
            group.apply(at.0, change);
        };
        let Some(group) = self.groups.change(&self.state, group, at.0, apply)? else {
            return Ok(None);
        };
        if change.change == GroupChange::Deleted {
            self.groups.bury(group.id, at.1);
        }
        let told = self.tell_group(&group, by, change, sequence, at)?;
        Ok(Some((group, Some(told))))
    }

    fn tell_group(
        &mut self,
        group: &Group,
        by: Option<&PeerId>,
        change: &Change,
        sequence: u32,
        (id, at_ms): (MessageId, i64),
    ) -> Result<Told, DatabaseError> {
        let conversation = ConversationId::Group(group.id);
        let notice = Arc::new(change.notice(id, at_ms, group.id, by));
        let to = group.concerned(id);
        self.deliver(&Item::Notice(notice.clone()), &to, |peer, who| {
            if change.peers.binary_search(who).is_err() {
                return;
            }
            match change.change {
                GroupChange::Joined | GroupChange::Invited => {
                    peer.parts.joined(conversation, id, sequence);
                }
                GroupChange::Left | GroupChange::Kicked | GroupChange::Deleted => {
                    peer.parts.left(conversation);
                }
                GroupChange::Edited => {}
            }
        })?;
        Ok(Told { notice, to: to.into() })
    }

    /// The members of a group that a message is for; `None` if it is for peers.
    pub(super) fn members(
        &mut self,
        message: &Message,
    ) -> Result<Option<Arc<[PeerId]>>, DatabaseError> {
        let ConversationId::Group(group) = message.conversation else { return Ok(None) };
        let group = self.groups.find_ever(&self.state, group)?;
        Ok(Some(group.map(|group| group.members_at(message.id)).unwrap_or_default()))
    }
}
