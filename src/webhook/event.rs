//! What is told to back ends: the events that an entry of the log makes.
//!
//! # Invariants
//!
//! * The events of an entry are numbered in a fixed order, whoever wants to hear which of them.
//!   So a place in the log names the same event for ever.
//! * A kind has one name. Receivers know it, so it never changes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::group::{GroupChange, Rules};
use crate::id::{ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId};
use crate::store::{
    Absent, Change, Counts, Ending, Entry, GroupAction, Message, Opening, Origin, Placed, Position,
    Recall,
};

/// Kinds of events.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A message was stored.
    MessageSent,
    /// A message waits for peers that have no session.
    MessageOffline,
    /// A device has a message of which the sender wanted to know that.
    MessageDelivered,
    /// A peer has read a conversation.
    MessageRead,
    /// A message was taken back.
    MessageRecalled,
    /// A conversation has its first message.
    ConversationStarted,
    /// A session opened.
    SessionStarted,
    /// A peer has a session more, or less.
    PeerStatus,
    /// A group was created or changed.
    GroupChanged,
    /// A client sent a message to the back end itself.
    Upstream,
    /// A part of the log was lost to webhooks.
    LogGap,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 11] = [
        Self::MessageSent,
        Self::MessageOffline,
        Self::MessageDelivered,
        Self::MessageRead,
        Self::MessageRecalled,
        Self::ConversationStarted,
        Self::SessionStarted,
        Self::PeerStatus,
        Self::GroupChanged,
        Self::Upstream,
        Self::LogGap,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MessageSent => "message.sent",
            Self::MessageOffline => "message.offline",
            Self::MessageDelivered => "message.delivered",
            Self::MessageRead => "message.read",
            Self::MessageRecalled => "message.recalled",
            Self::ConversationStarted => "conversation.started",
            Self::SessionStarted => "session.started",
            Self::PeerStatus => "peer.status",
            Self::GroupChanged => "group.changed",
            Self::Upstream => "upstream",
            Self::LogGap => "log.gap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is the name of no kind of event.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "no kind of event; they are message.sent, message.offline, message.delivered, \
         message.read, message.recalled, conversation.started, session.started, peer.status, \
         group.changed, upstream and log.gap"
)]
pub struct NoKind;

impl FromStr for Kind {
    type Err = NoKind;

    fn from_str(name: &str) -> Result<Self, NoKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(NoKind)
    }
}

/// Something to be told.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where it stands in the log. What one dialect tells in several fragments takes the parts
    /// from this one on.
    pub position: Position,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// What kind of event it is.
    pub kind: Kind,
    /// What happened.
    pub what: What,
}

impl Event {
    /// The id of its fragment that is `offset` parts behind its place: the same however often it
    /// is told, and that of no other. A message that waits for a peer which had a session when it
    /// came is told of by an id of its own with the peer's name, once.
    pub fn id(&self, offset: u32) -> String {
        let Position { entry, part } = self.position;
        match &self.what {
            What::Offline { sent, absent, late: true, .. } => match absent.first() {
                Some(absent) => offline_id(sent.message.id, &absent.peer),
                None => format!("offline-{}", sent.message.id),
            },
            What::Gap { from, through } => format!("gap-{from}-{through}"),
            _ => format!("{entry}-{}", part + offset),
        }
    }

    /// A number of what the event belongs to, which has an order: a conversation or a peer. It is
    /// the same for ever.
    pub fn key_hash(&self) -> u32 {
        let of = |conversation: &ConversationId| crc32fast::hash(&conversation.key());
        let of_peer = |peer: &PeerId| crc32fast::hash(peer.as_str().as_bytes());
        match &self.what {
            What::Sent(sent) | What::Offline { sent, .. } => of(&sent.message.conversation),
            What::Delivered(delivery) => of(&delivery.conversation),
            What::Read { conversation, .. } => of(conversation),
            What::Recalled(recall) => of(&recall.conversation),
            What::Group { group, .. } => of(&ConversationId::Group(*group)),
            What::Opened { opening, .. } => of_peer(&opening.peer),
            What::Ended(ended) => of_peer(&ended.peer),
            What::Upstream { from, .. } => of_peer(from),
            What::Gap { .. } => 0,
        }
    }
}

