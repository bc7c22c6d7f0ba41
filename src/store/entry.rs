//! What happens and must last: the entries of the log, as the rest of the server sees them.
//!
//! # Invariants
//!
//! * An entry holds all that applying it needs: replaying the log needs no clock and no session.

use std::sync::Arc;

use bytes::Bytes;

use crate::group::{GroupChange, Rules};
use crate::id::{
    Alias, ConversationId, DeviceFlag, DeviceId, EndpointId, GroupId, MessageId, PeerId, SessionId,
};
use crate::limits::{BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, STORED_PEER_BYTES_MAX};
use crate::store::group::Change;
use crate::store::journal::EndpointChange;

/// A persistent message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its id, which is its position in the log.
    pub id: MessageId,
    /// Its number in its conversation, from 1.
    pub sequence: u32,
    /// When the server took it, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it need not be delivered any more; 0 for never.
    pub expires_ms: i64,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Who sent it.
    pub from: PeerId,
    /// For whom it is.
    pub to: Vec<PeerId>,
    /// On which devices of its recipients it is wanted; empty for all.
    pub devices: Vec<DeviceId>,
    /// The sender wants to hear of its delivery.
    pub receipt: bool,
    /// The app's own number for it, a text.
    pub client_msg_no: Bytes,
    /// What it says.
    pub body: Bytes,
}

impl Message {
    /// Whether `peer` sent it or is one of its recipients.
    pub fn concerns(&self, peer: &PeerId) -> bool {
        self.from == *peer || self.to.contains(peer)
    }

    /// Whether it is wanted on this device of a recipient.
    pub fn is_for(&self, device: &DeviceId) -> bool {
        self.devices.is_empty() || self.devices.contains(device)
    }

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + 80 * (self.to.len() + self.devices.len())
            + self.body.len()
            + self.client_msg_no.len()
            + 96
    }
}

/// What inboxes hold beside messages: something that the peer has to be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// Its id, which is its position in the log.
    pub id: MessageId,
    /// When it happened, in milliseconds since 1970.
    pub at_ms: i64,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Who did it; nobody for the app's back end.
    pub by: Option<PeerId>,
    /// What happened.
    pub news: News,
}

/// What happened, of which a notice tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// A group has changed: what, and whom it concerns.
    Group(GroupChange, Vec<PeerId>),
    /// A message was taken back: its id and its number.
    Recalled(MessageId, u32),
    /// The app's back end has accepted a message to it, or it has not.
    Upstream(MessageId, bool),
}

/// What waits in an inbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A message.
    Message(Arc<Message>),
    /// A notice.
    Notice(Arc<Notice>),
}

impl Item {
    /// Whether it is wanted on this device of a recipient.
    pub fn is_for(&self, device: &DeviceId) -> bool {
        match self {
            Self::Message(message) => message.is_for(device),
            Self::Notice(_) => true,
        }
    }

    /// Its id.
    pub fn id(&self) -> MessageId {
        match self {
            Self::Message(message) => message.id,
            Self::Notice(notice) => notice.id,
        }
    }

    /// What it belongs to.
    pub fn conversation(&self) -> ConversationId {
        match self {
            Self::Message(message) => message.conversation,
            Self::Notice(notice) => notice.conversation,
        }
    }

    /// When it came, in milliseconds since 1970.
    pub fn at_ms(&self) -> i64 {
        match self {
            Self::Message(message) => message.at_ms,
            Self::Notice(notice) => notice.at_ms,
        }
    }

    /// Whether it is a message that somebody else sent.
    pub(super) fn is_by_another(&self, than: &PeerId) -> bool {
        matches!(self, Self::Message(message) if message.from != *than)
    }

    /// When it need not be delivered any more; 0 for never.
    pub fn expires_ms(&self) -> i64 {
        match self {
            Self::Message(message) => message.expires_ms,
            Self::Notice(_) => 0,
        }
    }

    /// Whether inboxes hold only its id, for many share it: it is read from the log.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.conversation(), ConversationId::Group(_))
    }

    /// Bytes it takes in memory, about, for each inbox.
    pub(super) fn bytes(&self) -> usize {
        match self {
            _ if self.is_shared() => 64,
            Self::Message(message) => message.bytes(),
            Self::Notice(notice) => {
                let peers = match &notice.news {
                    News::Group(_, peers) => peers.len(),
                    News::Recalled(..) | News::Upstream(..) => 0,
                };
                size_of::<Notice>() + 96 + 32 * peers
            }
        }
    }
}

