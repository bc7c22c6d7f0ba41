//! The groups of a run: as many as there are, all of one size.
//!
//! # Invariants
//!
//! * A peer is in one group at the most: the first peers are in the first, and so on.

use super::{GroupLedger, Verdict};

/// The groups of a run.
#[derive(Debug)]
pub(crate) struct Groups {
    ledgers: Box<[GroupLedger]>,
    /// What peers without a group are in.
    nobody: GroupLedger,
}

impl Groups {
    /// So many groups with so many members each.
    pub(crate) fn new(count: u32, members: u32) -> Self {
        let of = |group| GroupLedger::new(group * members..(group + 1) * members);
        Self { ledgers: (0..count).map(of).collect(), nobody: GroupLedger::new(0..0) }
    }

    /// The group of a peer; one without members if it is in none.
    pub(crate) fn of(&self, peer: u32) -> &GroupLedger {
        let members = self.ledgers.first().map_or(1, GroupLedger::size);
        self.ledgers.get((peer / members.max(1)) as usize).unwrap_or(&self.nobody)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[GroupLedger] {
        &self.ledgers
    }

    /// Peers that know that they are members.
    pub(crate) fn count(&self) -> u64 {
        self.ledgers.iter().map(GroupLedger::count).sum()
    }

    /// What is wrong in all of them.
    pub(crate) fn verdict(&self) -> Verdict {
        self.ledgers.iter().map(GroupLedger::verdict).fold(Verdict::default(), |all, one| Verdict {
            lost: all.lost + one.lost,
            out_of_order: all.out_of_order + one.out_of_order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Taken;

    #[test]
    fn a_message_is_due_to_the_group_of_its_sender_alone() {
        let groups = Groups::new(2, 3);
        assert!(groups.of(4).acked(4, 1, 1));
        assert_eq!(groups.verdict().lost, 2);
        assert_eq!(groups.of(3).delivered(3, 4, 1, 1), Taken::InOrder);
        assert_eq!(groups.of(2).delivered(2, 4, 1, 1), Taken::Foreign, "of another group");
        assert_eq!(groups.of(5).delivered(5, 4, 1, 1), Taken::InOrder);
        assert_eq!(groups.verdict(), Verdict::default());
        groups.of(0).joined(0);
        groups.of(5).joined(5);
        assert_eq!(groups.count(), 2);
    }

    #[test]
    fn who_is_in_no_group_is_with_nobody() {
        assert_eq!(Groups::new(0, 0).of(7).size(), 0);
        assert_eq!(Groups::new(2, 3).of(6).size(), 0);
    }
}
