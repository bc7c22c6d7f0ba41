//! The proof that what was sent to a group reached every other member: once, and in order.
//!
//! ```text
//! group > groups
//! ```
//!
//! # Invariants
//!
//! * A message is known by its sender and the sender's number; its place in the group is one and
//!   the same for everybody.
//! * Nothing here knows of sockets, clocks or sessions.

mod groups;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidings::id::GroupId;

pub(crate) use self::groups::Groups;
use crate::proof::Numbers;

/// Messages that one run may send to its group; a place beyond it is nonsense.
const SEQUENCES_MAX: u64 = 1 << 26;

/// What a member makes of a message of the group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Taken {
    /// As promised.
    InOrder,
    /// Its place is below that of one that came before.
    OutOfOrder,
    /// The member has had it.
    Repeated,
    /// Not for this member, or not what the others have in this place.
    Foreign,
}

/// Every message of one group of a run: who sent it, and who had it.
#[derive(Debug)]
pub(crate) struct GroupLedger {
    id: OnceLock<GroupId>,
    /// The peers with these indices; the first of them makes the group.
    pub(crate) peers: Range<u32>,
    roll: Mutex<Roll>,
    members: Box<[Mutex<Member>]>,
    joined: AtomicU64,
}

/// Who sent what, by its place in the group.
#[derive(Debug, Default)]
struct Roll {
    sends: HashMap<u64, (u32, u64)>,
    known: HashSet<(u32, u64)>,
    acked: Numbers,
}

/// What one member has had.
#[derive(Debug, Default)]
struct Member {
    had: Numbers,
    last: u64,
    joined: bool,
}

/// What the ledger says at the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Verdict {
    /// Deliveries of acknowledged messages that never came.
    pub(crate) lost: u64,
    /// Messages whose place is below that of an earlier one of the same sender.
    pub(crate) out_of_order: u64,
}

impl GroupLedger {
    /// A ledger for a group of the peers with these indices.
    pub(crate) fn new(peers: Range<u32>) -> Self {
        Self {
            id: OnceLock::new(),
            roll: Mutex::default(),
            members: peers.clone().map(|_| Mutex::default()).collect(),
            peers,
            joined: AtomicU64::new(0),
        }
    }

    /// The group, once it is there.
    pub(crate) fn id(&self) -> Option<GroupId> {
        self.id.get().copied()
    }

    /// The server has made the group.
    pub(crate) fn created(&self, id: GroupId) {
        // A second answer to one request is noticed where answers are taken.
        let _ = self.id.set(id);
    }

    /// Members there are to be.
    pub(crate) fn size(&self) -> u32 {
        self.members.len() as u32
    }

    fn member(&self, peer: u32) -> Option<&Mutex<Member>> {
        self.members.get(peer.checked_sub(self.peers.start)? as usize)
    }