/// A message of history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past {
    /// The message; without a body if it was recalled.
    pub message: Message,
    /// It was recalled.
    pub recalled: bool,
}

/// Up to which message of a conversation somebody has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who has come so far.
    pub peer: PeerId,
    /// Having read it, or only having it on a device.
    pub read: bool,
    /// The number of the last message.
    pub sequence: u32,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What is to change in a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GroupAction {
    /// It begins, with these members; the one who creates it is one of them.
    Create {
        /// No stored members, and only transient messages.
        open: bool,
        /// Who may do what.
        rules: Rules,
        /// JSON, or empty.
        metadata: Bytes,
        /// The members.
        members: Vec<PeerId>,
    },
    /// The one who asks becomes a member.
    Join,
    /// The one who asks is no member any more.
    Leave,
    /// These become members.
    Invite(Vec<PeerId>),
    /// These are no members any more.
    Kick(Vec<PeerId>),
    /// The rules or the metadata are to be others.
    Edit {
        /// Who may do what from now on.
        rules: Option<Rules>,
        /// JSON, or empty.
        metadata: Option<Bytes>,
        /// Only if this is the group's version.
        version: Option<MessageId>,
    },
    /// The group is to be no more; only the app's back end may ask for it.
    Delete {
        /// Only if this is the group's version.
        version: Option<MessageId>,
    },
}

impl GroupAction {
    /// What the creation of a group means for its members.
    pub(super) fn as_change(&self, by: Option<&PeerId>) -> Option<Change> {
        let Self::Create { members, .. } = self else { return None };
        let change = if by.is_some() { GroupChange::Joined } else { GroupChange::Invited };
        Some(Change { change, peers: members.clone(), rules: None, metadata: None })
    }

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Create { metadata, members, .. } => metadata.len() + 32 * members.len(),
            Self::Join | Self::Leave | Self::Delete { .. } => 0,
            Self::Invite(peers) | Self::Kick(peers) => 32 * peers.len(),
            Self::Edit { metadata, .. } => metadata.as_ref().map_or(0, Bytes::len),
        }
    }
}

/// What brought a message: what recognises a repeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A client's send.
    Client(SendNumber),
    /// The app's back end.
    Backend {
        /// What recognises the request when it comes again.
        repeat: Option<Repeat>,
        /// It speaks in its own name, which takes part in no conversation.
        system: bool,
    },
}

/// The digest of what a back end names a request by.
pub type IdempotencyKey = [u8; 16];

/// What recognises a request of the back end when it comes again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Repeat {
    /// Its name.
    pub key: IdempotencyKey,
    /// What tells what it asks for from what another asks for.
    pub content: u32,
}

/// Which send of which sender something is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SendNumber {
    /// The sender's device.
    pub device: DeviceId,
    /// The client's instance.
    pub instance: u64,
    /// The instance's number for the send.
    pub number: u64,
    /// All numbers below this have been answered.
    pub answered: u64,
}

/// A session's opening.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// Who opens.
    pub peer: PeerId,
    /// On which device.
    pub device: DeviceId,
    /// What the device is.
    pub flag: DeviceFlag,
    /// The client's instance.
    pub instance: u64,
    /// The client's name and version.
    pub client: String,
    /// From where it comes: an address and a port, or empty.
    pub address: String,
    /// The last message that the app has had; of this epoch.
    pub cursor: MessageId,
}

/// How many sessions a peer has after one has opened or ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// On devices of the same flag.
    pub same_flag: u32,
    /// On all devices.
    pub all: u32,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum Ending {
    /// Its connection was lost, or the server ended it.
    #[default]
    Lost = 0,
    /// Its device logged out.
    Closed = 1,
    /// Its device has opened another.
    Replaced = 2,
    /// The server stopped, and the peer has not come back on that device.
    Stopped = 3,
}

impl Ending {
    /// The ending with this number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Lost, Self::Closed, Self::Replaced, Self::Stopped].get(usize::from(number)).copied()
    }
}

