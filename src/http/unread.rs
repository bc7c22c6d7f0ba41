//! What a peer has neither read nor sent.
//!
//! # Invariants
//!
//! * The count is that of single chats, as AVOS Cloud counts; groups are counted for themselves.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::extract::{Json, Path, Ready};
use super::problem::Outcome;
use super::routes::Routes;
use super::scope::Scope;
use super::text::{Conversation, Group, Message, Peer, Text};
use crate::id::{ConversationId, MessageId};
use crate::limits::CONVERSATIONS_PER_PEER_MAX;
use crate::store::Part;

pub(super) fn add(routes: Routes) -> Routes {
    routes.serve(Scope::Read, routes!(unread))
}

/// What a peer has not read.
#[derive(Serialize, ToSchema)]
pub(super) struct Unread {
    peer: Peer,
    /// Messages of all conversations that are no groups.
    count: u64,
    /// Messages of all groups that it is a member of.
    groups: u64,
    /// Where they are, the conversation with the newest message first.
    conversations: Vec<UnreadIn>,
}

/// What a peer has not read of one conversation.
#[derive(Serialize, ToSchema)]
pub(super) struct UnreadIn {
    conversation: Conversation,
    /// The group, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group: Option<Group>,
    /// The others in it; none of a group.
    peers: Vec<Peer>,
    /// How many messages; those that were recalled count too.
    unread: u32,
    /// The last message.
    last: Message,
}

/// Tells what a peer has neither read nor sent: how much, and where.
///
/// A thousand conversations of a peer are remembered; those longest silent are forgotten.
#[utoipa::path(
    get, path = "/v1/peers/{peer}/unread", tag = "peers", params(("peer" = inline(Peer), Path)),
    responses((status = 200, body = Unread)),
)]
async fn unread(Ready(hub): Ready, Path(Text(peer)): Path<Peer>) -> Outcome<Json<Unread>> {
    let (parts, _) = hub.store().conversations(&peer, None, CONVERSATIONS_PER_PEER_MAX).await?;
    let (mut count, mut groups, mut conversations) = (0, 0, Vec::new());
    for (conversation, part) in parts.iter().filter(|(_, part)| part.unread() > 0) {
        let found = UnreadIn::new(*conversation, part);
        match conversation {
            ConversationId::Peers(_) => count += u64::from(found.unread),
            // What it has not read of a group that it has left, it will not.
            ConversationId::Group(_) if part.since == MessageId::NONE => continue,
            ConversationId::Group(_) => groups += u64::from(found.unread),
        }
        conversations.push(found);
    }
    Ok(Json(Unread { peer: Text(peer), count, groups, conversations }))
}

impl UnreadIn {
    fn new(conversation: ConversationId, part: &Part) -> Self {
        let group = match conversation {
            ConversationId::Group(group) => Some(Text(group)),
            ConversationId::Peers(_) => None,
        };
        Self {
            conversation: Text(conversation),
            group,
            peers: part.others.iter().cloned().map(Text).collect(),
            unread: part.unread(),
            last: Text(part.last),
        }
    }
}
