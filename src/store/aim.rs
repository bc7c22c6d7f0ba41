//! Which of the messages that wait for a peer are for some of its devices only.
//!
//! # Invariants
//!
//! * A message that does not stand here is for all devices, those that come later too.
//! * Ids strictly rise.

use std::collections::VecDeque;

use crate::id::MessageId;
use crate::limits::DEVICES_PER_PEER_MAX;

const _: () = assert!(DEVICES_PER_PEER_MAX <= u16::BITS as usize);

/// Some devices of a peer, by their places in its list: a bit for each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Places(pub(super) u16);

impl Places {
    pub(super) fn has(self, place: usize) -> bool {
        self.0 >> place & 1 == 1
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The device at `place` has left the list, and those behind it have moved up.
    fn leave(&mut self, place: usize) {
        let before = (1 << place) - 1;
        self.0 = self.0 & before | self.0 >> 1 & !before;
    }
}

impl FromIterator<usize> for Places {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        Self(places.into_iter().fold(0, |bits, place| bits | 1 << place))
    }
}

/// The messages that are for some devices only.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Aims {
    aims: VecDeque<(MessageId, Places)>,
}

impl Aims {
    pub(super) fn is_empty(&self) -> bool {
        self.aims.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (MessageId, Places)> {
        self.aims.iter().copied()
    }

    /// Adds a message; its id is above all others.
    pub(super) fn push(&mut self, id: MessageId, places: Places) {
        self.aims.push_back((id, places));
    }

    /// The devices that a message is for; `None` if it is for all.
    pub(super) fn of(&self, id: MessageId) -> Option<Places> {
        self.index(id).map(|index| self.aims[index].1)
    }

    /// Whether a message is for the device at a place; a device that has none gets what is for all.
    pub(super) fn is_for(&self, id: MessageId, place: Option<usize>) -> bool {
        self.of(id).is_none_or(|places| place.is_some_and(|place| places.has(place)))
    }

    /// Forgets a message that waits no more. Says which devices it was for.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Places> {
        let index = self.index(id)?;
        self.aims.remove(index).map(|(_, places)| places)
    }

    /// The device at `place` has left the list of devices.
    pub(super) fn leave(&mut self, place: usize) {
        self.aims.iter_mut().for_each(|(_, places)| places.leave(place));
    }

    fn index(&self, id: MessageId) -> Option<usize> {
        self.aims.binary_search_by_key(&id, |(id, _)| *id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_leaves_takes_its_place_along_and_those_behind_it_move_up() {
        let all: Vec<usize> = (0..DEVICES_PER_PEER_MAX).collect();
        for left in &all {
            for named in [vec![0, 3, 15], vec![5], all.clone(), Vec::new()] {
                let mut places: Places = named.iter().copied().collect();
                places.leave(*left);
                let others = named.iter().filter(|place| *place != left);
                let expected: Places =
                    others.map(|place| if place > left { place - 1 } else { *place }).collect();
                assert_eq!(places, expected, "{left} of {named:?}");
            }
        }
    }

    #[test]
    fn what_does_not_stand_here_is_for_every_device_and_what_does_for_those_it_names() {
        let mut aims = Aims::default();
        aims.push(MessageId(3), [1].into_iter().collect());
        aims.push(MessageId(5), [0, 2].into_iter().collect());
        let is_for = |aims: &Aims, place| [2, 3, 5].map(|id| aims.is_for(MessageId(id), place));
        assert_eq!(is_for(&aims, Some(0)), [true, false, true]);
        assert_eq!(is_for(&aims, Some(1)), [true, true, false]);
        assert_eq!(is_for(&aims, None), [true, false, false]);
        assert_eq!(aims.remove(MessageId(3)), Some(Places(0b10)));
        assert_eq!(aims.remove(MessageId(3)), None);
        assert_eq!(is_for(&aims, Some(0)), [true, true, true]);
    }
}
