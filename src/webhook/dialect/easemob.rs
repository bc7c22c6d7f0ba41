//! What receivers of Easemob's callbacks parse: one JSON object in each request.
//!
//! Every object has a `callId`, the app's id, `_` and the event's id, and as `security`
//! `md5(callId + secret + timestamp)`, which does not cover the rest: verify the headers, too.
//!
//! | told of | `eventType` | `chat_type` | `from`, `to` |
//! |---|---|---|---|
//! | a message | `chat` | `chat`, `groupchat` | sender; peer or group |
//! | a message that waits | `chat_offline`, one for each absent peer | `chat`, `groupchat` | sender; that peer |
//! | a read | `chat` | `read_ack` | reader; peer or group |
//! | a recall | `chat` | `recall` | who did it, or nothing for the back end; peer or group |
//! | a group | `chat` | `muc`, one for each member that it concerns | who did it; member |
//! | an opening or end of a session | none | none | `user`, `status`, `reason` |
//!
//! A message to several peers is a `groupchat` whose group is their conversation. What a message
//! says is made of its body: see `content.rs`. Our own fields `conversation` and `sequence` say
//! what a read covers; its `ack_message_id` is empty, for a read covers all messages up to one.
//! A group's `operation` is `create`, `direct_joined` (whether it joined or was invited),
//! `leave`, `kick`, `update` or `destroy`.
//!
//! What there is no word for: deliveries, metadata of groups, messages to the back end, what a
//! push is to show, and how many sessions a peer has. `host` and `securityVersion` never change.
//!
//! # Invariants
//!
//! * A body is one object with a `callId`, whatever is told.
//! * Whole numbers of bodies fit into 32 bits with a sign, and values of `ext` are no arrays or
//!   objects unless the endpoint wants them: an old receiver refuses both.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::content::{Payload, payload};
use super::words::{Shown, flag, group_of, json, md5};
use super::{Fragment, JSON, Outgoing, Stream, Style};
use crate::group::GroupChange;
use crate::id::{ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId};
use crate::presend::Question;
use crate::store::{Ending, Recall};
use crate::webhook::event::{Event, GroupNews, Kind, Sent, What, offline_id};

/// What it has words for.
pub(super) const KINDS: &[Kind] = &[
    Kind::MessageSent,
    Kind::MessageOffline,
    Kind::MessageRead,
    Kind::MessageRecalled,
    Kind::GroupChanged,
    Kind::PeerStatus,
];

const CHAT: &str = "chat";
const GROUP_CHAT: &str = "groupchat";
const HOST: &str = "tidings";
const SECURITY_VERSION: &str = "1.0.0";

/// A callback.
#[derive(Serialize)]
struct Callback<'a, P> {
    #[serde(rename = "callId")]
    call_id: String,
    #[serde(rename = "eventType", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'static str>,
    timestamp: i64,
    chat_type: &'static str,
    group_id: Cow<'a, str>,
    from: &'a str,
    to: Cow<'a, str>,
    msg_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_id: Option<Shown<MessageId>>,
    payload: P,
    #[serde(rename = "securityVersion")]
    security_version: &'static str,
    security: String,
    appkey: &'a str,
    host: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<Shown<ConversationId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u32>,
}

/// The payload of what is said about a message.
#[derive(Serialize)]
struct Notice {
    ext: Map<String, Value>,
    ack_message_id: String,
    bodies: [(); 0],
}

/// The payload of what happens in a group.
#[derive(Serialize)]
struct Muc {
    muc_id: String,
    reason: &'static str,
    is_chatroom: bool,
    operation: &'static str,
    status: MucStatus,
}

#[derive(Serialize)]
struct MucStatus {
    description: &'static str,
    error_code: &'static str,
}

/// A callback about a peer's session.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(rename = "callId")]
    call_id: String,
    reason: &'static str,
    security: String,
    os: &'static str,
    ip: &'a str,
    host: &'static str,
    appkey: &'a str,
    user: String,
    version: &'a str,
    timestamp: i64,
    status: &'static str,
}

