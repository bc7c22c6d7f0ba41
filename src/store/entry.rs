//! What happens and must last: the entries of the log, as the rest of the server sees them.
//!
//! # Invariants
//!
//! * An entry holds all that applying it needs: replaying the log needs no clock and no session.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{ConversationId, DeviceFlag, DeviceId, MessageId, PeerId, SessionId};

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

    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len() + self.client_msg_no.len() + 96
    }
}

/// Which send of which sender a message is: what recognises a repeat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
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
    /// The last message that the app has had; of this epoch.
    pub cursor: MessageId,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A message and the send that brought it.
    Message { message: Arc<Message>, origin: Origin, hash: u32 },
    /// A session opened; its id is the entry's position.
    Opened(Opening),
    /// A session ended; `closed` if the device logged out.
    Ended { peer: PeerId, device: DeviceId, session: SessionId, closed: bool },
    /// A device has had every message up to `id`.
    Acked { peer: PeerId, device: DeviceId, id: MessageId },
    /// The server started; sessions of before are over.
    Started { run: u32 },
}

/// An entry, where and when it stands in the log.
#[derive(Clone, Debug)]
pub(super) struct Placed {
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
