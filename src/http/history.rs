//! History: the messages of a conversation, a group, a sender or the whole app.
//!
//! # Invariants
//!
//! * The newest come first. Going on with `next` loses none and tells none twice, whatever is sent
//!   meanwhile.
//! * A message that was recalled is told without its body.

#![allow(unused_qualifications, reason = "utoipa qualifies the types of queries")]

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::extract::{Json, Query, Ready};
use super::page::{self, Page};
use super::problem::{Kind, Outcome, Problem};
use super::routes::Routes;
use super::scope::Scope;
use super::text::{Conversation, Device, Group, Message, Peer, Text};
use super::values::Body;
use crate::id::{ConversationId, PeerId};
use crate::limits::{HISTORY_PAGE_MAX, HTTP_HISTORY_BYTES_MAX, RECIPIENTS_MAX};
use crate::store::{HistoryOf, Look, Past};

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve(Scope::Read, routes!(history))
}

/// Which messages: those of one conversation, group or sender, or without any all of the app.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Choice {
    /// Of this conversation: 32 hexadecimal digits, or the 24 of a group.
    #[param(value_type = Option<String>)]
    conversation: Option<Conversation>,
    /// Of this group.
    #[param(value_type = Option<String>)]
    group: Option<Group>,
    /// Sent by this peer.
    #[param(value_type = Option<String>)]
    sender: Option<Peer>,
    /// Of the conversation of just these peers, separated by `,`, or by `:` if an id has a `,`.
    #[param(example = "ann,bob")]
    peers: Option<String>,
    /// Before this message: what `next` of the last page says.
    #[param(value_type = Option<String>)]
    before: Option<Message>,
    /// Sent then or later.
    since_ms: Option<i64>,
    /// Sent then or earlier.
    until_ms: Option<i64>,
    /// How many at the most: on a page up to 1,000, and 100 unless it is said; in an export all
    /// unless it is said.
    #[param(minimum = 1)]
    pub(super) limit: Option<usize>,
}

/// A message of the past.
#[derive(Serialize, ToSchema)]
pub(super) struct PastMessage {
    id: Message,
    /// Its number in its conversation, from 1 and without gaps.
    sequence: u32,
    /// When the server took it.
    at_ms: i64,
    conversation: Conversation,
    /// The group, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group: Option<Group>,
    /// Who sent it.
    from: Peer,
    /// For whom it is; nobody by name in a group.
    to: Vec<Peer>,
    /// On which devices it is wanted; on all if none is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<Device>,
    /// The app's own number for it; empty if it has none.
    client_msg_no: String,
    /// What it says, if that is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "Your table is ready.")]
    body: Option<String>,
    /// What it says as base64, if that is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    body_base64: Option<String>,
    /// It was taken back, and has no body.
    recalled: bool,
}

/// Tells what was said, the newest first.
///
/// A page may have fewer messages than asked for, even none, though there are more: go on until
/// `next` is null.
#[utoipa::path(
    get, path = "/v1/history", tag = "history", params(Choice),
    responses((status = 200, body = Page<PastMessage>)),
)]
async fn history(
    Ready(hub): Ready,
    Query(choice): Query<Choice>,
) -> Outcome<Json<Page<PastMessage>>> {
    let max = page::limit(choice.limit, HISTORY_PAGE_MAX)?;
    let found = hub.store().history(choice.look(max)?).await?;
    let items = found.messages.into_iter().map(PastMessage::from).collect();
    Ok(Json(Page { items, next: found.next.map(|next| next.to_string()) }))
}

impl Choice {
    /// What the store is asked for, `max` messages at once.
    ///
    /// # Errors
    ///
    /// A problem if it chooses in two ways, or no time.
    pub(super) fn look(&self, max: usize) -> Outcome<Look> {
        let (since_ms, until_ms) = (self.since_ms, self.until_ms);
        if let (Some(since_ms), Some(until_ms)) = (since_ms, until_ms)
            && since_ms > until_ms
        {
            return Err(Problem::new(Kind::InvalidQuery, "since_ms is behind until_ms"));
        }
        let before = self.before.map(|Text(before)| before);
        let bytes_max = HTTP_HISTORY_BYTES_MAX;
        Ok(Look { of: self.of()?, before, since_ms, until_ms, max, bytes_max })
    }

    fn of(&self) -> Outcome<HistoryOf> {
        let group = |Text(group): Group| HistoryOf::Conversation(ConversationId::Group(group));
        let mut chosen = [
            self.conversation.map(|Text(id)| HistoryOf::Conversation(id)),
            self.group.map(group),
            self.sender.clone().map(|Text(sender)| HistoryOf::Sender(sender)),
            self.peers.as_deref().map(of_peers).transpose()?,
        ]
        .into_iter()
        .flatten();
        match (chosen.next(), chosen.next()) {
            (None, _) => Ok(HistoryOf::App),
            (Some(of), None) => Ok(of),
            (Some(_), Some(_)) => {
                let detail = "name one of conversation, group, sender and peers, or none of them";
                Err(Problem::new(Kind::InvalidQuery, detail))
            }
        }
    }
}

/// The conversation of these peers.
fn of_peers(list: &str) -> Outcome<HistoryOf> {
    let separator = if list.contains(':') { ':' } else { ',' };
    let peers: Result<Vec<PeerId>, _> = list.split(separator).map(str::parse).collect();
    let peers =
        peers.map_err(|error| Problem::new(Kind::InvalidQuery, format!("peers: {error}")))?;
    if peers.len() > RECIPIENTS_MAX + 1 {
        let detail = format!("a conversation has at most {} peers", RECIPIENTS_MAX + 1);
        return Err(Problem::new(Kind::InvalidQuery, detail));
    }
    Ok(HistoryOf::Conversation(ConversationId::of_peers(&peers)))
}

impl From<Past> for PastMessage {
    fn from(Past { message, recalled }: Past) -> Self {
        let group = match message.conversation {
            ConversationId::Group(group) => Some(Text(group)),
            ConversationId::Peers(_) => None,
        };
        let (body, body_base64) = match Body::from(&message.body) {
            _ if recalled => (None, None),
            Body::Text(text) => (Some(text), None),
            Body::Base64(encoded) => (None, Some(encoded)),
        };
        Self {
            id: Text(message.id),
            sequence: message.sequence,
            at_ms: message.at_ms,
            conversation: Text(message.conversation),
            group,
            from: Text(message.from),
            to: message.to.into_iter().map(Text).collect(),
            devices: message.devices.into_iter().map(Text).collect(),
            client_msg_no: String::from_utf8_lossy(&message.client_msg_no).into_owned(),
            body,
            body_base64,
            recalled,
        }
    }
}
