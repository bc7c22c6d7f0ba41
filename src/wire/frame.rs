//! One struct for each frame; encoding and decoding side by side.
//!
//! # Invariants
//!
//! * Decoding checks every limit that the fields of one frame can break, and says which.
//! * A Deliver holds nothing that differs between its recipients but its flags, the first byte
//!   after the kind, so that one encoding serves them all.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::limits::{BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, PUSH_TEXT_BYTES_MAX, RECIPIENTS_MAX};
use crate::reason::Reason;
use crate::wire::app::{
    AliasBound, AliasUnbound, BindAlias, UnbindAlias, Upstream, UpstreamDone, UpstreamStored,
};
use crate::wire::coding::{Reader, Text, Write, put_frame};
use crate::wire::field::small_frames;
use crate::wire::group::{
    Edit, Edited, GroupEvent, Invite, Invited, Join, Joined, Kick, Kicked, Leave, Left, MemberPage,
    Members,
};
use crate::wire::history::{
    ConversationPage, Conversations, DeviceList, Devices, History, HistoryPage,
};
use crate::wire::opening::{Open, Opened};
use crate::wire::receipt::{Delivered, Read, ReadNoted, ReadUpTo, Recall, RecallDone, Recalled};
use crate::wire::watching::{Presence, Status, Statuses, Unwatch, Unwatched, Watch, Watched};
use crate::wire::{DecodeError, RawFrame};

/// The numbers of the kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "each is the frame of its name")]
    pub const OPEN: u8 = 0x01;
    pub const CLOSE: u8 = 0x02;
    pub const PING: u8 = 0x03;
    pub const WATCH: u8 = 0x04;
    pub const UNWATCH: u8 = 0x05;
    pub const STATUS: u8 = 0x06;
    pub const SEND: u8 = 0x10;
    pub const ACK: u8 = 0x11;
    pub const READ_UP_TO: u8 = 0x12;
    pub const RECALL: u8 = 0x13;
    pub const HISTORY: u8 = 0x14;
    pub const CONVERSATIONS: u8 = 0x15;
    pub const DEVICES: u8 = 0x16;
    pub const JOIN: u8 = 0x20;
    pub const LEAVE: u8 = 0x21;
    pub const INVITE: u8 = 0x22;
    pub const KICK: u8 = 0x23;
    pub const MEMBERS: u8 = 0x24;
    pub const EDIT: u8 = 0x25;
    pub const BIND_ALIAS: u8 = 0x30;
    pub const UNBIND_ALIAS: u8 = 0x31;
    pub const UPSTREAM: u8 = 0x32;
    pub const OPENED: u8 = 0x81;
    pub const CLOSED: u8 = 0x82;
    pub const PONG: u8 = 0x83;
    pub const WATCHED: u8 = 0x84;
    pub const UNWATCHED: u8 = 0x85;
    pub const STATUSES: u8 = 0x86;
    pub const SENT: u8 = 0x90;
    pub const READ_NOTED: u8 = 0x92;
    pub const RECALL_DONE: u8 = 0x93;
    pub const HISTORY_PAGE: u8 = 0x94;
    pub const CONVERSATION_PAGE: u8 = 0x95;
    pub const DEVICE_LIST: u8 = 0x96;
    pub const JOINED: u8 = 0xa0;
    pub const LEFT: u8 = 0xa1;
    pub const INVITED: u8 = 0xa2;
    pub const KICKED: u8 = 0xa3;
    pub const MEMBER_PAGE: u8 = 0xa4;
    pub const EDITED: u8 = 0xa5;
    pub const ALIAS_BOUND: u8 = 0xb0;
    pub const ALIAS_UNBOUND: u8 = 0xb1;
    pub const UPSTREAM_STORED: u8 = 0xb2;
    pub const DELIVER: u8 = 0xc0;
    pub const DELIVERED: u8 = 0xc1;
    pub const READ: u8 = 0xc2;
    pub const RECALLED: u8 = 0xc3;
    pub const PRESENCE: u8 = 0xc4;
    pub const GROUP_EVENT: u8 = 0xc5;
    pub const DROPPED: u8 = 0xc6;
    pub const GO_AWAY: u8 = 0xc7;
    pub const UPSTREAM_DONE: u8 = 0xc8;
    pub const ERROR: u8 = 0xff;
}

