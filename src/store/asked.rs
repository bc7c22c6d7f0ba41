//! What entries keep of what was asked for: by whom and how, so that a repeat is recognised.
//!
//! # Invariants
//!
//! * Nothing here depends on when it was asked.

use bytes::Bytes;

use crate::group::{GroupChange, Rules};
use crate::id::{Alias, DeviceFlag, DeviceId, MessageId, PeerId};
use crate::store::group::Change;

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