/// A recipient without a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Absent {
    /// Who.
    pub peer: PeerId,
    /// Messages that wait for it, with this one.
    pub waiting: u32,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A message and the send that brought it.
    Message {
        /// The message.
        message: Arc<Message>,
        /// What brought it.
        origin: Origin,
        /// The fingerprint of its content.
        hash: u32,
        /// What a push service is to show for it, a text; empty for what the settings say.
        push: Bytes,
        /// Its recipients that had no session.
        absent: Vec<Absent>,
    },
    /// A session opened; its id is the entry's position.
    Opened {
        /// Who, where and with what.
        opening: Opening,
        /// How many sessions the peer has then.
        counts: Counts,
    },
    /// A session ended.
    Ended {
        /// Whose.
        peer: PeerId,
        /// On which device.
        device: DeviceId,
        /// What the device is.
        flag: DeviceFlag,
        /// Which.
        session: SessionId,
        /// Why.
        ending: Ending,
        /// How many sessions the peer has then.
        counts: Counts,
    },
    /// The last session of a peer has ended, and it had not acknowledged these.
    Unacknowledged {
        /// Who.
        peer: PeerId,
        /// How many messages wait for it.
        waiting: u32,
        /// Those that came while it had a session, by rising id.
        messages: Vec<MessageId>,
    },
    /// A device has had every message up to `id`.
    Acked {
        /// Whose.
        peer: PeerId,
        /// Which device.
        device: DeviceId,
        /// The last of them.
        id: MessageId,
    },
    /// The server started; sessions of before are over.
    Started {
        /// How often it has.
        run: u32,
    },
    /// A peer has read a conversation; the others in it are to know.
    Read {
        /// Who.
        peer: PeerId,
        /// Which.
        conversation: ConversationId,
        /// Up to which number.
        sequence: u32,
        /// The others.
        others: Vec<PeerId>,
    },
    /// A device of `by` has had what `to` asked a receipt for.
    Delivered {
        /// Who asked.
        to: PeerId,
        /// Who has it.
        by: PeerId,
        /// On which device.
        device: DeviceId,
        /// What they belong to.
        conversation: ConversationId,
        /// The number of the last of them.
        sequence: u32,
        /// The messages, by rising id.
        messages: Vec<MessageId>,
    },
    /// A message was taken back.
    Recalled(Recall),
    /// A group was created.
    GroupCreated {
        /// Its id.
        group: GroupId,
        /// Who created it; nobody for the app's back end.
        by: Option<PeerId>,
        /// How.
        action: GroupAction,
    },
    /// A group was changed; its last message was number `sequence`.
    GroupChanged {
        /// Which.
        group: GroupId,
        /// Who did it; nobody for the app's back end.
        by: Option<PeerId>,
        /// What has changed.
        change: Change,
        /// The number of its last message.
        sequence: u32,
    },
    /// An alias was bound to a device, or taken away from it.
    Alias {
        /// The alias.
        alias: Alias,
        /// The device.
        device: DeviceId,
        /// It was bound.
        bound: bool,
    },
    /// A peer's device was forgotten for a newer one.
    Forgotten {
        /// Whose.
        peer: PeerId,
        /// Which.
        device: DeviceId,
    },
    /// A peer was blocked, or is blocked no more.
    Blocked {
        /// Who.
        peer: PeerId,
        /// Whether it is blocked from now on.
        blocked: bool,
    },
    /// A message to the app's back end; its id is the entry's position.
    Upstream(NewUpstream),
    /// What has become of such a message.
    UpstreamDone {
        /// Which.
        upstream: MessageId,
        /// Who sent it.
        peer: PeerId,
        /// The back end has accepted it.
        accepted: bool,
    },
    /// A signature's nonce was used.
    Nonce {
        /// By whom.
        peer: PeerId,
        /// The nonce.
        nonce: Bytes,
        /// From when its signature is too old anyway, in milliseconds since 1970.
        expires_ms: i64,
    },
    /// A webhook endpoint has come further.
    Endpoint {
        /// Which.
        endpoint: EndpointId,
        /// What has changed.
        change: EndpointChange,
    },
}