pub(super) const FLAG_TRANSIENT: u8 = 1;
pub(super) const FLAG_RECEIPT: u8 = 2;
pub(super) const FLAG_WAITED: u8 = 4;
pub(super) const FLAG_OWN: u8 = 8;

const TARGET_PEERS: u8 = 0;
const TARGET_GROUP: u8 = 1;

/// Whom a message is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// These peers, and nobody else.
    Peers(Vec<PeerId>),
    /// The members of a group.
    Group(GroupId),
}

/// Sends a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Send {
    /// The request number.
    pub request: u64,
    /// For those online now: never stored, never answered.
    pub transient: bool,
    /// The sender wants to hear of its delivery.
    pub receipt: bool,
    /// The sender's number for it; rises by one.
    pub number: u64,
    /// All numbers below this have been answered.
    pub answered: u64,
    /// Milliseconds after which it need not be delivered any more; 0 for never.
    pub ttl_ms: u64,
    /// The app's own number for it.
    pub client_msg_no: Text,
    /// Whom it is for.
    pub target: Target,
    /// What it says.
    pub body: Bytes,
    /// What a push service is to show for it; empty for what the server is set to.
    pub push: Text,
}

impl Send {
    fn encode(&self, out: &mut BytesMut) {
        out.put_varint(self.request);
        let receipt = if self.receipt { FLAG_RECEIPT } else { 0 };
        out.put_u8(receipt | if self.transient { FLAG_TRANSIENT } else { 0 });
        out.put_varint(self.number);
        out.put_varint(self.answered);
        out.put_varint(self.ttl_ms);
        out.put_run(self.client_msg_no.as_bytes());
        match &self.target {
            Target::Peers(peers) => {
                out.put_u8(TARGET_PEERS);
                out.put_peers(peers);
            }
            Target::Group(group) => {
                out.put_u8(TARGET_GROUP);
                out.put_slice(&group.0);
            }
        }
        out.put_run(&self.body);
        if !self.push.as_bytes().is_empty() {
            out.put_run(self.push.as_bytes());
        }
    }

    fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        let request = fields.varint()?;
        let flags = fields.u8()?;
        Ok(Self {
            request,
            transient: flags & FLAG_TRANSIENT != 0,
            receipt: flags & FLAG_RECEIPT != 0,
            number: fields.varint()?,
            answered: fields.varint()?,
            ttl_ms: fields.varint()?,
            client_msg_no: fields.text(CLIENT_MSG_NO_BYTES_MAX)?,
            target: match fields.u8()? {
                TARGET_PEERS => {
                    Target::Peers(fields.peers(RECIPIENTS_MAX, Reason::TooManyRecipients)?)
                }
                TARGET_GROUP => Target::Group(GroupId(fields.array()?)),
                _ => return Err(DecodeError::new(Reason::BadFrame, "unknown kind of target")),
            },
            body: fields.bytes(BODY_BYTES_MAX, Reason::BodyTooLong)?,
            push: fields.last_text(PUSH_TEXT_BYTES_MAX)?,
        })
    }
}

/// A message is on stable storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// The request it answers.
    pub request: u64,
    /// The message's id.
    pub id: MessageId,
    /// Its number in its conversation.
    pub sequence: u32,
    /// When the server took it.
    pub at_ms: u64,
}

