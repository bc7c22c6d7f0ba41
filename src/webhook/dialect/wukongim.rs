//! What receivers of WuKongIM's webhooks parse. The event is named in the query.
//!
//! | event | body | told of |
//! |---|---|---|
//! | `msg.notify` | an array of messages | every persistent message |
//! | `msg.offline` | one message with `to_uids`, or an array of them by setting | messages whose recipients have no session |
//! | `user.onlinestatus` | an array of `uid-flag-online-session-same-all` | every opening and end of a session |
//!
//! A message to one peer has `channel_type` 1 and that peer as `channel_id`; to several peers 2
//! and the id of the conversation; to a group 2 and the group's id. `message_seq` is the number in
//! the conversation. The counts of a status are those after the change. A receiver that splits a
//! status from the left reads ids with `-` wrongly: parse the last five numbers from the right.
//! Recipients are told 400 at a time; whether they are compressed depends on how many there are in
//! all.
//!
//! What there is no word for: deliveries, reads, recalls, groups, messages to the back end, what a
//! push is to show, and for which devices a message is. `no_persist`, `sync_once` and `topic`
//! mean nothing here; `source_id` is always 1. A receiver that wants bodies to be JSON objects
//! with a numeric `type`, as TangSengDaoDao does for `msg.offline`, refuses others.
//!
//! # Invariants
//!
//! * A number fits the type of the receivers: seconds into 32 bits, ids into 64 with a sign.

use std::borrow::Cow;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::words::{Shown, client_msg_no, json};
use super::{Fragment, JSON, Outgoing, Stream, Style, list};
use crate::base64::base64;
use crate::id::{ConversationId, MessageId, PeerId};
use crate::limits::{ENDPOINT_LANES, EVENT_PEERS_MAX};
use crate::store::{Absent, Message};
use crate::webhook::event::{Event, Kind, What};

/// What it has words for.
pub(super) const KINDS: &[Kind] = &[Kind::MessageSent, Kind::MessageOffline, Kind::PeerStatus];

const NOTIFY: Stream = Stream { number: 0, first: 0, count: 32 };
const OFFLINE: Stream = Stream { number: 1, first: 32, count: 24 };
const STATUS: Stream = Stream { number: 2, first: 56, count: 8 };

const _: () = assert!(STATUS.first as usize + STATUS.count as usize == ENDPOINT_LANES);

/// The bit of `setting` by which the sender wants to hear of the delivery.
const RECEIPT: u8 = 1 << 7;
/// The type of a channel that is one other peer.
const PERSON: u8 = 1;
/// The type of a channel that is more than one other peer.
const GROUP: u8 = 2;

#[derive(Serialize)]
struct Header {
    no_persist: u8,
    red_dot: u8,
    sync_once: u8,
}

/// A message.
#[derive(Serialize)]
struct Notify<'a> {
    header: Header,
    setting: u8,
    message_id: i64,
    message_idstr: Shown<MessageId>,
    client_msg_no: Cow<'a, str>,
    message_seq: u32,
    from_uid: &'a str,
    channel_id: Cow<'a, str>,
    channel_type: u8,
    expire: u32,
    timestamp: i32,
    payload: String,
}

/// A message and those for whom it waits.
#[derive(Serialize)]
struct Offline<'a> {
    #[serde(flatten)]
    notify: Notify<'a>,
    to_uids: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compress: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compress_to_uids: Option<String>,
    source_id: u8,
}

