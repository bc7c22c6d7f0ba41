//! The stored form of what entries and rows are made of: messages, sends, recalls, ids, rules.
//!
//! # Invariants
//!
//! * Reading gives back what was written, or an error; it never panics.

use bytes::Bytes;
use rkyv::string::ArchivedString;
use rkyv::with::Map;
use rkyv::{Archive, Serialize};

use crate::group::{Rules, Who};
use crate::id::{Alias, ConversationId, DeviceId, MessageId, PeerId};
use crate::store::archive::{AsText, ValueError};
use crate::store::entry::{Absent, Message, News, Notice, Recall, SendNumber};

#[derive(Archive, Serialize)]
pub(super) struct MessageV1 {
    sequence: u32,
    expires_ms: i64,
    conversation: [u8; 17],
    #[rkyv(with = AsText)]
    from: PeerId,
    #[rkyv(with = Map<AsText>)]
    to: Vec<PeerId>,
    #[rkyv(with = Map<AsText>)]
    devices: Vec<DeviceId>,
    receipt: bool,
    client_msg_no: Bytes,
    body: Bytes,
}

impl MessageV1 {
    pub(super) fn new(message: &Message) -> Self {
        Self {
            sequence: message.sequence,
            expires_ms: message.expires_ms,
            conversation: message.conversation.key(),
            from: message.from.clone(),
            to: message.to.clone(),
            devices: message.devices.clone(),
            receipt: message.receipt,
            client_msg_no: message.client_msg_no.clone(),
            body: message.body.clone(),
        }
    }
}

impl ArchivedMessageV1 {
    pub(super) fn message(&self, id: MessageId, at_ms: i64) -> Result<Message, ValueError> {
        Ok(Message {
            id,
            sequence: self.sequence.to_native(),
            at_ms,
            expires_ms: self.expires_ms.to_native(),
            conversation: ConversationId::from_key(&self.conversation),
            from: peer(&self.from)?,
            to: peers(&self.to)?,
            devices: self.devices.iter().map(|id| device(id)).collect::<Result<_, _>>()?,
            receipt: self.receipt,
            client_msg_no: Bytes::copy_from_slice(&self.client_msg_no),
            body: Bytes::copy_from_slice(&self.body),
        })
    }
}

#[derive(Archive, Serialize)]
pub(super) struct SendNumberV1 {
    #[rkyv(with = AsText)]
    device: DeviceId,
    instance: u64,
    number: u64,
    answered: u64,
}

impl SendNumberV1 {
    pub(super) fn new(send: &SendNumber) -> Self {
        let SendNumber { device, instance, number, answered } = send.clone();
        Self { device, instance, number, answered }
    }
}

impl ArchivedSendNumberV1 {
    pub(super) fn send(&self) -> Result<SendNumber, ValueError> {
        Ok(SendNumber {
            device: device(&self.device)?,
            instance: self.instance.to_native(),
            number: self.number.to_native(),
            answered: self.answered.to_native(),
        })
    }
}

#[derive(Archive, Serialize)]
pub(super) struct AbsentV1 {
    #[rkyv(with = AsText)]
    peer: PeerId,
    waiting: u32,
}

impl AbsentV1 {
    pub(super) fn all(absent: Vec<Absent>) -> Vec<Self> {
        let one = |Absent { peer, waiting }| Self { peer, waiting };
        absent.into_iter().map(one).collect()
    }
}

impl ArchivedAbsentV1 {
    pub(super) fn list(all: &[Self]) -> Result<Vec<Absent>, ValueError> {
        let one = |absent: &Self| {
            Ok(Absent { peer: peer(&absent.peer)?, waiting: absent.waiting.to_native() })
        };
        all.iter().map(one).collect()
    }
}

#[derive(Archive, Serialize)]
pub(super) struct RecallV1 {
    message: i64,
    conversation: [u8; 17],
    sequence: u32,
    by: String,
    #[rkyv(with = Map<AsText>)]
    concerned: Vec<PeerId>,
}

impl RecallV1 {
    pub(super) fn new(recall: &Recall) -> Self {
        Self {
            message: recall.message.0,
            conversation: recall.conversation.key(),
            sequence: recall.sequence,
            by: name(recall.by.as_ref()),
            concerned: recall.concerned.clone(),
        }
    }
}

impl RecallV1 {
    /// The recall of which a notice tells, for an inbox: whom else it concerns is not in there.
    pub(super) fn of(notice: &Notice) -> Option<Self> {
        let News::Recalled(message, sequence) = notice.news else { return None };
        Some(Self {
            message: message.0,
            conversation: notice.conversation.key(),
            sequence,
            by: name(notice.by.as_ref()),
            concerned: Vec::new(),
        })
    }
}

impl ArchivedRecallV1 {
    pub(super) fn recall(&self) -> Result<Recall, ValueError> {
        Ok(Recall {
            message: MessageId(self.message.to_native()),
            conversation: ConversationId::from_key(&self.conversation),
            sequence: self.sequence.to_native(),
            by: maybe_peer(&self.by)?,
            concerned: peers(&self.concerned)?,
        })
    }
}

/// The text of a peer that may be nobody.
pub(super) fn name(peer: Option<&PeerId>) -> String {
    peer.map_or("", PeerId::as_str).to_owned()
}

/// The peer with this id, or nobody.
pub(super) fn maybe_peer(text: &str) -> Result<Option<PeerId>, ValueError> {
    if text.is_empty() { Ok(None) } else { peer(text).map(Some) }
}

/// The peers of a stored list.
pub(super) fn peers(list: &[ArchivedString]) -> Result<Vec<PeerId>, ValueError> {
    list.iter().map(|id| peer(id)).collect()
}

/// Rules as they are stored.
pub(super) fn rules_bytes(rules: Rules) -> [u8; 3] {
    [rules.invite as u8, rules.kick as u8, rules.edit as u8]
}

/// Rules that were stored.
pub(super) fn rules_of(bytes: [u8; 3]) -> Result<Rules, ValueError> {
    let who = |number| Who::from_number(number).ok_or_else(|| ValueError::damaged("unknown rule"));
    Ok(Rules { invite: who(bytes[0])?, kick: who(bytes[1])?, edit: who(bytes[2])? })
}

/// The peer with an id that was valid when it was written.
pub(super) fn peer(text: &str) -> Result<PeerId, ValueError> {
    PeerId::new(text).map_err(ValueError::damaged)
}

/// The alias with a name that was valid when it was written.
pub(super) fn alias(text: &str) -> Result<Alias, ValueError> {
    Alias::new(text).map_err(ValueError::damaged)
}

/// The device with an id that was valid when it was written.
pub(super) fn device(text: &str) -> Result<DeviceId, ValueError> {
    DeviceId::new(text).map_err(ValueError::damaged)
}