/// A message for this session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deliver {
    /// Never stored; not to be acknowledged.
    pub transient: bool,
    /// The sender wants to hear of its delivery.
    pub receipt: bool,
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// The peer itself sent it, from another of its devices.
    pub own: bool,
    /// Its id; `NONE` if transient.
    pub id: MessageId,
    /// Its number in its conversation; 0 if transient.
    pub sequence: u32,
    /// When the server took it.
    pub at_ms: u64,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Who sent it.
    pub from: PeerId,
    /// For whom it is; empty in a group.
    pub to: Vec<PeerId>,
    /// The app's own number for it.
    pub client_msg_no: Text,
    /// What it says.
    pub body: Bytes,
}

impl Deliver {
    fn encode(&self, out: &mut BytesMut) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.put_u8(
            flag(self.transient, FLAG_TRANSIENT)
                | flag(self.receipt, FLAG_RECEIPT)
                | flag(self.waited, FLAG_WAITED)
                | flag(self.own, FLAG_OWN),
        );
        out.put_u64(self.id.0 as u64);
        out.put_varint(u64::from(self.sequence));
        out.put_u64(self.at_ms);
        out.put_conversation(&self.conversation);
        out.put_run(self.from.as_str().as_bytes());
        out.put_peers(&self.to);
        out.put_run(self.client_msg_no.as_bytes());
        out.put_run(&self.body);
    }

    fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        let flags = fields.u8()?;
        Ok(Self {
            transient: flags & FLAG_TRANSIENT != 0,
            receipt: flags & FLAG_RECEIPT != 0,
            waited: flags & FLAG_WAITED != 0,
            own: flags & FLAG_OWN != 0,
            id: fields.message_id()?,
            sequence: sequence(&mut fields)?,
            at_ms: fields.u64()?,
            conversation: fields.conversation()?,
            from: fields.peer()?,
            to: fields.peers(RECIPIENTS_MAX, Reason::BadFrame)?,
            client_msg_no: fields.text(CLIENT_MSG_NO_BYTES_MAX)?,
            body: fields.bytes(BODY_BYTES_MAX, Reason::BadFrame)?,
        })
    }
}

pub(super) fn sequence(fields: &mut Reader) -> Result<u32, DecodeError> {
    u32::try_from(fields.varint()?)
        .map_err(|_| DecodeError::new(Reason::BadFrame, "a sequence is a u32"))
}

/// The app has had every message up to this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    /// The last of them.
    pub id: MessageId,
}

/// Logs the device out and ends the session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Close {
    /// The request number.
    pub request: u64,
}

/// The device is logged out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed {
    /// The request it answers.
    pub request: u64,
}

/// Asks whether the server is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ping {
    /// The request number.
    pub request: u64,
}

/// The server is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pong {
    /// The request it answers.
    pub request: u64,
    /// The server's time.
    pub at_ms: u64,
}

/// The window gave up messages that this device had not had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// The last of them; acknowledged like a message.
    pub id: MessageId,
}

/// The server asks the client to come back later.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GoAway {
    /// Why.
    pub reason: Reason,
    /// Milliseconds to wait before reconnecting.
    pub wait_ms: u64,
    /// Why, for people.
    pub text: Text,
}

/// A request is refused, or the session ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// The request; 0 for the session.
    pub request: u64,
    /// Why, as a number; a client may meet numbers that it does not know.
    pub reason: u16,
    /// Why, for people.
    pub text: Text,
}

macro_rules! frames {
    ($(#[$doc:meta])* $name:ident { $($frame:ident = $kind:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum $name {
            $(#[doc = concat!("See [`", stringify!($frame), "`].")] $frame($frame),)*
        }

        impl $name {
            /// Appends the frame to `out`.
            pub fn encode(&self, out: &mut BytesMut) {
                match self {
                    $(Self::$frame(frame) => {
                        put_frame(out, kind::$kind, |out| frame.encode(out));
                    })*
                }
            }

            /// Reads the fields of a frame.
            ///
            /// # Errors
            ///
            /// The [`DecodeError`] says what its sender should be told.
            pub fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
                let fields = Reader::new(raw.fields);
                match raw.kind {
                    $(kind::$kind => $frame::decode(fields).map(Self::$frame),)*
                    _ => Err(DecodeError::new(Reason::UnknownKind, "no frame has this kind")),
                }
            }
        }

        $(impl From<$frame> for $name {
            fn from(frame: $frame) -> Self {
                Self::$frame(frame)
            }
        })*
    };
}

