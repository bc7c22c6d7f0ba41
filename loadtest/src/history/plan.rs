//! What was told in a run of `history`: who said what, where, and as which message.
//!
//! # Invariants
//!
//! * Lanes have no peer, conversation or group in common, and each is filled by one request after
//!   another. So the order in which a lane's messages were made is that of their ids.
//! * A message costs [`Told`] and no more: its body follows from its lane and its place there.

use std::fmt::Write;

use tidings::id::{ConversationId, GroupId, PeerId};

use crate::names::Names;

/// Bytes of a message.
pub(crate) const BODY_BYTES: usize = 256;
/// Members of a group.
pub(super) const MEMBERS: u32 = 5;
/// Of so many messages one goes to a group.
const GROUP_EVERY: u32 = 10;
/// Conversations between two peers for each peer that there is, at the most.
const CONVERSATIONS_PER_PEER: u32 = 10;
/// Conversations for each group that there is.
const CONVERSATIONS_PER_GROUP: u32 = 100;
/// Peers of a lane at the least: more than twice the conversations for each, so that no two peers
/// have two conversations.
const PEERS_MIN: u32 = 24;

/// One message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Told {
    /// Its id; 0 until the server has given it one.
    pub(super) id: i64,
    /// Where it was said: a conversation of two peers, or behind those, a group.
    pub(super) place: u32,
    /// Its number there, from 1.
    pub(super) sequence: u32,
    /// Who said it, among the peers of the lane.
    pub(super) sender: u32,
    /// Its number among the messages of its sender, from 1.
    pub(super) number: u32,
}

/// Peers that talk to one another, and what they said.
#[derive(Debug)]
pub(super) struct Lane {
    index: u32,
    names: Names,
    /// The index of its first peer in the names.
    first_peer: u32,
    pub(super) conversations: u32,
    pub(super) groups: Vec<GroupId>,
    pub(super) told: Vec<Told>,
    /// By place: how much was said there.
    pub(super) sequences: Vec<u32>,
    /// By sender: how much it said.
    pub(super) numbers: Vec<u32>,
}

/// A part of a whole that is split evenly.
pub(super) fn share(whole: u32, parts: u32, part: u32) -> u32 {
    whole / parts + u32::from(part < whole % parts)
}

/// How many peers a lane with so many conversations has.
pub(super) fn peers_of(conversations: u32) -> u32 {
    conversations.div_ceil(CONVERSATIONS_PER_PEER).max(PEERS_MIN)
}

/// How many groups a lane with so many conversations has.
pub(super) fn groups_of(conversations: u32) -> u32 {
    conversations.div_ceil(CONVERSATIONS_PER_GROUP)
}

impl Lane {
    /// A lane in which nothing was said, for so many messages.
    pub(super) fn new(
        index: u32,
        names: Names,
        first_peer: u32,
        conversations: u32,
        messages: u32,
    ) -> Self {
        let places = conversations + groups_of(conversations);
        Self {
            index,
            names,
            first_peer,
            conversations,
            groups: Vec::new(),
            told: Vec::with_capacity(messages as usize),
            sequences: vec![0; places as usize],
            numbers: vec![0; peers_of(conversations) as usize],
        }
    }

    /// Its number among the lanes, which its messages carry.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// The peer of the lane with this index.
    pub(super) fn peer(&self, peer: u32) -> PeerId {
        self.names.peer(self.first_peer + peer)
    }

    /// The two peers of a conversation.
    pub(super) fn ends(&self, conversation: u32) -> [u32; 2] {
        let peers = self.numbers.len() as u32;
        let (first, distance) = (conversation % peers, conversation / peers + 1);
        [first, (first + distance) % peers]
    }

    /// The peers of a group.
    pub(super) fn members(&self, group: u32) -> impl Iterator<Item = u32> {
        let peers = self.numbers.len() as u32;
        (0..MEMBERS).map(move |at| (group * MEMBERS + at) % peers)
    }

    /// The group that a place is, if it is one.
    pub(super) fn group(&self, place: u32) -> Option<GroupId> {
        let group = place.checked_sub(self.conversations)?;
        self.groups.get(group as usize).copied()
    }

    /// The id of what a place is.
    pub(super) fn conversation(&self, place: u32) -> ConversationId {
        match self.group(place) {
            Some(group) => ConversationId::Group(group),
            None => {
                let ends = self.ends(place).map(|peer| self.peer(peer));
                ConversationId::of_peers(&ends)
            }
        }
    }

    /// Lets somebody say something somewhere: in some places far more than in others.
    pub(super) fn tell(&mut self, random: &mut fastrand::Rng) -> Told {
        let groups = self.sequences.len() as u32 - self.conversations;
        let (place, sender) = match random.u32(0..GROUP_EVERY) {
            0 => {
                let group = skewed(random, groups);
                let member = random.usize(0..MEMBERS as usize);
                let sender = self.members(group).nth(member).unwrap_or_default();
                (self.conversations + group, sender)
            }
            _ => {
                let conversation = skewed(random, self.conversations);
                (conversation, self.ends(conversation)[random.usize(0..2)])
            }
        };
        let (sequence, number) =
            (&mut self.sequences[place as usize], &mut self.numbers[sender as usize]);
        (*sequence, *number) = (*sequence + 1, *number + 1);
        let told = Told { id: 0, place, sequence: *sequence, sender, number: *number };
        self.told.push(told);
        told
    }

