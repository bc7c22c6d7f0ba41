//! A message of the back end as it stands in a request, and what has become of it.
//!
//! # Invariants
//!
//! * A message is for exactly one of peers, a group, an alias and a device.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::many::Many;
use super::problem::{Kind, Outcome, Problem};
use super::text::{AliasName, Conversation, Device, Group, Message, Peer, Text};
use super::values::body;
use crate::hub::{Audience, Post, Posted, PostedMessage, Reach, Recipient};
use crate::limits::{CLIENT_MSG_NO_BYTES_MAX, PUSH_TEXT_BYTES_MAX, RECIPIENTS_MAX};
use crate::store::IdempotencyKey;

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": {"alias": "customer 4711"}, "body": "Your table is ready."}))]
pub(super) struct NewMessage {
    /// Who sends it; the system if it is left out.
    from: Option<Peer>,
    to: To,
    /// What it says, up to 5,120 bytes of UTF-8. Either this or `body_base64` is required.
    body: Option<String>,
    /// The same as base64, for what is not text.
    #[schema(content_encoding = "base64")]
    body_base64: Option<String>,
    /// For those online now; it is never stored.
    #[serde(default)]
    transient: bool,
    /// The peer that sends it is to hear of its delivery.
    #[serde(default)]
    receipt: bool,
    /// Milliseconds after which it need not be delivered any more; 0 for never.
    #[serde(default)]
    ttl_ms: u64,
    /// The app's own number for it, up to 64 bytes, which its recipients see.
    #[serde(default)]
    #[schema(max_length = 64)]
    client_msg_no: String,
    /// What a push service is to show for it, to those whom it finds without a session.
    #[serde(default)]
    push: Push,
}

/// What a push service is to show; webhooks are told.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Push {
    /// The text, up to 256 bytes of UTF-8; what the server is set to if it is empty.
    #[schema(max_length = 256)]
    text: String,
}

/// Whom a message is for.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "Recipients", rename_all = "snake_case")]
enum To {
    /// These peers, 1 to 20, on all their devices. The system is none of them.
    Peers(Vec<Peer>),
    /// The members of a group, or those who are in an open group now.
    Group(Group),
    /// The devices that have this alias.
    Alias(AliasName),
    /// This device, for the peer that opened on it last.
    Device(Device),
}

/// The same, as it is read: so that none and two are told as what they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipients {
    peers: Option<Many<Peer, RECIPIENTS_MAX>>,
    group: Option<Group>,
    alias: Option<AliasName>,
    device: Option<Device>,
}

impl TryFrom<Recipients> for To {
    type Error = &'static str;

    fn try_from(to: Recipients) -> Result<Self, &'static str> {
        match to {
            Recipients { peers: Some(peers), group: None, alias: None, device: None } => {
                Ok(Self::Peers(peers.0))
            }
            Recipients { peers: None, group: Some(group), alias: None, device: None } => {
                Ok(Self::Group(group))
            }
            Recipients { peers: None, group: None, alias: Some(alias), device: None } => {
                Ok(Self::Alias(alias))
            }
            Recipients { peers: None, group: None, alias: None, device: Some(device) } => {
                Ok(Self::Device(device))
            }
            _ => Err("exactly one of peers, group, alias and device is required"),
        }
    }
}

impl NewMessage {
    /// The message, as the hub takes it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn into_post(self, key: Option<IdempotencyKey>) -> Outcome<Post> {
        if self.client_msg_no.len() > CLIENT_MSG_NO_BYTES_MAX {
            let detail = format!("client_msg_no exceeds {CLIENT_MSG_NO_BYTES_MAX} bytes");
            return Err(Problem::new(Kind::InvalidBody, detail));
        }
        if self.push.text.len() > PUSH_TEXT_BYTES_MAX {
            let detail = format!("push.text exceeds {PUSH_TEXT_BYTES_MAX} bytes");
            return Err(Problem::new(Kind::InvalidBody, detail));
        }
        let to = match self.to {
            To::Peers(peers) => Audience::Peers(peers.into_iter().map(|Text(peer)| peer).collect()),
            To::Group(Text(group)) => Audience::Group(group),
            To::Alias(Text(alias)) => Audience::Alias(alias),
            To::Device(Text(device)) => Audience::Device(device),
        };
        Ok(Post {
            from: self.from.map(|Text(peer)| peer),
            to,
            transient: self.transient,
            receipt: self.receipt,
            ttl_ms: i64::try_from(self.ttl_ms).unwrap_or(i64::MAX),
            client_msg_no: self.client_msg_no,
            body: body(self.body, self.body_base64)?,
            push: self.push.text,
            key,
        })
    }
}

/// What has become of a message.
#[derive(Serialize, ToSchema)]
pub(super) struct SentMessage {
    /// What was stored: one message, or one for each peer that has a device of the alias. None if
    /// the message was transient, or everybody ignored.
    messages: Vec<StoredMessage>,
    /// Whom it was for; nobody is named for a group.
    recipients: Vec<Reached>,
    /// How many recipients were online.
    online: usize,
    /// For how many it waits.
    offline: usize,
    /// How many do not get it.
    ignored: usize,
}

/// A message that is stored.
#[derive(Serialize, ToSchema)]
struct StoredMessage {
    id: Message,
    /// Its number in its conversation, from 1.
    sequence: u32,
    /// When the server took it.
    at_ms: i64,
    conversation: Conversation,
    /// It had been stored before, by a request with the same `Idempotency-Key`.
    repeated: bool,
}

/// A recipient.
#[derive(Serialize, ToSchema)]
struct Reached {
    peer: Peer,
    /// On which device, if it was for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    device: Option<Device>,
    outcome: Reaching,
    /// The message, if one was stored for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<Message>,
}

/// What a recipient gets.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Reaching {
    /// It is online.
    Online,
    /// It is not, and the message waits.
    Offline,
    /// It does not get the message.
    Ignored,
}

impl From<&Posted> for SentMessage {
    fn from(posted: &Posted) -> Self {
        Self {
            messages: posted.messages.iter().map(StoredMessage::from).collect(),
            recipients: posted.recipients.iter().map(Reached::from).collect(),
            online: posted.online,
            offline: posted.offline,
            ignored: posted.ignored,
        }
    }
}

impl From<&PostedMessage> for StoredMessage {
    fn from(posted: &PostedMessage) -> Self {
        let PostedMessage { id, sequence, at_ms, conversation, repeated } = *posted;
        Self { id: Text(id), sequence, at_ms, conversation: Text(conversation), repeated }
    }
}

impl From<&Recipient> for Reached {
    fn from(recipient: &Recipient) -> Self {
        let outcome = match recipient.reach {
            Reach::Online => Reaching::Online,
            Reach::Offline => Reaching::Offline,
            Reach::Ignored => Reaching::Ignored,
        };
        Self {
            peer: Text(recipient.peer.clone()),
            device: recipient.device.clone().map(Text),
            outcome,
            message: recipient.message.map(Text),
        }
    }
}
