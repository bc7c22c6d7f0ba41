//! What happens and must last: the entries of the log, as the rest of the server sees them.
//!
//! # Invariants
//!
//! * An entry holds all that applying it needs: replaying the log needs no clock and no session.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{
    Alias, ConversationId, DeviceFlag, DeviceId, EndpointId, GroupId, MessageId, PeerId, SessionId,
};
use crate::limits::{BODY_BYTES_MAX, STORED_PEER_BYTES_MAX};
pub use crate::store::asked::{
    AliasChange, GroupAction, IdempotencyKey, NewUpstream, Opening, Origin, Repeat, SendNumber,
};
use crate::store::group::Change;
use crate::store::journal::EndpointChange;
pub use crate::store::message::{Item, Mark, Message, News, Notice, Past, Recall, Upstream};
pub(super) use crate::store::message::{content_hash, upstream_hash};

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
