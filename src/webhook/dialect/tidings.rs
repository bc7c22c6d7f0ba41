//! Ours: a JSON object with a list of events, signed as Standard Webhooks have it.
//!
//! ```text
//! {"type":"events","timestamp":"2026-01-01T00:00:00.000Z","events":[
//!   {"id":"…","type":"message.sent","version":"…","at_ms":…,"data":{…}}, …]}
//! ```
//!
//! `timestamp` is the time of the last event. `version` rises with what happens to a conversation,
//! group or peer, and is the same for all events of one moment, such as `session.started` and
//! `peer.status`, or `message.sent` and `message.offline`: drop only what is *lower*. It is a whole
//! number of 64 bits, which a JavaScript number cannot hold: compare it as `BigInt`. Ids are texts.
//! What a message says is `text` if it is UTF-8, else `base64`. What is empty is mostly left out.
//! `data` has
//!
//! | type | data |
//! |---|---|
//! | `message.sent` | `message`, `sequence`, `conversation`, `from`, `to` or `group`, `backend` (it was sent by the back end), `device` (on which it was sent, if it was not), `devices` (for which alone it is), `client_msg_no`, `receipt`, `expires_ms`, `text` or `base64` |
//! | `message.offline` | the same, and `recipients` (`peer`, and as `badge` how many messages wait for it), `push` (`text`, and `badge` if there is one recipient; left out if there is no text), `late` (they had a session when it came) |
//! | `message.delivered` | `message`, `conversation`, `group`, `from` (who sent it), `peer` (who has it), `device`, `through` (the sequence up to which the device has them) |
//! | `message.read` | `conversation`, `group`, `peer`, `sequence` (up to which), `others` |
//! | `message.recalled` | `message`, `conversation`, `group`, `sequence`, `by` (nobody: the back end), `peers` (who had sent it and, unless that is a group, for whom it was) |
//! | `conversation.started` | `conversation`, `from`, `to` or `group`, `message` |
//! | `session.started` | `peer`, `session`, `device`, `flag` (`app`, `web`, `pc`), `client`, `address`, `sessions` (`same_flag`, `all`: how many the peer has now) |
//! | `peer.status` | the same, and `online` (it has a session now), `change` (`opened`, `closed`, `lost`, `replaced`, `stopped`); `client` and `address` at `opened` only |
//! | `group.changed` | `group`, `change` (`created`, `joined`, `left`, `invited`, `kicked`, `edited`, `deleted`), `by` (nobody: the back end), `peers`, `open`, `rules`, `metadata`, `more` (further peers of the change follow) |
//! | `upstream` | `message`, `from`, `device`, `text` or `base64` |
//! | `log.gap` | `after`, `through`: entries behind one and up to the other were lost |
//!
//! A change or a message of more than 400 peers makes several events.
//!
//! # Invariants
//!
//! * Fields are only ever added.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::words::{self, Said, Shown, client_msg_no, group_of, ids, json, rfc3339};
use super::{Fragment, JSON, Outgoing, Stream, Style, list};
use crate::group::{GroupChange, Rules, Who};
use crate::id::{ConversationId, DeviceId, GroupId, MessageId, PeerId, SessionId};
use crate::limits::EVENT_PEERS_MAX;
use crate::store::{Absent, Counts, Ending, Message, Opening, Recall};
use crate::webhook::event::{Delivery, Ended, Event, GroupNews, Kind, Sent, What};

/// An event.
#[derive(Serialize)]
struct Told<'a, T> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    version: Shown<MessageId>,
    at_ms: i64,
    data: T,
}

#[derive(Serialize)]
struct MessageData<'a> {
    message: Shown<MessageId>,
    sequence: u32,
    #[serde(flatten)]
    place: Place,
    from: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "ids")]
    to: &'a [PeerId],
    backend: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "ids")]
    devices: &'a [DeviceId],
    #[serde(skip_serializing_if = "str::is_empty")]
    client_msg_no: Cow<'a, str>,
    receipt: bool,
    #[serde(skip_serializing_if = "is_never")]
    expires_ms: i64,
    #[serde(flatten)]
    said: Said<'a>,
}

/// Where a message belongs.
#[derive(Serialize)]
struct Place {
    conversation: Shown<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Shown<GroupId>>,
}

#[derive(Serialize)]
struct OfflineData<'a> {
    #[serde(flatten)]
    message: MessageData<'a>,
    recipients: Vec<Recipient<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<Push<'a>>,
    late: bool,
}

#[derive(Serialize)]
struct Recipient<'a> {
    peer: &'a str,
    badge: u32,
}

#[derive(Serialize)]
struct Push<'a> {
    text: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    badge: Option<u32>,
}

#[derive(Serialize)]
struct DeliveredData<'a> {
    message: Shown<MessageId>,
    #[serde(flatten)]
    place: Place,
    from: &'a str,
    peer: &'a str,
    device: &'a str,
    through: u32,
}

#[derive(Serialize)]
struct ReadData<'a> {
    #[serde(flatten)]
    place: Place,
    peer: &'a str,
    sequence: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "ids")]
    others: &'a [PeerId],
}

