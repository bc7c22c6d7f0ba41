//! What the commit thread hands out: what has become of requests, and what readers have asked for.
//!
//! # Invariants
//!
//! * What is here has been decided, and what it says was stored is on stable storage.

use std::sync::Arc;

use crate::id::{DeviceFlag, DeviceId, MessageId, PeerId, SessionId};
use crate::reason::Reason;
use crate::store::device::Loss;
use crate::store::entry::{Item, Mark, Message, Notice};
use crate::store::group::Group;

/// What one commit brought, for the dispatcher.
#[derive(Debug)]
pub struct Commit<T> {
    /// The outcomes of the requests, in log order.
    pub outcomes: Vec<Outcome<T>>,
    /// The last position of the log.
    pub head: MessageId,
    pub(super) permits: usize,
}

/// What has become of a request. `caller` is what was submitted with it.
#[derive(Debug)]
pub enum Outcome<T> {
    /// A message is on stable storage.
    Stored {
        /// Who submitted it.
        caller: Option<T>,
        /// The message, with its id and sequence.
        message: Arc<Message>,
        /// The members of the group, its sender too, if it is for a group.
        members: Option<Arc<[PeerId]>>,
    },
    /// The message had been stored before.
    Repeated {
        /// Who submitted it.
        caller: T,
        /// Its id.
        id: MessageId,
        /// Its number in its conversation.
        sequence: u32,
        /// When it was stored.
        at_ms: i64,
    },
    /// The request was refused; nothing was stored.
    Refused {
        /// Who submitted it.
        caller: T,
        /// Why.
        reason: Reason,
    },
    /// A session is open.
    Opened {
        /// Who submitted it.
        caller: T,
        /// What it found.
        opened: Opened,
    },
    /// A peer's inbox was full, and gave up its oldest message: a session that it was for and that
    /// has not had it is too slow.
    Overflowed {
        /// Whose.
        peer: PeerId,
        /// What was given up.
        id: MessageId,
        /// On which devices it was wanted; empty for all.
        devices: Vec<DeviceId>,
    },
    /// A device has logged out.
    Closed {
        /// Who submitted it.
        caller: T,
    },
    /// What was asked has been noted; there is nothing more to say.
    Noted {
        /// Who submitted it.
        caller: T,
    },
    /// Somebody has come further in a conversation.
    Marked {
        /// Who submitted it, if somebody waits for an answer.
        caller: Option<T>,
        /// How far; `None` if that was known.
        mark: Option<Mark>,
        /// Who is to be told.
        to: Vec<PeerId>,
    },
    /// A group has been asked to change.
    Grouped {
        /// Who submitted it.
        caller: Option<T>,
        /// The group as it is now.
        group: Arc<Group>,
        /// What is to be told, and to whom; `None` if nothing has changed.
        told: Option<Told>,
    },
    /// Something has happened that peers are told of: a message was taken back, or one to the back
    /// end is done.
    Told {
        /// Who submitted it.
        caller: Option<T>,
        /// What is to be told, and to whom; `None` if it was known.
        told: Option<Told>,
    },
    /// A peer has been blocked, or is blocked no more.
    Blocked {
        /// Who submitted it.
        caller: Option<T>,
        /// Who.
        peer: PeerId,
        /// Whether it is blocked from now on.
        blocked: bool,
    },
    /// A message to the back end is on stable storage.
    UpstreamStored {
        /// Who submitted it.
        caller: Option<T>,
        /// Its id.
        id: MessageId,
        /// When it was stored.
        at_ms: i64,
    },
}

/// What is to be told, and to whom.
#[derive(Clone, Debug)]
pub struct Told {
    /// What has happened.
    pub notice: Arc<Notice>,
    /// Who hears of it.
    pub to: Arc<[PeerId]>,
}

/// Where a device is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The device.
    pub device: DeviceId,
    /// The peer that opened on it last.
    pub peer: PeerId,
    /// That peer has a session on it.
    pub online: bool,
    /// That peer has logged out on it, or has been gone for so long that nothing waits for it.
    pub gone: bool,
}

/// What a session finds when it opens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// Its id.
    pub session: SessionId,
    /// Its device.
    pub device: DeviceId,
    /// What the device has had.
    pub cursor: MessageId,
    /// The number of the client instance's next send.
    pub next_number: u64,
    /// Messages that wait for the device.
    pub waiting: usize,
    /// Messages that the window gave up.
    pub loss: Loss,
    /// The device's session until now.
    pub replaced: Option<SessionId>,
    /// When it opened.
    pub at_ms: i64,
    /// What has become of the peer's conversations since `cursor`.
    pub marks: Vec<Mark>,
}

/// What waits for a peer, by rising id.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The messages and notices.
    pub items: Vec<Item>,
    /// What the log did not keep long enough, though it was asked for.
    pub loss: Loss,
    /// The last id looked at; go on behind it.
    pub last: MessageId,
    /// Nothing more waits, up to `head`.
    pub is_all: bool,
    /// The last position of the log when this was read.
    pub head: MessageId,
}

/// A device of a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownDevice {
    /// Its id.
    pub device: DeviceId,
    /// What it is.
    pub flag: DeviceFlag,
    /// It has a session.
    pub online: bool,
    /// When its last session ended, or began if it has one; in milliseconds since 1970.
    pub seen_ms: i64,
}

/// A page of an inbox as the commit thread knows it: some of it in rows on disk.
pub(super) struct WaitingPage {
    pub(super) items: Vec<WaitingItem>,
    /// The last id looked at.
    pub(super) last: MessageId,
    pub(super) rows: Vec<(MessageId, MessageId)>,
    pub(super) is_all: bool,
    pub(super) head: MessageId,
}

pub(super) struct WaitingItem {
    pub(super) id: MessageId,
    pub(super) item: Option<Item>,
}