pub(super) fn fragments(style: &Style, event: &Event) -> Vec<Fragment> {
    match &event.what {
        What::Sent(sent) => {
            let id = event.id(0);
            let callback = said(style, sent, &id);
            vec![alone(event, 0, id, json(&callback))]
        }
        What::Offline { sent, absent, .. } => {
            let one = |(offset, to): (usize, &PeerId)| {
                let id = offline_id(sent.message.id, to);
                let (event_type, to) = (Some("chat_offline"), to.as_str().into());
                let callback = Callback { event_type, to, ..said(style, sent, &id) };
                alone(event, offset as u32, id, json(&callback))
            };
            absent.iter().map(|absent| &absent.peer).enumerate().map(one).collect()
        }
        What::Read { peer, conversation, sequence, others } => {
            let (id, notice) = (event.id(0), Notice::of(None));
            let at = Callback::new(style, &id, event.at_ms, "read_ack", notice);
            let place = (*conversation, *sequence);
            let callback = at.among(place, peer.as_str(), others);
            vec![alone(event, 0, id, json(&callback))]
        }
        What::Recalled(recall) => vec![recalled(style, event, recall)],
        What::Group { group, by, change } => changed(style, event, *group, by.as_ref(), change),
        What::Opened { opening, .. } => {
            let (peer, device) = (&opening.peer, &opening.device);
            let status = Status::of(style, event, peer, (opening.flag, device), "login");
            let (ip, version) = (opening.address.as_str(), opening.client.as_str());
            let status = Status { status: "online", ip, version, ..status };
            vec![alone(event, 0, event.id(0), json(&status))]
        }
        What::Ended(ended) => {
            let reason = match ended.ending {
                Ending::Replaced => "replaced",
                Ending::Lost | Ending::Closed | Ending::Stopped => "logout",
            };
            let device = (ended.flag, &ended.device);
            let status = Status::of(style, event, &ended.peer, device, reason);
            vec![alone(event, 0, event.id(0), json(&status))]
        }
        What::Delivered(_) | What::Upstream { .. } | What::Gap { .. } => Vec::new(),
    }
}

pub(super) fn body(fragments: &[Fragment]) -> Outgoing {
    let body = fragments.first().map_or_else(Bytes::new, |only| only.bytes.clone());
    Outgoing { query: String::new(), content_type: JSON, body }
}

/// A callback of a type that receivers do not know.
pub(super) fn ping(style: &Style, at_ms: i64) -> Outgoing {
    let payload = Payload { bodies: Vec::new(), ext: Map::new() };
    let callback = Callback::new(style, &format!("ping-{at_ms}"), at_ms, CHAT, payload);
    let body = json(&Callback { event_type: Some("ping"), ..callback }).into();
    Outgoing { query: String::new(), content_type: JSON, body }
}

/// The callback that asks about a message before it is stored.
pub(super) fn question(style: &Style, question: &Question) -> Outgoing {
    let payload = payload(&question.body, style.nested_ext);
    let place = (question.conversation, 0);
    let callback = Callback::new(style, &question.id, question.at_ms, CHAT, payload);
    let callback = callback.among(place, question.from.as_str(), &question.to);
    let (event_type, sequence) = (None, None);
    let msg_id = question.id.as_str().into();
    let body = json(&Callback { event_type, sequence, msg_id, ..callback }).into();
    Outgoing { query: String::new(), content_type: JSON, body }
}

fn alone(event: &Event, offset: u32, id: String, bytes: Vec<u8>) -> Fragment {
    let fragment = Stream::ONLY.fragment(event, offset, id, bytes.into());
    Fragment { alone: true, ..fragment }
}

/// What is told of a message.
fn said<'a>(style: &'a Style, sent: &'a Sent, id: &str) -> Callback<'a, Payload> {
    let message = &sent.message;
    let payload = payload(&message.body, style.nested_ext);
    let place = (message.conversation, message.sequence);
    let callback = Callback::new(style, id, message.at_ms, CHAT, payload);
    let callback = callback.among(place, message.from.as_str(), &message.to);
    Callback { msg_id: message.id.to_string().into(), ..callback }
}

fn recalled(style: &Style, event: &Event, recall: &Recall) -> Fragment {
    let (id, by) = (event.id(0), recall.by.as_ref().map_or("", PeerId::as_str));
    let notice = Notice::of(Some(recall.message));
    let callback = Callback::new(style, &id, event.at_ms, "recall", notice);
    // Who sent it comes last, and is not among those for whom it was.
    let sender = recall.concerned.last();
    let by_whom = recall.by.as_ref().or(sender);
    let others: Vec<_> =
        recall.concerned.iter().filter(|peer| Some(*peer) != by_whom).cloned().collect();
    let callback = callback.among((recall.conversation, recall.sequence), by, &others);
    let msg_id = recall.message.to_string().into();
    let recall_id = Some(Shown(recall.message));
    alone(event, 0, id, json(&Callback { msg_id, recall_id, ..callback }))
}

