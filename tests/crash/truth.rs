//! What follows from the ledger: who is to have what, what is missing, and what is broken.
//!
//! # Invariants
//!
//! * What nobody was told of may be so or not; what anybody was told is so for everybody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use tidings::id::{ConversationId, MessageId};

use crate::groups::Notice;
use crate::judge::Part;
use crate::ledger::{Device, Got, Ledger, Place, Target};

impl Ledger {
    /// Whether a stored message is for this peer.
    fn is_for(&self, number: usize, place: Place, peer: usize) -> bool {
        let send = &self.sends[number];
        match &send.to {
            Target::Peers(to) => to.contains(&peer),
            Target::Group(group) => {
                send.from != peer && self.groups.members_at(*group, place.id).contains(&peer)
            }
        }
    }

    /// Who hears of a notice.
    fn concerns(&self, id: MessageId, notice: &Notice, peer: usize) -> bool {
        match notice {
            Notice::Changed { group, .. } => self.groups.concerned(*group, id).contains(&peer),
            Notice::Recalled { send } => match (&self.sends[*send].to, self.sends[*send].from) {
                (_, from) if from == peer => true,
                (Target::Peers(to), _) => to.contains(&peer),
                (Target::Group(group), _) => self.groups.members_at(*group, id).contains(&peer),
            },
        }
    }

    /// What is still under way: answers, and messages and notices that one of their recipients did
    /// not get on this device or which leave a gap in their conversation. Empty when everything
    /// has arrived.
    pub(crate) fn missing(&self, devices: &[usize]) -> Vec<String> {
        let (stored, _) = self.stored();
        let mut missing = Vec::new();
        if self.pending > 0 {
            missing.push(format!("{} sends are not answered", self.pending));
        }
        for device in devices {
            missing.extend(self.missing_on(&self.devices[*device], &stored));
        }
        for (conversation, places) in self.conversations(&stored) {
            let last = places.iter().map(|place| place.sequence).max().unwrap_or_default();
            if last as usize != places.len() {
                let known = places.len();
                missing.push(format!("{known} of {last} messages of {conversation} are known"));
            }
        }
        missing
    }

    fn missing_on(&self, device: &Device, stored: &BTreeMap<usize, Place>) -> Vec<String> {
        let got: HashSet<usize> = device.got.iter().map(|got| got.send).collect();
        let missed = stored.iter().filter(|(number, place)| {
            !got.contains(number)
                && !self.groups.recalled.contains_key(number)
                && self.is_for(**number, **place, device.peer)
        });
        let peer = &self.peers[device.peer];
        let tell = |(number, place): (&usize, &Place)| {
            let fate = self.sends[*number].fate;
            format!("{peer} ({}) did not get {number}, {place:?}, {fate:?}", device.name)
        };
        let mut missing: Vec<String> = missed.map(tell).collect();
        let unheard = self.groups.notices.iter().filter(|(id, notice)| {
            !device.heard.contains(id) && self.concerns(**id, notice, device.peer)
        });
        let tell = |(id, notice)| format!("{peer} ({}) did not hear {id}: {notice:?}", device.name);
        missing.extend(unheard.map(tell));
        missing
    }

    /// The places of each conversation, in the order of their ids.
    fn conversations(
        &self,
        stored: &BTreeMap<usize, Place>,
    ) -> BTreeMap<ConversationId, Vec<Place>> {
        let mut conversations: BTreeMap<_, Vec<Place>> = BTreeMap::new();
        for (number, place) in stored {
            conversations.entry(self.sends[*number].conversation).or_default().push(*place);
        }
        for places in conversations.values_mut() {
            places.sort_by_key(|place| place.id);
        }
        conversations
    }

    /// How many messages and notices wait for a device of this peer that has had nothing, and how
    /// many messages it is not to have because they were recalled when it was not to hear of that.
    pub(crate) fn waiting_for(&self, peer: usize) -> (usize, usize) {
        let (stored, _) = self.stored();
        let (mut waiting, mut silent) = (0, 0);
        for (number, place) in &stored {
            let is_for = self.is_for(*number, *place, peer);
            match self.groups.recalled.get(number) {
                None => waiting += usize::from(is_for),
                Some(recalled) => {
                    let hears = self.concerns(*recalled, &Notice::Recalled { send: *number }, peer);
                    silent += usize::from(is_for && !hears);
                }
            }
        }
        let notices = self.groups.notices.iter();
        waiting += notices.filter(|(id, notice)| self.concerns(**id, notice, peer)).count();
        (waiting, silent)
    }

    /// Everything that breaks the promise, after everything has arrived.
    pub(crate) fn broken(&self) -> Vec<String> {
        let (stored, mut broken) = self.stored();
        broken.extend(self.problems.iter().cloned());
        broken.extend(self.groups.broken());
        let mut ids: HashMap<MessageId, usize> = HashMap::new();
        let mut sessions: HashMap<usize, (usize, MessageId)> = HashMap::new();
        for (number, place) in &stored {
            if let Some(other) = ids.insert(place.id, *number) {
                broken.push(format!("{other} and {number} have the same id {}", place.id));
            }
            let session = self.sends[*number].session;
            if let Some((before, id)) = sessions.insert(session, (*number, place.id))
                && id >= place.id
            {
                broken.push(format!("{before} was sent before {number} and is stored behind it"));
            }
        }
        for (conversation, places) in self.conversations(&stored) {
            for (place, sequence) in places.iter().zip(1..) {
                if place.sequence != sequence {
                    broken.push(format!("{conversation}: not number {sequence}: {place:?}"));
                    break;
                }
            }
        }
        for device in &self.devices {
            let peer = &self.peers[device.peer];
            let others = |got: &&Got| !got.own && !self.is_for(got.send, got.place, device.peer);
            let tell = |got: &Got| format!("{peer} got {got:?}, which is for others");
            broken.extend(device.got.iter().filter(others).map(tell));
            let others = |id: &&MessageId| {
                let notice = self.groups.notices.get(id);
                notice.is_some_and(|notice| !self.concerns(**id, notice, device.peer))
            };
            let tell = |id: &MessageId| format!("{peer} heard {id}, which is for others");
            broken.extend(device.heard.iter().filter(others).map(tell));
        }
        broken
    }

