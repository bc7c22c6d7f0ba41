//! What was sent, acknowledged and received, and whether that keeps the promise.
//!
//! # Invariants
//!
//! * The ledger lives in the process of the clients: no kill of the server takes anything from it.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use tidings::client::{Cursor, Message, Sent};
use tidings::id::{ConversationId, MessageId, PeerId};

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

struct Send {
    from: usize,
    /// The session that sent it; sends of a session keep their order.
    session: usize,
    /// Rising.
    to: Vec<usize>,
    fate: Fate,
}

/// What a device was handed.
#[derive(Clone, Copy, Debug)]
struct Got {
    send: usize,
    place: Place,
}

/// A message's place as sender and recipients are told it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    id: MessageId,
    sequence: u32,
    at_ms: u64,
}

impl From<Sent> for Place {
    fn from(sent: Sent) -> Self {
        Self { id: sent.id, sequence: sent.sequence, at_ms: sent.at_ms }
    }
}

struct Device {
    peer: usize,
    name: &'static str,
    got: Vec<Got>,
    cursor: Cursor,
}

#[derive(Default)]
pub(crate) struct Ledger {
    peers: Vec<PeerId>,
    sends: Vec<Send>,
    devices: Vec<Device>,
    sessions: usize,
    epoch: Option<u64>,
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
        let (got, cursor) = (Vec::new(), Cursor::default());
        self.devices.push(Device { peer, name, got, cursor });
        self.devices.len() - 1
    }

    pub(crate) fn session(&mut self) -> usize {
        self.sessions += 1;
        self.sessions
    }

    /// A peer is about to send: the message's recipients and its body.
    pub(crate) fn send(&mut self, from: usize, session: usize, mut to: Vec<usize>) -> Outgoing {
        to.sort_unstable();
        let number = self.sends.len();
        let recipients = to.iter().map(|to| self.peers[*to].clone()).collect();
        self.sends.push(Send { from, session, to, fate: Fate::Pending });
        self.pending += 1;
        Outgoing { number, recipients, body: body(number) }
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
    }

    /// An app was handed a message.
    pub(crate) fn got(&mut self, device: usize, message: &Message) {
        if let Err(problem) = self.take(device, message) {
            let Device { peer, name, .. } = &self.devices[device];
            let peer = &self.peers[*peer];
            self.problems.push(format!("{peer} ({name}): {problem}: {message:?}"));
        }
    }

    fn take(&mut self, device: usize, message: &Message) -> Result<(), &'static str> {
        if *self.epoch.get_or_insert(message.epoch) != message.epoch {
            return Err("another epoch");
        }
        let first = message.body.split(|byte| *byte == b' ').next().unwrap_or_default();
        let number = std::str::from_utf8(first).ok().and_then(|text| text.parse::<usize>().ok());
        let number = number.filter(|number| *number < self.sends.len()).ok_or("nobody sent it")?;
        let (send, device) = (&self.sends[number], &mut self.devices[device]);
        let to: Vec<&PeerId> = send.to.iter().map(|to| &self.peers[*to]).collect();
        let from = &self.peers[send.from];
        let participants = to.iter().copied().chain([from]);
        let is_as_sent = message.body == body(number)
            && message.from == *from
            && message.to.iter().eq(to.iter().copied())
            && message.conversation == ConversationId::of_peers(participants)
            && !message.transient;
        if !is_as_sent {
            return Err("not as it was sent");
        }
        if !send.to.contains(&device.peer) {
            return Err("it is for others");
        }
        if message.id <= device.cursor.id {
            return Err("again, or out of order");
        }
        device.cursor = message.cursor();
        let Message { id, sequence, at_ms, .. } = *message;
        device.got.push(Got { send: number, place: Place { id, sequence, at_ms } });
        self.received += 1;
        Ok(())
    }

    /// How far a device has come.
    pub(crate) fn cursor(&self, device: usize) -> Cursor {
        self.devices[device].cursor
    }

    /// Everything that was stored, as far as anybody was told, and where senders and recipients
    /// were told different things.
    fn stored(&self) -> (BTreeMap<usize, Place>, Vec<String>) {
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

    /// What is still under way: answers, and messages that one of their recipients did not get on
    /// this device or which leave a gap in their conversation. Empty when everything has arrived.
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
        let missed = stored.iter().filter(|(number, _)| {
            self.sends[**number].to.contains(&device.peer) && !got.contains(number)
        });
        let peer = &self.peers[device.peer];
        let tell = |(number, place): (usize, Place)| {
            let fate = self.sends[number].fate;
            format!("{peer} ({}) did not get {number}, {place:?}, {fate:?}", device.name)
        };
        missed.map(|(number, place)| tell((*number, *place))).collect()
    }

    /// The places of each conversation, in the order of their ids.
    fn conversations(&self, stored: &BTreeMap<usize, Place>) -> BTreeMap<String, Vec<Place>> {
        let mut conversations: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for (number, place) in stored {
            let send = &self.sends[*number];
            let participants = send.to.iter().chain([&send.from]).map(|peer| &self.peers[*peer]);
            let conversation = ConversationId::of_peers(participants).to_string();
            conversations.entry(conversation).or_default().push(*place);
        }
        for places in conversations.values_mut() {
            places.sort_by_key(|place| place.id);
        }
        conversations
    }

    /// How many messages a peer is to have.
    pub(crate) fn stored_for(&self, peer: usize) -> usize {
        let (stored, _) = self.stored();
        stored.keys().filter(|number| self.sends[**number].to.contains(&peer)).count()
    }

    /// Everything that breaks the promise, after everything has arrived.
    pub(crate) fn broken(&self) -> Vec<String> {
        let (stored, mut broken) = self.stored();
        broken.extend(self.problems.iter().cloned());
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
        broken
    }
}