/// What is told of a group: what happened to it, and what to each member.
fn changed(
    style: &Style,
    event: &Event,
    group: GroupId,
    by: Option<&PeerId>,
    news: &GroupNews,
) -> Vec<Fragment> {
    let (of_group, of_members) = match news.change {
        None => (Some("create"), "direct_joined"),
        Some(GroupChange::Joined | GroupChange::Invited) => (None, "direct_joined"),
        Some(GroupChange::Left) => (None, "leave"),
        Some(GroupChange::Kicked) => (None, "kick"),
        Some(GroupChange::Edited) => (Some("update"), "update"),
        Some(GroupChange::Deleted) => (Some("destroy"), "leave"),
    };
    let text = group.to_string();
    let one = |offset: u32, operation, to: &str| {
        let id = event.id(offset);
        let muc = Muc::of(style, &text, operation, news.open.unwrap_or(false));
        let callback = Callback::new(style, &id, event.at_ms, "muc", muc);
        let (from, group_id) = (by.map_or("", PeerId::as_str), text.as_str().into());
        let msg_id = id.as_str().into();
        let bytes = json(&Callback { from, to: to.into(), group_id, msg_id, ..callback });
        alone(event, offset, id, bytes)
    };
    let first = of_group.map(|operation| one(0, operation, &text));
    // Who creates a group is not told to have joined it; of a deleted one nobody has left.
    let is_told = |peer: &&PeerId| match news.change {
        None => Some(*peer) != by,
        change => change != Some(GroupChange::Deleted),
    };
    let members = news.peers.iter().filter(is_told).enumerate();
    let members = members.map(|(at, peer)| one(at as u32 + 1, of_members, peer.as_str()));
    first.into_iter().chain(members).collect()
}

impl<'a, P> Callback<'a, P> {
    fn new(style: &'a Style, id: &str, at_ms: i64, chat_type: &'static str, payload: P) -> Self {
        let (call_id, security) = proof(style, id, at_ms);
        Self {
            call_id,
            event_type: Some(CHAT),
            timestamp: at_ms,
            chat_type,
            group_id: "".into(),
            from: "",
            to: "".into(),
            msg_id: "".into(),
            recall_id: None,
            payload,
            security_version: SECURITY_VERSION,
            security,
            appkey: &style.app_id,
            host: HOST,
            conversation: None,
            sequence: None,
        }
    }

    /// The same, of a conversation of one with others, up to a number.
    fn among<'b>(
        self,
        (conversation, sequence): (ConversationId, u32),
        from: &'b str,
        others: &'b [PeerId],
    ) -> Callback<'b, P>
    where
        'a: 'b,
    {
        let (group_id, to) = match (group_of(conversation), others) {
            (None, [only]) => (Cow::Borrowed(""), only.as_str().into()),
            _ => {
                let text = conversation.to_string();
                (text.clone().into(), text.into())
            }
        };
        let is_group = self.chat_type == CHAT && !group_id.is_empty();
        let chat_type = if is_group { GROUP_CHAT } else { self.chat_type };
        let (conversation, sequence) = (Some(Shown(conversation)), Some(sequence));
        Callback { chat_type, group_id, from, to, conversation, sequence, ..self }
    }
}

impl Notice {
    fn of(message: Option<MessageId>) -> Self {
        let ack_message_id = message.map_or_else(String::new, |id| id.to_string());
        Self { ext: Map::new(), ack_message_id, bodies: [] }
    }
}

impl Muc {
    fn of(style: &Style, group: &str, operation: &'static str, is_chatroom: bool) -> Self {
        let muc_id = format!("{}_{group}@conference.easemob.com", style.app_id);
        let status = MucStatus { description: "", error_code: "ok" };
        Self { muc_id, reason: "", is_chatroom, operation, status }
    }
}

impl<'a> Status<'a> {
    fn of(
        style: &'a Style,
        event: &Event,
        peer: &PeerId,
        (device_flag, device): (DeviceFlag, &DeviceId),
        reason: &'static str,
    ) -> Self {
        let (call_id, security) = proof(style, &event.id(0), event.at_ms);
        let (os, appkey) = (flag(device_flag), style.app_id.as_str());
        let user = format!("{appkey}_{peer}@easemob.com/{os}_{device}");
        let (ip, version, timestamp, status) = ("", "", event.at_ms, "offline");
        Self {
            call_id,
            reason,
            security,
            os,
            ip,
            host: HOST,
            appkey,
            user,
            version,
            timestamp,
            status,
        }
    }
}

/// The `callId` of a callback and its `security`.
fn proof(style: &Style, id: &str, at_ms: i64) -> (String, String) {
    let call_id = format!("{}_{id}", style.app_id);
    let time = at_ms.to_string();
    let security = md5(&[call_id.as_bytes(), &style.secret, time.as_bytes()]);
    (call_id, security)
}
