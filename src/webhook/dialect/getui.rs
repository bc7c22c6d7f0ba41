//! What receivers of Getui's receipts parse: JSON objects, one a line.
//!
//! A line tells that a device (`cid`) has a message: `taskid` and `msgid` are both its id, `code`
//! is `200`, `actionId` is `0`, which says that it has arrived, `recvtime` is in milliseconds and
//! `sign` is `md5(appid + cid + taskid + msgid + secret)`. It goes out for messages whose sender
//! wanted a receipt. Our own field `peer` says whose device it is.
//!
//! What a client sends to the back end itself has a line, too: `actionId` is [`UPSTREAM`], of the
//! range that apps may use as they like, `taskid` is empty, `peer` is the sender, and what it
//! says is `text` if that is UTF-8, else `base64`. The back end's 2xx accepts all of a request.
//!
//! There is no word for the rest: for messages, reads, recalls, groups and presence.
//!
//! # Invariants
//!
//! * No line has a line break in it.

use bytes::Bytes;
use serde::Serialize;

use super::words::{Said, json, md5};
use super::{Fragment, Outgoing, Stream, Style};
use crate::id::{DeviceId, PeerId};
use crate::webhook::event::{Event, Kind, What};

/// What it has words for.
pub(super) const KINDS: &[Kind] = &[Kind::MessageDelivered, Kind::Upstream];

/// The action of a message that has arrived on a device.
const ARRIVED: &str = "0";
/// The action of a message to the back end.
const UPSTREAM: &str = "90000";

const TEXT: &str = "text/plain; charset=utf-8";

#[derive(Serialize)]
struct Line<'a> {
    appid: &'a str,
    cid: &'a str,
    taskid: &'a str,
    msgid: &'a str,
    code: &'static str,
    desc: &'static str,
    sign: String,
    #[serde(rename = "actionId")]
    action_id: &'static str,
    recvtime: i64,
    peer: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    said: Option<Said<'a>>,
}

pub(super) fn fragments(style: &Style, event: &Event) -> Vec<Fragment> {
    let fragment = match &event.what {
        What::Delivered(delivery) => {
            let message = delivery.message.to_string();
            let line = Line::of(style, (&delivery.by, &delivery.device), [&message, &message]);
            let line = Line { recvtime: event.at_ms, ..line };
            Stream::ONLY.fragment(event, 0, event.id(0), json(&line).into())
        }
        What::Upstream { id, from, device, body } => {
            let message = id.to_string();
            let line = Line::of(style, (from, device), ["", &message]);
            let (action_id, said) = (UPSTREAM, Some(body.into()));
            let line = Line { action_id, said, recvtime: event.at_ms, ..line };
            let fragment = Stream::ONLY.fragment(event, 0, event.id(0), json(&line).into());
            Fragment { upstream: Some(*id), ..fragment }
        }
        _ => return Vec::new(),
    };
    vec![fragment]
}

pub(super) fn body(fragments: &[Fragment]) -> Outgoing {
    let mut body = Vec::with_capacity(fragments.iter().map(|line| line.bytes.len() + 1).sum());
    for fragment in fragments {
        body.extend_from_slice(&fragment.bytes);
        body.push(b'\n');
    }
    Outgoing { query: String::new(), content_type: TEXT, body: body.into() }
}

/// A request without a line: it tells of no device.
pub(super) fn ping() -> Outgoing {
    Outgoing { query: String::new(), content_type: TEXT, body: Bytes::new() }
}

impl<'a> Line<'a> {
    /// That a message has arrived on a peer's device.
    fn of(
        style: &'a Style,
        (peer, device): (&'a PeerId, &'a DeviceId),
        [taskid, msgid]: [&'a str; 2],
    ) -> Self {
        let (appid, cid) = (style.app_id.as_str(), device.as_str());
        let signed = [appid, cid, taskid, msgid].map(str::as_bytes);
        let sign = md5(&[signed[0], signed[1], signed[2], signed[3], &style.secret]);
        let (code, desc, action_id, recvtime) = ("200", "ok", ARRIVED, 0);
        let peer = peer.as_str();
        Self { appid, cid, taskid, msgid, code, desc, sign, action_id, recvtime, peer, said: None }
    }
}