impl Entry {
    /// Bytes that it takes in a record at the most.
    pub(super) fn bytes_max(&self) -> usize {
        let (peers, metadata) = match self {
            // Each has how much waits for it, too.
            Self::Message { absent, .. } => (absent.len(), 2 * BODY_BYTES_MAX + 4 * absent.len()),
            Self::Unacknowledged { messages, .. } => (0, 8 * messages.len()),
            Self::Delivered { messages, .. } => (4, 8 * messages.len()),
            Self::Endpoint { change, .. } => (0, change.bytes_max()),
            Self::GroupCreated {
                action: GroupAction::Create { members, metadata, .. }, ..
            } => (members.len(), metadata.len()),
            Self::GroupChanged { change, .. } => {
                (change.peers.len(), change.metadata.as_ref().map_or(0, Bytes::len))
            }
            // A message is the longest of the others.
            _ => return 2 * BODY_BYTES_MAX,
        };
        512 + peers * STORED_PEER_BYTES_MAX + metadata
    }
}

/// What is to change about an alias.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AliasChange {
    /// The device has this alias from now on, and no other.
    Bind {
        /// The alias.
        alias: Alias,
        /// The device.
        device: DeviceId,
    },
    /// A device has it no more, or none has.
    Unbind {
        /// The alias.
        alias: Alias,
        /// The device; all if there is none.
        device: Option<DeviceId>,
    },
}

/// A message to the app's back end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewUpstream {
    /// Who sends it.
    pub from: PeerId,
    /// Which send it is.
    pub number: SendNumber,
    /// What it says.
    pub body: Bytes,
}

/// A message to the app's back end that waits for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    /// Its id.
    pub id: MessageId,
    /// When it was stored, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who sent it.
    pub from: PeerId,
    /// On which device.
    pub device: DeviceId,
    /// What it says.
    pub body: Bytes,
}

impl Upstream {
    /// What is told of what has become of a message of `from`; the entry is `id`.
    pub(super) fn notice(
        (id, at_ms): (MessageId, i64),
        upstream: MessageId,
        from: &PeerId,
        accepted: bool,
    ) -> Notice {
        let conversation = ConversationId::of_peers([from]);
        Notice { id, at_ms, conversation, by: None, news: News::Upstream(upstream, accepted) }
    }
}

/// A message that was taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recall {
    /// Which.
    pub message: MessageId,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Its number there.
    pub sequence: u32,
    /// Who took it back; nobody for the app's back end.
    pub by: Option<PeerId>,
    /// Who had sent it, and those for whom it was unless that is a group.
    pub concerned: Vec<PeerId>,
}

impl Recall {
    /// What is told of it; the entry is `id`.
    pub(super) fn notice(&self, id: MessageId, at_ms: i64) -> Notice {
        let news = News::Recalled(self.message, self.sequence);
        Notice { id, at_ms, conversation: self.conversation, by: self.by.clone(), news }
    }
}

impl Change {
    /// What is told of it; the entry is `id`.
    pub(super) fn notice(
        &self,
        id: MessageId,
        at_ms: i64,
        group: GroupId,
        by: Option<&PeerId>,
    ) -> Notice {
        let news = News::Group(self.change, self.peers.clone());
        Notice { id, at_ms, conversation: ConversationId::Group(group), by: by.cloned(), news }
    }
}

/// An entry, where and when it stands in the log.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The position.
    pub id: MessageId,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What happened.
    pub entry: Entry,
}

/// The fingerprint of a message's content, by which a number that is used for another content is
/// found out. Stored, so it must never change.
pub(super) fn content_hash(conversation: &ConversationId, msg_no: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&conversation.key());
    hasher.update(&[msg_no.len() as u8]);
    hasher.update(msg_no);
    hasher.update(body);
    hasher.finalize()
}

/// The fingerprint of a message to the back end, which no message to peers has. Stored, so it must
/// never change.
pub(super) fn upstream_hash(from: &PeerId, body: &[u8]) -> u32 {
    content_hash(&ConversationId::of_peers([from]), UPSTREAM_MARK, body)
}

/// Longer than the app's own number for a message can be.
const UPSTREAM_MARK: &[u8] = &[b'u'; CLIENT_MSG_NO_BYTES_MAX + 1];
