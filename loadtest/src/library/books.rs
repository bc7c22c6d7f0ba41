//! What is written down of messages beside the ledger of a run: those of groups, and of all of
//! them that they were acknowledged.
//!
//! # Invariants
//!
//! * The members of a group are the peers behind those of the group before it, and no peer is in
//!   two of them.

use tidings::id::GroupId;

use crate::group::{Groups, Taken, Verdict};
use crate::proof::Ledger;

/// The groups of a run, and what was acknowledged.
#[derive(Debug)]
pub(crate) struct Books {
    groups: Groups,
    /// Members of each.
    size: u32,
    /// Of a thousand sends of a member, so many go to its group.
    share: u32,
    all: Ledger,
}

impl Books {
    /// So many groups of so many members, of a run of peers with indices below `peers`.
    pub(crate) fn new(peers: u32, groups: u32, size: u32, share: u32) -> Self {
        Self { groups: Groups::new(groups, size), size, share, all: Ledger::new(peers) }
    }

    /// Without groups.
    pub(crate) fn plain(peers: u32) -> Self {
        Self::new(peers, 0, 1, 0)
    }

    /// How many groups there are.
    pub(crate) fn count(&self) -> u32 {
        self.groups.all().len() as u32
    }

    /// The peers that are members of a group.
    pub(crate) fn members(&self, group: u32) -> std::ops::Range<u32> {
        self.groups.all()[group as usize].peers.clone()
    }

    /// Who hears a message to a group.
    pub(crate) fn others(&self) -> u64 {
        u64::from(self.size - 1)
    }

    /// A group has been made.
    pub(crate) fn created(&self, group: u32, id: GroupId) {
        self.groups.all()[group as usize].created(id);
    }

    /// The group with this number, once it is made.
    pub(super) fn id(&self, group: usize) -> Option<GroupId> {
        self.groups.all().get(group)?.id()
    }

    /// The group that the next message of a peer goes to, if it is not for a peer.
    pub(super) fn pick(&self, peer: u32) -> Option<usize> {
        let group = (peer / self.size) as usize;
        (group < self.groups.all().len() && fastrand::u32(0..1_000) < self.share).then_some(group)
    }

    /// A message was acknowledged, whomever it is for.
    pub(crate) fn acked(&self, sender: u32, number: u64) {
        self.all.acked(sender, number, sender);
    }

    /// One to a group was; `false` if its members have something else in its place.
    pub(super) fn acked_in(&self, group: usize, sender: u32, number: u64, sequence: u32) -> bool {
        self.groups.all()[group].acked(sender, number, u64::from(sequence))
    }

    /// A member's app has had a message of its group.
    pub(super) fn delivered(
        &self,
        id: GroupId,
        member: u32,
        sender: u32,
        number: u64,
        sequence: u32,
    ) -> Taken {
        let group = self.groups.of(member);
        match group.id() == Some(id) {
            true => group.delivered(member, sender, number, u64::from(sequence)),
            false => Taken::Foreign,
        }
    }

    /// What was acknowledged, of all peers.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.all
    }

    /// Compares what groups were sent with what their members have had.
    pub(crate) fn verdict(&self) -> Verdict {
        self.groups.verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_group_is_for_its_other_members() {
        let books = Books::new(6, 2, 3, 1_000);
        let ids = [GroupId([1; 12]), GroupId([2; 12])];
        (0..2).for_each(|group| books.created(group, ids[group as usize]));
        assert_eq!((books.pick(4), books.members(1), books.others()), (Some(1), 3..6, 2));
        assert!(books.acked_in(1, 4, 7, 1));
        assert_eq!(books.delivered(ids[1], 3, 4, 7, 1), Taken::InOrder);
        assert_eq!(books.verdict().lost, 1, "peer 5 has not had it");
        assert_eq!(books.delivered(ids[1], 5, 4, 7, 1), Taken::InOrder);
        assert_eq!(books.verdict().lost, 0);
        assert_eq!(books.delivered(ids[1], 5, 4, 7, 1), Taken::Repeated);
        assert_eq!(books.delivered(ids[1], 1, 4, 7, 1), Taken::Foreign, "another group's");
        assert_eq!(Books::plain(6).pick(4), None);
    }
}
