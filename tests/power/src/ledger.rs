//! What was sent, acknowledged, handed out and found again, and what that breaks.
//!
//! # Invariants
//!
//! * The ledger lives in the process of the clients: no cut takes anything from it.
//! * A place that anybody was told of, by an answer, a delivery or the history, is that message's
//!   for good.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidings::client::{Cursor, Message};
use tidings::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId};

/// Peers that have a session in every run.
pub(crate) const RESIDENTS: usize = 6;
/// Messages to one who is absent: fewer than the window keeps, which is 50.
const ABSENT_MESSAGES_MAX: usize = 45;

/// What breaks the promise.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    pub(crate) lost: usize,
    pub(crate) out_of_order: usize,
    pub(crate) reused: usize,
    pub(crate) others: usize,
    /// All of it, in words.
    pub(crate) told: Vec<String>,
}

impl Broken {
    pub(crate) fn is_any(&self) -> bool {
        !self.told.is_empty()
    }
}

/// A kind of what breaks it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Breach {
    Lost,
    OutOfOrder,
    Reused,
    Other,
}

/// For whom a message is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Resident(usize),
    Absent(PeerId),
    Group(GroupId),
}

/// A message's place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) id: MessageId,
    pub(crate) sequence: u32,
}

struct Send {
    from: usize,
    to: Target,
    conversation: ConversationId,
    bytes: usize,
    acknowledged: bool,
    place: Option<Place>,
}

/// What is known of a conversation.
#[derive(Default)]
pub(crate) struct Talk {
    /// A resident that is part of it.
    pub(crate) reader: usize,
    /// The message of each number that was told.
    places: BTreeMap<u32, (MessageId, usize)>,
    /// The last number that was found in the history.
    pub(crate) found: u32,
}

/// A device, as its app keeps it.
pub(crate) struct Device {
    pub(crate) peer: PeerId,
    pub(crate) id: DeviceId,
    pub(crate) cursor: Cursor,
    handed: HashSet<usize>,
}

