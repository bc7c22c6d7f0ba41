//! What is known of the groups and of what was recalled: the notices that anybody was handed, by
//! their place in the log, and the requests that were answered.
//!
//! # Invariants
//!
//! * The founder of a group never leaves it, so every change of it is known when everything has
//!   arrived.

use std::collections::{BTreeMap, BTreeSet};

use tidings::client::GroupChange;
use tidings::id::{GroupId, MessageId};

/// Something that was told by a notice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    Changed {
        group: GroupId,
        change: GroupChange,
        by: usize,
        peers: Vec<usize>,
    },
    /// A send was taken back.
    Recalled {
        send: usize,
    },
}

/// A request that was answered: how the members are from its place in the log on.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) group: GroupId,
    pub(crate) version: MessageId,
    /// They are members then.
    pub(crate) members: Vec<usize>,
    /// They are none then.
    pub(crate) others: Vec<usize>,
}

/// A peer left a group of which it knew everything up to `known`.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) group: GroupId,
    pub(crate) peer: usize,
    pub(crate) known: MessageId,
}

#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) notices: BTreeMap<MessageId, Notice>,
    /// Who became a member, and who is none any more, by the place in the log.
    changes: BTreeMap<GroupId, BTreeMap<MessageId, (bool, Vec<usize>)>>,
    pub(crate) recalled: BTreeMap<usize, MessageId>,
    pub(crate) acts: Vec<Act>,
    pub(crate) leavings: Vec<Leaving>,
    /// Sends whose recall was answered.
    pub(crate) recalls: Vec<usize>,
}

impl Groups {
    /// Somebody was handed a notice.
    pub(crate) fn note(&mut self, id: MessageId, notice: &Notice) -> Result<(), &'static str> {
        if let Some(before) = self.notices.get(&id) {
            return if before == notice { Ok(()) } else { Err("others heard it otherwise") };
        }
        self.notices.insert(id, notice.clone());
        match notice {
            Notice::Changed { group, change, peers, .. } => {
                let enter = matches!(change, GroupChange::Joined | GroupChange::Invited);
                self.changes.entry(*group).or_default().insert(id, (enter, peers.clone()));
                Ok(())
            }
            Notice::Recalled { send } => match self.recalled.insert(*send, id) {
                None => Ok(()),
                Some(_) => Err("recalled twice"),
            },
        }
    }

    pub(crate) fn all(&self) -> Vec<GroupId> {
        self.changes.keys().copied().collect()
    }

    /// Who created the group.
    pub(crate) fn founder(&self, group: GroupId) -> usize {
        let first = self.changes.get(&group).and_then(|changes| changes.first_key_value());
        first.map_or(usize::MAX, |(_, (_, peers))| peers[0])
    }

    /// The members after the entry `id`, as far as is known.
    pub(crate) fn members_at(&self, group: GroupId, id: MessageId) -> BTreeSet<usize> {
        let mut members = BTreeSet::new();
        let changes = self.changes.get(&group).into_iter().flat_map(|all| all.range(..=id));
        for (_, (enter, peers)) in changes {
            match enter {
                true => members.extend(peers),
                false => members.retain(|member| !peers.contains(member)),
            }
        }
        members
    }

    pub(crate) fn members(&self, group: GroupId) -> BTreeSet<usize> {
        self.members_at(group, MessageId(i64::MAX))
    }

    /// The last change of the group that is known.
    pub(crate) fn version(&self, group: GroupId) -> MessageId {
        let last = self.changes.get(&group).and_then(|changes| changes.last_key_value());
        last.map_or(MessageId::NONE, |(id, _)| *id)
    }

    /// The last entries that made the peer a member, and that ended it.
    pub(crate) fn stint(&self, group: GroupId, peer: usize) -> (MessageId, MessageId) {
        let (mut since, mut until) = (MessageId::NONE, MessageId::NONE);
        for (id, (enter, peers)) in self.changes.get(&group).into_iter().flatten() {
            if peers.contains(&peer) {
                *(if *enter { &mut since } else { &mut until }) = *id;
            }
        }
        (since, until)
    }

    /// Who hears of a change of a group: the members before and after it.
    pub(crate) fn concerned(&self, group: GroupId, id: MessageId) -> BTreeSet<usize> {
        let before = self.members_at(group, MessageId(id.0 - 1));
        before.union(&self.members_at(group, id)).copied().collect()
    }

    /// Answers that are not kept.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for act in &self.acts {
            let members = self.members_at(act.group, act.version);
            let is_so = act.members.iter().all(|peer| members.contains(peer))
                && !act.others.iter().any(|peer| members.contains(peer));
            let is_known = self.changes.get(&act.group);
            if !is_so || !is_known.is_some_and(|changes| changes.contains_key(&act.version)) {
                broken.push(format!("{act:?} was answered, and the members are {members:?}"));
            }
        }
        for Leaving { group, peer, known } in &self.leavings {
            let was = self.members_at(*group, *known).contains(peer);
            let until = self.stint(*group, *peer).1;
            if was && until <= *known {
                broken.push(format!("{peer} has left {group:?} after {known} and is a member"));
            }
        }
        for send in self.recalls.iter().filter(|send| !self.recalled.contains_key(send)) {
            broken.push(format!("the recall of {send} was answered, and nobody heard of it"));
        }
        broken
    }
}