pub(super) fn fragments(style: &Style, event: &Event) -> Vec<Fragment> {
    let one = |stream: &Stream, offset, bytes: Vec<u8>| {
        stream.fragment(event, offset, event.id(offset), bytes.into())
    };
    match &event.what {
        What::Sent(sent) => vec![one(&NOTIFY, 0, json(&Notify::of(&sent.message)))],
        What::Offline { sent, absent, .. } => {
            let over = style.gzip_over.filter(|over| *over > 0);
            let compresses = over.is_some_and(|over| absent.len() > over);
            let part = |(offset, absent): (usize, &[Absent])| {
                let bytes = json(&Offline::of(&sent.message, absent, compresses));
                let fragment = one(&OFFLINE, offset as u32, bytes);
                Fragment { alone: !style.offline_array, ..fragment }
            };
            absent.chunks(EVENT_PEERS_MAX).enumerate().map(part).collect()
        }
        What::Opened { opening, session, counts } => {
            let (peer, flag) = (&opening.peer, opening.flag as u8);
            let text = format!("{peer}-{flag}-1-{session}-{}-{}", counts.same_flag, counts.all);
            vec![one(&STATUS, 0, json(&text))]
        }
        What::Ended(ended) => {
            let (peer, flag, counts) = (&ended.peer, ended.flag as u8, ended.counts);
            let (session, same, all) = (ended.session, counts.same_flag, counts.all);
            vec![one(&STATUS, 0, json(&format!("{peer}-{flag}-0-{session}-{same}-{all}")))]
        }
        _ => Vec::new(),
    }
}

pub(super) fn body(style: &Style, fragments: &[Fragment]) -> Outgoing {
    let stream = fragments.first().map_or(STATUS.number, |fragment| fragment.stream);
    let (event, is_list) = match stream {
        number if number == NOTIFY.number => ("msg.notify", true),
        number if number == OFFLINE.number => ("msg.offline", style.offline_array),
        _ => ("user.onlinestatus", true),
    };
    let body = match fragments {
        [only] if !is_list => only.bytes.clone(),
        _ => list("[", fragments, "]"),
    };
    Outgoing { query: format!("event={event}"), content_type: JSON, body }
}

/// Receivers answer a name that they do not know with 200.
pub(super) fn ping() -> Outgoing {
    let body = Bytes::from_static(b"[]");
    Outgoing { query: "event=ping".into(), content_type: JSON, body }
}

impl<'a> Notify<'a> {
    fn of(message: &'a Message) -> Self {
        let (channel_id, channel_type) = channel(message.conversation, &message.to);
        Self {
            header: Header { no_persist: 0, red_dot: 1, sync_once: 0 },
            setting: if message.receipt { RECEIPT } else { 0 },
            message_id: message.id.0,
            message_idstr: Shown(message.id),
            client_msg_no: client_msg_no(message),
            message_seq: message.sequence,
            from_uid: message.from.as_str(),
            channel_id,
            channel_type,
            expire: seconds_left(message),
            timestamp: i32::try_from(message.at_ms / 1000).unwrap_or(i32::MAX),
            payload: base64(&message.body),
        }
    }
}

impl<'a> Offline<'a> {
    fn of(message: &'a Message, absent: &'a [Absent], compresses: bool) -> Self {
        let (notify, source_id) = (Notify::of(message), 1);
        let to_uids: Vec<&str> = absent.iter().map(|absent| absent.peer.as_str()).collect();
        if !compresses {
            return Self { notify, to_uids, compress: None, compress_to_uids: None, source_id };
        }
        let compress_to_uids = Some(base64(&gzip(&json(&to_uids))));
        let (to_uids, compress) = (Vec::new(), Some("gzip"));
        Self { notify, to_uids, compress, compress_to_uids, source_id }
    }
}

/// The channel of a message in a conversation, and its type.
pub(super) fn channel(conversation: ConversationId, to: &[PeerId]) -> (Cow<'_, str>, u8) {
    match (conversation, to) {
        (ConversationId::Peers(_), [only]) => (only.as_str().into(), PERSON),
        _ => (conversation.to_string().into(), GROUP),
    }
}

/// Seconds for which a message is to be delivered, from when it was sent; 0 for ever.
fn seconds_left(message: &Message) -> u32 {
    if message.expires_ms == 0 {
        return 0;
    }
    let ms = message.expires_ms.saturating_sub(message.at_ms).max(1);
    u32::try_from((ms - 1) / 1000 + 1).unwrap_or(u32::MAX)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes what is written to it")
}