/// The id of what tells one recipient's back end that a message waits for it.
pub(super) fn offline_id(message: MessageId, peer: &PeerId) -> String {
    format!("offline-{message}-{peer}")
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A message was stored, or is the first of its conversation.
    Sent(Sent),
    /// A message waits for peers.
    Offline {
        /// The message.
        sent: Sent,
        /// What a push service is to show for it, a text; empty for what the settings say.
        push: Bytes,
        /// For whom it waits.
        absent: Vec<Absent>,
        /// It came while they had a session, and they did not acknowledge it.
        late: bool,
    },
    /// A device has a message.
    Delivered(Delivery),
    /// A peer has read a conversation.
    Read {
        /// Who.
        peer: PeerId,
        /// Which.
        conversation: ConversationId,
        /// Up to which number.
        sequence: u32,
        /// The others in it.
        others: Vec<PeerId>,
    },
    /// A message was taken back.
    Recalled(Recall),
    /// A session opened. Its id is the entry's.
    Opened {
        /// Who, where and with what.
        opening: Opening,
        /// Which.
        session: SessionId,
        /// How many sessions the peer has then.
        counts: Counts,
    },
    /// A session ended.
    Ended(Ended),
    /// A group was created or changed.
    Group {
        /// Which.
        group: GroupId,
        /// Who did it; nobody for the app's back end.
        by: Option<PeerId>,
        /// What has become of the group.
        change: GroupNews,
    },
    /// A client sent a message to the back end.
    Upstream {
        /// Its id.
        id: MessageId,
        /// Who sent it.
        from: PeerId,
        /// On which device.
        device: DeviceId,
        /// What it says.
        body: Bytes,
    },
    /// A part of the log was lost.
    Gap {
        /// The last entry before it.
        from: MessageId,
        /// The last entry of it.
        through: MessageId,
    },
}

/// A message that was stored.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub message: Arc<Message>,
    /// On which device it was sent; on none by the back end.
    pub device: Option<DeviceId>,
}

/// A message that a device has.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: MessageId,
    /// Who sent it.
    pub to: PeerId,
    /// Who has it.
    pub by: PeerId,
    /// On which device.
    pub device: DeviceId,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// The number of the last message that the device has there.
    pub through: u32,
}

/// A session that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whose.
    pub peer: PeerId,
    /// On which device.
    pub device: DeviceId,
    /// What the device is.
    pub flag: DeviceFlag,
    /// Which.
    pub session: SessionId,
    /// Why.
    pub ending: Ending,
    /// How many sessions the peer has then.
    pub counts: Counts,
}

/// What has become of a group.
#[derive(Clone, Debug)]
pub struct GroupNews {
    /// What has changed; nothing if it is new.
    pub change: Option<GroupChange>,
    /// Who is a member now and was not, or the other way round.
    pub peers: Vec<PeerId>,
    /// It has no stored members; told of a new one.
    pub open: Option<bool>,
    /// Who may do what from now on, if that has changed.
    pub rules: Option<Rules>,
    /// Its metadata from now on, JSON or empty, if that has changed.
    pub metadata: Option<Bytes>,
}

/// The messages that an entry names and that [`events`] needs to see.
pub fn needs(placed: &Placed) -> &[MessageId] {
    match &placed.entry {
        Entry::Unacknowledged { messages, .. } => messages,
        _ => &[],
    }
}