frames! {
    /// What a client says.
    ClientFrame {
        Open = OPEN, Close = CLOSE, Ping = PING, Watch = WATCH, Unwatch = UNWATCH, Status = STATUS,
        Send = SEND, Ack = ACK, ReadUpTo = READ_UP_TO, Recall = RECALL, History = HISTORY,
        Conversations = CONVERSATIONS, Devices = DEVICES, Join = JOIN, Leave = LEAVE,
        Invite = INVITE, Kick = KICK, Members = MEMBERS, Edit = EDIT, BindAlias = BIND_ALIAS,
        UnbindAlias = UNBIND_ALIAS, Upstream = UPSTREAM,
    }
}

impl ClientFrame {
    /// The request number; 0 for what asks for no answer of its own.
    pub fn request(&self) -> u64 {
        match self {
            Self::Open(_) | Self::Ack(_) => 0,
            Self::Close(frame) => frame.request,
            Self::Ping(frame) => frame.request,
            Self::Watch(frame) => frame.request,
            Self::Unwatch(frame) => frame.request,
            Self::Status(frame) => frame.request,
            Self::Send(frame) => frame.request,
            Self::ReadUpTo(frame) => frame.request,
            Self::Recall(frame) => frame.request,
            Self::History(frame) => frame.request,
            Self::Conversations(frame) => frame.request,
            Self::Devices(frame) => frame.request,
            Self::Join(frame) => frame.request,
            Self::Leave(frame) => frame.request,
            Self::Invite(frame) => frame.request,
            Self::Kick(frame) => frame.request,
            Self::Members(frame) => frame.request,
            Self::Edit(frame) => frame.request,
            Self::BindAlias(frame) => frame.request,
            Self::UnbindAlias(frame) => frame.request,
            Self::Upstream(frame) => frame.request,
        }
    }
}

frames! {
    /// What the server says.
    ServerFrame {
        Opened = OPENED, Closed = CLOSED, Pong = PONG, Watched = WATCHED, Unwatched = UNWATCHED,
        Statuses = STATUSES, Sent = SENT, ReadNoted = READ_NOTED, RecallDone = RECALL_DONE,
        HistoryPage = HISTORY_PAGE, ConversationPage = CONVERSATION_PAGE, DeviceList = DEVICE_LIST,
        Joined = JOINED, Left = LEFT, Invited = INVITED, Kicked = KICKED, MemberPage = MEMBER_PAGE,
        Edited = EDITED, AliasBound = ALIAS_BOUND, AliasUnbound = ALIAS_UNBOUND,
        UpstreamStored = UPSTREAM_STORED, Deliver = DELIVER, Delivered = DELIVERED, Read = READ,
        Recalled = RECALLED, Presence = PRESENCE, GroupEvent = GROUP_EVENT, Dropped = DROPPED,
        GoAway = GO_AWAY, UpstreamDone = UPSTREAM_DONE, Error = ERROR,
    }
}

small_frames! {
    Sent { request: put_varint/varint, id: put_id/id, sequence: put_u32/u32, at_ms: put_u64/u64 }
    Ack { id: put_id/id }
    Close { request: put_varint/varint }
    Closed { request: put_varint/varint }
    Ping { request: put_varint/varint }
    Pong { request: put_varint/varint, at_ms: put_u64/u64 }
    Dropped { count: put_varint/varint, id: put_id/id }
    GoAway { reason: put_reason/reason, wait_ms: put_varint/varint, text: put_text/text }
    Error { request: put_varint/varint, reason: put_u16/u16, text: put_text/text }
}