#[derive(Serialize)]
struct RecalledData<'a> {
    message: Shown<MessageId>,
    #[serde(flatten)]
    place: Place,
    sequence: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(serialize_with = "ids")]
    peers: &'a [PeerId],
}

#[derive(Serialize)]
struct StartedData<'a> {
    #[serde(flatten)]
    place: Place,
    from: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "ids")]
    to: &'a [PeerId],
    message: Shown<MessageId>,
}

#[derive(Serialize)]
struct SessionData<'a> {
    peer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
    session: Shown<SessionId>,
    device: &'a str,
    flag: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    client: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    address: &'a str,
    sessions: Sessions,
}

#[derive(Serialize)]
struct Sessions {
    same_flag: u32,
    all: u32,
}

#[derive(Serialize)]
struct GroupData<'a> {
    group: Shown<GroupId>,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(serialize_with = "ids")]
    peers: &'a [PeerId],
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<RulesData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Option<&'a RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

#[derive(Serialize)]
struct RulesData {
    invite: &'static str,
    kick: &'static str,
    edit: &'static str,
}

#[derive(Serialize)]
struct UpstreamData<'a> {
    message: Shown<MessageId>,
    from: &'a str,
    device: &'a str,
    #[serde(flatten)]
    said: Said<'a>,
}

#[derive(Serialize)]
struct GapData {
    after: Shown<MessageId>,
    through: Shown<MessageId>,
}

pub(super) fn fragments(style: &Style, event: &Event) -> Vec<Fragment> {
    match &event.what {
        What::Sent(sent) if event.kind == Kind::ConversationStarted => {
            vec![tell(event, 0, StartedData::of(sent))]
        }
        What::Sent(sent) => vec![tell(event, 0, MessageData::of(sent))],
        What::Offline { sent, push, absent, late } => {
            let part = |(offset, absent): (usize, &[Absent])| {
                tell(event, offset as u32, OfflineData::of(style, sent, push, absent, *late))
            };
            absent.chunks(EVENT_PEERS_MAX).enumerate().map(part).collect()
        }
        What::Delivered(delivery) => vec![tell(event, 0, DeliveredData::of(delivery))],
        What::Read { peer, conversation, sequence, others } => {
            vec![tell(event, 0, ReadData::of(peer, *conversation, *sequence, others))]
        }
        What::Recalled(recall) => vec![tell(event, 0, RecalledData::of(recall))],
        What::Opened { opening, session, counts } => {
            vec![tell(event, 0, SessionData::opened(event.kind, opening, *session, *counts))]
        }
        What::Ended(ended) => vec![tell(event, 0, SessionData::ended(ended))],
        What::Group { group, by, change } => group_parts(event, *group, by.as_ref(), change),
        What::Upstream { id, from, device, body } => {
            let (message, from, device) = (Shown(*id), from.as_str(), device.as_str());
            let data = UpstreamData { message, from, device, said: body.into() };
            vec![Fragment { upstream: Some(*id), ..tell(event, 0, data) }]
        }
        What::Gap { from, through } => {
            vec![tell(event, 0, GapData { after: Shown(*from), through: Shown(*through) })]
        }
    }
}

/// The changes of a group, as many peers at once as an event may name.
fn group_parts(
    event: &Event,
    group: GroupId,
    by: Option<&PeerId>,
    news: &GroupNews,
) -> Vec<Fragment> {
    let part = |(offset, peers): (usize, &[PeerId])| {
        let more = (offset + 1) * EVENT_PEERS_MAX < news.peers.len();
        tell(event, offset as u32, GroupData::of(group, by, news, peers, more))
    };
    match news.peers.is_empty() {
        true => vec![part((0, &[]))],
        false => news.peers.chunks(EVENT_PEERS_MAX).enumerate().map(part).collect(),
    }
}

fn tell<T: Serialize>(event: &Event, offset: u32, data: T) -> Fragment {
    let id = event.id(offset);
    let version = Shown(event.position.entry);
    let (kind, at_ms) = (event.kind.name(), event.at_ms);
    let bytes = json(&Told { id: &id, kind, version, at_ms, data });
    Stream::ONLY.fragment(event, offset, id, bytes.into())
}