/// The events of an entry. Of the messages that it [needs], those that are not among the `found`
/// make none, for the log does not have them any more.
pub fn events(placed: &Placed, found: &[Placed]) -> Vec<Event> {
    let at = |part, kind, what| Event {
        position: Position { entry: placed.id, part },
        at_ms: placed.at_ms,
        kind,
        what,
    };
    match &placed.entry {
        Entry::Message { message, origin, push, absent, .. } => {
            sent(&Sent::new(message, origin), push, absent, at)
        }
        Entry::Opened { opening, counts } => {
            let session = SessionId(placed.id.0);
            let what = What::Opened { opening: opening.clone(), session, counts: *counts };
            vec![at(0, Kind::SessionStarted, what.clone()), at(1, Kind::PeerStatus, what)]
        }
        Entry::Ended { peer, device, flag, session, ending, counts } => {
            let (peer, device) = (peer.clone(), device.clone());
            let (flag, session, ending, counts) = (*flag, *session, *ending, *counts);
            let ended = Ended { peer, device, flag, session, ending, counts };
            vec![at(0, Kind::PeerStatus, What::Ended(ended))]
        }
        Entry::Unacknowledged { peer, waiting, messages } => {
            let absent = Absent { peer: peer.clone(), waiting: *waiting };
            let one = |(part, id): (usize, &MessageId)| {
                let what = What::late(found.iter().find(|found| found.id == *id)?, &absent)?;
                Some(at(part as u32, Kind::MessageOffline, what))
            };
            messages.iter().enumerate().filter_map(one).collect()
        }
        Entry::Read { peer, conversation, sequence, others } => {
            let (peer, others) = (peer.clone(), others.clone());
            let (conversation, sequence) = (*conversation, *sequence);
            let what = What::Read { peer, conversation, sequence, others };
            vec![at(0, Kind::MessageRead, what)]
        }
        Entry::Delivered { to, by, device, conversation, sequence, messages } => {
            let one = |(part, message): (usize, &MessageId)| {
                let (to, by, device) = (to.clone(), by.clone(), device.clone());
                let (message, conversation, through) = (*message, *conversation, *sequence);
                let what = Delivery { message, to, by, device, conversation, through };
                at(part as u32, Kind::MessageDelivered, What::Delivered(what))
            };
            messages.iter().enumerate().map(one).collect()
        }
        Entry::Recalled(recall) => {
            vec![at(0, Kind::MessageRecalled, What::Recalled(recall.clone()))]
        }
        Entry::GroupCreated { group, by, action } => {
            let Some(change) = GroupNews::created(action) else { return Vec::new() };
            vec![at(0, Kind::GroupChanged, What::Group { group: *group, by: by.clone(), change })]
        }
        Entry::GroupChanged { group, by, change, .. } => {
            let change = GroupNews::changed(change);
            vec![at(0, Kind::GroupChanged, What::Group { group: *group, by: by.clone(), change })]
        }
        Entry::Upstream(new) => {
            let (from, device, body) = (&new.from, &new.number.device, &new.body);
            let (from, device, body) = (from.clone(), device.clone(), body.clone());
            vec![at(0, Kind::Upstream, What::Upstream { id: placed.id, from, device, body })]
        }
        Entry::Acked { .. }
        | Entry::Started { .. }
        | Entry::Alias { .. }
        | Entry::Forgotten { .. }
        | Entry::Blocked { .. }
        | Entry::UpstreamDone { .. }
        | Entry::Nonce { .. }
        | Entry::Endpoint { .. } => Vec::new(),
    }
}

/// What is told of a hole in the log: the entries behind `from` up to `through` are lost. It is
/// told behind all events of the hole.
pub fn gap(from: MessageId, through: MessageId, at_ms: i64) -> Event {
    let position = Position::end_of(through);
    Event { position, at_ms, kind: Kind::LogGap, what: What::Gap { from, through } }
}

/// The events of a message.
fn sent(
    sent: &Sent,
    push: &Bytes,
    absent: &[Absent],
    at: impl Fn(u32, Kind, What) -> Event,
) -> Vec<Event> {
    let mut events = vec![at(0, Kind::MessageSent, What::Sent(sent.clone()))];
    if sent.message.sequence == 1 {
        events.push(at(1, Kind::ConversationStarted, What::Sent(sent.clone())));
    }
    if !absent.is_empty() {
        let (sent, push, absent) = (sent.clone(), push.clone(), absent.to_vec());
        let what = What::Offline { sent, push, absent, late: false };
        events.push(at(2, Kind::MessageOffline, what));
    }
    events
}

impl Sent {
    fn new(message: &Arc<Message>, origin: &Origin) -> Self {
        let device = match origin {
            Origin::Client(number) => Some(number.device.clone()),
            Origin::Backend { .. } => None,
        };
        Self { message: message.clone(), device }
    }
}

impl What {
    /// That the message in the log at `found` waits for a peer that had a session when it came.
    fn late(found: &Placed, absent: &Absent) -> Option<Self> {
        let Entry::Message { message, origin, push, .. } = &found.entry else { return None };
        let (sent, push) = (Sent::new(message, origin), push.clone());
        Some(Self::Offline { sent, push, absent: vec![absent.clone()], late: true })
    }
}

impl GroupNews {
    /// What there is to tell of a new group.
    fn created(action: &GroupAction) -> Option<Self> {
        let GroupAction::Create { open, rules, metadata, members } = action else { return None };
        let (open, rules, metadata) = (Some(*open), Some(*rules), Some(metadata.clone()));
        Some(Self { change: None, peers: members.clone(), open, rules, metadata })
    }

    fn changed(change: &Change) -> Self {
        let (rules, metadata) = (change.rules, change.metadata.clone());
        let (peers, change) = (change.peers.clone(), Some(change.change));
        Self { change, peers, open: None, rules, metadata }
    }
}
