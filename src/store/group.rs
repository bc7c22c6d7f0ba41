//! One group: who is in it, and who may change it.
//!
//! # Invariants
//!
//! * It changes only by the entries of the log in their order; permissions are judged before an
//!   entry is made, by the state at that position.
//! * Who was a member at a position is known for as long as a replay may ask for it.

use std::sync::Arc;

use bytes::Bytes;

use crate::group::{GroupChange, Rules, Who};
use crate::id::{GroupId, MessageId, PeerId};
use crate::limits::GROUP_STINTS_MAX;
use crate::reason::Reason;
use crate::store::entry::GroupAction;

/// Where a stint that goes on ends.
const NOW: MessageId = MessageId(i64::MAX);

/// A group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Who created it; nobody for the app's back end.
    pub creator: Option<PeerId>,
    /// It has no members, and only transient messages.
    pub open: bool,
    /// Who may do what.
    pub rules: Rules,
    /// JSON, or empty.
    pub metadata: Bytes,
    /// The position of the last change, in the log.
    pub version: MessageId,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// By peer, then by time.
    pub(super) stints: Vec<Stint>,
    /// The members now: those of `stints`, for all the messages that come for them.
    pub(super) current: Arc<[PeerId]>,
    /// The last entry that shows here.
    pub(super) applied: MessageId,
}

/// A time during which a peer is a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stint {
    pub(super) peer: PeerId,
    /// The entry that made it a member.
    pub(super) since: MessageId,
    /// The entry that ended it.
    pub(super) until: MessageId,
}

/// A change that is allowed, for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// What.
    pub change: GroupChange,
    /// Who becomes a member or is none any more.
    pub peers: Vec<PeerId>,
    /// Who may do what from then on.
    pub rules: Option<Rules>,
    /// JSON, or empty.
    pub metadata: Option<Bytes>,
}

impl Change {
    fn of(change: GroupChange, peers: Vec<PeerId>) -> Self {
        Self { change, peers, rules: None, metadata: None }
    }
}