/// The ledger of one data folder.
pub(crate) struct Ledger {
    sends: Vec<Send>,
    pub(crate) talks: HashMap<ConversationId, Talk>,
    ids: HashMap<MessageId, usize>,
    pub(crate) residents: Vec<Device>,
    /// Those who are still to come.
    pub(crate) absents: Vec<PeerId>,
    /// Messages that the last of them is sent.
    absent_messages: usize,
    pub(crate) group: Option<GroupId>,
    pub(crate) acknowledged: usize,
    /// Sends up to here have been handed to whom they are for.
    pub(crate) settled: usize,
    pub(crate) broken: Broken,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let residents = (0..RESIDENTS).map(|number| device(&format!("resident-{number}")));
        Self {
            sends: Vec::new(),
            talks: HashMap::new(),
            ids: HashMap::new(),
            residents: residents.collect(),
            absents: Vec::new(),
            absent_messages: 0,
            group: None,
            acknowledged: 0,
            settled: 0,
            broken: Broken::default(),
        }
    }

    pub(crate) fn breach(&mut self, breach: Breach, what: String) {
        let count = match breach {
            Breach::Lost => &mut self.broken.lost,
            Breach::OutOfOrder => &mut self.broken.out_of_order,
            Breach::Reused => &mut self.broken.reused,
            Breach::Other => &mut self.broken.others,
        };
        *count += 1;
        self.broken.told.push(what);
    }

    /// Somebody whom nobody has heard of is written to from now on.
    pub(crate) fn expect(&mut self, name: &str) {
        self.absents.push(device(name).peer);
        self.absent_messages = 0;
    }

    /// An absent peer that more can be sent to.
    pub(crate) fn absent(&mut self) -> Option<Target> {
        self.absent_messages += 1;
        let peer = self.absents.last().filter(|_| self.absent_messages <= ABSENT_MESSAGES_MAX)?;
        Some(Target::Absent(peer.clone()))
    }

    /// A resident is about to send so many bytes; gives the body.
    pub(crate) fn send(&mut self, from: usize, to: Target, bytes: usize) -> (usize, Vec<u8>) {
        let number = self.sends.len();
        let peers = |other: &PeerId| ConversationId::of_peers([&self.residents[from].peer, other]);
        let conversation = match &to {
            Target::Resident(other) => peers(&self.residents[*other].peer),
            Target::Absent(peer) => peers(peer),
            Target::Group(group) => ConversationId::Group(*group),
        };
        self.talks.entry(conversation).or_default().reader = from;
        let bytes = bytes.max(size_of::<u64>());
        self.sends.push(Send { from, to, conversation, bytes, acknowledged: false, place: None });
        (number, body(number, bytes))
    }

    /// A send was answered.
    pub(crate) fn acknowledge(&mut self, number: usize, place: Place) {
        self.acknowledged += 1;
        self.sends[number].acknowledged = true;
        self.place(number, place);
    }

    /// Somebody was told where a message stands.
    fn place(&mut self, number: usize, place: Place) {
        let send = &mut self.sends[number];
        let before = *send.place.get_or_insert(place);
        let conversation = send.conversation;
        if before != place {
            let what = format!("message {number} has two places: {before:?} and {place:?}");
            return self.breach(Breach::Reused, what);
        }
        let other = *self.ids.entry(place.id).or_insert(number);
        if other != number {
            let what = format!("messages {other} and {number} have the id {}", place.id);
            self.breach(Breach::Reused, what);
        }
        let places = &mut self.talks.entry(conversation).or_default().places;
        let (_, other) = *places.entry(place.sequence).or_insert((place.id, number));
        if other != number {
            let sequence = place.sequence;
            let what = format!("{other} and {number} both are number {sequence} of {conversation}");
            self.breach(Breach::Reused, what);
        }
    }

    /// Somebody was told a message: which one it is.
    fn told(&mut self, place: Place, bytes: &[u8]) -> Option<usize> {
        let number = bytes.first_chunk().map(|number| u64::from_le_bytes(*number) as usize);
        let send = number.and_then(|number| self.sends.get(number));
        let Some((number, send)) = number.zip(send) else {
            self.breach(Breach::Other, format!("{place:?} is what nobody sent"));
            return None;
        };
        if body(number, send.bytes) != bytes {
            self.breach(Breach::Other, format!("message {number} is not what was sent"));
        }
        self.place(number, place);
        Some(number)
    }

    /// A resident was handed a message.
    pub(crate) fn hand(&mut self, resident: usize, message: &Message) {
        let place = Place { id: message.id, sequence: message.sequence };
        let Some(number) = self.told(place, &message.body) else { return };
        let device = &mut self.residents[resident];
        let before = std::mem::replace(&mut device.cursor, message.cursor());
        let is_first = device.handed.insert(number);
        if before.epoch != 0 && before.epoch != message.epoch {
            self.breach(Breach::Other, "the log began anew".to_owned());
        } else if !is_first || before.id >= message.id {
            let (name, before) = (&self.residents[resident].peer, before.id);
            let what = format!("{name} was handed {number}, {place:?}, behind {before}");
            self.breach(Breach::OutOfOrder, what);
        }
    }

    /// The history of a conversation, oldest first, behind what was found before.
    pub(crate) fn find(&mut self, conversation: ConversationId, history: &[(Place, Vec<u8>)]) {
        let mut last = self.talks.entry(conversation).or_default().found;
        let mut last_id = MessageId::NONE;
        for (place, bytes) in history {
            if place.sequence != last + 1 || place.id <= last_id {
                let what = format!("{conversation}: {place:?} stands behind number {last}");
                self.breach(Breach::OutOfOrder, what);
            }
            (last, last_id) = (place.sequence, place.id);
            self.told(*place, bytes);
        }
        let talk = self.talks.entry(conversation).or_default();
        let there: HashSet<u32> = history.iter().map(|(place, _)| place.sequence).collect();
        let behind = talk.places.range(talk.found + 1..);
        let gone: Vec<_> = behind.filter(|(sequence, _)| !there.contains(sequence)).collect();
        let gone: Vec<String> = gone
            .into_iter()
            .map(|(sequence, (id, number))| {
                let known = if self.sends[*number].acknowledged { "acknowledged" } else { "told" };
                format!("{conversation}: number {sequence}, {id}, is gone; it was {known}")
            })
            .collect();
        talk.found = talk.found.max(last);
        gone.into_iter().for_each(|what| self.breach(Breach::Lost, what));
    }

    /// What a resident is still to be handed, by what was told of it.
    pub(crate) fn due(&self, resident: usize) -> Vec<usize> {
        let is_due = |(number, send): &(usize, &Send)| {
            let is_for = match &send.to {
                Target::Resident(to) => *to == resident,
                Target::Absent(_) => false,
                Target::Group(_) => send.from != resident,
            };
            is_for && send.place.is_some() && !self.residents[resident].handed.contains(number)
        };
        let sends = self.sends.iter().enumerate().skip(self.settled);
        sends.filter(is_due).map(|(number, _)| number).collect()
    }

    /// Everybody has been handed what they were due.
    pub(crate) fn settle(&mut self) {
        self.settled = self.sends.len();
    }

    /// What waits for one who was absent, in order.
    pub(crate) fn waiting(&self, absent: &PeerId) -> Vec<Place> {
        let is_for = |to: &Target| matches!(to, Target::Absent(peer) if peer == absent);
        let sends = self.sends.iter().filter(|send| is_for(&send.to));
        let mut waiting: Vec<Place> = sends.filter_map(|send| send.place).collect();
        waiting.sort_unstable_by_key(|place| place.id);
        waiting
    }

    /// All conversations are looked at anew, from the beginning.
    pub(crate) fn doubt(&mut self) {
        self.talks.values_mut().for_each(|talk| talk.found = 0);
    }
}

/// A device that has had nothing.
pub(crate) fn device(name: &str) -> Device {
    let (peer, id) = (name.parse(), format!("device-{name}").parse());
    Device {
        peer: peer.expect("the name is short and plain"),
        id: id.expect("the name is short and plain"),
        cursor: Cursor::default(),
        handed: HashSet::new(),
    }
}

/// What a message says.
fn body(number: usize, bytes: usize) -> Vec<u8> {
    let mut body = (number as u64).to_le_bytes().to_vec();
    let fill = (number as u8).wrapping_mul(31);
    body.extend((body.len()..bytes).map(|at| fill.wrapping_add(at as u8)));
    body
}
