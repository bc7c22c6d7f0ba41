//! The frames that look back: pages of history, the peer's conversations, its devices.
//!
//! # Invariants
//!
//! * A page fits one frame; what does not fit is on the next one.

use bytes::{BufMut, Bytes, BytesMut};

use crate::id::{ConversationId, DeviceFlag, DeviceId, MessageId, PeerId};
use crate::limits::{
    BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, CONVERSATIONS_PAGE_MAX, DEVICES_PER_PEER_MAX,
    HISTORY_PAGE_MAX, RECIPIENTS_MAX,
};
use crate::reason::Reason;
use crate::wire::DecodeError;
use crate::wire::coding::{Reader, Text, Write};
use crate::wire::field::small_frames;
use crate::wire::frame::sequence;

const FLAG_RECALLED: u8 = 16;
const FLAG_MEMBER: u8 = 1;

/// Asks for messages of a conversation, newest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct History {
    /// The request number.
    pub request: u64,
    /// The conversation.
    pub conversation: ConversationId,
    /// Only messages before this one; `NONE` for the newest.
    pub before: MessageId,
    /// How many at the most.
    pub max: u64,
}

/// A message of history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past {
    /// It was recalled: it has no body any more.
    pub recalled: bool,
    /// Its id.
    pub id: MessageId,
    /// Its number in its conversation.
    pub sequence: u32,
    /// When the server took it.
    pub at_ms: u64,
    /// Who sent it.
    pub from: PeerId,
    /// For whom it is; empty in a group.
    pub to: Vec<PeerId>,
    /// The app's own number for it.
    pub client_msg_no: Text,
    /// What it says.
    pub body: Bytes,
}

/// A page of history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryPage {
    /// The request it answers.
    pub request: u64,
    /// There may be more before the last of these.
    pub more: bool,
    /// The messages, newest first.
    pub messages: Vec<Past>,
}

/// Asks for the peer's conversations, those with the newest messages first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Conversations {
    /// The request number.
    pub request: u64,
    /// Only those whose last message is before this one; `NONE` for all.
    pub before: MessageId,
    /// How many at the most.
    pub max: u64,
}

/// A conversation as one peer sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conversation {
    /// Which.
    pub conversation: ConversationId,
    /// The peer is a member of this group.
    pub member: bool,
    /// The other participants; empty for a group.
    pub others: Vec<PeerId>,
    /// The id of its last message.
    pub last: MessageId,
    /// The number of its last message.
    pub sequence: u32,
    /// Up to which number the peer has read it.
    pub read: u32,
    /// How many messages it has not read.
    pub unread: u32,
}

/// A page of conversations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConversationPage {
    /// The request it answers.
    pub request: u64,
    /// There may be more behind the last of these.
    pub more: bool,
    /// The conversations.
    pub conversations: Vec<Conversation>,
}

/// Asks for the peer's devices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Devices {
    /// The request number.
    pub request: u64,
}

/// A device of the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Its id.
    pub device: DeviceId,
    /// What it is.
    pub flag: DeviceFlag,
    /// It has a session.
    pub online: bool,
    /// When its last session ended, or began if it has one.
    pub seen_ms: u64,
}

/// The peer's devices.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceList {
    /// The request it answers.
    pub request: u64,
    /// The devices.
    pub devices: Vec<Device>,
}

/// Reads a list of at most `max` things, each of which takes one byte at least.
fn list<T>(
    fields: &mut Reader,
    max: usize,
    read: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = fields.varint()?;
    if count > max as u64 {
        return Err(DecodeError::new(Reason::BadFrame, "a list exceeds its limit"));
    }
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(fields)?);
    }
    Ok(items)
}

impl Past {
    /// Appends the message to a page.
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(if self.recalled { FLAG_RECALLED } else { 0 });
        out.put_u64(self.id.0 as u64);
        out.put_varint(u64::from(self.sequence));
        out.put_u64(self.at_ms);
        out.put_run(self.from.as_str().as_bytes());
        out.put_peers(&self.to);
        out.put_run(self.client_msg_no.as_bytes());
        out.put_run(&self.body);
    }

    fn decode(fields: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            recalled: fields.u8()? & FLAG_RECALLED != 0,
            id: fields.message_id()?,
            sequence: sequence(fields)?,
            at_ms: fields.u64()?,
            from: fields.peer()?,
            to: fields.peers(RECIPIENTS_MAX, Reason::BadFrame)?,
            client_msg_no: fields.text(CLIENT_MSG_NO_BYTES_MAX)?,
            body: fields.bytes(BODY_BYTES_MAX, Reason::BadFrame)?,
        })
    }

    /// Bytes that the message takes on a page, at the most.
    pub fn bytes_max(&self) -> usize {
        let ids = self.to.iter().chain([&self.from]).map(|peer| peer.as_str().len() + 2);
        let ids: usize = ids.sum();
        40 + ids + self.client_msg_no.as_bytes().len() + self.body.len()
    }
}

impl HistoryPage {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_varint(self.request);
        out.put_u8(u8::from(self.more));
        out.put_varint(self.messages.len() as u64);
        self.messages.iter().for_each(|message| message.encode(out));
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: fields.varint()?,
            more: fields.u8()? != 0,
            messages: list(&mut fields, HISTORY_PAGE_MAX, Past::decode)?,
        })
    }
}

impl Conversation {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(if self.member { FLAG_MEMBER } else { 0 });
        out.put_conversation(&self.conversation);
        out.put_peers(&self.others);
        out.put_u64(self.last.0 as u64);
        out.put_varint(u64::from(self.sequence));
        out.put_varint(u64::from(self.read));
        out.put_varint(u64::from(self.unread));
    }

    fn decode(fields: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            member: fields.u8()? & FLAG_MEMBER != 0,
            conversation: fields.conversation()?,
            others: fields.peers(RECIPIENTS_MAX, Reason::BadFrame)?,
            last: fields.message_id()?,
            sequence: sequence(fields)?,
            read: sequence(fields)?,
            unread: sequence(fields)?,
        })
    }
}

impl ConversationPage {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_varint(self.request);
        out.put_u8(u8::from(self.more));
        out.put_varint(self.conversations.len() as u64);
        self.conversations.iter().for_each(|conversation| conversation.encode(out));
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: fields.varint()?,
            more: fields.u8()? != 0,
            conversations: list(&mut fields, CONVERSATIONS_PAGE_MAX, Conversation::decode)?,
        })
    }
}

impl DeviceList {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_varint(self.request);
        out.put_varint(self.devices.len() as u64);
        for device in &self.devices {
            out.put_run(device.device.as_str().as_bytes());
            out.put_u8(device.flag as u8);
            out.put_u8(u8::from(device.online));
            out.put_u64(device.seen_ms);
        }
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        let device = |fields: &mut Reader| {
            let bad = |detail| DecodeError::new(Reason::BadFrame, detail);
            Ok(Device {
                device: fields.device()?.ok_or(bad("the device has no id"))?,
                flag: DeviceFlag::from_number(fields.u8()?).ok_or(bad("unknown device flag"))?,
                online: fields.u8()? != 0,
                seen_ms: fields.u64()?,
            })
        };
        Ok(Self {
            request: fields.varint()?,
            devices: list(&mut fields, DEVICES_PER_PEER_MAX, device)?,
        })
    }
}

small_frames! {
    History {
        request: put_varint/varint, conversation: put_conversation/conversation,
        before: put_id/id, max: put_varint/varint
    }
    Conversations { request: put_varint/varint, before: put_id/id, max: put_varint/varint }
    Devices { request: put_varint/varint }
}