impl Group {
    /// The members, by the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = &PeerId> {
        self.current.iter()
    }

    /// How many members it has.
    pub fn count(&self) -> usize {
        self.current.len()
    }

    /// Since which entry a peer is a member; `None` if it is none.
    pub fn member_since(&self, peer: &PeerId) -> Option<MessageId> {
        let behind = self.stints.partition_point(|stint| stint.peer <= *peer);
        let last = self.stints[..behind].last()?;
        (last.peer == *peer && last.until == NOW).then_some(last.since)
    }

    /// Those who were members when the entry `id` was made.
    pub(super) fn members_at(&self, id: MessageId) -> Arc<[PeerId]> {
        if self.version < id {
            return self.current.clone();
        }
        let was = |stint: &&Stint| stint.since < id && id <= stint.until;
        self.stints.iter().filter(was).map(|stint| stint.peer.clone()).collect()
    }

    /// Those of `stints` that are members now.
    pub(super) fn current(stints: &[Stint]) -> Arc<[PeerId]> {
        let is_member = |stint: &&Stint| stint.until == NOW;
        stints.iter().filter(is_member).map(|stint| stint.peer.clone()).collect()
    }

    /// Who hears of the change `id`: the members before and after it.
    pub(super) fn concerned(&self, id: MessageId) -> Vec<PeerId> {
        let was = |stint: &&Stint| stint.since <= id && id <= stint.until;
        let mut peers: Vec<_> = self.stints.iter().filter(was).map(|s| s.peer.clone()).collect();
        peers.dedup();
        peers
    }

    /// A new group, as the entry `id` makes it.
    pub(super) fn create(
        group: GroupId,
        by: Option<&PeerId>,
        (id, at_ms): (MessageId, i64),
        action: &GroupAction,
    ) -> Option<Self> {
        let GroupAction::Create { open, rules, metadata, members } = action else { return None };
        let mut created = Self {
            id: group,
            creator: by.cloned(),
            open: *open,
            rules: *rules,
            metadata: metadata.clone(),
            version: id,
            created_ms: at_ms,
            stints: Vec::new(),
            current: Arc::default(),
            applied: id,
        };
        if !open {
            members.iter().for_each(|peer| created.begin(peer, id));
            created.current = Self::current(&created.stints);
        }
        Some(created)
    }

    fn begin(&mut self, peer: &PeerId, since: MessageId) {
        if self.member_since(peer).is_none() {
            let behind = self.stints.partition_point(|stint| stint.peer <= *peer);
            self.stints.insert(behind, Stint { peer: peer.clone(), since, until: NOW });
        }
    }

    fn end(&mut self, peer: &PeerId, until: MessageId) {
        let behind = self.stints.partition_point(|stint| stint.peer <= *peer);
        let last = self.stints[..behind].last_mut();
        if let Some(last) = last.filter(|last| last.peer == *peer && last.until == NOW) {
            last.until = until;
        }
    }

    /// What becomes of what `by` asks for; `None` if that changes nothing. `applied` is the
    /// checkpoint, up to which ended stints can be forgotten.
    pub(super) fn judge(
        &self,
        by: Option<&PeerId>,
        action: GroupAction,
        members_max: usize,
        applied: MessageId,
    ) -> Result<Option<Change>, Reason> {
        let admit = |change, peers| self.admit(change, peers, members_max, applied);
        if self.open && !matches!(action, GroupAction::Edit { .. } | GroupAction::Delete { .. }) {
            return Err(Reason::NotInOpenGroup);
        }
        let change = match action {
            // The id is random, so nobody but the one who created it names it so.
            GroupAction::Create { .. } => None,
            GroupAction::Delete { .. } if by.is_some() => return Err(Reason::NotAllowed),
            GroupAction::Delete { version } if !self.has(version) => {
                return Err(Reason::VersionChanged);
            }
            GroupAction::Delete { .. } => {
                Some(Change::of(GroupChange::Deleted, self.current.to_vec()))
            }
            GroupAction::Join => admit(GroupChange::Joined, by.cloned().into_iter().collect())?,
            GroupAction::Invite(peers) => {
                self.permit(by, self.rules.invite)?;
                admit(GroupChange::Invited, peers)?
            }
            GroupAction::Leave => self.dismiss(GroupChange::Left, by.cloned()),
            GroupAction::Kick(peers) => {
                self.permit(by, self.rules.kick)?;
                self.dismiss(GroupChange::Kicked, peers)
            }
            GroupAction::Edit { rules, metadata, version } => {
                self.permit(by, self.rules.edit)?;
                if !self.has(version) {
                    return Err(Reason::VersionChanged);
                }
                let rules = rules.filter(|rules| *rules != self.rules);
                let metadata = metadata.filter(|metadata| *metadata != self.metadata);
                let peers = Vec::new();
                let change = Change { change: GroupChange::Edited, peers, rules, metadata };
                (change.rules.is_some() || change.metadata.is_some()).then_some(change)
            }
        };
        Ok(change)
    }

    /// Whether it has the version that is demanded, if one is.
    fn has(&self, version: Option<MessageId>) -> bool {
        version.is_none_or(|version| version == self.version)
    }

    fn permit(&self, by: Option<&PeerId>, who: Who) -> Result<(), Reason> {
        let Some(by) = by else { return Ok(()) };
        if !self.open && self.member_since(by).is_none() {
            return Err(Reason::NotMember);
        }
        match who {
            Who::Members if !self.open => Ok(()),
            Who::Creator if self.creator.as_ref() == Some(by) => Ok(()),
            _ => Err(Reason::NotAllowed),
        }
    }

    fn admit(
        &self,
        change: GroupChange,
        mut peers: Vec<PeerId>,
        members_max: usize,
        applied: MessageId,
    ) -> Result<Option<Change>, Reason> {
        peers.retain(|peer| self.member_since(peer).is_none());
        peers.sort_unstable();
        peers.dedup();
        if peers.is_empty() {
            return Ok(None);
        }
        if self.count() + peers.len() > members_max {
            return Err(Reason::GroupFull);
        }
        let remembered = self.stints.iter().filter(|stint| stint.until > applied).count();
        if remembered + peers.len() > GROUP_STINTS_MAX {
            return Err(Reason::Busy);
        }
        Ok(Some(Change::of(change, peers)))
    }

    fn dismiss(
        &self,
        change: GroupChange,
        peers: impl IntoIterator<Item = PeerId>,
    ) -> Option<Change> {
        let is_member = |peer: &PeerId| self.member_since(peer).is_some();
        let mut peers: Vec<_> = peers.into_iter().filter(is_member).collect();
        peers.sort_unstable();
        peers.dedup();
        (!peers.is_empty()).then(|| Change::of(change, peers))
    }

    /// Makes a change, which the entry `id` holds.
    pub(super) fn apply(&mut self, id: MessageId, change: &Change) {
        for peer in &change.peers {
            match change.change {
                GroupChange::Joined | GroupChange::Invited => self.begin(peer, id),
                GroupChange::Left | GroupChange::Kicked | GroupChange::Deleted => {
                    self.end(peer, id);
                }
                GroupChange::Edited => {}
            }
        }
        if !change.peers.is_empty() {
            self.current = Self::current(&self.stints);
        }
        self.rules = change.rules.unwrap_or(self.rules);
        if let Some(metadata) = &change.metadata {
            self.metadata = metadata.clone();
        }
        self.version = id;
        self.applied = id;
    }

    /// Forgets stints that ended before `applied`, which no replay asks for any more.
    pub(super) fn forget_before(&mut self, applied: MessageId) {
        self.stints.retain(|stint| stint.until > applied);
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
