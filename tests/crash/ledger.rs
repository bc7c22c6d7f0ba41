//! What was sent, acknowledged and received, and whether that keeps the promise.
//!
//! # Invariants
//!
//! * The ledger lives in the process of the clients: no kill of the server takes anything from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use tidings::client::{Cursor, Event, GroupNotice, Message, Pause, Recalled, Sent};
use tidings::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId};

use crate::groups::{Groups, Notice};
use crate::marks::{Marks, Watching};
use crate::notary::Used;

/// Bodies up to this; more than 1 KiB is stored in another way than less.
const BODY_BYTES_MAX: usize = 1600;

/// How far a send has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// Its answer is awaited.
    Pending,
    /// It is on disk.
    Acknowledged(Sent),
    /// Its client left before the answer came.
    Unknown,
    /// The client library says that it is not on disk.
    NotStored,
}

/// For whom a message is.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Rising.
    Peers(Vec<usize>),
    /// Its members when the message is stored, but the sender.
    Group(GroupId),
}

pub(crate) struct Send {
    pub(crate) from: usize,
    /// The session that sent it; sends of a session keep their order.
    pub(crate) session: usize,
    pub(crate) to: Target,
    pub(crate) conversation: ConversationId,
    pub(crate) fate: Fate,
}

/// What a device was handed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) send: usize,
    pub(crate) place: Place,
    /// The peer sent it itself, from another device.
    pub(crate) own: bool,
}

/// A message's place as sender and recipients are told it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) id: MessageId,
    pub(crate) sequence: u32,
    pub(crate) at_ms: u64,
}

impl From<Sent> for Place {
    fn from(sent: Sent) -> Self {
        Self { id: sent.id, sequence: sent.sequence, at_ms: sent.at_ms }
    }
}

pub(crate) struct Device {
    pub(crate) peer: usize,
    pub(crate) name: &'static str,
    pub(crate) id: Option<DeviceId>,
    pub(crate) got: Vec<Got>,
    /// The notices that it was handed.
    pub(crate) heard: BTreeSet<MessageId>,
    cursor: Cursor,
    pub(crate) watching: Watching,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) peers: Vec<PeerId>,
    pub(crate) sends: Vec<Send>,
    pub(crate) devices: Vec<Device>,
    sessions: usize,
    epoch: Option<u64>,
    by_id: HashMap<MessageId, usize>,
    pub(crate) groups: Groups,
    pub(crate) marks: Marks,
    /// Signatures that are used up.
    pub(crate) used: Vec<Used>,
    /// Nothing is recalled any more, so nobody may be handed what was.
    pub(crate) recalls_over: bool,
    pub(crate) pending: usize,
    pub(crate) acknowledged: usize,
    pub(crate) received: usize,
    /// Sends of those who left.
    pub(crate) unknown: usize,
    /// What broke the promise, in plain words.
    pub(crate) problems: Vec<String>,
}

impl Ledger {
    pub(crate) fn new(peers: &[PeerId]) -> Self {
        Self { peers: peers.to_vec(), ..Self::default() }
    }

    pub(crate) fn device(&mut self, peer: usize, name: &'static str) -> usize {
        self.devices.push(Device {
            peer,
            name,
            id: None,
            got: Vec::new(),
            heard: BTreeSet::new(),
            cursor: Cursor::default(),
            watching: Watching::default(),
        });
        self.devices.len() - 1
    }

    pub(crate) fn session(&mut self) -> usize {
        self.sessions += 1;
        self.sessions
    }

    /// A peer is about to send: the message's number and its body.
    pub(crate) fn send(&mut self, from: usize, session: usize, to: Target) -> (usize, Bytes) {
        let number = self.sends.len();
        let conversation = match &to {
            Target::Peers(to) => self.conversation(to.iter().copied().chain([from])),
            Target::Group(group) => ConversationId::Group(*group),
        };
        self.sends.push(Send { from, session, to, conversation, fate: Fate::Pending });
        self.pending += 1;
        (number, body(number))
    }

