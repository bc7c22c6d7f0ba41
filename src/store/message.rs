//! Messages and notices: what inboxes hold, and what makes them.
//!
//! # Invariants
//!
//! * What tells one content from another is stored, so it never changes.

use std::sync::Arc;

use bytes::Bytes;

use crate::group::GroupChange;
use crate::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId};
use crate::limits::CLIENT_MSG_NO_BYTES_MAX;
use crate::store::group::Change;

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