    /// What a peer takes part in, and how far it has come there.
    pub(crate) fn parts(&self, peer: usize) -> BTreeMap<ConversationId, Part> {
        let (stored, _) = self.stored();
        let mut parts = BTreeMap::new();
        let mut own: HashMap<ConversationId, u32> = HashMap::new();
        for (number, place) in &stored {
            let send = &self.sends[*number];
            if send.from == peer {
                let last = own.entry(send.conversation).or_default();
                *last = place.sequence.max(*last);
            }
        }
        for (conversation, places) in self.conversations(&stored) {
            let first = stored.iter().find(|(_, place)| place.id == places[0].id);
            let is_part = first.is_some_and(|(number, place)| {
                self.sends[*number].from == peer || self.is_for(*number, *place, peer)
            });
            if is_part && matches!(conversation, ConversationId::Peers(_)) {
                let own = own.get(&conversation).copied().unwrap_or_default();
                let (noted, asked) = self.marks.read_by(peer, conversation);
                let (sequence, read) = (places.len() as u32, (noted.max(own), asked.max(own)));
                parts.insert(conversation, Part { sequence, read, is_member: false });
            }
        }
        let places = self.conversations(&stored);
        for group in self.groups.all() {
            let (since, until) = self.groups.stint(group, peer);
            if since == MessageId::NONE {
                continue;
            }
            let conversation = ConversationId::Group(group);
            let before = |id: MessageId| {
                let places = places.get(&conversation).into_iter().flatten();
                places.filter(|place| place.id < id).count() as u32
            };
            let part = if since > until {
                let own = own.get(&conversation).copied().unwrap_or_default().max(before(since));
                let (noted, asked) = self.marks.read_by(peer, conversation);
                let read = (noted.max(own), asked.max(own));
                Part { sequence: before(MessageId(i64::MAX)), read, is_member: true }
            } else {
                let sequence = before(until);
                Part { sequence, read: (sequence, sequence), is_member: false }
            };
            parts.insert(conversation, part);
        }
        parts
    }

    /// What the peer was not told of how far the others have had and read the last words to them.
    pub(crate) fn unmarked(&self, peer: usize) -> Vec<String> {
        let (stored, _) = self.stored();
        let mut unmarked = Vec::new();
        for by in (0..self.peers.len()).filter(|by| *by != peer) {
            let conversation = self.conversation([peer, by]);
            let last = |from: usize| {
                let of = |number: usize| &self.sends[number];
                let sent = stored.iter().filter(|(number, _)| {
                    of(**number).conversation == conversation && of(**number).from == from
                });
                sent.map(|(_, place)| place.sequence).max()
            };
            let (read, _) = self.marks.read_by(by, conversation);
            let (delivered, told) = self.marks.told(peer, conversation, by);
            // Who answers has read, and reading that afterwards is no news.
            let is_told = told >= Some(read) || last(by) > Some(read);
            if delivered < last(peer) || !is_told {
                let (to, by) = (&self.peers[peer], &self.peers[by]);
                unmarked.push(format!("{to} knows of {by}: {delivered:?}, {told:?} of {read}"));
            }
        }
        unmarked
    }

    /// Whether the phones of the first `count` peers know that just these are on line.
    pub(crate) fn all_see(&self, count: usize) -> bool {
        let phones = self.devices.iter().filter(|device| device.name == "phone");
        phones.filter(|phone| phone.peer < count).all(|phone| {
            let others = (0..count).filter(|other| *other != phone.peer);
            phone.watching.online.iter().copied().eq(others)
        })
    }

    /// Whether no phone of the first `count` peers was told of a change of another of them.
    pub(crate) fn is_calm(&self, count: usize) -> bool {
        let phones = self.devices.iter().filter(|device| device.name == "phone");
        let mut changed = phones.filter(|phone| phone.peer < count);
        changed.all(|phone| phone.watching.changes.range(..count).next().is_none())
    }

    /// When the phones were told that the last `gone` of the peers are off line: each once, and
    /// never on line again. The others are on line as often as off line.
    pub(crate) fn partings(&self, gone: usize) -> Result<Vec<Instant>, String> {
        let (mut partings, stay) = (Vec::new(), self.peers.len() - gone);
        let phones = self.devices.iter().filter(|device| device.name == "phone");
        for phone in phones.filter(|phone| phone.peer < stay) {
            let name = &self.peers[phone.peer];
            for (peer, (offline, online)) in &phone.watching.changes {
                if *peer < stay && offline.len() != *online {
                    return Err(format!("{name} thinks {peer} off line"));
                }
            }
            for peer in stay..self.peers.len() {
                match phone.watching.changes.get(&peer) {
                    Some((offline, 0)) if offline.len() == 1 => partings.push(offline[0]),
                    changes => return Err(format!("{name} heard of {peer}: {changes:?}")),
                }
            }
        }
        Ok(partings)
    }
}