pub(super) fn body(fragments: &[Fragment]) -> Outgoing {
    let at_ms = fragments.last().map_or(0, |last| last.at_ms);
    let open = format!(r#"{{"type":"events","timestamp":"{}","events":["#, rfc3339(at_ms));
    let body = list(&open, fragments, "]}");
    Outgoing { query: String::new(), content_type: JSON, body }
}

pub(super) fn ping(at_ms: i64) -> Outgoing {
    let body = format!(r#"{{"type":"ping","timestamp":"{}","events":[]}}"#, rfc3339(at_ms));
    Outgoing { query: String::new(), content_type: JSON, body: body.into() }
}

fn is_never(at_ms: &i64) -> bool {
    *at_ms == 0
}

impl From<ConversationId> for Place {
    fn from(conversation: ConversationId) -> Self {
        let group = group_of(conversation).map(Shown);
        Self { conversation: Shown(conversation), group }
    }
}

impl<'a> MessageData<'a> {
    fn of(sent: &'a Sent) -> Self {
        let message: &'a Message = &sent.message;
        Self {
            message: Shown(message.id),
            sequence: message.sequence,
            place: message.conversation.into(),
            from: message.from.as_str(),
            to: &message.to,
            backend: sent.device.is_none(),
            device: sent.device.as_ref().map(DeviceId::as_str),
            devices: &message.devices,
            client_msg_no: client_msg_no(message),
            receipt: message.receipt,
            expires_ms: message.expires_ms,
            said: (&message.body).into(),
        }
    }
}

impl<'a> OfflineData<'a> {
    fn of(
        style: &'a Style,
        sent: &'a Sent,
        push: &'a Bytes,
        absent: &'a [Absent],
        late: bool,
    ) -> Self {
        let one =
            |absent: &'a Absent| Recipient { peer: absent.peer.as_str(), badge: absent.waiting };
        let text = match push.is_empty() {
            true => Cow::Borrowed(style.push_text.as_str()),
            false => String::from_utf8_lossy(push),
        };
        let badge = match absent {
            [only] => Some(only.waiting),
            _ => None,
        };
        let push = (!text.is_empty()).then_some(Push { text, badge });
        let recipients = absent.iter().map(one).collect();
        Self { message: MessageData::of(sent), recipients, push, late }
    }
}

impl<'a> StartedData<'a> {
    fn of(sent: &'a Sent) -> Self {
        let message = &sent.message;
        let (place, from) = (message.conversation.into(), message.from.as_str());
        Self { place, from, to: &message.to, message: Shown(message.id) }
    }
}

impl<'a> DeliveredData<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        Self {
            message: Shown(delivery.message),
            place: delivery.conversation.into(),
            from: delivery.to.as_str(),
            peer: delivery.by.as_str(),
            device: delivery.device.as_str(),
            through: delivery.through,
        }
    }
}

impl<'a> ReadData<'a> {
    fn of(
        peer: &'a PeerId,
        conversation: ConversationId,
        sequence: u32,
        others: &'a [PeerId],
    ) -> Self {
        let others = if group_of(conversation).is_some() { &[] } else { others };
        Self { place: conversation.into(), peer: peer.as_str(), sequence, others }
    }
}

impl<'a> RecalledData<'a> {
    fn of(recall: &'a Recall) -> Self {
        Self {
            message: Shown(recall.message),
            place: recall.conversation.into(),
            sequence: recall.sequence,
            by: recall.by.as_ref().map(PeerId::as_str),
            peers: &recall.concerned,
        }
    }
}

impl<'a> SessionData<'a> {
    /// A session that opened, for an event of its own or of its peer's status.
    fn opened(kind: Kind, opening: &'a Opening, session: SessionId, counts: Counts) -> Self {
        let of_status = kind == Kind::PeerStatus;
        Self {
            peer: opening.peer.as_str(),
            online: of_status.then_some(counts.all > 0),
            change: of_status.then_some("opened"),
            session: Shown(session),
            device: opening.device.as_str(),
            flag: words::flag(opening.flag),
            client: &opening.client,
            address: &opening.address,
            sessions: counts.into(),
        }
    }

    fn ended(ended: &'a Ended) -> Self {
        let change = match ended.ending {
            Ending::Lost => "lost",
            Ending::Closed => "closed",
            Ending::Replaced => "replaced",
            Ending::Stopped => "stopped",
        };
        Self {
            peer: ended.peer.as_str(),
            online: Some(ended.counts.all > 0),
            change: Some(change),
            session: Shown(ended.session),
            device: ended.device.as_str(),
            flag: words::flag(ended.flag),
            client: "",
            address: "",
            sessions: ended.counts.into(),
        }
    }
}

impl From<Counts> for Sessions {
    fn from(Counts { same_flag, all }: Counts) -> Self {
        Self { same_flag, all }
    }
}

impl<'a> GroupData<'a> {
    fn of(
        group: GroupId,
        by: Option<&'a PeerId>,
        news: &'a GroupNews,
        peers: &'a [PeerId],
        more: bool,
    ) -> Self {
        let change = match news.change {
            None => "created",
            Some(GroupChange::Joined) => "joined",
            Some(GroupChange::Left) => "left",
            Some(GroupChange::Invited) => "invited",
            Some(GroupChange::Kicked) => "kicked",
            Some(GroupChange::Edited) => "edited",
            Some(GroupChange::Deleted) => "deleted",
        };
        let (by, open) = (by.map(PeerId::as_str), news.open);
        let rules = news.rules.map(RulesData::from);
        // Empty metadata is no JSON, and is told as null.
        let metadata = news.metadata.as_ref().map(|json| serde_json::from_slice(json).ok());
        Self { group: Shown(group), change, by, peers, open, rules, metadata, more }
    }
}

impl From<Rules> for RulesData {
    fn from(Rules { invite, kick, edit }: Rules) -> Self {
        let who = |who| match who {
            Who::Server => "server",
            Who::Creator => "creator",
            Who::Members => "members",
        };
        Self { invite: who(invite), kick: who(kick), edit: who(edit) }
    }
}
