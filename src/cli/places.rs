//! Where people talk, and how a conversation is named to people.
//!
//! # Invariants
//!
//! * A place has one conversation, and a conversation that was learned has one place.

use std::collections::HashMap;
use std::fmt;

use tidings::client::{Message, Recipients};
use tidings::id::{ConversationId, GroupId, PeerId};

use super::words::names;

/// Where somebody talks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// With these others.
    Peers(Vec<PeerId>),
    /// In a group.
    Group(GroupId),
}

impl Place {
    /// With these peers, each once and without `own`.
    pub(super) fn with(own: &PeerId, mut peers: Vec<PeerId>) -> Self {
        peers.retain(|peer| peer != own);
        peers.sort_unstable();
        peers.dedup();
        Self::Peers(peers)
    }

    /// The others with whom one talks, if it is not a group.
    pub(super) fn others(&self) -> &[PeerId] {
        match self {
            Self::Peers(others) => others,
            Self::Group(_) => &[],
        }
    }

    /// The conversation of `own` at this place.
    pub(super) fn conversation(&self, own: &PeerId) -> ConversationId {
        match self {
            Self::Peers(others) => ConversationId::of_peers(others.iter().chain([own])),
            Self::Group(group) => ConversationId::Group(*group),
        }
    }

    /// Whom a message is for that is said here.
    pub(super) fn recipients(&self) -> Recipients {
        match self {
            Self::Peers(others) => others.clone().into(),
            Self::Group(group) => (*group).into(),
        }
    }

    /// The only other one, if there is one other.
    pub(super) fn other(&self) -> Option<&PeerId> {
        match self.others() {
            [other] => Some(other),
            _ => None,
        }
    }
}

/// As it stands behind a verb: `with bob`, `in group 0123…`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peers(others) => write!(f, "with {}", names(others)),
            Self::Group(group) => write!(f, "in group {group}"),
        }
    }
}

/// The places that a peer has heard of: an id alone does not say who takes part.
#[derive(Debug)]
pub(super) struct Places {
    own: PeerId,
    known: HashMap<ConversationId, Place>,
}

impl Places {
    pub(super) fn new(own: PeerId) -> Self {
        Self { own, known: HashMap::new() }
    }

    pub(super) fn own(&self) -> &PeerId {
        &self.own
    }

    /// Learns the place of a conversation of these peers, whether `own` is among them or not.
    pub(super) fn learn<'a>(&mut self, peers: impl IntoIterator<Item = &'a PeerId>) -> Place {
        let place = Place::with(&self.own, peers.into_iter().cloned().collect());
        self.known.insert(place.conversation(&self.own), place.clone());
        place
    }

    /// Learns where a message was said.
    pub(super) fn learn_message(&mut self, message: &Message) -> Place {
        match message.conversation {
            ConversationId::Group(group) => Place::Group(group),
            ConversationId::Peers(_) => self.learn(message.to.iter().chain([&message.from])),
        }
    }

    /// The place of a conversation; `peer` takes part in it besides the own peer.
    pub(super) fn place(&self, conversation: ConversationId, peer: &PeerId) -> Option<Place> {
        let known = self.known.get(&conversation).cloned();
        known.or_else(|| match conversation {
            ConversationId::Group(group) => Some(Place::Group(group)),
            ConversationId::Peers(_) => {
                let two = Place::Peers(vec![peer.clone()]);
                (two.conversation(&self.own) == conversation).then_some(two)
            }
        })
    }

    /// A conversation as it stands behind what `peer` does in it, with a space before it; empty
    /// for the one of the two.
    pub(super) fn suffix(&self, conversation: ConversationId, peer: &PeerId) -> String {
        match self.place(conversation, peer) {
            Some(place) if place.other() == Some(peer) => String::new(),
            Some(place) => format!(" {place}"),
            None => format!(" in conversation {conversation}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(ids: &str) -> Vec<PeerId> {
        ids.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn a_conversation_is_named_by_who_takes_part_in_it() {
        let [ann, bob]: [PeerId; 2] = peers("ann bob").try_into().unwrap();
        let mut places = Places::new(ann.clone());
        let two = ConversationId::of_peers([&ann, &bob]);
        assert_eq!(places.suffix(two, &bob), "");
        let three = ConversationId::of_peers(&peers("ann bob cat"));
        assert_eq!(places.suffix(three, &bob), format!(" in conversation {three}"));
        assert_eq!(places.learn(&peers("cat ann bob cat")), Place::Peers(peers("bob cat")));
        assert_eq!(places.suffix(three, &bob), " with bob and cat");
        let group = GroupId([7; 12]);
        let in_group = places.suffix(ConversationId::Group(group), &bob);
        assert_eq!(in_group, format!(" in group {group}"));
    }

    #[test]
    fn a_place_has_the_conversation_of_all_who_take_part() {
        let [ann, bob]: [PeerId; 2] = peers("ann bob").try_into().unwrap();
        let place = Place::Peers(vec![bob.clone()]);
        assert_eq!(place.conversation(&ann), ConversationId::of_peers([&ann, &bob]));
        assert_eq!(place.other(), Some(&bob));
        assert_eq!(Place::Peers(peers("bob cat")).other(), None);
    }
}