    /// A peer knows that it is a member.
    pub(crate) fn joined(&self, peer: u32) {
        let Some(member) = self.member(peer) else { return };
        if !std::mem::replace(&mut member.lock().joined, true) {
            self.joined.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Peers that know that they are members.
    pub(crate) fn count(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    /// The server has acknowledged a message; `false` if the others have something else there.
    pub(crate) fn acked(&self, sender: u32, number: u64, sequence: u64) -> bool {
        let mut roll = self.roll.lock();
        let agreed = roll.agree(sender, number, sequence) == Some(true);
        agreed && roll.acked.add(sequence)
    }

    /// A member's app has had a message.
    pub(crate) fn delivered(&self, peer: u32, sender: u32, number: u64, sequence: u64) -> Taken {
        let is_other = sender != peer && self.peers.contains(&sender);
        let Some(of) = self.member(peer).filter(|_| is_other) else {
            return Taken::Foreign;
        };
        match self.roll.lock().agree(sender, number, sequence) {
            None => return Taken::Foreign,
            Some(false) => return Taken::Repeated,
            Some(true) => {}
        }
        let mut of = of.lock();
        if !of.had.add(sequence) {
            return Taken::Repeated;
        }
        let rises = sequence > of.last;
        of.last = of.last.max(sequence);
        if rises { Taken::InOrder } else { Taken::OutOfOrder }
    }

    /// Compares what was acknowledged with what came.
    pub(crate) fn verdict(&self) -> Verdict {
        let roll = self.roll.lock();
        let mut verdict = Verdict::default();
        for (peer, member) in self.peers.clone().zip(&self.members) {
            let had = &member.lock().had;
            let missing = roll.sends.iter().filter(|(sequence, (sender, _))| {
                *sender != peer && roll.acked.has(**sequence) && !had.has(**sequence)
            });
            verdict.lost += missing.count() as u64;
        }
        let mut places: Vec<_> = roll.sends.iter().collect();
        places.sort_unstable();
        let mut last = HashMap::new();
        for (_, (sender, number)) in places {
            let before = last.entry(sender).or_insert(0);
            verdict.out_of_order += u64::from(number < before);
            *before = *number.max(before);
        }
        verdict
    }
}

impl Roll {
    /// Whether this is what is known to have this place; `Some(false)` if it has another one too,
    /// `None` if another message has this place.
    fn agree(&mut self, sender: u32, number: u64, sequence: u64) -> Option<bool> {
        if sequence == 0 || sequence > SEQUENCES_MAX {
            return None;
        }
        match self.sends.get(&sequence) {
            Some(known) if *known == (sender, number) => Some(true),
            Some(_) => None,
            None if !self.known.insert((sender, number)) => Some(false),
            None => {
                self.sends.insert(sequence, (sender, number));
                Some(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_must_reach_every_other_member() {
        let ledger = GroupLedger::new(0..3);
        assert!(ledger.acked(0, 1, 1));
        assert_eq!(ledger.verdict().lost, 2);
        assert_eq!(ledger.delivered(1, 0, 1, 1), Taken::InOrder);
        assert_eq!(ledger.delivered(2, 0, 1, 1), Taken::InOrder);
        assert_eq!(ledger.verdict(), Verdict::default());
    }

    #[test]
    fn a_message_without_an_acknowledgement_is_not_lost() {
        let ledger = GroupLedger::new(0..3);
        assert_eq!(ledger.delivered(1, 0, 1, 1), Taken::InOrder);
        assert_eq!(ledger.verdict().lost, 0);
        assert!(ledger.acked(0, 1, 1));
        assert_eq!(ledger.verdict().lost, 1, "one member has not had it");
    }

    #[test]
    fn whatever_is_wrong_with_a_delivery_is_noticed() {
        let ledger = GroupLedger::new(0..3);
        assert_eq!(ledger.delivered(1, 0, 1, 2), Taken::InOrder);
        assert_eq!(ledger.delivered(1, 0, 1, 2), Taken::Repeated);
        assert_eq!(ledger.delivered(1, 0, 1, 3), Taken::Repeated, "in another place");
        assert_eq!(ledger.delivered(1, 2, 9, 1), Taken::OutOfOrder);
        assert_eq!(ledger.delivered(2, 0, 2, 2), Taken::Foreign, "others have something else");
        assert_eq!(ledger.delivered(2, 2, 9, 1), Taken::Foreign, "its own");
        assert_eq!(ledger.delivered(2, 7, 1, 5), Taken::Foreign, "from no member");
        assert_eq!(ledger.delivered(9, 0, 1, 2), Taken::Foreign, "to no member");
        assert_eq!(ledger.delivered(2, 0, 5, 0), Taken::Foreign, "no place");
        assert!(!ledger.acked(0, 7, 2), "another message has this place");
    }

    #[test]
    fn the_messages_of_one_sender_keep_their_order() {
        let ledger = GroupLedger::new(0..2);
        ledger.acked(0, 2, 1);
        ledger.acked(0, 1, 2);
        ledger.acked(1, 1, 3);
        assert_eq!(ledger.verdict().out_of_order, 1);
    }

    #[test]
    fn a_member_counts_once() {
        let ledger = GroupLedger::new(0..2);
        ledger.joined(1);
        ledger.joined(1);
        ledger.joined(5);
        assert_eq!(ledger.count(), 1);
    }
}