/// A message to be sent.
pub(crate) struct Outgoing {
    pub(crate) number: usize,
    pub(crate) recipients: Vec<PeerId>,
    pub(crate) body: Bytes,
}

/// The body of a message: its number, and then more of what only it has.
fn body(number: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(number as u64);
    // Most are short, as in a chat.
    let length_max = if random.u8(..) < 200 { 100 } else { BODY_BYTES_MAX };
    let mut body = format!("{number} ").into_bytes();
    body.extend((0..random.usize(..length_max)).map(|_| random.alphanumeric() as u8));
    body.into()
}

#[test]
fn the_ledger_notices_what_breaks_the_promise() {
    let peers: Vec<PeerId> = ["ann", "bob"].map(|id| id.parse().unwrap()).into();
    let mut ledger = Ledger::new(&peers);
    let (device, session) = (ledger.device(1, "phone"), ledger.session());
    for id in 1..=3 {
        let outgoing = ledger.send(0, session, vec![1]);
        let sent = Sent { id: MessageId(id), sequence: id as u32, at_ms: 5 };
        ledger.settle(outgoing.number, Fate::Acknowledged(sent));
    }
    let message = |number: usize, id: i64| Message {
        id: MessageId(id),
        epoch: 7,
        sequence: id as u32,
        at_ms: 5,
        conversation: ConversationId::of_peers(&peers),
        from: peers[0].clone(),
        to: vec![peers[1].clone()],
        client_msg_no: "".into(),
        body: body(number),
        transient: false,
        receipt: false,
        waited: false,
    };
    ledger.got(device, &message(0, 1));
    assert_eq!(ledger.missing(&[device]).len(), 2);
    ledger.got(device, &message(1, 2));
    ledger.got(device, &message(2, 3));
    assert_eq!(ledger.missing(&[device]), [""; 0]);
    assert_eq!(ledger.broken(), [""; 0]);

    ledger.got(device, &message(1, 2));
    assert_eq!(ledger.broken().len(), 1, "twice");
    let outgoing = ledger.send(0, session, vec![1]);
    ledger.settle(outgoing.number, Fate::NotStored);
    assert_eq!(ledger.missing(&[device]), [""; 0]);
    ledger.got(device, &message(3, 4));
    assert_eq!(ledger.broken().len(), 2, "stored all the same");
    let outgoing = ledger.send(0, session, vec![1]);
    let sent = Sent { id: MessageId(2), sequence: 6, at_ms: 5 };
    ledger.settle(outgoing.number, Fate::Acknowledged(sent));
    assert_eq!(ledger.broken().len(), 5, "a used id, out of order, a gap");
    assert_eq!(ledger.missing(&[device]).len(), 2, "a gap, and it did not arrive");
    ledger.got(device, &Message { epoch: 8, ..message(4, 9) });
    assert_eq!(ledger.broken().len(), 6, "another epoch");
}