    pub(crate) fn conversation(&self, peers: impl IntoIterator<Item = usize>) -> ConversationId {
        ConversationId::of_peers(peers.into_iter().map(|peer| &self.peers[peer]))
    }

    /// How many sends there have been.
    pub(crate) fn sent(&self) -> usize {
        self.sends.len()
    }

    /// A send's fate is known.
    pub(crate) fn settle(&mut self, number: usize, fate: Fate) {
        assert_eq!(self.sends[number].fate, Fate::Pending);
        self.sends[number].fate = fate;
        self.pending -= 1;
        self.acknowledged += usize::from(matches!(fate, Fate::Acknowledged(_)));
        self.unknown += usize::from(fate == Fate::Unknown);
        if let Fate::Acknowledged(sent) = fate {
            self.by_id.insert(sent.id, number);
        }
    }

    /// An app was handed an event.
    pub(crate) fn hear(&mut self, device: usize, event: &Event) {
        if let Err(problem) = self.take(device, event) {
            let Device { peer, name, .. } = &self.devices[device];
            let peer = &self.peers[*peer];
            self.problems.push(format!("{peer} ({name}): {problem}: {event:?}"));
        }
    }

    fn take(&mut self, device: usize, event: &Event) -> Result<(), &'static str> {
        match event {
            Event::Message(message) => self.take_message(device, message),
            Event::Recalled(recalled) => self.take_recalled(device, recalled),
            Event::Joined(notice)
            | Event::Invited(notice)
            | Event::Left(notice)
            | Event::MembersJoined(notice)
            | Event::MembersLeft(notice) => self.take_change(device, notice),
            Event::Delivered(mark) => {
                let peer = self.index(&mark.peer)?;
                let device = self.devices[device].peer;
                self.marks.delivered(device, mark.conversation, peer, mark.sequence)
            }
            Event::Read(mark) => {
                let peer = self.index(&mark.peer)?;
                let device = self.devices[device].peer;
                self.marks.read(device, mark.conversation, peer, mark.sequence)
            }
            Event::Online(peers) | Event::Offline(peers) => {
                let is_online = matches!(event, Event::Online(_));
                for peer in peers {
                    let peer = self.index(peer)?;
                    self.devices[device].watching.note(peer, is_online);
                }
                Ok(())
            }
            Event::Paused(Pause::Lost | Pause::Unanswered) => Ok(()),
            Event::Opened(opening) if opening.dropped == 0 => {
                let online: Result<_, _> =
                    opening.online.iter().map(|peer| self.index(peer)).collect();
                self.devices[device].watching.online = online?;
                Ok(())
            }
            Event::Resumed(opening) if opening.dropped == 0 => Ok(()),
            _ => Err("unexpected"),
        }
    }

    pub(crate) fn index(&self, peer: &PeerId) -> Result<usize, &'static str> {
        self.peers.binary_search(peer).map_err(|_| "nobody knows this peer")
    }

    /// A device comes to something that is acknowledged.
    fn advance(&mut self, device: usize, cursor: Cursor) -> Result<(), &'static str> {
        if *self.epoch.get_or_insert(cursor.epoch) != cursor.epoch {
            return Err("another epoch");
        }
        let device = &mut self.devices[device];
        if cursor.id <= device.cursor.id {
            return Err("again, or out of order");
        }
        device.cursor = cursor;
        Ok(())
    }

    fn take_message(&mut self, device: usize, message: &Message) -> Result<(), &'static str> {
        let first = message.body.split(|byte| *byte == b' ').next().unwrap_or_default();
        let number = std::str::from_utf8(first).ok().and_then(|text| text.parse::<usize>().ok());
        let number = number.filter(|number| *number < self.sends.len()).ok_or("nobody sent it")?;
        let (send, peer) = (&self.sends[number], self.devices[device].peer);
        let to: Vec<&PeerId> = match &send.to {
            Target::Peers(to) => to.iter().map(|to| &self.peers[*to]).collect(),
            Target::Group(_) => Vec::new(),
        };
        let is_as_sent = message.body == body(number)
            && message.from == self.peers[send.from]
            && message.to.iter().eq(to)
            && message.conversation == send.conversation
            && !message.transient;
        if !is_as_sent {
            return Err("not as it was sent");
        }
        let is_for_it = match &send.to {
            _ if message.own => send.from == peer && !message.waited,
            Target::Peers(to) => to.contains(&peer),
            // Who was a member then is asked when all changes are known.
            Target::Group(_) => send.from != peer,
        };
        if !is_for_it {
            return Err("it is for others");
        }
        if self.recalls_over && self.groups.recalled.contains_key(&number) {
            return Err("it was recalled");
        }
        let Message { id, sequence, at_ms, own, .. } = *message;
        self.marks.got(peer, message.conversation, sequence);
        self.advance(device, message.cursor())?;
        self.by_id.insert(id, number);
        self.devices[device].got.push(Got {
            send: number,
            place: Place { id, sequence, at_ms },
            own,
        });
        self.received += 1;
        Ok(())
    }

    fn take_recalled(&mut self, device: usize, recalled: &Recalled) -> Result<(), &'static str> {
        self.advance(device, recalled.cursor)?;
        let send = *self.by_id.get(&recalled.message).ok_or("nobody knows the message")?;
        let by = recalled.by.as_ref().map(|by| self.index(by)).transpose()?;
        if by != Some(self.sends[send].from)
            || recalled.conversation != self.sends[send].conversation
        {
            return Err("not as it was recalled");
        }
        self.devices[device].heard.insert(recalled.cursor.id);
        self.groups.note(recalled.cursor.id, &Notice::Recalled { send })
    }

    fn take_change(&mut self, device: usize, notice: &GroupNotice) -> Result<(), &'static str> {
        self.advance(device, notice.cursor)?;
        let by = self.index(notice.by.as_ref().ok_or("nobody did it")?)?;
        let peers: Result<_, _> = notice.peers.iter().map(|peer| self.index(peer)).collect();
        let GroupNotice { group, change, .. } = *notice;
        self.devices[device].heard.insert(notice.cursor.id);
        self.groups.note(notice.cursor.id, &Notice::Changed { group, change, by, peers: peers? })
    }

    /// How far a device has come.
    pub(crate) fn cursor(&self, device: usize) -> Cursor {
        self.devices[device].cursor
    }

    /// Everything that was stored, as far as anybody was told, and where senders and recipients
    /// were told different things.
    pub(crate) fn stored(&self) -> (BTreeMap<usize, Place>, Vec<String>) {
        let (mut stored, mut problems) = (BTreeMap::new(), Vec::new());
        for (number, send) in self.sends.iter().enumerate() {
            if let Fate::Acknowledged(sent) = send.fate {
                stored.insert(number, Place::from(sent));
            }
        }
        for got in self.devices.iter().flat_map(|device| &device.got) {
            let place = *stored.entry(got.send).or_insert(got.place);
            if place != got.place {
                problems.push(format!("{} is {place:?} and {:?}", got.send, got.place));
            }
            if self.sends[got.send].fate == Fate::NotStored {
                problems.push(format!("{} was said not to be stored: {place:?}", got.send));
            }
        }
        (stored, problems)
    }
}

/// The body of a message: its number, and then more of what only it has.
pub(crate) fn body(number: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(number as u64);
    // Most are short, as in a chat.
    let length_max = if random.u8(..) < 200 { 100 } else { BODY_BYTES_MAX };
    let mut body = format!("{number} ").into_bytes();
    body.extend((0..random.usize(..length_max)).map(|_| random.alphanumeric() as u8));
    body.into()
}