    /// Appends the JSON of a message, that of this index.
    pub(super) fn put_json(&self, index: usize, out: &mut String) {
        let Told { place, sender, .. } = self.told[index];
        // Writing to a string cannot fail; nothing here has a character that JSON escapes.
        let _ = write!(out, "{{\"from\":\"{}\",\"to\":{{", self.peer(sender));
        let _ = match self.group(place) {
            Some(group) => write!(out, "\"group\":\"{group}\""),
            None => {
                let [a, b] = self.ends(place);
                let other = if a == sender { b } else { a };
                write!(out, "\"peers\":[\"{}\"]", self.peer(other))
            }
        };
        let _ = write!(out, "}},\"body\":\"{:04x}{index:08x}", self.index);
        out.extend(std::iter::repeat_n('.', BODY_BYTES - 12));
        out.push_str("\"}");
    }
}

/// The lane of a message and its index there, as its body says.
pub(super) fn of_body(body: &str) -> Option<(usize, usize)> {
    let part = |from, to| usize::from_str_radix(body.get(from..to)?, 16).ok();
    let filling = body.get(12..)?;
    let is_whole = body.len() == BODY_BYTES && filling.bytes().all(|byte| byte == b'.');
    part(0, 4).zip(part(4, 12)).filter(|_| is_whole)
}

/// A number below `most`, the lower ones more often: a hundredth of them gets a tenth of all.
fn skewed(random: &mut fastrand::Rng, most: u32) -> u32 {
    let part = random.f64();
    ((part * part * f64::from(most)) as u32).min(most - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn lane(conversations: u32) -> Lane {
        let mut lane = Lane::new(2, Names::tagged(7), 100, conversations, 1_000);
        let groups = groups_of(conversations);
        lane.groups = (0..groups).map(|group| GroupId([group as u8; 12])).collect();
        lane
    }

    #[test]
    fn a_whole_is_split_without_rest() {
        let parts: Vec<u32> = (0..4).map(|part| share(10, 4, part)).collect();
        assert_eq!(parts, [3, 3, 2, 2]);
    }

    #[test]
    fn no_two_conversations_have_the_same_peers() {
        for conversations in [1, 23, 24, 239, 240, 241, 2_500] {
            let lane = lane(conversations);
            let mut pairs = HashSet::new();
            for conversation in 0..conversations {
                let mut ends = lane.ends(conversation);
                ends.sort_unstable();
                assert_ne!(ends[0], ends[1]);
                assert!(pairs.insert(ends), "{ends:?} of {conversations}");
            }
        }
    }

    #[test]
    fn a_group_has_five_members() {
        let lane = lane(1_000);
        for group in 0..groups_of(1_000) {
            assert_eq!(lane.members(group).collect::<HashSet<_>>().len(), MEMBERS as usize);
        }
    }

    #[test]
    fn what_is_told_is_numbered_where_it_was_said_and_by_who_said_it() {
        let mut lane = lane(500);
        let mut random = fastrand::Rng::with_seed(1);
        let told: Vec<Told> = (0..1_000).map(|_| lane.tell(&mut random)).collect();
        assert_eq!(lane.told, told);
        let groups = told.iter().filter(|told| lane.group(told.place).is_some()).count();
        assert!((60..140).contains(&groups), "{groups}");
        for told in &told {
            let ends = lane.ends(told.place);
            assert!(lane.group(told.place).is_some() || ends.contains(&told.sender));
        }
        let of = |place| told.iter().filter(move |told| told.place == place);
        for place in 0..lane.sequences.len() as u32 {
            assert!(of(place).map(|told| told.sequence).eq(1..=lane.sequences[place as usize]));
        }
        let by = |sender| told.iter().filter(move |told| told.sender == sender);
        for sender in 0..lane.numbers.len() as u32 {
            assert!(by(sender).map(|told| told.number).eq(1..=lane.numbers[sender as usize]));
        }
    }

    #[test]
    fn a_message_is_json_whose_body_says_which_it_is() {
        let mut lane = lane(500);
        let mut random = fastrand::Rng::with_seed(1);
        for index in 0..100 {
            let told = lane.tell(&mut random);
            let mut text = String::new();
            lane.put_json(index, &mut text);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["from"], lane.peer(told.sender).as_str());
            assert_eq!(of_body(json["body"].as_str().unwrap()), Some((2, index)));
            match lane.group(told.place) {
                Some(group) => assert_eq!(json["to"]["group"], group.to_string()),
                None => assert_ne!(json["to"]["peers"][0], json["from"]),
            }
        }
        assert_eq!(of_body("0002000000"), None);
        assert_eq!(of_body(&format!("000200000000{}", "!".repeat(BODY_BYTES - 12))), None);
    }
}
