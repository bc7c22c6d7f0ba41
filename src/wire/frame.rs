//! One struct for each frame; encoding and decoding side by side.
//!
//! # Invariants
//!
//! * Decoding checks every limit that the fields of one frame can break, and says which.
//! * A Deliver holds nothing that differs between its recipients but its flags, the first byte
//!   after the kind, so that one encoding serves them all.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::limits::{BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, RECIPIENTS_MAX};
use crate::reason::Reason;
use crate::wire::coding::{Reader, Text, Write, put_frame};
use crate::wire::opening::{Open, Opened};
use crate::wire::{DecodeError, RawFrame};

/// The numbers of the kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "each is the frame of its name")]
    pub const OPEN: u8 = 0x01;
    pub const CLOSE: u8 = 0x02;
    pub const PING: u8 = 0x03;
    pub const SEND: u8 = 0x10;
    pub const ACK: u8 = 0x11;
    pub const OPENED: u8 = 0x81;
    pub const CLOSED: u8 = 0x82;
    pub const PONG: u8 = 0x83;
    pub const SENT: u8 = 0x90;
    pub const DELIVER: u8 = 0xc0;
    pub const DROPPED: u8 = 0xc6;
    pub const GO_AWAY: u8 = 0xc7;
    pub const ERROR: u8 = 0xff;
}

const FLAG_TRANSIENT: u8 = 1;
const FLAG_RECEIPT: u8 = 2;
const FLAG_WAITED: u8 = 4;

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
                | flag(self.waited, FLAG_WAITED),
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

fn sequence(fields: &mut Reader) -> Result<u32, DecodeError> {
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
    ClientFrame { Open = OPEN, Close = CLOSE, Ping = PING, Send = SEND, Ack = ACK }
}

frames! {
    /// What the server says.
    ServerFrame {
        Opened = OPENED, Closed = CLOSED, Pong = PONG, Sent = SENT, Deliver = DELIVER,
        Dropped = DROPPED, GoAway = GO_AWAY, Error = ERROR,
    }
}

macro_rules! small_frames {
    ($($name:ident { $($field:ident: $put:ident / $get:ident),* })*) => {
        $(impl $name {
            fn encode(&self, out: &mut BytesMut) {
                $(field::$put(out, &self.$field);)*
            }

            fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
                Ok(Self { $($field: field::$get(&mut fields)?,)* })
            }
        })*
    };
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

/// How the fields of the small frames are written and read.
mod field {
    use super::*;
    use crate::limits::REASON_TEXT_BYTES_MAX;

    type Read<T> = Result<T, DecodeError>;

    pub(super) fn put_varint(out: &mut BytesMut, value: &u64) {
        Write::put_varint(out, *value);
    }
    pub(super) fn varint(fields: &mut Reader) -> Read<u64> {
        Ok(fields.varint()?)
    }
    pub(super) fn put_u32(out: &mut BytesMut, value: &u32) {
        Write::put_varint(out, u64::from(*value));
    }
    pub(super) fn u32(fields: &mut Reader) -> Read<u32> {
        sequence(fields)
    }
    pub(super) fn put_u16(out: &mut BytesMut, value: &u16) {
        out.put_u16(*value);
    }
    pub(super) fn u16(fields: &mut Reader) -> Read<u16> {
        Ok(fields.u16()?)
    }
    pub(super) fn put_u64(out: &mut BytesMut, value: &u64) {
        out.put_u64(*value);
    }
    pub(super) fn u64(fields: &mut Reader) -> Read<u64> {
        Ok(fields.u64()?)
    }
    pub(super) fn put_id(out: &mut BytesMut, value: &MessageId) {
        out.put_u64(value.0 as u64);
    }
    pub(super) fn id(fields: &mut Reader) -> Read<MessageId> {
        fields.message_id()
    }
    pub(super) fn put_reason(out: &mut BytesMut, value: &Reason) {
        out.put_u16(*value as u16);
    }
    pub(super) fn reason(fields: &mut Reader) -> Read<Reason> {
        Ok(Reason::from_number(fields.u16()?).unwrap_or(Reason::Restarting))
    }
    pub(super) fn put_text(out: &mut BytesMut, value: &Text) {
        out.put_run(value.as_bytes());
    }
    pub(super) fn text(fields: &mut Reader) -> Read<Text> {
        fields.text(REASON_TEXT_BYTES_MAX)
    }
}
